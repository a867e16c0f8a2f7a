//! `skyprep estimate`

use std::path::Path;

use anyhow::Result;
use skyprep::error::Error;
use skyprep::pipeline::{ChunkEstimate, Estimate, EstimateBytes};
use skyprep::publish::{remove_tree, write_atomically};
use skyprep::report::grouped;
use skyprep::resources::free_space;
use skyprep::source::Input;

use super::partition::plan;
use crate::books::{self, DataTo};
use crate::partition_args::{ChunkFormArg, EstimateArgs};
use crate::printer::aligned;
use crate::progress::Progress;
use crate::session::Session;
use crate::sph_config;

/// The heaviest chunks are listed, so many.
const HEAVIEST: usize = 5;

/// Says what partition would make.
pub fn run(args: &EstimateArgs, session: &Session) -> Result<()> {
    let completed = sph_config::complete(&args.partition.0)?;
    if !completed.args.only_chunks.is_empty() {
        let message = "--only-chunks: an estimate is of all chunks";
        return Err(Error::usage(message).hint("leave it out").into());
    }
    if completed.args.to == ChunkFormArg::Parquet {
        let message = "--to parquet: an estimate is of the bytes of text";
        return Err(Error::usage(message).hint("leave it out").into());
    }
    let progress = Progress::new(session);
    let (job, name) = plan(&completed, session, &progress)?;
    let said = &completed.args;
    let inputs: Vec<Input> = job.inputs.iter().map(|fed| fed.input.clone()).collect();
    books::check(&said.books, Some(&said.rejects), DataTo::Files, &inputs)?;
    let bytes = match args.exact {
        true => EstimateBytes::Exact,
        false => EstimateBytes::Sampled,
    };
    // Nobody else makes a folder of this name.
    let name_of_scratch = format!(".skyprep-{}-{:016x}", std::process::id(), fastrand::u64(..));
    let scratch = session.temporary_folder().join(name_of_scratch);
    progress.start(&format!("estimating {name}"), 0);
    let estimate = job.estimate(bytes, &scratch, &session.pass_limits(), &progress);
    progress.end();
    // What was looked up there is of no use any more, whatever came of it.
    let removed = remove_tree(&scratch);
    let estimate = estimate?;
    removed?;
    session.limits().rejects.close()?;
    if estimate.rejected > 0 {
        let listed = match &said.rejects.reject_file {
            Some(file) => format!("listed in {}", file.display()),
            None => "--reject-file FILE makes a list".to_owned(),
        };
        let rows = grouped(estimate.rejected);
        session
            .printer
            .warn(&format!("{rows} rows would be rejected; {listed}"));
    }
    if let Some(path) = &said.books.report {
        write_atomically(path, &estimate.to_bytes()?)?;
    }
    match said.books.json {
        true => session.printer.data(&estimate.to_bytes()?),
        false => {
            let text = in_words(&estimate, completed.output.as_deref());
            session.printer.result(&text)
        }
    }?;
    books::end_with(session, &estimate.passed_over)
}

fn in_words(estimate: &Estimate, output: Option<&Path>) -> String {
    let chunks = &estimate.chunks;
    let heads = [
        "table", "rows in", "out", "overlap", "rejected", "chunks", "files", "bytes",
    ];
    let cells = [
        estimate.table.clone(),
        grouped(estimate.rows_in),
        grouped(estimate.rows_out),
        grouped(estimate.overlap_rows),
        grouped(estimate.rejected),
        grouped(chunks.len() as u64),
        grouped(estimate.files),
        grouped(estimate.bytes),
    ];
    let mut text = aligned(&[heads.map(str::to_owned), cells]);
    let how = match estimate.is_exact {
        true => "all rows were made".to_owned(),
        false => format!("by the length of {} rows", grouped(estimate.measured_rows)),
    };
    text.push_str(&format!(
        "bytes of a row, with line end: {:.1} ({how})\n",
        estimate.row_bytes
    ));
    let mut rows: Vec<u64> = chunks.iter().map(|chunk| chunk.rows).collect();
    rows.sort_unstable();
    if let (Some(least), Some(most)) = (rows.first(), rows.last()) {
        text.push_str(&format!(
            "rows of a chunk: {} at least, {} in the middle, {} at most\n",
            grouped(*least),
            grouped(rows[rows.len() / 2]),
            grouped(*most)
        ));
        let mut heaviest: Vec<&ChunkEstimate> = chunks.iter().collect();
        heaviest.sort_by_key(|chunk| (std::cmp::Reverse(chunk.bytes), chunk.chunk));
        let heaviest = heaviest.iter().take(HEAVIEST).map(|chunk| {
            let bytes = grouped(chunk.bytes);
            format!("{} ({bytes} bytes)", chunk.chunk)
        });
        let heaviest: Vec<String> = heaviest.collect();
        text.push_str(&format!("the heaviest chunks: {}\n", heaviest.join(", ")));
    }
    if let Some(output) = output
        && let Some(free) = free_space(output)
    {
        let enough = match free >= estimate.bytes {
            true => "enough",
            false => "NOT ENOUGH",
        };
        text.push_str(&format!(
            "room in {}: {} bytes, {enough}\n",
            output.display(),
            grouped(free)
        ));
    }
    text
}

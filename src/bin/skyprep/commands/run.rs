//! `skyprep run`

use anyhow::Result;
use skyprep::pipeline::{PipelineFile, RunOptions};

use crate::args::RunArgs;
use crate::printer::{format_tables, grouped};
use crate::progress::Progress;
use crate::settings::{self, Session};

/// Does all steps for all tables of a pipeline file.
pub fn run(args: &RunArgs, session: &Session) -> Result<()> {
    let file = PipelineFile::read(&args.pipeline)?;
    let options = RunOptions {
        limits: session.resources.pass_limits(),
        replace: settings::replace(args.force),
        folder: session.folder_options(),
    };
    let progress = Progress::new(session);
    let outcome = skyprep::pipeline::run(&file, &options, &progress);
    progress.end();
    let outcome = outcome?;
    session.printer.result(&format_tables(&outcome.tables))?;
    for table in outcome.tables.iter().filter(|table| table.rows_in == 0) {
        session
            .printer
            .warn(&format!("no rows came in for {}", table.table));
    }
    if outcome.is_unchanged {
        session.printer.note("all is there; nothing to do");
    }
    session.printer.note(&format!(
        "next: let Qserv's ingest fetch the {} files that {} names",
        grouped(outcome.contributions as u64),
        outcome.manifest.display()
    ));
    Ok(())
}

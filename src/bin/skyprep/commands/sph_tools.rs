//! What Qserv's tools that partition do, done by the pipeline.

use std::path::{Path, PathBuf};

use anyhow::Result;
use skyprep::error::{Error, ErrorKind, Place};
use skyprep::pipeline::{Appending, PassJob, TableJob, TableReport};
use skyprep::report::Report;
use skyprep::source::{Input, InputFormat, InputList, InputName};
use skyprep::sph::{StatisticsForm, SubChunkRows, ToolSettings, statistics_json};

use super::sph_copies;
use super::statistics::rows_of_index;
use super::unknown_keys::warn_of_unknown_keys;
use crate::books;
use crate::dropin::{ToolCall, ToolWork};
use crate::progress::Progress;
use crate::session::Session;

/// Does what the tool was called for.
pub fn run(call: &ToolCall, session: &Session) -> Result<()> {
    let tool = call.tool();
    for name in &tool.passed_over {
        let message = format!("{name}: missing or empty; passed over");
        session.printer.warn(&message);
    }
    let inputs = match &call.work {
        ToolWork::Estimate(settings) => return sph_copies::estimate(settings, session),
        ToolWork::Duplicate(settings) => vec![sph_copies::copies(settings)],
        _ => inputs(tool)?,
    };
    let job = call.job(inputs.clone())?;
    let options = job.options.first().cloned().unwrap_or_default();
    let mut report = Report::begin(call.name, options, session.limits());
    report.add_inputs(&inputs);
    let Made {
        table,
        sub_chunks,
        from,
    } = made(call, &job, session)?;
    report.add_table(table, true);
    report.keep_in(&tool.folder)?;
    books::close_rejects(session, &report)?;
    warn_of_unknown_keys(&job.tables, session);
    match &call.work {
        ToolWork::HtmIndex(settings) if tool.is_verbose => {
            sph_copies::tell_triangles(settings, &index_of(call, &job), from, session)?;
        }
        ToolWork::HtmIndex(_) => {}
        _ if call.tells_sub_chunks() => {
            let text = statistics_json(sub_chunks, StatisticsForm::of(tool.is_verbose));
            session.printer.data(text.as_bytes())?;
        }
        _ => {}
    }
    books::end(session, &report)
}

/// What was made.
struct Made {
    table: TableReport,
    sub_chunks: Vec<SubChunkRows>,
    /// Where the records of this run begin in the index that counts rows.
    from: u64,
}

/// Returns the path of the index that counts rows.
fn index_of(call: &ToolCall, job: &PassJob) -> PathBuf {
    let index = job.tables.first().map(TableJob::chunk_index_path);
    call.tool().folder.join(index.unwrap_or_default())
}

/// Makes the rows, and returns what is reported of them.
fn made(call: &ToolCall, job: &PassJob, session: &Session) -> Result<Made> {
    let root = &call.tool().folder;
    let limits = session.pass_limits();
    match job.begin_appending(root, call.repetition, session.folder, &limits)? {
        Appending::Open(mut folder) => {
            if let ToolWork::Duplicate(settings) = &call.work {
                sph_copies::check_new(settings, call.repetition, &folder)?;
            }
            let index = std::fs::metadata(index_of(call, job));
            let from = index.map_or(0, |found| found.len());
            let progress = Progress::new(session);
            let stamps = job.inputs.iter().filter_map(|fed| fed.input.stamp.as_ref());
            progress.start(call.name, stamps.map(|stamp| stamp.bytes).sum());
            let job = job.clone();
            let outcome = job.run(&mut folder, &session.pass_limits(), &progress);
            progress.end();
            let table = outcome?.pop();
            let lost = || Error::new(ErrorKind::Internal, "the table was made and not reported");
            let mut table = table.ok_or_else(lost)?;
            let sub_chunks = std::mem::take(&mut table.sub_chunks);
            Ok(Made {
                table,
                sub_chunks,
                from,
            })
        }
        Appending::Finished(table, from) => {
            let message = format!("{}: what an earlier run had begun is done", root.display());
            session.printer.note(&message);
            let sub_chunks = match call.work {
                ToolWork::HtmIndex(_) => Vec::new(),
                _ => rows_of_index(&index_of(call, job), from)?,
            };
            Ok(Made {
                table: *table,
                sub_chunks,
                from,
            })
        }
    }
}

/// Returns the inputs with their formats, which the tools take from names.
fn inputs(tool: &ToolSettings) -> Result<Vec<Input>> {
    let mut list = InputList::default();
    // The C++ tools read files as often as they are told to.
    list.let_repeat();
    for name in &tool.inputs {
        list.add_file(Path::new(name))?;
    }
    let inputs = list.resolve()?;
    let own = tool.folder.canonicalize().ok();
    let prefix = format!("{}_", tool.prefix);
    for input in &inputs {
        let InputName::File(path) = &input.name else {
            continue;
        };
        let refuse = |message: &str, hint: &str| -> Result<()> {
            let error = Error::usage(message).at(Place::file(input.name.shown()));
            Err(error.hint(hint).into())
        };
        if input.format == InputFormat::Parquet && !tool.is_parquet {
            refuse(
                "is a Parquet file, but in.is-parquet is not set",
                "say --in.is-parquet",
            )?;
        }
        if matches!(input.format, InputFormat::Fits | InputFormat::Arrow) {
            refuse(
                &format!(
                    "is a file of {}, which this tool does not read",
                    input.format
                ),
                "skyprep partition reads it",
            )?;
        }
        let has_own_name = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
        let folder = path.canonicalize().ok();
        let folder = folder.as_deref().and_then(Path::parent);
        if has_own_name && own.is_some() && folder == own.as_deref() {
            refuse(
                "the output would come over this input or beside it",
                "choose another output folder",
            )?;
        }
    }
    Ok(inputs)
}

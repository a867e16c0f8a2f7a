//! What is told besides the data: reports, dependency files, and what would be done.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use skyprep::error::{Error, ErrorKind};
use skyprep::pipeline::{Outlook, OutputState, PassedOver, TableOutlook, TableReport};
use skyprep::publish::{read_optional, write_atomically};
use skyprep::report::{Report, depfile, grouped};
use skyprep::source::{Input, is_at_server};

use crate::args::{BookArgs, RejectArgs};
use crate::session::Session;
use crate::settings;

/// Inputs of so many names are listed one by one.
const LISTED: usize = 20;

/// The output of a command, as far as books are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataTo {
    /// The data go to stdout, so nothing else may.
    Stdout,
    /// The data go elsewhere.
    Files,
}

/// Refuses books that can't be kept; call it before the work.
pub fn check(
    args: &BookArgs,
    rejects: Option<&RejectArgs>,
    data: DataTo,
    inputs: &[Input],
) -> Result<()> {
    if data == DataTo::Stdout && args.json {
        return Err(Error::usage("--json prints on stdout, where the data go")
            .hint("write the report into a file with --report, or name an output")
            .into());
    }
    if data == DataTo::Stdout && args.depfile.is_some() {
        let message = "--depfile needs an output file, the data go to stdout";
        return Err(Error::usage(message).into());
    }
    let reject_file = rejects.and_then(|args| args.reject_file.as_ref());
    let named = [args.report.as_ref(), args.depfile.as_ref(), reject_file];
    for (number, path) in named.iter().enumerate() {
        let Some(path) = path else { continue };
        if named[..number].contains(&Some(path)) {
            let message = format!("{} can't be two files at once", path.display());
            return Err(Error::usage(message).into());
        }
        check_place(path, inputs)?;
    }
    Ok(())
}

/// Refuses a file that can't be written, or would come over an input.
pub fn check_place(path: &Path, inputs: &[Input]) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::metadata(folder).map_err(|error| Error::writing(path, error))?;
    skyprep::pipeline::check_writable(folder)?;
    let real = path.canonicalize().ok();
    settings::refuse_overwriting(inputs, |input| Some(input) == real.as_deref())
}

/// Closes the list of rejected rows and warns of them.
pub fn close_rejects(session: &Session, report: &Report) -> Result<()> {
    if !report.unchanged {
        session.limits().rejects.close()?;
    }
    let tables = report.tables.iter().map(|table| &table.counts);
    let tables: Vec<&TableReport> = tables.filter(|table| table.rejected > 0).collect();
    let rows: u64 = tables.iter().map(|table| table.rejected).sum();
    if rows > 0 {
        let mut files: Vec<&str> = tables
            .iter()
            .filter_map(|t| t.reject_file.as_deref())
            .collect();
        files.dedup();
        let listed = match files.as_slice() {
            [] => "--reject-file FILE makes a list".to_owned(),
            files => format!("listed in {}", files.join(", ")),
        };
        let rows = match rows {
            1 => "1 row was".to_owned(),
            rows => format!("{} rows were", grouped(rows)),
        };
        let message = format!("{rows} rejected; {listed}");
        session.printer.warn(&message);
    }
    Ok(())
}

/// Lists the inputs that were passed over; call it last.
///
/// # Errors
/// There are any.
pub fn end(session: &Session, report: &Report) -> Result<()> {
    end_with(session, &report.passed_over)
}

/// Lists inputs that were passed over, as [`end`] does.
///
/// # Errors
/// There are any.
pub fn end_with(session: &Session, passed_over: &[PassedOver]) -> Result<()> {
    let count = passed_over.len();
    if count == 0 {
        return Ok(());
    }
    for input in passed_over {
        session.printer.passed_over(&input.file, &input.reason);
    }
    let what = match count {
        1 => "an input file was".to_owned(),
        count => format!("{} input files were", grouped(count as u64)),
    };
    Err(Error::new(
        ErrorKind::DataRefused,
        format!("{what} passed over; the outputs lack their rows"),
    )
    .hint("once the files are right, run the command again with --force")
    .into())
}

/// What a command depends on besides its inputs: those of its options that name files.
pub fn sources<'p>(
    paths: impl IntoIterator<Item = Option<&'p Path>>,
    session: &'p Session,
) -> Vec<String> {
    let all = paths.into_iter().chain([session.config.as_deref()]);
    all.flatten()
        .map(|path| path.display().to_string())
        .collect()
}

/// Finishes the report and hands it out, with the dependency file; `table` is for people.
pub fn close(
    args: &BookArgs,
    session: &Session,
    report: &mut Report,
    targets: &[&Path],
    sources: &[String],
    table: Option<&str>,
) -> Result<()> {
    report.finish();
    if let Some(path) = &args.report {
        report.write(path)?;
    }
    if let Some(path) = &args.depfile {
        // Pipes have no size, and of those and of URLs make can't tell whether they are new.
        let is_file = |path: &str| !is_at_server(path);
        let files = report.inputs.iter();
        let files = files.filter(|input| input.bytes.is_some() && is_file(&input.path));
        let files = files.map(|input| &input.path).chain(sources);
        let mut known = BTreeSet::new();
        let inputs: Vec<String> = files.filter(|path| known.insert(*path)).cloned().collect();
        let targets: Vec<String> = targets
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let text = depfile(&targets, &inputs)?;
        // An unchanged file keeps its time, or make would read it anew each time.
        if read_optional(path)?.as_deref() != Some(text.as_bytes()) {
            write_atomically(path, text.as_bytes())?;
        }
    }
    match table {
        _ if args.json => session.printer.data(&report.to_bytes()?),
        Some(table) => session.printer.result(table),
        None => Ok(()),
    }
}

/// Tells what a command would do to an output folder; ends as the command would.
pub fn foretell(session: &Session, root: &Path, outlook: Outlook) -> Result<()> {
    let mut text = String::new();
    for pass in &outlook.passes {
        text.push_str(&inputs_in_words(&pass.inputs));
        let has_pipe = has_pipe(&pass.inputs);
        for table in &pass.tables {
            text.push_str(&table_in_words(table, has_pipe));
        }
    }
    let there = if root.is_dir() {
        ""
    } else {
        " (would be made)"
    };
    text.push_str(&format!("output folder: {}{there}\n", root.display()));
    say_outlook(session, &text)?;
    outlook.refusal.map_or(Ok(()), |error| Err(error.into()))
}

/// Tells that some chunks would be made again in the folder where the whole table stands.
pub fn foretell_redo(
    session: &Session,
    inputs: &[Input],
    root: &Path,
    chunks: usize,
) -> Result<()> {
    let text = inputs_in_words(inputs);
    let root = root.display();
    say_outlook(
        session,
        &format!("{text}output folder: {root}, where {chunks} chunks would be made again\n"),
    )
}

/// Tells what a command would do to a file or stdout.
pub fn foretell_file(
    session: &Session,
    inputs: &[Input],
    output: &str,
    state: OutputState,
    columns: Vec<String>,
) -> Result<()> {
    let text = inputs_in_words(inputs);
    let table = TableOutlook {
        table: output.to_owned(),
        state,
        columns,
    };
    say_outlook(session, &(text + &table_in_words(&table, has_pipe(inputs))))
}

fn say_outlook(session: &Session, text: &str) -> Result<()> {
    let limits = session.limits_in_words();
    session.printer.result(&format!(
        "skyprep {} would read and write this:\n{text}limits: {limits}\nnothing was touched\n",
        session.command
    ))
}

fn inputs_in_words(inputs: &[Input]) -> String {
    let bytes: u64 = inputs
        .iter()
        .filter_map(|input| Some(input.stamp.as_ref()?.bytes))
        .sum();
    let mut text = format!("inputs: {}, {} bytes\n", inputs.len(), grouped(bytes));
    for input in inputs.iter().take(LISTED) {
        let size = match &input.stamp {
            Some(stamp) => format!("{} bytes", grouped(stamp.bytes)),
            None => "a pipe".to_owned(),
        };
        text.push_str(&format!("  {}: {size}\n", input.name.shown()));
    }
    if inputs.len() > LISTED {
        text.push_str(&format!("  and {} more\n", inputs.len() - LISTED));
    }
    text
}

fn has_pipe(inputs: &[Input]) -> bool {
    inputs.iter().any(|input| input.stamp.is_none())
}

fn table_in_words(table: &TableOutlook, has_pipe: bool) -> String {
    let then = match table.state {
        OutputState::Complete => "nothing to do",
        OutputState::Absent => "would be made",
        OutputState::Partial => "would be made again",
        OutputState::Different => "would be replaced, with --force only",
    };
    let columns = match table.columns.as_slice() {
        [] if has_pipe => "  columns: known when the pipe is read\n".to_owned(),
        [] => String::new(),
        names => format!("  columns: {}\n", names.join(", ")),
    };
    let state = table.state.name();
    format!("output {}: {state}, {then}\n{columns}", table.table)
}

/// Returns the folder's record, which depends on all that the folder is made of.
pub fn record_of(root: &Path) -> PathBuf {
    root.join(skyprep::publish::STATE_FOLDER)
        .join(skyprep::publish::RECORD_FILE)
}

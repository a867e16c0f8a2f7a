//! What `convert` and `sanitize` share: rows to stdout, to one file, or to a file per input.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use serde_json::json;
use skyprep::convert::{RowTarget, TextForm};
use skyprep::error::Error;
use skyprep::exchange::ChunkNames;
use skyprep::partition::key_index::{DuplicateRule, IndexFormat};
use skyprep::pipeline::{
    Arrangement, OutputState, PassInput, PassJob, ReadAs, Standing, StreamOutcome, TableJob,
    TableParts, check_writable, columns_of, outlook, standing, stream,
};
use skyprep::publish::{AtomicFile, StandingFiles, append};
use skyprep::report::{Report, grouped};
use skyprep::schema::TableKind;
use skyprep::source::{Input, InputName};

use crate::args::{BookArgs, RejectArgs};
use crate::books::{self, DataTo};
use crate::progress::Progress;
use crate::session::Session;
use crate::settings;

/// A command that writes rows as they come.
pub struct StreamCommand<'a> {
    pub inputs: Vec<Input>,
    pub read_as: Arc<ReadAs>,
    pub target: RowTarget,
    pub output: &'a str,
    pub is_forced: bool,
    pub rejects: &'a RejectArgs,
    pub books: &'a BookArgs,
    /// Files that the output depends on besides the inputs.
    pub sources: Vec<String>,
}

/// Runs a command that writes rows as they come.
pub fn run_streams(mut command: StreamCommand<'_>, session: &Session) -> Result<()> {
    let path = Path::new(command.output);
    let to = match command.output {
        "-" => DataTo::Stdout,
        _ => DataTo::Files,
    };
    books::check(command.books, Some(command.rejects), to, &command.inputs)?;
    if command.rejects.reject_file.as_deref() == Some(path) {
        let message = format!("{} can't be two files at once", path.display());
        return Err(Error::usage(message).into());
    }
    let mut report = session.begin_report();
    report.add_inputs(&command.inputs);
    let progress = Progress::new(session);
    if path.is_dir() || command.output.ends_with('/') {
        return to_folder(command, session, &progress, report);
    }
    // In lists of rejects, the output is called as in the report.
    command.target.name = command.output.to_owned();
    if to == DataTo::Stdout {
        return to_stream(command, Destination::Stdout, session, &progress, report);
    }
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        // A pipe or a device takes the rows as they come; it must not be replaced by a file.
        return to_stream(
            command,
            Destination::Special(path),
            session,
            &progress,
            report,
        );
    }
    to_file(command, path, session, &progress, report)
}

/// What takes rows as they come.
#[derive(Clone, Copy)]
enum Destination<'a> {
    Stdout,
    /// A pipe or a device.
    Special(&'a Path),
}

fn fed(inputs: Vec<Input>, read_as: &Arc<ReadAs>) -> Vec<PassInput> {
    let feed = |input| PassInput::whole(input, read_as, vec![0]);
    inputs.into_iter().map(feed).collect()
}

pub(super) fn total_bytes(inputs: &[Input]) -> u64 {
    inputs
        .iter()
        .filter_map(|input| Some(input.stamp.as_ref()?.bytes))
        .sum()
}

/// Writes the rows of all inputs to what `open` gives, which messages call `name`.
///
/// Where an input turns out to be damaged and is to be passed over, `open` is asked once more; it
/// returns nothing if what was written can't be taken back.
fn write_rows(
    inputs: Vec<Input>,
    read_as: &Arc<ReadAs>,
    target: &RowTarget,
    name: &Path,
    mut open: impl FnMut() -> Result<Option<Box<dyn Write + Send>>>,
    session: &Session,
    progress: &Progress<'_>,
) -> Result<StreamOutcome> {
    let limits = session.limits();
    let mut inputs = fed(inputs, read_as);
    limits.bad_inputs.look_at(&mut inputs)?;
    let mut failure = None;
    while let Some(out) = open()? {
        if let Some(error) = failure.take() {
            limits.bad_inputs.pass_over(&mut inputs, error)?;
        }
        let (inputs, limits) = (inputs.clone(), limits.afresh());
        let outcome = stream(inputs, target, name.to_owned(), out, &limits, progress);
        progress.end();
        match outcome {
            Ok(outcome) => return Ok(outcome),
            Err(error) => failure = Some(error),
        }
    }
    let failure = failure.unwrap_or_else(|| Error::usage("there is nothing to write to"));
    Err(failure.into())
}

fn to_stream(
    command: StreamCommand<'_>,
    destination: Destination<'_>,
    session: &Session,
    progress: &Progress<'_>,
    mut report: Report,
) -> Result<()> {
    if command.books.dry_run {
        return foretell(&command, session, OutputState::Absent);
    }
    session.interruption.may_not_look();
    let bytes = total_bytes(&command.inputs);
    progress.start_beside_data(&session.command, bytes);
    let (name, out): (_, Box<dyn Write + Send>) = match destination {
        Destination::Stdout => {
            let out = BufWriter::with_capacity(1 << 16, std::io::stdout());
            (Path::new("stdout"), Box::new(out))
        }
        Destination::Special(path) => (path, Box::new(append(path)?)),
    };
    let mut out = Some(out);
    let StreamCommand {
        inputs,
        read_as,
        target,
        ..
    } = command;
    let open = || Ok(out.take());
    let outcome = write_rows(inputs, &read_as, &target, name, open, session, progress)?;
    report.add_table(outcome.report(command.output, 0.0), true);
    books::close_rejects(session, &report)?;
    let (books, target) = (command.books, Path::new(command.output));
    books::close(
        books,
        session,
        &mut report,
        &[target],
        &command.sources,
        None,
    )?;
    books::end(session, &report)
}

/// Says what would become of a stream or a file.
fn foretell(command: &StreamCommand<'_>, session: &Session, state: OutputState) -> Result<()> {
    let inputs = fed(command.inputs.clone(), &command.read_as);
    let columns = columns_of(&inputs, &[&command.target])?;
    let columns = columns.into_iter().flatten().collect();
    books::foretell_file(session, &command.inputs, command.output, state, columns)
}

fn to_file(
    command: StreamCommand<'_>,
    path: &Path,
    session: &Session,
    progress: &Progress<'_>,
    mut report: Report,
) -> Result<()> {
    let stands = path.symlink_metadata().is_ok();
    // A link stays a link: what it points to is replaced.
    let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    settings::refuse_overwriting(&command.inputs, |input| input == resolved)?;
    if command.books.dry_run {
        let state = match stands {
            true => OutputState::Different,
            false => OutputState::Absent,
        };
        foretell(&command, session, state)?;
    }
    if command.books.dry_run {
        if !command.is_forced {
            AtomicFile::check_new(path)?;
        }
        return Ok(check_writable(folder_of(&resolved))?);
    }
    let file = match command.is_forced {
        true => AtomicFile::create(&resolved)?,
        false => AtomicFile::create_new(path)?,
    };
    let mut file = file.with_sync(session.folder.sync);
    progress.start(&session.command, total_bytes(&command.inputs));
    session
        .interruption
        .set_unfinished(Some(hidden_name(&resolved)));
    let start = Instant::now();
    let StreamCommand {
        inputs,
        read_as,
        target,
        ..
    } = command;
    let open = || -> Result<Option<Box<dyn Write + Send>>> {
        file.restart()?;
        Ok(Some(Box::new(file.writer()?)))
    };
    let outcome = write_rows(inputs, &read_as, &target, path, open, session, progress)?;
    file.commit()?;
    session.interruption.set_unfinished(None);
    session.printer.note(&summary(command.output, &outcome));
    let seconds = start.elapsed().as_secs_f64();
    report.add_table(outcome.report(command.output, seconds), true);
    books::close_rejects(session, &report)?;
    books::close(
        command.books,
        session,
        &mut report,
        &[path],
        &command.sources,
        None,
    )?;
    books::end(session, &report)
}

/// Returns the name under which an [`AtomicFile`] grows.
pub(super) fn hidden_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.partial"))
}

pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn summary(output: &str, outcome: &StreamOutcome) -> String {
    let mut text = format!(
        "{output}: {} rows, {} columns, {} bytes",
        grouped(outcome.written.rows()),
        outcome.columns.len(),
        grouped(outcome.written.bytes())
    );
    for (column, rules) in outcome.counts.changes.named(&outcome.columns) {
        let rules: Vec<String> = rules
            .iter()
            .map(|(rule, count)| format!("{rule} {}", grouped(*count)))
            .collect();
        text.push_str(&format!("\n  {column}: {}", rules.join(", ")));
    }
    text
}

/// Writes one output per input; those that stand already are not made again.
fn to_folder(
    command: StreamCommand<'_>,
    session: &Session,
    progress: &Progress<'_>,
    mut report: Report,
) -> Result<()> {
    let root = PathBuf::from(command.output);
    let replace = settings::replace(command.is_forced);
    let names = output_names(&command)?;
    let bytes = total_bytes(&command.inputs);
    let target = command.target;
    let mut jobs = Vec::with_capacity(names.len());
    for (input, name) in command.inputs.into_iter().zip(&names) {
        let mut own = target.clone();
        own.name.clone_from(name);
        let options = json!({
            "command": session.command,
            "target": own.fingerprint(),
            "text": command.read_as.as_ref(),
        });
        jobs.push(PassJob {
            inputs: fed(vec![input], &command.read_as),
            tables: vec![TableJob {
                target: own,
                kind: TableKind::Regular,
                partitioning: None,
                database: None,
                folder: String::new(),
                prefix: ChunkNames::PREFIX.to_owned(),
                nodes: 1,
                file_name: name.clone(),
                has_chunk_index: false,
                index_format: IndexFormat::Text,
                duplicates: DuplicateRule::Refuse,
                writes: TableParts::All,
                tells_sub_chunks: false,
                arrangement: Arrangement::default(),
            }],
            options: vec![options],
            outdated: Vec::new(),
            is_sole: false,
            standing: StandingFiles::Replaced,
        });
    }
    if command.books.dry_run {
        return books::foretell(session, &root, outlook(&root, &jobs, replace)?);
    }
    let Standing { done, folder } = standing(
        &root,
        &jobs,
        replace,
        session.folder,
        &session.pass_limits(),
    )?;
    let standing: Vec<_> = done.iter().flatten().flatten().collect();
    session.limits().check_standing(&standing)?;
    let mut left = Vec::with_capacity(jobs.len());
    for (job, done) in jobs.into_iter().zip(done) {
        match done {
            None => left.push(job),
            Some(tables) => tables
                .into_iter()
                .for_each(|table| report.add_table(table, false)),
        }
    }
    let (all, mut made) = (names.len(), left.len());
    report.unchanged = left.is_empty();
    if let Some(mut folder) = folder {
        progress.start(&session.command, bytes);
        for job in left {
            for table in job.run(&mut folder, &session.pass_limits(), progress)? {
                // Of a file that was passed over nothing is made.
                made -= usize::from(table.files == 0);
                report.add_table(table, true);
            }
        }
        progress.end();
    }
    report.keep_in(&root)?;
    books::close_rejects(session, &report)?;
    session.printer.note(&match report.unchanged {
        true => format!(
            "{}: all {all} files are there; nothing to do",
            root.display()
        ),
        false => format!("{}: {made} of {all} files made", root.display()),
    });
    let target = books::record_of(&root);
    let (books, sources) = (command.books, &command.sources);
    books::close(books, session, &mut report, &[&target], sources, None)?;
    books::end(session, &report)
}

/// Returns the name of each input's output; two inputs of one name can't share a folder.
fn output_names(command: &StreamCommand<'_>) -> Result<Vec<String>> {
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    let mut names = Vec::with_capacity(command.inputs.len());
    for input in &command.inputs {
        let path = match &input.name {
            InputName::File(path) => path.clone(),
            InputName::Remote(remote) => PathBuf::from(remote.name()),
            InputName::Stdin | InputName::Generated(_) => {
                return Err(Error::usage("stdin has no name for an output folder")
                    .hint("name an output file")
                    .into());
            }
        };
        let stem = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let stem = stem.unwrap_or_default();
        let stem = [".gz", ".zst"]
            .iter()
            .fold(stem.as_str(), |s, end| s.strip_suffix(end).unwrap_or(s));
        let stem = stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
        let ending = match command.target.form {
            TextForm::JsonRows => "json",
            TextForm::Parquet => "parquet",
            _ if command.target.dialect.delimiter() == b',' => "csv",
            _ => "txt",
        };
        let name = format!("{stem}.{ending}");
        let shown = input.name.shown();
        if let Some(other) = owners.insert(name.clone(), shown.clone()) {
            return Err(
                Error::usage(format!("{other} and {shown} would both become {name}"))
                    .hint("convert them into different folders")
                    .into(),
            );
        }
        names.push(name);
    }
    Ok(names)
}

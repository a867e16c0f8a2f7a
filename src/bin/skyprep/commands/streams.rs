//! What `convert` and `sanitize` share: rows to stdout, to one file, or to a file per input.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use serde_json::json;
use skyprep::convert::RowTarget;
use skyprep::error::Error;
use skyprep::pipeline::{
    PassInput, PassJob, Standing, StreamOutcome, TableJob, TextInput, standing, stream,
};
use skyprep::publish::{AtomicFile, append};
use skyprep::schema::TableKind;
use skyprep::source::{Input, InputName};

use crate::printer::grouped;
use crate::progress::Progress;
use crate::settings::{self, Session};

/// A command that writes rows as they come.
pub struct StreamCommand<'a> {
    pub name: &'static str,
    pub inputs: Vec<Input>,
    pub text: Arc<TextInput>,
    pub target: RowTarget,
    pub output: &'a str,
    pub is_forced: bool,
}

/// Runs a command that writes rows as they come.
pub fn run_streams(command: StreamCommand<'_>, session: &Session) -> Result<()> {
    let progress = Progress::new(session);
    let path = Path::new(command.output);
    if command.output == "-" {
        return to_stdout(command, session, &progress);
    }
    let outcome = if path.is_dir() || command.output.ends_with('/') {
        to_folder(command, session, &progress)
    } else {
        to_file(command, path, session, &progress)
    };
    progress.end();
    outcome
}

fn fed(inputs: Vec<Input>, text: &Arc<TextInput>) -> Vec<PassInput> {
    let feed = |input| PassInput {
        input,
        text: Arc::clone(text),
        feeds: vec![0],
    };
    inputs.into_iter().map(feed).collect()
}

fn total_bytes(inputs: &[Input]) -> u64 {
    inputs
        .iter()
        .filter_map(|input| Some(input.stamp.as_ref()?.bytes))
        .sum()
}

/// Writes the rows of all inputs to `out`, which messages call `name`.
fn write_rows(
    command: StreamCommand<'_>,
    name: &Path,
    out: Box<dyn Write + Send>,
    session: &Session,
    progress: &Progress<'_>,
) -> Result<StreamOutcome> {
    let inputs = fed(command.inputs, &command.text);
    let limits = session.resources.pass_limits();
    let name = name.to_owned();
    Ok(stream(
        inputs,
        &command.target,
        name,
        out,
        &limits,
        progress,
    )?)
}

fn to_stdout(command: StreamCommand<'_>, session: &Session, progress: &Progress<'_>) -> Result<()> {
    let out = Box::new(BufWriter::with_capacity(1 << 16, std::io::stdout()));
    write_rows(command, Path::new("stdout"), out, session, progress).map(drop)
}

fn to_file(
    command: StreamCommand<'_>,
    path: &Path,
    session: &Session,
    progress: &Progress<'_>,
) -> Result<()> {
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        // A pipe or a device takes the rows as they come; it must not be replaced by a file.
        let out = Box::new(append(path)?);
        return write_rows(command, path, out, session, progress).map(drop);
    }
    let new = (!command.is_forced).then(|| AtomicFile::create_new(path));
    let new = new.transpose()?;
    // A link stays a link: what it points to is replaced.
    let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    settings::refuse_overwriting(&command.inputs, |input| input == resolved)?;
    let file = match new {
        Some(file) => file,
        None => AtomicFile::create(&resolved)?,
    };
    let file = file.with_sync(session.sync);
    progress.start(command.name, total_bytes(&command.inputs));
    let out = Box::new(file.writer()?);
    let output = command.output;
    let outcome = write_rows(command, path, out, session, progress)?;
    file.commit()?;
    progress.end();
    session.printer.note(&summary(output, &outcome));
    Ok(())
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
fn to_folder(command: StreamCommand<'_>, session: &Session, progress: &Progress<'_>) -> Result<()> {
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
            "command": command.name,
            "target": own.fingerprint(),
            "text": command.text.as_ref(),
        });
        jobs.push(PassJob {
            inputs: fed(vec![input], &command.text),
            tables: vec![TableJob {
                target: own,
                kind: TableKind::Regular,
                partitioning: None,
                database: None,
                prefix: String::new(),
                file_name: name.clone(),
                has_chunk_index: false,
            }],
            options: vec![options],
            outdated: Vec::new(),
            is_sole: false,
        });
    }
    let Standing { done, folder } = standing(&root, &jobs, replace, session.folder_options())?;
    let left: Vec<PassJob> = jobs
        .into_iter()
        .zip(done)
        .filter(|(_, done)| done.is_none())
        .map(|(job, _)| job)
        .collect();
    let (all, made) = (names.len(), left.len());
    if let Some(mut folder) = folder {
        progress.start(command.name, bytes);
        for job in left {
            job.run(&mut folder, &session.resources.pass_limits(), progress)?;
        }
        progress.end();
    }
    session.printer.note(&match made {
        0 => format!(
            "{}: all {all} files are there; nothing to do",
            root.display()
        ),
        _ => format!("{}: {made} of {all} files made", root.display()),
    });
    Ok(())
}

/// Returns the name of each input's output; two inputs of one name can't share a folder.
fn output_names(command: &StreamCommand<'_>) -> Result<Vec<String>> {
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    let mut names = Vec::with_capacity(command.inputs.len());
    for input in &command.inputs {
        let InputName::File(path) = &input.name else {
            return Err(Error::usage("stdin has no name for an output folder")
                .hint("name an output file")
                .into());
        };
        let stem = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let stem = stem.unwrap_or_default();
        let stem = [".gz", ".zst"]
            .iter()
            .fold(stem.as_str(), |s, end| s.strip_suffix(end).unwrap_or(s));
        let stem = stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
        let ending = if command.target.dialect.delimiter() == b',' {
            "csv"
        } else {
            "txt"
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

//! What a task needs of others, and what it says when that is not there.

use super::attempt::attempts;
use super::folder::JobFolder;
use super::plan::Source;
use super::record::TaskRecord;
use crate::error::{Error, ErrorKind, Place, Result};

/// Tasks that a message names.
const NAMED: usize = 10;

/// Returns the records of tasks.
///
/// # Errors
/// Some are not done: to be tried again later, or, if one of them has failed for good, not at all.
pub(super) fn needed(folder: &JobFolder, sources: &[Source]) -> Result<Vec<TaskRecord>> {
    let mut records = Vec::with_capacity(sources.len());
    let mut missing = Vec::new();
    for source in sources {
        match folder.of_source(source).record(source.task())? {
            Some(record) => records.push(record),
            None => missing.push(source),
        }
    }
    match missing.is_empty() {
        true => Ok(records),
        false => Err(lacking(folder, &missing)),
    }
}

/// Makes the error for tasks that are not done.
fn lacking(folder: &JobFolder, missing: &[&Source]) -> Error {
    let named: Vec<String> = missing
        .iter()
        .map(|source| source.task().to_string())
        .collect();
    let mut list = named
        .get(..NAMED.min(named.len()))
        .unwrap_or_default()
        .join(", ");
    if named.len() > NAMED {
        list.push_str(&format!(" and {} more", named.len() - NAMED));
    }
    let place = Place::file(folder.path().display().to_string());
    let failed = missing.iter().find_map(|source| failure_of(folder, source));
    if let Some(failure) = failed {
        return Error::new(
            ErrorKind::DataRefused,
            format!("these tasks come first and are not done: {list}; {failure}"),
        )
        .at(place)
        .hint("put that right and run the tasks again that `skyprep job status` lists");
    }
    Error::new(
        ErrorKind::NotYet,
        format!("these tasks come first and are not done yet: {list}"),
    )
    .at(place)
    .hint("run this task again later")
}

/// Says how a task has failed, if it will not go better by itself.
fn failure_of(folder: &JobFolder, source: &Source) -> Option<String> {
    let of = folder.of_source(source);
    let all = attempts(&of, Some(source.task())).ok()?;
    if all.iter().any(|attempt| attempt.is_alive) {
        return None;
    }
    let end = all.last()?.note.end.as_ref()?;
    let is_final = !matches!(end.exit, 0 | 75);
    let message = end.message.as_deref().unwrap_or("no message");
    is_final.then(|| {
        format!(
            "{} has failed (exit code {}): {message}",
            source.task(),
            end.exit
        )
    })
}

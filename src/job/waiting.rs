//! What a task needs of others, and what it says when that is not there.

use std::collections::BTreeMap;

use super::attempt::{SeenAttempt, attempts};
use super::folder::JobFolder;
use super::name::TaskName;
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
    let tasks: BTreeMap<TaskName, &Source> = missing
        .iter()
        .map(|source| (source.task(), *source))
        .collect();
    let failed = failure_of(folder, &tasks);
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
    .hint("do this again later")
}

/// Says how the first of these tasks that has failed did so, if it will not go better by itself.
fn failure_of(folder: &JobFolder, tasks: &BTreeMap<TaskName, &Source>) -> Option<String> {
    let mut last: BTreeMap<TaskName, Vec<SeenAttempt>> = BTreeMap::new();
    let folders = tasks.values().map(|source| folder.of_source(source));
    let mut folders: Vec<JobFolder> = folders.collect();
    folders.dedup_by(|a, b| a.path() == b.path());
    for of in folders {
        for attempt in attempts(&of, None).ok()? {
            if tasks.contains_key(&attempt.task) {
                last.entry(attempt.task).or_default().push(attempt);
            }
        }
    }
    last.into_iter().find_map(|(task, attempts)| {
        if attempts.iter().any(|attempt| attempt.is_alive) {
            return None;
        }
        let end = attempts.last()?.note.end.as_ref()?;
        let is_final = !matches!(end.exit, 0 | 75);
        let message = end.message.as_deref().unwrap_or("no message");
        is_final.then(|| format!("{task} has failed (exit code {}): {message}", end.exit))
    })
}

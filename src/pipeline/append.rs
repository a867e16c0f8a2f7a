//! Appending to what stands in an output folder, as Qserv's C++ tools do: one table grows run by
//! run.
//!
//! The record keeps what each run was made from, so that the same rows don't get in twice. A run is
//! made in the staging folder like any other, extended by what stands, and published at once: a kill
//! leaves all of it or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::folder_run::PassJob;
use super::pass::PassLimits;
use super::table::{TableJob, TableReport};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::publish::{
    FolderOptions, InputStamp, OutputFolder, Record, SetRecord, Staging, extend_standing,
    remove_optional,
};

/// What becomes of an input that is in the table already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repetition {
    /// It is refused.
    Refused,
    /// Its rows come in once more.
    Allowed,
}

/// A run whose rows are in a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct AppendedRun {
    /// Command and options, as far as they decide the bytes.
    options: Value,
    /// Number of its inputs among those of the set, which are in the order of the runs.
    inputs: usize,
    /// Indexes that its keys were looked up in.
    indexes: Vec<InputStamp>,
    /// Bytes of the index of chunks before its records.
    chunk_index_from: u64,
}

/// What the record's options of a table are that runs append to.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Appended {
    appended: Vec<AppendedRun>,
}

/// What is to be done for a run that appends.
pub enum Appending {
    /// It is to be made, into this folder.
    Open(Box<OutputFolder>),
    /// An earlier run of the same was killed while it was published, and that is finished now; what
    /// was reported of all runs, and where the records of this one begin in the index of chunks.
    Finished(Box<TableReport>, u64),
}

impl Appended {
    fn of(set: &SetRecord) -> Option<Self> {
        serde_json::from_value(set.options.clone()).ok()
    }
}

impl PassJob {
    /// Takes an output folder for a run that appends its rows to the folder's only table.
    ///
    /// # Errors
    /// An input is in the table already, something else stands there, or the folder is in use or may
    /// not be written.
    pub fn begin_appending(
        &self,
        root: &Path,
        repetition: Repetition,
        options: FolderOptions,
        limits: &PassLimits,
    ) -> Result<Appending> {
        let mut was_killed = false;
        if let Some(record) = OutputFolder::peek(root)? {
            // The last steps of a run tidy up. Who has it repeated on purpose means it.
            was_killed = repetition == Repetition::Refused
                && self.as_last_run(&record).is_some()
                && OutputFolder::has_litter(root, Staging::Clear);
            if !was_killed {
                // Nothing is touched if the run is refused.
                self.check_appendable(root, &record, repetition)?;
            }
        }
        let folder = OutputFolder::open(root, options)?;
        if (was_killed || folder.was_interrupted())
            && let Some((report, from)) = self.as_last_run(folder.record())
        {
            self.clear_spill(root, limits)?;
            folder.clear_staging()?;
            return Ok(Appending::Finished(Box::new(report), from));
        }
        self.check_appendable(root, folder.record(), repetition)?;
        self.check_memory(limits)?;
        Ok(Appending::Open(Box::new(folder)))
    }

    fn name(&self) -> &str {
        self.tables.first().map_or("", |job| &job.target.name)
    }

    fn data_stamps(&self) -> impl Iterator<Item = &InputStamp> {
        self.inputs
            .iter()
            .filter_map(|fed| fed.input.stamp.as_ref())
    }

    fn check_appendable(&self, root: &Path, record: &Record, repetition: Repetition) -> Result<()> {
        let at_root = Place::file(root.display().to_string());
        let is_foreign = |(name, set): (&String, &SetRecord)| {
            *name != self.name() || Appended::of(set).is_none()
        };
        if record.sets.iter().any(is_foreign) {
            let message =
                "skyprep has made this folder with another command, and does not append to it";
            return Err(Error::new(ErrorKind::OutputRefused, message)
                .at(at_root)
                .hint("choose another output folder"));
        }
        let known = record
            .sets
            .get(self.name())
            .map(|set| set.inputs.as_slice());
        let known: BTreeMap<&str, Vec<&InputStamp>> =
            known
                .unwrap_or_default()
                .iter()
                .fold(BTreeMap::new(), |mut all, stamp| {
                    all.entry(stamp.path.as_str())
                        .or_insert_with(Vec::new)
                        .push(stamp);
                    all
                });
        let is_known = |stamp: &&InputStamp| {
            let same = known.get(stamp.path.as_str());
            same.is_some_and(|same| same.contains(stamp))
        };
        match self.data_stamps().find(is_known) {
            Some(stamp) if repetition == Repetition::Refused => Err(Error::new(
                ErrorKind::OutputRefused,
                format!("the rows of this file are in {} already", root.display()),
            )
            .at(Place::file(stamp.path.as_str()))
            .hint(
                "nothing was appended; to start anew remove the folder, to have the rows twice set \
                 SKYPREP_APPEND=always",
            )),
            _ => Ok(()),
        }
    }

    /// Returns what was reported if the last run in the record is this one.
    fn as_last_run(&self, record: &Record) -> Option<(TableReport, u64)> {
        let set = record.sets.get(self.name())?;
        let last = Appended::of(set)?.appended.pop()?;
        let own: Vec<&InputStamp> = self.data_stamps().collect();
        let from = set.inputs.len().checked_sub(last.inputs)?;
        let inputs: Vec<&InputStamp> = set.inputs.get(from..)?.iter().collect();
        let is_same = Some(&last.options) == self.options.first() && inputs == own;
        let report = serde_json::from_value(set.report.clone()).ok()?;
        is_same.then_some((report, last.chunk_index_from))
    }

    /// Makes the sets of a run that appends tell of all runs, and its staged files hold what stands.
    pub(super) fn extend(
        &self,
        sets: &mut BTreeMap<String, SetRecord>,
        folder: &OutputFolder,
    ) -> Result<()> {
        for job in &self.tables {
            if let Some(set) = sets.get_mut(&job.target.name) {
                self.extend_set(job, set, folder)?;
            }
        }
        Ok(())
    }

    fn extend_set(&self, job: &TableJob, set: &mut SetRecord, folder: &OutputFolder) -> Result<()> {
        let earlier = folder.record().sets.get(&job.target.name);
        let data = self.data_stamps().count();
        let index = folder.root().join(job.chunk_index_path());
        let run = AppendedRun {
            options: set.options.take(),
            indexes: set.inputs.split_off(data.min(set.inputs.len())),
            inputs: set.inputs.len(),
            chunk_index_from: std::fs::metadata(index).map_or(0, |found| found.len()),
        };
        let mut all = earlier.and_then(Appended::of).unwrap_or_default();
        all.appended.push(run);
        set.options = json!(all);
        if let Some(earlier) = earlier {
            let own = std::mem::take(&mut set.inputs);
            set.inputs = earlier.inputs.iter().cloned().chain(own).collect();
            set.report = added_up(earlier, set)?;
        }
        // From here on the staged files are not what the journal says.
        remove_optional(&job.journal_path(folder)?)?;
        extend_standing(folder, &mut set.files)
    }
}

/// Returns the report of all runs, given the sets of those before and of the last.
fn added_up(earlier: &SetRecord, last: &SetRecord) -> Result<Value> {
    let read =
        |report: &Value| -> Option<TableReport> { serde_json::from_value(report.clone()).ok() };
    let (Some(before), Some(mut all)) = (read(&earlier.report), read(&last.report)) else {
        return Ok(last.report.clone());
    };
    all.rows_in += before.rows_in;
    all.rows_out += before.rows_out;
    all.second_rows += before.second_rows;
    all.overlap_rows += before.overlap_rows;
    all.rejected += before.rejected;
    all.bytes += before.bytes;
    let paths: BTreeSet<_> = earlier
        .files
        .iter()
        .chain(&last.files)
        .map(|file| file.path())
        .collect();
    all.files = paths.len() as u64;
    all.seconds += before.seconds;
    all.memory_peak = all.memory_peak.max(before.memory_peak);
    for (column, rules) in before.changes {
        let own = all.changes.entry(column).or_default();
        for (rule, count) in rules {
            *own.entry(rule).or_default() += count;
        }
    }
    serde_json::to_value(&all)
        .map_err(|error| Error::new(ErrorKind::Internal, format!("report: {error}")))
}

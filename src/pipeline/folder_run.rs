//! Makes tables into an output folder: once, whole, and not again.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use super::bad_inputs::{BadInputs, PassedOver, passed_over};
use super::duplicates::{TableDuplicates, first_in_index};
use super::finishing::ArrangedColumns;
use super::pass::{Events, Pass, PassInput, PassLimits, shapes};
use super::prepared::PreparedInputs;
use super::table::{FinishedTable, TableJob, TableReport, TableSink};
use crate::convert::RowTarget;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::{Mark, Sink, check_room};
use crate::partition::key_index::IndexFormat;
use crate::publish::{
    FolderOptions, InputStamp, OutputFolder, Publication, Record, SetRecord, SetState, Staging,
    StandingFiles, TableIdentity,
};

/// What a pass is to make: tables that are fed by the same inputs.
#[derive(Clone)]
pub struct PassJob {
    /// The inputs; `feeds` counts in `tables`.
    pub inputs: Vec<PassInput>,
    /// The tables.
    pub tables: Vec<TableJob>,
    /// Command and options of each table, as far as they decide the bytes.
    pub options: Vec<Value>,
    /// Files, relative to the output folder, that are no longer true once the tables are there.
    pub outdated: Vec<String>,
    /// Whether the output folder is for these tables alone.
    pub is_sole: bool,
    /// What becomes of what stands there: an extended table grows (see
    /// [`begin_appending`](Self::begin_appending)).
    pub standing: StandingFiles,
}

/// How an output folder stands before any work.
pub struct Standing {
    /// For each job the reports of its tables, if all of them stand complete.
    pub done: Vec<Option<Vec<TableReport>>>,
    /// The folder, taken for writing; nothing if there is nothing to do.
    pub folder: Option<OutputFolder>,
}

/// Looks at an output folder, and takes it for writing if any of the jobs is left to do.
///
/// # Errors
/// A table stands there that other options or inputs have made, and may not be replaced; or the
/// folder is in use or may not be written.
pub fn standing(
    root: &Path,
    jobs: &[PassJob],
    replace: Replace,
    options: FolderOptions,
    limits: &PassLimits,
) -> Result<Standing> {
    let look = |record: &Record| -> Result<Vec<_>> {
        jobs.iter()
            .map(|job| job.already_done(root, record, replace))
            .collect()
    };
    if let Some(record) = OutputFolder::peek(root)? {
        let done = look(&record)?;
        if done.iter().all(Option::is_some) {
            // Nothing is left to go on with.
            let staging = Staging::Clear;
            OutputFolder::tidy(root, FolderOptions { staging, ..options });
            jobs.iter()
                .try_for_each(|job| job.clear_spill(root, limits))?;
            return Ok(Standing { done, folder: None });
        }
    }
    // Opening finishes what an interrupted run had begun to publish, so look once more.
    let folder = OutputFolder::open(root, options)?;
    let done = look(folder.record())?;
    for (job, _) in jobs.iter().zip(&done).filter(|(_, done)| done.is_some()) {
        // A run that was killed when all was published but not yet tidy.
        job.clear_spill(root, limits)?;
    }
    if done.iter().all(Option::is_some) {
        folder.clear_staging()?;
    }
    for (job, _) in jobs.iter().zip(&done).filter(|(_, done)| done.is_none()) {
        job.check_memory(limits)?;
    }
    Ok(Standing {
        done,
        folder: Some(folder),
    })
}

/// Refuses a table whose name another database has taken in the folder `root`: its files would go.
///
/// # Errors
/// It is so.
pub(crate) fn check_database(own: &TableIdentity, record: &Record, root: &Path) -> Result<()> {
    let Some(set) = record.sets.get(&own.table) else {
        return Ok(());
    };
    let other = set
        .identity
        .as_ref()
        .and_then(|known| known.database.as_ref());
    // What was released may be followed by others.
    let stands = || set.loaded().any(|file| root.join(&*file.path()).exists());
    match (&own.database, other) {
        (Some(database), Some(other)) if database != other && stands() => Err(Error::new(
            ErrorKind::OutputRefused,
            format!(
                "a table {} of database {other} stands here already, of {database} none can",
                own.table
            ),
        )
        .at(Place::file(root.display().to_string()))
        .hint("give each database a dest of its own, or release the other one first")),
        _ => Ok(()),
    }
}

/// What to do where the output was made by another command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Refuse.
    No,
    /// Replace what the record names.
    Yes,
}

impl PassJob {
    /// Returns the reports of the tables if all of them stand complete in `record`.
    pub(super) fn already_done(
        &self,
        root: &Path,
        record: &Record,
        replace: Replace,
    ) -> Result<Option<Vec<TableReport>>> {
        for job in &self.tables {
            check_database(&job.identity(), record, root)?;
        }
        if let Some(other) = self.others_in(record).first() {
            return match replace {
                Replace::No => Err(different(root, other)),
                Replace::Yes => Ok(None),
            };
        }
        let mut reports = Vec::with_capacity(self.tables.len());
        for (number, job) in self.tables.iter().enumerate() {
            let name = &job.target.name;
            let Some(stamps) = self.stamps(number) else {
                // What came from stdin can't be compared.
                return match record.sets.get(name) {
                    Some(_) if replace == Replace::No => Err(different(root, name)),
                    _ => Ok(None),
                };
            };
            match self.state_by(number, root, record, stamps) {
                SetState::Complete => {}
                SetState::Different if replace == Replace::No => return Err(different(root, name)),
                _ => return Ok(None),
            }
            let report = record
                .sets
                .get(name)
                .map(|set| set.report.clone())
                .unwrap_or_default();
            let Ok(report) = serde_json::from_value(report) else {
                return Ok(None);
            };
            reports.push(report);
        }
        Ok(Some(reports))
    }

    /// Makes the tables and publishes them.
    ///
    /// # Errors
    /// The first failure in input order; nothing is published then.
    pub fn run(
        self,
        folder: &mut OutputFolder,
        limits: &PassLimits,
        events: &dyn Events,
    ) -> Result<Vec<TableReport>> {
        let mut job = self;
        limits.bad_inputs.look_at(&mut job.inputs)?;
        let books = limits.rejects.snapshot();
        loop {
            let made = job.make(folder, limits, events);
            let may_go_on = |error: &Error| match error.kind() {
                // It may be back soon.
                ErrorKind::InputMissing => limits.bad_inputs == BadInputs::End,
                kind => kind.is_interruption(),
            };
            let made = match made {
                Err(error) if may_go_on(&error) && job.identity().is_some() => {
                    // What is staged is gone on with next time.
                    return Err(error);
                }
                made => made,
            };
            // If the pass failed, what was staged is of no use, and the failure is what counts.
            let cleared = job.clear_leftovers(folder, limits);
            match made {
                Ok(Made::Tables(reports)) => return cleared.map(|()| reports),
                Ok(Made::Duplicates(found)) => {
                    // Whatever was set aside is found again, twice.
                    limits.rejects.restore(books.clone());
                    job.watch_out(found, limits)?;
                    limits.rejects.restore(books.clone());
                }
                Err(error) => limits.bad_inputs.pass_over(&mut job.inputs, error)?,
            }
            // What is left there would get into the next attempt.
            cleared?;
        }
    }

    /// Removes what this or an earlier run has staged.
    fn clear_leftovers(&self, folder: &OutputFolder, limits: &PassLimits) -> Result<()> {
        self.clear_spill(folder.root(), limits)?;
        folder.clear_staging()
    }

    pub(super) fn clear_spill(&self, root: &Path, limits: &PassLimits) -> Result<()> {
        self.tables
            .iter()
            .try_for_each(|table| table.clear_spill(root, limits))
    }

    /// Refuses a memory limit that can't be kept, before any work.
    pub(super) fn check_memory(&self, limits: &PassLimits) -> Result<()> {
        let targets: Vec<&RowTarget> = self.tables.iter().map(|job| &job.target).collect();
        let is_no_pipe = |fed: &&PassInput| fed.input.stamp.is_some();
        let readable: Vec<_> = self.readable().filter(is_no_pipe).cloned().collect();
        // What is wrong with inputs is told by the pass, in their order.
        let Ok(inputs) = PreparedInputs::new(readable, &targets) else {
            return Ok(());
        };
        let bytes = inputs.least_memory(&targets)?;
        // What opening the inputs has taken is not there for the pass either.
        let limits = limits.afresh();
        let shapes = shapes(&inputs, &targets, limits.gate.room());
        check_room(&limits.gate, &shapes, bytes)
    }

    /// Returns a digest of all that decides the bytes of the tables; nothing if an input can't be
    /// read a second time.
    fn identity(&self) -> Option<String> {
        let stamps: Option<Vec<_>> = self
            .inputs
            .iter()
            .map(|fed| {
                let is_read = fed.input.unreadable.is_none();
                Some((fed.input.stamp.as_ref()?, &fed.feeds, is_read))
            })
            .collect();
        let names: Vec<&str> = self
            .tables
            .iter()
            .map(|job| job.target.name.as_str())
            .collect();
        let indexes: Result<Vec<_>> = self.tables.iter().map(TableJob::index_stamps).collect();
        let all = serde_json::to_vec(&(stamps?, names, &self.options, indexes.ok()?)).ok()?;
        Some(format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&all)))
    }

    /// Makes the sinks of all tables, and tells how far each has come.
    fn sinks(
        &self,
        inputs: &PreparedInputs,
        folder: &OutputFolder,
        limits: &PassLimits,
        identity: Option<&str>,
    ) -> Result<(Vec<TableSink>, Vec<Option<Mark>>)> {
        let made: Result<Vec<_>> = self
            .tables
            .iter()
            .enumerate()
            .map(
                |(number, job)| match (inputs.parquet_columns(number), &job.target.routing) {
                    (Some(columns), None) => {
                        Ok((job.parquet_sink(columns.to_vec(), folder, limits)?, None))
                    }
                    _ => job.sink(inputs.columns(number), folder, limits, identity),
                },
            )
            .collect();
        Ok(made?.into_iter().unzip())
    }

    /// Settles how chunk files are arranged, for each table whose are.
    fn arranged(&self, inputs: &PreparedInputs) -> Result<Vec<Option<ArrangedColumns>>> {
        let tables = self.tables.iter().enumerate();
        let columns = tables.map(|(number, job)| {
            if !job.is_arranged() {
                return Ok(None);
            }
            let (typed, are_known) = inputs.typed_columns(number, &job.target)?;
            let columns = inputs.columns(number);
            job.arranged_columns(typed, columns, &are_known).map(Some)
        });
        columns.collect()
    }

    fn make(
        &self,
        folder: &mut OutputFolder,
        limits: &PassLimits,
        events: &dyn Events,
    ) -> Result<Made> {
        let start = Instant::now();
        let stamps: Vec<_> = (0..self.tables.len())
            .map(|number| self.stamps(number).unwrap_or_default())
            .collect();
        let dropped = self.others_in(folder.record());
        let targets: Vec<&RowTarget> = self.tables.iter().map(|job| &job.target).collect();
        let passed_over: Vec<_> = (0..self.tables.len())
            .map(|number| passed_over(self.feeding(number)))
            .collect();
        if let Some(sets) = self.sets_of_nothing(&stamps, &passed_over)? {
            if matches!(
                self.standing,
                StandingFiles::Extended | StandingFiles::Restored
            ) {
                // What stands stays as it is.
                return Ok(Made::Tables(
                    sets.into_iter().map(|(_, report)| report).collect(),
                ));
            }
            if let Some(name) = self.table_with_files(folder.record()) {
                let message = format!("no input can be read; what stands of {name} stays as it is");
                return Err(Error::new(ErrorKind::DataRefused, message)
                    .at(Place::file(folder.root().display().to_string()))
                    .hint("see to the inputs, or remove the folder"));
            }
            let nothing = publish_nothing(sets, self.outdated.clone(), dropped, folder);
            return nothing.map(Made::Tables);
        }
        let inputs = PreparedInputs::new(self.readable().cloned().collect(), &targets)?;
        let arranged = self.arranged(&inputs)?;
        let identity = self.identity();
        if identity.is_none() {
            folder.clear_staging()?;
        }
        let limits = &self.with_indexes(&folder.staging_place(), limits, &inputs, &targets)?;
        let (mut sinks, mut starts) = self.sinks(&inputs, folder, limits, identity.as_deref())?;
        if starts.iter().flatten().any(|mark| mark.counts.rejected > 0) {
            // What was set aside is not in the journal, so it has to be found again.
            drop(sinks);
            self.clear_leftovers(folder, limits)?;
            (sinks, starts) = self.sinks(&inputs, folder, limits, identity.as_deref())?;
        }
        let rows_done = |mark: &Mark| mark.counts.rows_in + mark.rows;
        if let Some(rows) = starts.iter().flatten().map(rows_done).max() {
            events.goes_on(rows);
        }
        let as_sinks: Vec<&dyn Sink> = sinks.iter().map(TableSink::as_sink).collect();
        let pass = Pass {
            inputs: &inputs,
            targets,
            sinks: as_sinks,
            starts,
        };
        let counts = pass.run(limits, events)?;
        let mut sets = BTreeMap::new();
        let mut found = Vec::new();
        let mut reports = Vec::with_capacity(self.tables.len());
        let all = self
            .tables
            .iter()
            .zip(sinks)
            .zip(&counts)
            .zip(&self.options)
            .zip(stamps);
        for (number, ((((job, sink), counts), options), inputs_then)) in all.enumerate() {
            let columns = inputs.columns(number);
            let place = folder.staging_place();
            let arranged = arranged.get(number).and_then(Option::as_ref);
            let finished = job.finish(sink, (columns, arranged), counts, &place, limits)?;
            if let Some(keys) = finished.duplicates {
                if self.identity().is_none() {
                    let index = format!("{}{}", job.folder, job.key_index(IndexFormat::Text));
                    return Err(first_in_index(job, keys, &folder.staged(&index)?));
                }
                found.push((number, keys));
                continue;
            }
            let FinishedTable {
                files, mut report, ..
            } = finished;
            report.passed_over.clone_from(&passed_over[number]);
            report.reject_file = limits.reject_file(report.rejected);
            report.seconds = start.elapsed().as_secs_f64();
            let recorded = serde_json::to_value(&report)
                .map_err(|error| Error::new(ErrorKind::Internal, format!("report: {error}")))?;
            let identity = Some(job.identity());
            let set = SetRecord {
                identity,
                options: options.clone(),
                inputs: inputs_then,
                files,
                report: recorded,
                placed_at: None,
            };
            sets.insert(job.target.name.clone(), set);
            reports.push(report);
        }
        if !found.is_empty() {
            return Ok(Made::Duplicates(found));
        }
        check_unchanged(&sets)?;
        // Writing the last run takes time, in which somebody may have asked for an end.
        limits.cancel.check()?;
        if self.standing == StandingFiles::Extended {
            if sets.values().all(|set| set.files.is_empty()) {
                // Whatever was counted, there is nothing that must not come in twice.
                return Ok(Made::Tables(reports));
            }
            self.extend(&mut sets, folder)?;
        }
        if self.standing == StandingFiles::Restored {
            self.check_complete(&sets, folder)?;
        }
        folder.publish(Publication {
            sets,
            outdated: self.outdated.clone(),
            dropped,
            standing: self.standing,
        })?;
        Ok(Made::Tables(reports))
    }

    /// Returns the first of the tables of which files stand.
    fn table_with_files(&self, record: &Record) -> Option<&str> {
        let names = self.tables.iter().map(|job| job.target.name.as_str());
        let mut names = names.filter(|name| {
            let set = record.sets.get(*name);
            set.is_some_and(|set| !set.files.is_empty())
        });
        names.next()
    }

    /// Returns the sets that must not stand beside these tables.
    fn others_in(&self, record: &Record) -> Vec<String> {
        let is_own = |name: &String| self.tables.iter().any(|job| job.target.name == *name);
        record
            .sets
            .keys()
            .filter(|name| self.is_sole && !is_own(name))
            .cloned()
            .collect()
    }

    /// Says how table number `table` stands in `record`; what came from stdin can't be compared.
    pub(super) fn state_of(&self, table: usize, root: &Path, record: &Record) -> SetState {
        let name = &self.tables[table].target.name;
        match self.stamps(table) {
            Some(stamps) => self.state_by(table, root, record, stamps),
            None if record.sets.contains_key(name) => SetState::Different,
            None => SetState::Absent,
        }
    }

    /// Says how table number `table` stands in `record`, made of what has these stamps. If nothing
    /// but an index of the same pipeline has changed, the table has only to be made again.
    fn state_by(
        &self,
        table: usize,
        root: &Path,
        record: &Record,
        mut stamps: Vec<InputStamp>,
    ) -> SetState {
        let (name, options) = (&self.tables[table].target.name, &self.options[table]);
        let state = record.state_of(root, name, options, &stamps);
        let siblings = self.tables[table].sibling_indexes();
        let recorded = record.sets.get(name).map(|set| &set.inputs);
        let (SetState::Different, Some(recorded)) = (&state, recorded) else {
            return state;
        };
        if siblings == 0 || recorded.len() != stamps.len() {
            return state;
        }
        let own = stamps.len() - siblings;
        stamps.truncate(own);
        stamps.extend_from_slice(&recorded[own..]);
        match record.state_of(root, name, options, &stamps) {
            SetState::Different => SetState::Different,
            _ => SetState::Damaged,
        }
    }

    /// Returns the stamps of what table number `table` is made of: its inputs, and the indexes that
    /// its keys are looked up in; nothing if an input is stdin.
    pub(super) fn stamps(&self, table: usize) -> Option<Vec<InputStamp>> {
        let feeding = self.feeding(table);
        let inputs: Option<Vec<_>> = feeding.map(|input| input.input.stamp.clone()).collect();
        let mut stamps = inputs?;
        // An index that can't be looked at is an error when it is opened.
        stamps.extend(self.tables[table].index_stamps().unwrap_or_default());
        Some(stamps)
    }

    /// Returns the inputs that are not passed over.
    pub(super) fn readable(&self) -> impl Iterator<Item = &PassInput> {
        let inputs = self.inputs.iter();
        inputs.filter(|fed| fed.input.unreadable.is_none())
    }

    /// Returns the inputs of table number `table`.
    fn feeding(&self, table: usize) -> impl Iterator<Item = &PassInput> {
        let feeds = move |input: &&PassInput| input.feeds.contains(&table);
        self.inputs.iter().filter(feeds)
    }

    /// Returns sets without files, with their reports, if all inputs were passed over: the record
    /// remembers that they were.
    ///
    /// # Errors
    /// Some tables lack all their inputs and others do not.
    fn sets_of_nothing(
        &self,
        stamps: &[Vec<InputStamp>],
        passed_over: &[Vec<PassedOver>],
    ) -> Result<Option<Vec<(SetRecord, TableReport)>>> {
        let is_readable = |fed: &PassInput| fed.input.unreadable.is_none();
        let lacking = |table: &usize| {
            !passed_over[*table].is_empty() && !self.feeding(*table).any(is_readable)
        };
        let Some(first) = (0..self.tables.len()).find(lacking) else {
            return Ok(None);
        };
        if self.inputs.iter().any(is_readable) {
            let message = format!(
                "table {} has no input left: all were passed over",
                self.tables[first].target.name
            );
            let first = passed_over[first].first();
            let file = first.map_or_else(String::new, |input| input.file.clone());
            return Err(Error::new(ErrorKind::DataRefused, message).at(Place::file(file)));
        }
        let set = |number: usize| {
            let job = &self.tables[number];
            let mut report = TableReport::of_nothing(job);
            report.passed_over.clone_from(&passed_over[number]);
            let recorded = serde_json::to_value(&report)
                .map_err(|error| Error::new(ErrorKind::Internal, format!("report: {error}")))?;
            let set = SetRecord {
                identity: Some(job.identity()),
                options: self.options[number].clone(),
                inputs: stamps[number].clone(),
                files: Vec::new(),
                report: recorded,
                placed_at: None,
            };
            Ok((set, report))
        };
        let sets: Result<Vec<_>> = (0..self.tables.len()).map(set).collect();
        sets.map(Some)
    }
}

/// What became of a pass.
enum Made {
    /// The tables are published.
    Tables(Vec<TableReport>),
    /// Keys of directors occur more than once, so nothing is.
    Duplicates(Vec<TableDuplicates>),
}

/// Publishes sets without files.
fn publish_nothing(
    sets: Vec<(SetRecord, TableReport)>,
    outdated: Vec<String>,
    dropped: Vec<String>,
    folder: &mut OutputFolder,
) -> Result<Vec<TableReport>> {
    let (sets, reports): (Vec<_>, Vec<_>) = sets.into_iter().unzip();
    let names = reports
        .iter()
        .map(|report: &TableReport| report.table.clone());
    folder.publish(Publication {
        sets: names.zip(sets).collect(),
        outdated,
        dropped,
        standing: StandingFiles::Replaced,
    })?;
    folder.clear_staging()?;
    Ok(reports)
}

/// Refuses to publish what was read from files that changed meanwhile.
fn check_unchanged(sets: &BTreeMap<String, SetRecord>) -> Result<()> {
    let inputs = sets.values().flat_map(|set| &set.inputs);
    // Each answer of a server was compared with the first.
    for before in inputs.filter(|stamp| !stamp.is_absent() && !stamp.is_at_server()) {
        if InputStamp::of(Path::new(&before.path))? != *before {
            return Err(
                Error::new(ErrorKind::Integrity, "the input changed while it was read")
                    .at(Place::file(before.path.as_str()))
                    .hint("run the command again once the file is complete"),
            );
        }
    }
    Ok(())
}

/// Makes the error for a set that other options or inputs have made.
pub(crate) fn different(root: &Path, name: &str) -> Error {
    Error::new(
        ErrorKind::OutputRefused,
        format!("{name} stands here already, made with other options or from other inputs"),
    )
    .at(Place::file(root.display().to_string()))
    .hint("choose another output folder, or replace it with --force")
}

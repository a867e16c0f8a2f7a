//! `job commit`: all tasks are whole and the books balance; then the files get their names, and the
//! manifest of a new generation tells of them.
//!
//! A kill at any moment leaves what the same command finishes. The last thing written is `commit.json`
//! in the job's folder; then what the tasks have made is no longer needed there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::attempt::{AttemptEnd, exit_code};
use super::books::{TableBooks, books_of};
use super::folder::{JobFolder, read_json};
use super::generation::{Generation, claim, generation, manifest_folder, manifest_of, newest};
use super::name::TaskKind;
use super::passes::{find, table_folder};
use super::plan::{Plan, ReduceWork, Source};
use super::record::TaskRecord;
use super::rejects::{RejectList, Rejected};
use super::task::{check_stamps, lines_of};
use super::waiting::needed;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::{FileDigest, FileSummary};
use crate::manifest::Listing;
use crate::pipeline::{
    PassedOver, PipelineFile, RunEvents, RunOptions, RunOutcome, TableJob, TableReport, conclude,
    job_passes,
};
use crate::place::Network;
use crate::publish::{
    InputStamp, OutputFolder, Publication, Record, SetRecord, SetState, StandingFiles, append,
    link_or_copy, publish_new, remove_optional, remove_tree, write_atomically,
};
use crate::resources::process_peak_bytes;
use crate::schema::TableKind;
use crate::source::each_block;

const COMMIT_FILE: &str = "commit.json";
const FAILURE_FILE: &str = "commit-failure.json";

/// What a commit leaves in the job's folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CommitNote {
    /// The generation.
    pub generation: u32,
    /// Path or URL of its manifest.
    pub manifest: String,
    /// When: seconds since 1970.
    pub committed: u64,
    /// What it changed, where there was a generation before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub chunks: BTreeMap<String, ChunkChanges>,
}

/// How the chunks of a table differ from those of the generation before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkChanges {
    /// Chunks whose rows are others.
    pub changed: Vec<i32>,
    /// Chunks that had no rows.
    pub added: Vec<i32>,
    /// Chunks that have no rows any more.
    pub emptied: Vec<i32>,
}

/// What came of a commit.
#[derive(Debug)]
pub struct Committed {
    /// What was written down.
    pub note: CommitNote,
    /// Tables, manifest, report.
    pub outcome: RunOutcome,
}

/// What a commit works with.
pub struct CommitOptions<'a> {
    /// As for `run`.
    pub run: RunOptions,
    /// The network, where the destination is no folder.
    pub network: Option<&'a Network>,
    /// Told how it gets on.
    pub events: &'a dyn RunEvents,
}

/// Says how a job was committed, if it was.
///
/// # Errors
/// The note can't be read.
pub fn committed(folder: &JobFolder) -> Result<Option<CommitNote>> {
    read_json(&folder.file(COMMIT_FILE))
}

/// Says how the last try to commit a job has failed, if it will not go better by itself.
///
/// # Errors
/// The note can't be read.
pub(super) fn commit_failure(folder: &JobFolder) -> Result<Option<AttemptEnd>> {
    read_json(&folder.file(FAILURE_FILE))
}

/// Commits a job.
///
/// # Errors
/// It was committed before; tasks are lacking; the books do not balance; another job has made the
/// generation; or the output may not be written.
pub fn commit(folder: &JobFolder, options: &CommitOptions<'_>) -> Result<Committed> {
    let start = Instant::now();
    let plan = folder.plan()?;
    let failure = folder.file(FAILURE_FILE);
    match try_commit(folder, plan, options) {
        Ok(committed) => {
            remove_optional(&failure)?;
            Ok(committed)
        }
        Err(error) => {
            let exit = exit_code(&error);
            if exit != ErrorKind::NotYet.exit_code() && self::committed(folder)?.is_none() {
                let end = AttemptEnd {
                    exit,
                    message: Some(error.to_string()),
                    seconds: start.elapsed().as_secs_f64(),
                    memory_peak: process_peak_bytes().unwrap_or(0),
                };
                // `job status` tells it; the error itself is told now.
                if let Ok(bytes) = serde_json::to_vec(&end) {
                    let _ = write_atomically(&failure, &bytes);
                }
            }
            Err(error)
        }
    }
}

fn try_commit(folder: &JobFolder, plan: Plan, options: &CommitOptions<'_>) -> Result<Committed> {
    if let Err(error) = check_not_committed(folder, &plan) {
        // One that was killed behind its last step, or came second, may have left a lock.
        OutputFolder::tidy(&plan.root, options.run.folder);
        return Err(error);
    }
    let commit = Commit::prepare(folder, plan, options)?;
    commit.carry_out()
}

fn check_not_committed(folder: &JobFolder, plan: &Plan) -> Result<()> {
    let Some(note) = committed(folder)? else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::OutputRefused,
        format!(
            "job {} was committed already, as generation {}",
            plan.id, note.generation
        ),
    )
    .at(Place::file(folder.path().display().to_string()))
    .hint(format!("its manifest is {}", note.manifest)))
}

/// A commit whose books balance.
struct Commit<'a> {
    folder: &'a JobFolder,
    plan: Plan,
    options: &'a CommitOptions<'a>,
    file: PipelineFile,
    passes: Vec<PassToCommit>,
    /// Lists of rows that were set aside.
    lists: Vec<RejectList>,
}

/// A pass and what is known of it.
struct PassToCommit {
    /// Number in the plan.
    number: usize,
    tables: Vec<TableJob>,
    /// Options of each table, for the record.
    options: Vec<serde_json::Value>,
    columns: Vec<Vec<String>>,
    feeds: Vec<Vec<usize>>,
    /// All inputs, by number.
    inputs: BTreeMap<u32, (u32, InputStamp)>,
    books: BTreeMap<String, TableBooks>,
    seconds: f64,
    /// What reduce tasks of this job have made, with the folders of the files.
    made: Vec<(PathBuf, TaskRecord)>,
}

impl<'a> Commit<'a> {
    fn prepare(folder: &'a JobFolder, plan: Plan, options: &'a CommitOptions<'a>) -> Result<Self> {
        let tasks: Vec<Source> = plan
            .tasks()
            .map(|task| Source::own(task.kind, task.number))
            .collect();
        needed(folder, &tasks)?;
        let file = folder.pipeline(&plan)?;
        let mut passes = Vec::with_capacity(plan.passes.len());
        let mut lists = Vec::new();
        for number in 0..plan.passes.len() {
            passes.push(PassToCommit::read(
                folder, &plan, &file, number, options, &mut lists,
            )?);
        }
        let rejected: u64 = passes
            .iter()
            .flat_map(|pass| pass.books.values())
            .map(|books| books.rejected)
            .sum();
        if rejected > plan.settings.max_rejects {
            return Err(Rejected::read(&lists)?.too_many(plan.settings.max_rejects));
        }
        Ok(Self {
            lists,
            folder,
            plan,
            options,
            file,
            passes,
        })
    }

    fn carry_out(self) -> Result<Committed> {
        let plan = &self.plan;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let unique = format!("{}-{:x}", std::process::id(), now.as_nanos());
        let own = Generation {
            generation: plan.generation,
            job: plan.id.clone(),
        };
        let mut output = OutputFolder::open(&plan.root, self.options.run.folder)?;
        // Now that nobody else commits.
        check_not_committed(self.folder, plan)?;
        self.check_newest(&unique)?;
        self.check_replaceable(output.record())?;
        for pass in &self.passes {
            for (number, table) in pass.tables.iter().enumerate() {
                let files = self.files_of(pass, table, output.record())?;
                pass.report(number, &files.all, plan)?;
            }
        }
        claim(&plan.root, &plan.database, &own, &unique)?;
        if let Some(path) = &plan.settings.reject_file {
            Rejected::read(&self.lists)?.write(path)?;
        }
        let before = match plan.generation {
            0 | 1 => None,
            later => Some(files_before(plan, later - 1)?),
        };
        let mut outcome = self.begin_outcome();
        let mut chunks = BTreeMap::new();
        let count = self.passes.len();
        for (at, pass) in self.passes.iter().enumerate() {
            let mut new = BTreeMap::new();
            for (name, (set, made)) in self.sets_of(pass, &output)? {
                let report: Result<TableReport, _> = serde_json::from_value(set.report.clone());
                let report = report
                    .map_err(|error| Error::new(ErrorKind::Internal, format!("report: {error}")))?;
                outcome.tables.push(report);
                if let Some(before) = &before {
                    let changes = changes_between(before, &name, &set.files);
                    chunks.insert(name.clone(), changes);
                }
                // A commit that was killed may have published it.
                if !self.stands(&name, &set, &output) {
                    self.stage(&made, &output)?;
                    new.insert(name, set);
                }
            }
            let publication = Publication {
                sets: new,
                outdated: Vec::new(),
                dropped: Vec::new(),
                standing: match plan.generation {
                    0 | 1 => StandingFiles::Replaced,
                    _ => StandingFiles::Kept,
                },
            };
            if !publication.sets.is_empty() {
                output.publish(publication)?;
            }
            crate::publish::crash_point(match at + 1 == count {
                true => "sets-published",
                false => "set-published",
            });
        }
        // As `run` lists them: directors first, by name.
        let rank = |report: &TableReport| match report.kind {
            TableKind::Director => 0,
            TableKind::Child | TableKind::Match => 1,
            TableKind::Regular => 2,
        };
        outcome
            .tables
            .sort_by(|a, b| (rank(a), &a.table).cmp(&(rank(b), &b.table)));
        for report in &outcome.tables {
            outcome.report.add_table(report.clone(), true);
        }
        output.clear_staging()?;
        let local = manifest_folder(&plan.database, plan.generation);
        let with = (&self.options.run, self.options.network);
        conclude(
            &self.file,
            &local,
            output,
            with,
            &mut outcome,
            self.options.events,
        )?;
        crate::publish::crash_point("generation-named");
        let note = CommitNote {
            generation: plan.generation,
            manifest: outcome.manifest.clone(),
            committed: now.as_secs(),
            chunks,
        };
        self.write_note(&note, &unique)?;
        self.clear_made();
        Ok(Committed { note, outcome })
    }

    /// Refuses to make a generation that is not the next one.
    fn check_newest(&self, unique: &str) -> Result<()> {
        let plan = &self.plan;
        let newest = newest(&plan.root, &plan.database)?.map_or(0, |newest| newest.generation);
        if newest <= plan.generation {
            return Ok(());
        }
        // A commit that was killed at the end, and a later generation on top of it.
        let own = generation(&plan.root, &plan.database, plan.generation)?;
        let manifest = manifest_of(&plan.root, &plan.database, plan.generation);
        if own.is_some_and(|own| own.job == plan.id) && manifest.exists() {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            self.write_note(
                &CommitNote {
                    generation: plan.generation,
                    manifest: manifest.display().to_string(),
                    committed: now.as_secs(),
                    chunks: BTreeMap::new(),
                },
                unique,
            )?;
            return check_not_committed(self.folder, plan);
        }
        Err(Error::new(
            ErrorKind::OutputRefused,
            format!(
                "generation {newest} of {} stands already, this job was to make generation {}",
                plan.database, plan.generation
            ),
        )
        .at(Place::file(plan.root.display().to_string()))
        .hint("plan again with --extend, --replace or --drop"))
    }

    fn write_note(&self, note: &CommitNote, unique: &str) -> Result<()> {
        let path = self.folder.file(COMMIT_FILE);
        let bytes =
            serde_json::to_vec_pretty(note).map_err(|error| Error::writing(&path, error.into()))?;
        publish_new(&path, &bytes, unique).map(drop)
    }

    /// Refuses to come over what another command has made.
    fn check_replaceable(&self, record: &Record) -> Result<()> {
        if self.plan.generation > 1 {
            return Ok(());
        }
        for pass in &self.passes {
            for table in &pass.tables {
                let name = &table.target.name;
                let own = record.sets.get(name);
                let options = pass.options_of(name);
                if own.is_some_and(|set| Some(&set.options) != options) {
                    return Err(Error::new(
                        ErrorKind::OutputRefused,
                        format!("{name} stands here already, made by another command"),
                    )
                    .at(Place::file(self.plan.root.display().to_string()))
                    .hint("choose another dest"));
                }
            }
        }
        Ok(())
    }

    fn begin_outcome(&self) -> RunOutcome {
        let mut report = self.options.run.report.clone();
        report.database = Some(self.plan.database.clone());
        let stamps = self.passes.iter().flat_map(|pass| pass.inputs.values());
        report.add_stamps(stamps.map(|(_, stamp)| stamp));
        RunOutcome {
            tables: Vec::new(),
            is_unchanged: false,
            manifest: String::new(),
            urls_expire: None,
            contributions: 0,
            report,
        }
    }

    /// Says whether a set stands already as it is to be.
    fn stands(&self, name: &str, set: &SetRecord, output: &OutputFolder) -> bool {
        let record = output.record();
        let old = record.sets.get(name);
        old.is_some_and(|old| old.files == set.files)
            && record.state_of(&self.plan.root, name, &set.options, &set.inputs)
                == SetState::Complete
    }

    /// Returns the sets of a pass, each with the files that are to be staged for it.
    fn sets_of<'c>(
        &'c self,
        pass: &'c PassToCommit,
        output: &OutputFolder,
    ) -> Result<BTreeMap<String, (SetRecord, MadeFiles<'c>)>> {
        let mut sets = BTreeMap::new();
        for (number, table) in pass.tables.iter().enumerate() {
            let name = table.target.name.clone();
            let found = self.files_of(pass, table, output.record())?;
            let files = self.with_chunk_index(&found, table, output)?;
            let report = pass.report(number, &files, &self.plan)?;
            let recorded = serde_json::to_value(&report)
                .map_err(|error| Error::new(ErrorKind::Internal, format!("report: {error}")))?;
            let options = pass.options_of(&name).cloned().unwrap_or_default();
            let set = SetRecord {
                identity: Some(table.identity()),
                options,
                inputs: pass.stamps(number)?,
                files,
                report: recorded,
                placed_at: None,
            };
            sets.insert(name, (set, found.new));
        }
        Ok(sets)
    }

    /// Finds the files of a table in this generation; `record` tells of the one before.
    fn files_of<'c>(
        &'c self,
        pass: &'c PassToCommit,
        table: &TableJob,
        record: &Record,
    ) -> Result<TableFiles<'c>> {
        let name = &table.target.name;
        let is_changed = self.plan.pass(pass.number)?.changed.is_some();
        let mut files: BTreeMap<String, FileSummary> = BTreeMap::new();
        if is_changed && let Some(set) = record.sets.get(name) {
            files.extend(set.files.iter().map(|file| (name_of(file), file.clone())));
        }
        let mut found = TableFiles::default();
        for (made_in, record) in &pass.made {
            for own in record.tables.iter().filter(|own| own.table == *name) {
                for gone in &own.emptied {
                    files.remove(gone);
                }
                found
                    .new
                    .extend(own.files.iter().map(|file| (made_in, file)));
                let parts = own.chunk_index.iter();
                found.parts.extend(parts.map(|part| (made_in, part)));
            }
        }
        if !pass.made.is_empty() {
            // Indexes are made anew whenever rows are; without rows there is none.
            let is_named = |name: &String| {
                let mut new = found.new.iter();
                new.any(|(_, file)| name_of(file) == *name)
            };
            files.retain(|name, file| {
                file.chunk().is_some() || table.target.routing.is_none() || is_named(name)
            });
        }
        // What came out as it was stays where it is.
        found.new.retain(|(_, file)| {
            let old = files.get(&name_of(file));
            let is_same = |old: &FileSummary| (old.bytes, old.xxh3) == (file.bytes, file.xxh3);
            !old.is_some_and(is_same)
        });
        let new = found.new.iter();
        files.extend(new.map(|(_, file)| (name_of(file), (*file).clone())));
        found.all = files.into_values().collect();
        Ok(found)
    }

    /// Returns all files of a table in this generation, in order; the index that counts rows per
    /// sub-chunk is staged.
    fn with_chunk_index(
        &self,
        found: &TableFiles<'_>,
        table: &TableJob,
        output: &OutputFolder,
    ) -> Result<Vec<FileSummary>> {
        let mut files = found.all.clone();
        if !found.parts.is_empty() {
            files.push(self.chunk_index(table, &found.parts, output)?);
        }
        // As a pass leaves them: chunk files by number, other files behind.
        files.sort_by_key(|file| {
            let is_other = file.chunk().is_none();
            let is_counts = file.path().ends_with(".bin");
            (is_other, is_counts, file.chunk(), file.is_overlap())
        });
        Ok(files)
    }

    /// Gives files that tasks have made a second name in the staging folder.
    fn stage(&self, files: &[(&PathBuf, &FileSummary)], output: &OutputFolder) -> Result<()> {
        let folders: BTreeSet<&str> = files.iter().map(|(_, file)| file.folder()).collect();
        for folder in folders {
            output.staged(&format!("{folder}x"))?;
        }
        let place = output.staging_place();
        files.par_iter().try_for_each(|(made_in, file)| {
            let path = file.path();
            let to = place.path().join(&*path);
            let from = self.folder.file(made_in).join(&*path);
            if !std::fs::metadata(&from).is_ok_and(|found| found.len() == file.bytes) {
                return Err(Error::new(
                    ErrorKind::Integrity,
                    format!(
                        "the file is not what its task has written ({} bytes)",
                        file.bytes
                    ),
                )
                .at(Place::file(from.display().to_string()))
                .hint("remove the record of its task, and run the task again"));
            }
            link_or_copy(&from, &to)
        })
    }

    /// Joins the parts of the index that counts rows per sub-chunk.
    fn chunk_index(
        &self,
        table: &TableJob,
        parts: &[(&PathBuf, &FileSummary)],
        output: &OutputFolder,
    ) -> Result<FileSummary> {
        let path = format!("{}{}", table.folder, table.chunk_index());
        let staged = output.staged(&path)?;
        remove_optional(&staged)?;
        let mut out = append(&staged)?;
        let mut digest = FileDigest::default();
        for (made_in, part) in parts {
            let from = self.folder.file(made_in).join(&*part.path());
            each_block(&from, |bytes| {
                digest.update(bytes);
                std::io::Write::write_all(&mut out, bytes)
                    .map_err(|error| Error::writing(&staged, error))
            })?;
        }
        Ok(digest.finish(path, None, false))
    }

    /// Removes what tasks have made and the output has now; indexes stay for later generations.
    fn clear_made(&self) {
        let made = self.passes.iter().flat_map(|pass| &pass.made);
        for (made_in, record) in made {
            let is_index = record
                .tables
                .iter()
                .any(|table| table.compact_index.is_some());
            let made_in = self.folder.file(made_in);
            // What can't be removed is found by `job gc`.
            if !is_index {
                let _ = remove_tree(&made_in);
                continue;
            }
            for file in record.tables.iter().flat_map(|table| &table.files) {
                let _ = remove_optional(&made_in.join(&*file.path()));
            }
        }
    }
}

/// Files that tasks have made, each with the folder of its task.
type MadeFiles<'c> = Vec<(&'c PathBuf, &'c FileSummary)>;

/// The files of a table in a generation.
#[derive(Default)]
struct TableFiles<'c> {
    /// All of them, but for the index that counts rows per sub-chunk.
    all: Vec<FileSummary>,
    /// Those that this job has made, with the folders of their tasks.
    new: MadeFiles<'c>,
    /// Parts of the index that counts rows per sub-chunk.
    parts: MadeFiles<'c>,
}

impl PassToCommit {
    fn read(
        folder: &JobFolder,
        plan: &Plan,
        file: &PipelineFile,
        number: usize,
        options: &CommitOptions<'_>,
        lists: &mut Vec<RejectList>,
    ) -> Result<Self> {
        let own = plan.pass(number)?;
        let passes = job_passes(file, &BTreeMap::new(), options.events)?;
        let planned = find(passes, own)?;
        let columns = planned.job.task_columns(&own.known)?;
        let names = |columns: Vec<crate::schema::OutputColumn>| -> Vec<String> {
            columns.into_iter().map(|column| column.name).collect()
        };
        let mut inputs = BTreeMap::new();
        let mut new = Vec::new();
        let mut seconds = 0.0;
        let mut records = Vec::with_capacity(own.maps.len());
        for source in &own.maps {
            let of = folder.of_source(source);
            let lines = lines_of(&of, plan, source)?;
            let record = needed(folder, std::slice::from_ref(source))?;
            for mut record in record {
                seconds += record.seconds;
                if let Some(list) = &record.rejects {
                    let lines = lines.iter();
                    let inputs = lines.map(|line| (line.stamp.path.clone(), line.order));
                    lists.push(RejectList {
                        pass: number,
                        inputs: inputs.collect(),
                        path: of.file(list),
                    });
                }
                let digests = record.inputs.iter().filter(|stamp| stamp.sha256.is_some());
                let digests: BTreeMap<String, InputStamp> = digests
                    .map(|stamp| (stamp.path.clone(), stamp.clone()))
                    .collect();
                for line in &lines {
                    let stamp = digests.get(&line.stamp.path).unwrap_or(&line.stamp);
                    inputs.insert(line.input, (line.product, stamp.clone()));
                }
                record.inputs = Vec::new();
                records.push(record);
            }
            if source.job.is_none() {
                new.extend(lines.into_iter().map(|line| line.stamp));
            }
        }
        if !plan.settings.keep_going {
            new.dedup();
            check_stamps(&new)?;
        }
        let mut books = books_of(&records);
        for input in plan.rejected.iter().filter(|input| input.pass == number) {
            inputs.insert(input.input, (input.product, input.stamp.clone()));
        }
        for (table, job) in planned.job.tables.iter().enumerate() {
            let own = books.entry(job.target.name.clone()).or_default();
            let rejected = plan.rejected.iter().filter(|input| input.pass == number);
            for input in rejected {
                let product = planned.products.get(input.product as usize);
                if product.is_some_and(|(_, feeds, _)| feeds.contains(&table)) {
                    own.passed_over.push(PassedOver {
                        file: input.stamp.path.clone(),
                        reason: input.reason.clone(),
                    });
                }
            }
        }
        let mut made = Vec::new();
        for (at, reduce) in plan.reduces.iter().enumerate() {
            if reduce.pass != number {
                continue;
            }
            let source = Source::own(TaskKind::Reduce, at as u32 + 1);
            for mut record in needed(folder, &[source])? {
                seconds += record.seconds;
                if let ReduceWork::Index { .. } = reduce.work {
                    // Keys are no rows.
                    record.tables.iter_mut().for_each(|table| table.rows = 0);
                }
                made.push((record.made_in.clone().unwrap_or_default(), record));
            }
        }
        let mut tables = planned.job.tables;
        for table in &mut tables {
            table.folder = table_folder(&plan.database, plan.generation, &table.target.name);
        }
        Ok(Self {
            number,
            tables,
            options: planned.job.options,
            columns: columns.into_iter().map(names).collect(),
            feeds: planned
                .products
                .into_iter()
                .map(|(_, feeds, _)| feeds)
                .collect(),
            inputs,
            books,
            seconds,
            made,
        })
    }

    fn options_of(&self, table: &str) -> Option<&serde_json::Value> {
        let at = self
            .tables
            .iter()
            .position(|job| job.target.name == table)?;
        self.options.get(at)
    }

    /// Returns the stamps of what a table is made of, in order: inputs, then indexes.
    fn stamps(&self, table: usize) -> Result<Vec<InputStamp>> {
        let feeding = self.inputs.values().filter(|(product, _)| {
            let feeds = self.feeds.get(*product as usize);
            feeds.is_some_and(|feeds| feeds.contains(&table))
        });
        let mut stamps: Vec<InputStamp> = feeding.map(|(_, stamp)| stamp.clone()).collect();
        if let Some(table) = self.tables.get(table) {
            stamps.extend(table.index_stamps()?);
        }
        Ok(stamps)
    }

    /// Makes the report of a table, and checks that its books balance.
    fn report(&self, number: usize, files: &[FileSummary], plan: &Plan) -> Result<TableReport> {
        let table = &self.tables[number];
        let name = &table.target.name;
        let books = self.books.get(name).cloned().unwrap_or_default();
        let is_data =
            |file: &&FileSummary| table.target.routing.is_none() || file.chunk().is_some();
        let rows = |is_overlap: bool| -> u64 {
            let own = files.iter().filter(is_data);
            let own = own.filter(|file| file.is_overlap() == is_overlap);
            own.map(|file| file.rows).sum()
        };
        let (rows_out, overlap_rows) = (rows(false), rows(true));
        books.check_files(name, rows_out, overlap_rows)?;
        let reject_file = plan.settings.reject_file.as_ref();
        let report = TableReport {
            rows_in: books.rows_in,
            rows_out,
            second_rows: books.second_rows,
            overlap_rows,
            rejected: books.rejected,
            reject_file: reject_file
                .filter(|_| books.rejected > 0)
                .map(|path| path.display().to_string()),
            passed_over: books.passed_over,
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.bytes).sum(),
            seconds: self.seconds,
            memory_peak: books.memory_peak,
            changes: books.changes,
            columns: self.columns.get(number).cloned().unwrap_or_default(),
            ..TableReport::of_nothing(table)
        };
        report.check_balance()?;
        Ok(report)
    }
}

/// Returns the name of a file in its table's folder.
fn name_of(file: &FileSummary) -> String {
    let path = file.path();
    path.get(file.folder().len()..)
        .unwrap_or_default()
        .to_owned()
}

/// Files of chunks as a manifest names them: SHA-256 by chunk and overlap, by table.
type NamedFiles = BTreeMap<String, ChunkDigests>;
type ChunkDigests = BTreeMap<i32, BTreeMap<bool, Option<[u8; 32]>>>;

/// Returns what the manifest of a generation says of chunks.
fn files_before(plan: &Plan, generation: u32) -> Result<NamedFiles> {
    let path = manifest_of(&plan.root, &plan.database, generation);
    let file = std::fs::File::open(&path).map_err(|error| Error::reading(&path, error))?;
    let shown = path.display().to_string();
    let listing = Listing::read(std::io::BufReader::new(file), &shown)?;
    let mut all = NamedFiles::new();
    for line in listing.contributions() {
        if let Some(chunk) = line.chunk {
            let table = all.entry(line.table).or_default();
            let digest = line.sha256.map(|digest| digest.0);
            table.entry(chunk).or_default().insert(line.overlap, digest);
        }
    }
    Ok(all)
}

/// Compares the chunks of a table with those of the generation before.
fn changes_between(before: &NamedFiles, table: &str, files: &[FileSummary]) -> ChunkChanges {
    let nothing = BTreeMap::new();
    let old = before.get(table).unwrap_or(&nothing);
    let mut new = ChunkDigests::new();
    for file in files {
        if let Some(chunk) = file.chunk() {
            let own = new.entry(chunk).or_default();
            own.insert(file.is_overlap(), file.sha256.map(|digest| digest.0));
        }
    }
    let mut changes = ChunkChanges::default();
    for (chunk, files) in &new {
        match old.get(chunk) {
            None => changes.added.push(*chunk),
            Some(before) if before != files => changes.changed.push(*chunk),
            Some(_) => {}
        }
    }
    let emptied = old.keys().filter(|chunk| !new.contains_key(chunk));
    changes.emptied = emptied.copied().collect();
    changes
}

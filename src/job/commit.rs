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
use super::chunk_changes::{ChunkChanges, changes_between, files_before};
use super::commit_pass::PassToCommit;
use super::folder::{JobFolder, read_json};
use super::generation::{Generation, claim, generation, manifest_folder, manifest_of, newest};
use super::plan::{Plan, Source};
use super::rejects::{RejectList, Rejected};
use super::waiting::needed;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::{FileDigest, FileSummary};
use crate::pipeline::{
    PipelineFile, RunEvents, RunOptions, RunOutcome, TableJob, TableReport, check_database,
    conclude,
};
use crate::place::Network;
use crate::publish::{
    OutputFolder, Publication, Record, SetRecord, SetState, StandingFiles, append, link_or_copy,
    publish_new, remove_optional, remove_tree, remove_written, write_atomically,
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
            remove_written(&failure)?;
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
            // Another process may have committed it meanwhile, or have been killed when it just had.
            if self::committed(folder)?.is_some() {
                remove_written(&failure)?;
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
                folder,
                &plan,
                &file,
                number,
                options.events,
                &mut lists,
            )?);
        }
        let rejected: u64 = passes
            .iter()
            .flat_map(|pass| pass.books.values())
            .map(|books| books.rejected)
            .sum();
        if rejected > plan.settings.max_rejects {
            let most = plan.settings.max_rejects;
            let rejected = Rejected::read(&lists)?;
            let list = plan.settings.reject_file.as_ref();
            let listed = list.map_or(Ok(()), |path| rejected.write(path, most));
            let error = rejected.too_many(most);
            return Err(match listed {
                Ok(()) => error,
                Err(unlisted) => error.hint(format!("they can't be listed either: {unlisted}")),
            });
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
        let mut output = self.take_output()?;
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
        let before = match plan.generation {
            0 | 1 => None,
            later => Some(files_before(plan, later - 1)?),
        };
        claim(&plan.root, &plan.database, &own, &unique)?;
        if let Some(path) = &plan.settings.reject_file {
            Rejected::read(&self.lists)?.write(path, plan.settings.max_rejects)?;
        }
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

    /// Takes the folder for writing; somebody else who has it will be done some time.
    fn take_output(&self) -> Result<OutputFolder> {
        let root = &self.plan.root;
        OutputFolder::open(root, self.options.run.folder).map_err(|error| {
            let is_taken =
                error.kind() == ErrorKind::OutputRefused && OutputFolder::check_free(root).is_err();
            match is_taken {
                true => Error::new(ErrorKind::NotYet, error.reason())
                    .at(Place::file(root.display().to_string()))
                    .hint("commit again when it has ended"),
                false => error,
            }
        })
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
                check_database(&table.identity(), record, &self.plan.root)?;
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

/// Returns the name of a file in its table's folder.
fn name_of(file: &FileSummary) -> String {
    let path = file.path();
    path.get(file.folder().len()..)
        .unwrap_or_default()
        .to_owned()
}

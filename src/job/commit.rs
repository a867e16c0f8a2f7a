//! `job commit`: all tasks are whole and the books balance; then the files get their names, and the
//! manifest of a new generation tells of them.
//!
//! A kill at any moment leaves what the same command finishes. The last thing written is `commit.json`
//! in the job's folder; then what the tasks have made is no longer needed there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::books::{TableBooks, books_of};
use super::folder::{JobFolder, read_json};
use super::generation::{Generation, claim, manifest_folder};
use super::name::TaskKind;
use super::passes::{find, table_folder};
use super::plan::{InputLine, Plan, ReduceWork, Source};
use super::record::TaskRecord;
use super::rejects::{RejectList, Rejected};
use super::task::{check_stamps, read_lines};
use super::waiting::needed;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::{FileDigest, FileSummary};
use crate::pipeline::{
    PassedOver, PipelineFile, RunEvents, RunOptions, RunOutcome, TableJob, TableReport, conclude,
    job_passes,
};
use crate::place::Network;
use crate::publish::{
    InputStamp, OutputFolder, Publication, Record, SetRecord, SetState, StandingFiles, append,
    link_or_copy, publish_new, remove_optional, remove_tree,
};
use crate::schema::TableKind;
use crate::source::each_block;

const COMMIT_FILE: &str = "commit.json";

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

/// Commits a job.
///
/// # Errors
/// It was committed before; tasks are lacking; the books do not balance; another job has made the
/// generation; or the output may not be written.
pub fn commit(folder: &JobFolder, options: &CommitOptions<'_>) -> Result<Committed> {
    let plan = folder.plan()?;
    if let Err(error) = refuse_again(folder, &plan) {
        // One that was killed behind its last step, or came second, may have left a lock.
        OutputFolder::tidy(&plan.root, options.run.folder);
        return Err(error);
    }
    let commit = Commit::prepare(folder, plan, options)?;
    commit.carry_out()
}

/// Refuses to commit a job twice.
fn refuse_again(folder: &JobFolder, plan: &Plan) -> Result<()> {
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
}

/// Files that tasks have made, each with the folder of its task.
type MadeFiles<'p> = Vec<(&'p PathBuf, &'p FileSummary)>;

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
        if let Some(path) = &plan.settings.reject_file {
            Rejected::read(&lists)?.write(path)?;
        }
        Ok(Self {
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
        // Another commit may have ended while this one waited, and have cleared what it read.
        refuse_again(self.folder, plan)?;
        let before = output.record().clone();
        self.check_replaceable(&before)?;
        claim(&plan.root, &plan.database, &own, &unique)?;
        let mut outcome = self.begin_outcome();
        let mut chunks = BTreeMap::new();
        let count = self.passes.len();
        for (at, pass) in self.passes.iter().enumerate() {
            let sets = self.sets_of(pass, &output)?;
            let mut new = BTreeMap::new();
            for (name, (set, made)) in sets {
                let report: Result<TableReport, _> = serde_json::from_value(set.report.clone());
                let report = report
                    .map_err(|error| Error::new(ErrorKind::Internal, format!("report: {error}")))?;
                outcome.tables.push(report);
                if plan.generation > 1 {
                    let old = before.sets.get(&name).map_or(&[][..], |set| &set.files);
                    let changes = changes_between(old, &set.files);
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
        let path = self.folder.file(COMMIT_FILE);
        let bytes = serde_json::to_vec_pretty(&note)
            .map_err(|error| Error::writing(&path, error.into()))?;
        publish_new(&path, &bytes, &unique)?;
        self.clear_made();
        Ok(Committed { note, outcome })
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
    fn sets_of<'p>(
        &self,
        pass: &'p PassToCommit,
        output: &OutputFolder,
    ) -> Result<BTreeMap<String, (SetRecord, MadeFiles<'p>)>> {
        let mut sets = BTreeMap::new();
        for (number, table) in pass.tables.iter().enumerate() {
            let name = table.target.name.clone();
            let (files, made) = self.files_of(pass, table, output)?;
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
            sets.insert(name, (set, made));
        }
        Ok(sets)
    }

    /// Returns all files of a table's generation, and those that this job has made.
    fn files_of<'p>(
        &self,
        pass: &'p PassToCommit,
        table: &TableJob,
        output: &OutputFolder,
    ) -> Result<(Vec<FileSummary>, MadeFiles<'p>)> {
        let name = &table.target.name;
        let changed = self.plan.pass(pass.number)?.changed.is_some();
        let mut files: BTreeMap<String, FileSummary> = BTreeMap::new();
        if changed && let Some(set) = output.record().sets.get(name) {
            files.extend(set.files.iter().map(|file| (name_of(file), file.clone())));
        }
        let mut new = Vec::new();
        let mut parts = Vec::new();
        for (made_in, record) in &pass.made {
            let own = record.tables.iter().filter(|own| own.table == *name);
            for own in own {
                for gone in &own.emptied {
                    files.remove(gone);
                }
                new.extend(own.files.iter().map(|file| (made_in, file)));
                parts.extend(own.chunk_index.iter().map(|part| (made_in, part)));
            }
        }
        // What came out as it was stays where it is.
        new.retain(|(_, file)| {
            let old = files.get(&name_of(file));
            let same = |old: &FileSummary| (old.bytes, old.xxh3) == (file.bytes, file.xxh3);
            !old.is_some_and(same)
        });
        files.extend(new.iter().map(|(_, file)| (name_of(file), (*file).clone())));
        if !parts.is_empty() {
            let index = self.chunk_index(table, &parts, output)?;
            files.insert(name_of(&index), index);
        }
        let mut files: Vec<FileSummary> = files.into_values().collect();
        // As a pass leaves them: chunk files by number, other files behind.
        files.sort_by_key(|file| {
            let is_other = file.chunk().is_none();
            let order = file.path().ends_with(".bin");
            (is_other, order, file.chunk(), file.is_overlap())
        });
        Ok((files, new))
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

/// Returns the inputs of a map task of this job or of an earlier one.
fn lines_of(of: &JobFolder, own: &Plan, source: &Source) -> Result<Vec<InputLine>> {
    let earlier;
    let plan = match &source.job {
        None => own,
        Some(_) => {
            earlier = of.plan()?;
            &earlier
        }
    };
    let at = (source.number as usize).checked_sub(1);
    let map = at.and_then(|at| plan.maps.get(at));
    let map = map.ok_or_else(|| super::plan::damaged("a map task is lacking"))?;
    read_lines(of, map)
}

/// Returns the name of a file in its table's folder.
fn name_of(file: &FileSummary) -> String {
    let path = file.path();
    path.get(file.folder().len()..)
        .unwrap_or_default()
        .to_owned()
}

/// Compares the chunks of two generations of a table.
fn changes_between(old: &[FileSummary], new: &[FileSummary]) -> ChunkChanges {
    let by_chunk = |files: &[FileSummary]| {
        let mut all: BTreeMap<i32, BTreeMap<bool, (u64, [u8; 16])>> = BTreeMap::new();
        for file in files {
            if let Some(chunk) = file.chunk() {
                let own = all.entry(chunk).or_default();
                own.insert(file.is_overlap(), (file.bytes, file.xxh3.0));
            }
        }
        all
    };
    let (old, new) = (by_chunk(old), by_chunk(new));
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

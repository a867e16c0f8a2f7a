//! Tasks at work: any may run at any time, twice, or at once with itself; the first record counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::attempt::{Attempt, is_dead};
use super::folder::{JobFolder, names_in};
use super::input_lines::{InputLines, read_lines};
use super::name::{TaskKind, TaskName};
use super::passes::pass_of;
use super::plan::{InputLine, MapPlan, Plan, ReduceWork, Source, damaged};
use super::record::{SealedRecord, TableRecord, TaskRecord};
use super::waiting::needed;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::{MergeWork, SealedFile, SealedWriter, Section, SectionContent, join_sealed};
use crate::pipeline::{
    BadInputs, InputPart, MapWork, Mapped, PassInput, PassLimits, PlannedPass,
    ReduceWork as Reducing, ReducedIndex, Rejects, RunEvents, TableJob,
};
use crate::publish::{
    InputStamp, StagingPlace, SyncMode, create_folders, physical_path, remove_optional,
};
use crate::report::add_digests;
use crate::resources::raise_open_files;
use crate::source::{Input, InputName};

/// Files that a task has open beside exchange files.
const OTHER_FILES: u64 = 64;

/// What a task may use.
pub struct TaskOptions<'a> {
    /// Threads, memory, scratch space.
    pub limits: PassLimits,
    /// How what is made is made to last.
    pub sync: SyncMode,
    /// Told how it gets on.
    pub events: &'a dyn RunEvents,
    /// What the batch system says of this process, for the record.
    pub batch: BTreeMap<String, String>,
}

/// What became of a task.
#[derive(Debug, Clone)]
pub enum TaskOutcome {
    /// It was done before.
    WasDone,
    /// This attempt has done it.
    Done(Box<TaskRecord>),
    /// Another attempt was faster.
    Overtaken,
}

/// Runs a task of a job.
///
/// # Errors
/// What is wrong with the inputs; or what it needs is not there yet.
pub fn run_task(
    folder: &JobFolder,
    task: TaskName,
    options: &TaskOptions<'_>,
) -> Result<TaskOutcome> {
    let plan = folder.plan()?;
    let number = plan.pass_of(task)?;
    if folder.record(task)?.is_some() {
        return Ok(TaskOutcome::WasDone);
    }
    let prepared = match prepare(folder, &plan, (task, number), options) {
        // Whoever has to wait leaves no attempt; all else does, for others to see.
        Err(error) if error.kind() == ErrorKind::NotYet => return Err(error),
        prepared => prepared,
    };
    let mut attempt = Attempt::begin(folder, task, options.batch.clone())?;
    let published = prepared.and_then(|(work, sources)| {
        let record = work.attempt(&mut attempt, &sources)?;
        Ok((attempt.publish(&record)?, record))
    });
    attempt.end(published.as_ref().map(|(is_first, _)| *is_first));
    published.map(|(is_first, record)| match is_first {
        true => TaskOutcome::Done(Box::new(record)),
        false => TaskOutcome::Overtaken,
    })
}

/// Finds out what a task works on, and opens what it reads.
fn prepare<'a>(
    folder: &'a JobFolder,
    plan: &'a Plan,
    (task, number): (TaskName, usize),
    options: &'a TaskOptions<'a>,
) -> Result<(Work<'a>, Vec<SealedFile>)> {
    let work = Work {
        folder,
        plan,
        number,
        pass: pass_of(folder, plan, number, options.events)?,
        options,
    };
    let sources = work.sources_of(task)?;
    Ok((work, sources))
}

/// A task and what it works on.
struct Work<'a> {
    folder: &'a JobFolder,
    plan: &'a Plan,
    /// Number of the pass.
    number: usize,
    pass: PlannedPass,
    options: &'a TaskOptions<'a>,
}

impl Work<'_> {
    /// Opens the exchange files that a task reads.
    fn sources_of(&self, task: TaskName) -> Result<Vec<SealedFile>> {
        let at = task.number as usize - 1;
        let sources: &[Source] = match task.kind {
            TaskKind::Map => return Ok(Vec::new()),
            TaskKind::Merge => self.plan.merges.get(at).map_or(&[], |merge| &merge.sources),
            TaskKind::Reduce => &self.plan.pass(self.number)?.sources,
        };
        raise_open_files(sources.len() as u64 + OTHER_FILES).map_err(|limit| {
            Error::usage(format!(
                "{} exchange files are to be read at once, but this process may open {limit} files",
                sources.len()
            ))
            .hint("raise the limit (ulimit -n), or plan the job with a smaller --fan-in")
        })?;
        self.open(sources)
    }

    fn open(&self, sources: &[Source]) -> Result<Vec<SealedFile>> {
        let records = needed(self.folder, sources)?;
        let configuration = self.plan.configuration(self.number)?;
        let pairs: Vec<_> = sources.iter().zip(records).collect();
        pairs
            .par_iter()
            .map(|(source, record)| {
                let sealed = record.sealed.as_ref().ok_or_else(|| {
                    damaged("the record of a task does not name its exchange file")
                })?;
                let path = self.folder.of_source(source).file(&sealed.path);
                let found = std::fs::metadata(&path).map_or(0, |found| found.len());
                if found != sealed.bytes {
                    return Err(self.lost(source, &path, found, sealed.bytes));
                }
                SealedFile::open(&path, configuration)
            })
            .collect()
    }

    /// Makes the error for an exchange file that is not what its record says. If this job has made it,
    /// its task is one to be done again.
    fn lost(&self, source: &Source, path: &Path, found: u64, expected: u64) -> Error {
        let task = source.task();
        let message = format!(
            "the exchange file of {task} has {found} bytes, expected {expected}: it was removed or cut"
        );
        let is_forgotten =
            source.job.is_none() && remove_optional(&self.folder.record_path(task)).is_ok();
        let (kind, hint) = match is_forgotten {
            true => (
                ErrorKind::NotYet,
                format!("{task} is to be run again, then this task"),
            ),
            false => (
                ErrorKind::Integrity,
                "an earlier job has made it; plan the database anew in another folder".to_owned(),
            ),
        };
        Error::new(kind, message)
            .at(Place::file(path.display().to_string()))
            .hint(hint)
    }

    fn attempt(&self, attempt: &mut Attempt<'_>, sources: &[SealedFile]) -> Result<TaskRecord> {
        let at = attempt.task.number as usize - 1;
        match attempt.task.kind {
            TaskKind::Map => {
                let map = self.plan.maps.get(at);
                self.map(
                    attempt,
                    map.ok_or_else(|| damaged("a map task is lacking"))?,
                )
            }
            TaskKind::Merge => self.merge(attempt, sources),
            TaskKind::Reduce => {
                let reduce = self.plan.reduces.get(at);
                let reduce = reduce.ok_or_else(|| damaged("a reduce task is lacking"))?;
                self.reduce(attempt, &reduce.work, sources)
            }
        }
    }

    /// Names the exchange file of an attempt, relative to the job's folder or elsewhere.
    fn exchange_path(&self, attempt: &mut Attempt<'_>) -> Result<PathBuf> {
        let own = attempt.makes(".exchange");
        let Some(elsewhere) = &self.plan.settings.exchange_dir else {
            return Ok(own);
        };
        let folder = elsewhere.join(self.plan.id.as_str());
        create_folders(&folder)?;
        let path = folder.join(own.file_name().unwrap_or_default());
        attempt.makes_at(path.clone());
        Ok(path)
    }

    fn map(&self, attempt: &mut Attempt<'_>, map: &MapPlan) -> Result<TaskRecord> {
        let (inputs, stamps) = self.inputs(map)?;
        let path = self.exchange_path(attempt)?;
        let scratch = Scratch::of(attempt, self.folder, &self.options.limits)?;
        let settings = &self.plan.settings;
        let list = (settings.max_rejects > 0).then(|| attempt.makes(".rejects"));
        let mut limits = self.options.limits.afresh();
        let list_path = list.as_ref().map(|list| self.folder.file(list));
        limits.rejects = Arc::new(Rejects::new(settings.max_rejects, list_path.clone()));
        limits.bad_inputs = match settings.keep_going {
            true => BadInputs::PassOver,
            false => BadInputs::End,
        };
        let sealed_path = self.folder.file(&path);
        let work = MapWork {
            inputs,
            known: &self.plan.pass(self.number)?.known,
            sealed: &sealed_path,
            configuration: self.plan.configuration(self.number)?,
            scratch: StagingPlace::at(scratch.path.clone()),
        };
        let mapped = self.pass.job.map(&work, &limits, self.options.events)?;
        // What was read must be what was planned, to the end.
        let lacking: BTreeSet<&str> = mapped
            .passed_over
            .iter()
            .flatten()
            .map(|input| input.file.as_str())
            .collect();
        let read = stamps.iter();
        let read = read.filter(|stamp| !lacking.contains(stamp.path.as_str()));
        check_stamps(&read.cloned().collect::<Vec<_>>())?;
        self.options.limits.cancel.check()?;
        let Mapped {
            counts,
            columns,
            passed_over,
            sealed,
        } = mapped;
        let (sections, bytes) = sealed.finish()?;
        let of_tables = self.pass.job.tables.iter().zip(counts).zip(columns);
        let tables: Vec<TableRecord> = of_tables
            .zip(passed_over)
            .map(|(((table, counts), columns), passed_over)| {
                let names: Vec<String> = columns.into_iter().map(|column| column.name).collect();
                TableRecord {
                    rows_in: counts.rows_in,
                    rejected: counts.rejected,
                    second_rows: counts.second_rows,
                    memory_peak: counts.memory_peak,
                    changes: counts.changes.named(&names),
                    passed_over,
                    ..rows_of(&table.target.name, &sections)
                }
            })
            .collect();
        tables.iter().try_for_each(TableRecord::check_balance)?;
        let rejected: u64 = tables.iter().map(|table| table.rejected).sum();
        if let (0, Some(list)) = (rejected, &list_path) {
            remove_optional(list)?;
        }
        let mut record = attempt.record(&self.plan.id, tables);
        record.inputs = stamps;
        record.sealed = Some(SealedRecord {
            path,
            bytes,
            sections,
        });
        record.rejects = list.filter(|_| rejected > 0);
        Ok(record)
    }

    /// Reads the lines of a map task, and returns its inputs in order, and their stamps.
    fn inputs(&self, map: &MapPlan) -> Result<(Vec<PassInput>, Vec<InputStamp>)> {
        let mut lines = read_lines(self.folder, map)?;
        lines.sort_by_key(|line| line.order);
        let mut inputs = self.fed(&lines)?;
        let mut stamps: Vec<InputStamp> = lines.into_iter().map(|line| line.stamp).collect();
        stamps.dedup();
        if !self.plan.settings.keep_going {
            check_stamps(&stamps)?;
        }
        if self.plan.settings.checksum_inputs {
            let all = inputs.iter_mut().map(|fed| &mut fed.input);
            add_digests(all, &self.options.limits.cancel)?;
            let digested = inputs.iter().filter_map(|fed| fed.input.stamp.clone());
            stamps = digested.collect();
            stamps.dedup();
        }
        Ok((inputs, stamps))
    }

    /// Makes listed inputs ones that feed the pass.
    fn fed(&self, lines: &[InputLine]) -> Result<Vec<PassInput>> {
        let mut inputs = Vec::with_capacity(lines.len());
        let mut stretch = (0, 0);
        for line in lines {
            let product = self.pass.products.get(line.product as usize);
            let (_, feeds, text) =
                product.ok_or_else(|| damaged("an input belongs to no product"))?;
            // Parts that follow each other among all of the job need not be told apart.
            stretch = match line.order == stretch.1 && line.order > 0 {
                true => (stretch.0, line.order + 1),
                false => (line.order, line.order + 1),
            };
            let input = Input {
                name: InputName::File(PathBuf::from(&line.stamp.path)),
                format: line.format,
                stamp: Some(line.stamp.clone()),
                unreadable: None,
            };
            inputs.push(PassInput {
                part: InputPart {
                    order: stretch.0,
                    span: line.span,
                },
                ..PassInput::whole(input, text, feeds.clone())
            });
        }
        Ok(inputs)
    }

    /// Returns the inputs of all map tasks of the pass, in order.
    fn all_inputs(&self) -> Result<Vec<PassInput>> {
        let mut lines = Vec::new();
        let mut lacking = BTreeSet::new();
        let mut inputs = InputLines::new(self.folder, self.plan);
        for source in &self.plan.pass(self.number)?.maps {
            lines.extend(inputs.of(source)?);
            for record in needed(self.folder, std::slice::from_ref(source))? {
                let tables = record.tables.into_iter();
                let passed_over = tables.flat_map(|table| table.passed_over);
                lacking.extend(passed_over.map(|input| input.file));
            }
        }
        lines.sort_by_key(|line| line.order);
        lines.retain(|line| !lacking.contains(&line.stamp.path));
        self.fed(&lines)
    }

    fn merge(&self, attempt: &mut Attempt<'_>, sources: &[SealedFile]) -> Result<TaskRecord> {
        let path = self.exchange_path(attempt)?;
        let configuration = self.plan.configuration(self.number)?;
        let mut sealed = SealedWriter::create(&self.folder.file(&path), configuration)?;
        let limits = self.options.limits.afresh();
        let work = MergeWork {
            staging: self.folder.path(),
            memory: limits.gate.free() / 2,
            cancel: &limits.cancel,
        };
        join_sealed(sources, &work, &mut sealed)?;
        let (sections, bytes) = sealed.finish()?;
        let names: BTreeSet<&str> = sections.iter().map(|s| s.table.as_str()).collect();
        let tables = names
            .into_iter()
            .map(|name| rows_of(name, &sections))
            .collect();
        let mut record = attempt.record(&self.plan.id, tables);
        record.sealed = Some(SealedRecord {
            path,
            bytes,
            sections,
        });
        Ok(record)
    }

    fn reduce(
        &self,
        attempt: &mut Attempt<'_>,
        work: &ReduceWork,
        sources: &[SealedFile],
    ) -> Result<TaskRecord> {
        let made_in = attempt.makes("");
        let staging = StagingPlace::at(self.folder.file(&made_in));
        create_folders(staging.path())?;
        let columns = self
            .pass
            .job
            .task_columns(&self.plan.pass(self.number)?.known)?;
        let limits = self.options.limits.afresh();
        let reducing = |table: usize| Reducing {
            sources,
            columns: columns.get(table).map_or(&[], Vec::as_slice),
            staging: &staging,
            limits: &limits,
        };
        let table_of = |number: usize| {
            let table = self.pass.job.tables.get(number);
            table.ok_or_else(|| damaged("a reduce task belongs to no table"))
        };
        let tables = match work {
            ReduceWork::Index {
                table,
                is_looked_up,
            } => {
                let mut record = TableRecord {
                    table: table_of(*table)?.target.name.clone(),
                    ..TableRecord::default()
                };
                let work = reducing(*table);
                match table_of(*table)?.reduce_index(&work, *is_looked_up)? {
                    ReducedIndex::Nothing => {}
                    ReducedIndex::Made(file, compact) => {
                        record.rows = file.rows;
                        record.files = vec![file];
                        let relative = compact.as_deref();
                        let relative =
                            relative.and_then(|path| path.strip_prefix(self.folder.path()).ok());
                        record.compact_index = relative.map(Path::to_owned);
                    }
                    ReducedIndex::Duplicates(keys) => {
                        let (job, inputs) = (self.pass.job.clone(), self.all_inputs()?);
                        return Err(job.duplicate_row(inputs, *table, keys, &limits));
                    }
                }
                vec![record]
            }
            ReduceWork::Rows { table } => {
                let file = table_of(*table)?.reduce_rows(&reducing(*table))?;
                vec![TableRecord {
                    table: table_of(*table)?.target.name.clone(),
                    rows: file.rows,
                    files: vec![file],
                    ..TableRecord::default()
                }]
            }
            ReduceWork::Chunks { .. } => {
                let partitioned = self.pass.job.tables.iter().enumerate();
                let partitioned = partitioned.filter(|(_, job)| job.target.routing.is_some());
                let made: Result<Vec<_>> = partitioned
                    .map(|(number, job)| self.reduce_chunks(job, work, &reducing(number)))
                    .collect();
                made?
            }
        };
        let lists = tables.iter().map(|table| table.files.as_slice());
        self.options.sync.sync_files(staging.path(), lists)?;
        self.options.limits.cancel.check()?;
        let mut record = attempt.record(&self.plan.id, tables);
        record.made_in = Some(made_in);
        Ok(record)
    }

    fn reduce_chunks(
        &self,
        job: &TableJob,
        work: &ReduceWork,
        reducing: &Reducing<'_>,
    ) -> Result<TableRecord> {
        let files = work.files();
        let touched = self.touched(job, &files)?;
        let wants = |file: usize| match &touched {
            // Counts of rows are needed for all chunks where they are written down.
            Some(touched) if !job.has_chunk_index => touched.contains(&file),
            _ => true,
        };
        let reduced = job.reduce_chunks(reducing, &files, &wants)?;
        let made: BTreeSet<String> = reduced
            .files
            .iter()
            .map(|file| file.path().into_owned())
            .collect();
        let routing = job.target.routing.as_ref();
        let rows = routing.map(|routing| job.chunk_rows(routing, reducing.columns));
        let touched = touched.into_iter().flatten();
        let names = touched.filter_map(|file| Some(rows.as_ref()?.file_name(file)));
        let emptied = names.filter(|name| !made.contains(&format!("{}{name}", job.folder)));
        let emptied = emptied.collect();
        let rows = |is_overlap: bool| {
            let own = reduced
                .files
                .iter()
                .filter(|file| file.is_overlap() == is_overlap);
            own.map(|file| file.rows).sum()
        };
        Ok(TableRecord {
            table: job.target.name.clone(),
            rows: rows(false),
            overlap_rows: rows(true),
            emptied,
            chunk_index: reduced.chunk_index,
            files: reduced.files,
            ..TableRecord::default()
        })
    }

    /// Returns the files that what has changed since the last generation has rows for, or had;
    /// nothing where all are made.
    fn touched(
        &self,
        job: &TableJob,
        files: &std::ops::Range<usize>,
    ) -> Result<Option<BTreeSet<usize>>> {
        let Some(changed) = &self.plan.pass(self.number)?.changed else {
            return Ok(None);
        };
        let mut touched = BTreeSet::new();
        for file in self.open(changed)? {
            if let Some(section) = file.section(&job.target.name, SectionContent::Chunks) {
                let rows = file.rows_of_files(section, files.clone())?;
                touched.extend(rows.into_iter().map(|(file, _)| file));
            }
        }
        Ok(Some(touched))
    }
}

/// Refuses inputs that are not what they were when the job was planned.
pub(super) fn check_stamps(stamps: &[InputStamp]) -> Result<()> {
    let check = |stamp: &InputStamp| {
        let path = Path::new(&stamp.path);
        match InputStamp::of(path)? == *stamp {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Integrity,
                "the input is no longer what it was when the job was planned",
            )
            .at(Place::file(stamp.path.as_str()))
            .hint("plan a job anew, or put the file back as it was")),
        }
    };
    stamps
        .par_iter()
        .map(check)
        .find_first(Result::is_err)
        .unwrap_or(Ok(()))
}

/// Begins the record of a table with the rows that an exchange file has of it.
fn rows_of(table: &str, sections: &[Section]) -> TableRecord {
    let own = sections.iter().filter(|section| section.table == table);
    let rows = own.filter(|section| section.content != SectionContent::Keys);
    let (rows, overlap_rows) = rows.fold((0, 0), |(rows, overlaps), section| {
        let own = section.rows - section.overlap_rows;
        (rows + own, overlaps + section.overlap_rows)
    });
    TableRecord {
        table: table.to_owned(),
        rows,
        overlap_rows,
        ..TableRecord::default()
    }
}

impl TableRecord {
    /// Checks that every row that came in was written once or set aside, but for second rows.
    fn check_balance(&self) -> Result<()> {
        if self.rows_in + self.second_rows == self.rows + self.rejected {
            return Ok(());
        }
        let message = format!(
            "table {}: {} rows came in, but {} were written ({} a second time) and {} set aside",
            self.table, self.rows_in, self.rows, self.second_rows, self.rejected
        );
        Err(Error::new(ErrorKind::Integrity, message).hint("please report this"))
    }
}

/// A folder for scratch files, which goes with the attempt.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn of(attempt: &mut Attempt<'_>, folder: &JobFolder, limits: &PassLimits) -> Result<Self> {
        let path = match &limits.spill_folder {
            Some(spill) => {
                let job = physical_path(folder.path()).unwrap_or_else(|_| folder.path().to_owned());
                let id = xxh3_64(job.as_os_str().as_encoded_bytes());
                let begin = format!("skyprep-{id:016x}-");
                remove_scratch_of_the_dead(spill, &begin, folder);
                spill.join(format!("{begin}{}.{}", attempt.task, attempt.name))
            }
            None => folder.file(attempt.makes(".scratch")),
        };
        create_folders(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays after a kill is of no use: it goes with the batch system's own folders for scratch,
        // when the next task uses the same folder, or by `job gc` where it lies beside the job.
        let _ = crate::publish::remove_tree(&self.path);
    }
}

/// Removes from a folder for scratch files what killed attempts at tasks of this job have left there:
/// its name begins with `begin`.
fn remove_scratch_of_the_dead(spill: &Path, begin: &str, folder: &JobFolder) {
    // Where the folder can't be read, making another one in it tells why.
    for name in names_in(spill).unwrap_or_default() {
        let of_task = name
            .strip_prefix(begin)
            .and_then(|rest| rest.split_once('.'));
        let Some((task, attempt)) = of_task else {
            continue;
        };
        let is_dead = task
            .parse()
            .is_ok_and(|task| is_dead(folder, task, attempt));
        if is_dead {
            let _ = crate::publish::remove_tree(&spill.join(&name));
        }
    }
}

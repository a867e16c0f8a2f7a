//! The passes of a pipeline as the tasks of a job do them: a map task makes the rows of some inputs
//! into a sealed file, a reduce task makes files out of what many sealed files hold of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::bad_inputs::{PassedOver, passed_over};
use super::file::PipelineFile;
use super::folder_run::PassJob;
use super::pass::{Events, Pass, PassInput, PassLimits, TargetCounts, shapes};
use super::plan::{PlannedPass, lay_out, plan_passes};
use super::prepared::PreparedInputs;
use super::run::RunEvents;
use super::stream::frame;
use super::table::{StagedFile, TableJob};
use super::table_routing::IndexPlaces;
use crate::convert::RowTarget;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::{
    FileSummary, MergeWork, SealedFile, SealedRuns, SealedWriter, SectionContent, Sink,
    SubChunkCount, TaskChunkSink, TaskRowSink, TaskSinkOptions, check_room,
};
use crate::partition::chunk_index_record;
use crate::partition::key_index::{DuplicatedKeys, IndexFormat, write_compact_index};
use crate::publish::StagingPlace;
use crate::schema::OutputColumn;

/// Memory that a merge takes at least.
const LEAST_MERGE: u64 = 1 << 20;

/// Returns the passes of a pipeline without their inputs; `indexes` tells where the indexes of
/// directors lie.
///
/// # Errors
/// What is wrong with the pipeline file and its tables.
pub(crate) fn job_passes(
    file: &PipelineFile,
    indexes: &BTreeMap<String, PathBuf>,
    events: &dyn RunEvents,
) -> Result<Vec<PlannedPass>> {
    let (tables, sky) = lay_out(file, &IndexPlaces(indexes.clone()), events)?;
    plan_passes(file, &tables, sky.as_ref())
}

/// What a map task works with.
pub(crate) struct MapWork<'a> {
    /// The inputs or parts of them.
    pub(crate) inputs: Vec<PassInput>,
    /// Columns of each table's first input, which settle the table's own.
    pub(crate) known: &'a [Vec<String>],
    /// Path of the sealed file.
    pub(crate) sealed: &'a Path,
    /// What the rows are made by.
    pub(crate) configuration: [u8; 16],
    /// Where scratch files may lie.
    pub(crate) scratch: StagingPlace,
}

/// What a map task has made.
pub(crate) struct Mapped {
    /// What was counted for each table.
    pub(crate) counts: Vec<TargetCounts>,
    /// Columns of each table.
    pub(crate) columns: Vec<Vec<OutputColumn>>,
    /// Inputs that could not be read, for each table.
    pub(crate) passed_over: Vec<Vec<PassedOver>>,
    /// The file that holds all rows.
    pub(crate) sealed: SealedWriter,
}

enum TaskSink {
    Chunks(Box<TaskChunkSink>),
    Rows(Box<TaskRowSink>),
}

impl TaskSink {
    fn as_sink(&self) -> &dyn Sink {
        match self {
            Self::Chunks(sink) => sink.as_ref(),
            Self::Rows(sink) => sink.as_ref(),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::Chunks(sink) => sink.finish(),
            Self::Rows(sink) => sink.finish(),
        }
    }
}

impl PassJob {
    /// Returns the columns of each table, given those of its first input.
    pub(crate) fn task_columns(&self, known: &[Vec<String>]) -> Result<Vec<Vec<OutputColumn>>> {
        let tables = self.tables.iter().zip(known);
        tables
            .map(|(table, known)| table.target.output_columns(known))
            .collect()
    }

    /// Makes the rows of some inputs into a sealed file.
    ///
    /// # Errors
    /// The first failure in input order.
    pub(crate) fn map(
        &self,
        work: &MapWork<'_>,
        limits: &PassLimits,
        events: &dyn Events,
    ) -> Result<Mapped> {
        let mut inputs = work.inputs.clone();
        limits.bad_inputs.look_at(&mut inputs)?;
        loop {
            let books = limits.rejects.snapshot();
            match self.map_once(&inputs, work, limits, events) {
                Err(error) if error.kind().is_interruption() => return Err(error),
                Err(error) => limits.bad_inputs.pass_over(&mut inputs, error)?,
                made => return made,
            }
            limits.rejects.restore(books);
        }
    }

    fn map_once(
        &self,
        all: &[PassInput],
        work: &MapWork<'_>,
        limits: &PassLimits,
        events: &dyn Events,
    ) -> Result<Mapped> {
        let columns = self.task_columns(work.known)?;
        let targets: Vec<&RowTarget> = self.tables.iter().map(|job| &job.target).collect();
        let readable = all.iter().filter(|fed| fed.input.unreadable.is_none());
        let readable: Vec<PassInput> = readable.cloned().collect();
        let inputs = PreparedInputs::with_columns(readable, columns.clone());
        let limits = &self.with_indexes(&work.scratch, limits, &inputs, &targets)?;
        let packets = shapes(&inputs, &targets, limits.gate.room());
        check_room(&limits.gate, &packets, inputs.least_memory(&targets)?)?;
        let sealed = SealedWriter::create(work.sealed, work.configuration)?;
        let sealed = Arc::new(Mutex::new(sealed));
        let mut sinks = Vec::with_capacity(self.tables.len());
        for (table, columns) in self.tables.iter().zip(&columns) {
            let options = TaskSinkOptions {
                sealed: Arc::clone(&sealed),
                table: table.target.name.clone(),
                scratch: table.scratch(&work.scratch, "task")?,
                gate: Arc::clone(&limits.gate),
                cancel: limits.cancel.clone(),
            };
            sinks.push(match &table.target.routing {
                Some(routing) => {
                    let rows = table.chunk_rows(routing, columns);
                    let has_keys = routing.director_key.is_some();
                    TaskSink::Chunks(Box::new(TaskChunkSink::new(options, rows, has_keys)))
                }
                None => TaskSink::Rows(Box::new(TaskRowSink::new(options))),
            });
        }
        let pass = Pass {
            inputs: &inputs,
            sinks: sinks.iter().map(TaskSink::as_sink).collect(),
            starts: targets.iter().map(|_| None).collect(),
            targets,
        };
        let counts = pass.run(limits, events)?;
        sinks.into_iter().try_for_each(TaskSink::finish)?;
        let sealed = Arc::into_inner(sealed).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "a sink outlived its task").hint("please report this")
        })?;
        let feeding = |table: usize| all.iter().filter(move |fed| fed.feeds.contains(&table));
        Ok(Mapped {
            passed_over: (0..self.tables.len())
                .map(|table| passed_over(feeding(table)))
                .collect(),
            counts,
            columns,
            sealed: sealed.into_inner().unwrap_or_else(PoisonError::into_inner),
        })
    }
}

/// What a reduce task works with.
pub(crate) struct ReduceWork<'a> {
    /// What the map tasks have made.
    pub(crate) sources: &'a [SealedFile],
    /// Columns of the table.
    pub(crate) columns: &'a [OutputColumn],
    /// Where files grow, under the paths that they will have.
    pub(crate) staging: &'a StagingPlace,
    /// What the task may use.
    pub(crate) limits: &'a PassLimits,
}

impl ReduceWork<'_> {
    fn merge<'w>(&'w self, staging: &'w Path) -> MergeWork<'w> {
        MergeWork {
            staging,
            memory: (self.limits.gate.free() / 2).max(LEAST_MERGE),
            cancel: &self.limits.cancel,
        }
    }
}

/// What a reduce task has made of some chunks of a table.
pub(crate) struct ReducedChunks {
    /// The chunk files.
    pub(crate) files: Vec<FileSummary>,
    /// Their part of the index that counts rows per sub-chunk, if the table has one.
    pub(crate) chunk_index: Option<FileSummary>,
}

/// What became of the index of a director.
pub(crate) enum ReducedIndex {
    /// The table has no rows.
    Nothing,
    /// The index, and the path of the compact one, if keys are looked up.
    Made(FileSummary, Option<PathBuf>),
    /// Keys occur more than once.
    Duplicates(DuplicatedKeys),
}

impl TableJob {
    /// Makes the files `files` of chunks for which `wants` is true.
    ///
    /// # Errors
    /// Sealed files are damaged, or a file can't be written.
    pub(crate) fn reduce_chunks(
        &self,
        work: &ReduceWork<'_>,
        files: &Range<usize>,
        wants: &(dyn Fn(usize) -> bool + Sync),
    ) -> Result<ReducedChunks> {
        let routing = self.target.routing.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                "a table without chunks was to have some",
            )
        })?;
        let rows = self.chunk_rows(routing, work.columns);
        let staging = self.chunk_staging(work.staging)?;
        let merge = work.merge(&staging);
        let _paid = work.limits.gate.charge(merge.memory);
        let name = &self.target.name;
        let runs = SealedRuns::find(work.sources, name, SectionContent::Chunks, files)?;
        let mut index = StagedFile::new(work.staging, self.chunk_index_path())?;
        let mut count = |key, count: SubChunkCount| match self.has_chunk_index {
            true => index.write(&chunk_index_record(key, count)),
            false => Ok(()),
        };
        let files = runs.merge(&rows, wants, &merge, &mut count)?;
        Ok(ReducedChunks {
            files,
            chunk_index: index.finish()?,
        })
    }

    /// Makes the file of a table that is not partitioned.
    ///
    /// # Errors
    /// Sealed files are damaged, or the file can't be written.
    pub(crate) fn reduce_rows(&self, work: &ReduceWork<'_>) -> Result<FileSummary> {
        let frame = frame(&self.target, work.columns)?;
        let mut file = StagedFile::new(work.staging, self.part_path(0))?;
        file.write(&frame.start)?;
        let rows = self.stream(work, SectionContent::Rows, &mut file)?;
        file.write(frame.end)?;
        file.finish_with(rows)
    }

    /// Makes the index of a director, in the format that the table wants, and, if other tables look keys
    /// up, the compact one that their tasks use.
    ///
    /// # Errors
    /// Sealed files are damaged, or a file can't be written.
    pub(crate) fn reduce_index(
        &self,
        work: &ReduceWork<'_>,
        is_looked_up: bool,
    ) -> Result<ReducedIndex> {
        let path = format!("{}{}", self.folder, self.key_index(IndexFormat::Text));
        let mut file = StagedFile::new(work.staging, path.clone())?;
        let rows = self.stream(work, SectionContent::Keys, &mut file)?;
        if rows == 0 {
            return Ok(ReducedIndex::Nothing);
        }
        let mut files = [file.finish_with(rows)?];
        let text = work.staging.staged(&path)?;
        if let Some(keys) = self.finish_index(&mut files, work.staging, work.limits)? {
            return Ok(ReducedIndex::Duplicates(keys));
        }
        let mut compact = None;
        if is_looked_up {
            let path = work.staging.staged(&format!("{}.compact", self.folder))?;
            let source = (text.as_path(), &self.target.dialect);
            let limits = work.limits.for_index();
            write_compact_index(source, &path, self.duplicates, &limits)?;
            compact = Some(path);
        }
        let [file] = files;
        Ok(ReducedIndex::Made(file, compact))
    }

    fn stream(
        &self,
        work: &ReduceWork<'_>,
        content: SectionContent,
        file: &mut StagedFile,
    ) -> Result<u64> {
        let merge = work.merge(work.staging.path());
        let _paid = work.limits.gate.charge(merge.memory);
        let runs = SealedRuns::find(work.sources, &self.target.name, content, &(0..1))?;
        let mut buffer = Vec::with_capacity(1 << 20);
        let rows = runs.stream(&merge, &mut |part| {
            if buffer.len() + part.len() > buffer.capacity() {
                file.write(&buffer)?;
                buffer.clear();
            }
            buffer.extend_from_slice(part);
            Ok(())
        })?;
        file.write(&buffer)?;
        Ok(rows)
    }
}

/// Returns a digest of what decides the rows of a pass: options and columns of its tables.
pub(crate) fn configuration_of(options: &[Value], known: &[Vec<String>]) -> [u8; 16] {
    let text = serde_json::to_vec(&(env!("CARGO_PKG_VERSION"), options, known));
    xxhash_rust::xxh3::xxh3_128(&text.unwrap_or_default()).to_be_bytes()
}

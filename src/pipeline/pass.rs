//! A pass: inputs are read once and feed one or more outputs, on all threads, in bounded memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::bad_inputs::{BadInputs, is_of_input};
use super::pieces::Pieces;
use super::prepared::{PreparedInputs, TextNames};
use super::rejects::{PassRejects, Rejects};
use super::worker::Worker;
use crate::convert::RowTarget;
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::{
    Collector, CollectorOptions, Finish, Mark, OutputCounts, OutputTotals, PacketShape, Sink,
    first_piece,
};
use crate::partition::Routing;
use crate::partition::key_index::IndexLimits;
use crate::resources::{Cancel, MemoryGate, process_bytes};
use crate::schema::row_steps;
use crate::source::{DecodeBudget, FitsOptions, Input};
use crate::values::{Charset, RuleCounts};

/// Told how a pass gets on.
pub trait Events: Sync {
    /// So many more bytes of input are done, which held so many rows.
    fn advance(&self, bytes: u64, rows: u64);
    /// The pass goes on where an earlier one was ended, which had written so many rows.
    fn goes_on(&self, _rows: u64) {}
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoEvents;

impl Events for NoEvents {
    fn advance(&self, _bytes: u64, _rows: u64) {}
}

/// How inputs are read, where they do not tell themselves.
#[derive(Debug, Clone, Serialize)]
pub struct ReadAs {
    /// The dialect of texts.
    pub dialect: Dialect,
    /// The character set of texts; without one, that of the output, and in FITS files UTF-8.
    pub charset: Option<Charset>,
    /// Where the names of a text's fields come from.
    pub names: TextNames,
    /// Which table of a FITS file is read, by name or number; else the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hdu: Option<String>,
}

impl Default for ReadAs {
    fn default() -> Self {
        Self {
            dialect: Dialect::qserv(),
            charset: None,
            names: TextNames::default(),
            hdu: None,
        }
    }
}

impl ReadAs {
    /// Returns what matters where an input is a FITS file.
    pub fn fits(&self) -> FitsOptions<'_> {
        FitsOptions {
            hdu: self.hdu.as_deref(),
            charset: self.charset,
        }
    }
}

/// An input and the outputs that it feeds.
#[derive(Debug, Clone)]
pub struct PassInput {
    /// The input.
    pub input: Input,
    /// How it is read.
    pub read_as: Arc<ReadAs>,
    /// Numbers of the targets.
    pub feeds: Vec<usize>,
    /// What of it is read.
    pub part: InputPart,
}

impl PassInput {
    /// Feeds all of an input to these targets.
    pub fn whole(input: Input, read_as: &Arc<ReadAs>, feeds: Vec<usize>) -> Self {
        Self {
            input,
            read_as: Arc::clone(read_as),
            feeds,
            part: InputPart::default(),
        }
    }
}

/// What a pass reads of an input, and where that stands among all inputs of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InputPart {
    /// The stretch of a job's inputs that it belongs to: parts that follow each other share one.
    pub order: u32,
    /// The part; nothing for all of the input.
    pub span: Option<InputSpan>,
}

/// A part of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputSpan {
    /// Row groups of a Parquet file, or the blocks of rows of a FITS file.
    RowGroups {
        /// The first.
        first: usize,
        /// The one behind the last.
        end: usize,
    },
    /// Whole records of a text that is not compressed.
    Text {
        /// First byte.
        first: u64,
        /// Line of the first record, from 1.
        line: u64,
        /// Behind the last byte.
        end: u64,
    },
}

/// What a pass may use.
#[derive(Debug, Clone)]
pub struct PassLimits {
    /// Threads that decode and encode.
    pub threads: usize,
    /// Where memory is paid for.
    pub gate: Arc<MemoryGate>,
    /// Ends the pass early when somebody says so.
    pub cancel: Cancel,
    /// Where rows that memory can't hold wait for their files; without one, beside the output.
    pub spill_folder: Option<PathBuf>,
    /// Output files that may be open at once.
    pub max_open_files: usize,
    /// How rows that come run by run get into one file per chunk.
    pub finish: Finish,
    /// Called when much memory was freed: the allocator may keep it otherwise.
    pub give_back: fn(),
    /// What becomes of bad rows, over all passes of a command.
    pub rejects: Arc<Rejects>,
    /// What becomes of inputs that can't be read.
    pub bad_inputs: BadInputs,
    /// Whether the memory is that of the whole process.
    is_of_process: bool,
}

impl PassLimits {
    /// Output files that may be open at once, unless somebody says otherwise.
    pub const USUAL_OPEN_FILES: usize = 256;

    /// Returns limits of so many threads and bytes, and the usual ones else.
    pub fn new(threads: usize, memory: u64) -> Self {
        Self {
            threads,
            gate: MemoryGate::new(memory),
            cancel: Cancel::default(),
            spill_folder: None,
            max_open_files: Self::USUAL_OPEN_FILES,
            finish: Finish::Auto,
            give_back: || (),
            rejects: Arc::default(),
            bad_inputs: BadInputs::End,
            is_of_process: false,
        }
    }

    /// Returns limits where the memory is that of the whole process, what it has taken so far
    /// included.
    pub fn of_process(threads: usize, memory: u64) -> Self {
        let limits = Self {
            is_of_process: true,
            ..Self::new(threads, memory)
        };
        limits.afresh()
    }

    /// Returns the file that lists `rejected` rows, if there are any.
    pub(super) fn reject_file(&self, rejected: u64) -> Option<String> {
        self.rejects.listed_in().filter(|_| rejected > 0)
    }

    /// Returns what work on a director index is to keep within.
    pub(crate) fn for_index(&self) -> IndexLimits {
        IndexLimits {
            gate: Arc::clone(&self.gate),
            cancel: self.cancel.clone(),
        }
    }

    /// Returns the same limits where so many bytes of the memory are taken for the whole pass.
    #[must_use]
    pub(super) fn beside(&self, bytes: u64) -> Self {
        Self {
            gate: MemoryGate::beside(self.gate.base() + bytes, self.gate.limit()),
            ..self.clone()
        }
    }

    /// Returns the same limits for another pass, with a memory gate of its own.
    #[must_use]
    pub fn afresh(&self) -> Self {
        let limit = self.gate.limit();
        let gate = if self.is_of_process {
            (self.give_back)();
            let base = process_bytes().unwrap_or(USUAL_PROCESS_BYTES);
            MemoryGate::beside(base + self.threads as u64 * THREAD_BYTES, limit)
        } else {
            MemoryGate::new(limit)
        };
        Self {
            gate,
            ..self.clone()
        }
    }
}

/// What was counted for one target.
#[derive(Debug, Clone, Default)]
pub struct TargetCounts {
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows that were set aside.
    pub rejected: u64,
    /// Rows of matches that were written a second time.
    pub second_rows: u64,
    /// Rows whose own chunk is not to be made.
    pub elsewhere: u64,
    /// Changes per column and rule.
    pub changes: RuleCounts,
    /// The most bytes that this target's packets held at once.
    pub memory_peak: u64,
}

/// What the program takes before it does anything, where the system does not tell.
const USUAL_PROCESS_BYTES: u64 = 8 << 20;
/// What a thread takes for itself.
const THREAD_BYTES: u64 = 128 << 10;
/// What a thread takes for each column that it writes, about.
const COLUMN_BYTES: u64 = 2 << 10;

impl InputSpan {
    /// Says whether the input begins with it, or, of a text with a header, with its first record.
    pub fn is_first(self) -> bool {
        match self {
            Self::RowGroups { first, .. } => first == 0,
            Self::Text { line, .. } => line <= 2,
        }
    }
}

/// Inputs, targets and sinks of one pass; target, sink and column numbers agree.
pub struct Pass<'a> {
    /// The inputs in order.
    pub inputs: &'a PreparedInputs,
    /// What rows are made for.
    pub targets: Vec<&'a RowTarget>,
    /// Where they go.
    pub sinks: Vec<&'a dyn Sink>,
    /// How far each has come in an earlier run.
    pub starts: Vec<Option<Mark>>,
}

/// Text of a packet, at most; less where memory is short.
const PACKET_BYTES: u64 = 256 << 10;
const LEAST_PACKET_BYTES: u64 = 32 << 10;

impl Pass<'_> {
    /// Reads all inputs and writes all rows, and returns what was counted per target.
    ///
    /// # Errors
    /// The first failure in input order, whatever the number of threads.
    pub fn run(&self, limits: &PassLimits, events: &dyn Events) -> Result<Vec<TargetCounts>> {
        let Some(rejects) = limits.rejects.begin_pass() else {
            return self.run_with(None, limits, events);
        };
        let counts = self.run_with(Some(&rejects), limits, events);
        if let (BadInputs::PassOver, Err(error)) = (limits.bad_inputs, &counts) {
            // Bad rows of a file that is passed over don't count, wherever the damage is.
            let files = rejects.files_of_too_many();
            let budget = self.budget(limits);
            let checked = self.inputs.check_whole(&files, &self.targets, budget);
            if let Err(damage) = checked
                && is_of_input(&damage)
            {
                return Err(damage);
            }
            if is_of_input(error) {
                // The pass is begun anew without that input, and its bad rows with it.
                return counts;
            }
        }
        if let Err(error) = &counts
            && error.kind().is_interruption()
        {
            // The list is made when the work is done.
            return counts;
        }
        let rejected = counts.as_ref().ok();
        let rejected = rejected.map(|all| all.iter().map(|counts| counts.rejected).sum());
        let tables: Vec<&str> = self.targets.iter().map(|t| t.name.as_str()).collect();
        let settled = rejects.settle(&tables, rejected);
        // The first failure counts: that of the pass.
        let counts = counts?;
        settled?;
        Ok(counts)
    }

    fn run_with(
        &self,
        rejects: Option<&PassRejects<'_>>,
        limits: &PassLimits,
        events: &dyn Events,
    ) -> Result<Vec<TargetCounts>> {
        let mut shapes = shapes(self.inputs, &self.targets, limits.gate.room());
        let mut sinks = self.sinks.clone();
        let mut starts = self.starts.clone();
        if let Some(rejects) = rejects {
            shapes.push(PassRejects::shape());
            sinks.push(rejects);
            // A pass goes on only where nothing was set aside before.
            let first = starts.iter().flatten().min_by_key(|mark| mark.piece);
            let first = first.filter(|mark| mark.piece == first_piece(&starts));
            starts.push(first.map(|mark| Mark {
                rows: 0,
                counts: OutputCounts::default(),
                ..mark.clone()
            }));
        }
        let collector = Collector::new(CollectorOptions {
            gate: Arc::clone(&limits.gate),
            cancel: limits.cancel.clone(),
            sinks,
            shapes,
            starts,
            ahead: self.inputs.bytes_ahead(limits.threads),
        });
        let _columns_of_threads = limits.gate.charge(self.bytes_of_threads(limits));
        let buffers = Mutex::default();
        let budget = self.budget(limits);
        let pieces = Pieces::new(self.inputs, &self.targets, budget, &buffers);
        let pieces = pieces.starting_at(&self.starts);
        let pieces = Mutex::new(pieces);
        // Workers are threads of a pool, so that who has to wait can help to write runs.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(limits.threads.max(1))
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Internal, format!("can't start threads: {error}"))
                    .hint("use fewer --threads, or raise the limit of processes (ulimit -u)")
            })?;
        let ended = pool.broadcast(|_| {
            let worker = Worker {
                pieces: &pieces,
                buffers: &buffers,
                collector: &collector,
                events,
                targets: &self.targets,
                rejects,
                counts: Vec::new(),
            };
            catch_unwind(AssertUnwindSafe(|| worker.run(self.targets.len())))
        });
        drop(pool);
        for end in ended {
            end.map_err(|_| {
                Error::new(ErrorKind::Internal, "a worker thread died; please report")
            })?;
        }
        let totals = collector.complete()?.into_iter().take(self.targets.len());
        (limits.give_back)();
        let count = |total: OutputTotals| TargetCounts {
            rows_in: total.counts.rows_in,
            rejected: total.counts.rejected,
            second_rows: total.counts.second_rows,
            elsewhere: total.counts.elsewhere,
            changes: total.counts.changes,
            memory_peak: total.memory_peak,
        };
        Ok(totals.map(count).collect())
    }

    /// Returns what all threads take for the columns that they write: their parts of batches, rules
    /// and numbers written ahead.
    fn bytes_of_threads(&self, limits: &PassLimits) -> u64 {
        let columns = (0..self.targets.len()).map(|at| self.inputs.columns(at).len());
        limits.threads.max(1) as u64 * columns.sum::<usize>() as u64 * COLUMN_BYTES
    }

    /// Returns what decoding may take: streams need little besides, but the runs of chunk files are
    /// to be long.
    fn budget(&self, limits: &PassLimits) -> DecodeBudget {
        let room = limits.gate.room();
        let room = room.saturating_sub(self.bytes_of_threads(limits));
        let are_streams = self.sinks.iter().all(|sink| sink.is_stream());
        let (usual, most) = match are_streams {
            true => (room / 4 * 3, room / 4 * 3),
            false => (room / 2, room / 3 * 2),
        };
        DecodeBudget {
            usual,
            most,
            threads: limits.threads,
        }
    }
}

/// Returns how large the packets of each target are, with so many bytes of memory in all.
pub(super) fn shapes(
    inputs: &PreparedInputs,
    targets: &[&RowTarget],
    room: u64,
) -> Vec<PacketShape> {
    let share = room / (64 * targets.len().max(1) as u64);
    let text_bytes = share.clamp(LEAST_PACKET_BYTES, PACKET_BYTES);
    let shape = |(number, target): (usize, &&RowTarget)| PacketShape {
        text_bytes: text_bytes as usize,
        rows: (text_bytes / 64) as usize,
        slots: row_steps(inputs.columns(number)).1.len(),
        is_routed: target.routing.is_some(),
        has_sides: target.routing.as_ref().is_some_and(Routing::is_match),
        has_keys: target
            .routing
            .as_ref()
            .is_some_and(|routing| routing.director_key.is_some()),
    };
    targets.iter().enumerate().map(shape).collect()
}

//! Sinks of a map task: the rows of all its tables go into one sealed file.
//!
//! Runs are sorted while they are in the cache and wait in memory, or, where that does not hold them, in a
//! scratch file; they are merged when the task has read all of its inputs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::chunk_rows::ChunkRows;
use super::early::EarlyRuns;
use super::exchange_file::ExchangeFile;
use super::grouping::Groups;
use super::memory_runs::MemoryRuns;
use super::merge::Runs;
use super::packet::Packet;
use super::sealed::{SealedWriter, SectionContent, rows_segment};
use super::sealed_merge::{MergeWork, seal};
use super::segments::{ENCODED_BYTES, RunReader, SegmentFile};
use super::{RunEnd, Sink};
use crate::error::Result;
use crate::publish::remove_optional;
use crate::resources::{Cancel, Lease, MemoryGate};

/// Mean bytes of a segment from which on a short run is worth sorting by itself.
const LEAST_SEGMENT: usize = 2 << 10;
/// Memory that a merge of runs takes at least.
const LEAST_MERGE: u64 = 1 << 20;

/// What the sinks of a map task share.
#[derive(Clone)]
pub struct TaskSinkOptions {
    /// The file that all rows go to.
    pub sealed: Arc<Mutex<SealedWriter>>,
    /// Name of the table.
    pub table: String,
    /// Start of the paths of scratch files.
    pub scratch: PathBuf,
    /// Where memory is paid for.
    pub gate: Arc<MemoryGate>,
    /// Ends a merge early when somebody says so.
    pub cancel: Cancel,
}

impl TaskSinkOptions {
    fn scratch(&self, what: &str) -> PathBuf {
        let mut path = self.scratch.clone().into_os_string();
        path.push(".");
        path.push(what);
        path.into()
    }

    fn with_sealed<T>(&self, work: impl FnOnce(&mut SealedWriter) -> Result<T>) -> Result<T> {
        let mut sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut sealed)
    }
}

/// Takes the rows of a partitioned table in a map task.
pub struct TaskChunkSink {
    options: TaskSinkOptions,
    rows: ChunkRows,
    has_keys: bool,
    early_runs: EarlyRuns,
    state: Mutex<ChunkState>,
}

struct ChunkState {
    /// Runs after those that were spilled.
    in_memory: MemoryRuns,
    /// Runs that memory could not hold.
    spilled: Option<ExchangeFile>,
    /// Whether all rows went into the sealed file at once.
    is_sealed: bool,
    keys: RowSpill,
    paid: Lease,
}

impl TaskChunkSink {
    /// Makes a sink; with `has_keys`, keys and places of the rows are kept for the director's index.
    pub fn new(options: TaskSinkOptions, rows: ChunkRows, has_keys: bool) -> Self {
        let state = ChunkState {
            in_memory: MemoryRuns::default(),
            spilled: None,
            is_sealed: false,
            keys: RowSpill::new(options.scratch("keys"), Some(options.gate.clone())),
            paid: options.gate.charge(0),
        };
        Self {
            options,
            rows,
            has_keys,
            early_runs: EarlyRuns::new(),
            state: Mutex::new(state),
        }
    }

    /// Merges what waits, and removes the scratch files.
    ///
    /// # Errors
    /// A scratch file is damaged, or the sealed file can't be written.
    pub fn finish(self) -> Result<()> {
        let state = self.state.into_inner();
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let options = &self.options;
        if state.spilled.is_some() {
            state.spill_memory(options)?;
        }
        if let Some(spilled) = &state.spilled {
            let memory = (options.gate.free() / 2).max(LEAST_MERGE);
            let _paid = options.gate.charge(memory);
            let work = MergeWork {
                staging: &options.scratch,
                memory,
                cancel: &options.cancel,
            };
            options.with_sealed(|sealed| {
                seal(spilled, &work, sealed)?;
                sealed.end_section(&options.table, SectionContent::Chunks)
            })?;
        } else if !state.is_sealed {
            options.with_sealed(|sealed| {
                sealed.append_runs(&state.in_memory)?;
                sealed.end_section(&options.table, SectionContent::Chunks)
            })?;
        }
        drop(state.in_memory);
        drop(state.spilled);
        remove_optional(&options.scratch("runs"))?;
        match self.has_keys {
            true => state.keys.seal(options, SectionContent::Keys),
            false => Ok(()),
        }
    }
}

impl Sink for TaskChunkSink {
    fn write_run(&self, packets: &[Packet], end: RunEnd<'_>) -> Result<()> {
        if packets.is_empty() {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let options = &self.options;
        let groups = Groups::of(packets, self.rows.files())?;
        let is_only = state.spilled.is_none() && state.in_memory.is_empty();
        if end.is_last() && is_only {
            options.with_sealed(|sealed| {
                sealed.append_groups(&self.rows, packets, &groups, ENCODED_BYTES)?;
                sealed.end_section(&options.table, SectionContent::Chunks)
            })?;
            state.is_sealed = true;
        } else if !state
            .in_memory
            .add(&self.rows, packets, &groups, &options.gate)?
        {
            state.spill_memory(options)?;
            state.spill(options, |spilled| {
                spilled.write_run(&self.rows, packets, &groups, ENCODED_BYTES)
            })?;
        }
        if self.has_keys {
            let mut text = Vec::new();
            for packet in packets {
                text.clear();
                self.rows.write_keys(packet, &mut text);
                state.keys.append(packet, &text)?;
            }
        }
        Ok(())
    }

    fn early_run(&self) -> u64 {
        self.early_runs.bytes()
    }

    fn is_worth_writing(&self, run: &[Packet]) -> bool {
        let files = self.rows.files();
        self.early_runs.is_worth_it(run, files, |_| LEAST_SEGMENT)
    }

    fn release(&self) -> Result<bool> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = state.keys.release()?;
        let rows = !state.in_memory.is_empty();
        state.spill_memory(&self.options)?;
        Ok(keys || rows)
    }
}

impl ChunkState {
    /// Writes the runs in memory into the scratch file, as one.
    fn spill_memory(&mut self, options: &TaskSinkOptions) -> Result<()> {
        let runs = std::mem::take(&mut self.in_memory);
        match runs.is_empty() {
            true => Ok(()),
            false => self.spill(options, |spilled| spilled.write_merged(&runs)),
        }
    }

    fn spill(
        &mut self,
        options: &TaskSinkOptions,
        write: impl FnOnce(&mut ExchangeFile) -> Result<()>,
    ) -> Result<()> {
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            None => {
                let path = options.scratch("runs");
                self.spilled.insert(ExchangeFile::create(&path, [0; 16])?)
            }
        };
        let before = spilled.memory();
        write(spilled)?;
        let more = spilled.memory() - before;
        self.paid.absorb(options.gate.charge(more));
        Ok(())
    }
}

/// Takes the rows of a table that is not partitioned in a map task.
pub struct TaskRowSink {
    options: TaskSinkOptions,
    spill: Mutex<RowSpill>,
}

impl TaskRowSink {
    /// Makes a sink.
    pub fn new(options: TaskSinkOptions) -> Self {
        Self {
            spill: Mutex::new(RowSpill::new(options.scratch("rows"), None)),
            options,
        }
    }

    /// Copies what waits into the sealed file, and removes the scratch file.
    ///
    /// # Errors
    /// The scratch file is damaged, or the sealed file can't be written.
    pub fn finish(self) -> Result<()> {
        let spill = self.spill.into_inner();
        let spill = spill.unwrap_or_else(PoisonError::into_inner);
        spill.seal(&self.options, SectionContent::Rows)
    }
}

impl Sink for TaskRowSink {
    fn is_stream(&self) -> bool {
        true
    }

    fn write_run(&self, packets: &[Packet], _: RunEnd<'_>) -> Result<()> {
        let mut spill = self.spill.lock().unwrap_or_else(PoisonError::into_inner);
        packets
            .iter()
            .try_for_each(|packet| spill.append(packet, packet.text()))
    }
}

/// Rows without chunks that wait, as segments: in memory, and before these in a scratch file what that
/// could not hold.
struct RowSpill {
    path: PathBuf,
    segments: Option<SegmentFile>,
    in_memory: MemoryRuns,
    /// Where memory is paid for; without it all goes into the file.
    gate: Option<Arc<MemoryGate>>,
    buffer: Vec<u8>,
}

impl RowSpill {
    fn new(path: PathBuf, gate: Option<Arc<MemoryGate>>) -> Self {
        Self {
            path,
            segments: None,
            in_memory: MemoryRuns::default(),
            gate,
            buffer: Vec::new(),
        }
    }

    /// Appends text that stands for the rows of a packet.
    fn append(&mut self, packet: &Packet, text: &[u8]) -> Result<()> {
        let rows = packet.rows() as u32;
        if rows == 0 {
            return Ok(());
        }
        self.buffer.clear();
        let header = rows_segment(packet.order(), rows, text, &mut self.buffer);
        if let Some(gate) = &self.gate
            && self.in_memory.add_segment(header, &self.buffer, gate)?
        {
            return Ok(());
        }
        self.release()?;
        let buffer = std::mem::take(&mut self.buffer);
        let appended = self.file()?.append(&buffer);
        self.buffer = buffer;
        appended
    }

    /// Writes what is in memory into the scratch file; says whether there was anything.
    fn release(&mut self) -> Result<bool> {
        let runs = std::mem::take(&mut self.in_memory);
        if runs.is_empty() {
            return Ok(false);
        }
        runs.write_to(self.file()?, |_, _, _| {})?;
        Ok(true)
    }

    fn file(&mut self) -> Result<&mut SegmentFile> {
        match &mut self.segments {
            Some(segments) => Ok(segments),
            segments => Ok(segments.insert(SegmentFile::create(&self.path)?)),
        }
    }

    /// Copies all rows into a section of the sealed file, and removes the scratch file.
    fn seal(mut self, options: &TaskSinkOptions, content: SectionContent) -> Result<()> {
        if self.segments.is_some() {
            self.release()?;
        }
        options.with_sealed(|sealed| {
            match &self.segments {
                Some(segments) => {
                    let work = MergeWork {
                        staging: &options.scratch,
                        memory: LEAST_MERGE,
                        cancel: &options.cancel,
                    };
                    seal(&OneRun(segments), &work, sealed)?;
                }
                None => sealed.append_runs(&self.in_memory)?,
            }
            sealed.end_section(&options.table, content)
        })?;
        remove_optional(&self.path)
    }
}

/// The only run of a scratch file.
struct OneRun<'a>(&'a SegmentFile);

impl Runs for OneRun<'_> {
    fn count(&self) -> usize {
        1
    }

    fn windows(&self, files: usize, _: u64) -> Vec<std::ops::Range<usize>> {
        std::iter::once(0..files).collect()
    }

    fn reader(&self, _: usize, _: std::ops::Range<usize>, buffer: usize) -> RunReader<'_> {
        RunReader::new(&self.0.file, &self.0.path, 0..self.0.end, buffer)
    }
}

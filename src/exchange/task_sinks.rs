//! Sinks of a map task: the rows of all its tables go into one sealed file.
//!
//! What memory holds goes there at once; else runs wait in a scratch file, and are merged when the
//! task has read all of its inputs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::chunk_rows::ChunkRows;
use super::exchange_file::ExchangeFile;
use super::grouping::Groups;
use super::merge::Runs;
use super::packet::Packet;
use super::sealed::{SealedWriter, SectionContent, rows_segment};
use super::sealed_merge::{MergeWork, seal};
use super::segments::{RunReader, SegmentFile};
use super::{RunEnd, Sink};
use crate::error::Result;
use crate::publish::remove_optional;
use crate::resources::{Cancel, Lease, MemoryGate};

/// Text is encoded in blocks of about this size.
const BLOCK: usize = 256 << 10;
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
    state: Mutex<ChunkState>,
}

struct ChunkState {
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
            spilled: None,
            is_sealed: false,
            keys: RowSpill::new(options.scratch("keys")),
            paid: options.gate.charge(0),
        };
        Self {
            options,
            rows,
            has_keys,
            state: Mutex::new(state),
        }
    }

    /// Merges what waits, and removes the scratch files.
    ///
    /// # Errors
    /// A scratch file is damaged, or the sealed file can't be written.
    pub fn finish(self) -> Result<()> {
        let state = self.state.into_inner();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let options = &self.options;
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
            options
                .with_sealed(|sealed| sealed.end_section(&options.table, SectionContent::Chunks))?;
        }
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
        if end.is_last() && state.spilled.is_none() {
            options.with_sealed(|sealed| {
                sealed.append_groups(&self.rows, packets, &groups, BLOCK)?;
                sealed.end_section(&options.table, SectionContent::Chunks)
            })?;
            state.is_sealed = true;
        } else {
            let spilled = match &mut state.spilled {
                Some(spilled) => spilled,
                None => {
                    let path = options.scratch("runs");
                    state.spilled.insert(ExchangeFile::create(&path, [0; 16])?)
                }
            };
            let before = spilled.memory();
            spilled.write_run(&self.rows, packets, &groups, BLOCK)?;
            let more = spilled.memory() - before;
            state.paid.absorb(options.gate.charge(more));
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
            spill: Mutex::new(RowSpill::new(options.scratch("rows"))),
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

/// Rows without chunks that wait in a scratch file, as segments.
struct RowSpill {
    path: PathBuf,
    segments: Option<SegmentFile>,
    buffer: Vec<u8>,
}

impl RowSpill {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            segments: None,
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
        rows_segment(packet.order(), rows, text, &mut self.buffer);
        let segments = match &mut self.segments {
            Some(segments) => segments,
            None => self.segments.insert(SegmentFile::create(&self.path)?),
        };
        segments.append(&self.buffer)
    }

    /// Copies all rows into a section of the sealed file, and removes the scratch file.
    fn seal(self, options: &TaskSinkOptions, content: SectionContent) -> Result<()> {
        options.with_sealed(|sealed| {
            if let Some(segments) = &self.segments {
                let work = MergeWork {
                    staging: &options.scratch,
                    memory: LEAST_MERGE,
                    cancel: &options.cancel,
                };
                seal(&OneRun(segments), &work, sealed)?;
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

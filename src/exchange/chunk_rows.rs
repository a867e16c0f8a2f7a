//! The rows of a chunk as text: packets' rows with chunk and sub-chunk filled in.

use super::chunk_names::ChunkNames;
use super::digest::Digests;
use super::grouping::{Entry, Source};
use super::packet::{MatchSides, NOWHERE, Packet, SlotPart, SlotText};
use super::sub_chunk_fillings::{RowsPerSubChunk, SubChunkFillings};
use crate::error::Result;

/// How the rows of a partitioned table are finished.
#[derive(Debug, Clone)]
pub struct ChunkRows {
    /// Chunk number of each dense index.
    pub chunk_numbers: Vec<i32>,
    /// How the files are called.
    pub names: ChunkNames,
    /// What is filled in at each slot of a row.
    pub slots: Vec<SlotText>,
    /// Delimiter of the text.
    pub delimiter: u8,
    /// What ends a row.
    pub line_end: &'static [u8],
    /// Which digests of the files are made.
    pub digests: Digests,
    /// Whether rows per sub-chunk are counted, for `chunk_index.bin`.
    pub counts_sub_chunks: bool,
    /// Whether keys are kept of rows, too, whose own chunk nobody wants: to be compared, for their
    /// place is lost.
    pub has_keys_of_all: bool,
}

/// Rows of one sub-chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SubChunkCount {
    /// Own rows.
    pub rows: u64,
    /// Overlap rows.
    pub overlap_rows: u64,
}

impl SubChunkCount {
    /// Adds rows of one kind.
    pub(super) fn add(&mut self, rows: u64, is_overlap: bool) {
        if is_overlap {
            self.overlap_rows += rows;
        } else {
            self.rows += rows;
        }
    }
}

/// Rows per (chunk, sub-chunk), where those of one chunk come together.
///
/// A sorted list instead of a map: there may be millions, at 24 bytes each.
#[derive(Debug, Clone, Default)]
pub(super) struct ChunkCounts(Vec<((i32, i32), SubChunkCount)>);

impl ChunkCounts {
    /// Adds rows of one kind.
    pub(super) fn add(&mut self, key: (i32, i32), rows: u64, is_overlap: bool) {
        // Chunks come in order, so the place lies near the end.
        let mut from = self.0.len();
        while from > 0 && self.0[from - 1].0 > key {
            from -= 1;
        }
        match from.checked_sub(1).filter(|at| self.0[*at].0 == key) {
            Some(at) => self.0[at].1.add(rows, is_overlap),
            None => {
                let mut count = SubChunkCount::default();
                count.add(rows, is_overlap);
                self.0.insert(from, (key, count));
            }
        }
    }

    /// Returns the counts in order of chunk and sub-chunk.
    pub(super) fn into_sorted(self) -> Vec<((i32, i32), SubChunkCount)> {
        self.0
    }

    /// Returns the bytes of memory that the counts take.
    pub(super) fn memory(&self) -> u64 {
        (self.0.capacity() * size_of::<((i32, i32), SubChunkCount)>()) as u64
    }

    /// Appends the counts in binary, 24 bytes each.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        for ((chunk, sub_chunk), count) in &self.0 {
            out.extend_from_slice(&chunk.to_le_bytes());
            out.extend_from_slice(&sub_chunk.to_le_bytes());
            out.extend_from_slice(&count.rows.to_le_bytes());
            out.extend_from_slice(&count.overlap_rows.to_le_bytes());
        }
    }

    /// Reads what [`Self::write_to`] has written; nothing if it is something else.
    pub(super) fn read_from(bytes: &[u8]) -> Option<Self> {
        let (records, rest) = bytes.as_chunks::<24>();
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
        let counts = records.iter().map(|record| {
            let ids = number(&record[..8]);
            let ids = (ids as i32, (ids >> 32) as i32);
            let count = SubChunkCount {
                rows: number(&record[8..16]),
                overlap_rows: number(&record[16..]),
            };
            (ids, count)
        });
        rest.is_empty().then(|| Self(counts.collect()))
    }

    /// Puts lists behind each other whose chunks come in order and where only the last chunk of one
    /// may be the first of the next.
    pub(super) fn joined(parts: Vec<Self>) -> Self {
        let mut all = Self(Vec::with_capacity(
            parts.iter().map(|part| part.0.len()).sum(),
        ));
        for (key, count) in parts.into_iter().flat_map(|part| part.0) {
            all.add(key, count.rows, false);
            all.add(key, count.overlap_rows, true);
        }
        all
    }

    /// Adds all counts of another list.
    pub(super) fn merge(&mut self, other: Self) {
        if self.0.is_empty() {
            *self = other;
            return;
        }
        let mine = std::mem::take(&mut self.0);
        self.0.reserve_exact(mine.len() + other.0.len());
        let (mut a, mut b) = (mine.into_iter().peekable(), other.0.into_iter().peekable());
        loop {
            let next = match (a.peek(), b.peek()) {
                (Some(x), Some(y)) if x.0 <= y.0 => a.next(),
                (_, Some(_)) => b.next(),
                (_, None) => a.next(),
            };
            let Some((key, count)) = next else { break };
            match self.0.last_mut() {
                Some((last, sum)) if *last == key => {
                    sum.rows += count.rows;
                    sum.overlap_rows += count.overlap_rows;
                }
                _ => self.0.push((key, count)),
            }
        }
        self.0.shrink_to_fit();
    }
}

/// How many rows ahead the processor is told which it will need: those of a file stand here and there
/// in a run, so it can't know, and waiting for them takes longer than copying them.
const ROWS_AHEAD: usize = 10;
/// The same for where their text is, which must be known before that can be fetched.
const MARKS_AHEAD: usize = 2 * ROWS_AHEAD;

/// What one thread needs to gather text.
#[derive(Default)]
pub(super) struct Buffers {
    pub(super) text: Vec<u8>,
    pub(super) counts: RowsPerSubChunk,
    fillings: SubChunkFillings,
}

impl ChunkRows {
    /// Returns the number of files there may be: two per chunk.
    pub(super) fn files(&self) -> usize {
        self.chunk_numbers.len() * 2
    }

    /// Returns chunk number and kind of file number `file`.
    pub(super) fn chunk_of(&self, file: usize) -> (i32, bool) {
        (self.chunk_numbers[file / 2], file % 2 == 1)
    }

    /// Returns the path of file number `file` relative to the folder of all.
    pub fn file_name(&self, file: usize) -> String {
        let (chunk, is_overlap) = self.chunk_of(file);
        self.names.file(chunk, is_overlap)
    }

    /// Appends the rows `entries` of file number `file` to `buffers.text` and writes the rows of each
    /// sub-chunk to `buffers.counts`, if they are to be counted; calls `flush` whenever there are
    /// `block` bytes of text.
    pub(super) fn write(
        &self,
        packets: &[Packet],
        (file, entries): (usize, &[Entry]),
        block: usize,
        buffers: &mut Buffers,
        mut flush: impl FnMut(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let (chunk, _) = self.chunk_of(file);
        buffers.fillings.restart();
        for (number, entry) in entries.iter().enumerate() {
            if let Some(later) = entries.get(number + MARKS_AHEAD) {
                let packet = &packets[later.packet as usize];
                packet.fetch_marks(later.source().row(packet));
            }
            if let Some(later) = entries.get(number + ROWS_AHEAD) {
                let packet = &packets[later.packet as usize];
                packet.fetch_row(later.source().row(packet));
            }
            let packet = &packets[entry.packet as usize];
            let (row, sub_chunk, sides) = match entry.source() {
                Source::Row(row) => {
                    let sides = packet.sides().get(row).map_or(0, |sides| *sides as i32);
                    (row, packet.sub_chunks()[row], sides)
                }
                Source::Further(index) => {
                    let place = packet.further()[index];
                    let row = place.row as usize;
                    (row, place.sub_chunk, MatchSides::Second as i32)
                }
            };
            let filling = buffers.fillings.of_row((sub_chunk, sides), |text, ends| {
                self.fill_slots(chunk, sub_chunk, sides, (text, ends));
            });
            packet.write_row(row, filling, self.line_end, &mut buffers.text);
            if buffers.text.len() >= block {
                flush(&mut buffers.text)?;
            }
        }
        buffers.counts.clear();
        if self.counts_sub_chunks {
            buffers.fillings.count(&mut buffers.counts);
        }
        Ok(())
    }

    /// Appends the keys of a packet's rows with their places: lines of the director index. Returns how
    /// many.
    pub(super) fn write_keys(&self, packet: &Packet, text: &mut Vec<u8>) -> u64 {
        let routes = packet.chunks().iter().zip(packet.sub_chunks());
        let mut lines = 0;
        for (key, (chunk, sub_chunk)) in packet.keys().zip(routes) {
            let number = match *chunk {
                NOWHERE if !self.has_keys_of_all => continue,
                chunk => self.chunk_numbers.get(chunk as usize).copied(),
            };
            text.extend_from_slice(key);
            for number in [number.unwrap_or(0), *sub_chunk] {
                text.push(self.delimiter);
                text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            }
            text.extend_from_slice(self.line_end);
            lines += 1;
        }
        lines
    }

    /// Appends what is filled into each slot to `text`, and where that ends to `ends`.
    fn fill_slots(
        &self,
        chunk: i32,
        sub_chunk: i32,
        sides: i32,
        (text, ends): (&mut Vec<u8>, &mut Vec<usize>),
    ) {
        for slot in &self.slots {
            for part in slot {
                let number = match part {
                    SlotPart::Delimiter => {
                        text.push(self.delimiter);
                        continue;
                    }
                    SlotPart::Chunk => chunk,
                    SlotPart::SubChunk => sub_chunk,
                    SlotPart::MatchSides => sides,
                };
                text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            }
            ends.push(text.len());
        }
    }
}

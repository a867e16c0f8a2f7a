//! Sorted runs that wait in memory: rows that were sorted while they were in the processor's cache.
//!
//! Sorting all rows of a task at once would wait for memory at every row. Runs of some MiB are sorted
//! as they come, and at the end the segments of all of them only have to be written in order.

use std::io::IoSlice;
use std::sync::Arc;

use memmap2::{Advice, MmapMut, MmapOptions};

use super::chunk_rows::ChunkRows;
use super::grouping::Groups;
use super::packet::Packet;
use super::segments::{ENCODED_BYTES, SegmentFile, SegmentHeader, encode_groups, row_bytes};
use crate::error::{Error, ErrorKind, Result};
use crate::resources::{Lease, MemoryGate};

/// Bytes of a block: some huge pages, unless that is a large share of the memory there is.
const MOST_BLOCK: u64 = 8 << 20;
const LEAST_BLOCK: u64 = 4 << 10;
const BLOCK_SHARE: u64 = 16;
/// Bytes and pieces that are written by one call.
const WRITE_BYTES: usize = 1 << 20;
const WRITE_PIECES: usize = 512;
/// Bytes that a segment takes beside its text, about.
const SEGMENT_EXTRA: usize = 64;
/// Share of the memory limit that must stay free.
const FREE_SHARE: u64 = 8;

/// Some runs in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct MemoryRuns {
    blocks: Vec<MemoryBlock>,
    /// All segments, run by run.
    segments: Vec<Segment>,
    paid: Option<Lease>,
}

/// Where a segment lies.
#[derive(Debug, Clone, Copy)]
struct Segment {
    header: SegmentHeader,
    block: u32,
    start: u32,
}

/// Memory that is filled from front to back.
#[derive(Debug)]
struct MemoryBlock {
    bytes: MmapMut,
    used: usize,
}

impl MemoryBlock {
    /// Makes a block in huge pages, where the system has such: the first touch of small ones took more
    /// time than the sorting.
    fn new(bytes: usize) -> Result<Self> {
        let bytes = MmapOptions::new().len(bytes).map_anon().map_err(|error| {
            let message = format!("there is no memory for {bytes} bytes of rows: {error}");
            Error::new(ErrorKind::Internal, message).hint("say a smaller --memory-limit")
        })?;
        // It is but advice.
        let _ = bytes.advise(Advice::HugePage);
        Ok(Self { bytes, used: 0 })
    }

    fn free(&self) -> usize {
        self.bytes.len() - self.used
    }

    /// Copies bytes into it, and returns where they begin.
    fn put(&mut self, bytes: &[u8]) -> usize {
        let start = self.used;
        self.used += bytes.len();
        self.bytes[start..self.used].copy_from_slice(bytes);
        start
    }
}

/// Returns how large blocks are where `gate` tells of the memory there is.
fn block_bytes(gate: &MemoryGate) -> usize {
    (gate.room() / BLOCK_SHARE).clamp(LEAST_BLOCK, MOST_BLOCK) as usize
}

impl MemoryRuns {
    /// Says whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Takes up the rows of `packets`, sorted by `groups`; says whether `gate` had the memory for it.
    ///
    /// # Errors
    /// The system has no memory.
    pub(super) fn add(
        &mut self,
        rows: &ChunkRows,
        packets: &[Packet],
        groups: &Groups,
        gate: &Arc<MemoryGate>,
    ) -> Result<bool> {
        let bytes = row_bytes(packets) * groups.rows() + groups.segments() * SEGMENT_EXTRA;
        let block = block_bytes(gate);
        let free = self.blocks.last().map_or(0, MemoryBlock::free);
        let expected = bytes.saturating_sub(free).next_multiple_of(block) as u64;
        let marks = (groups.segments() * size_of::<Segment>()) as u64;
        let Some(mut paid) = gate.try_lease(expected + marks, gate.room() / FREE_SHARE) else {
            return Ok(false);
        };
        let mut taken = 0;
        encode_groups(rows, packets, groups, ENCODED_BYTES, |encoded| {
            let (number, at) = self.put(encoded.bytes(), block, &mut taken)?;
            let segments = encoded.segments().iter().map(|(header, offset)| Segment {
                header: *header,
                block: number,
                start: at + *offset as u32,
            });
            self.segments.extend(segments);
            Ok(())
        })?;
        paid.absorb(gate.charge(taken.saturating_sub(expected)));
        self.pay(paid);
        Ok(true)
    }

    /// Takes up a segment that stands by itself; says whether `gate` had the memory for it.
    ///
    /// # Errors
    /// The system has no memory.
    pub(super) fn add_segment(
        &mut self,
        header: SegmentHeader,
        bytes: &[u8],
        gate: &Arc<MemoryGate>,
    ) -> Result<bool> {
        let block = block_bytes(gate);
        if !self.has_room(bytes.len()) {
            let needed = bytes.len().max(block) as u64;
            let Some(paid) = gate.try_lease(needed, gate.room() / FREE_SHARE) else {
                return Ok(false);
            };
            self.pay(paid);
        }
        let (block, start) = self.put(bytes, block, &mut 0)?;
        self.segments.push(Segment {
            header,
            block,
            start,
        });
        Ok(true)
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.blocks.last().is_some_and(|last| last.free() >= bytes)
    }

    /// Copies bytes into the last block, or a new one of at least `block` bytes, and returns its number
    /// and the place there; `taken` grows by what a new block takes.
    fn put(&mut self, bytes: &[u8], block: usize, taken: &mut u64) -> Result<(u32, u32)> {
        if !self.has_room(bytes.len()) {
            let block = MemoryBlock::new(bytes.len().max(block))?;
            *taken += block.bytes.len() as u64;
            self.blocks.push(block);
        }
        let at = self.blocks.last_mut().map_or(0, |last| last.put(bytes));
        Ok((self.blocks.len() as u32 - 1, at as u32))
    }

    fn pay(&mut self, paid: Lease) {
        match &mut self.paid {
            Some(all) => all.absorb(paid),
            None => self.paid = Some(paid),
        }
    }

    /// Appends all segments to a file: sorted by file, stretch of the inputs, and run. `each` gets
    /// every segment with its bytes, and where it will lie.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn write_to(
        &self,
        out: &mut SegmentFile,
        mut each: impl FnMut(&SegmentHeader, &[u8], u64),
    ) -> Result<()> {
        let mut sorted: Vec<&Segment> = self.segments.iter().collect();
        sorted.sort_by_key(|segment| (segment.header.file, segment.header.order));
        let mut slices = Vec::with_capacity(WRITE_PIECES);
        let mut waiting = 0;
        for Segment {
            header,
            block,
            start,
        } in sorted
        {
            let block = self.blocks.get(*block as usize);
            let from = block.and_then(|block| block.bytes.get(*start as usize..));
            let bytes = from.and_then(|from| from.get(..header.segment_bytes() as usize));
            let bytes = bytes.unwrap_or_default();
            each(header, bytes, out.end + waiting as u64);
            slices.push(IoSlice::new(bytes));
            waiting += bytes.len();
            if waiting >= WRITE_BYTES || slices.len() >= WRITE_PIECES {
                out.append_slices(&mut slices)?;
                slices.clear();
                waiting = 0;
            }
        }
        out.append_slices(&mut slices)
    }
}

//! Sorting more than memory holds, by hash, and among equal hashes in the order of arrival.
//!
//! Items are collected up to a share of memory, sorted on all threads and written as a *run*; in the
//! end runs are merged. Where all fits there is nothing to write. The order is a total one, so what
//! comes out does not depend on memory or threads.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::spill::Spill;
use super::texts::Texts;
use crate::error::{Error, ErrorKind, Result};
use crate::resources::{Cancel, Lease, MemoryGate};

/// Bytes of the least buffer that a run is read through.
const LEAST_READ: usize = 16 << 10;
const MOST_READ: usize = 1 << 20;
const WRITE_BYTES: usize = 256 << 10;
/// Items between two looks at whether to stop.
const STOP_EVERY: usize = 1 << 16;

/// What is sorted: something small, with a text elsewhere if need be.
pub(super) trait Item: Copy + Send + Sync {
    /// Returns what is sorted by.
    fn hash(&self) -> u64;

    /// Returns a number that grows from item to item of a run.
    fn order(&self) -> u32;

    /// Writes the item for the merge.
    fn encode(&self, texts: &Texts, out: &mut Vec<u8>);

    /// Reads what was written, and how many bytes it took; nothing if some are lacking.
    fn decode(bytes: &[u8], texts: &mut Texts) -> Option<(Self, usize)>;
}

impl Item for u64 {
    fn hash(&self) -> u64 {
        *self
    }

    fn order(&self) -> u32 {
        0
    }

    fn encode(&self, _texts: &Texts, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn decode(bytes: &[u8], _texts: &mut Texts) -> Option<(Self, usize)> {
        bytes
            .first_chunk()
            .map(|bytes| (Self::from_le_bytes(*bytes), 8))
    }
}

/// Takes about `wanted` bytes from the gate, or what is there to be had: at least `least`.
pub(super) fn take_share(gate: &std::sync::Arc<MemoryGate>, wanted: u64, least: u64) -> Lease {
    let mut bytes = wanted.min(gate.room() / 2).max(least);
    while bytes > least {
        if let Some(lease) = gate.try_lease(bytes, 0) {
            return lease;
        }
        bytes = (bytes / 2).max(least);
    }
    gate.charge(least)
}

/// Collects and sorts.
pub(super) struct Sorter<I> {
    items: Vec<I>,
    texts: Texts,
    most_bytes: usize,
    spill_path: PathBuf,
    spill: Option<Spill>,
    runs: Vec<Range<u64>>,
    cancel: Cancel,
    share: Lease,
}

impl<I: Item> Sorter<I> {
    /// Begins with `share` of memory for at most `expected` items; what it can't hold goes to a file
    /// that is made at `spill`.
    pub(super) fn new(share: Lease, expected: u64, spill: &Path, cancel: &Cancel) -> Self {
        let most_bytes = usize::try_from(share.bytes())
            .unwrap_or(usize::MAX)
            .saturating_sub(WRITE_BYTES)
            .max(WRITE_BYTES);
        let most = most_bytes / size_of::<I>();
        let expected = usize::try_from(expected).unwrap_or(most).min(most);
        Self {
            // Never grown by much, for growing copies. Pages that are not used take no memory.
            items: Vec::with_capacity(expected),
            texts: Texts::default(),
            most_bytes,
            spill_path: spill.to_owned(),
            spill: None,
            runs: Vec::new(),
            cancel: cancel.clone(),
            share,
        }
    }

    /// Adds an item; `make` is told its order.
    pub(super) fn push(&mut self, make: impl FnOnce(&mut Texts, u32) -> I) -> Result<()> {
        let bytes = (self.items.len() + 1) * size_of::<I>() + self.texts.bytes();
        let is_full = bytes > self.most_bytes || self.texts.is_full();
        if is_full && !self.items.is_empty() {
            self.write_run()?;
        }
        let order = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        let item = make(&mut self.texts, order);
        self.items.push(item);
        Ok(())
    }

    fn sort(&mut self) {
        self.items
            .par_sort_unstable_by_key(|item| (item.hash(), item.order()));
    }

    fn write_run(&mut self) -> Result<()> {
        self.cancel.check()?;
        self.sort();
        let spill = opened(&mut self.spill, &self.spill_path)?;
        let start = spill.len();
        let mut out = Vec::with_capacity(WRITE_BYTES + (WRITE_BYTES >> 1));
        for item in &self.items {
            item.encode(&self.texts, &mut out);
            if out.len() >= WRITE_BYTES {
                spill.append(&out)?;
                out.clear();
            }
        }
        spill.append(&out)?;
        self.runs.push(start..spill.len());
        self.items.clear();
        self.texts.clear();
        Ok(())
    }

    /// Hands out all items in order, each with the texts that its own is among.
    pub(super) fn finish(mut self, mut take: impl FnMut(&I, &Texts) -> Result<()>) -> Result<()> {
        if self.runs.is_empty() {
            self.sort();
            for items in self.items.chunks(STOP_EVERY) {
                self.cancel.check()?;
                items.iter().try_for_each(|item| take(item, &self.texts))?;
            }
            return Ok(());
        }
        if !self.items.is_empty() {
            self.write_run()?;
        }
        // Their memory goes to the buffers of the merge.
        (self.items, self.texts) = (Vec::new(), Texts::default());
        let share = usize::try_from(self.share.bytes()).unwrap_or(usize::MAX);
        let fan_in = (share / (2 * LEAST_READ)).clamp(2, 1024);
        let spill = opened(&mut self.spill, &self.spill_path)?;
        while self.runs.len() > fan_in {
            let mut longer = Vec::new();
            // Neighbours become one run, so the order of arrival stays.
            for runs in self.runs.chunks(fan_in) {
                let start = spill.len();
                let mut out = Vec::with_capacity(WRITE_BYTES + (WRITE_BYTES >> 1));
                let mut merge = Merge::<I>::new(runs, share, spill)?;
                while let Some((item, texts)) = merge.next(spill, &self.cancel)? {
                    item.encode(texts, &mut out);
                    if out.len() >= WRITE_BYTES {
                        spill.append(&out)?;
                        out.clear();
                    }
                }
                spill.append(&out)?;
                longer.push(start..spill.len());
            }
            self.runs = longer;
        }
        let mut merge = Merge::<I>::new(&self.runs, share, spill)?;
        while let Some((item, texts)) = merge.next(spill, &self.cancel)? {
            take(&item, texts)?;
        }
        Ok(())
    }
}

fn opened<'s>(spill: &'s mut Option<Spill>, path: &Path) -> Result<&'s mut Spill> {
    Ok(match spill {
        Some(spill) => spill,
        None => spill.insert(Spill::create(path)?),
    })
}

/// Runs on their way into one.
struct Merge<I> {
    cursors: Vec<Cursor<I>>,
    /// The next hash of each run, and the number of the run: of equal ones the earlier comes first.
    heap: BinaryHeap<Reverse<(u64, usize)>>,
    is_begun: bool,
    until_stop: usize,
}

impl<I: Item> Merge<I> {
    fn new(runs: &[Range<u64>], share: usize, spill: &Spill) -> Result<Self> {
        let size = (share / 2 / runs.len().max(1)).clamp(LEAST_READ, MOST_READ);
        let mut merge = Self {
            cursors: Vec::with_capacity(runs.len()),
            heap: BinaryHeap::with_capacity(runs.len()),
            is_begun: false,
            until_stop: STOP_EVERY,
        };
        for (number, run) in runs.iter().enumerate() {
            let mut cursor = Cursor {
                left: run.clone(),
                buffer: Vec::with_capacity(size),
                at: 0,
                size,
                item: None,
                texts: Texts::default(),
            };
            if let Some(hash) = cursor.advance(spill)? {
                merge.heap.push(Reverse((hash, number)));
            }
            merge.cursors.push(cursor);
        }
        Ok(merge)
    }

    /// Returns the next item, and the texts that its own is among.
    fn next(&mut self, spill: &Spill, cancel: &Cancel) -> Result<Option<(I, &Texts)>> {
        self.until_stop -= 1;
        if self.until_stop == 0 {
            self.until_stop = STOP_EVERY;
            cancel.check()?;
        }
        if self.is_begun
            && let Some(mut top) = self.heap.peek_mut()
        {
            let Reverse((_, number)) = *top;
            let cursor = self.cursors.get_mut(number).ok_or_else(lost)?;
            match cursor.advance(spill)? {
                Some(hash) => *top = Reverse((hash, number)),
                None => drop(PeekMut::pop(top)),
            }
        }
        self.is_begun = true;
        let Some(Reverse((_, number))) = self.heap.peek() else {
            return Ok(None);
        };
        let cursor = self.cursors.get(*number).ok_or_else(lost)?;
        Ok(cursor.item.map(|item| (item, &cursor.texts)))
    }
}

/// A run that is being read.
struct Cursor<I> {
    /// What is not in the buffer yet.
    left: Range<u64>,
    buffer: Vec<u8>,
    at: usize,
    size: usize,
    item: Option<I>,
    texts: Texts,
}

impl<I: Item> Cursor<I> {
    /// Goes to the next item and returns its hash.
    fn advance(&mut self, spill: &Spill) -> Result<Option<u64>> {
        loop {
            self.texts.clear();
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            if let Some((item, bytes)) = I::decode(rest, &mut self.texts) {
                self.at += bytes;
                self.item = Some(item);
                return Ok(Some(item.hash()));
            }
            if self.left.is_empty() {
                self.item = None;
                return if rest.is_empty() {
                    Ok(None)
                } else {
                    Err(lost())
                };
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            let kept = self.buffer.len();
            // An item may be longer than the buffer.
            let room = self.size.max(2 * kept) - kept;
            let left = usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX);
            self.buffer.resize(kept + room.min(left), 0);
            let fresh = self.buffer.get_mut(kept..).unwrap_or_default();
            spill.read_at(fresh, self.left.start)?;
            self.left.start += fresh.len() as u64;
        }
    }
}

fn lost() -> Error {
    Error::new(
        ErrorKind::Internal,
        "what was sorted was not read back whole",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::MemoryGate;

    #[test]
    fn runs_are_merged_at_any_share() {
        let folder = tempfile::tempdir().unwrap();
        let numbers: Vec<u64> = (0..200_000u64)
            .map(|n| n.wrapping_mul(0x9e37_79b9) % 70_001)
            .collect();
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        for share in [1 << 18, 1 << 19, 1 << 24] {
            let lease = MemoryGate::new(1 << 30).charge(share);
            let spill = folder.path().join("spill");
            let mut sorter = Sorter::new(lease, 10, &spill, &Cancel::default());
            for number in &numbers {
                sorter.push(|_, _| *number).unwrap();
            }
            assert_eq!(sorter.runs.is_empty(), share == 1 << 24);
            let mut seen = Vec::new();
            let taken = sorter.finish(|item, _| {
                seen.push(*item);
                Ok(())
            });
            taken.unwrap();
            assert_eq!(seen, sorted);
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }
}

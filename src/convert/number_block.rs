//! Numbers of one column written ahead for a block of rows.
//!
//! Writing number after number of one type is quicker than going from column to column: no choice
//! between types for each cell, and nothing that the processor can't foresee. The texts are short,
//! so each has a place of fixed size, and a row is then put together by copies of fixed size.

use super::cells::BoundColumn;
use crate::dialect::Encoder;
use crate::values::{CellFault, RuleCounts, ShortFloat, TextBuffer, copy_short};

/// Rows of a block at most.
const MOST_ROWS: usize = 128;

/// Bytes of all blocks of a table, about: they stay in the second-level cache.
const BLOCKS_BYTES: usize = 384 << 10;

/// Returns the rows that are written ahead where so many columns are.
pub(super) fn block_rows(columns: usize) -> usize {
    (BLOCKS_BYTES / SLOT_BYTES / columns.max(1)).clamp(4, MOST_ROWS)
}

/// Bytes that the text of a number has at most, with the delimiter behind it.
pub(super) const SLOT_BYTES: usize = 32;

/// Texts of one column for a block of rows.
#[derive(Debug)]
pub(super) struct NumberBlock {
    /// Place of the column among the output's.
    pub(super) cell: usize,
    /// What follows each text.
    delimiter: Option<u8>,
    slots: Vec<[u8; SLOT_BYTES]>,
    lengths: Vec<u8>,
    /// Rows of the batch whose value is refused, and why.
    faults: Vec<(usize, CellFault)>,
    scratch: TextBuffer,
}

impl NumberBlock {
    /// Makes an empty block; it has no room before [`Self::make_room`].
    pub(super) fn new(cell: usize, delimiter: Option<u8>) -> Self {
        Self {
            cell,
            delimiter,
            slots: Vec::new(),
            lengths: Vec::new(),
            faults: Vec::new(),
            scratch: TextBuffer::with_capacity(SLOT_BYTES),
        }
    }

    /// Makes room for so many rows.
    pub(super) fn make_room(&mut self, rows: usize) {
        self.slots = vec![[0; SLOT_BYTES]; rows];
        self.lengths = vec![0; rows];
    }

    /// Writes rows `first` and following of a column, up to `rows`.
    pub(super) fn fill(
        &mut self,
        column: &BoundColumn<'_>,
        (first, rows): (usize, usize),
        encoder: &Encoder,
        counts: &mut RuleCounts,
    ) {
        self.faults.clear();
        let rows = rows.min(self.slots.len());
        column.write_numbers((first, rows), encoder, counts, self);
    }

    /// Writes each of `rows` rows from `first` on: by `quick`, which returns the length of the text
    /// that it has put into the slot, or 0 if the value needs a closer look; those by `slow`.
    #[inline]
    pub(super) fn write_each(
        &mut self,
        (first, rows): (usize, usize),
        mut quick: impl FnMut(usize, &mut [u8; SLOT_BYTES]) -> usize,
        mut slow: impl FnMut(usize, &mut TextBuffer) -> Result<(), CellFault>,
    ) {
        let places = self.slots.iter_mut().zip(&mut self.lengths).take(rows);
        for (at, (slot, length)) in places.enumerate() {
            let row = first + at;
            let mut written = quick(row, slot);
            if written == 0 {
                self.scratch.truncate(0);
                match slow(row, &mut self.scratch) {
                    Ok(()) => written = copy(self.scratch.as_slice(), slot),
                    Err(fault) => self.faults.push((row, fault)),
                }
            }
            if let Some(delimiter) = self.delimiter {
                slot[written & (SLOT_BYTES - 1)] = delimiter;
                written += 1;
            }
            *length = written as u8; // at most SLOT_BYTES
        }
    }

    /// Writes each of `rows` floats from `first` on.
    ///
    /// All are brought into digits before the first is copied: a copy right behind the digits would
    /// wait for the processor to have them in memory.
    pub(super) fn write_floats<F: ShortFloat>(
        &mut self,
        (first, rows): (usize, usize),
        values: &[F],
        is_null: impl Fn(usize) -> bool,
        slow: impl FnMut(usize, &mut TextBuffer) -> Result<(), CellFault>,
    ) {
        let mut digits: [_; MOST_ROWS] = std::array::from_fn(|_| zmij::Buffer::new());
        let mut texts: [&[u8]; MOST_ROWS] = [&[]; MOST_ROWS];
        let values = values.get(first..first + rows).unwrap_or_default();
        for ((text, digits), value) in texts.iter_mut().zip(&mut digits).zip(values) {
            *text = value.middling_text(digits);
        }
        let quick = |row: usize, slot: &mut [u8; SLOT_BYTES]| {
            let text = texts[row - first];
            if is_null(row) {
                return 0;
            }
            copy_short(slot, text);
            text.len()
        };
        self.write_each((first, rows), quick, slow);
    }

    /// Returns the text of the row at place `at` of the block, and how much of it counts.
    #[inline]
    pub(super) fn text(&self, at: usize) -> (&[u8; SLOT_BYTES], usize) {
        (&self.slots[at], usize::from(self.lengths[at]))
    }

    /// Returns why the value of a row is refused, if it is.
    pub(super) fn fault(&self, row: usize) -> Option<&CellFault> {
        let known = self.faults.binary_search_by_key(&row, |(row, _)| *row);
        known
            .ok()
            .and_then(|at| self.faults.get(at))
            .map(|(_, fault)| fault)
    }

    pub(super) fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }
}

/// Copies a text into a slot; those of numbers and times fit.
fn copy(text: &[u8], slot: &mut [u8; SLOT_BYTES]) -> usize {
    let length = text.len().min(SLOT_BYTES - 1);
    slot[..length].copy_from_slice(&text[..length]);
    length
}

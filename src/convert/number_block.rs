//! Numbers of one column written ahead for a block of rows.
//!
//! Writing number after number of one type is quicker than going from column to column: no choice
//! between types for each cell, and nothing that the processor can't foresee. The texts are short,
//! so each has a place of fixed size, and a row is then put together by copies of fixed size.

use std::ops::Range;

use super::cells::BoundColumn;
use crate::dialect::Encoder;
use crate::values::{CellFault, RuleCounts, ShortFloat, TextBuffer, copy_short, without_zero};

/// Rows of a block at most.
const MOST_ROWS: usize = 128;

/// Bytes of all blocks of a table, about: they stay near the processor, and small for the allocator.
const BLOCKS_BYTES: usize = 96 << 10;

/// Bytes that the text of a number has at most, with the delimiter behind it.
pub(super) const SLOT_BYTES: usize = 32;

/// Floats that are brought into digits before the first of them is copied: a copy right behind the
/// digits would wait for the processor to have them in memory.
const FLOATS_AT_ONCE: usize = 16;

/// Texts of columns of numbers for some rows.
#[derive(Debug)]
pub(super) struct NumberBlocks {
    columns: Vec<NumberColumn>,
    /// Rows of a block.
    rows: usize,
    /// The texts of the first column, of the second, and so on.
    slots: Vec<[u8; SLOT_BYTES]>,
    lengths: Vec<u8>,
    scratch: TextBuffer,
    /// The rows of the batch that are in the blocks.
    written: Range<usize>,
}

#[derive(Debug)]
struct NumberColumn {
    /// Place of the column among the output's.
    cell: usize,
    /// What follows each text.
    delimiter: Option<u8>,
    /// Rows of the batch whose value is refused, and why.
    faults: Vec<(usize, CellFault)>,
}

/// Takes the texts of one column.
pub(super) struct NumberWriter<'b> {
    first: usize,
    slots: &'b mut [[u8; SLOT_BYTES]],
    lengths: &'b mut [u8],
    scratch: &'b mut TextBuffer,
    column: &'b mut NumberColumn,
}

impl NumberBlocks {
    /// Makes blocks for columns, given by their places among the output's and by what follows their
    /// texts.
    pub(super) fn new(columns: impl IntoIterator<Item = (usize, Option<u8>)>) -> Self {
        let columns = columns.into_iter().map(|(cell, delimiter)| NumberColumn {
            cell,
            delimiter,
            faults: Vec::new(),
        });
        let columns: Vec<_> = columns.collect();
        let rows = (BLOCKS_BYTES / SLOT_BYTES / columns.len().max(1)).clamp(4, MOST_ROWS);
        Self {
            slots: vec![[0; SLOT_BYTES]; rows * columns.len()],
            lengths: vec![0; rows * columns.len()],
            scratch: TextBuffer::with_capacity(SLOT_BYTES),
            written: 0..0,
            columns,
            rows,
        }
    }

    /// Returns the places of the columns among the output's.
    pub(super) fn cells(&self) -> impl Iterator<Item = usize> {
        self.columns.iter().map(|column| column.cell)
    }

    /// Writes the rows of a batch of `rows` rows from `row` on, unless they are there.
    #[inline]
    pub(super) fn write_ahead(
        &mut self,
        row: usize,
        rows: usize,
        cells: &[Option<BoundColumn<'_>>],
        encoder: &Encoder,
        counts: &mut RuleCounts,
    ) {
        if !self.written.contains(&row) {
            self.written = row..rows.min(row + self.rows);
            self.fill(cells, encoder, counts);
        }
    }

    fn fill(
        &mut self,
        cells: &[Option<BoundColumn<'_>>],
        encoder: &Encoder,
        counts: &mut RuleCounts,
    ) {
        let rows = self.written.len();
        let slots = self.slots.chunks_mut(self.rows);
        let lengths = self.lengths.chunks_mut(self.rows);
        for ((column, slots), lengths) in self.columns.iter_mut().zip(slots).zip(lengths) {
            column.faults.clear();
            if let Some(bound) = &cells[column.cell] {
                let writer = NumberWriter {
                    first: self.written.start,
                    slots: &mut slots[..rows],
                    lengths: &mut lengths[..rows],
                    scratch: &mut self.scratch,
                    column,
                };
                bound.write_numbers(writer, encoder, counts);
            }
        }
    }

    /// Copies the numbers of row `row` in the columns number `range`.
    ///
    /// # Errors
    /// One is refused: its place among the output's columns, and why.
    #[inline]
    pub(super) fn copy(
        &self,
        range: &Range<usize>,
        row: usize,
        out: &mut TextBuffer,
    ) -> Result<(), (usize, CellFault)> {
        let room = out.room(range.len() * SLOT_BYTES);
        let mut place = range.start * self.rows + (row - self.written.start);
        let mut end = 0;
        for column in &self.columns[range.clone()] {
            if !column.faults.is_empty()
                && let Some(fault) = column.fault(row)
            {
                return Err((column.cell, fault.clone()));
            }
            room[end..end + SLOT_BYTES].copy_from_slice(&self.slots[place]);
            end += usize::from(self.lengths[place]);
            place += self.rows;
        }
        out.advance(end);
        Ok(())
    }
}

impl NumberColumn {
    /// Returns why the value of a row is refused, if it is.
    fn fault(&self, row: usize) -> Option<&CellFault> {
        let known = self.faults.binary_search_by_key(&row, |(row, _)| *row);
        known
            .ok()
            .and_then(|at| self.faults.get(at))
            .map(|(_, fault)| fault)
    }
}

impl NumberWriter<'_> {
    /// Writes each row: by `quick`, which returns the length of the text that it has put into the
    /// slot, or 0 if the value needs a closer look; those by `slow`.
    #[inline]
    pub(super) fn write_each(
        mut self,
        quick: impl FnMut(usize, &mut [u8; SLOT_BYTES]) -> usize,
        slow: impl FnMut(usize, &mut TextBuffer) -> Result<(), CellFault>,
    ) {
        self.write_some(0..self.slots.len(), quick, slow);
    }

    /// Writes floats, of which `values` has those of the whole batch.
    #[inline]
    pub(super) fn write_floats<F: ShortFloat>(
        mut self,
        values: &[F],
        is_null: impl Fn(usize) -> bool,
        mut slow: impl FnMut(usize, &mut TextBuffer) -> Result<(), CellFault>,
    ) {
        let rows = self.slots.len();
        for start in (0..rows).step_by(FLOATS_AT_ONCE) {
            let end = rows.min(start + FLOATS_AT_ONCE);
            let first = self.first + start;
            let mut digits: [_; FLOATS_AT_ONCE] = std::array::from_fn(|_| zmij::Buffer::new());
            let mut texts: [&[u8]; FLOATS_AT_ONCE] = [&[]; FLOATS_AT_ONCE];
            let values = values.get(first..self.first + end).unwrap_or_default();
            for ((text, digits), value) in texts.iter_mut().zip(&mut digits).zip(values) {
                *text = value.middling_text(digits);
            }
            let quick = |row: usize, slot: &mut [u8; SLOT_BYTES]| {
                if is_null(row) {
                    return 0;
                }
                let text = without_zero(texts[row - first]);
                copy_short(slot, text);
                text.len()
            };
            self.write_some(start..end, quick, &mut slow);
        }
    }

    #[inline]
    fn write_some(
        &mut self,
        places: Range<usize>,
        mut quick: impl FnMut(usize, &mut [u8; SLOT_BYTES]) -> usize,
        mut slow: impl FnMut(usize, &mut TextBuffer) -> Result<(), CellFault>,
    ) {
        let first = self.first + places.start;
        let slots = self.slots[places.clone()].iter_mut();
        for (at, (slot, length)) in slots.zip(&mut self.lengths[places]).enumerate() {
            let row = first + at;
            let mut written = quick(row, slot);
            if written == 0 {
                self.scratch.truncate(0);
                match slow(row, self.scratch) {
                    Ok(()) => written = copy(self.scratch.as_slice(), slot),
                    Err(fault) => self.column.faults.push((row, fault)),
                }
            }
            if let Some(delimiter) = self.column.delimiter {
                slot[written & (SLOT_BYTES - 1)] = delimiter;
                written += 1;
            }
            *length = written as u8; // at most SLOT_BYTES
        }
    }
}

/// Copies a text into a slot; those of numbers and times fit.
fn copy(text: &[u8], slot: &mut [u8; SLOT_BYTES]) -> usize {
    let length = text.len().min(SLOT_BYTES - 1);
    slot[..length].copy_from_slice(&text[..length]);
    length
}

//! Numbers written ahead, column by column, for a block of rows.
//!
//! Writing number after number of one type is quicker than going from column to column: no choice
//! between types for each cell, and nothing that the processor can't foresee. The texts are short,
//! so each has a place of fixed size, and a row is then put together by copies of fixed size.
//!
//! Of wide tables these places would be more than the processor has at hand, or hold so few rows that
//! each visit to a column costs more than its values. There neighbouring columns make *tiles*: as soon
//! as one is written, its texts are put together row by row, and its places serve for the next.

use std::ops::Range;

use super::cells::BoundColumn;
use crate::dialect::Encoder;
use crate::values::{CellFault, RuleCounts, ShortFloat, TextBuffer, copy_short, without_zero};

/// Rows of a block, at least: with fewer each visit to a column would cost more than its values.
const LEAST_ROWS: usize = 16;
/// Rows of a block at most.
const MOST_ROWS: usize = 128;

/// Bytes of the places for all columns, about: they stay near the processor, and small for the allocator.
const SLOTS_BYTES: usize = 96 << 10;

/// Columns of a tile, where not all columns have places of their own.
const TILE_COLUMNS: usize = 32;

/// Bytes that the text of a number has at most, with the delimiter behind it.
pub(super) const SLOT_BYTES: usize = 32;

/// Bytes that the text of a number with its delimiter has, seldom more: that of a double.
const USUAL_BYTES: usize = 20;

/// Floats that are brought into digits before the first of them is copied: a copy right behind the
/// digits would wait for the processor to have them in memory.
const FLOATS_AT_ONCE: usize = 16;

/// A column of numbers: its place among the output's columns, and what follows each text.
pub(super) type NumberPlace = (usize, Option<u8>);

/// Texts of columns of numbers for some rows.
#[derive(Debug)]
pub(super) struct NumberBlocks {
    columns: Vec<NumberColumn>,
    /// Tiles of each run of neighbours.
    runs: Vec<Range<usize>>,
    tiles: Vec<Tile>,
    slots: Slots,
    /// Whether all tiles use the same slots, one after another.
    shares_slots: bool,
    /// The texts of all tiles, each row by row, where they share slots.
    text: TextBuffer,
    /// Where each row of each tile ends in it.
    ends: Vec<usize>,
    scratch: TextBuffer,
    /// The rows of the batch that are in the blocks.
    written: Range<usize>,
}

/// Places for the texts of some rows of some columns.
#[derive(Debug)]
struct Slots {
    /// Rows of a block.
    rows: usize,
    /// Those of the first column, of the second, and so on.
    texts: Vec<[u8; SLOT_BYTES]>,
    lengths: Vec<u8>,
}

impl Slots {
    fn new(rows: usize, columns: usize) -> Self {
        Self {
            rows,
            texts: vec![[0; SLOT_BYTES]; rows * columns],
            lengths: vec![0; rows * columns],
        }
    }

    /// Puts together the texts of row `row` in the columns `columns`.
    #[inline]
    fn join(&self, columns: Range<usize>, row: usize, out: &mut TextBuffer) {
        let room = out.room(columns.len() * SLOT_BYTES);
        let mut place = columns.start * self.rows + row;
        let mut end = 0;
        for _ in columns {
            room[end..end + SLOT_BYTES].copy_from_slice(&self.texts[place]);
            end += usize::from(self.lengths[place]);
            place += self.rows;
        }
        out.advance(end);
    }
}

/// Some neighbouring columns.
#[derive(Debug)]
struct Tile {
    columns: Range<usize>,
    /// Its first slots are those of so many columns.
    first_slot: usize,
    /// Whether a value of the block is refused.
    has_faults: bool,
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
    /// Makes blocks for runs of neighbouring columns.
    pub(super) fn new(runs: &[Vec<NumberPlace>]) -> Self {
        let columns: usize = runs.iter().map(Vec::len).sum();
        let fitting = SLOTS_BYTES / SLOT_BYTES / columns.max(1);
        let shares_slots = fitting < LEAST_ROWS;
        let most = if shares_slots { TILE_COLUMNS } else { columns };
        let mut tiles: Vec<Tile> = Vec::new();
        let mut number = 0;
        let mut cut = |run: &Vec<NumberPlace>| {
            let first = tiles.len();
            tiles.extend(run.chunks(most).map(|part| {
                let start = number;
                number += part.len();
                Tile {
                    columns: start..number,
                    first_slot: if shares_slots { 0 } else { start },
                    has_faults: false,
                }
            }));
            first..tiles.len()
        };
        let tiles_of_runs = runs.iter().map(&mut cut).collect();
        let rows = fitting.clamp(LEAST_ROWS, MOST_ROWS);
        let (slots, ahead) = match shares_slots {
            true => (TILE_COLUMNS, rows * columns),
            false => (columns, 0),
        };
        let column = |(cell, delimiter): &NumberPlace| NumberColumn {
            cell: *cell,
            delimiter: *delimiter,
            faults: Vec::new(),
        };
        Self {
            columns: runs.iter().flatten().map(column).collect(),
            slots: Slots::new(rows, slots),
            shares_slots,
            text: TextBuffer::with_capacity(ahead * USUAL_BYTES),
            ends: Vec::new(),
            scratch: TextBuffer::with_capacity(SLOT_BYTES),
            written: 0..0,
            runs: tiles_of_runs,
            tiles,
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
            self.written = row..rows.min(row + self.slots.rows);
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
        self.text.truncate(0);
        self.ends.clear();
        for tile in &mut self.tiles {
            tile.has_faults = false;
            let Slots {
                rows: most,
                texts,
                lengths,
            } = &mut self.slots;
            let first = tile.first_slot * *most;
            let texts = texts[first..].chunks_mut(*most);
            let lengths = lengths[first..].chunks_mut(*most);
            let columns = &mut self.columns[tile.columns.clone()];
            for ((column, slots), lengths) in columns.iter_mut().zip(texts).zip(lengths) {
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
                    tile.has_faults |= !column.faults.is_empty();
                }
            }
            if self.shares_slots {
                for row in 0..rows {
                    self.slots.join(tile.slots(), row, &mut self.text);
                    self.ends.push(self.text.len());
                }
            }
        }
    }

    /// Copies the numbers of row `row` in run number `run`.
    ///
    /// # Errors
    /// One is refused: its place among the output's columns, and why.
    #[inline]
    pub(super) fn copy(
        &self,
        run: usize,
        row: usize,
        out: &mut TextBuffer,
    ) -> Result<(), (usize, CellFault)> {
        let row_of_block = row - self.written.start;
        for number in self.runs[run].clone() {
            let tile = &self.tiles[number];
            if tile.has_faults {
                self.check(tile, row)?;
            }
            if !self.shares_slots {
                self.slots.join(tile.slots(), row_of_block, out);
                continue;
            }
            let at = number * self.written.len() + row_of_block;
            let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
            out.extend(&self.text.as_slice()[start..self.ends[at]]);
        }
        Ok(())
    }

    #[cold]
    fn check(&self, tile: &Tile, row: usize) -> Result<(), (usize, CellFault)> {
        let columns = self.columns[tile.columns.clone()].iter();
        let fault = |column: &NumberColumn| Some((column.cell, column.fault(row)?.clone()));
        columns.filter_map(fault).next().map_or(Ok(()), Err)
    }
}

impl Tile {
    /// Returns the columns whose slots it uses.
    fn slots(&self) -> Range<usize> {
        self.first_slot..self.first_slot + self.columns.len()
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

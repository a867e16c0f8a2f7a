//! A block of rows, read at once.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema};

use super::cells::{BadCell, of_heap, of_rows};
use super::column::{Column, Pointer};
use super::{FitsFile, corrupt, unread};
use crate::error::{Error, Place, Result};

/// Lists of one column that lie this near to each other are read at once.
const NEAR: u64 = 64 << 10;
/// Bytes of rows up to which they are read whole to find where their cells point to.
const SHORT_ROW: u64 = 4 << 10;

/// Some columns of a block of rows, ready to be read.
#[derive(Debug)]
pub struct FitsRows {
    file: FitsFile,
    number: usize,
    roots: Vec<usize>,
    /// Rows of the block that are read.
    rows: Range<u64>,
    memory: u64,
    /// The bytes of all rows, where they were read beforehand.
    fetched: OnceLock<Vec<u8>>,
}

/// Where the elements of a cell lie in the heap.
#[derive(Debug, Clone, Copy)]
struct Elsewhere {
    count: usize,
    start: u64,
    bytes: usize,
}

impl FitsFile {
    /// Looks at block `number`, of which the columns `roots` (ascending) are wanted.
    ///
    /// # Errors
    /// The file can't be read, or cells of any length point to where nothing is.
    pub fn plan(&self, number: usize, roots: &[usize]) -> Result<FitsRows> {
        let shared = &self.shared;
        let rows = self.rows(number);
        let mut planned = FitsRows {
            file: self.clone(),
            number,
            roots: roots.to_vec(),
            rows: 0..rows,
            memory: 0,
            fetched: OnceLock::new(),
        };
        let columns = roots.iter().filter_map(|root| shared.columns.get(*root));
        let decoded: u64 = columns.clone().map(decoded_bytes).sum();
        let mut memory = decoded
            .saturating_add(shared.extent.row_bytes)
            .saturating_mul(rows);
        let has_cells_elsewhere = |column: &&Column| column.pointer.is_some();
        if let Some(column) = columns.clone().find(has_cells_elsewhere)
            && !self.can_be_cut()
        {
            let message = "cells of any length can't be read from a compressed file";
            return Err(Error::usage(message)
                .at(Place {
                    column: Some(column.name.clone()),
                    ..self.place()
                })
                .hint("unpack it first, or leave the column out"));
        }
        let mut columns = columns.filter(has_cells_elsewhere).peekable();
        let is_short = columns.peek().is_some() && shared.extent.row_bytes <= SHORT_ROW;
        let raw = is_short.then(|| planned.raw()).transpose()?;
        for column in columns {
            let cells = match &raw {
                Some(raw) => cells_of(column, raw, planned.width()),
                None => planned.pointers(column)?,
            };
            for cell in planned.elsewhere(column, &cells)? {
                // As they are read, side by side, and decoded.
                let bytes = (cell.bytes as u64).saturating_mul(2);
                let values = (cell.count as u64).saturating_mul(column.element.decoded_bytes());
                memory = memory.saturating_add(bytes).saturating_add(values);
            }
        }
        planned.memory = memory;
        Ok(planned)
    }
}

/// Returns the bytes of a cell once it is decoded, without what lies elsewhere.
fn decoded_bytes(column: &Column) -> u64 {
    match column.pointer {
        // Pointers, and an offset.
        Some(_) => 32,
        None => (column.count as u64).saturating_mul(column.element.decoded_bytes()),
    }
}

impl FitsRows {
    /// Returns the number of the block.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Returns the rows that are read.
    pub fn rows(&self) -> Range<u64> {
        self.rows.clone()
    }

    /// Returns the bytes of memory that reading it takes.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Lets it begin with row `first` of the block.
    #[must_use]
    pub fn starting_at(mut self, first: u64) -> Self {
        self.rows.start = first.min(self.rows.end);
        self
    }

    /// Reads the bytes of the rows of a compressed file, which can only be read in order; its end is
    /// read with its last row, for there stands its checksum. Of other files nothing is read yet.
    ///
    /// # Errors
    /// The file can't be read or is damaged.
    pub fn fetch(&self) -> Result<()> {
        let shared = &self.file.shared;
        if !shared.bytes.is_packed() || self.fetched.get().is_some() {
            return Ok(());
        }
        let raw = self.read_raw()?;
        if self.number + 1 >= self.file.blocks() {
            let checked = shared.bytes.check_to_end();
            checked.map_err(|error| unread(&shared.path, error))?;
        }
        // Nobody else fetches the same rows.
        let _ = self.fetched.set(raw);
        Ok(())
    }

    /// Reads all rows; the columns are the wanted ones in their order.
    ///
    /// # Errors
    /// The file can't be read, or a cell is damaged.
    pub fn read(&self) -> Result<RecordBatch> {
        let shared = &self.file.shared;
        self.fetch()?;
        let raw = match self.roots.is_empty() {
            true => Cow::default(),
            false => self.raw()?,
        };
        let rows = self.count();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.roots.len());
        let mut fields: Vec<Field> = Vec::with_capacity(self.roots.len());
        // Of several bad cells that of the first row is told, whatever the order of the columns.
        let mut worst: Option<(&Column, BadCell)> = None;
        for root in &self.roots {
            let column = self.column(*root)?;
            let array = match column.pointer.filter(|_| !column.is_empty()) {
                None => of_rows(column, &raw, self.width(), rows, shared.charset),
                Some(_) => {
                    let cells = cells_of(column, &raw, self.width());
                    self.read_heap(column, &cells)?
                }
            };
            match array {
                Ok(array) => arrays.push(array),
                Err(bad) if worst.as_ref().is_none_or(|(_, worst)| bad.row < worst.row) => {
                    worst = Some((column, bad));
                }
                Err(_) => {}
            }
            fields.push(shared.schema.field(*root).clone());
        }
        if let Some((column, bad)) = worst {
            return Err(self.bad_cell(column, &bad));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .map_err(|error| corrupt(error).at(self.file.place()))
    }

    fn count(&self) -> usize {
        usize::try_from(self.rows.end - self.rows.start).unwrap_or(0)
    }

    fn width(&self) -> usize {
        usize::try_from(self.file.shared.extent.row_bytes).unwrap_or(usize::MAX)
    }

    fn column(&self, root: usize) -> Result<&Column> {
        let column = self.file.shared.columns.get(root);
        column.ok_or_else(|| Error::of_ours(format!("there is no column {root}")))
    }

    /// Returns the bytes of all rows.
    fn raw(&self) -> Result<Cow<'_, [u8]>> {
        match self.fetched.get() {
            Some(raw) => Ok(Cow::Borrowed(raw)),
            None => self.read_raw().map(Cow::Owned),
        }
    }

    fn read_raw(&self) -> Result<Vec<u8>> {
        let shared = &self.file.shared;
        let first = self.file.rows_before(self.number) + self.rows.start;
        let length = self.count() * self.width();
        self.bytes_at(shared.extent.data + first * shared.extent.row_bytes, length)
    }

    fn bytes_at(&self, at: u64, length: usize) -> Result<Vec<u8>> {
        let shared = &self.file.shared;
        let mut bytes = vec![0; length];
        let read = shared.bytes.read_exact_at(&mut bytes, at);
        read.map_err(|error| unread(&shared.path, error))?;
        Ok(bytes)
    }

    /// Reads the cells of a column that point elsewhere, and nothing else of the rows.
    fn pointers(&self, column: &Column) -> Result<Vec<u8>> {
        let shared = &self.file.shared;
        let first = self.file.rows_before(self.number) + self.rows.start;
        let mut cells = Vec::new();
        for row in 0..self.count() as u64 {
            let at =
                shared.extent.data + (first + row) * shared.extent.row_bytes + column.at as u64;
            cells.extend(self.bytes_at(at, column.width)?);
        }
        Ok(cells)
    }

    /// Returns where the cells of a column point to; `cells` are its cells one after another.
    fn elsewhere(&self, column: &Column, cells: &[u8]) -> Result<Vec<Elsewhere>> {
        let Some(pointer) = column.pointer.filter(|_| column.width > 0) else {
            let nothing = Elsewhere {
                count: 0,
                start: 0,
                bytes: 0,
            };
            return Ok(vec![nothing; self.count()]);
        };
        let (heap, heap_bytes) = self.file.shared.extent.heap;
        let cells = cells.chunks_exact(column.width);
        let mut total = 0usize;
        cells
            .enumerate()
            .map(|(row, cell)| {
                let (count, start) = pointed(pointer, cell);
                let shown = (count, start);
                let (count, start) = (count.cast_unsigned(), start.cast_unsigned());
                let bytes = usize::try_from(count).ok();
                let bytes = bytes.and_then(|count| Some((count, column.element.bytes_of(count)?)));
                let there = bytes.filter(|(_, bytes)| {
                    let end = (*bytes as u64).checked_add(start);
                    *bytes == 0 || end.is_some_and(|end| end <= heap_bytes)
                });
                let Some((count, bytes)) = there else {
                    let (count, start) = shown;
                    let message =
                        format!("{count} elements at byte {start} of a heap of {heap_bytes} bytes");
                    return Err(self.bad_cell(column, &BadCell::new(row, message)));
                };
                // Lists are told from each other by numbers of 32 bits.
                total = total.saturating_add(count);
                if i32::try_from(total).is_err() {
                    let message = format!("{total} elements are too many for some rows");
                    return Err(self.bad_cell(column, &BadCell::new(row, message)));
                }
                let start = heap.saturating_add(start);
                Ok(Elsewhere {
                    count,
                    start,
                    bytes,
                })
            })
            .collect()
    }

    /// Reads a column whose cells lie in the heap.
    fn read_heap(&self, column: &Column, cells: &[u8]) -> Result<Result<ArrayRef, BadCell>> {
        let cells = self.elsewhere(column, cells)?;
        let total = cells.iter().map(|cell| cell.bytes).sum();
        let mut bytes: Vec<u8> = Vec::with_capacity(total);
        // Writers put lists one after another, so most come by one read.
        let mut at = 0;
        while let Some(first) = cells.get(at) {
            let mut end = first.start + first.bytes as u64;
            let mut next = at + 1;
            while let Some(cell) = cells.get(next)
                && (cell.bytes == 0 || (cell.start >= end && cell.start - end <= NEAR))
                && end - first.start < (1 << 20)
            {
                if cell.bytes > 0 {
                    end = cell.start + cell.bytes as u64;
                }
                next += 1;
            }
            let length = usize::try_from(end - first.start).unwrap_or(usize::MAX);
            let read = match length {
                0 => Vec::new(),
                length => self.bytes_at(first.start, length)?,
            };
            for cell in &cells[at..next] {
                if cell.bytes > 0 {
                    let from = usize::try_from(cell.start - first.start).unwrap_or(0);
                    bytes.extend_from_slice(&read[from..from + cell.bytes]);
                }
            }
            at = next;
        }
        let mut from = 0;
        let places: Vec<(usize, usize, usize)> = cells
            .iter()
            .map(|cell| {
                let start = from;
                from += cell.bytes;
                (start, from, cell.count)
            })
            .collect();
        let cells = places
            .iter()
            .map(|(start, end, count)| (&bytes[*start..*end], *count));
        Ok(of_heap(column, cells, self.file.shared.charset))
    }

    fn bad_cell(&self, column: &Column, bad: &BadCell) -> Error {
        let before = self.file.rows_before(self.number) + self.rows.start;
        let error = corrupt(&bad.message).at(Place {
            row: Some(before + bad.row as u64 + 1),
            column: Some(column.name.clone()),
            ..self.file.place()
        });
        match bad.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// Returns the cells of a column in some rows of `width` bytes, one after another.
fn cells_of(column: &Column, rows: &[u8], width: usize) -> Vec<u8> {
    let rows = rows.chunks_exact(width);
    rows.flat_map(|row| &row[column.at..column.at + column.width])
        .copied()
        .collect()
}

/// Returns the number of elements and the first byte that a cell tells of.
fn pointed(pointer: Pointer, cell: &[u8]) -> (i64, i64) {
    // A cell of no bytes points to nothing.
    match pointer {
        Pointer::Short => match cell.as_chunks::<4>().0 {
            [count, start] => {
                let number = |bytes: &[u8; 4]| i64::from(i32::from_be_bytes(*bytes));
                (number(count), number(start))
            }
            _ => (0, 0),
        },
        Pointer::Long => match cell.as_chunks::<8>().0 {
            [count, start] => (i64::from_be_bytes(*count), i64::from_be_bytes(*start)),
            _ => (0, 0),
        },
    }
}

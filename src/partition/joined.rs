//! Places of rows that were looked up before the pass, by sorting both sides.
//!
//! An index that memory can't hold is not looked up row by row: that would read the disk here and
//! there. Instead the keys of all rows are sorted beside the index first, and the places found
//! are written down in the order of the rows.

use std::collections::HashMap;

use super::key_index::{KeyPlace, RouteTable};
use super::key_watch::{PieceOrigin, RowUnit};
use crate::error::{Error, ErrorKind, Result};

/// Where the rows of a table go by one of its keys.
#[derive(Debug)]
pub struct JoinedKeys {
    places: RouteTable,
    starts: RowStarts,
}

/// Which rows of the table each part of its inputs holds, counted from 0 over all inputs.
#[derive(Debug, Default)]
pub struct RowStarts {
    /// First row of each Parquet input.
    files: HashMap<usize, u64>,
    /// First row and number of rows of each block of text, by input and first byte.
    blocks: HashMap<(usize, u64), (u64, u64)>,
}

impl RowStarts {
    /// Takes note of where a Parquet input begins.
    pub fn add_file(&mut self, input: usize, first_row: u64) {
        self.files.insert(input, first_row);
    }

    /// Takes note of a block of text.
    pub fn add_block(&mut self, input: usize, offset: u64, first_row: u64, rows: u64) {
        self.blocks.insert((input, offset), (first_row, rows));
    }
}

impl JoinedKeys {
    /// Puts places and rows together.
    pub fn new(places: RouteTable, starts: RowStarts) -> Self {
        Self { places, starts }
    }

    /// Returns the places of a piece's rows; `rows` is their number, for pieces of Parquet.
    ///
    /// # Errors
    /// The places can't be read, or the piece was not seen when the keys were sorted, because the
    /// input has changed since.
    pub fn of_piece(&self, origin: PieceOrigin<'_>, rows: u64) -> Result<Vec<Option<KeyPlace>>> {
        let (first, rows) = match origin.unit {
            RowUnit::Row => {
                let start = self.starts.files.get(&origin.input);
                (start.map(|start| start + origin.before), rows)
            }
            RowUnit::Line => {
                let block = self.starts.blocks.get(&(origin.input, origin.offset));
                let block = block.copied().unzip();
                (block.0, block.1.unwrap_or(0))
            }
        };
        let first = first.filter(|first| first + rows <= self.places.rows());
        let Some(first) = first else {
            let message = format!("{} changed while it was read", origin.file);
            return Err(Error::new(ErrorKind::Integrity, message)
                .hint("run the command again once the file is complete"));
        };
        let mut places = Vec::new();
        self.places.read(first..first + rows, &mut places)?;
        Ok(places)
    }
}

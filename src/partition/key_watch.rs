//! Keys of a director that occur twice: who has them first may stay, all others are refused.
//!
//! Whether a key occurs twice shows when all rows are there, in the index. Only if one does, the
//! inputs are read once more to see which row has it first, and then the table is made anew.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::key_index::{DuplicatedKeys, Key, key_hash};
use crate::error::quote_value;
use crate::values::CellFault;

/// Where the rows of a piece come from.
#[derive(Debug, Clone, Copy)]
pub struct PieceOrigin<'a> {
    /// Number of the piece.
    pub piece: u64,
    /// Number of the input.
    pub input: usize,
    /// First byte of a block in its unpacked text; means nothing for table files.
    pub offset: u64,
    /// Name of the file.
    pub file: &'a str,
    /// Rows or lines of the file before the piece.
    pub before: u64,
    /// What is counted in the file.
    pub unit: RowUnit,
}

/// How messages count rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowUnit {
    /// Rows of a table file.
    Row,
    /// Lines of a text.
    Line,
}

/// The first row that has a key.
#[derive(Debug)]
struct FirstRow {
    /// Piece, and row in it.
    at: (u64, u64),
    /// File and row as messages name them.
    shown: String,
}

/// Keys that occur more than once, and who has them first.
#[derive(Debug)]
pub struct KeyWatch {
    suspects: DuplicatedKeys,
    first: Mutex<HashMap<Vec<u8>, FirstRow>>,
    refuses: AtomicBool,
}

impl KeyWatch {
    /// Watches out for rows with these keys.
    pub fn finding(suspects: DuplicatedKeys) -> Self {
        Self {
            suspects,
            first: Mutex::default(),
            refuses: AtomicBool::new(false),
        }
    }

    /// Refuses from now on all rows but the first with each key.
    pub fn refuse(&self) {
        self.refuses.store(true, Ordering::Relaxed);
    }

    /// Takes note of the key of row number `row` of a piece, which is number `number` in the file.
    ///
    /// # Errors
    /// Another row has that key first, and this one is refused for it.
    #[inline]
    pub fn check(
        &self,
        key: Key<'_>,
        origin: PieceOrigin<'_>,
        row: u64,
        number: u64,
    ) -> Result<(), CellFault> {
        match self.suspects.contains(key_hash(key)) {
            false => Ok(()),
            true => self.check_suspect(key, origin, row, number),
        }
    }

    #[cold]
    fn check_suspect(
        &self,
        key: Key<'_>,
        origin: PieceOrigin<'_>,
        row: u64,
        number: u64,
    ) -> Result<(), CellFault> {
        let text = key.to_bytes();
        let at = (origin.piece, row);
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        match first.get(&text) {
            Some(known) if self.refuses.load(Ordering::Relaxed) && known.at != at => {
                let rest = format!(", which {} has already", known.shown);
                Err(CellFault::found(quote_value(&text), rest).with_hint(
                    "a director's key must be unique; --max-rejects sets the later rows aside",
                ))
            }
            Some(known) if known.at <= at => Ok(()),
            _ => {
                let unit = match origin.unit {
                    RowUnit::Row => "row",
                    RowUnit::Line => "line",
                };
                let shown = format!("{unit} {number} of {}", origin.file);
                first.insert(text, FirstRow { at, shown });
                Ok(())
            }
        }
    }
}

//! How far an output has come, so that a run that was ended can be gone on with.

use serde::{Deserialize, Serialize};

use crate::values::RuleCounts;

/// Where a piece begins in the inputs of its pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PiecePosition {
    /// Number of the input.
    pub input: usize,
    /// Row group of a Parquet file, or byte of a text (unpacked).
    pub offset: u64,
    /// Row of the row group, from 0, or line of a text, from 1.
    pub line: u64,
}

/// What was counted for one output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputCounts {
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows that were set aside.
    pub rejected: u64,
    /// Rows of matches that were written a second time, for the chunk of the second side.
    #[serde(default)]
    pub second_rows: u64,
    /// Rows whose own chunk nobody wants.
    #[serde(default)]
    pub elsewhere: u64,
    /// Changes per column and rule.
    pub changes: RuleCounts,
}

impl OutputCounts {
    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Self) {
        self.rows_in += other.rows_in;
        self.rejected += other.rejected;
        self.second_rows += other.second_rows;
        self.elsewhere += other.elsewhere;
        self.changes.merge(&other.changes);
    }
}

/// A place in the rows of an output: all before it are written, none after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Number of the piece that the place lies in.
    pub piece: u64,
    /// Where that piece begins; nothing at the end of the last.
    pub position: Option<PiecePosition>,
    /// Rows of that piece that lie before the place.
    pub rows: u64,
    /// What was counted for this output in the pieces before.
    pub counts: OutputCounts,
}

impl Mark {
    /// Returns the place behind all rows.
    pub(super) fn end(counts: OutputCounts) -> Self {
        Self {
            piece: u64::MAX,
            position: None,
            rows: 0,
            counts,
        }
    }
}

//! The books of a job: what came in, what was set aside, what was written, over all of its tasks.

use std::collections::BTreeMap;

use super::record::{TableRecord, TaskRecord};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::pipeline::PassedOver;

/// What was counted for one table in all map tasks that its rows come from.
#[derive(Debug, Default, Clone)]
pub(super) struct TableBooks {
    pub(super) rows_in: u64,
    pub(super) rejected: u64,
    pub(super) second_rows: u64,
    pub(super) rows: u64,
    pub(super) overlap_rows: u64,
    pub(super) memory_peak: u64,
    pub(super) changes: BTreeMap<String, BTreeMap<String, u64>>,
    pub(super) passed_over: Vec<PassedOver>,
}

/// Sums what map tasks have counted, table by table.
pub(super) fn books_of<'r>(
    maps: impl IntoIterator<Item = &'r TaskRecord>,
) -> BTreeMap<String, TableBooks> {
    let mut all: BTreeMap<String, TableBooks> = BTreeMap::new();
    for table in maps.into_iter().flat_map(|record| &record.tables) {
        all.entry(table.table.clone()).or_default().add(table);
    }
    all
}

impl TableBooks {
    fn add(&mut self, table: &TableRecord) {
        self.rows_in += table.rows_in;
        self.rejected += table.rejected;
        self.second_rows += table.second_rows;
        self.rows += table.rows;
        self.overlap_rows += table.overlap_rows;
        self.memory_peak = self.memory_peak.max(table.memory_peak);
        for (column, rules) in &table.changes {
            let own = self.changes.entry(column.clone()).or_default();
            for (rule, times) in rules {
                *own.entry(rule.clone()).or_default() += times;
            }
        }
        for input in &table.passed_over {
            if !self.passed_over.contains(input) {
                self.passed_over.push(input.clone());
            }
        }
    }

    /// Checks that the files of a table hold what its map tasks have written.
    ///
    /// # Errors
    /// They do not.
    pub(super) fn check_files(&self, table: &str, rows: u64, overlap_rows: u64) -> Result<()> {
        if (self.rows, self.overlap_rows) == (rows, overlap_rows) {
            return Ok(());
        }
        let message = format!(
            "map tasks have written {} rows and {} overlap rows, but the files have {rows} and \
             {overlap_rows}",
            self.rows, self.overlap_rows
        );
        Err(Error::new(ErrorKind::Integrity, message)
            .at(Place::file(format!("table {table}")))
            .hint("nothing was published; please report this"))
    }
}

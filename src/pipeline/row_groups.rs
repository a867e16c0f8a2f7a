//! Hands out the rows of files with columns, span by span, and opens one row group after another.

use std::ops::Range;
use std::sync::Arc;

use super::prepared::ColumnPlans;
use crate::exchange::{Collector, Stop};
use crate::resources::Lease;
use crate::source::{DecodeBudget, SharedRowGroup};

/// Bytes up to which row groups may be open side by side: small ones need not wait for each other.
const SMALL: u64 = 8 << 20;

/// The row group whose rows are handed out, and those before it that are not read to the end.
pub(super) struct RowGroups {
    budget: DecodeBudget,
    earlier: Vec<Arc<SharedRowGroup>>,
    current: Option<Current>,
}

struct Current {
    group: Arc<SharedRowGroup>,
    /// The row that is handed out next.
    next: u64,
    window_end: u64,
    window: Arc<Lease>,
}

/// A span of rows of a row group.
pub(super) struct Span {
    pub(super) group: Arc<SharedRowGroup>,
    pub(super) rows: Range<u64>,
    /// Pays for the decoded rows.
    pub(super) _memory: Arc<Lease>,
}

impl RowGroups {
    pub(super) fn new(budget: DecodeBudget) -> Self {
        Self {
            budget,
            earlier: Vec::new(),
            current: None,
        }
    }

    /// Returns the row that the next span of the open row group begins with, if there is one.
    pub(super) fn next_row(&self) -> Option<u64> {
        self.current.as_ref().map(|current| current.next)
    }

    /// Opens row group number `number` for piece number `piece`, which begins with row `first`.
    ///
    /// # Errors
    /// The row group is damaged, or the memory limit too small for it.
    pub(super) fn open(
        &mut self,
        piece: u64,
        file: &ColumnPlans,
        number: usize,
        first: u64,
        collector: &Collector<'_>,
    ) -> Result<(), Stop> {
        if collector.is_overtaken(piece) {
            return Err(Stop::Overtaken);
        }
        let mut planned = file.file.plan(number, &file.roots, self.budget)?;
        if !collector.has_room_for(planned.memory()) {
            planned = file.file.plan(number, &file.roots, DecodeBudget::LEAST)?;
            collector.check_room_for(planned.memory())?;
        }
        let bytes = planned.open_bytes();
        self.make_way(bytes);
        let memory = collector.lease_open(piece, bytes)?;
        let group = Arc::new(SharedRowGroup::new(planned, first, Some(memory)));
        let rows = group.rows();
        if rows.is_empty() {
            return Ok(());
        }
        self.earlier.push(Arc::clone(&group));
        let (window_end, bytes) = group.window(rows.start);
        let window = Arc::new(collector.lease_piece(piece, bytes)?);
        group.fetch()?;
        self.current = Some(Current {
            next: rows.start,
            window_end,
            window,
            group,
        });
        Ok(())
    }

    /// Hands out the next span of the open row group as piece number `piece`.
    ///
    /// # Errors
    /// Another worker failed at an earlier place.
    pub(super) fn next(
        &mut self,
        piece: u64,
        collector: &Collector<'_>,
    ) -> Result<Option<Span>, Stop> {
        let Some(current) = &mut self.current else {
            return Ok(None);
        };
        if current.next == current.window_end {
            let (window_end, bytes) = current.group.window(current.next);
            current.window_end = window_end;
            current.window = Arc::new(collector.lease_piece(piece, bytes)?);
        }
        let rows = current.group.span(current.next);
        current.next = rows.end;
        let span = Span {
            group: Arc::clone(&current.group),
            _memory: Arc::clone(&current.window),
            rows,
        };
        if current.next >= current.group.rows().end {
            self.current = None;
        }
        Ok(Some(span))
    }

    /// Sees to it that open row groups take little memory before one that takes `bytes` is opened:
    /// rather than wait for those who are to read the earlier ones, decodes them to their ends.
    fn make_way(&mut self, bytes: u64) {
        self.earlier.retain(|group| !group.is_closed());
        let mut sum: u64 = self.earlier.iter().map(|group| group.open_bytes()).sum();
        let mut closed = 0;
        for group in &self.earlier {
            if sum.saturating_add(bytes) <= SMALL {
                break;
            }
            group.close();
            sum -= group.open_bytes();
            closed += 1;
        }
        self.earlier.drain(..closed);
    }
}

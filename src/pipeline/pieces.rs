//! Hands out pieces of the inputs, one after another, in input order.

use std::sync::{Arc, Mutex, PoisonError};

use super::prepared::{ColumnPlans, PreparedInputs, Ready, TextPlans};
use super::row_groups::{RowGroups, Span};
use crate::convert::RowTarget;
use crate::error::Result;
use crate::exchange::{Collector, Mark, PiecePosition, Stop, first_piece};
use crate::resources::Lease;
use crate::source::{BLOCK_MEMORY, DecodeBudget, TextBlock};

/// A part of an input that one worker takes at a time.
pub(super) struct Piece {
    /// Number in input order over all inputs: the order key.
    pub(super) number: u64,
    /// Number of its input.
    pub(super) input: usize,
    /// The stretch of a job's inputs that it belongs to.
    pub(super) order: u32,
    pub(super) work: Work,
}

/// What a piece consists of.
pub(super) enum Work {
    Rows {
        file: Arc<ColumnPlans>,
        span: Span,
    },
    Block {
        input: Arc<TextPlans>,
        block: TextBlock,
        /// Pays for the block.
        _memory: Lease,
    },
}

/// The pieces that are left.
pub(super) struct Pieces<'a> {
    inputs: &'a PreparedInputs,
    targets: &'a [&'a RowTarget],
    next_input: usize,
    current: Option<Ready>,
    next_number: u64,
    /// Where the first piece begins, if not at the beginning of its input.
    start: Option<PiecePosition>,
    row_groups: RowGroups,
    /// Buffers of blocks that are done. They have a lock of their own: who waits for memory while
    /// holding the pieces must not keep the oldest piece from being finished.
    buffers: &'a Mutex<Vec<Vec<u8>>>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(
        inputs: &'a PreparedInputs,
        targets: &'a [&'a RowTarget],
        budget: DecodeBudget,
        buffers: &'a Mutex<Vec<Vec<u8>>>,
    ) -> Self {
        Self {
            inputs,
            targets,
            next_input: 0,
            current: None,
            next_number: 0,
            start: None,
            row_groups: RowGroups::new(budget),
            buffers,
        }
    }

    /// Begins at the first piece that any output needs.
    pub(super) fn starting_at(mut self, starts: &[Option<Mark>]) -> Self {
        self.next_number = first_piece(starts);
        if self.next_number == u64::MAX {
            self.next_input = self.inputs.len();
        } else if let Some(position) = starts
            .iter()
            .flatten()
            .filter(|mark| mark.piece == self.next_number)
            .filter_map(|mark| mark.position)
            // Outputs may know different ones: there is nothing to read between them.
            .min()
            .filter(|_| self.next_number > 0)
        {
            self.next_input = position.input;
            self.start = Some(position);
        }
        self
    }

    /// Returns the next piece; nothing after the last.
    ///
    /// # Errors
    /// An input can't be read, with the number that its next piece would have had.
    pub(super) fn next(
        &mut self,
        collector: &Collector<'_>,
    ) -> std::result::Result<Option<Piece>, (u64, Stop)> {
        let number = self.next_number;
        match self.advance(collector) {
            Ok(piece) => Ok(piece),
            Err(stop) => {
                // Nothing behind a failure counts.
                self.current = None;
                self.next_input = self.inputs.len();
                Err((number, stop))
            }
        }
    }

    fn advance(&mut self, collector: &Collector<'_>) -> Result<Option<Piece>, Stop> {
        loop {
            let number = self.next_number;
            let taken = match &mut self.current {
                None if self.next_input >= self.inputs.len() => return Ok(None),
                None => {
                    let mut opened = self.inputs.open(self.next_input, self.targets)?;
                    self.inputs.keep_to_part(self.next_input, &mut opened)?;
                    if let Some(start) = self.start.take() {
                        self.inputs.go_to(&mut opened, start)?;
                    }
                    self.current = Some(opened);
                    self.next_input += 1;
                    continue;
                }
                Some(Ready::Columns {
                    file,
                    next,
                    first,
                    end,
                }) => {
                    let is_open = self.row_groups.next_row().is_some();
                    if !is_open && *next >= *end {
                        self.current = None;
                        continue;
                    }
                    let group = if is_open { *next - 1 } else { *next };
                    let position = PiecePosition {
                        input: self.next_input - 1,
                        offset: group as u64,
                        line: self.row_groups.next_row().unwrap_or(*first),
                    };
                    collector.announce(number, position)?;
                    if !is_open {
                        let first = std::mem::take(first);
                        *next += 1;
                        self.row_groups
                            .open(number, file, group, first, collector)?;
                    }
                    let Some(span) = self.row_groups.next(number, collector)? else {
                        continue;
                    };
                    let file = Arc::clone(file);
                    Some(Work::Rows { file, span })
                }
                Some(Ready::Text { file, plans }) => {
                    let (offset, line) = file.position();
                    let position = PiecePosition {
                        input: self.next_input - 1,
                        offset,
                        line,
                    };
                    collector.announce(number, position)?;
                    let mut memory = collector.lease_piece(number, BLOCK_MEMORY)?;
                    let idle = self
                        .buffers
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .pop();
                    let block = file.next_block(idle.unwrap_or_default())?;
                    block.map(|block| {
                        // A record longer than a block makes a longer block.
                        let extra = block.memory().saturating_sub(BLOCK_MEMORY);
                        memory.absorb(collector.charge(extra));
                        Work::Block {
                            input: Arc::clone(plans),
                            block,
                            _memory: memory,
                        }
                    })
                }
            };
            match taken {
                None => self.current = None,
                Some(work) => {
                    self.next_number += 1;
                    let input = self.next_input - 1;
                    return Ok(Some(Piece {
                        number,
                        input,
                        order: self.inputs.order_of(input),
                        work,
                    }));
                }
            }
        }
    }
}

//! A worker: takes pieces and turns them into packets until none are left.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use super::pass::Events;
use super::pieces::{Piece, Pieces, Work};
use super::prepared::{ParquetPlans, TextPlans};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::{Collector, OutputCounts, Packet, Stop};
use crate::source::{RowGroup, TextBlock};

/// One of the threads of a pass.
pub(super) struct Worker<'a> {
    pub(super) pieces: &'a Mutex<Pieces<'a>>,
    pub(super) buffers: &'a Mutex<Vec<Vec<u8>>>,
    pub(super) collector: &'a Collector<'a>,
    pub(super) events: &'a dyn Events,
    /// What was counted in the piece at hand.
    pub(super) counts: Vec<OutputCounts>,
}

impl Worker<'_> {
    /// Works until there is nothing left to do.
    pub(super) fn run(mut self, targets: usize) {
        loop {
            let next = self
                .pieces
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next(self.collector);
            let piece = match next {
                Ok(Some(piece)) if !self.collector.is_overtaken(piece.number) => piece,
                Ok(_) => return,
                Err((number, stop)) => {
                    self.stop(number, stop);
                    return;
                }
            };
            let number = piece.number;
            self.counts = vec![OutputCounts::default(); targets];
            // A fault of ours must not leave the others waiting for this piece for ever.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.work_on(piece)));
            match outcome {
                Ok(Ok(())) => {
                    let counts = std::mem::take(&mut self.counts);
                    self.collector.finish(number, counts);
                }
                Ok(Err(stop)) => self.stop(number, stop),
                Err(_) => {
                    let error = Error::new(ErrorKind::Internal, "a worker failed unexpectedly")
                        .hint("please report this with the command and, if you can, the input");
                    self.collector.fail(number, error);
                }
            }
        }
    }

    fn stop(&self, number: u64, stop: Stop) {
        if let Stop::Failed(error) = stop {
            self.collector.fail(number, error);
        }
    }

    fn work_on(&mut self, piece: Piece) -> Result<(), Stop> {
        let mut emitter = Emitter::new(self.collector, piece.number, self.counts.len());
        match piece.work {
            Work::RowGroup {
                file,
                number,
                group,
            } => {
                self.convert_row_group(&file, number, &group, &mut emitter)?;
                self.events
                    .advance(file.file.compressed_bytes(number), file.file.rows(number));
            }
            Work::Block { input, block } => {
                let rows = self.convert_block(&input, &block, &mut emitter)?;
                self.events.advance(block.records().len() as u64, rows);
                if let Some(buffer) = block.into_buffer() {
                    let mut idle = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
                    idle.push(buffer);
                }
            }
        }
        emitter.submit_all();
        Ok(())
    }

    fn convert_row_group(
        &mut self,
        input: &ParquetPlans,
        number: usize,
        group: &RowGroup,
        emitter: &mut Emitter<'_>,
    ) -> Result<(), Stop> {
        let place = Place {
            row_group: Some(number),
            ..Place::file(input.file.name())
        };
        let mut reader = group.read()?;
        let mut rows_before = input.rows_before.get(number).copied().unwrap_or(0);
        while let Some(batch) = reader.next_batch()? {
            for (target, plan) in &input.plans {
                if !emitter.wants(*target) {
                    continue;
                }
                let counts = &mut self.counts[*target];
                let rows = plan
                    .bind(&batch, &input.roots, &mut counts.changes)
                    .map_err(|error| error.at(place.clone()))?;
                for row in 0..batch.num_rows() {
                    let packet = emitter.packet(*target)?;
                    rows.write(row, packet, &mut counts.changes)
                        .map_err(|fault| {
                            let row = Some(rows_before + row as u64 + 1);
                            fault.into_error(Place {
                                row,
                                ..place.clone()
                            })
                        })?;
                }
                counts.rows_in += batch.num_rows() as u64;
            }
            rows_before += batch.num_rows() as u64;
        }
        Ok(())
    }

    fn convert_block(
        &mut self,
        input: &TextPlans,
        block: &TextBlock,
        emitter: &mut Emitter<'_>,
    ) -> Result<u64, Stop> {
        let mut most = 0;
        for (target, plan) in &input.plans {
            if !emitter.wants(*target) {
                continue;
            }
            let counts = &mut self.counts[*target];
            let mut rows = plan.rows(block.records(), block.first_line);
            let mut count = 0u64;
            loop {
                let packet = emitter.packet(*target)?;
                let written = rows.write_next(packet, &mut counts.changes);
                if !written.map_err(|fault| fault.into_error(Place::file(input.name.as_str())))? {
                    break;
                }
                count += 1;
            }
            counts.rows_in += count;
            most = most.max(count);
        }
        Ok(most)
    }
}

/// Keeps the packet that each target is writing into.
struct Emitter<'a> {
    collector: &'a Collector<'a>,
    piece: u64,
    packets: Vec<Option<Packet>>,
    /// Whether each output needs rows of this piece: an earlier run may have written them.
    wanted: Vec<bool>,
}

impl<'a> Emitter<'a> {
    fn new(collector: &'a Collector<'a>, piece: u64, targets: usize) -> Self {
        Self {
            collector,
            piece,
            packets: (0..targets).map(|_| None).collect(),
            wanted: (0..targets).map(|at| collector.wants(piece, at)).collect(),
        }
    }

    fn wants(&self, target: usize) -> bool {
        self.wanted[target]
    }

    /// Returns a packet with room for a row of output number `target`.
    #[inline]
    fn packet(&mut self, target: usize) -> Result<&mut Packet, Stop> {
        let slot = &mut self.packets[target];
        if slot.as_ref().is_some_and(Packet::is_full)
            && let Some(full) = slot.take()
        {
            self.collector.submit(self.piece, target, full);
        }
        match slot {
            Some(packet) => Ok(packet),
            None => Ok(slot.insert(self.collector.packet(self.piece, target)?)),
        }
    }

    fn submit_all(&mut self) {
        for (target, slot) in self.packets.iter_mut().enumerate() {
            if let Some(packet) = slot.take() {
                self.collector.submit(self.piece, target, packet);
            }
        }
    }
}

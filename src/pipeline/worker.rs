//! A worker: takes pieces and turns them into packets until none are left.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use super::pass::Events;
use super::pieces::{Piece, Pieces, Work};
use super::prepared::{ColumnPlans, TextPlans};
use super::rejects::PassRejects;
use super::row_groups::Span;
use crate::convert::{BadRow, RowTarget};
use crate::error::{Error, Place, Result};
use crate::exchange::{Collector, OutputCounts, Packet, Stop};
use crate::partition::{PieceOrigin, RowUnit};
use crate::source::TextBlock;

/// Bytes that are kept of the place that a key leads to, and of the key before.
const PLACE_BYTES: u64 = 24;

/// One of the threads of a pass.
pub(super) struct Worker<'a> {
    pub(super) pieces: &'a Mutex<Pieces<'a>>,
    pub(super) buffers: &'a Mutex<Vec<Vec<u8>>>,
    pub(super) collector: &'a Collector<'a>,
    pub(super) events: &'a dyn Events,
    pub(super) targets: &'a [&'a RowTarget],
    /// Takes bad rows; without it the first ends the run. Their output comes after the targets'.
    pub(super) rejects: Option<&'a PassRejects<'a>>,
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
                    let error = Error::of_ours("a worker failed unexpectedly");
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
        let outputs = self.counts.len() + usize::from(self.rejects.is_some());
        let mut emitter = Emitter::new(self.collector, (piece.number, piece.order), outputs);
        let worked = self.convert(piece.work, piece.input, &mut emitter);
        if worked.is_err() {
            // Bad rows before the failure count, wherever packets end.
            emitter.submit(self.counts.len());
            return worked;
        }
        emitter.submit_all();
        for (counts, told) in self.counts.iter_mut().zip(emitter.told) {
            counts.second_rows += told.second_rows;
            counts.elsewhere += told.elsewhere;
        }
        Ok(())
    }

    fn convert(
        &mut self,
        work: Work,
        input_number: usize,
        emitter: &mut Emitter<'_>,
    ) -> Result<(), Stop> {
        match work {
            Work::Rows { file, span } => {
                self.convert_rows((input_number, &file), &span, emitter)?;
                let rows = span.rows.end - span.rows.start;
                self.events.advance(file.bytes_of(&span), rows);
            }
            Work::Block {
                input,
                block,
                _memory,
            } => {
                let rows = self.convert_block((input_number, &input), &block, emitter)?;
                self.events.advance(block.records().len() as u64, rows);
                if let Some(buffer) = block.into_buffer() {
                    let mut idle = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
                    idle.push(buffer);
                }
            }
        }
        Ok(())
    }

    fn convert_rows(
        &mut self,
        (number_of_input, input): (usize, &ColumnPlans),
        span: &Span,
        emitter: &mut Emitter<'_>,
    ) -> Result<(), Stop> {
        let number = span.group.number();
        let place = input.file.place(number);
        let batch = span.group.read(&span.rows)?;
        let rows_before = input.rows_before.get(number).copied().unwrap_or(0) + span.rows.start;
        let file = input.file.name();
        let origin = PieceOrigin {
            piece: emitter.piece,
            input: number_of_input,
            offset: 0,
            file: &file,
            before: rows_before,
            unit: RowUnit::Row,
        };
        let mut bound = Vec::with_capacity(input.plans.len());
        for (target, plan) in &input.plans {
            if !emitter.wants(*target) {
                continue;
            }
            let changes = &mut self.counts[*target].changes;
            let rows = plan
                .bind(&batch, &input.roots, origin, changes)
                .map_err(|error| error.at(place.clone()))?;
            bound.push((*target, rows));
        }
        // Row by row for all targets, so that bad rows come in the order of the input.
        for row in 0..batch.num_rows() {
            for (target, rows) in &mut bound {
                let packet = emitter.packet(*target)?;
                let written = rows.write(row, packet, &mut self.counts[*target].changes);
                if let Err(fault) = written {
                    let row = Some(rows_before + row as u64 + 1);
                    let bad = fault.into_bad_row(Place {
                        row,
                        ..place.clone()
                    });
                    self.reject(*target, &bad, emitter)?;
                }
            }
        }
        for (target, _) in &bound {
            self.counts[*target].rows_in += batch.num_rows() as u64;
        }
        Ok(())
    }

    fn convert_block(
        &mut self,
        (number_of_input, input): (usize, &TextPlans),
        block: &TextBlock,
        emitter: &mut Emitter<'_>,
    ) -> Result<u64, Stop> {
        let origin = PieceOrigin {
            piece: emitter.piece,
            input: number_of_input,
            offset: block.offset(),
            file: &input.name,
            before: block.first_line - 1,
            unit: RowUnit::Line,
        };
        let plans = input.plans.iter();
        // What keys of a block lead to is kept for all of its rows.
        let keys: usize = input.plans.iter().map(|(_, plan)| plan.keys()).sum();
        let _places = (keys > 0).then(|| {
            let lines = memchr::memchr_iter(b'\n', block.records()).count() as u64;
            self.collector.charge(lines * keys as u64 * PLACE_BYTES)
        });
        let all: Result<Vec<_>> = plans
            .filter(|(target, _)| emitter.wants(*target))
            .map(|(target, plan)| {
                let rows = plan.rows(block.records(), block.first_line, origin)?;
                Ok((*target, rows))
            })
            .collect();
        let mut all = all?;
        let mut count = 0u64;
        // Row by row for all targets, so that bad rows come in the order of the input. They read
        // the same records, so they end together.
        'rows: loop {
            for (target, rows) in &mut all {
                let packet = emitter.packet(*target)?;
                match rows.write_next(packet, &mut self.counts[*target].changes) {
                    Ok(true) => {}
                    Ok(false) => break 'rows,
                    Err(fault) => {
                        let bad = fault.into_bad_row(Place::file(input.name.as_str()))?;
                        self.reject(*target, &bad, emitter)?;
                    }
                }
            }
            if all.is_empty() {
                break;
            }
            count += 1;
        }
        for (target, _) in &all {
            self.counts[*target].rows_in += count;
        }
        Ok(count)
    }

    /// Sets a bad row aside, or ends the run with it.
    #[cold]
    fn reject(
        &mut self,
        target: usize,
        bad: &BadRow,
        emitter: &mut Emitter<'_>,
    ) -> Result<(), Stop> {
        let Some(rejects) = self.rejects else {
            return Err(bad.to_error().into());
        };
        if emitter.rejected == 0 {
            rejects.note_first(emitter.piece, bad);
        }
        let packet = emitter.packet(self.counts.len())?;
        PassRejects::write_line(&self.targets[target].name, bad, packet.text_mut())?;
        packet.end_row();
        emitter.rejected += 1;
        self.counts[target].rejected += 1;
        if rejects.are_too_many(emitter.rejected) {
            // The sink of rejects ends the pass when it gets there, with the first of all bad rows.
            return Err(bad.to_error().into());
        }
        Ok(())
    }
}

/// Keeps the packet that each target is writing into.
struct Emitter<'a> {
    collector: &'a Collector<'a>,
    piece: u64,
    /// The stretch of a job's inputs that the piece belongs to.
    order: u32,
    packets: Vec<Option<Packet>>,
    /// Whether each output needs rows of this piece: an earlier run may have written them.
    wanted: Vec<bool>,
    /// Bad rows of this piece.
    rejected: u64,
    /// What the packets of this piece told, for each output.
    told: Vec<Told>,
}

/// What a packet tells when it is handed in.
#[derive(Clone, Copy, Default)]
struct Told {
    /// Rows that are written a second time.
    second_rows: u64,
    /// Rows whose own chunk is not to be made.
    elsewhere: u64,
}

impl Told {
    fn note(&mut self, packet: &Packet) {
        self.second_rows += packet.second_rows();
        self.elsewhere += packet.elsewhere();
    }
}

impl<'a> Emitter<'a> {
    fn new(collector: &'a Collector<'a>, (piece, order): (u64, u32), targets: usize) -> Self {
        Self {
            collector,
            piece,
            order,
            packets: (0..targets).map(|_| None).collect(),
            wanted: (0..targets).map(|at| collector.wants(piece, at)).collect(),
            rejected: 0,
            told: vec![Told::default(); targets],
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
            self.told[target].note(&full);
            self.collector.submit(self.piece, target, full);
        }
        match slot {
            Some(packet) => Ok(packet),
            None => {
                let mut packet = self.collector.packet(self.piece, target)?;
                packet.set_order(self.order);
                Ok(slot.insert(packet))
            }
        }
    }

    /// Hands in the packet of output number `target`, if there is one.
    fn submit(&mut self, target: usize) {
        if let Some(packet) = self.packets.get_mut(target).and_then(Option::take) {
            self.told[target].note(&packet);
            self.collector.submit(self.piece, target, packet);
        }
    }

    fn submit_all(&mut self) {
        (0..self.packets.len()).for_each(|target| self.submit(target));
    }
}

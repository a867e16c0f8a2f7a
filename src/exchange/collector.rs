//! The collector: puts packets into input order and pays for memory.
//!
//! Workers take pieces in input order and finish them in any order. The oldest unfinished piece
//! is the only one whose packets may be written next, so it must never wait for memory that
//! younger pieces hold. Three rules keep that so at any limit:
//! 1. a piece's own memory (decoder, text block) is taken while pieces are handed out, that is in
//!    input order;
//! 2. everybody but the oldest leaves a headroom that is enough for the oldest to go on;
//! 3. whoever the gate refuses writes out what is in order already, if that is worth it, or what sinks
//!    keep in memory, or waits.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::packet::{Packet, PacketShape};
use super::progress::{Mark, OutputCounts, PiecePosition};
use super::room::{check_room, headroom};
use super::{RunEnd, Sink};
use crate::error::{Error, ErrorKind, Result};
use crate::resources::{Cancel, Lease, MemoryGate};

/// Bytes that may be open without being counted against what pieces may take.
const LEAST_OPEN: u64 = 8 << 20;

/// Why a worker must stop.
#[derive(Debug)]
pub enum Stop {
    /// This worker met a failure.
    Failed(Error),
    /// Another worker failed at an earlier place; whatever this one would find comes after it.
    Overtaken,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What a collector is made of.
pub struct CollectorOptions<'a> {
    /// Where memory is paid for.
    pub gate: Arc<MemoryGate>,
    /// Ends the pass early when somebody says so.
    pub cancel: Cancel,
    /// One sink per output.
    pub sinks: Vec<&'a dyn Sink>,
    /// Shape of each output's packets.
    pub shapes: Vec<PacketShape>,
    /// How far each output has come in an earlier run; nothing for those at the beginning.
    pub starts: Vec<Option<Mark>>,
    /// Bytes that pieces may take beside what is open, if all outputs are streams: these gain
    /// nothing from memory.
    pub ahead: u64,
}

/// What is known of an output in the end.
#[derive(Debug, Clone, Default)]
pub struct OutputTotals {
    /// What was counted in all pieces.
    pub counts: OutputCounts,
    /// The most bytes that its packets held at once.
    pub memory_peak: u64,
}

/// Orders the packets of one pass and hands them to the sinks in runs.
pub struct Collector<'a> {
    gate: Arc<MemoryGate>,
    cancel: Cancel,
    sinks: Vec<&'a dyn Sink>,
    shapes: Vec<PacketShape>,
    headroom: u64,
    /// Bytes that all but the oldest piece may take beside what is open.
    ahead: u64,
    state: Mutex<State>,
}

struct State {
    /// Number of the oldest piece that is not finished.
    oldest: u64,
    /// Where the oldest piece and those after it begin, as far as they have been handed out.
    positions: BTreeMap<u64, PiecePosition>,
    /// Pieces after the oldest.
    younger: BTreeMap<u64, Waiting>,
    outputs: Vec<Output>,
    idle: Vec<Vec<Packet>>,
    /// Bytes of what was opened last.
    open: u64,
    /// The first failure and its piece; without one, nothing can be written any more.
    failure: Option<(Option<u64>, Error)>,
}

#[derive(Default)]
struct Waiting {
    packets: Vec<(usize, Packet)>,
    /// What was counted for each output, once the piece is finished.
    finished: Option<Vec<OutputCounts>>,
}

/// The run of one output that is in order and not yet written.
#[derive(Default)]
struct Output {
    run: Vec<Packet>,
    bytes: u64,
    /// Rows of the oldest piece that have come.
    rows_of_oldest: u64,
    /// What was counted in the pieces before the oldest.
    counts: OutputCounts,
    /// How far an earlier run came: piece, and rows of it.
    start: (u64, u64),
    start_position: Option<PiecePosition>,
    is_being_written: bool,
    /// Whether it is being written though there was memory for more rows.
    is_written_early: bool,
    /// The most bytes that this output's packets held at once.
    peak: u64,
    held: u64,
}

impl<'a> Collector<'a> {
    /// Makes a collector for piece numbers from [`first_piece`].
    pub fn new(options: CollectorOptions<'a>) -> Self {
        let CollectorOptions {
            gate,
            cancel,
            sinks,
            shapes,
            starts,
            ahead,
        } = options;
        let are_streams = sinks.iter().all(|sink| sink.is_stream());
        Self {
            ahead: if are_streams { ahead } else { u64::MAX },
            headroom: headroom(&gate, &shapes),
            gate,
            cancel,
            state: Mutex::new(State {
                oldest: first_piece(&starts),
                positions: BTreeMap::new(),
                younger: BTreeMap::new(),
                outputs: starts.into_iter().map(Output::starting).collect(),
                idle: sinks.iter().map(|_| Vec::new()).collect(),
                open: LEAST_OPEN,
                failure: None,
            }),
            sinks,
            shapes,
        }
    }

    /// Says where piece number `piece` begins; call it before anything else about the piece. If
    /// nothing is found there, it may be called again.
    ///
    /// # Errors
    /// An earlier run has known another beginning of this piece.
    pub fn announce(&self, piece: u64, position: PiecePosition) -> Result<()> {
        let mut state = self.lock();
        // Where an input or row group turned out to be empty, its piece begins behind it as well; so
        // outputs may know later beginnings of the same piece.
        let is_known = |output: &Output| {
            output.start.0 != piece || output.start_position.is_none_or(|known| known >= position)
        };
        let is_again = state.positions.contains_key(&piece);
        if !is_again && !state.outputs.iter().all(is_known) {
            let message = "what an earlier run has left does not fit the inputs";
            return Err(Error::new(ErrorKind::Integrity, message)
                .hint("run the command again: it begins anew"));
        }
        state.positions.insert(piece, position);
        Ok(())
    }

    /// Says whether output number `output` needs rows of piece number `piece`.
    pub fn wants(&self, piece: u64, output: usize) -> bool {
        piece >= self.lock().outputs[output].start.0
    }

    /// Takes memory for piece number `piece`; call it while handing pieces out, in order.
    ///
    /// # Errors
    /// The limit is too small for this piece, with the figure that would do.
    pub fn lease_piece(&self, piece: u64, bytes: u64) -> Result<Lease, Stop> {
        check_room(&self.gate, &self.shapes, bytes)?;
        let attempt = || {
            let state = self.lock();
            let headroom = self.headroom(&state, piece).max(self.headroom);
            drop(state);
            self.gate.try_lease(bytes, headroom)
        };
        self.acquire(piece, attempt, || self.gate.charge(bytes))
    }

    /// Takes memory for what piece number `piece` and those after it are read from; call it while
    /// handing pieces out, in order.
    ///
    /// # Errors
    /// The limit is too small for this, with the figure that would do.
    pub fn lease_open(&self, piece: u64, bytes: u64) -> Result<Lease, Stop> {
        check_room(&self.gate, &self.shapes, bytes)?;
        self.lock().open = bytes.max(LEAST_OPEN);
        self.acquire(
            piece,
            || self.gate.try_lease(bytes, self.headroom),
            || self.gate.charge(bytes),
        )
    }

    /// Checks that a piece can have so many bytes if it is alone.
    ///
    /// # Errors
    /// It can't; the figure that would do is named.
    pub fn check_room_for(&self, bytes: u64) -> Result<()> {
        check_room(&self.gate, &self.shapes, bytes)
    }

    /// Says whether a piece could have so many bytes if it were alone.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        check_room(&self.gate, &self.shapes, bytes).is_ok()
    }

    /// Takes memory for what outgrew its estimate, whatever the limit.
    pub fn charge(&self, bytes: u64) -> Lease {
        self.gate.charge(bytes)
    }

    /// Returns an empty packet for output number `output` of piece number `piece`.
    ///
    /// # Errors
    /// Another worker failed at an earlier place, or a run can't be written.
    pub fn packet(&self, piece: u64, output: usize) -> Result<Packet, Stop> {
        let shape = &self.shapes[output];
        let attempt = || {
            let mut state = self.lock();
            let headroom = self.headroom(&state, piece);
            // Idle packets are as good as free memory: the oldest may give them back or use them.
            let spare = self.gate.free() + state.idle_bytes();
            if spare < headroom + shape.bytes() {
                return None;
            }
            if let Some(packet) = state.idle[output].pop() {
                return Some(packet);
            }
            let lease = self.gate.try_lease(shape.bytes(), headroom)?;
            drop(state);
            Some(Packet::new(shape.clone(), lease))
        };
        let force = || Packet::new(shape.clone(), self.gate.charge(shape.bytes()));
        let packet = self.acquire(piece, attempt, force)?;
        self.lock().outputs[output].hold(packet.bytes());
        Ok(packet)
    }

    /// Hands in a packet of piece number `piece`; packets of a piece come in order.
    pub fn submit(&self, piece: u64, output: usize, mut packet: Packet) {
        let unpaid = packet.unpaid();
        if unpaid > 0 {
            packet.pay(self.gate.charge(unpaid));
        }
        let mut state = self.lock();
        state.outputs[output].hold(unpaid);
        if piece == state.oldest {
            state.append(output, packet);
        } else {
            let waiting = state.younger.entry(piece).or_default();
            waiting.packets.push((output, packet));
        }
        drop(state);
        self.gate.wake_all();
        self.write_streams();
    }

    /// Says that all packets of piece number `piece` are in, and what was counted for each output.
    pub fn finish(&self, piece: u64, counts: Vec<OutputCounts>) {
        let mut state = self.lock();
        if piece == state.oldest {
            state.advance(&counts);
        } else {
            state.younger.entry(piece).or_default().finished = Some(counts);
        }
        drop(state);
        self.gate.wake_all();
        self.write_streams();
        self.write_early();
    }

    /// Records a failure in piece number `piece`; of several the first in input order counts.
    pub fn fail(&self, piece: u64, error: Error) {
        self.lock().fail(Some(piece), error);
        self.gate.wake_all();
    }

    /// Says whether piece number `piece` comes after a failure and need not be worked on.
    pub fn is_overtaken(&self, piece: u64) -> bool {
        let mut state = self.lock();
        if let Err(error) = self.cancel.check() {
            state.fail(None, error);
        }
        state
            .failure
            .as_ref()
            .is_some_and(|(failed, _)| failed.is_none_or(|at| piece > at))
    }

    /// Writes what is left, once all workers have ended, and returns what is known of each output.
    ///
    /// # Errors
    /// The first failure in input order, or a run that can't be written.
    pub fn complete(self) -> Result<Vec<OutputTotals>> {
        let state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, error)) = state.failure {
            return Err(error);
        }
        let State { outputs, idle, .. } = state;
        drop(idle);
        let mut totals = Vec::with_capacity(outputs.len());
        for (output, sink) in outputs.into_iter().zip(&self.sinks) {
            let end = Mark::end(output.counts);
            sink.write_run(&output.run, RunEnd::Last(&end))?;
            totals.push(OutputTotals {
                counts: end.counts,
                memory_peak: output.peak,
            });
        }
        Ok(totals)
    }

    /// Returns the bytes that `piece` must leave free.
    fn headroom(&self, state: &State, piece: u64) -> u64 {
        let is_oldest = piece == state.oldest;
        let is_being_written = state.outputs.iter().any(|output| output.is_being_written);
        let own = if is_oldest { 0 } else { self.headroom };
        if is_oldest && !is_being_written {
            return own;
        }
        // Where somebody writes, to a slow pipe maybe, memory will come back: the oldest can wait,
        // too, else one piece after another would become the oldest and pile up its rows.
        let most = self.gate.base().saturating_add(state.open);
        let most = most.saturating_add(self.ahead);
        self.gate.limit().saturating_sub(most).max(own)
    }

    /// Repeats `attempt` until it succeeds, making room or waiting in between; `force` takes the
    /// memory all the same.
    fn acquire<T>(
        &self,
        piece: u64,
        mut attempt: impl FnMut() -> Option<T>,
        force: impl FnOnce() -> T,
    ) -> Result<T, Stop> {
        loop {
            let seen = self.gate.version();
            if self.is_overtaken(piece) {
                return Err(Stop::Overtaken);
            }
            if let Some(taken) = attempt() {
                return Ok(taken);
            }
            if self.make_room(piece)? {
                continue;
            }
            if self.lock().is_stuck(piece) {
                return Ok(force());
            }
            self.help_or_wait(seen);
        }
    }

    /// Gives idle memory back or writes out a run; says whether either was possible.
    fn make_room(&self, piece: u64) -> Result<bool, Stop> {
        let mut state = self.lock();
        let idle: Vec<Packet> = state.idle.iter_mut().flat_map(std::mem::take).collect();
        if !idle.is_empty() {
            drop(state);
            drop(idle);
            return Ok(true);
        }
        // The oldest must go on and writes whatever there is; others only what is worth it, for
        // short runs make short segments.
        let least = if piece == state.oldest {
            1
        } else {
            self.gate.room() / 2
        };
        let Some(number) = state.largest_run(least) else {
            drop(state);
            return self.release();
        };
        let (run, mark) = state.take_run(number);
        drop(state);
        if self.write_run(number, run, mark.as_ref()) {
            Ok(true)
        } else {
            Err(Stop::Overtaken)
        }
    }

    /// Has sinks write out what they keep in memory; says whether there was any.
    fn release(&self) -> Result<bool, Stop> {
        for sink in &self.sinks {
            match sink.release() {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) => {
                    self.lock().fail(None, error);
                    self.gate.wake_all();
                    return Err(Stop::Overtaken);
                }
            }
        }
        Ok(false)
    }

    /// Writes the runs of streams as they come, so that a pipe flows and little is kept.
    fn write_streams(&self) {
        for number in (0..self.sinks.len()).filter(|number| self.sinks[*number].is_stream()) {
            loop {
                let mut state = self.lock();
                let output = &state.outputs[number];
                if output.is_being_written || output.run.is_empty() {
                    break;
                }
                let (run, mark) = state.take_run(number);
                drop(state);
                if !self.write_run(number, run, mark.as_ref()) {
                    return;
                }
            }
        }
    }

    /// Writes runs that are worth it though there is memory for more. Whoever comes while such a
    /// run is being written, and the next is long enough already, waits: rows that pile up
    /// meanwhile would drive each other out of the cache.
    fn write_early(&self) {
        for (number, sink) in self.sinks.iter().enumerate() {
            loop {
                let seen = self.gate.version();
                let mut state = self.lock();
                let output = &state.outputs[number];
                if state.failure.is_some() || output.bytes < sink.early_run() {
                    break;
                }
                if output.is_being_written {
                    if !output.is_written_early {
                        break;
                    }
                    drop(state);
                    self.help_or_wait(seen);
                    continue;
                }
                if !sink.is_worth_writing(&output.run) {
                    break;
                }
                let (run, mark) = state.take_run(number);
                state.outputs[number].is_written_early = true;
                drop(state);
                let is_written = self.write_run(number, run, mark.as_ref());
                self.lock().outputs[number].is_written_early = false;
                if !is_written {
                    return;
                }
            }
        }
    }

    /// Takes a part of the work of whoever writes a run, or, where there is none, waits until
    /// something has changed since version `seen` of the gate.
    fn help_or_wait(&self, seen: u64) {
        if rayon::yield_now() != Some(rayon::Yield::Executed) {
            self.gate.wait_past(seen);
        }
    }

    /// Writes a run that was taken and recycles its packets; says whether it could be written.
    fn write_run(&self, number: usize, run: Vec<Packet>, mark: Option<&Mark>) -> bool {
        // A fault of ours must not leave others waiting for this run for ever.
        let written = catch_unwind(AssertUnwindSafe(|| {
            self.sinks[number].write_run(&run, RunEnd::Early(mark))
        }));
        let written =
            written.unwrap_or_else(|_| Err(Error::of_ours("writing rows failed unexpectedly")));
        let is_written = written.is_ok();
        let mut state = self.lock();
        state.outputs[number].is_being_written = false;
        state.recycle(number, run);
        if let Err(error) = written {
            state.fail(None, error);
        }
        drop(state);
        self.gate.wake_all();
        is_written
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fail(&mut self, piece: Option<u64>, error: Error) {
        // None, a failure to write, comes before all pieces.
        if self
            .failure
            .as_ref()
            .is_none_or(|(earlier, _)| piece < *earlier)
        {
            self.failure = Some((piece, error));
        }
    }

    fn append(&mut self, number: usize, mut packet: Packet) {
        let oldest = self.oldest;
        let output = &mut self.outputs[number];
        let known = match output.start {
            (piece, rows) if piece == oldest => rows.saturating_sub(output.rows_of_oldest),
            _ => 0,
        };
        output.rows_of_oldest += packet.rows() as u64;
        // What an earlier run has written already.
        packet.drop_front(
            packet
                .rows()
                .min(usize::try_from(known).unwrap_or(usize::MAX)),
        );
        if output
            .run
            .last_mut()
            .is_some_and(|last| last.absorb(&packet))
        {
            self.recycle(number, vec![packet]);
            return;
        }
        output.bytes += packet.bytes();
        output.run.push(packet);
    }

    /// Moves on to the next unfinished piece, taking over what waited.
    fn advance(&mut self, counts: &[OutputCounts]) {
        self.pass_on(counts);
        while let Some(waiting) = self.younger.remove(&self.oldest) {
            for (number, packet) in waiting.packets {
                self.append(number, packet);
            }
            let Some(counts) = waiting.finished else {
                return;
            };
            self.pass_on(&counts);
        }
    }

    /// Leaves the oldest piece behind.
    fn pass_on(&mut self, counts: &[OutputCounts]) {
        self.positions.remove(&self.oldest);
        self.oldest += 1;
        for (output, counts) in self.outputs.iter_mut().zip(counts) {
            output.counts.merge(counts);
            output.rows_of_oldest = 0;
        }
    }

    /// Takes the run of an output, with the mark behind it.
    fn take_run(&mut self, number: usize) -> (Vec<Packet>, Option<Mark>) {
        let position = self.positions.get(&self.oldest).copied();
        let output = &mut self.outputs[number];
        let mark = position.map(|position| Mark {
            piece: self.oldest,
            position: Some(position),
            rows: output.rows_of_oldest,
            counts: output.counts.clone(),
        });
        (output.take(), mark)
    }

    fn idle_bytes(&self) -> u64 {
        self.idle.iter().flatten().map(Packet::bytes).sum()
    }

    /// Says whether `piece` is the oldest and neither waiting nor writing could free anything for
    /// it: then overlong rows of younger pieces hold the headroom, and they wait for it in turn.
    fn is_stuck(&self, piece: u64) -> bool {
        let nothing_to_write = self
            .outputs
            .iter()
            .all(|output| output.run.is_empty() && !output.is_being_written);
        piece == self.oldest && nothing_to_write && self.idle.iter().all(Vec::is_empty)
    }

    fn largest_run(&self, least: u64) -> Option<usize> {
        let candidates = self.outputs.iter().enumerate();
        candidates
            .filter(|(_, output)| !output.is_being_written && output.bytes >= least)
            .max_by_key(|(_, output)| output.bytes)
            .map(|(number, _)| number)
    }

    fn recycle(&mut self, number: usize, packets: Vec<Packet>) {
        for mut packet in packets {
            self.outputs[number].held -= packet.bytes();
            packet.clear();
            self.idle[number].push(packet);
        }
    }
}

impl Output {
    fn starting(start: Option<Mark>) -> Self {
        let Some(mark) = start else {
            return Self::default();
        };
        Self {
            start: (mark.piece, mark.rows),
            start_position: mark.position,
            counts: mark.counts,
            ..Self::default()
        }
    }

    fn hold(&mut self, bytes: u64) {
        self.held += bytes;
        self.peak = self.peak.max(self.held);
    }

    fn take(&mut self) -> Vec<Packet> {
        self.is_being_written = true;
        self.bytes = 0;
        std::mem::take(&mut self.run)
    }
}

/// Returns the number of the first piece that any output needs.
pub fn first_piece(starts: &[Option<Mark>]) -> u64 {
    let piece = |start: &Option<Mark>| start.as_ref().map_or(0, |mark| mark.piece);
    starts.iter().map(piece).min().unwrap_or(0)
}

#[cfg(test)]
mod tests;

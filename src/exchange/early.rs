//! When a run is taken from the collector though there is memory for more rows.

use std::sync::atomic::{AtomicU64, Ordering};

use super::packet::Packet;

/// Bytes of packets that are looked at first whether they make a run: such a run is still in the
/// processor's cache when its rows are gathered.
const EARLY_RUN: u64 = 6 << 20;

/// Decides how long early runs are: twice as long each time that one's segments would be too short.
#[derive(Debug)]
pub(super) struct EarlyRuns {
    bytes: AtomicU64,
}

impl EarlyRuns {
    pub(super) fn new() -> Self {
        Self {
            bytes: AtomicU64::new(EARLY_RUN),
        }
    }

    /// Returns the bytes of packets from which on a run should be looked at.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Ends early runs.
    pub(super) fn stop(&self) {
        self.bytes.store(u64::MAX, Ordering::Relaxed);
    }

    /// Says whether the segments that a run would give `files` files are long enough in the mean:
    /// `least` tells, from their number, how many bytes that is.
    pub(super) fn is_worth_it(
        &self,
        run: &[Packet],
        files: usize,
        least: impl Fn(usize) -> usize,
    ) -> bool {
        let mut is_in = vec![0u64; files.div_ceil(64)];
        let mut segments = 0;
        let mut text = 0;
        for packet in run {
            text += packet.text().len();
            let own = packet.own_chunks().map(|chunk| chunk as usize * 2);
            let further = packet.further().iter();
            for file in own.chain(further.map(|place| place.chunk as usize * 2 + 1)) {
                let (word, bit) = (&mut is_in[file / 64], 1 << (file % 64));
                segments += usize::from(*word & bit == 0);
                *word |= bit;
            }
        }
        let is_worth_it = text / segments.max(1) >= least(segments);
        if !is_worth_it {
            let next = self.bytes().saturating_mul(2);
            self.bytes.store(next, Ordering::Relaxed);
        }
        is_worth_it
    }
}

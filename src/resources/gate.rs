//! The memory gate: every buffer is paid for, in bytes, before it is made.
//!
//! The gate counts and wakes; it does not decide who may wait for whom. That is the ordered
//! collector's business (`exchange::Collector`), which knows the oldest piece and keeps a headroom for
//! it, so that ordered output can't deadlock at small limits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A counter of bytes in use, with a limit and a wake-up for those who wait for room.
#[derive(Debug)]
pub struct MemoryGate {
    limit: u64,
    base: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    used: u64,
    peak: u64,
    /// Counts every change that may let a waiter go on.
    version: u64,
}

impl MemoryGate {
    /// Makes a gate for `limit` bytes.
    pub fn new(limit: u64) -> Arc<Self> {
        Self::beside(0, limit)
    }

    /// Makes a gate for `limit` bytes, of which `base` are in use already: by the program itself.
    pub fn beside(base: u64, limit: u64) -> Arc<Self> {
        let state = State {
            used: base,
            peak: base,
            version: 0,
        };
        Arc::new(Self {
            limit,
            base,
            state: Mutex::new(state),
            changed: Condvar::new(),
        })
    }

    /// Returns the limit in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns the bytes that were in use before anything was taken.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Returns the bytes that there are to be had at most.
    pub fn room(&self) -> u64 {
        self.limit.saturating_sub(self.base)
    }

    /// Returns the bytes that are free now.
    pub fn free(&self) -> u64 {
        self.limit.saturating_sub(self.lock().used)
    }

    /// Returns the most bytes that were ever in use at once.
    pub fn peak(&self) -> u64 {
        self.lock().peak
    }

    /// Takes `bytes` if that leaves `headroom` bytes free, else nothing.
    pub fn try_lease(self: &Arc<Self>, bytes: u64, headroom: u64) -> Option<Lease> {
        let mut state = self.lock();
        if state.used.saturating_add(bytes).saturating_add(headroom) > self.limit {
            return None;
        }
        Some(self.grant(&mut state, bytes))
    }

    /// Takes `bytes` whatever the limit: for what exists already, such as one overlong row.
    pub fn charge(self: &Arc<Self>, bytes: u64) -> Lease {
        self.grant(&mut self.lock(), bytes)
    }

    /// Returns a mark that [`Self::wait_past`] compares with.
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// Waits until something changed since `version` was read.
    pub fn wait_past(&self, version: u64) {
        let mut state = self.lock();
        while state.version == version {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Wakes all who wait, because something other than the free bytes changed.
    pub fn wake_all(&self) {
        self.lock().version += 1;
        self.changed.notify_all();
    }

    fn grant(self: &Arc<Self>, state: &mut State, bytes: u64) -> Lease {
        state.used += bytes;
        state.peak = state.peak.max(state.used);
        Lease {
            gate: Arc::clone(self),
            bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere never leaves the counters half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes taken from a gate; they go back when it is dropped.
#[must_use]
#[derive(Debug)]
pub struct Lease {
    gate: Arc<MemoryGate>,
    bytes: u64,
}

impl Lease {
    /// Returns the number of bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds another lease of the same gate to this one.
    pub fn absorb(&mut self, mut other: Lease) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut state = self.gate.lock();
        state.used = state.used.saturating_sub(self.bytes);
        state.version += 1;
        drop(state);
        self.gate.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_up_to_the_limit_and_keeps_the_headroom() {
        let gate = MemoryGate::new(100);
        let first = gate.try_lease(60, 20).unwrap();
        assert!(gate.try_lease(30, 20).is_none());
        let second = gate.try_lease(30, 0).unwrap();
        assert_eq!(gate.peak(), 90);
        drop((first, second));
        assert!(gate.try_lease(100, 0).is_some());
    }

    #[test]
    fn a_dropped_lease_wakes_a_waiter() {
        let gate = MemoryGate::new(10);
        let held = gate.try_lease(10, 0).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                loop {
                    let seen = gate.version();
                    if let Some(lease) = gate.try_lease(10, 0) {
                        return lease.bytes();
                    }
                    gate.wait_past(seen);
                }
            });
            drop(held);
            assert_eq!(waiter.join().unwrap(), 10);
        });
    }
}

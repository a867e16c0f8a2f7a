//! A request to stop, such as a signal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// Handed to all who work long; whoever holds a clone can ask them to stop.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicU8>);

impl Cancel {
    /// Asks for an early end because of signal number `signal`.
    pub fn cancel(&self, signal: u8) {
        self.0.store(signal, Ordering::Relaxed);
    }

    /// Returns the signal, if an early end was asked for.
    pub fn signal(&self) -> Option<u8> {
        Some(self.0.load(Ordering::Relaxed)).filter(|signal| *signal > 0)
    }

    /// Goes on only if nobody asked for an early end.
    ///
    /// # Errors
    /// Somebody did.
    pub fn check(&self) -> Result<()> {
        self.signal().map_or(Ok(()), |signal| {
            let message = format!("interrupted by signal {signal}");
            Err(Error::new(ErrorKind::Interrupted(signal), message)
                .hint("run the same command again to finish the work"))
        })
    }
}

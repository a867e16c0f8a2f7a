//! Signals: the first asks the work to end, the second ends it at once.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use skyprep::resources::Cancel;

/// Time that the work gets to end by itself; reading a large row group is not interrupted.
const GRACE: Duration = Duration::from_secs(5);
/// The same where the work may be waiting for a pipe that gives or takes nothing.
const SHORT_GRACE: Duration = Duration::from_millis(500);

/// What the signals' thread shares with the work.
#[derive(Debug, Clone, Default)]
pub struct Interruption {
    /// Asks the work to end.
    pub cancel: Cancel,
    may_not_look: Arc<AtomicBool>,
    /// Time that the work has asked for, if any.
    grace: Arc<Mutex<Option<Duration>>>,
    unfinished: Arc<Mutex<Option<PathBuf>>>,
    /// The exit code after a signal, if not 128 and its number.
    code: Arc<AtomicU8>,
}

impl Interruption {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system refuses a thread or a pipe.
    pub fn listen() -> std::io::Result<Self> {
        let shared = Self::default();
        // What a parent told us to ignore (nohup, a background job) stays ignored.
        let wanted = [SIGHUP, SIGINT, SIGTERM];
        let wanted = wanted.into_iter().filter(|signal| !is_ignored(*signal));
        let mut signals = Signals::new(wanted)?;
        let own = shared.clone();
        let watch = move || {
            for signal in signals.forever() {
                own.take(signal);
            }
        };
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(watch)?;
        Ok(shared)
    }

    /// Says that the work may not see a signal soon: it may wait for a pipe without end.
    pub fn may_not_look(&self) {
        self.may_not_look.store(true, Ordering::Relaxed);
    }

    /// Says that the work ends by itself within this time after a signal.
    pub fn may_take(&self, grace: Duration) {
        *self.grace.lock().unwrap_or_else(PoisonError::into_inner) = Some(grace + GRACE);
    }

    /// Says by which exit code a process that a signal has ended tells so.
    pub fn ends_with(&self, code: u8) {
        self.code.store(code, Ordering::Relaxed);
    }

    /// Names the hidden file that goes if the process ends early.
    pub fn set_unfinished(&self, path: Option<PathBuf>) {
        *self
            .unfinished
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = path;
    }

    fn take(&self, signal: i32) {
        let number = u8::try_from(signal).unwrap_or(u8::MAX);
        if self.cancel.signal().is_some() {
            self.end(signal);
        }
        self.cancel.cancel(number);
        let grace = match self.may_not_look.load(Ordering::Relaxed) {
            true => SHORT_GRACE,
            false => GRACE,
        };
        let asked = *self.grace.lock().unwrap_or_else(PoisonError::into_inner);
        let grace = asked.unwrap_or(grace);
        let own = self.clone();
        let watch = move || {
            std::thread::sleep(grace);
            tell_or_pass_over(signal);
            own.end(signal);
        };
        if std::thread::Builder::new().spawn(watch).is_err() {
            self.end(signal);
        }
    }

    /// Ends the process now. What is staged in a folder is hidden and goes with the next command,
    /// as after a kill; it can't be removed while other threads still write there.
    fn end(&self, signal: i32) {
        let unfinished = self.unfinished.lock();
        if let Some(path) = unfinished.unwrap_or_else(PoisonError::into_inner).take() {
            // Nobody is left who could be told.
            let _ = std::fs::remove_file(path);
        }
        let code = match self.code.load(Ordering::Relaxed) {
            0 => 128 + signal,
            code => i32::from(code),
        };
        signal_hook::low_level::exit(code);
    }
}

/// Tells that the process ends early; not for long, because stderr may be a pipe that nobody reads.
fn tell_or_pass_over(signal: i32) {
    let teller = std::thread::spawn(move || {
        tracing::error!("interrupted by signal {signal}");
        tracing::error!(
            label = "hint",
            "run the same command again to finish the work"
        );
    });
    for _ in 0..20 {
        if teller.is_finished() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Says whether the signal was ignored when the process began, as the kernel tells.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

//! Places where tests kill the process, to see that a kill there does no harm.
//!
//! In release builds nothing of this is left.

/// The names of all crash points, in the rough order of a run.
pub const CRASH_POINTS: &[&str] = &[
    "folder-made",
    "claim-made",
    "claim-written",
    "lock-named",
    "lock-taken",
    "stale-lock-renamed",
    "stale-lock-removed",
    "staging-cleared",
    "run-written",
    "run-recorded",
    "merged",
    "extended",
    "files-synced",
    "log-made",
    "intent-written",
    "intent-synced",
    "outdated-removed",
    "stale-removed",
    "folders-made",
    "rename-before",
    "rename-after",
    "all-renamed",
    "folders-synced",
    "done-written",
    "done-synced",
    "partial-made",
    "partial-written",
    "partial-synced",
    "final-named",
    "final-synced",
    "record-written",
    "record-named",
    "set-published",
    "sets-published",
    "generation-named",
    "lock-removing",
    "lock-removed",
];

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::CRASH_POINTS;

    struct Armed {
        name: String,
        left: AtomicU64,
    }

    static ARMED: OnceLock<Armed> = OnceLock::new();

    /// Makes the crash point `place`, or with `name:count` its so-manieth passing, kill this
    /// process. Only the first call counts. Debug builds only.
    pub fn arm_crash_point(place: &str) {
        let (name, count) = place.split_once(':').unwrap_or((place, "1"));
        let _ = ARMED.set(Armed {
            name: name.to_owned(),
            left: AtomicU64::new(count.parse().unwrap_or(1)),
        });
    }

    /// Kills this process if the crash point `name` is armed and its turn has come.
    pub fn crash_point(name: &str) {
        debug_assert!(CRASH_POINTS.contains(&name), "{name} is not in the list");
        let Some(armed) = ARMED.get().filter(|armed| armed.name == name) else {
            return;
        };
        if armed.left.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            // Not a step further until the signal arrives.
            std::thread::park();
        }
    }
}

#[cfg(debug_assertions)]
pub use armed::{arm_crash_point, crash_point};

/// Does nothing: this is a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn crash_point(_name: &str) {}

//! Signs of life: who does something, and whether it still lives, on other machines too.
//!
//! A process touches a file of its own now and then. Where it can be looked up it is alive if it runs;
//! else it is taken for dead when its file was not touched for long.

use std::fs::{self, File};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

/// How often an owner touches its file.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// An owner that can't be looked up is dead when its file was not touched for so long.
pub(super) const SILENCE: Duration = Duration::from_secs(60);

/// A process that holds or does something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) host: String,
    pub(crate) pid: u32,
    /// When the process started, in clock ticks since the machine did; ids are used again.
    pub(super) started: u64,
    /// Where the id means something: the start of the machine, and the space of its ids.
    pub(super) machine: String,
    /// Nanoseconds since 1970 when the lock was claimed; tells apart the claims of one process.
    pub(super) claimed_ns: u64,
}

impl Owner {
    pub(crate) fn this_process() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let pid = std::process::id();
        // Who does not know all of itself is judged by its heartbeat alone.
        let (started, machine) = match process_state(pid) {
            ProcessState::Runs(started) if !boot.is_empty() => {
                (started, format!("{} {}", boot.trim(), space.display()))
            }
            _ => (0, String::new()),
        };
        Self {
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            pid,
            started,
            machine,
            claimed_ns: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(0)),
        }
    }

    /// Says whether the owner lives, if this process can know.
    pub(super) fn is_alive_here(&self, me: &Self) -> Option<bool> {
        let is_near = self.host == me.host && self.machine == me.machine;
        if !is_near || me.machine.is_empty() {
            return None;
        }
        match process_state(self.pid) {
            ProcessState::Runs(started) => Some(started == self.started),
            ProcessState::Gone => Some(false),
            ProcessState::Hidden => None,
        }
    }
}

/// What can be known of a process of this machine.
#[derive(Debug, PartialEq, Eq)]
enum ProcessState {
    /// It runs, and started then.
    Runs(u64),
    Gone,
    /// It is there, but belongs to somebody else, and this system shows no more of it.
    Hidden,
}

fn process_state(pid: u32) -> ProcessState {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => start_of(&stat).map_or(ProcessState::Gone, ProcessState::Runs),
        Err(_) => {
            let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
            match id.map(test_kill_process) {
                None | Some(Err(Errno::SRCH)) => ProcessState::Gone,
                Some(_) => ProcessState::Hidden,
            }
        }
    }
}

/// Reads out of `/proc/<pid>/stat` when a process started; nothing if it has ended.
fn start_of(stat: &str) -> Option<u64> {
    // The name of the program comes before, in parentheses, and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    // A zombie has ended; only its parent has not looked yet.
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

impl Owner {
    /// Says whether the owner was a process of this machine that is gone for certain, as seen by `me`.
    pub(crate) fn is_gone_here(&self, me: &Self) -> bool {
        self.is_alive_here(me) == Some(false)
    }

    /// Says whether the owner of a file that was touched last at `touched` lives, as seen by `me`.
    pub(crate) fn lives(&self, me: &Self, touched: SystemTime, now: SystemTime) -> bool {
        let silence = now.duration_since(touched).unwrap_or_default();
        let here = self.is_alive_here(me);
        here.unwrap_or(silence <= SILENCE)
    }
}

/// Touches a file now and then, until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Heartbeat(Option<(Sender<()>, JoinHandle<()>)>);

impl Heartbeat {
    /// Begins to touch `file`.
    pub(crate) fn of(file: File) -> Self {
        let (stop, stopped) = channel::<()>();
        let beat = move || {
            while stopped.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                // By the file system's clock. One beat may fail; the next will do.
                let now = Timespec {
                    tv_sec: 0,
                    tv_nsec: UTIME_NOW,
                };
                let times = Timestamps {
                    last_access: now,
                    last_modification: now,
                };
                let _ = futimens(&file, &times);
            }
        };
        // Without a thread left its owner can still be looked up on this machine.
        let thread = std::thread::Builder::new()
            .name("heartbeat".into())
            .spawn(beat);
        Self(thread.ok().map(|thread| (stop, thread)))
    }

    /// Stops touching the file.
    pub(crate) fn stop(&mut self) {
        if let Some((stop, thread)) = self.0.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_apart() {
        let stat = |state| format!("7 (a ) b) {state} {} 4242 0", "1 ".repeat(18));
        assert_eq!(start_of(&stat("S")), Some(4242));
        assert_eq!(start_of(&stat("Z")), None);
        let own = process_state(std::process::id());
        assert!(matches!(own, ProcessState::Runs(started) if started > 0));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(process_state(pid), ProcessState::Gone);
    }
}

//! One run at a time on an output folder, on network file systems too.
//!
//! The lock is a file that exists or does not: locks of the kernel are not seen by other machines
//! everywhere. It names its owner, who touches it now and then (its heartbeat). A process first
//! writes a *claim* under a name of its own and then links it to the lock's name, so a lock is
//! never seen half written. The lock of a dead owner is taken over: at once where the process can
//! be looked up, else when its heartbeat has stopped for long.
//!
//! Two that take over at once must not remove each other's new lock. So the old lock is renamed
//! first, and given back if it is not the one that was found dead; where the file system knows
//! kernel locks, only one at a time does so.
#![allow(
    clippy::disallowed_methods,
    reason = "the lock file is made here and nowhere else"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};

use super::crash_point::crash_point;
use super::files::{create_folders, remove_optional};
use super::heartbeat::{Heartbeat, Owner, SILENCE};
use crate::error::{Error, ErrorKind, Place, Result};

/// Name of the lock in the state folder.
pub(super) const LOCK_FILE: &str = "lock";
/// Names of claims, and of locks that are being taken over, begin so.
const CLAIM_START: &str = "lock-";

/// Others can get in between only so often.
const ATTEMPTS: usize = 100;

/// A lock file as it was found.
#[derive(Debug)]
struct Found {
    text: Vec<u8>,
    owner: Option<Owner>,
    inode: u64,
    touched: SystemTime,
}

impl Found {
    fn read(path: &Path) -> Result<Option<Self>> {
        let look = || -> io::Result<Self> {
            let mut file = File::open(path)?;
            let mut text = Vec::new();
            io::Read::read_to_end(&mut file, &mut text)?;
            let metadata = file.metadata()?;
            Ok(Self {
                owner: serde_json::from_slice(&text).ok(),
                text,
                inode: metadata.ino(),
                touched: metadata.modified()?,
            })
        };
        match look() {
            Ok(found) => Ok(Some(found)),
            // On NFS a file that goes while it is read is called stale.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(Error::writing(path, error)),
        }
    }

    /// What tells one lock from the next, but for its heartbeat.
    fn is_same(&self, other: &Self) -> bool {
        self.inode == other.inode && self.text == other.text
    }

    fn silence(&self, now: SystemTime) -> Duration {
        now.duration_since(self.touched).unwrap_or_default()
    }

    fn is_dead(&self, me: &Owner, now: SystemTime) -> bool {
        self.owner
            .as_ref()
            .and_then(|owner| owner.is_alive_here(me))
            .map_or_else(|| self.silence(now) > SILENCE, |is_alive| !is_alive)
    }

    fn refusal(&self, path: &Path, me: &Owner, now: SystemTime) -> Error {
        let silence = self.silence(now).as_secs();
        let Some(owner) = &self.owner else {
            let message = format!("the output folder is locked by something, {silence} s ago");
            return Error::new(ErrorKind::OutputRefused, message)
                .at(Place::file(path.display().to_string()))
                .hint("if nothing writes here, remove this file");
        };
        let age = now
            .duration_since(UNIX_EPOCH + Duration::from_nanos(owner.claimed_ns))
            .unwrap_or_default();
        let message = format!(
            "the output folder is in use by process {} on {} for {} s (last sign of life {silence} s \
             ago)",
            owner.pid,
            owner.host,
            age.as_secs()
        );
        let hint = if owner.is_alive_here(me).is_some() {
            "wait for it to end, then run the command again".into()
        } else {
            format!(
                "wait for it to end, then run the command again; if it is dead, it is taken over \
                 {} s after its last sign of life",
                SILENCE.as_secs()
            )
        };
        Error::new(ErrorKind::OutputRefused, message)
            .at(Place::file(path.display().to_string()))
            .hint(hint)
    }
}

/// A file that names this process, not yet under the lock's name.
struct Claim {
    path: PathBuf,
    file: File,
    /// The time of the file system, whose clock may differ from ours.
    now: SystemTime,
}

impl Claim {
    fn write(path: PathBuf, me: &Owner) -> Result<Self> {
        let at = |error| Error::writing(&path, error);
        let mut text = serde_json::to_vec(me).map_err(|error| at(error.into()))?;
        text.push(b'\n');
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(at)?;
        crash_point("claim-made");
        let written = file
            .write_all(&text)
            .and_then(|()| file.metadata()?.modified());
        crash_point("claim-written");
        match written {
            Ok(now) => Ok(Self { path, file, now }),
            Err(error) => {
                let _ = fs::remove_file(&path);
                Err(at(error))
            }
        }
    }

    /// Gives the claim the lock's name; says no if there is a lock already.
    fn name_lock(&mut self, lock: &Path, me: &Owner) -> io::Result<bool> {
        match fs::hard_link(&self.path, lock) {
            Ok(()) => Ok(true),
            // Network file systems may say so though it was this very link.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Ok(self.file.metadata()?.nlink() == 2)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            // No links here. A kill between the next two steps leaves a lock without an owner.
            Err(_) => match OpenOptions::new().write(true).create_new(true).open(lock) {
                Ok(mut file) => {
                    serde_json::to_writer(&mut file, me)?;
                    self.file = file;
                    Ok(true)
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error),
            },
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // One that stays is removed by the next owner.
        let _ = fs::remove_file(&self.path);
    }
}

/// A held lock; dropping it frees the folder.
#[derive(Debug)]
pub struct FolderLock {
    path: PathBuf,
    inode: u64,
    heartbeat: Heartbeat,
}

impl FolderLock {
    /// Says whether nobody alive holds the lock of the state folder `state`; touches nothing.
    ///
    /// # Errors
    /// Somebody does, or the lock can't be read.
    pub(super) fn check_free(state: &Path) -> Result<()> {
        let path = state.join(LOCK_FILE);
        let me = Owner::this_process();
        match Found::read(&path)? {
            Some(found) if !found.is_dead(&me, SystemTime::now()) => {
                Err(found.refusal(&path, &me, SystemTime::now()))
            }
            _ => Ok(()),
        }
    }

    /// Takes the lock of the state folder `state`.
    ///
    /// # Errors
    /// Another live process holds it, or it can't be written.
    pub fn take(state: &Path) -> Result<Self> {
        let me = Owner::this_process();
        let path = state.join(LOCK_FILE);
        let host = me.host.replace('/', "_");
        let own = format!("{CLAIM_START}{host}-{}-{}", me.pid, me.claimed_ns);
        for _ in 0..ATTEMPTS {
            create_folders(state)?;
            let mut claim = Claim::write(state.join(&own), &me)?;
            match claim.name_lock(&path, &me) {
                Ok(true) => {
                    crash_point("lock-named");
                    let file = claim.file.try_clone();
                    let file = file.map_err(|error| Error::writing(&path, error))?;
                    drop(claim);
                    let lock = Self::hold(path, file)?;
                    sweep(state)?;
                    crash_point("lock-taken");
                    return Ok(lock);
                }
                Ok(false) => {}
                // Whoever has got the lock has swept our claim away.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::writing(&path, error)),
            }
            let Some(found) = Found::read(&path)? else {
                continue;
            };
            if !found.is_dead(&me, claim.now) {
                return Err(found.refusal(&path, &me, claim.now));
            }
            remove_dead(state, &path, &found, &state.join(format!("{own}-dead")))?;
        }
        Err(Error::new(
            ErrorKind::OutputRefused,
            "the lock of the output folder changes hands all the time",
        )
        .at(Place::file(path.display().to_string()))
        .hint("run the command again"))
    }

    fn hold(path: PathBuf, file: File) -> Result<Self> {
        let inode = file
            .metadata()
            .map_err(|error| Error::writing(&path, error))?
            .ino();
        Ok(Self {
            path,
            inode,
            heartbeat: Heartbeat::of(file),
        })
    }

    /// Makes sure that the lock was not taken over, as may happen to a process that was stopped
    /// for long or cut off from the file system.
    ///
    /// # Errors
    /// It was.
    pub fn check(&self) -> Result<()> {
        if self.is_held() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::OutputRefused,
            "another run has taken over this output folder, because this one gave no sign of life",
        )
        .at(Place::file(self.path.display().to_string()))
        .hint("wait for the other to end, then run the command again"))
    }

    fn is_held(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode)
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        self.heartbeat.stop();
        crash_point("lock-removing");
        if self.is_held() {
            // One that stays is taken over once this process has ended.
            let _ = fs::remove_file(&self.path);
        }
        crash_point("lock-removed");
    }
}

/// Removes the lock of a dead owner, unless it is another one by now.
fn remove_dead(state: &Path, path: &Path, dead: &Found, aside: &Path) -> Result<()> {
    // Only one at a time, where the file system can do that.
    let guard = File::open(state);
    if let Ok(guard) = &guard {
        let _ = flock(guard, FlockOperation::LockExclusive);
    }
    if !Found::read(path)?.is_some_and(|found| found.is_same(dead)) {
        return Ok(());
    }
    match fs::rename(path, aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.map_err(|error| Error::writing(path, error))?,
    }
    crash_point("stale-lock-renamed");
    let is_dead = Found::read(aside)?.is_some_and(|found| found.is_same(dead));
    if !is_dead {
        // If that fails, its owner will notice before it publishes.
        let _ = fs::hard_link(aside, path);
    }
    remove_optional(aside)?;
    crash_point("stale-lock-removed");
    Ok(())
}

/// Removes the claims that others have left; who is at it just now will try again.
fn sweep(state: &Path) -> Result<()> {
    let at = |error| Error::writing(state, error);
    for entry in fs::read_dir(state).map_err(at)? {
        let entry = entry.map_err(at)?;
        if entry.file_name().to_string_lossy().starts_with(CLAIM_START) {
            remove_optional(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn leave(state: &Path, change: impl FnOnce(&mut Owner)) {
        let mut owner = Owner::this_process();
        change(&mut owner);
        fs::create_dir_all(state).unwrap();
        fs::write(state.join(LOCK_FILE), serde_json::to_vec(&owner).unwrap()).unwrap();
    }

    fn age(path: &Path, seconds: u64) {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        let then = SystemTime::now() - Duration::from_secs(seconds);
        file.set_modified(then).unwrap();
    }

    #[test]
    fn the_second_is_told_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let held = FolderLock::take(folder.path()).unwrap();
        let refused = FolderLock::take(folder.path()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::OutputRefused);
        let said = refused.to_string();
        let me = Owner::this_process();
        assert!(
            said.contains(&format!("process {} on {}", me.pid, me.host)),
            "{said}"
        );
        held.check().unwrap();
        drop(held);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        FolderLock::take(folder.path()).unwrap();
    }

    #[test]
    fn the_dead_are_taken_over_and_the_living_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path();
        let path = state.join(LOCK_FILE);
        let is_refused = || FolderLock::take(state).is_err();
        // An id that was used again.
        leave(state, |owner| owner.started += 1);
        assert!(!is_refused());
        // Another machine: its heartbeat counts.
        leave(state, |owner| owner.machine = "other".into());
        assert!(is_refused());
        age(&path, 50);
        assert!(is_refused());
        age(&path, 70);
        assert!(!is_refused());
        // No owner can be read.
        fs::write(&path, "").unwrap();
        assert!(is_refused());
        age(&path, 70);
        assert!(!is_refused());
        // However long a living process of this machine was silent.
        leave(state, |_| ());
        age(&path, 1000);
        assert!(is_refused());
    }

    #[test]
    fn of_many_that_take_over_at_once_one_gets_the_lock() {
        for _ in 0..50 {
            let folder = tempfile::tempdir().unwrap();
            let state = folder.path();
            leave(state, |owner| owner.started += 1);
            let (start, got, end) = (Barrier::new(4), AtomicUsize::new(0), Barrier::new(4));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        start.wait();
                        let lock = FolderLock::take(state);
                        if let Ok(lock) = &lock {
                            got.fetch_add(1, Ordering::SeqCst);
                            lock.check().unwrap();
                        }
                        end.wait();
                    });
                }
            });
            assert_eq!(got.load(Ordering::SeqCst), 1);
            assert_eq!(fs::read_dir(state).unwrap().count(), 0);
        }
    }

    #[test]
    fn an_owner_notices_the_loss_of_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let held = FolderLock::take(folder.path()).unwrap();
        let path = folder.path().join(LOCK_FILE);
        fs::rename(&path, folder.path().join("x")).unwrap();
        fs::write(&path, "other").unwrap();
        assert!(held.check().is_err());
        drop(held);
        assert_eq!(fs::read(&path).unwrap(), b"other");
    }
}

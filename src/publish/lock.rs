//! One run at a time on an output folder.
//!
//! The lock file names host and process. Its owner's kernel lock (released by the kernel however
//! the process ends) says whether the owner lives, so a killed run never blocks the next one.
#![allow(
    clippy::disallowed_methods,
    reason = "the lock file is made here and nowhere else"
)]

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, ErrorKind, Place, Result};

/// A held lock; dropping it frees the folder.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock file `path`.
    ///
    /// # Errors
    /// Another live process holds it, or it can't be written.
    pub(super) fn take(path: &Path) -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| Error::writing(path, error))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut owner = String::new();
            let known = file.read_to_string(&mut owner).is_ok() && !owner.trim().is_empty();
            let owner = if known {
                owner.trim()
            } else {
                "another process"
            };
            return Err(Error::new(
                ErrorKind::OutputRefused,
                format!("the output folder is in use by {owner}"),
            )
            .at(Place::file(path.display().to_string()))
            .hint("wait for it to end, then run the command again"));
        }
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let written = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "process {} on {host}", std::process::id()));
        written.map_err(|error| Error::writing(path, error))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = FolderLock::take(&path).unwrap();
        let refused = FolderLock::take(&path).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::OutputRefused);
        assert!(
            refused
                .to_string()
                .contains(&format!("process {}", std::process::id()))
        );
        drop(held);
        FolderLock::take(&path).unwrap();
    }
}

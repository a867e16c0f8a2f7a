//! The few ways in which skyprep writes to disk; everything else is forbidden to (clippy.toml).
#![allow(
    clippy::disallowed_methods,
    reason = "this file owns creating and renaming files"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::error::{Error, ErrorKind, Place, Result};

/// Appends `bytes` to a staged file, making it if need be.
///
/// # Errors
/// The file can't be written; a full disk is told apart.
pub fn append(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|error| Error::writing(path, error))
}

/// Makes a file for reading back what memory can't hold; what stood there is forgotten.
///
/// # Errors
/// The place may not be written.
pub fn create_spill(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(true)
        .open(path)
        .map_err(|error| Error::writing(path, error))
}

/// Makes a folder and those above it.
///
/// # Errors
/// The place may not be written.
pub fn create_folders(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| Error::writing(path, error))
}

/// Reads a small file; nothing if it does not exist.
///
/// # Errors
/// It exists and can't be read.
pub fn read_optional(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::reading(path, error)),
    }
}

/// Removes a file if it is there.
///
/// # Errors
/// It is there and can't be removed.
pub fn remove_optional(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::writing(path, error)),
        _ => Ok(()),
    }
}

/// Writes a small file so that it is there whole or not at all, and lasts.
///
/// # Errors
/// The file can't be written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes)
        .map_err(|error| Error::writing(path, error))?;
    file.commit()
}

/// Renames a file and says which one failed.
///
/// # Errors
/// The rename fails.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|error| Error::writing(to, error))
}

/// Makes a folder's entries last.
///
/// # Errors
/// The folder can't be synced.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Error::writing(path, error))
}

/// Makes many files of one file system last: one `syncfs` instead of an fsync each.
///
/// # Errors
/// The file system can't be synced.
pub(super) fn sync_file_system(path: &Path) -> Result<()> {
    let folder = File::open(path).map_err(|error| Error::writing(path, error))?;
    rustix::fs::syncfs(&folder).map_err(|error| Error::writing(path, error.into()))
}

/// Makes one file last.
///
/// # Errors
/// The file can't be synced.
pub(super) fn sync_file(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| Error::writing(path, error))
}

/// A file that gets its name only when it is complete.
///
/// It grows under a hidden name beside its final one and is removed if it is never committed.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    is_committed: bool,
}

impl AtomicFile {
    /// Starts a file that will be called `target`.
    ///
    /// # Errors
    /// The folder may not be written.
    pub fn create(target: &Path) -> Result<Self> {
        let name = target
            .file_name()
            .ok_or_else(|| Error::usage(format!("'{}' is not a file name", target.display())))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        // Always the same name, so that a later run overwrites what a killed one left.
        hidden.push(".partial");
        let temporary = target.with_file_name(hidden);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&temporary)
            .map_err(|error| Error::writing(target, error))?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Error::new(
                ErrorKind::OutputRefused,
                "another process is writing this file",
            )
            .at(Place::file(target.display().to_string()))
            .hint("wait for it to end"));
        }
        file.set_len(0)
            .map_err(|error| Error::writing(target, error))?;
        Ok(Self {
            file,
            temporary,
            target: target.to_owned(),
            is_committed: false,
        })
    }

    /// Makes the file last under its final name.
    ///
    /// # Errors
    /// Syncing or renaming fails; the final name is then not touched.
    pub fn commit(mut self) -> Result<()> {
        self.file
            .sync_all()
            .map_err(|error| Error::writing(&self.target, error))?;
        rename(&self.temporary, &self.target)?;
        self.is_committed = true;
        match self.target.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => sync_folder(folder),
            _ => sync_folder(Path::new(".")),
        }
    }

    /// Returns a second handle that writes to the same file.
    ///
    /// # Errors
    /// The system has no handle left.
    pub fn writer(&self) -> Result<File> {
        self.file
            .try_clone()
            .map_err(|error| Error::writing(&self.target, error))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.is_committed {
            // Nothing more can be done about a file that can't be removed; its name is hidden.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uncommitted_file_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.txt");
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        write_atomically(&target, b"whole").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

//! The few ways in which skyprep writes to disk; everything else is forbidden to (clippy.toml).
#![allow(
    clippy::disallowed_methods,
    reason = "this file owns creating and renaming files"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::crash_point::crash_point;
use super::sync::SyncMode;
use crate::error::{Error, ErrorKind, Place, Result};

/// Files of one folder are removed so many at a time, in parallel.
const REMOVED_AT_ONCE: usize = 4096;

/// Opens a file so that what is written goes to its end, making it if need be.
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

const NO_LINKS: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// Makes a file for reading back what memory can't hold; what stood there is forgotten.
///
/// # Errors
/// The place may not be written.
pub fn create_spill(path: &Path) -> Result<File> {
    // Its folder may be everybody's: no link is followed, and nobody else may look.
    OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(NO_LINKS)
        .open(path)
        .map_err(|error| Error::writing(path, error))
}

/// Opens what [`create_spill`] has made, for reading and writing; nothing if it is not there.
///
/// # Errors
/// It is there and can't be opened.
pub fn open_spill(path: &Path) -> Result<Option<File>> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).custom_flags(NO_LINKS);
    match options.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::writing(path, error)),
    }
}

/// Removes the files of the staged folder `folder` for which `is_known` is false; hidden ones and
/// folders stay.
///
/// # Errors
/// The folder can't be read, or a file can't be removed.
pub fn remove_unknown(folder: &Path, is_known: impl Fn(&str) -> bool) -> Result<()> {
    let reading = |error| Error::reading(folder, error);
    for entry in fs::read_dir(folder).map_err(reading)? {
        let entry = entry.map_err(reading)?;
        let name = entry.file_name();
        let is_file = entry.file_type().map_err(reading)?.is_file();
        let is_known = name
            .to_str()
            .is_some_and(|name| name.starts_with('.') || is_known(name));
        if is_file && !is_known {
            remove_optional(&entry.path())?;
        }
    }
    Ok(())
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

/// Removes a file that is written atomically, and what a kill may have left of one being written.
///
/// # Errors
/// It is there and can't be removed.
pub fn remove_written(path: &Path) -> Result<()> {
    remove_optional(path)?;
    remove_optional(&temporary_name(path)?)
}

/// Removes a folder and all below it, if it is there; links are removed, never followed.
///
/// Many files of one folder are removed in parallel, which is what counts on network file systems.
///
/// # Errors
/// Something can't be removed.
pub fn remove_tree(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::writing(path, error)),
        Ok(found) if !found.is_dir() => return remove_optional(path),
        Ok(_) => {}
    }
    let at = |error| Error::writing(path, error);
    let mut names = Vec::new();
    let remove = |names: &mut Vec<_>| {
        let removed = names
            .par_iter()
            .try_for_each(|name| remove_optional(&path.join(name)));
        names.clear();
        removed
    };
    for entry in fs::read_dir(path).map_err(at)? {
        let entry = entry.map_err(at)?;
        if entry.file_type().map_err(at)?.is_dir() {
            remove_tree(&entry.path())?;
            continue;
        }
        names.push(entry.file_name());
        if names.len() == REMOVED_AT_ONCE {
            remove(&mut names)?;
        }
    }
    remove(&mut names)?;
    match fs::remove_dir(path) {
        // Some file systems pass over entries while others are being removed.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            fs::remove_dir_all(path).map_err(at)
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(error)),
        _ => Ok(()),
    }
}

/// Writes a small file so that it is there whole or not at all, and lasts.
///
/// # Errors
/// The file can't be written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    stream_atomically(path, SyncMode::Auto, |out| out.write_all(bytes))
}

/// Writes a file piece by piece so that it is there whole or not at all.
///
/// # Errors
/// The file can't be written.
pub fn stream_atomically(
    path: &Path,
    sync: SyncMode,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let mut file = AtomicFile::create(path)?.with_sync(sync);
    let mut out = BufWriter::with_capacity(1 << 16, &mut file);
    let written = write(&mut out).and_then(|()| out.flush());
    drop(out);
    written.map_err(|error| Error::writing(path, error))?;
    file.commit()
}

/// Writes a small file that stays whatever stands first under its name; says whether that is this one.
///
/// `unique` is part of the name under which it is written before: no other process may use it.
///
/// # Errors
/// The file can't be written.
pub fn publish_new(path: &Path, bytes: &[u8], unique: &str) -> Result<bool> {
    let at = |error| Error::writing(path, error);
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(unique);
    let temporary = path.with_file_name(name);
    let mut file = File::create(&temporary).map_err(at)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    crash_point("record-written");
    let linked = written.and_then(|()| match fs::hard_link(&temporary, path) {
        Ok(()) => Ok(true),
        // Network file systems may say so though it was this very link.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok(file.metadata()?.nlink() == 2)
        }
        // No links here: a kill in between leaves a file that is not whole, which counts for none.
        Err(_) => match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(mut file) => {
                file.write_all(bytes)?;
                file.sync_all()?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        },
    });
    crash_point("record-named");
    remove_optional(&temporary)?;
    let is_first = linked.map_err(at)?;
    SyncMode::Auto.sync_folder(path.parent().unwrap_or(Path::new("")))?;
    Ok(is_first)
}

/// Gives a file a second name, or copies it where the file system knows no links.
///
/// # Errors
/// Neither can be done.
pub fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            remove_optional(to)?;
            fs::hard_link(from, to).map_err(|error| Error::writing(to, error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::reading(from, error)),
        Err(_) => match fs::copy(from, to) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::writing(to, error)),
        },
    }
}

/// Gives a folder its final name, unless a folder that is not empty has it; says whether it did.
///
/// # Errors
/// The rename fails.
pub fn rename_folder(from: &Path, to: &Path) -> Result<bool> {
    let is_taken = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty
        )
    };
    match fs::rename(from, to) {
        Ok(()) => {
            SyncMode::Auto.sync_folder(to.parent().unwrap_or(Path::new("")))?;
            Ok(true)
        }
        Err(error) if is_taken(&error) => Ok(false),
        Err(error) => Err(Error::writing(to, error)),
    }
}

/// Renames a file and says which one failed.
///
/// # Errors
/// The rename fails.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|error| Error::writing(to, error))
}

/// What to do with a file that stands under the final name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    Refuse,
    Replace,
}

/// Who may read a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Readers {
    /// Whoever the process's mask lets.
    #[default]
    Usual,
    /// Its owner alone (mode 600): it holds what gives access to something.
    Owner,
}

/// A file that gets its name only when it is complete.
///
/// It grows under a hidden name beside its final one and is removed if it is never committed.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
    existing: Existing,
    sync: SyncMode,
    is_committed: bool,
}

impl AtomicFile {
    /// Starts a file that will be called `target`, in place of what stands there.
    ///
    /// # Errors
    /// The folder may not be written, or another process is writing this file.
    pub fn create(target: &Path) -> Result<Self> {
        Self::create_for(target, Readers::Usual)
    }

    /// Does what [`Self::create`] does, for certain readers.
    ///
    /// # Errors
    /// As there.
    pub fn create_for(target: &Path, readers: Readers) -> Result<Self> {
        Self::start(target, Existing::Replace, readers)
    }

    /// Starts a file that will be called `target`, where nothing stands yet; what a run left that
    /// was killed between naming its file and tidying up does not count.
    ///
    /// # Errors
    /// Something stands there, the folder may not be written, or another process is writing this
    /// file.
    pub fn create_new(target: &Path) -> Result<Self> {
        Self::create_new_for(target, Readers::Usual)
    }

    /// Does what [`Self::create_new`] does, for certain readers.
    ///
    /// # Errors
    /// As there.
    pub fn create_new_for(target: &Path, readers: Readers) -> Result<Self> {
        Self::start(target, existing(target)?, readers)
    }

    /// Says how [`Self::create_new`] would treat what stands at `target`, and touches nothing.
    ///
    /// # Errors
    /// Something stands there.
    pub fn check_new(target: &Path) -> Result<()> {
        existing(target).map(drop)
    }

    /// Sets how the file is made to last.
    #[must_use]
    pub fn with_sync(mut self, sync: SyncMode) -> Self {
        self.sync = sync;
        self
    }

    fn start(target: &Path, existing: Existing, readers: Readers) -> Result<Self> {
        let temporary = temporary_name(target)?;
        let mut leftover = match readers {
            Readers::Usual => Leftover::Reuse,
            Readers::Owner => Leftover::RemoveOnce,
        };
        let file = loop {
            if let Some(file) = open_temporary(&temporary, target, readers, &mut leftover)? {
                break file;
            }
        };
        crash_point("partial-made");
        Ok(Self {
            file,
            temporary,
            target: target.to_owned(),
            existing,
            sync: SyncMode::default(),
            is_committed: false,
        })
    }

    /// Makes the file last under its final name.
    ///
    /// # Errors
    /// Syncing or renaming fails; the final name is then not touched.
    pub fn commit(mut self) -> Result<()> {
        crash_point("partial-written");
        self.sync.sync_open_file(&self.file, &self.target)?;
        crash_point("partial-synced");
        let is_linked = self.existing == Existing::Refuse && self.link()?;
        if !is_linked {
            rename(&self.temporary, &self.target)?;
            self.is_committed = true;
        }
        crash_point("final-named");
        let folder = self.target.parent().unwrap_or(Path::new(""));
        self.sync.sync_folder(folder)?;
        crash_point("final-synced");
        if is_linked {
            self.is_committed = true;
            remove_optional(&self.temporary)?;
        }
        Ok(())
    }

    /// Gives the file its final name beside the hidden one, if the file system can. The hidden
    /// one, removed last, tells the next run that it may replace the file.
    fn link(&self) -> Result<bool> {
        match fs::hard_link(&self.temporary, &self.target) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(exists_already(&self.target))
            }
            // Without links, renaming may replace what has come there since the start.
            Err(_) => Ok(false),
        }
    }

    /// Forgets what was written.
    ///
    /// # Errors
    /// The file can't be cut.
    pub fn restart(&mut self) -> Result<()> {
        let cut = self.file.set_len(0).and_then(|()| self.file.rewind());
        cut.map_err(|error| Error::writing(&self.target, error))
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

/// Returns the hidden name: always the same, so that a later run overwrites what a killed one left.
fn temporary_name(target: &Path) -> Result<PathBuf> {
    let name = target
        .file_name()
        .ok_or_else(|| Error::usage(format!("'{}' is not a file name", target.display())))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".partial");
    Ok(target.with_file_name(hidden))
}

/// What to do with a hidden file of a killed run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leftover {
    Reuse,
    /// If others may read it: they may have opened it already. Only once, for some file systems
    /// keep no modes.
    RemoveOnce,
}

/// Opens the hidden file for this process alone; nothing if it went away meanwhile.
fn open_temporary(
    temporary: &Path,
    target: &Path,
    readers: Readers,
    leftover: &mut Leftover,
) -> Result<Option<File>> {
    let at = |error| Error::writing(target, error);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(match readers {
            Readers::Usual => 0o666,
            Readers::Owner => 0o600,
        })
        .open(temporary)
        .map_err(at)?;
    let lock = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
    // Where locks are not supported there is none; the record's lock guards what matters most.
    if lock == Err(Errno::WOULDBLOCK) {
        return Err(Error::new(
            ErrorKind::OutputRefused,
            "another process is writing this file",
        )
        .at(Place::file(target.display().to_string()))
        .hint("wait for it to end"));
    }
    let opened = file.metadata().map_err(at)?;
    let is_same = fs::symlink_metadata(temporary)
        .is_ok_and(|named| (named.dev(), named.ino()) == (opened.dev(), opened.ino()));
    if !is_same {
        // Its owner has given it the final name since we opened it: hands off.
        return Ok(None);
    }
    if opened.nlink() > 1 {
        // It stands under its final name, too, and must not be emptied there.
        remove_optional(temporary)?;
        return Ok(None);
    }
    if *leftover == Leftover::RemoveOnce && opened.mode() & 0o077 != 0 {
        *leftover = Leftover::Reuse;
        remove_optional(temporary)?;
        return Ok(None);
    }
    file.set_len(0).map_err(at)?;
    Ok(Some(file))
}

/// Says what a new file called `target` would meet.
fn existing(target: &Path) -> Result<Existing> {
    let temporary = temporary_name(target)?;
    let identity = |path: &Path| path.symlink_metadata().ok().map(|m| (m.dev(), m.ino()));
    match (identity(target), identity(&temporary)) {
        (None, _) => Ok(Existing::Refuse),
        // Both names on one file: the last step of `commit` is lacking. What command wrote it is
        // not known, so it is made again.
        (Some(standing), Some(left)) if standing == left => Ok(Existing::Replace),
        _ => Err(exists_already(target)),
    }
}

fn exists_already(path: &Path) -> Error {
    Error::new(ErrorKind::OutputRefused, "exists already")
        .at(Place::file(path.display().to_string()))
        .hint("choose another name, or replace it with --force")
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
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_uncommitted_file_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.txt");
        let mut file = AtomicFile::create(&target).unwrap();
        file.write_all(b"half").unwrap();
        let second = AtomicFile::create(&target).unwrap_err();
        assert!(second.to_string().contains("another process"), "{second}");
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        write_atomically(&target, b"whole").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_new_file_replaces_only_what_an_interrupted_run_left() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.txt");
        let hidden = folder.path().join(".x.txt.partial");
        let mut late = AtomicFile::create_new(&target).unwrap();
        fs::write(&target, "mine").unwrap();
        late.write_all(b"new").unwrap();
        let refused = late.commit().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::OutputRefused);
        assert_eq!(fs::read(&target).unwrap(), b"mine");
        assert!(AtomicFile::create_new(&target).is_err() && !hidden.exists());

        fs::hard_link(&target, &hidden).unwrap();
        let mut again = AtomicFile::create_new(&target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"mine");
        again.write_all(b"new").unwrap();
        again.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert!(!hidden.exists());
    }

    #[test]
    fn what_is_for_the_owner_is_so_from_the_first_byte_on() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("x.txt");
        let hidden = folder.path().join(".x.txt.partial");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        // What stood there and what a killed run left are open to all.
        fs::write(&target, "old").unwrap();
        fs::write(&hidden, "left").unwrap();
        for path in [&target, &hidden] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        let mut opened_before = File::open(&hidden).unwrap();
        let mut file = AtomicFile::create_for(&target, Readers::Owner).unwrap();
        file.write_all(b"signed").unwrap();
        assert_eq!(mode(&hidden), 0o600);
        let mut seen = String::new();
        opened_before.read_to_string(&mut seen).unwrap();
        assert_eq!(seen, "left");
        file.commit().unwrap();
        assert_eq!(mode(&target), 0o600);
        assert_eq!(fs::read(&target).unwrap(), b"signed");
        let other = folder.path().join("y.txt");
        let file = AtomicFile::create_new_for(&other, Readers::Owner).unwrap();
        file.commit().unwrap();
        assert_eq!(mode(&other), 0o600);
    }

    #[test]
    fn a_tree_goes_without_what_its_links_point_to() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(place.path().join("kept")).unwrap();
        fs::write(place.path().join("kept/x"), "mine").unwrap();
        for number in 0..REMOVED_AT_ONCE + 5 {
            fs::write(tree.join("a").join(number.to_string()), "").unwrap();
        }
        std::os::unix::fs::symlink(place.path().join("kept"), tree.join("a/link")).unwrap();
        remove_tree(&tree).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && place.path().join("kept/x").exists());
    }
}

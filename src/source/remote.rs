//! Files at servers: fetched by blocks into a file without a name, as they are needed.
//!
//! What was fetched stays on disk while the file is open, so nothing is fetched twice, and whoever
//! reads it reads as from a file. Every answer must be of the same content (its tag tells).

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::UNIX_EPOCH;

use futures_util::{StreamExt, TryStreamExt};
use rustix::fs::FallocateFlags;

use crate::error::{Error, ErrorKind, Place, Result};
use crate::place::{Network, RangedObject, shown_url};
use crate::publish::{InputStamp, create_spill, remove_optional};

/// What is fetched at least.
const BLOCK: u64 = 256 << 10;
/// Blocks that are fetched beyond the one that is missing: most readers go on.
const AHEAD: u64 = 16;
/// Blocks of one request.
const PART: u64 = 4;
/// Requests at the same time.
const PARTS_AT_ONCE: usize = 8;

/// Opens files at servers.
#[derive(Debug, Clone)]
pub struct Remotes {
    network: Arc<Network>,
    /// Where what was fetched lies.
    folder: PathBuf,
}

impl Remotes {
    /// Opens files by a network; what is fetched waits in `folder`.
    pub fn new(network: Network, folder: PathBuf) -> Self {
        Self {
            network: Arc::new(network),
            folder,
        }
    }

    /// Looks at the file of a URL.
    ///
    /// # Errors
    /// There is none, or the server does not answer or refuses.
    pub fn look(&self, url: &str) -> Result<RemoteFile> {
        let object = self.network.object(url)?;
        let name = object.url();
        let found = self.network.wait(object.read(0..BLOCK, None))?;
        let found = found.ok_or_else(|| {
            Error::new(ErrorKind::InputMissing, "there is nothing of that name")
                .at(Place::file(shown_url(url)))
                .hint("check the URL; folders and patterns can't be searched at servers")
        })?;
        let modified = found
            .modified
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified_ns = modified.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(0));
        Ok(RemoteFile {
            name,
            object,
            network: Arc::clone(&self.network),
            folder: self.folder.clone(),
            bytes: found.total,
            has_ranges: found.has_ranges,
            tag: found.tag,
            modified_ns,
            open: Mutex::default(),
        })
    }
}

/// A file at a server, as it was when it was looked at.
pub struct RemoteFile {
    name: String,
    object: Arc<dyn RangedObject>,
    network: Arc<Network>,
    folder: PathBuf,
    bytes: u64,
    has_ranges: bool,
    tag: Option<String>,
    modified_ns: u64,
    /// What was fetched, while anybody has the file open.
    open: Mutex<Weak<Fetched>>,
}

impl fmt::Debug for RemoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteFile({}, {} bytes)", self.name, self.bytes)
    }
}

impl PartialEq for RemoteFile {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.bytes == other.bytes && self.tag == other.tag
    }
}

impl Eq for RemoteFile {}

impl RemoteFile {
    /// Returns the URL as it may be shown.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what tells the file from a changed one.
    pub fn stamp(&self) -> InputStamp {
        InputStamp {
            path: self.name.clone(),
            found_as: None,
            bytes: self.bytes,
            modified_ns: self.modified_ns,
            tag: self.tag.clone(),
            sha256: None,
        }
    }

    /// Opens the file; all who have it open share what was fetched.
    ///
    /// # Errors
    /// There is no room for what will be fetched.
    pub(super) fn open(self: &Arc<Self>) -> io::Result<Arc<Fetched>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fetched) = open.upgrade() {
            return Ok(fetched);
        }
        let fetched = Arc::new(Fetched {
            remote: Arc::clone(self),
            file: nameless_file(&self.folder)?,
            present: Mutex::new(vec![false; usize_of(self.bytes.div_ceil(BLOCK))]),
        });
        *open = Arc::downgrade(&fetched);
        Ok(fetched)
    }
}

/// Makes a file that is gone with its last handle.
fn nameless_file(folder: &Path) -> io::Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!(".skyprep-{}-{number}.fetched", std::process::id()));
    let file = create_spill(&path).map_err(io::Error::other)?;
    remove_optional(&path).map_err(io::Error::other)?;
    Ok(file)
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A file at a server that is open: its bytes lie on disk, as far as they were needed.
pub(crate) struct Fetched {
    remote: Arc<RemoteFile>,
    file: File,
    /// Blocks that are there.
    present: Mutex<Vec<bool>>,
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fetched({})", self.remote.name)
    }
}

impl Fetched {
    /// Returns the bytes of the whole file.
    pub(super) fn len(&self) -> u64 {
        self.remote.bytes
    }

    /// Sees that the bytes at `at` are on disk, and returns the file that has them.
    ///
    /// # Errors
    /// They can't be fetched, or the disk is full.
    pub(super) fn file_with(&self, at: u64, length: u64) -> io::Result<&File> {
        let end = at.saturating_add(length).min(self.len());
        if at < end {
            self.fetch(std::slice::from_ref(&(at..end)), AHEAD)?;
        }
        Ok(&self.file)
    }

    /// Fetches what is missing of some ranges, and so many blocks behind one that is.
    ///
    /// # Errors
    /// It can't be fetched, or the disk is full.
    pub(super) fn fetch(&self, ranges: &[Range<u64>], ahead: u64) -> io::Result<()> {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let blocks = present.len() as u64;
        let mut wanted: Vec<u64> = Vec::new();
        for range in ranges {
            let (first, end) = (range.start / BLOCK, range.end.div_ceil(BLOCK).min(blocks));
            let is_missing = |block: &u64| !present[usize_of(*block)];
            if !(first..end).any(|block| is_missing(&block)) {
                continue;
            }
            let end = end.saturating_add(ahead).min(blocks);
            wanted.extend((first..end).filter(is_missing));
        }
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.is_empty() {
            return Ok(());
        }
        if !self.remote.has_ranges {
            self.fetch_all()?;
            present.fill(true);
            return Ok(());
        }
        let parts = parts_of(&wanted);
        self.fetch_parts(&parts)?;
        for block in wanted {
            present[usize_of(block)] = true;
        }
        Ok(())
    }

    fn fetch_parts(&self, parts: &[Range<u64>]) -> io::Result<()> {
        let remote = &self.remote;
        let fetch = |part: &Range<u64>| {
            let bytes = part.start * BLOCK..(part.end * BLOCK).min(self.len());
            async move {
                let tag = remote.tag.as_deref();
                let found = remote.object.read(bytes.clone(), tag).await?;
                let found = found.filter(|found| {
                    found.total == remote.bytes
                        && found.bytes.len() as u64 == bytes.end - bytes.start
                });
                let found = found.ok_or_else(|| {
                    Error::new(ErrorKind::Integrity, "was replaced while it was read")
                        .at(Place::file(remote.name.as_str()))
                        .hint("run the command again when nobody writes there")
                })?;
                self.write(&found.bytes, bytes.start)
            }
        };
        let fetches = futures_util::stream::iter(parts.iter().map(fetch));
        let all = fetches.buffer_unordered(PARTS_AT_ONCE).try_collect::<()>();
        remote.network.wait(all).map_err(io::Error::other)
    }

    /// Fetches the whole file from a server that knows no ranges.
    fn fetch_all(&self) -> io::Result<()> {
        let remote = &self.remote;
        let all = async {
            let mut at = 0;
            let replaced = || {
                Error::new(ErrorKind::Integrity, "was replaced while it was read")
                    .at(Place::file(remote.name.as_str()))
                    .hint("run the command again when nobody writes there")
            };
            let stream = remote.object.stream().await?;
            let mut stream = stream.ok_or_else(replaced)?;
            while let Some(bytes) = stream.next().await {
                let bytes = bytes?;
                self.write(&bytes, at)?;
                at += bytes.len() as u64;
            }
            match at == remote.bytes {
                true => Ok(()),
                false => Err(replaced()),
            }
        };
        remote.network.wait(all).map_err(io::Error::other)
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<()> {
        let written = self.file.write_all_at(bytes, at);
        written.map_err(|error| Error::writing(&self.remote.folder, error))
    }

    /// Gives back the room of what lies before `at`, for those who go through a file once.
    pub(super) fn forget_before(&self, at: u64) {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let end = usize_of(at / BLOCK).min(present.len());
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let length = end as u64 * BLOCK;
        if length > 0 && rustix::fs::fallocate(&self.file, flags, 0, length).is_ok() {
            present[..end].fill(false);
        }
    }
}

/// Cuts a sorted list of blocks into parts of blocks that follow each other.
fn parts_of(blocks: &[u64]) -> Vec<Range<u64>> {
    let mut parts: Vec<Range<u64>> = Vec::new();
    for block in blocks {
        match parts.last_mut() {
            Some(part) if part.end == *block && part.end - part.start < PART => part.end += 1,
            _ => parts.push(*block..*block + 1),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_stretches_of_blocks() {
        assert_eq!(parts_of(&[]), []);
        assert_eq!(parts_of(&[3]), std::slice::from_ref(&(3..4)));
        assert_eq!(parts_of(&[0, 1, 2, 3, 4, 7, 8]), [0..4, 4..5, 7..9]);
    }
}

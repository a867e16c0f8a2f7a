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

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use rustix::fs::FallocateFlags;

use crate::error::{Error, ErrorKind, Place, Result};
use crate::place::{Content, Network, RangedObject, replaced, shown_url};
use crate::publish::{InputStamp, create_spill, remove_optional};

/// What is fetched at least.
const BLOCK: u64 = 256 << 10;
/// Blocks that are fetched beyond the one that is missing: most readers go on.
const AHEAD: u64 = 16;
/// Blocks of one request.
const PART: u64 = 4;
/// Requests at the same time.
const PARTS_AT_ONCE: usize = 8;
/// Files that are looked at at the same time.
const LOOKS_AT_ONCE: usize = 16;
/// What is read of a file to look at it.
const HEAD: u64 = 4 << 10;
/// A server that tells a larger size is mistaken.
const MOST_BYTES: u64 = 16 << 40;
/// Fields of a query that are signatures and what belongs to them, besides those that begin with `x-`.
const SIGNATURE_FIELDS: [&str; 18] = [
    "signature",
    "sig",
    "token",
    "expires",
    "awsaccesskeyid",
    "googleaccessid",
    "key-pair-id",
    "policy",
    "se",
    "st",
    "sp",
    "sv",
    "sr",
    "spr",
    "ske",
    "skt",
    "skoid",
    "sktid",
];

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

    /// Looks at the files of URLs, some at the same time; the results are in the order of the URLs.
    pub fn look(&self, urls: &[&str]) -> Vec<Result<RemoteFile>> {
        let looks = futures_util::stream::iter(urls.iter().map(|url| self.look_at(url)));
        self.network.wait(looks.buffered(LOOKS_AT_ONCE).collect())
    }

    async fn look_at(&self, url: &str) -> Result<RemoteFile> {
        let object = self.network.object(url)?;
        let name = object.url();
        let found = object.read(0..HEAD, None).await?;
        let found = found.ok_or_else(|| {
            Error::new(ErrorKind::InputMissing, "there is nothing of that name")
                .at(Place::file(shown_url(url)))
                .hint("check the URL; folders and patterns can't be searched at servers")
        })?;
        if found.total > MOST_BYTES {
            let message = format!("the server tells a size of {} bytes", found.total);
            return Err(Error::new(ErrorKind::ServerRefused, message)
                .at(Place::file(name))
                .hint("no file is that large; fetch it by other means"));
        }
        if found.content.is_unknown() {
            tracing::warn!(
                "{name}: the server tells neither tag nor time, so a changed file can't be told from an \
                 unchanged one"
            );
        }
        Ok(RemoteFile {
            stamped: stamped_name(&name, url),
            origin: Arc::new(Origin {
                name,
                object,
                network: Arc::clone(&self.network),
                folder: self.folder.clone(),
                bytes: found.total,
                has_ranges: found.has_ranges,
                content: found.content,
            }),
            head: found.bytes,
            open: Mutex::default(),
            kept: Mutex::default(),
        })
    }
}

/// Returns what a URL is called in records: without signatures, which are renewed, but with a digest of
/// the rest of its query, which tells files apart.
fn stamped_name(shown: &str, url: &str) -> String {
    let url = url.split_once('#').map_or(url, |(before, _)| before);
    let name = with_plain_letters(shown);
    let Some((_, query)) = url.split_once('?') else {
        return name;
    };
    let is_signature = |field: &str| {
        let field = field.to_ascii_lowercase();
        let name = field
            .split_once('=')
            .map_or(field.as_str(), |(name, _)| name);
        name.starts_with("x-") || SIGNATURE_FIELDS.contains(&name)
    };
    let rest: Vec<&str> = query
        .split('&')
        .filter(|field| !is_signature(field))
        .collect();
    match rest.is_empty() {
        true => name,
        false => {
            let digest = xxhash_rust::xxh3::xxh3_64(rest.join("&").as_bytes());
            format!("{name}?query={digest:016x}")
        }
    }
}

/// Writes letters, digits and the like as they are, which a URL may also have escaped.
fn with_plain_letters(url: &str) -> String {
    let mut plain = String::with_capacity(url.len());
    let mut rest = url;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        plain.push_str(before);
        let byte = escape
            .get(1..3)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                plain.push(char::from(byte));
                rest = &escape[3..];
            }
            _ => {
                plain.push('%');
                rest = &escape[1..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

/// A file at a server, as it was when it was looked at.
pub struct RemoteFile {
    /// The URL as records have it.
    stamped: String,
    origin: Arc<Origin>,
    /// The first bytes, unless the server knows no ranges.
    head: Bytes,
    /// What was fetched, while anybody has the file open.
    open: Mutex<Weak<Fetched>>,
    /// The same of a server without ranges, which would send all once more.
    kept: Mutex<Option<Arc<Fetched>>>,
}

impl fmt::Debug for RemoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RemoteFile({}, {} bytes)",
            self.origin.name, self.origin.bytes
        )
    }
}

impl PartialEq for RemoteFile {
    fn eq(&self, other: &Self) -> bool {
        self.stamped == other.stamped && self.origin.content == other.origin.content
    }
}

impl Eq for RemoteFile {}

impl RemoteFile {
    /// Returns the URL as it may be shown.
    pub fn name(&self) -> &str {
        &self.origin.name
    }

    /// Returns what tells the file from a changed one.
    pub fn stamp(&self) -> InputStamp {
        let modified = self.origin.content.modified_at();
        let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        InputStamp {
            path: self.stamped.clone(),
            found_as: None,
            bytes: self.origin.bytes,
            modified_ns: modified.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(0)),
            tag: self.origin.content.tag.clone(),
            sha256: None,
        }
    }

    /// Returns the first bytes, some thousand; nothing if they were not fetched yet.
    pub(super) fn head(&self) -> Option<&[u8]> {
        (self.origin.has_ranges || self.origin.bytes == 0).then_some(&self.head)
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
            remote: Arc::clone(&self.origin),
            file: nameless_file(&self.origin.folder)?,
            present: Mutex::new(vec![false; usize_of(self.origin.bytes.div_ceil(BLOCK))]),
        });
        *open = Arc::downgrade(&fetched);
        if !self.origin.has_ranges {
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&fetched));
        }
        Ok(fetched)
    }
}

/// Where a file comes from, and what it was when it was looked at.
struct Origin {
    /// The URL as it may be shown.
    name: String,
    object: Arc<dyn RangedObject>,
    network: Arc<Network>,
    folder: PathBuf,
    bytes: u64,
    has_ranges: bool,
    content: Content,
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
    remote: Arc<Origin>,
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
        if !self.fetch_parts(&parts)? {
            self.fetch_all()?;
            present.fill(true);
            return Ok(());
        }
        for block in wanted {
            present[usize_of(block)] = true;
        }
        Ok(())
    }

    /// Fetches parts; false if the server sends all of the file after all.
    fn fetch_parts(&self, parts: &[Range<u64>]) -> io::Result<bool> {
        let remote = &self.remote;
        let fetch = |part: &Range<u64>| {
            let mut left = part.start * BLOCK..(part.end * BLOCK).min(self.len());
            async move {
                // A server may send less than it was asked for.
                while !left.is_empty() {
                    let found = remote
                        .object
                        .read(left.clone(), Some(&remote.content))
                        .await?;
                    let found = found.ok_or_else(|| self.replaced())?;
                    let length = found.bytes.len() as u64;
                    if !found.has_ranges && found.total == remote.bytes {
                        return Ok(false);
                    }
                    if found.total != remote.bytes || length > left.end - left.start {
                        return Err(self.replaced());
                    }
                    if length == 0 {
                        let message = "the server sends no bytes of a range that there is";
                        return Err(Error::new(ErrorKind::Network, message)
                            .at(Place::file(remote.name.as_str())));
                    }
                    self.write(&found.bytes, left.start)?;
                    left.start += length;
                }
                Ok(true)
            }
        };
        let fetches = futures_util::stream::iter(parts.iter().map(fetch));
        let all = fetches.buffer_unordered(PARTS_AT_ONCE);
        let all = all.try_fold(true, |all, one| std::future::ready(Ok(all && one)));
        remote.network.wait(all).map_err(io::Error::other)
    }

    /// Fetches the whole file from a server that knows no ranges.
    fn fetch_all(&self) -> io::Result<()> {
        let remote = &self.remote;
        let all = async {
            let mut at = 0;
            let stream = remote.object.stream(&remote.content).await?;
            let mut stream = stream.ok_or_else(|| self.replaced())?;
            while let Some(bytes) = stream.next().await {
                let bytes = bytes?;
                self.write(&bytes, at)?;
                at += bytes.len() as u64;
            }
            match at == remote.bytes {
                true => Ok(()),
                false => Err(self.replaced()),
            }
        };
        remote.network.wait(all).map_err(io::Error::other)
    }

    fn replaced(&self) -> Error {
        replaced(&self.remote.name)
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
    fn names_in_records_tell_files_apart_but_not_signatures() {
        let name = |url: &str| {
            let shown = url.split(['?', '#']).next().unwrap();
            stamped_name(shown, url)
        };
        assert_eq!(name("https://h/a%20b/%63.txt"), "https://h/a%20b/c.txt");
        assert_eq!(name("https://h/x#y"), "https://h/x");
        let signed = "https://h/x?X-Amz-Signature=1&X-Amz-Date=2&Expires=3&sig=4";
        assert_eq!(name(signed), "https://h/x");
        let one = name("https://h/get?file=1&sig=8");
        assert!(one.starts_with("https://h/get?query="), "{one}");
        assert_eq!(one, name("https://h/get?sig=9&file=1"));
        assert_ne!(one, name("https://h/get?file=2"));
        assert_eq!(name("https://h/%"), "https://h/%");
    }

    #[test]
    fn parts_are_stretches_of_blocks() {
        assert_eq!(parts_of(&[]), []);
        assert_eq!(parts_of(&[3]), std::slice::from_ref(&(3..4)));
        assert_eq!(parts_of(&[0, 1, 2, 3, 4, 7, 8]), [0..4, 4..5, 7..9]);
    }
}

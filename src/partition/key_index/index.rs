//! The index as it is looked up: a compact file, mapped into memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use xxhash_rust::xxh3::Xxh3;

use super::build::{DuplicateRule, build};
use super::key::{Canonical, Key, KeyPlace};
use super::layout::{Checksums, HEAD_BYTES, KeyKind, Layout, TRAILER_BYTES};
use super::scan::IndexLimits;
use super::source::{Found, IndexSource};
use super::view::View;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::publish::{create_spill, remove_optional};

/// Bytes of a read while checksums are compared.
const READ_BYTES: usize = 256 << 10;

/// How an index is opened.
#[derive(Debug, Clone)]
pub struct IndexOptions {
    /// Where a compact file is made if the source is not one; further files beside it have longer
    /// names. None of them is left behind, however the process ends, but for a kill in the moment
    /// in which it is built.
    pub scratch: PathBuf,
    /// What a key with two places means. A compact file has none.
    pub duplicates: DuplicateRule,
    /// What to keep within.
    pub limits: IndexLimits,
}

/// Where the rows of a director are, by key.
///
/// The system reads the file as it is needed, and threads may look up at the same time.
#[derive(Debug)]
pub struct KeyIndex {
    map: Mmap,
    pub(super) file: IndexFile,
}

/// A compact file whose head, directory and trailer have been found good.
#[derive(Debug, Clone)]
pub(super) struct IndexFile {
    pub(super) file: Arc<File>,
    pub(super) path: PathBuf,
    pub(super) layout: Layout,
    checksums: Checksums,
}

impl KeyIndex {
    /// Opens an index; what is not a compact file is made into one.
    ///
    /// # Errors
    /// There is no index, it is damaged, a row of it is refused, or a key has two places.
    pub fn open(source: &IndexSource, options: &IndexOptions) -> Result<Self> {
        let found = Found::of(source)?;
        if let Found::Compact(path) = &found {
            return Self::map(IndexFile::open(path, path)?);
        }
        let scratch = &options.scratch;
        let file = create_spill(scratch)?;
        let built = build(
            &found,
            &source.dialect,
            (file, scratch),
            options.duplicates,
            &options.limits,
        );
        let opened = built.and_then(|_| IndexFile::open(scratch, Path::new(&found.name())));
        // Open it lives on without its name.
        remove_optional(scratch)?;
        Self::map(opened?)
    }

    fn map(file: IndexFile) -> Result<Self> {
        let map = map(&file.file).map_err(|error| Error::reading(&file.path, error))?;
        Ok(Self { map, file })
    }

    /// Asks the system to read the whole file ahead: sensible where it fits into memory, and lies on
    /// a disk that is slow to read here and there.
    pub fn read_ahead(&self) {
        // Only advice: without it the same is found, only later.
        let _ = self.map.advise(memmap2::Advice::WillNeed);
    }

    /// Returns the number of keys.
    pub fn len(&self) -> u64 {
        self.file.layout.entries
    }

    /// Says whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of the compact file.
    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// Returns the file that the index came from.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    #[inline]
    fn view(&self) -> View<'_> {
        let layout = self.file.layout;
        let part = |start: u64, end: u64| {
            let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
            let bytes = range.and_then(|(start, end)| self.map.get(start..end));
            bytes.unwrap_or_default()
        };
        let (keys, directory) = (layout.keys_at(), layout.directory_at());
        View {
            layout,
            bucket: 0,
            directory: part(directory, directory + layout.directory_bytes()),
            entry: 0,
            entries: part(HEAD_BYTES, keys),
            key: 0,
            keys: part(keys, directory),
        }
    }

    /// Looks a key up.
    #[inline]
    pub fn find(&self, key: Key<'_>) -> Option<KeyPlace> {
        self.view().find(Canonical::of(key))
    }

    /// Looks many keys up, which takes less time for each than one by one; `places` then holds
    /// one for each key.
    pub fn find_many(&self, keys: &[Option<Key<'_>>], places: &mut Vec<Option<KeyPlace>>) {
        let view = self.view();
        places.clear();
        places.reserve(keys.len());
        for keys in keys.chunks(AT_ONCE) {
            let mut wanted = [None; AT_ONCE];
            let mut entries = [&[][..]; AT_ONCE];
            // First all hashes and directory entries, then all entries: memory answers many
            // questions at once if they do not wait for one another.
            for (wanted, key) in wanted.iter_mut().zip(keys) {
                let key = key.map(Canonical::of);
                let key = key.filter(|key| View::may_hold(self.file.layout.kind, *key));
                *wanted = key.map(|key| (key, key.hash()));
            }
            for (entries, wanted) in entries.iter_mut().zip(&wanted) {
                let found = wanted.and_then(|(_, hash)| view.entries_of(hash));
                *entries = found.unwrap_or_default();
            }
            // A bucket lies in up to three cache lines.
            let touched = entries
                .iter()
                .flat_map(|entries| [entries.first(), entries.last()]);
            let sum = touched.flatten().fold(0u8, |sum, byte| sum ^ byte);
            std::hint::black_box(sum);
            let found = wanted.iter().zip(entries).take(keys.len());
            places.extend(found.map(|(wanted, entries)| {
                let (key, hash) = (*wanted)?;
                view.find_among(entries, hash, key)
            }));
        }
    }

    /// Compares all of the file with its checksums; opening looks at the directory only.
    ///
    /// # Errors
    /// The file is damaged, or can't be read.
    pub fn verify(&self, limits: &IndexLimits) -> Result<()> {
        let _memory = limits.gate.charge(READ_BYTES as u64);
        let layout = &self.file.layout;
        let checksum = self
            .file
            .checksum(HEAD_BYTES, layout.directory_at(), || limits.cancel.check())?;
        match checksum == self.file.checksums.entries {
            true => Ok(()),
            false => Err(damaged(
                &self.file.path,
                "the checksum of the entries is wrong",
            )),
        }
    }

    /// Says whether keys are whole numbers.
    pub fn has_numbers(&self) -> bool {
        self.file.layout.kind != KeyKind::Text
    }
}

/// Keys that are looked up side by side.
const AT_ONCE: usize = 32;

/// Maps a file.
#[allow(
    unsafe_code,
    reason = "a map has no safe form. Bytes that change while they are borrowed would be unsound: \
              the file is either our own scratch file, without a name by the time it is looked up, or \
              one that was given its name when it was complete and is replaced by renaming, never \
              written again. Nothing that is read from it is trusted: all places are looked at \
              with `get`, and no bytes are taken for text without being checked. A file that is cut \
              short by others ends the process, as reading beyond the end must."
)]
fn map(file: &File) -> std::io::Result<Mmap> {
    unsafe { Mmap::map(file) }
}

impl IndexFile {
    /// Opens the compact file `path`, called `name` in messages.
    fn open(path: &Path, name: &Path) -> Result<Self> {
        let reading = |error| Error::reading(name, error);
        let file = File::open(path).map_err(reading)?;
        let bytes = file.metadata().map_err(reading)?.len();
        let mut head = [0; HEAD_BYTES as usize];
        let mut trailer = [0; TRAILER_BYTES];
        let at = bytes.checked_sub(TRAILER_BYTES as u64);
        let Some(at) = at.filter(|at| *at >= HEAD_BYTES) else {
            return Err(damaged(name, "the file ends early"));
        };
        file.read_exact_at(&mut head, 0).map_err(reading)?;
        file.read_exact_at(&mut trailer, at).map_err(reading)?;
        let (layout, checksums) =
            Layout::decode(&head, &trailer, bytes).map_err(|what| damaged(name, what))?;
        let file = Self {
            file: Arc::new(file),
            path: name.to_owned(),
            layout,
            checksums,
        };
        // Read, not mapped: pages that are mapped count as memory of the process.
        let start = layout.directory_at();
        let checksum = file.checksum(start, start + layout.directory_bytes(), || Ok(()))?;
        if checksum != checksums.directory {
            return Err(damaged(name, "the checksum of the directory is wrong"));
        }
        Ok(file)
    }

    fn checksum(&self, start: u64, end: u64, check: impl Fn() -> Result<()>) -> Result<u64> {
        let mut checksum = Xxh3::new();
        let mut buffer = vec![0; READ_BYTES];
        let mut at = start;
        while at < end {
            check()?;
            let bytes = usize::try_from(end - at)
                .unwrap_or(usize::MAX)
                .min(READ_BYTES);
            let buffer = buffer.get_mut(..bytes).unwrap_or_default();
            self.read(buffer, at)?;
            checksum.update(buffer);
            at += bytes as u64;
        }
        Ok(checksum.digest())
    }

    /// Fills `bytes` with what stands at `at`.
    pub(super) fn read(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        self.file
            .read_exact_at(bytes, at)
            .map_err(|error| Error::reading(&self.path, error))
    }
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("corrupt key index: {what}"))
        .at(Place::file(path.display().to_string()))
        .hint("make the index again, by partitioning the director")
}

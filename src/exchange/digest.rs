//! What is known of an output file once it is written: rows, bytes and digests.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3;

use super::chunk_names::chunk_path;
use crate::error::Error;
use crate::publish::open_spill;
use crate::source::each_block;

/// Which digests of a file are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Digests {
    /// Both, for files that a manifest names.
    #[default]
    Both,
    /// XXH3 alone: SHA-256 takes a good part of the time in which chunk files are written, and who
    /// stages them makes it then.
    Xxh3,
}

/// Rows, bytes and digests of a file, kept up to date while it grows.
#[derive(Clone)]
pub struct FileDigest {
    rows: u64,
    bytes: u64,
    xxh3: Xxh3,
    sha256: Option<Sha256>,
}

impl Default for FileDigest {
    fn default() -> Self {
        Self::new(Digests::Both)
    }
}

/// What a journal keeps of a growing file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileState {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) xxh3: HexDigest<16>,
}

impl FileDigest {
    /// Begins the digests of a file.
    pub fn new(digests: Digests) -> Self {
        Self {
            rows: 0,
            bytes: 0,
            xxh3: Xxh3::new(),
            sha256: (digests == Digests::Both).then(Sha256::new),
        }
    }

    /// Returns what a journal keeps.
    pub(super) fn state(&self) -> FileState {
        FileState {
            rows: self.rows,
            bytes: self.bytes,
            xxh3: HexDigest(self.xxh3.digest128().to_be_bytes()),
        }
    }

    /// Brings a staged file back to the state that a journal tells of and digests it; nothing if
    /// the file is not what the journal says.
    ///
    /// # Errors
    /// The file can't be read or cut.
    pub(super) fn restore(
        path: &Path,
        state: &FileState,
        digests: Digests,
    ) -> crate::error::Result<Option<Self>> {
        let Some(file) = open_spill(path)? else {
            return Ok((state.bytes == 0).then(|| Self::new(digests)));
        };
        let mut digest = Self {
            rows: state.rows,
            ..Self::new(digests)
        };
        let mut left = (&file).take(state.bytes);
        let mut buffer = vec![0; 128 << 10];
        loop {
            let read = left
                .read(&mut buffer)
                .map_err(|error| Error::reading(path, error))?;
            if read == 0 {
                break;
            }
            digest.update(&buffer[..read]);
        }
        if digest.state() != *state {
            return Ok(None);
        }
        file.set_len(state.bytes)
            .map_err(|error| Error::writing(path, error))?;
        Ok(Some(digest))
    }

    /// Bytes of memory that one digest in progress takes, roughly.
    pub const MEMORY: u64 = 1024;

    /// Counts rows that were written.
    pub fn add_rows(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Counts and digests bytes that were written.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.xxh3.update(bytes);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
    }

    /// Counts bytes that nobody wants a digest of.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
    }

    /// Digests the whole staged file `path`, which has so many rows.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn of_file(path: &Path, rows: u64) -> crate::error::Result<Self> {
        let mut digest = Self {
            rows,
            ..Self::default()
        };
        each_block(path, |bytes| {
            digest.update(bytes);
            Ok(())
        })?;
        Ok(digest)
    }

    /// Returns the rows counted so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the bytes counted so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Finishes the digests of the file `path`, relative to the output folder.
    pub fn finish(
        self,
        path: impl AsRef<str>,
        chunk: Option<i32>,
        is_overlap: bool,
    ) -> FileSummary {
        self.finish_named(FileName::of(path.as_ref(), chunk, is_overlap))
    }

    /// Finishes the digests of a chunk file whose name follows from `stem` (see
    /// [`ChunkNames`](super::ChunkNames)), which all files of a folder share.
    pub fn finish_chunk(self, stem: &Arc<str>, chunk: i32, is_overlap: bool) -> FileSummary {
        self.finish_named(FileName {
            place: Arc::clone(stem),
            chunk,
            is_overlap,
            naming: Naming::Chunk,
        })
    }

    fn finish_named(self, name: FileName) -> FileSummary {
        FileSummary {
            name,
            rows: self.rows,
            bytes: self.bytes,
            xxh3: HexDigest(self.xxh3.digest128().to_be_bytes()),
            sha256: self
                .sha256
                .map(|digest| HexDigest(digest.finalize().into())),
        }
    }
}

impl fmt::Debug for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileDigest({} rows, {} bytes)", self.rows, self.bytes)
    }
}

/// A digest of `N` bytes, at most 32, shown and stored in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HexDigest<const N: usize>(pub [u8; N]);

impl<const N: usize> HexDigest<N> {
    fn with_text<T>(&self, use_text: impl FnOnce(&str) -> T) -> T {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0_u8; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        use_text(std::str::from_utf8(&text[..(N * 2).min(64)]).unwrap_or_default())
    }

    fn from_text(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != N * 2 {
            return None;
        }
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0; N];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        Some(Self(bytes))
    }
}

impl<const N: usize> fmt::Display for HexDigest<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

impl<const N: usize> fmt::Debug for HexDigest<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Serialize for HexDigest<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

impl<'de, const N: usize> Deserialize<'de> for HexDigest<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text<const N: usize>;
        impl<const N: usize> Visitor<'_> for Text<N> {
            type Value = HexDigest<N>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} hexadecimal digits in lower case", N * 2)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                HexDigest::from_text(text)
                    .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A finished output file.
///
/// A run may have hundreds of thousands, all of which stay in memory until they are recorded, so
/// every byte here counts: 96 in all, and nothing on the heap for a chunk file but the
/// start of its path, which all files of a folder share.
#[derive(Clone, PartialEq, Eq)]
pub struct FileSummary {
    name: FileName,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// XXH3-128.
    pub xxh3: HexDigest<16>,
    /// SHA-256, where it was made.
    pub sha256: Option<HexDigest<32>>,
}

/// Where a file lies; two of them are equal if, and only if, their paths and chunks are.
#[derive(Clone, PartialEq, Eq)]
struct FileName {
    /// For a chunk's file what comes before `_` and the number; the whole path of any other.
    place: Arc<str>,
    /// Means nothing for a file without a chunk.
    chunk: i32,
    is_overlap: bool,
    naming: Naming,
}

/// How the path follows from the parts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// From stem, chunk and overlap.
    Chunk,
    /// The path is given, and belongs to a chunk.
    OwnOfChunk,
    /// The path is given.
    Own,
}

impl FileName {
    fn of(path: &str, chunk: Option<i32>, is_overlap: bool) -> Self {
        if let Some(chunk) = chunk {
            let end = chunk_path("", chunk, is_overlap);
            if let Some(stem) = path.strip_suffix(end.as_str()) {
                return Self {
                    place: Arc::from(stem),
                    chunk,
                    is_overlap,
                    naming: Naming::Chunk,
                };
            }
        }
        Self {
            place: Arc::from(path),
            chunk: chunk.unwrap_or(0),
            is_overlap,
            naming: chunk.map_or(Naming::Own, |_| Naming::OwnOfChunk),
        }
    }

    fn path(&self) -> Cow<'_, str> {
        if self.naming == Naming::Chunk {
            Cow::Owned(chunk_path(&self.place, self.chunk, self.is_overlap))
        } else {
            Cow::Borrowed(&self.place)
        }
    }
}

impl FileSummary {
    /// Returns the path relative to the output folder, with `/`.
    pub fn path(&self) -> Cow<'_, str> {
        self.name.path()
    }

    /// Returns the same file as one of a chunk, or of none.
    #[must_use]
    pub fn of_chunk(&self, chunk: Option<i32>, is_overlap: bool) -> Self {
        Self {
            name: FileName::of(&self.path(), chunk, is_overlap),
            ..self.clone()
        }
    }

    /// Returns the same file under another path.
    #[must_use]
    pub fn renamed(&self, path: &str) -> Self {
        Self {
            name: FileName::of(path, self.chunk(), self.is_overlap()),
            ..self.clone()
        }
    }

    /// Returns the folder of the file relative to the output folder: empty or ended by `/`.
    pub fn folder(&self) -> &str {
        let place = &*self.name.place;
        &place[..place.rfind('/').map_or(0, |slash| slash + 1)]
    }

    /// Returns the chunk, for partitioned tables.
    pub fn chunk(&self) -> Option<i32> {
        (self.name.naming != Naming::Own).then_some(self.name.chunk)
    }

    /// Says whether the file holds overlap rows.
    pub fn is_overlap(&self) -> bool {
        self.name.is_overlap
    }

    /// Says whether both hold the same rows, as far as digests tell.
    pub fn has_same_content(&self, other: &Self) -> bool {
        (self.rows, self.bytes, self.xxh3) == (other.rows, other.bytes, other.xxh3)
    }

    /// Compares files by where they lie: equal for the same path, else in some fixed order.
    ///
    /// This makes no text of the paths, so that many files can be sorted.
    pub fn cmp_place(&self, other: &Self) -> std::cmp::Ordering {
        let derived = |name: &FileName| {
            (name.naming == Naming::Chunk).then_some((name.chunk, name.is_overlap))
        };
        // The same folder is nearly always the same text in memory.
        let places = if Arc::ptr_eq(&self.name.place, &other.name.place) {
            std::cmp::Ordering::Equal
        } else {
            self.name.place.cmp(&other.name.place)
        };
        places.then_with(|| derived(&self.name).cmp(&derived(&other.name)))
    }
}

impl fmt::Debug for FileSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "FileSummary({}, {} rows, {} bytes)",
            self.path(),
            self.rows,
            self.bytes
        )
    }
}

/// A summary as JSON files hold it.
#[derive(Serialize, Deserialize)]
struct WrittenSummary<'a> {
    path: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chunk: Option<i32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_overlap: bool,
    rows: u64,
    bytes: u64,
    xxh3: HexDigest<16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<HexDigest<32>>,
}

impl Serialize for FileSummary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = WrittenSummary {
            path: self.path(),
            chunk: self.chunk(),
            is_overlap: self.is_overlap(),
            rows: self.rows,
            bytes: self.bytes,
            xxh3: self.xxh3,
            sha256: self.sha256,
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FileSummary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = WrittenSummary::deserialize(deserializer)?;
        Ok(Self {
            name: FileName::of(&written.path, written.chunk, written.is_overlap),
            rows: written.rows,
            bytes: written.bytes,
            xxh3: written.xxh3,
            sha256: written.sha256,
        })
    }
}

/// Reads a list of summaries; neighbours share the name of their folder.
///
/// # Errors
/// The list can't be read.
pub fn deserialize_summaries<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<FileSummary>, D::Error> {
    struct List;
    impl<'de> Visitor<'de> for List {
        type Value = Vec<FileSummary>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of files")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut files: Vec<FileSummary> = Vec::new();
            while let Some(mut file) = list.next_element::<FileSummary>()? {
                if let Some(last) = files.last().filter(|l| l.name.place == file.name.place) {
                    file.name.place = Arc::clone(&last.name.place);
                }
                files.push(file);
            }
            files.shrink_to_fit();
            Ok(files)
        }
    }
    deserializer.deserialize_seq(List)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_nothing_are_the_published_ones() {
        let summary = FileDigest::default().finish("x", None, false);
        assert_eq!(summary.xxh3.to_string(), "99aa06d3014798d86001c324468d497f");
        assert_eq!(
            summary.sha256.unwrap().to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn a_summary_is_small_and_survives_json() {
        assert!(size_of::<FileSummary>() <= 96);
        let cases = [
            ("a/b/chunk_7.txt", Some(7), false),
            ("a/b/chunk_7_overlap.txt", Some(7), true),
            ("chunk_007.txt", Some(7), false),
            ("000/chunk_8.txt", Some(7), false),
            ("node_00001/part_7.txt", Some(7), false),
            ("chunk_7.txt", None, false),
            ("a/T.txt", None, false),
        ];
        for (path, chunk, is_overlap) in cases {
            let file = FileDigest::default().finish(path, chunk, is_overlap);
            assert_eq!((&*file.path(), file.chunk()), (path, chunk));
            assert_eq!(file.is_overlap(), is_overlap);
            let folder = &path[..path.rfind('/').map_or(0, |slash| slash + 1)];
            assert_eq!(file.folder(), folder);
            let text = serde_json::to_string(&file).unwrap();
            assert!(text.contains(&format!("\"path\":\"{path}\"")), "{text}");
            assert_eq!(text.contains("chunk\":"), chunk.is_some(), "{text}");
            assert_eq!(serde_json::from_str::<FileSummary>(&text).unwrap(), file);
        }
        let derived = FileDigest::default().finish_chunk(&Arc::from("a/b/chunk"), 7, true);
        assert_eq!(
            derived,
            FileDigest::default().finish(cases[1].0, Some(7), true)
        );
    }

    #[test]
    fn files_read_back_share_their_folder() {
        let prefix: Arc<str> = Arc::from("db/T/chunk");
        let files: Vec<_> = (0..3)
            .map(|chunk| FileDigest::default().finish_chunk(&prefix, chunk, false))
            .collect();
        let text = serde_json::to_string(&files).unwrap();
        let read = deserialize_summaries(&mut serde_json::Deserializer::from_str(&text)).unwrap();
        assert_eq!(read, files);
        assert!(Arc::ptr_eq(&read[0].name.place, &read[2].name.place));
        assert!(HexDigest::<2>::from_text("0aFF").is_none());
    }
}

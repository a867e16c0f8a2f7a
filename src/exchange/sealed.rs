//! Sealed exchange files: what the map tasks of a job hand on to its reduce tasks.
//!
//! A task writes one such file, whatever the number of tables and chunks. Each table has a *section*:
//! its rows sorted by (file, stretch of the inputs, input order), and behind them one entry for each
//! file that has rows. So a reduce task finds by a few small reads where its files lie, and reads one
//! contiguous range.
//!
//! ```text
//! header     as that of every exchange file
//! section    segments | entries: file u32, rows u64, offset u64
//! section ...
//! directory  JSON: where the sections lie and what they hold
//! trailer    offset and bytes of the directory, its XXH3-64, magic
//! ```
//! Numbers are little-endian. A director's keys and the rows of tables that are not partitioned have
//! sections of file 0 alone.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::chunk_rows::ChunkRows;
use super::exchange_file::{HEADER, header};
use super::grouping::Groups;
use super::memory_runs::MemoryRuns;
use super::packet::Packet;
use super::segments::{RunReader, SegmentFile, SegmentHeader};
use crate::error::{Error, ErrorKind, Place, Result};

const SEAL: &[u8; 8] = b"SKYPSEAL";
const TRAILER: usize = 8 + 8 + 8 + 8;
const ENTRY: usize = 4 + 8 + 8;
/// Entries that are read at a time.
const ENTRIES_AT_ONCE: usize = 4 << 10;
/// A directory of more bytes than this is damaged: it has a line for each table.
const MOST_DIRECTORY: u64 = 64 << 20;

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SectionContent {
    /// Rows of a partitioned table: two files for each chunk.
    Chunks,
    /// Keys of a director with their places, as text.
    Keys,
    /// Rows of a table that is not partitioned.
    Rows,
}

/// One section of a sealed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Name of the table.
    pub table: String,
    /// What it holds.
    pub content: SectionContent,
    /// Rows in all, overlap rows included.
    pub rows: u64,
    /// Those of them that are overlap rows.
    pub overlap_rows: u64,
    /// First segment.
    start: u64,
    /// Behind the last segment; entries begin here.
    end: u64,
    /// Files that have rows.
    files: u64,
    /// XXH3-64 of the entries.
    entries_digest: u64,
}

/// What is known of a file in a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    file: u32,
    rows: u64,
    offset: u64,
}

impl Entry {
    fn to_bytes(self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..4].copy_from_slice(&self.file.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.rows.to_le_bytes());
        bytes[12..].copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; ENTRY]) -> Self {
        let mut file = [0; 4];
        file.copy_from_slice(&bytes[..4]);
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(number)
        };
        Self {
            file: u32::from_le_bytes(file),
            rows: number(4),
            offset: number(12),
        }
    }
}

/// A sealed file being written, section by section.
#[derive(Debug)]
pub struct SealedWriter {
    segments: SegmentFile,
    sections: Vec<Section>,
    open: Open,
}

/// The section being written.
#[derive(Debug, Default)]
struct Open {
    start: u64,
    entries: Vec<Entry>,
}

impl Open {
    fn note(&mut self, header: &SegmentHeader, offset: u64) {
        let rows = u64::from(header.rows);
        match self.entries.last_mut() {
            Some(last) if last.file == header.file => last.rows += rows,
            _ => self.entries.push(Entry {
                file: header.file,
                rows,
                offset,
            }),
        }
    }
}

impl SealedWriter {
    /// Starts a file at `path`; `configuration` tells what its rows are made by.
    ///
    /// # Errors
    /// The place may not be written.
    pub fn create(path: &Path, configuration: [u8; 16]) -> Result<Self> {
        let mut segments = SegmentFile::create(path)?;
        segments.append(&header(configuration))?;
        Ok(Self {
            open: Open {
                start: segments.end,
                entries: Vec::new(),
            },
            segments,
            sections: Vec::new(),
        })
    }

    /// Appends the rows of `packets`, sorted by `groups`, to the open section.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn append_groups(
        &mut self,
        rows: &ChunkRows,
        packets: &[Packet],
        groups: &Groups,
        block: usize,
    ) -> Result<()> {
        let Self { segments, open, .. } = self;
        let note = |header: &SegmentHeader, offset| open.note(header, offset);
        segments.append_groups(rows, packets, groups, block, note)?;
        Ok(())
    }

    /// Appends what runs in memory hold to the open section.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn append_runs(&mut self, runs: &MemoryRuns) -> Result<()> {
        let Self { segments, open, .. } = self;
        runs.write_to(segments, |header, _, offset| open.note(header, offset))
    }

    /// Appends the segment that a reader stands at to the open section; files must come in order.
    ///
    /// # Errors
    /// The segment is damaged, or the file can't be written.
    pub(super) fn append_copy(
        &mut self,
        header: &SegmentHeader,
        reader: &mut RunReader<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        self.open
            .note(header, self.segments.end + buffer.len() as u64);
        let segments = &mut self.segments;
        reader.copy_whole(header, &mut |part| {
            buffer.extend_from_slice(part);
            match buffer.len() >= buffer.capacity() / 2 {
                true => flush(segments, buffer),
                false => Ok(()),
            }
        })
    }

    /// Writes what waits in the buffer of [`Self::append_copy`].
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn flush(&mut self, buffer: &mut Vec<u8>) -> Result<()> {
        flush(&mut self.segments, buffer)
    }

    /// Ends the open section.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn end_section(&mut self, table: &str, content: SectionContent) -> Result<()> {
        let entries = std::mem::take(&mut self.open.entries);
        let end = self.segments.end;
        let mut bytes = Vec::with_capacity(entries.len() * ENTRY);
        for entry in &entries {
            bytes.extend_from_slice(&entry.to_bytes());
        }
        let is_overlap = |entry: &&Entry| content == SectionContent::Chunks && entry.file % 2 == 1;
        let overlaps = entries.iter().filter(is_overlap);
        self.sections.push(Section {
            table: table.to_owned(),
            content,
            rows: entries.iter().map(|entry| entry.rows).sum(),
            overlap_rows: overlaps.map(|entry| entry.rows).sum(),
            start: self.open.start,
            end,
            files: entries.len() as u64,
            entries_digest: xxh3_64(&bytes),
        });
        self.segments.append(&bytes)?;
        self.open.start = self.segments.end;
        Ok(())
    }

    /// Writes the directory and makes the file last; returns its sections and its bytes.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn finish(mut self) -> Result<(Vec<Section>, u64)> {
        let directory = serde_json::to_vec(&self.sections)
            .map_err(|error| Error::writing(&self.segments.path, error.into()))?;
        let mut bytes = directory.clone();
        bytes.extend_from_slice(&self.segments.end.to_le_bytes());
        bytes.extend_from_slice(&(directory.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&xxh3_64(&directory).to_le_bytes());
        bytes.extend_from_slice(SEAL);
        self.segments.append(&bytes)?;
        let SegmentFile { file, path, end } = &self.segments;
        file.sync_all()
            .map_err(|error| Error::writing(path, error))?;
        Ok((self.sections, *end))
    }
}

fn flush(segments: &mut SegmentFile, buffer: &mut Vec<u8>) -> Result<()> {
    let written = segments.append(buffer);
    buffer.clear();
    written
}

/// A sealed file being read.
#[derive(Debug)]
pub struct SealedFile {
    file: File,
    path: PathBuf,
    sections: Vec<Section>,
}

impl SealedFile {
    /// Opens a file that is made by `configuration`.
    ///
    /// # Errors
    /// It is missing, damaged, or made by something else.
    pub fn open(path: &Path, configuration: [u8; 16]) -> Result<Self> {
        let reading = |error| Error::reading(path, error);
        let file = File::open(path).map_err(reading)?;
        let bytes = file.metadata().map_err(reading)?.len();
        let mut opened = Self {
            file,
            path: path.to_owned(),
            sections: Vec::new(),
        };
        let Some(at) = bytes
            .checked_sub(TRAILER as u64)
            .filter(|at| *at >= HEADER as u64)
        else {
            return Err(opened.damaged("is too short"));
        };
        let head = opened.read::<HEADER>(0)?;
        if head != header(configuration) {
            return Err(opened.damaged("is no exchange file of this job"));
        }
        let trailer = opened.read::<TRAILER>(at)?;
        let number = |from: usize| {
            let bytes = trailer.get(from..from + 8);
            let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u64::from_le_bytes)
        };
        let (start, length) = (number(0), number(8));
        let is_there = start.checked_add(length) == Some(at) && length <= MOST_DIRECTORY;
        if !trailer.ends_with(SEAL) || !is_there {
            return Err(opened.damaged("has no directory at its end"));
        }
        let mut directory = vec![0; usize::try_from(length).unwrap_or(0)];
        opened
            .file
            .read_exact_at(&mut directory, start)
            .map_err(reading)?;
        let sections: Option<Vec<Section>> = serde_json::from_slice(&directory).ok();
        let sections = sections.filter(|_| xxh3_64(&directory) == number(16));
        let is_inside = |section: &Section| {
            let entries = section.files.checked_mul(ENTRY as u64);
            let behind = entries.and_then(|bytes| section.end.checked_add(bytes));
            section.start <= section.end && behind.is_some_and(|behind| behind <= start)
        };
        match sections {
            Some(sections) if sections.iter().all(is_inside) => {
                opened.sections = sections;
                Ok(opened)
            }
            _ => Err(opened.damaged("has a damaged directory")),
        }
    }

    /// Returns what the file holds of a table; nothing if the table got no rows of that kind.
    pub fn section(&self, table: &str, content: SectionContent) -> Option<&Section> {
        let is_it = |section: &&Section| section.table == table && section.content == content;
        self.sections.iter().find(is_it)
    }

    /// Returns all sections.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// Returns the files of a section below `files.end`, from `files.start` on, with their rows.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn rows_of_files(
        &self,
        section: &Section,
        files: Range<usize>,
    ) -> Result<Vec<(usize, u64)>> {
        let slice = self.slice(section, files)?;
        let entries = slice.entries.iter();
        Ok(entries
            .map(|entry| (entry.file as usize, entry.rows))
            .collect())
    }

    /// Finds a range of files in a section: a few small reads, then its entries alone.
    pub(super) fn slice(&self, section: &Section, files: Range<usize>) -> Result<Slice<'_>> {
        let first = self.first_entry(section, files.start)?;
        let after = self.first_entry(section, files.end)?;
        let mut entries = Vec::with_capacity(usize::try_from(after - first).unwrap_or(0));
        let mut at = first;
        let mut bytes = vec![0; ENTRIES_AT_ONCE * ENTRY];
        while at < after {
            let count = (after - at).min(ENTRIES_AT_ONCE as u64);
            let part = bytes.get_mut(..count as usize * ENTRY).unwrap_or_default();
            self.file
                .read_exact_at(part, section.end + at * ENTRY as u64)
                .map_err(|error| Error::reading(&self.path, error))?;
            entries.extend(part.as_chunks::<ENTRY>().0.iter().map(Entry::from_bytes));
            at += count;
        }
        let end = match after < section.files {
            true => self.entry(section, after)?.offset,
            false => section.end,
        };
        let is_sorted = entries.is_sorted_by(|a, b| a.file < b.file && a.offset < b.offset);
        let is_inside = entries.first().is_none_or(|e| e.offset >= section.start)
            && entries.last().is_none_or(|e| e.offset < end)
            && end <= section.end;
        if !is_sorted || !is_inside {
            return Err(self.damaged("has damaged entries"));
        }
        Ok(Slice {
            source: self,
            entries,
            end,
        })
    }

    /// Returns the number of the first entry of file `file` or later.
    fn first_entry(&self, section: &Section, file: usize) -> Result<u64> {
        let (mut low, mut high) = (0, section.files);
        while low < high {
            let middle = low + (high - low) / 2;
            match (self.entry(section, middle)?.file as usize) < file {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(low)
    }

    fn entry(&self, section: &Section, number: u64) -> Result<Entry> {
        let bytes = self.read::<ENTRY>(section.end + number * ENTRY as u64)?;
        Ok(Entry::from_bytes(&bytes))
    }

    fn read<const N: usize>(&self, at: u64) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file
            .read_exact_at(&mut bytes, at)
            .map_err(|error| Error::reading(&self.path, error))?;
        Ok(bytes)
    }

    /// Reads all segments of a file and compares their checksums.
    ///
    /// # Errors
    /// One is damaged.
    pub fn verify(&self) -> Result<()> {
        for section in &self.sections {
            let places = section.start..section.end;
            let mut reader = RunReader::new(&self.file, &self.path, places, 1 << 20);
            while let Some(header) = reader.peek()? {
                reader.copy(&header, |_| Ok(()))?;
            }
            let mut digest = Xxh3::new();
            for number in 0..section.files {
                digest.update(&self.entry(section, number)?.to_bytes());
            }
            if digest.digest() != section.entries_digest {
                return Err(self.damaged("has damaged entries"));
            }
        }
        Ok(())
    }

    fn damaged(&self, what: &str) -> Error {
        Error::new(ErrorKind::Integrity, format!("the exchange file {what}"))
            .at(Place::file(self.path.display().to_string()))
            .hint("remove the record of its task, and run the task again")
    }
}

/// A range of files in a section of a sealed file.
pub(super) struct Slice<'a> {
    source: &'a SealedFile,
    entries: Vec<Entry>,
    end: u64,
}

impl Slice<'_> {
    /// Says whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns each file with its rows and the bytes that it takes here.
    pub(super) fn files(&self) -> impl Iterator<Item = (u32, u64, u64)> {
        let next = self.entries.iter().skip(1).map(|entry| entry.offset);
        let ends = next.chain([self.end]);
        let pairs = self.entries.iter().zip(ends);
        pairs.map(|(entry, end)| (entry.file, entry.rows, end - entry.offset))
    }

    /// Returns the bytes of all of it.
    pub(super) fn bytes(&self) -> u64 {
        let start = self.entries.first().map_or(self.end, |entry| entry.offset);
        self.end - start
    }

    /// Returns a reader of the files `files`.
    pub(super) fn reader(&self, files: Range<usize>, buffer: usize) -> RunReader<'_> {
        let offset_of = |file: usize| {
            let at = self
                .entries
                .partition_point(|entry| (entry.file as usize) < file);
            self.entries.get(at).map_or(self.end, |entry| entry.offset)
        };
        let places = offset_of(files.start)..offset_of(files.end);
        RunReader::new(&self.source.file, &self.source.path, places, buffer)
    }
}

/// Writes a segment of rows that have no chunk, and returns its header.
pub(super) fn rows_segment(order: u32, rows: u32, text: &[u8], out: &mut Vec<u8>) -> SegmentHeader {
    let header = SegmentHeader {
        file: 0,
        rows,
        bytes: text.len() as u64,
        counts: 0,
        order,
    };
    let start = out.len();
    out.reserve(text.len() + 64);
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(text);
    let checksum = xxh3_64(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&checksum.to_le_bytes());
    header
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests damage files")]
mod tests {
    use super::*;

    fn sealed(path: &Path) {
        let mut writer = SealedWriter::create(path, [1; 16]).unwrap();
        for (table, rows) in [("A", 3u32), ("B", 2)] {
            for order in 0..3 {
                let mut segment = Vec::new();
                rows_segment(order, rows, b"some rows\n", &mut segment);
                writer.segments.append(&segment).unwrap();
                let header = SegmentHeader {
                    file: 0,
                    rows,
                    bytes: 10,
                    counts: 0,
                    order,
                };
                writer
                    .open
                    .note(&header, writer.segments.end - segment.len() as u64);
            }
            writer.end_section(table, SectionContent::Rows).unwrap();
        }
        writer.finish().unwrap();
    }

    fn read(path: &Path) -> Result<u64> {
        let file = SealedFile::open(path, [1; 16])?;
        file.verify()?;
        let section = file.section("A", SectionContent::Rows);
        let slice = file.slice(section.unwrap(), 0..1)?;
        Ok(slice.files().map(|(_, rows, _)| rows).sum())
    }

    #[test]
    fn a_damaged_file_is_found_out_wherever_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        sealed(&path);
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(read(&path).unwrap(), 9);
        assert!(SealedFile::open(&path, [2; 16]).is_err());
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            std::fs::write(&path, &bytes).unwrap();
            assert!(read(&path).is_err(), "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(read(&path).is_err(), "cut at {at}");
        }
    }
}

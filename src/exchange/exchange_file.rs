//! The exchange file: sorted runs of rows that memory could not hold.
//!
//! Where a run would give each chunk only a few rows, appending them to every chunk's file costs
//! an open, a write and a close for each. Such runs go into one file instead, each sorted by
//! (chunk, own or overlap rows, input order), and are merged at the end.
//!
//! ```text
//! header    magic, version, configuration digest
//! run       segments, sorted by file number; several of one file follow each other
//!   segment   file, rows, bytes, number of counts | text | counts | checksum
//!   footer    number of marks | marks (file, offset) | checksum
//! run ...
//! ```
//! Numbers are little-endian. A *mark* tells where the segments of a file begin, one for about
//! every 64 KiB, so that a reader of some files needs to read only their part of each run.
//! Checksums are XXH3-64 of what stands before them in the same segment or footer.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::chunk_rows::{Buffers, ChunkRows, RowsPerSubChunk};
use super::grouping::{Entry, Groups};
use super::packet::Packet;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::publish::{create_spill, open_spill};

const MAGIC: &[u8; 8] = b"SKYPEXCH";
const VERSION: u32 = 1;
const HEADER: usize = 8 + 4 + 16;
const SEGMENT_HEADER: usize = 24;
const CHECKSUM: usize = 8;
/// Bytes between two marks, about.
const MARK_STRIDE: u64 = 64 << 10;

/// Where the segments of `file` and those after it begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    file: u32,
    offset: u64,
}

/// One sorted run.
#[derive(Debug)]
struct Run {
    start: u64,
    marks: Vec<Mark>,
    end: u64,
    digest: u64,
}

/// Where a run lies in an exchange file: what a journal keeps of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunPlace {
    /// Its first segment.
    start: u64,
    /// Its footer.
    end: u64,
    /// What comes behind.
    after: u64,
    /// XXH3-64 of the checksums of its segments: another run of the same lengths is told apart.
    digest: u64,
}

/// An exchange file, being written or read.
#[derive(Debug)]
pub(super) struct ExchangeFile {
    file: File,
    path: PathBuf,
    end: u64,
    runs: Vec<Run>,
}

impl ExchangeFile {
    /// Starts a file at `path`; `configuration` tells what its rows are made by.
    ///
    /// # Errors
    /// The place may not be written.
    pub(super) fn create(path: &Path, configuration: [u8; 16]) -> Result<Self> {
        let mut created = Self {
            file: create_spill(path)?,
            path: path.to_owned(),
            end: 0,
            runs: Vec::new(),
        };
        created.append(&header(configuration))?;
        Ok(created)
    }

    /// Opens a file that an earlier run has written, with the runs that its journal tells of; what
    /// stands behind them is cut off. Returns nothing if the file is not what the journal says.
    ///
    /// # Errors
    /// The file can't be read or cut.
    pub(super) fn reopen(
        path: &Path,
        configuration: [u8; 16],
        places: &[RunPlace],
    ) -> Result<Option<Self>> {
        let Some(file) = open_spill(path)? else {
            return Ok(None);
        };
        let mut found = [0; HEADER];
        if file.read_exact_at(&mut found, 0).is_err() || found != header(configuration) {
            return Ok(None);
        }
        let mut opened = Self {
            file,
            path: path.to_owned(),
            end: places.last().map_or(HEADER as u64, |place| place.after),
            runs: Vec::with_capacity(places.len()),
        };
        for place in places {
            let Some(marks) = opened.read_footer(place)? else {
                return Ok(None);
            };
            opened.runs.push(Run {
                start: place.start,
                marks,
                end: place.end,
                digest: place.digest,
            });
        }
        // A power cut may have lost what was never synced.
        let is_whole = (0..opened.runs.len())
            .into_par_iter()
            .all(|run| opened.check_run(run).unwrap_or(false));
        if !is_whole {
            return Ok(None);
        }
        let writing = |error| Error::writing(path, error);
        opened.file.set_len(opened.end).map_err(writing)?;
        opened
            .file
            .seek(SeekFrom::Start(opened.end))
            .map_err(writing)?;
        Ok(Some(opened))
    }

    fn read_footer(&self, place: &RunPlace) -> Result<Option<Vec<Mark>>> {
        let length = place.after.saturating_sub(place.end);
        let found = self
            .file
            .metadata()
            .map_err(|e| Error::reading(&self.path, e))?;
        if found.len() < place.after || length < 16 {
            return Ok(None);
        }
        let mut bytes = vec![0; length as usize];
        self.file
            .read_exact_at(&mut bytes, place.end)
            .map_err(|error| Error::reading(&self.path, error))?;
        let (body, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
        if xxh3_64(body).to_le_bytes() != checksum {
            return Ok(None);
        }
        let marks = body.get(8..).unwrap_or_default().chunks_exact(12);
        let mark = |bytes: &[u8]| {
            Some(Mark {
                file: u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?),
                offset: u64::from_le_bytes(bytes.get(4..)?.try_into().ok()?),
            })
        };
        Ok(marks.map(mark).collect())
    }

    /// Reads a run from end to end and compares its checksums.
    fn check_run(&self, run: usize) -> Result<bool> {
        let mut reader = self.reader(run, 0, 256 << 10);
        let mut digest = Xxh3::new();
        while let Some(header) = reader.peek()? {
            reader.copy(&header, |_| Ok(()))?;
            digest.update(&reader.checksum);
        }
        Ok(digest.digest() == self.runs[run].digest)
    }

    /// Returns where the last run lies.
    pub(super) fn last_run(&self) -> Option<RunPlace> {
        self.runs.last().map(|run| RunPlace {
            start: run.start,
            end: run.end,
            after: self.end,
            digest: run.digest,
        })
    }

    /// Returns the number of runs.
    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Returns the bytes of memory that the marks take.
    pub(super) fn memory(&self) -> u64 {
        let marks: usize = self.runs.iter().map(|run| run.marks.capacity()).sum();
        (marks * size_of::<Mark>()) as u64
    }

    /// Appends a run: the rows of `packets` sorted by `groups`, in segments of about `block` bytes
    /// at most, which all threads encode.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn write_run(
        &mut self,
        rows: &ChunkRows,
        packets: &[Packet],
        groups: &Groups,
        block: usize,
    ) -> Result<()> {
        let text: usize = packets.iter().map(|packet| packet.text().len()).sum();
        let own: usize = packets.iter().map(Packet::rows).sum();
        let row_bytes = text / own.max(1) + 16;
        let rows_per_block = (block / row_bytes).max(1);
        let mut marks: Vec<Mark> = Vec::new();
        let start = self.end;
        let mut digest = Xxh3::new();
        let mut parts = groups
            .iter()
            .flat_map(|(file, entries)| entries.chunks(rows_per_block).map(move |e| (file, e)));
        let mut blocks: Vec<Block<'_>> = Vec::new();
        blocks.resize_with(rayon::current_num_threads(), Block::default);
        loop {
            for block in &mut blocks {
                block.parts.clear();
                let mut left = rows_per_block;
                while left > 0
                    && let Some(part) = parts.next()
                {
                    left = left.saturating_sub(part.1.len());
                    block.parts.push(part);
                }
            }
            if blocks[0].parts.is_empty() {
                break;
            }
            blocks
                .par_iter_mut()
                .try_for_each(|block| block.encode(rows, packets))?;
            for block in blocks.iter().filter(|block| !block.parts.is_empty()) {
                for (file, offset) in &block.starts {
                    let offset = self.end + offset;
                    if marks
                        .last()
                        .is_none_or(|m| offset - m.offset >= MARK_STRIDE)
                    {
                        marks.push(Mark {
                            file: *file,
                            offset,
                        });
                    }
                }
                digest.update(&block.checksums);
                self.append(&block.buffers.text)?;
            }
        }
        let end = self.end;
        self.append(&footer(&marks))?;
        marks.shrink_to_fit();
        self.runs.push(Run {
            start,
            marks,
            end,
            digest: digest.digest(),
        });
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| Error::writing(&self.path, error))?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Returns file numbers that cut what is there into windows of about `bytes` bytes each; no
    /// window parts the two files of a chunk.
    pub(super) fn windows(&self, files: usize, bytes: u64) -> Vec<std::ops::Range<usize>> {
        let mut all: Vec<u32> = self
            .runs
            .iter()
            .flat_map(|r| &r.marks)
            .map(|m| m.file)
            .collect();
        all.sort_unstable();
        let per_window = usize::try_from(bytes / MARK_STRIDE).unwrap_or(1).max(1);
        let mut bounds = vec![0];
        bounds.extend(
            all.chunks(per_window)
                .skip(1)
                .map(|marks| marks[0] as usize / 2 * 2),
        );
        bounds.push(files);
        bounds.dedup();
        bounds.windows(2).map(|b| b[0]..b[1]).collect()
    }

    /// Returns a reader of run number `run` that stands at the first segment of file `first` or
    /// later, reading `buffer` bytes at a time.
    pub(super) fn reader(&self, run: usize, first: usize, buffer: usize) -> RunReader<'_> {
        let run = &self.runs[run];
        // The last mark before: there may be more of the same file before its own first mark.
        let after = run
            .marks
            .partition_point(|mark| (mark.file as usize) < first);
        let start = run.marks.get(after.saturating_sub(1));
        RunReader {
            source: self,
            position: start.map_or(run.start, |mark| mark.offset),
            end: run.end,
            buffer: Vec::new(),
            used: 0,
            buffer_bytes: buffer.max(SEGMENT_HEADER),
            checksum: [0; CHECKSUM],
        }
    }
}

fn header(configuration: [u8; 16]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..].copy_from_slice(&configuration);
    header
}

/// Some segments that one thread encodes.
#[derive(Default)]
struct Block<'a> {
    parts: Vec<(usize, &'a [Entry])>,
    buffers: Buffers,
    /// File and offset of each segment.
    starts: Vec<(u32, u64)>,
    /// Checksums of the segments, one after another.
    checksums: Vec<u8>,
}

impl Block<'_> {
    fn encode(&mut self, rows: &ChunkRows, packets: &[Packet]) -> Result<()> {
        let buffers = &mut self.buffers;
        buffers.text.clear();
        self.starts.clear();
        self.checksums.clear();
        for (file, entries) in &self.parts {
            let start = buffers.text.len();
            self.starts.push((*file as u32, start as u64));
            buffers.text.resize(start + SEGMENT_HEADER, 0);
            buffers.counts.clear();
            rows.write(packets, (*file, entries), usize::MAX, buffers, |_| Ok(()))?;
            let header = SegmentHeader {
                file: *file as u32,
                rows: entries.len() as u32,
                bytes: (buffers.text.len() - start - SEGMENT_HEADER) as u64,
                counts: buffers.counts.len() as u32,
            };
            buffers.text[start..start + SEGMENT_HEADER].copy_from_slice(&header.to_bytes());
            for (sub_chunk, rows) in &buffers.counts {
                buffers.text.extend_from_slice(&sub_chunk.to_le_bytes());
                buffers.text.extend_from_slice(&rows.to_le_bytes());
            }
            let checksum = xxh3_64(&buffers.text[start..]);
            buffers.text.extend_from_slice(&checksum.to_le_bytes());
            self.checksums.extend_from_slice(&checksum.to_le_bytes());
        }
        Ok(())
    }
}

fn footer(marks: &[Mark]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + marks.len() * 12 + CHECKSUM);
    bytes.extend_from_slice(&(marks.len() as u64).to_le_bytes());
    for mark in marks {
        bytes.extend_from_slice(&mark.file.to_le_bytes());
        bytes.extend_from_slice(&mark.offset.to_le_bytes());
    }
    let checksum = xxh3_64(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// What stands before the text of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) file: u32,
    pub(super) rows: u32,
    bytes: u64,
    counts: u32,
}

impl SegmentHeader {
    fn to_bytes(self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..4].copy_from_slice(&self.file.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.rows.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.counts.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        Some(Self {
            file: number(0)?,
            rows: number(4)?,
            bytes: u64::from(number(8)?) | u64::from(number(12)?) << 32,
            counts: number(16)?,
        })
    }

    /// Bytes of the segment behind its header.
    fn rest(&self) -> u64 {
        self.bytes + u64::from(self.counts) * 8 + CHECKSUM as u64
    }
}

/// Reads the segments of one run one after another.
pub(super) struct RunReader<'a> {
    source: &'a ExchangeFile,
    /// Offset in the file of what comes after the buffer.
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    used: usize,
    buffer_bytes: usize,
    /// Checksum of the segment that was copied last.
    checksum: [u8; CHECKSUM],
}

impl RunReader<'_> {
    /// Returns the header of the next segment; nothing at the end of the run.
    ///
    /// # Errors
    /// The file can't be read or is damaged.
    pub(super) fn peek(&mut self) -> Result<Option<SegmentHeader>> {
        if self.used == self.buffer.len() && self.position >= self.end {
            return Ok(None);
        }
        self.fill(SEGMENT_HEADER)?;
        let header = SegmentHeader::from_bytes(&self.buffer[self.used..]);
        header.map(Some).ok_or_else(|| self.damaged())
    }

    /// Passes over the segment that `header` is of.
    ///
    /// # Errors
    /// The file is damaged.
    pub(super) fn skip(&mut self, header: &SegmentHeader) -> Result<()> {
        let length = header.rest() + SEGMENT_HEADER as u64;
        let buffered = (self.buffer.len() - self.used) as u64;
        if length <= buffered {
            self.used += length as usize;
            return Ok(());
        }
        self.position += length - buffered;
        self.used = self.buffer.len();
        if self.position > self.end {
            return Err(self.damaged());
        }
        Ok(())
    }

    /// Gives the text of the segment that `header` is of to `text`, part by part, and returns its
    /// counts.
    ///
    /// # Errors
    /// The file can't be read, or its checksum is wrong; or `text` fails.
    pub(super) fn copy(
        &mut self,
        header: &SegmentHeader,
        mut text: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<RowsPerSubChunk> {
        let mut hash = Xxh3::new();
        self.take(SEGMENT_HEADER as u64, |part| {
            hash.update(part);
            Ok(())
        })?;
        self.take(header.bytes, |part| {
            hash.update(part);
            text(part)
        })?;
        let mut counts = Vec::new();
        self.take(u64::from(header.counts) * 8, |part| {
            hash.update(part);
            counts.extend_from_slice(part);
            Ok(())
        })?;
        let mut checksum = Vec::with_capacity(CHECKSUM);
        self.take(CHECKSUM as u64, |part| {
            checksum.extend_from_slice(part);
            Ok(())
        })?;
        self.checksum = hash.digest().to_le_bytes();
        if checksum != self.checksum {
            return Err(self.damaged());
        }
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes);
        Ok(counts
            .chunks_exact(8)
            .map(|pair| (number(&pair[..4]).cast_signed(), number(&pair[4..])))
            .collect())
    }

    /// Hands the next `length` bytes on, in parts.
    fn take(&mut self, length: u64, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut left = length;
        while left > 0 {
            if self.used == self.buffer.len() {
                self.fill(1)?;
            }
            let there = (self.buffer.len() - self.used) as u64;
            let part = there.min(left) as usize;
            each(&self.buffer[self.used..self.used + part])?;
            self.used += part;
            left -= part as u64;
        }
        Ok(())
    }

    /// Makes sure that `least` bytes lie in the buffer.
    fn fill(&mut self, least: usize) -> Result<()> {
        let there = self.buffer.len() - self.used;
        if there >= least {
            return Ok(());
        }
        self.buffer.copy_within(self.used.., 0);
        let wanted = (self.buffer_bytes - there) as u64;
        let more = wanted.min(self.end.saturating_sub(self.position)) as usize;
        self.buffer.resize(there + more, 0);
        self.used = 0;
        let read = self
            .source
            .file
            .read_exact_at(&mut self.buffer[there..], self.position);
        read.map_err(|error| Error::reading(&self.source.path, error))?;
        self.position += more as u64;
        if self.buffer.len() < least {
            return Err(self.damaged());
        }
        Ok(())
    }

    fn damaged(&self) -> Error {
        Error::new(
            ErrorKind::Integrity,
            format!("the exchange file is damaged before byte {}", self.position),
        )
        .at(Place::file(self.source.path.display().to_string()))
        .hint("something else writes there, or the disk is failing; run the command again")
    }
}

//! The exchange file: sorted runs of rows that memory could not hold.
//!
//! Where a run would give each chunk only a few rows, appending them to every chunk's file costs
//! an open, a write and a close for each. Such runs go into one file instead, each sorted by
//! (chunk, own or overlap rows, input order), and are merged at the end.
//!
//! ```text
//! header    magic, version, configuration digest
//! run       segments, sorted by file number; several of one file follow each other
//!   footer    number of marks | marks (file, offset) | checksum
//! run ...
//! ```
//! Numbers are little-endian. A *mark* tells where the segments of a file begin, one for about
//! every 64 KiB, so that a reader of some files needs to read only their part of each run.
//! The checksum of a footer is the XXH3-64 of what stands before it.

use std::io::{Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::chunk_rows::ChunkRows;
use super::grouping::Groups;
use super::memory_runs::MemoryRuns;
use super::merge::Runs;
use super::packet::Packet;
use super::segments::{CHECKSUM, RunReader, SegmentFile, SegmentHeader};
use crate::error::{Error, Result};
use crate::publish::open_spill;

const MAGIC: &[u8; 8] = b"SKYPEXCH";
const VERSION: u32 = 2;
pub(super) const HEADER: usize = 8 + 4 + 16;
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
    segments: SegmentFile,
    runs: Vec<Run>,
}

impl ExchangeFile {
    /// Starts a file at `path`; `configuration` tells what its rows are made by.
    ///
    /// # Errors
    /// The place may not be written.
    pub(super) fn create(path: &Path, configuration: [u8; 16]) -> Result<Self> {
        let mut segments = SegmentFile::create(path)?;
        segments.append(&header(configuration))?;
        Ok(Self {
            segments,
            runs: Vec::new(),
        })
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
        let segments = SegmentFile {
            file,
            path: path.to_owned(),
            end: places.last().map_or(HEADER as u64, |place| place.after),
        };
        let mut opened = Self {
            segments,
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
        let SegmentFile { file, end, .. } = &mut opened.segments;
        file.set_len(*end).map_err(writing)?;
        file.seek(SeekFrom::Start(*end)).map_err(writing)?;
        Ok(Some(opened))
    }

    fn read_footer(&self, place: &RunPlace) -> Result<Option<Vec<Mark>>> {
        let length = place.after.saturating_sub(place.end);
        let SegmentFile { file, path, .. } = &self.segments;
        let found = file.metadata().map_err(|e| Error::reading(path, e))?;
        if found.len() < place.after || length < 16 {
            return Ok(None);
        }
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, place.end)
            .map_err(|error| Error::reading(path, error))?;
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
        let mut reader = self.reader(run, 0..usize::MAX, 256 << 10);
        let mut digest = Xxh3::new();
        while let Some(header) = reader.peek()? {
            reader.copy(&header, |_| Ok(()))?;
            digest.update(reader.checksum());
        }
        Ok(digest.digest() == self.runs[run].digest)
    }

    /// Returns where the last run lies.
    pub(super) fn last_run(&self) -> Option<RunPlace> {
        self.runs.last().map(|run| RunPlace {
            start: run.start,
            end: run.end,
            after: self.segments.end,
            digest: run.digest,
        })
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
        self.append_run(|segments, mark| {
            segments.append_groups(rows, packets, groups, block, |header, offset| {
                mark(header, offset);
            })
        })
    }

    /// Appends a run that holds what several runs in memory hold.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn write_merged(&mut self, runs: &MemoryRuns) -> Result<()> {
        self.append_run(|segments, mark| {
            let mut digest = Xxh3::new();
            runs.write_to(segments, |header, segment, offset| {
                let (_, checksum) = segment.split_at(segment.len().saturating_sub(CHECKSUM));
                digest.update(checksum);
                mark(header, offset);
            })?;
            Ok(digest.digest())
        })
    }

    /// Appends the run that `write` writes, which says where each segment lies and returns the digest
    /// of their checksums.
    fn append_run(
        &mut self,
        write: impl FnOnce(&mut SegmentFile, &mut dyn FnMut(&SegmentHeader, u64)) -> Result<u64>,
    ) -> Result<()> {
        let mut marks: Vec<Mark> = Vec::new();
        let start = self.segments.end;
        let mut mark = |header: &SegmentHeader, offset| {
            let last = marks.last();
            if last.is_none_or(|mark: &Mark| offset - mark.offset >= MARK_STRIDE) {
                let file = header.file;
                marks.push(Mark { file, offset });
            }
        };
        let digest = write(&mut self.segments, &mut mark)?;
        let end = self.segments.end;
        self.segments.append(&footer(&marks))?;
        marks.shrink_to_fit();
        self.runs.push(Run {
            start,
            marks,
            end,
            digest,
        });
        Ok(())
    }
}

impl Runs for ExchangeFile {
    fn count(&self) -> usize {
        self.runs.len()
    }

    fn windows(&self, files: usize, bytes: u64) -> Vec<Range<usize>> {
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

    fn reader(&self, run: usize, files: Range<usize>, buffer: usize) -> RunReader<'_> {
        let run = &self.runs[run];
        // The last mark before: there may be more of the same file before its own first mark.
        let after = run
            .marks
            .partition_point(|mark| (mark.file as usize) < files.start);
        let start = run.marks.get(after.saturating_sub(1));
        let start = start.map_or(run.start, |mark| mark.offset);
        let SegmentFile { file, path, .. } = &self.segments;
        RunReader::new(file, path, start..run.end, buffer)
    }
}

pub(super) fn header(configuration: [u8; 16]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..].copy_from_slice(&configuration);
    header
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

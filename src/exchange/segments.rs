//! Segments: rows of one file as exchange files hold them, written and read one after another.
//!
//! ```text
//! segment   file, rows, bytes, number of counts, order | text | counts | checksum
//! ```
//! Numbers are little-endian. The checksum is the XXH3-64 of what stands before it.

use std::fs::File;
use std::io::{ErrorKind as ErrorCode, IoSlice, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::chunk_rows::{Buffers, ChunkRows};
use super::grouping::{Entry, Groups};
use super::packet::Packet;
use super::sub_chunk_fillings::RowsPerSubChunk;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::publish::create_spill;

/// Bytes of the blocks in which segments are encoded, about, where memory does not matter.
pub(super) const ENCODED_BYTES: usize = 256 << 10;

pub(super) const SEGMENT_HEADER: usize = 24;
pub(super) const CHECKSUM: usize = 8;

/// A file that segments are appended to.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// Bytes so far.
    pub(super) end: u64,
}

impl SegmentFile {
    /// Starts an empty file.
    ///
    /// # Errors
    /// The place may not be written.
    pub(super) fn create(path: &Path) -> Result<Self> {
        Ok(Self {
            file: create_spill(path)?,
            path: path.to_owned(),
            end: 0,
        })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| Error::writing(&self.path, error))?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Appends the rows of `packets` sorted by `groups`, in segments of about `block` bytes at most,
    /// which all threads encode. `each` is told of every segment and where it lies; the digest of
    /// their checksums is returned.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn append_groups(
        &mut self,
        rows: &ChunkRows,
        packets: &[Packet],
        groups: &Groups,
        block: usize,
        mut each: impl FnMut(&SegmentHeader, u64),
    ) -> Result<u64> {
        let mut digest = Xxh3::new();
        encode_groups(rows, packets, groups, block, |block| {
            for (header, offset) in block.segments() {
                each(header, self.end + offset);
            }
            digest.update(&block.checksums);
            self.append(block.bytes())
        })?;
        Ok(digest.digest())
    }

    /// Appends bytes from several places.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn append_slices(&mut self, mut slices: &mut [IoSlice<'_>]) -> Result<()> {
        let writing = |path: &Path, error| Error::writing(path, error);
        while slices.iter().any(|slice| !slice.is_empty()) {
            match self.file.write_vectored(slices) {
                Ok(0) => return Err(writing(&self.path, ErrorCode::WriteZero.into())),
                Ok(written) => {
                    self.end += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(error) if error.kind() == ErrorCode::Interrupted => {}
                Err(error) => return Err(writing(&self.path, error)),
            }
        }
        Ok(())
    }
}

/// Returns the mean bytes of a row of some packets, with what is filled in later; overlap rows are about as
/// long as the others.
pub(super) fn row_bytes(packets: &[Packet]) -> usize {
    let text: usize = packets.iter().map(|packet| packet.text().len()).sum();
    let own: usize = packets.iter().map(Packet::rows).sum();
    text / own.max(1) + 16
}

/// Encodes the rows of `packets` sorted by `groups` as segments of about `block` bytes at most, with
/// all threads, and gives them to `put` in order, block by block.
///
/// # Errors
/// `put` fails.
pub(super) fn encode_groups<'a>(
    rows: &ChunkRows,
    packets: &'a [Packet],
    groups: &'a Groups,
    block: usize,
    mut put: impl FnMut(&Block<'a>) -> Result<()>,
) -> Result<()> {
    let rows_per_block = (block / row_bytes(packets)).max(1);
    let stretches = groups.by_order(packets);
    let mut parts = stretches.flat_map(|(file, order, entries)| {
        let chunks = entries.chunks(rows_per_block);
        chunks.map(move |entries| (file, order, entries))
    });
    let mut blocks: Vec<Block<'_>> = Vec::new();
    blocks.resize_with(rayon::current_num_threads(), Block::default);
    loop {
        for block in &mut blocks {
            block.parts.clear();
            let mut left = rows_per_block;
            while left > 0
                && let Some(part) = parts.next()
            {
                left = left.saturating_sub(part.2.len());
                block.parts.push(part);
            }
        }
        if blocks[0].parts.is_empty() {
            return Ok(());
        }
        blocks
            .par_iter_mut()
            .try_for_each(|block| block.encode(rows, packets))?;
        let mut filled = blocks.iter().filter(|block| !block.parts.is_empty());
        filled.try_for_each(&mut put)?;
    }
}

/// Some segments that one thread encodes.
#[derive(Default)]
pub(super) struct Block<'a> {
    /// File, stretch and rows of each.
    parts: Vec<(usize, u32, &'a [Entry])>,
    buffers: Buffers,
    /// Each segment with its offset in the block.
    starts: Vec<(SegmentHeader, u64)>,
    /// Checksums of the segments, one after another.
    checksums: Vec<u8>,
}

impl Block<'_> {
    /// Returns each segment with its offset in the block.
    pub(super) fn segments(&self) -> &[(SegmentHeader, u64)] {
        &self.starts
    }

    /// Returns the bytes of all segments.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffers.text
    }

    fn encode(&mut self, rows: &ChunkRows, packets: &[Packet]) -> Result<()> {
        let buffers = &mut self.buffers;
        buffers.text.clear();
        self.starts.clear();
        self.checksums.clear();
        for (file, order, entries) in &self.parts {
            let start = buffers.text.len();
            buffers.text.resize(start + SEGMENT_HEADER, 0);
            rows.write(packets, (*file, entries), usize::MAX, buffers, |_| Ok(()))?;
            let header = SegmentHeader {
                file: *file as u32,
                rows: entries.len() as u32,
                bytes: (buffers.text.len() - start - SEGMENT_HEADER) as u64,
                counts: buffers.counts.len() as u32,
                order: *order,
            };
            self.starts.push((header, start as u64));
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

/// What stands before the text of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) file: u32,
    pub(super) rows: u32,
    pub(super) bytes: u64,
    pub(super) counts: u32,
    /// The stretch of the inputs that the rows come from.
    pub(super) order: u32,
}

impl SegmentHeader {
    pub(super) fn to_bytes(self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..4].copy_from_slice(&self.file.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.rows.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.counts.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.order.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        Some(Self {
            file: number(0)?,
            rows: number(4)?,
            bytes: u64::from(number(8)?) | u64::from(number(12)?) << 32,
            counts: number(16)?,
            order: number(20)?,
        })
    }

    /// Bytes of the whole segment.
    pub(super) fn segment_bytes(&self) -> u64 {
        let counts = u64::from(self.counts) * 8;
        self.bytes
            .saturating_add(SEGMENT_HEADER as u64 + counts + CHECKSUM as u64)
    }
}

/// Reads the segments of one run one after another.
pub(super) struct RunReader<'a> {
    file: &'a File,
    path: &'a Path,
    /// Offset in the file of what comes after the buffer.
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    /// Bytes of the buffer that have been handed on, and those that were read.
    used: usize,
    filled: usize,
    buffer_bytes: usize,
    /// Checksum of the segment that was copied last.
    checksum: [u8; CHECKSUM],
}

impl<'a> RunReader<'a> {
    /// Reads what lies at `places` of a file, `buffer` bytes at a time.
    pub(super) fn new(file: &'a File, path: &'a Path, places: Range<u64>, buffer: usize) -> Self {
        Self {
            file,
            path,
            position: places.start,
            end: places.end,
            buffer: Vec::new(),
            used: 0,
            filled: 0,
            buffer_bytes: buffer.max(SEGMENT_HEADER),
            checksum: [0; CHECKSUM],
        }
    }

    /// Gives it a buffer that another reader has used.
    pub(super) fn reusing(mut self, buffer: Vec<u8>) -> Self {
        self.buffer = buffer;
        self
    }

    /// Returns its buffer for another reader.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// Returns the checksum of the segment that was copied last.
    pub(super) fn checksum(&self) -> &[u8; CHECKSUM] {
        &self.checksum
    }

    /// Returns the header of the next segment; nothing at the end of the run.
    ///
    /// # Errors
    /// The file can't be read or is damaged.
    pub(super) fn peek(&mut self) -> Result<Option<SegmentHeader>> {
        if self.used == self.filled && self.position >= self.end {
            return Ok(None);
        }
        self.fill(SEGMENT_HEADER)?;
        let header = SegmentHeader::from_bytes(&self.buffer[self.used..self.filled]);
        header.map(Some).ok_or_else(|| self.damaged())
    }

    /// Passes over the segment that `header` is of.
    ///
    /// # Errors
    /// The file is damaged.
    pub(super) fn skip(&mut self, header: &SegmentHeader) -> Result<()> {
        let length = header.segment_bytes();
        let buffered = (self.filled - self.used) as u64;
        if length <= buffered {
            self.used += length as usize;
            return Ok(());
        }
        self.position = self.position.saturating_add(length - buffered);
        self.used = self.filled;
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
        text: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<RowsPerSubChunk> {
        let mut counts = Vec::new();
        self.pass(
            header,
            |_| Ok(()),
            text,
            |part| {
                counts.extend_from_slice(part);
                Ok(())
            },
        )?;
        let number = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes);
        Ok(counts
            .chunks_exact(8)
            .map(|pair| (number(&pair[..4]).cast_signed(), number(&pair[4..])))
            .collect())
    }

    /// Gives the whole segment that `header` is of to `out`, part by part, checksum included.
    ///
    /// # Errors
    /// The file can't be read, or its checksum is wrong; or `out` fails.
    pub(super) fn copy_whole(
        &mut self,
        header: &SegmentHeader,
        out: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let out = std::cell::RefCell::new(out);
        let give = |part: &[u8]| (out.borrow_mut())(part);
        self.pass(header, give, give, give)?;
        let checksum = self.checksum;
        give(&checksum)
    }

    /// Reads a segment and compares its checksum.
    fn pass(
        &mut self,
        header: &SegmentHeader,
        mut head: impl FnMut(&[u8]) -> Result<()>,
        mut text: impl FnMut(&[u8]) -> Result<()>,
        mut counts: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut hash = Xxh3::new();
        self.take(SEGMENT_HEADER as u64, |part| {
            hash.update(part);
            head(part)
        })?;
        self.take(header.bytes, |part| {
            hash.update(part);
            text(part)
        })?;
        self.take(u64::from(header.counts) * 8, |part| {
            hash.update(part);
            counts(part)
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
        Ok(())
    }

    /// Hands the next `length` bytes on, in parts.
    fn take(&mut self, length: u64, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut left = length;
        while left > 0 {
            if self.used == self.filled {
                self.fill(1)?;
            }
            let there = (self.filled - self.used) as u64;
            let part = there.min(left) as usize;
            each(&self.buffer[self.used..self.used + part])?;
            self.used += part;
            left -= part as u64;
        }
        Ok(())
    }

    /// Makes sure that `least` bytes lie in the buffer.
    fn fill(&mut self, least: usize) -> Result<()> {
        let there = self.filled - self.used;
        if there >= least {
            return Ok(());
        }
        self.buffer.copy_within(self.used..self.filled, 0);
        let wanted = (self.buffer_bytes - there) as u64;
        let more = wanted.min(self.end.saturating_sub(self.position)) as usize;
        (self.used, self.filled) = (0, there + more);
        // What was read before needs no clearing.
        if self.buffer.len() < self.filled {
            self.buffer.resize(self.filled, 0);
        }
        let read = self
            .file
            .read_exact_at(&mut self.buffer[there..self.filled], self.position);
        read.map_err(|error| Error::reading(self.path, error))?;
        self.position += more as u64;
        if self.filled < least {
            return Err(self.damaged());
        }
        Ok(())
    }

    fn damaged(&self) -> Error {
        Error::new(
            ErrorKind::Integrity,
            format!("the exchange file is damaged before byte {}", self.position),
        )
        .at(Place::file(self.path.display().to_string()))
        .hint("something else writes there, or the disk is failing; run the command again")
    }
}

//! A sink that groups rows by chunk and appends each chunk's segment to its staged file.
//!
//! A run is grouped by one counting sort over its rows; then its files are written in parallel,
//! each opened, appended to and closed, so that few files are open whatever their number. What is
//! known of a file (rows, bytes, digests) is kept while it grows.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::Sink;
use super::digest::{FileDigest, FileSummary};
use super::packet::{Packet, SlotPart, SlotText};
use crate::error::{Error, ErrorKind, Result};
use crate::publish::append;
use crate::resources::{Lease, MemoryGate};

/// Text is gathered in blocks of this size before it is written.
const BLOCK: usize = 256 * 1024;

/// What a chunk sink writes, and where.
pub struct ChunkSinkOptions {
    /// Staging folder of the files.
    pub staging: PathBuf,
    /// Path of the files relative to the output folder, with `/`; empty or ended by `/`.
    pub prefix: String,
    /// Chunk number of each dense index.
    pub chunk_numbers: Vec<i32>,
    /// What is filled in at each slot of a row.
    pub slots: Vec<SlotText>,
    /// Delimiter of the text.
    pub delimiter: u8,
    /// What ends a row.
    pub line_end: &'static [u8],
    /// Whether rows per sub-chunk are counted, for `chunk_index.bin`.
    pub counts_sub_chunks: bool,
    /// Name of the director index, if one is wanted.
    pub key_index: Option<String>,
    /// Where the memory of what is known of each file is paid for.
    pub gate: Arc<MemoryGate>,
}

/// Rows of one sub-chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SubChunkCount {
    /// Own rows.
    pub rows: u64,
    /// Overlap rows.
    pub overlap_rows: u64,
}

/// Rows per chunk and sub-chunk number.
type SubChunkCounts = BTreeMap<(i32, i32), SubChunkCount>;

/// Groups the rows of each run by chunk.
pub struct ChunkSink {
    options: ChunkSinkOptions,
    state: Mutex<State>,
}

struct State {
    /// Two files per dense chunk index: own rows and overlap rows.
    files: Vec<Option<Box<FileDigest>>>,
    sub_chunks: SubChunkCounts,
    key_index: FileDigest,
    /// Pays for the digests of the files begun so far.
    paid: Lease,
}

/// Rows of one file in one run: places in the run's packets.
struct Segment<'a> {
    file: usize,
    entries: &'a [Entry],
    digest: Box<FileDigest>,
}

/// A row of a packet, or an overlap place of one.
#[derive(Clone, Copy, Default)]
struct Entry {
    packet: u32,
    index: u32,
}

impl ChunkSink {
    /// Makes a sink.
    pub fn new(options: ChunkSinkOptions) -> Self {
        let files = (0..options.chunk_numbers.len() * 2).map(|_| None).collect();
        let state = State {
            files,
            sub_chunks: BTreeMap::new(),
            key_index: FileDigest::default(),
            paid: options.gate.charge(0),
        };
        Self {
            options,
            state: Mutex::new(state),
        }
    }

    /// Returns what was written, in order of chunk numbers, and the rows per sub-chunk.
    pub fn finish(self) -> (Vec<FileSummary>, SubChunkCounts) {
        let options = self.options;
        let state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let prefix: Arc<str> = Arc::from(options.prefix.as_str());
        let mut files: Vec<FileSummary> = state
            .files
            .into_iter()
            .enumerate()
            .filter_map(|(file, digest)| {
                let chunk = options.chunk_numbers[file / 2];
                Some(digest?.finish_chunk(&prefix, chunk, file % 2 == 1))
            })
            .collect();
        if let Some(name) = options.key_index.filter(|_| state.key_index.rows() > 0) {
            files.push(
                state
                    .key_index
                    .finish(format!("{}{name}", options.prefix), None, false),
            );
        }
        (files, state.sub_chunks)
    }

    fn write_segment(
        &self,
        packets: &[Packet],
        segment: &mut Segment<'_>,
        buffers: &mut Buffers,
    ) -> Result<SubChunkCounts> {
        let path = self
            .options
            .staging
            .join(self.options.file_name(segment.file));
        let mut out = append(&path)?;
        let chunk = self.options.chunk_numbers[segment.file / 2];
        let is_overlap = segment.file % 2 == 1;
        let mut counts = SubChunkCounts::new();
        let mut filled_for = None;
        buffers.text.clear();
        for entry in segment.entries {
            let packet = &packets[entry.packet as usize];
            let index = entry.index as usize;
            let (row, sub_chunk) = if is_overlap {
                let place = packet.overlaps()[index];
                (place.row as usize, place.sub_chunk)
            } else {
                (index, packet.sub_chunks()[index])
            };
            if filled_for != Some(sub_chunk) {
                self.options
                    .fill_slots(chunk, sub_chunk, &mut buffers.fillings);
                filled_for = Some(sub_chunk);
            }
            packet.write_row(
                row,
                &buffers.fillings,
                self.options.line_end,
                &mut buffers.text,
            );
            if self.options.counts_sub_chunks {
                let count = counts.entry((chunk, sub_chunk)).or_default();
                let rows = if is_overlap {
                    &mut count.overlap_rows
                } else {
                    &mut count.rows
                };
                *rows += 1;
            }
            if buffers.text.len() >= BLOCK {
                out.write_all(&buffers.text)
                    .map_err(|error| Error::writing(&path, error))?;
                segment.digest.update(&buffers.text);
                buffers.text.clear();
            }
        }
        out.write_all(&buffers.text)
            .map_err(|error| Error::writing(&path, error))?;
        segment.digest.update(&buffers.text);
        segment.digest.add_rows(segment.entries.len() as u64);
        Ok(counts)
    }

    fn write_key_index(&self, packets: &[Packet], digest: &mut FileDigest) -> Result<()> {
        let Some(name) = &self.options.key_index else {
            return Ok(());
        };
        let path = self.options.staging.join(name);
        let mut out = append(&path)?;
        let mut text = Vec::with_capacity(BLOCK + 1024);
        for packet in packets {
            let routes = packet.chunks().iter().zip(packet.sub_chunks());
            for (key, (chunk, sub_chunk)) in packet.keys().zip(routes) {
                text.extend_from_slice(key);
                for number in [self.options.chunk_numbers[*chunk as usize], *sub_chunk] {
                    text.push(self.options.delimiter);
                    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
                }
                text.extend_from_slice(self.options.line_end);
                if text.len() >= BLOCK {
                    out.write_all(&text)
                        .map_err(|error| Error::writing(&path, error))?;
                    digest.update(&text);
                    text.clear();
                }
            }
            digest.add_rows(packet.rows() as u64);
        }
        out.write_all(&text)
            .map_err(|error| Error::writing(&path, error))?;
        digest.update(&text);
        Ok(())
    }
}

/// What one thread needs to gather text.
struct Buffers {
    text: Vec<u8>,
    fillings: Vec<Vec<u8>>,
}

impl Sink for ChunkSink {
    fn write_run(&self, packets: &[Packet]) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let (entries, bounds) = group(packets, state.files.len())?;
        let is_new = |file: usize| bounds[file] < bounds[file + 1] && state.files[file].is_none();
        let new_files = (0..state.files.len()).filter(|file| is_new(*file)).count();
        state.paid.absorb(
            self.options
                .gate
                .charge(new_files as u64 * FileDigest::MEMORY),
        );
        let mut segments: Vec<Segment<'_>> = bounds
            .windows(2)
            .enumerate()
            .filter(|(_, bound)| bound[0] < bound[1])
            .map(|(file, bound)| Segment {
                file,
                entries: &entries[bound[0] as usize..bound[1] as usize],
                digest: state.files[file].take().unwrap_or_default(),
            })
            .collect();
        let new_buffers = || Buffers {
            text: Vec::with_capacity(BLOCK * 2),
            fillings: Vec::new(),
        };
        let (counts, keys) = rayon::join(
            || -> Result<SubChunkCounts> {
                segments
                    .par_iter_mut()
                    .map_init(new_buffers, |buffers, segment| {
                        self.write_segment(packets, segment, buffers)
                    })
                    .try_reduce(SubChunkCounts::new, |into, more| Ok(add_up(into, more)))
            },
            || self.write_key_index(packets, &mut state.key_index),
        );
        for segment in segments {
            state.files[segment.file] = Some(segment.digest);
        }
        keys?;
        state.sub_chunks = add_up(std::mem::take(&mut state.sub_chunks), counts?);
        Ok(())
    }
}

impl ChunkSinkOptions {
    fn file_name(&self, file: usize) -> String {
        let suffix = if file % 2 == 1 { "_overlap" } else { "" };
        format!("chunk_{}{suffix}.txt", self.chunk_numbers[file / 2])
    }

    fn fill_slots(&self, chunk: i32, sub_chunk: i32, fillings: &mut Vec<Vec<u8>>) {
        fillings.resize_with(self.slots.len(), Vec::new);
        for (slot, filling) in self.slots.iter().zip(fillings) {
            filling.clear();
            for part in slot {
                let number = match part {
                    SlotPart::Delimiter => {
                        filling.push(self.delimiter);
                        continue;
                    }
                    SlotPart::Chunk => chunk,
                    SlotPart::SubChunk => sub_chunk,
                };
                filling.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            }
        }
    }
}

fn add_up(mut into: SubChunkCounts, more: SubChunkCounts) -> SubChunkCounts {
    if into.is_empty() {
        return more;
    }
    for (key, count) in more {
        let sum = into.entry(key).or_default();
        sum.rows += count.rows;
        sum.overlap_rows += count.overlap_rows;
    }
    into
}

/// Sorts the rows of a run by file, keeping their order; `bounds[f]..bounds[f + 1]` are file f's.
fn group(packets: &[Packet], files: usize) -> Result<(Vec<Entry>, Vec<u32>)> {
    let mut bounds = vec![0u32; files + 1];
    let total: usize = packets
        .iter()
        .map(|p| p.chunks().len() + p.overlaps().len())
        .sum();
    if u32::try_from(total).is_err() {
        return Err(Error::new(
            ErrorKind::Internal,
            format!("a run of {total} rows is too long"),
        ));
    }
    for packet in packets {
        for chunk in packet.chunks() {
            bounds[*chunk as usize * 2 + 1] += 1;
        }
        for place in packet.overlaps() {
            bounds[place.chunk as usize * 2 + 2] += 1;
        }
    }
    for file in 0..files {
        bounds[file + 1] += bounds[file];
    }
    let mut next = bounds.clone();
    let mut entries = vec![Entry::default(); total];
    let mut put = |file: usize, packet: usize, index: usize| {
        entries[next[file] as usize] = Entry {
            packet: packet as u32,
            index: index as u32,
        };
        next[file] += 1;
    };
    for (number, packet) in packets.iter().enumerate() {
        for (row, chunk) in packet.chunks().iter().enumerate() {
            put(*chunk as usize * 2, number, row);
        }
        for (index, place) in packet.overlaps().iter().enumerate() {
            put(place.chunk as usize * 2 + 1, number, index);
        }
    }
    Ok((entries, bounds))
}

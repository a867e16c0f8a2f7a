//! A sink that groups rows by chunk and brings each chunk's rows into one staged file.
//!
//! A run is grouped by one counting sort over its rows. There are three ways on, which give the
//! same bytes ([`Finish`]): if all rows fit into memory, each file is written once; else the rows
//! of each run are appended to the files; or, where that would be a few rows here and there, the
//! run goes into the exchange file, and all runs are merged at the end.

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::chunk_journal::{Earlier, RunRecord, Unrecorded};
use super::chunk_rows::{Buffers, ChunkCounts, ChunkRows, SubChunkCount};
use super::digest::{Digests, FileDigest, FileSummary};
use super::early::EarlyRuns;
use super::exchange_file::ExchangeFile;
use super::grouping::{Entry, Groups};
use super::journal::{Journal, JournalPlace};
use super::merge::{CountSink, Merge};
use super::open_files::OpenFiles;
use super::packet::Packet;
use super::progress::Mark;
use super::{RunEnd, Sink};
use crate::error::{Error, Result};
use crate::publish::{append, crash_point, remove_optional, remove_unknown};
use crate::resources::{Cancel, Lease, MemoryGate};

/// Text is gathered in blocks of this size at most before it is written.
const MOST_BLOCK: u64 = 256 << 10;
const LEAST_BLOCK: u64 = 16 << 10;

/// Memory that a merge takes at least.
const LEAST_MERGE: u64 = 1 << 20;

/// Mean bytes of a segment from which on a run is worth writing early, where its file may stay open.
const SEGMENT_OF_OPEN_FILE: usize = 16 << 10;
/// The same where files must be opened and closed for each run.
const SEGMENT_OF_CLOSED_FILE: usize = 256 << 10;
/// Text after which the journal is written at the latest.
const MOST_UNRECORDED: u64 = 64 << 20;

/// Files that a thread takes at a time: few, for chunks differ in size.
const PARALLEL_SEGMENTS: usize = 8;

/// How rows that come run by run get into one file per chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Finish {
    /// What measurements say is best for the rows that come.
    #[default]
    Auto,
    /// All rows are kept in memory and each file is written once; an error if they do not fit.
    Memory,
    /// Each run is appended to the files.
    Append,
    /// Each run goes into the exchange file; all are merged at the end.
    Exchange,
}

impl Finish {
    /// Mean bytes of a segment below which the exchange file is quicker than appending
    /// (`make bench` tells).
    pub const SMALL_SEGMENT: usize = 4 << 10;

    /// Share of the memory limit that the digests of growing files may take.
    const DIGEST_SHARE: u64 = 8;
}

/// What a chunk sink writes, and where.
pub struct ChunkSinkOptions {
    /// How rows are finished.
    pub rows: ChunkRows,
    /// Staging folder of the files.
    pub staging: PathBuf,
    /// Name of the director index in that folder, if one is wanted.
    pub key_index: Option<String>,
    /// Where memory is paid for.
    pub gate: Arc<MemoryGate>,
    /// Ends a merge early when somebody says so.
    pub cancel: Cancel,
    /// Output files that may be open at once.
    pub max_open_files: usize,
    /// Path of the exchange file, should one be needed.
    pub exchange_path: PathBuf,
    /// How the files come about.
    pub finish: Finish,
    /// Mean bytes of a segment below which runs go into the exchange file by choice.
    pub small_segment: usize,
}

/// Groups the rows of each run by chunk.
pub struct ChunkSink {
    options: ChunkSinkOptions,
    block: usize,
    open_files: OpenFiles,
    /// Where the journal is, if one is kept.
    place: Option<JournalPlace>,
    early_runs: EarlyRuns,
    state: Mutex<State>,
}

struct State {
    /// Files that have been appended to; empty before the first append.
    growing: Vec<Option<Box<FileDigest>>>,
    /// Files that were written whole.
    whole: Vec<FileSummary>,
    exchange: Option<ExchangeFile>,
    sub_chunks: ChunkCounts,
    key_index: FileDigest,
    journal: Option<Journal>,
    unrecorded: Unrecorded,
    /// Text that the journal does not tell of yet.
    unrecorded_bytes: u64,
    /// Pays for what is kept of each file.
    paid: Lease,
}

/// Rows of one file in one run.
struct Segment<'a> {
    file: usize,
    entries: &'a [Entry],
    digest: Box<FileDigest>,
}

impl ChunkSink {
    /// Makes a sink.
    pub fn new(options: ChunkSinkOptions) -> Self {
        let room = options.gate.room();
        let state = State {
            growing: Vec::new(),
            whole: Vec::new(),
            exchange: None,
            sub_chunks: ChunkCounts::default(),
            key_index: FileDigest::default(),
            journal: None,
            unrecorded: Unrecorded::default(),
            unrecorded_bytes: 0,
            paid: options.gate.charge(0),
        };
        Self {
            block: (room / 512).clamp(LEAST_BLOCK, MOST_BLOCK) as usize,
            open_files: OpenFiles::new(options.max_open_files),
            options,
            place: None,
            early_runs: EarlyRuns::new(),
            state: Mutex::new(state),
        }
    }

    /// Makes a sink with a journal; goes on where an earlier run was ended, and returns how far
    /// that one came.
    ///
    /// # Errors
    /// Staged files or the journal can't be opened.
    pub fn resumable(
        options: ChunkSinkOptions,
        place: JournalPlace,
    ) -> Result<(Self, Option<Mark>)> {
        let mut earlier = Earlier::default();
        let files = options.rows.files();
        let journal = Journal::reopen(&place, |json, lists| {
            serde_json::from_slice(json).is_ok_and(|run| earlier.take(run, lists, files))
        })?;
        let mut sink = Self::new(options);
        sink.place = Some(place);
        // An exchange file elsewhere, of a run with another folder for such files.
        for path in earlier.strangers(&sink.options.exchange_path) {
            remove_optional(path)?;
        }
        let restored = match journal {
            // Who wants all rows in memory begins anew.
            Some(journal) if earlier.mark.is_some() && sink.options.finish != Finish::Memory => {
                sink.restore(earlier, journal)?
            }
            _ => None,
        };
        let state = sink.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let (rows, key_index) = (&sink.options.rows, &sink.options.key_index);
        let mut known: HashSet<String> = state
            .growing
            .iter()
            .enumerate()
            .filter(|(_, digest)| digest.is_some())
            .map(|(file, _)| rows.file_name(file))
            .collect();
        known.extend(key_index.iter().filter(|_| restored.is_some()).cloned());
        let staging = &sink.options.staging;
        remove_unknown(staging, |name| known.contains(name))?;
        for folder in rows.names.node_folders() {
            let is_known = |name: &str| known.contains(&format!("{folder}{name}"));
            remove_unknown(&staging.join(folder), is_known)?;
        }
        Ok((sink, restored))
    }

    /// Takes up the staged files of an earlier run; nothing if they are not what it said.
    fn restore(&mut self, earlier: Earlier, journal: Journal) -> Result<Option<Mark>> {
        let options = &self.options;
        let growing: Result<Vec<_>> = earlier
            .files
            .par_iter()
            .enumerate()
            .map(|(file, state)| {
                let Some(state) = state else {
                    return Ok(Some(None));
                };
                let path = options.staging.join(options.rows.file_name(file));
                let digest = FileDigest::restore(&path, state, options.rows.digests)?;
                Ok(digest.map(|digest| Some(Box::new(digest))))
            })
            .collect();
        let growing: Option<Vec<_>> = growing?.into_iter().collect();
        let exchange = match earlier.runs.is_empty() {
            true => Some(None),
            false => {
                let path = &options.exchange_path;
                ExchangeFile::reopen(path, self.configuration(), &earlier.runs)?.map(Some)
            }
        };
        let key_index = match (&options.key_index, earlier.key_index) {
            (Some(name), Some(state)) => {
                FileDigest::restore(&options.staging.join(name), &state, Digests::Both)?
            }
            _ => Some(FileDigest::default()),
        };
        let (Some(growing), Some(exchange), Some(key_index)) = (growing, exchange, key_index)
        else {
            return Ok(None);
        };
        let digests = growing.iter().flatten().count() as u64 * FileDigest::MEMORY;
        let marks = exchange.as_ref().map_or(0, ExchangeFile::memory);
        let paid = digests + marks + earlier.sub_chunks.memory();
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.paid.absorb(options.gate.charge(paid));
        state.growing = growing;
        state.exchange = exchange;
        state.sub_chunks = earlier.sub_chunks;
        state.key_index = key_index;
        state.journal = Some(journal);
        Ok(earlier.mark)
    }

    /// Notes in the journal what has come since the last record.
    fn record(&self, state: &mut State, mark: Option<&Mark>) -> Result<()> {
        // Without a mark nobody could tell what comes next; the next record tells of this run too.
        let (Some(place), Some(mark)) = (&self.place, mark) else {
            return Ok(());
        };
        crash_point("run-written");
        state.unrecorded_bytes = 0;
        let new = std::mem::take(&mut state.unrecorded);
        let (files, lists) = new.lists(&state.growing);
        let journal = match &mut state.journal {
            Some(journal) => journal,
            None => state.journal.insert(Journal::begin(place)?),
        };
        let record = RunRecord {
            mark: mark.clone(),
            key_index: state.key_index.state(),
            exchange_path: self.options.exchange_path.clone(),
            exchange: new.runs,
            files,
        };
        journal.append(&record, &lists)?;
        crash_point("run-recorded");
        Ok(())
    }

    /// Brings all rows into their files, and returns the files in order of chunk numbers; `counts`
    /// gets the rows of each sub-chunk if they were to be counted.
    ///
    /// # Errors
    /// A file can't be written, or the exchange file can't be read back.
    pub fn finish(self, counts: &mut CountSink<'_>) -> Result<Vec<FileSummary>> {
        let options = self.options;
        drop(self.open_files);
        let mut state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut files = state.whole;
        let mut earlier = state.sub_chunks.into_sorted().into_iter().peekable();
        if let Some(exchange) = &state.exchange {
            // What is kept of each file, and then the record of all, needs room as well.
            let kept = (options.rows.files() * size_of::<FileSummary>()) as u64;
            let memory = (options.gate.free().saturating_sub(kept) / 2).max(LEAST_MERGE);
            let _paid = options.gate.charge(memory);
            let merge = Merge {
                runs: exchange,
                wants: None,
                rows: &options.rows,
                staging: &options.staging,
                memory,
                cancel: &options.cancel,
            };
            // What was appended before the exchange file was begun comes in between.
            let mut all = |key: (i32, i32), mut count: SubChunkCount| {
                while let Some((before, known)) = earlier.next_if(|(known, _)| *known <= key) {
                    if before == key {
                        count.rows += known.rows;
                        count.overlap_rows += known.overlap_rows;
                    } else {
                        counts(before, known)?;
                    }
                }
                counts(key, count)
            };
            files = merge.run(&mut state.growing, &mut all)?;
            crash_point("merged");
        } else {
            let grown = state.growing.into_iter().enumerate();
            files.extend(grown.filter_map(|(file, digest)| Some(options.summary(file, digest?))));
        }
        for (key, count) in earlier {
            counts(key, count)?;
        }
        if let Some(name) = options.key_index.filter(|_| state.key_index.rows() > 0) {
            let path = format!("{}{name}", options.rows.names.folder());
            files.push(state.key_index.finish(path, None, false));
        }
        Ok(files)
    }

    /// Returns a digest of what decides the bytes, for the exchange file.
    fn configuration(&self) -> [u8; 16] {
        let identity = self.place.as_ref().map_or("", |place| &place.identity);
        xxhash_rust::xxh3::xxh3_128(identity.as_bytes()).to_be_bytes()
    }

    /// Chooses the way of a run.
    fn way(&self, state: &State, run: &Run<'_>) -> Result<Finish> {
        let is_only = state.growing.is_empty() && run.is_last;
        if state.exchange.is_some() {
            // What is in the exchange file comes before all that is appended from now on.
            return Ok(Finish::Exchange);
        }
        match self.options.finish {
            _ if is_only && self.options.finish != Finish::Exchange => Ok(Finish::Memory),
            Finish::Memory => Err(Error::usage(format!(
                "the rows do not fit into the memory limit of {} MiB",
                self.options.gate.limit() >> 20
            ))
            .hint("raise --memory-limit, or let skyprep choose how files are finished")),
            Finish::Auto if run.is_last => Ok(Finish::Append),
            Finish::Auto => {
                let text: usize = run.packets.iter().map(|packet| packet.text().len()).sum();
                let own: usize = run.packets.iter().map(Packet::rows).sum();
                // Overlap rows are about as long as the others.
                let bytes = text as f64 * run.groups.rows() as f64 / own.max(1) as f64;
                let segments = run.groups.segments().max(1);
                let digests = (state.paid.bytes() / FileDigest::MEMORY).max(segments as u64);
                let is_small = bytes / (segments as f64) < self.options.small_segment as f64;
                let is_too_many =
                    digests * FileDigest::MEMORY > self.options.gate.room() / Finish::DIGEST_SHARE;
                Ok(if is_small || is_too_many {
                    Finish::Exchange
                } else {
                    Finish::Append
                })
            }
            Finish::Append if self.digests(state, run) > self.options.gate.room() / 2 => {
                Err(Error::usage(format!(
                    "appending to {} files takes more than the memory limit of {} MiB allows",
                    run.groups.segments(),
                    self.options.gate.limit() >> 20
                ))
                .hint("raise --memory-limit, or say --finish exchange"))
            }
            forced => Ok(forced),
        }
    }

    /// Returns the bytes that the digests of growing files would take after a run.
    fn digests(&self, state: &State, run: &Run<'_>) -> u64 {
        let segments = run.groups.segments() as u64;
        state.paid.bytes().max(segments * FileDigest::MEMORY)
    }

    /// Writes the files of the only run, each once.
    fn write_whole(&self, run: &Run<'_>) -> Result<(Vec<FileSummary>, ChunkCounts)> {
        let segments: Vec<(usize, &[Entry])> = run.groups.iter().collect();
        let parts: Result<Vec<_>> = segments
            .par_chunks(PARALLEL_SEGMENTS)
            .map(|part| {
                let mut buffers = Buffers::default();
                let mut counts = ChunkCounts::default();
                let files: Result<Vec<_>> = part
                    .iter()
                    .map(|(file, entries)| {
                        let digest = Box::new(FileDigest::new(self.options.rows.digests));
                        let mut segment = Segment {
                            file: *file,
                            entries,
                            digest,
                        };
                        self.append_segment(run.packets, &mut segment, &mut buffers, &mut counts)?;
                        Ok(self.options.summary(*file, segment.digest))
                    })
                    .collect();
                Ok((files?, counts))
            })
            .collect();
        let mut files = Vec::with_capacity(segments.len());
        let mut sub_chunks = Vec::new();
        for (part, counts) in parts? {
            files.extend(part);
            sub_chunks.push(counts);
        }
        Ok((files, ChunkCounts::joined(sub_chunks)))
    }

    /// Appends the rows of a run to their files.
    fn append_run(&self, run: &Run<'_>, state: &mut Growing<'_>) -> Result<()> {
        state.files.resize_with(self.options.rows.files(), || None);
        self.open_files.next_run();
        let is_new = |(file, _): &(usize, &[Entry])| state.files[*file].is_none();
        let new = run.groups.iter().filter(is_new).count() as u64;
        let paid = self.options.gate.charge(new * FileDigest::MEMORY);
        state.paid.absorb(paid);
        let mut segments: Vec<Segment<'_>> = run
            .groups
            .iter()
            .map(|(file, entries)| Segment {
                file,
                entries,
                digest: state.files[file]
                    .take()
                    .unwrap_or_else(|| Box::new(FileDigest::new(self.options.rows.digests))),
            })
            .collect();
        let counts: Result<Vec<_>> = segments
            .par_chunks_mut(PARALLEL_SEGMENTS)
            .map(|part| {
                let mut buffers = Buffers::default();
                let mut counts = ChunkCounts::default();
                for segment in part {
                    self.append_segment(run.packets, segment, &mut buffers, &mut counts)?;
                }
                Ok(counts)
            })
            .collect();
        for segment in segments {
            state.unrecorded.files.insert(segment.file);
            state.files[segment.file] = Some(segment.digest);
        }
        let counts = ChunkCounts::joined(counts?);
        let before = state.sub_chunks.memory();
        if self.place.is_some() {
            state.unrecorded.counts.merge(counts.clone());
        }
        state.sub_chunks.merge(counts);
        let more = state.sub_chunks.memory().saturating_sub(before);
        state.paid.absorb(self.options.gate.charge(more));
        Ok(())
    }

    fn append_segment(
        &self,
        packets: &[Packet],
        segment: &mut Segment<'_>,
        buffers: &mut Buffers,
        counts: &mut ChunkCounts,
    ) -> Result<()> {
        self.options.cancel.check()?;
        let rows = &self.options.rows;
        let path = || self.options.staging.join(rows.file_name(segment.file));
        let mut out = self
            .open_files
            .take(segment.file, || path().into_boxed_path())?;
        let digest = &mut segment.digest;
        let mut flush = |text: &mut Vec<u8>| {
            out.write_all(text)
                .map_err(|error| Error::writing(&path(), error))?;
            digest.update(text);
            text.clear();
            Ok(())
        };
        buffers.text.clear();
        let what = (segment.file, segment.entries);
        rows.write(packets, what, self.block, buffers, &mut flush)?;
        flush(&mut buffers.text)?;
        digest.add_rows(segment.entries.len() as u64);
        self.open_files.put_back(segment.file, out);
        let (chunk, is_overlap) = rows.chunk_of(segment.file);
        for (sub_chunk, rows) in &buffers.counts {
            counts.add((chunk, *sub_chunk), u64::from(*rows), is_overlap);
        }
        Ok(())
    }

    /// Writes a run to the exchange file.
    fn spill(&self, run: &Run<'_>, exchange: &mut Option<ExchangeFile>) -> Result<()> {
        let exchange = match exchange {
            Some(exchange) => exchange,
            None => exchange.insert(ExchangeFile::create(
                &self.options.exchange_path,
                self.configuration(),
            )?),
        };
        exchange.write_run(&self.options.rows, run.packets, &run.groups, self.block)
    }

    fn write_key_index(&self, packets: &[Packet], digest: &mut FileDigest) -> Result<()> {
        let Some(name) = &self.options.key_index else {
            return Ok(());
        };
        let rows = &self.options.rows;
        let path = self.options.staging.join(name);
        let mut out = append(&path)?;
        let mut text = Vec::with_capacity(self.block + 1024);
        for packet in packets {
            digest.add_rows(rows.write_keys(packet, &mut text));
            if text.len() >= self.block {
                out.write_all(&text)
                    .map_err(|error| Error::writing(&path, error))?;
                digest.update(&text);
                text.clear();
            }
        }
        out.write_all(&text)
            .map_err(|error| Error::writing(&path, error))?;
        digest.update(&text);
        Ok(())
    }
}

/// A run on its way.
struct Run<'a> {
    packets: &'a [Packet],
    groups: Groups,
    is_last: bool,
}

/// What changes when a run is appended.
struct Growing<'s> {
    files: &'s mut Vec<Option<Box<FileDigest>>>,
    sub_chunks: &'s mut ChunkCounts,
    unrecorded: &'s mut Unrecorded,
    paid: &'s mut Lease,
}

impl Sink for ChunkSink {
    fn write_run(&self, packets: &[Packet], end: RunEnd<'_>) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        if packets.is_empty() {
            // Only now is known that the run before was the last.
            return match state.journal.is_some() {
                true => self.record(state, end.mark()),
                false => Ok(()),
            };
        }
        let run = Run {
            packets,
            groups: Groups::of(packets, self.options.rows.files())?,
            is_last: end.is_last(),
        };
        let way = self.way(state, &run)?;
        let State {
            growing,
            whole,
            exchange,
            sub_chunks,
            key_index,
            unrecorded,
            paid,
            ..
        } = state;
        let (rows, keys) = rayon::join(
            || match way {
                Finish::Memory => {
                    (*whole, *sub_chunks) = self.write_whole(&run)?;
                    Ok(())
                }
                Finish::Exchange => {
                    let memory =
                        |file: &Option<ExchangeFile>| file.as_ref().map_or(0, ExchangeFile::memory);
                    let before = memory(exchange);
                    self.spill(&run, exchange)?;
                    let more = memory(exchange) - before;
                    paid.absorb(self.options.gate.charge(more));
                    let last = exchange.as_ref().and_then(ExchangeFile::last_run);
                    unrecorded.runs.extend(last);
                    Ok(())
                }
                Finish::Append | Finish::Auto => {
                    let mut growing = Growing {
                        files: growing,
                        sub_chunks,
                        unrecorded,
                        paid,
                    };
                    self.append_run(&run, &mut growing)
                }
            },
            || self.write_key_index(packets, key_index),
        );
        rows.and(keys)?;
        let text: usize = packets.iter().map(|packet| packet.text().len()).sum();
        state.unrecorded_bytes += text as u64;
        // Short runs would make a long journal.
        let is_due = state.unrecorded_bytes >= MOST_UNRECORDED.min(self.options.gate.room() / 4);
        match way {
            // What is written at once is made again at once.
            Finish::Memory => Ok(()),
            _ if is_due || end.is_last() => self.record(state, end.mark()),
            _ => Ok(()),
        }
    }

    fn early_run(&self) -> u64 {
        self.early_runs.bytes()
    }

    fn is_worth_writing(&self, run: &[Packet]) -> bool {
        if matches!(self.options.finish, Finish::Memory | Finish::Exchange) {
            self.early_runs.stop();
            return false;
        }
        let least = |segments| match segments <= self.options.max_open_files {
            true => SEGMENT_OF_OPEN_FILE,
            false => SEGMENT_OF_CLOSED_FILE,
        };
        let files = self.options.rows.files();
        self.early_runs.is_worth_it(run, files, least)
    }
}

impl ChunkSinkOptions {
    // The box is how a growing file's digest is kept.
    #[allow(clippy::boxed_local, reason = "digests of growing files live in boxes")]
    fn summary(&self, file: usize, digest: Box<FileDigest>) -> FileSummary {
        let (chunk, is_overlap) = self.rows.chunk_of(file);
        digest.finish_chunk(self.rows.names.stem(chunk), chunk, is_overlap)
    }
}

//! Merges the runs of an exchange file into one file per chunk.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::chunk_rows::{ChunkCounts, ChunkRows, SubChunkCount};
use super::digest::{FileDigest, FileSummary};
use super::segments::{RunReader, SegmentHeader};
use crate::error::{Error, Result};
use crate::publish::append;
use crate::resources::Cancel;

/// Gets the rows of each sub-chunk, in order of chunk and sub-chunk numbers.
pub type CountSink<'a> = dyn FnMut((i32, i32), SubChunkCount) -> Result<()> + 'a;

/// A read shorter than this costs more than the bytes it brings.
const LEAST_READ: u64 = 4 << 10;
const MOST_READ: u64 = 256 << 10;
/// A read that is long enough for parallel file systems.
const LONG_READ: u64 = 1 << 20;

/// Sorted runs that are merged.
pub(super) trait Runs: Sync {
    /// Returns the number of runs.
    fn count(&self) -> usize;

    /// Returns file numbers below `files` that cut what is there into windows of about `bytes` bytes
    /// each; no window parts the two files of a chunk.
    fn windows(&self, files: usize, bytes: u64) -> Vec<Range<usize>>;

    /// Returns a reader of run number `run` that stands at the first segment of the files `files` or
    /// before, and ends behind their last or later, reading `buffer` bytes at a time.
    fn reader(&self, run: usize, files: Range<usize>, buffer: usize) -> RunReader<'_>;

    /// Returns the bytes of all runs if readers begin and end just where they should: then nothing is
    /// read in vain, and long reads cost nothing but memory.
    fn exact_bytes(&self) -> Option<u64> {
        None
    }
}

/// What a merge works with.
pub(super) struct Merge<'a> {
    pub(super) runs: &'a dyn Runs,
    /// Says which files are to be made; without it all are.
    pub(super) wants: Option<&'a (dyn Fn(usize) -> bool + Sync)>,
    pub(super) rows: &'a ChunkRows,
    /// Staging folder of the files.
    pub(super) staging: &'a Path,
    /// Bytes of memory for buffers.
    pub(super) memory: u64,
    pub(super) cancel: &'a Cancel,
}

/// What one window gave.
#[derive(Default)]
struct Window {
    files: Vec<FileSummary>,
    counts: ChunkCounts,
}

impl Merge<'_> {
    /// Writes every file, behind what `begun` says that it holds already, and returns the files
    /// in order.
    ///
    /// # Errors
    /// The exchange file is damaged, or a file can't be written.
    pub(super) fn run(
        &self,
        begun: &mut [Option<Box<FileDigest>>],
        counts: &mut CountSink<'_>,
    ) -> Result<Vec<FileSummary>> {
        // Each window has a buffer for each run.
        let least = (self.runs.count() as u64 + 1) * LEAST_READ;
        let at_once = usize::try_from(self.memory / least).unwrap_or(1).max(1);
        let threads = rayon::current_num_threads().min(at_once);
        // Counts and digests of a window are kept until it is done, and threads wait for each
        // other after each batch of windows: neither many nor few.
        let mut bytes = (self.memory / 4).clamp(1 << 20, 32 << 20);
        if let Some(all) = self.runs.exact_bytes() {
            // Long reads of each run, as far as all threads have something to do.
            let long = self.runs.count() as u64 * LONG_READ;
            bytes = bytes.max(long.min(all / (threads as u64 * 2)));
        }
        let windows = self.runs.windows(self.rows.files(), bytes);
        // Buffers go from window to window: memory that is touched for the first time costs much.
        let buffers = Mutex::new(Vec::new());
        // Room for all there may be: a list that grows leaves holes behind, and what is not touched
        // takes no memory.
        let mut files = Vec::with_capacity(self.rows.files());
        let mut rest = begun;
        for batch in windows.chunks(threads) {
            let mut parts = Vec::with_capacity(batch.len());
            for range in batch {
                let (own, others) = rest.split_at_mut(range.len().min(rest.len()));
                rest = others;
                parts.push((range.clone(), own));
            }
            let done: Result<Vec<Window>> = parts
                .into_par_iter()
                .map(|(range, begun)| self.window(range, begun, threads, &buffers))
                .collect();
            for window in done? {
                files.extend(window.files);
                for (key, count) in window.counts.into_sorted() {
                    counts(key, count)?;
                }
            }
        }
        Ok(files)
    }

    fn window(
        &self,
        range: Range<usize>,
        begun: &mut [Option<Box<FileDigest>>],
        threads: usize,
        buffers: &Mutex<Vec<Vec<u8>>>,
    ) -> Result<Window> {
        let mut window = Window::default();
        let runs = self.runs.count();
        let share = self.memory / (threads as u64 * (runs as u64 + 1));
        let buffer = match self.runs.exact_bytes() {
            Some(_) => share.clamp(LEAST_READ, LONG_READ),
            // What is read beyond a window's end is read in vain.
            None => share
                .min(self.memory / 16 / (runs as u64 + 1))
                .clamp(LEAST_READ, MOST_READ),
        };
        let buffer = buffer as usize;
        let used = || {
            let mut buffers = buffers.lock().unwrap_or_else(PoisonError::into_inner);
            buffers.pop().unwrap_or_default()
        };
        let mut readers: Vec<RunReader<'_>> = (0..runs)
            .map(|run| self.runs.reader(run, range.clone(), buffer).reusing(used()))
            .collect();
        // The smallest file comes first, then the earliest stretch of the inputs, and of several runs
        // the earliest: that is input order.
        let mut next = BinaryHeap::with_capacity(runs);
        for (run, reader) in readers.iter_mut().enumerate() {
            if let Some(header) = self.next_wanted(reader, range.start)? {
                next.push(Reverse((header.file, header.order, run)));
            }
        }
        let mut out = Vec::with_capacity(buffer);
        let mut file = range.start;
        while file < range.end {
            let of_run = next
                .peek()
                .map_or(range.end, |Reverse((file, ..))| *file as usize);
            let of_begun = begun
                .iter()
                .skip(file - range.start)
                .position(Option::is_some)
                .map_or(range.end, |ahead| file + ahead);
            file = of_run.min(of_begun);
            if file >= range.end {
                break;
            }
            self.cancel.check()?;
            let digest = begun.get_mut(file - range.start).and_then(Option::take);
            let mut target = Target {
                path: self.staging.join(self.rows.file_name(file)),
                file: None,
                digest: digest.unwrap_or_else(|| Box::new(FileDigest::new(self.rows.digests))),
                buffered: &mut out,
                most: buffer,
            };
            while let Some(Reverse((next_file, order, run))) = next.peek().copied()
                && next_file as usize == file
            {
                next.pop();
                let which = (file, order);
                let following =
                    self.copy_all(&mut readers[run], which, &mut target, &mut window)?;
                if let Some(header) = following {
                    next.push(Reverse((header.file, header.order, run)));
                }
            }
            let digest = target.close()?;
            let (chunk, is_overlap) = self.rows.chunk_of(file);
            let done = digest.finish_chunk(self.rows.names.stem(chunk), chunk, is_overlap);
            window.files.push(done);
            file += 1;
        }
        let mut buffers = buffers.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.extend(readers.into_iter().map(RunReader::into_buffer));
        drop(buffers);
        Ok(window)
    }

    /// Goes to the next segment of a run that is of file `first` or later and wanted.
    fn next_wanted(
        &self,
        reader: &mut RunReader<'_>,
        first: usize,
    ) -> Result<Option<SegmentHeader>> {
        while let Some(header) = reader.peek()? {
            let file = header.file as usize;
            if file >= first && self.wants.is_none_or(|wants| wants(file)) {
                return Ok(Some(header));
            }
            reader.skip(&header)?;
        }
        Ok(None)
    }

    /// Copies all segments of a file and a stretch that come next in a run; returns the header after
    /// them.
    fn copy_all(
        &self,
        reader: &mut RunReader<'_>,
        (file, order): (usize, u32),
        target: &mut Target<'_>,
        window: &mut Window,
    ) -> Result<Option<SegmentHeader>> {
        let (chunk, is_overlap) = self.rows.chunk_of(file);
        loop {
            let header = match self.next_wanted(reader, file)? {
                Some(header) if header.file as usize == file && header.order == order => header,
                other => return Ok(other),
            };
            let counts = reader.copy(&header, |part| target.write(part))?;
            target.digest.add_rows(u64::from(header.rows));
            for (sub_chunk, rows) in counts {
                window
                    .counts
                    .add((chunk, sub_chunk), u64::from(rows), is_overlap);
            }
        }
    }
}

/// The file being written; it is opened when there is something to write.
struct Target<'b> {
    path: std::path::PathBuf,
    file: Option<std::fs::File>,
    digest: Box<FileDigest>,
    buffered: &'b mut Vec<u8>,
    most: usize,
}

impl Target<'_> {
    fn write(&mut self, part: &[u8]) -> Result<()> {
        if self.buffered.len() + part.len() > self.most {
            self.flush()?;
        }
        if part.len() >= self.most {
            return self.put(part);
        }
        self.buffered.extend_from_slice(part);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let bytes = std::mem::take(self.buffered);
        let put = self.put(&bytes);
        *self.buffered = bytes;
        self.buffered.clear();
        put
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(append(&self.path)?),
        };
        file.write_all(bytes)
            .map_err(|error| Error::writing(&self.path, error))?;
        self.digest.update(bytes);
        Ok(())
    }

    fn close(mut self) -> Result<Box<FileDigest>> {
        self.flush()?;
        Ok(self.digest)
    }
}

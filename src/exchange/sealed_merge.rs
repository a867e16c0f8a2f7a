//! Merges of sealed files: into the files of chunks, into one stream of rows, or into one sealed file
//! that holds what several held.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;
use std::path::Path;

use super::chunk_rows::ChunkRows;
use super::digest::FileSummary;
use super::merge::{CountSink, Merge, Runs};
use super::sealed::{SealedFile, SealedWriter, SectionContent, Slice};
use super::segments::RunReader;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::resources::Cancel;

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 1 << 20;
const LEAST_READ: u64 = 4 << 10;
const MOST_READ: u64 = 1 << 20;

/// The same range of files in one table's sections of several sealed files.
pub struct SealedRuns<'a> {
    slices: Vec<Slice<'a>>,
}

impl<'a> SealedRuns<'a> {
    /// Finds a range of files of a table in sealed files; those that have none of its rows count for
    /// nothing.
    ///
    /// # Errors
    /// A file can't be read or is damaged.
    pub fn find(
        sources: &'a [SealedFile],
        table: &str,
        content: SectionContent,
        files: &Range<usize>,
    ) -> Result<Self> {
        let mut slices = Vec::new();
        for source in sources {
            let Some(section) = source.section(table, content) else {
                continue;
            };
            let slice = source.slice(section, files.clone())?;
            if !slice.is_empty() {
                slices.push(slice);
            }
        }
        Ok(Self { slices })
    }

    /// Returns the rows of each file that has any.
    pub fn rows_of_files(&self) -> BTreeMap<usize, u64> {
        let mut all = BTreeMap::new();
        for (file, rows, _) in self.slices.iter().flat_map(Slice::files) {
            *all.entry(file as usize).or_default() += rows;
        }
        all
    }

    /// Writes each of the files that `wants` is true for, and returns them in order.
    ///
    /// # Errors
    /// A segment is damaged, a file can't be written, or rows are lacking.
    pub fn merge(
        &self,
        rows: &ChunkRows,
        wants: &(dyn Fn(usize) -> bool + Sync),
        work: &MergeWork<'_>,
        counts: &mut CountSink<'_>,
    ) -> Result<Vec<FileSummary>> {
        let merge = Merge {
            runs: self,
            wants: Some(wants),
            rows,
            staging: work.staging,
            memory: work.memory,
            cancel: work.cancel,
        };
        let files = merge.run(&mut [], counts)?;
        let mut expected = self.rows_of_files();
        expected.retain(|file, _| wants(*file));
        let found = files
            .iter()
            .map(|file| (file.chunk(), file.is_overlap(), file.rows));
        let named = expected.iter().map(|(file, expected)| {
            let (chunk, is_overlap) = rows.chunk_of(*file);
            (Some(chunk), is_overlap, *expected)
        });
        match found.eq(named) {
            true => Ok(files),
            false => Err(Error::new(
                ErrorKind::Integrity,
                "chunk files lack rows, or have too many",
            )
            .at(Place::file(work.staging.display().to_string()))
            .hint("please report this")),
        }
    }

    /// Gives all text to `out`, stretch by stretch of the inputs; returns the rows.
    ///
    /// # Errors
    /// A segment is damaged; or `out` fails.
    pub fn stream(
        &self,
        work: &MergeWork<'_>,
        out: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<u64> {
        let mut rows = 0;
        in_order(self, work, &mut |header, reader| {
            rows += u64::from(header.rows);
            reader.copy(header, |part| out(part)).map(drop)
        })?;
        Ok(rows)
    }
}

/// What a merge works with.
pub struct MergeWork<'a> {
    /// Folder of the files that are made.
    pub staging: &'a Path,
    /// Bytes of memory for buffers.
    pub memory: u64,
    /// Ends the work early when somebody says so.
    pub cancel: &'a Cancel,
}

impl Runs for SealedRuns<'_> {
    fn count(&self) -> usize {
        self.slices.len()
    }

    fn windows(&self, files: usize, bytes: u64) -> Vec<Range<usize>> {
        let mut sizes: BTreeMap<usize, u64> = BTreeMap::new();
        for (file, _, size) in self.slices.iter().flat_map(Slice::files) {
            *sizes.entry(file as usize / 2 * 2).or_default() += size;
        }
        let mut bounds = vec![0];
        let mut sum = 0;
        for (file, size) in sizes {
            if sum >= bytes {
                bounds.push(file);
                sum = 0;
            }
            sum += size;
        }
        bounds.push(files);
        bounds.dedup();
        bounds.windows(2).map(|b| b[0]..b[1]).collect()
    }

    fn reader(&self, run: usize, files: Range<usize>, buffer: usize) -> RunReader<'_> {
        self.slices[run].reader(files, buffer)
    }

    fn exact_bytes(&self) -> Option<u64> {
        Some(self.slices.iter().map(Slice::bytes).sum())
    }
}

/// Copies all sections of several sealed files into one: each table's rows sorted as a reader of the
/// sources would find them.
///
/// # Errors
/// A segment is damaged, or the file can't be written.
pub fn join_sealed(
    sources: &[SealedFile],
    work: &MergeWork<'_>,
    into: &mut SealedWriter,
) -> Result<()> {
    let mut all: Vec<(&str, SectionContent)> = Vec::new();
    for section in sources.iter().flat_map(SealedFile::sections) {
        let which = (section.table.as_str(), section.content);
        if !all.contains(&which) {
            all.push(which);
        }
    }
    for (table, content) in all {
        let runs = SealedRuns::find(sources, table, content, &(0..usize::MAX))?;
        seal(&runs, work, into)?;
        into.end_section(table, content)?;
    }
    Ok(())
}

/// Copies runs into the open section of a sealed file.
///
/// # Errors
/// A segment is damaged, or the file can't be written.
pub(super) fn seal(runs: &dyn Runs, work: &MergeWork<'_>, into: &mut SealedWriter) -> Result<()> {
    let mut buffer = Vec::with_capacity(WRITE_BYTES);
    in_order(runs, work, &mut |header, reader| {
        into.append_copy(header, reader, &mut buffer)
    })?;
    into.flush(&mut buffer)
}

type EachSegment<'e> =
    dyn FnMut(&super::segments::SegmentHeader, &mut RunReader<'_>) -> Result<()> + 'e;

/// Gives all segments of all runs to `each`, which must read them, in order of file, stretch of the
/// inputs, and run.
fn in_order(runs: &dyn Runs, work: &MergeWork<'_>, each: &mut EachSegment<'_>) -> Result<()> {
    let count = runs.count();
    let share = work.memory / (count as u64 + 1);
    let buffer = usize::try_from(share.clamp(LEAST_READ, MOST_READ)).unwrap_or(1 << 20);
    let mut readers: Vec<RunReader<'_>> = (0..count)
        .map(|run| runs.reader(run, 0..usize::MAX, buffer))
        .collect();
    let mut next = BinaryHeap::with_capacity(count);
    for (run, reader) in readers.iter_mut().enumerate() {
        if let Some(header) = reader.peek()? {
            next.push(Reverse((header.file, header.order, run)));
        }
    }
    while let Some(Reverse((file, order, run))) = next.pop() {
        work.cancel.check()?;
        let reader = &mut readers[run];
        while let Some(header) = reader.peek()? {
            if (header.file, header.order) != (file, order) {
                next.push(Reverse((header.file, header.order, run)));
                break;
            }
            each(&header, reader)?;
        }
    }
    Ok(())
}

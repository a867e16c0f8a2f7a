//! Sorts the rows of a file, in memory or part by part.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rayon::prelude::*;

use super::sort_key::{KeyKind, push_value};
use crate::dialect::{Dialect, OwnBlock, each_own_block};
use crate::error::{Error, Result};
use crate::publish::create_spill;
use crate::resources::Cancel;

/// A column that rows are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortColumn {
    /// Its field, from 0.
    pub field: usize,
    /// How its values are compared.
    pub kind: KeyKind,
}

/// What sorting works with.
pub struct SortWork<'a> {
    /// Dialect of the rows.
    pub dialect: &'a Dialect,
    /// The columns; the first counts most.
    pub columns: &'a [SortColumn],
    /// Where parts wait that memory does not hold; the file goes in the end.
    pub scratch: &'a Path,
    /// Bytes of memory, about.
    pub memory: u64,
    /// Ends the work early when somebody says so.
    pub cancel: &'a Cancel,
}

/// Bytes that are written at a time.
const BLOCK: usize = 1 << 20;
/// Bytes that a row takes beside its text and its key.
const ROW_BYTES: usize = 48;
/// Least bytes that a part is read by while parts are merged, and most.
const LEAST_READ: u64 = 4 << 10;
const MOST_READ: u64 = 1 << 20;

/// Parts that are merged at once; of more some are made into one first.
const MOST_PARTS: usize = if cfg!(test) { 2 } else { 256 };

/// Gives the rows of the file `path` to `out` in order, each with its line end.
///
/// # Errors
/// The file can't be read, a row has fewer fields than are sorted by, the scratch file can't be written,
/// or `out` fails.
pub fn sort_file(
    path: &Path,
    work: &SortWork<'_>,
    out: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut rows = Rows::default();
    let mut parts: Option<Parts<'_>> = None;
    each_own_block(path, work.dialect, &mut |block| {
        work.cancel.check()?;
        // Keys may be as long as their rows.
        let is_full = rows.bytes() + 2 * block.text.len() as u64 > work.memory;
        if is_full && !rows.all.is_empty() {
            let parts = match &mut parts {
                Some(parts) => parts,
                None => parts.insert(Parts::create(work.scratch)?),
            };
            parts.add(&mut rows)?;
        }
        rows.take(block, work)
    })?;
    let Some(mut parts) = parts else {
        rows.sort();
        return rows.all.iter().try_for_each(|row| out(rows.text_of(row)));
    };
    if !rows.all.is_empty() {
        parts.add(&mut rows)?;
    }
    drop(rows);
    while parts.places.len() > parts.at_once(work) {
        parts.join_some(work)?;
    }
    parts.merge(&parts.places, work, &mut |_, text| out(text))
}

/// Rows in memory.
#[derive(Default)]
struct Rows {
    text: Vec<u8>,
    keys: Vec<u8>,
    all: Vec<Row>,
}

/// Where a row and its key lie.
struct Row {
    key: Range<usize>,
    text: Range<usize>,
}

impl Rows {
    /// Takes up the rows of a block.
    fn take(&mut self, block: &OwnBlock<'_>, work: &SortWork<'_>) -> Result<()> {
        let mut scratch = Vec::new();
        block.each_row(&mut |row| {
            let key = self.keys.len();
            for column in work.columns {
                let field = row.field(column.field)?;
                let value = match work.dialect.is_null(field) {
                    true => None,
                    false => Some(work.dialect.value(field, &mut scratch)),
                };
                push_value(&mut self.keys, value, column.kind);
            }
            let text = self.text.len();
            self.text.extend_from_slice(row.text);
            self.all.push(Row {
                key: key..self.keys.len(),
                text: text..self.text.len(),
            });
            Ok(())
        })
    }

    fn bytes(&self) -> u64 {
        (self.text.len() + self.keys.len() + self.all.len() * ROW_BYTES) as u64
    }

    /// Rows with the same key keep their order.
    fn sort(&mut self) {
        let keys = &self.keys;
        let key = |row: &Row| keys.get(row.key.clone()).unwrap_or_default();
        self.all.par_sort_by(|a, b| key(a).cmp(key(b)));
    }

    fn text_of(&self, row: &Row) -> &[u8] {
        self.text.get(row.text.clone()).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.text.clear();
        self.keys.clear();
        self.all.clear();
    }
}

/// Takes a row's key and its text.
type TakesRow<'o> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'o;

/// Sorted parts in a scratch file: rows as lengths of key and text (u32, little-endian), key, text.
struct Parts<'w> {
    path: &'w Path,
    file: File,
    /// Where each part lies, in the order of the rows that they came from.
    places: Vec<Range<u64>>,
    end: u64,
    /// Most bytes that a row and its key have.
    longest: usize,
}

/// Removes the scratch file, whatever comes.
impl Drop for Parts<'_> {
    fn drop(&mut self) {
        let _ = crate::publish::remove_optional(self.path);
    }
}

impl<'w> Parts<'w> {
    fn create(path: &'w Path) -> Result<Self> {
        Ok(Self {
            path,
            file: create_spill(path)?,
            places: Vec::new(),
            end: 0,
            longest: 0,
        })
    }

    /// Writes the rows as one more part, and forgets them.
    fn add(&mut self, rows: &mut Rows) -> Result<()> {
        rows.sort();
        let mut longest = self.longest;
        let mut part = PartWriter::new(self);
        for row in &rows.all {
            let key = rows.keys.get(row.key.clone()).unwrap_or_default();
            let text = rows.text_of(row);
            longest = longest.max(key.len() + text.len());
            part.push(key, text)?;
        }
        let place = part.finish()?;
        self.longest = longest;
        self.end = place.end;
        self.places.push(place);
        rows.clear();
        Ok(())
    }

    /// Returns how many parts are merged at a time: of each one row is in memory, and what is read ahead.
    fn at_once(&self, work: &SortWork<'_>) -> usize {
        let of_part = self.longest as u64 + LEAST_READ;
        let most = usize::try_from(work.memory / of_part).unwrap_or(MOST_PARTS);
        most.clamp(2, MOST_PARTS)
    }

    /// Makes one part of each so many neighbours.
    fn join_some(&mut self, work: &SortWork<'_>) -> Result<()> {
        let places = std::mem::take(&mut self.places);
        for some in places.chunks(self.at_once(work)) {
            let mut part = PartWriter::new(self);
            self.merge(some, work, &mut |key, text| part.push(key, text))?;
            let place = part.finish()?;
            self.end = place.end;
            self.places.push(place);
        }
        Ok(())
    }

    /// Gives keys and rows of some parts to `out` in order; of equal ones those of the earlier part first.
    fn merge(
        &self,
        places: &[Range<u64>],
        work: &SortWork<'_>,
        out: &mut TakesRow<'_>,
    ) -> Result<()> {
        let heads = (places.len() * self.longest) as u64;
        let share = work.memory.saturating_sub(heads) / (places.len() as u64 + 1);
        let buffer = share.clamp(LEAST_READ, MOST_READ) as usize;
        let reader = |place: &Range<u64>| PartReader::new(self, place.clone(), buffer);
        let mut readers: Vec<PartReader<'_>> = places.iter().map(reader).collect();
        let mut next = BinaryHeap::with_capacity(readers.len());
        for (number, reader) in readers.iter_mut().enumerate() {
            if let Some((key, text)) = reader.next()? {
                next.push(Reverse((key, number, text)));
            }
        }
        let mut rows = 0_u64;
        while let Some(Reverse((key, number, text))) = next.pop() {
            rows += 1;
            if rows.is_multiple_of(1 << 16) {
                work.cancel.check()?;
            }
            out(&key, &text)?;
            if let Some(reader) = readers.get_mut(number)
                && let Some((key, text)) = reader.next()?
            {
                next.push(Reverse((key, number, text)));
            }
        }
        Ok(())
    }
}

/// Bytes of a file from some place on: all parts share one open file.
struct FileAt<'p> {
    file: &'p File,
    at: u64,
}

impl Read for FileAt<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(bytes, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Write for FileAt<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write_at(bytes, self.at)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes one part behind all others.
struct PartWriter<'p> {
    path: &'p Path,
    out: BufWriter<FileAt<'p>>,
    place: Range<u64>,
}

impl<'p> PartWriter<'p> {
    fn new(parts: &'p Parts<'_>) -> Self {
        let (file, at) = (&parts.file, parts.end);
        Self {
            path: parts.path,
            out: BufWriter::with_capacity(BLOCK, FileAt { file, at }),
            place: at..at,
        }
    }

    fn push(&mut self, key: &[u8], text: &[u8]) -> Result<()> {
        let writing = |error| Error::writing(self.path, error);
        // Rows are at most 16 MiB long.
        for length in [key.len(), text.len()] {
            let length = (length as u32).to_le_bytes();
            self.out.write_all(&length).map_err(writing)?;
        }
        self.out.write_all(key).map_err(writing)?;
        self.out.write_all(text).map_err(writing)?;
        self.place.end += 8 + (key.len() + text.len()) as u64;
        Ok(())
    }

    /// Returns where the part lies.
    fn finish(mut self) -> Result<Range<u64>> {
        let flushed = self.out.flush();
        flushed.map_err(|error| Error::writing(self.path, error))?;
        Ok(self.place)
    }
}

/// Reads one part.
struct PartReader<'p> {
    path: &'p Path,
    file: BufReader<FileAt<'p>>,
    left: u64,
}

impl<'p> PartReader<'p> {
    fn new(parts: &'p Parts<'_>, place: Range<u64>, buffer: usize) -> Self {
        let (file, at) = (&parts.file, place.start);
        Self {
            path: parts.path,
            file: BufReader::with_capacity(buffer, FileAt { file, at }),
            left: place.end - place.start,
        }
    }

    /// Returns key and text of the next row.
    fn next(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut lengths = [0; 8];
        self.read(&mut lengths)?;
        let length = |from: usize| {
            let bytes = lengths
                .get(from..from + 4)
                .and_then(|it| it.try_into().ok());
            bytes.map_or(0, u32::from_le_bytes) as usize
        };
        let (mut key, mut text) = (vec![0; length(0)], vec![0; length(4)]);
        self.read(&mut key)?;
        self.read(&mut text)?;
        self.left = self
            .left
            .saturating_sub(8 + (key.len() + text.len()) as u64);
        Ok(Some((key, text)))
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<()> {
        let read = self.file.read_exact(bytes);
        read.map_err(|error| Error::reading(self.path, error))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests write files")]
mod tests {
    use super::*;

    fn sorted(text: &str, columns: &[SortColumn], memory: u64) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.txt");
        std::fs::write(&path, text).unwrap();
        let work = SortWork {
            dialect: &Dialect::qserv(),
            columns,
            scratch: &folder.path().join("scratch"),
            memory,
            cancel: &Cancel::default(),
        };
        let mut out = Vec::new();
        sort_file(&path, &work, &mut |row| {
            out.extend_from_slice(row);
            Ok(())
        })
        .unwrap();
        assert!(!work.scratch.exists());
        String::from_utf8(out).unwrap()
    }

    fn column(field: usize, kind: KeyKind) -> SortColumn {
        SortColumn { field, kind }
    }

    #[test]
    fn equal_rows_keep_their_order() {
        let text = "10\tb\t1\n9\tb\t2\n\\N\ta\t3\n9\ta\t4\n10\tb\t5\n";
        let by_number = column(0, KeyKind::Number);
        let by_text = column(1, KeyKind::Text);
        assert_eq!(
            sorted(text, &[by_number], 1 << 20),
            "\\N\ta\t3\n9\tb\t2\n9\ta\t4\n10\tb\t1\n10\tb\t5\n"
        );
        assert_eq!(
            sorted(text, &[by_text, by_number], 1 << 20),
            "\\N\ta\t3\n9\ta\t4\n9\tb\t2\n10\tb\t1\n10\tb\t5\n"
        );
        assert_eq!(sorted("", &[by_number], 1 << 20), "");
        let marked = "\u{feff}b\t1\na\t2\n";
        assert_eq!(
            sorted(marked, &[column(1, KeyKind::Number)], 1 << 20),
            marked
        );
    }

    #[test]
    fn any_memory_gives_the_same_order() {
        let mut text = String::new();
        let mut state = 7_u64;
        let pad = "x".repeat(300);
        for row in 0..20_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(99);
            text.push_str(&format!("{}\t{row}\t{pad}\n", (state >> 40) % 500));
        }
        let columns = [column(0, KeyKind::Number)];
        let expected = sorted(&text, &columns, 1 << 30);
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_by_key(|line| line.split('\t').next().unwrap().parse::<u64>().unwrap());
        assert!(expected.lines().eq(lines));
        for memory in [1, 2 << 20, 5 << 20] {
            assert!(sorted(&text, &columns, memory) == expected, "{memory}");
        }
    }
}

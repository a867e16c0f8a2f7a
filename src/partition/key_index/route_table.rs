//! The places of all rows of a table, found by sorting both sides: for an index that memory does not
//! hold.
//!
//! Looking up at random in a file that does not fit into memory reads the disk for nearly every row.
//! Here keys are spread by their hash, as the index is sorted, so that a part of the index, read from
//! front to back, answers a part of the keys. The answers are spread by row, and written in the order
//! of rows. The index is read, not mapped, because mapped pages count as memory of the process.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::index::{IndexFile, KeyIndex};
use super::key::{Canonical, Key, KeyPlace, MOST_KEY_BYTES};
use super::layout::{HEAD_BYTES, KeyKind};
use super::scan::IndexLimits;
use super::source::KeyText;
use super::spill::{Spill, beside};
use super::spread::{LEAST_STRETCH, Spread};
use super::texts::prefixed;
use super::view::View;
use crate::error::{Error, ErrorKind, Result};
use crate::resources::{Cancel, Lease};

/// Bytes of a row in the table.
const ROW: u64 = 8;
/// What stands for a row without a place; numbers of chunks are not negative.
const NOWHERE: KeyPlace = KeyPlace {
    chunk: -1,
    sub_chunk: -1,
};
/// The least memory that can be worked with.
pub const LEAST_ROUTE_MEMORY: u64 = 1 << 20;

/// Takes the keys of all rows, in the order of rows.
pub struct RouteTableBuilder {
    index: IndexFile,
    keys: Spread,
    part_bits: u32,
    /// Parts that may be there at once.
    most_parts: u64,
    rows: u64,
    scratch: PathBuf,
    cancel: Cancel,
    memory: Lease,
}

/// The places of all rows, on disk.
#[derive(Debug)]
pub struct RouteTable {
    places: Spill,
    rows: u64,
}

impl RouteTableBuilder {
    /// Begins a table that takes `memory` bytes while it is made, at least
    /// [`LEAST_ROUTE_MEMORY`]. Its files are made at names that begin with `scratch`; none of them
    /// is left behind.
    ///
    /// # Errors
    /// The files can't be made.
    pub fn new(
        index: &KeyIndex,
        scratch: &Path,
        memory: u64,
        limits: &IndexLimits,
    ) -> Result<Self> {
        let memory = memory.max(LEAST_ROUTE_MEMORY);
        Self::with_parts(index, scratch, memory, limits, memory / 4 / LEAST_STRETCH)
    }

    /// Where `most_parts` are too few, each is gone through more than once.
    fn with_parts(
        index: &KeyIndex,
        scratch: &Path,
        memory: u64,
        limits: &IndexLimits,
        most_parts: u64,
    ) -> Result<Self> {
        let memory = limits.gate.charge(memory);
        let half = memory.bytes() / 2;
        let layout = &index.file.layout;
        let wanted = layout.file_bytes().div_ceil(half).next_power_of_two();
        let part_bits = wanted.min(most_parts).min(layout.buckets()).max(1).ilog2();
        Ok(Self {
            index: index.file.clone(),
            keys: Spread::new(&beside(scratch, ".keys"), 1 << part_bits, half)?,
            part_bits,
            most_parts,
            rows: 0,
            scratch: scratch.to_owned(),
            cancel: limits.cancel.clone(),
            memory,
        })
    }

    /// Adds the key of the next row; nothing if the row has none.
    ///
    /// # Errors
    /// The disk is full.
    pub fn push(&mut self, key: Option<Key<'_>>) -> Result<()> {
        let row = self.rows;
        self.rows += 1;
        let kind = self.index.layout.kind;
        let key = key.map(Canonical::of);
        let Some(key) = key.filter(|key| View::may_hold(kind, *key)) else {
            return Ok(());
        };
        let hash = key.hash();
        let part = usize::try_from((hash >> 1) >> (63 - self.part_bits)).unwrap_or(0);
        let (hash, row) = (hash.to_le_bytes(), row.to_le_bytes());
        if kind != KeyKind::Text {
            return self.keys.push(part, &[&hash, &row]);
        }
        let mut digits = itoa::Buffer::new();
        let text = key.text(&mut digits);
        if text.len() > MOST_KEY_BYTES {
            return Ok(());
        }
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes();
        self.keys.push(part, &[&hash, &row, &length, text])
    }

    /// Looks all keys up.
    ///
    /// # Errors
    /// The index can't be read, or the disk is full.
    pub fn finish(mut self) -> Result<RouteTable> {
        self.keys.flush()?;
        let memory = self.memory.bytes();
        let (rows, window) = (self.rows, memory / 2 / ROW);
        let ranges = rows.div_ceil(window).min(self.most_parts).max(1);
        let range = rows.div_ceil(ranges).max(1);
        let parts = usize::try_from(ranges).unwrap_or(1);
        let mut found = Spread::new(&beside(&self.scratch, ".found"), parts, memory / 4)?;
        for part in 0..1u64 << self.part_bits {
            self.look_up(part, |row, place| {
                let part = usize::try_from(row / range).unwrap_or(usize::MAX);
                let (chunk, sub_chunk) = (place.chunk.to_le_bytes(), place.sub_chunk.to_le_bytes());
                found.push(part, &[&row.to_le_bytes(), &chunk, &sub_chunk])
            })?;
        }
        found.flush()?;
        // The keys are done with; their room on disk may be needed.
        drop(self.keys);
        let mut places = Spill::create(&beside(&self.scratch, ".places"))?;
        for number in 0..ranges {
            let end = rows.min((number + 1) * range);
            let mut start = number * range;
            while start < end {
                let window = start..end.min(start + window);
                let part = usize::try_from(number).unwrap_or(0);
                places.append(&in_order(&found, part, &window, &self.cancel)?)?;
                start = window.end;
            }
        }
        Ok(RouteTable { places, rows })
    }

    /// Looks the keys of a part up, as many buckets at a time as memory holds.
    fn look_up(&self, part: u64, mut take: impl FnMut(u64, KeyPlace) -> Result<()>) -> Result<()> {
        let layout = self.index.layout;
        let buckets = layout.buckets() >> self.part_bits;
        let (mut start, end) = (part * buckets, (part + 1) * buckets);
        while start < end {
            let mut slice = Slice::measure(&self.index, start..end)?;
            while slice.bytes() > self.memory.bytes() / 2 && slice.buckets.end - start > 1 {
                let middle = start + (slice.buckets.end - start) / 2;
                slice = Slice::measure(&self.index, start..middle)?;
            }
            start = slice.buckets.end;
            let (directory, entries, keys) = slice.load(&self.index)?;
            let view = View {
                layout,
                bucket: slice.buckets.start,
                directory: &directory,
                entry: slice.entries.start,
                entries: &entries,
                key: slice.keys.start,
                keys: &keys,
            };
            let part = usize::try_from(part).unwrap_or(usize::MAX);
            self.keys.read(part, &self.cancel, |stretch| {
                let mut rest = stretch;
                while let Some((hash, row, text, behind)) = record(rest, layout.kind) {
                    rest = behind;
                    let key = text.key(hash);
                    if let Some(place) = view.find_hash(hash, key) {
                        take(row, place)?;
                    }
                }
                match rest.is_empty() {
                    true => Ok(()),
                    false => Err(lost()),
                }
            })?;
        }
        Ok(())
    }
}

/// Cuts the record of a key off the beginning of `bytes`.
#[inline]
fn record(bytes: &[u8], kind: KeyKind) -> Option<(u64, u64, KeyText<'_>, &[u8])> {
    let (hash, rest) = bytes.split_first_chunk()?;
    let (row, rest) = rest.split_first_chunk()?;
    let (hash, row) = (u64::from_le_bytes(*hash), u64::from_le_bytes(*row));
    if kind != KeyKind::Text {
        return Some((hash, row, KeyText::Signed, rest));
    }
    let text = prefixed(rest)?;
    Some((hash, row, KeyText::Text(text), rest.get(2 + text.len()..)?))
}

/// Some buckets of the index, and where what they hold stands.
struct Slice {
    buckets: Range<u64>,
    entries: Range<u64>,
    keys: Range<u64>,
    entry_bytes: u64,
    directory_width: u64,
}

impl Slice {
    fn measure(index: &IndexFile, buckets: Range<u64>) -> Result<Self> {
        let layout = &index.layout;
        let width = layout.directory_width();
        let start = |bucket: u64| -> Result<u64> {
            let mut number = [0; 8];
            let bytes = number.get_mut(..usize::try_from(width).unwrap_or(8));
            index.read(
                bytes.unwrap_or_default(),
                layout.directory_at() + bucket * width,
            )?;
            Ok(u64::from_le_bytes(number).min(layout.entries))
        };
        let entries = start(buckets.start)?..start(buckets.end)?;
        let key = |entry: u64| -> Result<u64> {
            if entry >= layout.entries {
                return Ok(layout.key_bytes);
            }
            let mut offset = [0; 8];
            let behind = HEAD_BYTES + (entry + 1) * layout.entry_bytes();
            index.read(&mut offset, behind - 8)?;
            Ok(u64::from_le_bytes(offset).min(layout.key_bytes))
        };
        let keys = match layout.kind {
            KeyKind::Text => key(entries.start)?..key(entries.end)?,
            KeyKind::Signed | KeyKind::Unsigned => 0..0,
        };
        Ok(Self {
            buckets,
            entries,
            keys,
            entry_bytes: layout.entry_bytes(),
            directory_width: width,
        })
    }

    fn bytes(&self) -> u64 {
        (self.buckets.end - self.buckets.start + 1) * self.directory_width
            + self.entries.end.saturating_sub(self.entries.start) * self.entry_bytes
            + self.keys.end.saturating_sub(self.keys.start)
    }

    /// Reads directory, entries and keys.
    fn load(&self, index: &IndexFile) -> Result<(Vec<u8>, Vec<u8>, Vec<u8>)> {
        let layout = &index.layout;
        let read = |at: u64, bytes: u64| -> Result<Vec<u8>> {
            let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(0)];
            index.read(&mut buffer, at)?;
            Ok(buffer)
        };
        let length = |range: &Range<u64>| range.end.saturating_sub(range.start);
        let (width, entry) = (self.directory_width, self.entry_bytes);
        Ok((
            read(
                layout.directory_at() + self.buckets.start * width,
                (length(&self.buckets) + 1) * width,
            )?,
            read(
                HEAD_BYTES + self.entries.start * entry,
                length(&self.entries) * entry,
            )?,
            read(layout.keys_at() + self.keys.start, length(&self.keys))?,
        ))
    }
}

/// Returns the places of a window of rows, as they stand in the table.
fn in_order(found: &Spread, part: usize, rows: &Range<u64>, cancel: &Cancel) -> Result<Vec<u8>> {
    let bytes = (rows.end - rows.start) * ROW;
    // NOWHERE is all bits set.
    let mut places = vec![0xff; usize::try_from(bytes).unwrap_or(0)];
    found.read(part, cancel, |stretch| {
        let (records, rest) = stretch.as_chunks::<16>();
        for record in records {
            let (row, place) = record.split_first_chunk().ok_or_else(lost)?;
            let row = u64::from_le_bytes(*row);
            if !rows.contains(&row) {
                continue;
            }
            let at = usize::try_from((row - rows.start) * ROW).unwrap_or(usize::MAX);
            let to = at.checked_add(8).and_then(|end| places.get_mut(at..end));
            to.ok_or_else(lost)?.copy_from_slice(place);
        }
        match rest.is_empty() {
            true => Ok(()),
            false => Err(lost()),
        }
    })?;
    Ok(places)
}

impl RouteTable {
    /// Returns the number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Puts the places of some rows into `out`, in place of what was there. Rows that are not in the
    /// table are left out.
    ///
    /// # Errors
    /// The table can't be read.
    pub fn read(&self, rows: Range<u64>, out: &mut Vec<Option<KeyPlace>>) -> Result<()> {
        out.clear();
        let end = rows.end.min(self.rows);
        let mut at = rows.start.min(end);
        let mut buffer = [0; 4096];
        out.reserve(usize::try_from(end - at).unwrap_or(0));
        while at < end {
            let count = (end - at).min(buffer.len() as u64 / ROW);
            let bytes = usize::try_from(count * ROW).unwrap_or(0);
            let bytes = buffer.get_mut(..bytes).unwrap_or_default();
            self.places.read_at(bytes, at * ROW)?;
            let (places, _) = bytes.as_chunks::<8>();
            out.extend(places.iter().map(|[a, b, c, d, e, f, g, h]| {
                let place = KeyPlace {
                    chunk: i32::from_le_bytes([*a, *b, *c, *d]),
                    sub_chunk: i32::from_le_bytes([*e, *f, *g, *h]),
                };
                (place != NOWHERE).then_some(place)
            }));
            at += count;
        }
        Ok(())
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Internal, "keys on disk were not read back whole")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, place};
    use super::*;

    const MEMORY: u64 = LEAST_ROUTE_MEMORY;

    /// Compares with lookups one by one, at as many parts as fit and at two.
    fn compare(index: &KeyIndex, bench: &Bench, rows: &[Option<Key<'_>>]) {
        for most_parts in [2, MEMORY / 4 / LEAST_STRETCH] {
            let before = bench.limits.gate.free();
            let scratch = bench.path("routes");
            let builder =
                RouteTableBuilder::with_parts(index, &scratch, MEMORY, &bench.limits, most_parts);
            let mut builder = builder.unwrap();
            assert_eq!(before - bench.limits.gate.free(), MEMORY);
            for row in rows {
                builder.push(*row).unwrap();
            }
            let table = builder.finish().unwrap();
            assert_eq!(bench.limits.gate.free(), before);
            assert_eq!(table.rows(), rows.len() as u64);
            let mut places = Vec::new();
            table.read(0..u64::MAX, &mut places).unwrap();
            assert_eq!(places.len(), rows.len());
            for (row, place) in rows.iter().zip(&places) {
                assert_eq!(*place, row.and_then(|key| index.find(key)), "{row:?}");
            }
            table.read(7..9, &mut places).unwrap();
            let some = rows.iter().skip(7).take(2);
            assert!(
                some.map(|row| row.and_then(|key| index.find(key)))
                    .eq(places)
            );
        }
    }

    fn random(state: &mut u64) -> u64 {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        *state >> 33
    }

    #[test]
    fn numbers_get_the_same_places_as_by_lookup() {
        let bench = Bench::new(64 << 20);
        let text: String = (0..300_000u64)
            .map(|key| format!("{}\t{}\t{}\n", key * 3, key % 5000, key % 77))
            .collect();
        let index = bench.open(&text).unwrap();
        // Four times the memory, so that parts are gone through more than once.
        assert!(index.bytes() > 3 * MEMORY);
        let mut state = 1;
        let texts: Vec<String> = (0..1000).map(|key| (key * 2).to_string()).collect();
        let rows: Vec<Option<Key<'_>>> = (0..400_000)
            .map(|row| match random(&mut state) % 1_000_000 {
                number if number % 50 == 0 => None,
                number if number % 50 == 1 => Some(Key::Unsigned(number)),
                number if number % 50 == 2 => Some(Key::Text(texts[row % 1000].as_bytes())),
                number if number % 50 == 3 => Some(Key::Signed(-number.cast_signed())),
                number if number % 50 == 4 => Some(Key::Text(b"none")),
                number => Some(Key::Signed(number.cast_signed() % 1000 * 3)),
            })
            .collect();
        compare(&index, &bench, &rows);
        assert_eq!(bench.folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn texts_get_the_same_places_as_by_lookup() {
        let bench = Bench::new(64 << 20);
        let name = |key: u64| match key % 3 {
            0 => key.to_string(),
            1 => format!("object {key}"),
            _ => format!("{key}{}", "long".repeat(usize::try_from(key % 40).unwrap())),
        };
        let text: String = (0..60_000)
            .map(|key| format!("{}\t{}\t{}\n", name(key), key % 5000, key % 77))
            .collect();
        let index = bench.open(&text).unwrap();
        assert!(index.bytes() > 3 * MEMORY);
        let longest = vec![b'x'; MOST_KEY_BYTES + 1];
        let mut state = 2;
        let names: Vec<String> = (0..200_000)
            .map(|_| name(random(&mut state) % 70_000))
            .collect();
        let rows: Vec<Option<Key<'_>>> = names
            .iter()
            .map(|name| match random(&mut state) % 50 {
                0 => None,
                1 => Some(Key::Signed(random(&mut state).cast_signed() % 60_000)),
                2 => Some(Key::Text(&longest)),
                _ => Some(Key::Text(name.as_bytes())),
            })
            .collect();
        compare(&index, &bench, &rows);
    }

    #[test]
    fn there_may_be_no_rows_and_no_keys() {
        let bench = Bench::new(64 << 20);
        for text in ["", "1\t2\t3\n"] {
            let index = bench.open(text).unwrap();
            compare(&index, &bench, &[]);
            compare(&index, &bench, &[Some(Key::Signed(1)), None]);
        }
        let index = bench.open("1\t2\t3\n").unwrap();
        assert_eq!(index.find(Key::Signed(1)), Some(place(2, 3)));
    }
}

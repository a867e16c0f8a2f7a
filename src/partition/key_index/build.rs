//! Makes the compact file out of the rows of another index.
//!
//! Rows are sorted by the hash of their key, on disk if need be. What comes out depends on the rows
//! alone, not on memory or threads.

use std::fs::File;
use std::path::Path;

use super::key::KeyPlace;
use super::layout::{KeyKind, Layout, PlaceForm};
use super::scan::{IndexLimits, refused, scan};
use super::sort::{Item, Sorter, take_share};
use super::source::{Found, IndexRow, KeyText};
use super::spill::beside;
use super::texts::Texts;
use super::writer::{CompactWriter, WRITER_MEMORY};
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Place, Result, quote_value};

/// What to do with a key that occurs twice with different places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DuplicateRule {
    /// It is an error.
    #[default]
    Refuse,
    /// The first one counts, as in sph-partition.
    FirstWins,
}

/// Memory that sorting wants at least.
const LEAST_SHARE: u64 = 1 << 20;

/// A row of the index, without the bytes of its key.
#[derive(Debug, Clone, Copy)]
struct KeyedPlace {
    hash: u64,
    place: KeyPlace,
    text: u32,
    order: u32,
}

const HEAD: usize = 17;

impl Item for KeyedPlace {
    fn hash(&self) -> u64 {
        self.hash
    }

    fn order(&self) -> u32 {
        self.order
    }

    fn encode(&self, texts: &Texts, out: &mut Vec<u8>) {
        let text = KeyText::stored(self.text, texts);
        out.extend_from_slice(&self.hash.to_le_bytes());
        out.extend_from_slice(&self.place.chunk.to_le_bytes());
        out.extend_from_slice(&self.place.sub_chunk.to_le_bytes());
        match text {
            KeyText::Signed => out.push(0),
            KeyText::Large => out.push(1),
            KeyText::Text(text) => {
                out.push(2);
                let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(text);
            }
        }
    }

    fn decode(bytes: &[u8], texts: &mut Texts) -> Option<(Self, usize)> {
        let (hash, rest) = bytes.split_first_chunk()?;
        let (chunk, rest) = rest.split_first_chunk()?;
        let (sub_chunk, rest) = rest.split_first_chunk()?;
        let (kind, rest) = rest.split_first()?;
        let (text, more) = match kind {
            0 => (KeyText::Signed, 0),
            1 => (KeyText::Large, 0),
            _ => {
                let text = super::texts::prefixed(rest)?;
                (KeyText::Text(text), 2 + text.len())
            }
        };
        let item = Self {
            hash: u64::from_le_bytes(*hash),
            place: KeyPlace {
                chunk: i32::from_le_bytes(*chunk),
                sub_chunk: i32::from_le_bytes(*sub_chunk),
            },
            text: text.store(texts),
            order: 0,
        };
        Some((item, HEAD + more))
    }
}

/// What all rows together say.
#[derive(Debug, Default)]
struct Summary {
    has_negative: bool,
    has_large: bool,
    has_text: bool,
    range: Option<(KeyPlace, KeyPlace)>,
}

impl Summary {
    fn add(&mut self, row: &IndexRow<'_>) {
        match row.text {
            // What is a number, but negative, can be told when the sign is looked at.
            KeyText::Signed if !self.has_negative => {
                let number = super::key::unmix(row.hash).cast_signed();
                self.has_negative = number < 0;
            }
            KeyText::Signed => {}
            KeyText::Large => self.has_large = true,
            KeyText::Text(_) => self.has_text = true,
        }
        let (least, most) = self.range.get_or_insert((row.place, row.place));
        least.chunk = least.chunk.min(row.place.chunk);
        least.sub_chunk = least.sub_chunk.min(row.place.sub_chunk);
        most.chunk = most.chunk.max(row.place.chunk);
        most.sub_chunk = most.sub_chunk.max(row.place.sub_chunk);
    }

    fn kind(&self) -> KeyKind {
        match (
            self.has_text || (self.has_negative && self.has_large),
            self.has_large,
        ) {
            (true, _) => KeyKind::Text,
            (false, true) => KeyKind::Unsigned,
            (false, false) => KeyKind::Signed,
        }
    }

    fn places(&self) -> PlaceForm {
        let nowhere = KeyPlace {
            chunk: 0,
            sub_chunk: 0,
        };
        let (least, most) = self.range.unwrap_or((nowhere, nowhere));
        PlaceForm::between(least, most)
    }
}

/// Writes the rows of `found` into `file`, which is empty and called `path`.
pub(super) fn build(
    found: &Found,
    dialect: &Dialect,
    (file, path): (File, &Path),
    duplicates: DuplicateRule,
    limits: &IndexLimits,
) -> Result<Layout> {
    let expected = found.most_keys();
    let wanted = expected.saturating_mul(2 * size_of::<KeyedPlace>() as u64);
    let share = take_share(
        &limits.gate,
        wanted.saturating_add(LEAST_SHARE),
        LEAST_SHARE,
    );
    let _writing = limits.gate.charge(WRITER_MEMORY);
    let mut sorter = Sorter::new(share, expected, &beside(path, ".sort"), &limits.cancel);
    let mut summary = Summary::default();
    scan(found, dialect, limits, &mut |row| {
        summary.add(&row);
        sorter.push(|texts, order| KeyedPlace {
            hash: row.hash,
            place: row.place,
            text: row.text.store(texts),
            order,
        })
    })?;
    let (kind, places) = (summary.kind(), summary.places());
    let mut entries = Entries {
        writer: CompactWriter::new(file, path, kind, places, &limits.cancel)?,
        kind,
        duplicates,
        hash: 0,
        keys: Vec::new(),
        used: 0,
        conflict: None,
    };
    let written = sorter.finish(|item, texts| entries.add(item, texts));
    let written = written.and_then(|()| entries.end_hash());
    match (written, entries.conflict.take()) {
        (Err(_), Some(key)) => Err(conflict(found, dialect, &key, limits)),
        (Err(error), None) => Err(error),
        (Ok(()), _) => entries.writer.finish(),
    }
}

/// Entries on their way into the file; those of one hash are put together first.
struct Entries {
    writer: CompactWriter,
    kind: KeyKind,
    duplicates: DuplicateRule,
    hash: u64,
    /// The different keys of this hash, nearly always one, and their first places.
    keys: Vec<(Vec<u8>, KeyPlace)>,
    used: usize,
    conflict: Option<Vec<u8>>,
}

impl Entries {
    fn add(&mut self, item: &KeyedPlace, texts: &Texts) -> Result<()> {
        if item.hash != self.hash {
            self.end_hash()?;
            self.hash = item.hash;
        }
        let mut digits = itoa::Buffer::new();
        let key = KeyText::stored(item.text, texts).key(item.hash);
        // Numbers follow from their hash.
        let text = match self.kind {
            KeyKind::Text => key.text(&mut digits),
            KeyKind::Signed | KeyKind::Unsigned => &[],
        };
        let known = self.keys.get(..self.used).unwrap_or_default();
        match known.iter().find(|(known, _)| known == text) {
            Some((_, place)) if *place == item.place => {}
            Some(_) if self.duplicates == DuplicateRule::FirstWins => {}
            Some(_) => {
                let mut digits = itoa::Buffer::new();
                self.conflict = Some(key.text(&mut digits).to_vec());
                return Err(refused(String::new()));
            }
            None => {
                if self.used == self.keys.len() {
                    self.keys.push((Vec::new(), item.place));
                }
                if let Some((bytes, place)) = self.keys.get_mut(self.used) {
                    bytes.clear();
                    bytes.extend_from_slice(text);
                    *place = item.place;
                }
                self.used += 1;
            }
        }
        Ok(())
    }

    fn end_hash(&mut self) -> Result<()> {
        let keys = self.keys.get_mut(..self.used).unwrap_or_default();
        keys.sort();
        for (text, place) in keys {
            self.writer.add(self.hash, *place, text)?;
        }
        self.used = 0;
        Ok(())
    }
}

/// Goes through all rows once more, to tell where the key is.
fn conflict(found: &Found, dialect: &Dialect, key: &[u8], limits: &IndexLimits) -> Error {
    let mut places: Vec<(u64, KeyPlace)> = Vec::new();
    let mut digits = itoa::Buffer::new();
    let looked = scan(found, dialect, limits, &mut |row| {
        let is_new = places.first().is_none_or(|(_, place)| *place != row.place);
        if places.len() < 2 && is_new && row.text.key(row.hash).text(&mut digits) == key {
            places.push((row.number, row.place));
        }
        Ok(())
    });
    if let Err(error) = looked {
        return error;
    }
    let key = quote_value(key);
    let message = match (places.as_slice(), found) {
        ([(first, one), (_, other)], found) => {
            let unit = match found {
                Found::Text(..) => "line",
                _ => "row",
            };
            format!(
                "the key {key} is in chunk {}, sub-chunk {}, and was in chunk {}, sub-chunk {} on \
                 {unit} {first}; expected one place for each key",
                other.chunk, other.sub_chunk, one.chunk, one.sub_chunk
            )
        }
        _ => format!("the key {key} has two places; expected one for each key"),
    };
    let number = places.get(1).map(|(number, _)| *number);
    let is_text = matches!(found, Found::Text(..));
    Error::new(ErrorKind::DataRefused, message)
        .at(Place {
            line: number.filter(|_| is_text),
            row: number.filter(|_| !is_text),
            ..Place::file(found.name())
        })
        .hint("the director has two rows with this key; make its keys unique")
}

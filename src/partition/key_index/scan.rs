//! Goes through the rows of an index in their order, parsing them on all threads.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::key::{Canonical, Key, KeyPlace, MOST_KEY_BYTES};
use super::sort::take_share;
use super::source::{Found, IndexRow, IndexRows};
use crate::dialect::{BlockReader, Dialect, Fields, Records};
use crate::error::{Error, ErrorKind, Place, Result, quote_value};
use crate::resources::{Cancel, MemoryGate};

/// Bytes of a block of text.
const BLOCK: usize = 128 << 10;
/// Memory of a block: its text while it is read, and what is made of its rows at the worst.
const BLOCK_MEMORY: u64 = 3 * BLOCK as u64 + (BLOCK as u64 / 6) * 32;

/// What all of this module works within.
#[derive(Debug, Clone)]
pub struct IndexLimits {
    /// Pays for all memory.
    pub gate: Arc<MemoryGate>,
    /// Asks for an early end.
    pub cancel: Cancel,
}

/// Takes rows one by one.
pub(super) type Take<'t> = &'t mut dyn FnMut(IndexRow<'_>) -> Result<()>;

/// Hands all rows of `found` to `take`.
pub(super) fn scan(
    found: &Found,
    dialect: &Dialect,
    limits: &IndexLimits,
    take: Take<'_>,
) -> Result<()> {
    let in_file = |error: Error| error.at(Place::file(found.name()));
    match found {
        Found::Compact(_) => Err(Error::new(
            ErrorKind::Internal,
            "a compact index has no rows",
        )),
        Found::Text(path, _) => scan_text(path, dialect, limits, take).map_err(in_file),
        Found::Parquet(file) => {
            super::scan_parquet::scan_parquet(file, limits, take).map_err(in_file)
        }
    }
}

/// Returns how many blocks of `bytes` are to be parsed at once, and what pays for them.
pub(super) fn blocks_at_once(limits: &IndexLimits, bytes: u64) -> (usize, crate::resources::Lease) {
    let wanted = 2 * rayon::current_num_threads() as u64 * bytes;
    // Most of the memory is for those who sort.
    let wanted = wanted.min(limits.gate.room() / 8).max(bytes);
    let lease = take_share(&limits.gate, wanted, bytes);
    (
        usize::try_from(lease.bytes() / bytes).unwrap_or(1).max(1),
        lease,
    )
}

#[derive(Default)]
struct Block {
    text: Vec<u8>,
    first_line: u64,
    rows: IndexRows,
    failure: Option<Error>,
}

fn scan_text(path: &Path, dialect: &Dialect, limits: &IndexLimits, take: Take<'_>) -> Result<()> {
    let file = File::open(path).map_err(|error| Error::reading(path, error))?;
    let mut reader = BlockReader::new(file, dialect, BLOCK);
    let (count, _memory) = blocks_at_once(limits, BLOCK_MEMORY);
    let mut blocks: Vec<Block> = (0..count).map(|_| Block::default()).collect();
    let mut has_header = dialect.has_header();
    loop {
        limits.cancel.check()?;
        let mut filled = 0;
        while let Some(block) = blocks.get_mut(filled) {
            let Some(info) = reader.next_block(&mut block.text)? else {
                break;
            };
            block.first_line = info.first_line;
            filled += 1;
        }
        let filled = blocks.get_mut(..filled).unwrap_or_default();
        if filled.is_empty() {
            return Ok(());
        }
        let header = std::mem::take(&mut has_header);
        filled.par_iter_mut().enumerate().for_each(|(at, block)| {
            block.rows.clear();
            block.failure = block.parse(dialect, header && at == 0).err();
        });
        for block in filled {
            block.rows.iter().try_for_each(&mut *take)?;
            if let Some(failure) = block.failure.take() {
                return Err(failure);
            }
        }
    }
}

impl Block {
    fn parse(&mut self, dialect: &Dialect, has_header: bool) -> Result<()> {
        let mut records = Records::new(dialect, &self.text).at_line(self.first_line);
        let mut fields = Fields::new();
        let mut scratch = Vec::new();
        if has_header {
            records.next(&mut fields)?;
        }
        while let Some(record) = records.next(&mut fields)? {
            if record.is_blank() {
                continue;
            }
            let at = |error: Error| {
                error.at(Place {
                    line: Some(record.line()),
                    ..Place::default()
                })
            };
            let parsed = parse_record(dialect, &fields, &self.text, &mut scratch);
            let (key, place) = parsed.map_err(at)?;
            self.rows.push(key, place, record.line());
        }
        Ok(())
    }
}

fn parse_record<'a>(
    dialect: &Dialect,
    fields: &Fields,
    text: &'a [u8],
    scratch: &'a mut Vec<u8>,
) -> Result<(Canonical<'a>, KeyPlace)> {
    let (Some(key), Some(chunk), Some(sub_chunk), 3) = (
        fields.get(0, text),
        fields.get(1, text),
        fields.get(2, text),
        fields.count(),
    ) else {
        return Err(refused(format!(
            "found {} fields, expected 3: key, chunk, sub-chunk",
            fields.count()
        ))
        .hint("is this a director index, and in the dialect of the output?"));
    };
    let place = KeyPlace {
        chunk: chunk_number(dialect.value(chunk, scratch), "chunk")?,
        sub_chunk: chunk_number(dialect.value(sub_chunk, scratch), "sub-chunk")?,
    };
    if dialect.is_null(key) {
        return Err(refused("the key is NULL".to_owned()));
    }
    let key = canonical(Key::Text(dialect.value(key, scratch)))?;
    Ok((key, place))
}

/// Returns the key in its one form.
pub(super) fn canonical(key: Key<'_>) -> Result<Canonical<'_>> {
    match Canonical::of(key) {
        Canonical::Text(text) if text.len() > MOST_KEY_BYTES => Err(refused(format!(
            "the key {} is longer than {MOST_KEY_BYTES} bytes",
            quote_value(text)
        ))),
        key => Ok(key),
    }
}

fn chunk_number(text: &[u8], what: &str) -> Result<i32> {
    let number = match text {
        [b'0'..=b'9', ..] => std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok()),
        _ => None,
    };
    number.ok_or_else(|| no_chunk_number(what, &quote_value(text)))
}

/// The error of a chunk number that is none.
pub(super) fn no_chunk_number(what: &str, found: &str) -> Error {
    refused(format!(
        "found {found}, expected the number of a {what}: 0 to {}",
        i32::MAX
    ))
}

pub(super) fn refused(message: String) -> Error {
    Error::new(ErrorKind::DataRefused, message)
}

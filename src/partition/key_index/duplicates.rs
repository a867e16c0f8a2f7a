//! Which keys of a director occur more than once.
//!
//! Hashes are sorted, on disk if need be, and equal neighbours are told. So it takes 8 bytes a key,
//! however long keys are, and whoever asks must compare texts themselves.

use std::path::Path;

use super::scan::{IndexLimits, scan};
use super::sort::{Sorter, take_share};
use super::source::{Found, IndexSource};
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::resources::Lease;

/// Memory that sorting wants at least.
const LEAST_SHARE: u64 = 1 << 20;
/// Hashes that are paid for at once.
const STEP: usize = 8192;

/// The hashes of keys that occur more than once.
#[derive(Debug)]
pub struct DuplicatedKeys {
    /// In ascending order.
    hashes: Vec<u64>,
    _memory: Lease,
}

impl DuplicatedKeys {
    /// Says whether a key of this [hash](super::key_hash) occurs more than once. A key that is a text,
    /// or a number beside numbers of the other sign above the largest `i64`, may only share its
    /// hash with another.
    pub fn contains(&self, hash: u64) -> bool {
        self.hashes.binary_search(&hash).is_ok()
    }

    /// Says whether all keys are different.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Returns the number of different hashes that occur more than once.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }
}

/// Two rows of some indexes that have one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SameKey {
    /// The key as it is written.
    pub key: Vec<u8>,
    /// The index that has it first, and its row there, from 1.
    pub first: (usize, u64),
    /// Where it comes again.
    pub second: (usize, u64),
}

/// Finds the first row of `indexes`, one after another, whose key comes again in them, given the keys
/// that do; nothing if hashes were the same of different keys only.
///
/// # Errors
/// An index can't be read, or a row of it is refused.
pub fn same_key(
    indexes: &[IndexSource],
    keys: &DuplicatedKeys,
    limits: &IndexLimits,
) -> Result<Option<SameKey>> {
    // Rows up to here have keys of their own.
    let mut passed: Option<(usize, u64)> = None;
    loop {
        let mut first: Option<(Vec<u8>, u64, (usize, u64))> = None;
        let mut second = None;
        for (number, index) in indexes.iter().enumerate() {
            let found = Found::of(index)?;
            scan(&found, &index.dialect, limits, &mut |row| {
                let at = (number, row.number);
                if second.is_some() || passed >= Some(at) || !keys.contains(row.hash) {
                    return Ok(());
                }
                let mut digits = itoa::Buffer::new();
                let key = row.text.key(row.hash).text(&mut digits);
                match &first {
                    None => first = Some((key.to_vec(), row.hash, at)),
                    Some((known, hash, _)) if *hash == row.hash && known == key => {
                        second = Some(at);
                    }
                    Some(_) => {}
                }
                Ok(())
            })?;
        }
        match (first, second) {
            (Some((key, _, first)), Some(second)) => {
                return Ok(Some(SameKey { key, first, second }));
            }
            (Some((_, _, at)), None) => passed = Some(at),
            (None, _) => return Ok(None),
        }
    }
}

/// Finds the keys that an index of text or Parquet has more than once; what memory can't hold goes to
/// a file that is made at `scratch`.
///
/// # Errors
/// The index can't be read, a row of it is refused, or there are more such keys than memory holds.
pub fn duplicated(
    path: &Path,
    dialect: &Dialect,
    limits: &IndexLimits,
    scratch: &Path,
) -> Result<DuplicatedKeys> {
    let source = IndexSource {
        path: path.to_owned(),
        dialect: dialect.clone(),
    };
    let found = Found::of(&source)?;
    let expected = found.most_keys();
    let wanted = expected.saturating_mul(8).saturating_add(LEAST_SHARE);
    let share = take_share(&limits.gate, wanted, LEAST_SHARE);
    let mut sorter = Sorter::new(share, expected, scratch, &limits.cancel);
    scan(&found, dialect, limits, &mut |row| {
        sorter.push(|_, _| row.hash)
    })?;
    let mut memory = limits.gate.charge(0);
    let mut hashes: Vec<u64> = Vec::new();
    let mut before = None;
    sorter.finish(|hash, _| {
        if before.replace(*hash) != Some(*hash) || hashes.last() == Some(hash) {
            return Ok(());
        }
        if hashes.len() == hashes.capacity() {
            // Growing copies, so there are two for a moment.
            let more = hashes.capacity().max(STEP);
            let lease = limits.gate.try_lease(2 * more as u64 * 8, 0);
            memory.absorb(lease.ok_or_else(|| too_many(path, hashes.len()))?);
            hashes.reserve_exact(more);
        }
        hashes.push(*hash);
        Ok(())
    })?;
    Ok(DuplicatedKeys {
        hashes,
        _memory: memory,
    })
}

fn too_many(path: &Path, count: usize) -> Error {
    let message = format!(
        "more than {count} keys occur more than once, which is more than the memory limit allows to \
         list; expected each key once"
    );
    Error::new(ErrorKind::DataRefused, message)
        .at(Place::file(path.display().to_string()))
        .hint("is it the right column for the director's key?")
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::disallowed_methods,
        reason = "tests write files as their users would"
    )]

    use super::super::tests::Bench;
    use super::super::{Key, key_hash};
    use super::*;

    fn find(bench: &Bench, text: &str) -> Result<DuplicatedKeys> {
        let path = bench.path("index.txt");
        std::fs::write(&path, text).unwrap();
        duplicated(
            &path,
            &Dialect::qserv(),
            &bench.limits,
            &bench.path("scratch"),
        )
    }

    #[test]
    fn keys_that_occur_more_than_once_are_found() {
        let bench = Bench::new(64 << 20);
        let text = "5\t1\t1\na\t1\t1\n05\t1\t1\n5\t2\t1\nb\t1\t1\na\t1\t1\n5\t1\t1\n";
        let found = find(&bench, text).unwrap();
        assert_eq!((found.len(), found.is_empty()), (2, false));
        assert!(found.contains(key_hash(Key::Signed(5))));
        assert!(found.contains(key_hash(Key::Text(b"a"))));
        for key in [&b"05"[..], b"b", b""] {
            assert!(!found.contains(key_hash(Key::Text(key))));
        }
        assert!(find(&bench, "1\t1\t1\n2\t1\t1\n").unwrap().is_empty());
        assert!(find(&bench, "").unwrap().is_empty());
    }

    #[test]
    fn little_memory_finds_the_same() {
        let bench = Bench::new(6 << 20);
        let mut text = String::new();
        for row in 0..400_000u64 {
            text += &format!("{}\t{}\t1\n", row % 390_000, row % 100);
        }
        let found = find(&bench, &text).unwrap();
        assert_eq!(found.len(), 10_000);
        assert!((0..10_000).all(|key| found.contains(key_hash(Key::Unsigned(key)))));
        assert!(!found.contains(key_hash(Key::Unsigned(10_000))));
        let peak = bench.limits.gate.peak();
        assert!(peak <= 6 << 20, "{peak}");
        // What is found is paid for, too.
        let bench = Bench::new(3 << 20);
        let twice: String = (0..400_000)
            .map(|row| format!("{}\t1\t1\n", row / 2))
            .collect();
        assert_eq!(
            find(&bench, &twice).unwrap_err().kind(),
            ErrorKind::DataRefused
        );
    }
}

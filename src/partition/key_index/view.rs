//! Looking a key up in a part of the compact file, wherever its bytes are.

use super::key::{Canonical, KeyPlace};
use super::layout::{KeyKind, Layout};
use super::texts::prefixed;

/// Entries from which on a bucket is halved instead of walked: only made-up texts get there.
const MANY: usize = 64;

/// Some buckets with their entries and keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) layout: Layout,
    /// The first bucket that is here.
    pub(super) bucket: u64,
    /// Their places in the directory, and the one behind.
    pub(super) directory: &'a [u8],
    /// The first entry that is here.
    pub(super) entry: u64,
    pub(super) entries: &'a [u8],
    /// Where among all keys the first one is that is here.
    pub(super) key: u64,
    pub(super) keys: &'a [u8],
}

impl<'a> View<'a> {
    /// Says whether the index may hold the key at all.
    #[inline]
    pub(super) fn may_hold(kind: KeyKind, key: Canonical<'_>) -> bool {
        match (kind, key) {
            (KeyKind::Text, _) | (KeyKind::Signed, Canonical::Signed(_)) => true,
            (KeyKind::Unsigned, Canonical::Signed(number)) => number >= 0,
            (KeyKind::Unsigned, Canonical::Large(_)) => true,
            (KeyKind::Signed, Canonical::Large(_)) | (_, Canonical::Text(_)) => false,
        }
    }

    /// Looks a key up.
    #[inline]
    pub(super) fn find(&self, key: Canonical<'_>) -> Option<KeyPlace> {
        if !Self::may_hold(self.layout.kind, key) {
            return None;
        }
        self.find_hash(key.hash(), key)
    }

    /// Looks a key up whose hash is known, and which [`Self::may_hold`].
    #[inline]
    pub(super) fn find_hash(&self, hash: u64, key: Canonical<'_>) -> Option<KeyPlace> {
        self.find_among(self.entries_of(hash)?, hash, key)
    }

    /// Looks a key up among the entries of its bucket.
    #[inline]
    pub(super) fn find_among(
        &self,
        entries: &[u8],
        hash: u64,
        key: Canonical<'_>,
    ) -> Option<KeyPlace> {
        if self.layout.kind == KeyKind::Text {
            return self.find_text(entries, hash, key);
        }
        // Loops over constants are unrolled.
        match self.layout.entry_bytes() {
            12 => self.find_number::<12>(entries, hash),
            _ => self.find_number::<16>(entries, hash),
        }
    }

    /// Returns the entries among which those of `hash` are.
    #[inline]
    pub(super) fn entries_of(&self, hash: u64) -> Option<&'a [u8]> {
        let at = self.layout.bucket(hash).checked_sub(self.bucket)?;
        let width = self.layout.directory_width();
        let at = usize::try_from(at * width).ok()?;
        let width = usize::try_from(width).ok()?;
        let numbers = self.directory.get(at..at + 2 * width)?;
        let (start, end) = match numbers {
            [a, b, c, d, e, f, g, h] => (
                u64::from(u32::from_le_bytes([*a, *b, *c, *d])),
                u64::from(u32::from_le_bytes([*e, *f, *g, *h])),
            ),
            _ => {
                let (start, rest) = numbers.split_first_chunk()?;
                let end = rest.first_chunk()?;
                (u64::from_le_bytes(*start), u64::from_le_bytes(*end))
            }
        };
        let entry = self.layout.entry_bytes();
        let place = |number: u64| {
            let bytes = number.checked_sub(self.entry)?.checked_mul(entry)?;
            usize::try_from(bytes).ok()
        };
        self.entries.get(place(start)?..place(end)?)
    }

    #[inline]
    fn find_number<const BYTES: usize>(&self, entries: &[u8], hash: u64) -> Option<KeyPlace> {
        let (entries, _) = entries.as_chunks::<BYTES>();
        for entry in entries {
            let (own, rest) = entry.split_first_chunk()?;
            if u64::from_le_bytes(*own) == hash {
                return Some(self.layout.places.decode(rest)?.0);
            }
        }
        None
    }

    fn find_text(&self, entries: &[u8], hash: u64, key: Canonical<'_>) -> Option<KeyPlace> {
        let bytes = usize::try_from(self.layout.entry_bytes()).ok()?;
        let own = |entry: &[u8]| entry.first_chunk().map(|own| u64::from_le_bytes(*own));
        let mut digits = itoa::Buffer::new();
        let text = key.text(&mut digits);
        let mut entries = entries;
        while entries.len() > MANY * bytes {
            let (first, second) = entries.split_at_checked(entries.len() / bytes / 2 * bytes)?;
            // Equal hashes may lie on both sides: then all is walked.
            match own(second)?.cmp(&hash) {
                std::cmp::Ordering::Less => entries = second,
                std::cmp::Ordering::Greater => entries = first,
                std::cmp::Ordering::Equal => break,
            }
        }
        for entry in entries.chunks_exact(bytes) {
            if own(entry)? != hash {
                continue;
            }
            let (place, rest) = self.layout.places.decode(entry.get(8..)?)?;
            let at = u64::from_le_bytes(*rest.first_chunk()?).checked_sub(self.key)?;
            let key = self.keys.get(usize::try_from(at).ok()?..)?;
            if prefixed(key)? == text {
                return Some(place);
            }
        }
        None
    }
}

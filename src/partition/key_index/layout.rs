//! The compact file: where what stands in it.
//!
//! | part | content |
//! |---|---|
//! | head | [`MAGIC`], version |
//! | entries | in order of hash: hash, place, and for texts where the key stands |
//! | keys | for texts: length in 2 bytes and the bytes, in the order of the entries |
//! | directory | for each value of the first bits of a hash the number of entries before it |
//! | trailer | kind, widths, counts and checksums |
//!
//! All numbers are little-endian. A place takes 4 bytes as long as the ranges of chunks and
//! sub-chunks fit, else 8. So a number takes 12 bytes and at most one in the directory. What is known
//! only in the end stands in the end, so the file is written from front to back.

use xxhash_rust::xxh3::xxh3_64;

use super::key::KeyPlace;

/// First and last bytes of the file.
pub(super) const MAGIC: &[u8; 8] = b"skyKeys\n";
const VERSION: u32 = 1;
/// Bytes of the head.
pub(super) const HEAD_BYTES: u64 = 16;
/// Bytes of the trailer.
pub(super) const TRAILER_BYTES: usize = 96;
/// Entries that share a place in the directory: more than half of this, and at most this.
const MOST_PER_BUCKET: u64 = 8;
const MOST_BUCKET_BITS: u32 = 40;

/// What the keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// Numbers that an `i64` holds.
    Signed,
    /// Numbers that a `u64` holds.
    Unsigned,
    /// Whatever bytes.
    Text,
}

/// How a place is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlaceForm {
    /// Both numbers in 32 bits, counted from the least that occur.
    Packed {
        least: KeyPlace,
        sub_chunk_bits: u32,
    },
    /// 32 bits each.
    Wide,
}

impl PlaceForm {
    /// Returns the shortest form for places between `least` and `most`.
    pub(super) fn between(least: KeyPlace, most: KeyPlace) -> Self {
        let bits = |least: i32, most: i32| {
            let range = i64::from(most) - i64::from(least);
            u64::BITS - range.max(0).leading_zeros()
        };
        let sub_chunk_bits = bits(least.sub_chunk, most.sub_chunk);
        if bits(least.chunk, most.chunk) + sub_chunk_bits <= 32 && sub_chunk_bits < 32 {
            Self::Packed {
                least,
                sub_chunk_bits,
            }
        } else {
            Self::Wide
        }
    }

    fn bytes(self) -> u64 {
        match self {
            Self::Packed { .. } => 4,
            Self::Wide => 8,
        }
    }

    pub(super) fn encode(self, place: KeyPlace, out: &mut Vec<u8>) {
        match self {
            Self::Packed {
                least,
                sub_chunk_bits,
            } => {
                let chunk = place.chunk.wrapping_sub(least.chunk).cast_unsigned();
                let sub_chunk = place
                    .sub_chunk
                    .wrapping_sub(least.sub_chunk)
                    .cast_unsigned();
                let packed = (chunk << sub_chunk_bits) | sub_chunk;
                out.extend_from_slice(&packed.to_le_bytes());
            }
            Self::Wide => {
                out.extend_from_slice(&place.chunk.to_le_bytes());
                out.extend_from_slice(&place.sub_chunk.to_le_bytes());
            }
        }
    }

    /// Reads a place and returns what is behind it.
    #[inline]
    pub(super) fn decode(self, bytes: &[u8]) -> Option<(KeyPlace, &[u8])> {
        let (first, rest) = bytes.split_first_chunk()?;
        match self {
            Self::Packed {
                least,
                sub_chunk_bits,
            } => {
                let packed = u32::from_le_bytes(*first);
                let sub_chunk = packed & ((1 << sub_chunk_bits) - 1);
                let chunk = packed >> sub_chunk_bits;
                let place = KeyPlace {
                    chunk: least.chunk.wrapping_add_unsigned(chunk),
                    sub_chunk: least.sub_chunk.wrapping_add_unsigned(sub_chunk),
                };
                Some((place, rest))
            }
            Self::Wide => {
                let (second, rest) = rest.split_first_chunk()?;
                let place = KeyPlace {
                    chunk: i32::from_le_bytes(*first),
                    sub_chunk: i32::from_le_bytes(*second),
                };
                Some((place, rest))
            }
        }
    }
}

/// Widths and counts, from which follows where everything stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) kind: KeyKind,
    pub(super) places: PlaceForm,
    /// Number of entries.
    pub(super) entries: u64,
    /// Bytes of all keys that are texts.
    pub(super) key_bytes: u64,
    bucket_bits: u32,
}

/// Checksums (XXH3) of what stands before the trailer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checksums {
    /// Of entries and keys together.
    pub(super) entries: u64,
    pub(super) directory: u64,
}

impl Layout {
    pub(super) fn new(kind: KeyKind, places: PlaceForm, entries: u64, key_bytes: u64) -> Self {
        let buckets = entries.div_ceil(MOST_PER_BUCKET).max(1);
        Self {
            kind,
            places,
            entries,
            key_bytes,
            bucket_bits: (u64::BITS - (buckets - 1).leading_zeros()).min(MOST_BUCKET_BITS),
        }
    }

    /// Returns the bytes of an entry.
    #[inline]
    pub(super) fn entry_bytes(&self) -> u64 {
        let offset = if self.kind == KeyKind::Text { 8 } else { 0 };
        8 + self.places.bytes() + offset
    }

    /// Returns the number of places in the directory, but for the last one.
    pub(super) fn buckets(&self) -> u64 {
        1 << self.bucket_bits
    }

    /// Returns the number of the bucket that keys of this hash are in.
    #[inline]
    pub(super) fn bucket(&self, hash: u64) -> u64 {
        (hash >> 1) >> (63 - self.bucket_bits)
    }

    /// Returns the bytes of a number in the directory.
    #[inline]
    pub(super) fn directory_width(&self) -> u64 {
        if self.entries > u64::from(u32::MAX) {
            8
        } else {
            4
        }
    }

    pub(super) fn directory_bytes(&self) -> u64 {
        (self.buckets() + 1) * self.directory_width()
    }

    pub(super) fn keys_at(&self) -> u64 {
        // A file that long can't be; `decode` has compared with the one there is.
        HEAD_BYTES.saturating_add(self.entries.saturating_mul(self.entry_bytes()))
    }

    pub(super) fn directory_at(&self) -> u64 {
        self.keys_at().saturating_add(self.key_bytes)
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.directory_at()
            .saturating_add(self.directory_bytes())
            .saturating_add(TRAILER_BYTES as u64)
    }

    pub(super) fn head() -> [u8; HEAD_BYTES as usize] {
        let mut head = [0; HEAD_BYTES as usize];
        head[..8].copy_from_slice(MAGIC);
        head[8..12].copy_from_slice(&VERSION.to_le_bytes());
        head
    }

    pub(super) fn encode(&self, checksums: Checksums) -> [u8; TRAILER_BYTES] {
        let kind: u32 = match self.kind {
            KeyKind::Signed => 0,
            KeyKind::Unsigned => 1,
            KeyKind::Text => 2,
        };
        let (least, bits, width) = match self.places {
            PlaceForm::Packed {
                least,
                sub_chunk_bits,
            } => (least, sub_chunk_bits, 4u32),
            PlaceForm::Wide => (
                KeyPlace {
                    chunk: 0,
                    sub_chunk: 0,
                },
                0,
                8,
            ),
        };
        let mut bytes = Vec::with_capacity(TRAILER_BYTES);
        for number in [
            kind,
            width,
            bits,
            least.chunk.cast_unsigned(),
            least.sub_chunk.cast_unsigned(),
            self.bucket_bits,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [
            self.entries,
            self.key_bytes,
            checksums.entries,
            checksums.directory,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let mut trailer = [0; TRAILER_BYTES];
        trailer[..bytes.len()].copy_from_slice(&bytes);
        let checksum = xxh3_64(&trailer[..TRAILER_BYTES - 16]);
        trailer[TRAILER_BYTES - 16..TRAILER_BYTES - 8].copy_from_slice(&checksum.to_le_bytes());
        trailer[TRAILER_BYTES - 8..].copy_from_slice(MAGIC);
        trailer
    }

    /// Reads head and trailer of a file of `file_bytes`.
    ///
    /// # Errors
    /// In words: what is wrong.
    pub(super) fn decode(
        head: &[u8; HEAD_BYTES as usize],
        trailer: &[u8; TRAILER_BYTES],
        file_bytes: u64,
    ) -> Result<(Self, Checksums), &'static str> {
        let (covered, rest) = trailer.split_at(TRAILER_BYTES - 16);
        let number = |at: usize| {
            let bytes = covered.get(at..).and_then(|bytes| bytes.first_chunk());
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        let large = |at: usize| u64::from(number(at)) | (u64::from(number(at + 4)) << 32);
        if !rest.ends_with(MAGIC) {
            return Err("the file ends early");
        }
        if !rest.starts_with(&xxh3_64(covered).to_le_bytes()) {
            return Err("the checksum of the trailer is wrong");
        }
        if head != &Self::head() {
            return Err("the version is not one that this program knows");
        }
        let kind = match number(0) {
            0 => KeyKind::Signed,
            1 => KeyKind::Unsigned,
            2 => KeyKind::Text,
            _ => return Err("the kind of keys is unknown"),
        };
        let places = match (number(4), number(8)) {
            (4, sub_chunk_bits @ 0..32) => PlaceForm::Packed {
                least: KeyPlace {
                    chunk: number(12).cast_signed(),
                    sub_chunk: number(16).cast_signed(),
                },
                sub_chunk_bits,
            },
            (8, _) => PlaceForm::Wide,
            _ => return Err("the width of places is unknown"),
        };
        let layout = Self {
            kind,
            places,
            entries: large(24),
            key_bytes: large(32),
            bucket_bits: number(20),
        };
        if layout.bucket_bits > MOST_BUCKET_BITS || layout.file_bytes() != file_bytes {
            return Err("the file has not the length that its trailer says");
        }
        let checksums = Checksums {
            entries: large(40),
            directory: large(48),
        };
        Ok((layout, checksums))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(chunk: i32, sub_chunk: i32) -> KeyPlace {
        KeyPlace { chunk, sub_chunk }
    }

    #[test]
    fn places_are_read_back() {
        let cases = [
            (place(5, 7), place(5, 7), 4),
            (place(0, 0), place(231_199, 1000), 4),
            (place(0, 0), place(i32::MAX, 1), 4),
            (place(0, 0), place(1, i32::MAX), 4),
            (place(i32::MIN, 0), place(i32::MAX, 0), 4),
            (place(0, i32::MIN), place(0, i32::MAX), 8),
            (place(0, 0), place(i32::MAX, 3), 8),
            (place(i32::MIN, i32::MIN), place(i32::MAX, i32::MAX), 8),
        ];
        for (least, most, bytes) in cases {
            let form = PlaceForm::between(least, most);
            for place in [least, most] {
                let mut out = Vec::new();
                form.encode(place, &mut out);
                assert_eq!(out.len(), bytes, "{least:?} {most:?}");
                assert_eq!(form.decode(&out), Some((place, &[][..])));
            }
        }
    }

    #[test]
    fn layouts_are_read_back() {
        for (entries, bits) in [(0, 0), (8, 0), (9, 1), (16, 1), (17, 2), (20_000_000, 22)] {
            let places = PlaceForm::between(place(1, 2), place(30, 40));
            let layout = Layout::new(KeyKind::Signed, places, entries, 0);
            assert_eq!(layout.bucket_bits, bits);
            assert_eq!(layout.bucket(u64::MAX), layout.buckets() - 1);
            let checksums = Checksums {
                entries: 3,
                directory: u64::MAX,
            };
            let trailer = layout.encode(checksums);
            let bytes = layout.file_bytes();
            assert_eq!(
                Layout::decode(&Layout::head(), &trailer, bytes),
                Ok((layout, checksums))
            );
            assert!(Layout::decode(&Layout::head(), &trailer, bytes + 1).is_err());
            assert!(Layout::decode(&[0; 16], &trailer, bytes).is_err());
            for at in 0..TRAILER_BYTES {
                let mut broken = trailer;
                broken[at] ^= 1;
                assert!(Layout::decode(&Layout::head(), &broken, bytes).is_err());
            }
        }
    }
}

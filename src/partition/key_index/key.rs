//! Keys of rows, and the one hash that everything about them goes by.
//!
//! A text that is the usual spelling of a whole number is the same key as the number, so nobody
//! needs to know how the other side has stored it. The hash of a number can be turned back into the
//! number; that of a text can't, so texts are compared byte by byte as well.

use xxhash_rust::xxh3::xxh3_64;

/// A key as a row gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// A whole number of a signed column.
    Signed(i64),
    /// A whole number of an unsigned column.
    Unsigned(u64),
    /// The bytes of a value, with escapes and quotes taken off.
    Text(&'a [u8]),
}

/// Where the director's row with some key lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPlace {
    /// Number of the chunk.
    pub chunk: i32,
    /// Number of the sub-chunk.
    pub sub_chunk: i32,
}

/// Bytes of the longest key: what MariaDB can index is much shorter.
pub(super) const MOST_KEY_BYTES: usize = u16::MAX as usize;

/// A key in the one form that keys are compared in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Canonical<'a> {
    /// A number that an `i64` holds.
    Signed(i64),
    /// A number that only a `u64` holds.
    Large(u64),
    /// All else.
    Text(&'a [u8]),
}

impl<'a> Canonical<'a> {
    #[inline]
    pub(super) fn of(key: Key<'a>) -> Self {
        match key {
            Key::Signed(number) => Self::Signed(number),
            Key::Unsigned(number) => {
                i64::try_from(number).map_or(Self::Large(number), Self::Signed)
            }
            Key::Text(text) => number_of(text).unwrap_or(Self::Text(text)),
        }
    }

    #[inline]
    pub(super) fn hash(self) -> u64 {
        match self {
            Self::Signed(number) => mix(number.cast_unsigned()),
            Self::Large(number) => mix(number),
            Self::Text(text) => xxh3_64(text),
        }
    }

    /// Returns the text of the key, made in `digits` if it is a number.
    pub(super) fn text<'t>(self, digits: &'t mut itoa::Buffer) -> &'t [u8]
    where
        'a: 't,
    {
        match self {
            Self::Signed(number) => digits.format(number).as_bytes(),
            Self::Large(number) => digits.format(number).as_bytes(),
            Self::Text(text) => text,
        }
    }
}

/// Returns the hash of a key; equal keys have the same, however they are given.
///
/// Different keys may have the same hash if one of them is a text, or one is negative and the other
/// above the largest `i64`.
#[inline]
pub fn key_hash(key: Key<'_>) -> u64 {
    Canonical::of(key).hash()
}

/// Mixes the bits of a number so that all of them depend on all; no two numbers give the same.
///
/// The steps and numbers are the finalizer of splitmix64 (Steele, Lea and Flood 2014, in Stafford's
/// variant 13).
#[inline]
pub(super) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Returns the number that [`mix`] has mixed.
pub(super) fn unmix(hash: u64) -> u64 {
    // The factors are the inverses modulo 2^64 of those above.
    let number = hash ^ (hash >> 31) ^ (hash >> 62);
    let number = number.wrapping_mul(0x3196_42b2_d24d_8ec3);
    let number = number ^ (number >> 27) ^ (number >> 54);
    let number = number.wrapping_mul(0x96de_1b17_3f11_9089);
    number ^ (number >> 30) ^ (number >> 60)
}

/// Returns the number that `text` is the usual spelling of: no sign but a minus, no leading zero.
#[inline]
fn number_of(text: &[u8]) -> Option<Canonical<'_>> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 20 || (digits.first() == Some(&b'0') && text.len() > 1) {
        return None;
    }
    let mut number = 0u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    if is_negative {
        return 0i64.checked_sub_unsigned(number).map(Canonical::Signed);
    }
    Some(i64::try_from(number).map_or(Canonical::Large(number), Canonical::Signed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixing_can_be_undone() {
        for number in [
            0,
            1,
            2,
            u64::MAX,
            i64::MAX as u64,
            1 << 63,
            0x1234_5678_9abc_def0,
        ] {
            assert_eq!(unmix(mix(number)), number);
        }
    }

    #[test]
    fn usual_spellings_are_numbers() {
        let number = |text: &'static str| Canonical::of(Key::Text(text.as_bytes()));
        assert_eq!(number("0"), Canonical::Signed(0));
        assert_eq!(number("-7"), Canonical::Signed(-7));
        assert_eq!(number("9223372036854775807"), Canonical::Signed(i64::MAX));
        assert_eq!(number("-9223372036854775808"), Canonical::Signed(i64::MIN));
        assert_eq!(number("9223372036854775808"), Canonical::Large(1 << 63));
        assert_eq!(number("18446744073709551615"), Canonical::Large(u64::MAX));
        for text in [
            "",
            "-",
            "-0",
            "00",
            "07",
            "+7",
            "7 ",
            "1e3",
            "0x1",
            "-9223372036854775809",
        ] {
            assert_eq!(number(text), Canonical::Text(text.as_bytes()), "{text}");
        }
        assert_eq!(
            number("18446744073709551616"),
            Canonical::Text(b"18446744073709551616")
        );
    }

    #[test]
    fn equal_keys_have_the_same_hash() {
        assert_eq!(key_hash(Key::Signed(5)), key_hash(Key::Unsigned(5)));
        assert_eq!(key_hash(Key::Signed(-5)), key_hash(Key::Text(b"-5")));
        assert_ne!(key_hash(Key::Text(b"05")), key_hash(Key::Text(b"5")));
    }
}

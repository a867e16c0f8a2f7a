//! Byte searches that reader and cutter share.
//!
//! `memchr` is unbeaten where hits are far apart. Delimiters are not: fields of catalogues have some
//! 8 bytes, and a call for each costs more than the bytes. So 64 bytes are looked at together, and
//! give one bit each.

use wide::u8x16;

/// Says whether the byte at `at` is escaped: an odd run of escapes stands before it.
///
/// `floor` is where the run must end at the latest, for before it other text begins.
pub(super) fn is_escaped(bytes: &[u8], at: usize, floor: usize, escape: u8) -> bool {
    let before = bytes.get(floor..at).unwrap_or_default();
    before
        .iter()
        .rev()
        .take_while(|byte| **byte == escape)
        .count()
        % 2
        == 1
}

/// Counts the lines that end in `bytes` as an editor does: at LF, CRLF, and CR alone.
///
/// `bytes` must not end between the CR and the LF of one line end.
pub(super) fn count_line_ends(bytes: &[u8]) -> u64 {
    let feeds = memchr::memchr_iter(b'\n', bytes).count();
    let lone_returns = memchr::memchr_iter(b'\r', bytes)
        .filter(|at| bytes.get(at + 1) != Some(&b'\n'))
        .count();
    (feeds + lone_returns) as u64
}

/// Bytes that are looked at together.
pub(super) const CHUNK: usize = 64;

/// Returns a bit for each byte of a chunk that is `needle`, the lowest for the first.
#[inline]
pub(super) fn places(chunk: &[u8; CHUNK], needle: u8) -> u64 {
    let needle = u8x16::splat(needle);
    masked(chunk, |bytes| bytes.simd_eq(needle))
}

/// Returns a bit for each byte of a chunk that is one of the needles.
#[inline]
pub(super) fn places_of_any(chunk: &[u8; CHUNK], needles: [u8; 3]) -> u64 {
    let [first, second, third] = needles.map(u8x16::splat);
    masked(chunk, |bytes| {
        bytes.simd_eq(first) | bytes.simd_eq(second) | bytes.simd_eq(third)
    })
}

/// Returns a bit for each byte of a chunk that is no digit.
#[inline]
pub(crate) fn non_digits(chunk: &[u8; CHUNK]) -> u64 {
    let (zero, nine) = (u8x16::splat(b'0'), u8x16::splat(9));
    !masked(chunk, |bytes| {
        let value = bytes - zero;
        value.min(nine).simd_eq(value)
    })
}

#[inline]
fn masked(chunk: &[u8; CHUNK], is_hit: impl Fn(u8x16) -> u8x16) -> u64 {
    let (vectors, _) = chunk.as_chunks::<16>();
    let mut mask = 0;
    for (number, bytes) in vectors.iter().enumerate() {
        mask |= u64::from(is_hit(u8x16::new(*bytes)).to_bitmask()) << (number * 16);
    }
    mask
}

/// Calls `hit` with each place of `needle`, in order; returns early when it answers `false`.
#[inline]
pub(super) fn for_each_place(haystack: &[u8], needle: u8, mut hit: impl FnMut(usize) -> bool) {
    let (chunks, rest) = haystack.as_chunks::<CHUNK>();
    let mut base = 0;
    for chunk in chunks {
        let mut hits = places(chunk, needle);
        while hits != 0 {
            if !hit(base + hits.trailing_zeros() as usize) {
                return;
            }
            hits &= hits - 1;
        }
        base += CHUNK;
    }
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        let mut matches = matches(*word, needle);
        while matches != 0 {
            if !hit(base + (matches.trailing_zeros() / 8) as usize) {
                return;
            }
            matches &= matches - 1;
        }
        base += 8;
    }
    for (at, byte) in rest.iter().enumerate() {
        if *byte == needle && !hit(base + at) {
            return;
        }
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// Sets the top bit of each byte that is the needle.
#[inline]
fn matches(word: [u8; 8], needle: u8) -> u64 {
    // A byte of `differs` is zero where the needle is. Adding 0x7f to its low seven bits
    // carries into the top bit unless they are all zero, and never into the next byte.
    let differs = u64::from_le_bytes(word) ^ (u64::from(needle) * ONES);
    !(((differs & LOW_BITS) + LOW_BITS) | differs | LOW_BITS)
}

/// Says whether `needle` occurs; for short texts much cheaper than a call of `memchr`.
#[inline]
pub(super) fn contains(haystack: &[u8], needle: u8) -> bool {
    const SHORT: usize = 32;
    if haystack.len() > SHORT {
        return memchr::memchr(needle, haystack).is_some();
    }
    let mut is_found = false;
    for_each_place(haystack, needle, |_| {
        is_found = true;
        false
    });
    is_found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(haystack: &[u8], needle: u8) -> Vec<usize> {
        let mut found = Vec::new();
        for_each_place(haystack, needle, |at| {
            found.push(at);
            true
        });
        found
    }

    #[test]
    fn places_are_those_of_memchr() {
        // Neighbours of the needle in value are where arithmetic could go wrong.
        let haystack: Vec<u8> = (0..2000_u32)
            .map(|i| [b'\t', b'\n', 8, 0x89, 0x8a, 0, 0xff, b'\t'][(i * i % 29 % 8) as usize])
            .collect();
        for length in 0..haystack.len() {
            for needle in [b'\t', 0, 0xff, 0x80] {
                let expected: Vec<usize> =
                    memchr::memchr_iter(needle, &haystack[..length]).collect();
                assert_eq!(found(&haystack[..length], needle), expected);
                assert_eq!(contains(&haystack[..length], needle), !expected.is_empty());
            }
        }
    }

    #[test]
    fn digits_are_known_of_every_byte() {
        for at in 0..CHUNK {
            for byte in 0..=u8::MAX {
                let mut chunk = [b'7'; CHUNK];
                chunk[at] = byte;
                let expected = u64::from(!byte.is_ascii_digit()) << at;
                assert_eq!(non_digits(&chunk), expected, "{byte} at {at}");
            }
        }
    }

    #[test]
    fn search_stops_when_told() {
        let mut seen = 0;
        for_each_place(b"aaaaaaaaaaaaaaaaaaaaa", b'a', |_| {
            seen += 1;
            seen < 3
        });
        assert_eq!(seen, 3);
    }

    #[test]
    fn escapes_count_in_pairs() {
        for (text, expected) in [
            ("x", false),
            (r"\x", true),
            (r"\\x", false),
            (r"\\\x", true),
        ] {
            assert_eq!(
                is_escaped(text.as_bytes(), text.len() - 1, 0, b'\\'),
                expected,
                "{text}"
            );
        }
        assert!(
            !is_escaped(br"\\\x", 3, 1, b'\\'),
            "what stands before the floor is not looked at"
        );
    }

    #[test]
    fn line_ends_count_as_in_an_editor() {
        for (text, expected) in [
            ("", 0),
            ("a", 0),
            ("a\nb\n", 2),
            ("a\r\nb\rc", 2),
            ("\r\r\n", 2),
        ] {
            assert_eq!(count_line_ends(text.as_bytes()), expected, "{text:?}");
        }
    }
}

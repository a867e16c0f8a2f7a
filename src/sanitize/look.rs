//! A look at a field's raw bytes that tells whether they may be written as they stand.
//!
//! Nearly all fields of a catalogue are plain numbers and plain words. A look says [`Verdict::AsIs`]
//! only where the rules of [`crate::values`] would write the same bytes and count nothing; what it
//! is not sure of goes through the rules. So it decides nothing but speed, which the tests of this
//! folder check with plans that never look.

use crate::convert::{RowTarget, TextForm};
use crate::dialect::{Dialect, Encoder};
use crate::schema::{MysqlType, OutputColumn};
use crate::values::{Charset, Inference, Spellings, as_boolean};

/// Numbers longer than this go through the rules; with so many digits none leaves the range of
/// FLOAT or DOUBLE.
pub(super) const MOST_DIGITS: usize = 24;

/// What a look at a field has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The rules would write the bytes as they stand.
    AsIs,
    /// It is a boolean for a column of numbers, or one by its look.
    Flag(bool),
    /// The rules must decide.
    Unsure,
}

/// What fields of one column usually look like.
#[derive(Debug, Clone)]
pub(super) struct Look {
    kind: Kind,
    is_number: bool,
    /// Spellings of NULL that would pass for values otherwise.
    nulls: Spellings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing is known.
    Unknown,
    Number(NumberKind),
    Decimal {
        whole: usize,
        fraction: usize,
    },
    Text {
        /// Every text of so many bytes fits.
        bytes: usize,
        /// Blanks at the end are counted.
        is_char: bool,
    },
    /// Text, unless it looks like a boolean, NaN or an infinity.
    Inferred,
}

/// What plain numbers of one column may be like to stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberKind {
    Integer {
        /// Every number with so many digits is in range.
        digits: usize,
        is_signed: bool,
    },
    Float,
    /// Of a column that is inferred.
    Inferred,
}

impl NumberKind {
    /// Says whether a number stays: `text` is what comes behind its sign, digits with a point at
    /// `point` at most.
    #[inline]
    pub(super) fn takes(self, text: &[u8], is_negative: bool, point: Option<usize>) -> bool {
        match self {
            Self::Integer { digits, is_signed } => {
                point.is_none() && text.len() <= digits && (is_signed || !is_negative)
            }
            // Minus zero is counted.
            Self::Float => !is_negative || has_value(text),
            Self::Inferred => point != Some(0),
        }
    }
}

/// Which bytes stand for themselves in both dialects, and in both character sets.
#[derive(Debug, Clone)]
pub(super) struct PlainBytes {
    /// All of those in text that is valid in its character set.
    pub(super) of_valid_text: [bool; 256],
    /// The same without those that are not ASCII.
    pub(super) ascii: [bool; 256],
}

impl PlainBytes {
    /// Finds the bytes that are the same in `input` and in the output.
    pub(super) fn new(
        target: &RowTarget,
        encoder: &Encoder,
        input: &Dialect,
        charset: Charset,
    ) -> Self {
        let special = [input.quote(), input.escape()];
        let keeps_charset = target.policy.charset == charset
            || charset == Charset::Binary
            || target.policy.charset == Charset::Binary;
        let infers = target.inference != Inference::Off;
        let mut plain = Self {
            of_valid_text: [false; 256],
            ascii: [false; 256],
        };
        let both = plain.of_valid_text.iter_mut().zip(&mut plain.ascii);
        for (byte, (of_valid_text, ascii)) in (0..=u8::MAX).zip(both) {
            // Such as 1.#INF, which begins like a number.
            let is_doubtful = infers && byte == b'#';
            let is_plain =
                encoder.is_plain_byte(byte) && !special.contains(&Some(byte)) && !is_doubtful;
            *ascii = is_plain && byte.is_ascii();
            *of_valid_text = is_plain && (byte.is_ascii() || keeps_charset);
        }
        plain
    }

    /// Says whether numbers and words stand for themselves.
    fn has_alphanumerics(&self) -> bool {
        let mut ascii = self.ascii.iter().zip(0..=u8::MAX);
        ascii.all(|(is_plain, byte)| {
            *is_plain || !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+'))
        })
    }
}

impl Look {
    /// Never looks.
    pub(super) const BLIND: Self = Self {
        kind: Kind::Unknown,
        is_number: false,
        nulls: Spellings::NONE,
    };

    /// Compiles the look for one column of an output.
    pub(super) fn new(
        target: &RowTarget,
        column: &OutputColumn,
        input: &Dialect,
        plain: &PlainBytes,
    ) -> Self {
        if target.form != TextForm::Lines || !plain.has_alphanumerics() {
            return Self::BLIND;
        }
        let kind = kind(column.target, target.inference);
        let is_number = matches!(kind, Kind::Number(_) | Kind::Decimal { .. });
        let written = [input.null(), target.dialect.null()];
        let asked_for = target.policy.null_spellings();
        // A column of numbers need not compare with what can't be a number.
        let matters = |text: &&[u8]| !is_number || is_numeric(text) || as_boolean(text).is_some();
        let nulls = written.into_iter().chain(asked_for.texts()).filter(matters);
        Self {
            kind,
            is_number,
            nulls: Spellings::new(nulls),
        }
    }

    /// Says whether every text of plain bytes that is no spelling of NULL may stay.
    pub(super) fn is_of_any_text(&self) -> bool {
        matches!(
            self.kind,
            Kind::Text {
                bytes: usize::MAX,
                is_char: false
            }
        )
    }

    /// Returns which plain numbers may stay, if that follows from their digits.
    pub(super) fn number(&self) -> Option<NumberKind> {
        let is_of_digits = |text: &[u8]| {
            let of_number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
            !text.is_empty() && text.iter().all(of_number)
        };
        if self.nulls.texts().any(is_of_digits) {
            return None;
        }
        match self.kind {
            Kind::Number(number) => Some(number),
            Kind::Inferred => Some(NumberKind::Inferred),
            Kind::Unknown | Kind::Decimal { .. } | Kind::Text { .. } => None,
        }
    }

    /// Returns the spellings of NULL that would pass for values otherwise.
    pub(super) fn nulls(&self) -> impl Iterator<Item = &[u8]> {
        self.nulls.texts()
    }

    /// Looks at the field from `start` to `end` of `block`; `plain` are the bytes that may stay.
    #[inline]
    pub(super) fn at(
        &self,
        block: &[u8],
        (start, end): (usize, usize),
        plain: &[bool; 256],
    ) -> Verdict {
        let Some(text) = block.get(start..end) else {
            return Verdict::Unsure;
        };
        if self.nulls.has(text) {
            return Verdict::Unsure;
        }
        if self.is_number && text.first().is_some_and(u8::is_ascii_alphabetic) {
            return as_boolean(text).map_or(Verdict::Unsure, Verdict::Flag);
        }
        let is_plain = match self.kind {
            Kind::Unknown => false,
            Kind::Number(number) => match Shape::of(block, start, text) {
                Some(shape) => {
                    let digits = text.get(usize::from(shape.is_negative)..);
                    let point = shape.fraction.map(|_| shape.whole);
                    number.takes(digits.unwrap_or_default(), shape.is_negative, point)
                }
                None => number == NumberKind::Float && is_with_exponent(text),
            },
            Kind::Decimal { whole, fraction } => {
                Shape::of(block, start, text).is_some_and(|shape| shape.fits(text, whole, fraction))
            }
            Kind::Text { bytes, is_char } => {
                text.len() <= bytes
                    && !(is_char && text.last() == Some(&b' '))
                    && is_plain_text(text, plain)
            }
            Kind::Inferred => return inferred(text, plain),
        };
        match is_plain {
            true => Verdict::AsIs,
            false => Verdict::Unsure,
        }
    }
}

fn kind(target: Option<MysqlType>, inference: Inference) -> Kind {
    let length = |most: Option<u64>| most.map_or(usize::MAX, |most| most as usize);
    match target {
        None if inference != Inference::Off => Kind::Inferred,
        None | Some(MysqlType::Other) => Kind::Text {
            bytes: usize::MAX,
            is_char: false,
        },
        Some(text @ (MysqlType::Char(_) | MysqlType::Varchar(_) | MysqlType::Text(_))) => {
            Kind::Text {
                // No character is shorter than a byte.
                bytes: length(text.max_chars().or_else(|| text.max_bytes())),
                is_char: matches!(text, MysqlType::Char(_)),
            }
        }
        Some(MysqlType::Integer { bits, unsigned }) => Kind::Number(NumberKind::Integer {
            digits: match (bits, unsigned) {
                (8, _) => 2,
                (16, _) => 4,
                (24, false) => 6,
                (24, true) => 7,
                (32, _) => 9,
                (64, false) => 18,
                (64, true) => 19,
                _ => 0,
            },
            is_signed: !unsigned,
        }),
        Some(MysqlType::Float | MysqlType::Double) => Kind::Number(NumberKind::Float),
        Some(MysqlType::Decimal { precision, scale }) => Kind::Decimal {
            whole: usize::from(precision.saturating_sub(scale)),
            fraction: usize::from(scale),
        },
        Some(_) => Kind::Unknown,
    }
}

fn inferred(text: &[u8], plain: &[bool; 256]) -> Verdict {
    let is_text = match (text.first(), text.get(1)) {
        (Some(b'+' | b'-'), second) => second.is_some_and(u8::is_ascii_digit),
        (Some(b'n' | b'N'), second) => !matches!(second, Some(b'a' | b'A')),
        (Some(b'i' | b'I'), second) => !matches!(second, Some(b'n' | b'N')),
        (Some(b't' | b'T' | b'f' | b'F'), Some(_)) => match as_boolean(text) {
            Some(flag) => return Verdict::Flag(flag),
            None => true,
        },
        (Some(first), _) => first.is_ascii_alphanumeric() || !first.is_ascii(),
        (None, _) => true,
    };
    match is_text && is_plain_text(text, plain) {
        true => Verdict::AsIs,
        false => Verdict::Unsure,
    }
}

/// Says whether a text needs neither escape nor quotes, and is not the word that they are needed
/// for.
#[inline]
fn is_plain_text(text: &[u8], plain: &[bool; 256]) -> bool {
    let is_word = text.len() == 4 && text.eq_ignore_ascii_case(b"NULL");
    !is_word && text.iter().all(|byte| is_in(plain, *byte))
}

#[inline]
#[allow(
    clippy::indexing_slicing,
    reason = "every u8 is an index of 256 entries"
)]
fn is_in(plain: &[bool; 256], byte: u8) -> bool {
    plain[usize::from(byte)]
}

fn is_numeric(text: &[u8]) -> bool {
    let is_of_number = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E');
    text.iter().all(is_of_number)
}

/// Says whether any digit of a number in plain spelling is not zero.
fn has_value(text: &[u8]) -> bool {
    // Point and sign come before the digits in ASCII.
    text.iter().any(|byte| *byte > b'0')
}

/// Says whether a text is a number with an exponent that every float type has.
fn is_with_exponent(text: &[u8]) -> bool {
    let Some(at) = text.iter().position(|byte| matches!(byte, b'e' | b'E')) else {
        return false;
    };
    let Some((mantissa, [_, exponent @ ..])) = text.split_at_checked(at) else {
        return false;
    };
    // With 24 digits before the point, FLOAT ends at 1e38.
    let (most, exponent) = match exponent {
        [b'-', digits @ ..] => (2, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    let exponent = match exponent {
        [b'0', digits @ ..] if !digits.is_empty() => digits,
        digits => digits,
    };
    let is_exponent =
        (1..=most).contains(&exponent.len()) && exponent.iter().all(u8::is_ascii_digit);
    is_exponent
        && Shape::of(mantissa, 0, mantissa)
            .is_some_and(|shape| !shape.is_negative || has_value(mantissa))
}

/// How the digits of a number in plain spelling stand: `-?d*(.d*)?`, with a digit at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    is_negative: bool,
    /// Digits before the point.
    whole: usize,
    /// Digits behind the point, if there is one.
    fraction: Option<usize>,
}

impl Shape {
    /// Returns the shape of `text`, which begins at `start` of `block`; nothing if it is spelt
    /// otherwise or is long.
    ///
    /// All bytes are looked at in three words, those behind the text are masked.
    #[inline]
    fn of(block: &[u8], start: usize, text: &[u8]) -> Option<Self> {
        let is_negative = text.first() == Some(&b'-');
        let sign = usize::from(is_negative);
        let length = text.len().checked_sub(sign)?;
        if length == 0 || length > MOST_DIGITS {
            return None;
        }
        let begin = start + sign;
        let short;
        let window: &[u8; MOST_DIGITS] =
            match block.get(begin..).and_then(|rest| rest.first_chunk()) {
                Some(window) => window,
                None => {
                    short = padded(text.get(sign..)?);
                    &short
                }
            };
        // One bit for each byte that is no digit: byte 1 of word 2 has bit 1 * 8 + 2.
        let mut others = 0u64;
        let (words, _) = window.as_chunks::<8>();
        for (number, word) in words.iter().enumerate() {
            let left = length.saturating_sub(number * 8);
            if left == 0 {
                break;
            }
            others |= (non_digits(u64::from_le_bytes(*word)) & low_bytes(left)) >> (7 - number);
        }
        if others == 0 {
            return Some(Self {
                is_negative,
                whole: length,
                fraction: None,
            });
        }
        let bit = others.trailing_zeros() as usize;
        let at = bit % 8 * 8 + bit / 8;
        let is_point = window.get(at) == Some(&b'.');
        (others & (others - 1) == 0 && is_point && length > 1).then_some(Self {
            is_negative,
            whole: at,
            fraction: Some(length - at - 1),
        })
    }

    /// Says whether DECIMAL writes `text`, whose shape this is, as it stands.
    fn fits(self, text: &[u8], whole: usize, fraction: usize) -> bool {
        let digits = text.get(usize::from(self.is_negative)..);
        let first = digits.and_then(<[u8]>::first);
        // Zeros before the first digit are dropped, and so is a point with nothing behind it.
        let is_canonical =
            self.whole > 0 && (self.whole == 1 || first != Some(&b'0')) && self.fraction != Some(0);
        is_canonical && self.whole <= whole && self.fraction.unwrap_or(0) <= fraction
    }
}

/// Returns a text of fewer bytes with zeros behind it.
pub(super) fn padded<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut window = [b'0'; N];
    if let Some(head) = window.get_mut(..text.len()) {
        head.copy_from_slice(text);
    }
    window
}

/// Sets the top bit of each byte that is no digit.
#[inline]
fn non_digits(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Digits become 0 to 9. Adding 0x76 to the low seven bits carries into the top bit from 10 on,
    // and never into the next byte.
    let value = word ^ (ONES * u64::from(b'0'));
    (((value & (ONES * 0x7f)) + ONES * 0x76) | value) & (ONES * 0x80)
}

/// Covers the first `count` bytes of a word.
#[inline]
fn low_bytes(count: usize) -> u64 {
    match count {
        0..8 => (1 << (count * 8)) - 1,
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Option<(bool, usize, Option<usize>)> {
        let alone = Shape::of(text.as_bytes(), 0, text.as_bytes());
        // What stands around a field must not matter.
        let around = format!("x.{text}.,-12345678901234567890");
        let inside = Shape::of(around.as_bytes(), 2, text.as_bytes());
        assert_eq!(alone, inside, "{text}");
        alone.map(|shape| (shape.is_negative, shape.whole, shape.fraction))
    }

    #[test]
    fn shapes_of_numbers() {
        for (text, expected) in [
            ("0", Some((false, 1, None))),
            ("-12", Some((true, 2, None))),
            ("123456789012345678901234", Some((false, 24, None))),
            ("1234567890123456789012345", None),
            ("12345678.", Some((false, 8, Some(0)))),
            ("1234567.8", Some((false, 7, Some(1)))),
            ("-.5", Some((true, 0, Some(1)))),
            ("1234567890123456.7890123", Some((false, 16, Some(7)))),
            ("", None),
            ("-", None),
            (".", None),
            ("-.", None),
            ("1.2.3", None),
            ("12345678.1234567.", None),
            ("1e5", None),
            ("+1", None),
            ("--1", None),
            ("1-", None),
            ("1,5", None),
            ("1/2", None),
            ("1:2", None),
            ("\u{b1}1", None),
        ] {
            assert_eq!(shape(text), expected, "{text}");
        }
    }

    #[test]
    fn every_byte_is_a_digit_or_not() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                let mut word = *b"50948173";
                word[place] = byte;
                let expected = if byte.is_ascii_digit() {
                    0
                } else {
                    0x80u64 << (place * 8)
                };
                assert_eq!(non_digits(u64::from_le_bytes(word)), expected, "{byte}");
            }
        }
    }

    #[test]
    fn exponents_that_every_float_has() {
        for (text, expected) in [
            ("1e5", true),
            ("-1.5E-07", true),
            ("1.5e+09", true),
            ("1e-99", true),
            ("1e10", false),
            ("-0e5", false),
            ("e5", false),
            ("1e", false),
            ("1e+", false),
            ("1e-100", false),
            ("1e5.0", false),
            ("1ee5", false),
        ] {
            assert_eq!(is_with_exponent(text.as_bytes()), expected, "{text}");
        }
    }
}

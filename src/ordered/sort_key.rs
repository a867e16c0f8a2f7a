//! Values as bytes that compare as they do.

use crate::values::{rank_of_date_time, rank_of_time};

/// How the values of a column are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Byte by byte.
    Text,
    /// Numbers by their values, all else behind them byte by byte.
    Number,
    /// Dates, with a time of day or without, by their values, all else behind them byte by byte.
    DateTime,
    /// Times and spans by their values, all else behind them byte by byte.
    Time,
    /// Bits: the number that the bytes are, the first counting most.
    Bits,
}

const NULL: u8 = 0;
const NUMBER: u8 = 1;
const TEXT: u8 = 2;

const BELOW_ZERO: u8 = 0x40;
const ZERO: u8 = 0x80;
const ABOVE_ZERO: u8 = 0xc0;

/// Ends digits and texts: less than all that may follow.
const END: u8 = 0;

/// Appends a value, or NULL, to a key: the bytes of two keys compare as the values do, and no value's bytes
/// are the beginning of another's, so that further columns may follow.
pub(super) fn push_value(key: &mut Vec<u8>, value: Option<&[u8]>, kind: KeyKind) {
    let Some(value) = value else {
        key.push(NULL);
        return;
    };
    let is_pushed = match kind {
        KeyKind::Text => false,
        KeyKind::Number => push_number(key, value),
        KeyKind::DateTime => push_rank(key, rank_of_date_time(value)),
        KeyKind::Time => push_rank(key, rank_of_time(value)),
        KeyKind::Bits => push_bits(key, value),
    };
    if is_pushed {
        return;
    }
    key.push(TEXT);
    for byte in value {
        key.push(*byte);
        if *byte == END {
            // Within a text it is told from its end.
            key.push(0xff);
        }
    }
    key.extend_from_slice(&[END, END]);
}

/// Appends a rank if there is one, and says so; all have the same length.
fn push_rank(key: &mut Vec<u8>, rank: Option<i128>) -> bool {
    let Some(rank) = rank else {
        return false;
    };
    key.push(NUMBER);
    // Numbers below zero come first.
    key.extend_from_slice(&(rank.cast_unsigned() ^ 1 << 127).to_be_bytes());
    true
}

/// Appends the number that some bytes are, if there are no more than 255 that count.
fn push_bits(key: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let leading = bytes.iter().take_while(|byte| **byte == 0).count();
    let counting = bytes.get(leading..).unwrap_or_default();
    let Ok(length) = u8::try_from(counting.len()) else {
        return false;
    };
    key.extend_from_slice(&[NUMBER, length]);
    key.extend_from_slice(counting);
    true
}

/// Appends a number of any length and size; says whether it is one.
fn push_number(key: &mut Vec<u8>, text: &[u8]) -> bool {
    let Some(number) = Decimal::parse(text) else {
        return false;
    };
    key.push(NUMBER);
    let start = key.len() + 1;
    match (number.is_zero(), number.is_negative) {
        (true, _) => {
            key.push(ZERO);
            return true;
        }
        (false, false) => key.push(ABOVE_ZERO),
        (false, true) => key.push(BELOW_ZERO),
    }
    // Of two numbers with the same sign the one with the greater exponent is farther from zero, and
    // of those with the same exponent the one with the greater digits.
    let exponent = i64::from(number.exponent) - i64::from(i32::MIN);
    key.extend_from_slice(&u32::try_from(exponent).unwrap_or(u32::MAX).to_be_bytes());
    key.extend(number.digits().map(|digit| digit + 1));
    key.push(END);
    if number.is_negative {
        let own = key.get_mut(start..).unwrap_or_default();
        own.iter_mut().for_each(|byte| *byte = !*byte);
    }
    true
}

/// A decimal number as it is written: 0.d1d2d3... times ten to the power of `exponent`, where d1 is not 0.
struct Decimal<'t> {
    is_negative: bool,
    whole: &'t [u8],
    fraction: &'t [u8],
    /// Digits of both that stand before the first that counts.
    leading: usize,
    /// Digits that count.
    count: usize,
    exponent: i32,
}

impl<'t> Decimal<'t> {
    fn parse(text: &'t [u8]) -> Option<Self> {
        let (is_negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if is_infinite(text) {
            return Some(Self {
                is_negative,
                whole: b"1",
                fraction: b"",
                leading: 0,
                count: 1,
                exponent: i32::MAX,
            });
        }
        let digits = |text: &'t [u8]| {
            let is_digit = |byte: &&u8| byte.is_ascii_digit();
            text.split_at(text.iter().take_while(is_digit).count())
        };
        let (whole, rest) = digits(text);
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => digits(rest),
            _ => (&b""[..], rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let power: i64 = match rest {
            [] => 0,
            [b'e' | b'E', power @ ..] => power_of(power)?,
            _ => return None,
        };
        let all = whole.iter().chain(fraction);
        let leading = all.clone().take_while(|digit| **digit == b'0').count();
        let trailing = all.rev().take_while(|digit| **digit == b'0').count();
        let total = whole.len() + fraction.len();
        let place = power.saturating_add(whole.len() as i64 - leading as i64);
        Some(Self {
            is_negative,
            whole,
            fraction,
            leading,
            count: total.saturating_sub(leading + trailing),
            // Infinities are beyond all.
            exponent: place.clamp(i64::from(i32::MIN), i64::from(i32::MAX) - 1) as i32,
        })
    }

    fn is_zero(&self) -> bool {
        self.count == 0
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        let all = self.whole.iter().chain(self.fraction);
        let counting = all.skip(self.leading).take(self.count);
        counting.map(|digit| digit - b'0')
    }
}

fn is_infinite(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity")
}

/// Reads the power of ten; one of very many digits is as good as one beyond all.
fn power_of(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0_i64, |value, digit| {
        value
            .saturating_mul(10)
            .saturating_add(i64::from(digit - b'0'))
            .min(1 << 40)
    });
    Some(sign * value)
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    fn key(value: Option<&[u8]>, kind: KeyKind) -> Vec<u8> {
        let mut key = Vec::new();
        push_value(&mut key, value, kind);
        key
    }

    fn compared(a: &str, b: &str, kind: KeyKind) -> Ordering {
        let [a, b] = [a, b].map(|text| key(Some(text.as_bytes()), kind));
        a.cmp(&b)
    }

    #[test]
    fn numbers_come_by_their_values_and_before_texts() {
        let in_order = [
            "-inf",
            "-1e400",
            "-1e3",
            "-10.5",
            "-10.05",
            "-10",
            "-9",
            "-0.001",
            "-1e-9",
            "0",
            "1e-30",
            "0.001",
            "0.01",
            "5",
            "9",
            "10",
            "10.05",
            "10.5",
            "99",
            "1e2",
            "123456789012345678901",
            "1e400",
            "inf",
            "",
            "-",
            "10 ",
            "a",
            "e5",
            "nan",
        ];
        for (at, a) in in_order.iter().enumerate() {
            for (bt, b) in in_order.iter().enumerate() {
                assert_eq!(compared(a, b, KeyKind::Number), at.cmp(&bt), "{a} {b}");
            }
            assert!(key(None, KeyKind::Number) < key(Some(a.as_bytes()), KeyKind::Number));
        }
        for (a, b) in [
            ("10", "1e1"),
            ("+5", "5.00"),
            ("-0", "0.0e9"),
            ("100e-2", "1"),
            (".5", "0.5"),
        ] {
            assert_eq!(compared(a, b, KeyKind::Number), Ordering::Equal, "{a} {b}");
        }
        assert_eq!(compared("10", "9", KeyKind::Text), Ordering::Less);
    }

    #[test]
    fn dates_times_and_bits_come_by_their_values() {
        let of_dates = [
            "0000-00-00",
            "2019-12-31",
            "20200101",
            "2020-1-1 04:00:00",
            "2020-01-01 05:00:00.5",
            "2020-01-01T23:00:00",
            "20200102030405",
            "2021-00-00",
            "soon",
        ];
        let of_times = [
            "-100:00:00",
            "-20:00",
            "-10:00:00.5",
            "-10:00",
            "8:00",
            "090000.25",
            "100:00:00",
            "x",
        ];
        let of_bits = ["\0\0", "\u{1}", "\0\u{1},", "ab", "\u{1}\0\0"];
        let all = [
            (&of_dates[..], KeyKind::DateTime),
            (&of_times[..], KeyKind::Time),
            (&of_bits[..], KeyKind::Bits),
        ];
        for (in_order, kind) in all {
            for (at, a) in in_order.iter().enumerate() {
                for (bt, b) in in_order.iter().enumerate() {
                    assert_eq!(compared(a, b, kind), at.cmp(&bt), "{a} {b}");
                }
            }
        }
        for (a, b) in [
            ("2020-01-01", "20200101000000"),
            ("2020/1/1", "2020-01-01 00:00:00.0"),
        ] {
            assert_eq!(
                compared(a, b, KeyKind::DateTime),
                Ordering::Equal,
                "{a} {b}"
            );
        }
        assert_eq!(compared("5", "\0\u{0}5", KeyKind::Bits), Ordering::Equal);
    }

    proptest! {
        #[test]
        fn doubles_compare_as_their_texts(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            let found = compared(&format!("{a:?}"), &format!("{b}"), KeyKind::Number);
            prop_assert_eq!(Some(found), a.partial_cmp(&b));
        }

        #[test]
        fn whole_numbers_compare_whatever_their_size(a in any::<i128>(), b in any::<i128>()) {
            let found = compared(&a.to_string(), &b.to_string(), KeyKind::Number);
            prop_assert_eq!(found, a.cmp(&b));
        }

        #[test]
        fn columns_compare_one_after_another(
            a in proptest::collection::vec(proptest::option::of(proptest::collection::vec(0u8..3, 0..4)), 3),
            b in proptest::collection::vec(proptest::option::of(proptest::collection::vec(0u8..3, 0..4)), 3),
        ) {
            let all = |values: &[Option<Vec<u8>>]| {
                let mut key = Vec::new();
                for value in values {
                    push_value(&mut key, value.as_deref(), KeyKind::Text);
                }
                key
            };
            prop_assert_eq!(all(&a).cmp(&all(&b)), a.cmp(&b));
        }
    }
}

//! Decimal numbers as digits, of any length: what DECIMAL columns take.

use std::fmt;

use super::text_buffer::TextBuffer;

/// Exponents beyond this are taken for this: far outside every DECIMAL.
const MOST_EXPONENT: i64 = 1_000_000;

/// A decimal number: digits and where the point stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number {
    is_negative: bool,
    /// Digits as ASCII, without leading zeros before the point.
    digits: Vec<u8>,
    /// How many of them, or of the zeros behind them, stand before the point; below 0, so many
    /// zeros stand between the point and the first digit.
    point: i64,
}

/// How a number fits a DECIMAL column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// It does, maybe without zeros at its end.
    Exact(Number),
    /// It has more digits behind the point; this is what is left of it.
    Shortened(Number),
    /// It has more digits before the point.
    TooLarge,
}

impl Number {
    /// Makes a number from a whole number's text and the power of ten that it is divided by.
    pub fn scaled(text: &[u8], scale: i8) -> Self {
        let (is_negative, digits) = match text.split_first() {
            Some((b'-', digits)) => (true, digits),
            _ => (false, text),
        };
        let mut number = Self {
            is_negative,
            digits: digits.to_vec(),
            point: digits.len() as i64 - i64::from(scale),
        };
        number.normalise();
        number
    }

    /// Reads `[+-]digits[.digits][e[+-]digits]`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (is_negative, unsigned) = match text.split_first()? {
            (b'-', rest) => (true, rest),
            (b'+', rest) => (false, rest),
            _ => (false, text),
        };
        let (mantissa, exponent) = match unsigned.iter().position(|b| matches!(b, b'e' | b'E')) {
            Some(at) => (&unsigned[..at], exponent(&unsigned[at + 1..])?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = match mantissa.iter().position(|b| *b == b'.') {
            Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
            None => (mantissa, &[][..]),
        };
        let is_number = whole.len() + fraction.len() > 0
            && whole.iter().chain(fraction).all(u8::is_ascii_digit);
        if !is_number {
            return None;
        }
        let mut number = Self {
            is_negative,
            digits: [whole, fraction].concat(),
            point: whole.len() as i64 + exponent,
        };
        number.normalise();
        Some(number)
    }

    /// Says whether it has a minus sign.
    pub fn is_negative(&self) -> bool {
        self.is_negative
    }

    /// Drops zeros before the first digit.
    fn normalise(&mut self) {
        let zeros = self
            .digits
            .iter()
            .take_while(|digit| **digit == b'0')
            .count();
        self.digits.drain(..zeros);
        self.point -= zeros as i64;
        if self.digits.is_empty() {
            // Zero keeps its digits behind the point.
            let scale = (-self.point).clamp(0, 64);
            self.digits = vec![b'0'; scale as usize];
            self.point = 0;
        }
    }

    /// Returns the number of digits behind the point.
    fn scale(&self) -> i64 {
        (self.digits.len() as i64 - self.point).max(0)
    }

    /// Fits it into DECIMAL(`precision`, `scale`), rounding halves away from zero if it `rounds`.
    pub fn fit(&self, precision: u8, scale: u8, rounds: bool) -> Fit {
        let (most_whole, scale) = (i64::from(precision.saturating_sub(scale)), i64::from(scale));
        let is_zero = self.digits.iter().all(|digit| *digit == b'0');
        if self.point > most_whole && !is_zero {
            return Fit::TooLarge;
        }
        let surplus = self.scale() - scale;
        if surplus <= 0 {
            return Fit::Exact(self.clone());
        }
        let kept = usize::try_from(self.digits.len() as i64 - surplus).unwrap_or(0);
        let (left, dropped) = self.digits.split_at(kept);
        let is_exact = dropped.iter().all(|digit| *digit == b'0');
        let mut shortened = Self {
            is_negative: self.is_negative,
            digits: left.to_vec(),
            point: self.point,
        };
        // Digits that stand behind zeros are too small to round up.
        let next_counts = self.digits.len() as i64 >= surplus;
        if rounds && next_counts && dropped.first().is_some_and(|digit| *digit >= b'5') {
            shortened.add_one_behind(scale);
        }
        if shortened.digits.is_empty() {
            shortened = Self {
                is_negative: false,
                digits: vec![b'0'; scale as usize],
                point: 0,
            };
        }
        if shortened.point > most_whole && shortened.digits.iter().any(|digit| *digit != b'0') {
            return Fit::TooLarge;
        }
        if is_exact {
            Fit::Exact(shortened)
        } else {
            Fit::Shortened(shortened)
        }
    }

    /// Adds one in the last of `scale` places behind the point.
    fn add_one_behind(&mut self, scale: i64) {
        for digit in self.digits.iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
        if self.digits.is_empty() {
            // Such as 0.006 with two places: the one stands in the last of them.
            self.point = 1 - scale;
        } else {
            self.point += 1;
        }
        self.digits.insert(0, b'1');
    }

    /// Writes it without an exponent.
    pub fn write(&self, out: &mut TextBuffer) {
        if self.is_negative {
            out.push(b'-');
        }
        let whole = usize::try_from(self.point).unwrap_or(0);
        let (before, behind) = self.digits.split_at(whole.min(self.digits.len()));
        if whole == 0 {
            out.push(b'0');
        } else {
            out.extend(before);
            (before.len()..whole).for_each(|_| out.push(b'0'));
        }
        if !behind.is_empty() {
            out.push(b'.');
            (self.point..0).for_each(|_| out.push(b'0'));
            out.extend(behind);
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.point.abs() > 200 {
            let digits = String::from_utf8_lossy(&self.digits);
            return write!(f, "0.{digits}e{}", self.point);
        }
        let mut text = TextBuffer::with_capacity(128);
        self.write(&mut text);
        f.write_str(&String::from_utf8_lossy(text.as_slice()))
    }
}

fn exponent(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text.split_first()? {
        (b'-', digits) => (-1, digits),
        (b'+', digits) => (1, digits),
        _ => (1, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = digits.iter().fold(0i64, |size, digit| {
        (size * 10 + i64::from(digit - b'0')).min(MOST_EXPONENT)
    });
    Some(sign * size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fitted(text: &str, precision: u8, scale: u8, rounds: bool) -> String {
        match Number::parse(text.as_bytes())
            .unwrap()
            .fit(precision, scale, rounds)
        {
            Fit::Exact(number) => format!("= {number}"),
            Fit::Shortened(number) => format!("~ {number}"),
            Fit::TooLarge => "too large".to_owned(),
        }
    }

    #[test]
    fn numbers_fit_or_not() {
        for (text, rounds, expected) in [
            ("1.25", false, "= 1.25"),
            ("-00123.4500", false, "= -123.45"),
            ("123.456", false, "~ 123.45"),
            ("123.455", true, "~ 123.46"),
            ("999.995", true, "too large"),
            ("999.994", true, "~ 999.99"),
            ("1000", false, "too large"),
            ("1e3", false, "too large"),
            ("1.5e2", false, "= 150"),
            ("0.006", true, "~ 0.01"),
            ("0.0006", true, "~ 0.00"),
            ("0.006", false, "~ 0.00"),
            ("-0.001", false, "~ 0.00"),
            ("0.0000", false, "= 0.00"),
            ("9.999", true, "~ 10.00"),
            ("1e-400", true, "~ 0.00"),
            ("0e500", false, "= 0"),
        ] {
            assert_eq!(fitted(text, 5, 2, rounds), expected, "{text}");
        }
    }

    #[test]
    fn scaled_numbers_keep_their_zeros() {
        let text = |digits: &str, scale| Number::scaled(digits.as_bytes(), scale).to_string();
        assert_eq!(text("1250", 3), "1.250");
        assert_eq!(text("-5", 3), "-0.005");
        assert_eq!(text("0", 2), "0.00");
        assert_eq!(text("12", -2), "1200");
    }

    #[test]
    fn what_is_no_number() {
        for text in ["", "-", ".", "1e", "1.2.3", "0x10", "1 ", "nan", "e5"] {
            assert_eq!(Number::parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn rounding_is_that_of_whole_numbers(value in -9_999_999i64..9_999_999) {
            // value / 1000 to two places, in whole numbers.
            let size = (value.abs() + 5) / 10;
            let sign = if value < 0 && size > 0 { "-" } else { "" };
            let expected = format!("{sign}{}.{:02}", size / 100, size % 100);
            let number = Number::scaled(value.to_string().as_bytes(), 3);
            let found = match number.fit(10, 2, true) {
                Fit::Exact(number) | Fit::Shortened(number) => number.to_string(),
                Fit::TooLarge => "too large".to_owned(),
            };
            prop_assert_eq!(found, expected);
        }
    }
}

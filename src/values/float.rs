//! Floats as text: the shortest digits that read back equal, in the C++ tools' style.
//!
//! Digits come from zmij. The style is Arrow's CSV writer's (double-conversion with exponents -6
//! to 9 written plainly): `1`, `-0`, `0.000001`, `1e-7`, `1e+10`, `nan`, `inf`, `-inf`.

use super::text_buffer::TextBuffer;

/// Text of the largest finite double, as Qserv's documentation writes it.
pub const DOUBLE_LIMIT: &str = "1.7976931348623157E+308";

/// Text of the largest finite float that MariaDB takes into a FLOAT column.
///
/// The shortest text of `f32::MAX`, `3.4028235e+38`, is refused as out of range.
pub const FLOAT_LIMIT: &str = "3.4028234E+38";

/// Appends a double.
#[inline]
pub fn write_f64(value: f64, out: &mut TextBuffer) {
    if !value.is_finite() {
        return out.push_short(special(value));
    }
    let mut digits = zmij::Buffer::new();
    write_shortest(digits.format_finite(value).as_bytes(), value.abs(), out);
}

/// Appends a single-precision float.
#[inline]
pub fn write_f32(value: f32, out: &mut TextBuffer) {
    if !value.is_finite() {
        return out.push_short(special(f64::from(value)));
    }
    let mut digits = zmij::Buffer::new();
    write_shortest(
        digits.format_finite(value).as_bytes(),
        f64::from(value.abs()),
        out,
    );
}

/// A float whose shortest text can be had ahead of its use.
pub(crate) trait ShortFloat: Copy {
    /// Returns the text of a number of middling size, as most are; for all others nothing. Whole
    /// numbers have a `.0` at their end, see [`without_zero`].
    fn middling_text(self, digits: &mut zmij::Buffer) -> &[u8];
}

impl ShortFloat for f64 {
    #[inline]
    fn middling_text(self, digits: &mut zmij::Buffer) -> &[u8] {
        match is_middling(self.abs()) {
            true => digits.format_finite(self).as_bytes(),
            false => &[],
        }
    }
}

impl ShortFloat for f32 {
    #[inline]
    fn middling_text(self, digits: &mut zmij::Buffer) -> &[u8] {
        match is_middling(f64::from(self.abs())) {
            true => digits.format_finite(self).as_bytes(),
            false => &[],
        }
    }
}

/// Says whether zmij writes a number of that size without an exponent.
#[inline]
fn is_middling(magnitude: f64) -> bool {
    (1e-3..1e10).contains(&magnitude)
}

/// A whole number's ".0" is too much.
#[inline]
pub(crate) fn without_zero(text: &[u8]) -> &[u8] {
    text.strip_suffix(b".0").unwrap_or(text)
}

/// Returns the double that the text of `value` reads as.
///
/// This is not `f64::from(value)`: a single `0.1` is written `0.1`, and whoever reads that text
/// gets the double `0.1`.
pub fn f32_as_written(value: f32) -> f64 {
    if !value.is_finite() {
        return f64::from(value);
    }
    let mut digits = zmij::Buffer::new();
    digits
        .format_finite(value)
        .parse()
        .unwrap_or(f64::from(value))
}

fn special(value: f64) -> &'static [u8] {
    if value.is_nan() {
        b"nan"
    } else if value > 0.0 {
        b"inf"
    } else {
        b"-inf"
    }
}

/// Appends zmij's `text` of a number of size `magnitude` in the C++ tools' style.
#[inline]
fn write_shortest(text: &[u8], magnitude: f64, out: &mut TextBuffer) {
    if is_middling(magnitude) {
        // Written plainly by zmij too.
        out.push_short(without_zero(text));
    } else {
        write_restyled(text, out);
    }
}

/// Takes a decimal text apart and writes it in the C++ tools' style.
#[cold]
fn write_restyled(text: &[u8], out: &mut TextBuffer) {
    let (digits, count, point, negative) = significant_digits(text);
    let digits = &digits[..count];
    if negative {
        out.push(b'-');
    }
    if digits.is_empty() {
        return out.push(b'0');
    }
    let exponent = point - 1;
    if (-6..10).contains(&exponent) {
        write_plain(digits, point, out);
    } else {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend(&digits[1..]);
        }
        out.push(b'e');
        out.push(if exponent < 0 { b'-' } else { b'+' });
        out.push_short(
            itoa::Buffer::new()
                .format(exponent.unsigned_abs())
                .as_bytes(),
        );
    }
}

/// Writes `0.d1d2.. x 10^point` without an exponent.
fn write_plain(digits: &[u8], point: i32, out: &mut TextBuffer) {
    let whole = usize::try_from(point).unwrap_or(0);
    if point <= 0 {
        out.extend(b"0.");
        for _ in point..0 {
            out.push(b'0');
        }
        out.extend(digits);
    } else if digits.len() <= whole {
        out.extend(digits);
        for _ in digits.len()..whole {
            out.push(b'0');
        }
    } else {
        out.extend(&digits[..whole]);
        out.push(b'.');
        out.extend(&digits[whole..]);
    }
}

/// Returns the digits without leading and trailing zeros, how many they are, the position of the
/// decimal point relative to the first of them, and the sign.
fn significant_digits(text: &[u8]) -> ([u8; 32], usize, i32, bool) {
    let negative = text.first() == Some(&b'-');
    let mut digits = [0u8; 32];
    let mut count = 0usize;
    let mut point: Option<i32> = None;
    let mut before_point = 0i32;
    let mut leading_zeros = 0i32;
    let mut exponent = 0i32;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'.' => point = Some(before_point),
            b'e' | b'E' => {
                let rest = text.get(at + 1..).unwrap_or_default();
                exponent = std::str::from_utf8(rest)
                    .ok()
                    .and_then(|e| e.parse().ok())
                    .unwrap_or(0);
                break;
            }
            b'0'..=b'9' => {
                before_point += 1;
                if count == 0 && *byte == b'0' {
                    leading_zeros += 1;
                } else if count < digits.len() {
                    digits[count] = *byte;
                    count += 1;
                }
            }
            _ => {}
        }
    }
    while count > 0 && digits[count - 1] == b'0' {
        count -= 1;
    }
    (
        digits,
        count,
        point.unwrap_or(before_point) - leading_zeros + exponent,
        negative,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn double(value: f64) -> String {
        let mut out = TextBuffer::with_capacity(0);
        write_f64(value, &mut out);
        String::from_utf8(out.as_slice().to_vec()).unwrap()
    }

    fn single(value: f32) -> String {
        let mut out = TextBuffer::with_capacity(0);
        write_f32(value, &mut out);
        String::from_utf8(out.as_slice().to_vec()).unwrap()
    }

    macro_rules! doubles {
        ($($value:expr => $text:literal;)*) => {
            #[test]
            fn the_style_of_the_reference() {
                $(assert_eq!(double($value), $text);)*
            }
        };
    }

    // Texts that Arrow's CSV writer prints, which the reference tools use.
    doubles! {
        1.0 => "1";
        -0.0 => "-0";
        0.0 => "0";
        0.1 => "0.1";
        0.001 => "0.001";
        0.00012 => "0.00012";
        1e-5 => "0.00001";
        4.710967e-6 => "0.000004710967";
        1e-6 => "0.000001";
        9.874999999999999e-7 => "9.874999999999999e-7";
        1e-7 => "1e-7";
        5e-324 => "5e-324";
        9875000000.0 => "9875000000";
        9999999999.999998 => "9999999999.999998";
        1e10 => "1e+10";
        252731265484.99658 => "2.5273126548499658e+11";
        1e15 => "1e+15";
        1234567890123456.0 => "1.234567890123456e+15";
        1e22 => "1e+22";
        f64::MAX => "1.7976931348623157e+308";
        -2.5 => "-2.5";
        f64::NAN => "nan";
        f64::INFINITY => "inf";
        f64::NEG_INFINITY => "-inf";
    }

    #[test]
    fn singles_keep_their_own_shortest_digits() {
        assert_eq!(single(0.1), "0.1");
        assert_eq!(single(f32::MAX), "3.4028235e+38");
        assert_eq!(single(1e-45), "1e-45");
        assert_eq!(single(16_777_216.0), "16777216");
        assert_eq!(f32_as_written(0.1), 0.1);
        assert!(f32_as_written(f32::NAN).is_nan());
    }

    proptest! {
        #[test]
        fn every_bit_pattern_reads_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let back: f64 = double(value).parse().unwrap();
            prop_assert!(value.is_nan() && back.is_nan() || value.to_bits() == back.to_bits());
        }

        #[test]
        fn every_single_reads_back(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            let back: f32 = single(value).parse().unwrap();
            prop_assert!(value.is_nan() && back.is_nan() || value.to_bits() == back.to_bits());
        }
    }
}

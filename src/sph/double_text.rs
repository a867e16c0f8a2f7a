//! Numbers as C's `printf` writes them with `%.17g`: 17 significant digits, without zeros at the
//! end; with an exponent where it is below -4 or has more digits before the point.
//!
//! 17 digits name a number so that it can be read back, though they are often not the fewest that
//! do. What the reference writes is compared byte for byte, thus the same digits here.

use std::io::Write;

/// Significant digits.
const DIGITS: i32 = 17;

/// Bytes of a number in scientific notation: sign, digits, point, `e-324`.
const LONGEST: usize = 32;

/// Appends a number as `%.17g` writes it; not-a-number is `nan` or `-nan`, infinities `inf`.
///
/// # Examples
/// ```
/// use skyprep::sph::write_double;
///
/// let mut text = Vec::new();
/// write_double(&mut text, 0.1);
/// assert_eq!(text, b"0.10000000000000001");
/// ```
pub fn write_double(text: &mut Vec<u8>, number: f64) {
    if number.is_sign_negative() {
        text.push(b'-');
    }
    if !number.is_finite() {
        text.extend_from_slice(if number.is_nan() { b"nan" } else { b"inf" });
        return;
    }

    // Rust rounds the exact value to the nearest, halves to even, as C does.
    let mut buffer = [0; LONGEST];
    let mut free = &mut buffer[..];
    let is_written = write!(free, "{:.16e}", number.abs()).is_ok();
    let unused = free.len();
    let written = buffer.get(..LONGEST - unused).unwrap_or_default();
    debug_assert!(is_written, "{number}");

    let mut parts = written.split(|byte| *byte == b'e');
    let (mantissa, exponent) = (parts.next(), parts.next());
    let mut digits = [b'0'; DIGITS as usize];
    let of_mantissa = mantissa.unwrap_or_default().iter();
    for (digit, byte) in digits
        .iter_mut()
        .zip(of_mantissa.filter(|byte| **byte != b'.'))
    {
        *digit = *byte;
    }
    write_digits(text, &digits, whole_number(exponent.unwrap_or_default()));
}

/// Writes digits, of which the first stands for a multiple of ten to the power of `exponent`.
fn write_digits(text: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    let zeros = digits.iter().rev().take_while(|digit| **digit == b'0');
    // Zero itself keeps one.
    let used = (digits.len() - zeros.count()).max(1);
    let digits = digits.get(..used).unwrap_or_default();

    if !(-4..DIGITS).contains(&exponent) {
        write_pointed(text, digits, 1);
        text.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        write_two_digits(text, exponent.unsigned_abs());
    } else if let Ok(before_point) = usize::try_from(exponent + 1)
        && before_point > 0
    {
        write_pointed(text, digits, before_point);
    } else {
        text.extend_from_slice(b"0.");
        text.extend((exponent + 1..0).map(|_| b'0'));
        text.extend_from_slice(digits);
    }
}

/// Writes digits with a point behind some of them; zeros where there are not as many.
fn write_pointed(text: &mut Vec<u8>, digits: &[u8], before_point: usize) {
    match digits.split_at_checked(before_point) {
        Some((whole, [])) => text.extend_from_slice(whole),
        Some((whole, rest)) => {
            text.extend_from_slice(whole);
            text.push(b'.');
            text.extend_from_slice(rest);
        }
        None => {
            text.extend_from_slice(digits);
            text.extend((digits.len()..before_point).map(|_| b'0'));
        }
    }
}

/// Writes an exponent, up to 308 or 324, with two digits at least.
fn write_two_digits(text: &mut Vec<u8>, exponent: u32) {
    if exponent >= 100 {
        text.push(digit(exponent / 100));
    }
    text.push(digit(exponent / 10 % 10));
    text.push(digit(exponent % 10));
}

fn digit(value: u32) -> u8 {
    b'0' + u8::try_from(value).unwrap_or_default()
}

fn whole_number(text: &[u8]) -> i32 {
    let text = std::str::from_utf8(text).unwrap_or_default();
    text.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::htm::Lcg;

    fn text(number: f64) -> String {
        let mut text = Vec::new();
        write_double(&mut text, number);
        String::from_utf8(text).unwrap()
    }

    #[allow(clippy::excessive_precision, reason = "digits as printf writes them")]
    #[test]
    fn as_printf_writes_them() {
        for (number, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (100.0, "100"),
            (0.1, "0.10000000000000001"),
            (0.3, "0.29999999999999999"),
            (24.423868015198696, "24.423868015198696"),
            (-6.4389015670835823, "-6.4389015670835823"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (1e-5, "1.0000000000000001e-05"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123456789012345680.0, "1.2345678901234568e+17"),
            (99999999999999990.0, "99999999999999984"),
            (9007199254740993.0, "9007199254740992"),
            (1e100, "1e+100"),
            (2.5, "2.5"),
            (0.5_f64.powi(60), "8.6736173798840355e-19"),
            (5e-324, "4.9406564584124654e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN.copysign(1.0), "nan"),
            (f64::NAN.copysign(-1.0), "-nan"),
        ] {
            assert_eq!(text(number), expected);
        }
    }

    #[test]
    fn there_and_back() {
        let mut random = Lcg::new(15);
        for _ in 0..100_000 {
            let number = f64::from_bits(random.next());
            if number.is_finite() {
                assert_eq!(text(number).parse(), Ok(number));
            }
        }
    }
}

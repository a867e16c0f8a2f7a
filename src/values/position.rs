//! A position as C's `strtod` reads it, for sph-partition takes what that takes.
//!
//! Decimal texts, infinities and NaN are read by Rust's own parser, which is exact. Hexadecimal
//! ones it does not know; they are read here, rounded to the nearest double, halves to even.

/// Bits of a double's significand, the implied one included.
const SIGNIFICAND_BITS: u32 = 53;

/// Exponent of the last bit of the smallest double above zero.
const LEAST_EXPONENT: i64 = -1074;

/// Reads a number as C's `strtod` does, blanks around it left out; nothing if any byte is left.
///
/// # Examples
/// ```
/// use skyprep::values::position_of;
///
/// assert_eq!(position_of(b" +4e1 "), Some(40.0));
/// assert_eq!(position_of(b"0x1.8p3"), Some(12.0));
/// assert_eq!(position_of(b"12 deg"), None);
/// ```
pub fn position_of(text: &[u8]) -> Option<f64> {
    let text = trimmed(text);
    number_of(text)
        .or_else(|| hexadecimal(text))
        .or_else(|| is_tagged_nan(text).then_some(f64::NAN))
}

/// Reads a number as Rust's own `parse` does, without looking whether the bytes are text.
pub fn number_of(text: &[u8]) -> Option<f64> {
    fast_float2::parse(text).ok()
}

/// Leaves out what C's `isspace` knows: one byte more than Rust's blanks.
fn trimmed(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let Some(start) = text.iter().position(|byte| !is_blank(byte)) else {
        return &[];
    };
    let end = text.iter().rposition(|byte| !is_blank(byte));
    text.get(start..=end.unwrap_or(start)).unwrap_or_default()
}

fn without_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    }
}

/// Knows `nan(...)`, of letters, digits and low lines.
fn is_tagged_nan(text: &[u8]) -> bool {
    let (_, text) = without_sign(text);
    let Some((word, [b'(', tag @ .., b')'])) = text.split_at_checked(3) else {
        return false;
    };
    let is_of_tag = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    word.eq_ignore_ascii_case(b"nan") && tag.iter().all(is_of_tag)
}

/// Reads `0x`, digits with or without a point, and `p` with a power of two or nothing.
fn hexadecimal(text: &[u8]) -> Option<f64> {
    let (is_negative, text) = without_sign(text);
    let digits = match text {
        [b'0', b'x' | b'X', digits @ ..] => digits,
        _ => return None,
    };
    let (digits, power) = match digits.iter().position(|byte| matches!(byte, b'p' | b'P')) {
        Some(at) => (digits.get(..at)?, power_of_two(digits.get(at + 1..)?)?),
        None => (digits, 0),
    };
    let (mut bits, mut exponent) = (0u64, power);
    let (mut is_inexact, mut has_point, mut has_digits) = (false, false, false);
    for byte in digits {
        if *byte == b'.' && !has_point {
            has_point = true;
            continue;
        }
        let digit = char::from(*byte).to_digit(16)?;
        has_digits = true;
        if bits >> 60 == 0 {
            bits = bits << 4 | u64::from(digit);
            exponent -= if has_point { 4 } else { 0 };
        } else {
            // Only whether anything follows matters to rounding.
            is_inexact |= digit != 0;
            exponent += if has_point { 0 } else { 4 };
        }
    }
    let number = has_digits.then(|| rounded(bits, is_inexact, exponent))?;
    Some(if is_negative { -number } else { number })
}

/// Reads a signed decimal number; what is out of every range is cut at a bound that is, too.
fn power_of_two(text: &[u8]) -> Option<i64> {
    const MOST: i64 = 1 << 40;
    let (is_negative, digits) = without_sign(text);
    let mut power = 0i64;
    for byte in digits {
        let digit = char::from(*byte).to_digit(10)?;
        power = (power * 10 + i64::from(digit)).min(MOST);
    }
    let power = if is_negative { -power } else { power };
    (!digits.is_empty()).then_some(power)
}

/// Returns the double nearest to `bits` times two to the power of `exponent`, and a little more
/// where `is_inexact`.
fn rounded(bits: u64, is_inexact: bool, exponent: i64) -> f64 {
    if bits == 0 {
        return 0.0;
    }
    let length = u64::BITS - bits.leading_zeros();
    // The place of the last bit that is kept; doubles near zero have fewer bits.
    let last = (exponent + i64::from(length) - i64::from(SIGNIFICAND_BITS)).max(LEAST_EXPONENT);
    let dropped = last - exponent;
    let (mut kept, last) = match u32::try_from(dropped) {
        // No more bits than a double has.
        Err(_) | Ok(0) => (bits, exponent),
        // Less than half of the smallest double.
        Ok(65..) => return 0.0,
        Ok(dropped) => {
            let kept = bits.checked_shr(dropped).unwrap_or(0);
            let rest = u128::from(bits) - (u128::from(kept) << dropped);
            let half = 1u128 << (dropped - 1);
            let is_up = rest > half || (rest == half && (is_inexact || kept & 1 == 1));
            (kept + u64::from(is_up), last)
        }
    };
    // Zeros at the end go into the exponent, which is then as high as it can be.
    let mut last = last;
    if kept == 0 {
        return 0.0;
    }
    while kept & 1 == 0 {
        kept >>= 1;
        last += 1;
    }
    if last > 1023 {
        return f64::INFINITY;
    }
    // In two steps, for the power alone may be below the smallest double that has all its bits.
    // Both are exact: the product was rounded above.
    let (first, second) = if last < -1022 {
        (last + 1022, -1022)
    } else {
        (last, 0)
    };
    kept as f64 * power(second) * power(first)
}

/// Returns two to the power of `exponent`, from -1022 to 1023.
fn power(exponent: i64) -> f64 {
    let biased = u64::try_from(exponent + 1023).unwrap_or_default();
    f64::from_bits(biased << 52)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn numbers_are_read_as_by_the_standard_library(text in prop_oneof![
            "[+-]?[0-9]{0,22}[.]?[0-9]{0,22}([eE][+-]?[0-9]{0,4})?",
            "[+-]?[0-9.eEinfatyINFATY+ _-]{0,9}",
            any::<f64>().prop_map(|number| number.to_string()),
            "[+-]?(nan|NaN|inf|INF|Infinity|infinit|nan0)",
        ]) {
            let expected = text.parse::<f64>().ok().map(f64::to_bits);
            prop_assert_eq!(number_of(text.as_bytes()).map(f64::to_bits), expected);
        }
    }

    #[test]
    fn numbers_as_strtod_reads_them() {
        // The bits are those that glibc's strtod gave.
        for (text, bits) in [
            ("0x10", 0x4030_0000_0000_0000),
            ("0x1.8p3", 0x4028_0000_0000_0000),
            ("-0X.8P+1", 0xbff0_0000_0000_0000),
            ("0x1p-1074", 0x0000_0000_0000_0001),
            ("0x1p-1075", 0x0000_0000_0000_0000),
            ("0x1.8p-1075", 0x0000_0000_0000_0001),
            ("0x1.0000000000001p-1075", 0x0000_0000_0000_0001),
            ("0x0.fffffffffffff8p-1022", 0x0010_0000_0000_0000),
            ("0x1.fffffffffffffp1023", 0x7fef_ffff_ffff_ffff),
            ("0x1.fffffffffffff8p1023", 0x7ff0_0000_0000_0000),
            ("0x1.fffffffffffff7ffp1023", 0x7fef_ffff_ffff_ffff),
            ("0x1p1024", 0x7ff0_0000_0000_0000),
            ("0x1p99999999999999999999", 0x7ff0_0000_0000_0000),
            ("0x1p-99999999999999999999", 0),
            ("0x0p99999999999999999999", 0),
            ("-0x0", 0x8000_0000_0000_0000),
            ("0x123456789abcdef01234.5", 0x44b2_3456_789a_bcdf),
            ("0x1.00000000000008", 0x3ff0_0000_0000_0000),
            ("0x1.00000000000018", 0x3ff0_0000_0000_0002),
            (
                "0x1.000000000000080000000000000000001",
                0x3ff0_0000_0000_0001,
            ),
            ("0x.0000000000000000000000000001", 0x38f0_0000_0000_0000),
            ("0x1.", 0x3ff0_0000_0000_0000),
            (" \x0b\t+4e1\r\n", 0x4044_0000_0000_0000),
            ("1.", 0x3ff0_0000_0000_0000),
            (".5", 0x3fe0_0000_0000_0000),
            ("1e400", 0x7ff0_0000_0000_0000),
            ("-inf", 0xfff0_0000_0000_0000),
            ("INFINITY", 0x7ff0_0000_0000_0000),
        ] {
            let found = position_of(text.as_bytes());
            assert_eq!(found.map(f64::to_bits), Some(bits), "{text}");
        }
    }

    #[test]
    fn nan_in_any_spelling() {
        for text in ["nan", "-NaN", "nan()", "nan(char_sequence1)"] {
            assert!(position_of(text.as_bytes()).unwrap().is_nan(), "{text}");
        }
    }

    #[test]
    fn what_strtod_leaves_bytes_of_is_no_number() {
        for text in [
            "", " ", "0x", "0x.", "0xg", "0x1p", "0x1p+", "0x1.2.3", "1e", "1 2", "12deg", "x10",
            "+-1", "0x-1", "nan(", "nan(-)", "infinit", "1_0", "\0", "1\0",
        ] {
            assert_eq!(position_of(text.as_bytes()), None, "{text}");
        }
    }
}

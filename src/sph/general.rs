//! Numbers as C++ streams print them, which is what `printf` does with `%g`.

/// Returns `number` with at most `digits` significant digits, without zeros at the end; with an
/// exponent where it is below 0.0001 or has more digits before the point.
pub(super) fn general(number: f64, digits: usize) -> String {
    let last = digits.saturating_sub(1);
    // Rust rounds the exact value to the nearest, halves to even, as C does.
    let scientific = format!("{number:.last$e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        // NaN and infinities.
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let is_plain = exponent >= -4 && usize::try_from(exponent).is_ok_and(|e| e < digits)
        || (-4..0).contains(&exponent);
    if is_plain {
        let behind = usize::try_from(i64::try_from(last).unwrap_or_default() - i64::from(exponent));
        return without_zeros(&format!("{number:.*}", behind.unwrap_or_default())).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.abs())
}

fn without_zeros(text: &str) -> &str {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_printf_does() {
        for (number, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (57.14, "57.1"),
            (911.4, "911"),
            (999.5, "1e+03"),
            (2222.0, "2.22e+03"),
            (0.92, "0.92"),
            (-0.07575, "-0.0757"),
            (0.0001234, "0.000123"),
            (0.00001234, "1.23e-05"),
            (0.00099999, "0.001"),
            (1.5e120, "1.5e+120"),
            (2.5e-100, "2.5e-100"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(general(number, 3), expected, "{number}");
        }
        assert_eq!(general(0.01, 6), "0.01");
        assert_eq!(general(123456.7, 6), "123457");
    }
}

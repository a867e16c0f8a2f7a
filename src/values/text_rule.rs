//! Text values by the target's type: what `sanitize` does, and what a Parquet string meant for a
//! number column goes through.

use serde::Serialize;

use super::counts::{RuleCounts, RuleName};
use super::decimal::{Fit, Number};
use super::fault::CellFault;
use super::number::{Special, not_whole};
use super::rule::{ColumnRule, FloatWidth};
use super::text_buffer::TextBuffer;
use crate::dialect::Encoder;
use crate::error::quote_value;
use crate::schema::MysqlType;

/// Digits that every i128 has at most.
const MOST_DIGITS: u8 = 39;

/// What a text column without a declared type is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Inference {
    /// Values are text and stay as they are.
    #[default]
    Off,
    /// Values that look like booleans or NaN are treated so; an infinity is an error.
    ByLook,
    /// The same, and infinities belong to a column of this width.
    Assume(FloatWidth),
}

impl ColumnRule {
    /// Writes a text value, unescaped and not NULL, by the rules of the target type.
    ///
    /// # Errors
    /// The value does not fit the target.
    pub fn text_value(
        &self,
        value: &[u8],
        inference: Inference,
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        if self.null_if_spelt(value, out, counts)? {
            return Ok(());
        }
        match self.target() {
            Some(MysqlType::Bit(bits)) => self.bit_text(value, bits, encoder, out, counts),
            Some(
                MysqlType::Date
                | MysqlType::Time(_)
                | MysqlType::DateTime(_)
                | MysqlType::Timestamp(_),
            ) => self.temporal_text(value, encoder, out, counts),
            Some(MysqlType::Integer { .. }) => self.integer_text(value, encoder, out, counts),
            Some(MysqlType::Float | MysqlType::Double | MysqlType::Decimal { .. }) => {
                self.float_text(value, encoder, out, counts)
            }
            None if inference != Inference::Off => {
                self.inferred_text(value, inference, encoder, out, counts)
            }
            Some(target) if target.is_binary() => self.binary(value, encoder, out, counts),
            _ => self.characters(value, encoder, out, counts),
        }
    }

    /// Writes what a BIT column takes: its bytes, or a number or boolean that is meant for it.
    fn bit_text(
        &self,
        value: &[u8],
        bits: u8,
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        let raw = value
            .iter()
            .try_fold(0u64, |number, byte| {
                Some(number.checked_mul(256)? + u64::from(*byte))
            })
            .filter(|number| bits >= 64 || *number >> bits == 0);
        if raw.is_some() && !value.is_empty() {
            return self.encode_binary(value, encoder, out);
        }
        match as_whole(value).or_else(|| as_boolean(value).map(i128::from)) {
            Some(number) => self.bit(number, encoder, out, counts),
            None => Err(self.unfit(
                value,
                &format!("{bits} bits: bytes, a number, true or false"),
            )),
        }
    }

    fn integer_text(
        &self,
        value: &[u8],
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        if let Some(whole) = as_whole(value) {
            if !self.holds_integers(whole, whole) {
                return self.integer_overflow(&whole.to_string(), whole < 0, out, counts);
            }
            out.extend(value.trim_ascii());
            return Ok(());
        }
        if let Some(flag) = as_boolean(value) {
            self.count(counts, RuleName::Bool, u64::from(self.changes_booleans()));
            return self.boolean(flag, encoder, out, counts);
        }
        if let Some(special) = as_special(value) {
            return self.special(special, FloatWidth::Double, out, counts);
        }
        let Some(number) = Number::parse(value.trim_ascii()) else {
            return Err(self.unfit(value, "a whole number"));
        };
        let most = if number.is_negative() {
            i128::MIN
        } else {
            i128::MAX
        };
        let whole = match number.fit(MOST_DIGITS, 0, false) {
            Fit::Exact(whole) => whole.to_string().parse().unwrap_or(most),
            Fit::Shortened(_) => return Err(not_whole(quote_value(value))),
            Fit::TooLarge => most,
        };
        if !self.holds_integers(whole, whole) {
            let found = String::from_utf8_lossy(value.trim_ascii());
            return self.integer_overflow(&found, whole < 0, out, counts);
        }
        // MariaDB stumbles over the exponents of zeros.
        let text = if whole == 0 { b"0" } else { value.trim_ascii() };
        out.extend(text);
        Ok(())
    }

    fn float_text(
        &self,
        value: &[u8],
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        if let Some(special) = as_special(value) {
            return self.special(special, FloatWidth::Double, out, counts);
        }
        let Some(number) = as_number(value) else {
            if let Some(flag) = as_boolean(value) {
                self.count(counts, RuleName::Bool, u64::from(self.changes_booleans()));
                return self.boolean(flag, encoder, out, counts);
            }
            return Err(self.unfit(value, "a number"));
        };
        let text = value.trim_ascii();
        match self.target() {
            Some(MysqlType::Decimal { .. }) => return self.decimal_digits(text, out, counts),
            Some(MysqlType::Float) if number.abs() > f64::from(f32::MAX) => {
                if number.abs() as f32 == f32::MAX {
                    // The shortest text of f32::MAX reads as a double just above it.
                    return self.single(number as f32, out, counts);
                }
                return self.float_overflow(value, number, out, counts);
            }
            // Such as 1e400: digits, but beyond every double.
            _ if number.is_infinite() => return self.float_overflow(value, number, out, counts),
            _ => {}
        }
        if number == 0.0 && number.is_sign_negative() {
            self.count(counts, RuleName::NegativeZero, 1);
        }
        out.extend(text);
        Ok(())
    }

    fn float_overflow(
        &self,
        value: &[u8],
        number: f64,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        let name = self
            .target()
            .map_or_else(String::new, |target| target.to_string());
        let fault = CellFault::found(quote_value(value), format!(", too large for {name}"));
        let limit = |out: &mut TextBuffer| self.limit(number < 0.0, FloatWidth::Double, out);
        self.overflow(fault, limit, out, counts)
    }

    fn inferred_text(
        &self,
        value: &[u8],
        inference: Inference,
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        // One-letter spellings are names and flags too often to be taken for booleans by look.
        if value.len() > 1
            && let Some(flag) = as_boolean(value)
        {
            self.count(counts, RuleName::Bool, u64::from(self.changes_booleans()));
            return self.boolean(flag, encoder, out, counts);
        }
        match (as_special(value), inference) {
            (None, _) => self.characters(value, encoder, out, counts),
            (Some(Special::Nan), _) => self.special(Special::Nan, FloatWidth::Double, out, counts),
            (Some(special), Inference::Assume(width)) => self.special(special, width, out, counts),
            (Some(_), _) => Err(CellFault::found(
                quote_value(value),
                ", whose limit depends on the column's type",
            )
            .with_hint("name the type with --schema, or say --assume-float double|float")),
        }
    }
}

fn ascii(value: &[u8]) -> Option<&str> {
    if value.is_ascii() {
        std::str::from_utf8(value).ok()
    } else {
        None
    }
}

/// Reads a whole number without exponent; blanks around it don't count.
fn as_whole(value: &[u8]) -> Option<i128> {
    let text = ascii(value.trim_ascii())?;
    // Longer numbers are rare, and reading them is slow.
    let short: Option<i64> = text.parse().ok();
    short.map(i128::from).or_else(|| text.parse().ok())
}

/// Reads the spellings of booleans that catalogues use.
#[inline]
pub(crate) fn as_boolean(value: &[u8]) -> Option<bool> {
    let Some(first) = value.first_chunk::<4>() else {
        return match value {
            b"t" | b"T" => Some(true),
            b"f" | b"F" => Some(false),
            _ => None,
        };
    };
    // All spellings in one expression without a branch, for nobody can foresee booleans.
    let last = value.last().copied();
    let is_any = |known: &[&[u8; 4]]| {
        known
            .iter()
            .fold(false, |any, known| any | (*known == first))
    };
    let is_true = is_any(&[b"true", b"True", b"TRUE"]) & (value.len() == 4);
    let is_false = ((is_any(&[b"fals", b"Fals"]) & (last == Some(b'e')))
        | (is_any(&[b"FALS"]) & (last == Some(b'E'))))
        & (value.len() == 5);
    (is_true | is_false).then_some(is_true)
}

/// Reads a number as C's strtod does, but for hexadecimal; NaN and infinities included.
fn as_number(value: &[u8]) -> Option<f64> {
    ascii(value.trim_ascii())?.parse().ok()
}

/// Recognises the spellings of NaN and infinity, in any case and with either sign: `inf`,
/// `infinity`, `nan`, `nan(...)` as C programs print it, and `1.#INF`, `1.#IND`, `1.#QNAN`, `1.#SNAN`
/// as older C programs on Windows do, with zeros for the digits that were asked for.
fn as_special(value: &[u8]) -> Option<Special> {
    let text = value.trim_ascii();
    let (is_negative, name) = match text.split_first()? {
        (b'-', name) => (true, name),
        (b'+', name) => (false, name),
        _ => (false, text),
    };
    let infinity = match is_negative {
        true => Special::NegativeInfinity,
        false => Special::PositiveInfinity,
    };
    match name.first()?.to_ascii_lowercase() {
        b'i' => {
            let is_infinity = [&b"inf"[..], b"infinity"]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known));
            is_infinity.then_some(infinity)
        }
        b'n' => is_nan(name).then_some(Special::Nan),
        b'1' => match name.strip_prefix(b"1.#")?.to_ascii_uppercase() {
            digits if is_padded(&digits, b"INF") => Some(infinity),
            digits
                if [&b"IND"[..], b"QNAN", b"SNAN"]
                    .iter()
                    .any(|known| is_padded(&digits, known)) =>
            {
                Some(Special::Nan)
            }
            _ => None,
        },
        _ => None,
    }
}

/// Says whether a text is `nan` or `nan(...)` with letters, digits and underscores, in any case.
fn is_nan(text: &[u8]) -> bool {
    let Some((name, payload)) = text.split_at_checked(3) else {
        return false;
    };
    let is_payload = match payload {
        [] => true,
        [b'(', inner @ .., b')'] => inner
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_'),
        _ => false,
    };
    name.eq_ignore_ascii_case(b"nan") && is_payload
}

fn is_padded(text: &[u8], name: &[u8]) -> bool {
    text.strip_prefix(name)
        .is_some_and(|zeros| zeros.iter().all(|byte| *byte == b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::ValuePolicy;

    fn sanitized(target: &str, inference: Inference, value: &str) -> Result<String, String> {
        let policy = ValuePolicy {
            null_text: vec!["n/a".into()],
            ..ValuePolicy::default()
        };
        let encoder = crate::dialect::Dialect::qserv().encoder();
        let rule = ColumnRule::new(0, MysqlType::parse(target), false, &policy, b"\\N");
        let mut out = TextBuffer::default();
        rule.text_value(
            value.as_bytes(),
            inference,
            &encoder,
            &mut out,
            &mut RuleCounts::default(),
        )
        .map_err(|fault| fault.message())?;
        Ok(String::from_utf8_lossy(out.as_slice()).into_owned())
    }

    macro_rules! texts {
        ($name:ident, $inference:expr; $($target:literal $value:literal => $expected:expr;)*) => {
            #[test]
            fn $name() {
                $(
                    let found = sanitized($target, $inference, $value);
                    assert_eq!(found.as_deref().ok(), $expected, "{} {}", $target, $value);
                )*
            }
        };
    }

    texts! {
        by_target_type, Inference::Off;
        "TINYINT" "true" => Some("1");
        "TINYINT" "F" => Some("0");
        "TINYINT" "200" => None;
        "TINYINT" "TRUE" => Some("1");
        "TINYINT" "False" => Some("0");
        "TINYINT" "FALSE" => Some("0");
        "TINYINT" "falsE" => None;
        "TINYINT" "falsx" => None;
        "TINYINT" "truee" => None;
        "TINYINT" "tRue" => None;
        "TINYINT" "yes" => None;
        "INT" "n/a" => Some("\\N");
        "INT" "-inf" => Some("-2147483648");
        "INT" "1.5" => None;
        "INT" "1e3" => Some("1e3");
        "INT" "" => None;
        "INT" "3000000000" => None;
        "BIGINT" "9007199254740993.5" => None;
        "BIGINT" "9223372036854775808.0" => None;
        "BIGINT" "-9.223372036854775808e18" => Some("-9.223372036854775808e18");
        "BIGINT" "1e30" => None;
        "INT" "-0e400" => Some("0");
        "DATETIME" "20261121T01:02:03" => Some("2026-11-21 01:02:03");
        "DATETIME" "20261121990000Z" => None;
        "TIMESTAMP" "1960-01-01 00:00:00" => None;
        "TIMESTAMP" "2038-01-19 03:14:08" => None;
        "TIMESTAMP" "2026-11-21 00:00:00" => Some("2026-11-21 00:00:00");
        "TIMESTAMP" "0000-00-00" => Some("0000-00-00");
        "INT" "1e400" => None;
        "DOUBLE" "Infinity" => Some("1.7976931348623157E+308");
        "DOUBLE" "NaN" => Some("\\N");
        "DOUBLE" "1.50" => Some("1.50");
        "DOUBLE" "1e400" => None;
        "DOUBLE" "x" => None;
        "FLOAT" "-inf" => Some("-3.4028234E+38");
        "DOUBLE" "+Inf" => Some("1.7976931348623157E+308");
        "DOUBLE" "-INFINITY" => Some("-1.7976931348623157E+308");
        "DOUBLE" "infinite" => None;
        "DOUBLE" "-NAN" => Some("\\N");
        "DOUBLE" "+nan" => Some("\\N");
        "DOUBLE" " nan(0x7ff8) " => Some("\\N");
        "DOUBLE" "-nan(ind)" => Some("\\N");
        "DOUBLE" "nan(" => None;
        "DOUBLE" "nano" => None;
        "DOUBLE" "1.#INF" => Some("1.7976931348623157E+308");
        "FLOAT" "-1.#INF00" => Some("-3.4028234E+38");
        "INT" "-1.#IND" => Some("\\N");
        "DOUBLE" "1.#QNAN0" => Some("\\N");
        "DOUBLE" "1.#J" => None;
        "DOUBLE" "0x1F" => None;
        "INT" "0x1F" => None;
        "INT" "+5" => Some("+5");
        "INT" "99999999999999999999999999999999999999999" => None;
        "INT" "5\u{b}" => None;
        "FLOAT" "3.4028235e+38" => Some("3.4028234E+38");
        "FLOAT" "1e39" => None;
        "INT" " 5\n" => Some("5");
        "DOUBLE" "1.5\t" => Some("1.5");
        "DECIMAL(5,2)" "-inf" => Some("-999.99");
        "DECIMAL(5,2)" "1.5e2" => Some("150");
        "DECIMAL(5,2)" "1.234" => None;
        "DECIMAL(5,2)" "+1.230" => Some("1.23");
        "BIT(1)" "true" => Some("\u{1}");
        "BIT(1)" "1" => Some("\u{1}");
        "BIT(1)" "2" => None;
        "BIT(8)" "1" => Some("1");
        "BIT(8)" "255" => Some("\u{fffd}");
        "DATETIME" "2026-11-21T12:00:00Z" => Some("2026-11-21 12:00:00");
        "DATETIME" "2026-11-21T12:00:00+01:00" => Some("2026-11-21 11:00:00");
        "DATETIME" "2026-11-21T12:00:00" => Some("2026-11-21T12:00:00");
        "DATETIME" "2026-11-21 12:00:00.25" => Some("2026-11-21 12:00:00");
        "DATETIME(3)" "2026-11-21 12:00:00.25" => Some("2026-11-21 12:00:00.25");
        "DATETIME(3)" "2026-11-21 12:00:00.250000000" => Some("2026-11-21 12:00:00.250");
        "DATE" "2026-11-21" => Some("2026-11-21");
        "DATE" "2026-11-21 00:00:00" => Some("2026-11-21");
        "DATE" "2026-11-21 12:00:00" => None;
        "DATE" "2026-02-30" => None;
        "DATE" "0000-00-00" => Some("0000-00-00");
        "TIME" "-12:00:00" => Some("-12:00:00");
        "TIME" "839:00:00" => None;
        "DATE" "" => None;
        "CHAR(3)" "inf" => Some("inf");
        "CHAR(3)" "true" => None;
    }

    #[test]
    fn what_does_not_fit_is_clamped_or_null_when_asked_for() {
        use crate::values::{FractionPolicy, OverflowPolicy};
        for (target, value, clamped) in [
            ("TINYINT", "300", "127"),
            ("TINYINT UNSIGNED", "-1", "0"),
            ("BIGINT", "-1e30", "-9223372036854775808"),
            ("FLOAT", "-1e39", "-3.4028234E+38"),
            ("DOUBLE", "1e400", "1.7976931348623157E+308"),
            ("DECIMAL(4,2)", "100", "99.99"),
            ("BIT(3)", "300", "\u{7}"),
            ("TIME", "-900:00:00", "-838:59:59"),
        ] {
            for (overflow, expected) in [
                (OverflowPolicy::Clamp, clamped),
                (OverflowPolicy::Null, "\\N"),
            ] {
                let policy = ValuePolicy {
                    overflow,
                    fraction: Some(FractionPolicy::Round),
                    ..ValuePolicy::default()
                };
                let encoder = crate::dialect::Dialect::qserv().encoder();
                let rule = ColumnRule::new(0, MysqlType::parse(target), false, &policy, b"\\N");
                let (mut out, mut counts) = (TextBuffer::default(), RuleCounts::default());
                let bytes = value.as_bytes();
                rule.text_value(bytes, Inference::Off, &encoder, &mut out, &mut counts)
                    .unwrap();
                assert_eq!(
                    String::from_utf8_lossy(out.as_slice()),
                    expected,
                    "{target}"
                );
                let counted = counts.named(&["c".to_owned()]);
                assert_eq!(counted["c"]["overflow"], 1, "{target}");
            }
        }
    }

    texts! {
        by_look, Inference::ByLook;
        "" "true" => Some("1");
        "" "t" => Some("t");
        "" "nan" => Some("\\N");
        "" "inf" => None;
        "" "infrared" => Some("infrared");
        "" "1.#INF" => None;
        "" "nan(1)" => Some("\\N");
        "" "1.0" => Some("1.0");
    }

    texts! {
        by_look_with_a_width, Inference::Assume(FloatWidth::Single);
        "" "+inf" => Some("3.4028234E+38");
    }

    texts! {
        untyped_text_stays, Inference::Off;
        "" "true" => Some("true");
        "" "inf" => Some("inf");
    }
}

//! Text values by the target's type: what `sanitize` does, and what a Parquet string meant for a
//! number column goes through.

use serde::Serialize;

use super::counts::{RuleCounts, RuleName};
use super::rule::{CellFault, ColumnRule, FloatWidth, Special};
use super::text_buffer::TextBuffer;
use crate::dialect::Encoder;
use crate::error::quote_value;
use crate::schema::MysqlType;

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
        if self.is_null_text(value) {
            self.count(counts, RuleName::NullText, 1);
            return self.null(out);
        }
        match self.target() {
            Some(MysqlType::Bit(_)) => match as_boolean(value).filter(|_| value.len() > 1) {
                Some(flag) => {
                    self.count(counts, RuleName::Bool, 1);
                    // BIT takes raw bytes: the digit 1 would be the byte 0x31.
                    self.bytes(&[u8::from(flag)], encoder, out)
                }
                None => self.bytes(value, encoder, out),
            },
            Some(MysqlType::Date | MysqlType::Time(_) | MysqlType::DateTime(_)) => {
                if value.is_empty() {
                    return Err(self.unfit(value, "a date or time"));
                }
                // MariaDB knows no zones; UTC is meant.
                self.bytes(value.strip_suffix(b"Z").unwrap_or(value), encoder, out)
            }
            Some(MysqlType::Integer { .. }) => self.integer_text(value, out, counts),
            Some(MysqlType::Float | MysqlType::Double | MysqlType::Decimal { .. }) => {
                self.float_text(value, out, counts)
            }
            None if inference != Inference::Off => {
                self.inferred_text(value, inference, encoder, out, counts)
            }
            _ => self.bytes(value, encoder, out),
        }
    }

    fn integer_text(
        &self,
        value: &[u8],
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        if let Some(whole) = ascii(value).and_then(|text| text.parse::<i128>().ok()) {
            self.check_integer(whole)?;
            out.extend(value);
            return Ok(());
        }
        if let Some(flag) = as_boolean(value) {
            self.count(counts, RuleName::Bool, u64::from(self.changes_booleans()));
            self.boolean(flag, out);
            return Ok(());
        }
        match as_number(value) {
            Some(number) if number.is_finite() => {
                if number.fract() != 0.0 {
                    return Err(self.unfit(value, "a whole number"));
                }
                self.check_integer(number as i128)?;
                out.extend(value.trim_ascii());
                Ok(())
            }
            Some(number) => self.special(Special::of(number), FloatWidth::Double, out, counts),
            None => Err(self.unfit(value, "a whole number")),
        }
    }

    fn float_text(
        &self,
        value: &[u8],
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        let Some(number) = as_number(value) else {
            if let Some(flag) = as_boolean(value) {
                self.count(counts, RuleName::Bool, u64::from(self.changes_booleans()));
                self.boolean(flag, out);
                return Ok(());
            }
            return Err(self.unfit(value, "a number"));
        };
        if !number.is_finite() {
            if as_special(value).is_none() {
                // Such as 1e400: digits, but beyond every double.
                return Err(self.unfit(value, "a number in the range of the type"));
            }
            return self.special(Special::of(number), FloatWidth::Double, out, counts);
        }
        if self.target() == Some(MysqlType::Float) && number.abs() > f64::from(f32::MAX) {
            if number.abs() as f32 == f32::MAX {
                // The shortest text of f32::MAX reads as a double just above it.
                return self.single(number as f32, out, counts);
            }
            return Err(self.unfit(value, "a number in the range of FLOAT"));
        }
        out.extend(value.trim_ascii());
        Ok(())
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
            self.boolean(flag, out);
            return Ok(());
        }
        match (as_special(value), inference) {
            (None, _) => self.bytes(value, encoder, out),
            (Some(Special::Nan), _) => self.special(Special::Nan, FloatWidth::Double, out, counts),
            (Some(special), Inference::Assume(width)) => self.special(special, width, out, counts),
            (Some(_), _) => Err(CellFault::found(
                quote_value(value),
                ", whose limit depends on the column's type",
            )
            .with_hint("name the type with --schema, or say --assume-float double|float")),
        }
    }

    fn unfit(&self, value: &[u8], expected: &str) -> CellFault {
        let hint = "if an empty field means NULL, say so with --null-text ''";
        CellFault::found(quote_value(value), format!(", expected {expected}"))
            .with_hint(value.is_empty().then_some(hint))
    }
}

fn ascii(value: &[u8]) -> Option<&str> {
    if value.is_ascii() {
        std::str::from_utf8(value).ok()
    } else {
        None
    }
}

/// Reads the spellings of booleans that catalogues use.
fn as_boolean(value: &[u8]) -> Option<bool> {
    match value {
        b"true" | b"True" | b"TRUE" | b"t" | b"T" => Some(true),
        b"false" | b"False" | b"FALSE" | b"f" | b"F" => Some(false),
        _ => None,
    }
}

/// Reads a number as C's strtod does, but for hexadecimal; NaN and infinities included.
fn as_number(value: &[u8]) -> Option<f64> {
    ascii(value.trim_ascii())?.parse().ok()
}

/// Recognises the spellings of NaN and infinity.
fn as_special(value: &[u8]) -> Option<Special> {
    let first_letter = value.iter().find(|byte| byte.is_ascii_alphabetic())?;
    if !matches!(first_letter.to_ascii_lowercase(), b'n' | b'i') {
        return None;
    }
    as_number(value)
        .filter(|number| !number.is_finite())
        .map(Special::of)
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
        "INT" "n/a" => Some("\\N");
        "INT" "-inf" => Some("-2147483648");
        "INT" "1.5" => None;
        "INT" "1e3" => Some("1e3");
        "INT" "" => None;
        "DOUBLE" "Infinity" => Some("1.7976931348623157E+308");
        "DOUBLE" "NaN" => Some("\\N");
        "DOUBLE" "1.50" => Some("1.50");
        "DOUBLE" "1e400" => None;
        "DOUBLE" "x" => None;
        "FLOAT" "-inf" => Some("-3.4028234E+38");
        "FLOAT" "3.4028235e+38" => Some("3.4028234E+38");
        "FLOAT" "1e39" => None;
        "INT" " 5\n" => Some("5");
        "DOUBLE" "1.5\t" => Some("1.5");
        "DECIMAL(5,2)" "-inf" => Some("-999.99");
        "BIT(1)" "true" => Some("\u{1}");
        "DATETIME" "2026-11-21T12:00:00Z" => Some("2026-11-21T12:00:00");
        "DATE" "" => None;
        "CHAR(3)" "inf" => Some("inf");
        "CHAR(3)" "true" => None;
    }

    texts! {
        by_look, Inference::ByLook;
        "" "true" => Some("1");
        "" "t" => Some("t");
        "" "nan" => Some("\\N");
        "" "inf" => None;
        "" "infrared" => Some("infrared");
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

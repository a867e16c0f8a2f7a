//! Texts and bytes: character sets, lengths, forms of binary values.

use std::borrow::Cow;

use super::charset::{Charset, Recoded, Unmappable};
use super::counts::{RuleCounts, RuleName};
use super::fault::CellFault;
use super::geometry::Geometry;
use super::json::json_fault;
use super::policy::{BinaryForm, InvalidTextPolicy, TruncatePolicy};
use super::rule::ColumnRule;
use super::text_buffer::TextBuffer;
use crate::dialect::Encoder;
use crate::error::quote_value;
use crate::schema::MysqlType;

impl ColumnRule {
    /// Writes UTF-8 text in the output's character set.
    ///
    /// # Errors
    /// A character that the character set lacks, or a text too long for the column.
    #[inline]
    pub fn text(
        &self,
        value: &str,
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        // A binary column takes bytes: no character set comes between.
        if self.is_binary() {
            return self.binary(value.as_bytes(), encoder, out, counts);
        }
        self.characters(&self.encoded(value)?, encoder, out, counts)
    }

    /// Writes UTF-8 text of a column without a type by its look.
    ///
    /// # Errors
    /// A character that the character set lacks, or an infinity whose limit is not known.
    pub fn judged_text(
        &self,
        value: &str,
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        let bytes = self.encoded(value)?;
        self.text_value(&bytes, self.inference(), encoder, out, counts)
    }

    #[inline]
    fn encoded<'v>(&self, value: &'v str) -> Result<Cow<'v, [u8]>, CellFault> {
        let encoded = self.charset().encode(value);
        encoded.map_err(|fault| self.unmappable(value.as_bytes(), fault))
    }

    /// Writes bytes without a character set; where the column holds text, they are taken as they
    /// are for text in the output's character set.
    ///
    /// # Errors
    /// A value too long for the column, or one that the dialect can't express.
    pub fn bytes(
        &self,
        value: &[u8],
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        if !self.target().is_some_and(MysqlType::is_character) {
            return self.binary(value, encoder, out, counts);
        }
        let charset = self.charset();
        let valid = self.recoded(value, charset, counts)?;
        self.characters(&valid, encoder, out, counts)
    }

    /// Says whether the column takes bytes without a character set.
    pub fn is_binary(&self) -> bool {
        self.target().is_some_and(MysqlType::is_binary)
    }

    /// Turns text in the character set `from` into the output's.
    ///
    /// # Errors
    /// A character that the output's lacks, or bytes that are not valid in `from`.
    pub fn recoded<'v>(
        &self,
        value: &'v [u8],
        from: Charset,
        counts: &mut RuleCounts,
    ) -> Result<Cow<'v, [u8]>, CellFault> {
        let recoded = self
            .charset()
            .recode(value, from)
            .map_err(|fault| self.unmappable(value, fault))?;
        match (recoded, self.policy.invalid_text) {
            (Recoded::Valid(bytes), _) => Ok(bytes),
            (Recoded::Invalid { at, .. }, InvalidTextPolicy::Error) => {
                let name = from.name();
                let rest = format!(", which is not valid {name}: byte {at} is out of place");
                Err(CellFault::found(quote_value(value), rest)
                    .with_hint("check --in-charset, or say --invalid-text replace or keep"))
            }
            (Recoded::Invalid { replaced, .. }, InvalidTextPolicy::Replace) => {
                self.count(counts, RuleName::InvalidText, 1);
                Ok(Cow::Owned(replaced))
            }
            (Recoded::Invalid { .. }, InvalidTextPolicy::Keep) => {
                self.count(counts, RuleName::InvalidText, 1);
                Ok(Cow::Borrowed(value))
            }
        }
    }

    fn unmappable(&self, value: &[u8], Unmappable(lacking): Unmappable) -> CellFault {
        let name = self.charset().name();
        let lacking = lacking.escape_debug();
        CellFault::found(
            quote_value(value),
            format!(", whose character '{lacking}' is not in {name}"),
        )
        .with_hint("use --charset utf8mb4 and a utf8mb4 column")
    }

    /// Writes text that is in the output's character set already.
    ///
    /// # Errors
    /// A text too long for the column, or one that the dialect can't express.
    #[inline]
    pub fn characters(
        &self,
        value: &[u8],
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        let value = match self.target() {
            None => value,
            Some(target) => self.fitting_text(target, value, counts)?,
        };
        self.encode(value, encoder, out)
    }

    fn fitting_text<'v>(
        &self,
        target: MysqlType,
        value: &'v [u8],
        counts: &mut RuleCounts,
    ) -> Result<&'v [u8], CellFault> {
        let value = self.shortened(value, counts)?;
        match target {
            MysqlType::Char(_) if value.last() == Some(&b' ') => {
                self.count(counts, RuleName::TrailingBlanks, 1);
            }
            MysqlType::Json => self.check_json(value)?,
            _ => {}
        }
        Ok(value)
    }

    fn check_json(&self, value: &[u8]) -> Result<(), CellFault> {
        // MariaDB's JSON is text with a check; it translates what is not UTF-8 first.
        let text = match Charset::Utf8mb4.recode(value, self.charset()) {
            Ok(Recoded::Valid(text)) => text,
            _ => Cow::Borrowed(value),
        };
        json_fault(&text).map_or(Ok(()), |reason| {
            let expected = format!(", expected JSON ({reason})");
            Err(CellFault::found(quote_value(value), expected))
        })
    }

    /// Writes bytes that have no character set.
    ///
    /// # Errors
    /// A value too long for the column, or one that the dialect can't express.
    pub fn binary(
        &self,
        value: &[u8],
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        if self.target() == Some(MysqlType::Geometry) {
            return self.geometry(value, encoder, out, counts);
        }
        let value = self.shortened(value, counts)?;
        if let Some(MysqlType::Binary(length)) = self.target()
            && (value.len() as u64) < u64::from(length)
        {
            self.count(counts, RuleName::ZeroPadded, 1);
        }
        self.encode_binary(value, encoder, out)
    }

    fn geometry(
        &self,
        value: &[u8],
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        match (Geometry::of(value), self.policy.srid) {
            (Geometry::Bare(wkb), Some(srid)) => {
                self.count(counts, RuleName::Srid, 1);
                let with_srid = [&srid.to_le_bytes()[..], &wkb].concat();
                self.encode_binary(&with_srid, encoder, out)
            }
            (Geometry::Bare(_), None) => Err(CellFault::found(
                quote_value(value),
                ", which is WKB without the SRID that GEOMETRY columns want",
            )
            .with_hint("say which one with --srid, such as --srid 0")),
            (Geometry::WithSrid(own), _) => self.encode_binary(&own, encoder, out),
            (Geometry::Unknown, _) => Err(CellFault::found(
                quote_value(value),
                ", expected WKB of points with two coordinates, or SRID and WKB",
            )),
        }
    }

    /// Writes bytes in the form that the user has chosen.
    pub(super) fn encode_binary(
        &self,
        value: &[u8],
        encoder: &Encoder,
        out: &mut TextBuffer,
    ) -> Result<(), CellFault> {
        let form = self.policy.binary;
        let escaped;
        let value = if encoder.is_json() && form != BinaryForm::Escape {
            // What the ingest service decodes goes to MariaDB as it is.
            escaped = encoder.escaped(value);
            &escaped
        } else {
            value
        };
        let text = match form {
            BinaryForm::Escape => return self.encode(value, encoder, out),
            BinaryForm::Hex => data_encoding::HEXUPPER.encode(value),
            BinaryForm::B64 => data_encoding::BASE64.encode(value),
            BinaryForm::Array => array_of(value),
        };
        if encoder.is_json() && form == BinaryForm::Array {
            out.extend(text.as_bytes());
            return Ok(());
        }
        self.encode(text.as_bytes(), encoder, out)
    }

    /// Writes a value as one field.
    ///
    /// # Errors
    /// The dialect can't express it.
    #[inline]
    pub(super) fn encode(
        &self,
        value: &[u8],
        encoder: &Encoder,
        out: &mut TextBuffer,
    ) -> Result<(), CellFault> {
        if encoder.is_plain(value) {
            out.extend(value);
            return Ok(());
        }
        out.append_apart(|bytes| encoder.encode_into(value, bytes))
            .map_err(|fault| {
                CellFault::found(quote_value(value), format!(": {fault}")).with_hint(encoder.hint())
            })
    }

    /// Says whether a text that is in the output's character set and dialect may be copied as it
    /// stands; counts what MariaDB will do to it.
    ///
    /// # Errors
    /// The column does not take it.
    pub fn takes_as_is(&self, value: &[u8], counts: &mut RuleCounts) -> Result<bool, CellFault> {
        match self.target() {
            Some(target) if target.is_character() => {
                Ok(self.fitting_text(target, value, counts)?.len() == value.len())
            }
            Some(MysqlType::Binary(length)) if value.len() as u64 == u64::from(length) => Ok(true),
            Some(MysqlType::Varbinary(_) | MysqlType::Blob(_)) => Ok(self.surplus(value).is_none()),
            Some(MysqlType::Other) | None => Ok(true),
            _ => Ok(false),
        }
    }

    /// Checks that what was written into a column of texts or bytes fits it; NULL does.
    ///
    /// # Errors
    /// The value is longer.
    pub fn check_length(&self, value: &[u8]) -> Result<(), CellFault> {
        match self.surplus(value) {
            Some(surplus) if value != self.null => {
                Err(surplus.fault(value, "give the column a longer type"))
            }
            _ => Ok(()),
        }
    }

    /// Returns what the column takes of a value.
    fn shortened<'v>(
        &self,
        value: &'v [u8],
        counts: &mut RuleCounts,
    ) -> Result<&'v [u8], CellFault> {
        let Some(surplus) = self.surplus(value) else {
            return Ok(value);
        };
        if self.policy.truncate == TruncatePolicy::Error {
            let hint = "give the column a longer type, or say --truncate cut";
            return Err(surplus.fault(value, hint));
        }
        self.count(counts, RuleName::Truncate, 1);
        let is_text = surplus.target.is_character();
        let kept = match surplus.unit {
            Unit::Characters => self.charset().prefix_of_chars(value, surplus.most),
            Unit::Bytes if is_text => self.charset().prefix_of_bytes(value, surplus.most),
            Unit::Bytes => usize::try_from(surplus.most).unwrap_or(usize::MAX),
        };
        Ok(value.get(..kept).unwrap_or(value))
    }

    /// Returns by how much a value is too long, if it is.
    #[inline]
    fn surplus(&self, value: &[u8]) -> Option<Surplus> {
        let target = self.target()?;
        let (length, most, unit) = if let Some(most) = target.max_chars() {
            // No character is shorter than a byte.
            if value.len() as u64 <= most {
                return None;
            }
            let length = self.charset().count_chars(value) as u64;
            (length, most, Unit::Characters)
        } else {
            (value.len() as u64, target.max_bytes()?, Unit::Bytes)
        };
        (length > most).then_some(Surplus {
            target,
            length,
            most,
            unit,
        })
    }
}

/// Writes bytes as a JSON array of numbers.
fn array_of(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len() * 4 + 2);
    for byte in value {
        text.push(if text.is_empty() { '[' } else { ',' });
        text.push_str(itoa::Buffer::new().format(*byte));
    }
    text.push_str(if text.is_empty() { "[]" } else { "]" });
    text
}

/// A value that is too long.
struct Surplus {
    target: MysqlType,
    length: u64,
    most: u64,
    unit: Unit,
}

/// What a length is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Characters,
    Bytes,
}

impl Surplus {
    #[cold]
    fn fault(&self, value: &[u8], hint: &'static str) -> CellFault {
        let Self {
            target,
            length,
            most,
            unit,
        } = self;
        let unit = match unit {
            Unit::Characters => "characters",
            Unit::Bytes => "bytes",
        };
        CellFault::found(
            quote_value(value),
            format!(" of {length} {unit}, expected {most} at most ({target})"),
        )
        .with_hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::ValuePolicy;

    fn utf8() -> ValuePolicy {
        ValuePolicy {
            charset: Charset::Utf8mb4,
            ..ValuePolicy::default()
        }
    }

    fn rule(target: &str, policy: &ValuePolicy) -> ColumnRule {
        ColumnRule::new(0, MysqlType::parse(target), false, policy, b"\\N")
    }

    /// Writes bytes, or a text where `value` is one; returns the field and what was counted.
    fn field(
        target: &str,
        policy: &ValuePolicy,
        value: &[u8],
        is_text: bool,
    ) -> Result<(String, String), String> {
        let encoder = crate::dialect::Dialect::qserv().encoder();
        let (mut out, mut counts) = (TextBuffer::default(), RuleCounts::default());
        let rule = rule(target, policy);
        if is_text {
            rule.text(
                std::str::from_utf8(value).unwrap(),
                &encoder,
                &mut out,
                &mut counts,
            )
        } else {
            rule.bytes(value, &encoder, &mut out, &mut counts)
        }
        .map_err(|fault| fault.message())?;
        let named = counts.named(&["c".to_owned()]);
        let rules: Vec<String> = named
            .into_values()
            .flatten()
            .map(|(name, _)| name)
            .collect();
        let text = String::from_utf8_lossy(out.as_slice()).into_owned();
        Ok((text, rules.join(" ")))
    }

    #[test]
    fn lengths_are_counted_in_characters_or_bytes() {
        let check = |target: &str, value: &str| {
            rule(target, &utf8()).check_length(value.as_bytes()).is_ok()
        };
        assert!(check("CHAR(2)", "éλ"));
        assert!(!check("CHAR(1)", "éλ"));
        assert!(!check("VARBINARY(2)", "éλ"));
    }

    #[test]
    fn long_values_are_cut_when_asked_for() {
        let cut = ValuePolicy {
            truncate: TruncatePolicy::Cut,
            ..utf8()
        };
        for (target, expected) in [
            ("CHAR(2)", "éλ truncate"),
            ("TINYTEXT", "éλa "),
            ("VARBINARY(3)", "é\u{fffd} truncate"),
            ("BINARY(6)", "éλa zero_padded"),
        ] {
            let (text, rules) = field(target, &cut, "éλa".as_bytes(), true).unwrap();
            assert_eq!(format!("{text} {rules}"), expected, "{target}");
        }
        assert!(field("CHAR(2)", &utf8(), "éλa".as_bytes(), true).is_err());
    }

    #[test]
    fn what_mariadb_changes_is_counted() {
        assert_eq!(
            field("CHAR(4)", &utf8(), b"a ", true).unwrap().1,
            "trailing_blanks"
        );
        assert_eq!(field("VARCHAR(4)", &utf8(), b"a ", true).unwrap().1, "");
        assert_eq!(
            field("BINARY(4)", &utf8(), b"a", false).unwrap().1,
            "zero_padded"
        );
    }

    #[test]
    fn binary_values_have_four_forms() {
        let form = |binary| {
            let policy = ValuePolicy { binary, ..utf8() };
            field("VARBINARY(9)", &policy, b"\0\n\xff", false).map(|(text, _)| text)
        };
        assert_eq!(form(BinaryForm::Escape).unwrap(), "\\0\\n\u{fffd}");
        assert_eq!(form(BinaryForm::Hex).unwrap(), "000AFF");
        assert_eq!(form(BinaryForm::B64).unwrap(), "AAr/");
        assert_eq!(form(BinaryForm::Array).unwrap(), "[0,10,255]");
    }

    #[test]
    fn wkb_gets_its_srid() {
        let point = [&[1u8, 1, 0, 0, 0][..], &[0; 16]].concat();
        assert!(
            field("POINT", &utf8(), &point, false)
                .unwrap_err()
                .contains("SRID")
        );
        let policy = ValuePolicy {
            srid: Some(4326),
            binary: BinaryForm::Hex,
            ..utf8()
        };
        let (text, rules) = field("POINT", &policy, &point, false).unwrap();
        assert!(text.starts_with("E6100000010100000000"), "{text}");
        assert_eq!(rules, "srid");
    }

    #[test]
    fn json_columns_take_json_only() {
        assert!(field("JSON", &utf8(), b"{\"a\": [1, null]}", true).is_ok());
        assert!(
            field("JSON", &utf8(), b"{a}", true)
                .unwrap_err()
                .contains("expected JSON")
        );
    }

    #[test]
    fn text_columns_take_valid_text_only() {
        let fault = field("CHAR(9)", &utf8(), b"a\xff", false).unwrap_err();
        assert!(fault.contains("not valid utf8mb4: byte 2"), "{fault}");
        let replace = ValuePolicy {
            invalid_text: InvalidTextPolicy::Replace,
            ..utf8()
        };
        let (text, rules) = field("CHAR(9)", &replace, b"a\xff", false).unwrap();
        assert_eq!(
            (text.as_str(), rules.as_str()),
            ("a\u{fffd}", "invalid_text")
        );
        assert!(field("VARBINARY(9)", &utf8(), b"a\xff", false).is_ok());
    }
}

//! From a value to a field's bytes.
//!
//! | dialect | what is written |
//! |---|---|
//! | with an escape | structural bytes escaped: `\t` (if TAB is the delimiter), `\n`, `\r`, `\0`, `\Z`, else the escape and the byte |
//! | ... and a quote | the same, and quotes around the word `NULL` in any case, and around what equals the null string |
//! | with only a quote | quotes around what holds delimiter, quote, CR or LF, or equals the null string; quotes doubled |
//! | with neither | the value, or a fault if it holds delimiter, CR or LF, or equals the null string |
//!
//! What equals the null string where there is an escape but no quote gets an escape that it
//! doesn't need; it can't happen with `\N`, whose escape is always doubled in a value.
//!
//! By the rules of sph-partition ([`FieldRules::Sph`]) escapes go before CR and LF (as letters),
//! delimiter, quote and escape; without an escape, a value with CR or LF is a fault. What equals
//! the null string is quoted if there is a quote, else a fault.

use super::definition::{Dialect, FieldRules, LineTerminator};
use super::faults::EncodeFault;
use crate::values::TextBuffer;

/// Writes values in one dialect.
///
/// # Examples
/// ```
/// use skyprep::dialect::Dialect;
///
/// let encoder = Dialect::qserv().encoder();
/// let mut row = Vec::new();
/// encoder.encode_into(b"C:\\new\n", &mut row)?;
/// encoder.delimit(&mut row);
/// encoder.encode_null(&mut row);
/// encoder.end_record(&mut row);
/// assert_eq!(row, b"C:\\\\new\\n\t\\N\n");
/// # Ok::<(), skyprep::dialect::EncodeFault>(())
/// ```
#[derive(Debug, Clone)]
pub struct Encoder {
    /// For each byte 0, or what stands for it after the escape. Without an escape any other
    /// number than 0 says that the byte can't stand in an unquoted field.
    codes: [u8; 256],
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    null: Vec<u8>,
    line_terminator: LineTerminator,
    rules: FieldRules,
    form: Form,
}

/// What fields look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As the dialect says.
    Dialect,
    /// JSON strings that hold text escaped for MariaDB.
    Json,
    /// In quotes, whatever they hold, inner ones doubled.
    Quoted,
}

impl Encoder {
    /// Makes a writer of the rows that Qserv's ingest service takes as JSON.
    ///
    /// The service puts each string between quotes and loads it with `ENCLOSED BY '"'` and
    /// `ESCAPED BY '\\'`, without escaping anything itself. So a value is escaped for MariaDB
    /// first, and for JSON then.
    pub fn json_rows() -> Self {
        let mut encoder = Self::new(&Dialect::qserv_csv());
        // Quotes protect the comma.
        if let Some(code) = encoder.codes.get_mut(usize::from(b',')) {
            *code = 0;
        }
        encoder.null = br#""\\N""#.to_vec();
        encoder.form = Form::Json;
        encoder
    }

    /// Says whether fields are JSON.
    pub fn is_json(&self) -> bool {
        self.form == Form::Json
    }

    /// Makes a writer as sph-parq2csv without quotes: TAB, NULL `\N`, no escapes.
    ///
    /// What it can't write, or what MariaDB would not read back, is a fault.
    pub fn bare() -> Self {
        let mut encoder = Self::new(&Dialect::qserv());
        encoder.escape = None;
        for byte in [b'"', b'\\'] {
            if let Some(code) = encoder.codes.get_mut(usize::from(byte)) {
                *code = byte;
            }
        }
        encoder
    }

    /// Makes a writer as sph-parq2csv with `--csv-quote-fields`: TAB, all values in quotes, NULL
    /// `\N`. With `escapes`, what MariaDB would not read back is escaped.
    pub fn all_quoted(escapes: bool) -> Self {
        let mut encoder = Self::new(&Dialect::qserv());
        if let Some(code) = encoder.codes.get_mut(usize::from(b'\t')) {
            *code = 0;
        }
        if !escapes {
            encoder.escape = None;
        }
        encoder.form = Form::Quoted;
        encoder
    }

    /// Makes a writer for `dialect` that puts all values but NULL in quotes, as sph-partition does
    /// with `in.parq2csv-quote`.
    pub fn quoting_all(dialect: &Dialect) -> Self {
        let mut encoder = Self::new(dialect);
        let between = [Some(dialect.delimiter()), dialect.quote()];
        for byte in between.into_iter().flatten() {
            if let Some(code) = encoder.codes.get_mut(usize::from(byte)) {
                *code = 0;
            }
        }
        encoder.form = Form::Quoted;
        encoder
    }

    /// Says whether numbers are written as they are, without anything around them.
    pub fn writes_numbers_plainly(&self) -> bool {
        self.form == Form::Dialect
    }

    /// Returns how NULL is written.
    pub fn null(&self) -> &[u8] {
        &self.null
    }

    /// Returns `value` as MariaDB wants it escaped.
    pub fn escaped(&self, value: &[u8]) -> Vec<u8> {
        let mut escaped = Vec::with_capacity(value.len());
        match self.escape {
            Some(escape) => self.push_escaped(value, escape, &mut escaped),
            None => escaped.extend_from_slice(value),
        }
        escaped
    }

    /// Makes a writer for `dialect`.
    pub fn new(dialect: &Dialect) -> Self {
        let mut codes = [0; 256];
        let mut set = |byte: u8, code: u8| {
            if let Some(slot) = codes.get_mut(usize::from(byte)) {
                *slot = code;
            }
        };
        set(b'\n', b'n');
        set(b'\r', b'r');
        set(dialect.delimiter(), dialect.delimiter());
        if let Some(quote) = dialect.quote() {
            set(quote, quote);
        }
        if let Some(escape) = dialect.escape() {
            set(escape, escape);
        }
        match (dialect.rules(), dialect.escape()) {
            (FieldRules::Sph, None) => set(0, 1),
            (FieldRules::MariaDb, Some(_)) => {
                set(0, b'0');
                set(0x1a, b'Z');
                if dialect.delimiter() == b'\t' {
                    set(b'\t', b't');
                }
            }
            _ => {}
        }
        Self {
            codes,
            delimiter: dialect.delimiter(),
            quote: dialect.quote(),
            escape: dialect.escape(),
            null: dialect.null().to_vec(),
            line_terminator: dialect.line_terminator(),
            rules: dialect.rules(),
            form: Form::Dialect,
        }
    }

    /// Appends `value` as one field.
    ///
    /// # Errors
    /// When the dialect has no way to write the value; `out` is then as it was.
    pub fn encode_into(&self, value: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeFault> {
        match self.form {
            Form::Dialect => {}
            Form::Json => {
                let escaped = self.escaped(value);
                let text = std::str::from_utf8(&escaped).map_err(|_| EncodeFault::NotUtf8)?;
                return serde_json::to_writer(out, text).map_err(|_| EncodeFault::NotUtf8);
            }
            Form::Quoted => {
                if self.escape.is_none() {
                    self.check_line_ends(value)?;
                }
                push_with_doubled_quotes(&self.escaped(value), self.any_quote(), out);
                return Ok(());
            }
        }
        match (self.escape, self.quote) {
            (Some(escape), quote) => self.encode_escaped(value, escape, quote, out),
            (None, Some(quote)) => {
                self.check_line_ends(value)?;
                if self.first_coded(value).is_some() || value == self.null {
                    push_with_doubled_quotes(value, quote, out);
                } else {
                    out.extend_from_slice(value);
                }
                Ok(())
            }
            (None, None) => {
                if let Some((_, byte, _)) = self.first_coded(value) {
                    return Err(EncodeFault::Structural(byte));
                }
                if value == self.null {
                    return Err(EncodeFault::LooksLikeNull);
                }
                out.extend_from_slice(value);
                Ok(())
            }
        }
    }

    /// Refuses line ends where there are quotes only and sph-partition's rules hold.
    fn check_line_ends(&self, value: &[u8]) -> Result<(), EncodeFault> {
        if self.rules == FieldRules::Sph
            && let Some(at) = memchr::memchr2(b'\r', b'\n', value)
        {
            let byte = value.get(at).copied().unwrap_or(b'\n');
            return Err(EncodeFault::LineEnd(byte));
        }
        Ok(())
    }

    fn any_quote(&self) -> u8 {
        self.quote.unwrap_or(b'"')
    }

    /// Says whether `value` is written as it is, so that a caller may copy it.
    #[inline]
    #[must_use]
    pub fn is_plain(&self, value: &[u8]) -> bool {
        if self.form != Form::Dialect {
            return false;
        }
        let is_null_word = value.len() == 4 && value.eq_ignore_ascii_case(b"NULL");
        self.first_coded(value).is_none() && !is_null_word && value != self.null
    }

    /// Says whether `byte` is written as it is, wherever it stands in a value.
    #[must_use]
    pub fn is_plain_byte(&self, byte: u8) -> bool {
        self.form == Form::Dialect && self.code(byte) == 0
    }

    /// Ends a field that begins at `start`, where not only texts are quoted.
    ///
    /// In JSON, what it does not know as a whole number becomes a string, for the ingest service
    /// prints other numbers with six digits behind the point.
    #[inline]
    pub fn end_field(&self, start: usize, out: &mut TextBuffer) {
        if self.form != Form::Dialect {
            self.quote_number(start, out);
        }
    }

    #[cold]
    fn quote_number(&self, start: usize, out: &mut TextBuffer) {
        let field = out.as_slice().get(start..).unwrap_or_default();
        let is_whole = match self.form {
            Form::Json => matches!(field.first(), Some(b'"' | b'[')) || is_json_integer(field),
            _ => field.first() == Some(&self.any_quote()) || field == self.null,
        };
        if !is_whole {
            let quote = match self.form {
                Form::Json => b'"',
                _ => self.any_quote(),
            };
            out.enclose(start, quote);
        }
    }

    /// Returns what the user can do about a value that can't be written.
    pub fn hint(&self) -> &'static str {
        match (self.form, self.escape, self.quote) {
            _ if self.rules == FieldRules::Sph => {
                "choose an output dialect with an escape character (out.csv.escape)"
            }
            (Form::Dialect, None, None) => {
                "choose a dialect with an escape character or a quote (sph-parq2csv: --fix, or \
                 --csv-quote-fields)"
            }
            _ => "choose a dialect with an escape character or a quote",
        }
    }

    /// Appends NULL as one field.
    pub fn encode_null(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.null);
    }

    /// Appends the delimiter.
    pub fn delimit(&self, out: &mut Vec<u8>) {
        out.push(self.delimiter);
    }

    /// Appends the line terminator.
    pub fn end_record(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.line_terminator.as_bytes());
    }

    fn encode_escaped(
        &self,
        value: &[u8],
        escape: u8,
        quote: Option<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeFault> {
        let start = out.len();
        self.push_escaped(value, escape, out);
        let is_null_text = out.get(start..) == Some(self.null.as_slice());
        match quote {
            Some(quote) if self.rules == FieldRules::Sph => {
                if is_null_text {
                    out.insert(start, quote);
                    out.push(quote);
                }
                Ok(())
            }
            None if is_null_text && self.rules == FieldRules::Sph => {
                out.truncate(start);
                Err(EncodeFault::LooksLikeNull)
            }
            // MariaDB knows the word in capitals only; other readers are less strict.
            Some(quote) if is_null_text || value.eq_ignore_ascii_case(b"NULL") => {
                out.insert(start, quote);
                out.push(quote);
                Ok(())
            }
            None if is_null_text => {
                out.truncate(start);
                self.push_respelt(value, escape, out)
            }
            _ => Ok(()),
        }
    }

    fn push_escaped(&self, value: &[u8], escape: u8, out: &mut Vec<u8>) {
        let mut rest = value;
        while let Some((plain, byte, after)) = self.first_coded(rest) {
            out.extend_from_slice(plain);
            out.extend_from_slice(&[escape, self.code(byte)]);
            rest = after;
        }
        out.extend_from_slice(rest);
    }

    /// Writes a value whose plain text is the null string with one escape more than it needs.
    fn push_respelt(&self, value: &[u8], escape: u8, out: &mut Vec<u8>) -> Result<(), EncodeFault> {
        let can_take_escape = |byte: u8| {
            self.code(byte) == 0 && !b"0bnrtZ".contains(&byte) && (byte != b'N' || value.len() > 1)
        };
        let at = value.iter().position(|byte| can_take_escape(*byte));
        let Some((before, from)) = at.and_then(|at| value.split_at_checked(at)) else {
            return Err(EncodeFault::LooksLikeNull);
        };
        self.push_escaped(before, escape, out);
        out.push(escape);
        self.push_escaped(from, escape, out);
        Ok(())
    }

    /// Splits `value` at the first byte that can't be written as it is.
    #[inline]
    fn first_coded<'v>(&self, value: &'v [u8]) -> Option<(&'v [u8], u8, &'v [u8])> {
        let at = value.iter().position(|byte| self.code(*byte) != 0)?;
        let (plain, from) = value.split_at_checked(at)?;
        let (byte, after) = from.split_first()?;
        Some((plain, *byte, after))
    }

    #[inline]
    #[allow(clippy::indexing_slicing, reason = "every u8 is an index of 256 codes")]
    fn code(&self, byte: u8) -> u8 {
        self.codes[usize::from(byte)]
    }
}

fn is_json_integer(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_canonical = digits.first() != Some(&b'0') || digits == b"0";
    !digits.is_empty() && is_canonical && digits.iter().all(u8::is_ascii_digit)
}

fn push_with_doubled_quotes(value: &[u8], quote: u8, out: &mut Vec<u8>) {
    out.push(quote);
    let mut rest = value;
    while let Some(at) = memchr::memchr(quote, rest) {
        let Some((before, after)) = rest.split_at_checked(at + 1) else {
            break;
        };
        out.extend_from_slice(before);
        out.push(quote);
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom(quote: Option<u8>, escape: Option<u8>, null: &str) -> Dialect {
        Dialect::custom(b',', quote, escape, Some(null)).unwrap()
    }

    macro_rules! writes {
        ($name:ident, $dialect:expr, $value:expr, $expected:expr) => {
            #[test]
            fn $name() {
                let mut out = b"before".to_vec();
                let result = $dialect.encoder().encode_into($value, &mut out);
                let text = String::from_utf8_lossy(out.strip_prefix(b"before").unwrap());
                let expected: Result<&str, EncodeFault> = $expected;
                assert_eq!(result.map(|()| &*text), expected);
                assert!(
                    result.is_ok() || text.is_empty(),
                    "a fault leaves nothing behind"
                );
            }
        };
    }

    const QUOTE: Option<u8> = Some(b'"');
    const ESCAPE: Option<u8> = Some(b'\\');
    writes!(plain, Dialect::qserv(), "käfer".as_bytes(), Ok("käfer"));
    writes!(empty, Dialect::qserv(), b"", Ok(""));
    writes!(
        structure,
        Dialect::qserv(),
        b"\t\n\r\0\x1a\\",
        Ok(r"\t\n\r\0\Z\\")
    );
    writes!(
        harmless,
        Dialect::qserv(),
        b"\x01\x08,\"'",
        Ok("\x01\x08,\"'")
    );
    writes!(null_text, Dialect::qserv(), br"\N", Ok(r"\\N"));
    writes!(word_without_quote, Dialect::qserv(), b"NULL", Ok("NULL"));
    writes!(
        structure_csv,
        Dialect::qserv_csv(),
        b"a,\"b\"\n\t",
        Ok("a\\,\\\"b\\\"\\n\t")
    );
    writes!(word, Dialect::qserv_csv(), b"NULL", Ok("\"NULL\""));
    writes!(word_in_small, Dialect::qserv_csv(), b"null", Ok("\"null\""));
    writes!(word_in_text, Dialect::qserv_csv(), b"NULL!", Ok("NULL!"));

    writes!(
        own_null_quoted,
        custom(QUOTE, ESCAPE, "-"),
        b"-",
        Ok("\"-\"")
    );
    writes!(
        own_null_respelt,
        custom(None, ESCAPE, "nix"),
        b"nix",
        Ok(r"n\ix")
    );
    writes!(
        own_null_stuck,
        custom(None, ESCAPE, "0"),
        b"0",
        Err(EncodeFault::LooksLikeNull)
    );
    writes!(
        letter_null_stuck,
        custom(None, ESCAPE, "N"),
        b"N",
        Err(EncodeFault::LooksLikeNull)
    );
    writes!(
        escaped_null_text,
        custom(None, ESCAPE, r"\\-"),
        br"\-",
        Ok(r"\\\-")
    );
    writes!(
        empty_null_stuck,
        custom(None, ESCAPE, ""),
        b"",
        Err(EncodeFault::LooksLikeNull)
    );

    writes!(rfc4180_plain, Dialect::rfc4180(), b"a\\b", Ok("a\\b"));
    writes!(
        rfc4180_quoted,
        Dialect::rfc4180(),
        b"a,\"b\"\r\n",
        Ok("\"a,\"\"b\"\"\r\n\"")
    );
    writes!(rfc4180_empty, Dialect::rfc4180(), b"", Ok("\"\""));
    writes!(bare, custom(None, None, "NULL"), b"a\"b\\", Ok("a\"b\\"));
    writes!(
        bare_delimiter,
        custom(None, None, "NULL"),
        b"a,b",
        Err(EncodeFault::Structural(b','))
    );
    writes!(
        bare_null,
        custom(None, None, "NULL"),
        b"NULL",
        Err(EncodeFault::LooksLikeNull)
    );

    fn sph(quote: Option<u8>, escape: Option<u8>, null: &str) -> Dialect {
        Dialect::sph(b'\t', quote, escape, Some(null)).unwrap()
    }

    writes!(
        sph_escaped,
        sph(QUOTE, ESCAPE, "NULL"),
        b"\t\n\r\0\x1a\\\"NULL",
        Ok("\\\t\\n\\r\0\x1a\\\\\\\"NULL")
    );
    writes!(
        sph_null_quoted,
        sph(QUOTE, ESCAPE, "NULL"),
        b"NULL",
        Ok("\"NULL\"")
    );
    writes!(sph_word, sph(QUOTE, ESCAPE, "\\N"), b"NULL", Ok("NULL"));
    writes!(
        sph_null_stuck,
        sph(None, ESCAPE, "nix"),
        b"nix",
        Err(EncodeFault::LooksLikeNull)
    );
    writes!(
        sph_coded_null_quoted,
        sph(QUOTE, ESCAPE, "\\n"),
        b"\n",
        Ok("\"\\n\"")
    );
    writes!(
        sph_quoted,
        sph(QUOTE, None, "-"),
        b"a\"b\0",
        Ok("\"a\"\"b\0\"")
    );
    writes!(
        sph_line_end,
        sph(QUOTE, None, "-"),
        b"a\rb",
        Err(EncodeFault::LineEnd(b'\r'))
    );
    writes!(
        sph_bare_nul,
        sph(None, None, "-"),
        b"a\0",
        Err(EncodeFault::Structural(0))
    );
    writes!(
        sph_bare_null,
        sph(None, None, ""),
        b"",
        Err(EncodeFault::LooksLikeNull)
    );

    #[test]
    fn json_fields_are_escaped_for_mariadb_first() {
        let encoder = Encoder::json_rows();
        let mut out = TextBuffer::with_capacity(64);
        out.append_with(|bytes| encoder.encode_into(b"a\"b\\,\n\xc3\xa9", bytes))
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(out.as_slice()),
            r#""a\\\"b\\\\,\\né""#
        );
        for (number, expected) in [
            ("1.5", "\"1.5\""),
            ("-7", "-7"),
            ("007", "\"007\""),
            ("", "\"\""),
        ] {
            let start = out.len();
            out.extend(number.as_bytes());
            encoder.end_field(start, &mut out);
            assert_eq!(&out.as_slice()[start..], expected.as_bytes());
        }
        assert_eq!(encoder.null(), br#""\\N""#);
        let not_utf8 = out.append_with(|bytes| encoder.encode_into(b"\xff", bytes));
        assert_eq!(not_utf8, Err(EncodeFault::NotUtf8));
    }

    #[test]
    fn all_is_quoted_but_null() {
        for (escapes, expected) in [
            (false, "\"a\"\"b\\\t\"\\N\"5\""),
            (true, "\"a\"\"b\\\\\t\"\\N\"5\""),
        ] {
            let encoder = Encoder::all_quoted(escapes);
            let mut out = TextBuffer::with_capacity(64);
            out.append_with(|bytes| encoder.encode_into(b"a\"b\\\t", bytes))
                .unwrap();
            for field in [&b"\\N"[..], b"5"] {
                let start = out.len();
                out.extend(field);
                encoder.end_field(start, &mut out);
            }
            assert_eq!(String::from_utf8_lossy(out.as_slice()), expected);
        }
    }

    #[test]
    fn what_can_only_be_spoilt_is_a_fault() {
        let encoder = Encoder::bare();
        let mut out = Vec::new();
        for value in ["a\tb", "a\nb", "a\"b", "a\\b", "\\N"] {
            assert!(
                encoder.encode_into(value.as_bytes(), &mut out).is_err(),
                "{value}"
            );
        }
        encoder.encode_into(b"NULL, 'x'", &mut out).unwrap();
        assert_eq!(out, b"NULL, 'x'");
    }

    #[test]
    fn all_values_but_null_are_quoted() {
        let written = |escape: Option<u8>, value: &[u8]| {
            let mut out = Vec::new();
            let encoder = Encoder::quoting_all(&sph(Some(b'\''), escape, r"\N"));
            let result = encoder.encode_into(value, &mut out);
            result.map(|()| String::from_utf8(out).unwrap())
        };
        for (value, expected) in [
            (&b"12"[..], "'12'"),
            (b"", "''"),
            (b"a\tb", "'a\tb'"),
            (b"it's", "'it''s'"),
            (b"a\nb\\", "'a\\nb\\\\'"),
            (br"\N", r"'\\N'"),
        ] {
            assert_eq!(written(ESCAPE, value).as_deref(), Ok(expected));
        }
        assert_eq!(written(None, br"\N").as_deref(), Ok(r"'\N'"));
        assert_eq!(written(None, b"a\nb"), Err(EncodeFault::LineEnd(b'\n')));
        let mut number = TextBuffer::with_capacity(64);
        number.extend(b"12");
        Encoder::quoting_all(&sph(Some(b'\''), ESCAPE, r"\N")).end_field(0, &mut number);
        assert_eq!(number.as_slice(), b"'12'");
    }
}

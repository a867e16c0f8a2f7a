//! The dialect itself: the characters with a meaning, checked once and then trusted.
//!
//! Fields are private because every reader and writer relies on what [`Dialect::custom`] checks,
//! above all that delimiter, quote, escape and line ends never clash.

use serde::{Deserialize, Serialize};

use super::encode::Encoder;
use super::faults::{DialectFault, RecordFaultKind};
use super::fields::Fields;
use super::options::DialectOptions;
use super::records::Records;

/// Letters and digits with a meaning after the escape, here or in sph-partition.
const ESCAPE_LETTERS: &[u8] = b"0bfnrtvNZ";

/// How text is cut into records and fields, and how NULL is spelt.
///
/// # Examples
/// ```
/// use skyprep::dialect::Dialect;
///
/// let dialect = Dialect::qserv();
/// assert_eq!((dialect.delimiter(), dialect.escape()), (b'\t', Some(b'\\')));
/// assert!(dialect.is_loadable_by_qserv());
/// assert!(!Dialect::rfc4180().is_loadable_by_qserv());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "DialectOptions", into = "DialectOptions")]
pub struct Dialect {
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    null: Vec<u8>,
    line_terminator: LineTerminator,
    has_header: bool,
    rules: FieldRules,
}

/// Whose rules fields follow where there is more than one way.
///
/// | | `MariaDb` | `Sph` |
/// |---|---|---|
/// | NULL | see [`crate::dialect`] | raw bytes equal the null string, nothing else |
/// | escape and `f`, `v` | the letter | 0C, 0B |
/// | other quote in a quoted field, without an escape | closes | data; the field goes on |
/// | empty line, without an escape | passed over if there are more columns | a record |
/// | byte order mark | left out | data of the first field |
/// | written with an escape | TAB, NUL, 1A as letters | as they are; the delimiter behind an escape |
/// | CR, LF with only a quote | quoted | can't be written |
/// | NUL with only a quote; with neither | as it is | quoted; can't be written |
/// | the word `NULL` | quoted | as it is, unless it is the null string |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldRules {
    /// What MariaDB reads, or RFC 4180 without an escape.
    #[default]
    MariaDb,
    /// What Qserv's sph-partition and its kin read and write.
    Sph,
}

/// How lines end in outputs; inputs may end them in any way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LineTerminator {
    /// A line feed, the only one that Qserv takes.
    #[default]
    Lf,
    /// Carriage return and line feed.
    CrLf,
}

impl LineTerminator {
    /// Returns the bytes that end a line.
    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
        }
    }
}

impl Dialect {
    /// Returns Qserv's default: TAB, no quote, escape `\`, LF, NULL `\N`.
    pub fn qserv() -> Self {
        Self {
            delimiter: b'\t',
            quote: None,
            escape: Some(b'\\'),
            null: br"\N".to_vec(),
            line_terminator: LineTerminator::Lf,
            has_header: false,
            rules: FieldRules::MariaDb,
        }
    }

    /// Returns Qserv's other common one: comma, quote `"`, escape `\`, LF, NULL `\N`.
    pub fn qserv_csv() -> Self {
        Self {
            delimiter: b',',
            quote: Some(b'"'),
            ..Self::qserv()
        }
    }

    /// Returns what other programs call CSV: comma, quote `"`, no escape, LF, NULL empty.
    pub fn rfc4180() -> Self {
        Self {
            escape: None,
            null: Vec::new(),
            ..Self::qserv_csv()
        }
    }

    /// Makes a dialect of one's own, with LF and no header.
    ///
    /// Without a null string it is what MariaDB would read as NULL: escape and `N` where there
    /// is an escape, else the word `NULL`.
    ///
    /// # Errors
    /// When characters clash, can't play their part, or leave the null string ambiguous.
    pub fn custom(
        delimiter: u8,
        quote: Option<u8>,
        escape: Option<u8>,
        null: Option<&str>,
    ) -> Result<Self, DialectFault> {
        check_characters(delimiter, quote, escape)?;
        let null = null.map_or_else(|| default_null(escape), |text| text.as_bytes().to_vec());
        check_null(&null, delimiter, quote, escape)?;
        let line_terminator = LineTerminator::Lf;
        Ok(Self {
            delimiter,
            quote,
            escape,
            null,
            line_terminator,
            has_header: false,
            rules: FieldRules::MariaDb,
        })
    }

    /// Makes a dialect of Qserv's sph-partition and its kin.
    ///
    /// Without a null string it is `NULL` where there is a quote, else escape and `N` where there
    /// is an escape, else nothing at all.
    ///
    /// # Errors
    /// When characters clash, can't play their part, or leave the null string ambiguous.
    ///
    /// # Examples
    /// ```
    /// use skyprep::dialect::Dialect;
    ///
    /// let dialect = Dialect::sph(b',', Some(b'"'), Some(b'\\'), None)?;
    /// assert_eq!(dialect.null(), b"NULL");
    /// let dialect = Dialect::sph(b',', None, None, None)?;
    /// assert_eq!(dialect.null(), b"");
    /// # Ok::<(), skyprep::dialect::DialectFault>(())
    /// ```
    pub fn sph(
        delimiter: u8,
        quote: Option<u8>,
        escape: Option<u8>,
        null: Option<&str>,
    ) -> Result<Self, DialectFault> {
        check_characters(delimiter, quote, escape)?;
        let null = match (null, quote, escape) {
            (Some(null), _, _) => null.as_bytes().to_vec(),
            (None, Some(_), _) => b"NULL".to_vec(),
            (None, None, Some(escape)) => vec![escape, b'N'],
            (None, None, None) => Vec::new(),
        };
        let dialect = Self {
            delimiter,
            quote,
            escape,
            null,
            line_terminator: LineTerminator::Lf,
            has_header: false,
            rules: FieldRules::Sph,
        };
        dialect.check_sph_null()?;
        Ok(dialect)
    }

    /// Makes sure that the null string, written raw, is read back as one field.
    fn check_sph_null(&self) -> Result<(), DialectFault> {
        let null = &self.null;
        let is_border = |byte: &u8| [b'\r', b'\n', self.delimiter].contains(byte);
        let reason = if null.iter().any(is_border) {
            "must not hold CR, LF or the delimiter"
        } else if null.is_empty() {
            return Ok(());
        } else {
            let mut fields = Fields::new();
            match Records::new(self, null).next(&mut fields) {
                Ok(_) => return Ok(()),
                Err(fault) if fault.kind == RecordFaultKind::UnterminatedQuote => {
                    "must not begin with a quote that does not close"
                }
                Err(_) => "must not end in the middle of an escape sequence",
            }
        };
        Err(DialectFault::BadNull {
            null: String::from_utf8_lossy(null).into_owned(),
            reason,
        })
    }

    /// Takes another line terminator for outputs.
    #[must_use]
    pub fn with_line_terminator(self, line_terminator: LineTerminator) -> Self {
        Self {
            line_terminator,
            ..self
        }
    }

    /// Says that the first record holds the column names.
    #[must_use]
    pub fn with_header(self) -> Self {
        Self {
            has_header: true,
            ..self
        }
    }

    /// Returns the byte between fields.
    pub fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// Returns the byte around quoted fields, if quoting is on.
    pub fn quote(&self) -> Option<u8> {
        self.quote
    }

    /// Returns the byte that takes the meaning from the next one, if escaping is on.
    pub fn escape(&self) -> Option<u8> {
        self.escape
    }

    /// Returns how NULL is written.
    pub fn null(&self) -> &[u8] {
        &self.null
    }

    /// Returns how lines end in outputs.
    pub fn line_terminator(&self) -> LineTerminator {
        self.line_terminator
    }

    /// Says whether the first record holds the column names.
    pub fn has_header(&self) -> bool {
        self.has_header
    }

    /// Returns whose rules fields follow.
    pub fn rules(&self) -> FieldRules {
        self.rules
    }

    /// Says whether the rules are those of sph-partition.
    pub(super) fn is_sph(&self) -> bool {
        self.rules == FieldRules::Sph
    }

    /// Says whether a quote that neither doubles nor closes is data of its quoted field.
    pub(super) fn keeps_stray_quotes(&self) -> bool {
        self.escape.is_some() || self.is_sph()
    }

    /// Says whether empty lines mean nothing where more than one column is expected.
    ///
    /// Programs that write RFC 4180 like to end a file with an empty line.
    pub fn passes_over_blank_lines(&self) -> bool {
        self.escape.is_none() && !self.is_sph()
    }

    /// Returns a writer of values in this dialect.
    pub fn encoder(&self) -> Encoder {
        Encoder::new(self)
    }

    /// Says whether fields of `input` may be copied into this dialect byte for byte.
    ///
    /// Line terminator and header don't matter to a field. Whether a field holds a raw line end,
    /// which no output for Qserv may, [`super::Record::has_inner_line_ends`] says.
    pub fn copies_fields_of(&self, input: &Self) -> bool {
        (
            self.delimiter,
            self.quote,
            self.escape,
            &self.null,
            self.rules,
        ) == (
            input.delimiter,
            input.quote,
            input.escape,
            &input.null,
            input.rules,
        )
    }

    /// Says whether Qserv's ingest service takes files in this dialect.
    pub fn is_loadable_by_qserv(&self) -> bool {
        self.refusal_by_qserv().is_none()
    }

    /// Returns why numbers and times can't be written in this dialect, if they can't: they are never
    /// quoted or escaped.
    pub fn refusal_by_numbers(&self) -> Option<String> {
        let is_in_numbers = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.: ".contains(&byte);
        let special = [
            ("delimiter", Some(self.delimiter)),
            ("quote", self.quote),
            ("escape", self.escape),
        ];
        for (name, byte) in special {
            if let Some(byte) = byte.filter(|byte| is_in_numbers(*byte)) {
                let byte = char::from(byte);
                return Some(format!(
                    "the {name} '{byte}' occurs in numbers, dates or times"
                ));
            }
        }
        let is_number = self.null.iter().all(|byte| is_in_numbers(*byte))
            && self.null.iter().any(u8::is_ascii_digit);
        is_number.then(|| {
            let null = String::from_utf8_lossy(&self.null);
            format!("NULL would be '{null}', which may be a number, a date or a time too")
        })
    }

    /// Returns why Qserv's ingest service refuses files in this dialect, or misreads them.
    pub fn refusal_by_qserv(&self) -> Option<&'static str> {
        // The server's own lists are in src/replica/util/Csv.cc of lsst/qserv; the last two
        // it can't see, but MariaDB would load other values than were meant.
        if !matches!(self.delimiter, b'\t' | b',') {
            Some("the delimiter is neither TAB nor comma")
        } else if !matches!(self.quote, None | Some(b'"' | b'\'')) {
            Some("the quote is neither \" nor ' nor none")
        } else if self.escape != Some(b'\\') {
            Some("the escape is not \\")
        } else if self.line_terminator != LineTerminator::Lf {
            Some("lines do not end with LF")
        } else if self.has_header {
            Some("the first line holds column names, and would be loaded as data")
        } else if self.null != br"\N" && !(self.null == b"NULL" && self.quote.is_some()) {
            Some("the null string is not \\N, and would be loaded as data")
        } else {
            None
        }
    }
}

/// What MariaDB reads as NULL.
pub(super) fn default_null(escape: Option<u8>) -> Vec<u8> {
    escape.map_or_else(|| b"NULL".to_vec(), |escape| vec![escape, b'N'])
}

fn check_characters(
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
) -> Result<(), DialectFault> {
    let parts = [
        ("delimiter", Some(delimiter)),
        ("quote", quote),
        ("escape", escape),
    ];
    for (part, byte) in parts
        .into_iter()
        .filter_map(|(part, byte)| Some((part, byte?)))
    {
        let unfit = |reason| Err(DialectFault::Unfit { part, byte, reason });
        if matches!(byte, b'\0' | b'\r' | b'\n') {
            return unfit("must not be NUL, CR or LF");
        }
        if !byte.is_ascii() {
            return unfit("must be one ASCII character");
        }
        if escape.is_some() && ESCAPE_LETTERS.contains(&byte) {
            return unfit("has a meaning after the escape (one of 0bfnrtvNZ)");
        }
    }
    if quote == Some(delimiter) {
        return Err(DialectFault::NotDistinct("delimiter", "quote"));
    }
    if escape == Some(delimiter) {
        return Err(DialectFault::NotDistinct("delimiter", "escape"));
    }
    if escape.is_some() && escape == quote {
        return Err(DialectFault::NotDistinct("quote", "escape"));
    }
    Ok(())
}

/// Makes sure that the null string, written raw, is read back as one unquoted field.
fn check_null(
    null: &[u8],
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
) -> Result<(), DialectFault> {
    let bad = |reason| {
        Err(DialectFault::BadNull {
            null: String::from_utf8_lossy(null).into_owned(),
            reason,
        })
    };
    if null
        .iter()
        .any(|byte| [b'\r', b'\n', delimiter].contains(byte))
    {
        return bad("must not hold CR, LF or the delimiter");
    }
    if quote.is_some() && null.first().copied() == quote {
        return bad("must not begin with the quote");
    }
    if escape.is_some_and(|escape| super::scan::is_escaped(null, null.len(), 0, escape)) {
        return bad("must not end in the middle of an escape sequence");
    }
    Ok(())
}

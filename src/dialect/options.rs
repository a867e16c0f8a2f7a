//! Dialect options as users write them, on the command line or in a file.
//!
//! Options refine a base (a preset, or the default of the command). They are also how a dialect
//! is kept in records and reports: text that a person can read and type again.

use serde::{Deserialize, Serialize};

use super::definition::{Dialect, FieldRules, LineTerminator, default_null};
use super::faults::DialectFault;

/// What the user said about a dialect; what is `None` comes from the base.
///
/// | option | takes |
/// |---|---|
/// | `dialect` | `qserv`, `qserv-csv`, `rfc4180` |
/// | `delimiter` | one ASCII character, `tab`, `\t` |
/// | `quote`, `escape` | one ASCII character, `\\` for a backslash, `none` |
/// | `null` | any text, taken as it stands |
/// | `line_terminator` | `lf`, `crlf` (also `\n`, `\r\n`) |
/// | `header` | whether the first record holds the column names |
///
/// Without `null`, the base's null string stays unless `escape` differs from the base's; then it
/// is what MariaDB reads as NULL: escape and `N`, or the word `NULL` when there is no escape.
///
/// # Examples
/// ```
/// use skyprep::dialect::{Dialect, DialectOptions};
///
/// let options = DialectOptions {
///     delimiter: Some(",".into()),
///     escape: Some("none".into()),
///     ..DialectOptions::default()
/// };
/// let dialect = options.resolve(&Dialect::qserv())?;
/// assert_eq!((dialect.delimiter(), dialect.null()), (b',', &b"NULL"[..]));
/// # Ok::<(), skyprep::dialect::DialectFault>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DialectOptions {
    /// Name of the preset to start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<String>,
    /// The byte between fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<String>,
    /// The byte around quoted fields, or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// The escape character, or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escape: Option<String>,
    /// How NULL is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub null: Option<String>,
    /// How lines end in outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_terminator: Option<String>,
    /// Whether the first record holds the column names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// Whose rules fields follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<FieldRules>,
}

impl DialectOptions {
    /// Applies the options to their preset, or without one to `base`, and checks the result.
    ///
    /// # Errors
    /// When a text is not understood, or the dialect can't be (see [`Dialect::custom`]).
    pub fn resolve(&self, base: &Dialect) -> Result<Dialect, DialectFault> {
        let base = match &self.dialect {
            Some(name) => preset(name)?,
            None => base.clone(),
        };
        let delimiter = match &self.delimiter {
            Some(text) => parse_delimiter(text)?,
            None => base.delimiter(),
        };
        let quote = parse_or("quote", self.quote.as_deref(), base.quote())?;
        let escape = parse_or("escape", self.escape.as_deref(), base.escape())?;
        let null = match &self.null {
            Some(text) => text.clone(),
            None if escape == base.escape() => text_of(base.null()),
            None => text_of(&default_null(escape)),
        };

        let line_terminator = match self.line_terminator.as_deref() {
            Some(text) => parse_line_terminator(text)?,
            None => base.line_terminator(),
        };
        let dialect = match self.rules.unwrap_or(base.rules()) {
            FieldRules::MariaDb => Dialect::custom(delimiter, quote, escape, Some(&null)),
            FieldRules::Sph => Dialect::sph(delimiter, quote, escape, Some(&null)),
        };
        let dialect = dialect?.with_line_terminator(line_terminator);
        let has_header = self.header.unwrap_or(base.has_header());
        Ok(if has_header {
            dialect.with_header()
        } else {
            dialect
        })
    }
}

impl From<Dialect> for DialectOptions {
    fn from(dialect: Dialect) -> Self {
        let name_of = |byte: Option<u8>| {
            byte.map_or_else(|| "none".to_owned(), |byte| char::from(byte).to_string())
        };
        Self {
            dialect: None,
            delimiter: Some(name_of(Some(dialect.delimiter()))),
            quote: Some(name_of(dialect.quote())),
            escape: Some(name_of(dialect.escape())),
            null: Some(text_of(dialect.null())),
            line_terminator: Some(
                match dialect.line_terminator() {
                    LineTerminator::Lf => "lf",
                    LineTerminator::CrLf => "crlf",
                }
                .to_owned(),
            ),
            header: Some(dialect.has_header()),
            rules: (dialect.rules() != FieldRules::default()).then_some(dialect.rules()),
        }
    }
}

impl TryFrom<DialectOptions> for Dialect {
    type Error = DialectFault;

    fn try_from(options: DialectOptions) -> Result<Self, DialectFault> {
        options.resolve(&Self::qserv())
    }
}

fn preset(name: &str) -> Result<Dialect, DialectFault> {
    match name {
        "qserv" => Ok(Dialect::qserv()),
        "qserv-csv" => Ok(Dialect::qserv_csv()),
        "rfc4180" => Ok(Dialect::rfc4180()),
        _ => Err(DialectFault::UnknownPreset(name.to_owned())),
    }
}

/// Null strings come from text, so nothing is lost here.
fn text_of(null: &[u8]) -> String {
    String::from_utf8_lossy(null).into_owned()
}

fn parse_delimiter(text: &str) -> Result<u8, DialectFault> {
    match (text, one_character(text)) {
        ("tab" | r"\t", _) => Ok(b'\t'),
        (_, Some(byte)) => Ok(byte),
        _ => Err(DialectFault::BadOption {
            option: "delimiter",
            found: text.to_owned(),
            expected: "one ASCII character or tab",
        }),
    }
}

fn parse_or(
    option: &'static str,
    text: Option<&str>,
    base: Option<u8>,
) -> Result<Option<u8>, DialectFault> {
    let Some(text) = text else { return Ok(base) };
    match (text, one_character(text)) {
        ("none", _) => Ok(None),
        (r"\\", _) => Ok(Some(b'\\')),
        (_, Some(byte)) => Ok(Some(byte)),
        _ => Err(DialectFault::BadOption {
            option,
            found: text.to_owned(),
            expected: "one ASCII character or none",
        }),
    }
}

fn parse_line_terminator(text: &str) -> Result<LineTerminator, DialectFault> {
    match text {
        "lf" | r"\n" | "\n" => Ok(LineTerminator::Lf),
        "crlf" | r"\r\n" | "\r\n" => Ok(LineTerminator::CrLf),
        _ => Err(DialectFault::BadOption {
            option: "line-terminator",
            found: text.to_owned(),
            expected: "lf or crlf",
        }),
    }
}

fn one_character(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [byte] => Some(*byte),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Options as `key=value` words, applied to a preset.
    fn resolve(words: &[&str]) -> Result<Dialect, DialectFault> {
        let mut options = DialectOptions::default();
        for word in words {
            let (key, value) = word.split_once('=').unwrap();
            let value = value.to_owned();
            match key {
                "dialect" => options.dialect = Some(value),
                "delimiter" => options.delimiter = Some(value),
                "quote" => options.quote = Some(value),
                "escape" => options.escape = Some(value),
                "null" => options.null = Some(value),
                "line" => options.line_terminator = Some(value),
                "header" => options.header = Some(value == "yes"),
                _ => panic!("{key}"),
            }
        }
        options.resolve(&Dialect::qserv())
    }

    macro_rules! resolves_to {
        ($name:ident, $words:expr, $expected:expr) => {
            #[test]
            fn $name() {
                let (delimiter, quote, escape, null): (u8, Option<u8>, Option<u8>, &str) =
                    $expected;
                let expected = Dialect::custom(delimiter, quote, escape, Some(null)).unwrap();
                assert_eq!(resolve(&$words), Ok(expected));
            }
        };
    }

    macro_rules! refuses {
        ($name:ident, $words:expr, $message:expr) => {
            #[test]
            fn $name() {
                assert_eq!(resolve(&$words).unwrap_err().to_string(), $message);
            }
        };
    }

    const TAB: u8 = b'\t';
    resolves_to!(nothing_is_the_base, [], (TAB, None, Some(b'\\'), r"\N"));
    resolves_to!(preset, ["dialect=rfc4180"], (b',', Some(b'"'), None, ""));
    resolves_to!(
        preset_refined,
        ["dialect=rfc4180", "delimiter=tab"],
        (TAB, Some(b'"'), None, "")
    );
    resolves_to!(
        delimiter_as_c_escape,
        [r"delimiter=\t"],
        (TAB, None, Some(b'\\'), r"\N")
    );
    resolves_to!(
        escape_twice,
        [r"escape=\\"],
        (TAB, None, Some(b'\\'), r"\N")
    );
    resolves_to!(
        null_follows_escape,
        ["escape=%"],
        (TAB, None, Some(b'%'), "%N")
    );
    resolves_to!(
        null_without_escape,
        ["escape=none", "quote='"],
        (TAB, Some(b'\''), None, "NULL")
    );
    resolves_to!(
        null_given,
        ["escape=none", "null=-"],
        (TAB, None, None, "-")
    );
    resolves_to!(null_empty, ["null="], (TAB, None, Some(b'\\'), ""));
    resolves_to!(
        letters_without_escape,
        ["escape=none", "delimiter=n"],
        (b'n', None, None, "NULL")
    );

    refuses!(
        unknown_preset,
        ["dialect=csv"],
        r#"dialect is "csv", expected qserv, qserv-csv or rfc4180"#
    );
    refuses!(
        delimiter_none,
        ["delimiter=none"],
        r#"delimiter is "none", expected one ASCII character or tab"#
    );
    refuses!(
        delimiter_lf,
        ["delimiter=\n"],
        r"delimiter is '\n', but it must not be NUL, CR or LF"
    );
    refuses!(
        delimiter_not_ascii,
        ["delimiter=§"],
        r#"delimiter is "§", expected one ASCII character or tab"#
    );
    refuses!(
        quote_empty,
        ["quote="],
        r#"quote is "", expected one ASCII character or none"#
    );
    refuses!(
        escape_letter,
        ["quote=Z"],
        "quote is 'Z', but it has a meaning after the escape (one of 0bfnrtvNZ)"
    );
    refuses!(
        same_characters,
        [r"quote=\"],
        "quote and escape are the same character"
    );
    refuses!(
        delimiter_is_quote,
        ["delimiter=|", "quote=|"],
        "delimiter and quote are the same character"
    );
    refuses!(
        null_with_delimiter,
        ["null=a\tb"],
        r#"null string is "a\tb", but it must not hold CR, LF or the delimiter"#
    );
    refuses!(
        null_ends_in_escape,
        [r"null=a\"],
        r#"null string is "a\\", but it must not end in the middle of an escape sequence"#
    );
    refuses!(
        null_quoted,
        ["quote=\"", "null=\"\""],
        r#"null string is "\"\"", but it must not begin with the quote"#
    );
    refuses!(
        line_end,
        ["line=cr"],
        r#"line-terminator is "cr", expected lf or crlf"#
    );

    #[test]
    fn what_qserv_takes() {
        for words in [
            vec![],
            vec!["dialect=qserv-csv"],
            vec!["quote='", "null=NULL"],
        ] {
            assert!(resolve(&words).unwrap().is_loadable_by_qserv(), "{words:?}");
        }
        for words in [
            vec!["delimiter=|"],
            vec!["quote=|"],
            vec!["escape=%"],
            vec!["escape=none"],
            vec!["line=crlf"],
            vec!["header=yes"],
            vec!["null=NULL"],
            vec!["dialect=rfc4180"],
        ] {
            assert!(
                !resolve(&words).unwrap().is_loadable_by_qserv(),
                "{words:?}"
            );
        }
    }

    fn assert_is_kept(dialect: &Dialect) {
        let text = serde_json::to_string(dialect).unwrap();
        let kept: Dialect = serde_json::from_str(&text).unwrap();
        assert_eq!(kept, *dialect, "{text}");
    }

    #[test]
    fn a_record_keeps_a_dialect_as_text() {
        for words in [
            vec![],
            vec!["dialect=rfc4180", "header=yes", "line=crlf"],
            vec!["escape=%"],
        ] {
            let dialect = resolve(&words).unwrap();
            assert_is_kept(&dialect);
        }
        let sph = Dialect::sph(b'|', Some(b'\''), None, Some("''")).unwrap();
        assert_is_kept(&sph.with_header());
        assert_eq!(
            serde_json::to_string(&Dialect::qserv()).unwrap(),
            r#"{"delimiter":"\t","quote":"none","escape":"\\","null":"\\N","line_terminator":"lf","header":false}"#
        );
        assert!(serde_json::from_str::<Dialect>(r#"{"quote":"\t"}"#).is_err());
    }
}

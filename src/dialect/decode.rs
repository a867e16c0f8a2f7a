//! From a field's bytes to its value, with the meaning that MariaDB gives to escapes.
//!
//! | escape and | value |
//! |---|---|
//! | `0` `b` `n` `r` `t` `Z` | 00, 08, 0A, 0D, 09, 1A |
//! | `N` | NULL as the whole field, else the letter |
//! | any other byte | that byte |

use memchr::{memchr, memchr2};

use super::definition::{Dialect, FieldRules};
use super::fields::Field;
use super::scan::contains;

impl Dialect {
    /// Says whether a field is NULL (the rules stand in [`crate::dialect`]).
    pub fn is_null(&self, field: Field<'_>) -> bool {
        if self.is_sph() {
            return field.raw() == self.null();
        }
        let content = field.content();
        if !field.is_quoted() && content == self.null() {
            return true;
        }
        match (self.escape(), content) {
            (Some(escape), [first, b'N']) => *first == escape,
            (Some(escape), [_, _, _, _, ..]) => {
                self.quote().is_some() && !field.is_quoted() && is_word_null(content, escape)
            }
            _ => false,
        }
    }

    /// Appends a field's value to `out`; NULL is not told apart here.
    pub fn decode_into(&self, field: Field<'_>, out: &mut Vec<u8>) {
        let content = field.content();
        if field.has_tail() {
            self.decode_with_tail(content, out);
        } else if field.needs_decoding() {
            let quote = if field.is_quoted() {
                self.quote()
            } else {
                None
            };
            decode(content, self.escape(), quote, self.rules(), out);
        } else {
            out.extend_from_slice(content);
        }
    }

    /// Says whether a quoted field holds a quote that is neither doubled nor escaped.
    pub fn has_stray_quote(&self, field: Field<'_>) -> bool {
        let Some(quote) = self.quote().filter(|_| field.is_quoted()) else {
            return false;
        };
        let mut rest = field.content();
        while let [first, after @ ..] = rest {
            rest = match after {
                [_, after @ ..] if Some(*first) == self.escape() => after,
                [second, after @ ..] if *first == quote && *second == quote => after,
                _ if *first == quote => return true,
                _ => after,
            };
        }
        false
    }

    /// Returns a field's value: its own bytes where they are the value, else decoded in `scratch`.
    pub fn value<'a>(&self, field: Field<'a>, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let content = field.content();
        let has_escape = || {
            self.escape()
                .is_some_and(|escape| contains(content, escape))
        };
        if !field.needs_decoding() || (!field.is_quoted() && !field.has_tail() && !has_escape()) {
            return content;
        }
        scratch.clear();
        self.decode_into(field, scratch);
        scratch
    }

    /// Decodes `"quoted"tail`, which only a dialect without an escape has.
    fn decode_with_tail(&self, raw: &[u8], out: &mut Vec<u8>) {
        let Some((_, mut rest)) = raw.split_first() else {
            return;
        };
        while let Some(at) = self.quote().and_then(|quote| memchr(quote, rest)) {
            let Some((plain, from_quote)) = rest.split_at_checked(at) else {
                break;
            };
            out.extend_from_slice(plain);
            match from_quote {
                [quote, second, after @ ..] if quote == second => {
                    out.push(*quote);
                    rest = after;
                }
                [_, tail @ ..] => {
                    out.extend_from_slice(tail);
                    return;
                }
                [] => break,
            }
        }
        out.extend_from_slice(rest);
    }
}

fn decode(
    content: &[u8],
    escape: Option<u8>,
    quote: Option<u8>,
    rules: FieldRules,
    out: &mut Vec<u8>,
) {
    let mut rest = content;
    loop {
        let hit = match (escape, quote) {
            (Some(escape), Some(quote)) => memchr2(escape, quote, rest),
            (Some(byte), None) | (None, Some(byte)) => memchr(byte, rest),
            (None, None) => None,
        };
        let Some((plain, coded)) = hit.and_then(|at| rest.split_at_checked(at)) else {
            break;
        };
        out.extend_from_slice(plain);
        rest = match coded {
            [first, second, after @ ..] if Some(*first) == escape => {
                out.push(unescaped(*second, rules));
                after
            }
            [first, second, after @ ..] if first == second => {
                out.push(*first);
                after
            }
            // A quote that doesn't close, or an escape with nothing behind it, is data.
            [first, after @ ..] => {
                out.push(*first);
                after
            }
            [] => break,
        };
    }
    out.extend_from_slice(rest);
}

/// Returns what is meant by the escape and `letter`.
fn unescaped(letter: u8, rules: FieldRules) -> u8 {
    match letter {
        b'f' if rules == FieldRules::Sph => 0x0c,
        b'v' if rules == FieldRules::Sph => 0x0b,
        b'0' => 0,
        b'b' => 0x08,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'Z' => 0x1a,
        other => other,
    }
}

/// Says whether the decoded text is the word: MariaDB compares after it has decoded.
fn is_word_null(content: &[u8], escape: u8) -> bool {
    if content == b"NULL" {
        return true;
    }
    // Escaped or not, the last letter stands last; few texts get past this.
    if content.last() != Some(&b'L') || content.len() > 2 * b"NULL".len() {
        return false;
    }
    let mut value = Vec::with_capacity(content.len());
    decode(content, Some(escape), None, FieldRules::MariaDb, &mut value);
    value == b"NULL"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Fields, Records};

    /// Reads one record and returns its values, `None` for NULL.
    fn values(dialect: &Dialect, text: &str) -> Vec<Option<Vec<u8>>> {
        let mut fields = Fields::new();
        Records::new(dialect, text.as_bytes())
            .next(&mut fields)
            .unwrap();
        let value = |field| {
            let mut scratch = Vec::new();
            (!dialect.is_null(field)).then(|| dialect.value(field, &mut scratch).to_vec())
        };
        fields.iter(text.as_bytes()).map(value).collect()
    }

    macro_rules! means {
        ($name:ident, $dialect:expr, $text:expr, [$($value:expr),*]) => {
            #[test]
            fn $name() {
                let expected: Vec<Option<&[u8]>> = vec![$($value),*];
                let found = values(&$dialect, $text);
                assert_eq!(found.iter().map(|v| v.as_deref()).collect::<Vec<_>>(), expected);
            }
        };
    }

    fn custom(null: &str) -> Dialect {
        Dialect::custom(b',', Some(b'"'), Some(b'\\'), Some(null)).unwrap()
    }

    // As seen in LOAD DATA of MariaDB 10.11; the escaped word follows from its sql_load.cc, which
    // compares decoded bytes.
    means!(
        letters,
        Dialect::qserv(),
        r"\0\'\b\n\r\t\Z\\\,",
        [Some(b"\0'\x08\n\r\t\x1a\\,")]
    );
    means!(
        other_letters,
        Dialect::qserv(),
        r"\a\x\%\f",
        [Some(b"ax%f")]
    );
    means!(
        null_in_the_middle,
        Dialect::qserv(),
        r"a\Nb",
        [Some(b"aNb")]
    );
    means!(
        nulls,
        Dialect::qserv(),
        "\\N\tNULL\t\\\\N\t",
        [None, Some(b"NULL"), Some(br"\N"), Some(b"")]
    );
    means!(
        quoted_null,
        Dialect::qserv_csv(),
        r#""\N","\\N""#,
        [None, Some(br"\N")]
    );
    means!(
        word_null,
        Dialect::qserv_csv(),
        r#"NULL,"NULL",null"#,
        [None, Some(b"NULL"), Some(b"null")]
    );
    means!(
        escaped_word_null,
        Dialect::qserv_csv(),
        r"N\ULL,\N\U\L\L,\NULLL",
        [None, None, Some(b"NULLL")]
    );
    means!(
        doubled,
        Dialect::qserv_csv(),
        r#""a""b\"c",a""b,"a"b""#,
        [Some(b"a\"b\"c"), Some(b"a\"\"b"), Some(b"a\"b")]
    );

    means!(
        own_null,
        custom("-"),
        r#"-,"-",\N,--"#,
        [None, Some(b"-"), None, Some(b"--")]
    );
    means!(
        empty_null,
        custom(""),
        r#","",a"#,
        [None, Some(b""), Some(b"a")]
    );
    fn sph(escape: Option<u8>, null: &str) -> Dialect {
        Dialect::sph(b',', Some(b'"'), escape, Some(null)).unwrap()
    }

    means!(
        sph_letters,
        sph(Some(b'\\'), "NULL"),
        r#"\0\b\f\n\r\t\v\Z\q,\N,"\N",NULL,"NULL",N\ULL"#,
        [
            Some(b"\0\x08\x0c\n\r\t\x0b\x1aq"),
            Some(b"N"),
            Some(b"N"),
            None,
            Some(b"NULL"),
            Some(b"NULL")
        ]
    );
    means!(
        sph_stray_quote,
        sph(None, "-"),
        r#""a"b,""c",-,"-""#,
        [Some(b"a\"b,\"c"), None, Some(b"-")]
    );
    #[test]
    fn stray_quotes_are_not_doubled_or_escaped() {
        for (text, expected) in [
            (r#""a"b""#, true),
            (r#""a\"b""#, false),
            (r#""a""b""#, false),
            (r#""a\\"b""#, true),
            (r#"a"b"#, false),
            ("\"\"\"\"", false),
        ] {
            let dialect = sph(Some(b'\\'), "NULL");
            let mut fields = Fields::new();
            let mut records = Records::new(&dialect, text.as_bytes());
            records.next(&mut fields).unwrap();
            let field = fields.get(0, text.as_bytes()).unwrap();
            assert_eq!(dialect.has_stray_quote(field), expected, "{text}");
        }
    }

    means!(
        sph_null_in_quotes,
        sph(None, "\"\""),
        ",\"\",\"\"\"\"",
        [Some(b""), None, Some(b"\"")]
    );
    means!(
        rfc4180,
        Dialect::rfc4180(),
        r#","",NULL,\N,"a""b","a""b"c"d"#,
        [
            None,
            Some(b""),
            Some(b"NULL"),
            Some(br"\N"),
            Some(b"a\"b"),
            Some(b"a\"bc\"d")
        ]
    );
}

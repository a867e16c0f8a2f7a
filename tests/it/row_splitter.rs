//! A model of what Qserv's ingest server does to a text before MariaDB sees it.
//!
//! It ends a row at every LF that is not escaped; quotes mean nothing to it, and an escape takes
//! the meaning from another escape. It puts the number of the transaction in front of each row,
//! and gives up where a row is longer than 16 MiB.

use skyprep::dialect::Dialect;

const LONGEST_ROW: usize = 16 << 20;

/// Cuts a text into rows, each with its line end; the last one may lack it.
pub(crate) fn rows(text: &[u8], escape: u8) -> Vec<&[u8]> {
    let mut rows = Vec::new();
    let (mut start, mut is_escaped) = (0, false);
    for (at, byte) in text.iter().enumerate() {
        assert!(
            at - start < LONGEST_ROW,
            "row {} is too long",
            rows.len() + 1
        );
        if *byte == escape {
            is_escaped = !is_escaped;
        } else if *byte == b'\n' && !is_escaped {
            rows.push(&text[start..=at]);
            start = at + 1;
        } else {
            is_escaped = false;
        }
    }
    if start < text.len() {
        rows.push(&text[start..]);
    }
    rows
}

/// What the server hands to MariaDB.
pub(crate) fn contribution(text: &[u8], dialect: &Dialect, transaction: u32) -> Vec<u8> {
    let quote = dialect
        .quote()
        .map_or_else(String::new, |q| char::from(q).to_string());
    let front = format!(
        "{quote}{transaction}{quote}{}",
        char::from(dialect.delimiter())
    );
    let escape = dialect.escape().expect("Qserv wants an escape");
    let rows = rows(text, escape);
    let mut all = Vec::with_capacity(text.len() + rows.len() * front.len());
    for row in rows {
        all.extend_from_slice(front.as_bytes());
        all.extend_from_slice(row);
    }
    all
}

#[test]
fn quotes_do_not_keep_a_row_together_but_escapes_do() {
    let cut = |text: &'static [u8]| rows(text, b'\\');
    assert_eq!(cut(b"a\nb\n"), [b"a\n", b"b\n"]);
    assert_eq!(cut(b"\"a\nb\"\nc"), [&b"\"a\n"[..], b"b\"\n", b"c"]);
    assert_eq!(cut(b"a\\\nb\n"), [b"a\\\nb\n"]);
    assert_eq!(cut(b"a\\\\\nb\n"), [&b"a\\\\\n"[..], b"b\n"]);
    assert_eq!(cut(b"a\\\\\\\nb\n"), [b"a\\\\\\\nb\n"]);
    assert!(cut(b"").is_empty());
}

#[test]
fn each_row_gets_its_transaction() {
    let csv = contribution(b"a,b\nc,d\n", &Dialect::qserv_csv(), 7);
    assert_eq!(csv, b"\"7\",a,b\n\"7\",c,d\n");
    assert_eq!(contribution(b"a\n", &Dialect::qserv(), 7), b"7\ta\n");
}

//! Text in random dialects, of random values, in random spellings.
//!
//! The writer has whims: it quotes and escapes what need not be, spells NULL in each way that the
//! dialect knows, and ends lines as it likes. The slow tokenizer says what a spelling means, so a
//! spelling that means something else is thrown away and another one tried.

use skyprep::dialect::Dialect;

use super::naive_tokenizer::tokenize;
use super::routing::Random;

/// A value; `None` is NULL.
pub(crate) type Value = Option<Vec<u8>>;

/// Returns one of `choices`.
pub(crate) fn pick<T: Clone>(random: &mut Random, choices: &[T]) -> T {
    choices[random.below(choices.len() as u64) as usize].clone()
}

/// Returns whether something with odds of one to `count` happens.
pub(crate) fn one_in(random: &mut Random, count: u64) -> bool {
    random.below(count) == 0
}

/// Returns a dialect that can write every value, and numbers plainly.
pub(crate) fn random_dialect(random: &mut Random) -> Dialect {
    match random.below(6) {
        0 => return Dialect::qserv(),
        1 => return Dialect::qserv_csv(),
        2 => return Dialect::rfc4180(),
        _ => {}
    }
    loop {
        let delimiter = pick(random, b"\t,|;");
        let quote = pick(random, &[None, Some(b'"'), Some(b'\'')]);
        let escape = pick(random, &[None, Some(b'\\'), Some(b'^')]);
        let null = pick(
            random,
            &[None, Some("NULL"), Some(""), Some("-"), Some("n/a")],
        );
        let Ok(dialect) = Dialect::custom(delimiter, quote, escape, null) else {
            continue;
        };
        // Only quotes tell a NULL that is written as nothing from a text without characters.
        let can_write_all = quote.is_some() || (escape.is_some() && !dialect.null().is_empty());
        if can_write_all && dialect.refusal_by_numbers().is_none() {
            return dialect;
        }
    }
}

/// Returns the options that choose a dialect; `side` is `in-` for inputs.
pub(crate) fn options(dialect: &Dialect, side: &str) -> Vec<String> {
    let character = |byte: Option<u8>| match byte {
        Some(byte) => char::from(byte).to_string(),
        None => "none".to_owned(),
    };
    vec![
        format!("--{side}delimiter={}", char::from(dialect.delimiter())),
        format!("--{side}quote={}", character(dialect.quote())),
        format!("--{side}escape={}", character(dialect.escape())),
        format!("--{side}null={}", String::from_utf8_lossy(dialect.null())),
    ]
}

/// Returns a text, now and then empty or NULL, that has a meaning in some dialect or other.
pub(crate) fn random_value(random: &mut Random) -> Value {
    const PIECES: [&str; 30] = [
        "NULL",
        "null",
        "\\N",
        "N",
        "n",
        "t",
        "-",
        "\"",
        "\"\"",
        "'",
        ",",
        "|",
        ";",
        "\t",
        "\n",
        "\r",
        "\r\n",
        "\\",
        "\\\\",
        "^",
        "^N",
        "\u{e9}",
        "\u{65e5}\u{672c}",
        "\0",
        "\u{1a}",
        " ",
        "true",
        "nan",
        "n/a",
        "plain words",
    ];
    match random.below(8) {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some(random.below(1_000).to_string().into_bytes()),
        _ => {
            let count = 1 + random.below(3);
            let pieces: String = (0..count).map(|_| pick(random, &PIECES)).collect();
            Some(pieces.into_bytes())
        }
    }
}

/// Writes rows, each line ended in one of the ways that are read.
pub(crate) fn written(dialect: &Dialect, rows: &[Vec<Value>], random: &mut Random) -> Vec<Vec<u8>> {
    let ends: &[&[u8]] = match random.below(3) {
        0 => &[b"\n"],
        1 => &[b"\r\n"],
        _ => &[b"\n", b"\r\n", b"\r"],
    };
    let rows = rows.iter();
    rows.map(|row| {
        let mut line = Vec::new();
        for (number, value) in row.iter().enumerate() {
            if number > 0 {
                line.push(dialect.delimiter());
            }
            line.extend(spelling(dialect, value, random));
        }
        // A CR alone, before a record that begins with LF, would be a CRLF; no field begins so.
        line.extend_from_slice(pick(random, ends));
        line
    })
    .collect()
}

/// Returns some text that means `value`.
fn spelling(dialect: &Dialect, value: &Value, random: &mut Random) -> Vec<u8> {
    for _ in 0..1_000 {
        let raw = match value {
            None => null(dialect, random),
            Some(bytes) => spelt(dialect, bytes, random),
        };
        if meaning(dialect, &raw).as_ref() == Some(value) {
            return raw;
        }
    }
    panic!("no way to write {value:?} in {dialect:?}");
}

/// What a field means; nothing if it is no single field.
fn meaning(dialect: &Dialect, raw: &[u8]) -> Option<Value> {
    let line = [raw, &[dialect.delimiter()], b"end\n"].concat();
    let (mut records, fault) = tokenize(dialect, &line);
    let mut record = records
        .pop()
        .filter(|_| records.is_empty() && fault.is_none())?;
    let is_whole = record.fields.len() == 2 && record.fields[0].raw == raw;
    is_whole.then(|| record.fields.swap_remove(0).value)
}

fn null(dialect: &Dialect, random: &mut Random) -> Vec<u8> {
    match (dialect.escape(), random.below(4)) {
        (Some(escape), 0) => vec![escape, b'N'],
        (Some(_), 1) if dialect.quote().is_some() => b"NULL".to_vec(),
        _ => dialect.null().to_vec(),
    }
}

fn spelt(dialect: &Dialect, value: &[u8], random: &mut Random) -> Vec<u8> {
    let quote = dialect.quote().filter(|_| one_in(random, 2));
    let mut raw = Vec::new();
    raw.extend(quote);
    for byte in value {
        let is_special = [
            Some(*byte) == dialect.escape(),
            Some(*byte) == dialect.quote(),
        ]
        .contains(&true)
            || [dialect.delimiter(), b'\n', b'\r', 0, 0x1A].contains(byte);
        match dialect.escape() {
            // Quotes, too, protect most of them; what they don't protect is found out.
            Some(escape) if (is_special && random.below(4) > 0) || one_in(random, 20) => {
                let letter = match byte {
                    b'\n' => b'n',
                    b'\r' => b'r',
                    b'\t' => b't',
                    0 => b'0',
                    0x1A => b'Z',
                    other => *other,
                };
                raw.extend([escape, pick(random, &[letter, letter, *byte])]);
            }
            _ if quote == Some(*byte) => raw.extend([*byte, *byte]),
            _ => raw.push(*byte),
        }
    }
    raw.extend(quote);
    raw
}

//! Texts and bytes: what MariaDB holds after a load is what the file held, byte for byte.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, StringArray};
use encoding_rs::WINDOWS_1252;
use sha2::{Digest, Sha256};

use super::loading::{converted, dialects, parquet, refused, sanitized};
use super::mariadb::{Load, Table};
use skyprep::dialect::Dialect;

/// Bytes that mean something to some dialect, to MariaDB's escapes, or to other readers.
const SPECIAL: &[u8] = b"\\\n\r\t\0\x1a\"',NnZ0tb \x08\x80\xff%_";

/// All bytes, all pairs with the special ones, triples of the worst, and words.
fn values() -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    for special in SPECIAL {
        for byte in 0..=255u8 {
            values.push(vec![*special, byte]);
            values.push(vec![byte, *special]);
        }
    }
    let worst = b"\\\n\"',N\t0";
    for first in worst {
        for second in worst {
            values.extend(worst.iter().map(|third| vec![*first, *second, *third]));
        }
    }
    let words: [&[u8]; 16] = [
        b"",
        b"NULL",
        b"null",
        b"Null",
        b"\\N",
        b"\\\\N",
        b"\\NULL",
        b"\"\"",
        b"\"NULL\"",
        b"'NULL'",
        b"\"\\N\"",
        b"C:\\new\\",
        b"ends in \\\\",
        b"a\\\nb",
        b"\xef\xbb\xbfmark",
        b" blanks  ",
    ];
    values.extend(words.map(<[u8]>::to_vec));
    values
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXUPPER.encode(bytes)
}

/// Bytes as the text that MariaDB's latin1 takes them for.
fn as_text(bytes: &[u8]) -> String {
    WINDOWS_1252
        .decode_without_bom_handling(bytes)
        .0
        .into_owned()
}

fn binary(values: &[Vec<u8>]) -> ArrayRef {
    Arc::new(BinaryArray::from_iter_values(values))
}

fn text(values: &[Vec<u8>]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(
        values.iter().map(|v| as_text(v)),
    ))
}

#[test]
fn all_bytes_and_pairs_arrive_in_every_dialect_and_type() {
    let values = values();
    let columns = [
        ("first", "VARBINARY(30)"),
        ("c", "CHAR(20)"),
        ("v", "VARCHAR(20)"),
        ("t", "TEXT"),
        ("b", "BINARY(20)"),
        ("blob", "BLOB"),
        ("last", "VARBINARY(30)"),
    ];
    let table = Table::new(columns);
    let arrays = columns.map(|(name, kind)| {
        let is_text = matches!(kind, "CHAR(20)" | "VARCHAR(20)" | "TEXT");
        (
            name,
            if is_text {
                text(&values)
            } else {
                binary(&values)
            },
        )
    });
    let file = parquet(arrays);
    let expected: Vec<[String; 7]> = values
        .iter()
        .map(|value| {
            let blanks = value.iter().rev().take_while(|byte| **byte == b' ').count();
            let mut padded = value.clone();
            padded.resize(20, 0);
            let plain = hex(value);
            let trimmed = hex(&value[..value.len() - blanks]);
            let [a, b, c, d] = std::array::from_fn(|_| plain.clone());
            [a, trimmed, b, c, hex(&padded), d, plain]
        })
        .collect();
    let with_blanks = values
        .iter()
        .filter(|value| value.last() == Some(&b' '))
        .count();
    let mut before: Option<(&str, Vec<u8>)> = None;
    for (args, dialect) in dialects() {
        let (made, changes) = converted(&file, &table, args);
        assert_eq!(changes["c"]["trailing_blanks"], with_blanks, "{args}");
        assert_eq!(changes["b"]["zero_padded"], values.len(), "{args}");
        assert_eq!(changes.as_object().unwrap().len(), 2, "{args}: {changes}");
        let load = Load::new(&table, dialect, "latin1").reading("hex(?)");
        let rows = load.run(&made).unwrap().in_silence();
        for ((found, expected), value) in rows.iter().zip(&expected).zip(&values) {
            assert_eq!(found, expected, "{args}: {value:?}");
        }
        assert_eq!(rows.len(), expected.len());
        // Text in any dialect gives the same text in any other.
        if let Some((before, made_before)) = before {
            let args = format!("{args} {}", before.replace("--", "--in-"));
            let (again, counted) = sanitized(&made_before, &table, &args);
            assert!(again == made, "{args}");
            assert_eq!(counted, changes, "{args}");
        }
        before = Some((args, made));
    }
}

#[test]
fn nulls_are_not_the_words_for_them() {
    let table = Table::new([("a", "VARCHAR(9)"), ("b", "VARBINARY(9)"), ("c", "DOUBLE")]);
    let values = [
        None,
        Some("NULL"),
        Some("\\N"),
        Some(""),
        Some("null"),
        None,
    ];
    let bytes = values.map(|value| value.map(str::as_bytes));
    let numbers: arrow::array::Float64Array = [None, Some(1.0), None, Some(2.0), None, None]
        .into_iter()
        .collect();
    let file = parquet([
        ("a", Arc::new(StringArray::from_iter(values)) as ArrayRef),
        ("b", Arc::new(BinaryArray::from_iter(bytes))),
        ("c", Arc::new(numbers)),
    ]);
    for (args, dialect) in dialects() {
        let (made, changes) = converted(&file, &table, args);
        assert_eq!(changes, serde_json::json!({}), "{args}");
        let select = "a is null, hex(a), b is null, hex(b), c is null";
        let rows = Load::new(&table, dialect, "latin1").selecting(select);
        let rows = rows.run(&made).unwrap().in_silence();
        let number = ["1", "0", "1", "0", "1", "1"];
        for ((row, value), number) in rows.iter().zip(values).zip(number) {
            let expected = match value {
                None => ["1", "NULL", "1", "NULL", number].map(str::to_owned),
                Some(word) => {
                    let word = hex(word.as_bytes());
                    ["0".into(), word.clone(), "0".into(), word, number.into()]
                }
            };
            assert_eq!(*row, expected, "{args}");
        }
    }
}

#[test]
fn a_megabyte_arrives_and_what_is_too_long_is_refused() {
    let mut random = 0x2026_1121_u64;
    let noise: Vec<u8> = (0..1 << 20)
        .map(|_| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 56) as u8
        })
        .collect();
    let values = [
        vec![b'\\'; 1 << 20],
        vec![b'\n'; 1 << 20],
        noise,
        Vec::new(),
    ];
    let table = Table::new([("t", "LONGTEXT"), ("b", "LONGBLOB")]);
    let file = parquet([("t", text(&values)), ("b", binary(&values))]);
    let digests = values
        .each_ref()
        .map(|value| hex(&Sha256::digest(value)).to_lowercase());
    for (args, dialect) in dialects().into_iter().take(2) {
        let (made, changes) = converted(&file, &table, args);
        assert_eq!(changes, serde_json::json!({}));
        let load = Load::new(&table, dialect, "latin1").reading("sha2(?, 256)");
        let rows = load.run(&made).unwrap().in_silence();
        for (row, digest) in rows.iter().zip(&digests) {
            assert_eq!(*row, [digest.as_str(), digest], "{args}");
        }
    }

    // The longest that each type takes, and one more.
    for (kind, most) in [
        ("CHAR(255)", 255),
        ("VARCHAR(300)", 300),
        ("TINYTEXT", 255),
        ("TEXT", 65_535),
        ("BINARY(255)", 255),
        ("VARBINARY(300)", 300),
        ("TINYBLOB", 255),
        ("BLOB", 65_535),
        ("MEDIUMTEXT", 70_000),
    ] {
        let table = Table::new([("id", "INT"), ("a", kind)]);
        let of = |length: usize| {
            let ids: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![1, 2]));
            let values = [vec![b'x'], vec![b'\\'; length]];
            let is_text = kind.contains("CHAR") || kind.contains("TEXT");
            let array = if is_text {
                text(&values)
            } else {
                binary(&values)
            };
            parquet([("id", ids), ("a", array)])
        };
        let (made, _) = converted(&of(most), &table, "");
        let load = Load::new(&table, Dialect::qserv(), "latin1").selecting("length(a)");
        let rows = load.run(&made).unwrap().in_silence();
        assert_eq!(rows[1], [most.to_string()], "{kind}");
        if kind != "MEDIUMTEXT" {
            let said = ["row 2, column a", &format!("expected {most} at most")];
            refused("convert", &of(most + 1), &table, "", &said);
            let (cut, changes) = converted(&of(most + 1), &table, "--truncate cut");
            assert_eq!(cut, made, "{kind}");
            assert_eq!(changes["a"]["truncate"], 1, "{kind}");
        }
    }
}

#[test]
fn files_and_tables_may_differ_in_charset() {
    // Every character of latin1, the five that windows-1252 lacks included.
    let shared: Vec<Vec<u8>> = (1..=255).map(|byte| vec![b'a', byte, b'\\']).collect();
    let mut others: Vec<String> = [
        "λ",
        "天文台",
        "\u{1d11e}\u{10ffff}",
        "\u{feff}x",
        "e\u{301}",
    ]
    .map(str::to_owned)
    .to_vec();
    others.extend(
        (0..0x11_0000)
            .step_by(1009)
            .filter_map(char::from_u32)
            .map(String::from),
    );
    for (file_charset, table_charset) in [
        ("latin1", "latin1"),
        ("latin1", "utf8mb4"),
        ("utf8mb4", "latin1"),
        ("utf8mb4", "utf8mb4"),
    ] {
        let mut values: Vec<String> = shared.iter().map(|value| as_text(value)).collect();
        if (file_charset, table_charset) == ("utf8mb4", "utf8mb4") {
            values.extend(others.iter().cloned());
        }
        let columns = [("c", "CHAR(9)"), ("v", "VARCHAR(9)"), ("t", "TEXT")];
        let table = Table::new(columns).with_charset(table_charset);
        let array: ArrayRef = Arc::new(StringArray::from_iter_values(&values));
        let file = parquet(columns.map(|(name, _)| (name, Arc::clone(&array))));
        let args = format!("--charset {file_charset}");
        let (made, _) = converted(&file, &table, &args);
        let load = Load::new(&table, Dialect::qserv(), file_charset);
        let load = load.reading("hex(convert(? using utf8mb4))");
        for (row, value) in load.run(&made).unwrap().in_silence().iter().zip(&values) {
            let expected = hex(value.as_bytes());
            assert_eq!(
                row[1..],
                [&*expected, &*expected],
                "{file_charset} to {table_charset}"
            );
            let trimmed = hex(value.trim_end_matches(' ').as_bytes());
            assert_eq!(row[0], trimmed, "{file_charset} to {table_charset}");
        }
        // The same out of text in the other character set.
        let other = if file_charset == "latin1" {
            "utf8mb4"
        } else {
            "latin1"
        };
        if file_charset == "latin1" || table_charset == "latin1" {
            let (from, _) = converted(&file, &table, &format!("--charset {other}"));
            let args = format!("--charset {file_charset} --in-charset {other}");
            let (again, _) = sanitized(&from, &table, &args);
            assert!(again == made, "{args}");
        }
    }
    let table = Table::new([("v", "VARCHAR(9)")]);
    let file = parquet([(
        "v",
        Arc::new(StringArray::from(vec!["ok", "λ"])) as ArrayRef,
    )]);
    refused(
        "convert",
        &file,
        &table,
        "",
        &["row 2, column v", "'λ' is not in latin1"],
    );
}

#[test]
fn binary_values_go_through_functions_of_the_server() {
    let values: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte, b'\\', b'\n']).collect();
    let table = Table::new([("b", "VARBINARY(9)")]);
    let file = parquet([("b", binary(&values))]);
    for (form, function) in [("hex", "unhex"), ("b64", "from_base64")] {
        let (made, _) = converted(&file, &table, &format!("--binary {form}"));
        let mut load = Load::new(&table, Dialect::qserv(), "latin1").reading("hex(?)");
        load.columns = format!("(qserv_trans_id, @b) set b = {function}(@b)");
        for (row, value) in load.run(&made).unwrap().in_silence().iter().zip(&values) {
            assert_eq!(*row, [hex(value)], "{form}");
        }
    }
    for (args, dialect) in dialects() {
        let (made, _) = converted(&file, &table, &format!("--binary array {args}"));
        let texts = Table::new([("b", "TEXT")]);
        let select = "json_extract(b, '$[0]'), json_extract(b, '$[1]'), json_length(b)";
        let rows = Load::new(&texts, dialect, "latin1").selecting(select);
        for (byte, row) in rows.run(&made).unwrap().in_silence().iter().enumerate() {
            assert_eq!(*row, [&*byte.to_string(), "92", "3"], "{args}");
        }
    }
}

//! Text dialects against a naive reader, the csv crate, and the way Qserv's server cuts rows.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at the first surprise"
)]

use super::harness::shared;
use std::io::Read;

use proptest::prelude::*;
use skyprep::dialect::{
    BlockReader, Dialect, EncodeFault, FieldRules, Fields, LineTerminator, RecordCutter,
    RecordFaultKind, Records,
};

use crate::naive_tokenizer::{self, NaiveFault, NaiveField, NaiveRecord};

/// Reads one block with the library and shows it in the naive reader's terms.
fn tokenize(
    dialect: &Dialect,
    block: &[u8],
    first_line: u64,
) -> (Vec<NaiveRecord>, Option<NaiveFault>) {
    let mut records = Records::new(dialect, block).at_line(first_line);
    let (mut fields, mut scratch, mut found) = (Fields::new(), Vec::new(), Vec::new());
    loop {
        match records.next(&mut fields) {
            Ok(None) => return (found, None),
            Ok(Some(record)) => {
                assert_eq!(fields.count(), fields.located());
                let raw = &block[record.range()];
                let has_line_ends = raw.contains(&b'\n') || raw.contains(&b'\r');
                assert_eq!(record.has_inner_line_ends(), has_line_ends);
                let joined: Vec<&[u8]> = fields.iter(block).map(|field| field.raw()).collect();
                assert_eq!(
                    joined.join(&dialect.delimiter()),
                    raw,
                    "raw fields make the record"
                );
                let line = usize::try_from(record.line()).unwrap();
                let mut naive = NaiveRecord {
                    line,
                    fields: Vec::new(),
                };
                for field in fields.iter(block) {
                    let is_null = dialect.is_null(field);
                    let value = (!is_null).then(|| dialect.value(field, &mut scratch).to_vec());
                    if let Some(value) = &value {
                        let mut appended = Vec::new();
                        dialect.decode_into(field, &mut appended);
                        assert_eq!(value, &appended);
                    }
                    naive.fields.push(NaiveField {
                        raw: field.raw().to_vec(),
                        value,
                    });
                }
                found.push(naive);
            }
            Err(fault) => {
                let kind = match fault.kind {
                    RecordFaultKind::UnterminatedQuote => NaiveFault::UnterminatedQuote,
                    RecordFaultKind::EscapeAtEnd => NaiveFault::EscapeAtEnd,
                    other => panic!("{other:?}"),
                };
                assert_eq!(
                    records.next(&mut fields),
                    Ok(None),
                    "a fault ends the block"
                );
                return (found, Some(kind));
            }
        }
    }
}

/// Hands out a text in pieces of given sizes, as pipes and sockets do.
struct Pieces<'a> {
    text: &'a [u8],
    sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let size = self.sizes.next().copied().unwrap_or(1).min(buffer.len());
        self.text.read(&mut buffer[..size])
    }
}

/// Reads a text block by block; returns the blocks and all their records.
fn read_blocks(
    dialect: &Dialect,
    text: &[u8],
    block_bytes: usize,
    sizes: &[usize],
) -> (Vec<Vec<u8>>, Vec<NaiveRecord>, Option<NaiveFault>) {
    let pieces = Pieces {
        text,
        sizes: sizes.iter().cycle(),
    };
    let mut reader = BlockReader::new(pieces, dialect, block_bytes);
    let (mut blocks, mut records, mut fault) = (Vec::new(), Vec::new(), None);
    let (mut block, mut offset) = (Vec::new(), 0);
    while let Some(info) = reader.next_block(&mut block).unwrap() {
        assert!(fault.is_none(), "only the last block may be broken");
        assert_eq!(info.offset, offset);
        offset += block.len() as u64;
        let (found, flaw) = tokenize(dialect, &block, info.first_line);
        records.extend(found);
        fault = flaw;
        blocks.push(block.clone());
    }
    assert_eq!(offset, text.len() as u64);
    (blocks, records, fault)
}

fn any_dialect() -> impl Strategy<Value = Dialect> {
    let delimiter = prop::sample::select(b"\t,|;".to_vec());
    let quote = prop::sample::select(vec![None, Some(b'"'), Some(b'\'')]);
    let escape = prop::sample::select(vec![None, Some(b'\\'), Some(b'%')]);
    let null = prop::sample::select(vec![None, Some("NULL"), Some(""), Some("-"), Some("nix")]);
    let parts = (delimiter, quote, escape, null);
    let custom = parts.clone().prop_map(|(delimiter, quote, escape, null)| {
        Dialect::custom(delimiter, quote, escape, null).unwrap()
    });
    let sph = parts.prop_map(|(delimiter, quote, escape, null)| {
        Dialect::sph(delimiter, quote, escape, null).unwrap()
    });
    prop_oneof![
        Just(Dialect::qserv()),
        Just(Dialect::qserv_csv()),
        Just(Dialect::rfc4180()),
        custom,
        sph,
    ]
}

/// Pieces of text that matter in a dialect, and few others.
fn special_pieces(dialect: &Dialect) -> Vec<Vec<u8>> {
    let mut pieces: Vec<Vec<u8>> = [
        &b"\n"[..],
        b"\r",
        b"\r\n",
        b"a",
        b"N",
        b"NULL",
        b"n",
        b"v",
        b"\0",
    ]
    .iter()
    .map(|piece| piece.to_vec())
    .collect();
    let structure = [Some(dialect.delimiter()), dialect.quote(), dialect.escape()];
    for byte in structure.into_iter().flatten() {
        pieces.extend([vec![byte], vec![byte]]);
    }
    pieces.push(dialect.null().to_vec());
    pieces
}

fn dialect_and_text() -> impl Strategy<Value = (Dialect, Vec<u8>)> {
    any_dialect().prop_flat_map(|dialect| {
        let pieces = prop::collection::vec(prop::sample::select(special_pieces(&dialect)), 0..40);
        let text = prop_oneof![
            4 => pieces.prop_map(|pieces| pieces.concat()),
            1 => prop::collection::vec(any::<u8>(), 0..100),
        ];
        // A byte order mark belongs to the file, not to its first field.
        let text = text.prop_filter("BOM", |text| !text.starts_with(b"\xef\xbb\xbf"));
        (Just(dialect), text)
    })
}

type Row = Vec<Option<Vec<u8>>>;

fn dialect_and_rows() -> impl Strategy<Value = (Dialect, Vec<Row>)> {
    any_dialect().prop_flat_map(|dialect| {
        let pieces = prop::collection::vec(prop::sample::select(special_pieces(&dialect)), 0..4);
        let value = prop_oneof![
            4 => pieces.prop_map(|pieces| pieces.concat()),
            1 => prop::collection::vec(any::<u8>(), 0..20),
        ];
        let row = prop::collection::vec(prop::option::weighted(0.8, value), 1..5);
        (Just(dialect), prop::collection::vec(row, 0..5))
    })
}

/// Cuts rows as `csv::Parser::parse` of Qserv's ingest server does, which knows no quotes.
fn rows_as_the_server_cuts_them(text: &[u8]) -> Vec<Vec<u8>> {
    let (mut rows, mut row, mut is_escaped) = (Vec::new(), Vec::new(), false);
    for byte in text {
        row.push(*byte);
        if *byte == b'\\' {
            is_escaped = !is_escaped;
        } else if *byte == b'\n' && !is_escaped {
            rows.push(std::mem::take(&mut row));
        } else {
            is_escaped = false;
        }
    }
    rows.extend((!row.is_empty()).then_some(row));
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_are_those_of_the_naive_reader((dialect, text) in dialect_and_text()) {
        prop_assert_eq!(
            tokenize(&dialect, &text, 1),
            naive_tokenizer::tokenize(&dialect, &text)
        );
    }

    #[test]
    fn blocks_of_any_size_give_the_same_records(
        (dialect, text) in dialect_and_text(),
        block_bytes in 1_usize..60,
        sizes in prop::collection::vec(1_usize..9, 1..4),
    ) {
        let (blocks, records, fault) = read_blocks(&dialect, &text, block_bytes, &sizes);
        prop_assert_eq!((records, fault), naive_tokenizer::tokenize(&dialect, &text));
        let (same_blocks, _, _) = read_blocks(&dialect, &text, block_bytes, &[usize::MAX]);
        prop_assert_eq!(blocks, same_blocks, "read sizes must not matter");
    }

    #[test]
    fn a_cut_is_the_last_that_can_be_known((dialect, text) in dialect_and_text()) {
        let cut = RecordCutter::new(&dialect).last_record_end(&text);
        let (whole, _) = naive_tokenizer::tokenize(&dialect, &text);
        if let Some(end) = cut {
            // Whatever follows, the records before the cut stay what they are.
            let (head, fault) = naive_tokenizer::tokenize(&dialect, &text[..end]);
            prop_assert_eq!(fault, None);
            prop_assert_eq!(&head[..], &whole[..head.len()]);
            prop_assert!(!(text[end - 1] == b'\r' && text.get(end).is_none_or(|b| *b == b'\n')));
        } else {
            prop_assert!(whole.len() <= 1 || !text.contains(&b'\n') || whole.len() == 2);
        }
    }

    #[test]
    fn the_first_fields_are_located_and_the_others_counted(
        (dialect, text) in dialect_and_text(),
        wanted in 0_usize..5,
    ) {
        let mut all = Records::new(&dialect, &text);
        let mut some = Records::new(&dialect, &text).locating(wanted);
        let (mut all_fields, mut some_fields) = (Fields::new(), Fields::new());
        loop {
            let record = all.next(&mut all_fields);
            prop_assert_eq!(&record, &some.next(&mut some_fields));
            let Ok(Some(_)) = record else { break };
            prop_assert_eq!(some_fields.count(), all_fields.count());
            prop_assert_eq!(some_fields.located(), all_fields.count().min(wanted));
            for (field, same) in some_fields.iter(&text).zip(all_fields.iter(&text)) {
                prop_assert_eq!(field, same);
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back(
        (dialect, rows) in dialect_and_rows(),
        line_terminator in prop::sample::select(vec![LineTerminator::Lf, LineTerminator::CrLf]),
    ) {
        let dialect = dialect.with_line_terminator(line_terminator);
        let encoder = dialect.encoder();
        let (mut text, mut written) = (Vec::new(), Vec::new());
        for row in &rows {
            let mut kept = Vec::new();
            for value in row {
                let field_start = text.len();
                if !kept.is_empty() {
                    encoder.delimit(&mut text);
                }
                match value.as_ref().map(|value| encoder.encode_into(value, &mut text)) {
                    None => encoder.encode_null(&mut text),
                    Some(Ok(())) => {}
                    Some(Err(EncodeFault::LineEnd(_))) if dialect.rules() == FieldRules::Sph => {
                        prop_assert_eq!(dialect.escape(), None);
                        text.truncate(field_start);
                        continue;
                    }
                    Some(Err(fault)) => {
                        prop_assert_eq!(dialect.quote(), None);
                        let is_structural = matches!(fault, EncodeFault::Structural(_));
                        prop_assert!(!is_structural || dialect.escape().is_none());
                        text.truncate(field_start);
                        continue;
                    }
                }
                if dialect.escape().is_some() {
                    prop_assert!(!text[field_start..].contains(&b'\n'));
                }
                kept.push(value.clone());
            }
            if !kept.is_empty() {
                encoder.end_record(&mut text);
                written.push(kept);
            }
        }

        let (records, fault) = tokenize(&dialect, &text, 1);
        prop_assert_eq!(fault, None);
        let read: Vec<Row> = records
            .into_iter()
            .map(|record| record.fields.into_iter().map(|field| field.value).collect())
            .collect();
        prop_assert_eq!(&read, &written);
        if dialect.is_loadable_by_qserv() {
            prop_assert_eq!(rows_as_the_server_cuts_them(&text).len(), written.len());
        }
    }

    #[test]
    fn rfc4180_is_read_as_the_csv_crate_reads_it(
        pieces in prop::collection::vec(prop::sample::select(special_pieces(&Dialect::rfc4180())), 0..40),
    ) {
        let text = pieces.concat();
        let (records, fault) = tokenize(&Dialect::rfc4180(), &text, 1);
        // The csv crate closes an open quote at the end of the input without a word.
        if fault.is_none() {
            prop_assert_eq!(values_of(&records), values_by_csv_crate(&text));
        }
    }
}

/// The values of all records but empty lines, which the csv crate passes over.
fn values_of(records: &[NaiveRecord]) -> Vec<Vec<Vec<u8>>> {
    records
        .iter()
        .filter(|record| !matches!(&record.fields[..], [only] if only.raw.is_empty()))
        .map(|record| {
            record
                .fields
                .iter()
                .map(|field| field.value.clone().unwrap_or_default())
                .collect()
        })
        .collect()
}

fn values_by_csv_crate(text: &[u8]) -> Vec<Vec<Vec<u8>>> {
    csv::ReaderBuilder::new()
        .flexible(true)
        .has_headers(false)
        .from_reader(text)
        .into_byte_records()
        .map(|record| record.unwrap().iter().map(<[u8]>::to_vec).collect())
        .collect()
}

#[test]
fn csv_spectrum_is_read_as_its_json_says() {
    let Some(shared) = shared("csv-spectrum is not read") else {
        return;
    };
    let corpus = shared.join("corpora/csv-spectrum");
    let mut files = 0;
    for entry in std::fs::read_dir(corpus.join("csvs")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read(&path).unwrap();
        let (records, fault) = tokenize(&Dialect::rfc4180(), &text, 1);
        assert_eq!(fault, None, "{path:?}");
        let mut rows = values_of(&records).into_iter().map(|row| {
            row.into_iter()
                .map(|value| String::from_utf8(value).unwrap())
                .collect::<Vec<_>>()
        });

        let names = rows.next().unwrap();
        let found: Vec<serde_json::Value> = rows
            .map(|row| names.iter().cloned().zip(row).collect())
            .collect();
        let json = corpus
            .join("json")
            .join(path.file_stem().unwrap())
            .with_extension("json");
        let expected: Vec<serde_json::Value> =
            serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
        assert_eq!(found, expected, "{path:?}");
        files += 1;
    }
    assert_eq!(
        files, 11,
        "the corpus has files that this test doesn't know"
    );
}

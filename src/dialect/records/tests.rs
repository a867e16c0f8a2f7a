//! Records and fields, case by case; the property tests are in `tests/it/dialect.rs`.

use proptest::prelude::*;

use super::super::fields::Field;
use super::*;

/// Shows each record as its raw fields in brackets, quoted ones with a `q` before them.
fn show(dialect: &Dialect, text: &str) -> String {
    let (mut records, mut fields) = (Records::new(dialect, text.as_bytes()), Fields::new());
    let mut shown = String::new();
    loop {
        match records.next(&mut fields) {
            Ok(None) => return shown,
            Ok(Some(record)) => {
                shown += &record.line().to_string();
                for field in fields.iter(text.as_bytes()) {
                    let mark = if field.is_quoted() { "q" } else { "" };
                    shown += &format!("{mark}[{}]", String::from_utf8_lossy(field.raw()));
                }
                shown += if record.has_inner_line_ends() {
                    "+;"
                } else {
                    ";"
                };
            }
            Err(fault) => shown += &format!("{:?}@{};", fault.kind, fault.offset),
        }
    }
}

macro_rules! reads_as {
    ($name:ident, $dialect:ident, $text:expr, $expected:expr) => {
        #[test]
        fn $name() {
            assert_eq!(show(&Dialect::$dialect(), $text), $expected);
        }
    };
}

reads_as!(nothing, qserv, "", "");
reads_as!(one_record, qserv, "a\tb\n", "1[a][b];");
reads_as!(last_line_end_may_lack, qserv, "a\nb", "1[a];2[b];");
reads_as!(blank_lines_are_records, qserv, "\n\r\n\r", "1[];2[];3[];");
reads_as!(any_line_end, qserv, "a\r\nb\rc\nd", "1[a];2[b];3[c];4[d];");
reads_as!(delimiter_at_the_end, qserv, "a\t\n\t", "1[a][];2[][];");
reads_as!(
    escaped_delimiter,
    qserv,
    "a\\\tb\tc\\\\\td",
    "1[a\\\tb][c\\\\][d];"
);
reads_as!(
    escaped_line_ends,
    qserv,
    "a\\\nb\\\rc\nd",
    "1[a\\\nb\\\rc]+;4[d];"
);
reads_as!(escaped_cr_then_lf, qserv, "a\\\r\nb", "1[a\\\r]+;2[b];");
reads_as!(escape_at_end, qserv, "a\nb\\", "1[a];EscapeAtEnd@3;");
reads_as!(
    quotes_are_data_without_quoting,
    qserv,
    "\"a\tb\"\n",
    "1[\"a][b\"];"
);

reads_as!(quoted, qserv_csv, "\"a,b\",c\n", "1q[\"a,b\"][c];");
reads_as!(
    quoted_line_end,
    qserv_csv,
    "\"a\nb\r\nc\",d\ne",
    "1q[\"a\nb\r\nc\"][d]+;4[e];"
);
reads_as!(
    doubled_quote,
    qserv_csv,
    "\"a\"\",b\"\n",
    "1q[\"a\"\",b\"];"
);
reads_as!(
    escaped_quote,
    qserv_csv,
    "\"a\\\",b\"\n",
    "1q[\"a\\\",b\"];"
);
reads_as!(
    quote_inside_stays,
    qserv_csv,
    "\"a\"b,c\",d\n",
    "1q[\"a\"b,c\"][d];"
);
reads_as!(
    quote_after_data_is_data,
    qserv_csv,
    "a\"b,\"\",c\n",
    "1[a\"b]q[\"\"][c];"
);
reads_as!(
    escaped_quote_opens_nothing,
    qserv_csv,
    "\\\"a,b\n",
    "1[\\\"a][b];"
);
reads_as!(
    quote_closes_at_any_line_end,
    qserv_csv,
    "\"a\"\r\"b\"\r\n\"c\"",
    "1q[\"a\"];2q[\"b\"];3q[\"c\"];"
);
reads_as!(
    quote_never_closes,
    qserv_csv,
    "a\nb,\"c\n",
    "1[a];UnterminatedQuote@4;"
);
reads_as!(
    quote_and_escape_at_end,
    qserv_csv,
    "\"c\\",
    "UnterminatedQuote@0;"
);
reads_as!(
    unquoted_escape_at_end,
    qserv_csv,
    "\"c\",\\",
    "EscapeAtEnd@4;"
);

reads_as!(rfc4180_tail, rfc4180, "\"a,\"b\"c,d\n", "1[\"a,\"b\"c][d];");
reads_as!(
    rfc4180_backslash_is_data,
    rfc4180,
    "\"a\\\",b\\\nc",
    "1q[\"a\\\"][b\\];2[c];"
);

#[test]
fn a_long_record_is_refused_and_passed_over() {
    let text = b"12345\t\n1\t2\t3\n\"123456\n";
    let dialect = Dialect::custom(b'\t', Some(b'"'), Some(b'\\'), None).unwrap();
    let (mut records, mut fields) = (Records::new(&dialect, text).with_limit(5), Fields::new());
    let kind = RecordFaultKind::TooLong { limit: 5 };
    assert_eq!(
        records.next(&mut fields),
        Err(RecordFault {
            kind,
            offset: 0,
            line: 1
        })
    );
    assert_eq!(records.next(&mut fields).unwrap().unwrap().range(), 7..12);
    assert_eq!(fields.count(), 3);
    assert!(records.next(&mut fields).is_err());
    assert_eq!(records.next(&mut fields), Ok(None));
}

#[test]
fn fields_that_are_not_wanted_are_counted() {
    for text in [
        "a\tb\tc\td\n",
        "a\tb\\\tb\tc\\\\\td\n",
        "a\tb\t\\\tc\t\\N\n",
    ] {
        for wanted in 0..6 {
            let dialect = Dialect::qserv();
            let mut records = Records::new(&dialect, text.as_bytes()).locating(wanted);
            let mut fields = Fields::new();
            records.next(&mut fields).unwrap();
            assert_eq!(
                (fields.located(), fields.count()),
                (wanted.min(4), 4),
                "{text}"
            );
        }
    }
}

/// What is known of each record: line, range, fields with what they need, and how many there are.
type Known = Vec<Result<(Record, Vec<(Vec<u8>, bool, bool, bool)>, usize), RecordFault>>;

/// Reads a block. `apart` says to leave the quick way out.
fn known(dialect: &Dialect, block: &[u8], wanted: Option<usize>, apart: bool) -> Known {
    let mut records = Records::new(dialect, block).with_limit(400);
    if let Some(wanted) = wanted {
        records = records.locating(wanted);
    }
    records.is_never_plain = apart;
    let mut fields = Fields::new();
    let mut all = Vec::new();
    loop {
        match records.next(&mut fields) {
            Ok(None) => return all,
            Ok(Some(record)) => {
                let of_field = |field: Field<'_>| {
                    let raw = field.raw().to_vec();
                    (
                        raw,
                        field.is_quoted(),
                        field.needs_decoding(),
                        field.has_tail(),
                    )
                };
                let shown = fields.iter(block).map(of_field).collect();
                all.push(Ok((record, shown, fields.count())));
            }
            Err(fault) => all.push(Err(fault)),
        }
    }
}

fn any_block() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => "[0-9a-z.-]{1,12}",
        4 => Just("\t".to_owned()),
        3 => Just(",".to_owned()),
        2 => Just("\\N".to_owned()),
        1 => Just("\\".to_owned()),
        1 => Just("\"".to_owned()),
        1 => Just("\r".to_owned()),
        3 => Just("\n".to_owned()),
        1 => "[a-z,]{60,140}",
    ];
    let pieces = prop::collection::vec(piece, 0..120);
    pieces.prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn plain_records_are_read_as_all_others(
        block in any_block(),
        dialect in prop::sample::select(vec![
            Dialect::qserv(),
            Dialect::qserv_csv(),
            Dialect::rfc4180(),
            Dialect::custom(b',', None, Some(b'\\'), None).unwrap(),
            Dialect::sph(b',', Some(b'"'), Some(b'\\'), None).unwrap(),
            Dialect::sph(b'\t', None, None, None).unwrap(),
        ]),
        wanted in prop::option::of(0usize..8),
    ) {
        let quick = known(&dialect, &block, wanted, false);
        prop_assert_eq!(quick, known(&dialect, &block, wanted, true));
    }
}

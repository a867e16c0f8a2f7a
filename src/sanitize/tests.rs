//! Looks and copies of whole stretches against plans that send each field through the rules.

#![allow(
    clippy::indexing_slicing,
    reason = "a test may stop at the first surprise"
)]

use proptest::prelude::*;

use super::{TextFault, TextPlan};
use crate::convert::RowTarget;
use crate::dialect::Dialect;
use crate::error::Place;
use crate::exchange::{Packet, PacketShape};
use crate::partition::{PieceOrigin, RowUnit};
use crate::resources::MemoryGate;
use crate::schema::{ColumnContent, MysqlType, OutputColumn};
use crate::values::{
    BoolPolicy, Charset, FloatWidth, InfPolicy, Inference, InvalidTextPolicy, NanPolicy,
    OverflowPolicy, RuleCounts, TruncatePolicy, ValuePolicy,
};

const TYPES: [&str; 22] = [
    "",
    "TINYINT",
    "TINYINT UNSIGNED",
    "SMALLINT",
    "MEDIUMINT UNSIGNED",
    "INT",
    "BIGINT",
    "BIGINT UNSIGNED",
    "FLOAT",
    "DOUBLE",
    "DECIMAL(5,2)",
    "DECIMAL(3,3)",
    "CHAR(4)",
    "VARCHAR(5)",
    "TEXT",
    "BINARY(3)",
    "BLOB",
    "BIT(8)",
    "DATE",
    "DATETIME(3)",
    "JSON",
    "ENUM('a')",
];

/// What fields are made of: numbers at every border, words with a meaning, structure.
const PIECES: [&[u8]; 66] = [
    b"0",
    b"1",
    b"9",
    b"00",
    b"-",
    b"-",
    b"+",
    b".",
    b".",
    b"e",
    b"E",
    b"e-7",
    b"e+09",
    b"e39",
    b"99",
    b"127",
    b"128",
    b"255",
    b"999",
    b"32767",
    b"8388607",
    b"16777215",
    b"99999",
    b"2147483647",
    b"999999999",
    b"9223372036854775807",
    b"18446744073709551615",
    b"123456789012345678901234",
    b"0.5",
    b"12.34",
    b"-0.0",
    b"3.4028235e38",
    b"1e400",
    b"true",
    b"True",
    b"TRUE",
    b"false",
    b"FALSE",
    b"t",
    b"F",
    b"nan",
    b"NaN",
    b"nan(1)",
    b"inf",
    b"-inf",
    b"Infinity",
    b"1.#INF",
    b"NULL",
    b"null",
    b"\\N",
    b"n/a",
    b"-9999",
    b"star",
    b"M31",
    b" ",
    b"\t",
    b",",
    b"\"",
    b"\"",
    b"\\",
    b"\n",
    "é".as_bytes(),
    "天".as_bytes(),
    b"\xe9",
    b"2026-11-21",
    b"#",
];

fn any_field() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(PIECES.to_vec());
    let quoted = |bytes: Vec<u8>| [b"\"", bytes.as_slice(), b"\""].concat();
    let pieces = |most: usize| {
        prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..=most)
            .prop_map(|pieces| pieces.concat())
    };
    prop_oneof![
        4 => piece.prop_map(<[u8]>::to_vec),
        2 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        2 => any::<i16>().prop_map(|number| number.to_string().into_bytes()),
        2 => any::<f64>().prop_map(|number| number.to_string().into_bytes()),
        2 => (-1e6..1e6).prop_map(|number: f64| number.to_string().into_bytes()),
        2 => any::<f32>().prop_map(|number| format!("{number:e}").into_bytes()),
        3 => pieces(3),
        1 => pieces(2).prop_map(quoted),
        2 => "[a-z ]{0,6}".prop_map(String::into_bytes),
    ]
}

fn any_dialect() -> impl Strategy<Value = Dialect> {
    let custom = |delimiter, quote, escape, null| {
        Dialect::custom(delimiter, quote, escape, Some(null)).unwrap()
    };
    prop::sample::select(vec![
        Dialect::qserv(),
        Dialect::qserv_csv(),
        Dialect::rfc4180(),
        custom(b',', Some(b'"'), None, "-9999"),
        custom(b',', Some(b'"'), Some(b'\\'), "true"),
        custom(b'\t', None, None, "NULL"),
        custom(b',', None, Some(b'%'), "n/a"),
        custom(b'.', Some(b'-'), None, "NULL"),
        custom(b',', Some(b'5'), None, ""),
        Dialect::sph(b',', Some(b'"'), Some(b'\\'), None).unwrap(),
        Dialect::sph(b',', Some(b'"'), None, Some("-9999")).unwrap(),
        Dialect::sph(b'\t', None, None, None).unwrap(),
    ])
}

fn any_charset() -> impl Strategy<Value = Charset> {
    prop::sample::select(vec![Charset::Latin1, Charset::Utf8mb4, Charset::Binary])
}

fn any_policy() -> impl Strategy<Value = ValuePolicy> {
    let nulls = prop::sample::subsequence(vec!["", "NULL", "n/a", "-9999", "0", "T", "nan"], 0..=3);
    let invalid = prop::sample::select(vec![
        InvalidTextPolicy::Error,
        InvalidTextPolicy::Replace,
        InvalidTextPolicy::Keep,
    ]);
    (nulls, any_charset(), invalid, any::<[bool; 5]>()).prop_map(
        |(nulls, charset, invalid_text, [keeps, clamps, cuts, zeroes, limits])| ValuePolicy {
            bool: if keeps {
                BoolPolicy::Keep
            } else {
                BoolPolicy::Number
            },
            inf: if limits {
                InfPolicy::Limit
            } else {
                InfPolicy::Null
            },
            nan: if zeroes {
                NanPolicy::Zero
            } else {
                NanPolicy::Null
            },
            overflow: if clamps {
                OverflowPolicy::Clamp
            } else {
                OverflowPolicy::Error
            },
            truncate: if cuts {
                TruncatePolicy::Cut
            } else {
                TruncatePolicy::Error
            },
            charset,
            invalid_text,
            null_text: nulls.into_iter().map(str::to_owned).collect(),
            ..ValuePolicy::default()
        },
    )
}

/// A target and an input for it.
#[derive(Debug)]
struct Case {
    target: RowTarget,
    input: Dialect,
    charset: Charset,
    columns: Vec<OutputColumn>,
    block: Vec<u8>,
}

/// Any types.
fn any_case() -> impl Strategy<Value = Case> {
    let types = prop::collection::vec((prop::sample::select(TYPES.to_vec()), any::<bool>()), 1..6);
    let inference = prop::sample::select(vec![
        Inference::Off,
        Inference::ByLook,
        Inference::Assume(FloatWidth::Double),
    ]);
    case_of(types, inference)
}

/// Fields of no known type, as many as make long rows.
fn untyped_case() -> impl Strategy<Value = Case> {
    let types = prop::collection::vec(Just(("", false)), 1..40);
    case_of(types, Just(Inference::Off))
}

fn case_of(
    types: impl Strategy<Value = Vec<(&'static str, bool)>>,
    inference: impl Strategy<Value = Inference>,
) -> impl Strategy<Value = Case> {
    let dialects = prop_oneof![
        any_dialect().prop_map(|dialect| (dialect.clone(), dialect)),
        (any_dialect(), any_dialect()),
    ];
    let charset = any_charset();
    (types, dialects, charset, any_policy(), inference).prop_flat_map(
        |(types, (input, output), charset, policy, inference)| {
            let columns: Vec<OutputColumn> = types
                .iter()
                .enumerate()
                .map(|(number, (name, is_not_null))| OutputColumn {
                    name: format!("c{number}"),
                    target: MysqlType::parse(name),
                    is_not_null: *is_not_null,
                    content: ColumnContent::Input,
                })
                .collect();
            let row = prop::collection::vec(any_field(), columns.len());
            prop::collection::vec(row, 1..6).prop_map(move |rows| {
                let mut target = RowTarget::new("t", output.clone());
                target.policy = policy.clone();
                target.inference = inference;
                let mut block = Vec::new();
                for row in rows {
                    block.extend(row.join(&input.delimiter()));
                    block.push(b'\n');
                }
                Case {
                    target,
                    input: input.clone(),
                    charset,
                    columns: columns.clone(),
                    block,
                }
            })
        },
    )
}

fn plan(case: &Case, columns: &[OutputColumn]) -> TextPlan {
    let names: Vec<String> = case.columns.iter().map(|c| c.name.clone()).collect();
    let charset = Some(case.charset);
    TextPlan::compile(&case.target, columns, &case.input, charset, &names).unwrap()
}

/// Writes all rows; returns the text, what was counted, and what was refused.
fn written(plan: &TextPlan, block: &[u8]) -> (Vec<u8>, RuleCounts, Vec<String>) {
    let shape = PacketShape {
        text_bytes: 1 << 16,
        rows: 100,
        slots: 0,
        is_routed: false,
        has_sides: false,
        has_keys: false,
    };
    let lease = MemoryGate::new(1 << 24)
        .try_lease(shape.bytes(), 0)
        .unwrap();
    let (mut packet, mut counts) = (Packet::new(shape, lease), RuleCounts::default());
    let origin = PieceOrigin {
        piece: 0,
        input: 0,
        offset: 0,
        file: "text",
        before: 0,
        unit: RowUnit::Line,
    };
    let mut rows = plan.rows(block, 1, origin).unwrap();
    let mut refused = Vec::new();
    loop {
        match rows.write_next(&mut packet, &mut counts) {
            Ok(true) => {}
            Ok(false) => break,
            Err(fault @ TextFault::Record(_)) => {
                refused.push(format!("{fault:?}"));
                break;
            }
            Err(fault) => {
                let row = fault.into_bad_row(Place::default()).unwrap();
                refused.push(row.to_error().to_string());
            }
        }
    }
    (packet.text().to_vec(), counts, refused)
}

fn assert_same(case: &Case, columns: &[OutputColumn]) -> Result<(), TestCaseError> {
    let (text, counts, refused) = written(&plan(case, columns), &case.block);
    let slow = plan(case, columns).without_looks();
    let (slow_text, slow_counts, slow_refused) = written(&slow, &case.block);
    let shown = |text: &[u8]| text.escape_ascii().to_string();
    prop_assert_eq!(shown(&text), shown(&slow_text));
    prop_assert_eq!(refused, slow_refused);
    let names: Vec<String> = columns.iter().map(|c| c.name.clone()).collect();
    prop_assert_eq!(counts.named(&names), slow_counts.named(&names));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn looks_change_nothing(case in any_case()) {
        assert_same(&case, &case.columns)?;
    }

    #[test]
    fn exchanged_delimiters_change_nothing_else(case in untyped_case()) {
        assert_same(&case, &case.columns)?;
    }

    #[test]
    fn order_and_choice_of_columns_change_nothing(case in any_case(), turn in 0usize..5) {
        let mut columns = case.columns.clone();
        columns.reverse();
        let turn = turn % columns.len();
        columns.rotate_left(turn);
        columns.truncate(3);
        assert_same(&case, &columns)?;
    }
}

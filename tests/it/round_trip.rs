//! Whole tables, through Parquet, `convert`, Qserv's row splitter and MariaDB, and back.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float32Array, Float64Array,
    Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use chrono::DateTime;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};

use super::loading::{Bits, converted, dialects, parquet_with};
use super::mariadb::{Load, Table};
use super::random_columns::{Column, Expected, random_column};
use skyprep::dialect::Dialect;

const ROWS: usize = 40_000;

/// Texts as catalogues have them, and as they should not.
const NAMES: &[&str] = &[
    "plain",
    "star",
    "galaxy M31",
    "a,b",
    "say \"hi\"",
    "tab\there",
    "back\\slash",
    "line1\nline2",
    "naïve é",
    "天文台",
    "x",
    "",
    "O'Brien",
    "cr\rhere",
    "end\\",
    "\\N",
    "NULL",
];

/// A column of doubles or singles: fluxes, some of them NULL, NaN or infinite.
fn fluxes(bits: &mut Bits) -> Vec<Option<f64>> {
    let flux = |bits: &mut Bits| {
        let (sign, size) = (
            if bits.below(100) < 8 { -1.0 } else { 1.0 },
            bits.unit() * 12.0,
        );
        match bits.below(2_000) {
            0..60 => None,
            60..68 => Some(f64::NAN),
            68 => Some(f64::INFINITY),
            69 => Some(f64::NEG_INFINITY),
            _ => Some(sign * size.exp()),
        }
    };
    (0..ROWS).map(|_| flux(bits)).collect()
}

fn object_columns(bits: &mut Bits) -> Vec<(String, &'static str, ArrayRef, Vec<Expected>)> {
    let mut columns: Vec<(String, &'static str, ArrayRef, Vec<Expected>)> = Vec::new();
    let ids: Vec<i64> = (0..ROWS as i64)
        .map(|row| 1_248_360_588_202_483_712 + row * 7919)
        .collect();
    let expected = ids.iter().map(Expected::text).collect();
    columns.push((
        "objectId".into(),
        "BIGINT NOT NULL",
        Arc::new(Int64Array::from(ids)),
        expected,
    ));
    for (name, span, least) in [("coord_ra", 360.0, 0.0), ("coord_dec", 180.0, -90.0)] {
        let values: Vec<f64> = (0..ROWS).map(|_| bits.unit() * span + least).collect();
        let expected = values
            .iter()
            .map(|value| Expected::Double(*value))
            .collect();
        let array = Arc::new(Float64Array::from(values));
        columns.push((name.into(), "DOUBLE NOT NULL", array, expected));
    }
    for number in 0..35 {
        let values = fluxes(bits);
        let expected = values
            .iter()
            .map(|value| Expected::double(*value))
            .collect();
        let array = Arc::new(Float64Array::from(values));
        columns.push((format!("flux{number}"), "DOUBLE", array, expected));
    }
    for number in 0..10 {
        let values: Vec<Option<f32>> = fluxes(bits).iter().map(|v| v.map(|v| v as f32)).collect();
        let expected = values
            .iter()
            .map(|value| Expected::single(*value))
            .collect();
        let array = Arc::new(Float32Array::from(values));
        columns.push((format!("snr{number}"), "FLOAT", array, expected));
    }
    for number in 0..6 {
        let flag = |_| (bits.below(50) > 0).then(|| bits.below(10) == 0);
        let values: Vec<Option<bool>> = (0..ROWS).map(flag).collect();
        let expected = values
            .iter()
            .map(|value| Expected::optional(value.map(u8::from)))
            .collect();
        let array = Arc::new(BooleanArray::from(values));
        columns.push((format!("flag{number}"), "TINYINT", array, expected));
    }
    for number in 0..4 {
        let values: Vec<i32> = (0..ROWS).map(|_| bits.below(5_005) as i32 - 5).collect();
        let expected = values.iter().map(Expected::text).collect();
        let array = Arc::new(Int32Array::from(values));
        columns.push((format!("count{number}"), "INT", array, expected));
    }
    for name in ["name", "label"] {
        let word = |bits: &mut Bits| match bits.below(100) {
            0..4 => None,
            4..14 => Some(NAMES[bits.below(NAMES.len() as u64) as usize]),
            _ => Some(NAMES[bits.below(3) as usize]),
        };
        let values: Vec<Option<&str>> = (0..ROWS).map(|_| word(bits)).collect();
        let expected = values
            .iter()
            .map(|v| Expected::bytes(v.map(str::as_bytes)))
            .collect();
        let array = Arc::new(StringArray::from(values));
        columns.push((name.into(), "VARCHAR(30)", array, expected));
    }
    let hashes: Vec<Vec<u8>> = (0..ROWS)
        .map(|_| [bits.next().to_le_bytes(), bits.next().to_le_bytes()].concat())
        .collect();
    let expected = hashes
        .iter()
        .map(|hash| Expected::bytes(Some(hash)))
        .collect();
    let array = FixedSizeBinaryArray::try_from_iter(hashes.iter()).unwrap();
    columns.push(("hash16".into(), "BINARY(16)", Arc::new(array), expected));
    let times: Vec<i64> = (0..ROWS)
        .map(|_| 1_700_000_000_000_000 + bits.below(100_000_000_000_000) as i64)
        .collect();
    let shown = |micros: &i64| {
        let time = DateTime::from_timestamp_micros(*micros).unwrap();
        Expected::text(&time.format("%Y-%m-%d %H:%M:%S%.6f"))
    };
    let expected = times.iter().map(shown).collect();
    let array = Arc::new(TimestampMicrosecondArray::from(times));
    columns.push(("obsTime".into(), "DATETIME(6)", array, expected));
    columns
}

#[test]
fn an_object_table_loads_without_a_warning_or_a_difference() {
    let columns = object_columns(&mut Bits(20_261_121));
    assert_eq!(columns.len(), 62);
    let table = Table::new(columns.iter().map(|(name, kind, ..)| (name.clone(), *kind)));
    let table = table.with_charset("utf8mb4");
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(15_000))
        .set_compression(Compression::SNAPPY)
        .build();
    let arrays = columns
        .iter()
        .map(|(name, _, array, _)| (name.clone(), Arc::clone(array)));
    let (made, _) = converted(
        &parquet_with(arrays, properties),
        &table,
        "--charset utf8mb4",
    );
    let forms = columns
        .iter()
        .map(|(name, _, _, expected)| expected[0].form(name));
    let select = forms.collect::<Vec<_>>().join(", ");
    let load = Load::new(&table, Dialect::qserv(), "utf8mb4").selecting(&select);
    let rows = load.run(&made).unwrap().in_silence();
    assert_eq!(rows.len(), ROWS);
    for (number, row) in rows.iter().enumerate() {
        for (found, (name, _, _, expected)) in row.iter().zip(&columns) {
            expected[number].check(found, &|| format!("row {number}, column {name}"));
        }
    }
}

proptest! {
    #![proptest_config(Config {
        cases: 12,
        rng_seed: RngSeed::Fixed(20_261_121),
        failure_persistence: None,
        max_shrink_iters: 40,
        ..Config::default()
    })]

    /// Random columns into random types that hold them.
    #[test]
    fn random_tables_come_back(seed in any::<u64>(), rows in 1usize..80, columns in 1usize..25) {
        let bits = &mut Bits(seed);
        let columns: Vec<Column> = (0..columns).map(|_| random_column(bits, rows)).collect();
        let name = |at: usize| format!("c{at}");
        let types = columns.iter().enumerate().map(|(at, column)| (name(at), column.kind.clone()));
        let table = Table::new(types).with_charset("utf8mb4");
        let codecs = [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::LZ4_RAW];
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(1 + bits.below(40) as usize))
            .set_dictionary_enabled(bits.below(2) == 0)
            .set_compression(codecs[bits.below(3) as usize])
            .build();
        let arrays = columns.iter().enumerate();
        let arrays = arrays.map(|(at, column)| (name(at), Arc::clone(&column.array)));
        let all = dialects();
        let (args, dialect) = &all[bits.below(all.len() as u64) as usize];
        let args = format!("--charset utf8mb4 {args}");
        let (made, _) = converted(&parquet_with(arrays, properties), &table, &args);
        let forms = columns.iter().enumerate();
        let forms: Vec<String> =
            forms.map(|(at, column)| column.expected[0].form(&name(at))).collect();
        let load = Load::new(&table, dialect.clone(), "utf8mb4").selecting(&forms.join(", "));
        let found = load.run(&made).unwrap().in_silence();
        prop_assert_eq!(found.len(), rows);
        for (number, row) in found.iter().enumerate() {
            for (found, column) in row.iter().zip(&columns) {
                let place = || format!("row {number}: {:?} to {}", column.array.data_type(), column.kind);
                column.expected[number].check(found, &place);
            }
        }
    }
}

#[test]
fn no_row_is_lost_where_values_end_in_backslashes() {
    let values: Vec<Vec<u8>> = (0..2_000).map(|n| b"\\".repeat(n % 7)).collect();
    let table = Table::new([("a", "VARBINARY(9)"), ("b", "VARBINARY(9)")]);
    let array: ArrayRef = Arc::new(BinaryArray::from_iter_values(&values));
    let file = parquet_with(
        [("a", Arc::clone(&array)), ("b", array)],
        WriterProperties::builder().build(),
    );
    for (args, dialect) in dialects() {
        let (made, _) = converted(&file, &table, args);
        let load = Load::new(&table, dialect, "latin1").reading("length(?)");
        let rows = load.run(&made).unwrap().in_silence();
        for (row, value) in rows.iter().zip(&values) {
            let length = value.len().to_string();
            assert_eq!(*row, [&*length, &length], "{args}");
        }
    }
}

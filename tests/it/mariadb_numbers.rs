//! Numbers, bits and booleans: what MariaDB holds after a load is what the file held.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Decimal256Array, Float16Array, Float32Array, Float64Array,
    Int8Array, Int16Array, Int32Array, Int64Array, StringArray, UInt8Array, UInt16Array,
    UInt32Array, UInt64Array,
};
use arrow::datatypes::{
    ArrowPrimitiveType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType,
    Float16Type, i256,
};

use super::loading::{Bits, converted, dialects, parquet, refused, sanitized};
use super::mariadb::{Load, Table};
use skyprep::dialect::Dialect;

fn with_signs<T: Copy + std::ops::Neg<Output = T>>(values: &[T]) -> Vec<T> {
    values.iter().flat_map(|value| [*value, -*value]).collect()
}

fn doubles() -> Vec<f64> {
    let mut values = vec![
        0.0,
        5e-324,
        f64::MIN_POSITIVE,
        f64::MIN_POSITIVE.next_down(),
        f64::MAX,
        f64::MAX.next_down(),
        f64::EPSILON,
        1.0f64.next_up(),
        1.0f64.next_down(),
        0.1,
        1.0 / 3.0,
        9_007_199_254_740_993.0,
        f64::from(f32::MAX),
        1.797_693_134_862_315_5e308,
        123_456_789_012_345_680.0,
        8.414_709_848_078_965e-1,
    ];
    for exponent in -323..=308 {
        let power: f64 = format!("1e{exponent}").parse().unwrap();
        values.extend([power, power.next_up(), power.next_down()]);
    }
    let mut bits = Bits(1);
    while values.len() < 5_000 {
        let value = f64::from_bits(bits.next());
        if value.is_finite() {
            values.push(value.abs());
        }
    }
    with_signs(&values)
}

fn singles() -> Vec<f32> {
    let mut values = vec![
        0.0,
        1e-45,
        f32::MIN_POSITIVE,
        f32::MIN_POSITIVE.next_down(),
        f32::MAX,
        f32::MAX.next_down(),
        f32::EPSILON,
        1.0f32.next_up(),
        0.1,
        16_777_216.0,
        16_777_215.0,
        // Whose shortest text lies, as a double, half-way between two floats.
        7.038_531e-26,
    ];
    for exponent in -45..=38 {
        let power: f32 = format!("1e{exponent}").parse().unwrap();
        values.extend([power, power.next_up(), power.next_down()]);
    }
    let mut bits = Bits(2);
    while values.len() < 5_000 {
        let value = f32::from_bits(bits.next() as u32);
        if value.is_finite() {
            values.push(value.abs());
        }
    }
    with_signs(&values)
}

/// Stops the test unless these are the same doubles; minus zero may have become plus zero.
#[track_caller]
fn assert_same(found: &str, expected: f64) {
    let number: f64 = found.parse().unwrap();
    let expected = if expected == 0.0 { 0.0 } else { expected };
    assert_eq!(
        number.to_bits(),
        expected.to_bits(),
        "{found} for {expected:e}"
    );
}

#[test]
fn doubles_arrive_to_the_last_bit() {
    let values = doubles();
    let table = Table::new([("d", "DOUBLE"), ("r", "REAL NOT NULL")]);
    let array: ArrayRef = Arc::new(Float64Array::from(values.clone()));
    let file = parquet([("d", Arc::clone(&array)), ("r", array)]);
    let (made, changes) = converted(&file, &table, "");
    assert_eq!(changes["d"], serde_json::json!({"negative_zero": 1}));
    let rows = Load::new(&table, Dialect::qserv(), "latin1").run(&made);
    let rows = rows.unwrap().in_silence();
    for (row, value) in rows.iter().zip(&values) {
        assert_same(&row[0], *value);
        assert_same(&row[1], *value);
    }
    // Text of doubles is not touched.
    let (again, counted) = sanitized(&made, &table, "");
    assert!(again == made);
    assert_eq!(counted, changes);
}

#[test]
fn singles_arrive_to_the_last_bit() {
    let values = singles();
    let table = Table::new([("f", "FLOAT"), ("d", "DOUBLE"), ("wide", "FLOAT")]);
    let array: ArrayRef = Arc::new(Float32Array::from(values.clone()));
    let wide: ArrayRef = Arc::new(Float64Array::from_iter_values(
        values.iter().map(|value| f64::from(*value)),
    ));
    let file = parquet([("f", Arc::clone(&array)), ("d", array), ("wide", wide)]);
    let (made, changes) = converted(&file, &table, "");
    let zeros = values
        .iter()
        .filter(|v| **v == 0.0 && v.is_sign_negative())
        .count();
    assert_eq!(changes["d"], serde_json::json!({"negative_zero": zeros}));
    assert_eq!(changes["wide"], serde_json::json!({"negative_zero": zeros}));
    assert_eq!(changes["f"]["negative_zero"], zeros);
    assert!(changes["f"]["float_limit"].as_u64().unwrap() >= 2);
    let rows = Load::new(&table, Dialect::qserv(), "latin1").reading("cast(? as double)");
    let rows = rows.run(&made).unwrap().in_silence();
    for (row, value) in rows.iter().zip(&values) {
        assert_same(&row[0], f64::from(*value));
        // The shortest text of a single, not all digits that it has as a double.
        assert_eq!(row[1].parse::<f32>().unwrap(), *value);
        assert_same(&row[2], f64::from(*value));
    }
    let text = Table::new([("f", "FLOAT")]);
    let shortest: String = values.iter().map(|value| format!("{value:e}\n")).collect();
    let (made, _) = sanitized(shortest.as_bytes(), &text, "--fields f");
    let rows = Load::new(&text, Dialect::qserv(), "latin1").reading("cast(? as double)");
    let rows = rows.run(&made).unwrap().in_silence();
    for (row, value) in rows.iter().zip(&values) {
        // What is text is what it says: as a double, then as a float.
        let read: f64 = format!("{value:e}").parse().unwrap();
        assert_same(&row[0], f64::from((read as f32).clamp(f32::MIN, f32::MAX)));
    }
}

#[test]
fn half_precision_arrives_to_the_last_bit() {
    type Half = <Float16Type as ArrowPrimitiveType>::Native;
    let values: Vec<Half> = (0..=u16::MAX).step_by(7).map(Half::from_bits).collect();
    let table = Table::new([("f", "FLOAT"), ("d", "DOUBLE")]);
    let array: ArrayRef = Arc::new(Float16Array::from(values.clone()));
    let file = parquet([("f", Arc::clone(&array)), ("d", array)]);
    let (made, changes) = converted(&file, &table, "");
    let nans = values.iter().filter(|value| value.is_nan()).count();
    assert!(nans > 0);
    assert_eq!(changes["f"]["nan"], nans);
    let rows = Load::new(&table, Dialect::qserv(), "latin1").reading("cast(? as double)");
    let rows = rows.run(&made).unwrap().in_silence();
    for (row, value) in rows.iter().zip(&values) {
        let single = value.to_f32();
        if value.is_nan() {
            assert_eq!(*row, ["NULL", "NULL"]);
        } else if value.is_infinite() {
            assert_same(&row[0], f64::from(f32::MAX.copysign(single)));
            assert_same(&row[1], f64::MAX.copysign(f64::from(single)));
        } else {
            assert_same(&row[0], f64::from(single));
            assert_eq!(row[1].parse::<f32>().unwrap(), single);
        }
    }
}

#[test]
fn whole_numbers_arrive_and_do_not_go_where_they_do_not_fit() {
    macro_rules! extremes {
        ($array:ty, $native:ty) => {{
            let values = [<$native>::MIN, <$native>::MAX, 0, 1, <$native>::MAX / 3];
            let array: ArrayRef = Arc::new(<$array>::from(values.to_vec()));
            (array, values.map(i128::from).to_vec())
        }};
    }
    let sources = [
        ("TINYINT", extremes!(Int8Array, i8)),
        ("SMALLINT", extremes!(Int16Array, i16)),
        ("INT", extremes!(Int32Array, i32)),
        ("BIGINT", extremes!(Int64Array, i64)),
        ("TINYINT UNSIGNED", extremes!(UInt8Array, u8)),
        ("SMALLINT UNSIGNED", extremes!(UInt16Array, u16)),
        ("INT UNSIGNED", extremes!(UInt32Array, u32)),
        ("BIGINT UNSIGNED", extremes!(UInt64Array, u64)),
    ];
    let columns = sources
        .each_ref()
        .map(|(kind, _)| (kind.replace(' ', "_"), *kind));
    // Each type into its own, and its extremes as text, DECIMAL and wider types.
    let wider = [
        ("VARCHAR(20)", "v"),
        ("DECIMAL(20)", "d"),
        ("VARBINARY(20)", "b"),
    ];
    let wider_columns = sources.iter().flat_map(|(kind, _)| {
        wider.map(|(target, name)| (format!("{name}_{}", kind.replace(' ', "_")), target))
    });
    let all: Vec<(String, &str)> = columns.into_iter().chain(wider_columns).collect();
    let table = Table::new(all.clone());
    let arrays = all.iter().map(|(name, _)| {
        let own = |kind: &str| {
            let kind = kind.replace(' ', "_");
            *name == kind || name[1..] == format!("_{kind}")
        };
        let (_, (array, _)) = sources.iter().find(|(kind, _)| own(kind)).unwrap();
        (name.clone(), Arc::clone(array))
    });
    let (made, changes) = converted(&parquet(arrays), &table, "");
    assert_eq!(changes, serde_json::json!({}));
    let rows = Load::new(&table, Dialect::qserv(), "latin1").run(&made);
    for (row, found) in rows.unwrap().in_silence().iter().enumerate() {
        for (at, (_, (_, values))) in sources.iter().enumerate() {
            let expected = values[row].to_string();
            assert_eq!(found[at], expected);
            assert_eq!(
                found[8 + at * 3..8 + at * 3 + 3],
                [&*expected, &expected, &expected]
            );
        }
    }

    let targets = [
        "TINYINT",
        "SMALLINT UNSIGNED",
        "MEDIUMINT",
        "INT",
        "INT UNSIGNED",
        "BIGINT",
    ];
    let ranges = [(-128, 127), (0, 65_535), (-8_388_608, 8_388_607)];
    let wide = [
        (-(1i128 << 31), (1 << 31) - 1),
        (0, (1 << 32) - 1),
        (-(1 << 63), (1 << 63) - 1),
    ];
    for (target, (least, most)) in targets.iter().zip(ranges.into_iter().chain(wide)) {
        let table = Table::new([("a", *target)]);
        for (source, (array, values)) in &sources {
            let first = values
                .iter()
                .position(|value| *value < least || *value > most);
            let file = parquet([("a", Arc::clone(array))]);
            match first {
                None => {
                    converted(&file, &table, "");
                }
                Some(row) => {
                    let place = format!("row {}, column a", row + 1);
                    let found = format!("found {}, expected {least} to {most}", values[row]);
                    refused("convert", &file, &table, "", &[&place, &found]);
                    let (clamped, changes) = converted(&file, &table, "--overflow clamp");
                    let expected: String = values
                        .iter()
                        .map(|value| format!("{}\n", value.clamp(&least, &most)))
                        .collect();
                    assert_eq!(String::from_utf8(clamped).unwrap(), expected, "{source}");
                    let outside = values.iter().filter(|v| **v < least || **v > most);
                    assert_eq!(changes["a"]["overflow"], outside.count(), "{source}");
                }
            }
        }
    }
}

#[test]
fn decimals_arrive_with_all_their_digits() {
    fn array<T: DecimalType>(values: &[&str], precision: u8, scale: i8) -> ArrayRef {
        let parse = |text: &&str| {
            arrow::compute::kernels::cast_utils::parse_decimal::<T>(text, precision, scale).unwrap()
        };
        let values: arrow::array::PrimitiveArray<T> =
            values.iter().map(|text| Some(parse(text))).collect();
        Arc::new(values.with_precision_and_scale(precision, scale).unwrap())
    }
    let nines = |whole: usize, fraction: usize| {
        let text = format!("{}.{}", "9".repeat(whole), "9".repeat(fraction));
        text.trim_end_matches('.').to_owned()
    };
    let (n9, n18, n38, n65) = (nines(5, 4), nines(18, 0), nines(10, 28), nines(27, 38));
    let small = format!("0.{}1", "0".repeat(37));
    let columns: Vec<(&str, &str, ArrayRef)> = vec![
        (
            "d32",
            "DECIMAL(9,4)",
            array::<Decimal32Type>(&[&n9, &format!("-{n9}"), "0", "-0.0001", "1.5"], 9, 4),
        ),
        (
            "d64",
            "DECIMAL(18,0)",
            array::<Decimal64Type>(&[&n18, &format!("-{n18}"), "0", "-1", "15"], 18, 0),
        ),
        (
            "d128",
            "DECIMAL(38,28)",
            array::<Decimal128Type>(&[&n38, &format!("-{n38}"), "0", "0.01", "-1.5"], 38, 28),
        ),
        (
            "d256",
            "DECIMAL(65,38)",
            array::<Decimal256Type>(&[&n65, &format!("-{n65}"), "0", &small, "-1.5"], 65, 38),
        ),
        (
            "whole",
            "DECIMAL(65,0)",
            array::<Decimal256Type>(&[&"9".repeat(65), "-1", "0", "1", "10"], 65, 0),
        ),
        (
            "fraction",
            "DECIMAL(38,38)",
            array::<Decimal256Type>(&[&nines(0, 38), &small, "0", "-0.5", "0.1"], 38, 38),
        ),
        (
            "text",
            "VARCHAR(80)",
            array::<Decimal256Type>(&[&n65, &format!("-{n65}"), "0", &small, "-1.5"], 65, 38),
        ),
    ];
    let table = Table::new(columns.iter().map(|(name, kind, _)| (*name, *kind)));
    let file = parquet(
        columns
            .iter()
            .map(|(name, _, array)| (*name, Arc::clone(array))),
    );
    let (made, changes) = converted(&file, &table, "");
    assert_eq!(changes, serde_json::json!({}));
    let rows = Load::new(&table, Dialect::qserv(), "latin1").run(&made);
    let text_of = |array: &ArrayRef| arrow::compute::cast(array, &arrow::datatypes::DataType::Utf8);
    let expected: Vec<StringArray> = columns
        .iter()
        .map(|(_, _, array)| text_of(array).unwrap().as_string::<i32>().clone())
        .collect();
    for (row, found) in rows.unwrap().in_silence().iter().enumerate() {
        let expected: Vec<&str> = expected.iter().map(|column| column.value(row)).collect();
        assert_eq!(*found, expected);
    }

    // Too large, and too fine: refused, or changed as asked for.
    let table = Table::new([("a", "DECIMAL(5,2)")]);
    let array = array::<Decimal256Type>(&["1.5", "1000", "-1000.5"], 40, 3);
    let file = parquet([("a", array)]);
    let too_large = [
        "row 2, column a",
        "1000.000",
        "3 digits before the point at most",
    ];
    refused("convert", &file, &table, "", &too_large);
    let (made, changes) = converted(&file, &table, "--overflow clamp");
    assert_eq!(made, b"1.50\n999.99\n-999.99\n");
    assert_eq!(changes["a"]["overflow"], 2);
    let fine: Vec<i256> = [1_005, 1_004, -1_995, 999_994]
        .map(i256::from_i128)
        .to_vec();
    let fine = Decimal256Array::from(fine)
        .with_precision_and_scale(40, 3)
        .unwrap();
    let file = parquet([("a", Arc::new(fine) as ArrayRef)]);
    refused(
        "convert",
        &file,
        &table,
        "",
        &["row 1, column a", "1.005", "2 digits behind"],
    );
    for (rule, expected) in [
        ("cut", ["1.00", "1.00", "-1.99", "999.99"]),
        ("round", ["1.01", "1.00", "-2.00", "999.99"]),
    ] {
        let (made, changes) = converted(&file, &table, &format!("--fraction {rule}"));
        assert_eq!(changes["a"]["fraction"], 4, "{rule}");
        let rows = Load::new(&table, Dialect::qserv(), "latin1").run(&made);
        let rows = rows.unwrap().in_silence();
        assert_eq!(rows.concat(), expected, "{rule}");
    }
}

#[test]
fn bits_of_every_width_arrive() {
    let mut bits = Bits(3);
    let widths: Vec<u32> = (1..=64).collect();
    let mask = |width: u32| u64::MAX >> (64 - width);
    let patterns = [0, u64::MAX, 1, 0x5c5c_5c5c_5c5c_5c5c, 0x0a0a_0a0a_0a0a_0a0a]
        .into_iter()
        .chain([
            0x4e55_4c4c_4e55_4c4c,
            0x0922_272c_5c4e_5c4e,
            0x3031_3031_3031_3031,
        ])
        .chain((0..8).map(|_| bits.next()));
    let patterns: Vec<u64> = patterns.collect();
    let table = Table::new(
        widths
            .iter()
            .map(|n| (format!("b{n}"), format!("BIT({n})"))),
    );
    let column = |width: &u32| {
        let values = patterns.iter().map(|pattern| pattern & mask(*width));
        // Signed and unsigned sources take turns.
        let array: ArrayRef = if width.is_multiple_of(2) {
            Arc::new(UInt64Array::from_iter_values(values))
        } else {
            Arc::new(Int64Array::from_iter_values(
                values.map(|value| value as i64),
            ))
        };
        (format!("b{width}"), array)
    };
    let file = parquet(widths.iter().map(column));
    let mut before: Option<(&str, Vec<u8>)> = None;
    for (args, dialect) in dialects() {
        let (made, changes) = converted(&file, &table, args);
        assert_eq!(changes["b7"]["bit"], patterns.len());
        let rows = Load::new(&table, dialect, "latin1")
            .reading("?+0")
            .run(&made);
        for (row, pattern) in rows.unwrap().in_silence().iter().zip(&patterns) {
            let expected = widths
                .iter()
                .map(|width| (pattern & mask(*width)).to_string());
            assert_eq!(*row, expected.collect::<Vec<_>>(), "{args}");
        }
        if let Some((before, made_before)) = before {
            let args = format!("{args} {}", before.replace("--", "--in-"));
            assert!(sanitized(&made_before, &table, &args).0 == made, "{args}");
        }
        before = Some((args, made));
    }
    let table = Table::new([("a", "BIT(3)")]);
    let array: ArrayRef = Arc::new(Int64Array::from(vec![7, -1, 8]));
    let file = parquet([("a", array)]);
    refused(
        "convert",
        &file,
        &table,
        "",
        &["row 2, column a", "-1", "3 bits"],
    );
    for (rule, expected) in [("clamp", ["7", "0", "7"]), ("null", ["7", "NULL", "NULL"])] {
        let (made, changes) = converted(&file, &table, &format!("--overflow {rule}"));
        assert_eq!(changes["a"]["overflow"], 2);
        let rows = Load::new(&table, Dialect::qserv(), "latin1").reading("?+0");
        assert_eq!(rows.run(&made).unwrap().in_silence().concat(), expected);
    }
}

#[test]
fn booleans_are_numbers_wherever_they_go() {
    let values: BooleanArray = [Some(true), Some(false), None].into_iter().collect();
    let columns = [
        ("t", "TINYINT"),
        ("b", "BIT(1)"),
        ("c", "CHAR(1)"),
        ("d", "DOUBLE"),
        ("flag", "BOOLEAN"),
    ];
    let table = Table::new(columns);
    let array: ArrayRef = Arc::new(values);
    let file = parquet(columns.map(|(name, _)| (name, Arc::clone(&array))));
    let text = "true\tTrue\t1\tT\tt\nfalse\tF\t0\tFALSE\tFalse\n\\N\t\\N\t\\N\t\\N\t\\N\n";
    for (args, dialect) in dialects() {
        let (made, changes) = converted(&file, &table, args);
        for (column, rule) in [("t", "bool"), ("b", "bit"), ("c", "bool"), ("d", "bool")] {
            assert_eq!(changes[column], serde_json::json!({rule: 2}), "{column}");
        }
        let load = Load::new(&table, dialect, "latin1").reading("?+0");
        let rows = load.run(&made).unwrap().in_silence();
        assert_eq!(rows, [["1"; 5], ["0"; 5], ["NULL"; 5]], "{args}");
        let args = format!("{args} --in-dialect qserv");
        assert_eq!(sanitized(text.as_bytes(), &table, &args).0, made, "{args}");
    }
    let table = Table::new([("c", "VARCHAR(5)")]);
    let file = parquet([("c", array)]);
    let (kept, _) = converted(&file, &table, "--bool keep");
    let rows = Load::new(&table, Dialect::qserv(), "latin1").run(&kept);
    assert_eq!(
        rows.unwrap().in_silence().concat(),
        ["true", "false", "NULL"]
    );
}

#[test]
fn floats_in_columns_of_whole_numbers_are_the_numbers_that_they_are() {
    let values: Vec<f64> = [0.0, -0.0, 5.0, 1e10, 2f64.powi(53) + 2.0, 2f64.powi(60)]
        .into_iter()
        .chain([-(2f64.powi(63)), 2f64.powi(63).next_down(), 1e18])
        .collect();
    let table = Table::new([("a", "BIGINT"), ("t", "BIGINT")]);
    let array: ArrayRef = Arc::new(Float64Array::from(values.clone()));
    // Text in other spellings means the same to MariaDB.
    let spelt = StringArray::from_iter_values(values.iter().map(|value| match *value {
        5.0 => "5.000".to_owned(),
        1e18 => "1e18".to_owned(),
        1e10 => " 1E+10 ".to_owned(),
        value => (value as i64).to_string(),
    }));
    let file = parquet([("a", array), ("t", Arc::new(spelt) as ArrayRef)]);
    let (made, _) = converted(&file, &table, "");
    let rows = Load::new(&table, Dialect::qserv(), "latin1").run(&made);
    for (row, value) in rows.unwrap().in_silence().iter().zip(&values) {
        let whole = (*value as i64).to_string();
        assert_eq!(*row, [whole.as_str(), &whole]);
    }
}

#[test]
fn numbers_fit_the_texts_they_go_into() {
    let table = Table::new([("c", "CHAR(3)")]);
    let whole: ArrayRef = Arc::new(Int64Array::from(vec![999, 1000]));
    let file = parquet([("c", whole)]);
    refused(
        "convert",
        &file,
        &table,
        "",
        &["row 2, column c", "1000", "3 at most"],
    );
    let single: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 0.25]));
    let file = parquet([("c", single)]);
    refused(
        "convert",
        &file,
        &table,
        "",
        &["row 2, column c", "0.25", "3 at most"],
    );
}

use std::sync::Arc;

use arrow::array::{
    DictionaryArray, DurationMicrosecondArray, FixedSizeListArray, IntervalYearMonthArray,
    ListArray, Time64NanosecondArray, TimestampSecondArray, new_null_array,
};
use arrow::datatypes::{Field, Float64Type, Int8Type};

use super::*;
use crate::convert::mysql_type_of;
use crate::dialect::Dialect;
use crate::values::{NestedPolicy, ValuePolicy};

/// Writes all rows of a column, as they go into a column of type `target`, or of their own.
fn written(array: &ArrayRef, target: &str) -> Result<Vec<String>, String> {
    let policy = ValuePolicy {
        nested: NestedPolicy::Json,
        ..ValuePolicy::default()
    };
    let target = MysqlType::parse(target).or_else(|| mysql_type_of(array.data_type()));
    let source = CellSource::of("c", array.data_type(), target, &policy);
    let source = source.map_err(|error| error.to_string())?;
    let rule = ColumnRule::new(0, target, false, &policy, b"\\N");
    let mut counts = RuleCounts::default();
    let column = BoundColumn::bind(&rule, source, array, &mut counts);
    let column = column.map_err(|error| error.to_string())?;
    let encoder = Dialect::qserv().encoder();
    let write = |row: usize| {
        let mut out = TextBuffer::default();
        let done = column.write(row, &encoder, &mut out, &mut RuleCounts::default());
        done.map_err(|fault| fault.message())?;
        Ok(String::from_utf8_lossy(out.as_slice()).into_owned())
    };
    (0..array.len()).map(write).collect()
}

/// A value of each plain type, and how it is written.
fn plain() -> Vec<(ArrayRef, &'static str)> {
    let decimal = |precision, scale| {
        let one = Decimal128Array::from(vec![-5]);
        one.with_precision_and_scale(precision, scale).unwrap()
    };
    let small: ArrayRef = Arc::new(decimal(9, 2));
    let as_decimal = |data_type: &DataType| cast(&small, data_type).unwrap();
    vec![
        (Arc::new(BooleanArray::from(vec![true])), "1"),
        (Arc::new(Int8Array::from(vec![-8])), "-8"),
        (Arc::new(Int16Array::from(vec![-16])), "-16"),
        (Arc::new(Int32Array::from(vec![-32])), "-32"),
        (
            Arc::new(Int64Array::from(vec![i64::MIN])),
            "-9223372036854775808",
        ),
        (Arc::new(UInt8Array::from(vec![8])), "8"),
        (Arc::new(UInt16Array::from(vec![16])), "16"),
        (Arc::new(UInt32Array::from(vec![32])), "32"),
        (
            Arc::new(UInt64Array::from(vec![u64::MAX])),
            "18446744073709551615",
        ),
        (
            cast(
                &(Arc::new(Float32Array::from(vec![0.5])) as ArrayRef),
                &DataType::Float16,
            )
            .unwrap(),
            "0.5",
        ),
        (Arc::new(Float32Array::from(vec![0.1])), "0.1"),
        (Arc::new(Float64Array::from(vec![1e300])), "1e+300"),
        (as_decimal(&DataType::Decimal32(9, 2)), "-0.05"),
        (as_decimal(&DataType::Decimal64(18, 3)), "-0.050"),
        (small.clone(), "-0.05"),
        (as_decimal(&DataType::Decimal256(70, 5)), "-0.05000"),
        (Arc::new(decimal(3, -2)), "-500"),
        (Arc::new(Date32Array::from(vec![1])), "1970-01-02"),
        (Arc::new(Date64Array::from(vec![-1])), "1969-12-31"),
        (
            Arc::new(TimestampSecondArray::from(vec![-1])),
            "1969-12-31 23:59:59",
        ),
        (
            Arc::new(TimestampSecondArray::from(vec![0]).with_timezone("America/Lima")),
            "1970-01-01 00:00:00",
        ),
        (
            Arc::new(Time64NanosecondArray::from(vec![1_000])),
            "00:00:00.000001",
        ),
        (Arc::new(DurationMicrosecondArray::from(vec![-7])), "-7"),
        (Arc::new(StringArray::from(vec!["a\tb"])), "a\\tb"),
        (Arc::new(LargeStringArray::from(vec!["a\\b"])), "a\\\\b"),
        (
            Arc::new(StringViewArray::from(vec!["longer than twelve bytes"])),
            "longer than twelve bytes",
        ),
        (Arc::new(BinaryArray::from(vec![&b"a\0"[..]])), "a\\0"),
        (Arc::new(LargeBinaryArray::from(vec![&b"a\n"[..]])), "a\\n"),
        (Arc::new(BinaryViewArray::from(vec![&b"\x1a"[..]])), "\\Z"),
        (
            Arc::new(FixedSizeBinaryArray::try_from_iter([b"ab"].into_iter()).unwrap()),
            "ab",
        ),
    ]
}

#[test]
fn every_type_is_written_plain_and_through_dictionaries_and_runs() {
    for (array, expected) in plain() {
        let data_type = array.data_type().clone();
        assert_eq!(
            written(&array, ""),
            Ok(vec![expected.to_owned()]),
            "{data_type}"
        );
        let nulls = new_null_array(&data_type, 2);
        assert_eq!(written(&nulls, "").unwrap(), ["\\N", "\\N"], "{data_type}");

        // A value, NULL as a value, NULL as a key.
        let null = new_null_array(&data_type, 1);
        let values = arrow::compute::concat(&[&array, &null]).unwrap();
        let keys = Int8Array::from(vec![Some(1), Some(0), None, Some(0)]);
        let dictionary = DictionaryArray::<Int8Type>::try_new(keys, values.clone()).unwrap();
        let dictionary: ArrayRef = Arc::new(dictionary);
        let rows = ["\\N", expected, "\\N", expected];
        assert_eq!(
            written(&dictionary, "").unwrap(),
            rows,
            "dictionary of {data_type}"
        );
        assert_eq!(written(&dictionary.slice(1, 2), "").unwrap(), rows[1..3]);

        let ends = Int16Array::from(vec![2, 3]);
        let runs = RunArray::<Int16Type>::try_new(&ends, &values).unwrap();
        let rows = [expected, expected, "\\N"];
        let runs_again: ArrayRef = Arc::new(runs.slice(1, 2));
        let runs: ArrayRef = Arc::new(runs);
        assert_eq!(written(&runs, "").unwrap(), rows, "runs of {data_type}");
        assert_eq!(
            written(&runs_again, "").unwrap(),
            rows[1..],
            "slice of runs of {data_type}"
        );
    }
}

#[test]
fn dictionaries_without_values_are_all_null() {
    let keys = Int8Array::from(vec![None, None]);
    let values: ArrayRef = Arc::new(StringArray::from(Vec::<&str>::new()));
    let array: ArrayRef = Arc::new(DictionaryArray::<Int8Type>::try_new(keys, values).unwrap());
    assert_eq!(written(&array, "CHAR(1)").unwrap(), ["\\N", "\\N"]);
}

#[test]
fn null_fits_every_column_and_numbers_fit_texts_or_not() {
    let numbers: ArrayRef = Arc::new(Float64Array::from(vec![Some(5.0), None, Some(f64::NAN)]));
    for target in [
        "CHAR(1)",
        "VARCHAR(1)",
        "BINARY(1)",
        "TINYINT",
        "BIGINT UNSIGNED",
    ] {
        assert_eq!(
            written(&numbers, target).unwrap(),
            ["5", "\\N", "\\N"],
            "{target}"
        );
    }
    let numbers: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
    assert!(written(&numbers, "CHAR(2)").unwrap_err().contains("0.5"));
    let null: ArrayRef = new_null_array(&DataType::Null, 1);
    for target in ["INT", "GEOMETRY", "BIT(1)", "DATE", "JSON"] {
        assert_eq!(written(&null, target).unwrap(), ["\\N"], "{target}");
    }
}

#[test]
fn nested_values_in_any_form_are_json_and_intervals_are_refused() {
    let item = Arc::new(Field::new("item", DataType::Float64, true));
    let numbers: ArrayRef = Arc::new(Float64Array::from(vec![1.5, 2.0]));
    let fixed: ArrayRef = Arc::new(FixedSizeListArray::new(item.clone(), 2, numbers, None));
    assert_eq!(written(&fixed, "").unwrap(), ["[1.5,2.0]"]);
    let lists = ListArray::from_iter_primitive::<Float64Type, _, _>([Some(vec![Some(1.5)]), None]);
    let lists: ArrayRef = Arc::new(lists);
    let views = cast(&lists, &DataType::ListView(item)).unwrap();
    assert_eq!(written(&views, "JSON").unwrap(), ["[1.5]", "\\N"]);
    let keys = Int8Array::from(vec![Some(0), None, Some(1), Some(0)]);
    let many = DictionaryArray::<Int8Type>::try_new(keys, lists).unwrap();
    let many: ArrayRef = Arc::new(many);
    assert_eq!(
        written(&many, "").unwrap(),
        ["[1.5]", "\\N", "\\N", "[1.5]"]
    );

    let interval: ArrayRef = Arc::new(IntervalYearMonthArray::from(vec![1]));
    assert!(written(&interval, "").unwrap_err().contains("column c"));
}

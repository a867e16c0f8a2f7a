//! Random columns of random Arrow types, with MySQL types that hold them, and what is to be read.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, Decimal256Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int64Array, NullArray, StringArray,
    UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float16Type, TimeUnit, i256};
use chrono::DateTime;

use super::loading::Bits;

/// What MariaDB should hold of one value.
#[derive(Debug, Clone)]
pub(crate) enum Expected {
    /// NULL, or this text, as the client prints it.
    Text(Option<String>),
    /// These bytes, read as hexadecimal digits.
    Bytes(Option<String>),
    /// This double; plus zero for minus zero.
    Double(f64),
    /// This single, or NULL, read by way of a double.
    Single(Option<f32>),
    /// A number of bits.
    Bits(Option<u64>),
}

impl Expected {
    pub(crate) fn text(value: &impl ToString) -> Self {
        Self::Text(Some(value.to_string()))
    }

    pub(crate) fn optional(value: Option<impl ToString>) -> Self {
        Self::Text(value.map(|value| value.to_string()))
    }

    pub(crate) fn bytes(value: Option<&[u8]>) -> Self {
        Self::Bytes(value.map(|value| data_encoding::HEXUPPER.encode(value)))
    }

    /// What DOUBLE holds by the default rules.
    pub(crate) fn double(value: Option<f64>) -> Self {
        match value {
            Some(value) if value.is_nan() => Self::Text(None),
            None => Self::Text(None),
            Some(value) => Self::Double(value.clamp(f64::MIN, f64::MAX)),
        }
    }

    /// What FLOAT holds by the default rules.
    pub(crate) fn single(value: Option<f32>) -> Self {
        let value = value.filter(|value| !value.is_nan());
        Self::Single(value.map(|value| value.clamp(f32::MIN, f32::MAX)))
    }

    /// The expression that reads such values of the column `name`; the same for the column's others.
    pub(crate) fn form(&self, name: &str) -> String {
        match self {
            Self::Text(_) | Self::Double(_) => name.to_owned(),
            Self::Bytes(_) => format!("hex({name})"),
            Self::Single(_) => format!("cast({name} as double)"),
            Self::Bits(_) => format!("{name}+0"),
        }
    }

    /// Stops the test unless `found` is it.
    #[track_caller]
    pub(crate) fn check(&self, found: &str, place: &dyn Fn() -> String) {
        let double = match self {
            Self::Double(value) => Some(*value),
            Self::Single(value) => value.map(f64::from),
            _ => None,
        };
        if let Some(double) = double {
            let number: Option<f64> = found.parse().ok();
            let expected = if double == 0.0 { 0.0 } else { double };
            let is_same = number.is_some_and(|number| number.to_bits() == expected.to_bits());
            assert!(is_same, "{}: {found} for {double:e}", place());
            return;
        }
        let expected = match self {
            Self::Text(text) | Self::Bytes(text) => text.clone(),
            Self::Bits(number) => number.map(|number| number.to_string()),
            Self::Double(_) | Self::Single(_) => None,
        };
        assert_eq!(found, expected.as_deref().unwrap_or("NULL"), "{}", place());
    }
}

/// A column of a random table.
pub(crate) struct Column {
    /// Its MySQL type.
    pub(crate) kind: String,
    pub(crate) array: ArrayRef,
    /// What is to be read, row by row.
    pub(crate) expected: Vec<Expected>,
}

impl Column {
    fn new(kind: impl Into<String>, array: ArrayRef, expected: Vec<Expected>) -> Self {
        Self {
            kind: kind.into(),
            array,
            expected,
        }
    }
}

/// Makes a column of `rows` rows, a tenth of them NULL.
pub(crate) fn random_column(bits: &mut Bits, rows: usize) -> Column {
    match bits.below(11) {
        0 => whole_numbers(bits, rows),
        1 => doubles(bits, rows),
        2 => singles(bits, rows),
        3 => decimals(bits, rows),
        4 => booleans(bits, rows),
        5 | 6 => texts(bits, rows),
        7 => bytes(bits, rows),
        8 => timestamps(bits, rows),
        9 => times(bits, rows),
        _ => bit_fields(bits, rows),
    }
}

fn pick<T: Clone>(bits: &mut Bits, choices: &[T]) -> T {
    choices[bits.below(choices.len() as u64) as usize].clone()
}

fn optional<T>(
    bits: &mut Bits,
    rows: usize,
    mut make: impl FnMut(&mut Bits) -> T,
) -> Vec<Option<T>> {
    (0..rows)
        .map(|_| (bits.below(10) > 0).then(|| make(bits)))
        .collect()
}

/// Casts to a type that says the same, maybe through a dictionary.
fn in_form(bits: &mut Bits, array: &ArrayRef, forms: &[DataType]) -> ArrayRef {
    let mut form = pick(bits, forms);
    if bits.below(4) == 0 {
        form = DataType::Dictionary(Box::new(DataType::Int32), Box::new(form));
    }
    cast(array, &form).unwrap()
}

fn whole_numbers(bits: &mut Bits, rows: usize) -> Column {
    const TYPES: [(&str, u32, bool); 10] = [
        ("TINYINT", 8, true),
        ("SMALLINT", 16, true),
        ("MEDIUMINT", 24, true),
        ("INT", 32, true),
        ("BIGINT", 64, true),
        ("TINYINT UNSIGNED", 8, false),
        ("SMALLINT UNSIGNED", 16, false),
        ("MEDIUMINT UNSIGNED", 24, false),
        ("INT UNSIGNED", 32, false),
        ("BIGINT UNSIGNED", 63, false),
    ];
    let (kind, width, is_signed) = pick(bits, &TYPES);
    let values = optional(bits, rows, |bits| {
        let edges = match is_signed {
            true => [i64::MIN >> (64 - width), i64::MAX >> (64 - width), -1],
            false => [0, (u64::MAX >> (64 - width)) as i64, 1],
        };
        match bits.below(4) {
            0 => pick(bits, &edges),
            _ if is_signed => (bits.next() as i64) >> (64 - width),
            _ => (bits.next() >> (64 - width)) as i64,
        }
    });
    let expected = values
        .iter()
        .map(|value| Expected::optional(*value))
        .collect();
    let array: ArrayRef = Arc::new(Int64Array::from(values));
    let narrow: &[DataType] = match (width, is_signed) {
        (8, true) => &[DataType::Int8, DataType::Int64],
        (16, true) => &[DataType::Int16, DataType::Int32],
        (24 | 32, true) => &[DataType::Int32, DataType::Int64],
        (8, false) => &[DataType::UInt8, DataType::Int16],
        (16, false) => &[DataType::UInt16, DataType::UInt64],
        (24 | 32, false) => &[DataType::UInt32, DataType::Int64],
        (_, true) => &[DataType::Int64],
        _ => &[DataType::UInt64, DataType::Int64],
    };
    let array = in_form(bits, &array, narrow);
    Column::new(kind, array, expected)
}

fn doubles(bits: &mut Bits, rows: usize) -> Column {
    let values = optional(bits, rows, |bits| f64::from_bits(bits.next()));
    let expected: Vec<Expected> = values
        .iter()
        .map(|value| Expected::double(*value))
        .collect();
    let array: ArrayRef = Arc::new(Float64Array::from(values));
    let array = in_form(bits, &array, &[DataType::Float64]);
    Column::new(
        pick(bits, &["DOUBLE", "REAL", "FLOAT(53)"]),
        array,
        expected,
    )
}

fn singles(bits: &mut Bits, rows: usize) -> Column {
    let is_half = bits.below(3) == 0;
    let values = optional(bits, rows, |bits| match is_half {
        true => <Float16Type as ArrowPrimitiveType>::Native::from_bits(bits.next() as u16).to_f32(),
        false => f32::from_bits(bits.next() as u32),
    });
    let expected = values
        .iter()
        .map(|value| Expected::single(*value))
        .collect();
    let array: ArrayRef = Arc::new(Float32Array::from(values));
    let form = if is_half {
        DataType::Float16
    } else {
        DataType::Float32
    };
    Column::new("FLOAT", cast(&array, &form).unwrap(), expected)
}

fn decimals(bits: &mut Bits, rows: usize) -> Column {
    let scale = bits.below(20) as u8;
    let whole = 1 + bits.below(25) as u8;
    let values = optional(bits, rows, |bits| {
        let digits = 1 + bits.below(u64::from(whole + scale)) as usize;
        let text: String = (0..digits)
            .map(|_| char::from(b'0' + bits.below(10) as u8))
            .collect();
        let sign = if bits.below(2) == 0 { "-" } else { "" };
        i256::from_string(&format!("{sign}{text}")).unwrap()
    });
    let array = Decimal256Array::from(values);
    let array = array
        .with_precision_and_scale(whole + scale, scale as i8)
        .unwrap();
    // MariaDB fills up with zeros what has fewer digits behind the point.
    let more = bits.below(6) as u8;
    let shown = |row: usize| {
        array.is_valid(row).then(|| {
            let text = array.value_as_string(row);
            let point = if scale == 0 && more > 0 { "." } else { "" };
            format!("{text}{point}{}", "0".repeat(more.into()))
        })
    };
    let expected = (0..rows)
        .map(|row| Expected::optional(shown(row)))
        .collect();
    let kind = format!("DECIMAL({},{})", whole + scale + more, scale + more);
    let form = match whole + scale {
        0..=9 => DataType::Decimal32(whole + scale, scale as i8),
        10..=18 => DataType::Decimal64(whole + scale, scale as i8),
        19..=38 => DataType::Decimal128(whole + scale, scale as i8),
        _ => DataType::Decimal256(whole + scale, scale as i8),
    };
    let array: ArrayRef = Arc::new(array.clone());
    Column::new(kind, cast(&array, &form).unwrap(), expected)
}

fn booleans(bits: &mut Bits, rows: usize) -> Column {
    let values = optional(bits, rows, |bits| bits.below(2) == 0);
    let kind = pick(
        bits,
        &["TINYINT", "BIT(1)", "CHAR(1)", "BOOLEAN", "INT UNSIGNED"],
    );
    let expected = values.iter().map(|value| match kind {
        "BIT(1)" => Expected::Bits(value.map(u64::from)),
        _ => Expected::optional(value.map(u8::from)),
    });
    let expected = expected.collect();
    Column::new(kind, Arc::new(BooleanArray::from(values)), expected)
}

fn random_text(bits: &mut Bits, most: u64) -> String {
    let character = |bits: &mut Bits| match bits.below(4) {
        0 => char::from(pick(bits, b"\\\n\r\t\0\x1a\"',Nn0 ")),
        1 => char::from_u32(bits.below(0x11_0000) as u32).unwrap_or('x'),
        _ => char::from(b' ' + bits.below(95) as u8),
    };
    let length = bits.below(most + 1);
    (0..length).map(|_| character(bits)).collect()
}

fn texts(bits: &mut Bits, rows: usize) -> Column {
    if bits.below(12) == 0 {
        let expected = vec![Expected::Bytes(None); rows];
        let kind = pick(bits, &["CHAR(1)", "TEXT", "BLOB", "GEOMETRY"]);
        return Column::new(kind, Arc::new(NullArray::new(rows)), expected);
    }
    let kind = pick(
        bits,
        &[
            "CHAR(20)",
            "VARCHAR(20)",
            "TEXT",
            "VARBINARY(80)",
            "LONGTEXT",
        ],
    );
    let values = optional(bits, rows, |bits| {
        let text = random_text(bits, 20);
        match kind {
            "CHAR(20)" => text.trim_end_matches(' ').to_owned(),
            _ => text,
        }
    });
    let expected = values
        .iter()
        .map(|v| Expected::bytes(v.as_ref().map(String::as_bytes)));
    let expected = expected.collect();
    let array: ArrayRef = Arc::new(StringArray::from(values));
    let forms = [DataType::Utf8, DataType::LargeUtf8, DataType::Utf8View];
    Column::new(kind, in_form(bits, &array, &forms), expected)
}

fn bytes(bits: &mut Bits, rows: usize) -> Column {
    let is_fixed = bits.below(3) == 0;
    let values = optional(bits, rows, |bits| {
        let length = if is_fixed { 8 } else { bits.below(13) };
        let byte = |bits: &mut Bits| match bits.below(3) {
            0 => pick(bits, b"\\\n\r\t\0\x1a\"',N"),
            _ => bits.next() as u8,
        };
        (0..length).map(|_| byte(bits)).collect::<Vec<u8>>()
    });
    let expected = values
        .iter()
        .map(|value| Expected::bytes(value.as_deref()))
        .collect();
    if is_fixed {
        let array = FixedSizeBinaryArray::try_from_sparse_iter_with_size(
            values.iter().map(|v| v.as_ref()),
            8,
        );
        let kind = pick(bits, &["BINARY(8)", "VARBINARY(8)", "BLOB"]);
        return Column::new(kind, Arc::new(array.unwrap()), expected);
    }
    let array: ArrayRef = Arc::new(BinaryArray::from_iter(values));
    let forms = [
        DataType::Binary,
        DataType::LargeBinary,
        DataType::BinaryView,
    ];
    Column::new(
        pick(bits, &["VARBINARY(12)", "BLOB"]),
        in_form(bits, &array, &forms),
        expected,
    )
}

/// Years that every unit holds, and that chrono writes as MariaDB does.
fn seconds(bits: &mut Bits, unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Nanosecond => bits.below(18_000_000_000) as i64 - 9_000_000_000,
        // From 0001 to 9999.
        _ => bits.below(315_000_000_000) as i64 - 62_000_000_000,
    }
}

fn timestamps(bits: &mut Bits, rows: usize) -> Column {
    const UNITS: [(TimeUnit, u32); 4] = [
        (TimeUnit::Second, 0),
        (TimeUnit::Millisecond, 3),
        (TimeUnit::Microsecond, 6),
        (TimeUnit::Nanosecond, 6),
    ];
    let (unit, digits) = pick(bits, &UNITS);
    let is_date = bits.below(4) == 0;
    let values = optional(bits, rows, |bits| {
        let second = seconds(bits, unit);
        match is_date {
            true => (second.div_euclid(86_400) * 86_400, 0),
            false => (second, bits.below(10u64.pow(digits))),
        }
    });
    let micros = values
        .iter()
        .map(|v| v.map(|(s, part)| s * 1_000_000 + part as i64 * 10i64.pow(6 - digits)));
    let micros: Vec<Option<i64>> = micros.collect();
    let kept = digits + bits.below(u64::from(7 - digits)) as u32;
    let shown = |micros: i64| {
        let time = DateTime::from_timestamp_micros(micros).unwrap();
        match (is_date, kept) {
            (true, _) => time.format("%Y-%m-%d").to_string(),
            (_, 0) => time.format("%Y-%m-%d %H:%M:%S").to_string(),
            (..) => {
                time.format("%Y-%m-%d %H:%M:%S%.6f").to_string()[..20 + kept as usize].to_owned()
            }
        }
    };
    let expected = micros
        .iter()
        .map(|value| Expected::optional(value.map(shown)))
        .collect();
    let array = arrow::array::TimestampMicrosecondArray::from(micros);
    let array: ArrayRef = Arc::new(array);
    if is_date {
        let forms = [
            DataType::Date32,
            DataType::Date64,
            DataType::Timestamp(unit, None),
        ];
        let form = pick(bits, &forms);
        return Column::new("DATE", cast(&array, &form).unwrap(), expected);
    }
    let zone = (bits.below(3) == 0).then(|| "+00:00".into());
    let array = cast(&array, &DataType::Timestamp(unit, zone)).unwrap();
    Column::new(format!("DATETIME({kept})"), array, expected)
}

fn times(bits: &mut Bits, rows: usize) -> Column {
    let form = pick(
        bits,
        &[
            DataType::Time32(TimeUnit::Millisecond),
            DataType::Time64(TimeUnit::Microsecond),
            DataType::Time64(TimeUnit::Nanosecond),
        ],
    );
    let values = optional(bits, rows, |bits| bits.below(86_400_000) as i64);
    let shown = |millis: i64| {
        let seconds = millis / 1000;
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        format!(
            "{hours:02}:{minutes:02}:{:02}.{:03}",
            seconds % 60,
            millis % 1000
        )
    };
    let expected = values
        .iter()
        .map(|value| Expected::optional(value.map(shown)))
        .collect();
    let array =
        arrow::array::Time32MillisecondArray::from_iter(values.iter().map(|v| v.map(|v| v as i32)));
    let array: ArrayRef = Arc::new(array);
    Column::new("TIME(3)", cast(&array, &form).unwrap(), expected)
}

fn bit_fields(bits: &mut Bits, rows: usize) -> Column {
    let width = 1 + bits.below(64);
    let values = optional(bits, rows, |bits| bits.next() >> (64 - width));
    let expected = values.iter().map(|value| Expected::Bits(*value)).collect();
    Column::new(
        format!("BIT({width})"),
        Arc::new(UInt64Array::from(values)),
        expected,
    )
}

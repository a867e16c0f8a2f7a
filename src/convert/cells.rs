//! The cells of one column of a batch, and how each is written.

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Date64Array,
    Decimal32Array, Decimal64Array, Decimal128Array, Decimal256Array, FixedSizeBinaryArray,
    Float16Array, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array,
    LargeBinaryArray, LargeStringArray, PrimitiveArray, StringArray, StringViewArray, UInt8Array,
    UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};

use super::temporal::{unit_digits, write_date, write_time, write_timestamp};
use crate::dialect::Encoder;
use crate::error::{Error, Place, Result};
use crate::schema::MysqlType;
use crate::values::{CellFault, ColumnRule, Inference, RuleCounts, RuleName, TextBuffer};

const MILLISECONDS_PER_DAY: i64 = 86_400_000;

/// Says whether cells of an Arrow type can be written; nested ones and intervals can't.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellSource {
    /// Written as it is.
    Plain,
    /// Unpacked to its value type first.
    Packed,
}

impl CellSource {
    /// Classifies the column `name`.
    ///
    /// # Errors
    /// The type has no text that MariaDB takes.
    pub fn of(name: &str, data_type: &DataType) -> Result<Self> {
        let refuse = || {
            Err(Error::usage(format!(
                "values of type {data_type} can't be written as text"
            ))
            .at(Place {
                column: Some(name.to_owned()),
                ..Place::default()
            })
            .hint("leave the column out: --exclude, --columns or a schema without it"))
        };
        match data_type {
            DataType::Dictionary(_, values) => Self::of(name, values).map(|_| Self::Packed),
            DataType::RunEndEncoded(_, values) => {
                Self::of(name, values.data_type()).map(|_| Self::Packed)
            }
            DataType::Interval(_)
            | DataType::List(_)
            | DataType::LargeList(_)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
            | DataType::FixedSizeList(..)
            | DataType::Struct(_)
            | DataType::Map(..)
            | DataType::Union(..) => refuse(),
            _ => Ok(Self::Plain),
        }
    }
}

/// One column of a batch, ready to be written cell by cell.
pub struct BoundColumn<'p> {
    rule: &'p ColumnRule,
    /// Numbers and dates meant for a text column: their text must fit.
    checks_length: bool,
    nulls: Option<NullBuffer>,
    cells: Cells,
}

enum Cells {
    Null,
    Bool(BooleanArray),
    I8(ScalarBuffer<i8>),
    I16(ScalarBuffer<i16>),
    I32(ScalarBuffer<i32>),
    I64(ScalarBuffer<i64>),
    U8(ScalarBuffer<u8>),
    U16(ScalarBuffer<u16>),
    U32(ScalarBuffer<u32>),
    U64(ScalarBuffer<u64>),
    /// Whole numbers that need a look: the target is narrower, or BIT.
    Checked(Box<dyn Fn(usize) -> i128>),
    F32(ScalarBuffer<f32>),
    F64(ScalarBuffer<f64>),
    Decimal(Box<dyn Fn(usize) -> String>),
    Date(Box<dyn Fn(usize) -> i64>),
    Timestamp {
        ticks: ScalarBuffer<i64>,
        unit: TimeUnit,
    },
    Time {
        ticks: Box<dyn Fn(usize) -> i64>,
        unit: TimeUnit,
    },
    Utf8(StringArray),
    LargeUtf8(LargeStringArray),
    Utf8View(StringViewArray),
    Binary(BinaryArray),
    LargeBinary(LargeBinaryArray),
    BinaryView(BinaryViewArray),
    FixedBinary(FixedSizeBinaryArray),
}

impl<'p> BoundColumn<'p> {
    /// Binds a column of a batch to its rule and counts what the rule does to the whole column.
    ///
    /// # Errors
    /// The column can't be unpacked.
    pub fn bind(
        rule: &'p ColumnRule,
        source: CellSource,
        array: &ArrayRef,
        counts: &mut RuleCounts,
    ) -> Result<Self> {
        let array = match source {
            CellSource::Plain => array.clone(),
            CellSource::Packed => unpack(array)?,
        };
        let cells = cells_of(rule, &array)?;
        if let Cells::Bool(values) = &cells
            && rule.changes_booleans()
        {
            rule.count(
                counts,
                RuleName::Bool,
                (values.len() - values.null_count()) as u64,
            );
        }
        let is_text = matches!(
            array.data_type(),
            DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
                | DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(_)
        );
        Ok(Self {
            rule,
            checks_length: !is_text && rule.target().is_some_and(MysqlType::is_character),
            nulls: array.logical_nulls().filter(|n| n.null_count() > 0),
            cells,
        })
    }

    /// Counts what [`Self::bind`] has counted of row `row`.
    pub fn recount_bound(&self, row: usize, counts: &mut RuleCounts) {
        if let Cells::Bool(values) = &self.cells
            && self.rule.changes_booleans()
            && values.is_valid(row)
        {
            self.rule.count(counts, RuleName::Bool, 1);
        }
    }

    /// Writes the cell of row `row`.
    ///
    /// # Errors
    /// The value does not fit the target, or the policy refuses it.
    #[inline]
    pub fn write(
        &self,
        row: usize,
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        let start = out.len();
        self.write_value(row, encoder, out, counts)?;
        if self.checks_length {
            self.rule
                .check_length(out.as_slice().get(start..).unwrap_or_default())?;
        }
        Ok(())
    }

    #[inline]
    fn write_value(
        &self,
        row: usize,
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return self.rule.null(out);
        }
        match &self.cells {
            Cells::F64(values) => return self.rule.double(values[row], out, counts),
            Cells::F32(values) => return self.rule.single(values[row], out, counts),
            Cells::I64(values) => push_integer(values[row], out),
            Cells::I32(values) => push_integer(values[row], out),
            Cells::Bool(values) => self.rule.boolean(values.value(row), out),
            Cells::I16(values) => push_integer(values[row], out),
            Cells::I8(values) => push_integer(values[row], out),
            Cells::U8(values) => push_integer(values[row], out),
            Cells::U16(values) => push_integer(values[row], out),
            Cells::U32(values) => push_integer(values[row], out),
            Cells::U64(values) => push_integer(values[row], out),
            Cells::Utf8(values) => return self.text(values.value(row), encoder, out, counts),
            Cells::LargeUtf8(values) => return self.text(values.value(row), encoder, out, counts),
            Cells::Utf8View(values) => return self.text(values.value(row), encoder, out, counts),
            Cells::Binary(values) => return self.rule.bytes(values.value(row), encoder, out),
            Cells::LargeBinary(values) => return self.rule.bytes(values.value(row), encoder, out),
            Cells::BinaryView(values) => return self.rule.bytes(values.value(row), encoder, out),
            Cells::FixedBinary(values) => return self.rule.bytes(values.value(row), encoder, out),
            _ => return self.write_seldom(row, encoder, out, counts),
        }
        Ok(())
    }

    fn text(
        &self,
        value: &str,
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        match self.rule.target() {
            // Text meant for a number column obeys the rules of numbers.
            Some(
                MysqlType::Integer { .. }
                | MysqlType::Float
                | MysqlType::Double
                | MysqlType::Decimal { .. },
            ) => self
                .rule
                .text_value(value.as_bytes(), Inference::Off, encoder, out, counts),
            _ if self.rule.is_null_text(value.as_bytes()) => {
                self.rule.count(counts, RuleName::NullText, 1);
                self.rule.null(out)
            }
            _ => self.rule.text(value, encoder, out),
        }
    }

    fn write_seldom(
        &self,
        row: usize,
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        match &self.cells {
            Cells::Null => self.rule.null(out),
            Cells::Checked(number) => self.checked(number(row), encoder, out),
            Cells::Decimal(text) => {
                let value = text(row);
                match self.rule.target() {
                    Some(MysqlType::Integer { .. }) => {
                        let value = value.as_bytes();
                        self.rule
                            .text_value(value, Inference::Off, encoder, out, counts)
                    }
                    _ => {
                        out.extend(value.as_bytes());
                        Ok(())
                    }
                }
            }
            Cells::Date(days) => {
                let days = i32::try_from(days(row)).unwrap_or(i32::MAX);
                in_range(write_date(days, out), days, "a date of the years 0 to 9999")
            }
            Cells::Timestamp { ticks, unit } => {
                let digits = self.digits(ticks[row], *unit, counts);
                let written = write_timestamp(ticks[row], *unit, digits, out);
                in_range(written, ticks[row], "a time of the years 0 to 9999")
            }
            Cells::Time { ticks, unit } => {
                let digits = self.digits(ticks(row), *unit, counts);
                let written = write_time(ticks(row), *unit, digits, out);
                in_range(written, ticks(row), "a time up to 838:59:59")
            }
            _ => Err(CellFault::new(
                "a type without an encoder; please report this",
            )),
        }
    }

    /// Returns the sub-second digits that the target keeps, and counts those that are lost.
    fn digits(&self, ticks: i64, unit: TimeUnit, counts: &mut RuleCounts) -> u8 {
        let kept = match self.rule.target() {
            Some(MysqlType::DateTime(digits) | MysqlType::Time(digits)) => digits,
            // MariaDB knows microseconds at best.
            _ => 6,
        };
        let kept = kept.min(unit_digits(unit));
        let lost = 10i64.pow(u32::from(unit_digits(unit) - kept));
        if ticks % lost != 0 {
            self.rule.count(counts, RuleName::Fraction, 1);
        }
        kept
    }

    fn checked(
        &self,
        number: i128,
        encoder: &Encoder,
        out: &mut TextBuffer,
    ) -> Result<(), CellFault> {
        if let Some(MysqlType::Bit(bits)) = self.rule.target() {
            // BIT takes raw bytes: the digit 1 would be the byte 0x31.
            if number < 0 || number >= 1i128 << bits.min(64) {
                let expected = format!(", expected {bits} bits");
                return Err(CellFault::found(number.to_string(), expected));
            }
            let bytes = (number as u64).to_be_bytes();
            let used = usize::from(bits.div_ceil(8)).clamp(1, 8);
            return self.rule.bytes(&bytes[8 - used..], encoder, out);
        }
        self.rule.check_integer(number)?;
        push_integer(number, out);
        Ok(())
    }
}

fn push_integer(number: impl itoa::Integer, out: &mut TextBuffer) {
    out.push_short(itoa::Buffer::new().format(number).as_bytes());
}

fn in_range(
    is_written: bool,
    found: impl std::fmt::Display,
    expected: &str,
) -> Result<(), CellFault> {
    if is_written {
        return Ok(());
    }
    Err(CellFault::found(
        found.to_string(),
        format!(" in the column's unit, expected {expected}"),
    ))
}

fn unpack(array: &ArrayRef) -> Result<ArrayRef> {
    let values = match array.data_type() {
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        DataType::RunEndEncoded(_, values) => values.data_type().clone(),
        _ => return Ok(array.clone()),
    };
    let plain = cast(array, &values).map_err(|error| Error::usage(error.to_string()))?;
    unpack(&plain)
}

fn downcast<T: Array + Clone + 'static>(array: &ArrayRef) -> Result<T> {
    array.as_any().downcast_ref::<T>().cloned().ok_or_else(|| {
        let data_type = array.data_type();
        Error::new(
            crate::error::ErrorKind::Internal,
            format!("no encoder for {data_type}"),
        )
    })
}

fn primitive<T: ArrowPrimitiveType>(array: &ArrayRef) -> Result<ScalarBuffer<T::Native>> {
    Ok(downcast::<PrimitiveArray<T>>(array)?.values().clone())
}

/// Makes the cells of an integer column: checked only where the target is narrower.
macro_rules! integer_cells {
    ($rule:expr, $array:expr, $arrow:ty, $native:ty, $variant:ident) => {{
        let values = downcast::<$arrow>($array)?.values().clone();
        let is_bit = matches!($rule.target(), Some(MysqlType::Bit(_)));
        if !is_bit && $rule.holds_integers(<$native>::MIN.into(), <$native>::MAX.into()) {
            Cells::$variant(values)
        } else {
            Cells::Checked(Box::new(move |row| values[row].into()))
        }
    }};
}

macro_rules! decimal_cells {
    ($array:expr, $arrow:ty) => {{
        let values = downcast::<$arrow>($array)?;
        Cells::Decimal(Box::new(move |row| values.value_as_string(row)))
    }};
}

fn cells_of(rule: &ColumnRule, array: &ArrayRef) -> Result<Cells> {
    Ok(match array.data_type() {
        DataType::Null => Cells::Null,
        DataType::Boolean => {
            let values: BooleanArray = downcast(array)?;
            match rule.target() {
                Some(MysqlType::Bit(_)) => {
                    Cells::Checked(Box::new(move |row| values.value(row).into()))
                }
                _ => Cells::Bool(values),
            }
        }
        DataType::Int8 => integer_cells!(rule, array, Int8Array, i8, I8),
        DataType::Int16 => integer_cells!(rule, array, Int16Array, i16, I16),
        DataType::Int32 => integer_cells!(rule, array, Int32Array, i32, I32),
        DataType::Int64 => integer_cells!(rule, array, Int64Array, i64, I64),
        DataType::UInt8 => integer_cells!(rule, array, UInt8Array, u8, U8),
        DataType::UInt16 => integer_cells!(rule, array, UInt16Array, u16, U16),
        DataType::UInt32 => integer_cells!(rule, array, UInt32Array, u32, U32),
        DataType::UInt64 => integer_cells!(rule, array, UInt64Array, u64, U64),
        DataType::Float16 => {
            let values: Float16Array = downcast(array)?;
            Cells::F32(values.values().iter().map(|half| half.to_f32()).collect())
        }
        DataType::Float32 => Cells::F32(downcast::<Float32Array>(array)?.values().clone()),
        DataType::Float64 => Cells::F64(downcast::<Float64Array>(array)?.values().clone()),
        DataType::Decimal32(..) => decimal_cells!(array, Decimal32Array),
        DataType::Decimal64(..) => decimal_cells!(array, Decimal64Array),
        DataType::Decimal128(..) => decimal_cells!(array, Decimal128Array),
        DataType::Decimal256(..) => decimal_cells!(array, Decimal256Array),
        DataType::Utf8 => Cells::Utf8(downcast(array)?),
        DataType::LargeUtf8 => Cells::LargeUtf8(downcast(array)?),
        DataType::Utf8View => Cells::Utf8View(downcast(array)?),
        DataType::Binary => Cells::Binary(downcast(array)?),
        DataType::LargeBinary => Cells::LargeBinary(downcast(array)?),
        DataType::BinaryView => Cells::BinaryView(downcast(array)?),
        DataType::FixedSizeBinary(_) => Cells::FixedBinary(downcast(array)?),
        _ => temporal_cells(array)?,
    })
}

fn temporal_cells(array: &ArrayRef) -> Result<Cells> {
    let timestamp = |ticks, unit| Cells::Timestamp { ticks, unit };
    let integer = |values: ScalarBuffer<i64>| Cells::I64(values);
    Ok(match array.data_type() {
        DataType::Date32 => {
            let days = downcast::<Date32Array>(array)?.values().clone();
            Cells::Date(Box::new(move |row| days[row].into()))
        }
        DataType::Date64 => {
            let ticks = downcast::<Date64Array>(array)?.values().clone();
            Cells::Date(Box::new(move |row| {
                ticks[row].div_euclid(MILLISECONDS_PER_DAY)
            }))
        }
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => timestamp(primitive::<TimestampSecondType>(array)?, *unit),
            TimeUnit::Millisecond => {
                timestamp(primitive::<TimestampMillisecondType>(array)?, *unit)
            }
            TimeUnit::Microsecond => {
                timestamp(primitive::<TimestampMicrosecondType>(array)?, *unit)
            }
            TimeUnit::Nanosecond => timestamp(primitive::<TimestampNanosecondType>(array)?, *unit),
        },
        DataType::Time32(unit) => {
            let ticks = match unit {
                TimeUnit::Second => primitive::<Time32SecondType>(array)?,
                _ => primitive::<Time32MillisecondType>(array)?,
            };
            Cells::Time {
                ticks: Box::new(move |row| ticks[row].into()),
                unit: *unit,
            }
        }
        DataType::Time64(unit) => {
            let ticks = match unit {
                TimeUnit::Microsecond => primitive::<Time64MicrosecondType>(array)?,
                _ => primitive::<Time64NanosecondType>(array)?,
            };
            Cells::Time {
                ticks: Box::new(move |row| ticks[row]),
                unit: *unit,
            }
        }
        DataType::Duration(unit) => integer(match unit {
            TimeUnit::Second => primitive::<DurationSecondType>(array)?,
            TimeUnit::Millisecond => primitive::<DurationMillisecondType>(array)?,
            TimeUnit::Microsecond => primitive::<DurationMicrosecondType>(array)?,
            TimeUnit::Nanosecond => primitive::<DurationNanosecondType>(array)?,
        }),
        other => {
            return Err(Error::usage(format!(
                "values of type {other} can't be written as text"
            )));
        }
    })
}

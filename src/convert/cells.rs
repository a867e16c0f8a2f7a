//! The cells of one column of a batch, and how each is written.

use arrow::array::cast::AsArray;
use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Date64Array,
    Decimal32Array, Decimal64Array, Decimal128Array, Decimal256Array, FixedSizeBinaryArray,
    Float16Array, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array,
    LargeBinaryArray, LargeStringArray, PrimitiveArray, RunArray, StringArray, StringViewArray,
    UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};

use super::nested::NestedColumn;
use super::number_block::{NumberWriter, SLOT_BYTES};
use super::source_type::CellSource;
use crate::dialect::Encoder;
use crate::error::{Error, ErrorKind, Result};
use crate::schema::MysqlType;
use crate::values::{
    CellFault, ColumnRule, Inference, Number, RuleCounts, RuleName, TextBuffer, copy_short,
};

const MILLISECONDS_PER_DAY: i64 = 86_400_000;

/// One column of a batch, ready to be written cell by cell.
pub struct BoundColumn<'p> {
    rule: &'p ColumnRule,
    /// Numbers and dates meant for a column of text or bytes: their text must fit.
    checks_length: bool,
    /// Text meant for a number or date obeys the rules of those.
    reads_text: bool,
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
    Decimal {
        unscaled: Box<dyn Fn(usize) -> i128>,
        scale: i8,
    },
    LongDecimal {
        values: Decimal256Array,
        scale: i8,
    },
    Date(Box<dyn Fn(usize) -> i64>),
    Timestamp {
        ticks: ScalarBuffer<i64>,
        unit: TimeUnit,
        is_zoned: bool,
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
    Nested(NestedColumn),
    /// Dictionary and run-end: each row has the number of a value.
    Mapped {
        number: Box<dyn Fn(usize) -> usize>,
        values: Box<Cells>,
    },
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
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let cells = match source {
            CellSource::Plain => cells_of(rule, array)?,
            CellSource::Nested => Cells::Nested(NestedColumn::new(array, rule.charset())),
        };
        if let Cells::Bool(values) = &cells
            && rule.changes_booleans()
        {
            let trues_and_falses = values.len() - values.null_count();
            rule.count(counts, RuleName::Bool, trues_and_falses as u64);
        }
        let target = rule.target();
        let takes_text = target.is_some_and(|t| t.is_character() || t.is_binary());
        Ok(Self {
            rule,
            checks_length: takes_text && !cells.check_their_length(),
            reads_text: target.is_some_and(MysqlType::reads_text),
            nulls,
            cells,
        })
    }

    /// Says whether every text of the column is short, so that it can be written ahead.
    pub(super) fn is_short(&self) -> bool {
        let is_number = match &self.cells {
            Cells::F64(_) | Cells::F32(_) => self.rule.takes_floats_as_they_are(),
            Cells::Bool(_) => self.rule.changes_booleans(),
            Cells::I8(_) | Cells::I16(_) | Cells::I32(_) | Cells::I64(_) => true,
            Cells::U8(_) | Cells::U16(_) | Cells::U32(_) | Cells::U64(_) => true,
            Cells::Timestamp { .. } => true,
            _ => false,
        };
        is_number && !self.checks_length && self.rule.null_text().len() < SLOT_BYTES
    }

    /// Writes rows of a column whose texts are short.
    pub(super) fn write_numbers(
        &self,
        writer: NumberWriter<'_>,
        encoder: &Encoder,
        counts: &mut RuleCounts,
    ) {
        let slow = |row: usize, out: &mut TextBuffer| self.write(row, encoder, out, counts);
        let nulls = self.nulls.as_ref();
        let is_null = |row: usize| nulls.is_some_and(|nulls| nulls.is_null(row));
        macro_rules! integers {
            ($values:expr) => {
                writer.write_each(
                    |row, slot| match is_null(row) {
                        true => 0,
                        false => short_integer($values[row], slot),
                    },
                    slow,
                )
            };
        }
        match &self.cells {
            Cells::F64(values) => writer.write_floats(values, is_null, slow),
            Cells::F32(values) => writer.write_floats(values, is_null, slow),
            Cells::Bool(values) => writer.write_each(
                |row, slot| {
                    slot[0] = b'0' + u8::from(values.value(row));
                    usize::from(!is_null(row))
                },
                slow,
            ),
            Cells::I8(values) => integers!(values),
            Cells::I16(values) => integers!(values),
            Cells::I32(values) => integers!(values),
            Cells::I64(values) => integers!(values),
            Cells::U8(values) => integers!(values),
            Cells::U16(values) => integers!(values),
            Cells::U32(values) => integers!(values),
            Cells::U64(values) => integers!(values),
            _ => writer.write_each(|_, _| 0, slow),
        }
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
        self.write_cell(&self.cells, row, encoder, out, counts)
    }

    #[inline]
    fn write_cell(
        &self,
        cells: &Cells,
        row: usize,
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        match cells {
            Cells::F64(values) => return self.rule.double(values[row], out, counts),
            Cells::F32(values) => return self.rule.single(values[row], out, counts),
            Cells::I64(values) => push_integer(values[row], out),
            Cells::I32(values) => push_integer(values[row], out),
            Cells::Bool(values) => {
                return self.rule.boolean(values.value(row), encoder, out, counts);
            }
            Cells::I16(values) => push_integer(values[row], out),
            Cells::I8(values) => push_integer(values[row], out),
            Cells::U8(values) => push_integer(values[row], out),
            Cells::U16(values) => push_integer(values[row], out),
            Cells::U32(values) => push_integer(values[row], out),
            Cells::U64(values) => push_integer(values[row], out),
            Cells::Utf8(values) => return self.text(values.value(row), encoder, out, counts),
            _ => return self.write_seldom(cells, row, encoder, out, counts),
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
        if self.reads_text {
            let value = value.as_bytes();
            return self
                .rule
                .text_value(value, Inference::Off, encoder, out, counts);
        }
        if self.rule.null_if_spelt(value.as_bytes(), out, counts)? {
            return Ok(());
        }
        if self.rule.judges_text() {
            return self.rule.judged_text(value, encoder, out, counts);
        }
        self.rule.text(value, encoder, out, counts)
    }

    fn binary(
        &self,
        value: &[u8],
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        if self.reads_text {
            return self
                .rule
                .text_value(value, Inference::Off, encoder, out, counts);
        }
        if self.rule.null_if_spelt(value, out, counts)? {
            return Ok(());
        }
        self.rule.bytes(value, encoder, out, counts)
    }

    fn write_seldom(
        &self,
        cells: &Cells,
        row: usize,
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        match cells {
            Cells::Null => self.rule.null(out),
            Cells::LargeUtf8(values) => self.text(values.value(row), encoder, out, counts),
            Cells::Utf8View(values) => self.text(values.value(row), encoder, out, counts),
            Cells::Binary(values) => self.binary(values.value(row), encoder, out, counts),
            Cells::LargeBinary(values) => self.binary(values.value(row), encoder, out, counts),
            Cells::BinaryView(values) => self.binary(values.value(row), encoder, out, counts),
            Cells::FixedBinary(values) => self.binary(values.value(row), encoder, out, counts),
            Cells::Nested(column) => {
                column.with_text(row, |text| self.rule.text(text, encoder, out, counts))
            }
            Cells::Checked(number) => self.rule.integer(number(row), encoder, out, counts),
            Cells::Decimal { unscaled, scale } => {
                self.rule
                    .decimal(unscaled(row), *scale, encoder, out, counts)
            }
            Cells::LongDecimal { values, scale } => {
                let digits = values.value(row).to_string();
                let number = Number::scaled(digits.as_bytes(), *scale);
                self.rule.decimal_number(&number, encoder, out, counts)
            }
            Cells::Date(days) => self.rule.date(days(row), out, counts),
            Cells::Timestamp {
                ticks,
                unit,
                is_zoned,
            } => self
                .rule
                .timestamp(ticks[row], *unit, *is_zoned, out, counts),
            Cells::Time { ticks, unit } => self.rule.time(ticks(row), *unit, out, counts),
            Cells::Mapped { number, values } => {
                self.write_cell(values, number(row), encoder, out, counts)
            }
            _ => Err(CellFault::new(
                "a type without an encoder; please report this",
            )),
        }
    }
}

impl Cells {
    /// Says whether the rules of these cells look at the length of what they write.
    fn check_their_length(&self) -> bool {
        match self {
            Self::Mapped { values, .. } => values.check_their_length(),
            Self::Null
            | Self::Utf8(_)
            | Self::LargeUtf8(_)
            | Self::Utf8View(_)
            | Self::Binary(_)
            | Self::LargeBinary(_)
            | Self::BinaryView(_)
            | Self::FixedBinary(_)
            | Self::Nested(_)
            | Self::Checked(_) => true,
            _ => false,
        }
    }
}

#[inline]
fn short_integer(number: impl itoa::Integer, slot: &mut [u8; SLOT_BYTES]) -> usize {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number).as_bytes();
    copy_short(slot, text);
    text.len()
}

fn push_integer(number: impl itoa::Integer, out: &mut TextBuffer) {
    out.push_short(itoa::Buffer::new().format(number).as_bytes());
}

fn downcast<T: Array + Clone + 'static>(array: &ArrayRef) -> Result<T> {
    let typed = array.as_any().downcast_ref::<T>().cloned();
    typed.ok_or_else(|| no_encoder(array.data_type()))
}

fn primitive<T: ArrowPrimitiveType>(array: &ArrayRef) -> Result<ScalarBuffer<T::Native>> {
    Ok(downcast::<PrimitiveArray<T>>(array)?.values().clone())
}

/// Makes the cells of an integer column: checked only where the target is narrower.
macro_rules! integer_cells {
    ($rule:expr, $array:expr, $arrow:ty, $native:ty, $variant:ident) => {{
        let values = downcast::<$arrow>($array)?.values().clone();
        if $rule.holds_integers(<$native>::MIN.into(), <$native>::MAX.into()) {
            Cells::$variant(values)
        } else {
            Cells::Checked(Box::new(move |row| values[row].into()))
        }
    }};
}

macro_rules! decimal_cells {
    ($array:expr, $arrow:ty) => {{
        let values = downcast::<$arrow>($array)?;
        let scale = values.scale();
        Cells::Decimal {
            unscaled: Box::new(move |row| values.value(row).into()),
            scale,
        }
    }};
}

fn cells_of(rule: &ColumnRule, array: &ArrayRef) -> Result<Cells> {
    Ok(match array.data_type() {
        DataType::Null => Cells::Null,
        DataType::Boolean => Cells::Bool(downcast(array)?),
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
        DataType::Decimal256(_, scale) => Cells::LongDecimal {
            values: downcast(array)?,
            scale: *scale,
        },
        DataType::Utf8 => Cells::Utf8(downcast(array)?),
        DataType::LargeUtf8 => Cells::LargeUtf8(downcast(array)?),
        DataType::Utf8View => Cells::Utf8View(downcast(array)?),
        DataType::Binary => Cells::Binary(downcast(array)?),
        DataType::LargeBinary => Cells::LargeBinary(downcast(array)?),
        DataType::BinaryView => Cells::BinaryView(downcast(array)?),
        DataType::FixedSizeBinary(_) => Cells::FixedBinary(downcast(array)?),
        DataType::Dictionary(..) => dictionary_cells(rule, array)?,
        DataType::RunEndEncoded(..) => run_end_cells(rule, array)?,
        DataType::Duration(_) => duration_cells(rule, array)?,
        _ => temporal_cells(array)?,
    })
}

/// Makes the cells of a dictionary, whose values are written through their numbers.
fn dictionary_cells(rule: &ColumnRule, array: &ArrayRef) -> Result<Cells> {
    let Some(dictionary) = array.as_any_dictionary_opt() else {
        return unpacked(rule, array);
    };
    if dictionary.values().is_empty() {
        // There is no value that a key could mean: all rows are NULL.
        return Ok(Cells::Null);
    }
    if dictionary.values().data_type() == &DataType::Boolean {
        // Booleans are counted by column.
        return unpacked(rule, array);
    }
    let values = Box::new(cells_of(rule, dictionary.values())?);
    let numbers = dictionary.normalized_keys();
    Ok(Cells::Mapped {
        number: Box::new(move |row| numbers[row]),
        values,
    })
}

/// Makes the cells of runs, whose values are written through their numbers.
fn run_end_cells(rule: &ColumnRule, array: &ArrayRef) -> Result<Cells> {
    macro_rules! runs {
        ($ends:ty) => {
            if let Some(runs) = array.as_any().downcast_ref::<RunArray<$ends>>()
                && runs.values().data_type() != &DataType::Boolean
            {
                let values = Box::new(cells_of(rule, runs.values())?);
                let runs = runs.clone();
                return Ok(Cells::Mapped {
                    number: Box::new(move |row| runs.get_physical_index(row)),
                    values,
                });
            }
        };
    }
    runs!(Int16Type);
    runs!(Int32Type);
    runs!(Int64Type);
    unpacked(rule, array)
}

fn unpacked(rule: &ColumnRule, array: &ArrayRef) -> Result<Cells> {
    let values = match array.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        DataType::RunEndEncoded(_, values) => values.data_type(),
        other => return Err(no_encoder(other)),
    };
    let plain = cast(array, values).map_err(|error| Error::usage(error.to_string()))?;
    cells_of(rule, &plain)
}

/// Makes the cells of durations: whole numbers of their unit, or times where the target is TIME.
fn duration_cells(rule: &ColumnRule, array: &ArrayRef) -> Result<Cells> {
    let DataType::Duration(unit) = array.data_type() else {
        return Err(no_encoder(array.data_type()));
    };
    let ticks = match unit {
        TimeUnit::Second => primitive::<DurationSecondType>(array)?,
        TimeUnit::Millisecond => primitive::<DurationMillisecondType>(array)?,
        TimeUnit::Microsecond => primitive::<DurationMicrosecondType>(array)?,
        TimeUnit::Nanosecond => primitive::<DurationNanosecondType>(array)?,
    };
    Ok(match rule.target() {
        Some(MysqlType::Time(_)) => Cells::Time {
            ticks: Box::new(move |row| ticks[row]),
            unit: *unit,
        },
        _ if rule.holds_integers(i64::MIN.into(), i64::MAX.into()) => Cells::I64(ticks),
        _ => Cells::Checked(Box::new(move |row| ticks[row].into())),
    })
}

fn temporal_cells(array: &ArrayRef) -> Result<Cells> {
    let is_zoned = matches!(array.data_type(), DataType::Timestamp(_, Some(_)));
    let timestamp = |ticks, unit| Cells::Timestamp {
        ticks,
        unit,
        is_zoned,
    };
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
        other => return Err(no_encoder(other)),
    })
}

fn no_encoder(data_type: &DataType) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("no encoder for {data_type}; please report this"),
    )
}

#[cfg(test)]
mod tests;

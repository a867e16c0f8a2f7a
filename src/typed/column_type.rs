//! Which type a column of a Parquet file gets.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use crate::convert::mysql_type_of;
use crate::schema::{MysqlType, OutputColumn};
use crate::values::BoolPolicy;

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    /// Bytes as they are.
    Bytes,
    /// Text in UTF-8.
    Text,
    /// What is read out of text by Arrow's rules: numbers, dates, times, booleans.
    Parsed(DataType),
}

/// A column of a Parquet file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedColumn {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: ColumnType,
    /// Whether it has no NULL.
    pub is_not_null: bool,
}

/// Digits that Arrow's decimals of 128 bits hold.
const MOST_DIGITS_OF_128: u8 = 38;

impl ColumnType {
    /// Returns the type that holds what a column of the table's type `target` does.
    pub fn of_mysql(target: MysqlType) -> Self {
        Self::Parsed(match target {
            MysqlType::Integer { bits, unsigned } => match (bits, unsigned) {
                (..=8, false) => DataType::Int8,
                (..=8, true) => DataType::UInt8,
                (..=16, false) => DataType::Int16,
                (..=16, true) => DataType::UInt16,
                (..=32, false) => DataType::Int32,
                (..=32, true) => DataType::UInt32,
                (_, false) => DataType::Int64,
                (_, true) => DataType::UInt64,
            },
            MysqlType::Float => DataType::Float32,
            MysqlType::Double => DataType::Float64,
            MysqlType::Decimal { precision, scale } => {
                let scale = i8::try_from(scale).unwrap_or(0);
                match precision {
                    ..=MOST_DIGITS_OF_128 => DataType::Decimal128(precision, scale),
                    _ => DataType::Decimal256(precision, scale),
                }
            }
            MysqlType::Date => DataType::Date32,
            MysqlType::DateTime(digits) => DataType::Timestamp(unit(digits), None),
            MysqlType::Timestamp(digits) => DataType::Timestamp(unit(digits), Some("UTC".into())),
            MysqlType::Binary(_)
            | MysqlType::Varbinary(_)
            | MysqlType::Blob(_)
            | MysqlType::Bit(_)
            | MysqlType::Geometry => return Self::Bytes,
            // A TIME of MariaDB's may be below zero and beyond a day, which no type of Parquet is.
            MysqlType::Char(_)
            | MysqlType::Varchar(_)
            | MysqlType::Text(_)
            | MysqlType::Time(_)
            | MysqlType::Json
            | MysqlType::Other => return Self::Text,
        })
    }

    /// Returns the type for what an input holds as `data_type`.
    pub fn of_arrow(data_type: &DataType, bools: BoolPolicy) -> Self {
        match data_type {
            DataType::Boolean if bools == BoolPolicy::Keep => Self::Parsed(DataType::Boolean),
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Bytes,
            DataType::Time32(_) => Self::Parsed(DataType::Time32(TimeUnit::Millisecond)),
            DataType::Time64(_) => Self::Parsed(DataType::Time64(TimeUnit::Microsecond)),
            DataType::Timestamp(_, Some(_)) => match mysql_type_of(data_type) {
                Some(MysqlType::DateTime(digits)) => Self::of_mysql(MysqlType::Timestamp(digits)),
                _ => Self::Text,
            },
            DataType::Dictionary(_, values) => Self::of_arrow(values, bools),
            DataType::RunEndEncoded(_, values) => Self::of_arrow(values.data_type(), bools),
            other => mysql_type_of(other).map_or(Self::Text, Self::of_mysql),
        }
    }

    /// Returns Arrow's name of the type.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Bytes => DataType::Binary,
            Self::Text => DataType::Utf8,
            Self::Parsed(data_type) => data_type.clone(),
        }
    }
}

/// Returns the unit of time for so many digits behind the second: Parquet has none longer.
fn unit(digits: u8) -> TimeUnit {
    match digits {
        ..=3 => TimeUnit::Millisecond,
        _ => TimeUnit::Microsecond,
    }
}

impl TypedColumn {
    /// Settles the type of an output's column: the schema's, else that of the input's column.
    pub fn of(column: &OutputColumn, input: Option<&DataType>, bools: BoolPolicy) -> Self {
        let kind = match (column.target, input) {
            (None, None) if column.is_number_of_chunk() => ColumnType::Parsed(DataType::Int32),
            // The times of a day that an input of that type holds are one.
            (
                Some(MysqlType::Time(_)),
                Some(time @ (DataType::Time32(_) | DataType::Time64(_))),
            ) => ColumnType::of_arrow(time, bools),
            (Some(target), _) => ColumnType::of_mysql(target),
            (None, Some(data_type)) => ColumnType::of_arrow(data_type, bools),
            (None, None) => ColumnType::Text,
        };
        Self {
            name: column.name.clone(),
            kind,
            is_not_null: column.is_not_null,
        }
    }

    /// Returns the columns as Arrow's schema.
    pub(super) fn schema(columns: &[Self]) -> Schema {
        let field =
            |column: &Self| Field::new(&column.name, column.kind.data_type(), !column.is_not_null);
        Schema::new(columns.iter().map(field).collect::<Vec<_>>())
    }
}

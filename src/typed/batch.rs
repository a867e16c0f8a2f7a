//! Some rows whose fields are read as the types of their columns.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Float32Array, StringArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Float32Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
};
use rayon::prelude::*;

use super::column_type::{ColumnType, TypedColumn};
use super::spellings;
use crate::dialect::{Dialect, Fields, Records};
use crate::error::{Error, ErrorKind, Place, Result, quote_value};

/// Text and rows from which on a batch is full.
const BATCH_TEXT: usize = 2 << 20;
const BATCH_ROWS: usize = 16 << 10;

/// Takes up rows until there are enough of them.
pub(super) struct Batch {
    columns: Vec<TypedColumn>,
    dialect: Dialect,
    /// The values of each column as bytes, not read yet.
    values: Vec<BinaryBuilder>,
    fields: Fields,
    scratch: Vec<u8>,
    rows: usize,
    text: usize,
    /// Rows of the batches before.
    before: u64,
}

impl Batch {
    /// Makes an empty batch of rows that are written in `dialect`.
    pub(super) fn new(columns: Vec<TypedColumn>, dialect: Dialect) -> Self {
        Self {
            values: columns.iter().map(|_| BinaryBuilder::new()).collect(),
            columns,
            dialect,
            fields: Fields::new(),
            scratch: Vec::new(),
            rows: 0,
            text: 0,
            before: 0,
        }
    }

    /// Takes up the only row of `text`.
    ///
    /// # Errors
    /// It has another number of fields than there are columns, which is a fault of skyprep.
    pub(super) fn push(&mut self, text: &[u8]) -> Result<()> {
        let mut records = Records::new(&self.dialect, text);
        let found = records.next(&mut self.fields);
        if !matches!(found, Ok(Some(_))) || self.fields.count() != self.columns.len() {
            let message = format!(
                "an output row has {} fields, expected {}",
                self.fields.count(),
                self.columns.len()
            );
            return Err(Error::of_ours(message).at(self.place(self.rows, None)));
        }
        for (field, values) in self.fields.iter(text).zip(&mut self.values) {
            match self.dialect.is_null(field) {
                true => values.append_null(),
                false => values.append_value(self.dialect.value(field, &mut self.scratch)),
            }
        }
        self.rows += 1;
        self.text += text.len();
        Ok(())
    }

    /// Returns the rows and the bytes of text that are in it.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.rows, self.text)
    }

    /// Says whether it is to be taken before another row comes.
    pub(super) fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.text >= BATCH_TEXT
    }

    /// Reads the values as their columns' types, on all threads, and begins anew.
    ///
    /// # Errors
    /// A value is none of its column's type.
    pub(super) fn take(&mut self) -> Result<Vec<ArrayRef>> {
        let taken: Vec<BinaryArray> = self.values.iter_mut().map(BinaryBuilder::finish).collect();
        let columns: &[TypedColumn] = &self.columns;
        let read: Vec<Result<ArrayRef, (usize, Fault)>> = taken
            .into_par_iter()
            .zip(columns)
            .enumerate()
            .map(|(number, (values, column))| {
                read_as(values, column).map_err(|fault| (number, fault))
            })
            .collect();
        // Of several the first row counts, then the first column.
        let faults = read.iter().filter_map(|read| read.as_ref().err());
        if let Some((number, fault)) = faults.min_by_key(|(number, fault)| (fault.row, *number)) {
            let column = self.columns.get(*number);
            return Err(self.refused(fault, column));
        }
        (self.before, self.rows, self.text) = (self.before + self.rows as u64, 0, 0);
        Ok(read.into_iter().flatten().collect())
    }

    fn refused(&self, fault: &Fault, column: Option<&TypedColumn>) -> Error {
        let expected = column.map_or_else(String::new, |column| match column.is_not_null {
            true if fault.value.is_none() => "a value: the column is NOT NULL".to_owned(),
            _ => format!("{} in Parquet", column.kind.data_type()),
        });
        let found = match &fault.value {
            None => "NULL".to_owned(),
            Some(value) => quote_value(value),
        };
        let message = format!("found {found}, expected {expected}");
        Error::new(ErrorKind::DataRefused, message)
            .at(self.place(fault.row, column.map(|column| column.name.clone())))
            .hint(
                "the row is counted in the output; text takes what Parquet has no value for; without \
                 --schema a column has the type that it has in the first input",
            )
    }

    fn place(&self, row: usize, column: Option<String>) -> Place {
        Place {
            row: Some(self.before + row as u64 + 1),
            column,
            ..Place::default()
        }
    }
}

/// A value that its column can't hold.
struct Fault {
    /// Row of the batch.
    row: usize,
    /// Nothing is NULL.
    value: Option<Vec<u8>>,
}

/// Reads the values of a column.
fn read_as(values: BinaryArray, column: &TypedColumn) -> Result<ArrayRef, Fault> {
    if column.is_not_null
        && values.null_count() > 0
        && let Some(row) = (0..values.len()).find(|row| values.is_null(*row))
    {
        return Err(Fault { row, value: None });
    }
    let fault = |row: usize| Fault {
        row,
        value: Some(values.value(row).to_vec()),
    };
    let no_text = || {
        let is_bad = |row: &usize| std::str::from_utf8(values.value(*row)).is_err();
        fault((0..values.len()).find(is_bad).unwrap_or(0))
    };
    match &column.kind {
        ColumnType::Bytes => Ok(Arc::new(values)),
        ColumnType::Text => match StringArray::try_from_binary(values.clone()) {
            Ok(texts) => Ok(Arc::new(texts)),
            Err(_) => Err(no_text()),
        },
        ColumnType::Parsed(data_type) => {
            let Ok(texts) = StringArray::try_from_binary(values.clone()) else {
                return Err(no_text());
            };
            let read = parsed(&texts, data_type);
            let read = match read.null_count() > texts.null_count() {
                true => parsed_otherwise(&texts, &read, data_type).map_err(fault)?,
                false => read,
            };
            Ok(in_zone(finite(read, &texts), data_type))
        }
    }
}

/// Reads texts as values; what is none becomes NULL.
fn parsed(texts: &StringArray, data_type: &DataType) -> ArrayRef {
    let lenient = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    let plain = without_zone(data_type);
    let read = cast_with_options(texts, &plain, &lenient);
    // A type that no text becomes has no values.
    read.unwrap_or_else(|_| new_null_array(&plain, texts.len()))
}

/// Reads texts of which some are values in another spelling; else returns the row of the first that is none.
fn parsed_otherwise(
    texts: &StringArray,
    read: &ArrayRef,
    data_type: &DataType,
) -> Result<ArrayRef, usize> {
    let mut first = None;
    let usual: StringArray = texts
        .iter()
        .enumerate()
        .map(|(row, text)| {
            let text = text?;
            if !read.is_null(row) {
                return Some(Cow::Borrowed(text));
            }
            let usual = spellings::usual(text, data_type);
            if usual.is_none() {
                first.get_or_insert(row);
            }
            usual.map(Cow::Owned)
        })
        .collect();
    if let Some(row) = first {
        return Err(row);
    }
    let read = parsed(&usual, data_type);
    let is_lost = |row: &usize| read.is_null(*row) && !texts.is_null(*row);
    match (0..texts.len()).find(is_lost) {
        Some(row) => Err(row),
        None => Ok(read),
    }
}

/// Returns the type of times without their zone: Arrow knows zones by their offsets alone, and all are
/// UTC here.
fn without_zone(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, None),
        other => other.clone(),
    }
}

/// Gives times the zone of their type.
fn in_zone(read: ArrayRef, data_type: &DataType) -> ArrayRef {
    let DataType::Timestamp(unit, Some(zone)) = data_type else {
        return read;
    };
    let zone = Arc::clone(zone);
    match unit {
        TimeUnit::Millisecond => {
            let times = read.as_primitive::<TimestampMillisecondType>();
            Arc::new(times.clone().with_timezone(zone))
        }
        _ => {
            let times = read.as_primitive::<TimestampMicrosecondType>();
            Arc::new(times.clone().with_timezone(zone))
        }
    }
}

/// Brings singles that came out infinite back: the text of the largest has fewer digits than it, for
/// MariaDB would not take more.
fn finite(read: ArrayRef, texts: &StringArray) -> ArrayRef {
    if *read.data_type() != DataType::Float32 {
        return read;
    }
    let singles = read.as_primitive::<Float32Type>();
    if !singles.iter().flatten().any(f32::is_infinite) {
        return read;
    }
    let is_number = |row: usize| texts.value(row).ends_with(|c: char| c.is_ascii_digit());
    let values = singles.iter().enumerate().map(|(row, value)| {
        value.map(|value| match value.is_infinite() && is_number(row) {
            true => f32::MAX.copysign(value),
            false => value,
        })
    });
    Arc::new(values.collect::<Float32Array>())
}

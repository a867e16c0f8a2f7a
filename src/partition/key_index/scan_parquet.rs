//! The rows of an index that is a Parquet file.
//!
//! The columns `chunkId` and `subChunkId` are known by name, whatever the case; where there are no
//! such names the second and third column are taken. The key is the first of the others.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, Schema, UInt64Type};
use rayon::prelude::*;

use super::key::{Key, KeyPlace};
use super::scan::{IndexLimits, Take, blocks_at_once, canonical, no_chunk_number, refused};
use super::source::IndexRows;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::source::{DecodeBudget, ParquetFile, SharedParquet};

/// Memory of a span beside what was decoded: what is made of its rows, at most 16,384.
const SPAN_MEMORY: u64 = 16_384 * 64;

/// Places of the columns.
struct Columns {
    key: usize,
    chunk: usize,
    sub_chunk: usize,
}

impl Columns {
    fn of(schema: &Schema) -> Result<Self> {
        let named = |name: &str| {
            let fields = schema.fields().iter();
            fields
                .clone()
                .position(|field| field.name().eq_ignore_ascii_case(name))
        };
        let (chunk, sub_chunk) = (
            named("chunkId").unwrap_or(1),
            named("subChunkId").unwrap_or(2),
        );
        let key = (0..3).find(|at| *at != chunk && *at != sub_chunk);
        let count = schema.fields().len();
        match key {
            Some(key) if chunk != sub_chunk && chunk.max(sub_chunk) < count => Ok(Self {
                key,
                chunk,
                sub_chunk,
            }),
            _ => {
                let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                Err(Error::usage(format!(
                    "found the columns {}; expected a key, chunkId and subChunkId",
                    names.join(", ")
                ))
                .hint("is this a director index?"))
            }
        }
    }
}

/// Hands all rows to `take`.
pub(super) fn scan_parquet(file: &ParquetFile, limits: &IndexLimits, take: Take<'_>) -> Result<()> {
    let columns = Columns::of(file.schema())?;
    let mut roots = [columns.key, columns.chunk, columns.sub_chunk];
    roots.sort_unstable();
    // Where the wanted columns are among those that are read.
    let place = |column| roots.iter().position(|root| *root == column).unwrap_or(0);
    let columns = Columns {
        key: place(columns.key),
        chunk: place(columns.chunk),
        sub_chunk: place(columns.sub_chunk),
    };
    let room = limits.gate.room();
    let budget = DecodeBudget {
        usual: room / 8,
        most: room / 4,
        threads: 1,
    };
    let mut first = 1u64;
    for number in 0..file.row_groups() {
        let group = file.plan(number, &roots, budget)?;
        let _open = limits.gate.charge(group.memory());
        let group = SharedParquet::new(group, 0, None);
        let row_bytes = group.window(0).1 / group.window(0).0.max(1);
        let span_rows = group.span(0).end.max(1);
        let (count, _memory) = blocks_at_once(limits, SPAN_MEMORY + 2 * row_bytes * span_rows);
        let mut span = group.span(0);
        while !span.is_empty() {
            limits.cancel.check()?;
            let mut batches = Vec::new();
            while batches.len() < count && !span.is_empty() {
                let start = first;
                first += span.end - span.start;
                batches.push((group.read(&span)?, start));
                span = group.span(span.end);
            }
            let parsed: Vec<(IndexRows, Option<Error>)> = batches
                .into_par_iter()
                .map(|(batch, first)| {
                    let mut rows = IndexRows::default();
                    let failure = parse(&batch, &columns, first, &mut rows).err();
                    (rows, failure)
                })
                .collect();
            for (rows, failure) in parsed {
                rows.iter().try_for_each(&mut *take)?;
                if let Some(failure) = failure {
                    return Err(failure);
                }
            }
        }
    }
    Ok(())
}

fn parse(batch: &RecordBatch, columns: &Columns, first: u64, rows: &mut IndexRows) -> Result<()> {
    let schema = batch.schema();
    let name = |column: usize| schema.field(column).name().clone();
    let number = |array: &ArrayRef| cast(array, &DataType::Int64).ok();
    let chunks = |column: usize, what: &'static str| {
        let array = batch.column(column);
        let is_number = array.data_type().is_integer();
        let numbers = is_number.then(|| number(array)).flatten();
        let numbers = numbers.ok_or_else(|| unexpected(array.data_type(), "whole numbers"));
        let numbers = numbers.map_err(|error| in_column(error, name(column)))?;
        let column = name(column);
        Ok::<_, Error>(move |row: usize| {
            let numbers = numbers.as_primitive::<Int64Type>();
            let found = numbers.is_valid(row).then(|| numbers.value(row));
            let number = found.and_then(|number| i32::try_from(number).ok());
            number.filter(|number| *number >= 0).ok_or_else(|| {
                let found = found.map_or_else(|| "NULL".to_owned(), |found| found.to_string());
                in_column(no_chunk_number(what, &found), column.clone())
            })
        })
    };
    let chunk = chunks(columns.chunk, "chunk")?;
    let sub_chunk = chunks(columns.sub_chunk, "sub-chunk")?;
    let keys =
        Keys::of(batch.column(columns.key)).map_err(|error| in_column(error, name(columns.key)))?;
    for row in 0..batch.num_rows() {
        let number = first + row as u64;
        let at = |error: Error| {
            error.at(Place {
                row: Some(number),
                ..Place::default()
            })
        };
        let place = KeyPlace {
            chunk: chunk(row).map_err(at)?,
            sub_chunk: sub_chunk(row).map_err(at)?,
        };
        let key = keys
            .get(row)
            .ok_or_else(|| refused("the key is NULL".to_owned()));
        let key = key.and_then(canonical);
        let key = key.map_err(|error| at(in_column(error, name(columns.key))))?;
        rows.push(key, place, number);
    }
    Ok(())
}

fn in_column(error: Error, column: String) -> Error {
    error.at(Place {
        column: Some(column),
        ..Place::default()
    })
}

fn unexpected(found: &DataType, expected: &str) -> Error {
    Error::usage(format!("the column holds {found}, expected {expected}"))
        .hint("is this a director index?")
}

/// The column of keys.
enum Keys {
    Signed(ArrayRef),
    Unsigned(ArrayRef),
    Text(ArrayRef),
    LargeText(ArrayRef),
    TextView(ArrayRef),
    Bytes(ArrayRef),
    LargeBytes(ArrayRef),
    BytesView(ArrayRef),
}

impl Keys {
    fn of(array: &ArrayRef) -> Result<Self> {
        let as_type = |wanted: &DataType| {
            cast(array, wanted).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
        };
        let array = ArrayRef::clone(array);
        Ok(match array.data_type() {
            found if found.is_signed_integer() => Self::Signed(as_type(&DataType::Int64)?),
            found if found.is_unsigned_integer() => Self::Unsigned(as_type(&DataType::UInt64)?),
            DataType::Utf8 => Self::Text(array),
            DataType::LargeUtf8 => Self::LargeText(array),
            DataType::Utf8View => Self::TextView(array),
            DataType::Binary => Self::Bytes(array),
            DataType::LargeBinary => Self::LargeBytes(array),
            DataType::BinaryView => Self::BytesView(array),
            DataType::Dictionary(_, values) => return Self::of(&as_type(values)?),
            found => return Err(unexpected(found, "whole numbers or texts")),
        })
    }

    /// Returns the key of a row, unless it is NULL.
    fn get(&self, row: usize) -> Option<Key<'_>> {
        let of = |array: &ArrayRef| array.is_valid(row).then_some(());
        Some(match self {
            Self::Signed(array) => {
                of(array)?;
                Key::Signed(array.as_primitive::<Int64Type>().value(row))
            }
            Self::Unsigned(array) => {
                of(array)?;
                Key::Unsigned(array.as_primitive::<UInt64Type>().value(row))
            }
            Self::Text(array) => {
                of(array)?;
                Key::Text(array.as_string::<i32>().value(row).as_bytes())
            }
            Self::LargeText(array) => {
                of(array)?;
                Key::Text(array.as_string::<i64>().value(row).as_bytes())
            }
            Self::TextView(array) => {
                of(array)?;
                Key::Text(array.as_string_view().value(row).as_bytes())
            }
            Self::Bytes(array) => {
                of(array)?;
                Key::Text(array.as_binary::<i32>().value(row))
            }
            Self::LargeBytes(array) => {
                of(array)?;
                Key::Text(array.as_binary::<i64>().value(row))
            }
            Self::BytesView(array) => {
                of(array)?;
                Key::Text(array.as_binary_view().value(row))
            }
        })
    }
}

//! INT96, the timestamps of old writers, read as microseconds.
//!
//! Such a value has a day of its own and reaches far beyond the years 1677 to 2262 that a count of
//! nanoseconds holds. The decoder takes nanoseconds unless told otherwise, and what is outside
//! comes out as some other time. MariaDB has microseconds at best, and these hold 290,000 years.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::Type;

/// Returns the options with which a file is read whose columns are, by default, `metadata`'s;
/// nothing if the default will do.
pub(super) fn reader_options(metadata: &ArrowReaderMetadata) -> Option<ArrowReaderOptions> {
    let leaves = metadata.parquet_schema().columns();
    let is_int96: Vec<bool> = leaves
        .iter()
        .map(|leaf| leaf.physical_type() == Type::INT96)
        .collect();
    if !is_int96.contains(&true) {
        return None;
    }
    let mut is_int96 = is_int96.into_iter();
    let schema = metadata.schema();
    let fields = schema.fields().iter();
    let fields: Vec<FieldRef> = fields.map(|f| in_microseconds(f, &mut is_int96)).collect();
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    Some(ArrowReaderOptions::new().with_schema(Arc::new(schema)))
}

/// Returns the field with microseconds where its leaves, which come next, are INT96.
fn in_microseconds(field: &FieldRef, is_int96: &mut impl Iterator<Item = bool>) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|f| in_microseconds(f, is_int96));
            DataType::Struct(fields.collect())
        }
        DataType::List(item) => DataType::List(in_microseconds(item, is_int96)),
        DataType::LargeList(item) => DataType::LargeList(in_microseconds(item, is_int96)),
        DataType::ListView(item) => DataType::ListView(in_microseconds(item, is_int96)),
        DataType::LargeListView(item) => DataType::LargeListView(in_microseconds(item, is_int96)),
        DataType::FixedSizeList(item, length) => {
            DataType::FixedSizeList(in_microseconds(item, is_int96), *length)
        }
        DataType::Map(entries, sorted) => {
            DataType::Map(in_microseconds(entries, is_int96), *sorted)
        }
        leaf => match (is_int96.next(), leaf) {
            (Some(true), DataType::Timestamp(TimeUnit::Nanosecond, zone)) => {
                DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
            }
            _ => leaf.clone(),
        },
    };
    Arc::new(Field::clone(field).with_data_type(data_type))
}

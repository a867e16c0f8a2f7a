//! The Arrow types in which a file's columns are read, where they are not the decoder's first choice.
//!
//! INT96 timestamps are read as microseconds: such a value has a day of its own and reaches far
//! beyond the years 1677 to 2262 that a count of nanoseconds holds. The decoder takes nanoseconds
//! unless told otherwise, and what is outside comes out as some other time. MariaDB has
//! microseconds at best, and these hold 290,000 years.
//!
//! Dictionaries of decimals, half floats, booleans and INT96, which a file may name as its writer's
//! types, are read as plain values: the decoder has no dictionaries of them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::Type;

/// Returns the options with which a file is read whose columns are, by default, `metadata`'s;
/// nothing if the default will do.
pub(super) fn reader_options(metadata: &ArrowReaderMetadata) -> Option<ArrowReaderOptions> {
    let leaves = metadata.parquet_schema().columns();
    let mut is_int96 = leaves
        .iter()
        .map(|leaf| leaf.physical_type() == Type::INT96);
    let schema = metadata.schema();
    let fields = schema.fields().iter();
    let fields: Vec<FieldRef> = fields.map(|f| readable_field(f, &mut is_int96)).collect();
    let readable = Schema::new_with_metadata(fields, schema.metadata().clone());
    (readable != **schema).then(|| ArrowReaderOptions::new().with_schema(Arc::new(readable)))
}

/// Returns the field as it is to be read; what is known of its leaves comes next.
fn readable_field(field: &FieldRef, is_int96: &mut impl Iterator<Item = bool>) -> FieldRef {
    let mut inner = |field: &FieldRef| readable_field(field, is_int96);
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        DataType::ListView(item) => DataType::ListView(inner(item)),
        DataType::LargeListView(item) => DataType::LargeListView(inner(item)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(inner(item), *length),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        leaf => match (is_int96.next(), leaf) {
            (Some(true), DataType::Timestamp(TimeUnit::Nanosecond, zone)) => {
                DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
            }
            (Some(true), DataType::Dictionary(_, values)) => match values.as_ref() {
                DataType::Timestamp(_, zone) => {
                    DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
                }
                values => values.clone(),
            },
            (_, DataType::Dictionary(_, values))
                if values.is_decimal()
                    || matches!(**values, DataType::Float16 | DataType::Boolean) =>
            {
                values.as_ref().clone()
            }
            _ => return Arc::clone(field),
        },
    };
    Arc::new(Field::clone(field).with_data_type(data_type))
}

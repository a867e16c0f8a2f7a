//! Lists, structs and maps as JSON text.

use std::cell::RefCell;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, StringBuilder};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow_json::EncoderOptions;
use arrow_json::writer::make_encoder;

use crate::dialect::MAX_RECORD_BYTES;
use crate::error::{Error, Result, quote_value};
use crate::values::{CellFault, Charset};

/// Rows that are written at once: making a writer takes longer than a row, but long lists must not
/// pile up.
const ROWS_AT_ONCE: usize = 16;

/// What arrow's JSON writer puts in the place of dates and times that it can't write.
const COMPLAINTS: [&str; 2] = ["\"ERROR: ", "\"<invalid>\""];

/// A column of lists, structs or maps.
pub(super) struct NestedColumn {
    array: ArrayRef,
    charset: Charset,
    holds_times: bool,
    /// Texts of some rows, from that one on.
    texts: RefCell<(usize, Option<StringArray>)>,
}

impl NestedColumn {
    pub(super) fn new(array: &ArrayRef, charset: Charset) -> Self {
        Self {
            array: Arc::clone(array),
            charset,
            holds_times: holds_times(array.data_type()),
            texts: RefCell::new((0, None)),
        }
    }

    /// Gives the JSON of row `row`, which is not NULL, to `write`.
    ///
    /// # Errors
    /// It holds what JSON can't, or `write` refuses it.
    pub(super) fn with_text(
        &self,
        row: usize,
        write: impl FnOnce(&str) -> std::result::Result<(), CellFault>,
    ) -> std::result::Result<(), CellFault> {
        let mut known = self.texts.borrow_mut();
        let (first, texts) = &mut *known;
        let has_row = texts
            .as_ref()
            .is_some_and(|texts| (*first..*first + texts.len()).contains(&row));
        if !has_row {
            let rows = ROWS_AT_ONCE.min(self.array.len() - row);
            // Where one of them is bad, each is tried alone.
            let made = json_texts(&self.array.slice(row, rows), self.charset)
                .or_else(|_| json_texts(&self.array.slice(row, 1), self.charset));
            let made = made.map_err(|error| {
                CellFault::new(format!("the value can't be written as JSON: {error}"))
            })?;
            (*first, *texts) = (row, Some(made));
        }
        let Some(texts) = texts else {
            return Err(CellFault::new(
                "a nested value is missing; please report this",
            ));
        };
        let text = texts.value(row - *first);
        if self.holds_times && COMPLAINTS.iter().any(|complaint| text.contains(complaint)) {
            let rest = ", which holds a date or time that can't be written";
            return Err(CellFault::found(quote_value(text.as_bytes()), rest));
        }
        write(text)
    }
}

/// Says whether there are dates or times in values of that type.
fn holds_times(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.iter().any(|field| holds_times(field.data_type())),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => holds_times(item.data_type()),
        DataType::Dictionary(_, values) => holds_times(values),
        DataType::RunEndEncoded(_, values) => holds_times(values.data_type()),
        other => other.is_temporal(),
    }
}

/// Writes each value of a nested column as JSON; NULL stays NULL.
///
/// Numbers that are none become `null`, as JSON has nothing else for them; binary becomes
/// hexadecimal. Where the output is not UTF-8, other characters than ASCII are written as JSON's
/// escapes, so that every character set holds them.
///
/// # Errors
/// The column has a type that JSON can't hold, or a value is longer than any row.
fn json_texts(array: &ArrayRef, charset: Charset) -> Result<StringArray> {
    let unwritable = |error: arrow::error::ArrowError| Error::usage(error.to_string());
    let json_type = json_type(array.data_type());
    let array = &if json_type == *array.data_type() {
        Arc::clone(array)
    } else {
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        cast_with_options(array, &json_type, &options).map_err(unwritable)?
    };
    let field = Arc::new(Field::new("", array.data_type().clone(), true));
    let options = EncoderOptions::default();
    let mut encoder = make_encoder(&field, array.as_ref(), &options).map_err(unwritable)?;
    let mut texts = StringBuilder::with_capacity(array.len(), array.len() * 32);
    let mut bytes = Vec::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            texts.append_null();
            continue;
        }
        bytes.clear();
        encoder.encode(row, &mut bytes);
        if bytes.len() > MAX_RECORD_BYTES {
            let length = bytes.len();
            return Err(Error::usage(format!(
                "it takes {length} bytes, and a row {MAX_RECORD_BYTES} at most"
            )));
        }
        let text = String::from_utf8_lossy(&bytes);
        if charset == Charset::Utf8mb4 || text.is_ascii() {
            texts.append_value(text);
        } else {
            texts.append_value(in_ascii(&text));
        }
    }
    Ok(texts.finish())
}

/// Returns the type that says the same and that the JSON writer knows: keys of maps are texts, zones
/// are offsets, and there are no dictionaries around what is nested.
fn json_type(data_type: &DataType) -> DataType {
    let inner = |field: &FieldRef| {
        let data_type = json_type(field.data_type());
        Arc::new(Field::clone(field).with_data_type(data_type))
    };
    match data_type {
        // Times are kept in UTC, whatever the zone that they are shown in elsewhere.
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("+00:00".into())),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        DataType::ListView(item) => DataType::ListView(inner(item)),
        DataType::LargeListView(item) => DataType::LargeListView(inner(item)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(inner(item), *length),
        DataType::Dictionary(_, values) if values.is_nested() => json_type(values),
        DataType::Map(entries, sorted) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                let key = Field::clone(&pair[0]).with_data_type(DataType::Utf8);
                let pair = DataType::Struct(vec![Arc::new(key), inner(&pair[1])].into());
                DataType::Map(
                    Arc::new(Field::clone(entries).with_data_type(pair)),
                    *sorted,
                )
            }
            _ => data_type.clone(),
        },
        other => other.clone(),
    }
}

/// Writes what is not ASCII as `\u` and four digits; in JSON it only occurs in strings.
fn in_ascii(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len() * 2);
    for character in text.chars() {
        if character.is_ascii() {
            ascii.push(character);
            continue;
        }
        let mut units = [0u16; 2];
        for unit in character.encode_utf16(&mut units) {
            ascii.push_str(&format!("\\u{unit:04x}"));
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        Float64Array, Int32Builder, ListArray, MapBuilder, StructArray, TimestampSecondArray,
        TimestampSecondBuilder,
    };
    use arrow::datatypes::Float64Type;

    #[test]
    fn what_is_longer_than_any_row_is_refused() {
        let mut lists = arrow::array::ListBuilder::new(arrow::array::UInt8Builder::new());
        for length in [2, MAX_RECORD_BYTES / 2] {
            lists.values().append_slice(&vec![7; length]);
            lists.append(true);
        }
        let lists: ArrayRef = Arc::new(lists.finish());
        let column = NestedColumn::new(&lists, Charset::Utf8mb4);
        assert!(column.with_text(0, |_| Ok(())).is_ok());
        let refused = column.with_text(1, |_| Ok(())).unwrap_err();
        assert!(
            refused.message().contains("16777217 bytes"),
            "{}",
            refused.message()
        );
    }

    #[test]
    fn what_json_can_not_hold_is_refused_by_row() {
        let mut lists = arrow::array::ListBuilder::new(TimestampSecondBuilder::new());
        for seconds in [0, i64::MAX, 1] {
            lists.values().append_value(seconds);
            lists.append(true);
        }
        let lists: ArrayRef = Arc::new(lists.finish());
        let column = NestedColumn::new(&lists, Charset::Utf8mb4);
        let text = |row| {
            let mut text = String::new();
            let written = column.with_text(row, |json| {
                text.push_str(json);
                Ok(())
            });
            written.map(|()| text).map_err(|fault| fault.message())
        };
        assert_eq!(text(0).unwrap(), "[\"1970-01-01T00:00:00\"]");
        assert!(text(1).unwrap_err().contains("can't be written"));
        assert_eq!(text(2).unwrap(), "[\"1970-01-01T00:00:01\"]");
    }

    #[test]
    fn lists_and_structs() {
        let lists = ListArray::from_iter_primitive::<Float64Type, _, _>([
            Some(vec![Some(1.5), None, Some(f64::NAN)]),
            None,
            Some(vec![]),
        ]);
        let texts = json_texts(&(Arc::new(lists) as ArrayRef), Charset::Latin1).unwrap();
        let found: Vec<Option<&str>> = texts.iter().collect();
        assert_eq!(found, [Some("[1.5,null,null]"), None, Some("[]")]);
        let names: ArrayRef = Arc::new(StringArray::from(vec!["é\u{1d11e}\"\n"]));
        let sizes: ArrayRef = Arc::new(Float64Array::from(vec![1e300]));
        let fields = vec![
            (Arc::new(Field::new("name", DataType::Utf8, true)), names),
            (Arc::new(Field::new("size", DataType::Float64, true)), sizes),
        ];
        let structs: ArrayRef = Arc::new(StructArray::from(fields));
        for (charset, name) in [
            (Charset::Utf8mb4, "é\u{1d11e}\\\"\\n"),
            (Charset::Latin1, "\\u00e9\\ud834\\udd1e\\\"\\n"),
        ] {
            let texts = json_texts(&structs, charset).unwrap();
            assert_eq!(
                texts.value(0),
                format!("{{\"name\":\"{name}\",\"size\":1.0e300}}")
            );
        }
    }

    #[test]
    fn keys_of_maps_become_texts_and_zones_offsets() {
        let times = TimestampSecondBuilder::new().with_timezone("Europe/Paris");
        let mut maps = MapBuilder::new(None, Int32Builder::new(), times);
        maps.keys().append_value(-7);
        maps.values().append_value(0);
        maps.append(true).unwrap();
        maps.append(false).unwrap();
        let maps: ArrayRef = Arc::new(maps.finish());
        let texts = json_texts(&maps, Charset::Latin1).unwrap();
        let found: Vec<Option<&str>> = texts.iter().collect();
        assert_eq!(found, [Some("{\"-7\":\"1970-01-01T00:00:00Z\"}"), None]);

        let times: ArrayRef = Arc::new(TimestampSecondArray::from(vec![1]).with_timezone("UTC"));
        let field = Arc::new(Field::new("t", times.data_type().clone(), true));
        let structs: ArrayRef = Arc::new(StructArray::from(vec![(field, times)]));
        let texts = json_texts(&structs, Charset::Utf8mb4).unwrap();
        assert_eq!(texts.value(0), "{\"t\":\"1970-01-01T00:00:01Z\"}");
    }
}

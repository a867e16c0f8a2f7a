//! Lists, structs and maps as JSON text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, StringBuilder};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow_json::EncoderOptions;
use arrow_json::writer::make_encoder;

use crate::error::{Error, Result};
use crate::values::Charset;

/// Writes each value of a nested column as JSON; NULL stays NULL.
///
/// Numbers that are none become `null`, as JSON has nothing else for them; binary becomes
/// hexadecimal. Where the output is not UTF-8, other characters than ASCII are written as JSON's
/// escapes, so that every character set holds them.
///
/// # Errors
/// The column has a type that JSON can't hold.
pub(super) fn json_texts(array: &ArrayRef, charset: Charset) -> Result<StringArray> {
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

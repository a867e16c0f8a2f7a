//! Lists, structs and maps as JSON text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray, StringBuilder};
use arrow::datatypes::Field;
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
    use arrow::array::{Float64Array, ListArray, StructArray};
    use arrow::datatypes::{DataType, Float64Type};

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
}

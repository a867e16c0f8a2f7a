//! Keys out of Arrow columns, as they are looked up in a director index.

use std::borrow::Cow;

use arrow::array::cast::AsArray;
use arrow::array::{Array, ArrayRef, BinaryViewArray, StringViewArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, UInt64Type};

use crate::error::{Error, Place, Result};
use crate::partition::DirectorIndex;
use crate::partition::key_index::{Key, KeyPlace};
use crate::values::{CellFault, Charset};

/// The key of every row of a batch.
pub(crate) struct KeyValues {
    values: Values,
    nulls: Option<NullBuffer>,
    charset: Charset,
}

enum Values {
    Signed(ScalarBuffer<i64>),
    Unsigned(ScalarBuffer<u64>),
    Text(StringViewArray),
    Bytes(BinaryViewArray),
}

impl KeyValues {
    /// Says whether a column of that type can hold keys.
    ///
    /// # Errors
    /// It holds neither numbers nor texts nor bytes.
    pub(super) fn check_type(name: &str, data_type: &DataType) -> Result<()> {
        let plain = match data_type {
            DataType::Dictionary(_, values) => values.as_ref(),
            DataType::RunEndEncoded(_, values) => values.data_type(),
            other => other,
        };
        let is_key = plain.is_integer()
            || plain.is_decimal()
            || plain.is_string()
            || plain.is_binary()
            || *plain == DataType::Null;
        if is_key {
            return Ok(());
        }
        Err(
            Error::usage(format!("values of type {data_type} are no keys"))
                .at(Place {
                    column: Some(name.to_owned()),
                    ..Place::default()
                })
                .hint("name the column of the director's key: whole numbers or texts"),
        )
    }

    /// Reads the keys of a batch; texts are looked up as they are written in `charset`.
    ///
    /// # Errors
    /// The column can't be read as keys.
    pub(crate) fn bind(array: &ArrayRef, charset: Charset) -> Result<Self> {
        let unreadable = |error: arrow::error::ArrowError| Error::usage(error.to_string());
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let plain = match array.data_type() {
            DataType::Dictionary(_, values) => cast(array, values).map_err(unreadable)?,
            DataType::RunEndEncoded(_, values) => {
                cast(array, values.data_type()).map_err(unreadable)?
            }
            _ => ArrayRef::clone(array),
        };
        let is_unsigned = plain.data_type().is_unsigned_integer();
        let as_type = |data_type: &DataType| cast(&plain, data_type).map_err(unreadable);
        let values = match plain.data_type() {
            data_type if data_type.is_integer() && !is_unsigned => {
                let whole = as_type(&DataType::Int64)?;
                Values::Signed(whole.as_primitive::<Int64Type>().values().clone())
            }
            data_type if data_type.is_integer() => {
                let whole = as_type(&DataType::UInt64)?;
                Values::Unsigned(whole.as_primitive::<UInt64Type>().values().clone())
            }
            data_type if data_type.is_binary() => {
                Values::Bytes(as_type(&DataType::BinaryView)?.as_binary_view().clone())
            }
            _ => Values::Text(as_type(&DataType::Utf8View)?.as_string_view().clone()),
        };
        Ok(Self {
            values,
            nulls,
            charset,
        })
    }

    /// Returns the number of rows.
    pub(crate) fn rows(&self) -> usize {
        match &self.values {
            Values::Signed(values) => values.len(),
            Values::Unsigned(values) => values.len(),
            Values::Bytes(values) => values.len(),
            Values::Text(values) => values.len(),
        }
    }

    /// Looks all keys up at once; nothing if some must be recoded for that.
    pub(super) fn find_all(&self, index: &DirectorIndex) -> Option<Vec<Option<KeyPlace>>> {
        if let Values::Text(values) = &self.values
            && self.charset == Charset::Latin1
            && !values.is_ascii()
        {
            return None;
        }
        let rows = self.rows();
        let key = |row: usize| {
            if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                return None;
            }
            match &self.values {
                Values::Signed(values) => values.get(row).copied().map(Key::Signed),
                Values::Unsigned(values) => values.get(row).copied().map(Key::Unsigned),
                Values::Bytes(values) => Some(Key::Text(values.value(row))),
                Values::Text(values) => Some(Key::Text(values.value(row).as_bytes())),
            }
        };
        let keys: Vec<_> = (0..rows).map(key).collect();
        let mut places = Vec::with_capacity(rows);
        index.find_many(&keys, &mut places);
        Some(places)
    }

    /// Gives the key of row `row` to `look_up`; nothing where it is NULL.
    ///
    /// # Errors
    /// The character set lacks a character of it.
    #[inline]
    pub(crate) fn with_key<T>(
        &self,
        row: usize,
        look_up: impl FnOnce(Option<Key<'_>>) -> T,
    ) -> Result<T, CellFault> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(look_up(None));
        }
        let text: Cow<'_, [u8]>;
        let key = match &self.values {
            Values::Signed(values) => values.get(row).copied().map(Key::Signed),
            Values::Unsigned(values) => values.get(row).copied().map(Key::Unsigned),
            Values::Bytes(values) => Some(Key::Text(values.value(row))),
            Values::Text(values) => {
                let value = values.value(row);
                text = self
                    .charset
                    .encode(value)
                    .map_err(|fault| CellFault::found(value, fault.to_string()))?;
                Some(Key::Text(&text))
            }
        };
        Ok(look_up(key))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow::array::{Int16Array, StringArray, UInt64Array};

    fn shown(array: &ArrayRef) -> Vec<String> {
        KeyValues::check_type("k", array.data_type()).unwrap();
        let keys = KeyValues::bind(array, Charset::Latin1).unwrap();
        let key = |row| {
            keys.with_key(row, |key| match key {
                None => "NULL".to_owned(),
                Some(Key::Text(text)) => format!("{text:?}"),
                Some(key) => key.to_string(),
            })
        };
        (0..array.len()).map(|row| key(row).unwrap()).collect()
    }

    #[test]
    fn whole_numbers_stay_numbers_and_texts_are_as_written() {
        let small = Int16Array::from(vec![Some(-7), None]);
        let small: ArrayRef = Arc::new(small);
        assert_eq!(shown(&small), ["-7", "NULL"]);
        let large = UInt64Array::from(vec![u64::MAX]);
        let large: ArrayRef = Arc::new(large);
        assert_eq!(shown(&large), ["18446744073709551615"]);
        let texts = StringArray::from(vec![Some("é1"), None]);
        let texts: ArrayRef = Arc::new(texts);
        assert_eq!(shown(&texts), ["[233, 49]", "NULL"]);
        assert!(KeyValues::check_type("k", &DataType::Float64).is_err());
    }
}

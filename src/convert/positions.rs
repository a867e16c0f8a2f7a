//! Sky positions out of Arrow columns.

use arrow::array::cast::AsArray;
use arrow::array::{Array, ArrayRef};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::datatypes::{Float32Type, Float64Type};

use crate::error::{Error, Place, Result};
use crate::values::f32_as_written;

/// One coordinate of every row of a batch, in degrees.
///
/// A coordinate is the double that its written text reads as, whatever the source type, so that
/// the same rows get the same chunks from Parquet, through a pipe, and in the C++ tool.
pub struct PositionColumn {
    degrees: ScalarBuffer<f64>,
    nulls: Option<NullBuffer>,
}

impl PositionColumn {
    /// Says whether a column of that type can hold a coordinate.
    ///
    /// # Errors
    /// It holds no numbers.
    pub fn check_type(name: &str, data_type: &DataType) -> Result<()> {
        let is_number = match data_type {
            DataType::Dictionary(_, values) => values.is_numeric(),
            other => other.is_numeric(),
        };
        if is_number {
            return Ok(());
        }
        Err(
            Error::usage(format!("values of type {data_type} are no positions"))
                .at(Place {
                    column: Some(name.to_owned()),
                    ..Place::default()
                })
                .hint("name the columns that hold right ascension and declination in degrees"),
        )
    }

    /// Reads the coordinates of a batch.
    ///
    /// # Errors
    /// The column can't be read as numbers.
    pub fn bind(array: &ArrayRef) -> Result<Self> {
        let unreadable = |error: arrow::error::ArrowError| Error::usage(error.to_string());
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let degrees = match array.data_type() {
            DataType::Float64 => array.as_primitive::<Float64Type>().values().clone(),
            DataType::Float32 | DataType::Float16 => {
                let singles = cast(array, &DataType::Float32).map_err(unreadable)?;
                let singles = singles.as_primitive::<Float32Type>().values();
                singles.iter().map(|value| f32_as_written(*value)).collect()
            }
            data_type if data_type.is_integer() => {
                let doubles = cast(array, &DataType::Float64).map_err(unreadable)?;
                doubles.as_primitive::<Float64Type>().values().clone()
            }
            _ => {
                // Decimals: by their text, for scaling a binary double would round twice.
                let texts = cast(array, &DataType::Utf8).map_err(unreadable)?;
                let texts = texts.as_string::<i32>();
                (0..texts.len())
                    .map(|row| texts.value(row).parse().unwrap_or(f64::NAN))
                    .collect()
            }
        };
        Ok(Self { degrees, nulls })
    }

    /// Returns the coordinate of row `row`, in degrees; nothing where it is NULL.
    #[inline]
    pub fn degrees(&self, row: usize) -> Option<f64> {
        match &self.nulls {
            Some(nulls) if nulls.is_null(row) => None,
            _ => self.degrees.get(row).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Decimal128Array, Float32Array, Int32Array};
    use std::sync::Arc;

    #[test]
    fn a_position_is_what_its_text_reads_as() {
        let singles: ArrayRef = Arc::new(Float32Array::from(vec![Some(0.1), None]));
        let column = PositionColumn::bind(&singles).unwrap();
        assert_eq!(column.degrees(0), Some(0.1));
        assert_eq!(column.degrees(1), None);
        let decimals = Decimal128Array::from(vec![359_999_999_999_999_999i128])
            .with_precision_and_scale(18, 15)
            .unwrap();
        let decimals: ArrayRef = Arc::new(decimals);
        let text: f64 = "359.999999999999999".parse().unwrap();
        assert_eq!(
            PositionColumn::bind(&decimals).unwrap().degrees(0).unwrap(),
            text
        );
        let whole: ArrayRef = Arc::new(Int32Array::from(vec![42]));
        assert_eq!(
            PositionColumn::bind(&whole).unwrap().degrees(0).unwrap(),
            42.0
        );
    }
}

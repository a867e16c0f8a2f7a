//! Cells of one column, as they lie in the file, become an Arrow array.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BooleanArray, FixedSizeListArray, ListArray, NullArray,
    PrimitiveArray, StringBuilder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use super::column::{Column, Element, IntegerForm};
use crate::values::{Charset, Recoded};

/// A cell that can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadCell {
    /// Its row among those that were given.
    pub(super) row: usize,
    pub(super) message: String,
    pub(super) hint: Option<&'static str>,
}

impl BadCell {
    pub(super) fn new(row: usize, message: impl Into<String>) -> Self {
        Self {
            row,
            message: message.into(),
            hint: None,
        }
    }
}

type Outcome<T> = Result<T, BadCell>;

/// The bytes of each cell of a column, and how many elements they are.
pub(super) trait Cells<'b>: Iterator<Item = (&'b [u8], usize)> + Clone {}

impl<'b, T: Iterator<Item = (&'b [u8], usize)> + Clone> Cells<'b> for T {}

/// Makes the array of a column whose cells lie in `rows` rows of `width` bytes each.
pub(super) fn of_rows(
    column: &Column,
    bytes: &[u8],
    width: usize,
    rows: usize,
    charset: Charset,
) -> Outcome<ArrayRef> {
    if column.is_empty() {
        return Ok(Arc::new(NullArray::new(rows)));
    }
    let cells = bytes
        .chunks_exact(width)
        .map(|row| (&row[column.at..column.at + column.used], column.count));
    let mut array = elements(&column.element, cells, charset)?;
    let inner_nulls = column.element.may_be_null();
    for (depth, length) in column.lists.iter().rev().enumerate() {
        array = fixed_lists(array, depth == 0 && inner_nulls, *length)?;
    }
    Ok(array)
}

/// Makes the array of a column whose cells are of any length.
pub(super) fn of_heap<'b>(
    column: &Column,
    cells: impl Cells<'b>,
    charset: Charset,
) -> Outcome<ArrayRef> {
    if let Element::Text { .. } = column.element {
        return texts(cells.map(|(text, _)| text), charset);
    }
    let values = elements(&column.element, cells.clone(), charset)?;
    let offsets = OffsetBuffer::from_lengths(cells.map(|(_, count)| count));
    let item = Field::new_list_field(values.data_type().clone(), column.element.may_be_null());
    let lists = ListArray::try_new(Arc::new(item), offsets, values, None);
    lists
        .map(|lists| Arc::new(lists) as ArrayRef)
        .map_err(|error| BadCell::new(0, error.to_string()))
}

fn fixed_lists(values: ArrayRef, may_be_null: bool, length: i32) -> Outcome<ArrayRef> {
    let item = Field::new_list_field(values.data_type().clone(), may_be_null);
    let lists = FixedSizeListArray::try_new(Arc::new(item), length, values, None);
    lists
        .map(|lists| Arc::new(lists) as ArrayRef)
        .map_err(|error| BadCell::new(0, error.to_string()))
}

/// Makes an array of all elements, one after another.
fn elements<'b>(element: &Element, cells: impl Cells<'b>, charset: Charset) -> Outcome<ArrayRef> {
    match *element {
        Element::Logical => logicals(cells),
        Element::Bit => {
            let bits = cells.flat_map(|(bytes, count)| {
                (0..count).map(move |bit| bytes[bit / 8] & (0x80 >> (bit % 8)) != 0)
            });
            Ok(Arc::new(BooleanArray::from_iter(bits.map(Some))))
        }
        Element::Integer { bytes, form, null } => Ok(integers(bytes, form, null, cells)),
        Element::Float { bytes: 4, scale } => {
            let value = |bytes| f32::from_be_bytes(bytes);
            Ok(match scale {
                None => numbers::<Float32Type, 4>(cells, value, None),
                Some(scale) => {
                    numbers::<Float64Type, 4>(cells, |bytes| scale.of(value(bytes).into()), None)
                }
            })
        }
        Element::Float { scale, .. } => {
            let value = |bytes| f64::from_be_bytes(bytes);
            Ok(match scale {
                None => numbers::<Float64Type, 8>(cells, value, None),
                Some(scale) => {
                    numbers::<Float64Type, 8>(cells, |bytes| scale.of(value(bytes)), None)
                }
            })
        }
        Element::Complex { bytes } => {
            let floats = match Element::part_of_complex(bytes) {
                DataType::Float32 => numbers::<Float32Type, 4>(cells, f32::from_be_bytes, None),
                _ => numbers::<Float64Type, 8>(cells, f64::from_be_bytes, None),
            };
            fixed_lists(floats, false, 2)
        }
        Element::Text { bytes: 0 } => {
            let rows = cells.map(|_| &[][..]);
            texts(rows, charset)
        }
        Element::Text { bytes } => {
            // A text for each element: several where lists of them are.
            let count = cells.clone().next().map_or(1, |(_, count)| count.max(1));
            let parts = cells.flat_map(|(cell, _)| cell.chunks_exact(bytes));
            texts(parts, charset).map_err(|bad| BadCell {
                row: bad.row / count,
                ..bad
            })
        }
    }
}

fn logicals<'b>(cells: impl Cells<'b>) -> Outcome<ArrayRef> {
    let mut values = Vec::new();
    for (row, (bytes, _)) in cells.enumerate() {
        for byte in bytes {
            values.push(match byte {
                b'T' => Some(true),
                b'F' => Some(false),
                0 => None,
                other => {
                    let found = char::from(*other).escape_default();
                    let message = format!("expected T, F or NUL, found '{found}'");
                    return Err(BadCell::new(row, message));
                }
            });
        }
    }
    Ok(Arc::new(BooleanArray::from(values)))
}

/// Reads integers of so many bytes.
fn integers<'b>(
    bytes: usize,
    form: IntegerForm,
    null: Option<i64>,
    cells: impl Cells<'b>,
) -> ArrayRef {
    let how = (form, null);
    match bytes {
        1 => of_width::<UInt8Type, Int8Type, 1>(
            cells,
            how,
            |bytes| bytes[0].into(),
            |bytes| bytes[0],
            |bytes| (bytes[0] ^ 0x80).cast_signed(),
        ),
        2 => of_width::<Int16Type, UInt16Type, 2>(
            cells,
            how,
            |bytes| i16::from_be_bytes(bytes).into(),
            i16::from_be_bytes,
            |bytes| u16::from_be_bytes(bytes) ^ (1 << 15),
        ),
        4 => of_width::<Int32Type, UInt32Type, 4>(
            cells,
            how,
            |bytes| i32::from_be_bytes(bytes).into(),
            i32::from_be_bytes,
            |bytes| u32::from_be_bytes(bytes) ^ (1 << 31),
        ),
        _ => of_width::<Int64Type, UInt64Type, 8>(
            cells,
            how,
            i64::from_be_bytes,
            i64::from_be_bytes,
            |bytes| u64::from_be_bytes(bytes) ^ (1 << 63),
        ),
    }
}

/// Reads integers of `N` bytes as the number that the file holds (`raw`), or in the types of both
/// signednesses.
fn of_width<'b, P: ArrowPrimitiveType, F: ArrowPrimitiveType, const N: usize>(
    cells: impl Cells<'b>,
    (form, null): (IntegerForm, Option<i64>),
    raw: impl Fn([u8; N]) -> i64,
    plain: impl Fn([u8; N]) -> P::Native,
    flipped: impl Fn([u8; N]) -> F::Native,
) -> ArrayRef {
    let nulls = nulls(null, cells.clone(), &raw);
    match form {
        IntegerForm::Plain => numbers::<P, N>(cells, plain, nulls),
        IntegerForm::Flipped => numbers::<F, N>(cells, flipped, nulls),
        IntegerForm::Scaled(scale) => {
            numbers::<Float64Type, N>(cells, |bytes| scale.of(raw(bytes) as f64), nulls)
        }
        // Only for integers of fewer bytes, so that nothing overflows.
        IntegerForm::Shifted(by) => {
            numbers::<Int64Type, N>(cells, |bytes| raw(bytes).wrapping_add(by), nulls)
        }
    }
}

fn numbers<'b, T: ArrowPrimitiveType, const N: usize>(
    cells: impl Cells<'b>,
    value: impl Fn([u8; N]) -> T::Native,
    nulls: Option<NullBuffer>,
) -> ArrayRef {
    // Complex numbers are two floats each.
    let bytes: usize = cells.clone().map(|(bytes, _)| bytes.len()).sum();
    let mut values = Vec::with_capacity(bytes / N);
    for (bytes, _) in cells {
        values.extend(bytes.as_chunks::<N>().0.iter().map(|bytes| value(*bytes)));
    }
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls))
}

/// Says which elements stand for no value.
fn nulls<'b, const N: usize>(
    null: Option<i64>,
    cells: impl Cells<'b>,
    raw: impl Fn([u8; N]) -> i64,
) -> Option<NullBuffer> {
    let null = null?;
    let bytes: usize = cells.clone().map(|(bytes, _)| bytes.len()).sum();
    let mut valid = Vec::with_capacity(bytes / N);
    for (bytes, _) in cells {
        let elements = bytes.as_chunks::<N>().0.iter();
        valid.extend(elements.map(|bytes| raw(*bytes) != null));
    }
    Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0)
}

/// Reads texts: each ends at the first NUL, and spaces at its end don't count.
fn texts<'b>(texts: impl Iterator<Item = &'b [u8]>, charset: Charset) -> Outcome<ArrayRef> {
    let mut builder = StringBuilder::with_capacity(texts.size_hint().0, 0);
    let mut total = 0usize;
    for (row, text) in texts.enumerate() {
        let end = memchr::memchr(0, text).unwrap_or(text.len());
        let text = without_spaces(&text[..end]);
        // Of latin1 a byte may become three.
        total = total.saturating_add(3 * text.len());
        if i32::try_from(total).is_err() {
            let message = format!("a text of {} bytes, which is too long", text.len());
            return Err(BadCell::new(row, message));
        }
        if let Ok(valid) = simdutf8::basic::from_utf8(text)
            && (charset != Charset::Latin1 || text.is_ascii())
        {
            builder.append_value(valid);
            continue;
        }
        let decoded = match charset {
            Charset::Latin1 => Charset::Utf8mb4.recode(text, Charset::Latin1).ok(),
            Charset::Utf8mb4 | Charset::Binary => None,
        };
        match decoded {
            Some(Recoded::Valid(utf8)) => builder.append_value(String::from_utf8_lossy(&utf8)),
            _ => {
                return Err(BadCell {
                    row,
                    message: format!("{} is not UTF-8", crate::error::quote_value(text)),
                    hint: Some("--in-charset latin1 reads texts in windows-1252"),
                });
            }
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// Returns a text without the spaces at its end.
fn without_spaces(text: &[u8]) -> &[u8] {
    let kept = text.iter().rposition(|byte| *byte != b' ');
    &text[..kept.map_or(0, |last| last + 1)]
}

//! What of a record decides where it goes: positions and keys out of its fields.

use std::borrow::Cow;

use super::text_plan::{KeyField, PlannedRouting};
use crate::dialect::{Dialect, Encoder, Field, FieldRules, Fields};
use crate::error::quote_value;
use crate::partition::key_index::Key;
use crate::partition::{Coordinate, PieceOrigin, RowAddress};
use crate::values::{CellFault, Charset, Recoded, TextBuffer, position_of};

/// How positions and keys are read.
pub(super) struct AddressReader {
    pub(super) input: Dialect,
    /// Character sets of input and output where these differ: keys are looked up as written.
    pub(super) recodes: Option<(Charset, Charset)>,
}

impl AddressReader {
    /// Returns a key as the output writes it.
    fn written<'v>(&self, value: &'v [u8]) -> Result<Cow<'v, [u8]>, CellFault> {
        let Some((from, to)) = self.recodes else {
            return Ok(Cow::Borrowed(value));
        };
        match to.recode(value, from) {
            Ok(Recoded::Valid(written)) => Ok(written),
            Ok(Recoded::Invalid { at, .. }) => {
                let rest = format!(
                    ", which is not valid {}: byte {at} is out of place",
                    from.name()
                );
                Err(CellFault::found(quote_value(value), rest))
            }
            Err(fault) => Err(CellFault::found(quote_value(value), fault.to_string())),
        }
    }
}

/// What of a record decides where it goes.
pub(super) struct TextAddress<'r> {
    pub(super) routing: &'r PlannedRouting,
    pub(super) fields: &'r Fields,
    pub(super) block: &'r [u8],
    pub(super) scratch: &'r mut Vec<u8>,
}

impl<'r> TextAddress<'r> {
    fn field(&self, column: KeyField) -> Result<Field<'r>, CellFault> {
        let field = self.fields.get(column.field, self.block);
        field.ok_or_else(|| CellFault::new("the field is missing"))
    }

    /// Writes the director's own key.
    ///
    /// # Errors
    /// There is none, or the output can't express it.
    pub(super) fn write_own_key(
        &mut self,
        column: KeyField,
        (origin, row, line): (PieceOrigin<'_>, u64, u64),
        encoder: &Encoder,
        keys: &mut TextBuffer,
    ) -> Result<(), CellFault> {
        let input = &self.routing.reader.input;
        let field = self.field(column)?;
        if input.is_null(field) || field.content().is_empty() {
            let expected = ", expected the director's key";
            return Err(CellFault::found("no value", expected));
        }
        let value = input.value(field, self.scratch);
        let number;
        let written = match column.is_whole.then(|| whole(value)).flatten() {
            // As the same number is looked up, however it is spelt.
            Some(_) if is_usual(value) => Cow::Borrowed(value),
            Some(key) => {
                number = key.to_bytes();
                Cow::Borrowed(number.as_slice())
            }
            None => self.routing.reader.written(value)?,
        };
        if let Some(watch) = &self.routing.watch {
            watch.check(Key::Text(&written), origin, row, line)?;
        }
        keys.append_with(|bytes| encoder.encode_into(&written, bytes))
            .map_err(|fault| CellFault::found(quote_value(&written), format!(": {fault}")))
    }
}

impl RowAddress for TextAddress<'_> {
    #[inline]
    fn degrees(
        &mut self,
        position: usize,
        coordinate: Coordinate,
    ) -> Result<Option<f64>, CellFault> {
        let (ra, dec) = &self.routing.columns.positions[position];
        let column = match coordinate {
            Coordinate::Ra => ra.column,
            Coordinate::Dec => dec.column,
        };
        let field = self.field(column)?;
        let input = &self.routing.reader.input;
        if input.is_null(field) {
            return Ok(None);
        }
        let value = input.value(field, self.scratch);
        let number = match input.rules() {
            FieldRules::Sph => position_of(value),
            // What MariaDB would read otherwise is no position.
            FieldRules::MariaDb => std::str::from_utf8(value.trim_ascii())
                .ok()
                .and_then(|text| text.parse().ok()),
        };
        match number {
            Some(degrees) => Ok(Some(degrees)),
            None => Err(CellFault::found(
                quote_value(value),
                ", expected a position in degrees",
            )),
        }
    }

    #[inline]
    fn with_key<T>(
        &mut self,
        number: usize,
        look_up: impl FnOnce(Option<Key<'_>>) -> T,
    ) -> Result<T, CellFault> {
        let column = self.routing.columns.keys[number].column;
        let field = self.field(column)?;
        let reader = &self.routing.reader;
        if reader.input.is_null(field) {
            return Ok(look_up(None));
        }
        let value = reader.input.value(field, self.scratch);
        if column.is_whole
            && let Some(key) = whole(value)
        {
            return Ok(look_up(Some(key)));
        }
        let written = reader.written(value)?;
        Ok(look_up(Some(Key::Text(&written))))
    }
}

/// Says whether a whole number is spelt in the usual way.
fn is_usual(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    match digits {
        [b'0'] => value.len() == 1,
        [first, ..] => *first != b'0' && digits.iter().all(u8::is_ascii_digit),
        [] => false,
    }
}

/// Reads a key of a column of whole numbers.
fn whole(value: &[u8]) -> Option<Key<'_>> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    let signed = text.parse().ok().map(Key::Signed);
    signed.or_else(|| text.parse().ok().map(Key::Unsigned))
}

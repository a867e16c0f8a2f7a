//! What of a record decides where it goes: positions and keys out of its fields.

use std::borrow::Cow;
use std::ops::Range;

use super::text_plan::{KeyField, PlannedRouting, TextPlan};
use crate::convert::check_same_key;
use crate::dialect::{Dialect, Encoder, Field, FieldRules, Fields, Records};
use crate::error::Result;
use crate::error::quote_value;
use crate::partition::key_index::{Key, KeyPlace};
use crate::partition::{Coordinate, DirectorIndex, PieceOrigin, RowAddress};
use crate::values::{
    CellFault, Charset, ColumnRule, Inference, Recoded, RuleCounts, TextBuffer, number_of,
    position_of,
};

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
    pub(super) plan: &'r TextPlan,
    pub(super) routing: &'r PlannedRouting,
    pub(super) fields: &'r Fields,
    pub(super) block: &'r [u8],
    pub(super) scratch: &'r mut Vec<u8>,
    /// Where the keys of this record lead, for each that was looked up for all records.
    pub(super) places: &'r [Option<Vec<Option<KeyPlace>>>],
    /// Number of the record in its block.
    pub(super) row: usize,
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
        let rule = self.plan.rule_of(column);
        if rule.is_some_and(|rule| rule.spells_null(value)) {
            let expected = ", a spelling of NULL, expected the director's key";
            return Err(CellFault::found(quote_value(value), expected));
        }
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
        if let Some(rule) = self.routing.guard.and_then(|at| self.plan.cells.get(at)) {
            let mut out = TextBuffer::with_capacity(64);
            let mut vain = RuleCounts::default();
            let rule = &rule.rule;
            rule.text_value(&written, self.plan.inference, encoder, &mut out, &mut vain)?;
            check_same_key(Key::Text(&written), encoder, out.as_slice())?;
        }
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
        let mut out;
        let value = match self.plan.rule_of(column) {
            None => value,
            // What counts is what will be read from the table.
            Some(rule) => {
                if rule.spells_null(value) {
                    return Ok(None);
                }
                out = TextBuffer::with_capacity(64);
                let (encoder, mut vain) = (&self.plan.encoder, RuleCounts::default());
                rule.text_value(value, Inference::Off, encoder, &mut out, &mut vain)?;
                out.as_slice()
            }
        };
        let number = match input.rules() {
            FieldRules::Sph => position_of(value),
            // What MariaDB would read otherwise is no position.
            FieldRules::MariaDb => number_of(value.trim_ascii()),
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
        let rule = self.plan.rule_of(column);
        if rule.is_some_and(|rule| rule.spells_null(value)) {
            return Ok(look_up(None));
        }
        if column.is_whole
            && let Some(key) = whole(value)
        {
            return Ok(look_up(Some(key)));
        }
        let written = reader.written(value)?;
        Ok(look_up(Some(Key::Text(&written))))
    }

    #[inline]
    fn known_place(&self, number: usize) -> Option<Option<KeyPlace>> {
        let places = self.places.get(number)?.as_ref()?;
        places.get(self.row).copied()
    }
}

/// Keys that are looked up together.
const KEYS_AT_ONCE: usize = 1024;

/// A key that is kept for a while.
enum Kept {
    Nothing,
    Signed(i64),
    Unsigned(u64),
    Text(Range<usize>),
}

impl TextPlan {
    /// Returns the number of keys that are looked up for each record.
    pub(crate) fn keys(&self) -> usize {
        let routing = self.routing.as_ref();
        routing.map_or(0, |routing| routing.columns.keys.len())
    }

    /// Returns the rule that may change what a position or key is read from.
    fn rule_of(&self, column: KeyField) -> Option<&ColumnRule> {
        self.cells.get(column.cell?).map(|cell| cell.rule.as_ref())
    }

    /// Gives key number `number` of each record of a block to `take`, up to a broken one.
    ///
    /// # Errors
    /// What `take` says.
    pub(crate) fn for_each_key(
        &self,
        block: &[u8],
        number: usize,
        mut take: impl FnMut(Option<Key<'_>>) -> Result<()>,
    ) -> Result<()> {
        let Some(routing) = &self.routing else {
            return Ok(());
        };
        let Some(column) = routing.columns.keys.get(number).map(|named| named.column) else {
            return Ok(());
        };
        let mut records = Records::new(&self.input, block).locating(column.field + 1);
        let (mut fields, mut scratch) = (Fields::new(), Vec::new());
        // Who reads the rows meets what is broken there.
        while let Ok(Some(record)) = records.next(&mut fields) {
            if self.passes_over(&record) {
                continue;
            }
            let mut address = TextAddress {
                plan: self,
                routing,
                fields: &fields,
                block,
                scratch: &mut scratch,
                places: &[],
                row: 0,
            };
            let mut outcome = Ok(());
            let seen = address.with_key(number, |key| outcome = take(key));
            match seen {
                Ok(()) => outcome?,
                // That row is refused when it is read.
                Err(_) => take(None)?,
            }
        }
        Ok(())
    }

    /// Looks key number `number` of all records of a block up.
    pub(super) fn find_all(
        &self,
        block: &[u8],
        number: usize,
        index: &DirectorIndex,
    ) -> Result<Vec<Option<KeyPlace>>> {
        let mut all = Vec::new();
        let (mut kept, mut texts) = (Vec::with_capacity(KEYS_AT_ONCE), Vec::new());
        let mut places = Vec::with_capacity(KEYS_AT_ONCE);
        let mut look_up = |kept: &mut Vec<Kept>, texts: &mut Vec<u8>| {
            let keys: Vec<Option<Key<'_>>> = kept
                .iter()
                .map(|key| match key {
                    Kept::Nothing => None,
                    Kept::Signed(number) => Some(Key::Signed(*number)),
                    Kept::Unsigned(number) => Some(Key::Unsigned(*number)),
                    Kept::Text(range) => texts.get(range.clone()).map(Key::Text),
                })
                .collect();
            index.find_many(&keys, &mut places);
            all.extend_from_slice(&places);
            drop(keys);
            kept.clear();
            texts.clear();
        };
        self.for_each_key(block, number, |key| {
            kept.push(match key {
                None => Kept::Nothing,
                Some(Key::Signed(number)) => Kept::Signed(number),
                Some(Key::Unsigned(number)) => Kept::Unsigned(number),
                Some(Key::Text(text)) => {
                    let start = texts.len();
                    texts.extend_from_slice(text);
                    Kept::Text(start..texts.len())
                }
            });
            if kept.len() == KEYS_AT_ONCE {
                look_up(&mut kept, &mut texts);
            }
            Ok(())
        })?;
        look_up(&mut kept, &mut texts);
        Ok(all)
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

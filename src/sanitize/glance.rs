//! A glance at all numbers of a record at once.
//!
//! A look at each field ([`super::look`]) reads its bytes for itself. But which bytes of a record are
//! no digits takes few steps for 64 of them together, and then a field is a plain number if one bit
//! of it is set at most, for the point. What a glance accepts a look would find to be
//! [`super::look::Verdict::AsIs`]; all else is looked at. So it decides nothing but speed.

use super::look::{MOST_DIGITS, NumberKind, padded};
use super::text_plan::PlannedField;
use crate::dialect::{Fields, non_digits};

/// Which fields of a record may be plain numbers; for records whose fields are the cells in order.
pub(super) struct Glance {
    kinds: Vec<Option<NumberKind>>,
}

/// The bytes of a record that are no digits: a bit for each.
#[derive(Debug, Default)]
pub(super) struct OddBytes {
    masks: Vec<u64>,
}

impl Glance {
    /// Makes a glance, if any of the cells is a number.
    pub(super) fn new(cells: &[PlannedField]) -> Option<Self> {
        let kinds: Vec<_> = cells.iter().map(|cell| cell.look.number()).collect();
        kinds.iter().any(Option::is_some).then_some(Self { kinds })
    }

    /// Calls `doubtful` for the number and place of each field that is not seen to stay as it is, in
    /// order.
    #[inline]
    pub(super) fn at<E>(
        &self,
        block: &[u8],
        (start, end): (usize, usize),
        (fields, odd): (&Fields, &mut OddBytes),
        mut doubtful: impl FnMut(usize, usize, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let record = block.get(start..end).unwrap_or_default();
        odd.find(record);
        let mut from = 0;
        for (number, (kind, field_end)) in self.kinds.iter().zip(fields.ends()).enumerate() {
            let to = *field_end as usize;
            let is_plain =
                kind.is_some_and(|kind| is_number(record, (from, to), odd.from(from), kind));
            if !is_plain {
                doubtful(number, start + from, start + to)?;
            }
            from = to + 1;
        }
        Ok(())
    }
}

impl OddBytes {
    /// Looks at all bytes of a record.
    #[inline]
    fn find(&mut self, record: &[u8]) {
        self.masks.clear();
        let (chunks, rest) = record.as_chunks::<64>();
        self.masks.extend(chunks.iter().map(non_digits));
        // One more, so that what is behind the last byte can be asked for.
        self.masks.extend([non_digits(&padded(rest)), 0]);
    }

    /// Returns the bits of 64 bytes from `at` on.
    #[inline]
    fn from(&self, at: usize) -> u64 {
        let [low, high] = [at / 64, at / 64 + 1].map(|at| self.masks.get(at).copied().unwrap_or(0));
        let shift = at % 64;
        // Two shifts, for one by 64 would be none.
        low >> shift | high << 1 << (63 - shift)
    }
}

/// Says whether the bytes of a field from `from` to `to` are a plain number of some kind; `odd` are
/// the bits from its first byte on.
#[inline]
fn is_number(record: &[u8], (from, to): (usize, usize), odd: u64, kind: NumberKind) -> bool {
    let is_negative = record.get(from) == Some(&b'-');
    let begin = from + usize::from(is_negative);
    let digits = to.saturating_sub(begin);
    if digits == 0 || digits > MOST_DIGITS {
        return false;
    }
    let odd = (odd >> u32::from(is_negative)) & ((1 << digits) - 1);
    let point = (odd != 0).then(|| odd.trailing_zeros() as usize);
    if let Some(at) = point {
        let is_alone = odd & (odd - 1) == 0 && digits > 1;
        if !is_alone || record.get(begin + at) != Some(&b'.') {
            return false;
        }
    }
    kind.takes(
        record.get(begin..to).unwrap_or_default(),
        is_negative,
        point,
    )
}

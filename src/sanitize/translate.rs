//! Records that go from one delimiter to another and stay as they are else.
//!
//! Where all columns are texts or unknown and stand in the order of the fields, a record needs no
//! look at each field: all its bytes are copied, delimiters exchanged, and on the way it is found out
//! whether any byte might mean something else. That holds for nearly no record of a catalogue but for
//! those with NULL, which is looked at where it stands. All else goes field by field through the rules.

use std::ops::Range;

use super::look::{PlainBytes, padded};
use super::text_plan::PlannedField;
use crate::convert::{RowTarget, TextForm};
use crate::dialect::Dialect;
use crate::schema::OutputColumn;
use crate::values::TextBuffer;

/// Bytes that are copied at a time.
const CHUNK: usize = 64;
/// Bytes of which each is compared with those that may mean something.
const DOUBTFUL: usize = 3;
/// Control characters are looked at more closely, whatever they are.
const FIRST_PRINTABLE: u8 = 0x20;
/// A letter of the word NULL that is not frequent in names and numbers.
const OF_WORD_NULL: u8 = b'u';

/// Exchanges the delimiters of records.
pub(super) struct Translator {
    from: u8,
    to: u8,
    plain: [bool; 256],
    /// Printable bytes that do not stand for themselves; all the same if there are fewer.
    doubtful: [u8; DOUBTFUL],
    /// How both dialects spell NULL, if alike.
    null: Option<Vec<u8>>,
}

impl Translator {
    /// Makes a translator for rows whose cells are the fields in order, if it would change no
    /// byte of them.
    pub(super) fn new(
        target: &RowTarget,
        (columns, cells): (&[OutputColumn], &[PlannedField]),
        input: &Dialect,
        plain: &PlainBytes,
    ) -> Option<Self> {
        let are_texts = columns.iter().zip(cells).all(|(column, cell)| {
            column.target.is_none() && !column.is_not_null && cell.look.is_of_any_text()
        });
        let plain = &plain.of_valid_text;
        let is_plain = |byte: &u8| plain.get(usize::from(*byte)) == Some(&true);
        // A NULL spelt by plain bytes could not be told from a value without looking at each field.
        let are_nulls_seen = cells
            .iter()
            .flat_map(|cell| cell.look.nulls())
            .all(|null| !null.iter().all(is_plain));
        let from = input.delimiter();
        let mut doubtful =
            (FIRST_PRINTABLE..=u8::MAX).filter(|byte| !is_plain(byte) && *byte != from);
        let first = doubtful.next().unwrap_or(0);
        let [second, third] = [doubtful.next(), doubtful.next()].map(|byte| byte.unwrap_or(first));
        let is_null_kept = input.null() == target.dialect.null()
            && input.null().first().is_some_and(|byte| !is_plain(byte));
        let can_do = target.form == TextForm::Lines
            && are_texts
            && are_nulls_seen
            && doubtful.next().is_none();
        can_do.then(|| Self {
            from,
            to: target.dialect.delimiter(),
            plain: *plain,
            doubtful: [first, second, third],
            null: is_null_kept.then(|| input.null().to_vec()),
        })
    }

    /// Appends a record with its delimiters exchanged; if any byte may mean something else,
    /// `false` is returned and nothing is appended.
    pub(super) fn append(&self, record: &[u8], out: &mut TextBuffer) -> bool {
        let room = out.room(record.len().next_multiple_of(CHUNK));
        let (written, _) = room.as_chunks_mut::<CHUNK>();
        // Behind it all is plain, or was looked at.
        let mut looked_at = 0;
        for (number, written) in written.iter_mut().enumerate() {
            let start = number * CHUNK;
            let rest = record.get(start..).unwrap_or_default();
            let last;
            let bytes = match rest.first_chunk() {
                Some(bytes) => bytes,
                None => {
                    last = padded(rest);
                    &last
                }
            };
            if self.copy(bytes, written) {
                let end = record.len().min(start + CHUNK);
                match self.look_at(record, looked_at.max(start)..end) {
                    Some(end) => looked_at = end,
                    None => return false,
                }
            }
        }
        out.advance(record.len());
        true
    }

    /// Copies some bytes and says whether one of them should be looked at.
    #[inline]
    fn copy(&self, bytes: &[u8; CHUNK], out: &mut [u8; CHUNK]) -> bool {
        let [first, second, third] = self.doubtful;
        let mut is_any = 0;
        for (out, byte) in out.iter_mut().zip(bytes) {
            let byte = *byte;
            let is_delimiter = byte == self.from;
            *out = if is_delimiter { self.to } else { byte };
            let is_doubtful = (byte < FIRST_PRINTABLE)
                | (byte == first)
                | (byte == second)
                | (byte == third)
                | (byte | 0x20 == OF_WORD_NULL);
            is_any |= u8::from(is_doubtful & !is_delimiter);
        }
        is_any != 0
    }

    /// Looks at some bytes of a record one by one; returns where the look has ended, or nothing if
    /// the record can't be copied.
    fn look_at(&self, record: &[u8], range: Range<usize>) -> Option<usize> {
        let mut at = range.start;
        while at < range.end {
            let byte = *record.get(at)?;
            let is_plain = self.plain.get(usize::from(byte)) == Some(&true);
            if byte == self.from {
                at += 1;
            } else if is_plain {
                if byte | 0x20 == OF_WORD_NULL && self.is_in_word(record, at) {
                    return None;
                }
                at += 1;
            } else {
                let null = self.null.as_deref()?;
                self.is_field(record, at, null.len())
                    .filter(|field| *field == null)?;
                at += null.len();
            }
        }
        Some(at)
    }

    /// Says whether the letter at `at` is the second of a field that is the word NULL.
    fn is_in_word(&self, record: &[u8], at: usize) -> bool {
        at.checked_sub(1)
            .and_then(|start| self.is_field(record, start, 4))
            .is_some_and(|field| field.eq_ignore_ascii_case(b"NULL"))
    }

    /// Returns the `length` bytes from `start` on if they are between delimiters.
    fn is_field<'r>(&self, record: &'r [u8], start: usize, length: usize) -> Option<&'r [u8]> {
        let begins = start
            .checked_sub(1)
            .is_none_or(|before| record.get(before) == Some(&self.from));
        let end = start + length;
        let ends = end == record.len() || record.get(end) == Some(&self.from);
        record.get(start..end).filter(|_| begins && ends)
    }
}

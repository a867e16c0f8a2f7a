//! Records in which quotes may matter, walked field by field.
//!
//! Here a delimiter or line end counts only outside quotes, and only a field's first byte can
//! open them, so fields must be found in order. Up to the next quote they are found as fast as in
//! flat records.

use memchr::{memchr, memchr2, memchr3};

use super::faults::{RecordFault, RecordFaultKind};
use super::fields::{Fields, Marks};
use super::records::{Extent, Records};
use super::scan::for_each_place;

impl Records<'_> {
    /// Walks a record field by field, because quotes may matter.
    pub(super) fn quoted_record(&self, fields: &mut Fields) -> Result<Extent, RecordFault> {
        fields.restart(self.at, Marks::default());
        let mut from = self.at;
        loop {
            from = self.pass_flat_fields(from, fields);
            let (end, marks) = if self.block.get(from).copied() == self.quote {
                self.quoted_field(from)?
            } else {
                let end = self.unquoted_end(from);
                let coded = self.next_escape < end;
                (
                    end,
                    Marks {
                        coded,
                        ..Marks::default()
                    },
                )
            };
            self.end_marked_field(end, marks, fields);
            if self.block.get(end) == Some(&self.delimiter) {
                from = end + 1;
                continue;
            }

            let next = self.after_line_end(end);
            let record = self.block.get(self.at..end).unwrap_or_default();
            let has_inner_line_ends = memchr2(b'\n', b'\r', record).is_some();
            let extent = Extent {
                end,
                next,
                has_inner_line_ends,
            };
            if self.is_cut_in_escape(end) {
                return Err(self.fault(RecordFaultKind::EscapeAtEnd, end - 1));
            }
            return Ok(extent);
        }
    }

    /// Takes the fields from `start` on that end before the next quote, line end and escape, and
    /// returns where the next one starts.
    fn pass_flat_fields(&self, start: usize, fields: &mut Fields) -> usize {
        let rest = self.block.get(start..).unwrap_or_default();
        let hit = match self.quote {
            Some(quote) => memchr3(quote, b'\n', b'\r', rest),
            None => memchr2(b'\n', b'\r', rest),
        };
        let end = start + hit.unwrap_or(rest.len());
        // The first escape in the record says nothing of those that follow.
        let end = end.min(self.next_escape);
        let mut next = start;
        let flat = self.block.get(start..end).unwrap_or_default();
        for_each_place(flat, self.delimiter, |at| {
            self.end_marked_field(start + at, Marks::default(), fields);
            next = start + at + 1;
            true
        });
        next
    }

    fn end_marked_field(&self, end: usize, marks: Marks, fields: &mut Fields) {
        if fields.located() < self.wanted && end - self.at <= self.limit {
            fields.push_marked(end - self.at, marks);
        } else {
            fields.pass(1);
        }
    }

    /// Returns the first unescaped delimiter or line end from `start` on, or the block's end.
    fn unquoted_end(&self, start: usize) -> usize {
        let mut from = start;
        while let Some(rest) = self.block.get(from..) {
            let Some(hit) = memchr3(self.delimiter, b'\n', b'\r', rest) else {
                break;
            };
            if !self.is_escaped(from + hit, start) {
                return from + hit;
            }
            from += hit + 1;
        }
        self.block.len()
    }

    /// Returns the end of the field whose quote opens at `open`.
    fn quoted_field(&self, open: usize) -> Result<(usize, Marks), RecordFault> {
        let mut marks = Marks {
            quoted: true,
            ..Marks::default()
        };
        let mut from = open + 1;
        loop {
            let rest = self.block.get(from..).unwrap_or_default();
            let Some(hit) = self.find_quote_or_escape(rest) else {
                return Err(self.fault(RecordFaultKind::UnterminatedQuote, open));
            };
            let at = from + hit;
            let following = self.block.get(at + 1).copied();
            let is_escape = self.block.get(at).copied() == self.escape;
            if is_escape || following == self.quote {
                marks.coded = true;
                from = at + 2;
            } else if following.is_none_or(|byte| self.ends_field(byte)) {
                return Ok((at + 1, marks));
            } else if self.keeps_stray_quotes {
                from = at + 1;
            } else {
                let marks = Marks {
                    quoted: false,
                    coded: true,
                    has_tail: true,
                };
                return Ok((self.unquoted_end(at + 1), marks));
            }
        }
    }

    fn ends_field(&self, byte: u8) -> bool {
        byte == self.delimiter || matches!(byte, b'\n' | b'\r')
    }

    fn find_quote_or_escape(&self, bytes: &[u8]) -> Option<usize> {
        match (self.quote, self.escape) {
            (Some(quote), Some(escape)) => memchr2(quote, escape, bytes),
            (Some(quote), None) => memchr(quote, bytes),
            _ => None,
        }
    }
}

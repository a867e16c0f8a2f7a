//! The fields of one record: where they stand, and what their bytes need before they are values.
//!
//! As one byte separates two fields, the end of each says all. So a record costs four bytes a
//! field and no allocation once the buffer has grown.

use std::ops::Range;

/// Where the fields of a record stand in its block; reused from record to record.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    start: usize,
    ends: Vec<u32>,
    /// One a field, or none at all when `common` serves every field.
    marks: Vec<Marks>,
    common: Marks,
    count: usize,
}

/// What is known of a field's bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// The first and last byte are quotes that belong together.
    pub(super) quoted: bool,
    /// There are escapes or doubled quotes, or there may be.
    pub(super) coded: bool,
    /// A quoted part comes first, unquoted bytes follow it.
    pub(super) has_tail: bool,
}

impl Fields {
    /// Makes an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how many fields the record has.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns how many fields were located: all, or the first ones that were asked for.
    pub fn located(&self) -> usize {
        self.ends.len()
    }

    /// Returns where each located field ends, counted from the record's start.
    pub(crate) fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Returns where field `index` stands in the block, with its quotes if it has any.
    pub fn range(&self, index: usize) -> Option<Range<usize>> {
        let end = *self.ends.get(index)? as usize;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize + 1,
            None => 0,
        };
        Some(self.start + start..self.start + end)
    }

    /// Returns field `index`; `block` is the one that the record was found in.
    pub fn get<'b>(&self, index: usize, block: &'b [u8]) -> Option<Field<'b>> {
        let raw = block.get(self.range(index)?)?;
        Some(Field {
            raw,
            marks: self.marks.get(index).copied().unwrap_or(self.common),
        })
    }

    /// Goes over the located fields in order.
    pub fn iter<'b>(&self, block: &'b [u8]) -> impl Iterator<Item = Field<'b>> {
        (0..self.located()).filter_map(move |index| self.get(index, block))
    }

    /// Begins a record of the block; `common` is meant for records without quoted fields.
    pub(super) fn restart(&mut self, start: usize, common: Marks) {
        self.start = start;
        self.ends.clear();
        self.marks.clear();
        self.common = common;
        self.count = 0;
    }

    /// Says that there are escapes in the record.
    pub(super) fn mark_coded(&mut self) {
        self.common.coded = true;
    }

    /// Adds a field that ends `end` bytes after the record's start; its marks are the common ones.
    #[inline]
    pub(super) fn push(&mut self, end: usize) {
        // A record is never longer than its limit, which `Records` keeps below 4 GiB.
        self.ends.push(u32::try_from(end).unwrap_or(u32::MAX));
        self.count += 1;
    }

    /// Adds a field with marks of its own; then every field of the record must have them.
    pub(super) fn push_marked(&mut self, end: usize, marks: Marks) {
        self.push(end);
        self.marks.push(marks);
    }

    /// Counts fields that are not located.
    pub(super) fn pass(&mut self, fields: usize) {
        self.count += fields;
    }
}

/// One field as it stands in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'b> {
    raw: &'b [u8],
    marks: Marks,
}

impl<'b> Field<'b> {
    /// Returns the field's bytes as they stand, quotes included: what a verbatim copy takes.
    pub fn raw(&self) -> &'b [u8] {
        self.raw
    }

    /// Returns the field's bytes without its quotes, not decoded.
    pub fn content(&self) -> &'b [u8] {
        match self.raw {
            [_, content @ .., _] if self.marks.quoted => content,
            raw => raw,
        }
    }

    /// Says whether the field is enclosed in quotes.
    pub fn is_quoted(&self) -> bool {
        self.marks.quoted
    }

    /// Says whether the content may differ from the value: it holds, or its record holds, an
    /// escape, or a quote is doubled.
    pub fn needs_decoding(&self) -> bool {
        self.marks.coded
    }

    /// Says whether a quoted part is followed by unquoted bytes; only without an escape.
    pub(super) fn has_tail(&self) -> bool {
        self.marks.has_tail
    }
}

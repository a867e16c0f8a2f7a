//! Finds records and fields in a block that holds whole records.
//!
//! Nearly all records are *plain*: they hold no quote, and no escape stands right before a delimiter or
//! line end. Their end and fields are found together, 64 bytes at a time, and the bits of these
//! bytes serve for the next record, too. Escapes as in `\N`, which stands in most rows of real tables,
//! cost nothing.
//!
//! Others are *flat*: no quote matters in them. Their end is found by a search for line ends, their
//! fields by a search for delimiters, and a hit counts unless an odd run of escapes precedes it.
//! Only records with a quote before their first line end are walked field by field.

use std::ops::Range;

use memchr::{memchr, memchr_iter, memchr2, memchr3};

use super::definition::Dialect;
use super::faults::{RecordFault, RecordFaultKind};
use super::fields::{Fields, Marks};
use super::scan::{CHUNK, count_line_ends, for_each_place, is_escaped, places, places_of_any};

/// How long a record may be unless told otherwise: what Qserv's ingest server takes.
pub const MAX_RECORD_BYTES: usize = 16 << 20;

/// One record of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    start: usize,
    end: usize,
    line: u64,
    has_inner_line_ends: bool,
}

impl Record {
    /// Returns where the record stands in its block, without its line end.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Returns the line on which the record starts, counted from 1 over the whole input.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Says whether a field holds a raw CR or LF: then a copy would not be one line.
    pub fn has_inner_line_ends(&self) -> bool {
        self.has_inner_line_ends
    }

    /// Says whether the record is an empty line.
    ///
    /// It is one empty field. Many programs that write RFC 4180 end a file with such lines; where
    /// more than one column is expected, passing over them is safe.
    pub fn is_blank(&self) -> bool {
        self.start == self.end
    }

    /// Says whether the record is an empty line that means nothing in `dialect`, where records have
    /// `fields` fields.
    pub fn stands_for_no_row(&self, dialect: &Dialect, fields: usize) -> bool {
        self.is_blank() && dialect.passes_over_blank_lines() && fields > 1
    }
}

/// Goes through the records of a block.
///
/// # Examples
/// ```
/// use skyprep::dialect::{Dialect, Fields, Records};
///
/// let dialect = Dialect::qserv();
/// let block = b"1\t\\N\n2\ta\\tb\n";
/// let (mut records, mut fields) = (Records::new(&dialect, block), Fields::new());
/// let mut scratch = Vec::new();
/// while let Some(record) = records.next(&mut fields)? {
///     let note = fields.get(1, block).unwrap();
///     match record.line() {
///         1 => assert!(dialect.is_null(note)),
///         _ => assert_eq!(dialect.value(note, &mut scratch), b"a\tb"),
///     }
/// }
/// # Ok::<(), skyprep::dialect::RecordFault>(())
/// ```
#[derive(Debug, Clone)]
pub struct Records<'b> {
    pub(super) block: &'b [u8],
    pub(super) delimiter: u8,
    pub(super) quote: Option<u8>,
    pub(super) escape: Option<u8>,
    pub(super) keeps_stray_quotes: bool,
    pub(super) limit: usize,
    pub(super) wanted: usize,
    pub(super) at: usize,
    line: u64,
    /// The first escape at or after the start of the last record that was not plain, or the block's
    /// end.
    pub(super) next_escape: usize,
    /// What stands in the bytes that were looked at last.
    marks: ChunkMarks,
    #[cfg(test)]
    is_never_plain: bool,
}

/// What stands where in some bytes of a block: a bit for each, the lowest for the first.
#[derive(Debug, Clone, Copy, Default)]
struct ChunkMarks {
    /// First byte behind them.
    end: usize,
    /// Line ends, and quotes: with one the record is not plain.
    ends: u64,
    delimiters: u64,
    escapes: u64,
}

/// Where a record ends and what comes after.
pub(super) struct Extent {
    pub(super) end: usize,
    pub(super) next: usize,
    pub(super) has_inner_line_ends: bool,
}

impl<'b> Records<'b> {
    /// Starts at the beginning of `block`, which must begin and end at record borders.
    pub fn new(dialect: &Dialect, block: &'b [u8]) -> Self {
        Self {
            block,
            delimiter: dialect.delimiter(),
            quote: dialect.quote(),
            escape: dialect.escape(),
            keeps_stray_quotes: dialect.keeps_stray_quotes(),
            limit: MAX_RECORD_BYTES,
            wanted: usize::MAX,
            at: 0,
            line: 1,
            next_escape: 0,
            marks: ChunkMarks::default(),
            #[cfg(test)]
            is_never_plain: false,
        }
    }

    /// Numbers lines from `first_line` (of [`super::BlockInfo`]) instead of 1.
    #[must_use]
    pub fn at_line(self, first_line: u64) -> Self {
        Self {
            line: first_line,
            ..self
        }
    }

    /// Refuses records longer than `limit` bytes, instead of [`MAX_RECORD_BYTES`].
    #[must_use]
    pub fn with_limit(self, limit: usize) -> Self {
        Self {
            limit: limit.min(u32::MAX as usize),
            ..self
        }
    }

    /// Locates only the first `wanted` fields of each record, and only counts the others.
    ///
    /// Counting runs at memory speed, so this pays when the columns that matter come early.
    #[must_use]
    pub fn locating(self, wanted: usize) -> Self {
        Self { wanted, ..self }
    }

    /// Returns where in the block the next record starts.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Finds the next record and its fields; `None` at the end of the block.
    ///
    /// # Errors
    /// When the record is broken or too long. The next call goes on behind it.
    pub fn next(&mut self, fields: &mut Fields) -> Result<Option<Record>, RecordFault> {
        let (start, line) = (self.at, self.line);
        if start >= self.block.len() {
            return Ok(None);
        }
        let found = match self.plain_record(fields) {
            Some(extent) => Ok(extent),
            None => self.other_record(fields),
        };
        if found.is_err() {
            self.at = self.block.len();
        }
        let Extent {
            end,
            next,
            has_inner_line_ends,
        } = found?;
        let too_long = RecordFaultKind::TooLong { limit: self.limit };
        let fault = (end - start > self.limit).then(|| self.fault(too_long, start));

        self.at = next;
        // Nearly always the record is one line; only inner line ends make it more.
        self.line += if has_inner_line_ends {
            count_line_ends(self.block.get(start..next).unwrap_or_default())
        } else {
            1
        };
        let record = Record {
            start,
            end,
            line,
            has_inner_line_ends,
        };
        fault.map_or(Ok(Some(record)), Err)
    }

    /// Finds end and fields of a plain record that does not reach into the last bytes of the block.
    #[inline]
    fn plain_record(&mut self, fields: &mut Fields) -> Option<Extent> {
        #[cfg(test)]
        if self.is_never_plain {
            return None;
        }
        let start = self.at;
        fields.restart(start, Marks::default());
        let mut base = start - start % CHUNK;
        // Bits of the record itself, and whether the byte before them is an escape.
        let mut own = u64::MAX << (start - base);
        let (mut escape_before, mut coded) = (0, false);
        loop {
            let marks = self.marks_of(base)?;
            let ends = marks.ends & own;
            let first_end = ends & ends.wrapping_neg();
            let inside = own & first_end.wrapping_sub(1);
            let escapes = marks.escapes & inside;
            let delimiters = marks.delimiters & inside;
            if (escapes << 1 | escape_before) & (delimiters | first_end) != 0 {
                return None;
            }
            escape_before = escapes >> (CHUNK - 1);
            coded |= escapes != 0;
            self.add_fields(
                base - start.min(base),
                start.saturating_sub(base),
                delimiters,
                fields,
            );
            if first_end != 0 {
                let end = base + first_end.trailing_zeros() as usize;
                let is_quote = self.quote.is_some() && self.block.get(end).copied() == self.quote;
                if is_quote || end - start > self.limit {
                    return None;
                }
                self.end_field(end - start, fields);
                if coded {
                    fields.mark_coded();
                }
                return Some(Extent {
                    end,
                    next: self.after_line_end(end),
                    has_inner_line_ends: false,
                });
            }
            base += CHUNK;
            own = u64::MAX;
        }
    }

    /// Returns what stands in the bytes from `base` on; nothing for the last bytes of the block.
    #[inline]
    fn marks_of(&mut self, base: usize) -> Option<ChunkMarks> {
        if self.marks.end != base + CHUNK {
            let chunk = self.block.get(base..)?.first_chunk::<CHUNK>()?;
            let quote = self.quote.unwrap_or(b'\n');
            self.marks = ChunkMarks {
                end: base + CHUNK,
                ends: places_of_any(chunk, [b'\n', b'\r', quote]),
                delimiters: places(chunk, self.delimiter),
                escapes: self.escape.map_or(0, |escape| places(chunk, escape)),
            };
        }
        Some(self.marks)
    }

    /// Adds the fields that end at the delimiters of a chunk which begins `ahead` bytes behind the
    /// record's start, or `behind` bytes before it.
    #[inline]
    fn add_fields(&self, ahead: usize, behind: usize, mut delimiters: u64, fields: &mut Fields) {
        while delimiters != 0 && fields.located() < self.wanted {
            fields.push(ahead + delimiters.trailing_zeros() as usize - behind);
            delimiters &= delimiters - 1;
        }
        fields.pass(delimiters.count_ones() as usize);
    }

    /// Finds end and fields of a record that is not plain.
    fn other_record(&mut self, fields: &mut Fields) -> Result<Extent, RecordFault> {
        // Before the first such record nothing was looked for.
        if self.next_escape <= self.at {
            self.next_escape = self.find_escape(self.at);
        }
        match self.flat_extent() {
            Some(extent) => self.flat_record(extent, fields),
            None => self.quoted_record(fields),
        }
    }

    /// Finds the end of the record, if no quote comes before it.
    fn flat_extent(&self) -> Option<Extent> {
        let mut from = self.at;
        loop {
            let rest = self.block.get(from..)?;
            let hit = match self.quote {
                Some(quote) => memchr3(b'\n', b'\r', quote, rest),
                None => memchr2(b'\n', b'\r', rest),
            };
            let has_inner_line_ends = from > self.at;
            let Some(hit) = hit else {
                let end = self.block.len();
                return Some(Extent {
                    end,
                    next: end,
                    has_inner_line_ends,
                });
            };
            let end = from + hit;
            if self.quote.is_some() && self.block.get(end).copied() == self.quote {
                return None;
            }
            if !self.is_escaped(end, self.at) {
                return Some(Extent {
                    end,
                    next: self.after_line_end(end),
                    has_inner_line_ends,
                });
            }
            from = end + 1;
        }
    }

    fn flat_record(&self, extent: Extent, fields: &mut Fields) -> Result<Extent, RecordFault> {
        let coded = self.next_escape < extent.end;
        fields.restart(
            self.at,
            Marks {
                coded,
                ..Marks::default()
            },
        );
        if extent.end - self.at > self.limit {
            return Ok(extent); // `next` refuses it
        }
        if coded && self.is_cut_in_escape(extent.end) {
            return Err(self.fault(RecordFaultKind::EscapeAtEnd, extent.end - 1));
        }

        let record = self.block.get(self.at..extent.end).unwrap_or_default();
        let mut uncounted_from = None;
        for_each_place(record, self.delimiter, |at| {
            if coded
                && self
                    .escape
                    .is_some_and(|escape| is_escaped(record, at, 0, escape))
            {
                return true;
            }
            let is_wanted = fields.located() < self.wanted;
            if is_wanted {
                fields.push(at);
            } else {
                uncounted_from = Some(at);
            }
            is_wanted
        });
        if let Some(from) = uncounted_from {
            fields.pass(self.count_delimiters(record.get(from..).unwrap_or_default(), coded));
        }
        self.end_field(record.len(), fields);
        Ok(extent)
    }

    /// Counts unescaped delimiters in bytes of which the first is not escaped.
    fn count_delimiters(&self, bytes: &[u8], coded: bool) -> usize {
        let all = memchr_iter(self.delimiter, bytes).count();
        let mut escaped = 0;
        if let (true, Some(escape)) = (coded, self.escape) {
            let mut taken = 0; // what an earlier escape has taken is not looked at
            for_each_place(bytes, escape, |at| {
                if at >= taken {
                    taken = at + 2;
                    escaped += usize::from(bytes.get(at + 1) == Some(&self.delimiter));
                }
                true
            });
        }
        all - escaped
    }

    fn end_field(&self, end: usize, fields: &mut Fields) {
        if fields.located() < self.wanted {
            fields.push(end);
        } else {
            fields.pass(1);
        }
    }

    fn find_escape(&self, from: usize) -> usize {
        let rest = self.block.get(from..).unwrap_or_default();
        let hit = self.escape.and_then(|escape| memchr(escape, rest));
        hit.map_or(self.block.len(), |hit| from + hit)
    }

    pub(super) fn is_escaped(&self, at: usize, floor: usize) -> bool {
        self.escape
            .is_some_and(|escape| is_escaped(self.block, at, floor, escape))
    }

    /// Says whether the block ends right after an escape that takes the next byte.
    pub(super) fn is_cut_in_escape(&self, end: usize) -> bool {
        end == self.block.len() && self.is_escaped(end, self.at)
    }

    /// Returns where the next record starts when this one ends at `end`.
    pub(super) fn after_line_end(&self, end: usize) -> usize {
        match self.block.get(end..).unwrap_or_default() {
            [] => end,
            [b'\r', b'\n', ..] => end + 2,
            _ => end + 1,
        }
    }

    /// Makes a fault of the record that starts at `self.at`.
    pub(super) fn fault(&self, kind: RecordFaultKind, offset: usize) -> RecordFault {
        RecordFault {
            kind,
            offset: offset as u64,
            line: self.line,
        }
    }
}

#[cfg(test)]
mod tests;

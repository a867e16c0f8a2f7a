//! From a plan and a block of text to rows.
//!
//! Fields that a look finds plain are not touched: as long as they are neighbours in input and
//! output they are copied together, delimiters included. All others go through the rules.

use std::borrow::Cow;
use std::ops::Range;

use super::address::TextAddress;
use super::glance::{Glance, OddBytes};
use super::look::Verdict;
use super::text_fault::TextFault;
use super::text_plan::{PlannedField, PlannedRouting, TextPlan, Treatment, WholeRecords};
use crate::convert::{RowFault, check_row_length};
use crate::dialect::{FieldRules, Fields, Record, Records};
use crate::error::{Error, quote_value};
use crate::exchange::Packet;
use crate::partition::PieceOrigin;
use crate::partition::key_index::KeyPlace;
use crate::schema::RowStep;
use crate::values::{CellFault, RuleCounts, RuleName, TextBuffer, is_utf8};

impl TextPlan {
    /// Starts on a block of whole records whose first is on line `first_line` (from 1), and which
    /// comes from `origin`.
    ///
    /// # Errors
    /// Where its rows go was found out before, and can't be read.
    pub fn rows<'p>(
        &'p self,
        block: &'p [u8],
        first_line: u64,
        origin: PieceOrigin<'p>,
    ) -> Result<TextRows<'p>, Error> {
        let mut places = Vec::new();
        if let Some(routing) = &self.routing {
            places = routing.router.known_places(origin, 0)?;
            for (number, places) in places.iter_mut().enumerate() {
                if let (None, Some(index)) = (&places, routing.router.index(number)) {
                    *places = Some(self.find_all(block, number, index)?);
                }
            }
        }
        let records = Records::new(&self.input, block).at_line(first_line);
        Ok(TextRows {
            plan: self,
            block,
            records: match &self.whole {
                Some(whole) => records.locating(whole.located),
                None => records,
            },
            fields: Fields::new(),
            scratch: Vec::new(),
            odd: OddBytes::default(),
            is_valid: !self.checks_charset || is_utf8(block),
            origin,
            row: 0,
            places,
        })
    }

    fn write_fields(
        &self,
        cells: Cells<'_>,
        scratch: &mut Vec<u8>,
        packet: &mut Packet,
        counts: &mut RuleCounts,
    ) -> Result<(), RowFault> {
        packet.text_mut().push_short(self.layout.start);
        let mut stretch = Stretch::new(cells.block, self.layout.delimiter);
        for step in &self.steps {
            match step {
                RowStep::Delimiter => stretch.is_delimiter_due = true,
                RowStep::Slot => {
                    stretch.end(packet.text_mut());
                    packet.mark_slot();
                }
                RowStep::Cell(number) => {
                    let Some(cell) = self.cells.get(*number) else {
                        continue;
                    };
                    let text = packet.text_mut();
                    match self.look(cell, cells) {
                        (Verdict::AsIs, field) => {
                            let source = cell.source.filter(|_| self.has_same_delimiter);
                            stretch.add(field, source, text);
                        }
                        (verdict, _) => {
                            stretch.end(text);
                            self.write_by_rules(cell, verdict, cells, scratch, packet, counts)?;
                        }
                    }
                }
            }
        }
        stretch.end(packet.text_mut());
        Ok(())
    }

    /// Writes a record whose fields are the cells in order: what is seen to stay is copied with the
    /// delimiters between.
    fn write_glanced(
        &self,
        glance: &Glance,
        cells: Cells<'_>,
        record: &Record,
        (scratch, odd): (&mut Vec<u8>, &mut OddBytes),
        packet: &mut Packet,
        counts: &mut RuleCounts,
    ) -> Result<(), RowFault> {
        packet.text_mut().push_short(self.layout.start);
        let Range { start, end } = record.range();
        let bytes = |range: Range<usize>| cells.block.get(range).unwrap_or_default();
        let mut copied = start;
        let looked_at = (cells.fields, odd);
        glance.at(cells.block, (start, end), looked_at, |number, from, to| {
            let Some(cell) = self.cells.get(number) else {
                return Ok(());
            };
            let (verdict, _) = self.look(cell, cells);
            if verdict == Verdict::AsIs {
                return Ok(());
            }
            packet.text_mut().push_short(bytes(copied..from));
            copied = to;
            self.write_by_rules(cell, verdict, cells, scratch, packet, counts)
        })?;
        packet.text_mut().push_short(bytes(copied..end));
        if self.steps.last() == Some(&RowStep::Slot) {
            packet.mark_slot();
        }
        Ok(())
    }

    /// Writes a field that may not stay as it is.
    #[inline]
    fn write_by_rules(
        &self,
        cell: &PlannedField,
        verdict: Verdict,
        cells: Cells<'_>,
        scratch: &mut Vec<u8>,
        packet: &mut Packet,
        counts: &mut RuleCounts,
    ) -> Result<(), RowFault> {
        let written = match verdict {
            Verdict::Flag(flag) => self.write_flag(cell, flag, packet.text_mut(), counts),
            Verdict::AsIs | Verdict::Unsure => {
                let start = packet.text_mut().len();
                let written = self.write_field(cell, cells, scratch, packet, counts);
                written.map(|()| self.encoder.end_field(start, packet.text_mut()))
            }
        };
        written.map_err(|fault| cell.fault(fault))
    }

    /// Says whether a record is a blank line that stands for no row.
    pub(super) fn passes_over(&self, record: &Record) -> bool {
        record.stands_for_no_row(&self.input, self.field_names.len())
    }

    /// Refuses a record over several lines that has a stray quote within quotes.
    ///
    /// The C++ tools refuse all records over several lines. Those that are well quoted can be read,
    /// but here a quote too many may have run through the rows that follow.
    #[cold]
    fn check_lines(&self, record: &[u8]) -> Result<(), RowFault> {
        let mut fields = Fields::new();
        let _ = Records::new(&self.input, record).next(&mut fields);
        for (field, name) in fields.iter(record).zip(&self.field_names) {
            if self.input.has_stray_quote(field) {
                let expected = ", expected quotes in a record of several lines to be doubled";
                let cell = CellFault::found(quote_value(field.raw()), expected)
                    .with_hint("is the quote character right, or is it data?");
                return Err(RowFault {
                    column: name.clone(),
                    cell,
                });
            }
        }
        Ok(())
    }

    /// Looks at the field that `cell` comes from, and says where it stands.
    #[inline]
    fn look(&self, cell: &PlannedField, cells: Cells<'_>) -> (Verdict, Range<usize>) {
        let range = cell.source.and_then(|source| cells.fields.range(source));
        let Some(range) = range else {
            return (Verdict::Unsure, 0..0);
        };
        if cells.may_copy && cell.treatment == Treatment::Copy {
            return (Verdict::AsIs, range);
        }
        let plain = match cells.is_valid {
            true => &self.plain.of_valid_text,
            false => &self.plain.ascii,
        };
        let verdict = cell.look.at(cells.block, (range.start, range.end), plain);
        (verdict, range)
    }

    fn write_flag(
        &self,
        cell: &PlannedField,
        flag: bool,
        text: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        let is_changed = cell.rule.changes_booleans();
        cell.rule
            .count(counts, RuleName::Bool, u64::from(is_changed));
        cell.rule.boolean(flag, &self.encoder, text, counts)
    }

    fn write_field(
        &self,
        cell: &PlannedField,
        cells: Cells<'_>,
        scratch: &mut Vec<u8>,
        packet: &mut Packet,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        let Some(source) = cell.source else {
            if let Some(text) = &cell.fixed {
                packet.text_mut().extend(text);
                return Ok(());
            }
            cell.rule
                .count(counts, RuleName::Missing, u64::from(!cell.is_placeholder));
            return cell.rule.null(packet.text_mut());
        };
        let Some(field) = cells.fields.get(source, cells.block) else {
            return Err(CellFault::new("the field is missing"));
        };
        if self.input.is_null(field) {
            return cell.rule.null(packet.text_mut());
        }
        let value = self.input.value(field, scratch);
        if cells.may_copy && cell.treatment == Treatment::CheckAndCopy {
            let may_copy = cell.rule.takes_as_is(value, counts)?;
            if may_copy {
                packet.text_mut().extend(field.raw());
                return Ok(());
            }
        }
        let recoded = match cell.rule.is_binary() {
            true => Cow::Borrowed(value),
            false => cell.rule.recoded(value, self.charset, counts)?,
        };
        cell.rule.text_value(
            &recoded,
            self.inference,
            &self.encoder,
            packet.text_mut(),
            counts,
        )
    }
}

impl PlannedField {
    fn fault(&self, cell: CellFault) -> RowFault {
        RowFault {
            column: self.name.clone(),
            cell,
        }
    }
}

/// Appends a record as a whole; says whether that was right, else nothing is appended.
#[inline]
fn append_whole(whole: &WholeRecords, record: &[u8], text: &mut TextBuffer) -> bool {
    match &whole.translator {
        Some(translator) => translator.append(record, text),
        None => {
            text.extend(record);
            true
        }
    }
}

/// The fields of one record and the bytes that they lie in.
#[derive(Clone, Copy)]
struct Cells<'b> {
    fields: &'b Fields,
    block: &'b [u8],
    /// Whether the record is valid in its character set.
    is_valid: bool,
    /// Whether fields may be copied as they stand, quotes included.
    may_copy: bool,
}

/// Fields that stay as they are and stand side by side, not yet copied.
struct Stretch<'b> {
    block: &'b [u8],
    delimiter: u8,
    range: Range<usize>,
    /// The field that would make it longer.
    next: Option<usize>,
    /// Whether a delimiter comes before what is written next.
    is_delimiter_due: bool,
}

impl<'b> Stretch<'b> {
    fn new(block: &'b [u8], delimiter: u8) -> Self {
        Self {
            block,
            delimiter,
            range: 0..0,
            next: None,
            is_delimiter_due: false,
        }
    }

    /// Adds a field; `source` is its number, where its neighbour may be copied with it.
    #[inline]
    fn add(&mut self, field: Range<usize>, source: Option<usize>, text: &mut TextBuffer) {
        if self.next.is_some() && self.next == source && self.is_delimiter_due {
            self.range.end = field.end;
            self.is_delimiter_due = false;
        } else {
            self.end(text);
            self.range = field;
        }
        self.next = source.map(|source| source + 1);
    }

    /// Copies what there is, and writes the delimiter if one is due.
    #[inline]
    fn end(&mut self, text: &mut TextBuffer) {
        let bytes = self.block.get(self.range.clone()).unwrap_or_default();
        text.push_short(bytes);
        self.range = 0..0;
        self.next = None;
        if self.is_delimiter_due {
            text.push(self.delimiter);
            self.is_delimiter_due = false;
        }
    }
}

/// The rows of one block.
pub struct TextRows<'p> {
    plan: &'p TextPlan,
    block: &'p [u8],
    records: Records<'p>,
    fields: Fields,
    scratch: Vec<u8>,
    odd: OddBytes,
    /// Whether all of the block is valid in its character set.
    is_valid: bool,
    origin: PieceOrigin<'p>,
    /// Records that were read.
    row: u64,
    /// Where their keys lead, for each that was looked up for all records.
    places: Vec<Option<Vec<Option<KeyPlace>>>>,
}

impl TextRows<'_> {
    /// Writes the next row into `packet` and routes it; says whether there was one.
    ///
    /// # Errors
    /// The record or one of its values is refused; the packet is then as before.
    pub fn write_next(
        &mut self,
        packet: &mut Packet,
        counts: &mut RuleCounts,
    ) -> Result<bool, TextFault> {
        let expected = self.plan.field_names.len();
        let record = loop {
            let next = self
                .records
                .next(&mut self.fields)
                .map_err(TextFault::Record)?;
            let Some(record) = next else { return Ok(false) };
            if !self.plan.passes_over(&record) {
                break record;
            }
        };
        let line = record.line();
        self.row += 1;
        if self.fields.count() != expected {
            let counts = (self.fields.count(), expected);
            return Err(TextFault::field_count(&record, self.block, counts));
        }
        let written = self.write_record(&record, packet, counts);
        if let Err(fault) = written {
            packet.abandon_row();
            // What was counted before the fault shows when the same is done again; so good rows
            // need no counts of their own.
            let mut vain = RuleCounts::default();
            let _ = self.write_record(&record, packet, &mut vain);
            packet.abandon_row();
            counts.take_back(&vain);
            return Err(TextFault::Row { line, fault });
        }
        Ok(true)
    }

    fn write_record(
        &mut self,
        record: &Record,
        packet: &mut Packet,
        counts: &mut RuleCounts,
    ) -> Result<(), RowFault> {
        let plan = self.plan;
        let bytes = self.block.get(record.range()).unwrap_or_default();
        let is_valid = self.is_valid || is_utf8(bytes);
        if record.has_inner_line_ends() && plan.input.rules() == FieldRules::Sph {
            plan.check_lines(bytes)?;
        }
        // Qserv's server cuts rows at every raw LF, quoted or not, so such a field is rewritten.
        let may_copy = is_valid && !record.has_inner_line_ends();
        let is_copied = match &plan.whole {
            Some(whole) if may_copy => append_whole(whole, bytes, packet.text_mut()),
            _ => false,
        };
        if is_copied {
            if plan.routing.is_some() {
                packet.mark_slot();
            }
        } else if plan.whole.is_none() {
            let cells = Cells {
                fields: &self.fields,
                block: self.block,
                is_valid,
                may_copy,
            };
            let scratch = &mut self.scratch;
            match &plan.glance {
                Some(glance) => {
                    let room = (scratch, &mut self.odd);
                    plan.write_glanced(glance, cells, record, room, packet, counts)?;
                }
                None => plan.write_fields(cells, scratch, packet, counts)?,
            }
        } else {
            // Not all fields were located. The record was read once, so it reads the same again.
            let mut fields = Fields::new();
            let _ = Records::new(&plan.input, bytes).next(&mut fields);
            let cells = Cells {
                fields: &fields,
                block: bytes,
                is_valid,
                may_copy,
            };
            plan.write_fields(cells, &mut self.scratch, packet, counts)?;
        }
        check_row_length(packet, plan.cells.first().map_or("", |cell| &cell.name))?;
        match &plan.routing {
            Some(routing) => self.route(routing, record.line(), packet),
            None => {
                packet.text_mut().push_short(plan.layout.end);
                packet.end_row();
                Ok(())
            }
        }
    }

    fn route(
        &mut self,
        routing: &PlannedRouting,
        line: u64,
        packet: &mut Packet,
    ) -> Result<(), RowFault> {
        let mut address = TextAddress {
            plan: self.plan,
            routing,
            fields: &self.fields,
            block: self.block,
            scratch: &mut self.scratch,
            places: &self.places,
            row: (self.row - 1) as usize,
        };
        if let Some(key) = &routing.director_key {
            let encoder = &self.plan.encoder;
            let row = (self.origin, self.row - 1, line);
            address
                .write_own_key(key.column, row, encoder, packet.key_mut())
                .and_then(|()| routing.router.check_own_key(packet.open_key()))
                .map_err(|cell| RowFault {
                    column: key.name.clone(),
                    cell,
                })?;
        }
        let routed = routing.router.route(&mut address, packet);
        routed.map_err(|fault| routing.columns.fault(fault))?;
        if routing.director_key.is_some() {
            packet.end_key();
        }
        routing.router.end_row(packet);
        Ok(())
    }
}

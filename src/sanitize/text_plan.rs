//! From an input's fields to a plan, from the plan and a block of text to rows.

use std::borrow::Cow;
use std::sync::Arc;

use crate::convert::{
    BadRow, RowFault, RowLayout, RowTarget, TextForm, check_row_length, route_row,
};
use crate::dialect::{Dialect, Encoder, Fields, Record, RecordFault, Records};
use crate::error::{Error, ErrorKind, Place, Result, quote_value};
use crate::exchange::Packet;
use crate::partition::Router;
use crate::schema::{ColumnContent, MysqlType, OutputColumn, RowStep, row_steps};
use crate::values::{
    BinaryForm, CellFault, Charset, ColumnRule, Inference, InvalidTextPolicy, RuleCounts, RuleName,
};

/// How the rows of one output are made from one text input's fields.
pub struct TextPlan {
    input: Dialect,
    field_names: Vec<String>,
    cells: Vec<PlannedField>,
    steps: Vec<RowStep>,
    encoder: Encoder,
    layout: RowLayout,
    inference: Inference,
    /// Character set of the input.
    charset: Charset,
    /// Whether texts are looked at for bytes that their character set does not have.
    checks_charset: bool,
    routing: Option<PlannedRouting>,
    /// Records are copied whole; this many fields are looked at.
    copies_records: Option<usize>,
}

struct PlannedField {
    name: String,
    rule: ColumnRule,
    /// Field of the input; none where NULL is written.
    source: Option<usize>,
    /// What is written where there is no source; without it, NULL.
    fixed: Option<Vec<u8>>,
    is_placeholder: bool,
    treatment: Treatment,
}

/// What a field goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Treatment {
    /// Its bytes are copied.
    Copy,
    /// Its value is checked, then its bytes are copied.
    CheckAndCopy,
    /// Its value goes through the rules and is written anew.
    Rewrite,
}

struct PlannedRouting {
    router: Arc<Router>,
    ra: (usize, String),
    dec: (usize, String),
    key: Option<(usize, String)>,
}

impl TextPlan {
    /// Compiles the plan for an input in dialect `input` and character set `charset` (without one,
    /// the output's) with fields `field_names`.
    ///
    /// # Errors
    /// A column is missing.
    pub fn compile(
        target: &RowTarget,
        columns: &[OutputColumn],
        input: &Dialect,
        charset: Option<Charset>,
        field_names: &[String],
    ) -> Result<Self> {
        let charset = charset.unwrap_or(target.policy.charset);
        let renamed = target.renamed(field_names);
        let is_same_dialect = target.form == TextForm::Lines
            && target.policy.charset == charset
            && target.dialect.copies_fields_of(input);
        let encoder = target.encoder();
        let mut cells = Vec::with_capacity(columns.len());
        for (number, column) in columns.iter().enumerate() {
            let source = match column.content {
                ColumnContent::Input => target.find(&column.name, &renamed)?,
                _ => None,
            };
            let rule = target.rule(number, column);
            cells.push(PlannedField {
                name: column.name.clone(),
                fixed: target.fixed_text(column, &rule, &encoder)?,
                rule,
                source,
                is_placeholder: column.content != ColumnContent::Input,
                treatment: treatment(target, column, is_same_dialect),
            });
        }
        let find = |name: &String| -> Result<(usize, String)> {
            let field = target.find(name, &renamed)?;
            let field = field.ok_or_else(|| crate::convert::missing(name, &renamed))?;
            Ok((field, name.clone()))
        };
        let routing = match &target.routing {
            None => None,
            Some(routing) => Some(PlannedRouting {
                router: Arc::clone(&routing.router),
                ra: find(&routing.ra)?,
                dec: find(&routing.dec)?,
                key: routing.key.as_ref().map(find).transpose()?,
            }),
        };
        let (steps, _) = row_steps(columns);
        let copies_records = copies_records(&cells, &steps, field_names.len()).then(|| {
            let looked_at = routing.iter().flat_map(|r| {
                [r.ra.0, r.dec.0]
                    .into_iter()
                    .chain(r.key.as_ref().map(|key| key.0))
            });
            looked_at.max().map_or(0, |last| last + 1)
        });
        Ok(Self {
            input: input.clone(),
            field_names: field_names.to_vec(),
            cells,
            steps,
            encoder,
            layout: target.layout(),
            inference: target.inference,
            charset,
            checks_charset: charset == Charset::Utf8mb4
                && target.policy.charset != Charset::Binary
                && target.policy.invalid_text != InvalidTextPolicy::Keep,
            routing,
            copies_records,
        })
    }

    /// Starts on a block of whole records whose first is on line `first_line` (from 1).
    pub fn rows<'p>(&'p self, block: &'p [u8], first_line: u64) -> TextRows<'p> {
        let records = Records::new(&self.input, block).at_line(first_line);
        TextRows {
            plan: self,
            block,
            records: match self.copies_records {
                Some(wanted) => records.locating(wanted),
                None => records,
            },
            fields: Fields::new(),
            scratch: Vec::new(),
            is_valid: !self.checks_charset || std::str::from_utf8(block).is_ok(),
        }
    }

    fn write_fields(
        &self,
        cells: Cells<'_>,
        scratch: &mut Vec<u8>,
        packet: &mut Packet,
        counts: &mut RuleCounts,
    ) -> Result<(), RowFault> {
        packet.text_mut().push_short(self.layout.start);
        for step in &self.steps {
            match step {
                RowStep::Delimiter => packet.text_mut().push(self.layout.delimiter),
                RowStep::Slot => packet.mark_slot(),
                RowStep::Cell(number) => {
                    let Some(cell) = self.cells.get(*number) else {
                        continue;
                    };
                    let start = packet.text_mut().len();
                    self.write_field(cell, cells, scratch, packet, counts)
                        .map_err(|fault| RowFault {
                            column: cell.name.clone(),
                            cell: fault,
                        })?;
                    self.encoder.end_field(start, packet.text_mut());
                }
            }
        }
        Ok(())
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
        if cells.may_copy && cell.treatment == Treatment::Copy {
            packet.text_mut().extend(field.raw());
            return Ok(());
        }
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

/// The fields of one record and the bytes that they lie in.
#[derive(Clone, Copy)]
struct Cells<'b> {
    fields: &'b Fields,
    block: &'b [u8],
    /// Whether bytes may be copied as they stand.
    may_copy: bool,
}

fn treatment(target: &RowTarget, column: &OutputColumn, is_same_dialect: bool) -> Treatment {
    let is_number = column
        .target
        .is_some_and(|t| matches!(t, MysqlType::Bit(_)) || !(t.is_character() || t.is_binary()));
    let has_rules = is_number
        || (column.target.is_some_and(MysqlType::is_binary)
            && target.policy.binary != BinaryForm::Escape)
        || (column.target.is_none() && target.inference != Inference::Off)
        || !target.policy.null_text.is_empty();
    if !is_same_dialect || has_rules {
        Treatment::Rewrite
    } else if column.target.is_some() {
        Treatment::CheckAndCopy
    } else {
        Treatment::Copy
    }
}

/// Says whether the output's rows are the input's records, with slots at the end at most.
fn copies_records(cells: &[PlannedField], steps: &[RowStep], fields: usize) -> bool {
    let slots = steps.iter().filter(|step| **step == RowStep::Slot).count();
    let copied = cells
        .iter()
        .filter(|cell| !(cell.is_placeholder && slots > 0));
    let in_order = copied
        .clone()
        .enumerate()
        .all(|(at, cell)| cell.source == Some(at) && cell.treatment == Treatment::Copy);
    in_order
        && copied.count() == fields
        && (slots == 0 || (slots == 1 && steps.last() == Some(&RowStep::Slot)))
}

/// Why a record was refused.
#[derive(Debug)]
pub enum TextFault {
    /// The text is broken.
    Record(RecordFault),
    /// A record on that line has too few or too many fields.
    FieldCount {
        /// Line on which the record starts, from 1.
        line: u64,
        /// Fields found.
        found: usize,
        /// Fields expected.
        expected: usize,
        /// The record as it is shown.
        record: String,
    },
    /// A value of the record on that line was refused.
    Row {
        /// Line on which the record starts, from 1.
        line: u64,
        /// Which value, and why.
        fault: RowFault,
    },
}

impl TextFault {
    /// Says where the row stands in the file that `place` names.
    ///
    /// # Errors
    /// The text is broken, so that nothing is known of what follows.
    pub fn into_bad_row(self, place: Place) -> Result<BadRow> {
        match self {
            Self::Record(fault) => Err(Error::new(ErrorKind::DataRefused, fault.to_string()).at(
                Place {
                    line: Some(fault.line),
                    ..place
                },
            )),
            Self::FieldCount {
                line,
                found,
                expected,
                record,
            } => Ok(BadRow {
                place: Place {
                    line: Some(line),
                    ..place
                },
                fault: CellFault::of_record(
                    record,
                    format!("found {found} fields, expected {expected}"),
                )
                .with_hint(
                    "check the dialect (--in-dialect, --in-delimiter ...) and the field names",
                ),
            }),
            Self::Row { line, mut fault } => {
                if line == 1 && fault.cell.hint().is_none() {
                    let header = "if the first line names the columns, say --in-header";
                    fault.cell = fault.cell.with_hint(header);
                }
                Ok(fault.into_bad_row(Place {
                    line: Some(line),
                    ..place
                }))
            }
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
    /// Whether all of the block is valid in its character set.
    is_valid: bool,
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
            // Programs that write RFC 4180 like to end a file with an empty line.
            if !(record.is_blank() && expected > 1 && self.plan.input.escape().is_none()) {
                break record;
            }
        };
        let line = record.line();
        if self.fields.count() != expected {
            let found = self.fields.count();
            let bytes = self.block.get(record.range()).unwrap_or_default();
            return Err(TextFault::FieldCount {
                line,
                found,
                expected,
                record: quote_value(bytes),
            });
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
        // Qserv's server cuts rows at every raw LF, quoted or not, so such a field is rewritten.
        let may_copy = self.is_valid && !record.has_inner_line_ends();
        if plan.copies_records.is_none() {
            let cells = Cells {
                fields: &self.fields,
                block: self.block,
                may_copy,
            };
            plan.write_fields(cells, &mut self.scratch, packet, counts)?;
        } else if may_copy {
            packet.text_mut().extend(bytes);
            if plan.routing.is_some() {
                packet.mark_slot();
            }
        } else {
            // Not all fields were located. The record was read once, so it reads the same again.
            let mut fields = Fields::new();
            let _ = Records::new(&plan.input, bytes).next(&mut fields);
            let cells = Cells {
                fields: &fields,
                block: bytes,
                may_copy,
            };
            plan.write_fields(cells, &mut self.scratch, packet, counts)?;
        }
        check_row_length(packet, plan.cells.first().map_or("", |cell| &cell.name))?;
        match &plan.routing {
            Some(routing) => self.route(routing, packet),
            None => {
                packet.text_mut().push_short(plan.layout.end);
                packet.end_row();
                Ok(())
            }
        }
    }

    fn route(&mut self, routing: &PlannedRouting, packet: &mut Packet) -> Result<(), RowFault> {
        let (ra_name, dec_name) = (&routing.ra.1, &routing.dec.1);
        let ra = self.position(&routing.ra)?;
        let dec = self.position(&routing.dec)?;
        if let Some((at, name)) = &routing.key {
            self.write_key(*at, packet).map_err(|cell| RowFault {
                column: name.clone(),
                cell,
            })?;
        }
        route_row(&routing.router, (ra_name, ra), (dec_name, dec), packet)?;
        if routing.key.is_some() {
            packet.end_key();
        }
        Ok(())
    }

    fn position(&mut self, (at, name): &(usize, String)) -> Result<f64, RowFault> {
        let fault = |cell: CellFault| RowFault {
            column: name.clone(),
            cell,
        };
        let expected = ", expected a position in degrees";
        let input = &self.plan.input;
        let Some(field) = self.fields.get(*at, self.block) else {
            return Err(fault(CellFault::new("the field is missing")));
        };
        if input.is_null(field) {
            return Err(fault(CellFault::found("NULL", expected)));
        }
        let value = input.value(field, &mut self.scratch);
        let text = std::str::from_utf8(value.trim_ascii()).ok();
        text.and_then(|text| text.parse().ok())
            .ok_or_else(|| fault(CellFault::found(quote_value(value), expected)))
    }

    fn write_key(&mut self, at: usize, packet: &mut Packet) -> Result<(), CellFault> {
        let input = &self.plan.input;
        let Some(field) = self.fields.get(at, self.block) else {
            return Err(CellFault::new("the field is missing"));
        };
        if input.is_null(field) || field.content().is_empty() {
            let expected = ", expected the director's key";
            return Err(CellFault::found("no value", expected));
        }
        let value = input.value(field, &mut self.scratch);
        let encoder = &self.plan.encoder;
        let keys = packet.key_mut();
        keys.append_with(|bytes| encoder.encode_into(value, bytes))
            .map_err(|fault| CellFault::found(quote_value(value), format!(": {fault}")))
    }
}

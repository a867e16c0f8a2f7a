//! Looks at the values of a text input: block by block, one thread for each input.

use super::{Found, MeasureJob};
use crate::dialect::{Fields, Records};
use crate::error::{Place, Result};
use crate::pipeline::pass::{PassInput, ReadAs};
use crate::pipeline::prepared::Opened;
use crate::sanitize::TextFault;
use crate::schema::Look;
use crate::source::{BLOCK_MEMORY, Input, TextBlock};
use crate::values::Charset;

/// What is read of a text, and how.
struct Columns<'a> {
    read_as: &'a ReadAs,
    /// The character set of the text.
    charset: Charset,
    /// How many fields each record has.
    count: usize,
    wanted: Vec<Wanted>,
}

/// A field that is looked at.
struct Wanted {
    field: usize,
    /// Number of the look that it is for.
    at: usize,
    look: Look,
    /// The character set in which its lengths count.
    charset: Charset,
}

impl MeasureJob<'_> {
    /// Looks at all values of input number `number`.
    pub(super) fn text(&self, number: usize, input: &Input) -> Result<()> {
        let read_as = self.read_as;
        let opened = Opened::open(&PassInput::whole(input.clone(), read_as, Vec::new()))?;
        let Opened::Text { mut file, names } = opened else {
            return Ok(());
        };
        let wanted = names.iter().enumerate().filter_map(|(field, name)| {
            let at = self.look_for(name)?;
            let look = self.looks[at].1;
            Some(Wanted {
                field,
                at,
                look,
                charset: self.charset_of(look),
            })
        });
        let columns = Columns {
            read_as,
            charset: read_as.charset.unwrap_or(self.charset),
            count: names.len(),
            wanted: wanted.collect(),
        };
        if columns.wanted.is_empty() {
            return Ok(());
        }
        let _memory = self.lease(BLOCK_MEMORY, Place::file(file.name()))?;
        let mut found = vec![Found::default(); columns.wanted.len()];
        let mut buffer = Vec::new();
        while let Some(block) = file.next_block(std::mem::take(&mut buffer))? {
            self.limits.cancel.check()?;
            if self.has_failed_before((number, 0)) {
                return Ok(());
            }
            let extra = block.memory().saturating_sub(BLOCK_MEMORY);
            let _longer = self.limits.gate.charge(extra);
            let rows = columns.look(&block, number, file.name(), &mut found)?;
            self.events.advance(block.records().len() as u64, rows);
            buffer = block.into_buffer().unwrap_or_default();
        }
        self.add(columns.wanted.iter().map(|wanted| wanted.at).zip(found));
        Ok(())
    }
}

impl Columns<'_> {
    /// Looks at the records of a block of input number `input`; returns how many there are.
    fn look(
        &self,
        block: &TextBlock,
        input: usize,
        name: &str,
        found: &mut [Found],
    ) -> Result<u64> {
        let dialect = &self.read_as.dialect;
        let bytes = block.records();
        let mut records = Records::new(dialect, bytes).at_line(block.first_line);
        let (mut fields, mut scratch) = (Fields::new(), Vec::new());
        let refused = |fault: TextFault| match fault.into_bad_row(Place::file(name)) {
            Ok(bad) => bad.to_error(),
            Err(error) => error,
        };
        let mut rows = 0;
        loop {
            let next = records.next(&mut fields);
            let Some(record) = next.map_err(|fault| refused(TextFault::Record(fault)))? else {
                return Ok(rows);
            };
            if record.stands_for_no_row(dialect, self.count) {
                continue;
            }
            if fields.count() != self.count {
                return Err(refused(TextFault::field_count(
                    &record,
                    bytes,
                    (fields.count(), self.count),
                )));
            }
            for (wanted, found) in self.wanted.iter().zip(&mut *found) {
                let Some(field) = fields.get(wanted.field, bytes) else {
                    continue;
                };
                // Texts have no row groups; their lines are in order as well.
                let spot = (input, 0, record.line());
                if dialect.is_null(field) {
                    if wanted.look.nulls && found.null.is_none() {
                        found.null = Some(spot);
                    }
                } else if wanted.look.length {
                    let value = dialect.value(field, &mut scratch);
                    let bytes = value.len() as u64;
                    found.most_bytes = found.most_bytes.max(bytes);
                    // No text has more characters than bytes.
                    if found.longest.is_none_or(|(known, _)| bytes > known) {
                        let length = match wanted.charset {
                            Charset::Binary => bytes,
                            _ => self.charset.count_chars(value) as u64,
                        };
                        found.add_length(length, spot);
                    }
                }
            }
            rows += 1;
        }
    }
}

//! Why a record of text was refused, and how that is told.

use crate::convert::{BadRow, RowFault};
use crate::dialect::{Record, RecordFault};
use crate::error::{Error, ErrorKind, Place, Result, quote_value};
use crate::values::CellFault;

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
    /// Says that a record of `block` has `found` fields instead of `expected`.
    pub fn field_count(record: &Record, block: &[u8], (found, expected): (usize, usize)) -> Self {
        let bytes = block.get(record.range()).unwrap_or_default();
        Self::FieldCount {
            line: record.line(),
            found,
            expected,
            record: quote_value(bytes),
        }
    }

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

//! A look at one input before any work: can it be read, does it have what its tables need, where may
//! it be cut, and where on the sky may its rows lie?

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::folder_run::PassJob;
use super::pass::{InputSpan, PassInput};
use super::prepared::{PreparedInputs, Ready};
use super::text_sample::sky_of_text;
use crate::convert::RowTarget;
use crate::error::Result;
use crate::schema::OutputColumn;
use crate::source::{ColumnFile, InputFormat, InputName, TextFile};

/// Texts of less than twice of this are not cut, and parts are not made smaller than this.
const CUT_BYTES: u64 = 16 << 20;
/// Up to so many row groups may all be parted from each other.
const FEW_GROUPS: usize = 32;

/// What a look at an input has found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct InputLook {
    /// What it is.
    pub format: InputFormat,
    /// Rows, where the footer tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Where its rows may lie by the footer, or by some of the rows of a text: least and greatest right ascension, least and greatest
    /// declination, in degrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sky: Option<[f64; 4]>,
    /// Where it may be cut.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cuts: Vec<Cut>,
    /// What may become bad rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
}

/// A place where an input may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// Row group of a Parquet file, block of rows of a FITS file, or byte of a text.
    pub at: u64,
    /// Line of a text.
    #[serde(default)]
    pub line: u64,
    /// Bytes of the file before it.
    pub before: u64,
}

impl InputLook {
    /// Returns parts of at most `most` bytes, as far as cuts allow, with their bytes; one that is
    /// nothing for the whole input of `bytes` bytes.
    pub fn parts(&self, bytes: u64, most: u64) -> Vec<(Option<InputSpan>, u64)> {
        if bytes <= most || self.cuts.len() < 2 {
            return vec![(None, bytes)];
        }
        // The first cut is the beginning, the last the end.
        let mut parts = Vec::new();
        let mut first = self.cuts[0];
        for pair in self.cuts.windows(2) {
            let (last, next) = (pair[0], pair[1]);
            if next.before - first.before > most && last.at > first.at {
                parts.push(self.part(first, last));
                first = last;
            }
        }
        let end = self.cuts[self.cuts.len() - 1];
        parts.push(self.part(first, end));
        parts
    }

    fn part(&self, first: Cut, end: Cut) -> (Option<InputSpan>, u64) {
        let span = match self.format.has_columns() {
            true => InputSpan::RowGroups {
                first: usize::try_from(first.at).unwrap_or(usize::MAX),
                end: usize::try_from(end.at).unwrap_or(usize::MAX),
            },
            false => InputSpan::Text {
                first: first.at,
                line: first.line,
                end: end.at,
            },
        };
        (Some(span), end.before - first.before)
    }
}

impl PassJob {
    /// Looks at an input that feeds tables of this pass.
    ///
    /// # Errors
    /// It can't be read, or lacks what its tables need.
    pub(crate) fn look_at(
        &self,
        fed: &PassInput,
        columns: &[Vec<OutputColumn>],
    ) -> Result<InputLook> {
        let targets: Vec<&RowTarget> = self.tables.iter().map(|job| &job.target).collect();
        let bytes = fed.input.stamp.as_ref().map_or(0, |stamp| stamp.bytes);
        let inputs = PreparedInputs::with_columns(vec![fed.clone()], columns.to_vec());
        match inputs.open(0, &targets)? {
            Ready::Columns { file, .. } => Ok(self.look_at_groups(&file.file, fed)),
            Ready::Text { file, .. } => Ok(InputLook {
                sky: self.look_at_rows(&file, fed),
                cuts: match bytes >= 2 * CUT_BYTES {
                    true => cuts_of_text(*file, bytes)?,
                    false => Vec::new(),
                },
                ..InputLook::default()
            }),
        }
    }

    /// Returns where the rows of a text may lie, from some of them.
    fn look_at_rows(&self, file: &TextFile, fed: &PassInput) -> Option<[f64; 4]> {
        let InputName::File(path) = &fed.input.name else {
            return None;
        };
        let names = fed.read_as.names.of_file(file)?;
        let place = |name: &str| names.iter().position(|known| known == name);
        let positions = self.positions_of(fed).into_iter();
        let mut places = positions.filter_map(|(ra, dec)| Some((place(&ra)?, place(&dec)?)));
        sky_of_text(path, &fed.read_as.dialect, places.next()?)
    }

    /// Returns what the columns of the positions are called in an input.
    fn positions_of(&self, fed: &PassInput) -> Vec<(String, String)> {
        let fed_tables = self.tables.iter().enumerate();
        let fed_tables = fed_tables.filter(|(number, _)| fed.feeds.contains(number));
        let mut all = Vec::new();
        for (_, table) in fed_tables {
            let Some(routing) = &table.target.routing else {
                continue;
            };
            let old: BTreeMap<&str, &str> = table
                .target
                .rename
                .iter()
                .map(|(old, new)| (new.as_str(), old.as_str()))
                .collect();
            let name = |new: &str| old.get(new).copied().unwrap_or(new).to_owned();
            let positions = routing.positions().into_iter();
            all.extend(positions.map(|position| (name(&position.ra), name(&position.dec))));
        }
        all
    }

    /// Looks at what a file tells of its row groups.
    fn look_at_groups(&self, file: &ColumnFile, fed: &PassInput) -> InputLook {
        let groups = 0..file.row_groups();
        let mut look = InputLook {
            format: fed.input.format,
            rows: Some(groups.clone().map(|group| file.rows(group)).sum()),
            ..InputLook::default()
        };
        let sizes: Vec<u64> = groups.map(|group| file.group_bytes(group)).collect();
        if sizes.len() > 1 && file.can_be_cut() {
            let mut before = 0;
            for (at, size) in sizes.iter().chain([&0]).enumerate() {
                let last = look.cuts.last().map_or(0, |cut| cut.before);
                let is_end = at == 0 || at == sizes.len();
                if is_end || sizes.len() <= FEW_GROUPS || before - last >= CUT_BYTES {
                    look.cuts.push(Cut {
                        at: at as u64,
                        line: 0,
                        before,
                    });
                }
                before += size;
            }
        }
        for (ra_name, dec_name) in self.positions_of(fed) {
            let (ra, dec) = (file.range_of(&ra_name), file.range_of(&dec_name));
            for (name, found) in [(&ra_name, ra), (&dec_name, dec)] {
                if let Some(found) = found.filter(|found| found.nulls > 0) {
                    look.doubts
                        .push(format!("{} rows have no {name}", found.nulls));
                }
            }
            if let (Some(ra), Some(dec), None) = (ra, dec, look.sky) {
                let is_sky = dec.min >= -90.0 && dec.max <= 90.0;
                let is_numbers = ra.min.is_finite() && ra.max.is_finite();
                if !is_sky {
                    look.doubts.push(format!(
                        "declinations from {} to {} degrees",
                        dec.min, dec.max
                    ));
                }
                if is_sky && is_numbers {
                    look.sky = Some([ra.min, ra.max, dec.min, dec.max]);
                }
            }
        }
        look.doubts.sort();
        look.doubts.dedup();
        look
    }
}

/// Reads a text to its end and returns where its records may be parted; nothing for one that is
/// compressed: its bytes are not those of the text.
fn cuts_of_text(mut file: TextFile, bytes: u64) -> Result<Vec<Cut>> {
    let mut cuts = Vec::new();
    let mut buffer = Vec::new();
    loop {
        let (at, line) = file.records_position();
        let last = cuts.last().map_or(0, |cut: &Cut| cut.at);
        if cuts.is_empty() || at - last >= CUT_BYTES {
            cuts.push(Cut {
                at,
                line,
                before: at,
            });
        }
        match file.next_block(std::mem::take(&mut buffer))? {
            Some(block) => buffer = block.into_buffer().unwrap_or_default(),
            None => break,
        }
    }
    let (end, line) = file.position();
    if end != bytes {
        return Ok(Vec::new());
    }
    match cuts.last_mut() {
        // What is left is too short for a part of its own.
        Some(last) if last.at + CUT_BYTES / 2 > end && last.at > 0 => {
            *last = Cut {
                at: end,
                line,
                before: end,
            };
        }
        _ => cuts.push(Cut {
            at: end,
            line,
            before: end,
        }),
    }
    Ok(cuts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(at: u64, before: u64) -> Cut {
        Cut {
            at,
            line: 0,
            before,
        }
    }

    #[test]
    fn parts_follow_each_other_and_hold_all() {
        let look = InputLook {
            format: InputFormat::Parquet,
            cuts: vec![cut(0, 0), cut(1, 40), cut(2, 80), cut(3, 300), cut(4, 310)],
            ..InputLook::default()
        };
        let groups = |most| -> Vec<(usize, usize, u64)> {
            look.parts(310, most)
                .into_iter()
                .map(|(span, bytes)| match span {
                    Some(InputSpan::RowGroups { first, end }) => (first, end, bytes),
                    _ => (0, usize::MAX, bytes),
                })
                .collect()
        };
        assert_eq!(groups(400), [(0, usize::MAX, 310)]);
        assert_eq!(groups(100), [(0, 2, 80), (2, 3, 220), (3, 4, 10)]);
        assert_eq!(groups(1), [(0, 1, 40), (1, 2, 40), (2, 3, 220), (3, 4, 10)]);
    }
}

//! Rows that tasks have set aside: put in the order of the inputs, counted over the whole job.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, ErrorKind, Place, Result};
use crate::pipeline::list_head;
use crate::publish::{SyncMode, stream_atomically};

/// The list of one map task, and where its rows stand among those of others.
pub(super) struct RejectList {
    /// Number of the pass.
    pub(super) pass: usize,
    /// Paths of the inputs with the numbers of their parts, ascending.
    pub(super) inputs: Vec<(String, u32)>,
    /// The list.
    pub(super) path: PathBuf,
}

/// A line of a list, as far as it is looked at.
#[derive(Deserialize)]
struct Line {
    file: Option<String>,
    row: Option<u64>,
    line: Option<u64>,
    column: Option<String>,
    value: Option<String>,
    reason: Option<String>,
    hint: Option<String>,
}

/// All rows that were set aside, in the order of the inputs.
pub(super) struct Rejected {
    lines: Vec<Vec<u8>>,
}

impl Rejected {
    /// Reads the lists of map tasks.
    ///
    /// # Errors
    /// One can't be read.
    pub(super) fn read(lists: &[RejectList]) -> Result<Self> {
        let mut all: Vec<((usize, u32, usize), Vec<u8>)> = Vec::new();
        for list in lists {
            let reading = |error| Error::reading(&list.path, error);
            let file = std::fs::File::open(&list.path).map_err(reading)?;
            for (number, line) in BufReader::new(file).split(b'\n').enumerate() {
                let line = line.map_err(reading)?;
                if number == 0 {
                    continue;
                }
                let parsed: Option<Line> = serde_json::from_slice(&line).ok();
                let file = parsed.and_then(|line| line.file).unwrap_or_default();
                let part = list.inputs.iter().find(|(path, _)| *path == file);
                let part = part.map_or(u32::MAX, |(_, part)| *part);
                all.push(((list.pass, part, number), line));
            }
        }
        all.sort();
        Ok(Self {
            lines: all.into_iter().map(|(_, line)| line).collect(),
        })
    }

    /// Writes the list; if there are more rows than `most`, it ends with the one that is too many.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn write(&self, path: &Path, most: u64) -> Result<()> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let lines = self.lines.iter().take(most.saturating_add(1));
        let head = list_head().into_bytes();
        stream_atomically(path, SyncMode::Auto, |out| {
            for line in std::iter::once(&head).chain(lines) {
                out.write_all(line)?;
                out.write_all(b"\n")?;
            }
            Ok(())
        })
    }

    /// Makes the error for too many bad rows: the first of them is named.
    pub(super) fn too_many(&self, most: u64) -> Error {
        let first = self.lines.first();
        let first: Option<Line> = first.and_then(|line| serde_json::from_slice(line).ok());
        let Some(line) = first else {
            return Error::new(ErrorKind::DataRefused, "too many rows are bad");
        };
        let reason = line.reason.unwrap_or_default();
        let value = line
            .value
            .map(|value| format!("{value}: "))
            .unwrap_or_default();
        let error = Error::new(
            ErrorKind::DataRefused,
            format!(
                "{value}{reason} (the first of {} bad rows, {most} are allowed)",
                self.lines.len()
            ),
        )
        .at(Place {
            file: line.file,
            row: line.row,
            line: line.line,
            column: line.column,
            ..Place::default()
        });
        match line.hint {
            Some(hint) => error.hint(hint),
            None => error.hint("nothing was published; plan the job with more --max-rejects"),
        }
    }
}

//! The manifest, held thriftily: what repeats in each line is kept once.

use std::io::BufRead;

use serde_json::Value;

use crate::error::{Error, ErrorKind, Place, Result};
use crate::manifest::{Contribution, IngestDialect, ManifestHeader};
use crate::schema::TableKind;

/// All of a manifest.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) header: ManifestHeader,
    /// Tables in the order of their first lines.
    pub(super) tables: Vec<ListedTable>,
    /// Dialects and charsets that occur.
    pub(super) forms: Vec<Form>,
    pub(super) files: Vec<ListedFile>,
}

/// A table of the manifest.
#[derive(Debug, PartialEq)]
pub(super) struct ListedTable {
    pub(super) name: String,
    pub(super) kind: TableKind,
}

/// How a file is to be read.
#[derive(Debug, PartialEq)]
pub(super) struct Form {
    pub(super) dialect: IngestDialect,
    pub(super) charset: String,
}

/// A line of the manifest.
#[derive(Debug)]
pub(super) struct ListedFile {
    /// Which of the tables.
    pub(super) table: usize,
    /// Which of the forms.
    pub(super) form: usize,
    pub(super) chunk: Option<i32>,
    pub(super) is_overlap: bool,
    pub(super) url: String,
    pub(super) bytes: u64,
    pub(super) rows: u64,
}

impl Listing {
    /// Reads a manifest; `shown` names it in messages.
    ///
    /// # Errors
    /// It can't be read, is no manifest, or is not whole.
    pub(super) fn read(input: &mut dyn BufRead, shown: &str) -> Result<Self> {
        let at = |line: u64, error: Error| {
            error.at(Place {
                file: Some(shown.to_owned()),
                line: Some(line),
                ..Place::default()
            })
        };
        let mut text = String::new();
        let mut number = 0;
        let mut next = |text: &mut String| -> Result<Option<u64>> {
            text.clear();
            number += 1;
            let read = input.read_line(text).map_err(|error| {
                let message = format!("can't read: {error}");
                at(number, Error::new(ErrorKind::InputMissing, message))
            })?;
            Ok((read > 0).then_some(number))
        };
        let header = match next(&mut text)? {
            Some(line) => read_header(&text).map_err(|error| at(line, error))?,
            None => return Err(at(1, no_manifest("the file is empty"))),
        };
        let mut listing = Self {
            header,
            tables: Vec::new(),
            forms: Vec::new(),
            files: Vec::new(),
        };
        while let Some(line) = next(&mut text)? {
            let contribution = serde_json::from_str(&text).map_err(|error| {
                let message = format!("not a line of a manifest: {error}");
                at(line, Error::new(ErrorKind::Integrity, message))
            })?;
            listing.add(contribution).map_err(|error| at(line, error))?;
        }
        let (found, said) = (listing.files.len() as u64, listing.header.contributions);
        if found != said {
            let message = format!("{found} files are listed, the first line says {said}");
            let error = Error::new(ErrorKind::Integrity, message)
                .hint("the manifest was cut or changed; make it again with skyprep stage");
            return Err(error.at(Place::file(shown)));
        }
        Ok(listing)
    }

    fn add(&mut self, line: Contribution) -> Result<()> {
        if line.database != self.header.database {
            let message = format!(
                "this file is of database {}, the first line says {}",
                line.database, self.header.database
            );
            return Err(Error::new(ErrorKind::Integrity, message));
        }
        let known = self
            .tables
            .iter()
            .rposition(|table| table.name == line.table);
        let table = known.unwrap_or_else(|| {
            self.tables.push(ListedTable {
                name: line.table.clone(),
                kind: line.kind,
            });
            self.tables.len() - 1
        });
        if self.tables[table].kind != line.kind {
            let message = format!(
                "table {} is a {} table here, and a {} table above",
                line.table,
                line.kind.name(),
                self.tables[table].kind.name()
            );
            return Err(Error::new(ErrorKind::Integrity, message));
        }
        let form = Form {
            dialect: line.dialect,
            charset: line.charset,
        };
        let known = self.forms.iter().rposition(|other| *other == form);
        let form = known.unwrap_or_else(|| {
            self.forms.push(form);
            self.forms.len() - 1
        });
        self.files.push(ListedFile {
            table,
            form,
            chunk: line.chunk,
            is_overlap: line.overlap,
            url: line.url,
            bytes: line.bytes,
            rows: line.rows,
        });
        Ok(())
    }
}

fn read_header(line: &str) -> Result<ManifestHeader> {
    let value: Value =
        serde_json::from_str(line).map_err(|error| no_manifest(&error.to_string()))?;
    if value["format"] != "skyprep-manifest" {
        return Err(no_manifest("its first line does not say so"));
    }
    if value["version"] != 1 {
        let message = format!("this manifest has version {}, expected 1", value["version"]);
        return Err(
            Error::usage(message).hint("use the skyprep that has written it, or a newer one")
        );
    }
    serde_json::from_value(value).map_err(|error| no_manifest(&error.to_string()))
}

fn no_manifest(reason: &str) -> Error {
    Error::usage(format!("not a manifest: {reason}"))
        .hint("expected the manifest.jsonl that skyprep run or stage has written")
}

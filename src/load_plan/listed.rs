//! What a manifest names, by table and form.

use crate::manifest::{Contribution, IngestDialect, Listing, ManifestHeader};
use crate::schema::TableKind;

/// All of a manifest.
#[derive(Debug)]
pub(super) struct ListedFiles {
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

impl ListedFiles {
    /// Takes a manifest up.
    pub(super) fn of(manifest: &Listing) -> Self {
        let mut listing = Self {
            header: manifest.header().clone(),
            tables: Vec::new(),
            forms: Vec::new(),
            files: Vec::with_capacity(manifest.len()),
        };
        for line in manifest.contributions() {
            listing.add(line);
        }
        listing
    }

    fn add(&mut self, line: Contribution) {
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
    }
}

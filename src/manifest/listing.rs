//! A whole manifest in memory, thriftily: there may be more than a million lines.
//!
//! What neighbours share (table, dialect, folder) is kept once, and names that follow from chunk
//! and overlap are not kept at all: a line takes some 120 bytes.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::path::Path;

use super::line::{Contribution, IngestDialect, ManifestHeader, PlacedUrl};
use super::names::chunk_file_name;
use super::read::Lines;
use super::writer::write_lines;
use crate::error::Result;
use crate::exchange::HexDigest;
use crate::publish::{SyncMode, stream_atomically};
use crate::schema::TableKind;

/// A manifest that was read.
#[derive(Debug, Clone)]
pub struct Listing {
    header: ManifestHeader,
    sorts: Vec<Sort>,
    folders: Vec<Box<str>>,
    lines: Vec<Line>,
}

/// What most lines of a table share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Sort {
    table: String,
    kind: TableKind,
    dialect: IngestDialect,
    charset: String,
}

#[derive(Debug, Clone)]
struct Line {
    url: Url,
    stored_at: Url,
    bytes: u64,
    rows: u64,
    sort: u32,
    chunk: Option<i32>,
    overlap: bool,
    sha256: Option<HexDigest<32>>,
}

/// A URL: the number of its folder, and its name unless that follows from the chunk.
#[derive(Clone)]
struct Url {
    folder: u32,
    name: Option<Box<str>>,
}

/// Names may carry signatures.
impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Url({})", self.folder)
    }
}

const NO_FOLDER: u32 = u32::MAX;

/// A table of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTable {
    /// Its name.
    pub name: String,
    /// What it is to Qserv.
    pub kind: TableKind,
    /// Number of its contributions.
    pub contributions: u64,
    /// Rows in them, overlap rows included.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// Numbers things that occur again and again.
#[derive(Default)]
struct Shelf {
    folders: HashMap<Box<str>, u32>,
    sorts: HashMap<Sort, u32>,
}

impl Listing {
    /// Reads a manifest to its end; `name` stands for it in messages.
    ///
    /// # Errors
    /// The reader fails, or what it gives is no manifest, or not a whole one.
    pub fn read(reader: impl BufRead, name: &str) -> Result<Self> {
        let mut lines = Lines::new(reader, name)?;
        let mut listing = Self::without_lines(lines.header().clone());
        let mut shelf = Shelf::default();
        for line in &mut lines {
            listing.push(line?, &mut shelf);
        }
        listing.lines.shrink_to_fit();
        Ok(listing)
    }

    /// Makes a listing of contributions, with the header of another one but for the count.
    pub fn of(header: &ManifestHeader, lines: impl IntoIterator<Item = Contribution>) -> Self {
        let mut listing = Self::without_lines(header.clone());
        let mut shelf = Shelf::default();
        for line in lines {
            listing.push(line, &mut shelf);
        }
        listing.header.contributions = listing.lines.len() as u64;
        listing
    }

    fn without_lines(header: ManifestHeader) -> Self {
        Self {
            header,
            sorts: Vec::new(),
            folders: Vec::new(),
            lines: Vec::new(),
        }
    }

    fn push(&mut self, line: Contribution, shelf: &mut Shelf) {
        let url = self.shelve(&line.url, line.chunk, line.overlap, shelf);
        let stored_at = match &line.stored_at {
            Some(url) => self.shelve(url, line.chunk, line.overlap, shelf),
            None => Url {
                folder: NO_FOLDER,
                name: None,
            },
        };
        let sort = Sort {
            table: line.table,
            kind: line.kind,
            dialect: line.dialect,
            charset: line.charset,
        };
        // Most lines are of the sort of the line before.
        let last = self.lines.last().map(|line| line.sort);
        let same = last.filter(|last| self.sorts.get(*last as usize) == Some(&sort));
        let sort = same.unwrap_or_else(|| {
            let sorts = &mut self.sorts;
            *shelf.sorts.entry(sort).or_insert_with_key(|sort| {
                sorts.push(sort.clone());
                (sorts.len() - 1) as u32
            })
        });
        self.lines.push(Line {
            url,
            stored_at,
            bytes: line.bytes,
            rows: line.rows,
            sort,
            chunk: line.chunk,
            overlap: line.overlap,
            sha256: line.sha256,
        });
    }

    fn shelve(&mut self, url: &str, chunk: Option<i32>, overlap: bool, shelf: &mut Shelf) -> Url {
        let path = url.find('?').unwrap_or(url.len());
        let slash = url.get(..path).and_then(|path| path.rfind('/'));
        let (folder, name) = url.split_at(slash.map_or(0, |slash| slash + 1));
        let number = match shelf.folders.get(folder) {
            Some(number) => *number,
            None => {
                let number = self.folders.len() as u32;
                self.folders.push(folder.into());
                shelf.folders.insert(folder.into(), number);
                number
            }
        };
        let follows = chunk.is_some_and(|chunk| name == chunk_file_name(chunk, overlap));
        Url {
            folder: number,
            name: (!follows).then(|| name.into()),
        }
    }

    /// Returns the first line.
    pub fn header(&self) -> &ManifestHeader {
        &self.header
    }

    /// Returns the first line, to change what it tells.
    pub fn header_mut(&mut self) -> &mut ManifestHeader {
        &mut self.header
    }

    /// Returns the number of contributions.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Says whether there are no contributions.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Returns the contributions in their order.
    pub fn contributions(&self) -> impl ExactSizeIterator<Item = Contribution> + '_ {
        self.lines.iter().map(|line| self.contribution_of(line))
    }

    /// Returns the contribution of a number, counted from 0.
    pub fn contribution(&self, number: usize) -> Option<Contribution> {
        let line = self.lines.get(number)?;
        Some(self.contribution_of(line))
    }

    fn contribution_of(&self, line: &Line) -> Contribution {
        let sort = self.sorts.get(line.sort as usize);
        let sort = sort.cloned().unwrap_or_else(|| Sort {
            table: String::new(),
            kind: TableKind::Regular,
            dialect: IngestDialect {
                fields_terminated_by: String::new(),
                fields_enclosed_by: String::new(),
                fields_escaped_by: String::new(),
                lines_terminated_by: String::new(),
            },
            charset: String::new(),
        });
        let has_place = line.stored_at.folder != NO_FOLDER;
        Contribution {
            database: self.header.database.clone(),
            table: sort.table,
            kind: sort.kind,
            chunk: line.chunk,
            overlap: line.overlap,
            url: self.text_of(&line.url, line),
            stored_at: has_place.then(|| self.text_of(&line.stored_at, line)),
            bytes: line.bytes,
            rows: line.rows,
            sha256: line.sha256,
            dialect: sort.dialect,
            charset: sort.charset,
        }
    }

    fn text_of(&self, url: &Url, line: &Line) -> String {
        let folder = self.folders.get(url.folder as usize);
        let mut text = folder.map_or_else(String::new, ToString::to_string);
        match (&url.name, line.chunk) {
            (Some(name), _) => text.push_str(name),
            (None, Some(chunk)) => text.push_str(&chunk_file_name(chunk, line.overlap)),
            (None, None) => {}
        }
        text
    }

    /// Returns the tables in the order in which Qserv needs them: directors, their children,
    /// matches, regular tables; those of one kind as they come first in the manifest.
    pub fn tables(&self) -> Vec<ListedTable> {
        let mut tables: Vec<ListedTable> = Vec::new();
        let mut numbers: Vec<Option<usize>> = vec![None; self.sorts.len()];
        for line in &self.lines {
            let at = line.sort as usize;
            let (Some(sort), Some(number)) = (self.sorts.get(at), numbers.get_mut(at)) else {
                continue;
            };
            let number = *number.get_or_insert_with(|| {
                let known = tables.iter().position(|table| table.name == sort.table);
                known.unwrap_or_else(|| {
                    tables.push(ListedTable {
                        name: sort.table.clone(),
                        kind: sort.kind,
                        contributions: 0,
                        rows: 0,
                        bytes: 0,
                    });
                    tables.len() - 1
                })
            });
            if let Some(table) = tables.get_mut(number) {
                table.contributions += 1;
                table.rows += line.rows;
                table.bytes += line.bytes;
            }
        }
        tables.sort_by_key(|table| match table.kind {
            TableKind::Director => 0,
            TableKind::Child => 1,
            TableKind::Match => 2,
            TableKind::Regular => 3,
        });
        tables
    }

    /// Gives the contributions other URLs, such as freshly signed ones; the order stays.
    ///
    /// # Errors
    /// As `url_of` says; nothing is changed then.
    pub fn with_urls(
        &mut self,
        mut url_of: impl FnMut(&Contribution) -> Result<PlacedUrl>,
    ) -> Result<()> {
        let mut other = Self::without_lines(self.header.clone());
        let mut shelf = Shelf::default();
        for line in self.contributions() {
            let PlacedUrl { url, stored_at } = url_of(&line)?;
            let line = Contribution {
                url,
                stored_at,
                ..line
            };
            other.push(line, &mut shelf);
        }
        *self = other;
        Ok(())
    }

    /// Returns the contributions of which this is true, with the same header but for the count.
    #[must_use]
    pub fn only(&self, is_wanted: impl FnMut(&Contribution) -> bool) -> Self {
        Self::of(&self.header, self.contributions().filter(is_wanted))
    }

    /// Writes the manifest to `out`, line by line.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        write_lines(out, &self.header, self.contributions())
    }

    /// Writes the manifest to the file `path`, whole or not at all.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write(&self, path: &Path, sync: SyncMode) -> Result<()> {
        stream_atomically(path, sync, |out| self.write_to(out))
    }
}

//! The manifest: what Qserv's ingest is to fetch, one JSON line per file.
//!
//! The first line names format, version and database; each further line is one contribution. It is
//! written last, so whoever finds it finds everything that it names.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::exchange::{FileSummary, HexDigest};
use crate::partition::Partitioning;
use crate::place::PlaceUrl;
use crate::publish::{SyncMode, TableIdentity, stream_atomically};
use crate::schema::TableKind;

/// Name of the manifest file in a database's folder.
pub const MANIFEST_FILE: &str = "manifest.jsonl";

const FORMAT: &str = "skyprep-manifest";
const VERSION: u32 = 1;

/// First line of a manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestHeader {
    format: String,
    version: u32,
    /// Version of skyprep that wrote it.
    pub skyprep: String,
    /// Name of the database.
    pub database: String,
    /// How the sky was divided, for partitioned tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitioning: Option<Partitioning>,
    /// Number of lines that follow.
    pub contributions: u64,
}

/// One file for the ingest service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// Name of the database.
    pub database: String,
    /// Name of the table.
    pub table: String,
    /// What the table is to Qserv.
    pub kind: TableKind,
    /// Chunk; none for a regular table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<i32>,
    /// Whether the rows are overlap rows.
    pub overlap: bool,
    /// Where the file is.
    pub url: String,
    /// Its bytes.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// Its SHA-256; there is one for all that `run` and `stage` have made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<HexDigest<32>>,
    /// How its text is to be read, by the names of the ingest service.
    pub dialect: IngestDialect,
    /// MariaDB's name of its character set.
    pub charset: String,
}

/// A dialect by the names of the ingest service's parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngestDialect {
    /// Between fields.
    pub fields_terminated_by: String,
    /// Around fields; empty for none.
    pub fields_enclosed_by: String,
    /// Before special bytes.
    pub fields_escaped_by: String,
    /// After rows.
    pub lines_terminated_by: String,
}

impl From<&Dialect> for IngestDialect {
    fn from(dialect: &Dialect) -> Self {
        let text = |byte: Option<u8>| byte.map_or_else(String::new, |b| char::from(b).to_string());
        let line_end = dialect.line_terminator().as_bytes();
        Self {
            fields_terminated_by: text(Some(dialect.delimiter())),
            fields_enclosed_by: text(dialect.quote()),
            fields_escaped_by: text(dialect.escape()),
            lines_terminated_by: String::from_utf8_lossy(line_end).into_owned(),
        }
    }
}

/// A manifest being put together: it makes its lines when they are written, for there may be
/// hundreds of thousands.
#[derive(Debug)]
pub struct Manifest<'a> {
    database: String,
    partitioning: Option<Partitioning>,
    tables: Vec<LocalTable<'a>>,
}

/// A table's files below a local folder.
#[derive(Debug)]
struct LocalTable<'a> {
    root: PathBuf,
    identity: &'a TableIdentity,
    files: &'a [FileSummary],
}

impl LocalTable<'_> {
    /// Returns the files that are loaded. Indexes are for other tools; the ingest service loads
    /// chunks and whole tables.
    fn loaded(&self) -> impl Iterator<Item = &FileSummary> {
        let is_partitioned = self.identity.kind.is_partitioned();
        let files = self.files.iter();
        files.filter(move |file| !is_partitioned || file.chunk().is_some())
    }
}

impl<'a> Manifest<'a> {
    /// Starts a manifest of the database `database`.
    pub fn new(database: impl Into<String>) -> Self {
        Self {
            database: database.into(),
            partitioning: None,
            tables: Vec::new(),
        }
    }

    /// Returns the number of contributions so far.
    pub fn count(&self) -> usize {
        self.tables.iter().map(|table| table.loaded().count()).sum()
    }

    /// Adds a table's files, which lie below the local folder `root`; its indexes are left out.
    pub fn add_local(
        &mut self,
        root: &Path,
        identity: &'a TableIdentity,
        files: &'a [FileSummary],
    ) {
        self.partitioning = self.partitioning.or(identity.partitioning);
        self.tables.push(LocalTable {
            root: root.to_owned(),
            identity,
            files,
        });
    }

    /// Returns the contributions, one after another.
    pub fn contributions(&self) -> impl Iterator<Item = Contribution> {
        self.tables.iter().flat_map(move |table| {
            let identity = table.identity;
            let dialect = IngestDialect::from(&identity.dialect);
            table.loaded().map(move |file| Contribution {
                database: self.database.clone(),
                table: identity.table.clone(),
                kind: identity.kind,
                chunk: file.chunk(),
                overlap: file.is_overlap(),
                url: PlaceUrl::Folder(table.root.clone()).object(&file.path()),
                bytes: file.bytes,
                rows: file.rows,
                sha256: file.sha256,
                dialect: dialect.clone(),
                charset: identity.charset.name().to_owned(),
            })
        })
    }

    /// Writes the manifest to `out`, line by line.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        let header = ManifestHeader {
            format: FORMAT.into(),
            version: VERSION,
            skyprep: env!("CARGO_PKG_VERSION").into(),
            database: self.database.clone(),
            partitioning: self.partitioning,
            contributions: self.count() as u64,
        };
        serde_json::to_writer(&mut *out, &header)?;
        out.write_all(b"\n")?;
        for contribution in self.contributions() {
            serde_json::to_writer(&mut *out, &contribution)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Says whether the file `path` holds just this manifest.
    ///
    /// # Errors
    /// The file is there and can't be read.
    pub fn stands_at(&self, path: &Path) -> Result<bool> {
        let at = |error| Error::reading(path, error);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(at(error)),
        };
        let mut comparison = Comparison {
            file: BufReader::with_capacity(1 << 16, file),
            is_equal: true,
        };
        let written = {
            let mut out = BufWriter::with_capacity(1 << 16, &mut comparison);
            self.write_to(&mut out).and_then(|()| out.flush())
        };
        if !comparison.is_equal {
            return Ok(false);
        }
        written.map_err(at)?;
        Ok(comparison.file.fill_buf().map_err(at)?.is_empty())
    }

    /// Writes the manifest to the file `path`, whole or not at all.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write(&self, path: &Path, sync: SyncMode) -> Result<()> {
        stream_atomically(path, sync, |out| self.write_to(out))
    }
}

/// Compares what is written with a file; the first difference ends it with an error.
struct Comparison {
    file: BufReader<File>,
    is_equal: bool,
}

impl Write for Comparison {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let there = self.file.fill_buf()?;
        let length = there.len().min(bytes.len());
        if length == 0 || there[..length] != bytes[..length] {
            self.is_equal = false;
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.file.consume(length);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::FileDigest;
    use crate::publish::write_atomically;
    use crate::values::Charset;

    #[test]
    fn a_line_per_file_that_is_loaded() {
        let identity = TableIdentity {
            table: "Star".into(),
            database: Some("stars".into()),
            kind: TableKind::Director,
            partitioning: None,
            dialect: Dialect::qserv(),
            charset: Charset::Latin1,
        };
        let file = |path: &str, chunk| FileDigest::default().finish(path, chunk, false);
        let files = [
            file("stars/Star/chunk_7.txt", Some(7)),
            file("stars/Star/index.txt", None),
        ];
        let mut manifest = Manifest::new("stars");
        manifest.add_local(Path::new("/data/a b"), &identity, &files);
        let mut bytes = Vec::new();
        manifest.write_to(&mut bytes).unwrap();
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(MANIFEST_FILE);
        assert!(!manifest.stands_at(&path).unwrap());
        manifest.write(&path, SyncMode::None).unwrap();
        assert!(manifest.stands_at(&path).unwrap());
        for other in [
            &bytes[1..],
            &bytes[..bytes.len() - 1],
            &[&bytes[..], b"x"].concat(),
        ] {
            write_atomically(&path, other).unwrap();
            assert!(!manifest.stands_at(&path).unwrap());
        }
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["format"], "skyprep-manifest");
        assert_eq!(lines[0]["contributions"], 1);
        assert_eq!(lines[1]["chunk"], 7);
        assert_eq!(lines[1]["url"], "file:///data/a%20b/stars/Star/chunk_7.txt");
        assert_eq!(lines[1]["dialect"]["fields_terminated_by"], "\t");
    }
}

//! The manifest: what Qserv's ingest is to fetch, one JSON line per file.
//!
//! The first line names format, version and database; each further line is one contribution. It is
//! written last, so whoever finds it finds everything that it names.

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::FileSummary;
use crate::partition::Partitioning;
use crate::publish::TableIdentity;
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
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
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

/// A manifest being put together.
#[derive(Debug)]
pub struct Manifest {
    database: String,
    partitioning: Option<Partitioning>,
    contributions: Vec<Contribution>,
}

impl Manifest {
    /// Starts a manifest of the database `database`.
    pub fn new(database: impl Into<String>) -> Self {
        Self {
            database: database.into(),
            partitioning: None,
            contributions: Vec::new(),
        }
    }

    /// Returns the contributions so far.
    pub fn contributions(&self) -> &[Contribution] {
        &self.contributions
    }

    /// Adds a table's files, which lie below the local folder `root`; its indexes are left out.
    pub fn add_local(&mut self, root: &Path, identity: &TableIdentity, files: &[FileSummary]) {
        self.partitioning = self.partitioning.or(identity.partitioning);
        for file in files {
            // Indexes are for other tools; the ingest service loads chunks and whole tables.
            if identity.kind.is_partitioned() && file.chunk.is_none() {
                continue;
            }
            self.contributions.push(Contribution {
                database: self.database.clone(),
                table: identity.table.clone(),
                kind: identity.kind,
                chunk: file.chunk,
                overlap: file.is_overlap,
                url: file_url(&root.join(&file.path)),
                bytes: file.bytes,
                rows: file.rows,
                sha256: file.sha256.clone(),
                dialect: IngestDialect::from(&identity.dialect),
                charset: identity.charset.name().to_owned(),
            });
        }
    }

    /// Returns the manifest's bytes.
    ///
    /// # Errors
    /// It can't be expressed, which is a fault of skyprep.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let header = ManifestHeader {
            format: FORMAT.into(),
            version: VERSION,
            skyprep: env!("CARGO_PKG_VERSION").into(),
            database: self.database.clone(),
            partitioning: self.partitioning,
            contributions: self.contributions.len() as u64,
        };
        let fault = |error| Error::new(ErrorKind::Internal, format!("manifest: {error}"));
        let mut bytes = serde_json::to_vec(&header).map_err(fault)?;
        bytes.push(b'\n');
        for contribution in &self.contributions {
            serde_json::to_writer(&mut bytes, contribution).map_err(fault)?;
            bytes.push(b'\n');
        }
        Ok(bytes)
    }
}

/// Returns the `file://` URL of an absolute path, escaped as URLs want it.
fn file_url(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut url = String::from("file://");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                url.push(char::from(*byte));
            }
            // Writing to a String can't fail.
            _ => _ = write!(url, "%{byte:02X}"),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::FileDigest;
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
        let file = |path: &str, chunk| FileDigest::default().finish(path.into(), chunk, false);
        let files = [
            file("stars/Star/chunk_7.txt", Some(7)),
            file("stars/Star/index.txt", None),
        ];
        let mut manifest = Manifest::new("stars");
        manifest.add_local(Path::new("/data/a b"), &identity, &files);
        let text = String::from_utf8(manifest.to_bytes().unwrap()).unwrap();
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

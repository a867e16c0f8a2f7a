//! The lines of a manifest: its header and its contributions.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::time::UtcTime;
use crate::dialect::Dialect;
use crate::exchange::HexDigest;
use crate::partition::Partitioning;
use crate::place::shown;
use crate::schema::TableKind;

pub(super) const FORMAT: &str = "skyprep-manifest";
pub(super) const VERSION: u32 = 1;

/// First line of a manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestHeader {
    pub(super) format: String,
    pub(super) version: u32,
    /// Version of skyprep that wrote it.
    pub skyprep: String,
    /// Name of the database.
    pub database: String,
    /// How the sky was divided, for partitioned tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitioning: Option<Partitioning>,
    /// Until when the files will be kept; without it until they are released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_until: Option<UtcTime>,
    /// When the first of the signed URLs ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urls_expire: Option<UtcTime>,
    /// What public URLs begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// Number of lines that follow.
    pub contributions: u64,
}

impl ManifestHeader {
    /// Makes the header of a manifest without lines.
    pub(super) fn new(database: String) -> Self {
        Self {
            format: FORMAT.into(),
            version: VERSION,
            skyprep: env!("CARGO_PKG_VERSION").into(),
            database,
            partitioning: None,
            retain_until: None,
            urls_expire: None,
            public_url: None,
            contributions: 0,
        }
    }
}

/// One file for the ingest service.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
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
    /// Where the ingest service finds the file.
    pub url: String,
    /// The place's own URL of the file, where `url` is a public or a signed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_at: Option<String>,
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

impl Contribution {
    /// Returns the URL by which the place itself knows the file.
    pub fn place_url(&self) -> &str {
        self.stored_at.as_deref().unwrap_or(&self.url)
    }

    /// Returns the URL as it may be shown: without a signature.
    pub fn shown_url(&self) -> String {
        shown(&self.url)
    }
}

/// Signatures are secrets, so URLs are shown without them.
impl fmt::Debug for Contribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contribution")
            .field("table", &self.table)
            .field("kind", &self.kind)
            .field("chunk", &self.chunk)
            .field("overlap", &self.overlap)
            .field("url", &self.shown_url())
            .field("stored_at", &self.stored_at.as_deref().map(shown))
            .field("bytes", &self.bytes)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

/// Where a file is that was put somewhere else than in a local folder.
#[derive(Clone, PartialEq, Eq)]
pub struct PlacedUrl {
    /// Where the ingest service finds it.
    pub url: String,
    /// The place's own URL, where that is another one.
    pub stored_at: Option<String>,
}

impl fmt::Debug for PlacedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlacedUrl")
            .field("url", &shown(&self.url))
            .field("stored_at", &self.stored_at.as_deref().map(shown))
            .finish()
    }
}

/// A dialect by the names of the ingest service's parameters, each value the character itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

impl IngestDialect {
    /// Returns the dialect as the ingest service wants its parameters spelled: `\t` for TAB, `\\`
    /// for a backslash, `\n` for LF, `\0` for none. It takes neither the characters themselves nor
    /// an empty text.
    #[must_use]
    pub fn spelled(&self) -> Self {
        let spell = |text: &str| match text {
            "" => r"\0".to_owned(),
            _ => text
                .replace('\\', r"\\")
                .replace('\t', r"\t")
                .replace('\r', r"\r")
                .replace('\n', r"\n"),
        };
        Self {
            fields_terminated_by: spell(&self.fields_terminated_by),
            fields_enclosed_by: spell(&self.fields_enclosed_by),
            fields_escaped_by: spell(&self.fields_escaped_by),
            lines_terminated_by: spell(&self.lines_terminated_by),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_spells_special_characters() {
        let spelled = IngestDialect::from(&Dialect::qserv()).spelled();
        assert_eq!(spelled.fields_terminated_by, r"\t");
        assert_eq!(spelled.fields_enclosed_by, r"\0");
        assert_eq!(spelled.fields_escaped_by, r"\\");
        assert_eq!(spelled.lines_terminated_by, r"\n");
        let csv = IngestDialect::from(&Dialect::qserv_csv()).spelled();
        assert_eq!(csv.fields_terminated_by, ",");
        assert_eq!(csv.fields_enclosed_by, "\"");
    }

    #[test]
    fn signatures_are_never_shown() {
        let placed = PlacedUrl {
            url: "https://h/b/k?X-Amz-Signature=5ec3e7".into(),
            stored_at: Some("s3://b/k?x=5ec3e7".into()),
        };
        let shown = format!("{placed:?}");
        assert!(
            shown.contains("https://h/b/k") && !shown.contains("5ec3e7"),
            "{shown}"
        );
    }
}

//! The record of an output folder: which sets of files stand, made by what from which inputs.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::exchange::{FileSummary, deserialize_summaries};
use crate::partition::Partitioning;
use crate::schema::TableKind;
use crate::values::Charset;

/// All sets of files that stand complete in an output folder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Record {
    /// The sets by name: one per table.
    pub sets: BTreeMap<String, SetRecord>,
}

/// What a set of files is to Qserv, and how its text is to be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableIdentity {
    /// Name of the table.
    pub table: String,
    /// Name of the database, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// What the table is to Qserv.
    pub kind: TableKind,
    /// How the sky was divided, for partitioned tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitioning: Option<Partitioning>,
    /// Dialect of the text.
    pub dialect: Dialect,
    /// Encoding of the text.
    pub charset: Charset,
}

/// One complete set of files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetRecord {
    /// What the files hold; nothing for sets that are no table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<TableIdentity>,
    /// Command and options, as far as they decide the bytes.
    pub options: serde_json::Value,
    /// The inputs as they were.
    pub inputs: Vec<InputStamp>,
    /// The files.
    #[serde(deserialize_with = "deserialize_summaries")]
    pub files: Vec<FileSummary>,
    /// What the run counted, for reports.
    pub report: serde_json::Value,
    /// The place that the files to be loaded were brought to, if they are no longer here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placed_at: Option<String>,
}

impl SetRecord {
    /// Returns the files that the ingest service loads: all of a regular table, those with a chunk
    /// of others. Indexes are for other tools.
    pub fn loaded(&self) -> impl Iterator<Item = &FileSummary> {
        let files = self.files.iter();
        files.filter(|file| self.is_loaded(file))
    }

    /// Returns the files that are to be here.
    pub(super) fn here(&self) -> impl rayon::iter::ParallelIterator<Item = &FileSummary> {
        let files = self.files.par_iter();
        files.filter(|file| self.placed_at.is_none() || !self.is_loaded(file))
    }

    fn is_loaded(&self, file: &FileSummary) -> bool {
        let kind = self.identity.as_ref().map(|identity| identity.kind);
        file.chunk().is_some() || kind.is_some_and(|kind| !kind.is_partitioned())
    }
}

/// What tells an unchanged input: size and time of last change, or size and digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InputStamp {
    /// Absolute path, without links to folders.
    pub path: String,
    /// The absolute path by which it was found, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_as: Option<String>,
    /// Bytes.
    pub bytes: u64,
    /// Nanoseconds since 1970.
    pub modified_ns: u64,
    /// What a server calls this content (its `ETag`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// SHA-256, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Returns the absolute path of a file without `..` and links to folders on the way, so that one file is
/// called the same wherever a command is run; a link that the path itself is stays.
///
/// # Errors
/// The folder can't be found.
pub fn physical_path(path: &Path) -> io::Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return path.canonicalize();
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    match folder.canonicalize() {
        Ok(folder) => Ok(folder.join(name)),
        // The folder may have gone; those above it lead where they did.
        Err(_) if folder.file_name().is_some() => Ok(physical_path(folder)?.join(name)),
        Err(_) => std::path::absolute(path),
    }
}

/// Returns the physical path of a file, and the absolute one where it is another.
fn named(path: &Path) -> io::Result<(String, Option<String>)> {
    let physical = physical_path(path)?;
    let absolute = std::path::absolute(path)?;
    let found_as = (absolute != physical).then(|| absolute.display().to_string());
    Ok((physical.display().to_string(), found_as))
}

/// Where both sides have a digest it decides and times don't count; else times do.
impl PartialEq for InputStamp {
    fn eq(&self, other: &Self) -> bool {
        let is_same = match (&self.sha256, &other.sha256) {
            (Some(own), Some(others)) => own == others,
            _ => self.modified_ns == other.modified_ns && self.tag == other.tag,
        };
        is_same && self.bytes == other.bytes && self.path == other.path
    }
}

impl InputStamp {
    /// Returns the stamp of a file that can't be looked at.
    pub fn absent(path: &Path) -> Self {
        let (path, found_as) = named(path).unwrap_or_else(|_| (path.display().to_string(), None));
        Self {
            path,
            found_as,
            bytes: 0,
            modified_ns: 0,
            tag: None,
            sha256: None,
        }
    }

    /// Returns the absolute path by which the file was found.
    pub fn name(&self) -> &str {
        self.found_as.as_deref().unwrap_or(&self.path)
    }

    /// Says whether the file is at a server.
    pub fn is_at_server(&self) -> bool {
        self.path.contains("://")
    }

    /// Says whether the file could not be looked at.
    pub fn is_absent(&self) -> bool {
        self.bytes == 0 && self.modified_ns == 0
    }

    /// Reads size and time of the file `path`.
    ///
    /// # Errors
    /// The file is missing or can't be looked at.
    pub fn of(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|error| Error::reading(path, error))?;
        let modified = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let (path, found_as) = named(path).map_err(|error| Error::reading(path, error))?;
        Ok(Self {
            path,
            found_as,
            bytes: metadata.len(),
            modified_ns: modified.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(0)),
            tag: None,
            sha256: None,
        })
    }
}

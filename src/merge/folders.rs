//! The folders that are merged, and what lies in them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::MergeOptions;
use super::find::{Found, PartsReport};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::FileSummary;
use crate::partition::geometry::ChunkId;
use crate::partition::key_index::IndexFormat;
use crate::publish::{InputStamp, TableIdentity, physical_path};
use rayon::prelude::*;

/// What a file is in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    /// Rows of a chunk, or its overlap rows.
    Chunk(i32, bool),
    /// Rows of a table without chunks.
    Whole,
    /// The director index.
    KeyIndex(IndexFormat),
    /// The index that counts the rows of sub-chunks.
    ChunkIndex,
}

/// A file of a folder.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Number of the folder.
    pub(super) root: u32,
    pub(super) role: Role,
    /// What its record says; without one name and bytes.
    pub(super) file: FileSummary,
    pub(super) is_recorded: bool,
}

/// All that is to be merged.
#[derive(Debug)]
pub(super) struct Sources {
    /// As the user named them.
    named: Vec<PathBuf>,
    pub(super) warnings: Vec<String>,
    pub(super) roots: Vec<PathBuf>,
    pub(super) identity: TableIdentity,
    pub(super) columns: Vec<String>,
    /// The chunks that alone are there, if not all.
    pub(super) only_chunks: Option<Value>,
    pub(super) reported: PartsReport,
    /// In the order of the folders.
    pub(super) parts: Vec<Part>,
    pub(super) stamps: Vec<InputStamp>,
}

impl Role {
    pub(super) fn is_data(self) -> bool {
        matches!(self, Self::Chunk(..) | Self::Whole)
    }

    /// Tells an index by the end of its name.
    pub(super) fn of_index(name: &str) -> Option<Self> {
        let formats = [IndexFormat::Text, IndexFormat::Parquet, IndexFormat::Binary];
        let is_key_index = |format: &IndexFormat| {
            let name = name.strip_suffix(format.ending());
            name.is_some_and(|name| name.ends_with("_object_index."))
        };
        match formats.into_iter().find(is_key_index) {
            Some(format) => Some(Self::KeyIndex(format)),
            None => name.ends_with("_index.bin").then_some(Self::ChunkIndex),
        }
    }
}

impl Part {
    /// Returns what files are sorted by: those of one output file are equal.
    pub(super) fn order(&self) -> Role {
        self.role
    }

    pub(super) fn is_overlap(&self) -> bool {
        self.file.is_overlap()
    }

    pub(super) fn path(&self, sources: &Sources) -> PathBuf {
        let root = sources.roots.get(self.root as usize);
        root.map_or_else(PathBuf::new, |root| root.join(&*self.file.path()))
    }
}

impl Sources {
    /// Looks at all folders.
    pub(super) fn find(options: &MergeOptions) -> Result<Self> {
        let mut found = Found::new(options);
        for source in &options.sources {
            found.add(source)?;
        }
        found.check_nesting()?;
        if found.parts.is_empty() && found.table.is_none() {
            let shown = options.sources.first();
            let shown = shown.map_or_else(String::new, |path| path.display().to_string());
            return Err(
                Error::new(ErrorKind::InputMissing, "no chunk file is there")
                    .at(Place::file(shown))
                    .hint("name folders that partition, or sph-partition, has made"),
            );
        }
        let (identity, columns, only_chunks) = match found.table {
            Some(table) => (table.identity, table.columns, table.only_chunks),
            None => (options.known.identity(&found.roots)?, Vec::new(), None),
        };
        Ok(Self {
            named: options.sources.clone(),
            warnings: found.warnings,
            roots: found.roots,
            identity,
            columns,
            only_chunks,
            reported: found.reported,
            parts: found.parts,
            stamps: found.stamps,
        })
    }

    /// Returns the rows that records tell of, without overlap.
    pub(super) fn recorded_rows(&self) -> u64 {
        let recorded = self.parts.iter().filter(|part| part.is_recorded);
        let rows = recorded.filter(|part| part.role.is_data() && !part.is_overlap());
        rows.map(|part| part.file.rows).sum()
    }

    /// Refuses chunks that the sky is not divided into.
    pub(super) fn check_chunks(&self) -> Result<()> {
        let Some(partitioning) = self.identity.partitioning else {
            return Ok(());
        };
        let chunker = partitioning.chunker()?;
        let odd = self.parts.iter().find(|part| match part.role {
            Role::Chunk(chunk, _) => chunker.dense_index(ChunkId(chunk)).is_none(),
            _ => false,
        });
        let Some(part) = odd else {
            return Ok(());
        };
        let message = format!(
            "no chunk has this number in {} stripes of {} sub-stripes",
            partitioning.stripes, partitioning.sub_stripes
        );
        Err(Error::usage(message)
            .at(Place::file(part.path(self).display().to_string()))
            .hint("were these files made with other --stripes and --sub-stripes?"))
    }

    /// Refuses an output folder that lies in what is merged, or the other way round.
    pub(super) fn check_apart(&self, output: &Path) -> Result<()> {
        let output = resolved(output)?;
        for root in self.named.iter().chain(&self.roots) {
            let own = resolved(root)?;
            if own.starts_with(&output) || output.starts_with(&own) {
                return Err(
                    Error::usage("the output folder and this one lie in each other")
                        .at(Place::file(root.display().to_string()))
                        .hint("choose another output folder"),
                );
            }
        }
        Ok(())
    }

    /// Refuses a file to be written that lies in what is merged.
    pub(super) fn check_outside(&self, file: &Path) -> Result<()> {
        let path = resolved(file)?;
        for root in self.named.iter().chain(&self.roots) {
            if path.starts_with(resolved(root)?) {
                return Err(Error::usage("lies in a folder that is merged")
                    .at(Place::file(file.display().to_string()))
                    .hint("choose another place"));
            }
        }
        Ok(())
    }

    /// Refuses folders that changed while they were read.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        let changed = self.stamps.par_iter().find_map_first(|before| {
            let path = Path::new(before.name());
            match InputStamp::of(path) {
                Ok(now) if now == *before => None,
                Ok(_) => Some(
                    Error::new(ErrorKind::Integrity, "changed while it was read")
                        .at(Place::file(before.name()))
                        .hint("run the command again once all folders are complete"),
                ),
                Err(error) => Some(error),
            }
        });
        changed.map_or(Ok(()), Err)
    }
}

/// Returns where a path leads to, through links; what is not there yet counts as it is.
fn resolved(path: &Path) -> Result<PathBuf> {
    let found = path.canonicalize().or_else(|_| physical_path(path));
    found.map_err(|error| Error::reading(path, error))
}

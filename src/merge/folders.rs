//! The folders that are merged, and what lies in them.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::Value;

use super::{KnownTable, MergeOptions, difference, differs};
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::{Digests, FileDigest, FileSummary, chunk_of_name};
use crate::partition::geometry::ChunkId;
use crate::partition::key_index::IndexFormat;
use crate::pipeline::TableReport;
use crate::publish::{
    InputStamp, OutputFolder, RECORD_FILE, STATE_FOLDER, SetRecord, TableIdentity, physical_path,
};
use crate::schema::{TableKind, check_name};
use crate::values::Charset;

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
    pub(super) roots: Vec<PathBuf>,
    pub(super) identity: TableIdentity,
    pub(super) columns: Vec<String>,
    /// In the order of the folders.
    pub(super) parts: Vec<Part>,
    pub(super) stamps: Vec<InputStamp>,
}

impl Role {
    pub(super) fn is_data(self) -> bool {
        matches!(self, Self::Chunk(..) | Self::Whole)
    }

    /// Tells an index by the end of its name.
    fn of_index(name: &str) -> Option<Self> {
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
        let mut found = Found {
            prefix: &options.prefix,
            known: &options.known,
            roots: Vec::new(),
            parts: Vec::new(),
            stamps: Vec::new(),
            table: None,
        };
        for source in &options.sources {
            found.add(source)?;
        }
        if found.parts.is_empty() {
            let shown = options.sources.first();
            let shown = shown.map_or_else(String::new, |path| path.display().to_string());
            return Err(
                Error::new(ErrorKind::InputMissing, "no chunk file is there")
                    .at(Place::file(shown))
                    .hint("name folders that partition, or sph-partition, has made"),
            );
        }
        let (identity, columns) = match found.table {
            Some(table) => (table.identity, table.columns),
            None => (options.known.identity(&found.roots)?, Vec::new()),
        };
        Ok(Self {
            roots: found.roots,
            identity,
            columns,
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
        let output = physical_path(output).map_err(|error| Error::writing(output, error))?;
        for root in &self.roots {
            let own = root.canonicalize();
            let own = own.map_err(|error| Error::reading(root, error))?;
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

/// What the records say of the table.
struct FoundTable {
    identity: TableIdentity,
    columns: Vec<String>,
    /// Whether its overlap rows were left out, where the record tells.
    has_no_overlap: Option<bool>,
}

/// Folders as they are found.
struct Found<'o> {
    prefix: &'o str,
    known: &'o KnownTable,
    roots: Vec<PathBuf>,
    parts: Vec<Part>,
    stamps: Vec<InputStamp>,
    table: Option<FoundTable>,
}

impl Found<'_> {
    /// Adds a folder, and those in it that have a record of their own.
    fn add(&mut self, folder: &Path) -> Result<()> {
        let metadata = fs::metadata(folder).map_err(|error| Error::reading(folder, error))?;
        if !metadata.is_dir() {
            return Err(Error::usage("is a file, expected a folder")
                .at(Place::file(folder.display().to_string()))
                .hint("name folders of chunk files"));
        }
        if folder.join(STATE_FOLDER).is_dir() {
            return self.add_recorded(folder);
        }
        let mut recorded = Vec::new();
        let mut files = Vec::new();
        search(folder, "", self.prefix, &mut files, &mut recorded)?;
        if !files.is_empty() {
            let root = self.add_root(folder)?;
            files.sort_by_cached_key(|(name, _, _)| place_of(name));
            for (name, role, bytes) in files {
                self.add_unrecorded(root, folder, name, role, bytes)?;
            }
        }
        recorded.sort();
        recorded
            .iter()
            .try_for_each(|folder| self.add_recorded(folder))
    }

    fn add_root(&mut self, folder: &Path) -> Result<u32> {
        let own = |path: &Path| {
            path.canonicalize()
                .map_err(|error| Error::reading(path, error))
        };
        let physical = own(folder)?;
        for other in &self.roots {
            if own(other)? == physical {
                return Err(Error::usage("is named twice")
                    .at(Place::file(folder.display().to_string()))
                    .hint("its rows would come twice"));
            }
        }
        self.roots.push(folder.to_owned());
        Ok(u32::try_from(self.roots.len() - 1).unwrap_or(u32::MAX))
    }

    fn add_unrecorded(
        &mut self,
        root: u32,
        folder: &Path,
        name: String,
        role: Role,
        bytes: u64,
    ) -> Result<()> {
        self.stamps.push(InputStamp::of(&folder.join(&name))?);
        let (chunk, is_overlap) = match role {
            Role::Chunk(chunk, is_overlap) => (Some(chunk), is_overlap),
            _ => (None, false),
        };
        let mut file = FileDigest::new(Digests::Xxh3).finish(name, chunk, is_overlap);
        file.bytes = bytes;
        self.parts.push(Part {
            root,
            role,
            file,
            is_recorded: false,
        });
        Ok(())
    }

    fn add_recorded(&mut self, folder: &Path) -> Result<()> {
        let at = |error: Error| error.at(Place::file(folder.display().to_string()));
        let record = OutputFolder::peek_settled(folder)?.unwrap_or_default();
        let tables: Vec<&SetRecord> = record
            .sets
            .values()
            .filter(|set| set.identity.is_some())
            .collect();
        if tables.is_empty() {
            let message = "no table stands here: the run that makes it has not ended";
            return Err(at(Error::new(ErrorKind::InputMissing, message)
                .hint("wait for it, or run it again; or leave this folder out")));
        }
        let set = self.choose(&tables).map_err(at)?;
        if set.placed_at.is_some() {
            let message = "its files were brought to another place";
            return Err(at(Error::new(ErrorKind::InputMissing, message)
                .hint("make them again with keep_local, or fetch them")));
        }
        let Some(identity) = &set.identity else {
            return Ok(());
        };
        self.compare(folder, identity, set)?;
        let root = self.add_root(folder)?;
        self.stamps.push(InputStamp::of(
            &folder.join(STATE_FOLDER).join(RECORD_FILE),
        )?);
        let mut files: Vec<&FileSummary> = set.files.iter().collect();
        files.sort_by(|one, next| one.folder().cmp(next.folder()).then(one.cmp_place(next)));
        for file in files {
            let path = file.path();
            let role = match file.chunk() {
                Some(chunk) => Role::Chunk(chunk, file.is_overlap()),
                None if !identity.kind.is_partitioned() => Role::Whole,
                None => Role::of_index(&path).ok_or_else(|| {
                    let message = format!("{path} is neither a chunk's file nor an index");
                    at(Error::usage(message))
                })?,
            };
            self.parts.push(Part {
                root,
                role,
                file: file.clone(),
                is_recorded: true,
            });
        }
        Ok(())
    }

    /// Chooses the table of a folder that is meant.
    fn choose<'s>(&self, tables: &[&'s SetRecord]) -> Result<&'s SetRecord> {
        let name = |set: &SetRecord| set.identity.as_ref().map(|known| known.table.clone());
        let known = self.table.as_ref().map(|table| &table.identity.table);
        let wanted = self.known.table.as_ref().or(known);
        let chosen = match (tables, wanted) {
            ([set], None) => Some(*set),
            (_, Some(wanted)) => {
                let mut sets = tables.iter().copied();
                sets.find(|set| name(set).as_ref() == Some(wanted))
            }
            _ => None,
        };
        chosen.ok_or_else(|| {
            let names: Vec<String> = tables.iter().filter_map(|set| name(set)).collect();
            let message = match wanted {
                Some(wanted) => format!("has no table {wanted}, but {}", names.join(", ")),
                None => format!("has several tables: {}", names.join(", ")),
            };
            Error::usage(message).hint("choose one with --table; each is merged by itself")
        })
    }

    /// Refuses a table that is not that of the folders before, or not what the user says.
    fn compare(&mut self, root: &Path, identity: &TableIdentity, set: &SetRecord) -> Result<()> {
        self.known.check(root, identity)?;
        let report: Option<TableReport> = serde_json::from_value(set.report.clone()).ok();
        let found = FoundTable {
            identity: identity.clone(),
            columns: report.map(|report| report.columns).unwrap_or_default(),
            has_no_overlap: set.options.get("no_overlap").and_then(Value::as_bool),
        };
        let Some(table) = &self.table else {
            self.table = Some(found);
            return Ok(());
        };
        if let Some((what, found, expected)) = difference(identity, &table.identity) {
            return Err(differs(root, what, &found, &expected));
        }
        let are_known = !found.columns.is_empty() && !table.columns.is_empty();
        if are_known && found.columns != table.columns {
            let (found, expected) = (found.columns.join(", "), table.columns.join(", "));
            return Err(differs(root, "list of columns", &found, &expected));
        }
        if let (Some(found), Some(expected)) = (found.has_no_overlap, table.has_no_overlap)
            && found != expected
        {
            let word = |no_overlap| if no_overlap { "left out" } else { "written" };
            return Err(differs(root, "overlap", word(found), word(expected)));
        }
        Ok(())
    }
}

impl KnownTable {
    /// Returns what files without a record are.
    fn identity(&self, roots: &[PathBuf]) -> Result<TableIdentity> {
        let (Some(table), Some(kind)) = (&self.table, self.kind) else {
            let shown = roots.first();
            let shown = shown.map_or_else(String::new, |path| path.display().to_string());
            return Err(Error::usage("no record says what these files are")
                .at(Place::file(shown))
                .hint("say --table and --kind"));
        };
        check_name("table", table)?;
        if kind == TableKind::Regular {
            return Err(Error::usage("a regular table has no chunk files")
                .hint("cat puts its files together"));
        }
        Ok(TableIdentity {
            table: table.clone(),
            database: None,
            kind,
            partitioning: self.partitioning,
            dialect: self.dialect.clone().unwrap_or_else(Dialect::qserv),
            charset: self.charset.unwrap_or(Charset::Latin1),
        })
    }

    /// Refuses a record that says something else.
    fn check(&self, root: &Path, identity: &TableIdentity) -> Result<()> {
        let said = TableIdentity {
            table: identity.table.clone(),
            database: identity.database.clone(),
            kind: self.kind.unwrap_or(identity.kind),
            partitioning: self.partitioning.or(identity.partitioning),
            dialect: self.dialect.as_ref().unwrap_or(&identity.dialect).clone(),
            charset: self.charset.unwrap_or(identity.charset),
        };
        match difference(identity, &said) {
            Some((what, found, expected)) => Err(differs(root, what, &found, &expected)),
            None => Ok(()),
        }
    }
}

/// Returns what the files of a folder are sorted by: those that lie in it before its folders.
fn place_of(name: &str) -> (Reverse<bool>, String) {
    (Reverse(!name.contains('/')), name.to_owned())
}

/// Finds chunk files and indexes below `folder`, by name, and folders that have a record of their own.
fn search(
    folder: &Path,
    relative: &str,
    prefix: &str,
    files: &mut Vec<(String, Role, u64)>,
    recorded: &mut Vec<PathBuf>,
) -> Result<()> {
    let reading = |error| Error::reading(folder, error);
    for entry in fs::read_dir(folder).map_err(reading)? {
        let entry = entry.map_err(reading)?;
        let path = entry.path();
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let metadata = fs::metadata(&path).map_err(|error| Error::reading(&path, error))?;
        let below = format!("{relative}{name}");
        if metadata.is_dir() {
            match path.join(STATE_FOLDER).is_dir() {
                true => recorded.push(path),
                false => search(&path, &format!("{below}/"), prefix, files, recorded)?,
            }
            continue;
        }
        let is_ours = name
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('_'));
        if !is_ours {
            continue;
        }
        let chunk = chunk_of_name(prefix, name);
        let role = chunk.map(|(chunk, is_overlap)| Role::Chunk(chunk, is_overlap));
        match role.or_else(|| Role::of_index(name)) {
            Some(role) if metadata.is_file() => files.push((below, role, metadata.len())),
            _ => {
                let message = "is called like a chunk's file, but is none";
                return Err(Error::usage(message)
                    .at(Place::file(path.display().to_string()))
                    .hint(format!(
                        "names must be {prefix}_<number>.txt or {prefix}_<number>_overlap.txt; \
                         rename it, or move it away"
                    )));
            }
        }
    }
    Ok(())
}

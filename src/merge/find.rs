//! Finding chunk files: by records, and by names where there is none.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::folders::{Part, Role};
use super::{KnownTable, MergeOptions, difference, differs};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::{Digests, FileDigest, FileSummary, chunk_of_name};
use crate::manifest::MANIFEST_FILE;
use crate::pipeline::{PassedOver, TableReport};
use crate::publish::{
    InputStamp, OutputFolder, RECORD_FILE, STATE_FOLDER, SetRecord, TableIdentity,
};

/// What tables of `partition` and of Qserv's tools are called where nobody says.
const USUAL_NAME: &str = "table";

/// What the records say of the table.
pub(super) struct FoundTable {
    pub(super) identity: TableIdentity,
    pub(super) columns: Vec<String>,
    /// Whether its overlap rows were left out, where the record tells.
    has_no_overlap: Option<bool>,
    /// By which columns its rows were sorted, where the record tells.
    routing: Option<Value>,
    /// The chunks that alone were made.
    pub(super) only_chunks: Option<Value>,
}

/// What the parts of a table were reported to lack, and what was changed in their rows.
#[derive(Debug, Default)]
pub(super) struct PartsReport {
    pub(super) rejected: u64,
    pub(super) second_rows: u64,
    pub(super) elsewhere: u64,
    pub(super) passed_over: Vec<PassedOver>,
    pub(super) changes: BTreeMap<String, BTreeMap<String, u64>>,
}

impl PartsReport {
    fn add(&mut self, part: TableReport) {
        self.rejected += part.rejected;
        self.second_rows += part.second_rows;
        self.elsewhere += part.elsewhere;
        self.passed_over.extend(part.passed_over);
        for (column, rules) in part.changes {
            let known = self.changes.entry(column).or_default();
            for (rule, count) in rules {
                *known.entry(rule).or_default() += count;
            }
        }
    }
}

/// Folders as they are found.
pub(super) struct Found<'o> {
    prefix: &'o str,
    known: &'o KnownTable,
    pub(super) roots: Vec<PathBuf>,
    pub(super) parts: Vec<Part>,
    pub(super) stamps: Vec<InputStamp>,
    pub(super) table: Option<FoundTable>,
    pub(super) reported: PartsReport,
    pub(super) warnings: Vec<String>,
    /// Folders that were entered, without links, and whether a record tells what is in them.
    entered: BTreeMap<PathBuf, bool>,
    /// What each folder with a record was made of.
    made_of: HashSet<String>,
}

/// A file that its name tells: path below its folder, what it is, bytes.
type NamedFile = (String, Role, u64);

/// What lies in a folder without a record.
#[derive(Default)]
struct Listing {
    files: Vec<NamedFile>,
    /// Folders that are none of a node or a part.
    folders: Vec<PathBuf>,
}

impl<'o> Found<'o> {
    pub(super) fn new(options: &'o MergeOptions) -> Self {
        Self {
            prefix: &options.prefix,
            known: &options.known,
            roots: Vec::new(),
            parts: Vec::new(),
            stamps: Vec::new(),
            table: None,
            reported: PartsReport::default(),
            warnings: Vec::new(),
            entered: BTreeMap::new(),
            made_of: HashSet::new(),
        }
    }

    /// Adds a folder, or those that are in it.
    pub(super) fn add(&mut self, folder: &Path) -> Result<()> {
        let metadata = fs::metadata(folder).map_err(|error| Error::reading(folder, error))?;
        if !metadata.is_dir() {
            return Err(Error::usage("is a file, expected a folder")
                .at(Place::file(folder.display().to_string()))
                .hint("name folders of chunk files"));
        }
        if folder.to_str().is_none() {
            return Err(no_text(folder));
        }
        if folder.join(STATE_FOLDER).is_dir() {
            return self.add_recorded(folder);
        }
        if folder.join(MANIFEST_FILE).is_file() {
            return Err(Error::usage("is the folder of a database")
                .at(Place::file(folder.display().to_string()))
                .hint("name the folder that it lies in, and the table with --table"));
        }
        let mut listing = Listing::default();
        self.list(folder, "", &mut listing)?;
        if !listing.files.is_empty() {
            let shown = folder.display();
            self.warnings.push(format!(
                "{shown} has no record: its files are taken by their names"
            ));
            let root = self.add_root(folder);
            // Those that lie in the folder come before those of nodes and parts in it.
            listing
                .files
                .sort_by_cached_key(|(name, ..)| (name.contains('/'), name.clone()));
            for (name, role, bytes) in listing.files {
                self.add_unrecorded(root, folder, name, role, bytes)?;
            }
        }
        listing.folders.sort();
        listing
            .folders
            .iter()
            .try_for_each(|folder| self.add(folder))
    }

    /// Refuses a folder that lies in another one whose files a record tells.
    pub(super) fn check_nesting(&self) -> Result<()> {
        let mut outer: Option<&Path> = None;
        for (path, is_recorded) in &self.entered {
            match outer {
                Some(outer) if path.starts_with(outer) => {
                    return Err(Error::usage(format!(
                        "lies in {}, which is merged as well",
                        outer.display()
                    ))
                    .at(Place::file(path.display().to_string()))
                    .hint("its rows would come twice"));
                }
                _ if *is_recorded => outer = Some(path),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes note of a folder, and refuses one that was there before, by whatever name.
    fn enter(&mut self, folder: &Path, is_recorded: bool) -> Result<()> {
        let physical = folder.canonicalize();
        let physical = physical.map_err(|error| Error::reading(folder, error))?;
        if self.entered.insert(physical, is_recorded).is_some() {
            return Err(Error::usage("is named twice")
                .at(Place::file(folder.display().to_string()))
                .hint("its rows would come twice"));
        }
        Ok(())
    }

    fn add_root(&mut self, folder: &Path) -> u32 {
        self.roots.push(folder.to_owned());
        u32::try_from(self.roots.len() - 1).unwrap_or(u32::MAX)
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
        let is_parquet = |file: &FileSummary| file.path().ends_with(".parquet");
        if set.loaded().any(is_parquet) {
            return Err(at(Error::usage(
                "its files are Parquet, and texts alone are merged",
            )));
        }
        if set.options.get("sort").is_some() {
            let message = "rows are sorted there, and would not be after merging";
            return Err(at(
                Error::usage(message).hint("partition all inputs at once, or without --sort")
            ));
        }
        let Some(identity) = self.identity_of(set) else {
            return Ok(());
        };
        self.compare(folder, &identity, set)?;
        self.enter(folder, true)?;
        self.check_origin(folder, set)?;
        let root = self.add_root(folder);
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
        match identity.database {
            // Files of other generations lie there, too.
            Some(_) => Ok(()),
            None => self.add_unknown(folder, root, set),
        }
    }

    /// Adds chunk files that the record of a folder does not know: those that Qserv's own tools had made
    /// before rows were appended. Anywhere else there should be none.
    fn add_unknown(&mut self, folder: &Path, root: u32, set: &SetRecord) -> Result<()> {
        let known: HashSet<String> = set
            .files
            .iter()
            .map(|file| file.path().into_owned())
            .collect();
        let mut listing = Listing::default();
        // Folders in it are not looked at, but for those of nodes.
        self.list_inner(folder, "", &mut listing)?;
        let mut unknown = listing.files;
        unknown.retain(|(name, ..)| !known.contains(name));
        unknown.sort_by(|one, next| one.0.cmp(&next.0));
        let is_appended = set.options.get("appended").is_some();
        if let (false, Some((name, ..))) = (is_appended, unknown.first()) {
            return Err(Error::new(ErrorKind::Integrity, "the record does not know this file")
                .at(Place::file(folder.join(name).display().to_string()))
                .hint(
                    "move it away; or remove .skyprep there, so that all files are taken by their \
                     names, with --table and --kind",
                ));
        }
        for (name, role, bytes) in unknown {
            self.add_unrecorded(root, folder, name, role, bytes)?;
        }
        Ok(())
    }

    /// Refuses a folder that was made of what another one was made of.
    fn check_origin(&mut self, folder: &Path, set: &SetRecord) -> Result<()> {
        if set.inputs.is_empty() {
            return Ok(());
        }
        let inputs = serde_json::to_string(&set.inputs)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("inputs: {error}")))?;
        match self.made_of.insert(inputs) {
            true => Ok(()),
            false => Err(
                Error::usage("was made of the same inputs as another folder")
                    .at(Place::file(folder.display().to_string()))
                    .hint("its rows would come twice"),
            ),
        }
    }

    /// Returns what a recorded table is; one that nobody has named yet gets the name that the user says.
    fn identity_of(&self, set: &SetRecord) -> Option<TableIdentity> {
        let mut identity = set.identity.clone()?;
        if let (Some(name), true) = (&self.known.table, identity.table == USUAL_NAME) {
            identity.table.clone_from(name);
        }
        Some(identity)
    }

    /// Chooses the table of a folder that is meant.
    fn choose<'s>(&self, tables: &[&'s SetRecord]) -> Result<&'s SetRecord> {
        let name = |set: &SetRecord| self.identity_of(set).map(|known| known.table);
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
        let columns = report.as_ref().map(|report| report.columns.clone());
        if let Some(report) = report {
            self.reported.add(report);
        }
        let found = FoundTable {
            identity: identity.clone(),
            columns: columns.unwrap_or_default(),
            has_no_overlap: set.options.get("no_overlap").and_then(Value::as_bool),
            routing: set.options.pointer("/target/routing").cloned(),
            only_chunks: set.options.get("only_chunks").cloned(),
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
        if found.only_chunks != table.only_chunks {
            let word = |only: &Option<Value>| match only {
                Some(only) => only.to_string(),
                None => "all".to_owned(),
            };
            let (found, expected) = (word(&found.only_chunks), word(&table.only_chunks));
            return Err(differs(
                root,
                "list of chunks (--only-chunks)",
                &found,
                &expected,
            ));
        }
        if let (Some(found), Some(expected)) = (&found.routing, &table.routing)
            && found != expected
        {
            let (found, expected) = (found.to_string(), expected.to_string());
            return Err(differs(root, "way of sorting rows", &found, &expected));
        }
        Ok(())
    }

    /// Finds chunk files and indexes of a folder without a record.
    fn list(&mut self, folder: &Path, relative: &str, listing: &mut Listing) -> Result<()> {
        self.enter(folder, false)?;
        self.list_inner(folder, relative, listing)
    }

    fn list_inner(&mut self, folder: &Path, relative: &str, listing: &mut Listing) -> Result<()> {
        let reading = |error| Error::reading(folder, error);
        for entry in fs::read_dir(folder).map_err(reading)? {
            let entry = entry.map_err(reading)?;
            let (path, name) = (entry.path(), entry.file_name());
            let metadata = match fs::metadata(&path) {
                // A link that leads nowhere is nothing.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                found => found.map_err(|error| Error::reading(&path, error))?,
            };
            let is_ours = name.as_bytes().strip_prefix(self.prefix.as_bytes());
            let is_ours = is_ours.is_some_and(|rest| rest.starts_with(b"_"));
            let Some(name) = name.to_str() else {
                match metadata.is_dir() || is_ours {
                    true => return Err(no_text(&path)),
                    false => continue,
                }
            };
            if name.starts_with('.') {
                continue;
            }
            let below = format!("{relative}{name}");
            if metadata.is_dir() {
                match is_inner_folder(name) {
                    true => self.list(&path, &format!("{below}/"), listing)?,
                    false => listing.folders.push(path),
                }
            } else if is_ours {
                let role = self.role_of(name).filter(|_| metadata.is_file());
                let role = role.ok_or_else(|| self.no_chunk_file(&path))?;
                listing.files.push((below, role, metadata.len()));
            }
        }
        Ok(())
    }

    /// Returns what a file is by its name.
    fn role_of(&self, name: &str) -> Option<Role> {
        let chunk = chunk_of_name(self.prefix, name);
        let role = chunk.map(|(chunk, is_overlap)| Role::Chunk(chunk, is_overlap));
        role.or_else(|| Role::of_index(name))
    }

    fn no_chunk_file(&self, path: &Path) -> Error {
        let prefix = self.prefix;
        Error::usage("is called like a chunk's file, but is none")
            .at(Place::file(path.display().to_string()))
            .hint(format!(
                "names must be {prefix}_<number>.txt or {prefix}_<number>_overlap.txt; rename it, or \
                 move it away"
            ))
    }
}

/// Says whether a folder holds files of the folder that it lies in: those of a node, or further parts.
fn is_inner_folder(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match name.strip_prefix("node_") {
        Some(node) => node.len() == 5 && is_number(node),
        None => name.len() == 3 && is_number(name),
    }
}

fn no_text(path: &Path) -> Error {
    let name = path.as_os_str().as_bytes().escape_ascii();
    Error::usage(format!("the name '{name}' is not UTF-8")).hint("rename it, or move it away")
}

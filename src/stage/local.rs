//! Staging to a local or shared file system: checked copies, published as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::json;

use super::collect::{SourceFile, SourceTable, collect};
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::{FileDigest, FileSummary};
use crate::manifest::{MANIFEST_FILE, Manifest};
use crate::pipeline::{Events, Outlook, PassOutlook, Replace, TableOutlook, check_writable};
use crate::publish::{
    FolderOptions, InputStamp, OutputFolder, Publication, Record, SetRecord, SetState,
    StandingFiles, append, create_folders,
};
use crate::schema::TableKind;
use crate::source::{Input, InputFormat, InputName};
use crate::values::Charset;

const COPY_BYTES: usize = 1 << 20;

/// What is not known of files that no record describes.
#[derive(Debug, Clone)]
pub struct TableHints {
    /// Name of the database.
    pub database: Option<String>,
    /// Name of the table; it also renames a recorded one.
    pub table: Option<String>,
    /// What the table is to Qserv.
    pub kind: Option<TableKind>,
    /// Dialect of the text.
    pub dialect: Dialect,
    /// Encoding of the text.
    pub charset: Charset,
}

/// What is staged, and where.
#[derive(Debug, Clone)]
pub struct StageOptions {
    /// Output folders of `partition` and `run`, other folders, or files.
    pub sources: Vec<PathBuf>,
    /// Folder below which the databases' folders are made.
    pub dest: PathBuf,
    /// What no record tells.
    pub hints: TableHints,
    /// What to do with tables that were staged from something else.
    pub replace: Replace,
    /// How the destination is opened and written.
    pub folder: FolderOptions,
}

/// What was staged.
#[derive(Debug)]
pub struct StageOutcome {
    /// Files that stand, indexes included.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether there was anything to do.
    pub is_unchanged: bool,
    /// The manifests, one per database.
    pub manifests: Vec<PathBuf>,
    /// The files that were or had been copied.
    pub inputs: Vec<Input>,
}

/// Stages files into a folder; each is digested while it is copied and compared with its record.
///
/// # Errors
/// A source is missing, differs from its record, or the folder may not be written; nothing is
/// published then.
pub fn stage(options: &StageOptions, events: &dyn Events) -> Result<StageOutcome> {
    let (tables, mut stamps) = look_at_sources(options)?;
    let inputs = tables
        .keys()
        .flat_map(|name| inputs_of(&tables, &stamps, name))
        .collect();
    let mut record = OutputFolder::peek(&options.dest)?;
    let mut missing = missing_tables(options, &tables, &stamps, record.as_ref())?;
    let is_unchanged = missing.is_empty();
    if is_unchanged {
        OutputFolder::tidy(&options.dest, options.folder);
    } else {
        let mut folder = OutputFolder::open(&options.dest, options.folder)?;
        missing = missing_tables(options, &tables, &stamps, Some(folder.record()))?;
        let mut sets = BTreeMap::new();
        for name in &missing {
            if let (Some(table), Some(inputs)) = (tables.get(name), stamps.remove(name)) {
                sets.insert(set_name(table), copy_table(table, inputs, &folder, events)?);
            }
        }
        let outdated: Vec<String> = databases(&tables)
            .iter()
            .map(|name| format!("{name}/{MANIFEST_FILE}"))
            .collect();
        folder.publish(Publication {
            sets,
            outdated,
            dropped: Vec::new(),
            standing: StandingFiles::Replaced,
        })?;
        folder.clear_staging()?;
        record = Some(folder.into_record());
    }
    let record = record.unwrap_or_default();
    let manifests = write_manifests(options, &tables, &record)?;
    let staged: Vec<&FileSummary> = tables
        .values()
        .filter_map(|table| record.sets.get(&set_name(table)))
        .flat_map(|set| &set.files)
        .collect();
    Ok(StageOutcome {
        files: staged.len() as u64,
        bytes: staged.iter().map(|file| file.bytes).sum(),
        is_unchanged,
        manifests,
        inputs,
    })
}

type Tables = BTreeMap<String, SourceTable>;
type Stamps = BTreeMap<String, Vec<InputStamp>>;

/// Finds the tables in the sources, and size and time of their files.
fn look_at_sources(options: &StageOptions) -> Result<(Tables, Stamps)> {
    refuse_own_folder(options)?;
    let tables = collect(options)?;
    let mut stamps = BTreeMap::new();
    for (name, table) in &tables {
        let of_table: Result<Vec<InputStamp>> = table
            .files
            .par_iter()
            .map(|file| InputStamp::of(&file.path))
            .collect();
        stamps.insert(name.clone(), of_table?);
    }
    Ok((tables, stamps))
}

fn inputs_of(tables: &Tables, stamps: &Stamps, name: &str) -> Vec<Input> {
    let files = tables.get(name).into_iter().flat_map(|table| &table.files);
    let stamps = stamps.get(name).into_iter().flatten();
    let input = |(file, stamp): (&SourceFile, &InputStamp)| Input {
        name: InputName::File(file.path.clone()),
        format: InputFormat::Text,
        stamp: Some(stamp.clone()),
        unreadable: None,
    };
    files.zip(stamps).map(input).collect()
}

/// Says what [`stage`] would do, and touches nothing.
///
/// # Errors
/// A source is missing or is no table.
pub fn foresee(options: &StageOptions) -> Result<Outlook> {
    let (tables, stamps) = look_at_sources(options)?;
    let record = OutputFolder::peek(&options.dest)?.unwrap_or_default();
    let missing = missing_tables(options, &tables, &stamps, Some(&record));
    let passes = tables.iter().map(|(name, table)| {
        let set = set_name(table);
        let own = stamps.get(name).map(Vec::as_slice).unwrap_or_default();
        let state = record.state_of(&options.dest, &set, &options_of(table), own);
        let table = TableOutlook {
            table: set,
            state: state.into(),
            columns: Vec::new(),
        };
        PassOutlook {
            inputs: inputs_of(&tables, &stamps, name),
            tables: vec![table],
        }
    });
    let passes = passes.collect();
    let refusal = match missing {
        Ok(missing) if missing.is_empty() => None,
        Ok(_) => check_writable(&options.dest).err(),
        Err(error) => Some(error),
    };
    Ok(Outlook { passes, refusal })
}

/// Refuses to stage a folder into itself.
fn refuse_own_folder(options: &StageOptions) -> Result<()> {
    let Ok(dest) = options.dest.canonicalize() else {
        return Ok(());
    };
    for source in &options.sources {
        if source
            .canonicalize()
            .is_ok_and(|path| path.starts_with(&dest))
        {
            return Err(Error::usage("the source lies in the destination")
                .at(Place::file(source.display().to_string()))
                .hint("name another destination"));
        }
    }
    Ok(())
}

fn set_name(table: &SourceTable) -> String {
    let database = table.identity.database.as_deref().unwrap_or_default();
    format!("{database}.{}", table.identity.table)
}

fn databases(tables: &BTreeMap<String, SourceTable>) -> BTreeSet<&str> {
    tables
        .values()
        .filter_map(|table| table.identity.database.as_deref())
        .collect()
}

/// Returns the names of the tables that do not stand yet.
fn missing_tables(
    options: &StageOptions,
    tables: &BTreeMap<String, SourceTable>,
    stamps: &BTreeMap<String, Vec<InputStamp>>,
    record: Option<&Record>,
) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for (name, table) in tables {
        let set = set_name(table);
        let inputs = stamps.get(name).map(Vec::as_slice).unwrap_or_default();
        let state = record.map_or(SetState::Absent, |record| {
            record.state_of(&options.dest, &set, &options_of(table), inputs)
        });
        match state {
            SetState::Complete => {}
            SetState::Different if options.replace == Replace::No => {
                return Err(Error::new(
                    ErrorKind::OutputRefused,
                    format!("{set} stands here already, staged from other files"),
                )
                .at(Place::file(options.dest.display().to_string()))
                .hint("choose another destination, or replace it with --force"));
            }
            _ => missing.push(name.clone()),
        }
    }
    Ok(missing)
}

fn options_of(table: &SourceTable) -> serde_json::Value {
    json!({"command": "stage", "identity": table.identity})
}

fn copy_table(
    table: &SourceTable,
    inputs: Vec<InputStamp>,
    folder: &OutputFolder,
    events: &dyn Events,
) -> Result<SetRecord> {
    let database = table.identity.database.as_deref().unwrap_or_default();
    let prefix = format!("{database}/{}/", table.identity.table);
    let files: Result<Vec<FileSummary>> = table
        .files
        .par_iter()
        .map(|file| {
            let path = format!("{prefix}{}", file.name);
            let copied = copy_file(file, path, folder)?;
            events.advance(copied.bytes, copied.rows);
            Ok(copied)
        })
        .collect();
    Ok(SetRecord {
        identity: Some(table.identity.clone()),
        options: options_of(table),
        inputs,
        files: files?,
        report: serde_json::Value::Null,
    })
}

fn copy_file(file: &SourceFile, path: String, folder: &OutputFolder) -> Result<FileSummary> {
    let staged = folder.staged(&path)?;
    let mut from = File::open(&file.path).map_err(|error| Error::reading(&file.path, error))?;
    let mut to = append(&staged)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut digest = FileDigest::default();
    let mut last = b'\n';
    loop {
        let read = from
            .read(&mut buffer)
            .map_err(|error| Error::reading(&file.path, error))?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        to.write_all(bytes)
            .map_err(|error| Error::writing(&staged, error))?;
        digest.update(bytes);
        // No output for Qserv holds a raw LF inside a row.
        digest.add_rows(memchr::memchr_iter(b'\n', bytes).count() as u64);
        last = bytes.last().copied().unwrap_or(last);
    }
    if last != b'\n' {
        digest.add_rows(1);
    }
    let mut summary = digest.finish(path, file.chunk, file.is_overlap);
    if let Some(recorded) = &file.recorded {
        if recorded.xxh3 != summary.xxh3 || recorded.bytes != summary.bytes {
            return Err(changed(&file.path, recorded, &summary));
        }
        summary.rows = recorded.rows;
    }
    Ok(summary)
}

fn changed(path: &Path, recorded: &FileSummary, found: &FileSummary) -> Error {
    Error::new(
        ErrorKind::Integrity,
        format!(
            "found {} bytes with XXH3 {}, the record says {} bytes with {}",
            found.bytes, found.xxh3, recorded.bytes, recorded.xxh3
        ),
    )
    .at(Place::file(path.display().to_string()))
    .hint("the file was changed after it was made; make it again")
}

/// Writes the manifest of each database, unless it stands already.
fn write_manifests(
    options: &StageOptions,
    tables: &BTreeMap<String, SourceTable>,
    record: &Record,
) -> Result<Vec<PathBuf>> {
    let root =
        std::path::absolute(&options.dest).map_err(|error| Error::writing(&options.dest, error))?;
    let mut paths = Vec::new();
    for database in databases(tables) {
        let mut manifest = Manifest::new(database);
        for set in record.sets.values() {
            if let Some(identity) = set
                .identity
                .as_ref()
                .filter(|known| known.database.as_deref() == Some(database))
            {
                manifest.add_local(&root, identity, &set.files);
            }
        }
        let path = options.dest.join(database).join(MANIFEST_FILE);
        if !manifest.stands_at(&path)? {
            // Tables without any row have no files, and so no folder.
            create_folders(path.parent().unwrap_or(Path::new("")))?;
            manifest.write(&path, options.folder.sync)?;
        }
        paths.push(path);
    }
    Ok(paths)
}

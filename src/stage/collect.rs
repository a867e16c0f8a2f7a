//! Finds what is to be staged: recorded output folders, or files by their names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::options::{StageOptions, TableHints};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::{ChunkNames, FileSummary, chunk_of_name};
use crate::publish::{OutputFolder, TableIdentity};
use crate::schema::{TableKind, check_name};

/// A file to be staged.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    /// Name in the table's folder.
    pub(crate) name: String,
    pub(crate) chunk: Option<i32>,
    pub(crate) is_overlap: bool,
    /// What the record says of it.
    pub(crate) recorded: Option<FileSummary>,
}

/// A table to be staged.
#[derive(Debug)]
pub(super) struct SourceTable {
    pub(super) identity: TableIdentity,
    pub(super) files: Vec<SourceFile>,
}

/// Collects the tables of all sources, by name.
pub(super) fn collect(options: &StageOptions) -> Result<BTreeMap<String, SourceTable>> {
    let mut tables = BTreeMap::new();
    for source in &options.sources {
        let metadata = std::fs::metadata(source).map_err(|error| Error::reading(source, error))?;
        if !metadata.is_dir() && !metadata.is_file() {
            return Err(Error::usage("is neither a file nor a folder")
                .at(Place::file(source.display().to_string()))
                .hint("stage files; what comes from a pipe has to be written first"));
        }
        if !metadata.is_dir() {
            add_files(vec![source.clone()], &options.hints, &mut tables)?;
            continue;
        }
        match OutputFolder::peek_settled(source)? {
            Some(record) if !record.sets.is_empty() => {
                let tables_there = record.sets.values().filter(|set| set.identity.is_some());
                if options.hints.table.is_some() && tables_there.count() > 1 {
                    return Err(Error::usage(
                        "has several tables, which can't all be called what --table says",
                    )
                    .at(Place::file(source.display().to_string()))
                    .hint("leave --table out"));
                }
                for set in record.sets.values() {
                    let Some(identity) = &set.identity else {
                        continue;
                    };
                    add_recorded(source, identity, &set.files, &options.hints, &mut tables)?;
                }
            }
            _ => add_files(files_in(source)?, &options.hints, &mut tables)?,
        }
    }
    for table in tables.values_mut() {
        name_parts(table);
    }
    Ok(tables)
}

fn add_recorded(
    root: &Path,
    identity: &TableIdentity,
    files: &[FileSummary],
    hints: &TableHints,
    tables: &mut BTreeMap<String, SourceTable>,
) -> Result<()> {
    let mut identity = identity.clone();
    if let Some(table) = &hints.table {
        identity.table.clone_from(table);
    }
    identity.database = hints.database.clone().or(identity.database);
    let table = entry(&identity, tables)?;
    for file in files {
        let path = file.path();
        if path.ends_with(".parquet") && file.chunk().is_some() {
            let message = "is Parquet, which Qserv's ingest does not take";
            return Err(Error::usage(message)
                .at(Place::file(root.join(&*path).display().to_string()))
                .hint("partition without --to parquet"));
        }
        table.files.push(SourceFile {
            path: root.join(&*path),
            name: path[file.folder().len()..].to_owned(),
            chunk: file.chunk(),
            is_overlap: file.is_overlap(),
            recorded: Some(file.clone()),
        });
    }
    Ok(())
}

fn add_files(
    paths: Vec<PathBuf>,
    hints: &TableHints,
    tables: &mut BTreeMap<String, SourceTable>,
) -> Result<()> {
    let (Some(table), Some(kind)) = (&hints.table, hints.kind) else {
        let shown = paths
            .first()
            .map_or_else(String::new, |path| path.display().to_string());
        return Err(Error::usage("no record says what these files are")
            .at(Place::file(shown))
            .hint("say --database, --table and --kind"));
    };
    let identity = TableIdentity {
        table: table.clone(),
        database: hints.database.clone(),
        kind,
        partitioning: None,
        dialect: hints.dialect.clone(),
        charset: hints.charset,
    };
    let target = entry(&identity, tables)?;
    for path in paths {
        let name = path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        let place = chunk_of_name(ChunkNames::PREFIX, &name);
        if kind.is_partitioned() && place.is_none() {
            return Err(Error::usage("not a chunk file")
                .at(Place::file(path.display().to_string()))
                .hint("names must be chunk_<number>.txt or chunk_<number>_overlap.txt"));
        }
        let (chunk, is_overlap) = match place.filter(|_| kind.is_partitioned()) {
            Some((chunk, is_overlap)) => (Some(chunk), is_overlap),
            None => (None, false),
        };
        target.files.push(SourceFile {
            path,
            name,
            chunk,
            is_overlap,
            recorded: None,
        });
    }
    Ok(())
}

fn entry<'t>(
    identity: &TableIdentity,
    tables: &'t mut BTreeMap<String, SourceTable>,
) -> Result<&'t mut SourceTable> {
    let Some(database) = &identity.database else {
        return Err(
            Error::usage(format!("table {}: no database is known", identity.table))
                .hint("say --database NAME"),
        );
    };
    check_name("database", database)?;
    check_name("table", &identity.table)?;
    if let Some(reason) = identity.dialect.refusal_by_qserv() {
        return Err(Error::usage(format!(
            "table {}: Qserv can't load this dialect: {reason}",
            identity.table
        )));
    }
    let name = format!("{database}.{}", identity.table);
    let table = tables.entry(name).or_insert_with(|| SourceTable {
        identity: identity.clone(),
        files: Vec::new(),
    });
    if table.identity != *identity {
        return Err(Error::usage(format!(
            "table {} comes twice, with different dialects or partitionings",
            identity.table
        )));
    }
    Ok(table)
}

/// Gives every file its name below the table's folder: parts of the same name go into `000/` ...
fn name_parts(table: &mut SourceTable) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for file in &mut table.files {
        if table.identity.kind == TableKind::Regular {
            file.name = format!("{}.txt", table.identity.table);
        }
        let parts = seen.entry(file.name.clone()).or_default();
        if *parts > 0 {
            file.name = format!("{:03}/{}", *parts - 1, file.name);
        }
        *parts += 1;
    }
}

/// Finds the data files of a folder without a record, and of those in it, by name.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).map_err(|error| Error::reading(&next, error))? {
            let path = entry.map_err(|error| Error::reading(&next, error))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            let is_text = path.extension().is_some_and(|ending| ending == "txt");
            let metadata = match std::fs::metadata(&path) {
                // A link that leads nowhere matters if it is called like data.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_text => continue,
                found => found.map_err(|error| Error::reading(&path, error))?,
            };
            if metadata.is_dir() {
                if is_text && name.starts_with("chunk_") {
                    return Err(Error::usage("is a folder, but called like a chunk file")
                        .at(Place::file(path.display().to_string()))
                        .hint("rename it, or move it away"));
                }
                folders.push(path);
                continue;
            }
            // The director index is for other tools; Qserv makes its own.
            let is_index = name.ends_with("_object_index.txt");
            let is_text = is_text && !is_index;
            let is_odd = path.extension() != Some("bin".as_ref()) && !is_index;
            if !is_text && name.starts_with("chunk_") && is_odd {
                return Err(
                    Error::usage("is called like a chunk, but does not end in .txt")
                        .at(Place::file(path.display().to_string()))
                        .hint("Qserv wants chunk_<number>.txt; rename it, or move it away"),
                );
            }
            if is_text && !metadata.is_file() {
                return Err(Error::usage("is no file, but called like one")
                    .at(Place::file(path.display().to_string()))
                    .hint("stage files; what comes from a pipe has to be written first"));
            }
            if is_text {
                files.push(path);
            }
        }
    }
    if files.is_empty() {
        return Err(
            Error::new(ErrorKind::InputMissing, "no .txt file in this folder")
                .at(Place::file(folder.display().to_string())),
        );
    }
    files.sort();
    Ok(files)
}

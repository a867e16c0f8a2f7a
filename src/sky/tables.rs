//! What a folder, a manifest or a report tells of the chunks of tables.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Place, Result};
use crate::manifest::{Lines, MANIFEST_FILE};
use crate::partition::Partitioning;
use crate::pipeline::{ESTIMATE_FORMAT, Estimate};
use crate::publish::{OutputFolder, STATE_FOLDER};
use crate::schema::TableKind;

/// Rows and bytes of one chunk of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChunkLoad {
    /// Rows of its own.
    pub rows: u64,
    /// Overlap rows.
    pub overlap_rows: u64,
    /// Bytes, those of the overlap included.
    pub bytes: u64,
}

/// A partitioned table and its chunks.
#[derive(Debug, Clone, PartialEq)]
pub struct SkyTable {
    /// Its name.
    pub name: String,
    /// What it is to Qserv.
    pub kind: TableKind,
    /// How the sky is divided.
    pub partitioning: Partitioning,
    /// What each chunk has, by its number; chunks without a file have nothing.
    pub chunks: BTreeMap<i32, ChunkLoad>,
}

/// The partitioned tables that were found, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct SkyTables {
    /// Name of the database, if it is known.
    pub database: Option<String>,
    /// The tables.
    pub tables: Vec<SkyTable>,
}

/// Reads the tables of a folder that `partition`, `run` or `stage` has filled, of a manifest, of the
/// report that lies beside one of these, or of an estimate; `-` is a manifest on stdin.
///
/// # Errors
/// Nothing is there that tells of chunks, or it can't be read.
pub fn read_tables(path: &Path) -> Result<SkyTables> {
    if path == Path::new("-") {
        return of_manifest(BufReader::new(io::stdin()), "stdin");
    }
    let metadata = std::fs::metadata(path).map_err(|error| Error::reading(path, error))?;
    let found = match metadata.is_dir() {
        true => of_folder(path)?,
        false => match kind_of(path)? {
            Kind::Report => of_report(path)?,
            Kind::Estimate => of_estimate(path)?,
            Kind::Manifest => Some(of_manifest_file(path)?),
        },
    };
    let nothing = "expected what partition, run or stage has made: a folder, a manifest, or the \
                   report beside them; or what estimate --json tells";
    match found {
        Some(found) if !found.tables.is_empty() => Ok(found),
        Some(_) => Err(
            Error::new(ErrorKind::DataRefused, "has no partitioned table with rows")
                .at(Place::file(path.display().to_string()))
                .hint(nothing),
        ),
        None => Err(Error::usage("tells of no chunks")
            .at(Place::file(path.display().to_string()))
            .hint(nothing)),
    }
}

/// What a file is that tells of chunks.
enum Kind {
    Report,
    Estimate,
    Manifest,
}

/// Looks at the beginning of a file: reports and estimates say what they are.
fn kind_of(path: &Path) -> Result<Kind> {
    use std::io::Read;
    let mut head = Vec::new();
    let file = File::open(path).map_err(|error| Error::reading(path, error))?;
    let read = file.take(256).read_to_end(&mut head);
    read.map_err(|error| Error::reading(path, error))?;
    let head = String::from_utf8_lossy(&head);
    let says = |format: &str| head.contains(&format!("\"{format}\""));
    Ok(match says("skyprep-report") {
        true => Kind::Report,
        false if says(ESTIMATE_FORMAT) => Kind::Estimate,
        false => Kind::Manifest,
    })
}

fn of_estimate(path: &Path) -> Result<Option<SkyTables>> {
    let bytes = std::fs::read(path).map_err(|error| Error::reading(path, error))?;
    let estimate = Estimate::from_bytes(&bytes)
        .map_err(|error| error.at(Place::file(path.display().to_string())))?;
    let Some(partitioning) = estimate.partitioning else {
        return Ok(None);
    };
    let chunks = estimate.chunks.iter().map(|chunk| {
        let load = ChunkLoad {
            rows: chunk.rows,
            overlap_rows: chunk.overlap_rows,
            bytes: chunk.bytes,
        };
        (chunk.chunk, load)
    });
    Ok(Some(SkyTables {
        database: None,
        tables: vec![SkyTable {
            chunks: chunks.collect(),
            name: estimate.table,
            kind: estimate.kind,
            partitioning,
        }],
    }))
}

/// Reads what lies where a report does, for reports don't tell of single chunks.
fn of_report(path: &Path) -> Result<Option<SkyTables>> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let is_state = folder.file_name().is_some_and(|name| name == STATE_FOLDER);
    match folder.parent().filter(|_| is_state) {
        Some(root) => of_folder(root),
        None => of_folder(folder),
    }
}

fn of_folder(folder: &Path) -> Result<Option<SkyTables>> {
    let manifest = folder.join(MANIFEST_FILE);
    if manifest.is_file() {
        return of_manifest_file(&manifest).map(Some);
    }
    if let Some(record) = OutputFolder::peek(folder)? {
        let mut all = Collected::default();
        for set in record.sets.values() {
            let Some(identity) = &set.identity else {
                continue;
            };
            all.database = all.database.or_else(|| identity.database.clone());
            let Some(partitioning) = identity.partitioning else {
                continue;
            };
            for file in set.loaded() {
                let Some(chunk) = file.chunk() else { continue };
                let table = (identity.table.as_str(), identity.kind, partitioning);
                all.add(table, chunk, (file.is_overlap(), file.rows, file.bytes));
            }
        }
        return Ok(Some(all.finish()));
    }
    // The folder that databases are staged into: one of them is meant if there is but one.
    let mut manifests: Vec<PathBuf> = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(|error| Error::reading(folder, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| Error::reading(folder, error))?;
        let manifest = entry.path().join(MANIFEST_FILE);
        if manifest.is_file() {
            manifests.push(manifest);
        }
    }
    match manifests.as_slice() {
        [] => Ok(None),
        [manifest] => of_manifest_file(manifest).map(Some),
        _ => Err(Error::usage("has several databases")
            .at(Place::file(folder.display().to_string()))
            .hint("name the folder of one of them")),
    }
}

fn of_manifest_file(path: &Path) -> Result<SkyTables> {
    let file = File::open(path).map_err(|error| Error::reading(path, error))?;
    of_manifest(BufReader::new(file), &path.display().to_string())
}

fn of_manifest(reader: impl io::BufRead, name: &str) -> Result<SkyTables> {
    let lines = Lines::new(reader, name)?;
    let header = lines.header();
    let mut all = Collected {
        database: Some(header.database.clone()),
        ..Collected::default()
    };
    let partitioning = header.partitioning;
    for line in lines {
        let line = line?;
        if let (Some(partitioning), Some(chunk)) = (partitioning, line.chunk) {
            let table = (line.table.as_str(), line.kind, partitioning);
            all.add(table, chunk, (line.overlap, line.rows, line.bytes));
        }
    }
    Ok(all.finish())
}

/// Tables whose files come one after another.
#[derive(Default)]
struct Collected {
    database: Option<String>,
    tables: BTreeMap<String, SkyTable>,
}

impl Collected {
    /// Adds a file: whether it is overlap, its rows and bytes.
    fn add(
        &mut self,
        (name, kind, partitioning): (&str, TableKind, Partitioning),
        chunk: i32,
        (is_overlap, rows, bytes): (bool, u64, u64),
    ) {
        if !self.tables.contains_key(name) {
            let table = SkyTable {
                name: name.to_owned(),
                kind,
                partitioning,
                chunks: BTreeMap::new(),
            };
            self.tables.insert(name.to_owned(), table);
        }
        let Some(table) = self.tables.get_mut(name) else {
            return;
        };
        let load = table.chunks.entry(chunk).or_default();
        load.bytes = load.bytes.saturating_add(bytes);
        let sum = match is_overlap {
            true => &mut load.overlap_rows,
            false => &mut load.rows,
        };
        *sum = sum.saturating_add(rows);
    }

    fn finish(self) -> SkyTables {
        SkyTables {
            database: self.database,
            tables: self.tables.into_values().collect(),
        }
    }
}

//! Finds the definition of a table in a folder of them, or in one file.

use std::path::{Path, PathBuf};

use super::table::TableSchema;
use crate::error::{Error, ErrorKind, Place, Result};

/// A definition and where it was found.
#[derive(Debug)]
pub struct Definition {
    /// What the table is.
    pub schema: TableSchema,
    /// The file that says so.
    pub file: PathBuf,
}

/// Reads the definition of `table` from the folder or file `path`.
///
/// # Errors
/// There is none, or it defines no table.
pub fn definition_of(path: &Path, table: &str) -> Result<Definition> {
    if !path.is_dir() {
        let schema = TableSchema::read_for(path, table)?;
        let other = schema.table.as_deref().filter(|name| !is_same(name, table));
        if let Some(other) = other {
            return Err(missing(path, table).add_message(&format!("; it defines {other}")));
        }
        return Ok(Definition {
            schema,
            file: path.to_owned(),
        });
    }
    let files = files_in(path)?;
    let wanted = [table.to_owned(), format!("table_{table}")];
    let by_name = files.iter().find(|file| {
        let stem = file.file_stem().and_then(|stem| stem.to_str());
        stem.is_some_and(|stem| wanted.iter().any(|name| is_same(name, stem)))
    });
    if let Some(file) = by_name {
        return Ok(Definition {
            schema: TableSchema::read_for(file, table)?,
            file: file.clone(),
        });
    }
    // Other JSON lies there too: databases, indexes. What is no table is passed over.
    for file in files {
        if let Ok(schema) = TableSchema::read_for(&file, table)
            && schema
                .table
                .as_deref()
                .is_some_and(|name| is_same(name, table))
        {
            return Ok(Definition { schema, file });
        }
    }
    Err(missing(path, table))
}

/// Qserv does not tell case apart.
fn is_same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let reading = |error| Error::reading(folder, error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(reading)? {
        let path = entry.map_err(reading)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if matches!(ending, Some("json" | "yaml" | "yml")) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn missing(path: &Path, table: &str) -> Error {
    Error::new(
        ErrorKind::InputMissing,
        format!("there is no definition of table {table} here"),
    )
    .at(Place::file(path.display().to_string()))
    .hint(format!(
        "name a folder that holds {table}.json with --tables, or make it with skyprep schema"
    ))
}

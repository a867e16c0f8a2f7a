//! Indexes that are made when all is published, as files specify them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::registration::Registration;
use crate::error::{Error, Place, Result};
use crate::schema::TableKind;

const SPECS: [&str; 4] = ["DEFAULT", "UNIQUE", "FULLTEXT", "SPATIAL"];

/// Reads specifications; each becomes the body of a call.
///
/// # Errors
/// A file can't be read, or the service would refuse what it says.
pub(super) fn read(
    files: &[PathBuf],
    database: &str,
    tables: &[Registration],
) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for path in files {
        let text = std::fs::read(path).map_err(|error| Error::reading(path, error))?;
        let spec = checked(&text, database, tables);
        all.push(spec.map_err(|error| error.at(shown(path)))?);
    }
    Ok(all)
}

fn shown(path: &Path) -> Place {
    Place::file(path.display().to_string())
}

fn checked(text: &[u8], database: &str, tables: &[Registration]) -> Result<Value> {
    let no_index = |reason: &str| {
        Error::usage(format!("not the specification of an index: {reason}")).hint(
            "expected {\"table\", \"index\", \"spec\", \"columns\": [{\"column\", \"length\", \
             \"ascending\"}]}",
        )
    };
    let mut spec: Value =
        serde_json::from_slice(text).map_err(|error| no_index(&error.to_string()))?;
    let Some(body) = spec.as_object_mut() else {
        return Err(no_index("it is no object"));
    };
    body.retain(|key, _| !key.ends_with("auth_key") && key != "version");
    body.insert("database".into(), json!(database));
    let table = body.get("table").and_then(Value::as_str);
    let table = table.ok_or_else(|| no_index("it names no table"))?;
    let table = tables
        .iter()
        .find(|known| known.name == table)
        .ok_or_else(|| Error::usage(format!("the manifest has no table {table}")))?;
    if body.get("index").and_then(Value::as_str).is_none() {
        return Err(no_index("it names no index"));
    }
    let kind = body.get("spec").and_then(Value::as_str);
    if !kind.is_some_and(|kind| SPECS.contains(&kind)) {
        return Err(no_index(&format!(
            "spec must be one of {}",
            SPECS.join(", ")
        )));
    }
    let is_overlap = body
        .get("overlap")
        .is_some_and(|flag| flag.as_f64() != Some(0.0));
    if is_overlap && table.kind != TableKind::Director {
        return Err(Error::usage("only directors have overlap tables"));
    }
    let columns = body.get("columns").and_then(Value::as_array);
    let columns = columns.filter(|columns| !columns.is_empty());
    for column in columns.ok_or_else(|| no_index("it has no columns"))? {
        let name = column["column"].as_str();
        let name = name.ok_or_else(|| no_index("a column has no name"))?;
        if table.definition.schema.column(name).is_none() {
            return Err(Error::usage(format!(
                "table {} has no column {name}",
                table.name
            )));
        }
        if !column["length"].is_u64() || !column["ascending"].is_u64() {
            return Err(no_index(&format!(
                "column {name} needs length and ascending"
            )));
        }
    }
    Ok(spec)
}

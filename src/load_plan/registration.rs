//! A table as the ingest service is told of it, and what it would refuse.
//!
//! The service's own checks are in `DatabaseInfo::validate` and `HttpIngestModule` of lsst/qserv;
//! what they refuse is refused here, before anything is loaded.

use serde_json::{Value, json};

use crate::error::{Error, ErrorKind, Place, Result};
use crate::schema::Definition;
use crate::schema::{
    Refuser, SUB_CHUNK_COLUMN, TableKind, TableSchema, check_director_columns, check_name,
    check_together,
};

/// The service's default collation is of latin1; it is asked for whatever the character set.
const UTF8_COLLATION: &str = "utf8mb4_uca1400_ai_ci";
const LATIN1_COLLATION: &str = "latin1_swedish_ci";

/// A table that can be registered.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) name: String,
    pub(super) kind: TableKind,
    /// The body of the call, without the key.
    pub(super) body: Value,
    /// The file that defines it.
    pub(super) definition: Definition,
    /// Tables that must be there before.
    pub(super) directors: Vec<String>,
}

impl Registration {
    /// Checks a definition and makes the body out of it.
    ///
    /// `charsets` are those of the table's files.
    ///
    /// # Errors
    /// The service would refuse it; the message says what is missing or wrong.
    pub(super) fn new(
        database: &str,
        name: &str,
        kind: TableKind,
        mut definition: Definition,
        charsets: &[&str],
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let shown = definition.file.display().to_string();
        let at = |error: Error| error.at(Place::file(shown.clone()));
        let schema = &mut definition.schema;
        TableSchema::agreed_kind(Some(kind), Some(schema))
            .map_err(|error| at(error.add_message(&format!(" (table {name} of the manifest)"))))?;
        schema.kind = Some(kind);
        schema.database = Some(database.to_owned());
        schema.table = Some(name.to_owned());
        check_name("table", name)?;
        check_together(Some(database), name)?;
        check_keys(schema, name, kind).map_err(at)?;
        if kind == TableKind::Director {
            check_types(schema, name, warnings).map_err(at)?;
        }
        choose_charset(schema, name, charsets, warnings).map_err(at)?;
        // One place knows how a table is told to Qserv: that which writes table JSON.
        let body: Value = serde_json::from_str(&schema.to_json()).map_err(|error| {
            let message = format!("table {name}: the table JSON is not JSON: {error}");
            Error::new(ErrorKind::Internal, message)
        })?;
        let directors = match kind {
            TableKind::Child | TableKind::Match => {
                [&schema.director_table, &schema.director_table2]
                    .into_iter()
                    .flatten()
                    .cloned()
                    .collect()
            }
            TableKind::Director | TableKind::Regular => Vec::new(),
        };
        Ok(Self {
            name: name.to_owned(),
            kind,
            body,
            definition,
            directors,
        })
    }

    /// Returns the place of the table in the order of registration: directors come first.
    pub(super) fn rank(&self) -> u8 {
        match self.kind {
            TableKind::Director => 0,
            TableKind::Child => 1,
            TableKind::Match => 2,
            TableKind::Regular => 3,
        }
    }
}

/// Checks that what the kind of table needs is there.
fn check_keys(schema: &TableSchema, name: &str, kind: TableKind) -> Result<()> {
    let director = ("director_key", &schema.id);
    let position = [("longitude_key", &schema.ra), ("latitude_key", &schema.dec)];
    let needed: Vec<(&str, bool)> = match kind {
        TableKind::Regular => Vec::new(),
        TableKind::Director => [director]
            .into_iter()
            .chain(position)
            .map(|(key, value)| (key, value.is_some()))
            .collect(),
        TableKind::Child => vec![
            ("director_table", schema.director_table.is_some()),
            ("director_key", schema.id.is_some()),
        ],
        TableKind::Match => vec![
            ("director_table", schema.director_table.is_some()),
            ("director_key", schema.id.is_some()),
            ("director_table2", schema.director_table2.is_some()),
            ("director_key2", schema.id2.is_some()),
            ("flag", schema.flag.is_some()),
            ("ang_sep", schema.ang_sep.is_some()),
        ],
    };
    let lacking: Vec<&str> = needed
        .into_iter()
        .filter_map(|(key, is_there)| (!is_there).then_some(key))
        .collect();
    if !lacking.is_empty() {
        let message = format!(
            "table {name}: the definition of a {} table needs {}",
            kind.name(),
            lacking.join(", ")
        );
        return Err(Error::usage(message).hint(
            "add them to the table JSON; skyprep schema DEFINITION --kind ... -o FILE completes one",
        ));
    }
    if kind.is_partitioned() {
        check_columns(schema, name, kind)?;
    }
    match kind {
        TableKind::Child if schema.ra.is_some() != schema.dec.is_some() => {
            let message = format!("table {name}: one of longitude_key and latitude_key is missing");
            Err(Error::usage(message).hint("name both or none"))
        }
        TableKind::Match => check_match(schema, name),
        _ => Ok(()),
    }
}

/// Checks that the columns that the keys name are there.
fn check_columns(schema: &TableSchema, name: &str, kind: TableKind) -> Result<()> {
    let sub_chunk = Some(SUB_CHUNK_COLUMN.to_owned()).filter(|_| kind == TableKind::Director);
    let flag = schema.flag.clone().filter(|_| kind == TableKind::Match);
    let named = [
        ("director_key", &schema.id),
        ("director_key2", &schema.id2),
        ("longitude_key", &schema.ra),
        ("latitude_key", &schema.dec),
        ("flag", &flag),
        ("a director", &sub_chunk),
    ];
    for (key, column) in named {
        let Some(column) = column else { continue };
        // The service looks for the very name, with its case.
        if !schema.columns.iter().any(|known| known.name == *column) {
            let message =
                format!("table {name}: {key} needs the column {column}, which the schema lacks");
            return Err(Error::usage(message).hint("the service tells capital letters apart here"));
        }
    }
    Ok(())
}

fn check_match(schema: &TableSchema, name: &str) -> Result<()> {
    if schema.id == schema.id2 {
        let message = format!("table {name}: director_key and director_key2 name the same column");
        return Err(Error::usage(message).hint("the rows of a match need a column for each side"));
    }
    let distance = schema.ang_sep.as_ref().and_then(serde_json::Number::as_f64);
    if distance.is_none_or(|distance| distance <= 0.0) {
        return Err(Error::usage(format!(
            "table {name}: ang_sep must be above 0"
        )));
    }
    if schema.ra.is_some() || schema.dec.is_some() {
        let message =
            format!("table {name}: a match table may have no longitude_key or latitude_key");
        return Err(Error::usage(message).hint("leave them out: both sides have positions"));
    }
    Ok(())
}

/// Checks that sub-chunk tables can be made of the director's columns.
fn check_types(schema: &TableSchema, name: &str, warnings: &mut Vec<String>) -> Result<()> {
    for finding in check_director_columns(schema, false) {
        let message = format!("table {name}: {}", finding.message);
        if finding.refuser != Refuser::Documentation {
            return Err(Error::new(ErrorKind::DataRefused, message));
        }
        warnings.push(message);
    }
    Ok(())
}

/// Completes character set and collation: the service would take a collation of latin1 otherwise,
/// whatever the character set.
fn choose_charset(
    schema: &mut TableSchema,
    name: &str,
    charsets: &[&str],
    warnings: &mut Vec<String>,
) -> Result<()> {
    let is_utf8 = charsets.contains(&"utf8mb4");
    let chosen = match &schema.charset {
        Some(charset) => charset.clone(),
        None if is_utf8 => "utf8mb4".to_owned(),
        None => "latin1".to_owned(),
    };
    if is_utf8 && chosen == "latin1" {
        warnings.push(format!(
            "table {name} is latin1 and its files are utf8mb4: characters that latin1 lacks will \
             not load"
        ));
    }
    if schema.collation.is_none() {
        let collation = match chosen.as_str() {
            "utf8mb4" => UTF8_COLLATION,
            "latin1" => LATIN1_COLLATION,
            "binary" => "binary",
            other => {
                let message = format!(
                    "table {name}: charset_name is {other}, and there is no collation_name"
                );
                return Err(Error::usage(message)
                    .hint("add collation_name; the service would take one of latin1"));
            }
        };
        schema.collation = Some(collation.to_owned());
    }
    schema.charset = Some(chosen);
    Ok(())
}

/// The schema as the calls want it: a list of `{name, type}`.
pub(super) fn columns_json(schema: &TableSchema) -> Value {
    let column = |column: &crate::schema::ColumnDefinition| json!({"name": column.name, "type": column.declaration});
    schema.columns.iter().map(column).collect()
}

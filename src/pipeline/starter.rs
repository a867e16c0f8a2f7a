//! A pipeline file to start from, made of the table JSON files that a site has.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Place, Result};
use crate::partition::Partitioning;
use crate::schema::{TableKind, TableSchema, check_name};

/// What stands for a table's name in the pattern of its inputs.
const TABLE: &str = "{table}";

/// What a database consists of, as its definitions say.
#[derive(Debug)]
pub struct Starter {
    database: String,
    partitioning: Partitioning,
    tables: Vec<StarterTable>,
    /// Files of the folder that define no table, and why they don't.
    pub passed_over: Vec<String>,
}

#[derive(Debug)]
struct StarterTable {
    name: String,
    /// Name of its file in the folder.
    file: String,
    schema: TableSchema,
}

/// What Qserv's database JSON says.
#[derive(Deserialize)]
struct DatabaseJson {
    database: String,
    num_stripes: u32,
    num_sub_stripes: u32,
    overlap: f64,
}

impl Starter {
    /// Reads a folder of table JSON files, and the JSON with which Qserv registers their database.
    ///
    /// # Errors
    /// One of them can't be read, there is no table, or tables contradict each other.
    pub fn read(folder: &Path, database: &Path) -> Result<Self> {
        let text = std::fs::read(database).map_err(|error| Error::reading(database, error))?;
        let at_database = |error: Error| error.at(Place::file(database.display().to_string()));
        let known: DatabaseJson = serde_json::from_slice(&text).map_err(|error| {
            at_database(Error::usage(format!("not a database JSON: {error}"))).hint(
                "it is the JSON with which Qserv registers a database: database, num_stripes, \
                 num_sub_stripes, overlap",
            )
        })?;
        check_name("database", &known.database).map_err(at_database)?;
        let partitioning = Partitioning {
            stripes: known.num_stripes,
            sub_stripes: known.num_sub_stripes,
            overlap: known.overlap,
        };
        partitioning.chunker().map_err(at_database)?;
        let mut starter = Self {
            database: known.database,
            partitioning,
            tables: Vec::new(),
            passed_over: Vec::new(),
        };
        for path in json_files(folder)? {
            starter.add(&path)?;
        }
        if starter.tables.is_empty() {
            let reasons = starter.passed_over.join("; ");
            return Err(Error::usage("defines no table")
                .at(Place::file(folder.display().to_string()))
                .hint(format!(
                    "expected table JSON files, one per table: {reasons}"
                )));
        }
        starter.tables.sort_by_key(|table| {
            let rank = match table.schema.kind {
                Some(TableKind::Director) => 0,
                Some(TableKind::Child) => 1,
                Some(TableKind::Match) => 2,
                Some(TableKind::Regular) | None => 3,
            };
            (rank, table.name.clone())
        });
        Ok(starter)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let schema = match TableSchema::read(path) {
            Ok(schema) => schema,
            Err(error) if is_no_table(path) => {
                self.passed_over.push(format!("{file}: {}", error.reason()));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let at_file = |error: Error| error.at(Place::file(path.display().to_string()));
        if let Some(other) = schema
            .database
            .as_ref()
            .filter(|name| **name != self.database)
        {
            let message = format!("is of database {other}, not of {}", self.database);
            self.passed_over.push(format!("{file}: {message}"));
            return Ok(());
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = schema.table.clone().unwrap_or_else(|| stem.into_owned());
        check_name("table", &name).map_err(at_file)?;
        if let Some(known) = self.tables.iter().find(|table| table.name == name) {
            let message = format!("table {name} is defined by {} as well", known.file);
            return Err(at_file(Error::usage(message)));
        }
        self.tables.push(StarterTable { name, file, schema });
        Ok(())
    }

    /// Returns the number of tables.
    pub fn tables(&self) -> usize {
        self.tables.len()
    }

    /// Writes the pipeline file: tables are defined in the folder `tables`, relative to the file, their
    /// inputs are found by the pattern `inputs`, in which `{table}` stands for their names, and files go
    /// to `dest`.
    pub fn pipeline(&self, tables: &str, inputs: &str, dest: &str) -> String {
        let Partitioning {
            stripes,
            sub_stripes,
            overlap,
        } = self.partitioning;
        let mut text = String::new();
        let _ = write!(
            text,
            "# Prepares the tables of {database} for Qserv: `skyprep run` with the name of this file.\n\
             # All paths are relative to it.\n\
             #\n\
             # Look through the inputs of each product; then `skyprep run --dry-run` says what would be\n\
             # done. A product may feed several tables, and is read once for all of them.\n\n\
             [database]\nname = {name}\nstripes = {stripes}\nsub_stripes = {sub_stripes}\n\
             overlap = {overlap:?}            # degrees\ntables = {tables}            # kinds, keys and columns\n",
            database = self.database,
            name = quoted(&self.database),
            tables = quoted(tables),
        );
        for table in &self.tables {
            let name = &table.name;
            let _ = write!(
                text,
                "\n# {}\n\n[product.{name}]\ninputs = [{}]\n\n[table.{name}]\nproducts = [{}]\n",
                table.in_words(),
                quoted(&inputs.replace(TABLE, name)),
                quoted(name)
            );
            if let Some(kind) = table.schema.kind {
                let _ = writeln!(text, "kind = {}", quoted(kind.name()));
            }
            if table.file != format!("{name}.json") {
                let path = PathBuf::from(tables).join(&table.file);
                let _ = writeln!(text, "schema = {}", quoted(&path.display().to_string()));
            }
        }
        let _ = write!(text, "\n[stage]\ndest = {}\n", quoted(dest));
        text
    }
}

impl StarterTable {
    fn in_words(&self) -> String {
        let schema = &self.schema;
        let columns = schema.columns.len();
        let mut words = match (&schema.kind, &schema.director_table) {
            (Some(TableKind::Director), _) => format!("{}: a director", self.name),
            (Some(TableKind::Child), Some(director)) => {
                format!("{}: a child of {director}", self.name)
            }
            (Some(TableKind::Match), Some(director)) => {
                let second = schema.director_table2.as_ref().unwrap_or(director);
                format!("{}: matches of {director} and {second}", self.name)
            }
            (Some(kind), _) => format!("{}: {}", self.name, kind.name()),
            (None, _) => format!("{}: say its kind", self.name),
        };
        let _ = write!(words, ", {columns} columns");
        if let Some(id) = &schema.id {
            let _ = write!(words, ", key {id}");
        }
        if let (Some(ra), Some(dec)) = (&schema.ra, &schema.dec) {
            let _ = write!(words, ", position {ra}, {dec}");
        }
        // They stand in a comment of one line.
        words.escape_debug().to_string()
    }
}

/// Says whether a file is JSON of something else than a table, as that of the database is.
fn is_no_table(path: &Path) -> bool {
    let text = std::fs::read(path).unwrap_or_default();
    let json: serde_json::Result<serde_json::Value> = serde_json::from_slice(&text);
    json.is_ok_and(|json| json.get("schema").is_none())
}

/// Returns the files of a folder whose names end in `.json`, by name.
fn json_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let reading = |error| Error::reading(folder, error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(reading)? {
        let path = entry.map_err(reading)?.path();
        let is_json = path.extension().is_some_and(|ending| ending == "json");
        let is_hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if is_json && !is_hidden && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Writes a text as TOML takes it, whose escapes are those of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

//! A target table as a file defines it: Qserv's table JSON, or a table of a Felis file.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::declaration;
use super::felis::FelisFile;
use super::mysql_type::MysqlType;
use super::names::{check_column_name, check_reserved, check_together};
use crate::error::{Error, Place, Result};

/// The column that the ingest service itself puts in front of each row.
pub const TRANSACTION_COLUMN: &str = "qserv_trans_id";

/// What a table is to Qserv.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// Partitioned by its own position, with overlap and a key of its own.
    Director,
    /// Partitioned where its director's rows are; never overlap rows.
    Child,
    /// Not partitioned; every worker gets all of it.
    Regular,
    /// Pairs of rows of two directors; partitioned where these are.
    Match,
}

impl TableKind {
    /// Returns the name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Director => "director",
            Self::Child => "child",
            Self::Regular => "regular",
            Self::Match => "match",
        }
    }

    /// Says whether rows are routed to chunks.
    pub fn is_partitioned(self) -> bool {
        self != Self::Regular
    }
}

/// One column of the target table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnDefinition {
    /// Name of the column.
    pub name: String,
    /// Its type.
    pub mysql_type: MysqlType,
    /// Whether NULL is forbidden.
    pub is_not_null: bool,
    /// Whether the server computes it; the text then holds a NULL placeholder.
    pub is_generated: bool,
    /// The declaration as it was written, such as `INT UNSIGNED NOT NULL`.
    // What it decides stands above, so outputs need not be made again for another spelling.
    #[serde(skip)]
    pub declaration: String,
}

impl ColumnDefinition {
    /// Makes a column out of its declaration.
    ///
    /// # Errors
    /// The declaration starts with no type, or Qserv or MariaDB would not take the name.
    pub fn new(name: &str, declaration: &str) -> Result<Self> {
        check_column_name(name)?;
        let mysql_type = MysqlType::parse(declaration).ok_or_else(|| {
            Error::usage(format!(
                "column {name}: '{}' is not a MySQL type",
                declaration.escape_debug()
            ))
        })?;
        let is_fractional = matches!(
            mysql_type,
            MysqlType::Float | MysqlType::Double | MysqlType::Decimal { .. }
        );
        if is_fractional && declaration::is_unsigned(declaration) {
            return Err(Error::usage(format!(
                "column {name}: {mysql_type} UNSIGNED is not supported"
            ))
            .hint("leave out UNSIGNED, which MariaDB has for old tables only, or add a CHECK"));
        }
        let is_float = matches!(mysql_type, MysqlType::Float | MysqlType::Double);
        if is_float && declaration::has_two_sizes(declaration) {
            return Err(Error::usage(format!(
                "column {name}: {mysql_type} with a number of digits is not supported"
            ))
            .hint("leave out the digits, by which MariaDB would round, or make it a DECIMAL"));
        }
        Ok(Self {
            name: name.to_owned(),
            mysql_type,
            is_not_null: declaration::is_not_null(declaration),
            is_generated: declaration::is_generated(declaration),
            declaration: declaration.trim().to_owned(),
        })
    }
}

/// A target table, in column order of the text to load.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableSchema {
    /// Name of the database, where the file names it.
    pub database: Option<String>,
    /// Name of the table, where the file names it.
    pub table: Option<String>,
    /// Columns in order; the server's own `qserv_trans_id` is left out.
    pub columns: Vec<ColumnDefinition>,
    /// Kind of the table, where the file tells it.
    pub kind: Option<TableKind>,
    /// Name of the director, for a child; of the first one, for a match table.
    pub director_table: Option<String>,
    /// Name of the second director, for a match table.
    pub director_table2: Option<String>,
    /// Column of the director's key.
    pub id: Option<String>,
    /// Column of the second director's key, for a match table.
    pub id2: Option<String>,
    /// Column of the longitude.
    pub ra: Option<String>,
    /// Column of the latitude.
    pub dec: Option<String>,
    /// Column that tells on which side of a match a row is.
    pub flag: Option<String>,
    /// How far apart a match may be.
    pub ang_sep: Option<serde_json::Number>,
    /// Whether the key is unique.
    pub unique_primary_key: Option<serde_json::Value>,
    /// Character set of the table.
    pub charset: Option<String>,
    /// Collation of the table.
    pub collation: Option<String>,
}

#[derive(Deserialize)]
struct TableJson {
    #[serde(default)]
    database: String,
    #[serde(default)]
    table: String,
    schema: Vec<ColumnJson>,
    is_partitioned: Option<serde_json::Value>,
    #[serde(default)]
    director_table: String,
    #[serde(default)]
    director_key: String,
    #[serde(default)]
    director_table2: String,
    #[serde(default)]
    director_key2: String,
    #[serde(default)]
    longitude_key: String,
    #[serde(default)]
    latitude_key: String,
    #[serde(default)]
    flag: String,
    ang_sep: Option<serde_json::Number>,
    unique_primary_key: Option<serde_json::Value>,
    #[serde(default)]
    charset_name: String,
    #[serde(default)]
    collation_name: String,
}

#[derive(Deserialize)]
struct ColumnJson {
    name: String,
    #[serde(rename = "type")]
    declaration: String,
}

impl TableSchema {
    /// Says which columns have types whose values nobody checks here, if there are any.
    pub fn unchecked(&self) -> Option<String> {
        let columns = self.columns.iter();
        let unknown =
            columns.filter(|column| column.mysql_type == MysqlType::Other && !column.is_generated);
        let shown: Vec<String> = unknown
            .map(|column| format!("{} ({})", column.name, column.declaration))
            .collect();
        (!shown.is_empty()).then(|| {
            format!(
                "values of these columns are not checked, for their types have no rules here: {}",
                shown.join(", ")
            )
        })
    }

    /// Reads a table JSON or Felis file; `file.yaml#Table` names one table of several.
    ///
    /// # Errors
    /// A missing file (exit code 3), or one that defines no table, or several (exit code 2).
    pub fn read(path: &Path) -> Result<Self> {
        let (file, fragment) = split_fragment(path);
        Self::read_table(&file, fragment.as_deref())
    }

    /// Reads the definition of the table `name`: of a file with several tables it is the one of
    /// that name, unless the path names another one.
    ///
    /// # Errors
    /// As with [`Self::read`].
    pub fn read_for(path: &Path, name: &str) -> Result<Self> {
        let (file, fragment) = split_fragment(path);
        let text = read_file(&file)?;
        let table = match (&fragment, definition_of(&text)) {
            (Some(fragment), _) => Some(fragment.as_str()),
            (None, Ok(Definition::Felis(felis))) if felis.tables.len() == 1 => None,
            (None, _) => Some(name),
        };
        Self::from_text(&text, table)
            .map_err(|error| error.at(Place::file(file.display().to_string())))
    }

    /// Returns the file that a path with or without a table's name means.
    pub fn file_of(path: &Path) -> PathBuf {
        split_fragment(path).0
    }

    /// Reads the table `table` of a file, or its only one; a file with table JSON has only one.
    ///
    /// # Errors
    /// As with [`Self::read`].
    pub fn read_table(file: &Path, table: Option<&str>) -> Result<Self> {
        Self::from_text(&read_file(file)?, table)
            .map_err(|error| error.at(Place::file(file.display().to_string())))
    }

    /// Reads table JSON or Felis from bytes; `table` names one table of several.
    ///
    /// # Errors
    /// The text defines no such table.
    pub fn from_text(text: &[u8], table: Option<&str>) -> Result<Self> {
        match definition_of(text)? {
            Definition::Json(json) => (*json).into_schema(),
            Definition::Felis(felis) => felis.into_schema(table),
        }
    }

    /// Reads table JSON from bytes.
    ///
    /// # Errors
    /// JSON that is no table definition.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        Self::from_text(text, None)
    }

    /// Checks names and that no column is defined twice.
    ///
    /// # Errors
    /// The first thing that Qserv or MariaDB would refuse.
    pub(super) fn checked(self) -> Result<Self> {
        if let Some(table) = &self.table {
            check_reserved("table", table)?;
            check_together(self.database.as_deref(), table)?;
        }
        let mut seen = HashSet::new();
        for column in &self.columns {
            if !seen.insert(column.name.to_ascii_lowercase()) {
                let message = format!("column {} is defined twice", column.name);
                return Err(Error::usage(message).hint("MariaDB does not tell case apart"));
            }
        }
        if self.columns.is_empty() {
            return Err(Error::usage("the table has no columns"));
        }
        Ok(self)
    }

    /// Says whether rows get a value of this column only when they are sorted into chunks.
    pub fn is_made_by_partitioning(&self, name: &str) -> bool {
        let flag = self
            .flag
            .as_deref()
            .filter(|_| self.kind == Some(TableKind::Match));
        let ids = [super::CHUNK_COLUMN, super::SUB_CHUNK_COLUMN];
        let mut made = ids.into_iter().chain(flag);
        self.kind.is_some_and(TableKind::is_partitioned)
            && made.any(|id| id.eq_ignore_ascii_case(name))
    }

    /// Returns the kind that the user and the schema agree on.
    ///
    /// # Errors
    /// They differ, or neither tells.
    pub fn agreed_kind(said: Option<TableKind>, schema: Option<&Self>) -> Result<TableKind> {
        match (said, schema.and_then(|schema| schema.kind)) {
            (Some(said), Some(known)) if said != known => Err(Error::usage(format!(
                "the kind is given as {}, but the schema says {}",
                said.name(),
                known.name()
            ))),
            (Some(kind), _) | (None, Some(kind)) => Ok(kind),
            (None, None) => Err(Error::usage("no kind of table is given")
                .hint("say --kind (kind = in a pipeline file) director, child, match or regular")),
        }
    }

    /// Finds a column by name, as MySQL does without regard to case.
    pub fn column(&self, name: &str) -> Option<&ColumnDefinition> {
        self.columns
            .iter()
            .find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

/// A file that defines tables.
enum Definition {
    Json(Box<TableJson>),
    Felis(FelisFile),
}

/// Finds out from the content what `text` is: JSON starts with a brace, and Felis lists tables.
fn definition_of(text: &[u8]) -> Result<Definition> {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let is_object = text.trim_ascii_start().first() == Some(&b'{');
    if !is_object {
        return FelisFile::from_yaml(text).map(Definition::Felis);
    }
    let json = serde_json::from_slice::<TableJson>(text);
    json.map(|json| Definition::Json(Box::new(json)))
        .or_else(|error| {
            // Each JSON text is YAML too.
            FelisFile::from_yaml(text)
                .map(Definition::Felis)
                .map_err(|_| {
                    Error::usage(format!("not a table definition: {error}"))
                        .hint("expected Qserv's table JSON with a \"schema\" list of {name, type}")
                })
        })
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::reading(path, error))
}

/// Splits `file.yaml#Table`; a file that really has such a name is taken as it is.
fn split_fragment(path: &Path) -> (PathBuf, Option<String>) {
    let whole = || (path.to_owned(), None);
    if path.exists() {
        return whole();
    }
    let Some((file, table)) = path.to_str().and_then(|text| text.rsplit_once('#')) else {
        return whole();
    };
    match table {
        "" => whole(),
        table => (PathBuf::from(file), Some(table.to_owned())),
    }
}

impl TableJson {
    fn into_schema(self) -> Result<TableSchema> {
        let mut columns = Vec::with_capacity(self.schema.len());
        for column in &self.schema {
            // The ingest service adds this column itself, in front of each row.
            if !column.name.eq_ignore_ascii_case(TRANSACTION_COLUMN) {
                columns.push(ColumnDefinition::new(&column.name, &column.declaration)?);
            }
        }
        let kind = self.kind();
        let non_empty = |text: String| Some(text).filter(|text| !text.is_empty());
        TableSchema {
            kind,
            columns,
            database: non_empty(self.database),
            table: non_empty(self.table),
            director_table: non_empty(self.director_table),
            director_table2: non_empty(self.director_table2),
            id: non_empty(self.director_key),
            id2: non_empty(self.director_key2),
            ra: non_empty(self.longitude_key),
            dec: non_empty(self.latitude_key),
            flag: non_empty(self.flag),
            ang_sep: self.ang_sep,
            unique_primary_key: self.unique_primary_key,
            charset: non_empty(self.charset_name),
            collation: non_empty(self.collation_name),
        }
        .checked()
    }

    fn kind(&self) -> Option<TableKind> {
        let is_partitioned = match self.is_partitioned.as_ref()? {
            serde_json::Value::Bool(flag) => *flag,
            serde_json::Value::Number(number) => number.as_f64() != Some(0.0),
            _ => return None,
        };
        let directors = [&self.director_table, &self.director_table2];
        Some(match (is_partitioned, directors.map(String::is_empty)) {
            (false, _) => TableKind::Regular,
            (true, [_, false]) => TableKind::Match,
            (true, [true, true]) => TableKind::Director,
            (true, [false, true]) => TableKind::Child,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = r#"{"database": "db", "table": "Object", "is_partitioned": 1,
        "director_table": "", "director_key": "id", "longitude_key": "ra", "latitude_key": "dec",
        "schema": [
            {"name": "qserv_trans_id", "type": "INT NOT NULL"},
            {"name": "id", "type": "BIGINT NOT NULL"},
            {"name": "ra", "type": "DOUBLE NOT NULL"},
            {"name": "dec", "type": "DOUBLE NOT NULL"},
            {"name": "mag", "type": "FLOAT GENERATED ALWAYS AS (-2.5 * log10(flux)) VIRTUAL"}]}"#;

    #[test]
    fn a_director_from_json() {
        let table = TableSchema::from_json(OBJECT.as_bytes()).unwrap();
        assert_eq!(table.kind, Some(TableKind::Director));
        assert_eq!(table.columns.len(), 4);
        assert!(table.column("ID").unwrap().is_not_null);
        assert!(table.column("mag").unwrap().is_generated);
        assert_eq!(table.ra.as_deref(), Some("ra"));
    }

    #[test]
    fn what_qserv_takes_is_read() {
        let json = br#"{"database": "db", "table": "RefMatch", "is_partitioned": true,
            "director_table": "A", "director_key": "a_id", "director_table2": "B",
            "director_key2": "b_id", "flag": "partitioningFlags", "ang_sep": 0.01667,
            "charset_name": "utf8mb4", "collation_name": "utf8mb4_uca1400_ai_ci",
            "chunk_id_key": "chunkId", "fields_terminated_by": "\t",
            "schema": [{"name": "a_id", "type": "BIGINT UNSIGNED NOT NULL", "unit": ""},
                {"name": "b_id", "type": "NVARCHAR(20)"}, {"name": "y", "type": "YEAR"},
                {"name": "e", "type": "ENUM('NOT NULL')"}, {"name": "chunkId", "type": "INT"},
                {"name": "partitioningFlags", "type": "INT"}]}"#;
        let table = TableSchema::from_json(json).unwrap();
        assert_eq!(table.kind, Some(TableKind::Match));
        assert_eq!(table.director_table2.as_deref(), Some("B"));
        assert_eq!(table.id2.as_deref(), Some("b_id"));
        assert_eq!(
            table.ang_sep.as_ref().and_then(serde_json::Number::as_f64),
            Some(0.01667)
        );
        assert_eq!(table.charset.as_deref(), Some("utf8mb4"));
        assert!(!table.column("e").unwrap().is_not_null);
        assert!(table.is_made_by_partitioning("CHUNKID"));
        assert!(table.is_made_by_partitioning("partitioningFlags"));
        assert!(!table.is_made_by_partitioning("a_id"));
        let kind = TableSchema::agreed_kind(None, Some(&table)).unwrap();
        assert_eq!(kind, TableKind::Match);
        assert!(TableSchema::agreed_kind(Some(TableKind::Child), Some(&table)).is_err());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let message = |json: &str| {
            TableSchema::from_json(json.as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert!(message("{").contains("not a table definition"));
        assert!(message(r#"{"schema": []}"#).contains("no columns"));
        assert!(
            message(r#"{"table": "qserv_x", "schema": [{"name":"a","type":"INT"}]}"#)
                .contains("reserves")
        );
        assert!(message(r#"{"schema": [{"name":"qserv_x","type":"INT"}]}"#).contains("reserves"));
        let long = "c".repeat(65);
        let long = message(&format!(
            r#"{{"schema": [{{"name":"{long}","type":"INT"}}]}}"#
        ));
        assert!(long.contains("64"), "{long}");
        let long = "t".repeat(55);
        let json = format!(
            r#"{{"database":"db","table":"{long}","schema":[{{"name":"a","type":"INT"}}]}}"#
        );
        assert!(message(&json).contains("56"));
        let twice = r#"{"schema": [{"name":"a","type":"INT"},{"name":"A","type":"INT"}]}"#;
        assert!(message(twice).contains("twice"));
        assert!(message(r#"{"schema": [{"name":"a","type":"?"}]}"#).contains("not a MySQL type"));
    }
}

//! Qserv's table JSON: the columns of a table, its kind and its keys.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::mysql_type::MysqlType;
use crate::error::{Error, Place, Result};

/// What a table is to Qserv.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// Partitioned by its own position, with overlap and a key of its own.
    Director,
    /// Partitioned where its director's rows are; never overlap rows.
    Child,
    /// Not partitioned; every worker gets all of it.
    Regular,
}

impl TableKind {
    /// Returns the name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Director => "director",
            Self::Child => "child",
            Self::Regular => "regular",
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
}

/// A target table, in column order of the text to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    /// Name of the table, where the JSON names it.
    pub table: Option<String>,
    /// Columns in order; the server's own `qserv_trans_id` is left out.
    pub columns: Vec<ColumnDefinition>,
    /// Kind of the table, where the JSON tells it.
    pub kind: Option<TableKind>,
    /// Name of the director, for a child.
    pub director_table: Option<String>,
    /// Column of the director's key.
    pub id: Option<String>,
    /// Column of the longitude.
    pub ra: Option<String>,
    /// Column of the latitude.
    pub dec: Option<String>,
}

#[derive(Deserialize)]
struct TableJson {
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
    longitude_key: String,
    #[serde(default)]
    latitude_key: String,
}

#[derive(Deserialize)]
struct ColumnJson {
    name: String,
    #[serde(rename = "type")]
    type_text: String,
}

impl TableSchema {
    /// Reads a table JSON file.
    ///
    /// # Errors
    /// A missing file (exit code 3), or JSON that is no table definition (exit code 2).
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(|error| Error::reading(path, error))?;
        Self::from_json(&text).map_err(|error| error.at(Place::file(path.display().to_string())))
    }

    /// Reads table JSON from bytes.
    ///
    /// # Errors
    /// JSON that is no table definition; a match table, whose time has not come yet.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        let json: TableJson = serde_json::from_slice(text).map_err(|error| {
            Error::usage(format!("not a table definition: {error}"))
                .hint("expected Qserv's table JSON with a \"schema\" list of {name, type}")
        })?;
        if !json.director_table2.is_empty() {
            return Err(Error::usage(
                "match tables (director_table2) are not supported yet",
            ));
        }
        let mut columns = Vec::with_capacity(json.schema.len());
        let mut seen = HashSet::new();
        for column in &json.schema {
            // The ingest service adds this column itself, in front of each row.
            if column.name.eq_ignore_ascii_case("qserv_trans_id") {
                continue;
            }
            if !seen.insert(column.name.to_ascii_lowercase()) {
                return Err(Error::usage(format!(
                    "column {} is defined twice",
                    column.name
                )));
            }
            columns.push(column.definition()?);
        }
        if columns.is_empty() {
            return Err(Error::usage("the \"schema\" list has no columns"));
        }
        let non_empty = |text: &String| (!text.is_empty()).then(|| text.clone());
        Ok(Self {
            table: non_empty(&json.table),
            columns,
            kind: json.kind(),
            director_table: non_empty(&json.director_table),
            id: non_empty(&json.director_key),
            ra: non_empty(&json.longitude_key),
            dec: non_empty(&json.latitude_key),
        })
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
                .hint("say --kind (kind = in a pipeline file) director, child or regular")),
        }
    }

    /// Finds a column by name, as MySQL does without regard to case.
    pub fn column(&self, name: &str) -> Option<&ColumnDefinition> {
        self.columns
            .iter()
            .find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

impl TableJson {
    fn kind(&self) -> Option<TableKind> {
        let is_partitioned = match self.is_partitioned.as_ref()? {
            serde_json::Value::Bool(flag) => *flag,
            serde_json::Value::Number(number) => number.as_f64() != Some(0.0),
            _ => return None,
        };
        Some(match (is_partitioned, self.director_table.is_empty()) {
            (false, _) => TableKind::Regular,
            (true, true) => TableKind::Director,
            (true, false) => TableKind::Child,
        })
    }
}

impl ColumnJson {
    fn definition(&self) -> Result<ColumnDefinition> {
        let mysql_type = MysqlType::parse(&self.type_text).ok_or_else(|| {
            Error::usage(format!(
                "column {}: '{}' is not a MySQL type",
                self.name, self.type_text
            ))
        })?;
        let upper = self.type_text.to_ascii_uppercase();
        let words: Vec<&str> = upper.split_whitespace().collect();
        Ok(ColumnDefinition {
            name: self.name.clone(),
            mysql_type,
            is_not_null: words.windows(2).any(|pair| pair == ["NOT", "NULL"])
                || words.windows(2).any(|pair| pair == ["PRIMARY", "KEY"]),
            is_generated: upper.contains("GENERATED ALWAYS")
                || words
                    .iter()
                    .any(|word| *word == "AS" || word.starts_with("AS(")),
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
    fn what_is_wrong_is_said() {
        let message = |json: &str| {
            TableSchema::from_json(json.as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert!(message("{").contains("not a table definition"));
        assert!(message(r#"{"schema": []}"#).contains("no columns"));
        let twice = r#"{"schema": [{"name":"a","type":"INT"},{"name":"A","type":"INT"}]}"#;
        assert!(message(twice).contains("twice"));
        assert!(message(r#"{"schema": [{"name":"a","type":"?"}]}"#).contains("not a MySQL type"));
    }
}

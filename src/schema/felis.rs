//! Felis: the YAML files in which the Rubin Observatory describes its tables.
//!
//! Only what decides a table in MySQL is read. Columns come in the order of the file, as they do
//! when Felis itself makes a table; `tap:column_index` is the order in which people see them.

use serde::Deserialize;

use super::table::{ColumnDefinition, TRANSACTION_COLUMN, TableSchema};
use crate::error::{Error, Result};

/// Numbers, texts, lists and maps of a file: the widest tables have about 20,000.
const MOST_NODES: usize = 10_000_000;

/// A Felis file.
#[derive(Debug, Deserialize)]
pub(super) struct FelisFile {
    pub(super) tables: Vec<FelisTable>,
}

/// One of its tables.
#[derive(Debug, Deserialize)]
pub(super) struct FelisTable {
    name: String,
    #[serde(default)]
    columns: Vec<FelisColumn>,
    #[serde(default, rename = "columnRefs")]
    column_refs: Option<serde::de::IgnoredAny>,
    #[serde(default, rename = "primaryKey")]
    primary_key: Option<PrimaryKey>,
    #[serde(default, rename = "mysql:charset")]
    charset: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PrimaryKey {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct FelisColumn {
    name: String,
    #[serde(default, rename = "@id")]
    id: Option<String>,
    datatype: String,
    #[serde(default)]
    length: Option<u32>,
    #[serde(default)]
    precision: Option<u8>,
    #[serde(default)]
    nullable: Option<bool>,
    #[serde(default, rename = "mysql:datatype")]
    mysql_datatype: Option<String>,
}

impl FelisFile {
    /// Reads YAML.
    ///
    /// # Errors
    /// The text is no YAML or lists no tables.
    pub(super) fn from_yaml(text: &[u8]) -> Result<Self> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_events: 2 * MOST_NODES,
                max_nodes: MOST_NODES,
            },
            with_snippet: false,
        };
        let file: Self = serde_saphyr::from_slice_with_options(text, options).map_err(|error| {
            Error::usage(format!("not a table definition: {error}"))
                .hint("expected Qserv's table JSON, or Felis YAML with a list of tables")
        })?;
        if file.tables.is_empty() {
            return Err(Error::usage("the Felis file has no tables"));
        }
        Ok(file)
    }

    /// Returns the table `wanted`, or the only one.
    ///
    /// # Errors
    /// There is no such table, or none is named and there are several; one of its columns has no
    /// type.
    pub(super) fn into_schema(self, wanted: Option<&str>) -> Result<TableSchema> {
        let names: Vec<String> = self.tables.iter().map(|table| table.name.clone()).collect();
        let listed = || format!("its tables are {}", names.join(", "));
        let at = match wanted {
            None if names.len() == 1 => 0,
            None => {
                return Err(Error::usage(format!(
                    "the Felis file has {} tables, and none is named",
                    names.len()
                ))
                .hint(format!("name one as in file.yaml#Table; {}", listed())));
            }
            Some(wanted) => {
                let exact = names.iter().position(|name| name == wanted);
                let near = || {
                    names
                        .iter()
                        .position(|name| name.eq_ignore_ascii_case(wanted))
                };
                exact.or_else(near).ok_or_else(|| {
                    let wanted = wanted.escape_debug();
                    Error::usage(format!("the Felis file has no table {wanted}")).hint(listed())
                })?
            }
        };
        let table = self.tables.into_iter().nth(at);
        table
            .ok_or_else(|| Error::usage("the Felis file has no tables"))?
            .into_schema()
    }
}

impl FelisTable {
    fn into_schema(self) -> Result<TableSchema> {
        if self.column_refs.is_some() {
            return Err(Error::usage(format!(
                "table {} takes columns from other files (columnRefs), which are not read",
                self.name
            ))
            .hint("name a Felis file in which the columns themselves stand"));
        }
        let keys = match &self.primary_key {
            None => &[][..],
            Some(PrimaryKey::One(key)) => std::slice::from_ref(key),
            Some(PrimaryKey::Several(keys)) => keys.as_slice(),
        };
        let mut columns = Vec::with_capacity(self.columns.len());
        let mut key_names = Vec::with_capacity(keys.len());
        for column in &self.columns {
            if column.name.eq_ignore_ascii_case(TRANSACTION_COLUMN) {
                continue;
            }
            let is_key = keys.iter().any(|key| column.is_called(key, &self.name));
            if is_key {
                key_names.push(column.name.clone());
            }
            columns.push(column.definition(is_key)?);
        }
        if let Some(key) = keys.get(key_names.len()) {
            let key = key.escape_debug();
            let message = format!("table {}: its key {key} is none of its columns", self.name);
            return Err(Error::usage(message));
        }
        TableSchema {
            id: match key_names.as_slice() {
                [key] => Some(key.clone()),
                _ => None,
            },
            table: Some(self.name),
            columns,
            charset: self.charset,
            ..TableSchema::default()
        }
        .checked()
    }
}

impl FelisColumn {
    /// Says whether a reference such as `#Object.objectId` means this column of `table`.
    fn is_called(&self, reference: &str, table: &str) -> bool {
        if self.id.as_deref() == Some(reference) || reference == self.name {
            return true;
        }
        let bare = reference.strip_prefix('#').unwrap_or(reference);
        let own = bare
            .strip_prefix(table)
            .and_then(|rest| rest.strip_prefix('.'));
        // Without ids of their own, columns are called by table and name.
        self.id.is_none() && own.unwrap_or(bare) == self.name
    }

    fn definition(&self, is_key: bool) -> Result<ColumnDefinition> {
        let mut declaration = match &self.mysql_datatype {
            Some(own) if own.contains('(') => own.clone(),
            Some(own) => match (self.length, is_sized(own)) {
                (Some(length), true) => format!("{own}({length})"),
                _ => own.clone(),
            },
            None => self.usual_type()?,
        };
        if self.nullable == Some(false) || is_key {
            declaration.push_str(" NOT NULL");
        }
        ColumnDefinition::new(&self.name, &declaration)
    }

    fn usual_type(&self) -> Result<String> {
        let sized = |name: &str| -> Result<String> {
            let length = self.length.ok_or_else(|| {
                let message = format!("column {}: a {} needs a length", self.name, self.datatype);
                Error::usage(message)
            })?;
            Ok(format!("{name}({length})"))
        };
        Ok(match self.datatype.as_str() {
            "boolean" => "BOOLEAN".to_owned(),
            "byte" => "TINYINT".to_owned(),
            "short" => "SMALLINT".to_owned(),
            "int" => "INTEGER".to_owned(),
            "long" => "BIGINT".to_owned(),
            "float" => "FLOAT".to_owned(),
            "double" => "DOUBLE".to_owned(),
            "char" => format!("CHAR({})", self.length.unwrap_or(1)),
            "string" => sized("VARCHAR")?,
            "unicode" => sized("NVARCHAR")?,
            "text" => "LONGTEXT".to_owned(),
            "binary" => "LONGBLOB".to_owned(),
            "timestamp" => match self.precision {
                None => "DATETIME".to_owned(),
                Some(digits) => format!("DATETIME({digits})"),
            },
            other => {
                return Err(Error::usage(format!(
                    "column {}: '{}' is not a Felis datatype",
                    self.name,
                    other.escape_debug()
                )));
            }
        })
    }
}

/// Says whether a MySQL type without a size takes one from `length`.
fn is_sized(name: &str) -> bool {
    let name = name.trim().to_ascii_uppercase();
    matches!(
        name.as_str(),
        "CHAR" | "NCHAR" | "VARCHAR" | "NVARCHAR" | "BINARY" | "VARBINARY"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::MysqlType;

    const FILE: &str = r##"
name: catalogue
"@id": "#catalogue"
version: "1.2"
description: |
  Two tables.
tables:
- name: Object
  "@id": "#Object"
  primaryKey: "#Object.objectId"
  mysql:charset: utf8mb4
  constraints:
  - name: c
    "@type": Check
    expression: "x > 0"
  columns:
  - name: qserv_trans_id
    datatype: int
  - {name: objectId, "@id": "#Object.objectId", datatype: long, tap:column_index: 9}
  - {name: ra, "@id": "#Object.ra", datatype: double, nullable: false, ivoa:unit: deg}
  - {name: flag, datatype: boolean, tap:column_index: 1, value: false}
  - {name: y, datatype: float}
  - {name: n1, datatype: byte}
  - {name: n2, datatype: short}
  - {name: n3, datatype: int}
  - {name: a, datatype: char, length: 3}
  - {name: b, datatype: string, length: 20}
  - {name: c, datatype: unicode, length: 21}
  - {name: d, datatype: text, length: 9}
  - {name: e, datatype: binary, length: 9}
  - {name: t, datatype: timestamp}
  - {name: u, datatype: timestamp, precision: 6}
  - {name: v, datatype: string, length: 7, "mysql:datatype": CHAR}
  - {name: w, datatype: double, "mysql:datatype": "DECIMAL(12,3)", length: 4}
- name: Source
  primaryKey: ["#Source.id", "#Source.part"]
  columns:
  - {name: id, datatype: long}
  - {name: part, datatype: int}
"##;

    #[test]
    fn a_table_becomes_what_felis_makes_of_it() {
        let table = TableSchema::from_text(FILE.as_bytes(), Some("Object")).unwrap();
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|column| format!("{} {}", column.name, column.declaration))
            .collect();
        let expected = [
            "objectId BIGINT NOT NULL",
            "ra DOUBLE NOT NULL",
            "flag BOOLEAN",
            "y FLOAT",
            "n1 TINYINT",
            "n2 SMALLINT",
            "n3 INTEGER",
            "a CHAR(3)",
            "b VARCHAR(20)",
            "c NVARCHAR(21)",
            "d LONGTEXT",
            "e LONGBLOB",
            "t DATETIME",
            "u DATETIME(6)",
            "v CHAR(7)",
            "w DECIMAL(12,3)",
        ];
        assert_eq!(columns, expected);
        assert_eq!(table.id.as_deref(), Some("objectId"));
        assert_eq!(table.charset.as_deref(), Some("utf8mb4"));
        assert!(table.columns[0].is_not_null);
        assert_eq!(table.columns[9].mysql_type, MysqlType::Varchar(21));
        let source = TableSchema::from_text(FILE.as_bytes(), Some("source")).unwrap();
        assert!(source.columns.iter().all(|column| column.is_not_null));
        assert_eq!(source.id, None);
    }

    #[test]
    fn a_table_must_be_named_where_there_are_several() {
        let read = |table| TableSchema::from_text(FILE.as_bytes(), table).unwrap_err();
        let hint = read(None);
        assert!(hint.hint_text().unwrap().contains("Object, Source"));
        assert!(read(Some("Objekt")).to_string().contains("no table Objekt"));
        let alone = "tables: [{name: T, columns: [{name: a, datatype: int}]}]";
        let alone = TableSchema::from_text(alone.as_bytes(), None).unwrap();
        assert_eq!(alone.table.as_deref(), Some("T"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, said) in [
            ("a: [1", "not a table definition"),
            ("just text", "not a table definition"),
            ("tables: []", "no tables"),
            (
                "{\"tables\": [{\"name\": \"T\", \"columns\": []}]}",
                "no columns",
            ),
            ("tables: [{name: T, columnRefs: {x: {}}}]", "columnRefs"),
            (
                "tables: [{name: T, columns: [{name: a, datatype: string}]}]",
                "needs a length",
            ),
            (
                "tables: [{name: T, columns: [{name: a, datatype: real}]}]",
                "not a Felis datatype",
            ),
            (
                "tables: [{name: T, primaryKey: '#T.b', columns: [{name: a, datatype: int}]}]",
                "none of its columns",
            ),
        ] {
            let error = TableSchema::from_text(text.as_bytes(), None).unwrap_err();
            assert!(error.to_string().contains(said), "{text}: {error}");
            assert_eq!(error.kind(), crate::error::ErrorKind::Usage);
        }
    }
}

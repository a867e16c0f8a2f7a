//! A table definition as text: Qserv's table JSON, or a statement for MariaDB.

use std::fmt::Write;

use serde_json::{Value, json};

use super::table::{TableKind, TableSchema};
use crate::error::{Error, Result};

impl TableSchema {
    /// Returns the table JSON with which Qserv registers the table, a column a line.
    pub fn to_json(&self) -> String {
        let mut text = String::from("{\n");
        for (key, value) in self.registration() {
            // Writing to a String can't fail.
            let _ = writeln!(text, "  {}: {value},", json!(key));
        }
        text.push_str("  \"schema\": [");
        let mut before = "\n";
        for column in &self.columns {
            let (name, declaration) = (json!(column.name), json!(column.declaration));
            let _ = write!(
                text,
                "{before}    {{\"name\": {name}, \"type\": {declaration}}}"
            );
            before = ",\n";
        }
        text.push_str("\n  ]\n}\n");
        text
    }

    /// Returns what Qserv is told besides the columns; of what is unknown nothing.
    fn registration(&self) -> Vec<(&'static str, Value)> {
        let text = |value: &Option<String>| value.as_ref().map(|text| json!(text));
        let is = |kind| self.kind == Some(kind);
        let director = match is(TableKind::Director) {
            // So says Qserv that the table is its own director.
            true => Some(json!("")),
            false => text(&self.director_table),
        };
        let all = [
            ("database", text(&self.database)),
            ("table", text(&self.table)),
            (
                "is_partitioned",
                self.kind.map(|kind| json!(u8::from(kind.is_partitioned()))),
            ),
            ("director_table", director),
            ("director_key", text(&self.id)),
            ("director_table2", text(&self.director_table2)),
            ("director_key2", text(&self.id2)),
            ("longitude_key", text(&self.ra)),
            ("latitude_key", text(&self.dec)),
            ("flag", text(&self.flag)),
            ("ang_sep", self.ang_sep.clone().map(Value::Number)),
            ("unique_primary_key", self.unique_primary_key.clone()),
            ("charset_name", text(&self.charset)),
            ("collation_name", text(&self.collation)),
        ];
        let known = all.into_iter();
        known
            .filter_map(|(key, value)| Some((key, value?)))
            .collect()
    }

    /// Returns the statement that makes the table in MariaDB, with the engine of Qserv's tables.
    ///
    /// # Errors
    /// The table has no name.
    pub fn to_ddl(&self) -> Result<String> {
        let Some(table) = &self.table else {
            return Err(
                Error::usage("a CREATE TABLE needs the table's name").hint("give it with --table")
            );
        };
        let mut text = String::from("CREATE TABLE ");
        if let Some(database) = &self.database {
            let _ = write!(text, "{}.", quoted(database));
        }
        let _ = write!(text, "{} (", quoted(table));
        let mut before = "\n";
        for column in &self.columns {
            let _ = write!(
                text,
                "{before}  {} {}",
                quoted(&column.name),
                column.declaration
            );
            before = ",\n";
        }
        text.push_str("\n) ENGINE=MyISAM");
        if let Some(charset) = &self.charset {
            let _ = write!(text, " DEFAULT CHARACTER SET {charset}");
        }
        if let Some(collation) = &self.collation {
            let _ = write!(text, " COLLATE {collation}");
        }
        text.push_str(";\n");
        Ok(text)
    }
}

/// Quotes a name for MariaDB.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let json = r#"{"database": "d", "table": "M", "is_partitioned": 1, "director_table": "A",
            "director_key": "a", "director_table2": "B", "director_key2": "b",
            "flag": "partitioningFlags", "ang_sep": 0.5, "unique_primary_key": 0,
            "charset_name": "latin1", "collation_name": "latin1_swedish_ci",
            "schema": [{"name": "a`\"", "type": "CHAR(3) COMMENT 'x\"y' NOT NULL"},
                {"name": "b", "type": "INT"}]}"#;
        let table = TableSchema::from_json(json.as_bytes()).unwrap();
        let again = TableSchema::from_json(table.to_json().as_bytes()).unwrap();
        assert_eq!(again, table);
        let ddl = table.to_ddl().unwrap();
        assert!(
            ddl.starts_with("CREATE TABLE `d`.`M` (\n  `a``\"` CHAR(3)"),
            "{ddl}"
        );
        let ending = ") ENGINE=MyISAM DEFAULT CHARACTER SET latin1 COLLATE latin1_swedish_ci;\n";
        assert!(ddl.ends_with(ending), "{ddl}");
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let table = TableSchema::from_json(br#"{"schema": [{"name":"a","type":"INT"}]}"#).unwrap();
        let text = "{\n  \"schema\": [\n    {\"name\": \"a\", \"type\": \"INT\"}\n  ]\n}\n";
        assert_eq!(table.to_json(), text);
        assert!(table.to_ddl().is_err());
    }
}

//! Which column types a director table may not have, and who says so.
//!
//! Qserv copies director rows into ENGINE=MEMORY sub-chunk tables. The ingest server refuses types
//! whose text contains BLOB or TEXT; the MEMORY engine refuses JSON and GEOMETRY later; Qserv's
//! documentation also bans VARCHAR and VARBINARY, though the engine would take them.

use super::mysql_type::MysqlType;
use super::table::TableSchema;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The table must not be prepared.
    Error,
    /// The user has allowed it.
    Warning,
}

/// A column that a director table should not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectorFinding {
    /// Name of the column.
    pub column: String,
    /// Whether it stops the work.
    pub severity: Severity,
    /// Who refuses what, and what would do instead.
    pub message: String,
}

/// Looks for columns that a director table may not have.
pub fn check_director_columns(schema: &TableSchema, allow_varchar: bool) -> Vec<DirectorFinding> {
    let documented = if allow_varchar {
        Severity::Warning
    } else {
        Severity::Error
    };
    let mut findings = Vec::new();
    for column in &schema.columns {
        let (severity, who, instead) = match column.mysql_type {
            MysqlType::Text(_) => (
                Severity::Error,
                "Qserv's ingest server refuses it",
                "CHAR(n)",
            ),
            MysqlType::Blob(_) => (
                Severity::Error,
                "Qserv's ingest server refuses it",
                "BINARY(n)",
            ),
            MysqlType::Json => (Severity::Error, "the MEMORY engine refuses it", "CHAR(n)"),
            MysqlType::Geometry => (Severity::Error, "the MEMORY engine refuses it", "BINARY(n)"),
            MysqlType::Varchar(_) => (documented, "Qserv's documentation bans it", "CHAR(n)"),
            MysqlType::Varbinary(_) => (documented, "Qserv's documentation bans it", "BINARY(n)"),
            _ => continue,
        };
        findings.push(DirectorFinding {
            column: column.name.clone(),
            severity,
            message: format!(
                "column {}: {} in a director table: {who}; use {instead}",
                column.name, column.mysql_type
            ),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_refuser() {
        let json = r#"{"schema": [{"name":"a","type":"TEXT"},{"name":"b","type":"VARCHAR(9)"},
            {"name":"c","type":"JSON"},{"name":"d","type":"CHAR(9)"},
            {"name":"e","type":"LONGBLOB"},{"name":"f","type":"BIT(1)"}]}"#;
        let schema = TableSchema::from_json(json.as_bytes()).unwrap();
        let findings = check_director_columns(&schema, false);
        let columns: Vec<&str> = findings.iter().map(|f| f.column.as_str()).collect();
        assert_eq!(columns, ["a", "b", "c", "e"]);
        assert!(findings.iter().all(|f| f.severity == Severity::Error));
        let allowed = check_director_columns(&schema, true);
        assert_eq!(allowed[1].severity, Severity::Warning);
    }
}

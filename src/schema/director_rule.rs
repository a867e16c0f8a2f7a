//! Which column types a director table may not have, and who says so.
//!
//! Qserv copies director rows into ENGINE=MEMORY sub-chunk tables. The ingest server refuses types
//! whose text contains BLOB or TEXT; the MEMORY engine refuses JSON and GEOMETRY later; Qserv's
//! documentation also bans VARCHAR and VARBINARY, though the engine would take them.

use serde::Serialize;

use super::measure::{Longest, Measure};
use super::mysql_type::MysqlType;
use super::table::{ColumnDefinition, TableSchema};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The table must not be prepared.
    Error,
    /// The user has allowed it.
    Warning,
}

/// Who refuses a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refuser {
    /// Qserv's ingest server, when the table is registered.
    Server,
    /// MariaDB's MEMORY engine, when a query makes sub-chunk tables.
    MemoryEngine,
    /// Nobody but Qserv's documentation.
    Documentation,
}

impl Refuser {
    fn in_words(self) -> &'static str {
        match self {
            Self::Server => "Qserv's ingest server refuses it",
            Self::MemoryEngine => "the MEMORY engine refuses it",
            Self::Documentation => "Qserv's documentation bans it",
        }
    }
}

/// A column that a director table should not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectorFinding {
    /// Name of the column.
    pub column: String,
    /// Its type.
    pub type_text: String,
    /// Whether it stops the work.
    pub severity: Severity,
    /// Who says so.
    pub refuser: Refuser,
    /// The type that would do, where the data tell and there is one.
    pub instead: Option<String>,
    /// The longest value, where the data were looked at.
    pub longest: Option<Longest>,
    /// All this in words.
    pub message: String,
}

/// The longest CHAR and BINARY.
const MOST_FIXED: u64 = 255;

/// Looks for columns that a director table may not have.
pub fn check_director_columns(schema: &TableSchema, allow_varchar: bool) -> Vec<DirectorFinding> {
    check_measured_columns(schema, allow_varchar, |_| None)
}

/// Looks for columns that a director table may not have, and tells what would do, as far as
/// `measure_of` knows the data of a column.
pub fn check_measured_columns<'m>(
    schema: &TableSchema,
    allow_varchar: bool,
    measure_of: impl Fn(&str) -> Option<&'m Measure>,
) -> Vec<DirectorFinding> {
    let mut findings = Vec::new();
    for column in &schema.columns {
        let Some(refuser) = refuser_of(column) else {
            continue;
        };
        let severity = match refuser {
            Refuser::Documentation if allow_varchar => Severity::Warning,
            _ => Severity::Error,
        };
        let type_text = match column.mysql_type {
            MysqlType::Other => column.declaration.clone(),
            known => known.to_string(),
        };
        let measure = measure_of(&column.name);
        let (instead, advice) = advice_for(column, measure);
        findings.push(DirectorFinding {
            message: format!(
                "column {}: {type_text} in a director table: {}; {advice}",
                column.name,
                refuser.in_words()
            ),
            column: column.name.clone(),
            type_text,
            severity,
            refuser,
            instead,
            longest: measure.and_then(|measure| measure.longest.clone()),
        });
    }
    findings
}

fn refuser_of(column: &ColumnDefinition) -> Option<Refuser> {
    // The server looks for the words wherever they stand in the type's text.
    let text = column.declaration.to_ascii_uppercase();
    if text.contains("BLOB") || text.contains("TEXT") {
        return Some(Refuser::Server);
    }
    match column.mysql_type {
        MysqlType::Text(_) | MysqlType::Blob(_) | MysqlType::Json | MysqlType::Geometry => {
            Some(Refuser::MemoryEngine)
        }
        MysqlType::Varchar(_) | MysqlType::Varbinary(_) => Some(Refuser::Documentation),
        _ => None,
    }
}

/// Returns the type that would do instead, and what to say.
fn advice_for(column: &ColumnDefinition, measure: Option<&Measure>) -> (Option<String>, String) {
    let known = column.mysql_type;
    if !known.is_character() && !known.is_binary() {
        let advice = "write its declaration without the words BLOB and TEXT";
        return (None, advice.to_owned());
    }
    let (name, unit) = match known.is_binary() {
        true => ("BINARY", "bytes"),
        false => ("CHAR", "characters"),
    };
    let Some(measure) = measure else {
        return (None, format!("use {name}(n)"));
    };
    let length = measure.length();
    let longest = match &measure.longest {
        Some(longest) => format!("the longest value has {length} {unit}: {}", longest.place),
        None => "it holds no value".to_owned(),
    };
    if length > MOST_FIXED {
        let advice = format!("no {name}(n) would do, for n is at most {MOST_FIXED} and {longest}");
        return (None, advice);
    }
    let instead = format!("{name}({})", length.max(1));
    let advice = format!("{instead} would do ({longest})");
    (Some(instead), advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Place;

    fn schema() -> TableSchema {
        let json = r#"{"schema": [{"name":"a","type":"TEXT"},{"name":"b","type":"VARCHAR(9)"},
            {"name":"c","type":"JSON"},{"name":"d","type":"CHAR(9)"},
            {"name":"e","type":"LONGBLOB"},{"name":"f","type":"BIT(1)"},
            {"name":"g","type":"ENUM('Text')"},{"name":"h","type":"LONG VARBINARY"},
            {"name":"i","type":"POINT"},{"name":"j","type":"VARBINARY(3) NOT NULL"},
            {"name":"k","type":"SET('a')"},{"name":"l","type":"NVARCHAR(3)"}]}"#;
        TableSchema::from_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn each_type_has_its_refuser() {
        let findings = check_director_columns(&schema(), false);
        let found: Vec<(&str, Refuser)> = findings
            .iter()
            .map(|finding| (finding.column.as_str(), finding.refuser))
            .collect();
        use Refuser::{Documentation, MemoryEngine, Server};
        let expected = [
            ("a", Server),
            ("b", Documentation),
            ("c", MemoryEngine),
            ("e", Server),
            ("g", Server),
            ("h", MemoryEngine),
            ("i", MemoryEngine),
            ("j", Documentation),
            ("l", Documentation),
        ];
        assert_eq!(found, expected);
        assert!(findings.iter().all(|f| f.severity == Severity::Error));
        let allowed = check_director_columns(&schema(), true);
        for finding in allowed {
            let is_warning = finding.severity == Severity::Warning;
            assert_eq!(
                is_warning,
                finding.refuser == Documentation,
                "{}",
                finding.message
            );
        }
    }

    #[test]
    fn the_data_tell_what_would_do() {
        let measure = |length| Measure {
            longest: Some(Longest {
                length,
                place: Place {
                    row: Some(5),
                    ..Place::file("x.parquet")
                },
            }),
            ..Measure::default()
        };
        let (short, long, none) = (measure(12), measure(256), Measure::default());
        let findings = check_measured_columns(&schema(), false, |name| match name {
            "a" | "j" => Some(&short),
            "b" => Some(&long),
            "e" => Some(&none),
            _ => None,
        });
        let of = |name: &str| findings.iter().find(|f| f.column == name).unwrap();
        assert_eq!(of("a").instead.as_deref(), Some("CHAR(12)"));
        assert_eq!(of("j").instead.as_deref(), Some("BINARY(12)"));
        assert_eq!(of("e").instead.as_deref(), Some("BINARY(1)"));
        assert_eq!(of("b").instead, None);
        assert_eq!(
            of("a").message,
            "column a: TEXT in a director table: Qserv's ingest server refuses it; CHAR(12) would \
             do (the longest value has 12 characters: x.parquet, row 5)"
        );
        assert!(
            of("b").message.contains("no CHAR(n) would do"),
            "{}",
            of("b").message
        );
        assert!(of("c").message.ends_with("use CHAR(n)"));
    }
}

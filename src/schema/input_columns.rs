//! The columns of several table files, as one table holds them.

use std::collections::{BTreeMap, HashMap};

use arrow::datatypes::Schema;

use super::table::TRANSACTION_COLUMN;
use super::value_type::ValueType;
use crate::error::{Error, Place, Result};

/// A column of one or more table files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputColumn {
    /// Its name.
    pub name: String,
    /// What holds the values of all files.
    pub value_type: ValueType,
    /// Whether a file may hold NULL, or lacks the column.
    pub is_nullable: bool,
}

/// The columns of table files; files are added one by one.
#[derive(Debug, Default)]
pub struct InputColumns {
    columns: Vec<Known>,
    numbers: HashMap<String, usize>,
    files: usize,
    notes: BTreeMap<String, String>,
    /// Columns to leave out, and whether any file had them.
    excluded: BTreeMap<String, bool>,
}

#[derive(Debug)]
struct Known {
    column: InputColumn,
    /// The first file that has this type.
    file: String,
    /// Number of the last file that has the column.
    last: usize,
}

impl InputColumns {
    /// Makes a list that leaves out the columns `excluded`.
    pub fn without(excluded: Vec<String>) -> Self {
        Self {
            excluded: excluded.into_iter().map(|name| (name, false)).collect(),
            ..Self::default()
        }
    }

    /// Adds the columns of `file`; those that are new come last.
    ///
    /// # Errors
    /// A column can't be written, or nothing holds both its values and those of another file.
    pub fn add(&mut self, file: &str, schema: &Schema) -> Result<()> {
        for field in schema.fields() {
            let name = field.name();
            if let Some(is_found) = self.excluded.get_mut(name) {
                *is_found = true;
                continue;
            }
            // The ingest service adds this column itself, in front of each row.
            if name.eq_ignore_ascii_case(TRANSACTION_COLUMN) {
                continue;
            }
            let at = || Place {
                column: Some(name.clone()),
                ..Place::file(file)
            };
            let value_type = ValueType::of(field.data_type()).ok_or_else(|| {
                Error::usage(format!(
                    "columns of type {} can't be written",
                    field.data_type()
                ))
                .at(at())
                .hint(format!("leave it out: --exclude {name}"))
            })?;
            let Some(number) = self.numbers.get(name) else {
                self.numbers.insert(name.clone(), self.columns.len());
                self.columns.push(Known {
                    column: InputColumn {
                        name: name.clone(),
                        value_type,
                        is_nullable: field.is_nullable(),
                    },
                    file: file.to_owned(),
                    last: self.files,
                });
                if self.files > 0 {
                    self.is_lacking(self.columns.len() - 1);
                }
                continue;
            };
            let known = &mut self.columns[*number];
            if known.last == self.files {
                return Err(Error::usage("the file has two columns of this name").at(at()));
            }
            known.last = self.files;
            known.column.is_nullable |= field.is_nullable();
            let before = known.column.value_type;
            let Some(merged) = before.merged_with(value_type) else {
                let (now, before) = (value_type.in_words(), before.in_words());
                return Err(Error::usage(format!(
                    "is {now} here, but {before} in {}; no type holds both",
                    known.file
                ))
                .at(at())
                .hint(format!(
                    "convert one of the files first, or leave it out: --exclude {name}"
                )));
            };
            if merged != before && before != ValueType::Null && value_type != ValueType::Null {
                let note = format!(
                    "column {name}: {} in {}, {} in {file}; the table has {}",
                    before.in_words(),
                    known.file,
                    value_type.in_words(),
                    merged.in_words(),
                );
                self.notes.insert(name.clone(), note);
            }
            if merged != before {
                known.column.value_type = merged;
                file.clone_into(&mut known.file);
            }
        }
        for number in 0..self.columns.len() {
            if self.columns[number].last < self.files {
                self.is_lacking(number);
            }
        }
        self.files += 1;
        Ok(())
    }

    /// Notes that a file has no column `number`.
    fn is_lacking(&mut self, number: usize) {
        let column = &mut self.columns[number].column;
        column.is_nullable = true;
        let name = &column.name;
        let note = format!(
            "column {name}: some inputs lack it; name it with --optional when you convert them"
        );
        self.notes.entry(name.clone()).or_insert(note);
    }

    /// Returns the columns in order, and what the user should know of them.
    ///
    /// # Errors
    /// There is none, or MariaDB can't tell the names of two apart.
    pub fn finish(self) -> Result<(Vec<InputColumn>, Vec<String>)> {
        let mut seen: HashMap<String, &str> = HashMap::new();
        for known in &self.columns {
            let name = known.column.name.as_str();
            if let Some(other) = seen.insert(name.to_lowercase(), name) {
                return Err(Error::usage(format!(
                    "MariaDB can't tell columns {other} and {name} apart"
                ))
                .hint("leave one out with --exclude"));
            }
        }
        if let Some((name, _)) = self.excluded.iter().find(|(_, is_found)| !**is_found) {
            return Err(Error::usage(format!(
                "no input has a column {name} to leave out"
            )));
        }
        if self.columns.is_empty() {
            return Err(Error::usage("the inputs have no columns"));
        }
        let columns = self.columns.into_iter().map(|known| known.column);
        Ok((columns.collect(), self.notes.into_values().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field};

    fn schema(fields: &[(&str, DataType, bool)]) -> Schema {
        let field = |(name, data_type, nullable): &(&str, DataType, bool)| {
            Field::new(*name, data_type.clone(), *nullable)
        };
        Schema::new(fields.iter().map(field).collect::<Vec<_>>())
    }

    #[test]
    fn files_make_one_list() {
        let mut all = InputColumns::without(vec!["x".into()]);
        let first = [
            ("qserv_trans_id", DataType::Int32, false),
            ("a", DataType::Int32, false),
            ("x", DataType::Int32, false),
            ("b", DataType::Utf8, false),
        ];
        all.add("1.parquet", &schema(&first)).unwrap();
        let second = [("a", DataType::Int64, false), ("c", DataType::Utf8, false)];
        all.add("2.parquet", &schema(&second)).unwrap();
        let (columns, notes) = all.finish().unwrap();
        let shown: Vec<String> = columns
            .iter()
            .map(|c| format!("{} {} {}", c.name, c.value_type.in_words(), c.is_nullable))
            .collect();
        assert_eq!(shown, ["a BIGINT false", "b text true", "c text true"]);
        assert!(notes[0].contains("INT in 1.parquet, BIGINT in 2.parquet"));
        assert!(notes[1].contains("column b: some inputs lack it"));
        assert_eq!(notes.len(), 3);
    }

    #[test]
    fn what_does_not_go_together_names_both_files() {
        let mut all = InputColumns::default();
        all.add("1.parquet", &schema(&[("a", DataType::Int32, false)]))
            .unwrap();
        let other = schema(&[("a", DataType::Utf8, false)]);
        let said = all.add("2.parquet", &other).unwrap_err().to_string();
        assert!(
            said.contains("2.parquet, column a: is text here, but INT in 1.parquet"),
            "{said}"
        );
        let mut all = InputColumns::default();
        let twins = [("a", DataType::Int32, false), ("A", DataType::Int32, false)];
        all.add("1.parquet", &schema(&twins)).unwrap();
        assert!(all.finish().unwrap_err().to_string().contains("a and A"));
    }
}

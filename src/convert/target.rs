//! What rows are made for: an output with its dialect, values, columns and routing.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Schema};
use serde::Serialize;

use super::bad_row::BadRow;
use crate::dialect::{Dialect, Encoder};
use crate::error::{Error, Place, Result};
use crate::exchange::Packet;
use crate::partition::Routing;
use crate::schema::{ColumnContent, MysqlType, OutputChoice, OutputColumn, TableSchema};
use crate::values::{CellFault, ColumnRule, Inference, RuleCounts, TextBuffer, ValuePolicy};

/// How the rows of one output are made.
#[derive(Debug, Clone)]
pub struct RowTarget {
    /// Name of the output: the table's, or the command's.
    pub name: String,
    /// What rows look like.
    pub form: TextForm,
    /// Dialect of the text.
    pub dialect: Dialect,
    /// What becomes of values that MariaDB would not take.
    pub policy: ValuePolicy,
    /// What untyped text is taken for.
    pub inference: Inference,
    /// Columns that the user names, in order.
    pub columns: Option<Vec<String>>,
    /// Columns that the user leaves out.
    pub exclude: Vec<String>,
    /// Columns that an input may lack; they are NULL then.
    pub optional: Vec<String>,
    /// Columns that hold the same value in all rows, and the values.
    pub constants: Vec<(String, String)>,
    /// New names of input columns: old to new.
    pub rename: BTreeMap<String, String>,
    /// The target table.
    pub schema: Option<TableSchema>,
    /// Where rows go, for partitioned outputs.
    pub routing: Option<Routing>,
    /// Bytes that a file has at most, for outputs that are not partitioned.
    pub split: Option<u64>,
}

/// What rows look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TextForm {
    /// Lines of fields in a dialect.
    #[default]
    Lines,
    /// JSON arrays, as Qserv's ingest service takes them in the body of a request.
    JsonRows,
    /// As sph-parq2csv writes it: nothing is escaped.
    Bare,
    /// As sph-parq2csv writes it with `--csv-quote-fields`; `escapes` where that would be spoilt.
    Quoted {
        /// Whether values are escaped for MariaDB.
        escapes: bool,
    },
    /// Lines of fields in a dialect, where all values but NULL are in quotes.
    AllInQuotes,
    /// Lines of fields in a dialect, on their way to a Parquet file.
    Parquet,
}

/// What stands around the values of a row.
#[derive(Debug, Clone, Copy)]
pub struct RowLayout {
    /// Before the first.
    pub start: &'static [u8],
    /// Between two.
    pub delimiter: u8,
    /// Behind the last.
    pub end: &'static [u8],
}

impl RowTarget {
    /// Makes a target that writes all columns as they come, in `dialect`.
    pub fn new(name: impl Into<String>, dialect: Dialect) -> Self {
        Self {
            name: name.into(),
            form: TextForm::Lines,
            dialect,
            policy: ValuePolicy::default(),
            inference: Inference::Off,
            columns: None,
            exclude: Vec::new(),
            optional: Vec::new(),
            constants: Vec::new(),
            rename: BTreeMap::new(),
            schema: None,
            routing: None,
            split: None,
        }
    }

    /// Returns what decides the rows' bytes, for the record of an output folder.
    pub fn fingerprint(&self) -> serde_json::Value {
        serde_json::json!({
            "form": self.form,
            "dialect": self.dialect,
            "values": self.policy,
            "inference": self.inference,
            "columns": self.columns,
            "exclude": self.exclude,
            "optional": self.optional,
            "constants": self.constants,
            "rename": self.rename,
            "split": self.split,
            "schema": self.schema.as_ref().map(|schema| &schema.columns),
            "routing": self.routing,
        })
    }

    /// Returns the names of the input's columns as this output calls them.
    pub fn renamed(&self, input: &[String]) -> Vec<String> {
        input
            .iter()
            .map(|name| self.rename.get(name).unwrap_or(name).clone())
            .collect()
    }

    /// Returns the output's columns, given those of the first input.
    ///
    /// # Errors
    /// A column is named twice, excluded but not there, or unknown to the schema.
    pub fn output_columns(&self, input: &[String]) -> Result<Vec<OutputColumn>> {
        let renamed = self.renamed(input);
        if let Some(name) = self.rename.keys().find(|name| !input.contains(name)) {
            return Err(missing(name, input));
        }
        if let Some(name) = self.exclude.iter().find(|name| !self.knows(name, &renamed)) {
            return Err(missing(name, &renamed));
        }
        let routing = self.routing.as_ref();
        let routing = routing.filter(|routing| !routing.is_to_triangles());
        let columns = OutputChoice {
            columns: self.columns.as_deref(),
            schema: self.schema.as_ref(),
            exclude: &self.exclude,
            constants: &self.constants,
            chunk_columns: routing.map(|routing| &routing.columns),
        }
        .resolve(&renamed)?;
        if columns.is_empty() && !renamed.is_empty() {
            return Err(Error::usage("no column is left to be written")
                .hint("leave fewer out with --exclude"));
        }
        let is_geometry = |column: &&OutputColumn| column.target == Some(MysqlType::Geometry);
        match columns.iter().find(is_geometry) {
            Some(column) if self.form == TextForm::JsonRows => Err(Error::usage(format!(
                "column {}: the ingest service takes no GEOMETRY as JSON",
                column.name
            ))
            .hint("send the table as text, or leave the column out")),
            _ => Ok(columns),
        }
    }

    /// Refuses an input with columns that the first input did not have, where nobody said which
    /// columns to write: they would be lost without a word.
    ///
    /// # Errors
    /// The first such column.
    pub fn check_no_surplus(&self, input: &[String], columns: &[OutputColumn]) -> Result<()> {
        if self.columns.is_some() || self.schema.is_some() {
            return Ok(());
        }
        let renamed = self.renamed(input);
        let is_written = |name: &String| columns.iter().any(|column| column.name == *name);
        match renamed
            .iter()
            .find(|name| !is_written(name) && !self.exclude.contains(name))
        {
            None => Ok(()),
            Some(name) => Err(Error::usage(format!(
                "the input has a column {name} that the first input does not have"
            ))
            .hint("say which columns to write: --columns, --exclude or --schema")),
        }
    }

    fn knows(&self, name: &str, renamed: &[String]) -> bool {
        renamed.iter().any(|known| known == name)
            || self
                .schema
                .as_ref()
                .is_some_and(|schema| schema.column(name).is_some())
    }

    /// Finds the column `name` in an input whose columns this output calls `renamed`.
    ///
    /// Returns nothing if it is missing and may be.
    ///
    /// # Errors
    /// It is missing.
    pub fn find(&self, name: &str, renamed: &[String]) -> Result<Option<usize>> {
        match renamed.iter().position(|known| known == name) {
            Some(at) if renamed[at + 1..].contains(&renamed[at]) => {
                Err(Error::usage(format!("the input has two columns {name}"))
                    .hint("leave it out, or give them names of their own in the file"))
            }
            Some(at) => Ok(Some(at)),
            None if self.optional.iter().any(|optional| optional == name) => Ok(None),
            None => Err(missing(name, renamed)),
        }
    }

    /// Returns the text of an output column that has none from the input: its constant, or NULL.
    ///
    /// # Errors
    /// The constant does not fit the column.
    pub(crate) fn fixed_text(
        &self,
        column: &OutputColumn,
        rule: &ColumnRule,
        encoder: &Encoder,
    ) -> Result<Option<Vec<u8>>> {
        let constant = self.constants.iter().find(|(name, _)| *name == column.name);
        let (ColumnContent::Constant, Some((_, value))) = (column.content, constant) else {
            return Ok(None);
        };
        let mut out = TextBuffer::with_capacity(value.len() + 32);
        let mut counts = RuleCounts::default();
        let written = if value.as_bytes() == self.dialect.null() {
            rule.null(&mut out)
        } else {
            self.policy
                .charset
                .encode(value)
                .map_err(|fault| CellFault::found(value.as_str(), fault.to_string()))
                .and_then(|bytes| {
                    rule.text_value(&bytes, Inference::Off, encoder, &mut out, &mut counts)
                })
        };
        written.map_err(|fault| {
            let name = &column.name;
            let error = Error::usage(format!("constant column {name}: {}", fault.message()));
            match fault.hint() {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })?;
        encoder.end_field(0, &mut out);
        Ok(Some(out.as_slice().to_vec()))
    }

    /// Returns the type that an output's column has in an input of columns `schema`; nothing where the
    /// input does not have it, or others write it.
    ///
    /// # Errors
    /// The input has the column twice.
    pub fn input_type(&self, column: &OutputColumn, schema: &Schema) -> Result<Option<DataType>> {
        if column.content != ColumnContent::Input {
            return Ok(None);
        }
        let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        let root = self.find(&column.name, &self.renamed(&names))?;
        Ok(root.map(|root| schema.field(root).data_type().clone()))
    }

    /// Returns what writes values.
    pub fn encoder(&self) -> Encoder {
        match self.form {
            TextForm::Lines | TextForm::Parquet => self.dialect.encoder(),
            TextForm::JsonRows => Encoder::json_rows(),
            TextForm::Bare => Encoder::bare(),
            TextForm::Quoted { escapes } => Encoder::all_quoted(escapes),
            TextForm::AllInQuotes => Encoder::quoting_all(&self.dialect),
        }
    }

    /// Returns what stands around values.
    pub fn layout(&self) -> RowLayout {
        if self.form == TextForm::JsonRows {
            return RowLayout {
                start: b",\n[",
                delimiter: b',',
                end: b"]",
            };
        }
        RowLayout {
            start: b"",
            delimiter: self.dialect.delimiter(),
            end: self.dialect.line_terminator().as_bytes(),
        }
    }

    /// Compiles the rules of output column number `number`.
    pub fn rule(&self, number: usize, column: &OutputColumn) -> ColumnRule {
        let encoder = self.encoder();
        let null = encoder.null();
        ColumnRule::new(
            number,
            column.target,
            column.is_not_null,
            &self.policy,
            null,
        )
        .judging(self.inference)
    }
}

/// Makes the error for a column that an input does not have.
pub(crate) fn missing(name: &str, known: &[String]) -> Error {
    let mut shown: Vec<&str> = known.iter().take(20).map(String::as_str).collect();
    if known.len() > shown.len() {
        shown.push("...");
    }
    let near = known.iter().find(|other| other.eq_ignore_ascii_case(name));
    let hint = match (known, near) {
        ([only], _) if only.contains([',', '\t', '|', ';']) => format!(
            "its only column is '{}': check --in-delimiter and --in-dialect",
            only.escape_debug()
        ),
        (_, Some(near)) => format!("did you mean {near}?"),
        (_, None) => format!("its columns are {}", shown.join(", ")),
    };
    Error::usage(format!("the input has no column {name}")).hint(hint)
}

/// Refuses a row that Qserv's ingest server would not take.
///
/// # Errors
/// The row that was written last is too long; the fault names its first column.
#[inline]
pub(crate) fn check_row_length(packet: &Packet, first_column: &str) -> Result<(), RowFault> {
    if !packet.is_row_too_long() {
        return Ok(());
    }
    let message = "the row is longer than 16 MiB, which Qserv's ingest server does not take";
    Err(RowFault {
        column: first_column.to_owned(),
        cell: CellFault::new(message),
    })
}

/// Why a row was refused.
#[derive(Debug)]
pub struct RowFault {
    /// Name of the column.
    pub column: String,
    /// What was found there.
    pub cell: CellFault,
}

impl RowFault {
    /// Says where the row stands.
    pub fn into_bad_row(self, place: Place) -> BadRow {
        BadRow {
            place: Place {
                column: Some(self.column),
                ..place
            },
            fault: self.cell,
        }
    }
}

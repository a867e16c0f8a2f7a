//! A table for data that have none yet: types from what the inputs hold, lengths from the longest
//! values, and what Qserv must know to register it.

use super::input_columns::InputColumn;
use super::measure::{Look, Measure};
use super::mysql_type::MysqlType;
use super::row_size::{ROW_LIMIT, TableCharset, row_bytes};
use super::table::{ColumnDefinition, TableKind, TableSchema};
use super::value_type::ValueType;
use super::{CHUNK_COLUMN, SUB_CHUNK_COLUMN, declaration};
use crate::error::{Error, ErrorKind, Place, Result};

/// The longest CHAR and BINARY.
const MOST_FIXED: u64 = 255;

/// What the user says about a table.
#[derive(Debug, Clone, Default)]
pub struct TableRequest {
    /// Its kind; without one, nothing is said about partitioning.
    pub kind: Option<TableKind>,
    /// Name of the database.
    pub database: Option<String>,
    /// Name of the table.
    pub table: Option<String>,
    /// Name of the director, for a child; of the first one, for a match table.
    pub director: Option<String>,
    /// Name of the second director, for a match table.
    pub director2: Option<String>,
    /// Column of the director's key.
    pub id: Option<String>,
    /// Column of the second director's key, for a match table.
    pub id2: Option<String>,
    /// Column of the right ascension.
    pub ra: Option<String>,
    /// Column of the declination.
    pub dec: Option<String>,
    /// Column that tells on which side of a match a row is.
    pub flag: Option<String>,
    /// How far apart a match may be.
    pub ang_sep: Option<serde_json::Number>,
    /// Character set of the table.
    pub charset: Option<TableCharset>,
}

/// A proposed table.
#[derive(Debug)]
pub struct Proposal {
    /// The table.
    pub schema: TableSchema,
    /// What the user should know.
    pub notes: Vec<String>,
    /// What will be refused when the data are converted.
    pub warnings: Vec<String>,
}

impl TableRequest {
    /// Fills what is not said from a definition.
    ///
    /// # Errors
    /// The kinds differ.
    pub fn or_from(mut self, schema: &TableSchema) -> Result<Self> {
        if let (Some(said), Some(known)) = (self.kind, schema.kind)
            && said != known
        {
            let (said, known) = (said.name(), known.name());
            let message = format!("the kind is given as {said}, but the definition says {known}");
            return Err(Error::usage(message));
        }
        let fill = |own: &mut Option<String>, theirs: &Option<String>| {
            if own.is_none() {
                own.clone_from(theirs);
            }
        };
        self.kind = self.kind.or(schema.kind);
        fill(&mut self.database, &schema.database);
        fill(&mut self.table, &schema.table);
        fill(&mut self.director, &schema.director_table);
        fill(&mut self.director2, &schema.director_table2);
        fill(&mut self.id2, &schema.id2);
        fill(&mut self.ra, &schema.ra);
        fill(&mut self.dec, &schema.dec);
        fill(&mut self.flag, &schema.flag);
        self.ang_sep = self.ang_sep.or_else(|| schema.ang_sep.clone());
        // The primary key of a child is its own, not its director's.
        if schema.kind.is_some() || self.kind == Some(TableKind::Director) {
            fill(&mut self.id, &schema.id);
        }
        if self.charset.is_none() && schema.charset.is_none() {
            self.charset = Some(TableCharset::Latin1);
        }
        Ok(self)
    }

    /// Checks that Qserv would be told all that it must know of a table of this kind.
    ///
    /// # Errors
    /// Something is lacking, or makes no sense for this kind.
    pub fn check(&self) -> Result<()> {
        let said = [
            ("--director", self.director.is_some()),
            ("--director2", self.director2.is_some()),
            ("--id", self.id.is_some()),
            ("--id2", self.id2.is_some()),
            ("--ra", self.ra.is_some()),
            ("--dec", self.dec.is_some()),
            ("--ang-sep", self.ang_sep.is_some()),
        ];
        let (needed, allowed): (&[&str], &[&str]) = match self.kind {
            Some(TableKind::Director) => (&["--id", "--ra", "--dec"], &[]),
            Some(TableKind::Child) => (&["--director", "--id"], &["--ra", "--dec"]),
            Some(TableKind::Match) => (
                &["--director", "--director2", "--id", "--id2", "--ang-sep"],
                &[],
            ),
            Some(TableKind::Regular) | None => (&[], &[]),
        };
        let kind = self.kind.map_or("unknown", TableKind::name);
        for (option, is_said) in said {
            if is_said && self.kind.is_none() {
                return Err(Error::usage(format!("{option} says little without --kind"))
                    .hint("say --kind director, child, regular or match"));
            }
            if is_said && !needed.contains(&option) && !allowed.contains(&option) {
                let message = format!("{option} is not for tables of kind {kind}");
                return Err(Error::usage(message));
            }
            if !is_said && needed.contains(&option) {
                let message = format!("a {kind} table needs {}", needed.join(", "));
                return Err(Error::usage(message).hint(format!("{option} is missing")));
            }
        }
        if self.ra.is_some() != self.dec.is_some() {
            return Err(Error::usage("--ra and --dec go together"));
        }
        if self.kind == Some(TableKind::Match) && self.id == self.id2 {
            return Err(Error::usage("--id and --id2 must be two columns"));
        }
        Ok(())
    }

    /// Returns the columns that must have a value in each row: keys and positions.
    fn keys(&self) -> impl Iterator<Item = &str> {
        let keys = [&self.id, &self.id2, &self.ra, &self.dec];
        keys.into_iter().flatten().map(String::as_str)
    }

    fn is_key(&self, name: &str) -> bool {
        self.keys().any(|key| key == name)
    }

    /// Returns the columns that partitioning makes, in order.
    fn made(&self) -> Vec<&str> {
        let flag = self.flag.as_deref();
        match self.kind {
            Some(TableKind::Match) => {
                let flag = flag.unwrap_or(super::FLAGS_COLUMN);
                vec![CHUNK_COLUMN, SUB_CHUNK_COLUMN, flag]
            }
            Some(TableKind::Director | TableKind::Child) => vec![CHUNK_COLUMN, SUB_CHUNK_COLUMN],
            Some(TableKind::Regular) | None => Vec::new(),
        }
    }

    fn is_made(&self, name: &str) -> bool {
        self.made()
            .iter()
            .any(|made| made.eq_ignore_ascii_case(name))
    }

    /// Returns what must be looked for in the values of each column.
    pub fn looks(&self, columns: &[InputColumn]) -> Vec<Look> {
        let look = |column: &InputColumn| {
            if self.is_made(&column.name) {
                return Look::default();
            }
            let is_key = self.is_key(&column.name);
            Look {
                length: matches!(column.value_type, ValueType::Text | ValueType::Binary),
                nulls: is_key && column.is_nullable,
                nan: column.value_type.is_float() && (is_key || !column.is_nullable),
                bytes: false,
            }
        };
        columns.iter().map(look).collect()
    }

    /// Proposes a table for columns of which `measures` were seen.
    ///
    /// # Errors
    /// A key or position is no column; a director's column can't be; a name can't be a column's.
    pub fn propose(&self, columns: &[InputColumn], measures: &[Measure]) -> Result<Proposal> {
        self.check_columns(columns)?;
        let charset = self.charset.unwrap_or_default();
        let (mut notes, mut warnings) = (Vec::new(), Vec::new());
        let mut typed = Vec::with_capacity(columns.len() + 3);
        for (column, measure) in columns.iter().zip(measures) {
            if self.is_made(&column.name) {
                continue;
            }
            let mysql_type = self.type_of(column, measure, &mut notes)?;
            let is_key = self.is_key(&column.name);
            let is_not_null = is_key || (!column.is_nullable && measure.first_nan.is_none());
            self.warn_of(column, measure, &mut warnings);
            typed.push((column.name.as_str(), mysql_type, is_not_null));
        }
        for made in self.made() {
            typed.push((made, CHUNK_TYPE, true));
        }
        self.fit_into_row(
            &mut typed,
            measures_by_name(columns, measures),
            charset,
            &mut notes,
        )?;
        let mut definitions = Vec::with_capacity(typed.len());
        for (name, mysql_type, is_not_null) in typed {
            let null = if is_not_null { " NOT NULL" } else { "" };
            definitions.push(ColumnDefinition::new(name, &format!("{mysql_type}{null}"))?);
        }
        let schema = self.registered(TableSchema {
            columns: definitions,
            ..TableSchema::default()
        })?;
        Ok(Proposal {
            schema,
            notes,
            warnings,
        })
    }

    /// Completes a definition with what is said about the table.
    ///
    /// # Errors
    /// A key or position is no column.
    pub fn complete(&self, mut schema: TableSchema) -> Result<TableSchema> {
        let known: Vec<&str> = schema.columns.iter().map(|c| c.name.as_str()).collect();
        self.check_keys(&known)?;
        for column in &mut schema.columns {
            let says_null = declaration::outline(&column.declaration)
                .iter()
                .any(|word| word == "NULL");
            if self.is_key(&column.name) && !says_null && !column.is_not_null {
                let declaration = format!("{} NOT NULL", column.declaration);
                *column = ColumnDefinition::new(&column.name, &declaration)?;
            }
        }
        for made in self.made() {
            if schema.column(made).is_none() {
                let declaration = format!("{CHUNK_TYPE} NOT NULL");
                schema
                    .columns
                    .push(ColumnDefinition::new(made, &declaration)?);
            }
        }
        self.registered(schema)
    }

    fn registered(&self, schema: TableSchema) -> Result<TableSchema> {
        let is_match = self.kind == Some(TableKind::Match);
        let flag = self.flag.clone();
        let flag = flag.or_else(|| Some(super::FLAGS_COLUMN.to_owned()));
        let charset = self.charset;
        TableSchema {
            database: self.database.clone(),
            table: self.table.clone(),
            kind: self.kind,
            director_table: self.director.clone(),
            director_table2: self.director2.clone(),
            id: self.id.clone(),
            id2: self.id2.clone(),
            ra: self.ra.clone(),
            dec: self.dec.clone(),
            flag: flag.filter(|_| is_match),
            ang_sep: self.ang_sep.clone(),
            charset: charset.map(|c| c.name().to_owned()).or(schema.charset),
            collation: charset
                .map(|c| c.collation().to_owned())
                .or(schema.collation),
            ..schema
        }
        .checked()
    }

    /// Checks that keys and positions are among the columns.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check_columns(&self, columns: &[InputColumn]) -> Result<()> {
        let known: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        self.check_keys(&known)
    }

    fn check_keys(&self, known: &[&str]) -> Result<()> {
        let Some(key) = self.keys().find(|key| !known.contains(key)) else {
            return Ok(());
        };
        let near = known.iter().find(|name| name.eq_ignore_ascii_case(key));
        let hint = match near {
            Some(near) => format!("did you mean {near}?"),
            None => format!("the columns are {}", listed(known)),
        };
        Err(Error::usage(format!("there is no column {}", key.escape_debug())).hint(hint))
    }

    /// Returns the type of a column, which for texts follows from the longest one.
    fn type_of(
        &self,
        column: &InputColumn,
        measure: &Measure,
        notes: &mut Vec<String>,
    ) -> Result<MysqlType> {
        let name = &column.name;
        let is_director = self.kind == Some(TableKind::Director);
        if let Some(known) = column.value_type.mysql_type() {
            if column.value_type == ValueType::Null {
                notes.push(format!(
                    "column {name}: nothing but NULL; {known} is a guess"
                ));
            }
            if column.value_type.is_too_wide() {
                notes.push(format!(
                    "column {name}: {known} is the most that MariaDB has"
                ));
            }
            return Ok(known);
        }
        let length = measure.length().max(1);
        let n = u32::try_from(length).unwrap_or(u32::MAX);
        Ok(match column.value_type {
            ValueType::Nested if is_director => {
                return Err(refused(
                    name,
                    "nested values are written as JSON text of any length, which a director \
                     can't hold",
                    None,
                )
                .hint(format!("leave it out: --exclude {name}")));
            }
            ValueType::Nested => {
                notes.push(format!(
                    "column {name}: nested; LONGTEXT holds it as JSON text"
                ));
                MysqlType::Text(u64::from(u32::MAX))
            }
            ValueType::FixedBinary(size) if u64::from(size) <= MOST_FIXED => {
                MysqlType::Binary(size.max(1))
            }
            ValueType::FixedBinary(size) if is_director => {
                let message = format!("values of {size} bytes; {DIRECTOR_LIMIT}");
                return Err(refused(name, &message, None));
            }
            ValueType::FixedBinary(size) => MysqlType::Varbinary(size),
            _ if is_director && length > MOST_FIXED => {
                let unit = match column.value_type {
                    ValueType::Text => "characters",
                    _ => "bytes",
                };
                let message = format!("the longest value has {length} {unit}; {DIRECTOR_LIMIT}");
                let longest = measure.longest.as_ref();
                return Err(refused(
                    name,
                    &message,
                    longest.map(|longest| &longest.place),
                ));
            }
            ValueType::Text if is_director => MysqlType::Char(n),
            ValueType::Text => MysqlType::Varchar(n),
            _ if is_director => {
                notes.push(format!(
                    "column {name}: BINARY({n}) fills shorter values up with zero bytes"
                ));
                MysqlType::Binary(n)
            }
            _ => MysqlType::Varbinary(n),
        })
    }

    fn warn_of(&self, column: &InputColumn, measure: &Measure, warnings: &mut Vec<String>) {
        let name = &column.name;
        if let Some((lacking, place)) = &measure.unmappable {
            warnings.push(format!(
                "{place}: latin1 has no '{}'; say --charset utf8mb4, here and to convert",
                lacking.escape_debug()
            ));
        }
        for (what, place) in [("NULL", &measure.first_null), ("NaN", &measure.first_nan)] {
            if let (Some(place), true) = (place, self.is_key(name)) {
                warnings.push(format!(
                    "{place}: {what} in a key or position column, which is NOT NULL; such rows \
                     will be refused"
                ));
            }
        }
    }

    /// Makes the longest columns TEXT or BLOB until a row is not too long for MariaDB.
    fn fit_into_row<'m>(
        &self,
        typed: &mut [(&str, MysqlType, bool)],
        measure_of: impl Fn(&str) -> Option<&'m Measure>,
        charset: TableCharset,
        notes: &mut Vec<String>,
    ) -> Result<()> {
        loop {
            let bytes = row_bytes(typed.iter().map(|(_, mysql_type, _)| *mysql_type), charset);
            if bytes <= ROW_LIMIT {
                return Ok(());
            }
            let of = |mysql_type: &MysqlType| row_bytes([*mysql_type].into_iter(), charset);
            let longest = typed
                .iter_mut()
                .filter(|(_, mysql_type, _)| {
                    matches!(mysql_type, MysqlType::Varchar(_) | MysqlType::Varbinary(_))
                })
                // Of several the first.
                .rev()
                .max_by_key(|(_, mysql_type, _)| of(mysql_type));
            let is_director = self.kind == Some(TableKind::Director);
            let Some((name, mysql_type, _)) = longest.filter(|_| !is_director) else {
                return Err(Error::new(
                    ErrorKind::DataRefused,
                    format!("a row takes {bytes} bytes, MariaDB has room for {ROW_LIMIT}"),
                )
                .hint("leave out long columns with --exclude"));
            };
            let most = measure_of(name).map_or(0, |measure| measure.most_bytes);
            *mysql_type = match mysql_type {
                MysqlType::Varchar(_) => MysqlType::Text(long_for(most)),
                _ => MysqlType::Blob(long_for(most)),
            };
            notes.push(format!(
                "column {name}: {mysql_type}, for a row has room for {ROW_LIMIT} bytes in all"
            ));
        }
    }
}

/// The type of columns that partitioning makes.
const CHUNK_TYPE: MysqlType = MysqlType::Integer {
    bits: 32,
    unsigned: true,
};

const DIRECTOR_LIMIT: &str =
    "a director has room for 255, for it may have no VARCHAR, TEXT or BLOB";

/// Returns the longest value of the smallest TEXT or BLOB that holds so many bytes.
fn long_for(bytes: u64) -> u64 {
    let kinds = [65_535, 16_777_215];
    let holds = kinds.into_iter().find(|most| *most >= bytes);
    holds.unwrap_or(u64::from(u32::MAX))
}

fn measures_by_name<'m>(
    columns: &'m [InputColumn],
    measures: &'m [Measure],
) -> impl Fn(&str) -> Option<&'m Measure> {
    |name| {
        let at = columns.iter().position(|column| column.name == name)?;
        measures.get(at)
    }
}

fn refused(name: &str, message: &str, place: Option<&Place>) -> Error {
    let place = place.cloned().unwrap_or_default();
    Error::new(ErrorKind::DataRefused, message).at(Place {
        column: Some(name.to_owned()),
        ..place
    })
}

fn listed(names: &[&str]) -> String {
    let mut shown: Vec<&str> = names.iter().take(20).copied().collect();
    if shown.len() < names.len() {
        shown.push("...");
    }
    shown.join(", ")
}

#[cfg(test)]
#[path = "proposal_tests.rs"]
mod tests;

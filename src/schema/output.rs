//! The columns of an output, in order: from the input, from the schema, or chunk numbers.

use serde::Serialize;

use super::mysql_type::MysqlType;
use super::table::TableSchema;
use crate::error::{Error, Result};
use crate::exchange::{SlotPart, SlotText};

/// Name of the column that partitioning adds for the chunk, unless the user names another.
pub const CHUNK_COLUMN: &str = "chunkId";
/// Name of the column that partitioning adds for the sub-chunk.
pub const SUB_CHUNK_COLUMN: &str = "subChunkId";

/// Name of the column that partitioning adds to matches for the side of a row.
pub const FLAGS_COLUMN: &str = "partitioningFlags";

/// What an output column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnContent {
    /// The input's column of the same name.
    Input,
    /// NULL: the server computes the column.
    Placeholder,
    /// The same value in all rows.
    Constant,
    /// The number of the chunk.
    Chunk,
    /// The number of the sub-chunk.
    SubChunk,
    /// Which sides of a match lie in the chunk.
    MatchSides,
}

/// One column of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputColumn {
    /// Name of the column.
    pub name: String,
    /// What it holds.
    pub content: ColumnContent,
    /// Type in the target table, where a schema names it.
    pub target: Option<MysqlType>,
    /// Whether the target is NOT NULL.
    pub is_not_null: bool,
}

impl OutputColumn {
    /// Says whether partitioning fills it in.
    pub fn is_number_of_chunk(&self) -> bool {
        matches!(
            self.content,
            ColumnContent::Chunk | ColumnContent::SubChunk | ColumnContent::MatchSides
        )
    }
}

/// What decides the columns of an output.
#[derive(Debug, Clone, Copy)]
pub struct OutputChoice<'a> {
    /// Columns that the user names, in order.
    pub columns: Option<&'a [String]>,
    /// The target table.
    pub schema: Option<&'a TableSchema>,
    /// Columns that the user leaves out.
    pub exclude: &'a [String],
    /// Columns that hold the same value in all rows, and the values.
    pub constants: &'a [(String, String)],
    /// Columns that partitioning fills in, for partitioned outputs.
    pub chunk_columns: Option<&'a ChunkColumns>,
}

/// Names of the columns that partitioning fills in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChunkColumns {
    /// The chunk; matches can do without.
    pub chunk: Option<String>,
    /// The sub-chunk.
    pub sub_chunk: String,
    /// Which sides of a match lie in the chunk; for match tables.
    pub flags: Option<String>,
}

impl Default for ChunkColumns {
    fn default() -> Self {
        Self {
            chunk: Some(CHUNK_COLUMN.to_owned()),
            sub_chunk: SUB_CHUNK_COLUMN.to_owned(),
            flags: None,
        }
    }
}

impl ChunkColumns {
    /// Returns the names in the order in which the columns are appended, and what they hold.
    pub fn all(&self) -> impl Iterator<Item = (&str, ColumnContent)> {
        let (chunk, flags) = (self.chunk.as_deref(), self.flags.as_deref());
        [
            chunk.map(|name| (name, ColumnContent::Chunk)),
            Some((self.sub_chunk.as_str(), ColumnContent::SubChunk)),
            flags.map(|name| (name, ColumnContent::MatchSides)),
        ]
        .into_iter()
        .flatten()
    }

    /// Returns what the column `name` holds if it is one of these.
    pub fn content_of(&self, name: &str) -> Option<ColumnContent> {
        let mut all = self.all();
        all.find(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, content)| content)
    }

    /// Returns the names alone.
    pub fn names(&self) -> Vec<String> {
        self.all().map(|(name, _)| name.to_owned()).collect()
    }
}

impl OutputChoice<'_> {
    /// Returns the output's columns, given those of the first input.
    ///
    /// Columns come from the user's list, else from the schema, else from the input. Chunk numbers
    /// stand where one of these puts them, else last.
    ///
    /// # Errors
    /// The input has two columns of a name, or the schema does not know a column.
    pub fn resolve(&self, input: &[String]) -> Result<Vec<OutputColumn>> {
        let mut names: Vec<String> = match (self.columns, self.schema) {
            (Some(names), _) => names.to_vec(),
            (None, Some(schema)) => schema.columns.iter().map(|c| c.name.clone()).collect(),
            (None, None) => {
                let constants = self.constants.iter().map(|(name, _)| name);
                input.iter().chain(constants).cloned().collect()
            }
        };
        if let Some((name, _)) = self.constants.iter().find(|(name, _)| input.contains(name)) {
            return Err(Error::usage(format!(
                "column {name} is to be constant, but the input has one of that name"
            ))
            .hint("give one of them another name, such as --rename OLD=NEW"));
        }
        if let Some((name, _)) = self
            .constants
            .iter()
            .find(|(name, _)| !names.contains(name))
        {
            return Err(Error::usage(format!(
                "the constant column {name} is not among the columns to write"
            ))
            .hint("add it to --columns or to the schema"));
        }
        if let (Some(_), Some(schema)) = (self.columns, self.schema) {
            check_order(&names, schema)?;
        }
        names.retain(|name| !self.exclude.contains(name) && !self.comes_later(name, input));
        if let Some(columns) = self.chunk_columns {
            for (id, _) in columns.all() {
                if !names.iter().any(|name| name.eq_ignore_ascii_case(id)) {
                    names.push(id.to_owned());
                }
            }
        }
        // Who lists columns may repeat them, as with sph-parq2csv.
        if self.columns.is_none()
            && let Some((_, name)) = names
                .iter()
                .enumerate()
                .find(|(at, name)| names[..*at].contains(name))
        {
            return Err(Error::usage(format!("the input has two columns {name}"))
                .hint("say which columns to write with --columns"));
        }
        names.into_iter().map(|name| self.column(name)).collect()
    }

    fn column(&self, name: String) -> Result<OutputColumn> {
        let definition = match self.schema {
            None => None,
            Some(schema) => match schema.column(&name) {
                Some(definition) => Some(definition),
                None if self.chunk_content(&name).is_some() => None,
                None => {
                    return Err(Error::usage(format!("column {name} is not in the schema")));
                }
            },
        };
        let is_constant = self.constants.iter().any(|(constant, _)| *constant == name);
        if is_constant && definition.is_some_and(|d| d.is_generated) {
            return Err(Error::usage(format!(
                "column {name} can't be constant: the server computes it"
            )));
        }
        let content = match self.chunk_content(&name) {
            Some(content) => content,
            _ if definition.is_some_and(|d| d.is_generated) => ColumnContent::Placeholder,
            _ if is_constant => ColumnContent::Constant,
            _ => ColumnContent::Input,
        };
        Ok(OutputColumn {
            content,
            target: definition.map(|d| d.mysql_type),
            is_not_null: content != ColumnContent::Placeholder
                && definition.is_some_and(|d| d.is_not_null),
            name,
        })
    }

    /// Says whether a column is one that partitioning will add to a row that lacks it so far.
    fn comes_later(&self, name: &str, input: &[String]) -> bool {
        self.chunk_columns.is_none()
            && self.columns.is_none()
            && self
                .schema
                .is_some_and(|schema| schema.is_made_by_partitioning(name))
            && !input.iter().any(|known| known == name)
    }

    fn chunk_content(&self, name: &str) -> Option<ColumnContent> {
        self.chunk_columns?.content_of(name)
    }
}

/// Checks that columns come in the table's order: MariaDB loads fields by their place.
///
/// # Errors
/// Two do not.
fn check_order(names: &[String], schema: &TableSchema) -> Result<()> {
    let place = |name: &String| {
        let mut columns = schema.columns.iter();
        columns.position(|column| column.name.eq_ignore_ascii_case(name))
    };
    let known: Vec<_> = names
        .iter()
        .filter_map(|name| Some((name, place(name)?)))
        .collect();
    match known.windows(2).find(|pair| pair[0].1 >= pair[1].1) {
        None => Ok(()),
        Some(pair) => Err(Error::usage(format!(
            "column {} is to come before {}, but in the schema it does not",
            pair[0].0, pair[1].0
        ))
        .hint("the schema gives the order: leave out --columns, or name them in its order")),
    }
}

/// One step in writing a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowStep {
    /// Write the delimiter.
    Delimiter,
    /// Write the cell of output column so-and-so.
    Cell(usize),
    /// Mark the place of the next slot.
    Slot,
}

/// Returns the steps that write a row, and what is filled in at its slots.
///
/// Neighbouring chunk columns share a slot; delimiters beside them belong to it.
pub fn row_steps(columns: &[OutputColumn]) -> (Vec<RowStep>, Vec<SlotText>) {
    let mut steps = Vec::new();
    let mut slots: Vec<SlotText> = Vec::new();
    for (number, column) in columns.iter().enumerate() {
        let part = match column.content {
            ColumnContent::Chunk => SlotPart::Chunk,
            ColumnContent::SubChunk => SlotPart::SubChunk,
            ColumnContent::MatchSides => SlotPart::MatchSides,
            ColumnContent::Input | ColumnContent::Placeholder | ColumnContent::Constant => {
                if number > 0 {
                    steps.push(RowStep::Delimiter);
                }
                steps.push(RowStep::Cell(number));
                continue;
            }
        };
        if steps.last() != Some(&RowStep::Slot) {
            steps.push(RowStep::Slot);
            slots.push(SlotText::new());
        }
        if let Some(slot) = slots.last_mut() {
            if number > 0 {
                slot.push(SlotPart::Delimiter);
            }
            slot.push(part);
        }
    }
    (steps, slots)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    static COLUMNS: LazyLock<ChunkColumns> = LazyLock::new(ChunkColumns::default);

    fn choice<'a>(schema: Option<&'a TableSchema>) -> OutputChoice<'a> {
        OutputChoice {
            columns: None,
            schema,
            exclude: &[],
            constants: &[],
            chunk_columns: Some(&COLUMNS),
        }
    }

    #[test]
    fn chunk_columns_are_appended_last() {
        let columns = choice(None).resolve(&names(&["a", "b"])).unwrap();
        let (steps, slots) = row_steps(&columns);
        use RowStep::{Cell, Delimiter, Slot};
        assert_eq!(steps, [Cell(0), Delimiter, Cell(1), Slot]);
        use SlotPart::{Chunk, SubChunk};
        let delimiter = SlotPart::Delimiter;
        assert_eq!(slots, [vec![delimiter, Chunk, delimiter, SubChunk]]);
    }

    #[test]
    fn chunk_columns_are_overwritten_where_they_stand() {
        let columns = choice(None)
            .resolve(&names(&["subChunkId", "a", "chunkId", "b"]))
            .unwrap();
        let (steps, slots) = row_steps(&columns);
        use RowStep::{Cell, Delimiter, Slot};
        assert_eq!(steps, [Slot, Delimiter, Cell(1), Slot, Delimiter, Cell(3)]);
        let delimiter = SlotPart::Delimiter;
        assert_eq!(
            slots,
            [vec![SlotPart::SubChunk], vec![delimiter, SlotPart::Chunk]]
        );
    }

    #[test]
    fn columns_come_in_the_order_of_the_schema() {
        let schema = TableSchema::from_json(
            br#"{"schema": [{"name":"a","type":"INT"},{"name":"b","type":"INT"},
                {"name":"c","type":"INT"}]}"#,
        )
        .unwrap();
        let resolved = |columns: &[String]| {
            let choice = OutputChoice {
                columns: Some(columns),
                chunk_columns: None,
                ..choice(Some(&schema))
            };
            choice.resolve(&names(&["c", "b", "a"]))
        };
        assert_eq!(resolved(&names(&["a", "c"])).unwrap().len(), 2);
        for wrong in [["b", "a"], ["a", "a"]] {
            let error = resolved(&names(&wrong)).unwrap_err();
            assert!(error.to_string().contains("column"), "{error}");
        }
    }

    #[test]
    fn a_schema_gives_order_types_and_placeholders() {
        let schema = TableSchema::from_json(
            br#"{"schema": [{"name":"b","type":"INT NOT NULL"},
                {"name":"m","type":"FLOAT GENERATED ALWAYS AS (b) VIRTUAL"},
                {"name":"a","type":"DOUBLE"}]}"#,
        )
        .unwrap();
        let columns = choice(Some(&schema))
            .resolve(&names(&["a", "b", "c"]))
            .unwrap();
        let found: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(found, ["b", "m", "a", "chunkId", "subChunkId"]);
        assert!(columns[0].is_not_null);
        assert_eq!(columns[1].content, ColumnContent::Placeholder);
        assert_eq!(columns[2].target, Some(MysqlType::Double));
    }
}

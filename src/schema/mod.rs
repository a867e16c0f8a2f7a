//! Target tables: MySQL column types, Qserv's table JSON and Felis, and tables proposed for data.

mod declaration;
mod director_rule;
mod felis;
mod find;
mod input_columns;
mod measure;
mod mysql_type;
mod names;
mod output;
mod proposal;
mod render;
mod row_size;
mod table;
mod value_type;

pub use director_rule::{
    DirectorFinding, Refuser, Severity, check_director_columns, check_measured_columns,
};
pub use find::{Definition, definition_of};
pub use input_columns::{InputColumn, InputColumns};
pub use measure::{Longest, Look, Measure};
pub use mysql_type::MysqlType;
pub use names::{check_name, check_together};
pub use output::{
    CHUNK_COLUMN, ChunkColumns, ColumnContent, FLAGS_COLUMN, OutputChoice, OutputColumn, RowStep,
    SUB_CHUNK_COLUMN, row_steps,
};
pub use proposal::{Proposal, TableRequest};
pub use row_size::TableCharset;
pub use table::{ColumnDefinition, TRANSACTION_COLUMN, TableKind, TableSchema};
pub use value_type::ValueType;

//! Target tables: MySQL column types and Qserv's table JSON.

mod director_rule;
mod mysql_type;
mod names;
mod output;
mod table;

pub use director_rule::{DirectorFinding, Severity, check_director_columns};
pub use mysql_type::MysqlType;
pub use names::check_name;
pub use output::{
    CHUNK_COLUMN, ColumnContent, OutputChoice, OutputColumn, RowStep, SUB_CHUNK_COLUMN, row_steps,
};
pub use table::{ColumnDefinition, TableKind, TableSchema};

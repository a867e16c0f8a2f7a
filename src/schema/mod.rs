//! Target tables: MySQL column types, Qserv's table JSON and Felis, and tables proposed for data.

mod declaration;
mod director_rule;
mod felis;
mod mysql_type;
mod names;
mod output;
mod table;

pub use director_rule::{DirectorFinding, Severity, check_director_columns};
pub use mysql_type::MysqlType;
pub use names::{check_name, check_together};
pub use output::{
    CHUNK_COLUMN, ColumnContent, OutputChoice, OutputColumn, RowStep, SUB_CHUNK_COLUMN, row_steps,
};
pub use table::{ColumnDefinition, TRANSACTION_COLUMN, TableKind, TableSchema};

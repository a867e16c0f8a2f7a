//! Convert: Arrow batches become rows of text.
//!
//! A [`RowPlan`] is compiled once per input file from the output's columns and the file's schema;
//! bound to a batch it writes row after row into a packet, one encoder per column, without strings
//! or allocations per cell.

mod bad_row;
mod cells;
mod keys;
mod nested;
mod number_block;
mod positions;
mod route_columns;
mod row_plan;
mod source_type;
mod target;

pub use bad_row::BadRow;
pub use cells::BoundColumn;
pub(crate) use keys::KeyValues;
pub use positions::PositionColumn;
pub(crate) use route_columns::{Named, RouteColumns};
pub(crate) use row_plan::check_same_key;
pub use row_plan::{BoundRows, RowPlan, mysql_type_of};
pub use source_type::CellSource;
pub use target::{RowFault, RowLayout, RowTarget, TextForm};
pub(crate) use target::{check_row_length, missing};

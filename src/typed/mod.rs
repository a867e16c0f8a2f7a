//! Rows of text become columns of types: Parquet as an output.
//!
//! All rules about values are those of text, so rows come here as text in MariaDB's own dialect, in
//! utf8mb4, and each field is read as its column's type. What is written is what a table of that type
//! would hold, and a second conversion gives the same values.
//!
//! Where batches, pages and row groups end follows from the rows alone: the bytes are the same for any
//! number of threads and any memory limit.

mod batch;
mod column_type;
mod parquet_sink;
mod spellings;

pub use column_type::{ColumnType, TypedColumn};
pub use parquet_sink::{ParquetSink, ParquetWriter, parquet_memory};

//! Sources: files, folders, globs and stdin, cut into pieces.
//!
//! A *piece* is a span of rows of a Parquet file or a block of text cut at a record's end. Where
//! pieces are cut depends on the inputs alone, never on threads or memory, and pieces are numbered
//! in input order: that is the order key that everything behind rests on.

mod inputs;

mod parquet;
mod parquet_decode;
mod parquet_pages;
mod parquet_shared;
mod pattern;
mod reader_schema;
mod text;
mod whole_file;

pub use inputs::{Input, InputFormat, InputList, InputName};
pub(crate) use inputs::{check_once, look_at_file};
pub use parquet::{ColumnRange, ParquetFile, RowGroup, is_decoding};
pub use parquet_decode::DecodeBudget;
pub use parquet_shared::SharedRowGroup;
pub(crate) use text::BLOCK_MEMORY;
pub use text::{TextBlock, TextFile};
pub(crate) use whole_file::each_block;

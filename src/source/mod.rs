//! Sources: files, folders, globs and stdin, cut into pieces.
//!
//! A *piece* is a span of rows of a file of typed columns (Parquet, FITS) or a block of text cut at a record's end. Where
//! pieces are cut depends on the inputs alone, never on threads or memory, and pieces are numbered
//! in input order: that is the order key that everything behind rests on.

mod arrow_file;
mod column_file;
mod file_bytes;
mod fits;
mod generated;
mod inputs;
mod parquet;
mod parquet_decode;
mod parquet_pages;
mod parquet_shared;
mod pattern;
mod reader_schema;
mod remote;
mod text;
mod whole_file;

pub use arrow_file::{ArrowFile, ArrowRows};
pub use column_file::{ColumnFile, RowGroup, SharedRowGroup};
pub use fits::{FitsFile, FitsOptions, FitsRows};
pub use generated::{GeneratedText, TextParts};
pub use inputs::{Input, InputFormat, InputList, InputName, is_at_server};
pub(crate) use inputs::{check_once, look_at_file};
pub use parquet::{ColumnRange, ParquetFile, ParquetGroup, is_decoding};
pub use parquet_decode::DecodeBudget;
pub use parquet_shared::SharedParquet;
pub use remote::{RemoteFile, Remotes};
pub(crate) use text::BLOCK_MEMORY;
pub use text::{TextBlock, TextFile};
pub(crate) use whole_file::{each_block, each_block_of};

//! Rows of a file brought into the order of some of their columns.
//!
//! NULL comes first, then numbers, and in columns of such types dates and times, by their values, however
//! they are written, then all else byte by byte; columns that hold text are compared byte by byte alone. Rows that are equal in all of them stay in the
//! order in which they came. So the order follows from the rows alone, whatever the memory.
//!
//! Each row's key is written so that its bytes compare as the values do (`sort_key`). As many rows as
//! memory holds are sorted at a time; of larger files the sorted parts wait in a scratch file and are
//! merged (`sorter`).

mod sort_key;
mod sorter;

pub use sort_key::KeyKind;
pub use sorter::{SortColumn, SortWork, sort_file};

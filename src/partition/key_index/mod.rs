//! The key index: in which chunk and sub-chunk the director's row with some key lies.
//!
//! A director's run writes an index of its keys. Rows of other tables that refer to the director by
//! key are routed by it. There may be billions of keys, so the index is made into a compact file that
//! is looked up where it lies, by two looks at memory for a key. Where memory does not hold even that,
//! both sides are sorted.

mod build;
mod duplicates;
mod formats;
mod index;
mod joining;
mod key;
mod layout;
mod route_table;
mod scan;
mod scan_parquet;
mod shown;
mod sort;
mod source;
mod spill;
mod spread;
mod texts;
mod view;
mod writer;

#[cfg(test)]
mod speed;
#[cfg(test)]
mod tests;

pub use build::DuplicateRule;
pub use duplicates::{DuplicatedKeys, SameKey, duplicated, same_key};
pub use formats::{IndexColumns, IndexFormat, KeyType, write_compact_index, write_parquet_index};
pub use index::{IndexOptions, KeyIndex};
pub use joining::join_parquet_indexes;
pub use key::{Key, KeyPlace, key_hash};
pub use route_table::{LEAST_ROUTE_MEMORY, RouteTable, RouteTableBuilder};
pub use scan::IndexLimits;
pub use source::IndexSource;

//! Partition: from positions to chunks, sub-chunks and overlap.

mod chunk_index;
pub mod geometry;
pub mod key_index;
mod partitioning;
mod router;

pub use chunk_index::{CHUNK_INDEX_RECORD, chunk_index_record};
pub use partitioning::Partitioning;
pub use router::{OverlapRule, RaRule, Router};

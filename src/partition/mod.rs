//! Partition: from positions and keys to chunks, sub-chunks and overlap.

mod chunk_index;
mod director_index;
pub mod geometry;
pub mod htm;
mod joined;
pub mod key_index;
mod key_watch;
mod only_chunks;
mod partitioning;
mod router;
mod routing;
mod unknown_keys;

pub use chunk_index::{CHUNK_INDEX_RECORD, chunk_index_record, chunk_index_rows};
pub use director_index::DirectorIndex;
pub use joined::{JoinedKeys, RowStarts};
pub use key_watch::{KeyWatch, PieceOrigin, RowUnit};
pub use only_chunks::OnlyChunks;
pub use partitioning::Partitioning;
pub use router::{
    AddressColumn, Coordinate, OverlapRule, RaRule, RouteFault, Router, RowAddress, UnknownKeyRule,
};
pub use routing::{KeyColumn, PositionColumns, RouteBy, Routing, RoutingOptions};
pub use unknown_keys::{UnknownKeys, UnknownOnSide};

//! What `sph-htm-index`, `sph-duplicate` and `sph-estimate-stats` do: a part of the sky is filled with
//! copies of a sample's triangles.
//!
//! | file | job |
//! |---|---|
//! | `index` | `htm_index.bin`: rows of each triangle, and which one stands in for an empty one. |
//! | `region` | The chunks that are to be filled. |
//! | `targets` | The triangles near a chunk, and where their rows come from. |
//! | `rotation` | Positions of one triangle in another. |
//! | `new_ids`, `sample` | Keys of copies; which rows are copied. |
//! | `copies` | The rows of the copies, as text. |
//! | `estimate` | How many rows there will be. |
//! | `config` | What the tools are told beyond what sph-partition is. |

mod config;
mod copies;
mod estimate;
mod index;
mod new_ids;
mod region;
mod rotation;
mod sample;
mod targets;

pub use config::SphCopies;
pub use copies::{CopiedFields, Copies, CopySource, TriangleFolder};
pub use estimate::estimated_rows;
pub use index::{
    HTM_INDEX, HTM_INDEX_RECORD, HtmIndex, HtmIndexFault, HtmSources, htm_index_record,
};
pub use new_ids::{ID_BYTES, NewIdFault, SourceIds, new_id};
pub use region::{chunks_in, sub_chunks};
pub use rotation::Rotation;
pub use sample::{FractionFault, Sample};
pub use targets::{Target, targets_of_chunk};

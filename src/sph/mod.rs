//! What Qserv's own tools (`sph-partition`, `sph-partition-matches`, `sph-layout`, `sph-htm-index`,
//! `sph-duplicate`, `sph-estimate-stats`) are told, and what they tell.
//!
//! | file | job |
//! |---|---|
//! | `tree` | Configuration files, merged; values by dotted names. |
//! | `config` | What files and options say, as a struct; nothing is required. |
//! | `settings`, `fields` | What a tool needs before it starts, with its defaults, checked. |
//! | `duplicate`, `copy_settings` | Copies of a sample's triangles that fill a part of the sky. |
//! | `double_text` | Numbers as C's `%.17g` writes them. |
//! | `statistics` | The JSON that the tools print. |
//! | `layout` | The table of chunks that sph-layout prints. |
//! | `general` | Numbers as C++ streams print them. |
//!
//! Source: lsst/qserv `src/partition`.

mod config;
mod copy_settings;
mod double_text;
mod duplicate;
mod fields;
mod general;
mod layout;
mod settings;
mod statistics;
mod tree;

pub use config::{SphConfig, SphCsv, SphInput, SphOutput, SphPart, SphWork};
pub use copy_settings::{DuplicateSettings, EstimateSettings, HtmIndexSettings};
pub use double_text::write_double;
pub use duplicate::{
    CopiedFields, Copies, CopySource, FractionFault, HTM_INDEX, HTM_INDEX_RECORD, HtmIndex,
    HtmIndexFault, HtmSources, ID_BYTES, NewIdFault, Rotation, Sample, SourceIds, SphCopies,
    Target, TriangleFolder, chunks_in, estimated_rows, htm_index_record, new_id, sub_chunks,
    targets_of_chunk,
};
pub use fields::FieldPair;
pub use layout::{ChunkChoice, LayoutOptions, layout_table};
pub use settings::{
    KeySide, MatchRouting, MatchSettings, PartitionRouting, PartitionSettings, ToolSettings,
    index_path,
};
pub use statistics::{StatisticsForm, SubChunkRows, statistics_json};
pub use tree::SphTree;

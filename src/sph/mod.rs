//! What Qserv's own tools (`sph-partition`, `sph-partition-matches`, `sph-layout`) are told, and
//! what they tell.
//!
//! | file | job |
//! |---|---|
//! | `tree` | Configuration files, merged; values by dotted names. |
//! | `config` | What files and options say, as a struct; nothing is required. |
//! | `settings`, `fields` | What a tool needs before it starts, with its defaults, checked. |
//! | `statistics` | The JSON that the tools print. |
//! | `layout` | The table of chunks that sph-layout prints. |
//! | `general` | Numbers as C++ streams print them. |
//!
//! Source: lsst/qserv `src/partition`.

mod config;
mod fields;
mod general;
mod layout;
mod settings;
mod statistics;
mod tree;

pub use config::{SphConfig, SphCsv, SphInput, SphOutput, SphPart, SphWork};
pub use fields::FieldPair;
pub use layout::{ChunkChoice, LayoutOptions, layout_table};
pub use settings::{
    KeySide, MatchRouting, MatchSettings, PartitionRouting, PartitionSettings, ToolSettings,
    index_path,
};
pub use statistics::{SubChunkRows, statistics_json};
pub use tree::SphTree;

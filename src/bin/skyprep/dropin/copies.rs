//! `sph-htm-index`, `sph-duplicate`, `sph-estimate-stats`: a part of the sky filled with copies of a
//! sample.

use std::ffi::OsString;

use skyprep::error::Result;
use skyprep::sph::{DuplicateSettings, EstimateSettings, HtmIndexSettings, SphCopies};

use super::boost::{Known, Takes, option};
use super::chunking::{self, Common};

pub const HTM_INDEX: &str = "sph-htm-index";
pub const DUPLICATE: &str = "sph-duplicate";
pub const ESTIMATE: &str = "sph-estimate-stats";

const OF_INDEX: [Known; 3] = [
    option("htm.level", Takes::Whole),
    option("id", Takes::Text),
    option("part.pos", Takes::Text),
];

const OF_REGION: [Known; 8] = [
    option("index", Takes::Text),
    option("part.index", Takes::Text),
    option("lon-min", Takes::Real),
    option("lon-max", Takes::Real),
    option("lat-min", Takes::Real),
    option("lat-max", Takes::Real),
    option("chunk-id", Takes::Wholes),
    option("out.node", Takes::Whole),
];

const OF_SAMPLE: [Known; 2] = [
    option("sample.seed", Takes::Natural),
    option("sample.fraction", Takes::Real),
];

const OF_COPIES: [Known; 6] = [
    option("id", Takes::Text),
    option("pos", Takes::Texts),
    option("part.id", Takes::Text),
    option("part.pos", Takes::Text),
    option("part.chunk", Takes::Text),
    option("part.sub-chunk", Takes::Text),
];

const REGION_HELP: &str = "  --index FILE              htm_index.bin of the table that is copied
  --part.index FILE         htm_index.bin of the table that decides which triangles stand in for
                            empty ones; one of the two will do
  --lon-min DEG, --lon-max  region to fill (0, 360); it may go on across 0
  --lat-min DEG, --lat-max  (-90, 90)
  --chunk-id N              a chunk to fill, in place of a region; once for each
  --out.node N              only chunks of this node
";

/// Returns what `sph-htm-index --help` prints.
pub fn htm_index_help() -> String {
    chunking::help(
        Common::Rows,
        "sph-htm-index [options]\n\nskyprep in place of Qserv's sph-htm-index: sorts rows into triangles \
         of the sky,\nhtm_<triangle>.txt and .ids, counted in htm_index.bin.",
        "  --htm.level N             how often triangles are cut (8; 0 to 13)
  --id NAME                 column of the key, a whole number
  --part.pos RA,DEC         columns of positions, in degrees
",
    )
}

/// Returns what `sph-duplicate --help` prints.
pub fn duplicate_help() -> String {
    chunking::help(
        Common::Copies,
        "sph-duplicate [options]\n\nskyprep in place of Qserv's sph-duplicate: fills chunks with copies of \
         the triangles that\nsph-htm-index has made.",
        &format!(
            "{REGION_HELP}  --sample.fraction F       share of the rows that is copied (1)
  --sample.seed N           which of them (0)
  --id NAME                 column of the rows' own key
  --pos RA,DEC              further columns of positions, moved along; any number of times
  --part.id NAME            column of the key of the table of --part.index
  --part.pos RA,DEC         columns of positions, in degrees
  --part.chunk NAME         column of chunks
  --part.sub-chunk NAME     column of sub-chunks (subChunkId)
"
        ),
    )
}

/// Returns what `sph-estimate-stats --help` prints.
pub fn estimate_help() -> String {
    chunking::help(
        Common::Chunks,
        "sph-estimate-stats [options]\n\nskyprep in place of Qserv's sph-estimate-stats: how many rows \
         sph-duplicate would make of\neach sub-chunk, in PREFIX_index.bin, which is written anew, and as statistics.",
        REGION_HELP,
    )
}

/// Settles what `sph-htm-index` is asked for; nothing if it is help.
pub fn htm_index(arguments: &[OsString]) -> Result<Option<HtmIndexSettings>> {
    let said = chunking::tree(Common::Rows, &OF_INDEX, arguments)?;
    said.map(|(config, tree)| HtmIndexSettings::new(&config, &SphCopies::new(&tree)?))
        .transpose()
}

/// Settles what `sph-duplicate` is asked for; nothing if it is help.
pub fn duplicate(arguments: &[OsString]) -> Result<Option<DuplicateSettings>> {
    let known: Vec<Known> = [&OF_REGION[..], &OF_SAMPLE, &OF_COPIES].concat();
    let said = chunking::tree(Common::Copies, &known, arguments)?;
    said.map(|(config, tree)| DuplicateSettings::new(&config, &SphCopies::new(&tree)?))
        .transpose()
}

/// Settles what `sph-estimate-stats` is asked for; nothing if it is help.
pub fn estimate(arguments: &[OsString]) -> Result<Option<EstimateSettings>> {
    // The fraction is taken, and the C++ tool does nothing with it either.
    let known: Vec<Known> = [&OF_REGION[..], &OF_SAMPLE[1..]].concat();
    let said = chunking::tree(Common::Chunks, &known, arguments)?;
    said.map(|(config, tree)| EstimateSettings::new(&config, &SphCopies::new(&tree)?))
        .transpose()
}

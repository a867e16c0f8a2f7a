//! `sph-partition`: rows with a position or a director's key to chunk files.

use std::ffi::OsString;

use skyprep::error::Result;
use skyprep::sph::PartitionSettings;

use super::boost::{Known, Takes, option};
use super::chunking;

pub const NAME: &str = "sph-partition";

const KNOWN: [Known; 6] = [
    option("part.chunk", Takes::Text),
    option("part.sub-chunk", Takes::Text),
    option("part.pos", Takes::Text),
    option("part.id", Takes::Text),
    option("part.id-url", Takes::Text),
    option("part.disable-chunks", Takes::Nothing),
];

/// Returns what `--help` prints.
pub fn help() -> String {
    chunking::help(
        chunking::Common::All,
        "sph-partition [options]\n\nskyprep in place of Qserv's sph-partition.",
        "  --part.chunk NAME         column of chunks
  --part.sub-chunk NAME     column of sub-chunks (subChunkId)
  --part.pos RA,DEC         columns of positions, in degrees
  --part.id NAME            column of the director's key; with positions, an index is written
  --part.id-url URL         file:///PATH of a director index: rows go where their key is
  --part.disable-chunks     write the director index only
",
    )
}

/// Settles what the arguments ask for; nothing if it is help.
pub fn settings(arguments: &[OsString]) -> Result<Option<PartitionSettings>> {
    let config = chunking::config(&KNOWN, arguments)?;
    config.as_ref().map(PartitionSettings::new).transpose()
}

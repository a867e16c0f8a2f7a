//! `sph-partition-matches`: pairs of positions or keys to chunk files.

use std::ffi::OsString;

use skyprep::error::Result;
use skyprep::sph::MatchSettings;

use super::boost::{Known, Takes, option};
use super::chunking;

pub const NAME: &str = "sph-partition-matches";

const KNOWN: [Known; 11] = [
    option("part.chunk", Takes::Text),
    option("part.sub-chunk", Takes::Text),
    option("part.flags", Takes::Text),
    option("part.pos1", Takes::Text),
    option("part.pos2", Takes::Text),
    option("part.id1", Takes::Text),
    option("part.id2", Takes::Text),
    option("part.id1-url", Takes::Text),
    option("part.id2-url", Takes::Text),
    option("part.id1-missing-abort", Takes::Nothing),
    option("part.id2-missing-abort", Takes::Nothing),
];

/// Returns what `--help` prints.
pub fn help() -> String {
    chunking::help(
        chunking::Common::All,
        "sph-partition-matches [options]\n\nskyprep in place of Qserv's sph-partition-matches.",
        "  --part.chunk NAME         column of chunks (none)
  --part.sub-chunk NAME     column of sub-chunks (subChunkId)
  --part.flags NAME         column that says which side a row is for (partitioningFlags)

By positions:
  --part.pos1 RA,DEC        columns of the first position, in degrees
  --part.pos2 RA,DEC        columns of the second

By keys:
  --part.id1 NAME           column of the first key
  --part.id2 NAME           column of the second
  --part.id1-url URL        file:///PATH of the first director index
  --part.id2-url URL        file:///PATH of the second
  --part.id1-missing-abort  end where the first index lacks a key
  --part.id2-missing-abort  end where the second does
",
    )
}

/// Settles what the arguments ask for; nothing if it is help.
pub fn settings(arguments: &[OsString]) -> Result<Option<MatchSettings>> {
    let config = chunking::config(&KNOWN, arguments)?;
    config.as_ref().map(MatchSettings::new).transpose()
}

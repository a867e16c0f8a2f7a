//! The manifest: what Qserv's ingest is to fetch, one JSON line per file.
//!
//! The first line names format, version and database; each further line is one contribution. It is
//! written last, so whoever finds it finds everything that it names. Tools that know other formats
//! get these from it ([`export`]), and what the ingest service says of its work is compared with it
//! ([`contribs`]).

pub mod contribs;
mod diff;
pub mod export;
mod line;
mod listing;
#[cfg(test)]
mod listing_tests;
mod names;
mod read;
mod rebase;
mod time;
mod writer;

pub use diff::{Change, ManifestDiff, TableDiff};
pub use line::{Contribution, IngestDialect, ManifestHeader, PlacedUrl};
pub use listing::{ListedTable, Listing};
pub use read::Lines;
pub use rebase::{Base, Rebase, Stored};
pub use time::UtcTime;
pub use writer::Manifest;

/// Name of the manifest file in a database's folder.
pub const MANIFEST_FILE: &str = "manifest.jsonl";

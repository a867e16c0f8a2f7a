//! The manifest: what Qserv's ingest is to fetch, one JSON line per file.

mod diff;
mod line;
mod listing;
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

//! The manifest in the formats of the tools that load Qserv.
//!
//! Each of these says less than the manifest, and reads what is left out of file names or of
//! options. What a format can't say is refused, never left out.

mod file_list;
mod filecache;
mod locations;
mod metadata;
mod urls;

use std::io::{self, Write};

pub use file_list::{FileList, FileListForm};
pub use filecache::write_filecache;
pub use locations::{Locations, Worker};
pub use metadata::{MetadataFile, MetadataOptions, metadata};
pub use urls::write_urls;

use super::line::{Contribution, IngestDialect};
use super::listing::Listing;
use crate::error::{Error, Result};

/// Refuses what the ingest service can't fetch.
fn check_fetched(line: &Contribution) -> Result<()> {
    let schemes = ["file://", "http://", "https://"];
    if schemes.iter().any(|scheme| line.url.starts_with(scheme)) {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{}: Qserv fetches file, http and https only",
        line.shown_url()
    ))
    .hint("give the files URLs that workers can fetch: manifest rebase, manifest presign, or stage --public-url"))
}

/// Returns how the text of some contributions is to be read, dialect and character set, if it is
/// the same for all; nothing without contributions. `format` stands for what tells it.
///
/// # Errors
/// It differs; the message names two of them.
pub fn common_text(
    lines: impl Iterator<Item = Contribution>,
    format: &str,
) -> Result<Option<(IngestDialect, String)>> {
    let mut common: Option<Contribution> = None;
    for line in lines {
        match &common {
            None => common = Some(line),
            Some(first) if first.dialect != line.dialect => {
                return Err(differing(first, &line, "dialects", format));
            }
            Some(first) if first.charset != line.charset => {
                return Err(differing(first, &line, "character sets", format));
            }
            Some(_) => {}
        }
    }
    Ok(common.map(|line| (line.dialect, line.charset)))
}

fn differing(first: &Contribution, other: &Contribution, what: &str, format: &str) -> Error {
    let tables = match first.table == other.table {
        true => format!("table {} has", first.table),
        false => format!("tables {} and {} have", first.table, other.table),
    };
    Error::usage(format!(
        "{tables} different {what}, and {format} tells one for all"
    ))
    .hint("export the tables one by one with --table")
}

/// Writes a JSON list, an entry a line.
fn write_list<T: serde::Serialize>(
    out: &mut dyn Write,
    entries: impl Iterator<Item = T>,
) -> io::Result<()> {
    let mut before: &[u8] = b"[\n";
    for entry in entries {
        out.write_all(before)?;
        serde_json::to_writer(&mut *out, &entry)?;
        before = b",\n";
    }
    match before {
        b",\n" => out.write_all(b"\n]\n"),
        _ => out.write_all(b"[]\n"),
    }
}

/// Returns the contributions of one table, in their order.
fn of_table<'l>(listing: &'l Listing, table: &str) -> impl Iterator<Item = Contribution> + 'l {
    let table = table.to_owned();
    listing
        .contributions()
        .filter(move |line| line.table == table)
}

//! The file cache: `[{"url", "table"}]`, as the loader of DP0.2 reads it.

use std::io::{self, Write};

use serde::Serialize;

use super::{check_fetched, write_list};
use crate::error::{Error, Result};
use crate::manifest::listing::Listing;
use crate::manifest::names::is_sliced_right;

#[derive(Serialize)]
struct Entry {
    url: String,
    table: String,
}

/// Returns what writes the file cache of all tables.
///
/// # Errors
/// The loader would not find chunk and overlap in a URL, or a worker could not fetch it.
pub fn write_filecache(
    listing: &Listing,
) -> Result<impl FnOnce(&mut dyn Write) -> io::Result<()> + '_> {
    for line in listing.contributions() {
        check_fetched(&line)?;
        if line.chunk.is_none() {
            return Err(Error::usage(format!(
                "table {} is regular, and a file cache holds chunks only",
                line.table
            ))
            .hint("choose the partitioned tables with --table, and load this one by itself"));
        }
        if !is_sliced_right(&line) {
            return Err(Error::usage(format!(
                "{}: the name does not tell the chunk, and a file cache has no other place for it",
                line.shown_url()
            ))
            .hint(
                "expected a URL that ends with /chunk_<N>.txt or /chunk_<N>_overlap.txt, without \
                 a signature; --to urls can tell the chunk of any URL",
            ));
        }
    }
    Ok(|out: &mut dyn Write| {
        let entries = listing.contributions().map(|line| Entry {
            url: line.url,
            table: line.table,
        });
        write_list(out, entries)
    })
}

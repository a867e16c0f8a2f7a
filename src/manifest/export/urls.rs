//! `.urls`: a URL a line, as the scripts that loaded DP1 and DP2 read it.

use std::io::{self, Write};

use serde::Serialize;

use super::{check_fetched, of_table};
use crate::error::Result;
use crate::manifest::line::Contribution;
use crate::manifest::listing::Listing;
use crate::manifest::names::is_sliced_right;

/// A line that says what the URL does not.
#[derive(Serialize)]
struct JsonLine<'l> {
    chunk: i32,
    overlap: u8,
    url: &'l str,
}

/// Writes the URLs of a table, each with LF behind it: the scripts cut the last character off.
///
/// A line is the plain URL where they find chunk and overlap in it, else JSON with all three.
/// Regular tables have plain URLs always, for nothing is looked for in these.
///
/// # Errors
/// The table has URLs that workers can't fetch; nothing is written then.
pub fn write_urls<'l>(
    listing: &'l Listing,
    table: &str,
) -> Result<impl FnOnce(&mut dyn Write) -> io::Result<()> + 'l> {
    for line in of_table(listing, table) {
        check_fetched(&line)?;
    }
    let table = table.to_owned();
    Ok(move |out: &mut dyn Write| {
        for line in of_table(listing, &table) {
            match line.chunk {
                Some(chunk) if !is_plain(&line) => {
                    let line = JsonLine {
                        chunk,
                        overlap: u8::from(line.overlap),
                        url: &line.url,
                    };
                    serde_json::to_writer(&mut *out, &line)?;
                }
                _ => out.write_all(line.url.as_bytes())?,
            }
            out.write_all(b"\n")?;
        }
        Ok(())
    })
}

/// The scripts take only what starts with `http` for a URL, and all else for JSON.
fn is_plain(line: &Contribution) -> bool {
    line.url.starts_with("http") && is_sliced_right(line)
}

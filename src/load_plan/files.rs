//! What the service would refuse of the files: URLs, dialects, character sets, chunks.

use std::sync::Arc;

use super::Sending;
use super::listed::{Form, ListedFile, ListedFiles, ListedTable};
use crate::error::{Error, Result};
use crate::manifest::IngestDialect;
use crate::partition::Partitioning;
use crate::partition::geometry::{ChunkId, Chunker};
use crate::place::shown;
use crate::schema::TableKind;

/// Checks all files of a manifest; `partitioning` is that of the database, if it is known.
///
/// # Errors
/// The first that the service would refuse.
pub(super) fn check_files(
    listing: &ListedFiles,
    partitioning: Option<Partitioning>,
    sending: Sending,
) -> Result<()> {
    for form in &listing.forms {
        check_form(form)?;
    }
    let chunker = match partitioning {
        Some(partitioning) => Some(partitioning.chunker()?),
        None => None,
    };
    for file in &listing.files {
        let table = &listing.tables[file.table];
        check_url(&file.url, sending)
            .and_then(|()| check_chunk(file, table, chunker.as_ref()))
            .map_err(|error| {
                let message = format!(" (table {}, {})", table.name, shown(&file.url));
                error.add_message(&message)
            })?;
    }
    Ok(())
}

/// Checks what the service takes as dialect: its own list is in `Csv.cc` of lsst/qserv.
fn check_form(form: &Form) -> Result<()> {
    let IngestDialect {
        fields_terminated_by,
        fields_enclosed_by,
        fields_escaped_by,
        lines_terminated_by,
    } = &form.dialect;
    let parts = [
        (
            "fields_terminated_by",
            fields_terminated_by,
            &["\t", ","][..],
        ),
        ("fields_enclosed_by", fields_enclosed_by, &["", "'", "\""]),
        ("fields_escaped_by", fields_escaped_by, &["\\"]),
        ("lines_terminated_by", lines_terminated_by, &["\n"]),
    ];
    for (name, value, allowed) in parts {
        if !allowed.contains(&value.as_str()) {
            let allowed: Vec<String> = allowed.iter().map(|text| format!("{text:?}")).collect();
            let message = format!(
                "the ingest service takes no files with {name} {value:?}, only {}",
                allowed.join(", ")
            );
            return Err(Error::usage(message).hint("prepare the files with --dialect qserv"));
        }
    }
    Ok(())
}

fn check_url(url: &str, sending: Sending) -> Result<()> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    match (scheme, sending) {
        ("file", _) if rest.starts_with('/') => Ok(()),
        ("file", _) => Err(Error::usage("the ingest service takes no file:// URL of another host, or without a whole path")
            .hint("expected file:/// and an absolute path")),
        ("http" | "https", Sending::ByReference) => Ok(()),
        ("http" | "https", _) => Err(Error::usage("this file is not on this machine, so it can't be sent by value")
            .hint("use the manifest with file:// URLs, or leave out --by-value")),
        ("s3", _) => Err(Error::usage("the ingest service fetches no s3:// URLs").hint(
            "stage with --public-url or --presign, or give the manifest other URLs with skyprep \
             manifest rebase",
        )),
        _ => Err(Error::usage("the ingest service fetches only file://, http:// and https:// URLs")),
    }
}

fn check_chunk(
    file: &ListedFile,
    table: &ListedTable,
    chunker: Option<&Arc<Chunker>>,
) -> Result<()> {
    if file.is_overlap && table.kind != TableKind::Director {
        return Err(Error::usage("only directors have overlap files"));
    }
    match (table.kind.is_partitioned(), file.chunk) {
        (true, None) => return Err(Error::usage("a file of a partitioned table has no chunk")),
        (false, Some(_)) => return Err(Error::usage("a file of a regular table has a chunk")),
        (false, None) => return Ok(()),
        (true, Some(chunk)) => {
            if let Some(chunker) = chunker
                && chunker.dense_index(ChunkId(chunk)).is_none()
            {
                let message = format!(
                    "there is no chunk {chunk} with {} stripes and {} sub-stripes",
                    chunker.stripes(),
                    chunker.sub_stripes_per_stripe()
                );
                return Err(Error::usage(message));
            }
        }
    }
    Ok(())
}

//! FILE-LIST: what `qserv-replica-file INGEST` sends to workers, file by file.
//!
//! The tool reads the files itself, so they must lie where it runs, and of partitioned tables it
//! takes only files that are called `chunk_<N>.txt` or `chunk_<N>_overlap.txt`.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::locations::{Locations, Worker};
use super::{common_text, write_list};
use crate::error::{Error, Result};
use crate::manifest::line::{Contribution, IngestDialect};
use crate::manifest::listing::Listing;
use crate::manifest::names::{chunk_file_name, split_name};
use crate::place::{ObjectUrl, PlaceUrl};

/// What the entries of a list tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileListForm {
    /// Paths, with chunk and overlap to find workers by: not complete without these.
    Paths,
    /// FILE-LIST-TRANS: worker and path; transaction, table and type are told by options.
    Trans,
    /// FILE-LIST: all, with the number of the transaction.
    Full(u32),
}

/// A list of files, checked and ready to be written.
#[derive(Debug)]
pub struct FileList<'l> {
    listing: &'l Listing,
    locations: &'l Locations,
    form: FileListForm,
    text: Option<(IngestDialect, String)>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    table_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overlap: Option<u8>,
    path: String,
}

impl<'l> FileList<'l> {
    /// Checks that the tool will take the files: each has a local path, the right name and, where
    /// workers are told, a worker. Lists of other forms than the full one hold a single table.
    ///
    /// # Errors
    /// The first contribution that can't be in the list.
    pub fn new(listing: &'l Listing, locations: &'l Locations, form: FileListForm) -> Result<Self> {
        if !matches!(form, FileListForm::Full(_)) {
            let tables = listing.tables();
            if tables.len() > 1 {
                return Err(Error::usage(format!(
                    "there are {} tables, and a short file list holds one",
                    tables.len()
                ))
                .hint("choose one with --table, or name a folder for a list per table"));
            }
        }
        for line in listing.contributions() {
            check_name(&line)?;
            if form != FileListForm::Paths && locations.of(line.chunk).is_empty() {
                return Err(no_worker(&line));
            }
        }
        let text = common_text(listing.contributions(), "qserv-replica-file")?;
        Ok(Self {
            listing,
            locations,
            form,
            text,
        })
    }

    /// Returns the options with which the tool reads the files rightly; empty where its defaults
    /// do.
    pub fn options(&self) -> String {
        let Some((dialect, charset)) = &self.text else {
            return String::new();
        };
        let spelled = dialect.spelled();
        let all = [
            ("fields-terminated-by", spelled.fields_terminated_by, r"\t"),
            ("fields-enclosed-by", spelled.fields_enclosed_by, r"\0"),
            ("charset-name", charset.clone(), "latin1"),
        ];
        let told = all.iter().filter(|(_, value, default)| value != default);
        let told: Vec<String> = told
            .map(|(name, value, _)| format!("--{name}='{}'", value.replace('\'', r"'\''")))
            .collect();
        told.join(" ")
    }

    /// Writes the list, an entry a line; regular tables have one for each worker.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        let nowhere: &[Option<&Worker>] = &[None];
        let entries = self.listing.contributions().flat_map(|line| {
            let workers: Vec<Option<&Worker>> = match self.form {
                FileListForm::Paths => nowhere.to_vec(),
                _ => self.locations.of(line.chunk).iter().map(Some).collect(),
            };
            workers
                .into_iter()
                .map(move |worker| self.entry(&line, worker))
        });
        write_list(out, entries)
    }

    fn entry(&self, line: &Contribution, worker: Option<&Worker>) -> Entry {
        let transaction = match self.form {
            FileListForm::Full(transaction) => Some(transaction),
            _ => None,
        };
        let is_found_later = self.form == FileListForm::Paths;
        let table_type = match line.chunk {
            Some(_) => "P",
            None => "R",
        };
        Entry {
            worker_host: worker.map(|worker| worker.host.clone()),
            worker_port: worker.map(|worker| worker.port),
            transaction_id: transaction,
            table: transaction.map(|_| line.table.clone()),
            table_type: transaction.map(|_| table_type),
            chunk: line.chunk.filter(|_| is_found_later),
            overlap: line
                .chunk
                .filter(|_| is_found_later)
                .map(|_| u8::from(line.overlap)),
            // It was looked at before.
            path: local_path(line).unwrap_or_default(),
        }
    }
}

fn no_worker(line: &Contribution) -> Error {
    match line.chunk {
        Some(chunk) => Error::usage(format!(
            "chunk {chunk} of table {} is not among the locations",
            line.table
        ))
        .hint("let Qserv allocate all chunks (POST /ingest/chunks), and name the answer"),
        None => Error::usage(format!(
            "table {} is regular, and the locations tell no workers for such tables",
            line.table
        ))
        .hint("name the answer to GET /ingest/regular as a second --locations file"),
    }
}

/// Returns the path of a contribution's file; none if it is no local one, or not in UTF-8.
fn local_path(line: &Contribution) -> Option<String> {
    // The place's own URL may be a local one where workers fetch the file by HTTP.
    [line.place_url(), &line.url].into_iter().find_map(|url| {
        let object = ObjectUrl::parse(url).ok()?;
        let PlaceUrl::Folder(folder) = object.place else {
            return None;
        };
        let path: PathBuf = folder.join(object.key);
        path.to_str().map(str::to_owned)
    })
}

fn check_name(line: &Contribution) -> Result<()> {
    let Some(path) = local_path(line) else {
        return Err(Error::usage(format!(
            "{} is not a local file, and a file list holds paths only",
            line.shown_url()
        ))
        .hint("stage to a folder that the machine has which runs qserv-replica-file"));
    };
    let Some(chunk) = line.chunk else {
        return Ok(());
    };
    let expected = chunk_file_name(chunk, line.overlap);
    if split_name(&path).1 == expected {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{}: qserv-replica-file takes this chunk only from a file named {expected}",
        line.shown_url()
    ))
    .hint("rename the file and stage it again, or use --to urls"))
}

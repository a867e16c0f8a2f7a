//! Statistics of chunks, from the index that counts the rows of sub-chunks.

use std::path::{Path, PathBuf};

use anyhow::Result;
use skyprep::error::{Error, ErrorKind, Place};
use skyprep::partition::chunk_index_rows;
use skyprep::pipeline::PassJob;
use skyprep::publish::write_atomically;
use skyprep::source::Input;
use skyprep::sph::{StatisticsForm, SubChunkRows, statistics_json};

use crate::books;
use crate::partition_args::PartitionArgs;
use crate::session::Session;

/// Reads the index `path` from byte number `from` on; without the file there are no rows.
pub fn rows_of_index(path: &Path, from: u64) -> Result<Vec<SubChunkRows>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::reading(path, error).into()),
    };
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let records = chunk_index_rows(bytes.get(from..).unwrap_or_default());
    let damaged = || {
        Error::new(ErrorKind::Integrity, "the index of chunks is damaged")
            .at(Place::file(path.display().to_string()))
    };
    let rows = records.ok_or_else(damaged)?;
    let rows = rows.map(|((chunk, sub_chunk), count)| SubChunkRows {
        chunk,
        sub_chunk,
        rows: count.rows,
        overlap_rows: count.overlap_rows,
    });
    Ok(rows.collect())
}

/// Where statistics of a table are to be written.
pub struct Statistics {
    /// A file, or nothing for stdout.
    file: Option<PathBuf>,
    /// The index, relative to the output folder.
    index: String,
}

impl Statistics {
    /// Returns what was asked for, if anything was.
    ///
    /// # Errors
    /// There will be no statistics, or their place can't be written.
    pub fn of(args: &PartitionArgs, job: &PassJob, inputs: &[Input]) -> Result<Option<Self>> {
        let (Some(path), [table]) = (&args.stats, job.tables.as_slice()) else {
            return Ok(None);
        };
        if table.target.routing.is_none() {
            let message = "--stats is about chunks, and a regular table has none";
            return Err(Error::usage(message).into());
        }
        let is_stdout = path.as_os_str() == "-";
        if is_stdout && args.books.json {
            let message = "--json and --stats - both print on stdout";
            return Err(Error::usage(message)
                .hint("write one of them into a file")
                .into());
        }
        if !is_stdout {
            books::check_place(path, inputs)?;
        }
        Ok(Some(Self {
            file: (!is_stdout).then(|| path.clone()),
            index: table.chunk_index_path(),
        }))
    }

    /// Says whether they go to stdout.
    pub fn are_printed(&self) -> bool {
        self.file.is_none()
    }

    /// Writes the statistics of the table in the folder `root`.
    pub fn write(&self, root: &Path, session: &Session) -> Result<()> {
        let text = statistics_json(
            rows_of_index(&root.join(&self.index), 0)?,
            StatisticsForm::Whole,
        );
        match &self.file {
            Some(path) => Ok(write_atomically(path, text.as_bytes())?),
            None => session.printer.data(text.as_bytes()),
        }
    }
}

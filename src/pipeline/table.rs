//! One output table: its sink, its files, and what is reported of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pass::TargetCounts;
use crate::convert::RowTarget;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::{ChunkSink, ChunkSinkOptions, FileDigest, FileSummary, Sink, StreamSink};
use crate::partition::{Partitioning, chunk_index_bytes};
use crate::publish::{OutputFolder, TableIdentity, append};
use crate::resources::MemoryGate;
use crate::schema::{OutputColumn, TableKind, row_steps};

/// Name of the director index among a table's files.
const KEY_INDEX: &str = "chunk_object_index.txt";
/// Name of the rows-per-sub-chunk index among a table's files.
const CHUNK_INDEX: &str = "chunk_index.bin";

/// A table to be made, and where its files go.
#[derive(Debug)]
pub struct TableJob {
    /// How its rows are made.
    pub target: RowTarget,
    /// What it is to Qserv.
    pub kind: TableKind,
    /// How the sky is divided, for partitioned tables.
    pub partitioning: Option<Partitioning>,
    /// Name of its database, where there is one.
    pub database: Option<String>,
    /// Folder of its files, relative to the output folder; empty or ended by `/`.
    pub prefix: String,
    /// Name of the file of a table that is not partitioned.
    pub file_name: String,
    /// Whether `chunk_index.bin` is written.
    pub has_chunk_index: bool,
}

/// What was made of a table; printed, reported and recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableReport {
    /// Name of the table.
    pub table: String,
    /// What it is to Qserv.
    pub kind: TableKind,
    /// Columns of the text, in order.
    pub columns: Vec<String>,
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows that were written, without overlap.
    pub rows_out: u64,
    /// Overlap rows.
    pub overlap_rows: u64,
    /// Rows that were refused.
    pub rejected: u64,
    /// Files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Seconds that the pass took, which may have made other tables too.
    pub seconds: f64,
    /// The most bytes that the table's buffers held at once.
    pub memory_peak: u64,
    /// Changes by column and rule.
    pub changes: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Where the rows of a table go while it is being made.
pub(super) enum TableSink {
    Chunks(ChunkSink),
    Stream { sink: StreamSink, path: String },
}

impl TableJob {
    /// Returns what the files are to Qserv.
    pub(super) fn identity(&self) -> TableIdentity {
        TableIdentity {
            table: self.target.name.clone(),
            database: self.database.clone(),
            kind: self.kind,
            partitioning: self.partitioning,
            dialect: self.target.dialect.clone(),
            charset: self.target.policy.charset,
        }
    }

    /// Makes the table's sink in the staging area of `folder`.
    pub(super) fn sink(
        &self,
        columns: &[OutputColumn],
        folder: &OutputFolder,
        gate: &Arc<MemoryGate>,
    ) -> Result<TableSink> {
        let Some(routing) = &self.target.routing else {
            let path = format!("{}{}", self.prefix, self.file_name);
            let staged = folder.staged(&path)?;
            let file = append(&staged)?;
            let sink = StreamSink::new(folder.root().join(&path), Box::new(file));
            return Ok(TableSink::Stream { sink, path });
        };
        // Any name will do: what counts is that the folder is there.
        let staged = folder.staged(&format!("{}{CHUNK_INDEX}", self.prefix))?;
        let staging = staged.parent().map_or_else(PathBuf::new, PathBuf::from);
        Ok(TableSink::Chunks(ChunkSink::new(ChunkSinkOptions {
            staging,
            prefix: self.prefix.clone(),
            chunk_numbers: routing.router.chunk_numbers(),
            slots: row_steps(columns).1,
            delimiter: self.target.dialect.delimiter(),
            line_end: self.target.dialect.line_terminator().as_bytes(),
            counts_sub_chunks: self.has_chunk_index,
            key_index: routing.key.as_ref().map(|_| KEY_INDEX.to_owned()),
            gate: Arc::clone(gate),
        })))
    }

    /// Finishes the files and checks that the books balance.
    ///
    /// # Errors
    /// The last bytes can't be written, or rows were lost, which is a fault of skyprep.
    pub(super) fn finish(
        &self,
        sink: TableSink,
        columns: &[OutputColumn],
        counts: &TargetCounts,
        folder: &OutputFolder,
    ) -> Result<(Vec<FileSummary>, TableReport)> {
        let files = match sink {
            TableSink::Stream { sink, path } => vec![sink.finish()?.finish(path, None, false)],
            TableSink::Chunks(sink) => {
                let (mut files, sub_chunks) = sink.finish();
                if self.has_chunk_index && !sub_chunks.is_empty() {
                    let path = format!("{}{CHUNK_INDEX}", self.prefix);
                    let bytes = chunk_index_bytes(&sub_chunks);
                    files.push(write_whole(folder, path, &bytes)?);
                }
                files
            }
        };
        let data = files
            .iter()
            .filter(|file| self.kind == TableKind::Regular || file.chunk().is_some());
        let rows = |overlap: bool| {
            let chosen = data.clone().filter(|file| file.is_overlap() == overlap);
            chosen.map(|file| file.rows).sum::<u64>()
        };
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let report = TableReport {
            table: self.target.name.clone(),
            kind: self.kind,
            rows_in: counts.rows_in,
            rows_out: rows(false),
            overlap_rows: rows(true),
            rejected: 0,
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.bytes).sum(),
            seconds: 0.0,
            memory_peak: counts.memory_peak,
            changes: counts.changes.named(&names),
            columns: names,
        };
        report.check_balance()?;
        Ok((files, report))
    }
}

impl TableReport {
    /// Checks that every row that came in was written once or refused.
    fn check_balance(&self) -> Result<()> {
        if self.rows_in == self.rows_out + self.rejected {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Integrity,
            format!(
                "table {}: {} rows came in, but {} were written and {} refused",
                self.table, self.rows_in, self.rows_out, self.rejected
            ),
        )
        .hint("nothing was published; please report this"))
    }
}

impl TableSink {
    pub(super) fn as_sink(&self) -> &dyn Sink {
        match self {
            Self::Chunks(sink) => sink,
            Self::Stream { sink, .. } => sink,
        }
    }
}

/// Stages a small file as a whole.
fn write_whole(folder: &OutputFolder, path: String, bytes: &[u8]) -> Result<FileSummary> {
    use std::io::Write;
    let staged = folder.staged(&path)?;
    append(&staged)?
        .write_all(bytes)
        .map_err(|error| Error::writing(&staged, error))?;
    let mut digest = FileDigest::default();
    digest.update(bytes);
    Ok(digest.finish(path, None, false))
}

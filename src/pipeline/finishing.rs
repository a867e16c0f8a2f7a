//! What becomes of chunk files when all their rows are there: they are sorted, or made into Parquet.
//!
//! It is done file by file, from staged file to staged file, before anything is published.

use std::io::{BufWriter, Write};
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use super::pass::PassLimits;
use super::table::TableJob;
use crate::convert::TextForm;
use crate::dialect::{BlockReader, Fields, Records};
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::{Digests, FileDigest, FileSummary};
use crate::ordered::{KeyKind, SortColumn, SortWork, sort_file};
use crate::publish::{StagingPlace, append, remove_optional, rename_staged};
use crate::resources::Cancel;
use crate::typed::{ColumnType, ParquetWriter, TypedColumn, parquet_memory};

/// Least memory that sorting takes for a file.
const LEAST_SORT: u64 = 4 << 20;
/// Bytes that are read at a time.
const BLOCK: usize = 1 << 20;

/// How the rows of each chunk file are arranged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Arrangement {
    /// Columns that rows are sorted by; without any they stay in the order of the input.
    pub sort: Vec<String>,
}

/// What is known of the output's columns when rows are arranged.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ArrangedColumns {
    typed: Vec<TypedColumn>,
    sort: Vec<SortColumn>,
}

impl TableJob {
    /// Says whether chunk files are arranged.
    pub(super) fn is_arranged(&self) -> bool {
        self.target.routing.is_some()
            && (!self.arrangement.sort.is_empty() || self.target.form == TextForm::Parquet)
    }

    /// Settles how the columns of the output are compared and written; `are_known` says of which the type
    /// is known.
    ///
    /// # Errors
    /// The output has no such column.
    pub(super) fn arranged_columns(
        &self,
        typed: Vec<TypedColumn>,
        are_known: &[bool],
    ) -> Result<ArrangedColumns> {
        let column = |name: &String| {
            let same = |column: &TypedColumn| column.name == *name;
            let Some(field) = typed.iter().position(same) else {
                let known: Vec<&str> = typed.iter().map(|it| it.name.as_str()).collect();
                let message = format!("the output has no column {name} to be sorted by");
                return Err(Error::usage(message).hint(format!("it has {}", known.join(", "))));
            };
            let is_text = typed.get(field).is_some_and(|column| {
                let is_known = are_known.get(field) == Some(&true);
                is_known && matches!(column.kind, ColumnType::Text | ColumnType::Bytes)
            });
            let kind = match is_text {
                true => KeyKind::Text,
                false => KeyKind::Number,
            };
            Ok(SortColumn { field, kind })
        };
        let sort: Result<Vec<SortColumn>> = self.arrangement.sort.iter().map(column).collect();
        Ok(ArrangedColumns { sort: sort?, typed })
    }

    /// Arranges the rows of all chunk files; their summaries tell of the new files then.
    ///
    /// # Errors
    /// A file can't be read or written, or a value does not go into its column's type.
    pub(super) fn arrange(
        &self,
        files: &mut [FileSummary],
        columns: &ArrangedColumns,
        staging: &StagingPlace,
        limits: &PassLimits,
    ) -> Result<()> {
        // From here on the staged files are not what the journal says.
        remove_optional(&self.scratch(staging, "journal")?)?;
        let free = limits.gate.free() / 2;
        let is_parquet = self.target.form == TextForm::Parquet;
        let threads = limits.threads.max(1);
        let of_writer = parquet_memory(columns.typed.len());
        let at_once = match is_parquet {
            true => usize::try_from(free / of_writer).unwrap_or(1),
            false => usize::try_from(free / LEAST_SORT).unwrap_or(1),
        };
        let at_once = at_once.clamp(1, threads);
        let written = if is_parquet { of_writer } else { 0 };
        let memory = (free / at_once as u64).saturating_sub(written);
        let work = Arranging {
            job: self,
            columns,
            staging,
            memory: memory.max(LEAST_SORT),
            cancel: &limits.cancel,
        };
        let mut chunks: Vec<&mut FileSummary> = files
            .iter_mut()
            .filter(|file| file.chunk().is_some())
            .collect();
        // Files of one size at a time, so that few wait for others.
        chunks.sort_by_key(|file| file.bytes);
        chunks.chunks_mut(at_once).try_for_each(|batch| {
            batch.par_iter_mut().try_for_each(|file| {
                **file = work.arrange(file)?;
                Ok(())
            })
        })
    }
}

/// What all files are arranged with.
struct Arranging<'a> {
    job: &'a TableJob,
    columns: &'a ArrangedColumns,
    staging: &'a StagingPlace,
    memory: u64,
    cancel: &'a Cancel,
}

impl Arranging<'_> {
    fn arrange(&self, file: &FileSummary) -> Result<FileSummary> {
        let path = file.path().into_owned();
        let from = self.staging.staged(&path)?;
        let is_parquet = self.job.target.form == TextForm::Parquet;
        let new = match (is_parquet, path.strip_suffix(".txt")) {
            (true, Some(stem)) => format!("{stem}.parquet"),
            _ => path.clone(),
        };
        let to = self.staging.staged(&format!("{new}.arranged"))?;
        remove_optional(&to)?;
        let mut out = Arranged::begin(self, &to)?;
        match self.columns.sort.is_empty() {
            true => each_row(&from, self, &mut |row| out.push(row))?,
            false => {
                let scratch = self.staging.staged(&format!("{new}.parts"))?;
                let work = SortWork {
                    dialect: &self.job.target.dialect,
                    columns: &self.columns.sort,
                    scratch: &scratch,
                    memory: self.memory,
                    cancel: self.cancel,
                };
                sort_file(&from, &work, &mut |row| out.push(row))?;
            }
        }
        let (digest, rows) = out.finish(file.rows)?;
        if rows != file.rows {
            let message = format!("{path} has {} rows, but {rows} were arranged", file.rows);
            return Err(Error::new(ErrorKind::Integrity, message)
                .hint("nothing was published; please report this"));
        }
        remove_optional(&from)?;
        rename_staged(&to, &self.staging.staged(&new)?)?;
        Ok(digest.finish(new, file.chunk(), file.is_overlap()))
    }
}

/// A file that takes arranged rows.
struct Arranged<'p> {
    path: &'p Path,
    rows: u64,
    form: Form,
}

enum Form {
    Text(BufWriter<std::fs::File>, Box<FileDigest>),
    Parquet(Box<ParquetWriter>),
}

impl<'p> Arranged<'p> {
    fn begin(work: &Arranging<'_>, path: &'p Path) -> Result<Self> {
        let file = append(path)?;
        let target = &work.job.target;
        let form = match target.form {
            TextForm::Parquet => {
                let (columns, dialect) = (work.columns.typed.clone(), target.dialect.clone());
                let writer =
                    ParquetWriter::begin(path.to_owned(), Box::new(file), columns, dialect)?;
                Form::Parquet(Box::new(writer))
            }
            _ => Form::Text(
                BufWriter::with_capacity(BLOCK, file),
                Box::new(FileDigest::new(Digests::Xxh3)),
            ),
        };
        Ok(Self {
            path,
            rows: 0,
            form,
        })
    }

    fn push(&mut self, row: &[u8]) -> Result<()> {
        self.rows += 1;
        match &mut self.form {
            Form::Text(file, digest) => {
                digest.update(row);
                let written = file.write_all(row);
                written.map_err(|error| Error::writing(self.path, error))
            }
            Form::Parquet(writer) => writer.push(row),
        }
    }

    /// Ends the file; returns its digest, with `rows` rows, and how many came.
    fn finish(self, rows: u64) -> Result<(FileDigest, u64)> {
        match self.form {
            Form::Text(mut file, mut digest) => {
                let flushed = file.flush();
                flushed.map_err(|error| Error::writing(self.path, error))?;
                digest.add_rows(rows);
                Ok((*digest, self.rows))
            }
            Form::Parquet(writer) => Ok((writer.finish()?, self.rows)),
        }
    }
}

/// Gives the rows of a file to `each`, each with its line end.
fn each_row(
    path: &Path,
    work: &Arranging<'_>,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let dialect = &work.job.target.dialect;
    let file = std::fs::File::open(path).map_err(|error| Error::reading(path, error))?;
    let mut blocks = BlockReader::new(file, dialect, BLOCK);
    let (mut block, mut fields) = (Vec::new(), Fields::new());
    while blocks.next_block(&mut block)?.is_some() {
        work.cancel.check()?;
        let mut records = Records::new(dialect, &block);
        let mut start = 0;
        while records.next(&mut fields)?.is_some() {
            let end = records.position();
            each(block.get(start..end).unwrap_or_default())?;
            start = end;
        }
    }
    Ok(())
}

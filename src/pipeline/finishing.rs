//! What becomes of chunk files when all their rows are there: they are sorted, or made into Parquet.
//!
//! It is done file by file, from staged file to staged file, before anything is published.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::datatypes::DataType;
use rayon::prelude::*;
use serde::Serialize;

use super::pass::PassLimits;
use super::table::TableJob;
use crate::convert::TextForm;
use crate::dialect::each_own_block;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::{Digests, FileDigest, FileSummary};
use crate::ordered::{KeyKind, SortColumn, SortWork, sort_file};
use crate::publish::{StagingPlace, append, remove_optional, rename_staged};
use crate::resources::Cancel;
use crate::schema::{MysqlType, OutputColumn};
use crate::typed::{ColumnType, ParquetWriter, TypedColumn, parquet_memory};

/// Least memory that sorting takes for a file, and what is worth waiting for others.
const LEAST_SORT: u64 = 4 << 20;
const FAIR_SORT: u64 = 32 << 20;
/// Bytes that are written at a time.
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

    /// Refuses columns to sort by that the output does not have; `columns` are those that it has.
    ///
    /// # Errors
    /// There is such a one.
    pub(super) fn check_sort(&self, columns: &[String]) -> Result<()> {
        let mut sort = self.arrangement.sort.iter();
        match sort.find(|name| !columns.contains(name)) {
            None => Ok(()),
            Some(name) => {
                let message = format!("the output has no column {name} to be sorted by");
                Err(Error::usage(message).hint(format!("it has {}", columns.join(", "))))
            }
        }
    }

    /// Settles how the columns of the output are compared and written; `are_known` says of which the type
    /// is known.
    ///
    /// # Errors
    /// The output has no such column.
    pub(super) fn arranged_columns(
        &self,
        typed: Vec<TypedColumn>,
        columns: &[OutputColumn],
        are_known: &[bool],
    ) -> Result<ArrangedColumns> {
        let names: Vec<String> = typed.iter().map(|column| column.name.clone()).collect();
        self.check_sort(&names)?;
        let sort = self.arrangement.sort.iter().filter_map(|name| {
            let field = names.iter().position(|known| known == name)?;
            let kind = key_kind(
                &typed.get(field)?.kind,
                columns.get(field).and_then(|column| column.target),
                are_known.get(field) == Some(&true),
            );
            Some(SortColumn { field, kind })
        });
        Ok(ArrangedColumns {
            sort: sort.collect(),
            typed,
        })
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
        let written = match is_parquet {
            true => parquet_memory(columns.typed.len()),
            false => 0,
        };
        let sorted = match columns.sort.is_empty() {
            true => LEAST_SORT,
            false => FAIR_SORT,
        };
        let at_once = usize::try_from(free / (written + sorted)).unwrap_or(1);
        let at_once = at_once.clamp(1, threads);
        let memory = (free / at_once as u64).saturating_sub(written);
        let memory = memory.max(LEAST_SORT);
        let _paid = limits.gate.charge((memory + written) * at_once as u64);
        let work = Arranging {
            job: self,
            columns,
            staging,
            memory,
            cancel: &limits.cancel,
        };
        let mut chunks: Vec<&mut FileSummary> = files
            .iter_mut()
            .filter(|file| file.chunk().is_some())
            .collect();
        // Files of one size at a time, so that few wait for others.
        chunks.sort_by_key(|file| file.bytes);
        let mut failures: Vec<((Option<i32>, bool), Error)> = Vec::new();
        for batch in chunks.chunks_mut(at_once) {
            let of_batch = batch.par_iter_mut().filter_map(|file| {
                let place = (file.chunk(), file.is_overlap());
                let made = work.arrange(file).map(|made| **file = made);
                Some((place, made.err()?))
            });
            let of_batch: Vec<_> = of_batch.collect();
            let is_data = |(_, error): &(_, Error)| error.kind() == ErrorKind::DataRefused;
            // What no thread can mend ends the work at once; of values that are refused the one in the
            // first of all files is named, however many files are arranged at a time.
            let is_over = !of_batch.iter().all(is_data);
            failures.extend(of_batch);
            if is_over {
                failures.retain(|failure| !is_data(failure));
                break;
            }
        }
        failures.sort_by_key(|failure| failure.0);
        match failures.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

/// Returns how the values of a column are compared.
fn key_kind(typed: &ColumnType, target: Option<MysqlType>, is_known: bool) -> KeyKind {
    match (target, typed) {
        (Some(MysqlType::Bit(_)), _) => KeyKind::Bits,
        (Some(MysqlType::Time(_)), _) => KeyKind::Time,
        (_, ColumnType::Parsed(DataType::Time32(_) | DataType::Time64(_))) => KeyKind::Time,
        (_, ColumnType::Parsed(DataType::Date32 | DataType::Timestamp(..))) => KeyKind::DateTime,
        (_, ColumnType::Text | ColumnType::Bytes) if is_known => KeyKind::Text,
        _ => KeyKind::Number,
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
        let mut out = Arranged::begin(self, &to, self.staging.published(&new))?;
        match self.columns.sort.is_empty() {
            true => each_own_block(&from, &self.job.target.dialect, &mut |block| {
                self.cancel.check()?;
                block.each_row(&mut |row| out.push(row.text))
            })?,
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
    /// Begins the staged file `path`, which messages call `name`.
    fn begin(work: &Arranging<'_>, path: &'p Path, name: PathBuf) -> Result<Self> {
        let file = append(path)?;
        let target = &work.job.target;
        let form = match target.form {
            TextForm::Parquet => {
                let (columns, dialect) = (work.columns.typed.clone(), target.dialect.clone());
                let writer = ParquetWriter::begin(name, Box::new(file), columns, dialect)?;
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

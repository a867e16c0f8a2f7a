//! A sink that writes rows into a Parquet file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use rayon::prelude::*;

use super::batch::Batch;
use super::column_type::TypedColumn;
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::{FileDigest, Packet, RunEnd, Sink};
use crate::resources::Lease;

/// Bytes that the open pages and dictionaries of all columns may have, about.
const OPEN_BYTES: usize = 16 << 20;
const LEAST_PAGE: usize = 4 << 10;
const MOST_PAGE: usize = 1 << 20;
/// Bytes of a batch as text and as columns, and of the packed pages of a row group.
const BATCH_AND_GROUP: u64 = 32 << 20;
/// Up to so many columns are packed with Zstandard, which takes much memory for each.
const MOST_ZSTD_COLUMNS: usize = 64;
/// Bytes that a column takes whatever it holds, packed with Zstandard and with Snappy.
const ZSTD_COLUMN_BYTES: u64 = 512 << 10;
const SNAPPY_COLUMN_BYTES: u64 = 176 << 10;
/// Bytes that a value takes in an open page beside its own: its place in the dictionary, and levels.
const VALUE_BYTES: usize = 10;
const LEAST_PAGE_ROWS: usize = 1 << 10;
const MOST_PAGE_ROWS: usize = 20_000;

/// Returns the bytes of memory that writing so many columns takes. Values of several MiB take more.
pub fn parquet_memory(columns: usize) -> u64 {
    let of_column = match columns <= MOST_ZSTD_COLUMNS {
        true => ZSTD_COLUMN_BYTES,
        false => SNAPPY_COLUMN_BYTES,
    };
    BATCH_AND_GROUP + OPEN_BYTES as u64 + columns as u64 * of_column
}

/// Text and rows from which on a row group is full.
const GROUP_TEXT: u64 = 32 << 20;
const GROUP_ROWS: u64 = 1 << 20;

/// Writes packets into one Parquet file, in the order they come.
pub struct ParquetSink {
    writer: Mutex<ParquetWriter>,
    _paid: Lease,
}

/// Writes rows into one Parquet file, one after another.
pub struct ParquetWriter {
    /// What messages call the file.
    name: PathBuf,
    batch: Batch,
    schema: SchemaRef,
    file: SerializedFileWriter<Digesting>,
    writers: ArrowRowGroupWriterFactory,
    /// The row group being written.
    group: Vec<ArrowColumnWriter>,
    groups: usize,
    group_rows: u64,
    group_text: u64,
    rows: u64,
}

impl ParquetSink {
    /// Begins a file of these columns; rows come in `dialect`, and `paid` is for
    /// [`parquet_memory`].
    ///
    /// # Errors
    /// The file can't be written.
    pub fn new(
        name: PathBuf,
        out: Box<dyn Write + Send>,
        columns: Vec<TypedColumn>,
        dialect: Dialect,
        paid: Lease,
    ) -> Result<Self> {
        let writer = ParquetWriter::begin(name, out, columns, dialect)?;
        Ok(Self {
            writer: Mutex::new(writer),
            _paid: paid,
        })
    }

    /// Writes the last rows and the footer, and returns what went into the file.
    ///
    /// # Errors
    /// The last bytes can't be written.
    pub fn finish(self) -> Result<FileDigest> {
        let writer = self.writer.into_inner();
        let writer = writer.unwrap_or_else(PoisonError::into_inner);
        writer.finish()
    }
}

impl Sink for ParquetSink {
    fn is_stream(&self) -> bool {
        true
    }

    fn write_run(&self, packets: &[Packet], _: RunEnd<'_>) -> Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        for packet in packets {
            let mut start = 0;
            for end in packet.row_ends() {
                let end = *end as usize;
                let row = packet.text().get(start..end).unwrap_or_default();
                writer.push(row)?;
                start = end;
            }
        }
        Ok(())
    }
}

impl ParquetWriter {
    /// Begins a file of these columns, which messages call `name`; rows come in `dialect`.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn begin(
        name: PathBuf,
        out: Box<dyn Write + Send>,
        columns: Vec<TypedColumn>,
        dialect: Dialect,
    ) -> Result<Self> {
        let schema = Arc::new(TypedColumn::schema(&columns));
        // A dictionary has an index beside it, and a page its packed form.
        let share = OPEN_BYTES / 4 / columns.len().max(1);
        let page = share.clamp(LEAST_PAGE, MOST_PAGE);
        let page_rows = (share / VALUE_BYTES).clamp(LEAST_PAGE_ROWS, MOST_PAGE_ROWS);
        let packing = match columns.len() <= MOST_ZSTD_COLUMNS {
            true => Compression::ZSTD(ZstdLevel::default()),
            false => Compression::SNAPPY,
        };
        // What is kept for the footer grows with each row group; of many columns it is kept small.
        let statistics = match columns.len() <= MOST_ZSTD_COLUMNS {
            true => EnabledStatistics::Page,
            false => EnabledStatistics::Chunk,
        };
        let properties = WriterProperties::builder()
            .set_statistics_enabled(statistics)
            .set_offset_index_disabled(statistics != EnabledStatistics::Page)
            .set_dictionary_page_size_limit(page)
            .set_data_page_size_limit(page)
            .set_data_page_row_count_limit(page_rows)
            .set_created_by(concat!("skyprep ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(packing)
            // Row groups end where we say.
            .set_max_row_group_row_count(None)
            .build();
        let options = ArrowWriterOptions::new().with_properties(properties);
        let out = Digesting {
            out,
            digest: FileDigest::default(),
        };
        let writer = ArrowWriter::try_new_with_options(out, Arc::clone(&schema), options);
        let parts = writer.and_then(ArrowWriter::into_serialized_writer);
        let (file, writers) = parts.map_err(|error| failed(&name, error))?;
        Ok(Self {
            name,
            batch: Batch::new(columns, dialect),
            schema,
            file,
            writers,
            group: Vec::new(),
            groups: 0,
            group_rows: 0,
            group_text: 0,
            rows: 0,
        })
    }

    /// Takes the text of one row.
    ///
    /// # Errors
    /// A value does not go into its column's type, or the file can't be written.
    pub fn push(&mut self, row: &[u8]) -> Result<()> {
        self.batch.push(row)?;
        match self.batch.is_full() {
            true => self.write_batch(),
            false => Ok(()),
        }
    }

    /// Writes the last rows and the footer, and returns what went into the file.
    ///
    /// # Errors
    /// As those of [`push`](Self::push).
    pub fn finish(mut self) -> Result<FileDigest> {
        self.write_batch()?;
        self.end_group()?;
        let failed = |error| failed(&self.name, error);
        self.file.finish().map_err(failed)?;
        let out = self.file.inner_mut();
        let flushed = out.out.flush();
        flushed.map_err(|error| Error::writing(&self.name, error))?;
        let mut digest = std::mem::take(&mut out.digest);
        digest.add_rows(self.rows);
        Ok(digest)
    }

    /// Encodes the rows that wait, each column for itself.
    fn write_batch(&mut self) -> Result<()> {
        let (rows, text) = self.batch.size();
        if rows == 0 {
            return Ok(());
        }
        let at_file = |error: Error| error.at(Place::file(self.name.display().to_string()));
        let columns = self.batch.take().map_err(at_file)?;
        if self.group.is_empty() {
            let writers = self.writers.create_column_writers(self.groups);
            self.group = writers.map_err(|error| failed(&self.name, error))?;
        }
        let schema: &Schema = &self.schema;
        let encode = |((writer, array), field): ((&mut ArrowColumnWriter, _), &Arc<_>)| {
            // No column is nested, so each has one leaf.
            let mut leaves = compute_leaves(field, &array)?.into_iter();
            leaves.try_for_each(|leaf| writer.write(&leaf))
        };
        self.group
            .par_iter_mut()
            .zip(columns)
            .zip(schema.fields().as_ref())
            .try_for_each(encode)
            .map_err(|error| failed(&self.name, error))?;
        self.group_rows += rows as u64;
        self.group_text += text as u64;
        self.rows += rows as u64;
        match self.group_rows >= GROUP_ROWS || self.group_text >= GROUP_TEXT {
            true => self.end_group(),
            false => Ok(()),
        }
    }

    /// Writes the pages of the row group.
    fn end_group(&mut self) -> Result<()> {
        if self.group.is_empty() {
            return Ok(());
        }
        let failed = |error| failed(&self.name, error);
        let writers = std::mem::take(&mut self.group);
        let chunks: Result<Vec<_>, _> = writers
            .into_par_iter()
            .map(ArrowColumnWriter::close)
            .collect();
        let mut group = self.file.next_row_group().map_err(failed)?;
        for chunk in chunks.map_err(failed)? {
            chunk.append_to_row_group(&mut group).map_err(failed)?;
        }
        group.close().map_err(failed)?;
        (self.group_rows, self.group_text) = (0, 0);
        self.groups += 1;
        Ok(())
    }
}

/// Digests what is written.
struct Digesting {
    out: Box<dyn Write + Send>,
    digest: FileDigest,
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Tells what went wrong: mostly the file that could not be written.
fn failed(name: &Path, error: ParquetError) -> Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) => Error::writing(name, *error),
            Err(other) => Error::new(ErrorKind::Internal, format!("Parquet: {other}")),
        },
        other => Error::new(ErrorKind::Internal, format!("Parquet: {other}")),
    }
}

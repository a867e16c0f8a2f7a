//! Parquet files, read by row group, a batch at a time.
//!
//! Foreign bytes are not trusted: every read is checked against the file's size, and a panic of
//! the decoder becomes an error that names file and row group.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};

use crate::error::{Error, ErrorKind, Place, Result};

/// Largest data page and dictionary that writers make by default; for the memory estimate.
const USUAL_PAGE: u64 = 1 << 20;

/// Bytes of a batch, about.
const BATCH_BYTES: u64 = 4 << 20;

thread_local! {
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

/// A Parquet file whose footer has been read.
#[derive(Debug, Clone)]
pub struct ParquetFile {
    path: PathBuf,
    ranges: FileRanges,
    metadata: ArrowReaderMetadata,
}

impl ParquetFile {
    /// Opens a file and reads its footer.
    ///
    /// # Errors
    /// The file is missing, unreadable or no whole Parquet file.
    pub fn open(path: &Path) -> Result<Self> {
        let ranges = FileRanges::open(path).map_err(|error| Error::reading(path, error))?;
        let metadata = guarded(|| ArrowReaderMetadata::load(&ranges, ArrowReaderOptions::new()))
            .map_err(|message| {
                corrupt(message)
                    .at(Place::file(path.display().to_string()))
                    .hint("the file may be truncated; get it again from where it came")
            })?;
        Ok(Self {
            path: path.to_owned(),
            ranges,
            metadata,
        })
    }

    /// Returns the name for messages.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Returns the columns.
    pub fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    /// Returns the number of row groups.
    pub fn row_groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// Returns the number of rows in row group `number`.
    pub fn rows(&self, number: usize) -> u64 {
        u64::try_from(self.metadata.metadata().row_group(number).num_rows()).unwrap_or(0)
    }

    /// Returns the compressed size of row group `number`, for progress.
    pub fn compressed_bytes(&self, number: usize) -> u64 {
        u64::try_from(self.metadata.metadata().row_group(number).compressed_size()).unwrap_or(0)
    }

    /// Estimates the memory that decoding the given root columns of a row group takes, in bytes.
    pub fn memory_estimate(&self, number: usize, roots: &[usize]) -> u64 {
        let mut bytes = 0u64;
        for column in self.leaves(number, &self.mask(roots)) {
            let plain = u64::try_from(column.uncompressed_size()).unwrap_or(0);
            let packed = u64::try_from(column.compressed_size()).unwrap_or(0);
            let dictionary = if column.dictionary_page_offset().is_some() {
                2
            } else {
                1
            };
            bytes += plain.min(USUAL_PAGE * dictionary) + packed.min(USUAL_PAGE);
        }
        let (rows, row_bytes) = self.batch_shape(number, roots);
        bytes.saturating_add(row_bytes.saturating_mul(rows as u64))
    }

    fn mask(&self, roots: &[usize]) -> ProjectionMask {
        ProjectionMask::roots(self.metadata.parquet_schema(), roots.iter().copied())
    }

    /// Returns the metadata of the wanted leaf columns of a row group.
    fn leaves<'f>(
        &'f self,
        number: usize,
        mask: &'f ProjectionMask,
    ) -> impl Iterator<Item = &'f ColumnChunkMetaData> {
        let columns = self
            .metadata
            .metadata()
            .row_group(number)
            .columns()
            .iter()
            .enumerate();
        columns
            .filter(|(leaf, _)| mask.leaf_included(*leaf))
            .map(|(_, column)| column)
    }

    /// Returns the rows of a batch and the bytes that a row takes in it.
    ///
    /// Wide tables and long values get short batches, so that a batch stays in the cache.
    fn batch_shape(&self, number: usize, roots: &[usize]) -> (usize, u64) {
        let mask = self.mask(roots);
        let value_bytes: u64 = self
            .leaves(number, &mask)
            .map(|column| {
                let plain = column.uncompressed_size();
                // A dictionary stores a long value once, the batch holds it in every row.
                let unpacked = column.unencoded_byte_array_data_bytes().unwrap_or(0);
                u64::try_from(plain.max(unpacked)).unwrap_or(0)
            })
            .fold(0, u64::saturating_add);
        let columns = roots.len().max(1);
        let row_bytes = (value_bytes / self.rows(number).max(1)).max(16 * columns as u64);
        let by_columns = (BATCH_BYTES / (16 * columns as u64)).clamp(256, 8192);
        let by_bytes = (BATCH_BYTES / row_bytes).max(1);
        (
            usize::try_from(by_columns.min(by_bytes)).unwrap_or(1),
            row_bytes,
        )
    }

    /// Starts reading the given root columns (ascending) of row group `number`.
    ///
    /// # Errors
    /// The row group's metadata are damaged.
    pub fn read(&self, number: usize, roots: &[usize]) -> Result<RowGroupReader> {
        let mask = self.mask(roots);
        let (batch_rows, _) = self.batch_shape(number, roots);
        let place = Place {
            row_group: Some(number),
            ..Place::file(self.name())
        };
        let reader = guarded(|| {
            ParquetRecordBatchReaderBuilder::new_with_metadata(
                self.ranges.clone(),
                self.metadata.clone(),
            )
            .with_row_groups(vec![number])
            .with_projection(mask)
            .with_batch_size(batch_rows)
            .build()
        })
        .map_err(|message| corrupt(message).at(place.clone()))?;
        Ok(RowGroupReader {
            reader: Some(reader),
            place,
            expected: self.rows(number),
            rows: 0,
        })
    }
}

/// Reads one row group, batch by batch.
pub struct RowGroupReader {
    reader: Option<ParquetRecordBatchReader>,
    place: Place,
    expected: u64,
    rows: u64,
}

impl RowGroupReader {
    /// Returns the next batch; nothing after the last.
    ///
    /// # Errors
    /// The row group is damaged or shorter than the footer says.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let Some(reader) = self.reader.as_mut() else {
            return Ok(None);
        };
        let next = guarded(|| reader.next().transpose());
        match next {
            Ok(Some(batch)) => {
                self.rows += batch.num_rows() as u64;
                Ok(Some(batch))
            }
            Ok(None) => {
                self.reader = None;
                if self.rows != self.expected {
                    let message = format!(
                        "found {} rows, the footer says {}",
                        self.rows, self.expected
                    );
                    return Err(corrupt(message).at(self.place.clone()));
                }
                Ok(None)
            }
            Err(message) => {
                self.reader = None;
                Err(corrupt(message).at(self.place.clone()))
            }
        }
    }
}

fn corrupt(message: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("corrupt Parquet: {message}"))
}

/// Says whether this thread is inside the Parquet decoder, whose panics are caught: a panic hook
/// may keep quiet about them.
pub fn is_decoding() -> bool {
    DECODING.get()
}

/// Runs the decoder and turns its errors and panics into a message.
fn guarded<T, E: std::fmt::Display>(
    decode: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, String> {
    DECODING.set(true);
    // The decoder's state is thrown away after a panic, so it can't be seen half-changed.
    let outcome = catch_unwind(AssertUnwindSafe(decode));
    DECODING.set(false);
    match outcome {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!(
                "the decoder gave up ({})",
                text.unwrap_or("no reason given")
            ))
        }
    }
}

/// A file read by ranges that are checked against its size; one handle for all threads.
#[derive(Debug, Clone)]
struct FileRanges {
    file: Arc<File>,
    len: u64,
}

impl FileRanges {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self {
            file: Arc::new(file),
            len,
        })
    }
}

impl Length for FileRanges {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for FileRanges {
    type T = BufReader<RangeReader>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        // Used for page headers, which are short.
        Ok(BufReader::with_capacity(
            512,
            RangeReader {
                file: Arc::clone(&self.file),
                position: start,
            },
        ))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<bytes::Bytes> {
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} lie beyond the end of the file ({} bytes)",
                self.len
            )));
        }
        let mut buffer = vec![0; length];
        self.file.read_exact_at(&mut buffer, start)?;
        Ok(buffer.into())
    }
}

/// Reads a file from a position without moving its shared cursor.
#[derive(Debug)]
struct RangeReader {
    file: Arc<File>,
    position: u64,
}

impl Read for RangeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

//! Parquet files, read by row group, a batch at a time.
//!
//! Foreign bytes are not trusted: every read is checked against the file's size, page headers are
//! checked before anything is allocated for them, and a panic of the decoder becomes an error that
//! names file and row group.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataBuilder;
use parquet::file::metadata::page_index::PageIndexBuilder;
use parquet::file::reader::{ChunkReader, Length};

use super::parquet_decode::{ColumnCost, DecodeBudget, DecodePlan};
use super::parquet_pages::ColumnPages;
use super::reader_schema::reader_options;
use crate::error::{Error, ErrorKind, Place, Result};

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
        let load = || {
            let metadata = ArrowReaderMetadata::load(&ranges, ArrowReaderOptions::new())?;
            match reader_options(&metadata) {
                None => Ok(metadata),
                Some(options) => {
                    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)
                }
            }
        };
        let metadata = guarded(load).map_err(|message| {
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

    fn mask(&self, roots: &[usize]) -> ProjectionMask {
        ProjectionMask::roots(self.metadata.parquet_schema(), roots.iter().copied())
    }

    /// Looks at the pages of the given root columns (ascending) of row group `number` and plans how
    /// to decode them within `budget`, or with as little memory as possible.
    ///
    /// # Errors
    /// The row group's metadata are damaged.
    pub fn plan(&self, number: usize, roots: &[usize], budget: DecodeBudget) -> Result<RowGroup> {
        let place = self.place(number);
        let rows = self.rows(number);
        let mask = self.mask(roots);
        let mut costs = vec![ColumnCost::default(); roots.len()];
        let descriptor = self.metadata.parquet_schema();
        let columns = self.metadata.metadata().row_group(number).columns();
        let mut index = PageIndexBuilder::new(1, columns.len());
        index.allocate_offset_indexes(1, columns.len());
        for (leaf, column) in columns.iter().enumerate() {
            let root = roots.binary_search(&descriptor.get_column_root_idx(leaf));
            let Some(at) = root.ok().filter(|_| mask.leaf_included(leaf)) else {
                continue;
            };
            let open = |offset| self.ranges.from(offset);
            let pages = ColumnPages::walk(column, rows, open).map_err(|message| {
                corrupt(message).at(Place {
                    column: Some(column.column_path().string()),
                    ..place.clone()
                })
            })?;
            costs[at].add(column, &pages, rows);
            if let Some(pages) = pages.index {
                index.put_offset_index(pages, 0, leaf);
            }
        }
        let plan = DecodePlan::new(&costs, rows, budget);
        let metadata = if plan.groups.is_empty() {
            None
        } else {
            // Only this row group, with where its pages are: windows need not unpack those before.
            let file = self.metadata.metadata();
            let group = ParquetMetaDataBuilder::new(file.file_metadata().clone())
                .add_row_group(file.row_group(number).clone())
                .set_page_index(Some(Arc::new(index.build())))
                .build();
            let options = reader_options(&self.metadata).unwrap_or_default();
            let metadata = guarded(|| ArrowReaderMetadata::try_new(Arc::new(group), options));
            Some(metadata.map_err(|message| corrupt(message).at(place.clone()))?)
        };
        Ok(RowGroup {
            file: self.clone(),
            number,
            roots: roots.to_vec(),
            plan,
            metadata,
        })
    }

    fn place(&self, number: usize) -> Place {
        Place {
            row_group: Some(number),
            ..Place::file(self.name())
        }
    }
}

/// A row group, with a plan how to decode it.
#[derive(Debug)]
pub struct RowGroup {
    file: ParquetFile,
    number: usize,
    roots: Vec<usize>,
    plan: DecodePlan,
    /// For windows: this row group alone, with its page index.
    metadata: Option<ArrowReaderMetadata>,
}

impl RowGroup {
    /// Returns the bytes of memory that decoding takes.
    pub fn memory(&self) -> u64 {
        self.plan.memory
    }

    /// Starts reading.
    ///
    /// # Errors
    /// The row group's metadata are damaged.
    pub fn read(&self) -> Result<RowGroupReader<'_>> {
        let kept = if self.plan.kept.is_empty() {
            None
        } else {
            let roots = self.plan.kept.iter().map(|at| self.roots[*at]);
            let mask = ProjectionMask::roots(self.file.metadata.parquet_schema(), roots);
            let reader = guarded(|| {
                ParquetRecordBatchReaderBuilder::new_with_metadata(
                    self.file.ranges.clone(),
                    self.file.metadata.clone(),
                )
                .with_row_groups(vec![self.number])
                .with_projection(mask)
                .with_batch_size(self.plan.rows)
                .build()
            });
            Some(reader.map_err(|message| self.corrupt(message))?)
        };
        Ok(RowGroupReader {
            group: self,
            kept,
            rows: 0,
            is_done: false,
        })
    }

    fn corrupt(&self, message: impl std::fmt::Display) -> Error {
        corrupt(message).at(self.file.place(self.number))
    }
}

/// Reads one row group, batch by batch.
pub struct RowGroupReader<'g> {
    group: &'g RowGroup,
    kept: Option<ParquetRecordBatchReader>,
    rows: u64,
    is_done: bool,
}

impl RowGroupReader<'_> {
    /// Returns the next batch, whose columns are the wanted ones in their order; nothing after the
    /// last.
    ///
    /// # Errors
    /// The row group is damaged or shorter than the footer says.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        if self.is_done {
            return Ok(None);
        }
        let next = self.decode();
        match next {
            Ok(Some(batch)) => {
                self.rows += batch.num_rows() as u64;
                Ok(Some(batch))
            }
            Ok(None) => {
                self.is_done = true;
                let expected = self.group.file.rows(self.group.number);
                if self.rows != expected {
                    let message = format!("found {} rows, the footer says {expected}", self.rows);
                    return Err(self.group.corrupt(message));
                }
                Ok(None)
            }
            Err(message) => {
                self.is_done = true;
                Err(self.group.corrupt(message))
            }
        }
    }

    /// Returns the next rows of a table of which no column is wanted.
    fn rows_without_columns(&self) -> Option<RecordBatch> {
        let left = self.group.file.rows(self.group.number) - self.rows;
        let rows = usize::try_from(left.min(8192)).unwrap_or(0);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::new(Schema::empty());
        let batch = RecordBatch::try_new_with_options(schema, Vec::new(), &options).ok();
        batch.filter(|_| rows > 0)
    }

    fn decode(&mut self) -> std::result::Result<Option<RecordBatch>, String> {
        let plan = &self.group.plan;
        if self.group.roots.is_empty() {
            return Ok(self.rows_without_columns());
        }
        let kept = match &mut self.kept {
            Some(reader) => guarded(|| reader.next().transpose())?,
            None => None,
        };
        let Some(metadata) = &self.group.metadata else {
            return Ok(kept);
        };
        let left = self.group.file.rows(self.group.number) - self.rows;
        let rows = usize::try_from(left).map_or(plan.rows, |left| left.min(plan.rows));
        if rows == 0 {
            return Ok(kept);
        }
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.group.roots.len()];
        let mut fields: Vec<Option<FieldRef>> = vec![None; self.group.roots.len()];
        let mut place = |at: &[usize], batch: &RecordBatch| {
            for (number, at) in at.iter().enumerate() {
                columns[*at] = batch.columns().get(number).cloned();
                fields[*at] = batch.schema().fields().get(number).cloned();
            }
        };
        if let Some(kept) = &kept {
            place(&plan.kept, kept);
        }
        for group in &plan.groups {
            let roots = group.iter().map(|at| self.group.roots[*at]);
            let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
            let before = usize::try_from(self.rows).map_err(|_| "too many rows".to_owned())?;
            let selection =
                RowSelection::from(vec![RowSelector::skip(before), RowSelector::select(rows)]);
            let batch = guarded(|| {
                let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(
                    self.group.file.ranges.clone(),
                    metadata.clone(),
                )
                .with_projection(mask)
                .with_row_selection(selection)
                .with_batch_size(rows)
                .build()?;
                reader.next().transpose().map_err(ParquetError::from)
            })?;
            place(group, &batch.ok_or("a column ends early")?);
        }
        let columns: Option<Vec<ArrayRef>> = columns.into_iter().collect();
        let fields: Option<Vec<FieldRef>> = fields.into_iter().collect();
        let (Some(columns), Some(fields)) = (columns, fields) else {
            return Err("a column is missing".to_owned());
        };
        // Columns of different lengths are refused here.
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map(Some)
            .map_err(|error| error.to_string())
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

    fn from(&self, position: u64) -> RangeReader {
        RangeReader {
            file: Arc::clone(&self.file),
            position,
        }
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
        Ok(BufReader::with_capacity(512, self.from(start)))
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

//! Parquet files and their row groups.
//!
//! Foreign bytes are not trusted: every read is checked against the file's size, page headers are
//! checked before anything is allocated for them, and a panic of the decoder becomes an error that
//! names file and row group.

use std::cell::Cell;
use std::io::{self, BufReader};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Fields, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataBuilder;
use parquet::file::metadata::page_index::PageIndexBuilder;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;

use super::file_bytes::{BytesReader, FileBytes};
use super::inputs::InputName;
use super::parquet_decode::{ColumnCost, DecodeBudget, DecodePlan};
use super::parquet_pages::{ColumnPages, chunk_range};
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
    /// The same, to be read with texts left where they are.
    views: ArrowReaderMetadata,
}

/// What a footer says of the numbers of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColumnRange {
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Rows that are NULL.
    pub nulls: u64,
}

impl ColumnRange {
    fn of(statistics: &Statistics) -> Option<Self> {
        let (min, max) = match statistics {
            Statistics::Double(values) => (*values.min_opt()?, *values.max_opt()?),
            Statistics::Float(values) => {
                (f64::from(*values.min_opt()?), f64::from(*values.max_opt()?))
            }
            Statistics::Int32(values) => {
                (f64::from(*values.min_opt()?), f64::from(*values.max_opt()?))
            }
            Statistics::Int64(values) => (*values.min_opt()? as f64, *values.max_opt()? as f64),
            _ => return None,
        };
        Some(Self {
            min,
            max,
            nulls: statistics.null_count_opt().unwrap_or(0),
        })
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            nulls: self.nulls + other.nulls,
        }
    }
}

impl ParquetFile {
    /// Opens a file and reads its footer.
    ///
    /// # Errors
    /// The file is missing, unreadable or no whole Parquet file.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_bytes(path, FileBytes::open_path(path))
    }

    /// Opens an input and reads its footer.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), or the server that has it does not answer or refuses.
    pub(super) fn open_input(name: &InputName) -> Result<Self> {
        Self::open_bytes(Path::new(&name.shown()), FileBytes::open(name))
    }

    fn open_bytes(path: &Path, bytes: io::Result<FileBytes>) -> Result<Self> {
        let reading = |error| Error::reading(path, error);
        let ranges = FileRanges(bytes.map_err(reading)?);
        ranges.expect_footer().map_err(reading)?;
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
            views: as_views(&metadata),
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

    /// Returns what the footer says of the numbers of a column; nothing if it does not tell of each
    /// row group. It may be wrong, so nothing that counts may rest on it.
    pub fn range_of(&self, column: &str) -> Option<ColumnRange> {
        let metadata = self.metadata.metadata();
        let columns = self.metadata.parquet_schema().columns();
        let at = columns
            .iter()
            .position(|found| found.path().string() == column)?;
        let mut all: Option<ColumnRange> = None;
        for group in metadata.row_groups() {
            let own = ColumnRange::of(group.columns().get(at)?.statistics()?)?;
            all = Some(all.map_or(own, |range| range.with(own)));
        }
        all
    }

    fn mask(&self, roots: &[usize]) -> ProjectionMask {
        ProjectionMask::roots(self.metadata.parquet_schema(), roots.iter().copied())
    }

    /// Looks at the pages of the given root columns (ascending) of row group `number` and plans how
    /// to decode them within `budget`, or with as little memory as possible.
    ///
    /// # Errors
    /// The row group's metadata are damaged.
    pub fn plan(
        &self,
        number: usize,
        roots: &[usize],
        budget: DecodeBudget,
    ) -> Result<ParquetGroup> {
        let place = self.place(number);
        let rows = self.rows(number);
        let mask = self.mask(roots);
        let mut costs = vec![ColumnCost::default(); roots.len()];
        let descriptor = self.metadata.parquet_schema();
        let columns = self.metadata.metadata().row_group(number).columns();
        self.expect(number, &mask)?;
        let mut index = PageIndexBuilder::new(1, columns.len());
        index.allocate_offset_indexes(1, columns.len());
        for (leaf, column) in columns.iter().enumerate() {
            let root = roots.binary_search(&descriptor.get_column_root_idx(leaf));
            let Some(at) = root.ok().filter(|_| mask.leaf_included(leaf)) else {
                continue;
            };
            let open = |offset| self.ranges.0.reader(offset);
            let pages = ColumnPages::walk(column, rows, open).map_err(|message| {
                corrupt(message).at(Place {
                    column: Some(column.column_path().string()),
                    ..place.clone()
                })
            })?;
            let are_views = matches!(
                self.views.schema().field(roots[at]).data_type(),
                DataType::Utf8View | DataType::BinaryView
            );
            costs[at].add(column, &pages, rows, are_views);
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
        Ok(ParquetGroup {
            file: self.clone(),
            number,
            roots: roots.to_vec(),
            plan,
            metadata,
        })
    }

    /// Fetches the wanted columns of a row group, if the file is at a server.
    fn expect(&self, number: usize, mask: &ProjectionMask) -> Result<()> {
        let columns = self.metadata.metadata().row_group(number).columns();
        let wanted = columns.iter().enumerate();
        let wanted = wanted.filter(|(leaf, _)| mask.leaf_included(*leaf));
        // Those that make no sense are told later.
        let ranges: Vec<Range<u64>> = wanted
            .filter_map(|(_, column)| chunk_range(column).ok())
            .map(|(start, length)| start..start.saturating_add(length))
            .collect();
        let expected = self.ranges.0.expect(&ranges);
        expected.map_err(|error| Error::reading(&self.path, error))
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
pub struct ParquetGroup {
    pub(super) file: ParquetFile,
    pub(super) number: usize,
    pub(super) roots: Vec<usize>,
    pub(super) plan: DecodePlan,
    /// For columns that are opened for each window: this row group alone, with its page index.
    pub(super) metadata: Option<ArrowReaderMetadata>,
}

impl ParquetGroup {
    /// Returns the number of rows.
    pub fn rows(&self) -> u64 {
        self.file.rows(self.number)
    }

    /// Returns the bytes of memory that its open columns take.
    pub fn open_bytes(&self) -> u64 {
        self.plan.open_bytes
    }

    /// Returns the bytes of memory that `rows` decoded rows take.
    pub fn bytes_of(&self, rows: u64) -> u64 {
        self.plan.row_bytes.saturating_mul(rows)
    }

    /// Returns the bytes of memory that reading it takes at least.
    pub fn memory(&self) -> u64 {
        let window = self.plan.window.min(self.rows());
        self.open_bytes().saturating_add(self.bytes_of(window))
    }

    pub(super) fn corrupt(&self, message: impl std::fmt::Display) -> Error {
        corrupt(message).at(self.file.place(self.number))
    }

    /// Starts reading those of the columns `at` (places in the list of wanted ones), from row
    /// `first` on.
    pub(super) fn open(
        &self,
        at: &[usize],
        first: u64,
    ) -> std::result::Result<ParquetRecordBatchReader, String> {
        let skipped = usize::try_from(first).map_err(|_| "too many rows".to_owned())?;
        let left = usize::try_from(self.rows() - first).map_err(|_| "too many rows".to_owned())?;
        let roots = at.iter().map(|at| self.roots[*at]);
        let mask = ProjectionMask::roots(self.file.metadata.parquet_schema(), roots);
        let rows = usize::try_from(self.plan.window).unwrap_or(left).min(left);
        // Views hold whole pages, so they are only for columns that are open all the time.
        let metadata = match self.plan.groups.is_empty() {
            true => &self.file.views,
            false => &self.file.metadata,
        };
        guarded(|| {
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(
                self.file.ranges.clone(),
                metadata.clone(),
            )
            .with_row_groups(vec![self.number])
            .with_projection(mask)
            .with_batch_size(rows);
            if skipped == 0 {
                return reader.build();
            }
            let selectors = vec![RowSelector::skip(skipped), RowSelector::select(left)];
            reader
                .with_row_selection(RowSelection::from(selectors))
                .build()
        })
    }

    /// Reads `rows` of those columns that are opened for each window only.
    pub(super) fn read_once(
        &self,
        at: &[usize],
        rows: &Range<u64>,
    ) -> std::result::Result<RecordBatch, String> {
        let metadata = self.metadata.as_ref().ok_or("no page index")?;
        let before = usize::try_from(rows.start).map_err(|_| "too many rows".to_owned())?;
        let count = usize::try_from(rows.end - rows.start).map_err(|_| "too many rows")?;
        let roots = at.iter().map(|at| self.roots[*at]);
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
        let selectors = vec![RowSelector::skip(before), RowSelector::select(count)];
        let batch = guarded(|| {
            let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(
                self.file.ranges.clone(),
                metadata.clone(),
            )
            .with_projection(mask)
            .with_row_selection(RowSelection::from(selectors))
            .with_batch_size(count)
            .build()?;
            reader.next().transpose().map_err(ParquetError::from)
        })?;
        batch.ok_or_else(|| "a column ends early".to_owned())
    }
}

/// Returns what lets texts be read as views: long ones of dictionaries are not copied for each row.
fn as_views(metadata: &ArrowReaderMetadata) -> ArrowReaderMetadata {
    let schema = metadata.schema();
    let fields: Fields = schema
        .fields()
        .iter()
        .map(|field| {
            let view = match field.data_type() {
                DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
                DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
                _ => return Arc::clone(field),
            };
            Arc::new(field.as_ref().clone().with_data_type(view))
        })
        .collect();
    if fields == *schema.fields() {
        return metadata.clone();
    }
    let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
    let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
    let file = Arc::clone(metadata.metadata());
    guarded(|| ArrowReaderMetadata::try_new(file, options)).unwrap_or_else(|_| metadata.clone())
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
pub(super) fn guarded<T, E: std::fmt::Display>(
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

/// A file read by ranges that are checked against its size.
#[derive(Debug, Clone)]
struct FileRanges(FileBytes);

impl FileRanges {
    /// Fetches the footer of a file at a server, so that a failure of the network is told as such.
    fn expect_footer(&self) -> io::Result<()> {
        let len = self.0.len();
        let Some(end) = len.checked_sub(8) else {
            return Ok(());
        };
        let tail = self.0.read_vec(end, 8)?;
        if !tail.ends_with(b"PAR1") {
            // It is refused without more of it.
            return Ok(());
        }
        let length: [u8; 4] = tail[..4].try_into().unwrap_or_default();
        let start = end.saturating_sub(u64::from(u32::from_le_bytes(length)));
        self.0.expect(std::slice::from_ref(&(start..len)))
    }
}

impl Length for FileRanges {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for FileRanges {
    type T = BufReader<BytesReader>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        // Used for page headers, which are short.
        Ok(BufReader::with_capacity(512, self.0.reader(start)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<bytes::Bytes> {
        let (end, len) = (start.checked_add(length as u64), self.0.len());
        if end.is_none_or(|end| end > len) {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} lie beyond the end of the file ({len} bytes)"
            )));
        }
        match self.0.read_vec(start, length) {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ParquetError::EOF(
                format!("the file ends before byte {}", start + length as u64),
            )),
            Err(error) => Err(error.into()),
        }
    }
}

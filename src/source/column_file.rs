//! Files of typed columns, whatever their format: their rows come as Arrow batches, from row groups
//! that threads read together.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::arrow_file::{ArrowFile, ArrowRows};
use super::fits::{FitsFile, FitsOptions, FitsRows};
use super::inputs::{Input, InputFormat, InputName};
use super::parquet::{ColumnRange, ParquetFile, ParquetGroup};
use super::parquet_decode::DecodeBudget;
use super::parquet_shared::SharedParquet;
use crate::error::{Place, Result};
use crate::resources::Lease;

/// A file of typed columns that has been opened.
#[derive(Debug, Clone)]
pub enum ColumnFile {
    /// Parquet.
    Parquet(ParquetFile),
    /// A table of a FITS file; blocks of rows stand for row groups.
    Fits(FitsFile),
    /// Arrow IPC; record batches stand for row groups.
    Arrow(ArrowFile),
}

impl ColumnFile {
    /// Opens an input; nothing if it is text.
    ///
    /// # Errors
    /// The file is missing, unreadable or damaged, or has no such table.
    pub fn open(input: &Input, options: FitsOptions<'_>) -> Result<Option<Self>> {
        if input.name == InputName::Stdin {
            return Ok(None);
        }
        Ok(match input.format {
            InputFormat::Text => None,
            InputFormat::Parquet => Some(Self::Parquet(ParquetFile::open_input(&input.name)?)),
            InputFormat::Fits => Some(Self::Fits(FitsFile::open(&input.name, options)?)),
            InputFormat::Arrow => Some(Self::Arrow(ArrowFile::open(&input.name)?)),
        })
    }

    /// Returns the name for messages.
    pub fn name(&self) -> String {
        match self {
            Self::Parquet(file) => file.name(),
            Self::Fits(file) => file.name(),
            Self::Arrow(file) => file.name(),
        }
    }

    /// Returns the columns.
    pub fn schema(&self) -> &SchemaRef {
        match self {
            Self::Parquet(file) => file.schema(),
            Self::Fits(file) => file.schema(),
            Self::Arrow(file) => file.schema(),
        }
    }

    /// Returns the number of row groups.
    pub fn row_groups(&self) -> usize {
        match self {
            Self::Parquet(file) => file.row_groups(),
            Self::Fits(file) => file.blocks(),
            Self::Arrow(file) => file.batches(),
        }
    }

    /// Returns the number of rows in row group `number`.
    pub fn rows(&self, number: usize) -> u64 {
        match self {
            Self::Parquet(file) => file.rows(number),
            Self::Fits(file) => file.rows(number),
            Self::Arrow(file) => file.rows(number),
        }
    }

    /// Returns the bytes of row group `number` in the file, for progress.
    pub fn group_bytes(&self, number: usize) -> u64 {
        match self {
            Self::Parquet(file) => file.compressed_bytes(number),
            Self::Fits(file) => file.bytes(number),
            Self::Arrow(file) => file.batch_bytes(number),
        }
    }

    /// Says whether row groups can be read without those before them.
    pub fn can_be_cut(&self) -> bool {
        match self {
            Self::Parquet(_) | Self::Arrow(_) => true,
            Self::Fits(file) => file.can_be_cut(),
        }
    }

    /// Names row group `number` for messages: FITS files know no such thing.
    pub fn place(&self, number: usize) -> Place {
        let file = Place::file(self.name());
        match self {
            Self::Parquet(_) | Self::Arrow(_) => Place {
                row_group: Some(number),
                ..file
            },
            Self::Fits(_) => file,
        }
    }

    /// Returns what the file tells of the numbers of a column: Parquet in its footer, FITS by some of
    /// its rows. It may be wrong, so nothing that counts may rest on it.
    pub fn range_of(&self, column: &str) -> Option<ColumnRange> {
        match self {
            Self::Parquet(file) => file.range_of(column),
            Self::Fits(file) => file.range_of(column),
            Self::Arrow(_) => None,
        }
    }

    /// Plans how to decode the given root columns (ascending) of row group `number` within
    /// `budget`, or with as little memory as possible.
    ///
    /// # Errors
    /// The row group is damaged, as far as it is looked at.
    pub fn plan(&self, number: usize, roots: &[usize], budget: DecodeBudget) -> Result<RowGroup> {
        Ok(match self {
            Self::Parquet(file) => RowGroup::Parquet(file.plan(number, roots, budget)?),
            Self::Fits(file) => RowGroup::Fits(file.plan(number, roots)?),
            Self::Arrow(file) => RowGroup::Arrow(file.plan(number, roots)?),
        })
    }
}

/// A row group, with a plan how to decode it.
#[derive(Debug)]
pub enum RowGroup {
    /// Of a Parquet file.
    Parquet(ParquetGroup),
    /// A block of rows of a FITS file.
    Fits(FitsRows),
    /// A record batch of an Arrow IPC file.
    Arrow(ArrowRows),
}

impl RowGroup {
    /// Returns the bytes of memory that its open columns take.
    pub fn open_bytes(&self) -> u64 {
        match self {
            Self::Parquet(group) => group.open_bytes(),
            Self::Fits(_) | Self::Arrow(_) => 0,
        }
    }

    /// Returns the bytes of memory that reading it takes at least.
    pub fn memory(&self) -> u64 {
        match self {
            Self::Parquet(group) => group.memory(),
            Self::Fits(rows) => rows.memory(),
            Self::Arrow(rows) => rows.memory(),
        }
    }
}

/// A row group whose spans are read by any threads, each span once.
pub enum SharedRowGroup {
    /// Of a Parquet file.
    Parquet(Box<SharedParquet>),
    /// A block of rows of a FITS file: one span.
    Fits(FitsRows),
    /// A record batch of an Arrow IPC file.
    Arrow(ArrowRows),
}

impl SharedRowGroup {
    /// Makes `group` ready to be read from row `first` on, which begins a span; `memory` pays for
    /// its open columns.
    pub fn new(group: RowGroup, first: u64, memory: Option<Lease>) -> Self {
        match group {
            RowGroup::Parquet(group) => {
                Self::Parquet(Box::new(SharedParquet::new(group, first, memory)))
            }
            RowGroup::Fits(rows) => Self::Fits(rows.starting_at(first)),
            RowGroup::Arrow(rows) => Self::Arrow(rows.starting_at(first)),
        }
    }

    /// Returns the number of the row group in its file.
    pub fn number(&self) -> usize {
        match self {
            Self::Parquet(group) => group.number(),
            Self::Fits(rows) => rows.number(),
            Self::Arrow(rows) => rows.number(),
        }
    }

    /// Returns the rows to read.
    pub fn rows(&self) -> Range<u64> {
        match self {
            Self::Parquet(group) => group.rows(),
            Self::Fits(rows) => rows.rows(),
            Self::Arrow(rows) => rows.rows(),
        }
    }

    /// Returns the bytes of memory that its open columns take.
    pub fn open_bytes(&self) -> u64 {
        match self {
            Self::Parquet(group) => group.open_bytes(),
            Self::Fits(_) | Self::Arrow(_) => 0,
        }
    }

    /// Returns the span that begins with row `start`.
    pub fn span(&self, start: u64) -> Range<u64> {
        match self {
            Self::Parquet(group) => group.span(start),
            Self::Fits(rows) => start..rows.rows().end,
            Self::Arrow(rows) => rows.span(start),
        }
    }

    /// Returns the end of the window that begins with row `start`, and the bytes of memory that it
    /// takes from the time one of its spans is read until all of them are dropped.
    pub fn window(&self, start: u64) -> (u64, u64) {
        match self {
            Self::Parquet(group) => group.window(start),
            Self::Fits(rows) => (rows.rows().end, rows.memory()),
            Self::Arrow(rows) => (rows.rows().end, rows.memory()),
        }
    }

    /// Says whether all has been decoded, or nothing is open.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Parquet(group) => group.is_closed(),
            Self::Fits(_) | Self::Arrow(_) => true,
        }
    }

    /// Decodes what is left, for those who have yet to take it, and frees the memory of the open
    /// columns. What is decoded must be paid for.
    pub fn close(&self) {
        if let Self::Parquet(group) = self {
            group.close();
        }
    }

    /// Reads what can only be read in order: row groups of a file must be told to in theirs. What is read must
    /// be paid for.
    ///
    /// # Errors
    /// The file can't be read or is damaged.
    pub fn fetch(&self) -> Result<()> {
        match self {
            Self::Parquet(_) | Self::Arrow(_) => Ok(()),
            Self::Fits(rows) => rows.fetch(),
        }
    }

    /// Reads a span; the columns are the wanted ones in their order.
    ///
    /// # Errors
    /// The row group is damaged at this span or before.
    pub fn read(&self, span: &Range<u64>) -> Result<RecordBatch> {
        match self {
            Self::Parquet(group) => group.read(span),
            Self::Fits(rows) => rows.read(),
            Self::Arrow(rows) => rows.read(span),
        }
    }

    /// Reads everything and keeps nothing.
    ///
    /// # Errors
    /// The row group is damaged.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Parquet(group) => group.check(),
            Self::Fits(rows) => rows.read().map(drop),
            Self::Arrow(rows) => rows.check(),
        }
    }
}

//! FITS files: the rows of one of their binary tables.
//!
//! A table is rows of fixed width, so any of them can be read by itself. They are taken in blocks of
//! some hundred KiB, which stand where row groups do in Parquet. No crate is used: those that there are
//! wrap C, read whole tables into memory, or are young; the format is small.

mod bytes;
mod cells;
mod column;
mod header;
mod rows;
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests make files of their own")]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};

use self::bytes::FitsBytes;
use self::column::Column;
use self::header::{Header, UnitKind};
pub use self::rows::FitsRows;
use super::inputs::InputName;
use super::parquet::ColumnRange;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::values::Charset;

/// Bytes of the rows that are read at once, about, and their number at most.
const BLOCK_BYTES: u64 = 512 << 10;
const MOST_ROWS: u64 = 16_384;
/// Blocks that are looked at to know about where rows lie.
const SAMPLES: usize = 8;
/// Memory that one of them may take.
const SAMPLE_BYTES: u64 = 8 << 20;

/// Which table of a file is meant, and how its texts are encoded.
#[derive(Debug, Clone, Copy, Default)]
pub struct FitsOptions<'a> {
    /// Name (EXTNAME), or number where the first unit of the file is 0; else the first binary table.
    pub hdu: Option<&'a str>,
    /// Character set of texts beyond ASCII; UTF-8 unless somebody says otherwise.
    pub charset: Option<Charset>,
}

/// A binary table of a FITS file, whose header has been read.
#[derive(Debug, Clone)]
pub struct FitsFile {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    bytes: FitsBytes,
    columns: Vec<Column>,
    schema: SchemaRef,
    charset: Charset,
    extent: Extent,
}

/// Where the rows of a table lie.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// First byte of the rows.
    data: u64,
    row_bytes: u64,
    rows: u64,
    /// Rows of a block.
    block: u64,
    /// First byte and bytes of the heap, where cells of any length lie.
    heap: (u64, u64),
}

impl Extent {
    /// Reads what a header says, as far as the file bears it out.
    fn of(header: &Header, columns: &[Column], bytes: &FitsBytes) -> Result<Self, String> {
        let (row_bytes, rows) = (header.needed("NAXIS1")?, header.needed("NAXIS2")?);
        let table = row_bytes.checked_mul(rows).ok_or("it is too long")?;
        if row_bytes == 0 && rows > 0 {
            return Err(format!("has {rows} rows of nothing"));
        }
        let there = bytes.most_bytes().saturating_sub(header.data);
        if table > there {
            let whole = there / row_bytes.max(1);
            return Err(format!("has {whole} of its {rows} rows at most"));
        }
        let after = header.count("THEAP")?.unwrap_or(table);
        if after < table {
            return Err(format!(
                "THEAP is {after}, within its {table} bytes of rows"
            ));
        }
        let extra = header.count("PCOUNT")?.unwrap_or(0);
        let end = table.saturating_add(extra).min(there);
        // What cells point to counts as well, as if all rows had the same share.
        let has_heap = columns.iter().any(|column| column.pointer.is_some());
        let elsewhere = if has_heap { extra / rows.max(1) } else { 0 };
        let block = BLOCK_BYTES / row_bytes.saturating_add(elsewhere).max(1);
        Ok(Self {
            data: header.data,
            row_bytes,
            rows,
            block: block.clamp(1, MOST_ROWS),
            heap: (header.data.saturating_add(after), end.saturating_sub(after)),
        })
    }
}

/// A unit of the file, as a user would name it.
struct Unit {
    number: usize,
    name: Option<String>,
    header: Header,
}

impl Unit {
    fn shown(&self) -> String {
        match &self.name {
            Some(name) => format!("{} ({name})", self.number),
            None => self.number.to_string(),
        }
    }

    /// Returns the byte behind its data, as its header says.
    fn data_end(&self) -> Option<u64> {
        self.header.data.checked_add(self.header.data_bytes().ok()?)
    }

    fn is_called(&self, hdu: &str) -> bool {
        let name = self.name.as_deref();
        name.is_some_and(|name| name.eq_ignore_ascii_case(hdu)) || hdu.parse() == Ok(self.number)
    }
}

impl FitsFile {
    /// Opens a file and reads its headers.
    ///
    /// # Errors
    /// The file is missing, unreadable, no whole FITS file, or has no such table.
    pub fn open(name: &InputName, options: FitsOptions<'_>) -> Result<Self> {
        let path = &PathBuf::from(name.shown());
        let bytes = FitsBytes::open(name).map_err(|error| Error::reading(path, error))?;
        let units = units(path, &bytes, options.hdu)?;
        let unit = chosen(path, &bytes, &units, options.hdu)?;
        if options.hdu.is_none() {
            tell_others(path, &units, unit);
        }
        let damaged = |message: String| {
            let unit = unit.shown();
            corrupt(format!("table {unit}: {message}"))
                .at(Place::file(path.display().to_string()))
                .hint(
                    "get the file again if it may be truncated; else write the table anew, as astropy \
                     or fitscopy do",
                )
        };
        let header = &unit.header;
        if header.logical("ZTABLE") == Some(true) {
            return Err(
                Error::usage("its tables are compressed by tiles, which is not read")
                    .at(Place::file(path.display().to_string()))
                    .hint("unpack it first, as funpack does"),
            );
        }
        let columns = Column::all(header).map_err(damaged)?;
        let extent = Extent::of(header, &columns, &bytes).map_err(damaged)?;
        let fields: Vec<Field> = columns.iter().map(Column::field).collect();
        Ok(Self {
            shared: Arc::new(Shared {
                path: path.to_owned(),
                extent,
                columns,
                schema: Arc::new(Schema::new(fields)),
                charset: options.charset.unwrap_or(Charset::Utf8mb4),
                bytes,
            }),
        })
    }

    /// Returns the name for messages.
    pub fn name(&self) -> String {
        self.shared.path.display().to_string()
    }

    /// Returns the columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.shared.schema
    }

    /// Returns the number of blocks of rows.
    pub fn blocks(&self) -> usize {
        usize::try_from(self.shared.extent.rows.div_ceil(self.shared.extent.block))
            .unwrap_or(usize::MAX)
    }

    /// Returns the number of rows in block `number`.
    pub fn rows(&self, number: usize) -> u64 {
        let before = self.rows_before(number);
        self.shared
            .extent
            .rows
            .saturating_sub(before)
            .min(self.shared.extent.block)
    }

    /// Returns the number of rows before block `number`.
    fn rows_before(&self, number: usize) -> u64 {
        (number as u64).saturating_mul(self.shared.extent.block)
    }

    /// Returns the bytes of block `number` in the file, for progress.
    pub fn bytes(&self, number: usize) -> u64 {
        let shared = &self.shared;
        let bytes = self.rows(number) * shared.extent.row_bytes;
        if !shared.bytes.is_packed() {
            return bytes;
        }
        let all = u128::from(shared.extent.rows) * u128::from(shared.extent.row_bytes);
        let share = u128::from(bytes) * u128::from(shared.bytes.file_bytes()) / all.max(1);
        u64::try_from(share).unwrap_or(bytes)
    }

    /// Says whether parts of it can be read without what is before them.
    pub fn can_be_cut(&self) -> bool {
        !self.shared.bytes.is_packed()
    }

    /// Returns least and greatest number of a column in some of the rows; nothing for compressed files,
    /// which would have to be read as a whole.
    pub(super) fn range_of(&self, column: &str) -> Option<ColumnRange> {
        let (root, field) = self.schema().column_with_name(column)?;
        if !self.can_be_cut() || !field.data_type().is_numeric() {
            return None;
        }
        let blocks = self.blocks();
        let mut range: Option<ColumnRange> = None;
        let mut last = None;
        for sample in 0..SAMPLES {
            let number = blocks * sample / SAMPLES;
            if last == Some(number) || number >= blocks {
                continue;
            }
            last = Some(number);
            let planned = self.plan(number, &[root]).ok()?;
            if planned.memory() > SAMPLE_BYTES {
                return None;
            }
            let batch = planned.read().ok()?;
            let numbers = cast(batch.column(0), &DataType::Float64).ok()?;
            let numbers = numbers.as_primitive::<Float64Type>().iter().flatten();
            for number in numbers.filter(|number| number.is_finite()) {
                let own = ColumnRange {
                    min: number,
                    max: number,
                    nulls: 0,
                };
                range = Some(range.map_or(own, |range| range.with(own)));
            }
        }
        range
    }

    fn place(&self) -> Place {
        Place::file(self.name())
    }
}

/// Reads the headers of all units; of a compressed file those up to the one that is meant.
fn units(path: &Path, bytes: &FitsBytes, hdu: Option<&str>) -> Result<Vec<Unit>> {
    let place = || Place::file(path.display().to_string());
    let damaged = |number: usize, message: String| {
        corrupt(format!("unit {number}: {message}"))
            .at(place())
            .hint("the file may be truncated or no FITS file; get it again from where it came")
    };
    let mut units: Vec<Unit> = Vec::new();
    let mut at = 0;
    loop {
        let number = units.len();
        let header = Header::read(bytes, at);
        let header = match header.map_err(|error| unread(path, error))? {
            Ok(None) if number > 0 => return Ok(units),
            Ok(None) => return Err(damaged(0, "the file is empty".into())),
            Ok(Some(header)) => header,
            Err(message) => return Err(damaged(number, message)),
        };
        at = header.end().map_err(|message| damaged(number, message))?;
        let is_last = at >= bytes.most_bytes();
        units.push(Unit {
            number,
            name: header.text("EXTNAME").map(str::to_owned),
            header,
        });
        let is_meant = units.last().is_some_and(|unit| match hdu {
            Some(hdu) => unit.is_called(hdu),
            None => unit.header.kind() == UnitKind::BinaryTable,
        });
        if is_last || (bytes.is_packed() && is_meant) {
            return Ok(units);
        }
    }
}

/// Returns the unit that is meant.
fn chosen<'u>(
    path: &Path,
    bytes: &FitsBytes,
    units: &'u [Unit],
    hdu: Option<&str>,
) -> Result<&'u Unit> {
    let is_table = |unit: &&Unit| unit.header.kind() == UnitKind::BinaryTable;
    let found = match hdu {
        Some(hdu) => {
            let mut called = units.iter().filter(|unit| unit.is_called(hdu));
            let table = called.clone().find(is_table);
            table.or_else(|| called.next())
        }
        None => units.iter().find(is_table),
    };
    let tables: Vec<String> = units.iter().filter(is_table).map(Unit::shown).collect();
    let place = Place::file(path.display().to_string());
    if let (None, Some(last)) = (found, units.last())
        && !bytes.is_packed()
        && last.data_end().is_some_and(|end| end > bytes.file_bytes())
    {
        return Err(corrupt(format!("it ends within unit {}", last.shown()))
            .at(place)
            .hint("the file may be truncated; get it again from where it came"));
    }
    let there = match tables.is_empty() {
        true => "it has none".to_owned(),
        false => format!("its tables are {}", tables.join(", ")),
    };
    match (found, hdu) {
        (Some(unit), _) if is_table(&unit) => Ok(unit),
        (Some(unit), Some(hdu)) => {
            let what = match unit.header.kind() {
                UnitKind::CharacterTable => "a table of characters",
                _ if unit.header.logical("ZIMAGE") == Some(true) => "a compressed image",
                _ => "no table",
            };
            let message = format!("{hdu} is {what}; only binary tables are read");
            Err(Error::usage(message).at(place).hint(there))
        }
        (_, Some(hdu)) => Err(Error::usage(format!("has no unit {hdu}"))
            .at(place)
            .hint(there)),
        (_, None) => {
            let of_characters = |unit: &Unit| unit.header.kind() == UnitKind::CharacterTable;
            let message = match units.iter().any(of_characters) {
                true => "has tables of characters only; binary tables are read",
                false => "has no binary table",
            };
            let hint = "convert it to a FITS binary table, Parquet or text first";
            Err(Error::usage(message).at(place).hint(hint))
        }
    }
}

/// Says, once, which tables besides `unit` have rows: thousands of files are likely all alike.
fn tell_others(path: &Path, units: &[Unit], unit: &Unit) {
    static TOLD: Once = Once::new();
    let has_rows = |other: &&Unit| {
        let header = &other.header;
        header.kind() == UnitKind::BinaryTable
            && other.number != unit.number
            && header
                .count("NAXIS2")
                .is_ok_and(|rows| rows.unwrap_or(0) > 0)
    };
    let others: Vec<String> = units.iter().filter(has_rows).map(Unit::shown).collect();
    if !others.is_empty() {
        TOLD.call_once(|| {
            tracing::warn!(
                "{}: of its tables {} is read, and not {}; --hdu or hdu = says which one is meant \
                 (this is not said of further files)",
                path.display(),
                unit.shown(),
                others.join(", ")
            );
        });
    }
}

/// Tells what can't be read from what is damaged: files that end early, or don't unpack.
fn unread(path: &Path, error: std::io::Error) -> Error {
    use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    match error.kind() {
        UnexpectedEof => corrupt("the file ends within its rows")
            .at(Place::file(path.display().to_string()))
            .hint("it may be truncated; get it again from where it came"),
        InvalidData | InvalidInput => corrupt(format!("it can't be unpacked: {error}"))
            .at(Place::file(path.display().to_string()))
            .hint("get it again from where it came"),
        _ => Error::reading(path, error),
    }
}

fn corrupt(message: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("corrupt FITS: {message}"))
}

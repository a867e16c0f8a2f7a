//! The pages of a Parquet column chunk, found by walking their headers.
//!
//! A page header says how many bytes the decoder is to allocate, and the decoder believes it. So
//! all headers are looked at beforehand and compared with the sizes in the footer. What they say
//! also tells how much memory a column takes, and where a page begins that holds a given row.

use std::io::{BufReader, Read};

use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::metadata::OffsetIndexBuilder;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use thrift::protocol::{TCompactInputProtocol, TInputProtocol, TType};

/// Longest text in a header: the statistics of a page.
const MOST_HEADER_TEXT: usize = 16 << 20;
const HEADER_READ: usize = 512;
/// parquet-mr before 1.2.9 left the header of the dictionary page out of a column's size.
const MISSING_DICTIONARY_HEADER: u64 = 100;

/// What the headers of a column chunk say.
#[derive(Debug, Clone)]
pub(super) struct ColumnPages {
    /// Bytes of the dictionary page, unpacked.
    pub(super) dictionary: u64,
    /// Values in the dictionary.
    pub(super) dictionary_values: u64,
    /// Bytes of the largest data page, unpacked.
    pub(super) largest: u64,
    /// Bytes of the largest page as it lies in the file.
    pub(super) largest_packed: u64,
    /// Where each data page is, if rows can be told from it.
    pub(super) index: Option<OffsetIndexMetaData>,
}

/// The part of a page header that matters here.
#[derive(Debug, Default)]
struct PageHeader {
    kind: i32,
    unpacked: i32,
    packed: i32,
    values: i32,
    rows: Option<i32>,
}

const DATA_PAGE: i32 = 0;
const DICTIONARY_PAGE: i32 = 2;
const DATA_PAGE_V2: i32 = 3;

impl ColumnPages {
    /// Walks the pages of a column chunk of `rows` rows; `open` reads the file from an offset.
    ///
    /// # Errors
    /// A header can't be read or contradicts the footer, in words.
    pub(super) fn walk<R: Read>(
        column: &ColumnChunkMetaData,
        rows: u64,
        open: impl Fn(u64) -> R,
    ) -> Result<Self, String> {
        let (start, length) = chunk_range(column)?;
        let most = u64::try_from(column.uncompressed_size()).unwrap_or(0);
        let is_flat = column.column_descr().max_rep_level() == 0;
        let mut found = Self {
            dictionary: 0,
            dictionary_values: 0,
            largest: 0,
            largest_packed: 0,
            index: None,
        };
        if rows == 0 && column.num_values() == 0 {
            return Ok(found);
        }
        let mut index = OffsetIndexBuilder::new();
        let mut indexed_rows = 0u64;
        let (mut values, mut unpacked) = (0i64, 0u64);
        let mut offset = start;
        // The decoder goes by bytes and rows, whatever the footer says of values.
        let last = start.saturating_add(length);
        let end = last.saturating_add(MISSING_DICTIONARY_HEADER);
        while offset < last {
            let mut source = Counted {
                inner: BufReader::with_capacity(HEADER_READ, open(offset).take(end - offset)),
                bytes: 0,
            };
            let header = read_header(&mut source)
                .map_err(|error| format!("no page header at byte {offset}: {error}"))?;
            let size = |bytes: i32| u64::try_from(bytes).ok();
            let sizes = size(header.packed).zip(size(header.unpacked));
            let body = offset + source.bytes;
            let Some((packed, plain)) =
                sizes.filter(|(packed, _)| body.saturating_add(*packed) <= end)
            else {
                return Err(format!(
                    "the page at byte {offset} is larger than its column"
                ));
            };
            unpacked = unpacked.saturating_add(plain);
            if unpacked > most {
                return Err(format!(
                    "the pages up to byte {offset} unpack to {unpacked} bytes, the footer says {most}"
                ));
            }
            found.largest_packed = found.largest_packed.max(packed);
            match header.kind {
                DICTIONARY_PAGE => {
                    found.dictionary = plain;
                    found.dictionary_values = size(header.values).unwrap_or(0);
                }
                DATA_PAGE | DATA_PAGE_V2 => {
                    if header.values < 0 {
                        return Err(format!(
                            "the page at byte {offset} has {} values",
                            header.values
                        ));
                    }
                    found.largest = found.largest.max(plain);
                    values = values.saturating_add(i64::from(header.values));
                    let page_rows = i64::from(header.rows.unwrap_or(header.values));
                    let whole = i32::try_from(source.bytes + packed).unwrap_or(i32::MAX);
                    index.append_offset_and_size(offset.cast_signed(), whole);
                    index.append_row_count(page_rows);
                    indexed_rows += page_rows.unsigned_abs();
                }
                _ => {}
            }
            offset = body + packed;
        }
        if values != column.num_values() {
            return Err(format!(
                "its pages hold {values} values, the footer says {}",
                column.num_values()
            ));
        }
        if is_flat && u64::try_from(values) != Ok(rows) {
            return Err(format!("it has {values} values, the row group {rows} rows"));
        }
        if is_flat && indexed_rows == rows {
            found.index = Some(index.build());
        }
        Ok(found)
    }
}

/// Returns where a column chunk lies in its file.
pub(super) fn chunk_range(column: &ColumnChunkMetaData) -> Result<(u64, u64), String> {
    // A dictionary offset of 0 stands for none: the file begins with its magic there.
    let start = match column.dictionary_page_offset() {
        Some(dictionary) if dictionary > 0 => match column.data_page_offset() {
            // A row group without rows may have a dictionary and no data page.
            data if data > 0 => dictionary.min(data),
            _ => dictionary,
        },
        _ => column.data_page_offset(),
    };
    match (
        u64::try_from(start),
        u64::try_from(column.compressed_size()),
    ) {
        (Ok(start), Ok(length)) => Ok((start, length)),
        _ => Err("the footer has a negative offset or size".to_owned()),
    }
}

fn read_header<R: Read>(source: &mut Counted<R>) -> thrift::Result<PageHeader> {
    let limits = thrift::TConfiguration::builder()
        .max_string_size(Some(MOST_HEADER_TEXT))
        .max_container_size(Some(MOST_HEADER_TEXT))
        .max_recursion_depth(Some(16))
        .build()?;
    let mut input = TCompactInputProtocol::with_config(source, limits);
    let mut header = PageHeader {
        packed: -1,
        unpacked: -1,
        ..PageHeader::default()
    };
    fields(&mut input, |input, field, kind| {
        match (field, kind) {
            (1, TType::I32) => header.kind = input.read_i32()?,
            (2, TType::I32) => header.unpacked = input.read_i32()?,
            (3, TType::I32) => header.packed = input.read_i32()?,
            // Data page, dictionary page, data page of version 2: values come first in each. Only
            // the one of the page's own kind counts.
            (5 | 7 | 8, TType::Struct) => fields(input, |input, inner, kind| {
                let is_own = header.kind
                    == [DATA_PAGE, DICTIONARY_PAGE, DATA_PAGE_V2][match field {
                        5 => 0,
                        7 => 1,
                        _ => 2,
                    }];
                match (inner, kind) {
                    (1, TType::I32) if is_own => header.values = input.read_i32()?,
                    (3, TType::I32) if is_own && field == 8 => {
                        header.rows = Some(input.read_i32()?);
                    }
                    _ => input.skip(kind)?,
                }
                Ok(())
            })?,
            _ => input.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(header)
}

/// Hands each field of a struct to `each`, which must read or skip it.
fn fields<P: TInputProtocol>(
    input: &mut P,
    mut each: impl FnMut(&mut P, i16, TType) -> thrift::Result<()>,
) -> thrift::Result<()> {
    input.read_struct_begin()?;
    loop {
        let field = input.read_field_begin()?;
        if field.field_type == TType::Stop {
            break;
        }
        each(input, field.id.unwrap_or(0), field.field_type)?;
        input.read_field_end()?;
    }
    input.read_struct_end()
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

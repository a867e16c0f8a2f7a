//! A director index in other formats than text.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, RecordBatch, StringBuilder, UInt64Builder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};

use super::build::{DuplicateRule, build};
use super::key::Canonical;
use super::scan::{IndexLimits, refused, scan};
use super::source::{Found, IndexRow, IndexSource};
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Place, Result, quote_value};
use crate::publish::{append, remove_optional};

/// Formats of a director index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexFormat {
    /// Text in the dialect of the output, in the order of the rows.
    #[default]
    Text,
    /// Parquet, in the order of the rows.
    Parquet,
    /// The compact file, in the order of hashes: what looking up is quickest with.
    Binary,
}

impl IndexFormat {
    /// Returns the ending of the index's name.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Text => "txt",
            Self::Parquet => "parquet",
            Self::Binary => "bin",
        }
    }

    /// Returns the name of the index in a folder of chunk files.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Text => "chunk_object_index.txt",
            Self::Parquet => "chunk_object_index.parquet",
            Self::Binary => "chunk_object_index.bin",
        }
    }
}

/// The Parquet type of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// INT64.
    Signed,
    /// INT64, unsigned.
    Unsigned,
    /// A string.
    Utf8,
    /// Bytes.
    Binary,
}

/// Columns of an index that is Parquet.
#[derive(Debug, Clone)]
pub struct IndexColumns {
    /// Name of the key.
    pub key: String,
    /// Name of the chunk number.
    pub chunk: String,
    /// Name of the sub-chunk number.
    pub sub_chunk: String,
    /// Type of the key; without one it is the first of signed, unsigned, string and bytes that
    /// holds all keys as they are written.
    pub key_type: Option<KeyType>,
}

const ROW_GROUP: usize = 1 << 20;
/// Bytes of keys after which a row group ends, too: it waits in memory.
const ROW_GROUP_BYTES: usize = 16 << 20;
const BATCH: usize = 1 << 14;
const BATCH_BYTES: usize = 1 << 20;

/// Writes the rows of the text index `text` into the compact file `out`, which is replaced, and
/// returns the number of different keys.
///
/// # Errors
/// The index can't be read, a row of it is refused, a key has two places, or `out` can't be written.
pub fn write_compact_index(
    (text, dialect): (&Path, &Dialect),
    out: &Path,
    duplicates: DuplicateRule,
    limits: &IndexLimits,
) -> Result<u64> {
    let found = found(text, dialect)?;
    remove_optional(out)?;
    let layout = build(&found, dialect, (append(out)?, out), duplicates, limits)?;
    Ok(layout.entries)
}

/// Writes the rows of the text index `text` into the Parquet file `out`, which is replaced, and
/// returns the number of rows. They keep their order.
///
/// # Errors
/// The index can't be read, a row of it is refused, a key has not the type that was asked for, or
/// `out` can't be written.
pub fn write_parquet_index(
    (text, dialect): (&Path, &Dialect),
    out: &Path,
    columns: &IndexColumns,
    limits: &IndexLimits,
) -> Result<u64> {
    let found = found(text, dialect)?;
    let key_type = match columns.key_type {
        Some(key_type) => key_type,
        None => type_of_all(&found, dialect, limits)?,
    };
    let mut writer = IndexWriter::create(out, columns, key_type, limits)?;
    scan(&found, dialect, limits, &mut |row| {
        let at = |error: Error| {
            error.at(Place {
                line: Some(row.number),
                ..Place::default()
            })
        };
        writer.add(&row).map_err(at)
    })?;
    writer.finish()
}

fn found(text: &Path, dialect: &Dialect) -> Result<Found> {
    Found::of(&IndexSource {
        path: text.to_owned(),
        dialect: dialect.clone(),
    })
}

/// Goes through all keys for the type that holds them.
fn type_of_all(found: &Found, dialect: &Dialect, limits: &IndexLimits) -> Result<KeyType> {
    let (mut is_signed, mut is_unsigned, mut is_utf8) = (true, true, true);
    scan(found, dialect, limits, &mut |row| {
        match row.text.key(row.hash) {
            Canonical::Signed(number) => is_unsigned &= number >= 0,
            Canonical::Large(_) => is_signed = false,
            Canonical::Text(text) => {
                (is_signed, is_unsigned) = (false, false);
                is_utf8 = is_utf8 && std::str::from_utf8(text).is_ok();
            }
        }
        Ok(())
    })?;
    Ok(match (is_signed, is_unsigned, is_utf8) {
        (true, ..) => KeyType::Signed,
        (false, true, _) => KeyType::Unsigned,
        (false, false, true) => KeyType::Utf8,
        (false, false, false) => KeyType::Binary,
    })
}

/// Keys of a batch.
enum KeyBuilder {
    Signed(Int64Builder),
    Unsigned(UInt64Builder),
    Utf8(StringBuilder),
    Binary(BinaryBuilder),
}

impl KeyBuilder {
    fn new(key_type: KeyType) -> Self {
        match key_type {
            KeyType::Signed => Self::Signed(Int64Builder::new()),
            KeyType::Unsigned => Self::Unsigned(UInt64Builder::new()),
            KeyType::Utf8 => Self::Utf8(StringBuilder::new()),
            KeyType::Binary => Self::Binary(BinaryBuilder::new()),
        }
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Signed(_) => DataType::Int64,
            Self::Unsigned(_) => DataType::UInt64,
            Self::Utf8(_) => DataType::Utf8,
            Self::Binary(_) => DataType::Binary,
        }
    }

    /// Adds a key and returns its bytes.
    fn add(&mut self, key: Canonical<'_>) -> Result<usize> {
        let mut digits = itoa::Buffer::new();
        let wrong = |expected: &str| {
            let mut digits = itoa::Buffer::new();
            let key = quote_value(key.text(&mut digits));
            Err(refused(format!("found the key {key}, expected {expected}")))
        };
        match (self, key) {
            (Self::Signed(builder), Canonical::Signed(number)) => builder.append_value(number),
            (Self::Signed(_), _) => return wrong("a whole number of 64 bits"),
            (Self::Unsigned(builder), Canonical::Large(number)) => builder.append_value(number),
            (Self::Unsigned(builder), Canonical::Signed(number)) if number >= 0 => {
                builder.append_value(number.cast_unsigned());
            }
            (Self::Unsigned(_), _) => return wrong("a whole number of 64 bits without a sign"),
            (Self::Utf8(builder), key) => {
                let Ok(text) = std::str::from_utf8(key.text(&mut digits)) else {
                    return wrong("valid UTF-8");
                };
                builder.append_value(text);
                return Ok(text.len());
            }
            (Self::Binary(builder), key) => {
                let bytes = key.text(&mut digits);
                builder.append_value(bytes);
                return Ok(bytes.len());
            }
        }
        Ok(8)
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Signed(builder) => Arc::new(builder.finish()),
            Self::Unsigned(builder) => Arc::new(builder.finish()),
            Self::Utf8(builder) => Arc::new(builder.finish()),
            Self::Binary(builder) => Arc::new(builder.finish()),
        }
    }
}

/// Writes rows to a Parquet file, batch by batch; where batches and row groups end follows from the
/// rows alone.
struct IndexWriter<'l> {
    writer: ArrowWriter<std::fs::File>,
    path: &'l Path,
    schema: SchemaRef,
    keys: KeyBuilder,
    chunks: Int32Builder,
    sub_chunks: Int32Builder,
    batch: usize,
    batch_bytes: usize,
    group_bytes: usize,
    rows: u64,
    limits: &'l IndexLimits,
    memory: crate::resources::Lease,
}

impl<'l> IndexWriter<'l> {
    fn create(
        path: &'l Path,
        columns: &IndexColumns,
        key_type: KeyType,
        limits: &'l IndexLimits,
    ) -> Result<Self> {
        let keys = KeyBuilder::new(key_type);
        let schema = Arc::new(Schema::new(vec![
            Field::new(&columns.key, keys.data_type(), false),
            Field::new(&columns.chunk, DataType::Int32, false),
            Field::new(&columns.sub_chunk, DataType::Int32, false),
        ]));
        let level = ZstdLevel::try_new(3).map_err(|error| writing(path, error))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(ROW_GROUP))
            .build();
        remove_optional(path)?;
        let file = append(path)?;
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))
            .map_err(|error| writing(path, error))?;
        Ok(Self {
            writer,
            path,
            schema,
            keys,
            chunks: Int32Builder::new(),
            sub_chunks: Int32Builder::new(),
            batch: 0,
            batch_bytes: 0,
            group_bytes: 0,
            rows: 0,
            limits,
            memory: limits.gate.charge(4 * BATCH_BYTES as u64),
        })
    }

    fn add(&mut self, row: &IndexRow<'_>) -> Result<()> {
        let bytes = self.keys.add(row.text.key(row.hash))?;
        self.chunks.append_value(row.place.chunk);
        self.sub_chunks.append_value(row.place.sub_chunk);
        self.batch += 1;
        self.batch_bytes += bytes;
        self.group_bytes += bytes;
        self.rows += 1;
        if self.batch == BATCH || self.batch_bytes >= BATCH_BYTES {
            self.write_batch()?;
        }
        Ok(())
    }

    fn write_batch(&mut self) -> Result<()> {
        let arrays: Vec<ArrayRef> = vec![
            self.keys.finish(),
            Arc::new(self.chunks.finish()),
            Arc::new(self.sub_chunks.finish()),
        ];
        let written = RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map_err(ParquetError::from)
            .and_then(|batch| self.writer.write(&batch));
        written.map_err(|error| writing(self.path, error))?;
        (self.batch, self.batch_bytes) = (0, 0);
        if self.group_bytes >= ROW_GROUP_BYTES {
            self.writer
                .flush()
                .map_err(|error| writing(self.path, error))?;
        }
        if self.writer.in_progress_rows() == 0 {
            self.group_bytes = 0;
        }
        let bytes = self.writer.memory_size() as u64;
        if bytes > self.memory.bytes() {
            let more = bytes - self.memory.bytes();
            self.memory.absorb(self.limits.gate.charge(more));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<u64> {
        self.write_batch()?;
        self.writer
            .close()
            .map_err(|error| writing(self.path, error))?;
        Ok(self.rows)
    }
}

pub(super) fn writing(path: &Path, error: ParquetError) -> Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(error) => Error::writing(path, *error),
            Err(other) => Error::new(ErrorKind::OutputRefused, format!("can't write: {other}"))
                .at(Place::file(path.display().to_string())),
        },
        other => Error::new(ErrorKind::Internal, format!("can't write Parquet: {other}"))
            .at(Place::file(path.display().to_string())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::disallowed_methods,
        reason = "tests read and write files as their users would"
    )]

    use std::fs;

    use arrow::array::AsArray;
    use arrow::datatypes::{Int32Type, Int64Type};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::file::metadata::RowGroupMetaData;

    use super::super::tests::{Bench, place};
    use super::super::{IndexOptions, Key, KeyIndex, KeyPlace};
    use super::*;

    fn columns(key_type: Option<KeyType>) -> IndexColumns {
        IndexColumns {
            key: "objectId".into(),
            chunk: "chunkId".into(),
            sub_chunk: "subChunkId".into(),
            key_type,
        }
    }

    fn to_parquet(bench: &Bench, text: &str, key_type: Option<KeyType>) -> Result<Vec<u8>> {
        let (from, out) = (bench.path("index.txt"), bench.path("index.parquet"));
        fs::write(&from, text).unwrap();
        let dialect = Dialect::qserv();
        let rows = write_parquet_index((&from, &dialect), &out, &columns(key_type), &bench.limits)?;
        assert_eq!(rows, text.lines().count() as u64);
        Ok(fs::read(out).unwrap())
    }

    fn read(bytes: Vec<u8>) -> Vec<RecordBatch> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
        reader
            .build()
            .unwrap()
            .map(|batch| batch.unwrap())
            .collect()
    }

    #[test]
    fn keys_get_the_type_that_holds_them() {
        let bench = Bench::new(64 << 20);
        let cases = [
            ("5\t1\t2\n-7\t3\t4\n", DataType::Int64),
            ("5\t1\t2\n18446744073709551615\t3\t4\n", DataType::UInt64),
            ("-5\t1\t2\n18446744073709551615\t3\t4\n", DataType::Utf8),
            ("5\t1\t2\n05\t3\t4\n", DataType::Utf8),
            ("", DataType::Int64),
        ];
        for (text, expected) in cases {
            let bytes = to_parquet(&bench, text, None).unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes));
            let schema = Arc::clone(reader.unwrap().schema());
            let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            assert_eq!(names, ["objectId", "chunkId", "subChunkId"]);
            assert_eq!(*schema.field(0).data_type(), expected, "{text:?}");
        }
        let batches = read(to_parquet(&bench, "5\t1\t2\n", Some(KeyType::Binary)).unwrap());
        assert_eq!(batches[0].column(0).as_binary::<i32>().value(0), b"5");
        let error = to_parquet(&bench, "5\t1\t2\nx\t1\t2\n", Some(KeyType::Signed)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataRefused);
        let message = error.to_string();
        let expected = "index.txt, line 2: found the key \"x\", expected a whole number of 64 bits";
        assert!(message.ends_with(expected), "{message}");
    }

    #[test]
    fn parquet_keeps_the_order_and_has_the_same_bytes_at_any_memory() {
        let mut text = String::new();
        for row in 0..200_000u64 {
            text += &format!("{}\t{}\t{}\n", row * 7 % 200_003, row % 3000, row % 11);
        }
        let bytes = to_parquet(&Bench::new(1 << 30), &text, None).unwrap();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let narrow = pool.install(|| to_parquet(&Bench::new(8 << 20), &text, None).unwrap());
        assert!(narrow == bytes);
        let mut row = 0;
        for batch in read(bytes) {
            for at in 0..batch.num_rows() {
                let found = (
                    batch.column(0).as_primitive::<Int64Type>().value(at),
                    batch.column(1).as_primitive::<Int32Type>().value(at),
                    batch.column(2).as_primitive::<Int32Type>().value(at),
                );
                let key = row * 7 % 200_003;
                let (chunk, sub_chunk) = (row % 3000, row % 11);
                let numbers = [chunk, sub_chunk].map(|number| i32::try_from(number).unwrap());
                assert_eq!(found, (key, numbers[0], numbers[1]));
                row += 1;
            }
        }
        assert_eq!(row, 200_000);
    }

    #[test]
    fn long_keys_end_row_groups() {
        let bench = Bench::new(1 << 30);
        let text: String = (0..5000)
            .map(|row| format!("{row}{}\t1\t2\n", "x".repeat(8000)))
            .collect();
        let bytes = to_parquet(&bench, &text, None).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
        let groups = reader.metadata().row_groups();
        assert_eq!(groups.len(), 3);
        let groups: Vec<i64> = groups.iter().map(RowGroupMetaData::num_rows).collect();
        assert!(
            groups[0] == groups[1] && groups[0] > groups[2],
            "{groups:?}"
        );
    }

    #[test]
    fn compact_and_parquet_indexes_give_the_same_places() {
        let bench = Bench::new(64 << 20);
        let text = "5\t1\t2\nkey\t3\t4\n5\t1\t2\n";
        to_parquet(&bench, text, None).unwrap();
        let (from, out) = (bench.path("index.txt"), bench.path("index.bin"));
        fs::write(&out, "something else").unwrap();
        let dialect = Dialect::qserv();
        let rule = DuplicateRule::Refuse;
        let keys = write_compact_index((&from, &dialect), &out, rule, &bench.limits).unwrap();
        assert_eq!(keys, 2);
        for name in ["index.txt", "index.bin", "index.parquet"] {
            let source = IndexSource {
                path: bench.path(name),
                dialect: dialect.clone(),
            };
            let options = IndexOptions {
                scratch: bench.path("scratch"),
                duplicates: rule,
                limits: bench.limits.clone(),
            };
            let index = KeyIndex::open(&source, &options).unwrap();
            let found: Vec<Option<KeyPlace>> = [&b"5"[..], b"key", b"x"]
                .map(|key| index.find(Key::Text(key)))
                .to_vec();
            assert_eq!(
                found,
                [Some(place(1, 2)), Some(place(3, 4)), None],
                "{name}"
            );
        }
    }
}

//! Indexes that are Parquet, put one behind the other without unpacking them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::column::writer::ColumnCloseResult;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;

use super::formats::writing;
use super::scan::refused;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::publish::{append, remove_optional};
use crate::source::ParquetFile;

/// Writes the row groups of `indexes`, in this order, into the Parquet file `out`, which is replaced,
/// and returns the number of rows.
///
/// # Errors
/// An index can't be read, has other columns than the first, or `out` can't be written.
pub fn join_parquet_indexes(indexes: &[PathBuf], out: &Path) -> Result<u64> {
    let mut writer: Option<SerializedFileWriter<File>> = None;
    let mut rows = 0;
    for path in indexes {
        let at = |error: Error| error.at(Place::file(path.display().to_string()));
        let corrupt = |error: parquet::errors::ParquetError| {
            at(Error::new(ErrorKind::Corrupt, error.to_string()))
        };
        // What its footer says may be anything; this looks at it first.
        ParquetFile::open(path)?;
        let file = File::open(path).map_err(|error| Error::reading(path, error))?;
        let again = file
            .try_clone()
            .map_err(|error| Error::reading(path, error))?;
        let reader = SerializedFileReader::new(again).map_err(corrupt)?;
        let metadata = reader.metadata();
        let schema = metadata.file_metadata().schema_descr().root_schema_ptr();
        let writer = match &mut writer {
            Some(writer) if *writer.schema_descr().root_schema() == *schema => writer,
            Some(_) => {
                let message = "the index has other columns than that of the first folder";
                return Err(at(refused(message.to_owned()).hint(
                    "make both with --index-format text, where keys are what is written",
                )));
            }
            None => {
                remove_optional(out)?;
                let named = metadata.file_metadata().key_value_metadata().cloned();
                let properties = WriterProperties::builder()
                    .set_key_value_metadata(named)
                    .build();
                let begun = SerializedFileWriter::new(append(out)?, schema, Arc::new(properties));
                writer.insert(begun.map_err(|error| writing(out, error))?)
            }
        };
        for group in metadata.row_groups() {
            let mut copy = writer
                .next_row_group()
                .map_err(|error| writing(out, error))?;
            for column in group.columns() {
                let closed = ColumnCloseResult {
                    bytes_written: column.compressed_size().max(0).cast_unsigned(),
                    rows_written: group.num_rows().max(0).cast_unsigned(),
                    metadata: column.clone(),
                    bloom_filter: None,
                    column_index: None,
                    offset_index: None,
                };
                copy.append_column(&file, closed).map_err(corrupt)?;
            }
            copy.close().map_err(|error| writing(out, error))?;
            rows += group.num_rows().max(0).cast_unsigned();
        }
    }
    if let Some(writer) = writer {
        writer.close().map_err(|error| writing(out, error))?;
    }
    Ok(rows)
}

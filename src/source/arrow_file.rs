//! Arrow IPC files (Feather 2): record batches, each read as a whole.
//!
//! Foreign bytes are not trusted: places and sizes that footer and messages tell are checked against the
//! file, what is packed is paid for by the size that it says it has, and a panic of the decoder becomes
//! an error that names file and batch.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow_ipc::convert::try_fb_to_schema;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{Block, Message, MessageHeader, root_as_footer, root_as_message};

use super::file_bytes::FileBytes;
use super::inputs::InputName;
use super::parquet::guarded;
use crate::error::{Error, ErrorKind, Place, Result};

const MAGIC: &[u8] = b"ARROW1";
/// Footer length and magic at the end.
const TAIL: u64 = 10;
/// Longest footer, and longest head of a message, that are read.
const MOST_HEAD: u64 = 256 << 20;
/// Bytes of a batch that one worker takes at a time.
const SPAN_BYTES: u64 = 1 << 20;
/// LZ4 makes no more of a byte.
const MOST_LZ4: u64 = 256;

/// An Arrow IPC file whose footer has been read.
#[derive(Debug, Clone)]
pub struct ArrowFile {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    bytes: FileBytes,
    /// As the file has it.
    written: SchemaRef,
    /// As columns are handed out.
    schema: SchemaRef,
    dictionaries: HashMap<i64, ArrayRef>,
    batches: Vec<Batch>,
}

/// A record batch of the file.
#[derive(Debug, Clone, Copy)]
struct Batch {
    block: Block,
    rows: u64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batches = self.batches.len();
        write!(f, "Shared({}, {batches} batches)", self.path.display())
    }
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

impl ArrowFile {
    /// Opens a file and reads its footer, its dictionaries and the heads of its batches.
    ///
    /// # Errors
    /// The file is missing, unreadable or no whole Arrow IPC file.
    pub fn open(name: &InputName) -> Result<Self> {
        let path = PathBuf::from(name.shown());
        let damaged = |error: Error| {
            let place = Place::file(path.display().to_string());
            match error.kind() {
                ErrorKind::Corrupt => error
                    .at(place)
                    .hint("the file may be truncated; get it again from where it came"),
                _ => error.at(place),
            }
        };
        let bytes = FileBytes::open(name).map_err(|error| Error::reading(&path, error))?;
        let shared = Shared::open(&path, bytes).map_err(damaged)?;
        Ok(Self {
            shared: Arc::new(shared),
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

    /// Returns the number of record batches.
    pub fn batches(&self) -> usize {
        self.shared.batches.len()
    }

    /// Returns the number of rows of batch `number`.
    pub fn rows(&self, number: usize) -> u64 {
        let batch = self.shared.batches.get(number);
        batch.map_or(0, |batch| batch.rows)
    }

    /// Returns the bytes of batch `number` in the file.
    pub fn batch_bytes(&self, number: usize) -> u64 {
        let batch = self.shared.batches.get(number);
        batch.map_or(0, |batch| body_bytes(&batch.block))
    }

    /// Looks at batch `number`, of which the columns `roots` (ascending) are wanted.
    ///
    /// # Errors
    /// The batch can't be read, or tells sizes that can't be.
    pub fn plan(&self, number: usize, roots: &[usize]) -> Result<ArrowRows> {
        let rows = self.rows(number);
        let bytes = self.batch_bytes(number);
        let unpacked = match self.shared.batches.get(number) {
            Some(batch) => self.shared.unpacked_bytes(&batch.block),
            None => Ok(0),
        };
        let unpacked = unpacked.map_err(|error| error.at(Place::file(self.name())))?;
        let memory = bytes.saturating_add(unpacked).saturating_mul(2);
        let row_bytes = bytes.max(unpacked) / rows.max(1);
        Ok(ArrowRows {
            file: self.clone(),
            number,
            roots: roots.to_vec(),
            rows: 0..rows,
            span_rows: (SPAN_BYTES / row_bytes.max(1)).max(1),
            memory,
            decoded: Mutex::default(),
        })
    }
}

impl Shared {
    fn open(path: &Path, bytes: FileBytes) -> Result<Self> {
        let reading = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => corrupt("the file ends too early"),
            _ => Error::reading(path, error),
        };
        let len = bytes.len();
        if len < MAGIC.len() as u64 + 2 + TAIL {
            return Err(corrupt(format!("{len} bytes are no whole Arrow file")));
        }
        let tail = bytes
            .read_vec(len - TAIL, usize_of(TAIL))
            .map_err(reading)?;
        let (length, magic) = tail.split_at(4);
        if magic != MAGIC {
            return Err(corrupt("expected ARROW1 at the end of the file"));
        }
        let length = u32::from_le_bytes(length.try_into().unwrap_or_default());
        let length = u64::from(length);
        if length > (len - TAIL).min(MOST_HEAD) {
            return Err(corrupt(format!("a footer of {length} bytes can't be")));
        }
        let footer = bytes
            .read_vec(len - TAIL - length, usize_of(length))
            .map_err(reading)?;
        let (written, dictionaries, batches) = guarded(|| footer_of(&footer)).map_err(corrupt)?;
        let mut shared = Self {
            path: path.to_owned(),
            bytes,
            schema: Arc::new(Schema::new(
                written.fields().iter().map(readable).collect::<Vec<_>>(),
            )),
            written,
            dictionaries: HashMap::new(),
            batches: Vec::with_capacity(batches.len()),
        };
        for block in dictionaries {
            shared.add_dictionary(&block)?;
        }
        for block in batches {
            shared.check_block(&block)?;
            let head = shared.head(&block)?;
            let rows = guarded(|| {
                let packed = packed_buffers(&head)?.map_or(1, |(_, most)| most);
                match message_of(&head)?.header_as_record_batch() {
                    Some(batch) => Ok((batch.length(), packed)),
                    None => Err("expected a record batch".to_owned()),
                }
            });
            let (rows, packed) = rows.map_err(corrupt)?;
            let rows =
                u64::try_from(rows).map_err(|_| corrupt("a record batch has less than no rows"))?;
            // Each row takes a bit at least before it is packed, unless there are no columns.
            let most = body_bytes(&block).saturating_mul(8).saturating_mul(packed);
            if rows > most && !shared.written.fields().is_empty() && !shared.is_of_nulls() {
                return Err(corrupt(format!("a record batch can't have {rows} rows")));
            }
            shared.batches.push(Batch { block, rows });
        }
        Ok(shared)
    }

    /// Says whether all columns are of the type that takes no bytes.
    fn is_of_nulls(&self) -> bool {
        let mut fields = self.written.fields().iter();
        fields.all(|field| *field.data_type() == DataType::Null)
    }

    /// Refuses a block that lies beyond the file.
    fn check_block(&self, block: &Block) -> Result<()> {
        let start = u64::try_from(block.offset()).ok();
        let head = u64::try_from(block.metaDataLength()).ok();
        let body = u64::try_from(block.bodyLength()).ok();
        let end = start
            .zip(head)
            .zip(body)
            .and_then(|((start, head), body)| start.checked_add(head)?.checked_add(body));
        match (end, head) {
            (Some(end), Some(head)) if end <= self.bytes.len() && head <= MOST_HEAD => Ok(()),
            _ => Err(corrupt(
                "the footer names a block beyond the end of the file",
            )),
        }
    }

    fn read(&self, at: u64, length: u64) -> Result<Vec<u8>> {
        let read = self.bytes.read_vec(at, usize_of(length));
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => corrupt("the file ends too early"),
            _ => Error::reading(&self.path, error),
        })
    }

    /// Reads the head of a block: its message.
    fn head(&self, block: &Block) -> Result<Vec<u8>> {
        self.read(start_of(block), head_bytes(block))
    }

    /// Reads the body of a block.
    fn body(&self, block: &Block) -> Result<Buffer> {
        let body = self.read(start_of(block) + head_bytes(block), body_bytes(block))?;
        Ok(Buffer::from_vec(body))
    }

    fn add_dictionary(&mut self, block: &Block) -> Result<()> {
        self.check_block(block)?;
        self.unpacked_bytes(block)?;
        let (head, body) = (self.head(block)?, self.body(block)?);
        let (schema, dictionaries) = (Arc::clone(&self.written), &mut self.dictionaries);
        guarded(|| {
            let message = message_of(&head)?;
            let batch = message.header_as_dictionary_batch();
            let batch = batch.ok_or_else(|| "expected a dictionary".to_owned())?;
            let version = message.version();
            read_dictionary(&body, batch, &schema, dictionaries, &version)
                .map_err(|error| error.to_string())
        })
        .map_err(corrupt)
    }

    /// Returns the bytes that a packed block will take; those of one that is not packed are its own.
    fn unpacked_bytes(&self, block: &Block) -> Result<u64> {
        let head = self.head(block)?;
        let buffers = guarded(|| packed_buffers(&head)).map_err(corrupt)?;
        let Some((buffers, most)) = buffers else {
            return Ok(0);
        };
        let (start, length) = (start_of(block) + head_bytes(block), body_bytes(block));
        let mut total = 0u64;
        for (at, bytes) in buffers {
            if bytes == 0 {
                continue;
            }
            if bytes < 8 || at.checked_add(bytes).is_none_or(|end| end > length) {
                return Err(corrupt("a buffer lies beyond its record batch"));
            }
            let told = self.read(start + at, 8)?;
            let told = i64::from_le_bytes(told.try_into().unwrap_or_default());
            // -1: this buffer is not packed.
            let told = if told == -1 {
                bytes.cast_signed()
            } else {
                told
            };
            let told = u64::try_from(told).ok();
            let told = told.filter(|told| *told <= bytes.saturating_mul(most));
            let told = told.ok_or_else(|| corrupt("a packed buffer tells a size that can't be"))?;
            total = total.saturating_add(told);
        }
        Ok(total)
    }
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Negative numbers were refused when the file was opened.
fn start_of(block: &Block) -> u64 {
    u64::try_from(block.offset()).unwrap_or(0)
}

fn head_bytes(block: &Block) -> u64 {
    u64::try_from(block.metaDataLength()).unwrap_or(0)
}

fn body_bytes(block: &Block) -> u64 {
    u64::try_from(block.bodyLength()).unwrap_or(0)
}

/// Reads schema, dictionaries and record batches out of a footer.
#[allow(clippy::type_complexity, reason = "three lists, used once")]
fn footer_of(footer: &[u8]) -> std::result::Result<(SchemaRef, Vec<Block>, Vec<Block>), String> {
    let footer = root_as_footer(footer).map_err(|error| format!("footer: {error}"))?;
    let schema = footer.schema().ok_or("the footer has no schema")?;
    if !schema.endianness().equals_to_target_endianness() {
        return Err("its numbers have their bytes in the other order".to_owned());
    }
    let schema = try_fb_to_schema(schema).map_err(|error| format!("schema: {error}"))?;
    let dictionaries = footer.dictionaries().into_iter().flatten();
    let batches = footer.recordBatches().into_iter().flatten();
    Ok((
        Arc::new(schema),
        dictionaries.copied().collect(),
        batches.copied().collect(),
    ))
}

/// Finds the message in the head of a block.
fn message_of(head: &[u8]) -> std::result::Result<Message<'_>, String> {
    // Newer files mark it, older ones begin with its length.
    let start = match head.get(..4) {
        Some([0xff, 0xff, 0xff, 0xff]) => 8,
        _ => 4,
    };
    let message = head.get(start..).ok_or("a message is cut off")?;
    root_as_message(message).map_err(|error| format!("message: {error}"))
}

/// A place and a length in a body.
type BufferPlace = (u64, u64);

/// Returns where the buffers of a packed batch lie, and how many bytes one of theirs may become;
/// nothing if it is not packed.
fn packed_buffers(head: &[u8]) -> std::result::Result<Option<(Vec<BufferPlace>, u64)>, String> {
    let message = message_of(head)?;
    let batch = match message.header_type() {
        MessageHeader::RecordBatch => message.header_as_record_batch(),
        MessageHeader::DictionaryBatch => message
            .header_as_dictionary_batch()
            .and_then(|dictionary| dictionary.data()),
        _ => None,
    };
    let batch = batch.ok_or("expected rows or a dictionary")?;
    let Some(compression) = batch.compression() else {
        return Ok(None);
    };
    let most = match compression.codec() {
        arrow_ipc::CompressionType::LZ4_FRAME => MOST_LZ4,
        // Zeros pack to nearly nothing; what is beyond memory is refused by the gate.
        _ => 1 << 20,
    };
    let mut places = Vec::new();
    for buffer in batch.buffers().into_iter().flatten() {
        let number =
            |number: i64| u64::try_from(number).map_err(|_| "a buffer lies before its batch");
        places.push((number(buffer.offset())?, number(buffer.length())?));
    }
    Ok(Some((places, most)))
}

/// Returns a column as it is handed out: what nobody has rules for as a dictionary becomes plain.
fn readable(field: &FieldRef) -> FieldRef {
    match field.data_type() {
        DataType::Dictionary(_, values)
            if values.is_decimal() || matches!(**values, DataType::Float16 | DataType::Boolean) =>
        {
            let plain = Field::clone(field).with_data_type(values.as_ref().clone());
            Arc::new(plain)
        }
        _ => Arc::clone(field),
    }
}

/// Some columns of a record batch, ready to be read; it is decoded once, and all threads take parts.
#[derive(Debug)]
pub struct ArrowRows {
    file: ArrowFile,
    number: usize,
    roots: Vec<usize>,
    rows: Range<u64>,
    span_rows: u64,
    memory: u64,
    decoded: Mutex<Option<RecordBatch>>,
}

impl ArrowRows {
    /// Returns the number of the batch.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Returns the rows that are read.
    pub fn rows(&self) -> Range<u64> {
        self.rows.clone()
    }

    /// Returns the bytes of memory that reading it takes.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Returns the span that begins with row `start`.
    pub fn span(&self, start: u64) -> Range<u64> {
        start..start.saturating_add(self.span_rows).min(self.rows.end)
    }

    /// Lets it begin with row `first` of the batch.
    #[must_use]
    pub fn starting_at(mut self, first: u64) -> Self {
        self.rows.start = first.min(self.rows.end);
        self
    }

    /// Reads a span; the columns are the wanted ones in their order.
    ///
    /// # Errors
    /// The batch can't be read or is damaged.
    pub fn read(&self, span: &Range<u64>) -> Result<RecordBatch> {
        let mut decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = match &*decoded {
            Some(batch) => batch.clone(),
            None => decoded.insert(self.decode()?).clone(),
        };
        drop(decoded);
        let length = span.end.saturating_sub(span.start);
        Ok(batch.slice(usize_of(span.start), usize_of(length)))
    }

    /// Decodes everything and keeps nothing.
    ///
    /// # Errors
    /// The batch can't be read or is damaged.
    pub fn check(&self) -> Result<()> {
        self.decode().map(drop)
    }

    fn decode(&self) -> Result<RecordBatch> {
        let shared = &self.file.shared;
        let place = || Place {
            row_group: Some(self.number),
            ..Place::file(self.file.name())
        };
        let Some(batch) = shared.batches.get(self.number) else {
            return Err(Error::of_ours("there is no such record batch").at(place()));
        };
        let read = || -> Result<RecordBatch> {
            let (head, body) = (shared.head(&batch.block)?, shared.body(&batch.block)?);
            let found = guarded(|| {
                let message = message_of(&head)?;
                let rows = message
                    .header_as_record_batch()
                    .ok_or_else(|| "expected a record batch".to_owned())?;
                let found = read_record_batch(
                    &body,
                    rows,
                    Arc::clone(&shared.written),
                    &shared.dictionaries,
                    Some(&self.roots),
                    &message.version(),
                );
                let found = found.map_err(|error| error.to_string())?;
                self.as_readable(&found).map_err(|error| error.to_string())
            });
            let found = found.map_err(corrupt)?;
            match found.num_rows() as u64 == batch.rows {
                true => Ok(found),
                false => Err(corrupt(
                    "a record batch has another number of rows than it says",
                )),
            }
        };
        read().map_err(|error| error.at(place()))
    }

    /// Makes the columns what the file's schema says of them.
    fn as_readable(
        &self,
        batch: &RecordBatch,
    ) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
        let fields: Vec<FieldRef> = self
            .roots
            .iter()
            .filter_map(|root| self.file.shared.schema.fields().get(*root).cloned())
            .collect();
        let columns: std::result::Result<Vec<ArrayRef>, _> = batch
            .columns()
            .iter()
            .zip(&fields)
            .map(
                |(column, field)| match column.data_type() == field.data_type() {
                    true => Ok(Arc::clone(column)),
                    false => cast(column, field.data_type()),
                },
            )
            .collect();
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns?, &rows)
    }
}

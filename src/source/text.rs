//! Text inputs, read by blocks of whole records.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::fd::AsFd;
use std::path::PathBuf;

use super::file_bytes::FileBytes;
use super::inputs::{Input, InputName};
use crate::dialect::{BlockReader, DEFAULT_BLOCK_BYTES, Dialect, Fields, Records};
use crate::error::{Error, ErrorKind, Place, Result, quote_value};
use crate::values::{Charset, Recoded};

/// Bytes per read of a packed file.
const READ_BYTES: usize = 64 << 10;

/// Bytes that tell a format.
const MOST_MAGIC: usize = 9;

/// Memory that reading one block takes: the block, its growth, and what is carried over.
pub(crate) const BLOCK_MEMORY: u64 = 3 * DEFAULT_BLOCK_BYTES as u64;

/// A text input that hands out one block after another.
pub struct TextFile {
    name: String,
    blocks: BlockReader<Box<dyn Read + Send>>,
    field_names: Option<Vec<String>>,
    fields: usize,
    /// The first block, which had to be read to learn about the fields.
    first: Option<TextBlock>,
}

/// Some whole records of a text input.
#[derive(Debug)]
pub struct TextBlock {
    bytes: Vec<u8>,
    /// Where the records start: behind a header.
    start: usize,
    /// First byte of the block in the unpacked text.
    offset: u64,
    /// Line of the first record, from 1.
    pub first_line: u64,
}

impl TextBlock {
    /// Returns the records.
    pub fn records(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Returns the first byte of the block in the unpacked text.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the bytes of memory held.
    pub fn memory(&self) -> u64 {
        self.bytes.capacity() as u64
    }

    /// Returns the buffer for the next block, unless it has grown too large to keep.
    pub fn into_buffer(self) -> Option<Vec<u8>> {
        (self.bytes.capacity() <= 2 * DEFAULT_BLOCK_BYTES).then_some(self.bytes)
    }
}

impl TextFile {
    /// Opens an input and reads its first block; `charset` is that of a header, UTF-8 without one.
    ///
    /// # Errors
    /// The input is missing or unreadable, or its header is broken.
    pub fn open(input: &Input, dialect: &Dialect, charset: Option<Charset>) -> Result<Self> {
        let name = input.name.shown();
        // Always the same size: where blocks are cut must not depend on threads or memory.
        let blocks = BlockReader::new(open_stream(input)?, dialect, DEFAULT_BLOCK_BYTES);
        let mut file = Self {
            name,
            blocks,
            field_names: None,
            fields: 0,
            first: None,
        };
        let mut first = file.next_block(Vec::new())?;
        if let Some(block) = &mut first {
            file.look_at_first_record(block, dialect, charset)?;
        }
        file.first = first;
        Ok(file)
    }

    /// Returns the name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the column names of the header, if the dialect has one.
    pub fn field_names(&self) -> Option<&[String]> {
        self.field_names.as_deref()
    }

    /// Returns the number of fields of the first record; 0 for an empty input.
    pub fn field_count(&self) -> usize {
        self.fields
    }

    /// Returns where the next block begins: its byte in the unpacked text, and its line.
    pub fn position(&self) -> (u64, u64) {
        match &self.first {
            // It has been read already, and may have lost its header.
            Some(block) => (block.offset, block.first_line),
            None => self.blocks.position(),
        }
    }

    /// Returns where the next records begin: behind a header, where the next block has one.
    pub fn records_position(&self) -> (u64, u64) {
        match &self.first {
            Some(block) => (block.offset + block.start as u64, block.first_line),
            None => self.blocks.position(),
        }
    }

    /// Goes on at a position that [`Self::position`] has told.
    ///
    /// # Errors
    /// The input can't be read up to there.
    pub fn go_to(
        &mut self,
        input: &Input,
        dialect: &Dialect,
        offset: u64,
        line: u64,
    ) -> Result<()> {
        if self.position() == (offset, line) {
            return Ok(());
        }
        let stream = open_stream_at(input, offset)?;
        let blocks = BlockReader::new(stream, dialect, DEFAULT_BLOCK_BYTES);
        self.blocks = blocks.starting_at(offset, line);
        self.first = None;
        Ok(())
    }

    /// Reads only what lies at `bytes` of the unpacked text, whose first record is at `line`.
    ///
    /// # Errors
    /// The input can't be read up to there.
    pub fn keep_to(
        &mut self,
        input: &Input,
        dialect: &Dialect,
        bytes: Range<u64>,
        line: u64,
    ) -> Result<()> {
        let stream = open_stream_at(input, bytes.start)?;
        let stream = stream.take(bytes.end.saturating_sub(bytes.start));
        let blocks = BlockReader::new(Box::new(stream) as Box<_>, dialect, DEFAULT_BLOCK_BYTES);
        self.blocks = blocks.starting_at(bytes.start, line);
        self.first = None;
        Ok(())
    }

    /// Returns the next block, reading it into `buffer`; nothing at the end.
    ///
    /// # Errors
    /// The stream fails, its compression is damaged, or a record is too long.
    pub fn next_block(&mut self, mut buffer: Vec<u8>) -> Result<Option<TextBlock>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let place = Place::file(self.name.as_str());
        let info = self
            .blocks
            .next_block(&mut buffer)
            .map_err(|error| error.at(place))?;
        Ok(info.map(|info| TextBlock {
            bytes: buffer,
            start: 0,
            offset: info.offset,
            first_line: info.first_line,
        }))
    }

    fn look_at_first_record(
        &mut self,
        block: &mut TextBlock,
        dialect: &Dialect,
        charset: Option<Charset>,
    ) -> Result<()> {
        let mut fields = Fields::new();
        let mut records = Records::new(dialect, &block.bytes).at_line(block.first_line);
        let refused = |line: u64, message: String| {
            Error::new(ErrorKind::DataRefused, message).at(Place {
                line: Some(line),
                ..Place::file(self.name.as_str())
            })
        };
        let first = records
            .next(&mut fields)
            .map_err(|fault| refused(fault.line, fault.to_string()))?;
        let Some(first) = first else { return Ok(()) };
        self.fields = fields.count();
        if !dialect.has_header() {
            return Ok(());
        }
        let mut scratch = Vec::new();
        let mut names = Vec::with_capacity(fields.count());
        for field in fields.iter(&block.bytes) {
            let value = dialect.value(field, &mut scratch);
            let name = match charset {
                Some(Charset::Latin1) => Charset::Utf8mb4.recode(value, Charset::Latin1).ok(),
                _ => Some(Recoded::Valid(Cow::Borrowed(value))),
            };
            let name = match name {
                Some(Recoded::Valid(name)) => String::from_utf8(name.into_owned()).ok(),
                _ => None,
            };
            names.push(name.ok_or_else(|| {
                let message = format!("the header is not UTF-8: {}", quote_value(value));
                refused(first.line(), message).hint("is it latin1? say --in-charset latin1")
            })?);
        }
        self.field_names = Some(names);
        let next = records.position();
        let passed = block.bytes.get(..next).unwrap_or_default();
        let lines = memchr::memchr_iter(b'\n', passed).count() as u64;
        block.start = next;
        block.first_line += lines.max(1);
        Ok(())
    }
}

fn open_stream(input: &Input) -> Result<Box<dyn Read + Send>> {
    open_stream_at(input, 0)
}

/// Opens an input at byte `offset` of its unpacked text.
fn open_stream_at(input: &Input, offset: u64) -> Result<Box<dyn Read + Send>> {
    let path = PathBuf::from(input.name.shown());
    let reading = |error| Error::reading(&path, error);
    let mut seekable = None;
    let mut file: Box<dyn Read + Send> = match &input.name {
        InputName::File(path) => {
            let file = File::open(path).map_err(reading)?;
            if file.metadata().is_ok_and(|found| found.is_file()) {
                seekable = Some(Seekable::File(file.try_clone().map_err(reading)?));
            }
            Box::new(file)
        }
        InputName::Remote(_) => {
            let file = FileBytes::open(&input.name).map_err(reading)?;
            seekable = Some(Seekable::Remote(file.clone()));
            Box::new(file.reader_once(0))
        }
        // Without the buffer of the standard library, for blocks are read whole.
        InputName::Stdin => {
            let stdin = io::stdin().as_fd().try_clone_to_owned();
            Box::new(File::from(stdin.map_err(reading)?))
        }
        // It is what it is said to be, whatever its first bytes look like.
        InputName::Generated(text) => return Ok(Box::new(text.reader())),
    };
    let mut head = [0; MOST_MAGIC];
    let known = read_head(&mut file, &mut head).map_err(reading)?;
    let head = head.get(..known).unwrap_or_default().to_vec();
    let packed = |file| BufReader::with_capacity(READ_BYTES, Cursor::new(head.clone()).chain(file));
    let mut unpacked: Box<dyn Read + Send> = match head.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(packed(file))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = zstd::stream::read::Decoder::with_buffer(packed(file));
            Box::new(decoder.map_err(reading)?)
        }
        [b'P', b'A', b'R', b'1', ..] => return Err(no_stream("Parquet", &input.name)),
        [b'A', b'R', b'R', b'O', b'W', b'1', 0, 0, ..] => {
            return Err(no_stream("Arrow IPC", &input.name));
        }
        b"SIMPLE  =" => return Err(no_stream("FITS", &input.name)),
        _ => {
            if let Some(file) = seekable {
                return file.from(offset).map_err(reading);
            }
            Box::new(Cursor::new(head).chain(file))
        }
    };
    let mut before = unpacked.by_ref().take(offset);
    io::copy(&mut before, &mut io::sink()).map_err(reading)?;
    Ok(unpacked)
}

/// What can be read from any byte on.
enum Seekable {
    File(File),
    Remote(FileBytes),
}

impl Seekable {
    fn from(self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::File(mut file) => {
                file.seek(SeekFrom::Start(offset))?;
                Box::new(file)
            }
            Self::Remote(file) => Box::new(file.reader_once(offset)),
        })
    }
}

/// Tells that a format is not read from where only one reading is possible.
pub(super) fn no_stream(format: impl std::fmt::Display, name: &InputName) -> Error {
    Error::usage(format!("{format} can't be read from a stream"))
        .at(Place::file(name.shown()))
        .hint("name the file")
}

/// Reads what tells the format, or all there is of a shorter file; returns how many bytes.
fn read_head(file: &mut impl Read, head: &mut [u8]) -> io::Result<usize> {
    let mut known = 0;
    while let Some(rest) = head.get_mut(known..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => known += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(known)
}

//! Cuts a stream of text into blocks of whole records.
//!
//! Blocks are the units of parallel work and of retry, so where they are cut depends on the bytes
//! and the block size only, never on how the stream hands them out.

use std::io::Read;

use super::cut::RecordCutter;
use super::definition::Dialect;
use super::faults::{RecordFault, RecordFaultKind};
use super::records::MAX_RECORD_BYTES;
use super::scan::count_line_ends;
use crate::error::{Error, ErrorKind, Place, Result};

/// A block size that keeps a thread busy for milliseconds and stays in its cache.
pub const DEFAULT_BLOCK_BYTES: usize = 1 << 20;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Where a block stands in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockInfo {
    /// The line of the block's first record, counted from 1.
    pub first_line: u64,
    /// The block's first byte, counted from 0, a byte order mark included.
    pub offset: u64,
}

/// Reads blocks of whole records from a stream of text.
///
/// # Examples
/// ```
/// use skyprep::dialect::{BlockReader, Dialect};
///
/// let text = "1\ta\n2\tb\n3\tc";
/// let mut blocks = BlockReader::new(text.as_bytes(), &Dialect::qserv(), 9);
/// let mut block = Vec::new();
/// let mut seen = Vec::new();
/// while let Some(info) = blocks.next_block(&mut block)? {
///     seen.push((info.first_line, String::from_utf8_lossy(&block).into_owned()));
/// }
/// assert_eq!(seen, [(1, "1\ta\n2\tb\n".to_owned()), (3, "3\tc".to_owned())]);
/// # Ok::<(), skyprep::error::Error>(())
/// ```
#[derive(Debug)]
pub struct BlockReader<R> {
    reader: R,
    cutter: RecordCutter,
    drops_bom: bool,
    block_bytes: usize,
    record_limit: usize,
    /// What was read behind the last block.
    carried: Vec<u8>,
    line: u64,
    offset: u64,
    is_started: bool,
    is_ended: bool,
}

impl<R: Read> BlockReader<R> {
    /// Reads `reader` in blocks of at most `block_bytes`, more only for a longer record.
    pub fn new(reader: R, dialect: &Dialect, block_bytes: usize) -> Self {
        Self {
            reader,
            cutter: RecordCutter::new(dialect),
            // sph-partition takes it for data.
            drops_bom: !dialect.is_sph(),
            block_bytes: block_bytes.max(1),
            record_limit: MAX_RECORD_BYTES,
            carried: Vec::new(),
            line: 1,
            offset: 0,
            is_started: false,
            is_ended: false,
        }
    }

    /// Says that `reader` stands at byte `offset` of the stream, where a block begins whose first
    /// record is on line `line`.
    #[must_use]
    pub fn starting_at(self, offset: u64, line: u64) -> Self {
        Self {
            line,
            offset,
            is_started: true,
            ..self
        }
    }

    /// Returns the first byte of the next block and the line of its first record.
    pub fn position(&self) -> (u64, u64) {
        (self.offset, self.line)
    }

    /// Gives up on records longer than `limit` bytes, instead of [`MAX_RECORD_BYTES`].
    #[must_use]
    pub fn with_record_limit(self, limit: usize) -> Self {
        Self {
            record_limit: limit,
            ..self
        }
    }

    /// Fills `block` (what it held is dropped, its memory kept) with the next whole records.
    ///
    /// Only the last block may end without a line end. `None` is the end of the stream.
    ///
    /// # Errors
    /// When the stream fails, or a record is longer than the limit; the place is the line, and
    /// the caller adds the file.
    pub fn next_block(&mut self, block: &mut Vec<u8>) -> Result<Option<BlockInfo>> {
        block.clear();
        block.append(&mut self.carried);
        if !self.is_started {
            self.is_started = true;
            self.fill(block, BOM.len())?;
            if self.drops_bom && block.starts_with(BOM) {
                block.clear();
                self.offset = BOM.len() as u64;
            }
        }

        let mut target = self.block_bytes;
        let end = loop {
            if !self.fill(block, target)? {
                break block.len();
            }
            // More than that may have been carried over, but what was read before must not show:
            // who goes on at this block has nothing carried over.
            let window = block.get(..target).unwrap_or(block);
            if let Some(end) = self.cutter.last_record_end(window) {
                break end;
            }
            // A record may have its limit and a line end, of which a CR says nothing before the
            // byte behind it is known.
            let most = self.record_limit.saturating_add(3);
            if target >= most {
                return Err(self.too_long());
            }
            target = target.saturating_mul(2).min(most);
        };
        if block.is_empty() {
            return Ok(None);
        }

        self.carried
            .extend_from_slice(block.get(end..).unwrap_or_default());
        block.truncate(end);
        let info = BlockInfo {
            first_line: self.line,
            offset: self.offset,
        };
        self.line += count_line_ends(block);
        self.offset += block.len() as u64;
        Ok(Some(info))
    }

    /// Reads until `block` has `target` bytes; `false` says that the stream has no more.
    fn fill(&mut self, block: &mut Vec<u8>, target: usize) -> Result<bool> {
        let missing = target.saturating_sub(block.len());
        if missing == 0 || self.is_ended {
            return Ok(missing == 0);
        }
        block.reserve(missing);
        let read = self.reader.by_ref().take(missing as u64).read_to_end(block);
        let read = read.map_err(|error| self.unreadable(error))?;
        self.is_ended = read < missing;
        Ok(!self.is_ended)
    }

    fn unreadable(&self, error: std::io::Error) -> Error {
        use std::io::ErrorKind as Io;
        // What is made or fetched while it is read fails with errors of ours, which have their places.
        let error = match error.downcast::<Error>() {
            Ok(own) => return own,
            Err(error) => error,
        };
        // Decompressors speak of damaged input in these kinds.
        let kind = match error.kind() {
            Io::InvalidData | Io::InvalidInput | Io::UnexpectedEof | Io::Other => {
                ErrorKind::Corrupt
            }
            _ => ErrorKind::InputMissing,
        };
        Error::new(kind, format!("can't read: {error}"))
            .at(Place {
                line: Some(self.line),
                ..Place::default()
            })
            .caused_by(error)
    }

    fn too_long(&self) -> Error {
        let kind = RecordFaultKind::TooLong {
            limit: self.record_limit,
        };
        RecordFault {
            kind,
            offset: 0,
            line: self.line,
        }
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(text: &[u8], size: usize) -> Vec<(u64, u64, String)> {
        let mut reader = BlockReader::new(text, &Dialect::qserv(), size);
        let mut block = Vec::new();
        let mut found = Vec::new();
        while let Some(info) = reader.next_block(&mut block).unwrap() {
            let text = String::from_utf8_lossy(&block).into_owned();
            found.push((info.first_line, info.offset, text));
        }
        found
    }

    fn owned(expected: &[(u64, u64, &str)]) -> Vec<(u64, u64, String)> {
        expected
            .iter()
            .map(|(line, at, text)| (*line, *at, (*text).to_owned()))
            .collect()
    }

    #[test]
    fn blocks_are_cut_at_record_ends() {
        let text = b"1\n22\n333\n4444\n5";
        assert_eq!(
            blocks(text, 6),
            owned(&[
                (1, 0, "1\n22\n"),
                (3, 5, "333\n"),
                (4, 9, "4444\n"),
                (5, 14, "5")
            ])
        );
        assert_eq!(blocks(text, 100), owned(&[(1, 0, "1\n22\n333\n4444\n5")]));
    }

    #[test]
    fn a_block_grows_for_a_long_record() {
        assert_eq!(
            blocks(b"1234567890\n1\n2\n3\n4\n5\n", 4),
            owned(&[
                (1, 0, "1234567890\n1\n2\n"),
                (4, 15, "3\n4\n"),
                (6, 19, "5\n")
            ]),
            "4, 8, then 16 bytes are looked at"
        );
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_at_the_start_only() {
        let text = "\u{feff}1\n\u{feff}2\n".as_bytes();
        assert_eq!(
            blocks(text, 5),
            owned(&[(1, 3, "1\n"), (2, 5, "\u{feff}2\n")])
        );
        assert_eq!(blocks("\u{feff}".as_bytes(), 1), []);
        assert_eq!(blocks(b"\xef\xbb", 1), owned(&[(1, 0, "\u{fffd}")]));
    }

    #[test]
    fn old_mac_lines_are_blocks_too() {
        assert_eq!(
            blocks(b"1\r2\r3\r4", 4),
            owned(&[(1, 0, "1\r"), (2, 2, "2\r"), (3, 4, "3\r4")]),
            "a CR at a block's end may have its LF behind it"
        );
    }

    #[test]
    fn a_record_over_the_limit_is_named() {
        let text = [b"1\n22\n".to_vec(), vec![b'x'; 1000]].concat();
        let mut reader = BlockReader::new(&text[..], &Dialect::qserv(), 8).with_record_limit(100);
        let mut block = Vec::new();
        reader.next_block(&mut block).unwrap();
        let error = reader.next_block(&mut block).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 3: the record is longer than 100 bytes"
        );
        assert_eq!(error.kind(), ErrorKind::DataRefused);
    }

    #[test]
    fn a_record_at_the_limit_is_read() {
        for end in ["\n", "\r\n"] {
            let text = format!("{}{end}1{end}", "x".repeat(100));
            let mut reader =
                BlockReader::new(text.as_bytes(), &Dialect::qserv(), 8).with_record_limit(100);
            let mut block = Vec::new();
            assert!(reader.next_block(&mut block).unwrap().is_some());
        }
    }

    #[test]
    fn damaged_input_is_told_from_unreadable_input() {
        struct Failing(std::io::ErrorKind);
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(self.0.into())
            }
        }
        for (io, kind) in [
            (std::io::ErrorKind::UnexpectedEof, ErrorKind::Corrupt),
            (
                std::io::ErrorKind::PermissionDenied,
                ErrorKind::InputMissing,
            ),
        ] {
            let mut reader = BlockReader::new(Failing(io), &Dialect::qserv(), 8);
            assert_eq!(reader.next_block(&mut Vec::new()).unwrap_err().kind(), kind);
        }
    }
}

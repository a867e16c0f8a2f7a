//! A file that is put together out of others, digested as it grows.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::FileDigest;

/// Bytes that are copied at a time.
const BLOCK: usize = 128 << 10;

/// How the rows of a file are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowEnds {
    /// Each ends with LF.
    Lines,
    /// Each has so many bytes.
    Fixed(u64),
}

/// A file that is put together.
pub(crate) struct Joined<'p> {
    file: File,
    path: &'p Path,
    /// Of all that was written; its rows are for the caller to count.
    pub(crate) digest: FileDigest,
    buffer: Vec<u8>,
}

/// What was copied of a file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Copied {
    pub(crate) bytes: u64,
    pub(crate) lines: u64,
    last: Option<u8>,
}

impl<'p> Joined<'p> {
    /// Bytes that one takes while it grows, roughly.
    pub(crate) const MEMORY: u64 = BLOCK as u64 + FileDigest::MEMORY;

    /// Begins a file, which is open as `file` and called `path`.
    pub(crate) fn new(file: File, path: &'p Path, digest: FileDigest) -> Self {
        Self {
            file,
            path,
            digest,
            buffer: vec![0; BLOCK],
        }
    }

    /// Adds all of a file called `name`; `each` sees its bytes.
    ///
    /// # Errors
    /// A file can't be read or written, or what `each` says.
    pub(crate) fn copy(
        &mut self,
        mut from: File,
        name: &Path,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<Copied> {
        let mut copied = Copied::default();
        loop {
            let read = match from.read(&mut self.buffer) {
                Ok(0) => return Ok(copied),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::reading(name, error)),
            };
            let bytes = self.buffer.get(..read).unwrap_or_default();
            self.file
                .write_all(bytes)
                .map_err(|error| Error::writing(self.path, error))?;
            self.digest.update(bytes);
            copied.bytes += bytes.len() as u64;
            copied.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
            copied.last = bytes.last().copied();
            each(bytes)?;
        }
    }
}

impl Copied {
    /// Refuses a file whose last row is torn: what would follow it could not be told from it.
    ///
    /// # Errors
    /// It is.
    pub(crate) fn check_end(&self, rows: RowEnds, path: &Path) -> Result<()> {
        let message = match rows {
            RowEnds::Lines if matches!(self.last, None | Some(b'\n')) => return Ok(()),
            RowEnds::Lines => {
                "the file does not end with a line end, so its last row may be torn".into()
            }
            RowEnds::Fixed(bytes) if self.bytes.is_multiple_of(bytes) => return Ok(()),
            RowEnds::Fixed(bytes) => format!(
                "the file has {} bytes, expected records of {bytes} bytes",
                self.bytes
            ),
        };
        Err(Error::new(ErrorKind::Integrity, message).at(Place::file(path.display().to_string())))
    }
}

//! The bytes of a file, by their places: on a file system, or at a server.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use super::inputs::InputName;
use super::remote::Fetched;

/// Bytes that a reader from beginning to end leaves on disk behind it.
const KEPT_BEHIND: u64 = 64 << 20;

/// A file that is read by ranges; one handle for all threads.
#[derive(Debug, Clone)]
pub(super) enum FileBytes {
    Local { file: Arc<File>, len: u64 },
    Remote(Arc<Fetched>),
}

impl FileBytes {
    /// Opens a file of a file system.
    pub(super) fn open_path(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let file = Arc::new(file);
        Ok(Self::Local { file, len })
    }

    /// Opens an input; standard input can't be read by ranges.
    pub(super) fn open(name: &InputName) -> io::Result<Self> {
        match name {
            InputName::File(path) => Self::open_path(path),
            InputName::Remote(remote) => remote.open().map(Self::Remote),
            InputName::Stdin | InputName::Generated(_) => Err(io::ErrorKind::NotSeekable.into()),
        }
    }

    /// Returns the bytes of the file.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Local { len, .. } => *len,
            Self::Remote(fetched) => fetched.len(),
        }
    }

    fn file_with(&self, at: u64, length: usize) -> io::Result<&File> {
        match self {
            Self::Local { file, .. } => Ok(file),
            Self::Remote(fetched) => fetched.file_with(at, length as u64),
        }
    }

    /// Reads some of what there is at byte `at`; nothing at the end.
    pub(super) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let left = usize::try_from(self.len().saturating_sub(at)).unwrap_or(usize::MAX);
        let wanted = match self {
            // What has grown since shows.
            Self::Local { .. } => buffer.len(),
            Self::Remote(_) => buffer.len().min(left),
        };
        let buffer = &mut buffer[..wanted];
        self.file_with(at, wanted)?.read_at(buffer, at)
    }

    /// Reads `length` bytes at byte `at`.
    pub(super) fn read_vec(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let file = self.file_with(at, length)?;
        // Read into what is not cleared before.
        let mut buffer = Vec::with_capacity(length);
        while buffer.len() < length {
            let at = at + buffer.len() as u64;
            match rustix::io::pread(file, spare_capacity(&mut buffer), at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Says what will be read, so that a server is asked for all of it at once.
    pub(super) fn expect(&self, ranges: &[Range<u64>]) -> io::Result<()> {
        match self {
            Self::Local { .. } => Ok(()),
            Self::Remote(fetched) => fetched.fetch(ranges, 0),
        }
    }

    /// Returns a reader from byte `at` on.
    pub(super) fn reader(&self, at: u64) -> BytesReader {
        BytesReader {
            bytes: self.clone(),
            at,
            forgotten: None,
        }
    }

    /// Returns a reader from byte `at` on that goes through the file once: what it has passed goes.
    pub(super) fn reader_once(&self, at: u64) -> BytesReader {
        BytesReader {
            forgotten: Some(at),
            ..self.reader(at)
        }
    }
}

/// Reads a file from a position without moving a shared cursor.
#[derive(Debug)]
pub(super) struct BytesReader {
    bytes: FileBytes,
    at: u64,
    /// Where what is left on disk begins.
    forgotten: Option<u64>,
}

impl Read for BytesReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read_at(buffer, self.at)?;
        self.at += read as u64;
        if let (Some(forgotten), FileBytes::Remote(fetched)) = (self.forgotten, &self.bytes)
            && self.at - forgotten > 2 * KEPT_BEHIND
        {
            let kept = self.at - KEPT_BEHIND;
            fetched.forget_before(kept);
            self.forgotten = Some(kept);
        }
        Ok(read)
    }
}

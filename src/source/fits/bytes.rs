//! The bytes of a FITS file, which may be compressed with gzip as a whole.
//!
//! What is compressed can only be read from its beginning. Blocks of rows are asked for nearly in order,
//! by several threads; what is passed over on the way to one is kept for a while, for others will want it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use flate2::bufread::MultiGzDecoder;

/// Bytes that are passed over and kept, at most.
const KEPT: u64 = 8 << 20;
const READ_BYTES: usize = 64 << 10;

/// A file whose bytes are read by their places.
#[derive(Debug)]
pub(super) enum FitsBytes {
    /// The file as it is.
    Plain { file: File, len: u64 },
    /// What a compressed file holds.
    Packed {
        unpacking: Box<Mutex<Unpacking>>,
        /// Bytes of the file.
        len: u64,
    },
}

impl FitsBytes {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut magic = [0; 2];
        let is_packed = file.read_at(&mut magic, 0)? == 2 && magic == [0x1f, 0x8b];
        Ok(match is_packed {
            false => Self::Plain { file, len },
            true => Self::Packed {
                unpacking: Box::new(Mutex::new(Unpacking::begin(path)?)),
                len,
            },
        })
    }

    /// Says whether the file is compressed.
    pub(super) fn is_packed(&self) -> bool {
        matches!(self, Self::Packed { .. })
    }

    /// Returns the bytes of the file itself.
    pub(super) fn file_bytes(&self) -> u64 {
        match self {
            Self::Plain { len, .. } | Self::Packed { len, .. } => *len,
        }
    }

    /// Reads what there is at byte `at`; less than `buffer` holds only at the end.
    pub(super) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match self {
            Self::Plain { file, .. } => {
                let mut done = 0;
                while done < buffer.len() {
                    match file.read_at(&mut buffer[done..], at.saturating_add(done as u64)) {
                        Ok(0) => break,
                        Ok(read) => done += read,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(done)
            }
            Self::Packed { unpacking, .. } => {
                let mut unpacking = unpacking.lock().unwrap_or_else(PoisonError::into_inner);
                unpacking.read_at(buffer, at)
            }
        }
    }

    /// Fills `buffer` from byte `at` on.
    pub(super) fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        match self.read_at(buffer, at)? == buffer.len() {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// A compressed file that is being unpacked.
pub(super) struct Unpacking {
    path: PathBuf,
    decoder: MultiGzDecoder<BufReader<File>>,
    /// Bytes that have been unpacked.
    position: u64,
    /// What was passed over: first byte, and bytes.
    kept: VecDeque<(u64, Vec<u8>)>,
}

impl std::fmt::Debug for Unpacking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unpacking({} at {})", self.path.display(), self.position)
    }
}

impl Unpacking {
    fn begin(path: &Path) -> io::Result<Self> {
        let file = BufReader::with_capacity(READ_BYTES, File::open(path)?);
        Ok(Self {
            path: path.to_owned(),
            decoder: MultiGzDecoder::new(file),
            position: 0,
            kept: VecDeque::new(),
        })
    }

    fn read_at(&mut self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        if at < self.position {
            if self.take_kept(buffer, at) {
                return Ok(buffer.len());
            }
            // Nobody kept it: from the beginning.
            *self = Self::begin(&self.path)?;
        }
        self.pass_over(at - self.position)?;
        if self.position < at {
            return Ok(0);
        }
        let mut done = 0;
        while done < buffer.len() {
            match self.decoder.read(&mut buffer[done..]) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.position += done as u64;
        Ok(done)
    }

    fn take_kept(&self, buffer: &mut [u8], at: u64) -> bool {
        let end = at + buffer.len() as u64;
        let holds =
            |(start, bytes): &&(u64, Vec<u8>)| *start <= at && end <= start + bytes.len() as u64;
        let Some((start, bytes)) = self.kept.iter().find(holds) else {
            return false;
        };
        let from = (at - start) as usize;
        buffer.copy_from_slice(&bytes[from..from + buffer.len()]);
        true
    }

    /// Unpacks so many bytes, or all that are left, and keeps them unless they are too many.
    fn pass_over(&mut self, count: u64) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let mut part = self.decoder.by_ref().take(count);
        if count > KEPT {
            self.kept.clear();
            self.position += io::copy(&mut part, &mut io::sink())?;
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(count as usize);
        part.read_to_end(&mut bytes)?;
        let start = self.position;
        self.position += bytes.len() as u64;
        self.kept.push_back((start, bytes));
        let mut sum: u64 = self.kept.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        while sum > KEPT
            && let Some((_, oldest)) = self.kept.pop_front()
        {
            sum -= oldest.len() as u64;
        }
        Ok(())
    }
}

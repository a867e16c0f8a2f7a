//! The bytes of a FITS file, which may be compressed with gzip as a whole.
//!
//! What is compressed can only be read from its beginning, so whoever reads it goes forward; to go back
//! means to begin anew.

use std::io::{self, BufReader, Read};
use std::sync::{Mutex, PoisonError};

use flate2::bufread::MultiGzDecoder;

use crate::source::InputName;
use crate::source::file_bytes::{BytesReader, FileBytes};

const READ_BYTES: usize = 64 << 10;
/// A byte of a compressed file makes no more than this (deflate: 1032).
const MOST_EXPANSION: u64 = 1040;

/// A file whose bytes are read by their places.
#[derive(Debug)]
pub(super) enum FitsBytes {
    /// The file as it is.
    Plain(FileBytes),
    /// What a compressed file holds.
    Packed {
        unpacking: Box<Mutex<Unpacking>>,
        /// Bytes of the file.
        len: u64,
    },
}

impl FitsBytes {
    /// Opens a file.
    pub(super) fn open(name: &InputName) -> io::Result<Self> {
        let file = FileBytes::open(name)?;
        let mut magic = [0; 2];
        let is_packed = file.read_at(&mut magic, 0)? == 2 && magic == [0x1f, 0x8b];
        Ok(match is_packed {
            false => Self::Plain(file),
            true => Self::Packed {
                len: file.len(),
                unpacking: Box::new(Mutex::new(Unpacking::begin(file))),
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
            Self::Plain(file) => file.len(),
            Self::Packed { len, .. } => *len,
        }
    }

    /// Returns the bytes that there may be at most: how many a compressed file holds shows only when it is
    /// read.
    pub(super) fn most_bytes(&self) -> u64 {
        match self {
            Self::Plain(file) => file.len(),
            Self::Packed { len, .. } => len.saturating_mul(MOST_EXPANSION),
        }
    }

    /// Reads what there is at byte `at`; less than `buffer` holds only at the end.
    pub(super) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match self {
            Self::Plain(file) => {
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

    /// Reads a compressed file to its end, where its checksum stands, and compares that.
    pub(super) fn check_to_end(&self) -> io::Result<()> {
        let Self::Packed { unpacking, .. } = self else {
            return Ok(());
        };
        let mut unpacking = unpacking.lock().unwrap_or_else(PoisonError::into_inner);
        unpacking.pass_over(u64::MAX)
    }
}

/// A compressed file that is being unpacked.
pub(super) struct Unpacking {
    file: FileBytes,
    decoder: MultiGzDecoder<BufReader<BytesReader>>,
    /// Bytes that have been unpacked; nothing after a failure, where nobody knows.
    position: Option<u64>,
}

impl std::fmt::Debug for Unpacking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unpacking({:?} at {:?})", self.file, self.position)
    }
}

impl Unpacking {
    fn begin(file: FileBytes) -> Self {
        let reader = BufReader::with_capacity(READ_BYTES, file.reader(0));
        Self {
            file,
            decoder: MultiGzDecoder::new(reader),
            position: Some(0),
        }
    }

    fn read_at(&mut self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        if self.position.is_none_or(|position| at < position) {
            *self = Self::begin(self.file.clone());
        }
        self.pass_over(at - self.position.unwrap_or(0))?;
        let Some(position) = self.position.take() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut done = 0;
        while position == at && done < buffer.len() {
            match self.decoder.read(&mut buffer[done..]) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.position = Some(position + done as u64);
        Ok(done)
    }

    /// Unpacks so many bytes, or all that are left.
    fn pass_over(&mut self, count: u64) -> io::Result<()> {
        let Some(position) = self.position.take() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let passed = io::copy(&mut self.decoder.by_ref().take(count), &mut io::sink())?;
        self.position = Some(position + passed);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests make files of their own")]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn compressed_bytes_are_those_that_were_compressed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.gz");
        let bytes: Vec<u8> = (0..300_000u32)
            .map(|at| ((at ^ (at >> 7)) % 251) as u8)
            .collect();
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&bytes).unwrap();
        let mut packed = packer.finish().unwrap();
        std::fs::write(&path, &packed).unwrap();
        let file = FitsBytes::open(&InputName::File(path.clone())).unwrap();
        assert!(file.is_packed() && file.most_bytes() >= 300_000);
        // Forward, back, and beyond the end.
        for (at, length) in [(0, 10), (5000, 70_000), (100, 5), (299_990, 10)] {
            let mut buffer = vec![0; length];
            file.read_exact_at(&mut buffer, at).unwrap();
            assert!(buffer == bytes[at as usize..][..length], "{at}");
        }
        assert_eq!(file.read_at(&mut [0; 20], 299_990).unwrap(), 10);
        assert_eq!(file.read_at(&mut [0; 20], 400_000).unwrap(), 0);
        file.check_to_end().unwrap();
        // The checksum, and a byte less.
        let end = packed.len();
        packed[end - 6] ^= 1;
        std::fs::write(&path, &packed).unwrap();
        let file = FitsBytes::open(&InputName::File(path.clone())).unwrap();
        file.read_exact_at(&mut [0; 10], 299_000).unwrap();
        assert!(file.check_to_end().is_err());
        packed[end - 6] ^= 1;
        std::fs::write(&path, &packed[..end - 1]).unwrap();
        assert!(
            FitsBytes::open(&InputName::File(path.clone()))
                .unwrap()
                .check_to_end()
                .is_err()
        );
    }
}

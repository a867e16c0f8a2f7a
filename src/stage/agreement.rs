//! Is what lies at a place what lies here?

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crc_fast::CrcAlgorithm;
use md5::{Digest, Md5};

use crate::error::{Error, Result};
use crate::exchange::{FileSummary, HexDigest};
use crate::place::{ObjectChecksum, ObjectInfo};

const READ_BYTES: usize = 1 << 20;

/// Compares an object with a file by size and by the checksum that the place keeps; for that the
/// file is read again. Without it, or without such a checksum, the size must do.
///
/// # Errors
/// The file can't be read.
pub(super) fn agrees(info: &ObjectInfo, file: &FileSummary, local: Option<&Path>) -> Result<bool> {
    if info.bytes != file.bytes {
        return Ok(false);
    }
    match (info.checksum, local) {
        (Some(ObjectChecksum::Sha256(found)), _) => {
            Ok(file.sha256.is_none_or(|expected| expected == found))
        }
        (Some(ObjectChecksum::Md5(found)), Some(path)) => {
            let mut digest = Md5::new();
            read(path, |bytes| digest.update(bytes))?;
            Ok(HexDigest(digest.finalize().into()) == found)
        }
        (Some(ObjectChecksum::Crc64Nvme(found)), Some(path)) => {
            let mut digest = crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme);
            read(path, |bytes| digest.update(bytes))?;
            Ok(digest.finalize() == found)
        }
        _ => Ok(true),
    }
}

fn read(path: &Path, mut each: impl FnMut(&[u8])) -> Result<()> {
    let reading = |error| Error::reading(path, error);
    let mut file = File::open(path).map_err(reading)?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer).map_err(reading)? {
            0 => return Ok(()),
            read => each(buffer.get(..read).unwrap_or_default()),
        }
    }
}

//! Is what lies at a place what lies here?

use std::path::Path;

use crc_fast::CrcAlgorithm;
use md5::{Digest, Md5};

use crate::error::Result;
use crate::exchange::{FileSummary, HexDigest};
use crate::place::{ObjectChecksum, ObjectInfo};
use crate::source::each_block;

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
            each_block(path, |bytes| {
                digest.update(bytes);
                Ok(())
            })?;
            Ok(HexDigest(digest.finalize().into()) == found)
        }
        (Some(ObjectChecksum::Crc64Nvme(found)), Some(path)) => {
            let mut digest = crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme);
            each_block(path, |bytes| {
                digest.update(bytes);
                Ok(())
            })?;
            Ok(digest.finalize() == found)
        }
        _ => Ok(true),
    }
}

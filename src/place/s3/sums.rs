//! What stores check of a block of bytes: MD5, CRC-64/NVME, SHA-256.

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use md5::{Digest, Md5};
use sha2::Sha256;

use crate::error::{Error, ErrorKind, Result};

/// Whether the signature of a request covers its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    /// It does: what nobody encrypts can be altered on the way.
    Signed,
    /// It does not: TLS keeps the body whole.
    Unsigned,
}

/// Checksums of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) md5: [u8; 16],
    pub(super) crc: u64,
    /// There if the payload is signed.
    pub(super) sha256: Option<[u8; 32]>,
}

impl Sums {
    /// Sums up a block, beside the threads that serve connections.
    pub(super) async fn of(block: &Bytes, payload: Payload) -> Result<Self> {
        let block = block.clone();
        tokio::task::spawn_blocking(move || Self {
            md5: Md5::digest(&block).into(),
            crc: crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &block),
            sha256: (payload == Payload::Signed).then(|| Sha256::digest(&block).into()),
        })
        .await
        .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
    }
}

/// The checksum of two blocks after one another.
pub(super) fn combined_crc(first: u64, second: u64, second_bytes: u64) -> u64 {
    crc_fast::checksum_combine(CrcAlgorithm::Crc64Nvme, first, second, second_bytes)
}

/// The checksum of no bytes.
pub(super) const EMPTY_CRC: u64 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_whole_follows_from_its_parts() {
        let crc = |bytes: &[u8]| crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes);
        // The check value of the catalogue of CRCs.
        assert_eq!(crc(b"123456789"), 0xae8b_1486_0a79_9888);
        assert_eq!(crc(b""), EMPTY_CRC);
        let mut whole = EMPTY_CRC;
        for part in [&b"1234"[..], b"", b"56789"] {
            whole = combined_crc(whole, crc(part), part.len() as u64);
        }
        assert_eq!(whole, crc(b"123456789"));
    }
}

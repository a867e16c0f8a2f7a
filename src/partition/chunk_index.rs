//! `chunk_index.bin`: rows per sub-chunk, as sph-partition writes it.

use std::collections::BTreeMap;

use crate::exchange::SubChunkCount;

/// Returns the bytes of the index: 24-byte records of `(chunk << 32) + sub-chunk`, rows and
/// overlap rows, each a little-endian u64, in order of their keys.
pub fn chunk_index_bytes(counts: &BTreeMap<(i32, i32), SubChunkCount>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(counts.len() * 24);
    for ((chunk, sub_chunk), count) in counts {
        let key = (i64::from(*chunk) << 32) + i64::from(*sub_chunk);
        bytes.extend_from_slice(&key.to_le_bytes());
        bytes.extend_from_slice(&count.rows.to_le_bytes());
        bytes.extend_from_slice(&count.overlap_rows.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_little_endian() {
        let count = SubChunkCount {
            rows: 5,
            overlap_rows: 6,
        };
        let bytes = chunk_index_bytes(&BTreeMap::from([((2, 3), count)]));
        assert_eq!(
            bytes,
            [
                3, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0
            ]
        );
    }
}

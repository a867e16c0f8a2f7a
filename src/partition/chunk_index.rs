//! `chunk_index.bin`: rows per sub-chunk, as sph-partition writes it.

use crate::exchange::SubChunkCount;

/// Bytes of a record.
pub const CHUNK_INDEX_RECORD: usize = 24;

/// Returns a record of the index: `(chunk << 32) + sub-chunk`, rows and overlap rows, each a
/// little-endian u64. Records stand in order of their keys.
pub fn chunk_index_record(
    (chunk, sub_chunk): (i32, i32),
    count: SubChunkCount,
) -> [u8; CHUNK_INDEX_RECORD] {
    let key = (i64::from(chunk) << 32) + i64::from(sub_chunk);
    let mut record = [0; CHUNK_INDEX_RECORD];
    record[..8].copy_from_slice(&key.to_le_bytes());
    record[8..16].copy_from_slice(&count.rows.to_le_bytes());
    record[16..].copy_from_slice(&count.overlap_rows.to_le_bytes());
    record
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
        assert_eq!(
            chunk_index_record((2, 3), count),
            [
                3, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0
            ]
        );
    }
}

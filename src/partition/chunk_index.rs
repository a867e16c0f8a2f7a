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

/// Returns what the records of an index say, in their order; nothing if the last one is torn.
pub fn chunk_index_rows(bytes: &[u8]) -> Option<impl Iterator<Item = ((i32, i32), SubChunkCount)>> {
    let records = bytes.chunks_exact(CHUNK_INDEX_RECORD);
    if !records.remainder().is_empty() {
        return None;
    }
    Some(records.map(|record| {
        let number = |at: usize| {
            let bytes = record
                .get(at..at + 8)
                .and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u64::from_le_bytes)
        };
        let key = number(0).cast_signed();
        // The two halves, each as it was.
        let (chunk, sub_chunk) = ((key >> 32) as i32, key as i32);
        let count = SubChunkCount {
            rows: number(8),
            overlap_rows: number(16),
        };
        ((chunk, sub_chunk), count)
    }))
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
        let record = chunk_index_record((2, 3), count);
        let read: Vec<_> = chunk_index_rows(&record).unwrap().collect();
        assert_eq!(read, [((2, 3), count)]);
        assert!(chunk_index_rows(&record[1..]).is_none());
        assert_eq!(
            record,
            [
                3, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0
            ]
        );
    }
}

//! What is known of an output file once it is written: rows, bytes and digests.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3;

/// Rows, bytes and digests of a file, kept up to date while it grows.
#[derive(Clone, Default)]
pub struct FileDigest {
    rows: u64,
    bytes: u64,
    xxh3: Xxh3,
    sha256: Sha256,
}

impl FileDigest {
    /// Bytes of memory that one digest in progress takes, roughly.
    pub const MEMORY: u64 = 1024;

    /// Counts rows that were written.
    pub fn add_rows(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Counts and digests bytes that were written.
    pub fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.xxh3.update(bytes);
        self.sha256.update(bytes);
    }

    /// Returns the rows counted so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the bytes counted so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Finishes the digests of the file `path`, relative to the output folder.
    pub fn finish(self, path: String, chunk: Option<i32>, is_overlap: bool) -> FileSummary {
        FileSummary {
            path,
            chunk,
            is_overlap,
            rows: self.rows,
            bytes: self.bytes,
            xxh3: format!("{:032x}", self.xxh3.digest128()),
            sha256: self
                .sha256
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        }
    }
}

impl std::fmt::Debug for FileDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileDigest({} rows, {} bytes)", self.rows, self.bytes)
    }
}

/// A finished output file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSummary {
    /// Path relative to the output folder, with `/`.
    pub path: String,
    /// Chunk, for partitioned tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<i32>,
    /// Whether it holds overlap rows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_overlap: bool,
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// XXH3-128 in hexadecimal.
    pub xxh3: String,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_nothing_are_the_published_ones() {
        let summary = FileDigest::default().finish("x".into(), None, false);
        assert_eq!(summary.xxh3, "99aa06d3014798d86001c324468d497f");
        assert_eq!(
            summary.sha256,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}

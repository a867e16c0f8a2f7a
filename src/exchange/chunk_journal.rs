//! What the journal of a partitioned output holds: for each run the files that it was appended to,
//! or where it lies in the exchange file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::chunk_rows::ChunkCounts;
use super::digest::{FileDigest, FileState, HexDigest};
use super::exchange_file::RunPlace;
use super::progress::Mark;

/// What the journal says of a run; lists of files and counts follow it.
#[derive(Serialize, Deserialize)]
pub(super) struct RunRecord {
    pub(super) mark: Mark,
    pub(super) key_index: FileState,
    /// The exchange file.
    pub(super) exchange_path: PathBuf,
    /// Runs that went into it since the last record.
    pub(super) exchange: Vec<RunPlace>,
    /// Files that were appended to since then; their states follow.
    pub(super) files: usize,
}

/// Bytes of a file's number and state in the journal.
const FILE_RECORD: usize = 4 + 8 + 8 + 16;

/// What has come since the last record of the journal.
#[derive(Default)]
pub(super) struct Unrecorded {
    /// Files that were appended to.
    pub(super) files: BTreeSet<usize>,
    /// Rows per sub-chunk that were appended.
    pub(super) counts: ChunkCounts,
    /// Runs in the exchange file.
    pub(super) runs: Vec<RunPlace>,
}

/// What the journal of an earlier run says.
#[derive(Default)]
pub(super) struct Earlier {
    pub(super) mark: Option<Mark>,
    pub(super) files: Vec<Option<FileState>>,
    pub(super) key_index: Option<FileState>,
    pub(super) runs: Vec<RunPlace>,
    pub(super) exchange_paths: BTreeSet<PathBuf>,
    pub(super) sub_chunks: ChunkCounts,
}

impl Earlier {
    /// Returns exchange files of this output that lie elsewhere than at `own`.
    pub(super) fn strangers<'s>(&'s self, own: &'s Path) -> impl Iterator<Item = &'s Path> {
        // Only a file that is called as ours would be is ours.
        let is_stranger =
            move |path: &&PathBuf| path.as_path() != own && path.file_name() == own.file_name();
        self.exchange_paths
            .iter()
            .filter(is_stranger)
            .map(PathBuf::as_path)
    }

    /// Takes in the record of a run; says whether it makes sense.
    pub(super) fn take(&mut self, run: RunRecord, lists: &[u8], files: usize) -> bool {
        let Some((states, counts)) = lists.split_at_checked(run.files * FILE_RECORD) else {
            return false;
        };
        let Some(counts) = ChunkCounts::read_from(counts) else {
            return false;
        };
        if run.files > 0 {
            self.files.resize(files, None);
        }
        for bytes in states.chunks_exact(FILE_RECORD) {
            let number = |at: usize| {
                let bytes = bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
                bytes.map_or(0, u64::from_le_bytes)
            };
            let file = (number(0) & u64::from(u32::MAX)) as usize;
            let mut xxh3 = [0; 16];
            xxh3.copy_from_slice(&bytes[20..]);
            let Some(known) = self.files.get_mut(file) else {
                return false;
            };
            *known = Some(FileState {
                rows: number(4),
                bytes: number(12),
                xxh3: HexDigest(xxh3),
            });
        }
        self.sub_chunks.merge(counts);
        if !run.exchange.is_empty() {
            self.exchange_paths.insert(run.exchange_path);
        }
        self.runs.extend(run.exchange);
        self.key_index = Some(run.key_index);
        self.mark = Some(run.mark);
        true
    }
}

impl Unrecorded {
    /// Returns the number of files and the lists that follow the record, with the states of the
    /// files as `growing` has them.
    pub(super) fn lists(&self, growing: &[Option<Box<FileDigest>>]) -> (usize, Vec<u8>) {
        let mut lists = Vec::with_capacity(self.files.len() * FILE_RECORD);
        let mut files = 0;
        for file in &self.files {
            let Some(digest) = growing.get(*file).and_then(Option::as_ref) else {
                continue;
            };
            let known = digest.state();
            lists.extend_from_slice(&(*file as u32).to_le_bytes());
            lists.extend_from_slice(&known.rows.to_le_bytes());
            lists.extend_from_slice(&known.bytes.to_le_bytes());
            lists.extend_from_slice(&known.xxh3.0);
            files += 1;
        }
        self.counts.write_to(&mut lists);
        (files, lists)
    }
}

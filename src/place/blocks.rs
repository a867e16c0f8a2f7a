//! Files on their way to a server: read ahead in blocks, digested once, in bounded memory.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::{FileDigest, FileSummary};

/// Unit in which room for blocks is counted.
const ROOM_UNIT: u64 = 64 << 10;
/// Blocks that are read ahead of the one being sent.
const AHEAD: usize = 1;

/// Memory for blocks on their way, shared by all uploads.
#[derive(Debug, Clone)]
pub(super) struct Room {
    units: Arc<Semaphore>,
    all: u32,
}

impl Room {
    /// Makes room for so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let all = u32::try_from((bytes / ROOM_UNIT).max(1)).unwrap_or(u32::MAX >> 4);
        Self {
            units: Arc::new(Semaphore::new(all as usize)),
            all,
        }
    }

    /// Returns the largest block that there is ever room for, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.all) * ROOM_UNIT
    }

    /// Waits for room for a block; one that is larger than all there is takes all.
    fn take(&self, handle: &Handle, bytes: u64) -> Result<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(ROOM_UNIT)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.units).acquire_many_owned(units.min(self.all));
        handle
            .block_on(permit)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
    }
}

/// A block and the room that it takes; both go when the last user of its bytes does.
struct Block {
    bytes: Vec<u8>,
    /// None for what came unexpected at the end of a file, of which one byte is read.
    _room: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The blocks of a file, in order, and what they add up to.
#[derive(Debug)]
pub(super) struct Blocks {
    receiver: mpsc::Receiver<Bytes>,
    reader: JoinHandle<Result<FileDigest>>,
}

impl Blocks {
    /// Begins to read a file in blocks of so many bytes; the last one may be shorter.
    pub(super) fn of(path: &Path, block_bytes: u64, room: &Room) -> Self {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (path, room, handle) = (path.to_owned(), room.clone(), Handle::current());
        let reader = tokio::task::spawn_blocking(move || {
            read(
                &path,
                block_bytes.min(room.bytes()),
                &room,
                &handle,
                &sender,
            )
        });
        Self { receiver, reader }
    }

    /// Returns the next block; nothing at the end of the file, or after a failure, which
    /// [`finish`](Self::finish) tells.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        self.receiver.recv().await
    }

    /// Returns bytes, rows and digests of the whole file, as an object called `key`.
    ///
    /// # Errors
    /// The file could not be read to its end, or is not what its record says.
    pub(super) async fn finish(
        mut self,
        key: &str,
        path: &Path,
        recorded: Option<&FileSummary>,
    ) -> Result<FileSummary> {
        self.receiver.close();
        let digest = self
            .reader
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))??;
        let (chunk, is_overlap) = recorded.map_or((None, false), |recorded| {
            (recorded.chunk(), recorded.is_overlap())
        });
        let mut summary = digest.finish(key, chunk, is_overlap);
        if let Some(recorded) = recorded {
            check_recorded(path, recorded, &summary)?;
            summary.rows = recorded.rows;
        }
        Ok(summary)
    }
}

/// Refuses a file that is not what its record says.
///
/// # Errors
/// Size or digest differ.
pub(crate) fn check_recorded(
    path: &Path,
    recorded: &FileSummary,
    found: &FileSummary,
) -> Result<()> {
    if recorded.xxh3 == found.xxh3 && recorded.bytes == found.bytes {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Integrity,
        format!(
            "found {} bytes with XXH3 {}, the record says {} bytes with {}",
            found.bytes, found.xxh3, recorded.bytes, recorded.xxh3
        ),
    )
    .at(Place::file(path.display().to_string()))
    .hint("the file was changed after it was made; make it again"))
}

fn read(
    path: &Path,
    block_bytes: u64,
    room: &Room,
    handle: &Handle,
    sender: &mpsc::Sender<Bytes>,
) -> Result<FileDigest> {
    let reading = |error| Error::reading(path, error);
    let file = File::open(path).map_err(reading)?;
    let length = file.metadata().map_err(reading)?.len();
    let mut digest = RowDigest::default();
    let mut left = length;
    loop {
        // One byte more than is expected, so that a file that grows meanwhile is noticed.
        let wanted = block_bytes.min(left + 1);
        // Whoever holds all of a file waits for its end without having to give room back first.
        let permit = (left > 0).then(|| room.take(handle, wanted)).transpose()?;
        let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
        (&file)
            .take(wanted)
            .read_to_end(&mut bytes)
            .map_err(reading)?;
        if bytes.is_empty() {
            return Ok(digest.finish());
        }
        left = left.saturating_sub(bytes.len() as u64);
        digest.update(&bytes);
        let block = Bytes::from_owner(Block {
            bytes,
            _room: permit,
        });
        if handle.block_on(sender.send(block)).is_err() {
            // Nobody wants to know the rest; the digest is of what was read so far.
            return Ok(digest.finish());
        }
    }
}

/// Digests text and counts its rows: no output for Qserv holds a raw LF inside a row.
#[derive(Debug, Default)]
pub(crate) struct RowDigest {
    digest: FileDigest,
    last: Option<u8>,
}

impl RowDigest {
    /// Adds bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.digest
            .add_rows(memchr::memchr_iter(b'\n', bytes).count() as u64);
        self.last = bytes.last().copied().or(self.last);
    }

    /// Counts the last row, which may lack its end.
    pub(crate) fn finish(mut self) -> FileDigest {
        if self.last.is_some_and(|last| last != b'\n') {
            self.digest.add_rows(1);
        }
        self.digest
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests make their inputs as they like"
)]
mod tests {
    use super::*;

    #[test]
    fn blocks_make_up_the_file_within_their_room() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("x.txt");
        let content: Vec<u8> = (0..1_000_003_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        runtime.block_on(async {
            let room = Room::new(256 << 10);
            // Several at once, each of which holds what it was given while it waits for more.
            let one = || async {
                let mut blocks = Blocks::of(&path, 64 << 10, &room);
                let mut found = Vec::new();
                while let Some(block) = blocks.next().await {
                    assert!(block.len() <= 64 << 10);
                    found.extend_from_slice(&block);
                }
                let summary = blocks.finish("k", &path, None).await.unwrap();
                assert!(found == content);
                assert_eq!(summary.bytes, content.len() as u64);
                assert_eq!(
                    summary.rows,
                    memchr::memchr_iter(b'\n', &content).count() as u64 + 1
                );
            };
            futures_util::future::join_all((0..7).map(|_| one())).await;
            let missing = place.path().join("no.txt");
            let mut blocks = Blocks::of(&missing, 1 << 20, &room);
            assert!(blocks.next().await.is_none());
            let error = blocks.finish("k", &missing, None).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InputMissing);
        });
    }
}

//! The body of an upload: a file in blocks, of which the last is kept back until all is known to
//! be right.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::Stream;

use super::super::FileUpload;
use super::super::blocks::{Blocks, Room};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::FileSummary;

/// Bytes that are read and sent at once.
const BLOCK_BYTES: u64 = 512 << 10;

/// What is known of a body while it is sent and after.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// Bytes that the connection has taken.
    pub(super) taken: AtomicU64,
    is_over: AtomicBool,
    outcome: Mutex<Option<Result<FileSummary>>>,
}

impl Sending {
    /// Asks the body to end: the server does not want the rest.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Returns what was sent, if it was sent to the end, or why this side could not send it.
    pub(super) fn outcome(&self) -> Option<Result<FileSummary>> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.take()
    }
}

/// The body of one try.
pub(super) struct FileBody {
    blocks: Option<Blocks>,
    bytes: u64,
    left: u64,
    key: String,
    path: PathBuf,
    recorded: Option<FileSummary>,
    sending: Arc<Sending>,
}

impl FileBody {
    /// Begins to read the file.
    pub(super) fn new(upload: &FileUpload<'_>, room: &Room, sending: &Arc<Sending>) -> Self {
        Self {
            blocks: Some(Blocks::of(upload.path, BLOCK_BYTES, room)),
            bytes: upload.bytes,
            left: upload.bytes,
            key: upload.key.to_owned(),
            path: upload.path.to_owned(),
            recorded: upload.recorded.cloned(),
            sending: Arc::clone(sending),
        }
    }

    /// Returns the blocks as a stream that breaks where the file is not what was expected.
    pub(super) fn stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        futures_util::stream::unfold(self, |mut body| async {
            let next = body.next().await?;
            Some((next, body))
        })
    }

    /// Returns the next block; the last one only if the whole file is right.
    pub(super) async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.sending.is_over.load(Ordering::Relaxed) {
            self.blocks = None;
            return Some(Err(io::Error::other("the server has ended the upload")));
        }
        let block = self.blocks.as_mut()?.next().await;
        let length = block.as_ref().map_or(0, |block| block.len() as u64);
        if length > 0 && length < self.left {
            self.left -= length;
            self.sending.taken.fetch_add(length, Ordering::Relaxed);
            return block.map(Ok);
        }
        let summary = self
            .blocks
            .take()?
            .finish(&self.key, &self.path, self.recorded.as_ref());
        let outcome = match summary.await {
            Ok(summary) if summary.bytes != self.bytes => {
                Err(changed(&self.path, self.bytes, summary.bytes))
            }
            other => other,
        };
        let next = match &outcome {
            Ok(_) => block.map(Ok),
            Err(error) => Some(Err(io::Error::other(error.to_string()))),
        };
        if outcome.is_ok() {
            self.sending.taken.fetch_add(length, Ordering::Relaxed);
        }
        let slot = self.sending.outcome.lock();
        *slot.unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        next
    }
}

fn changed(path: &Path, expected: u64, found: u64) -> Error {
    Error::new(
        ErrorKind::Integrity,
        format!("has {found} bytes, had {expected} when the upload began"),
    )
    .at(Place::file(path.display().to_string()))
    .hint("the file was changed meanwhile; run the same command again when it is finished")
}

//! Copies of files that are digested on the way.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::error::{Error, ErrorKind, Result};
use crate::exchange::FileDigest;
use crate::place::RowDigest;
use crate::publish::append;

const BLOCK_BYTES: usize = 1 << 20;
/// Blocks on their way between copying and digesting.
const BLOCKS: usize = 4;
/// Larger files are digested by a thread of their own: SHA-256 takes as long as copying does.
const ALONE_BYTES: u64 = 4 << 20;

/// Copies a file of about so many bytes to `to`, which is made, and digests it.
///
/// # Errors
/// It can't be read, or the copy can't be written.
pub(super) fn copy_digested(from: &Path, bytes: u64, to: &Path) -> Result<FileDigest> {
    let source = File::open(from).map_err(|error| Error::reading(from, error))?;
    let target = append(to)?;
    let mut copy = Copy {
        from,
        source,
        to,
        target,
    };
    if bytes <= ALONE_BYTES {
        let mut digest = RowDigest::default();
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            match copy.next(&mut block)? {
                0 => return Ok(digest.finish()),
                read => digest.update(block.get(..read).unwrap_or_default()),
            }
        }
    }
    std::thread::scope(|scope| {
        let (full_sender, full) = sync_channel(BLOCKS);
        let (used_sender, used) = sync_channel(BLOCKS);
        for _ in 0..BLOCKS {
            // There is room for all of them.
            let _ = used_sender.send(Arc::new(vec![0; BLOCK_BYTES]));
        }
        let digester = scope.spawn(move || digest_all(&full, &used_sender));
        copy.copy_beside(&used, full_sender)?;
        digester
            .join()
            .map_err(|_| Error::new(ErrorKind::Internal, "digesting a copy failed"))
    })
}

type Block = Arc<Vec<u8>>;

/// A file being copied.
struct Copy<'a> {
    from: &'a Path,
    source: File,
    to: &'a Path,
    target: File,
}

impl Copy<'_> {
    /// Reads and writes a block; returns its bytes, 0 at the end.
    fn next(&mut self, block: &mut [u8]) -> Result<usize> {
        let read = self
            .source
            .read(block)
            .map_err(|error| Error::reading(self.from, error))?;
        self.write(block.get(..read).unwrap_or_default())?;
        Ok(read)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.target
            .write_all(bytes)
            .map_err(|error| Error::writing(self.to, error))
    }

    /// Copies all blocks; each goes to be digested while it is written.
    fn copy_beside(
        &mut self,
        used: &Receiver<Block>,
        full: SyncSender<(Block, usize)>,
    ) -> Result<()> {
        let gone = |_| Error::new(ErrorKind::Internal, "digesting a copy ended early");
        loop {
            let mut block = used.recv().map_err(|error| {
                Error::new(ErrorKind::Internal, format!("digesting a copy: {error}"))
            })?;
            // Who gives a block back keeps nothing of it.
            let room = Arc::make_mut(&mut block);
            let read = self
                .source
                .read(room)
                .map_err(|error| Error::reading(self.from, error))?;
            if read == 0 {
                // No more comes.
                drop(full);
                return Ok(());
            }
            full.send((Arc::clone(&block), read)).map_err(gone)?;
            self.write(block.get(..read).unwrap_or_default())?;
        }
    }
}

fn digest_all(full: &Receiver<(Block, usize)>, used: &SyncSender<Block>) -> FileDigest {
    let mut digest = RowDigest::default();
    for (block, read) in full {
        digest.update(block.get(..read).unwrap_or_default());
        if used.send(block).is_err() {
            break;
        }
    }
    digest.finish()
}

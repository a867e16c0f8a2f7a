//! Files and texts that go to a store: by one request, or in parts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use reqwest::Method;

use super::client::{Answer, Client, Request, md5_of, tag_of};
use super::refusal::Failure;
use super::sums::Sums;
use super::{look, multipart};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::HexDigest;
use crate::place::blocks::Blocks;
use crate::place::fault::Fault;
use crate::place::{FileUpload, ObjectChecksum, Stored};

/// Bytes of a part unless somebody cares.
const PART_BYTES: u64 = 16 << 20;
/// Stores take no smaller parts, other than the last one.
const LEAST_PART: u64 = 5 << 20;
/// Stores take no more parts of one object.
const MOST_PARTS: u64 = 10_000;
/// Part sizes are multiples of this.
const PART_STEP: u64 = 1 << 20;

/// Puts a file.
pub(super) async fn put_file(client: &Arc<Client>, upload: FileUpload<'_>) -> Result<Stored> {
    let wanted = client.shared.options.part_bytes;
    let parts = PartSize::of(upload.bytes, wanted, client.shared.room.bytes());
    let parts = parts.map_err(|error| error.at(Place::file(upload.path.display().to_string())))?;
    match parts {
        PartSize::Whole => {
            if let Some(open) = upload.open {
                // Begun when the file was larger, or with other sizes of parts.
                multipart::abort(client, upload.key, &open.id).await?;
                upload.log.ended(upload.key, &open.id)?;
            }
            put_whole(client, upload).await
        }
        PartSize::Bytes(part_bytes) => multipart::put(client, upload, part_bytes).await,
    }
}

/// Puts a small object.
pub(super) async fn put_bytes(client: &Arc<Client>, key: &str, bytes: Bytes) -> Result<()> {
    let sums = Sums::of(&bytes, client.settings.payload).await?;
    put_object(client, key, &bytes, &sums, &AtomicU64::new(0)).await
}

async fn put_whole(client: &Arc<Client>, upload: FileUpload<'_>) -> Result<Stored> {
    let mut blocks = Blocks::of(upload.path, upload.bytes.max(1), &client.shared.room);
    let block = client.unless_cancelled(blocks.next()).await?;
    let block = block.unwrap_or_default();
    let summary = blocks.finish(upload.key, upload.path, upload.recorded);
    let summary = summary.await?;
    if summary.bytes != block.len() as u64 {
        return Err(changed(upload.path));
    }
    let mut sums = Sums::of(&block, super::sums::Payload::Unsigned).await?;
    sums.sha256 = summary.sha256.map(|digest| digest.0);
    let sent = AtomicU64::new(0);
    put_object(client, upload.key, &block, &sums, &sent).await?;
    (upload.advance)(summary.bytes);
    Ok(Stored {
        summary,
        sent: sent.into_inner(),
    })
}

/// Puts an object by one request and looks at what the store has then.
async fn put_object(
    client: &Arc<Client>,
    key: &str,
    block: &Bytes,
    sums: &Sums,
    sent: &AtomicU64,
) -> Result<()> {
    let expected = Expected {
        bytes: block.len() as u64,
        crc: sums.crc,
        md5: Some(HexDigest(sums.md5)),
    };
    let is_wrong = AtomicBool::new(false);
    let put = client.retry(|_| {
        Box::pin(async {
            let mut request = Request::new(Method::PUT, key).checked_body(block.clone(), sums);
            for (name, value) in &client.settings.put_headers {
                request.headers.insert(name, value.clone());
            }
            sent.fetch_add(block.len() as u64, Ordering::Relaxed);
            let answer = client.send(request).await?;
            is_wrong.store(true, Ordering::Relaxed);
            check_tag(client, key, &answer, sums)?;
            expected.check(client, key).await?;
            is_wrong.store(false, Ordering::Relaxed);
            Ok(())
        })
    });
    let put = put.await;
    if let Err(error) = &put
        && is_wrong.into_inner()
    {
        remove_if_wrong(client, key, error).await;
    }
    put
}

/// Refuses a tag that looks like an MD5 and is another one than that of what was sent; returns it.
pub(super) fn check_tag(
    client: &Client,
    key: &str,
    answer: &Answer,
    sums: &Sums,
) -> Result<String, Fault> {
    let url = client.shown_url(key);
    let Some(tag) = tag_of(&answer.headers) else {
        return Err(Fault::network(&url, "the store gives no tag (ETag)"));
    };
    let sent = HexDigest(sums.md5);
    match md5_of(&tag, &answer.headers) {
        Some(found) if found != sent => Err(Fault::integrity(
            &url,
            format!("the MD5 of what was sent is {sent}, the store says {found}"),
        )),
        _ => Ok(tag),
    }
}

/// What a store should have.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) bytes: u64,
    pub(super) crc: u64,
    /// That of the whole object, if it is known.
    pub(super) md5: Option<HexDigest<16>>,
}

impl Expected {
    /// Asks the store what it has, and compares.
    pub(super) async fn check(&self, client: &Client, key: &str) -> Result<(), Fault> {
        let url = client.shown_url(key);
        let found = match look(client, key).await {
            Ok(found) => found,
            Err(Failure::Refused(refusal)) if refusal.status.as_u16() == 404 => {
                return Err(Fault::network(&url, "was put, but is not there"));
            }
            Err(failure) => return Err(failure.into()),
        };
        if found.info.bytes != self.bytes {
            let message = format!(
                "sent {} bytes, the store has {}",
                self.bytes, found.info.bytes
            );
            return Err(Fault::integrity(&url, message));
        }
        if let (Some(sent), Some(md5)) = (self.md5, found.md5)
            && sent != md5
        {
            let message = format!("the MD5 of what was sent is {sent}, the store says {md5}");
            return Err(Fault::integrity(&url, message));
        }
        match found.info.checksum {
            Some(ObjectChecksum::Crc64Nvme(crc)) if crc != self.crc => {
                let message = format!(
                    "the CRC-64/NVME of what was sent is {:016x}, the store says {crc:016x}",
                    self.crc
                );
                Err(Fault::integrity(&url, message))
            }
            _ => Ok(()),
        }
    }
}

/// Takes away what the store has if it is not what was sent: no object may be wrong.
pub(super) async fn remove_if_wrong(client: &Client, key: &str, error: &Error) {
    if error.kind() != ErrorKind::Integrity {
        return;
    }
    if let Err(failure) = client.send(Request::new(Method::DELETE, key)).await {
        let error = Fault::from(failure).into_error();
        tracing::warn!("what is there is wrong and can't be removed: {error}");
    }
}

/// The file was changed while it was sent.
pub(super) fn changed(path: &Path) -> Error {
    Error::new(ErrorKind::Integrity, "was changed while it was read")
        .at(Place::file(path.display().to_string()))
        .hint("wait until whoever writes it has finished")
}

/// How a file is cut.
#[derive(Debug, PartialEq, Eq)]
enum PartSize {
    /// It is sent as it is.
    Whole,
    /// Bytes of each part but the last.
    Bytes(u64),
}

impl PartSize {
    fn of(bytes: u64, wanted: Option<u64>, room: u64) -> Result<Self> {
        let wanted = wanted.unwrap_or(PART_BYTES.min(room)).max(LEAST_PART);
        if bytes <= wanted.min(room) {
            return Ok(Self::Whole);
        }
        let least = bytes.div_ceil(MOST_PARTS).div_ceil(PART_STEP) * PART_STEP;
        let part = wanted.max(least);
        if part <= room {
            return Ok(Self::Bytes(part));
        }
        Err(Error::usage(format!(
            "its {bytes} bytes go to S3 in parts of {part}, but there is memory for {room}"
        ))
        .hint("raise --memory-limit"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_with_the_file_and_fit_into_memory() {
        const M: u64 = 1 << 20;
        for (bytes, wanted, room, is) in [
            (0, None, 256 * M, PartSize::Whole),
            (16 * M, None, 256 * M, PartSize::Whole),
            (16 * M + 1, None, 256 * M, PartSize::Bytes(16 * M)),
            (160_000 * M, None, 256 * M, PartSize::Bytes(16 * M)),
            (160_000 * M + 1, None, 256 * M, PartSize::Bytes(17 * M)),
            (6 * M, Some(1), 256 * M, PartSize::Bytes(5 * M)),
            (9 * M, None, 8 * M, PartSize::Bytes(8 * M)),
            (M, None, 2 * M, PartSize::Whole),
        ] {
            let found = PartSize::of(bytes, wanted, room).unwrap();
            assert_eq!(found, is, "{bytes} {wanted:?} {room}");
        }
        assert!(PartSize::of(5_000_000 * M, None, 256 * M).is_err());
        assert!(PartSize::of(6 * M, None, 4 * M).is_err());
    }
}

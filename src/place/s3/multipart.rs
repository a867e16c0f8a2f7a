//! Large files in parts: several at once, each checked; gone on with after a break.
//!
//! The file is read once, from its beginning, whatever is there already: its digests have to be
//! those of its record before the parts are made an object. A part that an earlier attempt brought
//! is not sent again if the store still has it and its MD5 is that of the file's bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::DateTime;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use md5::{Digest, Md5};
use reqwest::Method;
use reqwest::header::HeaderValue;

use super::answers::{Begun, PartsPage, UploadsPage, complete_request, plain_tag, read};
use super::client::{CRC_HEADER, Client, Request, crc_text, md5_of};
use super::look;
use super::refusal::Failure;
use super::sums::{EMPTY_CRC, Sums, combined_crc};
use super::upload::{Expected, changed, check_tag, remove_if_wrong};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::HexDigest;
use crate::place::blocks::Blocks;
use crate::place::fault::Fault;
use crate::place::{DonePart, FileUpload, ObjectChecksum, OpenUpload, Stored};
use crate::source::each_block;

/// Uploads that a store lost are begun anew so often.
const MOST_BEGINNINGS: u32 = 3;
/// How often an upload is aborted whose parts stay: those on their way come after it.
const MOST_ABORTS: u32 = 5;
/// Clocks of one store may differ by so much.
const STORE_CLOCKS: Duration = Duration::from_secs(2);

/// An upload of one file.
struct Multipart<'a> {
    client: &'a Arc<Client>,
    upload: FileUpload<'a>,
    part_bytes: u64,
    /// Bytes that went over the network.
    sent: AtomicU64,
    /// Bytes that `upload.advance` was told of.
    told: AtomicU64,
}

/// A part as the store or the log knows it.
#[derive(Debug, Clone)]
struct Known {
    tag: String,
    bytes: Option<u64>,
    md5: Option<HexDigest<16>>,
}

/// What an upload in parts came to.
enum End {
    Stored(Stored),
    /// The store does not know of the upload any more, or does not let it be gone on with.
    Gone,
}

/// Puts a file in parts of so many bytes.
pub(super) async fn put(
    client: &Arc<Client>,
    upload: FileUpload<'_>,
    part_bytes: u64,
) -> Result<Stored> {
    let mut multipart = Multipart {
        client,
        upload,
        part_bytes,
        sent: AtomicU64::new(0),
        told: AtomicU64::new(0),
    };
    let mut open = upload.open.cloned();
    if let Some(old) = &open
        && !multipart.can_go_on(old)
    {
        abort(client, upload.key, &old.id).await?;
        upload.log.ended(upload.key, &old.id)?;
        open = None;
    }
    for _ in 0..MOST_BEGINNINGS {
        let (id, known) = match open.take() {
            Some(old) => match multipart.known(&old).await? {
                Some(known) => {
                    multipart.part_bytes = old.part_bytes;
                    (old.id, known)
                }
                None => {
                    upload.log.ended(upload.key, &old.id)?;
                    (multipart.begin().await?, HashMap::new())
                }
            },
            None => (multipart.begin().await?, HashMap::new()),
        };
        match multipart.bring(&id, &known).await {
            Ok(End::Stored(stored)) => {
                upload.log.ended(upload.key, &id)?;
                return Ok(stored);
            }
            Ok(End::Gone) => {
                abort(client, upload.key, &id).await?;
                upload.log.ended(upload.key, &id)?;
            }
            Err(error) => {
                multipart.leave(&id, &error).await;
                return Err(error);
            }
        }
    }
    Err(Error::new(
        ErrorKind::Network,
        "the store forgets the upload again and again",
    )
    .at(Place::file(client.shown_url(upload.key)))
    .hint("look for a rule of the bucket that removes unfinished uploads"))
}

/// Removes all parts of an upload that is not gone on with.
pub(super) async fn abort(client: &Arc<Client>, key: &str, id: &str) -> Result<()> {
    for _ in 0..MOST_ABORTS {
        client
            .retry(|_| {
                Box::pin(async {
                    let request = Request::new(Method::DELETE, key).query("uploadId", id);
                    match client.send(request).await {
                        Err(Failure::Refused(refusal)) if refusal.is("NoSuchUpload") => Ok(()),
                        Err(Failure::Refused(refusal)) if refusal.status.as_u16() == 404 => Ok(()),
                        answer => answer.map(drop).map_err(Fault::from),
                    }
                })
            })
            .await?;
        // Parts that were on their way may have arrived since.
        let request = Request::new(Method::GET, key).query("uploadId", id);
        if client.send(request.query("max-parts", "1")).await.is_err() {
            return Ok(());
        }
    }
    tracing::warn!(
        "{}: parts of an unfinished upload may be left; a rule of the bucket can remove them",
        client.shown_url(key)
    );
    Ok(())
}

impl Multipart<'_> {
    fn url(&self) -> String {
        self.client.shown_url(self.upload.key)
    }

    /// Says whether what was begun fits the file as it is now.
    fn can_go_on(&self, open: &OpenUpload) -> bool {
        let parts = self.upload.bytes.div_ceil(open.part_bytes.max(1));
        let is_known = |byte: u8| (b' '..=b'~').contains(&byte);
        open.part_bytes > 0
            && open.part_bytes <= self.client.shared.room.bytes()
            && (2..=10_000).contains(&parts)
            && open.id.bytes().all(is_known)
    }

    /// Begins an upload and writes that down.
    async fn begin(&self) -> Result<String> {
        let (client, key) = (self.client, self.upload.key);
        let (start, mut tries) = (Instant::now(), 0);
        let id = client
            .retry(|number| {
                tries = number;
                Box::pin(async {
                    let mut request = Request::new(Method::POST, key)
                        .query("uploads", "")
                        .header("x-amz-checksum-algorithm", "CRC64NVME")
                        .header("x-amz-checksum-type", "FULL_OBJECT");
                    for (name, value) in &client.settings.put_headers {
                        request.headers.insert(name, value.clone());
                    }
                    let answer = client.send(request).await?;
                    let begun: Option<Begun> = read(&answer.body);
                    begun.map(|begun| begun.upload_id).ok_or_else(|| {
                        Fault::network(&self.url(), "the store begins no upload in parts")
                    })
                })
            })
            .await?;
        if let Err(error) = self.upload.log.begun(key, &id, self.part_bytes) {
            self.leave(&id, &error).await;
            return Err(error);
        }
        if tries > 1 {
            self.forget_unheard(&id, start.elapsed()).await;
        }
        Ok(id)
    }

    /// Removes uploads that were begun while no answer came.
    async fn forget_unheard(&self, id: &str, elapsed: Duration) {
        let (client, key) = (self.client, self.upload.key);
        let whole_key = client.whole_key(key);
        let request = Request::new(Method::GET, "")
            .query("uploads", "")
            .query("prefix", whole_key.as_str());
        let Ok(answer) = client.send(request).await else {
            return;
        };
        let Some(page) = read::<UploadsPage>(&answer.body) else {
            return;
        };
        let time = |text: &str| Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis());
        let own = page.uploads.iter().find(|upload| upload.upload_id == id);
        let Some(begun) = own.and_then(|own| time(&own.initiated)) else {
            return;
        };
        let clocks = i64::try_from(STORE_CLOCKS.as_millis()).unwrap_or_default();
        let elapsed = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX / 4);
        for other in page.uploads {
            let is_recent = time(&other.initiated)
                .is_some_and(|time| (begun - elapsed - clocks..=begun + clocks).contains(&time));
            if other.key == whole_key && other.upload_id != id && is_recent {
                // If that fails, too, a rule of the bucket has to do it.
                let _ = abort(client, key, &other.upload_id).await;
            }
        }
    }

    /// Returns the parts that are there of an upload; nothing if there is no such upload.
    async fn known(&self, open: &OpenUpload) -> Result<Option<HashMap<u32, Known>>> {
        let logged = open.parts.iter().map(|part| {
            let known = Known {
                tag: part.tag.clone(),
                bytes: None,
                md5: Some(part.md5),
            };
            (part.number, known)
        });
        let logged: HashMap<u32, Known> = logged.collect();
        let listed = self.client.retry(|_| Box::pin(self.list(&open.id))).await?;
        let mut listed = match listed {
            Listed::Gone => return Ok(None),
            Listed::Unknown => return Ok(Some(logged)),
            Listed::Parts(listed) => listed,
        };
        for (number, known) in &mut listed {
            // What the log says of a part that the store tags otherwise is of another attempt.
            if let Some(logged) = logged.get(number)
                && logged.tag == known.tag
            {
                known.md5 = logged.md5;
            }
        }
        Ok(Some(listed))
    }

    /// Asks which parts the store has.
    async fn list(&self, id: &str) -> Result<Listed, Fault> {
        let mut parts = HashMap::new();
        let mut marker = 0;
        loop {
            let mut request = Request::new(Method::GET, self.upload.key).query("uploadId", id);
            if marker > 0 {
                request = request.query("part-number-marker", marker.to_string());
            }
            let answer = match self.client.send(request).await {
                Ok(answer) => answer,
                Err(Failure::Refused(refusal)) => {
                    return match refusal.status.as_u16() {
                        _ if refusal.is("NoSuchUpload") => Ok(Listed::Gone),
                        404 if refusal.answer.code.is_empty() => Ok(Listed::Gone),
                        // Some stores can't, some users may not.
                        400 | 403 | 405 | 501 => Ok(Listed::Unknown),
                        _ => Err(refusal.fault()),
                    };
                }
                Err(Failure::Fault(fault)) => return Err(fault),
            };
            let Some(page) = read::<PartsPage>(&answer.body) else {
                return Ok(Listed::Unknown);
            };
            for part in page.parts {
                let tag = plain_tag(&part.tag);
                let known = Known {
                    md5: md5_of(&tag, &answer.headers),
                    tag,
                    bytes: Some(part.size),
                };
                parts.insert(part.part_number.saturating_sub(1), known);
            }
            if !page.is_truncated || page.next_part_number_marker <= marker {
                return Ok(Listed::Parts(parts));
            }
            marker = page.next_part_number_marker;
        }
    }

    /// Reads the file and brings what is missing of it; then makes the parts an object.
    async fn bring(&self, id: &str, known: &HashMap<u32, Known>) -> Result<End> {
        let (client, upload) = (self.client, self.upload);
        let mut blocks = Blocks::of(upload.path, self.part_bytes, &client.shared.room);
        let at_once = client.shared.options.parts_at_once.max(1);
        let (mut arrived, mut is_read) = (Vec::new(), false);
        let (mut begun, mut read_bytes, mut done_bytes) = (0_u32, 0_u64, 0_u64);
        {
            let mut on_way = FuturesUnordered::new();
            while !is_read || !on_way.is_empty() {
                let step = async {
                    tokio::select! {
                        Some(part) = on_way.next(), if !on_way.is_empty() => Step::Arrived(part),
                        block = blocks.next(), if !is_read && on_way.len() < at_once => {
                            Step::Read(block)
                        }
                    }
                };
                match client.unless_cancelled(step).await? {
                    Step::Read(Some(block)) => {
                        read_bytes += block.len() as u64;
                        let is_short = (block.len() as u64) < self.part_bytes;
                        if read_bytes > upload.bytes || (is_short && read_bytes < upload.bytes) {
                            return Err(changed(upload.path));
                        }
                        on_way.push(self.bring_part(id, begun, block, known.get(&begun)));
                        begun += 1;
                    }
                    Step::Read(None) => is_read = true,
                    Step::Arrived(part) => match part? {
                        None => return Ok(End::Gone),
                        Some(part) => {
                            done_bytes += part.bytes;
                            let told = self.told.fetch_max(done_bytes, Ordering::Relaxed);
                            if done_bytes > told {
                                (upload.advance)(done_bytes - told);
                            }
                            arrived.push(part);
                        }
                    },
                }
            }
        }
        let summary = blocks
            .finish(upload.key, upload.path, upload.recorded)
            .await?;
        if summary.bytes != upload.bytes || read_bytes != upload.bytes {
            return Err(changed(upload.path));
        }
        arrived.sort_by_key(|part| part.number);
        if !self.complete(id, &arrived).await? {
            return Ok(End::Gone);
        }
        Ok(End::Stored(Stored {
            summary,
            sent: self.sent.load(Ordering::Relaxed),
        }))
    }

    /// Brings one part, unless it is there; nothing if the upload can't be gone on with.
    async fn bring_part(
        &self,
        id: &str,
        number: u32,
        block: Bytes,
        known: Option<&Known>,
    ) -> Result<Option<Arrived>> {
        let (client, upload) = (self.client, self.upload);
        let sums = Sums::of(&block, client.settings.payload).await?;
        let bytes = block.len() as u64;
        let arrived = |tag| Arrived {
            number,
            tag,
            bytes,
            sums,
        };
        let md5 = HexDigest(sums.md5);
        if let Some(known) = known
            && known.md5 == Some(md5)
            && known.bytes.is_none_or(|known| known == bytes)
        {
            return Ok(Some(arrived(known.tag.clone())));
        }
        let (block, sums, is_other) = (&block, &sums, known.is_some());
        let sending = client.retry(|_| {
            Box::pin(async move {
                let request = Request::new(Method::PUT, upload.key)
                    .query("partNumber", (number + 1).to_string())
                    .query("uploadId", id)
                    .checked_body(block.clone(), sums);
                self.sent.fetch_add(bytes, Ordering::Relaxed);
                match client.send(request).await {
                    Ok(answer) => check_tag(client, upload.key, &answer, sums).map(Some),
                    Err(Failure::Refused(refusal)) if refusal.is("NoSuchUpload") => Ok(None),
                    // Not all stores let a part be replaced.
                    Err(Failure::Refused(refusal))
                        if is_other && matches!(refusal.status.as_u16(), 400 | 405 | 409 | 501) =>
                    {
                        Ok(None)
                    }
                    Err(failure) => Err(failure.into()),
                }
            })
        });
        let Some(tag) = sending.await? else {
            return Ok(None);
        };
        let done = DonePart {
            number,
            tag: tag.clone(),
            md5,
        };
        tokio::task::block_in_place(|| upload.log.part(upload.key, id, &done))?;
        Ok(Some(arrived(tag)))
    }

    /// Makes the parts an object and looks at it; false if there is no such upload.
    async fn complete(&self, id: &str, parts: &[Arrived]) -> Result<bool> {
        let (client, key) = (self.client, self.upload.key);
        let crc = parts.iter().fold(EMPTY_CRC, |crc, part| {
            combined_crc(crc, part.sums.crc, part.bytes)
        });
        let body = Bytes::from(complete_request(parts.iter().map(|part| part.tag.as_str())));
        let is_made = client
            .retry(|number| {
                let body = &body;
                Box::pin(async move {
                    let mut request = Request::new(Method::POST, key)
                        .query("uploadId", id)
                        .header(CRC_HEADER, &crc_text(crc))
                        .header("x-amz-checksum-type", "FULL_OBJECT");
                    request.headers.insert(
                        reqwest::header::CONTENT_TYPE,
                        HeaderValue::from_static("application/xml"),
                    );
                    request.body = body.clone();
                    match client.send(request).await {
                        Ok(_) => Ok(true),
                        // Maybe an earlier answer got lost, and all is done.
                        Err(Failure::Refused(refusal)) if refusal.is("NoSuchUpload") => {
                            Ok(number > 1 && self.is_there(parts, crc).await?)
                        }
                        Err(failure) => Err(failure.into()),
                    }
                })
            })
            .await?;
        if !is_made {
            return Ok(false);
        }
        let expected = Expected {
            bytes: self.upload.bytes,
            crc,
            md5: None,
        };
        let checked = client.retry(|_| Box::pin(expected.check(client, key)));
        let checked = checked.await;
        if let Err(error) = &checked {
            remove_if_wrong(client, key, error).await;
        }
        checked.map(|()| true)
    }

    /// Says whether the object that is there is made of these parts.
    async fn is_there(&self, parts: &[Arrived], crc: u64) -> Result<bool, Fault> {
        let seen = match look(self.client, self.upload.key).await {
            Ok(seen) => seen,
            Err(Failure::Refused(refusal)) if refusal.status.as_u16() == 404 => return Ok(false),
            Err(failure) => return Err(failure.into()),
        };
        if seen.info.bytes != self.upload.bytes {
            return Ok(false);
        }
        if let Some(ObjectChecksum::Crc64Nvme(found)) = seen.info.checksum {
            return Ok(found == crc);
        }
        if let Some(md5) = seen.md5 {
            // Few stores digest the whole; this is the only time that it is of use.
            let path = self.upload.path.to_owned();
            let of_file = tokio::task::spawn_blocking(move || md5_of_file(&path)).await;
            let of_file =
                of_file.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
            return Ok(of_file? == md5);
        }
        // The usual tag: MD5 of all MD5s, and the number of parts.
        let mut md5 = Md5::new();
        for part in parts {
            md5.update(part.sums.md5);
        }
        let tag = format!("{}-{}", HexDigest(md5.finalize().into()), parts.len());
        Ok(seen
            .info
            .tag
            .is_some_and(|found| found.eq_ignore_ascii_case(&tag)))
    }

    /// Leaves what can be gone on with, and removes all else.
    async fn leave(&self, id: &str, error: &Error) {
        if error.kind().is_interruption() || error.kind() == ErrorKind::Network {
            return;
        }
        let (client, upload) = (self.client, self.upload);
        let ended = match abort(client, upload.key, id).await {
            Ok(()) => upload.log.ended(upload.key, id),
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::warn!("parts of an unfinished upload are left: {error}");
        }
    }
}

/// What happens next.
enum Step {
    Read(Option<Bytes>),
    Arrived(Result<Option<Arrived>>),
}

/// A part that is there.
struct Arrived {
    number: u32,
    tag: String,
    bytes: u64,
    sums: Sums,
}

/// What a store says of the parts of an upload.
enum Listed {
    Parts(HashMap<u32, Known>),
    /// It can't say, or must not.
    Unknown,
    /// There is no such upload.
    Gone,
}

fn md5_of_file(path: &std::path::Path) -> Result<HexDigest<16>> {
    let mut md5 = Md5::new();
    each_block(path, |bytes| {
        md5.update(bytes);
        Ok(())
    })?;
    Ok(HexDigest(md5.finalize().into()))
}

//! Putting an object: under a hidden name, looked at, then given its own.
//!
//! Each try goes on from what the tries before it have reached, so that a broken answer to the
//! last small request does not send a large file again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::url::Url;
use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method, Response, StatusCode};

use super::super::blocks::RowDigest;
use super::super::fault::Fault;
use super::super::{FileUpload, ObjectChecksum, ObjectInfo};
use super::body::{FileBody, Sending};
use super::caller::{Caller, Watch, is_absent};
use super::dav::{Abilities, Renamed, Renaming, give_name, partial, reason};
use super::look::{digest, digest_header, look};
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::{FileSummary, HexDigest};

/// Waits before each try to remove what a failed upload has left.
const SWEEP_WAITS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1500),
];

/// What is put.
pub(super) enum Content<'a> {
    File(FileUpload<'a>),
    Bytes(&'a str, Bytes),
}

/// How far an upload has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// Nothing that counts.
    Nothing,
    /// It lies whole under its hidden name.
    Sent,
    /// The hidden name is gone: it has its own.
    Named,
}

/// An upload of one object.
pub(super) struct Put<'a> {
    caller: &'a Caller,
    abilities: &'a Abilities,
    content: Content<'a>,
    target: Url,
    reached: Reached,
    /// Requests to rename since the content was sent.
    renames: u32,
    summary: Option<FileSummary>,
    /// Bytes that went over the network in all tries.
    sent: u64,
    /// Most bytes that any try has sent, and that were told of.
    told: AtomicU64,
    /// What stood under the final name before it was written to directly.
    before: Option<Option<ObjectInfo>>,
    /// The content was answered with 500, which says nothing.
    is_refused: bool,
}

impl<'a> Put<'a> {
    pub(super) fn new(
        caller: &'a Caller,
        abilities: &'a Abilities,
        content: Content<'a>,
        target: Url,
    ) -> Self {
        Self {
            caller,
            abilities,
            content,
            target,
            reached: Reached::Nothing,
            renames: 0,
            summary: None,
            sent: 0,
            told: AtomicU64::new(0),
            before: None,
            is_refused: false,
        }
    }

    /// Goes on with the upload to its end; returns what was sent, and all bytes that it took.
    ///
    /// # Errors
    /// The server does not answer, refuses, or has something else than was sent; the file can't
    /// be read, or is not what was expected.
    pub(super) async fn go_on(&mut self) -> Result<(FileSummary, u64), Fault> {
        self.abilities.find_out(self.caller, &self.target).await?;
        let hidden = partial(&self.target);
        if self.reached == Reached::Nothing && self.abilities.renaming() != Renaming::Missing {
            self.send(&hidden).await?;
            self.check(&hidden).await?;
            self.reached = Reached::Sent;
            self.renames = 0;
        }
        if self.reached == Reached::Sent {
            self.name(&hidden).await?;
        }
        if self.reached == Reached::Nothing {
            if self.before.is_none() {
                self.before = Some(look(self.caller, &self.target).await?);
            }
            let target = self.target.clone();
            self.send(&target).await?;
            self.reached = Reached::Named;
        }
        let summary = self.check(&self.target.clone()).await?;
        self.tell(summary.bytes);
        Ok((summary, self.sent))
    }

    /// Gives what was sent its own name.
    async fn name(&mut self, hidden: &Url) -> Result<(), Fault> {
        // Some servers first remove what has the final name, even if there is nothing to move: a
        // second request must not be sent where the first one has worked.
        if self.renames > 0 && look(self.caller, hidden).await?.is_none() {
            self.reached = Reached::Named;
            return Ok(());
        }
        self.renames += 1;
        match give_name(self.caller, self.abilities, hidden, &self.target).await? {
            Renamed::Done => self.reached = Reached::Named,
            Renamed::Refused(_) if self.abilities.renaming() != Renaming::Offered => {
                self.abilities.note_renaming(Renaming::Missing);
                remove(self.caller, hidden).await?;
                self.reached = Reached::Nothing;
            }
            Renamed::Refused(Fault::Lasting(error)) if self.renames > 1 => {
                self.reached = Reached::Nothing;
                return Err(Fault::Passing { error, wait: None });
            }
            Renamed::Refused(fault) => return Err(fault),
        }
        Ok(())
    }

    /// Returns the error in the server's best words.
    pub(super) async fn explain(&self, error: Error) -> Error {
        if self.is_refused && error.kind() == ErrorKind::Network {
            let reason = reason(self.caller, &self.target).await;
            return reason.map_or(error, Fault::into_error);
        }
        error
    }

    /// Removes what a failed upload has left, as far as the server lets it.
    pub(super) async fn tidy(&self) {
        if self.abilities.renaming() != Renaming::Missing {
            self.sweep(&partial(&self.target)).await;
            return;
        }
        // Written directly: what is there now may be the beginning of it, or what was there.
        let (Some(before), Ok(now)) = (&self.before, look(self.caller, &self.target).await) else {
            return;
        };
        if *before != now && now.is_some_and(|now| now.bytes != self.bytes()) {
            self.sweep(&self.target).await;
        }
    }

    /// Removes something. A server that has not noticed yet that the upload broke keeps it locked
    /// for a moment.
    async fn sweep(&self, url: &Url) {
        for wait in SWEEP_WAITS {
            tokio::time::sleep(wait).await;
            let removed = remove(self.caller, url).await;
            let is_asked_to_end = self.caller.shared.options.cancel.signal().is_some();
            match removed {
                Err(Fault::Passing { .. }) if !is_asked_to_end => {}
                _ => return,
            }
        }
    }

    fn bytes(&self) -> u64 {
        match &self.content {
            Content::File(upload) => upload.bytes,
            Content::Bytes(_, bytes) => bytes.len() as u64,
        }
    }

    /// Tells of bytes that are there, each once.
    fn tell(&self, bytes: u64) {
        let before = self.told.fetch_max(bytes, Ordering::Relaxed);
        if let Content::File(upload) = &self.content
            && bytes > before
        {
            (upload.advance)(bytes - before);
        }
    }

    /// Sends the content to a name, whose folder is made before.
    async fn send(&mut self, to: &Url) -> Result<(), Fault> {
        self.abilities.make_folders(self.caller, to).await?;
        let answer = self.send_once(to).await?;
        self.is_refused = answer.status() == StatusCode::INTERNAL_SERVER_ERROR;
        if !answer.status().is_success() {
            return Err(self.caller.refusal(&self.target, answer).await);
        }
        self.compare(digest(answer.headers()))
    }

    async fn send_once(&mut self, to: &Url) -> Result<Response, Fault> {
        let request = self.caller.request(Method::PUT, to);
        let request = request.header(CONTENT_TYPE, "application/octet-stream");
        let request = match self.known_digest() {
            Some(sha256) => {
                let value = digest_header(&sha256);
                let request = request.header("repr-digest", &value);
                request.header("content-digest", value)
            }
            None => request,
        };
        let upload = match &self.content {
            Content::Bytes(key, bytes) => {
                let mut digest = RowDigest::default();
                digest.update(bytes);
                self.summary = Some(digest.finish().finish(key, None, false));
                self.sent += bytes.len() as u64;
                return self.caller.send(to, request.body(bytes.clone())).await;
            }
            Content::File(upload) => *upload,
        };
        let sending = Arc::new(Sending::default());
        let mut body = FileBody::new(&upload, &self.caller.shared.room, &sending);
        let body = match upload.bytes {
            // Nobody would ask the stream for anything.
            0 => {
                let _ = body.next().await;
                Body::from(Bytes::new())
            }
            _ => Body::wrap_stream(body.stream()),
        };
        let request = request.header(CONTENT_LENGTH, upload.bytes).body(body);
        let watch = Watch {
            moved: &sending.taken,
            tell: &|bytes| self.tell(bytes),
        };
        let work = async {
            let answer = request.send().await;
            answer.map_err(|error| Fault::of_transport(self.target.as_str(), &error))
        };
        let answer = self.caller.attend(to, Some(watch), work).await;
        sending.end();
        self.sent += sending.taken.load(Ordering::Relaxed);
        match sending.outcome() {
            // A file that can't be read breaks the request; waiting won't mend it.
            Some(Err(error)) => return Err(Fault::Lasting(error)),
            Some(Ok(summary)) => self.summary = Some(summary),
            None => {
                if answer
                    .as_ref()
                    .is_ok_and(|answer| answer.status().is_success())
                {
                    let message = "the server says that it has all before it has got all";
                    return Err(Fault::integrity(self.target.as_str(), message));
                }
            }
        }
        match answer {
            Err(fault @ Fault::Passing { .. }) => Err(self.or_refusal(fault).await),
            other => other,
        }
    }

    /// A server that refuses may break the connection before its words are read: asks again,
    /// without a body.
    async fn or_refusal(&self, fault: Fault) -> Fault {
        let request = self.caller.request(Method::HEAD, &self.target);
        let Ok(answer) = self.caller.send(&self.target, request).await else {
            return fault;
        };
        match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                self.caller.refusal(&self.target, answer).await
            }
            _ => fault,
        }
    }

    /// Looks at what has arrived.
    async fn check(&mut self, at: &Url) -> Result<FileSummary, Fault> {
        let found = look(self.caller, at).await?;
        let bytes = self.bytes();
        let fault = match (found, &self.summary) {
            (Some(found), Some(summary)) if found.bytes == bytes => {
                let told = match found.checksum {
                    Some(ObjectChecksum::Sha256(sha256)) => Some(sha256),
                    _ => None,
                };
                let summary = summary.clone();
                match self.compare(told) {
                    Ok(()) => return Ok(summary),
                    Err(fault) => fault,
                }
            }
            (Some(found), _) => Fault::integrity(
                self.target.as_str(),
                format!(
                    "the server has {} bytes of {bytes} that were sent",
                    found.bytes
                ),
            ),
            (None, _) => Fault::integrity(
                self.target.as_str(),
                "the server has taken the file, but does not have it",
            ),
        };
        self.reached = Reached::Nothing;
        Err(fault)
    }

    /// Compares what the server tells of the content with what was sent.
    fn compare(&self, told: Option<HexDigest<32>>) -> Result<(), Fault> {
        let sent = self.summary.as_ref().and_then(|summary| summary.sha256);
        match (told, sent) {
            (Some(told), Some(sent)) if told != sent => Err(Fault::integrity(
                self.target.as_str(),
                format!("the server has bytes with SHA-256 {told}, {sent} was sent"),
            )),
            _ => Ok(()),
        }
    }

    /// Returns the digest, if it is known before the content is sent.
    fn known_digest(&self) -> Option<HexDigest<32>> {
        match &self.content {
            Content::File(upload) => upload.recorded.and_then(|recorded| recorded.sha256),
            Content::Bytes(_, bytes) => {
                let mut digest = RowDigest::default();
                digest.update(bytes);
                digest.finish().finish("", None, false).sha256
            }
        }
    }
}

/// Removes an object; says whether there was one.
///
/// # Errors
/// The server does not answer, or refuses.
pub(super) async fn remove(caller: &Caller, url: &Url) -> Result<bool, Fault> {
    let request = caller.request(Method::DELETE, url);
    let answer = caller.send(url, request).await?;
    let status = answer.status();
    if is_absent(status) {
        return Ok(false);
    }
    // 207 tells of parts that could not be removed.
    if status.is_success() && status != StatusCode::MULTI_STATUS {
        return Ok(true);
    }
    Err(caller.refusal(url, answer).await)
}

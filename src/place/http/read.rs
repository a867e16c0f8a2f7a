//! Reading an object; a stream that breaks is gone on with where it broke.

use ::url::Url;
use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, IF_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};

use super::super::ByteStream;
use super::super::fault::Fault;
use super::super::ranges::{Content, check_encoding, replaced};
use super::super::url::shown;
use super::caller::{Caller, is_absent, text};
use super::look::strong_tag;
use crate::error::{Error, ErrorKind, Place, Result};

/// An object that is being read.
struct Reading {
    caller: Caller,
    url: Url,
    answer: Option<Response>,
    /// Bytes that were handed on.
    offset: u64,
    /// Size, if the server told it.
    bytes: Option<u64>,
    tag: Option<String>,
    content: Content,
    is_over: bool,
}

/// Begins to read an object; nothing if there is none.
///
/// # Errors
/// The server does not answer, or refuses.
pub(super) async fn read(caller: Caller, url: Url) -> Result<Option<ByteStream>> {
    read_same(caller, url, None).await
}

/// Begins to read an object, which must be of the content `same`; nothing if there is none.
///
/// # Errors
/// The server does not answer, or refuses; the object is another one.
pub(super) async fn read_same(
    caller: Caller,
    url: Url,
    same: Option<&Content>,
) -> Result<Option<ByteStream>> {
    let (policy, cancel) = {
        let options = &caller.shared.options;
        (options.retry, options.cancel.clone())
    };
    let first = policy.run(&cancel, |_| {
        Box::pin(async {
            let answer = caller.send(&url, caller.request(Method::GET, &url)).await?;
            match answer.status() {
                StatusCode::OK => {
                    let found = Content::of(answer.headers());
                    if let Some(same) = same {
                        check_encoding(url.as_str(), answer.headers())?;
                        if !same.is_same(&found) {
                            return Err(Fault::Lasting(replaced(url.as_str())));
                        }
                    }
                    Ok(Some(answer))
                }
                status if is_absent(status) => Ok(None),
                _ => Err(caller.refusal(&url, answer).await),
            }
        })
    });
    let Some(answer) = first.await? else {
        return Ok(None);
    };
    let reading = Reading {
        bytes: length(&answer),
        tag: strong_tag(&answer),
        // Who does not say what it must be is content with a strong tag.
        content: same.cloned().unwrap_or_default(),
        answer: Some(answer),
        offset: 0,
        is_over: false,
        caller,
        url,
    };
    let blocks = futures_util::stream::unfold(reading, |mut reading| async {
        let next = reading.next().await?;
        Some((next, reading))
    });
    Ok(Some(blocks.boxed()))
}

fn length(answer: &Response) -> Option<u64> {
    text(answer.headers(), CONTENT_LENGTH.as_str())?
        .parse()
        .ok()
}

impl Reading {
    /// Returns the next bytes; nothing at the end, or after an error.
    async fn next(&mut self) -> Option<Result<Bytes>> {
        if self.is_over {
            return None;
        }
        let block = match self.answer.take() {
            Some(mut answer) => match block(&self.caller, &self.url, &mut answer).await {
                Ok(block) => {
                    self.answer = Some(answer);
                    self.ends_early(block.as_ref()).map_or(Ok(block), Err)
                }
                Err(fault) => Err(fault),
            },
            None => Ok(None),
        };
        let block = match block {
            Ok(block) => Ok(block),
            Err(Fault::Lasting(error)) => Err(error),
            Err(Fault::Passing { error, .. }) => {
                tracing::debug!("{error}; going on at byte {}", self.offset);
                self.go_on().await
            }
        };
        match &block {
            Ok(Some(bytes)) => self.offset += bytes.len() as u64,
            _ => self.is_over = true,
        }
        block.transpose()
    }

    fn ends_early(&self, block: Option<&Bytes>) -> Option<Fault> {
        let bytes = self.bytes.filter(|bytes| *bytes != self.offset)?;
        let message = format!("ends after {} bytes of {bytes}", self.offset);
        block
            .is_none()
            .then(|| Fault::network(self.url.as_str(), message))
    }

    /// Asks for the rest until some of it comes, and returns that.
    async fn go_on(&mut self) -> Result<Option<Bytes>> {
        let options = &self.caller.shared.options;
        let (policy, cancel) = (options.retry, options.cancel.clone());
        let this = &*self;
        let again = policy.run(&cancel, |_| {
            Box::pin(async move {
                let mut answer = this.ask_for_rest().await?;
                let first = this.first_block(&mut answer).await?;
                if let Some(fault) = this.ends_early(first.as_ref()) {
                    return Err(fault);
                }
                Ok((answer, first))
            })
        });
        let (answer, first) = again.await?;
        self.answer = Some(answer);
        Ok(first)
    }

    async fn ask_for_rest(&self) -> Result<Response, Fault> {
        let request = self.caller.request(Method::GET, &self.url);
        let request = request.header(RANGE, format!("bytes={}-", self.offset));
        let request = match &self.tag {
            Some(tag) => request.header(IF_RANGE, tag),
            None => request,
        };
        let answer = self.caller.send(&self.url, request).await?;
        match answer.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {}
            _ => return Err(self.caller.refusal(&self.url, answer).await),
        }
        let is_whole = answer.status() == StatusCode::OK;
        let bytes = match (is_whole, text(answer.headers(), CONTENT_RANGE.as_str())) {
            (true, _) => length(&answer),
            (false, range) => {
                let start = format!("bytes {}-", self.offset);
                if !range.is_some_and(|range| range.starts_with(&start)) {
                    let message = format!("asked for {start}, the server gives another part");
                    return Err(Fault::network(self.url.as_str(), message));
                }
                let all = range.and_then(|range| range.rsplit_once('/'));
                all.and_then(|(_, all)| all.parse().ok())
            }
        };
        let differ = |a: bool, b: bool| a && b;
        let is_other = differ(bytes.is_some() && self.bytes.is_some(), bytes != self.bytes)
            || differ(self.tag.is_some(), strong_tag(&answer) != self.tag)
            || !self.content.is_same(&Content::of(answer.headers()));
        if is_other {
            return Err(Fault::Lasting(
                Error::new(ErrorKind::Integrity, "changed while it was read")
                    .at(Place::file(shown(self.url.as_str())))
                    .hint("run the same command again when nobody writes there"),
            ));
        }
        Ok(answer)
    }

    /// Returns the first bytes that were not handed on yet: a server without ranges begins anew.
    async fn first_block(&self, answer: &mut Response) -> Result<Option<Bytes>, Fault> {
        let mut skip = match answer.status() {
            StatusCode::OK => self.offset,
            _ => 0,
        };
        loop {
            let Some(mut bytes) = block(&self.caller, &self.url, answer).await? else {
                return Ok(None);
            };
            let skipped = bytes.len().min(usize::try_from(skip).unwrap_or(usize::MAX));
            skip -= skipped as u64;
            let rest = bytes.split_off(skipped);
            if !rest.is_empty() {
                return Ok(Some(rest));
            }
        }
    }
}

/// Returns the next bytes of an answer; nothing at its end.
async fn block(caller: &Caller, url: &Url, answer: &mut Response) -> Result<Option<Bytes>, Fault> {
    caller
        .attend(url, None, async {
            let chunk = answer.chunk().await;
            chunk.map_err(|error| Fault::of_transport(url.as_str(), &error))
        })
        .await
}

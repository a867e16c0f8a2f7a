//! Objects read back: a stream that breaks goes on where it broke.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap};

use super::client::{Client, Request, tag_of};
use super::refusal::Failure;
use super::{is_missing, number};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::place::ByteStream;
use crate::place::fault::Fault;

/// An object on its way.
struct Download {
    client: Arc<Client>,
    key: String,
    /// Tells this object from others that may come under its key.
    tag: String,
    bytes: u64,
    at: u64,
    body: Option<BoxStream<'static, reqwest::Result<Bytes>>>,
    /// Breaks since something arrived.
    breaks: u32,
}

/// Reads an object; nothing if there is none.
pub(super) async fn get(client: &Arc<Client>, key: &str) -> Result<Option<ByteStream>> {
    let opened = client.retry(|_| Box::pin(open(client, key))).await?;
    let stream = |download| {
        futures_util::stream::unfold(Some(download), |download: Option<Download>| async move {
            let mut download = download?;
            match download.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(download))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    };
    Ok(opened.map(|download| stream(download).boxed()))
}

async fn open(client: &Arc<Client>, key: &str) -> Result<Option<Download>, Fault> {
    let request = Request::new(Method::GET, key);
    let opened = client.unless_cancelled(client.open(&request)).await?;
    let response = match opened {
        Ok(response) => response,
        Err(Failure::Refused(refusal)) if is_missing(&refusal) => return Ok(None),
        Err(failure) => return Err(failure.into()),
    };
    let headers = response.headers();
    let bytes = headers.get(CONTENT_LENGTH).and_then(number);
    let (Some(bytes), Some(tag)) = (bytes, tag_of(headers)) else {
        let url = client.shown_url(key);
        return Err(Fault::network(
            &url,
            "the store tells no size, or no tag (ETag)",
        ));
    };
    Ok(Some(Download {
        client: Arc::clone(client),
        key: key.to_owned(),
        tag,
        bytes,
        at: 0,
        body: Some(response.bytes_stream().boxed()),
        breaks: 0,
    }))
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let policy = self.client.shared.options.retry;
        while self.at < self.bytes {
            let reason = match self.read().await? {
                Some(Ok(bytes)) => {
                    self.at += bytes.len() as u64;
                    self.breaks = 0;
                    return Ok(Some(bytes));
                }
                Some(Err(error)) => {
                    Fault::of_transport(&self.client.shown_url(&self.key), &error).into_error()
                }
                None => self.ended_early(),
            };
            self.breaks += 1;
            if self.breaks >= policy.tries {
                return Err(reason);
            }
            let wait = policy.wait(self.breaks, None);
            tracing::debug!("{reason}; going on at byte {}", self.at);
            let client = Arc::clone(&self.client);
            client.unless_cancelled(tokio::time::sleep(wait)).await?;
            let (key, tag, at) = (self.key.as_str(), self.tag.as_str(), self.at);
            let rest = client
                .retry(|_| Box::pin(rest(&client, key, tag, at)))
                .await?;
            self.body = Some(rest);
        }
        Ok(None)
    }

    async fn read(&mut self) -> Result<Option<reqwest::Result<Bytes>>> {
        let client = Arc::clone(&self.client);
        match &mut self.body {
            Some(body) => client.unless_cancelled(body.next()).await,
            None => Ok(None),
        }
    }

    fn ended_early(&self) -> Error {
        let message = format!("the answer ended after {} of {} bytes", self.at, self.bytes);
        Fault::network(&self.client.shown_url(&self.key), message).into_error()
    }
}

/// Asks for what is missing of an object, if it still is the same.
async fn rest(
    client: &Client,
    key: &str,
    tag: &str,
    at: u64,
) -> Result<BoxStream<'static, reqwest::Result<Bytes>>, Fault> {
    let url = client.shown_url(key);
    let changed = || {
        Fault::Lasting(
            Error::new(ErrorKind::Integrity, "was replaced while it was read")
                .at(Place::file(url.clone()))
                .hint("read it again"),
        )
    };
    let request = Request::new(Method::GET, key)
        .header("range", &format!("bytes={at}-"))
        .header("if-match", &format!("\"{tag}\""));
    let response = match client.unless_cancelled(client.open(&request)).await? {
        Ok(response) => response,
        Err(Failure::Refused(refusal)) if matches!(refusal.status.as_u16(), 404 | 412 | 416) => {
            return Err(changed());
        }
        Err(failure) => return Err(failure.into()),
    };
    // Not all stores look at If-Match.
    if tag_of(response.headers()).is_some_and(|found| found != tag) {
        return Err(changed());
    }
    // Some stores give a range with 200.
    if begin_of(response.headers()) != Some(at) {
        return Err(Fault::network(
            &url,
            "the store sends another range than was asked for",
        ));
    }
    Ok(response.bytes_stream().boxed())
}

/// Returns where the range of an answer begins.
fn begin_of(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let range = range.trim().strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}

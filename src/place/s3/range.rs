//! Reading ranges of an object.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use reqwest::Method;

use super::client::{Client, Request};
use super::is_missing;
use super::refusal::Failure;
use crate::error::{Error, ErrorKind, Place};
use crate::place::fault::Fault;
use crate::place::ranges::{
    Content, RangeHead, RangeOfObject, RangedObject, range_header, replaced,
};
use crate::place::{Answer, ByteStream};

/// An object of a bucket.
#[derive(Debug)]
pub(in crate::place) struct S3Object {
    pub(super) client: Arc<Client>,
    pub(super) key: String,
}

impl RangedObject for S3Object {
    fn url(&self) -> String {
        self.client.shown_url(&self.key)
    }

    fn read<'a>(
        &'a self,
        range: Range<u64>,
        same: Option<&'a Content>,
    ) -> Answer<'a, Option<RangeOfObject>> {
        Box::pin(async move {
            let range = &range;
            let client = &self.client;
            client
                .retry(|_| Box::pin(async move { self.try_read(range, same).await }))
                .await
        })
    }

    fn stream<'a>(&'a self, _same: &'a Content) -> Answer<'a, Option<ByteStream>> {
        let error = Error::new(
            ErrorKind::ServerRefused,
            "the store gives no ranges of objects",
        )
        .at(Place::file(self.url()))
        .hint("fetch the file first");
        Box::pin(async move { Err(error) })
    }
}

impl S3Object {
    async fn try_read(
        &self,
        range: &Range<u64>,
        same: Option<&Content>,
    ) -> Result<Option<RangeOfObject>, Fault> {
        let (client, key) = (&self.client, self.key.as_str());
        let url = client.shown_url(key);
        let mut request = Request::new(Method::GET, key).header("range", &range_header(range));
        if let Some(tag) = same.and_then(|same| same.tag.as_deref()) {
            request = request.header("if-match", tag);
        }
        let mut answer = match client.unless_cancelled(client.open(&request)).await? {
            Ok(answer) => answer,
            Err(Failure::Refused(refusal)) if refusal.status.as_u16() == 412 => {
                return Err(Fault::Lasting(replaced(&url)));
            }
            // An object without bytes has no ranges.
            Err(Failure::Refused(refusal)) if refusal.status.as_u16() == 416 => {
                let seen = super::look(client, key).await.map_err(Fault::from)?;
                if seen.info.bytes > range.start {
                    return Err(refusal.fault());
                }
                let content = Content {
                    tag: seen.info.tag.map(|tag| format!("\"{tag}\"")),
                    modified: None,
                };
                return Ok(Some(RangeOfObject {
                    bytes: Bytes::new(),
                    has_ranges: true,
                    total: seen.info.bytes,
                    content,
                }));
            }
            Err(Failure::Refused(refusal)) if is_missing(&refusal) => return Ok(None),
            Err(failure) => return Err(failure.into()),
        };
        // Not all stores look at If-Match.
        let told = (answer.status(), answer.headers());
        let (head, found) = RangeHead::of_same(&url, range, told, same)?;
        if head.is_too_much(range) {
            return Ok(Some(head.with(Bytes::new(), false, found)));
        }
        let mut bytes = BytesMut::new();
        while (bytes.len() as u64) < head.length {
            let chunk = client.unless_cancelled(answer.chunk()).await?;
            match chunk.map_err(|error| Fault::of_transport(&url, &error))? {
                Some(chunk) => bytes.extend_from_slice(&chunk),
                None => break,
            }
        }
        if bytes.len() as u64 != head.length {
            let message = format!("ends after {} bytes of {}", bytes.len(), head.length);
            return Err(Fault::network(&url, message));
        }
        Ok(Some(head.with(bytes.freeze(), true, found)))
    }
}

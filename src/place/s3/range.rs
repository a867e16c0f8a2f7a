//! Reading ranges of an object.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use reqwest::Method;

use super::client::{Client, Request, tag_of};
use super::is_missing;
use super::refusal::Failure;
use crate::place::fault::Fault;
use crate::place::ranges::{RangeHead, RangeOfObject, RangedObject, range_header, replaced};
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
        tag: Option<&'a str>,
    ) -> Answer<'a, Option<RangeOfObject>> {
        Box::pin(async move {
            let range = &range;
            let client = &self.client;
            client
                .retry(|_| Box::pin(async move { self.try_read(range, tag).await }))
                .await
        })
    }

    fn stream(&self) -> Answer<'_, Option<ByteStream>> {
        Box::pin(super::download::get(&self.client, &self.key))
    }
}

impl S3Object {
    async fn try_read(
        &self,
        range: &Range<u64>,
        tag: Option<&str>,
    ) -> Result<Option<RangeOfObject>, Fault> {
        let (client, key) = (&self.client, self.key.as_str());
        let url = client.shown_url(key);
        let mut request = Request::new(Method::GET, key).header("range", &range_header(range));
        if let Some(tag) = tag {
            request = request.header("if-match", &format!("\"{tag}\""));
        }
        let mut answer = match client.unless_cancelled(client.open(&request)).await? {
            Ok(answer) => answer,
            Err(Failure::Refused(refusal)) if refusal.status.as_u16() == 412 => {
                return Err(replaced(&url));
            }
            // An object without bytes has no ranges.
            Err(Failure::Refused(refusal)) if refusal.status.as_u16() == 416 => {
                let head = RangeHead::of(&url, range, refusal.status, &refusal.headers)?;
                let found = tag_of(&refusal.headers);
                return Ok(Some(head.with(Bytes::new(), true, found)));
            }
            Err(Failure::Refused(refusal)) if is_missing(&refusal) => return Ok(None),
            Err(failure) => return Err(failure.into()),
        };
        let head = RangeHead::of(&url, range, answer.status(), answer.headers())?;
        let found = tag_of(answer.headers());
        // Not all stores look at If-Match.
        if tag.is_some() && found.as_deref() != tag {
            return Err(replaced(&url));
        }
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

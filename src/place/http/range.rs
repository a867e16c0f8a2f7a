//! Reading ranges of what a URL names.

use std::ops::Range;

use ::url::Url;
use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, StatusCode};

use super::super::fault::Fault;
use super::super::ranges::{Content, RangeHead, RangeOfObject, RangedObject, range_header};
use super::super::{Answer, ByteStream, shown_url};
use super::caller::{Caller, is_absent};

/// What a URL names, signature and all.
#[derive(Debug)]
pub(in super::super) struct HttpObject {
    pub(super) caller: Caller,
    pub(super) url: Url,
}

impl RangedObject for HttpObject {
    fn url(&self) -> String {
        shown_url(self.url.as_str())
    }

    fn read<'a>(
        &'a self,
        range: Range<u64>,
        same: Option<&'a Content>,
    ) -> Answer<'a, Option<RangeOfObject>> {
        Box::pin(async move {
            let options = &self.caller.shared.options;
            let range = &range;
            let tries = options.retry.run(&options.cancel, |_| {
                Box::pin(async move { self.try_read(range, same).await })
            });
            tries.await
        })
    }

    fn stream<'a>(&'a self, same: &'a Content) -> Answer<'a, Option<ByteStream>> {
        let (caller, url) = (self.caller.clone(), self.url.clone());
        Box::pin(super::read::read_same(caller, url, Some(same)))
    }
}

impl HttpObject {
    async fn try_read(
        &self,
        range: &Range<u64>,
        same: Option<&Content>,
    ) -> Result<Option<RangeOfObject>, Fault> {
        let (caller, url) = (&self.caller, &self.url);
        let request = caller.request(Method::GET, url);
        let request = request.header(RANGE, range_header(range));
        let mut answer = caller.send(url, request).await?;
        if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE
            && !answer.headers().contains_key(CONTENT_RANGE)
        {
            // That may be for want of any bytes; how many there are shows without a range.
            answer = caller.send(url, caller.request(Method::GET, url)).await?;
        }
        match answer.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {}
            status if is_absent(status) => return Ok(None),
            _ => return Err(caller.refusal(url, answer).await),
        }
        let told = (answer.status(), answer.headers());
        let (head, found) = RangeHead::of_same(url.as_str(), range, told, same)?;
        if head.is_too_much(range) {
            return Ok(Some(head.with(Bytes::new(), false, found)));
        }
        let mut bytes = BytesMut::new();
        while (bytes.len() as u64) < head.length {
            let chunk = caller.attend(url, None, async {
                let chunk = answer.chunk().await;
                chunk.map_err(|error| Fault::of_transport(url.as_str(), &error))
            });
            match chunk.await? {
                Some(chunk) => bytes.extend_from_slice(&chunk),
                None => break,
            }
        }
        if bytes.len() as u64 != head.length {
            let message = format!("ends after {} bytes of {}", bytes.len(), head.length);
            return Err(Fault::network(url.as_str(), message));
        }
        Ok(Some(head.with(bytes.freeze(), true, found)))
    }
}

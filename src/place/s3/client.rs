//! Requests to an S3 bucket: signed, sent, and their answers looked at.
//!
//! `object_store` knows the keys and makes the signatures. The requests themselves are made here,
//! for each has headers, and each answer says things, that its interface has no room for: MD5 and
//! CRC of what is sent, how long to wait, which part the store has, why it refuses.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::url::Url;
use bytes::{Bytes, BytesMut};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use futures_util::future::BoxFuture;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use reqwest::header::{CONTENT_LENGTH, ETAG, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use sha2::{Digest, Sha256};

use super::answers::{plain_tag, read_error};
use super::refusal::{Failure, Refusal};
use super::settings::Settings;
use super::sums::{Payload, Sums};
use crate::error::{Error, ErrorKind, Place as ErrorPlace, Result};
use crate::exchange::HexDigest;
use crate::place::PlaceUrl;
use crate::place::fault::Fault;
use crate::place::network::Shared;
use crate::place::url::shown;
use crate::resources::Cancel;

/// The header of the checksum of what is sent, and of what is stored.
pub(super) const CRC_HEADER: &str = "x-amz-checksum-crc64nvme";
/// Longest answer that is read, other than an object.
const LONGEST_ANSWER: usize = 8 << 20;
/// The slowest line that a body of some MiB can be sent over, in bytes a second.
const SLOWEST_LINE: u64 = 32 << 10;
/// How often is looked whether somebody wants an end.
const CANCEL_TIME: Duration = Duration::from_millis(100);

/// Speaks to one bucket.
pub(super) struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) settings: Settings,
    place: PlaceUrl,
    /// What keys begin with: empty, or ended by `/`.
    prefix: String,
    /// The store did not want checksums, but took the same request without them.
    refuses_checksums: AtomicBool,
}

/// A request about one object.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// Key in the place.
    pub(super) key: &'a str,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Of the body, if somebody knows it.
    pub(super) sha256: Option<[u8; 32]>,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl<'a> Request<'a> {
    pub(super) fn new(method: Method, key: &'a str) -> Self {
        Self {
            method,
            key,
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            sha256: None,
        }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Adds a header whose value is plain text.
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        // Values are base64, numbers and tags; what is odd in a tag can't be asked for.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// Adds a body that the store is to check.
    pub(super) fn checked_body(mut self, body: Bytes, sums: &Sums) -> Self {
        self.body = body;
        self.sha256 = sums.sha256;
        self.header("content-md5", &BASE64.encode(&sums.md5))
            .header(CRC_HEADER, &crc_text(sums.crc))
    }
}

/// A checksum as the headers have it.
pub(super) fn crc_text(crc: u64) -> String {
    BASE64.encode(&crc.to_be_bytes())
}

impl Client {
    pub(super) fn new(bucket: &str, prefix: &str, settings: Settings, shared: Arc<Shared>) -> Self {
        Self {
            refuses_checksums: AtomicBool::new(!settings.has_checksums),
            settings,
            shared,
            place: PlaceUrl::S3 {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
            },
            prefix: prefix.to_owned(),
        }
    }

    /// The URL of an object as users see it.
    pub(super) fn shown_url(&self, key: &str) -> String {
        self.place.object(key)
    }

    /// The key in the bucket.
    pub(super) fn whole_key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub(super) fn cancel(&self) -> &Cancel {
        &self.shared.options.cancel
    }

    /// Says whether the store is to keep checksums.
    pub(super) fn has_checksums(&self) -> bool {
        !self.refuses_checksums.load(Ordering::Relaxed)
    }

    /// Tries until it works, as the options say.
    pub(super) async fn retry<'a, T>(
        &self,
        work: impl FnMut(u32) -> BoxFuture<'a, Result<T, Fault>> + Send,
    ) -> Result<T> {
        self.shared.options.retry.run(self.cancel(), work).await
    }

    /// Waits for work unless somebody asks for an end.
    pub(super) async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(CANCEL_TIME, work.as_mut()).await {
                Ok(done) => return Ok(done),
                Err(_) => self.cancel().check()?,
            }
        }
    }

    /// Sends a request and reads the answer.
    ///
    /// A store that does not know the checksums of its request is asked again without them; if it
    /// likes that better, it is not bothered with checksums any more.
    pub(super) async fn send(&self, mut request: Request<'_>) -> Result<Answer, Failure> {
        let is_about_checksums = |name: &HeaderName| {
            let name = name.as_str();
            name.starts_with("x-amz-checksum-") && name != "x-amz-checksum-mode"
        };
        let checksums: Vec<HeaderName> = request
            .headers
            .keys()
            .filter(|name| is_about_checksums(name))
            .cloned()
            .collect();
        if checksums.is_empty() || self.has_checksums() {
            let refusal = match self.try_send(&request).await {
                Err(Failure::Refused(refusal)) if refusal.may_be_of_checksums() => refusal,
                other => return other,
            };
            if checksums.is_empty() {
                return Err(Failure::Refused(refusal));
            }
        }
        for name in checksums {
            request.headers.remove(name);
        }
        let answer = self.try_send(&request).await?;
        if self.has_checksums() {
            self.refuses_checksums.store(true, Ordering::Relaxed);
            tracing::debug!(
                "{}: the store keeps no CRC-64/NVME; MD5 it is",
                shown(&self.shown_url(request.key))
            );
        }
        Ok(answer)
    }

    async fn try_send(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let work = async {
            let response = self.open(request).await?;
            let headers = response.headers().clone();
            let body = self.read(request.key, response).await?;
            // Stores may notice after 200 that they failed.
            if let Some(answer) = read_error(&body) {
                return Err(Failure::Refused(Box::new(Refusal {
                    url: self.shown_url(request.key),
                    status: StatusCode::OK,
                    headers,
                    answer,
                })));
            }
            Ok(Answer { headers, body })
        };
        self.unless_cancelled(work).await?
    }

    /// Sends a request; its answer is a success that is still to be read.
    pub(super) async fn open(&self, request: &Request<'_>) -> Result<reqwest::Response, Failure> {
        let url = self.shown_url(request.key);
        let response = self.begin(request, &url).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let headers = response.headers().clone();
        // What can't be read of an error would not have said more than its status.
        let body = self.read(request.key, response).await.unwrap_or_default();
        Err(Failure::Refused(Box::new(Refusal {
            url,
            status,
            headers,
            answer: read_error(&body).unwrap_or_default(),
        })))
    }

    async fn begin(
        &self,
        request: &Request<'_>,
        shown_url: &str,
    ) -> Result<reqwest::Response, Fault> {
        let url = self.url(request)?;
        let headers = self.signed_headers(request, &url, shown_url).await?;
        let mut sent = reqwest::Request::new(request.method.clone(), url);
        *sent.headers_mut() = headers;
        if !request.body.is_empty() {
            *sent.body_mut() = Some(request.body.clone().into());
        } else if matches!(request.method, Method::PUT | Method::POST) {
            sent.headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        // A read timeout counts from the beginning, so slow lines get time for what they send.
        let client = match request.body.len() as u64 {
            0 => &self.shared.client,
            bytes => {
                let sending = Duration::from_secs(bytes / SLOWEST_LINE);
                *sent.timeout_mut() = Some(self.shared.options.timeout + sending);
                &self.shared.unhurried
            }
        };
        client.execute(sent).await.map_err(|error| {
            let asked = format!(" (asked {})", shown(&self.settings.endpoint));
            match Fault::of_transport(shown_url, &error) {
                Fault::Passing { error, wait } => Fault::Passing {
                    error: error.add_message(&asked),
                    wait,
                },
                Fault::Lasting(error) => Fault::Lasting(error.add_message(&asked)),
            }
        })
    }

    fn url(&self, request: &Request<'_>) -> Result<Url> {
        // What follows `s3://bucket` is encoded just as signatures want it.
        let object = self.shown_url(request.key);
        let path = object.splitn(4, '/').nth(3).unwrap_or_default();
        let text = match request.key {
            "" => self.settings.endpoint.clone(),
            _ => format!("{}/{path}", self.settings.endpoint),
        };
        let mut url = Url::parse(&text)
            .map_err(|error| Error::usage(format!("'{}' is not a URL: {error}", shown(&text))))?;
        if !request.query.is_empty() {
            let query: Vec<String> = request
                .query
                .iter()
                .map(|(name, value)| format!("{name}={}", percent_encoded_all(value)))
                .collect();
            url.set_query(Some(&query.join("&")));
        }
        Ok(url)
    }

    /// Returns the headers of a request with its signature among them.
    async fn signed_headers(
        &self,
        request: &Request<'_>,
        url: &Url,
        shown_url: &str,
    ) -> Result<HeaderMap, Fault> {
        if !self.settings.is_signed {
            return Ok(request.headers.clone());
        }
        let credential = self.credential(shown_url).await?;
        let unsigned = |error: &dyn fmt::Display| {
            Error::new(ErrorKind::Internal, format!("signing a request: {error}"))
        };
        let mut draft = HttpRequest::new(HttpRequestBody::empty());
        *draft.method_mut() = request.method.clone();
        *draft.uri_mut() = url.as_str().parse().map_err(|error| unsigned(&error))?;
        *draft.headers_mut() = request.headers.clone();
        let sha256 = match (&request.sha256, request.body.is_empty()) {
            (Some(sha256), _) => Some(*sha256),
            (None, true) => None,
            (None, false) => Some(Sha256::digest(&request.body).into()),
        };
        let is_signed = self.settings.payload == Payload::Signed || request.body.is_empty();
        AwsAuthorizer::new(&credential, "s3", &self.settings.region)
            .with_sign_payload(is_signed)
            .with_request_payer(self.settings.is_requester_payer)
            .try_authorize(&mut draft, sha256.as_ref().map(<[u8; 32]>::as_slice))
            .map_err(|error| unsigned(&error))?;
        Ok(std::mem::take(draft.headers_mut()))
    }

    /// Returns the keys of now.
    pub(super) async fn credential(&self, shown_url: &str) -> Result<Arc<AwsCredential>, Fault> {
        let missing = |reason: String| {
            Error::new(ErrorKind::ServerRefused, reason)
                .at(ErrorPlace::file(shown(shown_url)))
                .hint(
                    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; \
                     skyprep stage --help tells where keys may stand",
                )
        };
        let found = self.settings.store.credentials().get_credential().await;
        let credential = found.map_err(|error| {
            tracing::debug!("asking for keys: {error}");
            missing("no keys for S3 were found".to_owned())
        })?;
        // They become headers.
        let is_plain = |text: &str| text.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
        let token = credential.token.as_deref().unwrap_or_default();
        if !is_plain(&credential.key_id) || !is_plain(token) {
            return Err(missing("the keys for S3 hold odd characters".to_owned()).into());
        }
        Ok(credential)
    }

    async fn read(&self, key: &str, response: reqwest::Response) -> Result<Bytes, Fault> {
        let mut response = response;
        let mut body = BytesMut::new();
        let url = || self.shown_url(key);
        while let Some(bytes) = response
            .chunk()
            .await
            .map_err(|error| Fault::of_transport(&url(), &error))?
        {
            body.extend_from_slice(&bytes);
            if body.len() > LONGEST_ANSWER {
                return Err(Fault::network(&url(), "the answer has no end"));
            }
        }
        Ok(body.freeze())
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.place)
    }
}

/// Escapes all that is not plain, as signatures want it of what stands in a query.
fn percent_encoded_all(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The tag of what a header is about, without quotes.
pub(super) fn tag_of(headers: &HeaderMap) -> Option<String> {
    let tag = plain_tag(headers.get(ETAG)?.to_str().ok()?);
    Some(tag).filter(|tag| !tag.is_empty())
}

/// The MD5 that a tag is, if it is one: stores that encrypt with other keys than their own have
/// tags that only look so.
pub(super) fn md5_of(tag: &str, headers: &HeaderMap) -> Option<HexDigest<16>> {
    let kind = headers.get("x-amz-server-side-encryption");
    let has_kms = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"aws:"));
    let is_customers = headers.contains_key("x-amz-server-side-encryption-customer-algorithm");
    if has_kms || is_customers || tag.len() != 32 {
        return None;
    }
    let md5 = HEXLOWER_PERMISSIVE.decode(tag.as_bytes()).ok()?;
    Some(HexDigest(md5.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_md5_where_they_look_so_and_nothing_is_encrypted() {
        let mut headers = HeaderMap::new();
        let tag = "5D41402abc4b2a76b9719d911017c592";
        headers.insert(ETAG, format!("\"{tag}\"").parse().unwrap());
        assert_eq!(tag_of(&headers).as_deref(), Some(tag));
        let md5 = md5_of(tag, &headers).unwrap();
        assert_eq!(md5.to_string(), tag.to_ascii_lowercase());
        assert!(md5_of(&format!("{tag}-2"), &headers).is_none());
        assert!(md5_of(&tag.replace('5', "x"), &headers).is_none());
        let name = "x-amz-server-side-encryption";
        headers.insert(name, HeaderValue::from_static("AES256"));
        assert!(md5_of(tag, &headers).is_some());
        headers.insert(name, HeaderValue::from_static("aws:kms"));
        assert!(md5_of(tag, &headers).is_none());
    }

    #[test]
    fn queries_are_escaped_as_signatures_want_them() {
        assert_eq!(
            percent_encoded_all("a/b+~ \u{e4}="),
            "a%2Fb%2B~%20%C3%A4%3D"
        );
    }
}

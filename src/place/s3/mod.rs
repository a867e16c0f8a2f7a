//! S3 and compatible stores.
//!
//! Small objects go by one request, large ones in parts; both show under their names only when
//! they are whole. Each request tells the MD5 of what it brings, which all stores check, and its
//! CRC-64/NVME, which newer ones keep with the object.

mod answers;
mod client;
mod download;
mod multipart;
mod range;
mod refusal;
mod settings;
mod sums;
mod upload;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_store::path::Path as StorePath;
use object_store::signer::Signer;
use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, HeaderMap};

use self::client::{CRC_HEADER, Client, Request, md5_of, tag_of};
use self::refusal::{Failure, Refusal};
use self::settings::Settings;
use super::fault::Fault;
use super::network::Shared;
use super::{
    Answer, ByteStream, FileUpload, ObjectChecksum, ObjectInfo, OpenUpload, Place, Stored,
};
use crate::error::{Error, ErrorKind, Place as ErrorPlace, Result};
use crate::exchange::HexDigest;

/// Longest time that S3 signs URLs for.
const LONGEST_SIGNATURE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Part of a bucket.
#[derive(Debug)]
pub(super) struct S3Place {
    client: Arc<Client>,
    /// The bucket is there, for it was heard of.
    has_bucket: AtomicBool,
    has_warned: AtomicBool,
}

impl S3Place {
    /// Reads the settings; nothing is asked of the store yet.
    ///
    /// # Errors
    /// The settings can't be used.
    pub(super) fn new(bucket: &str, prefix: &str, shared: Arc<Shared>) -> Result<Self> {
        let given = shared.options.credentials.s3_of(bucket);
        let settings = Settings::read(bucket, &given, shared.client.clone())?;
        Ok(Self {
            client: Arc::new(Client::new(bucket, prefix, settings, shared)),
            has_bucket: AtomicBool::new(false),
            has_warned: AtomicBool::new(false),
        })
    }

    /// Returns an object, to be read by ranges.
    pub(super) fn object(&self, key: String) -> range::S3Object {
        let client = Arc::clone(&self.client);
        range::S3Object { client, key }
    }

    async fn look(&self, key: &str) -> Result<Option<ObjectInfo>, Fault> {
        let refusal = match look(&self.client, key).await {
            Ok(found) => {
                self.has_bucket.store(true, Ordering::Relaxed);
                return Ok(Some(found.info));
            }
            Err(Failure::Refused(refusal)) => refusal,
            Err(Failure::Fault(fault)) => return Err(fault),
        };
        let is_missing = refusal.status.as_u16() == 404;
        if is_missing && self.has_bucket.load(Ordering::Relaxed) {
            return Ok(None);
        }
        // Answers to HEAD have no words. Whether it is the object that is missing or the bucket,
        // and what is wrong with the keys, only GET tells.
        self.must_be_allowed(key).await?;
        if is_missing {
            self.has_bucket.store(true, Ordering::Relaxed);
            return Ok(None);
        }
        Err(refusal.fault())
    }

    async fn must_be_allowed(&self, key: &str) -> Result<(), Fault> {
        let request = Request::new(Method::GET, key);
        let opened = self.client.unless_cancelled(self.client.open(&request));
        match opened.await? {
            Err(Failure::Refused(refusal)) if !is_missing(&refusal) => Err(refusal.fault()),
            Err(Failure::Fault(fault)) => Err(fault),
            _ => Ok(()),
        }
    }

    async fn sign(&self, key: &str, valid: Duration) -> Result<(String, SystemTime)> {
        let url = self.client.shown_url(key);
        let usage = |message: &str| Error::usage(message).at(ErrorPlace::file(url.clone()));
        if valid > LONGEST_SIGNATURE || valid < Duration::from_secs(1) {
            return Err(usage("signed URLs can live from one second to seven days"));
        }
        if !self.client.settings.is_signed {
            return Err(usage(
                "signed URLs need keys, but aws_skip_signature is set",
            ));
        }
        let credential = self.client.credential(&url).await;
        let is_temporary = credential.map_err(Fault::into_error)?.token.is_some();
        if is_temporary && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the keys for {url} are temporary: URLs signed with them end when the keys do, \
                 maybe before the time that was asked for"
            );
        }
        let path = StorePath::parse(self.client.whole_key(key))
            .map_err(|_| usage("the key holds characters that no URL can"))?;
        // Signatures are dated in whole seconds.
        let valid = Duration::from_secs(valid.as_secs());
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = Duration::from_secs(since_epoch.unwrap_or_default().as_secs());
        let store = &self.client.settings.store;
        let signed = store.signed_url(Method::GET, &path, valid).await;
        let signed = signed.map_err(|_| {
            Error::new(ErrorKind::Internal, "the URL can't be signed")
                .at(ErrorPlace::file(url.clone()))
        })?;
        Ok((signed.into(), SystemTime::UNIX_EPOCH + now + valid))
    }
}

impl Place for S3Place {
    fn url(&self, key: &str) -> String {
        self.client.shown_url(key)
    }

    fn put_file<'a>(&'a self, upload: FileUpload<'a>) -> Answer<'a, Stored> {
        Box::pin(upload::put_file(&self.client, upload))
    }

    fn put_bytes<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, ()> {
        Box::pin(upload::put_bytes(&self.client, key, bytes))
    }

    fn head<'a>(&'a self, key: &'a str) -> Answer<'a, Option<ObjectInfo>> {
        Box::pin(async move { self.client.retry(|_| Box::pin(self.look(key))).await })
    }

    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<ByteStream>> {
        Box::pin(download::get(&self.client, key))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            // Stores say the same whether there was something or not.
            let mut was_there = false;
            if self.head(key).await?.is_some() {
                was_there = true;
                let client = &self.client;
                client
                    .retry(|_| {
                        Box::pin(async move {
                            let answer = client.send(Request::new(Method::DELETE, key)).await;
                            match answer {
                                Err(Failure::Refused(refusal)) if is_missing(&refusal) => Ok(()),
                                answer => answer.map(drop).map_err(Fault::from),
                            }
                        })
                    })
                    .await?;
            }
            Ok(was_there)
        })
    }

    fn forget<'a>(&'a self, key: &'a str, open: &'a OpenUpload) -> Answer<'a, ()> {
        Box::pin(multipart::abort(&self.client, key, &open.id))
    }

    fn presign<'a>(&'a self, key: &'a str, valid: Duration) -> Answer<'a, (String, SystemTime)> {
        Box::pin(self.sign(key, valid))
    }
}

/// What a store has under a key.
struct Seen {
    info: ObjectInfo,
    /// Of the whole object, if the tag is that.
    md5: Option<HexDigest<16>>,
}

/// Asks what a store has under a key.
async fn look(client: &Client, key: &str) -> Result<Seen, Failure> {
    let request = Request::new(Method::HEAD, key).header("x-amz-checksum-mode", "ENABLED");
    let response = client.unless_cancelled(client.open(&request)).await??;
    let headers = response.headers();
    let url = client.shown_url(key);
    let length = headers.get(CONTENT_LENGTH).and_then(number);
    let (Some(bytes), Some(tag)) = (length, tag_of(headers)) else {
        return Err(Fault::network(&url, "the store tells no size, or no tag (ETag)").into());
    };
    Ok(Seen {
        md5: md5_of(&tag, headers),
        info: ObjectInfo {
            bytes,
            checksum: checksum_of(headers),
            tag: Some(tag),
        },
    })
}

fn number(value: &reqwest::header::HeaderValue) -> Option<u64> {
    value.to_str().ok()?.trim().parse().ok()
}

/// Says whether a store has nothing under that key.
fn is_missing(refusal: &Refusal) -> bool {
    refusal.status.as_u16() == 404 && !refusal.is("NoSuchBucket")
}

/// The checksum of the whole object that an answer tells. Checksums of checksums end in `-` and
/// the number of parts, so they are not taken for one.
fn checksum_of(headers: &HeaderMap) -> Option<ObjectChecksum> {
    fn decoded<const N: usize>(headers: &HeaderMap, name: &str) -> Option<[u8; N]> {
        let text = headers.get(name)?.as_bytes();
        data_encoding::BASE64.decode(text).ok()?.try_into().ok()
    }
    if let Some(crc) = decoded(headers, CRC_HEADER) {
        return Some(ObjectChecksum::Crc64Nvme(u64::from_be_bytes(crc)));
    }
    let sha256 = decoded(headers, "x-amz-checksum-sha256")?;
    Some(ObjectChecksum::Sha256(HexDigest(sha256)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_of_whole_objects_are_read() {
        let of = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            checksum_of(&headers)
        };
        let crc = ObjectChecksum::Crc64Nvme(0xae8b_1486_0a79_9888);
        let text = client::crc_text(0xae8b_1486_0a79_9888);
        assert_eq!(of(CRC_HEADER, &text), Some(crc));
        assert_eq!(of(CRC_HEADER, &format!("{text}-2")), None);
        assert_eq!(of(CRC_HEADER, "rRO7Ng=="), None);
        let sha256 = data_encoding::BASE64.encode(&[7; 32]);
        let found = of("x-amz-checksum-sha256", &sha256);
        assert_eq!(found, Some(ObjectChecksum::Sha256(HexDigest([7; 32]))));
    }
}

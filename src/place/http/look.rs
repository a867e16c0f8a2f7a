//! What an HTTP server says of an object: size, tag, digest.

use ::url::Url;
use data_encoding::BASE64;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, RANGE};
use reqwest::{Method, Response, StatusCode};

use super::super::fault::Fault;
use super::super::{ObjectChecksum, ObjectInfo};
use super::caller::{Caller, is_absent, text};
use crate::exchange::HexDigest;

/// Asks the server for a digest (RFC 9530); few have one.
const WANT_DIGEST: &str = "want-repr-digest";

/// Asks for size, tag and digest of an object; nothing if there is none.
pub(super) async fn look(caller: &Caller, url: &Url) -> Result<Option<ObjectInfo>, Fault> {
    let request = caller.request(Method::HEAD, url);
    let request = request.header(WANT_DIGEST, "sha-256=9");
    let answer = caller.send(url, request).await?;
    let status = answer.status();
    if is_absent(status) {
        return Ok(None);
    }
    if status == StatusCode::OK
        && let Some(bytes) = number(text(answer.headers(), CONTENT_LENGTH.as_str()))
    {
        return Ok(Some(info(bytes, answer.headers())));
    }
    match status {
        StatusCode::OK | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            look_by_get(caller, url).await
        }
        _ => Err(caller.refusal(url, answer).await),
    }
}

/// Asks for the first byte, where HEAD tells nothing.
async fn look_by_get(caller: &Caller, url: &Url) -> Result<Option<ObjectInfo>, Fault> {
    let request = caller.request(Method::GET, url).header(RANGE, "bytes=0-0");
    let answer = caller.send(url, request).await?;
    let headers = answer.headers();
    let bytes = match answer.status() {
        status if is_absent(status) => return Ok(None),
        StatusCode::OK => number(text(headers, CONTENT_LENGTH.as_str())),
        // An empty object has no first byte.
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
            let range = text(headers, CONTENT_RANGE.as_str());
            range.and_then(|range| number(range.rsplit_once('/').map(|(_, all)| all)))
        }
        _ => return Err(caller.refusal(url, answer).await),
    };
    let info = bytes.map(|bytes| info(bytes, headers));
    let silent = || Fault::network(url.as_str(), "the server tells no size, expected one");
    Some(info.ok_or_else(silent)).transpose()
}

fn number(text: Option<&str>) -> Option<u64> {
    text?.parse().ok()
}

fn info(bytes: u64, headers: &HeaderMap) -> ObjectInfo {
    ObjectInfo {
        bytes,
        checksum: digest(headers).map(ObjectChecksum::Sha256),
        tag: tag(headers),
    }
}

/// Returns the tag of an answer, without quotes.
fn tag(headers: &HeaderMap) -> Option<String> {
    let tag = text(headers, ETAG.as_str())?;
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    Some(tag.trim_matches('"').to_owned()).filter(|tag| !tag.is_empty())
}

/// Returns what identifies the content of an answer for `If-Range`: a strong tag, or nothing.
pub(super) fn strong_tag(answer: &Response) -> Option<String> {
    let tag = text(answer.headers(), ETAG.as_str())?;
    tag.starts_with('"').then(|| tag.to_owned())
}

/// Returns the SHA-256 that an answer tells of the whole object: RFC 9530, or RFC 3230 before it.
pub(super) fn digest(headers: &HeaderMap) -> Option<HexDigest<32>> {
    let told = ["repr-digest", "digest"].into_iter().find_map(|name| {
        let list = text(headers, name)?;
        list.split(',').find_map(|member| {
            let (algorithm, value) = member.trim().split_once('=')?;
            let value = value.trim().trim_matches(':');
            algorithm
                .eq_ignore_ascii_case("sha-256")
                .then(|| value.to_owned())
        })
    })?;
    let bytes = BASE64.decode(told.as_bytes()).ok()?;
    Some(HexDigest(bytes.try_into().ok()?))
}

/// Returns a SHA-256 as `Repr-Digest` and `Content-Digest` want it.
pub(super) fn digest_header(sha256: &HexDigest<32>) -> String {
    format!("sha-256=:{}:", BASE64.encode(&sha256.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_and_tags_are_found() {
        let sha256 = HexDigest([7; 32]);
        let mut headers = HeaderMap::new();
        assert_eq!(digest(&headers), None);
        let value = format!("md5=:AAAA:, {}", digest_header(&sha256));
        headers.insert("repr-digest", value.parse().unwrap());
        assert_eq!(digest(&headers), Some(sha256));
        headers.clear();
        let value = format!("SHA-256={}", BASE64.encode(&[7; 32]));
        headers.insert("digest", value.parse().unwrap());
        assert_eq!(digest(&headers), Some(sha256));
        headers.insert("digest", "SHA-256=odd".parse().unwrap());
        assert_eq!(digest(&headers), None);
        headers.insert(ETAG, "W/\"a-1\"".parse().unwrap());
        assert_eq!(tag(&headers).as_deref(), Some("a-1"));
    }
}

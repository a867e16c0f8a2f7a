//! Objects that are read by ranges of their bytes: for whoever needs parts of a large file.

use std::fmt::Debug;
use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, LAST_MODIFIED,
};

use super::fault::Fault;
use super::{Answer, ByteStream};
use crate::error::{Error, ErrorKind, Place};

/// An object that is read by ranges.
pub trait RangedObject: Send + Sync + Debug {
    /// Returns the URL as it may be shown: without signatures.
    fn url(&self) -> String;

    /// Reads a range, which may reach beyond the end; nothing if there is no such object. It must still
    /// be of the content `same`. It is tried again as often as the network's options say.
    ///
    /// # Errors
    /// The server does not answer, or refuses; the object is another one by now.
    fn read<'a>(
        &'a self,
        range: Range<u64>,
        same: Option<&'a Content>,
    ) -> Answer<'a, Option<RangeOfObject>>;

    /// Reads all of the object, which must be of the content `same`; nothing if there is none. A stream
    /// that breaks is gone on with.
    ///
    /// # Errors
    /// The server does not answer, or refuses; the object is another one by now.
    fn stream<'a>(&'a self, same: &'a Content) -> Answer<'a, Option<ByteStream>>;
}

/// What tells the content of an object from others, as far as the server tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// The tag (its `ETag`), as it is written.
    pub tag: Option<String>,
    /// When it was changed last, as it is written.
    pub modified: Option<String>,
}

impl Content {
    /// Reads what an answer tells.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name| {
            let text = headers.get(name)?.to_str().ok()?.trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        Self {
            tag: text(ETAG),
            modified: text(LAST_MODIFIED),
        }
    }

    /// Says whether an answer with `found` is of this content, as far as that can be known.
    pub(super) fn is_same(&self, found: &Self) -> bool {
        match &self.tag {
            Some(_) => self.tag == found.tag,
            None => self.modified.is_none() || self.modified == found.modified,
        }
    }

    /// Says when it was changed last.
    pub fn modified_at(&self) -> Option<SystemTime> {
        httpdate::parse_http_date(self.modified.as_deref()?).ok()
    }

    /// Says whether nothing is told.
    pub fn is_unknown(&self) -> bool {
        self.tag.is_none() && self.modified.is_none()
    }
}

/// Refuses an answer that is not the object's own bytes.
pub(super) fn check_encoding(url: &str, headers: &HeaderMap) -> Result<(), Fault> {
    let encoding = headers.get(CONTENT_ENCODING);
    match encoding.filter(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        None => Ok(()),
        Some(encoding) => {
            let message = format!(
                "the server sends it as Content-Encoding {}, though it was asked not to",
                String::from_utf8_lossy(encoding.as_bytes())
            );
            Err(refused(url, message, "fetch the file first"))
        }
    }
}

/// Makes the fault of an answer that asking again won't better.
fn refused(url: &str, message: impl Into<String>, hint: &str) -> Fault {
    Fault::Lasting(
        Error::new(ErrorKind::ServerRefused, message)
            .at(Place::file(super::url::shown(url)))
            .hint(hint),
    )
}

/// A range of an object.
#[derive(Debug, Clone)]
pub struct RangeOfObject {
    /// The bytes; none of a server that knows no ranges and would send all.
    pub bytes: Bytes,
    /// Whether the server knows ranges, as far as it shows.
    pub has_ranges: bool,
    /// Bytes of the whole object.
    pub total: u64,
    /// What the server tells of the content.
    pub content: Content,
}

/// What the head of an answer to a request for a range says.
pub(super) struct RangeHead {
    pub(super) first: u64,
    pub(super) total: u64,
    /// Bytes that are to come.
    pub(super) length: u64,
}

impl RangeHead {
    /// Reads the head of an answer that must be of the content `same`, and tells of which it is.
    pub(super) fn of_same(
        url: &str,
        wanted: &Range<u64>,
        (status, headers): (StatusCode, &HeaderMap),
        same: Option<&Content>,
    ) -> Result<(Self, Content), Fault> {
        let head = Self::of(url, wanted, status, headers)?;
        check_encoding(url, headers)?;
        let found = Content::of(headers);
        match same {
            Some(same) if !same.is_same(&found) => Err(Fault::Lasting(replaced(url))),
            _ => Ok((head, found)),
        }
    }

    /// Says whether more is to come than was asked for, as from servers that know no ranges.
    pub(super) fn is_too_much(&self, wanted: &Range<u64>) -> bool {
        self.first != wanted.start || self.length > wanted.end.saturating_sub(wanted.start)
    }

    /// Returns what an answer with this head and these bytes comes to.
    pub(super) fn with(self, bytes: Bytes, has_ranges: bool, content: Content) -> RangeOfObject {
        RangeOfObject {
            bytes,
            has_ranges,
            total: self.total,
            content,
        }
    }

    /// Reads the head of an answer: `200`, `206` or `416`.
    pub(super) fn of(
        url: &str,
        wanted: &Range<u64>,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Self, Fault> {
        let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
        let head = |first, total, length| Self {
            first,
            total,
            length,
        };
        let range = text(CONTENT_RANGE).and_then(|range| range.strip_prefix("bytes "));
        let total = range.and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        if status == StatusCode::RANGE_NOT_SATISFIABLE {
            return match total {
                Some(total) if total <= wanted.start => Ok(head(wanted.start, total, 0)),
                _ => Err(refused(
                    url,
                    "the server says 416 Range Not Satisfiable, and not how much there is",
                    "fetch the file first",
                )),
            };
        }
        // Some stores give a range with 200.
        if status == StatusCode::OK && range.is_none() {
            let length = text(CONTENT_LENGTH).and_then(|text| text.parse().ok());
            let silent = || {
                let message = "the server tells no size (Content-Length), expected one";
                refused(url, message, "fetch the file first")
            };
            let length = length.ok_or_else(silent)?;
            return Ok(head(0, length, length));
        }
        let ends = range.and_then(|range| {
            let (first, rest) = range.split_once('-')?;
            let last = rest.split_once('/')?.0.trim();
            Some((first.trim().parse().ok()?, last.parse::<u64>().ok()?))
        });
        match (ends, total) {
            (Some((first, last)), Some(total))
                if first == wanted.start && last >= first && last < total.min(wanted.end) =>
            {
                Ok(head(first, total, last - first + 1))
            }
            _ => Err(refused(
                url,
                "the server sends another range than was asked for, or does not tell which",
                "fetch the file first",
            )),
        }
    }
}

/// Returns the value of the header that asks for a range.
pub(super) fn range_header(range: &Range<u64>) -> String {
    format!("bytes={}-{}", range.start, range.end.saturating_sub(1))
}

/// Makes the error for an object that is another one by now.
pub(crate) fn replaced(url: &str) -> Error {
    Error::new(ErrorKind::Integrity, "was replaced while it was read")
        .at(Place::file(super::url::shown(url)))
        .hint("run the command again when nobody writes there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_ranges_are_read_and_checked() {
        let of = |status: u16, range: &str, length: &str| {
            let mut headers = HeaderMap::new();
            if !range.is_empty() {
                headers.insert(CONTENT_RANGE, range.parse().unwrap());
            }
            headers.insert(CONTENT_LENGTH, length.parse().unwrap());
            let status = StatusCode::from_u16(status).unwrap();
            let head = RangeHead::of("http://h/x", &(10..20), status, &headers);
            head.ok().map(|head| (head.first, head.total, head.length))
        };
        assert_eq!(of(206, "bytes 10-19/100", "10"), Some((10, 100, 10)));
        assert_eq!(of(206, "bytes 10-14/15", "5"), Some((10, 15, 5)));
        assert_eq!(of(200, "", "100"), Some((0, 100, 100)));
        assert_eq!(of(200, "bytes 10-19/100", "10"), Some((10, 100, 10)));
        assert_eq!(of(416, "bytes */7", "0"), Some((10, 7, 0)));
        assert_eq!(of(416, "", "0"), None);
        for odd in [
            "bytes 9-19/100",
            "bytes 10-20/100",
            "bytes 10-9/100",
            "bytes 10-19/15",
            "bytes 10-19/*",
            "10-19/100",
            "",
        ] {
            assert_eq!(of(206, odd, "10"), None, "{odd}");
        }
        assert_eq!(range_header(&(10..20)), "bytes=10-19");
    }
}

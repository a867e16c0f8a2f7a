//! What S3 stores say in XML.

use serde::Deserialize;

/// Why a store refuses.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ErrorAnswer {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
}

/// An upload that was begun.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Begun {
    pub(super) upload_id: String,
}

/// A page of the parts that a store has of an upload.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct PartsPage {
    pub(super) is_truncated: bool,
    pub(super) next_part_number_marker: u32,
    #[serde(rename = "Part")]
    pub(super) parts: Vec<ListedPart>,
}

/// A part that a store has.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedPart {
    /// From 1.
    pub(super) part_number: u32,
    #[serde(rename = "ETag")]
    pub(super) tag: String,
    pub(super) size: u64,
}

/// The uploads that a store has open.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct UploadsPage {
    #[serde(rename = "Upload")]
    pub(super) uploads: Vec<ListedUpload>,
}

/// An upload that is open.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedUpload {
    pub(super) key: String,
    pub(super) upload_id: String,
    pub(super) initiated: String,
}

/// Reads an answer.
pub(super) fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Option<T> {
    quick_xml::de::from_str(std::str::from_utf8(body).ok()?).ok()
}

/// Reads what an answer says of an error; nothing if it is something else. Stores tell errors even
/// after they said 200.
pub(super) fn read_error(body: &[u8]) -> Option<ErrorAnswer> {
    let text = std::str::from_utf8(body).ok()?.trim_start();
    let text = match text.strip_prefix("<?xml") {
        Some(rest) => rest.split_once("?>")?.1.trim_start(),
        None => text,
    };
    let rest = text.strip_prefix("<Error")?;
    if !rest.starts_with(['>', ' ', '/']) {
        return None;
    }
    Some(quick_xml::de::from_str(text).unwrap_or_default())
}

/// Writes down of which parts an object is to be made; tags without quotes, in order.
pub(super) fn complete_request<'t>(tags: impl Iterator<Item = &'t str>) -> String {
    let mut text =
        String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (number, tag) in (1_u32..).zip(tags) {
        let tag = quick_xml::escape::escape(tag);
        text.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>&quot;{tag}&quot;</ETag></Part>"
        ));
    }
    text.push_str("</CompleteMultipartUpload>");
    text
}

/// A tag without its quotes.
pub(super) fn plain_tag(tag: &str) -> String {
    tag.trim().trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_from_answers() {
        let error = read_error(
            b"<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code><Message>a &amp; b</Message>\
              <HostId>x</HostId></Error>",
        );
        let error = error.unwrap();
        assert_eq!((&*error.code, &*error.message), ("SlowDown", "a & b"));
        assert_eq!(read_error(b"  <Error/>"), Some(ErrorAnswer::default()));
        assert_eq!(read_error(b"<Errors><Code>x</Code></Errors>"), None);
        assert_eq!(read_error(b""), None);
        assert_eq!(read_error(b"<html>"), None);
    }

    #[test]
    fn lists_are_read_and_requests_written() {
        let begun: Begun = read(
            b"<InitiateMultipartUploadResult xmlns=\"x\"><Bucket>b</Bucket>\
              <UploadId>a&amp;b</UploadId></InitiateMultipartUploadResult>",
        )
        .unwrap();
        assert_eq!(begun.upload_id, "a&b");
        let page: PartsPage = read(
            b"<ListPartsResult><IsTruncated>true</IsTruncated><Part><PartNumber>1</PartNumber>\
              <ETag>&quot;t&quot;</ETag><Size>5</Size></Part>\
              <NextPartNumberMarker>1</NextPartNumberMarker><Part><PartNumber>2</PartNumber>\
              <ETag>u</ETag><Size>6</Size></Part></ListPartsResult>",
        )
        .unwrap();
        assert!(page.is_truncated && page.next_part_number_marker == 1);
        let parts: Vec<_> = page.parts.iter().map(|part| plain_tag(&part.tag)).collect();
        assert_eq!(parts, ["t", "u"]);
        assert!(read::<Begun>(b"<Error><Code>x</Code></Error>").is_none());
        let request = complete_request(["a<", "b"].into_iter());
        assert!(
            request.contains("<PartNumber>2</PartNumber><ETag>&quot;b&quot;"),
            "{request}"
        );
        assert!(request.contains("a&lt;"), "{request}");
    }
}

//! Where a place is: a folder, an HTTP folder, a prefix of a bucket.

use std::fmt;
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use ::url::Url;

use crate::error::{Error, Result};

/// Where a place is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlaceUrl {
    /// A folder of a file system.
    Folder(PathBuf),
    /// A folder of an HTTP or WebDAV server; the path ends with `/`.
    Http(Url),
    /// Part of an S3 bucket.
    S3 {
        /// Name of the bucket.
        bucket: String,
        /// What keys begin with: empty, or ended by `/`.
        prefix: String,
    },
}

/// An object: its place and its key there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectUrl {
    /// The folder, or the root of the server or bucket.
    pub place: PlaceUrl,
    /// The key, not percent-encoded.
    pub key: String,
}

impl PlaceUrl {
    /// Reads a place as users write it: a path, or a URL of the scheme `file`, `http`, `https` or
    /// `s3`.
    ///
    /// # Errors
    /// Another scheme, no bucket or server, a query, or a password in the URL.
    pub fn parse(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Folder(PathBuf::from(text)));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "file" => Ok(Self::Folder(file_path(text, rest)?)),
            "http" | "https" => {
                let mut url = parse_http(text)?;
                if url.query().is_some() || url.fragment().is_some() {
                    return Err(Error::usage(format!(
                        "'{}' has a query, expected a folder",
                        shown(text)
                    ))
                    .hint("leave out what comes behind ? or #"));
                }
                if !url.path().ends_with('/') {
                    url.set_path(&format!("{}/", url.path()));
                }
                Ok(Self::Http(url))
            }
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                check_bucket(bucket, text)?;
                let prefix = prefix.trim_matches('/');
                check_key(prefix, text)?;
                Ok(Self::S3 {
                    bucket: bucket.to_owned(),
                    prefix: match prefix {
                        "" => String::new(),
                        _ => format!("{prefix}/"),
                    },
                })
            }
            _ => Err(
                Error::usage(format!("{scheme}:// is not a place that is known"))
                    .hint("name a folder, or a URL of http, https or s3"),
            ),
        }
    }

    /// Says whether the place is a folder of a file system.
    pub fn is_folder(&self) -> bool {
        matches!(self, Self::Folder(_))
    }

    /// Returns the key of the object that `url` names; nothing if it is not of this place.
    pub fn key_of(&self, url: &str) -> Option<String> {
        let url = url.split_once('?').map_or(url, |(before, _)| before);
        let base = match self {
            Self::Folder(root) => format!("{}/", file_url(root)),
            _ => self.to_string(),
        };
        let key = url.strip_prefix(&base)?;
        String::from_utf8(decoded(key.as_bytes())).ok()
    }

    /// Returns the URL of the object `key` of this place.
    pub fn object(&self, key: &str) -> String {
        match self {
            Self::Folder(root) => file_url(&root.join(key)),
            _ => format!("{self}{}", percent_encoded(key)),
        }
    }
}

/// The URL of a server or bucket, with `/` at its end; the path of a folder.
impl fmt::Display for PlaceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Http(url) => url.fmt(f),
            Self::S3 { bucket, prefix } => {
                write!(f, "s3://{bucket}/{}", percent_encoded(prefix))
            }
        }
    }
}

impl ObjectUrl {
    /// Takes the URL (or path) of an object apart. What a query says is dropped: signatures are
    /// not part of the name.
    ///
    /// # Errors
    /// It is not the URL of an object at a place that is known.
    pub fn parse(text: &str) -> Result<Self> {
        let no_object = || {
            Error::usage(format!("'{}' does not name an object", shown(text)))
                .hint("expected the path of a file, or a URL of http, https or s3")
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self::of_file(Path::new(text)).ok_or_else(no_object);
        };
        match scheme.to_ascii_lowercase().as_str() {
            "file" => {
                let path = file_path(text, rest)?;
                let is_up = |part| part == std::path::Component::ParentDir;
                if path.components().any(is_up) {
                    return Err(no_object());
                }
                Self::of_file(&path).ok_or_else(no_object)
            }
            "http" | "https" => {
                let mut root = parse_http(text)?;
                let key = decoded(root.path().trim_start_matches('/').as_bytes());
                let key = String::from_utf8(key).map_err(|_| no_object())?;
                root.set_path("/");
                root.set_query(None);
                root.set_fragment(None);
                check_key(&key, text)?;
                if key.is_empty() || key.ends_with('/') {
                    return Err(no_object());
                }
                Ok(Self {
                    place: PlaceUrl::Http(root),
                    key,
                })
            }
            "s3" => {
                let (bucket, key) = rest.split_once('/').ok_or_else(no_object)?;
                check_bucket(bucket, text)?;
                let key = decoded(key.as_bytes());
                let key = String::from_utf8(key).map_err(|_| no_object())?;
                check_key(&key, text)?;
                if key.is_empty() || key.ends_with('/') {
                    return Err(no_object());
                }
                Ok(Self {
                    place: PlaceUrl::S3 {
                        bucket: bucket.to_owned(),
                        prefix: String::new(),
                    },
                    key,
                })
            }
            _ => Err(no_object()),
        }
    }

    fn of_file(path: &Path) -> Option<Self> {
        let key = path.file_name()?.to_str()?.to_owned();
        let folder = path.parent().unwrap_or(Path::new(""));
        Some(Self {
            place: PlaceUrl::Folder(folder.to_owned()),
            key,
        })
    }
}

/// Returns the `file://` URL of an absolute path, escaped as URLs want it.
pub(crate) fn file_url(path: &Path) -> String {
    format!("file://{}", encoded(path.as_os_str().as_bytes()))
}

/// Returns a path or URL as it may be shown: without passwords, queries and signatures.
pub fn shown_url(text: &str) -> String {
    shown(text)
}

/// Returns a text as users may see it: without what a URL holds of passwords and signatures.
pub(crate) fn shown(text: &str) -> String {
    let text = text.split_once('?').map_or(text, |(before, _)| before);
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

pub(super) fn parse_http(text: &str) -> Result<Url> {
    let url = Url::parse(text)
        .map_err(|error| Error::usage(format!("'{}' is not a URL: {error}", shown(text))))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::usage(format!(
            "'{}' was given with a user name or a password",
            shown(text)
        ))
        .hint("take them out; see skyprep stage --help for where credentials may stand"));
    }
    Ok(url)
}

/// Returns the path of a `file://` URL.
fn file_path(text: &str, rest: &str) -> Result<PathBuf> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(Error::usage(format!("'{text}' names another host"))
            .hint("expected file:/// and an absolute path"));
    }
    Ok(PathBuf::from(std::ffi::OsString::from_vec(decoded(
        path.as_bytes(),
    ))))
}

fn check_bucket(bucket: &str, text: &str) -> Result<()> {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if !bucket.is_empty() && bucket.bytes().all(is_known) {
        return Ok(());
    }
    Err(Error::usage(format!("'{}' names no bucket", shown(text)))
        .hint("expected s3://bucket/prefix"))
}

/// Refuses keys whose parts a server might take for something else.
fn check_key(key: &str, text: &str) -> Result<()> {
    let is_odd = |part: &str| matches!(part, "." | "..");
    let has_empty = key.contains("//") || key.starts_with('/');
    if has_empty || key.split('/').any(is_odd) {
        return Err(Error::usage(format!(
            "'{}' has an empty part, or one of dots, in its path",
            shown(text)
        )));
    }
    Ok(())
}

/// Escapes a key as the path of a URL wants it; `/` stays.
pub(crate) fn percent_encoded(key: &str) -> String {
    encoded(key.as_bytes())
}

/// Escapes bytes as the path of a URL wants it; `/` stays.
fn encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(*byte));
            }
            // Writing to a String can't fail.
            _ => _ = write!(text, "%{byte:02X}"),
        }
    }
    text
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        match (byte, digit(ahead.next()), digit(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high << 4 | low).unwrap_or_default());
                rest = ahead;
            }
            _ => bytes.push(*byte),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_as_users_write_them() {
        for (text, shown) in [
            ("out", "out"),
            ("file:///data/a%20b", "/data/a b"),
            ("http://h:81/a", "http://h:81/a/"),
            ("HTTPS://h", "https://h/"),
            ("s3://b", "s3://b/"),
            ("s3://b/x/y/", "s3://b/x/y/"),
        ] {
            assert_eq!(PlaceUrl::parse(text).unwrap().to_string(), shown, "{text}");
        }
        for text in [
            "ftp://h/a",
            "s3://",
            "s3:///x",
            "http://",
            "http://h/?x=1",
            "file://host/x",
            "s3://b/../x",
            "https://user:pass@h/a",
        ] {
            let error = PlaceUrl::parse(text).unwrap_err().to_string();
            assert!(
                !error.contains("pass@") && !error.contains("x=1"),
                "{error}"
            );
        }
    }

    #[test]
    fn objects_are_taken_apart() {
        let key = "a b/\u{e9}+%&=?#.txt";
        for place in ["/data/x", "http://h/p/", "s3://b/p/"] {
            let url = PlaceUrl::parse(place).unwrap().object(key);
            let object = ObjectUrl::parse(&url).unwrap();
            assert_eq!(object.place.object(&object.key), url);
            let place = PlaceUrl::parse(place).unwrap();
            assert_eq!(place.key_of(&url).as_deref(), Some(key));
            assert_eq!(place.key_of("http://other/p/x"), None);
        }
        assert!(ObjectUrl::parse("file:///a/%2e%2E/b").is_err());
        let object = ObjectUrl::parse("https://h/b/k.txt?X-Amz-Signature=abc").unwrap();
        assert_eq!(object.place.object(&object.key), "https://h/b/k.txt");
        assert_eq!(shown("https://u:p@h/k?sig=1"), "https://h/k");
    }
}

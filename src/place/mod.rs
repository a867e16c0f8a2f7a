//! Places: where finished files are put, looked at, read back and removed.
//!
//! A place is a folder, a folder of an HTTP or WebDAV server, or a prefix of an S3 bucket. All of
//! them are used in the same way ([`Place`]), and are opened by one [`Network`], which owns what
//! they share: the only asynchronous runtime, connections, certificates, credentials, the rules
//! for trying again, and the memory for bytes on their way.
//!
//! An object shows under its name only when it is whole. Everything that a place answers is
//! checked: the size and, where the server tells one, a checksum.

mod aws_profile;
mod blocks;
mod credentials;
mod credentials_file;
mod fault;
mod folder;
mod http;
mod network;
mod ranges;
mod reader;
mod retry;
mod s3;
mod url;

use std::fmt::Debug;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

pub use aws_profile::s3_settings;
pub(crate) use blocks::{RowDigest, check_recorded};
pub use credentials::{Credentials, HttpLogin, S3Settings, Secret};
pub use network::{Network, NetworkOptions};
pub(crate) use ranges::replaced;
pub use ranges::{Content, RangeOfObject, RangedObject};
pub use reader::StreamReader;
pub use retry::RetryPolicy;
pub use url::{ObjectUrl, PlaceUrl, shown_url};
pub(crate) use url::{percent_encoded, shown};

use crate::error::{Error, Result};
use crate::exchange::{FileSummary, HexDigest};

/// What a place's answers come as.
pub type Answer<'a, T> = BoxFuture<'a, Result<T>>;

/// Bytes of an object, as they arrive.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

/// Where objects are put: a folder, a server, a bucket.
///
/// Keys are paths relative to the place, with `/` between their parts, never empty, never with
/// `.` or `..` as a part; they are not percent-encoded.
pub trait Place: Send + Sync + Debug {
    /// Returns the URL of an object: percent-encoded, without any secret.
    fn url(&self, key: &str) -> String;

    /// Puts a file under its key, whole or not at all, in the place of what stands there.
    ///
    /// # Errors
    /// The file can't be read or is not what was expected; the place does not take it.
    fn put_file<'a>(&'a self, upload: FileUpload<'a>) -> Answer<'a, Stored>;

    /// Puts a small object under its key, whole or not at all.
    ///
    /// # Errors
    /// The place does not take it.
    fn put_bytes<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, ()>;

    /// Asks for size and checksums of an object; nothing if there is none.
    ///
    /// # Errors
    /// The place does not answer, or refuses to.
    fn head<'a>(&'a self, key: &'a str) -> Answer<'a, Option<ObjectInfo>>;

    /// Reads an object; nothing if there is none. A stream that breaks is gone on with where it
    /// broke, as long as the object is the same.
    ///
    /// # Errors
    /// The place does not answer, or refuses to.
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<ByteStream>>;

    /// Removes an object; says whether there was one, as far as the place tells.
    ///
    /// # Errors
    /// The place does not answer, or refuses to.
    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, bool>;

    /// Forgets what is there of an upload that was begun and will not be gone on with.
    ///
    /// # Errors
    /// The place does not answer, or refuses to.
    fn forget<'a>(&'a self, key: &'a str, open: &'a OpenUpload) -> Answer<'a, ()>;

    /// Returns a URL that anybody may read the object with for so long, and when that ends.
    ///
    /// # Errors
    /// The place has no such URLs, or the time is too long for it.
    fn presign<'a>(&'a self, key: &'a str, _valid: Duration) -> Answer<'a, (String, SystemTime)> {
        let error = Error::usage("only S3 places have signed URLs")
            .at(crate::error::Place::file(self.url(key)))
            .hint("use --public-url where the files are served by HTTP");
        Box::pin(async move { Err(error) })
    }
}

/// A file on its way to a place.
#[derive(Clone, Copy)]
pub struct FileUpload<'a> {
    /// Key that it gets.
    pub key: &'a str,
    /// The file.
    pub path: &'a Path,
    /// Its bytes, when it was looked at.
    pub bytes: u64,
    /// What its record says, if there is one: bytes and XXH3 must be these.
    pub recorded: Option<&'a FileSummary>,
    /// Parts that an earlier attempt has brought there.
    pub open: Option<&'a OpenUpload>,
    /// Told what must outlive this process.
    pub log: &'a dyn UploadLog,
    /// Told how many more bytes of the file are there; bytes sent twice count once.
    pub advance: &'a (dyn Fn(u64) + Sync),
}

/// An upload in parts that has been begun and is not whole yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenUpload {
    /// The store's name of the upload.
    pub id: String,
    /// Bytes of each part but the last.
    pub part_bytes: u64,
    /// The parts that are there.
    pub parts: Vec<DonePart>,
}

/// A part that has arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DonePart {
    /// Number of the part, from 0.
    pub number: u32,
    /// The store's tag of it.
    pub tag: String,
    /// MD5 of its bytes, so that a file that was changed since is noticed.
    pub md5: HexDigest<16>,
}

/// Keeps what is needed to go on with uploads after a kill.
pub trait UploadLog: Send + Sync {
    /// An upload in parts was begun.
    ///
    /// # Errors
    /// It can't be written down, so the upload must not go on.
    fn begun(&self, key: &str, id: &str, part_bytes: u64) -> Result<()>;

    /// A part has arrived.
    ///
    /// # Errors
    /// It can't be written down.
    fn part(&self, key: &str, id: &str, part: &DonePart) -> Result<()>;

    /// The upload is over, well or not: nothing of it is left at the place.
    ///
    /// # Errors
    /// It can't be written down.
    fn ended(&self, key: &str, id: &str) -> Result<()>;
}

/// A file that was put.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Bytes, rows and digests of what was sent; its path is the key.
    pub summary: FileSummary,
    /// Bytes that went over the network, those sent twice included.
    pub sent: u64,
}

/// What a place says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Size.
    pub bytes: u64,
    /// Digest of the whole object by some algorithm, if the place keeps one.
    pub checksum: Option<ObjectChecksum>,
    /// The place's tag for this content, if there is one; quotes removed.
    pub tag: Option<String>,
}

/// A checksum of a whole object that a place keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjectChecksum {
    /// SHA-256.
    Sha256(HexDigest<32>),
    /// CRC-64/NVME.
    Crc64Nvme(u64),
    /// MD5.
    Md5(HexDigest<16>),
}

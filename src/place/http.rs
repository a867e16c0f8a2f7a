//! HTTP and WebDAV servers.
use super::network::Shared;
use super::*;
use std::sync::Arc;
#[derive(Debug)]
pub(super) struct HttpPlace {
    root: ::url::Url,
    shared: Arc<Shared>,
}
impl HttpPlace {
    pub(super) fn new(root: ::url::Url, shared: Arc<Shared>) -> Self {
        Self { root, shared }
    }
}
impl Place for HttpPlace {
    fn url(&self, _key: &str) -> String {
        format!("{} {}", self.root, self.shared.room.bytes())
    }
    fn put_file<'a>(&'a self, _upload: FileUpload<'a>) -> Answer<'a, Stored> {
        Box::pin(async { Err(Error::usage("")) })
    }
    fn put_bytes<'a>(&'a self, _key: &'a str, _bytes: Bytes) -> Answer<'a, ()> {
        Box::pin(async { Err(Error::usage("")) })
    }
    fn head<'a>(&'a self, _key: &'a str) -> Answer<'a, Option<ObjectInfo>> {
        Box::pin(async { Err(Error::usage("")) })
    }
    fn get<'a>(&'a self, _key: &'a str) -> Answer<'a, Option<ByteStream>> {
        Box::pin(async { Err(Error::usage("")) })
    }
    fn delete<'a>(&'a self, _key: &'a str) -> Answer<'a, bool> {
        Box::pin(async { Err(Error::usage("")) })
    }
    fn forget<'a>(&'a self, _key: &'a str, _open: &'a OpenUpload) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

//! A folder of an HTTP or WebDAV server.
//!
//! Objects are put by PUT under a hidden name, looked at by HEAD, and moved to their own name. On
//! servers that can't move they are put under their own name at once; those that can't be trusted
//! to drop what came in part are tidied up after a failure.

mod body;
mod caller;
mod dav;
mod look;
mod put;
mod range;
mod read;

use std::sync::Arc;

use ::url::{Host, Url};
use bytes::Bytes;
use futures_util::future::BoxFuture;

use self::caller::Caller;
use self::dav::{Abilities, partial};
use self::look::look;
use self::put::{Content, Put, remove};
use super::fault::Fault;
use super::network::Shared;
use super::url::PlaceUrl;
use super::{Answer, ByteStream, FileUpload, ObjectInfo, OpenUpload, Place, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::FileSummary;

/// A folder of an HTTP or WebDAV server.
#[derive(Debug)]
pub(super) struct HttpPlace {
    root: PlaceUrl,
    caller: Caller,
    abilities: Abilities,
}

/// Reads what a URL gives; nothing if there is nothing.
///
/// # Errors
/// The server does not answer, or refuses.
pub(super) async fn fetch(shared: Arc<Shared>, url: Url) -> Result<Option<ByteStream>> {
    read::read(Caller { shared }, url).await
}

/// Returns what a URL names, to be read by ranges.
pub(super) fn object(shared: Arc<Shared>, url: Url) -> range::HttpObject {
    let caller = Caller { shared };
    range::HttpObject { caller, url }
}

impl HttpPlace {
    pub(super) fn new(root: Url, shared: Arc<Shared>) -> Self {
        if shared.options.credentials.login(&root).is_some() && is_open(&root) {
            tracing::warn!("{root}: the login goes there unencrypted; use https if you can");
        }
        Self {
            root: PlaceUrl::Http(root),
            caller: Caller { shared },
            abilities: Abilities::default(),
        }
    }

    fn locate(&self, key: &str) -> Result<Url> {
        let url = self.root.object(key);
        Url::parse(&url)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("'{url}': {error}")))
    }

    /// Tries until it works, as the options say.
    async fn retry<'a, T>(
        &self,
        mut work: impl FnMut() -> BoxFuture<'a, Result<T, Fault>> + Send,
    ) -> Result<T> {
        let options = &self.caller.shared.options;
        options.retry.run(&options.cancel, |_| work()).await
    }

    async fn put(&self, content: Content<'_>, key: &str) -> Result<(FileSummary, u64)> {
        let target = self.locate(key)?;
        let put = Put::new(&self.caller, &self.abilities, content, target);
        let put = tokio::sync::Mutex::new(put);
        let done = self.retry(|| Box::pin(async { put.lock().await.go_on().await }));
        match done.await {
            Ok(done) => Ok(done),
            Err(error) => {
                let put = put.lock().await;
                put.tidy().await;
                Err(put.explain(error).await)
            }
        }
    }
}

impl Place for HttpPlace {
    fn url(&self, key: &str) -> String {
        self.root.object(key)
    }

    fn put_file<'a>(&'a self, upload: FileUpload<'a>) -> Answer<'a, Stored> {
        Box::pin(async move {
            let (summary, sent) = self.put(Content::File(upload), upload.key).await?;
            Ok(Stored { summary, sent })
        })
    }

    fn put_bytes<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, ()> {
        Box::pin(async move {
            self.put(Content::Bytes(key, bytes), key).await?;
            Ok(())
        })
    }

    fn head<'a>(&'a self, key: &'a str) -> Answer<'a, Option<ObjectInfo>> {
        Box::pin(async move {
            let url = self.locate(key)?;
            self.retry(|| Box::pin(look(&self.caller, &url))).await
        })
    }

    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<ByteStream>> {
        Box::pin(async move { read::read(self.caller.clone(), self.locate(key)?).await })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            let url = self.locate(key)?;
            self.retry(|| Box::pin(remove(&self.caller, &url))).await
        })
    }

    fn forget<'a>(&'a self, key: &'a str, _open: &'a OpenUpload) -> Answer<'a, ()> {
        Box::pin(async move {
            let hidden = partial(&self.locate(key)?);
            self.retry(|| Box::pin(remove(&self.caller, &hidden)))
                .await?;
            Ok(())
        })
    }
}

/// Says whether others on the way can read what is sent there.
fn is_open(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "http" && !is_here
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_open_only_on_the_way_to_others() {
        for (url, expected) in [
            ("http://example.org/", true),
            ("https://example.org/", false),
            ("http://127.3.0.1:80/", false),
            ("http://[::1]/", false),
            ("http://localhost/", false),
            ("http://localhost.example.org/", true),
        ] {
            assert_eq!(is_open(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}

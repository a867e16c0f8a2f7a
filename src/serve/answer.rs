//! One request: what `ServeDir` leaves to us, and the books.
//!
//! `ServeDir` answers GET and HEAD with ranges, `ETag` (from size and time of last change, to the
//! nanosecond) and the conditions on it. It does not know If-Range, without which a download that
//! is gone on with could join two versions of a file.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, Response, StatusCode};
use futures_util::StreamExt;
use rustix::io::Errno;
use tokio::sync::Semaphore;
use tower_http::services::fs::{DefaultServeDirFallback, ServeDir};

use super::access::{Access, AccessLog};
use super::files::FolderFiles;

/// Bytes that are read from a file at once.
const BLOCK: usize = 256 << 10;

type Files = ServeDir<DefaultServeDirFallback, FolderFiles>;

/// Sums over all requests.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) requests: AtomicU64,
    pub(super) bytes: AtomicU64,
}

/// Answers requests; clones share everything.
#[derive(Clone)]
pub(super) struct Answers {
    files: Files,
    log: Arc<dyn AccessLog>,
    totals: Arc<Totals>,
    /// Places for connections; none is free when others wait.
    places: Arc<Semaphore>,
}

impl Answers {
    pub(super) fn new(
        root: &Path,
        log: Arc<dyn AccessLog>,
        totals: Arc<Totals>,
        places: Arc<Semaphore>,
    ) -> Self {
        let files = ServeDir::with_backend(root, FolderFiles::new(root))
            .append_index_html_on_directories(false)
            .with_buf_chunk_size(BLOCK);
        Self {
            files,
            log,
            totals,
            places,
        }
    }

    /// Answers a request, and takes note of it when its last byte is on the way.
    pub(super) async fn answer(&self, remote: SocketAddr, request: Request) -> Response<Body> {
        let started = Instant::now();
        let range = request.headers().get(header::RANGE);
        let access = Access {
            at: SystemTime::now(),
            remote,
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            protocol: format!("{:?}", request.version()),
            range: range.map(|range| String::from_utf8_lossy(range.as_bytes()).into_owned()),
            status: 0,
            bytes: 0,
            is_complete: false,
            took: std::time::Duration::ZERO,
        };
        let is_head = request.method() == Method::HEAD;
        let mut response = self.respond(request).await;
        if self.places.available_permits() == 0 {
            // Others wait: whoever wants more queues up again.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        let is_bodiless = response.status() == StatusCode::NOT_MODIFIED;
        if let Some(length) = response.body().size_hint().exact()
            && !is_bodiless
            && !is_head
        {
            // The stream below does not tell its length.
            let entry = response.headers_mut().entry(header::CONTENT_LENGTH);
            entry.or_insert_with(|| HeaderValue::from(length));
        }
        let length = response.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let expected = if is_head { 0 } else { length.unwrap_or(0) };
        let mut books = Books {
            access,
            started,
            expected,
            answers: self.clone(),
        };
        books.access.status = response.status().as_u16();
        response.map(|body| {
            let counted = body.into_data_stream().inspect(move |block| {
                if let Ok(block) = block {
                    books.count(block.len());
                }
            });
            Body::from_stream(counted)
        })
    }

    async fn respond(&self, request: Request) -> Response<Body> {
        let mut request = request.map(|_| Body::empty());
        let method = request.method().clone();
        if method != Method::GET && method != Method::HEAD {
            let mut refusal = status(StatusCode::METHOD_NOT_ALLOWED);
            let allowed = HeaderValue::from_static("GET, HEAD");
            refusal.headers_mut().insert(header::ALLOW, allowed);
            return refusal;
        }
        // Ranges are for GET, and those in other units are to be passed over.
        let range = request.headers().get(header::RANGE);
        let is_usable = range
            .is_some_and(|range| method == Method::GET && range.as_bytes().starts_with(b"bytes="));
        if !is_usable {
            request.headers_mut().remove(header::RANGE);
        } else if let Some(validator) = request.headers_mut().remove(header::IF_RANGE) {
            self.apply_if_range(&mut request, validator).await;
        }
        let mut response = self.file(request).await;
        name_type(response.headers_mut());
        response
    }

    /// Keeps the range only if the file is still the one that the client has a part of.
    async fn apply_if_range(&self, request: &mut Request, validator: HeaderValue) {
        let mut question = Request::new(Body::empty());
        *question.method_mut() = Method::HEAD;
        *question.uri_mut() = request.uri().clone();
        let known = self.file(question).await;
        let is_same = |name: HeaderName| known.headers().get(name) == Some(&validator);
        let headers = request.headers_mut();
        // The condition is asked once more, of the file that is opened then.
        if is_same(header::ETAG) {
            headers.entry(header::IF_MATCH).or_insert(validator);
        } else if is_same(header::LAST_MODIFIED) {
            headers
                .entry(header::IF_UNMODIFIED_SINCE)
                .or_insert(validator);
        } else {
            headers.remove(header::RANGE);
        }
    }

    async fn file(&self, request: Request) -> Response<Body> {
        match self.files.clone().try_call(request).await {
            Ok(response) => response.map(Body::new),
            Err(error) => {
                use std::io::ErrorKind as Io;
                let code = match error.kind() {
                    Io::NotFound | Io::NotADirectory | Io::InvalidInput | Io::InvalidFilename => {
                        StatusCode::NOT_FOUND
                    }
                    Io::PermissionDenied => StatusCode::FORBIDDEN,
                    _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                        StatusCode::NOT_FOUND
                    }
                    _ => {
                        tracing::warn!("a file can't be read: {error}");
                        StatusCode::INTERNAL_SERVER_ERROR
                    }
                };
                status(code)
            }
        }
    }
}

/// Says that files without a known type are text, which nearly all are that skyprep makes.
fn name_type(headers: &mut HeaderMap) {
    let unknown = "application/octet-stream";
    if headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|t| t == unknown)
    {
        let text = HeaderValue::from_static("text/plain");
        headers.insert(header::CONTENT_TYPE, text);
    }
}

fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}

/// Counts what goes out; is dropped with the body, whole or not.
struct Books {
    access: Access,
    started: Instant,
    expected: u64,
    answers: Answers,
}

impl Books {
    /// Counts bytes of the body. (A closure that did this itself would count in a copy.)
    fn count(&mut self, bytes: usize) {
        self.access.bytes += bytes as u64;
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        self.access.took = self.started.elapsed();
        self.access.is_complete = self.access.bytes >= self.expected;
        let totals = &self.answers.totals;
        totals.requests.fetch_add(1, Ordering::Relaxed);
        totals.bytes.fetch_add(self.access.bytes, Ordering::Relaxed);
        self.answers.log.record(&self.access);
    }
}

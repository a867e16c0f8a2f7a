//! One request to an HTTP server: logged in, watched while it lasts, its answer judged.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::url::Url;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap};
use reqwest::{Method, RequestBuilder, Response, StatusCode};

use super::super::credentials::HttpLogin;
use super::super::fault::Fault;
use super::super::network::Shared;

/// How often a request is looked at while it lasts.
const TICK: Duration = Duration::from_millis(100);
/// Longest part of a refusal's text that is read.
const WORDS: usize = 4096;

/// Sends requests and waits for answers.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) shared: Arc<Shared>,
}

/// How a request is getting on, for whoever wants to know.
pub(super) struct Watch<'a> {
    /// Bytes that went on their way.
    pub(super) moved: &'a AtomicU64,
    /// Told these now and then.
    pub(super) tell: &'a (dyn Fn(u64) + Sync),
}

impl Caller {
    /// Begins a request; the login goes to the server that it is for and no other.
    pub(super) fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        let request = self.shared.unhurried.request(method, url.clone());
        // Sizes and checksums are those of the object, not of something compressed.
        let request = request.header(ACCEPT_ENCODING, "identity");
        match self.shared.options.credentials.login(url) {
            Some(HttpLogin::Basic { user, password }) => {
                request.basic_auth(user, Some(password.reveal()))
            }
            Some(HttpLogin::Bearer(token)) => request.bearer_auth(token.reveal()),
            None => request,
        }
    }

    /// Sends a request without a body, or with one that is in memory.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) async fn send(&self, url: &Url, request: RequestBuilder) -> Result<Response, Fault> {
        self.attend(url, None, async {
            request
                .send()
                .await
                .map_err(|error| Fault::of_transport(url.as_str(), &error))
        })
        .await
    }

    /// Waits for work at the server: as long as it moves, and nobody asks for an end.
    ///
    /// # Errors
    /// Those of the work; it stood still for too long; an end was asked for.
    pub(super) async fn attend<T>(
        &self,
        url: &Url,
        watch: Option<Watch<'_>>,
        work: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        let mut work = pin!(work);
        let moved = || {
            watch
                .as_ref()
                .map_or(0, |w| w.moved.load(Ordering::Relaxed))
        };
        let tell = |bytes| {
            if let Some(watch) = &watch {
                (watch.tell)(bytes);
            }
        };
        let mut last = (moved(), Instant::now());
        loop {
            if let Ok(done) = tokio::time::timeout(TICK, &mut work).await {
                tell(moved());
                return done;
            }
            self.shared.options.cancel.check()?;
            let now = moved();
            tell(now);
            let timeout = self.shared.options.timeout;
            if now != last.0 {
                last = (now, Instant::now());
            } else if last.1.elapsed() >= timeout {
                let message = format!("no answer in {} s", timeout.as_secs());
                return Err(Fault::network(url.as_str(), message));
            }
        }
    }

    /// Returns what an answer that is no success means.
    pub(super) async fn refusal(&self, url: &Url, answer: Response) -> Fault {
        let (status, headers) = (answer.status(), answer.headers().clone());
        let words = self.words(url, answer).await;
        Fault::of_status(url.as_str(), status, &headers, &words)
    }

    /// Reads the beginning of what a server has to say; a secret that it repeats is left out.
    async fn words(&self, url: &Url, mut answer: Response) -> String {
        let mut text = Vec::new();
        let reading = async {
            while text.len() < WORDS
                && let Ok(Some(bytes)) = answer.chunk().await
            {
                text.extend_from_slice(&bytes);
            }
            Ok(())
        };
        // Words that don't come are not missed.
        let _ = self.attend(url, None, reading).await;
        text.truncate(WORDS);
        let text = String::from_utf8_lossy(&text).into_owned();
        let secret = match self.shared.options.credentials.login(url) {
            Some(HttpLogin::Basic { password, .. }) => password.reveal(),
            Some(HttpLogin::Bearer(token)) => token.reveal(),
            None => "",
        };
        // Queries may be signatures, and servers repeat what they were asked for.
        let values = url.query_pairs().map(|(_, value)| value.into_owned());
        // Shorter ones are no signatures, and would make holes in words.
        let values = values.filter(|value| value.len() >= 4);
        let query = url.query().map(str::to_owned);
        let secrets = [secret.to_owned()].into_iter().chain(query).chain(values);
        secrets
            .filter(|secret| !secret.is_empty())
            .fold(text, |text, secret| text.replace(&secret, "***"))
    }
}

/// Says whether an answer tells that there is no such object.
pub(super) fn is_absent(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

/// Returns a header as text.
pub(super) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

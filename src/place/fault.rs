//! What went wrong at a server, and whether trying again may help.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::url::shown;
use crate::error::{Error, ErrorKind, Place};

/// Longest part of a server's words that is shown.
const SHOWN_WORDS: usize = 200;

/// A failed try.
#[derive(Debug)]
pub(super) enum Fault {
    /// Trying again may help.
    Passing {
        /// What to say if it does not.
        error: Error,
        /// How long the server asks to wait.
        wait: Option<Duration>,
    },
    /// Trying again won't help.
    Lasting(Error),
}

impl Fault {
    /// A fault of the connection, or an answer that makes no sense: may be better next time.
    pub(super) fn network(url: &str, message: impl Into<String>) -> Self {
        Self::Passing {
            error: Error::new(ErrorKind::Network, message)
                .at(Place::file(shown(url)))
                .hint("try again later: the same command goes on where it was"),
            wait: None,
        }
    }

    /// What arrived is not what was sent.
    pub(super) fn integrity(url: &str, message: impl Into<String>) -> Self {
        Self::Passing {
            error: Error::new(ErrorKind::Integrity, message)
                .at(Place::file(shown(url)))
                .hint("the server, or something on the way, changes data; try another way there"),
            wait: None,
        }
    }

    /// The meaning of an answer that is no success; `words` are the server's own.
    pub(super) fn of_status(
        url: &str,
        status: StatusCode,
        headers: &HeaderMap,
        words: &str,
    ) -> Self {
        let words = words_of(words);
        let message = match words.as_str() {
            "" => format!("the server says {status}"),
            _ => format!("the server says {status}: {words}"),
        };
        let error = |kind| Error::new(kind, message.clone()).at(Place::file(shown(url)));
        match status.as_u16() {
            // 423: a try that broke may hold its lock for a moment.
            408 | 423 | 425 | 429 | 500 | 502..=504 => Self::Passing {
                error: error(ErrorKind::Network)
                    .hint("try again later: the same command goes on where it was"),
                wait: wait_asked(headers),
            },
            507 => Self::Lasting(
                error(ErrorKind::DiskFull).hint("make room there, then run the same command again"),
            ),
            401 | 407 => Self::Lasting(error(ErrorKind::ServerRefused).hint(
                "check the credentials; skyprep stage --help tells where they may stand, and \
                         which of them go only to servers that you name",
            )),
            403 => Self::Lasting(
                error(ErrorKind::ServerRefused)
                    .hint("check the credentials, and what they allow at this place"),
            ),
            413 => Self::Lasting(
                error(ErrorKind::ServerRefused).hint("raise the server's limit of request sizes"),
            ),
            300..=399 => Self::Lasting(
                error(ErrorKind::ServerRefused)
                    .hint("redirections are not followed: name the place that it sends to"),
            ),
            _ => Self::Lasting(
                error(ErrorKind::ServerRefused)
                    .hint("check the place's name, and that the server lets files be put there"),
            ),
        }
    }

    /// The meaning of a request that got no answer.
    pub(super) fn of_transport(url: &str, error: &reqwest::Error) -> Self {
        let cause = deepest(error);
        let is_of_tls = chain(error).any(<dyn std::error::Error>::is::<rustls::Error>);
        if is_of_tls {
            return Self::Lasting(
                Error::new(
                    ErrorKind::ServerRefused,
                    format!("no safe connection: {cause}"),
                )
                .at(Place::file(shown(url)))
                .hint("check the server's certificate; --ca-file names further authorities"),
            );
        }
        let message = if error.is_connect() {
            format!("can't connect: {cause}")
        } else if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            format!("the connection broke: {cause}")
        };
        Self::network(url, message)
    }

    /// Returns the error, whether it passes or not.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Passing { error, .. } | Self::Lasting(error) => error,
        }
    }
}

/// Errors of this side (files, limits, requests to stop) do not pass by waiting.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Lasting(error)
    }
}

/// Returns how long a server asks to wait: seconds, or until a date.
pub(super) fn wait_asked(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    until.duration_since(SystemTime::now()).ok()
}

/// Returns a server's words as a short line: the text of an XML or HTML answer without its tags.
fn words_of(body: &str) -> String {
    let mut words = String::new();
    let mut is_tag = false;
    for letter in body.chars().take(SHOWN_WORDS * 20) {
        match letter {
            '<' => {
                is_tag = true;
                words.push(' ');
            }
            '>' if is_tag => is_tag = false,
            _ if is_tag => {}
            _ if letter.is_control() || letter.is_whitespace() => words.push(' '),
            _ => words.push(letter),
        }
    }
    let words: Vec<&str> = words.split_whitespace().collect();
    words.join(" ").chars().take(SHOWN_WORDS).collect()
}

fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| {
        // An io::Error hides what it wraps from source().
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn std::error::Error + 'static)),
            None => error.source(),
        }
    })
}

/// Returns the words of the innermost cause; the outer ones repeat the URL.
fn deepest(error: &reqwest::Error) -> String {
    chain(error)
        .last()
        .map_or_else(String::new, ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16) -> Fault {
        let status = StatusCode::from_u16(status).unwrap();
        Fault::of_status(
            "http://h/k?X-Amz-Signature=s",
            status,
            &HeaderMap::new(),
            "<Code>No</Code>",
        )
    }

    #[test]
    fn what_passes_and_what_lasts() {
        for (status, kind, passes) in [
            (503, ErrorKind::Network, true),
            (500, ErrorKind::Network, true),
            (429, ErrorKind::Network, true),
            (403, ErrorKind::ServerRefused, false),
            (307, ErrorKind::ServerRefused, false),
            (507, ErrorKind::DiskFull, false),
            (404, ErrorKind::ServerRefused, false),
        ] {
            let fault = of(status);
            assert_eq!(matches!(fault, Fault::Passing { .. }), passes, "{status}");
            let error = fault.into_error();
            assert_eq!(error.kind(), kind, "{status}");
            let text = error.to_string();
            assert!(text.contains("No") && !text.contains("Signature"), "{text}");
        }
    }

    #[test]
    fn servers_tell_how_long_to_wait() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "7".parse().unwrap());
        assert_eq!(wait_asked(&headers), Some(Duration::from_secs(7)));
        let soon = SystemTime::now() + Duration::from_secs(20);
        headers.insert(RETRY_AFTER, httpdate::fmt_http_date(soon).parse().unwrap());
        let wait = wait_asked(&headers).unwrap().as_secs();
        assert!((18..=20).contains(&wait), "{wait}");
        headers.insert(RETRY_AFTER, "soon".parse().unwrap());
        assert_eq!(wait_asked(&headers), None);
    }
}

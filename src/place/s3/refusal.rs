//! What it means when an S3 store refuses.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::answers::ErrorAnswer;
use crate::error::{Error, ErrorKind, Place};
use crate::place::fault::{Fault, wait_asked};
use crate::place::url::shown;

/// Longest part of a store's words that is shown.
const SHOWN_WORDS: usize = 200;

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What was asked for, as users may see it.
    pub(super) url: String,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Code and words, where there are some. The rest of an answer may hold signatures.
    pub(super) answer: ErrorAnswer,
}

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// There was no answer, or none that makes sense.
    Fault(Fault),
    /// The store said no.
    Refused(Box<Refusal>),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Fault(error.into())
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Fault(fault) => fault,
            Failure::Refused(refusal) => refusal.fault(),
        }
    }
}

impl Refusal {
    /// Says whether the store answered with this code.
    pub(super) fn is(&self, code: &str) -> bool {
        self.answer.code == code
    }

    /// Says whether the store may not know the headers of checksums.
    pub(super) fn may_be_of_checksums(&self) -> bool {
        let is_word = matches!(
            self.answer.code.as_str(),
            "" | "NotImplemented"
                | "InvalidArgument"
                | "InvalidRequest"
                | "InvalidHeader"
                | "UnsupportedHeader"
                | "BadRequest"
        );
        is_word && matches!(self.status.as_u16(), 400 | 501)
    }

    /// The meaning of the answer.
    pub(super) fn fault(&self) -> Fault {
        let message = self.message();
        let error = |kind| Error::new(kind, message.clone()).at(Place::file(shown(&self.url)));
        let refused = |hint: &str| Fault::Lasting(error(ErrorKind::ServerRefused).hint(hint));
        match self.answer.code.as_str() {
            "SlowDown"
            | "SlowDownRead"
            | "SlowDownWrite"
            | "ServiceUnavailable"
            | "InternalError"
            | "InternalFailure"
            | "RequestTimeout"
            | "OperationAborted"
            | "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "TooManyRequests"
            | "IncompleteBody" => Fault::Passing {
                error: error(ErrorKind::Network)
                    .hint("try again later: the same command goes on where it was"),
                wait: wait_asked(&self.headers),
            },
            "BadDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch" => {
                Fault::integrity(&self.url, message.clone())
            }
            "NoSuchBucket" => {
                refused("check the bucket's name and the S3 endpoint; buckets are not made here")
            }
            "InvalidAccessKeyId" => refused(
                "check AWS_ACCESS_KEY_ID, or the profile, and that the S3 endpoint is the right one",
            ),
            "SignatureDoesNotMatch" => refused("check AWS_SECRET_ACCESS_KEY, or the profile"),
            "InvalidToken" | "ExpiredToken" | "TokenRefreshRequired" => {
                refused("the keys are temporary and have ended; get new ones")
            }
            "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => {
                refused("ask for the permission to do this in the bucket")
            }
            "RequestTimeTooSkewed" => refused("set this machine's clock"),
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException" => refused(&self.right_region()),
            _ if self.status.is_redirection() => refused(&self.right_region()),
            _ if self.answer.code.is_empty() && self.status == StatusCode::FORBIDDEN => refused(
                "check the keys and what they allow; without the permission to list the bucket, \
                 stores say this of what is not there",
            ),
            _ => Fault::of_status(&self.url, self.status, &self.headers, &self.words()),
        }
    }

    fn words(&self) -> String {
        let ErrorAnswer { code, message, .. } = &self.answer;
        let words = match (code.as_str(), message.as_str()) {
            (code, message) if message.is_empty() || message == code => code.to_owned(),
            (code, message) => format!("{code}: {message}"),
        };
        let is_odd = |letter: char| letter.is_control() || letter.is_whitespace();
        let words = words.replace(is_odd, " ");
        words.chars().take(SHOWN_WORDS).collect()
    }

    fn message(&self) -> String {
        let status = match self.status {
            // An error that comes after 200 has no status of its own.
            status if status.is_success() => String::new(),
            status => format!("{status}"),
        };
        let words = self.words();
        match (status.as_str(), words.as_str()) {
            ("", "") => "the store tells an error without a name".to_owned(),
            ("", words) => format!("the store says {words}"),
            (status, "") => format!("the store says {status}"),
            (status, words) => format!("the store says {status}: {words}"),
        }
    }

    fn right_region(&self) -> String {
        let told = self
            .headers
            .get("x-amz-bucket-region")
            .and_then(|region| region.to_str().ok())
            .map(str::to_owned)
            .or_else(|| self.answer.region.clone());
        match (told, &self.answer.endpoint) {
            (Some(region), _) => {
                format!("the bucket is in the region {region}: set AWS_REGION to that")
            }
            (None, Some(endpoint)) => format!("the store wants to be asked at {endpoint}"),
            (None, None) => "check the region and the S3 endpoint".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str, message: &str) -> Refusal {
        Refusal {
            url: "s3://b/k".to_owned(),
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            answer: ErrorAnswer {
                code: code.to_owned(),
                message: message.to_owned(),
                ..ErrorAnswer::default()
            },
        }
    }

    #[test]
    fn codes_have_meanings() {
        for (status, code, kind, passes, said) in [
            (503, "SlowDown", ErrorKind::Network, true, "again later"),
            (200, "InternalError", ErrorKind::Network, true, "InternalEr"),
            (400, "RequestTimeout", ErrorKind::Network, true, "later"),
            (400, "BadDigest", ErrorKind::Integrity, true, "BadDigest"),
            (404, "NoSuchBucket", ErrorKind::ServerRefused, false, "name"),
            (
                403,
                "SignatureDoesNotMatch",
                ErrorKind::ServerRefused,
                false,
                "SECRET_ACCESS_KEY",
            ),
            (403, "", ErrorKind::ServerRefused, false, "list the bucket"),
            (301, "", ErrorKind::ServerRefused, false, "region"),
            (500, "", ErrorKind::Network, true, "500"),
            (501, "NotImplemented", ErrorKind::ServerRefused, false, "No"),
        ] {
            let fault = refusal(status, code, "").fault();
            assert_eq!(matches!(fault, Fault::Passing { .. }), passes, "{code}");
            let error = fault.into_error();
            assert_eq!(error.kind(), kind, "{status} {code}");
            let text = format!("{error} {}", error.hint_text().unwrap_or_default());
            assert!(text.contains(said), "{text}");
        }
    }

    #[test]
    fn the_right_region_is_told() {
        let mut wrong = refusal(301, "PermanentRedirect", "go\naway");
        wrong.answer.region = Some("eu-1".to_owned());
        let error = wrong.fault().into_error();
        assert!(error.hint_text().unwrap().contains("eu-1"), "{error}");
        assert!(error.to_string().contains("go away"), "{error}");
        let region = "ap-2".parse().unwrap();
        wrong.headers.insert("x-amz-bucket-region", region);
        let error = wrong.fault().into_error();
        assert!(error.hint_text().unwrap().contains("ap-2"), "{error}");
    }
}

//! Who we are to servers: logins for HTTP, keys for S3; never shown.

use std::fmt;

use ::url::{Origin, Url};

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text, for the server only.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("REDACTED")
    }
}

/// How to log in at an HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpLogin {
    /// Name and password.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token.
    Bearer(Secret),
}

/// Settings of S3 by the names that `object_store` knows them by, such as `aws_access_key_id`;
/// later ones count more.
pub type S3Settings = Vec<(String, Secret)>;

/// All credentials that were found.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Logins and the URLs that they are for (any below them); the longest that fits is taken.
    pub http: Vec<(Url, HttpLogin)>,
    /// The login for all other HTTP servers that are named.
    pub any_http: Option<HttpLogin>,
    /// The HTTP servers that the user has named, who alone get logins that are for no certain one:
    /// anybody's server can stand in a manifest.
    pub named: Vec<Origin>,
    /// Logins for hosts, whatever the port, where nothing else is said; the first that fits is
    /// taken, and one without a host fits all that are named.
    pub hosts: Vec<(Option<String>, HttpLogin)>,
    /// Settings for all buckets.
    pub s3: S3Settings,
    /// Settings for single buckets, which count more.
    pub buckets: Vec<(String, S3Settings)>,
}

impl Credentials {
    /// Notes a place that the user has named; only HTTP servers count.
    pub fn name(&mut self, place: &str) {
        let url = Url::parse(place).ok();
        let http = url.filter(|url| matches!(url.scheme(), "http" | "https"));
        self.named.extend(http.map(|url| url.origin()));
    }

    /// Returns the login for a URL.
    pub(super) fn login(&self, url: &Url) -> Option<&HttpLogin> {
        let path = format!("{}/", url.path());
        let is_below = |above: &str| path.starts_with(&format!("{}/", above.trim_end_matches('/')));
        let fitting = self
            .http
            .iter()
            .filter(|(known, _)| known.origin() == url.origin() && is_below(known.path()));
        let longest = fitting.max_by_key(|(known, _)| known.path().trim_end_matches('/').len());
        let is_named = self.named.contains(&url.origin());
        let of_host = || {
            let mut hosts = self.hosts.iter();
            hosts.find(|(host, _)| match host {
                Some(host) => Some(host.as_str()) == url.host_str(),
                None => is_named,
            })
        };
        longest
            .map(|(_, login)| login)
            .or(self.any_http.as_ref().filter(|_| is_named))
            .or_else(|| of_host().map(|(_, login)| login))
    }

    /// Returns the settings for a bucket; later ones count more.
    pub fn s3_of(&self, bucket: &str) -> S3Settings {
        let mut settings = self.s3.clone();
        for (name, own) in &self.buckets {
            if name == bucket {
                add_s3(&mut settings, own.iter().cloned());
            }
        }
        settings
    }
}

/// Adds settings that count more. A key takes with it all that belonged to the key before it: a
/// session's token is worth nothing with another key.
pub(super) fn add_s3(settings: &mut S3Settings, more: impl IntoIterator<Item = (String, Secret)>) {
    let more: S3Settings = more.into_iter().collect();
    if more.iter().any(|(name, _)| name == "aws_access_key_id") {
        let is_of_key = |name: &str| {
            ["key_id", "secret", "token"]
                .iter()
                .any(|part| name.to_ascii_lowercase().contains(part))
        };
        settings.retain(|(name, _)| !is_of_key(name));
    }
    settings.extend(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> HttpLogin {
        HttpLogin::Bearer(Secret::new(text))
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn the_closest_login_counts_and_none_is_shown() {
        let mut credentials = Credentials {
            http: vec![
                (url("https://h/"), token("root")),
                (url("https://h/a/"), token("folder")),
                (url("https://h/b/c"), token("file")),
            ],
            any_http: Some(token("any")),
            named: Vec::new(),
            hosts: vec![(Some("h".into()), token("host")), (None, token("rest"))],
            s3: vec![("aws_secret_access_key".into(), Secret::new("key"))],
            buckets: Vec::new(),
        };
        for place in [
            "http://h",
            "https://h:81/x?y",
            "https://H.example/",
            "s3://b",
        ] {
            credentials.name(place);
        }
        for (at, is) in [
            ("https://h/a/b", "folder"),
            ("https://h/a", "folder"),
            ("https://h/ab", "root"),
            ("https://h/b", "root"),
            ("https://h/b/c", "file"),
            ("https://h/b/c/d", "file"),
            ("http://h/a/b", "any"),
            ("https://h:81/a/b", "any"),
            ("https://h.example/a/b", "any"),
        ] {
            assert_eq!(credentials.login(&url(at)), Some(&token(is)), "{at}");
        }
        // A manifest can name anybody's server, port or scheme.
        let unnamed = [
            "https://evil/",
            "http://h.example/",
            "https://h.example:81/",
        ];
        for at in unnamed {
            assert_eq!(credentials.login(&url(at)), None, "{at}");
        }
        credentials.any_http = None;
        assert_eq!(credentials.login(&url(unnamed[0])), None);
        credentials.name("http://other");
        for (at, is) in [
            ("http://h:82/x", "host"),
            ("http://other/x", "rest"),
            ("https://h.example/x", "rest"),
        ] {
            assert_eq!(credentials.login(&url(at)), Some(&token(is)), "{at}");
        }
        let shown = format!("{credentials:?}");
        for secret in ["folder\"", "\"key\"", "\"host\"", "any"] {
            let names = ["any_http"];
            let shown = names
                .iter()
                .fold(shown.clone(), |s, name| s.replace(name, ""));
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn a_key_does_not_mix_with_the_token_of_another() {
        let set = |list: &[(&str, &str)]| -> S3Settings {
            let list = list.iter();
            list.map(|(name, value)| ((*name).to_owned(), Secret::new(*value)))
                .collect()
        };
        let credentials = Credentials {
            s3: set(&[
                ("aws_access_key_id", "A"),
                ("aws_secret_access_key", "S"),
                ("aws_session_token", "T"),
                ("aws_region", "here"),
            ]),
            buckets: vec![
                (
                    "b".into(),
                    set(&[("aws_access_key_id", "B"), ("aws_secret_access_key", "Z")]),
                ),
                ("c".into(), set(&[("aws_region", "there")])),
            ],
            ..Credentials::default()
        };
        let names = |bucket: &str| -> Vec<String> {
            let settings = credentials.s3_of(bucket).into_iter();
            settings.map(|(name, _)| name).collect()
        };
        assert_eq!(names("a").len(), 4);
        assert_eq!(
            names("b"),
            ["aws_region", "aws_access_key_id", "aws_secret_access_key"]
        );
        assert_eq!(names("c").len(), 5);
    }
}

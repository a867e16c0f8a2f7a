//! Who we are to servers: logins for HTTP, keys for S3; never shown.

use std::fmt;

use ::url::Url;

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

/// All credentials that were found.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Logins and the URLs that they are for (any below them); the longest that fits is taken.
    pub http: Vec<(Url, HttpLogin)>,
    /// The login for all other HTTP servers.
    pub any_http: Option<HttpLogin>,
    /// Settings of S3 by the names that object_store knows them by, such as
    /// `aws_access_key_id`; later ones count more.
    pub s3: Vec<(String, Secret)>,
}

impl Credentials {
    /// Returns the login for a URL.
    pub(super) fn login(&self, url: &Url) -> Option<&HttpLogin> {
        let fits = |known: &&(Url, HttpLogin)| {
            let (known, _) = known;
            known.origin() == url.origin() && url.path().starts_with(known.path())
        };
        let fitting = self.http.iter().filter(fits);
        let longest = fitting.max_by_key(|(known, _)| known.path().len());
        longest.map(|(_, login)| login).or(self.any_http.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_login_counts_and_none_is_shown() {
        let token = |text: &str| HttpLogin::Bearer(Secret::new(text));
        let url = |text: &str| Url::parse(text).unwrap();
        let credentials = Credentials {
            http: vec![
                (url("https://h/"), token("root")),
                (url("https://h/a/"), token("folder")),
            ],
            any_http: Some(token("any")),
            s3: vec![("aws_secret_access_key".into(), Secret::new("key"))],
        };
        for (at, is) in [
            ("https://h/a/b", "folder"),
            ("https://h/b", "root"),
            ("http://h/a/b", "any"),
            ("https://h:81/a/b", "any"),
        ] {
            assert_eq!(credentials.login(&url(at)), Some(&token(is)), "{at}");
        }
        let shown = format!("{credentials:?}");
        assert!(
            !shown.contains("folder\"") && !shown.contains("\"key\""),
            "{shown}"
        );
    }
}

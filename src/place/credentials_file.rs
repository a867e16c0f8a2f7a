//! Where credentials come from: a file, the environment, `.netrc`.
//!
//! Messages never show what stands in these files: a slip of the pen can put a secret anywhere.
#![allow(
    clippy::disallowed_methods,
    reason = "files are read here; nothing is written"
)]

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::PlaceUrl;
use super::credentials::{Credentials, HttpLogin, S3Settings, Secret, add_s3};
use crate::error::{Error, ErrorKind, Place, Result};

/// Names of settings of S3 in the file, and what `object_store` calls them.
const S3_KEYS: [(&str, &str); 5] = [
    ("access_key_id", "aws_access_key_id"),
    ("secret_access_key", "aws_secret_access_key"),
    ("session_token", "aws_session_token"),
    ("endpoint", "aws_endpoint_url_s3"),
    ("region", "aws_region"),
];
const HTTP_KEYS: [&str; 3] = ["user", "password", "bearer"];

impl Credentials {
    /// Finds all credentials: what `file` says counts most, then variables of the environment
    /// (asked for by `variable`), then `.netrc` in `home`, and for S3 `chain`, the settings that
    /// the environment and AWS's own files tell.
    ///
    /// # Errors
    /// A file can't be read, can be read by others, or makes no sense; variables contradict each
    /// other.
    pub fn find(
        file: Option<&Path>,
        variable: &dyn Fn(&str) -> Option<String>,
        home: Option<&Path>,
        chain: S3Settings,
    ) -> Result<Self> {
        let mut found = Self {
            s3: chain,
            any_http: login_of_environment(variable)?,
            hosts: netrc(variable, home)?,
            ..Self::default()
        };
        if let Some(path) = file {
            let text = read_private(path)?;
            let add = found.add_file(&text);
            add.map_err(|error| error.at(Place::file(path.display().to_string())))?;
        }
        Ok(found)
    }

    /// Adds what a credentials file says.
    fn add_file(&mut self, text: &str) -> Result<()> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let before = text.get(..start).unwrap_or(text);
            let line = 1 + before.matches('\n').count() as u64;
            Error::usage("is not TOML").at(Place {
                line: Some(line),
                ..Place::default()
            })
        })?;
        for (name, value) in &table {
            let toml::Value::Table(own) = value else {
                return Err(
                    Error::usage(format!("found the key '{name}' outside a table"))
                        .hint(EXPECTED_TABLES),
                );
            };
            let add = self.add_table(name, own);
            add.map_err(|error| error.add_message(&format!(" (in table [\"{name}\"])")))?;
        }
        Ok(())
    }

    fn add_table(&mut self, name: &str, own: &toml::Table) -> Result<()> {
        if name == "s3" {
            add_s3(&mut self.s3, s3_of(own)?);
            return Ok(());
        }
        match PlaceUrl::parse(name)? {
            PlaceUrl::Http(url) => self.http.push((url, http_of(own)?)),
            PlaceUrl::S3 { bucket, prefix } if prefix.is_empty() => {
                self.buckets.push((bucket, s3_of(own)?));
            }
            _ => {
                return Err(Error::usage("found a table for something else").hint(EXPECTED_TABLES));
            }
        }
        Ok(())
    }
}

const EXPECTED_TABLES: &str =
    "expected tables such as [\"https://dav.example.org/data\"], [\"s3\"] or [\"s3://bucket\"]";

/// Reads a file that nobody else may read.
fn read_private(path: &Path) -> Result<String> {
    let reading = |error| Error::reading(path, error);
    let mut file = File::open(path).map_err(reading)?;
    let mode = file.metadata().map_err(reading)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("has mode {mode:03o}: others may use it, expected 600"),
        )
        .at(Place::file(path.display().to_string()))
        .hint("run chmod 600 on it"));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(reading)?;
    Ok(text)
}

fn unknown(key: &str, known: &[&str]) -> Error {
    Error::usage(format!("unknown key '{key}'")).hint(format!("expected {}", known.join(", ")))
}

fn text_of<'t>(table: &'t toml::Table, key: &str) -> Result<Option<&'t str>> {
    table
        .get(key)
        .map(|value| {
            let text = value.as_str().filter(|text| !text.is_empty());
            text.ok_or_else(|| Error::usage(format!("key '{key}': expected a text")))
        })
        .transpose()
}

fn http_of(table: &toml::Table) -> Result<HttpLogin> {
    if let Some(key) = table.keys().find(|key| !HTTP_KEYS.contains(&key.as_str())) {
        return Err(unknown(key, &HTTP_KEYS));
    }
    let [user, password, bearer] = HTTP_KEYS.map(|key| text_of(table, key));
    match (user?, password?, bearer?) {
        (Some(user), Some(password), None) => Ok(basic(user, password)),
        (None, None, Some(token)) => Ok(HttpLogin::Bearer(Secret::new(token))),
        _ => Err(Error::usage("expected user and password, or bearer")),
    }
}

fn basic(user: &str, password: &str) -> HttpLogin {
    HttpLogin::Basic {
        user: user.to_owned(),
        password: Secret::new(password),
    }
}

fn s3_of(table: &toml::Table) -> Result<S3Settings> {
    let mut settings = S3Settings::new();
    for (key, value) in table {
        if key == "path_style" {
            let is_path = value.as_bool().ok_or_else(|| {
                Error::usage("key 'path_style': expected true or false".to_owned())
            })?;
            let name = "aws_virtual_hosted_style_request".to_owned();
            settings.push((name, Secret::new((!is_path).to_string())));
            continue;
        }
        let Some((_, name)) = S3_KEYS.iter().find(|(known, _)| known == key) else {
            let mut known: Vec<&str> = S3_KEYS.iter().map(|(known, _)| *known).collect();
            known.push("path_style");
            return Err(unknown(key, &known));
        };
        let text = text_of(table, key)?.unwrap_or_default();
        settings.push(((*name).to_owned(), Secret::new(text)));
    }
    let has = |name: &str| settings.iter().any(|(known, _)| known == name);
    if has("aws_access_key_id") != has("aws_secret_access_key") {
        return Err(Error::usage(
            "expected access_key_id and secret_access_key together",
        ));
    }
    Ok(settings)
}

fn login_of_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<HttpLogin>> {
    const USER: &str = "SKYPREP_HTTP_USER";
    const PASSWORD: &str = "SKYPREP_HTTP_PASSWORD";
    const BEARER: &str = "SKYPREP_HTTP_BEARER";
    let [user, password, bearer] =
        [USER, PASSWORD, BEARER].map(|name| variable(name).filter(|value| !value.is_empty()));
    match (user, password, bearer) {
        (None, None, None) => Ok(None),
        (Some(user), Some(password), None) => Ok(Some(basic(&user, &password))),
        (None, None, Some(token)) => Ok(Some(HttpLogin::Bearer(Secret::new(token)))),
        _ => Err(Error::usage(format!(
            "expected {USER} and {PASSWORD} in the environment, or {BEARER}, or none of them"
        ))),
    }
}

/// Reads `$NETRC`, or `.netrc` if it is there.
fn netrc(
    variable: &dyn Fn(&str) -> Option<String>,
    home: Option<&Path>,
) -> Result<Vec<(Option<String>, HttpLogin)>> {
    let named = variable("NETRC").filter(|path| !path.is_empty());
    let path = match (&named, home) {
        (Some(path), _) => PathBuf::from(path),
        (None, Some(home)) => home.join(".netrc"),
        (None, None) => return Ok(Vec::new()),
    };
    let read = read_private(&path).and_then(|text| {
        logins_of(&text).map_err(|error| error.at(Place::file(path.display().to_string())))
    });
    match read {
        Ok(logins) => Ok(logins),
        Err(error) if named.is_some() => Err(error),
        // It is there for other programs, or not at all.
        Err(error) => {
            if path.exists() {
                tracing::warn!("passed over: {error}");
            }
            Ok(Vec::new())
        }
    }
}

/// Returns the logins of a `.netrc`.
fn logins_of(text: &str) -> Result<Vec<(Option<String>, HttpLogin)>> {
    let mut logins = Vec::new();
    let mut host: Option<Option<String>> = None;
    let (mut user, mut password) = (None::<String>, None::<String>);
    let mut add = |host: &mut Option<Option<String>>,
                   user: &mut Option<String>,
                   password: &mut Option<String>| {
        if let (Some(host), Some(user), Some(password)) =
            (host.take(), user.take(), password.take())
        {
            logins.push((host, basic(&user, &password)));
        }
    };
    let mut words = Words::of(text);
    while let Some((line, word)) = words.next() {
        let odd = || {
            Error::usage("expected machine, default, login, password, account or macdef").at(
                Place {
                    line: Some(line),
                    ..Place::default()
                },
            )
        };
        match word.as_str() {
            "machine" => {
                add(&mut host, &mut user, &mut password);
                host = Some(Some(words.next().ok_or_else(odd)?.1.to_ascii_lowercase()));
            }
            "default" => {
                add(&mut host, &mut user, &mut password);
                host = Some(None);
            }
            "login" => user = Some(words.next().ok_or_else(odd)?.1),
            "password" => password = Some(words.next().ok_or_else(odd)?.1),
            "account" => _ = words.next().ok_or_else(odd)?,
            "macdef" => words.skip_macro(),
            _ => return Err(odd()),
        }
    }
    add(&mut host, &mut user, &mut password);
    Ok(logins)
}

/// The words of a `.netrc` and their lines: some are quoted, some lines are comments.
struct Words<'t> {
    lines: std::iter::Enumerate<std::str::Lines<'t>>,
    line: u64,
    rest: &'t str,
}

impl<'t> Words<'t> {
    fn of(text: &'t str) -> Self {
        Self {
            lines: text.lines().enumerate(),
            line: 0,
            rest: "",
        }
    }

    /// A macro ends at an empty line.
    fn skip_macro(&mut self) {
        self.rest = "";
        let _ = self.lines.find(|(_, line)| line.trim().is_empty());
    }
}

impl Iterator for Words<'_> {
    type Item = (u64, String);

    fn next(&mut self) -> Option<Self::Item> {
        while self.rest.trim().is_empty() {
            let (number, line) = self.lines.next()?;
            self.line = number as u64 + 1;
            self.rest = match line.trim_start().starts_with('#') {
                true => "",
                false => line,
            };
        }
        let rest = self.rest.trim_start();
        let Some(quoted) = rest.strip_prefix('"') else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, rest) = rest.split_at(end);
            self.rest = rest;
            return Some((self.line, word.to_owned()));
        };
        let mut word = String::new();
        let mut letters = quoted.char_indices();
        self.rest = "";
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.rest = quoted.get(at + 1..).unwrap_or_default();
                    break;
                }
                '\\' => match letters.next() {
                    Some((_, 'n')) => word.push('\n'),
                    Some((_, 't')) => word.push('\t'),
                    Some((_, 'r')) => word.push('\r'),
                    other => word.extend(other.map(|(_, letter)| letter)),
                },
                _ => word.push(letter),
            }
        }
        Some((self.line, word))
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests make their inputs as they like"
)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use ::url::Url;

    use super::*;

    fn none(_: &str) -> Option<String> {
        None
    }

    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn login(found: &Credentials, url: &str) -> Option<HttpLogin> {
        let mut found = found.clone();
        found.name(url);
        found.login(&Url::parse(url).unwrap()).cloned()
    }

    #[test]
    fn a_file_counts_more_than_the_environment_and_that_more_than_netrc() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("c.toml");
        let text = "[\"https://dav.example.org/x\"]\nuser = \"u\"\npassword = \"p\"\n\
                    [\"https://dav.example.org/y\"]\nbearer = \"b\"\n\
                    [s3]\naccess_key_id = \"A\"\nsecret_access_key = \"S\"\n\
                    [\"s3://one\"]\nregion = \"here\"\npath_style = true\n";
        write(&file, text, 0o600);
        let netrc = "# mine\nmachine other.org login n password \"a \\\"b\" account q\n\
                     macdef init\ncd /\nmachine no.org\n\ndefault login d password e\n";
        write(&home.path().join(".netrc"), netrc, 0o600);
        let chain = vec![("aws_session_token".to_owned(), Secret::new("old"))];
        let found =
            Credentials::find(Some(&file), &none, Some(home.path()), chain.clone()).unwrap();
        let of = |url: &str| login(&found, url);
        assert_eq!(of("https://dav.example.org/x/k"), Some(basic("u", "p")));
        let token = HttpLogin::Bearer(Secret::new("b"));
        assert_eq!(of("https://dav.example.org/y/k"), Some(token));
        assert_eq!(of("https://other.org/y/k"), Some(basic("n", "a \"b")));
        assert_eq!(of("https://no.org/y/k"), Some(basic("d", "e")));
        let set = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
        assert_eq!(
            found.s3_of("one"),
            [
                set("aws_access_key_id", "A"),
                set("aws_secret_access_key", "S"),
                set("aws_virtual_hosted_style_request", "false"),
                set("aws_region", "here"),
            ]
        );
        assert_eq!(found.s3_of("two").len(), 2);

        let variable = |name: &str| match name {
            "SKYPREP_HTTP_BEARER" => Some("env".to_owned()),
            _ => None,
        };
        let found = Credentials::find(Some(&file), &variable, Some(home.path()), chain).unwrap();
        let env = HttpLogin::Bearer(Secret::new("env"));
        assert_eq!(login(&found, "https://other.org/"), Some(env));
        let own = login(&found, "https://dav.example.org/x/");
        assert_eq!(own, Some(basic("u", "p")));
    }

    #[test]
    fn what_makes_no_sense_is_refused_without_showing_it() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("c.toml");
        for (text, said) in [
            ("[s3]\naccess_key_id = hush\n", "line 2"),
            ("[s3]\naccess_key_id = \"hush\"\n", "together"),
            ("[s3]\nsecret = \"hush\"\n", "unknown key 'secret'"),
            ("[s3]\nregion = 7\n", "'region': expected a text"),
            ("user = \"hush\"\n", "outside a table"),
            (
                "[\"https://h\"]\nuser = \"hush\"\n",
                "user and password, or bearer",
            ),
            (
                "[\"https://h\"]\nuser = \"a\"\npassword = 5\n",
                "'password'",
            ),
            ("[\"https://h\"]\ntoken = \"hush\"\n", "unknown key 'token'"),
            ("[\"ftp://h\"]\nuser = \"a\"\n", "ftp"),
            ("[\"s3://b/prefix\"]\nregion = \"hush\"\n", "something else"),
            ("[folder]\nuser = \"hush\"\n", "something else"),
        ] {
            write(&file, text, 0o600);
            let error = Credentials::find(Some(&file), &none, None, Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
            let shown = format!("{error}");
            assert!(shown.contains(said) && shown.contains("c.toml"), "{shown}");
            assert!(!format!("{error:?}").contains("hush"), "{error:?}");
        }
        write(&file, "[s3]\nregion = \"r\"\n", 0o640);
        let error = Credentials::find(Some(&file), &none, None, Vec::new()).unwrap_err();
        assert!(error.to_string().contains("has mode 640"), "{error}");

        for (user, password, bearer) in [(true, false, false), (true, true, true)] {
            let variable = |name: &str| {
                let is_set = match name {
                    "SKYPREP_HTTP_USER" => user,
                    "SKYPREP_HTTP_PASSWORD" => password,
                    "SKYPREP_HTTP_BEARER" => bearer,
                    _ => false,
                };
                is_set.then(|| "hush".to_owned())
            };
            let error = Credentials::find(None, &variable, None, Vec::new()).unwrap_err();
            assert!(!error.to_string().contains("hush"), "{error}");
        }

        // One's own .netrc is there for other programs too; one that was named must be right.
        let netrc = home.path().join(".netrc");
        for (text, mode) in [("machine h login hush", 0o644), ("hush", 0o600)] {
            write(&netrc, text, mode);
            let found = Credentials::find(None, &none, Some(home.path()), Vec::new()).unwrap();
            assert_eq!(login(&found, "http://h/"), None);
            let named = |name: &str| (name == "NETRC").then(|| netrc.display().to_string());
            let error = Credentials::find(None, &named, None, Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }
}

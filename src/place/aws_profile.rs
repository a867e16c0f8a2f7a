//! Keys and settings for S3 where the tools of AWS look for them: `AWS_*` variables, and profiles
//! in `~/.aws/credentials` and `~/.aws/config`.
//!
//! `credential_process`, SSO and roles that are assumed with another profile's keys run other
//! programs or want a browser; they are refused with words. Keys of containers, web identities and
//! machines in the cloud are asked for when they are needed, if nothing else is there.

use std::collections::HashMap;
use std::io::ErrorKind as Io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::credentials::Secret;
use crate::error::{Error, ErrorKind, Place, Result};

/// Variables that are taken as they are, by their own names in lower case.
const PLAIN: [&str; 20] = [
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_STS",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_METADATA_ENDPOINT",
    "AWS_IMDSV1_FALLBACK",
    "AWS_SKIP_SIGNATURE",
    "AWS_REQUEST_PAYER",
    "AWS_UNSIGNED_PAYLOAD",
    "AWS_CHECKSUM_ALGORITHM",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_SERVER_SIDE_ENCRYPTION",
];

/// Variables of keys, which belong together.
const KEYS: [&str; 3] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];

/// Settings of a profile besides its keys, and what they are called here.
const PROFILE_SETTINGS: [(&str, &str); 5] = [
    ("region", "aws_region"),
    ("endpoint_url", "aws_endpoint_url"),
    ("role_session_name", "aws_role_session_name"),
    (
        "request_checksum_calculation",
        "aws_request_checksum_calculation",
    ),
    ("s3.endpoint_url", "aws_endpoint_url_s3"),
];

/// Collects the settings of S3 for [`Credentials::s3`](super::Credentials::s3) from variables of
/// the environment and the files of AWS's own tools below `home`.
///
/// Variables count more than files. Keys are never mixed: those of the environment, or those of
/// the profile.
///
/// # Errors
/// A file can't be read or is not what was expected, others may read the keys in it, the profile
/// that is asked for is not there, or it gets its keys in a way that is not supported.
pub fn s3_settings(
    variable: &dyn Fn(&str) -> Option<String>,
    home: Option<&Path>,
) -> Result<Vec<(String, Secret)>> {
    let given = |name: &str| {
        let value = variable(name)?;
        Some(value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    let has_keys = given("AWS_ACCESS_KEY_ID").is_some() || given("AWS_SECRET_ACCESS_KEY").is_some();
    let has_identity = given("AWS_WEB_IDENTITY_TOKEN_FILE").is_some();
    let is_anonymous = given("AWS_SKIP_SIGNATURE").is_some();
    let wants_keys = !has_keys && !has_identity && !is_anonymous;

    let mut settings: Vec<(String, Secret)> = Vec::new();
    if let Some(profile) = Profile::find(&given, home)? {
        let region_is_given =
            given("AWS_REGION").is_some() || given("AWS_DEFAULT_REGION").is_some();
        for (name, setting) in PROFILE_SETTINGS {
            let is_hidden = match setting {
                "aws_region" => region_is_given,
                "aws_endpoint_url_s3" => given("AWS_ENDPOINT_URL").is_some(),
                _ => false,
            };
            if let Some(value) = profile.setting(name).filter(|_| !is_hidden) {
                settings.push((setting.to_owned(), Secret::new(value)));
            }
        }
        if profile.setting("s3.addressing_style") == Some("virtual") {
            settings.push((
                "aws_virtual_hosted_style_request".to_owned(),
                Secret::new("true"),
            ));
        }
        if wants_keys {
            settings.extend(profile.keys()?);
        }
    }
    let names = KEYS.iter().filter(|_| has_keys).chain(&PLAIN);
    let names = names.chain(&["AWS_SSE_KMS_KEY_ID", "AWS_SSE_BUCKET_KEY_ENABLED"]);
    for name in names {
        if let Some(value) = given(name) {
            settings.push((name.to_ascii_lowercase(), Secret::new(value)));
        }
    }
    Ok(settings)
}

/// What both files say of one profile.
struct Profile {
    name: String,
    credentials: Option<Section>,
    config: Option<Section>,
}

/// Part of a file.
struct Section {
    path: PathBuf,
    /// Others than the owner may read the file.
    is_open: bool,
    values: HashMap<String, String>,
}

impl Profile {
    fn find(given: &dyn Fn(&str) -> Option<String>, home: Option<&Path>) -> Result<Option<Self>> {
        let asked = given("AWS_PROFILE").or_else(|| given("AWS_DEFAULT_PROFILE"));
        let name = asked.clone().unwrap_or_else(|| "default".to_owned());
        let section = |variable: &str, file: &str, titles: &[String]| {
            let named = given(variable);
            let path = match (&named, home) {
                (Some(path), _) => from_home(path, home),
                (None, Some(home)) => home.join(".aws").join(file),
                (None, None) => return Ok(None),
            };
            Section::read(path, named.is_some(), titles)
        };
        let titles = [name.clone()];
        let credentials = section("AWS_SHARED_CREDENTIALS_FILE", "credentials", &titles)?;
        let titles = match name.as_str() {
            "default" => vec![name.clone(), "profile default".to_owned()],
            _ => vec![format!("profile {name}")],
        };
        let config = section("AWS_CONFIG_FILE", "config", &titles)?;
        if credentials.is_some() || config.is_some() {
            return Ok(Some(Self {
                name,
                credentials,
                config,
            }));
        }
        match asked {
            None => Ok(None),
            Some(_) => Err(Error::usage(format!(
                "AWS_PROFILE is '{name}', but neither ~/.aws/credentials nor ~/.aws/config has it"
            ))
            .hint("check the name of the profile")),
        }
    }

    fn setting(&self, name: &str) -> Option<&str> {
        [&self.credentials, &self.config]
            .into_iter()
            .flatten()
            .find_map(|section| section.values.get(name))
            .map(String::as_str)
    }

    /// Returns the profile's keys, or what they are to be asked for with.
    fn keys(&self) -> Result<Vec<(String, Secret)>> {
        let setting = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
        if let (Some(role), Some(token)) = (
            self.setting("role_arn"),
            self.setting("web_identity_token_file"),
        ) {
            return Ok(vec![
                setting("aws_role_arn", role),
                setting("aws_web_identity_token_file", token),
            ]);
        }
        let sections = [&self.credentials, &self.config];
        for section in sections.into_iter().flatten() {
            let value = |name: &str| section.values.get(name).map(String::as_str);
            let Some(id) = value("aws_access_key_id") else {
                continue;
            };
            let at = Place::file(section.path.display().to_string());
            if section.is_open {
                return Err(Error::usage(
                    "others than the owner can read or write it, and keys stand in it",
                )
                .at(at)
                .hint(format!("chmod 600 {}", section.path.display())));
            }
            let Some(key) = value("aws_secret_access_key") else {
                return Err(Error::usage(format!(
                    "the profile '{}' has aws_access_key_id without aws_secret_access_key",
                    self.name
                ))
                .at(at));
            };
            let mut keys = vec![
                setting("aws_access_key_id", id),
                setting("aws_secret_access_key", key),
            ];
            if let Some(token) = value("aws_session_token") {
                keys.push(setting("aws_session_token", token));
            }
            return Ok(keys);
        }
        for other in [
            "credential_process",
            "sso_session",
            "sso_start_url",
            "source_profile",
            "credential_source",
        ] {
            if self.setting(other).is_some() {
                return Err(Error::usage(format!(
                    "the profile '{}' gets its keys by {other}, which is not supported",
                    self.name
                ))
                .hint("let AWS's own tool tell them: eval \"$(aws configure export-credentials --format env)\""));
            }
        }
        Ok(Vec::new())
    }
}

impl Section {
    /// Reads the first of these sections that a file has.
    fn read(path: PathBuf, must_exist: bool, titles: &[String]) -> Result<Option<Self>> {
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| {
                Error::usage("is not UTF-8 text").at(Place::file(path.display().to_string()))
            })?,
            Err(error) if error.kind() == Io::NotFound && !must_exist => return Ok(None),
            Err(error) if error.kind() == Io::PermissionDenied && !must_exist => return Ok(None),
            Err(error) => return Err(Error::reading(&path, error)),
        };
        let mut sections = parse(&text).map_err(|line| {
            Error::new(
                ErrorKind::Usage,
                format!("line {line} is neither a [section] nor a setting"),
            )
            .at(Place::file(path.display().to_string()))
            .hint("expected 'name = value'")
        })?;
        let found = titles.iter().find_map(|title| sections.remove(title));
        let Some(values) = found else {
            return Ok(None);
        };
        let mode = std::fs::metadata(&path)
            .map_err(|error| Error::reading(&path, error))?
            .permissions()
            .mode();
        Ok(Some(Self {
            is_open: mode & 0o077 != 0,
            path,
            values,
        }))
    }
}

fn from_home(path: &str, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

type Sections = HashMap<String, HashMap<String, String>>;

/// Reads the form of AWS's files: sections, settings, and settings inside of one (`s3 =`), which
/// are indented and here called `s3.name`. Tells the number of a line that is none of these; what
/// it holds might be a key.
fn parse(text: &str) -> Result<Sections, usize> {
    let mut sections = Sections::new();
    let (mut title, mut outer) = (None::<String>, None::<String>);
    for (number, line) in (1_usize..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let (name, _) = rest.split_once(']').ok_or(number)?;
            let words: Vec<&str> = name.split_whitespace().collect();
            let name = words.join(" ").replace('"', "");
            sections.entry(name.clone()).or_default();
            (title, outer) = (Some(name), None);
            continue;
        }
        let (name, value) = bare.split_once('=').ok_or(number)?;
        let name = name.trim().to_ascii_lowercase();
        // A comment begins after a blank: keys may hold a '#'.
        let ends = [" #", " ;", "\t#", "\t;"];
        let value = ends
            .iter()
            .filter_map(|end| value.find(end))
            .min()
            .map_or(value, |end| value.get(..end).unwrap_or(value));
        let value = value.trim().to_owned();
        let values = title.as_ref().and_then(|title| sections.get_mut(title));
        let values = values.ok_or(number)?;
        let is_inner = line.starts_with([' ', '\t']);
        match (&outer, is_inner) {
            (Some(outer), true) => {
                values.insert(format!("{outer}.{name}"), value);
            }
            _ if value.is_empty() => outer = Some(name),
            _ => {
                outer = None;
                values.insert(name, value);
            }
        }
    }
    Ok(sections)
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests make their inputs as they like"
)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "\
# mine
[default]
aws_access_key_id = D
aws_secret_access_key=SECRET#1 ; not this

[work]
aws_access_key_id = W
aws_secret_access_key = SECRET2
aws_session_token = SECRET3
[half]
aws_access_key_id = H
";
    const CONFIG: &str = "\
[default]
region = eu-1
s3 =
  addressing_style = virtual
  endpoint_url = http://inner
output = json
[profile work]
region = us-2
endpoint_url = https://e
[profile sso]
sso_session = x
[profile program]
credential_process = /bin/keys
[profile pod]
role_arn = arn
web_identity_token_file = /token
";

    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            std::fs::create_dir(home.path().join(".aws")).unwrap();
            let home = Self(home);
            home.write("credentials", CREDENTIALS, 0o600);
            home.write("config", CONFIG, 0o644);
            home
        }

        fn write(&self, name: &str, text: &str, mode: u32) {
            let path = self.0.path().join(".aws").join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }

        fn settings(&self, variables: &[(&str, &str)]) -> Result<String> {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let settings = s3_settings(&variable, Some(self.0.path()))?;
            let shown = settings.iter().map(|(name, value)| {
                let name = name.trim_start_matches("aws_");
                format!("{name}={}", value.reveal())
            });
            Ok(shown.collect::<Vec<_>>().join(" "))
        }
    }

    #[test]
    fn keys_and_settings_are_found_where_they_belong() {
        let home = Home::new();
        let region = "region=eu-1 endpoint_url_s3=http://inner";
        let style = "virtual_hosted_style_request=true";
        for (variables, found) in [
            (
                vec![],
                format!("{region} {style} access_key_id=D secret_access_key=SECRET#1"),
            ),
            (
                vec![("AWS_PROFILE", "work")],
                "region=us-2 endpoint_url=https://e access_key_id=W secret_access_key=SECRET2 \
                 session_token=SECRET3"
                    .to_owned(),
            ),
            (
                vec![
                    ("AWS_ACCESS_KEY_ID", "E"),
                    ("AWS_SECRET_ACCESS_KEY", "S"),
                    ("AWS_DEFAULT_REGION", "x"),
                    ("AWS_ENDPOINT_URL", "http://given"),
                ],
                format!(
                    "{style} access_key_id=E secret_access_key=S default_region=x \
                     endpoint_url=http://given"
                ),
            ),
            (
                vec![("AWS_PROFILE", "pod"), ("AWS_SESSION_TOKEN", "stray")],
                "role_arn=arn web_identity_token_file=/token".to_owned(),
            ),
        ] {
            assert_eq!(home.settings(&variables).unwrap(), found);
        }
    }

    #[test]
    fn what_is_odd_is_refused_without_secrets() {
        let home = Home::new();
        for (profile, said) in [
            ("none", "neither"),
            ("half", "without aws_secret_access_key"),
            ("sso", "sso_session, which is not supported"),
            ("program", "credential_process, which is not supported"),
        ] {
            let error = home.settings(&[("AWS_PROFILE", profile)]).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert_eq!(error.kind(), ErrorKind::Usage);
        }
        home.write("credentials", CREDENTIALS, 0o640);
        let error = home.settings(&[]).unwrap_err();
        assert!(error.hint_text().unwrap().contains("chmod 600"), "{error}");
        // What is not used may be as it likes.
        let own = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "S")];
        home.settings(&own).unwrap();
        home.write("credentials", "[default]\nSECRET\n", 0o600);
        let error = home.settings(&[]).unwrap_err().to_string();
        assert!(
            error.contains("line 2") && !error.contains("SECRET"),
            "{error}"
        );
        let missing = [("AWS_SHARED_CREDENTIALS_FILE", "/no/such/file")];
        let error = home.settings(&missing).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InputMissing);
    }

    #[test]
    fn without_a_home_there_are_variables() {
        let variable = |name: &str| (name == "AWS_REGION").then(|| "r".to_owned());
        let settings = s3_settings(&variable, None).unwrap();
        assert_eq!(settings, [("aws_region".to_owned(), Secret::new("r"))]);
    }
}

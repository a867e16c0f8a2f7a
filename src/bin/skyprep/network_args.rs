//! What can be said about servers: credentials, certificates, tries; doc comments are the help
//! texts.
#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown as they are, without Markdown"
)]

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use skyprep::error::Error;
use skyprep::place::{Credentials, Network, NetworkOptions, PlaceUrl, RetryPolicy, Secret};
use skyprep::resources::ByteSize;

use crate::session::Session;
use crate::times::parse_time;

/// Most memory for bytes on their way; more brings nothing.
const MOST_BUFFERS: u64 = 512 << 20;

/// Staged files that are looked at, read or removed at once.
pub const FILES_AT_ONCE: usize = 32;

/// Options of commands that speak to servers.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// File (TOML, mode 600) of logins and keys: tables ["https://dav.example.org/data"] with user
    /// and password, or bearer; [s3] or ["s3://bucket"] with access_key_id, secret_access_key,
    /// session_token, endpoint, region, path_style. What it does not tell comes from
    /// SKYPREP_HTTP_USER and SKYPREP_HTTP_PASSWORD, or SKYPREP_HTTP_BEARER (for servers that you
    /// name, not for others that a manifest names), or ~/.netrc, for S3 from AWS_* or ~/.aws
    #[arg(long, value_name = "FILE")]
    pub credentials: Option<PathBuf>,
    /// File of certificates (PEM) to trust besides the system's (repeatable)
    #[arg(long, value_name = "FILE")]
    pub ca_file: Vec<PathBuf>,
    /// Where the S3 store is, if it is not AWS
    #[arg(long, value_name = "URL")]
    pub s3_endpoint: Option<String>,
    /// Region of the S3 store
    #[arg(long, value_name = "NAME")]
    pub s3_region: Option<String>,
    /// How often to try again what may have failed by chance
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub retries: u16,
    /// Longest time without any answer from a server
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_time)]
    pub timeout: Duration,
}

impl NetworkArgs {
    /// Returns what places are opened with; reads credentials. Those that are for no certain server
    /// go only to `named` ones: what the user has written, not what a manifest says.
    pub fn options(&self, session: &Session, named: &[&str]) -> Result<NetworkOptions> {
        let variable = |name: &str| std::env::var(name).ok();
        let home = variable("HOME").filter(|home| !home.is_empty());
        let mut credentials = self.find_credentials(&variable, home.as_deref().map(Path::new))?;
        for place in named {
            credentials.name(place);
        }
        Ok(NetworkOptions {
            ca_files: self.ca_file.clone(),
            retry: RetryPolicy {
                tries: u32::from(self.retries) + 1,
                ..RetryPolicy::default()
            },
            credentials,
            buffer_bytes: (session.limits().gate.limit() / 2).min(MOST_BUFFERS),
            sync: session.folder.sync,
            timeout: self.timeout,
            cancel: session.interruption.cancel.clone(),
            ..NetworkOptions::default()
        })
    }

    fn find_credentials(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
        home: Option<&Path>,
    ) -> Result<Credentials, Error> {
        let chain = skyprep::place::s3_settings(variable, home)?;
        if let Some(endpoint) = &self.s3_endpoint {
            check_endpoint(endpoint)?;
        }
        let file = self.credentials.as_deref();
        let mut found = Credentials::find(file, variable, home, chain)?;
        let own = [
            ("aws_endpoint_url_s3", &self.s3_endpoint),
            ("aws_region", &self.s3_region),
        ];
        for (name, value) in own {
            let Some(value) = value else { continue };
            let setting = || (name.to_owned(), Secret::new(value));
            found.s3.push(setting());
            for (_, settings) in &mut found.buckets {
                settings.push(setting());
            }
        }
        Ok(found)
    }
}

/// Options of commands that send files.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Network")]
pub struct UploadArgs {
    /// Files to send at once
    #[arg(long, value_name = "N", default_value = "16")]
    pub uploads: NonZeroUsize,
    /// Size of the parts in which large files are sent to S3, 5MiB or more [default: 16MiB, more
    /// where there would be too many]
    #[arg(long, value_name = "SIZE", value_parser = parse_part_size)]
    pub part_size: Option<u64>,
    /// Parts of one file to send at once
    #[arg(long, value_name = "N", default_value = "4")]
    pub parts: NonZeroUsize,
}

impl UploadArgs {
    /// Adds how files are sent to what places are opened with.
    pub fn apply(&self, options: NetworkOptions) -> NetworkOptions {
        NetworkOptions {
            parts_at_once: self.parts.get(),
            part_bytes: self.part_size,
            ..options
        }
    }

    /// Opens what files are sent by to a place that the user has named; nothing for a folder.
    pub fn network_to(
        &self,
        dest: &PlaceUrl,
        network: &NetworkArgs,
        session: &Session,
    ) -> Result<Option<Network>> {
        if dest.is_folder() {
            return Ok(None);
        }
        let options = network.options(session, &[&dest.to_string()])?;
        Ok(Some(Network::new(self.apply(options))?))
    }
}

/// Checked here and not by clap, which would show a password in it.
fn check_endpoint(text: &str) -> Result<(), Error> {
    match PlaceUrl::parse(text)? {
        PlaceUrl::Http(_) => Ok(()),
        _ => Err(Error::usage(
            "--s3-endpoint: expected a URL of http or https",
        )),
    }
}

fn parse_part_size(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 5 << 20;
    match text.parse()? {
        ByteSize::Bytes(bytes) if bytes >= LEAST => Ok(bytes),
        _ => Err("expected a size of 5MiB or more, which is what S3 takes".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        network: NetworkArgs,
        #[command(flatten)]
        upload: UploadArgs,
    }

    fn parse(words: &str) -> Result<Line, clap::Error> {
        let words = std::iter::once("x").chain(words.split_whitespace());
        Line::try_parse_from(words)
    }

    #[test]
    fn the_command_line_counts_most() {
        let line = parse("--s3-endpoint http://h:9/ --s3-region here --part-size 8MiB").unwrap();
        let (args, upload) = (line.network, line.upload);
        assert_eq!((upload.uploads.get(), args.retries), (16, 7));
        let options = upload.apply(NetworkOptions::default());
        assert_eq!(
            (options.part_bytes, options.parts_at_once),
            (Some(8 << 20), 4)
        );
        let found = args.find_credentials(&|_| None, None).unwrap();
        let expected = [
            ("aws_endpoint_url_s3", "http://h:9/"),
            ("aws_region", "here"),
        ]
        .map(|(name, value)| (name.to_owned(), Secret::new(value)));
        assert_eq!(found.s3_of("b"), expected);
    }

    #[test]
    fn values_that_can_not_be_are_refused() {
        for words in [
            "--part-size 1MiB",
            "--part-size 50%",
            "--uploads 0",
            "--parts 0",
            "--timeout soon",
        ] {
            parse(words).unwrap_err();
        }
        for endpoint in ["h:9", "s3://b", "http://u:hush@h/"] {
            let args = parse(&format!("--s3-endpoint {endpoint}")).unwrap().network;
            let error = args.find_credentials(&|_| None, None).unwrap_err();
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }
}

//! Servers that the tests stage to, each used in the same way.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::Value;

use super::harness::{Bench, Outcome, positions, words};
use super::http_server::{PASSWORD, USER, nginx, webdav};
use super::s3_server::{BUCKET, KEY, SECRET, moto, rclone};

/// A server that files are staged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Nginx,
    WebDav,
    Rclone,
    Moto,
}

/// Those whose files can be seen on disk.
pub(crate) const SEEN: [Server; 3] = [Server::Nginx, Server::WebDav, Server::Rclone];

impl Server {
    /// The port that it listens at.
    pub(crate) fn port(self) -> u16 {
        let of = |host: &str| host.rsplit_once(':').unwrap().1.parse().unwrap();
        match self {
            Self::Nginx => nginx().dav,
            Self::WebDav => webdav().port,
            Self::Rclone => of(&rclone().host),
            Self::Moto => of(&moto().host),
        }
    }

    pub(crate) fn is_s3(self) -> bool {
        matches!(self, Self::Rclone | Self::Moto)
    }

    /// A destination for one test.
    pub(crate) fn dest(self, test: &str) -> String {
        match self.is_s3() {
            true => format!("s3://{BUCKET}/{test}"),
            false => format!("http://127.0.0.1:{}/{test}", self.port()),
        }
    }

    /// Where its files of one test lie on disk.
    pub(crate) fn folder(self, test: &str) -> PathBuf {
        match self {
            Self::Nginx => nginx().data().join(test),
            Self::WebDav => webdav().data().join(test),
            Self::Rclone => rclone().data().join(test),
            Self::Moto => panic!("moto keeps objects in memory"),
        }
    }

    /// Writes the credentials, and returns the options that name them and the server.
    pub(crate) fn options(self, bench: &Bench) -> String {
        self.options_at(bench, self.port())
    }

    /// The same where something else listens in front of it.
    pub(crate) fn options_at(self, bench: &Bench, port: u16) -> String {
        let text = match self {
            Self::Nginx => String::new(),
            Self::WebDav => format!(
                "[\"http://127.0.0.1:{port}\"]\nuser = \"{USER}\"\npassword = \"{PASSWORD}\"\n"
            ),
            Self::Rclone | Self::Moto => format!(
                "[s3]\naccess_key_id = \"{KEY}\"\nsecret_access_key = \"{SECRET}\"\n\
                 endpoint = \"http://127.0.0.1:{port}\"\n"
            ),
        };
        let path = bench.write(&format!("{self:?}.toml"), text);
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        format!("--credentials {self:?}.toml --state-dir state")
    }
}

/// A director of its own making in `made`, with overlap files.
pub(crate) fn partitioned() -> Bench {
    let bench = Bench::new();
    bench.write("x.txt", positions(3000, 7));
    partition(&bench, "");
    bench
}

pub(crate) fn partition(bench: &Bench, more: &str) {
    let line = format!(
        "partition x.txt -o made --kind director --stripes 18 --sub-stripes 10 --overlap 0.1 \
         --ra ra --dec dec --fields id,ra,dec --id id --table T {more}"
    );
    bench.run(words(&line)).ok();
}

pub(crate) fn stage(bench: &Bench, server: Server, test: &str, more: &str) -> Outcome {
    let dest = server.dest(test);
    let options = server.options(bench);
    bench.run(words(&format!(
        "stage made {dest} --database d {options} {more}"
    )))
}

/// The files that a manifest names, by their path below the destination.
pub(crate) fn named(manifest: &[u8], dest: &str) -> BTreeMap<String, Value> {
    let text = String::from_utf8(manifest.to_vec()).unwrap();
    let lines = text.lines().skip(1);
    lines
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let url = line.get("stored_at").unwrap_or(&line["url"]);
            let path = url.as_str().unwrap().strip_prefix(dest).unwrap();
            (path.trim_start_matches('/').to_owned(), line)
        })
        .collect()
}
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn verify(bench: &Bench, server: Server, test: &str, more: &str) -> Outcome {
    let (dest, options) = (server.dest(test), server.options(bench));
    let options = options.replace("--state-dir state", "");
    bench.run(words(&format!(
        "verify {dest}/d/manifest.jsonl {options} {more}"
    )))
}

pub(crate) fn release(bench: &Bench, server: Server, test: &str, more: &str) -> Outcome {
    let (dest, options) = (server.dest(test), server.options(bench));
    let options = options.replace("--state-dir state", "");
    bench.run(words(&format!(
        "release {dest}/d/manifest.jsonl {options} {more}"
    )))
}

/// Releases what a test has staged.
pub(crate) fn clear(bench: &Bench, server: Server, test: &str) {
    release(bench, server, test, "--yes").ok();
    let gone = verify(bench, server, test, "");
    gone.failed(3, &["there is nothing of that name"]);
}

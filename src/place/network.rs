//! What all places share: the runtime, connections, certificates, credentials, room for bytes.
#![allow(
    clippy::disallowed_methods,
    reason = "certificates are read here; nothing is written"
)]

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::runtime::Runtime;

use super::blocks::Room;
use super::credentials::Credentials;
use super::folder::FolderPlace;
use super::http::HttpPlace;
use super::retry::RetryPolicy;
use super::s3::S3Place;
use super::url::{parse_http, shown};
use super::{ByteStream, ObjectUrl, Place, PlaceUrl, RangedObject};
use crate::error::{Error, ErrorKind, Place as ErrorPlace, Result};
use crate::publish::SyncMode;
use crate::resources::Cancel;

/// Threads of the runtime; they wait most of the time, bytes are digested elsewhere.
const RUNTIME_THREADS: usize = 2;
/// No server may take longer to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// No connection may be silent for longer.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// How places are used.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// Files of certificates (PEM) to trust besides the system's.
    pub ca_files: Vec<PathBuf>,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Who we are.
    pub credentials: Credentials,
    /// Parts of one large file that are sent at once.
    pub parts_at_once: usize,
    /// Bytes of a part, if somebody cares.
    pub part_bytes: Option<u64>,
    /// Room for bytes on their way.
    pub buffer_bytes: u64,
    /// How files in folders are made to last.
    pub sync: SyncMode,
    /// Longest silence of a server.
    pub timeout: Duration,
    /// Ends the work early when somebody says so.
    pub cancel: Cancel,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            ca_files: Vec::new(),
            retry: RetryPolicy::default(),
            credentials: Credentials::default(),
            parts_at_once: 4,
            part_bytes: None,
            buffer_bytes: 256 << 20,
            sync: SyncMode::Auto,
            timeout: READ_TIMEOUT,
            cancel: Cancel::default(),
        }
    }
}

/// The one way to all places.
#[derive(Debug)]
pub struct Network {
    runtime: Runtime,
    shared: Arc<Shared>,
}

/// What every place has a share of.
#[derive(Debug)]
pub(super) struct Shared {
    /// For short requests: the timeout is for all of sending and answer. It follows no
    /// redirections.
    pub(super) client: reqwest::Client,
    /// For requests of any length, whose users notice themselves when nothing moves any more.
    pub(super) unhurried: reqwest::Client,
    pub(super) room: Room,
    pub(super) options: NetworkOptions,
}

impl Network {
    /// Starts the runtime and reads certificates.
    ///
    /// # Errors
    /// A file of certificates can't be read, or the system has no threads left.
    pub fn new(options: NetworkOptions) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(RUNTIME_THREADS)
            .enable_all()
            .thread_name("network")
            .build()
            .map_err(|error| faulty(&error))?;
        let tls = tls(&options)?;
        let shared = Shared {
            client: client(tls.clone(), Some(options.timeout))?,
            unhurried: client(tls, None)?,
            room: Room::new(options.buffer_bytes),
            options,
        };
        Ok(Self {
            runtime,
            shared: Arc::new(shared),
        })
    }

    /// Returns a text that tells a place from all others: buckets of one name are at many stores.
    pub(crate) fn identity(&self, url: &PlaceUrl) -> String {
        let endpoint = match url {
            PlaceUrl::S3 { bucket, .. } => {
                let settings = self.shared.options.credentials.s3_of(bucket);
                let names = [
                    "aws_endpoint_url",
                    "aws_endpoint",
                    "endpoint_url",
                    "endpoint",
                ];
                let mut endpoints = settings.into_iter().rev();
                let found = endpoints.find(|(name, _)| names.contains(&name.as_str()));
                found.map_or_else(String::new, |(_, value)| value.reveal().to_owned())
            }
            _ => String::new(),
        };
        format!("{url} {}", shown(endpoint.trim_end_matches('/')))
    }

    /// Opens a place; nothing is asked of it yet.
    ///
    /// # Errors
    /// Its settings contradict each other.
    pub fn open(&self, url: &PlaceUrl) -> Result<Arc<dyn Place>> {
        let shared = Arc::clone(&self.shared);
        Ok(match url {
            PlaceUrl::Folder(root) => Arc::new(FolderPlace::new(root.clone(), shared)),
            PlaceUrl::Http(url) => Arc::new(HttpPlace::new(url.clone(), shared)),
            PlaceUrl::S3 { bucket, prefix } => Arc::new(S3Place::new(bucket, prefix, shared)?),
        })
    }

    /// Returns what a URL names, to be read by ranges: of HTTP, with its query, or of S3. Nothing is
    /// asked yet.
    ///
    /// # Errors
    /// It is no URL of an object at a server.
    pub fn object(&self, url: &str) -> Result<Arc<dyn RangedObject>> {
        let shared = Arc::clone(&self.shared);
        if !url.to_ascii_lowercase().starts_with("s3://") {
            let mut url = parse_http(url)?;
            // It is for browsers.
            url.set_fragment(None);
            return Ok(Arc::new(super::http::object(shared, url)));
        }
        let ObjectUrl { place, key } = ObjectUrl::parse(url)?;
        match place {
            PlaceUrl::S3 { bucket, prefix } => Ok(Arc::new(
                S3Place::new(&bucket, &prefix, shared)?.object(key),
            )),
            _ => Err(Error::usage(format!("{} is not at a server", shown(url)))),
        }
    }

    /// Reads what an HTTP server gives for a URL, with its query.
    ///
    /// # Errors
    /// It is no URL of HTTP; the server gives nothing for it, does not answer or refuses.
    pub fn fetch(&self, url: &str) -> Result<ByteStream> {
        let parsed = parse_http(url)?;
        let fetched = self.wait(super::http::fetch(Arc::clone(&self.shared), parsed))?;
        fetched.ok_or_else(|| {
            Error::new(ErrorKind::InputMissing, "there is nothing of that name")
                .at(ErrorPlace::file(shown(url)))
        })
    }

    /// Waits for asynchronous work; call it from threads that do nothing else.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Returns what the network may do.
    pub fn options(&self) -> &NetworkOptions {
        &self.shared.options
    }
}

fn faulty(error: &dyn std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("starting the network: {error}"),
    )
}

/// Reads the certificates to trust.
fn tls(options: &NetworkOptions) -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // One that is odd is not trusted, which its servers' users will see.
        let _ = roots.add(certificate);
    }
    for path in &options.ca_files {
        let bytes = std::fs::read(path).map_err(|error| Error::reading(path, error))?;
        let refuse = |reason: String| {
            Error::usage(format!("holds no certificate that can be used: {reason}"))
                .at(ErrorPlace::file(path.display().to_string()))
                .hint("expected certificates in PEM form")
        };
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| refuse(error.to_string()))?;
            count += 1;
        }
        if count == 0 {
            return Err(refuse("no BEGIN CERTIFICATE in it".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| faulty(&error))?;
    Ok(tls.with_root_certificates(roots).with_no_client_auth())
}

fn client(tls: rustls::ClientConfig, timeout: Option<Duration>) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .user_agent(concat!("skyprep/", env!("CARGO_PKG_VERSION")));
    if let Some(timeout) = timeout {
        builder = builder.read_timeout(timeout);
    }
    builder.build().map_err(|error| faulty(&error))
}

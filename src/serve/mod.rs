//! A read-only HTTP server of one folder, for Qserv's workers to fetch what was staged.
//!
//! Files, ranges and conditions are answered by tower-http's `ServeDir`; around it stand the rules
//! of this folder ([`files`]), what `ServeDir` lacks ([`answer`]), and a limit of connections at
//! once ([`listener`]). The server ends when it is cancelled, after the answers under way.

mod access;
mod answer;
mod files;
mod listener;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use tokio::sync::Semaphore;

pub use access::{Access, AccessLog, NoAccessLog};

use self::answer::{Answers, Totals};
use self::listener::{LimitedListener, Remote};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::resources::Cancel;

/// How often the server looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// How a folder is served.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The folder.
    pub folder: PathBuf,
    /// Address and port to listen at; port 0 is any free one.
    pub listen: SocketAddr,
    /// Connections at once; others wait until one ends.
    pub max_connections: usize,
    /// How long answers under way may take after the end was asked for.
    pub grace: Duration,
    /// Threads that answer.
    pub threads: usize,
    /// Asks the server to end.
    pub cancel: Cancel,
}

/// What a server has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Requests that were answered.
    pub requests: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Whether all answers were complete when the server ended.
    pub is_complete: bool,
}

/// A server that has its port, and answers once it runs.
#[derive(Debug)]
pub struct FolderServer {
    options: ServeOptions,
    root: PathBuf,
    listener: TcpListener,
}

impl FolderServer {
    /// Takes the port. Who connects from now on waits for [`Self::run`].
    ///
    /// # Errors
    /// The folder is not there, or the address is not to be had.
    pub fn bind(options: ServeOptions) -> Result<Self> {
        let root = check_folder(&options.folder)?;
        let wanted = options.listen;
        let listener = TcpListener::bind(wanted).map_err(|error| {
            Error::new(
                ErrorKind::OutputRefused,
                format!("can't listen at {wanted}: {error}"),
            )
            .hint("name another address or port with --listen; port 0 is any free one")
            .caused_by(error)
        })?;
        listener.set_nonblocking(true).map_err(starting)?;
        Ok(Self {
            options,
            root,
            listener,
        })
    }

    /// Returns the address at which the server listens.
    ///
    /// # Errors
    /// The system doesn't tell.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().map_err(starting)
    }

    /// Answers until it is cancelled, then finishes the answers under way.
    ///
    /// # Errors
    /// The server can't start.
    pub fn run(self, log: Arc<dyn AccessLog>) -> Result<Served> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(self.options.threads)
            .thread_name("serve")
            .enable_all()
            .build()
            .map_err(starting)?;
        let served = runtime.block_on(self.answer_all(log));
        // Reads from a disk that hangs can't be ended.
        runtime.shutdown_background();
        served
    }

    async fn answer_all(self, log: Arc<dyn AccessLog>) -> Result<Served> {
        let places = Arc::new(Semaphore::new(self.options.max_connections));
        let listener =
            LimitedListener::new(self.listener, Arc::clone(&places)).map_err(starting)?;
        let totals = Arc::new(Totals::default());
        let answers = Answers::new(&self.root, log, Arc::clone(&totals), places);
        let handler = move |ConnectInfo(Remote(remote)): ConnectInfo<Remote>, request: Request| {
            let answers = answers.clone();
            async move { answers.answer(remote, request).await }
        };
        let service = Router::new().fallback(handler);
        let cancel = self.options.cancel.clone();
        let end = until_cancelled(cancel.clone());
        let serving = axum::serve(
            listener,
            service.into_make_service_with_connect_info::<Remote>(),
        )
        .with_graceful_shutdown(end);
        let too_long = async {
            until_cancelled(cancel).await;
            tokio::time::sleep(self.options.grace).await;
        };
        let is_complete = tokio::select! {
            _ = serving => true,
            () = too_long => false,
        };
        Ok(Served {
            requests: totals.requests.load(Ordering::Relaxed),
            bytes: totals.bytes.load(Ordering::Relaxed),
            is_complete,
        })
    }
}

async fn until_cancelled(cancel: Cancel) {
    while cancel.signal().is_none() {
        tokio::time::sleep(LOOK).await;
    }
}

/// Returns the folder without links in its path.
fn check_folder(folder: &Path) -> Result<PathBuf> {
    let root = folder
        .canonicalize()
        .map_err(|error| Error::reading(folder, error))?;
    if root.is_dir() {
        return Ok(root);
    }
    Err(Error::new(
        ErrorKind::InputMissing,
        "is not a folder, and only folders are served",
    )
    .at(Place::file(folder.display().to_string())))
}

fn starting(error: std::io::Error) -> Error {
    Error::usage(format!("can't start the server: {error}"))
        .hint("raise the limit of open files (ulimit -n), or use fewer --threads")
        .caused_by(error)
}

//! `skyprep serve`

use std::io::{LineWriter, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use anyhow::Result;
use skyprep::error::{Error, ErrorKind};
use skyprep::report::grouped;
use skyprep::resources::open_files_limit;
use skyprep::serve::{Access, AccessLog, FolderServer, NoAccessLog, ServeOptions};

use crate::serve_args::ServeArgs;
use crate::session::Session;

/// A connection needs a handle for itself and one for its file.
const HANDLES_EACH: u64 = 2;
/// Handles that the process needs besides.
const OTHER_HANDLES: u64 = 32;
/// Lines that may wait for the log; then requests wait.
const LINES_WAITING: usize = 4096;

/// Serves a folder until a signal comes.
pub fn run(args: &ServeArgs, session: &Session) -> Result<()> {
    let cancel = session.interruption.cancel.clone();
    let options = ServeOptions {
        folder: args.folder.clone(),
        listen: address(&args.listen)?,
        max_connections: connections(args.max_connections)?,
        grace: args.grace,
        threads: session.limits().threads,
        cancel: cancel.clone(),
    };
    let log = match &args.access_log {
        Some(path) => Some(LogWriter::start(path, args.json)?),
        None => None,
    };
    session.interruption.may_take(args.grace);
    let server = FolderServer::bind(options)?;
    let address = server.address()?;
    if !address.ip().is_loopback() {
        session.printer.warn(&format!(
            "whoever reaches {address} can read all files below {}",
            args.folder.display()
        ));
    }
    let url = format!("http://{}:{}/\n", host(address), address.port());
    session.printer.data(url.as_bytes())?;
    let sink: Arc<dyn AccessLog> = match &log {
        Some(log) => Arc::new(log.sink()),
        None => Arc::new(NoAccessLog),
    };
    let served = server.run(sink)?;
    if let Some(log) = log {
        log.finish();
    }
    session.printer.note(&format!(
        "{} requests, {} bytes",
        grouped(served.requests),
        grouped(served.bytes)
    ));
    if !served.is_complete {
        session
            .printer
            .warn("answers were cut off: the time of --grace was over");
    }
    let signal = cancel.signal().unwrap_or_default();
    let ended = format!("ended by signal {signal}");
    Err(Error::new(ErrorKind::Interrupted(signal), ended).into())
}

/// Reads an address with port; names such as localhost are looked up.
fn address(text: &str) -> Result<SocketAddr> {
    let found = text.to_socket_addrs().ok();
    found.and_then(|mut found| found.next()).ok_or_else(|| {
        Error::usage(format!("--listen {text}: expected an address and a port"))
            .hint("write for example 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:0")
            .into()
    })
}

/// Checks that so many connections can be had.
fn connections(wanted: usize) -> Result<usize> {
    let handles = open_files_limit().unwrap_or(u64::MAX);
    let most = handles.saturating_sub(OTHER_HANDLES) / HANDLES_EACH;
    let most = usize::try_from(most).unwrap_or(usize::MAX).max(1);
    if wanted == 0 {
        return Err(Error::usage("--max-connections 0: expected 1 or more").into());
    }
    if wanted > most {
        return Err(Error::usage(format!(
            "--max-connections {wanted}: the system allows this process {handles} open files, \
             enough for {most} connections"
        ))
        .hint("raise it with ulimit -n")
        .into());
    }
    Ok(wanted)
}

/// Returns the name under which clients reach the address.
fn host(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        let system = rustix::system::uname();
        return system.nodename().to_string_lossy().into_owned();
    }
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

/// A thread that writes lines, so that answers don't wait for the disk.
struct LogWriter {
    lines: SyncSender<String>,
    is_json: bool,
    thread: JoinHandle<()>,
}

impl LogWriter {
    fn start(path: &Path, is_json: bool) -> Result<Self> {
        let mut out: Box<dyn Write + Send> = match path.as_os_str() == "-" {
            true => Box::new(std::io::stdout()),
            false => Box::new(LineWriter::new(skyprep::publish::append(path)?)),
        };
        let (lines, coming) = sync_channel::<String>(LINES_WAITING);
        let shown = path.display().to_string();
        let write = move || {
            let mut is_told = false;
            for line in coming {
                let written = out.write_all(line.as_bytes()).and_then(|()| out.flush());
                // The files are still wanted where the log can't be written.
                if let Err(error) = written
                    && !std::mem::replace(&mut is_told, true)
                {
                    tracing::warn!("the access log {shown} can't be written: {error}");
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(write)?;
        Ok(Self {
            lines,
            is_json,
            thread,
        })
    }

    fn sink(&self) -> LogSink {
        LogSink {
            lines: self.lines.clone(),
            is_json: self.is_json,
        }
    }

    /// Waits until all lines are written.
    fn finish(self) {
        drop(self.lines);
        // A thread that panicked has told so.
        let _ = self.thread.join();
    }
}

/// Hands lines to the thread.
struct LogSink {
    lines: SyncSender<String>,
    is_json: bool,
}

impl AccessLog for LogSink {
    fn record(&self, access: &Access) {
        let mut line = match self.is_json {
            true => access.json_line(),
            false => access.common_line(),
        };
        line.push('\n');
        // The thread lives as long as there are senders.
        let _ = self.lines.send(line);
    }
}

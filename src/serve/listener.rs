//! A listener that accepts so many connections at once; others wait in the system's queue.
//!
//! A connection on which nothing moves for a while is closed, and so is one whose client goes on
//! sending but is owed no answer yet, so that clients which keep theirs open without need don't shut
//! others out.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// How long a connection is kept on which too little happens.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// The longest time without a byte in either direction.
    silence: Duration,
    /// The longest time in which bytes come but none of an answer goes: a request must be whole by
    /// then.
    request: Duration,
}

const PATIENCE: Patience = Patience {
    silence: Duration::from_secs(30),
    request: Duration::from_secs(60),
};
/// Pause after the system refused a connection, for want of file handles for instance.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts a connection only when one of the places is free.
pub(super) struct LimitedListener {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl LimitedListener {
    /// Listens with a limit; call it within a runtime.
    ///
    /// # Errors
    /// The runtime doesn't take the listener.
    pub(super) fn new(listener: std::net::TcpListener, places: Arc<Semaphore>) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::from_std(listener)?,
            places,
        })
    }
}

impl Listener for LimitedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            // The places are never closed; without one nobody would count connections.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                return std::future::pending().await;
            };
            match self.listener.accept().await {
                Ok((stream, remote)) => {
                    // Answers are written in large pieces; waiting for more only costs time.
                    let _ = stream.set_nodelay(true);
                    return (Connection::new(stream, place, PATIENCE), remote);
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Address of the client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote(pub(super) SocketAddr);

impl Connected<IncomingStream<'_, LimitedListener>> for Remote {
    fn connect_info(stream: IncomingStream<'_, LimitedListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// A connection that gives its place back when it ends.
pub(super) struct Connection {
    stream: TcpStream,
    patience: Patience,
    /// Ends when there was silence for too long.
    silence: Pin<Box<Sleep>>,
    /// When bytes of an answer went last, or the connection began.
    answered: Instant,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit, patience: Patience) -> Self {
        Self {
            stream,
            patience,
            silence: Box::pin(tokio::time::sleep(patience.silence)),
            answered: Instant::now(),
            _place: place,
        }
    }

    /// Passes on what the stream did, unless it has done nothing for too long.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            let silence = self.patience.silence;
            self.silence.as_mut().reset(Instant::now() + silence);
            return done;
        }
        match self.silence.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Passes on what writing did; see [`Self::watch`].
    fn watch_answer(
        &mut self,
        context: &mut Context<'_>,
        done: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if matches!(done, Poll::Ready(Ok(_))) {
            self.answered = Instant::now();
        }
        self.watch(context, done)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream.fmt(f)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(context, buffer);
        // Who sends a byte now and then is not silent. Who sends none is, and needs no clock here.
        if done.is_ready() && self.answered.elapsed() > self.patience.request {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.watch(context, done)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch_answer(context, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch_answer(context, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const SHORT: Patience = Patience {
        silence: Duration::from_secs(20),
        request: Duration::from_millis(300),
    };

    /// Reads from a client that sends a byte every now and then, and answers some of the bytes;
    /// returns the error that ends it, if any does in the time of many requests.
    async fn drip(answer_every: usize) -> Option<io::ErrorKind> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let places = Arc::new(Semaphore::new(1));
        let place = places.acquire_owned().await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = Connection::new(stream, place, SHORT);
        let dripping = tokio::spawn(async move {
            while client.write_all(b"G").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let begin = Instant::now();
        let mut bytes = 0;
        let mut error = None;
        while begin.elapsed() < SHORT.request * 5 && error.is_none() {
            error = connection.read_u8().await.err().map(|error| error.kind());
            bytes += 1;
            if bytes % answer_every == 0 {
                connection.write_all(b"A").await.unwrap();
            }
        }
        dripping.abort();
        error
    }

    #[test]
    fn who_drips_a_request_is_not_waited_for() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let endless = runtime.block_on(drip(usize::MAX));
        assert_eq!(endless, Some(io::ErrorKind::TimedOut));
        assert_eq!(runtime.block_on(drip(2)), None);
    }
}

//! A proxy in front of an HTTP server that does what networks and servers do at their worst.
//!
//! Each connection of a client gets one of its own to the server. Requests are read whole before
//! they are forwarded, with their `Host` as it was: signatures stay valid, and the proxy knows
//! what it breaks. All chance comes from one seed.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the proxy can do to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The connection is closed when part of the request has come; the server sees that part.
    CutRequest,
    /// The server does all, but its answer comes in part, or not at all.
    CutAnswer,
    /// The connection is reset before anything is read.
    Reset,
    /// Nothing happens for a moment.
    Delay,
    /// 500, before the server has seen anything.
    InternalError,
    /// 503, with `Retry-After` of 0 or 1.
    Busy,
    /// 200 with a body that tells of an error; the server has seen nothing.
    FalseSuccess,
    /// The server does all, and the answer tells another tag and another checksum.
    Lie,
    /// 507: the disk is full.
    Full,
}

/// Faults that pass.
pub(crate) const ALL_FAULTS: [Fault; 8] = [
    Fault::CutRequest,
    Fault::CutAnswer,
    Fault::Reset,
    Fault::Delay,
    Fault::InternalError,
    Fault::Busy,
    Fault::FalseSuccess,
    Fault::Lie,
];

/// The proxy; it takes no connections any more when it is dropped.
pub(crate) struct FaultProxy {
    pub(crate) port: u16,
    shared: Arc<Proxy>,
}

struct Proxy {
    upstream: u16,
    faults: Vec<Fault>,
    /// Of a thousand requests, how many suffer.
    per_mille: u32,
    random: Mutex<fastrand::Rng>,
    counts: Mutex<BTreeMap<Fault, usize>>,
    requests: Mutex<BTreeMap<String, usize>>,
    is_over: AtomicBool,
}

impl FaultProxy {
    /// Starts a proxy in front of a port of the loopback.
    pub(crate) fn start(upstream: u16, seed: u64, per_mille: u32, faults: &[Fault]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Proxy {
            upstream,
            faults: faults.to_vec(),
            per_mille,
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            counts: Mutex::default(),
            requests: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let proxy = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if proxy.is_over.load(Ordering::Relaxed) {
                    break;
                }
                let proxy = Arc::clone(&proxy);
                // Connections break here all the time.
                std::thread::spawn(move || client.and_then(|client| proxy.serve(client)));
            }
        });
        Self { port, shared }
    }

    /// How often each fault happened.
    pub(crate) fn counts(&self) -> BTreeMap<Fault, usize> {
        self.shared.counts.lock().unwrap().clone()
    }

    /// How many requests of each method came.
    pub(crate) fn requests(&self) -> BTreeMap<String, usize> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes the one who waits for connections.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// A request or an answer as it came.
struct Message {
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Message {
    fn first_line(&self) -> String {
        let line = self.head.split(|byte| *byte == b'\r').next().unwrap();
        String::from_utf8_lossy(line).into_owned()
    }

    /// Replaces what checksums the head tells by others of the same form.
    fn lie(&mut self) {
        let head = String::from_utf8_lossy(&self.head).into_owned();
        let lines = head.split("\r\n").map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let name_small = name.to_ascii_lowercase();
            let is_sum = name_small == "etag"
                || name_small.contains("digest")
                || (name_small.starts_with("x-amz-checksum-") && !name_small.ends_with("type"));
            if !is_sum {
                return line.to_owned();
            }
            let other = |letter: char| match letter {
                '0'..='8' | 'a'..='e' | 'B'..='Y' => char::from_u32(u32::from(letter) + 1).unwrap(),
                '9' => '0',
                'f' => 'a',
                other => other,
            };
            // The algorithm's name stays, and so does the end: padding is not free.
            format!("{name}:{}", value.chars().map(other).collect::<String>())
        });
        self.head = lines.collect::<Vec<_>>().join("\r\n").into_bytes();
    }
}

impl Proxy {
    fn below(&self, end: usize) -> usize {
        self.random.lock().unwrap().usize(..end.max(1))
    }

    /// Decides what happens to a request.
    fn draw(&self) -> Option<Fault> {
        let mut random = self.random.lock().unwrap();
        if random.u32(..1000) >= self.per_mille {
            return None;
        }
        let fault = self.faults[random.usize(..self.faults.len())];
        *self.counts.lock().unwrap().entry(fault).or_default() += 1;
        Some(fault)
    }

    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        client.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut server = None;
        loop {
            // A reset must not wait for the request, or there is nothing to lose.
            let mut first = [0];
            if client.peek(&mut first)? == 0 {
                return Ok(());
            }
            let fault = self.draw();
            if fault == Some(Fault::Reset) {
                return reset(&client);
            }
            let request = read_message(&mut client, None)?;
            let method = request.first_line();
            let method = method.split(' ').next().unwrap_or_default().to_owned();
            *self
                .requests
                .lock()
                .unwrap()
                .entry(method.clone())
                .or_default() += 1;
            match fault {
                Some(Fault::InternalError) => {
                    return answer(&mut client, "500 Internal Server Error", "", "broken");
                }
                Some(Fault::Busy) => {
                    let wait = format!("Retry-After: {}\r\n", self.below(2));
                    return answer(&mut client, "503 Slow Down", &wait, "busy");
                }
                Some(Fault::Full) => {
                    return answer(&mut client, "507 Insufficient Storage", "", "no space left");
                }
                Some(Fault::FalseSuccess) => {
                    let words = "<?xml version=\"1.0\"?><Error><Code>InternalError</Code>\
                                 <Message>We encountered an internal error.</Message></Error>";
                    let body = if method == "HEAD" { "" } else { words };
                    return answer(&mut client, "200 OK", "", body);
                }
                Some(Fault::Delay) => std::thread::sleep(Duration::from_millis(300)),
                _ => {}
            }
            let server = match &mut server {
                Some(server) => server,
                None => {
                    let connected = TcpStream::connect(("127.0.0.1", self.upstream))?;
                    connected.set_nodelay(true)?;
                    connected.set_read_timeout(Some(Duration::from_secs(60)))?;
                    server.insert(connected)
                }
            };
            if fault == Some(Fault::CutRequest) {
                let whole = [request.head, request.body].concat();
                let cut = self.below(whole.len());
                server.write_all(&whole[..cut])?;
                server.shutdown(Shutdown::Both)?;
                return client.shutdown(Shutdown::Both);
            }
            server.write_all(&request.head)?;
            server.write_all(&request.body)?;
            let mut reply = read_message(server, Some(&method))?;
            match fault {
                Some(Fault::Lie) => reply.lie(),
                Some(Fault::CutAnswer) => {
                    let whole = [reply.head, reply.body].concat();
                    let cut = self.below(whole.len());
                    client.write_all(&whole[..cut])?;
                    return reset(&client);
                }
                _ => {}
            }
            client.write_all(&reply.head)?;
            client.write_all(&reply.body)?;
            let head = String::from_utf8_lossy(&reply.head).to_ascii_lowercase();
            if head.contains("connection: close") {
                return Ok(());
            }
        }
    }
}

/// Closes a connection so that the other side is told of a reset.
fn reset(stream: &TcpStream) -> io::Result<()> {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
    Ok(())
}

fn answer(client: &mut TcpStream, status: &str, more: &str, body: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Type: application/xml\r\n{more}\
         Connection: close\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes())?;
    client.write_all(body.as_bytes())?;
    client.shutdown(Shutdown::Write)
}

/// Reads a request, or the answer to a request of that method.
fn read_message(stream: &mut TcpStream, answer_to: Option<&str>) -> io::Result<Message> {
    loop {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let field = |name: &str| {
            let mut lines = text.split("\r\n").filter_map(|line| line.split_once(": "));
            lines
                .find(|(found, _)| *found == name)
                .map(|(_, value)| value.trim().to_owned())
        };
        let status = text.split(' ').nth(1).unwrap_or_default();
        if answer_to.is_some() && status == "100" {
            continue;
        }
        let has_no_body =
            answer_to == Some("HEAD") || (answer_to.is_some() && ["204", "304"].contains(&status));
        let mut body = Vec::new();
        if has_no_body {
        } else if field("transfer-encoding").is_some_and(|how| how.contains("chunked")) {
            read_chunks(stream, &mut body)?;
        } else if let Some(length) = field("content-length") {
            body.resize(length.parse().unwrap(), 0);
            if answer_to.is_none() && field("expect").is_some() {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            stream.read_exact(&mut body)?;
        } else if answer_to.is_some() {
            stream.read_to_end(&mut body)?;
        }
        return Ok(Message { head, body });
    }
}

/// Reads a body in chunks, and keeps it in that form.
fn read_chunks(stream: &mut TcpStream, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let start = body.len();
        let mut byte = [0];
        while !body[start..].ends_with(b"\r\n") {
            stream.read_exact(&mut byte)?;
            body.push(byte[0]);
        }
        let line = String::from_utf8_lossy(&body[start..]).into_owned();
        let size = line.trim().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
        let from = body.len();
        body.resize(from + size + 2, 0);
        stream.read_exact(&mut body[from..])?;
        if size == 0 {
            return Ok(());
        }
    }
}

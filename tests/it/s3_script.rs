//! A server that answers requests as a test says: for what real ones do only on bad days.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    /// Method and target.
    pub(crate) line: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Heard {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A server that lives as long as the test binary.
pub(crate) struct Script {
    pub(crate) host: String,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Script {
    /// Starts a server; `answer` gets each request with the number of those before it, and returns
    /// all bytes that go back before the connection is closed.
    pub(crate) fn start(answer: impl Fn(usize, &Heard) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that goes away meanwhile is none of ours.
                let _ = serve(&stream.unwrap(), &answer, &all);
            }
        });
        Self { host, heard }
    }

    /// Method and target of all requests so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        heard.iter().map(|heard| heard.line.clone()).collect()
    }

    /// All requests so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

fn serve(
    stream: &TcpStream,
    answer: &dyn Fn(usize, &Heard) -> Vec<u8>,
    all: &Mutex<Vec<Heard>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let headers = lines.iter().skip(1).filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    let mut heard = Heard {
        line: lines
            .first()
            .cloned()
            .unwrap_or_default()
            .replace(" HTTP/1.1", ""),
        headers: headers.collect(),
        body: Vec::new(),
    };
    let length = heard
        .header("content-length")
        .and_then(|length| length.parse().ok());
    heard.body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut heard.body)?;
    let number = {
        let mut all = all.lock().unwrap();
        all.push(heard.clone());
        all.len() - 1
    };
    let mut stream = stream;
    stream.write_all(&answer(number, &heard))
}

/// An answer with headers (`name: value` lines) and a body.
pub(crate) fn answer(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for header in headers {
        answer.push_str(header);
        answer.push_str("\r\n");
    }
    if !headers
        .iter()
        .any(|header| header.starts_with("Content-Length"))
    {
        answer.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    answer.push_str("\r\n");
    let mut answer = answer.into_bytes();
    answer.extend_from_slice(body);
    answer
}

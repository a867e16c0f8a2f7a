//! Servers that do odd things with what they are asked for: nothing wrong comes out in silence.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::harness::{Bench, positions, words};

/// A server; the first part of a path says what it does.
struct OddServer {
    port: u16,
    content: Arc<Vec<u8>>,
}

/// An answer's head, without `Connection: close`, and its body.
type Answer = (String, Vec<u8>);

impl OddServer {
    fn start(content: Vec<u8>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let content = Arc::new(content);
        let served = Arc::clone(&content);
        std::thread::spawn(move || {
            let counts: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
            for client in listener.incoming().flatten() {
                let (content, counts) = (Arc::clone(&served), Arc::clone(&counts));
                // Clients go away as they like.
                std::thread::spawn(move || serve(client, &content, &counts));
            }
        });
        Self { port, content }
    }

    fn url(&self, mode: &str) -> String {
        format!("http://127.0.0.1:{}/{mode}/x.txt", self.port)
    }
}

fn serve(
    mut client: TcpStream,
    content: &[u8],
    counts: &Mutex<HashMap<String, usize>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut range = None;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(bytes) = line.strip_prefix("range: bytes=") {
            let (first, last) = bytes.split_once('-').unwrap();
            let last = last.parse().unwrap_or(usize::MAX - 1);
            range = Some((first.parse().unwrap(), last));
        }
    }
    let number = {
        let mut counts = counts.lock().unwrap();
        let count = counts.entry(path.clone()).or_default();
        *count += 1;
        *count
    };
    let (head, body) = answer(&path, number, range, content);
    write!(client, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n")?;
    client.write_all(&body)
}

fn answer(path: &str, number: usize, range: Option<(usize, usize)>, content: &[u8]) -> Answer {
    let mode = path.split('/').nth(1).unwrap_or_default();
    let whole = |more: &str| {
        let head = format!("200 OK\r\nContent-Length: {}{more}", content.len());
        (head, content.to_vec())
    };
    let (first, last) = range.unwrap_or((0, content.len() - 1));
    let part = |most: usize, more: &str| {
        let end = (last + 1)
            .min(content.len())
            .min(first.saturating_add(most));
        let (body, all) = (content[first..end].to_vec(), content.len());
        let range = format!("Content-Range: bytes {first}-{}/{all}", end - 1);
        let length = body.len();
        let head = format!("206 Partial Content\r\n{range}\r\nContent-Length: {length}{more}");
        (head, body)
    };
    let day = |number: usize| format!("\r\nLast-Modified: Mon, 0{number} Jun 2026 00:00:00 GMT");
    match mode {
        "good" => part(usize::MAX, "\r\nETag: \"a\""),
        "time" => part(usize::MAX, &day(number.min(2))),
        "weak" => part(usize::MAX, &format!("\r\nETag: W/\"{}\"", number.min(2))),
        "unknown" => part(usize::MAX, ""),
        "short" => part(3000, "\r\nETag: \"a\""),
        "noranges" => whole("\r\nETag: \"a\""),
        "swapped" => whole(&format!("\r\nETag: \"{}\"", number.min(2))),
        "sometimes" => match number {
            1 => part(usize::MAX, "\r\nETag: \"a\""),
            _ => whole("\r\nETag: \"a\""),
        },
        "encoded" => part(usize::MAX, "\r\nETag: \"a\"\r\nContent-Encoding: deflate"),
        "endless" => ("200 OK\r\nETag: \"a\"".to_owned(), content.to_vec()),
        "unsatisfied" => (
            "416 Range Not Satisfiable\r\nContent-Length: 0".to_owned(),
            Vec::new(),
        ),
        "huge" => (
            format!(
                "206 Partial Content\r\nContent-Range: bytes 0-0/{}\r\nContent-Length: 1",
                1_u64 << 62
            ),
            vec![b'1'],
        ),
        "refused" => {
            let body = format!("no {path} for you").into_bytes();
            let length = body.len();
            (format!("403 Forbidden\r\nContent-Length: {length}"), body)
        }
        _ => ("404 Not Found\r\nContent-Length: 0".to_owned(), Vec::new()),
    }
}

const CONVERT: &str = "-o - --fields id,ra,dec --columns id,ra,dec --retries 1";

#[test]
fn what_odd_servers_send_is_read_or_refused_but_never_mixed() {
    // Long enough for several requests.
    let server = OddServer::start(positions(150_000, 7919).into_bytes());
    assert!(server.content.len() > 3 << 20);
    let bench = Bench::in_memory();
    let convert = |mode: &str| {
        let line = format!("convert {} {CONVERT}", server.url(mode));
        bench.run(words(&line))
    };
    for mode in ["good", "short", "noranges", "sometimes", "unknown"] {
        let outcome = convert(mode).ok();
        assert!(outcome.stdout == *server.content, "{mode}");
        let warns = outcome.stderr.contains("neither tag nor time");
        assert_eq!(warns, mode == "unknown", "{mode}: {}", outcome.stderr);
    }
    for mode in ["time", "weak", "swapped"] {
        convert(mode).failed(9, &["x.txt", "replaced"]);
    }
    for (mode, said) in [
        ("encoded", "Content-Encoding deflate"),
        ("endless", "no size"),
        ("unsatisfied", "416"),
        ("huge", "a size of"),
    ] {
        convert(mode).failed(8, &["x.txt", said]);
    }
    convert("nothing").failed(3, &["nothing of that name"]);
    let line = format!("convert {}?sig=HUSH12345 {CONVERT}", server.url("refused"));
    let outcome = bench.run(words(&line));
    outcome.failed(8, &["403"]);
    assert!(!outcome.stderr.contains("HUSH"), "{}", outcome.stderr);
    // One file by two names; two files by one name.
    let url = server.url("good");
    for other in [format!("{url}#part"), url.replace("x.txt", "%78.txt")] {
        bench
            .run(words(&format!("convert {url} {other} {CONVERT}")))
            .failed(2, &["named twice"]);
    }
    let both = format!("convert {url}?file=1 {url}?file=2 {CONVERT}");
    let outcome = bench.run(words(&both)).ok();
    assert_eq!(outcome.stdout.len(), 2 * server.content.len());
    // Into a folder, and past one that is missing.
    bench
        .run(words(&format!("convert {url} -o out/ --fields id,ra,dec")))
        .ok();
    assert!(bench.path("out/x.txt").exists());
    let line = format!(
        "convert {} {url} {CONVERT} --keep-going",
        server.url("nothing")
    );
    let outcome = bench.run(words(&line));
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    assert!(outcome.stdout == *server.content);
}

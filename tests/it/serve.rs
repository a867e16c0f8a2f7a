//! `serve`: files, ranges, conditions, limits and the end; asked with bare sockets, so that every
//! header is what the test says.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::harness::{Bench, words};

/// Starts the server and ends it when the tests' end of its stdin is closed, however they end.
const KEEPER: &str = r#""$@" </dev/null & server=$!; echo "$server"
cat >/dev/null; kill $server 2>/dev/null; wait $server"#;

/// A `skyprep serve` of its own.
pub(crate) struct Serving {
    keeper: Child,
    pub(crate) pid: Pid,
    /// With `/` at its end.
    pub(crate) url: String,
    out: BufReader<ChildStdout>,
}

impl Serving {
    pub(crate) fn start(folder: &Path, options: &str) -> Self {
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh", env!("CARGO_BIN_EXE_skyprep"), "serve"])
            .arg(folder)
            .args(["--listen", "127.0.0.1:0", "--threads", "2"])
            .args(words(options))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(keeper.stdout.take().unwrap());
        let (mut pid, mut url) = (None, None);
        while pid.is_none() || url.is_none() {
            let mut line = String::new();
            assert!(out.read_line(&mut line).unwrap() > 0, "no URL");
            match line.trim_end() {
                line if line.starts_with("http://127.0.0.1:") => url = Some(line.to_owned()),
                line => pid = Pid::from_raw(line.parse().unwrap()),
            }
        }
        Self {
            keeper,
            pid: pid.unwrap(),
            url: url.unwrap(),
            out,
        }
    }

    /// Asks the server to end.
    fn signal(&self) {
        kill_process(self.pid, Signal::TERM).unwrap();
    }

    /// Waits for the end after [`Self::signal`]; returns exit code, further lines on stdout, and
    /// stderr.
    fn end(mut self) -> (i32, String, String) {
        // The keeper would send a second signal, which ends the server at once.
        let stat = format!("/proc/{}/stat", self.pid.as_raw_nonzero());
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(self.keeper.stdin.take());
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).unwrap();
        let mut stderr = self.keeper.stderr.take().unwrap();
        stderr.read_to_string(&mut err).unwrap();
        (self.keeper.wait().unwrap().code().unwrap(), out, err)
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask("GET", &format!("{}{path}", self.url), headers, b"")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// What a server said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn read(stream: &mut impl Read) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        Self {
            status: status.parse().unwrap(),
            headers: headers
                .map(|(n, v)| (n.to_lowercase(), v.to_owned()))
                .collect(),
            body: bytes.split_off(end + 4),
        }
    }
}

/// Connects and sends a request; the answer is read by whoever asks.
pub(crate) fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut head = format!(
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !headers.iter().any(|(name, _)| *name == "Connection") {
        head += "Connection: close\r\n";
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    stream
}

/// One request on a connection of its own.
pub(crate) fn ask(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    Answer::read(&mut send(method, url, headers, body))
}

#[test]
fn files_and_ranges() {
    let bench = Bench::new();
    let big: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    bench.write("site/T/chunk_7.txt", b"0123456789");
    bench.write("site/manifest.jsonl", b"{}\n");
    bench.write("site/a b\u{e9}+%.txt", b"x");
    bench.write("site/big.bin", &big);
    bench.write("site/empty.txt", b"");
    let serving = Serving::start(&bench.path("site"), "");
    let whole = serving.get("T/chunk_7.txt", &[]);
    assert_eq!((whole.status, &whole.body[..]), (200, &b"0123456789"[..]));
    assert_eq!(whole.header("content-type"), "text/plain");
    assert_eq!(whole.header("accept-ranges"), "bytes");
    assert_eq!(
        serving.get("manifest.jsonl", &[]).header("content-type"),
        "text/plain"
    );
    assert_eq!(serving.get("a%20b%C3%A9+%25.txt", &[]).body, b"x");
    assert_eq!(serving.get("big.bin?X-Amz-Signature=1", &[]).body, big);
    assert_eq!(serving.get("empty.txt", &[]).header("content-length"), "0");
    let url = format!("{}T/chunk_7.txt", serving.url);
    let head = ask("HEAD", &url, &[("Range", "bytes=2-3")], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), "10");
    assert_eq!(head.header("etag"), whole.header("etag"));
    for (range, status, body, content_range) in [
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=8-99", 206, "89", "bytes 8-9/10"),
        ("bytes=10-", 416, "", "bytes */10"),
        ("bytes=5-2", 416, "", "bytes */10"),
        ("lines=1-2", 200, "0123456789", ""),
    ] {
        let part = serving.get("T/chunk_7.txt", &[("Range", range)]);
        assert_eq!(part.status, status, "{range}");
        assert_eq!(String::from_utf8_lossy(&part.body), body, "{range}");
        assert_eq!(part.header("content-range"), content_range, "{range}");
    }
    // Several ranges at once are not served; clients ask for them one by one then.
    let several = serving.get("T/chunk_7.txt", &[("Range", "bytes=0-1,4-5")]);
    assert_eq!(several.status, 416);
    let far = serving.get("big.bin", &[("Range", "bytes=11999996-")]);
    assert_eq!(far.body, 2_999_999u32.to_le_bytes());
    for method in ["PUT", "POST", "DELETE", "MKCOL", "OPTIONS"] {
        let refused = ask(method, &url, &[], b"x");
        assert_eq!(refused.status, 405, "{method}");
        assert_eq!(refused.header("allow"), "GET, HEAD", "{method}");
    }
    assert_eq!(
        fs::read(bench.path("site/T/chunk_7.txt")).unwrap(),
        b"0123456789"
    );
}

#[test]
fn what_is_hidden_or_outside_is_not_there() {
    let bench = Bench::new();
    bench.write("secret.txt", b"secret");
    bench.write("site/.skyprep/record.jsonl", b"secret");
    bench.write("site/T/.hidden", b"secret");
    bench.write("site/T/a.txt", b"a");
    symlink("../secret.txt", bench.path("site/out.txt")).unwrap();
    symlink("..", bench.path("site/up")).unwrap();
    symlink(".skyprep/record.jsonl", bench.path("site/record.txt")).unwrap();
    symlink("T", bench.path("site/inside")).unwrap();
    symlink("loop", bench.path("site/loop")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(bench.path("site/pipe"))
            .status()
            .unwrap()
            .success()
    );
    let serving = Serving::start(&bench.path("site"), "");
    assert_eq!(serving.get("inside/a.txt", &[]).body, b"a");
    for path in [
        "",
        "T",
        "T/",
        "nothing.txt",
        "T/a.txt/",
        "T/a.txt/b",
        ".skyprep/record.jsonl",
        "%2Eskyprep/record.jsonl",
        "T/../.skyprep/record.jsonl",
        "T/.hidden",
        "out.txt",
        "up/secret.txt",
        "record.txt",
        "../secret.txt",
        "%2e%2e/secret.txt",
        "T%2f..%2f..%2fsecret.txt",
        "/etc/hostname",
        "a%00.txt",
        "loop",
        "pipe",
    ] {
        let answer = serving.get(path, &[]);
        assert!(
            (400..500).contains(&answer.status),
            "{path}: {}",
            answer.status
        );
        assert!(
            !answer.body.windows(6).any(|six| six == b"secret"),
            "{path}"
        );
    }
    // What is served is what stands under the name when it is asked for.
    bench.write("site/T/new.txt", b"new");
    assert_eq!(serving.get("T/new.txt", &[]).body, b"new");
}

#[test]
fn conditions() {
    let bench = Bench::new();
    let path = bench.write("site/a.txt", b"0123456789");
    let serving = Serving::start(&bench.path("site"), "");
    let first = serving.get("a.txt", &[]);
    let (tag, time) = (first.header("etag"), first.header("last-modified"));
    assert!(tag.starts_with('"') && tag.len() > 4, "{tag}");
    let range = ("Range", "bytes=5-");
    for (name, value, ranged, status) in [
        ("If-None-Match", tag, false, 304),
        ("If-None-Match", "\"other\"", false, 200),
        ("If-Modified-Since", time, false, 304),
        ("If-Match", "\"other\"", false, 412),
        ("If-Range", tag, true, 206),
        ("If-Range", time, true, 206),
        ("If-Range", "\"other\"", true, 200),
        ("If-Range", "Thu, 01 Jan 1970 00:00:00 GMT", true, 200),
        ("If-Range", &format!("W/{tag}"), true, 200),
    ] {
        let mut headers = vec![(name, value)];
        headers.extend(ranged.then_some(range));
        let answer = serving.get("a.txt", &headers);
        assert_eq!(answer.status, status, "{name}: {value}");
        let body: &[u8] = match status {
            200 => b"0123456789",
            206 => b"56789",
            _ => b"",
        };
        assert_eq!(answer.body, body, "{name}: {value}");
    }
    // Another version of the same size is told apart, even within a second.
    fs::remove_file(&path).unwrap();
    bench.write("site/a.txt", b"9876543210");
    let second = serving.get("a.txt", &[("If-Range", tag), range]);
    assert_eq!((second.status, &second.body[..]), (200, &b"9876543210"[..]));
    assert_ne!(second.header("etag"), tag);
}

#[test]
fn those_beyond_the_limit_wait_for_their_turn() {
    let bench = Bench::new();
    bench.write("site/a.txt", b"a");
    let serving = Serving::start(&bench.path("site"), "--max-connections 1");
    let host = serving.url["http://".len()..]
        .trim_end_matches('/')
        .to_owned();
    let idle = TcpStream::connect(&host).unwrap();
    // The connection has its place once it is answered something; this one says nothing.
    std::thread::sleep(Duration::from_millis(300));
    let mut second = send("GET", &format!("{}a.txt", serving.url), &[], b"");
    second
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    assert!(
        second.read(&mut [0; 1]).is_err(),
        "answered beyond the limit"
    );
    drop(idle);
    second
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    assert_eq!(Answer::read(&mut second).body, b"a");
    drop(second);
    // Who wants to keep the only connection is told to let go, and is answered all the same.
    let url = format!("{}a.txt", serving.url);
    let keeping = ask("GET", &url, &[("Connection", "keep-alive")], b"");
    assert_eq!(keeping.header("connection"), "close");
    // With places left nobody is sent away.
    let roomy = Serving::start(&bench.path("site"), "--max-connections 8");
    let mut kept = send(
        "GET",
        &format!("{}a.txt", roomy.url),
        &[("Connection", "keep-alive")],
        b"",
    );
    for _ in 0..3 {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\na") {
            let mut byte = [0];
            kept.read_exact(&mut byte).unwrap();
            bytes.extend(byte);
        }
        assert!(bytes.starts_with(b"HTTP/1.1 200"));
        kept.write_all(b"GET /a.txt HTTP/1.1\r\nHost: h\r\n\r\n")
            .unwrap();
    }
    let many: Vec<_> = (0..40).map(|_| send("GET", &url, &[], b"")).collect();
    for mut one in many {
        assert_eq!(Answer::read(&mut one).body, b"a");
    }
}

/// A request whose answer is far from read, and the server's end begun.
fn with_an_answer_under_way(options: &str) -> (Serving, TcpStream, usize) {
    let bench = Bench::new();
    let length = 64 << 20;
    let file = fs::File::create(bench.write("site/big.bin", b"")).unwrap();
    file.set_len(length as u64).unwrap();
    let serving = Serving::start(&bench.path("site"), options);
    let mut stream = send("GET", &format!("{}big.bin", serving.url), &[], b"");
    stream.read_exact(&mut [0; 1000]).unwrap();
    serving.signal();
    (serving, stream, length)
}

#[test]
fn an_answer_under_way_is_finished_after_a_signal() {
    let (serving, mut stream, length) = with_an_answer_under_way("");
    std::thread::sleep(Duration::from_millis(300));
    let host = serving.url["http://".len()..]
        .trim_end_matches('/')
        .to_owned();
    assert!(TcpStream::connect(host).is_err(), "still listening");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.len() + 1000 > length, "{}", rest.len());
    let (code, _, said) = serving.end();
    assert_eq!(code, 143, "{said}");
    assert!(said.contains("1 requests, 67,108,864 bytes"), "{said}");
}

#[test]
fn the_end_does_not_wait_for_ever() {
    let (serving, stream, _) = with_an_answer_under_way("--grace 300ms");
    let started = Instant::now();
    let (code, _, said) = serving.end();
    assert_eq!(code, 143, "{said}");
    assert!(said.contains("cut off"), "{said}");
    assert!(started.elapsed() < Duration::from_secs(5));
    drop(stream);
}

#[test]
fn access_is_logged_in_both_forms() {
    let bench = Bench::new();
    bench.write("site/a.txt", b"0123456789");
    let log = bench.path("access.log");
    let options = format!("--access-log {}", log.display());
    let serving = Serving::start(&bench.path("site"), &options);
    serving.get("a.txt?X-Amz-Signature=abc", &[]);
    serving.get("a.txt", &[("Range", "bytes=0-3")]);
    serving.get("b.txt", &[]);
    serving.signal();
    serving.end();
    let lines = fs::read_to_string(&log).unwrap();
    let ends: Vec<&str> = lines
        .lines()
        .map(|line| line.split_once("] ").unwrap().1)
        .collect();
    let expected = [
        "\"GET /a.txt HTTP/1.1\" 200 10",
        "\"GET /a.txt HTTP/1.1\" 206 4",
        "\"GET /b.txt HTTP/1.1\" 404 -",
    ];
    assert_eq!(ends, expected);
    assert!(lines.starts_with("127.0.0.1 - - ["), "{lines}");
    let serving = Serving::start(&bench.path("site"), "--access-log - --json");
    serving.get("a.txt", &[("Range", "bytes=0-3")]);
    serving.signal();
    let (_, out, _) = serving.end();
    let line: serde_json::Value = serde_json::from_str(out.trim_end()).unwrap();
    assert_eq!(line["range"], "bytes=0-3");
    assert_eq!(line["bytes"], 4);
    assert_eq!(line["complete"], true);
}

#[test]
fn what_can_not_be_served_is_said() {
    let bench = Bench::new();
    bench.write("file", b"");
    fs::create_dir(bench.path("site")).unwrap();
    let run = |line: &str| bench.run(words(line));
    run("serve nowhere --listen 127.0.0.1:0").failed(3, &["nowhere"]);
    run("serve file --listen 127.0.0.1:0").failed(3, &["not a folder"]);
    run("serve site --listen 8080").failed(2, &["127.0.0.1:8080"]);
    run("serve site --listen 127.0.0.1:0 --max-connections 0").failed(2, &["1 or more"]);
    run("serve site --listen 127.0.0.1:0 --max-connections 99999999").failed(2, &["ulimit"]);
    run("serve site --json").failed(2, &["--access-log"]);
    let serving = Serving::start(&bench.path("site"), "");
    let taken = serving.url["http://".len()..].trim_end_matches('/');
    run(&format!("serve site --listen {taken}")).failed(5, &[taken, "--listen"]);
}

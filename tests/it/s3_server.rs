//! Private S3 servers, one of each kind for all tests: rclone's, which checks signatures and MD5
//! and keeps objects as files, and moto, which knows the rules of AWS and checks no signature.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use skyprep::place::{Credentials, NetworkOptions, RetryPolicy, Secret};

use super::harness::repo;

pub(crate) const KEY: &str = "KEYOFTESTS";
pub(crate) const SECRET: &str = "SECRETOFTESTS";
/// The bucket that is there.
pub(crate) const BUCKET: &str = "bucket";

/// What watches a server: it ends when the tests' end of its stdin does, however they end, and
/// takes server and folder with it.
const KEEPER: &str = r#"folder=$1; shift; "$@" & server=$!
cat >/dev/null
kill -9 $server; wait $server 2>/dev/null; rm -rf -- "$folder""#;

/// A server on a port of its own.
pub(crate) struct S3Server {
    /// `127.0.0.1` and the port.
    pub(crate) host: String,
    folder: PathBuf,
    /// Never spoken to: the server lives as long as its stdin is open.
    _keeper: Child,
}

/// rclone's server of this test run.
pub(crate) fn rclone() -> &'static S3Server {
    static SERVER: OnceLock<S3Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let keys = format!("{KEY},{SECRET}");
        let server = S3Server::start("rclone", |port, folder| {
            fs::create_dir_all(folder.join("data").join(BUCKET)).unwrap();
            let data = folder.join("data").display().to_string();
            let words = ["serve", "s3", &data, "--addr", &format!("127.0.0.1:{port}")];
            let words = words.map(str::to_owned).into_iter();
            words
                .chain(["--auth-key".to_owned(), keys.clone()])
                .collect()
        });
        server.wait_for("403");
        server
    })
}

/// The moto server of this test run.
pub(crate) fn moto() -> &'static S3Server {
    static SERVER: OnceLock<S3Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let server = S3Server::start("moto_server", |port, _| {
            ["-H", "127.0.0.1", "-p", &port.to_string()]
                .map(str::to_owned)
                .to_vec()
        });
        server.wait_for("200");
        let (status, _) = http(&server.host, "PUT", &format!("/{BUCKET}"));
        assert_eq!(status, 200);
        server
    })
}

/// A program out of the environment that tests/setup.sh makes.
pub(crate) fn venv_program(name: &str) -> PathBuf {
    let folder = std::env::var_os("SKYPREP_TEST_VENV")
        .map_or_else(|| repo("target/test-venv"), PathBuf::from);
    let path = folder.join("bin").join(name);
    assert!(
        path.exists(),
        "{} is not there; tests/setup.sh makes it",
        path.display()
    );
    path
}

/// A port that nobody listens at; somebody else may be faster to take it.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl S3Server {
    fn start(name: &str, args: impl Fn(u16, &Path) -> Vec<String>) -> Self {
        let folder = tempfile::Builder::new().prefix("skyprep-s3").tempdir();
        let folder = folder.unwrap().keep();
        let port = free_port();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(&folder)
            .arg(venv_program(name))
            .args(args(port, &folder))
            .current_dir(&folder)
            .env("HOME", &folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self {
            host: format!("127.0.0.1:{port}"),
            folder,
            _keeper: keeper.unwrap(),
        }
    }

    /// Waits until the server answers; how it does tells that it is the one that was started.
    fn wait_for(&self, status: &str) {
        let start = Instant::now();
        loop {
            if let Ok((found, _)) = try_http(&self.host, "GET", "/") {
                let is_it = found.to_string() == status || found == 400;
                assert!(is_it, "{} answers {found}", self.host);
                return;
            }
            let elapsed = start.elapsed();
            assert!(
                elapsed < Duration::from_secs(60),
                "no answer: {}",
                self.host
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The folder of the bucket (rclone's only).
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data").join(BUCKET)
    }

    /// The bytes of an object as they lie on disk (rclone's only).
    pub(crate) fn on_disk(&self, key: &str) -> Option<Vec<u8>> {
        fs::read(self.data().join(key)).ok()
    }

    /// How the server is used by who knows the keys.
    pub(crate) fn options(&self) -> NetworkOptions {
        options(&self.host, KEY, SECRET)
    }
}

/// Options for a server at that host and port, which try quickly and not often.
pub(crate) fn options(host: &str, key: &str, secret: &str) -> NetworkOptions {
    let setting = |name: &str, value: &str| (name.to_owned(), Secret::new(value));
    NetworkOptions {
        credentials: Credentials {
            s3: vec![
                setting("aws_access_key_id", key),
                setting("aws_secret_access_key", secret),
                setting("aws_endpoint_url", &format!("http://{host}")),
            ],
            ..Credentials::default()
        },
        retry: RetryPolicy {
            tries: 4,
            first_wait: Duration::from_millis(10),
            longest_wait: Duration::from_millis(1500),
        },
        part_bytes: Some(5 << 20),
        buffer_bytes: 64 << 20,
        timeout: Duration::from_secs(30),
        ..NetworkOptions::default()
    }
}

/// Asks plainly, without any signature; returns status and body.
pub(crate) fn http(host: &str, method: &str, target: &str) -> (u16, Vec<u8>) {
    try_http(host, method, target).unwrap()
}

fn try_http(host: &str, method: &str, target: &str) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(host)?;
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let is_chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    assert!(!is_chunked, "{head}");
    Ok((status.unwrap(), answer[end + 4..].to_vec()))
}

//! HTTP and WebDAV servers as places: what they take, refuse, and never get to know.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use skyprep::error::{Error, ErrorKind};
use skyprep::exchange::{FileDigest, FileSummary};
use skyprep::place::{
    Credentials, DonePart, FileUpload, HttpLogin, Network, NetworkOptions, Place, PlaceUrl,
    RetryPolicy, Secret, Stored, UploadLog,
};
use skyprep::resources::Cancel;
use tempfile::TempDir;

use super::fault_proxy::{Fault, FaultProxy};
use super::http_server::{PASSWORD, USER, free_ports, nginx, webdav};
use super::place_conformance;

/// Writes nothing down: HTTP has no uploads in parts.
pub(crate) struct NoLog;

impl UploadLog for NoLog {
    fn begun(&self, key: &str, _id: &str, _part_bytes: u64) -> skyprep::error::Result<()> {
        panic!("{key}: an upload in parts")
    }
    fn part(&self, key: &str, _id: &str, _part: &DonePart) -> skyprep::error::Result<()> {
        panic!("{key}: a part")
    }
    fn ended(&self, _key: &str, _id: &str) -> skyprep::error::Result<()> {
        Ok(())
    }
}

pub(crate) fn options() -> NetworkOptions {
    NetworkOptions {
        retry: RetryPolicy {
            tries: 3,
            first_wait: Duration::from_millis(10),
            longest_wait: Duration::from_millis(100),
        },
        buffer_bytes: 8 << 20,
        timeout: Duration::from_secs(20),
        ..NetworkOptions::default()
    }
}

/// The login that the servers know, for all that a [`Site`] is at.
pub(crate) fn with_login(mut options: NetworkOptions, password: &str) -> NetworkOptions {
    options.credentials = Credentials {
        any_http: Some(HttpLogin::Basic {
            user: USER.to_owned(),
            password: Secret::new(password),
        }),
        ..Credentials::default()
    };
    options
}

/// A place at a port of the loopback, in a folder of its own.
pub(crate) struct Site {
    pub(crate) network: Network,
    pub(crate) place: Arc<dyn Place>,
    files: TempDir,
}

impl Site {
    pub(crate) fn new(options: NetworkOptions, port: u16, folder: &str) -> Self {
        Self::at(options, &format!("http://127.0.0.1:{port}/{folder}"))
    }

    fn at(mut options: NetworkOptions, url: &str) -> Self {
        options.credentials.name(url);
        let network = Network::new(options).unwrap();
        let place = network.open(&PlaceUrl::parse(url).unwrap()).unwrap();
        Self {
            network,
            place,
            files: tempfile::tempdir().unwrap(),
        }
    }

    /// What all places must do, in a folder of its own.
    fn conforms(&self, data: &Path) {
        let folder = new_folder("all");
        let mut url = url::Url::parse(&self.place.url("x")).unwrap();
        url.set_path(&folder);
        let place = PlaceUrl::parse(url.as_str()).unwrap();
        let place = self.network.open(&place).unwrap();
        let data = data.join(folder);
        let behind = |key: &str| fs::read(data.join(key)).ok();
        place_conformance::conforms(&self.network, &*place, Some(&behind));
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.files.path().join(format!("{:x}", fastrand::u64(..)));
        fs::write(&path, bytes).unwrap();
        path
    }

    fn put_path(
        &self,
        key: &str,
        path: &Path,
        bytes: u64,
        recorded: Option<&FileSummary>,
    ) -> Result<Stored, Error> {
        let upload = FileUpload {
            key,
            path,
            bytes,
            recorded,
            open: None,
            log: &NoLog,
            advance: &|_| {},
        };
        self.network.wait(self.place.put_file(upload))
    }

    fn put(&self, key: &str, bytes: &[u8]) -> Result<Stored, Error> {
        self.put_path(key, &self.file(bytes), bytes.len() as u64, None)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.network.wait(async {
            let Some(mut stream) = self.place.get(key).await? else {
                return Ok(None);
            };
            let mut all = Vec::new();
            while let Some(block) = stream.next().await {
                all.extend_from_slice(&block?);
            }
            Ok(Some(all))
        })
    }

    fn delete(&self, key: &str) -> Result<bool, Error> {
        self.network.wait(self.place.delete(key))
    }

    fn size(&self, key: &str) -> Option<u64> {
        let found = self.network.wait(self.place.head(key)).unwrap();
        found.map(|found| found.bytes)
    }
}

pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..length).map(|_| random.u8(..)).collect()
}

/// Names of files below a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    super::harness::files(folder).into_keys().collect()
}

fn new_folder(prefix: &str) -> String {
    format!("{prefix}-{:x}", fastrand::u64(..))
}

/// What every server must do with objects, whatever else it can.
fn objects_come_and_go(site: &Site, data: &Path) {
    let long = noise(3_000_001, 7);
    for (key, bytes) in [
        ("small.txt", &b"1\t2\n"[..]),
        ("empty.txt", b""),
        ("a b/c+d%41&=e#f?.txt", b"odd\n"),
        ("\u{e9}t\u{e9}/deep/er/long.txt", &long),
        ("\u{e9}t\u{e9}/deep/er/next.txt", b"2\n"),
    ] {
        let told = AtomicU64::new(0);
        let path = site.file(bytes);
        let upload = FileUpload {
            key,
            path: &path,
            bytes: bytes.len() as u64,
            recorded: None,
            open: None,
            log: &NoLog,
            advance: &|more| _ = told.fetch_add(more, Ordering::Relaxed),
        };
        let stored = site.network.wait(site.place.put_file(upload)).unwrap();
        let summary = FileDigest::of_file(&path, 0).unwrap();
        let summary = summary.finish(key, None, false);
        assert_eq!(stored.summary.sha256, summary.sha256, "{key}");
        assert_eq!(stored.summary.xxh3, summary.xxh3, "{key}");
        assert_eq!(&*stored.summary.path(), key);
        assert_eq!(stored.sent, bytes.len() as u64, "{key}");
        assert_eq!(told.into_inner(), bytes.len() as u64, "{key}");
        assert_eq!(fs::read(data.join(key)).unwrap(), bytes, "{key}");
        assert_eq!(site.get(key).unwrap().as_deref(), Some(bytes), "{key}");
        assert_eq!(site.size(key), Some(bytes.len() as u64), "{key}");
    }
    site.put("small.txt", b"other and longer\n").unwrap();
    assert_eq!(
        site.get("small.txt").unwrap().unwrap(),
        b"other and longer\n"
    );
    let bytes = Bytes::from_static(b"{}\n");
    site.network
        .wait(site.place.put_bytes("sub/m.jsonl", bytes))
        .unwrap();
    assert_eq!(site.get("sub/m.jsonl").unwrap().unwrap(), b"{}\n");
    assert_eq!(site.get("no/such.txt").unwrap(), None);
    assert_eq!(site.size("no.txt"), None);
    assert!(site.delete("empty.txt").unwrap());
    assert!(!site.delete("empty.txt").unwrap());

    // What is not what its record says never shows, and does not touch what is there.
    let path = site.file(b"changed\n");
    let recorded = FileDigest::default().finish("small.txt", None, false);
    for key in ["small.txt", "fresh.txt"] {
        let error = site.put_path(key, &path, 8, Some(&recorded)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
    }
    for bytes in [7, 9] {
        let error = site.put_path("fresh.txt", &path, bytes, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
    }
    let missing = site.files.path().join("missing");
    let error = site.put_path("fresh.txt", &missing, 9, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InputMissing, "{error}");
    assert_eq!(site.size("fresh.txt"), None);
    assert_eq!(
        site.get("small.txt").unwrap().unwrap(),
        b"other and longer\n"
    );
    assert_eq!(
        names(data),
        [
            "a b/c+d%41&=e#f?.txt",
            "small.txt",
            "sub/m.jsonl",
            "\u{e9}t\u{e9}/deep/er/long.txt",
            "\u{e9}t\u{e9}/deep/er/next.txt"
        ]
    );
}

#[test]
fn nginx_takes_objects() {
    let server = nginx();
    for port in [server.dav, server.strict, server.plain] {
        let folder = new_folder("take");
        let site = Site::new(options(), port, &folder);
        objects_come_and_go(&site, &server.data().join(folder));
        site.conforms(&server.data());
    }
}

#[test]
fn webdav_takes_objects() {
    let server = webdav();
    let folder = new_folder("take/in/deep");
    let site = Site::new(with_login(options(), PASSWORD), server.port, &folder);
    objects_come_and_go(&site, &server.data().join(folder));
    site.conforms(&server.data());
}

#[test]
fn what_a_server_can_is_asked_once() {
    let server = nginx();
    for (port, moves, deletes) in [(server.dav, 6, 0), (server.plain, 1, 0)] {
        let proxy = FaultProxy::start(port, 1, 0, &[]);
        let site = Site::new(options(), proxy.port, &new_folder("once"));
        for number in 0..5 {
            site.put(&format!("{number}.txt"), b"1\n").unwrap();
        }
        let requests = proxy.requests();
        let of = |method: &str| requests.get(method).copied().unwrap_or(0);
        assert_eq!(of("PUT"), 5, "{requests:?}");
        assert_eq!((of("MOVE"), of("DELETE")), (moves, deletes), "{requests:?}");
    }
    let proxy = FaultProxy::start(server.strict, 1, 0, &[]);
    let site = Site::new(options(), proxy.port, &new_folder("once"));
    for number in 0..5 {
        site.put(&format!("a/b/{number}.txt"), b"1\n").unwrap();
    }
    // Three folders are missing, of which two are asked for in vain.
    let requests = proxy.requests();
    assert_eq!((requests["PUT"], requests["MKCOL"]), (5, 5), "{requests:?}");
}

#[test]
fn logins_open_doors_and_stay_secret() {
    let nginx = nginx();
    let rclone = webdav();
    let folder = new_folder("login");
    let large = noise(20_000_000, 3);
    for port in [nginx.locked, rclone.port] {
        let site = Site::new(with_login(options(), PASSWORD), port, &folder);
        site.put("x.txt", b"1\n").unwrap();
        assert_eq!(site.get("x.txt").unwrap().unwrap(), b"1\n");
        let shown = format!("{:?} {:?}", site.network, site.place);
        assert!(
            shown.contains("REDACTED") && !shown.contains(PASSWORD),
            "{shown}"
        );
        for (options, secret) in [
            (with_login(options(), "wrong-5512"), "wrong-5512"),
            (options(), PASSWORD),
        ] {
            let site = Site::new(options, port, &folder);
            let begin = Instant::now();
            let error = site.put("y.txt", &large).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ServerRefused, "{error}");
            assert!(error.to_string().contains("401"), "{error}");
            assert!(!format!("{error:?} {error}").contains(secret));
            assert!(begin.elapsed() < Duration::from_secs(5));
            for error in [
                site.get("x.txt").unwrap_err(),
                site.delete("x.txt").unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::ServerRefused, "{error}");
            }
        }
    }
}

#[test]
fn certificates_are_checked() {
    let server = nginx();
    let folder = new_folder("tls");
    let url = format!("https://127.0.0.1:{}/{folder}", server.tls);
    let mut trusting = options();
    trusting.ca_files = vec![server.certificate()];
    let site = Site::at(trusting, &url);
    site.put("x.txt", b"1\n").unwrap();
    assert_eq!(site.get("x.txt").unwrap().unwrap(), b"1\n");

    let error = Site::at(options(), &url).put("y.txt", b"1\n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ServerRefused, "{error}");
    let hint = error.hint_text().unwrap_or_default();
    assert!(hint.contains("--ca-file"), "{error} {hint}");
    assert_eq!(names(&server.data().join(folder)), ["x.txt"]);

    let mut odd = options();
    odd.ca_files = vec![server.data().join("no.pem")];
    assert_eq!(
        Network::new(odd).unwrap_err().kind(),
        ErrorKind::InputMissing
    );
}

#[test]
fn what_lasts_is_told_at_once_and_what_passes_after_all_tries() {
    let server = nginx();
    let site = Site::new(options(), server.redirect, "r");
    for error in [
        site.put("x.txt", b"1\n").unwrap_err(),
        site.get("x.txt").unwrap_err(),
        site.delete("x.txt").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::ServerRefused, "{error}");
        assert!(
            error.hint_text().unwrap().contains("redirections"),
            "{error}"
        );
    }
    let site = Site::new(options(), server.dav, "fixed");
    let error = site.put("x.txt", b"1\n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ServerRefused, "{error}");
    assert!(error.to_string().contains("403"), "{error}");

    let [nobody] = free_ports();
    let site = Site::new(options(), nobody, "x");
    let error = site.put("x.txt", b"1\n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    assert!(error.to_string().contains("tried 3 times"), "{error}");

    let proxy = FaultProxy::start(server.dav, 1, 1000, &[Fault::Full]);
    let site = Site::new(options(), proxy.port, "x");
    let error = site.delete("x.txt").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    assert_eq!(proxy.counts()[&Fault::Full], 1);
}

#[test]
fn a_full_disk_keeps_nothing() {
    let server = nginx();
    if !server.mount_small() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: a full disk: only root can mount a small one"
        );
        return;
    }
    let site = Site::new(options(), server.dav, "small");
    site.put("x.txt", &noise(10_000, 1)).unwrap();
    let error = site.put("y.txt", &noise(2_000_000, 1));
    let mut left = names(&server.data().join("small"));
    server.unmount_small();
    // nginx does not tell what is wrong with a PUT, and keeps what it could not copy to there.
    let error = error.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Network | ErrorKind::DiskFull),
        "{error}"
    );
    left.retain(|name| !name.starts_with(".y.txt.partial.0"));
    assert_eq!(left, ["x.txt"]);
}

#[test]
fn reading_goes_on_where_it_broke() {
    let server = nginx();
    let folder = new_folder("read");
    let bytes = noise(1_000_000, 5);
    Site::new(options(), server.dav, &folder)
        .put("x.txt", &bytes)
        .unwrap();
    for port in [server.dav, server.plain] {
        let proxy = FaultProxy::start(port, 11, 700, &[Fault::CutAnswer]);
        let mut options = options();
        options.retry.tries = 40;
        let site = Site::new(options, proxy.port, &folder);
        for _ in 0..5 {
            assert!(site.get("x.txt").unwrap().unwrap() == bytes);
        }
        assert!(
            proxy.counts()[&Fault::CutAnswer] >= 5,
            "{:?}",
            proxy.counts()
        );
    }
}

#[test]
fn silent_servers_are_left_and_an_end_comes_soon() {
    // Accepts connections, and does nothing.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut short = options();
    short.timeout = Duration::from_secs(1);
    short.retry.tries = 1;
    let error = Site::new(short, port, "x").put("x.txt", b"1").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    assert!(error.to_string().contains("no answer in 1 s"), "{error}");

    let cancel = Cancel::default();
    let mut patient = options();
    patient.cancel = cancel.clone();
    let site = Site::new(patient, port, "x");
    let asker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        cancel.cancel(15);
    });
    let begin = Instant::now();
    let error = site.put("x.txt", b"1").unwrap_err();
    asker.join().unwrap();
    assert_eq!(error.kind(), ErrorKind::Interrupted(15), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(3));
}

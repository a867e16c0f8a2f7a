//! Staging to servers by the command line: what is there afterwards, byte by byte; again, instead,
//! gone on with, verified and released.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::fault_proxy::{Fault, FaultProxy};
use super::harness::{Bench, Outcome, files, positions, times, words};
use super::http_server::{PASSWORD, USER, nginx, webdav};
use super::s3_server::{BUCKET, KEY, SECRET, moto, rclone};
use super::stars::star_bench;

/// A server that files are staged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Nginx,
    WebDav,
    Rclone,
    Moto,
}

/// Those whose files can be seen on disk.
const SEEN: [Server; 3] = [Server::Nginx, Server::WebDav, Server::Rclone];

impl Server {
    /// The port that it listens at.
    fn port(self) -> u16 {
        let of = |host: &str| host.rsplit_once(':').unwrap().1.parse().unwrap();
        match self {
            Self::Nginx => nginx().dav,
            Self::WebDav => webdav().port,
            Self::Rclone => of(&rclone().host),
            Self::Moto => of(&moto().host),
        }
    }

    fn is_s3(self) -> bool {
        matches!(self, Self::Rclone | Self::Moto)
    }

    /// A destination for one test.
    fn dest(self, test: &str) -> String {
        match self.is_s3() {
            true => format!("s3://{BUCKET}/{test}"),
            false => format!("http://127.0.0.1:{}/{test}", self.port()),
        }
    }

    /// Where its files of one test lie on disk.
    fn folder(self, test: &str) -> PathBuf {
        match self {
            Self::Nginx => nginx().data().join(test),
            Self::WebDav => webdav().data().join(test),
            Self::Rclone => rclone().data().join(test),
            Self::Moto => panic!("moto keeps objects in memory"),
        }
    }

    /// Writes the credentials, and returns the options that name them and the server.
    fn options(self, bench: &Bench) -> String {
        self.options_at(bench, self.port())
    }

    /// The same where something else listens in front of it.
    fn options_at(self, bench: &Bench, port: u16) -> String {
        let text = match self {
            Self::Nginx => String::new(),
            Self::WebDav => format!(
                "[\"http://127.0.0.1:{port}\"]\nuser = \"{USER}\"\npassword = \"{PASSWORD}\"\n"
            ),
            Self::Rclone | Self::Moto => format!(
                "[s3]\naccess_key_id = \"{KEY}\"\nsecret_access_key = \"{SECRET}\"\n\
                 endpoint = \"http://127.0.0.1:{port}\"\n"
            ),
        };
        let path = bench.write(&format!("{self:?}.toml"), text);
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        format!("--credentials {self:?}.toml --state-dir state")
    }
}

/// A director of its own making in `made`, with overlap files.
fn partitioned() -> Bench {
    let bench = Bench::new();
    bench.write("x.txt", positions(3000, 7));
    partition(&bench, "");
    bench
}

fn partition(bench: &Bench, more: &str) {
    let line = format!(
        "partition x.txt -o made --kind director --stripes 18 --sub-stripes 10 --overlap 0.1 \
         --ra ra --dec dec --fields id,ra,dec --id id --table T {more}"
    );
    bench.run(words(&line)).ok();
}

fn stage(bench: &Bench, server: Server, test: &str, more: &str) -> Outcome {
    let dest = server.dest(test);
    let options = server.options(bench);
    bench.run(words(&format!(
        "stage made {dest} --database d {options} {more}"
    )))
}

/// The files that a manifest names, by their path below the destination.
fn named(manifest: &[u8], dest: &str) -> BTreeMap<String, Value> {
    let text = String::from_utf8(manifest.to_vec()).unwrap();
    let lines = text.lines().skip(1);
    lines
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let url = line.get("stored_at").unwrap_or(&line["url"]);
            let path = url.as_str().unwrap().strip_prefix(dest).unwrap();
            (path.trim_start_matches('/').to_owned(), line)
        })
        .collect()
}

#[test]
fn a_table_stands_at_each_server_as_it_stood_here() {
    for server in SEEN {
        let test = "stands";
        let bench = partitioned();
        let dest = server.dest(test);
        let staged = stage(&bench, server, test, "").ok();
        let url = format!("{dest}/d/manifest.jsonl\n");
        assert_eq!(String::from_utf8(staged.stdout).unwrap(), url);
        let mut found = files(&server.folder(test));
        let manifest = found.remove("d/manifest.jsonl").unwrap();
        let mut made = files(&bench.path("made"));
        assert!(made.remove("chunk_object_index.txt").is_some());
        let made: BTreeMap<_, _> = made
            .into_iter()
            .map(|(name, bytes)| (format!("d/T/{name}"), bytes))
            .collect();
        assert!(made == found, "{server:?}: {:?}", found.keys());
        let named = named(&manifest, &dest);
        assert!(named.keys().eq(made.keys()), "{named:?}");
        for (path, line) in &named {
            let bytes = &made[path];
            assert_eq!(line["bytes"], bytes.len());
            let rows = bytes.iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(line["rows"], rows, "{path}");
            assert_eq!(line["sha256"].as_str().unwrap(), sha256(bytes), "{path}");
        }

        let before = times(&server.folder(test));
        let again = stage(&bench, server, test, "").ok();
        assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
        // Another machine has no journal, and finds the same.
        fs::remove_dir_all(bench.path("state")).unwrap();
        let elsewhere = stage(&bench, server, test, "").ok();
        assert!(
            elsewhere.stderr.contains("nothing to do"),
            "{}",
            elsewhere.stderr
        );
        assert_eq!(times(&server.folder(test)), before, "{server:?}");
        let verified = verify(&bench, server, test, "").ok();
        let text = String::from_utf8(verified.stdout).unwrap();
        assert!(
            text.contains(&format!("all {} files", named.len())),
            "{text}"
        );
        clear(&bench, server, test);
        assert!(files(&server.folder(test)).is_empty(), "{server:?}");
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn verify(bench: &Bench, server: Server, test: &str, more: &str) -> Outcome {
    let (dest, options) = (server.dest(test), server.options(bench));
    let options = options.replace("--state-dir state", "");
    bench.run(words(&format!(
        "verify {dest}/d/manifest.jsonl {options} {more}"
    )))
}

fn release(bench: &Bench, server: Server, test: &str, more: &str) -> Outcome {
    let (dest, options) = (server.dest(test), server.options(bench));
    let options = options.replace("--state-dir state", "");
    bench.run(words(&format!(
        "release {dest}/d/manifest.jsonl {options} {more}"
    )))
}

/// Releases what a test has staged.
fn clear(bench: &Bench, server: Server, test: &str) {
    release(bench, server, test, "--yes").ok();
    let gone = verify(bench, server, test, "");
    gone.failed(3, &["there is nothing of that name"]);
}

#[test]
fn moto_takes_all_that_the_others_take() {
    let (server, test) = (Server::Moto, "aws");
    let bench = partitioned();
    stage(&bench, server, test, "").ok();
    verify(&bench, server, test, "").ok();
    verify(&bench, server, test, "--quick").ok();
    let again = stage(&bench, server, test, "").ok();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    clear(&bench, server, test);
}

#[test]
fn other_files_replace_a_table_only_when_told() {
    for server in SEEN {
        let test = "replace";
        let bench = partitioned();
        stage(&bench, server, test, "--table Other").ok();
        stage(&bench, server, test, "").ok();
        bench.write("x.txt", positions(500, 31));
        partition(&bench, "--force");
        let before = files(&server.folder(test));
        stage(&bench, server, test, "").failed(5, &["d.T", "--force"]);
        assert!(files(&server.folder(test)) == before, "{server:?}");
        stage(&bench, server, test, "--force").ok();
        let found = files(&server.folder(test));
        let of = |files: &BTreeMap<String, Vec<u8>>, table: &str| -> BTreeMap<String, Vec<u8>> {
            let start = format!("d/{table}/");
            let own = files.iter().filter(|(name, _)| name.starts_with(&start));
            own.map(|(name, bytes)| (name[start.len()..].to_owned(), bytes.clone()))
                .collect()
        };
        let mut made = files(&bench.path("made"));
        made.remove("chunk_object_index.txt");
        assert!(of(&found, "T") == made, "{server:?}");
        assert!(of(&found, "Other") == of(&before, "Other"), "{server:?}");
        let named = named(&found["d/manifest.jsonl"], &server.dest(test));
        let data = found.keys().filter(|name| !name.ends_with(".jsonl"));
        assert!(named.keys().eq(data), "{server:?}");
        verify(&bench, server, test, "").ok();
        clear(&bench, server, test);
    }
}

#[test]
fn what_was_changed_at_a_server_is_found() {
    let (server, test) = (Server::Nginx, "changed");
    let bench = partitioned();
    stage(&bench, server, test, "").ok();
    let folder = server.folder(test).join("d/T");
    let names: Vec<String> = files(&folder).into_keys().collect();
    let mut bytes = fs::read(folder.join(&names[0])).unwrap();
    bytes[0] ^= 1;
    fs::write(folder.join(&names[0]), &bytes).unwrap();
    fs::remove_file(folder.join(&names[1])).unwrap();
    bytes = fs::read(folder.join(&names[2])).unwrap();
    bytes.push(b'\n');
    fs::write(folder.join(&names[2]), &bytes).unwrap();
    let found = verify(&bench, server, test, "--json");
    found.failed(9, &["3 of"]);
    let report: Value = serde_json::from_slice(&found.stdout).unwrap();
    let mut told: Vec<(String, String)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            let url = finding["url"].as_str().unwrap();
            let name = url.rsplit('/').next().unwrap().to_owned();
            (name, finding["what"].as_str().unwrap().to_owned())
        })
        .collect();
    told.sort();
    let expected = [(0, "sha256"), (1, "missing"), (2, "bytes")];
    let mut expected = expected.map(|(at, what)| (names[at].clone(), what.to_owned()));
    expected.sort();
    assert_eq!(told, expected);
    verify(&bench, server, test, "--quick").failed(9, &["2 of"]);

    // A release leaves what is not what was staged.
    let plan = release(&bench, server, test, "");
    plan.failed(9, &["not what the manifest says"]);
    assert!(folder.join(&names[3]).exists());
    release(&bench, server, test, "--yes").failed(9, &["not what the manifest says"]);
    let left: Vec<String> = files(&folder).into_keys().collect();
    assert_eq!(left, [names[2].clone()]);
    assert!(server.folder(test).join("d/manifest.jsonl").exists());
    fs::remove_dir_all(server.folder(test)).unwrap();
}

#[test]
fn files_are_kept_as_long_as_was_said() {
    let (server, test) = (Server::Rclone, "kept");
    let bench = partitioned();
    stage(&bench, server, test, "--retain-until 30d").ok();
    let before = files(&server.folder(test));
    release(&bench, server, test, "--yes").failed(5, &["are to be kept until 20", "--force"]);
    assert!(files(&server.folder(test)) == before);
    // The time counts from when they were staged, not from when that was said again.
    stage(&bench, server, test, "--retain-until 30d").ok();
    assert!(files(&server.folder(test)) == before);
    stage(&bench, server, test, "--retain-until 2020-01-01T00:00:00Z").ok();
    let dry = release(&bench, server, test, "").ok();
    assert!(dry.stderr.contains("nothing was removed"), "{}", dry.stderr);
    clear(&bench, server, test);
}

#[test]
fn urls_can_be_public_or_signed() {
    let test = "public";
    let bench = partitioned();
    let (server, dest) = (Server::Rclone, Server::Rclone.dest(test));
    let staged = stage(&bench, server, test, "").ok();
    assert!(staged.stderr.contains("--public-url"), "{}", staged.stderr);
    stage(
        &bench,
        server,
        test,
        "--public-url https://data.example.org/x/",
    )
    .ok();
    let manifest = fs::read(server.folder(test).join("d/manifest.jsonl")).unwrap();
    for (path, line) in named(&manifest, &dest) {
        let url = line["url"].as_str().unwrap();
        assert_eq!(url, format!("https://data.example.org/x/{path}"));
    }
    verify(&bench, server, test, "").ok();
    let signed = stage(&bench, server, test, "--presign 2h").ok();
    assert!(
        signed.stderr.contains("signed URL ends"),
        "{}",
        signed.stderr
    );
    let manifest = fs::read(server.folder(test).join("d/manifest.jsonl")).unwrap();
    let header: Value =
        serde_json::from_slice(manifest.split(|b| *b == b'\n').next().unwrap()).unwrap();
    assert!(header["urls_expire"].as_str().unwrap().ends_with('Z'));
    for (path, line) in named(&manifest, &dest).into_iter().take(3) {
        let url = line["url"].as_str().unwrap();
        let (host, target) = url
            .strip_prefix("http://")
            .unwrap()
            .split_once('/')
            .unwrap();
        let (status, body) = super::s3_server::http(host, "GET", &format!("/{target}"));
        assert_eq!(status, 200);
        assert!(body == fs::read(server.folder(test).join(path)).unwrap());
        let (status, _) = super::s3_server::http(host, "GET", &format!("/{target}x"));
        assert_eq!(status, 403);
    }
    assert!(!signed.stderr.contains("Signature"), "{}", signed.stderr);
    let url = format!("{dest}/d/manifest.jsonl");
    let presign = format!(
        "manifest presign {url} --valid 1h -o signed.jsonl {}",
        server.options(&bench).replace("--state-dir state", "")
    );
    bench.run(words(&presign)).ok();
    let new = fs::read(bench.path("signed.jsonl")).unwrap();
    let mode = fs::metadata(bench.path("signed.jsonl")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (old, new) = (named(&manifest, &dest), named(&new, &dest));
    assert!(old.keys().eq(new.keys()));
    assert!(
        old.iter()
            .zip(&new)
            .all(|((_, old), (_, new))| old["url"] != new["url"])
    );
    let long = presign.replace("1h", "8d").replace("signed.jsonl", "-");
    bench.run(words(&long)).failed(2, &["seven days"]);
    // As long as the signatures are good, the same again is nothing new.
    let again = stage(&bench, server, test, "--presign 2h").ok();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    verify(&bench, server, test, "").ok();
    clear(&bench, server, test);
}

#[test]
fn a_plain_folder_of_files_goes_too() {
    let (server, test) = (Server::WebDav, "plain");
    let bench = Bench::new();
    bench.write("made/chunk_7.txt", "1\t2\n");
    bench.write("made/chunk_7_overlap.txt", "3\t4\n5\t6");
    stage(&bench, server, test, "").failed(2, &["--kind"]);
    stage(&bench, server, test, "--table T --kind director").ok();
    let manifest = fs::read(server.folder(test).join("d/manifest.jsonl")).unwrap();
    let named = named(&manifest, &server.dest(test));
    assert_eq!(named["d/T/chunk_7_overlap.txt"]["rows"], 2);
    assert_eq!(named["d/T/chunk_7_overlap.txt"]["overlap"], true);
    assert_eq!(named["d/T/chunk_7.txt"]["chunk"], 7);
    clear(&bench, server, test);
}

#[test]
fn what_is_lost_is_sent_again_and_what_is_named_never_goes() {
    for (server, test) in [(Server::Nginx, "lost"), (Server::Rclone, "lost")] {
        let bench = Bench::new();
        let plain = |folder: &str, table: &str, more: &str| {
            let (dest, options) = (server.dest(test), server.options(&bench));
            let line = format!(
                "stage {folder} {dest} --database d --table {table} --kind director {options} {more}"
            );
            bench.run(words(&line))
        };
        for (folder, letter) in [("g1", "1"), ("g2", "2"), ("h1", "3")] {
            for chunk in 1..4 {
                bench.write(
                    &format!("{folder}/chunk_{chunk}.txt"),
                    format!("{letter}\t{chunk}\n"),
                );
            }
        }
        plain("g1", "G", "").ok();
        // A file of the other version that goes away in the middle: the old ones are marked to go.
        bench.write("g3/chunk_1.txt", "9\t9\n");
        bench.write("g3/chunk_9.txt", "9\t9\n");
        fs::set_permissions(
            bench.path("g3/chunk_9.txt"),
            fs::Permissions::from_mode(0o000),
        )
        .unwrap();
        let broken = plain("g3", "G", "--force");
        if broken.code == 0 {
            // Who is root reads all.
            plain("g1", "G", "--force").ok();
        } else {
            plain("g1", "G", "").ok();
        }
        plain("h1", "H", "").ok();
        verify(&bench, server, test, "").ok();

        // Lost, and damaged: the size tells the first, --force mends both.
        let folder = server.folder(test).join("d/G");
        let delete = |name: &str| {
            if server == Server::Nginx {
                return fs::remove_file(folder.join(name)).unwrap();
            }
            // rclone must know of it: a manifest of one file is released.
            let text = fs::read_to_string(server.folder(test).join("d/manifest.jsonl")).unwrap();
            let line = text
                .lines()
                .find(|line| line.contains(name) && line.contains("\"G\""));
            let header = text.lines().next().unwrap();
            let count = text.lines().count() - 1;
            let header =
                header.replace(&format!("\"contributions\":{count}"), "\"contributions\":1");
            bench.write("one.jsonl", format!("{header}\n{}\n", line.unwrap()));
            let options = server.options(&bench).replace("--state-dir state", "");
            bench
                .run(words(&format!("release one.jsonl --yes {options}")))
                .ok();
        };
        delete("chunk_2.txt");
        verify(&bench, server, test, "").failed(9, &["1 of 6"]);
        let mended = plain("g1", "G", "").ok();
        assert!(
            mended.stderr.contains("2 of them were there"),
            "{}",
            mended.stderr
        );
        verify(&bench, server, test, "").ok();
        if server == Server::Nginx {
            fs::write(folder.join("chunk_1.txt"), "x\tx\n").unwrap();
            verify(&bench, server, test, "").failed(9, &["1 of 6"]);
            plain("g1", "G", "--force").ok();
            verify(&bench, server, test, "").ok();
        }

        // An older manifest does not release a newer version.
        let manifest = fs::read(server.folder(test).join("d/manifest.jsonl")).unwrap();
        bench.write("old.jsonl", manifest);
        plain("g2", "G", "--force").ok();
        let options = server.options(&bench).replace("--state-dir state", "");
        let old = bench.run(words(&format!("release old.jsonl --yes {options}")));
        old.failed(9, &["not what the manifest says"]);
        assert!(
            String::from_utf8(old.stdout)
                .unwrap()
                .contains("another version")
        );
        let left = files(&server.folder(test));
        assert_eq!(
            left.keys().filter(|name| name.starts_with("d/G/")).count(),
            3
        );
        assert!(left.contains_key("d/manifest.jsonl"));
        plain("h1", "H", "").ok();
        verify(&bench, server, test, "").ok();
        clear(&bench, server, test);
    }
}

#[test]
fn odd_requests_are_refused_before_anything_is_sent() {
    let (server, test) = (Server::Rclone, "odd");
    let bench = partitioned();
    stage(&bench, server, test, "--presign 8d").failed(2, &["seven days"]);
    for url in ["data.example.org/x", "s3://x/y", "http://h/x?token=1"] {
        let refused = stage(&bench, server, test, &format!("--public-url {url}"));
        refused.failed(2, &["hint"]);
        assert!(!refused.stderr.contains("token=1"), "{}", refused.stderr);
    }
    let refused = stage(&bench, server, test, "--public-url https://u:hush@h/x");
    refused.failed(2, &["password"]);
    assert!(!refused.stderr.contains("hush"), "{}", refused.stderr);
    assert!(!server.folder(test).exists());
    // Another division of the sky.
    stage(&bench, server, test, "").ok();
    let line = "partition x.txt -o other --kind director --stripes 85 --sub-stripes 12 --overlap 0.1 \
                --ra ra --dec dec --fields id,ra,dec --table Other";
    bench.run(words(line)).ok();
    let (dest, options) = (server.dest(test), server.options(&bench));
    let other = bench.run(words(&format!("stage other {dest} --database d {options}")));
    other.failed(5, &["T and Other divide the sky"]);
    bench.run(words("stage made here --database d")).ok();
    let other = bench.run(words("stage other here --database d"));
    other.failed(5, &["divide the sky"]);
    // Files that lie elsewhere are not ours to remove.
    let text = fs::read_to_string(bench.path("here/d/manifest.jsonl")).unwrap();
    let root = format!("file://{}/here/d/T/", bench.root().display());
    assert!(text.contains(&root), "{text}");
    bench.write(
        "moved.jsonl",
        text.replace(&root, &format!("file://{}/made/", bench.root().display())),
    );
    let refused = bench.run(words("release moved.jsonl --yes"));
    refused.failed(5, &["/d/T/", "nothing was removed"]);
    // Folders in folders are taken, too.
    bench.write("deep/chunk_1.txt", "1\n");
    bench.write("deep/001/chunk_1.txt", "2\n");
    bench
        .run(words("stage deep flat --database d --table D --kind child"))
        .ok();
    assert_eq!(files(&bench.path("flat/d/D")).len(), 2);
    bench.write("deep/chunk_2.csv", "2\n");
    let odd = bench.run(words(
        "stage deep flat2 --database d --table D --kind child",
    ));
    odd.failed(2, &["chunk_2.csv"]);
    clear(&bench, server, test);
}

/// The bytes of large files that are cut off in the middle: six parts each.
fn large(number: usize) -> Vec<u8> {
    let row = format!("{number}\t{}\n", "x".repeat(1000));
    row.repeat((28 << 20) / row.len()).into_bytes()
}

#[test]
fn a_killed_upload_is_gone_on_with() {
    for (server, test) in [(Server::Moto, "killed"), (Server::Rclone, "killed")] {
        let bench = Bench::new();
        for number in 0..2 {
            bench.write(&format!("made/chunk_{number}.txt"), large(number));
        }
        // Slow enough to be met in the middle.
        let proxy = FaultProxy::start(server.port(), 1, 1000, &[Fault::Delay]);
        let options = server.options_at(&bench, proxy.port);
        let dest = server.dest(test);
        let line = format!(
            "stage made {dest} --database d --table T --kind director {options} --part-size 5MiB \
             --uploads 1 --parts 2"
        );
        let mut killed = 0;
        let mut parts_seen = 0;
        loop {
            let mut child = Command::new(env!("CARGO_BIN_EXE_skyprep"))
                .args(words(&line))
                .current_dir(bench.root())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let start = Instant::now();
            let status = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break Some(status);
                }
                let parts = journal_parts(&bench);
                if killed < 4 && parts >= parts_seen + 2 {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    killed += 1;
                    parts_seen = journal_parts(&bench);
                    break None;
                }
                assert!(start.elapsed() < Duration::from_secs(120), "{server:?}");
                std::thread::sleep(Duration::from_millis(5));
            };
            if let Some(status) = status {
                assert!(status.success(), "{server:?}");
                break;
            }
        }
        assert!(
            killed >= 2,
            "{server:?}: the uploads were too quick to be met"
        );
        let uploads: usize = proxy
            .requests()
            .iter()
            .filter(|(method, _)| *method == "PUT")
            .map(|(_, count)| *count)
            .sum();
        // Twelve parts and the manifest; a kill may cost what was under way, two parts of them.
        assert!(
            uploads <= 12 + 1 + 2 * killed,
            "{server:?}: {uploads} PUTs, {killed} kills"
        );
        drop(proxy);
        verify(&bench, server, test, "").ok();
        if server == Server::Rclone {
            for number in 0..2 {
                let path = server.folder(test).join(format!("d/T/chunk_{number}.txt"));
                assert!(fs::read(path).unwrap() == large(number));
            }
        }
        clear(&bench, server, test);
    }
}

/// Parts that journals tell of.
fn journal_parts(bench: &Bench) -> usize {
    let places = fs::read_dir(bench.path("state")).into_iter().flatten();
    let journals = places.map(|place| place.unwrap().path().join("uploads.jsonl"));
    journals
        .filter_map(|journal| fs::read(journal).ok())
        .map(|bytes| {
            String::from_utf8_lossy(&bytes)
                .matches("{\"part\":")
                .count()
        })
        .sum()
}

#[test]
fn a_pipeline_runs_straight_to_a_bucket() {
    let here = star_bench();
    here.run(words("run stars/prep.toml")).ok();
    let made = files(&here.path("stars/out/stars"));
    let (server, test) = (Server::Rclone, "run");
    for keep in [false, true] {
        let bench = star_bench();
        let options = server.options(&bench);
        let text = fs::read_to_string(bench.path("stars/prep.toml")).unwrap();
        let dest = server.dest(test);
        let keeping = if keep { "\nkeep_local = \"kept\"" } else { "" };
        let text = text.replace("dest = \"out\"", &format!("dest = \"{dest}\"{keeping}"));
        assert!(text.contains(&dest), "{text}");
        bench.write("stars/prep.toml", text);
        let line = format!("run stars/prep.toml {options}");
        let done = bench.run(words(&line)).ok();
        assert!(
            done.stderr
                .contains(&format!("{dest}/stars/manifest.jsonl")),
            "{}",
            done.stderr
        );
        let mut found = files(&server.folder(test).join("stars"));
        let manifest = found.remove("manifest.jsonl").unwrap();
        assert!(found.remove("report.json").is_some());
        let is_data = |name: &&String| !name.ends_with("_index.txt") && name.contains('/');
        let expected: BTreeSet<&String> = made.keys().filter(is_data).collect();
        assert_eq!(found.keys().collect::<BTreeSet<_>>(), expected);
        for name in expected {
            assert!(found[name] == made[name], "{name}");
        }
        assert_eq!(named(&manifest, &dest).len(), found.len());
        let work = bench.path(if keep {
            "stars/kept/stars"
        } else {
            "stars/.skyprep/stars/stars"
        });
        let left: Vec<String> = files(&work)
            .into_keys()
            .filter(|name| is_data(&name))
            .collect();
        assert_eq!(left.len(), if keep { found.len() } else { 0 }, "{left:?}");

        let before = times(&server.folder(test));
        let again = bench.run(words(&line)).ok();
        assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
        assert_eq!(times(&server.folder(test)), before);

        // Who has lost files at the place makes their tables again, and only those.
        let chunk = found
            .keys()
            .find(|name| name.starts_with("StarPair/"))
            .unwrap();
        let lost = format!("rm {dest}/stars/{chunk}");
        let _ = lost;
        let mut lines: Vec<&[u8]> = manifest.split(|b| *b == b'\n').collect();
        lines.pop();
        assert_eq!(lines.len(), found.len() + 1);
        let manifest_url = format!("{dest}/stars/manifest.jsonl");
        let release = format!(
            "release {manifest_url} --yes {}",
            options.replace("--state-dir state", "")
        );
        bench.run(words(&release)).ok();
        bench.run(words(&line)).ok();
        let mut remade = files(&server.folder(test).join("stars"));
        remade.remove("manifest.jsonl");
        remade.remove("report.json");
        assert!(remade == found);
        bench.run(words(&release)).ok();
        fs::remove_file(server.folder(test).join("stars/report.json")).unwrap();
    }
}

/// Kills of a run straight to a bucket; `make crash` asks for many more.
const KILLS: usize = 12;

#[test]
fn kills_of_a_run_to_a_bucket_do_no_harm() {
    let asked = std::env::var("SKYPREP_CRASH_KILLS").ok();
    let kills = asked.map_or(KILLS, |kills| kills.parse::<usize>().unwrap() / 10);
    let here = star_bench();
    here.run(words("run stars/prep.toml")).ok();
    let made = files(&here.path("stars/out/stars"));
    let (server, test) = (Server::Rclone, "kills");
    let bench = star_bench();
    let options = server.options(&bench);
    let dest = server.dest(test);
    let text = fs::read_to_string(bench.path("stars/prep.toml")).unwrap();
    let text = text.replace("dest = \"out\"", &format!("dest = \"{dest}\""));
    bench.write("stars/prep.toml", text);
    let run = format!("run stars/prep.toml {options} -q");
    let release = format!(
        "release {dest}/stars/manifest.jsonl --yes {}",
        options.replace("--state-dir state", "")
    );
    let mut random = fastrand::Rng::with_seed(11);
    let mut killed = 0;
    while killed < kills {
        let mut child = Command::new(env!("CARGO_BIN_EXE_skyprep"))
            .args(words(&run))
            .current_dir(bench.root())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(random.u64(0..2500)));
        match child.try_wait().unwrap() {
            // All is there; it begins again.
            Some(status) => {
                assert!(status.success(), "after {killed} kills");
                bench.run(words(&release)).ok();
            }
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                killed += 1;
            }
        }
    }
    bench.run(words(&run)).ok();
    let mut found = files(&server.folder(test).join("stars"));
    let manifest = found.remove("manifest.jsonl").unwrap();
    found.remove("report.json").unwrap();
    assert!(named(&manifest, &dest).len() == found.len());
    for (name, bytes) in &found {
        assert!(*bytes == made[name], "{name}");
    }
    let data = |name: &&String| name.contains('/') && !name.ends_with("_index.txt");
    assert_eq!(found.len(), made.keys().filter(data).count());
    let left = files(&bench.path("stars/.skyprep/stars/stars"));
    assert!(
        left.keys().all(|name| name.ends_with("_index.txt")),
        "{:?}",
        left.keys()
    );
    verify(&bench, server, &format!("{test}/stars/../stars"), "").failed(2, &["dots"]);
    bench.run(words(&release)).ok();
    fs::remove_file(server.folder(test).join("stars/report.json")).unwrap();
}

#[test]
fn a_run_to_a_server_that_is_interrupted_says_so() {
    let bench = Bench::new();
    for number in 0..3 {
        bench.write(&format!("made/chunk_{number}.txt"), large(number));
    }
    let server = Server::Rclone;
    let proxy = FaultProxy::start(server.port(), 2, 1000, &[Fault::Delay]);
    let options = server.options_at(&bench, proxy.port);
    let dest = server.dest("term");
    let line = format!(
        "stage made {dest} --database d --table T --kind director {options} --part-size 5MiB \
         --uploads 1 --parts 1"
    );
    let child = Command::new(env!("CARGO_BIN_EXE_skyprep"))
        .args(words(&line))
        .current_dir(bench.root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while journal_parts(&bench) < 3 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended: Outcome = child.wait_with_output().unwrap().into();
    // Ended by the program itself, as a shell would tell a signal.
    ended.failed(
        143,
        &["interrupted by signal 15", "run the same command again"],
    );
    bench.run(words(&line)).ok();
    verify(&bench, server, "term", "").ok();
    clear(&bench, server, "term");
}

#[test]
fn no_secret_is_shown() {
    let bench = partitioned();
    let cases = [
        (
            Server::Rclone,
            "[s3]\naccess_key_id = \"KEYOFTESTS\"\nsecret_access_key = \"n0tthesecret\"\n",
            8,
        ),
        (Server::WebDav, "", 8),
    ];
    for (server, text, code) in cases {
        let port = server.port();
        let text = match server {
            Server::WebDav => format!(
                "[\"http://127.0.0.1:{port}\"]\nuser = \"{USER}\"\npassword = \"n0tthesecret\"\n"
            ),
            _ => format!("{text}endpoint = \"http://127.0.0.1:{port}\"\n"),
        };
        let path = bench.write("wrong.toml", text);
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        let dest = server.dest("secret");
        let line = format!(
            "stage made {dest} --database d --credentials wrong.toml --state-dir state -vvv"
        );
        let refused = bench.run(words(&line));
        refused.failed(code, &["hint"]);
        let told = refused.stderr + &String::from_utf8(refused.stdout).unwrap();
        for secret in ["n0tthesecret", SECRET, PASSWORD, "Signature="] {
            assert!(!told.contains(secret), "{secret}: {told}");
        }
    }
    fs::set_permissions(bench.path("wrong.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    let dest = Server::Rclone.dest("secret");
    let line = format!("stage made {dest} --database d --credentials wrong.toml --state-dir state");
    bench.run(words(&line)).failed(2, &["wrong.toml", "600"]);
    let line = "stage made http://me:n0tthesecret@127.0.0.1:1/x --database d --state-dir state";
    let refused = bench.run(words(line));
    refused.failed(2, &["password"]);
    assert!(
        !refused.stderr.contains("n0tthesecret"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_dry_run_touches_nothing() {
    let (server, test) = (Server::Nginx, "dry");
    let bench = partitioned();
    let dry = stage(&bench, server, test, "--dry-run").ok();
    let text = String::from_utf8(dry.stdout).unwrap();
    assert!(
        text.contains("d.T") && text.contains("would be made"),
        "{text}"
    );
    assert!(!server.folder(test).exists() && !bench.path("state").exists());
    stage(&bench, server, test, "").ok();
    let dry = stage(&bench, server, test, "--dry-run").ok();
    let text = String::from_utf8(dry.stdout).unwrap();
    assert!(text.contains("nothing to do"), "{text}");
    clear(&bench, server, test);
}

//! Staging to servers by the command line: what is there afterwards, byte by byte; again, instead,
//! verified and released.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::Value;

use super::harness::{Bench, files, positions, times, words};
use super::http_server::{PASSWORD, USER};
use super::s3_server::SECRET;
use super::stage_sites::{
    SEEN, Server, clear, named, partition, partitioned, release, sha256, stage, verify,
};

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

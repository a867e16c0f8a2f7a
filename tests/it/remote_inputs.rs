//! Inputs at servers: read as those on disk are, through whatever happens on the way.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use skyprep::error::ErrorKind;
use skyprep::place::{Credentials, Network, NetworkOptions, PlaceUrl};
use skyprep::source::{ColumnFile, FitsOptions, InputList, Remotes};

use super::fault_proxy::{Fault, FaultProxy};
use super::harness::{Bench, files, positions, repo, words};
use super::http_server::{PASSWORD, USER, nginx};
use super::s3_server::{BUCKET, rclone};
use super::stage_sites::{SEEN, Server};

const SKY: &str = "--kind director --stripes 18 --sub-stripes 10 --overlap 0.1";

/// Files of all formats, by name.
fn inputs() -> BTreeMap<&'static str, Vec<u8>> {
    let star = |name: &str| fs::read(repo("testdata/stars/stars").join(name)).unwrap();
    let text = positions(20_000, 7919);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    BTreeMap::from([
        ("a.parquet", star("part-00.parquet")),
        ("b.parquet", star("part-01.parquet")),
        ("s.arrow", super::arrow_files::stars(None)),
        ("x.txt", text.clone().into_bytes()),
        ("x.txt.gz", gzip.finish().unwrap()),
        ("empty.txt", Vec::new()),
    ])
}

/// Puts the files where a server has them, and beside the tests.
fn serve(bench: &Bench, server: Server, test: &str) -> String {
    for (name, bytes) in inputs() {
        bench.write(&format!("here/{name}"), &bytes);
        match server {
            Server::Rclone | Server::Moto | Server::WebDav => {
                bring(bench, server, test, name, bytes);
            }
            Server::Nginx => {
                let folder = server.folder(test);
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(name), bytes).unwrap();
                fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
    }
    server.dest(test)
}

/// Puts a file to a server: what is put into its folder behind its back it may not see.
fn bring(bench: &Bench, server: Server, test: &str, name: &str, bytes: Vec<u8>) {
    server.options(bench);
    let login = bench.path(&format!("{server:?}.toml"));
    let credentials = Credentials::find(Some(&login), &|_| None, None, Vec::new()).unwrap();
    let network = Network::new(NetworkOptions {
        credentials,
        ..NetworkOptions::default()
    });
    let network = network.unwrap();
    let place = PlaceUrl::parse(&server.dest(test)).unwrap();
    let place = network.open(&place).unwrap();
    network.wait(place.put_bytes(name, bytes.into())).unwrap();
}

/// What partition makes of stars and of texts, here and there.
fn partitioned(bench: &Bench, names: &str, out: &str, more: &str) -> BTreeMap<String, Vec<u8>> {
    let columns = match names.contains("parquet") || names.contains("arrow") {
        true => "--ra ra_degrees --dec dec_degrees --id star_id",
        false => "--ra ra --dec dec --id id --fields id,ra,dec",
    };
    bench
        .run(words(&format!(
            "partition {names} -o {out} {SKY} {columns} {more}"
        )))
        .ok();
    files(&bench.path(out))
}

#[test]
fn files_at_each_server_are_read_as_those_on_disk() {
    for server in SEEN.into_iter().chain([Server::Moto]) {
        let bench = Bench::new();
        let base = serve(&bench, server, "read");
        let options = server.options(&bench).replace("--state-dir state", "");
        fs::create_dir(bench.path("tmp")).unwrap();
        let options = format!("{options} --tmpdir tmp");
        for (number, names) in [
            &["a.parquet", "b.parquet"][..],
            &["s.arrow"],
            &["x.txt"],
            &["x.txt.gz"],
            &["x.txt", "empty.txt"],
        ]
        .into_iter()
        .enumerate()
        {
            let at = |base: &str| -> String {
                names.iter().map(|name| format!("{base}/{name} ")).collect()
            };
            let here = partitioned(&bench, &at("here"), &format!("here{number}"), "");
            let there = partitioned(&bench, &at(&base), &format!("there{number}"), &options);
            assert!(!here.is_empty() && here == there, "{server:?}, {names:?}");
            let line = format!("convert {} -o - --columns", at(&base));
            let column = if number < 2 {
                "star_id"
            } else {
                "id --fields id,ra,dec"
            };
            let there = bench.run(words(&format!("{line} {column} {options}"))).ok();
            let line = line.replace(&base, "here");
            let here = bench.run(words(&format!("{line} {column}"))).ok();
            assert!(here.stdout == there.stdout, "{server:?}, {names:?}");
        }
        let schema = |base: &str, more: &str| {
            let line = format!("schema {base}/a.parquet -o - {more}");
            bench.run(words(&line)).ok().stdout
        };
        assert!(schema("here", "") == schema(&base, &options));
        // Lists name URLs, too.
        bench.write("list", format!("{base}/a.parquet\nhere/b.parquet\n"));
        let listed = partitioned(
            &bench,
            "--files-from list --input-format parquet",
            "listed",
            &options,
        );
        assert!(listed == files(&bench.path("here0")));
        let left = fs::read_dir(bench.path("tmp")).unwrap().count();
        assert_eq!(left, 0, "{server:?}");
    }
}

#[test]
fn the_same_again_is_done_already_until_the_file_changes() {
    let bench = Bench::in_memory();
    let server = Server::Nginx;
    let base = serve(&bench, server, "again");
    let line = format!(
        "partition {base}/x.txt -o out {SKY} --ra ra --dec dec --fields id,ra,dec \
         --report report.json --depfile deps.mk"
    );
    bench.run(words(&line)).ok();
    let deps = fs::read_to_string(bench.path("deps.mk")).unwrap();
    assert!(!deps.contains("http"), "{deps}");
    let again = bench.run(words(&line)).ok();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    let report = fs::read_to_string(bench.path("report.json")).unwrap();
    assert!(report.contains(&format!("{base}/x.txt")), "{report}");
    fs::write(server.folder("again").join("x.txt"), positions(500, 6101)).unwrap();
    bench
        .run(words(&line))
        .failed(5, &["other options or from other inputs"]);
    bench.run(words(&format!("{line} --force"))).ok();
    let digested = format!("{line} --force --checksum-inputs");
    bench.run(words(&digested)).ok();
    let report = fs::read_to_string(bench.path("report.json")).unwrap();
    assert!(report.contains("sha256"), "{report}");
}

#[test]
fn servers_without_ranges_with_certificates_and_with_passwords() {
    let bench = Bench::in_memory();
    serve(&bench, Server::Nginx, "moods");
    let nginx = nginx();
    let here = partitioned(&bench, "here/a.parquet here/b.parquet", "here0", "");
    let text = bench
        .run(words("convert here/x.txt.gz -o - --fields id,ra,dec"))
        .ok();
    bench.write(
        "login.toml",
        format!(
            "[\"http://127.0.0.1:{}\"]\nuser = \"{USER}\"\npassword = \"{PASSWORD}\"\n",
            nginx.locked
        ),
    );
    let login = bench.path("login.toml");
    fs::set_permissions(login, fs::Permissions::from_mode(0o600)).unwrap();
    let certificate = format!("--ca-file {}", nginx.certificate().display());
    for (number, (base, more)) in [
        (format!("http://127.0.0.1:{}", nginx.plain), String::new()),
        (format!("https://localhost:{}", nginx.tls), certificate),
        (
            format!("http://127.0.0.1:{}", nginx.locked),
            "--credentials login.toml".to_owned(),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let names = format!("{base}/moods/a.parquet {base}/moods/b.parquet");
        let there = partitioned(&bench, &names, &format!("there{number}"), &more);
        assert!(here == there, "{base}");
        let line = format!("convert {base}/moods/x.txt.gz -o - --fields id,ra,dec {more}");
        let there = bench.run(words(&line)).ok();
        assert!(text.stdout == there.stdout, "{base}");
    }
}

#[test]
fn what_a_server_refuses_is_told_with_its_exit_code() {
    let bench = Bench::in_memory();
    let base = serve(&bench, Server::Nginx, "refused");
    let nginx = nginx();
    let convert = |url: &str, more: &str| {
        let line = format!("convert {url} -o - --retries 0 {more}");
        bench.run(words(&line))
    };
    convert(&format!("{base}/none.parquet"), "")
        .failed(3, &["none.parquet", "nothing of that name"]);
    convert(&format!("{base}/"), "").failed(8, &["refused/", "403"]);
    let locked = format!("http://127.0.0.1:{}/refused/a.parquet", nginx.locked);
    convert(&locked, "").failed(8, &["401"]);
    let redirect = format!("http://127.0.0.1:{}/refused/a.parquet", nginx.redirect);
    convert(&redirect, "").failed(8, &["redirections"]);
    let tls = format!("https://localhost:{}/refused/a.parquet", nginx.tls);
    convert(&tls, "").failed(8, &["certificate"]);
    convert("http://127.0.0.1:1/x.parquet", "").failed(7, &["can't connect"]);
    convert("ftp://127.0.0.1/x.parquet", "").failed(2, &["ftp:// are not read"]);
    convert("s3://", "").failed(2, &["s3://"]);
    convert(
        &format!("s3://{BUCKET}/x.parquet"),
        "--s3-endpoint http://127.0.0.1:1",
    )
    .failed(8, &["no keys"]);
    // Damage there is damage.
    fs::write(
        Server::Nginx.folder("refused").join("bad.parquet"),
        "PAR1 no",
    )
    .unwrap();
    convert(&format!("{base}/bad.parquet"), "").failed(4, &["bad.parquet"]);
    bench.write(
        "prep.toml",
        format!(
            "[database]\nname = \"d\"\nstripes = 18\nsub_stripes = 10\noverlap = 0.01\n\
             [product.p]\ninputs = [\"{base}/a.parquet\"]\n[table.T]\nkind = \"regular\"\n\
             products = [\"p\"]\n[stage]\ndest = \"out\"\n"
        ),
    );
    bench
        .run(words("run prep.toml"))
        .failed(2, &["are not read here"]);
}

#[test]
fn secrets_of_signed_urls_are_not_shown() {
    let bench = Bench::in_memory();
    let base = serve(&bench, Server::Nginx, "signed");
    let line = format!(
        "partition {base}/x.txt?X-Signature=HUSH123 -o out {SKY} --ra ra --dec dec \
         --fields id,ra,dec --report report.json -vvv"
    );
    let outcome = bench.run(words(&line)).ok();
    assert!(!outcome.stderr.contains("HUSH123"), "{}", outcome.stderr);
    // Signatures are renewed; the file is the same.
    let again = bench.run(words(&line.replace("HUSH123", "HUSH456"))).ok();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    bench
        .run(words(&line.replace("x.txt", "none.txt")))
        .failed(3, &["none.txt"]);
    for entry in fs::read_dir(bench.path("out/.skyprep")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.ends_with("record.jsonl") {
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(&base) && !text.contains("HUSH"), "{text}");
        }
    }
}

#[test]
fn broken_answers_are_asked_for_again() {
    let faults = [
        Fault::CutAnswer,
        Fault::Reset,
        Fault::Delay,
        Fault::InternalError,
        Fault::Busy,
    ];
    for server in [Server::Nginx, Server::Rclone] {
        let bench = Bench::in_memory();
        let base = serve(&bench, server, "faults");
        let proxy = FaultProxy::start(server.port(), 7, 200, &faults);
        let (base, options) = match server.is_s3() {
            true => (base, server.options_at(&bench, proxy.port)),
            false => (
                format!("http://127.0.0.1:{}/faults", proxy.port),
                String::new(),
            ),
        };
        let options = options.replace("--state-dir state", "");
        let here = partitioned(&bench, "here/a.parquet here/b.parquet", "here0", "");
        for number in 0..12 {
            let names = format!("{base}/a.parquet {base}/b.parquet");
            let out = format!("there{number}");
            let there = partitioned(&bench, &names, &out, &options);
            assert!(here == there, "{server:?}");
        }
        let all: usize = proxy.counts().values().sum();
        assert!(all > 10, "{:?}", proxy.counts());
    }
}

#[test]
fn a_file_that_is_replaced_while_it_is_read_is_refused() {
    for server in [Server::Nginx, Server::Rclone] {
        let bench = Bench::in_memory();
        let base = serve(&bench, server, "replaced");
        let options = match server {
            Server::Rclone => rclone().options(),
            _ => NetworkOptions::default(),
        };
        let remotes = Remotes::new(Network::new(options).unwrap(), bench.path(""));
        let mut list = InputList::default();
        list.fetch_by(remotes);
        list.add(&format!("{base}/a.parquet")).unwrap();
        let inputs = list.resolve().unwrap();
        ColumnFile::open(
            &inputs[0],
            FitsOptions {
                hdu: None,
                charset: None,
            },
        )
        .unwrap();
        let mut bytes = fs::read(bench.path("here/a.parquet")).unwrap();
        bytes.pop();
        match server {
            Server::Rclone => bring(&bench, server, "replaced", "a.parquet", bytes),
            _ => fs::write(server.folder("replaced").join("a.parquet"), bytes).unwrap(),
        }
        let error = ColumnFile::open(
            &inputs[0],
            FitsOptions {
                hdu: None,
                charset: None,
            },
        )
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{server:?}: {error}");
        assert!(error.to_string().contains("replaced"), "{error}");
    }
}

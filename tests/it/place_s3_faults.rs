//! S3 stores that fail, refuse and lie, one fault at a time.

use std::time::{Duration, Instant};

use skyprep::error::ErrorKind;
use skyprep::place::{Network, Place, PlaceUrl};

use super::harness::Bench;
use super::place_conformance::{Log, content, get, put};
use super::s3_script::{Heard, Script, answer};
use super::s3_server::{KEY, SECRET, options};

const PART: usize = 5 << 20;
/// MD5 of `123456789`.
const TAG: &str = "ETag: \"25f9e794323b453885f5181f1b624d0b\"";

fn open(script: &Script) -> (Network, std::sync::Arc<dyn Place>) {
    let network = Network::new(options(&script.host, KEY, SECRET)).unwrap();
    let place = network.open(&PlaceUrl::parse("s3://b").unwrap()).unwrap();
    (network, place)
}

/// Puts `123456789` as `k`.
fn put_nine(script: &Script) -> skyprep::error::Result<()> {
    let (network, place) = open(script);
    let bench = Bench::new();
    let path = bench.write("x", "123456789");
    put(&network, &*place, "k", &path, None, &Log::default(), None).map(drop)
}

fn ok(heard: &Heard) -> Vec<u8> {
    match heard.line.split(' ').next() {
        Some("HEAD") => answer("200 OK", &[TAG, "Content-Length: 9"], b""),
        Some("DELETE") => answer("204 No Content", &[], b""),
        _ => answer("200 OK", &[TAG], b""),
    }
}

fn error(status: &str, code: &str) -> Vec<u8> {
    let body = format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code></Error>");
    answer(status, &[], body.as_bytes())
}

#[test]
fn requests_say_what_the_store_can_check() {
    let script = Script::start(|_, heard| ok(heard));
    put_nine(&script).unwrap();
    let heard = script.heard();
    assert_eq!(script.lines(), ["PUT /b/k", "HEAD /b/k"]);
    let sha256 = "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225";
    for (name, value) in [
        ("content-md5", "JfnnlDI7RTiF9RgfG2JNCw=="),
        ("x-amz-checksum-crc64nvme", "rosUhgp5mIg="),
        ("x-amz-content-sha256", sha256),
    ] {
        assert_eq!(heard[0].header(name), Some(value), "{name}");
    }
    assert!(
        heard[0]
            .header("authorization")
            .unwrap()
            .contains("x-amz-checksum-crc64nvme")
    );
    assert_eq!(heard[1].header("x-amz-checksum-mode"), Some("ENABLED"));
}

#[test]
fn a_store_that_knows_no_checksums_gets_none() {
    let script = Script::start(|_, heard| match heard.header("x-amz-checksum-crc64nvme") {
        Some(_) => error("501 Not Implemented", "NotImplemented"),
        None => ok(heard),
    });
    let (network, place) = open(&script);
    for _ in 0..2 {
        let bytes = bytes::Bytes::from_static(b"123456789");
        network.wait(place.put_bytes("k", bytes)).unwrap();
    }
    let lines = script.lines();
    assert_eq!(
        lines.iter().filter(|line| line.starts_with("PUT")).count(),
        3
    );
    assert!(script.heard()[3].header("content-md5").is_some());
}

#[test]
fn bad_days_pass() {
    let script = Script::start(|number, heard| match number {
        0 => error("200 OK", "InternalError"),
        1 => answer("503 Slow Down", &["Retry-After: 1"], b""),
        2 => Vec::new(), // the connection is closed
        4 => error("200 OK", "SlowDown"),
        _ => ok(heard),
    });
    let start = Instant::now();
    put_nine(&script).unwrap_err();
    assert_eq!(script.lines().len(), 5, "{:?}", script.lines());
    assert!(start.elapsed() >= Duration::from_secs(1));
    put_nine(&script).unwrap();
}

#[test]
fn lies_about_what_was_stored_are_noticed_and_removed() {
    let other = "ETag: \"00000000000000000000000000000000\"";
    type Answer = Box<dyn Fn(&Heard) -> Vec<u8> + Send>;
    let of_head = |headers: &'static [&'static str]| -> Answer {
        Box::new(move |heard| match heard.line.starts_with("HEAD") {
            true => answer("200 OK", headers, b""),
            false => ok(heard),
        })
    };
    let cases: [(&str, Answer); 4] = [
        (
            "the store says 0000",
            Box::new(move |heard| match heard.line.starts_with("PUT") {
                true => answer("200 OK", &[other], b""),
                false => ok(heard),
            }),
        ),
        ("the store has 8", of_head(&[TAG, "Content-Length: 8"])),
        (
            "MD5",
            of_head(&[
                "ETag: \"00000000000000000000000000000000\"",
                "Content-Length: 9",
            ]),
        ),
        (
            "CRC-64/NVME",
            of_head(&[
                TAG,
                "Content-Length: 9",
                "x-amz-checksum-crc64nvme: AAAAAAAAAAA=",
            ]),
        ),
    ];
    for (said, answers) in cases {
        let script = Script::start(move |_, heard| answers(heard));
        let error = put_nine(&script).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{said}");
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(script.lines().last().unwrap(), "DELETE /b/k");
    }
    // Nothing was stored, so what may have stood there stays.
    let script = Script::start(|_, _| error("400 Bad Request", "BadDigest"));
    assert_eq!(put_nine(&script).unwrap_err().kind(), ErrorKind::Integrity);
    assert!(script.lines().iter().all(|line| line.starts_with("PUT")));
}

#[test]
fn the_right_region_is_said() {
    let body = b"<Error><Code>PermanentRedirect</Code><Message>Not here</Message>\
                 <StringToSign>SECRETPART</StringToSign></Error>";
    let script = Script::start(move |_, _| {
        answer(
            "301 Moved",
            &["x-amz-bucket-region: eu-9", "Location: http://x"],
            body,
        )
    });
    let error = put_nine(&script).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ServerRefused);
    assert!(error.hint_text().unwrap().contains("eu-9"), "{error}");
    assert!(!format!("{error:?}").contains("SECRETPART"));
    assert_eq!(script.lines().len(), 1);
}

/// Answers that make an upload of two parts; `complete` answers the last request.
fn multipart(heard: &Heard, complete: impl Fn() -> Vec<u8>) -> Vec<u8> {
    let begun = b"<InitiateMultipartUploadResult><UploadId>u&amp;1</UploadId>\
                  </InitiateMultipartUploadResult>";
    match heard.line.split(' ').next() {
        Some("POST") if heard.line.ends_with("?uploads=") => answer("200 OK", &[], begun),
        Some("POST") => complete(),
        Some("PUT") => answer("200 OK", &["ETag: \"opaque\""], b""),
        Some("GET") => error("404 Not Found", "NoSuchUpload"),
        Some("DELETE") => answer("204 No Content", &[], b""),
        _ => {
            let length = format!("Content-Length: {}", PART + 1);
            answer("200 OK", &["ETag: \"x-2\"", &length], b"")
        }
    }
}

fn put_parts(script: &Script) -> (skyprep::error::Result<()>, Log) {
    let (network, place) = open(script);
    let bench = Bench::in_memory();
    let path = bench.write("x", content(PART + 1, 1));
    let log = Log::default();
    let put = put(&network, &*place, "k", &path, None, &log, None).map(drop);
    (put, log)
}

#[test]
fn an_error_after_200_is_an_error_and_the_parts_are_removed() {
    let script = Script::start(|_, heard| multipart(heard, || error("200 OK", "InvalidPart")));
    let (put, log) = put_parts(&script);
    let error = put.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ServerRefused, "{error}");
    assert!(error.to_string().contains("InvalidPart"), "{error}");
    assert!(
        script
            .lines()
            .contains(&"DELETE /b/k?uploadId=u%261".to_owned())
    );
    assert!(log.open("k").is_none());
}

#[test]
fn parts_are_kept_while_the_store_is_away() {
    let script = Script::start(|_, heard| multipart(heard, || error("200 OK", "InternalError")));
    let (put, log) = put_parts(&script);
    assert_eq!(put.unwrap_err().kind(), ErrorKind::Network);
    assert_eq!(log.open("k").unwrap().parts.len(), 2);
    assert!(!script.lines().iter().any(|line| line.starts_with("DELETE")));
}

#[test]
fn a_whole_whose_answer_got_lost_is_known_again() {
    let tag = {
        // MD5 of the MD5s of both parts.
        use md5::{Digest, Md5};
        let bytes = content(PART + 1, 1);
        let mut md5 = Md5::new();
        md5.update(Md5::digest(&bytes[..PART]));
        md5.update(Md5::digest(&bytes[PART..]));
        let hex: String = md5
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("ETag: \"{hex}-2\"")
    };
    for (tag, beginnings) in [(tag, 1), ("ETag: \"other-2\"".to_owned(), 3)] {
        let script = Script::start(move |number, heard| {
            let length = format!("Content-Length: {}", PART + 1);
            match heard.line.starts_with("HEAD") {
                true => answer("200 OK", &[&tag, &length], b""),
                // The connection is closed in place of the first answer.
                false => multipart(heard, || match number {
                    3 => Vec::new(),
                    _ => error("404 Not Found", "NoSuchUpload"),
                }),
            }
        });
        let (put, _) = put_parts(&script);
        assert_eq!(put.is_ok(), beginnings == 1, "{put:?}");
        let begun = script
            .lines()
            .iter()
            .filter(|line| line.ends_with("?uploads="))
            .count();
        assert_eq!(begun, beginnings);
    }
}

#[test]
fn uploads_that_nobody_heard_of_are_removed() {
    let script = Script::start(|number, heard| {
        let upload = |key: &str, id: &str, at: &str| {
            format!(
                "<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>{at}</Initiated>\
                 </Upload>"
            )
        };
        if heard.line.starts_with("GET /b?uploads=") {
            let list = [
                upload("k", "lost", "2026-01-01T00:00:09.000Z"),
                upload("k", "u&amp;1", "2026-01-01T00:00:10.000Z"),
                upload("k", "old", "2025-12-31T23:00:00.000Z"),
                upload("k2", "others", "2026-01-01T00:00:09.000Z"),
            ];
            let body = format!("<R>{}</R>", list.concat());
            return answer("200 OK", &[], body.as_bytes());
        }
        match number {
            0 => Vec::new(),
            _ => multipart(heard, || answer("200 OK", &[], b"<Done/>")),
        }
    });
    put_parts(&script).0.unwrap();
    let lines = script.lines();
    let removed: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("DELETE"))
        .collect();
    assert_eq!(removed, ["DELETE /b/k?uploadId=lost"]);
}

#[test]
fn a_broken_answer_is_gone_on_with_as_long_as_the_object_is_the_same() {
    for (tag, is_same) in [("\"t\"", true), ("\"other\"", false)] {
        let script = Script::start(move |number, heard| match number {
            0 => answer("200 OK", &["ETag: \"t\"", "Content-Length: 9"], b"1234"),
            1 => {
                assert_eq!(heard.header("range"), Some("bytes=4-"));
                assert_eq!(heard.header("if-match"), Some("\"t\""));
                let tag = format!("ETag: {tag}");
                let headers = [&tag, "Content-Range: bytes 4-8/9", "Content-Length: 5"];
                answer("206 Partial Content", &headers, b"5")
            }
            _ => {
                let headers = ["ETag: \"t\"", "Content-Range: bytes 5-8/9"];
                answer("206 Partial Content", &headers, b"6789")
            }
        });
        let (network, place) = open(&script);
        match get(&network, &*place, "k") {
            Ok(found) => assert_eq!(
                (found.unwrap().as_slice(), is_same),
                (&b"123456789"[..], true)
            ),
            Err(error) => {
                assert!(!is_same, "{error}");
                assert_eq!(error.kind(), ErrorKind::Integrity);
            }
        }
    }
    // A page of an error is no object, and no answer goes on forever.
    let script = Script::start(|_, _| answer("200 OK", &[], b"<Error/>"));
    let (network, place) = open(&script);
    let error = get(&network, &*place, "k").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    let script = Script::start(|number, _| match number {
        0 => answer("200 OK", &["ETag: \"t\"", "Content-Length: 9"], b"1"),
        _ => answer(
            "206 Partial Content",
            &[
                "ETag: \"t\"",
                "Content-Range: bytes 1-8/9",
                "Content-Length: 8",
            ],
            b"",
        ),
    });
    let (network, place) = open(&script);
    assert_eq!(
        get(&network, &*place, "k").unwrap_err().kind(),
        ErrorKind::Network
    );
    assert_eq!(script.lines().len(), 4);
}

//! S3 places on real servers.

use std::time::{Duration, SystemTime};

use skyprep::error::ErrorKind;
use skyprep::place::{Network, NetworkOptions, ObjectChecksum, Place, PlaceUrl};
use skyprep::resources::Cancel;

use super::harness::Bench;
use super::place_conformance::{Log, conforms, content, get, put, summary};
use super::s3_server::{BUCKET, KEY, S3Server, SECRET, free_port, http, moto, options, rclone};

const PART: usize = 5 << 20;

fn open(options: NetworkOptions, url: &str) -> (Network, std::sync::Arc<dyn Place>) {
    let network = Network::new(options).unwrap();
    let place = network.open(&PlaceUrl::parse(url).unwrap()).unwrap();
    (network, place)
}

/// A part of the bucket that no other test uses.
fn url(prefix: &str) -> String {
    format!("s3://{BUCKET}/{prefix}")
}

#[test]
fn rclone_conforms() {
    let server = rclone();
    let (network, place) = open(server.options(), &url("conf 1+\u{e9}"));
    let behind = |key: &str| server.on_disk(&format!("conf 1+\u{e9}/{key}"));
    conforms(&network, &*place, Some(&behind));
}

#[test]
fn moto_conforms() {
    let (network, place) = open(moto().options(), &url("conf"));
    conforms(&network, &*place, None);
    assert_eq!(uploads_of_moto("conf"), 0);
}

/// How many uploads are open at moto in a part of the bucket.
fn uploads_of_moto(prefix: &str) -> usize {
    let target = format!("/{BUCKET}?uploads&prefix={prefix}/");
    let (status, body) = http(&moto().host, "GET", &target);
    assert_eq!(status, 200);
    String::from_utf8(body).unwrap().matches("<Upload>").count()
}

/// Sends a file of four parts and a bit until so many parts are there.
fn cut(server: &S3Server, prefix: &str, bench: &Bench, parts: u64) -> (Log, Vec<u8>) {
    let content = content(4 * PART + 100, 3);
    let path = bench.write("x.txt", &content);
    let options = NetworkOptions {
        cancel: Cancel::default(),
        parts_at_once: 1,
        ..server.options()
    };
    let log = Log::stopping(parts, &options.cancel);
    let (network, place) = open(options, &url(prefix));
    let error = put(&network, &*place, "x.txt", &path, None, &log, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted(15));
    assert_eq!(log.open("x.txt").unwrap().parts.len() as u64, parts);
    assert_eq!(
        network.wait(place.head("x.txt")).unwrap_err().kind(),
        ErrorKind::Interrupted(15)
    );
    (log, content)
}

#[test]
fn a_cut_upload_is_gone_on_with() {
    for server in [rclone(), moto()] {
        let bench = Bench::in_memory();
        let (log, content) = cut(server, "cut", &bench, 2);
        let (network, place) = open(server.options(), &url("cut"));
        let (path, before) = (bench.path("x.txt"), log.open("x.txt").unwrap());
        // Without the log of the parts, the store's own word is good enough.
        let mut unlogged = before.clone();
        unlogged.parts.clear();
        let log = Log::default();
        let recorded = summary("x.txt", &content);
        let stored = put(
            &network,
            &*place,
            "x.txt",
            &path,
            Some(&recorded),
            &log,
            Some(&unlogged),
        );
        assert_eq!(stored.unwrap().sent as usize, content.len() - 2 * PART);
        assert_eq!(log.parts(), 3);
        assert!(get(&network, &*place, "x.txt").unwrap().unwrap() == content);

        // The upload is over, so the same attempt begins anew.
        let stored = put(&network, &*place, "x.txt", &path, None, &log, Some(&before));
        assert_eq!(stored.unwrap().sent as usize, content.len());
        assert!(get(&network, &*place, "x.txt").unwrap().unwrap() == content);
    }
    assert_eq!(uploads_of_moto("cut"), 0);
}

#[test]
fn parts_of_a_changed_file_are_sent_again() {
    // rclone lets no part be replaced, so there all begins anew.
    for (server, kept) in [(moto(), 2), (rclone(), 0)] {
        let bench = Bench::in_memory();
        let (log, mut content) = cut(server, "changed", &bench, 3);
        content[PART + 7] ^= 1;
        let path = bench.write("x.txt", &content);
        let (network, place) = open(server.options(), &url("changed"));
        let open = log.open("x.txt").unwrap();
        let recorded = summary("x.txt", &content);
        let log = Log::default();
        let put = put(
            &network,
            &*place,
            "x.txt",
            &path,
            Some(&recorded),
            &log,
            Some(&open),
        );
        let sent = put.unwrap().sent as usize;
        // Parts that were on their way when the store refused count, too.
        assert!(sent >= content.len() - kept * PART, "{sent}");
        assert!(kept == 0 || sent == content.len() - kept * PART, "{sent}");
        assert!(get(&network, &*place, "x.txt").unwrap().unwrap() == content);
        assert!(log.open("x.txt").is_none());
    }
    assert_eq!(uploads_of_moto("changed"), 0);
}

#[test]
fn a_cut_upload_is_forgotten() {
    for server in [rclone(), moto()] {
        let bench = Bench::in_memory();
        let (log, _) = cut(server, "forgotten", &bench, 1);
        let before = log.open("x.txt").unwrap();
        assert_eq!(
            uploads_of_moto("forgotten"),
            usize::from(server.host == moto().host)
        );
        let (network, place) = open(server.options(), &url("forgotten"));
        network.wait(place.forget("x.txt", &before)).unwrap();
        network.wait(place.forget("x.txt", &before)).unwrap();
        assert_eq!(network.wait(place.head("x.txt")).unwrap(), None);
        // A file that fits into one request now leaves nothing of what was begun, either.
        let (log, _) = cut(server, "forgotten", &bench, 1);
        let before = log.open("x.txt").unwrap();
        let path = bench.write("x.txt", "small");
        put(&network, &*place, "x.txt", &path, None, &log, Some(&before)).unwrap();
        assert!(log.open("x.txt").is_none());
    }
    assert_eq!(uploads_of_moto("forgotten"), 0);
}

#[test]
fn checksums_are_kept_with_objects() {
    let (network, place) = open(rclone().options(), &url("sums"));
    let bench = Bench::new();
    let path = bench.write("x", "123456789");
    put(&network, &*place, "x", &path, None, &Log::default(), None).unwrap();
    let info = network.wait(place.head("x")).unwrap().unwrap();
    let crc = ObjectChecksum::Crc64Nvme(0xae8b_1486_0a79_9888);
    assert_eq!(info.checksum, Some(crc));
    assert_eq!(
        info.tag.as_deref(),
        Some("25f9e794323b453885f5181f1b624d0b")
    );
}

#[test]
fn refusals_are_exit_8_and_say_why() {
    let host = &rclone().host;
    let nobody = format!("127.0.0.1:{}", free_port());
    for (options, bucket, kind, said) in [
        (
            options(host, KEY, "WRONGSECRET"),
            BUCKET,
            ErrorKind::ServerRefused,
            ["SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"],
        ),
        (
            options(host, "WRONGKEY", SECRET),
            BUCKET,
            ErrorKind::ServerRefused,
            ["InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"],
        ),
        (
            options(host, KEY, SECRET),
            "no-such-bucket",
            ErrorKind::ServerRefused,
            ["NoSuchBucket", "bucket's name"],
        ),
        (
            options(&nobody, KEY, SECRET),
            BUCKET,
            ErrorKind::Network,
            [&nobody, "try again later"],
        ),
    ] {
        let (network, place) = open(options, &format!("s3://{bucket}/refused"));
        let bench = Bench::in_memory();
        for bytes in [10, PART + 1] {
            let path = bench.write("x", content(bytes, 1));
            let log = Log::default();
            let error = put(&network, &*place, "x", &path, None, &log, None).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            let text = format!("{error} {}", error.hint_text().unwrap_or_default());
            assert!(said.iter().all(|said| text.contains(said)), "{text}");
            let all = format!("{text} {error:?} {place:?} {:?}", network.options());
            for secret in [SECRET, "WRONGSECRET", "Signature="] {
                assert!(!all.contains(secret), "{all}");
            }
        }
        assert_eq!(network.wait(place.head("x")).unwrap_err().kind(), kind);
        assert_eq!(get(&network, &*place, "x").unwrap_err().kind(), kind);
        assert_eq!(network.wait(place.delete("x")).unwrap_err().kind(), kind);
    }
}

#[test]
fn signed_urls_are_for_everybody_as_long_as_they_live() {
    let server = rclone();
    let (network, place) = open(server.options(), &url("signed"));
    let key = "a b/\u{e9}+%&=#?.txt";
    let path = Bench::new();
    let path_of = path.write("x", "signed\n");
    put(
        &network,
        &*place,
        key,
        &path_of,
        None,
        &Log::default(),
        None,
    )
    .unwrap();
    let day = Duration::from_secs(24 * 3600);
    let before = SystemTime::now();
    let (signed, end) = network.wait(place.presign(key, day)).unwrap();
    assert!(end <= SystemTime::now() + day && end + Duration::from_secs(2) >= before + day);
    assert!(!signed.contains(SECRET), "{signed}");
    let target = signed
        .strip_prefix(&format!("http://{}", server.host))
        .unwrap();
    assert_eq!(
        http(&server.host, "GET", target),
        (200, b"signed\n".to_vec())
    );
    let other = target.replace("Expires=86400", "Expires=86401");
    assert_eq!(http(&server.host, "GET", &other).0, 403);
    let error = network.wait(place.presign(key, 8 * day)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    let (_, end) = network.wait(place.presign(key, 7 * day)).unwrap();
    assert!(end > SystemTime::now() + 6 * day);
}

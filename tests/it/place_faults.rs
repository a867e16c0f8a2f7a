//! Many uploads through a proxy that breaks a part of all requests: each object arrives whole, or
//! its failure is told; nothing else is left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use skyprep::place::{
    FileUpload, Network, NetworkOptions, Place, PlaceUrl, RetryPolicy, UploadLog,
};

use super::fault_proxy::{ALL_FAULTS, FaultProxy};
use super::http_server::{PASSWORD, nginx, webdav};
use super::place_conformance::Log;
use super::place_http::{NoLog, names, noise, options, with_login};
use super::s3_server;

/// Uploads at once.
const AT_ONCE: usize = 16;

/// Options that outlast many faults.
pub(crate) fn stubborn(options: NetworkOptions) -> NetworkOptions {
    NetworkOptions {
        retry: RetryPolicy {
            tries: 30,
            first_wait: Duration::from_millis(5),
            longest_wait: Duration::from_millis(1500),
        },
        ..options
    }
}

/// Puts files of these sizes through the proxy; returns their keys and contents.
pub(crate) fn put_all(
    network: &Network,
    place: &Arc<dyn Place>,
    sizes: impl Iterator<Item = usize>,
    log: &dyn UploadLog,
) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let mut contents = BTreeMap::new();
    let files: Vec<(String, PathBuf, u64)> = sizes
        .enumerate()
        .map(|(number, size)| {
            let key = format!("t{}/chunk_{number}.txt", number % 7);
            let path = folder.path().join(number.to_string());
            let bytes = noise(size, number as u64);
            std::fs::write(&path, &bytes).unwrap();
            contents.insert(key.clone(), bytes);
            (key, path, size as u64)
        })
        .collect();
    let uploads = files.iter().map(|(key, path, bytes)| async move {
        let upload = FileUpload {
            key,
            path,
            bytes: *bytes,
            recorded: None,
            open: None,
            log,
            advance: &|_| {},
        };
        let stored = place.put_file(upload).await;
        stored.unwrap_or_else(|error| panic!("{key}: {error}"))
    });
    let stored = network.wait(
        futures_util::stream::iter(uploads)
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>(),
    );
    assert_eq!(stored.len(), contents.len());
    contents
}

/// Stops the test unless these are the files of a folder, and no others.
#[track_caller]
fn are_there(data: &Path, contents: &BTreeMap<String, Vec<u8>>) {
    let keys: Vec<&String> = contents.keys().collect();
    assert_eq!(names(data).iter().collect::<Vec<_>>(), keys);
    for (key, bytes) in contents {
        assert!(std::fs::read(data.join(key)).unwrap() == *bytes, "{key}");
    }
}

/// Says that all kinds of faults have happened.
fn all_happened(proxy: &FaultProxy) {
    let counts = proxy.counts();
    for fault in ALL_FAULTS {
        assert!(
            counts.contains_key(&fault),
            "{fault:?} never happened: {counts:?}"
        );
    }
}

fn storm(mut options: NetworkOptions, port: u16, data: &Path, files: usize, seed: u64) {
    let folder = format!("storm-{:x}", fastrand::u64(..));
    let proxy = FaultProxy::start(port, seed, 150, &ALL_FAULTS);
    let url = format!("http://127.0.0.1:{}/{folder}", proxy.port);
    options.credentials.name(&url);
    let network = Network::new(stubborn(options)).unwrap();
    let place = network.open(&PlaceUrl::parse(&url).unwrap()).unwrap();
    let sizes = (0..files).map(|number| match number % 50 {
        0 => 2_000_000,
        1 => 0,
        _ => 500 + number * 37,
    });
    let contents = put_all(&network, &place, sizes, &NoLog);
    are_there(&data.join(folder), &contents);
    all_happened(&proxy);
}

#[test]
fn five_hundred_uploads_in_a_storm() {
    let server = nginx();
    storm(options(), server.dav, &server.data(), 500, 20);
}

#[test]
fn uploads_in_a_storm_to_servers_of_other_kinds() {
    let server = nginx();
    storm(options(), server.strict, &server.data(), 100, 21);
    storm(options(), server.plain, &server.data(), 100, 22);
    let server = webdav();
    let options = with_login(options(), PASSWORD);
    storm(options, server.port, &server.data(), 100, 23);
}

#[test]
fn five_hundred_uploads_to_s3_in_a_storm() {
    let server = s3_server::rclone();
    let upstream = server.host.rsplit_once(':').unwrap().1.parse().unwrap();
    let proxy = FaultProxy::start(upstream, 24, 150, &ALL_FAULTS);
    let host = format!("127.0.0.1:{}", proxy.port);
    let options = s3_server::options(&host, s3_server::KEY, s3_server::SECRET);
    let network = Network::new(stubborn(options)).unwrap();
    let url = format!("s3://{}/storm", s3_server::BUCKET);
    let place = network.open(&PlaceUrl::parse(&url).unwrap()).unwrap();
    // Three of them in parts.
    let sizes = (0..500).map(|number| match number % 200 {
        0 => 12_000_000,
        1 => 0,
        _ => 500 + number * 37,
    });
    let log = Log::default();
    let contents = put_all(&network, &place, sizes, &log);
    for (key, bytes) in &contents {
        assert!(log.open(key).is_none(), "{key}");
        let found = server.on_disk(&format!("storm/{key}"));
        assert!(found.as_ref() == Some(bytes), "{key}");
    }
    all_happened(&proxy);
}

//! What every place must do, whatever it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;
use skyprep::error::{ErrorKind, Result};
use skyprep::exchange::{FileDigest, FileSummary};
use skyprep::place::{
    DonePart, FileUpload, Network, NetworkOptions, OpenUpload, Place, PlaceUrl, Stored, UploadLog,
};
use skyprep::resources::Cancel;

use super::harness::Bench;

/// A log in memory, which can end the work when so many parts have arrived.
#[derive(Default)]
pub(crate) struct Log {
    open: Mutex<BTreeMap<String, OpenUpload>>,
    parts: AtomicU64,
    stop: Option<(u64, Cancel)>,
}

impl Log {
    /// Asks for an end after so many parts.
    pub(crate) fn stopping(parts: u64, cancel: &Cancel) -> Self {
        Self {
            stop: Some((parts, cancel.clone())),
            ..Self::default()
        }
    }

    /// What is there of an object and not whole.
    pub(crate) fn open(&self, key: &str) -> Option<OpenUpload> {
        self.open.lock().unwrap().get(key).cloned()
    }

    /// How many parts have arrived in all.
    pub(crate) fn parts(&self) -> u64 {
        self.parts.load(Ordering::Relaxed)
    }
}

impl UploadLog for Log {
    fn begun(&self, key: &str, id: &str, part_bytes: u64) -> Result<()> {
        let open = OpenUpload {
            id: id.to_owned(),
            part_bytes,
            parts: Vec::new(),
        };
        let old = self.open.lock().unwrap().insert(key.to_owned(), open);
        assert!(old.is_none(), "begun twice: {old:?}");
        Ok(())
    }

    fn part(&self, key: &str, id: &str, part: &DonePart) -> Result<()> {
        let mut open = self.open.lock().unwrap();
        // What was begun by an earlier attempt is in its log.
        if let Some(open) = open.get_mut(key) {
            assert_eq!(open.id, id);
            open.parts.push(part.clone());
        }
        let parts = self.parts.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some((most, cancel)) = &self.stop
            && parts >= *most
        {
            cancel.cancel(15);
        }
        Ok(())
    }

    fn ended(&self, key: &str, id: &str) -> Result<()> {
        let open = self.open.lock().unwrap().remove(key);
        assert!(open.is_none_or(|open| open.id == id));
        Ok(())
    }
}

/// Bytes in lines that nothing else is made of.
pub(crate) fn content(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut content = Vec::with_capacity(bytes + 8);
    while content.len() < bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        content.extend_from_slice(&state.to_be_bytes()[..7]);
        content.push(b'\n');
    }
    content.truncate(bytes);
    content
}

/// What a record says of a file with that content.
pub(crate) fn summary(key: &str, content: &[u8]) -> FileSummary {
    let mut digest = FileDigest::default();
    digest.update(content);
    digest.finish(key, None, false)
}

/// Puts a file; what was told of its progress must add up.
pub(crate) fn put(
    network: &Network,
    place: &dyn Place,
    key: &str,
    path: &Path,
    recorded: Option<&FileSummary>,
    log: &Log,
    open: Option<&OpenUpload>,
) -> Result<Stored> {
    let told = AtomicU64::new(0);
    let advance = |bytes| _ = told.fetch_add(bytes, Ordering::Relaxed);
    let bytes = path.metadata().unwrap().len();
    let stored = network.wait(place.put_file(FileUpload {
        key,
        path,
        bytes,
        recorded,
        open,
        log,
        advance: &advance,
    }));
    let told = told.into_inner();
    match &stored {
        Ok(stored) => {
            assert_eq!(told, bytes, "{key}");
            assert_eq!(stored.summary.bytes, bytes);
        }
        Err(_) => assert!(told <= bytes, "{key}: {told}"),
    }
    stored
}

/// Reads an object.
pub(crate) fn get(network: &Network, place: &dyn Place, key: &str) -> Result<Option<Vec<u8>>> {
    network.wait(async {
        let Some(mut stream) = place.get(key).await? else {
            return Ok(None);
        };
        let mut content = Vec::new();
        while let Some(bytes) = stream.next().await {
            content.extend_from_slice(&bytes?);
        }
        Ok(Some(content))
    })
}

/// Reads an object without the place.
pub(crate) type Behind<'b> = &'b dyn Fn(&str) -> Option<Vec<u8>>;

/// Puts, looks, reads back and removes in all ways; `behind` reads an object without the place, or
/// the place must be good enough.
pub(crate) fn conforms(network: &Network, place: &dyn Place, behind: Option<Behind<'_>>) {
    let bench = Bench::in_memory();
    let equal = |key: &str, content: &[u8]| {
        let info = network.wait(place.head(key)).unwrap().expect(key);
        assert_eq!(info.bytes, content.len() as u64, "{key}");
        let found = get(network, place, key).unwrap().expect(key);
        assert!(found == content, "{key} differs");
        if let Some(behind) = behind {
            assert!(behind(key).expect(key) == content, "{key} differs behind");
        }
    };
    // A part of options() in s3_server.rs is 5 MiB.
    const PART: usize = 5 << 20;
    for (number, (key, bytes)) in [
        ("small.txt", 1000),
        ("empty.txt", 0),
        ("a/one part.txt", PART),
        ("a/two+parts.txt", 2 * PART),
        ("a/b/three%parts&more=.txt", 2 * PART + 1),
        ("a/\u{e4}\u{f6}\u{fc} \u{df}/'(x)!,;:@$~.txt", 77),
        ("small.txt", 500),
        ("a/two+parts.txt", 3 * PART + 5),
        ("a/b/three%parts&more=.txt", 10),
    ]
    .into_iter()
    .enumerate()
    {
        let content = content(bytes, number as u64);
        let path = bench.write("upload", &content);
        let log = Log::default();
        let recorded = (number % 2 == 0).then(|| summary(key, &content));
        let stored = put(network, place, key, &path, recorded.as_ref(), &log, None);
        let stored = stored.unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(stored.sent, bytes as u64, "{key}");
        let expected = summary(key, &content);
        assert_eq!(stored.summary.sha256, expected.sha256);
        assert!(log.open(key).is_none());
        equal(key, &content);
    }
    keeps_nothing_wrong(network, place, &bench);
    takes_many_at_once(network, place, &bench);

    let bytes = Bytes::from_static(b"few\n");
    network.wait(place.put_bytes("put bytes", bytes)).unwrap();
    equal("put bytes", b"few\n");
    assert_eq!(network.wait(place.head("no such key")).unwrap(), None);
    assert_eq!(get(network, place, "no such key").unwrap(), None);
    assert!(network.wait(place.delete("put bytes")).unwrap());
    assert!(!network.wait(place.delete("put bytes")).unwrap());
    assert_eq!(network.wait(place.head("put bytes")).unwrap(), None);
}

/// Files that are not what their record says, and such as are not there.
fn keeps_nothing_wrong(network: &Network, place: &dyn Place, bench: &Bench) {
    for bytes in [100, 11 << 20] {
        let path = bench.write("upload", content(bytes, 1));
        let (key, log) = ("wrong.txt", Log::default());
        let other = summary(key, &content(bytes, 2));
        let error = put(network, place, key, &path, Some(&other), &log, None);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Integrity);
        assert!(log.open(key).is_none(), "an upload is left open");
        assert_eq!(network.wait(place.head(key)).unwrap(), None);
    }
    let log = Log::default();
    let missing = network.wait(place.put_file(FileUpload {
        key: "missing.txt",
        path: &bench.path("missing"),
        bytes: 3,
        recorded: None,
        open: None,
        log: &log,
        advance: &|_| {},
    }));
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::InputMissing);
    assert_eq!(network.wait(place.head("missing.txt")).unwrap(), None);
}

fn takes_many_at_once(network: &Network, place: &dyn Place, bench: &Bench) {
    let log = Log::default();
    let keys: Vec<String> = (0..40).map(|n| format!("many/{n}.txt")).collect();
    let of = |n: usize| content(if n % 13 == 5 { 6 << 20 } else { n * 1000 }, n as u64);
    let puts = keys.iter().enumerate().map(|(n, key)| {
        let path = bench.write(key, of(n));
        let log = &log;
        async move {
            let bytes = path.metadata().unwrap().len();
            let upload = FileUpload {
                key,
                path: &path,
                bytes,
                recorded: None,
                open: None,
                log,
                advance: &|_| {},
            };
            place.put_file(upload).await.unwrap();
        }
    });
    network.wait(futures_util::future::join_all(puts));
    for (n, key) in keys.iter().enumerate() {
        let found = get(network, place, key).unwrap().expect(key);
        assert!(found == of(n), "{key} differs");
    }
}

#[test]
fn a_folder_conforms() {
    let bench = Bench::in_memory();
    let network = Network::new(NetworkOptions::default()).unwrap();
    let root = bench.path("place");
    let place = network.open(&PlaceUrl::Folder(root.clone())).unwrap();
    let behind = |key: &str| std::fs::read(root.join(key)).ok();
    conforms(&network, &*place, Some(&behind));
}

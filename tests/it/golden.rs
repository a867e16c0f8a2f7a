//! Cases of the C++ partitioner by its configuration files: the same rows, and the same counts in
//! `chunk_index.bin`, made by `skyprep partition --sph-config`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use super::harness::{Bench, files, shared};

pub(crate) fn unzipped(path: &Path) -> Option<Vec<u8>> {
    if let Ok(bytes) = fs::read(path) {
        return Some(bytes);
    }
    let zipped = fs::File::open(format!("{}.gz", path.display())).ok()?;
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(zipped)
        .read_to_end(&mut bytes)
        .unwrap();
    Some(bytes)
}

/// Rows as `file|row`, sorted, and the records of binary indexes as text, by file.
pub(crate) fn canonical(folder: &Path) -> (Vec<Vec<u8>>, BTreeMap<String, Vec<String>>) {
    let mut rows = Vec::new();
    let mut indexes = BTreeMap::new();
    for (name, bytes) in files(folder) {
        if name.ends_with("htm_index.bin") {
            let (records, rest) = bytes.as_chunks::<12>();
            assert!(rest.is_empty(), "{name}");
            let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
            for record in records {
                let triangle = u32::from_le_bytes(record[..4].try_into().unwrap());
                let rows = u64::from_le_bytes(record[4..].try_into().unwrap());
                *counts.entry(triangle).or_default() += rows;
            }
            let lines = counts.iter().map(|(id, rows)| format!("{id} {rows}"));
            indexes.insert(name, lines.collect());
            continue;
        }
        if name.ends_with(".ids") {
            let (ids, rest) = bytes.as_chunks::<8>();
            assert!(rest.is_empty(), "{name}");
            let ids = ids.iter().map(|id| i64::from_le_bytes(*id).to_string());
            indexes.insert(name, ids.collect());
            continue;
        }
        if name.ends_with(".bin") {
            let mut counts: BTreeMap<(u64, u64), (u64, u64)> = BTreeMap::new();
            for record in bytes.chunks(24) {
                let number = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().unwrap());
                let key = (number(0) >> 32, number(0) & 0xffff_ffff);
                let count = counts.entry(key).or_default();
                *count = (count.0 + number(8), count.1 + number(16));
            }
            let lines = counts
                .iter()
                .map(|((c, s), (n, o))| format!("{c} {s} {n} {o}"));
            indexes.insert(name, lines.collect());
            continue;
        }
        if bytes.is_empty() {
            continue;
        }
        assert!(bytes.ends_with(b"\n"), "{name}");
        for row in bytes[..bytes.len() - 1].split(|byte| *byte == b'\n') {
            rows.push([name.as_bytes(), b"|", row].concat());
        }
    }
    rows.sort();
    (rows, indexes)
}

/// Makes the output of a case with `options` from its files and compares it with what the tool
/// made; that lies in `prefix` of its output.
fn check(case: &str, config: &str, prefix: &str, options: &[&str]) {
    let Some(shared) = shared(&format!("golden case {case}")) else {
        return;
    };
    let folder = shared.join("golden").join(case);
    let bench = Bench::new();
    let config = folder.join("cfg").join(config);
    let input = format!("{}.csv", config.file_stem().unwrap().to_str().unwrap());
    let bytes = unzipped(&folder.join("in").join(&input)).unwrap();
    // The file names what the command line does not.
    bench.write("inputs[0].csv", bytes);
    bench.write(
        "places.json",
        r#"{"in": {"path": ["inputs[0].csv"]}, "out": {"dir": "out"}}"#,
    );
    let config = config.to_str().unwrap();
    let own = [
        "partition",
        "--sph-config",
        config,
        "--sph-config",
        "places.json",
    ];
    let all = own.iter().chain(&["--chunk-index"]).chain(options);
    bench.run(all.copied()).ok();

    let (rows, mut indexes) = canonical(&bench.path("out"));
    let expected = unzipped(&folder.join("expected/rows.txt")).unwrap();
    let expected = expected[..expected.len() - 1].split(|b| *b == b'\n');
    let mut expected: Vec<&[u8]> = expected
        .filter_map(|row| row.strip_prefix(prefix.as_bytes()))
        .collect();
    expected.sort_unstable();
    assert_eq!(rows.len(), expected.len(), "{case}: number of rows");
    for (row, expected) in rows.iter().zip(&expected) {
        let shown = String::from_utf8_lossy;
        assert_eq!(shown(row), shown(expected), "{case}");
    }
    let bins = String::from_utf8(unzipped(&folder.join("expected/bins.txt")).unwrap()).unwrap();
    let mut is_own = false;
    let mut bins: Vec<&str> = bins
        .lines()
        .filter(|line| match line.strip_prefix("# ") {
            Some(name) => {
                is_own = name.starts_with(prefix);
                false
            }
            None => is_own,
        })
        .collect();
    bins.sort_unstable();
    let (_, mut index) = indexes.pop_first().unwrap();
    index.sort();
    assert_eq!(index, bins, "{case}: counts");
}

macro_rules! golden {
    ($($name:ident)*) => {
        $(#[test] fn $name() { check(stringify!($name), "Object.json", "", &[]); })*
    };
}

golden! {
    a_uniform_sky
    a2_dense_region
    b1_edges
    b2_edges
    b3_edges
    b4_edges
    b5_edges
}

#[test]
fn c1_director_and_child() {
    let case = "c1_director_child_by_position";
    let options = ["--num-nodes", "3", "--prefix", "obj"];
    check(case, "Object.json", "Object/", &options);
    check(case, "Source.json", "Source/", &["--num-nodes", "3"]);
}

#[test]
fn d1_matches() {
    check("d1_refmatch_by_position", "RefMatch.json", "", &[]);
}

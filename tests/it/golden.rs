//! Cases of the C++ partitioner: the same rows, and the same counts in `chunk_index.bin`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use super::harness::{Bench, files, shared, words};

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

/// Rows as `file|row`, sorted, and the records of `chunk_index.bin` as text, sorted.
fn canonical(folder: &Path) -> (Vec<Vec<u8>>, Vec<String>) {
    let mut rows = Vec::new();
    let mut index = Vec::new();
    for (name, bytes) in files(folder) {
        if name == "chunk_index.bin" {
            for record in bytes.chunks(24) {
                let number = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().unwrap());
                let (chunk, sub_chunk) = (number(0) >> 32, number(0) & 0xffff_ffff);
                index.push((chunk, sub_chunk, number(8), number(16)));
            }
            continue;
        }
        assert!(bytes.ends_with(b"\n"), "{name}");
        for row in bytes[..bytes.len() - 1].split(|byte| *byte == b'\n') {
            rows.push([name.as_bytes(), b"|", row].concat());
        }
    }
    rows.sort();
    index.sort_unstable();
    (
        rows,
        index
            .iter()
            .map(|(c, s, n, o)| format!("{c} {s} {n} {o}"))
            .collect(),
    )
}

fn check(case: &str) {
    let Some(shared) = shared(&format!("golden case {case}")) else {
        return;
    };
    let folder = shared.join("golden").join(case);
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("cfg/Object.json")).unwrap()).unwrap();
    let part = &config["part"];
    let bench = Bench::new();
    bench.write(
        "Object.csv",
        unzipped(&folder.join("in/Object.csv")).unwrap(),
    );
    let (ra, dec) = part["pos"].as_str().unwrap().split_once(',').unwrap();
    let mut args = words(&format!(
        "partition Object.csv -o out --kind director --stripes {} --sub-stripes {} --overlap {} \
         --ra {} --dec {} --chunk-index --delimiter , --in-delimiter , \
         --fields objectId,ra,decl,mag",
        part["num-stripes"],
        part["num-sub-stripes"],
        part["overlap"],
        ra.trim(),
        dec.trim(),
    ));
    if let Some(id) = part["id"].as_str() {
        args.extend(["--id".to_owned(), id.to_owned()]);
    }
    bench.run(args).ok();

    let (rows, index) = canonical(&bench.path("out"));
    let expected = unzipped(&folder.join("expected/rows.txt")).unwrap();
    let mut expected: Vec<&[u8]> = expected[..expected.len() - 1]
        .split(|b| *b == b'\n')
        .collect();
    expected.sort_unstable();
    assert_eq!(rows.len(), expected.len(), "{case}: number of rows");
    for (row, expected) in rows.iter().zip(&expected) {
        assert_eq!(
            String::from_utf8_lossy(row),
            String::from_utf8_lossy(expected),
            "{case}"
        );
    }
    let bins = String::from_utf8(unzipped(&folder.join("expected/bins.txt")).unwrap()).unwrap();
    let mut bins: BTreeMap<Vec<u64>, &str> = bins
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| (line.split(' ').map(|n| n.parse().unwrap()).collect(), line))
        .collect();
    for found in index {
        let key: Vec<u64> = found
            .split(' ')
            .map(|number| number.parse().unwrap())
            .collect();
        assert!(
            bins.remove(&key).is_some(),
            "{case}: chunk_index.bin has {found}"
        );
    }
    assert!(bins.is_empty(), "{case}: chunk_index.bin lacks {bins:?}");
}

macro_rules! golden {
    ($($name:ident)*) => {
        $(#[test] fn $name() { check(stringify!($name)); })*
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

//! The whole star file at 85 x 12, straight from Parquet.

use std::collections::BTreeMap;

use super::harness::{Bench, files, shared, words};

fn partitioned(options: &str) -> Option<BTreeMap<String, Vec<u8>>> {
    let shared = shared("the whole star file")?;
    let stars = shared.join("data/stars/stars-mag11.parquet");
    let bench = Bench::in_memory();
    let mut args = words(&format!(
        "partition -o out --kind director --stripes 85 --sub-stripes 12 --overlap 0.01667 \
         --ra ra_degrees --dec dec_degrees {options}"
    ));
    args.push(stars.display().to_string());
    bench.run(args).ok();
    Some(files(&bench.path("out")))
}

fn rows(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[test]
fn counts_and_bytes_for_any_number_of_threads() {
    let Some(first) = partitioned("--threads 1") else {
        return;
    };
    let of = |overlap: bool| {
        let chosen = first
            .iter()
            .filter(move |(name, _)| name.ends_with("_overlap.txt") == overlap);
        let (files, rows) = chosen.fold((0, 0), |(files, sum), (_, bytes)| {
            (files + 1, sum + rows(bytes))
        });
        (files, rows)
    };
    assert_eq!(of(false), (8_983, 981_853));
    assert_eq!(of(true), (8_983, 402_165));
    for options in [
        "--threads 2",
        "--threads 7",
        "--threads 2 --memory-limit 48MiB",
    ] {
        let other = partitioned(options).unwrap();
        assert!(other == first, "{options}: other bytes");
    }
}

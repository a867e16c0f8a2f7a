//! How quick it is. `cargo test --release --lib key_index::speed -- --ignored --nocapture` tells.
#![allow(
    clippy::disallowed_methods,
    reason = "tests write files as their users would"
)]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Instant;

use super::key::mix;
use super::tests::Bench;
use super::*;
use crate::dialect::Dialect;
use crate::resources::process_peak_bytes;

const KEYS: u64 = 20_000_000;
const ROWS: u64 = 50_000_000;
const BATCH: usize = 4096;

/// Keys of a catalogue, not in the order of their rows.
fn key(number: u64) -> i64 {
    (mix(number % KEYS) >> 2).cast_signed()
}

fn keys() -> impl Iterator<Item = Key<'static>> {
    (0..ROWS).map(|row| Key::Signed(key(mix(row))))
}

/// CPU time of the process in seconds: walls tell little on a machine that others use, too.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let behind_name = stat.rsplit_once(')').unwrap().1;
    let ticks = behind_name.split_whitespace().skip(11).take(2);
    ticks
        .map(|ticks| ticks.parse::<f64>().unwrap())
        .sum::<f64>()
        / 100.0
}

fn told(what: &str, count: u64, (since, before): (Instant, f64)) {
    let (seconds, cpu) = (since.elapsed().as_secs_f64(), cpu() - before);
    let each = cpu * 1e9 / count as f64;
    let peak = process_peak_bytes().unwrap_or(0) >> 20;
    println!("{what}: {seconds:.2} s, CPU {cpu:.2} s, {each:.0} ns each, peak {peak} MiB");
}

fn now() -> (Instant, f64) {
    (Instant::now(), cpu())
}

#[test]
#[ignore = "takes a minute in release builds, and 2 GB of disk"]
fn twenty_million_keys_and_fifty_million_rows() {
    let bench = Bench::new(512 << 20);
    let text = bench.path("index.txt");
    let mut out = BufWriter::new(File::create(&text).unwrap());
    for number in 0..KEYS {
        let chunk = mix(number >> 12) % 200_000;
        writeln!(out, "{}\t{chunk}\t{}", key(number), number % 100).unwrap();
    }
    out.into_inner().unwrap();

    let start = now();
    let compact = bench.path("index.bin");
    let dialect = Dialect::qserv();
    let rule = DuplicateRule::Refuse;
    write_compact_index((&text, &dialect), &compact, rule, &bench.limits).unwrap();
    told("compact file from text", KEYS, start);
    let start = now();
    let none = duplicated(&text, &dialect, &bench.limits, &bench.path("scratch")).unwrap();
    told("duplicates", KEYS, start);
    assert!(none.is_empty());

    let source = IndexSource {
        path: compact,
        dialect,
    };
    let options = IndexOptions {
        scratch: bench.path("scratch"),
        duplicates: rule,
        limits: bench.limits.clone(),
    };
    let start = now();
    let index = KeyIndex::open(&source, &options).unwrap();
    told("open", KEYS, start);
    assert_eq!(index.len(), KEYS);
    assert!(index.bytes() <= 16 * KEYS, "{}", index.bytes());

    let memory = 32 << 20;
    let start = now();
    let routes = bench.path("routes");
    let mut builder = RouteTableBuilder::new(&index, &routes, memory, &bench.limits).unwrap();
    for key in keys() {
        builder.push(Some(key)).unwrap();
    }
    told("keys pushed", ROWS, start);
    let table = builder.finish().unwrap();
    told("route table", ROWS, start);

    let start = now();
    assert!(keys().all(|key| index.find(key).is_some()));
    told("find", ROWS, start);
    let (mut wanted, mut places) = (Vec::with_capacity(BATCH), Vec::new());
    let (start, mut all) = (now(), keys().peekable());
    while all.peek().is_some() {
        wanted.clear();
        wanted.extend(all.by_ref().take(BATCH).map(Some));
        index.find_many(&wanted, &mut places);
        assert!(places.iter().all(Option::is_some));
    }
    told("find_many", ROWS, start);

    let mut all = keys();
    for start in (0..ROWS).step_by(1 << 20) {
        table.read(start..start + (1 << 20), &mut places).unwrap();
        let found = all.by_ref().take(places.len()).map(|key| index.find(key));
        assert!(found.eq(places.iter().copied()));
    }
}

//! `estimate`: what `partition` would make, told before.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::Float64Type;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::Value;

use super::harness::{Bench, files, positions, words};

const SKY: &str = "--stripes 18 --sub-stripes 10 --overlap 0.5";

/// Rows, overlap rows and bytes by chunk.
type Loads = BTreeMap<i64, (u64, u64, u64)>;

/// What lies in a folder of chunk files, all files and all bytes.
fn made(bench: &Bench, folder: &str) -> (Loads, u64, u64) {
    let mut all = files(&bench.path(folder));
    all.retain(|name, _| !name.contains(".skyprep"));
    let bytes = all.values().map(|bytes| bytes.len() as u64).sum();
    let count = all.len() as u64;
    let mut loads = Loads::new();
    for (name, bytes) in &all {
        let name = name.strip_prefix("chunk_").unwrap();
        let name = name.strip_suffix(".txt").unwrap();
        let (number, is_overlap) = match name.strip_suffix("_overlap") {
            Some(number) => (number, true),
            None => (name, false),
        };
        let Ok(number) = number.parse() else { continue };
        let rows = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let load = loads.entry(number).or_default();
        match is_overlap {
            true => load.1 += rows,
            false => load.0 += rows,
        }
        load.2 += bytes.len() as u64;
    }
    (loads, count, bytes)
}

fn told(estimate: &Value) -> Loads {
    let chunks = estimate["chunks"].as_array().unwrap().iter();
    chunks
        .map(|chunk| {
            let number = |name: &str| chunk[name].as_u64().unwrap();
            let load = (number("rows"), number("overlap_rows"), number("bytes"));
            (chunk["chunk"].as_i64().unwrap(), load)
        })
        .collect()
}

/// Says what partition would make with these options, and lets it; both must be the same.
fn compare(bench: &Bench, options: &str, out: &str) -> Value {
    let line = format!("estimate {options} --json");
    let outcome = bench.run(words(&line)).ok();
    let estimate: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    bench
        .run(words(&format!("partition {options} -o {out}")))
        .ok();
    let (loads, count, bytes) = made(bench, out);
    assert_eq!(told(&estimate), loads, "{options}");
    assert_eq!(estimate["files"], count, "{options}");
    assert_eq!(estimate["bytes"], bytes, "{options}");
    assert_eq!(estimate["is_exact"], true);
    let total = |at: fn(&(u64, u64, u64)) -> u64| loads.values().map(at).sum::<u64>();
    assert_eq!(estimate["rows_out"], total(|load| load.0));
    assert_eq!(estimate["overlap_rows"], total(|load| load.1));
    estimate
}

#[test]
fn what_is_told_is_what_partition_makes() {
    let bench = Bench::in_memory();
    bench.write("x.txt", positions(4000, 7919));
    let director =
        format!("x.txt --kind director {SKY} --ra ra --dec dec --fields id,ra,dec --id id");
    let estimate = compare(&bench, &director, "director");
    assert!(estimate["overlap_rows"].as_u64().unwrap() > 0);
    assert!(estimate["index_bytes"].as_u64().unwrap() > 0);
    assert_eq!(estimate["rows_in"], 4000);
    // Chunk columns that stand elsewhere, another dialect, without overlap.
    bench.write(
        "y.txt",
        positions(500, 6101).replace('\n', "\t0\t0\tword,\n"),
    );
    let other = format!(
        "y.txt --kind director {SKY} --ra ra --dec dec --fields id,ra,dec,chunkId,subChunkId,note \
         --dialect qserv-csv --no-overlap"
    );
    let estimate = compare(&bench, &other, "other");
    assert_eq!(estimate["overlap_rows"], 0);
    // Children follow their directors; matches may lie in two chunks.
    let child = format!(
        "x.txt --kind child {SKY} --id id --index director --fields id,a,b --table Child --num-nodes 1"
    );
    let estimate = compare(&bench, &child, "child");
    assert_eq!(estimate["table"], "Child");
    let pairs: String = positions(800, 7919)
        .lines()
        .map(|line| {
            let (ra, dec) = line.split_once('\t').unwrap().1.split_once('\t').unwrap();
            let moved: f64 = dec.parse::<f64>().unwrap() + 0.01;
            format!("{ra}\t{dec}\t{ra}\t{:.6}\n", moved.min(90.0))
        })
        .collect();
    bench.write("pairs.txt", pairs);
    let pairs =
        format!("pairs.txt --kind match {SKY} --ra1 a --dec1 b --ra2 c --dec2 d --fields a,b,c,d");
    let estimate = compare(&bench, &pairs, "pairs");
    assert!(estimate["rows_out"].as_u64() >= Some(800));
    // Small Parquet is read as a whole.
    let stars = super::harness::repo("testdata/stars/stars");
    let stars = format!(
        "{} --kind director {SKY} --ra ra_degrees --dec dec_degrees --id star_id",
        stars.display()
    );
    compare(&bench, &stars, "stars");
}

/// Writes a catalogue of so many rows that do not compress, in row groups of 20,000.
fn write_catalogue(bench: &Bench, name: &str, rows: u64) {
    let file = fs::File::create(bench.path(name)).unwrap();
    let numbers = |salt: u64| -> ArrayRef {
        let mut state = salt;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(salt | 1);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        Arc::new((0..rows).map(|_| next()).collect::<Float64Array>())
    };
    let scaled = |column: &ArrayRef, by: f64, less: f64| -> ArrayRef {
        let column = column.as_primitive::<Float64Type>();
        Arc::new(column.unary::<_, Float64Type>(|value| value * by - less))
    };
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("ra".to_owned(), scaled(&numbers(1), 90.0, 0.0)),
        ("dec".to_owned(), scaled(&numbers(2), 40.0, 20.0)),
    ];
    columns.extend((3..10).map(|number| (format!("flux{number}"), numbers(number))));
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(20_000))
        .set_dictionary_enabled(false)
        .build();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn a_large_catalogue_is_told_from_its_positions_and_a_sample() {
    let bench = Bench::in_memory();
    for name in ["a.parquet", "b.parquet", "c.parquet"] {
        write_catalogue(&bench, name, 200_000);
    }
    let options = "a.parquet b.parquet c.parquet --kind director --stripes 85 --sub-stripes 12 \
                   --overlap 0.05 --ra ra --dec dec";
    let estimate = |more: &str| -> Value {
        let outcome = bench
            .run(words(&format!("estimate {options} --json {more}")))
            .ok();
        serde_json::from_slice(&outcome.stdout).unwrap()
    };
    let (sampled, exact) = (estimate(""), estimate("--exact"));
    assert_eq!(sampled["is_exact"], false);
    assert_eq!(exact["is_exact"], true);
    let rows = |estimate: &Value| -> Vec<(i64, u64, u64)> {
        let loads = told(estimate).into_iter();
        loads.map(|(chunk, load)| (chunk, load.0, load.1)).collect()
    };
    assert!(rows(&sampled) == rows(&exact));
    let bytes = |estimate: &Value| estimate["bytes"].as_u64().unwrap() as f64;
    let ratio = bytes(&sampled) / bytes(&exact);
    assert!((0.995..1.005).contains(&ratio), "{ratio}");
    assert_eq!(exact["measured_rows"], 600_000);
    let measured = sampled["measured_rows"].as_u64().unwrap();
    assert!((20_000..100_000).contains(&measured), "{measured}");
    assert_eq!(sampled["rows_in"], 600_000);
    // However many threads and whatever the memory.
    assert!(sampled == estimate("--threads 1 --memory-limit 64MiB"));
}

#[test]
fn the_command_line_of_partition_serves_and_nothing_is_written() {
    let bench = Bench::in_memory();
    bench.write("x.txt", positions(1000, 7919));
    let line = format!(
        "estimate x.txt -o out --kind director {SKY} --ra ra --dec dec --fields id,ra,dec --force \
         --chunk-index --prefix part --report told.json --threads 1"
    );
    let before: Vec<String> = files(bench.root()).into_keys().collect();
    let outcome = bench.run(words(&line)).ok();
    let text = String::from_utf8(outcome.stdout).unwrap();
    for said in [
        "1,000",
        "heaviest chunks",
        "room in out",
        "enough",
        "rows of a chunk",
    ] {
        assert!(text.contains(said), "{text}");
    }
    let after: Vec<String> = files(bench.root()).into_keys().collect();
    assert_eq!(before.len() + 1, after.len(), "{after:?}");
    bench.run(words("sky told.json -o sky.svg")).ok();
    let svg = fs::read_to_string(bench.path("sky.svg")).unwrap();
    assert!(svg.contains("1,000 rows"), "{svg}");
    let help = bench.run(words("estimate --help")).ok();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(
        help.contains("--exact") && !help.contains("--chunk-index"),
        "{help}"
    );
    for threads in [1, 3] {
        let again = format!("{line} --threads {threads}").replacen("--threads 1", "", 1);
        let again = bench.run(words(&again)).ok();
        let again = String::from_utf8(again.stdout).unwrap();
        let told = |text: &str| text.split("room in").next().unwrap().to_owned();
        assert_eq!(told(&again), told(&text));
    }
}

#[test]
fn bad_positions_are_told() {
    let bench = Bench::in_memory();
    bench.write("x.txt", "1\t10.5\t20.5\n2\t10.5\t95\n3\t10.5\t20.5\n");
    let line = format!("estimate x.txt --kind director {SKY} --ra ra --dec dec --fields id,ra,dec");
    bench
        .run(words(&line))
        .failed(1, &["x.txt", "line 2", "dec", "95"]);
    let line = format!("{line} --max-rejects 1 --reject-file bad.jsonl --json");
    let outcome = bench.run(words(&line)).ok();
    let estimate: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!(estimate["rejected"], 1);
    assert_eq!(estimate["rows_out"], 2);
    assert!(
        outcome.stderr.contains("would be rejected"),
        "{}",
        outcome.stderr
    );
    let list = fs::read_to_string(bench.path("bad.jsonl")).unwrap();
    assert_eq!(list.lines().count(), 2, "{list}");
    bench
        .run(words("estimate x.txt --kind regular --fields id,ra,dec"))
        .failed(2, &["no chunks"]);
    bench
        .run(words("estimate none.txt --kind regular --fields id"))
        .failed(3, &["none.txt"]);
    bench
        .run(words(&format!(
            "partition x.txt --kind director {SKY} --ra ra --dec dec --fields id,ra,dec"
        )))
        .failed(2, &["no output folder", "-o DIR"]);
}

#[test]
fn files_that_are_passed_over_and_settings_count_as_for_partition() {
    let bench = Bench::in_memory();
    bench.write("x.txt", positions(100, 7919));
    bench.write("bad.parquet", "PAR1junkPAR1");
    let sky = format!("--kind director {SKY} --ra ra --dec dec --fields id,ra,dec");
    let line = format!("estimate x.txt none.txt bad.parquet {sky} --keep-going --json");
    let outcome = bench.run(words(&line));
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    for said in ["none.txt", "bad.parquet", "2 input files were passed over"] {
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    }
    let estimate: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!(estimate["rows_out"], 100);
    assert_eq!(estimate["passed_over"].as_array().unwrap().len(), 2);
    let line = format!("estimate none.txt {sky} --keep-going");
    bench.run(words(&line)).failed(1, &["none.txt"]);
    // What is set for partition counts, unless it is set for estimate.
    bench.write(
        "set.toml",
        "[partition]\nno-overlap = true\nprefix = \"part\"\n[estimate]\nexact = true\n",
    );
    let overlap = |more: &str| -> u64 {
        let line = format!("estimate x.txt {sky} --json {more}");
        let outcome = bench.run(words(&line)).ok();
        let estimate: Value = serde_json::from_slice(&outcome.stdout).unwrap();
        estimate["overlap_rows"].as_u64().unwrap()
    };
    assert!(overlap("") > 0);
    let line = format!(
        "estimate x.txt {} --json --config set.toml",
        sky.replace("--overlap 0.5", "")
    );
    let outcome = bench.run(words(&line)).ok();
    let estimate: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!(estimate["overlap_rows"], 0);
}

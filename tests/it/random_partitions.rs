//! Random catalogues in random dialects, partitioned with random settings in every way that must
//! not show, against a partitioner that is nothing but the definition.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::harness::{Bench, files, words};
use super::naive_chunker::{NaiveChunker, Pair};
use super::naive_tokenizer::tokenize;
use super::random_catalogue::{CHUNK_COLUMNS, Case, Target, random_chunker};
use super::random_text::{Value, pick};
use super::routing::{Files, Random, add, division, settled};

fn packed(text: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(text).unwrap();
    packer.finish().unwrap()
}

/// Writes the rows as inputs of some form; returns their names.
fn inputs(case: &Case, form: usize, lines: &[Vec<u8>], bench: &Bench) -> Vec<String> {
    let text = |lines: &[Vec<u8>]| [case.header(), lines.concat()].concat();
    let write = |name: &str, bytes: Vec<u8>| {
        bench.write(name, bytes);
        name.to_owned()
    };
    let (one, two) = (lines.len() / 3, lines.len() / 2);
    match form {
        0 => vec![write("x.txt", text(lines))],
        1 => vec![write("x.txt.gz", packed(&text(lines)))],
        2 => vec![
            write("x1.txt", text(&lines[..one])),
            write("x2.txt", packed(&text(&lines[one..two]))),
            write("x3.txt", text(&lines[two..])),
        ],
        3 => vec!["-".to_owned()],
        4 => vec![write("x.parquet", case.parquet(0, lines.len()))],
        _ => vec![
            write("x1.parquet", case.parquet(0, two)),
            write("x2.parquet", case.parquet(two, lines.len())),
        ],
    }
}

const WAYS: [&str; 5] = [
    "--threads 1",
    "--threads 2",
    "--threads 7",
    "--threads 2 --memory-limit 48MiB --finish append",
    "--threads 2 --memory-limit 48MiB --finish exchange",
];

/// Runs a case, and stops the test unless its files are what they must be.
fn check(case: &Case, seed: u64, bench: &Bench, random: &mut Random) {
    let lines = case.lines(random);
    let expected = case.expected();
    let stdin = [case.header(), lines.concat()].concat();
    let mut kept: Option<Files> = None;
    let mut renewed: Option<Files> = None;
    // Every form of the input, each in one of the ways.
    for form in 0..6 {
        let way = pick(random, &WAYS);
        let mut args = words(&format!("partition -o made{form} --json {way}"));
        args.extend(inputs(case, form, &lines, bench));
        args.extend(case.options.clone());
        let told = format!("seed {seed}, form {form}: skyprep {}", args.join(" "));
        let outcome = bench.run_with_input(args, &stdin);
        assert_eq!(outcome.code, 0, "{told}\n{}", outcome.stderr);
        let made = files(&bench.path(&format!("made{form}")));

        let names: Vec<_> = made.keys().collect();
        assert_eq!(names, expected.keys().collect::<Vec<_>>(), "{told}");
        // Text that is in the dialect of the output keeps its spellings; else all get the same.
        let copies = form < 4 && case.output.copies_fields_of(&case.input);
        let others = if copies { &mut kept } else { &mut renewed };
        match others {
            Some(same) => assert!(*same == made, "{told}: other bytes than in another form"),
            None => {
                check_values(case, &made, &expected, &told);
                *others = Some(made);
            }
        }
        let report: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
        check_books(case, &report["tables"][0], &told);
    }
}

/// Compares the values in the files with what they must be.
fn check_values(
    case: &Case,
    made: &Files,
    expected: &BTreeMap<String, Vec<Vec<Value>>>,
    told: &str,
) {
    let names = case.output_names();
    let sub_chunk = names.iter().position(|name| *name == CHUNK_COLUMNS[1]);
    for (name, rows) in expected {
        let (found, fault) = tokenize(&case.output, &made[name]);
        assert_eq!(fault, None, "{told}: {name}");
        let found = found.into_iter().map(|record| {
            let fields = record.fields.into_iter();
            fields.map(|field| field.value).collect()
        });
        let found = in_one_order(found.collect(), sub_chunk);
        assert_eq!(
            found,
            in_one_order(rows.clone(), sub_chunk),
            "{told}: {name}"
        );
        let lines = made[name].iter().filter(|byte| **byte == b'\n').count();
        let has_escape = case.output.escape().is_some();
        // Without an escape there is no other way to write a line feed.
        assert!(lines == rows.len() || !has_escape, "{told}: {name}");
    }
}

/// Sorts the copies of a row for several sub-chunks of one chunk, whose order nobody has promised.
fn in_one_order(mut rows: Vec<Vec<Value>>, sub_chunk: Option<usize>) -> Vec<Vec<Value>> {
    let sub_chunk = sub_chunk.unwrap();
    let is_copy = |one: &Vec<Value>, two: &Vec<Value>| {
        let mut columns = 0..one.len();
        columns.all(|column| column == sub_chunk || one.get(column) == two.get(column))
    };
    for copies in rows.chunk_by_mut(is_copy) {
        copies.sort_unstable();
    }
    rows
}

fn check_books(case: &Case, table: &serde_json::Value, told: &str) {
    let number = |name: &str| table[name].as_u64().unwrap_or(0);
    let copies: Vec<&Target> = case.copies.iter().flatten().collect();
    let overlap = copies.iter().filter(|copy| copy.is_overlap).count() as u64;
    let own = copies.len() as u64 - overlap;
    let rows = case.copies.len() as u64;
    let found = ["rows_in", "rows_out", "overlap_rows", "second_rows"].map(number);
    assert_eq!(found, [rows, own, overlap, own - rows], "{told}: {table}");
}

/// Some cases of a kind, each with a seed that makes it again.
fn check_kind(kind: usize, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut random = Random(seed * 3 + kind as u64);
        let bench = Bench::in_memory();
        let chunker = random_chunker(&mut random);
        let case = Case::new(kind, &bench, &chunker, &mut random);
        check(&case, seed, &bench, &mut random);
    }
}

#[test]
fn directors() {
    check_kind(0, 0..24);
}

#[test]
fn children() {
    check_kind(1, 0..24);
}

#[test]
fn matches() {
    check_kind(2, 0..24);
}

#[test]
fn many_rows_in_little_memory() {
    let mut random = Random(7);
    let bench = Bench::in_memory();
    let chunker = NaiveChunker {
        stripes: 3,
        sub_stripes: 2,
        overlap: 1.0,
    };
    let mut text = Vec::new();
    let mut expected = Files::new();
    for row in 0..20_000 {
        let (ra, dec) = random.position();
        let line = format!(
            "{row}\t{ra}\t{dec}\t{}",
            "long ".repeat(random.below(800) as usize)
        );
        let written = |(chunk, sub): Pair| format!("{line}\t{chunk}\t{sub}");
        let own = chunker.number(chunker.find(ra, dec));
        add(&mut expected, own, "", &written(own));
        for place in chunker.overlaps(ra, dec) {
            add(&mut expected, place, "_overlap", &written(place));
        }
        text.extend(line.as_bytes());
        text.push(b'\n');
    }
    assert!(text.len() > 36 << 20, "all fits into the limit");
    bench.write("x.txt", &text);
    for (number, way) in WAYS[3..].iter().enumerate() {
        let line = format!(
            "partition x.txt -o made{number} --kind director --ra r --dec d --fields k,r,d,t \
             {way} {}",
            division(&chunker)
        );
        bench.run(words(&line)).ok();
        let made = bench.path(&format!("made{number}"));
        let found = files(&made);
        assert!(found.keys().eq(expected.keys()), "{way}: other files");
        for (name, rows) in &expected {
            assert!(
                settled(&found[name]) == settled(rows),
                "{way}: other rows in {name}"
            );
        }
        fs::remove_dir_all(made).unwrap();
    }
}

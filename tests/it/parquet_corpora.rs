//! Parquet files of many writers, whole and damaged: each is written, or refused with a reason.

use std::fs;
use std::path::{Path, PathBuf};

use super::harness::{Bench, Outcome, shared};

/// Whole files that are refused all the same, with exit code and a part of the message.
const REFUSED: &[(&str, i32, &str)] = &[
    (
        "datapage_v1-corrupt-checksum.parquet",
        4,
        "CRC checksum mismatch",
    ),
    (
        "rle-dict-uncompressed-corrupt-checksum.parquet",
        4,
        "CRC checksum mismatch",
    ),
    // What the decoder does not read: a list of a wrong type in the footer, and a column chunk
    // whose size leaves out the header of its dictionary.
    ("dict-page-offset-zero.parquet", 4, "list element type"),
    ("nation.dict-malformed.parquet", 4, "corrupt Parquet"),
    // Its footer says 0 rows, its row group 6.
    (
        "repeated_no_annotation.parquet",
        4,
        "found 0 rows, the footer says 6",
    ),
    ("int96_from_spark.parquet", 1, "row 6, column a"),
    (
        "large_string_map.brotli.parquet",
        2,
        "memory limit of 256 MiB is too small",
    ),
];

/// Damaged files whose damage lies where nothing is read.
const READABLE: &[&str] = &[
    "ARROW-GH-43605.parquet",
    "clusterfuzz-testcase-minimized-parquet-arrow-fuzz-5382863341289472",
    "crash-649c71a618ae2fd80cec177a9676eb3e280fc1fa",
];

/// All files below a folder of the corpora, by their names; none where the corpora are absent.
fn corpus(folder: &str) -> Vec<PathBuf> {
    let Some(shared) = shared(&format!("files of {folder} are not read")) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    let mut left = vec![shared.join("corpora").join(folder)];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "{folder} is empty");
    files
}

/// Converts a file, with a minute's time and little memory.
fn convert(bench: &Bench, path: &Path, args: &str) -> Outcome {
    bench.shell(&format!(
        "timeout 60 skyprep convert '{}' --input-format parquet -o - --nested json \
         --charset utf8mb4 --threads 2 --memory-limit 256MiB {args}",
        path.display()
    ))
}

fn lines(outcome: Outcome) -> Vec<String> {
    let text = String::from_utf8(outcome.ok().stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn files_of_all_writers_are_written_or_refused_with_a_reason() {
    let bench = Bench::in_memory();
    let mut wrong = Vec::new();
    for path in corpus("parquet-testing/data") {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.ends_with(".parquet") && !name.ends_with(".encrypted") {
            continue;
        }
        let outcome = convert(&bench, &path, "--binary hex");
        let known = REFUSED.iter().find(|(refused, ..)| *refused == name);
        let (code, said) = match known {
            Some((_, code, said)) => (*code, *said),
            None if name.ends_with(".encrypted") => (4, "corrupt Parquet"),
            None => (0, ""),
        };
        let is_right = outcome.code == code
            && outcome.stderr.contains(said)
            && (code == 0 || said.contains("memory") || outcome.stderr.contains(name))
            && !outcome.stderr.contains("panicked");
        if !is_right {
            wrong.push(format!("{name}: exit {}: {}", outcome.code, outcome.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn damaged_files_end_with_a_reason() {
    let bench = Bench::in_memory();
    let mut files = corpus("parquet-testing/bad_data");
    files.extend(corpus("arrow-testing/data/parquet/fuzzing"));
    let mut wrong = Vec::new();
    for path in files {
        let outcome = convert(&bench, &path, "");
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_right = (outcome.code == 0) == READABLE.contains(&name)
            && [0, 1, 2, 4].contains(&outcome.code)
            && (outcome.code == 0 || outcome.stderr.contains(name))
            && !outcome.stderr.contains("panicked");
        if !is_right {
            wrong.push(format!("{name}: exit {}: {}", outcome.code, outcome.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn known_files_hold_what_their_makers_say() {
    let Some(shared) = shared("files of parquet-testing are not compared") else {
        return;
    };
    let bench = Bench::in_memory();
    let data = |name: &str| shared.join("corpora/parquet-testing/data").join(name);
    let text = |name: &str, args: &str| lines(convert(&bench, &data(name), args));

    // The same table by Impala, in three ways.
    let plain = text("alltypes_plain.parquet", "");
    let first = "4\t1\t0\t0\t0\t0\t0\t0\t03/01/09\t0\t2009-03-01 00:00:00.000000";
    assert_eq!(plain[0], first);
    assert_eq!(plain.len(), 8);
    let last = "1\t0\t1\t1\t1\t10\t1.1\t10.1\t01/01/09\t1\t2009-01-01 00:01:00.000000";
    assert_eq!(plain[7], last);
    assert_eq!(text("alltypes_plain.snappy.parquet", "").len(), 2);
    assert_eq!(text("alltypes_dictionary.parquet", "").len(), 2);

    // Decimals from 1 to 24 with two digits behind the point, in all physical types.
    let numbers: Vec<String> = (1..=24).map(|number| format!("{number}.00")).collect();
    for name in [
        "int32_decimal.parquet",
        "int64_decimal.parquet",
        "fixed_length_decimal.parquet",
        "fixed_length_decimal_legacy.parquet",
        "byte_array_decimal.parquet",
    ] {
        assert_eq!(text(name, ""), numbers, "{name}");
    }

    // Spark's INT96; the last one lies in the year 290000.
    let spark = text("int96_from_spark.parquet", "--overflow null");
    let expected = [
        "2024-01-01 20:34:56.123456",
        "2024-01-01 01:00:00.000000",
        "9999-12-31 03:00:00.000000",
        "2024-12-30 23:00:00.000000",
        "\\N",
        "\\N",
    ];
    assert_eq!(spark, expected);

    // What the makers wrote as CSV beside the file.
    for name in [
        "delta_binary_packed",
        "delta_byte_array",
        "delta_encoding_required_column",
    ] {
        let csv = fs::read(data(&format!("{name}_expect.csv"))).unwrap();
        let mut reader = csv::Reader::from_reader(csv.as_slice());
        let found = text(&format!("{name}.parquet"), "");
        let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(found.len(), records.len(), "{name}");
        for (line, record) in found.iter().zip(&records) {
            let fields: Vec<&str> = line.split('\t').collect();
            for (field, expected) in fields.iter().zip(record) {
                let expected = if expected.is_empty() { "\\N" } else { expected };
                let is_same = *field == expected || field.is_empty() && expected == "\\N";
                assert!(is_same, "{name}: {field} for {expected}");
            }
            assert_eq!(fields.len(), record.len(), "{name}");
        }
    }
}

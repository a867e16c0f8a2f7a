//! `convert --to json`: rows as Qserv's ingest service takes them in the body of a request.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Float32Array, Float64Array, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use super::harness::{Bench, files, words};

fn bench() -> Bench {
    let bench = Bench::new();
    let columns: [(&str, ArrayRef); 5] = [
        ("id", Arc::new(Int64Array::from(vec![1, i64::MAX, -3]))),
        (
            "x",
            Arc::new(Float64Array::from(vec![0.1, f64::NAN, f64::INFINITY])),
        ),
        (
            "y",
            Arc::new(Float32Array::from(vec![Some(2.0), None, Some(f32::MAX)])),
        ),
        (
            "name",
            Arc::new(StringArray::from(vec![
                Some("a\"b\\N\n,é"),
                Some("NULL"),
                None,
            ])),
        ),
        (
            "hash",
            Arc::new(BinaryArray::from_opt_vec(vec![
                Some(&b"\x00\"\\\n\xff"[..]),
                Some(b""),
                None,
            ])),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = fs::File::create(bench.path("in.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bench
}

fn body(bench: &Bench, line: &str) -> Value {
    let outcome = bench.run(words(line)).ok();
    serde_json::from_slice(&outcome.stdout).unwrap()
}

#[test]
fn rows_are_arrays_of_what_the_service_takes() {
    let bench = bench();
    let body = body(&bench, "convert in.parquet -o - --to json");
    assert_eq!(body["charset_name"], "utf8mb4");
    assert_eq!(body["binary_encoding"], "hex");
    // Strings are escaped for MariaDB: the service puts them between quotes as they are.
    let expected = json!([
        [1, "0.1", 2, "a\\\"b\\\\N\\n,é", "5C305C225C5C5C6EFF"],
        [i64::MAX, "\\N", "\\N", "NULL", ""],
        [-3, "1.7976931348623157E+308", "3.4028234E+38", "\\N", "\\N"],
    ]);
    assert_eq!(body["rows"], expected);
}

#[test]
fn binary_as_base64_or_array() {
    let bench = bench();
    let b64 = body(
        &bench,
        "convert in.parquet -o - --to json --columns hash --binary b64",
    );
    assert_eq!(b64["binary_encoding"], "b64");
    assert_eq!(b64["rows"], json!([["XDBcIlxcXG7/"], [""], ["\\N"]]));
    let array = body(
        &bench,
        "convert in.parquet -o - --to json --columns hash --binary array",
    );
    assert_eq!(array["binary_encoding"], "array");
    let bytes = json!([92, 48, 92, 34, 92, 92, 92, 110, 255]);
    assert_eq!(array["rows"], json!([[bytes], [[]], ["\\N"]]));
}

#[test]
fn no_rows_are_a_body_too() {
    let bench = Bench::new();
    bench.write("in.txt", "");
    let body = body(&bench, "convert in.txt --fields a,b -o - --to json");
    assert_eq!(body["rows"], json!([]));
}

/// Rows of a text table become JSON by the same rules; numbers that JSON does not know as whole
/// ones become strings.
#[test]
fn text_becomes_json_too() {
    let bench = Bench::new();
    bench.write("in.txt", "007\ttrue\t1.50\tx\n-4\tfalse\t\\N\t\\\\N\n");
    bench.write(
        "t.json",
        r#"{"schema": [{"name":"a","type":"INT"},{"name":"b","type":"TINYINT"},
            {"name":"c","type":"DOUBLE"},{"name":"d","type":"CHAR(9)"}]}"#,
    );
    let body = body(&bench, "convert in.txt --schema t.json -o - --to json");
    assert_eq!(
        body["rows"],
        json!([["007", 1, "1.50", "x"], [-4, 0, "\\N", "\\\\N"]])
    );
}

#[test]
fn bodies_are_cut_at_a_size() {
    let bench = Bench::new();
    let rows: String = (0..5000)
        .map(|row| format!("{row}\tname {row}\n"))
        .collect();
    bench.write("in.txt", rows);
    for threads in [1, 2] {
        let line = format!(
            "convert in.txt --fields id,name -o out{threads}/ --to json --split-size 20KiB \
             --threads {threads}"
        );
        bench.run(words(&line)).ok();
    }
    let (one, two) = (files(&bench.path("out1")), files(&bench.path("out2")));
    assert_eq!(one, two);
    assert!(one.len() > 3, "{}", one.len());
    let mut parts: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (name, bytes) in one {
        assert!(bytes.len() <= 20 << 10, "{name}: {} bytes", bytes.len());
        let mut body: Value = serde_json::from_slice(&bytes).unwrap();
        // The first part has no folder, so it sorts behind 000/ to 999/.
        let key = if name.contains('/') {
            name
        } else {
            String::new()
        };
        parts.insert(key, serde_json::from_value(body["rows"].take()).unwrap());
    }
    let all: Vec<Value> = parts.into_values().flatten().collect();
    assert_eq!(all.len(), 5000);
    for (row, found) in all.iter().enumerate() {
        assert_eq!(*found, json!([row.to_string(), format!("name {row}")]));
    }
    // The same again is done already.
    let again = "convert in.txt --fields id,name -o out1/ --to json --split-size 20KiB";
    assert!(
        bench
            .run(words(again))
            .ok()
            .stderr
            .contains("nothing to do")
    );
}

#[test]
fn text_is_cut_at_a_size_with_its_header() {
    let bench = Bench::new();
    bench.write("in.txt", "x\ty\n".repeat(3000));
    bench
        .run(words(
            "convert in.txt --fields a,b -o out/ --split-size 4KiB --header",
        ))
        .ok();
    let parts = files(&bench.path("out"));
    assert_eq!(parts.len(), 3);
    let rows: usize = parts
        .values()
        .map(|text| {
            assert!(text.starts_with(b"a\tb\n") && text.len() <= 4096);
            text.iter().filter(|byte| **byte == b'\n').count() - 1
        })
        .sum();
    assert_eq!(rows, 3000);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let bench = bench();
    for (options, said) in [
        ("--to json --header", "--to json"),
        ("--to json --delimiter ,", "--to json"),
        ("--to json --charset latin1", "always utf8mb4"),
        ("--to json --binary escape", "choose hex"),
        ("--split-size 1MiB", "name a folder"),
        ("--split-size 10", "name a folder"),
    ] {
        let outcome = bench.run(words(&format!("convert in.parquet -o out.txt {options}")));
        outcome.failed(2, &[said]);
    }
    let long = bench.run(words("convert in.parquet -o out/ --split-size 10"));
    long.failed(2, &["4KiB"]);
    bench.write("long.txt", format!("{}\n", "x".repeat(5000)));
    let long = bench.run(words(
        "convert long.txt --fields a -o out/ --split-size 4KiB",
    ));
    long.failed(1, &["output row 1", "--split-size"]);
}

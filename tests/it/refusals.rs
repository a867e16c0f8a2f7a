//! Wrong input says so: file, row, column, value and exit code; nothing under a final name.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::harness::{Bench, files, words};

const PARTITION: &str = "partition -o out --kind director --stripes 18 --sub-stripes 10 --overlap 0.01 --ra ra --dec dec";

/// A Parquet file with row groups of two rows.
fn parquet(positions: &[(Option<f64>, Option<f64>)]) -> Vec<u8> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..positions.len() as i64));
    let ra: ArrayRef = Arc::new(positions.iter().map(|p| p.0).collect::<Float64Array>());
    let dec: ArrayRef = Arc::new(positions.iter().map(|p| p.1).collect::<Float64Array>());
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("id", ids, false),
        ("ra", ra, true),
        ("dec", dec, true),
    ])
    .unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(2))
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

const GOOD: (Option<f64>, Option<f64>) = (Some(10.0), Some(20.0));

fn refused(bad: (Option<f64>, Option<f64>), said: &[&str]) {
    for threads in [1, 4] {
        let bench = Bench::new();
        // The first bad row in input order counts, whatever the threads.
        bench.write(
            "x.parquet",
            parquet(&[GOOD, GOOD, GOOD, bad, GOOD, (Some(-1.0), None)]),
        );
        let outcome = bench.run(words(&format!("{PARTITION} x.parquet --threads {threads}")));
        let place = ["x.parquet, row group 1, row 4, column "];
        outcome.failed(1, &[&place, said].concat());
        assert!(files(&bench.path("out")).is_empty());
    }
}

#[test]
fn positions_that_are_none() {
    refused((Some(f64::NAN), Some(0.0)), &["column ra", "NaN"]);
    refused(
        (Some(0.0), Some(f64::NEG_INFINITY)),
        &["column dec", "-inf"],
    );
    refused((None, Some(0.0)), &["column ra", "NULL"]);
    refused((Some(0.0), None), &["column dec", "NULL"]);
    refused(
        (Some(360.5), Some(0.0)),
        &["column ra", "360.5", "0 to 360"],
    );
    refused((Some(-5.0), Some(0.0)), &["column ra", "-5"]);
    refused(
        (Some(0.0), Some(90.5)),
        &["column dec", "90.5", "-90 to 90"],
    );
}

#[test]
fn positions_in_text() {
    for (row, said) in [
        ("3\tnan\t1", "column ra"),
        ("3\t\\N\t1", "NULL"),
        ("3\t1\tabc", "\"abc\""),
        ("3\t1\t91", "91"),
        ("3\t1", "found 2 fields, expected 3"),
        ("3\t1\t2\t", "found 4 fields, expected 3"),
    ] {
        let bench = Bench::new();
        bench.write("x.txt", format!("1\t10\t20\n2\t10\t20\n{row}\n4\t10\t20\n"));
        let outcome = bench.run(words(&format!("{PARTITION} x.txt --fields id,ra,dec")));
        outcome.failed(1, &["x.txt, line 3", said]);
        assert!(files(&bench.path("out")).is_empty());
    }
}

#[test]
fn right_ascension_can_be_wrapped() {
    let bench = Bench::new();
    bench.write(
        "x.parquet",
        parquet(&[(Some(-5.0), Some(0.0)), (Some(725.0), Some(0.0))]),
    );
    bench
        .run(words(&format!("{PARTITION} x.parquet --wrap-ra")))
        .ok();
    assert!(!files(&bench.path("out")).is_empty());
}

#[test]
fn columns_that_are_missing() {
    let bench = Bench::new();
    bench.write("x.parquet", parquet(&[GOOD]));
    let partition = PARTITION.replace("--ra ra", "--ra RA");
    bench
        .run(words(&format!("{partition} x.parquet")))
        .failed(2, &["x.parquet", "no column RA", "did you mean ra?"]);
    bench
        .run(words("convert x.parquet -o - --columns id,flux"))
        .failed(2, &["x.parquet", "no column flux", "id, ra, dec"]);
    bench
        .run(words(
            "convert x.parquet -o - --columns id,flux --optional flux",
        ))
        .ok();
    assert!(files(&bench.path("out")).is_empty());
}

#[test]
fn containers_that_are_broken() {
    let whole = parquet(&[GOOD; 40]);
    for cut in [whole.len() - 1, whole.len() / 2, 100, 4, 1, 0] {
        let bench = Bench::new();
        bench.write("x.parquet", &whole[..cut]);
        let outcome = bench.run(words(&format!("{PARTITION} x.parquet")));
        outcome.failed(4, &["x.parquet", "corrupt"]);
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
        assert!(files(&bench.path("out")).is_empty());
    }
    // Damage that the page checksums or the decoder must find, and not by a crash.
    let bench = Bench::new();
    for at in (4..whole.len()).step_by(37) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x5a;
        let path = bench.write("y.parquet", &damaged);
        let outcome = bench.run(words(&format!("convert {} -o -", path.display())));
        assert!(
            [0, 2, 4].contains(&outcome.code),
            "byte {at}: {}",
            outcome.stderr
        );
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    }
}

#[test]
fn inputs_that_are_not_there() {
    let bench = Bench::new();
    bench
        .run(words(&format!("{PARTITION} none.parquet")))
        .failed(3, &["none.parquet"]);
    bench.run(words("run none.toml")).failed(3, &["none.toml"]);
    bench.run(words("convert")).failed(2, &["--output"]);
}

#[test]
fn columns_that_a_director_may_not_have() {
    let bench = Bench::new();
    bench.write("x.parquet", parquet(&[GOOD]));
    bench.write(
        "T.json",
        r#"{"table": "T", "is_partitioned": 1, "director_table": "", "director_key": "id",
            "longitude_key": "ra", "latitude_key": "dec", "schema": [
            {"name": "id", "type": "BIGINT NOT NULL"}, {"name": "ra", "type": "DOUBLE"},
            {"name": "dec", "type": "VARCHAR(30)"}, {"name": "note", "type": "TEXT"}]}"#,
    );
    let partition = "partition x.parquet -o out --schema T.json --stripes 18 --sub-stripes 10 \
                     --overlap 0.01";
    let outcome = bench.run(words(partition));
    outcome.failed(
        1,
        &[
            "column dec: VARCHAR(30)",
            "column note: TEXT",
            "ingest server",
        ],
    );
    assert!(!bench.path("out").exists());
}

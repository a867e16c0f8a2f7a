//! `convert` and `sanitize` on streams: values, dialects, stdin, stdout, compression.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float32Array, Float64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;

use super::harness::{Bench, files, words};

fn values() -> Vec<u8> {
    let flag: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]));
    let double: ArrayRef = Arc::new(Float64Array::from(vec![f64::INFINITY, f64::NAN, -0.0]));
    let single: ArrayRef = Arc::new(Float32Array::from(vec![f32::NEG_INFINITY, f32::MAX, 0.1]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a\tb\\", "C:\nnew", "\\N"]));
    let batch = RecordBatch::try_from_iter([
        ("flag", flag),
        ("double", double),
        ("single", single),
        ("text", text),
    ])
    .unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn parquet_values_become_what_mariadb_takes() {
    let bench = Bench::new();
    bench.write("x.parquet", values());
    let converted = bench.run(words("convert x.parquet -o -")).ok();
    let expected = concat!(
        "1\t1.7976931348623157E+308\t-3.4028234E+38\ta\\tb\\\\\n",
        "0\t\\N\t3.4028234E+38\tC:\\nnew\n",
        "\\N\t-0\t0.1\t\\\\N\n",
    );
    assert_eq!(String::from_utf8(converted.stdout).unwrap(), expected);
    let kept = bench
        .run(words(
            "convert x.parquet -o - --inf keep --nan keep --bool keep",
        ))
        .ok();
    let kept = String::from_utf8(kept.stdout).unwrap();
    assert!(
        kept.starts_with("true\tinf\t-inf\t") && kept.contains("false\tnan\t"),
        "{kept}"
    );
    bench
        .run(words("convert x.parquet -o - --inf error"))
        .failed(1, &["x.parquet, row group 0, row 1, column double", "inf"]);
    let csv = bench
        .run(words(
            "convert x.parquet -o - --dialect rfc4180 --header --columns text,single",
        ))
        .ok();
    let csv = String::from_utf8(csv.stdout).unwrap();
    assert!(
        csv.starts_with("text,single\n") && csv.contains("\"C:\nnew\",3.4028234E+38\n"),
        "{csv}"
    );
}

#[test]
fn columns_are_chosen_renamed_and_left_out() {
    let bench = Bench::new();
    bench.write("x.parquet", values());
    let run = |options: &str| {
        let outcome = bench
            .run(words(&format!("convert x.parquet -o - {options}")))
            .ok();
        let text = String::from_utf8(outcome.stdout).unwrap();
        text.lines().next().unwrap().to_owned()
    };
    assert_eq!(run("--columns single,flag"), "-3.4028234E+38\t1");
    assert_eq!(run("--exclude double,single"), "1\ta\\tb\\\\");
    assert_eq!(run("--rename flag=is_star --columns is_star"), "1");
    bench.write(
        "T.json",
        r#"{"schema": [{"name": "text", "type": "CHAR(20)"}, {"name": "flag", "type": "TINYINT"}]}"#,
    );
    assert_eq!(run("--schema T.json"), "a\\tb\\\\\t1");
    assert_eq!(run("--schema T.json --exclude text"), "1");
    bench.write(
        "columns.json",
        r#"{"columns": ["flag", "extra"], "optional": ["extra"]}"#,
    );
    assert_eq!(run("--columns-file columns.json"), "1\t\\N");
}

#[test]
fn sanitize_works_by_schema_and_by_look() {
    let bench = Bench::new();
    bench.write(
        "T.json",
        r#"{"schema": [{"name": "f", "type": "TINYINT"}, {"name": "d", "type": "FLOAT"},
            {"name": "t", "type": "CHAR(9)"}]}"#,
    );
    let input = b"True,inf,\"a\"\"b,\tc\"\r\nfalse,NaN,true\r\n\\N,1e-3,NULL\r\n";
    let sanitized = bench
        .run_with_input(
            words("sanitize --in-dialect qserv-csv --schema T.json"),
            input,
        )
        .ok();
    let expected = "1\t3.4028234E+38\ta\"b,\\tc\n0\t\\N\ttrue\n\\N\t1e-3\t\\N\n";
    assert_eq!(String::from_utf8(sanitized.stdout).unwrap(), expected);
    let by_look = bench
        .run_with_input(
            words("sanitize --infer --assume-float double"),
            b"true\t-inf\tx\n",
        )
        .ok();
    assert_eq!(by_look.stdout, b"1\t-1.7976931348623157E+308\tx\n");
    bench
        .run_with_input(words("sanitize --infer"), b"a\nb\ninf\n")
        .failed(1, &["stdin, line 3", "inf", "--assume-float"]);
    let plain = bench.run_with_input(words("sanitize"), b"true\tinf\n").ok();
    assert_eq!(plain.stdout, b"true\tinf\n");
}

#[test]
fn compressed_text_headers_and_lists_are_read() {
    let bench = Bench::new();
    let text = b"id\tname\n1\tone\n2\ttwo\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text).unwrap();
    bench.write("in/a.txt.gz", gzip.finish().unwrap());
    bench.write("in/b.txt.zst", zstd::encode_all(&text[..], 1).unwrap());
    bench.write("list", "in/b.txt.zst\nin/a.txt.gz\n");
    for args in [
        "convert in -o -",
        "convert in/*.* -o -",
        "convert --files-from list -o -",
    ] {
        let args = format!("{args} --in-header --columns name,id");
        let outcome = bench.run(words(&args)).ok();
        assert_eq!(
            outcome.stdout, b"one\t1\ntwo\t2\none\t1\ntwo\t2\n",
            "{args}"
        );
    }
    let zipped = std::fs::read(bench.path("in/a.txt.gz")).unwrap();
    let unzipped = bench
        .run_with_input(words("sanitize --in-header"), &zipped)
        .ok();
    assert_eq!(unzipped.stdout, b"1\tone\n2\ttwo\n");
    bench.run(words("convert in -o out/ --in-header")).ok();
    assert_eq!(
        files(&bench.path("out")).keys().collect::<Vec<_>>(),
        ["a.txt", "b.txt"]
    );
    bench.write("in/c.txt.gz", b"\x1f\x8b\x08 not gzip at all");
    bench
        .run(words("convert in/c.txt.gz -o -"))
        .failed(4, &["in/c.txt.gz"]);
}

#[test]
fn a_reader_that_leaves_ends_the_run_quietly() {
    let bench = Bench::new();
    bench.write("x.txt", "some row\n".repeat(200_000));
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_skyprep"))
        .args(["convert", "x.txt", "-o", "-"])
        .current_dir(bench.root())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_full_device_is_a_full_disk() {
    let bench = Bench::new();
    bench.write("x.txt", "some row\n".repeat(20_000));
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_skyprep"))
        .args(["convert", "x.txt", "-o", "-"])
        .current_dir(bench.root())
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(6),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn long_rows_pass_through_a_small_memory_in_order() {
    let bench = Bench::new();
    let lengths = [10, 5_000_000, 200_000, 10, 10, 5_000_000, 10, 3_000_000];
    let text: String = lengths
        .iter()
        .cycle()
        .take(24)
        .enumerate()
        .map(|(row, length)| format!("{row}\t{}\n", "x".repeat(*length)))
        .collect();
    bench.write("x.txt", &text);
    for threads in [1, 2, 32] {
        let args = format!("sanitize x.txt -o - --memory-limit 24MiB --threads {threads}");
        assert!(
            bench.run(words(&args)).ok().stdout == text.as_bytes(),
            "{threads} threads"
        );
    }
    let too_long = format!("1\t{}\n", "x".repeat(17 << 20));
    bench.write("y.txt", too_long);
    bench
        .run(words("sanitize y.txt"))
        .failed(1, &["y.txt, line 1", "long"]);
}

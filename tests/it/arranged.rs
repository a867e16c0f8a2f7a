//! `partition --sort` and `--to parquet`: chunk files arranged when all their rows are there.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::harness::{Bench, Outcome, files, json_columns, positions, repo, words};

const SKY: &str = "--stripes 18 --sub-stripes 10 --overlap 0.5";
const DIRECTOR: &str =
    "stars.txt --kind director --ra ra --dec dec --id id --fields id,ra,dec,note --chunk-index";

/// 6,000 stars, each with a note: some NULL, some numbers, some texts.
fn stars() -> Bench {
    let bench = Bench::in_memory();
    let notes = |row: usize| match row % 5 {
        0 => "\\N".to_owned(),
        1 => format!("{}.50", (row * 37) % 23),
        2 => format!("1e{}", row % 7),
        3 => format!("-{}", row % 100),
        _ => format!("text{}\\t", row % 11),
    };
    let rows = positions(6000, 7919);
    let rows = rows.lines().enumerate();
    let text: String = rows
        .map(|(row, line)| format!("{line}\t{}\n", notes(row)))
        .collect();
    bench.write("stars.txt", text);
    bench
}

fn partition(bench: &Bench, line: &str) -> Outcome {
    bench.run(words(&format!("partition {line} {SKY} -q")))
}

fn texts(bench: &Bench, folder: &str) -> BTreeMap<String, Vec<String>> {
    let all = files(&bench.path(folder)).into_iter();
    let texts = all.filter(|(name, _)| name.ends_with(".txt") && !name.contains("index"));
    texts
        .map(|(name, bytes)| {
            let text = String::from_utf8(bytes).unwrap();
            (name, text.lines().map(str::to_owned).collect())
        })
        .collect()
}

fn field(line: &str, at: usize) -> &str {
    line.split('\t').nth(at).unwrap()
}

/// NULL, then numbers, then texts.
fn by_value(a: &str, b: &str) -> Ordering {
    let class = |text: &str| match (text, text.parse::<f64>()) {
        ("\\N", _) => 0,
        (_, Ok(_)) => 1,
        _ => 2,
    };
    let both = (class(a), class(b));
    both.0.cmp(&both.1).then_with(|| match both {
        (1, 1) => a
            .parse::<f64>()
            .unwrap()
            .total_cmp(&b.parse::<f64>().unwrap()),
        (2, 2) => a.replace("\\t", "\t").cmp(&b.replace("\\t", "\t")),
        _ => Ordering::Equal,
    })
}

#[test]
fn rows_are_sorted_in_each_file_for_any_threads_and_memory() {
    let bench = stars();
    partition(&bench, &format!("{DIRECTOR} -o plain")).ok();
    let plain = texts(&bench, "plain");
    assert!(plain.keys().any(|name| name.contains("overlap")));
    for (number, more) in [
        "",
        "--threads 1 --memory-limit 32MiB --finish exchange",
        "--threads 3 --finish append",
    ]
    .iter()
    .enumerate()
    {
        let out = format!("out{number}");
        partition(
            &bench,
            &format!("{DIRECTOR} -o {out} --sort note,dec {more}"),
        )
        .ok();
        let sorted = texts(&bench, &out);
        for (name, rows) in &plain {
            let mut expected = rows.clone();
            expected.sort_by(|a, b| {
                let notes = by_value(field(a, 3), field(b, 3));
                notes.then_with(|| by_value(field(a, 2), field(b, 2)))
            });
            assert!(sorted[name] == expected, "{name} {more}");
        }
        // The indexes stay as they are.
        let index = |folder: &str| fs::read(bench.path(folder).join("chunk_object_index.txt"));
        assert_eq!(index("plain").unwrap(), index(&out).unwrap());
        let done = partition(
            &bench,
            &format!("{DIRECTOR} -o {out} --sort note,dec --json"),
        )
        .ok();
        assert!(
            String::from_utf8(done.stdout)
                .unwrap()
                .contains("\"unchanged\": true")
        );
    }
    // Other columns are another table.
    partition(&bench, &format!("{DIRECTOR} -o out0 --sort dec")).failed(5, &["stands here"]);
    partition(&bench, &format!("{DIRECTOR} -o no --sort nope"))
        .failed(2, &["no column nope", "chunkId"]);
    assert!(files(&bench.path("no")).is_empty());
}

#[test]
fn some_chunks_of_a_sorted_table_are_made_again() {
    let bench = stars();
    let line = format!("{DIRECTOR} -o out --sort chunkId,subChunkId,id");
    partition(&bench, &line).ok();
    let whole = files(&bench.path("out"));
    let lost = whole.keys().find(|name| name.contains("overlap")).unwrap();
    let chunk = lost.split('_').nth(1).unwrap();
    fs::remove_file(bench.path("out").join(lost)).unwrap();
    partition(&bench, &format!("{line} --only-chunks {chunk}")).ok();
    assert!(files(&bench.path("out")) == whole);
}

#[test]
fn chunk_files_become_parquet_of_the_same_rows() {
    let bench = stars();
    let stars = repo("testdata/stars/stars");
    let line = format!(
        "{} --kind director --id star_id --ra ra_degrees --dec dec_degrees --charset utf8mb4",
        stars.display()
    );
    partition(&bench, &format!("{line} -o text --sort magnitude")).ok();
    let texts = texts(&bench, "text");
    for (number, more) in ["--threads 1", "--threads 2 --memory-limit 256MiB"]
        .iter()
        .enumerate()
    {
        let out = format!("parquet{number}");
        let line = format!("{line} -o {out} --to parquet --sort magnitude {more}");
        partition(&bench, &line).ok();
    }
    let all = files(&bench.path("parquet0"));
    assert!(all == files(&bench.path("parquet1")));
    let chunks: Vec<&String> = all
        .keys()
        .filter(|name| name.ends_with(".parquet"))
        .collect();
    assert_eq!(chunks.len(), texts.len());
    for name in chunks {
        let path = bench.path("parquet0").join(name);
        let file = fs::File::open(&path).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
        let schema = batches[0].schema();
        let of = |name: &str| schema.field_with_name(name).unwrap().data_type().clone();
        assert_eq!(
            [
                of("star_id"),
                of("ra_degrees"),
                of("chunkId"),
                of("subChunkId")
            ],
            [
                DataType::Int64,
                DataType::Float64,
                DataType::Int32,
                DataType::Int32
            ]
        );
        let expected = &texts[&name.replace(".parquet", ".txt")];
        let mut rows = 0;
        for batch in &batches {
            let at = |name: &str| batch.column_by_name(name).unwrap();
            let ids = at("star_id").as_primitive::<Int64Type>();
            let ra = at("ra_degrees").as_primitive::<Float64Type>();
            let chunks = at("chunkId").as_primitive::<Int32Type>();
            for row in 0..batch.num_rows() {
                let line = &expected[rows];
                let columns = schema.fields().iter();
                for (number, column) in columns.enumerate() {
                    let text = field(line, number);
                    match column.name().as_str() {
                        "star_id" => assert_eq!(text, ids.value(row).to_string()),
                        "ra_degrees" => assert_eq!(text.parse(), Ok(ra.value(row))),
                        "chunkId" => assert_eq!(text, chunks.value(row).to_string()),
                        _ => assert_eq!(text == "\\N", batch.column(number).is_null(row)),
                    }
                }
                rows += 1;
            }
        }
        assert_eq!(rows, expected.len());
    }
    // What takes text only says so.
    bench
        .run(words("stage parquet0 staged --database d"))
        .failed(2, &["Parquet"]);
    bench
        .run(words("merge parquet0 -o merged"))
        .failed(2, &["Parquet"]);
    bench
        .run(words("merge text -o merged"))
        .failed(2, &["sorted"]);
    for line in [
        format!("{line} -o x --to parquet --delimiter ,"),
        format!("{line} -o x --to parquet --charset latin1").replace("--charset utf8mb4", ""),
        "stars.txt --kind regular --fields id,ra,dec,note -o x --sort id".to_owned(),
    ] {
        let line = match line.contains("regular") {
            true => format!("partition {line}"),
            false => format!("partition {line} {SKY}"),
        };
        bench.run(words(&line)).failed(2, &["--"]);
        assert!(!bench.path("x").exists());
    }
}

#[test]
fn a_regular_table_becomes_one_parquet_file() {
    let bench = stars();
    bench
        .run(words(
            "partition stars.txt --kind regular --fields id,ra,dec,note -o out --to parquet --table T",
        ))
        .ok();
    let all = files(&bench.path("out"));
    assert_eq!(all.keys().collect::<Vec<_>>(), ["T.parquet"]);
    let text = bench
        .run(words("convert out/T.parquet -o - --charset utf8mb4"))
        .ok();
    assert!(text.stdout == fs::read(bench.path("stars.txt")).unwrap());
}

#[test]
fn a_killed_run_leaves_no_file_half_arranged() {
    let bench = stars();
    let line = format!("{DIRECTOR} -o out --sort dec --to parquet");
    partition(&bench, &line.replace("-o out", "-o whole")).ok();
    let whole = files(&bench.path("whole"));
    for milliseconds in (0..400).step_by(20) {
        let script = format!(
            "timeout -s KILL {} $SKYPREP partition {line} {SKY} -q; true",
            f64::from(milliseconds) / 1000.0 + 0.005
        );
        let script = script.replace("$SKYPREP", env!("CARGO_BIN_EXE_skyprep"));
        bench.shell(&script).ok();
        for (name, bytes) in files(&bench.path("out")) {
            assert!(whole.get(&name) == Some(&bytes), "{name}");
        }
    }
    partition(&bench, &line).ok();
    assert!(files(&bench.path("out")) == whole);
}

/// Writes t.json: id, ra and dec, and more columns.
fn schema(bench: &Bench, more: &[(&str, &str)]) {
    let begin = &[("id", "INT"), ("ra", "DOUBLE"), ("dec", "DOUBLE")];
    let columns = json_columns(&[begin, more].concat());
    bench.write("t.json", format!(r#"{{"schema": [{columns}]}}"#));
}

#[test]
fn dates_times_and_bits_are_sorted_by_their_values() {
    let bench = Bench::in_memory();
    schema(&bench, &[("at", "DATETIME"), ("span", "TIME")]);
    let rows = [
        (1, "2020-01-01T23:00:00", "9:00:00"),
        (2, "20210101000000", "-20:00:00"),
        (3, "2020-1-1 04:00:00", "100:00:00"),
        (4, "2020-01-01 05:00:00", "-10:00:00"),
        (5, "2020-01-01 04:00:00", "10:00:00"),
    ];
    let text = rows.map(|(id, at, span)| format!("{id}\t10.5\t15.5\t{at}\t{span}\n"));
    bench.write("v.txt", text.concat());
    let line = "v.txt --kind director --id id --ra ra --dec dec --schema t.json --no-overlap";
    for (column, expected) in [("at", "3 5 4 1 2"), ("span", "2 4 1 5 3")] {
        partition(&bench, &format!("{line} -o {column} --sort {column}")).ok();
        let all = texts(&bench, column);
        let (_, rows) = all.first_key_value().unwrap();
        let ids: Vec<&str> = rows.iter().map(|row| field(row, 0)).collect();
        assert_eq!(ids.join(" "), expected, "{column}");
    }
}

#[test]
fn what_can_not_be_arranged_is_refused_before_any_work() {
    let bench = stars();
    for more in ["", "--dry-run"] {
        let line = format!("{DIRECTOR} -o out --sort nope {more}");
        partition(&bench, &line).failed(2, &["no column nope to be sorted by"]);
    }
    bench
        .run(words(&format!("estimate {DIRECTOR} {SKY} --to parquet")))
        .failed(2, &["--to parquet"]);
    assert!(!bench.path("out").join("chunk_object_index.txt").exists());
    let flag: arrow::array::ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
    let batch = RecordBatch::try_from_iter([("flag", flag)]).unwrap();
    let file = fs::File::create(bench.path("flags.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bench.write(
        "t.json",
        r#"{"schema": [{"name": "flag", "type": "BOOL"}]}"#,
    );
    let line = "convert flags.parquet -o x.parquet --to parquet --schema t.json";
    bench
        .run(words(&format!("{line} --bool keep")))
        .failed(2, &["--bool keep", "column flag"]);
    bench.run(words(line)).ok();
}

#[test]
fn the_value_of_the_first_chunk_is_named_for_any_threads() {
    let bench = Bench::in_memory();
    schema(&bench, &[("d", "DATE")]);
    let good = |id: usize, dec: f64| format!("{id}\t10.5\t{dec}\t2020-01-01\n");
    let mut text: String = (0..300).map(|id| good(id, 10.5)).collect();
    text += "300\t10.5\t10.5\t2020-00-00\n301\t10.5\t55.5\t0000-00-00\n";
    bench.write("v.txt", text);
    let line =
        "v.txt --kind director --id id --ra ra --dec dec --schema t.json --no-overlap --to parquet";
    let said = |threads: usize| {
        let outcome = partition(&bench, &format!("{line} -o out --threads {threads}"));
        outcome.failed(1, &["2020-00-00", ".parquet, row 301, column d"]);
        assert!(!outcome.stderr.contains("arranged"), "{}", outcome.stderr);
        outcome.stderr
    };
    assert_eq!(said(1), said(3));
}

//! `partition --sort` and `--to parquet`: chunk files arranged when all their rows are there.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::harness::{Bench, Outcome, files, positions, repo, words};

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

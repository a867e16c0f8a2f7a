//! Bad rows are set aside up to a limit and listed, the same whatever threads and memory.

use std::fs;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use super::harness::{Bench, files, times, words};

const PARTITION: &str =
    "partition -o out --kind director --stripes 6 --sub-stripes 3 --overlap 0.01 --ra ra --dec dec";

/// A Parquet file with row groups of `group` rows.
fn parquet(columns: Vec<(&str, ArrayRef)>, group: usize) -> Vec<u8> {
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// Stars of which those at `bad` (from 0) have a declination of 95 degrees.
fn stars(rows: usize, bad: &[usize]) -> Vec<(&'static str, ArrayRef)> {
    let dec = |row| {
        if bad.contains(&row) {
            95.0
        } else {
            (row % 90) as f64
        }
    };
    let ra = (0..rows).map(|row| (row % 360) as f64);
    vec![
        ("id", Arc::new(Int64Array::from_iter_values(0..rows as i64))),
        ("ra", Arc::new(Float64Array::from_iter_values(ra))),
        (
            "dec",
            Arc::new(Float64Array::from_iter_values((0..rows).map(dec))),
        ),
    ]
}

/// The lines of a list of rejects, without the first.
fn listed(bench: &Bench, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(bench.path(name)).unwrap();
    let mut lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let head = lines.next().unwrap();
    assert_eq!(
        (&head["format"], &head["version"]),
        (&"skyprep-rejects".into(), &1.into())
    );
    lines.collect()
}

/// The entry of table number `table` in the report.
fn report(bench: &Bench, name: &str, table: usize) -> Value {
    let report: Value = serde_json::from_slice(&fs::read(bench.path(name)).unwrap()).unwrap();
    report["tables"][table].clone()
}

fn many_rows(rows: usize) {
    let bench = Bench::in_memory();
    let mut out = std::io::BufWriter::new(fs::File::create(bench.path("x.txt")).unwrap());
    let (first, second) = (rows / 2, rows / 2 + rows / 5);
    for row in 0..rows {
        match row {
            _ if row == first => writeln!(out, "{row}\tbad\t1"),
            _ if row == second => writeln!(out, "{row}\t1\t91"),
            _ => writeln!(out, "{row}\t{}\t{}", row % 360, row % 90),
        }
        .unwrap();
    }
    out.into_inner().unwrap();
    let partition = format!("{PARTITION} x.txt --fields id,ra,dec");
    let named = format!("x.txt, line {}, column ra: found \"bad\"", first + 1);
    for threads in [1, 2, 8] {
        let strict = bench.run(words(&format!("{partition} --threads {threads}")));
        strict.failed(1, &[&named]);
        assert!(
            !strict.stderr.contains("--max-rejects"),
            "{}",
            strict.stderr
        );
        let over = format!("{partition} --threads {threads} --max-rejects 1 --reject-file over");
        bench
            .run(words(&over))
            .failed(1, &[&named, "the 1 that --max-rejects allows"]);
        assert_eq!(listed(&bench, "over").len(), 2);
        assert!(files(&bench.path("out")).is_empty());
    }
    let mut made = Vec::new();
    for (threads, memory) in [(1, "1GiB"), (2, "32MiB"), (8, "32MiB"), (8, "1GiB")] {
        let options = format!(
            "--threads {threads} --memory-limit {memory} --max-rejects 10 --reject-file bad --report report"
        );
        let outcome = bench.run(words(&format!("{partition} {options}"))).ok();
        let said = "2 rows were rejected; listed in ";
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
        let table = report(&bench, "report", 0);
        assert_eq!(table["rows_in"], rows);
        assert_eq!(table["rejected"], 2);
        assert_eq!(table["rows_routed"], rows - 2);
        assert_eq!(table["rows_out"], rows - 2);
        made.push((
            fs::read(bench.path("bad")).unwrap(),
            files(&bench.path("out")),
        ));
        fs::remove_dir_all(bench.path("out")).unwrap();
    }
    assert!(made.iter().all(|other| *other == made[0]));
    let lines = listed(&bench, "bad");
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["table"], "table");
    assert_eq!(lines[0]["line"], first + 1);
    assert_eq!(lines[0]["value"], "\"bad\"");
    assert_eq!(lines[0]["reason"], "expected a position in degrees");
    assert_eq!(lines[1]["line"], second + 1);
    assert_eq!(lines[1]["column"], "dec");
    assert_eq!(lines[1]["value"], "91");
}

#[test]
fn rejects_of_a_large_text_do_not_depend_on_threads_and_memory() {
    many_rows(1_000_000);
}

#[test]
#[ignore = "takes a minute"]
fn rejects_of_a_very_large_text() {
    many_rows(5_000_000);
}

#[test]
fn row_groups_count_together_up_to_the_limit() {
    let bench = Bench::new();
    let bad = [1, 2, 7, 18, 19];
    bench.write("x.parquet", parquet(stars(20, &bad), 3));
    let partition = |options: &str| {
        bench.run(words(&format!(
            "{PARTITION} x.parquet --reject-file bad {options}"
        )))
    };
    for threads in [1, 4] {
        // One too many.
        let refused = partition(&format!("--max-rejects 4 --threads {threads}"));
        refused.failed(
            1,
            &["x.parquet, row group 0, row 2, column dec", "the 4 that"],
        );
        assert_eq!(listed(&bench, "bad").len(), 5);
        assert!(files(&bench.path("out")).is_empty());
        let refused = partition(&format!("--threads {threads}"));
        refused.failed(1, &["row 2, column dec: declination is 95, expected"]);
        assert_eq!(listed(&bench, "bad").len(), 1);
    }
    let made = partition("--max-rejects 5").ok();
    assert!(
        made.stderr.contains("5 rows were rejected"),
        "{}",
        made.stderr
    );
    let lines = listed(&bench, "bad");
    let rows: Vec<u64> = lines
        .iter()
        .map(|line| line["row"].as_u64().unwrap())
        .collect();
    assert_eq!(rows, [2, 3, 8, 19, 20]);
    assert_eq!(lines[2]["row_group"], 2);
    assert_eq!(lines[2]["value"], "95");
    assert_eq!(lines[2]["reason"], "expected -90 to 90 degrees");

    // Running again touches nothing and warns again; the limit counts all the same.
    let before = times(bench.root());
    let again = partition("--max-rejects 7").ok();
    assert!(
        again.stderr.contains("5 rows were rejected"),
        "{}",
        again.stderr
    );
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    partition("--max-rejects 4")
        .failed(1, &["5 rows were rejected when this was made", "allows 4"]);
    assert_eq!(times(bench.root()), before);
}

#[test]
fn what_is_changed_in_a_rejected_row_does_not_count() {
    let bench = Bench::new();
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]));
    let values: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN; 3]));
    let numbers: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 1.5, 1.5]));
    let columns = vec![("flag", flags), ("value", values), ("number", numbers)];
    bench.write("x.parquet", parquet(columns, 2));
    bench.write(
        "x.txt",
        "true\tnan\t1\nfalse\tnan\t1.5\n\\N\tnan\t1.5\ntrue\t1\n",
    );
    bench.write(
        "T.json",
        r#"{"schema": [{"name": "flag", "type": "TINYINT"}, {"name": "extra", "type": "INT"},
            {"name": "value", "type": "DOUBLE"}, {"name": "number", "type": "INT"}]}"#,
    );
    for (input, rejected) in [("x.parquet", 2), ("x.txt --fields flag,value,number", 3)] {
        let convert = format!(
            "convert {input} -o - --schema T.json --optional extra --max-rejects 9 --report report --reject-file bad"
        );
        let made = bench.run(words(&convert)).ok();
        assert_eq!(made.stdout, b"1\t\\N\t\\N\t1\n");
        let table = report(&bench, "report", 0);
        assert_eq!(table["rejected"], rejected);
        let once =
            serde_json::json!({"flag": {"bool": 1}, "extra": {"missing": 1}, "value": {"nan": 1}});
        assert_eq!(table["changes"], once);
        let lines = listed(&bench, "bad");
        assert_eq!(lines[0]["column"], "number");
        assert_eq!(lines[0]["reason"], "expected a whole number");
    }
    let short = &listed(&bench, "bad")[2];
    assert_eq!(short["line"], 4);
    assert_eq!(short["value"], r#""true\t1""#);
    assert_eq!(short["reason"], "found 2 fields, expected 3");
}

#[test]
fn broken_text_ends_the_run_whatever_is_allowed() {
    let bench = Bench::new();
    bench.write("x.csv", "1,2\n3\n4,\"5\n");
    let sanitize =
        "sanitize x.csv -o out.txt --in-dialect qserv-csv --reject-file bad --max-rejects";
    bench
        .run(words(&format!("{sanitize} 9")))
        .failed(1, &["line 3", "quote"]);
    assert_eq!(listed(&bench, "bad").len(), 1);
    bench
        .run(words(&format!("{sanitize} 0")))
        .failed(1, &["line 2", "found 1 fields"]);
    assert!(!bench.path("out.txt").exists());
}

#[test]
fn the_limit_counts_over_all_files_of_a_folder() {
    let bench = Bench::new();
    bench.write("T.json", r#"{"schema": [{"name": "n", "type": "INT"}]}"#);
    for (name, text) in [("a", "1\nx\n"), ("b", "1\n2\n"), ("c", "y\nz\n")] {
        bench.write(&format!("{name}.txt"), text);
    }
    let convert = |options: &str| {
        let line = "convert a.txt b.txt c.txt -o out/ --schema T.json --reject-file bad";
        bench.run(words(&format!("{line} {options}")))
    };
    let tables = || -> Vec<String> {
        let lines = listed(&bench, "bad");
        lines
            .iter()
            .map(|line| line["table"].as_str().unwrap().to_owned())
            .collect()
    };
    convert("--max-rejects 2").failed(1, &["a.txt, line 2", "the 2 that"]);
    assert_eq!(tables(), ["a.txt", "c.txt", "c.txt"]);
    assert_eq!(files(&bench.path("out")).len(), 2);
    // What stands already counts, and stays listed.
    convert("--max-rejects 2").failed(1, &["c.txt, line 1", "the 2 that"]);
    convert("--max-rejects 3").ok();
    assert_eq!(tables(), ["a.txt", "c.txt", "c.txt"]);
    let before = times(bench.root());
    let again = convert("--max-rejects 3").ok();
    assert!(
        again.stderr.contains("3 rows were rejected"),
        "{}",
        again.stderr
    );
    assert_eq!(times(bench.root()), before);
    // A list of an earlier run is not taken for this one's.
    for name in ["a", "b", "c"] {
        bench.write(&format!("{name}.txt"), "1\n");
    }
    convert("--force").ok();
    assert!(tables().is_empty());
}

#[test]
fn each_table_of_a_run_counts_what_it_refuses() {
    let bench = Bench::new();
    let small = bench.path("small.json");
    fs::write(&small, r#"{"schema": [{"name": "id", "type": "TINYINT"}]}"#).unwrap();
    bench.write("stars.parquet", parquet(stars(200, &[3, 150]), 64));
    bench.write(
        "p.toml",
        r#"
        [database]
        name = "db"
        stripes = 6
        sub_stripes = 3
        overlap = 0.01
        [product.stars]
        inputs = ["stars.parquet"]
        [table.Star]
        kind = "director"
        products = ["stars"]
        id = "id"
        ra = "ra"
        dec = "dec"
        [table.Small]
        kind = "regular"
        products = ["stars"]
        schema = "small.json"
        columns = ["id"]
        [stage]
        dest = "out"
        "#,
    );
    let run = |options: &str| bench.run(words(&format!("run p.toml {options}")));
    let many = "--max-rejects 100 --reject-file bad --report report";
    let mut lists = Vec::new();
    for limits in ["--threads 1 --memory-limit 32MiB", "--threads 8"] {
        run(&format!("{many} {limits}")).ok();
        lists.push(fs::read(bench.path("bad")).unwrap());
        for (number, name, rejected) in [(0, "Star", 2), (1, "Small", 72)] {
            let table = report(&bench, "report", number);
            assert_eq!(table["table"], name);
            assert_eq!(table["rejected"], rejected);
            assert_eq!(table["rows_out"], 200 - rejected);
        }
        let before = times(bench.root());
        run("--max-rejects 100").ok();
        assert_eq!(times(bench.root()), before);
        fs::remove_dir_all(bench.path("out")).unwrap();
    }
    assert_eq!(lists[0], lists[1]);
    let lines = listed(&bench, "bad");
    let rows: Vec<u64> = lines
        .iter()
        .map(|line| line["row"].as_u64().unwrap())
        .collect();
    assert!(rows.is_sorted());
    assert_eq!(lines.iter().filter(|line| line["row"] == 151).count(), 2);
    run("--max-rejects 73").failed(1, &["row 4, column dec", "the 73 that"]);
    assert!(files(&bench.path("out")).is_empty());
}

#[test]
fn options_come_from_the_configuration_too() {
    let bench = Bench::new();
    bench.write("x.txt", "1\n1\t2\n");
    bench.write(
        "c.toml",
        "[sanitize]\nmax_rejects = 1\nreject_file = \"bad\"\n",
    );
    let made = bench.run(words("sanitize x.txt -c c.toml")).ok();
    assert_eq!(made.stdout, b"1\n");
    assert_eq!(listed(&bench, "bad").len(), 1);
    bench
        .run(words("sanitize x.txt --reject-file x.txt"))
        .failed(2, &["over this input"]);
    bench
        .run(words("sanitize x.txt --reject-file y --report y"))
        .failed(2, &["two files at once"]);
    bench
        .run(words("sanitize x.txt --reject-file y -o y"))
        .failed(2, &["two files at once"]);
}

/// Makes the first page of row group `group` unreadable.
fn with_damaged_page(mut file: Vec<u8>, group: usize) -> Vec<u8> {
    let reader = SerializedFileReader::new(bytes::Bytes::from(file.clone())).unwrap();
    let start = reader.metadata().row_group(group).column(0).byte_range().0 as usize;
    let frame = file[start..]
        .windows(4)
        .position(|w| w == [0x28, 0xb5, 0x2f, 0xfd]);
    file[start + frame.unwrap()..][..4].fill(0xee);
    file
}

/// Good files, a truncated one, one with a damaged page; one is not there.
fn damaged(bench: &Bench) {
    let good = |bad: &[usize]| parquet(stars(3000, bad), 1000);
    bench.write("a.parquet", good(&[5]));
    let cut = good(&[]);
    bench.write("b.parquet", &cut[..cut.len() / 2]);
    bench.write("c.parquet", with_damaged_page(good(&[7, 8]), 1));
    bench.write("e.parquet", good(&[2500]));
}

const ALL: &str = "a.parquet b.parquet c.parquet d.parquet e.parquet";

fn is_listed(stderr: &str) {
    for said in [
        "passed over: b.parquet: ",
        "passed over: c.parquet: row group 1",
        "passed over: d.parquet: can't read",
        "error: 3 input files were passed over",
    ] {
        assert!(stderr.contains(said), "'{said}' is not in: {stderr}");
    }
    assert!(
        !stderr.contains("a.parquet:") && !stderr.contains("e.parquet:"),
        "{stderr}"
    );
}

#[test]
fn damaged_files_are_passed_over_as_a_whole() {
    let bench = Bench::new();
    damaged(&bench);
    let rejects = "--max-rejects 2 --reject-file bad";
    let good = PARTITION.replace("-o out", "-o good");
    bench
        .run(words(&format!("{good} a.parquet e.parquet {rejects}")))
        .ok();
    let lines = fs::read(bench.path("bad")).unwrap();
    let partition = format!("{PARTITION} {ALL} {rejects}");
    bench.run(words(&partition)).failed(3, &["d.parquet"]);
    for threads in [1, 2, 8] {
        let made = bench.run(words(&format!(
            "{partition} --keep-going --threads {threads} --report report"
        )));
        assert_eq!(made.code, 1, "{}", made.stderr);
        is_listed(&made.stderr);
        assert_eq!(files(&bench.path("out")), files(&bench.path("good")));
        assert_eq!(fs::read(bench.path("bad")).unwrap(), lines);
        let report: Value =
            serde_json::from_slice(&fs::read(bench.path("report")).unwrap()).unwrap();
        let passed_over = report["passed_over"].as_array().unwrap();
        let names: Vec<_> = passed_over.iter().map(|input| &input["file"]).collect();
        assert_eq!(names, ["b.parquet", "c.parquet", "d.parquet"]);
        assert_eq!(report["tables"][0]["rows_in"], 6000);

        let before = times(bench.root());
        let again = bench.run(words(&format!("{partition} --keep-going")));
        assert_eq!(again.code, 1);
        is_listed(&again.stderr);
        assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
        bench.run(words(&partition)).failed(3, &["d.parquet"]);
        assert_eq!(times(bench.root()), before);
        if threads < 8 {
            fs::remove_dir_all(bench.path("out")).unwrap();
        }
    }
    // A file that is put right makes another input.
    bench.write("d.parquet", parquet(stars(10, &[]), 10));
    let keep_going = format!("{partition} --keep-going");
    bench
        .run(words(&keep_going))
        .failed(5, &["other options or from other inputs"]);
    let forced = bench.run(words(&format!("{keep_going} --force")));
    forced.failed(1, &["2 input files were passed over"]);
    bench.run(words(&partition)).failed(
        1,
        &[
            "b.parquet: was passed over when the output was made",
            "--keep-going",
        ],
    );
}

#[test]
fn damaged_files_have_no_output_in_a_folder() {
    let bench = Bench::new();
    damaged(&bench);
    let convert = format!("convert {ALL} -o out/ --keep-going --threads 2");
    let made = bench.run(words(&convert));
    assert_eq!(made.code, 1, "{}", made.stderr);
    is_listed(&made.stderr);
    assert!(made.stderr.contains("2 of 5 files made"), "{}", made.stderr);
    let found = files(&bench.path("out"));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["a.txt", "e.txt"]);
    let before = times(bench.root());
    let again = bench.run(words(&convert));
    assert_eq!(again.code, 1, "{}", again.stderr);
    is_listed(&again.stderr);
    assert_eq!(times(bench.root()), before);
    bench.write("b.parquet", parquet(stars(3000, &[]), 1000));
    bench
        .run(words(&convert))
        .failed(5, &["b.txt stands here already"]);
    let forced = bench.run(words(&format!("{convert} --force")));
    forced.failed(1, &["1 of 5 files made", "2 input files were passed over"]);
    assert_eq!(files(&bench.path("out")).len(), 3);
}

#[test]
fn damaged_files_are_left_out_of_one_file() {
    let bench = Bench::new();
    damaged(&bench);
    bench
        .run(words("convert a.parquet e.parquet -o good.txt"))
        .ok();
    let made = bench.run(words(&format!("convert {ALL} -o out.txt --keep-going")));
    assert_eq!(made.code, 1, "{}", made.stderr);
    is_listed(&made.stderr);
    let read = |name: &str| fs::read(bench.path(name)).unwrap();
    assert_eq!(read("out.txt"), read("good.txt"));
    // What has left in a pipe can't be taken back.
    let piped = bench.run(words(&format!("convert {ALL} -o - --keep-going")));
    piped.failed(4, &["c.parquet, row group 1"]);
    let piped = bench.run(words(
        "convert a.parquet b.parquet d.parquet e.parquet -o - --keep-going",
    ));
    piped.failed(1, &["2 input files were passed over"]);
    assert_eq!(piped.stdout, read("good.txt"));
    let none = bench.run(words("convert b.parquet -o none.txt --keep-going"));
    none.failed(1, &["b.parquet", "no input is left"]);
    assert!(!bench.path("none.txt").exists());
}

#[test]
fn a_run_goes_on_without_damaged_files() {
    let bench = Bench::new();
    damaged(&bench);
    let names: Vec<String> = words(ALL).iter().map(|name| format!("{name:?}")).collect();
    let pipeline = format!(
        "[database]\nname = \"db\"\n[product.all]\ninputs = [{}]\n\
         [product.lost]\ninputs = [\"b.parquet\"]\n[stage]\ndest = \"out\"\n\
         [table.All]\nkind = \"regular\"\nproducts = [\"all\"]\n\
         [table.Lost]\nkind = \"regular\"\nproducts = [\"lost\"]\n",
        names.join(", ")
    );
    bench.write("p.toml", pipeline);
    bench
        .run(words("convert a.parquet e.parquet -o good.txt"))
        .ok();
    let made = bench.run(words("run p.toml --keep-going"));
    assert_eq!(made.code, 1, "{}", made.stderr);
    is_listed(&made.stderr);
    let read = |name: &str| fs::read(bench.path(name)).unwrap();
    assert_eq!(read("out/db/All/All.txt"), read("good.txt"));
    assert!(bench.path("out/db/manifest.jsonl").exists());
    let before = times(bench.root());
    let again = bench.run(words("run p.toml --keep-going"));
    assert_eq!(again.code, 1, "{}", again.stderr);
    is_listed(&again.stderr);
    assert_eq!(times(bench.root()), before);
    bench.run(words("run p.toml")).failed(3, &["d.parquet"]);

    // Where nothing is left, even that is remembered.
    let lost = PARTITION.replace("-o out", "-o lost");
    for _ in 0..2 {
        let none = bench.run(words(&format!("{lost} b.parquet --keep-going -q")));
        none.failed(1, &["passed over: b.parquet: "]);
    }
    assert!(files(&bench.path("lost")).is_empty());
    bench.run(words("stage lost site --database d")).ok();
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no crash points")]
fn a_kill_while_publishing_leaves_no_old_list() {
    let bench = Bench::new();
    bench.write("x.txt", "1\t2\n");
    bench.write(
        "r.jsonl",
        "{\"format\":\"skyprep-rejects\",\"version\":1}\n{\"table\":\"old\"}\n",
    );
    let command = "sanitize x.txt -o out/ --fields a,b --max-rejects 5 --reject-file r.jsonl";
    bench.shell(&format!(
        "SKYPREP_CRASH_AT=rename-after:1 skyprep {command}"
    ));
    bench.run(words(command)).ok();
    let list = std::fs::read_to_string(bench.path("r.jsonl")).unwrap();
    assert!(!list.contains("old"), "{list}");
}

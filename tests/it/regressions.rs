//! Faults that were found by reviews and trials, each with the command that showed it.

use std::fs;
use std::os::unix::fs::FileTypeExt;

use super::harness::{Bench, files, of_hex, words};

const PARTITION: &str = "partition --kind director --stripes 18 --sub-stripes 10 --overlap 0.01 \
                         --ra ra --dec dec --fields id,ra,dec";

#[test]
fn pipes_are_read_from_their_first_byte() {
    let bench = Bench::new();
    let text = "r1\tAAAAAAA\nr2\tBBBBBBB\nr3\tCCCCCCC\n";
    bench.write("x.txt", text);
    for script in [
        "skyprep sanitize <(cat x.txt)",
        "cat x.txt | skyprep sanitize /dev/stdin",
        "skyprep sanitize - < x.txt",
    ] {
        assert_eq!(
            String::from_utf8(bench.shell(script).ok().stdout).unwrap(),
            text,
            "{script}"
        );
    }
}

#[test]
fn pipes_and_links_are_not_replaced_by_files() {
    let bench = Bench::new();
    bench.write("x.txt", "1\t2\n");
    bench.write("real.txt", "old\n");
    let script = "mkfifo p && (cat p > got &) && skyprep convert x.txt -o p --force && sleep 0.2 && \
                  ln -s real.txt link && skyprep convert x.txt -o link --force";
    bench.shell(script).ok();
    assert!(
        fs::symlink_metadata(bench.path("p"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    assert!(
        fs::symlink_metadata(bench.path("link"))
            .unwrap()
            .file_type()
            .is_symlink()
    );
    for name in ["got", "real.txt"] {
        assert_eq!(fs::read(bench.path(name)).unwrap(), b"1\t2\n", "{name}");
    }
    bench.shell("skyprep convert x.txt -o /dev/null").ok();
}

#[test]
fn a_stderr_that_is_full_or_closed_changes_nothing() {
    let bench = Bench::new();
    bench.write("x.txt", "1\t2\n");
    bench
        .shell("skyprep convert x.txt -o a.txt 2>/dev/full")
        .ok();
    bench.shell("skyprep convert x.txt -o b.txt 2>&-").ok();
    assert_eq!(
        bench
            .shell("skyprep convert none.txt -o c.txt 2>/dev/full")
            .code,
        3
    );
    assert_eq!(fs::read(bench.path("b.txt")).unwrap(), b"1\t2\n");
}

#[test]
fn an_empty_first_text_says_nothing_about_columns() {
    let bench = Bench::new();
    bench.write("a.txt", "");
    bench.write("b.txt", "1\t2\n");
    bench.write("c.txt", "");
    assert_eq!(
        bench.run(words("sanitize a.txt b.txt c.txt")).ok().stdout,
        b"1\t2\n"
    );
    assert_eq!(bench.run(words("sanitize a.txt")).ok().stdout, b"");
}

#[test]
fn columns_that_only_later_inputs_have_are_not_lost() {
    let bench = Bench::new();
    bench.write("a.txt", "1\t2\n");
    bench.write("b.txt", "1\t2\t3\n");
    bench
        .run(words("sanitize a.txt b.txt"))
        .failed(2, &["b.txt", "field3"]);
    bench
        .run(words("sanitize b.txt a.txt"))
        .failed(2, &["a.txt", "field3"]);
}

#[test]
fn an_overlap_with_many_digits_is_the_same_the_second_time() {
    let bench = Bench::new();
    bench.write("x.txt", "1\t10\t20\n");
    let partition = PARTITION.replace("0.01", "0.012345678901234567");
    for said in ["bytes to read", "nothing to do"] {
        let outcome = bench.run(words(&format!("{partition} x.txt -o out"))).ok();
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    }
}

#[test]
fn one_folder_holds_one_partitioned_table() {
    let bench = Bench::new();
    bench.write("a.txt", "1\t10\t20\n");
    bench.write("b.txt", "1\t200\t-20\n");
    bench
        .run(words(&format!("{PARTITION} a.txt -o out --table A")))
        .ok();
    let other = format!("{PARTITION} b.txt -o out --table B");
    bench
        .run(words(&other))
        .failed(5, &["A stands here already"]);
    bench.run(words(&format!("{other} --force"))).ok();
    bench
        .run(words(&format!("{PARTITION} b.txt -o fresh --table B")))
        .ok();
    assert_eq!(files(&bench.path("out")), files(&bench.path("fresh")));
}

#[test]
fn a_failed_run_leaves_no_staged_files() {
    let bench = Bench::new();
    bench.write("x.txt", format!("{}bad\n", "1\t10\t20\n".repeat(200_000)));
    let args = format!("{PARTITION} x.txt -o out --memory-limit 32MiB");
    bench.run(words(&args)).failed(1, &["x.txt, line 200001"]);
    assert!(!bench.path("out/.skyprep/staging").exists());
}

#[test]
fn an_interrupted_source_is_not_staged() {
    let bench = Bench::new();
    bench.write("x.txt", "1\t10\t20\n");
    bench
        .run(words(&format!("{PARTITION} x.txt -o made --table T")))
        .ok();
    let record = std::fs::read_to_string(bench.path("made/.skyprep/record.jsonl")).unwrap();
    let done = "{\"done\":true}\n";
    bench.write(
        "made/.skyprep/record.jsonl",
        record.strip_suffix(done).unwrap(),
    );
    bench
        .run(words("stage made site --database d"))
        .failed(9, &["interrupted"]);
    bench
        .run(words(&format!("{PARTITION} x.txt -o made --table T")))
        .ok();
    bench.run(words("stage made site --database d")).ok();
}

#[test]
fn the_tools_own_folder_is_no_input() {
    let bench = Bench::new();
    bench.write("d/a.txt", "1\n");
    bench.write("d/.skyprep/staging/b.txt", "2\n");
    for input in ["d", "d/*"] {
        assert_eq!(
            bench.run(["convert", input, "-o", "-"]).ok().stdout,
            b"1\n",
            "{input}"
        );
    }
}

#[test]
fn damaged_zstd_is_a_corrupt_input() {
    let bench = Bench::new();
    let zipped = zstd::encode_all("some text\n".repeat(1000).as_bytes(), 1).unwrap();
    let mut damaged = zipped.clone();
    damaged[4..].fill(0xff);
    for bytes in [&zipped[..zipped.len() / 2], &damaged] {
        bench.write("x.txt.zst", bytes);
        bench
            .run(words("sanitize x.txt.zst"))
            .failed(4, &["x.txt.zst"]);
    }
}

#[test]
fn chunk_columns_are_known_in_any_case() {
    let bench = Bench::new();
    bench.write("x.txt", "1\t10\t20\n");
    bench.write(
        "T.json",
        r#"{"schema": [{"name": "id", "type": "INT"}, {"name": "ra", "type": "DOUBLE"},
            {"name": "dec", "type": "DOUBLE"}, {"name": "chunkid", "type": "INT"},
            {"name": "subchunkid", "type": "INT"}]}"#,
    );
    let partition = PARTITION.replace("--fields id,ra,dec", "--schema T.json");
    bench.run(words(&format!("{partition} x.txt -o out"))).ok();
    let found = files(&bench.path("out"));
    let row = String::from_utf8(found.values().next().unwrap().clone()).unwrap();
    assert_eq!(row.trim_end().split('\t').count(), 5, "{row}");
}

#[test]
fn names_of_tables_and_databases_lead_nowhere_else() {
    let bench = Bench::new();
    bench.write("x.txt", "1\t10\t20\n");
    bench
        .run(words(&format!("{PARTITION} x.txt -o made --table ../x")))
        .failed(2, &["table name"]);
    bench
        .run(words(&format!("{PARTITION} x.txt -o made --table T")))
        .ok();
    for name in ["", "../evil", "/evil", "a/b", "my stars"] {
        bench
            .run(["stage", "made", "site", "--database", name])
            .failed(2, &["is not a database name"]);
    }
    assert!(!bench.path("site").exists() && !bench.path("evil").exists());
}

#[test]
fn an_input_is_never_overwritten_or_mixed_with_the_output() {
    let bench = Bench::new();
    bench.write("d/x.txt", "1\t10\t20\n");
    bench
        .run(words("convert d/x.txt -o d/x.txt --force"))
        .failed(2, &["d/x.txt", "over this input"]);
    bench
        .run(words(&format!("{PARTITION} d -o d")))
        .failed(2, &["d/x.txt"]);
    bench
        .run(words(&format!("{PARTITION} d -o d/x.txt")))
        .failed(5, &["expected a folder"]);
    assert_eq!(files(bench.root()).len(), 1);
}

#[test]
fn a_header_is_written_into_each_file_of_a_folder() {
    let bench = Bench::new();
    bench.write("x.csv", "1,2\n");
    bench.write("y.csv", "3,4\n");
    let args = "convert x.csv y.csv -o out/ --in-dialect rfc4180 --fields a,b --header";
    bench.run(words(args)).ok();
    let found = files(&bench.path("out"));
    assert_eq!(found["x.txt"], b"a\tb\n1\t2\n");
    assert_eq!(found["y.txt"], b"a\tb\n3\t4\n");
}

#[test]
fn a_table_of_which_no_column_is_wanted_has_its_rows() {
    let bench = Bench::new();
    let column: arrow::array::ArrayRef =
        std::sync::Arc::new(arrow::array::Int64Array::from_iter_values(0..3));
    let batch = arrow::array::RecordBatch::try_from_iter([("a", column)]).unwrap();
    let mut bytes = Vec::new();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bench.write("x.parquet", bytes);
    let outcome = bench
        .run(words("convert x.parquet -o - --columns z --optional z"))
        .ok();
    assert_eq!(outcome.stdout, b"\\N\n\\N\n\\N\n");
}

#[test]
fn row_groups_without_rows_are_read() {
    let bench = Bench::new();
    // As pyarrow writes it: an empty row group, with dictionary pages only, between two others.
    bench.write("x.parquet", of_hex(include_str!("empty_group.hex")));
    let outcome = bench.run(words("convert x.parquet -o -")).ok();
    assert_eq!(outcome.stdout, b"1\ta\n2\tb\n1\ta\n2\tb\n");
    for command in [
        "convert x.parquet -o out/ --keep-going",
        "convert x.parquet -o y.txt",
    ] {
        bench.run(words(command)).ok();
    }
}

#[test]
fn constants_stand_in_rows_that_are_copied_as_well() {
    let bench = Bench::new();
    bench.write("x.txt", "1\t10.5\t-20.1\n");
    bench.write("x.csv", "1,10.5,-20.1\n");
    for (number, input) in ["x.txt", "x.csv --in-dialect qserv-csv"].iter().enumerate() {
        let line = format!("{PARTITION} {input} --constant survey=7 -o out{number}");
        bench.run(words(&line)).ok();
        let chunk = fs::read_to_string(bench.path(&format!("out{number}/chunk_216.txt")));
        assert_eq!(chunk.unwrap(), "1\t10.5\t-20.1\t7\t216\t513\n", "{input}");
    }
}

#[test]
fn names_that_are_no_text_are_refused_and_do_no_other_harm() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let bench = Bench::new();
    let odd = |name: &[u8]| bench.root().join(OsStr::from_bytes(name));
    bench.write("a.txt", "1\n");
    fs::write(odd(b"b\xff.dat"), "2\n").unwrap();
    for input in ["?.txt", "./*.txt", "."] {
        let written = bench.run(["sanitize", input]).ok().stdout;
        assert_eq!(written, b"1\n", "{input}");
    }
    fs::write(odd(b"b\xff.txt"), "2\n").unwrap();
    for input in ["*.txt", "."] {
        let told = ["b\\xff.txt", "is not UTF-8", "rename"];
        bench.run(["sanitize", input]).failed(2, &told);
    }
}

#[test]
fn options_that_would_do_nothing_are_refused() {
    let bench = Bench::new();
    bench.write("x.txt", "1\t10.5\t-20.1\n");
    bench.write("index.txt", "1\t216\t513\n");
    let plain = "partition x.txt --fields id,ra,dec -o out";
    for option in ["--wrap-ra", "--ra ra --dec dec", "--id id"] {
        let line = format!("{plain} --kind regular {option}");
        let told = [option.split(' ').next().unwrap(), "does nothing"];
        bench.run(words(&line)).failed(2, &told);
    }
    let child = "--kind child --id id --index index.txt --stripes 18 --sub-stripes 10";
    let line = format!("{plain} {child} --no-overlap --wrap-ra");
    bench
        .run(words(&line))
        .failed(2, &["--wrap-ra does nothing"]);
}

#[test]
fn booleans_that_a_decimal_column_has_no_room_for_overflow() {
    let bench = Bench::new();
    bench.write(
        "T.json",
        r#"{"schema": [{"name": "c", "type": "DECIMAL(3,3)"}]}"#,
    );
    bench.write("x.txt", "true\nfalse\n");
    let line = "sanitize x.txt --schema T.json";
    bench
        .run(words(line))
        .failed(1, &["line 1", "found true", "--overflow"]);
    let clamped = bench.run(words(&format!("{line} --overflow clamp"))).ok();
    assert_eq!(clamped.stdout, b"0.999\n0\n");
}

#[test]
fn numbers_beyond_all_integers_are_shown_as_they_are() {
    let bench = Bench::new();
    bench.write(
        "T.json",
        r#"{"schema": [{"name": "c", "type": "BIGINT NOT NULL"}]}"#,
    );
    for (value, expected) in [
        ("1e400", "found 1e400, expected"),
        ("-1e39", "found -1e39, expected"),
        ("\\N", "fill in what is lacking"),
        ("nan", "--nan zero"),
    ] {
        bench.write("x.txt", format!("{value}\n"));
        bench
            .run(words("sanitize x.txt --schema T.json"))
            .failed(1, &["x.txt, line 1", expected]);
    }
}

#[test]
fn what_is_not_checked_is_said() {
    let bench = Bench::new();
    let schema = r#"{"schema": [{"name": "a", "type": "YEAR"}, {"name": "b", "type": "INT"}]}"#;
    bench.write("T.json", schema);
    bench.write("x.txt", "3000\t1\n");
    let warned = bench.run(words("sanitize x.txt --schema T.json")).ok();
    assert!(warned.stderr.contains("a (YEAR)"), "{}", warned.stderr);
    bench
        .run(words("convert x.txt -o - --fields a,b --exclude a,b"))
        .failed(2, &["no column is left"]);
}

#[test]
fn a_run_that_fails_leaves_no_note_of_its_retention() {
    let bench = Bench::new();
    let pipeline = r#"
[database]
name = "d"
stripes = 18
sub_stripes = 10
overlap = 0.1

[product.x]
inputs = ["x.txt"]
fields = ["a"]

[table.A]
kind = "regular"
products = ["x"]

[stage]
dest = "out"
retain_until = "2199-01-31T12:00:00Z"
"#;
    bench.write("x.txt", "1\n");
    bench.write("prep.toml", pipeline);
    bench.run(words("run prep.toml")).ok();
    let more = "[table.B]\nkind = \"director\"\nproducts = [\"y\"]\nra = \"ra\"\ndec = \"dec\"\n\n[product.y]\n\
                inputs = [\"y.txt\"]\nfields = [\"ra\", \"dec\"]\n";
    bench.write("y.txt", "1\t95\n");
    bench.write("prep.toml", format!("{pipeline}\n{more}"));
    bench.run(words("run prep.toml")).failed(1, &["95"]);
    let state = std::fs::read_dir(bench.path("out/.skyprep")).unwrap();
    let notes = state.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with("retain-until")
    });
    assert_eq!(notes.count(), 0);
    // The next one keeps what was said, and without a word of its own too.
    bench.write("y.txt", "1\t5\n");
    let silent = format!("{pipeline}\n{more}").replace("retain_until", "#");
    bench.write("prep.toml", silent);
    bench.run(words("run prep.toml")).ok();
    let manifest = std::fs::read_to_string(bench.path("out/d/manifest.jsonl")).unwrap();
    assert!(manifest.contains("2199-01-31T12:00:00Z"), "{manifest}");
}

//! `merge`: many folders of chunk files become one.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::harness::{Bench, Outcome, files, positions, times, words};

const DIRECTOR: &str = "--kind director --stripes 18 --sub-stripes 10 --overlap 0.5 --ra ra --dec dec \
                        --id id --fields id,ra,dec --chunk-index --table T";

/// Three inputs whose rows share chunks, and keys of their own.
fn inputs() -> Bench {
    let bench = Bench::in_memory();
    let all = positions(3000, 7919);
    let mut lines: Vec<&str> = all.lines().collect();
    // Neighbours on the sky are to come from different inputs.
    lines.sort_by_key(|line| line.len() % 7);
    for (number, part) in lines.chunks(1000).enumerate() {
        bench.write(&format!("{number}.txt"), part.join("\n") + "\n");
    }
    bench
}

fn partition(bench: &Bench, inputs: &str, to: &str, more: &str) -> Outcome {
    bench.run(words(&format!(
        "partition {inputs} -o {to} {DIRECTOR} {more}"
    )))
}

fn three(bench: &Bench, more: &str) {
    for number in 0..3 {
        let to = format!("parts/{number:02}");
        partition(bench, &format!("{number}.txt"), &to, more).ok();
    }
}

/// The files under final names.
fn data(bench: &Bench, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let mut all = files(&bench.path(folder));
    all.retain(|name, _| !name.contains(".skyprep"));
    all
}

#[test]
fn merged_folders_are_what_one_run_makes() {
    let bench = inputs();
    for format in ["text", "parquet"] {
        let more = format!("--index-format {format}");
        let _ = fs::remove_dir_all(bench.path("parts"));
        three(&bench, &more);
        let whole = format!("whole-{format}");
        partition(&bench, "0.txt 1.txt 2.txt", &whole, &more).ok();
        let merged = format!("merged-{format}");
        let line = format!("merge parts/00 parts/01 parts/02 -o {merged} --json");
        let outcome = bench.run(words(&line)).ok();
        let (found, mut expected) = (data(&bench, &merged), data(&bench, &whole));
        assert!(expected.keys().any(|name| name.contains("overlap")));
        assert!(expected.contains_key("chunk_index.bin"));
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>()
        );
        // The row groups of an index of Parquet are those of the folders.
        let of_parquet = expected.remove("chunk_object_index.parquet");
        assert_eq!(of_parquet.is_some(), format == "parquet");
        for (name, bytes) in &expected {
            assert!(found[name] == *bytes, "{name} is another");
        }
        let report: Value = serde_json::from_slice(&outcome.stdout).unwrap();
        let table = &report["tables"][0];
        assert_eq!(table["rows_in"], 3000);
        assert_eq!(table["rows_out"], 3000);
        assert_eq!(table["rejected"], 0);
        assert_eq!(table["columns"][0], "id");
        let overlap: usize = expected
            .iter()
            .filter(|(name, _)| name.contains("_overlap"))
            .map(|(_, bytes)| bytes.iter().filter(|byte| **byte == b'\n').count())
            .sum();
        assert_eq!(table["overlap_rows"], overlap);
        // A child finds its directors by the merged index just as well.
        for folder in [&merged, &whole] {
            bench
                .run(words(&format!(
                    "partition 1.txt -o child-{folder} --kind child --stripes 18 --sub-stripes 10 \
                     --overlap 0.5 --id id --fields id,x,y --index {folder}"
                )))
                .ok();
        }
        let child = |folder: &str| data(&bench, &format!("child-{folder}"));
        assert!(child(&merged) == child(&whole));
    }
}

#[test]
fn the_order_of_the_folders_is_that_of_the_rows() {
    let bench = Bench::in_memory();
    for (number, row) in [(1, "1\t10.5\t20.5\n"), (2, "2\t10.5\t20.5\n")] {
        bench.write(&format!("{number}.txt"), row);
        partition(&bench, &format!("{number}.txt"), &format!("p/{number}"), "").ok();
    }
    for (line, first) in [("p/2 p/1", b'2'), ("p/1 p/2", b'1'), ("p", b'1')] {
        let out = format!("out-{}", line.replace(['/', ' '], ""));
        bench.run(words(&format!("merge {line} -o {out}"))).ok();
        let all = data(&bench, &out);
        let (_, bytes) = all
            .iter()
            .find(|(name, _)| name.ends_with("3.txt") || !name.contains("index"))
            .unwrap();
        assert_eq!(bytes[0], first, "{line}");
    }
}

#[test]
fn the_same_again_is_done_already_and_others_are_refused() {
    let bench = inputs();
    three(&bench, "");
    let line = "merge parts -o out";
    let foretold = bench.run(words(&format!("{line} --dry-run"))).ok();
    let foretold = String::from_utf8(foretold.stdout).unwrap();
    assert!(
        foretold.contains("3 folders") && foretold.contains("would be made"),
        "{foretold}"
    );
    assert!(!bench.path("out").exists());
    bench.run(words(line)).ok();
    let before = times(&bench.path("out"));
    let again = bench.run(words(line)).ok();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    assert_eq!(times(&bench.path("out")), before);
    bench
        .run(words("merge parts/00 parts/01 -o out"))
        .failed(5, &["other options", "--force"]);
    bench
        .run(words("merge parts/00 parts/01 -o out --dry-run"))
        .failed(5, &["other options"]);
    bench
        .run(words("merge parts/00 parts/01 -o out --force"))
        .ok();
    bench.run(words("merge parts/00 parts/01 -o two")).ok();
    assert!(data(&bench, "out") == data(&bench, "two"));
    // A file that went is made again.
    let name = data(&bench, "two").into_keys().next().unwrap();
    fs::remove_file(bench.path(&format!("two/{name}"))).unwrap();
    bench.run(words("merge parts/00 parts/01 -o two")).ok();
    assert!(data(&bench, "out") == data(&bench, "two"));
}

#[test]
fn folders_of_other_tools_are_merged_by_their_names() {
    let bench = inputs();
    three(&bench, "");
    bench.run(words("merge parts -o expected")).ok();
    bench
        .shell(
            "rm -r parts/*/.skyprep && mkdir parts/01/node_00003 && \
             mv parts/01/chunk_1*.txt parts/01/node_00003 && echo log > parts/01/out.log",
        )
        .ok();
    bench
        .run(words("merge parts -o out"))
        .failed(2, &["--table and --kind"]);
    let line = "merge parts/00 parts/01 parts/02 -o out --table T --kind director --stripes 18 \
                --sub-stripes 10 --overlap 0.5";
    bench.run(words(line)).ok();
    assert!(data(&bench, "out") == data(&bench, "expected"));
    // What is merged can be staged and drawn as what partition has made.
    bench.run(words("stage out site --database d")).ok();
    bench.run(words("sky out -o sky.svg")).ok();
    let svg = fs::read_to_string(bench.path("sky.svg")).unwrap();
    assert!(svg.contains("3,000 rows"), "{svg}");
    bench
        .run(words(
            &line
                .replace("--stripes 18", "--stripes 5")
                .replace("out", "odd"),
        ))
        .failed(2, &["no chunk has this number", "chunk_"]);
    bench.write("parts/01/chunk_1.txt.gz", "x");
    bench
        .run(words(&line.replace("out", "odd")))
        .failed(2, &["chunk_1.txt.gz", "is called like"]);
}

#[test]
fn tables_that_do_not_fit_are_refused() {
    let bench = inputs();
    three(&bench, "");
    let other = |name: &str, from: &str, to: &str| {
        let line = format!(
            "partition 0.txt -o other/{name} {}",
            DIRECTOR.replace(from, to)
        );
        bench.run(words(&line)).ok();
        format!("merge parts/01 other/{name} -o out")
    };
    for (name, from, to, said) in [
        (
            "stripes",
            "--stripes 18",
            "--stripes 9",
            "division of the sky",
        ),
        (
            "columns",
            "--table T",
            "--table T --constant x=1",
            "columns",
        ),
        (
            "dialect",
            "--table T",
            "--table T --dialect qserv-csv",
            "dialect",
        ),
        (
            "charset",
            "--table T",
            "--table T --charset utf8mb4",
            "encoding",
        ),
        ("overlap", "--table T", "--table T --no-overlap", "overlap"),
        ("name", "--table T", "--table U", "no table T, but U"),
    ] {
        bench
            .run(words(&other(name, from, to)))
            .failed(2, &[said, "other/"]);
    }
    bench
        .run(words("merge parts/00 parts/01 parts/00 -o out"))
        .failed(2, &["parts/00", "named twice"]);
    for (sources, out) in [
        ("parts/00", "parts/00"),
        ("parts", "parts/01/x"),
        ("parts", "."),
    ] {
        bench
            .run(words(&format!("merge {sources} -o {out}")))
            .failed(2, &["lie in each other"]);
    }
    bench
        .run(words("merge parts -o out --kind child"))
        .failed(2, &["kind", "director"]);
    bench
        .run(words("merge 0.txt -o out"))
        .failed(2, &["0.txt", "folder"]);
    bench.run(words("merge none -o out")).failed(3, &["none"]);
    fs::create_dir(bench.path("empty")).unwrap();
    bench
        .run(words("merge empty -o out"))
        .failed(3, &["no chunk file"]);
    fs::create_dir_all(bench.path("begun/.skyprep/staging")).unwrap();
    bench
        .run(words("merge begun parts/00 -o out"))
        .failed(3, &["begun", "has not ended"]);
    assert!(!bench.path("out").exists());
}

#[test]
fn damaged_files_are_refused_and_nothing_is_published() {
    let bench = inputs();
    three(&bench, "");
    let (name, bytes) = data(&bench, "parts/01")
        .into_iter()
        .find(|(name, _)| !name.contains("index"))
        .unwrap();
    let path = format!("parts/01/{name}");
    let mut other = bytes.clone();
    other[0] ^= 1;
    bench.write(&path, &other);
    bench
        .run(words("merge parts -o out"))
        .failed(9, &[name.as_str(), "XXH3"]);
    bench.write(&path, &bytes[1..]);
    bench
        .run(words("merge parts -o out"))
        .failed(9, &[name.as_str(), "bytes"]);
    fs::remove_file(bench.path(&path)).unwrap();
    bench
        .run(words("merge parts -o out"))
        .failed(3, &[name.as_str()]);
    assert!(data(&bench, "out").is_empty());
    // Where no record tells, the end of the file does.
    bench.shell("rm -r parts/*/.skyprep").ok();
    bench.write(&path, &bytes[..bytes.len() - 1]);
    bench
        .run(words("merge parts -o out --table T --kind director"))
        .failed(9, &[name.as_str(), "torn"]);
    bench.write(&path, &bytes);
    let mut index = fs::read(bench.path("parts/02/chunk_index.bin")).unwrap();
    index.pop();
    bench.write("parts/02/chunk_index.bin", index);
    bench
        .run(words("merge parts -o out --table T --kind director"))
        .failed(9, &["chunk_index.bin", "torn"]);
    assert!(data(&bench, "out").is_empty());
}

#[test]
fn a_key_in_two_folders_is_refused() {
    let bench = Bench::in_memory();
    for format in ["text", "parquet"] {
        for (name, rows) in [
            ("a", "1\t10.5\t20.5\n2\t12.5\t20.5\n3\t13.5\t20.5\n"),
            ("b", "4\t10.5\t20.5\n3\t12.5\t20.5\n1\t13.5\t20.5\n"),
        ] {
            bench.write(&format!("{name}.txt"), rows);
            let to = format!("{format}/{name}");
            let more = format!("--index-format {format}");
            partition(&bench, &format!("{name}.txt"), &to, &more).ok();
        }
        let outcome = bench.run(words(&format!("merge {format}/a {format}/b -o out")));
        outcome.failed(
            1,
            &[
                "key",
                "has already",
                &format!("{format}/b/chunk_object_index"),
            ],
        );
        assert!(data(&bench, "out").is_empty());
    }
}

#[test]
fn indexes_that_cannot_be_merged_are_left_out_with_a_warning() {
    let bench = inputs();
    three(&bench, "--index-format binary");
    let outcome = bench.run(words("merge parts -o out")).ok();
    assert!(
        outcome.stderr.contains("compact index"),
        "{}",
        outcome.stderr
    );
    assert!(!bench.path("out/chunk_object_index.bin").exists());
    assert!(bench.path("out/chunk_index.bin").exists());
    let line = format!("partition 0.txt -o more {DIRECTOR}");
    bench.run(words(&line.replace("--chunk-index", ""))).ok();
    partition(&bench, "1.txt", "most", "").ok();
    let outcome = bench.run(words("merge most more -o out2")).ok();
    assert!(
        outcome
            .stderr
            .contains("chunk_index.bin is left out: more has none"),
        "{}",
        outcome.stderr
    );
    assert!(bench.path("out2/chunk_object_index.txt").exists());
    assert!(!bench.path("out2/chunk_index.bin").exists());
}

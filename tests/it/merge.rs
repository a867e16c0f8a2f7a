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
             mv parts/01/chunk_1*.txt parts/01/node_00003 && mkdir parts/01/000 && \
             mv parts/01/chunk_2*.txt parts/01/000 && echo log > parts/01/out.log",
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
    bench.shell("cp -r parts/00 copy").ok();
    bench
        .run(words("merge parts/00 copy -o out"))
        .failed(2, &["copy", "same inputs"]);
    assert!(!bench.path("out").exists());
}

#[test]
fn nothing_is_left_out_or_comes_twice_in_silence() {
    let bench = inputs();
    three(&bench, "");
    // What no record knows.
    bench.write("parts/01/chunk_9.txt", "1\t2\t3\n");
    bench
        .run(words("merge parts -o out"))
        .failed(9, &["parts/01/chunk_9.txt", "does not know"]);
    fs::remove_file(bench.path("parts/01/chunk_9.txt")).unwrap();
    let by_name = "--table T --kind director -o out";
    bench
        .shell("cp -r parts plain && rm -r plain/*/.skyprep")
        .ok();
    // Links, nested folders, and the same by another name.
    bench.shell("ln -s 02 plain/latest").ok();
    bench
        .run(words(&format!("merge plain {by_name}")))
        .failed(2, &["plain/latest", "named twice"]);
    bench.shell("rm plain/latest && ln -s . plain/loop").ok();
    bench
        .run(words(&format!("merge plain {by_name}")))
        .failed(2, &["plain/loop", "named twice"]);
    bench.shell("rm plain/loop").ok();
    bench
        .run(words(&format!("merge plain plain/00 {by_name}")))
        .failed(2, &["plain/00", "named twice"]);
    bench.shell("mkdir parts/01/node_00001").ok();
    bench.write("parts/01/node_00001/chunk_3.txt", "1\t2\t3\n");
    bench
        .run(words("merge parts/01 parts/01/node_00001 -o out"))
        .failed(9, &["node_00001/chunk_3.txt"]);
    bench.shell("rm -r parts/01/node_00001").ok();
    // A name that is no text.
    bench.shell("mv plain/02 \"plain/$(printf '\\377')\"").ok();
    bench
        .run(words(&format!("merge plain {by_name}")))
        .failed(2, &["not UTF-8"]);
    bench
        .shell("mv plain/?[!0-9]* plain/02 2> /dev/null || mv plain/$(printf '\\377') plain/02")
        .ok();
    // An index that is cut off has not a key for each row.
    let index = "plain/01/chunk_object_index.txt";
    let text = fs::read_to_string(bench.path(index)).unwrap();
    let cut: String = text
        .lines()
        .take(10)
        .map(|line| format!("{line}\n"))
        .collect();
    bench.write(index, cut);
    bench
        .run(words(&format!("merge plain {by_name}")))
        .failed(9, &["keys, but their chunks 3000 rows"]);
    fs::remove_file(bench.path(index)).unwrap();
    let outcome = bench.run(words(&format!("merge plain {by_name}"))).ok();
    assert!(
        outcome
            .stderr
            .contains("chunk_object_index.txt is left out: plain/01 has none"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("has no record"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn sources_are_never_written() {
    let bench = inputs();
    three(&bench, "");
    let before = times(&bench.path("parts"));
    bench.shell("ln -s parts/00 link && ln -s parts all").ok();
    for out in ["link", "link/", "all", "parts/new", "all/new"] {
        bench
            .run(words(&format!("merge parts -o {out} --force")))
            .failed(2, &["lie in each other"]);
    }
    for option in ["--report", "--depfile"] {
        bench
            .run(words(&format!(
                "merge parts -o out {option} parts/01/x.json"
            )))
            .failed(2, &["parts/01/x.json", "lies in a folder"]);
    }
    bench.run(words("merge parts -o out")).ok();
    assert_eq!(times(&bench.path("parts")), before);
}

#[test]
fn what_other_commands_made_is_taken_for_what_it_is() {
    let bench = inputs();
    // Qserv's own tool has made a folder, and skyprep has appended to it.
    bench.write(
        "sph.json",
        r#"{"part": {"pos": "ra,dec", "id": "id", "chunk": "chunkId", "num-stripes": 18,
            "num-sub-stripes": 10, "overlap": 0.5},
            "in": {"csv": {"no-quote": true, "field": ["id", "ra", "dec"]}},
            "out": {"csv": {"no-quote": true}}}"#,
    );
    let sph = |input: &str, out: &str| {
        let line = format!("sph-partition -c sph.json -i {input} --out.dir={out}");
        bench.run(words(&line)).ok();
    };
    for number in 0..3 {
        sph(&format!("{number}.txt"), &format!("expected/{number}"));
    }
    bench
        .run(words("merge expected -o all --table Object"))
        .ok();
    bench
        .shell("cp -r expected/0 cpp && rm -r cpp/.skyprep")
        .ok();
    let kept: Vec<String> = data(&bench, "cpp").into_keys().collect();
    bench
        .shell("head -n 3 1.txt > few.txt && tail -n +4 1.txt > rest.txt")
        .ok();
    sph("few.txt", "cpp");
    sph("rest.txt", "more");
    assert!(kept.len() > 100);
    bench
        .run(words("merge cpp more expected/2 -o again --table Object"))
        .ok();
    let rows = |folder: &str| {
        let all = data(&bench, folder).into_iter();
        let mut rows: Vec<String> = all
            .filter(|(name, _)| name.ends_with(".txt"))
            .flat_map(|(name, bytes)| {
                let text = String::from_utf8(bytes).unwrap();
                text.lines()
                    .map(|line| format!("{name} {line}"))
                    .collect::<Vec<_>>()
            })
            .collect();
        rows.sort();
        rows
    };
    assert!(rows("all") == rows("again"));
    // A database's folder has several tables.
    bench.run(words("stage all site --database d")).ok();
    bench
        .run(words("merge site/d -o out --table Object --kind director"))
        .failed(2, &["folder of a database"]);
    // Without any row there is a table all the same.
    bench.write("none.txt", "");
    partition(&bench, "none.txt", "none/0", "").ok();
    let outcome = bench.run(words("merge none -o nothing --json")).ok();
    assert!(
        String::from_utf8(outcome.stdout)
            .unwrap()
            .contains("\"rows_in\": 0")
    );
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

#[test]
fn what_the_parts_lack_is_told_of_the_whole() {
    let bench = inputs();
    let good = fs::read_to_string(bench.path("0.txt")).unwrap();
    bench.write("0.txt", format!("x\t400\t1\n{good}"));
    partition(&bench, "0.txt", "parts/00", "--max-rejects 5").ok();
    partition(&bench, "1.txt", "parts/01", "").ok();
    let outcome = bench.run(words("merge parts -o merged --json")).ok();
    assert!(
        outcome
            .stderr
            .contains("rejected when the parts were made: 1")
    );
    let report: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let table = &report["tables"][0];
    let number = |name: &str| table[name].as_u64().unwrap();
    assert_eq!(
        (number("rows_in"), number("rows_out"), number("rejected")),
        (2001, 2000, 1)
    );

    partition(&bench, "2.txt missing.txt", "parts/02", "--keep-going").failed(1, &["missing.txt"]);
    let merge = "merge parts -o all";
    // The second time all is there, and lacks as much.
    for _ in 0..2 {
        bench
            .run(words(merge))
            .failed(1, &["missing.txt", "passed over"]);
    }
    assert!(
        data(&bench, "all")
            .keys()
            .any(|name| name.contains("chunk_"))
    );
}

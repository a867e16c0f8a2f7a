//! sph-partition and sph-partition-matches by their names: appending, what is said, what is left.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::golden::canonical;
use super::harness::{Bench, Outcome, files, positions, times, words};

const CONFIG: &str = r#"{
    "part": {"pos": "ra,dec", "id": "id", "chunk": "chunkId", "num-stripes": 18,
        "num-sub-stripes": 10, "overlap": 0.5},
    "in": {"csv": {"no-quote": true, "field": ["id", "ra", "dec"]}},
    "out": {"csv": {"no-quote": true}}
}"#;

const MATCHES: &str = r#"{
    "part": {"id1": "a", "id2": "b", "num-stripes": 18, "num-sub-stripes": 10},
    "in": {"csv": {"no-quote": true, "field": ["a", "b", "note"]}},
    "out": {"csv": {"no-quote": true}}
}"#;

/// A folder with a configuration and three inputs without common rows.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("sph.json", CONFIG);
    bench.write("matches.json", MATCHES);
    let all = positions(300, 7919);
    let lines: Vec<&str> = all.split_inclusive('\n').collect();
    for (name, lines) in ["x.txt", "y.txt", "z.txt"]
        .into_iter()
        .zip(lines.chunks(100))
    {
        bench.write(name, lines.concat());
    }
    bench
}

fn partition(bench: &Bench, rest: &str) -> Outcome {
    bench.run(words(&format!("sph-partition -c sph.json {rest}")))
}

fn appending_always(bench: &Bench, rest: &str) -> Outcome {
    let command = Command::new(env!("CARGO_BIN_EXE_skyprep"))
        .args(words(&format!("sph-partition -c sph.json {rest}")))
        .current_dir(bench.root())
        .env("SKYPREP_APPEND", "always")
        .stdin(Stdio::null())
        .output();
    command.unwrap().into()
}

/// The sets in the record of a folder.
fn record(bench: &Bench, folder: &str) -> Vec<Value> {
    let text = fs::read_to_string(bench.path(folder).join(".skyprep/record.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &Value| line["set"].is_object())
        .collect()
}

#[test]
fn runs_add_up_to_one() {
    let bench = bench();
    partition(&bench, "-i x.txt -i y.txt -i z.txt --out.dir=once").ok();
    for input in ["x", "y", "z"] {
        partition(&bench, &format!("-i {input}.txt --out.dir=out")).ok();
    }
    assert_eq!(
        canonical(&bench.path("out")),
        canonical(&bench.path("once"))
    );
    // Rows stay where they are; new ones come behind them.
    let index = |folder: &str| fs::read(bench.path(folder).join("chunk_object_index.txt"));
    assert_eq!(index("out").unwrap(), index("once").unwrap());

    let sets = record(&bench, "out");
    let set = &sets.last().unwrap()["set"];
    let inputs = set["inputs"].as_array().unwrap();
    let names: Vec<_> = inputs
        .iter()
        .map(|input| input["path"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["x.txt", "y.txt", "z.txt"].map(|name| bench
            .path(name)
            .canonicalize()
            .unwrap()
            .display()
            .to_string())
    );
    assert_eq!(set["report"]["rows_in"], 300);
    let found = files(&bench.path("out"));
    let listed = set["files"].as_array().unwrap();
    assert_eq!(listed.len(), found.len());
    for file in listed {
        let bytes = &found[file["path"].as_str().unwrap()];
        let digest = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes));
        assert_eq!(file["xxh3"], digest);
        let is_text = file["path"].as_str().unwrap().ends_with(".txt");
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        let rows = if is_text { lines } else { 0 };
        assert_eq!(file["rows"], rows, "{file}");
    }
}

#[test]
fn the_same_input_is_appended_once_unless_it_is_asked_for() {
    let bench = bench();
    partition(&bench, "-i x.txt --out.dir=out").ok();
    let before = times(&bench.path("out"));
    let refused = partition(&bench, "-i y.txt -i x.txt --out.dir=out");
    let said = "x.txt: the rows of this file are in out already";
    refused.failed(1, &[said, "SKYPREP_APPEND=always"]);
    assert_eq!(times(&bench.path("out")), before);

    appending_always(&bench, "-i x.txt --out.dir=out").ok();
    let (rows, _) = canonical(&bench.path("out"));
    partition(&bench, "-i x.txt --out.dir=once").ok();
    let (once, _) = canonical(&bench.path("once"));
    let twice: Vec<_> = once.iter().flat_map(|row| [row, row]).collect();
    assert_eq!(rows.iter().collect::<Vec<_>>(), twice);
    // Named twice in one command it is read twice, as the C++ tool does.
    partition(&bench, "-i x.txt -i x.txt --out.dir=both").ok();
    assert_eq!(canonical(&bench.path("both")).0, rows);

    // A file that has changed is another one.
    bench.write("x.txt", "1000\t10\t10\n");
    partition(&bench, "-i x.txt --out.dir=out").ok();
    assert_eq!(canonical(&bench.path("out")).0.len(), rows.len() + 5);
}

#[test]
fn files_of_the_tool_itself_are_appended_to() {
    let bench = bench();
    partition(&bench, "-i x.txt --out.dir=out").ok();
    fs::remove_dir_all(bench.path("out/.skyprep")).unwrap();
    let tools = files(&bench.path("out"));
    partition(&bench, "-i y.txt --out.dir=out").ok();
    partition(&bench, "-i x.txt -i y.txt --out.dir=once").ok();
    assert_eq!(
        canonical(&bench.path("out")),
        canonical(&bench.path("once"))
    );

    // A torn row would run into the next one.
    fs::remove_dir_all(bench.path("out")).unwrap();
    for (name, bytes) in &tools {
        let torn = usize::from(name == "chunk_object_index.txt");
        bench.write(&format!("out/{name}"), &bytes[..bytes.len() - torn]);
    }
    let before = files(&bench.path("out"));
    let refused = partition(&bench, "-i y.txt --out.dir=out");
    refused.failed(
        1,
        &["chunk_object_index.txt", "does not end with a line end"],
    );
    assert_eq!(files(&bench.path("out")), before);
}

#[test]
fn what_other_commands_made_is_not_appended_to() {
    let bench = bench();
    let own = "partition x.txt -o out --kind director --stripes 18 --sub-stripes 10 \
               --overlap 0.5 --ra ra --dec dec --id id --fields id,ra,dec";
    bench.run(words(own)).ok();
    let before = times(&bench.path("out"));
    let refused = partition(&bench, "-i y.txt --out.dir=out");
    refused.failed(
        1,
        &["out: skyprep has made this folder with another command"],
    );
    assert_eq!(times(&bench.path("out")), before);
    // Nor the other way round.
    partition(&bench, "-i x.txt --out.dir=tool").ok();
    let own = bench.run(words(&own.replace("-o out", "-o tool")));
    own.failed(5, &["stands here already"]);
}

#[test]
fn only_statistics_go_to_stdout() {
    let bench = bench();
    let quiet = partition(&bench, "-i x.txt --out.dir=out").ok();
    assert!(
        quiet.stdout.is_empty() && !quiet.stderr.contains("to read"),
        "{}",
        quiet.stderr
    );
    let told = partition(&bench, "-i y.txt --out.dir=out -v").ok();
    let json: Value = serde_json::from_slice(&told.stdout).unwrap();
    // Of this run, not of what stands there.
    assert_eq!(json["chunkStats"]["nrec"], 100);

    let dry = "-i z.txt --out.dir=dry --part.disable-chunks -v";
    let dry = partition(&bench, dry).ok();
    let json: Value = serde_json::from_slice(&dry.stdout).unwrap();
    assert_eq!(json["chunkStats"]["nrec"], 100);
    let names: Vec<_> = files(&bench.path("dry")).into_keys().collect();
    assert_eq!(names, ["chunk_object_index.txt"]);
}

#[test]
fn a_dry_run_without_keys_leaves_nothing_behind() {
    let bench = bench();
    bench.write("sph.json", CONFIG.replace(r#""id": "id", "#, ""));
    partition(&bench, "-i x.txt --out.dir=out --part.disable-chunks").ok();
    assert!(files(&bench.path("out")).is_empty());
    partition(&bench, "-i x.txt --out.dir=out").ok();
    assert!(!files(&bench.path("out")).is_empty());
}

#[test]
fn inputs_are_names_and_those_without_bytes_are_passed_over() {
    let bench = bench();
    bench.write("[x].txt", "1\t10\t10\n");
    bench.write("empty.txt", "");
    bench.write("folder/one.txt", "2\t11\t10\n");
    bench.write("folder/two.csv", "3\t12\t10\n");
    let made = "-i [x].txt -i empty.txt -i none.txt -i folder --out.dir=out";
    let made = partition(&bench, made).ok();
    for name in ["empty.txt", "none.txt"] {
        let said = format!("{name}: missing or empty; passed over");
        assert!(made.stderr.contains(&said), "{}", made.stderr);
    }
    let index = fs::read_to_string(bench.path("out/chunk_object_index.txt")).unwrap();
    let ids: Vec<_> = index
        .lines()
        .map(|line| line.split('\t').next().unwrap())
        .collect();
    assert_eq!(ids, ["1", "2", "3"]);
    partition(&bench, "-i none.txt --out.dir=out").failed(1, &["none.txt"]);
    partition(&bench, "-i out/chunk_object_index.txt --out.dir=out")
        .failed(1, &["over this input"]);
}

#[test]
fn a_bad_row_is_named_and_nothing_is_published() {
    let bench = bench();
    bench.write("bad.txt", "1\t10\t10\n2\t-3\t10\n");
    partition(&bench, "-i x.txt --out.dir=out").ok();
    let before = files(&bench.path("out"));
    let failed = partition(&bench, "-i y.txt -i bad.txt --out.dir=out");
    failed.failed(1, &["bad.txt, line 2, column ra: right ascension is -3"]);
    assert!(!failed.stderr.contains("hint"), "{}", failed.stderr);
    assert_eq!(files(&bench.path("out")), before);
    partition(&bench, "-i y.txt --out.dir=out").ok();
}

#[test]
fn unknown_keys_are_summed_up_or_end_the_run() {
    let bench = bench();
    partition(&bench, "-i x.txt --out.dir=first --part.disable-chunks").ok();
    partition(&bench, "-i y.txt --out.dir=second --part.disable-chunks").ok();
    bench.write(
        "m.txt",
        "1\t101\tboth\n2\t\\N\tleft\n3\t999\tleft\n888\t102\tright\n3\t777\tleft\n",
    );
    let root = bench.root().display();
    let call = |rest: &str| {
        let indexes = format!(
            "--part.id1-url=file://{root}/first/chunk_object_index.txt \
             --part.id2-url=file://{root}/second/chunk_object_index.txt"
        );
        bench.run(words(&format!(
            "sph-partition-matches -c matches.json -i m.txt {indexes} {rest}"
        )))
    };
    let made = call("--out.dir=out").ok();
    for said in [
        "column a: 1 row has keys that",
        "\"888\"",
        "column b: 2 rows have keys that",
        "\"777\", \"999\"",
    ] {
        assert!(
            made.stderr.contains(said),
            "'{said}' is not in: {}",
            made.stderr
        );
    }
    // Without part.chunk there is no column of chunks.
    let rows = canonical(&bench.path("out")).0;
    let mut flags: BTreeMap<String, usize> = BTreeMap::new();
    for row in &rows {
        let row = String::from_utf8(row.clone()).unwrap();
        let row = row.split_once('|').unwrap().1.to_owned();
        let fields: Vec<&str> = row.split('\t').collect();
        assert_eq!(fields.len(), 5, "{row}");
        *flags
            .entry(format!("{} {}", fields[2], fields[4]))
            .or_default() += 1;
    }
    assert_eq!(flags["left 1"], 3);
    assert_eq!(flags["right 2"], 1);
    let aborted = call("--out.dir=aborted --part.id2-missing-abort");
    aborted.failed(1, &["m.txt, line 3, column b", "999"]);
    assert!(files(&bench.path("aborted")).is_empty());
}

#[test]
fn own_mode_takes_the_files_and_keeps_its_own_rules() {
    let bench = bench();
    bench.write("x.txt", "1\t10\t10\tnan\n2\t20\t10\tinf\n");
    bench.write(
        "more.json",
        r#"{"in": {"csv": {"field": ["id", "ra", "dec", "mag"]}, "path": ["x.txt"]},
            "out": {"dir": "out", "csv": {"field": ["mag", "new", "id", "ra", "dec", "id"]}},
            "part": {"overlap": 0.0}}"#,
    );
    let own = "partition --sph-config sph.json --sph-config more.json --stats stats.json \
               --depfile deps.mk";
    bench.run(words(own)).ok();
    bench.run(words(own)).ok();
    let index = fs::read_to_string(bench.path("out/chunk_object_index.txt")).unwrap();
    assert_eq!(index.lines().count(), 2);
    let rows = canonical(&bench.path("out")).0;
    let rows: Vec<_> = rows
        .iter()
        .map(|row| String::from_utf8_lossy(row))
        .collect();
    assert!(rows[1].contains("|inf\t\\N\t2\t20\t10\t2\t"), "{rows:?}");
    let stats: Value =
        serde_json::from_slice(&fs::read(bench.path("stats.json")).unwrap()).unwrap();
    assert_eq!(stats["chunkStats"]["nrec"], 2);
    let deps = fs::read_to_string(bench.path("deps.mk")).unwrap();
    assert!(
        deps.contains("sph.json") && deps.contains("more.json") && deps.contains("x.txt"),
        "{deps}"
    );
    // The command line counts more, and values are sanitized where types are known.
    let infer =
        format!("{own} -o other --infer --assume-float double --prefix p --stats - --depfile d2");
    let told = bench
        .run(words(
            &infer.replace("--stats stats.json --depfile deps.mk", ""),
        ))
        .ok();
    let stats: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(stats["chunks"].as_array().unwrap().len(), 2);
    let rows = canonical(&bench.path("other")).0;
    let rows: Vec<_> = rows
        .iter()
        .map(|row| String::from_utf8_lossy(row))
        .collect();
    assert!(
        rows[0].starts_with("p_") && rows.iter().any(|row| row.contains("|\\N\t\\N\t1\t")),
        "{rows:?}"
    );
    // Nothing is appended, and keys may not occur twice.
    bench
        .run(words(&format!("{own} y.txt")))
        .failed(5, &["stands here already"]);
    bench.write("twice.txt", "1\t10\t10\t1\n1\t20\t10\t1\n");
    bench
        .run(words(&format!("{own} twice.txt -o twice")))
        .failed(1, &["twice.txt, line 2, column id"]);
    bench
        .run(words(
            &format!("{own} -o x --json --stats -").replace("--stats stats.json", ""),
        ))
        .failed(2, &["both print on stdout"]);
}

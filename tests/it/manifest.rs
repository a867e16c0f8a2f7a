//! `manifest`: exports that the tools read back, other bases, differences.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::harness::{Bench, files, words};
use super::manifest_formats::{Load, assert_same, file_list, filecache, manifest, metadata, urls};
use super::stars::star_bench;

const SIGNATURE: &str = "5ec3e75ec3e7";

/// A director in parts, a child and a regular table, in two dialects, below a folder with a blank.
fn staged() -> Bench {
    let bench = Bench::new();
    bench.write("one/chunk_7.txt", "1\t2\n");
    bench.write("one/chunk_7_overlap.txt", "3\t4\n5\t6\n");
    bench.write("one/chunk_9_overlap.txt", "3\t4\n");
    bench.write("two/chunk_7.txt", "7\t8\n");
    bench.write("two/chunk_8_overlap.txt", "7\t8\n");
    bench.write("child/chunk_7.txt", "\"1\",\"2\"\n");
    bench.write("flat/R.txt", "x\n");
    for (sources, dest, options) in [
        ("one two", "T site", "--table T --kind director"),
        (
            "child",
            "C site",
            "--table C --kind child --dialect qserv-csv",
        ),
        (
            "flat",
            "R site",
            "--table R --kind regular --charset utf8mb4",
        ),
    ] {
        let mut line = words(&format!("stage {sources}"));
        line.push(dest.into());
        line.extend(words(&format!("--database d {options}")));
        bench.run(line).ok();
    }
    bench
}

/// Writes a manifest of several lines; `{at}` stands for the folder of the bench.
fn write_manifest(bench: &Bench, name: &str, lines: &[Value]) {
    let mut text = format!(
        "{{\"format\":\"skyprep-manifest\",\"version\":1,\"skyprep\":\"0\",\"database\":\"d\",\
         \"partitioning\":{{\"stripes\":18,\"sub_stripes\":10,\"overlap\":0.01}},\
         \"contributions\":{}}}\n",
        lines.len()
    );
    for line in lines {
        text.push_str(&format!("{line}\n"));
    }
    bench.write(name, text);
}

fn line(table: &str, kind: &str, chunk: Option<i64>, url: &str) -> Value {
    let mut line = serde_json::json!({
        "database": "d",
        "table": table,
        "kind": kind,
        "overlap": url.contains("_overlap.txt"),
        "url": url,
        "bytes": 4,
        "rows": 1,
        "dialect": {
            "fields_terminated_by": "\t",
            "fields_enclosed_by": "",
            "fields_escaped_by": "\\",
            "lines_terminated_by": "\n",
        },
        "charset": "latin1",
    });
    if let Some(chunk) = chunk {
        line["chunk"] = chunk.into();
    }
    line
}

/// A director with a part in `000/`, a child and a regular table.
fn some_lines(base: &str) -> Vec<Value> {
    let of = |path: &str| format!("{base}/d/{path}");
    vec![
        line("C", "child", Some(7), &of("C/chunk_7.txt")),
        line("R", "regular", None, &of("R/R.txt")),
        line("T", "director", Some(7), &of("T/chunk_7.txt")),
        line("T", "director", Some(7), &of("T/chunk_7_overlap.txt")),
        line("T", "director", Some(9), &of("T/chunk_9_overlap.txt")),
        line("T", "director", Some(7), &of("T/000/chunk_7.txt")),
        line("T", "director", Some(8), &of("T/000/chunk_8_overlap.txt")),
    ]
}

fn text(bench: &Bench, name: &str) -> String {
    fs::read_to_string(bench.path(name)).unwrap()
}

fn only(loads: &[Load], table: &str) -> Vec<Load> {
    let own = loads.iter().filter(|load| load.0 == table);
    own.cloned().collect()
}

#[test]
fn the_stars_in_all_formats() {
    let bench = star_bench();
    bench.run(words("run stars/prep.toml")).ok();
    let local = "stars/out/stars/manifest.jsonl";
    let rebase = format!("manifest rebase {local} --to http://h:18080/data -o public.jsonl");
    bench.run(words(&rebase)).ok();
    let all = manifest(&bench.path("public.jsonl"));
    assert_eq!(all.len(), 1799);
    let root = bench.root().canonicalize().unwrap();
    let place = format!(
        "\"stored_at\":\"file://{}/stars/out/stars/Star/",
        root.display()
    );
    assert!(text(&bench, "public.jsonl").contains(&place));

    let lists = bench
        .run(words("manifest export public.jsonl --to urls -o lists"))
        .ok();
    assert!(
        lists
            .stderr
            .contains("Constellation: the list does not tell that the text is utf8mb4")
    );
    assert_eq!(files(&bench.path("lists")).len(), 6);
    for table in ["Star", "StarAstrometry", "StarPair", "StarPhotometry"] {
        let list = text(&bench, &format!("lists/{table}.urls"));
        assert!(
            list.lines()
                .all(|line| line.starts_with("http://h:18080/data/stars/"))
        );
        assert_same(&urls(table, &list), &only(&all, table));
    }
    let regular = text(&bench, "lists/Constellation.urls");
    assert_eq!(
        regular,
        "http://h:18080/data/stars/Constellation/Constellation.txt\n"
    );

    let partitioned = "--table Star --table StarAstrometry --table StarPair --table StarPhotometry";
    let cache = format!("manifest export public.jsonl --to filecache {partitioned}");
    let cache = bench.run(words(&cache)).ok();
    let chunks: Vec<Load> = all
        .iter()
        .filter(|load| load.1.is_some())
        .cloned()
        .collect();
    assert_same(
        &filecache(std::str::from_utf8(&cache.stdout).unwrap()),
        &chunks,
    );

    let meta = format!(
        "manifest export public.jsonl --to metadata -o meta --tables stars/tables {partitioned} \
         --table Designation --server http://h:18080/data"
    );
    bench.run(words(&meta)).ok();
    let found = metadata(&bench.path("meta"), "http://h:18080/data/");
    let expected: Vec<Load> = all
        .iter()
        .filter(|load| load.0 != "Constellation")
        .cloned()
        .collect();
    assert_same(&found.loads, &expected);
    let order = [
        "Star",
        "StarAstrometry",
        "StarPhotometry",
        "StarPair",
        "Designation",
    ];
    assert_eq!(found.tables, order);
    assert_eq!(found.charset, "latin1");
    assert_eq!(found.formats["txt"]["fields_terminated_by"], "\\t");
    assert_eq!(found.database["num_stripes"], 18);
    let golden = "{\n  \"database\": \"stars\",\n  \"num_stripes\": 18,\n  \
                  \"num_sub_stripes\": 10,\n  \"overlap\": 0.01667\n}\n";
    assert_eq!(text(&bench, "meta/db.json"), golden);
    bench
        .run(words(
            "manifest export public.jsonl --to metadata -o all --tables stars/tables",
        ))
        .failed(2, &["different character sets", "--table"]);
    assert!(!bench.path("all").exists());

    // The files of a list lie where the manifest's places are, though workers see other URLs.
    let mut answer = String::from("{\"success\":1,\"location\":[");
    for (number, load) in chunks.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let chunk = load.1.unwrap();
        answer.push_str(&format!(
            "{comma}{{\"chunk\":{chunk},\"host\":\"w{}\",\"port\":25002,\"http_port\":25004}}",
            chunk % 3
        ));
    }
    bench.write("chunks.json", answer + "]}");
    let export = format!(
        "manifest export public.jsonl --to file-list --locations chunks.json --transaction 7 \
         {partitioned} -o files.json"
    );
    bench.run(words(&export)).ok();
    let found = file_list(&text(&bench, "files.json"), None);
    let path_of = |url: &str| {
        let path = url.strip_prefix("http://h:18080/data").unwrap();
        format!("{}/stars/out{path}", root.display())
    };
    let expected: Vec<Load> = chunks
        .iter()
        .map(|(table, chunk, overlap, url)| (table.clone(), *chunk, *overlap, path_of(url)))
        .collect();
    let loads: Vec<Load> = found.iter().map(|(load, ..)| load.clone()).collect();
    assert_same(&loads, &expected);
    for ((_, chunk, ..), host, port) in &found {
        assert_eq!(
            (host.as_str(), *port),
            (format!("w{}", chunk.unwrap() % 3).as_str(), 25002)
        );
    }
    let short = "manifest export public.jsonl --to file-list --locations chunks.json -o short \
                 --table StarPair --table Star";
    bench.run(words(short)).ok();
    let found = file_list(
        &text(&bench, "short/StarPair.json"),
        Some(("StarPair", "P")),
    );
    assert_eq!(found.len(), only(&all, "StarPair").len());
}

#[test]
fn parts_of_chunks_and_overlap_only_chunks_are_told() {
    let bench = Bench::new();
    write_manifest(&bench, "m.jsonl", &some_lines("http://h/a%20b"));
    let all = manifest(&bench.path("m.jsonl"));
    bench
        .run(words("manifest export m.jsonl --to urls -o lists"))
        .ok();
    assert_same(&urls("T", &text(&bench, "lists/T.urls")), &only(&all, "T"));
    let export = "manifest export m.jsonl --to filecache --table T --table C -o cache.json";
    bench.run(words(export)).ok();
    let golden = "[\n{\"url\":\"http://h/a%20b/d/C/chunk_7.txt\",\"table\":\"C\"},\n";
    let cache = text(&bench, "cache.json");
    assert!(cache.starts_with(golden), "{cache}");
    assert_eq!(filecache(&cache).len(), 6);

    bench.write("t/T.json", TABLE);
    bench.write(
        "t/C.json",
        TABLE
            .replace("\"T\"", "\"C\"")
            .replace("\"director_table\": \"\"", "\"director_table\": \"T\""),
    );
    bench.write(
        "t/R.json",
        r#"{"database": "other", "table": "R", "is_partitioned": 0,
            "schema": [{"name": "x", "type": "INT"}]}"#,
    );
    let export = "manifest export m.jsonl --to metadata --tables t -o meta";
    bench.run(words(export)).ok();
    let found = metadata(&bench.path("meta"), "http://h/a%20b/d");
    assert_same(&found.loads, &all);
    assert_eq!(found.tables, ["T", "C", "R"]);
    let golden = r#"{
  "charset_name": "latin1",
  "database": "db.json",
  "formats": {
    "txt": {
      "fields_enclosed_by": "\\0",
      "fields_escaped_by": "\\\\",
      "fields_terminated_by": "\\t",
      "lines_terminated_by": "\\n"
    }
  },"#;
    let written = text(&bench, "meta/metadata.json");
    assert!(written.starts_with(golden), "{written}");
    bench.run(words(export)).failed(5, &["T.json", "exists"]);
    bench.run(words(&format!("{export} --force"))).ok();

    // A Felis file or a folder that lacks a table will not do.
    fs::remove_file(bench.path("t/C.json")).unwrap();
    bench
        .run(words(&format!("{export} --force")))
        .failed(3, &["no definition of table C"]);
}

const TABLE: &str = r#"{"database": "d", "table": "T", "is_partitioned": 1,
    "director_table": "", "director_key": "id", "longitude_key": "ra", "latitude_key": "dec",
    "schema": [{"name": "id", "type": "BIGINT"}, {"name": "ra", "type": "DOUBLE"},
        {"name": "dec", "type": "DOUBLE"}, {"name": "chunkId", "type": "INT"},
        {"name": "subChunkId", "type": "INT"}]}"#;

#[test]
fn what_a_format_can_not_say_is_refused() {
    let bench = Bench::new();
    bench.write("t/T.json", TABLE);
    let mut lines = some_lines("http://h");
    lines.retain(|line| line["table"] == "T");
    // The part in 000/ has no overlap file.
    lines.pop();
    write_manifest(&bench, "bare.jsonl", &lines);
    let metadata = "manifest export bare.jsonl --to metadata --tables t -o meta";
    bench.run(words(metadata)).failed(
        2,
        &["director T has no overlap file in 'T/000'"
            .replace("T/000", "000")
            .as_str()],
    );
    assert!(!bench.path("meta").exists());

    write_manifest(&bench, "m.jsonl", &some_lines("http://h"));
    for (line, said) in [
        ("m.jsonl --to filecache", "R is regular"),
        ("m.jsonl --to urls", "3 tables, and each has a list"),
        ("m.jsonl --to urls --table X", "has no table X"),
        ("m.jsonl --to metadata -o x", "--tables"),
        ("m.jsonl --to metadata --tables t", "name a folder"),
        (
            "m.jsonl --to urls --table T --server http://h",
            "--server is for --to metadata",
        ),
        ("m.jsonl --to file-list --table T", "is not a local file"),
        (
            "m.jsonl --to file-list --transaction 7 --table T",
            "--locations",
        ),
        (
            "m.jsonl --to metadata --tables t --table T --server http://other -o x",
            "does not begin with the server http://other/",
        ),
    ] {
        bench
            .run(words(&format!("manifest export {line}")))
            .failed(2, &[said]);
    }
    let stored = [line("T", "director", Some(7), "s3://b/d/T/chunk_7.txt")];
    write_manifest(&bench, "s3.jsonl", &stored);
    bench
        .run(words("manifest export s3.jsonl --to urls"))
        .failed(2, &["Qserv fetches file, http and https only", "presign"]);
    let named = [line("T", "director", Some(7), "http://h/d/T/part7.txt")];
    write_manifest(&bench, "named.jsonl", &named);
    bench
        .run(words("manifest export named.jsonl --to filecache"))
        .failed(2, &["the name does not tell the chunk", "--to urls"]);
    bench
        .run(words(
            "manifest export named.jsonl --to metadata --tables t -o x",
        ))
        .failed(2, &["expects this chunk in a file named chunk_7.txt"]);
    let list = bench
        .run(words("manifest export named.jsonl --to urls"))
        .ok();
    let golden = "{\"chunk\":7,\"overlap\":0,\"url\":\"http://h/d/T/part7.txt\"}\n";
    assert_eq!(list.stdout, golden.as_bytes());
}

#[test]
fn signed_urls_need_json_lines_and_are_never_told() {
    let bench = Bench::new();
    bench.write("t/T.json", TABLE);
    let signed = |mut line: Value| {
        let url = line["url"].as_str().unwrap().to_owned();
        line["url"] = format!("{url}?X-Amz-Signature={SIGNATURE}").into();
        line["stored_at"] = url.replace("https://h/", "s3://").into();
        line
    };
    let lines: Vec<Value> = some_lines("https://h/b").into_iter().map(signed).collect();
    write_manifest(&bench, "m.jsonl", &lines);
    let export = |line: &str| {
        let outcome = bench.run(words(&format!("-vv manifest export m.jsonl {line}")));
        assert!(!outcome.stderr.contains(SIGNATURE), "{}", outcome.stderr);
        outcome
    };
    export("--to urls -o lists").ok();
    let list = text(&bench, "lists/T.urls");
    assert!(list.lines().all(|line| line.starts_with('{')));
    assert_same(
        &urls("T", &list),
        &only(&manifest(&bench.path("m.jsonl")), "T"),
    );
    // Nothing is looked for in the URL of a regular table.
    assert!(text(&bench, "lists/R.urls").starts_with("https://h/b/d/R/R.txt?X-Amz-"));
    export("--to filecache --table T").failed(2, &["does not tell the chunk"]);
    export("--to metadata --tables t --table T -o x").failed(2, &["signed URL"]);
    export("--to file-list --table T").failed(2, &["not a local file"]);

    let rebased = bench
        .run(words(
            "-vv manifest rebase m.jsonl --from https://h/b --to http://m/ -o r.jsonl",
        ))
        .ok();
    assert!(!text(&bench, "r.jsonl").contains(SIGNATURE) && !rebased.stderr.contains(SIGNATURE));
    assert!(text(&bench, "r.jsonl").contains("\"stored_at\":\"s3://b/d/T/chunk_7.txt\""));
    let mut resigned = lines.clone();
    for line in &mut resigned {
        line["url"] = line["url"]
            .as_str()
            .unwrap()
            .replace(SIGNATURE, "0ther")
            .into();
    }
    write_manifest(&bench, "again.jsonl", &resigned);
    bench.run(words("manifest diff m.jsonl again.jsonl")).ok();
    let moved = bench.run(words("-vv manifest diff m.jsonl r.jsonl"));
    moved.failed(1, &["the manifests differ"]);
    let words = String::from_utf8(moved.stdout).unwrap();
    assert!(
        words.contains("T: 0 added, 0 removed, 0 changed, 5 moved, 0 the same"),
        "{words}"
    );
    assert!(!words.contains(SIGNATURE) && !moved.stderr.contains(SIGNATURE));
}

#[test]
fn what_was_staged_is_exported_and_found_again() {
    let bench = staged();
    for table in ["T", "C", "R"] {
        let path = bench.path(&format!("{table} site/d/manifest.jsonl"));
        let all = manifest(&path);
        let name = path.to_str().unwrap();
        let export = |to: &str| bench.run(["manifest", "export", name, "--to", to]).ok();
        let list = export("urls");
        let quoted = list.stderr.contains("fields_enclosed_by \"");
        assert_eq!(quoted, table == "C", "{}", list.stderr);
        assert_eq!(
            list.stderr.contains("utf8mb4"),
            table == "R",
            "{}",
            list.stderr
        );
        let list = String::from_utf8(list.stdout).unwrap();
        match table {
            // Scripts take file:// for JSON.
            "T" | "C" => assert_same(&urls(table, &list), &only(&all, table)),
            _ => assert_eq!(list, format!("{}\n", only(&all, table)[0].3)),
        }
        assert!(list.contains(&format!("{table}%20site")), "{list}");
        let output = export("file-list");
        assert!(output.stderr.contains("--locations"), "{}", output.stderr);
        let entries: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(entries.len(), only(&all, table).len());
        for entry in entries {
            let path = entry["path"].as_str().unwrap();
            assert!(
                path.contains(" site/d/") && Path::new(path).is_file(),
                "{path}"
            );
            assert!(entry.get("table").is_none() && entry.get("transaction-id").is_none());
        }
    }
}

#[test]
fn a_base_there_and_back_gives_the_same_bytes() {
    let bench = Bench::new();
    write_manifest(&bench, "m.jsonl", &some_lines("file:///data/a%20b"));
    let there = bench
        .run(words("manifest rebase m.jsonl --to https://h/x/"))
        .ok();
    let there = String::from_utf8(there.stdout).unwrap();
    assert!(
        there.contains("\"url\":\"https://h/x/d/T/000/chunk_7.txt\""),
        "{there}"
    );
    assert!(
        there
            .lines()
            .next()
            .unwrap()
            .contains("\"public_url\":\"https://h/x/\"")
    );
    let back = [
        "manifest",
        "rebase",
        "-",
        "--from",
        "https://h/x",
        "--to",
        "/data/a b",
    ];
    let back = bench.run_with_input(back, there.as_bytes()).ok();
    let again = [
        "manifest",
        "rebase",
        "m.jsonl",
        "--from",
        "file:///data/a%20b",
        "--to",
        "/data/a b",
    ];
    let again = bench.run(again).ok();
    assert_eq!(back.stdout, again.stdout);
    let piped = bench
        .run_with_input(["manifest", "diff", "m.jsonl", "-"], &back.stdout)
        .ok();
    let counts = String::from_utf8(piped.stdout).unwrap();
    assert!(
        counts.contains("T: 0 added, 0 removed, 0 changed, 0 moved, 5 the same"),
        "{counts}"
    );

    let moved = "manifest rebase m.jsonl --to https://h/x --moved -o moved.jsonl";
    bench.run(words(moved)).ok();
    assert!(!text(&bench, "moved.jsonl").contains("stored_at"));
    bench
        .run(words(moved))
        .failed(5, &["moved.jsonl", "exists"]);
    bench
        .run(words(
            "manifest rebase m.jsonl --from http://h --to http://g",
        ))
        .failed(
            2,
            &["file:///data/a%20b/d/C/chunk_7.txt does not begin with http://h/"],
        );
    bench
        .run(words("manifest rebase m.jsonl --to here"))
        .failed(2, &["absolute path"]);
}

#[test]
fn differences_of_two_generations() {
    let bench = Bench::new();
    let old = some_lines("http://h");
    let mut new = old.clone();
    new[2]["rows"] = 2.into();
    new.remove(4);
    new.push(line("T", "director", Some(10), "http://h/d/T/chunk_10.txt"));
    write_manifest(&bench, "old.jsonl", &old);
    write_manifest(&bench, "new.jsonl", &new);
    let diff = bench.run(words("manifest diff old.jsonl new.jsonl --json"));
    diff.failed(1, &["the manifests differ"]);
    let diff: Value = serde_json::from_slice(&diff.stdout).unwrap();
    assert_eq!(diff["format"], "skyprep-manifest-diff");
    let table = serde_json::json!({
        "table": "T", "added": 1, "removed": 1, "changed": 1, "moved": 0, "same": 3
    });
    assert_eq!(diff["tables"][2], table);
    assert_eq!(diff["changes"].as_array().unwrap().len(), 3);
    let same = bench
        .run(words("manifest diff old.jsonl old.jsonl --json"))
        .ok();
    let same: Value = serde_json::from_slice(&same.stdout).unwrap();
    assert_eq!(same["equal"], true);
}

#[test]
fn manifests_that_are_not_whole_are_refused() {
    let bench = Bench::new();
    write_manifest(&bench, "m.jsonl", &some_lines("http://h"));
    let whole = text(&bench, "m.jsonl");
    bench.write("torn.jsonl", &whole[..whole.len() - 9]);
    bench.write(
        "short.jsonl",
        whole.lines().take(4).collect::<Vec<_>>().join("\n") + "\n",
    );
    bench.write(
        "twice.jsonl",
        whole.replace("chunk_7_overlap", "chunk_9_overlap"),
    );
    bench.write("other.jsonl", "{\"a\": 1}\n");
    for (name, code, said) in [
        (
            "torn.jsonl",
            9,
            "torn.jsonl, line 8: the manifest ends in the middle",
        ),
        ("short.jsonl", 9, "ends after 3 contributions, expected 7"),
        (
            "twice.jsonl",
            9,
            "line 6: http://h/d/T/chunk_9_overlap.txt was listed before",
        ),
        ("other.jsonl", 4, "not a manifest's first line"),
        ("none.jsonl", 3, "can't read"),
        (
            "http://127.0.0.1:1/m.jsonl?sig=5ec --retries 0",
            7,
            "can't connect",
        ),
    ] {
        let outcome = bench.run(words(&format!(
            "manifest rebase {name} --to http://g -o out.jsonl"
        )));
        outcome.failed(code, &[said]);
        assert!(!outcome.stderr.contains("5ec"));
        assert!(!bench.path("out.jsonl").exists());
    }
    let piped = bench.run_with_input(words("manifest diff - -"), b"");
    piped.failed(2, &["only one"]);
}

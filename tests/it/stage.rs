//! Staging to a folder: checked, atomic, not twice.

use std::fs;

use super::harness::{Bench, files, times, words};
use super::stars::star_bench;

#[test]
fn a_partitioned_table_is_staged_with_its_manifest() {
    let bench = star_bench();
    let partition = "partition stars/stars -o made --schema stars/tables/Star.json --stripes 18 \
                     --sub-stripes 10 --overlap 0.01667";
    bench.run(words(partition)).ok();
    let staged = bench.run(words("stage made site --database stars")).ok();
    assert_eq!(staged.stdout, b"site/stars/manifest.jsonl\n");
    assert_eq!(
        files(&bench.path("site/stars/Star")),
        files(&bench.path("made"))
    );
    let manifest = fs::read_to_string(bench.path("site/stars/manifest.jsonl")).unwrap();
    assert_eq!(manifest.lines().count(), 1 + 368 + 347);
    assert!(
        manifest.lines().next().unwrap().contains("\"stripes\":18"),
        "{manifest}"
    );

    bench
        .run(words("stage site site --database stars"))
        .failed(2, &["lies in the destination"]);
    let before = times(&bench.path("site"));
    let again = bench.run(words("stage made site --database stars")).ok();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    assert_eq!(times(&bench.path("site")), before);
}

#[test]
fn a_file_that_changed_since_it_was_made_is_refused() {
    let bench = Bench::new();
    bench.write("x.txt", "1\t10\t20\n2\t200\t-20\n");
    let partition = "partition x.txt -o made --kind director --stripes 18 --sub-stripes 10 \
                     --overlap 0.01 --ra ra --dec dec --fields id,ra,dec --table T";
    bench.run(words(partition)).ok();
    let name = files(&bench.path("made")).into_keys().next().unwrap();
    let mut bytes = fs::read(bench.path("made").join(&name)).unwrap();
    bytes[0] = b'9';
    bench.write(&format!("made/{name}"), bytes);
    bench
        .run(words("stage made site --database d"))
        .failed(9, &[&name, "XXH3"]);
    assert!(files(&bench.path("site")).is_empty());
}

#[test]
fn plain_files_are_staged_by_their_names() {
    let bench = Bench::new();
    bench.write("one/chunk_7.txt", "1\t2\n");
    bench.write("one/chunk_7_overlap.txt", "3\t4\n5\t6\n");
    bench.write("two/chunk_7.txt", "7\t8\n");
    bench
        .run(words("stage one two site"))
        .failed(2, &["--database"]);
    bench
        .run(words(
            "stage one two site --database d --table T --kind director",
        ))
        .ok();
    let found = files(&bench.path("site/d"));
    assert_eq!(found["T/chunk_7.txt"], b"1\t2\n");
    assert_eq!(found["T/000/chunk_7.txt"], b"7\t8\n");
    let manifest = String::from_utf8(found["manifest.jsonl"].clone()).unwrap();
    assert!(
        manifest.contains("\"overlap\":true") && manifest.contains("\"rows\":2"),
        "{manifest}"
    );
}

#[test]
fn a_stage_that_fails_leaves_no_copies() {
    let bench = Bench::new();
    bench.write("one/chunk_7.txt", "1\t2\n");
    bench.write("one/chunk_8.txt", "3\t4\n");
    bench.write("site/d/T/chunk_8.txt", "mine");
    bench
        .run(words(
            "stage one site --database d --table T --kind director",
        ))
        .failed(5, &["chunk_8.txt", "exists"]);
    let state = fs::read_dir(bench.path("site/.skyprep")).unwrap();
    assert_eq!(state.count(), 0);
}

fn staged_until(bench: &Bench) -> Option<String> {
    let manifest = fs::read_to_string(bench.path("site/d/manifest.jsonl")).unwrap();
    let header: serde_json::Value = serde_json::from_str(manifest.lines().next().unwrap()).unwrap();
    header["retain_until"].as_str().map(str::to_owned)
}

#[test]
fn a_further_table_never_makes_the_retention_earlier() {
    let bench = Bench::new();
    for (folder, row) in [("a", "1\n"), ("b", "2\n"), ("c", "3\n")] {
        bench.write(&format!("{folder}/chunk_7.txt"), row);
    }
    let stage = |folder: &str, options: &str| {
        let table = folder.to_uppercase();
        bench
            .run(words(&format!(
                "stage {folder} site --database d --table {table} --kind child {options}"
            )))
            .ok()
    };
    stage("a", "--retain-until 2199-01-31T12:00:00Z");
    let until = Some("2199-01-31T12:00:00Z".to_owned());
    assert_eq!(staged_until(&bench), until);
    stage("b", "--retain-until 1d");
    assert_eq!(staged_until(&bench), until);
    stage("c", "");
    assert_eq!(staged_until(&bench), until);
    bench
        .run(words(
            "stage c other --database d --table C --kind child --retain-until 99999999999d",
        ))
        .failed(2, &["too long"]);
}

#[test]
fn what_was_released_is_named_no_more() {
    let bench = Bench::new();
    for (folder, row) in [("a", "1\n"), ("b", "2\n"), ("c", "3\n")] {
        bench.write(&format!("{folder}/chunk_7.txt"), row);
        bench.write(&format!("{folder}/chunk_8.txt"), row);
    }
    let stage = |folder: &str| {
        let table = folder.to_uppercase();
        bench.run(words(&format!(
            "stage {folder} site --database d --table {table} --kind child"
        )))
    };
    stage("a").ok();
    stage("b").ok();
    bench.run(words("release site/d/manifest.jsonl --yes")).ok();
    stage("c").ok();
    bench.run(words("verify site/d/manifest.jsonl")).ok();
    let manifest = fs::read_to_string(bench.path("site/d/manifest.jsonl")).unwrap();
    assert_eq!(manifest.lines().count(), 1 + 2, "{manifest}");
    stage("a").ok();
    bench.run(words("verify site/d/manifest.jsonl")).ok();
    // What went by itself is no release.
    fs::remove_file(bench.path("site/d/A/chunk_7.txt")).unwrap();
    stage("b").failed(9, &["1 of the 2 files of d.A are gone"]);
}

#[test]
fn sources_that_are_no_files_are_named() {
    let bench = Bench::new();
    bench.write("one/chunk_7.txt", "1\n");
    bench.write("folder/chunk_8.txt/x", "1\n");
    bench.write("folder/chunk_7.txt", "1\n");
    fs::create_dir(bench.path("link")).unwrap();
    std::os::unix::fs::symlink("/none", bench.path("link/chunk_7.txt")).unwrap();
    fs::create_dir(bench.path("loop")).unwrap();
    std::os::unix::fs::symlink(".", bench.path("loop/again")).unwrap();
    bench.write("loop/chunk_7.txt", "1\n");
    bench.shell("mkdir pipe && mkfifo pipe/chunk_7.txt").ok();
    for (source, code, expected) in [
        ("link", 3, "chunk_7.txt"),
        ("folder", 2, "chunk_8.txt"),
        ("pipe", 2, "chunk_7.txt"),
        ("loop", 3, "loop/again"),
        ("one one", 2, "named twice"),
        ("one ./one/chunk_7.txt", 2, "named twice"),
    ] {
        let line = format!("stage {source} site --database d --table T --kind child");
        bench.run(words(&line)).failed(code, &[expected]);
    }
    assert!(!bench.path("site").exists());
}

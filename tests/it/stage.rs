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

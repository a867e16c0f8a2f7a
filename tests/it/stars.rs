//! The pipeline of the README: `testdata/stars/prep.toml`, in a copy of its folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::harness::{Bench, files, repo, times, words};

/// A bench with a copy of `testdata/stars` in `stars`.
pub(crate) fn star_bench() -> Bench {
    let bench = Bench::new();
    copy(&repo("testdata/stars"), &bench.path("stars"));
    bench
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            // An earlier `run` in the work tree may have left its output there.
            true if path.ends_with("out") => {}
            true => copy(&path, &target),
            false => {
                fs::copy(&path, &target).unwrap();
            }
        }
    }
}

fn rows(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The numbers of each chunk in a file below `expected`.
fn expected(name: &str) -> BTreeMap<i32, Vec<u64>> {
    let path = repo("testdata/stars/expected").join(name);
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().skip(1);
    lines
        .map(|line| {
            let (chunk, numbers) = line.split_once(',').unwrap();
            let numbers = numbers.split(',').map(|n| n.parse().unwrap());
            (chunk.parse().unwrap(), numbers.collect())
        })
        .collect()
}

/// The rows of each chunk, and the overlap rows.
fn counts(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<i32, Vec<u64>> {
    let mut found: BTreeMap<i32, Vec<u64>> = BTreeMap::new();
    for (name, bytes) in files {
        let middle = name
            .strip_prefix("chunk_")
            .and_then(|n| n.strip_suffix(".txt"))
            .unwrap_or_else(|| panic!("unexpected file {name}"));
        let (chunk, kind) = match middle.strip_suffix("_overlap") {
            Some(chunk) => (chunk, 1),
            None => (middle, 0),
        };
        let numbers = found.entry(chunk.parse().unwrap());
        numbers.or_insert_with(|| vec![0; 2])[kind] = rows(bytes);
    }
    found
}

#[test]
fn counts_are_those_of_the_second_opinion() {
    let bench = star_bench();
    bench.run(words("run stars/prep.toml")).ok();
    let tables = |name: &str| files(&bench.path("stars/out/stars").join(name));
    let mut star = tables("Star");
    assert_eq!(
        rows(&star.remove("chunk_object_index.txt").unwrap()),
        20_000
    );
    assert_eq!(star.len(), 368 + 347);
    let found = counts(&star);
    assert_eq!(found, expected("star_chunks.csv"));
    assert_eq!(found.values().map(|n| n[1]).sum::<u64>(), 1_346);

    let own = |name: &str| -> BTreeMap<i32, u64> {
        let found = counts(&tables(name)).into_iter();
        found
            .map(|(chunk, numbers)| {
                assert_eq!(numbers[1], 0, "{name} has overlap rows in chunk {chunk}");
                (chunk, numbers[0])
            })
            .collect()
    };
    let first = |name: &str| -> BTreeMap<i32, u64> {
        expected(name)
            .into_iter()
            .map(|(chunk, n)| (chunk, n[0]))
            .collect()
    };
    assert_eq!(own("StarAstrometry"), first("star_chunks.csv"));
    let photometry = own("StarPhotometry");
    assert_eq!(photometry, first("photometry_chunks.csv"));
    assert_eq!(photometry.values().sum::<u64>(), 12_000);
    let pairs = own("StarPair");
    assert_eq!(pairs, first("pair_chunks.csv"));
    assert_eq!((pairs.len(), pairs.values().sum()), (346, 1_298));
    assert_eq!(rows(&tables("Designation")["Designation.txt"]), 3_994);
    assert_eq!(rows(&tables("Constellation")["Constellation.txt"]), 88);
}

/// The fields of all rows of a table's chunk files; overlap rows are left out.
fn fields(bench: &Bench, table: &str) -> Vec<Vec<String>> {
    let files = files(&bench.path("stars/out/stars").join(table));
    let is_own = |name: &str| !name.contains("overlap") && !name.contains("index");
    let chunks = files.into_iter().filter(|(name, _)| is_own(name));
    chunks
        .flat_map(|(_, bytes)| {
            let text = String::from_utf8(bytes).unwrap();
            let rows = text
                .lines()
                .map(|row| row.split('\t').map(str::to_owned).collect());
            rows.collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn measurements_and_pairs_lie_with_their_stars() {
    let bench = star_bench();
    bench.run(words("run stars/prep.toml")).ok();
    let place = |row: &[String], at: usize| (row[at].clone(), row[at + 1].clone());
    let stars = fields(&bench, "Star");
    let homes: BTreeMap<_, _> = stars.iter().map(|row| (&row[0], place(row, 13))).collect();
    let mut points = BTreeMap::new();
    for row in fields(&bench, "StarPhotometry") {
        assert_eq!(homes[&row[1]], place(&row, 6), "{row:?}");
        *points.entry(row[1].clone()).or_insert(0) += 1;
    }
    assert_eq!(points.len(), 4_000);
    assert!(points.values().all(|number| *number == 3));
    let mut has_two_sub_chunks = false;
    for row in fields(&bench, "StarPair") {
        let (brighter, fainter) = (&homes[&row[0]], &homes[&row[1]]);
        assert_eq!(*brighter, place(&row, 3), "{row:?}");
        assert_eq!(brighter.0, fainter.0, "{row:?}");
        assert_eq!(row[5], "3", "{row:?}");
        has_two_sub_chunks |= brighter.1 != fainter.1;
    }
    assert!(has_two_sub_chunks, "the test sees no border");
}

#[test]
fn the_manifest_is_true_of_every_file() {
    let bench = star_bench();
    bench.run(words("run stars/prep.toml")).ok();
    let root = fs::canonicalize(bench.path("stars/out")).unwrap();
    let text = fs::read_to_string(root.join("stars/manifest.jsonl")).unwrap();
    let mut lines = text
        .lines()
        .map(|line| -> serde_json::Value { serde_json::from_str(line).unwrap() });
    let header = lines.next().unwrap();
    assert_eq!(header["format"], "skyprep-manifest");
    assert_eq!(header["contributions"], 368 + 347 + 368 + 368 + 346 + 2);
    let mut seen = 0;
    for line in lines {
        let path = line["url"]
            .as_str()
            .unwrap()
            .strip_prefix("file://")
            .unwrap();
        let bytes = fs::read(path).unwrap();
        assert_eq!(line["bytes"], bytes.len());
        assert_eq!(line["rows"], rows(&bytes));
        let digest: String = Sha256::digest(&bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(line["sha256"], digest);
        seen += 1;
    }
    assert_eq!(seen, 1799);
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(root.join("stars/report.json")).unwrap()).unwrap();
    assert_eq!(report["tables"][0]["rows_in"], 20_000);
    assert_eq!(report["tables"][0]["overlap_rows"], 1_346);
    for table in report["tables"].as_array().unwrap() {
        let second = table["second_rows"].as_u64().unwrap_or(0);
        assert_eq!(second, 0, "{table}");
        assert_eq!(table["rows_in"], table["rows_out"], "{table}");
    }
}

#[test]
fn a_second_run_touches_nothing() {
    let bench = star_bench();
    bench.run(words("run stars/prep.toml")).ok();
    let before = times(&bench.path("stars/out"));
    let second = bench.run(words("run stars/prep.toml")).ok();
    assert!(second.stderr.contains("nothing to do"), "{}", second.stderr);
    assert_eq!(times(&bench.path("stars/out")), before);
}

type Times = BTreeMap<PathBuf, (i64, i64, i64, i64)>;

/// The tables' folders, each with the times of what is in it.
fn times_of_tables(bench: &Bench) -> BTreeMap<&'static str, Times> {
    let folder = bench.path("stars/out/stars");
    let tables = TABLES.iter();
    tables
        .map(|table| (*table, times(&folder.join(table))))
        .collect()
}

pub(crate) const TABLES: [&str; 6] = [
    "Star",
    "StarAstrometry",
    "StarPhotometry",
    "StarPair",
    "Designation",
    "Constellation",
];

#[test]
fn another_star_file_makes_the_tables_by_key_anew() {
    let bench = star_bench();
    bench.run(words("run stars/prep.toml")).ok();
    let before = tables_of(&bench);
    let old = times_of_tables(&bench);

    // The last 833 stars go: none of them was measured, but some are in pairs.
    fs::remove_file(bench.path("stars/stars/part-23.parquet")).unwrap();
    bench
        .run(words("run stars/prep.toml"))
        .failed(5, &["--force"]);
    assert_eq!(times_of_tables(&bench), old);
    let outcome = bench.run(words("run stars/prep.toml --force"));
    outcome.failed(1, &["pairs.parquet", "star_id2", "chunk_object_index.txt"]);
    let now = tables_of(&bench);
    assert_eq!(rows(&now["Star/chunk_object_index.txt"]), 20_000 - 833);
    assert!(!bench.path("stars/out/stars/manifest.jsonl").exists());

    let middle = times_of_tables(&bench);
    // All back, in another order of files: the stars of a chunk change places, and all that looks
    // them up is made anew, though nothing else has changed for it.
    let original = repo("testdata/stars/stars/part-23.parquet");
    fs::copy(original, bench.path("stars/stars/part-0.parquet")).unwrap();
    bench.run(words("run stars/prep.toml --force")).ok();
    let now = tables_of(&bench);
    assert_ne!(
        now["Star/chunk_object_index.txt"],
        before["Star/chunk_object_index.txt"]
    );
    let new = times_of_tables(&bench);
    for table in TABLES {
        let is_same = new[table] == middle[table];
        assert_eq!(
            is_same,
            ["Designation", "Constellation"].contains(&table),
            "{table}"
        );
        let of_table = |all: &BTreeMap<String, Vec<u8>>| -> BTreeMap<_, _> {
            let prefix = format!("{table}/");
            let own = all.iter().filter(|(name, _)| name.starts_with(&prefix));
            own.map(|(name, bytes)| (name.clone(), bytes.clone()))
                .collect()
        };
        if ["StarPhotometry", "StarPair"].contains(&table) {
            assert!(of_table(&now) == of_table(&before), "{table}");
        }
    }
}

#[test]
fn a_failed_director_stops_the_tables_by_key() {
    let bench = star_bench();
    bench.write("stars/stars/part-07.parquet", "PAR1, and torn");
    let outcome = bench.run(words("run stars/prep.toml"));
    assert_ne!(outcome.code, 0);
    let said = "was not made, because its director Star failed";
    for table in ["StarPhotometry", "StarPair"] {
        let line = format!("{table} {said}");
        assert!(outcome.stderr.contains(&line), "{}", outcome.stderr);
    }
    assert!(
        outcome.stderr.contains("part-07.parquet"),
        "{}",
        outcome.stderr
    );
    // What does not depend on the stars stands.
    let made = files(&bench.path("stars/out/stars"));
    let names: Vec<&String> = made.keys().collect();
    assert_eq!(
        names,
        [
            "Constellation/Constellation.txt",
            "Designation/Designation.txt"
        ]
    );

    fs::copy(
        repo("testdata/stars/stars/part-07.parquet"),
        bench.path("stars/stars/part-07.parquet"),
    )
    .unwrap();
    bench.run(words("run stars/prep.toml")).ok();
    assert_eq!(tables_of(&bench).len(), 1 + 1_799);
}

#[test]
fn bytes_do_not_depend_on_threads_or_memory() {
    let reference = star_bench();
    reference.run(words("run stars/prep.toml --threads 1")).ok();
    let expected = tables_of(&reference);
    for options in [
        "--threads 2",
        "--threads 7",
        "--threads 3 --memory-limit 40MiB",
    ] {
        let bench = star_bench();
        bench
            .run(words(&format!("run stars/prep.toml {options}")))
            .ok();
        assert_eq!(tables_of(&bench), expected, "{options}");
    }
}

/// All files but manifest and report, which name places and times.
fn tables_of(bench: &Bench) -> BTreeMap<String, Vec<u8>> {
    let mut found = files(&bench.path("stars/out/stars"));
    for name in ["manifest.jsonl", "report.json"] {
        found.remove(name);
    }
    found
}

#[test]
fn single_steps_in_a_pipe_give_the_same_chunks() {
    let bench = star_bench();
    bench.run(words("run stars/prep.toml")).ok();
    let own = "star_id,tyc_id,hip,ccdm,magnitude,bv,ra_degrees,dec_degrees,ra_mas_per_year,\
               dec_mas_per_year,parallax_mas,constellation,epoch_year";
    let converted = bench
        .run(words(&format!("convert stars/stars -o - --columns {own}")))
        .ok()
        .stdout;
    let sanitized = bench
        .run_with_input(words("sanitize - -o -"), &converted)
        .ok()
        .stdout;
    assert_eq!(sanitized.len(), converted.len());
    let partition = format!(
        "partition - -o piped --kind director --stripes 18 --sub-stripes 10 --overlap 0.01667 \
         --ra ra_degrees --dec dec_degrees --id star_id --fields {own}"
    );
    bench.run_with_input(words(&partition), &sanitized).ok();
    assert_eq!(
        files(&bench.path("piped")),
        files(&bench.path("stars/out/stars/Star"))
    );

    // One schema for every step: the chunk columns come when the rows are partitioned.
    let schema = "--schema stars/tables/Star.json";
    let typed = bench
        .run(words(&format!("convert stars/stars -o - {schema}")))
        .ok()
        .stdout;
    assert!(typed == converted);
    let typed = bench
        .run_with_input(words(&format!("sanitize {schema}")), &typed)
        .ok()
        .stdout;
    assert!(typed == converted);

    let by_schema = "partition - -o typed --schema stars/tables/Star.json --stripes 18 --sub-stripes 10 \
         --overlap 0.01667";
    bench.run_with_input(words(by_schema), &typed).ok();
    assert_eq!(
        files(&bench.path("typed")),
        files(&bench.path("stars/out/stars/Star"))
    );
}

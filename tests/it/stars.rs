//! The pipeline of the README: `testdata/stars/prep.toml`, in a copy of its folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

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

#[test]
fn counts_are_those_of_the_second_opinion() {
    let bench = star_bench();
    bench.run(words("run stars/prep.toml")).ok();
    let star = files(&bench.path("stars/out/stars/Star"));
    let mut found: BTreeMap<i32, (u64, u64)> = BTreeMap::new();
    for (name, bytes) in &star {
        let Some(middle) = name
            .strip_prefix("chunk_")
            .and_then(|n| n.strip_suffix(".txt"))
        else {
            panic!("unexpected file {name}");
        };
        match middle.strip_suffix("_overlap") {
            _ if middle == "object_index" => assert_eq!(rows(bytes), 20_000),
            Some(chunk) => found.entry(chunk.parse().unwrap()).or_default().1 = rows(bytes),
            None => found.entry(middle.parse().unwrap()).or_default().0 = rows(bytes),
        }
    }
    let expected = fs::read_to_string(repo("testdata/stars/expected/star_chunks.csv")).unwrap();
    let expected: BTreeMap<i32, (u64, u64)> = expected
        .lines()
        .skip(1)
        .map(|line| {
            let numbers: Vec<u64> = line.split(',').map(|n| n.parse().unwrap()).collect();
            (i32::try_from(numbers[0]).unwrap(), (numbers[1], numbers[2]))
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(star.len(), 368 + 347 + 1);
    assert_eq!(
        found.values().map(|(_, overlap)| overlap).sum::<u64>(),
        1_346
    );

    let tables = |name: &str| files(&bench.path("stars/out/stars").join(name));
    assert_eq!(tables("StarAstrometry").len(), 368);
    assert_eq!(
        tables("StarAstrometry")
            .values()
            .map(|b| rows(b))
            .sum::<u64>(),
        20_000
    );
    assert_eq!(rows(&tables("Designation")["Designation.txt"]), 3_994);
    assert_eq!(rows(&tables("Constellation")["Constellation.txt"]), 88);
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
    assert_eq!(header["contributions"], 368 + 347 + 368 + 2);
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
    assert_eq!(seen, 1085);
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(root.join("stars/report.json")).unwrap()).unwrap();
    assert_eq!(report["tables"][0]["rows_in"], 20_000);
    assert_eq!(report["tables"][0]["overlap_rows"], 1_346);
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

#[test]
fn bytes_do_not_depend_on_threads_or_memory() {
    let reference = star_bench();
    reference.run(words("run stars/prep.toml --threads 1")).ok();
    let expected = tables_of(&reference);
    for options in [
        "--threads 2",
        "--threads 7",
        "--threads 3 --memory-limit 24MiB",
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
    found.remove("manifest.jsonl").unwrap();
    found.remove("report.json").unwrap();
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

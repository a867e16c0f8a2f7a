//! Jobs on this machine: the same bytes as `run`, however inputs are cut and grouped; what is planned
//! twice; files that are checked beforehand; rows that are set aside.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::harness::{Bench, files, repo, words};

/// A director, a child by key with a position to fall back on, and a table without chunks.
pub(crate) const PIPELINE: &str = r#"
[database]
name = "d"
stripes = 18
sub_stripes = 10
overlap = 0.5

[product.o]
inputs = ["o/*.txt"]
header = true

[product.s]
inputs = ["s/*.txt"]
fields = ["sid", "id", "flux", "ra", "dec"]

[product.r]
inputs = ["r/*.txt"]
fields = ["a", "b"]

[table.Obj]
kind = "director"
products = ["o"]
id = "id"
ra = "ra"
dec = "dec"
chunk_index = true

[table.Src]
kind = "child"
director = "Obj"
id = "id"
ra = "ra"
dec = "dec"
products = ["s"]

[table.Reg]
kind = "regular"
products = ["r"]

[stage]
dest = "out"
"#;

/// Writes `rows` objects from number `first` on.
pub(crate) fn objects(bench: &Bench, name: &str, first: usize, rows: usize) {
    let mut text = "id\tra\tdec\tnote\n".to_owned();
    for id in first..first + rows {
        let (ra, dec) = place_of(id);
        text += &format!("{id}\t{ra}\t{dec}\tnote {id}\n");
    }
    bench.write(name, text);
}

pub(crate) fn place_of(id: usize) -> (f64, f64) {
    let ra = (id * 7919 % 3600) as f64 / 10.0;
    let dec = (id * 104_729 % 1700) as f64 / 10.0 - 85.0;
    (ra, dec)
}

/// Writes sources of objects; some have a key that no object has.
pub(crate) fn sources(bench: &Bench, name: &str, first: usize, rows: usize) {
    let line = |sid: usize| {
        let id = if sid.is_multiple_of(50) {
            1_000_000 + sid
        } else {
            sid % 400
        };
        let (ra, dec) = place_of(sid * 3);
        format!("{sid}\t{id}\t{}.5\t{ra}\t{dec}\n", sid % 90)
    };
    bench.write(name, (first..first + rows).map(line).collect::<String>());
}

pub(crate) fn bench() -> Bench {
    let bench = Bench::in_memory();
    bench.write("prep.toml", PIPELINE);
    for number in 0..4 {
        objects(&bench, &format!("o/{number}.txt"), number * 100, 100);
        sources(&bench, &format!("s/{number}.txt"), number * 300, 300);
    }
    bench.write("r/a.txt", "1\tx\n2\ty\n");
    bench.write("r/b.txt", "3\tz\n");
    bench
}

/// Plans a job; returns its folder.
pub(crate) fn plan(bench: &Bench, options: &str) -> PathBuf {
    let planned = bench
        .run(words(&format!("job plan prep.toml -q {options}")))
        .ok();
    PathBuf::from(String::from_utf8(planned.stdout).unwrap().trim())
}

pub(crate) fn submit(bench: &Bench, job: &Path) {
    let submit = format!("job submit -q --job {}", job.display());
    bench.run(words(&submit)).ok();
}

/// What a manifest says of each file: digest and rows by table, chunk and overlap.
pub(crate) type Named = BTreeMap<(String, Option<i64>, bool), (String, u64)>;

pub(crate) fn named(manifest: &Path) -> Named {
    let text = fs::read_to_string(manifest).unwrap();
    let lines = text.lines().skip(1);
    let line = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let table = line["table"].as_str().unwrap().to_owned();
        let key = (
            table,
            line["chunk"].as_i64(),
            line["overlap"].as_bool().unwrap(),
        );
        let digest = line["sha256"].as_str().unwrap().to_owned();
        (key, (digest, line["rows"].as_u64().unwrap()))
    };
    lines.map(line).collect()
}

/// Runs the pipeline as `run` does, into another folder.
pub(crate) fn run_beside(bench: &Bench, text: &str) -> PathBuf {
    let reference = bench.path("reference");
    if reference.exists() {
        fs::remove_dir_all(&reference).unwrap();
    }
    let text = text.replace("dest = \"out\"", "dest = \"reference\"");
    bench.write("reference.toml", text);
    bench.run(words("run reference.toml -q")).ok();
    reference
}

#[track_caller]
fn same_as_run(bench: &Bench, text: &str) {
    let reference = run_beside(bench, text);
    let (mut made, mut expected) = (files(&bench.path("out/d")), files(&reference.join("d")));
    for all in [&mut made, &mut expected] {
        all.remove("report.json").unwrap();
        all.remove("manifest.jsonl").unwrap();
    }
    assert!(made.keys().eq(expected.keys()), "{:?}", made.keys());
    for (name, bytes) in &expected {
        assert!(made[name] == *bytes, "{name}");
    }
    let manifests = ["out", "reference"].map(|out| {
        let path = bench.path(&format!("{out}/d/manifest.jsonl"));
        let text = fs::read_to_string(path).unwrap();
        text.replace(&format!("/{out}/"), "/")
    });
    assert!(manifests[0] == manifests[1], "the manifests differ");
    // For `run` all is there.
    let again = bench.run(words("run prep.toml")).ok();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
}

#[test]
fn a_job_gives_the_bytes_of_a_run_however_it_is_cut() {
    for options in [
        "--map-tasks 1 --reduce-tasks 1",
        "--map-tasks 3 --reduce-tasks 4",
        "--max-size 1 --reduce-tasks 700",
        "--max-files 1 --fan-in 2 --reduce-tasks 3",
    ] {
        let bench = bench();
        // The oldest come first, so tasks get inputs that do not follow each other.
        for (name, age) in [
            ("o/2.txt", 300),
            ("o/0.txt", 200),
            ("s/3.txt", 300),
            ("s/1.txt", 9),
        ] {
            let then = SystemTime::now() - Duration::from_secs(age);
            let file = fs::File::options()
                .write(true)
                .open(bench.path(name))
                .unwrap();
            file.set_modified(then).unwrap();
        }
        let job = plan(&bench, options);
        submit(&bench, &job);
        same_as_run(&bench, PIPELINE);
    }
}

#[test]
fn large_inputs_are_cut_at_row_groups_and_at_records() {
    let bench = Bench::in_memory();
    let text = PIPELINE.replace("o/*.txt", "big.txt");
    let text = text.split("[product.s]").next().unwrap().to_owned()
        + "[table.Obj]\nkind = \"director\"\nproducts = [\"o\"]\nid = \"id\"\nra = \"ra\"\n\
           dec = \"dec\"\n[stage]\ndest = \"out\"\n";
    bench.write("prep.toml", &text);
    let mut big = "id\tra\tdec\tnote\n".to_owned();
    let note = "n".repeat(900);
    for id in 0..40_000 {
        let (ra, dec) = place_of(id);
        big += &format!("{id}\t{ra}\t{dec}\t{note}\n");
    }
    bench.write("big.txt", big);
    let job = plan(&bench, "--max-size 16MiB --reduce-tasks 2");
    assert!(
        fs::read_to_string(job.join("inputs.jsonl"))
            .unwrap()
            .contains("\"span\"")
    );
    // Little memory: rows of a map task wait in a scratch file.
    for task in ["map 1", "map 2"] {
        let task = format!(
            "job task {task} -q --memory-limit 40MiB --job {}",
            job.display()
        );
        bench.run(words(&task)).ok();
    }
    submit(&bench, &job);
    same_as_run(&bench, &text);
    let stars = Bench::in_memory();
    let parts = repo("testdata/stars");
    stars
        .shell(&format!(
            "cp -r {} stars && rm -rf stars/out",
            parts.display()
        ))
        .ok();
    let planned = stars
        .run(words("job plan stars/prep.toml -q --max-size 20KiB"))
        .ok();
    let job = String::from_utf8(planned.stdout).unwrap();
    stars
        .run(words(&format!("job submit -q --job {}", job.trim())))
        .ok();
    let again = stars.run(words("run stars/prep.toml")).ok();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    stars
        .run(words("verify stars/out/stars/manifest.jsonl"))
        .ok();
}

#[test]
fn the_same_job_is_planned_and_committed_once() {
    let bench = bench();
    let job = plan(&bench, "--job-id a");
    assert_eq!(plan(&bench, "--job-id a"), job);
    let other = bench.run(words("job plan prep.toml --job-id a --map-tasks 2"));
    other.failed(5, &["asked for something else"]);
    // Nothing comes before what it needs, and who waits says so.
    let task = |kind: &str| format!("job task {kind} --job {}", job.display());
    bench
        .run(words(&task("reduce 1")))
        .failed(75, &["map-1", "not done yet"]);
    let commit = format!("job commit --job {}", job.display());
    bench.run(words(&commit)).failed(75, &["not done yet"]);
    bench
        .run(words(&task("map 99")))
        .failed(2, &["counted from 1"]);
    submit(&bench, &job);
    bench
        .run(words(&commit))
        .failed(5, &["committed already", "generation 1"]);
    let again = bench.run(words(&task("map 1"))).ok();
    assert!(again.stderr.contains("done already"), "{}", again.stderr);
    bench
        .run(words("job plan prep.toml --job-id b"))
        .failed(5, &["generation 1", "--extend"]);
    let status = bench.run(words("job status prep.toml --json")).ok();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status[0]["state"], "committed");
    assert_eq!(status[0]["stages"][0]["left"], "");
    let wait = format!("job wait --job {}", job.display());
    bench.run(words(&wait)).ok();
}

#[test]
fn a_request_is_a_job_of_its_files() {
    let bench = bench();
    let request = r#"{"id": "night-7", "table": "Reg", "files": ["r/b.txt"]}"#;
    let plan = words("job plan prep.toml --request - -q");
    let planned = bench.run_with_input(&plan, request.as_bytes()).ok();
    let job = PathBuf::from(String::from_utf8(planned.stdout).unwrap().trim());
    assert!(job.ends_with(".skyprep/jobs/night-7"));
    bench.run_with_input(&plan, request.as_bytes()).ok();
    let other = request.replace("r/b.txt", "r/");
    bench
        .run_with_input(&plan, other.as_bytes())
        .failed(5, &["night-7"]);
    submit(&bench, &job);
    assert_eq!(
        fs::read(bench.path("out/d/Reg/Reg.txt")).unwrap(),
        b"3\tz\n"
    );
    // What the request left out comes with the next generation.
    let job = self::plan(&bench, "--extend");
    submit(&bench, &job);
    let found = named(&bench.path("out/d/gen-2/manifest.jsonl"));
    let reference = named(&run_beside(&bench, PIPELINE).join("d/manifest.jsonl"));
    let chunks = |all: &Named| -> Named {
        let all = all.clone().into_iter();
        all.filter(|((table, ..), _)| table != "Reg").collect()
    };
    assert!(chunks(&found) == chunks(&reference));
    let rows = fs::read(bench.path("out/d/gen-2/Reg/Reg.txt")).unwrap();
    assert_eq!(
        rows, b"3\tz\n1\tx\n2\ty\n",
        "rows of later batches come behind"
    );
}

#[test]
fn what_was_checked_is_not_opened_again_unless_it_has_changed() {
    let bench = bench();
    bench.write("o/9.txt", "id\tra\n1\t2\n");
    let check = |part: &str| bench.run(words(&format!("job check prep.toml --part {part}")));
    let both = [check("1/2"), check("2/2")];
    let told: String = both.iter().map(|part| part.stderr.clone()).collect();
    assert!(told.contains("1 rejected"), "{told}");
    let lines: Vec<u8> = both.iter().flat_map(|part| part.stdout.clone()).collect();
    let line: serde_json::Value = serde_json::from_slice(&lines).unwrap();
    assert!(line["path"].as_str().unwrap().ends_with("o/9.txt"));
    assert!(line["reason"].as_str().unwrap().contains("dec"), "{line}");
    bench
        .run(words("job plan prep.toml --job-id x"))
        .failed(2, &["o/9.txt", "dec"]);
    fs::remove_file(bench.path("o/9.txt")).unwrap();
    let planned = bench
        .run(words("job plan prep.toml -v --job-id x --dry-run"))
        .ok();
    assert!(
        planned
            .stderr
            .contains("10 inputs known from side-cars, 0 looked at"),
        "{}",
        planned.stderr
    );
    objects(&bench, "o/3.txt", 300, 90);
    let planned = bench.run(words("job plan prep.toml -v --job-id x")).ok();
    assert!(
        planned.stderr.contains("1 inputs have changed since"),
        "{}",
        planned.stderr
    );
    let job = bench.path("out/.skyprep/jobs/x");
    // And so it is when it changes once more.
    objects(&bench, "o/3.txt", 300, 80);
    let submit = format!("job submit -q --job {}", job.display());
    bench
        .run(words(&submit))
        .failed(9, &["o/3.txt", "when the job was planned"]);
    let wait = format!("job wait --job {}", job.display());
    bench.run(words(&wait)).failed(9, &["map-", "o/3.txt"]);
}

#[test]
fn rows_are_set_aside_over_all_tasks() {
    let bench = bench();
    for number in 0..3 {
        let name = format!("o/{number}.txt");
        let text = fs::read_to_string(bench.path(&name)).unwrap();
        let bad = format!("{}\t10\t99\tbad\n", 5000 + number);
        bench.write(&name, text + &bad);
    }
    let options = "--max-rejects 3 --reject-file";
    let job = plan(
        &bench,
        &format!("{options} job.json --map-tasks 3 --job-id a"),
    );
    submit(&bench, &job);
    let text = PIPELINE.replace("dest = \"out\"", "dest = \"reference\"");
    bench.write("reference.toml", text);
    bench
        .run(words(&format!("run reference.toml -q {options} run.json")))
        .ok();
    let listed = ["job.json", "run.json"].map(|name| {
        let text = fs::read_to_string(bench.path(name)).unwrap();
        text.replace(&format!("{}/", bench.root().display()), "")
    });
    assert_eq!(listed[0], listed[1]);
    assert_eq!(listed[0].lines().count(), 4);
    fs::remove_dir_all(bench.path("out")).unwrap();
    let job = plan(&bench, "--max-rejects 2 --map-tasks 3 --job-id a");
    let submit = format!("job submit -q --job {}", job.display());
    bench
        .run(words(&submit))
        .failed(1, &["o/0.txt", "dec", "3 bad rows"]);
    assert!(!bench.path("out/d").exists());
    let wait = format!("job wait --job {}", job.display());
    bench.run(words(&wait)).failed(1, &["commit", "o/0.txt"]);
}

#[test]
fn a_key_that_occurs_twice_is_named_with_both_rows() {
    let bench = bench();
    objects(&bench, "o/7.txt", 250, 3);
    let job = plan(&bench, "--map-tasks 3");
    let submit = format!("job submit -q --job {}", job.display());
    bench
        .run(words(&submit))
        .failed(1, &["o/7.txt, line 2", "\"250\"", "o/2.txt"]);
}

#[test]
fn an_exchange_file_that_is_lost_is_made_again() {
    let bench = bench();
    let job = plan(&bench, "--map-tasks 2 --job-id a");
    let task = format!("job task map 1 -q --job {}", job.display());
    bench.run(words(&task)).ok();
    let lost = fs::read_dir(job.join("data"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    fs::remove_file(lost.path()).unwrap();
    bench
        .run(words(&format!("job task map 2 -q --job {}", job.display())))
        .ok();
    let reduce = format!("job task reduce 1 --job {}", job.display());
    bench
        .run(words(&reduce))
        .failed(75, &["map-1", "run again"]);
    let status = bench.run(words("job status prep.toml")).ok();
    assert!(
        String::from_utf8_lossy(&status.stdout).contains("left 1,3"),
        "map 1 is to be done again"
    );
    submit(&bench, &job);
    same_as_run(&bench, PIPELINE);
}

#[test]
fn inputs_that_are_passed_over_come_when_they_are_mended() {
    let bench = bench();
    let good = fs::read(bench.path("o/1.txt")).unwrap();
    bench.write("o/1.txt", "id\tra\n");
    bench
        .run(words("job plan prep.toml --job-id a"))
        .failed(2, &["o/1.txt"]);
    fs::remove_file(bench.path("o/1.txt")).unwrap();
    std::os::unix::fs::symlink("nowhere", bench.path("o/1.txt")).unwrap();
    let job = plan(&bench, "--keep-going --job-id a");
    let submit = format!("job submit -q --job {}", job.display());
    bench
        .run(words(&submit))
        .failed(1, &["o/1.txt", "passed over"]);
    fs::remove_file(bench.path("o/1.txt")).unwrap();
    bench.write("o/1.txt", good);
    let job = plan(&bench, "--extend --keep-going --job-id b");
    self::submit(&bench, &job);
    let found = named(&bench.path("out/d/gen-2/manifest.jsonl"));
    let reference = named(&run_beside(&bench, PIPELINE).join("d/manifest.jsonl"));
    let rows = |all: &Named| -> BTreeMap<_, u64> {
        all.iter()
            .map(|(key, (_, rows))| (key.clone(), *rows))
            .collect()
    };
    assert!(rows(&found) == rows(&reference));
}

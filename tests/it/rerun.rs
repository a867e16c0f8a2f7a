//! Running again: nothing twice, nothing lost, nothing of others touched.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::harness::{Bench, files, times, words};

const PARTITION: &str = "partition x.txt -o out --kind director --stripes 18 --sub-stripes 10 \
                         --overlap 0.01 --ra ra --dec dec --fields id,ra,dec --chunk-index";

fn text(rows: usize) -> String {
    (0..rows)
        .map(|row| {
            let (ra, dec) = ((row * 7919) % 36_000, (row * 104_729) % 18_000);
            format!(
                "{row}\t{}\t{}\n",
                ra as f64 / 100.0,
                dec as f64 / 100.0 - 90.0
            )
        })
        .collect()
}

#[test]
fn the_same_again_is_done_already() {
    let bench = Bench::new();
    bench.write("x.txt", text(1000));
    bench.run(words(PARTITION)).ok();
    let before = times(&bench.path("out"));
    let again = bench.run(words(PARTITION)).ok();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    assert_eq!(times(&bench.path("out")), before);
}

#[test]
fn other_options_or_inputs_are_refused_unless_forced() {
    let bench = Bench::new();
    bench.write("x.txt", text(1000));
    bench.run(words(PARTITION)).ok();
    let first = files(&bench.path("out"));
    bench.write("out/notes.md", "mine");
    let other = PARTITION.replace("--stripes 18", "--stripes 36");
    bench
        .run(words(&other))
        .failed(5, &["other options", "--force"]);
    bench.run(words(&format!("{other} --force"))).ok();
    let replaced = files(&bench.path("out"));
    assert_eq!(replaced["notes.md"], b"mine");
    bench.run(words(&format!("{PARTITION} --force"))).ok();
    let mut back = files(&bench.path("out"));
    back.remove("notes.md");
    assert!(back == first, "files of the other division are left");
    bench.write("x.txt", text(999));
    bench.run(words(PARTITION)).failed(5, &["other options"]);
}

#[test]
fn files_of_others_are_never_replaced() {
    let bench = Bench::new();
    bench.write("x.txt", text(1000));
    bench.write("out/chunk_index.bin", "mine");
    for force in ["", "--force"] {
        bench
            .run(words(&format!("{PARTITION} {force}")))
            .failed(5, &["chunk_index.bin", "exists"]);
        assert_eq!(files(&bench.path("out")).len(), 1);
    }
    bench.write("y.txt", "mine");
    bench
        .run(words("convert x.txt -o y.txt"))
        .failed(5, &["y.txt", "exists"]);
    bench.run(words("convert x.txt -o y.txt --force")).ok();
    assert_eq!(
        fs::read(bench.path("y.txt")).unwrap(),
        fs::read(bench.path("x.txt")).unwrap()
    );
}

#[test]
fn a_lost_file_is_made_again() {
    let bench = Bench::new();
    bench.write("x.txt", text(1000));
    bench.run(words(PARTITION)).ok();
    let first = files(&bench.path("out"));
    let victim = first.keys().next().unwrap();
    fs::remove_file(bench.path("out").join(victim)).unwrap();
    bench.run(words(PARTITION)).ok();
    assert!(files(&bench.path("out")) == first);
}

#[test]
fn a_kill_at_any_moment_leaves_nothing_half_done() {
    let bench = Bench::new();
    bench.write("x.txt", text(30_000));
    let start = Instant::now();
    bench.run(words(PARTITION)).ok();
    let whole = start.elapsed();
    let expected = files(&bench.path("out"));
    let rounds = 25u32;
    for round in 0..rounds {
        fs::remove_dir_all(bench.path("out")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_skyprep"))
            .args(words(PARTITION))
            .current_dir(bench.root())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep((whole * round / rounds).max(Duration::from_millis(1)));
        child.kill().unwrap();
        child.wait().unwrap();
        for (name, bytes) in files(&bench.path("out")) {
            assert_eq!(
                Some(&bytes),
                expected.get(&name),
                "{name} is partial, round {round}"
            );
        }
        bench.run(words(PARTITION)).ok();
        assert!(files(&bench.path("out")) == expected, "round {round}");
        let state: Vec<_> = fs::read_dir(bench.path("out/.skyprep"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "record.jsonl")
            .collect();
        assert!(state.is_empty(), "litter: {state:?}");
    }
}

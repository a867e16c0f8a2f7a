//! Running again: nothing twice, nothing lost, nothing of others touched.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::harness::{Bench, files, positions, times, words};

const PARTITION: &str = "partition x.txt -o out --kind director --stripes 18 --sub-stripes 10 \
                         --overlap 0.01 --ra ra --dec dec --fields id,ra,dec --chunk-index";

/// Rows of id, ra and dec.
fn text(rows: usize) -> String {
    positions(rows, 7919)
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

/// A run that waits for more on stdin, which is what keeps it going.
fn waiting(bench: &Bench, command: &str, sign: &str) -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_skyprep"))
        .args(words(command))
        .current_dir(bench.root())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"1\t2\t3\n")
        .unwrap();
    let start = Instant::now();
    while !bench.path(sign).exists() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{sign} is not there"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_second_run_is_refused_while_the_first_runs_and_takes_over_when_it_is_dead() {
    let bench = Bench::new();
    bench.write("x.txt", text(100));
    let first = waiting(
        &bench,
        &PARTITION.replace("x.txt", "-"),
        "out/.skyprep/lock",
    );
    let host = String::from_utf8(bench.shell("uname -n").ok().stdout).unwrap();
    let owner = format!("process {} on {}", first.id(), host.trim());
    bench.run(words(PARTITION)).failed(
        5,
        &[&owner, "last sign of life", "hint: wait for it to end"],
    );
    assert!(files(&bench.path("out")).is_empty());
    kill(first);
    bench.run(words(PARTITION)).ok();
    assert!(!bench.path("out/.skyprep/lock").exists());
}

#[test]
fn one_output_file_has_one_writer() {
    let bench = Bench::new();
    bench.write("x.txt", text(100));
    let first = waiting(&bench, "convert - -o y.txt", ".y.txt.partial");
    let again = "convert x.txt -o y.txt";
    bench
        .run(words(again))
        .failed(5, &["y.txt", "another process", "hint"]);
    kill(first);
    assert!(bench.path(".y.txt.partial").exists());
    bench.run(words(again)).ok();
    assert_eq!(
        fs::read(bench.path("y.txt")).unwrap(),
        fs::read(bench.path("x.txt")).unwrap()
    );
    assert!(!bench.path(".y.txt.partial").exists());
}

#[test]
fn of_many_that_take_over_at_once_one_runs() {
    let bench = Bench::in_memory();
    bench.write("x.txt", text(300));
    bench.run(words(PARTITION)).ok();
    let expected = files(&bench.path("out"));
    for round in 0..5 {
        fs::remove_dir_all(bench.path("out")).unwrap();
        kill(waiting(
            &bench,
            &PARTITION.replace("x.txt", "-"),
            "out/.skyprep/lock",
        ));
        let runs: Vec<Child> = (0..4)
            .map(|_| {
                Command::new(env!("CARGO_BIN_EXE_skyprep"))
                    .args(words(PARTITION))
                    .current_dir(bench.root())
                    .stdout(Stdio::null())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let mut done = 0;
        for run in runs {
            let output = run.wait_with_output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            match output.status.code() {
                Some(0) => done += 1,
                Some(5) => assert!(said.contains("in use by"), "round {round}: {said}"),
                other => panic!("round {round}: {other:?}: {said}"),
            }
        }
        assert!(done > 0, "round {round}");
        assert!(files(&bench.path("out")) == expected, "round {round}");
        let left = fs::read_dir(bench.path("out/.skyprep")).unwrap();
        let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let litter = left.filter(|name| !["record.jsonl", "report.json"].contains(&name.as_str()));
        assert_eq!(litter.count(), 0, "round {round}");
    }
}

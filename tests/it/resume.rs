//! A run that was ended is gone on with: what is done is not done again.

use std::fmt::Write;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::harness::{Bench, files, words};

/// Some `rows` rows all over the sky, 300 bytes each, in a file of `lines` line ends.
fn text(rows: u64) -> String {
    let mut text = String::from("id,ra,dec,note\n");
    for row in 0..rows {
        let (ra, dec) = ((row * 7919) % 36_000, (row * 104_729) % 18_000);
        let (ra, dec) = (ra as f64 / 100.0, dec as f64 / 100.0 - 90.0);
        writeln!(text, "{row},{ra},{dec},{}", "note ".repeat(55)).unwrap();
    }
    text
}

fn start(bench: &Bench, command: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_skyprep"))
        .args(words(command))
        .current_dir(bench.root())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until a journal in the staging folder has grown beyond its heading.
fn wait_for_a_record(bench: &Bench, out: &str) {
    let staging = bench.path(out).join(".skyprep/staging");
    let since = Instant::now();
    let is_recorded = || {
        let entries = fs::read_dir(&staging).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let length = entry.metadata().map_or(0, |found| found.len());
            name.ends_with(".journal") && length > 300
        })
    };
    while !is_recorded() {
        assert!(since.elapsed() < Duration::from_secs(60), "no record");
        std::thread::sleep(Duration::from_millis(2));
    }
}

const COMMANDS: &[&str] = &[
    "partition x.csv -o out --kind director --stripes 18 --sub-stripes 10 --overlap 0.01 \
     --id id --chunk-index --ra ra --dec dec --in-dialect rfc4180 --in-header \
     --memory-limit 40MiB --finish append",
    "partition x.csv -o out --kind director --stripes 18 --sub-stripes 10 --overlap 0.01 \
     --id id --chunk-index --ra ra --dec dec --in-dialect rfc4180 --in-header \
     --memory-limit 40MiB --finish exchange",
    "convert x.csv z.csv.gz -o out/ --in-dialect rfc4180 --in-header --threads 1",
];

#[test]
fn a_killed_run_is_gone_on_with() {
    for command in COMMANDS {
        let bench = Bench::in_memory();
        bench.write("x.csv", text(250_000));
        if command.contains("z.csv.gz") {
            bench.shell("gzip -1 < x.csv > z.csv.gz").ok();
        }
        bench
            .run(words(&command.replace("-o out", "-o first")))
            .ok();
        let first = files(&bench.path("first"));
        fs::remove_dir_all(bench.path("first")).unwrap();
        for signal in ["KILL", "TERM"] {
            let mut child = start(&bench, command);
            wait_for_a_record(&bench, "out");
            bench.shell(&format!("kill -{signal} {}", child.id())).ok();
            child.wait().unwrap();
            assert!(files(&bench.path("out")).is_empty(), "{signal}: {command}");
            let again = bench.run(words(command)).ok();
            assert!(
                again.stderr.contains("going on where"),
                "{signal}: {}",
                again.stderr
            );
            assert!(files(&bench.path("out")) == first, "{signal}: {command}");
            assert!(!bench.path("out/.skyprep/staging").exists());
            fs::remove_dir_all(bench.path("out")).unwrap();
        }
    }
}

#[test]
fn other_options_or_damaged_staging_begin_anew() {
    for finish in ["append", "exchange"] {
        let command = COMMANDS[0].replace("append", finish);
        let bench = Bench::in_memory();
        bench.write("x.csv", text(250_000));
        bench
            .run(words(&command.replace("-o out", "-o first")))
            .ok();
        let first = files(&bench.path("first"));
        let other = command.replace("--overlap 0.01", "--overlap 0.02");
        for change in ["options", "input", "staged", "host"] {
            let mut child = start(&bench, &command);
            wait_for_a_record(&bench, "out");
            child.kill().unwrap();
            child.wait().unwrap();
            let staging = bench.path("out/.skyprep/staging");
            let again = match change {
                "options" => bench.run(words(&other)).ok(),
                "input" => {
                    bench.shell("touch x.csv").ok();
                    bench.run(words(&command)).ok()
                }
                "staged" => {
                    // A power cut: what was never synced is there, but holds nothing.
                    let script = "for f in .*.exchange chunk_*.txt; do [ -f $f ] && \
                                  dd if=/dev/zero of=$f bs=1 seek=100 count=10 conv=notrunc; done";
                    let cd = format!("cd {} && {script}; true", staging.display());
                    bench.shell(&cd).ok();
                    bench.run(words(&command)).ok()
                }
                _ => {
                    let spill = command.clone() + " --threads 1 --memory-limit 64MiB";
                    bench
                        .run(words(&spill.replace("--memory-limit 40MiB ", "")))
                        .ok()
                }
            };
            let is_gone_on_with = again.stderr.contains("going on where");
            assert_eq!(
                is_gone_on_with,
                change == "host",
                "{change}: {}",
                again.stderr
            );
            if change != "options" {
                assert!(files(&bench.path("out")) == first, "{finish}, {change}");
            }
            assert!(!staging.exists());
            fs::remove_dir_all(bench.path("out")).unwrap();
        }
    }
}

//! Called by the name of sph-parq2csv, skyprep does better where that tool fails.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::golden::canonical;
use super::harness::{Bench, Outcome, files, repo, shared};

/// Lays out a golden case in a folder of its own, with a link of the tool's name beside it.
fn case(name: &str, shared: &Path) -> Bench {
    let bench = Bench::new();
    let folder = shared.join("golden").join(name);
    for (path, bytes) in files(&folder) {
        if !path.starts_with("expected/") {
            bench.write(&format!("case/{path}"), bytes);
        }
    }
    fs::create_dir_all(bench.path("case/out")).unwrap();
    fs::create_dir(bench.path("bin")).unwrap();
    let link = bench.path("bin/sph-parq2csv");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_skyprep"), link).unwrap();
    bench
}

/// Runs the tool in the case's folder.
fn parq2csv(bench: &Bench, arguments: &[&str]) -> Outcome {
    let command = Command::new(bench.path("bin/sph-parq2csv"))
        .args(arguments)
        .current_dir(bench.path("case"))
        .stdin(Stdio::null())
        .output();
    command.unwrap().into()
}

#[test]
fn values_that_the_tool_spoils_are_named_or_put_right() {
    let Some(shared) = shared("strings that sph-parq2csv fails on") else {
        return;
    };
    let bench = case("h2_parq2csv_strings", &shared);
    let failed = parq2csv(&bench, &["in/t.parquet", "c.json", "out/plain.csv"]);
    failed.failed(
        1,
        &["t.parquet", "row 3, column s", r#""tab\tin""#, "--fix"],
    );
    assert!(!bench.path("case/out/plain.csv").exists());
    parq2csv(
        &bench,
        &["--fix", "in/t.parquet", "c.json", "out/plain.csv"],
    )
    .ok();
    let fixed = fs::read_to_string(bench.path("case/out/plain.csv")).unwrap();
    for row in [
        "1\tplain\n",
        "3\ttab\\tin\n",
        "6\tback\\\\slash\n",
        "7\t\\\\N\n",
        "10\t\\N\n",
    ] {
        assert!(fixed.contains(row), "{row} is not in\n{fixed}");
    }
    let quoted = [
        "--csv-quote",
        "--fix",
        "in/t.parquet",
        "c.json",
        "out/quoted.csv",
    ];
    parq2csv(&bench, &quoted).ok();
    let quoted = fs::read_to_string(bench.path("case/out/quoted.csv")).unwrap();
    for row in [
        "\"4\"\t\"quote\"\"in\"\n",
        "\"6\"\t\"back\\\\slash\"\n",
        "\"10\"\t\\N\n",
    ] {
        assert!(quoted.contains(row), "{row} is not in\n{quoted}");
    }
}

#[test]
fn wrong_arguments_and_help_are_exit_1_as_with_the_tool() {
    let bench = Bench::new();
    let call = |line: &str| bench.shell(&format!("skyprep sph-parq2csv {line}"));
    call("--nope").failed(1, &["unrecognised option '--nope'"]);
    call("a.parquet").failed(1, &["--config"]);
    call("none.parquet c.json out.csv").failed(1, &["c.json"]);
    let help = call("--help");
    assert_eq!(help.code, 1);
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains("--csv-quote-fields")
    );
}

/// What the page shows to be typed: its indented lines.
#[test]
fn the_examples_of_the_page_run_as_they_stand() {
    let page = fs::read_to_string(repo("docs/drop-in.md")).unwrap();
    let shown = page.lines().filter_map(|line| line.strip_prefix("    "));
    // The link would go into a home folder.
    let script: Vec<&str> = shown.filter(|line| !line.starts_with("ln -s")).collect();
    let bench = Bench::new();
    let outcome = bench.shell(&format!("set -e\n{}", script.join("\n"))).ok();
    // Behind the statistics there is the table of `skyprep partition`.
    let mut printed = serde_json::Deserializer::from_slice(&outcome.stdout).into_iter();
    let printed: serde_json::Value = printed.next().unwrap().unwrap();
    assert_eq!(printed["chunkStats"]["nrec"], 1);
    let stats = fs::read(bench.path("target/try/stats.json")).unwrap();
    let stats: serde_json::Value = serde_json::from_slice(&stats).unwrap();
    assert_eq!(stats["chunkStats"]["nrec"], 4);
    let made = |folder: &str| canonical(&bench.path(folder));
    assert_eq!(made("target/try/Object"), made("target/try/own"));
}

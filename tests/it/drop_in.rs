//! Called by the name of one of the C++ tools, skyprep gives that tool's results.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::golden::unzipped;
use super::harness::{Bench, Outcome, files, shared};

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

/// Runs all steps of a case and compares exit codes and rows with those of the C++ tool.
fn check(name: &str, steps: usize) {
    let Some(shared) = shared(&format!("golden case {name}")) else {
        return;
    };
    let bench = case(name, &shared);
    let expected = shared.join("golden").join(name).join("expected");
    let codes = fs::read_to_string(expected.join("rc.txt")).unwrap();
    let codes: Vec<&str> = codes
        .lines()
        .filter_map(|line| line.split("rc=").nth(1))
        .collect();
    assert_eq!(codes.len(), steps, "{name}");
    let script = fs::read_to_string(bench.path("case/cmd.sh")).unwrap();
    let calls = script.lines().filter(|line| line.starts_with("\"$BIN\""));
    for (call, code) in calls.zip(&codes) {
        let words: Vec<&str> = call.split_whitespace().skip(1).collect();
        let words: Vec<&str> = words.iter().map(|word| word.trim_matches('\'')).collect();
        let outcome = parq2csv(&bench, &words);
        assert_eq!(
            outcome.code.to_string(),
            *code,
            "{call}: {}",
            outcome.stderr
        );
    }
    let mut rows: Vec<Vec<u8>> = Vec::new();
    for (path, bytes) in files(&bench.path("case/out")) {
        if bytes.is_empty() {
            continue;
        }
        for row in bytes
            .strip_suffix(b"\n")
            .unwrap()
            .split(|byte| *byte == b'\n')
        {
            rows.push([path.as_bytes(), b"|", row].concat());
        }
    }
    rows.sort();
    let expected = unzipped(&expected.join("rows.txt")).unwrap();
    let expected = expected.strip_suffix(b"\n").unwrap_or(&expected);
    let expected: Vec<&[u8]> = expected.split(|byte| *byte == b'\n').collect();
    assert_eq!(rows.len(), expected.len(), "{name}");
    for (row, expected) in rows.iter().zip(expected) {
        assert_eq!(
            String::from_utf8_lossy(row),
            String::from_utf8_lossy(expected)
        );
    }
}

#[test]
fn h1_parq2csv() {
    check("h1_parq2csv", 6);
}

#[test]
fn h2_parq2csv_strings() {
    check("h2_parq2csv_strings", 2);
}

#[test]
fn h3_parq2csv_exotic() {
    check("h3_parq2csv_exotic", 8);
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

//! How the C++ tools were called in the golden cases, and what comes of it before data are read.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use skyprep::sph::{PartitionSettings, ToolSettings};

use super::{matches, partition};

/// The golden cases; says what is not tested where they are absent.
fn golden() -> Option<PathBuf> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden");
    if golden.exists() {
        return Some(golden);
    }
    crate::logging::line_to_stderr("SKIPPED: ../shared is absent: calls of the golden cases");
    None
}

/// The calls of a case: tool and arguments, with paths to its configuration and to inputs that
/// stand for the real ones, and the exit code that the tool gave.
fn calls(case: &Path, folder: &Path) -> Vec<(String, Vec<OsString>, i32)> {
    for entry in fs::read_dir(case.join("in")).into_iter().flatten() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        if case.join("in").join(name).is_dir() {
            fs::create_dir_all(folder.join(name)).unwrap();
            fs::write(folder.join(name).join("one.csv"), "x").unwrap();
            fs::write(folder.join(name).join("two.csv"), "x").unwrap();
        } else {
            let text = if name.contains("empty") { "" } else { "x" };
            fs::write(folder.join(name), text).unwrap();
        }
    }
    let replace = |word: &str| {
        let word = word.trim_matches('\'');
        let (option, value) = match word.split_once('=') {
            Some((option, value)) => (format!("{option}="), value),
            None => (String::new(), word),
        };
        let path = match value.split_once('/') {
            Some(("cfg", file)) => case.join("cfg").join(file).display().to_string(),
            Some(("in", file)) => folder.join(file).display().to_string(),
            _ => value.to_owned(),
        };
        OsString::from(option + &path)
    };
    let script = fs::read_to_string(case.join("cmd.sh")).unwrap();
    let codes = fs::read_to_string(case.join("expected/rc.txt")).unwrap();
    let codes = codes.lines().filter_map(|line| line.split("rc=").nth(1));
    let lines = script
        .lines()
        .filter_map(|line| line.strip_prefix("\"$BIN\"/"));
    lines
        .zip(codes)
        .map(|(line, code)| {
            let (tool, words) = line.split_once(' ').unwrap_or((line, ""));
            let words = words.split_whitespace().map(replace).collect();
            (tool.to_owned(), words, code.parse().unwrap())
        })
        .collect()
}

fn settled(tool: &str, arguments: &[OsString]) -> Option<Result<ToolSettings, String>> {
    let shown = |error: skyprep::error::Error| error.to_string();
    let settings = match tool {
        partition::NAME => partition::settings(arguments).map(|found| found.unwrap().tool),
        matches::NAME => matches::settings(arguments).map(|found| found.unwrap().tool),
        _ => return None,
    };
    Some(settings.map_err(shown))
}

#[test]
fn calls_that_went_well_are_settled() {
    let Some(golden) = golden() else { return };
    let mut settled_calls = 0;
    for case in fs::read_dir(golden).unwrap() {
        let case = case.unwrap().path();
        if !case.join("cmd.sh").exists() {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        for (tool, arguments, code) in calls(&case, folder.path()) {
            let Some(settings) = settled(&tool, &arguments) else {
                continue;
            };
            if code == 0 {
                settings.unwrap_or_else(|error| panic!("{}: {error}", case.display()));
                settled_calls += 1;
            }
        }
    }
    assert!(settled_calls > 40, "{settled_calls} calls");
}

#[test]
fn wrong_options_are_refused_where_the_tool_refuses_them() {
    let Some(golden) = golden() else { return };
    let folder = tempfile::tempdir().unwrap();
    let calls = calls(&golden.join("e8_option_errors"), folder.path());
    assert_eq!(calls.len(), 28);
    for (number, (tool, arguments, code)) in (1..).zip(calls) {
        let settings = settled(&tool, &arguments).unwrap();
        assert_eq!(settings.is_ok(), code == 0, "step {number}: {settings:?}");
    }
}

#[test]
fn the_last_file_wins_and_the_command_line_over_all() {
    let Some(golden) = golden() else { return };
    let folder = tempfile::tempdir().unwrap();
    let calls = calls(&golden.join("e7_config_precedence"), folder.path());
    let settings: Vec<PartitionSettings> = calls
        .iter()
        .map(|(_, arguments, _)| partition::settings(arguments).unwrap().unwrap())
        .collect();
    let found: Vec<_> = settings
        .iter()
        .map(|settings| {
            let tool = &settings.tool;
            (
                tool.partitioning.stripes,
                tool.prefix.as_str(),
                tool.folder.as_path(),
            )
        })
        .collect();
    let expected = [
        (30, "fromB", Path::new("out/ab")),
        (18, "fromB", Path::new("out/ba")),
        (45, "fromB", Path::new("out/cli")),
        (30, "chunk", Path::new("out/null")),
    ];
    assert_eq!(found, expected);
}

#[test]
fn help_comes_before_all_else() {
    let help = [OsString::from("--help"), OsString::from("--out.dir=x")];
    assert!(partition::settings(&help).unwrap().is_none());
    assert!(matches::settings(&help).unwrap().is_none());
    assert!(partition::help().contains("--part.id-url URL"));
    assert!(matches::help().contains("--part.id2-missing-abort"));
}

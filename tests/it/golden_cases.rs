//! The golden cases, called as scripts call the C++ tools: the same rows, counts, exit codes and
//! statistics; where the tools do wrong or fail, what is better instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use rayon::prelude::*;

use super::golden::{canonical, unzipped};
use super::harness::{Bench, Outcome, files, shared};

/// Tools that are called in the cases.
const TOOLS: [&str; 7] = [
    "sph-duplicate",
    "sph-estimate-stats",
    "sph-htm-index",
    "sph-layout",
    "sph-parq2csv",
    "sph-partition",
    "sph-partition-matches",
];

/// What is wanted of a case.
#[derive(Clone, Copy)]
enum Wanted {
    /// All as the tools have it.
    Equal,
    /// These steps go well though the tool fails, and the check is passed; all else is equal.
    Better(&'static [usize], fn(&Found, &Found) -> Option<&'static str>),
    /// The tool's behaviour is undefined: an error is, which names the value, and nothing is left.
    Refused(&'static str),
    /// Another test is about it.
    Elsewhere(&'static str),
}

use Wanted::{Better, Elsewhere, Equal, Refused};

/// All cases. One that is not in the list fails the test, so that none goes unseen.
const CASES: &[(&str, Wanted)] = &[
    ("a2_dense_region", Equal),
    ("a_uniform_sky", Equal),
    ("b1_edges", Equal),
    ("b2_edges", Equal),
    ("b3_edges", Equal),
    ("b4_edges", Equal),
    ("b5_edges", Equal),
    ("c1_director_child_by_position", Equal),
    ("c2_child_by_director_index", Equal),
    ("c3_child_missing_id", Equal),
    ("c4_append_and_dryrun", Better(&[4], folder_is_read)),
    ("d1_refmatch_by_position", Equal),
    ("d2_refmatch_too_far", Equal),
    ("d3_refmatch_both_null", Equal),
    ("d4_refmatch_by_director_index", Equal),
    ("e1_dialect_matrix", Elsewhere("sph::e1_dialect_matrix")),
    ("e2_same_dialect", Equal),
    ("e3_quote_to_escape", Equal),
    ("e4_crlf_noeol", Equal),
    ("e5_blank_line", Equal),
    ("e5_bom", Equal),
    ("e5_dec_95", Refused("column decl: declination is 95")),
    ("e5_dec_gt_90", Refused("column decl: declination is 90.5")),
    (
        "e5_dec_lt_m90",
        Refused("column decl: declination is -90.5"),
    ),
    ("e5_embedded_newline", Better(&[1], lines_are_one_value)),
    ("e5_empty_pos", Equal),
    ("e5_escaped_newline", Better(&[1], lines_are_one_value)),
    ("e5_field256", Better(&[1], long_field_is_whole)),
    ("e5_header", Equal),
    ("e5_hex_pos", Equal),
    ("e5_inf_pos", Refused("column ra: right ascension is inf")),
    ("e5_junk_pos", Equal),
    (
        "e5_nan_pos_ra",
        Refused("column ra: right ascension is NaN"),
    ),
    ("e5_neg_ra", Refused("column ra: right ascension is -0.")),
    ("e5_neg_ra_big", Refused("column ra: right ascension is -")),
    ("e5_nulbyte", Equal),
    ("e5_null_pos", Equal),
    ("e5_quoted_first", Better(&[], quotes_are_taken_off)),
    ("e5_quoted_pos", Equal),
    ("e5_ra_720", Refused("column ra: right ascension is 720")),
    ("e5_ra_gt_360", Refused("column ra: right ascension is 400")),
    ("e5_text_pos", Equal),
    ("e5_too_few", Equal),
    ("e5_too_many", Equal),
    ("e6_first_field_quoted_same", Better(&[1], quotes_protect)),
    ("e7_config_precedence", Equal),
    ("e8_option_errors", Equal),
    ("f1_layout", Equal),
    (
        "f2_htm_index_duplicate",
        Better(&[4], copies_lie_where_they_say),
    ),
    ("g_chunk_table", Elsewhere("geometry")),
    ("h1_parq2csv", Equal),
    ("h2_parq2csv_strings", Equal),
    ("h3_parq2csv_exotic", Equal),
    (
        "h4_partition_parquet",
        Better(&[3], many_threads_read_parquet),
    ),
    ("r1_qserv_case01_object", Equal),
    ("r3_qserv_case03", Equal),
];

/// Rows as `file|row`, sorted; and records of binary indexes by file, sorted.
#[derive(Debug, Default, PartialEq)]
struct Found {
    rows: Vec<String>,
    indexes: BTreeMap<String, Vec<String>>,
}

impl Found {
    /// What the tool made.
    fn of_tool(expected: &Path) -> Self {
        let rows = unzipped(&expected.join("rows.txt")).unwrap_or_default();
        let rows = String::from_utf8_lossy(&rows);
        let mut rows: Vec<String> = rows.lines().map(str::to_owned).collect();
        rows.sort();
        let mut indexes: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let text = unzipped(&expected.join("bins.txt")).unwrap_or_default();
        let mut name = String::new();
        for line in String::from_utf8(text).unwrap().lines() {
            match line.strip_prefix("# ") {
                Some(file) => name = file.to_owned(),
                None if line.is_empty() => {}
                None => indexes.entry(name.clone()).or_default().push(line.into()),
            }
        }
        indexes.values_mut().for_each(|lines| lines.sort());
        Self { rows, indexes }
    }

    /// What lies in a folder.
    fn in_folder(folder: &Path) -> Self {
        let (rows, mut indexes) = canonical(folder);
        indexes.values_mut().for_each(|lines| lines.sort());
        let rows = rows.iter().map(|row| String::from_utf8_lossy(row).into());
        Self {
            rows: rows.collect(),
            indexes,
        }
    }

    /// Takes away what belongs to the folder `name`, and returns it without that name.
    fn take(&mut self, name: &str) -> Self {
        let prefix = format!("{name}/");
        let own = |text: &String| text.strip_prefix(&prefix).map(str::to_owned);
        let taken = Self {
            rows: self.rows.iter().filter_map(own).collect(),
            indexes: self
                .indexes
                .iter()
                .filter_map(|(file, lines)| Some((own(file)?, lines.clone())))
                .collect(),
        };
        self.rows.retain(|row| !row.starts_with(&prefix));
        self.indexes.retain(|file, _| !file.starts_with(&prefix));
        taken
    }

    /// Copies without taking.
    fn copy(&self) -> Self {
        Self {
            rows: self.rows.clone(),
            indexes: self.indexes.clone(),
        }
    }
}

/// A folder as input, which the tool can't read: the rows of two of the three files of `a`.
fn folder_is_read(found: &Found, expected: &Found) -> Option<&'static str> {
    let mut rest = found.copy();
    let folder = rest.take("dirinput");
    let all = expected.copy().take("a");
    let mut left = all.rows.iter();
    let is_part = folder.rows.iter().all(|row| left.any(|other| other == row));
    let is_good = rest == *expected && is_part && folder.rows.len() > 500;
    is_good.then_some("a folder as input is read")
}

/// Lines in one value, which the tool can't read.
fn lines_are_one_value(found: &Found, _: &Found) -> Option<&'static str> {
    let is_one = |row: &String| row.contains("\t10\t10\tline1\\nline2\tb\t");
    (found.rows.len() == 4 && found.rows.iter().all(is_one)).then_some("line ends are values")
}

fn long_field_is_whole(found: &Found, _: &Found) -> Option<&'static str> {
    let long = format!("\t{}\t", "y".repeat(256));
    let is_whole = |row: &String| row.contains(&long);
    (found.rows.len() == 4 && found.rows.iter().all(is_whole)).then_some("long fields are written")
}

/// The tool takes the quotes of the first field for data.
fn quotes_are_taken_off(found: &Found, expected: &Found) -> Option<&'static str> {
    let rows = expected.rows.iter().map(|row| row.replace("\"1\"", "1"));
    let is_good = found.rows == rows.collect::<Vec<_>>() && found.indexes == expected.indexes;
    is_good.then_some("quotes of the first field are quotes")
}

fn quotes_protect(found: &Found, _: &Found) -> Option<&'static str> {
    let is_good = |row: &String| row.contains("|\"1,0\",10,10,a,b,");
    let is_good = found.rows.len() == 4 && found.rows.iter().all(is_good);
    is_good.then_some("quotes of the first field protect a comma")
}

/// Where a row that is not moved comes after one that is, the tool writes the other's position: some
/// rows do not lie where they say. And of a sample it takes all rows.
fn copies_lie_where_they_say(found: &Found, expected: &Found) -> Option<&'static str> {
    let (mut own, mut theirs) = (found.copy(), expected.copy());
    let (copies, all) = (own.take("dup"), theirs.take("dup"));
    let sample = own.take("dup30");
    theirs.take("dup30");
    // All but the position.
    let rest = |row: &String| {
        let (file, row) = row.split_once('|').unwrap();
        let fields: Vec<&str> = row.split(',').collect();
        let others = [fields[0], fields[3], fields[4], fields[5]];
        format!("{file}|{}", others.join(","))
    };
    let sorted = |rows: &[String]| {
        let mut rows: Vec<String> = rows.iter().map(rest).collect();
        rows.sort();
        rows
    };
    let places: BTreeSet<&String> = all.rows.iter().collect();
    let others = copies.rows.iter().filter(|row| !places.contains(row));
    let known: BTreeSet<&String> = copies.rows.iter().collect();
    let share = sample.rows.len() as f64 / copies.rows.len() as f64;
    let is_good = own == theirs
        && sorted(&copies.rows) == sorted(&all.rows)
        && copies.indexes == all.indexes
        && others.count() == 29
        && sample.rows.iter().all(|row| known.contains(row))
        && (0.25..0.35).contains(&share);
    is_good.then_some("all copies lie where they say, and samples are some of them")
}

/// Two workers on Parquet, which the tool refuses: the same rows as with one.
fn many_threads_read_parquet(found: &Found, expected: &Found) -> Option<&'static str> {
    let mut rest = found.copy();
    let many = rest.take("mt");
    let is_good = rest == *expected && many == expected.copy().take("p");
    is_good.then_some("two workers read Parquet")
}

/// Runs a step as its script does, in the case's folder.
fn step(bench: &Bench, call: &str) -> Outcome {
    let folder = bench.path("case");
    let call = call.replace(['\'', '"'], "");
    let call = call.replace("$PWD", folder.to_str().unwrap());
    let mut words = call.split_whitespace();
    let tool = words.next().unwrap().strip_prefix("$BIN/").unwrap();
    let command = Command::new(bench.path("bin").join(tool))
        .args(words)
        .current_dir(folder)
        // The cases append on purpose.
        .env("SKYPREP_APPEND", "always")
        .stdin(Stdio::null())
        .output();
    command.unwrap().into()
}

/// Runs a case; returns what was found, or what is wrong.
fn run(folder: &Path, wanted: Wanted) -> Result<String, String> {
    if let Elsewhere(place) = wanted {
        return Ok(format!("not here: {place}"));
    }
    let bench = Bench::in_memory();
    fs::create_dir(bench.path("bin")).unwrap();
    for tool in TOOLS {
        let link = bench.path("bin").join(tool);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_skyprep"), link).unwrap();
    }
    fs::create_dir_all(bench.path("case/out")).unwrap();
    for (path, _) in files(folder) {
        let plain = path.strip_suffix(".gz").unwrap_or(&path);
        if !path.starts_with("expected/") {
            let bytes = unzipped(&folder.join(plain)).unwrap();
            bench.write(&format!("case/{plain}"), bytes);
        }
    }
    let expected = folder.join("expected");
    let codes = fs::read_to_string(expected.join("rc.txt")).unwrap();
    let codes: Vec<i32> = codes
        .lines()
        .filter_map(|line| line.split("rc=").nth(1)?.parse().ok())
        .collect();
    let script = fs::read_to_string(folder.join("cmd.sh")).unwrap();
    let calls: Vec<&str> = script
        .lines()
        .filter(|line| line.starts_with("\"$BIN\""))
        .collect();
    assert_eq!(calls.len(), codes.len(), "{}", folder.display());
    for (number, (call, code)) in (1..).zip(calls.iter().zip(codes)) {
        let outcome = step(&bench, call);
        check_step(number, &outcome, code, wanted, &expected)
            .map_err(|wrong| format!("step {number}: {wrong}; {}", outcome.stderr))?;
    }
    let found = Found::in_folder(&bench.path("case/out"));
    let of_tool = Found::of_tool(&expected);
    match wanted {
        Equal if found == of_tool => Ok(format!("equal, {} rows", found.rows.len())),
        Equal => Err(difference(&found, &of_tool)),
        Better(_, check) => match check(&found, &of_tool) {
            Some(what) => Ok(format!("better: {what}")),
            None => Err(difference(&found, &of_tool)),
        },
        Refused(_) if found == Found::default() => Ok("refused with its place".into()),
        Refused(_) => Err(format!("{} rows are left", found.rows.len())),
        Elsewhere(place) => Ok(place.into()),
    }
}

/// Compares exit code and stdout of a step with the tool's.
fn check_step(
    number: usize,
    outcome: &Outcome,
    code: i32,
    wanted: Wanted,
    expected: &Path,
) -> Result<(), String> {
    if let Refused(said) = wanted {
        let place = ["in/t.csv, line ", said];
        let is_told = place.iter().all(|part| outcome.stderr.contains(part));
        return match outcome.code {
            1 if is_told => Ok(()),
            code => Err(format!("exit code {code}, expected 1 and {place:?}")),
        };
    }
    let code = match wanted {
        Better(steps, _) if steps.contains(&number) => 0,
        _ => code,
    };
    if outcome.code != code {
        return Err(format!("exit code {}, expected {code}", outcome.code));
    }
    let mut lines = outcome.stderr.lines();
    if code != 0 && !lines.any(|line| line.starts_with("error: ")) {
        return Err("no error is printed".into());
    }
    let stdout = unzipped(&expected.join(format!("step{number}.stdout"))).unwrap_or_default();
    let stdout = String::from_utf8(stdout).unwrap();
    let own = String::from_utf8_lossy(&outcome.stdout);
    if code != 0 || matches!(wanted, Better(steps, _) if steps.contains(&number)) {
        return Ok(());
    }
    if !stdout.contains("chunkStats") {
        let is_same = stdout == own;
        return is_same
            .then_some(())
            .ok_or_else(|| format!("stdout is {own}"));
    }
    let _: serde_json::Value =
        serde_json::from_str(&own).map_err(|error| format!("stdout is no JSON: {error}: {own}"))?;
    // Of rows that it does not write, the tool prints what happens to be in memory.
    let is_sane = stdout.matches("nan").count() == stdout.matches("-nan").count();
    let is_same = own == stdout.replace("-nan", "null");
    match !is_sane || is_same {
        true => Ok(()),
        false => Err(format!("statistics are {own}")),
    }
}

/// Tells some of what two results do not have in common.
fn difference(found: &Found, expected: &Found) -> String {
    let lacks = |all: &[String], other: &[String]| -> Vec<String> {
        let is_lacking = |row: &&String| other.binary_search(row).is_err();
        all.iter().filter(is_lacking).take(5).cloned().collect()
    };
    let indexes = match found.indexes == expected.indexes {
        true => "",
        false => "; binary indexes differ",
    };
    format!(
        "{} rows, expected {}; too many: {:?}; missing: {:?}{indexes}",
        found.rows.len(),
        expected.rows.len(),
        lacks(&found.rows, &expected.rows),
        lacks(&expected.rows, &found.rows),
    )
}

#[test]
fn every_case_gives_what_is_wanted() {
    let Some(shared) = shared("golden cases of the C++ tools") else {
        return;
    };
    let golden = shared.join("golden");
    let mut folders: Vec<String> = fs::read_dir(&golden)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    folders.sort();
    let known: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
    assert_eq!(folders, known, "cases that are not known, or not there");
    let outcomes: Vec<_> = CASES
        .par_iter()
        .map(|(name, wanted)| run(&golden.join(name), *wanted))
        .collect();
    let mut wrong = Vec::new();
    // Straight to stderr: what tests print with macros is not shown unless they fail.
    let mut stderr = std::io::stderr().lock();
    for ((name, _), outcome) in CASES.iter().zip(outcomes) {
        let (Ok(text) | Err(text)) = &outcome;
        let _ = writeln!(stderr, "case {name}: {text}");
        if outcome.is_err() {
            wrong.push(*name);
        }
    }
    drop(stderr);
    assert!(wrong.is_empty(), "wrong: {wrong:?}");
}

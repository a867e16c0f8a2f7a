//! Killed at every step and at any moment: nothing half done, and the same command finishes.
//!
//! `SKYPREP_CRASH_KILLS` sets the number of kills at random moments; `make crash` does 1,000.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use skyprep::publish::CRASH_POINTS;

use super::harness::{Bench, files, positions, words};
use super::job_kills::JOB_POINTS;

/// A point that is passed often, such as the renaming of each file, is tried so many times.
const PASSES: u32 = 3;

/// A command, what it needs, and what it makes.
struct Scenario {
    name: &'static str,
    /// Run beforehand, undisturbed.
    before: &'static [&'static str],
    command: &'static str,
    /// The folder or file that the command makes.
    output: &'static str,
    /// What comes of the same command once all is done.
    again: Again,
}

/// What comes of a command that has done its work.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// It finds that nothing is to be done.
    Good,
    /// It refuses to do it twice.
    Refused,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "partition",
        before: &[],
        command: "partition x.txt -o out --kind director --stripes 18 --sub-stripes 10 \
                  --overlap 0.01 --ra ra --dec dec --id id --fields id,ra,dec --chunk-index",
        output: "out",
        again: Again::Good,
    },
    Scenario {
        name: "partition --force",
        before: &[
            "partition x.txt -o out --kind director --stripes 9 --sub-stripes 10 \
                   --overlap 0.01 --ra ra --dec dec --id id --fields id,ra,dec",
        ],
        command: "partition x.txt -o out --kind director --stripes 18 --sub-stripes 10 \
                  --overlap 0.01 --ra ra --dec dec --id id --fields id,ra,dec --force",
        output: "out",
        again: Again::Good,
    },
    Scenario {
        name: "run",
        before: &[],
        command: "run prep.toml",
        output: "out",
        again: Again::Good,
    },
    Scenario {
        name: "convert to a folder",
        before: &[],
        command: "convert x.txt y.txt z.txt -o out/",
        output: "out",
        again: Again::Good,
    },
    Scenario {
        name: "convert to a file",
        before: &[],
        command: "convert x.txt y.txt -o out.txt",
        output: "out.txt",
        again: Again::Good,
    },
    Scenario {
        name: "convert --force",
        before: &["convert z.txt -o out.txt"],
        command: "convert x.txt y.txt -o out.txt --force",
        output: "out.txt",
        again: Again::Good,
    },
    Scenario {
        name: "stage",
        before: &[
            "partition x.txt -o made --kind director --stripes 18 --sub-stripes 10 \
                   --overlap 0.01 --ra ra --dec dec --fields id,ra,dec --table T",
        ],
        command: "stage made out --database d",
        output: "out",
        again: Again::Good,
    },
    Scenario {
        name: "merge",
        before: &[
            "partition x.txt -o made/x --kind director --stripes 18 --sub-stripes 10 \
                   --overlap 0.01 --ra ra --dec dec --fields id,ra,dec --table T",
            "partition y.txt -o made/y --kind director --stripes 18 --sub-stripes 10 \
                   --overlap 0.01 --ra ra --dec dec --fields id,ra,dec --table T",
        ],
        command: "merge made -o out",
        output: "out",
        again: Again::Good,
    },
    Scenario {
        name: "sph-partition, appending",
        before: &["sph-partition -c sph.json -i x.txt --out.dir=out"],
        command: "sph-partition -c sph.json -i y.txt --out.dir=out",
        output: "out",
        again: Again::Refused,
    },
];

/// Configuration of sph-partition.
const SPH: &str = r#"{
    "part": {"pos": "ra,dec", "id": "id", "chunk": "chunkId", "num-stripes": 18,
        "num-sub-stripes": 10, "overlap": 0.5},
    "in": {"csv": {"no-quote": true, "field": ["id", "ra", "dec"]}},
    "out": {"csv": {"no-quote": true}, "num-nodes": 2}
}"#;

/// Commands whose rows memory can't hold.
const LONG: &[Scenario] = &[
    Scenario {
        name: "partition, appending",
        before: &[],
        command: "partition w.txt -o out --kind director --stripes 18 --sub-stripes 10 \
                  --overlap 0.01 --ra ra --dec dec --id id --fields id,ra,dec,note --chunk-index \
                  --memory-limit 24MiB --finish append",
        output: "out",
        again: Again::Good,
    },
    Scenario {
        name: "partition, exchanging",
        before: &[],
        command: "partition w.txt -o out --kind director --stripes 18 --sub-stripes 10 \
                  --overlap 0.01 --ra ra --dec dec --id id --fields id,ra,dec,note --chunk-index \
                  --memory-limit 24MiB --finish exchange",
        output: "out",
        again: Again::Good,
    },
];

/// Crash points of commands whose rows memory can't hold.
const LONG_POINTS: &[&str] = &["run-written", "run-recorded", "merged"];

const PIPELINE: &str = r#"
[database]
name = "d"
stripes = 18
sub_stripes = 10
overlap = 0.01

[product.x]
inputs = ["x.txt"]
fields = ["id", "ra", "dec"]

[product.y]
inputs = ["y.txt"]
fields = ["id", "ra", "dec"]

[table.X]
kind = "director"
products = ["x"]
id = "id"
ra = "ra"
dec = "dec"

[table.Y]
kind = "regular"
products = ["y"]

[stage]
dest = "out"
"#;

/// A scenario in a folder of its own, with what the undisturbed run gives.
struct Stage {
    bench: Bench,
    scenario: &'static Scenario,
    /// What stands before the command.
    before: BTreeMap<String, Vec<u8>>,
    expected: BTreeMap<String, Vec<u8>>,
    seconds: Duration,
}

impl Stage {
    fn new(scenario: &'static Scenario, rows: usize) -> Self {
        let bench = Bench::in_memory();
        bench.write("x.txt", positions(rows, 7919));
        bench.write("y.txt", positions(rows / 2, 6101));
        bench.write("z.txt", positions(rows / 3, 5003));
        if scenario.command.contains("w.txt") {
            let note = format!("\t{}\n", "note ".repeat(60));
            bench.write("w.txt", positions(40_000, 7919).replace('\n', &note));
        }
        bench.write("prep.toml", PIPELINE);
        bench.write("sph.json", SPH);
        let mut stage = Self {
            bench,
            scenario,
            before: BTreeMap::new(),
            expected: BTreeMap::new(),
            seconds: Duration::ZERO,
        };
        stage.reset();
        stage.before = stage.outputs();
        let start = Instant::now();
        stage.bench.run(words(scenario.command)).ok();
        stage.seconds = start.elapsed();
        stage.expected = stage.outputs();
        assert!(stage.expected.len() > usize::from(scenario.output == "out"));
        stage
    }

    /// Brings back what there was before the command.
    fn reset(&self) {
        for name in ["out", "made"] {
            let _ = fs::remove_dir_all(self.bench.path(name));
        }
        for name in ["out.txt", ".out.txt.partial"] {
            let _ = fs::remove_file(self.bench.path(name));
        }
        for command in self.scenario.before {
            self.bench.run(words(command)).ok();
        }
    }

    /// The files under final names; what is known to differ from run to run is left out.
    fn outputs(&self) -> BTreeMap<String, Vec<u8>> {
        let output = self.bench.path(self.scenario.output);
        if output.is_file() {
            return BTreeMap::from([("out.txt".to_owned(), fs::read(output).unwrap())]);
        }
        let mut found = files(&output);
        for (name, bytes) in &mut found {
            if name.ends_with("report.json") {
                // Times differ; that it is whole is what counts.
                serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
                bytes.clear();
            }
        }
        found
    }

    fn start(&self, crash_at: Option<&str>) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skyprep"));
        command
            .args(words(self.scenario.command))
            .current_dir(self.bench.root())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(place) = crash_at {
            command.env("SKYPREP_CRASH_AT", place);
        }
        command.spawn().unwrap()
    }

    /// Runs the command and lets it crash there; says whether it came so far.
    fn crash(&self, place: &str) -> bool {
        let status = self.start(Some(place)).wait().unwrap();
        if status.signal() == Some(9) {
            return true;
        }
        let name = self.scenario.name;
        assert!(status.success(), "{name}, {place}: {status}");
        false
    }

    /// Final names hold what they should, or what was there before.
    fn check_after_kill(&self, at: &str) {
        let name = self.scenario.name;
        let found = self.outputs();
        if found.keys().any(|file| file.ends_with("manifest.jsonl")) {
            let is_there = |file: &String| found.contains_key(file);
            assert!(
                self.expected.keys().all(is_there),
                "{name}, {at}: an untrue manifest"
            );
        }
        for (file, bytes) in found {
            if file.rsplit('/').next().unwrap().starts_with('.') {
                continue;
            }
            let is_whole = [&self.expected, &self.before]
                .iter()
                .any(|all| all.get(&file) == Some(&bytes));
            assert!(is_whole, "{name}, {at}: {file} is partial");
        }
    }

    /// The same command again finishes, and nothing tells of the kill any more.
    fn check_again(&self, at: &str) {
        let name = self.scenario.name;
        let again = self.bench.run(words(self.scenario.command));
        // A kill behind the last step is as good as none.
        let is_refused = self.scenario.again == Again::Refused
            && again.code == 1
            && again
                .stderr
                .contains("the rows of this file are in out already");
        assert!(
            again.code == 0 || is_refused,
            "{name}, {at}: {}",
            again.stderr
        );
        let found = self.outputs();
        let names = |all: &BTreeMap<String, _>| all.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&found), names(&self.expected), "{name}, {at}");
        assert!(found == self.expected, "{name}, {at}: other bytes");
        let litter = litter(self.bench.root());
        assert!(litter.is_empty(), "{name}, {at}: {litter:?} is left");
    }
}

/// Hidden files other than those that stay.
fn litter(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name == ".skyprep" {
            let inner = fs::read_dir(&path).unwrap();
            let names = inner.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            found.extend(names.filter(|name| name != "record.jsonl" && name != "report.json"));
        } else if name.starts_with('.') {
            found.push(name);
        } else if path.is_dir() {
            found.extend(litter(&path));
        }
    }
    found
}

/// Crashes at every point, after `first` if that is given; returns the points that were reached.
fn crash_everywhere(
    stage: &Stage,
    first: Option<&str>,
    points: &[&'static str],
) -> BTreeSet<&'static str> {
    let mut reached = BTreeSet::new();
    for point in points {
        for pass in 1..=PASSES {
            stage.reset();
            let place = format!("{point}:{pass}");
            let at = format!("{} {place}", first.unwrap_or_default());
            if let Some(first) = first {
                assert!(stage.crash(first), "{first} is not reached");
            }
            if !stage.crash(&place) {
                break;
            }
            reached.insert(*point);
            stage.check_after_kill(&at);
            stage.check_again(&at);
        }
    }
    reached
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no crash points")]
fn a_crash_at_any_step_does_no_harm() {
    let reached: BTreeSet<&str> = std::thread::scope(|scope| {
        let runs: Vec<_> = SCENARIOS
            .iter()
            .map(|scenario| {
                scope.spawn(|| crash_everywhere(&Stage::new(scenario, 60), None, CRASH_POINTS))
            })
            .collect();
        let long = LONG.iter().map(|scenario| {
            scope.spawn(|| crash_everywhere(&Stage::new(scenario, 60), None, LONG_POINTS))
        });
        let runs = runs.into_iter().chain(long.collect::<Vec<_>>());
        runs.flat_map(|run| run.join().unwrap()).collect()
    });
    let twice: BTreeSet<&str> = std::thread::scope(|scope| {
        let runs: Vec<_> = ["rename-after:2", "intent-written", "done-synced"]
            .into_iter()
            .map(|first| {
                let stage = || Stage::new(&SCENARIOS[1], 40);
                scope.spawn(move || crash_everywhere(&stage(), Some(first), CRASH_POINTS))
            })
            .collect();
        runs.into_iter()
            .flat_map(|run| run.join().unwrap())
            .collect()
    });
    let unreached: Vec<_> = CRASH_POINTS
        .iter()
        .filter(|point| !reached.contains(*point) && !twice.contains(*point))
        .filter(|point| !JOB_POINTS.contains(point))
        .collect();
    assert!(unreached.is_empty(), "never reached: {unreached:?}");
}

#[test]
fn a_kill_at_any_moment_does_no_harm() {
    let kills: u32 = std::env::var("SKYPREP_CRASH_KILLS").map_or(40, |text| text.parse().unwrap());
    let scenarios = SCENARIOS.iter().chain(LONG);
    let stages: Vec<Stage> = scenarios.map(|s| Stage::new(s, 2000)).collect();
    // A fixed row of moments, so that a failure comes again.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..kills {
        let stage = &stages[round as usize % stages.len()];
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let moment = stage
            .seconds
            .mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64);
        stage.reset();
        let mut child = stage.start(None);
        std::thread::sleep(moment);
        child.kill().unwrap();
        child.wait().unwrap();
        let at = format!("round {round}, after {moment:?}");
        stage.check_after_kill(&at);
        let output = stage.bench.path(stage.scenario.output);
        let is_done = output.is_file() && !stage.bench.path(".out.txt.partial").exists();
        if is_done && stage.before.is_empty() {
            // One output file has no record: that it is complete can't be told from the outside.
            assert_eq!(stage.outputs(), stage.expected, "{at}");
        } else {
            stage.check_again(&at);
        }
    }
}

//! Tasks and commits killed at every step and at any moment: the same commands finish the job.
//!
//! `SKYPREP_CRASH_KILLS` sets the number of kills at random moments; `make crash` does 1,000.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use skyprep::publish::CRASH_POINTS;

use super::harness::{Bench, positions, times};
use super::job_bench::{JobBench, Made};

/// Crash points that only jobs pass.
pub(crate) const JOB_POINTS: &[&str] = &[
    "record-written",
    "record-named",
    "set-published",
    "sets-published",
    "generation-named",
];

/// Crash points of tasks.
const TASK_POINTS: &[&str] = &[
    "partial-made",
    "partial-written",
    "partial-synced",
    "final-named",
    "final-synced",
    "record-written",
    "record-named",
];

/// A point that is passed often is tried so many times.
const PASSES: u32 = 2;

/// Kills at random moments, without `SKYPREP_CRASH_KILLS`.
const KILLS: usize = 30;

const PIPELINE: &str = r#"
[database]
name = "d"
stripes = 18
sub_stripes = 10
overlap = 0.5

[product.x]
inputs = ["x-*.txt"]
fields = ["id", "ra", "dec"]

[product.y]
inputs = ["y.txt"]
fields = ["number", "id", "flux"]

[product.z]
inputs = ["z.txt"]
fields = ["id", "ra", "dec"]

[table.X]
kind = "director"
products = ["x"]
id = "id"
ra = "ra"
dec = "dec"

[table.Y]
kind = "child"
director = "X"
products = ["y"]
id = "id"

[table.Z]
kind = "regular"
products = ["z"]

[stage]
dest = "out"
"#;

/// A job with tasks of all kinds, and what is to come of it.
struct Scene {
    job: JobBench,
    /// Scratch space, on a disk: in memory it would not be used.
    node: Bench,
    /// The stages, each a list of tasks such as `map 7`.
    stages: Vec<Vec<String>>,
    expected: Made,
    /// How long the longest task takes undisturbed.
    moment: Duration,
}

impl Scene {
    fn new() -> Self {
        let bench = Bench::in_memory();
        let (files, rows) = (6, 20);
        let all = positions(files * rows, 7919);
        let all: Vec<&str> = all.split_inclusive('\n').collect();
        for (number, part) in all.chunks(rows).enumerate() {
            bench.write(&format!("x-{number}.txt"), part.concat());
        }
        let y = (0..60).map(|row| format!("{row}\t{}\t{row}.5\n", row * 37 % (files * rows)));
        bench.write("y.txt", y.collect::<String>());
        bench.write("z.txt", positions(20, 5003));
        bench.write("prep.toml", PIPELINE);
        bench.run(["run", "prep.toml"]).ok();
        let expected = Made::of(&bench.path("out/d"));
        // The manifest names places, so the job's are to be the same.
        fs::rename(bench.path("out"), bench.path("run")).unwrap();

        let line = "job plan prep.toml --map-tasks 4 --reduce-tasks 2 --fan-in 2";
        let job = JobBench::plan(bench, line, "out/d");
        let stages = stages(&job.status());
        job.bench.shell("cp -a out planned").ok();
        let mut moment = Duration::ZERO;
        for task in stages.iter().flatten() {
            let start = Instant::now();
            job.run(&format!("task {task}")).ok();
            moment = moment.max(start.elapsed());
        }
        job.bench.shell("cp -a out written").ok();
        Self {
            job,
            node: Bench::new(),
            stages,
            expected,
            moment,
        }
    }

    /// Brings back how it stood when the job was `planned`, or all tasks were `written`.
    fn reset(&self, state: &str) {
        let script = format!("rm -rf out && cp -a {state} out");
        self.job.bench.shell(&script).ok();
    }

    /// The folder for scratch files, of a node.
    fn scratch(&self) -> PathBuf {
        let path = self.node.path("tmp");
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn start(&self, line: &str, crash_at: Option<&str>) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skyprep"));
        command
            .args(self.job.words(line))
            .current_dir(self.job.bench.root())
            .env("TMPDIR", self.scratch())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(place) = crash_at {
            command.env("SKYPREP_CRASH_AT", place);
        }
        command.spawn().unwrap()
    }

    /// Runs a command and lets it crash there; says whether it came so far.
    fn crash(&self, line: &str, place: &str) -> bool {
        let status = self.start(line, Some(place)).wait().unwrap();
        if status.signal() == Some(9) {
            return true;
        }
        assert!(status.success(), "{line}, {place}: {status}");
        false
    }

    /// Starts all of these at once and kills them, each at a moment or a step of its own; returns
    /// how many were met. The others must have ended with one of these codes.
    fn kill(&self, lines: &[String], codes: &[i32], random: &mut fastrand::Rng) -> usize {
        let children: Vec<(&String, Child)> = lines
            .iter()
            .map(|line| {
                let point = random.choice(CRASH_POINTS).unwrap();
                let place = format!("{point}:{}", random.u32(1..4));
                let crash_at = (cfg!(debug_assertions) && random.bool()).then_some(&*place);
                (line, self.start(line, crash_at))
            })
            .collect();
        let mut killed = 0;
        for (line, mut child) in children {
            let most = self.moment.as_micros() as u64 * 2;
            std::thread::sleep(Duration::from_micros(random.u64(0..most)));
            child.kill().unwrap();
            let status = child.wait().unwrap();
            match status.code() {
                None => killed += 1,
                Some(code) => assert!(codes.contains(&code), "{line}: {code}"),
            }
        }
        killed
    }

    /// Does a stage of tasks: some are killed first, and with them some of other stages.
    fn do_stage(&self, stage: &[String], random: &mut fastrand::Rng) -> usize {
        let mut lines = stage.to_vec();
        // Once more each, and others which come too early or too late.
        lines.extend_from_slice(stage);
        let others: Vec<&String> = self.stages.iter().flatten().collect();
        lines.extend((0..2).map(|_| others[random.usize(0..others.len())].clone()));
        random.shuffle(&mut lines);
        lines.truncate(random.usize(2..6));
        let lines: Vec<String> = lines.iter().map(|task| format!("task {task}")).collect();
        let killed = self.kill(&lines, &[0, 75], random);
        assert!(!self.job.output.exists(), "published too early");

        let mut tasks = stage.to_vec();
        random.shuffle(&mut tasks);
        let children: Vec<_> = tasks
            .iter()
            .map(|task| (task, self.start(&format!("task {task}"), None)))
            .collect();
        for (task, mut child) in children {
            let status = child.wait().unwrap();
            assert!(status.success(), "{task}: {status}");
        }
        killed
    }

    /// Final names hold what they should, and a manifest tells of what is there.
    fn check_after_kill(&self, at: &str) {
        let made = self.job.made();
        if made.has_manifest() {
            made.check(&self.expected, at);
        }
        for (name, bytes) in &made.files {
            let is_hidden = name.rsplit('/').next().unwrap().starts_with('.');
            let is_whole = self.expected.files.get(name) == Some(bytes);
            assert!(is_hidden || is_whole, "{at}: {name}");
        }
    }

    /// Commits, and checks what came of it and what is left when the garbage is gone.
    fn finish(&self, at: &str) {
        let committed = self.job.run("commit");
        if committed.code != 0 {
            // A kill behind the last step is as good as none.
            committed.failed(5, &["was committed already"]);
        }
        self.job.made().check(&self.expected, at);
        let gc = "job gc prep.toml --delete --exchange --older-than 0s";
        self.job.bench.run(gc.split(' ')).ok();
        self.job.made().check(&self.expected, at);
        self.check_left(at);
    }

    /// Nothing is left but this: what the manifest names and the director's index; the manifest and
    /// reports; the record; who made the generation; and of the job its plan, inputs and pipeline,
    /// how it was committed, one record of each task, its attempts, and the compact index.
    fn check_left(&self, at: &str) {
        let root = self.job.bench.path("out");
        let mut left: BTreeSet<PathBuf> = times(&root).into_keys().collect();
        left.retain(|path| path.is_file());
        let mut take =
            |path: PathBuf| assert!(left.remove(&path), "{at}: {} lacks", path.display());
        for name in self.expected.files.keys() {
            take(self.job.output.join(name));
        }
        for name in ["manifest.jsonl", "report.json"] {
            take(self.job.output.join(name));
        }
        for name in ["record.jsonl", "report.json", "generations/d.1.json"] {
            take(root.join(".skyprep").join(name));
        }
        for name in ["plan.json", "inputs.jsonl", "pipeline.toml", "commit.json"] {
            take(self.job.job.join(name));
        }
        for task in self.stages.iter().flatten() {
            take(self.job.record(&task.replace(' ', "-")));
        }
        take(self.compact_index());
        let attempts = self.job.job.join("attempts");
        left.retain(|path| !is_attempt(path, &attempts));
        assert!(left.is_empty(), "{at}: {left:?}");
    }

    fn compact_index(&self) -> PathBuf {
        let tasks = self.stages.iter().flatten();
        let indexes = tasks.filter_map(|task| {
            let record = fs::read(self.job.record(&task.replace(' ', "-"))).unwrap();
            let record: Value = serde_json::from_slice(&record).unwrap();
            let index = record["tables"][0]["compact_index"].as_str()?;
            Some(self.job.job.join(index))
        });
        let indexes: Vec<PathBuf> = indexes.collect();
        assert_eq!(indexes.len(), 1);
        indexes[0].clone()
    }
}

fn is_attempt(path: &Path, attempts: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    path.parent() == Some(attempts) && !name.starts_with('.') && name.ends_with(".json")
}

/// The tasks of each stage, as a status lists them.
fn stages(status: &Value) -> Vec<Vec<String>> {
    let stages = status["stages"].as_array().unwrap().iter();
    stages
        .map(|stage| {
            let kind = stage["kind"].as_str().unwrap();
            let tasks = skyprep::job::numbers_of(stage["tasks"].as_str().unwrap()).unwrap();
            tasks
                .iter()
                .map(|number| format!("{kind} {number}"))
                .collect()
        })
        .collect()
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no crash points")]
fn a_crash_of_a_task_or_a_commit_at_any_step_does_no_harm() {
    let scene = Scene::new();
    let kinds: BTreeSet<&str> = scene
        .stages
        .iter()
        .map(|stage| stage[0].split(' ').next().unwrap())
        .collect();
    assert_eq!(kinds, BTreeSet::from(["map", "merge", "reduce"]));
    let mut reached = BTreeSet::new();
    scene.reset("planned");
    for stage in &scene.stages {
        let line = format!("task {}", stage[0]);
        let record = scene.job.record(&stage[0].replace(' ', "-"));
        for point in TASK_POINTS {
            for pass in 1..=PASSES {
                let place = format!("{point}:{pass}");
                if !scene.crash(&line, &place) {
                    break;
                }
                reached.insert(*point);
                scene.job.run(&line).ok();
                // For the next crash: as if it had not been done.
                fs::remove_file(&record).unwrap();
            }
            let _ = fs::remove_file(&record);
        }
        for task in stage {
            scene.job.run(&format!("task {task}")).ok();
        }
        assert!(!scene.job.output.exists());
    }
    scene.finish("after crashes of tasks");

    for point in CRASH_POINTS {
        for pass in 1..=PASSES {
            scene.reset("written");
            let place = format!("{point}:{pass}");
            if !scene.crash("commit", &place) {
                break;
            }
            reached.insert(*point);
            scene.check_after_kill(&place);
            scene.finish(&place);
        }
    }
    for points in [JOB_POINTS, TASK_POINTS] {
        for point in points {
            assert!(reached.contains(point), "never reached: {point}");
        }
    }
}

#[test]
fn kills_of_tasks_and_commits_at_any_moment_do_no_harm() {
    let asked = std::env::var("SKYPREP_CRASH_KILLS").ok();
    let kills = asked.map_or(KILLS, |kills| kills.parse().unwrap());
    let scene = Scene::new();
    // A fixed row of moments, so that a failure comes again.
    let mut random = fastrand::Rng::with_seed(7);
    let mut killed = 0;
    let mut killed_commits = 0;
    let mut round = 0;
    while killed < kills {
        round += 1;
        scene.reset("planned");
        for stage in &scene.stages {
            killed += scene.do_stage(stage, &mut random);
        }
        for _ in 0..3 {
            let lines = vec!["commit".to_owned(); random.usize(1..3)];
            // 5: it is done; 75: somebody else is at it.
            killed_commits += scene.kill(&lines, &[0, 5, 75], &mut random);
            scene.check_after_kill(&format!("round {round}"));
        }
        scene.finish(&format!("round {round}"));
    }
    assert!(killed_commits > 0);
}

#[test]
fn scratch_files_of_killed_tasks_go_with_the_next_task() {
    let scene = Scene::new();
    scene.reset("planned");
    let scratch = || fs::read_dir(scene.scratch()).unwrap().count();
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..1000 {
        scene.kill(&["task map 1".to_owned()], &[0], &mut random);
        let record = scene.job.record("map-1");
        if scratch() > 0 {
            break;
        }
        let _ = fs::remove_file(record);
    }
    assert!(scratch() > 0, "never killed at work");
    // That of a stranger stays, and so does that of an attempt of which nothing is known.
    let stranger = scene
        .scratch()
        .join("skyprep-0123456789abcdef-map-1.host-1-0");
    fs::create_dir(&stranger).unwrap();
    let status = scene.start("task map 2", None).wait().unwrap();
    assert!(status.success());
    assert_eq!(scratch(), 1);
    assert!(stranger.exists());
}

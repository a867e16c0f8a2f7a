//! A job in a folder of its own: what it is told, who works at it, and what came of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::harness::{Bench, Outcome, files, words};

/// How long something may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);

/// What stands under final names in a database's folder. Reports are left out: they tell of times.
#[derive(PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Lines of the manifest, without the folder in URLs; none if there is no manifest.
    manifest: Vec<String>,
}

impl Made {
    pub(crate) fn of(folder: &Path) -> Self {
        let mut files = files(folder);
        files.remove("report.json");
        let manifest = files.remove("manifest.jsonl").unwrap_or_default();
        let manifest = String::from_utf8(manifest).unwrap();
        let place = format!("\"file://{}/", folder.display());
        Self {
            files,
            manifest: manifest
                .lines()
                .map(|line| line.replace(&place, "\""))
                .collect(),
        }
    }

    pub(crate) fn has_manifest(&self) -> bool {
        !self.manifest.is_empty()
    }

    /// Stops the test unless this is what `expected` is.
    #[track_caller]
    pub(crate) fn check(&self, expected: &Self, at: &str) {
        assert!(self.files.keys().eq(expected.files.keys()), "{at}");
        for (name, bytes) in &self.files {
            assert!(expected.files[name] == *bytes, "{at}: {name}");
        }
        assert_eq!(self.manifest, expected.manifest, "{at}");
    }
}

/// A job that is planned.
pub(crate) struct JobBench {
    pub(crate) bench: Bench,
    /// Folder of the database.
    pub(crate) output: PathBuf,
    /// Folder of the job.
    pub(crate) job: PathBuf,
}

impl JobBench {
    /// Plans the job with this command line; its files are to come into `output`.
    pub(crate) fn plan(bench: Bench, line: &str, output: &str) -> Self {
        let planned = bench.run(words(line)).ok();
        let job = String::from_utf8(planned.stdout).unwrap();
        Self {
            output: bench.path(output),
            job: PathBuf::from(job.trim_end()),
            bench,
        }
    }

    /// The words of `skyprep job ...` on this job.
    pub(crate) fn words(&self, line: &str) -> Vec<String> {
        words(&format!("job {line} --job {}", self.job.display()))
    }

    pub(crate) fn run(&self, line: &str) -> Outcome {
        self.bench.run(self.words(line))
    }

    pub(crate) fn status(&self) -> Value {
        let told = self.run("status --json").ok();
        serde_json::from_slice(&told.stdout).unwrap()
    }

    pub(crate) fn made(&self) -> Made {
        Made::of(&self.output)
    }

    /// Waits for a process that does such a task, and stops it in the middle of its work.
    #[track_caller]
    pub(crate) fn hold(&self, is_such: impl Fn(&TaskProcess) -> bool) -> TaskProcess {
        let start = Instant::now();
        loop {
            for process in TaskProcess::all(&self.job) {
                if is_such(&process) && process.stop() {
                    if self.is_at_work(&process) {
                        return process;
                    }
                    process.signal(Signal::CONT);
                }
            }
            assert!(start.elapsed() < PATIENCE, "{}", self.status());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Says whether a process has begun, and its task is not done.
    fn is_at_work(&self, process: &TaskProcess) -> bool {
        let id = format!("-{}-", process.process.as_raw_nonzero());
        let attempts = self.attempts(&process.task);
        let has_begun = attempts.iter().any(|attempt| attempt.contains(&id));
        has_begun && !self.record(&process.task).exists()
    }

    /// The record of a task such as `map-7`.
    pub(crate) fn record(&self, task: &str) -> PathBuf {
        self.job.join("records").join(format!("{task}.json"))
    }

    /// The names of attempts at a task.
    pub(crate) fn attempts(&self, task: &str) -> Vec<String> {
        let start = format!("{task}.");
        let all = fs::read_dir(self.job.join("attempts")).unwrap();
        let names = all.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(&start)).collect()
    }
}

/// A process that does a task.
pub(crate) struct TaskProcess {
    process: Pid,
    /// Such as `map-7`.
    pub(crate) task: String,
    /// Its environment.
    pub(crate) environment: Vec<String>,
}

impl TaskProcess {
    fn all(job: &Path) -> Vec<Self> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap() {
            let path = entry.unwrap().path();
            let number = path.file_name().unwrap().to_str().unwrap().parse();
            let Some(process) = number.ok().and_then(Pid::from_raw) else {
                continue;
            };
            let args = strings(&path.join("cmdline"));
            if let [program, "job", "task", kind, number, ..] = &refs(&args)[..]
                && *program == env!("CARGO_BIN_EXE_skyprep")
                && args.iter().any(|arg| Path::new(arg) == job)
            {
                found.push(Self {
                    process,
                    task: format!("{kind}-{number}"),
                    environment: strings(&path.join("environ")),
                });
            }
        }
        found
    }

    /// Stops it; says whether it was alive.
    fn stop(&self) -> bool {
        self.signal(Signal::STOP);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            match self.stat().first().map(String::as_str) {
                Some("T") => return true,
                None | Some("Z" | "X") => return false,
                Some(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        false
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // It may have ended by itself.
        let _ = kill_process(self.process, signal);
    }

    /// Kills the process that has started this one, and waits until it has gone.
    pub(crate) fn kill_parent(&self) {
        let parent = || self.stat()[1].clone();
        let killed = parent();
        let process = killed.parse().ok().and_then(Pid::from_raw);
        kill_process(process.unwrap(), Signal::KILL).unwrap();
        while parent() == killed {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// State, parent and more; nothing once it has gone.
    fn stat(&self) -> Vec<String> {
        let path = format!("/proc/{}/stat", self.process.as_raw_nonzero());
        let stat = fs::read_to_string(path).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        words(fields)
    }
}

/// The strings of a file that ends each by NUL; none if it can't be read.
fn strings(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap_or_default();
    let strings = bytes.split(|byte| *byte == 0);
    strings
        .map(|string| String::from_utf8_lossy(string).into_owned())
        .collect()
}

fn refs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

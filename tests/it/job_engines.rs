//! The stars by jobs, on each engine and under all that goes wrong there: always what `run` makes.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::Value;

use super::harness::{Bench, Outcome, files, words};
use super::job_bench::{JobBench, Made, TaskProcess};
use super::s3_server::venv_program;
use super::slurm_server::slurm;
use super::stars::star_bench;

/// How long the tasks of a job may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(300);

/// What `skyprep run` makes of the stars.
fn expected() -> &'static Made {
    static EXPECTED: OnceLock<Made> = OnceLock::new();
    EXPECTED.get_or_init(|| {
        let bench = star_bench();
        bench.run(words("run stars/prep.toml")).ok();
        Made::of(&bench.path("stars/out/stars"))
    })
}

/// A job of the stars with `options`, planned.
fn planned(options: &str) -> JobBench {
    let line = "job plan stars/prep.toml --map-tasks 20 --reduce-tasks 5";
    JobBench::plan(
        star_bench(),
        &format!("{line} {options}"),
        "stars/out/stars",
    )
}

fn check_result(stars: &JobBench) {
    assert_eq!(stars.status()["state"], "committed");
    stars.made().check(expected(), "stars");
}

/// A node that is killed by one test would disturb the others.
fn slurm_alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Submits to Slurm; returns the ids of its jobs.
fn submit_to_slurm(stars: &JobBench, options: &str, crash_at: Option<&str>) -> Vec<String> {
    let mut command = slurm().command(env!("CARGO_BIN_EXE_skyprep"));
    let line = format!("submit --engine slurm --cpus-per-task 1 --mem 500M --time 5 {options}");
    command
        .args(stars.words(&line))
        .current_dir(stars.bench.root());
    if let Some(point) = crash_at {
        // Jobs inherit the environment of who submits them.
        command.env("SKYPREP_CRASH_AT", point);
    }
    let told = Outcome::from(command.output().unwrap()).ok().stdout;
    let told = String::from_utf8(told).unwrap();
    let ids = told.lines().filter_map(|line| line.split(' ').next());
    ids.map(str::to_owned).collect()
}

fn wait_for_slurm(ids: &[String]) {
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    slurm().wait_for_jobs(&ids, PATIENCE);
}

#[test]
fn slurm_makes_what_run_makes() {
    let _alone = slurm_alone();
    let stars = planned("");
    submit_to_slurm(&stars, "", None);
    stars.run("wait --interval 200ms --timeout 5min").ok();
    check_result(&stars);
    slurm().wait_idle(PATIENCE);
}

#[test]
fn slurm_finishes_a_job_whose_tasks_nodes_and_submissions_come_to_harm() {
    let _alone = slurm_alone();
    let stars = planned("");
    if cfg!(debug_assertions) {
        all_tasks_kill_themselves(&stars);
    }

    // The same job twice at once, a task of it killed, a whole node lost, and a reduce task killed.
    let submit = || submit_to_slurm(&stars, "", None);
    let mut ids: Vec<String> = std::thread::scope(|scope| {
        let both = [scope.spawn(submit), scope.spawn(submit)];
        let both = both.map(|submission| submission.join().unwrap());
        both.into_iter().flatten().collect()
    });
    let is_on = |task: &TaskProcess, node: &str| {
        let name = format!("SLURMD_NODENAME={node}");
        task.environment.contains(&name)
    };
    let lost = stars.hold(|task| is_on(task, "n3"));
    let killed = stars.hold(|task| !is_on(task, "n3"));
    killed.signal(Signal::KILL);
    slurm().kill_node("n3");
    stars
        .hold(|task| task.task.starts_with("reduce"))
        .signal(Signal::KILL);

    let mut rounds = 0;
    loop {
        wait_for_slurm(&ids);
        if stars.status()["state"] == "committed" {
            break;
        }
        rounds += 1;
        assert!(rounds < 5, "{}", stars.status());
        ids = submit_to_slurm(&stars, "", None);
    }
    for task in [&lost.task, &killed.task] {
        assert!(stars.attempts(task).len() > 1, "{task}");
    }
    check_result(&stars);
    slurm().revive_node("n3");
}

/// Submits a job each of whose tasks dies when it is about to name its record.
fn all_tasks_kill_themselves(stars: &JobBench) {
    let ids = submit_to_slurm(stars, "--max-restarts 0", Some("record-written"));
    wait_for_slurm(&ids);
    let status = stars.status();
    assert_eq!(status["state"], "lost");
    let first = &status["stages"][0];
    assert_eq!(
        (&first["done"], &first["lost"]),
        (&0.into(), &first["left"])
    );
    assert!(!stars.output.exists());
}

/// A file system that is soon full, where this user may mount one.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts `what` below the bench.
    fn mount(bench: &Bench, options: &[&str], what: &Path) -> Option<Self> {
        let at = bench.path("disk");
        fs::create_dir(&at).unwrap();
        let mut command = Command::new("mount");
        let output = command.args(options).arg(what).arg(&at).output();
        if output.is_ok_and(|output| output.status.success()) {
            return Some(Self { at });
        }
        let why = "SKIPPED: can't mount a small file system (not root?): full disks of jobs";
        // Straight to stderr: what tests print with macros is not shown unless they fail.
        let _ = writeln!(std::io::stderr(), "{why}");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// Submits a job that finds no room; it stays unfinished.
fn submit_without_room(stars: &JobBench, submit: &str) {
    let bench = &stars.bench;
    let line = stars.words("submit --workers 2 --retries 0").join(" ");
    let full = bench.shell(&format!("{submit} skyprep {line}"));
    full.failed(75, &["No space left on device", "submit the job again"]);
    let status = stars.status();
    assert_eq!(status["state"], "planned");
    assert_ne!(status["stages"][0]["left"], "");
    assert!(!stars.output.exists());
}

/// The names of exchange files, and of those that records tell of.
fn exchange_files(stars: &JobBench, folder: &Path) -> (Vec<String>, Vec<String>) {
    let there = files(folder).into_keys();
    let records = files(&stars.job.join("records")).into_values();
    let sealed = records.filter_map(|record| {
        let record: Value = serde_json::from_slice(&record).unwrap();
        let path = record["sealed"]["path"].as_str()?.to_owned();
        Some(path.rsplit('/').next().unwrap().to_owned())
    });
    let mut sealed: Vec<String> = sealed.collect();
    sealed.sort();
    let there = there.map(|name| name.rsplit('/').next().unwrap().to_owned());
    (there.collect(), sealed)
}

#[test]
fn a_full_disk_for_exchange_files_only_delays_a_job() {
    let stars = planned("--exchange-dir disk");
    let options = ["-t", "tmpfs", "-o", "size=64k"];
    let Some(disk) = SmallDisk::mount(&stars.bench, &options, Path::new("tmpfs")) else {
        return;
    };
    submit_without_room(&stars, "");
    let (there, recorded) = exchange_files(&stars, &disk.at);
    assert_eq!(there, recorded);

    let script = "mount -o remount,size=64m disk";
    stars.bench.shell(script).ok();
    stars.run("submit --workers 2").ok();
    check_result(&stars);
}

#[test]
fn a_full_disk_for_scratch_files_only_delays_a_job() {
    let stars = planned("");
    let script = "truncate -s 2M image && mkfs.ext4 -q -N 16 image";
    if stars.bench.shell(script).code != 0 {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no mkfs.ext4: full scratch disks"
        );
        return;
    }
    let image = stars.bench.path("image");
    let Some(_disk) = SmallDisk::mount(&stars.bench, &["-o", "loop"], &image) else {
        return;
    };
    // Full of files: nothing that is not there yet can be made.
    let fill = "for n in {1..99}; do touch disk/other-$n || exit 0; done; exit 1";
    stars.bench.shell(fill).ok();
    submit_without_room(&stars, "TMPDIR=disk");
    stars.bench.shell("rm disk/other-*").ok();
    let line = stars.words("submit --workers 2").join(" ");
    stars
        .bench
        .shell(&format!("TMPDIR=disk skyprep {line}"))
        .ok();
    check_result(&stars);
}

/// Writes a file that looks as old as it was.
fn write_unseen(path: &Path, bytes: &[u8], modified: SystemTime) {
    fs::write(path, bytes).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(modified).unwrap();
}

#[test]
fn a_damaged_input_fails_its_task_and_all_that_wait_for_it() {
    let stars = planned("");
    let path = stars.bench.path("stars/stars/part-07.parquet");
    let whole = fs::read(&path).unwrap();
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle - 2000..middle + 2000].fill(0xff);
    write_unseen(&path, &damaged, modified);

    let submitted = stars.run("submit --workers 2 --retries 1");
    submitted.failed(4, &["part-07.parquet", "has failed (exit code 4"]);
    let status = stars.status();
    assert_eq!(status["state"], "failed");
    let [trouble] = &status["troubles"].as_array().unwrap()[..] else {
        panic!("{status}");
    };
    assert_eq!(trouble["exit"], 4);
    let task = trouble["task"].as_str().unwrap();
    let message = trouble["message"].as_str().unwrap();
    assert!(message.contains("part-07.parquet"), "{message}");
    let told = String::from_utf8(stars.run("status").ok().stdout).unwrap();
    let line = told
        .lines()
        .find(|line| line.contains(task) && line.contains(message));
    assert!(line.is_some(), "{told}");

    let failure = format!("{task} has failed (exit code 4)");
    for line in ["task reduce 1", "task reduce 6", "commit"] {
        stars.run(line).failed(1, &[&failure, "part-07.parquet"]);
    }
    stars.run("wait").failed(4, &[task, "part-07.parquet"]);
    assert!(!stars.output.exists());

    write_unseen(&path, &whole, modified);
    stars.run("submit --workers 2").ok();
    check_result(&stars);
}

#[test]
fn dask_finishes_a_job_of_which_a_worker_is_killed() {
    let stars = planned("");
    let python = venv_program("python");
    let line = format!(
        "submit --engine dask --workers 3 --python {}",
        python.display()
    );
    let child = Command::new(env!("CARGO_BIN_EXE_skyprep"))
        .args(stars.words(&line))
        .current_dir(stars.bench.root())
        // Where Dask keeps what its workers spill.
        .env("TMPDIR", stars.bench.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let task = stars.hold(|_| true);
    task.kill_parent();
    // The kernel has told it to end.
    task.signal(Signal::CONT);
    Outcome::from(child.wait_with_output().unwrap()).ok();
    assert!(stars.attempts(&task.task).len() > 1);
    check_result(&stars);
}

//! `skyprep job submit`: this machine, Slurm or Dask start the tasks that are left.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use skyprep::error::{Error, ErrorKind, Place};
use skyprep::job::{
    JobFolder, JobState, Plan, StageStatus, TaskKind, TaskName, TaskStage, numbers_of, scripts,
    status,
};
use skyprep::pipeline::{Events, RunEvents};
use skyprep::publish::{create_folders, write_atomically};

use crate::job_args::{EngineArg, JobSubmitArgs};
use crate::progress::Progress;
use crate::session::Session;

/// The driver for Dask; written beside the job, so that Python finds it.
const DASK_DRIVER: &str = include_str!("../../../../job/skyprep_dask.py");

/// Pause before a task is tried again that ended with 75; so long a file may be somebody else's.
const PAUSE: Duration = Duration::from_secs(1);

/// Has the tasks that are left done.
pub fn run(args: &JobSubmitArgs, session: &Session) -> Result<()> {
    let folder = JobFolder::open(&args.job.job)?;
    let found = status(&folder)?;
    if found.state == JobState::Committed {
        session.printer.note("the job is committed; nothing to do");
        return Ok(());
    }
    match args.engine {
        EngineArg::Local => local(args, &folder, &found.stages, session),
        EngineArg::Slurm => slurm(args, &folder, &found.stages, session),
        EngineArg::Dask => dask(args, &folder, session),
    }
}

fn left(stage: &StageStatus) -> Vec<u32> {
    numbers_of(&stage.left).unwrap_or_default()
}

fn own_program() -> Result<PathBuf> {
    std::env::current_exe().context("finding this program")
}

/// Runs tasks as processes of their own, some at a time, and commits the job.
fn local(
    args: &JobSubmitArgs,
    folder: &JobFolder,
    stages: &[StageStatus],
    session: &Session,
) -> Result<()> {
    let workers = args.workers.unwrap_or(1) as usize;
    let limits = session.limits();
    let runner = Runner {
        program: own_program()?,
        folder,
        plan: folder.plan()?,
        threads: (limits.threads / workers).max(1),
        memory: limits.gate.limit() / workers as u64,
        tmpdir: limits.spill_folder.clone(),
        retries: args.retries,
        session,
        failed: Mutex::default(),
        is_over: AtomicBool::new(false),
    };
    if args.dry_run {
        for stage in stages {
            for number in left(stage) {
                let words = runner.words(TaskName::new(stage.kind, number));
                session.printer.result(&format!("{}\n", words.join(" ")))?;
            }
        }
        return Ok(());
    }
    let progress = Progress::new(session);
    for stage in stages {
        let numbers = left(stage);
        if numbers.is_empty() {
            continue;
        }
        let what = format!("{} tasks {}", stage.kind.word(), stage.left);
        progress.pass_starts(
            &[what],
            numbers
                .iter()
                .map(|number| runner.bytes_of(TaskName::new(stage.kind, *number)))
                .sum(),
        );
        runner.run_all(stage.kind, &numbers, workers, &progress)?;
        progress.pass_ends();
        runner.end_of_stage()?;
    }
    progress.end();
    if args.no_commit {
        session.printer.note(&format!(
            "next: skyprep job commit --job {}",
            folder.path().display()
        ));
        return Ok(());
    }
    let mut command = runner.command(&["job".into(), "commit".into(), "--job".into()]);
    command.arg(folder.path());
    if session.printer.is_quiet() {
        command.arg("--quiet");
    }
    let status = command.status().context("running this program")?;
    match skyprep::job::committed(folder)? {
        Some(_) => ended(status, "the job is committed, but what came of it"),
        None => ended(status, "committing the job"),
    }
}

/// Runs tasks on this machine.
struct Runner<'a> {
    program: PathBuf,
    folder: &'a JobFolder,
    plan: Plan,
    threads: usize,
    memory: u64,
    tmpdir: Option<PathBuf>,
    retries: u32,
    session: &'a Session,
    /// The first task that failed, with its exit code.
    failed: Mutex<Option<(TaskName, u8)>>,
    is_over: AtomicBool,
}

impl Runner<'_> {
    fn words(&self, task: TaskName) -> Vec<String> {
        vec![
            "job".to_owned(),
            "task".to_owned(),
            task.kind.word().to_owned(),
            task.number.to_string(),
            "--job".to_owned(),
            self.folder.path().display().to_string(),
            "--threads".to_owned(),
            self.threads.to_string(),
            "--memory-limit".to_owned(),
            self.memory.to_string(),
        ]
    }

    fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).stdin(Stdio::null());
        // What was said of this command is not meant for each task.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("SKYPREP_") && name != "SKYPREP_CRASH_AT" {
                command.env_remove(name);
            }
        }
        if let Some(tmpdir) = &self.tmpdir {
            command.env("TMPDIR", tmpdir);
        }
        command
    }

    /// Returns the bytes of input that a task reads.
    fn bytes_of(&self, task: TaskName) -> u64 {
        self.plan.map_bytes(task).unwrap_or(0)
    }

    fn run_all(
        &self,
        kind: TaskKind,
        numbers: &[u32],
        workers: usize,
        progress: &Progress<'_>,
    ) -> Result<()> {
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
                if self.is_over.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let task = TaskName::new(kind, *number);
                let is_done = self.run_one(task)?;
                if let (true, TaskKind::Map) = (is_done, kind) {
                    let record = self.folder.record(task)?;
                    let tables = record.map(|record| record.tables).unwrap_or_default();
                    let rows = tables.iter().map(|table| table.rows_in).sum();
                    progress.advance(self.bytes_of(task), rows);
                }
            }
            Ok::<(), anyhow::Error>(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            // All are waited for, whatever becomes of one.
            let ends: Vec<_> = threads
                .into_iter()
                .map(std::thread::ScopedJoinHandle::join)
                .collect();
            ends.into_iter().try_for_each(|end| {
                end.unwrap_or_else(|_| {
                    let message = "a thread that waits for tasks died";
                    Err(Error::new(ErrorKind::Internal, message).into())
                })
            })
        })
    }

    /// Runs one task, as often as it asks for; says whether it is done.
    fn run_one(&self, task: TaskName) -> Result<bool> {
        let again = ErrorKind::NotYet.exit_code();
        let mut code = again;
        for attempt in 0..=self.retries {
            if attempt > 0 {
                std::thread::sleep(PAUSE);
            }
            let words: Vec<String> = self
                .words(task)
                .into_iter()
                .chain(["--quiet".to_owned()])
                .collect();
            let mut child = self
                .command(&words)
                .stdout(Stdio::null())
                .spawn()
                .context("running this program")?;
            let status = loop {
                match child.try_wait()? {
                    Some(status) => break status,
                    None if self.session.limits().cancel.signal().is_some() => {
                        stop(&child);
                        self.is_over.store(true, Ordering::Relaxed);
                        break child.wait()?;
                    }
                    None => std::thread::sleep(Duration::from_millis(20)),
                }
            };
            code = match status.code() {
                Some(0) => return Ok(true),
                Some(code) => u8::try_from(code).unwrap_or(10),
                // Killed by somebody: trying again may help.
                None => again,
            };
            if code != again || self.session.limits().cancel.signal().is_some() {
                break;
            }
        }
        let mut failed = self
            .failed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        failed.get_or_insert((task, code));
        Ok(false)
    }

    /// Ends the command if a task of the stage has failed.
    fn end_of_stage(&self) -> Result<()> {
        self.session.limits().cancel.check()?;
        let failed = self
            .failed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some((task, code)) = *failed else {
            return Ok(());
        };
        let kind = ErrorKind::of_exit_code(code).unwrap_or(ErrorKind::Internal);
        Err(Error::new(
            kind,
            format!("{task} has failed (exit code {code}, see above)"),
        )
        .at(Place::file(self.folder.path().display().to_string()))
        .hint("put that right and submit the job again: what is done is not done again")
        .into())
    }
}

/// Asks a task to end.
fn stop(child: &std::process::Child) {
    // A process that has ended meanwhile needs no signal.
    let id = i32::try_from(child.id()).ok();
    if let Some(id) = id.and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
}

fn ended(status: ExitStatus, what: &str) -> Result<()> {
    match status.code() {
        Some(0) => Ok(()),
        code => {
            let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(10);
            let kind = ErrorKind::of_exit_code(code).unwrap_or(ErrorKind::Internal);
            Err(Error::new(kind, format!("{what} failed (exit code {code}, see above)")).into())
        }
    }
}

/// Writes batch scripts and submits them.
fn slurm(
    args: &JobSubmitArgs,
    folder: &JobFolder,
    stages: &[StageStatus],
    session: &Session,
) -> Result<()> {
    let stages: Vec<TaskStage> = stages
        .iter()
        .map(|stage| TaskStage {
            kind: stage.kind,
            numbers: left(stage),
        })
        .collect();
    let plan = folder.plan()?;
    let options = args.slurm.resolve();
    let program = own_program()?;
    let all = scripts(
        plan.id.as_str(),
        folder.path(),
        &program,
        &stages,
        &options,
        !args.no_commit,
    );
    let place = folder.file("slurm");
    create_folders(&place.join("log"))?;
    let mut ids: Vec<String> = Vec::with_capacity(all.len());
    for script in &all {
        let path = place.join(&script.file_name);
        write_script(&path, &script.text)?;
        let mut command = Command::new("sbatch");
        command.arg("--parsable");
        // In a dry run the ids of jobs are the names of their scripts.
        if let Some(dependency) = script.dependency(&ids) {
            command.arg(format!("--dependency={dependency}"));
        }
        command.arg(&path);
        if args.dry_run {
            session
                .printer
                .data(format!("{}\n", shown(&command)).as_bytes())?;
            ids.push(script.file_name.clone());
            continue;
        }
        let id = submitted(command)?;
        session
            .printer
            .data(format!("{id} {}\n", path.display()).as_bytes())?;
        ids.push(id);
    }
    if !args.dry_run {
        session.printer.note(&format!(
            "next: skyprep job wait --job {}",
            folder.path().display()
        ));
    }
    Ok(())
}

/// Writes a script that another submission of the same job may be writing, too.
fn write_script(path: &Path, text: &str) -> Result<()> {
    let start = Instant::now();
    loop {
        match write_atomically(path, text.as_bytes()) {
            Err(error) if error.kind() == ErrorKind::OutputRefused && start.elapsed() < PAUSE => {
                std::thread::sleep(Duration::from_millis(20));
            }
            written => return Ok(written?),
        }
    }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    words.join(" ")
}

/// Submits a script; returns the id of its job.
fn submitted(mut command: Command) -> Result<String> {
    let output = command.output().map_err(|error| {
        Error::usage(format!("can't run sbatch: {error}"))
            .hint("run this command where Slurm is, or say --dry-run and submit the scripts there")
    })?;
    let said = String::from_utf8_lossy(&output.stdout);
    // With several clusters the name of the one comes behind.
    let id = said.trim().split(';').next().unwrap_or_default().to_owned();
    if output.status.success() && !id.is_empty() {
        return Ok(id);
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::new(
        ErrorKind::ServerRefused,
        format!("sbatch refuses: {reason}"),
    )
    .hint(format!("the command was: {}", shown(&command)))
    .into())
}

/// Lets Dask run the tasks.
fn dask(args: &JobSubmitArgs, folder: &JobFolder, session: &Session) -> Result<()> {
    let place = folder.file("dask");
    create_folders(&place)?;
    let driver = place.join("skyprep_dask.py");
    write_script(&driver, DASK_DRIVER)?;
    let mut command = Command::new(&args.dask.python);
    command.arg(&driver).arg("--job").arg(folder.path());
    command.arg("--skyprep").arg(own_program()?);
    command.arg("--retries").arg(args.retries.to_string());
    match &args.dask.scheduler {
        Some(address) => command.arg("--scheduler").arg(address),
        None => command
            .arg("--workers")
            .arg(args.workers.unwrap_or(2).to_string()),
    };
    if args.no_commit {
        command.arg("--no-commit");
    }
    if args.dry_run {
        return session
            .printer
            .data(format!("{}\n", shown(&command)).as_bytes());
    }
    let status = command.status().map_err(|error| {
        let program = args.dask.python.display();
        Error::usage(format!("can't run {program}: {error}"))
            .hint("name a Python that has dask and distributed with --python")
    })?;
    ended(status, &format!("Dask ({})", Path::new(&driver).display()))
}

//! What every command works with: limits and where each came from, signals, printing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use skyprep::error::{Error, Place};
use skyprep::pipeline::{BadInputs, PassLimits, Rejects};
use skyprep::publish::{FolderOptions, Staging};
use skyprep::report::{Report, grouped};
use skyprep::resources::{
    ByteSize, available_memory, available_threads, is_in_memory, open_files_limit,
};

use crate::allocator;
use crate::args::{GlobalArgs, ProgressForm};
use crate::layers::{Origins, Resolved};
use crate::printer::Printer;
use crate::signals::Interruption;

/// More threads than this can only be a slip, and would take all memory for their stacks.
const MOST_THREADS: usize = 1024;
/// Variables that name a folder for temporary files; the first counts most.
const TEMPORARY: [&str; 2] = ["SLURM_TMPDIR", "TMPDIR"];
const MOST_MEMORY_UNASKED: u64 = 2 << 30;
const LEAST_OPEN_FILES: u64 = 8;
/// Files that the process needs beside outputs: inputs, standard streams, locks.
const OTHER_OPEN_FILES: u64 = 32;

/// What every command works with.
#[derive(Debug)]
pub struct Session {
    pub printer: Printer,
    pub progress: ProgressForm,
    pub progress_interval: Duration,
    pub interruption: Interruption,
    /// Name of the command.
    pub command: String,
    /// The configuration file, if there is one.
    pub config: Option<PathBuf>,
    /// How output folders are opened and written.
    pub folder: FolderOptions,
    options: Value,
    limits: PassLimits,
    /// What `--tmpdir` says.
    tmpdir: Option<PathBuf>,
}

impl Session {
    /// Finds the limits; call it once, before any other work.
    pub fn open(resolved: &Resolved, printer: Printer, interruption: Interruption) -> Result<Self> {
        let global = &resolved.arguments.global;
        let finder = Finder {
            global,
            origins: &resolved.origins,
            printer,
        };
        if let Some(config) = &resolved.origins.config {
            printer.detail(&format!("configuration file: {}", config.display()));
        }
        let threads = finder.threads()?;
        let mut limits = PassLimits::of_process(threads, finder.memory()?);
        limits.finish = global.finish.into();
        limits.give_back = allocator::give_back;
        limits.max_open_files = finder.open_files()?;
        let may_spill = matches!(
            resolved.command.as_str(),
            "partition" | "estimate" | "run" | "job task"
        );
        limits.spill_folder = finder.spill_folder(may_spill)?;
        limits.cancel = interruption.cancel.clone();
        if let Some(args) = resolved.arguments.command.rejects() {
            let rejects = Rejects::new(args.max_rejects, args.reject_file.clone());
            limits.rejects = Arc::new(rejects);
            if args.keep_going {
                limits.bad_inputs = BadInputs::PassOver;
            }
        }
        // Files of a run are written by rayon's own threads.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global();
        pool.context("starting threads")?;
        Ok(Self {
            printer,
            progress: global.progress,
            progress_interval: global.progress_interval,
            interruption,
            command: resolved.command.clone(),
            config: resolved.origins.config.clone(),
            folder: FolderOptions {
                sync: global.sync,
                // What a killed run has staged is gone on with.
                staging: Staging::Keep,
            },
            options: Value::Object(resolved.options.clone()),
            limits,
            tmpdir: global.tmpdir.clone(),
        })
    }

    /// Returns the limits of one pass.
    pub fn pass_limits(&self) -> PassLimits {
        self.limits.afresh()
    }

    /// Returns the limits of the whole command.
    pub fn limits(&self) -> &PassLimits {
        &self.limits
    }

    /// Returns the limits in words, for a dry run.
    pub fn limits_in_words(&self) -> String {
        let memory = grouped(self.limits.gate.limit());
        let spill = match &self.limits.spill_folder {
            Some(folder) => folder.display().to_string(),
            None => "beside the output".to_owned(),
        };
        format!(
            "{} threads, {memory} bytes of memory, {} open files, spilling {spill}",
            self.limits.threads, self.limits.max_open_files
        )
    }

    /// Returns where files may lie for a while that are not to be beside an output: on a disk, if there
    /// is any such folder.
    pub fn temporary_folder(&self) -> PathBuf {
        let by_variable = TEMPORARY.into_iter();
        let by_variable = by_variable.filter_map(std::env::var_os);
        let asked = self.limits.spill_folder.clone().or(self.tmpdir.clone());
        let all = asked
            .into_iter()
            .chain(
                by_variable
                    .filter(|folder| !folder.is_empty())
                    .map(PathBuf::from),
            )
            .chain([std::env::temp_dir(), PathBuf::from("/var/tmp")]);
        let all: Vec<PathBuf> = all.filter(|folder| check_folder(folder).is_ok()).collect();
        let on_disk = all.iter().find(|folder| !is_in_memory(folder));
        let chosen = on_disk.or(all.first()).cloned();
        chosen.unwrap_or_else(std::env::temp_dir)
    }

    /// Begins the report of this command.
    pub fn begin_report(&self) -> Report {
        Report::begin(&self.command, self.options.clone(), &self.limits)
    }
}

/// Finds the limits, and tells where each came from.
struct Finder<'a> {
    global: &'a GlobalArgs,
    origins: &'a Origins,
    printer: Printer,
}

impl Finder<'_> {
    fn origin(&self, long: &str) -> String {
        match self.origins.of(long) {
            Some("the command line") | None => format!("--{long}"),
            Some(origin) => origin.to_owned(),
        }
    }

    fn say(&self, what: &str, value: &str, from: &str) {
        self.printer
            .detail(&format!("{what}: {value} (from {from})"));
    }

    fn threads(&self) -> Result<usize> {
        let (threads, from) = match (self.global.threads, slurm("SLURM_CPUS_PER_TASK")) {
            (Some(threads), _) if !(1..=MOST_THREADS).contains(&threads) => {
                let message = format!("--threads {threads}: expected 1 to {MOST_THREADS}");
                return Err(Error::usage(message).into());
            }
            (Some(threads), _) => (threads, self.origin("threads")),
            (None, Some(threads)) => {
                let threads = usize::try_from(threads).unwrap_or(MOST_THREADS);
                (threads.min(MOST_THREADS), "SLURM_CPUS_PER_TASK".to_owned())
            }
            (None, None) => (available_threads(), "cpuset and cgroup".to_owned()),
        };
        self.say("threads", &threads.to_string(), &from);
        Ok(threads)
    }

    fn memory(&self) -> Result<u64> {
        let (available, source) = memory_at_hand();
        let (memory, from) = match &self.global.memory_limit {
            Some(text) => {
                let size: ByteSize = text.parse().map_err(|message: String| {
                    Error::usage(format!("--memory-limit: {message}"))
                })?;
                (size.of(available), self.origin("memory-limit"))
            }
            None if available / 5 * 4 > MOST_MEMORY_UNASKED => {
                (MOST_MEMORY_UNASKED, "default".to_owned())
            }
            None => (available / 5 * 4, format!("80 % of {source}")),
        };
        self.say("memory", &format!("{} bytes", grouped(memory)), &from);
        Ok(memory)
    }

    fn open_files(&self) -> Result<usize> {
        let most = open_files_limit().unwrap_or(u64::MAX);
        let left = most.saturating_sub(OTHER_OPEN_FILES);
        let usual = PassLimits::USUAL_OPEN_FILES as u64;
        let (files, from) = match self.global.max_open_files {
            Some(files) if files < LEAST_OPEN_FILES => {
                let message =
                    format!("--max-open-files {files}: expected {LEAST_OPEN_FILES} or more");
                return Err(Error::usage(message).into());
            }
            Some(files) if files > left => {
                let message = format!(
                    "--max-open-files {files}: the system allows this process {most} in all, \
                     {left} of them for outputs"
                );
                return Err(Error::usage(message).hint("raise it with ulimit -n").into());
            }
            Some(files) => (files, self.origin("max-open-files")),
            None if left < LEAST_OPEN_FILES => {
                let message = format!(
                    "the system allows this process {most} open files, {} are needed",
                    OTHER_OPEN_FILES + LEAST_OPEN_FILES
                );
                return Err(Error::usage(message).hint("raise it with ulimit -n").into());
            }
            None if left < usual => (left, "ulimit -n".to_owned()),
            None => (usual, "default".to_owned()),
        };
        self.say("open files", &files.to_string(), &from);
        Ok(usize::try_from(files).unwrap_or(usize::MAX))
    }

    /// Finds where rows wait that memory can't hold; commands that never spill are not bothered.
    fn spill_folder(&self, may_spill: bool) -> Result<Option<PathBuf>> {
        if let Some(folder) = &self.global.tmpdir {
            let may = check_folder(folder);
            may.map_err(|error| error.at(Place::file(format!("--tmpdir {}", folder.display()))))?;
        }
        if !may_spill {
            return Ok(None);
        }
        let asked = self.global.tmpdir.clone();
        let asked = asked.map(|folder| (folder, self.origin("tmpdir")));
        let by_variable = TEMPORARY.into_iter().filter_map(|name| {
            let folder = std::env::var_os(name).filter(|folder| !folder.is_empty())?;
            Some((PathBuf::from(folder), name.to_owned()))
        });
        for (folder, from) in asked.into_iter().chain(by_variable) {
            let shown = folder.display();
            if check_folder(&folder).is_err() {
                let message = format!("{shown} (from {from}) can't be written to: passed over");
                self.printer.detail(&message);
            } else if is_in_memory(&folder) {
                self.printer.warn(&format!(
                    "{shown} (from {from}) lies in memory: rows that don't fit don't go there"
                ));
            } else {
                self.say("temporary folder", &shown.to_string(), &from);
                return Ok(Some(folder));
            }
        }
        self.say("temporary folder", "beside the output", "default");
        Ok(None)
    }
}

fn check_folder(path: &Path) -> Result<(), Error> {
    let refuse = |message: &str| Err(Error::usage(message));
    match std::fs::metadata(path) {
        Err(error) => refuse(&format!("can't be used: {error}")),
        Ok(found) if !found.is_dir() => refuse("is not a folder"),
        Ok(_) => {
            skyprep::pipeline::check_writable(path).or_else(|error| refuse(&error.to_string()))
        }
    }
}

fn slurm(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()?
        .parse()
        .ok()
        .filter(|number| *number > 0)
}

/// Returns the memory that cgroup, machine and Slurm leave, in bytes; Slurm counts in MiB.
fn memory_at_hand() -> (u64, &'static str) {
    let mut least = (
        available_memory().unwrap_or(MOST_MEMORY_UNASKED),
        "cgroup and machine",
    );
    let per_node = slurm("SLURM_MEM_PER_NODE");
    let per_node = per_node.map(|mib| (mib.saturating_mul(1 << 20), "SLURM_MEM_PER_NODE"));
    // What the job has, however many of them are used.
    let cpus = slurm("SLURM_CPUS_PER_TASK").or_else(|| slurm("SLURM_CPUS_ON_NODE"));
    let cpus = cpus.unwrap_or_else(|| available_threads() as u64);
    let per_cpu = slurm("SLURM_MEM_PER_CPU");
    let per_cpu = per_cpu.map(|mib| {
        let bytes = mib.saturating_mul(1 << 20).saturating_mul(cpus);
        (bytes, "SLURM_MEM_PER_CPU")
    });
    for limit in [per_node, per_cpu].into_iter().flatten() {
        if limit.0 < least.0 {
            least = limit;
        }
    }
    least
}

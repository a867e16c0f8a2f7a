//! What can be said to `job`; doc comments are the help texts.
#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown as they are, without Markdown"
)]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use skyprep::job::{BatchOptions, JobId, SlurmOptions, TaskKind, TaskSizes};
use skyprep::resources::ByteSize;
use skyprep::stage::parse_span;

use crate::args::{BookArgs, DigestArgs, RejectArgs};
use crate::network_args::{NetworkArgs, UploadArgs};
use crate::stage_args::StateArgs;
use crate::times::parse_time;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skyprep job plan prep.toml                          # prints the folder of the job: JOB
  skyprep job submit --job JOB                        # all tasks on this machine, and commit
  skyprep job submit --job JOB --engine slurm --partition short --time 2:00:00 --mem 8G
  skyprep job status prep.toml
  skyprep job wait --job JOB

With SKYPREP_JOB=JOB in the environment, --job can be left out. docs/hpc.md tells more.")]
pub struct JobArgs {
    #[command(subcommand)]
    pub command: JobCommand,
}

#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Look at inputs: which can be read and have what their tables need
    ///
    /// Prints a JSON object for each input that is rejected or doubtful, and keeps what it has read for
    /// job plan. Exit code 1 if any is rejected.
    Check(JobCheckArgs),
    /// Cut a pipeline into tasks, and write them down
    Plan(Box<JobPlanArgs>),
    /// Do one task; exit code 75 means: run it again later
    Task(JobTaskArgs),
    /// Have the tasks that are left done: on this machine, by Slurm or by Dask
    Submit(Box<JobSubmitArgs>),
    /// Say how far jobs have come, and what to do next
    Status(JobStatusArgs),
    /// Wait until a job is committed or has failed; ends with its exit code
    Wait(JobWaitArgs),
    /// Check that all tasks are whole and the books balance, then name the files and write the
    /// manifest of a new generation
    Commit(Box<JobCommitArgs>),
    /// List what jobs have left that no manifest and no later job needs; with --delete remove it
    Gc(JobGcArgs),
}

/// Which job.
#[derive(Debug, Clone, Args)]
pub struct JobFolderArgs {
    /// Folder of the job, as job plan has printed it
    #[arg(long, value_name = "JOB")]
    pub job: PathBuf,
}

#[derive(Debug, Args)]
pub struct JobCheckArgs {
    /// The pipeline file
    #[arg(value_name = "PIPELINE.toml")]
    pub pipeline: PathBuf,
    /// Look at part N of M of the inputs only: run all parts side by side
    #[arg(long, value_name = "N/M", default_value = "1/1", value_parser = parse_part)]
    pub part: (u32, u32),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skyprep job plan prep.toml --job-id dp2-week-7
  skyprep job plan prep.toml --map-tasks 20 --reduce-tasks 5
  skyprep job plan prep.toml --request request.json   # {\"id\", \"table\", \"files\": [...]}
  skyprep job plan prep.toml --extend --min-size 10GiB --max-age 1d
  skyprep job plan prep.toml --replace old.parquet=new.parquet --drop bad.parquet")]
pub struct JobPlanArgs {
    /// The pipeline file
    #[arg(value_name = "PIPELINE.toml")]
    pub pipeline: PathBuf,
    /// Name of the job [default: one that follows from what is asked for]
    #[arg(long, value_name = "ID")]
    pub job_id: Option<JobId>,
    /// A request as JSON, in a file or - for stdin: {"id", "table", "files": [...]}; its files and
    /// folders take the place of the inputs of the table's product
    #[arg(long, value_name = "FILE")]
    pub request: Option<String>,
    /// Go on from the generation that stands: inputs that are new to it come behind the others
    #[arg(long, conflicts_with_all = ["replace", "drop"])]
    pub extend: bool,
    /// Make a new generation in which the file OLD is replaced by NEW; may be given again
    #[arg(long, value_name = "OLD=NEW", value_parser = parse_replacement)]
    pub replace: Vec<(PathBuf, PathBuf)>,
    /// Make a new generation without the rows of this file; may be given again
    #[arg(long, value_name = "FILE")]
    pub drop: Vec<PathBuf>,
    #[command(flatten)]
    pub sizes: SizeArgs,
    /// Folder on the shared file system for exchange files [default: in the job's folder]
    #[arg(long, value_name = "DIR")]
    pub exchange_dir: Option<PathBuf>,
    #[command(flatten)]
    pub rejects: RejectArgs,
    #[command(flatten)]
    pub digests: DigestArgs,
    /// Print the plan as JSON instead of words
    #[arg(long)]
    pub json: bool,
    /// Say what would be planned, and touch nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// How many tasks there are, and how large.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tasks")]
pub struct SizeArgs {
    /// Bytes of input that a map task has at most; oldest files first, each into the first task with
    /// room; larger files are cut at row groups, or at records if they are text [default: 4GiB, or
    /// more where there would be more tasks than --fan-in]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_size: Option<u64>,
    /// With --extend: wait until new files have so many bytes
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub min_size: Option<u64>,
    /// Files that a map task has at most
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub max_files: u64,
    /// With --extend: wait until there are so many new files
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub min_files: u64,
    /// With --extend: wait no longer once a new file is so old, such as 5min or 1d
    #[arg(long, value_name = "TIME", value_parser = parse_age)]
    pub max_age: Option<Duration>,
    /// Number of map tasks per pass, of about the same size, in place of --max-size
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub map_tasks: Option<u32>,
    /// Number of reduce tasks for the chunks of a pass [default: by --reduce-size]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub reduce_tasks: Option<u32>,
    /// Bytes of text that a reduce task makes, about
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = parse_size)]
    pub reduce_size: u64,
    /// Exchange files that a reduce task reads at most; where there are more, merge tasks join them
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(2..))]
    pub fan_in: u32,
}

impl SizeArgs {
    /// Returns them as the library wants them.
    pub fn resolve(&self) -> TaskSizes {
        TaskSizes {
            batch: BatchOptions {
                min_bytes: self.min_size.unwrap_or(0),
                max_bytes: self.max_size,
                min_files: self.min_files,
                max_files: self.max_files,
                max_age: self.max_age,
                tasks: self.map_tasks,
            },
            reduce_tasks: self.reduce_tasks,
            reduce_bytes: self.reduce_size,
            fan_in: self.fan_in,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TaskKindArg {
    /// Make rows of some inputs into one exchange file
    Map,
    /// Join several exchange files
    Merge,
    /// Make the files of some chunks, an index, or a table without chunks
    Reduce,
}

impl From<TaskKindArg> for TaskKind {
    fn from(kind: TaskKindArg) -> Self {
        match kind {
            TaskKindArg::Map => Self::Map,
            TaskKindArg::Merge => Self::Merge,
            TaskKindArg::Reduce => Self::Reduce,
        }
    }
}

#[derive(Debug, Args)]
pub struct JobTaskArgs {
    /// What it does
    #[arg(value_name = "KIND")]
    pub kind: TaskKindArg,
    /// Its number, from 1
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub number: u32,
    #[command(flatten)]
    pub job: JobFolderArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineArg {
    /// On this machine
    Local,
    /// As Slurm job arrays, one after another
    Slurm,
    /// On Dask workers
    Dask,
}

#[derive(Debug, Args)]
pub struct JobSubmitArgs {
    #[command(flatten)]
    pub job: JobFolderArgs,
    /// Who runs the tasks
    #[arg(long, value_name = "ENGINE", default_value = "local")]
    pub engine: EngineArg,
    /// Only write the scripts and say what would be submitted
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Do not commit the job when all tasks are done
    #[arg(long)]
    pub no_commit: bool,
    /// local and dask: tasks at once [default: 1 for local, 2 for dask]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub workers: Option<u32>,
    /// local and dask: how often a task is tried again that ends with 75
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub retries: u32,
    #[command(flatten)]
    pub slurm: SlurmArgs,
    #[command(flatten)]
    pub dask: DaskArgs,
}

/// What Slurm is told.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Slurm")]
pub struct SlurmArgs {
    /// Partition
    #[arg(long, value_name = "NAME")]
    pub partition: Option<String>,
    /// Account
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// Quality of service
    #[arg(long, value_name = "NAME")]
    pub qos: Option<String>,
    /// Time limit of a task, as Slurm writes it: 30 (minutes), 2:00:00
    #[arg(long, value_name = "TIME")]
    pub time: Option<String>,
    /// Memory of a task, as Slurm writes it: 8G
    #[arg(long, value_name = "SIZE")]
    pub mem: Option<String>,
    /// CPUs of a task
    #[arg(long, value_name = "N")]
    pub cpus_per_task: Option<u32>,
    /// Tasks of a stage that may run at once
    #[arg(long, value_name = "N")]
    pub max_running: Option<u32>,
    /// The cluster's MaxArraySize: longer stages become several arrays
    #[arg(long, value_name = "N", default_value_t = 1001)]
    pub max_array_size: u32,
    /// How often a task may be requeued
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub max_restarts: u32,
    /// A further option for sbatch, such as --sbatch=--constraint=haswell; may be given again
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    pub sbatch: Vec<String>,
}

impl SlurmArgs {
    /// Returns them as the library wants them.
    pub fn resolve(&self) -> SlurmOptions {
        SlurmOptions {
            partition: self.partition.clone(),
            account: self.account.clone(),
            qos: self.qos.clone(),
            time: self.time.clone(),
            mem: self.mem.clone(),
            cpus_per_task: self.cpus_per_task,
            most_running: self.max_running,
            extra: self.sbatch.clone(),
            most_array: self.max_array_size,
            most_restarts: self.max_restarts,
        }
    }
}

/// What Dask is told.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Dask")]
pub struct DaskArgs {
    /// Address of a scheduler that runs [default: workers on this machine]
    #[arg(long, value_name = "ADDRESS")]
    pub scheduler: Option<String>,
    /// Python that has dask and distributed
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    pub python: PathBuf,
}

#[derive(Debug, Args)]
pub struct JobStatusArgs {
    /// A pipeline file or an output folder: all of its jobs
    #[arg(value_name = "PLACE", required_unless_present = "job")]
    pub place: Option<PathBuf>,
    /// Only this job: its folder, or with PLACE its name
    #[arg(long, value_name = "JOB")]
    pub job: Option<PathBuf>,
    /// Only jobs that are not committed
    #[arg(long)]
    pub unfinished: bool,
    /// Only jobs with tasks that have failed or are lost
    #[arg(long)]
    pub failed: bool,
    /// Only jobs that were refused, or have passed inputs over
    #[arg(long)]
    pub rejected: bool,
    /// Only jobs that were planned within this time, such as 2h or 7d
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub since: Option<Duration>,
    /// Print JSON: one object for --job, else a list
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct JobWaitArgs {
    #[command(flatten)]
    pub job: JobFolderArgs,
    /// Give up after this time, with exit code 75 [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub timeout: Option<Duration>,
    /// Time between two looks
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    pub interval: Duration,
}

#[derive(Debug, Args)]
pub struct JobCommitArgs {
    #[command(flatten)]
    pub job: JobFolderArgs,
    #[command(flatten)]
    pub state: StateArgs,
    #[command(flatten)]
    pub network: NetworkArgs,
    #[command(flatten)]
    pub upload: UploadArgs,
    #[command(flatten)]
    pub books: BookArgs,
}

#[derive(Debug, Args)]
pub struct JobGcArgs {
    /// A pipeline file or an output folder
    #[arg(value_name = "PLACE")]
    pub place: PathBuf,
    /// Remove what is listed
    #[arg(long)]
    pub delete: bool,
    /// Exchange files of committed jobs go, too: then nothing can go on from these jobs
    #[arg(long)]
    pub exchange: bool,
    /// Keep the newest N generations; files that only older ones name go, too
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub generations: Option<u32>,
    /// Leave alone what somebody may still be writing: plans and records younger than this (0s: none)
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_age)]
    pub older_than: Duration,
    /// Print JSON instead of words
    #[arg(long)]
    pub json: bool,
}

fn parse_part(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once('/');
    let numbers = parts.and_then(|(n, m)| Some((n.parse().ok()?, m.parse().ok()?)));
    match numbers {
        Some((number, of)) if 1 <= number && number <= of => Ok((number, of)),
        _ => Err(format!("'{text}' is no part; write for example 3/20")),
    }
}

fn parse_replacement(text: &str) -> Result<(PathBuf, PathBuf), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.into(), new.into())),
        _ => Err(format!("'{text}': expected OLD=NEW")),
    }
}

fn parse_age(text: &str) -> Result<Duration, String> {
    match text {
        "0s" => Ok(Duration::ZERO),
        _ => parse_span(text),
    }
}

fn parse_size(text: &str) -> Result<u64, String> {
    match text.parse()? {
        ByteSize::Bytes(bytes) => Ok(bytes),
        ByteSize::Percent(_) => Err(format!("'{text}' is not a size; write for example 4GiB")),
    }
}

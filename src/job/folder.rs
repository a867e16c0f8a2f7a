//! The folder of a job on the shared file system.
//!
//! ```text
//! <root>/.skyprep/jobs/<id>/
//!   plan.json  inputs.jsonl  pipeline.toml      written in one step, never changed
//!   records/map-7.json                          what is done: the first record of a task counts
//!   attempts/map-7.<attempt>.json               who tried, how it ended; touched while at work
//!   data/map-7.<attempt>.exchange               what attempts make; only records give it a meaning
//!   data/reduce-3.<attempt>/...
//!   slurm/  dask/                               scripts of an engine, and their logs
//!   commit.json                                 written last
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::name::{JobId, TaskName};
use super::plan::{FORMAT, Plan, Source, VERSION};
use super::record::TaskRecord;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::pipeline::PipelineFile;
use crate::publish::{STATE_FOLDER, read_optional};

/// Name of the plan.
pub(super) const PLAN_FILE: &str = "plan.json";
/// Name of the list of inputs.
pub(super) const INPUTS_FILE: &str = "inputs.jsonl";
/// Name of the copy of the pipeline file.
pub(super) const PIPELINE_FILE: &str = "pipeline.toml";
const RECORDS: &str = "records";
const ATTEMPTS: &str = "attempts";
const DATA: &str = "data";
const JOBS: &str = "jobs";

/// The folder of a job.
#[derive(Debug, Clone)]
pub struct JobFolder {
    path: PathBuf,
}

impl JobFolder {
    /// Takes the folder `path` for a job's, as an absolute path.
    ///
    /// # Errors
    /// There is no plan in it.
    pub fn open(path: &Path) -> Result<Self> {
        let absolute = std::path::absolute(path).map_err(|error| Error::reading(path, error))?;
        let folder = Self { path: absolute };
        if folder.file(PLAN_FILE).is_file() {
            return Ok(folder);
        }
        Err(
            Error::new(ErrorKind::InputMissing, "there is no job in this folder")
                .at(Place::file(path.display().to_string()))
                .hint("name the folder that `skyprep job plan` has printed"),
        )
    }

    /// Returns the folder that holds all jobs whose output is in the folder `root`.
    pub fn jobs_of(root: &Path) -> PathBuf {
        root.join(STATE_FOLDER).join(JOBS)
    }

    /// Names the folder of the job `id`, whether it is there or not.
    pub fn of(root: &Path, id: &JobId) -> Self {
        Self {
            path: Self::jobs_of(root).join(id.as_str()),
        }
    }

    /// Returns all jobs whose output is in the folder `root`, in order of their names.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn all(root: &Path) -> Result<Vec<Self>> {
        let jobs = Self::jobs_of(root);
        let mut all: Vec<Self> = names_in(&jobs)?
            .into_iter()
            .filter_map(|name| name.parse::<JobId>().ok())
            .map(|id| Self::of(root, &id))
            .filter(Self::is_planned)
            .collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(all)
    }

    /// Says whether there is a plan.
    pub fn is_planned(&self) -> bool {
        self.file(PLAN_FILE).is_file()
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of a file or folder in it.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Reads the plan.
    ///
    /// # Errors
    /// It can't be read, or another version has written it.
    pub fn plan(&self) -> Result<Plan> {
        let path = self.file(PLAN_FILE);
        let plan: Plan = read_json(&path)?.ok_or_else(|| {
            Error::new(ErrorKind::InputMissing, "the plan is gone")
                .at(Place::file(path.display().to_string()))
        })?;
        if plan.format == FORMAT && plan.version == VERSION {
            return Ok(plan);
        }
        Err(Error::usage(format!(
            "the plan is of version {}, this program knows version {VERSION}",
            plan.version
        ))
        .at(Place::file(path.display().to_string()))
        .hint("use the skyprep that has planned the job, or plan it anew"))
    }

    /// Reads the copy of the pipeline file.
    ///
    /// # Errors
    /// It can't be read.
    pub fn pipeline(&self, plan: &Plan) -> Result<PipelineFile> {
        PipelineFile::read_as(&self.file(PIPELINE_FILE), &plan.pipeline)
    }

    /// Returns the path of a task's record.
    pub(super) fn record_path(&self, task: TaskName) -> PathBuf {
        self.file(RECORDS).join(format!("{task}.json"))
    }

    /// Returns the path of an attempt.
    pub(super) fn attempt_path(&self, task: TaskName, attempt: &str) -> PathBuf {
        self.file(ATTEMPTS).join(format!("{task}.{attempt}.json"))
    }

    /// Returns where what attempts make lies, relative to the folder.
    pub(super) fn data(&self, task: TaskName, attempt: &str, what: &str) -> PathBuf {
        Path::new(DATA).join(format!("{task}.{attempt}{what}"))
    }

    /// Returns the folder of attempts.
    pub(super) fn attempts(&self) -> PathBuf {
        self.file(ATTEMPTS)
    }

    /// Returns the folders that tasks write into.
    pub(super) fn folders() -> [&'static str; 3] {
        [RECORDS, ATTEMPTS, DATA]
    }

    /// Returns the tasks that are done.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn done(&self) -> Result<BTreeSet<TaskName>> {
        let names = names_in(&self.file(RECORDS))?;
        let task = |name: String| name.strip_suffix(".json")?.parse().ok();
        Ok(names.into_iter().filter_map(task).collect())
    }

    /// Reads the record of a task; nothing if it is not done.
    ///
    /// # Errors
    /// It is there and can't be read.
    pub fn record(&self, task: TaskName) -> Result<Option<TaskRecord>> {
        read_json(&self.record_path(task))
    }

    /// Returns the folder of the job that a source belongs to.
    pub(super) fn of_source(&self, source: &Source) -> Self {
        match (&source.job, self.path.parent()) {
            (Some(job), Some(jobs)) => Self {
                path: jobs.join(job.as_str()),
            },
            _ => self.clone(),
        }
    }
}

/// Reads a JSON file; nothing if it does not exist.
///
/// # Errors
/// It exists and can't be read.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let Some(bytes) = read_optional(path)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        Error::new(ErrorKind::Integrity, format!("is damaged: {error}"))
            .at(Place::file(path.display().to_string()))
            .hint("remove it if nothing else writes here, and run the task again")
    })
}

/// Returns the names of what is in a folder, but for hidden ones; none if there is no folder.
///
/// # Errors
/// It is there and can't be read.
pub(super) fn names_in(folder: &Path) -> Result<Vec<String>> {
    let reading = |error| Error::reading(folder, error);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(reading)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(reading)?.file_name();
        if let Ok(name) = name.into_string()
            && !name.starts_with('.')
        {
            names.push(name);
        }
    }
    Ok(names)
}

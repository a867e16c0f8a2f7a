//! `skyprep job`: a pipeline as many tasks.

mod commit;
mod plan;
mod status;
mod submit;
mod task;

use std::path::{Path, PathBuf};

use anyhow::Result;
use skyprep::job::{JobFolder, JobId};
use skyprep::pipeline::PipelineFile;

use crate::job_args::{JobArgs, JobCommand};
use crate::session::Session;

/// Does what is asked for of jobs.
pub fn run(args: &JobArgs, session: &Session) -> Result<()> {
    match &args.command {
        JobCommand::Check(args) => plan::check(args, session),
        JobCommand::Plan(args) => plan::plan(args, session),
        JobCommand::Task(args) => task::run(args, session),
        JobCommand::Submit(args) => submit::run(args, session),
        JobCommand::Status(args) => status::status(args, session),
        JobCommand::Wait(args) => status::wait(args, session),
        JobCommand::Commit(args) => commit::commit(args, session),
        JobCommand::Gc(args) => commit::gc(args, session),
    }
}

/// Returns the output folder of a pipeline file, or the folder itself.
fn root_of(place: &Path) -> Result<PathBuf> {
    if place.is_dir() {
        return Ok(place.to_owned());
    }
    Ok(PipelineFile::read(place)?.root()?)
}

/// Finds a job by its folder, or by its name among those of an output folder.
fn find_job(job: &Path, root: Option<&Path>) -> Result<JobFolder> {
    if let (Some(root), Some(name)) = (root, job.to_str())
        && let Ok(id) = name.parse::<JobId>()
    {
        let folder = JobFolder::of(root, &id);
        if folder.is_planned() {
            return Ok(folder);
        }
    }
    Ok(JobFolder::open(job)?)
}

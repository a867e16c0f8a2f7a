//! `skyprep job task`

use std::collections::BTreeMap;

use anyhow::Result;
use skyprep::error::{Error, ErrorKind};
use skyprep::job::{JobFolder, TaskName, TaskOptions, TaskOutcome, exit_code, run_task};
use skyprep::report::grouped;

use crate::job_args::JobTaskArgs;
use crate::progress::Progress;
use crate::session::Session;

/// What batch systems say of a task.
const BATCH: [&str; 9] = [
    "SLURM_JOB_ID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_RESTART_COUNT",
    "SLURMD_NODENAME",
    "PBS_JOBID",
    "PBS_ARRAY_INDEX",
    "_CONDOR_JOB_AD",
    "DASK_WORKER",
];

/// Does one task.
pub fn run(args: &JobTaskArgs, session: &Session) -> Result<()> {
    session
        .interruption
        .ends_with(ErrorKind::NotYet.exit_code());
    let folder = JobFolder::open(&args.job.job)?;
    let progress = Progress::new(session);
    let batch = BATCH.into_iter().filter_map(|name| {
        let value = std::env::var(name).ok()?;
        Some((name.to_owned(), value))
    });
    let options = TaskOptions {
        limits: session.pass_limits(),
        sync: session.folder.sync,
        events: &progress,
        batch: batch.collect::<BTreeMap<_, _>>(),
    };
    let task = TaskName::new(args.kind.into(), args.number);
    let outcome = run_task(&folder, task, &options);
    progress.end();
    match outcome {
        Ok(TaskOutcome::WasDone) => {
            session.printer.note(&format!("{task} is done already"));
            Ok(())
        }
        Ok(TaskOutcome::Overtaken) => {
            session
                .printer
                .note(&format!("another attempt at {task} was faster"));
            Ok(())
        }
        Ok(TaskOutcome::Done(record)) => {
            let rows: u64 = record.tables.iter().map(|table| table.rows).sum();
            session.printer.note(&format!(
                "{task}: {} rows in {:.1} s",
                grouped(rows),
                record.seconds
            ));
            Ok(())
        }
        // What may go better another time ends with one code, whatever it was.
        Err(error) if exit_code(&error) == ErrorKind::NotYet.exit_code() => {
            Err(error.of_kind(ErrorKind::NotYet).into())
        }
        Err(error) => Err(Error::into(error)),
    }
}

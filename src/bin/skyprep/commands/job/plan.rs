//! `skyprep job check` and `skyprep job plan`

use std::io::Read;

use anyhow::Result;
use serde_json::json;
use skyprep::error::{Error, ErrorKind};
use skyprep::job::{
    Change, CheckPart, JobFolder, JobRequest, JobSettings, Plan, PlanNotes, PlanOptions, Planned,
    TaskKind, compressed, note_refusal, plan as plan_job,
};
use skyprep::pipeline::PipelineFile;
use skyprep::report::grouped;

use crate::job_args::{JobCheckArgs, JobPlanArgs};
use crate::progress::Progress;
use crate::session::Session;

/// Looks at inputs.
pub fn check(args: &JobCheckArgs, session: &Session) -> Result<()> {
    let file = PipelineFile::read(&args.pipeline)?;
    let progress = Progress::new(session);
    let (number, of) = args.part;
    let cancel = &session.limits().cancel;
    let part = CheckPart { number, of };
    let outcome = skyprep::job::check(&file, &args.pipeline, part, cancel, &progress);
    progress.end();
    let outcome = outcome?;
    let mut lines = Vec::new();
    let mut rejected = 0;
    for checked in &outcome.checked {
        rejected += usize::from(checked.reason.is_some());
        if checked.reason.is_some() || !checked.look.doubts.is_empty() {
            serde_json::to_writer(&mut lines, checked)?;
            lines.push(b'\n');
        }
    }
    session.printer.data(&lines)?;
    session.printer.note(&format!(
        "{} of {} inputs looked at: {} accepted, {} rejected; kept in {}",
        grouped(outcome.checked.len() as u64),
        grouped(outcome.inputs as u64),
        grouped((outcome.checked.len() - rejected) as u64),
        grouped(rejected as u64),
        outcome.sidecar.display()
    ));
    match rejected {
        0 => Ok(()),
        1 => Err(Error::new(ErrorKind::DataRefused, "an input is rejected").into()),
        _ => {
            let message = format!("{rejected} inputs are rejected");
            Err(Error::new(ErrorKind::DataRefused, message).into())
        }
    }
}

/// Plans a job.
pub fn plan(args: &JobPlanArgs, session: &Session) -> Result<()> {
    let file = PipelineFile::read(&args.pipeline)?;
    let progress = Progress::new(session);
    let request = args.request.as_deref().map(read_request).transpose()?;
    let absolute = |path: &std::path::PathBuf| std::path::absolute(path);
    let options = PlanOptions {
        id: args.job_id.clone(),
        request,
        change: match (args.extend, args.replace.is_empty() && args.drop.is_empty()) {
            (true, _) => Change::Extend,
            (false, true) => Change::First,
            (false, false) => Change::Edit {
                replace: args.replace.clone(),
                drop: args.drop.clone(),
            },
        },
        sizes: args.sizes.resolve(),
        settings: JobSettings {
            max_rejects: args.rejects.max_rejects,
            reject_file: args
                .rejects
                .reject_file
                .as_ref()
                .map(absolute)
                .transpose()?,
            keep_going: args.rejects.keep_going,
            checksum_inputs: args.digests.checksum_inputs,
            exchange_dir: args.exchange_dir.as_ref().map(absolute).transpose()?,
        },
        dry_run: args.dry_run,
        cancel: session.limits().cancel.clone(),
        events: &progress,
    };
    let planned = plan_job(&file, &args.pipeline, &options);
    progress.end();
    let planned = planned.inspect_err(|error| {
        let id = options.id.as_ref();
        let asked = options
            .request
            .as_ref()
            .and_then(|request| request.id.as_ref());
        let is_of_inputs = matches!(
            error.kind(),
            ErrorKind::DataRefused | ErrorKind::InputMissing | ErrorKind::Corrupt
        );
        if let (true, Some(id), Ok(root)) =
            (is_of_inputs && !args.dry_run, id.or(asked), file.root())
        {
            // For `job status --rejected`; the error itself is told now.
            let _ = note_refusal(&root, id.as_str(), error);
        }
    })?;
    match planned {
        Planned::Now(folder, plan, notes) => {
            tell_notes(&notes, session);
            tell(args, &folder, &plan, session)
        }
        Planned::Foreseen(folder, plan, notes) => {
            tell_notes(&notes, session);
            session
                .printer
                .note("this would be planned; nothing was touched");
            tell(args, &folder, &plan, session)
        }
        Planned::Before(folder, plan) => {
            session.printer.note("this job was planned before");
            tell(args, &folder, &plan, session)
        }
        Planned::NothingNew => {
            session
                .printer
                .note("there are no new inputs; nothing to do");
            Ok(())
        }
        Planned::Waiting(files, bytes) => {
            session.printer.note(&format!(
                "{files} new inputs of {} bytes wait for more (--min-size, --min-files, --max-age)",
                grouped(bytes)
            ));
            Ok(())
        }
    }
}

fn read_request(name: &str) -> Result<JobRequest> {
    let mut bytes = Vec::new();
    let path = std::path::Path::new(name);
    let read = match name {
        "-" => std::io::stdin().read_to_end(&mut bytes),
        _ => std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    read.map_err(|error| Error::reading(path, error))?;
    Ok(JobRequest::read(&bytes)?)
}

fn tell_notes(notes: &PlanNotes, session: &Session) {
    if notes.from_sidecars + notes.looked_at > 0 {
        session.printer.detail(&format!(
            "{} inputs known from side-cars, {} looked at now",
            grouped(notes.from_sidecars as u64),
            grouped(notes.looked_at as u64)
        ));
    }
    if notes.changed > 0 {
        session.printer.warn(&format!(
            "{} inputs have changed since they were checked, and were looked at again",
            grouped(notes.changed as u64)
        ));
    }
    for warning in &notes.warnings {
        session.printer.warn(warning);
    }
}

fn tell(args: &JobPlanArgs, folder: &JobFolder, plan: &Plan, session: &Session) -> Result<()> {
    for input in &plan.rejected {
        session
            .printer
            .passed_over(&input.stamp.path, &input.reason);
    }
    if args.json {
        let stages: Vec<_> = plan
            .stages()
            .into_iter()
            .map(|stage| json!({"kind": stage.kind, "tasks": compressed(&stage.numbers)}))
            .collect();
        let mut text = serde_json::to_vec(&json!({
            "format": "skyprep-job-plan",
            "version": 1,
            "id": plan.id,
            "job": folder.path(),
            "generation": plan.generation,
            "inputs": plan.inputs,
            "input_bytes": plan.input_bytes,
            "rejected": plan.rejected,
            "stages": stages,
        }))?;
        text.push(b'\n');
        return session.printer.data(&text);
    }
    session.printer.note(&format!(
        "{} inputs, {} bytes: {} map, {} merge and {} reduce tasks make generation {} of {}",
        grouped(plan.inputs),
        grouped(plan.input_bytes),
        grouped(u64::from(plan.count(TaskKind::Map))),
        grouped(u64::from(plan.count(TaskKind::Merge))),
        grouped(u64::from(plan.count(TaskKind::Reduce))),
        plan.generation,
        plan.database
    ));
    session
        .printer
        .note("next: skyprep job submit --job JOB, where JOB is the folder below");
    let path = format!("{}\n", folder.path().display());
    session.printer.data(path.as_bytes())
}

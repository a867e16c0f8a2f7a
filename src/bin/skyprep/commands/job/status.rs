//! `skyprep job status` and `skyprep job wait`

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde_json::{Value, json};
use skyprep::error::{Error, ErrorKind};
use skyprep::job::{JobFolder, JobState, JobStatus, refused, status as status_of};
use skyprep::report::grouped;

use super::{find_job, root_of};
use crate::job_args::{JobStatusArgs, JobWaitArgs};
use crate::session::Session;

/// Says how jobs stand.
pub fn status(args: &JobStatusArgs, session: &Session) -> Result<()> {
    let root = args.place.as_deref().map(root_of).transpose()?;
    let folders = match (&args.job, &root) {
        (Some(job), root) => vec![find_job(job, root.as_deref())?],
        (None, Some(root)) => JobFolder::all(root)?,
        (None, None) => Vec::new(),
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let is_recent = |created: u64| {
        args.since
            .is_none_or(|since| now.as_secs().saturating_sub(created) <= since.as_secs())
    };
    let mut all = Vec::new();
    for folder in folders {
        let found = status_of(&folder)?;
        let is_wanted = is_recent(found.created)
            && (!args.unfinished || !found.state.is_over())
            && (!args.failed || !found.troubles.is_empty())
            && (!args.rejected || !found.rejected.is_empty());
        if is_wanted {
            all.push(found);
        }
    }
    let mut refusals = Vec::new();
    if let (Some(root), None, false, false) = (&root, &args.job, args.unfinished, args.failed) {
        refusals = refused(root)?;
        refusals.retain(|refusal| is_recent(refusal.created));
    }
    if args.json {
        let refused = refusals.iter().map(|refusal| {
            json!({"format": "skyprep-job-status", "version": 1, "id": refusal.id,
                   "state": JobState::Rejected, "created": refusal.created,
                   "reason": refusal.reason, "exit": refusal.exit})
        });
        let list: Result<Vec<Value>, _> = all.iter().map(serde_json::to_value).collect();
        let list: Vec<Value> = list?.into_iter().chain(refused).collect();
        let value = match (&args.job, list.first()) {
            (Some(_), Some(only)) => only.clone(),
            _ => Value::Array(list),
        };
        let mut text = serde_json::to_vec(&value)?;
        text.push(b'\n');
        return session.printer.data(&text);
    }
    let mut text = String::new();
    for found in &all {
        text.push_str(&in_words(found));
    }
    for refusal in &refusals {
        text.push_str(&format!("{}: rejected: {}\n", refusal.id, refusal.reason));
    }
    if text.is_empty() {
        session.printer.note("there are no such jobs");
    }
    session.printer.data(text.as_bytes())
}

fn in_words(found: &JobStatus) -> String {
    let mut text = format!(
        "{}: {} (generation {}), {} inputs accepted, {} rejected\n",
        found.id,
        found.state.word(),
        found.generation,
        grouped(found.accepted),
        found.rejected.len()
    );
    for stage in &found.stages {
        let (kind, all) = (stage.kind.word(), stage.count);
        let tasks = &stage.tasks;
        text.push_str(&format!(
            "  {kind:<6} {tasks:<12} {:>5} of {all} done",
            stage.done
        ));
        for (what, numbers) in [
            ("running", &stage.running),
            ("failed", &stage.failed),
            ("lost", &stage.lost),
            ("left", &stage.left),
        ] {
            if !numbers.is_empty() {
                text.push_str(&format!("; {what} {numbers}"));
            }
        }
        text.push('\n');
    }
    if found.rows_in > 0 {
        text.push_str(&format!(
            "  {} rows in, {} rejected, {} rows/s per task",
            grouped(found.rows_in),
            grouped(found.rejected_rows),
            grouped(found.rows_per_second as u64)
        ));
        if let Some(seconds) = found.seconds_left {
            text.push_str(&format!(", about {} left", span(seconds)));
        }
        text.push('\n');
    }
    for input in &found.rejected {
        text.push_str(&format!(
            "  rejected: {}: {}\n",
            input.stamp.path, input.reason
        ));
    }
    for trouble in &found.troubles {
        let message = trouble.message.as_deref().unwrap_or("no sign of life");
        let exit = trouble
            .exit
            .map_or(String::new(), |exit| format!(" (exit code {exit})"));
        text.push_str(&format!(
            "  {} {}{exit}, {}: {message}\n",
            trouble.task,
            trouble.state.word(),
            trouble.who
        ));
    }
    if let Some(commit) = &found.commit {
        text.push_str(&format!("  manifest: {}\n", commit.manifest));
    }
    text.push_str(&format!("  next: {}\n", found.next));
    text
}

fn span(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Waits until a job is over.
pub fn wait(args: &JobWaitArgs, session: &Session) -> Result<()> {
    let folder = JobFolder::open(&args.job.job)?;
    let start = Instant::now();
    let mut told = String::new();
    let mut is_told = false;
    loop {
        let found = status_of(&folder)?;
        let done: u32 = found.stages.iter().map(|stage| stage.done).sum();
        let all: u32 = found.stages.iter().map(|stage| stage.count).sum();
        let line = format!(
            "{}: {}, {done} of {all} tasks done",
            found.id,
            found.state.word()
        );
        if line != told {
            session.printer.note(&line);
            told = line;
        }
        match found.state {
            JobState::Committed => return Ok(()),
            JobState::Failed => return Err(failure(&found).into()),
            JobState::Superseded => {
                let message = "another job has made the generation of this one";
                return Err(Error::new(ErrorKind::OutputRefused, message)
                    .hint(found.next)
                    .into());
            }
            JobState::Lost if !is_told => {
                is_told = true;
                session.printer.warn(
                    "tasks give no sign of life; if no scheduler runs them again, submit the job \
                     again",
                );
            }
            _ => {}
        }
        if args
            .timeout
            .is_some_and(|timeout| start.elapsed() >= timeout)
        {
            return Err(Error::new(ErrorKind::NotYet, "the job is not over yet")
                .hint(found.next)
                .into());
        }
        nap(args.interval, session)?;
    }
}

fn nap(interval: Duration, session: &Session) -> Result<()> {
    let end = Instant::now() + interval;
    while Instant::now() < end {
        session.limits().cancel.check()?;
        std::thread::sleep(Duration::from_millis(100).min(interval));
    }
    Ok(())
}

/// Makes the error of a job with tasks that have failed: that of the first.
fn failure(found: &JobStatus) -> Error {
    let failed = found
        .troubles
        .iter()
        .find(|trouble| trouble.state == JobState::Failed);
    let (task, exit, message) = failed.map_or(("a task", 10, ""), |trouble| {
        let message = trouble.message.as_deref().unwrap_or_default();
        (trouble.task.as_str(), trouble.exit.unwrap_or(10), message)
    });
    let kind = ErrorKind::of_exit_code(exit).unwrap_or(ErrorKind::Internal);
    Error::new(kind, format!("{task} has failed: {message}")).hint(found.next.as_str())
}

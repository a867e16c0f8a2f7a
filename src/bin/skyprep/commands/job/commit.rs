//! `skyprep job commit` and `skyprep job gc`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use skyprep::error::{Error, ErrorKind};
use skyprep::job::{
    CommitNote, CommitOptions, GcOptions, JobFolder, commit as commit_job, gc as find_garbage,
    remove_garbage,
};
use skyprep::pipeline::{Replace, RunOptions};
use skyprep::publish::OutputFolder;
use skyprep::report::grouped;
use skyprep::stage::ServerOptions;

use super::root_of;
use crate::books;
use crate::job_args::{JobCommitArgs, JobGcArgs};
use crate::printer::format_tables;
use crate::progress::Progress;
use crate::session::Session;

/// Garbage that is listed one by one.
const LISTED: usize = 50;

/// Commits a job.
pub fn commit(args: &JobCommitArgs, session: &Session) -> Result<()> {
    let folder = JobFolder::open(&args.job.job)?;
    let plan = folder.plan()?;
    let file = folder.pipeline(&plan)?;
    let dest = file.destination()?;
    let network = args.upload.network_to(&dest, &args.network, session)?;
    let progress = Progress::new(session);
    let options = CommitOptions {
        run: RunOptions {
            limits: session.pass_limits(),
            replace: Replace::No,
            has_digests: plan.settings.checksum_inputs,
            report: session.begin_report(),
            folder: session.folder,
            server: ServerOptions {
                state: match dest.is_folder() {
                    true => PathBuf::new(),
                    false => args.state.folder()?,
                },
                uploads: args.upload.uploads.get(),
            },
        },
        network: network.as_ref(),
        events: &progress,
    };
    let committed = commit_job(&folder, &options);
    progress.end();
    let mut committed = committed?;
    let outcome = &mut committed.outcome;
    let sources = books::sources([Some(plan.pipeline.as_path())], session);
    books::close(
        &args.books,
        session,
        &mut outcome.report,
        &[Path::new(&outcome.manifest)],
        &sources,
        Some(&format_tables(&outcome.tables)),
    )?;
    tell_rejects(&outcome.tables, session);
    tell_changes(&committed.note, session);
    session.printer.note(&format!(
        "generation {}; next: let Qserv's ingest fetch the {} files that {} names",
        committed.note.generation,
        grouped(outcome.contributions as u64),
        outcome.manifest
    ));
    match outcome.report.passed_over.len() {
        0 => Ok(()),
        count => {
            for input in &outcome.report.passed_over {
                session.printer.passed_over(&input.file, &input.reason);
            }
            let message =
                format!("{count} input files were passed over; the outputs lack their rows");
            Err(Error::new(ErrorKind::DataRefused, message)
                .hint("once they are right: skyprep job plan --extend")
                .into())
        }
    }
}

fn tell_rejects(tables: &[skyprep::pipeline::TableReport], session: &Session) {
    let rows: u64 = tables.iter().map(|table| table.rejected).sum();
    if rows > 0 {
        let file = tables.iter().find_map(|table| table.reject_file.as_deref());
        let listed = file.map_or(String::new(), |file| format!("; listed in {file}"));
        session
            .printer
            .warn(&format!("{} rows were rejected{listed}", grouped(rows)));
    }
}

fn tell_changes(note: &CommitNote, session: &Session) {
    for (table, chunks) in &note.chunks {
        session.printer.note(&format!(
            "{table}: {} chunks changed, {} added, {} emptied",
            grouped(chunks.changed.len() as u64),
            grouped(chunks.added.len() as u64),
            grouped(chunks.emptied.len() as u64)
        ));
    }
}

/// Lists or removes what nobody needs.
pub fn gc(args: &JobGcArgs, session: &Session) -> Result<()> {
    let root = root_of(&args.place)?;
    let options = GcOptions {
        exchange: args.exchange,
        generations: args.generations,
        older_than: args.older_than,
    };
    let jobs = JobFolder::all(&root)?;
    if jobs.is_empty() {
        session.printer.note("no job has its output here");
        return Ok(());
    }
    // Nothing is committed while it is found out what nobody needs.
    let _held = match args.delete {
        true => Some(OutputFolder::open(&root, session.folder)?),
        false => None,
    };
    let databases: Result<BTreeSet<String>, _> = jobs
        .iter()
        .map(|job| job.plan().map(|plan| plan.database))
        .collect();
    let mut all = Vec::new();
    for database in databases? {
        let outcome = find_garbage(&root, &database, &options)?;
        if args.delete {
            remove_garbage(&root, &outcome)?;
        }
        all.push(outcome);
    }
    if args.json {
        let mut text = serde_json::to_vec(&all)?;
        text.push(b'\n');
        return session.printer.data(&text);
    }
    let garbage: Vec<_> = all.iter().flat_map(|outcome| &outcome.garbage).collect();
    let mut text = String::new();
    for found in garbage.iter().take(LISTED) {
        text.push_str(&format!(
            "{}: {} bytes ({})\n",
            found.path.display(),
            grouped(found.bytes),
            found.why
        ));
    }
    if garbage.len() > LISTED {
        text.push_str(&format!("and {} more\n", garbage.len() - LISTED));
    }
    session.printer.result(&text)?;
    let bytes: u64 = garbage.iter().map(|found| found.bytes).sum();
    let what = match args.delete {
        true => "removed",
        false => "nobody needs (--delete removes them)",
    };
    session.printer.note(&format!(
        "{} files and folders of {} bytes {what}",
        grouped(garbage.len() as u64),
        grouped(bytes)
    ));
    let kept: u64 = all.iter().map(|outcome| outcome.kept_exchange).sum();
    let kept_bytes: u64 = all.iter().map(|outcome| outcome.kept_bytes).sum();
    if kept > 0 {
        session.printer.note(&format!(
            "{} exchange files of {} bytes stay for --extend, --replace and --drop (--exchange \
             removes them, too)",
            grouped(kept),
            grouped(kept_bytes)
        ));
    }
    for job in all.iter().flat_map(|outcome| &outcome.unfinished) {
        session
            .printer
            .note(&format!("job {job} is not committed yet: it stays"));
    }
    Ok(())
}

//! `skyprep run`

use std::path::{Path, PathBuf};

use anyhow::Result;
use skyprep::pipeline::{PipelineFile, RunOptions, foresee};
use skyprep::report::grouped;
use skyprep::stage::ServerOptions;

use crate::args::RunArgs;
use crate::books::{self, DataTo};
use crate::printer::format_tables;
use crate::progress::Progress;
use crate::session::Session;
use crate::settings;

/// Does all steps for all tables of a pipeline file.
pub fn run(args: &RunArgs, session: &Session) -> Result<()> {
    let file = PipelineFile::read(&args.pipeline)?;
    let options = RunOptions {
        limits: session.pass_limits(),
        replace: settings::replace(args.force),
        has_digests: args.digests.checksum_inputs,
        report: session.begin_report(),
        folder: session.folder,
        server: ServerOptions {
            state: match file.destination()?.is_folder() {
                true => PathBuf::new(),
                false => args.state.folder()?,
            },
            uploads: args.upload.uploads.get(),
        },
    };
    let dest = file.destination()?;
    let network = args.upload.network_to(&dest, &args.network, session)?;
    let progress = Progress::new(session);
    super::stage::warn_of_urls(&file.destination()?, &file.fetch_urls()?, session);
    books::check(&args.books, Some(&args.rejects), DataTo::Files, &[])?;
    if args.books.dry_run {
        let outlook = foresee(&file, &options, &progress)?;
        return books::foretell(session, &file.root()?, outlook);
    }
    let outcome = skyprep::pipeline::run(&file, &options, network.as_ref(), &progress);
    progress.end();
    let mut outcome = outcome?;
    books::close_rejects(session, &outcome.report)?;
    let sources = books::sources([Some(args.pipeline.as_path())], session);
    books::close(
        &args.books,
        session,
        &mut outcome.report,
        &[Path::new(&outcome.manifest)],
        &sources,
        Some(&format_tables(&outcome.tables)),
    )?;
    for table in outcome.tables.iter().filter(|table| table.rows_in == 0) {
        session
            .printer
            .warn(&format!("no rows came in for {}", table.table));
    }
    if outcome.is_unchanged {
        session.printer.note("all is there; nothing to do");
    }
    session.printer.note(&format!(
        "next: let Qserv's ingest fetch the {} files that {} names",
        grouped(outcome.contributions as u64),
        outcome.manifest
    ));
    books::end(session, &outcome.report)
}

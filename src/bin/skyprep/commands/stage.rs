//! `skyprep stage`

use std::path::{Path, PathBuf};

use anyhow::Result;
use skyprep::dialect::{Dialect, DialectOptions};
use skyprep::error::Error;
use skyprep::publish::{FolderOptions, Staging};
use skyprep::stage::{StageOptions, TableHints, foresee, stage};

use crate::args::StageArgs;
use crate::books::{self, DataTo};
use crate::printer::grouped;
use crate::progress::Progress;
use crate::session::Session;
use crate::settings;

/// Copies prepared files to where Qserv fetches them.
pub fn run(args: &StageArgs, session: &Session) -> Result<()> {
    let Some((dest, sources)) = args.paths.split_last() else {
        return Err(Error::usage("name sources and a destination").into());
    };
    let shown = dest.to_string_lossy();
    if let Some((scheme, _)) = shown.split_once("://") {
        return Err(
            Error::usage(format!("staging to {scheme}:// is not supported"))
                .hint("name a folder")
                .into(),
        );
    }
    let dialect = DialectOptions {
        dialect: args.dialect.clone(),
        ..DialectOptions::default()
    };
    let options = StageOptions {
        sources: sources.to_vec(),
        dest: dest.clone(),
        hints: TableHints {
            database: args.database.clone(),
            table: args.table.clone(),
            kind: args.kind.map(Into::into),
            dialect: dialect.resolve(&Dialect::qserv()).map_err(Error::from)?,
            charset: settings::charset(args.charset.as_deref()),
        },
        replace: settings::replace(args.force),
        folder: FolderOptions {
            // Copies are made again from the beginning.
            staging: Staging::Clear,
            ..session.folder
        },
    };
    books::check(&args.books, None, DataTo::Files, &[])?;
    if args.books.dry_run {
        return books::foretell(session, dest, foresee(&options)?);
    }
    // Copies go on until they are done; an early end is as safe as a kill.
    session.interruption.may_not_look();
    let mut report = session.begin_report();
    let progress = Progress::new(session);
    progress.start(&session.command, 0);
    let outcome = stage(&options, &progress);
    progress.end();
    let outcome = outcome?;
    let files = format!(
        "{} files, {} bytes",
        grouped(outcome.files),
        grouped(outcome.bytes)
    );
    session.printer.note(&match outcome.is_unchanged {
        true => format!("{}: all {files} are there; nothing to do", dest.display()),
        false => format!("{}: {files} staged", dest.display()),
    });
    report.add_inputs(&outcome.inputs);
    report.files = outcome.files;
    report.bytes = outcome.bytes;
    report.unchanged = outcome.is_unchanged;
    report.keep_in(dest)?;
    let manifests = outcome.manifests.iter();
    let names: String = manifests
        .map(|path| format!("{}\n", path.display()))
        .collect();
    let targets: Vec<&Path> = outcome.manifests.iter().map(PathBuf::as_path).collect();
    let sources = books::sources([], session);
    let table = Some(names.as_str());
    books::close(&args.books, session, &mut report, &targets, &sources, table)
}

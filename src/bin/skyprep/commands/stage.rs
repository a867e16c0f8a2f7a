//! `skyprep stage`

use anyhow::Result;
use skyprep::dialect::{Dialect, DialectOptions};
use skyprep::error::Error;
use skyprep::stage::{StageOptions, TableHints, stage};

use crate::args::StageArgs;
use crate::printer::grouped;
use crate::progress::Progress;
use crate::settings::{self, Session};

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
        folder: session.folder_options(),
    };
    let progress = Progress::new(session);
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
    for manifest in &outcome.manifests {
        session
            .printer
            .result(&format!("{}\n", manifest.display()))?;
    }
    Ok(())
}

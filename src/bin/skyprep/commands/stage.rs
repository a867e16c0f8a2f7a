//! `skyprep stage`

use std::path::{Path, PathBuf};

use anyhow::Result;
use skyprep::error::Error;
use skyprep::manifest::UtcTime;
use skyprep::place::PlaceUrl;
use skyprep::publish::{FolderOptions, Staging};
use skyprep::report::grouped;
use skyprep::stage::{
    FetchUrls, ServerOptions, StageOptions, StageOutcome, TableHints, foresee, stage,
};

use crate::books::{self, DataTo};
use crate::progress::Progress;
use crate::session::Session;
use crate::settings;
use crate::stage_args::StageArgs;

/// Brings prepared files to where Qserv fetches them.
pub fn run(args: &StageArgs, session: &Session) -> Result<()> {
    let Some((dest, sources)) = args.paths.split_last() else {
        return Err(Error::usage("name sources and a destination").into());
    };
    let options = options(args, sources, dest, session)?;
    let network = args
        .upload
        .network_to(&options.dest, &args.network, session)?;
    books::check(&args.books, None, DataTo::Files, &[])?;
    if args.books.dry_run {
        let outlook = foresee(&options, network.as_ref())?;
        return books::foretell(session, dest, outlook);
    }
    if options.dest.is_folder() {
        // Copies go on until they are done; an early end is as safe as a kill.
        session.interruption.may_not_look();
    }
    warn_of_urls(&options.dest, &options.urls, session);
    let mut report = session.begin_report();
    let progress = Progress::new(session);
    progress.start(&session.command, 0);
    let outcome = stage(&options, network.as_ref(), &progress);
    progress.end();
    let outcome = outcome?;
    session.printer.note(&in_words(&options.dest, &outcome));
    if let Some(end) = outcome.urls_expire {
        let end = UtcTime::of(end);
        session.printer.note(&format!(
            "the first signed URL ends at {end}; skyprep manifest presign makes new ones"
        ));
    }
    report.add_inputs(&outcome.inputs);
    report.files = outcome.files;
    report.bytes = outcome.bytes;
    report.unchanged = outcome.is_unchanged;
    for table in &outcome.left_out {
        session.printer.warn(&format!(
            "all files of {table} are gone, so the manifest does not name them any more"
        ));
    }
    if let PlaceUrl::Folder(root) = &options.dest {
        report.keep_in(root)?;
    }
    let names: String = outcome.manifests.iter().map(|m| format!("{m}\n")).collect();
    let targets: Vec<&Path> = outcome.manifests.iter().map(Path::new).collect();
    let sources = books::sources([], session);
    let table = Some(names.as_str());
    books::close(&args.books, session, &mut report, &targets, &sources, table)
}

fn options(
    args: &StageArgs,
    sources: &[PathBuf],
    dest: &Path,
    session: &Session,
) -> Result<StageOptions> {
    let place = match dest.to_str().filter(|text| text.contains("://")) {
        Some(url) => PlaceUrl::parse(url)?,
        None => PlaceUrl::Folder(dest.to_owned()),
    };
    let is_folder = place.is_folder();
    Ok(StageOptions {
        sources: sources.to_vec(),
        dest: place,
        hints: TableHints {
            database: args.database.clone(),
            table: args.table.clone(),
            kind: args.kind.map(Into::into),
            dialect: settings::named_dialect(args.dialect.as_deref())?,
            charset: settings::charset(args.charset.as_deref()),
        },
        replace: settings::replace(args.force),
        folder: FolderOptions {
            // Copies are made again from the beginning.
            staging: Staging::Clear,
            ..session.folder
        },
        server: ServerOptions {
            state: match is_folder {
                true => PathBuf::new(),
                false => args.state.folder()?,
            },
            uploads: args.upload.uploads.get(),
        },
        urls: match (&args.public_url, args.presign) {
            (Some(base), _) => FetchUrls::Base(base.clone()),
            (None, Some(valid)) => FetchUrls::Signed(valid),
            (None, None) => FetchUrls::Own,
        },
        retain: args.retain_until,
    })
}

/// Warns of what Qserv will not understand.
pub fn warn_of_urls(dest: &PlaceUrl, urls: &FetchUrls, session: &Session) {
    match dest {
        PlaceUrl::S3 { .. } if *urls == FetchUrls::Own => session.printer.warn(
            "Qserv fetches no s3:// URLs: use --public-url or --presign, now or with skyprep manifest",
        ),
        PlaceUrl::Folder(path) => {
            let shown = path.display().to_string();
            let host = shown.split_once(':').filter(|(host, _)| !host.contains('/'));
            if let Some((host, _)) = host.filter(|_| !path.exists()) {
                session.printer.warn(&format!(
                    "{shown} is a folder here, not a place on a machine called {host}"
                ));
            }
        }
        _ => {}
    }
}

fn in_words(dest: &PlaceUrl, outcome: &StageOutcome) -> String {
    let files = format!(
        "{} files, {} bytes",
        grouped(outcome.files),
        grouped(outcome.bytes)
    );
    if outcome.is_unchanged {
        return format!("{dest}: all {files} are there; nothing to do");
    }
    match outcome.files - outcome.new_files.min(outcome.files) {
        0 => format!("{dest}: {files} staged"),
        old => format!(
            "{dest}: {files} staged, {} of them were there already",
            grouped(old)
        ),
    }
}

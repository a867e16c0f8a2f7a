//! Staging: brings prepared files to where Qserv can fetch them, and writes the manifest.
//!
//! A folder is written as every output folder is ([`publish`](crate::publish)): all or nothing. At
//! a server or in a bucket each file shows as soon as it is whole, and the manifest comes last.

mod agreement;
mod collect;
mod copy;
mod folder_manifest;
mod local;
mod options;
mod placed_manifest;
mod places;
mod presign;
mod release;
mod server;
mod server_run;
mod sources;
mod standing;
mod upload_journal;
mod verify;
mod when;

pub(crate) use collect::SourceFile;
pub(crate) use folder_manifest::FolderPublicity;
pub use options::{FetchUrls, ServerOptions, StageOptions, StageOutcome, TableHints};
pub use presign::presign;
pub use release::{ReleasePlan, ReleaseSummary, plan_release};
pub(crate) use server::{Others, Placed, PlacedFile, PlacedTable, ServerStage};
pub(crate) use server_run::ServerRun;
pub use verify::{Depth, Fault, Finding, Verification, verify};
pub use when::{Retention, parse_span};

use self::sources::{Sources, databases, set_name};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::pipeline::{Events, Outlook, PassOutlook, Replace, TableOutlook};
use crate::place::{Network, PlaceUrl, shown_url};
use crate::publish::SetState;

/// Brings files to their place; each is digested on the way and compared with its record. A place
/// that is no folder needs the network, which takes some memory.
///
/// # Errors
/// A source is missing or differs from its record; the place may not be written, or fails. The
/// manifest is not written then.
pub fn stage(
    options: &StageOptions,
    network: Option<&Network>,
    events: &dyn Events,
) -> Result<StageOutcome> {
    check_urls(options)?;
    let sources = Sources::find(options)?;
    let dest = match &options.dest {
        PlaceUrl::Folder(root) => return local::stage(options, root, sources, events),
        dest => dest,
    };
    let inputs = sources.all_inputs();
    let server = server_stage(options, dest, network.ok_or_else(no_network)?)?;
    let tables = placed_tables(&sources);
    let databases = databases(&sources.tables).into_iter();
    let mut run = server.begin(databases)?;
    let sent = run.send(&tables, options.replace.into(), events)?;
    let identities = tables.iter().map(|table| &table.identity);
    let placed = run.finish(&identities.zip(sent).collect::<Vec<_>>())?;
    Ok(StageOutcome {
        files: placed.files,
        bytes: placed.bytes,
        new_files: placed.new_files,
        sent: placed.sent,
        is_unchanged: !placed.is_changed,
        manifests: placed.manifests,
        urls_expire: placed.urls_expire,
        left_out: Vec::new(),
        inputs,
    })
}

/// Says what [`stage`] would do, and touches nothing.
///
/// # Errors
/// A source is missing or is no table; the place does not answer.
pub fn foresee(options: &StageOptions, network: Option<&Network>) -> Result<Outlook> {
    check_urls(options)?;
    let sources = Sources::find(options)?;
    let (states, refusal) = match &options.dest {
        PlaceUrl::Folder(root) => local::foresee(options, root, &sources)?,
        dest => {
            let server = server_stage(options, dest, network.ok_or_else(no_network)?)?;
            let states = server.states(&placed_tables(&sources))?;
            let is_refused = states.contains(&SetState::Different);
            let refusal = (is_refused && options.replace == Replace::No).then(|| {
                Error::new(
                    ErrorKind::OutputRefused,
                    "a table stands here already, staged from other files",
                )
                .at(Place::file(dest.to_string()))
                .hint("choose another destination, or replace it with --force")
            });
            (states, refusal)
        }
    };
    let tables = sources.tables.iter().zip(states);
    let passes = tables.map(|((name, table), state)| PassOutlook {
        inputs: sources.inputs_of(name),
        tables: vec![TableOutlook {
            table: set_name(table),
            state: state.into(),
            columns: Vec::new(),
        }],
    });
    Ok(Outlook {
        passes: passes.collect(),
        refusal,
    })
}

/// The caller has forgotten to start the network.
pub(crate) fn no_network() -> Error {
    Error::new(
        ErrorKind::Internal,
        "there is no network to reach the destination by",
    )
}

fn server_stage<'a>(
    options: &'a StageOptions,
    dest: &'a PlaceUrl,
    network: &'a Network,
) -> Result<ServerStage<'a>> {
    ServerStage::new(
        network,
        dest,
        &options.server,
        &options.urls,
        options.retain,
    )
}

/// Returns the tables as they are to stand at a server. Indexes stay at home: Qserv does not load
/// them, and no manifest would tell when they may go.
fn placed_tables(sources: &Sources) -> Vec<PlacedTable> {
    let placed = |(name, table): (&String, &collect::SourceTable)| {
        let is_partitioned = table.identity.kind.is_partitioned();
        let stamps = sources.stamps.get(name).into_iter().flatten();
        let files = table.files.iter().zip(stamps);
        let loaded = files.filter(|(file, _)| !is_partitioned || file.chunk.is_some());
        PlacedTable {
            identity: table.identity.clone(),
            files: loaded
                .map(|(file, stamp)| PlacedFile {
                    file: file.clone(),
                    stamp: Some(stamp.clone()),
                })
                .collect(),
        }
    };
    sources.tables.iter().map(placed).collect()
}

fn check_urls(options: &StageOptions) -> Result<()> {
    let is_s3 = matches!(options.dest, PlaceUrl::S3 { .. });
    if matches!(options.urls, FetchUrls::Signed(_)) && !is_s3 {
        return Err(Error::usage("only S3 places have signed URLs")
            .at(Place::file(options.dest.to_string()))
            .hint("leave --presign out"));
    }
    if let FetchUrls::Base(base) = &options.urls {
        check_public_url(base)?;
    }
    Ok(())
}

/// Refuses a base of URLs by which Qserv can fetch nothing.
pub(crate) fn check_public_url(text: &str) -> Result<()> {
    let refuse = || {
        Error::usage(format!(
            "'{}' is no URL that Qserv can fetch files by",
            shown_url(text)
        ))
        .hint("expected http://, https:// or file:///, without password and query")
    };
    match PlaceUrl::parse(text)? {
        PlaceUrl::Http(_) => Ok(()),
        PlaceUrl::Folder(_) if text.starts_with("file://") => Ok(()),
        _ => Err(refuse()),
    }
}

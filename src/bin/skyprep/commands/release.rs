//! `skyprep release`

use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;
use serde_json::json;
use skyprep::error::{Error, ErrorKind, Place};
use skyprep::place::{Network, shown_url};
use skyprep::report::grouped;
use skyprep::stage::{ReleaseSummary, plan_release};

use crate::listings;
use crate::network_args::FILES_AT_ONCE;
use crate::session::Session;
use crate::stage_args::ReleaseArgs;

/// Removes staged files once they are loaded.
pub fn run(args: &ReleaseArgs, session: &Session) -> Result<()> {
    let network = Network::new(args.network.options(session, &[&args.manifest])?)?;
    session.interruption.may_not_look();
    let listing = listings::read(&args.manifest, &network)?;
    let kept_until = listing.header().retain_until;
    let is_early = kept_until.is_some_and(|time| time.system_time() > SystemTime::now());
    let plan = plan_release(&listing, &network, FILES_AT_ONCE)?;
    let mut summary = plan.summary.clone();
    let refusal = kept_until.filter(|_| is_early && !args.force).map(|time| {
        Error::new(
            ErrorKind::OutputRefused,
            format!("the files are to be kept until {time}"),
        )
        .at(Place::file(shown_url(&args.manifest)))
        .hint("wait until then, or say --force")
    });
    if args.yes && refusal.is_none() {
        let cancel = &session.interruption.cancel;
        summary = plan.carry_out(&network, FILES_AT_ONCE, cancel)?;
    }
    if args.json {
        let mut text = serde_json::to_vec(&json!({
            "format": "skyprep-release",
            "version": 1,
            "manifest": shown_url(&args.manifest),
            "is_done": args.yes && refusal.is_none(),
            "found": summary,
        }))?;
        text.push(b'\n');
        session.printer.data(&text)?;
    } else {
        let text = in_words(&summary, args.yes && refusal.is_none());
        session.printer.result(&text)?;
    }
    if let Some(refusal) = refusal {
        return Err(refusal.into());
    }
    if !args.yes {
        session
            .printer
            .note("nothing was removed; say --yes to do so");
    } else if Path::new(&args.manifest).exists() && summary.strangers.is_empty() {
        session.printer.note(&format!(
            "{} names nothing that is there any more",
            args.manifest
        ));
    }
    match summary.strangers.len() {
        0 => Ok(()),
        count => Err(Error::new(
            ErrorKind::Integrity,
            format!(
                "{} files are not what the manifest says, and stay",
                grouped(count as u64)
            ),
        )
        .hint("see skyprep verify")
        .into()),
    }
}

fn in_words(summary: &ReleaseSummary, is_done: bool) -> String {
    let verb = match is_done {
        true => "removed",
        false => "would be removed",
    };
    let mut text = String::new();
    for (table, files) in &summary.there {
        text.push_str(&format!("{table}: {} files {verb}\n", grouped(*files)));
    }
    let files: u64 = summary.there.values().sum();
    text.push_str(&format!(
        "in all {} files, {} bytes {verb}; {} were gone already\n",
        grouped(files),
        grouped(summary.bytes),
        grouped(summary.gone)
    ));
    if summary.shared > 0 {
        text.push_str(&format!(
            "{} files stay: another generation names them\n",
            grouped(summary.shared)
        ));
    }
    for manifest in &summary.manifests {
        text.push_str(&format!("{manifest} {verb}\n"));
    }
    for stranger in &summary.strangers {
        text.push_str(&format!("{}: {}; stays\n", stranger.url, stranger.fault));
    }
    text
}

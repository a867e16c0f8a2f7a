//! `skyprep verify`

use anyhow::Result;
use serde_json::json;
use skyprep::error::{Error, ErrorKind, Place};
use skyprep::manifest::Listing;
use skyprep::manifest::contribs::{ContribReport, Descriptors};
use skyprep::place::{Network, shown_url};
use skyprep::report::grouped;
use skyprep::stage::{Depth, Verification, verify};

use super::output::Output;
use crate::listings;
use crate::network_args::FILES_AT_ONCE;
use crate::progress::Progress;
use crate::session::Session;
use crate::stage_args::VerifyArgs;

/// Findings that are shown one by one; JSON has all.
const SHOWN: usize = 20;

/// Compares staged files with the manifest that names them.
pub fn run(args: &VerifyArgs, session: &Session) -> Result<()> {
    let mut named = vec![args.manifest.as_str()];
    named.extend(args.contribs.iter().map(String::as_str));
    let network = Network::new(args.network.options(session, &named)?)?;
    let send_again = args.send_again.as_ref();
    let send_again = send_again
        .map(|path| Output::file(path.clone(), args.force))
        .transpose()?;
    session.interruption.may_not_look();
    let listing = listings::read(&args.manifest, &network)?;
    if !args.contribs.is_empty() {
        return contribs(args, &listing, &network, send_again.as_ref(), session);
    }
    let depth = match args.quick {
        true => Depth::Quick,
        false => Depth::Full,
    };
    let progress = Progress::new(session);
    let bytes = listing.contributions().map(|line| line.bytes).sum();
    progress.start(&session.command, bytes);
    let lines = listing.contributions();
    let found = verify(lines, &network, depth, FILES_AT_ONCE, &progress);
    progress.end();
    let found = found?;
    if args.json {
        let mut text = serde_json::to_vec(&json!({
            "format": "skyprep-verify",
            "version": 1,
            "manifest": shown_url(&args.manifest),
            "files": found.files,
            "bytes": found.bytes,
            "rows": found.rows,
            "by_size_only": found.by_size_only,
            "findings": found.findings,
        }))?;
        text.push(b'\n');
        session.printer.data(&text)?;
    } else {
        session.printer.result(&in_words(&found))?;
    }
    match found.findings.len() {
        0 => Ok(()),
        count => Err(Error::new(
            ErrorKind::Integrity,
            format!(
                "{} of {} files are not what the manifest says",
                grouped(count as u64),
                grouped(found.files)
            ),
        )
        .hint("stage these tables again with --force")
        .into()),
    }
}

/// Compares with what the ingest service says of its work.
fn contribs(
    args: &VerifyArgs,
    listing: &Listing,
    network: &Network,
    send_again: Option<&Output>,
    session: &Session,
) -> Result<()> {
    let mut told = Descriptors::default();
    for name in &args.contribs {
        let answer = listings::open(name, network)?;
        told.add(answer, &shown_url(name))?;
    }
    let report = ContribReport::of(listing, &told);
    match args.json {
        true => session
            .printer
            .data(format!("{:#}\n", report.as_json()).as_bytes())?,
        false => session.printer.result(&report.in_words())?,
    }
    if let Some(output) = send_again {
        let again = report.send_again(listing);
        let readers = listings::readers_of(&again);
        output.write(session, readers, |out| again.write_to(out))?;
    }
    match report.is_clean() {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Integrity,
            "what was loaded is not what the manifest says",
        )
        .at(Place::file(shown_url(&args.manifest)))
        .hint("--send-again FILE makes the manifest of what is to be sent again")
        .into()),
    }
}

fn in_words(found: &Verification) -> String {
    let mut text = String::new();
    for finding in found.findings.iter().take(SHOWN) {
        text.push_str(&format!("{}: {}\n", finding.url, finding.fault));
    }
    if found.findings.len() > SHOWN {
        let more = found.findings.len() - SHOWN;
        text.push_str(&format!(
            "and {} more (--json lists all)\n",
            grouped(more as u64)
        ));
    }
    if found.findings.is_empty() {
        text.push_str(&format!(
            "all {} files, {} bytes, are as the manifest says\n",
            grouped(found.files),
            grouped(found.bytes)
        ));
    }
    if found.by_size_only > 0 {
        text.push_str(&format!(
            "{} of them were compared by size only; without --quick their bytes are read\n",
            grouped(found.by_size_only)
        ));
    }
    text
}

//! `skyprep verify`

use anyhow::Result;
use serde_json::json;
use skyprep::error::{Error, ErrorKind};
use skyprep::place::Network;
use skyprep::stage::{Depth, Verification, verify};

use crate::listings;
use crate::printer::grouped;
use crate::progress::Progress;
use crate::session::Session;
use crate::stage_args::VerifyArgs;

/// Findings that are shown one by one; JSON has all.
const SHOWN: usize = 20;

/// Compares staged files with the manifest that names them.
pub fn run(args: &VerifyArgs, session: &Session) -> Result<()> {
    let network = Network::new(args.network.options(session)?)?;
    session.interruption.may_not_look();
    let listing = listings::read(&args.manifest, &network)?;
    let depth = match args.quick {
        true => Depth::Quick,
        false => Depth::Full,
    };
    let progress = Progress::new(session);
    let bytes = listing.contributions().map(|line| line.bytes).sum();
    progress.start(&session.command, bytes);
    let at_once = args.network.uploads.get();
    let found = verify(listing.contributions(), &network, depth, at_once, &progress);
    progress.end();
    let found = found?;
    if args.json {
        let mut text = serde_json::to_vec(&json!({
            "format": "skyprep-verify",
            "version": 1,
            "manifest": skyprep::place::shown_url(&args.manifest),
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

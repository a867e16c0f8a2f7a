//! `skyprep load-plan`

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use skyprep::error::{Error, ErrorKind, Place};
use skyprep::load_plan::{Api, DatabaseState, LoadPlan, PlanOptions, Sending};
use skyprep::publish::stream_atomically;

use crate::listings;
use crate::printer::grouped;
use crate::serve_args::{ApiArg, ByValueArg, LoadPlanArgs};
use crate::session::Session;

/// Writes down the calls that load what a manifest names.
pub fn run(args: &LoadPlanArgs, session: &Session) -> Result<()> {
    let is_stdout = args.output.as_os_str() == "-";
    if !is_stdout && !args.force && args.output.exists() {
        return Err(
            Error::new(ErrorKind::OutputRefused, "this file exists already")
                .at(Place::file(args.output.display().to_string()))
                .hint("choose another name, or replace it with --force")
                .into(),
        );
    }
    let options = PlanOptions {
        tables: args.tables.clone(),
        database_json: args.database_json.clone(),
        indexes: args.index.clone(),
        division: args.transactions.parse()?,
        sending: match args.by_value {
            None => Sending::ByReference,
            Some(ByValueArg::Csv) => Sending::Csv,
            Some(ByValueArg::Json) => Sending::Json,
        },
        api: match args.api {
            ApiArg::Controller => Api::Controller,
            ApiArg::Czar => Api::Czar,
        },
        database: match args.published {
            true => DatabaseState::Published,
            false => DatabaseState::New,
        },
        api_version: args.api_version,
    };
    let listing = listings::read_with(&args.manifest, &args.network, session)?;
    let plan = LoadPlan::new(&listing, options)?;
    for warning in &plan.warnings {
        session.printer.warn(warning);
    }
    if is_stdout {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let written = plan.write_to(&mut out).and_then(|()| out.flush());
        written.map_err(|error| Error::writing(Path::new("stdout"), error))?;
    } else {
        stream_atomically(&args.output, session.folder.sync, |out| plan.write_to(out))?;
    }
    session.printer.note(&format!(
        "{} files in {} transactions",
        grouped(plan.files() as u64),
        grouped(plan.transactions() as u64)
    ));
    Ok(())
}

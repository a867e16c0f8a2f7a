//! `skyprep load-plan`

use anyhow::Result;
use skyprep::load_plan::{Api, DatabaseState, LoadPlan, PlanOptions, Sending};
use skyprep::report::grouped;

use super::output::Output;
use crate::listings;
use crate::serve_args::{ApiArg, ByValueArg, LoadPlanArgs};
use crate::session::Session;

/// Writes down the calls that load what a manifest names.
pub fn run(args: &LoadPlanArgs, session: &Session) -> Result<()> {
    let output = Output::of(&args.output, args.force)?;
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
    listings::warn_of_ended(&listing, &args.manifest, session);
    let plan = LoadPlan::new(&listing, options)?;
    for warning in &plan.warnings {
        session.printer.warn(warning);
    }
    let readers = listings::readers_of(&listing);
    output.write(session, readers, |out| plan.write_to(out))?;
    session.printer.note(&format!(
        "{} files in {} transactions",
        grouped(plan.files() as u64),
        grouped(plan.transactions() as u64)
    ));
    Ok(())
}

//! `skyprep init`

use std::path::{Component, Path, PathBuf};

use anyhow::Result;
use skyprep::error::Error;
use skyprep::pipeline::Starter;
use skyprep::publish::Readers;

use super::output::Output;
use super::streams::folder_of;
use crate::session::Session;
use crate::table_args::InitArgs;

/// Writes a pipeline file to start from.
pub fn run(args: &InitArgs, session: &Session) -> Result<()> {
    let output = Output::of(&args.output, args.force)?;
    let starter = Starter::read(&args.tables, &args.database)?;
    let beside = match args.output.as_str() {
        "-" => PathBuf::from("."),
        name => folder_of(Path::new(name)).to_owned(),
    };
    let tables = relative(&args.tables, &beside)?;
    let Some(tables) = tables.to_str() else {
        return Err(Error::usage("the name of the folder is not UTF-8").into());
    };
    let text = starter.pipeline(tables, &args.inputs, &args.dest);
    output.write(session, Readers::Usual, |out| {
        out.write_all(text.as_bytes())
    })?;
    for reason in &starter.passed_over {
        session.printer.note(&format!("passed over: {reason}"));
    }
    if args.output != "-" {
        session.printer.note(&format!(
            "{}: {} tables; look through their inputs, then: skyprep run {} --dry-run",
            args.output,
            starter.tables(),
            args.output
        ));
    }
    Ok(())
}

/// Returns `path` as it is seen from `folder`.
fn relative(path: &Path, folder: &Path) -> Result<PathBuf> {
    let real = |path: &Path| {
        path.canonicalize()
            .map_err(|error| Error::reading(path, error))
    };
    let (target, from) = (real(path)?, real(folder)?);
    let mut target_parts = target.components().peekable();
    let mut from_parts = from.components().peekable();
    while target_parts.peek().is_some() && target_parts.peek() == from_parts.peek() {
        target_parts.next();
        from_parts.next();
    }
    let up = from_parts.map(|_| Component::ParentDir);
    let steps: PathBuf = up.chain(target_parts).collect();
    Ok(match steps.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => steps,
    })
}

//! `skyprep sky`: the chunks as a picture.

use std::path::Path;

use anyhow::Result;
use skyprep::error::{Error, Place};
use skyprep::publish::Readers;
use skyprep::schema::TableKind;
use skyprep::sky::{Measure, Picture, SkyTable, SkyTables, page, read_tables};

use super::output::Output;
use crate::session::Session;
use crate::sky_args::{MeasureArg, PictureForm, SkyArgs};

/// Draws the chunks of tables.
pub fn run(args: &SkyArgs, session: &Session) -> Result<()> {
    let form = form_of(args)?;
    let output = Output::of(&args.output, args.force)?;
    refuse_own_source(args)?;
    let measure = match args.show {
        MeasureArg::Rows => Measure::Rows,
        MeasureArg::Overlap => Measure::Overlap,
        MeasureArg::Bytes => Measure::Bytes,
    };
    let mut found = read_tables(&args.source)?;
    let at_source = |error: Error| error.at(Place::file(args.source.display().to_string()));
    if let Some(name) = &args.table {
        choose(&mut found, name).map_err(at_source)?;
    }
    let bytes = match form {
        PictureForm::Html => page(&found, measure, args.width)
            .map_err(at_source)?
            .into_bytes(),
        PictureForm::Svg | PictureForm::Png => {
            let table = main_table(&found, session);
            let picture = Picture::new(table.clone(), measure, args.width).map_err(at_source)?;
            match form {
                PictureForm::Png => {
                    check_memory(&picture, session)?;
                    picture.png()?
                }
                _ => picture.svg().into_bytes(),
            }
        }
    };
    output.write(session, Readers::Usual, |out| out.write_all(&bytes))
}

/// Refuses to write over what is drawn.
fn refuse_own_source(args: &SkyArgs) -> Result<()> {
    let real = |path: &Path| path.canonicalize().ok();
    match (real(&args.source), real(Path::new(&args.output))) {
        (Some(source), Some(output)) if source == output => Err(Error::usage(
            "the picture would come over what it is drawn from",
        )
        .at(Place::file(args.output.clone()))
        .hint("choose another output")
        .into()),
        _ => Ok(()),
    }
}

/// Refuses an image that memory does not hold.
fn check_memory(picture: &Picture, session: &Session) -> Result<()> {
    let gate = &session.pass_limits().gate;
    let bytes = picture.png_memory();
    if bytes <= gate.room() {
        return Ok(());
    }
    let needed = (gate.base() + bytes).div_ceil(1 << 20);
    Err(Error::usage(format!(
        "the memory limit of {} bytes can't be kept: an image of this size takes {bytes}",
        gate.limit()
    ))
    .hint(format!(
        "choose a smaller --width, or --memory-limit {needed}MiB"
    ))
    .into())
}

fn form_of(args: &SkyArgs) -> Result<PictureForm> {
    if let Some(form) = args.to {
        return Ok(form);
    }
    let ending = Path::new(&args.output).extension();
    let ending = ending.map(std::ffi::OsStr::to_ascii_lowercase);
    match ending.as_ref().and_then(|ending| ending.to_str()) {
        Some("svg") => Ok(PictureForm::Svg),
        Some("png") => Ok(PictureForm::Png),
        Some("html" | "htm") => Ok(PictureForm::Html),
        _ => Err(Error::usage(format!(
            "{}: the name does not tell what to write",
            args.output
        ))
        .hint("end it with .svg, .png or .html, or say --to")
        .into()),
    }
}

/// Leaves only the table that is asked for.
fn choose(found: &mut SkyTables, name: &str) -> Result<(), Error> {
    let names: Vec<&str> = found
        .tables
        .iter()
        .map(|table| table.name.as_str())
        .collect();
    if !names.contains(&name) {
        let names = names.join(", ");
        return Err(Error::usage(format!("has no partitioned table {name}"))
            .hint(format!("those that it has: {names}")));
    }
    found.tables.retain(|table| table.name == name);
    Ok(())
}

/// Returns the table that is drawn where only one can be.
fn main_table<'f>(found: &'f SkyTables, session: &Session) -> &'f SkyTable {
    let rows = |table: &SkyTable| {
        let rows = table.chunks.values().map(|load| load.rows);
        rows.fold(0, u64::saturating_add)
    };
    let rank = |table: &&SkyTable| (table.kind == TableKind::Director, rows(table));
    // The first of equals, so that names decide.
    let main = found.tables.iter().rev().max_by_key(rank);
    let main = main.unwrap_or(&found.tables[0]);
    if found.tables.len() > 1 {
        let others = found.tables.iter().filter(|table| table.name != main.name);
        let others: Vec<&str> = others.map(|table| table.name.as_str()).collect();
        session.printer.note(&format!(
            "this is {}; --table draws {}, a page (.html) all",
            main.name,
            others.join(", ")
        ));
    }
    main
}

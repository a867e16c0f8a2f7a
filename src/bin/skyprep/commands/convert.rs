//! `skyprep convert`

use std::path::Path;

use anyhow::Result;
use skyprep::convert::{RowTarget, TextForm};
use skyprep::error::Error;
use skyprep::resources::ByteSize;
use skyprep::values::BinaryForm;

use super::streams::{StreamCommand, run_streams};
use crate::args::{ConvertArgs, DropInArg, FormArg};
use crate::books;
use crate::session::Session;
use crate::settings;

/// Converts table files to text.
pub fn run(args: &ConvertArgs, session: &Session) -> Result<()> {
    let schema = settings::schema(&args.values, session)?;
    let read_as = settings::read_as(
        &args.text_in,
        args.fits.hdu.as_deref(),
        schema.as_ref(),
        settings::chunk_columns(),
    )?;
    let dialect = settings::output_dialect(&args.text_out, Some(&args.stream_out))?;
    let columns = Some(&args.columns);
    let mut target = settings::target(
        "convert",
        dialect,
        &args.values,
        &args.infer,
        columns,
        schema,
    )?;
    match args.to {
        FormArg::Csv => {}
        FormArg::Json => choose_json(args, &mut target)?,
        FormArg::Parquet => {
            refuse_split(args)?;
            let stream = Some(&args.stream_out);
            settings::choose_parquet(&args.text_out, stream, &args.values, &mut target)?;
        }
    }
    if let Some(form) = args.drop_in {
        target.policy.reference_style = true;
        target.form = match form {
            DropInArg::Bare => TextForm::Bare,
            DropInArg::BareFixed => TextForm::Lines,
            DropInArg::Quoted => TextForm::Quoted { escapes: false },
            DropInArg::QuotedFixed => TextForm::Quoted { escapes: true },
        };
    }
    if let Some(size) = &args.split_size {
        target.split = Some(split_size(size, &args.output)?);
    }
    let inputs = settings::inputs(&args.input, false, session)?;
    let inputs = settings::digested(inputs, &args.digests, session)?;
    let command = StreamCommand {
        inputs,
        read_as,
        target,
        output: &args.output,
        is_forced: args.force,
        rejects: &args.rejects,
        books: &args.books,
        sources: books::sources(
            [
                args.columns.columns_file.as_deref(),
                settings::schema_file(&args.values).as_deref(),
                args.text_in.fields_file.as_deref(),
                args.input.list_file(),
            ],
            session,
        ),
    };
    run_streams(command, session)
}

/// Lets the rows become JSON for the ingest service.
fn choose_json(args: &ConvertArgs, target: &mut RowTarget) -> Result<()> {
    settings::refuse_text_options(&args.text_out, Some(&args.stream_out), "json")?;
    settings::choose_utf8(&args.values, "JSON", target)?;
    target.form = TextForm::JsonRows;
    match args.values.binary.as_deref() {
        None => target.policy.binary = BinaryForm::Hex,
        Some("escape") => {
            return Err(
                Error::usage("--binary escape: JSON can't hold bytes as they are")
                    .hint("choose hex, b64 or array")
                    .into(),
            );
        }
        Some(_) => {}
    }
    Ok(())
}

/// Refuses to cut what is no text.
fn refuse_split(args: &ConvertArgs) -> Result<()> {
    match args.split_size {
        None => Ok(()),
        Some(_) => {
            let message = "--split-size cuts texts, and --to parquet makes none";
            Err(Error::usage(message).into())
        }
    }
}

fn split_size(size: &str, output: &str) -> Result<u64> {
    if !(output.ends_with('/') || Path::new(output).is_dir()) {
        return Err(Error::usage("--split-size makes several files")
            .hint("name a folder as output, with / at its end")
            .into());
    }
    match size.parse() {
        Ok(ByteSize::Bytes(bytes)) if bytes >= 4096 => Ok(bytes),
        _ => Err(Error::usage(format!(
            "--split-size {size}: expected a size such as 32MiB, 4KiB at least"
        ))
        .into()),
    }
}

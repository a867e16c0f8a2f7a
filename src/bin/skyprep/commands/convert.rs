//! `skyprep convert`

use std::path::Path;

use anyhow::Result;
use skyprep::convert::{RowTarget, TextForm};
use skyprep::dialect::Dialect;
use skyprep::error::Error;
use skyprep::resources::ByteSize;
use skyprep::values::{BinaryForm, Charset};

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
        FormArg::Parquet => choose_parquet(args, &mut target)?,
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

/// Refuses what says how text is written, for outputs that are none.
fn refuse_text_options(args: &ConvertArgs, form: &str) -> Result<()> {
    let (text, stream) = (&args.text_out, &args.stream_out);
    let has_dialect = [
        &text.dialect,
        &text.delimiter,
        &text.quote,
        &text.escape,
        &text.null,
    ]
    .into_iter()
    .chain([&stream.line_terminator])
    .any(Option::is_some);
    if has_dialect || stream.header {
        let message = format!("the options of text outputs say nothing about --to {form}");
        return Err(Error::usage(message).into());
    }
    Ok(())
}

/// Lets texts be in utf8mb4, as all are in this form.
fn choose_utf8(args: &ConvertArgs, form: &str, target: &mut RowTarget) -> Result<()> {
    match args.values.charset.as_deref() {
        None | Some("utf8mb4") => target.policy.charset = Charset::Utf8mb4,
        Some(other) => {
            let message = format!("--charset {other}: {form} is always utf8mb4");
            return Err(Error::usage(message).into());
        }
    }
    Ok(())
}

/// Lets the rows become a Parquet file.
fn choose_parquet(args: &ConvertArgs, target: &mut RowTarget) -> Result<()> {
    refuse_text_options(args, "parquet")?;
    choose_utf8(args, "Parquet", target)?;
    if args.split_size.is_some() {
        return Err(Error::usage("--split-size cuts texts, and --to parquet makes none").into());
    }
    target.form = TextForm::Parquet;
    target.dialect = Dialect::qserv();
    Ok(())
}

/// Lets the rows become JSON for the ingest service.
fn choose_json(args: &ConvertArgs, target: &mut RowTarget) -> Result<()> {
    refuse_text_options(args, "json")?;
    choose_utf8(args, "JSON", target)?;
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

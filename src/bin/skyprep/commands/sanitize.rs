//! `skyprep sanitize`

use anyhow::Result;
use skyprep::error::{Error, Place};

use super::streams::{StreamCommand, run_streams};
use crate::args::SanitizeArgs;
use crate::books;
use crate::session::Session;
use crate::settings;

/// Cleans text.
pub fn run(args: &SanitizeArgs, session: &Session) -> Result<()> {
    let schema = settings::schema(&args.values, session)?;
    let added = settings::chunk_columns();
    let read_as = settings::read_as(&args.text_in, None, schema.as_ref(), added)?;
    let dialect = settings::output_dialect(&args.text_out, Some(&args.stream_out))?;
    let target = settings::target("sanitize", dialect, &args.values, &args.infer, None, schema)?;
    let inputs = settings::inputs(&args.input, true, session)?;
    let inputs = settings::digested(inputs, &args.digests, session)?;
    if let Some(table) = inputs.iter().find(|input| input.format.has_columns()) {
        let message = format!("sanitize reads text, this is {}", table.format);
        return Err(Error::usage(message)
            .at(Place::file(table.name.shown()))
            .hint("use skyprep convert, which applies the same rules")
            .into());
    }
    let has_rules =
        target.schema.is_some() || args.infer.infer || !args.values.null_text.is_empty();
    if !has_rules {
        session
            .printer
            .detail("no --schema and no --infer: only the dialect is looked after");
    }
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
                settings::schema_file(&args.values).as_deref(),
                args.text_in.fields_file.as_deref(),
                args.input.list_file(),
            ],
            session,
        ),
    };
    run_streams(command, session)
}

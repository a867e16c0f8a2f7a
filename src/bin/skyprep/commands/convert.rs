//! `skyprep convert`

use anyhow::Result;

use super::streams::{StreamCommand, run_streams};
use crate::args::ConvertArgs;
use crate::books;
use crate::session::Session;
use crate::settings;

/// Converts table files to text.
pub fn run(args: &ConvertArgs, session: &Session) -> Result<()> {
    let schema = settings::schema(&args.values)?;
    let text = settings::text_input(&args.text_in, schema.as_ref(), settings::chunk_columns())?;
    let dialect = settings::output_dialect(&args.text_out, Some(&args.stream_out))?;
    let columns = Some(&args.columns);
    let target = settings::target(
        "convert",
        dialect,
        &args.values,
        &args.infer,
        columns,
        schema,
    )?;
    let inputs = settings::inputs(&args.input, false, session)?;
    let inputs = settings::digested(inputs, &args.digests, session)?;
    let command = StreamCommand {
        inputs,
        text,
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

//! `skyprep partition --only-chunks`

use std::path::Path;

use anyhow::Result;
use skyprep::error::{Error, Place};
use skyprep::partition::OnlyChunks;
use skyprep::pipeline::{PassJob, Redo};
use skyprep::publish::OutputFolder;
use skyprep::source::Input;

use crate::books;
use crate::partition_args::PartitionArgs;
use crate::session::Session;

/// So many lost files are named.
const NAMED: usize = 3;

/// What is to be done about the chunks that are asked for.
pub enum Planned {
    /// The job makes a folder of its own, as any other.
    Fresh(Box<PassJob>),
    /// The job makes chunks again in the folder where the whole table stands.
    InPlace {
        job: Box<PassJob>,
        folder: Box<OutputFolder>,
    },
    /// It was only asked what would be done.
    Foretold,
}

/// Finds out where the chunks that were asked for, if any, are to be made.
pub fn plan(
    args: &PartitionArgs,
    job: PassJob,
    (root, inputs): (&Path, &[Input]),
    session: &Session,
) -> Result<Planned> {
    if args.only_chunks.is_empty() {
        return Ok(Planned::Fresh(Box::new(job)));
    }
    let table = job.tables.first();
    let routing = table.and_then(|table| table.target.routing.as_ref());
    let Some(routing) = routing else {
        return Err(Error::usage("only a partitioned table has chunks").into());
    };
    let only = OnlyChunks::new(&routing.chunker, args.only_chunks.clone())?;
    let count = only.numbers().len();
    let redo = Redo::new(job, only)?;
    if OutputFolder::is_interrupted(root) && !args.books.dry_run {
        // What stands there shows only when a killed run has its last word.
        drop(OutputFolder::open(root, session.folder)?);
    }
    let Some(standing) = redo.standing(root)? else {
        return Ok(Planned::Fresh(Box::new(redo.job)));
    };
    if args.stats.is_some() {
        let message = "--stats tells of the whole table, and some chunks of it are made again";
        return Err(Error::usage(message).hint("leave it out").into());
    }
    if let Some(list) = &args.rejects.reject_file
        && standing.has_rejects_in(list)
    {
        let message = "lists what was rejected of the whole table, and of some chunks alone it would tell less";
        return Err(Error::usage(message)
            .at(Place::file(list.display().to_string()))
            .hint("name another --reject-file, or none")
            .into());
    }
    let redo = redo.in_place();
    if args.books.dry_run {
        books::foretell_redo(session, inputs, root, count)?;
        return Ok(Planned::Foretold);
    }
    let folder = redo.open(root, session.folder, &session.pass_limits())?;
    let lost = redo.lost_beside(&folder);
    if !lost.is_empty() {
        let named: Vec<&str> = lost.iter().take(NAMED).map(String::as_str).collect();
        let more = match lost.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        session.printer.warn(&format!(
            "{}{more} are missing or of another size, too; name their chunks as well, or run the \
             command without --only-chunks",
            named.join(", ")
        ));
    }
    Ok(Planned::InPlace {
        job: Box::new(redo.job),
        folder: Box::new(folder),
    })
}

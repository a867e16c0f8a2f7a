//! `skyprep merge`

use anyhow::Result;
use skyprep::merge::{KnownTable, Merge, MergeOptions, MergeStanding};
use skyprep::partition::Partitioning;
use skyprep::pipeline::check_writable;
use skyprep::report::grouped;

use crate::books::{self, DataTo};
use crate::merge_args::MergeArgs;
use crate::printer::format_tables;
use crate::progress::Progress;
use crate::session::Session;
use crate::settings;

/// Puts the files of each chunk together.
pub fn run(args: &MergeArgs, session: &Session) -> Result<()> {
    books::check(&args.books, None, DataTo::Files, &[])?;
    let merge = Merge::plan(&options(args)?)?;
    for path in [&args.books.report, &args.books.depfile]
        .into_iter()
        .flatten()
    {
        merge.check_outside(path)?;
    }
    for warning in merge.warnings() {
        session.printer.warn(&warning);
    }
    if args.books.dry_run {
        return foretell(args, &merge, session);
    }
    let mut report = session.begin_report();
    report.add_stamps(merge.stamps());
    let root = &args.output;
    let replace = settings::replace(args.force);
    let table = match merge.standing(root, replace, session.folder)? {
        MergeStanding::Done(table) => {
            let message = format!("{}: all is there; nothing to do", root.display());
            session.printer.note(&message);
            report.unchanged = true;
            *table
        }
        MergeStanding::Open(mut folder) => {
            let progress = Progress::new(session);
            progress.start(merge.table(), merge.extent().2);
            let made = merge.run(&mut folder, &session.pass_limits(), &progress);
            progress.end();
            made?
        }
    };
    if table.rejected > 0 {
        let rows = grouped(table.rejected);
        let message = format!("rows that were rejected when the parts were made: {rows}");
        session.printer.warn(&message);
    }
    let is_new = !report.unchanged;
    report.add_table(table.clone(), is_new);
    report.keep_in(root)?;
    let targets = books::record_of(root);
    let sources = books::sources([], session);
    let shown = format_tables(&[table]);
    books::close(
        &args.books,
        session,
        &mut report,
        &[&targets],
        &sources,
        Some(&shown),
    )?;
    books::end(session, &report)
}

fn options(args: &MergeArgs) -> Result<MergeOptions> {
    let dialect = args.dialect.as_deref();
    let dialect = dialect.map(|name| settings::named_dialect(Some(name)));
    let partitioning = match (args.stripes, args.sub_stripes, args.overlap) {
        (Some(stripes), Some(sub_stripes), Some(overlap)) => Some(Partitioning {
            stripes,
            sub_stripes,
            overlap,
        }),
        _ => None,
    };
    Ok(MergeOptions {
        sources: args.sources.clone(),
        known: KnownTable {
            table: args.table.clone(),
            kind: args.kind.map(Into::into),
            partitioning,
            dialect: dialect.transpose()?,
            charset: args
                .charset
                .as_deref()
                .map(|name| settings::charset(Some(name))),
        },
        prefix: args.prefix.clone(),
    })
}

/// Tells what would be done.
fn foretell(args: &MergeArgs, merge: &Merge, session: &Session) -> Result<()> {
    let root = &args.output;
    let (folders, files, bytes) = merge.extent();
    let state = merge.foresee(root, settings::replace(args.force))?;
    let words = match state {
        None => "nothing to do",
        Some(_) => "would be made",
    };
    if state.is_some() {
        check_writable(root)?;
    }
    let columns = match merge.columns() {
        [] => String::new(),
        names => format!("  columns: {}\n", names.join(", ")),
    };
    session.printer.result(&format!(
        "skyprep merge would read {folders} folders, {} files, {} bytes\noutput {}: {words}\n\
         {columns}output folder: {}\nlimits: {}\nnothing was touched\n",
        grouped(files as u64),
        grouped(bytes),
        merge.table(),
        root.display(),
        session.limits_in_words(),
    ))
}

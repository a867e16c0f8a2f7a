//! `skyprep partition`

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use serde_json::json;
use skyprep::dialect::Dialect;
use skyprep::error::Error;
use skyprep::exchange::ChunkNames;
use skyprep::partition::key_index::{DuplicateRule, IndexFormat, IndexSource};
use skyprep::partition::{
    DirectorIndex, OverlapRule, Partitioning, RaRule, Routing, RoutingOptions,
};
use skyprep::pipeline::{
    Arrangement, PassInput, PassJob, Standing, TableJob, TableParts, check_director, outlook,
    standing,
};
use skyprep::publish::StandingFiles;
use skyprep::schema::{
    CHUNK_COLUMN, ChunkColumns, FLAGS_COLUMN, SUB_CHUNK_COLUMN, TableKind, TableSchema, check_name,
};
use skyprep::source::Input;

use super::redo;
use super::statistics::Statistics;
use super::unknown_keys::warn_of_unknown_keys;
use crate::books::{self, DataTo};
use crate::partition_args::{ChunkFormArg, IndexFormatArg, PartitionArgs};
use crate::printer::format_tables;
use crate::progress::Progress;
use crate::session::Session;
use crate::settings;
use crate::sph_config::{self, Completed};

/// Sorts rows into chunk files.
pub fn run(said: &PartitionArgs, session: &Session) -> Result<()> {
    let completed = sph_config::complete(said)?;
    let root = &completed.root()?;
    let args = &completed.args;
    let progress = Progress::new(session);
    let (job, name) = plan(&completed, session, &progress)?;
    let inputs: Vec<Input> = job.inputs.iter().map(|fed| fed.input.clone()).collect();
    books::check(&args.books, Some(&args.rejects), DataTo::Files, &inputs)?;
    let statistics = Statistics::of(args, &job, &inputs)?;
    let mut report = session.begin_report();
    report.add_inputs(&inputs);
    let replace = settings::replace(args.force);
    let (job, folder) = match redo::plan(args, job, (root, &inputs), session)? {
        redo::Planned::Foretold => return Ok(()),
        redo::Planned::InPlace { job, folder } => (*job, Some((None, Some(*folder)))),
        redo::Planned::Fresh(job) => (*job, None),
    };
    let is_in_place = folder.is_some();
    let jobs = [job];
    if args.books.dry_run {
        return books::foretell(session, root, outlook(root, &jobs, replace)?);
    }
    let (done, folder) = match folder {
        Some(taken) => taken,
        None => {
            let limits = session.pass_limits();
            let Standing { done, folder } =
                standing(root, &jobs, replace, session.folder, &limits)?;
            (done.into_iter().flatten().next(), folder)
        }
    };
    let [job] = jobs;
    let tables = job.tables.clone();
    let reports = match (done, folder) {
        (None, Some(mut folder)) => {
            let stamps = inputs.iter().filter_map(|input| input.stamp.as_ref());
            progress.start(&name, stamps.map(|stamp| stamp.bytes).sum());
            let outcome = job.run(&mut folder, &session.pass_limits(), &progress);
            progress.end();
            let reports = outcome?;
            for table in &reports {
                report.add_table(table.clone(), true);
            }
            reports
        }
        (reports, _) => {
            let reports = reports.unwrap_or_default();
            let standing: Vec<_> = reports.iter().collect();
            session.limits().check_standing(&standing)?;
            let message = format!("{}: all is there; nothing to do", root.display());
            session.printer.note(&message);
            for table in &reports {
                report.add_table(table.clone(), false);
            }
            report.unchanged = true;
            reports
        }
    };
    if !is_in_place {
        report.keep_in(root)?;
    }
    if !report.unchanged && reports.iter().all(|table| table.rows_in == 0) {
        session.printer.warn("no rows came in");
    }
    books::close_rejects(session, &report)?;
    warn_of_unknown_keys(&tables, session);
    if let Some(statistics) = &statistics {
        statistics.write(root, session)?;
    }
    let configs = args.sph_config.iter();
    let indexes = [&args.index, &args.index1, &args.index2];
    let named = configs.chain(indexes.into_iter().flatten());
    let sources = books::sources(
        [
            args.columns.columns_file.as_deref(),
            settings::schema_file(&args.values).as_deref(),
            args.text_in.fields_file.as_deref(),
            args.input.list_file(),
        ]
        .into_iter()
        .chain(named.map(|path| Some(path.as_path()))),
        session,
    );
    let is_told = !statistics.as_ref().is_some_and(Statistics::are_printed);
    let table = is_told.then(|| format_tables(&reports));
    books::close(
        &args.books,
        session,
        &mut report,
        &[&books::record_of(root)],
        &sources,
        table.as_deref(),
    )?;
    books::end(session, &report)
}

pub fn plan(
    completed: &Completed,
    session: &Session,
    progress: &Progress<'_>,
) -> Result<(PassJob, String)> {
    let args = &completed.args;
    let schema = settings::schema(&args.values, session)?;
    let kind = kind_of(args, schema.as_ref())?;
    if let (TableKind::Director, Some(schema)) = (kind, &schema) {
        check_director(schema, args.allow_varchar, progress)?;
    }
    let flags = args.flags_column.as_deref().unwrap_or(FLAGS_COLUMN);
    let (chunk, sub_chunk) = chunk_columns(args);
    let added = [chunk, sub_chunk, flags].map(ToOwned::to_owned).to_vec();
    let read_as = settings::read_as_over(
        (&args.text_in, args.fits.hdu.as_deref()),
        &completed.input_dialect,
        completed.fields.clone(),
        schema.as_ref(),
        added,
    )?;
    let base = &completed.output_dialect;
    let dialect = settings::output_dialect_over(&args.text_out, None, base)?;
    let (partitioning, routing) = match kind.is_partitioned() {
        true => {
            let partitioning = partitioning_of(args)?;
            (
                Some(partitioning),
                Some(routing_of(
                    completed,
                    kind,
                    partitioning,
                    schema.as_ref(),
                    &dialect,
                )?),
            )
        }
        false => {
            refuse_routing(args)?;
            (None, None)
        }
    };
    let name = args
        .table
        .clone()
        .or_else(|| schema.as_ref().and_then(|s| s.table.clone()));
    let name = name.unwrap_or_else(|| "table".to_owned());
    check_name("table", &name)?;
    let columns = Some(&args.columns);
    let has_schema = schema.is_some();
    let mut target = settings::target(&name, dialect, &args.values, &args.infer, columns, schema)?;
    if target.columns.is_none() {
        target.columns = match has_schema {
            true => completed.chosen_columns.clone(),
            false => completed.columns.clone(),
        };
        target.optional.extend(completed.optional.iter().cloned());
    }
    target.routing = routing;
    if args.to == ChunkFormArg::Parquet {
        settings::choose_parquet(&args.text_out, None, &args.values, &mut target)?;
    }
    let prefix = args.prefix.as_deref().unwrap_or(ChunkNames::PREFIX);
    let nodes = args.num_nodes.unwrap_or(1);
    let mut options = json!({
        "command": "partition",
        "kind": kind,
        "partitioning": partitioning,
        "no_overlap": args.no_overlap,
        "wrap_ra": args.wrap_ra,
        "chunk_index": has_chunk_index(args),
        "index_format": args.index_format as u8,
        "prefix": prefix,
        "nodes": nodes,
        "target": target.fingerprint(),
        "text": read_as.as_ref(),
    });
    if !args.sort.is_empty() {
        options["sort"] = json!(args.sort);
    }
    let inputs = settings::inputs_or(&args.input, &completed.inputs, session)?;
    let inputs = settings::digested(inputs, &args.digests, session)?;
    let output = completed.output.as_ref();
    let output = output.and_then(|output| output.canonicalize().ok());
    settings::refuse_overwriting(&inputs, |input| input.parent() == output.as_deref())?;
    let inputs = inputs
        .into_iter()
        .map(|input| PassInput::whole(input, &read_as, vec![0]))
        .collect();
    let job = TableJob {
        target,
        kind,
        partitioning,
        database: None,
        folder: String::new(),
        prefix: prefix.to_owned(),
        nodes,
        file_name: match args.to {
            ChunkFormArg::Csv => format!("{name}.txt"),
            ChunkFormArg::Parquet => format!("{name}.parquet"),
        },
        has_chunk_index: has_chunk_index(args),
        index_format: match args.index_format {
            IndexFormatArg::Text => IndexFormat::Text,
            IndexFormatArg::Parquet => IndexFormat::Parquet,
            IndexFormatArg::Binary => IndexFormat::Binary,
        },
        duplicates: DuplicateRule::Refuse,
        writes: TableParts::All,
        tells_sub_chunks: false,
        arrangement: Arrangement {
            sort: args.sort.clone(),
        },
    };
    Ok((
        PassJob {
            inputs,
            tables: vec![job],
            options: vec![options],
            outdated: Vec::new(),
            is_sole: true,
            standing: StandingFiles::Replaced,
        },
        name,
    ))
}

fn chunk_columns(args: &PartitionArgs) -> (&str, &str) {
    let chunk = args.chunk_column.as_deref().unwrap_or(CHUNK_COLUMN);
    let sub_chunk = args.sub_chunk_column.as_deref();
    (chunk, sub_chunk.unwrap_or(SUB_CHUNK_COLUMN))
}

/// Statistics are counted in the index.
fn has_chunk_index(args: &PartitionArgs) -> bool {
    args.chunk_index || args.stats.is_some()
}

/// Returns the kind that option and schema agree on.
fn kind_of(args: &PartitionArgs, schema: Option<&TableSchema>) -> Result<TableKind> {
    Ok(TableSchema::agreed_kind(
        args.kind.map(TableKind::from),
        schema,
    )?)
}

fn partitioning_of(args: &PartitionArgs) -> Result<Partitioning> {
    let (Some(stripes), Some(sub_stripes)) = (args.stripes, args.sub_stripes) else {
        return Err(Error::usage("--stripes and --sub-stripes are needed")
            .hint("all tables of a database share them; they have no default")
            .into());
    };
    let overlap = match (args.overlap, args.no_overlap) {
        (Some(overlap), _) => overlap,
        (None, true) => 0.0,
        (None, false) => {
            return Err(Error::usage("--overlap is needed")
                .hint("give it in degrees, such as 0.01667; or say --no-overlap")
                .into());
        }
    };
    Ok(Partitioning {
        stripes,
        sub_stripes,
        overlap,
    })
}

fn routing_of(
    completed: &Completed,
    kind: TableKind,
    partitioning: Partitioning,
    schema: Option<&TableSchema>,
    dialect: &Dialect,
) -> Result<Routing> {
    let args = &completed.args;
    let index = |path: &PathBuf| -> Result<Arc<DirectorIndex>> {
        let source = IndexSource {
            path: path.clone(),
            dialect: index_dialect(args, dialect)?,
        };
        let index = DirectorIndex::new(source, DuplicateRule::Refuse);
        // Before all else: without it there is nothing to compare with what stands.
        index.stamp()?;
        Ok(Arc::new(index))
    };
    let given = [&args.index, &args.index1, &args.index2];
    let is_match = kind == TableKind::Match;
    let (wanted, others) = match is_match {
        true => (&given[1..], &given[..1]),
        false => (&given[..1], &given[1..]),
    };
    if others.iter().any(|index| index.is_some()) {
        let hint = match is_match {
            true => "a match is routed by --id1, --index1, --id2 and --index2",
            false => "--index1 and --index2 are for matches",
        };
        let message = format!("that index is not for a {} table", kind.name());
        return Err(Error::usage(message).hint(hint).into());
    }
    let indexes: Result<Vec<_>> = wanted.iter().copied().flatten().map(index).collect();
    let first_of = |own: &Option<String>, of_match: &Option<String>| match is_match {
        true => of_match.clone(),
        false => own.clone(),
    };
    refuse_others_columns(args, kind)?;
    let flags = schema.and_then(|schema| schema.flag.clone());
    let flags = args.flags_column.clone().or(flags);
    let (chunk, sub_chunk) = chunk_columns(args);
    let routing = Routing::resolve(RoutingOptions {
        chunker: partitioning.chunker()?,
        kind,
        position: (
            first_of(&args.ra, &args.ra1),
            first_of(&args.dec, &args.dec1),
        ),
        position2: (args.ra2.clone(), args.dec2.clone()),
        id: first_of(&args.id, &args.id1),
        id2: args.id2.clone(),
        indexes: indexes?,
        unknown: completed.unknown_keys,
        schema,
        overlap: if args.no_overlap {
            OverlapRule::Omit
        } else {
            OverlapRule::Write
        },
        ra_rule: if args.wrap_ra {
            RaRule::Wrapped
        } else {
            RaRule::Checked
        },
        columns: ChunkColumns {
            chunk: Some(chunk.to_owned()),
            sub_chunk: sub_chunk.to_owned(),
            flags: is_match.then(|| flags.unwrap_or_else(|| FLAGS_COLUMN.to_owned())),
        },
    })?;
    if args.wrap_ra && routing.positions().is_empty() {
        return Err(idle_option("--wrap-ra", kind));
    }
    Ok(routing)
}

/// Refuses options that decide where rows go: those of a regular table go nowhere else.
fn refuse_routing(args: &PartitionArgs) -> Result<()> {
    let columns = columns_of_others(args)
        .into_iter()
        .chain(columns_of_matches(args));
    let mut given = columns
        .map(|(option, column)| (option, column.is_some()))
        .chain([
            ("--index", args.index.is_some()),
            ("--index1", args.index1.is_some()),
            ("--index2", args.index2.is_some()),
            ("--wrap-ra", args.wrap_ra),
            ("--unknown-keys", args.unknown_keys.is_some()),
            ("--only-chunks", !args.only_chunks.is_empty()),
            ("--sort", !args.sort.is_empty()),
        ]);
    match given.find(|(_, is_given)| *is_given) {
        Some((option, _)) => Err(idle_option(option, TableKind::Regular)),
        None => Ok(()),
    }
}

/// An option that names a column.
type ColumnOption<'a> = (&'static str, &'a Option<String>);

fn columns_of_matches(args: &PartitionArgs) -> [ColumnOption<'_>; 7] {
    [
        ("--ra1", &args.ra1),
        ("--dec1", &args.dec1),
        ("--ra2", &args.ra2),
        ("--dec2", &args.dec2),
        ("--id1", &args.id1),
        ("--id2", &args.id2),
        ("--flags-column", &args.flags_column),
    ]
}

fn columns_of_others(args: &PartitionArgs) -> [ColumnOption<'_>; 3] {
    [("--ra", &args.ra), ("--dec", &args.dec), ("--id", &args.id)]
}

fn idle_option(option: &str, kind: TableKind) -> anyhow::Error {
    let message = format!("{option} does nothing for this {} table", kind.name());
    Error::usage(message).hint("leave it out").into()
}

/// Refuses options that name columns of tables of another kind: they would do nothing.
fn refuse_others_columns(args: &PartitionArgs, kind: TableKind) -> Result<()> {
    let has_index = args.index.is_some() || args.index1.is_some() || args.index2.is_some();
    let idle = [
        (
            "--index-format",
            args.index_format != IndexFormatArg::Text && kind != TableKind::Director,
        ),
        (
            "--index-dialect",
            args.index_dialect.is_some() && !has_index,
        ),
        (
            "--unknown-keys",
            args.unknown_keys.is_some() && kind != TableKind::Match,
        ),
        (
            "--no-overlap",
            args.no_overlap && kind != TableKind::Director && args.overlap.is_some(),
        ),
    ];
    if let Some((option, _)) = idle.iter().find(|(_, is_idle)| *is_idle) {
        return Err(idle_option(option, kind));
    }
    let (of_matches, of_others) = (columns_of_matches(args), columns_of_others(args));
    let idle = match kind {
        TableKind::Match => of_others.as_slice(),
        _ => of_matches.as_slice(),
    };
    match idle.iter().find(|(_, column)| column.is_some()) {
        None => Ok(()),
        Some((option, _)) => {
            let message = format!("{option} is not for a {} table", kind.name());
            let hint = match kind {
                TableKind::Match => "a match has two sides: --ra1, --dec1, --ra2 and --dec2",
                _ => "it is for matches",
            };
            Err(Error::usage(message).hint(hint).into())
        }
    }
}

/// Returns the dialect of an index that is text.
fn index_dialect(args: &PartitionArgs, output: &Dialect) -> Result<Dialect> {
    match args.index_dialect.as_deref() {
        Some(name) => settings::named_dialect(Some(name)),
        None => Ok(output.clone()),
    }
}

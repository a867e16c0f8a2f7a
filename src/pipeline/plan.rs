//! From a pipeline file to the passes that make its tables, directors first.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::components::{Component, components};
use super::file::{PipelineFile, TableSection};
use super::finishing::Arrangement;
use super::folder_run::PassJob;
use super::pass::{PassInput, ReadAs};
use super::prepared::TextNames;
use super::run::{RunEvents, RunOptions};
use super::table::{TableJob, TableParts};
use super::table_routing::{IndexPlaces, routing_of};
use crate::convert::RowTarget;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::ChunkNames;
use crate::manifest::MANIFEST_FILE;
use crate::partition::geometry::Chunker;
use crate::partition::key_index::DuplicateRule;
use crate::partition::{Partitioning, Routing};
use crate::publish::StandingFiles;
use crate::report::add_digests;
use crate::schema::{
    CHUNK_COLUMN, DirectorFinding, FLAGS_COLUMN, Refuser, SUB_CHUNK_COLUMN, Severity, TableKind,
    TableSchema, check_director_columns,
};
use crate::source::check_once;

/// The division of the sky, laid out.
pub(super) struct Sky {
    pub(super) partitioning: Partitioning,
    pub(super) chunker: Arc<Chunker>,
}

/// A table of the pipeline, checked against its schema.
pub(super) struct PlannedTable<'f> {
    pub(super) name: &'f str,
    pub(super) section: &'f TableSection,
    pub(super) kind: TableKind,
    pub(super) schema: Option<TableSchema>,
    /// Where its rows go, once that is settled.
    pub(super) routing: Option<Routing>,
}

/// Returns the tables, directors first, and the passes that make them.
pub(super) fn plan<'f>(
    file: &'f PipelineFile,
    options: &RunOptions,
    events: &dyn RunEvents,
) -> Result<(Vec<PlannedTable<'f>>, Vec<PassJob>)> {
    let (tables, sky) = lay_out(file, &IndexPlaces::default(), events)?;
    let mut jobs = Vec::new();
    for mut pass in plan_passes(file, &tables, sky.as_ref())? {
        for (product, feeds, text) in &pass.products {
            for input in file.inputs_of(product, options.limits.bad_inputs)? {
                let fed = PassInput::whole(input, text, feeds.clone());
                pass.job.inputs.push(fed);
            }
        }
        jobs.push(pass.job);
    }
    for job in &jobs {
        for table in 0..job.tables.len() {
            let fed = job.inputs.iter().filter(|fed| fed.feeds.contains(&table));
            check_once(fed.filter_map(|fed| fed.input.stamp.as_ref()))?;
        }
    }
    if options.has_digests {
        let fed = jobs.iter_mut().flat_map(|job| &mut job.inputs);
        add_digests(fed.map(|fed| &mut fed.input), &options.limits.cancel)?;
    }
    Ok((tables, jobs))
}

/// Returns the tables, directors first, with where their rows go, and the division of the sky.
pub(super) fn lay_out<'f>(
    file: &'f PipelineFile,
    indexes: &IndexPlaces,
    events: &dyn RunEvents,
) -> Result<(Vec<PlannedTable<'f>>, Option<Sky>)> {
    let mut tables = plan_tables(file, events)?;
    let sky = match partitioning_of(file, &tables)? {
        Some(partitioning) => Some(Sky {
            partitioning,
            chunker: partitioning.chunker()?,
        }),
        None => None,
    };
    if let Some(sky) = &sky {
        let partitioned = (0..tables.len()).filter(|at| tables[*at].kind.is_partitioned());
        let routings: Result<Vec<_>> = partitioned
            .map(|at| {
                let routing = routing_of(file, &tables, &tables[at], sky, indexes);
                Ok((
                    at,
                    routing.map_err(|error| at_table(tables[at].name, error))?,
                ))
            })
            .collect();
        for (at, routing) in routings? {
            tables[at].routing = Some(routing);
        }
    }
    Ok((tables, sky))
}

fn at_table(name: &str, error: Error) -> Error {
    error.at(Place::file(format!("table {name}")))
}

/// Checks every table against its schema, directors first.
fn plan_tables<'f>(
    file: &'f PipelineFile,
    events: &dyn RunEvents,
) -> Result<Vec<PlannedTable<'f>>> {
    let mut tables = Vec::with_capacity(file.table.len());
    for (name, section) in &file.table {
        let at_table = |error: Error| at_table(name, error);
        let schema = file.schema_of(name, section).map_err(at_table)?;
        let kind = TableSchema::agreed_kind(section.kind, schema.as_ref()).map_err(at_table)?;
        if let Some(warning) = schema.as_ref().and_then(TableSchema::unchecked) {
            events.warn(&format!("table {name}: {warning}"));
        }
        if let (TableKind::Director, Some(schema)) = (kind, &schema) {
            check_director(schema, section.allow_varchar, events).map_err(at_table)?;
        }
        tables.push(PlannedTable {
            name,
            section,
            kind,
            schema,
            routing: None,
        });
    }
    let rank = |kind| match kind {
        TableKind::Director => 0,
        TableKind::Child | TableKind::Match => 1,
        TableKind::Regular => 2,
    };
    tables.sort_by_key(|table| rank(table.kind));
    Ok(tables)
}

/// Refuses columns that a director may not have.
///
/// # Errors
/// All such columns, each with who refuses it.
pub fn check_director(
    schema: &TableSchema,
    allow_varchar: bool,
    events: &dyn RunEvents,
) -> Result<()> {
    let findings = check_director_columns(schema, allow_varchar);
    let (errors, warnings): (Vec<_>, Vec<_>) = findings
        .iter()
        .partition(|finding| finding.severity == Severity::Error);
    for warning in warnings {
        events.warn(&warning.message);
    }
    if errors.is_empty() {
        return Ok(());
    }
    let messages: Vec<&str> = errors
        .iter()
        .map(|finding| finding.message.as_str())
        .collect();
    let is_documented = |finding: &&DirectorFinding| finding.refuser == Refuser::Documentation;
    let mut hint = "skyprep check INPUT... --schema FILE tells the n that will do".to_owned();
    if errors.iter().any(is_documented) {
        hint.push_str(
            "; VARCHAR and VARBINARY work in practice: --allow-varchar or allow_varchar = true",
        );
    }
    Err(Error::new(ErrorKind::DataRefused, messages.join("\n")).hint(hint))
}

/// Returns how the database section divides the sky, if any table needs it.
fn partitioning_of(
    file: &PipelineFile,
    tables: &[PlannedTable<'_>],
) -> Result<Option<Partitioning>> {
    if !tables.iter().any(|table| table.kind.is_partitioned()) {
        return Ok(None);
    }
    let database = &file.database;
    let lacking = |key: &str| {
        Error::usage(format!("[database] lacks {key}"))
            .hint("all tables of a database share stripes, sub_stripes and overlap")
    };
    let stripes = database.stripes.ok_or_else(|| lacking("stripes"))?;
    let sub_stripes = database.sub_stripes.ok_or_else(|| lacking("sub_stripes"))?;
    let overlap = database.overlap.ok_or_else(|| lacking("overlap"))?;
    Ok(Some(Partitioning {
        stripes,
        sub_stripes,
        overlap,
    }))
}

/// A pass whose inputs are yet to be found, and the products that they come from.
pub(crate) struct PlannedPass {
    /// The pass, without inputs.
    pub(crate) job: PassJob,
    /// Products in reading order: name, tables that each feeds, how it is read.
    pub(crate) products: Vec<(String, Vec<usize>, Arc<ReadAs>)>,
    /// Whether keys are looked up in indexes that other passes make.
    pub(crate) is_keyed: bool,
}

/// Returns the passes that make the tables, directors before their children.
pub(super) fn plan_passes(
    file: &PipelineFile,
    tables: &[PlannedTable<'_>],
    sky: Option<&Sky>,
) -> Result<Vec<PlannedPass>> {
    // Tables that look keys up come when the indexes are there, though they may have to read a
    // product once more for that.
    let is_keyed = |table: &&PlannedTable<'_>| {
        let routing = table.routing.as_ref();
        routing.is_some_and(|routing| !routing.keys().is_empty())
    };
    let (keyed, others): (Vec<_>, Vec<_>) = tables.iter().partition(is_keyed);
    let mut jobs = Vec::new();
    for (stage, is_keyed) in [(others, false), (keyed, true)] {
        let products: BTreeMap<String, Vec<String>> = stage
            .iter()
            .map(|table| (table.name.to_owned(), table.section.products.clone()))
            .collect();
        let mut components = components(&products)?;
        // Directors before their children; within that by name.
        let rank = |component: &Component| {
            stage
                .iter()
                .position(|table| component.tables.iter().any(|name| name == table.name))
        };
        components.sort_by_key(rank);
        for component in &components {
            jobs.push(plan_pass(file, tables, sky, component, is_keyed)?);
        }
    }
    Ok(jobs)
}

fn plan_pass(
    file: &PipelineFile,
    tables: &[PlannedTable<'_>],
    sky: Option<&Sky>,
    component: &Component,
    is_keyed: bool,
) -> Result<PlannedPass> {
    let members: Vec<&PlannedTable<'_>> = tables
        .iter()
        .filter(|table| component.tables.iter().any(|n| n == table.name))
        .collect();
    let mut products = Vec::with_capacity(component.products.len());
    let mut reading = BTreeMap::new();
    for name in &component.products {
        let at_product = |error: Error| error.at(Place::file(format!("product {name}")));
        let feeds: Vec<usize> = (0..members.len())
            .filter(|number| members[*number].section.products.contains(name))
            .collect();
        let schema = feeds
            .first()
            .and_then(|first| members[*first].schema.as_ref());
        let names = TextNames {
            fields: file
                .product
                .get(name)
                .and_then(|product| product.fields.clone()),
            schema: schema.map(|s| s.columns.iter().map(|column| column.name.clone()).collect()),
            added: vec![
                CHUNK_COLUMN.into(),
                SUB_CHUNK_COLUMN.into(),
                FLAGS_COLUMN.into(),
            ],
        };
        let dialect = file.text_dialect_of(name).map_err(at_product)?;
        let charset = file.charset_of(name);
        let product_read_as = Arc::new(ReadAs {
            dialect,
            charset,
            names,
            hdu: file.hdu_of(name),
        });
        reading.insert(name.as_str(), Arc::clone(&product_read_as));
        products.push((name.clone(), feeds, product_read_as));
    }
    let mut jobs = Vec::with_capacity(members.len());
    let mut options = Vec::with_capacity(members.len());
    for table in members {
        let at_table = |error: Error| at_table(table.name, error);
        let job = plan_table(file, table, sky).map_err(at_table)?;
        let products = table.section.products.iter();
        let read_as: Vec<_> = products
            .map(|name| reading.get(name.as_str()).map(Arc::as_ref))
            .collect();
        options.push(options_of(&job, table, &read_as));
        jobs.push(job);
    }
    // Until all tables stand again, no manifest may say that they do.
    let outdated = vec![format!("{}/{MANIFEST_FILE}", file.database.name)];
    Ok(PlannedPass {
        job: PassJob {
            inputs: Vec::new(),
            tables: jobs,
            options,
            outdated,
            is_sole: false,
            standing: StandingFiles::Replaced,
        },
        products,
        is_keyed,
    })
}

fn plan_table(
    file: &PipelineFile,
    table: &PlannedTable<'_>,
    sky: Option<&Sky>,
) -> Result<TableJob> {
    let section = table.section;
    let sky = sky.filter(|_| table.kind.is_partitioned());
    let mut target = RowTarget::new(table.name, section.output_dialect()?);
    target.policy = section.policy();
    target.columns = section.columns.clone();
    target.exclude = section.exclude.clone();
    target.optional = section.optional.clone();
    target.rename = section.rename.clone();
    target.constants = section.constants();
    target.schema = table.schema.clone();
    target.routing = table.routing.clone();
    Ok(TableJob {
        target,
        kind: table.kind,
        partitioning: sky.map(|sky| sky.partitioning),
        database: Some(file.database.name.clone()),
        folder: format!("{}/{}/", file.database.name, table.name),
        prefix: ChunkNames::PREFIX.to_owned(),
        nodes: 1,
        file_name: format!("{}.txt", table.name),
        has_chunk_index: section.chunk_index,
        index_format: section.index_format.unwrap_or_default(),
        duplicates: DuplicateRule::Refuse,
        writes: TableParts::All,
        tells_sub_chunks: false,
        arrangement: Arrangement::default(),
    })
}

/// Returns what decides a table's bytes, for the record.
fn options_of(job: &TableJob, table: &PlannedTable<'_>, read_as: &[Option<&ReadAs>]) -> Value {
    json!({
        "command": "run",
        "kind": table.kind,
        "partitioning": job.partitioning,
        "wrap_ra": table.section.wrap_ra,
        "chunk_index": job.has_chunk_index,
        "index_format": job.index_format,
        "target": job.target.fingerprint(),
        "products": table.section.products,
        "text": read_as,
    })
}

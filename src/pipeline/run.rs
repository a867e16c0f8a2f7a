//! `run`: all tables of a pipeline file, pass by pass, then manifest and report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::bad_inputs::BadInputs;
use super::components::{Component, components};
use super::file::{PipelineFile, TableSection};
use super::folder_run::{PassJob, Replace, Standing, standing};
use super::outlook::{Outlook, outlook};
use super::pass::{Events, PassInput, PassLimits, TextInput};
use super::prepared::TextNames;
use super::table::{TableJob, TableReport};
use crate::convert::{Routing, RoutingOptions, RowTarget};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::manifest::{MANIFEST_FILE, Manifest};
use crate::partition::geometry::Chunker;
use crate::partition::{OverlapRule, Partitioning, RaRule};
use crate::publish::{FolderOptions, OutputFolder, Record, create_folders};
use crate::report::{REPORT_FILE, Report, add_digests};
use crate::schema::{
    CHUNK_COLUMN, DirectorFinding, Refuser, SUB_CHUNK_COLUMN, Severity, TableKind, TableSchema,
    check_director_columns,
};

/// What a run may use and how it treats what is there.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What each pass may use; the memory is counted anew for each.
    pub limits: PassLimits,
    /// What to do with tables that other options or inputs have made.
    pub replace: Replace,
    /// Whether digests of the inputs are recorded, and decide in place of their times.
    pub has_digests: bool,
    /// The report, begun with command and options.
    pub report: Report,
    /// How the output folder is opened and written.
    pub folder: FolderOptions,
}

/// Told how a run gets on.
pub trait RunEvents: Events {
    /// A pass over inputs of so many bytes begins, which makes these tables.
    fn pass_starts(&self, tables: &[String], bytes: u64);
    /// The pass is over.
    fn pass_ends(&self);
    /// Something that the user should know.
    fn warn(&self, message: &str);
}

/// What a run has done.
#[derive(Debug)]
pub struct RunOutcome {
    /// The tables that stand, directors first.
    pub tables: Vec<TableReport>,
    /// Whether there was anything to do.
    pub is_unchanged: bool,
    /// Where the manifest is.
    pub manifest: PathBuf,
    /// Contributions that the manifest names.
    pub contributions: usize,
    /// What was done, finished.
    pub report: Report,
}

/// The division of the sky, laid out.
struct Sky {
    partitioning: Partitioning,
    chunker: Arc<Chunker>,
}

/// A table of the pipeline, checked against its schema.
struct PlannedTable<'f> {
    name: &'f str,
    section: &'f TableSection,
    kind: TableKind,
    schema: Option<TableSchema>,
}

/// Runs a pipeline file.
///
/// # Errors
/// What is wrong with the file or the data; of several failures the first. Tables that do not
/// depend on a failed one are finished all the same.
pub fn run(
    file: &PipelineFile,
    options: &RunOptions,
    events: &dyn RunEvents,
) -> Result<RunOutcome> {
    let (tables, jobs) = plan(file, options, events)?;
    let mut report = options.report.clone();
    report.database = Some(file.database.name.clone());
    report.add_inputs(
        jobs.iter()
            .flat_map(|job| job.inputs.iter().map(|fed| &fed.input)),
    );
    let root = file.destination();
    let Standing { done, folder } = standing(
        &root,
        &jobs,
        options.replace,
        options.folder,
        &options.limits,
    )?;
    let is_unchanged = folder.is_none();
    let standing: Vec<_> = done.iter().flatten().flatten().collect();
    options.limits.check_standing(&standing)?;
    let mut reports = BTreeMap::new();
    let mut failures = Failures::default();
    let folder_path = root.join(&file.database.name);
    let manifest_path = folder_path.join(MANIFEST_FILE);
    let report_path = folder_path.join(REPORT_FILE);
    let mut keep = |made: Vec<TableReport>| {
        reports.extend(
            made.into_iter()
                .map(|report| (report.table.clone(), report)),
        );
    };
    let mut left = Vec::new();
    let mut old = BTreeSet::new();
    for (job, done) in jobs.into_iter().zip(done) {
        old.extend(done.iter().flatten().map(|table| table.table.clone()));
        match done {
            Some(made) => keep(made),
            None => left.push(job),
        }
    }
    let mut folder = folder;
    if let Some(folder) = &mut folder {
        for job in left {
            if let Err(error) = options.limits.cancel.check() {
                failures.add(Vec::new(), error);
                break;
            }
            match run_pass(job, file, folder, options, events, &failures) {
                Ok(made) => keep(made),
                Err((names, error)) => failures.add(names, error),
            }
        }
    }
    failures.into_result()?;
    let tables: Vec<TableReport> = tables
        .iter()
        .filter_map(|table| reports.remove(table.name))
        .collect();
    // The folder stays locked until the manifest is there.
    let looked_up = match folder {
        Some(_) => Record::default(),
        None => OutputFolder::peek(&root)?.unwrap_or_default(),
    };
    let record = folder.as_ref().map_or(&looked_up, OutputFolder::record);
    let manifest = manifest_of(file, &tables, record, &root)?;
    let stands = manifest.stands_at(&manifest_path)?;
    for table in &tables {
        report.add_table(table.clone(), !old.contains(&table.table));
    }
    report.unchanged = is_unchanged && stands && report_path.exists();
    report.keep_in(&root)?;
    if !report.unchanged {
        // Tables without any row have no files, and so no folder.
        create_folders(&folder_path)?;
        report.write(&report_path)?;
        manifest.write(&manifest_path, options.folder.sync)?;
    }
    Ok(RunOutcome {
        tables,
        is_unchanged,
        contributions: manifest.count(),
        manifest: manifest_path,
        report,
    })
}

/// Says what [`run`] would do, and touches nothing.
///
/// # Errors
/// As [`run`], for what can be known.
pub fn foresee(
    file: &PipelineFile,
    options: &RunOptions,
    events: &dyn RunEvents,
) -> Result<Outlook> {
    let (_, jobs) = plan(file, options, events)?;
    outlook(&file.destination(), &jobs, options.replace)
}

/// Returns the tables, directors first, and the passes that make them.
fn plan<'f>(
    file: &'f PipelineFile,
    options: &RunOptions,
    events: &dyn RunEvents,
) -> Result<(Vec<PlannedTable<'f>>, Vec<PassJob>)> {
    let tables = plan_tables(file, events)?;
    let sky = match partitioning_of(file, &tables)? {
        Some(partitioning) => Some(Sky {
            partitioning,
            chunker: partitioning.chunker()?,
        }),
        None => None,
    };
    let mut jobs = plan_passes(file, &tables, sky.as_ref(), options.limits.bad_inputs)?;
    if options.has_digests {
        let fed = jobs.iter_mut().flat_map(|job| &mut job.inputs);
        add_digests(fed.map(|fed| &mut fed.input), &options.limits.cancel)?;
    }
    Ok((tables, jobs))
}

/// Failures so far, and the tables that they took down.
#[derive(Default)]
struct Failures {
    tables: BTreeSet<String>,
    first: Option<Error>,
}

impl Failures {
    fn add(&mut self, tables: Vec<String>, error: Error) {
        self.tables.extend(tables);
        self.first.get_or_insert(error);
    }

    fn into_result(self) -> Result<()> {
        self.first.map_or(Ok(()), Err)
    }
}

type PassFailure = (Vec<String>, Error);

fn run_pass(
    job: PassJob,
    file: &PipelineFile,
    folder: &mut OutputFolder,
    options: &RunOptions,
    events: &dyn RunEvents,
    failures: &Failures,
) -> Result<Vec<TableReport>, PassFailure> {
    let names: Vec<String> = job
        .tables
        .iter()
        .map(|table| table.target.name.clone())
        .collect();
    let failed_director = names
        .iter()
        .filter_map(|name| file.table.get(name)?.director.as_ref())
        .find(|director| failures.tables.contains(*director));
    if let Some(director) = failed_director {
        let error = Error::new(
            ErrorKind::DataRefused,
            format!(
                "{} was not made, because its director {director} failed",
                names.join(", ")
            ),
        );
        events.warn(&error.to_string());
        return Err((names, error));
    }
    let stamps = job
        .inputs
        .iter()
        .filter_map(|input| input.input.stamp.as_ref());
    events.pass_starts(&names, stamps.map(|stamp| stamp.bytes).sum());
    let limits = options.limits.afresh();
    let made = job.run(folder, &limits, events);
    events.pass_ends();
    made.map_err(|error| {
        if !failures.tables.is_empty() {
            events.warn(&error.to_string());
        }
        (names, error)
    })
}

/// Checks every table against its schema, directors first.
fn plan_tables<'f>(
    file: &'f PipelineFile,
    events: &dyn RunEvents,
) -> Result<Vec<PlannedTable<'f>>> {
    let mut tables = Vec::with_capacity(file.table.len());
    for (name, section) in &file.table {
        let at_table = |error: Error| error.at(Place::file(format!("table {name}")));
        let schema = file.schema_of(name, section).map_err(at_table)?;
        let kind = TableSchema::agreed_kind(section.kind, schema.as_ref()).map_err(at_table)?;
        if let (TableKind::Director, Some(schema)) = (kind, &schema) {
            check_director(schema, section.allow_varchar, events).map_err(at_table)?;
        }
        tables.push(PlannedTable {
            name,
            section,
            kind,
            schema,
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

fn plan_passes(
    file: &PipelineFile,
    tables: &[PlannedTable<'_>],
    sky: Option<&Sky>,
    bad: BadInputs,
) -> Result<Vec<PassJob>> {
    let products: BTreeMap<String, Vec<String>> = tables
        .iter()
        .map(|table| (table.name.to_owned(), table.section.products.clone()))
        .collect();
    let mut components = components(&products)?;
    // Directors before their children; within that by name.
    let rank = |component: &Component| {
        tables
            .iter()
            .position(|table| component.tables.iter().any(|name| name == table.name))
    };
    components.sort_by_key(rank);
    components
        .iter()
        .map(|component| plan_pass(file, tables, sky, component, bad))
        .collect()
}

fn plan_pass(
    file: &PipelineFile,
    tables: &[PlannedTable<'_>],
    sky: Option<&Sky>,
    component: &Component,
    bad: BadInputs,
) -> Result<PassJob> {
    let members: Vec<&PlannedTable<'_>> = tables
        .iter()
        .filter(|table| component.tables.iter().any(|n| n == table.name))
        .collect();
    let mut inputs = Vec::new();
    let mut texts = BTreeMap::new();
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
            added: vec![CHUNK_COLUMN.into(), SUB_CHUNK_COLUMN.into()],
        };
        let dialect = file.text_dialect_of(name).map_err(at_product)?;
        let charset = file.charset_of(name);
        let text = Arc::new(TextInput {
            dialect,
            charset,
            names,
        });
        texts.insert(name.as_str(), Arc::clone(&text));
        for input in file.inputs_of(name, bad)? {
            inputs.push(PassInput {
                input,
                text: Arc::clone(&text),
                feeds: feeds.clone(),
            });
        }
    }
    let mut jobs = Vec::with_capacity(members.len());
    let mut options = Vec::with_capacity(members.len());
    for table in members {
        let at_table = |error: Error| error.at(Place::file(format!("table {}", table.name)));
        let job = plan_table(file, table, sky).map_err(at_table)?;
        let products = table.section.products.iter();
        let read_as: Vec<_> = products
            .map(|name| texts.get(name.as_str()).map(Arc::as_ref))
            .collect();
        options.push(options_of(&job, table, &read_as));
        jobs.push(job);
    }
    // Until all tables stand again, no manifest may say that they do.
    let outdated = vec![format!("{}/{MANIFEST_FILE}", file.database.name)];
    Ok(PassJob {
        inputs,
        tables: jobs,
        options,
        outdated,
        is_sole: false,
    })
}

fn plan_table(
    file: &PipelineFile,
    table: &PlannedTable<'_>,
    sky: Option<&Sky>,
) -> Result<TableJob> {
    let section = table.section;
    let sky = sky.filter(|_| table.kind.is_partitioned());
    let routing = sky.map(|sky| {
        Routing::resolve(RoutingOptions {
            chunker: Arc::clone(&sky.chunker),
            kind: table.kind,
            ra: section.ra.clone(),
            dec: section.dec.clone(),
            id: section.id.clone(),
            schema: table.schema.as_ref(),
            overlap: OverlapRule::Write,
            ra_rule: if section.wrap_ra {
                RaRule::Wrapped
            } else {
                RaRule::Checked
            },
            chunk_column: CHUNK_COLUMN.into(),
            sub_chunk_column: SUB_CHUNK_COLUMN.into(),
        })
    });
    let mut target = RowTarget::new(table.name, section.output_dialect()?);
    target.policy = section.policy();
    target.columns = section.columns.clone();
    target.exclude = section.exclude.clone();
    target.optional = section.optional.clone();
    target.rename = section.rename.clone();
    target.constants = section.constants();
    target.schema = table.schema.clone();
    target.routing = routing.transpose()?;
    Ok(TableJob {
        target,
        kind: table.kind,
        partitioning: sky.map(|sky| sky.partitioning),
        database: Some(file.database.name.clone()),
        prefix: format!("{}/{}/", file.database.name, table.name),
        file_name: format!("{}.txt", table.name),
        has_chunk_index: section.chunk_index,
    })
}

/// Returns what decides a table's bytes, for the record.
fn options_of(job: &TableJob, table: &PlannedTable<'_>, read_as: &[Option<&TextInput>]) -> Value {
    json!({
        "command": "run",
        "kind": table.kind,
        "partitioning": job.partitioning,
        "wrap_ra": table.section.wrap_ra,
        "chunk_index": job.has_chunk_index,
        "target": job.target.fingerprint(),
        "products": table.section.products,
        "text": read_as,
    })
}

fn manifest_of<'a>(
    file: &PipelineFile,
    tables: &[TableReport],
    record: &'a Record,
    root: &Path,
) -> Result<Manifest<'a>> {
    let mut manifest = Manifest::new(file.database.name.as_str());
    let root = std::path::absolute(root).map_err(|error| Error::writing(root, error))?;
    for table in tables {
        let set = record.sets.get(&table.table);
        if let Some((set, identity)) = set.and_then(|set| Some((set, set.identity.as_ref()?))) {
            manifest.add_local(&root, identity, &set.files);
        }
    }
    Ok(manifest)
}

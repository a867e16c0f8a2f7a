//! `run`: all tables of a pipeline file, pass by pass, then manifest and report.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use super::file::{PipelineFile, TableSection};
use super::folder_run::{PassJob, Replace, Standing, standing};
use super::outlook::{Outlook, outlook};
use super::pass::{Events, PassLimits};
use super::placing::{Brought, Placing};
use super::plan::plan;
use super::table::{TableJob, TableReport};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::job::{manifest_folder, standing_generation};
use crate::manifest::{MANIFEST_FILE, Manifest};
use crate::place::Network;
use crate::publish::{FolderOptions, OutputFolder, Record, create_folders};
use crate::report::{REPORT_FILE, Report};
use crate::stage::{FetchUrls, FolderPublicity, ServerOptions, ServerStage, no_network};

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
    /// How a destination that is no folder is written; the network for it is handed to [`run`].
    pub server: ServerOptions,
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
    /// Path or URL of the manifest.
    pub manifest: String,
    /// When signed URLs in it end.
    pub urls_expire: Option<SystemTime>,
    /// Contributions that the manifest names.
    pub contributions: usize,
    /// What was done, finished.
    pub report: Report,
}

/// Runs a pipeline file; a destination that is no folder needs the network.
///
/// # Errors
/// What is wrong with the file or the data; of several failures the first. Tables that do not
/// depend on a failed one are finished all the same.
pub fn run(
    file: &PipelineFile,
    options: &RunOptions,
    network: Option<&Network>,
    events: &dyn RunEvents,
) -> Result<RunOutcome> {
    let dest = file.destination()?;
    let urls = file.fetch_urls()?;
    let server = match dest.is_folder() {
        true => None,
        false => {
            let network = network.ok_or_else(no_network)?;
            let retention = file.retention()?;
            let stage = ServerStage::new(network, &dest, &options.server, &urls, retention);
            Some(stage?)
        }
    };
    let placing = server.as_ref().map(|server| Placing::new(file, server));
    let placing = placing.transpose()?;
    let (tables, jobs) = plan(file, options, events)?;
    let mut report = options.report.clone();
    report.database = Some(file.database.name.clone());
    report.add_inputs(
        jobs.iter()
            .flat_map(|job| job.inputs.iter().map(|fed| &fed.input)),
    );
    let root = file.root()?;
    check_generation(file, &jobs)?;
    if let Some(placing) = &placing {
        placing.forget_lost(options)?;
    }
    let Standing { done, folder } = standing(
        &root,
        &jobs,
        options.replace,
        options.folder,
        &options.limits,
    )?;
    if folder.is_some() {
        // A job may have been committed meanwhile.
        check_generation(file, &jobs)?;
    }
    let is_unchanged = folder.is_none();
    let standing: Vec<_> = done.iter().flatten().flatten().collect();
    options.limits.check_standing(&standing)?;
    let mut reports = BTreeMap::new();
    let mut failures = Failures::default();
    let mut keep = |made: Vec<TableReport>| {
        reports.extend(
            made.into_iter()
                .map(|report| (report.table.clone(), report)),
        );
    };
    let mut left = Vec::new();
    let mut old = BTreeSet::new();
    let done = undone_with_directors(&jobs, done);
    for (job, done) in jobs.into_iter().zip(done) {
        old.extend(done.iter().flatten().map(|table| table.table.clone()));
        match done {
            Some(made) => keep(made),
            None => left.push(job),
        }
    }
    let mut folder = folder;
    let database = file.database.name.as_str();
    let manifest = root.join(database).join(MANIFEST_FILE);
    let publicity = local_publicity(file)?;
    if folder.is_some() {
        publicity.note_retention(&manifest)?;
    }
    let mut brought = match &placing {
        Some(placing) => Some((placing, placing.begin(database)?)),
        None => None,
    };
    for job in left {
        if let Err(error) = options.limits.cancel.check() {
            failures.add(Vec::new(), error);
            break;
        }
        let Some(open) = &mut folder else { break };
        let made = run_pass(job, file, open, options, events, &failures);
        let names = match made {
            Ok(made) => {
                let names: Vec<_> = made.iter().map(|table| table.table.clone()).collect();
                keep(made);
                names
            }
            Err((names, error)) => {
                failures.add(names, error);
                continue;
            }
        };
        if let Some((placing, brought)) = &mut brought
            && let Err(error) = placing.bring(brought, &names, &mut folder, options, events)
        {
            failures.add(names, error);
        }
    }
    if manifest.exists() {
        // Nothing was published.
        publicity.forget_retention(&manifest)?;
    }
    failures.into_result()?;
    let tables: Vec<TableReport> = tables
        .iter()
        .filter_map(|table| reports.remove(table.name))
        .collect();
    for table in &tables {
        report.add_table(table.clone(), !old.contains(&table.table));
    }
    let mut outcome = RunOutcome {
        is_unchanged,
        contributions: 0,
        manifest: String::new(),
        urls_expire: None,
        report,
        tables,
    };
    hand_over(file, brought, &mut folder, options, &mut outcome, events)?;
    Ok(outcome)
}

/// Brings tables that stand to where the pipeline wants them, if that is elsewhere, and writes report
/// and manifest.
fn hand_over(
    file: &PipelineFile,
    brought: Option<(&Placing<'_>, Brought<'_>)>,
    folder: &mut Option<OutputFolder>,
    options: &RunOptions,
    outcome: &mut RunOutcome,
    events: &dyn RunEvents,
) -> Result<()> {
    let root = file.root()?;
    let database = file.database.name.as_str();
    // Earlier generations keep their manifests.
    let generation = standing_generation(&root, database)?;
    let local = manifest_folder(database, generation.unwrap_or(1));
    let Some((placing, mut brought)) = brought else {
        return write_local(file, &local, folder.as_ref(), options, outcome);
    };
    // Tables that stood here before, but may not have been brought there yet.
    let names = outcome.tables.iter().map(|table| table.table.clone());
    let names: Vec<String> = names.filter(|name| !brought.has(name)).collect();
    placing.bring(&mut brought, &names, folder, options, events)?;
    let is_unchanged = outcome.is_unchanged;
    if placing.keeps_local() {
        write_local(file, &local, folder.as_ref(), options, outcome)?;
    }
    outcome.report.unchanged = is_unchanged;
    let placed = brought.finish(&mut outcome.report, database)?;
    outcome.report.unchanged &= !placed.is_changed;
    outcome.is_unchanged = outcome.report.unchanged;
    outcome.contributions = usize::try_from(placed.files).unwrap_or(usize::MAX);
    outcome.manifest = placed.manifests.concat();
    outcome.urls_expire = placed.urls_expire;
    outcome.report.keep_in(&root)
}

/// Writes report and manifest of tables that a job has made and that stand in `folder`, and brings
/// them to where the pipeline wants them; `local` is the manifest's folder, ended by `/`.
///
/// # Errors
/// The place refuses or fails.
pub(crate) fn conclude(
    file: &PipelineFile,
    local: &str,
    folder: OutputFolder,
    (options, network): (&RunOptions, Option<&Network>),
    outcome: &mut RunOutcome,
    events: &dyn RunEvents,
) -> Result<()> {
    let dest = file.destination()?;
    if dest.is_folder() {
        return write_local(file, local, Some(&folder), options, outcome);
    }
    let network = network.ok_or_else(no_network)?;
    let urls = file.fetch_urls()?;
    let stage = ServerStage::new(network, &dest, &options.server, &urls, file.retention()?)?;
    let placing = Placing::new(file, &stage)?;
    let brought = placing.begin(&file.database.name)?;
    let mut folder = Some(folder);
    let brought = Some((&placing, brought));
    hand_over(file, brought, &mut folder, options, outcome, events)
}

/// Refuses to change what jobs have made over several generations: their files stand in folders of their
/// own, and their manifests are to stay true.
fn check_generation(file: &PipelineFile, jobs: &[PassJob]) -> Result<()> {
    let (root, database) = (file.root()?, file.database.name.as_str());
    let generation = standing_generation(&root, database)?;
    let Some(generation) = generation.filter(|number| *number > 1) else {
        return Ok(());
    };
    let record = OutputFolder::peek(&root)?.unwrap_or_default();
    let mut is_damaged = false;
    let mut is_different = false;
    for job in jobs {
        match job.already_done(&root, &record, Replace::No) {
            Ok(done) => is_damaged |= done.is_none(),
            Err(_) => is_different = true,
        }
    }
    if !is_different && !is_damaged {
        return Ok(());
    }
    if !is_different {
        return Err(Error::new(
            ErrorKind::OutputRefused,
            format!("files of generation {generation} of {database} are missing or damaged"),
        )
        .at(Place::file(root.display().to_string()))
        .hint(
            "`skyprep verify` names them: put them back, or plan their inputs with --replace FILE=FILE",
        ));
    }
    Err(Error::new(
        ErrorKind::OutputRefused,
        format!(
            "generation {generation} of {database} stands here, made by jobs from other inputs or \
             with other options"
        ),
    )
    .at(Place::file(root.display().to_string()))
    .hint(
        "go on from it with `skyprep job plan` and --extend, --replace or --drop, or choose another \
         dest",
    ))
}

/// Returns what is said about files in the pipeline's own folder.
fn local_publicity(file: &PipelineFile) -> Result<FolderPublicity> {
    let urls = match file.destination()?.is_folder() {
        true => file.fetch_urls()?,
        // What is said of URLs is about the place.
        false => FetchUrls::Own,
    };
    FolderPublicity::new(&file.root()?, &urls, file.retention()?)
}

/// Writes report and manifest beside the tables, unless they stand.
fn write_local(
    file: &PipelineFile,
    local: &str,
    folder: Option<&OutputFolder>,
    options: &RunOptions,
    outcome: &mut RunOutcome,
) -> Result<()> {
    let root = &file.root()?;
    let folder_path = root.join(local.trim_end_matches('/'));
    let manifest_path = folder_path.join(MANIFEST_FILE);
    let report_path = folder_path.join(REPORT_FILE);
    // The folder stays locked until the manifest is there.
    let looked_up = match folder {
        Some(_) => Record::default(),
        None => OutputFolder::peek(root)?.unwrap_or_default(),
    };
    let record = folder.map_or(&looked_up, OutputFolder::record);
    let publicity = local_publicity(file)?;
    let url_of = |path: &str| publicity.url_of(path);
    let mut manifest = Manifest::new(file.database.name.as_str());
    for table in &outcome.tables {
        let set = record.sets.get(&table.table);
        if let Some((set, identity)) = set.and_then(|set| Some((set, set.identity.as_ref()?))) {
            manifest.add_placed(identity, &set.files, &url_of);
        }
    }
    let stands = publicity.stands(&mut manifest, &manifest_path)?;
    let report = &mut outcome.report;
    report.unchanged = outcome.is_unchanged && stands && report_path.exists();
    report.keep_in(root)?;
    if !report.unchanged {
        // Tables without any row have no files, and so no folder.
        create_folders(&folder_path)?;
        report.write(&report_path)?;
        manifest.write(&manifest_path, options.folder.sync)?;
        publicity.forget_retention(&manifest_path)?;
    }
    outcome.contributions = manifest.count();
    outcome.manifest = manifest_path.display().to_string();
    Ok(())
}

/// Returns the directors of a pass's tables in the same pipeline.
fn directors_of(job: &PassJob, file: &PipelineFile) -> BTreeSet<String> {
    let sections = job
        .tables
        .iter()
        .filter_map(|table| file.table.get(&table.target.name));
    let named = sections.flat_map(TableSection::directors).cloned();
    let indexes = job.tables.iter().flat_map(TableJob::indexes);
    let looked_up = indexes.filter_map(|index| index.sibling().map(str::to_owned));
    named.chain(looked_up).collect()
}

/// Takes tables for undone whose directors are: they are looked up in their indexes.
fn undone_with_directors(
    jobs: &[PassJob],
    done: Vec<Option<Vec<TableReport>>>,
) -> Vec<Option<Vec<TableReport>>> {
    let names = |job: &PassJob| -> Vec<String> {
        let tables = job.tables.iter();
        tables.map(|table| table.target.name.clone()).collect()
    };
    let pairs = jobs.iter().zip(&done);
    let undone: BTreeSet<String> = pairs
        .filter(|(_, done)| done.is_none())
        .flat_map(|(job, _)| names(job))
        .collect();
    let waits = |job: &PassJob| {
        let mut indexes = job.tables.iter().flat_map(TableJob::indexes);
        indexes.any(|index| index.sibling().is_some_and(|name| undone.contains(name)))
    };
    let pairs = jobs.iter().zip(done);
    pairs
        .map(|(job, done)| done.filter(|_| !waits(job)))
        .collect()
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
    let mut found = outlook(&file.root()?, &jobs, options.replace)?;
    if let Err(refusal) = check_generation(file, &jobs) {
        found.refusal = Some(refusal);
    }
    Ok(found)
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
    let directors = directors_of(&job, file);
    let failed_director = directors
        .iter()
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

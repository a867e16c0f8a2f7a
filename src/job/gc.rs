//! `job gc`: what jobs have left that nobody needs any more.
//!
//! Only what skyprep itself has made is ever listed: what attempts at tasks have made and no record
//! names, what was published and no manifest names, and plans that were never finished. Exchange files
//! of the generation that stands are needed to go on from it, so they stay unless told otherwise.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::attempt::attempts;
use super::commit::committed;
use super::folder::JobFolder;
use super::generation::{generation, generations_of, manifest_of, newest};
use super::name::TaskKind;
use super::passes::table_folder;
use super::plan::Plan;
use super::record::TaskRecord;
use super::status::REFUSALS;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::manifest::Listing;
use crate::publish::{OutputFolder, remove_optional, remove_tree};

/// What is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcOptions {
    /// Whether exchange files of committed jobs go, too.
    pub exchange: bool,
    /// Generations that stay, the newest ones; nothing if all do.
    pub generations: Option<u32>,
    /// Plans, records and commits that were not finished are left alone until they are so old.
    pub older_than: Duration,
}

/// Something that nobody needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Garbage {
    /// The file or folder.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// Why it is not needed.
    pub why: String,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GcOutcome {
    /// What nobody needs.
    pub garbage: Vec<Garbage>,
    /// Exchange files that stay for later generations.
    pub kept_exchange: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// Jobs that are at work, of which nothing was looked at but dead attempts.
    pub unfinished: Vec<String>,
}

/// Finds what nobody needs of the jobs of a database whose output is in the folder `root`. Who means to
/// remove it holds the folder meanwhile, so that no job is committed.
///
/// # Errors
/// A folder, a plan or a manifest can't be read.
pub fn gc(root: &Path, database: &str, options: &GcOptions) -> Result<GcOutcome> {
    let mut found = Search {
        root,
        database,
        options,
        outcome: GcOutcome::default(),
    };
    found.unfinished_plans()?;
    let newest = newest(root, database)?.map_or(0, |newest| newest.generation);
    let oldest_kept = options
        .generations
        .map_or(1, |keep| newest.saturating_sub(keep.max(1)) + 1);
    let named = found.named(oldest_kept, newest)?;
    for folder in JobFolder::all(root)? {
        let plan = folder.plan()?;
        if plan.database == database {
            found.job(&folder, &plan, &named, newest)?;
        }
    }
    for number in 1..oldest_kept {
        let manifest = manifest_of(root, database, number);
        found.add(manifest, "an old generation is not kept");
    }
    let outcome = &mut found.outcome;
    outcome.garbage.sort_by(|a, b| a.path.cmp(&b.path));
    outcome.garbage.dedup_by(|a, b| a.path == b.path);
    Ok(found.outcome)
}

/// Removes what was found; empty folders of generations go with it.
///
/// # Errors
/// Something can't be removed.
pub fn remove_garbage(root: &Path, outcome: &GcOutcome) -> Result<()> {
    let mut folders = BTreeSet::new();
    for garbage in &outcome.garbage {
        match garbage.path.is_dir() {
            true => remove_tree(&garbage.path)?,
            false => remove_optional(&garbage.path)?,
        }
        let above = garbage.path.ancestors().skip(1);
        folders.extend(above.take_while(|path| *path != root).map(Path::to_owned));
    }
    for folder in folders.iter().rev() {
        // Only those that are empty go.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

struct Search<'a> {
    root: &'a Path,
    database: &'a str,
    options: &'a GcOptions,
    outcome: GcOutcome,
}

impl Search<'_> {
    fn add(&mut self, path: PathBuf, why: &str) {
        if path.symlink_metadata().is_ok() {
            self.outcome.garbage.push(Garbage {
                bytes: bytes_of(&path),
                path,
                why: why.to_owned(),
            });
        }
    }

    /// Finds plans, and claims of generations, that were being written when their process ended.
    fn unfinished_plans(&mut self) -> Result<()> {
        let jobs = JobFolder::jobs_of(self.root);
        self.unfinished(&jobs, ".", "a plan was not finished")?;
        let start = format!(".{}.", self.database);
        let generations = generations_of(self.root);
        self.unfinished(&generations, &start, "a commit was not finished")
    }

    /// Finds what was being written, under names that start so, when its process ended.
    fn unfinished(&mut self, folder: &Path, start: &str, why: &str) -> Result<()> {
        for path in entries_of(folder)? {
            let name = name_of(&path);
            let is_temporary = name.starts_with(start) && name != REFUSALS;
            if is_temporary && is_older(&path, self.options.older_than) {
                self.add(path, why);
            }
        }
        Ok(())
    }

    /// Returns the files, relative to the root, that manifests that stay or the record name.
    fn named(&self, oldest: u32, newest: u32) -> Result<BTreeSet<String>> {
        let mut named = BTreeSet::new();
        for number in oldest.max(1)..=newest {
            let path = manifest_of(self.root, self.database, number);
            if !path.exists() {
                continue;
            }
            let file = fs::File::open(&path).map_err(|error| Error::reading(&path, error))?;
            let shown = path.display().to_string();
            let listing = Listing::read(std::io::BufReader::new(file), &shown)?;
            for line in listing.contributions() {
                // Wherever the root is now, and whatever it was called then.
                let path = path_in(line.place_url(), self.database, &line.table, newest);
                named.insert(path.ok_or_else(|| foreign(line.place_url(), &shown))?);
            }
        }
        let record = OutputFolder::peek(self.root)?.unwrap_or_default();
        for set in record.sets.values() {
            named.extend(set.files.iter().map(|file| file.path().into_owned()));
        }
        Ok(named)
    }

    fn job(
        &mut self,
        folder: &JobFolder,
        plan: &Plan,
        named: &BTreeSet<String>,
        newest: u32,
    ) -> Result<()> {
        // First what lies there, then who is at work, then what is done: whoever begins meanwhile is
        // not among the first, and whoever ends is among the last.
        let mut places = vec![folder.file("data")];
        let elsewhere = plan.settings.exchange_dir.as_ref();
        places.extend(elsewhere.map(|elsewhere| elsewhere.join(plan.id.as_str())));
        let mut data = Vec::new();
        for place in places {
            data.extend(entries_of(&place)?);
        }
        let alive: BTreeSet<String> = attempts(folder, None)?
            .into_iter()
            .filter(|attempt| attempt.is_alive)
            .map(|attempt| format!("{}.{}", attempt.task, attempt.name))
            .collect();
        let is_committed = committed(folder)?.is_some();
        let maker = generation(self.root, self.database, plan.generation)?;
        let is_superseded = !is_committed && maker.is_some_and(|maker| maker.job != plan.id);
        let mut needed = BTreeSet::new();
        for task in folder.done()? {
            let Some(record) = folder.record(task)? else {
                continue;
            };
            if is_committed {
                self.published(&record, named);
                self.second_names(folder, &record);
            }
            let is_needed = match task.kind {
                _ if is_superseded => false,
                TaskKind::Map | TaskKind::Merge => !(is_committed && self.options.exchange),
                // What is published has a second name; indexes are looked into by later jobs.
                TaskKind::Reduce => !is_committed || is_index(&record),
            };
            if is_needed {
                needed.extend(record.made().map(|path| folder.file(path)));
            }
            if let (true, true, Some(sealed)) = (is_needed, is_committed, &record.sealed) {
                self.outcome.kept_exchange += 1;
                self.outcome.kept_bytes += sealed.bytes;
            }
        }
        let why = match (is_superseded, is_committed) {
            (true, _) => "another job has made the generation of this one",
            (_, true) => "the job is committed",
            _ => "an attempt that does not count has left it",
        };
        for path in data {
            let name = name_of(&path);
            let is_alive = alive.iter().any(|attempt| {
                name.strip_prefix(attempt.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            });
            if !is_alive && !needed.contains(&path) {
                self.add(path, why);
            }
        }
        if alive.is_empty() {
            for sub in JobFolder::folders() {
                self.unfinished(&folder.file(sub), ".", "a record was not finished")?;
            }
        }
        self.unfinished(folder.path(), ".commit.", "a commit was not finished")?;
        if !is_committed && !is_superseded && plan.generation > newest.saturating_sub(1) {
            self.outcome.unfinished.push(plan.id.to_string());
        }
        Ok(())
    }

    /// Finds the second names of what a commit has published out of a folder that stays.
    fn second_names(&mut self, folder: &JobFolder, record: &TaskRecord) {
        let Some(made_in) = record.made_in.as_ref().filter(|_| is_index(record)) else {
            return;
        };
        let files = record.tables.iter().flat_map(|table| &table.files);
        for file in files {
            let path = folder.file(made_in).join(&*file.path());
            self.add(path, "the job is committed");
        }
    }

    /// Finds published files that no manifest names any more.
    fn published(&mut self, record: &TaskRecord, named: &BTreeSet<String>) {
        let files = record.tables.iter().flat_map(|table| &table.files);
        let old: Vec<PathBuf> = files
            .map(|file| file.path().into_owned())
            .filter(|path| !named.contains(path))
            .map(|path| self.root.join(path))
            .collect();
        for path in old {
            self.add(path, "no manifest names it");
        }
    }
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Returns the path of a table's file below the root, of any generation.
fn path_in(url: &str, database: &str, table: &str, newest: u32) -> Option<String> {
    let folders = (1..=newest).map(|number| table_folder(database, number, table));
    let found = folders.filter_map(|folder| {
        let at = url.rfind(&format!("/{folder}"))?;
        url.get(at + 1..).map(str::to_owned)
    });
    found.max_by_key(String::len)
}

fn foreign(url: &str, manifest: &str) -> Error {
    Error::new(
        ErrorKind::Integrity,
        format!("names {url}, which is no file of this database"),
    )
    .at(Place::file(manifest))
    .hint("nothing was removed; put the manifest back as the job has written it")
}

fn is_index(record: &TaskRecord) -> bool {
    record
        .tables
        .iter()
        .any(|table| table.compact_index.is_some())
}

fn entries_of(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => {
            let reading = |error| Error::reading(folder, error);
            let mut all = Vec::new();
            for entry in entries.map_err(reading)? {
                all.push(entry.map_err(reading)?.path());
            }
            all.sort();
            Ok(all)
        }
    }
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|found| found.modified());
    modified.is_ok_and(|modified| {
        let silence = SystemTime::now()
            .duration_since(modified)
            .unwrap_or_default();
        silence >= age
    })
}

fn bytes_of(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {
            let entries = entries_of(path).unwrap_or_default();
            entries.iter().map(|path| bytes_of(path)).sum()
        }
        Ok(found) => found.len(),
        Err(_) => 0,
    }
}

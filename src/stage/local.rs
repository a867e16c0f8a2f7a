//! Staging to a local or shared file system: checked copies, published as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rayon::prelude::*;
use serde_json::json;

use super::collect::{SourceFile, SourceTable};
use super::copy::copy_digested;
use super::folder_manifest::FolderPublicity;
use super::options::{StageOptions, StageOutcome};
use super::sources::{Sources, Stamps, Tables, databases, set_name};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::FileSummary;
use crate::manifest::{MANIFEST_FILE, Manifest};
use crate::pipeline::{Events, Replace, check_writable};
use crate::place::check_recorded;
use crate::publish::{
    InputStamp, OutputFolder, Publication, Record, SetRecord, SetState, StandingFiles,
    TableIdentity, create_folders,
};

/// Stages files into a folder; each is digested while it is copied and compared with its record.
///
/// # Errors
/// A source is missing, differs from its record, or the folder may not be written; nothing is
/// published then.
pub(super) fn stage(
    options: &StageOptions,
    dest: &Path,
    sources: Sources,
    events: &dyn Events,
) -> Result<StageOutcome> {
    refuse_own_folder(options, dest)?;
    let inputs = sources.all_inputs();
    let Sources { tables, mut stamps } = sources;
    let mut record = OutputFolder::peek(dest)?;
    let mut missing = missing_tables(options, dest, &tables, &stamps, record.as_ref())?;
    check_partitionings(&tables, record.as_ref(), dest)?;
    let publicity = FolderPublicity::new(dest, &options.urls, options.retain)?;
    let is_unchanged = missing.is_empty();
    let mut new_files = 0;
    let left_out;
    if is_unchanged {
        OutputFolder::tidy(dest, options.folder);
        left_out = released_tables(dest, &tables, record.as_ref())?;
    } else {
        let mut folder = OutputFolder::open(dest, options.folder)?;
        left_out = released_tables(dest, &tables, Some(folder.record()))?;
        missing = missing_tables(options, dest, &tables, &stamps, Some(folder.record()))?;
        let mut sets = BTreeMap::new();
        for name in &missing {
            if let (Some(table), Some(inputs)) = (tables.get(name), stamps.remove(name)) {
                let set = copy_table(table, inputs, &folder, events)?;
                new_files += set.files.len() as u64;
                sets.insert(set_name(table), set);
            }
        }
        let outdated: Vec<String> = databases(&tables)
            .iter()
            .map(|name| format!("{name}/{MANIFEST_FILE}"))
            .collect();
        for manifest in &outdated {
            publicity.note_retention(&dest.join(manifest))?;
        }
        folder.publish(Publication {
            sets,
            outdated,
            dropped: Vec::new(),
            standing: StandingFiles::Replaced,
        })?;
        folder.clear_staging()?;
        record = Some(folder.into_record());
    }
    let record = record.unwrap_or_default();
    let manifests = write_manifests(options, dest, &publicity, (&tables, &left_out), &record)?;
    let staged: Vec<&FileSummary> = tables
        .values()
        .filter_map(|table| record.sets.get(&set_name(table)))
        .flat_map(|set| &set.files)
        .collect();
    Ok(StageOutcome {
        files: staged.len() as u64,
        bytes: staged.iter().map(|file| file.bytes).sum(),
        new_files,
        sent: 0,
        is_unchanged,
        manifests,
        urls_expire: None,
        left_out: left_out.into_iter().collect(),
        inputs,
    })
}

/// Says how each table stands in the folder, in the order of the tables, and what would refuse the
/// work; touches nothing.
///
/// # Errors
/// The folder's record can't be read.
pub(super) fn foresee(
    options: &StageOptions,
    dest: &Path,
    sources: &Sources,
) -> Result<(Vec<SetState>, Option<Error>)> {
    refuse_own_folder(options, dest)?;
    let Sources { tables, stamps } = sources;
    let record = OutputFolder::peek(dest)?.unwrap_or_default();
    let missing = missing_tables(options, dest, tables, stamps, Some(&record));
    let missing = released_tables(dest, tables, Some(&record)).and(missing);
    let states = tables.iter().map(|(name, table)| {
        let own = stamps.get(name).map(Vec::as_slice).unwrap_or_default();
        record.state_of(dest, &set_name(table), &options_of(table), own)
    });
    let refusal = match missing {
        Ok(missing) if missing.is_empty() => None,
        Ok(_) => check_writable(dest).err(),
        Err(error) => Some(error),
    };
    Ok((states.collect(), refusal))
}

/// Refuses to stage a folder into itself.
fn refuse_own_folder(options: &StageOptions, dest: &Path) -> Result<()> {
    let Ok(dest) = dest.canonicalize() else {
        return Ok(());
    };
    for source in &options.sources {
        if source
            .canonicalize()
            .is_ok_and(|path| path.starts_with(&dest))
        {
            return Err(Error::usage("the source lies in the destination")
                .at(Place::file(source.display().to_string()))
                .hint("name another destination"));
        }
    }
    Ok(())
}

/// Returns the names of the tables that do not stand yet.
fn missing_tables(
    options: &StageOptions,
    dest: &Path,
    tables: &Tables,
    stamps: &Stamps,
    record: Option<&Record>,
) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for (name, table) in tables {
        let set = set_name(table);
        let inputs = stamps.get(name).map(Vec::as_slice).unwrap_or_default();
        let state = record.map_or(SetState::Absent, |record| {
            record.state_of(dest, &set, &options_of(table), inputs)
        });
        match state {
            // Who forces it does not trust what is there.
            SetState::Complete if options.replace == Replace::No => {}
            SetState::Different if options.replace == Replace::No => {
                return Err(Error::new(
                    ErrorKind::OutputRefused,
                    format!("{set} stands here already, staged from other files"),
                )
                .at(Place::file(dest.display().to_string()))
                .hint("choose another destination, or replace it with --force"));
            }
            _ => missing.push(name.clone()),
        }
    }
    Ok(missing)
}

/// Refuses tables of a database that divide the sky in different ways.
fn check_partitionings(tables: &Tables, record: Option<&Record>, dest: &Path) -> Result<()> {
    let new = tables.values().map(|table| &table.identity);
    let standing = record.iter().flat_map(|record| record.sets.values());
    let standing = standing
        .filter_map(|set| set.identity.as_ref())
        .filter(|known| {
            let is_same = |new: &TableIdentity| {
                (&new.database, &new.table) == (&known.database, &known.table)
            };
            !tables.values().any(|table| is_same(&table.identity))
        });
    let mut seen: BTreeMap<&Option<String>, &TableIdentity> = BTreeMap::new();
    for identity in new
        .chain(standing)
        .filter(|identity| identity.partitioning.is_some())
    {
        let first = seen.entry(&identity.database).or_insert(identity);
        if first.partitioning != identity.partitioning {
            return Err(other_partitioning(&first.table, &identity.table)
                .at(Place::file(dest.display().to_string())));
        }
    }
    Ok(())
}

/// The error for two tables of a database that divide the sky in different ways.
pub(super) fn other_partitioning(one: &str, other: &str) -> Error {
    Error::new(
        ErrorKind::OutputRefused,
        format!(
            "{one} and {other} divide the sky in different ways; all tables of a database must have \
             the same stripes, sub-stripes and overlap"
        ),
    )
    .hint("partition one of them anew, or stage it for another --database")
}

fn options_of(table: &SourceTable) -> serde_json::Value {
    json!({"command": "stage", "identity": table.identity})
}

fn copy_table(
    table: &SourceTable,
    inputs: Vec<InputStamp>,
    folder: &OutputFolder,
    events: &dyn Events,
) -> Result<SetRecord> {
    let database = table.identity.database.as_deref().unwrap_or_default();
    let prefix = format!("{database}/{}/", table.identity.table);
    let files: Result<Vec<FileSummary>> = table
        .files
        .par_iter()
        .zip(&inputs)
        .map(|(file, stamp)| {
            let path = format!("{prefix}{}", file.name);
            let copied = copy_file(file, stamp.bytes, path, folder)?;
            events.advance(copied.bytes, copied.rows);
            Ok(copied)
        })
        .collect();
    Ok(SetRecord {
        identity: Some(table.identity.clone()),
        options: options_of(table),
        inputs,
        files: files?,
        report: serde_json::Value::Null,
        placed_at: None,
    })
}

fn copy_file(
    file: &SourceFile,
    bytes: u64,
    path: String,
    folder: &OutputFolder,
) -> Result<FileSummary> {
    let staged = folder.staged(&path)?;
    let digest = copy_digested(&file.path, bytes, &staged)?;
    let mut summary = digest.finish(path, file.chunk, file.is_overlap);
    if let Some(recorded) = &file.recorded {
        check_recorded(&file.path, recorded, &summary)?;
        summary.rows = recorded.rows;
    }
    Ok(summary)
}

/// Returns the sets of which all files have gone since they were staged: by `release`, which touches what
/// manifests name and nothing else.
///
/// # Errors
/// Of a set that is not staged now only some files are there.
fn released_tables(
    dest: &Path,
    tables: &Tables,
    record: Option<&Record>,
) -> Result<BTreeSet<String>> {
    let own: BTreeSet<String> = tables.values().map(set_name).collect();
    let databases = databases(tables);
    let is_beside = |set: &SetRecord| {
        let identity = set.identity.as_ref();
        let database = identity.and_then(|known| known.database.as_deref());
        set.placed_at.is_none() && database.is_some_and(|name| databases.contains(name))
    };
    let others = record.into_iter().flat_map(|record| &record.sets);
    let others = others.filter(|(name, set)| !own.contains(*name) && is_beside(set));
    let mut released = BTreeSet::new();
    for (name, set) in others {
        let files: Vec<&FileSummary> = set.loaded().collect();
        let is_gone = |file: &&&FileSummary| {
            let found = std::fs::symlink_metadata(dest.join(&*file.path()));
            found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        };
        let gone = files.par_iter().filter(is_gone).count();
        if gone == files.len() && gone > 0 {
            released.insert(name.clone());
        } else if gone > 0 {
            return Err(Error::new(
                ErrorKind::Integrity,
                format!("{gone} of the {} files of {name} are gone", files.len()),
            )
            .at(Place::file(dest.display().to_string()))
            .hint("stage that table again, or release the rest of it, and stage this one then"));
        }
    }
    Ok(released)
}

/// Writes the manifest of each database, unless it stands already.
fn write_manifests(
    options: &StageOptions,
    dest: &Path,
    publicity: &FolderPublicity,
    (tables, left_out): (&Tables, &BTreeSet<String>),
    record: &Record,
) -> Result<Vec<String>> {
    let url_of = |path: &str| publicity.url_of(path);
    let mut paths = Vec::new();
    for database in databases(tables) {
        let mut manifest = Manifest::new(database);
        for (name, set) in &record.sets {
            let identity = set.identity.as_ref();
            let own = identity.filter(|known| known.database.as_deref() == Some(database));
            let own = own.filter(|_| !left_out.contains(name));
            if let Some(identity) = own {
                manifest.add_placed(identity, &set.files, &url_of);
            }
        }
        let path = dest.join(database).join(MANIFEST_FILE);
        if !publicity.stands(&mut manifest, &path)? {
            // Tables without any row have no files, and so no folder.
            create_folders(path.parent().unwrap_or(Path::new("")))?;
            manifest.write(&path, options.folder.sync)?;
            publicity.forget_retention(&path)?;
        }
        paths.push(path.display().to_string());
    }
    Ok(paths)
}

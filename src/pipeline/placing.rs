//! Tables of a run on their way to a place that is no folder.
//!
//! A table is made in a local folder as always; when it stands there its files are brought to the
//! place, the record takes note, and they go here. So the local folder never holds more than the
//! tables of one pass, and their indexes. With `keep_local` nothing goes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::file::PipelineFile;
use super::folder_run::Replace;
use super::pass::Events;
use super::run::RunOptions;
use crate::error::Result;
use crate::exchange::FileSummary;
use crate::publish::{
    InputStamp, OutputFolder, Publication, SetRecord, StandingFiles, TableIdentity,
};
use crate::report::{REPORT_FILE, Report};
use crate::stage::{Others, Placed, PlacedFile, PlacedTable, ServerRun, ServerStage, SourceFile};

/// Whether local copies stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Local {
    Keep,
    Remove,
}

/// A place that the tables of a run are brought to.
pub(super) struct Placing<'a> {
    server: &'a ServerStage<'a>,
    root: PathBuf,
    dest: String,
    local: Local,
}

/// The tables that were brought there so far.
pub(super) struct Brought<'a> {
    run: ServerRun<'a>,
    tables: BTreeMap<String, (TableIdentity, Vec<FileSummary>)>,
}

impl<'a> Placing<'a> {
    /// Finds out what becomes of tables of a pipeline file.
    ///
    /// # Errors
    /// The destination is no place that is known.
    pub(super) fn new(file: &PipelineFile, server: &'a ServerStage<'a>) -> Result<Self> {
        Ok(Self {
            server,
            root: file.root()?,
            dest: file.destination()?.to_string(),
            local: match file.stage.keep_local {
                Some(_) => Local::Keep,
                None => Local::Remove,
            },
        })
    }

    /// Forgets tables whose files went to the place and are no longer there, or went to another:
    /// they are made again.
    ///
    /// # Errors
    /// The place does not answer; the folder may not be written.
    pub(super) fn forget_lost(&self, options: &RunOptions) -> Result<()> {
        let record = OutputFolder::peek(&self.root)?.unwrap_or_default();
        let is_placed = |set: &&SetRecord| set.placed_at.is_some();
        let placed: Vec<_> = record
            .sets
            .iter()
            .filter(|(_, set)| is_placed(set))
            .collect();
        if placed.is_empty() {
            return Ok(());
        }
        let mut lost = Vec::new();
        let mut here = Vec::new();
        for (name, set) in placed {
            match (set.placed_at.as_ref() == Some(&self.dest), self.local) {
                (true, Local::Remove) => here.push((name, self.table(set)?)),
                _ => lost.push(name.clone()),
            }
        }
        let (names, tables): (Vec<_>, Vec<_>) = here
            .into_iter()
            .filter_map(|(name, table)| Some((name, table?)))
            .unzip();
        let has_all = self.server.has_all(&tables)?;
        let missing = names
            .into_iter()
            .zip(has_all)
            .filter(|(_, has_all)| !has_all);
        lost.extend(missing.map(|(name, _)| name.clone()));
        if lost.is_empty() {
            return Ok(());
        }
        let mut folder = OutputFolder::open(&self.root, options.folder)?;
        folder.publish(Publication {
            dropped: lost,
            standing: StandingFiles::Replaced,
            ..Publication::default()
        })
    }

    /// Takes the place for writing.
    ///
    /// # Errors
    /// Another process writes it; the place does not answer.
    pub(super) fn begin(&self, database: &str) -> Result<Brought<'a>> {
        Ok(Brought {
            run: self.server.begin(std::iter::once(database))?,
            tables: BTreeMap::new(),
        })
    }

    /// Returns a set as a table that is to stand at the place; nothing if it is no table.
    fn table(&self, set: &SetRecord) -> Result<Option<PlacedTable>> {
        let Some(identity) = &set.identity else {
            return Ok(None);
        };
        let folder = format!(
            "{}/{}/",
            identity.database.as_deref().unwrap_or_default(),
            identity.table
        );
        let file = |file: &FileSummary| {
            let path = file.path();
            let local = self.root.join(&*path);
            Ok(PlacedFile {
                stamp: match set.placed_at {
                    Some(_) => None,
                    None => Some(InputStamp::of(&local)?),
                },
                file: SourceFile {
                    path: local,
                    name: path.strip_prefix(&folder).unwrap_or(&path).to_owned(),
                    chunk: file.chunk(),
                    is_overlap: file.is_overlap(),
                    recorded: Some(file.clone()),
                },
            })
        };
        let files: Result<Vec<_>> = set.loaded().map(file).collect();
        Ok(Some(PlacedTable {
            identity: identity.clone(),
            files: files?,
        }))
    }

    /// Brings tables that stand in the folder to the place, and removes them here.
    ///
    /// # Errors
    /// The place refuses or fails; the folder may not be written.
    pub(super) fn bring(
        &self,
        brought: &mut Brought<'_>,
        names: &[String],
        folder: &mut Option<OutputFolder>,
        options: &RunOptions,
        events: &dyn Events,
    ) -> Result<()> {
        let looked_up;
        let record = match folder.as_ref() {
            Some(folder) => folder.record(),
            None => {
                looked_up = OutputFolder::peek(&self.root)?.unwrap_or_default();
                &looked_up
            }
        };
        let mut tables = Vec::new();
        let mut own = Vec::new();
        let mut leftover = Vec::new();
        for name in names {
            let Some(set) = record.sets.get(name) else {
                continue;
            };
            if let Some(table) = self.table(set)? {
                let is_placed = set.placed_at.is_some();
                let mut local = set.loaded().map(|file| self.root.join(&*file.path()));
                // A run that was killed when it had taken note, but not yet removed all files.
                if is_placed && local.any(|path| path.exists()) {
                    leftover.push(name.as_str());
                }
                own.push((name.as_str(), is_placed));
                tables.push(table);
            }
        }
        // An earlier version of ours goes as it would here, where the record decides.
        let others = match options.replace {
            Replace::No => Others::ReplaceOwn,
            Replace::Yes => Others::Replace,
        };
        let sent = brought.run.send(&tables, others, events)?;
        for ((name, _), (table, files)) in own.iter().zip(tables.into_iter().zip(sent)) {
            let placed = (table.identity, files);
            brought.tables.insert((*name).to_owned(), placed);
        }
        if self.local == Local::Keep {
            return Ok(());
        }
        let new: Vec<&str> = own
            .iter()
            .filter(|(_, is_placed)| !is_placed)
            .map(|(name, _)| *name)
            .collect();
        if !new.is_empty() || !leftover.is_empty() {
            let folder = match folder {
                Some(folder) => folder,
                None => folder.insert(OutputFolder::open(&self.root, options.folder)?),
            };
            folder.mark_placed(new, &self.dest)?;
            leftover
                .iter()
                .try_for_each(|name| folder.clear_placed(name))?;
        }
        Ok(())
    }

    /// Says whether local copies stay.
    pub(super) fn keeps_local(&self) -> bool {
        self.local == Local::Keep
    }
}

impl Brought<'_> {
    /// Says whether a table was brought there, or was found there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.tables.contains_key(name)
    }

    /// Writes report and manifest.
    ///
    /// # Errors
    /// The place refuses or fails.
    pub(super) fn finish(self, report: &mut Report, database: &str) -> Result<Placed> {
        let tables: Vec<_> = self.tables.into_values().collect();
        let tables: Vec<_> = tables
            .iter()
            .map(|(identity, files)| (identity, files.clone()))
            .collect();
        let is_changed = self.run.is_changed();
        report.unchanged &= !is_changed;
        if !report.unchanged {
            let key = format!("{database}/{REPORT_FILE}");
            self.run.put_beside(&key, report.to_bytes()?)?;
        }
        self.run.finish(&tables)
    }
}

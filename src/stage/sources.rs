//! What is to be staged, with size and time of every file.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::collect::{SourceFile, SourceTable, collect};
use super::options::StageOptions;
use crate::error::Result;
use crate::publish::InputStamp;
use crate::source::{Input, InputFormat, InputName, check_once};

pub(super) type Tables = BTreeMap<String, SourceTable>;
pub(super) type Stamps = BTreeMap<String, Vec<InputStamp>>;

/// The tables of all sources.
#[derive(Debug)]
pub(super) struct Sources {
    /// The tables by name.
    pub(super) tables: Tables,
    /// For each table, what its files were when they were looked at.
    pub(super) stamps: Stamps,
}

impl Sources {
    /// Finds the tables in the sources, and size and time of their files.
    ///
    /// # Errors
    /// A source is missing or is no table.
    pub(super) fn find(options: &StageOptions) -> Result<Self> {
        let tables = collect(options)?;
        let mut stamps = BTreeMap::new();
        for (name, table) in &tables {
            let of_table: Result<Vec<InputStamp>> = table
                .files
                .par_iter()
                .map(|file| InputStamp::of(&file.path))
                .collect();
            let of_table = of_table?;
            check_once(of_table.iter())?;
            stamps.insert(name.clone(), of_table);
        }
        Ok(Self { tables, stamps })
    }

    /// Returns the files of the table `name`.
    pub(super) fn inputs_of(&self, name: &str) -> Vec<Input> {
        let table = self.tables.get(name).into_iter();
        let files = table.flat_map(|table| &table.files);
        let stamps = self.stamps.get(name).into_iter().flatten();
        let input = |(file, stamp): (&SourceFile, &InputStamp)| Input {
            name: InputName::File(file.path.clone()),
            format: InputFormat::Text,
            stamp: Some(stamp.clone()),
            unreadable: None,
        };
        files.zip(stamps).map(input).collect()
    }

    /// Returns the files of all tables.
    pub(super) fn all_inputs(&self) -> Vec<Input> {
        let names = self.tables.keys();
        names.flat_map(|name| self.inputs_of(name)).collect()
    }
}

/// Returns the name that a table's files are recorded under.
pub(super) fn set_name(table: &SourceTable) -> String {
    let database = table.identity.database.as_deref().unwrap_or_default();
    format!("{database}.{}", table.identity.table)
}

/// Returns the names of the databases that tables belong to.
pub(super) fn databases(tables: &Tables) -> BTreeSet<&str> {
    tables
        .values()
        .filter_map(|table| table.identity.database.as_deref())
        .collect()
}

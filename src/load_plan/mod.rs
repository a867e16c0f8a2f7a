//! The calls that load what a manifest names into Qserv, written down before anything is called.
//!
//! A plan is a file of JSON lines, a call each, in the order in which they are to be made. What is
//! known only then stands in it as a template such as `${trans_id}`. Everything that the service
//! would refuse, as far as it can be known, is refused when the plan is made.

mod call;
mod controller;
mod czar;
mod database;
mod files;
mod indexes;
mod listed;
mod registration;
mod transactions;

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::json;

pub use transactions::Division;

use self::call::Call;
use self::database::DatabaseJson;
use self::listed::ListedFiles;
use self::registration::Registration;
use self::transactions::Transaction;
use crate::error::{Error, Result};
use crate::manifest::Listing;
use crate::schema::{TableKind, check_name, definition_of};

const FORMAT: &str = "skyprep-load-plan";
const VERSION: u32 = 1;

/// How files get to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sending {
    /// The workers fetch them.
    #[default]
    ByReference,
    /// As the last part of a multipart body.
    Csv,
    /// As rows in a JSON body.
    Json,
}

/// Whose calls a plan has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Api {
    /// The replication controller's and the workers'.
    #[default]
    Controller,
    /// Those of the frontend for user tables.
    Czar,
}

/// Whether the database is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DatabaseState {
    /// It is to be made.
    #[default]
    New,
    /// It is published; its tables of the same names are replaced.
    Published,
}

/// What a plan is made from, besides the manifest.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// Folder of table definitions, or a file with all of them.
    pub tables: PathBuf,
    /// Qserv's database JSON.
    pub database_json: Option<PathBuf>,
    /// Files that specify indexes.
    pub indexes: Vec<PathBuf>,
    /// How files are divided among transactions.
    pub division: Division,
    /// How files get to the service.
    pub sending: Sending,
    /// Whose calls.
    pub api: Api,
    /// Whether the database is there already.
    pub database: DatabaseState,
    /// Version of the interface that calls ask for.
    pub api_version: Option<u32>,
}

/// A plan that can be written.
#[derive(Debug)]
pub struct LoadPlan {
    options: PlanOptions,
    listing: ListedFiles,
    database: DatabaseJson,
    /// In the order of registration.
    tables: Vec<Registration>,
    indexes: Vec<serde_json::Value>,
    transactions: Vec<Transaction>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl LoadPlan {
    /// Makes a plan out of a manifest.
    ///
    /// # Errors
    /// A definition can't be read, or the service would refuse something.
    pub fn new(manifest: &Listing, options: PlanOptions) -> Result<Self> {
        let mut warnings = Vec::new();
        let listing = ListedFiles::of(manifest);
        let name = &listing.header.database;
        check_name("database", name)?;
        check_chunks(&listing, &options)?;
        let partitioning = listing.header.partitioning;
        let database = DatabaseJson::of(
            name,
            partitioning,
            options.database_json.as_deref(),
            &options,
        )?;
        files::check_files(&listing, database.partitioning, options.sending)?;
        let mut tables = Vec::new();
        for (at, table) in listing.tables.iter().enumerate() {
            let definition = definition_of(&options.tables, &table.name)?;
            let files = listing.files.iter().filter(|file| file.table == at);
            let mut charsets: Vec<&str> = files
                .map(|file| listing.forms[file.form].charset.as_str())
                .collect();
            charsets.dedup();
            tables.push(Registration::new(
                name,
                &table.name,
                table.kind,
                definition,
                &charsets,
                &mut warnings,
            )?);
        }
        tables.sort_by_key(Registration::rank);
        check_directors(&tables, options.database, &mut warnings)?;
        if options.api == Api::Czar {
            czar::check(name, &listing, &options)?;
        }
        let indexes = indexes::read(&options.indexes, name, &tables)?;
        let transactions = match options.api {
            Api::Controller => {
                transactions::divide(&listing, &tables, options.division, &mut warnings)?
            }
            Api::Czar => Vec::new(),
        };
        Ok(Self {
            options,
            listing,
            database,
            tables,
            indexes,
            transactions,
            warnings,
        })
    }

    /// Returns the number of files that are loaded.
    pub fn files(&self) -> usize {
        self.listing.files.len()
    }

    /// Returns the number of transactions.
    pub fn transactions(&self) -> usize {
        self.transactions.len()
    }

    /// Writes the plan, line by line.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut calls = 0u64;
        self.each_call(&mut |_| {
            calls += 1;
            Ok(())
        })?;
        let api = match self.options.api {
            Api::Controller => "controller",
            Api::Czar => "czar",
        };
        let header = json!({
            "format": FORMAT,
            "version": VERSION,
            "skyprep": env!("CARGO_PKG_VERSION"),
            "database": self.listing.header.database,
            "api": api,
            "transactions": self.transactions.len(),
            "contributions": self.listing.files.len(),
            "calls": calls,
        });
        writeln!(out, "{header}")?;
        self.each_call(&mut |call| {
            serde_json::to_writer(&mut *out, &call)?;
            out.write_all(b"\n")
        })
    }

    fn each_call(&self, emit: &mut dyn FnMut(Call) -> io::Result<()>) -> io::Result<()> {
        let version = self.options.api_version;
        let emit = &mut |call: Call| emit(call.asking_for(version));
        match self.options.api {
            Api::Controller => controller::calls(self, emit),
            Api::Czar => czar::calls(self, emit),
        }
    }
}

/// Checks that directors are among the tables, or can be there already.
fn check_directors(
    tables: &[Registration],
    database: DatabaseState,
    warnings: &mut Vec<String>,
) -> Result<()> {
    for table in tables {
        for director in &table.directors {
            // Match tables may name directors of other databases.
            let own = !director.contains('.') || table.kind == TableKind::Child;
            let known = tables.iter().find(|other| other.name == *director);
            match known.map(|known| known.kind) {
                Some(TableKind::Director) => {}
                Some(_) => {
                    let message = format!(
                        "table {}: its director {director} is no director",
                        table.name
                    );
                    return Err(Error::usage(message));
                }
                None if own && database == DatabaseState::New => {
                    let message = format!(
                        "table {}: its director {director} is not in the manifest, so the service \
                         will not know it",
                        table.name
                    );
                    return Err(Error::usage(message)
                        .hint("stage the director too, or say --published if it is loaded"));
                }
                None => warnings.push(format!(
                    "table {}: its director {director} must be loaded already",
                    table.name
                )),
            }
        }
    }
    Ok(())
}

/// Checks that there are chunks where there must be: the service publishes no database without.
fn check_chunks(listing: &ListedFiles, options: &PlanOptions) -> Result<()> {
    let is_needed = options.api == Api::Controller && options.database == DatabaseState::New;
    if !is_needed || listing.files.iter().any(|file| file.chunk.is_some()) {
        return Ok(());
    }
    Err(Error::usage(format!(
        "database {} has no chunks, and Qserv publishes no such database",
        listing.header.database
    ))
    .hint("load it with a partitioned table, or small tables with --api czar"))
}

//! `job check`: which inputs can be read and have what their tables need; what was found is kept in
//! side-cars, so that `job plan` need not open millions of files.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::draft::hex;
use super::folder::names_in;
use super::listing::{fed, known_columns, list_product, table_names};
use crate::error::{Error, Result};
use crate::pipeline::{
    BadInputs, InputLook, PipelineFile, PlannedPass, RunEvents, configuration_of, job_passes,
};
use crate::publish::{InputStamp, STATE_FOLDER, SyncMode, create_folders, stream_atomically};
use crate::resources::Cancel;
use crate::schema::OutputColumn;

const CHECKS: &str = "checks";

/// What was found out about an input: a line of a side-car.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckedInput {
    /// Its product.
    pub product: String,
    /// Digest of what its tables are made by: with others it is looked at again.
    pub configuration: String,
    /// Path, bytes, time.
    #[serde(flatten)]
    pub stamp: InputStamp,
    /// What a look has found.
    #[serde(flatten)]
    pub look: InputLook,
    /// Why it is rejected, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The exit code that the reason has elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<u8>,
}

/// What a check has found.
#[derive(Debug, Clone, Default)]
pub struct CheckOutcome {
    /// Inputs of all parts.
    pub inputs: usize,
    /// Those that this part has looked at.
    pub checked: Vec<CheckedInput>,
    /// Where what was found is kept.
    pub sidecar: PathBuf,
}

/// Which part of the inputs a check looks at: number `number`, from 1, of `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckPart {
    /// The part, from 1.
    pub number: u32,
    /// Parts in all.
    pub of: u32,
}

/// Looks at inputs of a pipeline, and keeps what it finds.
///
/// # Errors
/// What is wrong with the pipeline; inputs that are wrong are no error here.
pub fn check(
    file: &PipelineFile,
    pipeline: &Path,
    part: CheckPart,
    cancel: &Cancel,
    events: &dyn RunEvents,
) -> Result<CheckOutcome> {
    let passes = job_passes(file, &Default::default(), events)?;
    let mut outcome = CheckOutcome::default();
    for pass in &passes {
        let inputs: Result<Vec<_>> = pass
            .products
            .iter()
            .map(|(product, ..)| list_product(file, product, BadInputs::PassOver))
            .collect();
        let inputs = inputs?;
        let looker = Looker::new(pass, &inputs, BadInputs::PassOver)?;
        let all = inputs.into_iter().enumerate();
        let all = all.flat_map(|(product, stamps)| stamps.into_iter().map(move |s| (product, s)));
        // Inputs are dealt out one by one: those of a folder are much alike, and so are the parts.
        let mut own = Vec::new();
        for input in all {
            if outcome.inputs % part.of as usize == part.number as usize - 1 {
                own.push(input);
            }
            outcome.inputs += 1;
        }
        let bytes = own.iter().map(|(_, stamp)| stamp.bytes).sum();
        events.pass_starts(&table_names(&pass.job), bytes);
        let checked: Result<Vec<CheckedInput>> = own
            .into_par_iter()
            .map(|(product, stamp)| {
                cancel.check()?;
                let bytes = stamp.bytes;
                let checked = looker.check(product, stamp);
                events.advance(bytes, checked.look.rows.unwrap_or(0));
                Ok(checked)
            })
            .collect();
        events.pass_ends();
        outcome.checked.extend(checked?);
    }
    let folder = sidecar_folder(&file.root()?, pipeline)?;
    create_folders(&folder)?;
    outcome.sidecar = folder.join(format!("part-{}-of-{}.jsonl", part.number, part.of));
    stream_atomically(&outcome.sidecar, SyncMode::Auto, |out| {
        for line in &outcome.checked {
            serde_json::to_writer(&mut *out, line)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })?;
    Ok(outcome)
}

/// Looks at inputs of one pass.
pub(super) struct Looker<'p> {
    pass: &'p PlannedPass,
    columns: Vec<Vec<OutputColumn>>,
    /// Columns of each table's first input.
    pub(super) known: Vec<Vec<String>>,
    /// Digest of what the tables are made by.
    configuration: String,
}

impl<'p> Looker<'p> {
    /// Finds out which columns inputs must have.
    ///
    /// # Errors
    /// The first inputs can't be read.
    pub(super) fn new(
        pass: &'p PlannedPass,
        inputs: &[Vec<InputStamp>],
        bad: BadInputs,
    ) -> Result<Self> {
        let known = known_columns(pass, inputs, bad)?;
        Self::with_known(pass, known)
    }

    /// Takes columns that are known already.
    ///
    /// # Errors
    /// They do not fit the tables.
    pub(super) fn with_known(pass: &'p PlannedPass, known: Vec<Vec<String>>) -> Result<Self> {
        Ok(Self {
            columns: pass.job.task_columns(&known)?,
            configuration: hex(configuration_of(&pass.job.options, &known)),
            pass,
            known,
        })
    }

    /// Returns the name of a product.
    pub(super) fn product(&self, number: usize) -> &str {
        let product = self.pass.products.get(number);
        product.map(|(name, ..)| name.as_str()).unwrap_or_default()
    }

    /// Looks at an input.
    ///
    /// # Errors
    /// Why it is rejected.
    pub(super) fn look(&self, product: usize, stamp: &InputStamp) -> Result<InputLook> {
        let fed = fed(self.pass, product, stamp)?;
        self.pass.job.look_at(&fed, &self.columns)
    }

    fn check(&self, product: usize, stamp: InputStamp) -> CheckedInput {
        let looked = self.look(product, &stamp);
        let (look, error) = match looked {
            Ok(look) => (look, None),
            Err(error) => (InputLook::default(), Some(error)),
        };
        CheckedInput {
            product: self.product(product).to_owned(),
            configuration: self.configuration.clone(),
            stamp,
            look,
            exit: error.as_ref().map(|error| error.kind().exit_code()),
            reason: error.map(|error| error.reason()),
        }
    }
}

fn sidecar_folder(root: &Path, pipeline: &Path) -> Result<PathBuf> {
    let text = std::fs::read(pipeline).map_err(|error| Error::reading(pipeline, error))?;
    let key = format!("{:016x}", xxh3_64(&text));
    Ok(root.join(STATE_FOLDER).join(CHECKS).join(key))
}

/// What side-cars tell of inputs.
#[derive(Default)]
pub(super) struct Sidecars {
    /// By the hash of product and path, sorted.
    entries: Vec<(u64, Entry)>,
}

struct Entry {
    bytes: u64,
    modified_ns: u64,
    look: InputLook,
}

/// What is known of a listed input.
pub(super) enum Known {
    /// It was looked at, and is good or not.
    Looked(InputLook),
    /// It has changed since.
    Changed,
    /// Nobody has looked.
    Nothing,
}

impl Sidecars {
    /// Reads all side-cars of a pipeline.
    ///
    /// # Errors
    /// One can't be read.
    pub(super) fn read(root: &Path, pipeline: &Path) -> Result<Self> {
        let folder = sidecar_folder(root, pipeline)?;
        let mut entries = Vec::new();
        for name in names_in(&folder)? {
            let path = folder.join(name);
            let file = File::open(&path).map_err(|error| Error::reading(&path, error))?;
            let mut reader = BufReader::with_capacity(1 << 20, file);
            let mut line = String::new();
            loop {
                line.clear();
                let read = reader.read_line(&mut line);
                if read.map_err(|error| Error::reading(&path, error))? == 0 {
                    break;
                }
                // A side-car only saves work: what is not understood is looked at again.
                let Ok(checked) = serde_json::from_str::<CheckedInput>(&line) else {
                    continue;
                };
                // What was rejected may have been mended by now, in ways that its time does not tell.
                if checked.reason.is_some() {
                    continue;
                }
                let entry = Entry {
                    bytes: checked.stamp.bytes,
                    modified_ns: checked.stamp.modified_ns,
                    look: checked.look,
                };
                let key = key_of(
                    &checked.product,
                    &checked.configuration,
                    &checked.stamp.path,
                );
                entries.push((key, entry));
            }
        }
        // In place: there may be millions.
        entries.par_sort_unstable_by_key(|(key, entry)| (*key, entry.modified_ns, entry.bytes));
        Ok(Self { entries })
    }

    /// Tells what is known of an input.
    pub(super) fn take(&self, looker: &Looker<'_>, product: usize, stamp: &InputStamp) -> Known {
        let key = key_of(looker.product(product), &looker.configuration, &stamp.path);
        let first = self.entries.partition_point(|(other, _)| *other < key);
        let own = self.entries.get(first..).unwrap_or_default();
        let mut own = own.iter().take_while(|(other, _)| *other == key).peekable();
        if own.peek().is_none() {
            return Known::Nothing;
        }
        let is_it =
            |entry: &Entry| entry.bytes == stamp.bytes && entry.modified_ns == stamp.modified_ns;
        match own.find(|(_, entry)| is_it(entry)) {
            None => Known::Changed,
            Some((_, entry)) => Known::Looked(entry.look.clone()),
        }
    }
}

fn key_of(product: &str, configuration: &str, path: &str) -> u64 {
    xxh3_64(format!("{product}\0{configuration}\0{path}").as_bytes())
}

//! Generations of a database: each job that is committed makes the next, and no two make the same.
//!
//! A generation is claimed by a file that is made only if it is not there yet. Readers go by the
//! manifest, which is written last.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder::{names_in, read_json};
use super::name::JobId;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::manifest::MANIFEST_FILE;
use crate::publish::{STATE_FOLDER, create_folders, publish_new};

const GENERATIONS: &str = "generations";

/// Who makes a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number, from 1.
    pub generation: u32,
    /// The job that makes it.
    pub job: JobId,
}

/// Returns the folder that tells who makes which generation.
pub(super) fn generations_of(root: &Path) -> PathBuf {
    root.join(STATE_FOLDER).join(GENERATIONS)
}

fn path_of(root: &Path, database: &str, generation: u32) -> PathBuf {
    generations_of(root).join(format!("{database}.{generation}.json"))
}

/// Returns the folder of a generation's manifest, relative to the output folder, ended by `/`.
pub(crate) fn manifest_folder(database: &str, generation: u32) -> String {
    match generation {
        0 | 1 => format!("{database}/"),
        later => format!("{database}/gen-{later}/"),
    }
}

/// Returns the path of a generation's manifest.
pub fn manifest_of(root: &Path, database: &str, generation: u32) -> PathBuf {
    root.join(manifest_folder(database, generation))
        .join(MANIFEST_FILE)
}

/// Returns who makes a generation, if somebody does.
///
/// # Errors
/// The file can't be read.
pub fn generation(root: &Path, database: &str, number: u32) -> Result<Option<Generation>> {
    read_json(&path_of(root, database, number))
}

/// Returns the newest generation that anybody has begun to commit.
///
/// # Errors
/// The folder can't be read.
pub fn newest(root: &Path, database: &str) -> Result<Option<Generation>> {
    let start = format!("{database}.");
    let numbers = names_in(&generations_of(root))?;
    let numbers = numbers.iter().filter_map(|name| {
        let number = name.strip_prefix(&start)?.strip_suffix(".json")?;
        number.parse::<u32>().ok()
    });
    match numbers.max() {
        Some(number) => generation(root, database, number),
        None => Ok(None),
    }
}

/// Returns the newest generation whose manifest stands.
///
/// # Errors
/// The folder can't be read.
pub fn standing_generation(root: &Path, database: &str) -> Result<Option<u32>> {
    let newest = newest(root, database)?.map_or(0, |newest| newest.generation);
    let stands = |number: &u32| manifest_of(root, database, *number).exists();
    Ok((1..=newest).rev().find(stands))
}

/// Claims a generation for a job; does nothing if it is that job's already.
///
/// # Errors
/// Another job makes it.
pub(super) fn claim(root: &Path, database: &str, own: &Generation, unique: &str) -> Result<()> {
    let path = path_of(root, database, own.generation);
    create_folders(path.parent().unwrap_or(Path::new("")))?;
    let bytes = serde_json::to_vec(own).map_err(|error| Error::writing(&path, error.into()))?;
    if publish_new(&path, &bytes, unique)? {
        return Ok(());
    }
    match generation(root, database, own.generation)? {
        Some(found) if found == *own => Ok(()),
        found => {
            let other = found.map_or_else(String::new, |found| found.job.to_string());
            Err(Error::new(
                ErrorKind::OutputRefused,
                format!(
                    "generation {} of {database} is made by job {other}",
                    own.generation
                ),
            )
            .at(Place::file(path.display().to_string()))
            .hint("plan again on top of it with --extend, --replace or --drop"))
        }
    }
}

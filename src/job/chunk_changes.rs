//! Which chunks a generation changes, adds and empties.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::generation::manifest_of;
use super::plan::Plan;
use crate::error::{Error, Result};
use crate::exchange::FileSummary;
use crate::manifest::Listing;

/// How the chunks of a table differ from those of the generation before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkChanges {
    /// Chunks whose rows are others.
    pub changed: Vec<i32>,
    /// Chunks that had no rows.
    pub added: Vec<i32>,
    /// Chunks that have no rows any more.
    pub emptied: Vec<i32>,
}

/// Files of chunks as a manifest names them: SHA-256 by chunk and overlap, by table.
pub(super) type NamedFiles = BTreeMap<String, ChunkDigests>;
type ChunkDigests = BTreeMap<i32, BTreeMap<bool, Option<[u8; 32]>>>;

/// Returns what the manifest of a generation says of chunks.
pub(super) fn files_before(plan: &Plan, generation: u32) -> Result<NamedFiles> {
    let path = manifest_of(&plan.root, &plan.database, generation);
    let file = std::fs::File::open(&path).map_err(|error| Error::reading(&path, error))?;
    let shown = path.display().to_string();
    let listing = Listing::read(std::io::BufReader::new(file), &shown)?;
    let mut all = NamedFiles::new();
    for line in listing.contributions() {
        if let Some(chunk) = line.chunk {
            let table = all.entry(line.table).or_default();
            let digest = line.sha256.map(|digest| digest.0);
            table.entry(chunk).or_default().insert(line.overlap, digest);
        }
    }
    Ok(all)
}

/// Compares the chunks of a table with those of the generation before.
pub(super) fn changes_between(
    before: &NamedFiles,
    table: &str,
    files: &[FileSummary],
) -> ChunkChanges {
    let nothing = BTreeMap::new();
    let old = before.get(table).unwrap_or(&nothing);
    let mut new = ChunkDigests::new();
    for file in files {
        if let Some(chunk) = file.chunk() {
            let own = new.entry(chunk).or_default();
            own.insert(file.is_overlap(), file.sha256.map(|digest| digest.0));
        }
    }
    let mut changes = ChunkChanges::default();
    for (chunk, files) in &new {
        match old.get(chunk) {
            None => changes.added.push(*chunk),
            Some(before) if before != files => changes.changed.push(*chunk),
            Some(_) => {}
        }
    }
    let emptied = old.keys().filter(|chunk| !new.contains_key(chunk));
    changes.emptied = emptied.copied().collect();
    changes
}

//! Releasing: staged files go when the ingest is done, and nothing else does.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::places::{Object, Places};
use super::standing::Standing;
use super::verify::{Fault, Finding};
use crate::error::{Error, Result};
use crate::manifest::{Contribution, Listing, MANIFEST_FILE};
use crate::place::{Network, shown};
use crate::resources::Cancel;

/// What a manifest names, as it was found.
pub struct ReleasePlan {
    /// The files that are there and as large as the manifest says.
    there: Vec<(Object, Contribution)>,
    /// The manifests that stand beside the files.
    manifests: Vec<Object>,
    /// What was found, for people and programs.
    pub summary: ReleaseSummary,
}

/// What was found, and what was removed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ReleaseSummary {
    /// Files that are there, by table.
    pub there: BTreeMap<String, u64>,
    /// Their bytes.
    pub bytes: u64,
    /// Files that are gone already.
    pub gone: u64,
    /// Files that are not what the manifest says: they are somebody else's, and stay.
    pub strangers: Vec<Finding>,
    /// The manifests that stand beside the files and go with them.
    pub manifests: Vec<String>,
    /// Files that were removed.
    pub removed: u64,
}

/// Asks what is there of the files that a manifest names; removes nothing.
///
/// # Errors
/// A place does not answer, or refuses to.
pub fn plan_release(listing: &Listing, network: &Network, at_once: usize) -> Result<ReleasePlan> {
    let mut places = Places::new(network);
    let mut manifests = BTreeSet::new();
    let mut urls = HashSet::new();
    let mut named = Vec::new();
    for line in listing.contributions() {
        urls.insert(shown(line.place_url()));
        manifests.extend(manifest_beside(&line));
        named.push((places.object(line.place_url())?, line));
    }
    let ask = |(object, line): (Object, Contribution)| async move {
        let info = object.place.head(&object.key).await?;
        Ok::<_, Error>((info, object, line))
    };
    let asked = stream::iter(named.into_iter().map(ask)).buffered(at_once.max(1));
    let asked: Vec<_> = network.wait(asked.try_collect())?;
    let mut plan = ReleasePlan {
        there: Vec::new(),
        manifests: Vec::new(),
        summary: ReleaseSummary::default(),
    };
    for (info, object, line) in asked {
        let summary = &mut plan.summary;
        match info {
            None => summary.gone += 1,
            Some(info) if info.bytes == line.bytes => {
                *summary.there.entry(line.table.clone()).or_default() += 1;
                summary.bytes += line.bytes;
                plan.there.push((object, line));
            }
            Some(info) => summary.strangers.push(Finding {
                url: shown(line.place_url()),
                fault: Fault::Bytes {
                    expected: line.bytes,
                    found: info.bytes,
                },
                table: line.table,
                chunk: line.chunk,
                overlap: line.overlap,
            }),
        }
    }
    for url in manifests {
        let object = places.object(&url)?;
        let Some(standing) = Standing::read(network, object.place.as_ref(), &object.key)? else {
            continue;
        };
        // One that names anything else is about another version, and stays.
        let is_ours = |line: Contribution| urls.contains(&shown(line.place_url()));
        if standing.listing.contributions().all(is_ours) {
            plan.summary.manifests.push(url);
            plan.manifests.push(object);
        }
    }
    Ok(plan)
}

impl ReleasePlan {
    /// Removes the files, then the manifests that stand beside them: who comes again after a kill
    /// finds the rest.
    ///
    /// # Errors
    /// A place refuses or fails, or somebody asked for an end; what is left can be released again.
    pub fn carry_out(
        self,
        network: &Network,
        at_once: usize,
        cancel: &Cancel,
    ) -> Result<ReleaseSummary> {
        let mut summary = self.summary;
        let remove = |(object, _): (Object, Contribution)| async move {
            cancel.check()?;
            object.place.delete(&object.key).await
        };
        let removed = stream::iter(self.there.into_iter().map(remove));
        let removed = removed.buffer_unordered(at_once.max(1));
        let removed = removed.try_fold(0, |count, _| async move { Ok(count + 1) });
        summary.removed = network.wait(removed)?;
        if summary.strangers.is_empty() {
            for manifest in &self.manifests {
                network.wait(manifest.place.delete(&manifest.key))?;
            }
        } else {
            // It still names files that stand.
            summary.manifests.clear();
        }
        Ok(summary)
    }
}

/// Returns the URL of the manifest that stands in the folder of the database, if the file lies as
/// `stage` and `run` lay them.
fn manifest_beside(line: &Contribution) -> Option<String> {
    let url = shown(line.place_url());
    let inner = format!("/{}/{}/", line.database, line.table);
    let at = url.rfind(&inner)?;
    let root = url.get(..at)?;
    Some(format!("{root}/{}/{MANIFEST_FILE}", line.database))
}

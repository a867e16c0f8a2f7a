//! Releasing: staged files go when the ingest is done, and nothing else does.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures_util::{TryStreamExt, stream};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use super::places::{Object, Places};
use super::standing::Standing;
use super::verify::{Fault, Finding};
use crate::error::{Error, ErrorKind, Place as ErrorPlace, Result};
use crate::exchange::HexDigest;
use crate::manifest::{Contribution, Listing, MANIFEST_FILE};
use crate::place::{Network, ObjectUrl, PlaceUrl, shown};
use crate::resources::Cancel;

/// What a manifest names, as it was found.
pub struct ReleasePlan<'l> {
    listing: &'l Listing,
    /// Numbers of the lines whose files are there, and are what the manifest says.
    there: Vec<usize>,
    /// The manifests that stand beside the files and name nothing else.
    manifests: Vec<Object>,
    /// What was found, for people and programs.
    pub summary: ReleaseSummary,
}

/// What was found, and what was removed.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ReleaseSummary {
    /// Files that are there, by folder.
    pub there: BTreeMap<String, u64>,
    /// Their bytes.
    pub bytes: u64,
    /// Files that are gone already.
    pub gone: u64,
    /// Files that another generation of the database names, and that stay for it.
    pub shared: u64,
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
/// A file does not lie as `stage` and `run` lay files; a place does not answer, or refuses to.
pub fn plan_release<'l>(
    listing: &'l Listing,
    network: &Network,
    at_once: usize,
) -> Result<ReleasePlan<'l>> {
    let beside = Beside::find(listing, network)?;
    let mut places = Places::new(network);
    let mut urls = HashSet::new();
    let numbered = listing.contributions().enumerate();
    // A file that is named twice is one file.
    let new = numbered.filter(|(_, line)| urls.insert(xxh3_128(line.place_url().as_bytes())));
    let objects = new.map(|(number, line)| Ok((number, places.object(line.place_url())?, line)));
    let ask = |(number, object, line): (usize, Object, Contribution)| async move {
        let info = object.place.head(&object.key).await?;
        Ok::<_, Error>((number, info, line))
    };
    let asked = stream::iter(objects)
        .map_ok(ask)
        .try_buffered(at_once.max(1));
    let plan = ReleasePlan {
        listing,
        there: Vec::new(),
        manifests: Vec::new(),
        summary: ReleaseSummary::default(),
    };
    let plan = asked.try_fold(plan, |mut plan, (number, info, line)| {
        plan.add(number, info.map(|info| info.bytes), &line, &beside);
        std::future::ready(Ok(plan))
    });
    let mut plan = network.wait(plan)?;
    for (url, object) in beside.ours {
        plan.summary.manifests.push(url);
        plan.manifests.push(object);
    }
    Ok(plan)
}

impl ReleasePlan<'_> {
    fn add(&mut self, number: usize, bytes: Option<u64>, line: &Contribution, beside: &Beside) {
        let summary = &mut self.summary;
        if beside.shared.contains(&key_of(line)) {
            summary.shared += 1;
            return;
        }
        let fault = match bytes {
            None => {
                summary.gone += 1;
                return;
            }
            Some(found) if found != line.bytes => Fault::Bytes {
                expected: line.bytes,
                found,
            },
            Some(_) if beside.is_other_version(line) => Fault::OtherVersion,
            Some(_) => {
                let url = shown(line.place_url());
                let folder = url.rfind('/').and_then(|slash| url.get(..=slash));
                let folder = folder.unwrap_or_default().to_owned();
                *summary.there.entry(folder).or_default() += 1;
                summary.bytes += line.bytes;
                self.there.push(number);
                return;
            }
        };
        summary.strangers.push(Finding::of(line, fault));
    }

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
        let mut places = Places::new(network);
        let lines = self
            .there
            .iter()
            .filter_map(|number| self.listing.contribution(*number));
        let objects = lines.map(|line| places.object(line.place_url()));
        let remove = |object: Object| async move {
            cancel.check()?;
            object.place.delete(&object.key).await
        };
        let removed = stream::iter(objects)
            .map_ok(remove)
            .try_buffer_unordered(at_once.max(1));
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

/// The manifests that stand in the folders of the databases.
struct Beside {
    /// Those that name nothing but what is released.
    ours: Vec<(String, Object)>,
    /// What all of them say of files: digests by the digest of the URL.
    said: HashMap<u128, Option<HexDigest<32>>>,
    /// Files that other generations name.
    shared: HashSet<u128>,
}

impl Beside {
    fn find(listing: &Listing, network: &Network) -> Result<Self> {
        let mut places = Places::new(network);
        let mut manifests = BTreeSet::new();
        let mut own = HashMap::new();
        for line in listing.contributions() {
            manifests.insert(database_folder(&line)?);
            own.insert(key_of(&line), line.sha256);
        }
        let mut found = Self {
            ours: Vec::new(),
            said: HashMap::new(),
            shared: HashSet::new(),
        };
        let mut all = Vec::new();
        for (folder, database) in &manifests {
            let generations = generations_in(folder, database)?;
            all.extend((1..=generations).map(|number| match number {
                1 => (format!("{folder}/{MANIFEST_FILE}"), generations),
                later => (format!("{folder}/gen-{later}/{MANIFEST_FILE}"), generations),
            }));
        }
        for (url, generations) in all {
            let object = places.object(&url)?;
            let Some(standing) = Standing::read(network, object.place.as_ref(), &object.key)?
            else {
                continue;
            };
            let mut is_ours = true;
            let mut keys = Vec::new();
            for line in standing.listing.contributions() {
                let key = key_of(&line);
                is_ours &= own.get(&key) == Some(&line.sha256);
                found.said.insert(key, line.sha256);
                keys.push(key);
            }
            if is_ours {
                found.ours.push((url, object));
            } else if generations > 1 {
                found.shared.extend(keys);
            }
        }
        Ok(found)
    }

    fn is_other_version(&self, line: &Contribution) -> bool {
        let said = self.said.get(&key_of(line));
        said.is_some_and(|said| *said != line.sha256)
    }
}

fn key_of(line: &Contribution) -> u128 {
    xxh3_128(shown(line.place_url()).as_bytes())
}

/// Returns the number of generations that jobs have made of a database in a folder; one elsewhere.
fn generations_in(folder: &str, database: &str) -> Result<u32> {
    let place = match ObjectUrl::parse(folder)? {
        ObjectUrl {
            place: PlaceUrl::Folder(path),
            key,
        } => path.join(key),
        _ => return Ok(1),
    };
    let root = place.parent().unwrap_or(&place);
    let newest = crate::job::newest(root, database)?;
    Ok(newest.map_or(1, |newest| newest.generation))
}

/// Returns the URL of the database's folder, not ended by `/`, and the name of the database.
///
/// # Errors
/// The file does not lie as `stage`, `run` and jobs lay files: such a one is not for us to remove.
fn database_folder(line: &Contribution) -> Result<(String, String)> {
    let url = shown(line.place_url());
    let (database, table) = (&line.database, &line.table);
    let inner = format!("/{database}/{table}/");
    let plain = url.rfind(&inner).and_then(|at| url.get(..at));
    let of_generation = || {
        let at = url.rfind(&format!("/{table}/"))?;
        let (above, generation) = url.get(..at)?.rsplit_once("/gen-")?;
        let is_number = !generation.is_empty() && generation.bytes().all(|b| b.is_ascii_digit());
        above
            .strip_suffix(database.as_str())
            .and_then(|above| above.strip_suffix('/'))
            .filter(|_| is_number)
    };
    match plain.or_else(of_generation) {
        Some(root) => Ok((format!("{root}/{database}"), database.clone())),
        None => Err(Error::new(
            ErrorKind::OutputRefused,
            format!("does not lie in a folder {inner}, so it was not staged by skyprep"),
        )
        .at(ErrorPlace::file(url))
        .hint("nothing was removed; remove it by other means")),
    }
}

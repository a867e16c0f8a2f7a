//! The manifest of a place that is no folder: what stands there, and by which URLs it is fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

use super::options::FetchUrls;
use super::server::manifest_key;
use super::standing::Standing;
use super::when::Retention;
use crate::error::{Error, Result};
use crate::exchange::FileSummary;
use crate::manifest::{Contribution, Listing, ManifestHeader, PlacedUrl, UtcTime};
use crate::place::{FileUpload, Network, Place, UploadLog, percent_encoded};
use crate::publish::{SyncMode, TableIdentity, remove_optional};

/// What a manifest tells besides what there is.
#[derive(Debug)]
pub(super) struct Publicity<'a> {
    pub(super) urls: &'a FetchUrls,
    pub(super) retain: Option<Retention>,
}

/// What became of a manifest.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) is_new: bool,
    pub(super) urls_expire: Option<SystemTime>,
}

/// Writes the manifest of a database: the tables `own`, and those that stand otherwise. Without
/// any table left it is removed; one that is the same already is not touched.
///
/// # Errors
/// The place refuses or fails.
pub(super) fn write_manifest(
    network: &Network,
    place: &dyn Place,
    publicity: &Publicity<'_>,
    (state, log): (&Path, &dyn UploadLog),
    standing: Option<&Standing>,
    database: &str,
    own: &[(&TableIdentity, &[FileSummary])],
) -> Result<Written> {
    let key = manifest_key(database);
    let known = standing.map(|standing| &standing.listing);
    let is_own = |name: &str| own.iter().any(|(identity, _)| identity.table == name);
    let mut carried = known.iter().flat_map(|known| known.contributions());
    let others = |known: &Listing| known.only(|line| !is_own(&line.table));
    let others = known.map(others).filter(|others| !others.is_empty());
    if others.is_none() && own.is_empty() {
        network.wait(place.delete(&key))?;
        return Ok(Written {
            is_new: true,
            urls_expire: None,
        });
    }
    let was_signed = known.and_then(|known| known.header().urls_expire);
    let has_signed_others = carried.any(|line| !is_own(&line.table) && is_signed(&line));
    let mut expires = was_signed.filter(|_| has_signed_others);
    let mut is_new = standing.is_none() || own.is_empty();
    let mut tables: BTreeMap<&str, Vec<Contribution>> = BTreeMap::new();
    for (identity, files) in own {
        let earlier = standing.map(|standing| standing.lines(&identity.table));
        let earlier = earlier.unwrap_or_default();
        let (lines, ends) = lines_of(network, place, publicity, database, (identity, files))?;
        let is_good = is_good_enough(publicity, was_signed, &earlier);
        let is_same = lines.len() == earlier.len()
            && lines
                .iter()
                .zip(&earlier)
                .all(|(new, old)| is_same(new, old, is_good));
        let (lines, ends) = match is_same {
            true => (earlier, was_signed.filter(|_| is_good)),
            false => (lines, ends),
        };
        is_new |= !is_same;
        expires = [expires, ends].into_iter().flatten().min();
        tables.insert(&identity.table, lines);
    }
    let mut header = ManifestHeader::new(database.to_owned());
    let before = known.map(Listing::header);
    header.partitioning = own
        .iter()
        .find_map(|(identity, _)| identity.partitioning)
        .or_else(|| before.and_then(|header| header.partitioning));
    let count = others.as_ref().map_or(0, Listing::len);
    header.contributions = count as u64 + tables.values().map(|t| t.len() as u64).sum::<u64>();
    header.public_url = match publicity.urls {
        FetchUrls::Base(base) => Some(base.clone()),
        _ => before
            .filter(|_| others.is_some())
            .and_then(|header| header.public_url.clone()),
    };
    header.urls_expire = expires;
    let kept = before.and_then(|header| header.retain_until);
    header.retain_until = publicity
        .retain
        .map_or(kept, |retain| Some(retain.after(kept, others.is_some())));
    is_new |= before.is_some_and(|before| *before != header);
    let urls_expire = header.urls_expire;
    if is_new {
        let beside = others.as_ref().map(Listing::tables).unwrap_or_default();
        let beside = beside.iter().map(|table| table.name.as_str());
        let names: BTreeSet<&str> = beside.chain(tables.keys().copied()).collect();
        // Table by table, in the order of their names.
        let lines = names.into_iter().flat_map(|name| {
            let others = others.iter().flat_map(Listing::contributions);
            let others = others.filter(move |line| line.table == name);
            let own = tables.get(name).into_iter().flatten().cloned();
            others.chain(own)
        });
        let listing = Listing::of(&header, lines);
        put(network, place, &key, (state, log), &listing)?;
    }
    Ok(Written {
        is_new,
        urls_expire: urls_expire.map(UtcTime::system_time),
    })
}

/// Returns the lines of a table, and when the first signed URL among them ends.
fn lines_of(
    network: &Network,
    place: &dyn Place,
    publicity: &Publicity<'_>,
    database: &str,
    (identity, files): (&TableIdentity, &[FileSummary]),
) -> Result<(Vec<Contribution>, Option<UtcTime>)> {
    let mut first: Option<UtcTime> = None;
    let mut lines = Vec::with_capacity(files.len());
    for file in files {
        let object = place.url(&file.path());
        let at = match publicity.urls {
            FetchUrls::Own => PlacedUrl {
                url: object,
                stored_at: None,
            },
            FetchUrls::Base(base) => PlacedUrl {
                url: public_url(base, &file.path()),
                stored_at: Some(object),
            },
            FetchUrls::Signed(valid) => {
                let (url, end) = network.wait(place.presign(&file.path(), *valid))?;
                let end = UtcTime::of(end);
                first = Some(first.map_or(end, |known| known.min(end)));
                PlacedUrl {
                    url,
                    stored_at: Some(object),
                }
            }
        };
        lines.push(Contribution::of_file(database, identity, file, at));
    }
    Ok((lines, first))
}

/// Says whether the signatures of a table that stands will do: all are there, and good for more than
/// half of the time that is wanted.
fn is_good_enough(
    publicity: &Publicity<'_>,
    ends: Option<UtcTime>,
    lines: &[Contribution],
) -> bool {
    let FetchUrls::Signed(valid) = publicity.urls else {
        return false;
    };
    let least = SystemTime::now().checked_add(*valid / 2);
    let is_late = least.is_some_and(|least| ends.is_some_and(|end| end > UtcTime::of(least)));
    is_late && lines.iter().all(is_signed)
}

fn is_signed(line: &Contribution) -> bool {
    line.url.contains('?')
}

fn put(
    network: &Network,
    place: &dyn Place,
    key: &str,
    (state, log): (&Path, &dyn UploadLog),
    listing: &Listing,
) -> Result<()> {
    // It may be large, so it goes as any file does.
    let path = state.join("manifest.jsonl");
    listing.write(&path, SyncMode::None)?;
    let bytes = std::fs::metadata(&path)
        .map_err(|error| Error::reading(&path, error))?
        .len();
    let upload = FileUpload {
        key,
        path: &path,
        bytes,
        recorded: None,
        open: None,
        log,
        advance: &|_| (),
    };
    network.wait(place.put_file(upload))?;
    remove_optional(&path)
}

fn is_same(new: &Contribution, old: &Contribution, is_signature_valid: bool) -> bool {
    if !is_signature_valid {
        return new == old;
    }
    let new = Contribution {
        url: old.url.clone(),
        ..new.clone()
    };
    new == *old
}

/// Returns the URL below `base` of the object of a key.
pub(super) fn public_url(base: &str, key: &str) -> String {
    format!("{}/{}", base.trim_end_matches('/'), percent_encoded(key))
}

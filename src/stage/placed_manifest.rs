//! The manifest of a place that is no folder: what stands there, and by which URLs it is fetched.

use std::collections::BTreeMap;
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
    let mut carried: BTreeMap<String, Vec<Contribution>> = BTreeMap::new();
    for line in standing
        .iter()
        .flat_map(|standing| standing.listing.contributions())
    {
        carried.entry(line.table.clone()).or_default().push(line);
    }
    if carried.is_empty() && own.is_empty() {
        network.wait(place.delete(&key))?;
        return Ok(Written {
            is_new: true,
            urls_expire: None,
        });
    }
    let known = standing.map(|standing| standing.listing.header());
    let mut expires = known.and_then(|header| header.urls_expire);
    let mut is_new = standing.is_none() || own.is_empty();
    let mut tables = carried;
    for (identity, files) in own {
        let earlier = tables.remove(&identity.table).unwrap_or_default();
        let mut earliest: Option<UtcTime> = None;
        let mut lines = Vec::with_capacity(files.len());
        for file in *files {
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
                    earliest = Some(earliest.map_or(end, |known| known.min(end)));
                    PlacedUrl {
                        url,
                        stored_at: Some(object),
                    }
                }
            };
            lines.push(Contribution::of_file(database, identity, file, at));
        }
        // Signatures that are still good are as good as new ones.
        let now = UtcTime::of(SystemTime::now());
        let is_valid = earliest.is_some() && expires.is_some_and(|end| end > now);
        let is_same = lines.len() == earlier.len()
            && lines
                .iter()
                .zip(&earlier)
                .all(|(new, old)| is_same(new, old, is_valid));
        if is_same {
            tables.insert(identity.table.clone(), earlier);
            continue;
        }
        is_new = true;
        expires = [expires, earliest].into_iter().flatten().min();
        tables.insert(identity.table.clone(), lines);
    }
    let mut header = ManifestHeader::new(database.to_owned());
    header.partitioning = own
        .iter()
        .find_map(|(identity, _)| identity.partitioning)
        .or_else(|| known.and_then(|header| header.partitioning));
    header.contributions = tables.values().map(|lines| lines.len() as u64).sum();
    header.public_url = match publicity.urls {
        FetchUrls::Base(base) => Some(base.clone()),
        _ => known.and_then(|header| header.public_url.clone()),
    };
    let is_signed = |line: &Contribution| line.url.contains('?');
    header.urls_expire = expires.filter(|_| tables.values().flatten().any(is_signed));
    let kept = known.and_then(|header| header.retain_until);
    header.retain_until = match publicity.retain {
        // From when they were staged, which was then.
        Some(Retention::For(_)) if kept.is_some() && !is_new => kept,
        Some(retain) => Some(retain.from_now()),
        None => kept,
    };
    is_new |= known.is_some_and(|known| *known != header);
    let urls_expire = header.urls_expire;
    if is_new {
        let listing = Listing::of(&header, tables.into_values().flatten());
        put(network, place, &key, (state, log), &listing)?;
    }
    Ok(Written {
        is_new,
        urls_expire: urls_expire.map(UtcTime::system_time),
    })
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

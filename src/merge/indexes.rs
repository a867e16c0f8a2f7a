//! What lies beside the chunk files: the director index, and the index that counts rows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Merge;
use super::folders::{Part, Role, Sources};
use super::joining::{join, read_checked};
use crate::error::{Error, ErrorKind, Place, Result, quote_value};
use crate::exchange::{Digests, FileDigest, FileSummary, SubChunkCount};
use crate::partition::key_index::{
    IndexFormat, IndexSource, duplicated, join_parquet_indexes, same_key,
};
use crate::partition::{chunk_index_record, chunk_index_rows};
use crate::pipeline::{Events, PassLimits, StagedFile};
use crate::publish::OutputFolder;

/// Returns the indexes that the output will not have, each with the reason.
pub(super) fn left_out(sources: &Sources) -> Vec<String> {
    let mut left_out = Vec::new();
    let formats = [IndexFormat::Text, IndexFormat::Parquet, IndexFormat::Binary];
    let roles = formats.map(Role::KeyIndex);
    for role in roles.into_iter().chain([Role::ChunkIndex]) {
        let parts = parts_of(sources, role);
        let Some(first) = parts.first() else {
            continue;
        };
        let name = first.file.path();
        let name = name.rsplit('/').next().unwrap_or_default();
        if role == Role::KeyIndex(IndexFormat::Binary) {
            left_out.push(format!(
                "{name} is left out: a compact index can't be merged; make the folders with \
                 --index-format text or parquet for one of all"
            ));
        } else if let Some(lacking) = lacking(sources, &parts) {
            left_out.push(format!(
                "{name} is left out: {} has none",
                lacking.display()
            ));
        }
    }
    left_out
}

/// Makes the indexes that all folders have; the director has so many rows.
pub(super) fn merge(
    merge: &Merge,
    rows: u64,
    folder: &OutputFolder,
    limits: &PassLimits,
    events: &dyn Events,
) -> Result<Vec<FileSummary>> {
    let sources = &merge.sources;
    let mut files = Vec::new();
    for format in [IndexFormat::Text, IndexFormat::Parquet] {
        let parts = parts_of(sources, Role::KeyIndex(format));
        if parts.is_empty() || lacking(sources, &parts).is_some() {
            continue;
        }
        let name = format!("{}_object_index.{}", merge.prefix, format.ending());
        let staged = folder.staged(&name)?;
        let file = match format {
            IndexFormat::Parquet => {
                for part in &parts {
                    if part.is_recorded {
                        read_checked(sources, part, |_| {})?;
                    }
                    events.advance(part.file.bytes, 0);
                }
                let paths: Vec<PathBuf> = parts.iter().map(|part| part.path(sources)).collect();
                let keys = join_parquet_indexes(&paths, &staged)?;
                FileDigest::of_file(&staged, keys)?.finish(&name, None, false)
            }
            _ => {
                let digests = Digests::Both;
                let joined = join(sources, &parts, staged.clone(), digests, limits, events)?;
                match joined.file(name, &parts)? {
                    Some(file) => file,
                    None => continue,
                }
            }
        };
        check_rows(&file, rows)?;
        check_keys(merge, &parts, &staged, folder, limits)?;
        files.push(file);
    }
    files.extend(merge_counts(merge, folder, limits, events)?);
    Ok(files)
}

/// Adds up what the indexes of chunks count.
fn merge_counts(
    merge: &Merge,
    folder: &OutputFolder,
    limits: &PassLimits,
    events: &dyn Events,
) -> Result<Option<FileSummary>> {
    let sources = &merge.sources;
    let parts = parts_of(sources, Role::ChunkIndex);
    if parts.is_empty() || lacking(sources, &parts).is_some() {
        return Ok(None);
    }
    let mut counts: BTreeMap<(i32, i32), SubChunkCount> = BTreeMap::new();
    for part in &parts {
        let path = part.path(sources);
        let _memory = limits.gate.charge(part.file.bytes);
        let mut bytes = Vec::new();
        read_checked(sources, part, |block| bytes.extend_from_slice(block))?;
        let at = |message: &str| {
            Error::new(ErrorKind::Integrity, message)
                .at(Place::file(path.display().to_string()))
                .hint("make the folder again")
        };
        let rows = chunk_index_rows(&bytes);
        let rows = rows.ok_or_else(|| at("the last record of the index is torn"))?;
        for (key, count) in rows {
            let sum = counts.entry(key).or_default();
            let added = |one: u64, other: u64| {
                let sum = one.checked_add(other);
                sum.ok_or_else(|| at("the index counts more rows than there can be"))
            };
            sum.rows = added(sum.rows, count.rows)?;
            sum.overlap_rows = added(sum.overlap_rows, count.overlap_rows)?;
        }
        events.advance(part.file.bytes, 0);
    }
    let name = format!("{}_index.bin", merge.prefix);
    let mut index = StagedFile::new(&folder.staging_place(), name)?;
    for (key, count) in counts {
        index.write(&chunk_index_record(key, count))?;
    }
    index.finish()
}

/// Refuses an index that has not a key for each row.
fn check_rows(file: &FileSummary, rows: u64) -> Result<()> {
    if file.rows == rows {
        return Ok(());
    }
    let message = format!(
        "the indexes of the folders have {} keys, but their chunks {rows} rows",
        file.rows
    );
    Err(Error::new(ErrorKind::Integrity, message)
        .at(Place::file(file.path().into_owned()))
        .hint("an index is cut off, or of another run; remove it, and make the folder again"))
}

/// Refuses keys of a director that come twice.
fn check_keys(
    merge: &Merge,
    parts: &[Part],
    staged: &Path,
    folder: &OutputFolder,
    limits: &PassLimits,
) -> Result<()> {
    let sources = &merge.sources;
    let dialect = &sources.identity.dialect;
    let scratch = folder.staged(".keys")?;
    let limits = limits.for_index();
    let keys = duplicated(staged, dialect, &limits, &scratch)?;
    if keys.is_empty() {
        return Ok(());
    }
    let source = |part: &Part| IndexSource {
        path: part.path(sources),
        dialect: dialect.clone(),
    };
    let indexes: Vec<IndexSource> = parts.iter().map(source).collect();
    let Some(found) = same_key(&indexes, &keys, &limits)? else {
        return Ok(());
    };
    let shown = |number: usize| {
        let index = indexes.get(number);
        index.map_or_else(String::new, |index| index.path.display().to_string())
    };
    let place = Place {
        row: Some(found.second.1),
        ..Place::file(shown(found.second.0))
    };
    let message = format!(
        "found the key {}, which row {} of {} has already",
        quote_value(&found.key),
        found.first.1,
        shown(found.first.0)
    );
    Err(Error::new(ErrorKind::DataRefused, message).at(place).hint(
        "a director's key must be unique; are rows of the same inputs in two folders? \
             nothing was merged",
    ))
}

fn parts_of(sources: &Sources, role: Role) -> Vec<Part> {
    let parts = sources.parts.iter().filter(|part| part.role == role);
    parts.cloned().collect()
}

/// Returns the first folder that has rows, but not this index.
fn lacking<'s>(sources: &'s Sources, parts: &[Part]) -> Option<&'s PathBuf> {
    let mut has_rows = vec![false; sources.roots.len()];
    for part in &sources.parts {
        if let Some(has_rows) = has_rows.get_mut(part.root as usize) {
            *has_rows |= part.role.is_data() && !part.is_overlap() && part.file.bytes > 0;
        }
    }
    let has_index = |root: usize| parts.iter().any(|part| part.root as usize == root);
    let roots = sources.roots.iter().enumerate();
    let mut lacking = roots.filter(|(root, _)| has_rows[*root] && !has_index(*root));
    lacking.next().map(|(_, root)| root)
}

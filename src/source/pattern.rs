//! Patterns such as `night-*/part-[0-9]*.parquet`, as shells expand them.
//!
//! The `glob` crate says what a name's pattern matches. It is not left to walk through folders, for it
//! ends badly where names are no UTF-8.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// One part of a pattern between slashes.
enum Part {
    /// A name without wildcards.
    Name(String),
    /// Names that a pattern matches.
    Names(glob::Pattern),
    /// `**`: any number of folders.
    Folders,
}

impl Part {
    fn parse(part: &str) -> std::result::Result<Self, glob::PatternError> {
        if part == "**" {
            return Ok(Self::Folders);
        }
        match part.contains(['*', '?', '[']) {
            true => glob::Pattern::new(part).map(Self::Names),
            false => Ok(Self::Name(part.to_owned())),
        }
    }
}

/// Returns the paths that a pattern matches, sorted; of a `**` at the end, the folders before it.
/// Names that begin with a dot need one in the pattern, and one that ends with a slash matches folders
/// only. What lies in a folder that is matched itself is not named again.
///
/// # Errors
/// The pattern is wrong, or a folder can't be read.
pub(super) fn matching(pattern: &str) -> Result<Vec<PathBuf>> {
    let mut parts: Vec<&str> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    parts.dedup_by(|part, before| *part == "**" && *before == "**");
    let parts: std::result::Result<Vec<_>, _> = parts.into_iter().map(Part::parse).collect();
    let parts = parts
        .map_err(|error| Error::usage(format!("'{pattern}' is not a pattern: {}", error.msg)))?;
    let mut found = Vec::new();
    let start = if pattern.starts_with('/') { "/" } else { "" };
    expand(Path::new(start), &parts, &mut found)?;
    found.sort();
    if pattern.ends_with('/') {
        found.retain(|path| path.is_dir());
    }
    if parts.iter().any(|part| matches!(part, Part::Folders)) {
        let mut folder: Option<PathBuf> = None;
        found.retain(|path| {
            let is_within = folder
                .as_ref()
                .is_some_and(|folder| path.starts_with(folder));
            if !is_within && path.is_dir() {
                folder = Some(path.clone());
            }
            !is_within
        });
    }
    Ok(found)
}

fn expand(base: &Path, parts: &[Part], found: &mut Vec<PathBuf>) -> Result<()> {
    let Some((part, rest)) = parts.split_first() else {
        let path = shown(base);
        if fs::symlink_metadata(path).is_ok() {
            found.push(path.to_owned());
        }
        return Ok(());
    };
    match part {
        Part::Name(name) => expand(&base.join(name), rest, found),
        Part::Names(pattern) => names_in(base)?
            .into_iter()
            .filter(|name| matches(pattern, name))
            .try_for_each(|name| expand(&base.join(name), rest, found)),
        Part::Folders if rest.is_empty() => expand(base, rest, found),
        Part::Folders => {
            expand(base, rest, found)?;
            let folders = names_in(base)?.into_iter().filter(|name| !is_hidden(name));
            for path in folders.map(|name| base.join(name)) {
                // Links could lead round in a circle.
                if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
                    expand(&path, parts, found)?;
                }
            }
            Ok(())
        }
    }
}

/// Returns the names in a folder; none if it is no folder.
fn names_in(folder: &Path) -> Result<Vec<OsString>> {
    let folder = shown(folder);
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => {}
        Err(error) if error.kind() == Io::PermissionDenied => {
            return Err(Error::reading(folder, error));
        }
        // A file, or a link that leads nowhere.
        _ => return Ok(Vec::new()),
    }
    let entries = fs::read_dir(folder).map_err(|error| Error::reading(folder, error))?;
    entries
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<std::io::Result<_>>()
        .map_err(|error| Error::reading(folder, error))
}

/// Returns a folder as the system wants it named.
fn shown(folder: &Path) -> &Path {
    match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    }
}

/// Says whether a pattern matches a name; what is no UTF-8 in it is some character.
fn matches(pattern: &glob::Pattern, name: &OsStr) -> bool {
    let is_asked_for = !is_hidden(name) || pattern.as_str().starts_with('.');
    is_asked_for && pattern.matches(&name.to_string_lossy())
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the files are there to be found")]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_as_shells_do() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        for folder in ["a/x", "a/.h", "b/x/y"] {
            fs::create_dir_all(path.join(folder)).unwrap();
        }
        for file in [
            "1.txt",
            ".0.txt",
            "a/2.txt",
            "a/x/3.txt",
            "a/.h/4.txt",
            "b/x/y/5.txt",
            "b/6.csv",
        ] {
            fs::write(path.join(file), "").unwrap();
        }
        std::os::unix::fs::symlink("..", path.join("b/x/up")).unwrap();
        let found = |pattern: &str| -> Vec<String> {
            let whole = format!(
                "{}/{pattern}",
                glob::Pattern::escape(path.to_str().unwrap())
            );
            let found = matching(&whole).unwrap();
            let below = found.iter().map(|found| found.strip_prefix(path).unwrap());
            below.map(|found| found.display().to_string()).collect()
        };
        assert_eq!(found("*.txt"), ["1.txt"]);
        assert_eq!(found(".*.txt"), [".0.txt"]);
        assert_eq!(found("?/*.txt"), ["a/2.txt"]);
        assert_eq!(found("[ab]/x"), ["a/x", "b/x"]);
        assert_eq!(
            found("**/*.txt"),
            ["1.txt", "a/2.txt", "a/x/3.txt", "b/x/y/5.txt"]
        );
        assert_eq!(found("b/**/y/*"), ["b/x/y/5.txt"]);
        assert_eq!(found("a/**"), ["a"]);
        assert_eq!(found("b/**/**"), ["b"]);
        assert_eq!(found("*/"), ["a", "b"]);
        // Not what lies in the folder x again.
        assert_eq!(found("a/**/*"), ["a/2.txt", "a/x"]);
        std::os::unix::fs::symlink("loop", path.join("loop")).unwrap();
        assert_eq!(found("*/x/up/*.csv"), ["b/x/up/6.csv"]);
        assert_eq!(found("no/*"), [""; 0]);
        assert_eq!(found("1.txt/*"), [""; 0]);
    }

    #[test]
    fn wrong_patterns_are_refused() {
        for pattern in ["a**b", "x/[", "***"] {
            assert!(matching(pattern).is_err(), "{pattern}");
        }
    }
}

//! Names on the command line become a list of files whose format is known.

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::file_bytes::FileBytes;
use super::generated::GeneratedText;
use super::pattern::matching;
use super::remote::{RemoteFile, Remotes};
use super::text::no_stream;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::place::shown_url;
use crate::publish::{InputStamp, STATE_FOLDER};

/// What an input holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputFormat {
    /// Parquet.
    Parquet,
    /// A binary table of a FITS file.
    Fits,
    /// An Arrow IPC file (Feather 2).
    Arrow,
    /// Text in the dialect that the options say, maybe compressed with gzip or zstd.
    #[default]
    Text,
}

impl InputFormat {
    /// Says whether columns have types, and rows come by row groups.
    pub fn has_columns(self) -> bool {
        self != Self::Text
    }
}

impl fmt::Display for InputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parquet => "Parquet",
            Self::Fits => "FITS",
            Self::Arrow => "Arrow IPC",
            Self::Text => "text",
        })
    }
}

/// Where an input comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputName {
    /// A file.
    File(PathBuf),
    /// A file at a server.
    Remote(Arc<RemoteFile>),
    /// Standard input.
    Stdin,
    /// Text that is made while it is read.
    Generated(GeneratedText),
}

impl Input {
    /// Takes text that is made while it is read.
    pub fn generated(text: GeneratedText) -> Self {
        Self {
            name: InputName::Generated(text),
            format: InputFormat::Text,
            stamp: None,
            unreadable: None,
        }
    }
}

impl InputName {
    /// Returns the name for messages.
    pub fn shown(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Remote(remote) => remote.name().to_owned(),
            Self::Stdin => "stdin".into(),
            Self::Generated(text) => text.name().to_owned(),
        }
    }
}

/// One input whose format is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Where it comes from.
    pub name: InputName,
    /// What it holds.
    pub format: InputFormat,
    /// Size and time, for files.
    pub stamp: Option<InputStamp>,
    /// Why it can't be read, if it is to be passed over.
    pub unreadable: Option<String>,
}

/// Endings of files that a folder is searched for.
const KNOWN_ENDINGS: [&str; 13] = [
    ".parquet", ".parq", ".arrow", ".feather", ".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz",
    ".txt.gz", ".csv.zst", ".tsv.zst", ".txt.zst",
];

/// Collects inputs in the order in which they are named.
#[derive(Debug, Default)]
pub struct InputList {
    names: Vec<InputName>,
    format: Option<InputFormat>,
    keeps_unreadable: bool,
    may_repeat: bool,
    remotes: Option<Remotes>,
}

impl InputList {
    /// Takes files that are missing or can't be read as inputs all the same, and marks them.
    pub fn keep_unreadable(&mut self) {
        self.keeps_unreadable = true;
    }

    /// Lets a file come twice, with its rows.
    pub fn let_repeat(&mut self) {
        self.may_repeat = true;
    }

    /// Lets URLs of http, https and s3 be inputs, which are opened by `remotes`.
    pub fn fetch_by(&mut self, remotes: Remotes) {
        self.remotes = Some(remotes);
    }

    /// Takes all inputs for this format, whatever they look like.
    pub fn force_format(&mut self, format: InputFormat) {
        self.format = Some(format);
    }

    /// Adds a file, a folder (searched recursively for known endings), a glob, or `-`.
    ///
    /// Files of a folder or glob come in the order of their names, byte by byte.
    ///
    /// # Errors
    /// Nothing is there, or the pattern is wrong.
    pub fn add(&mut self, name: &str) -> Result<()> {
        if name == "-" {
            self.names.push(InputName::Stdin);
            return Ok(());
        }
        if name.contains("://") {
            return self.add_url(name);
        }
        let path = Path::new(name);
        if fs::symlink_metadata(path).is_ok() || !name.contains(['*', '?', '[']) {
            return self.add_path(path);
        }
        let found = matching(name)?;
        if found.is_empty() {
            return Err(missing(name, "no file matches this pattern"));
        }
        found.iter().try_for_each(|path| self.add_path(path))
    }

    /// Adds a file or folder whose name is that and nothing else: no pattern, no URL, not stdin.
    ///
    /// # Errors
    /// Nothing is there, or the folder holds nothing that is read.
    pub fn add_file(&mut self, path: &Path) -> Result<()> {
        self.add_path(path)
    }

    /// Adds the names in `list`, separated by `separator`; empty ones are passed over.
    ///
    /// # Errors
    /// A name is not UTF-8, or nothing is there.
    pub fn add_list(&mut self, list: &[u8], separator: u8) -> Result<()> {
        let mut names = Vec::new();
        for name in list.split(|byte| *byte == separator) {
            let name = name.strip_suffix(b"\r").unwrap_or(name);
            if name.is_empty() {
                continue;
            }
            let name = std::str::from_utf8(name).map_err(|_| {
                Error::usage(format!("{} is not UTF-8", crate::error::quote_value(name)))
            })?;
            names.push(name);
        }
        // Files at servers are looked at together: each takes its time.
        let urls: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| is_at_server(name))
            .collect();
        let looked = self.remotes.as_ref().map(|remotes| remotes.look(&urls));
        let mut looked = looked.into_iter().flatten();
        for name in names {
            // Names in a list are no patterns: who made the list has found them already.
            match (is_at_server(name), name.contains("://")) {
                (true, _) => match looked.next() {
                    Some(looked) => self.add_remote(name, looked)?,
                    None => self.add_url(name)?,
                },
                (false, true) => self.add_url(name)?,
                (false, false) => self.add_path(Path::new(name))?,
            }
        }
        Ok(())
    }

    /// Adds the file of a `file://` URL, or one at a server.
    fn add_url(&mut self, url: &str) -> Result<()> {
        if let (Some(remotes), true) = (&self.remotes, is_at_server(url)) {
            let looked = remotes.look(&[url]).pop();
            return looked.map_or(Ok(()), |looked| self.add_remote(url, looked));
        }
        let Some(rest) = url.strip_prefix("file://") else {
            let scheme = url.split("://").next().unwrap_or_default();
            return Err(Error::usage(format!(
                "{}: inputs from {scheme}:// are not read here",
                shown_url(url)
            ))
            .hint(
                "convert, sanitize, partition, estimate, schema and check read URLs of https \
                     and s3; else fetch the file first",
            ));
        };
        let path = rest.strip_prefix("localhost").unwrap_or(rest);
        if !path.starts_with('/') {
            return Err(
                Error::usage(format!("{url}: expected a path that starts with /"))
                    .hint("write file:///data/x.parquet, or just the path"),
            );
        }
        self.add_path(&percent_decoded(path))
    }

    /// Adds a file at a server that was looked at.
    fn add_remote(&mut self, url: &str, looked: Result<RemoteFile>) -> Result<()> {
        match looked {
            Ok(remote) => self.names.push(InputName::Remote(Arc::new(remote))),
            // There is no such file here either, so it is passed over.
            Err(error) if self.keeps_unreadable && error.kind() == ErrorKind::InputMissing => {
                self.names
                    .push(InputName::File(PathBuf::from(shown_url(url))));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Returns the names in their order; nothing was looked at yet.
    pub fn into_names(self) -> Vec<InputName> {
        self.names
    }

    /// Looks at every input and returns them with format and stamp.
    ///
    /// # Errors
    /// There is none, one is missing or unreadable, or holds a format that is not read.
    pub fn resolve(self) -> Result<Vec<Input>> {
        if self.names.is_empty() {
            return Err(Error::usage("no input files").hint("name files, folders or patterns"));
        }
        if self
            .names
            .iter()
            .filter(|name| **name == InputName::Stdin)
            .count()
            > 1
        {
            return Err(Error::usage("stdin can be read only once"));
        }
        // Thousands of files on a network file system: look at them in parallel.
        let look = |name: InputName| match (look_at(name.clone(), self.format), name) {
            (Err(error), InputName::File(path))
                if self.keeps_unreadable && error.kind() == ErrorKind::InputMissing =>
            {
                let stamp = InputStamp::of(&path);
                Ok(Input {
                    stamp: Some(stamp.unwrap_or_else(|_| InputStamp::absent(&path))),
                    name: InputName::File(path),
                    format: InputFormat::Text,
                    unreadable: Some(error.reason()),
                })
            }
            (looked, _) => looked,
        };
        let inputs: Vec<Input> = self
            .names
            .into_par_iter()
            .map(look)
            .collect::<Result<_>>()?;
        if !self.may_repeat {
            check_once(inputs.iter().filter_map(|input| input.stamp.as_ref()))?;
        }
        Ok(inputs)
    }

    fn add_path(&mut self, path: &Path) -> Result<()> {
        let metadata = match fs::metadata(path) {
            Err(error) if !self.keeps_unreadable => return Err(Error::reading(path, error)),
            metadata => metadata.ok(),
        };
        if !metadata.is_some_and(|found| found.is_dir()) {
            self.names.push(file_named(path.to_owned())?);
            return Ok(());
        }
        let mut found = Vec::new();
        search(path, &mut found)?;
        if found.is_empty() {
            return Err(missing(
                &path.display().to_string(),
                "no .parquet, .arrow, .fits, .csv, .tsv or .txt file in this folder",
            ));
        }
        found.sort();
        for path in found {
            self.names.push(file_named(path)?);
        }
        Ok(())
    }
}

/// Says whether a name is a URL of a server that files are read from.
pub fn is_at_server(name: &str) -> bool {
    let scheme = name
        .split_once("://")
        .map(|(scheme, _)| scheme.to_ascii_lowercase());
    scheme.is_some_and(|scheme| ["http", "https", "s3"].contains(&scheme.as_str()))
}

/// Refuses files that come twice, for so would their rows.
///
/// # Errors
/// One does.
pub(crate) fn check_once<'s>(stamps: impl Iterator<Item = &'s InputStamp>) -> Result<()> {
    let mut paths: Vec<&str> = stamps.map(|stamp| stamp.path.as_str()).collect();
    paths.par_sort_unstable();
    let twice = paths.array_windows().find(|[one, next]| one == next);
    match twice {
        None => Ok(()),
        Some([path, _]) => Err(Error::usage("is named twice")
            .at(Place::file(*path))
            .hint("its rows would come twice: see that names, folders and patterns find it once")),
    }
}

/// Takes a file as an input: its name goes into records, lists and manifests, so it must be text.
fn file_named(path: PathBuf) -> Result<InputName> {
    use std::os::unix::ffi::OsStrExt;
    if path.to_str().is_none() {
        let name = path.as_os_str().as_bytes().escape_ascii();
        return Err(
            Error::usage(format!("the name of the file '{name}' is not UTF-8"))
                .hint("rename the file, or leave it out by naming the others"),
        );
    }
    Ok(InputName::File(path))
}

/// Undoes the escapes of a URL; a `%` that is none stands for itself.
fn percent_decoded(path: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let bytes = path.as_bytes();
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    std::ffi::OsString::from_vec(decoded).into()
}

fn missing(name: &str, message: &str) -> Error {
    Error::new(ErrorKind::InputMissing, message).at(Place::file(name))
}

/// Looks at a file: its format and its stamp.
///
/// # Errors
/// It is missing or unreadable, or holds a format that is not read.
pub(crate) fn look_at_file(path: &Path) -> Result<Input> {
    look_at(InputName::File(path.to_owned()), None)
}

/// Finds files with known endings below `folder`; hidden ones and the tool's own are passed over.
fn search(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|error| Error::reading(folder, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| Error::reading(folder, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name == STATE_FOLDER {
            continue;
        }
        let path = entry.path();
        let metadata = fs::metadata(&path).map_err(|error| Error::reading(&path, error))?;
        if metadata.is_dir() {
            search(&path, found)?;
        } else if KNOWN_ENDINGS.iter().any(|ending| name.ends_with(ending)) || is_called_fits(&path)
        {
            found.push(path);
        }
    }
    Ok(())
}

fn look_at(name: InputName, format: Option<InputFormat>) -> Result<Input> {
    // What gives its bytes only once is looked at when it is read.
    let stream = |name: InputName| match format.filter(|format| format.has_columns()) {
        Some(format) => Err(no_stream(format, &name)),
        None => Ok(Input {
            name,
            format: InputFormat::Text,
            stamp: None,
            unreadable: None,
        }),
    };
    let (path, stamp) = match &name {
        InputName::Stdin | InputName::Generated(_) => return stream(name),
        InputName::Remote(remote) => (url_path(remote.name()), remote.stamp()),
        InputName::File(path) => {
            let metadata = fs::metadata(path).map_err(|error| Error::reading(path, error))?;
            if !metadata.is_file() {
                return stream(name);
            }
            (path.clone(), InputStamp::of(path)?)
        }
    };
    let format = match format {
        Some(format) => format,
        None => format_of(&name, &path)?,
    };
    Ok(Input {
        name,
        format,
        stamp: Some(stamp),
        unreadable: None,
    })
}

/// Finds out what an input holds, whose name ends as `path` does.
fn format_of(name: &InputName, path: &Path) -> Result<InputFormat> {
    let reading = |error| Error::reading(Path::new(&name.shown()), error);
    let mut head = Vec::with_capacity(16);
    match known_head(name) {
        Some(known) => head.extend_from_slice(&known[..known.len().min(16)]),
        None => {
            let file = FileBytes::open(name).map_err(reading)?;
            let read = file.reader(0).take(16).read_to_end(&mut head);
            read.map_err(reading)?;
        }
    }
    let refuse = |what: &str| {
        Err(Error::usage(format!("{what} are not read"))
            .at(Place::file(name.shown()))
            .hint("unpack it, or convert it to Parquet, Arrow IPC, FITS or text first"))
    };
    let ending = path.extension().and_then(|ending| ending.to_str());
    Ok(match head.as_slice() {
        [b'P', b'A', b'R', b'1', ..] => InputFormat::Parquet,
        [b'P', b'A', b'R', b'E', ..] => return refuse("encrypted Parquet files"),
        [b'A', b'R', b'R', b'O', b'W', b'1', 0, 0, ..] => InputFormat::Arrow,
        [0xff, 0xff, 0xff, 0xff, _, _, _, 0, ..] => return refuse("Arrow IPC streams"),
        [b'F', b'E', b'A', b'1', ..] if ending == Some("feather") => {
            return refuse("Feather files of version 1");
        }
        [b'S', b'I', b'M', b'P', b'L', b'E', b' ', b' ', b'=', ..] => InputFormat::Fits,
        [0x1f, 0x8b, ..] if holds_fits(name) => InputFormat::Fits,
        // An empty or damaged file of such a name must not pass for text.
        _ => match ending {
            Some("parquet" | "parq") => InputFormat::Parquet,
            Some("arrow" | "feather") => InputFormat::Arrow,
            _ if is_called_fits(path) => InputFormat::Fits,
            _ => InputFormat::Text,
        },
    })
}

/// Returns the first bytes of an input, if they have been read.
fn known_head(name: &InputName) -> Option<&[u8]> {
    match name {
        InputName::Remote(remote) => remote.head(),
        _ => None,
    }
}

/// Returns the path of a URL, whose end may tell a format.
fn url_path(url: &str) -> PathBuf {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    PathBuf::from(&url[..end])
}

/// Says whether a file is called as FITS files are, in small or capital letters, maybe compressed.
fn is_called_fits(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    let name = name.to_string_lossy().to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    [".fits", ".fit", ".fts"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

/// Says whether a file that is compressed with gzip begins as FITS files do.
fn holds_fits(name: &InputName) -> bool {
    let mut head = [0; 9];
    let read = match known_head(name) {
        Some(known) => flate2::read::MultiGzDecoder::new(known).read_exact(&mut head),
        None => FileBytes::open(name).and_then(|file| {
            flate2::read::MultiGzDecoder::new(file.reader(0)).read_exact(&mut head)
        }),
    };
    read.is_ok() && head == *b"SIMPLE  ="
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests make their inputs as they like"
)]
mod tests {
    use super::*;

    fn names(list: &InputList) -> Vec<String> {
        list.names.iter().map(InputName::shown).collect()
    }

    #[test]
    fn folders_and_patterns_come_in_name_order() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        for name in [
            "b.parquet",
            "a.csv",
            "x.bin",
            ".hidden.csv",
            "sub/c.txt",
            ".skyprep/r.txt",
        ] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), "1\n").unwrap();
        }
        let shown = |name: &str| root.join(name).display().to_string();
        let mut list = InputList::default();
        list.add(root.to_str().unwrap()).unwrap();
        assert_eq!(
            names(&list),
            [shown("a.csv"), shown("b.parquet"), shown("sub/c.txt")]
        );
        let mut list = InputList::default();
        list.add(&shown("?.*")).unwrap();
        assert_eq!(
            names(&list),
            [shown("a.csv"), shown("b.parquet"), shown("x.bin")]
        );
    }

    #[test]
    fn what_is_missing_or_unknown_is_said() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name).display().to_string();
        let code = |name: &str| InputList::default().add(name).unwrap_err().kind();
        assert_eq!(code(&path("none.csv")), ErrorKind::InputMissing);
        assert_eq!(code(&path("*.csv")), ErrorKind::InputMissing);
        assert_eq!(code("s3://bucket/x.csv"), ErrorKind::Usage);
        fs::write(path("a b%.csv"), "1\n").unwrap();
        let url = format!("file://{}", path("a%20b%.csv"));
        let mut list = InputList::default();
        list.add(&url).unwrap();
        list.add_list(url.replacen("//", "//localhost", 1).as_bytes(), b'\n')
            .unwrap();
        assert_eq!(names(&list), [path("a b%.csv"), path("a b%.csv")]);
        assert_eq!(code("file://host/x.csv"), ErrorKind::Usage);
        fs::write(path("x.feather"), "FEA1\0\0").unwrap();
        let mut list = InputList::default();
        list.add(&path("x.feather")).unwrap();
        assert_eq!(list.resolve().unwrap_err().kind(), ErrorKind::Usage);
        assert_eq!(
            InputList::default().resolve().unwrap_err().kind(),
            ErrorKind::Usage
        );
    }

    #[test]
    fn formats_are_found_from_content() {
        let place = tempfile::tempdir().unwrap();
        let look = |name: &str, bytes: &[u8]| {
            let path = place.path().join(name);
            fs::write(&path, bytes).unwrap();
            look_at(InputName::File(path), None).unwrap().format
        };
        assert_eq!(look("x.txt", b"PAR1...."), InputFormat::Parquet);
        assert_eq!(look("x.parquet", b""), InputFormat::Parquet);
        assert_eq!(look("x.dat", b"SIMPLE  =     T"), InputFormat::Fits);
        assert_eq!(look("x.fits", b""), InputFormat::Fits);
        assert_eq!(look("x.fits.gz", b"\x1f\x8b"), InputFormat::Fits);
        assert_eq!(look("x.csv", b"\x1f\x8b"), InputFormat::Text);
        assert_eq!(look("y.csv", b"1,2"), InputFormat::Text);
    }
}

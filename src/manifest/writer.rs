//! The manifest as it is written: lines are made one by one, for there may be hundreds of thousands.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::line::{Contribution, IngestDialect, ManifestHeader, PlacedUrl};
use super::time::UtcTime;
use crate::error::{Error, Result};
use crate::exchange::FileSummary;
use crate::place::PlaceUrl;
use crate::publish::{SyncMode, TableIdentity, stream_atomically};

/// A manifest being put together: it makes its lines when they are written, for there may be
/// hundreds of thousands.
#[derive(Debug)]
pub struct Manifest<'a> {
    header: ManifestHeader,
    tables: Vec<WrittenTable<'a>>,
}

/// A table's files.
#[derive(Debug)]
struct WrittenTable<'a> {
    urls: Urls<'a>,
    identity: &'a TableIdentity,
    files: &'a [FileSummary],
}

/// Where files are.
enum Urls<'a> {
    /// Below a local folder.
    Folder(PlaceUrl),
    /// Where this says, which gets their paths.
    Placed(&'a (dyn Fn(&str) -> PlacedUrl + Sync)),
}

impl fmt::Debug for Urls<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(place) => place.fmt(f),
            Self::Placed(_) => f.write_str("Placed"),
        }
    }
}

impl Urls<'_> {
    fn of(&self, path: &str) -> PlacedUrl {
        match self {
            Self::Folder(place) => PlacedUrl {
                url: place.object(path),
                stored_at: None,
            },
            Self::Placed(url_of) => url_of(path),
        }
    }
}

impl WrittenTable<'_> {
    /// Returns the files that are loaded. Indexes are for other tools; the ingest service loads
    /// chunks and whole tables.
    fn loaded(&self) -> impl Iterator<Item = &FileSummary> {
        let is_partitioned = self.identity.kind.is_partitioned();
        let files = self.files.iter();
        files.filter(move |file| !is_partitioned || file.chunk().is_some())
    }
}

impl<'a> Manifest<'a> {
    /// Starts a manifest of the database `database`.
    pub fn new(database: impl Into<String>) -> Self {
        Self {
            header: ManifestHeader::new(database.into()),
            tables: Vec::new(),
        }
    }

    /// Says until when the files will be kept.
    pub fn retain_until(&mut self, time: Option<UtcTime>) {
        self.header.retain_until = time;
    }

    /// Says when the first of the signed URLs ends.
    pub fn urls_expire(&mut self, time: Option<UtcTime>) {
        self.header.urls_expire = time;
    }

    /// Says what public URLs begin with.
    pub fn public_url(&mut self, base: Option<String>) {
        self.header.public_url = base;
    }

    /// Returns the number of contributions so far.
    pub fn count(&self) -> usize {
        self.tables.iter().map(|table| table.loaded().count()).sum()
    }

    /// Adds a table's files, which lie below the local folder `root`; its indexes are left out.
    pub fn add_local(
        &mut self,
        root: &Path,
        identity: &'a TableIdentity,
        files: &'a [FileSummary],
    ) {
        self.add(
            identity,
            files,
            Urls::Folder(PlaceUrl::Folder(PathBuf::from(root))),
        );
    }

    /// Adds a table's files, which lie where `urls` says; it gets their paths, as the summaries
    /// have them. Indexes are left out.
    pub fn add_placed(
        &mut self,
        identity: &'a TableIdentity,
        files: &'a [FileSummary],
        urls: &'a (dyn Fn(&str) -> PlacedUrl + Sync),
    ) {
        self.add(identity, files, Urls::Placed(urls));
    }

    fn add(&mut self, identity: &'a TableIdentity, files: &'a [FileSummary], urls: Urls<'a>) {
        let partitioning = &mut self.header.partitioning;
        *partitioning = partitioning.or(identity.partitioning);
        self.tables.push(WrittenTable {
            urls,
            identity,
            files,
        });
    }

    /// Returns the contributions, one after another.
    pub fn contributions(&self) -> impl Iterator<Item = Contribution> {
        self.tables.iter().flat_map(move |table| {
            let identity = table.identity;
            let dialect = IngestDialect::from(&identity.dialect);
            table.loaded().map(move |file| {
                let PlacedUrl { url, stored_at } = table.urls.of(&file.path());
                Contribution {
                    database: self.header.database.clone(),
                    table: identity.table.clone(),
                    kind: identity.kind,
                    chunk: file.chunk(),
                    overlap: file.is_overlap(),
                    url,
                    stored_at,
                    bytes: file.bytes,
                    rows: file.rows,
                    sha256: file.sha256,
                    dialect: dialect.clone(),
                    charset: identity.charset.name().to_owned(),
                }
            })
        })
    }

    /// Writes the manifest to `out`, line by line.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        let header = ManifestHeader {
            contributions: self.count() as u64,
            ..self.header.clone()
        };
        write_lines(out, &header, self.contributions())
    }

    /// Says whether the file `path` holds just this manifest.
    ///
    /// # Errors
    /// The file is there and can't be read.
    pub fn stands_at(&self, path: &Path) -> Result<bool> {
        let at = |error| Error::reading(path, error);
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(at(error)),
        };
        let mut comparison = Comparison {
            file: BufReader::with_capacity(1 << 16, file),
            is_equal: true,
        };
        let written = {
            let mut out = BufWriter::with_capacity(1 << 16, &mut comparison);
            self.write_to(&mut out).and_then(|()| out.flush())
        };
        if !comparison.is_equal {
            return Ok(false);
        }
        written.map_err(at)?;
        Ok(comparison.file.fill_buf().map_err(at)?.is_empty())
    }

    /// Writes the manifest to the file `path`, whole or not at all.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write(&self, path: &Path, sync: SyncMode) -> Result<()> {
        stream_atomically(path, sync, |out| self.write_to(out))
    }
}

/// Writes header and lines, each with LF behind it.
pub(super) fn write_lines(
    out: &mut dyn Write,
    header: &ManifestHeader,
    lines: impl Iterator<Item = Contribution>,
) -> io::Result<()> {
    serde_json::to_writer(&mut *out, header)?;
    out.write_all(b"\n")?;
    for line in lines {
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Compares what is written with a file; the first difference ends it with an error.
struct Comparison {
    file: BufReader<File>,
    is_equal: bool,
}

impl Write for Comparison {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let there = self.file.fill_buf()?;
        let length = there.len().min(bytes.len());
        if length == 0 || there[..length] != bytes[..length] {
            self.is_equal = false;
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.file.consume(length);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::MANIFEST_FILE;
    use super::*;
    use crate::dialect::Dialect;
    use crate::exchange::FileDigest;
    use crate::publish::write_atomically;
    use crate::schema::TableKind;
    use crate::values::Charset;

    #[test]
    fn a_line_per_file_that_is_loaded() {
        let identity = TableIdentity {
            table: "Star".into(),
            database: Some("stars".into()),
            kind: TableKind::Director,
            partitioning: None,
            dialect: Dialect::qserv(),
            charset: Charset::Latin1,
        };
        let file = |path: &str, chunk| FileDigest::default().finish(path, chunk, false);
        let files = [
            file("stars/Star/chunk_7.txt", Some(7)),
            file("stars/Star/index.txt", None),
        ];
        let mut manifest = Manifest::new("stars");
        manifest.add_local(Path::new("/data/a b"), &identity, &files);
        let mut bytes = Vec::new();
        manifest.write_to(&mut bytes).unwrap();
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(MANIFEST_FILE);
        assert!(!manifest.stands_at(&path).unwrap());
        manifest.write(&path, SyncMode::None).unwrap();
        assert!(manifest.stands_at(&path).unwrap());
        for other in [
            &bytes[1..],
            &bytes[..bytes.len() - 1],
            &[&bytes[..], b"x"].concat(),
        ] {
            write_atomically(&path, other).unwrap();
            assert!(!manifest.stands_at(&path).unwrap());
        }
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["format"], "skyprep-manifest");
        assert_eq!(lines[0]["contributions"], 1);
        assert_eq!(lines[1]["chunk"], 7);
        assert_eq!(lines[1]["url"], "file:///data/a%20b/stars/Star/chunk_7.txt");
        assert_eq!(lines[1]["dialect"]["fields_terminated_by"], "\t");
    }

    #[test]
    fn lines_of_other_places_and_what_the_header_tells() {
        let identity = TableIdentity {
            table: "T".into(),
            database: None,
            kind: TableKind::Regular,
            partitioning: None,
            dialect: Dialect::qserv(),
            charset: Charset::Latin1,
        };
        let files = [FileDigest::default().finish("d/T/T.txt", None, false)];
        let urls = |path: &str| PlacedUrl {
            url: format!("https://h/{path}?sig=1"),
            stored_at: Some(format!("s3://b/{path}")),
        };
        let mut manifest = Manifest::new("d");
        manifest.add_placed(&identity, &files, &urls);
        manifest.retain_until(Some("2027-01-31T12:00:00Z".parse().unwrap()));
        manifest.urls_expire(Some("2027-01-08T00:00:00Z".parse().unwrap()));
        manifest.public_url(Some("https://h/".into()));
        let mut bytes = Vec::new();
        manifest.write_to(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let header = format!(
            r#"{{"format":"skyprep-manifest","version":1,"skyprep":"{}","database":"d","retain_until":"2027-01-31T12:00:00Z","urls_expire":"2027-01-08T00:00:00Z","public_url":"https://h/","contributions":1}}"#,
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(text.lines().next(), Some(header.as_str()));
        let line = text.lines().nth(1).unwrap();
        let urls = r#""overlap":false,"url":"https://h/d/T/T.txt?sig=1","stored_at":"s3://b/d/T/T.txt","bytes":0"#;
        assert!(line.contains(urls), "{line}");
    }
}

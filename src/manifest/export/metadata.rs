//! `metadata.json` with `db.json` and a table JSON for each table, as qserv-ingest reads them.
//!
//! It puts URLs together from server, folder and the names that it expects of chunk files, and
//! knows one character set for all, and one dialect for all files of an ending.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;

use super::{check_fetched, differing, of_table};
use crate::error::{Error, Result};
use crate::manifest::line::{Contribution, IngestDialect};
use crate::manifest::listing::{ListedTable, Listing};
use crate::manifest::names::{chunk_file_name, split_name};
use crate::manifest::rebase::Base;
use crate::schema::{TableKind, TableSchema};

/// Version of the format.
const VERSION: u32 = 12;
const METADATA_FILE: &str = "metadata.json";
const DATABASE_FILE: &str = "db.json";

/// What the manifest does not tell.
pub struct MetadataOptions<'o> {
    /// What URLs begin with; without it, the folder that all have in common.
    pub server: Option<&'o Base>,
    /// Finds a table's definition.
    pub schema_of: &'o dyn Fn(&str) -> Result<TableSchema>,
}

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataFile {
    /// Its name.
    pub name: String,
    /// Its content.
    pub text: String,
}

#[derive(Serialize)]
struct Metadata {
    version: u32,
    database: &'static str,
    charset_name: String,
    formats: BTreeMap<String, IngestDialect>,
    tables: Vec<Table>,
}

#[derive(Serialize)]
struct Table {
    schema: String,
    indexes: Vec<String>,
    data: Vec<Folder>,
}

/// The files of a folder.
#[derive(Serialize, Default)]
struct Folder {
    directory: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunks: Option<Vec<i32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overlaps: Option<Vec<i32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<String>>,
}

/// Returns the files of the metadata; `metadata.json`, which names the others, comes last.
///
/// # Errors
/// Something that the format can't say, or a table without a definition.
pub fn metadata(listing: &Listing, options: &MetadataOptions<'_>) -> Result<Vec<MetadataFile>> {
    let header = listing.header();
    let Some(partitioning) = header.partitioning else {
        return Err(Error::usage(
            "no table is partitioned, and a database can't be registered without its stripes",
        )
        .hint("use --to urls for regular tables of a database that is registered already"));
    };
    let tables = listing.tables();
    let found;
    let server = match options.server {
        Some(server) => server.as_str(),
        None => {
            found = common_folder(listing)?;
            found.as_str()
        }
    };
    let mut metadata = Metadata {
        version: VERSION,
        database: DATABASE_FILE,
        charset_name: common_charset(listing)?,
        formats: formats(listing)?,
        tables: Vec::new(),
    };
    let mut files = Vec::new();
    for table in &tables {
        let schema = (options.schema_of)(&table.name)?;
        let schema = completed(schema, table, &header.database)?;
        let file = MetadataFile {
            name: format!("{}.json", table.name),
            text: schema.to_json(),
        };
        if [METADATA_FILE, DATABASE_FILE].contains(&file.name.as_str()) {
            let message = format!(
                "table {} would need a second file {}",
                table.name, file.name
            );
            return Err(Error::usage(message).hint("use --to urls for this table"));
        }
        metadata.tables.push(Table {
            schema: file.name.clone(),
            indexes: Vec::new(),
            data: folders(listing, table, server)?,
        });
        files.push(file);
    }
    let database = json!({
        "database": header.database,
        "num_stripes": partitioning.stripes,
        "num_sub_stripes": partitioning.sub_stripes,
        "overlap": partitioning.overlap,
    });
    for (name, value) in [(DATABASE_FILE, database), (METADATA_FILE, json!(metadata))] {
        files.push(MetadataFile {
            name: name.to_owned(),
            text: format!("{value:#}\n"),
        });
    }
    Ok(files)
}

/// Returns the folder in which all files lie.
fn common_folder(listing: &Listing) -> Result<String> {
    let mut common: Option<String> = None;
    for line in listing.contributions() {
        let folder = split_name(&line.url).0;
        match &mut common {
            None => common = Some(folder.to_owned()),
            Some(common) => {
                while !folder.starts_with(common.as_str()) {
                    common.pop();
                    let slash = common.rfind('/').map_or(0, |slash| slash + 1);
                    common.truncate(slash);
                }
            }
        }
    }
    let common = common.unwrap_or_default();
    match common.split_once("://") {
        Some((_, path)) if path.contains('/') => Ok(common),
        _ => Err(Error::usage("the URLs have no server in common")
            .hint("export the tables one by one with --table and --server")),
    }
}

fn common_charset(listing: &Listing) -> Result<String> {
    let mut first: Option<Contribution> = None;
    for line in listing.contributions() {
        match &first {
            None => first = Some(line),
            Some(first) if first.charset != line.charset => {
                return Err(differing(first, &line, "character sets", METADATA_FILE));
            }
            Some(_) => {}
        }
    }
    Ok(first.map_or_else(|| "latin1".to_owned(), |line| line.charset))
}

/// Returns the dialect for each ending of file names.
fn formats(listing: &Listing) -> Result<BTreeMap<String, IngestDialect>> {
    let mut endings: BTreeMap<String, Contribution> = BTreeMap::new();
    for line in listing.contributions() {
        let ending = ending_of(&line)?;
        match endings.get(ending) {
            None => _ = endings.insert(ending.to_owned(), line),
            Some(first) if first.dialect != line.dialect => {
                let what = format!("dialects in their .{ending} files");
                return Err(differing(first, &line, &what, METADATA_FILE));
            }
            Some(_) => {}
        }
    }
    let spelled = |(ending, line): (String, Contribution)| (ending, line.dialect.spelled());
    Ok(endings.into_iter().map(spelled).collect())
}

fn ending_of(line: &Contribution) -> Result<&str> {
    if line.url.contains('?') {
        return Err(Error::usage(format!(
            "{}: a signed URL can't be put together from server, folder and name",
            line.shown_url()
        ))
        .hint("use --to urls, or give the files public URLs"));
    }
    let ending = line.url.rsplit_once('.').map(|(_, ending)| ending);
    let known = ending.filter(|ending| ["txt", "csv", "tsv"].contains(ending));
    known.ok_or_else(|| {
        Error::usage(format!(
            "{}: qserv-ingest takes files that end in .txt, .csv or .tsv",
            line.shown_url()
        ))
        .hint("rename the file and stage it again, or use --to urls")
    })
}

/// Returns the folders of a table, in the order of the manifest, with what lies in them.
fn folders(listing: &Listing, table: &ListedTable, server: &str) -> Result<Vec<Folder>> {
    let mut folders: Vec<Folder> = Vec::new();
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    for line in of_table(listing, &table.name) {
        check_fetched(&line)?;
        let (folder, name) = split_name(&line.url);
        let Some(directory) = folder.strip_prefix(server) else {
            return Err(Error::usage(format!(
                "{} does not begin with the server {server}",
                line.shown_url()
            ))
            .hint("give --server what all URLs begin with"));
        };
        let directory = directory.trim_end_matches('/');
        let number = *numbers.entry(directory.to_owned()).or_insert_with(|| {
            let is_partitioned = table.kind.is_partitioned();
            folders.push(Folder {
                directory: directory.to_owned(),
                chunks: is_partitioned.then(Vec::new),
                overlaps: (table.kind == TableKind::Director).then(Vec::new),
                files: (!is_partitioned).then(Vec::new),
            });
            folders.len() - 1
        });
        if let Some(folder) = folders.get_mut(number) {
            folder.put(&line, name)?;
        }
    }
    let without = folders
        .iter()
        .find(|folder| folder.overlaps.as_ref().is_some_and(Vec::is_empty));
    if let Some(folder) = without {
        return Err(Error::usage(format!(
            "director {} has no overlap file in '{}', and {METADATA_FILE} can't say so: without a \
             list of overlaps it means the same chunks as without overlap",
            table.name, folder.directory
        ))
        .hint("use --to urls, or merge the parts of its chunks into one folder"));
    }
    Ok(folders)
}

impl Folder {
    fn put(&mut self, line: &Contribution, name: &str) -> Result<()> {
        let Some(chunk) = line.chunk else {
            self.files.get_or_insert_default().push(name.to_owned());
            return Ok(());
        };
        let expected = chunk_file_name(chunk, line.overlap);
        if name != expected {
            return Err(Error::usage(format!(
                "{}: qserv-ingest expects this chunk in a file named {expected}",
                line.shown_url()
            ))
            .hint("rename the file and stage it again, or use --to urls"));
        }
        match (line.overlap, &mut self.overlaps) {
            (false, _) => self.chunks.get_or_insert_default().push(chunk),
            (true, Some(overlaps)) => overlaps.push(chunk),
            (true, None) => {
                return Err(Error::usage(format!(
                    "table {} is a {} and has overlap files, which only directors have",
                    line.table,
                    line.kind.name()
                )));
            }
        }
        Ok(())
    }
}

/// Makes a definition say what the manifest says, or refuses it.
fn completed(schema: TableSchema, table: &ListedTable, database: &str) -> Result<TableSchema> {
    if let Some(name) = schema.table.as_ref().filter(|name| **name != table.name) {
        return Err(Error::usage(format!(
            "the definition for table {} is that of table {name}",
            table.name
        )));
    }
    let kind = match schema.kind {
        Some(kind) if kind != table.kind => {
            return Err(Error::usage(format!(
                "table {} is a {} in the manifest, but the definition says {}",
                table.name,
                table.kind.name(),
                kind.name()
            )));
        }
        Some(kind) => kind,
        // Of a Felis table only a director or a regular table can be told without more.
        None if table.kind == TableKind::Regular => TableKind::Regular,
        None => {
            return Err(Error::usage(format!(
                "the definition of table {} does not tell that it is a {}, nor its keys",
                table.name,
                table.kind.name()
            ))
            .hint("complete it with skyprep schema --kind, and name the folder of table JSON"));
        }
    };
    Ok(TableSchema {
        database: Some(database.to_owned()),
        table: Some(table.name.clone()),
        kind: Some(kind),
        ..schema
    })
}

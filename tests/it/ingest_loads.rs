//! How the stand-in of the ingest service loads: fetches, cuts rows, `LOAD DATA INFILE`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::Receiver;

use serde_json::{Value, json};
use skyprep::dialect::Dialect;
use tempfile::TempDir;

use super::ingest_calls::is_director;
use super::mariadb::server;
use super::row_splitter;
use super::serve::ask;

/// Loads that go to MariaDB in one go: starting its client is what takes time.
const AT_ONCE: usize = 200;

/// A contribution to be loaded.
pub(super) struct Load {
    /// Number of the contribution.
    pub(super) number: usize,
    pub(super) transaction: u64,
    /// Chooses the database and makes the table.
    pub(super) ddl: String,
    pub(super) table: String,
    pub(super) url: String,
    /// What came in the call; else the URL is fetched.
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) dialect: Dialect,
    pub(super) charset: String,
}

/// What a load gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loaded {
    pub(super) bytes: usize,
    pub(super) rows: usize,
    pub(super) rows_loaded: usize,
    pub(super) warnings: usize,
}

/// Qserv's name of the table that holds the rows of a chunk.
pub(super) fn final_table(table: &str, chunk: Option<i32>, is_overlap: bool) -> String {
    match (chunk, is_overlap) {
        (None, _) => table.to_owned(),
        (Some(chunk), false) => format!("{table}_{chunk}"),
        (Some(chunk), true) => format!("{table}FullOverlap_{chunk}"),
    }
}

/// Reads the dialect of a call. The real service compares texts: a TAB is a backslash and a `t`.
pub(super) fn spelled_dialect(body: &Value) -> Result<Dialect, String> {
    let choose = |key: &str, allowed: &[&str]| -> Result<String, String> {
        let said = body[key].as_str().unwrap_or_default();
        let said = if said.is_empty() { allowed[0] } else { said };
        match allowed.contains(&said) {
            true => Ok(said.to_owned()),
            false => Err(format!(
                "the value '{said}' of the parameter '{key}' is not allowed"
            )),
        }
    };
    let delimiter = choose("fields_terminated_by", &["\\t", ","])?;
    let quote = choose("fields_enclosed_by", &["\\0", "'", "\""])?;
    choose("fields_escaped_by", &["\\\\"])?;
    choose("lines_terminated_by", &["\\n"])?;
    let delimiter = if delimiter == "," { b',' } else { b'\t' };
    let quote = Some(quote.as_bytes()[0]).filter(|byte| *byte != b'\\');
    Ok(Dialect::custom(delimiter, quote, Some(b'\\'), None).unwrap())
}

/// Turns rows of a JSON body into text as the real service does: between quotes, as they are.
pub(super) fn rows_of_json(body: &Value, schema: &Value) -> Result<(Dialect, Vec<u8>), String> {
    let columns = schema.as_array().ok_or("no schema")?;
    let is_binary: Vec<bool> = columns
        .iter()
        .map(|column| {
            let kind = column["type"].as_str().unwrap_or_default().to_uppercase();
            ["BIT", "BINARY", "BLOB"]
                .iter()
                .any(|word| kind.contains(word))
        })
        .collect();
    let mut text = Vec::new();
    for row in body["rows"].as_array().ok_or("'rows' is required")? {
        let row = row.as_array().ok_or("a row is no array")?;
        if row.len() != columns.len() {
            return Err(format!(
                "{} columns expected, {} found",
                columns.len(),
                row.len()
            ));
        }
        for (at, value) in row.iter().enumerate() {
            text.extend((at > 0).then_some(b','));
            text.push(b'"');
            match value {
                Value::String(value) if is_binary[at] && value != "\\N" => {
                    let bytes = data_encoding::HEXUPPER_PERMISSIVE.decode(value.as_bytes());
                    text.extend(bytes.map_err(|error| error.to_string())?);
                }
                Value::String(value) => text.extend_from_slice(value.as_bytes()),
                Value::Number(number) if number.is_f64() => {
                    text.extend(format!("{:.6}", number.as_f64().unwrap()).into_bytes());
                }
                Value::Number(number) => text.extend(number.to_string().into_bytes()),
                other => return Err(format!("unsupported value {other}")),
            }
            text.push(b'"');
        }
        text.push(b'\n');
    }
    let dialect = Dialect::custom(b',', Some(b'"'), Some(b'\\'), None).unwrap();
    Ok((dialect, text))
}

/// Loads contributions, and keeps the files that MariaDB reads.
pub(super) struct Loader {
    folder: TempDir,
}

impl Default for Loader {
    fn default() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The server reads as its own user.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }
}

type Tell<'t> = &'t mut dyn FnMut(usize, Result<Loaded, String>);

impl Loader {
    /// Loads what comes until nothing can come any more.
    pub(super) fn run(&self, coming: &Receiver<Load>, tell: Tell<'_>) {
        while let Ok(first) = coming.recv() {
            let mut loads = vec![first];
            loads.extend(coming.try_iter().take(AT_ONCE - 1));
            self.load(loads, tell);
        }
    }

    /// Loads these.
    pub(super) fn load(&self, loads: Vec<Load>, tell: Tell<'_>) {
        let mut ready = Vec::new();
        for load in loads {
            match self.prepare(&load) {
                Ok(prepared) => ready.push((load, prepared)),
                Err(error) => tell(load.number, Err(error)),
            }
        }
        let script: String = ready
            .iter()
            .map(|(_, prepared)| &*prepared.script)
            .collect();
        match server().client(&script) {
            Ok(answers) => {
                let mut answers = answers.lines();
                for (load, prepared) in &ready {
                    tell(load.number, Ok(prepared.loaded(answers.next().unwrap())));
                }
            }
            Err(error) if ready.len() == 1 => tell(ready[0].0.number, Err(error)),
            // The client has stopped at one of them: which one shows when each goes alone, from
            // the beginning.
            Err(_) => {
                for (load, prepared) in &ready {
                    let undo = format!(
                        "{}delete from {} where qserv_trans_id = {};\n",
                        load.ddl, load.table, load.transaction
                    );
                    let answer = server().client(&format!("{undo}{}", prepared.script));
                    tell(
                        load.number,
                        answer.map(|answer| prepared.loaded(answer.trim_end())),
                    );
                }
            }
        }
        for (_, prepared) in ready {
            fs::remove_file(prepared.path).unwrap();
        }
    }

    fn prepare(&self, load: &Load) -> Result<Prepared, String> {
        let bytes = match &load.bytes {
            Some(bytes) => bytes.clone(),
            None => fetch(&load.url)?,
        };
        let transaction = u32::try_from(load.transaction).unwrap();
        let text = row_splitter::contribution(&bytes, &load.dialect, transaction);
        let path = self.folder.path().join(format!("{}.csv", load.number));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let delimiter = if load.dialect.delimiter() == b',' {
            ","
        } else {
            "\\t"
        };
        let enclosed = match load.dialect.quote() {
            None => String::new(),
            Some(b'\'') => "enclosed by '\\''".to_owned(),
            Some(quote) => format!("enclosed by '{}'", char::from(quote)),
        };
        let script = format!(
            "{}load data infile '{}' into table {} character set {} fields terminated by \
             '{delimiter}' {enclosed} escaped by '\\\\' lines terminated by '\\n';\n\
             select row_count(), @@warning_count;\n",
            load.ddl,
            path.display(),
            load.table,
            load.charset
        );
        Ok(Prepared {
            path,
            bytes: bytes.len(),
            rows: row_splitter::rows(&bytes, b'\\').len(),
            script,
        })
    }
}

struct Prepared {
    path: std::path::PathBuf,
    bytes: usize,
    rows: usize,
    script: String,
}

impl Prepared {
    fn loaded(&self, answer: &str) -> Loaded {
        let (rows, warnings) = answer.split_once('\t').unwrap();
        Loaded {
            bytes: self.bytes,
            rows: self.rows,
            rows_loaded: rows.parse().unwrap(),
            warnings: warnings.parse().unwrap(),
        }
    }
}

fn fetch(url: &str) -> Result<Vec<u8>, String> {
    if let Some(path) = url.strip_prefix("file://") {
        return fs::read(Path::new(path)).map_err(|error| format!("can't read {url}: {error}"));
    }
    let answer = ask("GET", url, &[], b"");
    match answer.status {
        200 => Ok(answer.body),
        status => Err(format!("can't read {url}: {status}")),
    }
}

/// A table that was registered.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) json: Value,
    pub(super) is_published: bool,
}

impl Table {
    /// As Qserv makes it: its own column comes first.
    pub(super) fn ddl(&self, name: &str, engine: &str) -> String {
        let columns: String = self.json["schema"]
            .as_array()
            .unwrap()
            .iter()
            .map(|column| {
                let part = |key: &str| column[key].as_str().unwrap();
                format!(", `{}` {}", part("name"), part("type"))
            })
            .collect();
        let charset = self.json["charset_name"].as_str().unwrap_or("latin1");
        let collation = self.json["collation_name"]
            .as_str()
            .unwrap_or("latin1_general_ci");
        format!(
            "create table {name} (qserv_trans_id int not null{columns}) engine={engine} \
             default charset {charset} collate {collation};\n"
        )
    }
}

/// Writes into a descriptor how a load ended.
pub(super) fn finish(contribution: &mut Value, result: Result<Loaded, String>) {
    match result {
        Ok(loaded) => {
            contribution["status"] = json!("FINISHED");
            contribution["num_bytes"] = json!(loaded.bytes);
            contribution["num_rows"] = json!(loaded.rows);
            contribution["num_rows_loaded"] = json!(loaded.rows_loaded);
            contribution["num_warnings"] = json!(loaded.warnings);
        }
        Err(error) => {
            let is_read = error.starts_with("can't read");
            let status = if is_read {
                "READ_FAILED"
            } else {
                "LOAD_FAILED"
            };
            contribution["status"] = json!(status);
            contribution["retry_allowed"] = json!(u8::from(is_read));
            contribution["error"] = json!(error);
        }
    }
}

/// The director's keys with their places, where each may occur once.
pub(super) fn index_of_keys(
    tables: &BTreeMap<String, Table>,
    contributions: &[Value],
    transaction: u64,
) -> String {
    let mut script = String::new();
    for (name, table) in tables {
        if !is_director(&table.json) {
            continue;
        }
        let key = table.json["director_key"].as_str().unwrap();
        let columns = table.json["schema"].as_array().unwrap();
        let column = columns.iter().find(|column| column["name"] == key).unwrap();
        let unique = match table.json["unique_primary_key"].as_i64() {
            Some(0) => "index",
            _ => "primary key",
        };
        script += &format!(
            "create table if not exists {name}__index (id {}, chunkId int, subChunkId int, \
             {unique} (id)) engine=InnoDB;\nstart transaction;\n",
            column["type"].as_str().unwrap()
        );
        let own = contributions.iter().filter(|one| {
            one["table"] == name.as_str() && one["overlap"] == 0 && one["status"] == "FINISHED"
        });
        let mut tables: Vec<&str> = own
            .map(|one| one["final_table"].as_str().unwrap())
            .collect();
        tables.sort_unstable();
        tables.dedup();
        for table in tables {
            let of_transaction = match transaction {
                0 => String::new(),
                id => format!(" where qserv_trans_id = {id}"),
            };
            script += &format!(
                "insert into {name}__index select `{key}`, chunkId, subChunkId from \
                 {table}{of_transaction};\n"
            );
        }
        script += "commit;\n";
    }
    script
}

//! The formats that manifests are exported to, read as the tools read them that load Qserv.
//!
//! Written from what these tools do, and from nothing of skyprep: the scripts that cut chunk and
//! overlap out of names, `qserv-replica-file` and qserv-ingest.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// A file to load: table, chunk, overlap, URL or path.
pub(crate) type Load = (String, Option<i64>, bool, String);

/// Cuts chunk and overlap out of a name: four characters off its end, six off its beginning.
fn cut(url: &str) -> (i64, bool) {
    let name: Vec<char> = url.rsplit('/').next().unwrap().chars().collect();
    let name: String = name[..name.len() - 4][6..].iter().collect();
    match name.strip_suffix("_overlap") {
        Some(chunk) if !chunk.is_empty() => (chunk.parse().unwrap(), true),
        _ => (name.parse().unwrap(), false),
    }
}

/// Reads a list of URLs of a partitioned table: the last character of each line is cut off, a line
/// that starts with `http` is a URL, any other is JSON.
pub(crate) fn urls(table: &str, text: &str) -> Vec<Load> {
    let lines = text.split_inclusive('\n').map(|line| {
        let mut line = line.to_owned();
        line.pop();
        line
    });
    let load = |line: String| match line.starts_with("http") {
        true => {
            let (chunk, overlap) = cut(&line);
            (table.to_owned(), Some(chunk), overlap, line)
        }
        false => {
            let line: Value = serde_json::from_str(&line).unwrap();
            let url = line["url"].as_str().unwrap().to_owned();
            let overlap = line["overlap"].as_u64().unwrap() != 0;
            (table.to_owned(), line["chunk"].as_i64(), overlap, url)
        }
    };
    lines.map(load).collect()
}

/// Reads a file cache.
pub(crate) fn filecache(text: &str) -> Vec<Load> {
    let list: Vec<Value> = serde_json::from_str(text).unwrap();
    let load = |entry: &Value| {
        let url = entry["url"].as_str().unwrap().to_owned();
        let (chunk, overlap) = cut(&url);
        let table = entry["table"].as_str().unwrap().to_owned();
        (table, Some(chunk), overlap, url)
    };
    list.iter().map(load).collect()
}

/// Reads a file list as `qserv-replica-file INGEST` does: all fields must be there and of their
/// types, and of partitioned tables the name must be that of a chunk.
///
/// The short form is told transaction, table and type by its caller. Returns loads with the worker.
pub(crate) fn file_list(text: &str, short: Option<(&str, &str)>) -> Vec<(Load, String, u16)> {
    let list: Vec<Value> = serde_json::from_str(text).unwrap();
    let load = |entry: &Value| {
        let host = entry["worker-host"].as_str().unwrap().to_owned();
        let port = u16::try_from(entry["worker-port"].as_u64().unwrap()).unwrap();
        assert!(port > 0);
        let (table, kind) = match short {
            Some(told) => told,
            None => {
                entry["transaction-id"].as_u64().unwrap();
                (
                    entry["table"].as_str().unwrap(),
                    entry["type"].as_str().unwrap(),
                )
            }
        };
        let path = entry["path"].as_str().unwrap().to_owned();
        assert!(Path::new(&path).is_file(), "{path}");
        let load = match kind {
            "P" => {
                let name = path.rsplit('/').next().unwrap();
                let name = name
                    .strip_prefix("chunk_")
                    .unwrap()
                    .strip_suffix(".txt")
                    .unwrap();
                let (chunk, overlap) = match name.strip_suffix("_overlap") {
                    Some(chunk) => (chunk, true),
                    None => (name, false),
                };
                assert!(chunk.bytes().all(|byte| byte.is_ascii_digit()));
                (table.to_owned(), chunk.parse().ok(), overlap, path.clone())
            }
            "R" => (table.to_owned(), None, false, path.clone()),
            _ => panic!("type {kind}"),
        };
        (load, host, port)
    };
    list.iter().map(load).collect()
}

/// What qserv-ingest knows after it has read its metadata.
pub(crate) struct Metadata {
    pub(crate) loads: Vec<Load>,
    /// Tables in the order of registration.
    pub(crate) tables: Vec<String>,
    pub(crate) database: Value,
    pub(crate) charset: String,
    pub(crate) formats: Value,
}

/// Reads metadata as qserv-ingest does, whose files lie below `server`.
pub(crate) fn metadata(folder: &Path, server: &str) -> Metadata {
    let json = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
    };
    let all = json("metadata.json");
    assert!(all["version"].as_u64().unwrap() >= 12);
    let database = json(all["database"].as_str().unwrap());
    let (mut loads, mut tables) = (Vec::new(), Vec::new());
    for table in all["tables"].as_array().unwrap() {
        let schema = json(table["schema"].as_str().unwrap());
        assert_eq!(schema["database"], database["database"]);
        assert!(!schema["schema"].as_array().unwrap().is_empty());
        table["indexes"].as_array().unwrap();
        let name = schema["table"].as_str().unwrap().to_owned();
        let is_partitioned = schema["is_partitioned"] == 1;
        let is_director = match schema.get("director_table") {
            Some(director) => director.as_str().unwrap().is_empty(),
            None => is_partitioned,
        };
        for data in table["data"].as_array().unwrap() {
            let directory = data["directory"].as_str().unwrap().trim_matches('/');
            let url = |file: &str| {
                let path = format!("{directory}/{file}");
                let base = server.trim_end_matches('/');
                format!("{base}/{}", path.trim_start_matches('/'))
            };
            if !is_partitioned {
                for file in data["files"].as_array().unwrap() {
                    let url = url(file.as_str().unwrap());
                    loads.push((name.clone(), None, false, url));
                }
                continue;
            }
            let numbers = |list: &Value| -> Vec<i64> {
                let list = list.as_array().unwrap().iter();
                list.map(|number| number.as_i64().unwrap()).collect()
            };
            let chunks = numbers(&data["chunks"]);
            for chunk in &chunks {
                let url = url(&format!("chunk_{chunk}.txt"));
                loads.push((name.clone(), Some(*chunk), false, url));
            }
            if is_director {
                // Neither an absent nor an empty list means that there are none.
                let overlaps = match data.get("overlaps") {
                    Some(list) if !numbers(list).is_empty() => numbers(list),
                    _ => chunks,
                };
                for chunk in overlaps {
                    let url = url(&format!("chunk_{chunk}_overlap.txt"));
                    loads.push((name.clone(), Some(chunk), true, url));
                }
            }
        }
        tables.push(name);
    }
    Metadata {
        loads,
        tables,
        database,
        charset: all["charset_name"].as_str().unwrap().to_owned(),
        formats: all["formats"].clone(),
    }
}

/// Reads a manifest, as any program can.
pub(crate) fn manifest(path: &Path) -> Vec<Load> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().skip(1).map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        let table = line["table"].as_str().unwrap().to_owned();
        let url = line["url"].as_str().unwrap().to_owned();
        (
            table,
            line["chunk"].as_i64(),
            line["overlap"].as_bool().unwrap(),
            url,
        )
    });
    lines.collect()
}

/// Compares without regard to order; nothing may be there twice.
#[track_caller]
pub(crate) fn assert_same(found: &[Load], expected: &[Load]) {
    let set = |loads: &[Load]| loads.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(set(found), set(expected));
    assert_eq!(found.len(), expected.len());
}

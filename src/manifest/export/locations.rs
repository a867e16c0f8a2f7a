//! Which worker takes which chunk: the ingest service's own answers, or a simple table.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::{Error, Place, Result, quote_value};

/// Where a worker takes files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Worker {
    /// Its host, a name or an address.
    pub host: String,
    /// Port of its service.
    pub port: u16,
}

/// The workers of chunks, and those that take regular tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locations {
    chunks: BTreeMap<i32, Vec<Worker>>,
    regular: Vec<Worker>,
}

/// What stands for regular tables in the place of a chunk.
const REGULAR: &str = "regular";

impl Locations {
    /// Adds what a file says: the answer to `POST /ingest/chunks` or `GET /ingest/regular`, a list
    /// of `{chunk, host, port}`, a map from chunk to `host:port` (or to `{host, port}`, or to a list
    /// of either), or CSV lines `chunk,host,port`. In maps and CSV `regular` stands for the workers
    /// of regular tables.
    ///
    /// # Errors
    /// It is none of these; `name` stands for the file in messages.
    pub fn add(&mut self, text: &[u8], name: &str) -> Result<()> {
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        let added = match text.trim_ascii_start().first() {
            Some(b'{' | b'[') => serde_json::from_slice(text)
                .map_err(|error| Error::usage(format!("not JSON: {error}")))
                .and_then(|value| self.add_json(&value)),
            _ => self.add_csv(text),
        };
        added.map_err(|error| {
            let error = error.at(Place::file(name));
            match error.hint_text() {
                Some(_) => error,
                None => error.hint(
                    "expected the answer to POST /ingest/chunks, a JSON map from chunk to \
                     \"host:port\", or CSV lines chunk,host,port",
                ),
            }
        })
    }

    /// Returns the workers of a chunk, or of regular tables.
    pub fn of(&self, chunk: Option<i32>) -> &[Worker] {
        match chunk {
            Some(chunk) => self
                .chunks
                .get(&chunk)
                .map(Vec::as_slice)
                .unwrap_or_default(),
            None => &self.regular,
        }
    }

    fn put(&mut self, chunk: Option<i32>, worker: Worker) {
        let workers = match chunk {
            Some(chunk) => self.chunks.entry(chunk).or_default(),
            None => &mut self.regular,
        };
        if !workers.contains(&worker) {
            workers.push(worker);
        }
    }

    fn add_json(&mut self, value: &Value) -> Result<()> {
        let map = match value {
            Value::Array(list) => return self.add_list(list),
            Value::Object(map) => map,
            _ => return Err(Error::usage("found neither a list nor a map")),
        };
        if map
            .get("success")
            .is_some_and(|done| *done == 0 || *done == false)
        {
            let said = map.get("error").and_then(Value::as_str).unwrap_or_default();
            let said = quote_value(said.as_bytes());
            let message = format!("this is the answer to a request that failed: {said}");
            return Err(Error::usage(message).hint("ask the ingest service again"));
        }
        if let Some(Value::Array(list)) = map.get("location").or(map.get("locations")) {
            return self.add_list(list);
        }
        for (key, value) in map {
            let chunk = chunk_of(key)?;
            let workers = match value {
                Value::Array(list) => list.as_slice(),
                one => std::slice::from_ref(one),
            };
            for entry in workers {
                let worker = match entry {
                    Value::String(text) => text
                        .rsplit_once(':')
                        .and_then(|(host, port)| worker(host, port.parse().ok())),
                    Value::Object(map) => worker_of(map),
                    _ => None,
                };
                let no_worker =
                    || Error::usage(format!("chunk {key} has no worker's host and port"));
                self.put(chunk, worker.ok_or_else(no_worker)?);
            }
        }
        Ok(())
    }

    /// Adds objects with host and port; those without a chunk are for regular tables.
    fn add_list(&mut self, list: &[Value]) -> Result<()> {
        for (number, entry) in list.iter().enumerate() {
            let wrong = |what: &str| Error::usage(format!("entry {} has {what}", number + 1));
            let map = entry.as_object().ok_or_else(|| wrong("no fields"))?;
            let chunk = match map.get("chunk") {
                None => None,
                Some(chunk) => {
                    let chunk = chunk.as_i64().and_then(|chunk| i32::try_from(chunk).ok());
                    let chunk = chunk.filter(|chunk| *chunk >= 0);
                    Some(chunk.ok_or_else(|| wrong("a chunk that is no number"))?)
                }
            };
            let worker = worker_of(map).ok_or_else(|| wrong("no host and port"))?;
            self.put(chunk, worker);
        }
        Ok(())
    }

    fn add_csv(&mut self, text: &[u8]) -> Result<()> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(text);
        for (number, record) in reader.records().enumerate() {
            let record = record.map_err(|error| Error::usage(format!("not CSV: {error}")))?;
            if number == 0 && record.get(0) == Some("chunk") {
                continue;
            }
            let line = record.position().map(csv::Position::line);
            let at_line = Place {
                line,
                ..Place::default()
            };
            let [chunk, host, port] = std::array::from_fn(|at| record.get(at).unwrap_or_default());
            let worker = worker(host, port.parse().ok()).filter(|_| record.len() == 3);
            let no_worker = || Error::usage("this is not chunk, host and port");
            let added = chunk_of(chunk).and_then(|chunk| {
                self.put(chunk, worker.ok_or_else(no_worker)?);
                Ok(())
            });
            added.map_err(|error: Error| error.at(at_line))?;
        }
        Ok(())
    }
}

/// Reads what stands for a chunk.
fn chunk_of(text: &str) -> Result<Option<i32>> {
    if text == REGULAR {
        return Ok(None);
    }
    let chunk = text.parse::<i32>().ok().filter(|chunk| *chunk >= 0);
    let no_chunk = || {
        let found = quote_value(text.as_bytes());
        Error::usage(format!(
            "{found} is not a chunk's number, and not '{REGULAR}'"
        ))
    };
    Ok(Some(chunk.ok_or_else(no_chunk)?))
}

/// Reads host and port of the service that takes files by the binary protocol; the one for HTTP has
/// `http_host` and `http_port` beside them.
fn worker_of(map: &Map<String, Value>) -> Option<Worker> {
    let get = |names: [&str; 2]| names.iter().find_map(|name| map.get(*name));
    let host = get(["host", "worker-host"])?.as_str()?;
    let port = get(["port", "worker-port"])?.as_u64()?;
    worker(host, u16::try_from(port).ok())
}

fn worker(host: &str, port: Option<u16>) -> Option<Worker> {
    let port = port.filter(|port| *port > 0)?;
    let host = host.to_owned();
    (!host.is_empty()).then_some(Worker { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Locations> {
        let mut locations = Locations::default();
        locations.add(text.as_bytes(), "where")?;
        Ok(locations)
    }

    #[test]
    fn all_forms_say_the_same() {
        let answers = [
            r#"{"success": 1, "location": [
                {"chunk": 7, "worker": "db01", "host": "w1", "host_name": "x", "port": 25002,
                 "http_host": "w1", "http_port": 25004},
                {"chunk": 9, "host": "w2", "port": 25002}]}"#,
            r#"[{"chunk": 7, "worker-host": "w1", "worker-port": 25002},
                {"chunk": 9, "host": "w2", "port": 25002}]"#,
            r#"{"7": "w1:25002", "9": {"host": "w2", "port": 25002}}"#,
            "7,w1,25002\n9,w2,25002\n",
            "chunk,host,port\r\n7, w1, 25002\r\n9, w2, 25002",
        ];
        let expected = read(answers[0]).unwrap();
        assert_eq!(expected.of(Some(7))[0].port, 25002);
        assert!(expected.of(Some(8)).is_empty());
        for answer in answers {
            assert_eq!(read(answer).unwrap(), expected, "{answer}");
        }
    }

    #[test]
    fn regular_tables_go_to_all_workers() {
        let answers = [
            r#"{"locations": [{"worker": "a", "host": "w1", "port": 1},
                {"worker": "b", "host": "w2", "port": 2}]}"#,
            r#"{"regular": ["w1:1", "w2:2"]}"#,
            "regular,w1,1\nregular,w2,2\n",
        ];
        for answer in answers {
            let locations = read(answer).unwrap();
            assert_eq!(locations.of(None).len(), 2, "{answer}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, said) in [
            (
                r#"{"success": 0, "error": "no such database"}"#,
                "no such database",
            ),
            (r#"{"x": "w:1"}"#, "not a chunk's number"),
            (r#"{"7": "w"}"#, "chunk 7 has no worker's host and port"),
            (
                r#"[{"chunk": "7", "host": "w", "port": 1}]"#,
                "entry 1 has a chunk",
            ),
            (
                r#"[{"chunk": 7, "host": "w", "port": 70000}]"#,
                "entry 1 has no host",
            ),
            (
                "7,w,1\n8,w\n",
                "where, line 2: this is not chunk, host and port",
            ),
            ("{", "not JSON"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert!(error.hint_text().is_some());
        }
    }
}

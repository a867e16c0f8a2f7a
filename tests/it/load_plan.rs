//! `load-plan`: the stand-in of the ingest service takes its calls, and what is in MariaDB then is
//! what the manifest says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use serde_json::{Map, Value, json};

use super::harness::{Bench, words};
use super::ingest_calls::{ADMIN_KEY, KEY};
use super::ingest_service::{Service, WORKERS};
use super::mariadb::server;
use super::serve::{Serving, ask};
use super::stars::star_bench;

/// Carries a plan out, as `docs/ingest.md` tells how.
pub(crate) struct Interpreter {
    values: BTreeMap<String, Value>,
    workers: Vec<String>,
    by_chunk: BTreeMap<i64, String>,
    /// Descriptors of all contributions.
    contributions: Vec<Value>,
}

impl Interpreter {
    fn new(service: &Service) -> Self {
        let values = [
            ("controller", json!(service.controller)),
            ("czar", json!(service.czar)),
            ("auth_key", json!(KEY)),
            ("admin_auth_key", json!(ADMIN_KEY)),
        ];
        Self {
            values: values.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            workers: Vec::new(),
            by_chunk: BTreeMap::new(),
            contributions: Vec::new(),
        }
    }

    /// Makes all calls; stops at the first that goes wrong.
    fn run(&mut self, plan: &str) -> Result<(), String> {
        let calls: Vec<Value> = plan
            .lines()
            .skip(1)
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        calls.iter().try_for_each(|call| self.make(call))
    }

    fn make(&mut self, call: &Value) -> Result<(), String> {
        let url = call["url"].as_str().unwrap();
        if url.contains("${worker(*)}") {
            for worker in self.workers.clone() {
                self.make_one(call, &url.replace("${worker(*)}", &worker))?;
            }
            return Ok(());
        }
        self.make_one(call, url)
    }

    fn make_one(&mut self, call: &Value, url: &str) -> Result<(), String> {
        let url = self.filled(&json!(url));
        let method = call["method"].as_str().unwrap();
        let (kind, body) = self.body(call);
        let headers = [("Content-Type", &*kind)];
        loop {
            let answer = ask(method, url.as_str().unwrap(), &headers, &body);
            let answer: Value = serde_json::from_slice(&answer.body).unwrap();
            if answer["success"] != 1 {
                if call["may_fail"] == true {
                    return Ok(());
                }
                return Err(format!("{}: {}", call["step"], answer["error"]));
            }
            if !agrees(&answer, &call["until"]) {
                std::thread::sleep(std::time::Duration::from_millis(20));
                continue;
            }
            self.take(call, &answer);
            return match agrees(&answer, &call["expect"]) {
                true => Ok(()),
                false => Err(format!("{}: {answer}", call["step"])),
            };
        }
    }

    fn take(&mut self, call: &Value, answer: &Value) {
        for (name, pointer) in call["sets"].as_object().unwrap_or(&Map::new()) {
            let value = answer.pointer(pointer.as_str().unwrap()).unwrap();
            let url = |place: &Value| {
                format!(
                    "http://{}:{}",
                    place["http_host_name"].as_str().unwrap(),
                    place["http_port"]
                )
            };
            match name.as_str() {
                "worker(*)" => self.workers = value.as_array().unwrap().iter().map(url).collect(),
                "worker(chunk)" => {
                    let places = value.as_array().unwrap().iter();
                    let chunks = places.map(|place| (place["chunk"].as_i64().unwrap(), url(place)));
                    self.by_chunk.extend(chunks);
                }
                name => _ = self.values.insert(name.to_owned(), value.clone()),
            }
        }
        if let Some(one) = answer.get("contrib").filter(|one| one["async"] == 0) {
            self.contributions.push(one.clone());
        }
        if call["step"] == "contributions" {
            let databases = answer["databases"].as_object().unwrap();
            let shown = &databases.values().next().unwrap()["transactions"][0];
            let files = shown["contrib"]["files"].as_array().unwrap();
            self.contributions.extend(files.iter().cloned());
        }
    }

    fn body(&self, call: &Value) -> (String, Vec<u8>) {
        if let Some(parts) = call["parts"].as_array() {
            let mut body = Vec::new();
            for part in parts {
                let content = match part["file"].as_str() {
                    Some(url) => fs::read(url.strip_prefix("file://").unwrap()).unwrap(),
                    None => match self.filled(&part["value"]) {
                        Value::String(text) => text.into_bytes(),
                        other => other.to_string().into_bytes(),
                    },
                };
                body.extend(b"--edge\r\nContent-Disposition: form-data");
                body.extend(format!("; name={}", part["name"]).into_bytes());
                if let Some(name) = part.get("filename") {
                    let kind = part["content_type"].as_str().unwrap();
                    let head = format!("; filename={name}\r\nContent-Type: {kind}");
                    body.extend(head.into_bytes());
                }
                body.extend(b"\r\n\r\n");
                body.extend(content);
                body.extend(b"\r\n");
            }
            body.extend(b"--edge--\r\n");
            return ("multipart/form-data; boundary=edge".into(), body);
        }
        let mut body = self.filled(&call["body"]);
        if let Some(rows) = call.get("rows_from") {
            let command = rows["command"].as_array().unwrap();
            let words: Vec<&str> = command.iter().map(|word| word.as_str().unwrap()).collect();
            assert_eq!(words[0], "skyprep");
            let done = Command::new(env!("CARGO_BIN_EXE_skyprep"))
                .args(&words[1..])
                .current_dir("/")
                .output()
                .unwrap();
            assert!(
                done.status.success(),
                "{}",
                String::from_utf8_lossy(&done.stderr)
            );
            let mut whole: Value = serde_json::from_slice(&done.stdout).unwrap();
            whole
                .as_object_mut()
                .unwrap()
                .extend(body.as_object().unwrap().clone());
            body = whole;
        }
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        ("application/json".into(), body)
    }

    /// Fills templates in; a text that is nothing else becomes the value itself.
    fn filled(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => {
                for (name, value) in &self.values {
                    if *text == format!("${{{name}}}") {
                        return value.clone();
                    }
                }
                let mut text = text.clone();
                for (name, value) in &self.values {
                    let value = value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned);
                    text = text.replace(&format!("${{{name}}}"), &value);
                }
                if let Some((_, rest)) = text.split_once("${worker(") {
                    let chunk: i64 = rest.split_once(")}").unwrap().0.parse().unwrap();
                    text = text.replace(&format!("${{worker({chunk})}}"), &self.by_chunk[&chunk]);
                }
                assert!(!text.contains("${"), "{text}");
                json!(text)
            }
            Value::Array(all) => all.iter().map(|value| self.filled(value)).collect(),
            Value::Object(all) => all
                .iter()
                .map(|(name, value)| (name.clone(), self.filled(value)))
                .collect(),
            other => other.clone(),
        }
    }
}

fn agrees(answer: &Value, wanted: &Value) -> bool {
    let none = Map::new();
    let mut wanted = wanted.as_object().unwrap_or(&none).iter();
    wanted.all(|(pointer, value)| answer.pointer(pointer) == Some(value))
}

fn manifest_lines(manifest: &str) -> Vec<Value> {
    manifest
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Rows by table, chunk and kind: as the manifest says, and as the service answered.
fn compare(manifest: &str, contributions: &[Value]) {
    type Key = (String, i64, bool);
    let mut expected: BTreeMap<Key, Vec<u64>> = BTreeMap::new();
    for line in manifest_lines(manifest) {
        let key = (
            line["table"].as_str().unwrap().to_owned(),
            line["chunk"].as_i64().unwrap_or(0),
            line["overlap"] == true,
        );
        let copies = if line["chunk"].is_null() { WORKERS } else { 1 };
        let rows = line["rows"].as_u64().unwrap();
        expected.entry(key).or_default().extend(vec![rows; copies]);
    }
    let mut found: BTreeMap<Key, Vec<u64>> = BTreeMap::new();
    for one in contributions {
        assert_eq!(one["status"], "FINISHED", "{one}");
        assert_eq!(one["num_warnings"], 0, "{one}");
        assert_eq!(one["num_rows"], one["num_rows_loaded"], "{one}");
        let key = (
            one["table"].as_str().unwrap().to_owned(),
            one["chunk"].as_i64().unwrap(),
            one["overlap"] == 1,
        );
        found
            .entry(key)
            .or_default()
            .push(one["num_rows"].as_u64().unwrap());
    }
    for rows in expected.values_mut().chain(found.values_mut()) {
        rows.sort_unstable();
    }
    assert_eq!(found, expected);
}

/// Rows that MariaDB has, over all final tables of a table.
fn stored_rows(service: &Service, manifest: &str, table: &str, is_overlap: bool) -> u64 {
    let database = service.stored("stars");
    let lines = manifest_lines(manifest);
    let own = lines.iter().filter(|line| line["table"] == table);
    let own = own.filter(|line| (line["overlap"] == true) == is_overlap);
    let mut tables: Vec<String> = own
        .map(|line| match (line["chunk"].as_i64(), is_overlap) {
            (None, _) => format!("{table}_w0"),
            (Some(chunk), false) => format!("{table}_{chunk}"),
            (Some(chunk), true) => format!("{table}FullOverlap_{chunk}"),
        })
        .collect();
    tables.dedup();
    let script: String = tables
        .iter()
        .map(|name| format!("select count(*) from {database}.{name};\n"))
        .collect();
    let answer = server().client(&script).unwrap();
    answer
        .lines()
        .map(|line| line.parse::<u64>().unwrap())
        .sum()
}

fn rows_of(manifest: &str, table: &str, is_overlap: bool) -> u64 {
    let lines = manifest_lines(manifest);
    let own = lines.iter().filter(|line| line["table"] == table);
    own.filter(|line| (line["overlap"] == true) == is_overlap)
        .map(|line| line["rows"].as_u64().unwrap())
        .sum()
}

fn plan(bench: &Bench, options: &str) -> String {
    let line = format!("load-plan {options}");
    String::from_utf8(bench.run(words(&line)).ok().stdout).unwrap()
}

#[test]
fn the_star_pipeline_is_loaded_from_a_server_as_the_manifest_says() {
    let bench = star_bench();
    bench.run(words("run stars/prep.toml")).ok();
    let serving = Serving::start(&bench.path("stars/out"), "");
    let rebase = "manifest rebase stars/out/stars/manifest.jsonl --moved -o http.jsonl --to";
    bench.run(words(&format!("{rebase} {}", serving.url))).ok();
    let manifest = fs::read_to_string(bench.path("http.jsonl")).unwrap();
    assert!(!manifest.contains("file://"));
    let plan = plan(&bench, "http.jsonl --tables stars/tables --transactions 3");
    let service = Service::start();
    let mut interpreter = Interpreter::new(&service);
    interpreter.run(&plan).unwrap();
    compare(&manifest, &interpreter.contributions);
    for table in [
        "Star",
        "StarAstrometry",
        "StarPhotometry",
        "StarPair",
        "Designation",
        "Constellation",
    ] {
        for is_overlap in [false, true] {
            assert_eq!(
                stored_rows(&service, &manifest, table, is_overlap),
                rows_of(&manifest, table, is_overlap),
                "{table} {is_overlap}"
            );
        }
    }
    let done = service.done();
    assert_eq!(
        done.iter()
            .filter(|call| *call == "POST /ingest/trans")
            .count(),
        3
    );
    assert_eq!(done.last().unwrap(), "POST /ingest/table-stats");
    contribs_are_compared(&bench, &service, &interpreter.contributions);
    // The keys of all stars are in the director's index, each once.
    let stored = service.stored("stars");
    let keys = server().client(&format!("select count(*) from {stored}.Star__index"));
    assert_eq!(keys.unwrap(), "20000\n");
    let header: Value = serde_json::from_str(plan.lines().next().unwrap()).unwrap();
    assert_eq!(header["format"], "skyprep-load-plan");
    assert_eq!(header["calls"], plan.lines().count() - 1);
    assert_eq!(header["contributions"], 1799);
}

/// What the service tells is what the manifest says; where it is not, that is sent again.
fn contribs_are_compared(bench: &Bench, service: &Service, contributions: &[Value]) {
    let transactions: BTreeSet<u64> = contributions
        .iter()
        .map(|one| one["transaction_id"].as_u64().unwrap())
        .collect();
    let mut line = "verify http.jsonl".to_owned();
    for id in transactions {
        let controller = &service.controller;
        line += &format!(" --contribs {controller}/ingest/trans/{id}?contrib=1&contrib_long=1");
    }
    let told = bench.run(words(&line)).ok();
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(text.contains("1799 of 1799 loaded"), "{text}");
    let mut contributions = contributions.to_vec();
    let lost = contributions.remove(5);
    contributions[9]["num_rows_loaded"] = json!(0);
    contributions[9]["num_warnings"] = json!(3);
    bench.write(
        "told.json",
        json!({"success": 1, "contribs": contributions}).to_string(),
    );
    let line = "verify http.jsonl --contribs told.json --send-again rest.jsonl --json";
    let told = bench.run(words(line));
    told.failed(
        9,
        &[
            "what was loaded is not what the manifest says",
            "--send-again",
        ],
    );
    let report: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(report["missing"][0]["url"], lost["url"]);
    assert_eq!(report["contributions"], 1799);
    assert_eq!(report["clean"], false);
    bench.run(words(line)).failed(5, &["rest.jsonl", "--force"]);
    let told = bench.run(words(&format!("{line} --force")));
    told.failed(9, &["--send-again"]);
    let rest = fs::read_to_string(bench.path("rest.jsonl")).unwrap();
    assert!(rest.contains(lost["url"].as_str().unwrap()), "{rest}");
}

const DIRECTOR: &str = r#"{"table": "Object", "is_partitioned": 1, "director_table": "",
    "director_key": "id", "longitude_key": "ra", "latitude_key": "dec", "schema": [
    {"name": "id", "type": "BIGINT NOT NULL"}, {"name": "ra", "type": "DOUBLE NOT NULL"},
    {"name": "dec", "type": "DOUBLE NOT NULL"}, {"name": "name", "type": "CHAR(9)"},
    {"name": "chunkId", "type": "INT NOT NULL"}, {"name": "subChunkId", "type": "INT NOT NULL"}]}"#;
const REGULAR: &str = r#"{"table": "Filter", "is_partitioned": 0, "charset_name": "utf8mb4",
    "schema": [{"name": "name", "type": "VARCHAR(9)"}, {"name": "wave", "type": "DOUBLE"}]}"#;

/// A director and a regular table, staged in a folder, with table definitions.
fn small_bench(kinds: &[&str]) -> Bench {
    let bench = Bench::new();
    bench.write("tables/table_Object.json", DIRECTOR);
    bench.write("tables/Filter.json", REGULAR);
    bench.write(
        "x.txt",
        "1\t10\t20\ta\\\\b\\tc\n2\t10.001\t20\t\\N\n3\t200\t-20\t\"q\",'\n",
    );
    bench.write("f.txt", "g\u{e9}\t1e-7\nr\t\\N\n");
    let partition = "partition x.txt -o made --schema tables/table_Object.json --stripes 18 \
                     --sub-stripes 10 --overlap 0.01 --fields id,ra,dec,name";
    let stage = "stage f.txt site --table Filter --kind regular --charset utf8mb4";
    for kind in kinds {
        match *kind {
            "director" => {
                bench.run(words(partition)).ok();
                bench.run(words("stage made site --database d")).ok();
            }
            database => {
                bench
                    .run(words(&format!("{stage} --database {database}")))
                    .ok();
            }
        }
    }
    bench
}

#[test]
fn both_ways_of_sending_by_value_give_the_same_rows() {
    let bench = small_bench(&["director", "d"]);
    let manifest = fs::read_to_string(bench.path("site/d/manifest.jsonl")).unwrap();
    let mut seen = Vec::new();
    for way in ["", "--by-value csv", "--by-value json"] {
        let options = format!("site/d/manifest.jsonl --tables tables {way}");
        let service = Service::start();
        let mut interpreter = Interpreter::new(&service);
        interpreter.run(&plan(&bench, &options)).unwrap();
        compare(&manifest, &interpreter.contributions);
        let stored = service.stored("d");
        let chunks = manifest_lines(&manifest);
        let mut own = chunks.iter().filter(|line| line["overlap"] == false);
        let chunk = own.find_map(|line| line["chunk"].as_i64()).unwrap();
        let rows = server().client(&format!(
            "set names utf8mb4; use {stored}; select id, hex(name) from Object_{chunk} order by id;\n\
             select name, wave from Filter_w0 order by name;"
        ));
        seen.push(rows.unwrap());
    }
    assert!(seen[0].contains("g\u{e9}\t"), "{}", seen[0]);
    assert!(seen.iter().all(|rows| *rows == seen[0]), "{seen:?}");
}

#[test]
fn a_published_database_is_taken_back_and_loaded_anew() {
    let bench = small_bench(&["director", "d"]);
    let first = plan(&bench, "site/d/manifest.jsonl --tables tables");
    let service = Service::start();
    Interpreter::new(&service).run(&first).unwrap();
    // Rows can't be added, and nothing can be registered again.
    let refused = Interpreter::new(&service).run(&first).unwrap_err();
    assert!(refused.contains("already exists"), "{refused}");
    let without_database: String = first
        .lines()
        .filter(|line| !line.contains("\"step\":\"database\""))
        .map(|line| format!("{line}\n"))
        .collect();
    let refused = Interpreter::new(&service)
        .run(&without_database)
        .unwrap_err();
    assert!(refused.contains("already published"), "{refused}");
    let again = plan(&bench, "site/d/manifest.jsonl --tables tables --published");
    let mut interpreter = Interpreter::new(&service);
    interpreter.run(&again).unwrap();
    let manifest = fs::read_to_string(bench.path("site/d/manifest.jsonl")).unwrap();
    compare(&manifest, &interpreter.contributions);
    let stored = service.stored("d");
    let rows = server().client(&format!("select count(*) from {stored}.Object__index"));
    assert_eq!(rows.unwrap(), "3\n");
}

#[test]
fn indexes_come_when_all_is_published() {
    let bench = small_bench(&["director"]);
    bench.write(
        "db.json",
        r#"{"database": "d", "auto_build_secondary_index": 0, "auth_key": "x"}"#,
    );
    bench.write(
        "idx.json",
        r#"{"table": "Object", "index": "IDX_id", "spec": "DEFAULT", "comment": "key",
            "columns": [{"column": "id", "length": 0, "ascending": 1}]}"#,
    );
    let options = "site/d/manifest.jsonl --tables tables --database-json db.json --index idx.json \
                   --api-version 55";
    let text = plan(&bench, options);
    assert!(!text.contains("\"x\""), "a key is in the plan");
    let service = Service::start();
    Interpreter::new(&service).run(&text).unwrap();
    let done = service.done();
    let after: Vec<&str> = done
        .iter()
        .map(String::as_str)
        .skip_while(|c| *c != "PUT /ingest/database/d")
        .collect();
    assert_eq!(
        after[1..],
        [
            "POST /ingest/index/secondary",
            "POST /replication/sql/index",
            "POST /ingest/table-stats"
        ]
    );
    let stored = service.stored("d");
    let rows = server().client(&format!("select count(*) from {stored}.Object__index"));
    assert_eq!(rows.unwrap(), "3\n");
    let other = plan(&bench, &options.replace("55", "56"));
    let refused = Interpreter::new(&Service::start()).run(&other).unwrap_err();
    assert!(refused.contains("version"), "{refused}");
}

#[test]
fn small_tables_go_to_the_frontend() {
    let bench = small_bench(&["director", "user_me"]);
    for form in ["csv", "json"] {
        let options =
            format!("site/user_me/manifest.jsonl --tables tables --api czar --by-value {form}");
        let service = Service::start();
        Interpreter::new(&service)
            .run(&plan(&bench, &options))
            .unwrap();
        let stored = service.stored("user_me");
        let rows = server().client(&format!(
            "set names utf8mb4; select name from {stored}.Filter order by name"
        ));
        assert_eq!(rows.unwrap(), "g\u{e9}\nr\n");
    }
    let run = |line: &str| bench.run(words(line));
    let czar = "--tables tables --api czar";
    run(&format!("load-plan site/user_me/manifest.jsonl {czar}")).failed(2, &["--by-value"]);
    run(&format!(
        "load-plan site/d/manifest.jsonl {czar} --by-value csv"
    ))
    .failed(2, &["user_<name>"]);
    // Without chunks Qserv publishes nothing.
    run("load-plan site/user_me/manifest.jsonl --tables tables").failed(2, &["no chunks", "czar"]);
}

#[test]
fn the_stand_in_refuses_what_the_service_refuses() {
    let bench = small_bench(&["director", "d"]);
    let text = plan(&bench, "site/d/manifest.jsonl --tables tables");
    let refusal = |plan: &str| Interpreter::new(&Service::start()).run(plan).unwrap_err();
    let without = |step: &str| -> String {
        let is_other = |line: &&str| !line.contains(&format!("\"step\":\"{step}\""));
        text.lines()
            .filter(is_other)
            .map(|line| format!("{line}\n"))
            .collect()
    };
    for (step, said) in [
        ("database", "unknown database"),
        ("table", "no such table"),
        ("commit", "uncommitted"),
    ] {
        let refused = refusal(&without(step));
        assert!(refused.contains(said), "{step}: {refused}");
    }
    for (from, to, said) in [
        ("\"${auth_key}\"", "\"other\"", "key"),
        ("\\\\t\"", "\\t\"", "not allowed"),
        (
            "\"fields_escaped_by\":\"\\\\\\\\\"",
            "\"fields_escaped_by\":\"\\\\\"",
            "not allowed",
        ),
        ("\"subChunkId\"", "\"sub_chunk\"", "subChunkId"),
        ("BIGINT NOT NULL", "TEXT NOT NULL", "prohibited"),
        ("/ingest/file-async", "/ingest/file-sync", "no service"),
        ("\"num_stripes\":18", "\"num_stripes\":2", "not valid"),
        ("\"url\":\"file:///", "\"url\":\"s3://", "unsupported"),
        ("chunk_", "chunks_", "READ_FAILED"),
        ("CHAR(9)", "BIGINT", "LOAD_FAILED"),
    ] {
        let wrong = text.replace(from, to);
        assert_ne!(wrong, text, "{from}");
        let refused = refusal(&wrong);
        // Statuses are counted, so all of them are named.
        let is_none = refused.contains(&format!("\"{said}\":0"));
        assert!(refused.contains(said) && !is_none, "{from}: {refused}");
    }
    // A chunk goes to its own worker; another one knows nothing of it. Chunks are dealt out in turn.
    let manifest = fs::read_to_string(bench.path("site/d/manifest.jsonl")).unwrap();
    let lines = manifest_lines(&manifest);
    let chunks: BTreeSet<i64> = lines
        .iter()
        .filter_map(|line| line["chunk"].as_i64())
        .collect();
    let mut chunks = chunks.into_iter();
    let (first, last) = (chunks.next().unwrap(), chunks.next().unwrap());
    let swapped = text.replace(
        &format!("${{worker({first})}}"),
        &format!("${{worker({last})}}"),
    );
    let refused = refusal(&swapped);
    assert!(refused.contains("not allocated"), "{refused}");
}

#[test]
fn what_the_service_would_refuse_is_refused_before() {
    let bench = small_bench(&["director", "d"]);
    let manifest = fs::read_to_string(bench.path("site/d/manifest.jsonl")).unwrap();
    let run = |options: &str| bench.run(words(&format!("load-plan {options}")));
    let line = "m.jsonl --tables tables";
    for (from, to, said) in [
        ("file:///", "s3://bucket/", &["s3://", "--public-url"][..]),
        ("file:///", "file://host/", &["another host"]),
        ("file:///", "ftp://h/", &["only file://"]),
        ("\"\\t\"", "\"|\"", &["fields_terminated_by", "\"|\""]),
        ("\"chunk\":", "\"chunk\":9999", &["no chunk 9999"]),
        ("\"overlap\":false", "\"overlap\":true", &["overlap"]),
        (
            "\"table\":\"Filter\"",
            "\"table\":\"Other\"",
            &["no definition of table Other"],
        ),
    ] {
        let wrong = manifest.replace(from, to);
        assert_ne!(wrong, manifest, "{from}");
        bench.write("m.jsonl", wrong);
        let outcome = run(line);
        assert_ne!(outcome.code, 0, "{from}");
        let code = outcome.code;
        outcome.failed(code, said);
    }
    let cut = manifest.lines().next().unwrap().to_owned() + "\n";
    bench.write("m.jsonl", cut);
    run(line).failed(9, &["ends after 0 contributions"]);
    bench.write("m.jsonl", &manifest);
    for (from, to, said) in [
        ("\"director_key\": \"id\",", "", "needs director_key"),
        ("\"longitude_key\": \"ra\",", "", "needs longitude_key"),
        (
            "\"director_key\": \"id\"",
            "\"director_key\": \"ID\"",
            "column ID",
        ),
        ("\"subChunkId\"", "\"sub\"", "column subChunkId"),
        ("\"is_partitioned\": 1", "\"is_partitioned\": 0", "director"),
        (
            "\"director_table\": \"\"",
            "\"director_table\": \"X\"",
            "director",
        ),
    ] {
        bench.write("tables/table_Object.json", DIRECTOR.replace(from, to));
        run(line).failed(2, &[said]);
    }
    bench.write(
        "tables/table_Object.json",
        DIRECTOR.replace("CHAR(9)", "TEXT"),
    );
    run(line).failed(1, &["name", "ingest server refuses"]);
    bench.write("tables/table_Object.json", DIRECTOR);
    bench.write("db.json", r#"{"database": "d", "num_stripes": 85}"#);
    run(&format!("{line} --database-json db.json")).failed(2, &["num_stripes", "85", "18"]);
    run(&format!("{line} --transactions 9000")).failed(2, &["8192"]);
    run("m.jsonl --tables nowhere").failed(3, &["nowhere"]);
    bench.write("plan.jsonl", "mine");
    run(&format!("{line} -o plan.jsonl")).failed(5, &["plan.jsonl", "--force"]);
    run(&format!("{line} -o plan.jsonl -f")).ok();
    let mode = |name: &str| fs::metadata(bench.path(name)).unwrap().mode() & 0o777;
    assert_ne!(mode("plan.jsonl"), 0o600);
    // Signed URLs are for the owner, and are told of once they have ended.
    for (end, is_told) in [("2020-01-01", true), ("2999-01-01", false)] {
        let header = format!("{{\"urls_expire\":\"{end}T00:00:00Z\",");
        bench.write("m.jsonl", manifest.replacen('{', &header, 1));
        let export = "manifest export m.jsonl --to urls --table Object -o o.urls -f";
        for (line, made) in [
            (format!("load-plan {line} -o plan.jsonl -f"), "plan.jsonl"),
            (export.to_owned(), "o.urls"),
        ] {
            let outcome = bench.run(words(&line)).ok();
            let told = "m.jsonl ended at 2020-01-01T00:00:00Z; skyprep manifest presign";
            assert_eq!(outcome.stderr.contains(told), is_told, "{}", outcome.stderr);
            assert_eq!(mode(made), 0o600);
        }
    }
    // They are in the plan and in no message.
    let signed = manifest.replace(".txt\"", ".txt?X-Amz-Signature=abcdef\"");
    bench.write("m.jsonl", signed.replace("file://", "s3:/"));
    let outcome = run(line);
    assert!(
        outcome.code == 2 && !outcome.stderr.contains("abcdef"),
        "{}",
        outcome.stderr
    );
}

//! A stand-in of Qserv's ingest service that is as strict as the real one, in the tests' process.
//!
//! It knows states of databases and transactions, allocates chunks to three workers, compares what
//! it is told with the lists of the real service, refuses calls without the key with `success: 0`,
//! and loads what it is given into the tests' MariaDB (`ingest_loads.rs`).

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::Request;
use serde_json::{Value, json};
use skyprep::partition::Partitioning;
use skyprep::partition::geometry::ChunkId;

use super::ingest_calls::{
    Call, check_admin, check_key, check_table, check_version, is_director, number, text,
};
use super::ingest_loads::{
    Load, Loader, Table, final_table, finish, index_of_keys, rows_of_json, spelled_dialect,
};
use super::mariadb::server;

pub(crate) const WORKERS: usize = 3;

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Role {
    Controller,
    Worker(usize),
    Czar,
}

#[derive(Debug, Default)]
struct Database {
    partitioning: Option<Partitioning>,
    is_published: bool,
    builds_index: bool,
    tables: BTreeMap<String, Table>,
    /// Which worker has a chunk.
    chunks: BTreeMap<i32, usize>,
}

#[derive(Debug)]
struct Transaction {
    database: String,
    state: &'static str,
}

#[derive(Debug, Default)]
struct State {
    databases: BTreeMap<String, Database>,
    transactions: BTreeMap<u64, Transaction>,
    /// Descriptors of contributions, by number.
    contributions: Vec<Value>,
    /// Calls that went well, in order.
    done: Vec<String>,
}

/// The service; it lives until the tests end.
pub(crate) struct Service {
    pub(crate) controller: String,
    pub(crate) czar: String,
    workers: Vec<String>,
    /// What names of databases begin with in MariaDB, where the other tests have theirs.
    prefix: String,
    state: Arc<Mutex<State>>,
    queue: Mutex<Sender<Load>>,
}

type Reply = Result<Value, String>;

impl Service {
    pub(crate) fn start() -> Arc<Self> {
        static SERVICES: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("i{}_", SERVICES.fetch_add(1, Ordering::Relaxed));
        let listener = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            (listener, url)
        };
        let (controller, czar) = (listener(), listener());
        let workers: Vec<_> = (0..WORKERS).map(|_| listener()).collect();
        let state = Arc::new(Mutex::new(State::default()));
        let (queue, coming) = channel();
        let loaded = Arc::clone(&state);
        std::thread::spawn(move || {
            Loader::default().run(&coming, &mut |number, result| {
                let mut state = loaded.lock().unwrap();
                finish(&mut state.contributions[number], result);
            });
        });
        let service = Arc::new(Self {
            controller: controller.1,
            czar: czar.1,
            workers: workers.iter().map(|(_, url)| url.clone()).collect(),
            prefix,
            state,
            queue: Mutex::new(queue),
        });
        let mut roles = vec![(controller.0, Role::Controller), (czar.0, Role::Czar)];
        let workers = workers.into_iter().enumerate();
        roles.extend(workers.map(|(number, (listener, _))| (listener, Role::Worker(number))));
        let shared = Arc::clone(&service);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                for (listener, role) in roles {
                    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                    let router = router(Arc::clone(&shared), role);
                    tokio::spawn(async move { axum::serve(listener, router).await });
                }
                std::future::pending::<()>().await;
            });
        });
        service
    }

    /// The calls that went well, such as `POST /ingest/trans`, in order.
    pub(crate) fn done(&self) -> Vec<String> {
        self.state().done.clone()
    }

    /// MariaDB's name of a database.
    pub(crate) fn stored(&self, database: &str) -> String {
        format!("{}{database}", self.prefix)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that failed with the lock has said why.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn answer(&self, role: Role, call: &Call) -> Value {
        let name = format!("{} /{}", call.method, call.path.join("/"));
        let key = match role {
            Role::Czar => Ok(()),
            Role::Controller | Role::Worker(_) => check_key(call),
        };
        let reply = key
            .and_then(|()| check_version(call))
            .and_then(|()| self.reply(role, call));
        let mut answer = match reply {
            Ok(answer) => {
                self.state().done.push(name);
                answer
            }
            Err(error) => {
                return json!({"success": 0, "error": error, "error_ext": {}, "warning": ""});
            }
        };
        let whole = answer.as_object_mut().unwrap();
        whole.insert("success".into(), json!(1));
        whole.insert("error".into(), json!(""));
        whole.insert("error_ext".into(), json!({}));
        whole.insert("warning".into(), json!("No version number was provided."));
        answer
    }

    fn reply(&self, role: Role, call: &Call) -> Reply {
        let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
        match (role, call.method.as_str(), &path[..]) {
            (Role::Controller, "POST", ["ingest", "database"]) => self.add_database(call),
            (Role::Controller, "POST", ["ingest", "table"]) => self.add_table(call),
            (Role::Controller, "POST", ["ingest", "trans"]) => self.start_transaction(call),
            (Role::Controller, "GET", ["ingest", "trans", id]) => self.show_transaction(id, call),
            (Role::Controller, "PUT", ["ingest", "trans", id]) => self.end_transaction(id, call),
            (Role::Controller, "POST", ["ingest", "chunks"]) => self.allocate(call),
            (Role::Controller, "GET", ["ingest", "regular"]) => self.locate_workers(call),
            (Role::Controller, "PUT", ["ingest", "database", name]) => self.publish(name),
            (Role::Controller, "PUT", ["replication", "config", "database", name]) => {
                self.unpublish(name, call)
            }
            (Role::Controller, "DELETE", ["ingest", "table", database, table]) => {
                self.delete_table(database, table, call)
            }
            (Role::Controller, "POST", ["ingest", "index", "secondary"]) => self.index_keys(call),
            (Role::Controller, "POST", ["replication", "sql", "index"]) => self.add_index(call),
            (Role::Controller, "POST", ["ingest", "table-stats"]) => self.count_rows(call),
            (Role::Worker(worker), "POST", ["ingest", "file-async"]) => {
                self.contribute(worker, call, Source::Url, 1)
            }
            (Role::Worker(worker), "POST", ["ingest", "csv"]) => {
                self.contribute(worker, call, Source::File, 0)
            }
            (Role::Worker(worker), "POST", ["ingest", "data"]) => {
                self.contribute(worker, call, Source::Rows, 0)
            }
            (Role::Czar, "POST", ["ingest", "csv"]) => self.user_table(call, Source::File),
            (Role::Czar, "POST", ["ingest", "data"]) => self.user_table(call, Source::Rows),
            (role, method, path) => Err(format!("{role:?} has no service {method} {path:?}")),
        }
    }

    fn add_database(&self, call: &Call) -> Reply {
        let name = text(&call.body, "database")?;
        let partitioning = Partitioning {
            stripes: number(&call.body, "num_stripes")? as u32,
            sub_stripes: number(&call.body, "num_sub_stripes")? as u32,
            overlap: call.body["overlap"]
                .as_f64()
                .ok_or("'overlap' is required")?,
        };
        let mut state = self.state();
        if state.databases.contains_key(&name) {
            return Err("the database already exists".into());
        }
        sql(&format!("create database {}", self.stored(&name)))?;
        let builds_index = call.body.get("auto_build_secondary_index") != Some(&json!(0));
        state.databases.insert(
            name.clone(),
            Database {
                partitioning: Some(partitioning),
                builds_index,
                ..Database::default()
            },
        );
        Ok(json!({"database": {"database": name}}))
    }

    fn add_table(&self, call: &Call) -> Reply {
        let body = &call.body;
        let (database_name, name) = (text(body, "database")?, text(body, "table")?);
        let mut state = self.state();
        let database = state.database(&database_name)?;
        if database.is_published {
            return Err("the database is already published".into());
        }
        if database.tables.contains_key(&name) {
            return Err("table already exists".into());
        }
        let known = |name: &str| {
            let known = database.tables.get(name);
            known.is_some_and(|known| is_director(&known.json))
        };
        check_table(&known, &database_name, &name, body)?;
        let table = Table {
            json: body.clone(),
            is_published: false,
        };
        // The real service makes the tables of the dummy chunk now; a director's columns must also
        // do for tables in memory.
        let stored = self.stored(&database_name);
        let mut script = format!("use {stored};\n");
        let is_partitioned = body["is_partitioned"] == 1;
        if is_partitioned {
            script += &table.ddl(&final_table(&name, Some(1_234_567_890), false), "MyISAM");
            script += &table.ddl(&final_table(&name, Some(1_234_567_890), true), "MyISAM");
        }
        if is_director(body) {
            script += &table.ddl("in_memory", "MEMORY");
            script += "drop table in_memory;\n";
        }
        sql(&script)?;
        database.tables.insert(name, table);
        Ok(json!({"database": {"database": database_name}}))
    }

    fn start_transaction(&self, call: &Call) -> Reply {
        let name = text(&call.body, "database")?;
        let mut state = self.state();
        if state.database(&name)?.is_published {
            return Err("the database is already published".into());
        }
        let id = 84 + state.transactions.len() as u64;
        let transaction = Transaction {
            database: name.clone(),
            state: "STARTED",
        };
        state.transactions.insert(id, transaction);
        Ok(shown_transaction(&name, id, "STARTED"))
    }

    fn show_transaction(&self, id: &str, call: &Call) -> Reply {
        let id = id.parse().map_err(|_| "no number")?;
        let state = self.state();
        let transaction = state.transactions.get(&id).ok_or("no such transaction")?;
        let mut answer = shown_transaction(&transaction.database, id, transaction.state);
        let contributions = state.contributions.iter();
        let own: Vec<&Value> = contributions
            .filter(|one| one["transaction_id"] == id)
            .collect();
        let statuses = [
            "IN_PROGRESS",
            "CREATE_FAILED",
            "START_FAILED",
            "READ_FAILED",
            "LOAD_FAILED",
            "CANCELLED",
            "FINISHED",
        ];
        let count = |status: &str| own.iter().filter(|one| one["status"] == status).count();
        let by_status: BTreeMap<&str, usize> = statuses
            .iter()
            .map(|status| (*status, count(status)))
            .collect();
        let is_asked = |name: &str| call.query.get(name).is_some_and(|flag| flag == "1");
        if is_asked("contrib") {
            let shown = &mut answer["databases"][&transaction.database]["transactions"][0];
            shown["contrib"] = json!({"summary": {"num_files_by_status": by_status}, "files": []});
            if is_asked("contrib_long") {
                shown["contrib"]["files"] = json!(own);
            }
        }
        Ok(answer)
    }

    fn end_transaction(&self, id: &str, call: &Call) -> Reply {
        let id: u64 = id.parse().map_err(|_| "no number")?;
        let mut state = self.state();
        let name = state.started(id)?.to_owned();
        let is_abort = match call.query.get("abort").map(String::as_str) {
            Some("0") => false,
            Some(_) => true,
            None => return Err("'abort' is required in the query".into()),
        };
        let stored = self.stored(&name);
        let own = state.contributions.iter();
        let own = own
            .filter(|one| one["transaction_id"] == id)
            .cloned()
            .collect::<Vec<_>>();
        if own.iter().any(|one| one["status"] == "IN_PROGRESS") {
            return Err("contributions are in progress".into());
        }
        let database = state.database(&name)?;
        let mut script = format!("use {stored};\n");
        if is_abort {
            for one in &own {
                let table = one["final_table"].as_str().unwrap();
                script += &format!("delete from {table} where qserv_trans_id = {id};\n");
            }
        } else if database.builds_index {
            script += &index_of_keys(&database.tables, &own, id);
        }
        let done = sql(&script);
        let state_now = match (&done, is_abort) {
            (Ok(_), true) => "ABORTED",
            (Ok(_), false) => "FINISHED",
            (Err(_), true) => "ABORT_FAILED",
            (Err(_), false) => "FINISH_FAILED",
        };
        state.transactions.get_mut(&id).unwrap().state = state_now;
        done.map(|_| shown_transaction(&name, id, state_now))
    }

    fn allocate(&self, call: &Call) -> Reply {
        let mut state = self.state();
        let name = state
            .started(number(&call.body, "transaction_id")?)?
            .to_owned();
        let database = state.database(&name)?;
        let chunker = database.partitioning.unwrap().chunker().unwrap();
        let mut locations = Vec::new();
        for chunk in call.body["chunks"]
            .as_array()
            .ok_or("'chunks' is required")?
        {
            let chunk = chunk.as_i64().ok_or("chunks are numbers")? as i32;
            if chunker.dense_index(ChunkId(chunk)).is_none() {
                return Err(format!("chunk {chunk} is not valid"));
            }
            let next = database.chunks.len() % WORKERS;
            let worker = *database.chunks.entry(chunk).or_insert(next);
            let mut location = self.location(worker);
            location["chunk"] = json!(chunk);
            locations.push(location);
        }
        Ok(json!({"location": locations}))
    }

    fn locate_workers(&self, call: &Call) -> Reply {
        let mut state = self.state();
        state.started(number(&call.body, "transaction_id")?)?;
        let all: Vec<Value> = (0..WORKERS).map(|worker| self.location(worker)).collect();
        Ok(json!({"locations": all}))
    }

    fn location(&self, worker: usize) -> Value {
        let (_, address) = self.workers[worker].split_once("://").unwrap();
        let (host, port) = address.split_once(':').unwrap();
        let port: u16 = port.parse().unwrap();
        json!({"worker": format!("w{worker}"), "host": host, "host_name": host, "port": 25002,
            "http_host": host, "http_host_name": host, "http_port": port})
    }

    fn publish(&self, name: &str) -> Reply {
        let mut state = self.state();
        let transactions = state.transactions.values();
        let mut own = transactions.filter(|transaction| transaction.database == name);
        let is_open = own.any(|one| !matches!(one.state, "FINISHED" | "ABORTED"));
        let database = state.database(name)?;
        if database.is_published {
            return Err("the database is already published".into());
        }
        if is_open {
            return Err("database has uncommitted transactions".into());
        }
        if database.chunks.is_empty() {
            return Err("the database doesn't have any chunks".into());
        }
        database.is_published = true;
        for table in database.tables.values_mut() {
            table.is_published = true;
        }
        Ok(json!({"database": {"database": name, "is_published": 1}}))
    }

    fn unpublish(&self, name: &str, call: &Call) -> Reply {
        check_admin(call)?;
        self.state().database(name)?.is_published = false;
        Ok(json!({}))
    }

    fn delete_table(&self, database: &str, table: &str, call: &Call) -> Reply {
        let stored = self.stored(database);
        let mut state = self.state();
        let known = state.database(database)?;
        if known.tables.get(table).ok_or("no such table")?.is_published {
            check_admin(call)?;
        }
        let query = format!(
            "select table_name from information_schema.tables where table_schema = '{stored}' \
             and (table_name regexp '^{table}(FullOverlap)?(_[0-9]+)?$' \
             or table_name = '{table}__index')"
        );
        let drops: String = sql(&query)?
            .lines()
            .map(|found| format!("drop table {stored}.{found};\n"))
            .collect();
        sql(&drops)?;
        known.tables.remove(table);
        Ok(json!({}))
    }

    fn index_keys(&self, call: &Call) -> Reply {
        let name = text(&call.body, "database")?;
        let table = text(&call.body, "director_table")?;
        let stored = self.stored(&name);
        let mut state = self.state();
        let all = state.contributions.clone();
        let database = state.database(&name)?;
        let known = database.tables.get(&table).ok_or("no such table")?;
        if !known.is_published {
            return Err("the table is not published".into());
        }
        let rebuild = match call.body["rebuild"].as_u64() {
            Some(0) | None => "",
            Some(_) => &*format!("drop table if exists {table}__index;\n"),
        };
        let script = index_of_keys(&database.tables, &all, 0);
        sql(&format!("use {stored};\n{rebuild}{script}"))?;
        Ok(json!({}))
    }

    fn add_index(&self, call: &Call) -> Reply {
        let name = text(&call.body, "database")?;
        let table = text(&call.body, "table")?;
        let index = text(&call.body, "index")?;
        let unique = match text(&call.body, "spec")?.as_str() {
            "DEFAULT" => "",
            "UNIQUE" => "unique",
            other => return Err(format!("unknown spec {other}")),
        };
        let columns = call.body["columns"]
            .as_array()
            .ok_or("'columns' is required")?;
        let columns: Result<Vec<String>, String> = columns
            .iter()
            .map(|column| text(column, "column"))
            .collect();
        let columns = columns?.join(", ");
        let stored = self.stored(&name);
        let mut state = self.state();
        if !state.database(&name)?.is_published {
            return Err("the database is not published".into());
        }
        let is_overlap = call.body["overlap"] == 1;
        let files = state.contributions.iter();
        let files = files.filter(|one| one["database"] == name && one["table"] == table);
        let mut tables: Vec<&str> = files
            .filter(|one| (one["overlap"] == 1) == is_overlap)
            .map(|one| one["final_table"].as_str().unwrap())
            .collect();
        tables.sort_unstable();
        tables.dedup();
        let script: String = tables
            .iter()
            .map(|table| {
                format!("create {unique} index {index} on {stored}.{table} ({columns});\n")
            })
            .collect();
        sql(&script)?;
        Ok(json!({}))
    }

    fn count_rows(&self, call: &Call) -> Reply {
        let name = text(&call.body, "database")?;
        let table = text(&call.body, "table")?;
        let deploys = call.body["row_counters_deploy_at_qserv"] == 1;
        if deploys && call.body["row_counters_state_update_policy"] != "ENABLED" {
            return Err("'row_counters_deploy_at_qserv'=1 requires ENABLED".into());
        }
        let mut state = self.state();
        match state.database(&name)?.tables.contains_key(&table) {
            true => Ok(json!({})),
            false => Err("no such table".into()),
        }
    }

    fn contribute(&self, worker: usize, call: &Call, source: Source, is_async: u8) -> Reply {
        let body = &call.body;
        let transaction = number(body, "transaction_id")?;
        let table_name = text(body, "table")?;
        let mut chunk = number(body, "chunk")? as i32;
        let mut is_overlap = number(body, "overlap")? != 0;
        let mut state = self.state();
        let database_name = state.started(transaction)?.to_owned();
        let stored = self.stored(&database_name);
        let number = state.contributions.len();
        let database = state.database(&database_name)?;
        let table = database.tables.get(&table_name).ok_or("no such table")?;
        if table.is_published {
            return Err("the table is already published".into());
        }
        let is_partitioned = table.json["is_partitioned"] == 1;
        let target = if is_partitioned {
            if database.chunks.get(&chunk) != Some(&worker) {
                return Err(format!("chunk {chunk} is not allocated to this worker"));
            }
            final_table(&table_name, Some(chunk), is_overlap)
        } else {
            (chunk, is_overlap) = (0, false);
            // Each real worker has a MariaDB of its own.
            format!("{table_name}_w{worker}")
        };
        let (url, load) = self.load_of(call, source, table, &stored, &target, number)?;
        let load = Load {
            transaction,
            ..load
        };
        state.contributions.push(json!({
            "id": number, "async": is_async, "database": database_name, "table": table_name,
            "worker": format!("w{worker}"), "chunk": chunk, "overlap": u8::from(is_overlap),
            "transaction_id": transaction, "status": "IN_PROGRESS", "url": url,
            "final_table": target, "num_bytes": 0, "num_rows": 0, "num_rows_loaded": 0,
            "num_warnings": 0, "warnings": [], "retry_allowed": 0, "error": "",
        }));
        if is_async == 1 {
            self.queue.lock().unwrap().send(load).unwrap();
        } else {
            let contributions = &mut state.contributions;
            Loader::default().load(vec![load], &mut |number, result| {
                finish(&mut contributions[number], result);
            });
        }
        let contribution = &state.contributions[number];
        match contribution["error"].as_str() {
            Some("") => Ok(json!({"contrib": contribution})),
            error => Err(error.unwrap_or_default().to_owned()),
        }
    }

    fn load_of(
        &self,
        call: &Call,
        source: Source,
        table: &Table,
        stored: &str,
        target: &str,
        number: usize,
    ) -> Result<(String, Load), String> {
        let body = &call.body;
        let charset = body["charset_name"].as_str().unwrap_or("latin1").to_owned();
        let (url, dialect, bytes) = match source {
            Source::Url => (text(body, "url")?, spelled_dialect(body)?, None),
            Source::File => {
                let file = call.file.clone().ok_or("there is no file")?;
                ("data-csv://".to_owned(), spelled_dialect(body)?, Some(file))
            }
            Source::Rows => {
                let (dialect, bytes) = rows_of_json(body, &table.json["schema"])?;
                ("data-json://".to_owned(), dialect, Some(bytes))
            }
        };
        if !["file:///", "http://", "https://", "data-"]
            .iter()
            .any(|s| url.starts_with(s))
        {
            return Err(format!("unsupported url '{url}'"));
        }
        let load = Load {
            number,
            transaction: 0,
            ddl: format!(
                "use {stored};\n{}",
                table
                    .ddl(target, "MyISAM")
                    .replace("create table", "create table if not exists")
            ),
            table: target.to_owned(),
            url: url.clone(),
            bytes,
            dialect,
            charset,
        };
        Ok((url, load))
    }

    /// The frontend makes everything that a table needs.
    fn user_table(&self, call: &Call, source: Source) -> Reply {
        let body = &call.body;
        let (database, name) = (text(body, "database")?, text(body, "table")?);
        if !database.starts_with("user_") {
            return Err("user databases begin with user_".into());
        }
        let table = Table {
            json: body.clone(),
            is_published: false,
        };
        let stored = self.stored(&database);
        sql(&format!("create database if not exists {stored}"))?;
        let mut state = self.state();
        let number = state.contributions.len();
        let (_, load) = self.load_of(call, source, &table, &stored, &name, number)?;
        let mut outcome = json!({"error": ""});
        Loader::default().load(vec![load], &mut |_, result| finish(&mut outcome, result));
        if outcome["status"] != "FINISHED" || outcome["num_warnings"] != 0 {
            return Err(outcome.to_string());
        }
        state
            .databases
            .entry(database)
            .or_default()
            .tables
            .insert(name, table);
        Ok(json!({}))
    }
}

/// Where the rows of a contribution come from.
#[derive(Debug, Clone, Copy)]
enum Source {
    Url,
    File,
    Rows,
}

impl State {
    fn database(&mut self, name: &str) -> Result<&mut Database, String> {
        let known = self.databases.get_mut(name);
        known.ok_or_else(|| format!("unknown database '{name}'"))
    }

    /// The database of a transaction, if it is started.
    fn started(&mut self, id: u64) -> Result<&str, String> {
        let transaction = self.transactions.get(&id).ok_or("no such transaction")?;
        match transaction.state {
            "STARTED" => Ok(&transaction.database),
            state => Err(format!("transaction {id} is not active: {state}")),
        }
    }
}

fn shown_transaction(database: &str, id: u64, state: &str) -> Value {
    json!({"databases": {database: {"num_chunks": 0, "transactions": [
        {"id": id, "database": database, "state": state, "context": {}, "log": []}
    ]}}})
}

fn sql(statements: &str) -> Result<String, String> {
    server().client(&format!("set names utf8mb4;\n{statements}"))
}

fn router(service: Arc<Service>, role: Role) -> Router {
    Router::new().fallback(move |request: Request| {
        let service = Arc::clone(&service);
        async move {
            let call = Call::read(request).await;
            let answer = tokio::task::spawn_blocking(move || match call {
                Ok(call) => service.answer(role, &call),
                Err(error) => json!({"success": 0, "error": error, "error_ext": {}}),
            });
            answer.await.unwrap().to_string()
        }
    })
}

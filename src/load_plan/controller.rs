//! The calls of the replication controller and of the workers' ingest services.

use std::io;

use serde_json::{Map, Value, json};

use super::call::Call;
use super::listed::{Form, ListedFile};
use super::registration::Registration;
use super::transactions::Transaction;
use super::{DatabaseState, LoadPlan, Sending};
use crate::place::{ObjectUrl, PlaceUrl};
use crate::schema::TableKind;

type Emit<'e> = &'e mut dyn FnMut(Call) -> io::Result<()>;

/// Statuses of contributions that did not end well.
const FAILURES: [&str; 5] = [
    "CREATE_FAILED",
    "START_FAILED",
    "READ_FAILED",
    "LOAD_FAILED",
    "CANCELLED",
];

/// Emits all calls in order.
pub(super) fn calls(plan: &LoadPlan, emit: Emit<'_>) -> io::Result<()> {
    let database = &plan.listing.header.database;
    match plan.options.database {
        DatabaseState::New => {
            let body = with_key(Value::Object(plan.database.body.clone()));
            emit(to_controller("database", "POST", "/ingest/database").with_body(body))?;
        }
        DatabaseState::Published => take_back(plan, database, emit)?,
    }
    for table in &plan.tables {
        let body = with_key(table.body.clone());
        emit(to_controller("table", "POST", "/ingest/table").with_body(body))?;
    }
    for (at, transaction) in plan.transactions.iter().enumerate() {
        load(plan, at, transaction, emit)?;
    }
    let path = format!("/ingest/database/{database}");
    emit(to_controller("publish", "PUT", &path).with_body(with_key(json!({}))))?;
    after_publishing(plan, database, emit)
}

/// Rows can't be added to what is published, so whole tables are replaced.
fn take_back(plan: &LoadPlan, database: &str, emit: Emit<'_>) -> io::Result<()> {
    let key = || json!({"admin_auth_key": "${admin_auth_key}"});
    let path = format!("/replication/config/database/{database}");
    emit(to_controller("unpublish", "PUT", &path).with_body(key()))?;
    for table in plan.tables.iter().rev() {
        let path = format!("/ingest/table/{database}/{}", table.name);
        emit(Call {
            // A table that is new can't be deleted. If one could not for other reasons, it will
            // not be registered again either.
            may_fail: true,
            ..to_controller("delete-table", "DELETE", &path).with_body(key())
        })?;
    }
    Ok(())
}

fn load(plan: &LoadPlan, at: usize, transaction: &Transaction, emit: Emit<'_>) -> io::Result<()> {
    let database = &plan.listing.header.database;
    let files = &plan.listing.files;
    let rows: u64 = transaction.files.iter().map(|at| files[*at].rows).sum();
    let context = json!({
        "skyprep": env!("CARGO_PKG_VERSION"),
        "transaction": at + 1,
        "of": plan.transactions.len(),
        "contributions": transaction.files.len(),
        "rows": rows,
    });
    let start = with_key(json!({"database": database, "context": context}));
    emit(Call {
        sets: Some(json!({"trans_id": format!("/databases/{database}/transactions/0/id")})),
        ..to_controller("transaction", "POST", "/ingest/trans").with_body(start)
    })?;
    if transaction.has_regular {
        // Older services look for the transaction in the body, although this is a GET.
        let body = json!({"transaction_id": "${trans_id}"});
        let path = "/ingest/regular?transaction_id=${trans_id}";
        emit(Call {
            sets: Some(json!({"worker(*)": "/locations"})),
            ..to_controller("workers", "GET", path).with_body(body)
        })?;
    }
    if !transaction.chunks.is_empty() {
        let body = with_key(json!({"transaction_id": "${trans_id}", "chunks": transaction.chunks}));
        emit(Call {
            sets: Some(json!({"worker(chunk)": "/location"})),
            ..to_controller("chunks", "POST", "/ingest/chunks").with_body(body)
        })?;
    }
    for at in &transaction.files {
        emit(contribution(plan, &files[*at]))?;
    }
    if plan.options.sending == Sending::ByReference {
        emit(wait(database))?;
        // Only once, for there may be many.
        let path = "/ingest/trans/${trans_id}?contrib=1&contrib_long=1&include_warnings=1";
        emit(to_controller("contributions", "GET", path))?;
    }
    let path = "/ingest/trans/${trans_id}?abort=0";
    emit(to_controller("commit", "PUT", path).with_body(with_key(json!({}))))
}

/// Contributions by reference are fetched and loaded while other calls are made.
fn wait(database: &str) -> Call {
    let statuses =
        format!("/databases/{database}/transactions/0/contrib/summary/num_files_by_status");
    let none: Map<String, Value> = FAILURES
        .iter()
        .map(|status| (format!("{statuses}/{status}"), json!(0)))
        .collect();
    Call {
        until: Some(json!({format!("{statuses}/IN_PROGRESS"): 0})),
        expect: Some(Value::Object(none)),
        ..to_controller("wait", "GET", "/ingest/trans/${trans_id}?contrib=1")
    }
}

fn contribution(plan: &LoadPlan, file: &ListedFile) -> Call {
    let table = &plan.listing.tables[file.table];
    let form = &plan.listing.forms[file.form];
    let worker = match file.chunk {
        Some(chunk) => format!("${{worker({chunk})}}"),
        None => "${worker(*)}".to_owned(),
    };
    let mut body = Map::new();
    body.insert("transaction_id".into(), json!("${trans_id}"));
    body.insert("table".into(), json!(table.name));
    // The service wants both for regular tables too, and does not look at them.
    body.insert("chunk".into(), json!(file.chunk.unwrap_or(0)));
    body.insert("overlap".into(), json!(u8::from(file.is_overlap)));
    let call = |path: &str| Call::new("contribution", "POST", format!("{worker}{path}"));
    match plan.options.sending {
        Sending::ByReference => {
            body.insert("url".into(), json!(file.url));
            body.extend(form_of(form));
            let body = with_key(Value::Object(body));
            call("/ingest/file-async").with_body(body)
        }
        Sending::Csv => {
            body.extend(form_of(form));
            let finished = json!({"/contrib/status": "FINISHED", "/contrib/num_rows": file.rows,
                "/contrib/num_rows_loaded": file.rows, "/contrib/num_warnings": 0});
            Call {
                parts: Some(parts(with_key(Value::Object(body)), &file.url)),
                expect: Some(finished),
                ..call("/ingest/csv")
            }
        }
        Sending::Json => {
            let known = plan.tables.iter().find(|known| known.name == table.name);
            let finished = json!({"/contrib/status": "FINISHED", "/contrib/num_rows": file.rows,
                "/contrib/num_rows_loaded": file.rows, "/contrib/num_warnings": 0});
            Call {
                rows_from: known.map(|table| rows_from(&file.url, table, form)),
                expect: Some(finished),
                ..call("/ingest/data").with_body(with_key(Value::Object(body)))
            }
        }
    }
}

/// Dialect and character set as the service names them.
///
/// It compares texts, and knows TAB only as a backslash and a `t`, and so on; a TAB itself is
/// refused.
pub(super) fn form_of(form: &Form) -> Map<String, Value> {
    let spelled = form.dialect.spelled();
    let parts = [
        ("fields_terminated_by", spelled.fields_terminated_by),
        ("fields_enclosed_by", spelled.fields_enclosed_by),
        ("fields_escaped_by", spelled.fields_escaped_by),
        ("lines_terminated_by", spelled.lines_terminated_by),
        ("charset_name", form.charset.clone()),
    ];
    let parts = parts.into_iter();
    parts
        .map(|(name, text)| (name.to_owned(), json!(text)))
        .collect()
}

/// The parts of a multipart body: the file must be the last.
pub(super) fn parts(values: Value, url: &str) -> Vec<Value> {
    let mut parts: Vec<Value> = match values {
        Value::Object(values) => values
            .into_iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect(),
        _ => Vec::new(),
    };
    parts.push(json!({
        "name": "rows",
        "file": url,
        "filename": file_name(url),
        "content_type": "text/csv",
    }));
    parts
}

fn file_name(url: &str) -> String {
    let object = ObjectUrl::parse(url).ok();
    object.map_or_else(|| "rows.txt".to_owned(), |object| object.key)
}

/// The command whose output has the rows; the body's members are added to it.
pub(super) fn rows_from(url: &str, table: &Registration, form: &Form) -> Value {
    let path = match ObjectUrl::parse(url) {
        Ok(ObjectUrl {
            place: PlaceUrl::Folder(folder),
            key,
        }) => folder.join(key).display().to_string(),
        _ => url.to_owned(),
    };
    let schema = &table.definition.file;
    // The plan may be carried out elsewhere on this machine.
    let schema = std::path::absolute(schema).unwrap_or_else(|_| schema.clone());
    let schema = schema.display().to_string();
    let dialect = &form.dialect;
    let delimiter = match dialect.fields_terminated_by.as_str() {
        "\t" => "tab",
        delimiter => delimiter,
    };
    let quote = match dialect.fields_enclosed_by.as_str() {
        "" => "none",
        quote => quote,
    };
    json!({
        "file": url,
        "command": [
            "skyprep", "convert", path, "-o", "-", "--to", "json", "--schema", schema,
            "--in-delimiter", delimiter, "--in-quote", quote,
            "--in-charset", form.charset,
        ],
    })
}

fn after_publishing(plan: &LoadPlan, database: &str, emit: Emit<'_>) -> io::Result<()> {
    let rebuild = u8::from(plan.options.database == DatabaseState::Published);
    let directors = plan
        .tables
        .iter()
        .filter(|table| table.kind == TableKind::Director);
    for table in directors.filter(|_| !plan.database.builds_indexes()) {
        let mut body = json!({
            "database": database, "director_table": table.name, "rebuild": rebuild,
        });
        if let Some(local) = plan.database.body.get("local_load_secondary_index") {
            body["local"] = local.clone();
        }
        let path = "/ingest/index/secondary";
        emit(to_controller("director-index", "POST", path).with_body(with_key(body)))?;
    }
    for index in &plan.indexes {
        let path = "/replication/sql/index";
        emit(to_controller("index", "POST", path).with_body(with_key(index.clone())))?;
    }
    for table in &plan.tables {
        let body = json!({
            "database": database,
            "table": table.name,
            "overlap_selector": "CHUNK_AND_OVERLAP",
            "force_rescan": 1,
            "row_counters_state_update_policy": "ENABLED",
            "row_counters_deploy_at_qserv": 1,
        });
        let path = "/ingest/table-stats";
        emit(to_controller("row-counters", "POST", path).with_body(with_key(body)))?;
    }
    Ok(())
}

fn to_controller(step: &'static str, method: &'static str, path: &str) -> Call {
    Call::new(step, method, format!("${{controller}}{path}"))
}

fn with_key(mut body: Value) -> Value {
    body["auth_key"] = json!("${auth_key}");
    body
}

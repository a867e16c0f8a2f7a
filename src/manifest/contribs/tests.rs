//! Answers as the ingest service gives them, and what is made of them.

use serde_json::{Value, json};

use super::*;
use crate::manifest::listing_tests::{header, line};
use crate::manifest::{Contribution, Listing};

const BASE: &str = "http://h/d/T/";

fn manifest() -> Listing {
    let url = |name: &str| format!("{BASE}{name}");
    Listing::of(
        &header(),
        [
            line(&url("chunk_1.txt"), Some(1)),
            line(&url("chunk_1_overlap.txt"), Some(1)),
            line(&url("chunk_2.txt"), Some(2)),
            line(&url("000/chunk_2.txt"), Some(2)),
            line("http://h/d/R/R.txt", None),
        ],
    )
}

/// A descriptor of a file that was loaded rightly.
fn loaded(id: u64, of: &Contribution, worker: &str) -> Value {
    json!({
        "id": id, "async": 1, "database": "d", "table": of.table, "worker": worker,
        "chunk": of.chunk.unwrap_or(0), "overlap": u8::from(of.overlap), "transaction_id": 7,
        "status": "FINISHED", "create_time": 1_726_026_383_616_u64, "url": of.url,
        "http_headers": [], "dialect_input": {"fields_enclosed_by": "\\0"}, "num_bytes": of.bytes,
        "num_rows": of.rows, "num_rows_loaded": of.rows, "http_error": 0, "error": "",
        "retry_allowed": 0, "num_warnings": 0, "warnings": [], "failed_retries": [],
    })
}

fn all_loaded() -> Vec<Value> {
    let lines = manifest();
    let mut all: Vec<Value> = lines
        .contributions()
        .enumerate()
        .map(|(number, line)| loaded(number as u64 + 1, &line, "w1"))
        .collect();
    // Regular tables are on every worker.
    all.push(loaded(6, &lines.contribution(4).unwrap(), "w2"));
    all
}

fn transaction(state: &str, files: &[Value]) -> Value {
    json!({"success": 1, "warning": "", "error": "", "databases": {"d": {"num_chunks": 2,
        "is_published": 0, "transactions": [{"id": 7, "state": state, "database": "d",
            "context": {"status": "x", "table": "T", "url": "y"}, "log": [{"id": 1, "name": "x"}],
            "contrib": {"summary": {"num_chunk_files": 3, "table": {"T": {"num_rows": 8}}},
                "files": files}}]}}})
}

fn told(answers: &[Value]) -> Descriptors {
    let mut told = Descriptors::default();
    for answer in answers {
        told.add(answer.to_string().as_bytes(), "answer").unwrap();
    }
    told
}

fn report(answers: &[Value]) -> ContribReport {
    ContribReport::of(&manifest(), &told(answers))
}

/// The report on all files loaded but for one change.
fn with(number: usize, changes: &Value) -> ContribReport {
    let mut all = all_loaded();
    for (key, value) in changes.as_object().unwrap() {
        all[number][key.as_str()] = value.clone();
    }
    report(&[transaction("STARTED", &all)])
}

fn urls_again(report: &ContribReport) -> Vec<String> {
    let again = report.send_again(&manifest());
    again.contributions().map(|line| line.url).collect()
}

#[test]
fn all_wrappings_are_read() {
    let all = all_loaded();
    let one_by_one: Vec<Value> = all
        .iter()
        .map(|file| json!({"success": 1, "contrib": file}))
        .collect();
    for answers in [
        vec![transaction("FINISHED", &all)],
        vec![json!({"success": 1, "contribs": all})],
        vec![json!(all)],
        one_by_one,
    ] {
        let report = report(&answers);
        assert!(report.is_clean(), "{}", report.in_words());
        assert_eq!((report.loaded, report.attempts), (5, 6));
        assert_eq!(report.in_words(), "5 of 5 loaded\n");
        assert!(report.again.is_empty());
    }
}

#[test]
fn later_answers_replace_earlier_ones() {
    let mut before = all_loaded();
    before[0]["status"] = "IN_PROGRESS".into();
    let report = report(&[json!(before), json!({"contrib": all_loaded()[0]})]);
    assert!(report.is_clean(), "{}", report.in_words());
}

#[test]
fn answers_that_say_nothing_are_refused() {
    let fault = |text: &str| {
        let error = Descriptors::default()
            .add(text.as_bytes(), "answer")
            .unwrap_err();
        format!("{error}; {}", error.hint_text().unwrap_or_default())
    };
    assert!(fault("{").contains("answer: not JSON"));
    assert!(fault("{\"a\": 1}").contains("no contributions"));
    assert!(fault(r#"{"success": 0, "error": "no such id"}"#).contains("no such id"));
    let summary = transaction("STARTED", &[]).to_string();
    assert!(fault(&summary).contains("contrib_long=1"));
    let strange = json!([{"status": "NEW", "table": "T", "url": "u"}]).to_string();
    assert!(fault(&strange).contains("the status \"NEW\""));
    // A transaction that nothing was sent in yet.
    let empty = summary.replace("\"num_chunk_files\":3", "\"num_chunk_files\":0");
    let report = report(&[serde_json::from_str(&empty).unwrap()]);
    assert_eq!((report.missing.len(), report.again.len()), (5, 5));
}

#[test]
fn what_can_be_tried_again_is_told() {
    let failed = with(
        0,
        &json!({"status": "READ_FAILED", "retry_allowed": 1, "error": "timeout"}),
    );
    assert_eq!(failed.failed[0].remedy, Remedy::Retry);
    assert!(failed.again.is_empty() && failed.abort.is_empty() && !failed.is_complete());
    let words = failed.in_words();
    assert!(
        words.contains("the file could not be read: \"timeout\""),
        "{words}"
    );
    assert!(
        words.contains("retry (PUT /ingest/file-async/<id>): 1 at w1\n"),
        "{words}"
    );
}

#[test]
fn a_failed_load_spoils_its_transaction() {
    let changes = json!({"status": "LOAD_FAILED", "error": "bad value", "transaction_id": 8});
    let failed = with(1, &changes);
    assert_eq!(failed.failed[0].remedy, Remedy::Abort);
    assert_eq!(failed.abort.iter().copied().collect::<Vec<_>>(), [8]);
    assert_eq!(urls_again(&failed), [format!("{BASE}chunk_1_overlap.txt")]);
    // All that was loaded in the same transaction goes again.
    let failed = with(1, &json!({"status": "LOAD_FAILED"}));
    assert_eq!(failed.again.len(), 5);
    assert!(
        failed
            .in_words()
            .contains("abort transactions: 7\n5 contributions are to be sent")
    );
    // Even if the file was sent once more.
    let mut all = all_loaded();
    let mut spoiled = all[0].clone();
    spoiled["id"] = 70.into();
    spoiled["status"] = "LOAD_FAILED".into();
    all.push(spoiled);
    assert_eq!(report(&[json!(all)]).failed.len(), 1);
    // While a file that could not be read leaves nothing behind.
    all[6]["status"] = "READ_FAILED".into();
    assert!(report(&[json!(all)]).is_clean());
}

#[test]
fn committed_transactions_are_not_aborted() {
    let mut all = all_loaded();
    all[2]["num_rows_loaded"] = 1.into();
    all[4]["status"] = "READ_FAILED".into();
    all[4]["retry_allowed"] = 1.into();
    let report = report(&[transaction("FINISHED", &all)]);
    assert_eq!(
        report.wrong_rows[0].message,
        "1 rows were loaded, expected 2"
    );
    assert_eq!(report.wrong_rows[0].remedy, Remedy::Reload);
    assert!(report.abort.is_empty());
    assert_eq!(report.reload.iter().collect::<Vec<_>>(), ["T"]);
    // Nothing of the regular table came onto that worker, so it is just sent.
    assert_eq!(report.failed[0].remedy, Remedy::Send);
    assert_eq!(report.again.len(), 5);
}

#[test]
fn aborted_transactions_do_not_count() {
    let mut before = all_loaded();
    before[3]["status"] = "LOAD_FAILED".into();
    let mut after = all_loaded();
    for (number, file) in after.iter_mut().enumerate() {
        file["transaction_id"] = 9.into();
        file["id"] = (100 + number).into();
    }
    let report = report(&[transaction("ABORTED", &before), json!(after)]);
    assert!(report.is_clean(), "{}", report.in_words());
    assert_eq!(report.void, 6);
}

#[test]
fn rows_bytes_and_warnings_are_compared() {
    let cases = [
        (
            json!({"num_rows": 3, "num_rows_loaded": 3}),
            "3 rows were read, expected 2",
        ),
        (json!({"num_bytes": 19}), "19 bytes were read, expected 20"),
    ];
    for (changes, said) in cases {
        let report = with(0, &changes);
        assert_eq!(report.wrong_rows[0].message, said);
        assert_eq!((report.loaded, report.again.len()), (4, 5));
    }
    let warned = with(
        0,
        &json!({"num_warnings": 2, "warnings": [
        {"level": "Warning", "code": 1406, "message": "Data too long"}, {"code": 1}]}),
    );
    assert!(warned.is_complete() && !warned.is_clean());
    assert_eq!(warned.loaded, 5);
    let words = warned.in_words();
    assert!(
        words.contains("2 warnings, the first: Warning 1406: Data too long"),
        "{words}"
    );
}

#[test]
fn twice_is_twice_on_one_worker() {
    let mut all = all_loaded();
    let mut second = all[2].clone();
    second["id"] = 50.into();
    // A replica on another worker.
    second["worker"] = "w2".into();
    all.push(second);
    assert!(report(&[json!(all)]).is_clean());
    all[6]["worker"] = "w1".into();
    let twice = report(&[json!(all)]);
    assert_eq!(twice.twice[0].message, "it was loaded 2 times");
    assert_eq!(twice.twice[0].attempts.len(), 2);
    assert_eq!(twice.loaded, 4);
}

#[test]
fn regular_tables_must_be_everywhere() {
    let mut all = all_loaded();
    all[5]["table"] = "T".into();
    all[5]["url"] = format!("{BASE}chunk_1.txt").into();
    assert!(report(&[json!(all)]).missing.is_empty());
    let lines = Listing::of(
        &header(),
        [
            line("http://h/d/R/R.txt", None),
            line("http://h/d/R/000/R.txt", None),
        ],
    );
    let first = lines.contribution(0).unwrap();
    let second = lines.contribution(1).unwrap();
    let answer = json!([
        loaded(1, &first, "w1"),
        loaded(2, &first, "w2"),
        loaded(3, &second, "w1")
    ]);
    let report = ContribReport::of(&lines, &told(&[answer]));
    assert_eq!(report.missing[0].message, "it was not sent to w2");
    assert_eq!(report.again.iter().copied().collect::<Vec<_>>(), [1]);
}

#[test]
fn files_are_found_by_chunk_where_urls_differ() {
    // Behind another server; with a signature; sent with the request.
    let mut all = all_loaded();
    all[0]["url"] = "https://other/d/T/chunk_1.txt?X-Amz-Signature=1".into();
    all[2]["url"] = "https://other/x/d/T/chunk_2.txt".into();
    all[3]["url"] = "https://other/x/d/T/000/chunk_2.txt".into();
    all[4]["url"] = "data-csv".into();
    all[4]["num_bytes"] = 5.into();
    let moved = report(&[json!(all)]);
    assert!(moved.is_clean(), "{}", moved.in_words());
    // What belongs nowhere is told, and spoils the table.
    all[3]["url"] = "https://other/x/d/T/001/chunk_2.txt".into();
    let strange = report(&[json!(all)]);
    assert_eq!((strange.missing.len(), strange.unknown.len()), (1, 1));
    assert!(!strange.is_complete());
    all[3]["table"] = "X".into();
    assert_eq!(report(&[json!(all)]).elsewhere, 1);
}

#[test]
fn signatures_are_not_told() {
    let url = format!("{BASE}chunk_1.txt?X-Amz-Signature=5ec3e7");
    let report = with(
        0,
        &json!({"url": url, "status": "READ_FAILED",
        "error": format!("can't open {url}")}),
    );
    let all = format!("{} {} {report:?}", report.in_words(), report.as_json());
    assert!(
        all.contains("chunk_1.txt") && !all.contains("5ec3e7"),
        "{all}"
    );
}

#[test]
fn programs_get_all_findings() {
    let report = with(0, &json!({"status": "READ_FAILED", "retry_allowed": true}));
    let json = report.as_json();
    assert_eq!(json["format"], "skyprep-contribs");
    assert_eq!(json["complete"], false);
    assert_eq!(json["failed"][0]["remedy"], "retry");
    assert_eq!(json["failed"][0]["attempts"][0]["status"], "READ_FAILED");
    assert_eq!(json["failed"][0]["attempts"][0]["id"], 1);
    assert_eq!(json["missing"], json!([]));
}

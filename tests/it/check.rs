//! `check`: what it passes a director can be, and what it refuses for the engine's sake can't.

use std::fs;

use super::harness::{Bench, json_columns, words};
use super::mariadb::server;
use super::schema::{doubles, ids, open_to_all, parquet, statement_of, texts};

/// Table JSON of a director with these columns besides key and position.
fn director(columns: &[(&str, &str)]) -> String {
    format!(
        r#"{{"database": "d", "table": "T", "is_partitioned": 1, "director_table": "",
        "director_key": "id", "longitude_key": "ra", "latitude_key": "dec",
        "charset_name": "latin1", "collation_name": "latin1_swedish_ci", "schema": [
        {{"name": "id", "type": "BIGINT NOT NULL"}}, {{"name": "ra", "type": "DOUBLE NOT NULL"}},
        {{"name": "dec", "type": "DOUBLE NOT NULL"}}, {},
        {{"name": "chunkId", "type": "INT UNSIGNED NOT NULL"}},
        {{"name": "subChunkId", "type": "INT UNSIGNED NOT NULL"}}]}}"#,
        json_columns(columns)
    )
}

#[test]
fn each_column_is_named_with_who_refuses_it_and_what_would_do() {
    let bench = Bench::new();
    let long = "é".repeat(12);
    let too_long = "x".repeat(300);
    let columns = vec![
        ("id", ids(3), false),
        ("ra", doubles(&[1.0, 2.0, 3.0]), false),
        ("dec", doubles(&[1.0, 2.0, 3.0]), false),
        ("a", texts([Some("x"), None, Some(long.as_str())]), true),
        ("b", texts([None, Some("xy"), None]), true),
        ("c", texts([Some(too_long.as_str()), None, None]), true),
    ];
    bench.write("in/x.parquet", parquet(columns));
    let json = director(&[
        ("a", "TEXT"),
        ("b", "VARCHAR(9)"),
        ("c", "JSON"),
        ("d", "POINT"),
    ]);
    bench.write("T.json", json);
    let outcome = bench.run(words("check in --schema T.json"));
    outcome.failed(1, &["T.json: 4 columns that a director can't have"]);
    let said = String::from_utf8(outcome.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    let place = "in/x.parquet, row group 1, row 3, column a";
    assert_eq!(
        lines[0],
        format!(
            "error: column a: TEXT in a director table: Qserv's ingest server refuses it; CHAR(12) \
             would do (the longest value has 12 characters: {place})"
        )
    );
    assert!(
        lines[1].contains("VARCHAR(9)") && lines[1].contains("documentation"),
        "{said}"
    );
    assert!(lines[1].contains("CHAR(2) would do"), "{said}");
    assert!(
        lines[2].contains("MEMORY engine") && lines[2].contains("300 characters"),
        "{said}"
    );
    assert!(lines[3].ends_with("use BINARY(n)"), "{said}");

    let outcome = bench.run(words(
        "check in --schema T.json --charset binary --allow-varchar --json",
    ));
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    let found: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!(found["format"], "skyprep-check");
    assert_eq!(
        (&found["errors"], &found["warnings"]),
        (&3.into(), &1.into())
    );
    let first = &found["findings"][0];
    assert_eq!(first["use"], "CHAR(24)");
    assert_eq!(first["refused_by"], "server");
    assert_eq!((&first["longest"], &first["row"]), (&24.into(), &3.into()));
    assert_eq!(found["findings"][1]["severity"], "warning");
    assert_eq!(found["findings"][2]["refused_by"], "memory_engine");
    assert_eq!(found["findings"][2]["use"], serde_json::Value::Null);
}

#[test]
fn without_inputs_only_the_schema_is_looked_at() {
    let bench = Bench::new();
    bench.write("T.json", director(&[("a", "VARCHAR(9)")]));
    let outcome = bench.run(words("check --schema T.json"));
    outcome.failed(1, &["1 column", "it needs the data", "--allow-varchar"]);
    let allowed = bench
        .run(words("check --schema T.json --allow-varchar"))
        .ok();
    assert!(allowed.stdout.starts_with(b"warning: column a"));
    let child = bench.run(words("check --schema T.json --kind child"));
    child.failed(2, &["the schema says director"]);
    bench.write(
        "T.yaml",
        "tables: [{name: T, columns: [{name: a, datatype: text}]}]",
    );
    bench
        .run(words("check --schema T.yaml"))
        .failed(2, &["--kind"]);
    bench
        .run(words("check --schema T.yaml --kind regular"))
        .ok();
    bench
        .run(words("check --schema T.yaml --kind director"))
        .failed(1, &["1 column"]);
    bench
        .run(words("check --schema none.json"))
        .failed(3, &["none.json"]);
    bench.write("x.txt", "1\n");
    let text = bench.run(words("check x.txt --schema T.json"));
    text.failed(
        2,
        &[
            "x.txt: the text has 1 fields",
            "another number of columns",
            "--fields",
        ],
    );
}

#[test]
fn text_is_looked_at_too() {
    let bench = Bench::new();
    bench.write(
        "T.json",
        director(&[("a", "TEXT"), ("b", "VARBINARY(9)"), ("c", "VARCHAR(9)")]),
    );
    let rows = [
        "1\t1\t1\tx\t\u{e9}\u{e9}\t\\N",
        "2\t2\t2\t\u{e9}\u{e9}\\t\u{e9}\tz\t\\N",
    ];
    bench.write("x.txt", format!("{}\n", rows.join("\n")));
    let outcome = bench.run(words("check x.txt --schema T.json --charset utf8mb4"));
    outcome.failed(1, &["T.json: 3 columns"]);
    let said = String::from_utf8(outcome.stdout).unwrap();
    for expected in [
        "CHAR(4) would do (the longest value has 4 characters: x.txt, line 2, column a)",
        "BINARY(4) would do (the longest value has 4 bytes: x.txt, line 1, column b)",
        "CHAR(1) would do (it holds no value)",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    // From a pipe, each byte a character.
    let piped = bench.shell("cat x.txt | skyprep check - --schema T.json --in-charset latin1");
    piped.failed(1, &["3 columns"]);
    let said = String::from_utf8(piped.stdout).unwrap();
    assert!(
        said.contains("CHAR(7) would do (the longest value has 7 characters: stdin, line 2"),
        "{said}"
    );

    // A header in another order, without one of the columns; and Parquet beside.
    bench.write(
        "y.csv",
        "a,b,id,ra,dec\n\"p,q\nr\",,1,1,1\n,abcde,2,2,2\n\n",
    );
    let columns = vec![
        ("id", ids(1), false),
        ("a", texts([Some("123456")]), true),
        ("b", texts([Some("\u{e9}\u{e9}\u{e9}")]), true),
        ("c", ids(1), false),
    ];
    bench.write("z.parquet", parquet(columns));
    let line = "check y.csv --schema T.json --in-dialect rfc4180 --in-header --json";
    let found = |files: &str| -> Vec<serde_json::Value> {
        let outcome = bench.run(words(&line.replace("y.csv", files)));
        assert_eq!(outcome.code, 1, "{}", outcome.stderr);
        let found: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
        let findings = found["findings"].as_array().unwrap().iter();
        findings
            .map(|f| serde_json::json!([f["use"], f["longest"], f["file"], f["row"], f["line"]]))
            .collect()
    };
    assert_eq!(
        found("y.csv"),
        [
            serde_json::json!(["CHAR(5)", 5, "y.csv", null, 2]),
            serde_json::json!(["BINARY(5)", 5, "y.csv", null, 4]),
            serde_json::json!([null, null, null, null, null]),
        ]
    );
    let both = found("y.csv z.parquet");
    assert_eq!(
        both[1],
        serde_json::json!(["BINARY(6)", 6, "z.parquet", 1, null])
    );
    assert_eq!(
        both[0],
        serde_json::json!(["CHAR(6)", 6, "z.parquet", 1, null])
    );

    bench.write("x.txt", format!("{}\n1\t2\n", rows.join("\n")));
    bench
        .run(words("check x.txt --schema T.json --memory-limit 4MiB"))
        .failed(2, &["x.txt", "--memory-limit"]);
    let short = bench.run(words("check x.txt --schema T.json"));
    short.failed(1, &["x.txt, line 3", "found 2 fields, expected 6"]);
}

#[test]
fn partition_and_run_refuse_first_and_say_what_helps() {
    let bench = Bench::new();
    bench.write("T.json", director(&[("a", "TEXT"), ("b", "VARCHAR(9)")]));
    let line =
        "partition none.parquet -o out --schema T.json --stripes 18 --sub-stripes 10 --overlap 0";
    let outcome = bench.run(words(line));
    outcome.failed(
        1,
        &["column a: TEXT", "column b: VARCHAR(9)", "skyprep check"],
    );
    bench.write("x.txt", "");
    bench.write(
        "prep.toml",
        "[database]\nname = \"d\"\nstripes = 18\nsub_stripes = 10\noverlap = 0.01\n\
         [product.p]\ninputs = [\"x.txt\"]\n[table.T]\nproducts = [\"p\"]\nschema = \"T.json\"\n\
         [stage]\ndest = \"out\"\n",
    );
    let outcome = bench.run(words("run prep.toml"));
    outcome.failed(1, &["table T", "column a: TEXT", "skyprep check"]);
    assert!(!bench.path("out").exists());
}

/// Every type with a value, and whether `check` passes it.
const TYPES: [(&str, &str, Option<&str>); 39] = [
    ("TINYINT", "1", None),
    ("BOOL", "1", None),
    ("SMALLINT UNSIGNED", "1", None),
    ("MEDIUMINT", "1", None),
    ("INT UNSIGNED", "1", None),
    ("BIGINT UNSIGNED", "1", None),
    ("FLOAT", "1.5", None),
    ("DOUBLE NULL", "1.5", None),
    ("DOUBLE PRECISION", "1.5", None),
    ("DECIMAL(65,38)", "1.5", None),
    ("BIT(3)", "b'101'", None),
    ("YEAR", "2026", None),
    ("DATE", "'2026-01-02'", None),
    ("TIME(6)", "'01:02:03.456789'", None),
    ("DATETIME(6)", "'2026-01-02 01:02:03.456789'", None),
    ("TIMESTAMP(3) NULL", "'2026-01-02 01:02:03.456'", None),
    ("CHAR(255)", "'x'", None),
    ("NCHAR(20)", "'x'", None),
    ("BINARY(255)", "'x'", None),
    ("CHAR(20) CHARACTER SET utf8mb4", "'x'", None),
    ("ENUM('a','b')", "'b'", None),
    ("SET('a','b')", "'a,b'", None),
    ("UUID", "'123e4567-e89b-12d3-a456-426655440000'", None),
    ("INET6", "'::1'", None),
    ("VARCHAR(9)", "'x'", Some("documentation")),
    ("NVARCHAR(9)", "'x'", Some("documentation")),
    ("CHARACTER VARYING(9)", "'x'", Some("documentation")),
    ("VARBINARY(9)", "'x'", Some("documentation")),
    ("TINYTEXT", "'x'", Some("server")),
    ("TEXT", "'x'", Some("server")),
    ("MEDIUMTEXT", "'x'", Some("server")),
    ("LONGTEXT", "'x'", Some("server")),
    ("TINYBLOB", "'x'", Some("server")),
    ("BLOB", "'x'", Some("server")),
    ("LONGBLOB", "'x'", Some("server")),
    ("LONG VARCHAR", "'x'", Some("memory_engine")),
    ("LONG VARBINARY", "'x'", Some("memory_engine")),
    ("JSON", "'{}'", Some("memory_engine")),
    ("POINT", "point(1, 2)", Some("memory_engine")),
];

#[test]
fn the_rule_is_that_of_the_engines() {
    let bench = Bench::new();
    let names: Vec<String> = (0..TYPES.len())
        .map(|number| format!("c{number}"))
        .collect();
    let columns = names
        .iter()
        .zip(TYPES)
        .map(|(name, (declared, ..))| (name.as_str(), declared));
    bench.write("T.json", director(&columns.collect::<Vec<_>>()));
    let outcome = bench.run(words("check --schema T.json --json"));
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    let found: serde_json::Value = serde_json::from_slice(&outcome.stdout).unwrap();
    let findings = found["findings"].as_array().unwrap();
    let server = server();
    server.client("create database engines").unwrap();
    for (name, (declared, value, expected)) in names.iter().zip(TYPES) {
        let finding = findings
            .iter()
            .find(|finding| finding["column"] == name.as_str());
        let refuser = finding.map(|finding| finding["refused_by"].as_str().unwrap());
        assert_eq!(refuser, expected, "{declared}");
        for engine in ["MEMORY", "MyISAM"] {
            let outcome = server.client(&format!(
                "use engines; create or replace table t (a int, b {declared}) engine={engine} \
                 default charset latin1; insert into t values (1, {value}); \
                 select count(*), @@warning_count from t;"
            ));
            let is_engines = matches!(expected, Some("server" | "memory_engine"));
            match outcome {
                Ok(answer) => {
                    assert!(!is_engines || engine == "MyISAM", "{declared} in {engine}");
                    assert_eq!(answer, "1\t0\n", "{declared} in {engine}");
                }
                Err(message) => {
                    assert!(
                        is_engines && engine == "MEMORY",
                        "{declared} in {engine}: {message}"
                    );
                    assert!(message.contains("support"), "{declared}: {message}");
                }
            }
        }
    }
}

#[test]
fn what_schema_proposes_is_passed_and_fills_sub_chunk_tables() {
    let bench = Bench::new();
    let names: Vec<String> = (0..40).map(|number| "n".repeat(number % 7)).collect();
    let ra: Vec<f64> = (0..40).map(|number| f64::from(number) * 9.0).collect();
    let columns = vec![
        ("id", ids(40), false),
        ("ra", doubles(&ra), false),
        ("dec", doubles(&[0.0; 40]), false),
        (
            "name",
            texts(names.iter().map(|name| Some(name.as_str()))),
            true,
        ),
    ];
    bench.write("x.parquet", parquet(columns));
    let line = "schema x.parquet --kind director --id id --ra ra --dec dec -o T.json";
    bench.run(words(line)).ok();
    bench.run(words("check x.parquet --schema T.json")).ok();
    bench
        .run(words("convert x.parquet -o x.txt --schema T.json"))
        .ok();
    open_to_all(&bench);
    let json = fs::read(bench.path("T.json")).unwrap();
    let server = server();
    let mut script = String::from("create database proposed; use proposed;\n");
    for engine in ["MyISAM", "MEMORY"] {
        script += &statement_of(&json, engine, engine);
        script += &format!(
            "load data infile '{}' into table {engine} character set latin1 \
             (id, ra, `dec`, name) set chunkId = 1, subChunkId = 2;\n\
             select row_count(), @@warning_count;\n",
            bench.path("x.txt").display()
        );
    }
    script += "create table sub engine=MEMORY as select * from MyISAM where subChunkId = 2;\n\
               select count(*), @@warning_count from sub;\n";
    let answers = server.client(&script).unwrap();
    assert_eq!(answers, "40\t0\n".repeat(3));
}

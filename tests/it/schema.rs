//! `schema`: what is proposed for data takes them, without a warning; definitions come from Felis
//! too.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    DurationSecondArray, FixedSizeBinaryArray, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, NullArray, RecordBatch, StringArray, Time64MicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, UInt8Array, UInt16Array, UInt32Array,
    UInt64Array,
};
use arrow::datatypes::Int32Type;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::harness::{Bench, Outcome, files, shared, words};
use super::mariadb::server;

/// A column: its name, its values, and whether it may be NULL.
pub(crate) type Column<'a> = (&'a str, ArrayRef, bool);

/// A Parquet file with row groups of two rows.
pub(crate) fn parquet(columns: Vec<Column<'_>>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(2))
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// Texts; `None` is NULL.
pub(crate) fn texts<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

pub(crate) fn ids(rows: usize) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(0..rows as i64))
}

pub(crate) fn doubles(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(values.iter().copied()))
}

/// Lets the server, which is another user, read the bench's files.
pub(crate) fn open_to_all(bench: &Bench) {
    let opened = Command::new("chmod")
        .args(["-R", "a+rX"])
        .arg(bench.root())
        .status();
    assert!(opened.unwrap().success());
}

/// Returns the statement that Qserv makes out of table JSON.
pub(crate) fn statement_of(json: &[u8], table: &str, engine: &str) -> String {
    let json: serde_json::Value = serde_json::from_slice(json).unwrap();
    let columns: Vec<String> = json["schema"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| {
            let text = |key: &str| column[key].as_str().unwrap();
            format!("`{}` {}", text("name"), text("type"))
        })
        .collect();
    let charset = json["charset_name"].as_str().unwrap();
    let collation = json["collation_name"].as_str().unwrap();
    format!(
        "create table {table} ({}) engine={engine} default charset {charset} collate {collation};\n",
        columns.join(", ")
    )
}

/// Returns the statements that load a file and tell what became of it.
fn load(path: &Path, table: &str, charset: &str) -> String {
    format!(
        "load data infile '{}' into table {table} character set {charset} \
         fields terminated by '\\t' escaped by '\\\\' lines terminated by '\\n';\n\
         select 'loaded', row_count(), @@warning_count;\n",
        path.display()
    )
}

/// Rows of loads without a warning.
fn loaded(answers: &str) -> Vec<u64> {
    let loads = answers
        .lines()
        .filter_map(|line| line.strip_prefix("loaded\t"));
    loads
        .map(|line| {
            let (rows, warnings) = line.split_once('\t').unwrap();
            assert_eq!(warnings, "0", "{answers}");
            rows.parse().unwrap()
        })
        .collect()
}

/// A table with most types that Parquet has, in five rows.
fn all_types() -> Vec<Column<'static>> {
    let flags: BooleanArray = [Some(true), None, Some(false), None, None]
        .into_iter()
        .collect();
    let codes: DictionaryArray<Int32Type> = ["a", "bb", "a", "ccc", "a"].into_iter().collect();
    let fixed: Vec<&[u8]> = vec![b"\x00\x01\x02\xFF"; 5];
    let bytes: BinaryArray = [&b"\x00\xFE\xFF\n"[..], b"\\", b"", b"\t\t", b"abcdefg"]
        .into_iter()
        .map(Some)
        .collect();
    let decimals = Decimal128Array::from_iter_values([1, -99_999, 0, 12_345, 99_999]);
    let decimals = decimals.with_precision_and_scale(5, 2).unwrap();
    let singles = [f32::MAX, 1e-45, f32::NEG_INFINITY, 0.1, -0.0];
    let with_nan = [1.5, f32::NAN, 0.0, 2.0, 3.0];
    vec![
        ("id", ids(5), true),
        ("ra", doubles(&[10.0, 20.0, 30.0, 359.9, 0.0]), true),
        ("de\u{63}", doubles(&[-90.0, 90.0, 0.0, 45.5, 1.0]), false),
        ("flag", Arc::new(flags), true),
        (
            "i8",
            Arc::new(Int8Array::from_iter_values([-128, 127, 0, 1, 2])),
            false,
        ),
        (
            "i16",
            Arc::new(Int16Array::from_iter_values([i16::MIN, i16::MAX, 0, 1, 2])),
            false,
        ),
        (
            "i32",
            Arc::new(Int32Array::from_iter_values([i32::MIN, i32::MAX, 0, 1, 2])),
            false,
        ),
        (
            "i64",
            Arc::new(Int64Array::from_iter_values([i64::MIN, i64::MAX, 0, 1, 2])),
            false,
        ),
        (
            "u8",
            Arc::new(UInt8Array::from_iter_values([0, u8::MAX, 0, 1, 2])),
            false,
        ),
        (
            "u16",
            Arc::new(UInt16Array::from_iter_values([0, u16::MAX, 0, 1, 2])),
            false,
        ),
        (
            "u32",
            Arc::new(UInt32Array::from_iter_values([0, u32::MAX, 0, 1, 2])),
            false,
        ),
        (
            "u64",
            Arc::new(UInt64Array::from_iter_values([0, u64::MAX, 0, 1, 2])),
            false,
        ),
        (
            "f32",
            Arc::new(Float32Array::from_iter_values(singles)),
            false,
        ),
        (
            "nan",
            Arc::new(Float32Array::from_iter_values(with_nan)),
            false,
        ),
        (
            "f64",
            doubles(&[f64::MAX, 5e-324, f64::INFINITY, 0.1, -0.0]),
            false,
        ),
        ("decimal", Arc::new(decimals), false),
        (
            "day",
            Arc::new(Date32Array::from_iter_values([0, 20_000, -1, 1, 2])),
            false,
        ),
        (
            "clock",
            Arc::new(Time64MicrosecondArray::from_iter_values([
                0,
                1,
                2,
                3,
                86_399_999_999,
            ])),
            false,
        ),
        (
            "ms",
            Arc::new(TimestampMillisecondArray::from_iter_values([0, 1, 2, 3, 4])),
            false,
        ),
        (
            "ns",
            Arc::new(
                TimestampNanosecondArray::from_iter_values([0, 1_000, 2, 3, 4])
                    .with_timezone("UTC"),
            ),
            false,
        ),
        (
            "span",
            Arc::new(DurationSecondArray::from_iter_values([0, -1, 2, 3, 4])),
            false,
        ),
        (
            "name",
            texts([
                Some("Boötes"),
                Some(""),
                None,
                Some("a\tb\\N\n"),
                Some("\u{20AC}"),
            ]),
            true,
        ),
        ("code", Arc::new(codes), false),
        (
            "fixed",
            Arc::new(FixedSizeBinaryArray::try_from_iter(fixed.into_iter()).unwrap()),
            false,
        ),
        ("bytes", Arc::new(bytes), false),
        ("none", Arc::new(NullArray::new(5)), true),
    ]
}

const TYPES: [&str; 26] = [
    "BIGINT NOT NULL",
    "DOUBLE NOT NULL",
    "DOUBLE NOT NULL",
    "TINYINT",
    "TINYINT NOT NULL",
    "SMALLINT NOT NULL",
    "INT NOT NULL",
    "BIGINT NOT NULL",
    "TINYINT UNSIGNED NOT NULL",
    "SMALLINT UNSIGNED NOT NULL",
    "INT UNSIGNED NOT NULL",
    "BIGINT UNSIGNED NOT NULL",
    "FLOAT NOT NULL",
    "FLOAT",
    "DOUBLE NOT NULL",
    "DECIMAL(5,2) NOT NULL",
    "DATE NOT NULL",
    "TIME(6) NOT NULL",
    "DATETIME(3) NOT NULL",
    "DATETIME(6) NOT NULL",
    "BIGINT NOT NULL",
    "CHAR(6)",
    "CHAR(3) NOT NULL",
    "BINARY(4) NOT NULL",
    "BINARY(7) NOT NULL",
    "TINYINT",
];

fn types_of(json: &[u8]) -> Vec<String> {
    let json: serde_json::Value = serde_json::from_slice(json).unwrap();
    let columns = json["schema"].as_array().unwrap().iter();
    columns
        .map(|c| c["type"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_is_proposed_takes_the_data_without_a_warning() {
    let bench = Bench::new();
    bench.write("in/x.parquet", parquet(all_types()));
    let made = words(
        "schema in --kind director --id id --ra ra --dec dec --database round_trip --charset utf8mb4",
    );
    let outcome = bench
        .run([made.clone(), words("-o Star.json")].concat())
        .ok();
    assert!(
        outcome.stderr.contains("BINARY(7) fills shorter values"),
        "{}",
        outcome.stderr
    );
    let json = fs::read(bench.path("Star.json")).unwrap();
    let mut expected: Vec<&str> = TYPES.to_vec();
    expected.extend(["INT UNSIGNED NOT NULL"; 2]);
    assert_eq!(types_of(&json), expected);
    bench
        .run([made, words("--table Star --to ddl -o Star.sql")].concat())
        .ok();
    let prepare = "partition in -o chunks --schema Star.json --stripes 18 --sub-stripes 10 \
                   --overlap 0.01 --charset utf8mb4";
    bench.run(words(prepare)).ok();

    // A regular table of the same rows, in the other character set.
    let regular = "schema in --kind regular -o Plain.json";
    bench.run(words(regular)).ok();
    let plain = fs::read(bench.path("Plain.json")).unwrap();
    assert!(types_of(&plain).contains(&"VARCHAR(6)".to_owned()));
    assert!(types_of(&plain).contains(&"VARBINARY(7) NOT NULL".to_owned()));
    bench
        .run(words("convert in -o plain.txt --schema Plain.json"))
        .ok();
    open_to_all(&bench);

    let server = server();
    let ddl = fs::read_to_string(bench.path("Star.sql")).unwrap();
    let mut script =
        format!("create database round_trip; use round_trip;\nset names utf8mb4;\n{ddl}");
    script += &statement_of(&json, "FromJson", "MyISAM");
    script += &statement_of(&plain, "Plain", "MyISAM");
    for name in files(&bench.path("chunks")).keys() {
        if name.starts_with("chunk_") && !name.contains("index") && !name.contains("overlap") {
            let path = bench.path("chunks").join(name);
            script += &load(&path, "Star", "utf8mb4");
            script += &load(&path, "FromJson", "utf8mb4");
        }
    }
    script += &load(&bench.path("plain.txt"), "Plain", "latin1");
    script += "select count(*) from Star; select count(*) from FromJson;\n\
               select count(*) from Plain;\n\
               select group_concat(name order by id) from Star where id in (0, 4);\n\
               select group_concat(name order by id) from Plain where id in (0, 4);\n\
               select hex(bytes), u64, nan is null, clock, ns from Plain where id = 0;\n\
               select hex(name) from Plain where id = 3;\n";
    let answers = server.client(&script).unwrap();
    assert_eq!(loaded(&answers).iter().sum::<u64>(), 15);
    let last: Vec<&str> = answers.lines().rev().take(7).collect();
    assert_eq!(&last[4..], ["5", "5", "5"]);
    assert_eq!(&last[2..4], ["Boötes,€", "Boötes,€"]);
    assert_eq!(
        last[1],
        "00FEFF0A\t0\t0\t00:00:00.000000\t1970-01-01 00:00:00.000000"
    );
    assert_eq!(last[0], "6109625C4E0A");
}

#[test]
fn the_longest_rows_that_mariadb_takes() {
    let long = |length: usize| "x".repeat(length);
    let row = |lengths: [usize; 3]| {
        let values = lengths.map(long);
        let columns = ["a", "b", "c"].into_iter().zip(&values);
        let columns = columns.map(|(name, value)| (name, texts([Some(value.as_str())]), true));
        parquet(columns.collect())
    };
    let bench = Bench::new();
    bench.write("fits.parquet", row([30_000, 30_000, 5_524]));
    bench.write("not.parquet", row([30_000, 30_000, 5_525]));
    for name in ["fits", "not"] {
        let made = format!("schema {name}.parquet -o {name}.json");
        bench.run(words(&made)).ok();
        let made = format!("convert {name}.parquet -o {name}.txt --schema {name}.json");
        bench.run(words(&made)).ok();
    }
    let json = |name: &str| fs::read(bench.path(&format!("{name}.json"))).unwrap();
    let varchar = ["VARCHAR(30000)", "VARCHAR(30000)", "VARCHAR(5524)"];
    assert_eq!(types_of(&json("fits")), varchar);
    let text = ["TEXT", "VARCHAR(30000)", "VARCHAR(5525)"];
    assert_eq!(types_of(&json("not")), text);
    open_to_all(&bench);
    let server = server();
    let as_qserv_does = |name: &str, types: &[&str]| {
        let columns = ["a", "b", "c"].into_iter().zip(types);
        let columns: Vec<String> = columns.map(|(c, t)| format!("{c} {t}")).collect();
        format!(
            "create table longest.{name} (qserv_trans_id int not null, {}) engine=MyISAM \
             default charset latin1;\n",
            columns.join(", ")
        )
    };
    server.client("create database longest").unwrap();
    server.client(&as_qserv_does("fits", &varchar)).unwrap();
    server.client(&as_qserv_does("texts", &text)).unwrap();
    let beyond = ["VARCHAR(30000)", "VARCHAR(30000)", "VARCHAR(5525)"];
    let refused = server
        .client(&as_qserv_does("beyond", &beyond))
        .unwrap_err();
    assert!(refused.contains("Row size too large"), "{refused}");
    let mut script = String::from("use longest;\n");
    for name in ["fits", "not"] {
        script += &statement_of(&json(name), &format!("{name}_2"), "MyISAM");
        script += &load(
            &bench.path(&format!("{name}.txt")),
            &format!("{name}_2"),
            "latin1",
        );
    }
    assert_eq!(loaded(&server.client(&script).unwrap()), [1, 1]);
}

#[test]
fn types_of_several_files_are_widened_or_refused_by_name() {
    let bench = Bench::new();
    let small: ArrayRef = Arc::new(Int16Array::from_iter_values([1, 2]));
    let large: ArrayRef = Arc::new(UInt32Array::from_iter_values([u32::MAX, 2]));
    let first = vec![
        ("a", small.clone(), false),
        ("t", texts([Some("x"), Some("y")]), false),
    ];
    bench.write("in/1.parquet", parquet(first));
    bench.write("in/2.parquet", parquet(vec![("a", large, false)]));
    let outcome = bench.run(words("schema in")).ok();
    assert_eq!(types_of(&outcome.stdout), ["BIGINT NOT NULL", "VARCHAR(1)"]);
    let said = [
        "column a: SMALLINT in in/1.parquet, INT UNSIGNED in in/2.parquet; the table has BIGINT",
        "column t: some inputs lack it",
    ];
    for said in said {
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    }
    bench.write(
        "in/3.parquet",
        parquet(vec![("a", texts([Some("x")]), false)]),
    );
    let outcome = bench.run(words("schema in"));
    outcome.failed(
        2,
        &["in/3.parquet, column a: is text here, but BIGINT in in/2.parquet"],
    );
}

#[test]
fn the_longest_value_is_named_whatever_the_threads() {
    let (long, other) = ("é".repeat(300), "x".repeat(300));
    let values = [
        Some("x"),
        None,
        Some(""),
        Some(long.as_str()),
        Some(other.as_str()),
    ];
    let columns = |nan: f64| {
        vec![
            (
                "id",
                Arc::new(Int64Array::from_iter([Some(1), None, None, None, None])) as ArrayRef,
                true,
            ),
            ("ra", doubles(&[0.0, 1.0, 2.0, nan, nan]), true),
            ("dec", doubles(&[0.0; 5]), true),
            ("name", texts(values), true),
            (
                "greek",
                texts([None, None, Some("λ"), Some("μ"), None]),
                true,
            ),
        ]
    };
    let bench = Bench::new();
    bench.write("x.parquet", parquet(columns(f64::NAN)));
    let director = "schema x.parquet --kind director --id id --ra ra --dec dec";
    for threads in [1, 4] {
        let outcome = bench.run(words(&format!("{director} --threads {threads}")));
        outcome.failed(
            1,
            &["x.parquet, row group 1, row 4, column name: the longest value has 300 characters"],
        );
        let all = format!("{director} --exclude name --threads {threads}");
        let outcome = bench.run(words(&all)).ok();
        for said in [
            "warning: x.parquet, row group 0, row 2, column id: NULL in a key",
            "warning: x.parquet, row group 1, row 4, column ra: NaN in a key",
            "warning: x.parquet, row group 1, row 3, column greek: latin1 has no 'λ'",
        ] {
            assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
        }
    }
    let outcome = bench.run(words("schema x.parquet --memory-limit 8MiB"));
    outcome.failed(2, &["memory limit"]);
}

#[test]
fn books_are_kept_as_everywhere() {
    let bench = Bench::new();
    bench.write("x.parquet", parquet(vec![("a", ids(3), false)]));
    let dry = bench
        .run(words("schema x.parquet -o T.json --dry-run"))
        .ok();
    let dry = String::from_utf8(dry.stdout).unwrap();
    assert!(
        dry.contains("columns: a\n") && dry.contains("nothing was touched"),
        "{dry}"
    );
    assert!(!bench.path("T.json").exists());
    let line = "schema x.parquet -o T.json --json --depfile T.d";
    let report = bench.run(words(line)).ok();
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(report["command"], "schema");
    assert_eq!(report["inputs"][0]["path"], "x.parquet");
    let depfile = fs::read_to_string(bench.path("T.d")).unwrap();
    assert!(
        depfile.contains("T.json") && depfile.contains("x.parquet"),
        "{depfile}"
    );
    let made = fs::read(bench.path("T.json")).unwrap();
    assert_eq!(report["bytes"], made.len());
    assert!(String::from_utf8_lossy(&made).contains("\"table\": \"T\""));
    bench
        .run(words("schema x.parquet -o T.json"))
        .failed(5, &["T.json", "exists"]);
    bench
        .run(words("schema x.parquet -o T.json --dry-run"))
        .failed(5, &["T.json"]);
    bench
        .run(words("schema x.parquet -o T.json --force --kind regular"))
        .ok();
    assert_ne!(fs::read(bench.path("T.json")).unwrap(), made);
    bench
        .run(words("schema x.parquet --json"))
        .failed(2, &["--json"]);
    bench
        .run(words("schema x.parquet -o x.parquet --force"))
        .failed(2, &["x.parquet"]);
    let left: Vec<String> = files(bench.root()).into_keys().collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn what_can_t_be_is_refused_before_work() {
    let bench = Bench::new();
    bench.write("x.parquet", parquet(vec![("a", ids(3), false)]));
    bench.write("q.parquet", parquet(vec![("qserv_x", ids(3), false)]));
    bench.write("t.txt", "1\t2\n");
    for (line, said) in [
        (
            "schema x.parquet --kind director --id a",
            "a director table needs --id, --ra, --dec",
        ),
        ("schema x.parquet --id a", "--kind"),
        (
            "schema x.parquet --kind regular --id a",
            "not for tables of kind regular",
        ),
        (
            "schema x.parquet --kind child --director D --id b",
            "no column b",
        ),
        ("schema x.parquet --to ddl", "the table's name"),
        ("schema x.parquet --table qservX", "reserves"),
        ("schema x.parquet --exclude b", "no input has a column b"),
        ("schema x.parquet --exclude a", "no columns"),
        ("schema q.parquet", "reserves"),
        ("schema t.txt", "t.txt: this is text"),
        ("schema", "no input files"),
    ] {
        bench.run(words(line)).failed(2, &[said]);
    }
    bench
        .run(words("schema none.parquet"))
        .failed(3, &["none.parquet"]);
    bench.write("bad.parquet", "PAR1 nothing");
    bench
        .run(words("schema bad.parquet"))
        .failed(4, &["bad.parquet"]);
}

const FELIS: &str = r##"name: d
tables:
- name: Object
  "@id": "#Object"
  primaryKey: "#Object.id"
  columns:
  - {name: id, "@id": "#Object.id", datatype: long}
  - {name: ra, "@id": "#Object.ra", datatype: double}
  - {name: dec, "@id": "#Object.dec", datatype: double}
  - {name: good, "@id": "#Object.good", datatype: boolean, nullable: false}
- name: Visit
  columns:
  - {name: id, datatype: int, nullable: false}
  - {name: band, datatype: string, length: 3}
"##;

#[test]
fn felis_becomes_table_json_and_serves_as_a_schema() {
    let bench = Bench::new();
    bench.write("d.yaml", FELIS);
    let outcome = bench.run(words("schema d.yaml"));
    outcome.failed(2, &["2 tables", "Object, Visit"]);
    let line = "schema d.yaml --table Object --kind director --ra ra --dec dec -o Object.json";
    bench.run(words(line)).ok();
    let json = fs::read(bench.path("Object.json")).unwrap();
    assert_eq!(
        types_of(&json),
        [
            "BIGINT NOT NULL",
            "DOUBLE NOT NULL",
            "DOUBLE NOT NULL",
            "BOOLEAN NOT NULL",
            "INT UNSIGNED NOT NULL",
            "INT UNSIGNED NOT NULL"
        ]
    );
    let parsed: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(parsed["director_key"], "id");
    let ddl = bench.run(words("schema d.yaml#Visit --to ddl")).ok();
    let ddl = String::from_utf8(ddl.stdout).unwrap();
    assert!(
        ddl.starts_with("CREATE TABLE `Visit` (\n  `id` INTEGER NOT NULL,"),
        "{ddl}"
    );

    // The same schema for text, by a part of its name.
    bench.write("visits.txt", "1\tr\n2\tlong\n");
    let line = "convert visits.txt -o - --schema d.yaml#Visit";
    let outcome = bench.run(words(line));
    outcome.failed(1, &["line 2", "column band"]);
    bench.write("visits.txt", "1\tr\n2\t\\N\n");
    let line = "convert visits.txt -o visits.out --schema d.yaml#Visit --depfile deps";
    bench.run(words(line)).ok();
    let deps = fs::read_to_string(bench.path("deps")).unwrap();
    assert!(deps.contains("d.yaml") && !deps.contains("Visit"), "{deps}");
    bench
        .run(words("convert visits.txt -o - --schema d.yaml"))
        .failed(2, &["Object, Visit"]);

    // In a pipeline file the section's name chooses.
    bench.write("objects.txt", "1\t10.0\t20.0\ttrue\n");
    let tables = "[product.o]\ninputs = [\"objects.txt\"]\n[product.v]\ninputs = [\"visits.txt\"]\n\
                  [table.Object]\nkind = \"director\"\nproducts = [\"o\"]\nra = \"ra\"\ndec = \"dec\"\n\
                  [table.Visit]\nkind = \"regular\"\nproducts = [\"v\"]\nschema = \"d.yaml\"\n\
                  [stage]\ndest = \"out\"\n";
    let head = "[database]\nname = \"d\"\nstripes = 18\nsub_stripes = 10\noverlap = 0.01\n\
                tables = \"d.yaml\"\n";
    bench.write("prep.toml", format!("{head}{tables}"));
    bench.run(words("run prep.toml")).ok();
    let made = files(&bench.path("out/d"));
    assert_eq!(made["Visit/Visit.txt"], b"1\tr\n2\t\\N\n");
    let is_chunk = |name: &str| name.starts_with("Object/chunk_") && !name.contains("index");
    let chunk = made.iter().find(|(name, _)| is_chunk(name)).unwrap();
    assert!(chunk.1.starts_with(b"1\t10.0\t20.0\t1\t"), "{chunk:?}");
}

#[test]
fn match_tables_are_described() {
    let bench = Bench::new();
    let columns = vec![("a_id", ids(3), false), ("b_id", ids(3), true)];
    bench.write("m.parquet", parquet(columns));
    let line = "schema m.parquet --kind match --director A --director2 B --id a_id --id2 b_id \
                --ang-sep 0.01667 -o M.json";
    bench.run(words(line)).ok();
    let json = fs::read(bench.path("M.json")).unwrap();
    let parsed: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(parsed["director_key2"], "b_id");
    assert_eq!(parsed["flag"], "partitioningFlags");
    assert_eq!(parsed["schema"][4]["name"], "partitioningFlags");
    assert_eq!(parsed["schema"][1]["type"], "BIGINT NOT NULL");
    let outcome: Outcome = bench
        .run(words("convert m.parquet -o - --schema M.json"))
        .ok();
    assert_eq!(outcome.stdout, b"0\t0\n1\t1\n2\t2\n");
    bench.write("a.txt", "0\t36\t2\n1\t36\t2\n2\t37\t4\n");
    let line = "partition m.parquet -o out --schema M.json --stripes 18 --sub-stripes 10 --overlap 0 \
                --index1 a.txt --index2 a.txt";
    bench.run(words(line)).ok();
    let made = files(&bench.path("out"));
    assert_eq!(made["chunk_36.txt"], b"0\t0\t36\t2\t3\n1\t1\t36\t2\t3\n");
    assert_eq!(made["chunk_37.txt"], b"2\t2\t37\t4\t3\n");
}

#[test]
fn a_million_rows_are_looked_at_within_the_memory_limit() {
    let Some(shared) = shared("schema of a whole star file") else {
        return;
    };
    let stars = shared.join("data/stars/stars-mag11.parquet");
    let bench = Bench::new();
    let mut line = words(
        "schema --kind director --id tyc_id --ra ra_degrees --dec dec_degrees --memory-limit 48MiB \
         --threads 2 -o Star.json",
    );
    line.push(stars.display().to_string());
    bench.run(line).ok();
    let types = types_of(&fs::read(bench.path("Star.json")).unwrap());
    assert_eq!(types[0], "CHAR(12) NOT NULL");
}

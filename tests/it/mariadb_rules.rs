//! What is chosen for values that do not fit is counted, and MariaDB agrees; geometries, JSON.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Float32Array, Float64Array, Int64Array, ListArray, MapBuilder,
    StringArray, StringBuilder, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Float64Type};
use serde_json::{Value, json};

use super::loading::{converted, dialects, parquet, refused, sanitized};
use super::mariadb::{Load, Table};
use skyprep::dialect::Dialect;

/// Converts, loads, and returns what the server holds and what was counted.
fn held(file: &[u8], table: &Table, args: &str, form: &str) -> (Vec<Vec<String>>, Value) {
    let (made, changes) = converted(file, table, args);
    let load = Load::new(table, Dialect::qserv(), "latin1").reading(form);
    (load.run(&made).unwrap().in_silence(), changes)
}

#[test]
fn infinities_and_nan_by_every_rule() {
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.5];
    let singles = values.map(|value| value as f32);
    let columns = [
        ("d", "DOUBLE"),
        ("f", "FLOAT"),
        ("s", "DOUBLE"),
        ("n", "DECIMAL(5,2)"),
    ];
    let table = Table::new(columns);
    let doubles: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    let singles: ArrayRef = Arc::new(Float32Array::from(singles.to_vec()));
    let file = parquet([
        ("d", Arc::clone(&doubles)),
        ("f", Arc::clone(&singles)),
        ("s", singles),
        ("n", doubles),
    ]);
    let text = "nan\tNaN\tNAN\tnan\ninf\tInf\tInfinity\t+inf\n-inf\t-Inf\t-INF\t-Infinity\n1.5\t1.5\t1.5\t1.5\n";
    let (d, f) = ("1.7976931348623157e308", "3.4028234663852886e38");
    let limits = [d, f, d, "999.99"];
    for (args, nan, inf) in [
        ("", "NULL", Some(limits)),
        ("--nan zero --inf null", "0", None),
        ("--nan null --inf limit", "NULL", Some(limits)),
    ] {
        let (rows, changes) = held(&file, &table, args, "cast(? as double)");
        assert_eq!(rows[0], [nan; 4], "{args}");
        match inf {
            Some(limits) => {
                assert_eq!(rows[1], limits, "{args}");
                assert_eq!(rows[2], limits.map(|limit| format!("-{limit}")), "{args}");
            }
            None => assert_eq!(rows[1..3], [["NULL"; 4], ["NULL"; 4]], "{args}"),
        }
        assert_eq!(rows[3], ["1.5"; 4]);
        for column in ["d", "f", "s", "n"] {
            assert_eq!(
                changes[column],
                json!({"nan": 1, "inf": 2}),
                "{args} {column}"
            );
        }
        let args = format!("{args} --fields d,f,s,n");
        let (made, counted) = sanitized(text.as_bytes(), &table, &args);
        let load = Load::new(&table, Dialect::qserv(), "latin1").reading("cast(? as double)");
        assert_eq!(load.run(&made).unwrap().in_silence(), rows, "{args}");
        assert_eq!(counted, changes, "{args}");
    }
    for (args, said) in [("--nan error", "found nan"), ("--inf error", "found inf")] {
        refused("convert", &file, &table, args, &["column d", said]);
    }
    // Kept for other readers: MariaDB refuses them, as --help says.
    let (kept, _) = converted(&file, &table, "--nan keep --inf keep");
    assert!(
        Load::new(&table, Dialect::qserv(), "latin1")
            .run(&kept)
            .is_err()
    );
}

#[test]
fn what_is_clamped_cut_or_constant_is_counted_and_held() {
    let table = Table::new([
        ("f", "FLOAT"),
        ("i", "SMALLINT"),
        ("w", "INT"),
        ("c", "CHAR(3)"),
        ("b", "VARBINARY(2)"),
        ("t", "DATETIME"),
        ("k", "CHAR(4)"),
        ("z", "DOUBLE"),
    ]);
    let file = parquet([
        (
            "f",
            Arc::new(Float64Array::from(vec![1e39, -1e300, 0.5])) as ArrayRef,
        ),
        ("i", Arc::new(Int64Array::from(vec![40_000, i64::MIN, -5]))),
        ("w", Arc::new(Float64Array::from(vec![1e10, -1e300, 7.0]))),
        (
            "c",
            Arc::new(StringArray::from(vec!["abcdef", "é\\ü€", "xy"])),
        ),
        (
            "b",
            Arc::new(BinaryArray::from(vec![&b"\n\n\n"[..], b"", b"\\\\"])),
        ),
        (
            "t",
            Arc::new(TimestampMicrosecondArray::from(vec![
                1_500_000, 1_499_999, 0,
            ])),
        ),
    ]);
    let fixed = "--constant k=a\\b --constant z=-1.5 --truncate cut";
    for (args, expected, counted) in [
        (
            "--overflow clamp --fraction cut",
            [
                [
                    "3.4028234663852886e38",
                    "32767",
                    "2147483647",
                    "616263",
                    "0A0A",
                    "01",
                    "615C62",
                    "-1.5",
                ],
                [
                    "-3.4028234663852886e38",
                    "-32768",
                    "-2147483648",
                    "E95CFC",
                    "",
                    "01",
                    "615C62",
                    "-1.5",
                ],
            ],
            2,
        ),
        (
            "--overflow null --fraction round",
            [
                [
                    "NULL", "NULL", "NULL", "616263", "0A0A", "02", "615C62", "-1.5",
                ],
                ["NULL", "NULL", "NULL", "E95CFC", "", "01", "615C62", "-1.5"],
            ],
            2,
        ),
    ] {
        let (made, changes) = converted(&file, &table, &format!("{args} {fixed}"));
        let select = "cast(f as double), i, w, hex(c), hex(b), date_format(t, '%s'), hex(k), z";
        let load = Load::new(&table, Dialect::qserv(), "latin1").selecting(select);
        let rows = load.run(&made).unwrap().in_silence();
        assert_eq!(rows[..2], expected, "{args}");
        assert_eq!(
            rows[2],
            ["0.5", "-5", "7", "7879", "5C5C", "00", "615C62", "-1.5"]
        );
        let expected = json!({
            "f": {"overflow": counted}, "i": {"overflow": counted}, "w": {"overflow": counted},
            "c": {"truncate": 2}, "b": {"truncate": 1}, "t": {"fraction": 2},
        });
        assert_eq!(changes, expected, "{args}");
    }
    let one = Table::new([("f", "FLOAT"), ("k", "TINYINT")]);
    let bench = super::harness::Bench::new();
    bench.write("x.parquet", &file);
    bench.write("T.json", one.json());
    for (constant, said) in [
        ("k=300", "300, expected -128 to 127"),
        ("k=x", "expected a whole number"),
    ] {
        let line = format!("convert x.parquet -o - --schema T.json --constant {constant}");
        bench
            .run(super::harness::words(&line))
            .failed(2, &["constant column k", said]);
    }
}

#[test]
fn geometries_arrive_with_their_srid() {
    let point = |x: f64, y: f64| [x.to_le_bytes(), y.to_le_bytes()].concat();
    let geometry = |kind: u32, rest: &[u8]| [&[1][..], &kind.to_le_bytes(), rest].concat();
    let count = |n: u32| n.to_le_bytes().to_vec();
    let ring = [(0.0, 0.0), (9.0, 0.0), (9.0, 92.0), (0.0, 0.0)]
        .map(|(x, y)| point(x, y))
        .concat();
    let values = [
        geometry(1, &point(1.5, -2.25)),
        geometry(
            2,
            &[count(2), point(10.0, 92.0), point(9.0, 1e300)].concat(),
        ),
        geometry(3, &[count(1), count(4), ring].concat()),
        [
            &[0, 0, 0, 0, 1][..],
            &1.5f64.to_be_bytes(),
            &2.5f64.to_be_bytes(),
        ]
        .concat(),
    ];
    let expected = [
        "POINT(1.5 -2.25)",
        "LINESTRING(10 92,9 1e300)",
        "POLYGON((0 0,9 0,9 92,0 0))",
        "POINT(1.5 2.5)",
    ];
    let table = Table::new([("g", "GEOMETRY")]);
    let file = parquet([(
        "g",
        Arc::new(BinaryArray::from_iter_values(&values)) as ArrayRef,
    )]);
    refused("convert", &file, &table, "", &["row 1, column g", "SRID"]);
    for (args, dialect) in dialects() {
        for srid in [0, 4326] {
            let (made, changes) = converted(&file, &table, &format!("{args} --srid {srid}"));
            assert_eq!(changes["g"], json!({"srid": 4}));
            let select = "st_astext(g), st_srid(g)";
            let load = Load::new(&table, dialect.clone(), "latin1").selecting(select);
            for (row, text) in load.run(&made).unwrap().in_silence().iter().zip(expected) {
                assert_eq!(*row, [text, &srid.to_string()], "{args}");
            }
        }
    }
    let own = values.map(|value| [&4326u32.to_le_bytes()[..], &value].concat());
    let file = parquet([(
        "g",
        Arc::new(BinaryArray::from_iter_values(&own)) as ArrayRef,
    )]);
    let (rows, changes) = held(&file, &table, "", "st_srid(?)");
    assert_eq!(rows.concat(), ["4326"; 4]);
    assert_eq!(changes, json!({}));
}

#[test]
fn json_and_nested_columns_arrive_as_json() {
    let odd = "é\\\"\n\t\u{1d11e}\0\u{1a}'";
    let texts = [
        json!({"a": odd}).to_string(),
        "[1, 2.5e300, null]".into(),
        "\"x\"".into(),
    ];
    let lists = ListArray::from_iter_primitive::<Float64Type, _, _>([
        Some(vec![Some(1.5), None, Some(f64::NAN), Some(-0.0)]),
        None,
        Some(vec![]),
    ]);
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some(odd), None, Some("")]));
    let structs = StructArray::from(vec![
        (Arc::new(Field::new("name", DataType::Utf8, true)), names),
        (
            Arc::new(Field::new("big", DataType::Int64, true)),
            Arc::new(Int64Array::from(vec![i64::MIN, 0, i64::MAX])) as ArrayRef,
        ),
    ]);
    let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for row in 0..3 {
        maps.keys().append_value(odd);
        maps.values().append_value(format!("{row}\\"));
        maps.append(true).unwrap();
    }
    let columns = [
        ("j", "JSON"),
        ("l", "JSON"),
        ("s", "LONGTEXT"),
        ("m", "JSON"),
    ];
    let file = parquet([
        (
            "j",
            Arc::new(StringArray::from_iter_values(&texts)) as ArrayRef,
        ),
        ("l", Arc::new(lists)),
        ("s", Arc::new(structs)),
        ("m", Arc::new(maps.finish())),
    ]);
    for (args, dialect) in dialects() {
        let table = Table::new(columns).with_charset("utf8mb4");
        let args = format!("--nested json --charset utf8mb4 {args}");
        let (made, _) = converted(&file, &table, &args);
        let select = "json_valid(j), json_valid(l), json_valid(s), json_valid(m), \
            hex(json_value(j, '$.a')), json_extract(l, '$[0]'), json_length(l), \
            hex(json_value(s, '$.name')), json_value(s, '$.big'), json_length(m), hex(m)";
        let load = Load::new(&table, dialect, "utf8mb4").selecting(select);
        let rows = load.run(&made).unwrap().in_silence();
        let hex = |text: &str| data_encoding::HEXUPPER.encode(text.as_bytes());
        let map = |row: usize| {
            let text = json!({odd: format!("{row}\\")}).to_string();
            hex(&text)
        };
        let name = hex(odd);
        let expected = [
            [
                "1",
                "1",
                "1",
                "1",
                &name,
                "1.5",
                "4",
                &name,
                "-9223372036854775808",
                "1",
                &map(0),
            ],
            [
                "1",
                "NULL",
                "1",
                "1",
                "NULL",
                "NULL",
                "NULL",
                "NULL",
                "0",
                "1",
                &map(1),
            ],
            [
                "1",
                "1",
                "1",
                "1",
                "NULL",
                "NULL",
                "0",
                "",
                "9223372036854775807",
                "1",
                &map(2),
            ],
        ];
        assert_eq!(rows, expected, "{args}");
    }
    // In latin1, what is not in it is escaped by JSON's own means.
    let table = Table::new([("s", "LONGTEXT")]);
    let (rows, _) = held(
        &file,
        &table,
        "--nested json",
        "json_valid(?), hex(json_value(?, '$.name'))",
    );
    assert_eq!(rows[0][0], "1");
    refused(
        "convert",
        &file,
        &Table::new([("j", "JSON")]),
        "",
        &["row 1, column j", "not in latin1"],
    );
    let bad = parquet([(
        "j",
        Arc::new(StringArray::from(vec!["{}", "{a}"])) as ArrayRef,
    )]);
    refused(
        "convert",
        &bad,
        &Table::new([("j", "JSON")]),
        "",
        &["row 2, column j", "expected JSON"],
    );
}

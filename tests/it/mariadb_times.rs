//! Dates, times and spans: what MariaDB holds after a load is what the file held.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Date64Array, DurationMicrosecondArray, DurationMillisecondArray,
    DurationNanosecondArray, DurationSecondArray, Time32MillisecondArray, Time32SecondArray,
    Time64MicrosecondArray, Time64NanosecondArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use chrono::{DateTime, NaiveDate};

use super::loading::{converted, parquet, refused, sanitized};
use super::mariadb::{Load, Table};
use skyprep::dialect::Dialect;

/// 0000-01-01 and 9999-12-31 23:59:59 in seconds since 1970-01-01.
const FIRST: i64 = -62_167_219_200;
const LAST: i64 = 253_402_300_799;
const DAY: i64 = 86_400;
/// 0000-02-29, which MariaDB does not have.
const NO_DAY: i64 = -719_469;

/// Seconds: the limits, what lies around months, years and 1970, and some from each century.
fn seconds() -> Vec<i64> {
    let mut seconds = vec![FIRST, FIRST + 1, -1, 0, 1, LAST - 1, LAST];
    let dates = [
        (0, 3, 1),
        (0, 2, 28),
        (1, 1, 1),
        (1582, 10, 4),
        (1582, 10, 15),
        (1900, 2, 28),
        (2000, 2, 29),
    ];
    for (year, month, day) in dates {
        let date = NaiveDate::from_ymd_opt(year, month, day).unwrap();
        let noon = date.and_hms_opt(12, 34, 56).unwrap();
        seconds.push(noon.and_utc().timestamp());
    }
    seconds.extend((FIRST..LAST).step_by(2_345_678_901));
    seconds
}

fn written(second: i64, nanos: u32, format: &str) -> String {
    DateTime::from_timestamp(second, nanos)
        .unwrap()
        .format(format)
        .to_string()
}

#[test]
fn dates_and_timestamps_of_every_unit_arrive() {
    let seconds = seconds();
    let of = |per_second: i64, part: i64| {
        let ticks = seconds.iter().map(move |second| second * per_second + part);
        ticks.collect::<Vec<i64>>()
    };
    let days: Vec<i32> = seconds.iter().map(|s| s.div_euclid(DAY) as i32).collect();
    let millis: Vec<i64> = days
        .iter()
        .map(|day| i64::from(*day) * DAY * 1000)
        .collect();
    let zoned = TimestampMicrosecondArray::from(of(1_000_000, 654_321));
    let columns: Vec<(&str, &str, ArrayRef)> = vec![
        ("day32", "DATE", Arc::new(Date32Array::from(days))),
        ("day64", "DATE", Arc::new(Date64Array::from(millis.clone()))),
        (
            "day_time",
            "DATETIME",
            Arc::new(Date64Array::from(millis.clone())),
        ),
        (
            "midnight",
            "DATE",
            Arc::new(TimestampMillisecondArray::from(millis)),
        ),
        (
            "s",
            "DATETIME",
            Arc::new(TimestampSecondArray::from(of(1, 0))),
        ),
        (
            "ms",
            "DATETIME(3)",
            Arc::new(TimestampMillisecondArray::from(of(1000, 7))),
        ),
        (
            "us",
            "DATETIME(6)",
            Arc::new(TimestampMicrosecondArray::from(of(1_000_000, 999_999))),
        ),
        (
            "zoned",
            "DATETIME(6)",
            Arc::new(zoned.with_timezone("+02:00")),
        ),
        (
            "text",
            "CHAR(26)",
            Arc::new(TimestampMicrosecondArray::from(of(1_000_000, 1))),
        ),
    ];
    let table = Table::new(columns.iter().map(|(name, kind, _)| (*name, *kind)));
    let file = parquet(columns.into_iter().map(|(name, _, array)| (name, array)));
    let (made, changes) = converted(&file, &table, "");
    assert_eq!(
        changes,
        serde_json::json!({"zoned": {"zone": seconds.len()}})
    );
    let rows = Load::new(&table, Dialect::qserv(), "latin1").run(&made);
    for (row, second) in rows.unwrap().in_silence().iter().zip(&seconds) {
        let day = written(*second, 0, "%Y-%m-%d");
        let time = written(*second, 0, "%Y-%m-%d %H:%M:%S");
        let expected = [
            day.clone(),
            day.clone(),
            format!("{day} 00:00:00"),
            day,
            time.clone(),
            format!("{time}.007"),
            format!("{time}.999999"),
            format!("{time}.654321"),
            format!("{time}.000001"),
        ];
        assert_eq!(*row, expected);
    }
    // What was written is text that goes through the text rules unchanged.
    assert!(sanitized(&made, &table, "").0 == made);
}

#[test]
fn digits_that_a_column_does_not_keep_are_cut_or_rounded_as_mariadb_would_hold_them() {
    let ticks = vec![
        1_700_000_000_123_456_789,
        -1,
        999_999_999,
        i64::MIN,
        i64::MAX,
        0,
    ];
    let array: ArrayRef = Arc::new(TimestampNanosecondArray::from(ticks.clone()));
    let table = Table::new([
        ("a", "DATETIME(6)"),
        ("b", "DATETIME(3)"),
        ("c", "DATETIME"),
    ]);
    let file = parquet(["a", "b", "c"].map(|name| (name, Arc::clone(&array))));
    refused(
        "convert",
        &file,
        &table,
        "--fraction error",
        &["row 1, column a", "6 digits"],
    );
    for rule in ["cut", "round"] {
        let (made, changes) = converted(&file, &table, &format!("--fraction {rule}"));
        for column in ["a", "b", "c"] {
            assert_eq!(
                changes[column],
                serde_json::json!({"fraction": 5}),
                "{column}"
            );
        }
        let rows = Load::new(&table, Dialect::qserv(), "latin1").run(&made);
        for (row, ticks) in rows.unwrap().in_silence().iter().zip(&ticks) {
            for (found, digits) in row.iter().zip([6u32, 3, 0]) {
                let unit = 10i128.pow(9 - digits);
                let half = if rule == "round" { unit / 2 } else { 0 };
                let kept = (i128::from(*ticks) + half).div_euclid(unit) * unit;
                let (second, nanos) = (
                    kept.div_euclid(1_000_000_000),
                    kept.rem_euclid(1_000_000_000),
                );
                let fraction = format!(".{nanos:09}");
                let shown = if digits == 0 {
                    ""
                } else {
                    &fraction[..=digits as usize]
                };
                let time = written(second as i64, 0, "%Y-%m-%d %H:%M:%S");
                assert_eq!(*found, format!("{time}{shown}"), "{rule} {ticks}");
            }
        }
    }
}

#[test]
fn times_of_day_and_spans_arrive() {
    let of_day = [0, 1, 3_599, 43_200, 86_399];
    let spans = [
        0,
        1,
        -1,
        100 * 3600,
        -(100 * 3600) - 1,
        3_020_399,
        -3_020_399,
    ];
    let table = Table::new([
        ("s", "TIME"),
        ("ms", "TIME(3)"),
        ("us", "TIME(6)"),
        ("ns", "TIME(6)"),
    ]);
    let ticks = |per: i64, part: i64| of_day.map(|s| s * per + part).to_vec();
    let seconds = of_day.map(|second| second as i32).to_vec();
    let millis = of_day.map(|second| second as i32 * 1000 + 5).to_vec();
    let file = parquet([
        ("s", Arc::new(Time32SecondArray::from(seconds)) as ArrayRef),
        ("ms", Arc::new(Time32MillisecondArray::from(millis))),
        (
            "us",
            Arc::new(Time64MicrosecondArray::from(ticks(1_000_000, 999_999))),
        ),
        (
            "ns",
            Arc::new(Time64NanosecondArray::from(ticks(1_000_000_000, 1_000))),
        ),
    ]);
    let (made, changes) = converted(&file, &table, "");
    assert_eq!(changes, serde_json::json!({}));
    let rows = Load::new(&table, Dialect::qserv(), "latin1").run(&made);
    let clock = |span: i64| {
        let (sign, span) = (if span < 0 { "-" } else { "" }, span.abs());
        format!(
            "{sign}{:02}:{:02}:{:02}",
            span / 3600,
            span / 60 % 60,
            span % 60
        )
    };
    for (row, second) in rows.unwrap().in_silence().iter().zip(of_day) {
        let time = clock(second);
        let parts = ["", ".005", ".999999", ".000001"].map(|part| format!("{time}{part}"));
        assert_eq!(*row, parts);
    }
    assert!(sanitized(&made, &table, "").0 == made);

    let table = Table::new(
        [
            ("s", "TIME"),
            ("ms", "TIME(3)"),
            ("us", "TIME(6)"),
            ("ns", "TIME(6)"),
        ]
        .into_iter()
        .chain([("n", "BIGINT")]),
    );
    let ticks = |per: i64| spans.map(|span| span * per).to_vec();
    let file = parquet([
        (
            "s",
            Arc::new(DurationSecondArray::from(ticks(1))) as ArrayRef,
        ),
        ("ms", Arc::new(DurationMillisecondArray::from(ticks(1000)))),
        (
            "us",
            Arc::new(DurationMicrosecondArray::from(ticks(1_000_000))),
        ),
        (
            "ns",
            Arc::new(DurationNanosecondArray::from(ticks(1_000_000_000))),
        ),
        (
            "n",
            Arc::new(DurationNanosecondArray::from(ticks(1_000_000_000))),
        ),
    ]);
    let (made, changes) = converted(&file, &table, "");
    assert_eq!(changes, serde_json::json!({}));
    let rows = Load::new(&table, Dialect::qserv(), "latin1").run(&made);
    for (row, span) in rows.unwrap().in_silence().iter().zip(spans) {
        let time = clock(span);
        let parts = ["", ".000", ".000000", ".000000"].map(|part| format!("{time}{part}"));
        assert_eq!(row[..4], parts);
        assert_eq!(row[4], (span * 1_000_000_000).to_string());
    }

    // Parts of seconds of spans below zero, and what is longer than TIME.
    let table = Table::new([("a", "TIME"), ("b", "TIME(3)")]);
    let parts: ArrayRef = Arc::new(DurationMicrosecondArray::from(vec![
        -500_000, -1, 1_500_000,
    ]));
    let file = parquet([("a", Arc::clone(&parts)), ("b", parts)]);
    for (rule, expected) in [
        (
            "cut",
            [
                ["00:00:00", "-00:00:00.500"],
                ["00:00:00", "00:00:00.000"],
                ["00:00:01", "00:00:01.500"],
            ],
        ),
        (
            "round",
            [
                ["-00:00:01", "-00:00:00.500"],
                ["00:00:00", "00:00:00.000"],
                ["00:00:02", "00:00:01.500"],
            ],
        ),
    ] {
        let (made, _) = converted(&file, &table, &format!("--fraction {rule}"));
        let rows = Load::new(&table, Dialect::qserv(), "latin1").run(&made);
        assert_eq!(rows.unwrap().in_silence(), expected, "{rule}");
    }
    let table = Table::new([("a", "TIME")]);
    let long: ArrayRef = Arc::new(DurationSecondArray::from(vec![0, 3_020_400, -9_000_000]));
    let file = parquet([("a", long)]);
    refused(
        "convert",
        &file,
        &table,
        "",
        &["row 2, column a", "3020400", "838:59:59"],
    );
    for (rule, expected) in [
        ("clamp", ["00:00:00", "838:59:59", "-838:59:59"]),
        ("null", ["00:00:00", "NULL", "NULL"]),
    ] {
        let (made, changes) = converted(&file, &table, &format!("--overflow {rule}"));
        assert_eq!(changes["a"]["overflow"], 2);
        let rows = Load::new(&table, Dialect::qserv(), "latin1").run(&made);
        assert_eq!(rows.unwrap().in_silence().concat(), expected);
    }
}

#[test]
fn years_that_mariadb_does_not_have() {
    let table = Table::new([("a", "DATETIME"), ("b", "DATE")]);
    let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![
        0,
        LAST + 1,
        FIRST - 1,
        NO_DAY * DAY,
    ]));
    let days: ArrayRef = Arc::new(Date32Array::from(vec![
        0,
        i32::MAX,
        i32::MIN,
        NO_DAY as i32,
    ]));
    let file = parquet([("a", seconds), ("b", Arc::clone(&days))]);
    refused(
        "convert",
        &file,
        &table,
        "",
        &["row 2, column a", "years 0 to 9999"],
    );
    for (rule, expected) in [
        (
            "clamp",
            [
                ["9999-12-31 23:59:59", "9999-12-31"],
                ["0000-01-01 00:00:00", "0000-01-01"],
                ["0000-02-28 23:59:59", "0000-02-28"],
            ],
        ),
        (
            "null",
            [["NULL", "NULL"], ["NULL", "NULL"], ["NULL", "NULL"]],
        ),
    ] {
        let (made, changes) = converted(&file, &table, &format!("--overflow {rule}"));
        assert_eq!(changes["a"]["overflow"], 3);
        assert_eq!(changes["b"]["overflow"], 3);
        let rows = Load::new(&table, Dialect::qserv(), "latin1").run(&made);
        assert_eq!(rows.unwrap().in_silence()[1..], expected);
    }
    let table = Table::new([("b", "DATE")]);
    assert!(
        Load::new(&table, Dialect::qserv(), "latin1")
            .run(b"0000-02-29\n")
            .is_err()
    );
    refused(
        "sanitize",
        b"0000-02-29\n",
        &table,
        "--fields b",
        &["line 1, column b"],
    );
    let file = parquet([("b", days)]);
    refused(
        "convert",
        &file,
        &table,
        "",
        &["row 2, column b", "years 0 to 9999"],
    );
}

#[test]
fn texts_of_dates_and_times_mean_to_mariadb_what_they_mean_here() {
    let table = Table::new([("d", "DATE"), ("t", "DATETIME(6)"), ("s", "TIME(6)")]);
    let date_times = [
        ("2026-11-21", "2026-11-21 00:00:00.000000"),
        ("2026/11/21", "2026-11-21 00:00:00.000000"),
        ("2026.11.21", "2026-11-21 00:00:00.000000"),
        ("20261121", "2026-11-21 00:00:00.000000"),
        ("20261121235958", "2026-11-21 23:59:58.000000"),
        ("20261121235958.25", "2026-11-21 23:59:58.250000"),
        ("2026-11-21T01:02", "2026-11-21 01:02:00.000000"),
        ("2026-1-2 3:4:5", "2026-01-02 03:04:05.000000"),
        ("2026-11-21 01:02:03.1234567", "2026-11-21 01:02:03.123456"),
        ("2026-11-21T23:59:59Z", "2026-11-21 23:59:59.000000"),
        ("2026-11-21T00:30:00+01:00", "2026-11-20 23:30:00.000000"),
        ("2026-11-21 01:02:03.5 UTC", "2026-11-21 01:02:03.500000"),
        ("2026-11-21 01:02:03.", "2026-11-21 01:02:03.000000"),
        ("0000-00-00", "0000-00-00 00:00:00.000000"),
        ("0000-00-00 00:00:00", "0000-00-00 00:00:00.000000"),
        ("2026-11-00", "2026-11-00 00:00:00.000000"),
        (" 2026-11-21 ", "2026-11-21 00:00:00.000000"),
    ];
    let times = [
        ("01:02:03", "01:02:03.000000"),
        ("010203", "01:02:03.000000"),
        ("-838:59:59", "-838:59:59.000000"),
        ("838:59:59.999999", "838:59:59.999999"),
        ("1:2", "01:02:00.000000"),
        ("00:00:00.1234567", "00:00:00.123456"),
        ("-00:00:00.25", "-00:00:00.250000"),
        ("102:03:04", "102:03:04.000000"),
        ("010203.5", "01:02:03.500000"),
        ("01:02:03.", "01:02:03.000000"),
    ];
    let text: String = date_times
        .iter()
        .enumerate()
        .map(|(at, (text, _))| format!("2026-11-21\t{text}\t{}\n", times[at % times.len()].0))
        .collect();
    let (made, _) = sanitized(text.as_bytes(), &table, "--fields d,t,s");
    let rows = Load::new(&table, Dialect::qserv(), "latin1").run(&made);
    for (at, row) in rows.unwrap().in_silence().iter().enumerate() {
        assert_eq!(row[1], date_times[at].1, "{}", date_times[at].0);
        let (text, expected) = times[at % times.len()];
        assert_eq!(row[2], expected, "{text}");
    }
    let table = Table::new([("d", "DATE")]);
    let dates = [
        "2026-11-21",
        "2026/11/21",
        "2026.1.2",
        "20261121",
        "0000-00-00",
        "2026-11-00",
    ];
    let dates_with_times = ["2026-11-21 00:00:00", "2026-11-21T00:00:00Z"];
    let text: String = dates
        .iter()
        .chain(&dates_with_times)
        .map(|d| format!("{d}\n"))
        .collect();
    let (made, _) = sanitized(text.as_bytes(), &table, "--fields d");
    let rows = Load::new(&table, Dialect::qserv(), "latin1").run(&made);
    let expected = [
        "2026-11-21",
        "2026-11-21",
        "2026-01-02",
        "2026-11-21",
        "0000-00-00",
        "2026-11-00",
    ];
    let found = rows.unwrap().in_silence().concat();
    assert_eq!(found[..6], expected);
    assert_eq!(found[6..], ["2026-11-21", "2026-11-21"]);
}

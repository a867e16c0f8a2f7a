//! What MariaDB does to values as other programs write them, and to the same after skyprep.
//!
//! In strict mode a bad value of the first row fails the load of a `MyISAM` table; in later rows it
//! is a warning and a wrong value, or a wrong value alone. After `sanitize` the same text loads in
//! silence, or was refused with the value's name before any load.

use super::loading::{refused, sanitized};
use super::mariadb::{Load, Table};
use skyprep::dialect::Dialect;

/// What MariaDB does to a bad value in the first row.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Naive {
    /// It ends the load; in the second row it is a warning and a wrong value.
    Refused,
    /// It stores something else, and warns or not, in every row.
    Spoilt,
}

/// What becomes of the value in skyprep.
#[derive(Debug, Clone, Copy)]
enum After {
    /// MariaDB holds this.
    Holds(&'static str),
    /// It is refused, and the message says this.
    Refused(&'static str),
}

use After::{Holds, Refused};

/// Type, good value, bad value as a naive program writes it, what MariaDB holds of the good one,
/// what is done to the bad one without and with skyprep.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Naive,
    After,
);

const DOUBLE_MAX: &str = "1.7976931348623157e308";

const CASES: &[Case] = &[
    ("DOUBLE", "1.5", "nan", "1.5", Naive::Refused, Holds("NULL")),
    ("DOUBLE", "1.5", "NaN", "1.5", Naive::Refused, Holds("NULL")),
    (
        "DOUBLE",
        "1.5",
        "inf",
        "1.5",
        Naive::Refused,
        Holds(DOUBLE_MAX),
    ),
    (
        "DOUBLE",
        "1.5",
        "-Infinity",
        "1.5",
        Naive::Refused,
        Holds("-1.7976931348623157e308"),
    ),
    (
        "DOUBLE",
        "1.5",
        "",
        "1.5",
        Naive::Refused,
        Refused("found \"\", expected a number"),
    ),
    ("DOUBLE", "1.5", "true", "1.5", Naive::Refused, Holds("1")),
    (
        "DOUBLE",
        "1.5",
        "1e400",
        "1.5",
        Naive::Refused,
        Refused("\"1e400\", too large for DOUBLE"),
    ),
    (
        "DOUBLE",
        "1.5",
        "1.5x",
        "1.5",
        Naive::Refused,
        Refused("\"1.5x\", expected a number"),
    ),
    (
        "DOUBLE",
        "1.5",
        "null",
        "1.5",
        Naive::Refused,
        Refused("\"null\", expected a number"),
    ),
    (
        "DOUBLE",
        "1.5",
        "NULL",
        "1.5",
        Naive::Refused,
        Refused("\"NULL\", expected a number"),
    ),
    (
        "DOUBLE NOT NULL",
        "1.5",
        "\\N",
        "1.5",
        Naive::Refused,
        Refused("the column is NOT NULL"),
    ),
    (
        "DOUBLE NOT NULL",
        "1.5",
        "nan",
        "1.5",
        Naive::Refused,
        Refused("the column is NOT NULL"),
    ),
    (
        "FLOAT",
        "1.5",
        "inf",
        "1.5",
        Naive::Refused,
        Holds("3.4028234663852886e38"),
    ),
    (
        "FLOAT",
        "1.5",
        "3.4028235e+38",
        "1.5",
        Naive::Refused,
        Holds("3.4028234663852886e38"),
    ),
    (
        "FLOAT",
        "1.5",
        "1.7976931348623157E+308",
        "1.5",
        Naive::Refused,
        Refused("too large for FLOAT"),
    ),
    (
        "FLOAT",
        "1.5",
        "1e39",
        "1.5",
        Naive::Refused,
        Refused("\"1e39\", too large for FLOAT"),
    ),
    ("TINYINT", "5", "true", "5", Naive::Refused, Holds("1")),
    ("TINYINT", "5", "False", "5", Naive::Refused, Holds("0")),
    (
        "TINYINT",
        "5",
        "128",
        "5",
        Naive::Refused,
        Refused("found 128, expected -128 to 127"),
    ),
    (
        "TINYINT UNSIGNED",
        "5",
        "-1",
        "5",
        Naive::Refused,
        Refused("found -1, expected 0 to 255"),
    ),
    (
        "BIGINT",
        "5",
        "9223372036854775808",
        "5",
        Naive::Refused,
        Refused("9223372036854775808"),
    ),
    (
        "INT",
        "5",
        "",
        "5",
        Naive::Refused,
        Refused("found \"\", expected a whole number"),
    ),
    ("INT", "5", "inf", "5", Naive::Refused, Holds("2147483647")),
    ("INT", "5", "nan", "5", Naive::Refused, Holds("NULL")),
    (
        "INT",
        "5",
        "1.5",
        "5",
        Naive::Spoilt,
        Refused("\"1.5\", expected a whole number"),
    ),
    (
        "INT",
        "5",
        "7 apples",
        "5",
        Naive::Refused,
        Refused("\"7 apples\""),
    ),
    (
        "DECIMAL(5,2)",
        "1.25",
        "1000",
        "1.25",
        Naive::Refused,
        Refused("3 digits before the point"),
    ),
    (
        "DECIMAL(5,2)",
        "1.25",
        "1.255",
        "1.25",
        Naive::Spoilt,
        Refused("2 digits behind the point"),
    ),
    (
        "DECIMAL(5,2)",
        "1.25",
        "nan",
        "1.25",
        Naive::Refused,
        Holds("NULL"),
    ),
    (
        "DATE",
        "2026-11-21",
        "2026-02-30",
        "2026-11-21",
        Naive::Refused,
        Refused("2026-02-30"),
    ),
    (
        "DATE",
        "2026-11-21",
        "",
        "2026-11-21",
        Naive::Refused,
        Refused("expected a date"),
    ),
    (
        "DATE",
        "2026-11-21",
        "2026-11-21 12:00:00",
        "2026-11-21",
        Naive::Spoilt,
        Refused("midnight"),
    ),
    (
        "DATETIME(6)",
        "2026-11-21 01:02:03",
        "2026-11-21T01:02:03.123456789Z",
        "2026-11-21 01:02:03.000000",
        Naive::Refused,
        Holds("2026-11-21 01:02:03.123456"),
    ),
    (
        "DATETIME(6)",
        "2026-11-21 01:02:03",
        "2026-11-21T01:02:03.123456789",
        "2026-11-21 01:02:03.000000",
        Naive::Spoilt,
        Holds("2026-11-21 01:02:03.123456"),
    ),
    (
        "DATETIME",
        "2026-11-21 01:02:03",
        "2026-11-21 01:02:03+01:00",
        "2026-11-21 01:02:03",
        Naive::Refused,
        Holds("2026-11-21 00:02:03"),
    ),
    (
        "TIME",
        "01:02:03",
        "900:00:00",
        "01:02:03",
        Naive::Refused,
        Refused("up to 838:59:59"),
    ),
    (
        "CHAR(3)",
        "abc",
        "abcd",
        "abc",
        Naive::Refused,
        Refused("\"abcd\" of 4 characters"),
    ),
    (
        "BINARY(3)",
        "abc",
        "abcd",
        "abc",
        Naive::Refused,
        Refused("\"abcd\" of 4 bytes"),
    ),
    ("BIT(1)", "\u{1}", "1", "1", Naive::Refused, Holds("1")),
    ("BIT(1)", "\u{1}", "true", "1", Naive::Refused, Holds("1")),
    ("BIT(8)", "A", "255", "65", Naive::Refused, Holds("255")),
    (
        "JSON",
        "{}",
        "{a}",
        "{}",
        Naive::Refused,
        Refused("expected JSON"),
    ),
];

fn form(kind: &str) -> &'static str {
    match kind {
        "FLOAT" => "cast(a as double)",
        kind if kind.starts_with("BIT") => "a+0",
        _ => "a",
    }
}

#[test]
fn bad_values_fail_or_spoil_a_load_and_skyprep_puts_them_right_or_names_them() {
    let mut wrong = 0;
    for (kind, good, bad, held, naive, after) in CASES {
        let table = Table::new([("a", *kind)]);
        let load = || Load::new(&table, Dialect::qserv(), "latin1").selecting(form(kind));
        let rows = [[good, bad], [bad, good]].map(|[first, second]| format!("{first}\n{second}\n"));
        let case = format!("{kind} {bad}");

        let first = load().run(rows[1].as_bytes());
        assert_eq!(
            first.is_err(),
            *naive == Naive::Refused,
            "{case}: {first:?}"
        );
        let second = load().run(rows[0].as_bytes());
        // JSON's check is no matter of strictness.
        assert!(second.is_ok() || *kind == "JSON", "{case}: {second:?}");
        if let (Ok(second), Holds(right)) = (&second, after) {
            assert!(second.warnings > 0, "{case}: {second:?}");
            wrong += usize::from(second.rows[1] != [*right]);
        }

        for (row, text) in rows.iter().enumerate() {
            match after {
                Holds(right) => {
                    let (made, changes) = sanitized(text.as_bytes(), &table, "--fields a");
                    let found = load().run(&made).unwrap().in_silence().concat();
                    let mut expected = [*held, *right];
                    if row == 1 {
                        expected.reverse();
                    }
                    assert_eq!(found, expected, "{case}");
                    assert!(changes["a"].is_object(), "{case}: not counted");
                }
                Refused(said) => {
                    let line = format!("x.in, line {}, column a", 2 - row);
                    refused(
                        "sanitize",
                        text.as_bytes(),
                        &table,
                        "--fields a",
                        &[&line, said],
                    );
                }
            }
        }
    }
    // Limits are what MariaDB, too, would make of numbers; the others came out as others.
    assert!(wrong >= 10, "{wrong} values were loaded wrong");
}

#[test]
fn what_quotes_and_backslashes_of_other_programs_do_to_texts() {
    let table = Table::new([("a", "VARCHAR(30)"), ("b", "INT")]);
    let tabs = || Load::new(&table, Dialect::qserv(), "latin1").selecting("hex(a), b");
    let csv = || Load::new(&table, Dialect::qserv_csv(), "latin1").selecting("hex(a), b");
    let hex = |text: &str| data_encoding::HEXUPPER.encode(text.as_bytes());

    // As programs write that know of delimiters only: backslashes are taken for escapes.
    let spoilt = tabs().run(b"C:\\new\t1\nx\\\t2\n3\t3\n");
    let spoilt = spoilt.map(|loaded| (loaded.rows[0].clone(), loaded.warnings));
    assert!(spoilt.is_err() || spoilt.unwrap().0[0] != hex("C:\\new"));
    let one = tabs().run(b"C:\\new\t1\n").unwrap().in_silence();
    assert_eq!(
        one,
        [[hex("C:\new").as_str(), "1"]],
        "in silence, and wrong"
    );

    // RFC 4180: a line end in quotes is cut by Qserv, and `""` is right by accident only.
    let naive = b"\"two\nlines\",1\n\"a\"\"b\",2\n\"C:\\new\",3\n\"\\N\",4\n\"NULL\",5\n";
    let spoilt = csv().run(naive);
    assert!(spoilt.is_err() || spoilt.unwrap().warnings > 0);
    for (args, dialect) in [
        ("", Dialect::qserv()),
        ("--dialect qserv-csv", Dialect::qserv_csv()),
    ] {
        let args = format!("{args} --in-dialect rfc4180 --fields a,b");
        let (made, _) = sanitized(naive, &table, &args);
        let load = Load::new(&table, dialect, "latin1").selecting("hex(a), b");
        let rows = load.run(&made).unwrap().in_silence();
        let texts = ["two\nlines", "a\"b", "C:\\new", "\\N", "NULL"];
        for (at, (row, text)) in rows.iter().zip(texts).enumerate() {
            assert_eq!(*row, [hex(text), (at + 1).to_string()], "{args}");
        }
    }

    // CRLF and a byte order mark.
    let table = Table::new([("a", "INT"), ("b", "VARCHAR(9)")]);
    let load = || Load::new(&table, Dialect::qserv(), "latin1").selecting("a, hex(b)");
    let windows = b"\xef\xbb\xbf1\tx\r\n2\ty\r\n";
    assert!(load().run(windows).is_err());
    let found = load().run(b"1\tx\r\n").unwrap().in_silence();
    assert_eq!(found, [["1", "780D"]], "in silence, and wrong");
    let (made, _) = sanitized(windows, &table, "--fields a,b");
    assert_eq!(
        load().run(&made).unwrap().in_silence(),
        [["1", "78"], ["2", "79"]]
    );

    // UTF-8 loaded as latin1 arrives doubled; skyprep writes what the load says.
    let table = Table::new([("b", "VARCHAR(9)")]).with_charset("utf8mb4");
    let load = |charset| Load::new(&table, Dialect::qserv(), charset).selecting("hex(b)");
    let found = load("latin1").run("é\n".as_bytes()).unwrap().in_silence();
    assert_eq!(found, [["C383C2A9"]], "in silence, and wrong");
    let (made, _) = sanitized("é\n".as_bytes(), &table, "--fields b --in-charset utf8mb4");
    assert_eq!(load("latin1").run(&made).unwrap().in_silence(), [["C3A9"]]);
}

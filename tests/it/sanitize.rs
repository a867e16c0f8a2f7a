//! `sanitize` as its users meet it: values by type against naive rules, character sets, streams,
//! and what is said of bad values.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::harness::{Bench, words};

/// Column types of the naive rules, with the least and the most whole number they hold.
const TYPES: [(&str, i128, i128); 8] = [
    ("TINYINT", -128, 127),
    ("SMALLINT UNSIGNED", 0, 65_535),
    ("INT", -2_147_483_648, 2_147_483_647),
    (
        "BIGINT",
        -9_223_372_036_854_775_808,
        9_223_372_036_854_775_807,
    ),
    ("BIGINT UNSIGNED", 0, 18_446_744_073_709_551_615),
    ("FLOAT", 0, 0),
    ("DOUBLE", 0, 0),
    ("VARCHAR(6)", 0, 0),
];

const NULLS: [&str; 3] = ["n/a", "-9999", ""];

/// What a value becomes: text, NULL as `\N`, or nothing if it is refused.
fn naive(name: &str, (least, most): (i128, i128), value: &str) -> Option<String> {
    if NULLS.contains(&value) {
        return Some(r"\N".to_owned());
    }
    if name.starts_with("VARCHAR") {
        return (value.chars().count() <= 6).then(|| escaped(value));
    }
    let text = value.trim_matches([' ', '\t', '\n', '\r', '\x0c']);
    let is_float = matches!(name, "FLOAT" | "DOUBLE");
    match value {
        "true" | "True" | "TRUE" | "t" | "T" => return Some("1".to_owned()),
        "false" | "False" | "FALSE" | "f" | "F" => return Some("0".to_owned()),
        _ => {}
    }
    match text.to_ascii_lowercase().as_str() {
        "nan" | "-nan" | "+nan" | "nan(0x1)" | "1.#qnan" | "-1.#ind" => {
            return Some(r"\N".to_owned());
        }
        "inf" | "+inf" | "infinity" | "+infinity" | "1.#inf" => {
            return Some(match name {
                "FLOAT" => "3.4028234E+38".to_owned(),
                "DOUBLE" => "1.7976931348623157E+308".to_owned(),
                _ => most.to_string(),
            });
        }
        "-inf" | "-infinity" | "-1.#inf" => {
            return Some(match name {
                "FLOAT" => "-3.4028234E+38".to_owned(),
                "DOUBLE" => "-1.7976931348623157E+308".to_owned(),
                _ => least.to_string(),
            });
        }
        _ => {}
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b))
    {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    let fits = match (is_float, text.parse::<i128>()) {
        (false, Ok(whole)) => (least..=most).contains(&whole),
        // Only small ones are made here, so a double is exact.
        (false, Err(_)) => {
            number.fract() == 0.0
                && number.abs() < 1e15
                && (least..=most).contains(&(number as i128))
        }
        (true, _) if name == "FLOAT" => number.abs() < 3.402_823_5e38,
        (true, _) => number.is_finite(),
    };
    fits.then(|| text.to_owned())
}

/// Escapes a text for Qserv's dialect with commas and quotes.
fn escaped(value: &str) -> String {
    if value.eq_ignore_ascii_case("NULL") {
        return format!("\"{value}\"");
    }
    let mut out = String::new();
    for c in value.chars() {
        match c {
            '\n' => out.push_str(r"\n"),
            '\r' => out.push_str(r"\r"),
            ',' | '"' | '\\' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
}

/// Writes a value as RFC 4180 has it.
fn quoted(value: &str, always: bool) -> String {
    if always || value.is_empty() || value.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", value.replace('"', "\"\""))
    } else {
        value.to_owned()
    }
}

fn any_value() -> impl Strategy<Value = String> {
    let known = [
        "true",
        "True",
        "FALSE",
        "t",
        "F",
        "yes",
        "nan",
        "NaN",
        "-NAN",
        "+nan",
        "nan(0x1)",
        "inf",
        "Inf",
        "+INF",
        "-inf",
        "Infinity",
        "-Infinity",
        "1.#INF",
        "-1.#INF",
        "1.#QNAN",
        "-1.#IND",
        "n/a",
        "-9999",
        "",
        "NULL",
        "null",
        "\\N",
        "0x1F",
        " 7",
        "7 ",
        "\t-7.5\n",
        "1e3",
        "1.0",
        "1.5",
        "-0",
        "007",
        "+5",
        "5.",
        ".5",
        "1_0",
        "1e400",
        "3.5e38",
        "a,b",
        "say \"hi\"",
        "l1\nl2",
        "\\",
        "naïve",
        "天文台",
        "127",
        "128",
        "-128",
        "-129",
        "65535",
        "65536",
        "2147483647",
        "2147483648",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "1-2",
        "--1",
        "1.2.3",
        "1e",
        "e1",
        "-",
        ".",
    ];
    prop_oneof![
        3 => prop::sample::select(known.map(str::to_owned).to_vec()),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        2 => any::<i8>().prop_map(|number| number.to_string()),
        1 => (-1e9..1e9).prop_map(|number: f64| number.to_string()),
        1 => (-1e9..1e9).prop_map(|number: f64| format!("{number:.3}")),
    ]
}

#[test]
fn values_become_what_naive_rules_say() {
    let bench = Bench::new();
    let columns: Vec<String> = TYPES
        .iter()
        .enumerate()
        .map(|(at, (name, ..))| format!(r#"{{"name": "c{at}", "type": "{name}"}}"#))
        .collect();
    bench.write(
        "t.json",
        format!(r#"{{"schema": [{}]}}"#, columns.join(",")),
    );
    let row = prop::collection::vec((any_value(), any::<bool>()), TYPES.len());
    let rows = prop::collection::vec(row, 1..60);
    let command = "sanitize in.csv --in-dialect rfc4180 --in-null \\N --dialect qserv-csv --charset utf8mb4 \
        --schema t.json --null-text n/a --null-text -9999 --max-rejects 100000 --threads 2 -q -o -";
    let mut args = words(command);
    args.extend(["--null-text".to_owned(), String::new()]);
    let mut runner = TestRunner::new(Config::with_cases(60));
    let outcome = runner.run(&rows, |rows| {
        let (mut text, mut expected) = (String::new(), String::new());
        for row in &rows {
            let fields: Vec<String> = row.iter().map(|(value, q)| quoted(value, *q)).collect();
            text.push_str(&format!("{}\n", fields.join(",")));
            let cells = row
                .iter()
                .zip(TYPES)
                .map(
                    |((value, is_quoted), (name, least, most))| match value.as_str() {
                        "\\N" if !is_quoted => Some(r"\N".to_owned()),
                        value => naive(name, (least, most), value),
                    },
                );
            if let Some(cells) = cells.collect::<Option<Vec<_>>>() {
                expected.push_str(&format!("{}\n", cells.join(",")));
            }
        }
        bench.write("in.csv", &text);
        let found = bench.run(&args);
        prop_assert!(found.code <= 1, "{}", found.stderr);
        prop_assert_eq!(String::from_utf8_lossy(&found.stdout), expected, "{}", text);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn every_pairing_of_character_sets() {
    let bench = Bench::new();
    for (from, to, input, expected) in [
        (
            "latin1",
            "latin1",
            &b"a\xe9,\x80\n"[..],
            &b"a\xe9,\x80\n"[..],
        ),
        ("latin1", "utf8mb4", b"a\xe9,\x80\n", "aé,€\n".as_bytes()),
        ("utf8mb4", "latin1", "aé,€\n".as_bytes(), b"a\xe9,\x80\n"),
        (
            "utf8mb4",
            "utf8mb4",
            "aé,天\n".as_bytes(),
            "aé,天\n".as_bytes(),
        ),
    ] {
        for rules in ["", "--infer --assume-float double", "--null-text x"] {
            let line = format!(
                "sanitize - --in-charset {from} --charset {to} --in-dialect rfc4180 \
                 --dialect qserv-csv {rules} -q"
            );
            let found = bench.run_with_input(words(&line), input).ok();
            assert_eq!(found.stdout, expected, "{line}");
        }
    }
    let lacking = bench.run_with_input(
        words("sanitize - --in-charset utf8mb4 --charset latin1 -q"),
        "x\ny天\n".as_bytes(),
    );
    lacking.failed(1, &["line 2", "天", "not in latin1", "--charset utf8mb4"]);
}

#[test]
fn text_that_is_not_valid_is_refused_replaced_or_kept() {
    let bench = Bench::new();
    let input = b"1\tgood \xc3\xa9\n2\tbad \xff\n3\tgood\n";
    bench.write("in.txt", input);
    let run = |policy: &str, rules: &str| {
        let line = format!("sanitize in.txt --charset utf8mb4 --invalid-text {policy} {rules} -q");
        bench.run(words(&line))
    };
    for rules in ["", "--infer", "--fields a,b --null-text x"] {
        run("error", rules).failed(1, &["in.txt", "line 2", "bad", "not valid utf8mb4"]);
        let replaced = run("replace", rules).ok().stdout;
        let expected = "1\tgood é\n2\tbad \u{fffd}\n3\tgood\n";
        assert_eq!(String::from_utf8_lossy(&replaced), expected, "{rules}");
        assert_eq!(run("keep", rules).ok().stdout, input, "{rules}");
    }
    let kept = bench
        .run(words(
            "sanitize in.txt --charset utf8mb4 --invalid-text keep -o out.txt",
        ))
        .ok();
    assert!(kept.stderr.contains("invalid_text 1"), "{}", kept.stderr);
}

#[test]
fn marks_line_ends_and_headers() {
    let bench = Bench::new();
    let input = "\u{feff}id,name\r\n1,\"two\r\nlines\"\r\n2,\"a\nb\"\r\n3,plain\r\n";
    let line = "sanitize - --in-dialect rfc4180 --in-header --charset utf8mb4 -q";
    for rules in ["", "--infer"] {
        let found = bench.run_with_input(words(&format!("{line} {rules}")), input.as_bytes());
        let expected = "1\ttwo\\r\\nlines\n2\ta\\nb\n3\tplain\n";
        assert_eq!(String::from_utf8_lossy(&found.ok().stdout), expected);
    }
}

#[test]
fn headers_are_in_the_character_sets_of_their_files() {
    let bench = Bench::new();
    let input = b"id,\xb5_ra\n1,2.5\n";
    bench.write("in.csv", input);
    let line = "convert in.csv --in-dialect rfc4180 --in-header --header --columns µ_ra,id -q -o -";
    let found = bench.run(words(&format!("{line} --in-charset latin1")));
    assert_eq!(found.ok().stdout, b"\xb5_ra\tid\n2.5\t1\n");
    let utf8 = format!("{line} --in-charset latin1 --charset utf8mb4");
    let found = bench.run(words(&utf8));
    assert_eq!(found.ok().stdout, "µ_ra\tid\n2.5\t1\n".as_bytes());
    let unknown = bench.run(words(line));
    unknown.failed(
        1,
        &["line 1", "the header is not UTF-8", "--in-charset latin1"],
    );
    let unwritable = bench.run_with_input(
        words("sanitize - --in-dialect rfc4180 --in-header --header -q"),
        "天,b\n1,2\n".as_bytes(),
    );
    unwritable.failed(2, &["column name", "天", "--charset utf8mb4"]);
}

#[test]
fn rows_of_many_blocks_keep_their_order() {
    let bench = Bench::new();
    let (mut input, mut expected) = (String::new(), String::new());
    for row in 0..120_000 {
        let quoted = if row % 7 == 0 { "\"x, y\"" } else { "x y" };
        let flag = ["true", "False", "7"][row % 3];
        input.push_str(&format!("{row},{row}.25,{flag},{quoted}\n"));
        let (flag, text) = (
            ["1", "0", "7"][row % 3],
            if row % 7 == 0 { "x\\, y" } else { "x y" },
        );
        expected.push_str(&format!("{row},{row}.25,{flag},{text}\n"));
    }
    let schema = r#"{"schema": [{"name":"a","type":"INT"},{"name":"b","type":"DOUBLE"},
        {"name":"c","type":"TINYINT"},{"name":"d","type":"VARCHAR(9)"}]}"#;
    bench.write("t.json", schema);
    bench.write("in.csv", &input);
    for (threads, how) in [(1, "in.csv"), (4, "in.csv"), (4, "-")] {
        let line = format!(
            "sanitize {how} --in-dialect rfc4180 --dialect qserv-csv --schema t.json \
             --threads {threads} -q"
        );
        let found = bench.run_with_input(words(&line), input.as_bytes()).ok();
        assert!(found.stdout == expected.as_bytes(), "{line}");
    }
}

#[test]
fn a_bad_value_is_named_with_its_place() {
    let bench = Bench::new();
    let schema = r#"{"schema": [{"name":"id","type":"INT"},{"name":"mag","type":"FLOAT"}]}"#;
    bench.write("t.json", schema);
    bench.write("in.csv", "1,2.5\n2,\"x\ny\"\n3,0x1F\n");
    let line = "sanitize in.csv --in-dialect rfc4180 --schema t.json -o out.txt -q";
    bench.run(words(line)).failed(
        1,
        &["in.csv", "line 2", "mag", "x\\ny", "expected a number"],
    );
    assert!(!bench.path("out.txt").exists());
    bench.write("in.csv", "1,2.5\n2,\"2\n\"\n3,0x1F\n");
    bench
        .run(words(line))
        .failed(1, &["in.csv", "line 4", "mag", "0x1F", "expected a number"]);
    bench.write("in.csv", "1,2.5\n2,3,4\n");
    bench
        .run(words(line))
        .failed(1, &["in.csv", "line 2", "found 3 fields, expected 2"]);
}

#[test]
fn infinities_need_a_type() {
    let bench = Bench::new();
    let run = |line: &str| bench.run_with_input(words(line), b"1\t-Infinity\n2\t1.#QNAN\n");
    let told = run("sanitize - --infer -q");
    told.failed(1, &["line 1", "-Infinity", "--assume-float double|float"]);
    let float = run("sanitize - --infer --assume-float float -q").ok();
    assert_eq!(float.stdout, b"1\t-3.4028234E+38\n2\t\\N\n");
    let kept = run("sanitize - -q").ok();
    assert_eq!(kept.stdout, b"1\t-Infinity\n2\t1.#QNAN\n");
}

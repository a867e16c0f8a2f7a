//! What Qserv's own tools read, write and print, beside what the library does with the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use skyprep::convert::RowTarget;
use skyprep::dialect::{BlockReader, Dialect};
use skyprep::error::Place;
use skyprep::exchange::{Packet, PacketShape};
use skyprep::partition::{
    OverlapRule, Partitioning, PieceOrigin, RaRule, Routing, RoutingOptions, RowUnit,
    UnknownKeyRule,
};
use skyprep::resources::MemoryGate;
use skyprep::sanitize::TextPlan;
use skyprep::schema::{ChunkColumns, TableKind};
use skyprep::sph::{SphConfig, SphTree, StatisticsForm, SubChunkRows, statistics_json};
use skyprep::values::{BoolPolicy, Charset, InfPolicy, NanPolicy, RuleCounts, ValuePolicy};

use super::golden::unzipped;
use super::harness::{Bench, shared, words};

/// The plan from one dialect to another, with values as the tools have them.
fn plan(input: &Dialect, output: &Dialect) -> TextPlan {
    let mut target = RowTarget::new("t", output.clone());
    target.policy = ValuePolicy {
        nan: NanPolicy::Keep,
        inf: InfPolicy::Keep,
        bool: BoolPolicy::Number,
        charset: Charset::Binary,
        ..ValuePolicy::default()
    };
    let names = ["id", "ra", "decl", "s", "t"].map(str::to_owned);
    let columns = target.output_columns(&names).unwrap();
    TextPlan::compile(&target, &columns, input, None, &names).unwrap()
}

/// Writes all rows of a text, or says why one is refused.
fn written(plan: &TextPlan, text: &[u8]) -> Result<Vec<u8>, String> {
    let shape = PacketShape {
        text_bytes: 1 << 12,
        rows: 10,
        slots: 2,
        is_routed: true,
        has_sides: false,
        has_keys: false,
    };
    let lease = MemoryGate::new(1 << 20)
        .try_lease(shape.bytes(), 0)
        .unwrap();
    let (mut packet, mut counts) = (Packet::new(shape, lease), RuleCounts::default());
    let origin = PieceOrigin {
        piece: 0,
        input: 0,
        offset: 0,
        file: "text",
        before: 0,
        unit: RowUnit::Line,
    };
    let mut rows = plan.rows(text, 1, origin).unwrap();
    loop {
        match rows.write_next(&mut packet, &mut counts) {
            Ok(true) => {}
            Ok(false) => return Ok(packet.text().to_vec()),
            Err(fault) => {
                return Err(match fault.into_bad_row(Place::default()) {
                    Ok(row) => row.to_error().to_string(),
                    Err(error) => error.to_string(),
                });
            }
        }
    }
}

#[test]
fn e1_dialect_matrix() {
    let Some(shared) = shared("golden case e1_dialect_matrix") else {
        return;
    };
    let folder = shared.join("golden/e1_dialect_matrix");
    let known: BTreeMap<String, Value> =
        serde_json::from_slice(&fs::read(folder.join("dialects.json")).unwrap()).unwrap();
    let dialects: BTreeMap<&str, Dialect> = known
        .iter()
        .map(|(name, settings)| {
            let mut tree = SphTree::default();
            tree.merge(name, json!({"in": {"csv": settings}}));
            let csv = SphConfig::new(&tree).unwrap().input.csv;
            (name.as_str(), csv.dialect().unwrap())
        })
        .collect();
    let mut plans: BTreeMap<(String, String), TextPlan> = BTreeMap::new();
    let (mut equal, mut refused, mut wrong) = (0, 0, Vec::new());
    let cases = String::from_utf8(unzipped(&folder.join("cases.jsonl")).unwrap()).unwrap();
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| case[key].as_str().unwrap();
        let (input, output) = (&dialects[text("in")], &dialects[text("out")]);
        let plan = plans
            .entry((text("in").to_owned(), text("out").to_owned()))
            .or_insert_with(|| plan(input, output));
        let found = written(plan, text("row").as_bytes());
        if case["rc"] != 0 {
            refused += usize::from(found.is_err());
            continue;
        }
        // The tool writes chunk and sub-chunk behind the fields.
        let delimiter = char::from(output.delimiter());
        let row = case["output"][0].as_str().unwrap();
        let expected = row.rsplitn(3, delimiter).last().unwrap();
        match found {
            Ok(found) if found == format!("{expected}\n").as_bytes() => equal += 1,
            other => wrong.push(format!(
                "{line}\n  {:?}",
                other.map(|text| text.escape_ascii().to_string())
            )),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    // What the tool refuses, these rows being one line each, can't be read or written here either.
    assert_eq!((equal, refused), (2106, 134));
}

#[test]
fn lines_in_quotes_are_read_but_not_rows_behind_a_stray_quote() {
    let quoted = Dialect::sph(b',', Some(b'"'), Some(b'\\'), None).unwrap();
    let tab = Dialect::sph(b'\t', None, Some(b'\\'), None).unwrap();
    let found = written(&plan(&quoted, &tab), b"1,2,3,\"a\nb\",c\n");
    assert_eq!(found.unwrap(), b"1\t2\t3\ta\\nb\tc\n");
    // The quote before z closes nothing; the one behind it ends field and record.
    let text = b"1,2,3,x,\"q\"tail\n2,2,3,y,\"z\"\n";
    for output in [&tab, &quoted] {
        let refused = written(&plan(&quoted, output), text).unwrap_err();
        let expected = r#"line 1, column t: found "\"q\"tail\n2"#;
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn blank_lines_and_byte_order_marks_are_data() {
    let bare = Dialect::sph(b',', None, None, None).unwrap();
    let blank = written(&plan(&bare, &bare), b"1,2,3,a,b\n\n");
    assert!(
        blank
            .unwrap_err()
            .contains("line 2: found 1 fields, expected 5")
    );
    let text = b"\xef\xbb\xbf1,2,3,a,b\n";
    let (mut block, mut kept) = (Vec::new(), Vec::new());
    for dialect in [bare, Dialect::rfc4180()] {
        let mut blocks = BlockReader::new(&text[..], &dialect, 100);
        blocks.next_block(&mut block).unwrap();
        kept.push(block.len());
    }
    assert_eq!(kept, [text.len(), text.len() - 3]);
}

/// The records of the binary indexes of a case, by path.
fn index_records(case: &Path) -> BTreeMap<String, Vec<SubChunkRows>> {
    let text = unzipped(&case.join("expected/bins.txt")).unwrap_or_default();
    let mut records: BTreeMap<String, Vec<SubChunkRows>> = BTreeMap::new();
    let mut path = String::new();
    for line in String::from_utf8(text).unwrap().lines() {
        if let Some(name) = line.strip_prefix("# ") {
            path = name.to_owned();
            continue;
        }
        let numbers: Vec<u64> = line.split(' ').flat_map(str::parse).collect();
        if let [chunk, sub_chunk, rows, overlap_rows] = numbers[..] {
            records.entry(path.clone()).or_default().push(SubChunkRows {
                chunk: chunk as i32,
                sub_chunk: sub_chunk as i32,
                rows,
                overlap_rows,
            });
        }
    }
    records
}

#[test]
fn statistics_are_those_that_the_tools_print() {
    let Some(shared) = shared("statistics of the golden cases") else {
        return;
    };
    let mut equal = 0;
    for case in fs::read_dir(shared.join("golden")).unwrap() {
        let case = case.unwrap().path();
        let name = case.file_name().unwrap().to_str().unwrap();
        // Several runs fill one index there, other tools print other things, or what the tool
        // does is undefined.
        let skipped = ["c4_append", "f2_htm_index", "e5_neg_ra"];
        if skipped.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let records = index_records(&case);
        let known: Vec<String> = records
            .values()
            .map(|records| statistics_json(records.iter().rev().copied(), StatisticsForm::Whole))
            .collect();
        for step in 1..30 {
            let stdout = unzipped(&case.join(format!("expected/step{step}.stdout")));
            let stdout = String::from_utf8(stdout.unwrap_or_default()).unwrap();
            if !stdout.contains("chunkStats") {
                continue;
            }
            let expected = stdout.replace("-nan", "null");
            assert!(
                known.contains(&expected),
                "{name}, step {step}: {expected}\n{known:?}"
            );
            equal += 1;
        }
    }
    assert!(equal >= 25, "{equal} statistics");
}

#[test]
fn a_chunk_that_is_none_is_exit_1() {
    let bench = Bench::new();
    let outcome = bench.run(words("sph-layout 14450"));
    outcome.failed(1, &["chunk is 14450, expected 0 to 14449 with 85 stripes"]);
    assert!(outcome.stdout.is_empty());
    bench.run(words("sph-layout --help")).ok();
}

#[test]
fn positions_are_hexadecimal_only_where_the_tools_read_them() {
    let partitioning = Partitioning {
        stripes: 18,
        sub_stripes: 10,
        overlap: 0.5,
    };
    let chunker = partitioning.chunker().unwrap();
    let dialect = Dialect::sph(b',', None, Some(b'\\'), None).unwrap();
    let mut target = RowTarget::new("t", dialect.clone());
    let routing = Routing::resolve(RoutingOptions {
        chunker,
        kind: TableKind::Director,
        position: (Some("ra".to_owned()), Some("dec".to_owned())),
        position2: (None, None),
        id: None,
        id2: None,
        indexes: Vec::new(),
        unknown: [UnknownKeyRule::Error; 2],
        schema: None,
        overlap: OverlapRule::Write,
        ra_rule: RaRule::Checked,
        columns: ChunkColumns::default(),
    });
    target.routing = Some(routing.unwrap());
    let names = ["ra", "dec"].map(str::to_owned);
    let columns = target.output_columns(&names).unwrap();
    let plan = TextPlan::compile(&target, &columns, &dialect, None, &names).unwrap();
    let routed = |text: &str| written(&plan, text.as_bytes());
    assert!(routed("0x10,10\n").is_ok());
    assert!(routed("16,\x0b 0x1.8p3\n").is_ok());
    assert!(routed("0x200,10\n").unwrap_err().contains("512"));
    assert!(
        routed("0x1g,10\n")
            .unwrap_err()
            .contains("expected a position")
    );

    // MariaDB reads 0x10 as 0, so the row would not be where Qserv looks for it.
    let bench = Bench::new();
    bench.write("in.txt", "1\t0x10\t10\n");
    let line = "partition in.txt -o out --kind director --stripes 18 --sub-stripes 10 \
                --overlap 0.5 --ra ra --dec dec --fields id,ra,dec";
    let expected = "found \"0x10\", expected a position in degrees";
    bench
        .run(words(line))
        .failed(1, &["line 1", "column ra", expected]);
}

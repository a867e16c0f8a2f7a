//! Directors, children and matches of random catalogues, against a partitioner that is nothing but
//! the definition: for each row the chunks it goes to, in input order.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::harness::{Bench, files, words};
use super::naive_chunker::{NaiveChunker, Pair};

/// Numbers that look random and are always the same.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn share(&mut self) -> f64 {
        self.below(1 << 53) as f64 / (1_u64 << 53) as f64
    }

    /// A place on the sky, now and then on a border of chunks.
    pub(crate) fn position(&mut self) -> (f64, f64) {
        match self.below(8) {
            0 => (
                self.below(37) as f64 * 10.0,
                self.below(37) as f64 * 5.0 - 90.0,
            ),
            _ => (self.share() * 360.0, self.share() * 180.0 - 90.0),
        }
    }
}

pub(crate) type Files = BTreeMap<String, Vec<u8>>;

pub(crate) fn add(files: &mut Files, (chunk, _): Pair, kind: &str, row: &str) {
    let name = format!("chunk_{chunk}{kind}.txt");
    let file = files.entry(name).or_default();
    file.extend_from_slice(row.as_bytes());
    file.push(b'\n');
}

/// The lines of a file, with the copies of a row in one order.
///
/// Overlap rows of several sub-chunks of one chunk stand side by side, in an order that nobody has
/// promised. Only the sub-chunk, which stands last, tells them apart.
pub(crate) fn settled(text: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(text).unwrap();
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let row = |line: &&str| line.rfind('\t').unwrap_or(0);
    for copies in lines.chunk_by_mut(|one, two| one[..row(one)] == two[..row(two)]) {
        copies.sort_unstable();
    }
    lines
}

/// What a division of the sky is to have on the command line.
pub(crate) fn division(chunker: &NaiveChunker) -> String {
    format!(
        "--stripes {} --sub-stripes {} --overlap {}",
        chunker.stripes, chunker.sub_stripes, chunker.overlap
    )
}

fn chunkers() -> [NaiveChunker; 3] {
    [(5, 2, 0.5), (9, 3, 0.25), (1, 4, 1.0)].map(|(stripes, sub_stripes, overlap)| NaiveChunker {
        stripes,
        sub_stripes,
        overlap,
    })
}

const WAYS: [&str; 4] = [
    "--threads 1",
    "--threads 2",
    "--threads 7",
    "--threads 2 --finish exchange",
];

/// Runs a command in every way; all must give these files.
#[track_caller]
fn expect(bench: &Bench, line: &str, expected: &Files) {
    for way in WAYS {
        let line = format!("{line} -o made --force {way}");
        bench.run(words(&line)).ok();
        let made = files(&bench.path("made"));
        for (name, rows) in expected {
            let found = made.get(name).map(Vec::as_slice).unwrap_or_default();
            assert_eq!(
                String::from_utf8_lossy(found),
                String::from_utf8_lossy(rows),
                "{name} of {line}"
            );
        }
        let names: Vec<_> = made.keys().collect();
        assert_eq!(names, expected.keys().collect::<Vec<_>>(), "{line}");
    }
}

/// A director of `rows` rows: its text, its files, and where each key lies.
fn director(
    chunker: &NaiveChunker,
    rows: u64,
    random: &mut Random,
    key: impl Fn(u64) -> String,
) -> (String, Files, BTreeMap<String, Pair>) {
    let mut text = String::new();
    let mut expected = Files::new();
    let mut index = String::new();
    let mut places = BTreeMap::new();
    for row in 0..rows {
        let (ra, dec) = random.position();
        let key = key(row);
        let own = chunker.number(chunker.find(ra, dec));
        let _ = writeln!(text, "{key}\t{ra}\t{dec}");
        let written = |(chunk, sub): Pair| format!("{key}\t{ra}\t{dec}\t{chunk}\t{sub}");
        add(&mut expected, own, "", &written(own));
        for place in chunker.overlaps(ra, dec) {
            add(&mut expected, place, "_overlap", &written(place));
        }
        let _ = writeln!(index, "{key}\t{}\t{}", own.0, own.1);
        places.insert(key, own);
    }
    expected.insert("chunk_object_index.txt".to_owned(), index.into_bytes());
    (text, expected, places)
}

#[test]
fn children_lie_with_their_directors() {
    let mut random = Random(1);
    for (case, chunker) in chunkers().iter().enumerate() {
        let bench = Bench::in_memory();
        // Whole numbers in two cases, names in the other.
        let key = |row: u64| match case {
            2 => format!("star {}", row * 7),
            _ => format!("{}", row * 1_000_003),
        };
        let (text, expected, places) = director(chunker, 200, &mut random, key);
        bench.write("director.txt", text);
        let head = format!(
            "partition director.txt --kind director --id k --ra r --dec d --fields k,r,d {}",
            division(chunker)
        );
        expect(&bench, &head, &expected);
        bench.run(words(&format!("{head} -o director"))).ok();

        let keys: Vec<_> = places.iter().collect();
        let (mut rows, mut found) = (String::new(), Files::new());
        let (mut orphans, mut placed) = (String::new(), Files::new());
        for number in 0..400 {
            let (ra, dec) = random.position();
            let pick = random.below(keys.len() as u64 + 40) as usize;
            let line = |key: &str| format!("{number}\t{key}\t{ra}\t{dec}");
            let (line, place) = match keys.get(pick) {
                Some((key, place)) => {
                    let line = line(key);
                    let _ = writeln!(rows, "{line}");
                    let written = format!("{line}\t{}\t{}", place.0, place.1);
                    add(&mut found, **place, "", &written);
                    (line, **place)
                }
                // A director that is not there, and none at all.
                None => {
                    let key = if pick.is_multiple_of(2) {
                        "12345"
                    } else {
                        "\\N"
                    };
                    (line(key), chunker.number(chunker.find(ra, dec)))
                }
            };
            let _ = writeln!(orphans, "{line}");
            add(
                &mut placed,
                place,
                "",
                &format!("{line}\t{}\t{}", place.0, place.1),
            );
        }
        bench.write("child.txt", rows);
        bench.write("orphans.txt", orphans);
        let child = format!("--kind child --id k --fields n,k,r,d {}", division(chunker));
        let index = "--index director/chunk_object_index.txt";
        expect(
            &bench,
            &format!("partition child.txt {child} {index}"),
            &found,
        );
        let line = format!("partition orphans.txt {child} --index director --ra r --dec d");
        expect(&bench, &line, &placed);
        let line = format!("partition orphans.txt -o refused {child} --index director");
        bench
            .run(words(&line))
            .failed(1, &["orphans.txt", "line", "column k", "--ra and --dec"]);
    }
}

#[test]
fn matches_lie_with_both_sides() {
    let mut random = Random(2);
    for chunker in &chunkers() {
        let bench = Bench::in_memory();
        let limit = chunker.overlap - 0.001 / 3600.0;
        let (mut text, mut expected) = (String::new(), Files::new());
        let (mut by_key, mut by_key_files) = (String::new(), Files::new());
        let mut indexes = [String::new(), String::new()];
        for number in 0..300 {
            let (ra1, dec1) = random.position();
            // Half an overlap away at most, and so in the neighbour now and then.
            let dec2 = (dec1 + limit * 0.49 * (random.share() * 2.0 - 1.0)).clamp(-90.0, 90.0);
            let shift = limit * 0.49 * (random.share() * 2.0 - 1.0);
            let ra2 = (ra1 + shift).clamp(0.0, 360.0);
            let place = |ra, dec| chunker.number(chunker.find(ra, dec));
            let (mut one, mut two) = (Some(place(ra1, dec1)), Some(place(ra2, dec2)));
            match random.below(6) {
                0 => one = None,
                1 => two = None,
                _ => {}
            }
            let coordinate = |value: f64, side: Option<Pair>| match side {
                Some(_) => value.to_string(),
                None => "\\N".to_owned(),
            };
            let line = format!(
                "{number}\t{}\t{dec1}\t{ra2}\t{}",
                coordinate(ra1, one),
                coordinate(dec2, two)
            );
            let keyed = format!("{number}\t{}", number * 3);
            let mut put = |(chunk, sub): Pair, flags: u32| {
                let row = format!("{line}\t{chunk}\t{sub}\t{flags}");
                add(&mut expected, (chunk, sub), "", &row);
                let row = format!("{keyed}\t{chunk}\t{sub}\t{flags}");
                add(&mut by_key_files, (chunk, sub), "", &row);
            };
            match (one, two) {
                (Some(one), Some(two)) if one.0 == two.0 => put(one, 3),
                (Some(one), Some(two)) => {
                    put(one, 1);
                    put(two, 2);
                }
                (Some(one), None) => put(one, 1),
                (None, Some(two)) => put(two, 2),
                (None, None) => panic!("one side is always there"),
            }
            let _ = writeln!(text, "{line}");
            let _ = writeln!(by_key, "{keyed}");
            for (side, (key, place)) in [(number, one), (number * 3, two)].iter().enumerate() {
                if let Some((chunk, sub)) = place {
                    let _ = writeln!(indexes[side], "{key}\t{chunk}\t{sub}");
                }
            }
        }
        bench.write("m.txt", text);
        bench.write("k.txt", by_key);
        bench.write("one.txt", &indexes[0]);
        bench.write("two.txt", &indexes[1]);
        let head = format!(
            "partition m.txt --kind match --ra1 a --dec1 b --ra2 c --dec2 d --fields n,a,b,c,d {}",
            division(chunker)
        );
        expect(&bench, &head, &expected);
        let report = bench.run(words(&format!("{head} -o counted --json"))).ok();
        let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
        let table = &report["tables"][0];
        let number = |what: &str| table[what].as_u64().unwrap();
        assert_eq!(number("rows_in"), 300);
        assert_eq!(number("rows_out"), 300 + number("second_rows"));
        let has_borders = chunker.stripes > 1;
        assert_eq!(number("second_rows") > 0, has_borders, "{table}");
        let head = format!(
            "partition k.txt --kind match --id1 n --id2 m --index1 one.txt --index2 two.txt \
             --unknown-keys null --fields n,m {}",
            division(chunker)
        );
        expect(&bench, &head, &by_key_files);
    }
}

#[test]
fn bad_matches_are_refused_with_their_place() {
    let bench = Bench::new();
    let division = "--stripes 5 --sub-stripes 2 --overlap 0.5";
    let head = format!("partition m.txt -o out --kind match {division}");
    let positions = "--fields a,b,c,d --ra1 a --dec1 b --ra2 c --dec2 d";
    for (row, said) in [
        ("1\t1\t1.5\t1.1", "degrees apart (1 1 and 1.5 1.1)"),
        ("\\N\t1\t1\t\\N", "both positions are NULL"),
        ("1\t1\t1\t91", "declination is 91"),
        ("1\tx\t1\t1", "found \"x\""),
    ] {
        bench.write("m.txt", format!("1\t1\t1\t1\n{row}\n"));
        let line = format!("{head} {positions}");
        bench
            .run(words(&line))
            .failed(1, &["m.txt", "line 2", said]);
        let line = format!("{line} --max-rejects 1 --reject-file bad --json --force");
        let report = bench.run(words(&line)).ok();
        let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
        assert_eq!(report["tables"][0]["rejected"], 1);
        assert_eq!(report["tables"][0]["rows_out"], 1);
        std::fs::remove_dir_all(bench.path("out")).unwrap();
    }
    bench.write("m.txt", "1\t2\n1\t3\n\\N\t4\n");
    bench.write("i.txt", "1\t10\t0\n2\t10\t1\n");
    let keys = "--fields a,b --id1 a --id2 b --index1 i.txt --index2 i.txt";
    bench.run(words(&format!("{head} {keys}"))).failed(
        1,
        &[
            "line 2",
            "column b",
            "found \"3\"",
            "i.txt",
            "--unknown-keys null",
        ],
    );
    bench
        .run(words(&format!("{head} {keys} --unknown-keys null")))
        .failed(1, &["line 3", "neither key has a place"]);
    bench.write("i.txt", "1\t99999\t0\n");
    bench
        .run(words(&format!("{head} {keys} --unknown-keys null")))
        .failed(1, &["line 1", "chunk 99999", "--stripes"]);
}

#[test]
fn what_no_kind_takes_is_a_usage_error() {
    let bench = Bench::new();
    bench.write("m.txt", "1\t2\t3\n");
    let head = "partition m.txt -o out --fields a,b,c --stripes 5 --sub-stripes 2 --overlap 0.5";
    for (options, said) in [
        ("--kind match", "--ra1, --dec1, --ra2 and --dec2"),
        ("--kind match --ra a --dec b", "--ra is not for a match"),
        ("--kind match --ra1 a --dec1 b", "positions of both sides"),
        ("--kind match --ra1 a", "--dec1"),
        ("--kind match --id1 a --index1 m.txt", "--index2"),
        ("--kind director --ra1 a", "--ra1 is not for a director"),
        (
            "--kind director --ra a --dec b --index m.txt",
            "not routed by an index",
        ),
        ("--kind child --index m.txt", "--id"),
        ("--kind child --index1 m.txt", "for matches"),
        ("--kind child --id a --index nowhere", "nowhere"),
    ] {
        let outcome = bench.run(words(&format!("{head} {options}")));
        let code = if said == "nowhere" { 3 } else { 2 };
        outcome.failed(code, &[said]);
        assert!(!bench.path("out/chunk_0.txt").exists());
    }
}

#[test]
fn names_and_folders_of_nodes_are_those_of_the_reference() {
    let bench = Bench::new();
    let rows: String = (0..360).map(|n| format!("{n}\t{n}\t0\n")).collect();
    bench.write("d.txt", rows);
    let line = "partition d.txt -o out --kind director --ra r --dec d --id k --fields k,r,d \
                --stripes 18 --sub-stripes 10 --overlap 0.1 --chunk-index --prefix part \
                --num-nodes 3 --finish append --memory-limit 64MiB";
    bench.run(words(line)).ok();
    let made = files(&bench.path("out"));
    assert!(made.contains_key("part_object_index.txt") && made.contains_key("part_index.bin"));
    let mut rows = 0;
    for (name, text) in made.iter().filter(|(name, _)| name.starts_with("node_")) {
        let (node, file) = name.split_once('/').unwrap();
        let chunk: String = file.chars().filter(char::is_ascii_digit).collect();
        let chunk: u32 = chunk.parse().unwrap();
        assert_eq!(node, format!("node_{:05}", chunk % 3), "{name}");
        if !name.contains("overlap") {
            rows += text.iter().filter(|byte| **byte == b'\n').count();
        }
    }
    assert_eq!(rows, 360);
    bench.run(words(line)).ok();
    bench
        .run(words(&line.replace("part ", "a/b ")))
        .failed(2, &["beginning of a file name"]);
}

#[test]
fn a_director_key_that_occurs_twice_is_refused() {
    let bench = Bench::in_memory();
    let row = |n: usize, key: usize| format!("{key}\t{}\t{}\n", n % 360, n % 90);
    // Rows 5001 and 9001 have keys of earlier rows; so have rows of a second file.
    let key = |n: usize| match n {
        5000 => 17,
        9000 => 5000 * 3,
        n => n * 3,
    };
    bench.write(
        "a.txt",
        (0..10_000).map(|n| row(n, key(n))).collect::<String>(),
    );
    bench.write("b.txt", (0..3).map(|n| row(n, 3 + n)).collect::<String>());
    let head = "partition a.txt b.txt --kind director --id k --ra r --dec d --fields k,r,d \
                --stripes 18 --sub-stripes 10 --overlap 0.1";
    for threads in [1, 3] {
        let line = format!("{head} -o out --threads {threads}");
        bench.run(words(&line)).failed(
            1,
            &[
                "b.txt",
                "line 1",
                "column k",
                "line 2 of a.txt",
                "--max-rejects",
            ],
        );
        assert!(!bench.path("out/chunk_0.txt").exists());
    }
    // 17, 15000 and 4 stand alone; 3 does not.
    let line = format!("{head} -o out --max-rejects 1 --reject-file bad.jsonl --json");
    let report = bench.run(words(&line)).ok();
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    let table = &report["tables"][0];
    assert_eq!(
        (&table["rows_in"], &table["rejected"]),
        (&10_003.into(), &1.into())
    );
    let list = std::fs::read_to_string(bench.path("bad.jsonl")).unwrap();
    assert!(
        list.contains("b.txt") && list.contains("line 2 of a.txt"),
        "{list}"
    );
    let index = files(&bench.path("out"))["chunk_object_index.txt"].clone();
    assert_eq!(index.iter().filter(|byte| **byte == b'\n').count(), 10_002);
    // A second run finds all done.
    let again = bench.run(words(&line)).ok();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);

    // A key three times, in a pipe: the second row is named by its number.
    let text = "x\t1\t1\ny\t1\t1\nx\t1\t1\nx\t1\t1\n";
    let line = head.replace("a.txt b.txt", "-");
    bench
        .run_with_input(words(&format!("{line} -o piped")), text.as_bytes())
        .failed(1, &["row 3", "column k", "\"x\"", "row 1 of stdin"]);
}

#[test]
fn an_index_may_be_parquet_or_compact() {
    let bench = Bench::in_memory();
    let mut random = Random(3);
    let chunker = &chunkers()[0];
    let (text, mut expected, _) = director(chunker, 300, &mut random, |row| (row * 7).to_string());
    bench.write("d.txt", &text);
    let child: String = (0..600)
        .map(|n| format!("{n}\t{}\n", (n * 11 % 300) * 7))
        .collect();
    bench.write("c.txt", child);
    expected.remove("chunk_object_index.txt");
    let mut found: Option<Files> = None;
    for format in ["text", "parquet", "binary"] {
        let line = format!(
            "partition d.txt -o {format} --kind director --id k --ra r --dec d --fields k,r,d {} \
             --index-format {format}",
            division(chunker)
        );
        bench.run(words(&line)).ok();
        let made = files(&bench.path(format));
        let index = made.keys().filter(|name| name.contains("index"));
        assert_eq!(index.count(), 1, "{:?}", made.keys());
        let line = format!(
            "partition c.txt -o child_{format} --kind child --id k --index {format} --fields n,k {}",
            division(chunker)
        );
        bench.run(words(&line)).ok();
        let made = files(&bench.path(&format!("child_{format}")));
        assert_eq!(found.get_or_insert(made.clone()), &made, "{format}");
    }
    // Columns of the Parquet index are named as the table's.
    let rows = bench.run(words(
        "convert parquet/chunk_object_index.parquet -o - --columns k,chunkId",
    ));
    assert_eq!(
        rows.ok()
            .stdout
            .iter()
            .filter(|byte| **byte == b'\n')
            .count(),
        300
    );
}

#[test]
fn keys_are_sorted_where_memory_does_not_hold_their_index() {
    let bench = Bench::in_memory();
    let mut random = Random(4);
    let mut index = String::new();
    for key in 0..1_500_000_u64 {
        let chunk = 324 + key % 10;
        let _ = writeln!(
            index,
            "{}\t{chunk}\t{}",
            key.wrapping_mul(7_919) % 15_000_017,
            key % 9
        );
    }
    bench.write("index.txt", index);
    let mut rows = String::new();
    for number in 0..60_000 {
        let key = match random.below(50) {
            0 => "\\N".to_owned(),
            1 => format!("{}", 15_000_018 + number),
            _ => (random.below(1_500_000) * 7_919 % 15_000_017).to_string(),
        };
        let text = match random.below(100) {
            0 => "a\\\nb",
            _ => "plain",
        };
        let _ = writeln!(rows, "{number}\t{text}\t{key}\t{}\t0.5", random.below(360));
    }
    bench.write("rows.txt", rows);
    let head = "partition rows.txt --kind child --id k --index index.txt --ra r --dec d \
                --fields n,t,k,r,d --stripes 18 --sub-stripes 10 --overlap 0.1 --threads 2";
    bench.run(words(&format!("{head} -o ample"))).ok();
    let line = format!("{head} -o scarce --memory-limit 28MiB");
    bench.run(words(&line)).ok();
    let (ample, scarce) = (files(&bench.path("ample")), files(&bench.path("scarce")));
    assert_eq!(
        ample.keys().collect::<Vec<_>>(),
        scarce.keys().collect::<Vec<_>>()
    );
    assert!(ample == scarce, "the bytes depend on the memory limit");
    let rows = |files: &Files| -> usize {
        let lines = |text: &Vec<u8>| text.iter().filter(|byte| **byte == b'\n').count();
        files.values().map(lines).sum()
    };
    assert!(rows(&scarce) >= 60_000);

    // Without a fall-back the same row is refused.
    let head = head.replace("--ra r --dec d", "");
    let refused = |options: &str| {
        let outcome = bench.run(words(&format!("{head} -o refused {options}")));
        assert_eq!(outcome.code, 1, "{}", outcome.stderr);
        let said = outcome
            .stderr
            .lines()
            .find(|line| line.starts_with("error"));
        said.unwrap().to_owned()
    };
    assert_eq!(refused("--memory-limit 28MiB"), refused(""));

    // A pipe can't be read twice.
    let line = line.replace("rows.txt", "-").replace("scarce", "piped");
    bench
        .run_with_input(words(&line), b"1\tx\t5\t1\t1\n")
        .failed(2, &["index.txt", "not a pipe"]);
}

#[test]
fn a_position_that_is_rounded_goes_where_it_will_be_found() {
    let bench = Bench::new();
    bench.write(
        "t.json",
        r#"{"schema": [{"name": "id", "type": "INT"}, {"name": "ra", "type": "DOUBLE"},
            {"name": "dec", "type": "DECIMAL(8,3)"}]}"#,
    );
    bench.write("d.txt", "1\t1\t-18.0004\n2\t1\t-18.1\n");
    let rest = "--kind child --ra ra --dec dec --schema t.json --fraction round \
                --stripes 10 --sub-stripes 3 --overlap 0";
    bench
        .run(words(&format!("partition d.txt -o text {rest}")))
        .ok();
    // A stripe begins at -18, so the first row belongs into it and the second into the one below.
    let made = files(&bench.path("text"));
    assert_eq!(made["chunk_80.txt"], b"1\t1\t-18.000\t80\t0\n");
    assert!(made["chunk_60.txt"].starts_with(b"2\t1\t-18.1"), "{made:?}");

    let numbers = |values: [f64; 2]| -> arrow::array::ArrayRef {
        std::sync::Arc::new(arrow::array::Float64Array::from(values.to_vec()))
    };
    let ids = arrow::array::Int32Array::from(vec![1, 2]);
    let batch = arrow::array::RecordBatch::try_from_iter([
        ("id", std::sync::Arc::new(ids) as arrow::array::ArrayRef),
        ("ra", numbers([1.0, 1.0])),
        ("dec", numbers([-18.0004, -18.1])),
    ])
    .unwrap();
    let file = std::fs::File::create(bench.path("d.parquet")).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bench
        .run(words(&format!("partition d.parquet -o table {rest}")))
        .ok();
    let names = |folder: &str| files(&bench.path(folder)).into_keys().collect::<Vec<_>>();
    assert_eq!(names("table"), names("text"));
}

/// A pipeline of a director and a child by its key, where only the schema names the director.
fn pipeline() -> Bench {
    let bench = Bench::new();
    bench.write(
        "Star.json",
        r#"{"schema": [{"name": "k", "type": "BIGINT"}, {"name": "r", "type": "DOUBLE"},
            {"name": "d", "type": "DOUBLE"}]}"#,
    );
    bench.write(
        "Point.json",
        r#"{"table": "Point", "is_partitioned": 1, "director_table": "Star", "director_key": "k",
            "schema": [{"name": "n", "type": "INT"}, {"name": "k", "type": "BIGINT"}]}"#,
    );
    bench.write("star.txt", "1\t10\t5\n2\t200\t-40\n");
    bench.write("point.txt", "7\t1\n8\t2\n9\t1\n");
    bench.write(
        "prep.toml",
        "[database]\nname = \"d\"\nstripes = 18\nsub_stripes = 10\noverlap = 0.1\n\
         [product.s]\ninputs = [\"star.txt\"]\n[product.p]\ninputs = [\"point.txt\"]\n\
         [table.Star]\nkind = \"director\"\nproducts = [\"s\"]\nid = \"k\"\nra = \"r\"\n\
         dec = \"d\"\nschema = \"Star.json\"\n\
         [table.Point]\nkind = \"child\"\nproducts = [\"p\"]\nschema = \"Point.json\"\n\
         [stage]\ndest = \"out\"\n",
    );
    bench.run(words("run prep.toml")).ok();
    bench
}

/// Chunk of each point, by the names of the files.
fn chunks_of_points(bench: &Bench) -> BTreeMap<String, String> {
    let made = files(&bench.path("out/d/Point"));
    let mut found = BTreeMap::new();
    for (name, text) in made {
        for line in String::from_utf8(text).unwrap().lines() {
            found.insert(line.split('\t').next().unwrap().to_owned(), name.clone());
        }
    }
    found
}

#[test]
fn children_are_made_again_with_their_director() {
    let bench = pipeline();
    let before = chunks_of_points(&bench);
    assert_eq!(before["7"], before["9"]);
    assert_ne!(before["7"], before["8"]);
    let again = bench.run(words("run prep.toml")).ok();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);

    // The index is lost: director and child are made again, without any force.
    std::fs::remove_file(bench.path("out/d/Star/chunk_object_index.txt")).unwrap();
    bench.run(words("run prep.toml")).ok();
    assert_eq!(chunks_of_points(&bench), before);
    assert!(bench.path("out/d/Star/chunk_object_index.txt").exists());

    // The stars have moved, and so have their points.
    bench.write("star.txt", "1\t10\t-5\n2\t200\t40\n");
    bench.run(words("run prep.toml")).failed(5, &["--force"]);
    bench.run(words("run prep.toml --force")).ok();
    let after = chunks_of_points(&bench);
    assert!(
        before.iter().all(|(point, chunk)| after[point] != *chunk),
        "{after:?}"
    );
    bench.run(words("run prep.toml")).ok();

    let text = std::fs::read_to_string(bench.path("prep.toml")).unwrap();
    let own = text.replace(
        "schema = \"Point.json\"",
        "schema = \"Point.json\"\nindex = \"out/d/Star\"",
    );
    bench.write("own.toml", own);
    bench
        .run(words("run own.toml"))
        .failed(2, &["made by this pipeline itself", "director"]);
}

#[test]
fn what_is_no_index_is_refused() {
    let bench = Bench::new();
    bench.write("d.txt", "1\t10\t5\n2\t200\t-40\n");
    bench.write("c.txt", "1\n2\n");
    let division = "--stripes 18 --sub-stripes 10 --overlap 0.1";
    let line = format!(
        "partition d.txt -o d --kind director --id k --ra r --dec d --fields k,r,d \
         --index-format binary {division}"
    );
    bench.run(words(&line)).ok();
    let child = |index: &str, more: &str| {
        format!(
            "partition c.txt -o c --kind child --id k --fields k --index {index} {division} {more}"
        )
    };
    let mut bytes = std::fs::read(bench.path("d/chunk_object_index.bin")).unwrap();
    let middle = bytes.len() / 2 - 60;
    bytes[middle] ^= 1;
    bench.write("bad.bin", bytes);
    bench
        .run(words(&child("bad.bin", "")))
        .failed(4, &["bad.bin"]);
    std::fs::create_dir(bench.path("empty")).unwrap();
    for more in ["", "--dry-run"] {
        bench
            .run(words(&child("empty", more)))
            .failed(3, &["empty", "no director index"]);
    }
    let piped = bench.shell(&format!(
        "skyprep {}",
        child("<(printf '1\\t1\\t1\\n')", "")
    ));
    piped.failed(2, &["must be a file"]);
    // An index of another division of the sky.
    bench.write("sub.txt", "1\t541\t99999\n2\t541\t0\n");
    bench
        .run(words(&child("sub.txt", "")))
        .failed(1, &["sub-chunk 99999", "--sub-stripes"]);
    // Another dialect may make another table.
    bench.write("good.txt", "1\t541\t0\n2\t541\t1\n");
    bench.run(words(&child("good.txt", ""))).ok();
    bench
        .run(words(&child("good.txt", "--index-dialect qserv-csv")))
        .failed(5, &["--force"]);
}

#[test]
fn a_director_key_is_never_changed() {
    let bench = Bench::new();
    bench.write(
        "t.json",
        r#"{"schema": [{"name": "k", "type": "INT"}, {"name": "r", "type": "DOUBLE"},
            {"name": "d", "type": "DOUBLE"}]}"#,
    );
    bench.write("d.txt", "1\t1\t1\n3000000000\t1\t1\n4000000000\t1\t1\n");
    let line = "partition d.txt -o out --kind director --id k --schema t.json --ra r --dec d \
                --overflow clamp --stripes 18 --sub-stripes 10 --overlap 0.1";
    bench.run(words(line)).failed(
        1,
        &[
            "line 2",
            "column k",
            "3000000000",
            "2147483647",
            "may not be changed",
        ],
    );
}

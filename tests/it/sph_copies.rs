//! sph-htm-index, sph-duplicate and sph-estimate-stats by their names: copies lie where they say, keys are
//! kept, and what is wrong is told with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use super::golden::canonical;
use super::harness::{Bench, Outcome, files, words};
use super::loading::Bits;

const CONFIG: &str = r#"{
    "id": "id",
    "htm": {"level": 7},
    "part": {"pos": "ra,dec", "id": "id", "chunk": "chunkId", "num-stripes": 60,
        "num-sub-stripes": 6, "overlap": 0.1},
    "in": {"csv": {"no-quote": true, "field": ["id", "ra", "dec", "note"]}},
    "out": {"csv": {"no-quote": true}}
}"#;

/// Sources that name a row of the sample, at its place.
const CHILD: &str = r#"{
    "id": "source",
    "htm": {"level": 7},
    "part": {"pos": "ra,dec", "id": "id", "chunk": "chunkId", "num-stripes": 60,
        "num-sub-stripes": 6, "overlap": 0},
    "in": {"csv": {"no-quote": true, "field": ["source", "id", "ra", "dec"]}},
    "out": {"csv": {"no-quote": true}}
}"#;

const REGION: &str = "--lon-min=100 --lon-max=105 --lat-min=30 --lat-max=34";

/// A sample of 1,500 rows in a region of some degrees, and two sources for each third of them.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("copies.json", CONFIG);
    bench.write("child.json", CHILD);
    let bits = &mut Bits(99);
    let (mut rows, mut sources) = (String::new(), String::new());
    for row in 0..1500_u64 {
        let degrees = |bits: &mut Bits| bits.below(4_000_000) as f64 / 1e6;
        let (ra, dec) = (358.0 + degrees(bits), degrees(bits) - 2.0);
        let (id, ra) = (row * 7 + 1000, if ra < 360.0 { ra } else { ra - 360.0 });
        rows.push_str(&format!("{id}\t{ra}\t{dec}\tn{row}\\t\n"));
        if row % 3 == 0 {
            for source in 0..2 {
                sources.push_str(&format!("{}\t{id}\t{ra}\t{dec}\n", row * 2 + source));
            }
        }
    }
    bench.write("sample.txt", rows);
    bench.write("sources.txt", sources);
    bench
}

fn tool(bench: &Bench, line: &str) -> Outcome {
    bench.run(words(line))
}

fn index(bench: &Bench, rest: &str) -> Outcome {
    tool(bench, &format!("sph-htm-index -c copies.json {rest}"))
}

fn duplicate(bench: &Bench, rest: &str) -> Outcome {
    let index = "--index=htm/htm_index.bin";
    let line = format!("sph-duplicate -c copies.json {index} {REGION} {rest}");
    tool(bench, &line)
}

/// The fields of all rows in the files of chunks, by file.
fn rows(bench: &Bench, folder: &str) -> BTreeMap<String, Vec<Vec<String>>> {
    let mut all: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for (name, bytes) in files(&bench.path(folder)) {
        if name.ends_with(".txt") {
            let text = String::from_utf8(bytes).unwrap();
            let fields = |line: &str| line.split('\t').map(str::to_owned).collect();
            all.insert(name, text.lines().map(fields).collect());
        }
    }
    all
}

#[test]
fn triangles_hold_all_rows_in_any_number_of_runs() {
    let bench = bench();
    let told = index(&bench, "-i sample.txt --out.dir=htm -v").ok();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["nrec"], 1500);
    let (all, indexes) = canonical(&bench.path("htm"));
    assert_eq!(all.len(), 1500);
    let ids: usize = indexes
        .iter()
        .filter(|(name, _)| name.ends_with(".ids"))
        .map(|(_, ids)| ids.len())
        .sum();
    assert_eq!(ids, 1500);
    let triangles = told["triangles"].as_array().unwrap();
    assert_eq!(indexes["htm_index.bin"].len(), triangles.len());
    // The first half and then the other, on two threads.
    let text = fs::read_to_string(bench.path("sample.txt")).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    bench.write("a.txt", lines[..700].concat());
    bench.write("b.txt", lines[700..].concat());
    for name in ["a.txt", "b.txt"] {
        let line = format!("-i {name} --out.dir=twice --mr.num-workers=2");
        index(&bench, &line).ok();
    }
    let own: BTreeMap<_, _> = files(&bench.path("htm"));
    let twice = files(&bench.path("twice"));
    assert_eq!(own.len(), twice.len());
    for (name, bytes) in own.iter().filter(|(name, _)| !name.ends_with(".bin")) {
        assert!(twice[name] == *bytes, "{name}");
    }
    assert_eq!(canonical(&bench.path("twice")).1, indexes);
    index(&bench, "-i b.txt --out.dir=twice").failed(1, &["are in twice already"]);
    // Nodes have folders.
    index(&bench, "-i sample.txt --out.dir=nodes --out.num-nodes=3").ok();
    let nodes = files(&bench.path("nodes"));
    for (name, bytes) in nodes.iter().filter(|(name, _)| name.contains('/')) {
        let (node, file) = name.split_once('/').unwrap();
        let number = file[4..].split('.').next().unwrap();
        let number = u32::from_str_radix(number, 16).unwrap();
        assert_eq!(node, format!("node_{:05}", number % 3));
        assert!(own[file] == *bytes);
    }
    assert_eq!(nodes.len(), own.len());
}

#[test]
fn copies_lie_where_they_say_and_have_keys_of_their_own() {
    let bench = bench();
    index(&bench, "-i sample.txt --out.dir=htm").ok();
    let told = duplicate(&bench, "--out.dir=out -v").ok();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let all = rows(&bench, "out");
    let mut ids = BTreeSet::new();
    let mut text = String::new();
    for (name, rows) in &all {
        for row in rows {
            let [id, ra, dec, note, chunk, _] = row.as_slice() else {
                panic!("{row:?}");
            };
            assert!(name.contains(&format!("_{chunk}")), "{name}: {row:?}");
            if !name.contains("overlap") {
                assert!(ids.insert(id.clone()), "{id} occurs twice");
            }
            // What the whole sky's own tool makes of the rows of their own chunks.
            if !name.contains("overlap") {
                text.push_str(&format!("{id}\t{ra}\t{dec}\t{note}\n"));
            }
        }
    }
    assert!(ids.len() > 500, "{}", ids.len());
    assert_eq!(told["chunkStats"]["nrec"], ids.len());
    bench.write("again.txt", text);
    let line = "sph-partition -c copies.json -i again.txt --out.dir=again";
    tool(&bench, line).ok();
    let again = rows(&bench, "again");
    for (name, rows) in all.iter().filter(|(name, _)| !name.contains("overlap")) {
        let set = |rows: &[Vec<String>]| rows.iter().cloned().collect::<BTreeSet<_>>();
        assert!(set(rows) == set(&again[name]), "{name}");
    }
    // Overlap rows are those of neighbours, all of which are there within the region.
    let inner = again.iter().filter(|(name, _)| name.contains("overlap"));
    for (name, rows) in inner {
        let Some(own) = all.get(name) else { continue };
        let own: BTreeSet<_> = own.iter().collect();
        assert!(rows.iter().all(|row| own.contains(row)), "{name}");
    }
    // The same chunks are not filled twice, others are.
    duplicate(&bench, "--out.dir=out").failed(1, &["is filled already"]);
    assert_eq!(rows(&bench, "out"), all);
    let line = "sph-duplicate -c copies.json --index=htm/htm_index.bin --out.dir=out --chunk-id=0";
    let told = tool(&bench, line).ok();
    assert!(
        !String::from_utf8(told.stdout)
            .unwrap()
            .contains("\"chunks\"")
    );
    assert_eq!(rows(&bench, "out").len(), all.len() + 2);
}

#[test]
fn any_memory_and_threads_give_the_same_copies() {
    let bench = bench();
    index(&bench, "-i sample.txt --out.dir=htm").ok();
    duplicate(&bench, "--out.dir=one").ok();
    duplicate(&bench, "--out.dir=two --mr.num-workers=3").ok();
    assert!(files(&bench.path("one")) == files(&bench.path("two")));
}

#[test]
fn triangles_of_nodes_are_found_and_folders_take_other_prefixes() {
    let bench = bench();
    index(&bench, "-i sample.txt --out.dir=htm").ok();
    duplicate(&bench, "--out.dir=one").ok();
    let own = files(&bench.path("one"));
    // Of a thousand nodes most have no rows and no folder.
    for (nodes, to) in [(4, "two"), (1000, "many")] {
        index(
            &bench,
            &format!("-i sample.txt --out.dir=nodes{nodes} --out.num-nodes={nodes}"),
        )
        .ok();
        let line = format!(
            "sph-duplicate -c copies.json --index=nodes{nodes}/htm_index.bin {REGION} --out.dir={to}"
        );
        tool(&bench, &line).ok();
        assert!(own == files(&bench.path(to)), "{nodes}");
    }
    duplicate(&bench, "--out.dir=two --part.prefix=src").ok();
    assert_eq!(files(&bench.path("two")).len(), own.len() * 2);
    duplicate(&bench, "--out.dir=two --part.prefix=src").failed(1, &["is filled already"]);
}

#[test]
fn what_a_killed_run_has_published_is_not_taken_for_other_copies() {
    let bench = bench();
    index(&bench, "-i sample.txt --out.dir=htm").ok();
    let killed = |to: &str| {
        let line = format!(
            "SKYPREP_CRASH_AT=rename-after:7 {} sph-duplicate -c copies.json \
             --index=htm/htm_index.bin {REGION} --out.dir={to}; true",
            env!("CARGO_BIN_EXE_skyprep")
        );
        bench.shell(&line).ok();
    };
    duplicate(&bench, "--out.dir=whole").ok();
    killed("out");
    duplicate(&bench, "--out.dir=out --sample.fraction=0.1").failed(1, &["is filled already"]);
    killed("same");
    duplicate(&bench, "--out.dir=same").ok();
    for folder in ["out", "same"] {
        assert!(
            files(&bench.path(folder)) == files(&bench.path("whole")),
            "{folder}"
        );
    }
}

#[test]
fn children_of_copies_name_copies() {
    let bench = bench();
    index(&bench, "-i sample.txt --out.dir=htm").ok();
    let line = "sph-htm-index -c child.json -i sources.txt --out.dir=htm_child";
    tool(&bench, line).ok();
    for sample in ["", "--sample.fraction=0.4 --sample.seed=3"] {
        let folder = format!("parents{}", sample.len());
        duplicate(&bench, &format!("--out.dir={folder} {sample}")).ok();
        let line = format!(
            "sph-duplicate -c child.json --index=htm_child/htm_index.bin \
             --part.index=htm/htm_index.bin {REGION} --out.dir=child{} {sample}",
            sample.len()
        );
        tool(&bench, &line).ok();
        let own = |folder: &str, column: usize| -> Vec<String> {
            let all = rows(&bench, folder).into_iter();
            let own = all.filter(|(name, _)| !name.contains("overlap"));
            own.flat_map(|(_, rows)| rows.into_iter().map(move |row| row[column].clone()))
                .collect()
        };
        let parents: BTreeSet<String> = own(&folder, 0).into_iter().collect();
        let sources = own(&format!("child{}", sample.len()), 0);
        let named = own(&format!("child{}", sample.len()), 1);
        assert!(named.len() > 100, "{}", named.len());
        assert!(named.iter().all(|id| parents.contains(id)), "{sample}");
        let distinct: BTreeSet<&String> = sources.iter().collect();
        assert_eq!(distinct.len(), sources.len());
    }
    let count = |folder: &str| rows(&bench, folder).values().map(Vec::len).sum::<usize>();
    let share = count("parents37") as f64 / count("parents0") as f64;
    assert!((0.3..0.5).contains(&share), "{share}");
}

#[test]
fn estimates_come_near_to_what_is_made() {
    let bench = bench();
    index(&bench, "-i sample.txt --out.dir=htm").ok();
    let line = format!(
        "sph-estimate-stats -c copies.json --index=htm/htm_index.bin {REGION} --out.dir=est -v"
    );
    let told = tool(&bench, &line).ok();
    let estimated: Value = serde_json::from_slice(&told.stdout).unwrap();
    let made = duplicate(&bench, "--out.dir=out -v").ok();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(estimated["chunkStats"]["n"], made["chunkStats"]["n"]);
    let rows = |told: &Value| told["chunkStats"]["nrec"].as_f64().unwrap();
    let share = rows(&estimated) / rows(&made);
    assert!((0.7..1.1).contains(&share), "{share}");
    let (_, indexes) = canonical(&bench.path("est"));
    assert!(indexes["chunk_index.bin"].len() > 30);
    // It replaces what it has made.
    let before = files(&bench.path("est"));
    tool(&bench, &line).ok();
    assert!(files(&bench.path("est")) == before);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let bench = bench();
    bench.write("bad.txt", "1\t10\t20\tx\nabc\t10\t20\tx\n");
    index(&bench, "-i bad.txt --out.dir=bad").failed(1, &["bad.txt, line 2", "id", "abc"]);
    bench.write("bad.txt", "1\t10\t\\N\tx\n");
    index(&bench, "-i bad.txt --out.dir=bad").failed(1, &["bad.txt, line 1", "dec"]);
    assert!(files(&bench.path("bad")).is_empty());
    // Blanks around keys count for nothing, nor do stripes that nobody asks for.
    bench.write("blank.txt", " 5 \t10\t20\tx\n");
    let other = CONFIG.replace("\"num-stripes\": 60", "\"num-stripes\": 0");
    bench.write("other.json", other);
    let line = "sph-htm-index -c other.json -i blank.txt --out.dir=blank";
    tool(&bench, line).ok();
    let ids: Vec<Vec<u8>> = files(&bench.path("blank")).into_values().collect();
    assert!(ids.contains(&5_i64.to_le_bytes().to_vec()));
    index(&bench, "-i sample.txt --out.dir=blank --htm.level=5").failed(1, &["of level 7"]);
    index(&bench, "-i sample.txt --out.dir=bad --htm.level=14").failed(1, &["htm.level is 14"]);
    index(&bench, "-i sample.txt --out.dir=htm").ok();
    let some = files(&bench.path("htm"));
    let (name, text) = some
        .iter()
        .find(|(name, _)| name.ends_with(".txt"))
        .unwrap();
    let path = bench.path("htm").join(name);
    let whole = "--lon-min=0 --lon-max=360 --lat-min=-5 --lat-max=5";
    let all = |to: &str| {
        let line = format!(
            "sph-duplicate -c copies.json --index=htm/htm_index.bin {whole} --out.dir={to}"
        );
        tool(&bench, &line)
    };
    for (damage, said) in [
        (b"77\t1\t2\tx\n".to_vec(), "id 77 is not among the ids"),
        (b"x\t1\t2\tx\n".to_vec(), "expected a whole number"),
        (b"1\t2\n".to_vec(), "2 fields, expected 4"),
        (
            [text.as_slice(), text].concat(),
            "but the HTM index tells of",
        ),
    ] {
        fs::write(&path, damage).unwrap();
        let line = if said.contains("index tells") {
            name
        } else {
            "line 1"
        };
        all("out").failed(1, &[name, line, said]);
        assert!(files(&bench.path("out")).is_empty());
    }
    fs::remove_file(&path).unwrap();
    all("out").failed(1, &[name, "can't read"]);
    fs::write(&path, text).unwrap();
    let ids = path.with_extension("ids");
    let bytes = fs::read(&ids).unwrap();
    fs::write(&ids, &bytes[1..]).unwrap();
    all("out").failed(1, &["expected 8 for each"]);
    fs::write(&ids, bytes).unwrap();
    let index = bench.path("htm/htm_index.bin");
    let bytes = fs::read(&index).unwrap();
    fs::write(&index, &bytes[..bytes.len() - 1]).unwrap();
    all("out").failed(1, &["htm_index.bin", "records of 12 bytes"]);
    fs::write(&index, bytes).unwrap();
    for (rest, said) in [
        ("--lat-min=50", "the smaller one first"),
        ("--sample.fraction=0", "above 0 and at most 1"),
        ("--chunk-id=999999", "which no chunk has"),
        ("--out.node=1", "expected 0 to 0"),
    ] {
        let line = format!(
            "sph-duplicate -c copies.json --index=htm/htm_index.bin --lat-max=34 --out.dir=no {rest}"
        );
        tool(&bench, &line).failed(1, &[said]);
    }
    assert!(!bench.path("no").exists());
}

//! `partition --only-chunks`: some chunks come out as the whole table has them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;

use super::harness::{Bench, Outcome, files, positions, words};

const SKY: &str = "--stripes 18 --sub-stripes 10 --overlap 0.5";
const DIRECTOR: &str = "stars.txt --kind director --ra ra --dec dec --id id --fields id,ra,dec \
                        --chunk-index --table T";

fn stars() -> Bench {
    let bench = Bench::in_memory();
    bench.write("stars.txt", positions(3000, 7919));
    bench
}

fn partition(bench: &Bench, line: &str) -> Outcome {
    bench.run(words(&format!("partition {line} {SKY}")))
}

fn data(bench: &Bench, folder: &str) -> BTreeMap<String, Vec<u8>> {
    files(&bench.path(folder))
}

fn chunk_of(name: &str) -> Option<i32> {
    let number = name.rsplit('/').next()?.strip_prefix("chunk_")?;
    number.split(['_', '.']).next()?.parse().ok()
}

/// Chunks that have overlap rows, and one that has none.
fn some_chunks(all: &BTreeMap<String, Vec<u8>>) -> Vec<i32> {
    let chunks = |with: bool| -> Vec<i32> {
        let names = all
            .keys()
            .filter(|name| name.contains("_overlap") == with && !name.contains("index"));
        names.filter_map(|name| chunk_of(name)).collect()
    };
    let (overlap, own) = (chunks(true), chunks(false));
    let mut some: Vec<i32> = overlap.iter().step_by(overlap.len() / 3).copied().collect();
    some.extend(own.iter().find(|chunk| !overlap.contains(chunk)));
    // A neighbour's overlap file without rows of its own chunk is wanted, too.
    some.extend(overlap.iter().find(|chunk| !own.contains(chunk)));
    some
}

fn listed(chunks: &[i32]) -> String {
    let texts: Vec<String> = chunks.iter().map(i32::to_string).collect();
    texts.join(",")
}

fn report(outcome: &Outcome) -> Value {
    let report: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    report["tables"][0].clone()
}

fn balances(table: &Value) {
    let number = |name: &str| table[name].as_u64().unwrap_or(0);
    assert_eq!(
        number("rows_in") + number("second_rows"),
        number("rows_out") + number("rejected") + number("elsewhere")
    );
    assert!(number("elsewhere") > 0);
    assert_eq!(
        number("rows_routed"),
        number("rows_in") - number("rejected") - number("elsewhere")
    );
}

#[test]
fn a_folder_of_some_chunks_has_the_files_of_the_whole_table() {
    let bench = stars();
    partition(&bench, &format!("{DIRECTOR} -o whole")).ok();
    let whole = data(&bench, "whole");
    let some = some_chunks(&whole);
    for (number, more) in ["", "--threads 1 --finish exchange --memory-limit 32MiB"]
        .iter()
        .enumerate()
    {
        let out = format!("some{number}");
        let line = format!(
            "{DIRECTOR} -o {out} --only-chunks {} --json {more}",
            listed(&some)
        );
        let table = report(&partition(&bench, &line).ok());
        balances(&table);
        let found = data(&bench, &out);
        let is_index = |name: &str| name.contains("index");
        for (name, bytes) in whole.iter().filter(|(name, _)| !is_index(name)) {
            let wanted = chunk_of(name).is_some_and(|chunk| some.contains(&chunk));
            assert_eq!(found.get(name), wanted.then_some(bytes), "{name}");
        }
        assert!(found.keys().all(|name| whole.contains_key(name)));
        // Their keys, in the order of the whole index.
        let index = |all: &BTreeMap<String, Vec<u8>>| {
            let text = String::from_utf8(all["chunk_object_index.txt"].clone()).unwrap();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let is_of_some = |line: &String| {
            let chunk = line.split('\t').nth(1).unwrap().parse().unwrap();
            some.contains(&chunk)
        };
        let mut expected = index(&whole);
        expected.retain(is_of_some);
        assert!(!expected.is_empty());
        assert_eq!(index(&found), expected);
        let of_some = |records: &[u8]| -> BTreeSet<Vec<u8>> {
            let is_of_some = |record: &&[u8]| {
                let chunk = i32::from_le_bytes(record[4..8].try_into().unwrap());
                some.contains(&chunk)
            };
            let (records, rest) = records.as_chunks::<24>();
            assert!(rest.is_empty());
            let records = records.iter().map(<[u8; 24]>::as_slice);
            records.filter(is_of_some).map(<[u8]>::to_vec).collect()
        };
        let (own, all) = (&found["chunk_index.bin"], &whole["chunk_index.bin"]);
        assert!(of_some(own) == of_some(all));
        assert_eq!(of_some(own).len() * 24, own.len(), "of no other chunk");
    }
}

#[test]
fn some_chunks_of_children_and_matches_too() {
    let bench = stars();
    partition(&bench, &format!("{DIRECTOR} -o stars")).ok();
    let stars: Vec<String> = positions(3000, 7919).lines().map(str::to_owned).collect();
    let column = |line: &str, at: usize| line.split('\t').nth(at).unwrap().to_owned();
    let child: String = stars
        .iter()
        .map(|line| format!("{}\tx\n", column(line, 0)))
        .collect();
    bench.write("child.txt", child);
    // Pairs of places a little apart, some in two chunks.
    let pairs: String = stars
        .iter()
        .map(|line| {
            let (ra, dec): (f64, f64) = (
                column(line, 1).parse().unwrap(),
                column(line, 2).parse().unwrap(),
            );
            let other = (dec + 0.4).min(90.0);
            format!("{ra}\t{dec}\t{ra}\t{other}\n")
        })
        .collect();
    bench.write("pairs.txt", pairs);
    for (what, line) in [
        (
            "child",
            "child.txt --kind child --id id --index stars --fields id,x",
        ),
        (
            "pairs",
            "pairs.txt --kind match --ra1 a --dec1 b --ra2 c --dec2 d --fields a,b,c,d",
        ),
    ] {
        partition(&bench, &format!("{line} -o {what}")).ok();
        let whole = data(&bench, what);
        let chunks: BTreeSet<i32> = whole.keys().filter_map(|name| chunk_of(name)).collect();
        let chunks: Vec<i32> = chunks.into_iter().step_by(9).collect();
        let only = listed(&chunks);
        let line = format!("{line} -o some-{what} --only-chunks {only} --json");
        let table = report(&partition(&bench, &line).ok());
        balances(&table);
        if what == "pairs" {
            assert!(table["second_rows"].as_u64() > Some(0));
        }
        let mut expected = whole.clone();
        expected.retain(|name, _| chunk_of(name).is_some_and(|chunk| chunks.contains(&chunk)));
        assert!(data(&bench, &format!("some-{what}")) == expected, "{what}");
    }
}

#[test]
fn lost_and_damaged_files_are_made_again_in_place() {
    let bench = stars();
    partition(&bench, &format!("{DIRECTOR} -o out --num-nodes 3")).ok();
    let whole = data(&bench, "out");
    let some = some_chunks(&whole);
    let record = fs::read(bench.path("out/.skyprep/record.jsonl")).unwrap();
    let spoiled: Vec<&String> = whole
        .keys()
        .filter(|name| chunk_of(name).is_some_and(|chunk| some.contains(&chunk)))
        .collect();
    for (number, name) in spoiled.iter().enumerate() {
        let path = bench.path("out").join(name);
        match number % 2 {
            0 => fs::remove_file(path).unwrap(),
            // The same size, so that nobody would notice by that.
            _ => fs::write(path, vec![b'x'; whole[*name].len()]).unwrap(),
        }
    }
    let untouched = whole.keys().find(|name| !spoiled.contains(name)).unwrap();
    let time = |name: &str| {
        let metadata = fs::metadata(bench.path("out").join(name)).unwrap();
        metadata.modified().unwrap()
    };
    let before = time(untouched);
    let line = format!(
        "{DIRECTOR} -o out --num-nodes 3 --only-chunks {}",
        listed(&some)
    );
    let foretold = partition(&bench, &format!("{line} -n")).ok();
    let words = String::from_utf8_lossy(&foretold.stdout).into_owned();
    assert!(words.contains("chunks would be made again"), "{words}");
    assert!(data(&bench, "out") != whole);
    let table = report(&partition(&bench, &format!("{line} --json")).ok());
    balances(&table);
    assert_eq!(table["files"], spoiled.len());
    assert!(data(&bench, "out") == whole);
    assert_eq!(time(untouched), before);
    let after = fs::read(bench.path("out/.skyprep/record.jsonl")).unwrap();
    assert!(after == record, "the record stays");
    let done = partition(&bench, &format!("{DIRECTOR} -o out --num-nodes 3")).ok();
    assert!(done.stderr.contains("nothing to do"), "{}", done.stderr);
}

#[test]
fn what_else_is_lost_is_told_and_left() {
    let bench = stars();
    partition(&bench, &format!("{DIRECTOR} -o out")).ok();
    let whole = data(&bench, "out");
    let some = some_chunks(&whole);
    let mut others = whole.keys().filter(|name| {
        chunk_of(name).is_some_and(|chunk| !some.contains(&chunk)) && !name.contains("index")
    });
    let other = others.next_back().unwrap().clone();
    fs::remove_file(bench.path("out").join(&other)).unwrap();
    let line = format!("{DIRECTOR} -o out --only-chunks {}", listed(&some[..1]));
    let outcome = partition(&bench, &line).ok();
    let told = &outcome.stderr;
    assert!(told.contains(&other) && told.contains("missing"), "{told}");
    assert!(!bench.path("out").join(&other).exists());
    // The whole command still knows.
    partition(&bench, &format!("{DIRECTOR} -o out")).ok();
    assert!(data(&bench, "out") == whole);
}

#[test]
fn other_inputs_make_no_chunks_of_a_standing_table() {
    let bench = stars();
    partition(&bench, &format!("{DIRECTOR} -o out")).ok();
    let whole = data(&bench, "out");
    let some = some_chunks(&whole);
    bench.write("stars.txt", positions(2999, 7919));
    let line = format!("{DIRECTOR} -o out --only-chunks {}", listed(&some));
    for more in ["", " --force"] {
        partition(&bench, &format!("{line}{more}")).failed(5, &["inputs have changed"]);
        assert!(data(&bench, "out") == whole);
    }
}

#[test]
fn what_comes_out_otherwise_is_not_put_back() {
    let bench = stars();
    let path = bench.path("stars.txt");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    partition(&bench, &format!("{DIRECTOR} -o out")).ok();
    let whole = data(&bench, "out");
    let some = some_chunks(&whole);
    // A file that lies about its time: same size, other content.
    let text = positions(3000, 7919);
    let turned: Vec<String> = text.lines().rev().map(|line| format!("{line}\n")).collect();
    fs::write(&path, turned.concat()).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(modified).unwrap();
    let line = format!("{DIRECTOR} -o out --only-chunks {}", listed(&some));
    partition(&bench, &line).failed(9, &["nothing was touched"]);
    assert!(data(&bench, "out") == whole);
}

#[test]
fn chunks_that_are_not_there_are_refused() {
    let bench = stars();
    for (line, word) in [
        (
            format!("{DIRECTOR} -o out --only-chunks 0,999999"),
            "999999",
        ),
        (format!("{DIRECTOR} -o out --only-chunks x"), "invalid"),
        (
            "stars.txt --kind regular --fields id,ra,dec -o out --only-chunks 1".to_owned(),
            "--only-chunks",
        ),
    ] {
        let line = match line.contains("regular") {
            true => format!("partition {line}"),
            false => format!("partition {line} {SKY}"),
        };
        bench.run(words(&line)).failed(2, &[word]);
        assert!(!bench.path("out").exists());
    }
}

#[test]
fn inputs_that_cannot_be_read_leave_what_stands() {
    let bench = stars();
    bench.shell("gzip -k stars.txt").ok();
    let director = DIRECTOR.replace("stars.txt", "stars.txt.gz");
    partition(&bench, &format!("{director} -o out")).ok();
    let whole = data(&bench, "out");
    let some = some_chunks(&whole);
    // Rotten, and of the same size and time.
    let path = bench.path("stars.txt.gz");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[2..].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(modified).unwrap();
    let lost = whole.keys().find(|name| chunk_of(name) == Some(some[0]));
    let lost = bench.path("out").join(lost.unwrap());
    let bytes = fs::read(&lost).unwrap();
    fs::remove_file(&lost).unwrap();
    for more in [format!("--only-chunks {}", some[0]), String::new()] {
        let outcome = partition(&bench, &format!("{director} -o out --keep-going {more}"));
        assert_ne!(outcome.code, 0, "{more}");
        assert_eq!(data(&bench, "out").len(), whole.len() - 1, "{more}");
    }
    fs::write(&lost, bytes).unwrap();
    assert!(data(&bench, "out") == whole);
}

#[test]
fn rows_that_were_refused_for_their_keys_are_refused_again() {
    let bench = Bench::in_memory();
    let rows = "1\t10.0\t0\n2\t10.1\t0.1\n1\t10.2\t0.2\n\\N\t10.3\t0.1\n";
    bench.write("d.txt", rows);
    let line = "d.txt --kind director --ra ra --dec dec --id id --fields id,ra,dec --max-rejects 5 --chunk-index -o out \
                --reject-file r.jsonl";
    partition(&bench, line).ok();
    let whole = data(&bench, "out");
    let name = whole.keys().find(|name| chunk_of(name).is_some()).unwrap();
    fs::remove_file(bench.path("out").join(name)).unwrap();
    let report = fs::read(bench.path("out/.skyprep/report.json")).unwrap();
    let chunk = chunk_of(name).unwrap();
    let rejects = fs::read(bench.path("r.jsonl")).unwrap();
    let again = format!("{line} --only-chunks {chunk}");
    partition(&bench, &again).failed(2, &["r.jsonl", "--reject-file"]);
    partition(&bench, &again.replace("r.jsonl", "few.jsonl")).ok();
    assert!(fs::read(bench.path("r.jsonl")).unwrap() == rejects);
    assert!(data(&bench, "out") == whole);
    assert!(fs::read(bench.path("out/.skyprep/report.json")).unwrap() == report);
    let stats = format!("{line} --only-chunks {chunk} --stats s.json");
    partition(&bench, &stats).failed(2, &["--stats"]);
}

#[test]
fn folders_of_some_chunks_are_merged() {
    let bench = stars();
    partition(&bench, &format!("{DIRECTOR} -o whole")).ok();
    let some = some_chunks(&data(&bench, "whole"));
    let text = positions(3000, 7919);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    bench.write("a.txt", lines[..1500].concat());
    bench.write("b.txt", lines[1500..].concat());
    let only = listed(&some);
    for (name, to) in [("stars.txt", "all"), ("a.txt", "a"), ("b.txt", "b")] {
        let director = DIRECTOR.replace("stars.txt", name);
        let line = format!("{director} -o {to} --only-chunks {only}");
        partition(&bench, &line).ok();
    }
    bench.run(words("merge a b -o merged")).ok();
    assert!(data(&bench, "merged") == data(&bench, "all"));
    let record = fs::read_to_string(bench.path("merged/.skyprep/record.jsonl")).unwrap();
    assert!(record.contains("only_chunks"), "{record}");
    // Of a part with all chunks the others would be missing.
    let director = DIRECTOR.replace("stars.txt", "b.txt");
    partition(&bench, &format!("{director} -o b-all")).ok();
    for line in ["a b-all", "b-all a"] {
        let merge = format!("merge {line} -o mixed");
        bench
            .run(words(&merge))
            .failed(2, &["list of chunks (--only-chunks)"]);
    }
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no crash points")]
fn a_killed_publication_of_the_whole_table_is_finished_first() {
    let bench = stars();
    partition(&bench, &format!("{DIRECTOR} -o whole")).ok();
    let whole = data(&bench, "whole");
    let chunk = some_chunks(&whole)[0];
    let line = format!(
        "SKYPREP_CRASH_AT=rename-after:3 {} partition {DIRECTOR} {SKY} -o out; true",
        env!("CARGO_BIN_EXE_skyprep")
    );
    bench.shell(&line).ok();
    assert!(data(&bench, "out").len() < whole.len());
    partition(
        &bench,
        &format!("{DIRECTOR} -o out --only-chunks {chunk} --force"),
    )
    .ok();
    assert!(data(&bench, "out") == whole);
}

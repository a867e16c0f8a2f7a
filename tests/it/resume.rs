//! A run that was ended is gone on with: what is done is not done again.

use std::fmt::Write;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::harness::{Bench, files, words};

/// Some `rows` rows all over the sky, 300 bytes each, in a file of `lines` line ends.
fn text(rows: u64) -> String {
    let mut text = String::from("id,ra,dec,note\n");
    for row in 0..rows {
        let (ra, dec) = ((row * 7919) % 36_000, (row * 104_729) % 18_000);
        let (ra, dec) = (ra as f64 / 100.0, dec as f64 / 100.0 - 90.0);
        writeln!(text, "{row},{ra},{dec},{}", "note ".repeat(55)).unwrap();
    }
    text
}

fn start(bench: &Bench, command: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_skyprep"))
        .args(words(command))
        .current_dir(bench.root())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Says whether a journal holds a whole record behind its heading.
fn has_a_record(journal: &[u8]) -> bool {
    let length = |at: usize| {
        let bytes = journal.get(at..at + 8)?;
        let length = u64::from_le_bytes(bytes.try_into().unwrap());
        Some(at + 16 + usize::try_from(length).unwrap())
    };
    let end = length(0).and_then(length);
    end.is_some_and(|end| end <= journal.len())
}

/// Waits until a journal in the staging folder has grown beyond its heading.
fn wait_for_a_record(bench: &Bench, out: &str) {
    let staging = bench.path(out).join(".skyprep/staging");
    let since = Instant::now();
    let is_recorded = || {
        let entries = fs::read_dir(&staging).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| {
            let name = entry.file_name().into_string().unwrap();
            name.ends_with(".journal") && has_a_record(&fs::read(entry.path()).unwrap_or_default())
        })
    };
    while !is_recorded() {
        assert!(since.elapsed() < Duration::from_secs(60), "no record");
        std::thread::sleep(Duration::from_millis(2));
    }
}

const COMMANDS: &[&str] = &[
    "partition x.csv -o out --kind director --stripes 18 --sub-stripes 10 --overlap 0.01 \
     --id id --chunk-index --ra ra --dec dec --in-dialect rfc4180 --in-header \
     --memory-limit 40MiB --finish append",
    "partition x.csv -o out --kind director --stripes 18 --sub-stripes 10 --overlap 0.01 \
     --id id --chunk-index --ra ra --dec dec --in-dialect rfc4180 --in-header \
     --memory-limit 40MiB --finish exchange",
    "convert x.csv z.csv.gz -o out/ --in-dialect rfc4180 --in-header --threads 1",
];

#[test]
fn a_killed_run_is_gone_on_with() {
    for command in COMMANDS {
        let bench = Bench::in_memory();
        bench.write("x.csv", text(250_000));
        if command.contains("z.csv.gz") {
            bench.shell("gzip -1 < x.csv > z.csv.gz").ok();
        }
        bench
            .run(words(&command.replace("-o out", "-o first")))
            .ok();
        let first = files(&bench.path("first"));
        fs::remove_dir_all(bench.path("first")).unwrap();
        for signal in ["KILL", "TERM"] {
            let mut child = start(&bench, command);
            wait_for_a_record(&bench, "out");
            bench.shell(&format!("kill -{signal} {}", child.id())).ok();
            child.wait().unwrap();
            // On a slow machine the first of two outputs may be whole by now.
            let whole = files(&bench.path("out"));
            let is_whole = |(name, bytes): (&String, &Vec<u8>)| first.get(name) == Some(bytes);
            assert!(whole.iter().all(is_whole), "{signal}: {command}");
            assert!(whole.len() < first.len(), "{signal}: {command}");
            let again = bench.run(words(command)).ok();
            assert!(
                again.stderr.contains("going on where"),
                "{signal}: {}",
                again.stderr
            );
            assert!(files(&bench.path("out")) == first, "{signal}: {command}");
            assert!(!bench.path("out/.skyprep/staging").exists());
            fs::remove_dir_all(bench.path("out")).unwrap();
        }
    }
}

#[test]
fn other_options_or_damaged_staging_begin_anew() {
    for finish in ["append", "exchange"] {
        let command = COMMANDS[0].replace("append", finish);
        let bench = Bench::in_memory();
        bench.write("x.csv", text(250_000));
        bench
            .run(words(&command.replace("-o out", "-o first")))
            .ok();
        let first = files(&bench.path("first"));
        let other = command.replace("--overlap 0.01", "--overlap 0.02");
        for change in ["options", "input", "staged", "host"] {
            let mut child = start(&bench, &command);
            wait_for_a_record(&bench, "out");
            child.kill().unwrap();
            child.wait().unwrap();
            let staging = bench.path("out/.skyprep/staging");
            let again = match change {
                "options" => bench.run(words(&other)).ok(),
                "input" => {
                    bench.shell("touch x.csv").ok();
                    bench.run(words(&command)).ok()
                }
                "staged" => {
                    // A power cut: what was never synced is there, but holds nothing.
                    let script = "for f in .*.exchange chunk_*.txt; do [ -f $f ] && \
                                  dd if=/dev/zero of=$f bs=1 seek=100 count=10 conv=notrunc; done";
                    let cd = format!("cd {} && {script}; true", staging.display());
                    bench.shell(&cd).ok();
                    bench.run(words(&command)).ok()
                }
                _ => {
                    let spill = command.clone() + " --threads 1 --memory-limit 64MiB";
                    bench
                        .run(words(&spill.replace("--memory-limit 40MiB ", "")))
                        .ok()
                }
            };
            let is_gone_on_with = again.stderr.contains("going on where");
            assert_eq!(
                is_gone_on_with,
                change == "host",
                "{change}: {}",
                again.stderr
            );
            if change != "options" {
                assert!(files(&bench.path("out")) == first, "{finish}, {change}");
            }
            assert!(!staging.exists());
            fs::remove_dir_all(bench.path("out")).unwrap();
        }
    }
}

/// Starts a command that kills itself at a crash point; says whether it came so far.
fn crash(bench: &Bench, command: &str, point: &str) {
    let status = Command::new(env!("CARGO_BIN_EXE_skyprep"))
        .args(words(command))
        .current_dir(bench.root())
        .env("SKYPREP_CRASH_AT", point)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success(), "{point} is not reached: {command}");
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no crash points")]
fn another_finish_goes_on_in_order() {
    for (first, then) in [
        ("exchange", "append"),
        ("append", "exchange"),
        ("exchange", "memory --memory-limit 1GiB"),
        ("append", "memory --memory-limit 1GiB"),
    ] {
        let bench = Bench::in_memory();
        bench.write("x.csv", text(150_000));
        let command = COMMANDS[0].replace("--finish append", "");
        let whole = command.replace("-o out", "-o first");
        bench.run(words(&whole)).ok();
        crash(
            &bench,
            &format!("{command} --finish {first}"),
            "run-recorded:2",
        );
        let command = match then.contains("limit") {
            true => command.replace("--memory-limit 40MiB", ""),
            false => command,
        };
        bench.run(words(&format!("{command} --finish {then}"))).ok();
        let same = files(&bench.path("out")) == files(&bench.path("first"));
        assert!(same, "{first}, then {then}");
    }
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no crash points")]
fn a_row_group_is_gone_on_with_in_its_middle() {
    let bench = Bench::in_memory();
    bench.write("x.parquet", super::memory::table(40, 60_000, 2));
    let partition = "partition x.parquet -o out --kind director --stripes 18 --sub-stripes 10 \
                     --overlap 0.05 --ra ra --dec dec --id id --chunk-index --finish append";
    for (command, limits, other) in [
        (
            partition,
            "--memory-limit 40MiB --threads 2",
            "--memory-limit 64MiB --threads 5",
        ),
        (
            "convert x.parquet -o out/",
            "--threads 3",
            "--memory-limit 32MiB --threads 1",
        ),
    ] {
        bench
            .run(words(&command.replace("-o out", "-o first")))
            .ok();
        let first = files(&bench.path("first"));
        for count in [1, 2] {
            crash(
                &bench,
                &format!("{command} {limits}"),
                &format!("run-recorded:{count}"),
            );
            let again = bench.run(words(&format!("{command} {other}"))).ok();
            assert!(again.stderr.contains("going on where"), "{}", again.stderr);
            assert!(files(&bench.path("out")) == first, "{count}: {command}");
            fs::remove_dir_all(bench.path("out")).unwrap();
        }
        fs::remove_dir_all(bench.path("first")).unwrap();
    }
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no crash points")]
fn a_stale_exchange_file_is_not_taken_for_ours() {
    let bench = Bench::in_memory();
    // A folder in memory is passed over, so these are looked for on disk.
    let disk = Bench::new();
    let (t1, t2) = (disk.path("t1"), disk.path("t2"));
    for folder in [&t1, &t2] {
        fs::create_dir(folder).unwrap();
    }
    let command = COMMANDS[1].replace("--memory-limit", "--threads 1 --memory-limit");
    let other = command.replace("--overlap 0.01", "--overlap 0.02");
    let to = |folder: &std::path::Path| format!("{command} --tmpdir {}", folder.display());
    bench.write("x.csv", text(150_000));
    crash(&bench, &to(&t1), "run-recorded:2");
    // The same lengths, other values.
    bench.write(
        "x.csv",
        text(150_000).replace("note note note", "nota nota nota"),
    );
    crash(&bench, &to(&t2), "run-recorded:2");
    bench.run(words(&to(&t1))).ok();
    bench
        .run(words(&command.replace("-o out", "-o first")))
        .ok();
    assert!(files(&bench.path("out")) == files(&bench.path("first")));
    assert_eq!(fs::read_dir(&t1).unwrap().count(), 0, "nothing is left");
    assert_eq!(fs::read_dir(&t2).unwrap().count(), 0, "nothing is left");
    // Other options and another folder.
    fs::remove_dir_all(bench.path("out")).unwrap();
    crash(&bench, &to(&t1), "run-recorded:2");
    assert_eq!(fs::read_dir(&t1).unwrap().count(), 1);
    let t2 = t2.display();
    bench.run(words(&format!("{other} --tmpdir {t2}"))).ok();
    assert_eq!(fs::read_dir(&t1).unwrap().count(), 0, "nothing is left");
}

const PIPELINE: &str = r#"
[database]
name = "d"

[product.x]
inputs = ["x.txt"]
fields = ["a", "b"]

[table.A]
kind = "regular"
products = ["x"]
columns = ["a"]

[table.B]
kind = "regular"
products = ["x"]

[stage]
dest = "out"
"#;

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no crash points")]
fn records_longer_than_a_block_are_cut_the_same_when_gone_on_with() {
    let bench = Bench::in_memory();
    let row = |row: usize| format!("{row}\t{}\n", "x".repeat((row * 7919 % 23 + 1) * 200_000));
    bench.write("x.txt", (0..130).map(row).collect::<String>());
    bench.write(
        "prep.toml",
        PIPELINE.replace("columns = [\"a\"]", "exclude = [\"a\"]"),
    );
    bench.write(
        "first.toml",
        PIPELINE
            .replace("columns = [\"a\"]", "exclude = [\"a\"]")
            .replace("\"out\"", "\"first\""),
    );
    bench.run(["run", "first.toml"]).ok();
    let expected = files(&bench.path("first/d/A"));
    for count in 1..=7 {
        crash(&bench, "run prep.toml", &format!("run-recorded:{count}"));
        bench.run(["run", "prep.toml"]).ok();
        assert!(files(&bench.path("out/d/A")) == expected, "A, {count}");
        let same = files(&bench.path("out/d/B")) == files(&bench.path("first/d/B"));
        assert!(same, "B, {count}");
        fs::remove_dir_all(bench.path("out")).unwrap();
    }
}

#[test]
fn how_a_product_is_read_is_a_part_of_what_is_compared() {
    let bench = Bench::new();
    bench.write("x.txt", "1\t2\n");
    bench.write("prep.toml", PIPELINE);
    bench.run(["run", "prep.toml"]).ok();
    bench.write(
        "prep.toml",
        PIPELINE.replace("[\"a\", \"b\"]", "[\"b\", \"a\"]"),
    );
    bench
        .run(["run", "prep.toml"])
        .failed(5, &["other options"]);
    bench.run(["run", "prep.toml", "--force"]).ok();
    assert_eq!(files(&bench.path("out"))["d/A/A.txt"], b"2\n");
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "release builds have no crash points")]
fn a_fits_file_is_gone_on_with() {
    let bench = Bench::in_memory();
    let rows = 60_000u64;
    let mut bytes = Vec::new();
    let mut header = |cards: &[&str]| {
        for card in cards.iter().chain(&["END"]) {
            bytes.extend_from_slice(format!("{card:80}").as_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(2880), b' ');
    };
    header(&[
        "SIMPLE  =                    T",
        "BITPIX  = 8",
        "NAXIS   = 0",
    ]);
    header(&[
        "XTENSION= 'BINTABLE'",
        "BITPIX  = 8",
        "NAXIS   = 2",
        "NAXIS1  = 324",
        &format!("NAXIS2  = {rows}"),
        "PCOUNT  = 0",
        "GCOUNT  = 1",
        "TFIELDS = 4",
        "TTYPE1  = 'id'",
        "TFORM1  = 'K'",
        "TTYPE2  = 'ra'",
        "TFORM2  = 'D'",
        "TTYPE3  = 'dec'",
        "TFORM3  = 'D'",
        "TTYPE4  = 'note'",
        "TFORM4  = '300A'",
    ]);
    for row in 0..rows {
        let (ra, dec) = ((row * 7919) % 36_000, (row * 104_729) % 18_000);
        bytes.extend_from_slice(&row.to_be_bytes());
        bytes.extend_from_slice(&(ra as f64 / 100.0).to_be_bytes());
        bytes.extend_from_slice(&(dec as f64 / 100.0 - 90.0).to_be_bytes());
        bytes.extend_from_slice(&[b'n'; 300]);
    }
    bench.write("x.fits", bytes);
    bench.shell("gzip -1 -k x.fits").ok();
    let partition = "partition x.fits -o out --kind director --stripes 18 --sub-stripes 10 \
                     --overlap 0.05 --ra ra --dec dec --id id --chunk-index --finish append";
    let whole = partition.replace("-o out", "-o first");
    bench.run(words(&whole)).ok();
    let first = files(&bench.path("first"));
    for input in ["x.fits", "x.fits.gz"] {
        let command = partition.replace("x.fits", input);
        let limits = "--memory-limit 40MiB --threads 2";
        crash(&bench, &format!("{command} {limits}"), "run-recorded:2");
        let again = bench.run(words(&format!("{command} --threads 5"))).ok();
        assert!(again.stderr.contains("going on where"), "{}", again.stderr);
        assert!(files(&bench.path("out")) == first, "{input}");
        fs::remove_dir_all(bench.path("out")).unwrap();
    }
}

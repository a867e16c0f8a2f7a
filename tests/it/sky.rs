//! `sky` and `locate`: pictures of what stands, and where a chunk is.

use std::fs;

use serde_json::Value;

use super::harness::{Bench, repo, words};

/// Runs the pipeline of the stars that come with the repository.
fn stars() -> Bench {
    let bench = Bench::in_memory();
    bench
        .shell(&format!(
            "cp -r {}/. stars && rm -rf stars/out && skyprep run -q stars/prep.toml",
            repo("testdata/stars").display()
        ))
        .ok();
    bench
}

#[test]
fn whatever_tells_of_chunks_can_be_drawn() {
    let bench = stars();
    let draw = |source: &str, out: &str, more: &str| {
        let line = format!("sky {source} -o {out} {more}");
        let outcome = bench.run(words(&line)).ok();
        (fs::read(bench.path(out)).unwrap(), outcome.stderr)
    };
    let (svg, note) = draw("stars/out/stars/manifest.jsonl", "m.svg", "");
    let text = String::from_utf8(svg.clone()).unwrap();
    assert!(
        text.contains("<title>Star: 20,000 rows in 368 chunks</title>"),
        "{text}"
    );
    assert_eq!(text.matches("rows, ").count(), 368 * 2);
    assert!(
        note.contains("this is Star") && note.contains("StarPhotometry"),
        "{note}"
    );
    for (number, source) in [
        "stars/out/stars",
        "stars/out",
        "stars/out/stars/report.json",
        "stars/out/.skyprep/report.json",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(
            draw(source, &format!("{number}.svg"), "").0 == svg,
            "{source}"
        );
    }
    let (page, note) = draw("stars/out", "page.html", "");
    let page = String::from_utf8(page).unwrap();
    assert_eq!(page.matches("<svg").count(), 4, "{note}");
    assert_eq!(note, "");
    let (png, _) = draw(
        "stars/out",
        "p.png",
        "--table StarPair --width 640 --show bytes",
    );
    assert_eq!(png[..8], *b"\x89PNG\r\n\x1a\n");
    assert_eq!(png[16..20], 640u32.to_be_bytes());
    let piped = bench
        .shell("skyprep sky - --to svg -o - < stars/out/stars/manifest.jsonl 2> /dev/null")
        .ok();
    assert!(piped.stdout == svg);
}

#[test]
fn chunk_files_of_partition_can_be_drawn() {
    let bench = Bench::new();
    bench.write("x.txt", "1\t10.5\t20.5\n2\t12.5\t20.5\n");
    bench
        .run(words(
            "partition x.txt -o out --kind director --stripes 18 --sub-stripes 10 --overlap 0.01 \
             --ra ra --dec dec --fields id,ra,dec --table T",
        ))
        .ok();
    bench.run(words("sky out -o out.svg")).ok();
    let svg = fs::read_to_string(bench.path("out.svg")).unwrap();
    assert!(svg.contains("T: 2 rows in "), "{svg}");
}

#[test]
fn what_tells_nothing_is_refused() {
    let bench = Bench::new();
    bench.write("x.txt", "1\n");
    bench.write("folder/x.txt", "1\n");
    let sky = |rest: &str| bench.run(words(&format!("sky {rest}")));
    sky("none -o x.svg").failed(3, &["none"]);
    sky("x.txt -o x.svg").failed(4, &["x.txt"]);
    sky("folder -o x.svg").failed(2, &["tells of no chunks", "partition, run or stage"]);
    sky("folder -o x.jpg").failed(2, &["--to"]);
    bench.write("old.svg", "old");
    sky("folder -o old.svg").failed(5, &["old.svg"]);
    let bench = stars();
    let sky = |rest: &str| bench.run(words(&format!("sky stars/out {rest}")));
    sky("-o x.svg --table None").failed(2, &["no partitioned table None", "Star, StarAstrometry"]);
    sky("-o x.svg --width 10").failed(2, &["10 pixels"]);
    sky("-o x.svg --table StarPair --show overlap").failed(1, &["has no overlap rows"]);
    assert!(!bench.path("x.svg").exists());
    sky("-o x.PNG --width 8000 --memory-limit 64MiB").failed(2, &["--width", "MiB"]);
    bench
        .shell("cp stars/out/stars/manifest.jsonl m.jsonl")
        .ok();
    bench
        .run(words("sky m.jsonl -o m.jsonl --to svg --force"))
        .failed(2, &["over what it is drawn from"]);
}

#[test]
fn places_and_chunks_are_located() {
    let bench = stars();
    let locate = |rest: &str| bench.run(words(&format!("locate {rest}")));
    let json = |rest: &str| -> Value {
        serde_json::from_slice(&locate(&format!("{rest} --json")).ok().stdout).unwrap()
    };
    const SKY: &str = "--stripes 85 --sub-stripes 12 --overlap 0.01";
    let place = json(&format!("358.164161 43.898693 {SKY}"));
    assert_eq!(
        (&place["chunk"], &place["sub_chunk"]),
        (&10828.into(), &142.into())
    );
    let chunk = json(&format!("10828 142 {SKY}"));
    assert_eq!(chunk["sub_chunk_box"], place["sub_chunk_box"]);
    let south = json("0.0 -89.9 --like stars/out");
    assert_eq!((&south["chunk"], &south["stripe"]), (&0.into(), &0.into()));
    let words = String::from_utf8(
        locate("37 --like stars/out/stars/manifest.jsonl")
            .ok()
            .stdout,
    );
    let words = words.unwrap();
    assert!(words.contains("RA 72 to 144, Dec -80 to -70"), "{words}");
    locate("37 --stripes 18").failed(2, &["--sub-stripes"]);
    locate("37").failed(2, &["--stripes"]);
    locate("10.5 --like stars/out").failed(2, &["RA DEC"]);
    locate("10.5 x --like stars/out").failed(2, &["'x'"]);
    locate("10.5 95 --like stars/out").failed(2, &["95"]);
    locate("17 --like stars/out").failed(2, &["no chunk 17", "18 stripes"]);
    locate("37 999 --like stars/out").failed(2, &["no sub-chunk 999", "37.0 999.0"]);
    locate("-5.0 3 --like stars/out").failed(2, &["right ascension is -5.0, expected 0 to 360"]);
}

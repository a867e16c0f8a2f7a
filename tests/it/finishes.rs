//! The same bytes for any number of threads, any memory limit and any finish of the exchange.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::harness::{Bench, files, shared, words};

const PARTITION: &str = "partition x.txt --kind director --stripes 18 --sub-stripes 10 \
                         --overlap 0.05 --id id --ra ra --dec dec --fields id,ra,dec,note \
                         --chunk-index";

/// Some 45 MB of rows all over the sky.
fn text() -> String {
    let mut text = String::new();
    for row in 0..160_000u64 {
        let (ra, dec) = ((row * 7919) % 36_000, (row * 104_729) % 18_000);
        let (ra, dec) = (ra as f64 / 100.0, dec as f64 / 100.0 - 90.0);
        let note = "note ".repeat(30 + (row % 37) as usize);
        writeln!(text, "{row}\t{ra}\t{dec}\t{note}").unwrap();
    }
    text
}

#[test]
fn threads_limits_and_finishes_do_not_show_in_the_bytes() {
    let bench = Bench::in_memory();
    bench.write("x.txt", text());
    bench.run(words(&format!("{PARTITION} -o first"))).ok();
    let first = files(&bench.path("first"));
    std::fs::remove_dir_all(bench.path("first")).unwrap();
    for threads in [1, 2, 8] {
        for limit in ["32MiB", "64MiB", "1GiB", "1TiB"] {
            for finish in ["memory", "append", "exchange", "auto"] {
                let options =
                    format!("-o out --threads {threads} --memory-limit {limit} --finish {finish}");
                let outcome = bench.run(words(&format!("{PARTITION} {options}")));
                let is_small = limit.ends_with("MiB");
                if finish == "memory" && is_small {
                    outcome.failed(2, &["do not fit", "--memory-limit"]);
                    assert!(files(&bench.path("out")).is_empty());
                } else {
                    outcome.ok();
                    assert!(files(&bench.path("out")) == first, "{options}: other bytes");
                }
                std::fs::remove_dir_all(bench.path("out")).unwrap();
            }
        }
    }
}

#[test]
fn a_huge_number_of_files_under_tight_limits() {
    let Some(shared) = shared("the star file under tight limits") else {
        return;
    };
    let stars = shared.join("data/stars/stars-mag11.parquet");
    let bench = Bench::in_memory();
    let count = |folder: &str| -> BTreeMap<String, Vec<u8>> { files(&bench.path(folder)) };
    for (division, expected) in [
        ("--stripes 85 --sub-stripes 12", 17_966),
        // 143,638 chunks and 121,907 with overlap rows, as a program made from the definition counts.
        ("--stripes 340 --sub-stripes 3", 265_545),
    ] {
        let partition = format!(
            "skyprep partition {} -q --kind director {division} --overlap 0.01667 \
             --ra ra_degrees --dec dec_degrees",
            stars.display()
        );
        assert_eq!(bench.shell(&format!("{partition} -o wide")).code, 0);
        let limits = "--memory-limit 64MiB --report report.json";
        let tight = bench.shell(&format!("ulimit -n 64; {partition} {limits} -o tight"));
        assert_eq!(tight.code, 0, "{}", tight.stderr);
        let wide = count("wide");
        assert_eq!(wide.len(), expected);
        assert!(wide == count("tight"), "{division}: other bytes");
        let report = std::fs::read(bench.path("report.json")).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        let peak = report["process_peak"].as_u64().unwrap();
        assert!(
            peak < (64 << 20) / 10 * 11,
            "{division}: {peak} bytes of memory"
        );
        for folder in ["wide", "tight"] {
            std::fs::remove_dir_all(bench.path(folder)).unwrap();
        }
    }
}

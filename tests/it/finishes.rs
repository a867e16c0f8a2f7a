//! The same bytes for any number of threads, any memory limit and any finish of the exchange.

use std::fmt::Write;

use super::harness::{Bench, files, words};

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

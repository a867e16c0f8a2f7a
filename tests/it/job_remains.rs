//! Jobs where something stands already.

use std::fs;

use super::harness::{Bench, positions, words};
use super::job_bench::{JobBench, Made};

const PIPELINE: &str = r#"
[database]
name = "d"
stripes = 18
sub_stripes = 10
overlap = 0.01

[product.x]
inputs = ["x.txt"]
fields = ["id", "ra", "dec"]

[product.y]
inputs = ["y.txt"]
fields = ["number", "id"]

[table.X]
kind = "director"
products = ["x"]
id = "id"
ra = "ra"
dec = "dec"

[table.Y]
kind = "child"
director = "X"
products = ["y"]
id = "id"

[stage]
dest = "out"
"#;

#[test]
fn a_job_replaces_the_tables_that_a_failed_run_has_left() {
    let bench = Bench::new();
    let stars = positions(40, 7919);
    bench.write("x.txt", &stars);
    bench.write("y.txt", "1\t3\n2\t999\n");
    bench.write("prep.toml", PIPELINE);
    bench.run(words("run prep.toml")).failed(1, &["999"]);
    assert!(bench.path("out/d/X").exists());

    // Now without the wrong key, and with an id of the same length in place of another.
    bench.write("x.txt", stars.replace("\n39\t", "\n93\t"));
    bench.write("y.txt", "1\t3\n2\t7\n");
    let job = JobBench::plan(bench, "job plan prep.toml", "out/d");
    job.run("submit").ok();
    let made = job.made();
    let index = String::from_utf8(made.files["X/chunk_object_index.txt"].clone()).unwrap();
    assert!(index.contains("93\t") && !index.contains("39\t"), "{index}");

    fs::remove_dir_all(job.bench.path("out")).unwrap();
    job.bench.run(words("run prep.toml")).ok();
    made.check(&Made::of(&job.output), "what run makes");
}

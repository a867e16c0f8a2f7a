//! `init`: a pipeline file out of a site's table JSON files.

use std::fs;

use super::harness::{Bench, files, repo, words};

const DATABASE: &str = r#"{"database": "stars", "num_stripes": 18, "num_sub_stripes": 10,
    "overlap": 0.01667, "auto_build_secondary_index": 1}"#;

/// A bench with the stars' inputs, and their tables in `site`.
fn site() -> Bench {
    let bench = Bench::in_memory();
    let stars = repo("testdata/stars");
    bench
        .shell(&format!(
            "cp -r {0}/stars {0}/photometry {0}/pairs.parquet . && cp -r {0}/tables site",
            stars.display()
        ))
        .ok();
    bench.write("site/db.json", DATABASE);
    bench
}

#[test]
fn what_init_writes_makes_what_the_readmes_pipeline_makes() {
    let bench = site();
    bench
        .shell("rm site/Designation.json site/Constellation.json")
        .ok();
    // Named after their tables.
    bench
        .shell(
            "mkdir -p work/data && mv stars work/data/Star && cp -r work/data/Star work/data/StarAstrometry && \
             mv photometry work/data/StarPhotometry && mkdir work/data/StarPair && \
             mv pairs.parquet work/data/StarPair && mv site/StarPair.json site/pair.json",
        )
        .ok();
    let line = "init site --database site/db.json --inputs data/{table} -o work/prep.toml";
    let said = bench.run(words(line)).ok().stderr;
    assert!(
        said.contains("passed over: db.json") && said.contains("4 tables"),
        "{said}"
    );
    let text = fs::read_to_string(bench.path("work/prep.toml")).unwrap();
    assert!(
        text.contains("tables = \"../site\"") && text.contains("schema = \"../site/pair.json\""),
        "{text}"
    );
    bench.run(words("run -q work/prep.toml")).ok();
    bench
        .shell(&format!(
            "cp -r {}/. readme && rm -rf readme/out && skyprep run -q readme/prep.toml",
            repo("testdata/stars").display()
        ))
        .ok();
    for table in ["Star", "StarAstrometry", "StarPhotometry", "StarPair"] {
        let made = |root: &str| files(&bench.path(&format!("{root}/out/stars/{table}")));
        assert!(!made("work").is_empty());
        assert!(made("work") == made("readme"), "{table}");
    }
    bench.run(words(line)).failed(5, &["work/prep.toml"]);
}

#[test]
fn what_is_no_site_is_told() {
    let bench = site();
    let init = |rest: &str| bench.run(words(&format!("init {rest} -o -")));
    let text = String::from_utf8(init("site --database site/db.json").ok().stdout).unwrap();
    assert!(text.contains("inputs = [\"Star/*.parquet\"]"), "{text}");
    let of_directors = text.find("[table.Star]").unwrap();
    assert!(of_directors < text.find("[table.StarPair]").unwrap());
    init("none --database site/db.json").failed(3, &["none"]);
    init("site --database none.json").failed(3, &["none.json"]);
    init("site --database site/Star.json").failed(2, &["Star.json", "num_stripes"]);
    bench.write("empty/db.json", DATABASE);
    init("empty --database empty/db.json").failed(2, &["defines no table", "db.json"]);
    bench.shell("cp site/Star.json site/Other.json").ok();
    init("site --database site/db.json").failed(2, &["Star", "Other.json"]);
    bench.write("site/Other.json", "{\"schema\": [,]}");
    init("site --database site/db.json").failed(2, &["Other.json"]);
    bench.write("bad.json", DATABASE.replace("18", "0"));
    init("site --database bad.json").failed(2, &["bad.json"]);
}

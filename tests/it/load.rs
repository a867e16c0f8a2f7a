//! What was staged loads into a real MariaDB in strict mode, without a warning.

use std::fs;
use std::process::Command;

use super::harness::words;
use super::mariadb::server;
use super::stars::{TABLES, star_bench};

#[test]
fn the_star_pipeline_loads_without_a_warning() {
    let bench = star_bench();
    bench.run(words("run stars/prep.toml")).ok();
    // The server reads the files as its own user.
    let opened = Command::new("chmod")
        .args(["-R", "a+rX"])
        .arg(bench.root())
        .status()
        .unwrap();
    assert!(opened.success());
    let mut script = String::from("create database stars; use stars;\n");
    for table in TABLES {
        let path = bench.path(&format!("stars/tables/{table}.json"));
        let json: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let columns: Vec<String> = json["schema"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| {
                format!(
                    "`{}` {}",
                    c["name"].as_str().unwrap(),
                    c["type"].as_str().unwrap()
                )
            })
            .collect();
        let charset = json["charset_name"].as_str().unwrap();
        script += &format!(
            "create table {table} ({}) engine=MyISAM default charset {charset};\n",
            columns.join(", ")
        );
    }
    let manifest = fs::read_to_string(bench.path("stars/out/stars/manifest.jsonl")).unwrap();
    let mut overlap_rows = 0;
    for line in manifest.lines().skip(1) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line["overlap"] == true {
            overlap_rows += line["rows"].as_u64().unwrap();
        }
        script += &format!(
            "load data infile '{}' into table {} character set {} \
             fields terminated by '\\t' escaped by '\\\\' lines terminated by '\\n';\n\
             select 'loaded', row_count(), {}, @@warning_count;\n",
            line["url"]
                .as_str()
                .unwrap()
                .strip_prefix("file://")
                .unwrap(),
            line["table"].as_str().unwrap(),
            line["charset"].as_str().unwrap(),
            line["rows"],
        );
    }
    script += "select count(*) from Star; select count(*) from StarAstrometry;\n\
               select count(*) from Constellation where name = 'Boötes';\n\
               select count(*), sum(hip is null), sum(ccdm is null) from Star where star_id < 20000 \
               and subChunkId is not null;\n\
               alter table Star add index (star_id);\n\
               select count(*), count(distinct m.point_id) from StarPhotometry m join Star s \
               on s.star_id = m.star_id and s.chunkId = m.chunkId and s.subChunkId = m.subChunkId;\n\
               select count(*), count(distinct p.star_id1, p.star_id2) from StarPair p \
               join Star a on a.star_id = p.star_id1 and a.chunkId = p.chunkId \
               and a.subChunkId = p.subChunkId \
               where p.partitioningFlags = 3 and p.separation_arcsec < 60 and exists (select * \
               from Star b where b.star_id = p.star_id2 and b.chunkId = p.chunkId);\n";
    let script = format!("set names utf8mb4; {script}");
    let answers = server().client(&script).unwrap();
    let mut loads = 0;
    for answer in answers.lines().filter(|line| line.starts_with("loaded")) {
        let cells: Vec<&str> = answer.split('\t').collect();
        assert_eq!(
            cells[1], cells[2],
            "{answer}: rows loaded and rows in the manifest"
        );
        assert_eq!(cells[3], "0", "{answer}: warnings");
        loads += 1;
    }
    assert_eq!(loads, manifest.lines().count() - 1);
    let last: Vec<&str> = answers.lines().rev().take(6).collect();
    assert_eq!(overlap_rows, 1_346);
    assert_eq!(last[5], "21346");
    assert_eq!(last[4], "20000");
    assert_eq!(last[3], "1");
    assert!(last[2].starts_with("21346\t"), "{}", last[2]);
    // Overlap rows have other sub-chunks, so each finds its star once.
    assert_eq!(last[1], "12000\t12000");
    assert_eq!(last[0], "1298\t1298");
}

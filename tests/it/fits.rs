//! FITS inputs: what astropy writes comes out as it was, by every command.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::harness::{Bench, Outcome, files, repo, words};
use super::loading::Bits;
use super::s3_server::venv_program;

/// Has astropy write `x.fits`, and `x.json` which says what it holds.
fn tables(bench: &Bench, name: &str, rows: u64, seed: u64) -> Vec<Value> {
    let status = Command::new(venv_program("python"))
        .arg(repo("tests/it/fits_tables.py"))
        .arg(bench.path(name))
        .args([rows.to_string(), seed.to_string()])
        .env("HOME", bench.root())
        .status();
    assert!(status.unwrap().success());
    let json = bench.path(name).with_extension("json");
    serde_json::from_slice(&fs::read(json).unwrap()).unwrap()
}

/// Runs some lines of Python where astropy is.
fn python(bench: &Bench, script: &str) {
    let status = Command::new(venv_program("python"))
        .args(["-c", script])
        .current_dir(bench.root())
        .env("HOME", bench.root())
        .status();
    assert!(status.unwrap().success());
}

const KEEP: &str = "--nan keep --inf keep --bool keep --nested json --charset utf8mb4";

/// Says whether a cell is what astropy was given.
fn is_same(kind: &str, cell: &str, said: &Value) -> bool {
    if let Value::Array(items) = said {
        let found: Value = serde_json::from_str(cell).unwrap();
        let Value::Array(found) = found else {
            return false;
        };
        let mut pairs = found.iter().zip(items);
        return found.len() == items.len()
            && pairs.all(|(found, said)| match found {
                Value::String(text) => is_same(kind, text, said),
                other => is_same(kind, &other.to_string(), said),
            });
    }
    let text = match said {
        Value::String(text) => text.clone(),
        Value::Null => return cell == "\\N",
        other => other.to_string(),
    };
    match kind {
        "f8" => text.parse::<f64>().unwrap().to_bits() == cell.parse::<f64>().unwrap().to_bits(),
        "f4" => {
            let said = text.parse::<f64>().unwrap() as f32;
            said.to_bits() == cell.parse::<f32>().unwrap().to_bits()
        }
        _ => cell == text,
    }
}

#[test]
fn every_kind_of_column_comes_out_as_astropy_was_given_it() {
    for (rows, seed) in [(1, 1), (64, 2), (20_000, 3)] {
        let bench = Bench::in_memory();
        let said = tables(&bench, "x.fits", rows, seed);
        let to_csv = format!("convert x.fits -o x.csv --dialect rfc4180 --header {KEEP}");
        bench.run(words(&to_csv)).ok();
        // Read back as the csv crate reads it: no code of ours.
        let mut reader = csv::Reader::from_path(bench.path("x.csv")).unwrap();
        let names: Vec<String> = reader
            .headers()
            .unwrap()
            .iter()
            .map(str::to_owned)
            .collect();
        let expected: Vec<&str> = said
            .iter()
            .map(|column| column["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected);
        let mut count = 0;
        for (row, record) in reader.records().enumerate() {
            let record = record.unwrap();
            for (cell, column) in record.iter().zip(&said) {
                let (kind, value) = (column["kind"].as_str().unwrap(), &column["values"][row]);
                // rfc4180 has no NULL but nothing.
                let cell = if cell.is_empty() && value.is_null() {
                    "\\N"
                } else {
                    cell
                };
                let cell = match kind {
                    "bool" if !cell.starts_with('[') => cell.to_ascii_lowercase(),
                    _ => cell.to_owned(),
                };
                assert!(
                    is_same(kind, &cell, value),
                    "row {row}, {}: '{cell}' is not {value}",
                    column["name"]
                );
            }
            count += 1;
        }
        assert_eq!(count, rows);
    }
}

#[test]
fn threads_and_memory_do_not_show() {
    let bench = Bench::in_memory();
    tables(&bench, "x.fits", 30_000, 4);
    let convert = |out: &str, more: &str| {
        let line = format!("convert x.fits -o {out} {KEEP} {more}");
        bench.run(words(&line)).ok();
        fs::read(bench.path(out)).unwrap()
    };
    let one = convert("1.txt", "--threads 1");
    assert!(one.len() > 1 << 20);
    assert!(one == convert("2.txt", "--threads 5"));
    assert!(one == convert("3.txt", "--threads 2 --memory-limit 48MiB"));
}

/// Makes `stars.fits` of the stars that come with the repository, and their text.
fn stars(bench: &Bench) {
    let stars = repo("testdata/stars/stars");
    let columns = "star_id,ra_degrees,dec_degrees,magnitude";
    let line = format!(
        "convert {} -o stars.csv --header --dialect rfc4180 --columns {columns}",
        stars.display()
    );
    bench.run(words(&line)).ok();
    let script = "import sys; from astropy.table import Table; \
                  Table.read('stars.csv', format='ascii.csv').write('stars.fits')";
    python(bench, script);
}

const PLACE: &str = "--kind director --id star_id --ra ra_degrees --dec dec_degrees --stripes 18 \
                     --sub-stripes 10 --overlap 0.01667";

#[test]
fn stars_in_fits_go_to_the_chunks_of_their_text() {
    let bench = Bench::in_memory();
    stars(&bench);
    let from = |input: &str, out: &str| {
        let line = format!("partition {input} -o {out} {PLACE}");
        bench.run(words(&line)).ok();
        let mut found = files(&bench.path(out));
        found.retain(|name, _| !name.contains(".skyprep"));
        found
    };
    let text = from("stars.csv --in-dialect rfc4180 --in-header", "text");
    assert!(text.len() > 300);
    assert!(text == from("stars.fits", "fits"));
    assert!(text == from("stars.fits --threads 1 --memory-limit 32MiB", "small"));
    // A folder, a second time.
    fs::create_dir(bench.path("folder")).unwrap();
    fs::rename(bench.path("stars.fits"), bench.path("folder/stars.fit")).unwrap();
    assert!(text == from("folder", "searched"));
    let again = bench
        .run(words(&format!("partition folder -o searched {PLACE}")))
        .ok();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
}

#[test]
fn compressed_files_are_unpacked_as_they_are_read() {
    let bench = Bench::in_memory();
    tables(&bench, "x.fits", 30_000, 9);
    bench
        .shell("gzip -k x.fits && cp x.fits.gz x.dat && mkdir folder && cp x.fits.gz folder")
        .ok();
    let heap = "--exclude ints,doubles,long";
    let convert = |input: &str, more: &str| {
        let line = format!("convert {input} -o - {KEEP} {heap} {more}");
        bench.run(words(&line)).ok().stdout
    };
    let plain = convert("x.fits", "--threads 1");
    assert!(plain.len() > 1 << 20);
    assert!(plain == convert("x.fits.gz", "--threads 1"));
    assert!(plain == convert("x.dat", "--threads 24"));
    assert!(plain == convert("folder", "--threads 3 --memory-limit 48MiB"));
    let other = |input: &str| {
        let line = format!("convert {input} -o - --hdu OTHER");
        bench.run(words(&line)).ok().stdout
    };
    assert!(other("x.fits") == other("x.fits.gz"));
    bench
        .run(words(&format!("convert x.fits.gz -o - {KEEP}")))
        .failed(2, &["x.fits.gz, column ints", "unpack it"]);
    bench
        .run(words("convert x.fits.gz -o - --hdu none"))
        .failed(2, &["3 (OTHER)"]);
    let whole = fs::read(bench.path("x.fits.gz")).unwrap();
    for end in [1, 10, 100, 5000, whole.len() / 2] {
        bench.write("y.fits.gz", &whole[..end]);
        let line = format!("convert y.fits.gz -o - {KEEP} {heap}");
        bench.run(words(&line)).failed(4, &["y.fits.gz"]);
    }
    // The checksum, which stands behind all rows.
    let mut wrong = whole.clone();
    let end = wrong.len();
    wrong[end - 6] ^= 1;
    bench.write("y.fits.gz", wrong);
    let line = "convert y.fits.gz -o - --hdu OTHER".to_owned();
    bench
        .run(words(&line))
        .failed(4, &["y.fits.gz", "can't be unpacked"]);
    // More rows than such a file can hold.
    let script = "import gzip; b = open('x.fits', 'rb').read(); \
                  b = b.replace(b'NAXIS2  =                30000', b'NAXIS2  =        9000000000000'); \
                  gzip.open('y.fits.gz', 'wb').write(b[:100000])";
    python(&bench, script);
    let line = format!("convert y.fits.gz -o - {KEEP}");
    bench
        .run(words(&line))
        .failed(4, &["y.fits.gz", "9000000000000 rows"]);
    // Whoever looks at blocks in an order of their own.
    let schema = |input: &str| {
        let line =
            format!("schema {input} --exclude three,table,bits,complex,names,ints,doubles,long");
        bench.run(words(&line)).ok().stdout
    };
    assert!(schema("x.fits") == schema("x.fits.gz"));
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 20].fill(0xff);
    bench.write("y.fits.gz", damaged);
    let line = format!("convert y.fits.gz -o - {KEEP} {heap}");
    bench.run(words(&line)).failed(4, &["y.fits.gz"]);
}

#[test]
fn a_job_cuts_fits_files_and_gives_what_run_gives() {
    let bench = Bench::in_memory();
    stars(&bench);
    // Long enough for several blocks of rows.
    let script = "from astropy.table import Table, vstack; t = Table.read('stars.fits'); \
                  t['pad'] = ['x' * 200] * len(t); t.write('long.fits'); \
                  n = t[:0]; n.write('none.fits')";
    python(&bench, script);
    let pipeline = |out: &str| {
        format!(
            "[database]\nname = \"d\"\nstripes = 18\nsub_stripes = 10\noverlap = 0.01667\n\
             [product.p]\ninputs = [\"none.fits\", \"long.fits\"]\nhdu = 1\n\
             [table.Star]\nkind = \"director\"\nproducts = [\"p\"]\nid = \"star_id\"\n\
             ra = \"ra_degrees\"\ndec = \"dec_degrees\"\n[stage]\ndest = \"{out}\"\n"
        )
    };
    bench.write("run.toml", pipeline("by-run"));
    bench.write("job.toml", pipeline("by-job"));
    bench.run(words("run run.toml")).ok();
    bench
        .shell(
            "JOB=$(skyprep job plan job.toml --max-size 1MiB --reduce-tasks 3) && \
             ls $JOB && grep -c long.fits $JOB/inputs.jsonl > cuts && \
             skyprep job submit --job \"$JOB\" --workers 2",
        )
        .ok();
    let cuts = fs::read_to_string(bench.path("cuts")).unwrap();
    assert!(cuts.trim().parse::<u32>().unwrap() >= 3, "{cuts}");
    let made = |folder: &str| {
        let mut found = files(&bench.path(folder).join("d/Star"));
        found.retain(|name, _| name.ends_with(".txt"));
        found
    };
    let run = made("by-run");
    assert!(run.len() > 300);
    assert!(run == made("by-job"));
}

#[test]
fn which_table_is_read_is_said_and_chosen() {
    let bench = Bench::new();
    tables(&bench, "x.fits", 10, 5);
    let convert = |more: &str| {
        let line = format!("convert x.fits -o - --header {KEEP} {more}");
        bench.run(words(&line))
    };
    let first = convert("").ok();
    assert!(
        first
            .stderr
            .contains("2 (STARS) is read, and not 3 (OTHER)"),
        "{}",
        first.stderr
    );
    let named = convert("--hdu stars").ok();
    assert_eq!((named.stdout, named.stderr.as_str()), (first.stdout, ""));
    assert_eq!(convert("--hdu 3").ok().stdout, b"n\n0\n1\n2\n");
    convert("--hdu PICTURE").failed(2, &["no table", "2 (STARS), 3 (OTHER)"]);
    convert("--hdu none").failed(2, &["has no unit none"]);
    bench
        .run(words("sanitize x.fits"))
        .failed(2, &["this is FITS"]);
    // A name of text, in a list and by force.
    fs::copy(bench.path("x.fits"), bench.path("x.dat")).unwrap();
    bench.run(words("convert x.dat -o - --hdu other")).ok();
    bench
        .run(words("convert x.dat -o - --hdu other --input-format fits"))
        .ok();
}

#[test]
fn a_table_is_proposed_and_checked() {
    let bench = Bench::new();
    stars(&bench);
    bench.run(words(
        "schema stars.fits -o Star.json --kind director --id star_id --ra ra_degrees --dec dec_degrees",
    )).ok();
    let schema: Value =
        serde_json::from_slice(&fs::read(bench.path("Star.json")).unwrap()).unwrap();
    let types: Vec<String> = schema["schema"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| {
            format!(
                "{} {}",
                column["name"].as_str().unwrap(),
                column["type"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        types[..2],
        ["star_id BIGINT NOT NULL", "ra_degrees DOUBLE NOT NULL"],
        "{types:?}"
    );
    bench.run(words("check stars.fits --schema Star.json")).ok();
    bench
        .run(words(&format!(
            "partition stars.fits -o out --schema Star.json {PLACE}"
        )))
        .ok();
}

/// Changes some bytes of the headers and pointers of a file, or cuts it.
fn damaged(whole: &[u8], random: &mut Bits) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    match random.below(4) {
        0 => bytes.truncate(random.below(whole.len() as u64) as usize),
        1 => {
            // A card takes the place of another.
            let cards = |random: &mut Bits| random.below(whole.len() as u64 / 80) as usize * 80;
            let (from, to) = (cards(random), cards(random));
            bytes.copy_within(from..from + 80, to);
        }
        _ => {
            for _ in 0..=random.below(6) {
                let at = random.below(whole.len() as u64) as usize;
                // Most where the headers are: digits and letters become others.
                bytes[at] = match random.below(3) {
                    0 => b'0' + random.below(10) as u8,
                    1 => b'A' + random.below(26) as u8,
                    _ => random.next() as u8,
                };
            }
        }
    }
    bytes
}

#[test]
fn streams_and_cut_files_are_told() {
    let bench = Bench::new();
    tables(&bench, "x.fits", 10, 10);
    let named = &["FITS can't be read from a stream", "name the file"];
    bench
        .shell("skyprep convert - -o - < x.fits")
        .failed(2, named);
    bench
        .shell("cat x.fits | skyprep convert - --input-format fits -o -")
        .failed(2, named);
    bench
        .shell("cat x.fits | skyprep sanitize -")
        .failed(2, named);
    // Cut before the table: passed over, as all that is damaged.
    let whole = fs::read(bench.path("x.fits")).unwrap();
    bench.write("cut.fits", &whole[..2 * 2880 + 20]);
    let line = format!("convert cut.fits x.fits -o x.txt {KEEP}");
    bench
        .run(words(&line))
        .failed(4, &["cut.fits", "ends within unit 1 (PICTURE)"]);
    bench
        .run(words(&format!("{line} --keep-going")))
        .failed(1, &["cut.fits"]);
    assert!(bench.path("x.txt").exists());
}

#[test]
fn damaged_files_are_refused_or_read_but_nothing_breaks() {
    let bench = Bench::in_memory();
    tables(&bench, "x.fits", 12, 6);
    let whole = fs::read(bench.path("x.fits")).unwrap();
    let mut random = Bits(7);
    let mut codes = std::collections::BTreeMap::new();
    for _ in 0..400 {
        bench.write("y.fits", damaged(&whole, &mut random));
        let line = format!("convert y.fits -o - {KEEP} --memory-limit 64MiB");
        let Outcome { code, stderr, .. } = bench.run(words(&line));
        assert!([0, 1, 2, 4].contains(&code), "{code}: {stderr}");
        assert!(code == 0 || stderr.contains("y.fits"), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        *codes.entry(code).or_insert(0) += 1;
    }
    assert!(codes[&0] > 20 && codes[&4] > 50, "{codes:?}");
}

#[test]
fn faults_are_told_with_their_place() {
    let bench = Bench::new();
    tables(&bench, "x.fits", 10, 8);
    let mut bytes = fs::read(bench.path("x.fits")).unwrap();
    let data = memchr::memmem::find(&bytes, b"'STARS").unwrap();
    let end = memchr::memmem::find(&bytes[data..], format!("{:80}", "END").as_bytes());
    let rows = (data + end.unwrap()).next_multiple_of(2880);
    bytes[rows] = b'?';
    bench.write("bad.fits", &bytes);
    let bad = bench.run(words("convert bad.fits -o bad.txt --nested json"));
    bad.failed(4, &["bad.fits", "row 1", "column logical", "'?'"]);
    assert!(!Path::new(&bench.path("bad.txt")).exists());
    bytes.truncate(rows + 100);
    bench.write("cut.fits", &bytes);
    let cut = bench.run(words(
        "convert cut.fits x.fits -o out/ --nested json --keep-going",
    ));
    cut.failed(1, &["cut.fits", "of its 10 rows"]);
}

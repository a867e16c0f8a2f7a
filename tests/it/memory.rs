//! The memory limit holds for the whole process, whatever the shape of the table.

use std::sync::Arc;

use std::path::Path;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::page::Page;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::harness::{Bench, files, words};

/// A number that looks random and does not pack well.
fn noise(seed: u64) -> f64 {
    let mut bits = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    bits ^= bits >> 29;
    bits = bits.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits ^= bits >> 32;
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// A table with a key, a position and so many columns in all, in row groups of `rows` rows.
pub(crate) fn table(columns: usize, rows: usize, groups: usize) -> Vec<u8> {
    packed_table((columns, rows, groups), Compression::UNCOMPRESSED)
}

fn packed_table(
    (columns, rows, groups): (usize, usize, usize),
    compression: Compression,
) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows))
        .set_compression(compression)
        .build();
    let mut bytes = Vec::new();
    let mut writer: Option<ArrowWriter<&mut Vec<u8>>> = None;
    let mut pending = Some(&mut bytes);
    for group in 0..groups {
        let first = (group * rows) as u64;
        let keys = (first..first + rows as u64).map(|row| row as i64);
        let id: ArrayRef = Arc::new(Int64Array::from_iter_values(keys));
        let mut all = vec![("id".to_owned(), id)];
        for column in 1..columns as u64 {
            let (name, scale, base) = match column {
                1 => ("ra".to_owned(), 360.0, 0.0),
                2 => ("dec".to_owned(), 180.0, -90.0),
                _ => (format!("c{column}"), 1e3, 0.0),
            };
            let values = (0..rows as u64)
                .map(|row| noise((first + row) * columns as u64 + column) * scale + base);
            all.push((
                name,
                Arc::new(Float64Array::from_iter_values(values)) as ArrayRef,
            ));
        }
        let batch = RecordBatch::try_from_iter(all).unwrap();
        let writer = match &mut writer {
            Some(writer) => writer,
            None => {
                let properties = Some(properties.clone());
                let out = pending.take().unwrap();
                writer.insert(ArrowWriter::try_new(out, batch.schema(), properties).unwrap())
            }
        };
        writer.write(&batch).unwrap();
    }
    writer.unwrap().close().unwrap();
    bytes
}

fn peak(bench: &Bench) -> u64 {
    let report = std::fs::read(bench.path("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    report["process_peak"].as_u64().unwrap()
}

const COMMANDS: [&str; 2] = [
    "convert x.parquet -o out/",
    "partition x.parquet -o out --kind director --stripes 18 --sub-stripes 10 --overlap 0.05 \
     --ra ra --dec dec --id id --chunk-index",
];

fn is_kept(bench: &Bench, limits: &[(u64, &str)]) {
    for command in COMMANDS {
        bench.run(words(command)).ok();
        let expected = files(&bench.path("out"));
        std::fs::remove_dir_all(bench.path("out")).unwrap();
        for (mib, options) in limits {
            let at = format!("{command} {options} --memory-limit {mib}MiB");
            bench.run(words(&format!("{at} --report report.json"))).ok();
            let peak = peak(bench);
            assert!(peak <= (mib << 20) / 10 * 11, "{at}: {peak} bytes");
            assert!(files(&bench.path("out")) == expected, "{at}: other bytes");
            std::fs::remove_dir_all(bench.path("out")).unwrap();
        }
    }
}

#[test]
fn columns_that_memory_cant_hold_side_by_side_are_read_in_groups() {
    let bench = Bench::in_memory();
    bench.write("x.parquet", table(62, 131_072, 2));
    is_kept(
        &bench,
        &[
            (32, "--threads 2"),
            (32, "--threads 8"),
            (64, "--threads 2"),
        ],
    );
}

#[test]
fn thirteen_hundred_columns_are_read_in_groups() {
    let bench = Bench::in_memory();
    bench.write("x.parquet", table(1300, 4096, 2));
    is_kept(&bench, &[(64, "--threads 2")]);
}

#[test]
fn unpackers_of_many_columns_count() {
    let bench = Bench::in_memory();
    let zstd = Compression::ZSTD(ZstdLevel::default());
    bench.write("x.parquet", packed_table((1300, 500, 4), zstd));
    is_kept(&bench, &[(64, "--threads 1"), (64, "--threads 2")]);
}

#[test]
fn a_limit_that_cant_be_kept_is_refused_before_any_work() {
    let bench = Bench::in_memory();
    bench.write("small.parquet", table(3, 100, 1));
    bench.write("x.parquet", table(1300, 4096, 1));
    for command in [
        "convert small.parquet x.parquet --columns id,ra,dec -o out/ --memory-limit 1MiB",
        "convert x.parquet -o out/ --memory-limit 10MiB",
    ] {
        let outcome = bench.run(words(command));
        outcome.failed(2, &["memory limit", "too small", "say --memory-limit"]);
        assert!(files(&bench.path("out")).is_empty());
        // The figure is right.
        let said = outcome.stderr.split("say --memory-limit ").nth(1).unwrap();
        let enough = said.split(' ').next().unwrap();
        let limit = command.rsplit(' ').next().unwrap();
        bench.run(words(&command.replace(limit, enough))).ok();
        std::fs::remove_dir_all(bench.path("out")).unwrap();
    }
}

/// Doubles, some of which are few and so in dictionaries, and long texts of which there are few.
fn mixed(rows: usize, groups: usize) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows))
        .build();
    let mut bytes = Vec::new();
    let batch = |group: usize| {
        let numbers = (group * rows) as u64..((group + 1) * rows) as u64;
        let mut all: Vec<(String, ArrayRef)> = Vec::new();
        for column in 0..48u64 {
            let distinct = if column % 3 == 0 { 500 } else { u64::MAX };
            let values = numbers.clone();
            let values = values.map(|row| noise((row * 64 + column) % distinct) * 1e3);
            let values = Float64Array::from_iter_values(values);
            all.push((format!("c{column}"), Arc::new(values)));
        }
        let long: Vec<String> = (0..30).map(|n| format!("{n} ").repeat(700)).collect();
        let texts = numbers.map(|row| long[(row % 30) as usize].as_str());
        all.push((
            "text".into(),
            Arc::new(StringArray::from_iter_values(texts)),
        ));
        RecordBatch::try_from_iter(all).unwrap()
    };
    let first = batch(0);
    let mut writer = ArrowWriter::try_new(&mut bytes, first.schema(), Some(properties)).unwrap();
    writer.write(&first).unwrap();
    for group in 1..groups {
        writer.write(&batch(group)).unwrap();
    }
    writer.close().unwrap();
    bytes
}

/// Returns the sum over columns of dictionary and largest data page, unpacked, of that row group
/// for which it is largest.
fn open_columns(path: &Path) -> u64 {
    let file = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let of_column = |group: usize, column: usize| {
        let group = file.get_row_group(group).unwrap();
        let (mut dictionary, mut largest) = (0, 0);
        for page in group.get_column_page_reader(column).unwrap() {
            match page.unwrap() {
                Page::DictionaryPage { buf, .. } => dictionary = buf.len(),
                Page::DataPage { buf, .. } | Page::DataPageV2 { buf, .. } => {
                    largest = largest.max(buf.len());
                }
            }
        }
        (dictionary + largest) as u64
    };
    let metadata = file.metadata();
    let columns = metadata.file_metadata().schema_descr().num_columns();
    let groups = 0..metadata.num_row_groups();
    let sums = groups.map(|group| (0..columns).map(|column| of_column(group, column)).sum());
    sums.max().unwrap()
}

#[test]
fn threads_share_one_row_group() {
    let bench = Bench::in_memory();
    bench.write("x.parquet", mixed(30_000, 4));
    let most = open_columns(&bench.path("x.parquet")) / 10 * 13 + (64 << 20);
    let command = "convert x.parquet -o out/ --report report.json";
    let mut expected = None;
    for threads in [1, 2, 8] {
        bench
            .run(words(&format!("{command} --threads {threads}")))
            .ok();
        let peak = peak(&bench);
        assert!(peak <= most, "{threads} threads: {peak} bytes, not {most}");
        let found = files(&bench.path("out"));
        assert!(*expected.get_or_insert_with(|| found.clone()) == found);
        std::fs::remove_dir_all(bench.path("out")).unwrap();
    }
}

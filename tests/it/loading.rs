//! From columns in memory through Parquet, `skyprep convert` and MariaDB, and back.

use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::Value;
use skyprep::dialect::Dialect;

use super::harness::{Bench, words};
use super::mariadb::Table;

/// A Parquet file of these columns.
pub(crate) fn parquet<N: Into<String>>(
    columns: impl IntoIterator<Item = (N, ArrayRef)>,
) -> Vec<u8> {
    parquet_with(columns, WriterProperties::builder().build())
}

/// A Parquet file of these columns, written as `properties` say.
pub(crate) fn parquet_with<N: Into<String>>(
    columns: impl IntoIterator<Item = (N, ArrayRef)>,
    properties: WriterProperties,
) -> Vec<u8> {
    let (fields, arrays): (Vec<_>, Vec<_>) = columns
        .into_iter()
        .map(|(name, array)| (Field::new(name, array.data_type().clone(), true), array))
        .unzip();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// What `skyprep convert` writes for a table, and what it counts per column and rule.
pub(crate) fn converted(parquet: &[u8], table: &Table, args: &str) -> (Vec<u8>, Value) {
    made("convert", "x.parquet", parquet, table, args)
}

/// What `skyprep sanitize` writes for a table, and what it counts.
pub(crate) fn sanitized(text: &[u8], table: &Table, args: &str) -> (Vec<u8>, Value) {
    made("sanitize", "x.in", text, table, args)
}

fn made(command: &str, input: &str, bytes: &[u8], table: &Table, args: &str) -> (Vec<u8>, Value) {
    let bench = Bench::in_memory();
    bench.write(input, bytes);
    bench.write("T.json", table.json());
    let line = format!("{command} {input} -o x.out --schema T.json --report r.json -q {args}");
    bench.run(words(&line)).ok();
    let report: Value = serde_json::from_slice(&fs::read(bench.path("r.json")).unwrap()).unwrap();
    let text = fs::read(bench.path("x.out")).unwrap();
    (text, report["tables"][0]["changes"].clone())
}

/// Stops the test unless `skyprep` refuses the input, with exit code 1, and says all of this.
#[track_caller]
pub(crate) fn refused(command: &str, bytes: &[u8], table: &Table, args: &str, said: &[&str]) {
    let bench = Bench::in_memory();
    bench.write("x.in", bytes);
    bench.write("T.json", table.json());
    let line = format!("{command} x.in -o x.out --schema T.json -q {args}");
    bench.run(words(&line)).failed(1, said);
    assert!(!bench.path("x.out").exists());
}

/// The dialects that Qserv loads, and the options that choose them.
pub(crate) fn dialects() -> Vec<(&'static str, Dialect)> {
    let custom = |delimiter, quote, null| Dialect::custom(delimiter, quote, Some(b'\\'), null);
    vec![
        ("", Dialect::qserv()),
        ("--dialect qserv-csv", Dialect::qserv_csv()),
        ("--delimiter ,", custom(b',', None, None).unwrap()),
        ("--quote '", custom(b'\t', Some(b'\''), None).unwrap()),
        (
            "--dialect qserv-csv --quote ' --null NULL",
            custom(b',', Some(b'\''), Some("NULL")).unwrap(),
        ),
    ]
}

/// A seeded generator of bits.
pub(crate) struct Bits(pub(crate) u64);

impl Bits {
    /// The next 64 bits (splitmix64).
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A number from 0 to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

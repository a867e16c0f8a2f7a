//! Arrow IPC files as inputs: the same text as the same columns in Parquet, whatever their packing.

use std::fs;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, DictionaryArray, Float32Array, RecordBatch, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::arrow_types::{columns, text_of};
use super::harness::{Bench, files, repo, words};
use super::loading::{Bits, parquet};
use super::random_columns::random_column;

const PACKINGS: [Option<CompressionType>; 3] = [
    None,
    Some(CompressionType::LZ4_FRAME),
    Some(CompressionType::ZSTD),
];

/// Writes batches as a file.
fn arrow_of(batches: &[RecordBatch], packing: Option<CompressionType>) -> Vec<u8> {
    let schema = batches[0].schema();
    let options = IpcWriteOptions::default()
        .try_with_compression(packing)
        .unwrap();
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

/// Cuts columns into batches of so many rows.
fn batches(columns: Vec<(&str, ArrayRef)>, rows: usize) -> Vec<RecordBatch> {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    );
    let batch = batch.unwrap();
    let starts = (0..batch.num_rows().max(1)).step_by(rows);
    starts
        .map(|start| batch.slice(start, rows.min(batch.num_rows() - start)))
        .collect()
}

/// Makes a dictionary of texts.
fn dictionary(rows: i32, text: impl Fn(i32) -> Option<String>) -> ArrayRef {
    let texts: StringArray = (0..rows).map(text).collect();
    let kind = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    cast(&texts, &kind).unwrap()
}

fn convert(bench: &Bench, file: &[u8], args: &str) -> (i32, Vec<u8>, String) {
    bench.write("x.arrow", file);
    let line = format!("convert x.arrow -o - --charset utf8mb4 {args}");
    let outcome = bench.run(words(&line));
    (outcome.code, outcome.stdout, outcome.stderr)
}

/// The stars that come with the repository, in batches of 700 rows.
pub(crate) fn stars(packing: Option<CompressionType>) -> Vec<u8> {
    let mut all = Vec::new();
    for number in 0..3 {
        let path = repo(&format!("testdata/stars/stars/part-0{number}.parquet"));
        let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap());
        let reader = reader.unwrap().with_batch_size(700).build().unwrap();
        all.extend(reader.map(Result::unwrap));
    }
    arrow_of(&all, packing)
}

#[test]
fn columns_give_the_text_that_they_give_from_parquet() {
    let bench = Bench::in_memory();
    let args = "--binary hex";
    let expected = text_of(&parquet(columns()), args);
    for packing in PACKINGS {
        for rows in [1, 64, 700] {
            let file = arrow_of(&batches(columns(), rows), packing);
            let (code, text, error) = convert(&bench, &file, args);
            assert_eq!(code, 0, "{error}");
            assert!(
                text == expected.as_bytes(),
                "{packing:?}, {rows} rows a batch"
            );
        }
    }
}

#[test]
fn random_columns_of_all_types_give_the_text_that_they_give_from_parquet() {
    let bench = Bench::in_memory();
    let bits = &mut Bits(77);
    for number in 0..150 {
        let column = random_column(bits, 50);
        let packing = PACKINGS[number % 3];
        let file = arrow_of(
            &batches(vec![("c", Arc::clone(&column.array))], 20),
            packing,
        );
        let found = convert(&bench, &file, "--binary hex");
        bench.write("x.parquet", parquet(vec![("c", column.array)]));
        let outcome = bench.run(words(
            "convert x.parquet -o - --charset utf8mb4 --binary hex",
        ));
        assert_eq!(found.0, outcome.code, "{}: {}", column.kind, found.2);
        assert!(found.1 == outcome.stdout, "{}", column.kind);
    }
}

#[test]
fn dictionaries_are_read_also_those_that_parquet_has_not() {
    let bench = Bench::in_memory();
    let texts = dictionary(300, |row| {
        (row % 7 != 0).then(|| format!("text {}", row % 5))
    });
    let keys = || (0..300).map(|row| row % 3).collect::<Vec<i32>>();
    let of = |values: ArrayRef| -> ArrayRef {
        Arc::new(DictionaryArray::<Int32Type>::new(keys().into(), values))
    };
    let decimals = Decimal128Array::from(vec![Some(1234), None, Some(-5)]);
    let decimals = of(Arc::new(decimals.with_precision_and_scale(9, 2).unwrap()));
    let halves = Float32Array::from(vec![Some(0.5), Some(-2.0), None]);
    let halves = of(cast(&halves, &DataType::Float16).unwrap());
    for packing in PACKINGS {
        let columns = vec![
            ("t", Arc::clone(&texts)),
            ("d", Arc::clone(&decimals)),
            ("h", Arc::clone(&halves)),
        ];
        let file = arrow_of(&batches(columns, 100), packing);
        let (code, text, error) = convert(&bench, &file, "");
        assert_eq!(code, 0, "{error}");
        let text = String::from_utf8(text).unwrap();
        let plain = cast(&texts, &DataType::Utf8).unwrap();
        let plain = plain.as_any().downcast_ref::<StringArray>();
        for (row, (line, text)) in text.lines().zip(plain.unwrap()).enumerate() {
            let decimal = ["12.34", "\\N", "-0.05"][row % 3];
            let half = ["0.5", "-2", "\\N"][row % 3];
            let text = text.unwrap_or("\\N");
            assert_eq!(line, format!("{text}\t{decimal}\t{half}"), "{row}");
        }
    }
}

#[test]
fn stars_go_to_the_chunks_of_their_parquet_by_run_and_by_job() {
    let bench = Bench::in_memory();
    bench.write("s.arrow", stars(None));
    bench.write("z.arrow", stars(Some(CompressionType::ZSTD)));
    let none = batches(columns(), 700)[0].slice(0, 0);
    bench.write("none.arrow", arrow_of(&[none], None));
    let sky = "--kind director --stripes 18 --sub-stripes 10 --overlap 0.5 --ra ra_degrees \
               --dec dec_degrees --id star_id";
    let parts: String = (0..3)
        .map(|number| {
            let path = repo(&format!("testdata/stars/stars/part-0{number}.parquet"));
            format!("{} ", path.display())
        })
        .collect();
    let made = |inputs: &str, out: &str, more: &str| {
        let line = format!("partition {inputs} -o {out} {sky} {more}");
        bench.run(words(&line)).ok();
        files(&bench.path(out))
    };
    let expected = made(&parts, "parquet", "");
    for (number, more) in ["--threads 1", "--threads 3 --memory-limit 48MiB"]
        .iter()
        .enumerate()
    {
        assert!(made("s.arrow", &format!("s{number}"), more) == expected);
        assert!(made("z.arrow", &format!("z{number}"), more) == expected);
    }
    let pipeline = |out: &str| {
        format!(
            "[database]\nname = \"d\"\nstripes = 18\nsub_stripes = 10\noverlap = 0.5\n\
             [product.p]\ninputs = [\"s.arrow\"]\n[table.Star]\nkind = \"director\"\n\
             products = [\"p\"]\nid = \"star_id\"\nra = \"ra_degrees\"\ndec = \"dec_degrees\"\n\
             [stage]\ndest = \"{out}\"\n"
        )
    };
    bench.write("run.toml", pipeline("by-run"));
    bench.write("job.toml", pipeline("by-job"));
    bench.run(words("run run.toml")).ok();
    bench
        .shell(
            "JOB=$(skyprep job plan job.toml --max-size 100KiB --reduce-tasks 3) && \
             skyprep job submit --job \"$JOB\" --workers 2",
        )
        .ok();
    let made = |folder: &str| {
        let mut found = files(&bench.path(folder).join("d/Star"));
        found.retain(|name, _| name.ends_with(".txt"));
        found
    };
    assert!(made("by-run").len() > 300 && made("by-run") == made("by-job"));
    // A schema is proposed as for Parquet; a file without rows has columns all the same.
    let schema = |name: &str| bench.run(words(&format!("schema {name} -o -"))).ok().stdout;
    let parquet = repo("testdata/stars/stars/part-00.parquet");
    assert!(schema("s.arrow --table T") != schema("none.arrow --table T"));
    assert_eq!(
        String::from_utf8(schema("s.arrow --table T"))
            .unwrap()
            .len(),
        String::from_utf8(schema(&format!("{} --table T", parquet.display())))
            .unwrap()
            .len()
    );
    let told = bench
        .run(words(&format!("estimate s.arrow {sky} --json")))
        .ok();
    assert!(
        String::from_utf8(told.stdout)
            .unwrap()
            .contains("\"rows_in\": 2502")
    );
}

#[test]
fn what_is_no_file_is_refused() {
    let bench = Bench::in_memory();
    let all = batches(columns(), 100);
    let mut stream = StreamWriter::try_new(Vec::new(), &all[0].schema()).unwrap();
    for batch in &all {
        stream.write(batch).unwrap();
    }
    bench.write("stream", stream.into_inner().unwrap());
    bench
        .run(words("convert stream -o -"))
        .failed(2, &["Arrow IPC streams"]);
    bench.write("old.feather", b"FEA1 and so on");
    bench
        .run(words("convert old.feather -o -"))
        .failed(2, &["Feather"]);
    bench.write("x.arrow", arrow_of(&all, None));
    bench.shell("cat x.arrow | skyprep convert - -o -").failed(
        2,
        &["Arrow IPC can't be read from a stream", "name the file"],
    );
    bench.write("empty.arrow", "");
    bench
        .run(words("convert empty.arrow -o -"))
        .failed(4, &["empty.arrow"]);
    let whole = arrow_of(&all, None);
    bench.write("cut.arrow", &whole[..whole.len() - 7]);
    bench
        .run(words("convert cut.arrow -o -"))
        .failed(4, &["cut.arrow", "truncated"]);
}

#[test]
fn damaged_files_are_refused_or_read_but_nothing_breaks() {
    let bench = Bench::in_memory();
    let bits = &mut Bits(11);
    let texts = dictionary(200, |row| Some(format!("text {}", row % 5)));
    let mut all = columns();
    all.truncate(10);
    let all: Vec<(&str, ArrayRef)> = all
        .into_iter()
        .map(|(name, array)| (name, array.slice(0, 200)))
        .chain([("dictionary", texts)])
        .collect();
    for number in 0..400 {
        let packing = PACKINGS[number % 3];
        let mut file = arrow_of(&batches(all.clone(), 90), packing);
        let length = file.len() as u64;
        match bits.below(4) {
            0 => file.truncate(bits.below(length) as usize),
            // Where the footer is.
            1 => {
                for _ in 0..=bits.below(4) {
                    let at = length - 1 - bits.below(length.min(4000));
                    file[at as usize] = bits.next() as u8;
                }
            }
            _ => {
                for _ in 0..=bits.below(6) {
                    file[bits.below(length) as usize] = bits.next() as u8;
                }
            }
        }
        let (code, _, error) = convert(&bench, &file, "--binary hex --memory-limit 128MiB");
        assert!([0, 1, 2, 4].contains(&code), "{number}: {code}: {error}");
        assert!(!error.contains("panicked"), "{number}: {error}");
    }
}

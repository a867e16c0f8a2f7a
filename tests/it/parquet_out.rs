//! `convert --to parquet`: what a table would hold, as columns of types.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::arrow_types::columns;
use super::harness::{Bench, repo, words};
use super::loading::{Bits, parquet};
use super::random_columns::random_column;

/// Text of the same values looks the same but for zeros at the end of times and decimals, which get
/// the digits of the file's type.
fn without_empty_fractions(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let fields = line.split('\t').map(|field| {
            let is_digit = |c: char| c.is_ascii_digit() || "-:. ".contains(c);
            match field.contains('.') && field.chars().all(is_digit) {
                true => field.trim_end_matches('0').trim_end_matches('.'),
                false => field,
            }
        });
        out.push_str(&fields.collect::<Vec<_>>().join("\t"));
        out.push('\n');
    }
    out
}

#[track_caller]
fn text_of(bench: &Bench, file: &str, args: &str) -> String {
    let line = format!("convert {file} -o - --charset utf8mb4 {args}");
    let text = bench.run(words(&line)).ok().stdout;
    // Bytes of binary columns are no UTF-8: each becomes a character.
    text.into_iter().map(char::from).collect()
}

/// Converts a file to Parquet and that to text: it must be the text of the file itself.
#[track_caller]
fn goes_round(bench: &Bench, file: &str, args: &str, table: &str) {
    let to = format!("convert {file} -o out.parquet -f -q --to parquet {args}");
    bench.run(words(&to)).ok();
    let found = text_of(bench, "out.parquet", args);
    let expected = text_of(bench, file, args);
    let all = [found, expected].map(|text| without_empty_fractions(&text));
    let lines = |at: usize| all[at].lines();
    let differs = lines(0)
        .zip(lines(1))
        .find(|(found, expected)| found != expected);
    assert!(all[0] == all[1], "{args}, {table}: {differs:?}");
}

fn read(bench: &Bench, file: &str) -> RecordBatch {
    let file = File::open(bench.path(file)).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let reader = reader.with_batch_size(1 << 20).build().unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
}

#[test]
fn columns_of_all_types_go_round() {
    let bench = Bench::in_memory();
    bench.write("x.parquet", parquet(columns()));
    goes_round(&bench, "x.parquet", "", "");
    goes_round(&bench, "x.parquet", "--bool keep --nan keep --inf keep", "");
    let bits = &mut Bits(4711);
    for _ in 0..200 {
        let column = random_column(bits, 50);
        bench.write("y.parquet", parquet(vec![("c", Arc::clone(&column.array))]));
        goes_round(&bench, "y.parquet", "", &column.kind);
        let table = format!(
            r#"{{"schema": [{{"name": "c", "type": "{}"}}]}}"#,
            column.kind
        );
        bench.write("t.json", table);
        let said = "convert y.parquet -o - -q --charset utf8mb4 --schema t.json";
        if bench.run(words(said)).code == 0 {
            goes_round(&bench, "y.parquet", "--schema t.json", &column.kind);
        }
    }
}

#[test]
fn the_bytes_are_the_same_for_any_threads_and_memory() {
    let bench = Bench::in_memory();
    let stars = repo("testdata/stars/stars");
    let stars = stars.display();
    let mut all = Vec::new();
    for more in [
        "--threads 1",
        "--threads 2",
        "--threads 3 --memory-limit 128MiB",
    ] {
        let line = format!("convert {stars} -o out.parquet -f -q --to parquet {more}");
        bench.run(words(&line)).ok();
        all.push(std::fs::read(bench.path("out.parquet")).unwrap());
    }
    assert!(all[0] == all[1] && all[1] == all[2]);
    let found = text_of(&bench, "out.parquet", "");
    let expected = text_of(&bench, &stars.to_string(), "");
    assert!(found == expected);
    // One output for each input, as texts are.
    let line = format!("convert {stars} -o many/ -q --to parquet --report r.json");
    bench.run(words(&line)).ok();
    assert!(text_of(&bench, "many/*.parquet", "") == expected);
    let again = bench
        .run(words(&format!("convert {stars} -o many/ --to parquet")))
        .ok();
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
}

#[test]
fn text_gets_the_types_of_a_schema() {
    let bench = Bench::in_memory();
    bench.write(
        "x.txt",
        "1\t2.5\tinf\ta\\tb\t2020-01-02 03:04:05.678901\t12.30\t1\n\
         -7\tNaN\t-1e400\t\\N\t\\N\t-0.01\t0\n",
    );
    bench.write(
        "t.json",
        r#"{"schema": [
            {"name": "id", "type": "BIGINT NOT NULL"}, {"name": "f", "type": "FLOAT"},
            {"name": "d", "type": "DOUBLE"}, {"name": "t", "type": "VARCHAR(10)"},
            {"name": "w", "type": "DATETIME(6)"}, {"name": "n", "type": "DECIMAL(5,2)"},
            {"name": "b", "type": "BOOL"}]}"#,
    );
    bench
        .run(words(
            "convert x.txt -o x.parquet --to parquet --schema t.json --overflow clamp",
        ))
        .ok();
    let batch = read(&bench, "x.parquet");
    let schema = batch.schema();
    let types: Vec<_> = schema
        .fields()
        .iter()
        .map(|f| f.data_type().clone())
        .collect();
    assert_eq!(
        types,
        [
            DataType::Int64,
            DataType::Float32,
            DataType::Float64,
            DataType::Utf8,
            DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Decimal128(5, 2),
            DataType::Int8,
        ]
    );
    assert!(!schema.field(0).is_nullable() && schema.field(1).is_nullable());
    assert_eq!(
        batch.column(0).as_primitive::<Int64Type>().values(),
        &[1, -7]
    );
    let singles = batch.column(1).as_primitive::<Float32Type>();
    assert_eq!(singles.value(0), 2.5);
    assert!(singles.is_null(1), "NaN is NULL");
    let doubles = batch.column(2).as_primitive::<Float64Type>();
    assert_eq!(doubles.values(), &[f64::MAX, f64::MIN]);
    let texts = batch.column(3).as_string::<i32>();
    assert_eq!(texts.value(0), "a\tb");
    assert!(texts.is_null(1));
}

#[test]
fn the_largest_single_stays_what_it_is() {
    let bench = Bench::in_memory();
    let values = [
        f32::MAX,
        f32::MIN,
        f32::INFINITY,
        f32::MIN_POSITIVE,
        -0.0,
        7.038_531e-26,
    ];
    let array: ArrayRef = Arc::new(Float32Array::from(values.to_vec()));
    bench.write("x.parquet", parquet(vec![("f", array)]));
    bench
        .run(words("convert x.parquet -o y.parquet --to parquet"))
        .ok();
    let batch = read(&bench, "y.parquet");
    let found = batch.column(0).as_primitive::<Float32Type>();
    let expected = [
        f32::MAX,
        f32::MIN,
        f32::MAX,
        f32::MIN_POSITIVE,
        -0.0,
        7.038_531e-26,
    ];
    let bits = |value: &f32| value.to_bits();
    assert!(
        found
            .values()
            .iter()
            .map(bits)
            .eq(expected.iter().map(bits)),
        "{found:?}"
    );
}

#[test]
fn what_the_first_inputs_types_cannot_hold_is_named() {
    let bench = Bench::in_memory();
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let wide: ArrayRef = Arc::new(Int64Array::from(vec![3, 3_000_000_000]));
    bench.write("a.parquet", parquet(vec![("n", narrow)]));
    bench.write("b.parquet", parquet(vec![("n", wide)]));
    bench
        .run(words(
            "convert a.parquet b.parquet -o y.parquet --to parquet",
        ))
        .failed(2, &["b.parquet", "column n", "Int64", "Int32"]);
    assert!(!bench.path("y.parquet").exists());
    bench.write("t.json", r#"{"schema": [{"name": "n", "type": "BIGINT"}]}"#);
    bench
        .run(words(
            "convert a.parquet b.parquet -o y.parquet --to parquet --schema t.json",
        ))
        .ok();
    let batch = read(&bench, "y.parquet");
    assert_eq!(
        batch.column(0).as_primitive::<Int64Type>().values(),
        &[1, 2, 3, 3_000_000_000]
    );
}

#[test]
fn other_spellings_are_the_same_values() {
    let bench = Bench::in_memory();
    bench.write(
        "t.json",
        r#"{"schema": [
        {"name": "n", "type": "BIGINT"}, {"name": "d", "type": "DATE"},
        {"name": "t", "type": "DATETIME(6)"}]}"#,
    );
    bench.write(
        "usual.txt",
        "1000\t2020-01-02\t2020-01-02 03:04:05.500000\n5\t\\N\t2020-01-02 00:00:00\n",
    );
    bench.write(
        "other.txt",
        "1e3\t2020/01/02\t20200102030405.5\n5.0\t\\N\t2020-1-2\n",
    );
    for name in ["usual", "other"] {
        let line = format!("convert {name}.txt -o {name}.parquet --to parquet --schema t.json");
        bench.run(words(&line)).ok();
    }
    assert_eq!(read(&bench, "usual.parquet"), read(&bench, "other.parquet"));
    bench.write("other.txt", "1\t2020-00-00\t\\N\n");
    bench
        .run(words(
            "convert other.txt -o no.parquet --to parquet --schema t.json",
        ))
        .failed(1, &["no.parquet", "row 1", "column d", "2020-00-00"]);
}

#[test]
fn an_empty_text_tells_no_types_and_a_full_disk_is_told() {
    let bench = Bench::in_memory();
    bench.write("empty.txt", "");
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    bench.write("a.parquet", parquet(vec![("n", numbers)]));
    bench
        .run(words(
            "convert empty.txt a.parquet -o x.parquet --to parquet",
        ))
        .ok();
    let batch = read(&bench, "x.parquet");
    assert_eq!(batch.column(0).data_type(), &DataType::Int64);
    bench
        .run(words("convert a.parquet -o /dev/full -f --to parquet"))
        .failed(6, &["/dev/full"]);
    // Text has no types, numbers have.
    bench.write("b.txt", "3\n");
    bench
        .run(words(
            "convert a.parquet b.txt -o y.parquet --to parquet --fields n",
        ))
        .failed(2, &["b.txt", "column n", "Utf8", "Int64"]);
}

#[test]
fn options_of_texts_are_refused() {
    let bench = Bench::in_memory();
    let stars = repo("testdata/stars/stars/part-00.parquet");
    for (more, said) in [
        ("--delimiter ,", "--to parquet"),
        ("--header", "--to parquet"),
        ("--charset latin1", "utf8mb4"),
        ("--split-size 1MiB", "--split-size"),
        ("--memory-limit 32MiB", "memory limit"),
    ] {
        let line = format!(
            "convert {} -o x.parquet --to parquet {more}",
            stars.display()
        );
        bench.run(words(&line)).failed(2, &[said]);
        assert!(!bench.path("x.parquet").exists());
    }
}

//! Every Arrow type that Parquet carries, in every encoding and codec, gives the same text.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, TimeUnit};
use parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::data_type::{Int96, Int96Type};
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::harness::{Bench, of_hex, words};
use super::loading::{Bits, parquet, parquet_with};

/// What `skyprep convert` makes of a file without a schema.
#[track_caller]
pub(crate) fn text_of(file: &[u8], args: &str) -> String {
    let bench = Bench::in_memory();
    bench.write("x.parquet", file);
    let line = format!("convert x.parquet -o - --charset utf8mb4 {args}");
    String::from_utf8(bench.run(words(&line)).ok().stdout).unwrap()
}

const ROWS: usize = 700;

/// Columns of the types that encodings differ in, with NULL here and there.
pub(crate) fn columns() -> Vec<(&'static str, ArrayRef)> {
    let bits = &mut Bits(5);
    let null = |row: usize| row % 11 != 3;
    let numbers: Vec<i64> = (0..ROWS)
        .map(|row| (bits.next() >> (row % 64)) as i64)
        .collect();
    let some = |row: usize| null(row).then(|| numbers[row]);
    let ints: Int32Array = (0..ROWS).map(|row| some(row).map(|n| n as i32)).collect();
    let longs: Int64Array = (0..ROWS).map(some).collect();
    let flags: BooleanArray = (0..ROWS).map(|row| some(row).map(|n| n % 3 == 0)).collect();
    let singles: Float32Array = (0..ROWS)
        .map(|row| some(row).map(|n| n as f32 / 7.0))
        .collect();
    let doubles: Float64Array = (0..ROWS)
        .map(|row| some(row).map(|n| n as f64 / 7.0))
        .collect();
    let text = |row: usize| some(row).map(|n| format!("prefix-é-{}", n % 50));
    let texts: StringArray = (0..ROWS).map(text).collect();
    let bytes: BinaryArray = texts.iter().map(|text| text.map(str::as_bytes)).collect();
    let fixed = FixedSizeBinaryArray::try_from_sparse_iter_with_size(
        (0..ROWS).map(|row| some(row).map(i64::to_be_bytes)),
        8,
    );
    let days: Date32Array = (0..ROWS)
        .map(|row| some(row).map(|n| (n % 40_000) as i32))
        .collect();
    let decimals: Decimal128Array = (0..ROWS).map(|row| some(row).map(i128::from)).collect();
    let times: TimestampMicrosecondArray = (0..ROWS)
        .map(|row| some(row).map(|n| n % (1 << 55)))
        .collect();
    vec![
        ("ints", Arc::new(ints)),
        ("longs", Arc::new(longs)),
        ("flags", Arc::new(flags)),
        ("singles", Arc::new(singles)),
        ("doubles", Arc::new(doubles)),
        ("texts", Arc::new(texts)),
        ("bytes", Arc::new(bytes)),
        ("fixed", Arc::new(fixed.unwrap())),
        ("days", Arc::new(days)),
        (
            "decimals",
            Arc::new(decimals.with_precision_and_scale(30, 4).unwrap()),
        ),
        ("times", Arc::new(times)),
    ]
}

#[test]
fn codecs_and_encodings_make_no_difference() {
    let columns = columns();
    let args = "--binary hex";
    let expected = text_of(&parquet(columns.clone()), args);
    assert_eq!(expected.lines().count(), ROWS);
    let nulls = expected.lines().nth(3).unwrap();
    assert_eq!(nulls, ["\\N"; 11].join("\t"));

    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ];
    for codec in codecs {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let properties = WriterProperties::builder()
                .set_compression(codec)
                .set_writer_version(version)
                .set_data_page_row_count_limit(100)
                .set_write_batch_size(50)
                .set_max_row_group_row_count(Some(300))
                .build();
            let file = parquet_with(columns.clone(), properties);
            assert!(text_of(&file, args) == expected, "{codec:?} {version:?}");
        }
    }

    let encodings: &[(&str, &[Encoding])] = &[
        (
            "ints",
            &[Encoding::DELTA_BINARY_PACKED, Encoding::BYTE_STREAM_SPLIT],
        ),
        (
            "longs",
            &[Encoding::DELTA_BINARY_PACKED, Encoding::BYTE_STREAM_SPLIT],
        ),
        ("flags", &[Encoding::RLE, Encoding::PLAIN]),
        ("singles", &[Encoding::BYTE_STREAM_SPLIT, Encoding::PLAIN]),
        ("doubles", &[Encoding::BYTE_STREAM_SPLIT, Encoding::PLAIN]),
        (
            "texts",
            &[
                Encoding::DELTA_BYTE_ARRAY,
                Encoding::DELTA_LENGTH_BYTE_ARRAY,
            ],
        ),
        (
            "bytes",
            &[
                Encoding::DELTA_LENGTH_BYTE_ARRAY,
                Encoding::DELTA_BYTE_ARRAY,
            ],
        ),
        (
            "fixed",
            &[Encoding::DELTA_BYTE_ARRAY, Encoding::BYTE_STREAM_SPLIT],
        ),
        ("days", &[Encoding::DELTA_BINARY_PACKED, Encoding::PLAIN]),
        (
            "decimals",
            &[Encoding::BYTE_STREAM_SPLIT, Encoding::DELTA_BYTE_ARRAY],
        ),
        (
            "times",
            &[Encoding::DELTA_BINARY_PACKED, Encoding::BYTE_STREAM_SPLIT],
        ),
    ];
    for choice in 0..2 {
        let mut properties = WriterProperties::builder()
            .set_dictionary_enabled(false)
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_data_page_row_count_limit(100)
            .set_write_batch_size(50);
        for (name, of_column) in encodings {
            let path = ColumnPath::from(*name);
            properties = properties.set_column_encoding(path, of_column[choice]);
        }
        let file = parquet_with(columns.clone(), properties.build());
        assert!(text_of(&file, args) == expected, "choice {choice}");
    }
}

#[test]
fn forms_of_the_same_values_make_no_difference() {
    let columns = columns();
    let args = "--binary hex";
    let expected = text_of(&parquet(columns.clone()), args);
    let dictionary =
        |values: DataType| DataType::Dictionary(Box::new(DataType::Int32), Box::new(values));
    let forms: &[(&str, Vec<DataType>)] = &[
        ("ints", vec![DataType::Int64, dictionary(DataType::Int32)]),
        ("longs", vec![dictionary(DataType::Int64)]),
        ("singles", vec![dictionary(DataType::Float32)]),
        ("doubles", vec![dictionary(DataType::Float64)]),
        (
            "texts",
            vec![
                DataType::LargeUtf8,
                DataType::Utf8View,
                dictionary(DataType::Utf8),
            ],
        ),
        (
            "bytes",
            vec![
                DataType::LargeBinary,
                DataType::BinaryView,
                dictionary(DataType::Binary),
            ],
        ),
        ("days", vec![DataType::Date64, dictionary(DataType::Date32)]),
        (
            "decimals",
            vec![
                DataType::Decimal256(50, 4),
                dictionary(DataType::Decimal128(30, 4)),
            ],
        ),
        (
            "fixed",
            vec![dictionary(DataType::FixedSizeBinary(8)), DataType::Binary],
        ),
    ];
    for choice in 0..3 {
        let changed = columns.iter().map(|(name, array)| {
            let of_column = forms.iter().find(|(of, _)| of == name);
            let form = of_column.and_then(|(_, forms)| forms.get(choice));
            (
                *name,
                form.map_or_else(|| Arc::clone(array), |form| cast(array, form).unwrap()),
            )
        });
        let found = text_of(&parquet(changed), args);
        for (found, expected) in found.lines().zip(expected.lines()) {
            assert_eq!(found, expected, "choice {choice}");
        }
    }
}

#[test]
fn columns_of_nothing_but_null() {
    let nulls = |data_type: &DataType| arrow::array::new_null_array(data_type, 3);
    let empty_dictionary: ArrayRef = Arc::new(
        DictionaryArray::<Int32Type>::try_new(
            Int32Array::from(vec![None, None, None]),
            Arc::new(StringArray::from(Vec::<&str>::new())),
        )
        .unwrap(),
    );
    let file = parquet([
        ("null", nulls(&DataType::Null)),
        ("dictionary", empty_dictionary),
        (
            "time",
            nulls(&DataType::Timestamp(
                TimeUnit::Nanosecond,
                Some("UTC".into()),
            )),
        ),
        ("view", nulls(&DataType::Utf8View)),
        ("list", nulls(&DataType::new_list(DataType::Int32, true))),
        ("half", nulls(&DataType::Float16)),
    ]);
    let row = ["\\N"; 6].join("\t");
    assert_eq!(
        text_of(&file, "--nested json"),
        format!("{row}\n").repeat(3)
    );
}

#[test]
fn lists_structs_and_maps_are_refused_by_name_or_written_as_json() {
    let list = arrow::array::ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
    ]);
    let file = parquet([
        ("id", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef),
        ("many", Arc::new(list)),
    ]);
    assert_eq!(text_of(&file, "--nested json"), "1\t[1,null]\n2\t\\N\n");
    let bench = Bench::new();
    bench.write("x.parquet", file);
    let outcome = bench.run(words("convert x.parquet -o x.txt"));
    outcome.failed(2, &["column many", "--nested json"]);
    assert!(!bench.path("x.txt").exists());
}

/// A file of one INT96 column, as days of the Julian calendar and nanoseconds of the day.
fn int96(values: &[(u32, u64)], schema: &str) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let value = |(day, nanos): &(u32, u64)| {
        let mut value = Int96::new();
        value.set_data(*nanos as u32, (*nanos >> 32) as u32, *day);
        value
    };
    let values: Vec<Int96> = values.iter().map(value).collect();
    let defined = vec![1; values.len()];
    column
        .typed::<Int96Type>()
        .write_batch(&values, Some(&defined), None)
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn timestamps_of_96_bits_keep_the_years_that_mariadb_has() {
    const EPOCH: u32 = 2_440_588;
    let days = [
        (EPOCH, 0, "1970-01-01 00:00:00.000000"),
        (EPOCH, 86_399_999_999_999, "1970-01-01 23:59:59.999999"),
        (EPOCH - 719_528, 1_000, "0000-01-01 00:00:00.000001"),
        (
            EPOCH + 2_932_896,
            3_600_000_000_000,
            "9999-12-31 01:00:00.000000",
        ),
        (EPOCH - 120_000, 0, "1641-06-14 00:00:00.000000"),
        (EPOCH + 120_000, 0, "2298-07-20 00:00:00.000000"),
    ];
    let values = days.map(|(day, nanos, _)| (day, nanos));
    let expected: String = days
        .iter()
        .map(|(.., shown)| format!("{shown}\n"))
        .collect();
    let flat = "message m { optional int96 t; }";
    assert_eq!(text_of(&int96(&values, flat), ""), expected);
    let within = "message m { optional group s { required int96 t; } }";
    let found = text_of(&int96(&values, within), "--nested json");
    for (line, (.., shown)) in found.lines().zip(days) {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = json["t"].as_str().unwrap().replace('T', " ");
        let (seconds, fraction) = shown.split_once('.').unwrap();
        assert!(text.starts_with(seconds), "{line} for {shown}");
        assert!(
            fraction == "000000" || text.ends_with(fraction),
            "{line} for {shown}"
        );
    }
    let bench = Bench::new();
    bench.write(
        "x.parquet",
        int96(&[(EPOCH, 0), (EPOCH + 2_932_897, 0)], flat),
    );
    let outcome = bench.run(words("convert x.parquet -o -"));
    outcome.failed(1, &["row 2, column t", "years 0 to 9999"]);
}

#[test]
fn dictionaries_that_the_decoder_does_not_know_are_read_as_plain_values() {
    // As pyarrow writes it, which writes INT96, too.
    let file = of_hex(include_str!("odd_dictionaries.hex"));
    assert_eq!(
        text_of(&file, ""),
        "1\t1970-01-01 00:00:00.000001\n0\t1970-01-01 00:00:00.000002\n\\N\t\\N\n"
    );
}

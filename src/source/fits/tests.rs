use super::*;
use crate::source::InputName;

use std::fmt::Write as _;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::array_value_to_string;

use crate::error::ErrorKind;

/// A FITS file that is put together card by card.
#[derive(Default)]
struct Made(Vec<u8>);

impl Made {
    /// Begins with a unit that holds nothing.
    fn new() -> Self {
        let mut made = Self::default();
        made.header(&[
            "SIMPLE  =                    T",
            "BITPIX  = 8",
            "NAXIS   = 0",
        ]);
        made
    }

    fn header(&mut self, cards: &[&str]) {
        for card in cards.iter().chain(&["END"]) {
            self.0.extend_from_slice(format!("{card:80}").as_bytes());
        }
        self.fill(b' ');
    }

    fn fill(&mut self, with: u8) {
        let blocks = self.0.len().div_ceil(2880);
        self.0.resize(blocks * 2880, with);
    }

    /// Adds a table: columns as name, format and further cards, with `#` for their number; rows; heap.
    fn table(
        mut self,
        name: &str,
        columns: &[(&str, &str, &[&str])],
        rows: &[&[u8]],
        heap: &[u8],
    ) -> Self {
        let width = rows.first().map_or(0, |row| row.len());
        assert!(rows.iter().all(|row| row.len() == width));
        let mut cards = vec![
            "XTENSION= 'BINTABLE'".to_owned(),
            "BITPIX  = 8".into(),
            "NAXIS   = 2".into(),
            format!("NAXIS1  = {width}"),
            format!("NAXIS2  = {}", rows.len()),
            format!("PCOUNT  = {}", heap.len()),
            "GCOUNT  = 1".into(),
            format!("TFIELDS = {}", columns.len()),
            format!("EXTNAME = '{name}'"),
        ];
        let mut card = |key: String, value: String| cards.push(format!("{key:8}= {value}"));
        for (number, (name, format, more)) in columns.iter().enumerate() {
            card(format!("TTYPE{}", number + 1), format!("'{name}'"));
            card(format!("TFORM{}", number + 1), format!("'{format}'"));
            for text in *more {
                let (key, value) = text.split_once('=').unwrap();
                card(key.replace('#', &(number + 1).to_string()), value.into());
            }
        }
        let cards: Vec<&str> = cards.iter().map(String::as_str).collect();
        self.header(&cards);
        for row in rows {
            self.0.extend_from_slice(row);
        }
        self.0.extend_from_slice(heap);
        self.fill(0);
        self
    }

    fn open(&self, options: FitsOptions<'_>) -> Result<FitsFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.fits");
        std::fs::write(&path, &self.0).unwrap();
        // The file stays readable when its name is gone.
        FitsFile::open(&InputName::File(path), options)
    }
}

fn read(file: &FitsFile) -> Result<RecordBatch> {
    let roots: Vec<usize> = (0..file.schema().fields().len()).collect();
    file.plan(0, &roots)?.read()
}

/// Returns the types of all columns, and the values of each.
fn shown(batch: &RecordBatch) -> Vec<(String, String)> {
    let fields = batch.schema();
    let columns = batch.columns().iter().zip(fields.fields());
    columns
        .map(|(array, field)| {
            assert_eq!(array.data_type(), field.data_type());
            let mut values = String::new();
            for row in 0..array.len() {
                let value = match array.is_null(row) {
                    true => "NULL".into(),
                    false => array_value_to_string(array, row).unwrap(),
                };
                let _ = write!(values, "{}{value}", if row > 0 { "|" } else { "" });
            }
            (field.data_type().to_string(), values)
        })
        .collect()
}

/// Returns type and values of one column of two rows of that many bytes each.
fn one(format: &str, more: &[&str], cells: [&[u8]; 2]) -> (String, String) {
    let made = Made::new().table("T", &[("x", format, more)], &cells, &[]);
    let batch = read(&made.open(FitsOptions::default()).unwrap()).unwrap();
    shown(&batch).remove(0)
}

fn expect(format: &str, more: &[&str], cells: [&[u8]; 2], kind: &str, values: &str) {
    let found = one(format, more, cells);
    assert_eq!(
        found,
        (kind.to_owned(), values.to_owned()),
        "{format} {more:?}"
    );
}

#[test]
fn integers_have_signs_nulls_and_zeros() {
    expect("B", &[], [&[0], &[255]], "UInt8", "0|255");
    expect("1B", &["TZERO#=-128"], [&[0], &[255]], "Int8", "-128|127");
    expect(
        "I",
        &[],
        [&[0x80, 0], &[0x7f, 0xff]],
        "Int16",
        "-32768|32767",
    );
    expect(
        "I",
        &["TZERO#=32768"],
        [&[0x80, 0], &[0x7f, 0xff]],
        "UInt16",
        "0|65535",
    );
    expect(
        "I",
        &["TNULL#=-1"],
        [&[0xff, 0xff], &[0, 7]],
        "Int16",
        "NULL|7",
    );
    let (low, high) = (i32::MIN.to_be_bytes(), i32::MAX.to_be_bytes());
    expect("J", &[], [&low, &high], "Int32", "-2147483648|2147483647");
    expect(
        "J",
        &["TZERO#=2147483648"],
        [&low, &high],
        "UInt32",
        "0|4294967295",
    );
    expect(
        "J",
        &["TZERO#=2.147483648E9"],
        [&low, &high],
        "UInt32",
        "0|4294967295",
    );
    expect(
        "J",
        &["TZERO#=10"],
        [&low, &high],
        "Int64",
        "-2147483638|2147483657",
    );
    let (low, high) = (i64::MIN.to_be_bytes(), i64::MAX.to_be_bytes());
    let range = "-9223372036854775808|9223372036854775807";
    expect("K", &[], [&low, &high], "Int64", range);
    let zero = &["TZERO#=9223372036854775808"];
    expect("K", zero, [&low, &high], "UInt64", "0|18446744073709551615");
    let scaled = &["TSCAL#=0.5", "TZERO#=1", "TNULL#=9"];
    expect("I", scaled, [&[0, 3], &[0, 9]], "Float64", "2.5|NULL");
}

#[test]
fn floats_logicals_bits_and_texts() {
    let (one, two) = (1.5f32.to_be_bytes(), f32::NAN.to_be_bytes());
    expect("E", &[], [&one, &two], "Float32", "1.5|NaN");
    expect("e", &["TNULL#='none'"], [&one, &two], "Float32", "1.5|NaN");
    expect("E", &["TSCAL#=2.D0"], [&one, &two], "Float64", "3.0|NaN");
    let (one, two) = (0.1f64.to_be_bytes(), (-0.0f64).to_be_bytes());
    expect("D", &[], [&one, &two], "Float64", "0.1|-0.0");
    expect("L", &[], [b"T", b"\0"], "Boolean", "true|NULL");
    expect("X", &[], [&[0x80], &[0x7f]], "Boolean", "true|false");
    expect("4A", &[], [b"ab  ", b" b\0c"], "Utf8", "ab| b");
}

#[test]
fn arrays_become_lists() {
    let cells: [&[u8]; 2] = [&[0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6], &[0; 12]];
    let (kind, values) = one("6I", &[], cells);
    assert!(kind.starts_with("FixedSizeList(6"), "{kind}");
    assert_eq!(values, "[1, 2, 3, 4, 5, 6]|[0, 0, 0, 0, 0, 0]");
    let (_, values) = one("6I", &["TDIM#='(2,3)'"], cells);
    assert!(values.starts_with("[[1, 2], [3, 4], [5, 6]]|"), "{values}");
    let (_, values) = one("6I", &["TDIM#='(2,4)'"], cells);
    assert!(values.starts_with("[1, 2, 3, 4, 5, 6]|"), "{values}");
    // What TDIM leaves over is undefined.
    let (_, values) = one("6I", &["TDIM#='(2,2)'"], cells);
    assert!(values.starts_with("[[1, 2], [3, 4]]|"), "{values}");
    let (_, values) = one("7A", &["TDIM#='(2,3)'"], [b"abcdefZ", b"       "]);
    assert_eq!(values, "[ab, cd, ef]|[, , ]");
    let (_, values) = one("10X", &[], [&[0x80, 0x40], &[0, 0]]);
    assert!(
        values.starts_with("[true, false, false, false, false, false, false, false, false, true]|")
    );
    let (_, values) = one("6A", &["TDIM#='(3,2)'"], [b"a  bc ", b"\0\0\0def"]);
    assert_eq!(values, "[a, bc]|[, def]");
    let (_, values) = one("6A2", &[], [b"a bbcc", b"      "]);
    assert_eq!(values, "[a, bb, cc]|[, , ]");
    let complex = [1f32.to_be_bytes(), 2f32.to_be_bytes()].concat();
    let (_, values) = one("C", &[], [&complex, &[0; 8]]);
    assert_eq!(values, "[1.0, 2.0]|[0.0, 0.0]");
}

fn pointer(count: u32, start: u32) -> Vec<u8> {
    [count.to_be_bytes(), start.to_be_bytes()].concat()
}

#[test]
fn cells_of_any_length_lie_in_the_heap() {
    let long = |count: u64, start: u64| [count.to_be_bytes(), start.to_be_bytes()].concat();
    let rows: Vec<Vec<u8>> = vec![
        [pointer(2, 4), long(3, 0), pointer(9, 8)].concat(),
        [pointer(0, 99), long(0, 0), pointer(1, 9)].concat(),
    ];
    let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
    let columns: [(&str, &str, &[&str]); 3] =
        [("i", "1PI(2)", &[]), ("t", "QA(9)", &[]), ("b", "PX", &[])];
    let made = Made::new().table(
        "T",
        &columns,
        &rows,
        &[b'a', b'b', b' ', 0, 0, 1, 0, 2, 0x80, 0x80],
    );
    let file = made.open(FitsOptions::default()).unwrap();
    let batch = read(&file).unwrap();
    let values: Vec<String> = shown(&batch)
        .into_iter()
        .map(|(_, values)| values)
        .collect();
    assert_eq!(values[0], "[1, 2]|[]");
    assert_eq!(values[1], "ab|");
    assert_eq!(
        values[2],
        "[true, false, false, false, false, false, false, false, true]|[true]"
    );
    let none = Made::new().table(
        "T",
        &[("i", "0PJ", &[]), ("t", "0QA", &[]), ("b", "B", &[])],
        &[&[1], &[2]],
        &[],
    );
    let batch = read(&none.open(FitsOptions::default()).unwrap()).unwrap();
    let values: Vec<String> = shown(&batch)
        .into_iter()
        .map(|(_, values)| values)
        .collect();
    assert_eq!(values, ["|", "|", "1|2"]);
    let beyond: Vec<Vec<u8>> = vec![pointer(1, 0), pointer(4, 1)];
    let beyond: Vec<&[u8]> = beyond.iter().map(Vec::as_slice).collect();
    let made = Made::new().table("T", &[("i", "PB", &[])], &beyond, &[1, 2, 3, 4]);
    let error = read(&made.open(FitsOptions::default()).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let message = error.to_string();
    assert!(
        message.contains("row 2, column i") && message.contains("heap of 4"),
        "{message}"
    );
}

#[test]
fn tables_are_found_by_name_or_number() {
    let made = Made::new()
        .table("FIRST", &[("a", "B", &[])], &[&[1]], &[])
        .table("second", &[("b", "B", &[])], &[&[2]], &[]);
    let column = |hdu| {
        let options = FitsOptions { hdu, charset: None };
        let file = made.open(options)?;
        Ok::<String, Error>(file.schema().field(0).name().clone())
    };
    for (hdu, name) in [
        (None, "a"),
        (Some("first"), "a"),
        (Some("SECOND"), "b"),
        (Some("2"), "b"),
    ] {
        assert_eq!(column(hdu).unwrap(), name, "{hdu:?}");
    }
    let mut image = Made::new();
    image.header(&[
        "XTENSION= 'IMAGE'",
        "BITPIX  = 8",
        "NAXIS   = 0",
        "EXTNAME = 'CAT'",
    ]);
    let image = image
        .table("PACKED", &[("c", "B", &["ZIMAGE=T"])], &[&[1]], &[])
        .table("CAT", &[("d", "B", &[])], &[&[1]], &[]);
    for hdu in [None, Some("cat")] {
        let file = image.open(FitsOptions { hdu, charset: None }).unwrap();
        assert_eq!(file.schema().field(0).name(), "d");
    }
    for hdu in ["0", "3", "third"] {
        let error = column(Some(hdu)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{hdu}");
        assert!(
            format!("{error:?}").contains("1 (FIRST), 2 (second)"),
            "{error:?}"
        );
    }
}

#[test]
fn what_is_no_table_is_told() {
    let kind = |bytes: &[u8]| {
        let made = Made(bytes.to_vec());
        made.open(FitsOptions::default()).unwrap_err().kind()
    };
    assert_eq!(kind(b""), ErrorKind::Corrupt);
    assert_eq!(kind(b"SIMPLE  =                    T"), ErrorKind::Corrupt);
    assert_eq!(kind(&Made::new().0), ErrorKind::Usage);
    let whole = Made::new()
        .table("T", &[("a", "8A", &[])], &[&b"12345678"[..]; 1000], &[])
        .0;
    assert_eq!(kind(&whole[..2880]), ErrorKind::Usage);
    for end in [2880 + 80, 2880 + 2879, 5760, 5760 + 7999] {
        assert_eq!(kind(&whole[..end]), ErrorKind::Corrupt, "{end}");
    }
    // What fills the last block may be missing.
    assert!(
        Made(whole[..5760 + 8000].to_vec())
            .open(FitsOptions::default())
            .is_ok()
    );
    for (columns, message) in [
        (&[("a", "7A", &[] as &[&str])][..], "NAXIS1"),
        (&[("a", "8Z", &[])], "no type"),
        (&[("a", "8A", &["ZTABLE=T"])], "by tiles"),
        (&[("a", "2PJ", &[])], "no type"),
        (&[("a", "C", &["TSCAL#=2"])], "complex numbers are scaled"),
        (&[("a", "99999999999B", &[])], "too long"),
        (&[("a", "8A", &["THEAP=0"])], "THEAP is 0"),
        (&[("a", "99999999999999999999A", &[])], "too long"),
    ] {
        let made = Made::new().table("T", columns, &[b"12345678"], &[]);
        let error = made.open(FitsOptions::default()).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn cells_that_are_none_are_told_with_their_place() {
    let made = Made::new().table("T", &[("flag", "L", &[])], &[b"T", b"F", b"1"], &[]);
    let error = read(&made.open(FitsOptions::default()).unwrap()).unwrap_err();
    assert!(error.to_string().contains("row 3, column flag"), "{error}");
    let made = Made::new().table("T", &[("name", "2A", &[])], &[b"ab", b"\xe9t"], &[]);
    let error = read(&made.open(FitsOptions::default()).unwrap()).unwrap_err();
    assert!(error.to_string().contains("row 2, column name"), "{error}");
    let latin1 = FitsOptions {
        hdu: None,
        charset: Some(Charset::Latin1),
    };
    let batch = read(&made.open(latin1).unwrap()).unwrap();
    assert_eq!(shown(&batch)[0].1, "ab|ét");
}

#[test]
fn blocks_cut_the_rows_and_some_tell_where_they_lie() {
    let cells: Vec<[u8; 16]> = (0..50_000u32)
        .map(|row| {
            let degrees = (f64::from(row) / 1000.0).to_be_bytes();
            [degrees, u64::from(row).to_be_bytes()]
                .concat()
                .try_into()
                .unwrap()
        })
        .collect();
    let rows: Vec<&[u8]> = cells.iter().map(|row| &row[..]).collect();
    let made = Made::new().table("T", &[("ra", "D", &[]), ("id", "K", &[])], &rows, &[]);
    let file = made.open(FitsOptions::default()).unwrap();
    assert_eq!(file.blocks(), 4);
    let mut next = 0;
    for number in 0..file.blocks() {
        let batch = file.plan(number, &[1]).unwrap().read().unwrap();
        let ids = batch
            .column(0)
            .as_primitive::<arrow::datatypes::Int64Type>();
        assert_eq!(batch.num_rows() as u64, file.rows(number));
        for id in ids.values() {
            assert_eq!(*id, next);
            next += 1;
        }
    }
    assert_eq!(next, 50_000);
    let later = file.plan(1, &[1]).unwrap().starting_at(100).read().unwrap();
    assert_eq!(array_value_to_string(later.column(0), 0).unwrap(), "16484");
    let range = file.range_of("ra").unwrap();
    assert_eq!((range.min, range.max), (0.0, 49.999));
    assert!(file.range_of("none").is_none());
}

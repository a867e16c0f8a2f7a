//! The index against a map of the standard library, from all sources and at any memory.
#![allow(
    clippy::disallowed_methods,
    reason = "tests write files as their users would"
)]

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::array::{StringViewArray, UInt64Array};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;

use super::build::build;
use super::source::Found;
use super::*;
use crate::dialect::Dialect;
use crate::error::{ErrorKind, Result};
use crate::publish::append;
use crate::resources::{Cancel, MemoryGate};

pub(super) struct Bench {
    pub(super) folder: tempfile::TempDir,
    pub(super) limits: IndexLimits,
}

impl Bench {
    pub(super) fn new(memory: u64) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            limits: IndexLimits {
                gate: MemoryGate::new(memory),
                cancel: Cancel::default(),
            },
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn options(&self, duplicates: DuplicateRule) -> IndexOptions {
        IndexOptions {
            scratch: self.path("scratch"),
            duplicates,
            limits: self.limits.clone(),
        }
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    pub(super) fn open_in(&self, text: &str, dialect: Dialect) -> Result<KeyIndex> {
        let path = self.write("index.txt", text);
        let source = IndexSource { path, dialect };
        KeyIndex::open(&source, &self.options(DuplicateRule::Refuse))
    }

    pub(super) fn open(&self, text: &str) -> Result<KeyIndex> {
        self.open_in(text, Dialect::qserv())
    }

    fn open_path(&self, path: &Path) -> Result<KeyIndex> {
        let source = IndexSource {
            path: path.to_owned(),
            dialect: Dialect::qserv(),
        };
        KeyIndex::open(&source, &self.options(DuplicateRule::Refuse))
    }

    /// Makes a compact file that stays.
    fn compact(&self, text: &str) -> Vec<u8> {
        let path = self.write("compact.txt", text);
        let dialect = Dialect::qserv();
        let source = IndexSource { path, dialect };
        let found = Found::of(&source).unwrap();
        let out = self.path("compact.bin");
        let _ = fs::remove_file(&out);
        let file = append(&out).unwrap();
        let rule = DuplicateRule::Refuse;
        build(&found, &source.dialect, (file, &out), rule, &self.limits).unwrap();
        fs::read(out).unwrap()
    }
}

pub(super) fn place(chunk: i32, sub_chunk: i32) -> KeyPlace {
    KeyPlace { chunk, sub_chunk }
}

const MEMORY: u64 = 64 << 20;

#[test]
fn numbers_are_found_in_whatever_form() {
    let bench = Bench::new(MEMORY);
    let index = bench
        .open("5\t10\t1\n-7\t20\t2\n9223372036854775807\t30\t3\n")
        .unwrap();
    assert_eq!((index.len(), index.has_numbers()), (3, true));
    for (key, expected) in [
        (Key::Signed(5), Some(place(10, 1))),
        (Key::Unsigned(5), Some(place(10, 1))),
        (Key::Text(b"5"), Some(place(10, 1))),
        (Key::Text(b"05"), None),
        (Key::Text(b""), None),
        (Key::Signed(-7), Some(place(20, 2))),
        (Key::Unsigned((-7i64).cast_unsigned()), None),
        (Key::Text(b"-7"), Some(place(20, 2))),
        (Key::Text(b"18446744073709551609"), None),
        (Key::Unsigned(i64::MAX as u64), Some(place(30, 3))),
        (Key::Signed(6), None),
    ] {
        assert_eq!(index.find(key), expected, "{key:?}");
    }
    // Neither the compact file nor those beside it are left.
    assert_eq!(bench.folder.path().read_dir().unwrap().count(), 1);
}

#[test]
fn large_numbers_make_an_unsigned_index() {
    let bench = Bench::new(MEMORY);
    let index = bench.open("18446744073709551615\t1\t2\n3\t4\t5\n").unwrap();
    assert!(index.has_numbers());
    assert_eq!(index.find(Key::Unsigned(u64::MAX)), Some(place(1, 2)));
    assert_eq!(
        index.find(Key::Text(b"18446744073709551615")),
        Some(place(1, 2))
    );
    assert_eq!(index.find(Key::Signed(-1)), None);
    assert_eq!(index.find(Key::Text(b"-1")), None);
    assert_eq!(index.find(Key::Signed(3)), Some(place(4, 5)));
}

#[test]
fn numbers_that_share_a_hash_are_told_apart() {
    let bench = Bench::new(MEMORY);
    let index = bench
        .open("18446744073709551615\t1\t2\n-1\t4\t5\n")
        .unwrap();
    assert!(!index.has_numbers());
    assert_eq!(index.find(Key::Unsigned(u64::MAX)), Some(place(1, 2)));
    assert_eq!(index.find(Key::Signed(-1)), Some(place(4, 5)));
    assert_eq!(index.find(Key::Text(b"-1")), Some(place(4, 5)));
}

#[test]
fn texts_are_found_decoded() {
    let bench = Bench::new(MEMORY);
    let text = "a\\tb,7,1\n\"\\\"q, r\",8,2\n007,9,3\n12,10,4\n,11,5\n";
    let index = bench.open_in(text, Dialect::qserv_csv()).unwrap();
    assert_eq!((index.len(), index.has_numbers()), (5, false));
    for (key, expected) in [
        (Key::Text(b"a\tb"), Some(place(7, 1))),
        (Key::Text(b"\"q, r"), Some(place(8, 2))),
        (Key::Text(b"007"), Some(place(9, 3))),
        (Key::Text(b"7"), None),
        (Key::Text(b"12"), Some(place(10, 4))),
        (Key::Signed(12), Some(place(10, 4))),
        (Key::Unsigned(12), Some(place(10, 4))),
        (Key::Text(b""), Some(place(11, 5))),
        (Key::Text(b"b"), None),
    ] {
        assert_eq!(index.find(key), expected, "{key:?}");
    }
    let mut places = Vec::new();
    index.find_many(
        &[None, Some(Key::Signed(12)), Some(Key::Text(b"x"))],
        &mut places,
    );
    assert_eq!(places, [None, Some(place(10, 4)), None]);
}

#[test]
fn an_index_may_be_empty() {
    let bench = Bench::new(MEMORY);
    for text in ["", "\n\n"] {
        let index = bench.open(text).unwrap();
        assert!(index.is_empty());
        assert_eq!(index.find(Key::Signed(0)), None);
        assert_eq!(index.find(Key::Text(b"")), None);
    }
    let header = bench.open_in(
        "id\tchunkId\tsubChunkId\n4\t5\t6\n",
        Dialect::qserv().with_header(),
    );
    let header = header.unwrap();
    assert_eq!(
        (header.len(), header.find(Key::Signed(4))),
        (1, Some(place(5, 6)))
    );
}

macro_rules! refuses {
    ($name:ident, $text:expr, $message:expr) => {
        #[test]
        fn $name() {
            let error = Bench::new(MEMORY).open($text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DataRefused);
            let message = error.to_string();
            assert!(message.ends_with($message), "{message}");
            assert!(message.contains("index.txt, line "), "{message}");
        }
    };
}

refuses!(
    two_fields,
    "1\t2\t3\n1\t2\n",
    "line 2: found 2 fields, expected 3: key, chunk, sub-chunk"
);
refuses!(
    four_fields,
    "1\t2\t3\t4\n",
    "line 1: found 4 fields, expected 3: key, chunk, sub-chunk"
);
refuses!(null_key, "\\N\t2\t3\n", "line 1: the key is NULL");
refuses!(
    no_chunk,
    "1\tx\t3\n",
    "line 1: found \"x\", expected the number of a chunk: 0 to 2147483647"
);
refuses!(
    no_sub_chunk,
    "1\t2\t-3\n",
    "line 1: found \"-3\", expected the number of a sub-chunk: 0 to 2147483647"
);
refuses!(
    two_places,
    "1\t2\t3\n5\t6\t7\n1\t2\t3\n1\t2\t4\n",
    "line 4: the key \"1\" is in chunk 2, sub-chunk 4, and was in chunk 2, sub-chunk 3 on line 1; \
     expected one place for each key"
);

#[test]
fn the_first_place_of_a_key_may_win() {
    // Little memory, so that the places come out of different runs.
    let bench = Bench::new(2 << 20);
    let mut text = String::new();
    for row in 0..100_000 {
        text += &format!("{}\t{}\t{}\n", row % 40_000, row / 40_000, row % 7);
    }
    let source = IndexSource {
        path: bench.write("index.txt", &text),
        dialect: Dialect::qserv(),
    };
    let index = KeyIndex::open(&source, &bench.options(DuplicateRule::FirstWins)).unwrap();
    assert_eq!(index.len(), 40_000);
    for key in 0..40_000 {
        let expected = place(0, i32::try_from(key % 7).unwrap());
        assert_eq!(index.find(Key::Signed(key)), Some(expected));
    }
    let refused = KeyIndex::open(&source, &bench.options(DuplicateRule::Refuse)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::DataRefused);
}

#[test]
fn the_bytes_depend_on_neither_memory_nor_threads() {
    for with_texts in [false, true] {
        let mut text = String::new();
        for row in 0..150_000u64 {
            let key = row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 3;
            let prefix = if with_texts && row % 2 == 0 { "k" } else { "" };
            text += &format!("{prefix}{key}\t{}\t{}\n", row % 3000, row % 11);
        }
        let ample = Bench::new(1 << 30);
        let expected = ample.compact(&text);
        let narrow = Bench::new(6 << 20);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        assert!(pool.install(|| narrow.compact(&text)) == expected);
        let peak = narrow.limits.gate.peak();
        assert!(peak <= 6 << 20, "{peak}");
        if !with_texts {
            assert!(expected.len() <= 13 * 150_000 + 200, "{}", expected.len());
        }
    }
}

#[test]
fn damage_is_found() {
    let bench = Bench::new(MEMORY);
    let text: String = (0..1000).map(|key| format!("k{key}\t{key}\t1\n")).collect();
    let good = bench.compact(&text);
    let open = |bytes: &[u8]| bench.open_path(&bench.write("damaged.bin", bytes));
    let index = open(&good).unwrap();
    assert_eq!(index.find(Key::Text(b"k77")), Some(place(77, 1)));
    assert_eq!(index.bytes(), good.len() as u64);
    index.verify(&bench.limits).unwrap();
    for end in [8, 15, 16, 50, 111, 112, good.len() / 2, good.len() - 1] {
        assert_eq!(
            open(&good[..end]).unwrap_err().kind(),
            ErrorKind::Corrupt,
            "{end}"
        );
    }
    let mut longer = good.clone();
    longer.push(0);
    assert_eq!(open(&longer).unwrap_err().kind(), ErrorKind::Corrupt);
    for at in (8..good.len()).step_by(7) {
        let mut broken = good.clone();
        broken[at] ^= 0x55;
        match open(&broken) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{at}"),
            Ok(index) => {
                // Entries and keys are not read when the file is opened; nothing may panic.
                for key in 0..1000 {
                    index.find(Key::Text(format!("k{key}").as_bytes()));
                }
                let error = index.verify(&bench.limits).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{at}");
            }
        }
    }
}

fn write_parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn parquet_keys_of_all_types_are_read() {
    let bench = Bench::new(MEMORY);
    let texts = ["a", "7", "c"];
    let keys: [(ArrayRef, Key<'_>); 6] = [
        (Arc::new(Int32Array::from(vec![-1, 7, 9])), Key::Signed(-1)),
        (
            Arc::new(Int64Array::from(vec![i64::MIN, 7, 9])),
            Key::Signed(i64::MIN),
        ),
        (
            Arc::new(UInt64Array::from(vec![u64::MAX, 7, 9])),
            Key::Unsigned(u64::MAX),
        ),
        (Arc::new(StringArray::from(texts.to_vec())), Key::Text(b"a")),
        (
            Arc::new(StringViewArray::from(texts.to_vec())),
            Key::Text(b"a"),
        ),
        (
            Arc::new(BinaryArray::from_vec(vec![b"a", b"7", b"\xff"])),
            Key::Text(b"a"),
        ),
    ];
    let numbers = |numbers: [i32; 3]| Arc::new(Int32Array::from(numbers.to_vec())) as ArrayRef;
    for (keys, first) in keys {
        let path = bench.path("index.parquet");
        let (chunks, sub_chunks) = (numbers([1, 2, 3]), numbers([4, 5, 6]));
        let columns = vec![
            ("subChunkId", Arc::clone(&sub_chunks)),
            ("key", Arc::clone(&keys)),
            ("CHUNKID", Arc::clone(&chunks)),
        ];
        write_parquet(&path, columns);
        let index = bench.open_path(&path).unwrap();
        assert_eq!(index.find(first), Some(place(1, 4)));
        assert_eq!(index.find(Key::Signed(7)), Some(place(2, 5)));
        write_parquet(&path, vec![("x", keys), ("y", chunks), ("z", sub_chunks)]);
        assert_eq!(
            bench.open_path(&path).unwrap().find(first),
            Some(place(1, 4))
        );
    }
}

#[test]
fn bad_parquet_rows_are_named() {
    let bench = Bench::new(MEMORY);
    let path = bench.path("index.parquet");
    let columns = |key: Option<i64>, chunk: Option<i32>| -> Vec<(&str, ArrayRef)> {
        vec![
            ("id", Arc::new(Int64Array::from(vec![Some(1), key]))),
            ("chunkId", Arc::new(Int32Array::from(vec![Some(1), chunk]))),
            ("subChunkId", Arc::new(Int32Array::from(vec![1, 2]))),
        ]
    };
    write_parquet(&path, columns(None, Some(1)));
    let error = bench.open_path(&path).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("row 2, column id: the key is NULL"),
        "{error}"
    );
    write_parquet(&path, columns(Some(4), None));
    let error = bench.open_path(&path).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("row 2, column chunkId: found NULL"),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::DataRefused);
}

#[test]
fn a_folder_gives_its_quickest_index() {
    let bench = Bench::new(MEMORY);
    let error = bench.open_path(bench.folder.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InputMissing);
    assert!(error.hint_text().unwrap().contains("--id"));
    bench.write("chunk_object_index.txt", "1\t1\t1\n");
    let found = |bench: &Bench| {
        let index = bench.open_path(bench.folder.path()).unwrap();
        index.find(Key::Signed(1)).unwrap().chunk
    };
    assert_eq!(found(&bench), 1);
    let one = |number: i32| Arc::new(Int32Array::from(vec![number])) as ArrayRef;
    let columns = vec![("id", one(1)), ("chunkId", one(2)), ("subChunkId", one(1))];
    write_parquet(&bench.path("chunk_object_index.parquet"), columns);
    assert_eq!(found(&bench), 2);
    let compact = bench.compact("1\t3\t1\n");
    bench.write("chunk_object_index.bin", compact);
    assert_eq!(found(&bench), 3);
    let missing = bench.open_path(&bench.path("nothing")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::InputMissing);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_keys_are_found_as_in_a_map(
        keys in prop::collection::vec("-?[0-9]{1,3}|[ab]{0,2}|184467440737095516[0-9]{2}", 0..200),
        others in prop::collection::vec("-?[0-9]{1,3}|[ab]{0,2}", 0..50),
        only_numbers: bool,
    ) {
        let is_number = |key: &str| key.parse::<i128>().is_ok_and(|n| n.to_string() == key);
        let mut map: HashMap<String, KeyPlace> = HashMap::new();
        for (number, key) in keys.into_iter().enumerate() {
            if !only_numbers || is_number(&key) {
                let number = i32::try_from(number).unwrap();
                map.insert(key, place(number, number % 5));
            }
        }
        let text: String = map
            .iter()
            .map(|(key, place)| format!("{key}\t{}\t{}\n", place.chunk, place.sub_chunk))
            .collect();
        let bench = Bench::new(MEMORY);
        let index = bench.open(&text).unwrap();
        prop_assert_eq!(index.len(), map.len() as u64);
        let wanted: Vec<&String> = map.keys().chain(&others).collect();
        let wanted_keys: Vec<_> = wanted.iter().map(|key| Some(Key::Text(key.as_bytes()))).collect();
        let mut places = Vec::new();
        index.find_many(&wanted_keys, &mut places);
        for (key, found) in wanted.into_iter().zip(&places) {
            let expected = map.get(key).copied();
            prop_assert_eq!(*found, expected);
            prop_assert_eq!(index.find(Key::Text(key.as_bytes())), expected);
            if let (Ok(number), true) = (key.parse::<i64>(), is_number(key)) {
                prop_assert_eq!(index.find(Key::Signed(number)), expected);
            }
            if let (Ok(number), true) = (key.parse::<u64>(), is_number(key)) {
                prop_assert_eq!(index.find(Key::Unsigned(number)), expected);
            }
        }
    }
}

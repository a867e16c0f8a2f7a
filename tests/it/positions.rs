//! Positions of all types of numbers: the chunk is that of the double which the written text reads
//! as, be the rows partitioned from Parquet, through a pipe, or by Qserv's C++ tools, which see
//! nothing but text.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Float32Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type};

use super::harness::{Bench, files};
use super::loading::parquet;
use super::naive_chunker::{NaiveChunker, Pair};
use super::routing::{Files, Random, add, division, settled};

/// Coordinates, and how each must be written.
struct Coordinates {
    array: ArrayRef,
    texts: Vec<String>,
}

/// Borders that binary numbers can't hold: stripes are 3.6 degrees high.
fn chunker() -> NaiveChunker {
    NaiveChunker {
        stripes: 50,
        sub_stripes: 1,
        overlap: 0.3,
    }
}

/// How a coordinate becomes a column.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Half,
    Single,
    Double,
    Whole,
    /// So many digits in all, so many behind the point.
    Decimal(u8, i8),
    /// The same with 256 bits.
    Wide(u8, i8),
}

impl Kind {
    /// Makes a column of coordinates at, just below and just above `degrees`.
    fn column(self, degrees: &[f64], random: &mut Random) -> Coordinates {
        let steps: Vec<i64> = degrees.iter().map(|_| random.below(3) as i64 - 1).collect();
        let stepped = degrees.iter().zip(&steps);
        match self {
            Self::Half | Self::Single => {
                let singles = stepped.map(|(degrees, step)| nudged(*degrees as f32, *step));
                let array: ArrayRef = Arc::new(singles.collect::<Float32Array>());
                let array = match self {
                    Self::Half => cast(&array, &DataType::Float16).unwrap(),
                    _ => array,
                };
                // A half is a single with fewer digits, and written as that.
                let singles = cast(&array, &DataType::Float32).unwrap();
                let singles = singles.as_primitive::<Float32Type>().values();
                let texts = singles.iter().map(shortest).collect();
                Coordinates { array, texts }
            }
            Self::Double => {
                let doubles = stepped.map(|(degrees, step)| match step {
                    _ if is_end(*degrees) => *degrees,
                    -1 => degrees.next_down(),
                    0 => *degrees,
                    _ => degrees.next_up(),
                });
                let array = doubles.collect::<arrow::array::Float64Array>();
                let texts = array.values().iter().map(ToString::to_string).collect();
                let array = Arc::new(array);
                Coordinates { array, texts }
            }
            Self::Whole => {
                let whole = degrees.iter().map(|degrees| degrees.round() as i64);
                let array = whole.collect::<Int64Array>();
                let texts = array.values().iter().map(ToString::to_string).collect();
                let array = Arc::new(array);
                Coordinates { array, texts }
            }
            Self::Decimal(digits, scale) | Self::Wide(digits, scale) => {
                let unit = 10_f64.powi(i32::from(scale));
                let numbers: Vec<i128> = stepped
                    .map(|(degrees, step)| {
                        let at = (degrees * unit).round();
                        let step = if is_end(at / unit) { 0 } else { *step };
                        at as i128 + i128::from(step)
                    })
                    .collect();
                let texts = numbers
                    .iter()
                    .map(|n| with_point(*n, usize::from(scale.unsigned_abs())))
                    .collect();
                let array = Decimal128Array::from(numbers);
                let most = digits.min(38);
                let array: ArrayRef =
                    Arc::new(array.with_precision_and_scale(most, scale).unwrap());
                let array = match self {
                    Self::Wide(..) => cast(&array, &DataType::Decimal256(digits, scale)).unwrap(),
                    _ => array,
                };
                Coordinates { array, texts }
            }
        }
    }
}

/// Whether a step might lead off the sphere.
fn is_end(degrees: f64) -> bool {
    [-90.0, 0.0, 90.0, 360.0].contains(&degrees)
}

/// The next single up or down; where that might be off the sphere the number itself.
fn nudged(degrees: f32, step: i64) -> f32 {
    match step {
        _ if is_end(f64::from(degrees)) => degrees,
        -1 => degrees.next_down(),
        0 => degrees,
        _ => degrees.next_up(),
    }
}

/// The shortest text of a single; of two that are as near the one that ends in an even digit, as
/// Arrow's C++ writer has it.
fn shortest(single: &f32) -> String {
    let text = single.to_string();
    let exact = format!("{single:.60}");
    let below = exact.trim_end_matches('0').strip_suffix('5');
    let is_even = |text: &&str| text.ends_with(['0', '2', '4', '6', '8']);
    let below = below.filter(|below| below.len() == text.len() && text.contains('.'));
    match below.filter(is_even) {
        Some(below) if below.parse() == Ok(*single) => below.to_owned(),
        _ => text,
    }
}

/// A decimal as text, with all digits of its scale.
fn with_point(number: i128, scale: usize) -> String {
    let sign = if number < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", number.abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

/// Positions on and beside borders of chunks and sub-chunks, and anywhere.
fn positions(chunker: &NaiveChunker, random: &mut Random) -> Vec<(f64, f64)> {
    let rows = chunker.stripes * chunker.sub_stripes;
    let position = |_| {
        let row = random.below(rows as u64) as i64;
        let dec = match random.below(4) {
            0 => random.share() * 180.0 - 90.0,
            // As people write it, and not as it comes out of a multiplication.
            _ => (chunker.south(row) * 10.0).round() / 10.0,
        };
        let column = random.below(chunker.columns(row) as u64) as f64;
        let ra = match random.below(4) {
            0 => random.share() * 360.0,
            _ => column * chunker.width(row),
        };
        (ra, dec)
    };
    (0..150).map(position).collect()
}

/// Where rows with these texts go, by the definition.
fn expected(chunker: &NaiveChunker, texts: &[String], ra: &[String], dec: &[String]) -> Files {
    let mut made = Files::new();
    let mut index = String::new();
    for (row, text) in texts.iter().enumerate() {
        let (ra, dec) = (ra[row].parse().unwrap(), dec[row].parse().unwrap());
        let written = |(chunk, sub): Pair| format!("{text}\t{chunk}\t{sub}");
        let own = chunker.number(chunker.find(ra, dec));
        add(&mut made, own, "", &written(own));
        for place in chunker.overlaps(ra, dec) {
            add(&mut made, place, "_overlap", &written(place));
        }
        let _ = writeln!(index, "{row}\t{}\t{}", own.0, own.1);
    }
    made.insert("chunk_object_index.txt".to_owned(), index.into_bytes());
    made
}

/// Partitions columns of these kinds from Parquet and through a pipe.
#[track_caller]
fn check(bench: &Bench, kinds: (Kind, Kind), random: &mut Random) -> (Coordinates, Coordinates) {
    let chunker = chunker();
    let (ra, dec): (Vec<f64>, Vec<f64>) = positions(&chunker, random).into_iter().unzip();
    let (ra, dec) = (kinds.0.column(&ra, random), kinds.1.column(&dec, random));
    let keys = Int64Array::from_iter_values(0..ra.texts.len() as i64);
    let texts: Vec<String> = (0..ra.texts.len())
        .map(|row| format!("{row}\t{}\t{}", ra.texts[row], dec.texts[row]))
        .collect();
    let columns: [(&str, ArrayRef); 3] = [
        ("k", Arc::new(keys)),
        ("r", Arc::clone(&ra.array)),
        ("d", Arc::clone(&dec.array)),
    ];
    bench.write("x.parquet", parquet(columns));
    let partition = format!(
        "partition --force -q --kind director --id k --ra r --dec d {}",
        division(&chunker)
    );
    let script = format!(
        "skyprep {partition} x.parquet -o direct && skyprep convert -q x.parquet -o - |
         tee x.txt | skyprep {partition} - --fields k,r,d -o piped"
    );
    let outcome = bench.shell(&script);
    assert_eq!(outcome.code, 0, "{kinds:?}: {}", outcome.stderr);
    let written = std::fs::read_to_string(bench.path("x.txt")).unwrap();
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!(lines, texts, "{kinds:?}");
    let expected = expected(&chunker, &texts, &ra.texts, &dec.texts);
    assert!(
        files(&bench.path("direct")) == files(&bench.path("piped")),
        "{kinds:?}"
    );
    for folder in ["direct", "piped"] {
        let made = files(&bench.path(folder));
        assert!(
            made.keys().eq(expected.keys()),
            "{kinds:?}: files of {folder}"
        );
        for (name, rows) in &expected {
            assert_eq!(
                settled(&made[name]),
                settled(rows),
                "{kinds:?}: {name} of {folder}"
            );
        }
    }
    (ra, dec)
}

#[test]
fn singles_lie_where_their_text_says() {
    let bench = Bench::in_memory();
    let mut random = Random(11);
    let (ra, dec) = check(&bench, (Kind::Single, Kind::Single), &mut random);
    // Unless some would lie elsewhere if they were only widened, the test sees nothing.
    let chunker = chunker();
    let place = |ra, dec| chunker.number(chunker.find(ra, dec)).0;
    let widened = |column: &Coordinates, row: usize| {
        f64::from(column.array.as_primitive::<Float32Type>().value(row))
    };
    let read = |column: &Coordinates, row: usize| column.texts[row].parse::<f64>().unwrap();
    let differ = (0..ra.array.len()).filter(|row| {
        let by_text = place(read(&ra, *row), read(&dec, *row));
        by_text != place(widened(&ra, *row), widened(&dec, *row))
    });
    assert!(differ.count() >= 10);
}

#[test]
fn decimals_lie_where_their_text_says() {
    let bench = Bench::in_memory();
    let mut random = Random(12);
    for kinds in [
        (Kind::Decimal(4, 1), Kind::Decimal(3, 1)),
        (Kind::Decimal(18, 15), Kind::Decimal(17, 15)),
        (Kind::Decimal(38, 20), Kind::Decimal(9, 3)),
        (Kind::Wide(50, 20), Kind::Wide(40, 16)),
        (Kind::Decimal(5, 0), Kind::Decimal(5, 2)),
    ] {
        check(&bench, kinds, &mut random);
    }
}

#[test]
fn mixed_types_lie_where_their_text_says() {
    let bench = Bench::in_memory();
    let mut random = Random(13);
    for kinds in [
        (Kind::Whole, Kind::Whole),
        (Kind::Half, Kind::Half),
        (Kind::Double, Kind::Double),
        (Kind::Single, Kind::Decimal(10, 6)),
        (Kind::Double, Kind::Half),
        (Kind::Decimal(12, 4), Kind::Whole),
    ] {
        check(&bench, kinds, &mut random);
    }
}

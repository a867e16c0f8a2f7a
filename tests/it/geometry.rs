//! The chunker against tables that the reference printed, and against a naive one.
//!
//! The tables come from the C++ of lsst/qserv `src/partition` at 5314826f; they lie beside the
//! repository, in `../shared/golden/g_chunk_table`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::str::FromStr;

use flate2::read::GzDecoder;
use proptest::prelude::*;
use skyprep::partition::geometry::{
    ChunkId, Chunker, ChunkerError, Location, SubChunkId, angular_separation_deg, check_position,
    max_alpha, segments,
};

use super::harness::shared;
use super::naive_chunker::{NaiveChunker, Pair, Place};

/// Units in the last place that two mathematics libraries may differ by after a few operations.
const ULPS: f64 = 4.0;

/// Calls a function with every line of a golden table; returns how many, or `None` without table.
fn each_line(table: &str, mut check: impl FnMut(&str)) -> Option<usize> {
    let shared = shared(&format!("{table} is not compared with the reference"))?;
    let file = File::open(shared.join("golden/g_chunk_table").join(table)).unwrap();
    let lines = BufReader::new(GzDecoder::new(file))
        .lines()
        .map(Result::unwrap);
    let mut count = 0;
    for line in lines.filter(|line| !line.starts_with('#')) {
        check(&line);
        count += 1;
    }
    Some(count)
}

fn numbers<T: FromStr<Err: std::fmt::Debug>, const N: usize>(line: &str) -> [T; N] {
    let found: Vec<T> = line
        .split(' ')
        .take(N)
        .map(|text| text.parse().unwrap())
        .collect();
    found.try_into().ok().unwrap()
}

fn assert_close(found: f64, expected: f64, what: &str) {
    let tolerance = ULPS * (expected.abs().next_up() - expected.abs());
    assert!(
        (found - expected).abs() <= tolerance,
        "{found} instead of {expected}: {what}"
    );
}

/// Keeps the chunker of the line before, for the tables are grouped by settings.
#[derive(Default)]
struct Chunkers {
    settings: String,
    latest: Option<Result<Chunker, ChunkerError>>,
}

impl Chunkers {
    fn get(&mut self, line: &str) -> &Result<Chunker, ChunkerError> {
        let words: Vec<&str> = line.split(' ').take(3).collect();
        let settings = words.join(" ");
        if settings != self.settings {
            self.settings = settings;
            self.latest = None;
        }
        self.latest.get_or_insert_with(|| {
            Chunker::new(
                words[0].parse().unwrap(),
                words[1].parse().unwrap(),
                words[2].parse().unwrap(),
            )
        })
    }
}

fn at(chunk: i32, sub_chunk: i32) -> Location {
    Location {
        chunk: ChunkId(chunk),
        sub_chunk: SubChunkId(sub_chunk),
    }
}

#[test]
fn chunk_table() {
    let mut chunkers = Chunkers::default();
    let rows = each_line("chunk_table.txt.gz", |line| {
        let [_, _, _, ra, dec, chunk, sub_chunk] = numbers::<f64, 7>(line);
        assert_eq!(check_position(ra, dec), Ok(()), "{line}");
        let chunker = chunkers.get(line).as_ref().unwrap();
        let cell = chunker.cell_at(ra, dec);

        assert_eq!(
            cell.location(),
            at(chunk as i32, sub_chunk as i32),
            "{line}"
        );
        assert_eq!(cell.chunk(), cell.location().chunk);
        assert_eq!(Some(cell.dense_chunk()), chunker.dense_index(cell.chunk()));
        assert!(!cell.has_overlaps(), "{line}");
    });
    assert!(rows.is_none_or(|rows| rows == 200_000), "{rows:?}");
}

#[test]
fn overlap_table() {
    let mut chunkers = Chunkers::default();
    let mut errors = 0;
    let rows = each_line("overlap_table.txt.gz", |line| {
        let chunker = chunkers.get(line);
        if let Some((_, message)) = line.split_once(" ERROR ") {
            let agrees = match chunker {
                Err(ChunkerError::OverlapAboveHeight { .. }) => message.contains("height"),
                Err(ChunkerError::OverlapAboveWidth { .. }) => message.contains("width"),
                _ => false,
            };
            assert!(agrees, "{chunker:?}: {line}");
            errors += 1;
            return;
        }

        let [_, _, _, ra, dec] = numbers::<f64, 5>(line);
        let cell = chunker.as_ref().unwrap().cell_at(ra, dec);
        let mut found = vec![(cell.location(), 0)];
        cell.overlaps(&mut |location| found.push((location, 1)));
        assert_eq!(cell.has_overlaps(), found.len() > 1, "{line}");

        let expected: Vec<(Location, i32)> = line
            .split(' ')
            .skip(5)
            .map(|triple| {
                let parts: Vec<i32> = triple
                    .split(':')
                    .map(|text| text.parse().unwrap())
                    .collect();
                (at(parts[0], parts[1]), parts[2])
            })
            .collect();
        assert_eq!(found, expected, "{line}");
    });
    assert!(
        rows.is_none_or(|rows| (rows, errors) == (25_000, 5_985)),
        "{rows:?} {errors}"
    );
}

#[test]
fn layout() {
    let rows = each_line("layout.jsonl.gz", |line| {
        let golden: serde_json::Value = serde_json::from_str(line).unwrap();
        let integer = |key: &str| u32::try_from(golden[key].as_u64().unwrap()).unwrap();
        let integers = |key: &str| -> Vec<u32> {
            let values = golden[key].as_array().unwrap().iter();
            values
                .map(|value| u32::try_from(value.as_u64().unwrap()).unwrap())
                .collect()
        };
        let (stripes, sub_stripes) = (integer("stripes"), integer("sub"));
        let what = format!("{stripes} {sub_stripes}");
        let chunker =
            Chunker::new(stripes, sub_stripes, golden["overlap"].as_f64().unwrap()).unwrap();

        assert_eq!(
            chunker.max_sub_chunks_per_chunk(),
            integer("maxSubChunksPerChunk"),
            "{what}"
        );
        assert_eq!(
            chunker.chunks_per_stripe(),
            integers("chunksPerStripe"),
            "{what}"
        );
        let sub_chunks: Vec<u32> = chunker.sub_chunks_per_chunk().collect();
        assert_eq!(sub_chunks, integers("subChunksPerChunk"), "{what}");

        let alphas = golden["alpha"].as_array().unwrap();
        assert_eq!(chunker.alphas_deg().len(), alphas.len());
        for (found, expected) in chunker.alphas_deg().zip(alphas) {
            // This table has 15 digits only.
            let expected = expected.as_f64().unwrap();
            assert!(
                (found - expected).abs() <= 1e-14 * expected,
                "{found} {expected} {what}"
            );
        }
    });
    assert!(rows.is_none_or(|rows| rows == 179), "{rows:?}");
}

#[test]
fn segments_table() {
    let rows = each_line("segments.txt.gz", |line| {
        let [lat_min, lat_max, width, expected] = numbers::<f64, 4>(line);
        assert_eq!(
            segments(lat_min, lat_max, width),
            Ok(expected as u32),
            "{line}"
        );
    });
    assert!(rows.is_none_or(|rows| rows == 3_000), "{rows:?}");
}

#[test]
fn alpha_table() {
    let rows = each_line("alpha.txt.gz", |line| {
        let [radius, lat] = numbers(line);
        let alpha = max_alpha(radius, lat);
        if line.contains("ERROR") {
            assert!(alpha.is_err(), "{line}");
        } else {
            let [_, _, expected] = numbers(line);
            assert_close(alpha.unwrap(), expected, line);
        }
    });
    assert!(rows.is_none_or(|rows| rows == 2_506), "{rows:?}");
}

#[test]
fn angular_separation_table() {
    let rows = each_line("angsep.txt.gz", |line| {
        let [ra1, dec1, ra2, dec2, expected] = numbers(line);
        assert_close(angular_separation_deg(ra1, dec1, ra2, dec2), expected, line);
    });
    assert!(rows.is_none_or(|rows| rows == 4_000), "{rows:?}");
}

#[test]
fn wrong_settings_are_told_apart() {
    use ChunkerError::*;
    let error =
        |stripes, sub_stripes, overlap| Chunker::new(stripes, sub_stripes, overlap).err().unwrap();

    assert_eq!(error(0, 0, -1.0), Stripes(0));
    assert_eq!(error(32_768, 1, 0.0), Stripes(32_768));
    assert_eq!(error(u32::MAX, u32::MAX, 0.0), Stripes(u32::MAX));
    assert_eq!(error(1, 0, -1.0), NoSubStripes);
    assert_eq!(
        error(1, 1, 10.0f64.next_up()),
        OverlapOutOfRange(10.0f64.next_up())
    );
    assert_eq!(error(1, 1, -5e-324), OverlapOutOfRange(-5e-324));
    assert!(matches!(error(1, 1, f64::NAN), OverlapOutOfRange(_)));
    for (stripes, sub_stripes) in [(2, 324_001), (10_000, u32::MAX), (1, 648_001)] {
        let expected = TooManySubStripes {
            stripes,
            sub_stripes,
        };
        assert_eq!(error(stripes, sub_stripes, 0.0), expected);
    }
    assert!(matches!(error(1, 648_000, 0.0), TooManySubChunks { .. }));
    assert!(matches!(error(180, 10, 0.2), OverlapAboveHeight { .. }));
    assert!(matches!(error(180, 10, 0.1), OverlapAboveWidth { .. }));

    let text = error(180, 10, 0.1).to_string();
    assert!(
        text.contains("overlap of 0.1 degrees") && text.contains("hint: "),
        "{text}"
    );
}

#[test]
fn the_largest_layouts_fit() {
    for (stripes, sub_stripes) in [(32_767, 19), (32_767, 1), (2_000, 324)] {
        let chunker = Chunker::new(stripes, sub_stripes, 0.0).unwrap();
        let last = chunker.nth_chunk(chunker.chunk_count() - 1).unwrap();
        assert_eq!(last, chunker.locate(360.0, 90.0).chunk);
        assert_eq!(chunker.dense_index(last), Some(chunker.chunk_count() - 1));
    }
}

#[test]
fn sub_stripes_have_one_sub_chunk_or_at_least_five() {
    // So left and right neighbour are never the same sub-chunk, and no two chunks share a number.
    let few = (1..=60).flat_map(|stripes| (1..=40).map(move |sub_stripes| (stripes, sub_stripes)));
    let many = (61..=2_000).step_by(7).map(|stripes| (stripes, 1));
    let most = (2_001..=32_767).step_by(1_709).map(|stripes| (stripes, 1));

    for (stripes, sub_stripes) in few.chain(many).chain(most) {
        let chunker = Chunker::new(stripes, sub_stripes, 0.0).unwrap();
        let sub_chunks: Vec<u32> = chunker.sub_chunks_per_chunk().collect();
        let rows = sub_chunks.chunks(sub_stripes as usize);
        for (chunks, sub_chunks) in chunker.chunks_per_stripe().iter().zip(rows) {
            assert!(*chunks <= 2 * stripes, "{stripes} {sub_stripes}");
            for count in sub_chunks.iter().map(|sub_chunks| chunks * sub_chunks) {
                assert!(count == 1 || count >= 5, "{stripes} {sub_stripes}");
            }
        }
    }
}

#[test]
fn dense_indexes_count_the_chunks() {
    for (stripes, sub_stripes) in [(1, 1), (2, 3), (3, 1), (18, 10), (85, 12), (340, 3)] {
        let chunker = Chunker::new(stripes, sub_stripes, 0.0).unwrap();
        let chunks: Vec<ChunkId> = chunker.chunks().collect();
        assert!(chunks.is_sorted_by(|one, next| one < next));
        assert_eq!(chunks.len(), chunker.chunk_count() as usize);
        for (index, chunk) in (0..).zip(&chunks) {
            assert_eq!(chunker.dense_index(*chunk), Some(index));
            assert_eq!(chunker.nth_chunk(index), Some(*chunk));
        }
        assert_eq!(chunker.nth_chunk(chunker.chunk_count()), None);
        assert_eq!(chunker.nth_chunk(u32::MAX), None);

        let valid: BTreeSet<ChunkId> = chunks.into_iter().collect();
        let end = i32::try_from(2 * stripes * stripes).unwrap();
        for number in (-2..end + 2).chain([i32::MIN, i32::MAX]) {
            let chunk = ChunkId(number);
            assert_eq!(
                chunker.dense_index(chunk).is_some(),
                valid.contains(&chunk),
                "{number}"
            );
            assert_eq!(
                chunker.chunk_bounds(chunk).is_some(),
                valid.contains(&chunk),
                "{number}"
            );
        }
    }
}

#[test]
fn bounds_tile_the_sphere() {
    for (stripes, sub_stripes) in [(1, 1), (2, 3), (3, 4), (18, 10)] {
        let chunker = Chunker::new(stripes, sub_stripes, 0.0).unwrap();
        let naive = naive(stripes, sub_stripes, 0.0);
        let valid: BTreeSet<Pair> = naive.places().map(|place| naive.number(place)).collect();

        for place in naive.places() {
            let (chunk, sub_chunk) = naive.number(place);
            let own = at(chunk as i32, sub_chunk as i32);
            let bounds = chunker.sub_chunk_bounds(own).unwrap();
            let outer = chunker.chunk_bounds(own.chunk).unwrap();

            let middle_ra = (bounds.lon_min_deg + bounds.lon_max_deg) / 2.0;
            let middle_dec = (bounds.lat_min_deg + bounds.lat_max_deg) / 2.0;
            assert_eq!(chunker.locate(middle_ra, middle_dec), own);
            assert_eq!(bounds.lat_min_deg, naive.south(place.row));
            assert_eq!(bounds.lat_max_deg, naive.south(place.row + 1));
            let first = place.row / naive.sub_stripes * naive.sub_stripes;
            assert_eq!(outer.lat_min_deg, naive.south(first));
            assert_eq!(outer.lat_max_deg, naive.south(first + naive.sub_stripes));
            // A billionth of a degree: rounding of the two ways to the same border.
            assert!(bounds.lon_min_deg >= outer.lon_min_deg - 1e-9);
            assert!(bounds.lon_max_deg <= outer.lon_max_deg + 1e-9);
            if place.column == naive.columns(place.row) - 1 {
                assert_eq!((bounds.lon_max_deg, outer.lon_max_deg), (360.0, 360.0));
            }
        }

        let most = i32::try_from(chunker.max_sub_chunks_per_chunk() * sub_stripes).unwrap();
        for chunk in chunker.chunks() {
            for sub_chunk in (-1..=most).chain([i32::MIN, i32::MAX]) {
                assert_eq!(
                    chunker.sub_chunk_bounds(at(chunk.0, sub_chunk)).is_some(),
                    valid.contains(&(i64::from(chunk.0), i64::from(sub_chunk))),
                );
            }
        }
    }
}

fn naive(stripes: u32, sub_stripes: u32, overlap: f64) -> NaiveChunker {
    NaiveChunker {
        stripes: stripes.into(),
        sub_stripes: sub_stripes.into(),
        overlap,
    }
}

fn pair(location: Location) -> Pair {
    (location.chunk.0.into(), location.sub_chunk.0.into())
}

/// Where a position is taken from.
#[derive(Debug, Clone)]
enum Spot {
    Anywhere(f64, f64),
    Fixed(f64, f64),
    /// At the borders of a sub-chunk or of its overlap, give or take some doubles.
    Border {
        row: prop::sample::Index,
        column: prop::sample::Index,
        edges: [u8; 2],
        ulps: [i8; 2],
    },
}

fn spots() -> impl Strategy<Value = Spot> {
    let ra = prop::sample::select(vec![0.0, -0.0, 5e-324, 180.0, 360.0f64.next_down(), 360.0]);
    let dec = prop::sample::select(vec![
        -90.0,
        (-90.0f64).next_up(),
        -0.0,
        0.0,
        5e-324,
        90.0f64.next_down(),
        90.0,
    ]);
    let border = (any::<prop::sample::Index>(), any::<prop::sample::Index>());
    let nudge = ([0u8..6, 0u8..6], [-3i8..=3, -3i8..=3]);

    prop_oneof![
        1 => (0.0..=360.0, -90.0..=90.0).prop_map(|(ra, dec)| Spot::Anywhere(ra, dec)),
        1 => (ra, dec).prop_map(|(ra, dec)| Spot::Fixed(ra, dec)),
        6 => (border, nudge).prop_map(|((row, column), (edges, ulps))| Spot::Border {
            row, column, edges, ulps
        }),
    ]
}

fn nudged(value: f64, ulps: i8) -> f64 {
    (0..ulps.unsigned_abs()).fold(value, |value, _| match ulps {
        1.. => value.next_up(),
        _ => value.next_down(),
    })
}

impl Spot {
    fn position(&self, naive: &NaiveChunker) -> (f64, f64) {
        match self {
            Spot::Anywhere(ra, dec) | Spot::Fixed(ra, dec) => (*ra, *dec),
            Spot::Border {
                row,
                column,
                edges,
                ulps,
            } => {
                let row = row.index((naive.stripes * naive.sub_stripes) as usize) as i64;
                let column = column.index(naive.columns(row) as usize) as i64;
                let edge = |from: f64, to: f64, reach: f64, which| match which {
                    0 => from,
                    1 => to,
                    2 => from + reach,
                    3 => to - reach,
                    4 => from - reach,
                    _ => (from + to) / 2.0,
                };
                let width = naive.width(row);
                let (west, east) = (column as f64 * width, (column + 1) as f64 * width);
                let ra = edge(west, east, naive.reach(row), edges[0]);
                let (south, north) = (naive.south(row), naive.south(row + 1));
                let dec = edge(south, north, naive.overlap, edges[1]);
                let ra = if ra < 0.0 { ra + 360.0 } else { ra };
                (
                    nudged(ra, ulps[0]).clamp(0.0, 360.0),
                    nudged(dec, ulps[1]).clamp(-90.0, 90.0),
                )
            }
        }
    }
}

/// Settings, the overlap being a part of the greatest one that they allow.
fn settings() -> impl Strategy<Value = (u32, u32, f64)> {
    let part = prop_oneof![Just(0.0), Just(1.0), 1e-9..1.0f64];
    (1u32..=12, 1u32..=6, part).prop_map(|(stripes, sub_stripes, part)| {
        (
            stripes,
            sub_stripes,
            part * greatest_overlap(stripes, sub_stripes),
        )
    })
}

fn greatest_overlap(stripes: u32, sub_stripes: u32) -> f64 {
    let (mut fits, mut fails) = (0.0, 10.0f64.next_up());
    for _ in 0..60 {
        let middle = (fits + fails) / 2.0;
        match Chunker::new(stripes, sub_stripes, middle) {
            Ok(_) => fits = middle,
            Err(_) => fails = middle,
        }
    }
    fits
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn agrees_with_the_naive_chunker(
        (stripes, sub_stripes, overlap) in settings(),
        spots in prop::collection::vec(spots(), 12),
    ) {
        let chunker = Chunker::new(stripes, sub_stripes, overlap).unwrap();
        let naive = naive(stripes, sub_stripes, overlap);

        for spot in spots {
            let (ra, dec) = spot.position(&naive);
            prop_assert_eq!(check_position(ra, dec), Ok(()));
            let cell = chunker.cell_at(ra, dec);
            let own: Place = naive.find(ra, dec);
            prop_assert_eq!(pair(cell.location()), naive.number(own), "{} {}", ra, dec);

            let mut found = Vec::new();
            cell.overlaps(&mut |location| found.push(pair(location)));
            prop_assert_eq!(cell.has_overlaps(), !found.is_empty());
            let set: BTreeSet<Pair> = found.iter().copied().collect();
            prop_assert_eq!(set.len(), found.len(), "twice the same for {} {}", ra, dec);
            prop_assert_eq!(set, naive.overlaps(ra, dec), "{} {}", ra, dec);
        }
    }

    /// The purpose of it all: whatever is within the overlap radius is in reach of a sub-chunk.
    #[test]
    fn neighbours_within_the_radius_are_in_own_or_overlap_rows(
        (stripes, sub_stripes, overlap) in settings(),
        (ra, sine, bearing, part) in (0.0..360.0f64, -1.0..1.0f64, 0.0..360.0f64, 0.0..1.0f64),
    ) {
        let chunker = Chunker::new(stripes, sub_stripes, overlap).unwrap();
        let dec = sine.asin().to_degrees();
        let (radius, bearing) = ((part * overlap).to_radians(), bearing.to_radians());
        let other_sine: f64 = sine * radius.cos()
            + dec.to_radians().cos() * radius.sin() * bearing.cos();
        let turn = (bearing.sin() * radius.sin() * dec.to_radians().cos())
            .atan2(radius.cos() - sine * other_sine);
        let other_dec = other_sine.clamp(-1.0, 1.0).asin().to_degrees();
        let other_ra = (ra + turn.to_degrees()).rem_euclid(360.0);
        // A millionth of a degree: the errors of this way to the other point, near the poles.
        let separation = angular_separation_deg(ra, dec, other_ra, other_dec);
        prop_assert!((separation - part * overlap).abs() < 1e-6);
        if separation >= overlap * (1.0 - 1e-9) - 1e-12 {
            return Ok(());
        }

        let cell = chunker.cell_at(ra, dec);
        let mut reached = vec![cell.location()];
        cell.overlaps(&mut |location| reached.push(location));
        prop_assert!(reached.contains(&chunker.locate(other_ra, other_dec)));
    }
}

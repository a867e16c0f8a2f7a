use std::collections::BTreeMap;

use super::graticule::{Extent, Graticule};
use super::projection::{Point, Projection};
use super::shades::Shades;
use super::*;
use crate::partition::Partitioning;
use crate::partition::geometry::ChunkId;
use crate::schema::TableKind;

const PARTITIONING: Partitioning = Partitioning {
    stripes: 36,
    sub_stripes: 4,
    overlap: 0.1,
};

/// A table of the chunks that `is_in` says, with a row for each number up to the chunk's.
fn table(is_in: impl Fn(f64, f64) -> bool) -> SkyTable {
    let chunker = PARTITIONING.chunker().unwrap();
    let chunks = chunker.chunks().filter_map(|ChunkId(chunk)| {
        let bounds = chunker.chunk_bounds(ChunkId(chunk)).unwrap();
        let ra = (bounds.lon_min_deg + bounds.lon_max_deg) / 2.0;
        let dec = (bounds.lat_min_deg + bounds.lat_max_deg) / 2.0;
        let load = ChunkLoad {
            rows: chunk.unsigned_abs().into(),
            overlap_rows: 1,
            bytes: 100,
        };
        is_in(ra, dec).then_some((chunk, load))
    });
    SkyTable {
        name: "Star <1>".into(),
        kind: TableKind::Director,
        partitioning: PARTITIONING,
        chunks: chunks.collect(),
    }
}

fn area(points: &[Point]) -> f64 {
    let next = points.iter().cycle().skip(1);
    let sum: f64 = points
        .iter()
        .zip(next)
        .map(|(a, b)| a.0 * b.1 - b.0 * a.1)
        .sum();
    sum.abs() / 2.0
}

#[test]
fn positions_come_back_from_paper() {
    for projection in [
        Projection::Whole,
        Projection::Around {
            ra: 10.0,
            dec: -30.0,
        },
        Projection::Around {
            ra: 200.0,
            dec: 90.0,
        },
    ] {
        let (ra0, dec0) = projection.middle();
        assert_eq!(projection.project(ra0, dec0), (0.0, 0.0));
        for step in 0..2000 {
            let (ra, dec) = (f64::from(step) * 0.173 + 0.01, f64::from(step % 177) - 88.0);
            let (back_ra, back_dec) = projection.unproject(projection.project(ra, dec)).unwrap();
            let cos = dec.to_radians().cos();
            assert!((back_ra - ra).abs() * cos < 1e-6, "{ra} {dec}: {back_ra}");
            assert!((back_dec - dec).abs() < 1e-6, "{ra} {dec}: {back_dec}");
        }
    }
    assert_eq!(Projection::Whole.unproject((3.0, 0.0)), None);
    // East is left.
    assert!(Projection::Whole.project(190.0, 0.0).0 < 0.0);
    assert!(
        Projection::Around { ra: 0.0, dec: 0.0 }
            .project(359.0, 0.0)
            .0
            > 0.0
    );
}

#[test]
fn areas_keep_their_size_on_paper() {
    for is_in in [(|_, _| true) as fn(f64, f64) -> bool, |ra, dec| {
        (100.0..130.0).contains(&ra) && dec > 40.0
    }] {
        let picture = Picture::new(table(is_in), Measure::Rows, 4000).unwrap();
        let mut ratios = Vec::new();
        for outline in picture.outlines() {
            let place = Whereabouts::of_chunk(&picture.chunker, outline.chunk, None).unwrap();
            ratios.push(area(&outline.points) / place.chunk_box.square_degrees);
        }
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        assert!(ratios.len() > 20);
        for ratio in ratios {
            assert!((ratio / mean - 1.0).abs() < 0.02, "{ratio} {mean}");
        }
    }
}

#[test]
fn a_part_of_the_sky_is_enlarged_wherever_it_is() {
    for (is_in, labels) in [
        // Across right ascension 0, and around the poles.
        (
            (|ra, dec| !(8.0..352.0).contains(&ra) && f64::abs(dec) < 6.0) as fn(f64, f64) -> bool,
            ["0°", "355°"],
        ),
        (|_, dec| dec > 70.0, ["75°", "0°"]),
        (|_, dec| dec < -70.0, ["-85°", "180°"]),
    ] {
        let picture = Picture::new(table(is_in), Measure::Rows, 800).unwrap();
        assert!(!picture.is_whole);
        let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
        let (mut left, mut right) = (width, 0.0f64);
        for (x, y) in picture.outlines().flat_map(|outline| outline.points) {
            assert!(
                (0.0..width).contains(&x) && (0.0..height).contains(&y),
                "{x} {y}"
            );
            (left, right) = (left.min(x), right.max(x));
        }
        assert!(right - left > width / 3.0, "{left} {right}");
        let found: Vec<&str> = picture
            .net
            .labels
            .iter()
            .map(|label| label.text.as_str())
            .collect();
        for label in labels {
            assert!(found.contains(&label), "{label}: {found:?}");
        }
    }
    assert!(
        Picture::new(table(|_, _| true), Measure::Rows, 800)
            .unwrap()
            .is_whole
    );
}

#[test]
fn drawings_are_whole_and_tell_of_each_chunk() {
    let table = table(|ra, dec| ra < 90.0 && dec > 0.0);
    let chunks = table.chunks.len();
    let picture = Picture::new(table.clone(), Measure::Rows, 1000).unwrap();
    let svg = picture.svg();
    let mut reader = quick_xml::Reader::from_str(&svg);
    let mut titles = 0;
    loop {
        match reader.read_event().unwrap() {
            quick_xml::events::Event::Eof => break,
            quick_xml::events::Event::Start(tag) if tag.name().as_ref() == b"title" => titles += 1,
            _ => {}
        }
    }
    assert_eq!(titles, chunks + 1);
    assert!(svg.contains("<title>Star &lt;1&gt;: "));
    let found = SkyTables {
        database: Some("a & b".into()),
        tables: vec![
            table.clone(),
            SkyTable {
                name: "Other".into(),
                ..table
            },
        ],
    };
    let page = page(&found, Measure::Bytes, 500).unwrap();
    assert_eq!(page.matches("<svg").count(), 2);
    assert!(page.contains("<h1>a &amp; b</h1>") && page.ends_with("</html>\n"));
}

#[test]
fn pixels_have_the_colours_of_their_chunks() {
    for is_in in [(|_, _| true) as fn(f64, f64) -> bool, |ra, dec| {
        (200.0..240.0).contains(&ra) && (-20.0..20.0).contains(&dec)
    }] {
        let picture = Picture::new(table(is_in), Measure::Rows, 1600).unwrap();
        let bytes = picture.png().unwrap();
        let mut reader = ::png::Decoder::new(std::io::Cursor::new(bytes))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(
            (info.width, info.height),
            (picture.width(), picture.height())
        );
        let mut equal = 0;
        let mut all = 0;
        for (chunk, load) in picture
            .table
            .chunks
            .iter()
            .filter(|(_, load)| load.rows > 0)
        {
            let bounds = picture.chunker.chunk_bounds(ChunkId(*chunk)).unwrap();
            // Off the middle, where lines of the net are.
            let ra = bounds.lon_min_deg + (bounds.lon_max_deg - bounds.lon_min_deg) * 0.4;
            let dec = bounds.lat_min_deg + (bounds.lat_max_deg - bounds.lat_min_deg) * 0.4;
            let (x, y) = picture.pixel(ra, dec);
            let at = (y as usize * info.width as usize + x as usize) * 3;
            all += 1;
            equal += u32::from(pixels[at..at + 3] == picture.shades.colour(load.rows));
        }
        // Labels and lines cover some.
        assert!(equal * 10 > all * 8, "{equal} of {all}");
    }
}

#[test]
fn shades_follow_the_numbers() {
    let linear = Shades::of([0, 10, 20].into_iter()).unwrap();
    assert_eq!((linear.least, linear.most), (10, 20));
    assert_eq!(linear.number_at(0.5), 15);
    assert_eq!(linear.colour(15), Shades::at(0.5));
    let wide = Shades::of([1, 10_000].into_iter()).unwrap();
    assert_eq!(wide.number_at(0.5), 100);
    assert_eq!(wide.colour(100), Shades::at(0.5));
    let one = Shades::of([7].into_iter()).unwrap();
    assert_eq!(one.colour(7), Shades::at(0.5));
    assert!(Shades::of([0].into_iter()).is_none());
    assert!(Shades::of(std::iter::empty()).is_none());
}

#[test]
fn the_net_has_round_numbers() {
    let extent = Extent {
        ra: (-2.3, 3.1),
        dec: (-1.0, 1.5),
    };
    let net = Graticule::of(extent, |ra, dec| (-ra, -dec), |_| true);
    let texts: Vec<&str> = net.labels.iter().map(|label| label.text.as_str()).collect();
    assert!(
        texts.contains(&"359°") && texts.contains(&"-0.5°"),
        "{texts:?}"
    );
    assert_eq!(net.lines.len(), net.labels.len());
    let part = Graticule::of(extent, |ra, dec| (-ra, -dec), |(x, _)| x < 0.0);
    assert!(part.lines.iter().flatten().all(|(x, _)| *x < 0.0));
    assert!(part.labels.len() < net.labels.len());
}

#[test]
fn what_can_not_be_drawn_is_told() {
    let refused = |table, measure, width| {
        let picture = Picture::new(table, measure, width);
        picture
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    let empty = SkyTable {
        chunks: BTreeMap::new(),
        ..table(|_, _| true)
    };
    assert!(refused(empty.clone(), Measure::Rows, 800).contains("has no rows"));
    assert!(refused(table(|_, _| true), Measure::Rows, 5).contains("5 pixels"));
    let stray = SkyTable {
        chunks: [(
            1_000_000,
            ChunkLoad {
                rows: 1,
                ..ChunkLoad::default()
            },
        )]
        .into(),
        ..empty
    };
    assert!(refused(stray, Measure::Rows, 800).contains("there is no chunk 1000000"));
}

#[test]
fn places_lie_in_their_chunks() {
    let chunker = PARTITIONING.chunker().unwrap();
    for step in 0..5000 {
        let (ra, dec) = (f64::from(step) * 0.0719, f64::from(step) * 0.0359 - 89.7);
        let place = Whereabouts::of_place(&chunker, ra, dec).unwrap();
        let within = |bounds: &SkyBox| {
            (bounds.ra[0]..bounds.ra[1]).contains(&ra)
                && (bounds.dec[0]..bounds.dec[1]).contains(&dec)
        };
        let sub_chunk_box = place.sub_chunk_box.unwrap();
        assert!(
            within(&place.chunk_box) && within(&sub_chunk_box),
            "{place:?}"
        );
        let chunk = Whereabouts::of_chunk(&chunker, place.chunk, place.sub_chunk).unwrap();
        assert_eq!(
            (chunk.chunk_box, chunk.sub_chunk_box),
            (place.chunk_box, place.sub_chunk_box)
        );
        assert_eq!(chunk.stripe, ((dec + 90.0) / 5.0) as u32);
    }
    let all: f64 = chunker
        .chunks()
        .map(|ChunkId(chunk)| Whereabouts::of_chunk(&chunker, chunk, None).unwrap())
        .map(|found| found.chunk_box.square_degrees)
        .sum();
    assert!((all - 41_252.961_249_419).abs() < 1e-6, "{all}");
    let edge = Whereabouts::of_place(&chunker, 0.05, 0.05).unwrap();
    assert!(edge.overlap_of.as_ref().unwrap().len() >= 3, "{edge:?}");
    assert!(edge.in_words().contains("overlap of   chunk"));
    assert!(Whereabouts::of_place(&chunker, 0.0, 91.0).is_err());
    assert!(Whereabouts::of_chunk(&chunker, 71, None).is_err());
    assert!(Whereabouts::of_chunk(&chunker, 0, Some(99)).is_err());
}

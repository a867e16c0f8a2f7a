//! A table's chunks laid out on paper.

use std::fmt;
use std::sync::Arc;

use super::graticule::{Extent, Graticule};
use super::projection::{Point, Projection};
use super::shades::Shades;
use super::tables::{ChunkLoad, SkyTable};
use crate::error::{Error, ErrorKind, Result};
use crate::partition::geometry::{ChunkId, Chunker, SphericalBox};
use crate::report::grouped;

/// What the colour of a chunk tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Measure {
    /// Rows of its own.
    #[default]
    Rows,
    /// Overlap rows.
    Overlap,
    /// Bytes, those of the overlap included.
    Bytes,
}

impl Measure {
    /// Returns the number of a chunk.
    pub fn of(self, load: ChunkLoad) -> u64 {
        match self {
            Self::Rows => load.rows,
            Self::Overlap => load.overlap_rows,
            Self::Bytes => load.bytes,
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rows => "rows",
            Self::Overlap => "overlap rows",
            Self::Bytes => "bytes",
        })
    }
}

/// Room for what stands above, below and beside the sky, in pixels.
pub(super) const TOP: f64 = 56.0;
pub(super) const BOTTOM: f64 = 84.0;
pub(super) const SIDE: f64 = 64.0;
/// Widths that make sense, in pixels.
const WIDTHS: std::ops::RangeInclusive<u32> = 320..=8192;
/// No picture is higher, compared with its width.
const HIGHEST: f64 = 1.2;

/// A picture of one table.
pub struct Picture {
    pub(super) table: SkyTable,
    pub(super) measure: Measure,
    pub(super) chunker: Arc<Chunker>,
    pub(super) shades: Shades,
    pub(super) net: Graticule,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) is_whole: bool,
    projection: Projection,
    /// Pixels of a unit of the projection.
    scale: f64,
    /// Point of the projection in the middle of the sky's room.
    middle: Point,
}

/// A chunk on paper: its number, what it has, its outline in pixels.
pub(super) struct Outline {
    pub(super) chunk: i32,
    pub(super) load: ChunkLoad,
    pub(super) points: Vec<Point>,
}

impl Picture {
    /// Lays out a table on paper of so many pixels' width.
    ///
    /// # Errors
    /// No chunk has anything of what is asked for, a chunk lies outside the division of the sky, or the
    /// width makes no sense.
    pub fn new(table: SkyTable, measure: Measure, width: u32) -> Result<Self> {
        if !WIDTHS.contains(&width) {
            let (least, most) = (WIDTHS.start(), WIDTHS.end());
            return Err(Error::usage(format!(
                "a picture of {width} pixels: expected {least} to {most}"
            )));
        }
        let chunker = table.partitioning.chunker()?;
        let numbers = table.chunks.values().map(|load| measure.of(*load));
        let shades = Shades::of(numbers).ok_or_else(|| {
            let message = format!("table {} has no {measure}", table.name);
            Error::new(ErrorKind::DataRefused, message)
        })?;
        let mut boxes = Vec::with_capacity(table.chunks.len());
        for (chunk, load) in &table.chunks {
            let bounds = chunker.chunk_bounds(ChunkId(*chunk)).ok_or_else(|| {
                let message = format!("table {}: there is no chunk {chunk}", table.name);
                Error::new(ErrorKind::Integrity, message)
                    .hint("was the sky divided otherwise when the files were made?")
            })?;
            if measure.of(*load) > 0 {
                boxes.push(bounds);
            }
        }
        let corners: Vec<(f64, f64)> = boxes.iter().flat_map(corners).collect();
        let projection = Projection::of(&corners);
        let extent = match projection {
            Projection::Whole => Extent::WHOLE,
            Projection::Around { ra, .. } => extent_around(&boxes, ra),
        };
        let room_width = f64::from(width) - 2.0 * SIDE;
        let (least, most) = paper(&boxes, extent, projection);
        let size = ((most.0 - least.0).max(1e-9), (most.1 - least.1).max(1e-9));
        let most_height = f64::from(width) * HIGHEST - TOP - BOTTOM;
        let scale = (room_width / size.0).min(most_height / size.1);
        let height = (TOP + BOTTOM + (size.1 * scale)).ceil() as u32;
        let mut picture = Self {
            table,
            measure,
            chunker,
            shades,
            net: Graticule::default(),
            width,
            height,
            is_whole: projection == Projection::Whole,
            projection,
            scale,
            middle: ((least.0 + most.0) / 2.0, (least.1 + most.1) / 2.0),
        };
        let (right, bottom) = (
            f64::from(width) - SIDE / 2.0,
            f64::from(height) - BOTTOM + 1.0,
        );
        let visible =
            |(x, y): Point| (SIDE * 0.8..=right).contains(&x) && (TOP - 1.0..=bottom).contains(&y);
        picture.net = Graticule::of(extent, |ra, dec| picture.pixel(ra, dec), visible);
        Ok(picture)
    }

    /// Returns the width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Returns the height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Returns the pixel of a position.
    pub(super) fn pixel(&self, ra: f64, dec: f64) -> Point {
        let (x, y) = self.projection.project(ra, dec);
        let middle = self.middle_pixel();
        (
            middle.0 + (x - self.middle.0) * self.scale,
            middle.1 - (y - self.middle.1) * self.scale,
        )
    }

    /// Returns the position at a pixel; nothing beyond the sky.
    pub(super) fn position(&self, (x, y): Point) -> Option<(f64, f64)> {
        let middle = self.middle_pixel();
        self.projection.unproject((
            self.middle.0 + (x - middle.0) / self.scale,
            self.middle.1 - (y - middle.1) / self.scale,
        ))
    }

    fn middle_pixel(&self) -> Point {
        let sky_height = f64::from(self.height) - TOP - BOTTOM;
        (f64::from(self.width) / 2.0, TOP + sky_height / 2.0)
    }

    /// Returns what stands above the picture: the table, and what it has in all.
    pub(super) fn title(&self) -> String {
        format!("{}: {}", self.table.name, self.totals())
    }

    /// Returns how the sky is divided.
    pub(super) fn subtitle(&self) -> String {
        let partitioning = self.table.partitioning;
        format!(
            "{} stripes of {} sub-stripes, overlap {}°",
            partitioning.stripes, partitioning.sub_stripes, partitioning.overlap
        )
    }

    /// Returns what the colours mean.
    pub(super) fn legend(&self) -> String {
        format!("{} per chunk", self.measure)
    }

    fn totals(&self) -> String {
        let with = self
            .table
            .chunks
            .values()
            .map(|load| self.measure.of(*load));
        let with = with.filter(|number| *number > 0);
        let count = with.clone().count() as u64;
        let chunks = if count == 1 { "chunk" } else { "chunks" };
        let sum = with.fold(0u64, u64::saturating_add);
        format!(
            "{} {} in {} {chunks}",
            grouped(sum),
            self.measure,
            grouped(count)
        )
    }

    /// Returns the outlines of all chunks that have something to show, by their numbers.
    pub(super) fn outlines(&self) -> impl Iterator<Item = Outline> + '_ {
        let chunks = self.table.chunks.iter();
        chunks.filter_map(|(chunk, load)| {
            let bounds = self.chunker.chunk_bounds(ChunkId(*chunk))?;
            (self.measure.of(*load) > 0).then(|| Outline {
                chunk: *chunk,
                load: *load,
                points: self.outline(bounds),
            })
        })
    }

    /// Returns the outline of a chunk, with as many points as its edges are bent.
    fn outline(&self, bounds: SphericalBox) -> Vec<Point> {
        let mut points = Vec::new();
        let (west, east) = (bounds.lon_min_deg, bounds.lon_max_deg);
        let (south, north) = (bounds.lat_min_deg, bounds.lat_max_deg);
        for (from, to) in [
            ((west, south), (east, south)),
            ((east, south), (east, north)),
            ((east, north), (west, north)),
            ((west, north), (west, south)),
        ] {
            let steps = self.steps(from, to);
            for step in 0..steps {
                let share = f64::from(step) / f64::from(steps);
                let ra = from.0 + (to.0 - from.0) * share;
                let dec = from.1 + (to.1 - from.1) * share;
                points.push(self.pixel(ra, dec));
            }
        }
        points
    }

    /// Returns into how many pieces an edge is cut: some pixels each, or more where it is far round.
    fn steps(&self, from: (f64, f64), to: (f64, f64)) -> u32 {
        let degrees = (to.0 - from.0).abs().max((to.1 - from.1).abs());
        let pixels = degrees.to_radians() * self.scale;
        (pixels / 12.0).ceil().clamp(1.0, 64.0) as u32
    }
}

fn corners(bounds: &SphericalBox) -> [(f64, f64); 4] {
    let (west, east) = (bounds.lon_min_deg, bounds.lon_max_deg);
    let (south, north) = (bounds.lat_min_deg, bounds.lat_max_deg);
    [(west, south), (east, south), (west, north), (east, north)]
}

/// Returns what some boxes cover, right ascensions counted from `ra` in the middle.
fn extent_around(boxes: &[SphericalBox], ra: f64) -> Extent {
    let (mut west, mut east) = (f64::INFINITY, f64::NEG_INFINITY);
    let (mut south, mut north) = (f64::INFINITY, f64::NEG_INFINITY);
    for bounds in boxes {
        let width = bounds.lon_max_deg - bounds.lon_min_deg;
        let middle = (bounds.lon_max_deg + bounds.lon_min_deg) / 2.0;
        let away = (middle - ra + 180.0).rem_euclid(360.0) - 180.0;
        west = west.min(ra + away - width / 2.0);
        east = east.max(ra + away + width / 2.0);
        south = south.min(bounds.lat_min_deg);
        north = north.max(bounds.lat_max_deg);
    }
    // Around a pole all right ascensions meet.
    if east - west >= 300.0 || south <= -90.0 || north >= 90.0 {
        (west, east) = (ra - 180.0, ra + 180.0);
    }
    Extent {
        ra: (west, east),
        dec: (south, north),
    }
}

/// Returns the least and the greatest coordinates on paper.
fn paper(boxes: &[SphericalBox], extent: Extent, projection: Projection) -> (Point, Point) {
    if projection == Projection::Whole {
        let (x, y) = (8f64.sqrt(), 2f64.sqrt());
        return ((-x, -y), (x, y));
    }
    let mut least = (f64::INFINITY, f64::INFINITY);
    let mut most = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    let mut add = |(x, y): Point| {
        least = (least.0.min(x), least.1.min(y));
        most = (most.0.max(x), most.1.max(y));
    };
    for bounds in boxes {
        for step in 0..=8 {
            let share = f64::from(step) / 8.0;
            let ra = bounds.lon_min_deg + (bounds.lon_max_deg - bounds.lon_min_deg) * share;
            add(projection.project(ra, bounds.lat_min_deg));
            add(projection.project(ra, bounds.lat_max_deg));
        }
    }
    // The place that is looked at, if it lies among the chunks.
    let (ra, dec) = projection.middle();
    if (extent.dec.0..=extent.dec.1).contains(&dec) {
        add(projection.project(ra, dec));
    }
    (least, most)
}

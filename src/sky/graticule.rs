//! The net of meridians and parallels, with its labels.

use super::projection::Point;

/// Distances of lines that people count in, in degrees.
const STEPS: [f64; 11] = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 45.0];
/// Lines in each direction, about.
const LINES: f64 = 6.0;
/// Points that make a line.
const POINTS: usize = 90;

/// What of the sky is shown, in degrees: right ascensions count from the middle, so they may be below 0
/// or above 360.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Extent {
    pub(super) ra: (f64, f64),
    pub(super) dec: (f64, f64),
}

impl Extent {
    /// All of the sky.
    pub(super) const WHOLE: Self = Self {
        ra: (0.0, 360.0),
        dec: (-90.0, 90.0),
    };
}

/// Where a label stands: its text goes below the point, or to the left of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Label {
    pub(super) at: Point,
    pub(super) is_below: bool,
    pub(super) text: String,
}

/// Lines and labels on paper.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Graticule {
    pub(super) lines: Vec<Vec<Point>>,
    pub(super) labels: Vec<Label>,
}

impl Graticule {
    /// Draws the net over an extent; `project` brings positions onto paper, and what is not
    /// `visible` there is left out.
    pub(super) fn of(
        extent: Extent,
        project: impl Fn(f64, f64) -> Point,
        visible: impl Fn(Point) -> bool,
    ) -> Self {
        let mut net = Self::default();
        let is_whole = extent == Extent::WHOLE;
        let (ra, dec) = (extent.ra, extent.dec);
        // Meridians come near each other towards the poles.
        let nearest = match dec.0 <= 0.0 && dec.1 >= 0.0 {
            true => 1.0,
            false => dec.0.abs().min(dec.1.abs()).to_radians().cos(),
        };
        let (ra_step, dec_step) = match is_whole {
            true => (30.0, 30.0),
            false => {
                let height = dec.1 - dec.0;
                let width = (ra.1 - ra.0).min(height / nearest.max(0.05) * 1.5);
                (step_for(width), step_for(height))
            }
        };
        let goes_around = ra.1 - ra.0 >= 360.0;
        for meridian in multiples(ra, ra_step) {
            if goes_around && meridian >= ra.1 {
                continue;
            }
            let line = line(dec, |dec| project(meridian, dec));
            let seen: Vec<Point> = line.iter().copied().filter(|at| visible(*at)).collect();
            // Labels stand away from the poles, where all meridians meet.
            let at = match is_whole {
                true if meridian <= ra.0 => None,
                true => Some(project(meridian, 0.0)),
                false if dec.0 <= -90.0 => seen.last().copied(),
                false => seen.first().copied(),
            };
            net.label(at, true, degrees(meridian.rem_euclid(360.0), ra_step));
            net.add(&line, &visible);
        }
        if is_whole {
            // The edge, where 0 and 360 meet.
            net.add(&line(dec, |dec| project(360.0, dec)), &visible);
        }
        for parallel in multiples(dec, dec_step) {
            if parallel.abs() >= 90.0 {
                continue;
            }
            let line = line(ra, |ra| project(ra, parallel));
            let seen = line.iter().copied().filter(|at| visible(*at));
            let leftmost = seen.min_by(|a, b| a.0.total_cmp(&b.0));
            net.label(leftmost, false, degrees(parallel, dec_step));
            net.add(&line, &visible);
        }
        net
    }

    fn label(&mut self, at: Option<Point>, is_below: bool, text: String) {
        self.labels
            .extend(at.map(|at| Label { at, is_below, text }));
    }

    /// Adds what of a line is visible.
    fn add(&mut self, line: &[Point], visible: impl Fn(Point) -> bool) {
        let parts = line.split(|at| !visible(*at));
        let parts = parts.filter(|part| part.len() > 1);
        self.lines.extend(parts.map(<[Point]>::to_vec));
    }
}

/// Returns a step that gives some lines over so many degrees.
fn step_for(degrees: f64) -> f64 {
    let wanted = degrees / LINES;
    let fitting = STEPS.iter().find(|step| **step >= wanted);
    fitting.copied().unwrap_or(45.0)
}

fn multiples((from, to): (f64, f64), step: f64) -> impl Iterator<Item = f64> {
    let first = (from / step - 1e-9).ceil() as i64;
    let last = (to / step + 1e-9).floor() as i64;
    (first..=last).map(move |number| number as f64 * step)
}

fn line((from, to): (f64, f64), at: impl Fn(f64) -> Point) -> Vec<Point> {
    let points = 0..=POINTS;
    points
        .map(|point| at(from + (to - from) * point as f64 / POINTS as f64))
        .collect()
}

fn degrees(number: f64, step: f64) -> String {
    let decimals = match step {
        _ if step >= 1.0 => 0,
        _ if step >= 0.1 => 1,
        _ => 2,
    };
    format!("{number:.decimals$}°")
}

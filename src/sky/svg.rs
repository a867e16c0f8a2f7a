//! The picture as SVG.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::picture::{BOTTOM, Outline, Picture, SIDE};
use super::projection::Point;
use super::shades::{Colour, Shades};
use crate::report::grouped;

/// Chunks above which outlines of one colour are joined and nothing is said of single ones: browsers
/// become slow with more.
const MANY_CHUNKS: usize = 20_000;
/// Height of the bar of colours.
pub(super) const BAR_HEIGHT: f64 = 14.0;
/// Pieces of the bar.
const BAR_PIECES: u32 = 64;

impl Picture {
    /// Draws it as SVG.
    pub fn svg(&self) -> String {
        let (width, height) = (self.width, self.height);
        let mut svg = String::new();
        let _ = writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">"
        );
        let _ = writeln!(svg, "<title>{}</title>", escaped(&self.title()));
        let _ = writeln!(
            svg,
            "<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>"
        );
        text(
            &mut svg,
            (f64::from(width) / 2.0, 26.0),
            "middle",
            18,
            &self.title(),
        );
        text(
            &mut svg,
            (f64::from(width) / 2.0, 45.0),
            "middle",
            13,
            &self.subtitle(),
        );
        if self.is_whole {
            let edge = self.edge();
            let _ = writeln!(svg, "<path fill=\"#f3f3f3\" d=\"{}\"/>", path(&edge));
        }
        self.draw_chunks(&mut svg);
        let _ = writeln!(
            svg,
            "<g fill=\"none\" stroke=\"#000\" stroke-opacity=\".3\" stroke-width=\".6\">"
        );
        for line in &self.net.lines {
            let _ = writeln!(svg, "<path d=\"{}\"/>", open_path(line));
        }
        svg.push_str(
            "</g>\n<g fill=\"#333\" stroke=\"#fff\" stroke-width=\"3\" stroke-opacity=\".75\" \
             paint-order=\"stroke\">\n",
        );
        for label in &self.net.labels {
            let (x, y) = label.at;
            let (at, anchor) = match label.is_below {
                true => ((x, y + 14.0), "middle"),
                false => ((x - 5.0, y + 4.0), "end"),
            };
            text(&mut svg, at, anchor, 11, &label.text);
        }
        svg.push_str("</g>\n");
        self.draw_legend(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    fn draw_chunks(&self, svg: &mut String) {
        svg.push_str("<g stroke=\"#fff\" stroke-width=\".4\" stroke-opacity=\".6\">\n");
        if self.table.chunks.len() > MANY_CHUNKS {
            let mut joined: BTreeMap<Colour, String> = BTreeMap::new();
            for outline in self.outlines() {
                let colour = self.shades.colour(self.measure.of(outline.load));
                joined
                    .entry(colour)
                    .or_default()
                    .push_str(&path(&outline.points));
            }
            for (colour, path) in joined {
                let _ = writeln!(svg, "<path fill=\"{}\" d=\"{path}\"/>", hex(colour));
            }
        } else {
            for outline in self.outlines() {
                let colour = self.shades.colour(self.measure.of(outline.load));
                let _ = writeln!(
                    svg,
                    "<path fill=\"{}\" d=\"{}\"><title>{}</title></path>",
                    hex(colour),
                    path(&outline.points),
                    told(&outline)
                );
            }
        }
        svg.push_str("</g>\n");
    }

    /// Returns the edge of the whole sky.
    fn edge(&self) -> Vec<Point> {
        let along = |ra: f64, dec: f64| self.pixel(ra, dec);
        let up = (-90..=90).map(|dec| along(0.0, f64::from(dec)));
        let down = (-90..=90).rev().map(|dec| along(360.0, f64::from(dec)));
        up.chain(down).collect()
    }

    fn draw_legend(&self, svg: &mut String) {
        let bar = self.bar();
        let piece = bar.width / f64::from(BAR_PIECES);
        for number in 0..BAR_PIECES {
            let share = (f64::from(number) + 0.5) / f64::from(BAR_PIECES);
            let _ = writeln!(
                svg,
                "<rect x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{BAR_HEIGHT}\" fill=\"{}\"/>",
                bar.x + piece * f64::from(number),
                bar.y,
                piece + 0.3,
                hex(Shades::at(share))
            );
        }
        for (x, label) in self.ticks() {
            text(svg, (x, bar.y + BAR_HEIGHT + 15.0), "middle", 12, &label);
        }
        let middle = f64::from(self.width) / 2.0;
        text(
            svg,
            (middle, bar.y + BAR_HEIGHT + 33.0),
            "middle",
            12,
            &self.legend(),
        );
    }

    /// Returns where the bar of colours is.
    pub(super) fn bar(&self) -> Bar {
        let width = (f64::from(self.width) * 0.5).min(f64::from(self.width) - 2.0 * SIDE);
        Bar {
            x: (f64::from(self.width) - width) / 2.0,
            y: f64::from(self.height) - BOTTOM + 24.0,
            width,
        }
    }

    /// Returns the labels of the bar of colours and where they stand.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let bar = self.bar();
        let shades = self.shades;
        if shades.least == shades.most {
            return vec![(bar.x + bar.width / 2.0, grouped(shades.most))];
        }
        let mut ticks: Vec<(f64, String)> = Vec::new();
        for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
            let label = grouped(shades.number_at(share));
            if ticks.iter().all(|(_, known)| *known != label) {
                ticks.push((bar.x + bar.width * share, label));
            }
        }
        ticks
    }
}

/// Where the bar of colours is, in pixels.
pub(super) struct Bar {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
}

/// Returns what is said of a chunk where one points at it.
fn told(outline: &Outline) -> String {
    format!(
        "chunk {}: {} rows, {} overlap rows, {} bytes",
        outline.chunk,
        grouped(outline.load.rows),
        grouped(outline.load.overlap_rows),
        grouped(outline.load.bytes)
    )
}

fn text(svg: &mut String, (x, y): Point, anchor: &str, size: u32, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{}</text>",
        escaped(text)
    );
}

fn path(points: &[Point]) -> String {
    let mut path = open_path(points);
    path.push('Z');
    path
}

fn open_path(points: &[Point]) -> String {
    let mut path = String::with_capacity(points.len() * 12);
    for (number, (x, y)) in points.iter().enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if number == 0 { 'M' } else { 'L' });
    }
    path
}

fn hex([red, green, blue]: Colour) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Writes text as XML and HTML take it.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            // XML has no way to write them.
            control if control.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            other => escaped.push(other),
        }
    }
    escaped
}

//! The picture as PNG: each pixel asks which chunk it lies in.

use font8x8::{BASIC_FONTS, LATIN_FONTS, UnicodeFonts};
use png::{BitDepth, ColorType, Encoder, EncodingError};
use rayon::prelude::*;

use super::picture::{BOTTOM, Picture, TOP};
use super::projection::Point;
use super::shades::{Colour, Shades};
use super::svg::BAR_HEIGHT;
use crate::error::{Error, Result};
use crate::partition::geometry::ChunkId;

/// Places within a pixel that are asked for, in each direction.
const SAMPLES: u32 = 2;
/// Pixels of a letter that is not enlarged.
const LETTER: i64 = 8;
const PAPER: Colour = [255; 3];
const EMPTY: Colour = [243; 3];
const INK: Colour = [40; 3];
/// How much of a line's ink covers what is below.
const LINE_INK: f64 = 0.3;
/// How much of the paper shines through behind labels.
const HALO: f64 = 0.6;

impl Picture {
    /// Returns the bytes of memory that the image takes while it is drawn.
    pub fn png_memory(&self) -> u64 {
        // The pixels, and about as much again for what is encoded, and a number for each chunk.
        let pixels = u64::from(self.width) * u64::from(self.height) * 3;
        2 * pixels + 8 * u64::from(self.chunker.chunk_count())
    }

    /// Draws it as PNG.
    ///
    /// # Errors
    /// It can't be encoded, which is a fault of skyprep.
    pub fn png(&self) -> Result<Vec<u8>> {
        let mut canvas = self.canvas();
        for line in &self.net.lines {
            for pair in line.windows(2) {
                canvas.line(pair[0], pair[1]);
            }
        }
        for label in &self.net.labels {
            let (x, y) = label.at;
            let (at, align) = match label.is_below {
                true => ((x, y + 5.0), Align::Middle),
                false => ((x - 5.0, y - 4.0), Align::Right),
            };
            canvas.halo(at, align, &label.text);
            canvas.text(at, align, 1, &label.text);
        }
        let middle = f64::from(self.width) / 2.0;
        let title = self.title();
        let room = f64::from(self.width) - 8.0;
        let is_long = title.chars().count() as f64 * 2.0 * LETTER as f64 > room;
        canvas.text(
            (middle, 10.0),
            Align::Middle,
            if is_long { 1 } else { 2 },
            &title,
        );
        canvas.text((middle, 34.0), Align::Middle, 1, &self.subtitle());
        self.draw_bar(&mut canvas);
        let encoded = canvas.encode();
        encoded.map_err(|error| Error::of_ours(format!("the picture can't be encoded: {error}")))
    }

    /// Colours the sky.
    fn canvas(&self) -> Canvas {
        let width = self.width as usize;
        let numbers = self.numbers();
        let mut pixels = vec![PAPER; width * self.height as usize];
        pixels
            .par_chunks_mut(width.max(1))
            .enumerate()
            .for_each(|(y, row)| {
                let is_sky =
                    (TOP - 1.0..=f64::from(self.height) - BOTTOM + 1.0).contains(&(y as f64));
                if is_sky {
                    for (x, pixel) in row.iter_mut().enumerate() {
                        *pixel = self.colour_at(x as f64, y as f64, &numbers);
                    }
                }
            });
        Canvas {
            width: self.width,
            height: self.height,
            pixels,
        }
    }

    /// Returns the number of each chunk, by its place among all chunks.
    fn numbers(&self) -> Vec<u64> {
        let count = self.chunker.chunk_count() as usize;
        let mut numbers = vec![0; count];
        for (chunk, load) in &self.table.chunks {
            if let Some(at) = self.chunker.dense_index(ChunkId(*chunk)) {
                numbers[at as usize] = self.measure.of(*load);
            }
        }
        numbers
    }

    /// Returns the mean colour within a pixel.
    fn colour_at(&self, x: f64, y: f64, numbers: &[u64]) -> Colour {
        let mut sum = [0u32; 3];
        for sample in 0..SAMPLES * SAMPLES {
            let within = |step: u32| (f64::from(step) + 0.5) / f64::from(SAMPLES);
            let at = (x + within(sample % SAMPLES), y + within(sample / SAMPLES));
            let colour = match self.position(at) {
                None => PAPER,
                Some((ra, dec)) => {
                    let chunk = self.chunker.cell_at(ra, dec).dense_chunk();
                    match numbers.get(chunk as usize) {
                        Some(0) | None if self.is_whole => EMPTY,
                        Some(0) | None => PAPER,
                        Some(number) => self.shades.colour(*number),
                    }
                }
            };
            for (sum, part) in sum.iter_mut().zip(colour) {
                *sum += u32::from(part);
            }
        }
        sum.map(|part| (part / (SAMPLES * SAMPLES)) as u8)
    }

    fn draw_bar(&self, canvas: &mut Canvas) {
        let bar = self.bar();
        let (left, top) = (bar.x.round() as i64, bar.y.round() as i64);
        let width = bar.width.round() as i64;
        for x in 0..width {
            let colour = Shades::at((x as f64 + 0.5) / width as f64);
            for y in 0..BAR_HEIGHT as i64 {
                canvas.put(left + x, top + y, colour, 1.0);
            }
        }
        for (x, label) in self.ticks() {
            canvas.text((x, bar.y + BAR_HEIGHT + 6.0), Align::Middle, 1, &label);
        }
        let middle = f64::from(self.width) / 2.0;
        let below = bar.y + BAR_HEIGHT + 24.0;
        canvas.text((middle, below), Align::Middle, 1, &self.legend());
    }
}

/// How text lies to the point that it is written at.
#[derive(Clone, Copy)]
enum Align {
    Middle,
    /// The point is at its right end.
    Right,
}

/// Returns the left end and the width of a text.
fn place_of(x: f64, align: Align, size: i64, text: &str) -> (i64, i64) {
    let width = text.chars().count() as i64 * LETTER * size;
    let left = match align {
        Align::Middle => x.round() as i64 - width / 2,
        Align::Right => x.round() as i64 - width,
    };
    (left, width)
}

struct Canvas {
    width: u32,
    height: u32,
    pixels: Vec<Colour>,
}

impl Canvas {
    /// Lays a colour over a pixel, if it lies on paper.
    fn put(&mut self, x: i64, y: i64, colour: Colour, share: f64) {
        let is_there =
            (0..i64::from(self.width)).contains(&x) && (0..i64::from(self.height)).contains(&y);
        if !is_there {
            return;
        }
        let pixel = &mut self.pixels[(y * i64::from(self.width) + x) as usize];
        for (part, ink) in pixel.iter_mut().zip(colour) {
            *part = (f64::from(*part) * (1.0 - share) + f64::from(ink) * share).round() as u8;
        }
    }

    /// Draws a line that is a pixel wide, without the point at its end.
    fn line(&mut self, from: Point, to: Point) {
        let length = (to.0 - from.0).abs().max((to.1 - from.1).abs());
        let steps = length.round().clamp(1.0, 16_384.0) as u32;
        for step in 0..steps {
            let share = f64::from(step) / f64::from(steps);
            let x = from.0 + (to.0 - from.0) * share;
            let y = from.1 + (to.1 - from.1) * share;
            self.put(x.floor() as i64, y.floor() as i64, [0; 3], LINE_INK);
        }
    }

    /// Lightens what will be behind and around a text of the usual size.
    fn halo(&mut self, (x, y): Point, align: Align, text: &str) {
        let (left, width) = place_of(x, align, 1, text);
        for row in -2..LETTER + 2 {
            for column in -2..width + 2 {
                self.put(left + column, y.round() as i64 + row, PAPER, HALO);
            }
        }
    }

    /// Writes text, with its top at the point.
    fn text(&mut self, (x, y): Point, align: Align, size: i64, text: &str) {
        let (left, _) = place_of(x, align, size, text);
        for (number, character) in text.chars().enumerate() {
            let glyph = BASIC_FONTS
                .get(character)
                .or_else(|| LATIN_FONTS.get(character));
            let Some(glyph) = glyph.or_else(|| BASIC_FONTS.get('?')) else {
                continue;
            };
            let left = left + number as i64 * LETTER * size;
            for (row, bits) in glyph.iter().enumerate() {
                for column in 0..LETTER {
                    if bits & (1 << column) == 0 {
                        continue;
                    }
                    for part in 0..size * size {
                        let x = left + column * size + part % size;
                        let y = y.round() as i64 + row as i64 * size + part / size;
                        self.put(x, y, INK, 1.0);
                    }
                }
            }
        }
    }

    fn encode(&self) -> Result<Vec<u8>, EncodingError> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, self.width, self.height);
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(self.pixels.as_flattened())?;
        writer.finish()?;
        Ok(bytes)
    }
}

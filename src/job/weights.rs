//! How much data each chunk may get, as far as footers tell, so that reduce tasks get equal shares.
//!
//! Each input says in which box of the sky its rows lie. Its bytes are spread evenly over that box on
//! a grid of the sky; what a chunk weighs is what lies under its own box. All inputs together cost one
//! pass over the grid, however many they are.

use std::ops::Range;

use crate::partition::geometry::Chunker;

const COLUMNS: usize = 720;
const ROWS: usize = 360;

/// Bytes per cell of a grid over the sky.
#[derive(Debug, Clone)]
pub(super) struct SkyWeights {
    /// Differences: what a cell has more than its neighbours, so that a box costs four changes.
    cells: Vec<f64>,
    /// Bytes that may lie anywhere.
    anywhere: f64,
}

impl Default for SkyWeights {
    fn default() -> Self {
        Self {
            cells: vec![0.0; (COLUMNS + 1) * (ROWS + 1)],
            anywhere: 0.0,
        }
    }
}

fn column_of(ra_deg: f64) -> f64 {
    ra_deg / 360.0 * COLUMNS as f64
}

/// Declinations are spaced by their sine, so that all cells have the same area.
fn row_of(dec_deg: f64) -> f64 {
    (dec_deg.to_radians().sin() + 1.0) / 2.0 * ROWS as f64
}

impl SkyWeights {
    /// Adds an input of so many bytes whose rows lie in a box: least and greatest right ascension,
    /// least and greatest declination, in degrees; or anywhere.
    pub(super) fn add(&mut self, bytes: u64, sky: Option<[f64; 4]>) {
        let bytes = bytes as f64;
        let is_box = |sky: &[f64; 4]| sky.iter().all(|number| number.is_finite());
        let Some([ra_min, ra_max, dec_min, dec_max]) = sky.filter(is_box) else {
            self.anywhere += bytes;
            return;
        };
        let is_wide = ra_max - ra_min >= 360.0 || ra_min < 0.0 || ra_max > 360.0;
        let (left, right) = match is_wide {
            true => (0, COLUMNS),
            false => cells_of(column_of(ra_min), column_of(ra_max), COLUMNS),
        };
        let dec = |dec: f64| dec.clamp(-90.0, 90.0);
        let (low, high) = cells_of(row_of(dec(dec_min)), row_of(dec(dec_max)), ROWS);
        let each = bytes / ((right - left) * (high - low)) as f64;
        let mut change = |row: usize, column: usize, by: f64| {
            self.cells[row * (COLUMNS + 1) + column] += by;
        };
        change(low, left, each);
        change(low, right, -each);
        change(high, left, -each);
        change(high, right, each);
    }

    /// Returns the weight of each chunk in order of chunk numbers; none weighs nothing.
    pub(super) fn of_chunks(&self, chunker: &Chunker) -> Vec<f64> {
        let sums = self.sums();
        let total = ROWS as f64 * COLUMNS as f64;
        let under = |row: f64, column: f64| {
            // Between the corners of the grid sums are linear in both directions.
            let (y, x) = (
                row.floor().min(ROWS as f64),
                column.floor().min(COLUMNS as f64),
            );
            let (fy, fx) = (row - y, column - x);
            let at = |y: f64, x: f64| {
                let (y, x) = ((y as usize).min(ROWS), (x as usize).min(COLUMNS));
                sums[y * (COLUMNS + 1) + x]
            };
            let low = at(y, x) * (1.0 - fx) + at(y, x + 1.0) * fx;
            let high = at(y + 1.0, x) * (1.0 - fx) + at(y + 1.0, x + 1.0) * fx;
            low * (1.0 - fy) + high * fy
        };
        let chunks = chunker.chunks();
        chunks
            .map(|chunk| {
                let Some(bounds) = chunker.chunk_bounds(chunk) else {
                    return f64::MIN_POSITIVE;
                };
                let (left, right) = (column_of(bounds.lon_min_deg), column_of(bounds.lon_max_deg));
                let (low, high) = (row_of(bounds.lat_min_deg), row_of(bounds.lat_max_deg));
                let own =
                    under(high, right) - under(high, left) - under(low, right) + under(low, left);
                let area = (right - left) * (high - low) / total;
                own.max(0.0) + self.anywhere * area + f64::MIN_POSITIVE
            })
            .collect()
    }

    /// Returns the bytes of all cells below and left of each corner of the grid.
    fn sums(&self) -> Vec<f64> {
        let width = COLUMNS + 1;
        let mut cells = self.cells.clone();
        // Differences become bytes,
        for row in 0..=ROWS {
            for column in 0..=COLUMNS {
                let left = if column > 0 {
                    cells[row * width + column - 1]
                } else {
                    0.0
                };
                let below = if row > 0 {
                    cells[(row - 1) * width + column]
                } else {
                    0.0
                };
                let both = match (row, column) {
                    (0, _) | (_, 0) => 0.0,
                    _ => cells[(row - 1) * width + column - 1],
                };
                cells[row * width + column] += left + below - both;
            }
        }
        // and bytes become sums.
        let mut sums = vec![0.0; width * (ROWS + 1)];
        for row in 1..=ROWS {
            for column in 1..=COLUMNS {
                sums[row * width + column] = cells[(row - 1) * width + column - 1]
                    + sums[(row - 1) * width + column]
                    + sums[row * width + column - 1]
                    - sums[(row - 1) * width + column - 1];
            }
        }
        sums
    }
}

/// Returns the cells from `from` to `to`: at least one.
fn cells_of(from: f64, to: f64, most: usize) -> (usize, usize) {
    let first = (from.max(0.0) as usize).min(most - 1);
    let end = (to.max(0.0).ceil() as usize).clamp(first + 1, most);
    (first, end)
}

/// Cuts chunks in their order into at most `tasks` ranges of about the same weight.
pub(super) fn cut(weights: &[f64], tasks: u32) -> Vec<Range<u32>> {
    let total: f64 = weights.iter().sum();
    let tasks = (tasks.max(1) as usize).min(weights.len());
    let mut ranges = Vec::with_capacity(tasks);
    let (mut first, mut before) = (0, 0.0);
    for (at, weight) in weights.iter().enumerate() {
        let left = weights.len() - at;
        let open = tasks - ranges.len();
        let border = total * (ranges.len() + 1) as f64 / tasks as f64;
        let is_full = at > first && before + weight / 2.0 > border;
        if open > 1 && at > first && (is_full || left < open) {
            ranges.push(first as u32..at as u32);
            first = at;
        }
        before += weight;
    }
    if first < weights.len() {
        ranges.push(first as u32..weights.len() as u32);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_lie_in_chunks_near_their_box() {
        let chunker = Chunker::new(18, 10, 0.01).unwrap();
        let mut weights = SkyWeights::default();
        weights.add(1000, Some([100.0, 110.0, -5.0, 5.0]));
        let of_chunks = weights.of_chunks(&chunker);
        let sum: f64 = of_chunks.iter().sum();
        assert!((sum - 1000.0).abs() < 1.0, "{sum}");
        for (chunk, weight) in chunker.chunks().zip(&of_chunks) {
            let bounds = chunker.chunk_bounds(chunk).unwrap();
            let is_near = bounds.lon_min_deg < 111.0
                && bounds.lon_max_deg > 99.0
                && bounds.lat_min_deg < 6.0
                && bounds.lat_max_deg > -6.0;
            assert!(is_near || *weight < 1e-6, "{chunk:?} {weight}");
        }
        weights.add(500, None);
        weights.add(500, Some([-10.0, 10.0, -90.0, 90.0]));
        let sum: f64 = weights.of_chunks(&chunker).iter().sum();
        assert!((sum - 2000.0).abs() < 2.0, "{sum}");
    }

    #[test]
    fn ranges_hold_all_chunks_and_about_equal_weights() {
        let weights: Vec<f64> = (0..1000).map(|at| 1.0 + f64::from(at % 10)).collect();
        for tasks in [1, 2, 7, 300, 1000, 5000] {
            let ranges = cut(&weights, tasks);
            assert_eq!(ranges.len(), (tasks as usize).min(1000), "{tasks}");
            assert_eq!(ranges[0].start, 0);
            assert_eq!(ranges[ranges.len() - 1].end, 1000);
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
            if tasks <= 7 {
                let weight = |range: &Range<u32>| -> f64 {
                    weights[range.start as usize..range.end as usize]
                        .iter()
                        .sum()
                };
                let most = ranges.iter().map(weight).fold(0.0, f64::max);
                assert!(most < 5500.0 / f64::from(tasks) + 11.0);
            }
        }
        // One chunk that outweighs all others is a task of its own.
        let mut skewed = vec![1.0; 100];
        skewed[50] = 1e6;
        assert!(cut(&skewed, 4).contains(&(50..51)));
        assert!(cut(&[], 4).is_empty());
    }
}

//! The table of chunks that sph-layout prints.

use std::collections::HashMap;
use std::fmt::Write;

use super::general::general;
use crate::error::{Error, Result};
use crate::partition::Partitioning;
use crate::partition::geometry::{ChunkId, Chunker, SphericalBox};

const HEAD: &str = concat!(
    "\n",
    "        |        RA [degree]          |      DECL [degree]          ",
    "|              |            \n",
    "     id |--------------+--------------+--------------+--------------",
    "|    Area [sr] |     Worker \n",
    "        |          Min |          Max |          Min |          Max ",
    "|              |            \n",
    " -------+--------------+--------------+--------------+--------------",
    "+--------------+------------\n",
);

/// Which chunks a table shows; numbers that the layout passes over are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkChoice {
    /// These, in this order.
    Named(Vec<i64>),
    /// Those from the first number to the last.
    Range(i64, i64),
}

/// What a table shows.
#[derive(Debug, Clone)]
pub struct LayoutOptions {
    /// The division of the sky.
    pub partitioning: Partitioning,
    /// Which chunks.
    pub chunks: ChunkChoice,
    /// Lines of chunk and worker, if there is such a file.
    pub workers: Option<String>,
    /// Whether the configuration comes first.
    pub is_verbose: bool,
}

/// Returns the table.
///
/// # Errors
/// There is no such division of the sky, a chunk is named that lies outside it, or a line of
/// `workers` is not a chunk and a worker.
///
/// # Examples
/// ```
/// use skyprep::partition::Partitioning;
/// use skyprep::sph::{ChunkChoice, LayoutOptions, layout_table};
///
/// let table = layout_table(&LayoutOptions {
///     partitioning: Partitioning { stripes: 18, sub_stripes: 10, overlap: 0.01 },
///     chunks: ChunkChoice::Named(vec![37]),
///     workers: None,
///     is_verbose: false,
/// })?;
/// assert!(table.contains("     37 |       72.000 |      144.000 |      -80.000 |      -70.000 |"));
/// # Ok::<(), skyprep::error::Error>(())
/// ```
pub fn layout_table(options: &LayoutOptions) -> Result<String> {
    let chunker = options.partitioning.chunker()?;
    let workers = workers(options.workers.as_deref().unwrap_or_default())?;
    let mut table = String::new();
    if options.is_verbose {
        table.push_str(&configuration(options.partitioning, workers.len()));
    }
    table.push_str(HEAD);
    let named: Vec<ChunkId> = match &options.chunks {
        ChunkChoice::Named(numbers) => numbers
            .iter()
            .map(|number| named(&chunker, *number))
            .collect::<Result<_>>()?,
        ChunkChoice::Range(first, last) => {
            let range = i64::from(i32::MIN).max(*first)..=*last;
            let chunks = chunker.chunks();
            chunks
                .filter(|chunk| range.contains(&i64::from(chunk.0)))
                .collect()
        }
    };
    for chunk in named {
        if let Some(bounds) = chunker.chunk_bounds(chunk) {
            let worker = workers
                .get(&i64::from(chunk.0))
                .copied()
                .unwrap_or_default();
            table.push_str(&row(chunk, bounds, worker));
        }
    }
    table.push('\n');
    Ok(table)
}

/// Refuses a number that no stripe can have.
fn named(chunker: &Chunker, number: i64) -> Result<ChunkId> {
    let stripes = i64::from(chunker.stripes());
    let end = 2 * stripes * stripes;
    let chunk = i32::try_from(number)
        .ok()
        .filter(|_| (0..end).contains(&number));
    chunk.map(ChunkId).ok_or_else(|| {
        let last = end - 1;
        Error::usage(format!(
            "chunk is {number}, expected 0 to {last} with {stripes} stripes"
        ))
        .hint("check --part.num-stripes")
    })
}

fn configuration(partitioning: Partitioning, workers: usize) -> String {
    format!(
        "\n** Configuration **\n\n  part.num-stripes:     {}\n  part.num-sub-stripes: {}\n  \
         part.overlap:         {}\n\n  chunk2worker size: {workers}\n",
        partitioning.stripes,
        partitioning.sub_stripes,
        general(partitioning.overlap, 6),
    )
}

fn row(chunk: ChunkId, bounds: SphericalBox, worker: &str) -> String {
    let is_around = bounds.lon_max_deg - bounds.lon_min_deg >= 360.0;
    // Elsewhere the tool takes longitudes modulo 360.
    let lon_max_deg = match bounds.lon_max_deg >= 360.0 && !is_around {
        true => bounds.lon_max_deg - 360.0,
        false => bounds.lon_max_deg,
    };
    let (south, north) = (
        bounds.lat_min_deg.to_radians(),
        bounds.lat_max_deg.to_radians(),
    );
    let width = (bounds.lon_max_deg - bounds.lon_min_deg).to_radians();
    let area = width * (north.sin() - south.sin());
    let mut row = format!("{chunk:>7}", chunk = chunk.0);
    for degrees in [
        bounds.lon_min_deg,
        lon_max_deg,
        bounds.lat_min_deg,
        bounds.lat_max_deg,
    ] {
        // Writing to a String can't fail.
        let _ = write!(row, " | {degrees:>12.3}");
    }
    let _ = writeln!(row, " | {area:>12.6} | {worker:>10}");
    row
}

/// Reads lines of chunk and worker.
fn workers(text: &str) -> Result<HashMap<i64, &str>> {
    let mut workers = HashMap::new();
    for (line, number) in text.lines().zip(1..) {
        let mut words = line.split_whitespace();
        let (chunk, worker, more) = (words.next(), words.next(), words.next());
        match (chunk.map(str::parse), worker, more) {
            (None, ..) => {}
            (Some(Ok(chunk)), Some(worker), None) => {
                workers.insert(chunk, worker);
            }
            _ => {
                let line = crate::error::quote_value(line.as_bytes());
                return Err(Error::usage(format!(
                    "line {number} is {line}, expected a chunk and a worker"
                )));
            }
        }
    }
    Ok(workers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(chunks: ChunkChoice, workers: Option<&str>) -> Result<String> {
        layout_table(&LayoutOptions {
            partitioning: Partitioning {
                stripes: 18,
                sub_stripes: 10,
                overlap: 0.01,
            },
            chunks,
            workers: workers.map(str::to_owned),
            is_verbose: false,
        })
    }

    #[test]
    fn chunks_come_as_they_are_named() {
        let table = table(
            ChunkChoice::Named(vec![40, 1, 0, 40]),
            Some("0 w0\n\n40\twest\n"),
        );
        let table = table.unwrap();
        let rows: Vec<&str> = table.lines().skip(5).collect();
        let west = "     40 |      288.000 |        0.000 |      -80.000 |      -70.000 |     \
                    0.056693 |       west";
        let pole = "      0 |        0.000 |      360.000 |      -90.000 |      -80.000 |     \
                    0.095456 |         w0";
        assert_eq!(rows, [west, pole, west, ""]);
    }

    #[test]
    fn what_lies_outside_is_refused() {
        for number in [-1, 648, i64::MAX] {
            let error = table(ChunkChoice::Named(vec![number]), None).unwrap_err();
            assert!(error.to_string().contains("expected 0 to 647"), "{error}");
        }
        let all = table(ChunkChoice::Range(i64::MIN, i64::MAX), None).unwrap();
        assert_eq!(all.lines().count(), 374);
        let error = table(ChunkChoice::Range(0, 1), Some("0 w\nx y\n")).unwrap_err();
        assert!(error.to_string().contains("line 2 is \"x y\""), "{error}");
    }
}

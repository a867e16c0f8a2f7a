//! The JSON that sph-partition prints with `--verbose`: how rows spread over chunks.
//!
//! Byte for byte what the C++ tools print, but for one thing: they print `nan` where a number has
//! no meaning, which is not JSON; here it is `null`.

use std::collections::BTreeMap;

use super::general::general;

/// Significant digits of what is not a whole number.
const DIGITS: usize = 3;

/// Rows of one sub-chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubChunkRows {
    /// Number of the chunk.
    pub chunk: i32,
    /// Number of the sub-chunk.
    pub sub_chunk: i32,
    /// Rows without overlap rows.
    pub rows: u64,
    /// Overlap rows.
    pub overlap_rows: u64,
}

/// How much of the statistics is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatisticsForm {
    /// How rows are spread, and each chunk's.
    Whole,
    /// How rows are spread.
    Spreads,
}

impl StatisticsForm {
    /// Returns the form that the tools print, verbose or not.
    pub fn of(is_verbose: bool) -> Self {
        match is_verbose {
            true => Self::Whole,
            false => Self::Spreads,
        }
    }
}

/// Returns the JSON, with a line end, for rows of sub-chunks in any order; those of the same
/// sub-chunk are added up.
pub fn statistics_json(
    rows: impl IntoIterator<Item = SubChunkRows>,
    form: StatisticsForm,
) -> String {
    let mut chunks: BTreeMap<i32, (u64, u64)> = BTreeMap::new();
    let mut sub_chunks: BTreeMap<(i32, i32), (u64, u64)> = BTreeMap::new();
    for row in rows {
        let both = [
            chunks.entry(row.chunk).or_default(),
            sub_chunks.entry((row.chunk, row.sub_chunk)).or_default(),
        ];
        for (own, overlap) in both {
            *own = u64::saturating_add(*own, row.rows);
            *overlap = u64::saturating_add(*overlap, row.overlap_rows);
        }
    }
    let mut text = String::from("{\n");
    let own = |count: &(u64, u64)| count.0;
    let overlap = |count: &(u64, u64)| count.1;
    let spreads = [
        ("chunkStats", chunks.values().map(own).collect()),
        ("overlapChunkStats", chunks.values().map(overlap).collect()),
        ("subChunkStats", sub_chunks.values().map(own).collect()),
        (
            "overlapSubChunkStats",
            sub_chunks.values().map(overlap).collect(),
        ),
    ];
    for (name, counts) in spreads {
        text.push_str(&Spread::of(counts).json(name));
    }
    if form == StatisticsForm::Spreads {
        text.truncate(text.trim_end_matches([',', '\n']).len());
        text.push_str("\n}\n");
        return text;
    }
    let chunks: Vec<String> = chunks
        .iter()
        .map(|(id, (own, overlap))| {
            format!("\t\t{{\"id\":  {id:5}, \"nrec\": [{own}, {overlap}]}}")
        })
        .collect();
    text.push_str(&format!(
        "\t\"chunks\": [\n{}\n\t]\n}}\n",
        chunks.join(",\n")
    ));
    text
}

/// How counts are spread.
struct Spread {
    counts: Vec<u64>,
    total: u64,
    mean: f64,
    sigma: f64,
    skewness: f64,
    kurtosis: f64,
}

impl Spread {
    fn of(mut counts: Vec<u64>) -> Self {
        counts.sort_unstable();
        let total = counts.iter().copied().fold(0, u64::saturating_add);
        let number = counts.len() as f64;
        let mean = total as f64 / number;
        let moment = |power: i32| {
            let terms = counts
                .iter()
                .map(|count| (*count as f64 - mean).powi(power));
            terms.sum::<f64>() / number
        };
        let sigma = moment(2).sqrt();
        let (skewness, kurtosis) = (moment(3) / sigma.powi(3), moment(4) / sigma.powi(4) - 3.0);
        Self {
            counts,
            total,
            mean,
            sigma,
            skewness,
            kurtosis,
        }
    }

    fn json(&self, name: &str) -> String {
        let number = |value: f64| match value.is_finite() {
            true => general(value, DIGITS),
            false => "null".to_owned(),
        };
        let at = |index: usize| self.counts.get(index).copied().unwrap_or_default();
        let last = self.counts.len().saturating_sub(1);
        let part = |share: f64| {
            // Both are small enough to be exact.
            let index = (share * self.counts.len() as f64 + 0.5).floor() as usize;
            at(index.min(last))
        };
        let fields = [
            ("nrec", self.total.to_string()),
            ("n", self.counts.len().to_string()),
            ("min", at(0).to_string()),
            ("max", at(last).to_string()),
            (
                "quartile",
                format!("[{}, {}, {}]", part(0.25), part(0.5), part(0.75)),
            ),
            ("mean", number(self.mean)),
            ("sigma", number(self.sigma)),
            ("skewness", number(self.skewness)),
            ("kurtosis", number(self.kurtosis)),
        ];
        let fields = fields.map(|(key, value)| {
            // The bracket of the list stands where other values have their first blank.
            let width = if value.starts_with('[') { 12 } else { 13 };
            format!("\t\t{:width$}{value}", format!("\"{key}\": "))
        });
        format!("\t\"{name}\": {{\n{}\n\t}},\n", fields.join(",\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sub_chunk(chunk: i32, sub_chunk: i32, rows: u64, overlap_rows: u64) -> SubChunkRows {
        SubChunkRows {
            chunk,
            sub_chunk,
            rows,
            overlap_rows,
        }
    }

    #[test]
    fn it_is_json_whatever_there_is() {
        for rows in [
            vec![],
            vec![sub_chunk(-7, 1, 5, 0)],
            vec![sub_chunk(3, 1, 5, 0), sub_chunk(1234567, 2, 0, 9)],
        ] {
            let text = statistics_json(rows.clone(), StatisticsForm::Whole);
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(
                json["chunks"].as_array().unwrap().len(),
                rows.len(),
                "{text}"
            );
        }
    }

    #[test]
    fn sub_chunks_of_one_number_are_added_up() {
        let once = [sub_chunk(2, 7, 3, 1), sub_chunk(1, 7, 2, 9)];
        let twice = [
            sub_chunk(1, 7, 2, 4),
            sub_chunk(2, 7, 3, 1),
            sub_chunk(1, 7, 0, 5),
        ];
        let json =
            |rows: &[SubChunkRows]| statistics_json(rows.iter().copied(), StatisticsForm::Whole);
        assert_eq!(json(&once), json(&twice));
    }
}

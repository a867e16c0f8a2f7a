//! `sph-layout`: the table of chunks.

use std::ffi::OsString;

use skyprep::partition::Partitioning;
use skyprep::sph::{ChunkChoice, LayoutOptions, layout_table};

use super::boost::{Known, Takes, Words, option, parse, short};

pub const NAME: &str = "sph-layout";

pub const HELP: &str = "\
sph-layout [options] [CHUNK...]

skyprep in place of Qserv's sph-layout: prints where chunks lie.

  --part.num-stripes N      stripes (85)
  --part.num-sub-stripes N  sub-stripes of each stripe (12)
  --part.overlap DEG        overlap in degrees (0.01)
  --chunk N                 a chunk to show; any number of times
  --min-chunk N             without any chunk, the first to show (0)
  --max-chunk N             without any chunk, the last to show (0)
  --chunk2worker FILE       lines of chunk and worker
  -v, --verbose             print the configuration first
  -h, --help                print this";

const KNOWN: [Known; 9] = [
    option("part.num-stripes", Takes::Whole),
    option("part.num-sub-stripes", Takes::Whole),
    option("part.overlap", Takes::Real),
    option("chunk", Takes::Texts),
    option("min-chunk", Takes::Whole),
    option("max-chunk", Takes::Whole),
    option("chunk2worker", Takes::Text),
    short("verbose", 'v', Takes::Nothing),
    short("help", 'h', Takes::Nothing),
];

/// Returns what is to be printed.
pub fn text(arguments: &[OsString]) -> Result<String, String> {
    let said = parse(&KNOWN, Words::AllOf("chunk"), arguments)?;
    if said.has("help") {
        return Ok(format!("{HELP}\n"));
    }
    let mut chunks = Vec::new();
    for chunk in said.values("chunk") {
        let number = chunk.to_str().and_then(|text| text.parse().ok());
        chunks.push(
            number.ok_or_else(|| format!("chunk is '{}', expected a number", chunk.display()))?,
        );
    }
    let (first, last) = (said.parsed("min-chunk")?, said.parsed("max-chunk")?);
    let (first, last) = (first.unwrap_or(0), last.unwrap_or(0));
    if chunks.is_empty() && first > last {
        return Err(format!("--min-chunk is {first}, above --max-chunk, {last}"));
    }
    let workers = said.value("chunk2worker").map(|file| {
        std::fs::read_to_string(file)
            .map_err(|error| format!("{}: can't read: {error}", file.display()))
    });
    let options = LayoutOptions {
        partitioning: Partitioning {
            stripes: said.parsed("part.num-stripes")?.unwrap_or(85),
            sub_stripes: said.parsed("part.num-sub-stripes")?.unwrap_or(12),
            overlap: said.parsed("part.overlap")?.unwrap_or(0.01),
        },
        chunks: match chunks.is_empty() {
            true => ChunkChoice::Range(first, last),
            false => ChunkChoice::Named(chunks),
        },
        workers: workers.transpose()?,
        is_verbose: said.has("verbose"),
    };
    layout_table(&options).map_err(|error| match error.hint_text() {
        Some(hint) => format!("{error}\nhint: {hint}"),
        None => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(line: &str) -> Result<String, String> {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        text(&arguments)
    }

    #[test]
    fn chunks_are_words_or_options() {
        let words = called("37 --part.num-stripes 18 38").unwrap();
        let options = called("--chunk 37 --chunk=38 --part.num-stripes=18").unwrap();
        assert_eq!(words, options);
        assert_eq!(words.lines().count(), 8);
        assert!(called("--help").unwrap().contains("--chunk2worker"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, expected) in [
            ("x", "chunk is 'x'"),
            ("14450", "expected 0 to 14449"),
            ("--min-chunk 5", "above --max-chunk"),
            ("--part.num-stripes=0", "stripes is 0"),
            ("--part.overlap=abc", "'--part.overlap' is invalid"),
            ("--chunk2worker=/none/such", "/none/such: can't read"),
        ] {
            let error = called(line).unwrap_err();
            assert!(error.contains(expected), "{expected} is not in {error}");
        }
    }
}

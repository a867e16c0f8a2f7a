//! What can be said to `sky` and `locate`; doc comments are the help texts.
#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown as they are, without Markdown"
)]

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PictureForm {
    /// A drawing that tells of each chunk where one points at it
    Svg,
    /// An image
    Png,
    /// A page with a drawing of each table and its heaviest chunks
    Html,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MeasureArg {
    /// Rows, without the overlap
    Rows,
    /// Overlap rows
    Overlap,
    /// Bytes, with the overlap
    Bytes,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skyprep sky site/stars/manifest.jsonl -o stars.html
  skyprep sky chunks -o chunks.png --show bytes
  skyprep sky - --to svg --table Star < manifest.jsonl > star.svg")]
pub struct SkyArgs {
    /// What partition, run or stage has made: a folder, a manifest (- for stdin), or the report beside
    /// them
    #[arg(value_name = "DIR|REPORT|MANIFEST")]
    pub source: PathBuf,
    /// File, or - for stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: String,
    /// What to write [default: what the file's name ends with]
    #[arg(long, value_name = "FORM")]
    pub to: Option<PictureForm>,
    /// Table to draw [default: of a drawing or an image, the director with the most rows; of a page,
    /// all]
    #[arg(long, value_name = "NAME")]
    pub table: Option<String>,
    /// What the colours tell
    #[arg(long, value_name = "WHAT", default_value = "rows")]
    pub show: MeasureArg,
    /// Width in pixels
    #[arg(long, value_name = "N", default_value_t = 1200)]
    pub width: u32,
    /// Replace an output that stands already
    #[arg(short, long)]
    pub force: bool,
}

#[derive(Debug, Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "Two whole numbers are a chunk and a sub-chunk; write a place with a point, such as \
                  10.0 -20.0.\n\nExamples:
  skyprep locate 358.164161 43.898693 --stripes 85 --sub-stripes 12 --overlap 0.01
  skyprep locate 10828 142 --like site/stars"
)]
pub struct LocateArgs {
    /// Right ascension and declination in degrees, or numbers of a chunk and maybe a sub-chunk
    #[arg(value_name = "RA DEC|CHUNK [SUBCHUNK]", num_args = 1..=2, required = true)]
    pub numbers: Vec<String>,
    /// Number of stripes
    #[arg(
        long,
        value_name = "N",
        required_unless_present = "like",
        requires = "sub_stripes"
    )]
    pub stripes: Option<u32>,
    /// Sub-stripes per stripe
    #[arg(long, value_name = "N", requires = "stripes")]
    pub sub_stripes: Option<u32>,
    /// Overlap in degrees; then it is told in whose overlap a place lies
    #[arg(long, value_name = "DEG")]
    pub overlap: Option<f64>,
    /// Divide the sky as it was for what stands here: a folder, manifest or report
    #[arg(long, value_name = "PATH", conflicts_with_all = ["stripes", "sub_stripes", "overlap"])]
    pub like: Option<PathBuf>,
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}

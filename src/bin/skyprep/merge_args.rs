//! What can be said to `merge`; doc comments are the help texts.
#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown as they are, without Markdown"
)]

use std::path::PathBuf;

use clap::Args;

use crate::args::BookArgs;
use crate::partition_args::parse_prefix;
use crate::table_args::KindArg;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skyprep merge part_*/ -o chunks
  skyprep merge parts/ -o chunks --table Object --kind director --stripes 340 --sub-stripes 3 \\
      --overlap 0.01667")]
pub struct MergeArgs {
    /// Folders that partition, run or sph-partition has filled, or folders of such folders; rows of a
    /// chunk come in this order
    #[arg(value_name = "DIR", required = true)]
    pub sources: Vec<PathBuf>,
    /// Folder of the merged files
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// Replace what another command has made there
    #[arg(short, long)]
    pub force: bool,
    /// Name of the table; chooses one where a folder has several
    #[arg(long, value_name = "NAME", help_heading = "Table")]
    pub table: Option<String>,
    /// Kind of the table, for files without a record
    #[arg(long, value_name = "KIND", help_heading = "Table")]
    pub kind: Option<KindArg>,
    /// Number of stripes, for files without a record
    #[arg(
        long,
        value_name = "N",
        requires_all = ["sub_stripes", "overlap"],
        help_heading = "Table"
    )]
    pub stripes: Option<u32>,
    /// Sub-stripes per stripe
    #[arg(long, value_name = "N", requires = "stripes", help_heading = "Table")]
    pub sub_stripes: Option<u32>,
    /// Overlap in degrees
    #[arg(long, value_name = "DEG", requires = "stripes", help_heading = "Table")]
    pub overlap: Option<f64>,
    /// Dialect of files without a record [default: qserv]
    #[arg(long, value_name = "NAME", help_heading = "Table")]
    pub dialect: Option<String>,
    /// Encoding of files without a record [default: latin1]
    #[arg(long, value_name = "NAME", value_parser = ["latin1", "utf8mb4", "binary"], help_heading = "Table")]
    pub charset: Option<String>,
    /// What the names of chunk files begin with, in folders without a record and in the output
    #[arg(
        long,
        value_name = "NAME",
        default_value = "chunk",
        value_parser = parse_prefix,
        help_heading = "Table"
    )]
    pub prefix: String,
    #[command(flatten)]
    pub books: BookArgs,
}

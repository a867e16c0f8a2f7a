//! What can be said to `partition`; doc comments are the help texts.
#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown as they are, without Markdown"
)]

use std::path::PathBuf;

use clap::{ArgMatches, Args, FromArgMatches, ValueEnum};

use crate::args::{
    BookArgs, ColumnArgs, DigestArgs, FitsArgs, InferArgs, InputArgs, RejectArgs, TextInArgs,
    TextOutArgs, ValueArgs,
};
use crate::table_args::KindArg;

/// Reads what file names begin with: a part of a name.
pub fn parse_prefix(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && !text.starts_with('.') && !text.contains(['/', '\0']);
    match is_name {
        true => Ok(text.to_owned()),
        false => Err("expected the beginning of a file name, without / or a leading .".to_owned()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IndexFormatArg {
    /// chunk_object_index.txt, in the dialect of the output, as sph-partition writes it
    Text,
    /// chunk_object_index.parquet
    Parquet,
    /// chunk_object_index.bin: compact, and looked up where it lies
    Binary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ChunkFormArg {
    /// Text in the dialect that the options say
    Csv,
    /// Parquet, which Qserv's ingest does not take
    Parquet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UnknownKeysArg {
    /// The row is refused
    Error,
    /// The match has no such side
    Null,
}

#[derive(Debug, Clone, Args)]
pub struct PartitionArgs {
    #[command(flatten)]
    pub input: InputArgs,
    /// Folder of the chunk files
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Replace what another command has made there
    #[arg(short, long)]
    pub force: bool,
    /// Kind of the table [default: what the schema says]
    #[arg(long, value_name = "KIND", help_heading = "Partitioning")]
    pub kind: Option<KindArg>,
    /// Number of stripes
    #[arg(long, value_name = "N", help_heading = "Partitioning")]
    pub stripes: Option<u32>,
    /// Sub-stripes per stripe
    #[arg(long, value_name = "N", help_heading = "Partitioning")]
    pub sub_stripes: Option<u32>,
    /// Overlap in degrees
    #[arg(long, value_name = "DEG", help_heading = "Partitioning")]
    pub overlap: Option<f64>,
    /// Write no overlap rows
    #[arg(long, help_heading = "Partitioning")]
    pub no_overlap: bool,
    /// Column of the right ascension in degrees
    #[arg(long, value_name = "COL", help_heading = "Partitioning")]
    pub ra: Option<String>,
    /// Column of the declination in degrees
    #[arg(long, value_name = "COL", help_heading = "Partitioning")]
    pub dec: Option<String>,
    /// Director: column of its key, which makes chunk_object_index.txt. Child: column of its
    /// director's key, which is looked up in --index
    #[arg(long, value_name = "COL", help_heading = "Partitioning")]
    pub id: Option<String>,
    /// Child: the director's index, or the folder that has it. Rows go where their director is;
    /// --ra and --dec are for keys that are NULL or not in the index
    #[arg(long, value_name = "INDEX", help_heading = "Partitioning")]
    pub index: Option<PathBuf>,
    /// Match: column of the first side's right ascension
    #[arg(long, value_name = "COL", help_heading = "Partitioning")]
    pub ra1: Option<String>,
    /// Match: column of the first side's declination
    #[arg(long, value_name = "COL", help_heading = "Partitioning")]
    pub dec1: Option<String>,
    /// Match: column of the second side's right ascension
    #[arg(long, value_name = "COL", help_heading = "Partitioning")]
    pub ra2: Option<String>,
    /// Match: column of the second side's declination
    #[arg(long, value_name = "COL", help_heading = "Partitioning")]
    pub dec2: Option<String>,
    /// Match: column of the first director's key, looked up in --index1
    #[arg(long, value_name = "COL", help_heading = "Partitioning")]
    pub id1: Option<String>,
    /// Match: column of the second director's key, looked up in --index2
    #[arg(long, value_name = "COL", help_heading = "Partitioning")]
    pub id2: Option<String>,
    /// Match: the first director's index, or the folder that has it
    #[arg(long, value_name = "INDEX", help_heading = "Partitioning")]
    pub index1: Option<PathBuf>,
    /// Match: the second director's index
    #[arg(long, value_name = "INDEX", help_heading = "Partitioning")]
    pub index2: Option<PathBuf>,
    /// Match: what becomes of keys that the index lacks: error, or null (a match without that side)
    /// [default: error]
    #[arg(long, value_name = "RULE", help_heading = "Partitioning")]
    pub unknown_keys: Option<UnknownKeysArg>,
    /// Director: format of the index of its keys
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Partitioning"
    )]
    pub index_format: IndexFormatArg,
    /// Dialect of an index that is text [default: the output's]
    #[arg(long, value_name = "NAME", help_heading = "Partitioning")]
    pub index_dialect: Option<String>,
    /// Take right ascensions modulo 360
    #[arg(long, help_heading = "Partitioning")]
    pub wrap_ra: bool,
    /// Name of the chunk column [default: chunkId]
    #[arg(long, value_name = "COL", help_heading = "Partitioning")]
    pub chunk_column: Option<String>,
    /// Name of the sub-chunk column [default: subChunkId]
    #[arg(long, value_name = "COL", help_heading = "Partitioning")]
    pub sub_chunk_column: Option<String>,
    /// Match: name of the column that tells the sides of a row [default: the schema's, else
    /// partitioningFlags]
    #[arg(long, value_name = "COL", help_heading = "Partitioning")]
    pub flags_column: Option<String>,
    /// Form of the files: text, or Parquet files of what the table would hold (chunk_<N>.parquet)
    #[arg(
        long,
        value_name = "FORM",
        default_value = "csv",
        help_heading = "Partitioning"
    )]
    pub to: ChunkFormArg,
    /// Sort the rows of each chunk file by these columns: NULL, then numbers, then texts byte by byte;
    /// rows that are equal in them stay in the order of the input
    #[arg(
        long,
        value_name = "COL,...",
        value_delimiter = ',',
        help_heading = "Partitioning"
    )]
    pub sort: Vec<String>,
    /// Make the files of these chunks only. Where the whole table stands, made with the same options from
    /// the same inputs, they are made again in place and must come out as the record tells; else they
    /// are made for themselves, with an index of their own keys. May be repeated
    #[arg(
        long,
        value_name = "ID,...",
        value_delimiter = ',',
        help_heading = "Partitioning"
    )]
    pub only_chunks: Vec<i32>,
    /// Write chunk_index.bin: rows per sub-chunk
    #[arg(long, help_heading = "Partitioning")]
    pub chunk_index: bool,
    /// Write how rows are spread over chunks as JSON, as sph-partition prints it, to a file or - for
    /// stdout; counted in chunk_index.bin, which is written, too
    #[arg(long, value_name = "FILE", help_heading = "Partitioning")]
    pub stats: Option<PathBuf>,
    /// What the names of chunk files and indexes begin with [default: chunk]
    #[arg(
        long,
        value_name = "PREFIX",
        value_parser = parse_prefix,
        help_heading = "Partitioning"
    )]
    pub prefix: Option<String>,
    /// Spread chunks over so many folders, node_00000 and so on, by their numbers [default: 1]
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=99_999),
        help_heading = "Partitioning"
    )]
    pub num_nodes: Option<u32>,
    /// Take columns, dialects, positions, keys, stripes, names of files and, unless they are named
    /// here, inputs and output from a configuration file of sph-partition or sph-partition-matches;
    /// may be repeated, and the last file wins. Options of the command line count more
    #[arg(long, value_name = "FILE.json", help_heading = "Partitioning")]
    pub sph_config: Vec<PathBuf>,
    /// Name of the table, for the record [default: the schema's, else "table"]
    #[arg(long, value_name = "NAME", help_heading = "Partitioning")]
    pub table: Option<String>,
    /// Let a director have VARCHAR and VARBINARY columns
    #[arg(long, help_heading = "Partitioning")]
    pub allow_varchar: bool,
    #[command(flatten)]
    pub columns: ColumnArgs,
    #[command(flatten)]
    pub values: ValueArgs,
    #[command(flatten)]
    pub text_out: TextOutArgs,
    #[command(flatten)]
    pub text_in: TextInArgs,
    #[command(flatten)]
    pub fits: FitsArgs,
    #[command(flatten)]
    pub infer: InferArgs,
    #[command(flatten)]
    pub rejects: RejectArgs,
    #[command(flatten)]
    pub books: BookArgs,
    #[command(flatten)]
    pub digests: DigestArgs,
}

/// What only says how files are written: `estimate` writes none.
const OF_FILES: [&str; 12] = [
    "to",
    "sort",
    "force",
    "index_format",
    "chunk_index",
    "only_chunks",
    "stats",
    "prefix",
    "num_nodes",
    "depfile",
    "dry_run",
    "checksum_inputs",
];

/// Hides options that count for nothing.
fn without_files(command: clap::Command) -> clap::Command {
    let command = OF_FILES.into_iter().fold(command, |command, name| {
        command.mut_arg(name, |arg| arg.hide(true))
    });
    command
        .mut_arg("output", |arg| {
            arg.help("Folder that the files will go to: how much room there is, is told as well")
        })
        .mut_arg("report", |arg| {
            arg.help("Write the estimate as JSON into a file")
        })
        .mut_arg("json", |arg| {
            arg.help("Print the estimate as JSON, with all chunks")
        })
        .mut_arg("table", |arg| {
            arg.help("Name of the table [default: the schema's, else \"table\"]")
        })
}

#[derive(Debug, Clone, Args)]
pub struct EstimateArgs {
    #[command(flatten)]
    pub partition: EstimatedArgs,
    /// Make all rows, so that bytes are exact and all bad rows are found; else some rows tell how
    /// long a row is
    #[arg(long)]
    pub exact: bool,
}

/// The options of `partition`, as far as they count.
#[derive(Debug, Clone)]
pub struct EstimatedArgs(pub PartitionArgs);

impl FromArgMatches for EstimatedArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        PartitionArgs::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl Args for EstimatedArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        without_files(PartitionArgs::augment_args(command))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        without_files(PartitionArgs::augment_args_for_update(command))
    }
}

//! What can be said to `schema`, `check` and `init`; doc comments are the help texts.
#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown as they are, without Markdown"
)]

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::args::{BookArgs, DigestArgs, FitsArgs, InputArgs, TextInArgs};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// Partitioned by position, with overlap and a key of its own
    Director,
    /// Partitioned as its director
    Child,
    /// Not partitioned
    Regular,
    /// Pairs of rows of two directors
    Match,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaFormArg {
    /// Qserv's table JSON
    Json,
    /// CREATE TABLE for MariaDB
    Ddl,
}

#[derive(Debug, Args)]
pub struct SchemaArgs {
    #[command(flatten)]
    pub input: InputArgs,
    /// File, or - for stdout
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: String,
    /// Replace an output that stands already
    #[arg(short, long)]
    pub force: bool,
    /// What to write
    #[arg(long, value_name = "FORM", default_value = "json")]
    pub to: SchemaFormArg,
    /// Columns to leave out, separated by commas
    #[arg(long, value_name = "A,B")]
    pub exclude: Option<String>,
    /// Character set of the table: latin1 (windows-1252) or utf8mb4 [default: latin1, or the
    /// definition's]
    #[arg(long, value_name = "NAME", value_parser = ["latin1", "utf8mb4"])]
    pub charset: Option<String>,
    /// Kind of the table; without one nothing is said about partitioning
    #[arg(long, value_name = "KIND", help_heading = "Table")]
    pub kind: Option<KindArg>,
    /// Name of the table [default: the definition's, else the output file's without its ending]
    #[arg(long, value_name = "NAME", help_heading = "Table")]
    pub table: Option<String>,
    /// Name of the database
    #[arg(long, value_name = "NAME", help_heading = "Table")]
    pub database: Option<String>,
    /// Column of the director's key
    #[arg(long, value_name = "COL", help_heading = "Table")]
    pub id: Option<String>,
    /// Column of the right ascension in degrees
    #[arg(long, value_name = "COL", help_heading = "Table")]
    pub ra: Option<String>,
    /// Column of the declination in degrees
    #[arg(long, value_name = "COL", help_heading = "Table")]
    pub dec: Option<String>,
    /// Director of a child; first director of a match table
    #[arg(long, value_name = "TABLE", help_heading = "Table")]
    pub director: Option<String>,
    /// Second director of a match table
    #[arg(long, value_name = "TABLE", help_heading = "Table")]
    pub director2: Option<String>,
    /// Column of the second director's key in a match table
    #[arg(long, value_name = "COL", help_heading = "Table")]
    pub id2: Option<String>,
    /// Largest distance of a match, as Qserv is to be told
    #[arg(long, value_name = "DISTANCE", help_heading = "Table")]
    pub ang_sep: Option<f64>,
    /// Name of a match table's column for the side of a row [default: partitioningFlags]
    #[arg(long, value_name = "COL", help_heading = "Table")]
    pub flags_column: Option<String>,
    #[command(flatten)]
    pub fits: FitsArgs,
    /// Encoding of texts in FITS inputs: latin1 (windows-1252) or utf8mb4 [default: utf8mb4]
    #[arg(long, value_name = "NAME", value_parser = ["latin1", "utf8mb4"])]
    pub in_charset: Option<String>,
    #[command(flatten)]
    pub books: BookArgs,
    #[command(flatten)]
    pub digests: DigestArgs,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub input: InputArgs,
    #[command(flatten)]
    pub text_in: TextInArgs,
    #[command(flatten)]
    pub fits: FitsArgs,
    /// The table: Qserv's table JSON, or Felis YAML (file.yaml#Table where it has several tables)
    #[arg(long, value_name = "FILE")]
    pub schema: PathBuf,
    /// Kind of the table [default: what the schema says]
    #[arg(long, value_name = "KIND")]
    pub kind: Option<KindArg>,
    /// Only warn of a director's VARCHAR and VARBINARY columns
    #[arg(long)]
    pub allow_varchar: bool,
    /// Character set in which lengths count: latin1 (windows-1252), utf8mb4 or binary (bytes)
    #[arg(long, value_name = "NAME", default_value = "latin1", value_parser = ["latin1", "utf8mb4", "binary"])]
    pub charset: String,
    /// Print the findings as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  skyprep init tables/ --database tables/db.json --inputs 'data/{table}/*.parquet' -o prep.toml")]
pub struct InitArgs {
    /// Folder of Qserv's table JSON files, one per table
    #[arg(value_name = "TABLES_DIR")]
    pub tables: PathBuf,
    /// The JSON with which Qserv registers the database: its name and division of the sky
    #[arg(long, value_name = "DB.json")]
    pub database: PathBuf,
    /// Where the inputs of each table are, relative to the pipeline file; {table} stands for its name
    #[arg(long, value_name = "PATTERN", default_value = "{table}/*.parquet")]
    pub inputs: String,
    /// Where the files are to go, relative to the pipeline file, or a URL
    #[arg(long, value_name = "DEST", default_value = "out")]
    pub dest: String,
    /// The pipeline file, or - for stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: String,
    /// Replace a file that stands already
    #[arg(short, long)]
    pub force: bool,
}

//! What can be said to `serve` and `load-plan`; doc comments are the help texts.
#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown as they are, without Markdown"
)]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::network_args::NetworkArgs;
use crate::times::parse_time;

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Address and port to listen at; port 0 is any free one, and 0.0.0.0 all addresses
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// Connections at once; others wait
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_connections: usize,
    /// Append a line for each request to a file, or write it to stdout (-), in the common log format
    #[arg(long, value_name = "FILE")]
    pub access_log: Option<PathBuf>,
    /// Write the lines of the access log as JSON objects
    #[arg(long, requires = "access_log")]
    pub json: bool,
    /// How long answers under way may take after Ctrl-C or kill
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_time)]
    pub grace: Duration,
}

#[derive(Debug, Args)]
pub struct LoadPlanArgs {
    /// The manifest: a file, a URL, or - for stdin
    #[arg(value_name = "MANIFEST")]
    pub manifest: String,
    /// File, or - for stdout
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: String,
    /// Replace an output that stands already
    #[arg(short, long)]
    pub force: bool,
    /// Definitions of the tables: a folder of table JSON files (Star.json or table_Star.json) or Felis
    /// files, or one such file
    #[arg(long, value_name = "PATH")]
    pub tables: PathBuf,
    /// Qserv's database JSON: what the manifest does not tell, such as auto_build_secondary_index
    #[arg(long, value_name = "FILE")]
    pub database_json: Option<PathBuf>,
    /// Specification of an index to make when all is published, as the index service takes it; may
    /// be repeated
    #[arg(long, value_name = "FILE")]
    pub index: Vec<PathBuf>,
    /// Transactions: table (one for each), or the most that files are divided among, evenly by bytes
    #[arg(long, value_name = "table|N", default_value = "table")]
    pub transactions: String,
    /// Send the files in the calls instead of having them fetched, as CSV or as JSON; the URLs must
    /// be of this machine (file://)
    #[arg(long, value_name = "FORM")]
    pub by_value: Option<ByValueArg>,
    /// Whose calls: of the ingest service (controller and workers), or of the frontend for user tables
    /// (czar), which takes small tables that are not partitioned
    #[arg(long, value_name = "WHOSE", default_value = "controller")]
    pub api: ApiArg,
    /// The database is published: take it back, delete the tables of the manifest, load them anew and
    /// publish again
    #[arg(long)]
    pub published: bool,
    /// Version of the service's interface that all calls ask for [default: none is named]
    #[arg(long, value_name = "N")]
    pub api_version: Option<u32>,
    #[command(flatten)]
    pub network: NetworkArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ByValueArg {
    /// Multipart bodies with the file as it is
    Csv,
    /// JSON bodies with the rows that convert --to json makes of the file
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ApiArg {
    Controller,
    Czar,
}

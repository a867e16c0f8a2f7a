//! What can be said to `manifest`; doc comments are the help texts.
#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown as they are, without Markdown"
)]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use skyprep::stage::parse_span;

use crate::network_args::NetworkArgs;

#[derive(Debug, Args)]
pub struct ManifestArgs {
    #[command(subcommand)]
    pub command: ManifestCommand,
}

#[derive(Debug, Subcommand)]
pub enum ManifestCommand {
    /// Write the manifest in the format of another tool
    Export(ExportArgs),
    /// Give all files URLs that begin otherwise: another server, a mount, a mirror
    Rebase(RebaseArgs),
    /// Say what differs between two manifests; exit code 1 if anything does
    ///
    /// Files belong together by table, chunk and overlap. Signatures of URLs are not compared.
    Diff(DiffArgs),
    /// Sign the URLs of files in S3 anew, so that anybody can read them for some time
    Presign(PresignArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportForm {
    /// A list of URLs per table, for the scripts of DP1 and DP2
    Urls,
    /// One JSON list of {url, table}, for the loader of DP0.2
    Filecache,
    /// JSON lists of local files, for qserv-replica-file INGEST
    FileList,
    /// metadata.json, db.json and a table JSON per table, for qserv-ingest
    Metadata,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skyprep manifest export site/stars/manifest.jsonl --to urls -o lists/
  skyprep manifest export site/stars/manifest.jsonl --to urls --table Star
  skyprep manifest export site/stars/manifest.jsonl --to file-list --locations chunks.json \\
      --locations regular.json --transaction 7 -o files.json
  skyprep manifest export site/stars/manifest.jsonl --to metadata --tables tables -o site/stars/

What each format is for, and what it can't say: docs/manifest.md")]
pub struct ExportArgs {
    /// The manifest: a file, a URL, or - for stdin
    #[arg(value_name = "MANIFEST")]
    pub manifest: String,
    /// Format to write
    #[arg(long, value_name = "FORMAT")]
    pub to: ExportForm,
    /// Where to: a file, a folder or - for stdout. urls: a folder for <table>.urls, unless the name
    /// ends in .urls; filecache: a file; file-list: a file that ends in .json, else a folder for
    /// <table>.json; metadata: a folder
    #[arg(short, long, value_name = "OUT", default_value = "-")]
    pub output: String,
    /// Replace files that stand already
    #[arg(short, long)]
    pub force: bool,
    /// Only this table; may be repeated
    #[arg(long, value_name = "NAME")]
    pub table: Vec<String>,
    /// file-list: which worker takes which chunk: the answer to POST /ingest/chunks or GET
    /// /ingest/regular, a JSON map from chunk to host:port, or CSV lines chunk,host,port; may be
    /// repeated
    #[arg(long, value_name = "FILE", help_heading = "Formats")]
    pub locations: Vec<PathBuf>,
    /// file-list: number of the transaction, for a list with all fields (FILE-LIST) rather than a
    /// short one (FILE-LIST-TRANS)
    #[arg(
        long,
        value_name = "N",
        help_heading = "Formats",
        requires = "locations"
    )]
    pub transaction: Option<u32>,
    /// metadata: folder of table definitions (<table>.json, .yaml or .yml), or a Felis file
    #[arg(long, value_name = "PATH", help_heading = "Formats")]
    pub tables: Option<PathBuf>,
    /// metadata: what URLs begin with, which qserv-ingest is told apart from the metadata [default:
    /// the folder that all files have in common]
    #[arg(long, value_name = "URL", help_heading = "Formats")]
    pub server: Option<String>,
    #[command(flatten)]
    pub network: NetworkArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skyprep manifest rebase site/stars/manifest.jsonl --to http://host:18080/data -o public.jsonl
  skyprep manifest rebase public.jsonl --from http://host:18080/data --to https://mirror/ -o -

The files stay where they are, and the manifest goes on telling where that is (stored_at). With
--moved they are taken to lie below the new base. Signatures in URLs are dropped: they hold for one
server only.")]
pub struct RebaseArgs {
    /// The manifest: a file, a URL, or - for stdin
    #[arg(value_name = "MANIFEST")]
    pub manifest: String,
    /// What all URLs begin with now [default: what stands before <database>/<table>/, if that is
    /// the same in all]
    #[arg(long, value_name = "URL")]
    pub from: Option<String>,
    /// What they shall begin with: a URL, or an absolute path
    #[arg(long, value_name = "URL")]
    pub to: String,
    /// The files were moved or copied to the new base
    #[arg(long)]
    pub moved: bool,
    /// File, or - for stdout
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: String,
    /// Replace a file that stands already
    #[arg(short, long)]
    pub force: bool,
    #[command(flatten)]
    pub network: NetworkArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skyprep manifest diff old.jsonl site/stars/manifest.jsonl
  skyprep manifest diff old.jsonl new.jsonl --json | jq '.tables'")]
pub struct DiffArgs {
    /// The older manifest: a file, a URL, or - for stdin
    #[arg(value_name = "OLD")]
    pub old: String,
    /// The newer manifest, likewise
    #[arg(value_name = "NEW")]
    pub new: String,
    /// Print the difference as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub network: NetworkArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  skyprep manifest presign s3://bucket/stars/manifest.jsonl -o signed.jsonl
  skyprep manifest presign signed.jsonl --valid 12h -o - | skyprep load-plan - --tables tables

S3 signs for at most 7 days, and no longer than temporary keys live.")]
pub struct PresignArgs {
    /// The manifest: a file, a URL, or - for stdin
    #[arg(value_name = "MANIFEST")]
    pub manifest: String,
    /// How long the URLs are to be good
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = parse_span)]
    pub valid: Duration,
    /// File, or - for stdout
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: String,
    /// Replace a file that stands already
    #[arg(short, long)]
    pub force: bool,
    #[command(flatten)]
    pub network: NetworkArgs,
}

//! What can be said to stage, verify and release; doc comments are the help texts.
#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown as they are, without Markdown"
)]

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use skyprep::error::Error;
use skyprep::stage::{Retention, parse_span};

use crate::args::BookArgs;
use crate::network_args::{NetworkArgs, UploadArgs};
use crate::table_args::KindArg;

#[derive(Debug, Args)]
pub struct StageArgs {
    /// Output folders of partition and run, other folders or files; last the destination: a folder,
    /// http(s)://host/path (PUT or WebDAV), or s3://bucket/prefix
    #[arg(value_names = ["SRC", "DEST"], num_args = 2.., required = true)]
    pub paths: Vec<PathBuf>,
    /// Replace tables that were staged from other files, and bring all files again
    #[arg(short, long)]
    pub force: bool,
    /// Name of the database; needed for what partition has made
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,
    /// Name of the table [default: what the record says]
    #[arg(long, value_name = "NAME")]
    pub table: Option<String>,
    /// Kind of the table, for files without a record
    #[arg(long, value_name = "KIND")]
    pub kind: Option<KindArg>,
    /// Dialect of files without a record: qserv or qserv-csv [default: qserv]
    #[arg(long, value_name = "NAME")]
    pub dialect: Option<String>,
    /// Encoding of files without a record [default: latin1]
    #[arg(long, value_name = "NAME", value_parser = ["latin1", "utf8mb4", "binary"])]
    pub charset: Option<String>,
    /// Where Qserv fetches the files from, if not by the URLs that they are put to: what the
    /// destination is called there
    #[arg(long, value_name = "URL", conflicts_with = "presign")]
    pub public_url: Option<String>,
    /// Write signed URLs into the manifest, which anybody can read for so long: at most 7d (S3)
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub presign: Option<Duration>,
    /// Until when the files are to be kept: a time (2027-01-31T12:00:00Z), or from now on (30d)
    /// [default: until they are released]
    #[arg(long, value_name = "WHEN", value_parser = str::parse::<Retention>)]
    pub retain_until: Option<Retention>,
    #[command(flatten)]
    pub state: StateArgs,
    #[command(flatten)]
    pub network: NetworkArgs,
    #[command(flatten)]
    pub upload: UploadArgs,
    #[command(flatten)]
    pub books: BookArgs,
}

/// Where this machine keeps what it knows of places.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Network")]
pub struct StateArgs {
    /// Folder that remembers what was sent to servers, so that a killed command is gone on with
    /// [default: skyprep in XDG_STATE_HOME, or in ~/.local/state]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

impl StateArgs {
    /// Returns the folder.
    ///
    /// # Errors
    /// None was named, and there is no home.
    pub fn folder(&self) -> Result<PathBuf, Error> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let usual = || {
            let state = variable("XDG_STATE_HOME").map(PathBuf::from);
            let home = || Some(PathBuf::from(variable("HOME")?).join(".local/state"));
            Some(state.or_else(home)?.join("skyprep"))
        };
        self.state_dir.clone().or_else(usual).ok_or_else(|| {
            Error::usage("there is no HOME to remember in what was sent to servers")
                .hint("name a folder with --state-dir")
        })
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    skyprep verify out/stars/manifest.jsonl\n  \
    skyprep verify --quick s3://bucket/stars/manifest.jsonl\n  \
    skyprep verify manifest.jsonl --contribs answers.json --send-again rest.jsonl\n\n\
    Exit code 9 if a file is missing or is not what the manifest says, or is not loaded as it says.")]
pub struct VerifyArgs {
    /// The manifest: a file, a URL, or - for stdin
    pub manifest: String,
    /// Compare sizes and the checksums that the place keeps, and read no file
    #[arg(long)]
    pub quick: bool,
    /// Compare with what the ingest service says instead: files of its answers to
    /// GET /ingest/trans/<id>?contrib=1&contrib_long=1 or GET /ingest/file-async/<id>, or a URL that
    /// gives one (repeatable)
    #[arg(long, value_name = "FILE|URL", conflicts_with = "quick")]
    pub contribs: Vec<String>,
    /// With --contribs: write the manifest of what is to be sent again
    #[arg(long, value_name = "FILE", requires = "contribs")]
    pub send_again: Option<PathBuf>,
    /// Replace the file of --send-again if it stands already
    #[arg(short, long)]
    pub force: bool,
    /// Print what was found as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub network: NetworkArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Without --yes nothing is removed: what would go is listed.\n\n\
    Examples:\n  \
    skyprep release out/stars/manifest.jsonl\n  \
    skyprep release out/stars/manifest.jsonl --yes"
)]
pub struct ReleaseArgs {
    /// The manifest: a file, a URL, or - for stdin
    pub manifest: String,
    /// Remove the files
    #[arg(long)]
    pub yes: bool,
    /// Remove them before the time until which they are to be kept
    #[arg(short, long)]
    pub force: bool,
    /// Print what was found as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub network: NetworkArgs,
}

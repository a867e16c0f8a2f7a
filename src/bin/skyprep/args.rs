//! What can be said on the command line; doc comments are the help texts.
#![allow(
    clippy::doc_markdown,
    reason = "the texts are shown as they are, without Markdown"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use skyprep::exchange::Finish;
use skyprep::publish::SyncMode;

use crate::job_args::JobArgs;
use crate::manifest_args::ManifestArgs;
use crate::merge_args::MergeArgs;
use crate::network_args::{NetworkArgs, UploadArgs};
use crate::partition_args::{EstimateArgs, PartitionArgs};
use crate::serve_args::{LoadPlanArgs, ServeArgs};
use crate::sky_args::{LocateArgs, SkyArgs};
use crate::stage_args::{ReleaseArgs, StageArgs, StateArgs, VerifyArgs};
use crate::table_args::{CheckArgs, InitArgs, SchemaArgs};
use crate::times::parse_time;

/// Gets astronomical catalogues ready for Qserv.
///
/// Each step works alone and in a pipe; `run` does all of them in one pass per product.
#[derive(Debug, Parser)]
#[command(
    name = "skyprep",
    version,
    max_term_width = 100,
    after_help = "Every option with a long name can also be set by an environment variable, such as \
                  SKYPREP_MEMORY_LIMIT for --memory-limit, or in the file that --config names. \
                  What the command line says counts most, then the environment, then the file.\n\n\
                  Called by a link of the name sph-partition, sph-partition-matches, sph-parq2csv \
                  or sph-layout, or with that name as command, it takes that tool's options."
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub global: GlobalArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Turn Parquet, Arrow, FITS tables or text into text that MariaDB loads unchanged
    Convert(ConvertArgs),
    /// Clean text: booleans, infinities, NaN, NULL, escapes
    Sanitize(SanitizeArgs),
    /// Sort rows by sky position into chunk files
    Partition(Box<PartitionArgs>),
    /// Say what partition would make of the inputs: rows, bytes and files of each chunk
    ///
    /// Takes the options of partition, so that its command line serves as it is; those that only say how
    /// files are written count for nothing. Nothing is written. Of files with columns only those of
    /// positions and keys are read.
    Estimate(Box<EstimateArgs>),
    /// Make one file for each chunk out of those of many folders
    ///
    /// Files of a chunk are put one behind the other, and so are director indexes; rows that an index
    /// of chunks counts are added up. What records say of the files is checked on the way.
    Merge(MergeArgs),
    /// Copy prepared files to where Qserv fetches them, and write the manifest
    Stage(StageArgs),
    /// Compare staged files with the manifest that names them
    Verify(VerifyArgs),
    /// Remove staged files once they are loaded
    Release(ReleaseArgs),
    /// Turn a manifest into other formats, give it other URLs, compare two
    Manifest(ManifestArgs),
    /// Serve a folder by HTTP, read-only, for Qserv's workers to fetch from
    ///
    /// The base URL is the first line on stdout. Hidden files are not served, nor what links lead
    /// to outside of the folder; there are no listings. The server runs until Ctrl-C or kill, and
    /// ends after the answers under way.
    Serve(ServeArgs),
    /// Write the calls of Qserv's ingest service that load what a manifest names
    ///
    /// One JSON object a line, in the order in which the calls are to be made, with places such as
    /// ${trans_id} for what is known only then. docs/ingest.md tells how to carry them out.
    LoadPlan(LoadPlanArgs),
    /// Do all steps for all tables of a pipeline file
    Run(RunArgs),
    /// Do a pipeline as many tasks: on this machine, by Slurm or by Dask
    Job(JobArgs),
    /// Propose a table for Parquet, Arrow or FITS files: Qserv's table JSON, or a CREATE TABLE
    ///
    /// A single INPUT that ends in .yaml, .yml or .json is a definition instead: Felis (file.yaml#Table
    /// where it has several tables) or table JSON, which is completed and written in the other form.
    Schema(SchemaArgs),
    /// Write a pipeline file to start from, of the table JSON files that a site has
    Init(InitArgs),
    /// Say what Qserv and MariaDB would object to in a table
    ///
    /// So far that is which columns a director may not have. With INPUT, of any format, it also tells
    /// the CHAR(n) or BINARY(n) that would do.
    Check(CheckArgs),
    /// Draw how many rows each chunk has, as SVG, PNG or a page
    Sky(SkyArgs),
    /// Say in which chunk a place lies, or where a chunk lies
    Locate(LocateArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
    /// Print the manual page, or write one page per command into a folder
    Man(ManArgs),
}

impl Command {
    /// Returns what becomes of bad rows, for commands that read rows.
    pub fn rejects(&self) -> Option<&RejectArgs> {
        match self {
            Self::Convert(args) => Some(&args.rejects),
            Self::Sanitize(args) => Some(&args.rejects),
            Self::Partition(args) => Some(&args.rejects),
            Self::Estimate(args) => Some(&args.partition.0.rejects),
            Self::Run(args) => Some(&args.rejects),
            Self::Merge(_)
            | Self::Stage(_)
            | Self::Verify(_)
            | Self::Release(_)
            | Self::Manifest(_)
            | Self::Serve(_)
            | Self::LoadPlan(_)
            | Self::Job(_)
            | Self::Schema(_)
            | Self::Check(_)
            | Self::Init(_)
            | Self::Sky(_)
            | Self::Locate(_)
            | Self::Completions(_)
            | Self::Man(_) => None,
        }
    }
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "General options")]
pub struct GlobalArgs {
    /// Threads [default: what cpuset, cgroup or SLURM_CPUS_PER_TASK allow]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// Memory to use, such as 512MiB or 50% [default: 80 % of what cgroup, machine and Slurm
    /// allow, at most 2GiB]
    #[arg(long, global = true, value_name = "SIZE")]
    pub memory_limit: Option<String>,
    /// How rows get into one file per chunk; auto measures what is quickest
    #[arg(long, global = true, value_name = "WAY", default_value = "auto")]
    pub finish: FinishArg,
    /// Where rows wait that memory can't hold, and what was fetched from servers [default:
    /// SLURM_TMPDIR, TMPDIR, else beside the output]; a folder in memory (tmpfs) is passed over
    #[arg(long, global = true, value_name = "DIR")]
    pub tmpdir: Option<PathBuf>,
    /// Output files open at once, at least 8 [default: what ulimit -n leaves, at most 256]
    #[arg(long, global = true, value_name = "N")]
    pub max_open_files: Option<u64>,
    /// How to show progress, on stderr
    #[arg(long, global = true, value_name = "FORM", default_value = "auto")]
    pub progress: ProgressForm,
    /// Time between two lines of progress, such as 500ms, 10s or 2m
    #[arg(long, global = true, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub progress_interval: Duration,
    /// File that sets options: their long names as TOML keys, at the top for all commands, in a
    /// section such as [convert] for one
    #[arg(short, long, global = true, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// How files are made to last before they get their names: fs (one syncfs), file (each by
    /// itself), none (scratch space: a power cut may lose them), or auto, by their number
    #[arg(long, global = true, value_name = "HOW", default_value = "auto")]
    pub sync: SyncMode,
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print the limits in force and more; twice: even more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// What to print, instead of -q and -v [default: info]
    #[arg(long, global = true, value_name = "LEVEL", conflicts_with_all = ["quiet", "verbose"])]
    pub log_level: Option<LogLevel>,
    /// Append what is printed to this file too, with the time
    #[arg(long, global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Colours of messages and help; auto looks at the terminal, NO_COLOR and CLICOLOR_FORCE
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorWhen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FinishArg {
    /// What suits the rows that come
    Auto,
    /// All rows are kept in memory, or it is an error
    Memory,
    /// What memory can't hold is appended to the files
    Append,
    /// What memory can't hold goes into one sorted file, which is merged at the end
    Exchange,
}

impl From<FinishArg> for Finish {
    fn from(way: FinishArg) -> Self {
        match way {
            FinishArg::Auto => Self::Auto,
            FinishArg::Memory => Self::Memory,
            FinishArg::Append => Self::Append,
            FinishArg::Exchange => Self::Exchange,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressForm {
    /// A bar on a terminal, lines elsewhere
    Auto,
    /// A bar
    Bar,
    /// A line now and then
    Plain,
    /// A JSON object a line, the last one at the end
    Json,
    /// Nothing
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    Auto,
    Always,
    Never,
}

/// What is told when the work is done.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Books")]
pub struct BookArgs {
    /// Write a JSON report of what was done
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Print the report on stdout instead of the table
    #[arg(long)]
    pub json: bool,
    /// Write a dependency file for make
    #[arg(long, value_name = "FILE")]
    pub depfile: Option<PathBuf>,
    /// Say what would be done, and touch nothing
    #[arg(short = 'n', long, conflicts_with_all = ["json", "report", "depfile"])]
    pub dry_run: bool,
}

/// What becomes of bad rows.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Bad rows")]
pub struct RejectArgs {
    /// Bad rows that are set aside, over the whole command, before it gives up; each table that
    /// refuses a row counts it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_rejects: u64,
    /// List the rows that were set aside: a JSON object a line, in input order
    #[arg(long, value_name = "FILE")]
    pub reject_file: Option<PathBuf>,
    /// Pass over input files that are missing, unreadable or damaged, do the rest, and end with
    /// exit code 1
    #[arg(long)]
    pub keep_going: bool,
}

/// How inputs are told apart from changed ones.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Books")]
pub struct DigestArgs {
    /// Read the inputs first for their SHA-256; it then tells changed inputs, not their time
    #[arg(long)]
    pub checksum_inputs: bool,
}

#[derive(Debug, Clone, Args)]
pub struct InputArgs {
    /// Files, folders, patterns, URLs of files (https, http, s3), or - for stdin
    #[arg(value_name = "INPUT")]
    pub inputs: Vec<String>,
    /// Read names of inputs from a file, one a line, or from - (stdin)
    #[arg(long, value_name = "LIST")]
    pub files_from: Option<String>,
    /// Names in the list end with NUL instead of LF
    #[arg(short = '0', long = "null-separated", requires = "files_from")]
    pub null_separated: bool,
    /// Format of the inputs [default: found from content; what is neither Parquet, Arrow nor FITS is text]
    #[arg(long, value_name = "FORMAT")]
    pub input_format: Option<InputFormatArg>,
    #[command(flatten)]
    pub network: NetworkArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InputFormatArg {
    Parquet,
    /// A binary table of each file
    Fits,
    /// Record batches of Arrow IPC files (Feather 2)
    Arrow,
    /// In the dialect that the options say, maybe compressed with gzip or zstd
    Text,
}

impl InputArgs {
    /// Returns the list of inputs, if it is a file.
    pub fn list_file(&self) -> Option<&Path> {
        let list = self.files_from.as_deref().filter(|name| *name != "-");
        list.map(Path::new)
    }
}

/// Which table of a FITS file is meant.
#[derive(Debug, Clone, Args)]
pub struct FitsArgs {
    /// Table of FITS inputs: its name (EXTNAME), or its number, where the first unit of a file is 0
    /// [default: the first binary table]
    #[arg(long, value_name = "NAME|N")]
    pub hdu: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Text inputs")]
pub struct TextInArgs {
    /// Dialect of text inputs: qserv (TAB, no quotes, escape \, NULL \N), qserv-csv (comma,
    /// quotes ", escape \, NULL \N) or rfc4180 (comma, quotes ", NULL empty) [default: qserv]
    #[arg(long, value_name = "NAME")]
    pub in_dialect: Option<String>,
    /// Delimiter of text inputs
    #[arg(long, value_name = "CHAR")]
    pub in_delimiter: Option<String>,
    /// Quote of text inputs, or none
    #[arg(long, value_name = "CHAR")]
    pub in_quote: Option<String>,
    /// Escape character of text inputs, or none
    #[arg(long, value_name = "CHAR")]
    pub in_escape: Option<String>,
    /// How text inputs spell NULL [default: the dialect's]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub in_null: Option<String>,
    /// Encoding of text inputs: latin1 (windows-1252), utf8mb4 or binary [default: that of the
    /// output]; of texts in FITS inputs: latin1, or else UTF-8
    #[arg(long, value_name = "NAME", value_parser = ["latin1", "utf8mb4", "binary"])]
    pub in_charset: Option<String>,
    /// The first line of each text input names the columns
    #[arg(long)]
    pub in_header: bool,
    /// Column names of headerless text, separated by commas
    #[arg(long, value_name = "A,B,C")]
    pub fields: Option<String>,
    /// File of column names of headerless text, one a line
    #[arg(long, value_name = "FILE", conflicts_with = "fields")]
    pub fields_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Text outputs")]
pub struct TextOutArgs {
    /// Dialect of the output: qserv (TAB, no quotes, escape \, NULL \N), qserv-csv (comma,
    /// quotes ", escape \, NULL \N) or rfc4180, which Qserv can't load [default: qserv]
    #[arg(long, value_name = "NAME")]
    pub dialect: Option<String>,
    /// Delimiter of the output
    #[arg(long, value_name = "CHAR")]
    pub delimiter: Option<String>,
    /// Quote of the output, or none
    #[arg(long, value_name = "CHAR")]
    pub quote: Option<String>,
    /// Escape character of the output, or none
    #[arg(long, value_name = "CHAR")]
    pub escape: Option<String>,
    /// How NULL is written
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub null: Option<String>,
}

#[derive(Debug, Args)]
pub struct StreamOutArgs {
    /// How lines end: lf or crlf
    #[arg(long, value_name = "END", help_heading = "Text outputs")]
    pub line_terminator: Option<String>,
    /// Write the column names as first line (Qserv can't load that)
    #[arg(long, help_heading = "Text outputs")]
    pub header: bool,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Values")]
pub struct ValueArgs {
    /// Booleans: 1 (1 and 0) or keep (true and false) [default: 1]
    #[arg(long = "bool", value_name = "RULE", value_parser = ["1", "keep"])]
    pub booleans: Option<String>,
    /// Infinities: limit (of the target type), null, error or keep [default: limit]
    #[arg(long, value_name = "RULE", value_parser = ["limit", "null", "error", "keep"])]
    pub inf: Option<String>,
    /// NaN: null, zero, error or keep [default: null; an error where the column is NOT NULL]
    #[arg(long, value_name = "RULE", value_parser = ["null", "zero", "error", "keep"])]
    pub nan: Option<String>,
    /// Numbers, dates and times outside the range of the column: error, clamp (to the nearest that
    /// it has) or null [default: error]
    #[arg(long, value_name = "RULE", value_parser = ["error", "clamp", "null"])]
    pub overflow: Option<String>,
    /// Texts and bytes longer than the column: error or cut [default: error]
    #[arg(long, value_name = "RULE", value_parser = ["error", "cut"])]
    pub truncate: Option<String>,
    /// Digits behind the point that the column does not keep: cut, round or error [default: cut
    /// for seconds, error for decimals]
    #[arg(long, value_name = "RULE", value_parser = ["cut", "round", "error"])]
    pub fraction: Option<String>,
    /// Lists, structs and maps: error, or json (as JSON text) [default: error]
    #[arg(long, value_name = "RULE", value_parser = ["error", "json"])]
    pub nested: Option<String>,
    /// Binary values: escape (the bytes as LOAD DATA takes them), hex, b64 or array (of numbers)
    /// [default: escape]
    #[arg(long, value_name = "FORM", value_parser = ["escape", "hex", "b64", "array"])]
    pub binary: Option<String>,
    /// Spatial reference to put before the WKB of GEOMETRY columns
    #[arg(long, value_name = "N")]
    pub srid: Option<u32>,
    /// Text that is not valid in its character set: error, replace or keep [default: error]
    #[arg(long, value_name = "RULE", value_parser = ["error", "replace", "keep"])]
    pub invalid_text: Option<String>,
    /// A further spelling of NULL: of all values of text inputs, of texts and binaries of other inputs; may
    /// be repeated
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub null_text: Vec<String>,
    /// Encoding of the output: latin1 (windows-1252), utf8mb4 or binary [default: latin1]
    #[arg(long, value_name = "NAME", value_parser = ["latin1", "utf8mb4", "binary"])]
    pub charset: Option<String>,
    /// Qserv's table JSON, or Felis YAML (file.yaml#Table where it has several tables): gives target
    /// types, order, NOT NULL and GENERATED columns
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Untyped text")]
pub struct InferArgs {
    /// Without a schema: treat text values by their look
    #[arg(long, conflicts_with = "schema")]
    pub infer: bool,
    /// With --infer: infinities belong to columns of this type
    #[arg(long, value_name = "TYPE", value_parser = ["double", "float"], requires = "infer")]
    pub assume_float: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Columns")]
pub struct ColumnArgs {
    /// Columns to write, in this order, separated by commas
    #[arg(long, value_name = "A,B,C")]
    pub columns: Option<String>,
    /// File of columns to write: one a line, or sph-parq2csv's JSON
    #[arg(long, value_name = "FILE", conflicts_with = "columns")]
    pub columns_file: Option<PathBuf>,
    /// Columns that an input may lack; they are NULL then
    #[arg(long, value_name = "X,Y")]
    pub optional: Option<String>,
    /// Rename a column; may be repeated
    #[arg(long, value_name = "OLD=NEW")]
    pub rename: Vec<String>,
    /// A column that holds the same value in all rows; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub constant: Vec<String>,
    /// Columns to leave out, separated by commas
    #[arg(long, value_name = "A,B")]
    pub exclude: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormArg {
    /// Text in the dialect that the options say
    Csv,
    /// The body of a request to Qserv's ingest service: rows as JSON arrays, in utf8mb4
    Json,
    /// A Parquet file of what the table would hold: numbers, dates and texts as such
    Parquet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DropInArg {
    Bare,
    BareFixed,
    Quoted,
    QuotedFixed,
}

#[derive(Debug, Args)]
pub struct ConvertArgs {
    #[command(flatten)]
    pub input: InputArgs,
    /// File, folder (one that is there, or ends with /: one output per input), or - for stdout
    #[arg(short, long, value_name = "OUT")]
    pub output: String,
    /// Replace an output that stands already
    #[arg(short, long)]
    pub force: bool,
    /// Form of the output
    #[arg(long, value_name = "FORM", default_value = "csv")]
    pub to: FormArg,
    /// Cut each output into files of at most so many bytes, such as 32MiB; further ones come into
    /// 000/, 001/ ... below the output folder
    #[arg(long, value_name = "SIZE")]
    pub split_size: Option<String>,
    /// How sph-parq2csv would write
    #[arg(long, value_name = "FORM", hide = true)]
    pub drop_in: Option<DropInArg>,
    #[command(flatten)]
    pub columns: ColumnArgs,
    #[command(flatten)]
    pub values: ValueArgs,
    #[command(flatten)]
    pub text_out: TextOutArgs,
    #[command(flatten)]
    pub stream_out: StreamOutArgs,
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

#[derive(Debug, Args)]
pub struct SanitizeArgs {
    #[command(flatten)]
    pub input: InputArgs,
    /// File, folder (one that is there, or ends with /: one output per input), or - for stdout
    #[arg(short, long, value_name = "OUT", default_value = "-")]
    pub output: String,
    /// Replace an output that stands already
    #[arg(short, long)]
    pub force: bool,
    #[command(flatten)]
    pub values: ValueArgs,
    #[command(flatten)]
    pub infer: InferArgs,
    #[command(flatten)]
    pub text_in: TextInArgs,
    #[command(flatten)]
    pub text_out: TextOutArgs,
    #[command(flatten)]
    pub stream_out: StreamOutArgs,
    #[command(flatten)]
    pub rejects: RejectArgs,
    #[command(flatten)]
    pub books: BookArgs,
    #[command(flatten)]
    pub digests: DigestArgs,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Pipeline file
    #[arg(value_name = "PIPELINE.toml")]
    pub pipeline: PathBuf,
    /// Replace tables that other options or inputs have made
    #[arg(short, long)]
    pub force: bool,
    #[command(flatten)]
    pub rejects: RejectArgs,
    #[command(flatten)]
    pub state: StateArgs,
    #[command(flatten)]
    pub network: NetworkArgs,
    #[command(flatten)]
    pub upload: UploadArgs,
    #[command(flatten)]
    pub books: BookArgs,
    #[command(flatten)]
    pub digests: DigestArgs,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder for one page per command; without it, the main page goes to stdout
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

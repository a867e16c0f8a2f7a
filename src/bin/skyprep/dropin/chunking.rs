//! What the options of the tools that partition have in common.

use std::ffi::OsString;
use std::path::Path;

use skyprep::error::{Error, Result};
use skyprep::sph::{SphConfig, SphTree};

use super::boost::{Known, Takes, Words, option, parse, short};

/// Which of the common options a tool knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Common {
    /// All.
    All,
    /// Those about rows, and not about chunks.
    Rows,
    /// Those about chunks, and not about rows.
    Chunks,
    /// All but those about inputs: rows come from what was indexed.
    Copies,
}

impl Common {
    fn has(self, name: &str) -> bool {
        let is_of = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
        match self {
            Self::All => true,
            Self::Rows => !is_of(&["part."]),
            Self::Chunks => !is_of(&["in.", "out.csv.", "mr."]),
            Self::Copies => !is_of(&["in.path", "in.is-", "in.parq2csv", "in.csv.optional"]),
        }
    }
}

/// Options of all tools.
const COMMON: [Known; 30] = [
    short("help", 'h', Takes::Nothing),
    short("verbose", 'v', Takes::Nothing),
    short(CONFIG_FILE, 'c', Takes::Texts),
    option("mr.block-size", Takes::Whole),
    option("mr.num-workers", Takes::Whole),
    option("mr.pool-size", Takes::Whole),
    short("in.path", 'i', Takes::Texts),
    option("in.is-parquet", Takes::Nothing),
    option("in.parq2csv-quote", Takes::Nothing),
    option("in.csv.null", Takes::Text),
    option("in.csv.delimiter", Takes::Character),
    option("in.csv.quote", Takes::Character),
    option("in.csv.no-quote", Takes::Nothing),
    option("in.csv.escape", Takes::Character),
    option("in.csv.no-escape", Takes::Nothing),
    option("in.csv.field", Takes::Texts),
    option("in.csv.optional", Takes::Texts),
    option("out.dir", Takes::Text),
    option("out.num-nodes", Takes::Whole),
    option("out.csv.null", Takes::Text),
    option("out.csv.delimiter", Takes::Character),
    option("out.csv.quote", Takes::Character),
    option("out.csv.no-quote", Takes::Nothing),
    option("out.csv.escape", Takes::Character),
    option("out.csv.no-escape", Takes::Nothing),
    option("out.csv.field", Takes::Texts),
    option("part.num-stripes", Takes::Whole),
    option("part.num-sub-stripes", Takes::Whole),
    option("part.overlap", Takes::Real),
    option("part.prefix", Takes::Text),
];

/// What [`COMMON_HELP`] says of appending.
const APPENDED: &str = "; rows are appended to what stands there, those of
                            the same input once (again with SKYPREP_APPEND=always)";

/// The configuration files, which are not part of the configuration.
const CONFIG_FILE: &str = "config-file";

/// Help for [`COMMON`].
const COMMON_HELP: &str = "  -h, --help                print this
  -v, --verbose             print statistics as JSON on stdout
  -c, --config-file FILE    JSON with options; the last file wins, the command line over all

  -i, --in.path FILE        file to read; any number of times
  --in.is-parquet           files with the name of a Parquet file are Parquet
  --in.parq2csv-quote       put values of Parquet files in quotes on their way to text
  --in.csv.field NAME       name of a field; once for each, in order
  --in.csv.optional NAME    a field that a Parquet file may lack
  --out.dir DIR             folder to write to; rows are appended to what stands there, those of
                            the same input once (again with SKYPREP_APPEND=always)
  --out.num-nodes N         folders in it that chunks are spread over (1)
  --out.csv.field NAME      column to write; once for each, in order (all fields)

For --in.csv and for --out.csv:
  .null TEXT                how NULL is spelt (NULL with a quote, else escape and N, else nothing)
  .delimiter C              between fields (TAB)
  .quote C, .no-quote       around fields (\"), or none
  .escape C, .no-escape     before special characters (\\), or none

  --mr.num-workers N        threads (1)
  --mr.block-size MIB       taken for the sake of old scripts (1 to 1024)
  --mr.pool-size MIB        memory to use (512 at least)

  --part.num-stripes N      stripes (18)
  --part.num-sub-stripes N  sub-stripes of each stripe (100)
  --part.overlap DEG        overlap in degrees (0.01)
  --part.prefix TEXT        what names of files begin with (chunk)
";

/// Says what all tools are told, as far as one knows it, and then what `own` is told.
pub fn help(common: Common, head: &str, own: &str) -> String {
    let mut text = format!("{head}\n\n");
    let mut is_known = true;
    for line in COMMON_HELP.lines() {
        let words = line.trim_start();
        if let Some(name) = words
            .strip_prefix("--")
            .or_else(|| words.split_once("--").map(|it| it.1))
        {
            is_known = common.has(name.trim_start_matches("--"));
        } else if words.starts_with("For --") || words.starts_with('.') {
            is_known = common.has("out.csv.");
        } else if words.is_empty() {
            is_known = !text.ends_with("\n\n");
        }
        if is_known {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str(own);
    match common {
        // What these write is no rows of inputs.
        Common::Chunks | Common::Copies => text.replace(APPENDED, ""),
        Common::All | Common::Rows => text,
    }
}

/// Reads options and configuration files of a tool that knows `own` besides the common options;
/// nothing if help is asked for.
pub fn config(own: &[Known], arguments: &[OsString]) -> Result<Option<SphConfig>> {
    let said = tree(Common::All, own, arguments)?;
    Ok(said.map(|(config, _)| config))
}

/// The same for a tool that knows some of the common options, and with the tree of all that was said.
pub fn tree(
    common: Common,
    own: &[Known],
    arguments: &[OsString],
) -> Result<Option<(SphConfig, SphTree)>> {
    let known = COMMON.iter().filter(|option| common.has(option.name));
    let known: Vec<Known> = known.chain(own).copied().collect();
    let said = parse(&known, Words::Ignored, arguments).map_err(Error::usage)?;
    if said.has("help") {
        return Ok(None);
    }
    let mut tree = SphTree::default();
    for file in said.values(CONFIG_FILE) {
        tree.merge_file(Path::new(file))?;
    }
    let is_setting = |option: &&Known| option.name != CONFIG_FILE;
    let settings: Vec<Known> = known.iter().filter(is_setting).copied().collect();
    let overrides = said.tree(&settings).map_err(Error::usage)?;
    tree.merge("the command line", overrides);
    SphConfig::new(&tree).map(|config| Some((config, tree)))
}

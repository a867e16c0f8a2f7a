//! From arguments to the library's options.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use skyprep::convert::RowTarget;
use skyprep::dialect::{Dialect, DialectOptions};
use skyprep::error::{Error, Place};
use skyprep::pipeline::{PassLimits, Replace, TextInput, TextNames};
use skyprep::publish::{FolderOptions, SyncMode};
use skyprep::resources::{ByteSize, available_memory, available_threads};
use skyprep::schema::{CHUNK_COLUMN, SUB_CHUNK_COLUMN, TableSchema};
use skyprep::source::{Input, InputList, InputName};
use skyprep::values::{
    BoolPolicy, Charset, FloatWidth, InfPolicy, Inference, NanPolicy, ValuePolicy,
};

use crate::args::{
    ColumnArgs, GlobalArgs, InferArgs, InputArgs, ProgressForm, StreamOutArgs, TextInArgs,
    TextOutArgs, ValueArgs,
};
use crate::printer::{Printer, grouped};

/// More threads than this can only be a slip, and would take all memory for their stacks.
const MOST_THREADS: usize = 1024;
const MOST_MEMORY_UNASKED: u64 = 2 << 30;

/// What every command works with.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    pub printer: Printer,
    pub resources: Resources,
    pub progress: ProgressForm,
    pub sync: SyncMode,
}

impl Session {
    /// Finds the limits; call it once, before any other work.
    pub fn open(global: &GlobalArgs, printer: Printer) -> Result<Self> {
        let resources = Resources::of(global, &printer)?;
        Ok(Self {
            printer,
            resources,
            progress: global.progress,
            sync: global.sync,
        })
    }

    /// Returns how output folders are opened and written.
    pub fn folder_options(&self) -> FolderOptions {
        FolderOptions {
            sync: self.sync,
            ..FolderOptions::default()
        }
    }
}

/// Threads and bytes of memory that are in force.
#[derive(Debug, Clone, Copy)]
pub struct Resources {
    pub threads: usize,
    pub memory: u64,
}

impl Resources {
    /// Finds the limits, and tells where each came from.
    fn of(global: &GlobalArgs, printer: &Printer) -> Result<Self> {
        let slurm_threads = slurm("SLURM_CPUS_PER_TASK");
        let (threads, from) = match (global.threads, slurm_threads) {
            (Some(threads), _) if !(1..=MOST_THREADS).contains(&threads) => {
                let message = format!("--threads {threads}: expected 1 to {MOST_THREADS}");
                return Err(Error::usage(message).into());
            }
            (Some(threads), _) => (threads, "--threads"),
            (None, Some(threads)) => (threads as usize, "SLURM_CPUS_PER_TASK"),
            (None, None) => (available_threads(), "cpuset and cgroup"),
        };
        printer.detail(&format!("threads: {threads} (from {from})"));
        let (available, source) = memory_at_hand(threads as u64);
        let (memory, from) = match &global.memory_limit {
            Some(text) => {
                let size: ByteSize = text
                    .parse()
                    .map_err(|message: String| Error::usage(message))
                    .context("--memory-limit")?;
                (size.of(available), "--memory-limit")
            }
            None => ((available / 5 * 4).min(MOST_MEMORY_UNASKED), source),
        };
        printer.detail(&format!("memory: {} bytes (from {from})", grouped(memory)));
        // Files of a run are written by rayon's own threads.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global();
        pool.context("starting threads")?;
        Ok(Self { threads, memory })
    }

    /// Returns the limits of one pass.
    pub fn pass_limits(self) -> PassLimits {
        PassLimits::new(self.threads, self.memory)
    }
}

fn slurm(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()?
        .parse()
        .ok()
        .filter(|number| *number > 0)
}

/// Returns the memory that cgroup, machine and Slurm leave, in bytes; Slurm counts in MiB.
fn memory_at_hand(threads: u64) -> (u64, &'static str) {
    let mut least = (
        available_memory().unwrap_or(MOST_MEMORY_UNASKED),
        "cgroup and machine",
    );
    let per_node = slurm("SLURM_MEM_PER_NODE").map(|mib| (mib << 20, "SLURM_MEM_PER_NODE"));
    let per_cpu =
        slurm("SLURM_MEM_PER_CPU").map(|mib| ((mib << 20) * threads, "SLURM_MEM_PER_CPU"));
    for limit in [per_node, per_cpu].into_iter().flatten() {
        if limit.0 < least.0 {
            least = limit;
        }
    }
    least
}

/// Collects the inputs; with none named, stdin where that makes sense.
pub fn inputs(args: &InputArgs, or_stdin: bool) -> Result<Vec<Input>> {
    let mut list = InputList::default();
    for name in &args.inputs {
        list.add(name)?;
    }
    if let Some(name) = &args.files_from {
        let separator = if args.null_separated { 0 } else { b'\n' };
        list.add_list(&read_or_stdin(name)?, separator)?;
    } else if args.inputs.is_empty() && or_stdin {
        list.add("-")?;
    }
    Ok(list.resolve()?)
}

/// Returns what `--force` means for what stands in an output folder.
pub fn replace(is_forced: bool) -> Replace {
    if is_forced { Replace::Yes } else { Replace::No }
}

/// Refuses an output that would come over an input, or among the inputs.
pub fn refuse_overwriting(inputs: &[Input], is_output: impl Fn(&Path) -> bool) -> Result<()> {
    for input in inputs {
        let InputName::File(path) = &input.name else {
            continue;
        };
        if path.canonicalize().is_ok_and(|real| is_output(&real)) {
            return Err(
                Error::usage("the output would come over this input or beside it")
                    .at(Place::file(input.name.shown()))
                    .hint("choose another output")
                    .into(),
            );
        }
    }
    Ok(())
}

fn read_or_stdin(name: &str) -> Result<Vec<u8>> {
    if name != "-" {
        return Ok(read(Path::new(name))?);
    }
    let mut bytes = Vec::new();
    let read = std::io::stdin().read_to_end(&mut bytes);
    read.map_err(|error| Error::reading(Path::new("stdin"), error))?;
    Ok(bytes)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::reading(path, error))
}

/// Returns how text inputs are read.
pub fn text_input(
    args: &TextInArgs,
    schema: Option<&TableSchema>,
    added: Vec<String>,
) -> Result<Arc<TextInput>> {
    let options = DialectOptions {
        dialect: args.in_dialect.clone(),
        delimiter: args.in_delimiter.clone(),
        quote: args.in_quote.clone(),
        escape: args.in_escape.clone(),
        null: args.in_null.clone(),
        line_terminator: None,
        header: args.in_header.then_some(true),
    };
    let dialect = options
        .resolve(&Dialect::qserv())
        .map_err(Error::from)
        .context("input dialect")?;
    let fields = match (&args.fields, &args.fields_file) {
        (Some(names), _) => Some(name_list("--fields", names)?),
        (None, Some(path)) => Some(name_lines(path)?),
        (None, None) => None,
    };
    let schema = schema.map(|s| s.columns.iter().map(|column| column.name.clone()).collect());
    Ok(Arc::new(TextInput {
        dialect,
        names: TextNames {
            fields,
            schema,
            added,
        },
    }))
}

/// Returns the names of the columns that partitioning adds later, unless it is told otherwise.
pub fn chunk_columns() -> Vec<String> {
    vec![CHUNK_COLUMN.to_owned(), SUB_CHUNK_COLUMN.to_owned()]
}

/// Returns the dialect of the output.
pub fn output_dialect(args: &TextOutArgs, stream: Option<&StreamOutArgs>) -> Result<Dialect> {
    let options = DialectOptions {
        dialect: args.dialect.clone(),
        delimiter: args.delimiter.clone(),
        quote: args.quote.clone(),
        escape: args.escape.clone(),
        null: args.null.clone(),
        line_terminator: stream.and_then(|stream| stream.line_terminator.clone()),
        header: stream.and_then(|stream| stream.header.then_some(true)),
    };
    options
        .resolve(&Dialect::qserv())
        .map_err(Error::from)
        .context("output dialect")
}

/// Reads the schema, if there is one.
pub fn schema(args: &ValueArgs) -> Result<Option<TableSchema>> {
    Ok(args.schema.as_deref().map(TableSchema::read).transpose()?)
}

/// Makes the target of a command.
pub fn target(
    name: &str,
    dialect: Dialect,
    values: &ValueArgs,
    infer: &InferArgs,
    columns: Option<&ColumnArgs>,
    schema: Option<TableSchema>,
) -> Result<RowTarget> {
    let mut target = RowTarget::new(name, dialect);
    target.policy = policy(values);
    target.inference = match (infer.infer, infer.assume_float.as_deref()) {
        (false, _) => Inference::Off,
        (true, None) => Inference::ByLook,
        (true, Some("float")) => Inference::Assume(FloatWidth::Single),
        (true, Some(_)) => Inference::Assume(FloatWidth::Double),
    };
    target.schema = schema;
    if let Some(columns) = columns {
        choose_columns(columns, &mut target)?;
    }
    Ok(target)
}

fn policy(args: &ValueArgs) -> ValuePolicy {
    ValuePolicy {
        bool: match args.booleans.as_deref() {
            Some("keep") => BoolPolicy::Keep,
            _ => BoolPolicy::Number,
        },
        inf: match args.inf.as_deref() {
            Some("null") => InfPolicy::Null,
            Some("error") => InfPolicy::Error,
            Some("keep") => InfPolicy::Keep,
            _ => InfPolicy::Limit,
        },
        nan: match args.nan.as_deref() {
            Some("zero") => NanPolicy::Zero,
            Some("error") => NanPolicy::Error,
            Some("keep") => NanPolicy::Keep,
            _ => NanPolicy::Null,
        },
        charset: charset(args.charset.as_deref()),
        null_text: args.null_text.clone(),
    }
}

/// Returns the character set of a name that clap has checked; latin1 without one.
pub fn charset(name: Option<&str>) -> Charset {
    name.and_then(Charset::from_name).unwrap_or_default()
}

fn choose_columns(args: &ColumnArgs, target: &mut RowTarget) -> Result<()> {
    if let Some(names) = &args.columns {
        target.columns = Some(name_list("--columns", names)?);
    }
    if let Some(path) = &args.columns_file {
        let (columns, optional) = columns_file(path)?;
        target.columns = Some(columns);
        target.optional = optional;
    }
    if let Some(names) = &args.optional {
        target.optional.extend(name_list("--optional", names)?);
    }
    if let Some(names) = &args.exclude {
        target.exclude = name_list("--exclude", names)?;
    }
    let mut rename = BTreeMap::new();
    for pair in &args.rename {
        let Some((old, new)) = pair
            .split_once('=')
            .filter(|(o, n)| !o.is_empty() && !n.is_empty())
        else {
            return Err(Error::usage(format!("--rename {pair}: expected OLD=NEW")).into());
        };
        rename.insert(old.to_owned(), new.to_owned());
    }
    target.rename = rename;
    Ok(())
}

/// Splits a list of names at commas; a name that holds a comma is quoted as in RFC 4180.
fn name_list(option: &str, text: &str) -> Result<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let record = reader
        .records()
        .next()
        .transpose()
        .context(option.to_owned())?;
    let names: Vec<String> = record.iter().flatten().map(str::to_owned).collect();
    if names.is_empty() || names.iter().any(String::is_empty) {
        return Err(Error::usage(format!("{option}: a name is empty")).into());
    }
    Ok(names)
}

fn name_lines(path: &Path) -> Result<Vec<String>> {
    let text = String::from_utf8(read(path)?)
        .map_err(|_| Error::usage(format!("{}: not UTF-8", path.display())))?;
    Ok(text
        .lines()
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

/// Reads `{"columns": [...], "optional": [...]}` or one name a line.
fn columns_file(path: &Path) -> Result<(Vec<String>, Vec<String>)> {
    #[derive(serde::Deserialize)]
    struct Listed {
        columns: Vec<String>,
        #[serde(default)]
        optional: Vec<String>,
    }
    let bytes = read(path)?;
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Ok((name_lines(path)?, Vec::new()));
    }
    let listed: Listed = serde_json::from_slice(&bytes)
        .map_err(|error| Error::usage(format!("{}: {error}", path.display())))?;
    Ok((listed.columns, listed.optional))
}

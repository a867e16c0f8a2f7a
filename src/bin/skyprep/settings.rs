//! From arguments to the library's options.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use skyprep::convert::{RowTarget, TextForm};
use skyprep::dialect::{Dialect, DialectOptions};
use skyprep::error::{Error, Place};
use skyprep::pipeline::{BadInputs, ReadAs, Replace, TextNames};
use skyprep::place::Network;
use skyprep::report::add_digests;
use skyprep::schema::{CHUNK_COLUMN, SUB_CHUNK_COLUMN, TableSchema};
use skyprep::source::{Input, InputFormat, InputList, InputName, Remotes, is_at_server};
use skyprep::values::{
    BinaryForm, BoolPolicy, Charset, FloatWidth, FractionPolicy, InfPolicy, Inference,
    InvalidTextPolicy, NanPolicy, NestedPolicy, OverflowPolicy, TruncatePolicy, ValuePolicy,
};

use crate::args::{
    ColumnArgs, DigestArgs, InferArgs, InputArgs, InputFormatArg, StreamOutArgs, TextInArgs,
    TextOutArgs, ValueArgs,
};
use crate::session::Session;

/// Returns the inputs with their digests, if those were asked for.
pub fn digested(
    mut inputs: Vec<Input>,
    args: &DigestArgs,
    session: &Session,
) -> Result<Vec<Input>> {
    if args.checksum_inputs {
        add_digests(&mut inputs, &session.interruption.cancel)?;
    }
    if inputs.iter().any(|input| input.stamp.is_none()) {
        session.interruption.may_not_look();
    }
    Ok(inputs)
}

/// Collects the inputs; with none named, stdin where that makes sense.
pub fn inputs(args: &InputArgs, or_stdin: bool, session: &Session) -> Result<Vec<Input>> {
    let list = named_inputs(args, session)?;
    match (list, or_stdin) {
        (None, true) => {
            let mut list = empty_list(args, session);
            list.add("-")?;
            Ok(list.resolve()?)
        }
        (list, _) => Ok(list.unwrap_or_default().resolve()?),
    }
}

/// Collects the inputs; with none named, those of `paths`, which are names and no patterns.
pub fn inputs_or(args: &InputArgs, paths: &[String], session: &Session) -> Result<Vec<Input>> {
    if let Some(list) = named_inputs(args, session)? {
        return Ok(list.resolve()?);
    }
    let mut list = empty_list(args, session);
    // Configuration files of the C++ tools may name files twice, which then are read twice.
    list.let_repeat();
    for path in paths {
        list.add_file(Path::new(path))?;
    }
    Ok(list.resolve()?)
}

fn empty_list(args: &InputArgs, session: &Session) -> InputList {
    let mut list = InputList::default();
    if session.limits().bad_inputs == BadInputs::PassOver {
        list.keep_unreadable();
    }
    if let Some(format) = args.input_format {
        list.force_format(match format {
            InputFormatArg::Parquet => InputFormat::Parquet,
            InputFormatArg::Fits => InputFormat::Fits,
            InputFormatArg::Arrow => InputFormat::Arrow,
            InputFormatArg::Text => InputFormat::Text,
        });
    }
    list
}

/// Collects the inputs that the command line names, if it names any.
fn named_inputs(args: &InputArgs, session: &Session) -> Result<Option<InputList>> {
    if args.inputs.is_empty() && args.files_from.is_none() {
        return Ok(None);
    }
    let mut list = empty_list(args, session);
    let separator = if args.null_separated { 0 } else { b'\n' };
    let listed = match &args.files_from {
        Some(name) => {
            session.interruption.may_not_look();
            read_or_stdin(name)?
        }
        None => Vec::new(),
    };
    let listed_names = listed.split(|byte| *byte == separator);
    let listed_names = listed_names.filter_map(|name| std::str::from_utf8(name).ok());
    let names = args.inputs.iter().map(String::as_str).chain(listed_names);
    let urls: Vec<&str> = names.filter(|name| is_at_server(name)).collect();
    if !urls.is_empty() {
        list.fetch_by(remotes(args, &urls, session)?);
    }
    for name in &args.inputs {
        list.add(name)?;
    }
    list.add_list(&listed, separator)?;
    Ok(Some(list))
}

/// Returns what opens files at servers; what is fetched waits where rows that memory can't hold do.
fn remotes(args: &InputArgs, urls: &[&str], session: &Session) -> Result<Remotes> {
    let options = args.network.options(session, urls)?;
    let folder = session.temporary_folder();
    Ok(Remotes::new(Network::new(options)?, folder))
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

/// Returns how inputs are read.
pub fn read_as(
    args: &TextInArgs,
    hdu: Option<&str>,
    schema: Option<&TableSchema>,
    added: Vec<String>,
) -> Result<Arc<ReadAs>> {
    read_as_over((args, hdu), &Dialect::qserv(), None, schema, added)
}

/// Returns how inputs are read, where `base` and `names` stand for what is not said of texts.
pub fn read_as_over(
    (args, hdu): (&TextInArgs, Option<&str>),
    base: &Dialect,
    names: Option<Vec<String>>,
    schema: Option<&TableSchema>,
    added: Vec<String>,
) -> Result<Arc<ReadAs>> {
    let options = DialectOptions {
        dialect: args.in_dialect.clone(),
        delimiter: args.in_delimiter.clone(),
        quote: args.in_quote.clone(),
        escape: args.in_escape.clone(),
        null: args.in_null.clone(),
        line_terminator: None,
        header: args.in_header.then_some(true),
        rules: None,
    };
    let dialect = options
        .resolve(base)
        .map_err(Error::from)
        .context("input dialect")?;
    let fields = match (&args.fields, &args.fields_file) {
        (Some(names), _) => Some(name_list("--fields", names)?),
        (None, Some(path)) => Some(name_lines(path)?),
        (None, None) => names,
    };
    let schema = schema.map(|s| s.columns.iter().map(|column| column.name.clone()).collect());
    Ok(Arc::new(ReadAs {
        dialect,
        charset: args.in_charset.as_deref().and_then(Charset::from_name),
        names: TextNames {
            fields,
            schema,
            added,
        },
        hdu: hdu.map(str::to_owned),
    }))
}

/// Returns the names of the columns that partitioning adds later, unless it is told otherwise.
pub fn chunk_columns() -> Vec<String> {
    vec![CHUNK_COLUMN.to_owned(), SUB_CHUNK_COLUMN.to_owned()]
}

/// Returns the dialect of the output.
pub fn output_dialect(args: &TextOutArgs, stream: Option<&StreamOutArgs>) -> Result<Dialect> {
    output_dialect_over(args, stream, &Dialect::qserv())
}

/// Returns the dialect of the output, where `base` stands for what is not said.
pub fn output_dialect_over(
    args: &TextOutArgs,
    stream: Option<&StreamOutArgs>,
    base: &Dialect,
) -> Result<Dialect> {
    let options = DialectOptions {
        dialect: args.dialect.clone(),
        delimiter: args.delimiter.clone(),
        quote: args.quote.clone(),
        escape: args.escape.clone(),
        null: args.null.clone(),
        line_terminator: stream.and_then(|stream| stream.line_terminator.clone()),
        header: stream.and_then(|stream| stream.header.then_some(true)),
        rules: None,
    };
    let dialect = options
        .resolve(base)
        .map_err(Error::from)
        .context("output dialect")?;
    match dialect.refusal_by_numbers() {
        None => Ok(dialect),
        Some(reason) => Err(Error::usage(reason)
            .hint("choose another for the output")
            .into()),
    }
}

/// Reads the schema, if there is one; says which columns' values can't be checked.
pub fn schema(args: &ValueArgs, session: &Session) -> Result<Option<TableSchema>> {
    let schema = args.schema.as_deref().map(TableSchema::read).transpose()?;
    if let Some(warning) = schema.as_ref().and_then(TableSchema::unchecked) {
        session.printer.warn(&warning);
    }
    Ok(schema)
}

/// Returns the file that the schema is read from, if there is one.
pub fn schema_file(args: &ValueArgs) -> Option<PathBuf> {
    args.schema.as_deref().map(TableSchema::file_of)
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
        overflow: match args.overflow.as_deref() {
            Some("clamp") => OverflowPolicy::Clamp,
            Some("null") => OverflowPolicy::Null,
            _ => OverflowPolicy::Error,
        },
        truncate: match args.truncate.as_deref() {
            Some("cut") => TruncatePolicy::Cut,
            _ => TruncatePolicy::Error,
        },
        fraction: match args.fraction.as_deref() {
            Some("cut") => Some(FractionPolicy::Cut),
            Some("round") => Some(FractionPolicy::Round),
            Some("error") => Some(FractionPolicy::Error),
            _ => None,
        },
        nested: match args.nested.as_deref() {
            Some("json") => NestedPolicy::Json,
            _ => NestedPolicy::Error,
        },
        binary: match args.binary.as_deref() {
            Some("hex") => BinaryForm::Hex,
            Some("b64") => BinaryForm::B64,
            Some("array") => BinaryForm::Array,
            _ => BinaryForm::Escape,
        },
        invalid_text: match args.invalid_text.as_deref() {
            Some("replace") => InvalidTextPolicy::Replace,
            Some("keep") => InvalidTextPolicy::Keep,
            _ => InvalidTextPolicy::Error,
        },
        srid: args.srid,
        charset: charset(args.charset.as_deref()),
        null_text: args.null_text.clone(),
        reference_style: false,
    }
}

/// Returns the dialect of a name; without one Qserv's.
pub fn named_dialect(name: Option<&str>) -> Result<Dialect> {
    let options = DialectOptions {
        dialect: name.map(ToOwned::to_owned),
        ..DialectOptions::default()
    };
    Ok(options.resolve(&Dialect::qserv()).map_err(Error::from)?)
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
    for pair in &args.constant {
        let Some((name, value)) = pair.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(Error::usage(format!("--constant {pair}: expected NAME=VALUE")).into());
        };
        if target.constants.iter().any(|(known, _)| known == name) {
            return Err(Error::usage(format!("--constant {name} is given twice")).into());
        }
        target.constants.push((name.to_owned(), value.to_owned()));
    }
    let mut rename = BTreeMap::new();
    for pair in &args.rename {
        let Some((old, new)) = pair
            .split_once('=')
            .filter(|(o, n)| !o.is_empty() && !n.is_empty())
        else {
            return Err(Error::usage(format!("--rename {pair}: expected OLD=NEW")).into());
        };
        if rename.insert(old.to_owned(), new.to_owned()).is_some() {
            return Err(Error::usage(format!("--rename {old} is given twice")).into());
        }
    }
    target.rename = rename;
    Ok(())
}

/// Splits a list of names at commas; a name that holds a comma is quoted as in RFC 4180.
pub fn name_list(option: &str, text: &str) -> Result<Vec<String>> {
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

/// Refuses what says how text is written, for outputs that are none.
pub fn refuse_text_options(
    text: &TextOutArgs,
    stream: Option<&StreamOutArgs>,
    form: &str,
) -> Result<()> {
    let has_dialect = [
        &text.dialect,
        &text.delimiter,
        &text.quote,
        &text.escape,
        &text.null,
    ]
    .into_iter()
    .chain(stream.map(|stream| &stream.line_terminator))
    .any(Option::is_some);
    if has_dialect || stream.is_some_and(|stream| stream.header) {
        let message = format!("the options of text outputs say nothing about --to {form}");
        return Err(Error::usage(message).into());
    }
    Ok(())
}

/// Lets texts be in utf8mb4, as all are in this form.
pub fn choose_utf8(values: &ValueArgs, form: &str, target: &mut RowTarget) -> Result<()> {
    match values.charset.as_deref() {
        None | Some("utf8mb4") => target.policy.charset = Charset::Utf8mb4,
        Some(other) => {
            let message = format!("--charset {other}: {form} is always utf8mb4");
            return Err(Error::usage(message).into());
        }
    }
    Ok(())
}

/// Lets the rows become a Parquet file.
pub fn choose_parquet(
    text: &TextOutArgs,
    stream: Option<&StreamOutArgs>,
    values: &ValueArgs,
    target: &mut RowTarget,
) -> Result<()> {
    refuse_text_options(text, stream, "parquet")?;
    choose_utf8(values, "Parquet", target)?;
    target.form = TextForm::Parquet;
    target.dialect = Dialect::qserv();
    Ok(())
}

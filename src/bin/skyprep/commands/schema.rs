//! `skyprep schema`

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use skyprep::error::{Error, Place};
use skyprep::pipeline::{OutputState, ReadAs, add_columns, check_writable, measure};
use skyprep::publish::{AtomicFile, append};
use skyprep::schema::{
    InputColumn, InputColumns, Look, Proposal, TableCharset, TableKind, TableRequest, TableSchema,
    check_director_columns, check_name,
};
use skyprep::source::{Input, InputFormat, InputList};
use skyprep::values::Charset;

use super::streams::{folder_of, hidden_name, total_bytes};
use crate::books::{self, DataTo};
use crate::progress::Progress;
use crate::session::Session;
use crate::settings;
use crate::table_args::{KindArg, SchemaArgs, SchemaFormArg};

impl From<KindArg> for TableKind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Director => Self::Director,
            KindArg::Child => Self::Child,
            KindArg::Regular => Self::Regular,
            KindArg::Match => Self::Match,
        }
    }
}

/// Endings of files that define tables.
const DEFINITIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Proposes a table for data, or writes a definition in another form.
pub fn run(args: &SchemaArgs, session: &Session) -> Result<()> {
    let request = request_of(args)?;
    let output = Output::of(&args.output);
    let definition = definition_of(args);
    let inputs = match definition {
        Some(path) => {
            let mut list = InputList::default();
            list.force_format(InputFormat::Text);
            list.add(&TableSchema::file_of(path).display().to_string())?;
            list.resolve()?
        }
        None => settings::inputs(&args.input, false, session)?,
    };
    books::check(&args.books, None, output.data(), &inputs)?;
    let inputs = settings::digested(inputs, &args.digests, session)?;
    if let Output::File(path) = output {
        let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        settings::refuse_overwriting(&inputs, |input| input == resolved)?;
        if !args.force {
            AtomicFile::check_new(path)?;
        }
        check_writable(folder_of(&resolved))?;
    }
    let source = match definition {
        Some(path) => Source::Definition(completed(args, path, request)?),
        None => looked_at(args, request, &inputs, session)?,
    };
    if args.books.dry_run {
        let columns = source.column_names();
        let state = match output {
            Output::File(path) if path.exists() => OutputState::Different,
            _ => OutputState::Absent,
        };
        return books::foretell_file(session, &inputs, &args.output, state, columns);
    }
    let mut report = session.begin_report();
    report.add_inputs(&inputs);
    let schema = match source {
        Source::Definition(schema) => {
            warn_of_director(&schema, session);
            schema
        }
        Source::Data { request, columns } => {
            let read_as = read_as(args);
            propose((&request, &columns), (&inputs, &read_as), output, session)?
        }
    };
    let text = match args.to {
        SchemaFormArg::Json => schema.to_json(),
        SchemaFormArg::Ddl => schema.to_ddl()?,
    };
    output.write(text.as_bytes(), args.force, session)?;
    report.files = u64::from(output.data() == DataTo::Files);
    report.bytes = text.len() as u64;
    let sources = books::sources([args.input.list_file()], session);
    let target = Path::new(&args.output);
    books::close(&args.books, session, &mut report, &[target], &sources, None)?;
    if output.data() == DataTo::Files {
        let columns = schema.columns.len();
        session
            .printer
            .note(&format!("{}: {columns} columns", args.output));
    }
    Ok(())
}

/// Where the definition goes.
#[derive(Clone, Copy)]
enum Output<'a> {
    Stdout,
    /// A pipe or a device: it must not be replaced by a file.
    Special(&'a Path),
    File(&'a Path),
}

impl<'a> Output<'a> {
    fn of(name: &'a str) -> Self {
        let path = Path::new(name);
        match name {
            "-" => Self::Stdout,
            _ if std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) => {
                Self::Special(path)
            }
            _ => Self::File(path),
        }
    }

    fn data(self) -> DataTo {
        match self {
            Self::Stdout => DataTo::Stdout,
            Self::Special(_) | Self::File(_) => DataTo::Files,
        }
    }

    fn write(self, text: &[u8], is_forced: bool, session: &Session) -> Result<()> {
        let path = match self {
            Self::Stdout => return session.printer.data(text),
            Self::Special(path) => {
                let written = append(path)?.write_all(text);
                return Ok(written.map_err(|error| Error::writing(path, error))?);
            }
            Self::File(path) => path,
        };
        // A link stays a link: what it points to is replaced.
        let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let file = match is_forced {
            true => AtomicFile::create(&resolved)?,
            false => AtomicFile::create_new(path)?,
        };
        let file = file.with_sync(session.folder.sync);
        let unfinished = Some(hidden_name(&resolved));
        session.interruption.set_unfinished(unfinished);
        let written = file.writer()?.write_all(text);
        written.map_err(|error| Error::writing(path, error))?;
        file.commit()?;
        session.interruption.set_unfinished(None);
        Ok(())
    }
}

/// What the definition is made from.
enum Source {
    /// Another definition, completed.
    Definition(TableSchema),
    /// The columns of table files.
    Data {
        request: TableRequest,
        columns: Vec<InputColumn>,
    },
}

impl Source {
    fn column_names(&self) -> Vec<String> {
        match self {
            Self::Definition(schema) => schema.columns.iter().map(|c| c.name.clone()).collect(),
            Self::Data { columns, .. } => columns.iter().map(|c| c.name.clone()).collect(),
        }
    }
}

fn request_of(args: &SchemaArgs) -> Result<TableRequest> {
    let ang_sep = match args.ang_sep {
        None => None,
        Some(distance) if distance > 0.0 => serde_json::Number::from_f64(distance),
        Some(distance) => {
            let message = format!("--ang-sep {distance}: expected a number above 0");
            return Err(Error::usage(message).into());
        }
    };
    let output = Path::new(&args.output);
    let stem = output.file_stem().and_then(|stem| stem.to_str());
    let stem = stem.filter(|stem| args.output != "-" && check_name("table", stem).is_ok());
    if let Some(name) = &args.database {
        check_name("database", name)?;
    }
    if let Some(name) = &args.table {
        check_name("table", name)?;
    }
    let table = args.table.clone();
    Ok(TableRequest {
        kind: args.kind.map(TableKind::from),
        database: args.database.clone(),
        // A definition has a name of its own.
        table: table.or_else(|| definition_of(args).map_or(stem.map(str::to_owned), |_| None)),
        director: args.director.clone(),
        director2: args.director2.clone(),
        id: args.id.clone(),
        id2: args.id2.clone(),
        ra: args.ra.clone(),
        dec: args.dec.clone(),
        flag: args.flags_column.clone(),
        ang_sep,
        charset: args.charset.as_deref().map(|name| match name {
            "utf8mb4" => TableCharset::Utf8mb4,
            _ => TableCharset::Latin1,
        }),
    })
}

/// Returns the only input, if it defines tables rather than holding data.
fn definition_of(args: &SchemaArgs) -> Option<&Path> {
    let [name] = args.input.inputs.as_slice() else {
        return None;
    };
    let is_definition = args.input.files_from.is_none() && args.input.input_format.is_none();
    let file = TableSchema::file_of(Path::new(name));
    let ending = file.extension()?.to_str()?.to_ascii_lowercase();
    let is_definition = is_definition && DEFINITIONS.contains(&ending.as_str());
    is_definition.then(|| Path::new(name.as_str()))
}

fn excluded(args: &SchemaArgs) -> Result<Vec<String>> {
    let names = args.exclude.as_deref();
    let names = names.map(|names| settings::name_list("--exclude", names));
    Ok(names.transpose()?.unwrap_or_default())
}

/// Reads a definition and adds what the options say.
fn completed(args: &SchemaArgs, path: &Path, request: TableRequest) -> Result<TableSchema> {
    let mut schema = match &request.table {
        Some(table) => TableSchema::read_for(path, table)?,
        None => TableSchema::read(path)?,
    };
    for name in excluded(args)? {
        let Some(at) = schema.columns.iter().position(|column| column.name == name) else {
            let message = format!("there is no column {name} to leave out");
            return Err(Error::usage(message).into());
        };
        schema.columns.remove(at);
    }
    let request = request.or_from(&schema)?;
    request.check()?;
    let at = |error: Error| error.at(Place::file(path.display().to_string()));
    Ok(request.complete(schema).map_err(at)?)
}

fn warn_of_director(schema: &TableSchema, session: &Session) {
    if schema.kind != Some(TableKind::Director) {
        return;
    }
    for finding in check_director_columns(schema, false) {
        session.printer.warn(&finding.message);
    }
}

/// Finds the columns of all inputs.
fn looked_at(
    args: &SchemaArgs,
    request: TableRequest,
    inputs: &[Input],
    session: &Session,
) -> Result<Source> {
    let request = TableRequest {
        charset: Some(request.charset.unwrap_or_default()),
        ..request
    };
    request.check()?;
    if let Some(text) = inputs
        .iter()
        .find(|input| input.format == InputFormat::Text)
    {
        return Err(Error::usage("this is text, which has no types")
            .at(Place::file(text.name.shown()))
            .hint("name Parquet, Arrow or FITS files, or a definition that ends in .yaml, .yml or .json")
            .into());
    }
    let mut columns = InputColumns::without(excluded(args)?);
    let read_as = read_as(args);
    add_columns(inputs, &read_as, &mut columns, session.limits())?;
    let (columns, notes) = columns.finish()?;
    request.check_columns(&columns)?;
    for note in notes {
        session.printer.note(&note);
    }
    Ok(Source::Data { request, columns })
}

/// Returns how inputs are read.
fn read_as(args: &SchemaArgs) -> Arc<ReadAs> {
    Arc::new(ReadAs {
        hdu: args.fits.hdu.clone(),
        charset: args.in_charset.as_deref().and_then(Charset::from_name),
        ..ReadAs::default()
    })
}

/// Looks at the values and proposes a table.
fn propose(
    (request, columns): (&TableRequest, &[InputColumn]),
    (inputs, read_as): (&[Input], &Arc<ReadAs>),
    output: Output<'_>,
    session: &Session,
) -> Result<TableSchema> {
    let looks = request.looks(columns);
    let named = columns.iter().zip(&looks);
    let named: Vec<(&str, Look)> = named.map(|(c, look)| (c.name.as_str(), *look)).collect();
    let charset = match request.charset {
        Some(TableCharset::Utf8mb4) => Charset::Utf8mb4,
        _ => Charset::Latin1,
    };
    let progress = Progress::new(session);
    if looks.iter().any(|look| !look.is_nothing()) {
        match output.data() {
            DataTo::Stdout => progress.start_beside_data(&session.command, total_bytes(inputs)),
            DataTo::Files => progress.start(&session.command, total_bytes(inputs)),
        }
    }
    let limits = session.pass_limits();
    let measures = measure(inputs, &named, charset, read_as, &limits, &progress);
    progress.end();
    let Proposal {
        schema,
        notes,
        warnings,
    } = request.propose(columns, &measures?)?;
    for note in notes {
        session.printer.note(&note);
    }
    for warning in warnings {
        session.printer.warn(&warning);
    }
    Ok(schema)
}

//! Inputs opened far enough to know their columns, with the row plans of the outputs they feed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::DataType;
use rayon::prelude::*;
use serde::Serialize;

use super::pass::{InputSpan, PassInput};
use super::row_groups::Span;
use crate::convert::{RowPlan, RowTarget, TextForm};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::PiecePosition;
use crate::sanitize::TextPlan;
use crate::schema::{ColumnContent, MysqlType, OutputColumn};
use crate::source::{BLOCK_MEMORY, ColumnFile, DecodeBudget, SharedRowGroup, TextFile};
use crate::typed::{TypedColumn, parquet_memory};
use crate::values::BoolPolicy;

/// Bytes by which younger pieces may be ahead: enough for some fifteen threads that read Parquet.
const AHEAD: u64 = 24 << 20;

/// Where the names of headerless text come from.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TextNames {
    /// Names in order of the fields.
    pub fields: Option<Vec<String>>,
    /// Names of the target table's columns.
    pub schema: Option<Vec<String>>,
    /// Names of columns that the target has and the input may lack: the chunk columns.
    pub added: Vec<String>,
}

impl TextNames {
    /// Returns the names of a text's fields, if they are known.
    pub(super) fn of_file(&self, file: &TextFile) -> Option<Vec<String>> {
        let header = file.field_names().map(<[String]>::to_vec);
        header.or_else(|| self.of(file.field_count()))
    }

    /// Returns the names of an input of `count` fields, if they are known.
    fn of(&self, count: usize) -> Option<Vec<String>> {
        if let Some(fields) = &self.fields {
            return Some(fields.clone());
        }
        let schema = self.schema.as_ref()?;
        if count == schema.len() {
            return Some(schema.clone());
        }
        let own: Vec<String> = schema
            .iter()
            .filter(|name| !self.added.iter().any(|id| id.eq_ignore_ascii_case(name)))
            .cloned()
            .collect();
        (count == own.len() || count == 0).then_some(own)
    }
}

/// An input that has been opened.
pub(super) enum Opened {
    Columns(ColumnFile),
    Text {
        file: Box<TextFile>,
        names: Vec<String>,
    },
}

impl Opened {
    pub(super) fn open(input: &PassInput) -> Result<Self> {
        let read_as = input.read_as.as_ref();
        if let Some(file) = ColumnFile::open(&input.input, read_as.fits())? {
            return Ok(Self::Columns(file));
        }
        let (dialect, names) = (&read_as.dialect, &read_as.names);
        let file = Box::new(TextFile::open(&input.input, dialect, read_as.charset)?);
        let place = || Place::file(file.name());
        let count = file.field_count();
        let names = match names.of_file(&file) {
            Some(names) => names,
            None if names.schema.is_some() => {
                return Err(Error::usage(format!(
                    "the text has {count} fields, the schema has another number of columns"
                ))
                .at(place())
                .hint("name the fields in order with --fields"));
            }
            None => (1..=count).map(|number| format!("field{number}")).collect(),
        };
        if count > 0 && names.len() != count {
            return Err(Error::usage(format!(
                "the text has {count} fields, but {} names are given for them",
                names.len()
            ))
            .at(place())
            .hint("check --fields and the dialect (--in-dialect, --in-delimiter ...)"));
        }
        Ok(Self::Text { file, names })
    }

    fn column_names(&self) -> Vec<String> {
        match self {
            Self::Columns(file) => file
                .schema()
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect(),
            Self::Text { names, .. } => names.clone(),
        }
    }
}

/// The inputs of a pass, some of them opened already, and the columns of its outputs.
pub struct PreparedInputs {
    inputs: Vec<PassInput>,
    opened: Mutex<Vec<Option<Opened>>>,
    columns: Vec<Vec<OutputColumn>>,
    /// Types of the columns of outputs that are Parquet files.
    typed: Vec<Option<Vec<TypedColumn>>>,
}

impl PreparedInputs {
    /// Opens the first input of each target and resolves the targets' columns.
    ///
    /// # Errors
    /// An input can't be opened, or a target wants columns that it does not have.
    pub fn new(inputs: Vec<PassInput>, targets: &[&RowTarget]) -> Result<Self> {
        let (opened, columns) = resolve_columns(&inputs, targets)?;
        let mut prepared = Self {
            inputs,
            opened: Mutex::new(opened),
            columns,
            typed: Vec::new(),
        };
        let typed = targets.iter().enumerate().map(|(number, target)| {
            let is_typed = target.form == TextForm::Parquet;
            let typed = is_typed.then(|| prepared.typed_columns(number, target));
            Ok(typed.transpose()?.map(|(columns, _)| columns))
        });
        prepared.typed = typed.collect::<Result<_>>()?;
        Ok(prepared)
    }

    /// Takes inputs whose outputs have the columns that others have settled, as the first inputs of a
    /// job do for all of its tasks.
    pub(crate) fn with_columns(inputs: Vec<PassInput>, columns: Vec<Vec<OutputColumn>>) -> Self {
        let opened = inputs.iter().map(|_| None).collect();
        Self {
            inputs,
            opened: Mutex::new(opened),
            columns,
            typed: Vec::new(),
        }
    }

    /// Returns the columns of output number `target`.
    pub fn columns(&self, target: usize) -> &[OutputColumn] {
        &self.columns[target]
    }

    /// Returns the columns of output number `target` with their types, if it is a Parquet file.
    pub(super) fn parquet_columns(&self, target: usize) -> Option<&[TypedColumn]> {
        self.typed.get(target)?.as_deref()
    }

    /// Returns the columns of output number `number` with their types, and of which these are known: the
    /// schema's, else those that they have in the first input. It must be called before inputs are
    /// read.
    pub(super) fn typed_columns(
        &self,
        number: usize,
        target: &RowTarget,
    ) -> Result<(Vec<TypedColumn>, Vec<bool>)> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let feeding = self.inputs.iter().zip(opened.iter());
        let feeding = feeding.filter(|(fed, _)| fed.feeds.contains(&number));
        // An empty text knows no columns; then the next input does.
        let mut known = feeding.filter_map(|(_, opened)| opened.as_ref());
        let first = known.find(|opened| !opened.column_names().is_empty());
        typed_of(self.columns(number), target, first)
    }

    /// Returns the number of inputs.
    pub(super) fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Says whether all inputs can be read a second time: a pipe gives its bytes only once.
    pub(super) fn can_be_read_again(&self) -> bool {
        self.inputs.iter().all(|fed| fed.input.stamp.is_some())
    }

    /// Returns the bytes that `threads` threads may be ahead of the oldest piece where waiting for
    /// it costs nothing else.
    pub(super) fn bytes_ahead(&self, threads: usize) -> u64 {
        let has_columns = |fed: &PassInput| fed.input.format.has_columns();
        match self.inputs.iter().all(has_columns) {
            true => AHEAD,
            false => AHEAD.max(threads as u64 * 2 * BLOCK_MEMORY),
        }
    }

    /// Lets an opened input begin and end where the part of it does that is to be read.
    ///
    /// # Errors
    /// The input can't be read up to there.
    pub(super) fn keep_to_part(&self, number: usize, opened: &mut Ready) -> Result<()> {
        let fed = &self.inputs[number];
        let wrong = || {
            let message = "the part of it that is to be read does not fit its format";
            Err(Error::new(ErrorKind::Internal, message)
                .at(Place::file(fed.input.name.shown()))
                .hint("please report this"))
        };
        match (fed.part.span, opened) {
            (None, _) => Ok(()),
            (
                Some(InputSpan::RowGroups { first, end }),
                Ready::Columns {
                    next, end: last, ..
                },
            ) => {
                *next = first;
                *last = end.min(*last);
                Ok(())
            }
            (Some(InputSpan::Text { first, line, end }), Ready::Text { file, .. }) => {
                file.keep_to(&fed.input, &fed.read_as.dialect, first..end, line)
            }
            (Some(_), _) => wrong(),
        }
    }

    /// Returns the stretch of a job's inputs that an input belongs to.
    pub(super) fn order_of(&self, number: usize) -> u32 {
        self.inputs[number].part.order
    }

    /// Lets an opened input go on at `position`.
    ///
    /// # Errors
    /// The input can't be read up to there.
    pub(super) fn go_to(&self, opened: &mut Ready, position: PiecePosition) -> Result<()> {
        match opened {
            Ready::Columns { next, first, .. } => {
                *next = usize::try_from(position.offset).unwrap_or(usize::MAX);
                *first = position.line;
                Ok(())
            }
            Ready::Text { file, .. } => {
                let input = &self.inputs[position.input];
                let dialect = &input.read_as.dialect;
                file.go_to(&input.input, dialect, position.offset, position.line)
            }
        }
    }

    /// Reads those of the inputs that are called like one of `names` to their ends.
    ///
    /// # Errors
    /// One is damaged.
    pub(super) fn check_whole(
        &self,
        names: &BTreeSet<String>,
        targets: &[&RowTarget],
        budget: DecodeBudget,
    ) -> Result<()> {
        for (number, fed) in self.inputs.iter().enumerate() {
            // A pipe gives its bytes only once.
            if fed.input.stamp.is_none() || !names.contains(&fed.input.name.shown()) {
                continue;
            }
            match self.open(number, targets)? {
                Ready::Columns { file, .. } => {
                    for group in 0..file.file.row_groups() {
                        let group = file.file.plan(group, &file.roots, budget)?;
                        SharedRowGroup::new(group, 0, None).check()?;
                    }
                }
                Ready::Text { mut file, .. } => {
                    let mut buffer = Vec::new();
                    while let Some(block) = file.next_block(buffer)? {
                        buffer = block.into_buffer().unwrap_or_default();
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the bytes of memory that the pass takes at least: for reading the dearest piece of any
    /// input with columns, where of each file the largest row group stands for all, and for writing
    /// Parquet files.
    ///
    /// # Errors
    /// An input lacks columns: of several the first. Whatever else is wrong with inputs is left to
    /// the pass.
    pub(super) fn least_memory(&self, targets: &[&RowTarget]) -> Result<u64> {
        let needs: Vec<Result<u64>> = (0..self.inputs.len())
            .into_par_iter()
            .map(|number| {
                let input = &self.inputs[number];
                if !input.input.format.has_columns() {
                    return Ok(0);
                }
                let fresh = Opened::open(input)?;
                let Ready::Columns { file, .. } = self.ready(number, fresh, targets)? else {
                    return Ok(0);
                };
                let groups = 0..file.file.row_groups();
                let largest = groups.max_by_key(|group| file.file.group_bytes(*group));
                let least = DecodeBudget::LEAST;
                match largest {
                    Some(group) => Ok(file.file.plan(group, &file.roots, least)?.memory()),
                    None => Ok(0),
                }
            })
            .collect();
        let mut most = 0;
        for need in needs {
            match need {
                Ok(bytes) => most = most.max(bytes),
                Err(error) if error.kind() == ErrorKind::Usage => return Err(error),
                Err(_) => {}
            }
        }
        let is_parquet = |target: &&RowTarget| target.form == TextForm::Parquet;
        let columns = (0..targets.len()).map(|number| self.columns(number).len());
        let written = targets.iter().zip(columns);
        let written = written.filter(|(target, _)| is_parquet(target));
        let written: u64 = written.map(|(_, columns)| parquet_memory(columns)).sum();
        Ok(most + written)
    }

    /// Opens input number `number` and compiles the plans of the targets that it feeds.
    pub(super) fn open(&self, number: usize, targets: &[&RowTarget]) -> Result<Ready> {
        let input = &self.inputs[number];
        let known = self.opened.lock().unwrap_or_else(PoisonError::into_inner)[number].take();
        let opened = match known {
            Some(opened) => opened,
            None => Opened::open(input)?,
        };
        self.ready(number, opened, targets)
    }

    fn ready(&self, number: usize, opened: Opened, targets: &[&RowTarget]) -> Result<Ready> {
        let input = &self.inputs[number];
        let at_input = |error: Error| error.at(Place::file(input.input.name.shown()));
        let names = opened.column_names();
        for target in &input.feeds {
            let columns = &self.columns[*target];
            targets[*target]
                .check_no_surplus(&names, columns)
                .map_err(at_input)?;
            if let Some(made) = self.parquet_columns(*target).filter(|_| !names.is_empty()) {
                check_types(made, columns, targets[*target], &opened).map_err(at_input)?;
            }
        }
        match opened {
            Opened::Columns(file) => {
                let plans: Result<Vec<_>> = input
                    .feeds
                    .iter()
                    .map(|target| {
                        let columns = &self.columns[*target];
                        let plan = RowPlan::compile(targets[*target], columns, file.schema());
                        Ok((*target, plan.map_err(at_input)?))
                    })
                    .collect();
                Ok(Ready::columns(file, plans?))
            }
            Opened::Text { file, .. } if file.field_count() == 0 => {
                let plans = TextPlans {
                    name: file.name().to_owned(),
                    plans: Vec::new(),
                };
                Ok(Ready::Text {
                    file,
                    plans: Arc::new(plans),
                })
            }
            Opened::Text { file, names } => {
                let plans: Result<Vec<_>> = input
                    .feeds
                    .iter()
                    .map(|target| {
                        let columns = &self.columns[*target];
                        let (dialect, charset) = (&input.read_as.dialect, input.read_as.charset);
                        let target_of = targets[*target];
                        let plan = TextPlan::compile(target_of, columns, dialect, charset, &names);
                        Ok((*target, plan.map_err(at_input)?))
                    })
                    .collect();
                let plans = TextPlans {
                    name: file.name().to_owned(),
                    plans: plans?,
                };
                Ok(Ready::Text {
                    file,
                    plans: Arc::new(plans),
                })
            }
        }
    }
}

/// Inputs that were opened, and the columns of each target.
type Resolved = (Vec<Option<Opened>>, Vec<Vec<OutputColumn>>);

/// Opens the first input of each target, and returns what was opened and each target's columns.
fn resolve_columns(inputs: &[PassInput], targets: &[&RowTarget]) -> Result<Resolved> {
    let mut opened: Vec<Option<Opened>> = inputs.iter().map(|_| None).collect();
    let mut columns = Vec::with_capacity(targets.len());
    for (number, target) in targets.iter().enumerate() {
        let (at, known) = first_columns(inputs, &mut opened, number, target)?;
        let shown = inputs[at].input.name.shown();
        let resolved = target.output_columns(&known);
        columns.push(resolved.map_err(|error| error.at(Place::file(shown)))?);
    }
    Ok((opened, columns))
}

/// Returns columns with the types that they have in an input, and of which these are known.
fn typed_of(
    columns: &[OutputColumn],
    target: &RowTarget,
    opened: Option<&Opened>,
) -> Result<(Vec<TypedColumn>, Vec<bool>)> {
    let schema = match opened {
        Some(Opened::Columns(file)) => Some(file.schema()),
        _ => None,
    };
    let typed = columns.iter().map(|column| {
        let input = match &schema {
            Some(schema) => target.input_type(column, schema)?,
            None => None,
        };
        if target.form == TextForm::Parquet
            && target.policy.bool == BoolPolicy::Keep
            && matches!(column.target, Some(MysqlType::Integer { .. }))
            && column.content == ColumnContent::Input
            && input == Some(DataType::Boolean)
        {
            let name = &column.name;
            let message = format!("--bool keep: column {name} is of whole numbers in Parquet");
            return Err(Error::usage(message).hint("leave it out, and booleans become 1 and 0"));
        }
        let is_known = column.target.is_some() || input.is_some();
        let typed = TypedColumn::of(column, input.as_ref(), target.policy.bool);
        Ok((typed, is_known))
    });
    let typed: Result<Vec<_>> = typed.collect();
    Ok(typed?.into_iter().unzip())
}

/// Refuses an input whose columns have other types than those of the file that is made.
fn check_types(
    made: &[TypedColumn],
    columns: &[OutputColumn],
    target: &RowTarget,
    opened: &Opened,
) -> Result<()> {
    let names = target.renamed(&opened.column_names());
    let (own, _) = typed_of(columns, target, Some(opened))?;
    for ((made, own), column) in made.iter().zip(&own).zip(columns) {
        let is_same = column.content != ColumnContent::Input || own.kind == made.kind;
        if is_same || target.find(&column.name, &names)?.is_none() {
            continue;
        }
        let message = format!(
            "column {} holds {} here, but {} in the first input",
            column.name,
            own.kind.data_type(),
            made.kind.data_type()
        );
        return Err(Error::usage(message).hint(
            "say the types of the output's columns: --schema; or convert the files one by one",
        ));
    }
    Ok(())
}

/// Returns the number and the columns of the first input of a target that knows any.
fn first_columns(
    inputs: &[PassInput],
    opened: &mut [Option<Opened>],
    number: usize,
    target: &RowTarget,
) -> Result<(usize, Vec<String>)> {
    let mut feeding = (0..inputs.len()).filter(|at| inputs[*at].feeds.contains(&number));
    let Some(mut first) = feeding.next() else {
        return Err(Error::usage(format!("table {} has no input", target.name)));
    };
    let mut known = columns_of(inputs, opened, first)?;
    // An empty text knows no columns; then the next input does.
    while known.is_empty()
        && let Some(next) = feeding.next()
    {
        first = next;
        known = columns_of(inputs, opened, first)?;
    }
    Ok((first, known))
}

/// Returns for each target the columns of its first input that knows any: they settle those of all
/// tasks of a job.
///
/// # Errors
/// An input can't be opened, or a target has none.
pub(crate) fn input_columns(
    inputs: &[PassInput],
    targets: &[&RowTarget],
) -> Result<Vec<Vec<String>>> {
    let mut opened: Vec<Option<Opened>> = inputs.iter().map(|_| None).collect();
    let numbered = targets.iter().enumerate();
    numbered
        .map(|(number, target)| {
            first_columns(inputs, &mut opened, number, target).map(|(_, known)| known)
        })
        .collect()
}

/// Opens input number `at`, unless it is open already, and returns its column names.
fn columns_of(
    inputs: &[PassInput],
    opened: &mut [Option<Opened>],
    at: usize,
) -> Result<Vec<String>> {
    if opened[at].is_none() {
        opened[at] = Some(Opened::open(&inputs[at])?);
    }
    Ok(opened[at]
        .as_ref()
        .map(Opened::column_names)
        .unwrap_or_default())
}

/// An opened input with its plans.
pub(super) enum Ready {
    Columns {
        file: Arc<ColumnPlans>,
        /// The row group that is opened next.
        next: usize,
        /// The row of it to begin with.
        first: u64,
        /// The row group behind the last that is read.
        end: usize,
    },
    Text {
        file: Box<TextFile>,
        plans: Arc<TextPlans>,
    },
}

/// A file with columns and what is made of it.
pub(super) struct ColumnPlans {
    pub(super) file: ColumnFile,
    /// Target number and its plan.
    pub(super) plans: Vec<(usize, RowPlan)>,
    /// Root columns that any plan needs, ascending.
    pub(super) roots: Vec<usize>,
    /// Rows before each row group.
    pub(super) rows_before: Vec<u64>,
}

impl ColumnPlans {
    /// Returns the share of a span in the bytes of its file, for progress.
    pub(super) fn bytes_of(&self, span: &Span) -> u64 {
        let number = span.group.number();
        let (bytes, rows) = (self.file.group_bytes(number), self.file.rows(number));
        let up_to = |row: u64| u128::from(bytes) * u128::from(row) / u128::from(rows.max(1));
        let share = up_to(span.rows.end).saturating_sub(up_to(span.rows.start));
        u64::try_from(share).unwrap_or(bytes)
    }
}

/// What is made of a text input.
pub(super) struct TextPlans {
    pub(super) name: String,
    /// Target number and its plan.
    pub(super) plans: Vec<(usize, TextPlan)>,
}

impl Ready {
    fn columns(file: ColumnFile, plans: Vec<(usize, RowPlan)>) -> Self {
        let mut roots: Vec<usize> = plans.iter().flat_map(|(_, plan)| plan.roots()).collect();
        roots.sort_unstable();
        roots.dedup();
        let mut total = 0u64;
        let rows_before = (0..file.row_groups())
            .map(|number| {
                let before = total;
                total = total.saturating_add(file.rows(number));
                before
            })
            .collect();
        Self::Columns {
            end: file.row_groups(),
            file: Arc::new(ColumnPlans {
                file,
                plans,
                roots,
                rows_before,
            }),
            next: 0,
            first: 0,
        }
    }
}

//! How the rows of one output are made from the fields of one text input, decided once.

use std::sync::Arc;

use super::address::AddressReader;
use super::glance::Glance;
use super::look::{Look, PlainBytes};
use super::translate::Translator;
use crate::convert::{Named, RouteColumns, RowLayout, RowTarget, TextForm};
use crate::dialect::{Dialect, Encoder};
use crate::error::Result;
use crate::partition::{KeyWatch, Router};
use crate::schema::{ColumnContent, MysqlType, OutputColumn, RowStep, row_steps};
use crate::values::{BinaryForm, Charset, ColumnRule, Inference};

/// How the rows of one output are made from one text input's fields.
pub struct TextPlan {
    pub(super) input: Dialect,
    pub(super) field_names: Vec<String>,
    pub(super) cells: Vec<PlannedField>,
    pub(super) steps: Vec<RowStep>,
    pub(super) encoder: Encoder,
    pub(super) layout: RowLayout,
    pub(super) inference: Inference,
    /// Character set of the input.
    pub(super) charset: Charset,
    /// Whether texts are looked at for bytes that their character set does not have.
    pub(super) checks_charset: bool,
    pub(super) routing: Option<PlannedRouting>,
    /// How records are copied whole, if they are.
    pub(super) whole: Option<WholeRecords>,
    /// Bytes that are written as they stand.
    pub(super) plain: PlainBytes,
    /// Whether fields that stay and stand side by side can be copied with what is between them.
    pub(super) has_same_delimiter: bool,
    /// Tells which fields of a record stay, if the cells are the fields in order.
    pub(super) glance: Option<Glance>,
}

/// Records that need no look at each of their fields.
pub(super) struct WholeRecords {
    /// Fields that are located, for they decide where a row goes.
    pub(super) located: usize,
    /// What exchanges the delimiters, where they differ.
    pub(super) translator: Option<Translator>,
}

pub(super) struct PlannedField {
    pub(super) name: String,
    /// In a box, so that what is looked at for each field lies close together.
    pub(super) rule: Box<ColumnRule>,
    /// Field of the input; none where NULL is written.
    pub(super) source: Option<usize>,
    /// What is written where there is no source; without it, NULL.
    pub(super) fixed: Option<Vec<u8>>,
    pub(super) is_placeholder: bool,
    pub(super) treatment: Treatment,
    pub(super) look: Look,
}

/// What a field goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Its bytes are copied.
    Copy,
    /// Its value is checked, then its bytes are copied.
    CheckAndCopy,
    /// Its value goes through the rules and is written anew.
    Rewrite,
}

pub(super) struct PlannedRouting {
    pub(super) router: Router,
    pub(super) columns: RouteColumns<KeyField>,
    /// The director's own key.
    pub(super) director_key: Option<Named<KeyField>>,
    /// How keys are read.
    pub(super) reader: AddressReader,
    /// Watches out for keys of the director that occur twice.
    pub(super) watch: Option<Arc<KeyWatch>>,
    /// Number of the cell of the director's own key, where it might be changed when it is written.
    pub(super) guard: Option<usize>,
}

/// A field that decides where a row goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyField {
    /// Number of the field.
    pub(super) field: usize,
    /// Whether its column is one of whole numbers.
    pub(super) is_whole: bool,
    /// Number of the cell that is written from it, if its rule may change the value.
    pub(super) cell: Option<usize>,
}

impl PlannedRouting {
    /// Returns the number of fields that must be located.
    fn fields(&self) -> usize {
        let own = self.director_key.iter();
        let all = self
            .columns
            .all()
            .chain(own)
            .map(|named| named.column.field);
        all.max().map_or(0, |last| last + 1)
    }
}

impl TextPlan {
    /// Compiles the plan for an input in dialect `input` and character set `charset` (without one,
    /// the output's) with fields `field_names`.
    ///
    /// # Errors
    /// A column is missing.
    pub fn compile(
        target: &RowTarget,
        columns: &[OutputColumn],
        input: &Dialect,
        charset: Option<Charset>,
        field_names: &[String],
    ) -> Result<Self> {
        let charset = charset.unwrap_or(target.policy.charset);
        let renamed = target.renamed(field_names);
        let is_same_dialect = target.form == TextForm::Lines
            && target.policy.charset == charset
            && target.dialect.copies_fields_of(input);
        let encoder = target.encoder();
        let plain = PlainBytes::new(target, &encoder, input, charset);
        let mut cells = Vec::with_capacity(columns.len());
        for (number, column) in columns.iter().enumerate() {
            let source = match column.content {
                ColumnContent::Input => target.find(&column.name, &renamed)?,
                _ => None,
            };
            let rule = target.rule(number, column);
            cells.push(PlannedField {
                name: column.name.clone(),
                fixed: target.fixed_text(column, &rule, &encoder)?,
                rule: Box::new(rule),
                source,
                is_placeholder: column.content != ColumnContent::Input,
                treatment: treatment(target, column, is_same_dialect),
                look: Look::new(target, column, input, &plain),
            });
        }
        let find = |name: &str| -> Result<KeyField> {
            let field = target.find(name, &renamed)?;
            let field = field.ok_or_else(|| crate::convert::missing(name, &renamed))?;
            let at = columns.iter().position(|column| column.name == name);
            let column = at.and_then(|at| columns.get(at));
            let is_whole = column
                .is_some_and(|column| matches!(column.target, Some(MysqlType::Integer { .. })));
            let spells_null = !target.policy.null_text.is_empty();
            let cell = at.filter(|at| {
                let rule = cells.get(*at).map(|cell: &PlannedField| &cell.rule);
                spells_null || rule.is_some_and(|rule| rule.may_change_numbers())
            });
            Ok(KeyField {
                field,
                is_whole,
                cell,
            })
        };
        let routing = match &target.routing {
            None => None,
            Some(routing) => {
                let director_key = match &routing.director_key {
                    None => None,
                    Some(name) => Some(Named {
                        name: name.clone(),
                        column: find(name)?,
                    }),
                };
                Some(PlannedRouting {
                    router: routing.router(),
                    columns: RouteColumns::resolve(routing, find, find)?,
                    director_key,
                    reader: AddressReader {
                        input: input.clone(),
                        recodes: (charset != target.policy.charset)
                            .then_some((charset, target.policy.charset)),
                    },
                    watch: routing.watch.clone(),
                    guard: routing
                        .director_key
                        .as_ref()
                        .filter(|_| target.policy.may_change_keys())
                        .and_then(|name| columns.iter().position(|column| column.name == *name)),
                })
            }
        };
        let (steps, _) = row_steps(columns);
        let fields = cells.get(..field_names.len()).unwrap_or_default();
        let are_records = are_records(&cells, &steps, field_names.len());
        let translator = || Translator::new(target, (columns, fields), input, &plain);
        let whole = match fields.iter().all(|cell| cell.treatment == Treatment::Copy) {
            _ if !are_records => None,
            true => Some(None),
            false => translator().map(Some),
        };
        let whole = whole.map(|translator| WholeRecords {
            located: routing.as_ref().map_or(0, PlannedRouting::fields),
            translator,
        });
        let has_same_delimiter =
            target.form == TextForm::Lines && target.dialect.delimiter() == input.delimiter();
        let glance = (are_records && whole.is_none() && has_same_delimiter)
            .then(|| Glance::new(fields))
            .flatten();
        Ok(Self {
            input: input.clone(),
            field_names: field_names.to_vec(),
            cells,
            steps,
            encoder,
            layout: target.layout(),
            inference: target.inference,
            charset,
            checks_charset: charset == Charset::Utf8mb4 && target.policy.charset != Charset::Binary,
            routing,
            whole,
            plain,
            has_same_delimiter,
            glance,
        })
    }

    /// Sends every field through the rules, which must not change a byte of the output.
    #[cfg(test)]
    pub(super) fn without_looks(mut self) -> Self {
        self.cells
            .iter_mut()
            .for_each(|cell| cell.look = Look::BLIND);
        self.glance = None;
        self.whole.take_if(|whole| whole.translator.is_some());
        self
    }
}

fn treatment(target: &RowTarget, column: &OutputColumn, is_same_dialect: bool) -> Treatment {
    let is_number = column
        .target
        .is_some_and(|t| matches!(t, MysqlType::Bit(_)) || !(t.is_character() || t.is_binary()));
    let has_rules = is_number
        || (column.target.is_some_and(MysqlType::is_binary)
            && target.policy.binary != BinaryForm::Escape)
        || (column.target.is_none() && target.inference != Inference::Off)
        || !target.policy.null_text.is_empty();
    if !is_same_dialect || has_rules {
        Treatment::Rewrite
    } else if column.target.is_some() {
        Treatment::CheckAndCopy
    } else {
        Treatment::Copy
    }
}

/// Says whether the output's cells are the input's fields in order, with slots at the end at most.
fn are_records(cells: &[PlannedField], steps: &[RowStep], fields: usize) -> bool {
    let (steps, has_slots) = match steps {
        [steps @ .., RowStep::Slot] => (steps, true),
        steps => (steps, false),
    };
    let written = steps.iter().filter_map(|step| match step {
        RowStep::Cell(number) => cells.get(*number).map(|cell| (*number, cell.source)),
        RowStep::Delimiter | RowStep::Slot => None,
    });
    let in_order = written
        .clone()
        .enumerate()
        .all(|(at, (number, source))| number == at && source == Some(at));
    in_order && written.count() == fields && (!has_slots || !steps.contains(&RowStep::Slot))
}

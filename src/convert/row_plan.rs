//! From a file's schema to a plan, from the plan and a batch to rows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, TimeUnit};

use super::cells::BoundColumn;
use super::keys::KeyValues;
use super::number_block::{NumberBlocks, NumberPlace};
use super::positions::PositionColumn;
use super::route_columns::{Named, RouteColumns};
use super::source_type::CellSource;
use super::target::{RowFault, RowLayout, RowTarget, check_row_length};
use crate::dialect::Encoder;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::Packet;
use crate::partition::key_index::{Key, KeyPlace};
use crate::partition::{Coordinate, KeyWatch, PieceOrigin, Router, Routing, RowAddress};
use crate::schema::{ColumnContent, MysqlType, OutputColumn, RowStep, row_steps};
use crate::values::{CellFault, Charset, ColumnRule, RuleCounts, RuleName, TextBuffer};

/// How the rows of one output are made from one file's columns.
pub struct RowPlan {
    cells: Vec<PlannedCell>,
    steps: Vec<RowStep>,
    encoder: Encoder,
    layout: RowLayout,
    routing: Option<PlannedRouting>,
}

struct PlannedCell {
    name: String,
    rule: ColumnRule,
    /// Root column of the file and how it is read; none where NULL is written.
    source: Option<(usize, CellSource)>,
    /// What is written where there is no source; without it, NULL.
    fixed: Option<Vec<u8>>,
    /// Whether the column is there though the input has none of that name.
    is_placeholder: bool,
    /// Whether the schema says its type, which then may be another than the source's.
    is_given_type: bool,
}

/// A column of the file that decides where rows go.
struct RouteRoot {
    root: usize,
    /// Number of the cell that is written from it, if its rule may write another number.
    written: Option<usize>,
}

impl PlannedCell {
    /// Says whether its rule may write a number as another; a source of the same type never does.
    fn changes_numbers(&self) -> bool {
        self.rule.may_change_numbers() && self.is_given_type
    }
}

struct PlannedRouting {
    router: Router,
    columns: RouteColumns<RouteRoot>,
    /// Character set that text keys are looked up in.
    charset: Charset,
    /// Spellings of NULL, which no key is.
    null_text: Vec<String>,
    /// Rule and source of the director's own key.
    director_key: Option<PlannedCell>,
    /// Writes the director's key into its index, which is in the dialect whatever rows look like.
    key_encoder: Encoder,
    /// Watches out for keys that occur twice.
    watch: Option<Arc<KeyWatch>>,
    /// Whether the director's own key might be changed when it is written.
    guards_key: bool,
}

impl RowPlan {
    /// Compiles the plan for a file with columns `schema`.
    ///
    /// # Errors
    /// A column is missing, or its type can't be written.
    pub fn compile(target: &RowTarget, columns: &[OutputColumn], schema: &Schema) -> Result<Self> {
        let input: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        let renamed = target.renamed(&input);
        let encoder = target.encoder();
        let mut cells = Vec::with_capacity(columns.len());
        for (number, column) in columns.iter().enumerate() {
            let root = match column.content {
                ColumnContent::Input => target.find(&column.name, &renamed)?,
                _ => None,
            };
            let mut typed = column.clone();
            let source = match root {
                Some(root) => {
                    let data_type = schema.field(root).data_type();
                    if typed.target.is_none() && !target.policy.reference_style {
                        typed.target = mysql_type_of(data_type);
                    }
                    let source =
                        CellSource::of(&column.name, data_type, typed.target, &target.policy)?;
                    Some((root, source))
                }
                None => None,
            };
            let rule = target.rule(number, &typed);
            cells.push(PlannedCell {
                name: column.name.clone(),
                fixed: target.fixed_text(column, &rule, &encoder)?,
                rule,
                source,
                is_placeholder: column.content != ColumnContent::Input,
                is_given_type: column.target.is_some(),
            });
        }
        let routing = match &target.routing {
            Some(routing) => Some(plan_routing(
                target,
                routing,
                (columns, &cells),
                schema,
                &renamed,
            )?),
            None => None,
        };
        Ok(Self {
            cells,
            steps: row_steps(columns).0,
            encoder,
            layout: target.layout(),
            routing,
        })
    }

    /// Returns the root column of key number `number`, and the character set that it is looked up
    /// in.
    pub(crate) fn key_root(&self, number: usize) -> Option<(usize, Charset)> {
        let routing = self.routing.as_ref()?;
        let column = &routing.columns.keys.get(number)?.column;
        Some((column.root, routing.charset))
    }

    /// Returns the root columns of the file that are needed, ascending.
    pub fn roots(&self) -> Vec<usize> {
        let keyed = self
            .routing
            .iter()
            .flat_map(|routing| &routing.director_key);
        let mut roots: Vec<usize> = self
            .cells
            .iter()
            .chain(keyed)
            .filter_map(|cell| Some(cell.source?.0))
            .collect();
        let routing = self.routing.iter();
        roots.extend(
            routing.flat_map(|routing| routing.columns.all().map(|named| named.column.root)),
        );
        roots.sort_unstable();
        roots.dedup();
        roots
    }

    /// Binds the plan to a batch whose columns are the file's `roots`, and which comes from
    /// `origin`.
    ///
    /// # Errors
    /// A column can't be unpacked.
    pub fn bind<'p>(
        &'p self,
        batch: &RecordBatch,
        roots: &[usize],
        origin: PieceOrigin<'p>,
        counts: &mut RuleCounts,
    ) -> Result<BoundRows<'p>> {
        let array = |root: usize| {
            roots
                .binary_search(&root)
                .map(|at| batch.column(at))
                .map_err(|_| Error::new(ErrorKind::Internal, format!("column {root} was not read")))
        };
        let bind = |cell: &'p PlannedCell, counts: &mut RuleCounts| {
            let Some((root, source)) = cell.source else {
                if !cell.is_placeholder {
                    cell.rule
                        .count(counts, RuleName::Missing, batch.num_rows() as u64);
                }
                return Ok(None);
            };
            let bound = BoundColumn::bind(&cell.rule, source, array(root)?, counts);
            let column = Some(cell.name.clone());
            bound.map(Some).map_err(|error| {
                error.at(Place {
                    column,
                    ..Place::default()
                })
            })
        };
        let cells: Result<Vec<_>> = self.cells.iter().map(|cell| bind(cell, counts)).collect();
        let cells = cells?;
        let routing = match &self.routing {
            None => None,
            Some(plan) => {
                let position = |named: &Named<RouteRoot>| {
                    Ok::<_, Error>(match named.column.written {
                        Some(cell) => Coordinates::Written(cell),
                        None => {
                            let values = array(named.column.root)?;
                            Coordinates::Read(PositionColumn::bind(values)?)
                        }
                    })
                };
                let positions: Result<Vec<_>> = plan
                    .columns
                    .positions
                    .iter()
                    .map(|(ra, dec)| Ok((position(ra)?, position(dec)?)))
                    .collect();
                let keys = plan.columns.keys.iter();
                let keys: Result<Vec<_>> = keys
                    .map(|named| KeyValues::bind(array(named.column.root)?, plan.charset))
                    .collect();
                let keys = keys?;
                let rows = batch.num_rows() as u64;
                let mut places = plan.router.known_places(origin, rows)?;
                for (number, places) in places.iter_mut().enumerate() {
                    if let (None, Some(index)) = (&places, plan.router.index(number))
                        && plan.null_text.is_empty()
                    {
                        *places = keys[number].find_all(index);
                    }
                }
                Some(BoundRouting {
                    positions: positions?,
                    keys,
                    places,
                    // What the key's rules change is counted with its cell already.
                    director_key: match &plan.director_key {
                        Some(key) => bind(key, &mut RuleCounts::default())?,
                        None => None,
                    },
                    own_keys: match &plan.director_key {
                        Some(PlannedCell {
                            source: Some((root, _)),
                            ..
                        }) if plan.watch.is_some() || plan.guards_key => {
                            Some(KeyValues::bind(array(*root)?, plan.charset)?)
                        }
                        _ => None,
                    },
                    origin,
                    plan,
                })
            }
        };
        let (segments, blocks) = self.segments(&cells);
        Ok(BoundRows {
            plan: self,
            rows: batch.num_rows(),
            cells,
            segments,
            blocks,
            routing,
        })
    }

    /// Puts together what is written ahead: neighbouring columns of numbers.
    fn segments(&self, cells: &[Option<BoundColumn<'_>>]) -> (Vec<Segment>, NumberBlocks) {
        let is_short = |number: usize| {
            self.encoder.writes_numbers_plainly()
                && cells[number].as_ref().is_some_and(BoundColumn::is_short)
        };
        let mut segments = Vec::with_capacity(self.steps.len());
        let mut runs: Vec<Vec<NumberPlace>> = Vec::new();
        let mut steps = self.steps.iter().copied().peekable();
        while let Some(step) = steps.next() {
            let RowStep::Cell(number) = step else {
                segments.push(Segment::Step(step));
                continue;
            };
            if !is_short(number) {
                segments.push(Segment::Step(step));
                continue;
            }
            // The delimiter behind a number is written with it.
            let delimiter = steps
                .next_if_eq(&RowStep::Delimiter)
                .map(|_| self.layout.delimiter);
            match (segments.last(), runs.last_mut()) {
                (Some(Segment::Numbers(_)), Some(run)) => run.push((number, delimiter)),
                _ => {
                    segments.push(Segment::Numbers(runs.len()));
                    runs.push(vec![(number, delimiter)]);
                }
            }
        }
        (segments, NumberBlocks::new(&runs))
    }
}

fn plan_routing(
    target: &RowTarget,
    routing: &Routing,
    (columns, cells): (&[OutputColumn], &[PlannedCell]),
    schema: &Schema,
    renamed: &[String],
) -> Result<PlannedRouting> {
    let root_of = |name: &str| -> Result<usize> {
        let root = target.find(name, renamed)?;
        root.ok_or_else(|| super::target::missing(name, renamed))
    };
    let position = |name: &str| {
        let root = root_of(name)?;
        PositionColumn::check_type(name, schema.field(root).data_type())?;
        let written = cells
            .iter()
            .position(|cell| cell.name == name && cell.source.is_some() && cell.changes_numbers());
        Ok(RouteRoot { root, written })
    };
    let key = |name: &str| {
        let root = root_of(name)?;
        KeyValues::check_type(name, schema.field(root).data_type())?;
        Ok(RouteRoot {
            root,
            written: None,
        })
    };
    let route_columns = RouteColumns::resolve(routing, position, key)?;
    let director_key = match &routing.director_key {
        None => None,
        Some(name) => {
            let root = root_of(name)?;
            let data_type = schema.field(root).data_type();
            KeyValues::check_type(name, data_type)?;
            let known = columns.iter().position(|column| column.name == *name);
            let column = OutputColumn {
                name: name.clone(),
                content: ColumnContent::Input,
                target: known
                    .and_then(|at| columns[at].target)
                    .or_else(|| mysql_type_of(data_type)),
                // A director's key must be there, whatever the table says.
                is_not_null: true,
            };
            let source = CellSource::of(name, data_type, column.target, &target.policy)?;
            Some(PlannedCell {
                name: name.clone(),
                rule: target.rule(known.unwrap_or(0), &column),
                fixed: None,
                source: Some((root, source)),
                is_placeholder: false,
                is_given_type: false,
            })
        }
    };
    Ok(PlannedRouting {
        router: routing.router(),
        columns: route_columns,
        charset: target.policy.charset,
        null_text: target.policy.null_text.clone(),
        director_key,
        key_encoder: target.dialect.encoder(),
        watch: routing.watch.clone(),
        guards_key: target.policy.may_change_keys(),
    })
}

/// A part of a row.
enum Segment {
    /// Numbers that were written ahead: the run of that number.
    Numbers(usize),
    /// Anything else.
    Step(RowStep),
}

/// A plan bound to a batch.
pub struct BoundRows<'p> {
    plan: &'p RowPlan,
    rows: usize,
    segments: Vec<Segment>,
    /// Columns of numbers.
    blocks: NumberBlocks,
    /// None for a placeholder.
    cells: Vec<Option<BoundColumn<'p>>>,
    routing: Option<BoundRouting<'p>>,
}

struct BoundRouting<'p> {
    plan: &'p PlannedRouting,
    positions: Vec<(Coordinates, Coordinates)>,
    keys: Vec<KeyValues>,
    /// Where the keys lead, for each that was looked up for all rows.
    places: Vec<Option<Vec<Option<KeyPlace>>>>,
    director_key: Option<BoundColumn<'p>>,
    /// The director's own keys as they were read, where they are looked at.
    own_keys: Option<KeyValues>,
    origin: PieceOrigin<'p>,
}

impl BoundRows<'_> {
    /// Writes row `row` of the batch into `packet` and routes it.
    ///
    /// # Errors
    /// A value is refused; the packet is then as before.
    pub fn write(
        &mut self,
        row: usize,
        packet: &mut Packet,
        counts: &mut RuleCounts,
    ) -> Result<(), RowFault> {
        let (cells, encoder) = (&self.cells, &self.plan.encoder);
        self.blocks
            .write_ahead(row, self.rows, cells, encoder, counts);
        let written = self.write_cells(row, packet, counts);
        if written.is_err() {
            packet.abandon_row();
            counts.take_back(&self.counted(row, packet));
        }
        written
    }

    /// Returns what was counted of a row that is refused: when the batch was bound, when numbers
    /// were written ahead, and before the fault, which shows when the same is done again. So good
    /// rows need no counts of their own.
    #[cold]
    fn counted(&self, row: usize, packet: &mut Packet) -> RuleCounts {
        let mut vain = RuleCounts::default();
        let _ = self.write_cells(row, packet, &mut vain);
        packet.abandon_row();
        for cell in self.blocks.cells() {
            if let Some(column) = &self.cells[cell] {
                let _ = column.write(row, &self.plan.encoder, packet.text_mut(), &mut vain);
                packet.abandon_row();
            }
        }
        for (plan, bound) in self.plan.cells.iter().zip(&self.cells) {
            match bound {
                Some(column) => column.recount_bound(row, &mut vain),
                None if plan.is_placeholder => {}
                None => plan.rule.count(&mut vain, RuleName::Missing, 1),
            }
        }
        vain
    }

    fn write_cells(
        &self,
        row: usize,
        packet: &mut Packet,
        counts: &mut RuleCounts,
    ) -> Result<(), RowFault> {
        packet.text_mut().push_short(self.plan.layout.start);
        for segment in &self.segments {
            match segment {
                Segment::Numbers(run) => {
                    let copied = self.blocks.copy(*run, row, packet.text_mut());
                    copied.map_err(|(cell, fault)| self.fault(cell, fault))?;
                }
                Segment::Step(RowStep::Delimiter) => {
                    packet.text_mut().push(self.plan.layout.delimiter);
                }
                Segment::Step(RowStep::Slot) => packet.mark_slot(),
                Segment::Step(RowStep::Cell(number)) => {
                    self.write_cell(*number, row, packet.text_mut(), counts)?;
                }
            }
        }
        check_row_length(
            packet,
            self.plan.cells.first().map_or("", |cell| &cell.name),
        )?;
        match &self.routing {
            Some(routing) => routing.route((row, &self.cells), &self.plan.encoder, packet),
            None => {
                packet.text_mut().push_short(self.plan.layout.end);
                packet.end_row();
                Ok(())
            }
        }
    }

    fn write_cell(
        &self,
        number: usize,
        row: usize,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), RowFault> {
        let encoder = &self.plan.encoder;
        let start = out.len();
        let plan = &self.plan.cells[number];
        let written = match (&self.cells[number], &plan.fixed) {
            (Some(cell), _) => cell.write(row, encoder, out, counts),
            (None, Some(text)) => {
                out.extend(text);
                Ok(())
            }
            (None, None) => plan.rule.null(out),
        };
        written.map_err(|fault| self.fault(number, fault))?;
        encoder.end_field(start, out);
        Ok(())
    }

    #[cold]
    fn fault(&self, number: usize, cell: CellFault) -> RowFault {
        RowFault {
            column: self.plan.cells[number].name.clone(),
            cell,
        }
    }
}

impl BoundRouting<'_> {
    /// Checks a key of the director that was written as `written`.
    fn check_key(&self, row: usize, written: &[u8]) -> Result<(), CellFault> {
        let Some(keys) = &self.own_keys else {
            return Ok(());
        };
        let row_number = row as u64;
        let shown = self.origin.before + row_number + 1;
        keys.with_key(row, |key| {
            let Some(key) = key else {
                return Ok(());
            };
            if self.plan.guards_key {
                check_same_key(key, &self.plan.key_encoder, written)?;
            }
            match &self.plan.watch {
                Some(watch) => watch.check(key, self.origin, row_number, shown),
                None => Ok(()),
            }
        })?
    }

    fn route(
        &self,
        (row, cells): (usize, &[Option<BoundColumn<'_>>]),
        encoder: &Encoder,
        packet: &mut Packet,
    ) -> Result<(), RowFault> {
        if let Some(key) = &self.director_key {
            let encoder = &self.plan.key_encoder;
            let keys = packet.key_mut();
            let start = keys.len();
            let written = key.write(row, encoder, keys, &mut RuleCounts::default());
            let written = written.and_then(|()| {
                let text = keys.as_slice().get(start..).unwrap_or_default();
                self.plan.router.check_own_key(text)?;
                self.check_key(row, text)
            });
            written.map_err(|cell| {
                let key = self.plan.director_key.as_ref();
                let column = key.map_or_else(String::new, |key| key.name.clone());
                RowFault { column, cell }
            })?;
        }
        let mut address = ArrowAddress {
            routing: self,
            row,
            cells,
            encoder,
        };
        let routed = self.plan.router.route(&mut address, packet);
        routed.map_err(|fault| self.plan.columns.fault(fault))?;
        if self.director_key.is_some() {
            packet.end_key();
        }
        self.plan.router.end_row(packet);
        Ok(())
    }
}

/// Refuses a key that a rule has changed: others would not find it.
///
/// # Errors
/// `written` is not what `encoder` makes of the key.
pub(crate) fn check_same_key(
    key: Key<'_>,
    encoder: &Encoder,
    written: &[u8],
) -> Result<(), CellFault> {
    let bytes = key.to_bytes();
    let mut expected = Vec::with_capacity(bytes.len() + 8);
    let encoded = encoder.encode_into(&bytes, &mut expected);
    if encoded.is_ok() && expected == written {
        return Ok(());
    }
    let rest = format!(
        ", which would be written as {}: a director's key may not be changed",
        crate::error::quote_value(written)
    );
    Err(CellFault::found(key.to_string(), rest))
}

/// What of a row of a batch decides where it goes.
struct ArrowAddress<'r, 'p> {
    routing: &'r BoundRouting<'p>,
    row: usize,
    cells: &'r [Option<BoundColumn<'r>>],
    encoder: &'r Encoder,
}

/// Where a coordinate comes from.
enum Coordinates {
    /// The values as they are.
    Read(PositionColumn),
    /// What is written of them into that cell: its rule may change numbers, and what counts is what
    /// will be read from the table.
    Written(usize),
}

impl ArrowAddress<'_, '_> {
    fn degrees_of(&self, coordinates: &Coordinates) -> Result<Option<f64>, CellFault> {
        let cell = match coordinates {
            Coordinates::Read(column) => return Ok(column.degrees(self.row)),
            Coordinates::Written(cell) => self.cells.get(*cell).and_then(Option::as_ref),
        };
        let Some(cell) = cell else {
            return Ok(None);
        };
        let mut out = TextBuffer::with_capacity(64);
        cell.write(self.row, self.encoder, &mut out, &mut RuleCounts::default())?;
        // What is no number is NULL.
        let text = std::str::from_utf8(out.as_slice()).ok();
        Ok(text.and_then(|text| text.parse().ok()))
    }
}

impl RowAddress for ArrowAddress<'_, '_> {
    #[inline]
    fn degrees(
        &mut self,
        position: usize,
        coordinate: Coordinate,
    ) -> Result<Option<f64>, CellFault> {
        let (ra, dec) = &self.routing.positions[position];
        match coordinate {
            Coordinate::Ra => self.degrees_of(ra),
            Coordinate::Dec => self.degrees_of(dec),
        }
    }

    #[inline]
    fn with_key<T>(
        &mut self,
        number: usize,
        look_up: impl FnOnce(Option<Key<'_>>) -> T,
    ) -> Result<T, CellFault> {
        let spellings = &self.routing.plan.null_text;
        let is_null = |key: &Key<'_>| {
            let text =
                |spelling: &String| matches!(key, Key::Text(text) if *text == spelling.as_bytes());
            spellings.iter().any(text)
        };
        self.routing.keys[number].with_key(self.row, |key| look_up(key.filter(|key| !is_null(key))))
    }

    #[inline]
    fn known_place(&self, number: usize) -> Option<Option<KeyPlace>> {
        let places = self.routing.places.get(number)?.as_ref()?;
        places.get(self.row).copied()
    }
}

/// Returns the MySQL type that a column has without a schema; text and binary have none.
pub fn mysql_type_of(data_type: &DataType) -> Option<MysqlType> {
    let integer = |bits, unsigned| Some(MysqlType::Integer { bits, unsigned });
    let digits = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond | TimeUnit::Nanosecond => 6,
    };
    match data_type {
        DataType::Boolean | DataType::Int8 => integer(8, false),
        DataType::Int16 => integer(16, false),
        DataType::Int32 => integer(32, false),
        DataType::Int64 | DataType::Duration(_) => integer(64, false),
        DataType::UInt8 => integer(8, true),
        DataType::UInt16 => integer(16, true),
        DataType::UInt32 => integer(32, true),
        DataType::UInt64 => integer(64, true),
        DataType::Float16 | DataType::Float32 => Some(MysqlType::Float),
        DataType::Float64 => Some(MysqlType::Double),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => Some(MysqlType::Decimal {
            // A scale below 0 means zeros before the point.
            precision: precision.saturating_add(if *scale < 0 { scale.unsigned_abs() } else { 0 }),
            scale: u8::try_from(*scale).unwrap_or(0),
        }),
        DataType::Date32 | DataType::Date64 => Some(MysqlType::Date),
        DataType::Time32(unit) | DataType::Time64(unit) => Some(MysqlType::Time(digits(unit))),
        DataType::Timestamp(unit, _) => Some(MysqlType::DateTime(digits(unit))),
        DataType::Dictionary(_, values) => mysql_type_of(values),
        DataType::RunEndEncoded(_, values) => mysql_type_of(values.data_type()),
        _ => None,
    }
}

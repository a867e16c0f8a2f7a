//! Looks at all values of some columns: how long they are, whether NULL or NaN is among them.
//!
//! Inputs, and row groups of files, are read on all threads, within the memory limit; what is
//! found does not depend on their order, for of equals the first in input order counts.

mod text;

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use rayon::prelude::*;

use super::pass::{Events, PassLimits, ReadAs};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::resources::Lease;
use crate::schema::{InputColumns, Longest, Look, Measure};
use crate::source::{ColumnFile, DecodeBudget, Input, InputFormat, RowGroup, SharedRowGroup};
use crate::values::Charset;

/// Footers that are looked at before their columns are added up.
const FILES_AT_ONCE: usize = 64;

/// Adds the columns of all inputs, in their order.
///
/// # Errors
/// An input is text, can't be read, or has columns that do not go with the others'.
pub fn add_columns(
    inputs: &[Input],
    read_as: &ReadAs,
    columns: &mut InputColumns,
    limits: &PassLimits,
) -> Result<()> {
    for some in inputs.chunks(FILES_AT_ONCE) {
        limits.cancel.check()?;
        let open = |input| open(input, read_as);
        let opened: Vec<Result<ColumnFile>> = some.par_iter().map(open).collect();
        for file in opened {
            let file = file?;
            columns.add(&file.name(), file.schema())?;
        }
    }
    Ok(())
}

fn open(input: &Input, read_as: &ReadAs) -> Result<ColumnFile> {
    ColumnFile::open(input, read_as.fits())?.ok_or_else(|| {
        Error::usage("text has no types to look at; this reads Parquet, Arrow and FITS")
            .at(Place::file(input.name.shown()))
    })
}

/// Looks at the values of columns, each named with what to look for; lengths are those in
/// `charset`. Inputs that lack a column are passed over. In texts nothing is NaN.
///
/// # Errors
/// An input can't be read or is damaged, a row group needs more memory than there is, or somebody
/// asked for an early end.
pub fn measure(
    inputs: &[Input],
    looks: &[(&str, Look)],
    charset: Charset,
    read_as: &Arc<ReadAs>,
    limits: &PassLimits,
    events: &dyn Events,
) -> Result<Vec<Measure>> {
    let job = MeasureJob {
        looks,
        charset,
        read_as,
        limits,
        events,
        found: Mutex::new(vec![Found::default(); looks.len()]),
        failure: Mutex::new(None),
    };
    if looks.iter().any(|(_, look)| !look.is_nothing()) {
        inputs
            .par_iter()
            .enumerate()
            .for_each(|(number, input)| job.file(number, input));
    }
    let failure = job.failure.into_inner();
    if let Some((_, error)) = failure.unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let found = job.found.into_inner();
    let found = found.unwrap_or_else(PoisonError::into_inner).into_iter();
    let measures = found
        .zip(looks)
        .map(|(found, (name, _))| found.into_measure(inputs, name));
    Ok(measures.collect())
}

/// Where a value stands: input, row group, and row of the file from 1, or line of a text; in input
/// order.
type Spot = (usize, usize, u64);

/// What was found in a column so far.
#[derive(Debug, Clone, Default)]
struct Found {
    /// Whether an input has the column.
    is_there: bool,
    longest: Option<(u64, Spot)>,
    most_bytes: u64,
    null: Option<Spot>,
    nan: Option<Spot>,
    unmappable: Option<(Spot, char)>,
}

impl Found {
    fn add(&mut self, other: &Self) {
        self.is_there = true;
        if let Some((length, spot)) = other.longest {
            self.add_length(length, spot);
        }
        self.most_bytes = self.most_bytes.max(other.most_bytes);
        self.null = earlier(self.null, other.null);
        self.nan = earlier(self.nan, other.nan);
        self.unmappable = earlier(self.unmappable, other.unmappable);
    }

    fn add_length(&mut self, length: u64, spot: Spot) {
        let is_more = self
            .longest
            .is_none_or(|(known, at)| length > known || (length == known && spot < at));
        if is_more {
            self.longest = Some((length, spot));
        }
    }

    fn into_measure(self, inputs: &[Input], name: &str) -> Measure {
        let place = |(number, row_group, row): Spot| {
            let input = inputs.get(number);
            let is = |format| input.is_some_and(|input| input.format == format);
            let is_text = is(InputFormat::Text);
            Place {
                file: input.map(|input| input.name.shown()),
                row_group: (is(InputFormat::Parquet) || is(InputFormat::Arrow))
                    .then_some(row_group),
                row: (!is_text).then_some(row),
                line: is_text.then_some(row),
                column: Some(name.to_owned()),
            }
        };
        Measure {
            is_there: self.is_there,
            longest: self.longest.map(|(length, spot)| Longest {
                length,
                place: place(spot),
            }),
            most_bytes: self.most_bytes,
            first_null: self.null.map(place),
            first_nan: self.nan.map(place),
            unmappable: self
                .unmappable
                .map(|(spot, lacking)| (lacking, place(spot))),
        }
    }
}

fn earlier<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

struct MeasureJob<'a> {
    looks: &'a [(&'a str, Look)],
    charset: Charset,
    read_as: &'a Arc<ReadAs>,
    limits: &'a PassLimits,
    events: &'a dyn Events,
    found: Mutex<Vec<Found>>,
    /// The first failure in input order.
    failure: Mutex<Option<((usize, usize), Error)>>,
}

impl MeasureJob<'_> {
    fn file(&self, number: usize, input: &Input) {
        if self.has_failed_before((number, 0)) {
            return;
        }
        if input.format == InputFormat::Text {
            if let Err(error) = self.text(number, input) {
                self.fail((number, 0), error);
            }
            return;
        }
        let file = match open(input, self.read_as) {
            Ok(file) => file,
            Err(error) => return self.fail((number, 0), error),
        };
        let fields = file.schema().fields();
        // Root columns of the file, ascending, and which look each is for.
        let wanted: Vec<(usize, usize)> = fields
            .iter()
            .enumerate()
            .filter_map(|(root, field)| Some((root, self.look_for(field.name())?)))
            .collect();
        // Without any row as well.
        self.add(wanted.iter().map(|(_, look)| (*look, Found::default())));
        let mut before = 0u64;
        let starts: Vec<u64> = (0..file.row_groups())
            .map(|group| {
                let start = before;
                before = before.saturating_add(file.rows(group));
                start
            })
            .collect();
        let look_at = |(group, start): (usize, u64)| {
            let at = (number, group);
            if self.has_failed_before(at) {
                return;
            }
            match self.row_group(&file, at, start, &wanted) {
                Ok(found) => {
                    self.add(wanted.iter().map(|(_, look)| *look).zip(found));
                    let (bytes, rows) = (file.group_bytes(group), file.rows(group));
                    self.events.advance(bytes, rows);
                }
                Err(error) => self.fail(at, error),
            }
        };
        match file.can_be_cut() {
            true => starts.into_par_iter().enumerate().for_each(look_at),
            // To go back would mean to begin anew.
            false => starts.into_iter().enumerate().for_each(look_at),
        }
    }

    /// Returns the number of the look that a column is for, if it is for any.
    fn look_for(&self, column: &str) -> Option<usize> {
        let is_it = |(name, look): &(&str, Look)| *name == column && !look.is_nothing();
        self.looks.iter().position(is_it)
    }

    /// Returns the character set in which lengths of a column count.
    fn charset_of(&self, look: Look) -> Charset {
        match look.bytes {
            true => Charset::Binary,
            false => self.charset,
        }
    }

    /// Adds what was found in a part of an input, for the looks of these numbers.
    fn add(&self, found: impl Iterator<Item = (usize, Found)>) {
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        for (look, found) in found {
            all[look].add(&found);
        }
    }

    fn row_group(
        &self,
        file: &ColumnFile,
        (number, group): (usize, usize),
        start: u64,
        wanted: &[(usize, usize)],
    ) -> Result<Vec<Found>> {
        let mut found = vec![Found::default(); wanted.len()];
        if wanted.is_empty() {
            return Ok(found);
        }
        let roots: Vec<usize> = wanted.iter().map(|(root, _)| *root).collect();
        let (planned, _memory) = self.plan(file, group, &roots)?;
        let reader = SharedRowGroup::new(planned, 0, None);
        let mut rows = reader.span(0);
        let mut first = start + 1;
        while !rows.is_empty() {
            let batch = reader.read(&rows)?;
            self.limits.cancel.check()?;
            for (at, (_, look)) in wanted.iter().enumerate() {
                let look = self.looks[*look].1;
                let values = Values {
                    array: unpacked(batch.column(at))?,
                    charset: self.charset_of(look),
                    first: (number, group, first),
                };
                values.look(look, &mut found[at]);
            }
            first += batch.num_rows() as u64;
            rows = reader.span(rows.end);
        }
        Ok(found)
    }

    /// Plans how to read a row group and takes the memory for it.
    fn plan(&self, file: &ColumnFile, group: usize, roots: &[usize]) -> Result<(RowGroup, Lease)> {
        let gate = &self.limits.gate;
        let room = gate.room();
        let budget = DecodeBudget {
            usual: room / 2 / self.limits.threads.max(1) as u64,
            most: room / 3 * 2,
            threads: 1,
        };
        let mut planned = file.plan(group, roots, budget)?;
        if planned.memory() > room {
            planned = file.plan(group, roots, DecodeBudget::LEAST)?;
        }
        let lease = self.lease(planned.memory(), file.place(group))?;
        Ok((planned, lease))
    }

    /// Waits for so many bytes, which reading at `place` takes.
    fn lease(&self, bytes: u64, place: Place) -> Result<Lease> {
        let gate = &self.limits.gate;
        if bytes > gate.room() {
            let needed = (gate.base() + bytes).div_ceil(1 << 20);
            return Err(Error::usage(format!(
                "the memory limit of {} bytes can't be kept: reading this takes {bytes}",
                gate.limit()
            ))
            .at(place)
            .hint(format!("--memory-limit {needed}MiB will do")));
        }
        loop {
            let seen = gate.version();
            if let Some(lease) = gate.try_lease(bytes, 0) {
                return Ok(lease);
            }
            // Whoever holds memory now needs none besides to finish.
            self.limits.cancel.check()?;
            gate.wait_past(seen);
        }
    }

    fn has_failed_before(&self, at: (usize, usize)) -> bool {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.as_ref().is_some_and(|(failed, _)| *failed < at)
    }

    fn fail(&self, at: (usize, usize), error: Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.as_ref().is_none_or(|(failed, _)| at < *failed) {
            *failure = Some((at, error));
        }
    }
}

fn unpacked(array: &ArrayRef) -> Result<ArrayRef> {
    let values = match array.data_type() {
        DataType::Dictionary(_, values) => values.as_ref().clone(),
        DataType::RunEndEncoded(_, values) => values.data_type().clone(),
        _ => return Ok(ArrayRef::clone(array)),
    };
    let plain =
        cast(array, &values).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    unpacked(&plain)
}

/// Some values of a column.
struct Values {
    array: ArrayRef,
    charset: Charset,
    /// Where the first of them stands.
    first: Spot,
}

impl Values {
    fn look(&self, look: Look, found: &mut Found) {
        if look.nulls
            && found.null.is_none()
            && let Some(nulls) = self.array.logical_nulls()
            && let Some(at) = (0..nulls.len()).find(|at| nulls.is_null(*at))
        {
            found.null = Some(self.spot(at));
        }
        if look.nan && found.nan.is_none() {
            found.nan = self.first_nan().map(|at| self.spot(at));
        }
        if look.length {
            self.measure_lengths(found);
        }
    }

    fn spot(&self, at: usize) -> Spot {
        let (input, group, first) = self.first;
        (input, group, first + at as u64)
    }

    fn first_nan(&self) -> Option<usize> {
        let array = &self.array;
        let is_nan = |nan: Option<bool>| nan == Some(true);
        match array.data_type() {
            DataType::Float16 => {
                let mut values = array.as_primitive::<Float16Type>().iter();
                values.position(|value| is_nan(value.map(|value| value.to_f32().is_nan())))
            }
            DataType::Float32 => {
                let mut values = array.as_primitive::<Float32Type>().iter();
                values.position(|value| is_nan(value.map(f32::is_nan)))
            }
            DataType::Float64 => {
                let mut values = array.as_primitive::<Float64Type>().iter();
                values.position(|value| is_nan(value.map(f64::is_nan)))
            }
            _ => None,
        }
    }

    fn measure_lengths(&self, found: &mut Found) {
        let array = &self.array;
        match array.data_type() {
            DataType::Utf8 => self.measure_texts(array.as_string::<i32>().iter(), found),
            DataType::LargeUtf8 => self.measure_texts(array.as_string::<i64>().iter(), found),
            DataType::Utf8View => self.measure_texts(array.as_string_view().iter(), found),
            DataType::Binary => self.measure_bytes(array.as_binary::<i32>().iter(), found),
            DataType::LargeBinary => self.measure_bytes(array.as_binary::<i64>().iter(), found),
            DataType::BinaryView => self.measure_bytes(array.as_binary_view().iter(), found),
            DataType::FixedSizeBinary(_) => {
                self.measure_bytes(array.as_fixed_size_binary().iter(), found);
            }
            _ => {}
        }
    }

    fn measure_bytes<'v>(&self, values: impl Iterator<Item = Option<&'v [u8]>>, found: &mut Found) {
        for (at, value) in values.enumerate() {
            let Some(value) = value else { continue };
            let length = value.len() as u64;
            if found.longest.is_none_or(|(known, _)| length > known) {
                found.add_length(length, self.spot(at));
                found.most_bytes = found.most_bytes.max(length);
            }
        }
    }

    fn measure_texts<'v>(&self, values: impl Iterator<Item = Option<&'v str>>, found: &mut Found) {
        for (at, value) in values.enumerate() {
            let Some(value) = value else { continue };
            let size = value.len() as u64;
            let may_lack = self.charset == Charset::Latin1 && found.unmappable.is_none();
            let is_long = found.longest.is_none_or(|(known, _)| size > known);
            let may_this_lack = may_lack && !value.is_ascii();
            if !is_long && !may_this_lack {
                continue;
            }
            // What can't be encoded still has a length: that of the same text in another set.
            let characters = Charset::Utf8mb4.count_chars(value.as_bytes()) as u64;
            let (length, bytes) = match self.charset {
                Charset::Latin1 => (characters, characters),
                Charset::Utf8mb4 => (characters, size),
                Charset::Binary => (size, size),
            };
            if found.longest.is_none_or(|(known, _)| length > known) {
                found.add_length(length, self.spot(at));
            }
            found.most_bytes = found.most_bytes.max(bytes);
            if may_this_lack && let Err(lacking) = self.charset.encode(value) {
                found.unmappable = Some((self.spot(at), lacking.0));
            }
        }
    }
}

//! What a partitioned table will come to, before it is made: rows, bytes and files of each chunk.
//!
//! Rows are counted where they will go, so their numbers are exact. For that only columns of positions and
//! keys are read of files that have columns. How long rows are is then seen on some row groups. Texts
//! have to be read as a whole anyway, so their rows are made, too, and bytes are exact as well.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::bad_inputs::{PassedOver, passed_over};
use super::folder_run::PassJob;
use super::outlook::columns_of;
use super::pass::{Events, InputSpan, NoEvents, Pass, PassInput, PassLimits, TargetCounts};
use super::prepared::PreparedInputs;
use super::rejects::Rejects;
use super::table::TableJob;
use crate::convert::RowTarget;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::{ChunkRows, Packet, RunEnd, Sink, SlotPart, check_room};
use crate::partition::Partitioning;
use crate::partition::key_index::IndexFormat;
use crate::publish::StagingPlace;
use crate::schema::{OutputColumn, TableKind};
use crate::source::{ColumnFile, InputFormat};

/// A sample is one part in so many, of files and of the row groups of each.
const SAMPLED: usize = 20;
/// Files that a sample is taken of, at least and at most.
const SAMPLED_LEAST: usize = 4;
const SAMPLED_FILES: usize = 64;
/// Inputs of so many bytes in all are read as a whole.
const SMALL: u64 = 32 << 20;
/// A column that stands for all others where rows are only counted.
const STAND_IN: &str = "skyprep_row";

/// How bytes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EstimateBytes {
    /// All rows are made.
    Exact,
    /// By a sample, where that saves reading.
    Sampled,
}

/// What a table will come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Name of the table.
    pub table: String,
    /// What it is to Qserv.
    pub kind: TableKind,
    /// How the sky is divided.
    pub partitioning: Option<Partitioning>,
    /// Rows that come in.
    pub rows_in: u64,
    /// Rows that are refused.
    pub rejected: u64,
    /// Rows that will be written, without overlap.
    pub rows_out: u64,
    /// Those of them that are second rows of matches.
    pub second_rows: u64,
    /// Overlap rows.
    pub overlap_rows: u64,
    /// Files, the director index among them.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Those of the director index, if there is one and it is text.
    pub index_bytes: u64,
    /// Whether bytes are exact; else rows are taken to be as long as those of a sample.
    pub is_exact: bool,
    /// Rows whose length was looked at.
    pub measured_rows: u64,
    /// Bytes of a row, on average.
    pub row_bytes: f64,
    /// Inputs that were passed over: the table lacks their rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOver>,
    /// The chunks that have rows, in order of their numbers.
    pub chunks: Vec<ChunkEstimate>,
}

/// What a chunk will come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkEstimate {
    /// Its number.
    pub chunk: i32,
    /// Rows of its own.
    pub rows: u64,
    /// Overlap rows.
    pub overlap_rows: u64,
    /// Bytes, those of the overlap included.
    pub bytes: u64,
}

/// What a file of an estimate says it is.
pub const ESTIMATE_FORMAT: &str = "skyprep-estimate";

/// An estimate as a file.
#[derive(Serialize, Deserialize)]
struct Document<E> {
    format: String,
    version: u32,
    skyprep: String,
    #[serde(flatten)]
    estimate: E,
}

impl Estimate {
    /// Returns the estimate as a JSON file.
    ///
    /// # Errors
    /// It can't be expressed, which is a fault of skyprep.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let document = Document {
            format: ESTIMATE_FORMAT.to_owned(),
            version: 1,
            skyprep: env!("CARGO_PKG_VERSION").to_owned(),
            estimate: self,
        };
        let mut bytes = serde_json::to_vec_pretty(&document)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("estimate: {error}")))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a JSON file of an estimate.
    ///
    /// # Errors
    /// It is another file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let document: Document<Self> = serde_json::from_slice(bytes)
            .map_err(|error| Error::usage(format!("is no estimate of skyprep: {error}")))?;
        match (document.format.as_str(), document.version) {
            (ESTIMATE_FORMAT, 1) => Ok(document.estimate),
            _ => Err(Error::usage("is no estimate of this version of skyprep")),
        }
    }

    /// Adds up what was counted; without exact bytes rows are as long as `mean` says.
    fn of(job: &TableJob, counts: &TargetCounts, counted: &Counted, mean: Option<f64>) -> Self {
        let chunks: Vec<ChunkEstimate> = counted
            .chunks
            .iter()
            .map(|(chunk, load)| ChunkEstimate {
                chunk: *chunk,
                rows: load.rows,
                overlap_rows: load.overlap_rows,
                bytes: load.filled
                    + mean.map_or(load.text, |mean| {
                        ((load.rows + load.overlap_rows) as f64 * mean).round() as u64
                    }),
            })
            .collect();
        let has_index = counted.index_rows > 0;
        let index_bytes = match has_index && job.index_format == IndexFormat::Text {
            true => counted.index_bytes,
            false => 0,
        };
        let rows_out = chunks.iter().map(|chunk| chunk.rows).sum();
        let overlap_rows = chunks.iter().map(|chunk| chunk.overlap_rows).sum();
        let data_bytes: u64 = chunks.iter().map(|chunk| chunk.bytes).sum();
        let files = chunks
            .iter()
            .map(|chunk| u64::from(chunk.rows > 0) + u64::from(chunk.overlap_rows > 0));
        let written: u64 = rows_out + overlap_rows;
        Self {
            table: job.target.name.clone(),
            kind: job.kind,
            partitioning: job.partitioning,
            rows_in: counts.rows_in,
            rejected: counts.rejected,
            rows_out,
            second_rows: counts.second_rows,
            overlap_rows,
            files: files.sum::<u64>() + u64::from(has_index),
            bytes: data_bytes + index_bytes,
            index_bytes,
            is_exact: mean.is_none(),
            measured_rows: 0,
            passed_over: Vec::new(),
            row_bytes: data_bytes as f64 / written.max(1) as f64,
            chunks,
        }
    }
}

impl PassJob {
    /// Finds out what the first table of the job will come to. What is looked up on disk meanwhile is
    /// at `scratch`.
    ///
    /// # Errors
    /// The table is not partitioned; or what the pass would end with, as far as rows are made.
    pub fn estimate(
        &self,
        bytes: EstimateBytes,
        scratch: &Path,
        limits: &PassLimits,
        events: &dyn Events,
    ) -> Result<Estimate> {
        let staging = StagingPlace::at(scratch.to_owned());
        let job = self.tables.first();
        let job = job.filter(|job| job.target.routing.is_some());
        let Some(job) = job else {
            return Err(
                Error::usage("a regular table has no chunks to be estimated")
                    .hint("it is one file, of about as many bytes as its inputs are as text"),
            );
        };
        let mut whole = self.clone();
        whole.tables.truncate(1);
        limits.bad_inputs.look_at(&mut whole.inputs)?;
        let books = limits.rejects.snapshot();
        loop {
            match whole.estimate_readable(job, bytes, &staging, limits, events) {
                Ok(mut estimate) => {
                    estimate.passed_over = passed_over(&whole.inputs);
                    return Ok(estimate);
                }
                // Its rows, and those that were set aside, are counted anew without it.
                Err(error) => limits.bad_inputs.pass_over(&mut whole.inputs, error)?,
            }
            limits.rejects.restore(books.clone());
        }
    }

    fn estimate_readable(
        &self,
        job: &TableJob,
        bytes: EstimateBytes,
        staging: &StagingPlace,
        limits: &PassLimits,
        events: &dyn Events,
    ) -> Result<Estimate> {
        let rows_of = |counts: &TargetCounts| counts.rows_in - counts.rejected;
        if !self.inputs.is_empty() && self.readable().next().is_none() {
            let (counts, counted) = (TargetCounts::default(), Counted::default());
            return Ok(Estimate::of(job, &counts, &counted, None));
        }
        let sample = match bytes {
            EstimateBytes::Sampled if self.is_worth_sampling() => self.sample()?,
            _ => None,
        };
        let mut whole = self.clone();
        if let (Some(_), Some(counted)) = (&sample, whole.tables.first_mut()) {
            // What the inputs lack of the other columns is told all the same.
            columns_of(
                &self.readable().cloned().collect::<Vec<_>>(),
                &[&job.target],
            )?;
            counted.target = counting(&counted.target);
        }
        let (counts, counted) = whole.count(staging, limits, events)?;
        let (mean, measured_rows) = match sample {
            None => (None, rows_of(&counts)),
            Some(inputs) => {
                let mut sample = self.clone();
                sample.inputs = inputs;
                // What is wrong with other columns shows when the table is made.
                let mut lenient = limits.afresh();
                lenient.rejects = Rejects::new(u64::MAX, None).into();
                let (counts, sampled) = sample.count(staging, &lenient, &NoEvents)?;
                let rows = rows_of(&counts);
                if rows == 0 {
                    // A sample that tells nothing.
                    let bytes = EstimateBytes::Exact;
                    return self.estimate_readable(job, bytes, staging, &limits.afresh(), events);
                }
                (Some(sampled.text_bytes as f64 / rows as f64), rows)
            }
        };
        let estimate = Estimate {
            measured_rows,
            ..Estimate::of(job, &counts, &counted, mean)
        };
        match estimate.rows_in + estimate.second_rows == estimate.rows_out + estimate.rejected {
            true => Ok(estimate),
            false => Err(Error::new(ErrorKind::Integrity, "the books don't balance")
                .hint("please report this")),
        }
    }

    /// Says whether the inputs are files of columns, and more than little.
    fn is_worth_sampling(&self) -> bool {
        let stamps = self
            .inputs
            .iter()
            .filter_map(|fed| fed.input.stamp.as_ref());
        let bytes: u64 = stamps.map(|stamp| stamp.bytes).sum();
        let is_text = |fed: &PassInput| fed.input.format == InputFormat::Text;
        bytes > SMALL && !self.inputs.iter().any(is_text)
    }

    /// Chooses row groups here and there; nothing if they would be a good part of the whole.
    fn sample(&self) -> Result<Option<Vec<PassInput>>> {
        let readable: Vec<&PassInput> = self.readable().collect();
        let bytes = |fed: &PassInput| fed.input.stamp.as_ref().map_or(0, |stamp| stamp.bytes);
        let whole: u64 = readable.iter().map(|fed| bytes(fed)).sum();
        // Evenly spread, and of each file so many row groups that a twentieth of all is read.
        let files = (readable.len() / SAMPLED).clamp(SAMPLED_LEAST, SAMPLED_FILES);
        let files = files.min(readable.len());
        let mut taken = 0.0;
        let mut sample = Vec::new();
        for number in 0..files {
            let Some(fed) = readable.get(middle_of(number, files, readable.len())) else {
                continue;
            };
            let Some(file) = ColumnFile::open(&fed.input, fed.read_as.fits())? else {
                continue;
            };
            let groups = file.row_groups();
            let rows: u64 = (0..groups).map(|group| file.rows(group)).sum();
            if rows == 0 {
                continue;
            }
            if !file.can_be_cut() {
                sample.push((*fed).clone());
                taken += bytes(fed) as f64;
                continue;
            }
            let wanted = (groups * readable.len()).div_ceil(files * SAMPLED);
            let wanted = wanted.min(groups);
            for number in 0..wanted {
                let group = middle_of(number, wanted, groups);
                let mut part = (*fed).clone();
                part.part.span = Some(InputSpan::RowGroups {
                    first: group,
                    end: group + 1,
                });
                sample.push(part);
                taken += bytes(fed) as f64 * (file.rows(group) as f64 / rows as f64);
            }
        }
        let is_worth_it = taken * 3.0 < whole as f64 && !sample.is_empty();
        Ok(is_worth_it.then_some(sample))
    }

    /// Makes the rows of the only table and counts them.
    fn count(
        &self,
        staging: &StagingPlace,
        limits: &PassLimits,
        events: &dyn Events,
    ) -> Result<(TargetCounts, Counted)> {
        let inputs = self.readable().cloned().collect();
        let targets: Vec<&RowTarget> = self.tables.iter().map(|job| &job.target).collect();
        let inputs = PreparedInputs::new(inputs, &targets)?;
        let bytes = inputs.least_memory(&targets)?;
        let shapes = super::pass::shapes(&inputs, &targets, limits.gate.room());
        check_room(&limits.gate, &shapes, bytes)?;
        let limits = &self.with_indexes(staging, limits, &inputs, &targets)?;
        let sink = CountingSink::of(&self.tables, inputs.columns(0));
        let pass = Pass {
            inputs: &inputs,
            targets,
            sinks: vec![&sink],
            starts: vec![None],
        };
        let counts = pass.run(limits, events)?;
        let counts = counts.into_iter().next();
        let counts = counts.ok_or_else(|| Error::new(ErrorKind::Internal, "nothing was counted"));
        Ok((counts?, sink.finish()))
    }
}

/// Returns the one in the middle of part `number` of `parts` of so many.
fn middle_of(number: usize, parts: usize, all: usize) -> usize {
    (2 * number + 1) * all / (2 * parts.max(1))
}

/// Makes a target whose rows only go where those of `target` do.
fn counting(target: &RowTarget) -> RowTarget {
    RowTarget {
        columns: Some(vec![STAND_IN.to_owned()]),
        constants: vec![(STAND_IN.to_owned(), "1".to_owned())],
        exclude: Vec::new(),
        optional: Vec::new(),
        schema: None,
        ..target.clone()
    }
}

/// What was counted of a chunk.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    rows: u64,
    overlap_rows: u64,
    /// Bytes of the rows as they are in packets.
    text: u64,
    /// Bytes that are filled in, and line ends.
    filled: u64,
}

/// What was counted in all.
#[derive(Debug, Default)]
struct Counted {
    chunks: BTreeMap<i32, Load>,
    /// Bytes of all rows as they came, each once.
    text_bytes: u64,
    index_rows: u64,
    index_bytes: u64,
}

/// Counts rows instead of writing them.
struct CountingSink {
    rows: Option<ChunkRows>,
    counted: Mutex<Counted>,
}

impl CountingSink {
    fn of(tables: &[TableJob], columns: &[OutputColumn]) -> Self {
        let job = tables.first();
        let rows = job.and_then(|job| Some(job.chunk_rows(job.target.routing.as_ref()?, columns)));
        Self {
            rows,
            counted: Mutex::default(),
        }
    }

    fn finish(self) -> Counted {
        let counted = self.counted.into_inner();
        counted.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for CountingSink {
    fn write_run(&self, packets: &[Packet], _: RunEnd<'_>) -> Result<()> {
        let Some(rows) = &self.rows else {
            return Ok(());
        };
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for packet in packets {
            count_packet(packet, rows, &mut counted);
        }
        Ok(())
    }

    fn is_stream(&self) -> bool {
        true
    }
}

fn count_packet(packet: &Packet, rows: &ChunkRows, counted: &mut Counted) {
    let length = |row: usize| u64::from(packet.row_ends()[row]) - packet.start_of(row) as u64;
    let number = |dense: u32| {
        rows.chunk_numbers
            .get(dense as usize)
            .copied()
            .unwrap_or(-1)
    };
    let filled = |chunk: i32, sub_chunk: i32| {
        let parts = rows.slots.iter().flatten();
        let parts = parts.map(|part| match part {
            SlotPart::Chunk => digits(chunk),
            SlotPart::SubChunk => digits(sub_chunk),
            SlotPart::MatchSides | SlotPart::Delimiter => 1,
        });
        parts.sum::<u64>() + rows.line_end.len() as u64
    };
    let places = packet.chunks().iter().zip(packet.sub_chunks());
    for (row, (dense, sub_chunk)) in places.enumerate() {
        let (chunk, text) = (number(*dense), length(row));
        let load = counted.chunks.entry(chunk).or_default();
        load.rows += 1;
        load.text += text;
        load.filled += filled(chunk, *sub_chunk);
        counted.text_bytes += text;
    }
    for place in packet.further() {
        let chunk = number(place.chunk);
        let load = counted.chunks.entry(chunk).or_default();
        match packet.has_sides() {
            true => load.rows += 1,
            false => load.overlap_rows += 1,
        }
        load.text += length(place.row as usize);
        load.filled += filled(chunk, place.sub_chunk);
    }
    let places = packet.chunks().iter().zip(packet.sub_chunks());
    for (key, (dense, sub_chunk)) in packet.keys().zip(places) {
        // Key, chunk and sub-chunk, with two delimiters.
        let numbers = digits(number(*dense)) + digits(*sub_chunk);
        counted.index_rows += 1;
        counted.index_bytes += key.len() as u64 + numbers + 2 + rows.line_end.len() as u64;
    }
}

fn digits(number: i32) -> u64 {
    itoa::Buffer::new().format(number).len() as u64
}

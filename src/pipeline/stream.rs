//! Inputs to one stream of rows: `convert` and `sanitize` to a file or to stdout.

use std::io::Write;
use std::path::PathBuf;

use super::bad_inputs::{PassedOver, passed_over};
use super::pass::{Events, Pass, PassInput, PassLimits, TargetCounts, shapes};
use super::prepared::PreparedInputs;
use super::table::TableReport;
use crate::convert::{RowTarget, TextForm};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::{FileDigest, FileFrame, Sink, StreamSink, check_room};
use crate::schema::OutputColumn;
use crate::schema::TableKind;
use crate::typed::{ParquetSink, parquet_memory};

/// What went through a stream.
#[derive(Debug)]
pub struct StreamOutcome {
    /// Names of the columns written.
    pub columns: Vec<String>,
    /// What was counted.
    pub counts: TargetCounts,
    /// Rows and bytes of the stream; nobody wants its digests.
    pub written: FileDigest,
    /// The file that lists what was refused.
    pub reject_file: Option<String>,
    /// Inputs that were passed over.
    pub passed_over: Vec<PassedOver>,
}

impl StreamOutcome {
    /// Returns what is reported of the stream, as of a table called `name`.
    pub fn report(&self, name: &str, seconds: f64) -> TableReport {
        TableReport {
            table: name.to_owned(),
            kind: TableKind::Regular,
            columns: self.columns.clone(),
            rows_in: self.counts.rows_in,
            rows_out: self.written.rows(),
            second_rows: 0,
            elsewhere: 0,
            overlap_rows: 0,
            rejected: self.counts.rejected,
            reject_file: self.reject_file.clone(),
            passed_over: self.passed_over.clone(),
            files: 1,
            bytes: self.written.bytes(),
            seconds,
            memory_peak: self.counts.memory_peak,
            changes: self.counts.changes.named(&self.columns),
            sub_chunks: Vec::new(),
        }
    }
}

/// Writes the rows of `inputs`, all of which feed target 0, to `out`; messages call it `name`.
/// Inputs that are marked as unreadable are passed over.
///
/// # Errors
/// The first failure in input order; `out` may then have got the rows before it.
pub fn stream(
    inputs: Vec<PassInput>,
    target: &RowTarget,
    name: PathBuf,
    out: Box<dyn Write + Send>,
    limits: &PassLimits,
    events: &dyn Events,
) -> Result<StreamOutcome> {
    let passed_over = passed_over(&inputs);
    let readable = inputs
        .into_iter()
        .filter(|fed| fed.input.unreadable.is_none());
    let readable: Vec<_> = readable.collect();
    if let ([], Some(first)) = (readable.as_slice(), passed_over.first()) {
        return Err(Error::new(ErrorKind::DataRefused, first.reason.as_str())
            .at(Place::file(first.file.as_str()))
            .hint("no input is left"));
    }
    let inputs = PreparedInputs::new(readable, &[target])?;
    let bytes = inputs.least_memory(&[target])?;
    let shapes = shapes(&inputs, &[target], limits.gate.room());
    check_room(&limits.gate, &shapes, bytes)?;
    let columns: Vec<String> = inputs
        .columns(0)
        .iter()
        .map(|column| column.name.clone())
        .collect();
    let sink = StreamKind::begin((name, out), &inputs, target, limits)?;
    let pass = Pass {
        inputs: &inputs,
        targets: vec![target],
        sinks: vec![sink.as_sink()],
        starts: vec![None],
    };
    let counts = pass.run(limits, events)?.pop().unwrap_or_default();
    let written = sink.finish()?;
    if written.rows() + counts.rejected != counts.rows_in {
        let message = format!(
            "{} rows came in, but {} were written and {} refused",
            counts.rows_in,
            written.rows(),
            counts.rejected
        );
        return Err(Error::new(ErrorKind::Integrity, message).hint("please report this"));
    }
    Ok(StreamOutcome {
        reject_file: limits.reject_file(counts.rejected),
        passed_over,
        columns,
        counts,
        written,
    })
}

/// What takes the rows of a stream.
enum StreamKind {
    Text(Box<StreamSink>),
    Parquet(Box<ParquetSink>),
}

impl StreamKind {
    fn begin(
        (name, out): (PathBuf, Box<dyn Write + Send>),
        inputs: &PreparedInputs,
        target: &RowTarget,
        limits: &PassLimits,
    ) -> Result<Self> {
        if let Some(columns) = inputs.parquet_columns(0) {
            let dialect = target.dialect.clone();
            let paid = limits.gate.charge(parquet_memory(columns.len()));
            let sink = ParquetSink::new(name, out, columns.to_vec(), dialect, paid)?;
            return Ok(Self::Parquet(Box::new(sink)));
        }
        let frame = frame(target, inputs.columns(0))?;
        let sink = StreamSink::new(name, out).without_digests();
        Ok(Self::Text(Box::new(sink.framed(frame, None)?)))
    }

    fn as_sink(&self) -> &dyn Sink {
        match self {
            Self::Text(sink) => sink.as_ref(),
            Self::Parquet(sink) => sink.as_ref(),
        }
    }

    fn finish(self) -> Result<FileDigest> {
        match self {
            Self::Text(sink) => Ok(sink.finish()?.pop().unwrap_or_default()),
            Self::Parquet(sink) => sink.finish(),
        }
    }
}

/// Returns what stands around the rows of each file.
pub(super) fn frame(target: &RowTarget, columns: &[OutputColumn]) -> Result<FileFrame> {
    if target.form == TextForm::JsonRows {
        let (charset, binary) = (target.policy.charset.name(), target.policy.binary.name());
        let start =
            format!(r#"{{"charset_name": "{charset}", "binary_encoding": "{binary}", "rows": ["#);
        return Ok(FileFrame {
            start: start.into_bytes(),
            end: b"\n]}\n",
            rows_begin_with_separator: true,
        });
    }
    let mut frame = FileFrame::default();
    if target.dialect.has_header() {
        let encoder = target.dialect.encoder();
        for (number, column) in columns.iter().enumerate() {
            if number > 0 {
                encoder.delimit(&mut frame.start);
            }
            let name = target.policy.charset.encode(&column.name);
            let name = name.map_err(|lacking| {
                let message = format!("the column name '{}'{lacking}", column.name);
                Error::usage(message).hint("use --charset utf8mb4, or leave out --header")
            })?;
            encoder.encode_into(&name, &mut frame.start)?;
        }
        encoder.end_record(&mut frame.start);
    }
    Ok(frame)
}

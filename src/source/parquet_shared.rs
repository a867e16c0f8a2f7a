//! A row group that all threads read together.
//!
//! One row group is open at a time, whatever the number of threads, because its open columns take
//! most of the memory. Whoever needs a span of rows decodes up to it, in order, and leaves what
//! belongs to others for them. Decoding by one at a time would hold
//! the others up; so the columns are cut into parts, each behind a lock of its own.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::parquet::{ParquetGroup, guarded};
use crate::error::Result;
use crate::resources::Lease;

/// A row group whose spans are read by any threads, each span once.
pub struct SharedParquet {
    group: ParquetGroup,
    /// The rows to read.
    rows: Range<u64>,
    parts: Vec<Mutex<Part>>,
    schema: OnceLock<SchemaRef>,
    /// Parts that are not read to their end.
    unread: AtomicUsize,
    /// Pays for the open columns.
    memory: Mutex<Option<Lease>>,
}

/// Some of the columns.
struct Part {
    /// Places of those that stay open.
    kept: Vec<usize>,
    reader: Option<ParquetRecordBatchReader>,
    /// The row that is decoded next.
    next: u64,
    /// What is decoded and not yet taken.
    windows: VecDeque<Window>,
    failure: Option<String>,
}

/// Some rows of a part.
struct Window {
    rows: Range<u64>,
    batch: RecordBatch,
    /// Spans that have not been taken.
    spans: u64,
}

impl SharedParquet {
    /// Makes `group` ready to be read from row `first` on, which begins a span; `memory` pays for
    /// its open columns.
    pub fn new(group: ParquetGroup, first: u64, memory: Option<Lease>) -> Self {
        let first = first.min(group.rows());
        let part = |kept: &Vec<usize>| {
            Mutex::new(Part {
                kept: kept.clone(),
                reader: None,
                next: first,
                windows: VecDeque::new(),
                failure: None,
            })
        };
        let is_bare = group.roots.is_empty() || first == group.rows();
        let parts: Vec<_> = match is_bare {
            true => Vec::new(),
            false => group.plan.parts.iter().map(part).collect(),
        };
        Self {
            rows: first..group.rows(),
            schema: OnceLock::new(),
            unread: AtomicUsize::new(parts.len()),
            memory: Mutex::new(memory),
            parts,
            group,
        }
    }

    /// Returns the number of the row group in its file.
    pub fn number(&self) -> usize {
        self.group.number
    }

    /// Returns the rows to read.
    pub fn rows(&self) -> Range<u64> {
        self.rows.clone()
    }

    /// Returns the bytes of memory that its open columns take.
    pub fn open_bytes(&self) -> u64 {
        self.group.open_bytes()
    }

    /// Returns the span that begins with row `start`.
    pub fn span(&self, start: u64) -> Range<u64> {
        start
            ..start
                .saturating_add(self.group.plan.span)
                .min(self.rows.end)
    }

    /// Returns the end of the window that begins with row `start`, and the bytes of memory that it
    /// takes from the time one of its spans is read until all of them are dropped.
    pub fn window(&self, start: u64) -> (u64, u64) {
        let window = self.window_rows(start);
        let bytes = self.group.bytes_of(window.end - window.start);
        (window.end, bytes)
    }

    fn window_rows(&self, start: u64) -> Range<u64> {
        start
            ..start
                .saturating_add(self.group.plan.window)
                .min(self.rows.end)
    }

    /// Says whether all has been decoded.
    pub fn is_closed(&self) -> bool {
        self.unread.load(Ordering::Acquire) == 0
    }

    /// Reads a span; the columns are the wanted ones in their order.
    ///
    /// # Errors
    /// The row group is damaged at this span or before, or has not as many rows as the footer says.
    pub fn read(&self, span: &Range<u64>) -> Result<RecordBatch> {
        let rows = usize::try_from(span.end - span.start).unwrap_or(0);
        let count = self.parts.len();
        if count == 0 {
            return rows_without_columns(rows).map_err(|message| self.group.corrupt(message));
        }
        let mut taken: Vec<Option<_>> = (0..count).map(|_| None).collect();
        // Threads begin at different parts, and first do what they need not wait for.
        let first = usize::try_from(span.start / self.group.plan.span).unwrap_or(0) % count;
        for at in (first..count).chain(0..first) {
            if let Ok(mut part) = self.parts[at].try_lock() {
                taken[at] = Some(self.take(&mut part, span.start));
            }
        }
        let all: std::result::Result<Vec<RecordBatch>, String> = taken
            .into_iter()
            .zip(&self.parts)
            .map(|(taken, part)| taken.unwrap_or_else(|| self.take(&mut lock(part), span.start)))
            .collect();
        all.and_then(|parts| self.assemble(parts))
            .map_err(|message| self.group.corrupt(message))
    }

    /// Decodes what is left, for those who have yet to take it, and frees the memory of the open
    /// columns. What is decoded must be paid for.
    pub fn close(&self) {
        for part in &self.parts {
            let mut part = lock(part);
            while part.next < self.rows.end && part.failure.is_none() {
                self.decode_next(&mut part);
            }
        }
    }

    /// Reads everything and keeps nothing.
    ///
    /// # Errors
    /// The row group is damaged.
    pub fn check(&self) -> Result<()> {
        let mut start = self.rows.start;
        while start < self.rows.end {
            let span = self.span(start);
            self.read(&span)?;
            start = span.end;
        }
        Ok(())
    }

    /// Takes the span that begins with row `start` out of a part.
    fn take(&self, part: &mut Part, start: u64) -> std::result::Result<RecordBatch, String> {
        loop {
            let holds = |window: &Window| window.rows.contains(&start);
            if let Some(at) = part.windows.iter().position(holds)
                && let Some(window) = part.windows.get_mut(at)
            {
                let rows = self.span(start);
                let span = if window.rows == rows {
                    window.batch.clone()
                } else {
                    let from = usize::try_from(start - window.rows.start).unwrap_or(0);
                    let count = usize::try_from(rows.end - start).unwrap_or(0);
                    window.batch.slice(from, count)
                };
                window.spans -= 1;
                if window.spans == 0 {
                    part.windows.remove(at);
                }
                return Ok(span);
            }
            if let Some(message) = &part.failure {
                return Err(message.clone());
            }
            if start < part.next {
                return Err(format!("row {start} was read before"));
            }
            self.decode_next(part);
        }
    }

    /// Decodes the next window of a part, or remembers why it can't.
    fn decode_next(&self, part: &mut Part) {
        let rows = self.window_rows(part.next);
        match self.decode(part, &rows) {
            Ok(batch) => {
                part.next = rows.end;
                part.windows.push_back(Window {
                    spans: (rows.end - rows.start).div_ceil(self.group.plan.span),
                    rows,
                    batch,
                });
            }
            Err(message) => part.failure = Some(message),
        }
        if part.next >= self.rows.end || part.failure.is_some() {
            part.reader = None;
            if self.unread.fetch_sub(1, Ordering::AcqRel) == 1 {
                drop(lock(&self.memory).take());
            }
        }
    }

    fn decode(
        &self,
        part: &mut Part,
        rows: &Range<u64>,
    ) -> std::result::Result<RecordBatch, String> {
        let kept = match part.kept.as_slice() {
            [] => None,
            kept => {
                let reader = match &mut part.reader {
                    Some(reader) => reader,
                    None => part.reader.insert(self.group.open(kept, rows.start)?),
                };
                let batch = guarded(|| reader.next().transpose())?;
                let found = batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
                self.check_rows(rows, found)?;
                if rows.end == self.rows.end {
                    let more = guarded(|| reader.next().transpose())?;
                    let more = more.map_or(0, |batch| batch.num_rows() as u64);
                    self.check_rows(rows, found + more)?;
                }
                batch
            }
        };
        match kept {
            Some(kept) if self.group.plan.groups.is_empty() => Ok(kept),
            kept => self.add_groups(&part.kept, kept.as_ref(), rows),
        }
    }

    fn check_rows(&self, rows: &Range<u64>, found: u64) -> std::result::Result<(), String> {
        if found == rows.end - rows.start {
            return Ok(());
        }
        let (found, expected) = (rows.start + found, self.group.rows());
        Err(format!("found {found} rows, the footer says {expected}"))
    }

    /// Adds the columns that are opened for each window.
    fn add_groups(
        &self,
        kept_at: &[usize],
        kept: Option<&RecordBatch>,
        rows: &Range<u64>,
    ) -> std::result::Result<RecordBatch, String> {
        let mut columns: Vec<Option<(ArrayRef, FieldRef)>> = vec![None; self.group.roots.len()];
        let mut place = |at: &[usize], batch: &RecordBatch| {
            let fields = batch.schema();
            let found = batch.columns().iter().cloned();
            let found = found.zip(fields.fields().iter().cloned());
            for (at, column) in at.iter().zip(found) {
                columns[*at] = Some(column);
            }
        };
        if let Some(kept) = kept {
            place(kept_at, kept);
        }
        for group in &self.group.plan.groups {
            place(group, &self.group.read_once(group, rows)?);
        }
        let columns: Option<Vec<_>> = columns.into_iter().collect();
        let (columns, fields): (Vec<_>, Vec<_>) = columns
            .ok_or_else(|| "a column is missing".to_owned())?
            .into_iter()
            .unzip();
        let count = usize::try_from(rows.end - rows.start).unwrap_or(0);
        self.batch(columns, fields, count)
    }

    /// Puts the parts of a span together.
    fn assemble(&self, mut parts: Vec<RecordBatch>) -> std::result::Result<RecordBatch, String> {
        if parts.len() == 1
            && let Some(whole) = parts.pop()
        {
            return Ok(whole);
        }
        let rows = parts.first().map_or(0, RecordBatch::num_rows);
        let fields = parts.iter().flat_map(|part| {
            let schema = part.schema();
            schema.fields().iter().cloned().collect::<Vec<_>>()
        });
        let fields = match self.schema.get() {
            Some(_) => Vec::new(),
            None => fields.collect(),
        };
        let columns = parts.iter().flat_map(|part| part.columns().iter().cloned());
        self.batch(columns.collect(), fields, rows)
    }

    fn batch(
        &self,
        columns: Vec<ArrayRef>,
        fields: Vec<FieldRef>,
        rows: usize,
    ) -> std::result::Result<RecordBatch, String> {
        let schema = self.schema.get_or_init(|| Arc::new(Schema::new(fields)));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        // Columns of different lengths are refused here.
        RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
            .map_err(|error| error.to_string())
    }
}

/// Returns rows of a table of which no column is wanted.
fn rows_without_columns(rows: usize) -> std::result::Result<RecordBatch, String> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
        .map_err(|error| error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The decoder's panics are caught inside.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests make files of their own")]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use arrow::array::cast::AsArray;
    use arrow::array::{Float64Array, Int64Array, StringArray};
    use arrow::compute::cast;
    use arrow::datatypes::{DataType, Int64Type};
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    use crate::resources::MemoryGate;
    use crate::source::{DecodeBudget, ParquetFile};

    const ROWS: u64 = 60_000;
    const AMPLE: u64 = 1 << 30;

    /// A row group with pages of 5,000 rows: numbers, a text, and more numbers.
    fn bytes() -> Vec<u8> {
        let properties = WriterProperties::builder()
            .set_data_page_row_count_limit(5000)
            .set_write_batch_size(1000)
            .set_column_dictionary_enabled("text".into(), false)
            .build();
        let numbers = || Int64Array::from_iter_values(0..ROWS as i64);
        let texts = (0..ROWS).map(|row| format!("value {row:06}"));
        let mut columns: Vec<(String, ArrayRef)> = vec![
            ("id".into(), Arc::new(numbers())),
            (
                "text".into(),
                Arc::new(StringArray::from_iter_values(texts)),
            ),
        ];
        for column in 0..4 {
            let values = (0..ROWS).map(|row| (row * column) as f64);
            let values = Arc::new(Float64Array::from_iter_values(values));
            columns.push((format!("c{column}"), values));
        }
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes
    }

    struct Case {
        _folder: tempfile::TempDir,
        file: ParquetFile,
    }

    fn case(bytes: &[u8]) -> Case {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.parquet");
        std::fs::write(&path, bytes).unwrap();
        Case {
            file: ParquetFile::open(&path).unwrap(),
            _folder: folder,
        }
    }

    impl Case {
        fn group(&self, memory: u64, threads: usize, first: u64) -> SharedParquet {
            let budget = DecodeBudget {
                usual: memory,
                most: memory,
                threads,
            };
            let planned = self.file.plan(0, &[0, 1, 2, 3, 4, 5], budget).unwrap();
            SharedParquet::new(planned, first, None)
        }
    }

    /// Reads all spans on some threads, each of which takes the next.
    fn read_all(group: &SharedParquet, threads: usize) -> BTreeMap<u64, Result<RecordBatch>> {
        let next = Mutex::new(group.rows().start);
        let found = Mutex::new(BTreeMap::new());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let mut start = next.lock().unwrap();
                        if *start >= group.rows().end {
                            return;
                        }
                        let span = group.span(*start);
                        *start = span.end;
                        drop(start);
                        let batch = group.read(&span);
                        found.lock().unwrap().insert(span.start, batch);
                    }
                });
            }
        });
        found.into_inner().unwrap()
    }

    fn check_rows(first: u64, batch: &RecordBatch) {
        let ids = batch.column(0).as_primitive::<Int64Type>();
        let texts = cast(batch.column(1), &DataType::Utf8).unwrap();
        let texts = texts.as_string::<i32>();
        let last = batch.column(5).as_any().downcast_ref::<Float64Array>();
        for row in 0..batch.num_rows() {
            let number = first + row as u64;
            assert_eq!(ids.value(row), number as i64);
            assert_eq!(texts.value(row), format!("value {number:06}"));
            assert_eq!(last.unwrap().value(row), (number * 3) as f64);
        }
    }

    #[test]
    fn any_threads_parts_and_windows_give_the_same_rows() {
        let case = case(&bytes());
        let whole = case.group(AMPLE, 1, 0);
        let span = whole.span(0).end;
        assert!(span < ROWS / 4, "some spans");
        for (memory, threads) in [
            (AMPLE, 1),
            (AMPLE, 4),
            (AMPLE, 9),
            (0, 1),
            (0, 4),
            (1 << 20, 3),
        ] {
            for first in [0, span, 3 * span] {
                let group = case.group(memory, threads, first);
                assert_eq!(group.span(first).end, (first + span).min(ROWS));
                let are_shared = memory == AMPLE && threads > 2;
                assert_eq!(group.parts.len() > 1, are_shared);
                let mut rows = 0;
                for (start, batch) in read_all(&group, threads) {
                    let batch = batch.unwrap();
                    check_rows(start, &batch);
                    rows += batch.num_rows() as u64;
                }
                assert_eq!(rows, ROWS - first);
                assert!(group.is_closed());
                assert!(group.parts.iter().all(|part| lock(part).windows.is_empty()));
            }
        }
    }

    #[test]
    fn what_others_have_yet_to_take_stays_when_columns_are_closed() {
        let case = case(&bytes());
        let gate = MemoryGate::new(100);
        let mut group = case.group(AMPLE, 4, 0);
        group.memory = Mutex::new(gate.try_lease(60, 0));
        let first = group.span(0);
        check_rows(0, &group.read(&first).unwrap());
        assert_eq!((gate.free(), group.is_closed()), (40, false));
        group.close();
        assert_eq!((gate.free(), group.is_closed()), (100, true));
        let second = group.span(first.end);
        check_rows(second.start, &group.read(&second).unwrap());
        let again = group.read(&second).unwrap_err();
        assert!(again.to_string().contains("read before"), "{again}");
    }

    #[test]
    fn damage_shows_from_its_span_on_whatever_the_threads() {
        let mut bytes = bytes();
        let value = b"\x0c\0\0\0value 040000";
        let at = memchr::memmem::find(&bytes, value).unwrap();
        bytes[at..at + 4].fill(0xff);
        let case = case(&bytes);
        for threads in [1, 2, 8] {
            let group = case.group(AMPLE, threads, 0);
            for (start, batch) in read_all(&group, threads) {
                match batch {
                    Ok(batch) => {
                        assert!(start + (batch.num_rows() as u64) <= 40_000);
                        check_rows(start, &batch);
                    }
                    Err(error) => {
                        assert!(group.span(start).end > 40_000, "{start}: {error}");
                        assert!(error.to_string().contains("row group 0"), "{error}");
                    }
                }
            }
            assert!(case.group(AMPLE, threads, 0).check().is_err());
        }
    }
}

//! A pass of a job whose tasks are all done: what went in, what was set aside, what was made.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::books::{TableBooks, books_of};
use super::folder::JobFolder;
use super::input_lines::InputLines;
use super::name::TaskKind;
use super::passes::{find, table_folder};
use super::plan::{Plan, ReduceWork, Source};
use super::record::TaskRecord;
use super::rejects::RejectList;
use super::task::check_stamps;
use super::waiting::needed;
use crate::error::Result;
use crate::exchange::FileSummary;
use crate::pipeline::{PassedOver, PipelineFile, RunEvents, TableJob, TableReport, job_passes};
use crate::publish::InputStamp;

/// A pass and what is known of it.
pub(super) struct PassToCommit {
    /// Number in the plan.
    pub(super) number: usize,
    pub(super) tables: Vec<TableJob>,
    /// Options of each table, for the record.
    pub(super) options: Vec<serde_json::Value>,
    pub(super) columns: Vec<Vec<String>>,
    pub(super) feeds: Vec<Vec<usize>>,
    /// All inputs, by number.
    pub(super) inputs: BTreeMap<u32, (u32, InputStamp)>,
    pub(super) books: BTreeMap<String, TableBooks>,
    pub(super) seconds: f64,
    /// What reduce tasks of this job have made, with the folders of the files.
    pub(super) made: Vec<(PathBuf, TaskRecord)>,
}

impl PassToCommit {
    /// Reads what tasks have noted.
    ///
    /// # Errors
    /// A task has no record, or inputs have changed since.
    pub(super) fn read(
        folder: &JobFolder,
        plan: &Plan,
        file: &PipelineFile,
        number: usize,
        events: &dyn RunEvents,
        lists: &mut Vec<RejectList>,
    ) -> Result<Self> {
        let own = plan.pass(number)?;
        let passes = job_passes(file, &BTreeMap::new(), events)?;
        let planned = find(passes, own)?;
        let columns = planned.job.task_columns(&own.known)?;
        let names = |columns: Vec<crate::schema::OutputColumn>| -> Vec<String> {
            columns.into_iter().map(|column| column.name).collect()
        };
        let mut inputs = BTreeMap::new();
        let mut new = Vec::new();
        let mut seconds = 0.0;
        let mut records = Vec::with_capacity(own.maps.len());
        let mut lists_of_inputs = InputLines::new(folder, plan);
        for source in &own.maps {
            let of = folder.of_source(source);
            let lines = lists_of_inputs.of(source)?;
            let record = needed(folder, std::slice::from_ref(source))?;
            for mut record in record {
                seconds += record.seconds;
                if let Some(list) = &record.rejects {
                    let lines = lines.iter();
                    let inputs = lines.map(|line| (line.stamp.path.clone(), line.order));
                    lists.push(RejectList {
                        pass: number,
                        inputs: inputs.collect(),
                        path: of.file(list),
                    });
                }
                let digests = record.inputs.iter().filter(|stamp| stamp.sha256.is_some());
                let digests: BTreeMap<String, InputStamp> = digests
                    .map(|stamp| (stamp.path.clone(), stamp.clone()))
                    .collect();
                for line in &lines {
                    let stamp = digests.get(&line.stamp.path).unwrap_or(&line.stamp);
                    inputs.insert(line.input, (line.product, stamp.clone()));
                }
                record.inputs = Vec::new();
                records.push(record);
            }
            if source.job.is_none() {
                new.extend(lines.into_iter().map(|line| line.stamp));
            }
        }
        if !plan.settings.keep_going {
            new.dedup();
            check_stamps(&new)?;
        }
        let mut books = books_of(&records);
        for input in plan.rejected.iter().filter(|input| input.pass == number) {
            inputs.insert(input.input, (input.product, input.stamp.clone()));
        }
        for (table, job) in planned.job.tables.iter().enumerate() {
            let own = books.entry(job.target.name.clone()).or_default();
            let rejected = plan.rejected.iter().filter(|input| input.pass == number);
            for input in rejected {
                let product = planned.products.get(input.product as usize);
                if product.is_some_and(|(_, feeds, _)| feeds.contains(&table)) {
                    own.passed_over.push(PassedOver {
                        file: input.stamp.path.clone(),
                        reason: input.reason.clone(),
                    });
                }
            }
        }
        let mut made = Vec::new();
        for (at, reduce) in plan.reduces.iter().enumerate() {
            if reduce.pass != number {
                continue;
            }
            let source = Source::own(TaskKind::Reduce, at as u32 + 1);
            for mut record in needed(folder, &[source])? {
                seconds += record.seconds;
                if let ReduceWork::Index { .. } = reduce.work {
                    // Keys are no rows.
                    record.tables.iter_mut().for_each(|table| table.rows = 0);
                }
                made.push((record.made_in.clone().unwrap_or_default(), record));
            }
        }
        let mut tables = planned.job.tables;
        for table in &mut tables {
            table.folder = table_folder(&plan.database, plan.generation, &table.target.name);
        }
        Ok(Self {
            number,
            tables,
            options: planned.job.options,
            columns: columns.into_iter().map(names).collect(),
            feeds: planned
                .products
                .into_iter()
                .map(|(_, feeds, _)| feeds)
                .collect(),
            inputs,
            books,
            seconds,
            made,
        })
    }

    /// Returns the options of a table.
    pub(super) fn options_of(&self, table: &str) -> Option<&serde_json::Value> {
        let at = self
            .tables
            .iter()
            .position(|job| job.target.name == table)?;
        self.options.get(at)
    }

    /// Returns the stamps of what a table is made of, in order: inputs, then indexes.
    pub(super) fn stamps(&self, table: usize) -> Result<Vec<InputStamp>> {
        let feeding = self.inputs.values().filter(|(product, _)| {
            let feeds = self.feeds.get(*product as usize);
            feeds.is_some_and(|feeds| feeds.contains(&table))
        });
        let mut stamps: Vec<InputStamp> = feeding.map(|(_, stamp)| stamp.clone()).collect();
        if let Some(table) = self.tables.get(table) {
            stamps.extend(table.index_stamps()?);
        }
        Ok(stamps)
    }

    /// Makes the report of a table, and checks that its books balance.
    pub(super) fn report(
        &self,
        number: usize,
        files: &[FileSummary],
        plan: &Plan,
    ) -> Result<TableReport> {
        let table = &self.tables[number];
        let name = &table.target.name;
        let books = self.books.get(name).cloned().unwrap_or_default();
        let is_data =
            |file: &&FileSummary| table.target.routing.is_none() || file.chunk().is_some();
        let rows = |is_overlap: bool| -> u64 {
            let own = files.iter().filter(is_data);
            let own = own.filter(|file| file.is_overlap() == is_overlap);
            own.map(|file| file.rows).sum()
        };
        let (rows_out, overlap_rows) = (rows(false), rows(true));
        books.check_files(name, rows_out, overlap_rows)?;
        let reject_file = plan.settings.reject_file.as_ref();
        let report = TableReport {
            rows_in: books.rows_in,
            rows_out,
            second_rows: books.second_rows,
            overlap_rows,
            rejected: books.rejected,
            reject_file: reject_file
                .filter(|_| books.rejected > 0)
                .map(|path| path.display().to_string()),
            passed_over: books.passed_over,
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.bytes).sum(),
            seconds: self.seconds,
            memory_peak: books.memory_peak,
            changes: books.changes,
            columns: self.columns.get(number).cloned().unwrap_or_default(),
            ..TableReport::of_nothing(table)
        };
        report.check_balance()?;
        Ok(report)
    }
}

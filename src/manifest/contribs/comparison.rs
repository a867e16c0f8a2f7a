//! Finds the tries of each contribution, and judges them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use xxhash_rust::xxh3::xxh3_128;

use super::descriptors::{Descriptor, Descriptors, Status};
use super::report::{ContribReport, Finding, Remedy, failure_of};
use crate::manifest::line::Contribution;
use crate::manifest::listing::Listing;
use crate::manifest::names::{path_in_table, without_query};
use crate::schema::TableKind;

impl ContribReport {
    /// Compares a manifest with what the ingest service tells.
    ///
    /// A try belongs to the contribution whose URL it has, whatever is signed into it; else, for
    /// URLs differ between servers, to one of its table, chunk and overlap. Tries of aborted
    /// transactions do not count. Regular tables are loaded once on each worker.
    pub fn of(manifest: &Listing, told: &Descriptors) -> Self {
        let mut report = Self {
            contributions: manifest.len() as u64,
            attempts: told.files.len() as u64,
            ..Self::default()
        };
        let index = Index::of(manifest);
        let mut attempts: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut strangers = Vec::new();
        let mut unmatched = Vec::new();
        for (number, file) in told.files.iter().enumerate() {
            let is_elsewhere = (!file.database.is_empty()
                && file.database != manifest.header().database)
                || !index.kinds.contains_key(&file.table);
            if is_elsewhere {
                report.elsewhere += 1;
            } else if told.is_aborted(file.transaction) {
                report.void += 1;
            } else {
                match index.by_url(file) {
                    Some(line) => attempts.entry(line).or_default().push(number),
                    None => unmatched.push(number),
                }
            }
        }
        for number in unmatched {
            let Some(file) = told.files.get(number) else {
                continue;
            };
            match index.by_chunk(manifest, file, &attempts) {
                Some(line) => attempts.entry(line).or_default().push(number),
                None => strangers.push(file),
            }
        }
        let judge = Judge {
            told,
            regular_workers: regular_workers(manifest, told, &attempts),
        };
        let mut blamed = BTreeSet::new();
        for (number, line) in manifest.contributions().enumerate() {
            let tries = attempts.get(&number).into_iter().flatten();
            let tries: Vec<&Descriptor> = tries.filter_map(|at| told.files.get(*at)).collect();
            judge.look_at(number, &line, &tries, &mut report, &mut blamed);
        }
        for file in strangers {
            if matches!(file.status, Status::Finished | Status::LoadFailed) {
                let is_partitioned = index
                    .kinds
                    .get(&file.table)
                    .is_some_and(|kind| kind.is_partitioned());
                let remedy = judge.remedy(file, &mut blamed);
                report
                    .unknown
                    .push(Finding::unknown(file, is_partitioned, remedy));
            }
        }
        report.blame(manifest, told, &attempts, &blamed);
        report
    }

    /// Finds what is to be sent again because of transactions that are at fault.
    fn blame(
        &mut self,
        manifest: &Listing,
        told: &Descriptors,
        attempts: &HashMap<usize, Vec<usize>>,
        blamed: &BTreeSet<(u64, String)>,
    ) {
        for (transaction, table) in blamed {
            match told.is_committed(*transaction) {
                true => _ = self.reload.insert(table.clone()),
                false => _ = self.abort.insert(*transaction),
            }
        }
        for (number, tries) in attempts {
            let mut tries = tries.iter().filter_map(|at| told.files.get(*at));
            if tries.any(|file| self.abort.contains(&file.transaction)) {
                self.again.insert(number.to_owned());
            }
        }
        if !self.reload.is_empty() {
            let lines = manifest.contributions().enumerate();
            let lines = lines.filter(|(_, line)| self.reload.contains(&line.table));
            let numbers: Vec<usize> = lines.map(|(number, _)| number).collect();
            self.again.extend(numbers);
        }
    }
}

/// Returns the workers that got a regular table; all should get all of them.
fn regular_workers(
    manifest: &Listing,
    told: &Descriptors,
    attempts: &HashMap<usize, Vec<usize>>,
) -> BTreeSet<String> {
    let mut workers = BTreeSet::new();
    for (number, line) in manifest.contributions().enumerate() {
        if line.kind == TableKind::Regular {
            let tries = attempts.get(&number).into_iter().flatten();
            let tries = tries.filter_map(|at| told.files.get(*at));
            workers.extend(tries.map(|file| file.worker.clone()));
        }
    }
    workers
}

/// Finds contributions by what the service tells of them.
struct Index {
    kinds: HashMap<String, TableKind>,
    urls: HashMap<u128, usize>,
    chunks: HashMap<(String, Option<i32>, bool), Vec<usize>>,
}

impl Index {
    fn of(manifest: &Listing) -> Self {
        let mut index = Self {
            kinds: HashMap::new(),
            urls: HashMap::with_capacity(manifest.len()),
            chunks: HashMap::new(),
        };
        for (number, line) in manifest.contributions().enumerate() {
            for url in std::iter::once(&line.url).chain(&line.stored_at) {
                index.urls.insert(key_of(&line.table, url), number);
            }
            if !index.kinds.contains_key(&line.table) {
                index.kinds.insert(line.table.clone(), line.kind);
            }
            let chunk = (line.table, line.chunk, line.overlap);
            index.chunks.entry(chunk).or_default().push(number);
        }
        index
    }

    fn by_url(&self, file: &Descriptor) -> Option<usize> {
        self.urls.get(&key_of(&file.table, &file.url)).copied()
    }

    fn by_chunk(
        &self,
        manifest: &Listing,
        file: &Descriptor,
        attempts: &HashMap<usize, Vec<usize>>,
    ) -> Option<usize> {
        let key = match self.kinds.get(&file.table)? {
            // The service tells some chunk for regular tables, too.
            TableKind::Regular => (file.table.clone(), None, false),
            _ => {
                let chunk = i32::try_from(file.chunk).ok()?;
                (file.table.clone(), Some(chunk), file.overlap)
            }
        };
        let parts = self.chunks.get(&key)?;
        if let [only] = parts.as_slice() {
            return Some(*only);
        }
        // Of several parts, that of the same place below its table; what was sent with the request
        // has none, and is told by its rows.
        let lines = || {
            let lines = parts
                .iter()
                .filter_map(|at| Some((*at, manifest.contribution(*at)?)));
            lines.collect::<Vec<_>>()
        };
        let is_sent = file.url.starts_with("data-");
        let same = lines().into_iter().filter(|(at, line)| match is_sent {
            false => path_in_table(line, &line.url) == path_in_table(line, &file.url),
            true => line.rows == file.rows && !attempts.contains_key(at),
        });
        same.map(|(at, _)| at).next()
    }
}

/// A file may feed several tables.
fn key_of(table: &str, url: &str) -> u128 {
    xxh3_128(format!("{table}\n{}", without_query(url)).as_bytes())
}

struct Judge<'j> {
    told: &'j Descriptors,
    regular_workers: BTreeSet<String>,
}

impl Judge<'_> {
    /// Judges a contribution on each worker that it was sent to; the worst counts.
    fn look_at(
        &self,
        number: usize,
        line: &Contribution,
        tries: &[&Descriptor],
        report: &mut ContribReport,
        blamed: &mut BTreeSet<(u64, String)>,
    ) {
        if tries.is_empty() {
            let finding = Finding::new(line, "it was not sent".into(), Remedy::Send);
            report.missing.push(finding);
            report.again.insert(number);
            return;
        }
        let before = report.failed.len();
        let mut by_worker: BTreeMap<&str, Vec<&Descriptor>> = BTreeMap::new();
        for file in tries {
            by_worker.entry(&file.worker).or_default().push(file);
        }
        let mut is_loaded = true;
        if line.kind == TableKind::Regular {
            let all = self.regular_workers.iter().map(String::as_str);
            let lacking: Vec<&str> = all
                .filter(|worker| !by_worker.contains_key(worker))
                .collect();
            if !lacking.is_empty() {
                is_loaded = false;
                let message = format!("it was not sent to {}", lacking.join(", "));
                report
                    .missing
                    .push(Finding::new(line, message, Remedy::Send));
                report.again.insert(number);
            }
        }
        for files in by_worker.values() {
            is_loaded &= self.look_at_worker(line, files, report, blamed);
        }
        report.loaded += u64::from(is_loaded);
        let failed = report.failed.get(before..).unwrap_or_default();
        if failed.iter().any(|finding| finding.remedy == Remedy::Send) {
            report.again.insert(number);
        }
    }

    /// Judges what one worker has done with a contribution; says whether it is loaded rightly.
    fn look_at_worker(
        &self,
        line: &Contribution,
        files: &[&Descriptor],
        report: &mut ContribReport,
        blamed: &mut BTreeSet<(u64, String)>,
    ) -> bool {
        // Some of its rows may be in the table.
        if let Some(file) = files.iter().find(|file| file.status == Status::LoadFailed) {
            let remedy = self.remedy(file, blamed);
            let finding = Finding::new(line, failure_of(file), remedy).with(&[file]);
            report.failed.push(finding);
            return false;
        }
        let finished = files.iter().filter(|file| file.status == Status::Finished);
        let finished: Vec<&Descriptor> = finished.copied().collect();
        match finished.as_slice() {
            [file] => self.look_at_finished(line, file, report, blamed),
            [] => {
                self.look_at_unfinished(line, files, report, blamed);
                false
            }
            [.., last] => {
                let remedy = self.remedy(last, blamed);
                let message = format!("it was loaded {} times", finished.len());
                let finding = Finding::new(line, message, remedy).with(&finished);
                report.twice.push(finding);
                false
            }
        }
    }

    fn look_at_finished(
        &self,
        line: &Contribution,
        file: &Descriptor,
        report: &mut ContribReport,
        blamed: &mut BTreeSet<(u64, String)>,
    ) -> bool {
        // What was sent with the request has no size of its own.
        let has_bytes = file.bytes > 0 && !file.url.starts_with("data-");
        let message = if file.rows != line.rows {
            format!("{} rows were read, expected {}", file.rows, line.rows)
        } else if file.rows_loaded != line.rows {
            format!(
                "{} rows were loaded, expected {}",
                file.rows_loaded, line.rows
            )
        } else if has_bytes && file.bytes != line.bytes {
            format!("{} bytes were read, expected {}", file.bytes, line.bytes)
        } else {
            if file.warnings > 0 {
                let first = file.warning_texts.first();
                let message = match first {
                    Some(text) => format!("{} warnings, the first: {text}", file.warnings),
                    None => format!("{} warnings", file.warnings),
                };
                let finding = Finding::new(line, message, Remedy::Look).with(&[file]);
                report.warnings.push(finding);
            }
            return true;
        };
        let remedy = self.remedy(file, blamed);
        let finding = Finding::new(line, message, remedy).with(&[file]);
        report.wrong_rows.push(finding);
        false
    }

    fn look_at_unfinished(
        &self,
        line: &Contribution,
        files: &[&Descriptor],
        report: &mut ContribReport,
        blamed: &mut BTreeSet<(u64, String)>,
    ) {
        if let Some(file) = files.iter().find(|file| file.status == Status::InProgress) {
            let finding = Finding::new(line, failure_of(file), Remedy::Wait).with(&[file]);
            report.in_progress.push(finding);
            return;
        }
        let Some(file) = files.last() else { return };
        let remedy = match file.may_retry {
            // Nothing of it is in the table, and nothing is tried again in a transaction that is
            // over.
            _ if self.told.is_committed(file.transaction) => Remedy::Send,
            true => Remedy::Retry,
            false => self.remedy(file, blamed),
        };
        let finding = Finding::new(line, failure_of(file), remedy).with(&[file]);
        report.failed.push(finding);
    }

    /// Blames the transaction of a file, and says what that means.
    fn remedy(&self, file: &Descriptor, blamed: &mut BTreeSet<(u64, String)>) -> Remedy {
        blamed.insert((file.transaction, file.table.clone()));
        match self.told.is_committed(file.transaction) {
            true => Remedy::Reload,
            false => Remedy::Abort,
        }
    }
}

//! The plan of a job: written once, in one step, and never changed.
//!
//! A job folder holds `plan.json` (this), `inputs.jsonl` (a line for each input or part of one, in
//! the order of tasks, so that a task reads only its own) and a copy of the pipeline file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::name::{JobId, TaskKind, TaskName};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::pipeline::InputSpan;
use crate::publish::InputStamp;
use crate::source::InputFormat;

/// What a plan calls itself.
pub(super) const FORMAT: &str = "skyprep-job";
/// Version of plans and records.
pub(super) const VERSION: u32 = 2;

/// All that the tasks of a job are to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    pub(super) format: String,
    pub(super) version: u32,
    /// Version of skyprep that wrote it.
    pub skyprep: String,
    /// The job.
    pub id: JobId,
    /// When it was planned: seconds since 1970.
    pub created: u64,
    /// Digest of what was asked for: the same id again must mean the same.
    pub request: String,
    /// The pipeline file, as an absolute path.
    pub pipeline: PathBuf,
    /// Folder of the output.
    pub root: PathBuf,
    /// Name of the database.
    pub database: String,
    /// The generation of the database that the job makes.
    pub generation: u32,
    /// The job that this one goes on from.
    pub base: Option<JobId>,
    /// What becomes of bad rows and bad inputs.
    pub settings: JobSettings,
    /// The passes in their order.
    pub passes: Vec<PassPlan>,
    /// The map tasks.
    pub maps: Vec<MapPlan>,
    /// The merge tasks.
    pub merges: Vec<MergePlan>,
    /// The reduce tasks.
    pub reduces: Vec<ReducePlan>,
    /// Inputs that are lacking, with the reason.
    pub rejected: Vec<RejectedInput>,
    /// Files that were replaced or dropped: they are not taken for new ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<InputStamp>,
    /// Inputs, parts of one counted once.
    pub inputs: u64,
    /// Their bytes.
    pub input_bytes: u64,
}

/// What becomes of bad rows and bad inputs, and where exchange files lie.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSettings {
    /// Rows that may be set aside in all.
    pub max_rejects: u64,
    /// The file that lists them.
    pub reject_file: Option<PathBuf>,
    /// Whether inputs that can't be read are passed over.
    pub keep_going: bool,
    /// Whether digests of the inputs are recorded.
    pub checksum_inputs: bool,
    /// Where exchange files lie, if not in the job's folder.
    pub exchange_dir: Option<PathBuf>,
}

/// A pass: tables that are made from the same inputs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PassPlan {
    /// Its tables.
    pub tables: Vec<String>,
    /// Columns of each table's first input.
    pub known: Vec<Vec<String>>,
    /// Digest of what decides its rows, in hexadecimal.
    pub configuration: String,
    /// Whether keys are looked up in indexes that earlier passes make.
    pub is_keyed: bool,
    /// The map tasks whose rows make up its tables, of this job or of earlier ones.
    pub maps: Vec<Source>,
    /// What its reduce tasks read.
    pub sources: Vec<Source>,
    /// Those of the sources that the generation before did not have, and those that it had and this
    /// one does not: chunks that none of them knows stay as they are. Nothing where all are made.
    pub changed: Option<Vec<Source>>,
    /// The tasks that make the indexes in which keys are looked up, by the directors' names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub indexes: BTreeMap<String, Source>,
}

/// An exchange file, by the task that makes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// The job that has made it, if it is an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// What kind of task.
    pub kind: TaskKind,
    /// Its number.
    pub number: u32,
}

impl Source {
    /// Names a source that this job makes.
    pub fn own(kind: TaskKind, number: u32) -> Self {
        Self {
            job: None,
            kind,
            number,
        }
    }

    /// Returns the task.
    pub fn task(&self) -> TaskName {
        TaskName::new(self.kind, self.number)
    }
}

/// A map task: some lines of `inputs.jsonl`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MapPlan {
    /// Number of its pass.
    pub pass: usize,
    /// Where its lines begin.
    pub offset: u64,
    /// Bytes of its lines.
    pub length: u64,
    /// XXH3-64 of its lines, in hexadecimal.
    pub digest: String,
    /// Number of its lines.
    pub parts: u32,
    /// Bytes of input.
    pub bytes: u64,
}

/// A merge task: several exchange files become one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MergePlan {
    /// Number of its pass.
    pub pass: usize,
    /// How often rows were merged before.
    pub level: u32,
    /// What it reads.
    pub sources: Vec<Source>,
}

/// A reduce task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReducePlan {
    /// Number of its pass.
    pub pass: usize,
    /// What it makes.
    #[serde(flatten)]
    pub work: ReduceWork,
}

/// What a reduce task makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "makes")]
pub enum ReduceWork {
    /// The index of a director.
    Index {
        /// Number of the table in its pass.
        table: usize,
        /// Whether other tables look keys up in it.
        is_looked_up: bool,
    },
    /// A table that is not partitioned.
    Rows {
        /// Number of the table in its pass.
        table: usize,
    },
    /// Chunks of all partitioned tables of the pass.
    Chunks {
        /// The first, counted in order of chunk numbers.
        first: u32,
        /// The one behind the last.
        end: u32,
    },
}

impl ReduceWork {
    /// Returns the numbers of the files of chunks: two for each.
    pub fn files(&self) -> Range<usize> {
        match self {
            Self::Chunks { first, end } => *first as usize * 2..*end as usize * 2,
            Self::Index { .. } | Self::Rows { .. } => 0..1,
        }
    }
}

/// An input, or a part of one: a line of `inputs.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputLine {
    /// Number of its product in the pass.
    pub product: u32,
    /// Number of the input among all of the pass.
    pub input: u32,
    /// Number of the part among all of the pass: the order of rows.
    pub order: u32,
    /// Path, bytes, time.
    #[serde(flatten)]
    pub stamp: InputStamp,
    /// What it is.
    pub format: InputFormat,
    /// The part; nothing for all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<InputSpan>,
}

/// An input that is not read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RejectedInput {
    /// Number of its pass.
    pub pass: usize,
    /// Number of its product in the pass.
    pub product: u32,
    /// Number of the input among all of the pass.
    pub input: u32,
    /// Path, bytes, time.
    #[serde(flatten)]
    pub stamp: InputStamp,
    /// Why.
    pub reason: String,
}

impl Plan {
    /// Returns the number of tasks of a kind.
    pub fn count(&self, kind: TaskKind) -> u32 {
        let count = match kind {
            TaskKind::Map => self.maps.len(),
            TaskKind::Merge => self.merges.len(),
            TaskKind::Reduce => self.reduces.len(),
        };
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Returns all tasks, in an order in which each comes behind those that it needs.
    pub fn tasks(&self) -> impl Iterator<Item = TaskName> {
        let stages = self.stages();
        stages.into_iter().flat_map(|stage| {
            let numbers = stage.numbers.into_iter();
            numbers.map(move |number| TaskName::new(stage.kind, number))
        })
    }

    /// Returns the bytes of input of a map task; nothing for other tasks.
    pub fn map_bytes(&self, task: TaskName) -> Option<u64> {
        match task.kind {
            TaskKind::Map => {
                let at = (task.number as usize).checked_sub(1)?;
                self.maps.get(at).map(|map| map.bytes)
            }
            TaskKind::Merge | TaskKind::Reduce => None,
        }
    }

    /// Returns the number of the pass that a task belongs to.
    ///
    /// # Errors
    /// There is no such task.
    pub fn pass_of(&self, task: TaskName) -> Result<usize> {
        let at = (task.number as usize).checked_sub(1);
        let pass = at.and_then(|at| match task.kind {
            TaskKind::Map => self.maps.get(at).map(|map| map.pass),
            TaskKind::Merge => self.merges.get(at).map(|merge| merge.pass),
            TaskKind::Reduce => self.reduces.get(at).map(|reduce| reduce.pass),
        });
        pass.ok_or_else(|| {
            let word = task.kind.word();
            Error::usage(format!(
                "there is no {word} task {}: the job has {} of them, counted from 1",
                task.number,
                self.count(task.kind)
            ))
        })
    }

    /// Returns the tasks in stages: those of one may run at the same time, and need those before.
    pub fn stages(&self) -> Vec<Stage> {
        let mut stages = Vec::new();
        for is_keyed in [false, true] {
            let is_in = |pass: usize| {
                self.passes
                    .get(pass)
                    .is_some_and(|p| p.is_keyed == is_keyed)
            };
            let is_in = &is_in;
            let numbers = |passes: &mut dyn Iterator<Item = usize>| -> Vec<u32> {
                let numbered = (1..).zip(passes);
                let own = numbered.filter(|(_, pass)| is_in(*pass));
                own.map(|(number, _)| number).collect()
            };
            let mut add = |kind, numbers: Vec<u32>| {
                if !numbers.is_empty() {
                    stages.push(Stage { kind, numbers });
                }
            };
            let maps = numbers(&mut self.maps.iter().map(|map| map.pass));
            add(TaskKind::Map, maps);
            let levels = self.merges.iter().map(|merge| merge.level + 1).max();
            for level in 0..levels.unwrap_or(0) {
                let mut own = numbers(&mut self.merges.iter().map(|merge| merge.pass));
                own.retain(|number| {
                    let merge = self.merges.get(*number as usize - 1);
                    merge.is_some_and(|merge| merge.level == level)
                });
                add(TaskKind::Merge, own);
            }
            let reduces = numbers(&mut self.reduces.iter().map(|reduce| reduce.pass));
            add(TaskKind::Reduce, reduces);
        }
        stages
    }

    /// Returns the digest of what decides the rows of a pass.
    ///
    /// # Errors
    /// The plan is damaged.
    pub fn configuration(&self, pass: usize) -> Result<[u8; 16]> {
        let text = self
            .passes
            .get(pass)
            .map(|pass| pass.configuration.as_str());
        let number = text.and_then(|text| u128::from_str_radix(text, 16).ok());
        number
            .map(u128::to_be_bytes)
            .ok_or_else(|| damaged("a pass lacks its configuration"))
    }

    /// Returns a pass.
    ///
    /// # Errors
    /// The plan is damaged.
    pub fn pass(&self, number: usize) -> Result<&PassPlan> {
        self.passes
            .get(number)
            .ok_or_else(|| damaged("a task belongs to no pass"))
    }
}

/// Tasks that may run at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What they do.
    pub kind: TaskKind,
    /// Their numbers, ascending.
    pub numbers: Vec<u32>,
}

/// Makes the error for a plan that contradicts itself.
pub(super) fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Integrity, what)
        .at(Place::file("plan.json"))
        .hint("plan the job anew")
}

//! A plan in the making: passes with their map tasks, not yet numbered.

use std::collections::{BTreeMap, BTreeSet};

use super::batch::{BatchOptions, BatchPart, group};
use super::name::TaskKind;
use super::plan::{InputLine, MapPlan, MergePlan, PassPlan, ReducePlan, ReduceWork, Source};
use super::weights::{SkyWeights, cut};
use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::{InputLook, PlannedPass, TableJob, configuration_of};
use crate::publish::InputStamp;
use crate::source::InputFormat;

/// A read shorter than this makes a parallel file system slow.
const GOOD_READ: u64 = 1 << 20;
/// Less than this is done soon, however it is read.
const FEW_BYTES: u64 = 4 << 30;
/// Text that a byte of Parquet makes, about.
const TEXT_PER_PARQUET: u64 = 3;
/// Text that a byte of FITS makes, about.
const TEXT_PER_FITS: u64 = 2;

/// How many tasks a job has, and of which size.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSizes {
    /// How inputs are grouped into map tasks.
    pub batch: BatchOptions,
    /// The number of reduce tasks for the chunks of a pass.
    pub reduce_tasks: Option<u32>,
    /// Bytes of text that a reduce task makes, about, where its number is not given.
    pub reduce_bytes: u64,
    /// Exchange files that a task reads at most: where there are more, merge tasks come between.
    pub fan_in: u32,
}

impl Default for TaskSizes {
    fn default() -> Self {
        Self {
            batch: BatchOptions::default(),
            reduce_tasks: None,
            reduce_bytes: 1 << 30,
            fan_in: 1000,
        }
    }
}

/// A pass in the making.
pub(super) struct DraftPass {
    pub(super) planned: PlannedPass,
    pub(super) known: Vec<Vec<String>>,
    /// The inputs of each new map task.
    pub(super) tasks: Vec<Vec<InputLine>>,
    /// Map tasks of earlier jobs that stay.
    pub(super) kept: Vec<Source>,
    /// What the generation before had and this one has not; nothing if all is made.
    pub(super) gone: Option<Vec<Source>>,
    /// Whether new tasks only make again what was lost, so that they change nothing.
    pub(super) remade: usize,
    /// Tasks of earlier jobs that have made the directors' indexes, by table.
    pub(super) indexes: BTreeMap<String, Source>,
    /// Bytes of text that its tasks make, about.
    pub(super) text: u64,
}

impl DraftPass {
    /// Begins a pass.
    pub(super) fn new(planned: PlannedPass, known: Vec<Vec<String>>) -> Self {
        Self {
            planned,
            known,
            tasks: Vec::new(),
            kept: Vec::new(),
            gone: None,
            remade: 0,
            indexes: BTreeMap::new(),
            text: 0,
        }
    }

    /// Adds inputs as new map tasks: parts of them get numbers from `order` on; returns the next.
    pub(super) fn add_inputs(
        &mut self,
        inputs: Vec<LookedInput>,
        mut order: u32,
        sizes: &TaskSizes,
        weights: &mut SkyWeights,
    ) -> Result<u32> {
        let total = inputs.iter().map(|input| input.stamp.bytes);
        let most = sizes.batch.task_bytes(total.sum(), sizes.fan_in);
        let mut lines = Vec::with_capacity(inputs.len());
        let mut parts = Vec::with_capacity(inputs.len());
        for input in inputs {
            let (stamp, look) = (input.stamp, input.look);
            let text = match look.format {
                InputFormat::Parquet => stamp.bytes * TEXT_PER_PARQUET,
                InputFormat::Fits | InputFormat::Arrow => stamp.bytes * TEXT_PER_FITS,
                InputFormat::Text => stamp.bytes,
            };
            self.text += text;
            weights.add(text, look.sky);
            for (span, bytes) in look.parts(stamp.bytes, most) {
                parts.push(BatchPart {
                    bytes,
                    modified_ns: stamp.modified_ns,
                });
                lines.push(Some(InputLine {
                    product: input.product,
                    input: input.input,
                    order,
                    stamp: stamp.clone(),
                    format: look.format,
                    span,
                }));
                order = order.checked_add(1).ok_or_else(|| {
                    Error::new(
                        ErrorKind::Usage,
                        "a job has more inputs than can be counted",
                    )
                })?;
            }
        }
        for numbers in group(&parts, &sizes.batch, most) {
            let own = numbers
                .iter()
                .filter_map(|at| lines.get_mut(*at as usize)?.take());
            self.tasks.push(own.collect());
        }
        Ok(order)
    }

    /// Says whether the pass makes anything.
    pub(super) fn is_at_work(&self) -> bool {
        !self.tasks.is_empty() || self.gone.as_ref().is_none_or(|gone| !gone.is_empty())
    }
}

/// An input that was looked at.
pub(super) struct LookedInput {
    pub(super) product: u32,
    pub(super) input: u32,
    pub(super) stamp: InputStamp,
    pub(super) look: InputLook,
}

/// Numbered tasks.
#[derive(Default)]
pub(super) struct Numbered {
    pub(super) passes: Vec<PassPlan>,
    pub(super) maps: Vec<MapPlan>,
    /// The inputs of each map task.
    pub(super) lines: Vec<Vec<InputLine>>,
    pub(super) merges: Vec<MergePlan>,
    pub(super) reduces: Vec<ReducePlan>,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
}

/// Numbers all tasks, stage by stage.
pub(super) fn number(drafts: Vec<DraftPass>, sizes: &TaskSizes, weights: &SkyWeights) -> Numbered {
    let mut all = Numbered::default();
    let tables = drafts.iter().flat_map(|draft| &draft.planned.job.tables);
    let looked_up = tables.flat_map(TableJob::indexes);
    let looked_up: BTreeSet<String> = looked_up
        .filter_map(|index| index.sibling().map(str::to_owned))
        .collect();
    // Tasks of directors are known when those that look into their indexes are numbered.
    let mut indexes: BTreeMap<String, Source> = BTreeMap::new();
    for (pass, draft) in drafts.into_iter().enumerate() {
        all.add(pass, draft, (sizes, weights, &looked_up), &mut indexes);
    }
    all
}

impl Numbered {
    fn add(
        &mut self,
        pass: usize,
        draft: DraftPass,
        (sizes, weights, looked_up): (&TaskSizes, &SkyWeights, &BTreeSet<String>),
        indexes: &mut BTreeMap<String, Source>,
    ) {
        let is_at_work = draft.is_at_work();
        let mut own = Vec::with_capacity(draft.tasks.len());
        for lines in draft.tasks {
            self.maps.push(MapPlan {
                pass,
                offset: 0,
                length: 0,
                digest: String::new(),
                parts: lines.len() as u32,
                bytes: bytes_of(&lines),
            });
            self.lines.push(lines);
            own.push(Source::own(TaskKind::Map, self.maps.len() as u32));
        }
        let mut changed = draft.gone;
        if let Some(changed) = &mut changed {
            changed.extend(own.iter().skip(draft.remade).cloned());
        }
        let mut maps = draft.kept;
        maps.extend(own);
        let job = &draft.planned.job;
        let sources = match is_at_work {
            true => self.merged(pass, &maps, sizes.fan_in),
            false => Vec::new(),
        };
        indexes.extend(draft.indexes);
        if is_at_work {
            for (table, job) in job.tables.iter().enumerate() {
                let routing = job.target.routing.as_ref();
                if routing.is_some_and(|routing| routing.director_key.is_some()) {
                    self.reduces.push(ReducePlan {
                        pass,
                        work: ReduceWork::Index {
                            table,
                            is_looked_up: looked_up.contains(&job.target.name),
                        },
                    });
                    let number = self.reduces.len() as u32;
                    let source = Source::own(TaskKind::Reduce, number);
                    indexes.insert(job.target.name.clone(), source);
                }
                if routing.is_none() {
                    self.reduces.push(ReducePlan {
                        pass,
                        work: ReduceWork::Rows { table },
                    });
                }
            }
            self.add_chunks(pass, job, (sources.len(), draft.text), sizes, weights);
        }
        let own_indexes = job.tables.iter().flat_map(TableJob::indexes);
        let own_indexes = own_indexes.filter_map(|index| index.sibling());
        let own_indexes = own_indexes
            .filter_map(|name| Some((name.to_owned(), indexes.get(name)?.clone())))
            .collect();
        self.passes.push(PassPlan {
            tables: super::listing::table_names(job),
            configuration: hex(configuration_of(&job.options, &draft.known)),
            known: draft.known,
            is_keyed: draft.planned.is_keyed,
            maps,
            sources,
            changed,
            indexes: own_indexes,
        });
    }

    /// Returns what reduce tasks read: exchange files of map tasks, or of merge tasks where these are
    /// too many.
    fn merged(&mut self, pass: usize, maps: &[Source], fan_in: u32) -> Vec<Source> {
        let fan_in = (fan_in as usize).max(2);
        let mut sources = maps.to_vec();
        let mut level = 0;
        while sources.len() > fan_in {
            // As few as will do, so that each is as large as can be.
            let groups = sources.len().div_ceil(fan_in);
            let each = sources.len().div_ceil(groups);
            let mut next = Vec::with_capacity(groups);
            for group in sources.chunks(each) {
                self.merges.push(MergePlan {
                    pass,
                    level,
                    sources: group.to_vec(),
                });
                next.push(Source::own(TaskKind::Merge, self.merges.len() as u32));
            }
            sources = next;
            level += 1;
        }
        sources
    }

    fn add_chunks(
        &mut self,
        pass: usize,
        job: &crate::pipeline::PassJob,
        (sources, text): (usize, u64),
        sizes: &TaskSizes,
        weights: &SkyWeights,
    ) {
        let Some(chunker) = job.tables.iter().find_map(|table| {
            let routing = table.target.routing.as_ref()?;
            Some(&routing.chunker)
        }) else {
            return;
        };
        let sources = sources.max(1) as u64;
        let by_size = text.div_ceil(sizes.reduce_bytes.max(1)).clamp(1, 1000);
        let tasks = match sizes.reduce_tasks {
            Some(tasks) => u64::from(tasks),
            // Not so many that all of them read in small bits.
            None if text > FEW_BYTES => by_size.min(text / GOOD_READ / sources).max(1),
            None => by_size,
        };
        let mean = text / sources / tasks.max(1);
        if text > FEW_BYTES && mean < GOOD_READ {
            self.warnings.push(format!(
                "{tasks} reduce tasks read {sources} exchange files in bits of {} KiB on average: \
                 fewer map or reduce tasks make reads of 1 MiB and more",
                mean >> 10
            ));
        }
        let tasks = u32::try_from(tasks).unwrap_or(u32::MAX);
        for range in cut(&weights.of_chunks(chunker), tasks) {
            self.reduces.push(ReducePlan {
                pass,
                work: ReduceWork::Chunks {
                    first: range.start,
                    end: range.end,
                },
            });
        }
    }
}

/// Returns the bytes of inputs; of a part its share, by what it spans.
fn bytes_of(lines: &[InputLine]) -> u64 {
    use crate::pipeline::InputSpan;
    let bytes = |line: &InputLine| match line.span {
        Some(InputSpan::Text { first, end, .. }) => end - first,
        _ => line.stamp.bytes,
    };
    lines.iter().map(bytes).sum()
}

pub(super) fn hex(bytes: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(bytes))
}

//! `job plan`: from a pipeline to the plan of a job.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use serde_json::json;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::check::{Known, Looker, Sidecars};
use super::draft::{DraftPass, LookedInput, Numbered, TaskSizes, hex, number};
use super::folder::{INPUTS_FILE, JobFolder, PIPELINE_FILE, PLAN_FILE};
use super::generation::newest;
use super::listing::{list_files, list_product};
use super::name::JobId;
use super::plan::{FORMAT, InputLine, JobSettings, Plan, RejectedInput, VERSION};
use super::request::JobRequest;
use super::weights::SkyWeights;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::manifest::MANIFEST_FILE;
use crate::pipeline::{
    BadInputs, InputLook, InputSpan, PipelineFile, PlannedPass, RunEvents, check_database,
    job_passes,
};
use crate::publish::{
    InputStamp, OutputFolder, append, create_folders, remove_tree, rename_folder, write_atomically,
};
use crate::resources::Cancel;
use crate::source::check_once;

/// More inputs than this should be looked at by many tasks.
const MANY_INPUTS: usize = 10_000;

/// What a job is to do.
pub struct PlanOptions<'a> {
    /// The name of the job; without one it follows from what is asked for.
    pub id: Option<JobId>,
    /// Files of one table, in place of those of the pipeline.
    pub request: Option<JobRequest>,
    /// What happens to the generation that stands.
    pub change: Change,
    /// How many tasks there are, and how large.
    pub sizes: TaskSizes,
    /// What becomes of bad rows and bad inputs.
    pub settings: JobSettings,
    /// Whether the plan is only made, and not written.
    pub dry_run: bool,
    /// Ends the work early when somebody says so.
    pub cancel: Cancel,
    /// Told how it gets on.
    pub events: &'a dyn RunEvents,
}

/// What a job does to the generation that stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Change {
    /// There is none: all is made.
    #[default]
    First,
    /// Inputs that are new come behind those that are there.
    Extend,
    /// Some inputs are replaced by others, or go.
    Edit {
        /// Old and new files.
        replace: Vec<(PathBuf, PathBuf)>,
        /// Files that go.
        drop: Vec<PathBuf>,
    },
}

/// What came of planning.
#[derive(Debug)]
pub enum Planned {
    /// The job is planned now.
    Now(JobFolder, Box<Plan>, PlanNotes),
    /// The job would be planned so.
    Foreseen(JobFolder, Box<Plan>, PlanNotes),
    /// The same job was planned before.
    Before(JobFolder, Box<Plan>),
    /// There are no new inputs.
    NothingNew,
    /// There are new inputs, but they wait for more: how many, and their bytes.
    Waiting(usize, u64),
}

/// What planning has to say.
#[derive(Debug, Clone, Default)]
pub struct PlanNotes {
    /// What the user should know.
    pub warnings: Vec<String>,
    /// Inputs of which a side-car told.
    pub from_sidecars: usize,
    /// Inputs that were looked at now.
    pub looked_at: usize,
    /// Those of them that had changed since they were checked.
    pub changed: usize,
}

/// Plans a job.
///
/// # Errors
/// What is wrong with the pipeline or its inputs; a job of that name is there and does something else;
/// another generation stands.
pub fn plan(file: &PipelineFile, pipeline: &Path, options: &PlanOptions<'_>) -> Result<Planned> {
    let planner = Planner::new(file, pipeline, options)?;
    match &options.change {
        Change::First => planner.first(),
        Change::Extend | Change::Edit { .. } => planner.on_top(),
    }
}

/// A plan that is about to be written.
pub(super) struct Draft {
    pub(super) generation: u32,
    pub(super) base: Option<JobId>,
    pub(super) numbered: Numbered,
    pub(super) rejected: Vec<RejectedInput>,
    pub(super) excluded: Vec<InputStamp>,
    pub(super) notes: PlanNotes,
}

/// What planning works with.
pub(super) struct Planner<'a> {
    pub(super) file: &'a PipelineFile,
    pub(super) pipeline: PathBuf,
    pub(super) root: PathBuf,
    pub(super) options: &'a PlanOptions<'a>,
    pub(super) bad: BadInputs,
}

/// Inputs of a pass: the stamps of each product's.
pub(super) type Listed = Vec<Vec<InputStamp>>;

impl<'a> Planner<'a> {
    fn new(file: &'a PipelineFile, pipeline: &Path, options: &'a PlanOptions<'a>) -> Result<Self> {
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(|error| Error::reading(path, error));
        Ok(Self {
            file,
            pipeline: absolute(pipeline)?,
            root: absolute(&file.root()?)?,
            options,
            bad: match options.settings.keep_going {
                true => BadInputs::PassOver,
                false => BadInputs::End,
            },
        })
    }

    fn database(&self) -> &str {
        &self.file.database.name
    }

    /// Plans the first generation.
    fn first(&self) -> Result<Planned> {
        let mut passes = job_passes(self.file, &Default::default(), self.options.events)?;
        let listed = self.listed(&mut passes)?;
        let request = self.request_digest(&listed)?;
        if let Some(before) = self.same_as_before(&request)? {
            return Ok(before);
        }
        self.check_nothing_stands()?;
        let record = OutputFolder::peek(&self.root)?.unwrap_or_default();
        for table in passes.iter().flat_map(|pass| &pass.job.tables) {
            check_database(&table.identity(), &record, &self.root)?;
        }
        let mut notes = PlanNotes::default();
        let mut weights = SkyWeights::default();
        let mut looked = Vec::with_capacity(passes.len());
        let mut rejected = Vec::new();
        let sidecars = Sidecars::read(&self.root, &self.pipeline)?;
        for (number, (planned, inputs)) in passes.into_iter().zip(listed).enumerate() {
            let looker = Looker::new(&planned, &inputs, self.bad)?;
            let (good, bad) =
                self.look_at_all(number, &looker, inputs, 0, &sidecars, &mut notes)?;
            let known = looker.known;
            rejected.extend(bad);
            looked.push((DraftPass::new(planned, known), good));
        }
        // Millions of inputs are a lot of memory: one thing at a time.
        drop(sidecars);
        let mut drafts = Vec::with_capacity(looked.len());
        for (mut draft, good) in looked {
            draft.add_inputs(good, 0, &self.options.sizes, &mut weights)?;
            drafts.push(draft);
        }
        let numbered = number(drafts, &self.options.sizes, &weights);
        let draft = Draft {
            generation: 1,
            base: None,
            numbered,
            rejected,
            excluded: Vec::new(),
            notes,
        };
        self.write(&request, draft)
    }

    /// Lists the files of a request.
    pub(super) fn requested(&self, request: &JobRequest) -> Result<Vec<InputStamp>> {
        let base = self.pipeline.parent().unwrap_or(Path::new(""));
        list_files(&request.files, base)
    }

    /// Returns the name that somebody has given to the job.
    pub(super) fn named(&self) -> Option<&JobId> {
        let asked = self.options.request.as_ref();
        let asked = asked.and_then(|request| request.id.as_ref());
        self.options.id.as_ref().or(asked)
    }

    /// Lists the inputs of passes; those that a request does not want go.
    pub(super) fn listed(&self, passes: &mut Vec<PlannedPass>) -> Result<Vec<Listed>> {
        let wanted = match &self.options.request {
            None => None,
            Some(request) => {
                let product = request.product(self.file)?;
                Some((product, self.requested(request)?))
            }
        };
        let mut all = Vec::with_capacity(passes.len());
        let is_wanted = |pass: &PlannedPass| match &wanted {
            None => true,
            Some((product, _)) => pass.products.iter().any(|(name, ..)| name == product),
        };
        passes.retain(is_wanted);
        for pass in passes.iter() {
            let listed: Result<Vec<_>> = pass
                .products
                .iter()
                .map(|(name, ..)| match &wanted {
                    None => list_product(self.file, name, self.bad),
                    Some((product, files)) if product == name => Ok(files.clone()),
                    Some(_) => Ok(Vec::new()),
                })
                .collect();
            let listed = listed?;
            for table in 0..pass.job.tables.len() {
                let products = pass.products.iter().zip(&listed);
                let fed = products.filter(|((_, feeds, _), _)| feeds.contains(&table));
                // Each product by itself was looked at when it was listed.
                if fed.clone().count() > 1 {
                    check_once(fed.flat_map(|(_, stamps)| stamps))?;
                }
            }
            all.push(listed);
        }
        Ok(all)
    }

    /// Looks at inputs, as far as side-cars do not tell of them; those that are rejected come apart.
    /// Inputs are numbered from `first` on.
    pub(super) fn look_at_all(
        &self,
        pass: usize,
        looker: &Looker<'_>,
        inputs: Listed,
        first: u32,
        sidecars: &Sidecars,
        notes: &mut PlanNotes,
    ) -> Result<(Vec<LookedInput>, Vec<RejectedInput>)> {
        let mut good: Vec<LookedInput> = Vec::with_capacity(inputs.iter().map(Vec::len).sum());
        let mut unknown = Vec::new();
        let mut number = first;
        for (product, stamps) in inputs.into_iter().enumerate() {
            for stamp in stamps {
                let known = sidecars.take(looker, product, &stamp);
                notes.changed += usize::from(matches!(known, Known::Changed));
                let look = match known {
                    Known::Looked(look) => look,
                    Known::Changed | Known::Nothing => {
                        unknown.push(good.len());
                        InputLook::default()
                    }
                };
                good.push(LookedInput {
                    product: product as u32,
                    input: number,
                    stamp,
                    look,
                });
                number += 1;
            }
        }
        notes.from_sidecars += good.len() - unknown.len();
        notes.looked_at += unknown.len();
        if unknown.len() > MANY_INPUTS {
            notes.warnings.push(format!(
                "{} inputs were looked at by this one process: `skyprep job check --part N/M` \
                 does that in many",
                unknown.len()
            ));
        }
        let looks: Result<Vec<_>> = unknown
            .par_iter()
            .map(|at| {
                self.options.cancel.check()?;
                let input = &good[*at];
                Ok(looker.look(input.product as usize, &input.stamp))
            })
            .collect();
        let mut reasons = BTreeMap::new();
        for (at, look) in unknown.into_iter().zip(looks?) {
            let error = match look {
                Ok(look) => {
                    good[at].look = look;
                    continue;
                }
                Err(error) => error,
            };
            // Wrong options are wrong for all inputs.
            if self.bad == BadInputs::End || error.kind() == ErrorKind::Usage {
                return Err(Error::new(error.kind(), error.reason())
                    .at(Place::file(good[at].stamp.path.as_str()))
                    .hint("put the input right, or pass bad inputs over with --keep-going"));
            }
            reasons.insert(good[at].input, error.reason());
        }
        let mut rejected = Vec::with_capacity(reasons.len());
        good.retain(|input| {
            let Some(reason) = reasons.remove(&input.input) else {
                return true;
            };
            rejected.push(RejectedInput {
                pass,
                product: input.product,
                input: input.input,
                stamp: input.stamp.clone(),
                reason,
            });
            false
        });
        Ok((good, rejected))
    }

    /// Refuses to plan what stands already.
    fn check_nothing_stands(&self) -> Result<()> {
        let database = self.database();
        if let Some(found) = newest(&self.root, database)? {
            return Err(Error::new(
                ErrorKind::OutputRefused,
                format!(
                    "generation {} of {database} stands here, made by job {}",
                    found.generation, found.job
                ),
            )
            .at(Place::file(self.root.display().to_string()))
            .hint("go on from it with --extend, --replace OLD=NEW or --drop FILE"));
        }
        let manifest = self.root.join(database).join(MANIFEST_FILE);
        match manifest.exists() {
            true => Err(Error::new(
                ErrorKind::OutputRefused,
                "the database stands here already, made by another command",
            )
            .at(Place::file(manifest.display().to_string()))
            .hint("choose another dest; jobs go on only from what jobs have made")),
            false => Ok(()),
        }
    }

    /// Returns a digest of all that is asked for.
    pub(super) fn request_digest(&self, listed: &[Listed]) -> Result<String> {
        let text =
            std::fs::read(&self.pipeline).map_err(|error| Error::reading(&self.pipeline, error))?;
        let options = self.options;
        let change = match &options.change {
            Change::First => json!("first"),
            Change::Extend => json!("extend"),
            Change::Edit { replace, drop } => json!({"replace": replace, "drop": drop}),
        };
        let asked = json!({
            "pipeline": hex(xxhash_rust::xxh3::xxh3_128(&text).to_be_bytes()),
            "table": options.request.as_ref().map(|request| &request.table),
            "change": change,
            "settings": options.settings,
            "sizes": format!("{:?}", options.sizes),
        });
        let mut digest = Xxh3::new();
        digest.update(asked.to_string().as_bytes());
        for stamp in listed.iter().flatten().flatten() {
            digest.update(stamp.path.as_bytes());
            digest.update(&stamp.bytes.to_le_bytes());
            digest.update(&stamp.modified_ns.to_le_bytes());
        }
        Ok(hex(digest.digest128().to_be_bytes()))
    }

    /// Returns the name of the job.
    pub(super) fn id(&self, request: &str) -> Result<JobId> {
        match self.named() {
            Some(id) => Ok(id.clone()),
            None => {
                let start = request.get(..12).unwrap_or_default();
                format!("{}-{start}", self.database()).parse()
            }
        }
    }

    /// Returns the job if it was planned before.
    ///
    /// # Errors
    /// A job of that name was planned for something else.
    pub(super) fn same_as_before(&self, request: &str) -> Result<Option<Planned>> {
        let id = self.id(request)?;
        let folder = JobFolder::of(&self.root, &id);
        if !folder.is_planned() {
            return Ok(None);
        }
        let plan = folder.plan()?;
        match plan.request == request {
            true => Ok(Some(Planned::Before(folder, Box::new(plan)))),
            false => Err(asked_for_something_else(&id, &folder)),
        }
    }

    /// Writes the plan: all of it or nothing.
    pub(super) fn write(&self, request: &str, draft: Draft) -> Result<Planned> {
        let Draft {
            generation,
            base,
            numbered,
            rejected,
            excluded,
            mut notes,
        } = draft;
        let id = self.id(request)?;
        let folder = JobFolder::of(&self.root, &id);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let jobs = JobFolder::jobs_of(&self.root);
        let name = format!(".{id}.{}-{:x}", std::process::id(), now.as_nanos());
        let temporary = jobs.join(name);
        let is_dry = self.options.dry_run;
        if !is_dry {
            for sub in JobFolder::folders() {
                create_folders(&temporary.join(sub))?;
            }
        }
        let Numbered {
            passes,
            mut maps,
            lines,
            merges,
            reduces,
            warnings,
        } = numbered;
        notes.warnings.extend(warnings);
        let mut totals = (0, 0);
        let path = temporary.join(INPUTS_FILE);
        let mut out = match is_dry {
            true => None,
            false => Some(BufWriter::with_capacity(1 << 20, append(&path)?)),
        };
        let mut offset = 0;
        for (map, lines) in maps.iter_mut().zip(&lines) {
            let text = text_of(lines, &path)?;
            map.offset = offset;
            map.length = text.len() as u64;
            map.digest = format!("{:016x}", xxh3_64(&text));
            offset += map.length;
            if let Some(out) = &mut out {
                out.write_all(&text)
                    .map_err(|error| Error::writing(&path, error))?;
            }
            // A part counts where its input begins.
            let mut last = None;
            for line in lines {
                if last != Some((line.product, line.input)) {
                    totals.0 += u64::from(line.span.is_none_or(InputSpan::is_first));
                }
                last = Some((line.product, line.input));
            }
            totals.1 += map.bytes;
        }
        if let Some(out) = out {
            let written = out
                .into_inner()
                .map_err(std::io::IntoInnerError::into_error);
            written
                .and_then(|file: File| file.sync_all())
                .map_err(|error| Error::writing(&path, error))?;
        }
        let plan = Plan {
            format: FORMAT.to_owned(),
            version: VERSION,
            skyprep: env!("CARGO_PKG_VERSION").to_owned(),
            id,
            created: now.as_secs(),
            request: request.to_owned(),
            pipeline: self.pipeline.clone(),
            root: self.root.clone(),
            database: self.database().to_owned(),
            generation,
            base,
            settings: self.options.settings.clone(),
            passes,
            maps,
            merges,
            reduces,
            rejected,
            excluded,
            inputs: totals.0,
            input_bytes: totals.1,
        };
        if is_dry {
            return Ok(Planned::Foreseen(folder, Box::new(plan), notes));
        }
        let text =
            std::fs::read(&self.pipeline).map_err(|error| Error::reading(&self.pipeline, error))?;
        write_atomically(&temporary.join(PIPELINE_FILE), &text)?;
        let path = temporary.join(PLAN_FILE);
        let bytes =
            serde_json::to_vec(&plan).map_err(|error| Error::writing(&path, error.into()))?;
        write_atomically(&path, &bytes)?;
        if rename_folder(&temporary, folder.path())? {
            return Ok(Planned::Now(folder, Box::new(plan), notes));
        }
        // Somebody was faster.
        remove_tree(&temporary)?;
        let before = self.same_as_before(request)?;
        before.ok_or_else(|| {
            Error::new(ErrorKind::OutputRefused, "the folder of the job is taken")
                .at(Place::file(folder.path().display().to_string()))
        })
    }
}

fn text_of(lines: &[InputLine], path: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::with_capacity(lines.len() * 160);
    for line in lines {
        serde_json::to_writer(&mut text, line)
            .map_err(|error| Error::writing(path, error.into()))?;
        text.push(b'\n');
    }
    Ok(text)
}

/// The error for a job's name that is taken.
pub(super) fn asked_for_something_else(id: &JobId, folder: &JobFolder) -> Error {
    Error::new(
        ErrorKind::OutputRefused,
        format!("a job of the name {id} is there already, and was asked for something else"),
    )
    .at(Place::file(folder.path().display().to_string()))
    .hint("choose another --job-id")
}

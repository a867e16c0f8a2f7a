//! Plans on top of a generation that stands: more inputs, others, or fewer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::batch::{BatchPart, Due, due};
use super::check::{Looker, Sidecars};
use super::commit::committed;
use super::draft::{DraftPass, LookedInput, hex, number};
use super::folder::JobFolder;
use super::generation::{manifest_of, newest};
use super::input_lines::InputLines;
use super::listing::table_names;
use super::name::TaskKind;
use super::plan::{InputLine, PassPlan, Plan, ReduceWork, RejectedInput, Source};
use super::planning::{
    Change, Draft, Listed, PlanNotes, Planned, Planner, asked_for_something_else,
};
use super::weights::SkyWeights;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::pipeline::{PlannedPass, TableJob, configuration_of, job_passes};
use crate::publish::{InputStamp, physical_path};

/// The inputs of one pass of the generation that stands, by map task.
type MapInputs = Vec<(Source, Vec<InputLine>)>;

/// The job whose generation stands.
struct Base {
    folder: JobFolder,
    plan: Plan,
    /// The inputs of each of its passes.
    inputs: Vec<MapInputs>,
}

impl Base {
    /// Names a source of the base as later jobs do.
    fn named(&self, source: &Source) -> Source {
        Source {
            job: source.job.clone().or_else(|| Some(self.plan.id.clone())),
            ..source.clone()
        }
    }

    /// Finds the pass of the base that makes these tables.
    fn pass_of(&self, tables: &[String]) -> Option<(usize, &PassPlan)> {
        let passes = self.plan.passes.iter().enumerate();
        let mut own = passes.filter(|(_, pass)| pass.tables == tables);
        own.next()
    }
}

/// What a change does to one pass.
#[derive(Default)]
struct PassChange {
    /// New inputs, in the order of products.
    new: Listed,
    /// Map tasks that are made again, with their inputs then.
    again: Vec<(Source, Vec<InputLine>)>,
    /// Files that take the place of others: the line that they take over, and the file.
    replaced: Vec<(InputLine, InputStamp)>,
    /// Files that go.
    dropped: Vec<InputStamp>,
}

impl Planner<'_> {
    /// Plans the generation after the one that stands.
    pub(super) fn on_top(&self) -> Result<Planned> {
        let base = self.base()?;
        let mut passes = job_passes(self.file, &BTreeMap::new(), self.options.events)?;
        let changes = match &self.options.change {
            Change::Edit { replace, drop } => self.edits(&base, &passes, replace, drop)?,
            Change::First | Change::Extend => {
                let new = self.additions(&base, &mut passes)?;
                let parts: Vec<BatchPart> = new
                    .iter()
                    .flat_map(|change| change.new.iter().flatten())
                    .map(|stamp| BatchPart {
                        bytes: stamp.bytes,
                        modified_ns: stamp.modified_ns,
                    })
                    .collect();
                if parts.is_empty() {
                    let before = self.job_of_request(&passes)?;
                    return Ok(before.unwrap_or(Planned::NothingNew));
                }
                let now = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
                if due(&parts, &self.options.sizes.batch, now) == Due::Later {
                    let bytes = parts.iter().map(|part| part.bytes).sum();
                    return Ok(Planned::Waiting(parts.len(), bytes));
                }
                new
            }
        };
        let listed: Vec<Listed> = changes
            .iter()
            .map(|change| {
                let replaced = change.replaced.iter().map(|(_, stamp)| stamp.clone());
                let mut all = change.new.clone();
                all.push(replaced.collect());
                all
            })
            .collect();
        let mut request = self.request_digest(&listed)?;
        // On top of another job it is another request.
        let own = xxhash_rust::xxh3::xxh3_128(format!("{request} {}", base.plan.id).as_bytes());
        request = format!("{own:032x}");
        if let Some(before) = self.same_as_before(&request)? {
            return Ok(before);
        }
        self.draft(&request, &base, passes, changes)
    }

    /// Finds the job whose generation stands.
    fn base(&self) -> Result<Base> {
        let database = &self.file.database.name;
        let at_root = |error: Error| error.at(Place::file(self.root.display().to_string()));
        if !self.file.destination()?.is_folder() {
            return Err(
                Error::usage("generations are made in folders only, not at servers")
                    .hint("make them in a folder, and `skyprep stage` each"),
            );
        }
        let Some(newest) = newest(&self.root, database)? else {
            return Err(at_root(
                Error::new(
                    ErrorKind::InputMissing,
                    format!("no job has made a generation of {database} here"),
                )
                .hint("plan the first one without --extend, --replace and --drop"),
            ));
        };
        let folder = JobFolder::of(&self.root, &newest.job);
        if committed(&folder)?.is_none() {
            return Err(at_root(
                Error::new(
                    ErrorKind::NotYet,
                    format!(
                        "generation {} of {database} is not committed yet by job {}",
                        newest.generation, newest.job
                    ),
                )
                .hint("run `skyprep job commit` of that job first"),
            ));
        }
        let plan = folder.plan()?;
        // A commit compares with it, after the next generation was claimed.
        let manifest = manifest_of(&self.root, database, newest.generation);
        if !manifest.exists() {
            return Err(Error::new(
                ErrorKind::OutputRefused,
                format!(
                    "the manifest of generation {} is gone: was it released?",
                    newest.generation
                ),
            )
            .at(Place::file(manifest.display().to_string()))
            .hint("there is nothing to go on from; make the database anew in another folder"));
        }
        let mut inputs = Vec::with_capacity(plan.passes.len());
        let mut lines = InputLines::new(&folder, &plan);
        for pass in &plan.passes {
            let own = pass.maps.iter();
            let own: Result<MapInputs> = own
                .map(|source| Ok((source.clone(), lines.of(source)?)))
                .collect();
            inputs.push(own?);
        }
        Ok(Base {
            folder,
            plan,
            inputs,
        })
    }

    /// Finds the job that a request was made into whose files are all known by now: a queue may send it
    /// again.
    fn job_of_request(&self, passes: &[PlannedPass]) -> Result<Option<Planned>> {
        let named = self.options.request.as_ref();
        let named = named.and_then(|request| Some((request, self.named()?)));
        let Some((request, id)) = named else {
            return Ok(None);
        };
        let folder = JobFolder::of(&self.root, id);
        if !folder.is_planned() {
            return Ok(None);
        }
        let plan = folder.plan()?;
        let mut asked: BTreeSet<String> = self
            .requested(request)?
            .into_iter()
            .map(|stamp| stamp.path)
            .collect();
        // Files of the product that were known before the job, and those that it added.
        let (mut before, mut own) = (BTreeSet::new(), BTreeSet::new());
        let product = request.product(self.file)?;
        let mut lines = InputLines::new(&folder, &plan);
        for pass in passes {
            let mut names = pass.products.iter().map(|(name, ..)| name);
            let Some(at) = names.position(|name| *name == product) else {
                continue;
            };
            let tables = table_names(&pass.job);
            let planned = plan.passes.iter().find(|known| known.tables == tables);
            for source in planned.into_iter().flat_map(|planned| &planned.maps) {
                let paths = lines.of(source)?.into_iter();
                let paths = paths.filter(|line| line.product as usize == at);
                let paths = paths.map(|line| line.stamp.path);
                match source.job {
                    None => own.extend(paths),
                    Some(_) => before.extend(paths),
                }
            }
        }
        drop(lines);
        asked.retain(|path| !before.contains(path));
        match asked == own {
            true => Ok(Some(Planned::Before(folder, Box::new(plan)))),
            false => Err(asked_for_something_else(id, &folder)),
        }
    }

    /// Finds the inputs that the generation does not have.
    fn additions(&self, base: &Base, passes: &mut Vec<PlannedPass>) -> Result<Vec<PassChange>> {
        let mut wanted = std::mem::take(passes);
        let all = wanted.len();
        let listed = self.listed(&mut wanted)?;
        let asked: Vec<Vec<String>> = wanted.iter().map(|pass| table_names(&pass.job)).collect();
        // A request leaves other passes as they are.
        *passes = match wanted.len() == all {
            true => wanted,
            false => job_passes(self.file, &BTreeMap::new(), self.options.events)?,
        };
        let mut listed: BTreeMap<Vec<String>, Listed> = asked.into_iter().zip(listed).collect();
        let mut changes = Vec::with_capacity(passes.len());
        for pass in passes.iter() {
            let tables = table_names(&pass.job);
            let mut new = listed.remove(&tables).unwrap_or_default();
            let known = base
                .pass_of(&tables)
                .and_then(|(at, _)| base.inputs.get(at));
            let known = known.into_iter().flatten().flat_map(|(_, lines)| lines);
            let links = known.clone().filter(|line| line.stamp.found_as.is_some());
            let by_name: BTreeMap<(u32, &str), &str> = links
                .map(|line| ((line.product, line.stamp.name()), line.stamp.path.as_str()))
                .collect();
            let known: BTreeMap<(u32, &str), &InputStamp> = known
                .map(|line| ((line.product, line.stamp.path.as_str()), &line.stamp))
                .collect();
            let is_left_out = |stamp: &InputStamp| {
                let rejected = base.plan.rejected.iter().map(|input| &input.stamp);
                rejected
                    .chain(&base.plan.excluded)
                    .any(|other| other == stamp)
            };
            for (product, stamps) in new.iter_mut().enumerate() {
                let is_changed = |stamp: &&InputStamp| {
                    let found = known.get(&(product as u32, stamp.path.as_str()));
                    found.is_some_and(|found| *found != *stamp)
                };
                let elsewhere = stamps.iter().find(|stamp| {
                    let found = by_name.get(&(product as u32, stamp.name()));
                    found.is_some_and(|path| *path != stamp.path)
                });
                if let Some(stamp) = elsewhere {
                    return Err(Error::new(
                        ErrorKind::Integrity,
                        "the path leads to another file than the one that the generation that stands \
                         was made of",
                    )
                    .at(Place::file(stamp.name()))
                    .hint(
                        "was a link to a folder turned? name new files by a path of their own, or \
                         say --replace OLD=NEW",
                    ));
                }
                if let Some(changed) = stamps.iter().find(is_changed) {
                    return Err(Error::new(
                        ErrorKind::Integrity,
                        "the file is no longer what the generation that stands was made of",
                    )
                    .at(Place::file(changed.path.as_str()))
                    .hint(format!(
                        "say --replace {0}={0} to make its rows anew, or put the file back",
                        changed.path
                    )));
                }
                stamps.retain(|stamp| {
                    let is_known = known.contains_key(&(product as u32, stamp.path.as_str()));
                    !is_known && !is_left_out(stamp)
                });
            }
            changes.push(PassChange {
                new,
                ..PassChange::default()
            });
        }
        Ok(changes)
    }

    /// Finds the map tasks that have read files that are replaced or go.
    fn edits(
        &self,
        base: &Base,
        passes: &[PlannedPass],
        replace: &[(PathBuf, PathBuf)],
        drop: &[PathBuf],
    ) -> Result<Vec<PassChange>> {
        let physical = |path: &Path| -> Result<String> {
            let path = physical_path(path).map_err(|error| Error::reading(path, error))?;
            Ok(path.display().to_string())
        };
        let refuse = |path: &str, message: &str, hint: &str| {
            Err(Error::usage(message).at(Place::file(path)).hint(hint))
        };
        let mut come = BTreeSet::new();
        let mut left: BTreeMap<String, Option<InputStamp>> = BTreeMap::new();
        let lines = base.inputs.iter().flatten().flat_map(|(_, lines)| lines);
        let known: BTreeSet<&str> = lines.map(|line| line.stamp.path.as_str()).collect();
        for (old, new) in replace {
            let (old, stamp) = (physical(old)?, InputStamp::of(new)?);
            if stamp.path != old && known.contains(stamp.path.as_str()) {
                let message = "the generation that stands was made of this file already";
                let hint = "its rows would come twice; name another file";
                return refuse(&stamp.path, message, hint);
            }
            if !come.insert(stamp.path.clone()) {
                let hint = "its rows would come twice; name another file for one of them";
                return refuse(&stamp.path, "is to take the place of two files", hint);
            }
            if let Some(Some(other)) = left.insert(old.clone(), Some(stamp)) {
                let message = format!("is to be replaced twice, one time by {}", other.path);
                return refuse(&old, &message, "say once by which file");
            }
        }
        for path in drop {
            let path = physical(path)?;
            if let Some(Some(_)) = left.insert(path.clone(), None) {
                return refuse(
                    &path,
                    "is to be replaced and to go",
                    "say --replace or --drop",
                );
            }
        }
        let wanted = left.clone();
        let mut changes = Vec::with_capacity(passes.len());
        for pass in passes {
            let tables = table_names(&pass.job);
            let inputs = base
                .pass_of(&tables)
                .and_then(|(at, _)| base.inputs.get(at));
            let mut change = PassChange::default();
            let mut taken = BTreeSet::new();
            for (source, lines) in inputs.into_iter().flatten() {
                if !lines
                    .iter()
                    .any(|line| wanted.contains_key(&line.stamp.path))
                {
                    continue;
                }
                let mut stay = Vec::new();
                for line in lines {
                    let Some(new) = wanted.get(&line.stamp.path) else {
                        stay.push(line.clone());
                        continue;
                    };
                    left.remove(&line.stamp.path);
                    // A file in parts is replaced where its first part is.
                    if taken.insert((line.product, line.input)) {
                        match new {
                            Some(new) => change.replaced.push((line.clone(), new.clone())),
                            None => change.dropped.push(line.stamp.clone()),
                        }
                    }
                }
                change.again.push((base.named(source), stay));
            }
            changes.push(change);
        }
        match left.keys().next() {
            None => Ok(changes),
            Some(path) => Err(Error::new(
                ErrorKind::InputMissing,
                "the generation that stands was not made of this file",
            )
            .at(Place::file(path.as_str()))
            .hint("name a file as the pipeline finds it; `skyprep job status` names the jobs")),
        }
    }

    fn draft(
        &self,
        request: &str,
        base: &Base,
        passes: Vec<PlannedPass>,
        changes: Vec<PassChange>,
    ) -> Result<Planned> {
        let mut notes = PlanNotes::default();
        let mut weights = SkyWeights::default();
        let sidecars = Sidecars::read(&self.root, &self.pipeline)?;
        let mut drafts: Vec<DraftPass> = Vec::with_capacity(passes.len());
        let mut rejected = Vec::new();
        let mut excluded = base.plan.excluded.clone();
        let mut touched: BTreeMap<String, bool> = BTreeMap::new();
        for (planned, change) in passes.into_iter().zip(changes) {
            let tables = table_names(&planned.job);
            let Some((at, own)) = base.pass_of(&tables) else {
                // A pass that no job has made yet.
                if change.new.iter().all(Vec::is_empty) {
                    continue;
                }
                let looker = Looker::new(&planned, &change.new, self.bad)?;
                let number = drafts.len();
                let (good, bad) =
                    self.look_at_all(number, &looker, change.new, 0, &sidecars, &mut notes)?;
                let known = looker.known;
                rejected.extend(bad);
                let mut draft = DraftPass::new(planned, known);
                draft.add_inputs(good, 0, &self.options.sizes, &mut weights)?;
                touched.extend(tables.into_iter().map(|table| (table, false)));
                drafts.push(draft);
                continue;
            };
            let options = &planned.job.options;
            if hex(configuration_of(options, &own.known)) != own.configuration {
                return Err(Error::usage(format!(
                    "{} is no longer made as in generation {}: options, definitions or the program \
                     have changed",
                    tables.join(", "),
                    base.plan.generation
                ))
                .hint("put them back as they were, or make the database anew in another folder"));
            }
            // Rejected inputs stay on record, unless they are mended and come now.
            let number = drafts.len();
            let is_new = |stamp: &InputStamp| {
                let mut new = change.new.iter().flatten();
                new.any(|other| other.path == stamp.path)
            };
            let old = base.plan.rejected.iter().filter(|input| input.pass == at);
            rejected.extend(
                old.clone()
                    .filter(|input| !is_new(&input.stamp))
                    .map(|input| RejectedInput {
                        pass: number,
                        ..input.clone()
                    }),
            );
            let rejected_number = old.map(|input| input.input + 1).max().unwrap_or(0);
            let replaced = change.replaced.iter().map(|(line, _)| &line.stamp);
            excluded.retain(|stamp| !is_new(stamp));
            excluded.extend(replaced.cloned());
            excluded.extend(change.dropped.iter().cloned());
            let inputs = base.inputs.get(at).map_or(&[][..], Vec::as_slice);
            let is_edited = !change.again.is_empty();
            let is_extended = change.new.iter().any(|stamps| !stamps.is_empty());
            let mut draft = DraftPass::new(planned, own.known.clone());
            draft.indexes = self.indexes_of(base, at)?;
            let redo = self.must_redo(base, own, &draft.planned, &touched)?;
            let again: BTreeMap<Source, Vec<InputLine>> = match redo {
                true => inputs
                    .iter()
                    .map(|(source, lines)| {
                        let source = base.named(source);
                        let edited = change.again.iter().find(|(other, _)| *other == source);
                        let lines = edited.map_or(lines, |(_, lines)| lines);
                        (source, lines.clone())
                    })
                    .collect(),
                false => change.again.into_iter().collect(),
            };
            if !is_edited && !is_extended && !redo {
                draft.kept = inputs
                    .iter()
                    .map(|(source, _)| base.named(source))
                    .collect();
                draft.gone = Some(Vec::new());
                drafts.push(draft);
                continue;
            }
            touched.extend(tables.iter().map(|table| (table.clone(), is_edited)));
            self.fill(base, &mut draft, inputs, again, &mut weights)?;
            let looker_pass = draft.known.clone();
            let lines = || inputs.iter().flat_map(|(_, lines)| lines);
            let order = lines().map(|line| line.order + 1).max().unwrap_or(0);
            let input = lines().map(|line| line.input + 1).max().unwrap_or(0);
            let input = input.max(rejected_number);
            let replaced = self.look_at_replaced(&draft.planned, &looker_pass, change.replaced)?;
            place_replaced(&mut draft, replaced);
            let (good, bad) = {
                let looker = Looker::with_known(&draft.planned, looker_pass)?;
                self.look_at_all(number, &looker, change.new, input, &sidecars, &mut notes)?
            };
            rejected.extend(bad);
            draft.add_inputs(good, order, &self.options.sizes, &mut weights)?;
            draft.tasks.retain(|lines| !lines.is_empty());
            drafts.push(draft);
        }
        let numbered = number(drafts, &self.options.sizes, &weights);
        let draft = Draft {
            generation: base.plan.generation + 1,
            base: Some(base.plan.id.clone()),
            numbered,
            rejected,
            excluded,
            notes,
        };
        self.write(request, draft)
    }

    /// Says whether all map tasks of a pass are made again: its keys are looked up in an index that
    /// changes so that places of rows may change.
    fn must_redo(
        &self,
        base: &Base,
        own: &PassPlan,
        planned: &PlannedPass,
        touched: &BTreeMap<String, bool>,
    ) -> Result<bool> {
        let directors = planned.job.tables.iter().flat_map(TableJob::indexes);
        let directors: BTreeSet<&str> = directors.filter_map(|index| index.sibling()).collect();
        let changed: Vec<bool> = directors
            .iter()
            .filter_map(|director| touched.get(*director).copied())
            .collect();
        if changed.is_empty() {
            return Ok(false);
        }
        if changed.contains(&true) {
            return Ok(true);
        }
        // New keys matter only to rows whose keys were unknown: these were set aside, or went by a
        // second position, or to one side of a match.
        let has_other_ways = planned.job.tables.iter().any(|table| {
            let routing = table.target.routing.as_ref();
            routing.is_some_and(|routing| routing.is_match() || !routing.positions().is_empty())
        });
        if has_other_ways {
            return Ok(true);
        }
        for source in &own.maps {
            let record = base.folder.of_source(source).record(source.task())?;
            let is_clean =
                record.is_some_and(|record| record.tables.iter().all(|table| table.rejected == 0));
            if !is_clean {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the tasks that have made the indexes of a pass's directors.
    fn indexes_of(&self, base: &Base, pass: usize) -> Result<BTreeMap<String, Source>> {
        let mut found = BTreeMap::new();
        // The index of a director was made by the last job that has changed it.
        for name in &base.plan.pass(pass)?.tables {
            let mut plan = base.plan.clone();
            loop {
                let made = plan.reduces.iter().position(|reduce| {
                    let own = plan.passes.get(reduce.pass);
                    let table = match reduce.work {
                        ReduceWork::Index { table, .. } => table,
                        _ => return false,
                    };
                    own.is_some_and(|own| own.tables.get(table) == Some(name))
                });
                if let Some(made) = made {
                    let source = Source {
                        job: Some(plan.id.clone()),
                        kind: TaskKind::Reduce,
                        number: made as u32 + 1,
                    };
                    found.insert(name.clone(), source);
                    break;
                }
                let Some(earlier) = &plan.base else { break };
                plan = JobFolder::of(&plan.root, earlier).plan()?;
            }
        }
        Ok(found)
    }

    /// Sorts the map tasks of the base into those that stay, those that are made again, and those
    /// whose exchange files are lost.
    fn fill(
        &self,
        base: &Base,
        draft: &mut DraftPass,
        inputs: &[(Source, Vec<InputLine>)],
        mut again: BTreeMap<Source, Vec<InputLine>>,
        weights: &mut SkyWeights,
    ) -> Result<()> {
        let mut gone = Vec::new();
        let mut changed = Vec::new();
        let mut lost_one = None;
        for (source, lines) in inputs {
            let named = base.named(source);
            for line in lines {
                draft.text += line.stamp.bytes;
                weights.add(line.stamp.bytes, None);
            }
            if let Some(lines) = again.remove(&named) {
                if !self.is_there(base, source)? {
                    lost_one.get_or_insert(source);
                }
                gone.push(named);
                changed.push(lines);
            } else if self.is_there(base, source)? {
                draft.kept.push(named);
            } else {
                // What was lost is made again, and changes nothing.
                draft.tasks.push(lines.clone());
                draft.remade += 1;
            }
        }
        let are_all_made = draft.kept.is_empty() && draft.remade == 0;
        draft.tasks.extend(changed);
        draft.gone = match lost_one {
            None => Some(gone),
            // Nobody can tell which chunks it had rows for; where all is made nobody need to.
            Some(_) if are_all_made => None,
            Some(source) => return Err(lost(source)),
        };
        Ok(())
    }

    fn is_there(&self, base: &Base, source: &Source) -> Result<bool> {
        let of = base.folder.of_source(source);
        let record = of.record(source.task())?;
        let sealed = record.and_then(|record| record.sealed);
        Ok(sealed.is_some_and(|sealed| {
            let found = std::fs::metadata(of.file(&sealed.path));
            found.is_ok_and(|found| found.len() == sealed.bytes)
        }))
    }

    /// Looks at files that take the place of others.
    fn look_at_replaced(
        &self,
        planned: &PlannedPass,
        known: &[Vec<String>],
        replaced: Vec<(InputLine, InputStamp)>,
    ) -> Result<Vec<Replacement>> {
        let looker = Looker::with_known(planned, known.to_vec())?;
        replaced
            .into_iter()
            .map(|(line, stamp)| {
                let look = looker.look(line.product as usize, &stamp)?;
                Ok(Replacement {
                    old: line.order,
                    input: LookedInput {
                        product: line.product,
                        input: line.input,
                        stamp,
                        look,
                    },
                })
            })
            .collect()
    }
}

/// A file that takes the place of another.
struct Replacement {
    /// The place among all parts of the pass.
    old: u32,
    input: LookedInput,
}

/// Gives files that replace others to the tasks that are made again.
fn place_replaced(draft: &mut DraftPass, replaced: Vec<Replacement>) {
    for Replacement { old, input } in replaced {
        let line = InputLine {
            product: input.product,
            input: input.input,
            order: old,
            format: input.look.format,
            stamp: input.stamp,
            span: None,
        };
        // Any task will do, for rows are put in order by the number of their part; the last is one
        // that is made again.
        match draft.tasks.last_mut() {
            Some(task) => task.push(line),
            None => draft.tasks.push(vec![line]),
        }
    }
}

fn lost(source: &Source) -> Error {
    Error::new(
        ErrorKind::InputMissing,
        format!(
            "the exchange file of {} is gone, so nobody can tell which chunks it had rows for",
            source.task()
        ),
    )
    .hint("plan the database anew in another folder; `job gc` keeps these files unless told otherwise")
}

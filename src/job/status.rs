//! `job status`: how far a job has come, from what its tasks have left behind.
//!
//! The furthest attempt at a task counts: a record hides failures, a living attempt hides dead ones.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::attempt::{SeenAttempt, attempts};
use super::commit::{CommitNote, commit_failure, committed};
use super::folder::{JobFolder, read_json};
use super::generation::generation;
use super::name::{JobId, TaskKind, TaskName};
use super::plan::{Plan, RejectedInput};
use super::slurm::compressed;
use crate::error::Result;

/// How a task or a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It was refused before it was planned: its inputs won't do.
    Rejected,
    /// Another job has made the generation that it was to make.
    Superseded,
    /// It is to be done: nobody is at it.
    Planned,
    /// Its last attempt has failed for good.
    Failed,
    /// Its last attempt gives no sign of life any more.
    Lost,
    /// Somebody is at it.
    Running,
    /// It is done; the job is not committed.
    Written,
    /// The job is committed.
    Committed,
}

impl JobState {
    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Superseded => "superseded",
            Self::Planned => "planned",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Running => "running",
            Self::Written => "written",
            Self::Committed => "committed",
        }
    }

    /// Says whether nothing more is to come of it by itself.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Rejected | Self::Superseded | Self::Committed)
    }
}

/// How a job stands.
#[derive(Debug, Clone, Serialize)]
pub struct JobStatus {
    /// What this is.
    pub format: &'static str,
    /// Its version.
    pub version: u32,
    /// The job.
    pub id: JobId,
    /// How it stands.
    pub state: JobState,
    /// Its folder.
    pub folder: String,
    /// When it was planned: seconds since 1970.
    pub created: u64,
    /// The generation that it makes.
    pub generation: u32,
    /// Inputs that were accepted, parts of one counted once.
    pub accepted: u64,
    /// Inputs that were passed over, with the reasons.
    pub rejected: Vec<RejectedInput>,
    /// Stages in their order.
    pub stages: Vec<StageStatus>,
    /// Tasks that have failed or are lost.
    pub troubles: Vec<Trouble>,
    /// Rows that map tasks have read.
    pub rows_in: u64,
    /// Rows that were set aside.
    pub rejected_rows: u64,
    /// Rows that map tasks have read in a second of work of one of them.
    pub rows_per_second: f64,
    /// Seconds until all is done, as things go: with as many tasks at work as there are now.
    pub seconds_left: Option<f64>,
    /// How it was committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitNote>,
    /// What to do next.
    pub next: String,
}

/// How the tasks of a stage stand.
#[derive(Debug, Clone, Serialize)]
pub struct StageStatus {
    /// What they do.
    pub kind: TaskKind,
    /// Their numbers, such as `1-20`.
    pub tasks: String,
    /// How many there are.
    pub count: u32,
    /// Tasks that are done.
    pub done: u32,
    /// Tasks that somebody is at.
    pub running: String,
    /// Tasks that have failed for good.
    pub failed: String,
    /// Tasks that gave no sign of life.
    pub lost: String,
    /// Tasks that are not done.
    pub left: String,
}

/// A task that is not well.
#[derive(Debug, Clone, Serialize)]
pub struct Trouble {
    /// The task.
    pub task: String,
    /// Whether it has failed or is lost.
    pub state: JobState,
    /// Who was at it.
    pub who: String,
    /// Its exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<u8>,
    /// What it had to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Of a record what is counted; the rest may be long.
#[derive(Deserialize)]
struct Gist {
    seconds: f64,
    tables: Vec<TableGist>,
}

#[derive(Deserialize)]
struct TableGist {
    #[serde(default)]
    rows_in: u64,
    #[serde(default)]
    rejected: u64,
}

/// Looks at a job.
///
/// # Errors
/// Its folder can't be read.
pub fn status(folder: &JobFolder) -> Result<JobStatus> {
    let plan = folder.plan()?;
    let commit = committed(folder)?;
    let done = folder.done()?;
    let mut last: BTreeMap<TaskName, (SeenAttempt, bool)> = BTreeMap::new();
    for attempt in attempts(folder, None)? {
        let is_alive = attempt.is_alive;
        let earlier = last.remove(&attempt.task);
        let any = earlier.as_ref().is_some_and(|(_, any)| *any) || is_alive;
        last.insert(attempt.task, (attempt, any));
    }
    let state_of = |task: TaskName| {
        if done.contains(&task) {
            return match commit {
                Some(_) => JobState::Committed,
                None => JobState::Written,
            };
        }
        match last.get(&task) {
            None => JobState::Planned,
            Some((_, true)) => JobState::Running,
            Some((attempt, false)) => match &attempt.note.end {
                None => JobState::Lost,
                Some(end) if matches!(end.exit, 0 | 75) => JobState::Planned,
                Some(_) => JobState::Failed,
            },
        }
    };
    let mut stages = Vec::new();
    let mut troubles = Vec::new();
    let mut states: BTreeMap<JobState, u32> = BTreeMap::new();
    for stage in plan.stages() {
        let tasks = stage
            .numbers
            .iter()
            .map(|number| TaskName::new(stage.kind, *number));
        let all: Vec<(TaskName, JobState)> = tasks.map(|task| (task, state_of(task))).collect();
        let numbers = |wanted: &[JobState]| -> Vec<u32> {
            let own = all.iter().filter(|(_, state)| wanted.contains(state));
            own.map(|(task, _)| task.number).collect()
        };
        let left = [
            JobState::Planned,
            JobState::Failed,
            JobState::Lost,
            JobState::Running,
        ];
        let left = numbers(&left);
        for (task, state) in &all {
            *states.entry(*state).or_default() += 1;
            if let (JobState::Failed | JobState::Lost, Some((attempt, _))) = (state, last.get(task))
            {
                let end = attempt.note.end.as_ref();
                troubles.push(Trouble {
                    task: task.to_string(),
                    state: *state,
                    who: attempt.note.who(),
                    exit: end.map(|end| end.exit),
                    message: end.and_then(|end| end.message.clone()),
                });
            }
        }
        stages.push(StageStatus {
            kind: stage.kind,
            tasks: compressed(&stage.numbers),
            count: all.len() as u32,
            done: all.len() as u32 - left.len() as u32,
            running: compressed(&numbers(&[JobState::Running])),
            failed: compressed(&numbers(&[JobState::Failed])),
            lost: compressed(&numbers(&[JobState::Lost])),
            left: compressed(&left),
        });
    }
    let has = |state: JobState| states.get(&state).copied().unwrap_or(0) > 0;
    let maker = generation(&plan.root, &plan.database, plan.generation)?;
    let refusal = match &commit {
        Some(_) => None,
        None => commit_failure(folder)?,
    };
    if let Some(end) = &refusal {
        troubles.push(Trouble {
            task: "commit".to_owned(),
            state: JobState::Failed,
            who: String::new(),
            exit: Some(end.exit),
            message: end.message.clone(),
        });
    }
    let state = match &commit {
        Some(_) => JobState::Committed,
        None if maker.is_some_and(|maker| maker.job != plan.id) => JobState::Superseded,
        None if has(JobState::Running) => JobState::Running,
        None if has(JobState::Failed) => JobState::Failed,
        None if has(JobState::Lost) => JobState::Lost,
        None if has(JobState::Planned) => JobState::Planned,
        None if refusal.is_some() => JobState::Failed,
        None => JobState::Written,
    };
    let pace = Pace::of(folder, &plan, &done)?;
    let running = states.get(&JobState::Running).copied().unwrap_or(0);
    let next = next_step(folder, state, &stages);
    Ok(JobStatus {
        format: "skyprep-job-status",
        version: 1,
        folder: folder.path().display().to_string(),
        created: plan.created,
        generation: plan.generation,
        accepted: plan.inputs,
        stages,
        troubles,
        rows_in: pace.rows_in,
        rejected_rows: pace.rejected,
        rows_per_second: pace.rows_per_second(),
        seconds_left: pace.seconds_left(running).filter(|_| !state.is_over()),
        commit,
        next,
        state,
        id: plan.id,
        rejected: plan.rejected,
    })
}

/// How quickly tasks go.
#[derive(Default)]
struct Pace {
    rows_in: u64,
    rejected: u64,
    map_seconds: f64,
    /// Bytes of input that are done, and that are left.
    bytes_done: u64,
    bytes_left: u64,
    other_seconds: f64,
    others_done: u32,
    others_left: u32,
}

impl Pace {
    fn of(
        folder: &JobFolder,
        plan: &Plan,
        done: &std::collections::BTreeSet<TaskName>,
    ) -> Result<Self> {
        let mut pace = Self::default();
        for task in plan.tasks() {
            let gist: Option<Gist> = match done.contains(&task) {
                true => read_json(&folder.record_path(task))?,
                false => None,
            };
            match (gist, plan.map_bytes(task)) {
                (Some(gist), Some(bytes)) => {
                    pace.bytes_done += bytes;
                    pace.map_seconds += gist.seconds;
                    for table in &gist.tables {
                        pace.rows_in += table.rows_in;
                        pace.rejected += table.rejected;
                    }
                }
                (None, Some(bytes)) => pace.bytes_left += bytes,
                (Some(gist), None) => {
                    pace.others_done += 1;
                    pace.other_seconds += gist.seconds;
                }
                (None, None) => pace.others_left += 1,
            }
        }
        Ok(pace)
    }

    fn rows_per_second(&self) -> f64 {
        match self.map_seconds > 0.0 {
            true => self.rows_in as f64 / self.map_seconds,
            false => 0.0,
        }
    }

    /// Returns the seconds of work that are left, shared among so many tasks; nothing where no task
    /// of a kind that is left is done, or none is at work.
    fn seconds_left(&self, running: u32) -> Option<f64> {
        let maps = match (self.bytes_left, self.bytes_done) {
            (0, _) => 0.0,
            (_, 0) => return None,
            (left, done) => self.map_seconds * left as f64 / done as f64,
        };
        let others = match (self.others_left, self.others_done) {
            (0, _) => 0.0,
            // Until one is done they are taken to be as quick as map tasks are with all bytes.
            (_, 0) => self.map_seconds,
            (left, done) => self.other_seconds * f64::from(left) / f64::from(done),
        };
        (running > 0).then(|| (maps + others) / f64::from(running))
    }
}

fn next_step(folder: &JobFolder, state: JobState, stages: &[StageStatus]) -> String {
    let job = folder.path().display();
    let left: Vec<String> = stages
        .iter()
        .filter(|stage| !stage.left.is_empty())
        .map(|stage| format!("{} {}", stage.kind.word(), stage.left))
        .collect();
    match state {
        JobState::Committed => "nothing: all is done".to_owned(),
        JobState::Rejected => "put the inputs right and plan again".to_owned(),
        JobState::Superseded => {
            "plan again, with --extend, --replace or --drop: another job was faster".to_owned()
        }
        JobState::Failed if left.is_empty() => {
            format!("put that right, then: skyprep job commit --job {job}")
        }
        JobState::Written => format!("skyprep job commit --job {job}"),
        JobState::Running => format!("wait: skyprep job wait --job {job}"),
        JobState::Failed | JobState::Lost | JobState::Planned => {
            format!(
                "run these tasks: {} (skyprep job submit --job {job})",
                left.join("; ")
            )
        }
    }
}

/// A job that was refused before it was planned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refusal {
    /// The name that it was to have.
    pub id: String,
    /// When: seconds since 1970.
    pub created: u64,
    /// Why.
    pub reason: String,
    /// The exit code.
    pub exit: u8,
}

/// Writes down that a job was refused, for `job status --rejected`.
///
/// # Errors
/// It can't be written.
pub fn note_refusal(root: &std::path::Path, id: &str, error: &crate::error::Error) -> Result<()> {
    let folder = refusals(root);
    crate::publish::create_folders(&folder)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let refusal = Refusal {
        id: id.to_owned(),
        created: now.as_secs(),
        reason: error.to_string(),
        exit: error.kind().exit_code(),
    };
    let path = folder.join(format!("{id}.json"));
    let bytes = serde_json::to_vec(&refusal)
        .map_err(|error| crate::error::Error::writing(&path, error.into()))?;
    crate::publish::write_atomically(&path, &bytes)
}

/// Name of the folder that tells of refusals, among those of jobs.
pub(super) const REFUSALS: &str = ".rejected";

fn refusals(root: &std::path::Path) -> std::path::PathBuf {
    JobFolder::jobs_of(root).join(REFUSALS)
}

/// Returns the jobs that were refused and not planned since.
///
/// # Errors
/// The folder can't be read.
pub fn refused(root: &std::path::Path) -> Result<Vec<Refusal>> {
    let folder = refusals(root);
    let mut all = Vec::new();
    for name in super::folder::names_in(&folder)? {
        let Some(refusal) = read_json::<Refusal>(&folder.join(&name))? else {
            continue;
        };
        let is_planned = refusal
            .id
            .parse()
            .is_ok_and(|id| JobFolder::of(root, &id).is_planned());
        if !is_planned {
            all.push(refusal);
        }
    }
    all.sort_by(|a: &Refusal, b| a.id.cmp(&b.id));
    Ok(all)
}

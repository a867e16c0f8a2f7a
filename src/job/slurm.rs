//! The scripts that let Slurm run a job: text only, submitted by who asks for them.
//!
//! Each is meant to be read, changed and submitted by hand. What they do was tried on Slurm 22.05:
//!
//! - A stage waits for the one before by `afterany`. `afterok` is never satisfied by an array of
//!   which a task was requeued. Whether all went well is for the commands to find out.
//! - A task that ends with 75 asks Slurm to take it back (`scontrol requeue`). Where the cluster
//!   does so by itself (`RequeueExit=75`), it is still done only once.
//! - Slurm tells the shell of a batch job of its time limit by a signal of our choice, USR1, and
//!   sends TERM when a job is cancelled. A script that requeues itself then can't be cancelled any
//!   more, so the two must differ.

use std::path::Path;

use super::name::TaskKind;

/// What is asked of Slurm for each task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlurmOptions {
    /// The partition (`--partition`).
    pub partition: Option<String>,
    /// Who pays (`--account`).
    pub account: Option<String>,
    /// The quality of service (`--qos`).
    pub qos: Option<String>,
    /// The time limit of a task (`--time`), as Slurm writes it: `30` (minutes), `2:00:00`.
    pub time: Option<String>,
    /// The memory of a task (`--mem`), as Slurm writes it: `4G`.
    pub mem: Option<String>,
    /// The CPUs of a task (`--cpus-per-task`).
    pub cpus_per_task: Option<u32>,
    /// How many tasks of a stage may run at the same time.
    pub most_running: Option<u32>,
    /// Further options, each put behind `#SBATCH` as it is: `--constraint=haswell`.
    pub extra: Vec<String>,
    /// The cluster's `MaxArraySize`: indexes of an array are below it.
    pub most_array: u32,
    /// How often a task may be started again before it is given up.
    pub most_restarts: u32,
}

impl Default for SlurmOptions {
    fn default() -> Self {
        Self {
            partition: None,
            account: None,
            qos: None,
            time: None,
            mem: None,
            cpus_per_task: None,
            most_running: None,
            extra: Vec::new(),
            most_array: 1001,
            most_restarts: 20,
        }
    }
}

/// Tasks that may run at the same time, after those of the stage before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskStage {
    /// What the tasks do.
    pub kind: TaskKind,
    /// The tasks that are left to do, ascending.
    pub numbers: Vec<u32>,
}

/// A batch script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlurmScript {
    /// The name of its file; a list of these names is in the order of submission.
    pub file_name: String,
    /// What is in the file.
    pub text: String,
    /// The value of `--array`, which is in the text, too; none if the script is not an array.
    pub array: Option<String>,
    /// What is added to an index of the array to get the number of the task.
    pub offset: u32,
    /// The scripts, by index, which must have ended before this one may start.
    pub after: Vec<usize>,
}

impl SlurmScript {
    /// Returns the value for `--dependency`; `ids` are the job ids of all scripts before this one.
    pub fn dependency(&self, ids: &[String]) -> Option<String> {
        let ids: Vec<&str> = self
            .after
            .iter()
            .filter_map(|index| ids.get(*index).map(String::as_str))
            .collect();
        (!ids.is_empty()).then(|| format!("afterany:{}", ids.join(":")))
    }
}

/// Renders the scripts of a job in the order in which they are to be submitted.
///
/// Tasks whose numbers an array can't hold get an array of their own, with an offset. Stages
/// without tasks are passed over. With `commits` a last script commits the job. `job` and
/// `program` should be absolute: nothing says in which folder a script runs.
pub fn scripts(
    job_id: &str,
    job: &Path,
    program: &Path,
    stages: &[TaskStage],
    options: &SlurmOptions,
    commits: bool,
) -> Vec<SlurmScript> {
    let writer = Writer {
        job_id: &safe_name(job_id),
        job,
        program,
        options,
    };
    let mut scripts: Vec<SlurmScript> = Vec::new();
    let mut before = Vec::new();
    for stage in stages {
        let parts = parts(&stage.numbers, options.most_array);
        let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        let most_running = options
            .most_running
            .map(|most| (most / count.max(1)).max(1));
        let first = scripts.len();
        for (offset, indexes) in parts {
            let mut array = compressed(&indexes);
            if let Some(most) = most_running {
                array += &format!("%{most}");
            }
            scripts.push(SlurmScript {
                file_name: format!("{:02}-{}.sh", scripts.len() + 1, stage.kind.word()),
                text: writer.tasks(stage.kind, &array, offset),
                array: Some(array),
                offset,
                after: before.clone(),
            });
        }
        if scripts.len() > first {
            before = (first..scripts.len()).collect();
        }
    }
    if commits {
        scripts.push(SlurmScript {
            file_name: format!("{:02}-commit.sh", scripts.len() + 1),
            text: writer.commit(),
            array: None,
            offset: 0,
            after: before,
        });
    }
    scripts
}

/// Cuts ascending numbers into arrays: an offset each, and the indexes that follow it.
fn parts(numbers: &[u32], most_array: u32) -> Vec<(u32, Vec<u32>)> {
    let mut parts: Vec<(u32, Vec<u32>)> = Vec::new();
    for &number in numbers {
        match parts.last_mut() {
            Some((offset, indexes)) if number.saturating_sub(*offset) < most_array => {
                indexes.push(number.saturating_sub(*offset));
            }
            _ => {
                // Where it can be the index is the number, which is easier to read.
                let is_small = number < most_array;
                let offset = if is_small {
                    0
                } else {
                    number.saturating_sub(1)
                };
                parts.push((offset, vec![number - offset]));
            }
        }
    }
    parts
}

/// What is the same in all scripts of a job.
struct Writer<'a> {
    job_id: &'a str,
    job: &'a Path,
    program: &'a Path,
    options: &'a SlurmOptions,
}

impl Writer<'_> {
    fn tasks(&self, kind: TaskKind, array: &str, offset: u32) -> String {
        let word = kind.word();
        let mut text = format!(
            "#!/bin/bash\n\
             # Runs the {word} tasks that are left of a skyprep job. Written by skyprep job submit.\n"
        );
        text += &self.directives(word, "%x-%A_%a.log");
        text += &directive("--array", array);
        text += &self.variables();
        text += "\n# Arrays of Slurm hold small numbers only.\n";
        text += &format!("task=$(({offset} + SLURM_ARRAY_TASK_ID))\n");
        text += "me=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID\n";
        text += &START.replace("COMMAND", &format!("job task {word} \"$task\""));
        text += END;
        text
    }

    fn commit(&self) -> String {
        let mut text = "#!/bin/bash\n\
             # Commits a skyprep job when its tasks have ended. Written by skyprep job submit.\n"
            .to_owned();
        text += &self.directives("commit", "%x-%j.log");
        text += &self.variables();
        text += "me=$SLURM_JOB_ID\n";
        text += &START.replace("COMMAND", "job commit");
        text += COMMITTED;
        text += END;
        text
    }

    /// The lines that sbatch reads.
    fn directives(&self, word: &str, log: &str) -> String {
        let options = self.options;
        let name = format!("skyprep-{}-{word}", self.job_id);
        let mut text = directive("--job-name", &name);
        text += "#SBATCH --requeue\n#SBATCH --open-mode=append\n";
        // A backslash would switch the patterns off; Slurm's own place for the log must do then.
        let job = self.job.to_string_lossy();
        if !job.contains(['\\', '\n']) {
            let log = format!("{}/slurm/log/{log}", job.replace('%', "%%"));
            text += &directive("--output", &log);
        }
        text += "#SBATCH --signal=B:USR1@60\n";
        let cpus = options.cpus_per_task.map(|cpus| cpus.to_string());
        let passed = [
            ("--partition", &options.partition),
            ("--account", &options.account),
            ("--qos", &options.qos),
            ("--time", &options.time),
            ("--mem", &options.mem),
            ("--cpus-per-task", &cpus),
        ];
        for (option, value) in passed {
            if let Some(value) = value {
                text += &directive(option, value);
            }
        }
        for line in &options.extra {
            text += &format!("#SBATCH {}\n", line.replace('\n', " "));
        }
        text
    }

    fn variables(&self) -> String {
        format!(
            "\nprogram={}\njob={}\nmost_restarts={}\n",
            quoted(&self.program.to_string_lossy()),
            quoted(&self.job.to_string_lossy()),
            self.options.most_restarts
        )
    }
}

/// Runs the command; COMMAND stands for its words.
const START: &str = r#"
# A minute before the time limit Slurm sends USR1 to this shell alone; skyprep is told by TERM, and
# ends in good order with 75. A job that is cancelled or preempted gets TERM from Slurm, and the
# shell waits for skyprep then.
told=
tell() {
    told=$1
    kill -TERM "$child" 2>/dev/null
}
trap 'tell USR1' USR1
trap 'tell TERM' TERM
"$program" COMMAND --job "$job" &
child=$!
wait "$child"
code=$?
# A signal ends the wait, not skyprep.
while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    code=$?
done
trap - USR1 TERM
"#;

/// What a second commit says.
const COMMITTED: &str = r#"
# 5: it was committed before.
if [ "$code" = 5 ]; then
    code=0
fi
"#;

/// Asks for another run where that helps.
const END: &str = r#"
# Interrupted, or out of something, or too early (75): once more. But not after TERM: a job that
# takes itself back when it is cancelled can't be cancelled.
if [ "$told" = USR1 ] && [ "$code" != 0 ]; then
    code=75
fi
if [ "$code" = 75 ] && [ "$told" = TERM ]; then
    code=143
fi
if [ "$code" = 75 ]; then
    if [ "${SLURM_RESTART_COUNT:-0}" -lt "$most_restarts" ]; then
        # Slurm ends this shell as it takes the job back.
        scontrol requeue "$me" && sleep 60
    else
        echo "given up after ${SLURM_RESTART_COUNT:-0} restarts" >&2
        code=1
    fi
fi
exit "$code"
"#;

/// A line for sbatch, which takes quotes as a shell does.
fn directive(option: &str, value: &str) -> String {
    format!("#SBATCH {option}={}\n", quoted(&value.replace('\n', " ")))
}

/// Quotes a word for a shell, if it needs that.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A name that is the same in file names, patterns of Slurm and shells.
fn safe_name(name: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    name.chars()
        .map(|c| if is_safe(c) { c } else { '_' })
        .collect()
}

/// Writes ascending numbers as Slurm does: `3,7-9`.
pub fn compressed(numbers: &[u32]) -> String {
    let runs = numbers.chunk_by(|one, next| one.checked_add(1) == Some(*next));
    let runs = runs.filter_map(|run| match run {
        [] => None,
        [one] => Some(one.to_string()),
        [first, .., last] => Some(format!("{first}-{last}")),
    });
    runs.collect::<Vec<_>>().join(",")
}

/// More tasks than anybody has, so that a wrong list can't fill the memory.
const MOST_NUMBERS: u32 = 10_000_000;

/// Reads what [`compressed`] writes; none if it is anything else.
pub fn numbers_of(text: &str) -> Option<Vec<u32>> {
    let mut numbers: Vec<u32> = Vec::new();
    if text.is_empty() {
        return Some(numbers);
    }
    for run in text.split(',') {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        let (first, last) = (number(first)?, number(last)?);
        let is_ascending = numbers.last().is_none_or(|before| *before < first);
        if !is_ascending || last < first || last - first >= MOST_NUMBERS {
            return None;
        }
        numbers.extend(first..=last);
        if numbers.len() > MOST_NUMBERS as usize {
            return None;
        }
    }
    Some(numbers)
}

/// Digits only: `parse` would take a sign.
fn number(text: &str) -> Option<u32> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests make files by the shortest way"
)]
#[path = "slurm_tests.rs"]
mod tests;

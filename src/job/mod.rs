//! Jobs: a pipeline as many tasks, on one machine or on a cluster.
//!
//! A job is a folder on a shared file system ([`JobFolder`]). Its plan ([`Plan`]) says once what the
//! tasks are: *map* tasks make the rows of some inputs into one exchange file each, *reduce* tasks
//! make the final files of some chunks out of all exchange files. Engines such as Slurm only start
//! tasks; what is done is what has a record. When all is done, the job is committed: its files get
//! their names and the manifest of a new generation tells of them.

mod attempt;
mod batch;
mod books;
mod changes;
mod check;
mod chunk_changes;
mod commit;
mod commit_pass;
mod draft;
mod folder;
mod gc;
mod generation;
mod input_lines;
mod listing;
mod name;
mod passes;
mod plan;
mod planning;
mod record;
mod rejects;
mod request;
mod slurm;
mod status;
mod task;
mod waiting;
mod weights;

pub use attempt::{AttemptEnd, AttemptNote, SeenAttempt, attempts, exit_code};
pub use batch::BatchOptions;
pub use check::{CheckOutcome, CheckPart, CheckedInput, check};
pub use chunk_changes::ChunkChanges;
pub use commit::{CommitNote, CommitOptions, Committed, commit, committed};
pub use draft::TaskSizes;
pub use folder::JobFolder;
pub use gc::{Garbage, GcOptions, GcOutcome, gc, remove_garbage};
pub(crate) use generation::manifest_folder;
pub use generation::{Generation, generation, manifest_of, newest, standing_generation};
pub use name::{JobId, TaskKind, TaskName};
pub use plan::{
    InputLine, JobSettings, MapPlan, MergePlan, PassPlan, Plan, ReducePlan, ReduceWork,
    RejectedInput, Source, Stage,
};
pub use planning::{Change, PlanNotes, PlanOptions, Planned, plan};
pub use record::{SealedRecord, TableRecord, TaskRecord};
pub use request::JobRequest;
pub use slurm::{SlurmOptions, SlurmScript, TaskStage, compressed, numbers_of, scripts};
pub use status::{
    JobState, JobStatus, Refusal, StageStatus, Trouble, note_refusal, refused, status,
};
pub use task::{TaskOptions, TaskOutcome, run_task};

//! Pipelines: products in, tables out, each product read once.
//!
//! A [`Pass`] streams inputs through the row plans of all tables that they feed; a [`PassJob`] does
//! so into an output folder, once and whole; [`run`] does that for all tables of a pipeline file
//! and writes manifest and report.

mod append;
mod bad_inputs;
mod components;
mod duplicates;
mod estimate;
mod file;
mod finishing;
mod folder_run;
mod joining;
mod look;
mod measure;
mod outlook;
mod pass;
mod pieces;
mod placing;
mod plan;
mod prepared;
mod redo;
mod rejects;
mod row_groups;
mod run;
mod starter;
mod stream;
mod table;
mod table_routing;
mod task;
mod text_sample;
mod worker;

pub use append::{Appending, Repetition};
pub use bad_inputs::{BadInputs, PassedOver};
pub use estimate::{ChunkEstimate, ESTIMATE_FORMAT, Estimate, EstimateBytes};
pub use file::PipelineFile;
pub use finishing::Arrangement;
pub use folder_run::{PassJob, Replace, Standing, standing};
pub(crate) use folder_run::{check_database, different};
pub use look::{Cut, InputLook};
pub use measure::{add_columns, measure};
pub use outlook::{
    Outlook, OutputState, PassOutlook, TableOutlook, check_writable, columns_of, outlook,
};
pub use pass::{
    Events, InputPart, InputSpan, NoEvents, Pass, PassInput, PassLimits, ReadAs, TargetCounts,
};
pub(crate) use plan::PlannedPass;
pub use plan::check_director;
pub(crate) use prepared::input_columns;
pub use prepared::{PreparedInputs, TextNames};
pub use redo::{Redo, StandingTable};
pub use rejects::Rejects;
pub(crate) use rejects::list_head;
pub(crate) use run::conclude;
pub use run::{RunEvents, RunOptions, RunOutcome, foresee, run};
pub use starter::Starter;
pub use stream::{StreamOutcome, stream};
pub(crate) use table::StagedFile;
pub use table::{TableJob, TableParts, TableReport};
pub(crate) use task::{MapWork, Mapped, ReduceWork, ReducedIndex, configuration_of, job_passes};

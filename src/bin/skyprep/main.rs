//! The command line: arguments in, library calls, words and exit codes out.

#![allow(
    unreachable_pub,
    reason = "nothing of a binary is reachable; pub marks what modules share"
)]

mod allocator;
mod args;
mod books;
mod commands;
mod dropin;
mod job_args;
mod layers;
mod listings;
mod logging;
mod manifest_args;
mod merge_args;
mod network_args;
mod partition_args;
mod printer;
mod progress;
mod serve_args;
mod session;
mod settings;
mod signals;
mod sky_args;
mod sph_config;
mod stage_args;
mod table_args;
mod times;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use skyprep::error::Error;

use crate::args::Command;
use crate::dropin::Call;
use crate::layers::{Refusal, Resolved};
use crate::printer::{Hints, Printer};
use crate::session::Session;
use crate::signals::Interruption;

fn main() -> ExitCode {
    allocator::share_heap();
    #[cfg(debug_assertions)]
    if let Ok(place) = std::env::var("SKYPREP_CRASH_AT") {
        skyprep::publish::arm_crash_point(&place);
    }
    quiet_decoder_panics();
    survive_file_size_limit();
    let code = match dropin::call(std::env::args_os().collect()) {
        Call::Own(arguments) => outcome(&arguments, Hints::All, run),
        Call::DropIn(arguments) => dropin::exit_code(outcome(&arguments, Hints::All, run)),
        Call::Tool(call) => {
            let work = |resolved: &Resolved| {
                let printer = Printer::new(&resolved.arguments.global);
                commands::sph_tools::run(&call, &session(resolved, printer)?)
            };
            dropin::exit_code(outcome(&call.session_arguments(), Hints::OfTools, work))
        }
        Call::Done(code) => return code,
    };
    ExitCode::from(code)
}

/// Does what the arguments say; returns the exit code.
fn outcome(
    arguments: &[OsString],
    hints: Hints,
    work: impl FnOnce(&Resolved) -> anyhow::Result<()>,
) -> u8 {
    let resolved = match layers::resolve(arguments) {
        Ok(resolved) => resolved,
        Err(Refusal::Usage(message, notes)) => return printer::print_usage(&message, &notes),
        Err(Refusal::Layer(error)) => return printer::early_failure(&error),
    };
    if let Err(error) = logging::start(&resolved.arguments.global) {
        return printer::early_failure(&error);
    }
    match work(&resolved) {
        Ok(()) => 0,
        Err(error) => printer::failure(&error, hints),
    }
}

fn run(resolved: &Resolved) -> anyhow::Result<()> {
    let printer = Printer::new(&resolved.arguments.global);
    match &resolved.arguments.command {
        Command::Completions(args) => return commands::pages::completions(args, printer),
        Command::Man(args) => return commands::pages::manual(args, printer),
        _ => {}
    }
    let session = session(resolved, printer)?;
    match &resolved.arguments.command {
        Command::Convert(args) => commands::convert::run(args, &session),
        Command::Sanitize(args) => commands::sanitize::run(args, &session),
        Command::Partition(args) => commands::partition::run(args, &session),
        Command::Estimate(args) => commands::estimate::run(args, &session),
        Command::Merge(args) => commands::merge::run(args, &session),
        Command::Stage(args) => commands::stage::run(args, &session),
        Command::Verify(args) => commands::verify::run(args, &session),
        Command::Release(args) => commands::release::run(args, &session),
        Command::Manifest(args) => commands::manifest::run(args, &session),
        Command::Serve(args) => commands::serve::run(args, &session),
        Command::LoadPlan(args) => commands::load_plan::run(args, &session),
        Command::Run(args) => commands::run::run(args, &session),
        Command::Job(args) => commands::job::run(args, &session),
        Command::Schema(args) => commands::schema::run(args, &session),
        Command::Check(args) => commands::check::run(args, &session),
        Command::Init(args) => commands::init::run(args, &session),
        Command::Sky(args) => commands::sky::run(args, &session),
        Command::Locate(args) => commands::locate::run(args, &session),
        Command::Completions(_) | Command::Man(_) => Ok(()),
    }
}

/// Finds out what the work may use.
fn session(resolved: &Resolved, printer: Printer) -> anyhow::Result<Session> {
    let interruption = Interruption::listen().map_err(|error| {
        Error::usage(format!("can't listen for signals: {error}"))
            .hint("raise the limit of open files (ulimit -n)")
    })?;
    Session::open(resolved, printer, interruption)
}

/// The Parquet decoder's panics are caught and reported as corrupt input; the default hook would
/// print them as well.
fn quiet_decoder_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !skyprep::source::is_decoding() {
            default(info);
        }
    }));
}

/// A file that would pass the limit of `ulimit -f` is an error when it is written, as a full disk
/// is; without a handler the signal would end the process.
fn survive_file_size_limit() {
    let seen = Arc::new(AtomicBool::new(false));
    // If that can't be had, the signal ends the process, and the next run tidies up.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, seen);
}

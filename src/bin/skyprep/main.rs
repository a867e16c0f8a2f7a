//! The command line: arguments in, library calls, words and exit codes out.

#![allow(
    unreachable_pub,
    reason = "nothing of a binary is reachable; pub marks what modules share"
)]

mod args;
mod commands;
mod printer;
mod progress;
mod settings;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;

use crate::args::{Arguments, Command};
use crate::printer::Printer;
use crate::settings::Session;

fn main() -> ExitCode {
    #[cfg(debug_assertions)]
    if let Ok(place) = std::env::var("SKYPREP_CRASH_AT") {
        skyprep::publish::arm_crash_point(&place);
    }
    quiet_decoder_panics();
    survive_file_size_limit();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => return printer::print_usage(&message),
    };
    let printer = Printer::new(&arguments.global);
    match Session::open(&arguments.global, printer).and_then(|s| run(&arguments.command, &s)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => printer.failure(&error),
    }
}

fn run(command: &Command, session: &Session) -> anyhow::Result<()> {
    match command {
        Command::Convert(args) => commands::convert::run(args, session),
        Command::Sanitize(args) => commands::sanitize::run(args, session),
        Command::Partition(args) => commands::partition::run(args, session),
        Command::Stage(args) => commands::stage::run(args, session),
        Command::Run(args) => commands::run::run(args, session),
    }
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

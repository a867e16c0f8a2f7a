//! Drop-in mode: called by the name of one of Qserv's C++ tools, the program takes that tool's
//! options and gives its results.

mod boost;
mod parq2csv;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::logging;

/// The C++ tools whose place the program takes.
const TOOLS: [&str; 1] = [parq2csv::NAME];

/// What the arguments ask for.
pub enum Call {
    /// One of skyprep's own commands.
    Own(Vec<OsString>),
    /// What a C++ tool was asked for, as arguments of one of skyprep's own commands.
    DropIn(Vec<OsString>),
    /// Nothing more: help was asked for, or the arguments are wrong.
    Done(ExitCode),
}

/// Finds out whether the program was called as one of the C++ tools: by a link of that name, or by
/// the name as first argument.
pub fn call(arguments: Vec<OsString>) -> Call {
    let name_of = |argument: &OsString| {
        let name = Path::new(argument).file_name()?.to_str()?;
        TOOLS.into_iter().find(|tool| *tool == name)
    };
    let by_link = arguments.first().and_then(name_of);
    let by_name = arguments
        .get(1)
        .and_then(|argument| TOOLS.into_iter().find(|tool| argument == tool));
    let own = match (by_link, by_name) {
        (Some(_), _) => arguments.get(1..),
        (None, Some(_)) => arguments.get(2..),
        (None, None) => return Call::Own(arguments),
    };
    match parq2csv::translate(own.unwrap_or_default()) {
        Ok(Some(translated)) => Call::DropIn(translated),
        Ok(None) => {
            // A closed stdout can't be told anything more.
            let _ = writeln!(std::io::stdout(), "{}", parq2csv::HELP);
            // As the C++ tool does.
            Call::Done(ExitCode::FAILURE)
        }
        Err(message) => {
            logging::line_to_stderr(&format!("error: {message}"));
            Call::Done(ExitCode::FAILURE)
        }
    }
}

/// Returns the exit code that the C++ tools have for an exit code of skyprep's.
pub fn exit_code(own: u8) -> u8 {
    match own {
        0 => 0,
        // Ended by a signal.
        129.. => own,
        _ => 1,
    }
}

//! Drop-in mode: called by the name of one of Qserv's C++ tools, the program takes that tool's
//! options and gives its results.

mod boost;
mod chunking;
mod copies;
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests lay out files to read")]
mod golden_calls;
mod layout;
mod matches;
mod parq2csv;
mod partition;
mod tool_call;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::logging;

pub use tool_call::{ToolCall, ToolWork};

/// The C++ tools whose place the program takes.
const TOOLS: [&str; 7] = [
    copies::DUPLICATE,
    copies::ESTIMATE,
    copies::HTM_INDEX,
    layout::NAME,
    matches::NAME,
    parq2csv::NAME,
    partition::NAME,
];

/// What the arguments ask for.
pub enum Call {
    /// One of skyprep's own commands.
    Own(Vec<OsString>),
    /// What a C++ tool was asked for, as arguments of one of skyprep's own commands.
    DropIn(Vec<OsString>),
    /// One of the tools that partition, with what it is to do.
    Tool(Box<ToolCall>),
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
    let (tool, own) = match (by_link, by_name) {
        (Some(tool), _) => (tool, arguments.get(1..)),
        (None, Some(tool)) => (tool, arguments.get(2..)),
        (None, None) => return Call::Own(arguments),
    };
    let own = own.unwrap_or_default();
    match tool {
        layout::NAME => {
            layout::text(own).map_or_else(|message| refuse(&message), |text| print(&text))
        }
        partition::NAME => settled(
            tool,
            partition::settings(own).map(|settings| settings.map(ToolWork::Partition)),
            partition::help,
        ),
        matches::NAME => settled(
            tool,
            matches::settings(own).map(|settings| settings.map(ToolWork::Matches)),
            matches::help,
        ),
        copies::HTM_INDEX => settled(
            tool,
            copies::htm_index(own).map(|settings| settings.map(ToolWork::HtmIndex)),
            copies::htm_index_help,
        ),
        copies::DUPLICATE => settled(
            tool,
            copies::duplicate(own).map(|settings| settings.map(Box::new).map(ToolWork::Duplicate)),
            copies::duplicate_help,
        ),
        copies::ESTIMATE => settled(
            tool,
            copies::estimate(own).map(|settings| settings.map(Box::new).map(ToolWork::Estimate)),
            copies::estimate_help,
        ),
        _ => match parq2csv::translate(own) {
            Ok(Some(translated)) => Call::DropIn(translated),
            Ok(None) => {
                print(&format!("{}\n", parq2csv::HELP));
                // As the C++ tool does.
                Call::Done(ExitCode::FAILURE)
            }
            Err(message) => refuse(&message),
        },
    }
}

/// Returns the call of a tool that is settled, or prints its help or what is wrong.
fn settled(
    name: &'static str,
    work: skyprep::error::Result<Option<ToolWork>>,
    help: fn() -> String,
) -> Call {
    match work {
        Ok(Some(work)) => Call::Tool(Box::new(ToolCall::new(name, work))),
        Ok(None) => print(&help()),
        Err(error) => refuse(&match error.hint_text() {
            Some(hint) => format!("{error}\nhint: {hint}"),
            None => error.to_string(),
        }),
    }
}

/// Prints what was asked for.
fn print(text: &str) -> Call {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Call::Done(ExitCode::SUCCESS),
        Err(error) => refuse(&format!("can't write to stdout: {error}")),
    }
}

fn refuse(message: &str) -> Call {
    logging::line_to_stderr(&format!("error: {message}"));
    Call::Done(ExitCode::FAILURE)
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

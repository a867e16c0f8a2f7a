//! `skyprep completions` and `skyprep man`: made from the same definitions as the help.

use std::path::Path;

use anyhow::{Context, Result};
use clap::{ColorChoice, Command};
use clap_mangen::Man;
use skyprep::publish::{create_folders, write_atomically};

use crate::args::{CompletionsArgs, ManArgs};
use crate::layers;
use crate::printer::Printer;

/// Prints the completions of a shell.
pub fn completions(args: &CompletionsArgs, printer: Printer) -> Result<()> {
    let mut script = Vec::new();
    let mut command = layers::command(ColorChoice::Never);
    clap_complete::generate(args.shell, &mut command, "skyprep", &mut script);
    printer.data(&script)
}

/// Prints the main manual page, or writes all pages into a folder.
pub fn manual(args: &ManArgs, printer: Printer) -> Result<()> {
    let mut all = layers::command(ColorChoice::Never);
    all.build();
    let Some(folder) = &args.folder else {
        return printer.data(&page(&all, "skyprep")?);
    };
    create_folders(folder)?;
    write_page(folder, &all, "skyprep")?;
    for command in all.get_subcommands().filter(|c| c.get_name() != "help") {
        let name = format!("skyprep-{}", command.get_name());
        write_page(folder, command, &name)?;
        for inner in command.get_subcommands().filter(|c| c.get_name() != "help") {
            write_page(folder, inner, &format!("{name}-{}", inner.get_name()))?;
        }
    }
    Ok(())
}

fn write_page(folder: &Path, command: &Command, name: &str) -> Result<()> {
    let path = folder.join(format!("{name}.1"));
    Ok(write_atomically(&path, &page(command, name)?)?)
}

fn page(command: &Command, name: &str) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    let version = env!("CARGO_PKG_VERSION");
    let man = Man::new(command.clone())
        .title(name)
        .source(format!("skyprep {version}"))
        .manual("skyprep");
    man.render(&mut page).context("manual page")?;
    Ok(page)
}

//! `skyprep manifest`

use std::path::{Path, PathBuf};

use anyhow::Result;
use skyprep::error::{Error, ErrorKind};
use skyprep::manifest::export::{
    FileList, FileListForm, Locations, MetadataOptions, common_text, metadata, write_filecache,
    write_urls,
};
use skyprep::manifest::{Base, ListedTable, Listing, ManifestDiff, Rebase, Stored};
use skyprep::place::Network;
use skyprep::publish::{Readers, create_folders};
use skyprep::report::grouped;
use skyprep::schema::definition_of;

use super::output::{Output, is_special};
use crate::listings;
use crate::manifest_args::{
    DiffArgs, ExportArgs, ExportForm, ManifestArgs, ManifestCommand, PresignArgs, RebaseArgs,
};
use crate::session::Session;

/// Does what can be done with a manifest alone.
pub fn run(args: &ManifestArgs, session: &Session) -> Result<()> {
    match &args.command {
        ManifestCommand::Export(args) => export(args, session),
        ManifestCommand::Rebase(args) => rebase(args, session),
        ManifestCommand::Diff(args) => diff(args, session),
        ManifestCommand::Presign(args) => presign(args, session),
    }
}

fn rebase(args: &RebaseArgs, session: &Session) -> Result<()> {
    let from = args.from.as_deref().map(Base::parse).transpose()?;
    let rebase = Rebase {
        from,
        to: Base::parse(&args.to)?,
        stored: match args.moved {
            true => Stored::Moved,
            false => Stored::Unmoved,
        },
    };
    let output = Output::of(&args.output, args.force)?;
    let mut listing = listings::read_with(&args.manifest, &args.network, session)?;
    let readers = listings::readers_of(&listing);
    if listing.header().urls_expire.is_some() {
        let message = "the signatures of the URLs are dropped: they hold for one server only";
        session.printer.note(message);
    }
    rebase.apply(&mut listing)?;
    output.write(session, readers, |out| listing.write_to(out))
}

fn presign(args: &PresignArgs, session: &Session) -> Result<()> {
    let network = Network::new(args.network.options(session, &[&args.manifest])?)?;
    let output = Output::of(&args.output, args.force)?;
    let mut listing = listings::read(&args.manifest, &network)?;
    let end = skyprep::stage::presign(&mut listing, &network, args.valid)?;
    let readers = listings::readers_of(&listing);
    output.write(session, readers, |out| listing.write_to(out))?;
    if let Some(end) = end {
        session
            .printer
            .note(&format!("the first signed URL ends at {end}"));
    }
    Ok(())
}

fn diff(args: &DiffArgs, session: &Session) -> Result<()> {
    if args.old == "-" && args.new == "-" {
        return Err(Error::usage("only one of the manifests can come from stdin").into());
    }
    let read = |name: &str| listings::read_with(name, &args.network, session);
    let diff = ManifestDiff::between(&read(&args.old)?, &read(&args.new)?);
    match args.json {
        true => session
            .printer
            .data(format!("{:#}\n", diff.as_json()).as_bytes())?,
        false => session.printer.result(&diff.in_words())?,
    }
    match diff.is_empty() {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::DataRefused, "the manifests differ").into()),
    }
}

fn export(args: &ExportArgs, session: &Session) -> Result<()> {
    check_options(args)?;
    let mut listing = listings::read_with(&args.manifest, &args.network, session)?;
    listings::warn_of_ended(&listing, &args.manifest, session);
    let tables = chosen(&mut listing, &args.table)?;
    match args.to {
        ExportForm::Urls => export_urls(args, &listing, &tables, session),
        ExportForm::Filecache => {
            let output = Output::of(&args.output, args.force)?;
            let write = write_filecache(&listing)?;
            warn_of_text(&listing, session)?;
            output.write(session, listings::readers_of(&listing), write)
        }
        ExportForm::FileList => export_file_lists(args, &listing, &tables, session),
        ExportForm::Metadata => export_metadata(args, &listing, session),
    }
}

/// Refuses options that another format has.
fn check_options(args: &ExportArgs) -> Result<()> {
    let given = [
        (
            "--locations",
            ExportForm::FileList,
            !args.locations.is_empty(),
        ),
        ("--tables", ExportForm::Metadata, args.tables.is_some()),
        ("--server", ExportForm::Metadata, args.server.is_some()),
    ];
    let odd = given
        .iter()
        .find(|(_, form, is_given)| *is_given && *form != args.to);
    match odd {
        None => Ok(()),
        Some((option, form, _)) => {
            let form = match form {
                ExportForm::FileList => "file-list",
                _ => "metadata",
            };
            Err(Error::usage(format!("{option} is for --to {form} only")).into())
        }
    }
}

/// Keeps the tables that were asked for; returns all that are left.
fn chosen(listing: &mut Listing, names: &[String]) -> Result<Vec<ListedTable>> {
    let all = listing.tables();
    if let Some(name) = names
        .iter()
        .find(|name| all.iter().all(|table| table.name != **name))
    {
        let known: Vec<&str> = all.iter().map(|table| table.name.as_str()).collect();
        return Err(Error::usage(format!("the manifest has no table {name}"))
            .hint(format!("it has {}", known.join(", ")))
            .into());
    }
    if names.is_empty() {
        return Ok(all);
    }
    *listing = listing.only(|line| names.contains(&line.table));
    Ok(listing.tables())
}

fn export_urls(
    args: &ExportArgs,
    listing: &Listing,
    tables: &[ListedTable],
    session: &Session,
) -> Result<()> {
    let is_file = Path::new(&args.output)
        .extension()
        .is_some_and(|end| end == "urls");
    let targets = targets(args, tables, is_file, "urls")?;
    let mut writes = Vec::new();
    for (table, output) in &targets.files {
        let own = listing.only(|line| line.table == *table);
        warn_of_text(&own, session)?;
        writes.push((write_urls(listing, table)?, output));
    }
    targets.make_folder()?;
    for (write, output) in writes {
        output.write(session, listings::readers_of(listing), write)?;
    }
    Ok(())
}

fn export_file_lists(
    args: &ExportArgs,
    listing: &Listing,
    tables: &[ListedTable],
    session: &Session,
) -> Result<()> {
    let mut locations = Locations::default();
    for path in &args.locations {
        let text = std::fs::read(path).map_err(|error| Error::reading(path, error))?;
        locations.add(&text, &path.display().to_string())?;
    }
    let form = match (args.locations.is_empty(), args.transaction) {
        (true, _) => FileListForm::Paths,
        (false, None) => FileListForm::Trans,
        (false, Some(transaction)) => FileListForm::Full(transaction),
    };
    let readers = listings::readers_of(listing);
    let is_file = args.output == "-"
        || Path::new(&args.output)
            .extension()
            .is_some_and(|end| end == "json");
    if is_file {
        let output = Output::of(&args.output, args.force)?;
        let list = FileList::new(listing, &locations, form)?;
        tell_of_list(&list, form, &args.output, session);
        return output.write(session, readers, |out| list.write_to(out));
    }
    let targets = targets(args, tables, false, "json")?;
    let own = |table: &String| listing.only(|line| line.table == *table);
    let listings: Vec<Listing> = targets.files.iter().map(|(table, _)| own(table)).collect();
    let lists = listings.iter();
    let lists: skyprep::error::Result<Vec<FileList<'_>>> = lists
        .map(|listing| FileList::new(listing, &locations, form))
        .collect();
    let lists = lists?;
    targets.make_folder()?;
    for (list, (_, output)) in lists.iter().zip(&targets.files) {
        tell_of_list(list, form, &output.shown(), session);
        output.write(session, readers, |out| list.write_to(out))?;
    }
    Ok(())
}

/// Tells with which options a list is loaded, and what it lacks.
fn tell_of_list(list: &FileList<'_>, form: FileListForm, output: &str, session: &Session) {
    if form == FileListForm::Paths {
        session.printer.warn(
            "without --locations the list tells no workers; qserv-replica-file takes it once each \
             entry has worker-host and worker-port",
        );
    }
    let options = list.options();
    if !options.is_empty() {
        let message = format!("{output}: load it with qserv-replica-file's options {options}");
        session.printer.note(&message);
    }
}

fn export_metadata(args: &ExportArgs, listing: &Listing, session: &Session) -> Result<()> {
    if args.output == "-" {
        return Err(
            Error::usage("metadata are several files, which stdout can't hold")
                .hint("name a folder with -o")
                .into(),
        );
    }
    let Some(tables) = &args.tables else {
        return Err(Error::usage("metadata need the definitions of the tables")
            .hint("name their folder, or a Felis file, with --tables")
            .into());
    };
    let server = args.server.as_deref().map(Base::parse).transpose()?;
    let schema_of = |table: &str| Ok(definition_of(tables, table)?.schema);
    let options = MetadataOptions {
        server: server.as_ref(),
        schema_of: &schema_of,
    };
    let files = metadata(listing, &options)?;
    let folder = Path::new(&args.output);
    let mut outputs = Vec::new();
    for file in &files {
        outputs.push(Output::file(folder.join(&file.name), args.force)?);
    }
    create_folders(folder)?;
    for (file, output) in files.iter().zip(&outputs) {
        output.write(session, Readers::Usual, |out| {
            out.write_all(file.text.as_bytes())
        })?;
    }
    let tables = grouped(files.len() as u64 - 2);
    let shown = folder.display();
    session
        .printer
        .note(&format!("{shown}: metadata of {tables} tables"));
    Ok(())
}

/// Where tables go.
struct Targets {
    /// The folder of the files, if there is one for each table.
    folder: Option<PathBuf>,
    files: Vec<(String, Output)>,
}

impl Targets {
    /// Makes the folder; to be called when nothing is refused any more.
    fn make_folder(&self) -> Result<()> {
        match &self.folder {
            Some(folder) => Ok(create_folders(folder)?),
            None => Ok(()),
        }
    }
}

/// Returns where each table goes: into one file, or into a folder with a file for each.
fn targets(
    args: &ExportArgs,
    tables: &[ListedTable],
    is_file: bool,
    ending: &str,
) -> Result<Targets> {
    if args.output == "-" || is_file || is_special(Path::new(&args.output)) {
        let [table] = tables else {
            return Err(Error::usage(format!(
                "there are {} tables, and each has a list of its own",
                tables.len()
            ))
            .hint("choose one with --table, or name a folder with -o")
            .into());
        };
        let output = Output::of(&args.output, args.force)?;
        return Ok(Targets {
            folder: None,
            files: vec![(table.name.clone(), output)],
        });
    }
    let folder = Path::new(&args.output);
    let mut files = Vec::new();
    for table in tables {
        let file = folder.join(format!("{}.{ending}", table.name));
        files.push((table.name.clone(), Output::file(file, args.force)?));
    }
    Ok(Targets {
        folder: Some(folder.to_owned()),
        files,
    })
}

/// Warns of what lists of URLs can't tell, and tells with which options they are loaded.
fn warn_of_text(listing: &Listing, session: &Session) -> Result<()> {
    let Some((dialect, charset)) = common_text(listing.contributions(), "a list of URLs")? else {
        return Ok(());
    };
    let tables: Vec<String> = listing
        .tables()
        .into_iter()
        .map(|table| table.name)
        .collect();
    let tables = tables.join(", ");
    let spelled = dialect.spelled();
    if (
        spelled.fields_terminated_by.as_str(),
        spelled.fields_enclosed_by.as_str(),
    ) != (r"\t", r"\0")
    {
        session.printer.note(&format!(
            "{tables}: say fields_terminated_by {} and fields_enclosed_by {} when it is loaded",
            spelled.fields_terminated_by, spelled.fields_enclosed_by
        ));
    }
    if charset != "latin1" {
        session.printer.warn(&format!(
            "{tables}: the list does not tell that the text is {charset}, and Qserv would take it \
             for latin1; say charset_name {charset} when it is loaded"
        ));
    }
    Ok(())
}

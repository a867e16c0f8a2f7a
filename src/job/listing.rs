//! The inputs of a pipeline as a job sees them: listed with size and time, not opened.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::convert::RowTarget;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::pipeline::{BadInputs, PassInput, PassJob, PipelineFile, PlannedPass, input_columns};
use crate::publish::InputStamp;
use crate::source::{InputList, InputName, check_once, look_at_file};

/// Inputs that are opened at most to learn the columns of a table.
const TRIED: usize = 64;

/// Returns the stamps of a product's inputs in their order; those that are missing are marked where
/// they may be.
///
/// # Errors
/// An input is missing, or can't be read by several processes.
pub(super) fn list_product(
    file: &PipelineFile,
    product: &str,
    bad: BadInputs,
) -> Result<Vec<InputStamp>> {
    let at_product = |error: Error| error.at(Place::file(format!("product {product}")));
    let names = file
        .input_list(product, bad)
        .map_err(at_product)?
        .into_names();
    if names.is_empty() {
        return Err(at_product(Error::usage("no input files")));
    }
    stamps_of(names, bad)
}

/// Returns the stamps of files and of what lies in folders.
///
/// # Errors
/// As [`list_product`].
pub(super) fn list_files(files: &[String], base: &Path) -> Result<Vec<InputStamp>> {
    let mut list = InputList::default();
    for file in files {
        let path = match file.contains("://") {
            true => file.clone(),
            false => base.join(file).display().to_string(),
        };
        list.add(&path)?;
    }
    stamps_of(list.into_names(), BadInputs::End)
}

fn stamps_of(names: Vec<InputName>, bad: BadInputs) -> Result<Vec<InputStamp>> {
    let stamp = |name: InputName| {
        let InputName::File(path) = name else {
            return Err(Error::usage("stdin can't be read by the tasks of a job"));
        };
        match InputStamp::of(&path) {
            Ok(stamp) => Ok(stamp),
            Err(_) if bad == BadInputs::PassOver => Ok(InputStamp::absent(&path)),
            Err(error) => Err(error),
        }
    };
    let stamps: Vec<InputStamp> = names.into_par_iter().map(stamp).collect::<Result<_>>()?;
    check_once(stamps.iter())?;
    Ok(stamps)
}

/// Returns the columns of the first readable input of each table of a pass.
///
/// # Errors
/// No input of a table can be read.
pub(super) fn known_columns(
    pass: &PlannedPass,
    inputs: &[Vec<InputStamp>],
    bad: BadInputs,
) -> Result<Vec<Vec<String>>> {
    let mut candidates = Vec::new();
    for ((_, feeds, text), stamps) in pass.products.iter().zip(inputs) {
        let mut tried = 0;
        for stamp in stamps.iter().filter(|stamp| !stamp.is_absent()) {
            match look_at_file(Path::new(&stamp.path)) {
                Ok(input) => candidates.push(PassInput::whole(input, text, feeds.clone())),
                Err(error) if bad == BadInputs::End => return Err(error),
                Err(_) => {}
            }
            tried += 1;
            if tried == TRIED {
                break;
            }
        }
    }
    let targets: Vec<&RowTarget> = pass.job.tables.iter().map(|job| &job.target).collect();
    loop {
        let error = match input_columns(&candidates, &targets) {
            Ok(known) => return Ok(known),
            Err(error) => error,
        };
        let file = error.place().file.clone();
        let before = candidates.len();
        if bad == BadInputs::PassOver {
            candidates.retain(|fed| Some(fed.input.name.shown()) != file);
        }
        if candidates.len() == before {
            return Err(error);
        }
    }
}

/// Makes a listed input one that feeds a pass.
///
/// # Errors
/// The file is missing or unreadable, or no longer what was listed.
pub(super) fn fed(pass: &PlannedPass, product: usize, stamp: &InputStamp) -> Result<PassInput> {
    let path = PathBuf::from(&stamp.path);
    let input = look_at_file(&path)?;
    if input.stamp.as_ref() != Some(stamp) {
        return Err(Error::new(
            ErrorKind::Integrity,
            "the input changed while it was looked at",
        )
        .at(Place::file(stamp.path.as_str()))
        .hint("run the command again once the file is complete"));
    }
    let (_, feeds, text) = pass
        .products
        .get(product)
        .ok_or_else(|| Error::new(ErrorKind::Internal, "an input belongs to no product"))?;
    Ok(PassInput::whole(input, text, feeds.clone()))
}

/// Returns the names of a pass's tables.
pub(super) fn table_names(job: &PassJob) -> Vec<String> {
    let tables = job.tables.iter();
    tables.map(|table| table.target.name.clone()).collect()
}

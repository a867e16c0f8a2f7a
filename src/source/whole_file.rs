//! Whole files, read once from beginning to end: for those who digest them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::file_bytes::FileBytes;
use super::inputs::InputName;
use crate::error::{Error, Result};

const BLOCK_BYTES: usize = 1 << 20;

/// Gives all bytes of a file to `each`, block by block; an error of `each` ends it.
///
/// # Errors
/// The file can't be read, or what `each` says.
pub(crate) fn each_block(path: &Path, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let file = File::open(path).map_err(|error| Error::reading(path, error))?;
    each_of(file, path, each)
}

/// Gives all bytes of an input that is no stream to `each`, as [`each_block`] does.
///
/// # Errors
/// The file can't be read, or what `each` says.
pub(crate) fn each_block_of(name: &InputName, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let shown = PathBuf::from(name.shown());
    let file = FileBytes::open(name).map_err(|error| Error::reading(&shown, error))?;
    each_of(file.reader_once(0), &shown, each)
}

fn each_of(
    mut file: impl Read,
    path: &Path,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let reading = |error| Error::reading(path, error);
    let mut buffer = vec![0; BLOCK_BYTES];
    loop {
        match file.read(&mut buffer).map_err(reading)? {
            0 => return Ok(()),
            read => each(buffer.get(..read).unwrap_or_default())?,
        }
    }
}

//! Whole files, read once from beginning to end: for those who digest them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

const BLOCK_BYTES: usize = 1 << 20;

/// Gives all bytes of a file to `each`, block by block; an error of `each` ends it.
///
/// # Errors
/// The file can't be read, or what `each` says.
pub(crate) fn each_block(path: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let reading = |error| Error::reading(path, error);
    let mut file = File::open(path).map_err(reading)?;
    let mut buffer = vec![0; BLOCK_BYTES];
    loop {
        match file.read(&mut buffer).map_err(reading)? {
            0 => return Ok(()),
            read => each(buffer.get(..read).unwrap_or_default())?,
        }
    }
}

//! Digests of inputs, for books that must not trust times.

use std::fs::File;
use std::io::Read;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::resources::Cancel;
use crate::source::{Input, InputName};

const READ_BYTES: usize = 1 << 20;

/// Reads every input that is a file and adds its SHA-256 to its stamp; pipes have none.
///
/// # Errors
/// An input can't be read, or somebody asks for an early end.
pub fn add_digests<'i>(
    inputs: impl IntoIterator<Item = &'i mut Input>,
    cancel: &Cancel,
) -> Result<()> {
    let inputs: Vec<&mut Input> = inputs.into_iter().collect();
    inputs.into_par_iter().try_for_each(|input| {
        if input.unreadable.is_some() {
            return Ok(());
        }
        if let (InputName::File(path), Some(stamp)) = (&input.name, &mut input.stamp) {
            let failed = |error| Error::reading(path, error);
            let mut file = File::open(path).map_err(failed)?;
            let mut digest = Sha256::new();
            let mut buffer = vec![0; READ_BYTES];
            loop {
                cancel.check()?;
                match file.read(&mut buffer).map_err(failed)? {
                    0 => break,
                    count => digest.update(buffer.get(..count).unwrap_or_default()),
                }
            }
            stamp.sha256 = Some(hex(&digest.finalize()));
        }
        Ok(())
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

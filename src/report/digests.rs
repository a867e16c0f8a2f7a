//! Digests of inputs, for books that must not trust times.

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::error::Result;
use crate::resources::Cancel;
use crate::source::{Input, each_block_of};

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
        if let Some(stamp) = &mut input.stamp {
            let mut digest = Sha256::new();
            each_block_of(&input.name, |bytes| {
                cancel.check()?;
                digest.update(bytes);
                Ok(())
            })?;
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

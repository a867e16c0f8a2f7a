//! Records spread over parts, each part on disk in stretches that can be read back.
//!
//! A stretch begins with where the one before it of its part is, so nothing is kept in memory for
//! stretches, and a part is read from its end. The order of records within a part does not matter here.

use std::path::Path;

use super::spill::Spill;
use crate::error::Result;
use crate::resources::Cancel;

/// Bytes before a stretch: where the one before begins, and how long this one is.
const LINK: usize = 12;
const NONE: u64 = u64::MAX;
/// Bytes of the least stretch: shorter ones cost more in calls than they hold.
pub(super) const LEAST_STRETCH: u64 = 4 << 10;
const MOST_STRETCH: u64 = 1 << 20;

pub(super) struct Spread {
    spill: Spill,
    buffers: Vec<Vec<u8>>,
    /// The last stretch of each part.
    last: Vec<u64>,
    stretch: usize,
}

impl Spread {
    /// Makes `parts` parts, whose buffers take `memory` bytes together.
    pub(super) fn new(path: &Path, parts: usize, memory: u64) -> Result<Self> {
        // Few parts do not take all of it, for a stretch is also what is read at once.
        let stretch = (memory / parts.max(4) as u64).clamp(LEAST_STRETCH, MOST_STRETCH);
        Ok(Self {
            spill: Spill::create(path)?,
            buffers: vec![Vec::new(); parts],
            last: vec![NONE; parts],
            stretch: usize::try_from(stretch).unwrap_or(LINK),
        })
    }

    /// Adds a record, given in pieces, to a part; parts that are not there take nothing.
    pub(super) fn push(&mut self, part: usize, record: &[&[u8]]) -> Result<()> {
        let bytes: usize = record.iter().map(|piece| piece.len()).sum();
        let Some(buffer) = self.buffers.get_mut(part) else {
            return Ok(());
        };
        if buffer.len() + bytes > self.stretch && buffer.len() > LINK {
            write(&mut self.spill, buffer, self.last.get_mut(part))?;
        }
        if buffer.is_empty() {
            buffer.reserve_exact(self.stretch.max(LINK + bytes));
            buffer.extend_from_slice(&[0; LINK]);
        }
        for piece in record {
            buffer.extend_from_slice(piece);
        }
        Ok(())
    }

    /// Writes what is in the buffers and gives them back.
    pub(super) fn flush(&mut self) -> Result<()> {
        for (buffer, last) in self.buffers.iter_mut().zip(&mut self.last) {
            if !buffer.is_empty() {
                write(&mut self.spill, buffer, Some(last))?;
            }
            *buffer = Vec::new();
        }
        Ok(())
    }

    /// Hands out the stretches of a part, the last one first, each with whole records.
    pub(super) fn read(
        &self,
        part: usize,
        cancel: &Cancel,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut at = self.last.get(part).copied().unwrap_or(NONE);
        let mut buffer = Vec::new();
        while at != NONE {
            cancel.check()?;
            let mut link = [0; LINK];
            self.spill.read_at(&mut link, at)?;
            let [a, b, c, d, e, f, g, h, length @ ..] = link;
            let length = u32::from_le_bytes(length) as usize;
            buffer.resize(length, 0);
            self.spill.read_at(&mut buffer, at + LINK as u64)?;
            take(&buffer)?;
            at = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        }
        Ok(())
    }
}

fn write(spill: &mut Spill, buffer: &mut Vec<u8>, last: Option<&mut u64>) -> Result<()> {
    let Some(last) = last else { return Ok(()) };
    let length = u32::try_from(buffer.len() - LINK).unwrap_or(u32::MAX);
    if let Some(link) = buffer.first_chunk_mut::<LINK>() {
        link[..8].copy_from_slice(&last.to_le_bytes());
        link[8..].copy_from_slice(&length.to_le_bytes());
    }
    *last = spill.len();
    spill.append(buffer)?;
    buffer.truncate(LINK);
    Ok(())
}

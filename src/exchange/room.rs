//! Whether a piece can be worked on within a memory limit at all.

use super::packet::PacketShape;
use crate::error::{Error, Result};
use crate::resources::MemoryGate;

/// Returns what all but the oldest piece must leave free: enough for the oldest to go on.
pub(super) fn headroom(gate: &MemoryGate, shapes: &[PacketShape]) -> u64 {
    let one_each = shapes.iter().map(PacketShape::bytes).sum();
    (gate.room() / 16).max(one_each)
}

/// Checks that a piece can have so many bytes if it is alone, with packets of these shapes.
///
/// # Errors
/// It can't; the figure that would do is named.
pub fn check_room(gate: &MemoryGate, shapes: &[PacketShape], bytes: u64) -> Result<()> {
    if bytes.saturating_add(headroom(gate, shapes)) <= gate.room() {
        return Ok(());
    }
    let one_each: u64 = shapes.iter().map(PacketShape::bytes).sum();
    // A sixteenth is headroom. What the program itself takes differs by some MiB from run to run,
    // with the pages of its file that the system has at hand.
    let base = gate.base();
    let needed = base.saturating_add(bytes) / 15 * 16 + one_each + base.min(4 << 20);
    let needed = needed.div_ceil(1 << 20);
    Err(Error::usage(format!(
        "the memory limit of {} MiB is too small: this input needs {needed} MiB",
        gate.limit() >> 20,
    ))
    .hint(format!("say --memory-limit {needed}MiB or more")))
}

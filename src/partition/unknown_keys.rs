//! Keys of matches that no index has and that count as NULL: they are summed up, not passed over in
//! silence.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::key_index::Key;

/// So many keys are told by name.
const SHOWN: usize = 5;

/// What was not found on the two sides of matches.
#[derive(Debug, Default)]
pub struct UnknownKeys {
    sides: [Mutex<Side>; 2],
}

#[derive(Debug, Default)]
struct Side {
    rows: u64,
    /// The first few in the order of their text, which is the same whatever the threads.
    least: BTreeSet<String>,
}

/// What was not found on one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownOnSide {
    /// Rows whose key was not found.
    pub rows: u64,
    /// A few of the keys, as messages show them.
    pub keys: Vec<String>,
}

impl UnknownKeys {
    /// Notes a row whose key on side number `side` was not found.
    #[cold]
    pub(super) fn note(&self, side: usize, key: &Key<'_>) {
        let Some(side) = self.sides.get(side) else {
            return;
        };
        let shown = key.to_string();
        let mut side = side.lock().unwrap_or_else(PoisonError::into_inner);
        side.rows += 1;
        let is_among_least = side.least.last().is_none_or(|last| shown < *last);
        if is_among_least || side.least.len() < SHOWN {
            side.least.insert(shown);
        }
        if side.least.len() > SHOWN {
            side.least.pop_last();
        }
    }

    /// Returns what was not found on side number `side`; nothing if all was.
    pub fn on_side(&self, side: usize) -> Option<UnknownOnSide> {
        let side = self.sides.get(side)?;
        let side = side.lock().unwrap_or_else(PoisonError::into_inner);
        (side.rows > 0).then(|| UnknownOnSide {
            rows: side.rows,
            keys: side.least.iter().cloned().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_keys_are_told_and_all_rows_counted() {
        let unknown = UnknownKeys::default();
        for number in [7, 3, 9, 1, 5, 3, 8, 2] {
            unknown.note(1, &Key::Text(number.to_string().as_bytes()));
        }
        assert_eq!(unknown.on_side(0), None);
        let found = unknown.on_side(1).unwrap();
        assert_eq!(found.rows, 8);
        assert_eq!(found.keys.len(), SHOWN);
        assert!(
            found.keys[0].contains('1') && found.keys[4].contains('7'),
            "{found:?}"
        );
    }
}

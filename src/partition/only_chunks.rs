//! Some chunks of all: only their files are to be made.

use super::geometry::{ChunkId, Chunker};
use crate::error::{Error, Result};

/// The chunks whose files are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlyChunks {
    /// Their numbers, in order, each once.
    numbers: Vec<i32>,
    /// For each dense index whether the chunk is one of them.
    is_wanted: Vec<bool>,
}

impl OnlyChunks {
    /// Wants the chunks `numbers`, in any order.
    ///
    /// # Errors
    /// The sky has no chunk of that number.
    pub fn new(chunker: &Chunker, mut numbers: Vec<i32>) -> Result<Self> {
        numbers.sort_unstable();
        numbers.dedup();
        let mut is_wanted = vec![false; chunker.chunks().count()];
        for number in &numbers {
            let dense = chunker.dense_index(ChunkId(*number));
            let place = dense.and_then(|dense| is_wanted.get_mut(dense as usize));
            match place {
                Some(place) => *place = true,
                None => {
                    let message = format!("the sky so divided has no chunk {number}");
                    return Err(Error::usage(message).hint(
                        "`skyprep locate` tells the chunk of a place; stripes and sub-stripes must be \
                         those of the database",
                    ));
                }
            }
        }
        Ok(Self { numbers, is_wanted })
    }

    /// Returns the numbers of the chunks, in order.
    pub fn numbers(&self) -> &[i32] {
        &self.numbers
    }

    /// Says whether a chunk, by its dense index, is one of them.
    #[inline]
    pub fn has(&self, dense: u32) -> bool {
        self.is_wanted.get(dense as usize).copied() == Some(true)
    }

    /// Says whether a chunk, by its number, is one of them.
    pub fn has_number(&self, number: i32) -> bool {
        self.numbers.binary_search(&number).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Partitioning;

    #[test]
    fn chunks_are_found_by_both_numbers() {
        let sky = Partitioning {
            stripes: 18,
            sub_stripes: 10,
            overlap: 0.01,
        };
        let chunker = sky.chunker().unwrap();
        let all: Vec<i32> = chunker.chunks().map(|chunk| chunk.0).collect();
        let only = OnlyChunks::new(&chunker, vec![all[7], all[2], all[7]]).unwrap();
        assert_eq!(only.numbers(), [all[2], all[7]]);
        let found: Vec<u32> = (0..all.len() as u32).filter(|at| only.has(*at)).collect();
        assert_eq!(found, [2, 7]);
        assert!(only.has_number(all[7]) && !only.has_number(all[3]));
        assert!(!only.has(u32::MAX));
    }

    #[test]
    fn a_chunk_that_is_not_there_is_named() {
        let sky = Partitioning {
            stripes: 18,
            sub_stripes: 10,
            overlap: 0.01,
        };
        let error = OnlyChunks::new(&sky.chunker().unwrap(), vec![-1]).unwrap_err();
        assert!(error.to_string().contains("no chunk -1"), "{error}");
    }
}

//! What is filled into the rows of a chunk file, and how many rows each of its sub-chunks has.
//!
//! Rows of a chunk come in any order of sub-chunks, so what was made for one row of a sub-chunk is
//! kept for the next: a file has many rows and few sub-chunks.

use std::collections::HashMap;

/// Numbers that are looked up at once; those above, in skies of very many sub-chunks, by a map.
const DIRECT: usize = 64 << 10;

/// Sub-chunk and rows, sorted by sub-chunk.
pub(super) type RowsPerSubChunk = Vec<(i32, u32)>;

/// Sub-chunks of the file at hand that rows have been met of.
#[derive(Default)]
pub(super) struct SubChunkFillings {
    /// Place in `met` and one, by number; zero for those not yet met.
    direct: Vec<u32>,
    others: HashMap<u64, u32>,
    met: Vec<Met>,
    /// What is filled in, of all slots of all that are met, one after another.
    text: Vec<u8>,
    /// Where the text of each slot ends.
    ends: Vec<usize>,
}

/// A sub-chunk and one way of filling its rows.
struct Met {
    sub_chunk: i32,
    sides: i32,
    rows: u32,
    /// Where its text begins, and its first end.
    start: usize,
    first_end: usize,
}

/// What is filled into the slots of one row; by default there are none.
#[derive(Clone, Copy, Default)]
pub(super) struct Filling<'f> {
    text: &'f [u8],
    start: usize,
    ends: &'f [usize],
}

impl<'f> Filling<'f> {
    /// Takes a text, of which the slots' parts end at `ends`.
    #[cfg(test)]
    pub(super) fn new(text: &'f [u8], ends: &'f [usize]) -> Self {
        let start = 0;
        Self { text, start, ends }
    }

    /// Returns the text of each slot, in order.
    #[inline]
    pub(super) fn slots(self) -> impl Iterator<Item = &'f [u8]> {
        let mut start = self.start;
        self.ends.iter().map(move |end| {
            let text = &self.text[start..*end];
            start = *end;
            text
        })
    }
}

impl SubChunkFillings {
    /// Forgets all sub-chunks: another file comes.
    pub(super) fn restart(&mut self) {
        for met in &self.met {
            if let Some(place) = self
                .direct
                .get_mut(number(met.sub_chunk, met.sides) as usize)
            {
                *place = 0;
            }
        }
        self.others.clear();
        self.met.clear();
        self.text.clear();
        self.ends.clear();
    }

    /// Counts a row and returns what is filled into it; of the first of its kind `fill` appends the
    /// text of all slots and says where each ends.
    #[inline]
    pub(super) fn of_row(
        &mut self,
        (sub_chunk, sides): (i32, i32),
        fill: impl FnOnce(&mut Vec<u8>, &mut Vec<usize>),
    ) -> Filling<'_> {
        let number = number(sub_chunk, sides);
        let known = match self.direct.get(number as usize) {
            Some(0) => None,
            Some(place) => Some(*place as usize - 1),
            None => self.others.get(&number).map(|place| *place as usize),
        };
        let place = match known {
            Some(place) => place,
            None => {
                let (start, first_end) = (self.text.len(), self.ends.len());
                fill(&mut self.text, &mut self.ends);
                self.add(Met {
                    sub_chunk,
                    sides,
                    rows: 0,
                    start,
                    first_end,
                })
            }
        };
        let next = self.met.get(place + 1).map(|next| next.first_end);
        let met = &mut self.met[place];
        met.rows += 1;
        Filling {
            text: &self.text,
            start: met.start,
            ends: &self.ends[met.first_end..next.unwrap_or(self.ends.len())],
        }
    }

    /// Notes a sub-chunk and returns its place.
    fn add(&mut self, met: Met) -> usize {
        let number = number(met.sub_chunk, met.sides);
        let place = self.met.len();
        self.met.push(met);
        match usize::try_from(number) {
            Ok(direct) if direct < DIRECT => {
                if self.direct.len() <= direct {
                    self.direct.resize((direct + 1).next_power_of_two(), 0);
                }
                self.direct[direct] = place as u32 + 1;
            }
            _ => {
                self.others.insert(number, place as u32);
            }
        }
        place
    }

    /// Writes the rows of each sub-chunk to `counts`.
    pub(super) fn count(&self, counts: &mut RowsPerSubChunk) {
        counts.clear();
        counts.extend(self.met.iter().map(|met| (met.sub_chunk, met.rows)));
        counts.sort_unstable_by_key(|count| count.0);
        counts.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            earlier.1 += if is_same { later.1 } else { 0 };
            is_same
        });
    }
}

/// Numbers sub-chunks and the sides of matches, which two bits tell.
#[inline]
fn number(sub_chunk: i32, sides: i32) -> u64 {
    u64::from(sub_chunk.cast_unsigned()) << 2 | u64::from(sides.cast_unsigned() & 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sub_chunk_is_filled_once_and_counted() {
        let mut fillings = SubChunkFillings::default();
        let far = i32::MAX;
        let rows = [(3, 0), (0, 0), (3, 0), (3, 2), (far, 1), (0, 0), (far, 1)];
        for _ in 0..2 {
            fillings.restart();
            let mut made = Vec::new();
            for (sub_chunk, sides) in rows {
                let filling = fillings.of_row((sub_chunk, sides), |text, ends| {
                    made.push((sub_chunk, sides));
                    for part in [format!("<{sub_chunk}>"), String::new(), format!("{sides}")] {
                        text.extend_from_slice(part.as_bytes());
                        ends.push(text.len());
                    }
                });
                let slots: Vec<_> = filling.slots().map(String::from_utf8_lossy).collect();
                assert_eq!(
                    slots,
                    [format!("<{sub_chunk}>"), String::new(), format!("{sides}")]
                );
            }
            assert_eq!(made, [(3, 0), (0, 0), (3, 2), (far, 1)]);
            let mut counts = vec![(7, 7)];
            fillings.count(&mut counts);
            assert_eq!(counts, [(0, 2), (3, 3), (far, 2)]);
        }
    }

    #[test]
    fn rows_may_have_no_slots() {
        let mut fillings = SubChunkFillings::default();
        for sub_chunk in [1, 2, 1] {
            let filling = fillings.of_row((sub_chunk, 0), |_, _| {});
            assert_eq!(filling.slots().count(), 0);
        }
        let mut counts = Vec::new();
        fillings.count(&mut counts);
        assert_eq!(counts, [(1, 2), (2, 1)]);
    }
}

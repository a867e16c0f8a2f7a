//! Groups the rows of a run by the file that they go to.

use super::packet::{NOWHERE, Packet};
use crate::error::{Error, ErrorKind, Result};

/// A row of a packet, or a further place of one.
#[derive(Clone, Copy, Default)]
pub(super) struct Entry {
    pub(super) packet: u32,
    index: u32,
}

/// What an entry stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Row so-and-so of the packet, at its own place.
    Row(usize),
    /// The row of further place so-and-so of the packet.
    Further(usize),
}

impl Source {
    /// Returns the number of the row in its packet.
    #[inline]
    pub(super) fn row(self, packet: &Packet) -> usize {
        match self {
            Self::Row(row) => row,
            Self::Further(index) => packet.further()[index].row as usize,
        }
    }
}

impl Entry {
    /// Set in the index of a further place.
    const FURTHER: u32 = 1 << 31;

    fn new(packet: usize, source: Source) -> Self {
        let index = match source {
            Source::Row(row) => row as u32,
            Source::Further(index) => index as u32 | Self::FURTHER,
        };
        Self {
            packet: packet as u32,
            index,
        }
    }

    /// Returns what it stands for.
    #[inline]
    pub(super) fn source(self) -> Source {
        match self.index & Self::FURTHER {
            0 => Source::Row(self.index as usize),
            _ => Source::Further((self.index ^ Self::FURTHER) as usize),
        }
    }
}

/// The rows of a run sorted by file, in input order within each.
///
/// Files are numbered two per dense chunk index: own rows, then overlap rows. The second row of a
/// match is one of the chunk's own.
pub(super) struct Groups {
    entries: Vec<Entry>,
    bounds: Vec<u32>,
}

impl Groups {
    /// Sorts the rows of `packets` into `files` files with one counting sort.
    ///
    /// # Errors
    /// The run has more than 2^32 rows.
    pub(super) fn of(packets: &[Packet], files: usize) -> Result<Self> {
        let mut bounds = vec![0u32; files + 1];
        let most: usize = packets
            .iter()
            .map(|p| p.chunks().len() + p.further().len())
            .sum();
        if u32::try_from(most).is_err() {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("a run of {most} rows is too long"),
            ));
        }
        for packet in packets {
            let further = further_file(packet);
            for chunk in packet.own_chunks() {
                bounds[chunk as usize * 2 + 1] += 1;
            }
            for place in packet.further() {
                bounds[place.chunk as usize * 2 + further + 1] += 1;
            }
        }
        for file in 0..files {
            bounds[file + 1] += bounds[file];
        }
        // Each bound moves up to the next while its file is filled; shifted back at the end.
        let total = bounds.last().copied().unwrap_or(0);
        let mut entries = vec![Entry::default(); total as usize];
        let mut put = |file: usize, entry: Entry| {
            entries[bounds[file] as usize] = entry;
            bounds[file] += 1;
        };
        for (number, packet) in packets.iter().enumerate() {
            let further_file = further_file(packet);
            let mut further = packet.further().iter().enumerate().peekable();
            for (row, chunk) in packet.chunks().iter().enumerate() {
                if *chunk != NOWHERE {
                    put(*chunk as usize * 2, Entry::new(number, Source::Row(row)));
                }
                // Row by row, for second rows of matches go into the files of other rows.
                while let Some((index, place)) =
                    further.next_if(|(_, place)| place.row as usize == row)
                {
                    let entry = Entry::new(number, Source::Further(index));
                    put(place.chunk as usize * 2 + further_file, entry);
                }
            }
        }
        bounds.rotate_right(1);
        bounds[0] = 0;
        bounds[files] = total;
        Ok(Self { entries, bounds })
    }

    /// Returns the number of files that get rows.
    pub(super) fn segments(&self) -> usize {
        self.bounds.windows(2).filter(|b| b[0] < b[1]).count()
    }

    /// Returns the number of rows, overlap rows included.
    pub(super) fn rows(&self) -> usize {
        self.entries.len()
    }

    /// Returns each file that gets rows, with them, in order of file numbers; rows of different
    /// stretches of the inputs come apart, with the number of the stretch.
    pub(super) fn by_order<'g>(
        &'g self,
        packets: &'g [Packet],
    ) -> impl Iterator<Item = (usize, u32, &'g [Entry])> {
        let order = |entry: &Entry| packets.get(entry.packet as usize).map_or(0, Packet::order);
        self.iter().flat_map(move |(file, entries)| {
            let stretches = entries.chunk_by(move |a, b| order(a) == order(b));
            stretches.map(move |entries| (file, entries.first().map_or(0, order), entries))
        })
    }

    /// Returns each file that gets rows, with them, in order of file numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[Entry])> {
        let bounds = self.bounds.windows(2).enumerate();
        bounds
            .filter(|(_, b)| b[0] < b[1])
            .map(|(file, b)| (file, &self.entries[b[0] as usize..b[1] as usize]))
    }
}

/// Returns which of a chunk's two files the further places of a packet go to.
fn further_file(packet: &Packet) -> usize {
    usize::from(!packet.has_sides())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::packet::{MatchSides, PacketShape};
    use crate::resources::MemoryGate;

    #[test]
    fn rows_keep_their_order_within_a_file() {
        let shape = PacketShape {
            text_bytes: 64,
            rows: 8,
            slots: 0,
            is_routed: true,
            has_sides: false,
            has_keys: false,
        };
        let gate = MemoryGate::new(1 << 20);
        let mut packets = Vec::new();
        for chunks in [[2u32, 0, 2], [0, 2, 1]] {
            let lease = gate.try_lease(shape.bytes(), 0).unwrap();
            let mut packet = Packet::new(shape.clone(), lease);
            for chunk in chunks {
                packet.end_row();
                packet.route_further(1, 0);
                packet.route(chunk, 0);
            }
            packets.push(packet);
        }
        let groups = Groups::of(&packets, 8).unwrap();
        use Source::{Further, Row};
        let all_overlaps = (0..2)
            .flat_map(|p| (0..3).map(move |i| (p, Further(i))))
            .collect();
        assert_eq!(
            found(&groups),
            [
                (0, vec![(0, Row(1)), (1, Row(0))]),
                (2, vec![(1, Row(2))]),
                (3, all_overlaps),
                (4, vec![(0, Row(0)), (0, Row(2)), (1, Row(1))]),
            ]
        );
        assert_eq!((groups.segments(), groups.rows()), (4, 12));
    }

    #[test]
    fn second_rows_of_matches_stand_among_the_others() {
        let shape = PacketShape {
            text_bytes: 64,
            rows: 8,
            slots: 0,
            is_routed: true,
            has_sides: true,
            has_keys: false,
        };
        let lease = MemoryGate::new(1 << 20)
            .try_lease(shape.bytes(), 0)
            .unwrap();
        let mut packet = Packet::new(shape, lease);
        for (own, second) in [(0, Some(1)), (1, None), (1, Some(0)), (0, None)] {
            packet.end_row();
            if let Some(second) = second {
                packet.route_further(second, 0);
            }
            packet.note_sides(MatchSides::First);
            packet.route(own, 0);
        }
        let groups = Groups::of(&[packet], 4).unwrap();
        use Source::{Further, Row};
        assert_eq!(
            found(&groups),
            [
                (0, vec![(0, Row(0)), (0, Further(1)), (0, Row(3))]),
                (2, vec![(0, Further(0)), (0, Row(1)), (0, Row(2))]),
            ]
        );
    }

    fn found(groups: &Groups) -> Vec<(usize, Vec<(u32, Source)>)> {
        let entry = |entry: &Entry| (entry.packet, entry.source());
        groups
            .iter()
            .map(|(file, entries)| (file, entries.iter().map(entry).collect()))
            .collect()
    }
}

//! Groups the rows of a run by the file that they go to.

use super::packet::Packet;
use crate::error::{Error, ErrorKind, Result};

/// A row of a packet, or an overlap place of one.
#[derive(Clone, Copy, Default)]
pub(super) struct Entry {
    pub(super) packet: u32,
    pub(super) index: u32,
}

/// The rows of a run sorted by file, in input order within each.
///
/// Files are numbered two per dense chunk index: own rows, then overlap rows.
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
        let total: usize = packets
            .iter()
            .map(|p| p.chunks().len() + p.overlaps().len())
            .sum();
        if u32::try_from(total).is_err() {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("a run of {total} rows is too long"),
            ));
        }
        for packet in packets {
            for chunk in packet.chunks() {
                bounds[*chunk as usize * 2 + 1] += 1;
            }
            for place in packet.overlaps() {
                bounds[place.chunk as usize * 2 + 2] += 1;
            }
        }
        for file in 0..files {
            bounds[file + 1] += bounds[file];
        }
        // Each bound moves up to the next while its file is filled; shifted back at the end.
        let mut entries = vec![Entry::default(); total];
        let mut put = |file: usize, packet: usize, index: usize| {
            entries[bounds[file] as usize] = Entry {
                packet: packet as u32,
                index: index as u32,
            };
            bounds[file] += 1;
        };
        for (number, packet) in packets.iter().enumerate() {
            for (row, chunk) in packet.chunks().iter().enumerate() {
                put(*chunk as usize * 2, number, row);
            }
            for (index, place) in packet.overlaps().iter().enumerate() {
                put(place.chunk as usize * 2 + 1, number, index);
            }
        }
        bounds.rotate_right(1);
        bounds[0] = 0;
        bounds[files] = total as u32;
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

    /// Returns each file that gets rows, with them, in order of file numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[Entry])> {
        let bounds = self.bounds.windows(2).enumerate();
        bounds
            .filter(|(_, b)| b[0] < b[1])
            .map(|(file, b)| (file, &self.entries[b[0] as usize..b[1] as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::packet::PacketShape;
    use crate::resources::MemoryGate;

    #[test]
    fn rows_keep_their_order_within_a_file() {
        let shape = PacketShape {
            text_bytes: 64,
            rows: 8,
            slots: 0,
            is_routed: true,
            has_keys: false,
        };
        let gate = MemoryGate::new(1 << 20);
        let mut packets = Vec::new();
        for chunks in [[2u32, 0, 2], [0, 2, 1]] {
            let lease = gate.try_lease(shape.bytes(), 0).unwrap();
            let mut packet = Packet::new(shape.clone(), lease);
            for chunk in chunks {
                packet.end_row();
                packet.route_overlap(1, 0);
                packet.route(chunk, 0);
            }
            packets.push(packet);
        }
        let groups = Groups::of(&packets, 8).unwrap();
        let found: Vec<(usize, Vec<(u32, u32)>)> = groups
            .iter()
            .map(|(file, entries)| (file, entries.iter().map(|e| (e.packet, e.index)).collect()))
            .collect();
        let all_overlaps = (0..2).flat_map(|p| (0..3).map(move |i| (p, i))).collect();
        assert_eq!(
            found,
            [
                (0, vec![(0, 1), (1, 0)]),
                (2, vec![(1, 2)]),
                (3, all_overlaps),
                (4, vec![(0, 0), (0, 2), (1, 1)]),
            ]
        );
        assert_eq!((groups.segments(), groups.rows()), (4, 12));
    }
}

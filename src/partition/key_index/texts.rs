//! Texts of keys, one behind the other in buffers that never move.

/// Bits of an address that tell the place in a buffer.
const BITS: u32 = 17;
const BUFFER: usize = 1 << BITS;
const MOST_BUFFERS: usize = (1 << (32 - BITS)) - 1;

/// Texts of at most 65,535 bytes, each found again by a number of 32 bits.
///
/// A vector would be copied while it grows, and for that moment take three times its room.
#[derive(Debug, Default)]
pub(super) struct Texts {
    buffers: Vec<Vec<u8>>,
    used: usize,
}

impl Texts {
    /// Returns the bytes of memory held.
    pub(super) fn bytes(&self) -> usize {
        self.used * BUFFER
    }

    /// Says whether the next text may find no room.
    pub(super) fn is_full(&self) -> bool {
        self.used >= MOST_BUFFERS
    }

    /// Forgets all texts and keeps the memory.
    pub(super) fn clear(&mut self) {
        for buffer in &mut self.buffers {
            buffer.clear();
        }
        self.used = 0;
    }

    /// Adds a text and returns its address, which is below that of all that come later.
    pub(super) fn push(&mut self, text: &[u8]) -> u32 {
        let needed = text.len() + 2;
        let has_room = self
            .used
            .checked_sub(1)
            .and_then(|last| self.buffers.get(last))
            .is_some_and(|buffer| buffer.len() + needed <= BUFFER);
        if !has_room {
            if self.used == self.buffers.len() {
                self.buffers.push(Vec::with_capacity(BUFFER));
            }
            self.used += 1;
        }
        let at = self.used - 1;
        let Some(buffer) = self.buffers.get_mut(at) else {
            return u32::MAX;
        };
        let address = (at << BITS) + buffer.len();
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        buffer.extend_from_slice(&length.to_le_bytes());
        buffer.extend_from_slice(text);
        u32::try_from(address).unwrap_or(u32::MAX)
    }

    /// Returns the text at `address`.
    pub(super) fn get(&self, address: u32) -> &[u8] {
        let buffer = self.buffers.get((address >> BITS) as usize);
        let from = buffer.and_then(|buffer| buffer.get(address as usize & (BUFFER - 1)..));
        from.and_then(prefixed).unwrap_or_default()
    }
}

/// Returns the text at the beginning of `bytes`, behind its length.
#[inline]
pub(super) fn prefixed(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.get(..usize::from(u16::from_le_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_again() {
        let mut texts = Texts::default();
        let longest = vec![b'x'; usize::from(u16::MAX)];
        let addresses: Vec<u32> = (0..2000)
            .map(|number: u32| match number % 500 {
                0 => texts.push(&longest),
                _ => texts.push(number.to_string().as_bytes()),
            })
            .collect();
        assert!(addresses.is_sorted());
        for (number, address) in addresses.iter().enumerate() {
            let expected = match number % 500 {
                0 => longest.clone(),
                _ => number.to_string().into_bytes(),
            };
            assert_eq!(texts.get(*address), expected);
        }
        assert!(texts.bytes() >= 4 * longest.len());
        texts.clear();
        assert_eq!((texts.bytes(), texts.push(b"a")), (0, 0));
    }
}

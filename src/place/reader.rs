//! Bytes that arrive from a place, for those who read as from a file.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use futures_util::StreamExt;

use super::{ByteStream, Network};

/// Reads what arrives.
pub struct StreamReader<'n> {
    network: &'n Network,
    stream: ByteStream,
    block: Bytes,
}

impl<'n> StreamReader<'n> {
    /// Reads a stream of this network.
    pub fn new(network: &'n Network, stream: ByteStream) -> Self {
        Self {
            network,
            stream,
            block: Bytes::new(),
        }
    }
}

impl Read for StreamReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.block.is_empty() {
            match self.network.wait(self.stream.next()) {
                Some(block) => self.block = block.map_err(io::Error::other)?,
                None => return Ok(0),
            }
        }
        let bytes = self.block.len().min(buffer.len());
        self.block.copy_to_slice(&mut buffer[..bytes]);
        Ok(bytes)
    }
}

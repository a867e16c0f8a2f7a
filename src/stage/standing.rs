//! The manifest that stands at a place, as far as staging cares: which object holds what.

use std::io::BufReader;

use crate::error::Result;
use crate::manifest::{Contribution, Listing};
use crate::place::{Network, Place, PlaceUrl, StreamReader};

/// A manifest that stands.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) listing: Listing,
    /// The place's tag of it.
    pub(super) tag: Option<String>,
}

impl Standing {
    /// Reads the manifest `key` of a place, if there is one.
    ///
    /// # Errors
    /// The place does not answer, or what stands there is no manifest.
    pub(super) fn read(network: &Network, place: &dyn Place, key: &str) -> Result<Option<Self>> {
        let fetched: Result<_> = network.wait(async {
            let Some(info) = place.head(key).await? else {
                return Ok(None);
            };
            let stream = place.get(key).await?;
            Ok(stream.map(|stream| (info, stream)))
        });
        let Some((info, stream)) = fetched? else {
            return Ok(None);
        };
        let reader = BufReader::new(StreamReader::new(network, stream));
        let listing = Listing::read(reader, &place.url(key))
            .map_err(|error| error.hint("remove it, or choose another place"))?;
        Ok(Some(Self {
            listing,
            tag: info.tag,
        }))
    }

    /// Returns the lines of a table.
    pub(super) fn lines(&self, table: &str) -> Vec<Contribution> {
        let lines = self.listing.contributions();
        lines.filter(|line| line.table == table).collect()
    }
}

/// Returns the key of a contribution at the place `dest`; nothing if it lies elsewhere.
pub(super) fn key_at(dest: &PlaceUrl, line: &Contribution) -> Option<String> {
    dest.key_of(line.place_url())
}

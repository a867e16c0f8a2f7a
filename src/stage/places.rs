//! The places of a manifest's files, each opened once.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::place::{Network, ObjectUrl, Place, PlaceUrl};

/// Places that were opened so far.
pub(super) struct Places<'n> {
    network: &'n Network,
    open: BTreeMap<PlaceUrl, Arc<dyn Place>>,
}

/// An object at a place.
#[derive(Clone)]
pub(super) struct Object {
    pub(super) place: Arc<dyn Place>,
    pub(super) key: String,
}

impl<'n> Places<'n> {
    pub(super) fn new(network: &'n Network) -> Self {
        Self {
            network,
            open: BTreeMap::new(),
        }
    }

    /// Finds the object that a URL names; nothing is asked of its place.
    ///
    /// # Errors
    /// It is no URL of an object, as no manifest of ours has it.
    pub(super) fn object(&mut self, url: &str) -> Result<Object> {
        let parsed = ObjectUrl::parse(url);
        let ObjectUrl { place, key } = parsed.map_err(|error| match error.kind() {
            ErrorKind::Usage => Error::new(ErrorKind::Corrupt, error.reason())
                .hint("the manifest was changed by something else; write it anew"),
            _ => error,
        })?;
        let place = match self.open.get(&place) {
            Some(open) => Arc::clone(open),
            None => {
                let open = self.network.open(&place)?;
                self.open.insert(place, Arc::clone(&open));
                open
            }
        };
        Ok(Object { place, key })
    }
}

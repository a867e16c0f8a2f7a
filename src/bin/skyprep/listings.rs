//! Manifests that commands read: from files, URLs and stdin.

use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Result;
use skyprep::error::{Error, ErrorKind, Place};
use skyprep::manifest::Listing;
use skyprep::place::{Network, ObjectUrl, StreamReader};

/// Reads a manifest.
///
/// # Errors
/// It is missing, can't be read, or is no whole manifest.
pub fn read(name: &str, network: &Network) -> Result<Listing> {
    if name == "-" {
        return Ok(Listing::read(std::io::stdin().lock(), "stdin")?);
    }
    let listing = match name.contains("://") {
        true => Listing::read(remote(name, network)?, name)?,
        false => {
            let path = Path::new(name);
            let file = std::fs::File::open(path).map_err(|error| Error::reading(path, error))?;
            Listing::read(BufReader::new(file), name)?
        }
    };
    Ok(listing)
}

/// Opens what lies at a URL.
fn remote<'n>(name: &str, network: &'n Network) -> Result<impl BufRead + use<'n>> {
    let ObjectUrl { place, key } = ObjectUrl::parse(name)?;
    let place = network.open(&place)?;
    let stream = network.wait(place.get(&key))?.ok_or_else(|| {
        Error::new(ErrorKind::InputMissing, "there is nothing of that name")
            .at(Place::file(place.url(&key)))
    })?;
    Ok(BufReader::new(StreamReader::new(network, stream)))
}

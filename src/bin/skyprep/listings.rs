//! Manifests that commands read: from files, URLs and stdin.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;
use skyprep::error::{Error, ErrorKind, Place};
use skyprep::manifest::Listing;
use skyprep::place::{Network, ObjectUrl, StreamReader, shown_url};
use skyprep::publish::Readers;

use crate::network_args::NetworkArgs;
use crate::session::Session;

/// Reads a manifest; the network is started only for one at a server.
///
/// # Errors
/// It is missing, can't be read, or is no whole manifest.
pub fn read_with(name: &str, args: &NetworkArgs, session: &Session) -> Result<Listing> {
    match name.contains("://") {
        true => read(name, &Network::new(args.options(session, &[name])?)?),
        false => read_local(name),
    }
}

/// Reads a manifest.
///
/// # Errors
/// It is missing, can't be read, or is no whole manifest.
pub fn read(name: &str, network: &Network) -> Result<Listing> {
    match name.contains("://") {
        true => Ok(Listing::read(remote(name, network)?, &shown_url(name))?),
        false => read_local(name),
    }
}

/// Says who may read a file that is made of a manifest: signed URLs are keys.
pub fn readers_of(listing: &Listing) -> Readers {
    match listing.header().urls_expire {
        Some(_) => Readers::Owner,
        None => Readers::Usual,
    }
}

/// Warns of a manifest by which nobody gets the files any more.
pub fn warn_of_ended(listing: &Listing, name: &str, session: &Session) {
    let end = listing.header().urls_expire;
    if let Some(end) = end.filter(|end| end.system_time() <= SystemTime::now()) {
        session.printer.warn(&format!(
            "the signed URLs of {} ended at {end}; skyprep manifest presign makes new ones",
            shown_url(name)
        ));
    }
}

/// Opens what is told of contributions: a file, a URL (with its query), or `-`.
///
/// # Errors
/// It is missing or can't be read.
pub fn open<'n>(name: &str, network: &'n Network) -> Result<Box<dyn BufRead + 'n>> {
    if name == "-" {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    if name.starts_with("http://") || name.starts_with("https://") {
        let stream = network.fetch(name)?;
        return Ok(Box::new(BufReader::new(StreamReader::new(network, stream))));
    }
    if name.contains("://") {
        return Ok(Box::new(remote(name, network)?));
    }
    let path = Path::new(name);
    let file = std::fs::File::open(path).map_err(|error| Error::reading(path, error))?;
    Ok(Box::new(BufReader::new(file)))
}

fn read_local(name: &str) -> Result<Listing> {
    if name == "-" {
        return Ok(Listing::read(std::io::stdin().lock(), "stdin")?);
    }
    let path = Path::new(name);
    let file = std::fs::File::open(path).map_err(|error| Error::reading(path, error))?;
    Ok(Listing::read(BufReader::new(file), name)?)
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

//! Signed URLs for what lies in S3.

use std::time::Duration;

use super::places::Places;
use crate::error::Result;
use crate::manifest::{Listing, PlacedUrl, UtcTime};
use crate::place::{Network, shown};

/// Gives all files of a manifest URLs that anybody may read them by for so long; returns when the
/// first of them ends.
///
/// # Errors
/// A file lies at a place without such URLs, or the time is too long; nothing is changed then.
pub fn presign(
    listing: &mut Listing,
    network: &Network,
    valid: Duration,
) -> Result<Option<UtcTime>> {
    let mut places = Places::new(network);
    let mut first: Option<UtcTime> = None;
    listing.with_urls(|line| {
        let at = shown(line.place_url());
        let object = places.object(&at)?;
        let (url, end) = network.wait(object.place.presign(&object.key, valid))?;
        let end = UtcTime::of(end);
        first = Some(first.map_or(end, |known| known.min(end)));
        Ok(PlacedUrl {
            url,
            stored_at: Some(at),
        })
    })?;
    let header = listing.header_mut();
    header.urls_expire = first;
    header.public_url = None;
    Ok(first)
}

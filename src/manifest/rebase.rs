//! The same files under another base URL: another server, a mount, a mirror.

use super::line::{Contribution, PlacedUrl};
use super::listing::Listing;
use super::names::{layout_start, without_query};
use crate::error::{Error, ErrorKind, Result};
use crate::place::{PlaceUrl, shown};

/// What URLs begin with, as users write it: a URL, or an absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base(String);

impl Base {
    /// Reads a base.
    ///
    /// # Errors
    /// It is no URL of a scheme that is known and no absolute path, or it has a query or a password.
    pub fn parse(text: &str) -> Result<Self> {
        let place = PlaceUrl::parse(text)?;
        match &place {
            PlaceUrl::Folder(path) if !path.is_absolute() => {
                return Err(Error::usage(format!("'{text}' is not an absolute path"))
                    .hint("write it from the root, or as a URL"));
            }
            _ => {}
        }
        let mut base = place.object("");
        if !base.ends_with('/') {
            base.push('/');
        }
        Ok(Self(base))
    }

    /// Returns the base as a URL, ended by `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns what follows the base in a URL; the query is dropped.
    pub fn rest_of<'u>(&self, url: &'u str) -> Option<&'u str> {
        without_query(url).strip_prefix(&self.0)
    }

    /// Says whether clients get the files by HTTP.
    pub fn is_http(&self) -> bool {
        self.0.starts_with("http://") || self.0.starts_with("https://")
    }
}

/// Whether files stay where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// They stay, and are only seen under another URL.
    Unmoved,
    /// They were moved or copied to the new base.
    Moved,
}

/// How URLs change.
#[derive(Debug, Clone)]
pub struct Rebase {
    /// What URLs begin with now; without it, what stands before `<database>/<table>/` in all of
    /// them.
    pub from: Option<Base>,
    /// What they will begin with.
    pub to: Base,
    /// Whether the files are moved, too.
    pub stored: Stored,
}

impl Rebase {
    /// Gives all contributions URLs with the new base; signatures are dropped, for they hold for
    /// one server only.
    ///
    /// Unless the files were moved, the URL that the place knows them by is kept in `stored_at`.
    ///
    /// # Errors
    /// A URL does not begin with the base, or there is no common one.
    pub fn apply(&self, listing: &mut Listing) -> Result<()> {
        let found;
        let from = match &self.from {
            Some(from) => from,
            None => {
                found = common_base(listing)?;
                &found
            }
        };
        listing.with_urls(|line| self.urls_of(line, from))?;
        let header = listing.header_mut();
        header.urls_expire = None;
        let is_public = self.stored == Stored::Unmoved && self.to.is_http();
        header.public_url = is_public.then(|| self.to.0.clone());
        Ok(())
    }

    fn urls_of(&self, line: &Contribution, from: &Base) -> Result<PlacedUrl> {
        let Some(rest) = from.rest_of(&line.url) else {
            return Err(Error::usage(format!(
                "{} does not begin with {}",
                line.shown_url(),
                from.0
            ))
            .hint("give --from what all URLs of the manifest begin with"));
        };
        let url = format!("{}{rest}", self.to.0);
        let stored_at = match self.stored {
            Stored::Moved => None,
            Stored::Unmoved => Some(line.place_url().to_owned()).filter(|place| *place != url),
        };
        Ok(PlacedUrl { url, stored_at })
    }
}

/// Returns what stands before the database's folder in all URLs.
fn common_base(listing: &Listing) -> Result<Base> {
    let mut common: Option<Base> = None;
    for line in listing.contributions() {
        let at = layout_start(&line, &line.url);
        let Some(base) = at.and_then(|at| line.url.get(..at)) else {
            return Err(Error::usage(format!(
                "{} has no folder {}/{}/, so its base is not known",
                line.shown_url(),
                line.database,
                line.table
            ))
            .hint("give --from what all URLs of the manifest begin with"));
        };
        match &common {
            Some(common) if common.0 != base => {
                return Err(Error::usage(format!(
                    "URLs begin with {} and with {}",
                    shown(&common.0),
                    shown(base)
                ))
                .hint("say with --from which part is replaced; all URLs must begin with it"));
            }
            Some(_) => {}
            None => common = Some(Base(base.to_owned())),
        }
    }
    let nothing = || Error::new(ErrorKind::Usage, "the manifest has no contributions");
    common.ok_or_else(nothing)
}

#[cfg(test)]
mod tests {
    use super::super::listing_tests::{header, line};
    use super::*;

    fn listing(urls: &[&str]) -> Listing {
        let lines = urls.iter().map(|url| line(url, Some(7)));
        Listing::of(&header(), lines)
    }

    fn rebase(from: Option<&str>, to: &str, stored: Stored) -> Rebase {
        Rebase {
            from: from.map(|from| Base::parse(from).unwrap()),
            to: Base::parse(to).unwrap(),
            stored,
        }
    }

    #[test]
    fn a_base_is_replaced_and_the_place_is_kept() {
        let urls = [
            "file:///a%20b/d/T/chunk_7.txt",
            "file:///a%20b/d/T/000/chunk_7.txt",
        ];
        let mut all = listing(&urls);
        rebase(None, "http://h:1/x", Stored::Unmoved)
            .apply(&mut all)
            .unwrap();
        let first = all.contribution(0).unwrap();
        assert_eq!(first.url, "http://h:1/x/d/T/chunk_7.txt");
        assert_eq!(first.stored_at.as_deref(), Some(urls[0]));
        assert_eq!(all.header().public_url.as_deref(), Some("http://h:1/x/"));

        rebase(Some("http://h:1/x/d"), "https://m/", Stored::Unmoved)
            .apply(&mut all)
            .unwrap();
        let second = all.contribution(1).unwrap();
        assert_eq!(second.url, "https://m/T/000/chunk_7.txt");
        assert_eq!(second.stored_at.as_deref(), Some(urls[1]));

        rebase(Some("https://m"), "/new place", Stored::Moved)
            .apply(&mut all)
            .unwrap();
        let second = all.contribution(1).unwrap();
        assert_eq!(second.url, "file:///new%20place/T/000/chunk_7.txt");
        assert_eq!(second.stored_at, None);
        assert_eq!(all.header().public_url, None);

        // Back to where the files are: nothing but their own URL is left.
        let mut all = listing(&urls);
        rebase(None, "http://h/", Stored::Unmoved)
            .apply(&mut all)
            .unwrap();
        rebase(None, "/a b", Stored::Unmoved)
            .apply(&mut all)
            .unwrap();
        assert_eq!(all.contribution(0).unwrap(), line(urls[0], Some(7)));
    }

    #[test]
    fn signatures_go_and_are_not_told() {
        let mut all = listing(&["https://s3/b/d/T/chunk_7.txt?X-Amz-Signature=5ec"]);
        all.header_mut().urls_expire = Some("2027-01-08T00:00:00Z".parse().unwrap());
        let error = rebase(Some("https://s4/"), "http://h/", Stored::Unmoved)
            .apply(&mut all)
            .unwrap_err();
        assert!(!error.to_string().contains("5ec"), "{error}");
        rebase(None, "http://h/", Stored::Moved)
            .apply(&mut all)
            .unwrap();
        assert_eq!(all.contribution(0).unwrap().url, "http://h/d/T/chunk_7.txt");
        assert_eq!(all.header().urls_expire, None);
    }

    #[test]
    fn bases_that_do_not_fit_are_refused() {
        for text in ["relative", "ftp://h/", "http://h/?x=1", "http://u:p@h/"] {
            assert!(Base::parse(text).is_err(), "{text}");
        }
        let mut two = listing(&["http://a/d/T/chunk_7.txt", "http://b/d/T/chunk_7.txt"]);
        let error = rebase(None, "http://h/", Stored::Moved)
            .apply(&mut two)
            .unwrap_err();
        assert!(
            error.to_string().contains("http://a/ and with http://b/"),
            "{error}"
        );
        let mut flat = listing(&["http://a/chunk_7.txt"]);
        let error = rebase(None, "http://h/", Stored::Moved)
            .apply(&mut flat)
            .unwrap_err();
        assert!(error.hint_text().unwrap().contains("--from"));
        // A base ends where a folder does.
        let mut near = listing(&["http://host/d/T/chunk_7.txt"]);
        assert!(
            rebase(Some("http://ho"), "http://h/", Stored::Moved)
                .apply(&mut near)
                .is_err()
        );
    }
}

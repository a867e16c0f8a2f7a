//! Routes rows to chunks: by position, by the director's key, or as matches by either.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::director_index::DirectorIndex;
use super::geometry::{
    ChunkId, Chunker, PositionFault, angular_separation_deg, are_surely_within, check_position,
};
use super::htm::{HtmId, row_id};
use super::joined::JoinedKeys;
use super::key_index::{Key, KeyPlace};
use super::key_watch::PieceOrigin;
use super::only_chunks::OnlyChunks;
use super::unknown_keys::UnknownKeys;
use crate::error::{Error, quote_value};
use crate::exchange::{MatchSides, Packet};
use crate::values::CellFault;

/// Whether rows near a border are written once more for the neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OverlapRule {
    /// They are: directors.
    Write,
    /// They are not: children.
    Omit,
}

/// What right ascensions are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RaRule {
    /// 0 to 360 degrees; others are faults.
    Checked,
    /// Any, modulo 360.
    Wrapped,
}

/// What becomes of a match's key that the index does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownKeyRule {
    /// The row is refused.
    #[default]
    Error,
    /// It counts as NULL: the match has no such side.
    Null,
}

/// Match partners may be apart by the overlap less this, in degrees: a thousandth of a second of
/// arc, as in Qserv's tools.
const SEPARATION_SLACK_DEG: f64 = 0.001 / 3600.0;

/// What of a row decides where it goes. Positions and keys are numbered as
/// [`Routing`](super::Routing) has them.
pub trait RowAddress {
    /// Returns a coordinate of position number `position` in degrees; nothing where it is NULL.
    ///
    /// # Errors
    /// It is no number.
    fn degrees(
        &mut self,
        position: usize,
        coordinate: Coordinate,
    ) -> Result<Option<f64>, CellFault>;

    /// Gives key number `number` to `look_up`; nothing where it is NULL.
    ///
    /// # Errors
    /// The key can't be read.
    fn with_key<T>(
        &mut self,
        number: usize,
        look_up: impl FnOnce(Option<Key<'_>>) -> T,
    ) -> Result<T, CellFault>;

    /// Returns where key number `number` leads, if that was looked up for many rows at once:
    /// nowhere for a key that is NULL or unknown.
    fn known_place(&self, number: usize) -> Option<Option<KeyPlace>>;
}

/// One of the two coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coordinate {
    /// Right ascension.
    Ra,
    /// Declination.
    Dec,
}

/// Which column a fault is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressColumn {
    /// A coordinate of position number so-and-so.
    Position(usize, Coordinate),
    /// Key number so-and-so.
    Key(usize),
}

/// Why a row has no chunk.
#[derive(Debug)]
pub struct RouteFault {
    /// Where the fault is.
    pub column: AddressColumn,
    /// What was found there.
    pub cell: CellFault,
}

/// How rows find their chunks.
#[derive(Debug)]
pub(super) enum Way {
    Position(OverlapRule),
    Key {
        lookup: KeyLookup,
        has_fallback: bool,
    },
    MatchPositions,
    /// To the triangle of this level, whose number takes the place of the chunk's.
    Triangle(u32),
    MatchKeys {
        lookups: [KeyLookup; 2],
        unknown: [UnknownKeyRule; 2],
        seen: Arc<UnknownKeys>,
    },
}

/// Where keys are looked up: in an index, or in what was looked up before the pass.
#[derive(Debug)]
pub(super) struct KeyLookup {
    pub(super) index: Arc<DirectorIndex>,
    pub(super) joined: Option<Arc<JoinedKeys>>,
}

/// Routes rows of one table.
#[derive(Debug)]
pub struct Router {
    /// No sub-chunk of any chunk has this number or a greater one.
    sub_chunks: i32,
    chunker: Arc<Chunker>,
    ra: RaRule,
    way: Way,
    only: Option<Arc<OnlyChunks>>,
}

/// A place as the exchange counts it: dense chunk index and sub-chunk.
type Place = (u32, i32);

impl Router {
    /// Makes a router of rows to all chunks, or to those of `only`.
    pub(super) fn new(
        chunker: Arc<Chunker>,
        ra: RaRule,
        way: Way,
        only: Option<Arc<OnlyChunks>>,
    ) -> Self {
        let most = chunker.max_sub_chunks_per_chunk() * chunker.sub_stripes_per_stripe();
        Self {
            sub_chunks: i32::try_from(most).unwrap_or(i32::MAX),
            chunker,
            ra,
            way,
            only,
        }
    }

    /// Checks the text of a row's own key: rows of triangles are told apart by whole numbers.
    ///
    /// # Errors
    /// It is none of 64 bits.
    pub(crate) fn check_own_key(&self, key: &[u8]) -> Result<(), CellFault> {
        if !matches!(self.way, Way::Triangle(_)) {
            return Ok(());
        }
        match row_id(key) {
            Some(_) => Ok(()),
            None => {
                let expected = ", expected a whole number of 64 bits";
                Err(CellFault::found(quote_value(key), expected))
            }
        }
    }

    /// Ends the row that was routed last, and forgets what of it goes to chunks that nobody wants.
    #[inline]
    pub fn end_row(&self, packet: &mut Packet) {
        packet.end_row();
        if let Some(only) = &self.only {
            packet.keep_places(|chunk| only.has(chunk));
        }
    }

    /// Routes the row that was written last into `packet`.
    ///
    /// # Errors
    /// The row has no place; nothing was routed then.
    #[inline]
    pub fn route<R: RowAddress>(&self, row: &mut R, packet: &mut Packet) -> Result<(), RouteFault> {
        match &self.way {
            Way::Position(overlap) => {
                let (ra, dec) = self.needed_position(row, 0)?;
                let cell = self.chunker.cell_at(ra, dec);
                if *overlap == OverlapRule::Write && cell.has_overlaps() {
                    cell.overlaps(&mut |place| {
                        // Neighbours are chunks of the same division, so each has an index.
                        if let Some(dense) = self.chunker.dense_index(place.chunk) {
                            packet.route_further(dense, place.sub_chunk.0);
                        }
                    });
                }
                packet.route(cell.dense_chunk(), cell.location().sub_chunk.0);
            }
            Way::Key {
                lookup,
                has_fallback,
            } => {
                let found = self.look_up(row, 0, lookup)?;
                let (chunk, sub_chunk) = match (found, has_fallback) {
                    (Some(place), _) => place,
                    (None, true) => {
                        let (ra, dec) = self.needed_position(row, 0)?;
                        self.place_of(ra, dec)
                    }
                    (None, false) => return Err(no_director(row, &lookup.index)),
                };
                packet.route(chunk, sub_chunk);
            }
            Way::Triangle(level) => {
                let (ra, dec) = self.needed_position(row, 0)?;
                packet.route(HtmId::at_position(ra, dec, *level).number(), 0);
            }
            Way::MatchPositions => self.route_pair(self.sides_by_position(row)?, packet, || {
                let cell = CellFault::new("both positions are NULL, expected at least one");
                RouteFault::position(0, Coordinate::Ra, cell)
            })?,
            Way::MatchKeys {
                lookups,
                unknown,
                seen,
            } => {
                let sides = self.sides_by_key(row, lookups, *unknown, seen)?;
                self.route_pair(sides, packet, || {
                    let reason = "neither key has a place, expected at least one";
                    RouteFault::key(0, CellFault::new(reason))
                })?;
            }
        }
        Ok(())
    }

    /// Returns the places of a piece's rows by each key, where they were looked up before the pass:
    /// what [`RowAddress::known_place`] is to answer with. `rows` is their number, for pieces of
    /// Parquet.
    ///
    /// # Errors
    /// What was found can't be read.
    pub fn known_places(
        &self,
        origin: PieceOrigin<'_>,
        rows: u64,
    ) -> Result<Vec<Option<Vec<Option<KeyPlace>>>>, Error> {
        let known = |lookup: &KeyLookup| match &lookup.joined {
            None => Ok(None),
            Some(joined) => joined.of_piece(origin, rows).map(Some),
        };
        self.lookups().iter().map(known).collect()
    }

    /// Returns where each key is looked up.
    fn lookups(&self) -> &[KeyLookup] {
        match &self.way {
            Way::Position(_) | Way::Triangle(_) | Way::MatchPositions => &[],
            Way::Key { lookup, .. } => std::slice::from_ref(lookup),
            Way::MatchKeys { lookups, .. } => lookups,
        }
    }

    /// Returns the index that key number `number` is looked up in, unless that was done before.
    pub fn index(&self, number: usize) -> Option<&DirectorIndex> {
        let lookup = self
            .lookups()
            .get(number)
            .filter(|lookup| lookup.joined.is_none());
        lookup.map(|lookup| lookup.index.as_ref())
    }

    /// Returns a position that must be there, on the sphere.
    #[inline]
    fn needed_position<R: RowAddress>(
        &self,
        row: &mut R,
        number: usize,
    ) -> Result<(f64, f64), RouteFault> {
        let ra = needed_degrees(row, number, Coordinate::Ra)?;
        let dec = needed_degrees(row, number, Coordinate::Dec)?;
        self.checked((ra, dec), number)
    }

    /// Returns a position on the sphere; nothing where a coordinate is NULL.
    fn optional_position<R: RowAddress>(
        &self,
        row: &mut R,
        number: usize,
    ) -> Result<Option<(f64, f64)>, RouteFault> {
        let ra = degrees(row, number, Coordinate::Ra)?;
        let dec = degrees(row, number, Coordinate::Dec)?;
        let (Some(ra), Some(dec)) = (ra, dec) else {
            return Ok(None);
        };
        self.checked((ra, dec), number).map(Some)
    }

    #[inline]
    fn checked(&self, (ra, dec): (f64, f64), number: usize) -> Result<(f64, f64), RouteFault> {
        let ra = match self.ra {
            RaRule::Checked => ra,
            RaRule::Wrapped => wrapped(ra),
        };
        match check_position(ra, dec) {
            Ok(()) => Ok((ra, dec)),
            Err(fault) => Err(off_the_sphere(fault, number)),
        }
    }

    fn place_of(&self, ra: f64, dec: f64) -> Place {
        let cell = self.chunker.cell_at(ra, dec);
        (cell.dense_chunk(), cell.location().sub_chunk.0)
    }

    /// Looks a row's key up; nothing where it is NULL or unknown.
    #[inline]
    fn look_up<R: RowAddress>(
        &self,
        row: &mut R,
        number: usize,
        lookup: &KeyLookup,
    ) -> Result<Option<Place>, RouteFault> {
        let found = match row.known_place(number) {
            Some(place) => place,
            None => row
                .with_key(number, |key| lookup.index.find(key?))
                .map_err(|cell| RouteFault::key(number, cell))?,
        };
        match found {
            None => Ok(None),
            Some(place) => match self.chunker.dense_index(ChunkId(place.chunk)) {
                Some(dense) if (0..self.sub_chunks).contains(&place.sub_chunk) => {
                    Ok(Some((dense, place.sub_chunk)))
                }
                _ => Err(foreign_chunk(place, number)),
            },
        }
    }

    fn sides_by_position<R: RowAddress>(
        &self,
        row: &mut R,
    ) -> Result<[Option<Place>; 2], RouteFault> {
        let first = self.optional_position(row, 0)?;
        let second = self.optional_position(row, 1)?;
        if let (Some((ra1, dec1)), Some((ra2, dec2))) = (first, second) {
            self.check_separation((ra1, dec1), (ra2, dec2))?;
        }
        let place = |side: Option<(f64, f64)>| side.map(|(ra, dec)| self.place_of(ra, dec));
        Ok([place(first), place(second)])
    }

    /// Refuses a pair whose sides are too far apart for a query of one chunk to see both.
    #[inline]
    fn check_separation(&self, first: (f64, f64), second: (f64, f64)) -> Result<(), RouteFault> {
        let overlap = self.chunker.overlap_deg();
        let limit = overlap - SEPARATION_SLACK_DEG;
        // Nearly all pairs are.
        if are_surely_within(first, second, limit) {
            return Ok(());
        }
        let apart = angular_separation_deg(first.0, first.1, second.0, second.1);
        if apart > limit {
            return Err(too_far(first, second, apart, overlap));
        }
        Ok(())
    }

    fn sides_by_key<R: RowAddress>(
        &self,
        row: &mut R,
        lookups: &[KeyLookup; 2],
        unknown: [UnknownKeyRule; 2],
        seen: &UnknownKeys,
    ) -> Result<[Option<Place>; 2], RouteFault> {
        let mut sides = [None; 2];
        for (number, lookup) in lookups.iter().enumerate() {
            sides[number] = self.look_up(row, number, lookup)?;
        }
        for (number, lookup) in lookups.iter().enumerate() {
            if sides[number].is_some() {
                continue;
            }
            // Rows that are refused for want of any side count as unknown, too: they end the work,
            // or are listed with their reason.
            let is_null = row
                .with_key(number, |key| match (key, unknown[number]) {
                    (None, _) => true,
                    (Some(_), UnknownKeyRule::Error) => false,
                    (Some(key), UnknownKeyRule::Null) => {
                        seen.note(number, &key);
                        true
                    }
                })
                .map_err(|cell| RouteFault::key(number, cell))?;
            if !is_null {
                return Err(unknown_key(row, number, &lookup.index, SIDES));
            }
        }
        Ok(sides)
    }

    /// Routes a match to the chunks of its sides: once where that is one chunk, as the first side
    /// lies in it.
    fn route_pair(
        &self,
        sides: [Option<Place>; 2],
        packet: &mut Packet,
        no_side: impl FnOnce() -> RouteFault,
    ) -> Result<(), RouteFault> {
        let ((chunk, sub_chunk), which) = match sides {
            [Some(first), Some(second)] if first.0 == second.0 => (first, MatchSides::Both),
            [Some(first), second] => {
                if let Some((chunk, sub_chunk)) = second {
                    packet.route_further(chunk, sub_chunk);
                }
                (first, MatchSides::First)
            }
            [None, Some(second)] => (second, MatchSides::Second),
            [None, None] => return Err(no_side()),
        };
        packet.note_sides(which);
        packet.route(chunk, sub_chunk);
        Ok(())
    }
}

impl RouteFault {
    fn position(number: usize, coordinate: Coordinate, cell: CellFault) -> Self {
        Self {
            column: AddressColumn::Position(number, coordinate),
            cell,
        }
    }

    fn key(number: usize, cell: CellFault) -> Self {
        Self {
            column: AddressColumn::Key(number),
            cell,
        }
    }
}

#[inline]
fn degrees<R: RowAddress>(
    row: &mut R,
    number: usize,
    coordinate: Coordinate,
) -> Result<Option<f64>, RouteFault> {
    row.degrees(number, coordinate)
        .map_err(|cell| RouteFault::position(number, coordinate, cell))
}

#[inline]
fn needed_degrees<R: RowAddress>(
    row: &mut R,
    number: usize,
    coordinate: Coordinate,
) -> Result<f64, RouteFault> {
    match degrees(row, number, coordinate)? {
        Some(degrees) => Ok(degrees),
        None => {
            let cell = CellFault::found("NULL", ", expected a position in degrees");
            Err(RouteFault::position(number, coordinate, cell))
        }
    }
}

#[cold]
fn off_the_sphere(fault: PositionFault, number: usize) -> RouteFault {
    let coordinate = match fault.is_of_dec() {
        true => Coordinate::Dec,
        false => Coordinate::Ra,
    };
    let hint = matches!(fault, PositionFault::RaOutOfRange(_))
        .then_some("--wrap-ra (wrap_ra = true) takes any right ascension modulo 360");
    let (lead, degrees, rest) = fault.parts();
    let cell = CellFault::led(lead, degrees.to_string(), rest).with_hint(hint);
    RouteFault::position(number, coordinate, cell)
}

#[cold]
fn too_far(first: (f64, f64), second: (f64, f64), apart: f64, overlap: f64) -> RouteFault {
    let ((ra1, dec1), (ra2, dec2)) = (first, second);
    let cell = CellFault::led(
        "the two positions are ",
        apart.to_string(),
        format!(
            " degrees apart ({ra1} {dec1} and {ra2} {dec2}), expected less than the overlap of \
             {overlap}"
        ),
    );
    RouteFault::position(1, Coordinate::Ra, cell)
}

#[cold]
fn foreign_chunk(place: KeyPlace, number: usize) -> RouteFault {
    let cell = CellFault::led(
        "the director index says chunk ",
        place.chunk.to_string(),
        format!(
            " and sub-chunk {}, which this division of the sky does not have",
            place.sub_chunk
        ),
    )
    .with_hint("the director must be partitioned with the same --stripes and --sub-stripes");
    RouteFault::key(number, cell)
}

#[cold]
fn no_director<R: RowAddress>(row: &mut R, index: &DirectorIndex) -> RouteFault {
    match row.with_key(0, |key| key.is_none()) {
        Ok(false) => unknown_key(row, 0, index, ORPHANS),
        Ok(true) => RouteFault::key(
            0,
            CellFault::found("NULL", ", expected the director's key").with_hint(ORPHANS),
        ),
        Err(cell) => RouteFault::key(0, cell),
    }
}

const ORPHANS: &str = "--ra and --dec name a position for such rows, --max-rejects sets them aside";
const SIDES: &str =
    "--unknown-keys null takes such sides as NULL, --max-rejects sets the rows aside";

#[cold]
fn unknown_key<R: RowAddress>(
    row: &mut R,
    number: usize,
    index: &DirectorIndex,
    hint: &'static str,
) -> RouteFault {
    let shown = row.with_key(number, |key| key.map(|key| key.to_string()));
    let rest = format!(", expected a key that {} has", index.shown());
    let cell = match shown {
        Ok(shown) => CellFault::found(shown.unwrap_or_default(), rest),
        Err(cell) => cell,
    };
    RouteFault::key(number, cell.with_hint(hint))
}

/// Takes a right ascension modulo 360; 360 itself stays, for it is legal.
fn wrapped(ra: f64) -> f64 {
    if (0.0..=360.0).contains(&ra) {
        return ra;
    }
    let turned = ra.rem_euclid(360.0);
    // A tiny negative angle rounds up to a full turn, which means 0.
    if turned >= 360.0 { 0.0 } else { turned }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_keeps_what_is_legal() {
        for (ra, expected) in [
            (0.0, 0.0),
            (360.0, 360.0),
            (-5.0, 355.0),
            (725.0, 5.0),
            (-1e-20, 0.0),
        ] {
            assert_eq!(wrapped(ra), expected, "{ra}");
        }
        assert!(wrapped(f64::INFINITY).is_nan());
    }
}

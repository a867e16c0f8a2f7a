//! WKB, the common form of geometries, and MariaDB's own: an SRID, then WKB in little-endian order.
//!
//! MariaDB looks at the first type alone when a geometry is loaded; what is broken behind it shows
//! when somebody reads it. So all of it is walked here.

/// Nested collections beyond this are taken for damage.
const DEEPEST: usize = 32;

/// What a value for a GEOMETRY column is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Geometry {
    /// WKB without an SRID; here in little-endian order.
    Bare(Vec<u8>),
    /// SRID and WKB; here in little-endian order.
    WithSrid(Vec<u8>),
    /// Neither: other bytes, or points with more than two coordinates.
    Unknown,
}

impl Geometry {
    /// Finds out what `value` is.
    pub(super) fn of(value: &[u8]) -> Self {
        if let Some(wkb) = little_endian(value) {
            return Self::Bare(wkb);
        }
        let with_srid = value.split_first_chunk::<4>();
        match with_srid.and_then(|(srid, wkb)| Some((srid, little_endian(wkb)?))) {
            Some((srid, wkb)) => Self::WithSrid([&srid[..], &wkb].concat()),
            None => Self::Unknown,
        }
    }
}

/// Returns whole WKB in little-endian order, or nothing if `wkb` is something else.
fn little_endian(wkb: &[u8]) -> Option<Vec<u8>> {
    let mut walk = Walk {
        rest: wkb,
        out: Vec::with_capacity(wkb.len()),
        is_big: false,
    };
    walk.geometry(None, DEEPEST)?;
    walk.rest.is_empty().then_some(walk.out)
}

/// What is left to be read, and what was written.
struct Walk<'w> {
    rest: &'w [u8],
    out: Vec<u8>,
    is_big: bool,
}

impl Walk<'_> {
    /// Reads a geometry, of the kind `wanted` where only that may stand.
    fn geometry(&mut self, wanted: Option<u32>, depth: usize) -> Option<()> {
        let (order, rest) = self.rest.split_first()?;
        self.rest = rest;
        self.is_big = match order {
            0 => true,
            1 => false,
            _ => return None,
        };
        self.out.push(1);
        let kind = self.number()?;
        if depth == 0 || wanted.is_some_and(|wanted| wanted != kind) {
            return None;
        }
        match kind {
            1 => self.points(1),
            2 => self.line(),
            3 => (0..self.number()?).try_for_each(|_| self.line()),
            4..=6 => (0..self.number()?).try_for_each(|_| self.geometry(Some(kind - 3), depth - 1)),
            7 => (0..self.number()?).try_for_each(|_| self.geometry(None, depth - 1)),
            _ => None,
        }
    }

    fn line(&mut self) -> Option<()> {
        let points = self.number()?;
        self.points(usize::try_from(points).ok()?)
    }

    fn points(&mut self, points: usize) -> Option<()> {
        let (numbers, rest) = self.rest.split_at_checked(points.checked_mul(16)?)?;
        self.rest = rest;
        let start = self.out.len();
        self.out.extend_from_slice(numbers);
        if self.is_big {
            let numbers = self.out.get_mut(start..)?;
            numbers.chunks_exact_mut(8).for_each(<[u8]>::reverse);
        }
        Some(())
    }

    fn number(&mut self) -> Option<u32> {
        let (bytes, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        let number = match self.is_big {
            true => u32::from_be_bytes(*bytes),
            false => u32::from_le_bytes(*bytes),
        };
        self.out.extend_from_slice(&number.to_le_bytes());
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(is_big: bool) -> Vec<u8> {
        let (x, y) = (1.5f64, -2.5f64);
        match is_big {
            true => [&[0, 0, 0, 0, 1][..], &x.to_be_bytes(), &y.to_be_bytes()].concat(),
            false => [&[1, 1, 0, 0, 0][..], &x.to_le_bytes(), &y.to_le_bytes()].concat(),
        }
    }

    #[test]
    fn wkb_is_told_from_what_has_an_srid() {
        let little = point(false);
        assert_eq!(Geometry::of(&little), Geometry::Bare(little.clone()));
        for srid in [0u32, 1, 4326] {
            let with_srid = [&srid.to_le_bytes()[..], &little].concat();
            assert_eq!(
                Geometry::of(&with_srid),
                Geometry::WithSrid(with_srid.clone())
            );
        }
        for value in [
            &b"POINT(1 2)"[..],
            b"",
            &little[..20],
            &[&little[..], b"x"].concat(),
        ] {
            assert_eq!(Geometry::of(value), Geometry::Unknown, "{value:?}");
        }
    }

    #[test]
    fn the_order_of_bytes_is_made_mariadbs() {
        let (little, big) = (point(false), point(true));
        assert_eq!(Geometry::of(&big), Geometry::Bare(little.clone()));
        let collection = |first: &[u8], points: [&[u8]; 2]| [first, points[0], points[1]].concat();
        let mixed = collection(&[0, 0, 0, 0, 7, 0, 0, 0, 2], [&little, &big]);
        let plain = collection(&[1, 7, 0, 0, 0, 2, 0, 0, 0], [&little, &little]);
        assert_eq!(Geometry::of(&mixed), Geometry::Bare(plain));
    }

    #[test]
    fn what_mariadb_would_not_read_again_is_no_geometry() {
        let polygon_in_points = [
            &[1, 4, 0, 0, 0, 1, 0, 0, 0][..],
            &[1, 3, 0, 0, 0, 0, 0, 0, 0],
        ];
        let mut with_z = point(false);
        with_z[2] = 3; // kind 1 + 3 * 256
        let endless = [1, 2, 0, 0, 0, 255, 255, 255, 255];
        let mut deep = [1, 7, 0, 0, 0, 1, 0, 0, 0].repeat(DEEPEST + 1);
        deep.extend(point(false));
        for value in [&polygon_in_points.concat(), &with_z, &endless[..], &deep] {
            assert_eq!(Geometry::of(value), Geometry::Unknown, "{value:?}");
        }
    }
}

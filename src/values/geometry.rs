//! WKB, the common form of geometries, and MariaDB's own, which has an SRID before it.

/// Says whether `value` is WKB without an SRID.
pub(super) fn is_bare_wkb(value: &[u8]) -> bool {
    starts_as_wkb(value) && !value.get(4..).is_some_and(starts_as_wkb)
}

/// Says whether `value` begins with a byte order and a type of geometry.
fn starts_as_wkb(value: &[u8]) -> bool {
    let Some((order, rest)) = value.split_first() else {
        return false;
    };
    let Some(kind) = rest.first_chunk::<4>() else {
        return false;
    };
    let kind = match order {
        0 => u32::from_be_bytes(*kind),
        1 => u32::from_le_bytes(*kind),
        _ => return false,
    };
    (1..=7).contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wkb_is_told_from_what_has_an_srid() {
        let mut point = vec![1u8, 1, 0, 0, 0];
        point.extend(1.5f64.to_le_bytes());
        point.extend((-2.5f64).to_le_bytes());
        assert!(is_bare_wkb(&point));
        for srid in [0u32, 1, 4326] {
            let with_srid = [&srid.to_le_bytes()[..], &point].concat();
            assert!(!is_bare_wkb(&with_srid), "{srid}");
        }
        assert!(!is_bare_wkb(b"POINT(1 2)"));
        assert!(!is_bare_wkb(b""));
    }
}

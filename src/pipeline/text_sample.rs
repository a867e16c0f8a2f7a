//! Where on the sky the rows of a text may lie.
//!
//! A text has no footer that tells, so some rows here and there are looked at. That is but a guess,
//! by which chunks are dealt out to tasks: what can't be read counts for nothing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::dialect::{Dialect, Fields, Records};

/// Places of the file that are looked at, and the bytes that are read there.
const PLACES: u64 = 8;
const PLACE_BYTES: usize = 32 << 10;

/// Returns least and greatest right ascension, least and greatest declination, in degrees, of some
/// rows, from the fields of these numbers; nothing if none can be read, as in compressed files.
pub(super) fn sky_of_text(
    path: &Path,
    dialect: &Dialect,
    (ra, dec): (usize, usize),
) -> Option<[f64; 4]> {
    let file = File::open(path).ok()?;
    let bytes = file.metadata().ok()?.len();
    let mut sky: Option<[f64; 4]> = None;
    let mut buffer = vec![0; PLACE_BYTES];
    let mut fields = Fields::new();
    for place in 0..PLACES {
        let at = bytes / PLACES * place;
        let read = file.read_at(&mut buffer, at).ok()?;
        let Some(block) = buffer
            .get(..read)
            .and_then(|part| whole_lines(part, at > 0))
        else {
            continue;
        };
        let mut records = Records::new(dialect, block).locating(ra.max(dec) + 1);
        loop {
            match records.next(&mut fields) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                // Not the beginning of a record, maybe; what follows may be one.
                Err(_) => continue,
            }
            let degrees = |number: usize| -> Option<f64> {
                let text = std::str::from_utf8(fields.get(number, block)?.content()).ok()?;
                text.trim()
                    .parse()
                    .ok()
                    .filter(|degrees: &f64| degrees.is_finite())
            };
            let (Some(ra), Some(dec)) = (degrees(ra), degrees(dec)) else {
                continue;
            };
            if !(-90.0..=90.0).contains(&dec) {
                continue;
            }
            let [ra_min, ra_max, dec_min, dec_max] = sky.unwrap_or([ra, ra, dec, dec]);
            sky = Some([
                ra_min.min(ra),
                ra_max.max(ra),
                dec_min.min(dec),
                dec_max.max(dec),
            ]);
        }
    }
    sky
}

/// Returns the lines of a part that are whole; the first one may have begun before it.
fn whole_lines(part: &[u8], is_amid: bool) -> Option<&[u8]> {
    let start = match is_amid {
        true => memchr::memchr(b'\n', part)? + 1,
        false => 0,
    };
    let end = memchr::memrchr(b'\n', part)? + 1;
    part.get(start..end).filter(|lines| !lines.is_empty())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests make files of their own")]
mod tests {
    use super::*;
    fn sky(text: &[u8]) -> Option<[f64; 4]> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.txt");
        std::fs::write(&path, text).unwrap();
        sky_of_text(&path, &Dialect::qserv(), (1, 2))
    }

    #[test]
    fn rows_of_all_parts_of_a_file_count() {
        let mut text = "id\tra\tdec\n".to_owned();
        for row in 0..100_000 {
            let ra = 10.0 + f64::from(row) * 1e-4;
            text += &format!("{row}\t{ra:.4}\t{:.4}\tother text\n", -ra);
        }
        text += "1\tnan\t3\n2\t300\t95\n3\t300\n\\N\t\\N\t\\N\n";
        let [ra_min, ra_max, dec_min, dec_max] = sky(text.as_bytes()).unwrap();
        assert_eq!((ra_min, dec_max), (10.0, -10.0));
        assert!((18.0..=20.0).contains(&ra_max), "{ra_max}");
        assert!((-20.0..=-18.0).contains(&dec_min), "{dec_min}");
    }

    #[test]
    fn what_is_no_text_of_rows_tells_nothing() {
        assert_eq!(sky(b""), None);
        assert_eq!(sky(b"1\t2\t3"), None, "its end may be missing");
        assert_eq!(sky(b"\x1f\x8b\x08\0\n\xff\xff\n"), None);
    }
}

//! `skyprep locate`

use anyhow::Result;
use skyprep::error::Error;
use skyprep::partition::Partitioning;
use skyprep::sky::{Whereabouts, read_tables};

use crate::session::Session;
use crate::sky_args::LocateArgs;

/// Says where a place or a chunk is.
pub fn run(args: &LocateArgs, session: &Session) -> Result<()> {
    let partitioning = match (&args.like, args.stripes, args.sub_stripes) {
        (Some(path), ..) => {
            let found = read_tables(path)?;
            found.tables[0].partitioning
        }
        (None, Some(stripes), Some(sub_stripes)) => Partitioning {
            stripes,
            sub_stripes,
            overlap: args.overlap.unwrap_or(0.0),
        },
        _ => return Err(Error::usage("say --stripes and --sub-stripes, or --like").into()),
    };
    let chunker = partitioning.chunker()?;
    let wrong = |number: &str| Error::usage(format!("'{number}' is no number of degrees"));
    let degrees = |number: &String| number.parse::<f64>().map_err(|_| wrong(number));
    let is_whole = |number: &String| number.bytes().all(|byte| byte.is_ascii_digit());
    let whole = |number: &String| {
        number
            .parse::<i32>()
            .map_err(|_| Error::usage(format!("'{number}' is no number of a chunk or sub-chunk")))
    };
    let found = match args.numbers.as_slice() {
        [ra, dec] if !is_whole(ra) || !is_whole(dec) => {
            Whereabouts::of_place(&chunker, degrees(ra)?, degrees(dec)?)?
        }
        [chunk, sub_chunk] => {
            let found = Whereabouts::of_chunk(&chunker, whole(chunk)?, Some(whole(sub_chunk)?));
            found.map_err(|error| {
                error.hint(format!(
                    "two whole numbers are a chunk and a sub-chunk; a place is written {chunk}.0 \
                     {sub_chunk}.0"
                ))
            })?
        }
        [chunk] if is_whole(chunk) => Whereabouts::of_chunk(&chunker, whole(chunk)?, None)?,
        _ => {
            return Err(Error::usage("expected RA DEC, or CHUNK [SUBCHUNK]")
                .hint("a declination belongs to a right ascension")
                .into());
        }
    };
    match args.json {
        true => {
            let json = serde_json::to_string_pretty(&found)?;
            session.printer.data(format!("{json}\n").as_bytes())
        }
        false => session.printer.data(found.in_words().as_bytes()),
    }
}

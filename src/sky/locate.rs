//! Where a place or a chunk is: what `skyprep locate` tells.

use std::fmt::Write as _;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::partition::geometry::{
    ChunkId, Chunker, Location, SphericalBox, SubChunkId, check_position,
};

/// Borders on the sky, in degrees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SkyBox {
    /// Western and eastern edge.
    pub ra: [f64; 2],
    /// Southern and northern edge.
    pub dec: [f64; 2],
    /// Square degrees within.
    pub square_degrees: f64,
}

impl SkyBox {
    fn of(bounds: SphericalBox) -> Self {
        let (south, north) = (bounds.lat_min_deg, bounds.lat_max_deg);
        let width = bounds.lon_max_deg - bounds.lon_min_deg;
        let height = north.to_radians().sin() - south.to_radians().sin();
        Self {
            ra: [bounds.lon_min_deg, bounds.lon_max_deg],
            dec: [south, north],
            square_degrees: width * height.to_degrees(),
        }
    }

    fn in_words(&self) -> String {
        format!(
            "RA {} to {}, Dec {} to {}, {:.6} square degrees",
            self.ra[0], self.ra[1], self.dec[0], self.dec[1], self.square_degrees
        )
    }
}

/// A sub-chunk by its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SubChunk {
    /// Number of the chunk.
    pub chunk: i32,
    /// Number of the sub-chunk in it.
    pub sub_chunk: i32,
}

/// What is known of a place, a chunk or a sub-chunk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Whereabouts {
    /// Right ascension of the place, in degrees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ra: Option<f64>,
    /// Declination of the place, in degrees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dec: Option<f64>,
    /// Number of the chunk.
    pub chunk: i32,
    /// Stripe of the chunk, from the south pole.
    pub stripe: u32,
    /// Its borders.
    pub chunk_box: SkyBox,
    /// Sub-chunks of the chunk.
    pub sub_chunks: u32,
    /// Number of the sub-chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_chunk: Option<i32>,
    /// Its borders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_chunk_box: Option<SkyBox>,
    /// Sub-chunks in whose overlap the place lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap_of: Option<Vec<SubChunk>>,
}

impl Whereabouts {
    /// Finds the chunk and sub-chunk of a place in degrees, and in whose overlap it lies.
    ///
    /// # Errors
    /// There is no such place.
    pub fn of_place(chunker: &Chunker, ra: f64, dec: f64) -> Result<Self> {
        if let Err(fault) = check_position(ra, dec) {
            let (lead, degrees, rest) = fault.parts();
            return Err(Error::usage(format!("{lead}{degrees:?}{rest}")));
        }
        let cell = chunker.cell_at(ra, dec);
        let location = cell.location();
        let mut overlap_of = Vec::new();
        cell.overlaps(&mut |other: Location| {
            overlap_of.push(SubChunk {
                chunk: other.chunk.0,
                sub_chunk: other.sub_chunk.0,
            });
        });
        let found = Self::of_chunk(chunker, location.chunk.0, Some(location.sub_chunk.0))?;
        Ok(Self {
            ra: Some(ra),
            dec: Some(dec),
            overlap_of: (chunker.overlap_deg() > 0.0).then_some(overlap_of),
            ..found
        })
    }

    /// Describes a chunk, and one of its sub-chunks.
    ///
    /// # Errors
    /// There is no such chunk or sub-chunk.
    pub fn of_chunk(chunker: &Chunker, chunk: i32, sub_chunk: Option<i32>) -> Result<Self> {
        let none = |what: String| {
            let stripes = chunker.stripes();
            let sub_stripes = chunker.sub_stripes_per_stripe();
            Error::usage(format!("there is no {what}")).hint(format!(
                "the sky is divided into {stripes} stripes of {sub_stripes} sub-stripes"
            ))
        };
        let id = ChunkId(chunk);
        let bounds = chunker.chunk_bounds(id);
        let bounds = bounds.ok_or_else(|| none(format!("chunk {chunk}")))?;
        let stripe = chunk.unsigned_abs() / (2 * chunker.stripes());
        let band = chunker.sub_stripes_per_stripe() as usize;
        let per_sub_stripe = chunker.sub_chunks_per_chunk().skip(stripe as usize * band);
        let sub_chunk_box = match sub_chunk {
            None => None,
            Some(number) => {
                let location = Location {
                    chunk: id,
                    sub_chunk: SubChunkId(number),
                };
                let bounds = chunker.sub_chunk_bounds(location);
                let none = || none(format!("sub-chunk {number} of chunk {chunk}"));
                Some(SkyBox::of(bounds.ok_or_else(none)?))
            }
        };
        Ok(Self {
            ra: None,
            dec: None,
            chunk,
            stripe,
            chunk_box: SkyBox::of(bounds),
            sub_chunks: per_sub_stripe.take(band).sum(),
            sub_chunk,
            sub_chunk_box,
            overlap_of: None,
        })
    }

    /// Tells it in some lines.
    pub fn in_words(&self) -> String {
        let mut words = String::new();
        if let (Some(ra), Some(dec)) = (self.ra, self.dec) {
            let _ = writeln!(words, "place        RA {ra}, Dec {dec}");
        }
        let _ = writeln!(
            words,
            "chunk        {}, in stripe {}, with {} sub-chunks\n             {}",
            self.chunk,
            self.stripe,
            self.sub_chunks,
            self.chunk_box.in_words()
        );
        if let (Some(number), Some(bounds)) = (self.sub_chunk, &self.sub_chunk_box) {
            let bounds = bounds.in_words();
            let _ = writeln!(words, "sub-chunk    {number}\n             {bounds}");
        }
        for other in self.overlap_of.iter().flatten() {
            let SubChunk { chunk, sub_chunk } = other;
            let _ = writeln!(words, "overlap of   chunk {chunk}, sub-chunk {sub_chunk}");
        }
        words
    }
}

//! The Hierarchical Triangular Mesh: which triangle a position lies in, which triangles are near a part
//! of the sky, and what areas they share.
//!
//! Source: Szalay and others, "Indexing the Sphere with the Hierarchical Triangular Mesh", and
//! `Geometry` in lsst/qserv `src/partition`. Qserv's duplicator names rows and files by these
//! triangles, so their numbers must agree with it to the last bit.

mod area;
mod cover;
mod id;
#[cfg(test)]
mod lcg;
mod parallels;
mod polygon;
mod rows;
mod sky_box;
mod vector;

pub use area::{shared_area, triangle_area};
pub use cover::HtmCover;
pub use id::{Corners, HtmId, MAX_LEVEL};
#[cfg(test)]
pub(crate) use lcg::Lcg;
pub use rows::{row_id, triangle_file};
pub(crate) use sky_box::ARC_SECOND_DEG;
pub use sky_box::{SkyBox, SkyBoxFault};
pub(crate) use vector::dot;
pub use vector::{Vector, lon_lat_deg, unit_vector};
#[cfg(test)]
pub(crate) use vector::{angle, normalized};

//! skyprep gets astronomical catalogues ready for Qserv: convert, sanitize, partition, stage.
//!
//! Data flow through the modules in this order: [`source`] (files, cut into pieces), [`convert`]
//! and [`sanitize`] (columns and text to rows, by the rules of [`values`], in a [`dialect`]),
//! [`partition`] (positions to chunks), [`exchange`] (packets to files, in input order),
//! [`publish`] (files under their final names), [`merge`] (folders into one), [`stage`] and
//! [`manifest`] (to where Qserv fetches them, a [`place`]). [`pipeline`] puts them together;
//! [`schema`] knows the target tables, [`resources`] the limits, [`report`] what was done; [`sph`]
//! knows how Qserv's own tools are told what to do. The library never prints, exits or reads the
//! environment.
//!
//! # Examples
//! A text becomes one that MariaDB loads unchanged:
//! ```
//! use std::sync::Arc;
//!
//! use skyprep::convert::RowTarget;
//! use skyprep::dialect::Dialect;
//! use skyprep::pipeline::{NoEvents, PassInput, PassLimits, ReadAs, stream};
//! use skyprep::source::InputList;
//! use skyprep::values::Inference;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("stars.csv");
//! std::fs::write(&path, "1,true,\"a, b\"\n2,false,nan\n")?;
//! let mut inputs = InputList::default();
//! inputs.add(&path.display().to_string())?;
//! let text = Arc::new(ReadAs { dialect: Dialect::rfc4180(), ..ReadAs::default() });
//! let inputs = inputs.resolve()?;
//! let inputs = inputs
//!     .into_iter()
//!     .map(|input| PassInput::whole(input, &text, vec![0]))
//!     .collect();
//!
//! let mut target = RowTarget::new("stars", Dialect::qserv());
//! target.inference = Inference::ByLook;
//! let limits = PassLimits::new(2, 64 << 20);
//! let out = folder.path().join("stars.txt");
//! let file = Box::new(std::fs::File::create(&out)?);
//! let outcome = stream(inputs, &target, out.clone(), file, &limits, &NoEvents)?;
//! assert_eq!(outcome.written.rows(), 2);
//! assert_eq!(std::fs::read_to_string(&out)?, "1\t1\ta, b\n2\t0\t\\N\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod convert;
pub mod dialect;
pub mod error;
pub mod exchange;
pub mod job;
pub mod load_plan;
pub mod manifest;
pub mod merge;
pub mod ordered;
pub mod partition;
pub mod pipeline;
pub mod place;
pub mod publish;
pub mod report;
pub mod resources;
pub mod sanitize;
pub mod schema;
pub mod serve;
pub mod sky;
pub mod source;
pub mod sph;
pub mod stage;
pub mod typed;
pub mod values;

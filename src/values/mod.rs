//! Values: one rule set per column, from source type, target MySQL type, policy and dialect.
//!
//! The rules are compiled once per column ([`ColumnRule`]) and then applied by the Arrow encoders
//! (`convert`) and by the text rules (`sanitize`), so that both give the same bytes.

mod charset;
mod counts;
mod float;
mod policy;
mod rule;
mod text_buffer;
mod text_rule;

pub use charset::{Charset, Unmappable};
pub use counts::{RuleCounts, RuleName};
pub use float::{DOUBLE_LIMIT, FLOAT_LIMIT, f32_as_written, write_f32, write_f64};
pub use policy::{BoolPolicy, InfPolicy, NanPolicy, ValuePolicy};
pub use rule::{CellFault, ColumnRule, FloatWidth, Special};
pub use text_buffer::TextBuffer;
pub use text_rule::Inference;

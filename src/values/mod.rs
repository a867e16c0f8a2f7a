//! Values: one rule set per column, from source type, target MySQL type, policy and dialect.
//!
//! The rules are compiled once per column ([`ColumnRule`]) and then applied by the Arrow encoders
//! (`convert`) and by the text rules (`sanitize`), so that both give the same bytes.

mod bytes;
mod calendar;
mod charset;
mod counts;
mod decimal;
mod fault;
mod float;
mod geometry;
mod json;
mod number;
mod policy;
mod position;
mod rule;
mod spellings;
mod temporal;
mod temporal_text;
mod text_buffer;
mod text_rule;

pub use charset::{Charset, Recoded, Unmappable, is_utf8};
pub use counts::{RuleCounts, RuleName};
pub use decimal::{Fit, Number};
pub use fault::CellFault;
pub use float::{DOUBLE_LIMIT, FLOAT_LIMIT, f32_as_written, write_f32, write_f64};
pub(crate) use float::{ShortFloat, without_zero};
pub use number::Special;
pub use policy::{
    BinaryForm, BoolPolicy, FractionPolicy, InfPolicy, InvalidTextPolicy, NanPolicy, NestedPolicy,
    OverflowPolicy, TruncatePolicy, ValuePolicy,
};
pub use position::{number_of, position_of};
pub use rule::{ColumnRule, FloatWidth};
pub use spellings::Spellings;
pub(crate) use temporal_text::{rank_of_date_time, rank_of_time};
pub use text_buffer::TextBuffer;
pub(crate) use text_buffer::copy_short;
pub use text_rule::Inference;
pub(crate) use text_rule::as_boolean;

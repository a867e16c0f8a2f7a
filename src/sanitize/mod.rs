//! Sanitize: text becomes text that MariaDB loads unchanged.
//!
//! A [`TextPlan`] is compiled once per input from the output's columns and the input's field
//! names. Fields that need no change are copied byte for byte, whole records where all of them
//! are; only the fields that decide (positions, keys, typed columns) are looked into.

mod address;
mod glance;
mod look;
mod text_fault;
mod text_plan;
mod text_rows;
mod translate;

pub use text_fault::TextFault;
pub use text_plan::TextPlan;
pub use text_rows::TextRows;

#[cfg(test)]
mod tests;

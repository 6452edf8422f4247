//! `twill doctor`'s inside: what a host is like ([`facts`]), and what is wrong with that ([`judge`], pure).

pub mod facts;
pub mod judge;
pub mod ports;

pub use facts::Facts;
pub use judge::{Finding, Level, judge};

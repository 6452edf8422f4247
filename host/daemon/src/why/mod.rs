//! `twill why`'s inside, pure: from what a node knows and remembers to an answer. Does A reach B, by what, since when, and what happened before.

pub mod answer;
pub mod moment;
pub mod names;

pub use answer::why;
pub use moment::moment;

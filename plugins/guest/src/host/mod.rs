//! What the host offers, as plugins call it. In a component these are the contract's imports; in a native test they are the fake host's
//! ([`crate::fake`]), so that a plugin's own code runs unchanged in `cargo test`.

pub mod log;

#[cfg(feature = "store")]
pub mod clock;
#[cfg(feature = "store")]
pub mod directory;
#[cfg(feature = "store")]
pub mod http;

//! Masquerade and forward rules: what they are, how nft is told them, how nft tells them.
//!
//! Pure. [`rules()`] works them out, [`script`] writes them as one nft transaction, [`read`] reads nft's JSON back, [`advice`] says what stands in
//! their way. The kernel room runs nft.

mod advice;
mod listing;
mod rules;
mod script;

pub use advice::{Barrier, advice};
pub use listing::{Chains, Unreadable, barrier, chains, read};
pub use rules::{FirewallInput, rules, table_name};
pub use script::script;

//! Masquerade and forward rules: what they are, and how nft and iptables are told them and tell them.
//!
//! Pure. [`rules()`] works out what is wanted. [`compare()`] holds it against what was read ([`Listing`] of nft, [`Saved`] of iptables) and answers with
//! what there is, what stands in the way, and the scripts that make it so. The kernel room runs the programs.

mod advice;
mod compare;
mod json;
mod left_over;
mod listing;
mod names;
mod opening;
mod place;
mod restore;
mod rules;
mod saved;
mod script;
#[cfg(test)]
mod testing;

pub use compare::{Comparison, Kind, Reader, Seen, Tables, Work, compare};
pub use json::Unreadable;
pub use listing::{Heads, Listing, TableName};
pub use names::{iptables, table_name};
pub use rules::{FirewallInput, rules};
pub use saved::{Saved, Unsaved};
pub use script::{lines, script};

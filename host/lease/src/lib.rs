//! Leases: the book of who holds what, the choice of an own subnet, and the keeper that claims, renews and follows.
//!
//! [`book`], [`choice`], [`collision`], [`fit`] and [`term`] are pure. [`keeper`] is one loop over the trait [`store::Store`]; it knows no plugin and no
//! kernel. What it learns it publishes as a [`cluster::Cluster`] on a watch channel, which the reconciler reads. [`identity`] and [`remembered`] are the files
//! in the state directory.

pub mod book;
pub mod choice;
pub mod clock;
pub mod cluster;
pub mod collision;
pub mod fit;
pub mod identity;
pub mod keeper;
mod machine;
pub mod rehearsal;
pub mod remembered;
pub mod store;
pub mod term;
pub mod ways;

#[cfg(test)]
mod testing;

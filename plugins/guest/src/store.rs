//! The world `store` under flat names: the trait [`Store`], its types, and what a store may import.
//!
//! `use twill_guest::store::*;` is all that a store needs. Ordinary calls and `watch` run in two instances: keep nothing between calls
//! that a fresh instance could not find again.

pub use crate::bindings::store as world;
pub use crate::host::{clock, directory, http, log};
pub use crate::types::{About, Addresses, Lease, Level, Lifetime, Prefixes, Way};
pub use world::exports::twill::plugin::store_api::{
    Abilities, AddressHints, Change, Changes, Guest as Store, Held, Oddity, Snapshot, Trouble,
};

pub use crate::subnets::Subnets;

use crate::options::WrongOption;

/// Exports `$store`, which implements [`Store`], as this component's world, and sends its panics to the log.
#[macro_export]
macro_rules! export_store {
    ($store:ident) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            $crate::log_panics!();
    $crate::store::world::export_store_world!($store with_types_in $crate::store::world);
        };
    };
}

/// The term in `lease.life`, in seconds; none for a reservation.
///
/// # Errors
/// The host told no term, or none that a lease can have.
pub fn term_of(lease: &Lease) -> Result<Option<u32>, Trouble> {
    match lease.life {
        Lifetime::Seconds(0) => Err(Trouble::Invalid("a lease needs a term of at least a second".into())),
        Lifetime::Seconds(term) => Ok(Some(term)),
        Lifetime::Reserved => Ok(None),
        Lifetime::Unknown => Err(Trouble::Invalid("this store needs to know a lease's term".into())),
    }
}

impl From<WrongOption> for Trouble {
    fn from(wrong: WrongOption) -> Self {
        Trouble::Invalid(wrong.to_string())
    }
}

//! A store that misbehaves in `read`, for tests of what the host does about it.
//!
//! It says that it is "file", newer than the real one, and is the real one in everything else. Built once a cargo feature: `traps`, `loops`.

use std::hint;

use twill_guest::store::{Abilities, About, AddressHints, Changes, Held, Lease, Prefixes, Snapshot, Store, Trouble};
use twill_store_file::Files;

/// The store.
pub struct Hostile;

impl Store for Hostile {
    fn describe() -> Abilities {
        let real = Files::describe();
        Abilities { about: About { version: env!("CARGO_PKG_VERSION").into(), ..real.about }, ..real }
    }

    fn configure(options: String, node_name: String) -> Result<(), Trouble> {
        Files::configure(options, node_name)
    }

    fn hints() -> Result<AddressHints, Trouble> {
        Files::hints()
    }

    fn write_config(config: String, replacing: Option<String>) -> Result<(), Trouble> {
        Files::write_config(config, replacing)
    }

    fn read() -> Result<Snapshot, Trouble> {
        if cfg!(feature = "traps") {
            panic!("hostile: trapping as asked");
        }
        while cfg!(feature = "loops") {
            hint::spin_loop();
        }
        Files::read()
    }

    fn watch(cursor: String, wait_ms: u32) -> Result<Changes, Trouble> {
        Files::watch(cursor, wait_ms)
    }

    fn claim(candidates: Vec<Prefixes>, wish: Lease) -> Result<Held, Trouble> {
        Files::claim(candidates, wish)
    }

    fn adopt(mine: Lease) -> Result<Held, Trouble> {
        Files::adopt(mine)
    }

    fn publish(mine: Held) -> Result<Held, Trouble> {
        Files::publish(mine)
    }

    fn ready(mine: Held) -> Result<(), Trouble> {
        Files::ready(mine)
    }

    fn release(mine: Held) -> Result<(), Trouble> {
        Files::release(mine)
    }

    fn reserve(lease: Lease) -> Result<(), Trouble> {
        Files::reserve(lease)
    }

    fn unreserve(subnets: Prefixes) -> Result<(), Trouble> {
        Files::unreserve(subnets)
    }
}

twill_guest::export_store!(Hostile);

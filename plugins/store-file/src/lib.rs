//! The store "file": network config and leases as files in a directory that the operator grants. No server is needed.
//!
//! The directory holds `config.json` (flannel's network config, verbatim), `identity.json` (which directory this is) and a file a lease, named after its
//! subnets. Nodes that share the directory share the network. What a person drops in there by mistake is reported and left alone.
//!
//! This file is the plugin's face: [`view`] reads and watches, [`claim`], [`own`] and [`reserve`] write, all against [`dir::Dir`] and tested natively. Nothing is kept between
//! calls but the node's name.

pub mod claim;
pub mod cursor;
pub mod dir;
pub mod identity;
#[cfg(test)]
mod memory;
pub mod name;
pub mod own;
#[cfg(test)]
mod races;
pub mod record;
pub mod reserve;
pub mod view;

use std::cell::RefCell;

use dir::Granted;
use twill_guest::options::Options;
use twill_guest::store::{Abilities, AddressHints, Addresses, Changes, Held, Lease, Prefixes, Snapshot, Store, Trouble};

/// JSON Schema of the options: there are none.
const OPTIONS_SCHEMA: &str = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{}}"#;

thread_local! {
    /// From `configure`; only the identity file's maker is named by it.
    static NODE_NAME: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The store.
pub struct Files;

impl Store for Files {
    fn describe() -> Abilities {
        let about = twill_guest::about!("file", "network config and leases as files in a directory", OPTIONS_SCHEMA);
        Abilities { about, assigns: false, reserves: true, upstreams: vec![], directory: true }
    }

    fn configure(options: String, node_name: String) -> Result<(), Trouble> {
        Options::parse("the store's options", &options)?;
        NODE_NAME.set(node_name);
        Ok(())
    }

    fn hints() -> Result<AddressHints, Trouble> {
        let nothing = || Addresses { v4: None, v6: None };
        Ok(AddressHints { choose: nothing(), overwrite: nothing() })
    }

    fn write_config(config: String, replacing: Option<String>) -> Result<(), Trouble> {
        NODE_NAME.with_borrow(|name| view::write_config(&Granted, name, &config, replacing.as_deref()))
    }

    fn read() -> Result<Snapshot, Trouble> {
        view::read(&Granted)
    }

    fn watch(cursor: String, wait_ms: u32) -> Result<Changes, Trouble> {
        view::watch(&Granted, &cursor, wait_ms)
    }

    fn claim(candidates: Vec<Prefixes>, wish: Lease) -> Result<Held, Trouble> {
        claim::claim(&Granted, &candidates, &wish)
    }

    fn adopt(mine: Lease) -> Result<Held, Trouble> {
        own::adopt(&Granted, &mine)
    }

    fn publish(mine: Held) -> Result<Held, Trouble> {
        own::publish(&Granted, &mine)
    }

    fn ready(_: Held) -> Result<(), Trouble> {
        Ok(())
    }

    fn release(mine: Held) -> Result<(), Trouble> {
        own::release(&Granted, &mine)
    }

    fn reserve(lease: Lease) -> Result<(), Trouble> {
        reserve::reserve(&Granted, &lease)
    }

    fn unreserve(subnets: Prefixes) -> Result<(), Trouble> {
        reserve::unreserve(&Granted, &subnets)
    }
}

#[cfg(feature = "component")]
twill_guest::export_store!(Files);

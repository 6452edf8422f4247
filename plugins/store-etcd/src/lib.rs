//! The store "etcd": network config and leases where flannel has them, so that flannel nodes and twill nodes share one cluster.
//!
//! It speaks to etcd's JSON gateway (v3) through the host, which holds addresses, certificates and passwords. What twill knows beyond flannel lies under
//! `<prefix>/twill/`, written in the same transaction as the lease.
//!
//! This file is the plugin's face: [`view`] reads, [`watch`] follows, [`claim`], [`own`] and [`reserve`] write, all against [`etcd::Etcd`]. [`key`], [`value`], [`record`],
//! [`wire`] and [`entry`] are the formats, without any I/O. Nothing is kept between calls but the options and an open watch.

pub mod claim;
pub mod cursor;
pub mod entry;
pub mod etcd;
pub mod key;
pub mod own;
pub mod record;
pub mod reserve;
pub mod value;
pub mod view;
pub mod watch;
pub mod wire;

use std::cell::RefCell;

use etcd::{Host, UPSTREAM};
use key::Layout;
use twill_guest::options::Options;
use twill_guest::store::http::Reply;
use twill_guest::store::{Abilities, AddressHints, Addresses, Changes, Held, Lease, Prefixes, Snapshot, Store, Trouble};
use watch::Watching;

/// flannel's own.
const DEFAULT_PREFIX: &str = "/coreos.com/network";
/// JSON Schema of the options.
const OPTIONS_SCHEMA: &str = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"prefix":{"type":"string","default":"/coreos.com/network","description":"what all keys begin with","pattern":"^/."}}}"#;

/// From `configure`.
struct Configured {
    layout: Layout,
    /// Only the store's mark is signed with it.
    node_name: String,
}

thread_local! {
    static CONFIGURED: RefCell<Option<Configured>> = const { RefCell::new(None) };
    static WATCHING: RefCell<Option<Watching<Reply>>> = const { RefCell::new(None) };
}

/// The store.
pub struct Etcd;

impl Store for Etcd {
    fn describe() -> Abilities {
        let about = twill_guest::about!("etcd", "network config and leases in etcd, as flannel keeps them", OPTIONS_SCHEMA);
        Abilities { about, assigns: false, reserves: true, upstreams: vec![UPSTREAM.into()], directory: false }
    }

    fn configure(options: String, node_name: String) -> Result<(), Trouble> {
        let options = Options::parse("the store's options", &options)?;
        let layout = Layout::new(options.text("prefix")?.unwrap_or(DEFAULT_PREFIX))?;
        CONFIGURED.set(Some(Configured { layout, node_name }));
        Ok(())
    }

    fn hints() -> Result<AddressHints, Trouble> {
        let nothing = || Addresses { v4: None, v6: None };
        Ok(AddressHints { choose: nothing(), overwrite: nothing() })
    }

    fn write_config(config: String, replacing: Option<String>) -> Result<(), Trouble> {
        configured(|to| view::write_config(&Host, &to.layout, &config, replacing.as_deref()))
    }

    fn read() -> Result<Snapshot, Trouble> {
        configured(|to| view::read(&Host, &to.layout, &to.node_name))
    }

    fn watch(cursor: String, wait_ms: u32) -> Result<Changes, Trouble> {
        configured(|to| WATCHING.with_borrow_mut(|kept| watch::watch(&Host, &to.layout, kept, &cursor, wait_ms)))
    }

    fn claim(candidates: Vec<Prefixes>, wish: Lease) -> Result<Held, Trouble> {
        configured(|to| claim::claim(&Host, &to.layout, &candidates, &wish))
    }

    fn adopt(mine: Lease) -> Result<Held, Trouble> {
        configured(|to| own::adopt(&Host, &to.layout, &mine))
    }

    fn publish(mine: Held) -> Result<Held, Trouble> {
        configured(|to| own::publish(&Host, &to.layout, &mine))
    }

    fn ready(_: Held) -> Result<(), Trouble> {
        Ok(())
    }

    fn release(mine: Held) -> Result<(), Trouble> {
        configured(|to| own::release(&Host, &to.layout, &mine))
    }

    fn reserve(lease: Lease) -> Result<(), Trouble> {
        configured(|to| reserve::reserve(&Host, &to.layout, &lease))
    }

    fn unreserve(subnets: Prefixes) -> Result<(), Trouble> {
        configured(|to| reserve::unreserve(&Host, &to.layout, &subnets))
    }
}

fn configured<T>(act: impl FnOnce(&Configured) -> Result<T, Trouble>) -> Result<T, Trouble> {
    CONFIGURED.with_borrow(|to| act(to.as_ref().ok_or_else(|| Trouble::Invalid("the store was not configured".into()))?))
}

#[cfg(feature = "component")]
twill_guest::export_store!(Etcd);

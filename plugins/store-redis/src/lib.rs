//! The store "redis": network config and leases in Redis, which is reached by HTTP through Webdis.
//!
//! Redis decides: every change is one Lua script (`lua/`), so it happens whole or not at all, by Redis's clock, and leaves a number in a log. [`redis`] asks; [`entry`] is the
//! format of a lease; [`claim`], [`own`] and [`reserve`] write, [`view`] reads and [`watch`] follows. Nothing is kept between calls but the options and an open
//! subscription.

pub mod claim;
pub mod entry;
pub mod own;
pub mod redis;
pub mod reserve;
pub mod view;
pub mod watch;

use std::cell::RefCell;

use redis::Redis;
use twill_guest::options::Options;
use twill_guest::store::{Abilities, AddressHints, Addresses, Changes, Held, Lease, Prefixes, Snapshot, Store, Trouble};

/// One slot of a Redis Cluster, so that a script may touch all keys.
const DEFAULT_PREFIX: &str = "{twill}";
/// JSON Schema of the options.
const OPTIONS_SCHEMA: &str = r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"prefix":{"type":"string","default":"{twill}","description":"what all keys begin with","minLength":1}}}"#;

thread_local! {
    static CONFIGURED: RefCell<Option<Redis>> = const { RefCell::new(None) };
}

/// The store.
pub struct InRedis;

impl Store for InRedis {
    fn describe() -> Abilities {
        let about = twill_guest::about!("redis", "network config and leases in Redis, by HTTP through Webdis", OPTIONS_SCHEMA);
        Abilities { about, assigns: false, reserves: true, upstreams: vec![redis::UPSTREAM.into()], directory: false }
    }

    fn configure(options: String, node_name: String) -> Result<(), Trouble> {
        let options = Options::parse("the store's options", &options)?;
        let prefix = options.text("prefix")?.unwrap_or(DEFAULT_PREFIX);
        if prefix.is_empty() {
            return Err(Trouble::Invalid("the store's options.prefix must not be empty".into()));
        }
        CONFIGURED.set(Some(Redis::new(prefix, &node_name)));
        Ok(())
    }

    fn hints() -> Result<AddressHints, Trouble> {
        let nothing = || Addresses { v4: None, v6: None };
        Ok(AddressHints { choose: nothing(), overwrite: nothing() })
    }

    fn write_config(config: String, replacing: Option<String>) -> Result<(), Trouble> {
        configured(|redis| view::write_config(redis, &config, replacing.as_deref()))
    }

    fn read() -> Result<Snapshot, Trouble> {
        configured(view::read)
    }

    fn watch(cursor: String, wait_ms: u32) -> Result<Changes, Trouble> {
        configured(|redis| watch::watch(redis, &cursor, wait_ms))
    }

    fn claim(candidates: Vec<Prefixes>, wish: Lease) -> Result<Held, Trouble> {
        configured(|redis| claim::claim(redis, &candidates, &wish))
    }

    fn adopt(mine: Lease) -> Result<Held, Trouble> {
        configured(|redis| own::adopt(redis, &mine))
    }

    fn publish(mine: Held) -> Result<Held, Trouble> {
        configured(|redis| own::publish(redis, &mine))
    }

    fn ready(_: Held) -> Result<(), Trouble> {
        Ok(())
    }

    fn release(mine: Held) -> Result<(), Trouble> {
        configured(|redis| own::release(redis, &mine))
    }

    fn reserve(lease: Lease) -> Result<(), Trouble> {
        configured(|redis| reserve::reserve(redis, &lease))
    }

    fn unreserve(subnets: Prefixes) -> Result<(), Trouble> {
        configured(|redis| reserve::unreserve(redis, &subnets))
    }
}

fn configured<T>(act: impl FnOnce(&Redis) -> Result<T, Trouble>) -> Result<T, Trouble> {
    CONFIGURED.with_borrow(|redis| act(redis.as_ref().ok_or_else(|| Trouble::Invalid("the store was not configured".into()))?))
}

#[cfg(feature = "component")]
twill_guest::export_store!(InRedis);

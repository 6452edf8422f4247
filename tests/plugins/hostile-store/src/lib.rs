//! A store that misbehaves in `read`, for tests of what the host does about it.
//!
//! It says that it is "file", newer than the real one, and is the real one in everything else. Built once a cargo feature: `traps`, `loops`, `request` (asks a
//! server that nobody granted), `path` (asks for files outside its directory), `slow`; `older` and `newer` do nothing wrong and differ in version alone.

use std::hint;

use twill_guest::store::directory::{self, Failure};
use twill_guest::store::{Abilities, About, AddressHints, Changes, Held, Lease, Prefixes, Snapshot, Store, Trouble};
use twill_guest::store::{clock, http};
use twill_store_file::Files;

/// The store.
pub struct Hostile;

/// The version of this build.
const VERSION: &str = if cfg!(feature = "older") {
    "8.0.0"
} else if cfg!(feature = "newer") {
    "8.1.0"
} else {
    env!("CARGO_PKG_VERSION")
};

/// Longer than a store may take.
const TOO_LONG_MS: u32 = 600_000;

/// Asks for what nobody granted; panics when it is given.
fn forbidden_request() {
    let (upstream, method, path) = ("etcd".into(), "GET".into(), "/".into());
    let request = http::Request { upstream, method, path, headers: vec![], body: vec![], timeout_ms: 1_000 };
    let answer = http::send(&request);
    assert!(matches!(answer, Err(http::Failure::NotGranted(_))), "the request was let through");
}

/// Asks for files that are none of its own; panics when it is given one.
fn forbidden_path() {
    for path in ["../../../etc/passwd", "/etc/passwd", ".lock"] {
        let answer = directory::read(path);
        assert!(matches!(answer, Err(Failure::Denied(_))), "{path} was let through");
    }
}

impl Store for Hostile {
    fn describe() -> Abilities {
        let real = Files::describe();
        Abilities { about: About { version: VERSION.into(), ..real.about }, ..real }
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
        if cfg!(feature = "request") {
            forbidden_request();
        }
        if cfg!(feature = "path") {
            forbidden_path();
        }
        if cfg!(feature = "slow") {
            clock::sleep(TOO_LONG_MS);
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

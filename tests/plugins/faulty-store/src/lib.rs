//! The store "file" that breaks one rule of the conformance suite: the one that the option `Breaks` names. Without it, it keeps to all.

use std::cell::RefCell;

use twill_guest::options::Options;
use twill_guest::store::*;
use twill_store_file::Files;

/// The store.
pub struct Faulty;

thread_local! {
    static BREAKS: RefCell<String> = const { RefCell::new(String::new()) };
}

const SCHEMA: &str =
    r#"{"type":"object","properties":{"Breaks":{"type":["string","null"]},"Cost":{"type":"integer","minimum":0,"maximum":9}}}"#;

fn breaks(rule: &str) -> bool {
    BREAKS.with_borrow(|breaks| breaks == rule)
}

/// What is wrong in the answer of a claim or publish that was refused: it is made up.
fn invented(refused: Trouble, lease: Lease) -> Result<Held, Trouble> {
    match refused {
        Trouble::Conflict(_) => Ok(Held { lease, token: "invented".into() }),
        other => Err(other),
    }
}

impl Store for Faulty {
    fn describe() -> Abilities {
        Abilities { about: twill_guest::about!("faulty", "files in a directory, with a fault on request", SCHEMA), ..Files::describe() }
    }

    fn configure(options: String, node_name: String) -> Result<(), Trouble> {
        let read = Options::parse("the store's options", &options)?;
        BREAKS.set(read.text("Breaks")?.unwrap_or_default().to_owned());
        if !breaks("refuses-wrong-options") {
            read.number("Cost", 0..=9, 0)?;
        }
        Files::configure("{}".into(), node_name)
    }

    fn hints() -> Result<AddressHints, Trouble> {
        Files::hints()
    }

    fn write_config(config: String, replacing: Option<String>) -> Result<(), Trouble> {
        match Files::write_config(config.clone(), replacing) {
            Err(Trouble::Conflict(_)) if breaks("conditional-config") => Files::write_config(config, Files::read()?.config),
            answer => answer,
        }
    }

    fn read() -> Result<Snapshot, Trouble> {
        let read = Files::read();
        if breaks("retry-when-away") {
            return read.map_err(|trouble| Trouble::Denied(format!("{trouble:?}")));
        }
        let mut snapshot = read?;
        if breaks("keeps-leases") {
            let ways = snapshot.leases.iter_mut().flat_map(|lease| &mut lease.ways);
            ways.for_each(|way| way.options = way.options.replace(' ', ""));
        }
        Ok(snapshot)
    }

    fn watch(cursor: String, wait_ms: u32) -> Result<Changes, Trouble> {
        let wait_ms = if breaks("watch-waits") { 0 } else { wait_ms };
        match Files::watch(cursor.clone(), wait_ms) {
            Err(Trouble::LostCursor(_)) if breaks("lost-cursor") => Ok(Changes { changes: vec![], cursor }),
            Ok(mut told) => {
                if breaks("watch-in-order") {
                    told.changes.retain(|change| !matches!(change, Change::Gone(_)));
                }
                Ok(Changes { cursor: if breaks("watch-resumes") { cursor } else { told.cursor }, ..told })
            }
            answer => answer,
        }
    }

    fn claim(mut candidates: Vec<Prefixes>, mut wish: Lease) -> Result<Held, Trouble> {
        if breaks("claim-again") {
            let own = |candidate: &Prefixes, lease: &Lease| lease.node == wish.node && lease.subnets == *candidate;
            let leases = Files::read()?.leases;
            candidates.retain(|candidate| !leases.iter().any(|lease| own(candidate, lease)));
        }
        if breaks("terms-end") {
            wish.life = Lifetime::Seconds(3_600);
        }
        let first = candidates.first().cloned();
        let claimed = Files::claim(candidates, wish.clone());
        let whole = first.as_ref().is_some_and(|first| first.v4.as_deref().is_some_and(|net| net.ends_with("/24")));
        match (claimed, first) {
            (Err(refused), Some(subnets)) if breaks("one-winner") || (breaks("no-overlap") && !whole) => {
                invented(refused, Lease { subnets, ..wish })
            }
            (claimed, _) => claimed,
        }
    }

    fn adopt(mine: Lease) -> Result<Held, Trouble> {
        match Files::adopt(mine.clone()) {
            Err(refused) if breaks("adopts-its-own") => invented(refused, mine),
            answer => answer,
        }
    }

    fn publish(mine: Held) -> Result<Held, Trouble> {
        match Files::publish(mine.clone()) {
            Err(refused) if breaks("stale-token") => invented(refused, mine.lease),
            answer => answer,
        }
    }

    fn ready(mine: Held) -> Result<(), Trouble> {
        Files::ready(mine)
    }

    fn release(mine: Held) -> Result<(), Trouble> {
        match Files::release(mine) {
            Err(Trouble::Conflict(_)) if breaks("releases") => Ok(()),
            answer => answer,
        }
    }

    fn reserve(lease: Lease) -> Result<(), Trouble> {
        Files::reserve(lease)
    }

    fn unreserve(subnets: Prefixes) -> Result<(), Trouble> {
        if breaks("reservations") { Ok(()) } else { Files::unreserve(subnets) }
    }
}

twill_guest::export_store!(Faulty);

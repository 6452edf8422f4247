//! A backend of plain routes that breaks one rule of the conformance suite: the one that the option `Breaks` names. Without it, it keeps to all.

use std::cell::{Cell, RefCell};

use twill_guest::backend::*;
use twill_guest::family::{Family, each_shared};
use twill_guest::options::Options;

/// The backend.
pub struct Faulty;

thread_local! {
    /// Calls of this instance so far.
    static CALLS: Cell<u32> = const { Cell::new(0) };
    /// The public address of the first peer that this instance was asked about.
    static FIRST: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

const SCHEMA: &str = r#"{"type":"object","properties":{"Type":{"const":"faulty"},"Breaks":{"type":["string","null"]},"Cost":{"type":"integer","minimum":0,"maximum":9}}}"#;

impl Backend for Faulty {
    fn describe() -> About {
        if cfg!(feature = "mute") {
            return twill_guest::about!("faulty", "", "7");
        }
        twill_guest::about!("faulty", "plain routes to peers on the same link, with a fault on request", SCHEMA)
    }

    fn advertise(_: Network, node: Node, options: String, previous: Option<Way>, _: Vec<(String, String)>) -> Result<Way, Refusal> {
        let read = Options::parse("Backend", &options)?;
        let breaks = read.text("Breaks")?.unwrap_or_default();
        if breaks != "refuses-wrong-options" {
            read.number("Cost", 0..=9, 0)?;
        }
        let mut way = Way { backend: "faulty".into(), options: format!("{{\"Breaks\":\"{breaks}\"}}"), data_v4: None, data_v6: None };
        match breaks {
            "advertises" => way.data_v4 = Some("no JSON".into()),
            "keeps-its-way" if previous.is_some() => way.data_v4 = Some("\"another\"".into()),
            "keeps-secrets" => way.data_v4 = Some(format!("\"{}\"", node.seed)),
            _ => {}
        }
        Ok(way)
    }

    fn local(context: Context) -> Result<Base, Refusal> {
        let more = if breaks(&context.way)? == "pod-mtu" { 1 } else { 0 };
        Ok(Base { items: vec![], pod_mtu: context.node.underlay.mtu + more })
    }

    fn send_to(context: Context, peer: Lease, over: Way, road: Road) -> Result<Vec<Item>, Refusal> {
        let breaks = breaks(&context.way)?;
        let calls = CALLS.replace(CALLS.get() + 1);
        let mut items = each_shared(&context.mine.subnets, &peer.subnets, |family| route(family, &peer, road))?;
        match breaks.as_str() {
            "bears-any-peer" if over.options.len() > 1_000 => panic!("too long for me"),
            "repeatable" if calls % 2 == 1 => items.clear(),
            "same-everywhere" => items = unlike_the_first(items, &peer),
            "lawful" => items.push(Item::Route(Route::via("10.64.0.0/10".into(), peer.public.v4, Device::Underlay))),
            "quick" => waste(),
            _ => {}
        }
        Ok(items)
    }

    fn receive_from(_: Context, _: Lease) -> Result<Vec<Item>, Refusal> {
        Ok(vec![])
    }
}

fn breaks(way: &Way) -> Result<String, Refusal> {
    Ok(Options::parse("this node's options", &way.options)?.text("Breaks")?.unwrap_or_default().to_owned())
}

fn route(family: Family, peer: &Lease, road: Road) -> Result<Vec<Item>, Refusal> {
    let via = family.public(&peer.public, "the peer")?.to_owned();
    match (family.hop(road), family.prefix(&peer.subnets)) {
        (Hop::OnLink, Some(to)) => Ok(vec![Item::Route(Route::via(to.into(), Some(via), Device::Underlay))]),
        _ => Err(Refusal::Unsuitable(format!("{via} is not on this link"))),
    }
}

/// Remembers the first peer that it was asked about, and treats it unlike the others.
fn unlike_the_first(mut items: Vec<Item>, peer: &Lease) -> Vec<Item> {
    let first = FIRST.with_borrow_mut(|first| first.get_or_insert_with(|| peer.public.v4.clone()).clone());
    if first == peer.public.v4 {
        items.reverse();
        items.truncate(1);
    }
    items
}

/// About half a millisecond of computing.
fn waste() {
    let mut sum = 0u64;
    for number in 0..1_000_000u64 {
        sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(number));
    }
}

twill_guest::export_backend!(Faulty);

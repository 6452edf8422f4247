//! Tests of [`super`].

use super::*;
use netlink_packet_route::address::AddressFlags;
use twill_model::Addresses;
use twill_model::item::{Assignment, Fdb, Neighbour, Route};
use twill_model::state::ObservedLink;

fn route(to: &str, on: u32) -> Route<u32> {
    Route { to: to.parse().expect("a good prefix"), via: None, on, onlink: false, scope_global: true, mtu: None, metric: 0 }
}

fn there(what: What) -> Told {
    Told { what, gone: false }
}

fn gone(what: What) -> Told {
    Told { what, gone: true }
}

fn tunnel() -> Link<LinkName> {
    let kind = LinkKind::Tunnel { port: 8285, local: Addresses::default() };
    Link { on: LinkName("flannel0".into()), name: "flannel%d".into(), kind, mtu: 1472, mac: None }
}

fn seen_tunnel(mtu: u32, up: bool) -> What {
    let name = LinkName("flannel0".into());
    What::Link(SeenLink { link: ObservedLink { name, index: 5, mtu, up, mac: None, kind: None, word: "tun".into() }, under: None })
}

#[test]
fn an_own_route_is_no_news_and_its_loss_is() {
    let mut ledger = Ledger::default();
    let ours = What::Route(SeenRoute::ours(route("10.1.2.0/24", 5)));
    ledger.asked(&Item::Route(route("10.1.2.0/24", 5)));
    assert!(!ledger.is_news(there(ours.clone())));
    assert!(ledger.is_news(gone(ours.clone())), "another hand took it");
    ledger.asked(&Item::Route(route("10.1.2.0/24", 5)));
    assert!(!ledger.is_news(there(ours)), "the repair is ours");
}

#[test]
fn an_own_removal_is_no_news_once() {
    let mut ledger = Ledger::default();
    let ours = What::Route(SeenRoute::ours(route("10.1.2.0/24", 5)));
    ledger.asked(&Item::Route(route("10.1.2.0/24", 5)));
    ledger.asked_none(Item::Route(route("10.1.2.0/24", 5)).key());
    assert!(!ledger.is_news(gone(ours.clone())));
    assert!(ledger.is_news(there(ours)), "somebody made it again");
}

#[test]
fn a_route_replaced_by_another_hand_is_news() {
    let mut ledger = Ledger::default();
    ledger.asked(&Item::Route(route("10.1.2.0/24", 5)));
    let by_protocol = SeenRoute { protocol: 4, ..SeenRoute::ours(route("10.1.2.0/24", 5)) };
    assert!(ledger.is_news(there(What::Route(by_protocol))));
    assert!(ledger.is_news(there(What::Route(SeenRoute::ours(route("10.1.2.0/24", 6))))));
}

#[test]
fn what_the_kernel_puts_on_our_links_is_no_news() {
    let mut ledger = Ledger::default();
    let kernels = |on| What::Route(SeenRoute { protocol: KERNEL_PROTOCOL, ..SeenRoute::ours(route("10.1.2.0/24", on)) });
    let local = |on| {
        let at = Assignment { on, address: "fe80::1/64".parse().expect("a good address") };
        What::Address(SeenAddress { at, global: false, flags: AddressFlags::empty() })
    };
    ledger.own(5);
    assert!(!ledger.is_news(there(kernels(5))) && !ledger.is_news(there(local(5))));
    assert!(ledger.is_news(there(kernels(2))) && ledger.is_news(there(local(2))));
}

#[test]
fn a_link_is_news_when_it_differs_from_the_wish() {
    let mut ledger = Ledger::default();
    ledger.asked_link(&tunnel(), None);
    assert!(!ledger.is_news(there(seen_tunnel(1472, true))));
    assert!(ledger.is_news(there(seen_tunnel(1400, true))), "another MTU");
    assert!(ledger.is_news(there(seen_tunnel(1472, false))), "down");
    assert!(!ledger.is_news(there(seen_tunnel(1472, true))), "as we want it again");
    assert!(ledger.is_news(gone(seen_tunnel(1472, true))));
}

#[test]
fn the_steps_of_a_change_are_no_news_until_it_is_done() {
    let mut ledger = Ledger::default();
    let What::Link(before) = seen_tunnel(1500, false) else { unreachable!() };
    ledger.asked_link(&tunnel(), Some(&before.link));
    assert!(!ledger.is_news(there(seen_tunnel(1472, false))), "half-way");
    assert!(ledger.is_news(there(seen_tunnel(1300, false))), "another MTU than before or after");
    assert!(!ledger.is_news(there(seen_tunnel(1472, true))), "done");
    assert!(ledger.is_news(there(seen_tunnel(1472, false))), "another hand took it down");
}

#[test]
fn after_a_loss_nothing_is_on_its_way() {
    let mut ledger = Ledger::default();
    ledger.asked_link(&tunnel(), None);
    ledger.lost();
    assert!(ledger.is_news(there(seen_tunnel(1472, false))));
}

#[test]
fn a_link_that_we_remove_may_be_told_down_first() {
    let mut ledger = Ledger::default();
    ledger.asked_no_link(&LinkName("flannel0".into()));
    assert!(!ledger.is_news(there(seen_tunnel(1472, false))));
    assert!(!ledger.is_news(gone(seen_tunnel(1472, false))));
    assert!(ledger.is_news(there(seen_tunnel(1472, true))), "somebody made one of that name");
}

#[test]
fn what_was_seen_is_told_once() {
    let mut ledger = Ledger::default();
    assert!(ledger.is_news(there(seen_tunnel(1472, true))));
    assert!(!ledger.is_news(there(seen_tunnel(1472, true))));
    assert!(ledger.is_news(there(seen_tunnel(1500, true))));
}

#[test]
fn of_entries_only_permanent_ones_and_ours_matter() {
    let mut ledger = Ledger::default();
    let address = "10.1.2.0".parse().expect("a good address");
    let item = Item::Neighbour(Neighbour { on: 5, address, mac: Mac([2; 6]) });
    let failed = Item::Neighbour(Neighbour { on: 5, address, mac: Mac([0; 6]) });
    let entry = |item: &Item<u32>, permanent| What::Entry(SeenEntry { item: item.clone(), permanent });
    assert!(!ledger.is_news(there(entry(&item, false))), "learned");
    assert!(ledger.is_news(there(entry(&item, true))), "made by another hand");
    ledger.asked(&item);
    assert!(!ledger.is_news(there(entry(&item, true))));
    assert!(ledger.is_news(there(entry(&failed, false))), "ours is being removed");
    assert!(ledger.is_news(gone(entry(&failed, false))), "ours is gone");
    ledger.asked(&item);
    ledger.asked_none(item.key());
    assert!(!ledger.is_news(there(entry(&failed, false))) && !ledger.is_news(gone(entry(&failed, false))));
}

#[test]
fn an_fdb_entry_pointed_elsewhere_is_news() {
    let mut ledger = Ledger::default();
    let to = |text: &str| Item::Fdb(Fdb { on: 5, mac: Mac([2; 6]), to: text.parse().expect("a good address") });
    ledger.asked(&to("10.0.0.2"));
    assert!(!ledger.is_news(there(What::Entry(SeenEntry { item: to("10.0.0.2"), permanent: true }))));
    assert!(ledger.is_news(there(What::Entry(SeenEntry { item: to("10.0.0.3"), permanent: true }))));
}

//! The ledger: which notifications of the kernel tell of nothing new. Pure.
//!
//! The kernel marks an echo of an own request with the asker's port only now and then (never for FDB entries, IPv6 addresses and most links), so
//! echoes are known by what they say: the ledger holds the state that we asked for last, place by place, and a notification that agrees with it is
//! no news, whoever caused it. A deletion of ours by another hand disagrees, and is. Of links and addresses of others it holds what was seen last,
//! since the kernel repeats itself (carrier changes, router advertisements).

use std::collections::{HashMap, HashSet};

use twill_model::Mac;
use twill_model::item::{Item, Key, Link, LinkKind, LinkName};
use twill_model::state::ObservedLink;

use crate::address::SeenAddress;
use crate::link::{SeenLink, explicit, fits};
use crate::neighbour::SeenEntry;
use crate::route::SeenRoute;

/// `RTPROT_KERNEL` of linux/rtnetlink.h: routes that come and go with addresses.
const KERNEL_PROTOCOL: u8 = 2;

/// What a notification tells.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) what: What,
    /// It is no more.
    pub(crate) gone: bool,
}

/// What a notification tells of.
#[derive(Debug, Clone)]
pub(crate) enum What {
    Link(SeenLink),
    Address(SeenAddress),
    Route(SeenRoute),
    Entry(SeenEntry),
}

/// What we asked for last, and what was seen last.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// By name; none: we asked for it to go.
    links: HashMap<LinkName, Option<Wish>>,
    /// By place; none: we asked for it to go.
    entries: HashMap<Key<u32>, Option<Item<u32>>>,
    /// Indices of the links that we made or set up.
    own: HashSet<u32>,
    seen_links: HashMap<u32, SeenLink>,
    seen_addresses: HashMap<Key<u32>, SeenAddress>,
}

#[derive(Debug)]
struct Wish {
    kind: LinkKind,
    mtu: u32,
    mac: Option<Mac>,
    /// How the link is before our request is done; none once it was told to be as wished.
    before: Option<Before>,
}

/// The kernel tells of each step of a request, so a link passes from here to the wish attribute by attribute.
#[derive(Debug)]
struct Before {
    mtu: u32,
    up: bool,
    mac: Option<Mac>,
}

impl Ledger {
    /// We are about to create this link, or to change the one that is `there`.
    pub(crate) fn asked_link(&mut self, wanted: &Link<LinkName>, there: Option<&ObservedLink>) {
        let before = match there {
            None => Before { mtu: wanted.mtu, up: false, mac: wanted.mac },
            Some(there) => Before { mtu: there.mtu, up: there.up, mac: there.mac },
        };
        let wish = Wish { kind: explicit(&wanted.kind), mtu: wanted.mtu, mac: wanted.mac, before: Some(before) };
        self.links.insert(wanted.on.clone(), Some(wish));
    }

    /// We are about to remove the link of that name.
    pub(crate) fn asked_no_link(&mut self, name: &LinkName) {
        self.links.insert(name.clone(), None);
    }

    /// It came to nothing.
    pub(crate) fn withdraw_link(&mut self, name: &LinkName) {
        self.links.remove(name);
    }

    /// The link with that index is ours: what the kernel itself puts on it is no news.
    pub(crate) fn own(&mut self, index: u32) {
        self.own.insert(index);
    }

    /// We are about to make this item.
    pub(crate) fn asked(&mut self, wanted: &Item<u32>) {
        self.entries.insert(wanted.key(), Some(wanted.clone()));
    }

    /// We are about to remove what is in this place.
    pub(crate) fn asked_none(&mut self, place: Key<u32>) {
        self.entries.insert(place, None);
    }

    /// It came to nothing.
    pub(crate) fn withdraw(&mut self, place: &Key<u32>) {
        self.entries.remove(place);
    }

    /// A pass has read these: to hear of them again is no news.
    pub(crate) fn saw(&mut self, links: &[SeenLink], addresses: &[SeenAddress]) {
        self.seen_links = links.iter().map(|seen| (seen.link.index, seen.clone())).collect();
        self.seen_addresses = addresses.iter().map(|seen| (place_of(seen), seen.clone())).collect();
    }

    /// Notifications were lost: what was on its way may have arrived.
    pub(crate) fn lost(&mut self) {
        self.links.values_mut().flatten().for_each(|wish| wish.before = None);
    }

    /// True when the notification tells of something that we neither asked for nor saw.
    pub(crate) fn is_news(&mut self, told: Told) -> bool {
        let gone = told.gone;
        match told.what {
            What::Link(seen) => self.link_is_news(seen, gone),
            What::Address(seen) => self.address_is_news(seen, gone),
            What::Route(seen) => self.route_is_news(&seen, gone),
            What::Entry(seen) => self.entry_is_news(&seen, gone),
        }
    }

    fn link_is_news(&mut self, seen: SeenLink, gone: bool) -> bool {
        let index = seen.link.index;
        let name = seen.link.name.clone();
        let repeated = self.seen_links.get(&index) == Some(&seen) && !gone;
        if gone {
            self.seen_links.remove(&index);
            self.own.remove(&index);
        } else {
            self.seen_links.insert(index, seen.clone());
        }
        match self.links.get_mut(&name) {
            // On its way out a link is first told to be down.
            Some(None) => {
                if gone {
                    self.links.remove(&name);
                }
                false
            }
            Some(Some(_)) if gone => {
                self.links.remove(&name);
                true
            }
            Some(Some(wish)) => {
                self.own.insert(index);
                !(wish.agrees(&seen.link) || repeated)
            }
            None => !repeated,
        }
    }

    fn address_is_news(&mut self, seen: SeenAddress, gone: bool) -> bool {
        let place = place_of(&seen);
        let repeated = self.seen_addresses.get(&place) == Some(&seen) && !gone;
        let on_own = self.own.contains(&seen.at.on);
        let global = seen.global;
        if gone {
            self.seen_addresses.remove(&place);
        } else {
            self.seen_addresses.insert(place.clone(), seen);
        }
        match self.settle(&place, gone) {
            Some(agrees) => !agrees,
            // The kernel gives our links their link-local addresses.
            None => !repeated && (global || !on_own),
        }
    }

    fn route_is_news(&mut self, seen: &SeenRoute, gone: bool) -> bool {
        let place = Item::Route(seen.route.clone()).key();
        if !gone && let Some(Some(Item::Route(wanted))) = self.entries.get(&place) {
            return SeenRoute::ours(wanted.clone()) != *seen;
        }
        match self.settle(&place, gone) {
            Some(agrees) => !agrees,
            None => seen.protocol != KERNEL_PROTOCOL || !self.own.contains(&seen.route.on),
        }
    }

    fn entry_is_news(&mut self, seen: &SeenEntry, gone: bool) -> bool {
        let place = seen.item.key();
        if !gone && let Some(Some(wanted)) = self.entries.get(&place) {
            return !seen.permanent || *wanted != seen.item;
        }
        // What the kernel learns and forgets by itself is no news, nor that an entry fails just before it is removed.
        if !seen.permanent && !matches!(self.entries.get(&place), Some(Some(_))) {
            self.settle(&place, gone);
            return false;
        }
        self.settle(&place, gone).is_none_or(|agrees| !agrees)
    }

    /// Whether presence or absence is what we asked for; none when we never asked. An absence settles the matter: the place is forgotten.
    fn settle(&mut self, place: &Key<u32>, gone: bool) -> Option<bool> {
        let agrees = self.entries.get(place)?.is_none() == gone;
        if gone {
            self.entries.remove(place);
        }
        Some(agrees)
    }
}

impl Wish {
    fn agrees(&mut self, link: &ObservedLink) -> bool {
        let mac = |there: Option<Mac>| self.mac.is_none() || there == self.mac;
        if !fits(&self.kind, link) {
            return false;
        }
        if link.up && link.mtu == self.mtu && mac(link.mac) {
            self.before = None;
            return true;
        }
        let on_its_way = |before: &Before| {
            (link.up || !before.up) && (link.mtu == self.mtu || link.mtu == before.mtu) && (mac(link.mac) || link.mac == before.mac)
        };
        self.before.as_ref().is_some_and(on_its_way)
    }
}

fn place_of(seen: &SeenAddress) -> Key<u32> {
    Item::Assignment(seen.at.clone()).key()
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;

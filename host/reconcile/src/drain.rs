//! What may be taken away, and when. The drain: what packets under way may still need stays for two seconds after it is no longer wanted, while its route goes at once.
//!
//! Pure; the time is passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use twill_model::Prefixes;
use twill_model::item::Item;
use twill_model::state::{HostItem, HostKey};

/// How long an item outlives its route.
pub const DRAIN: Duration = Duration::from_secs(2);

/// What may be taken away.
pub struct Breaks<'a> {
    /// Anything at all.
    pub allowed: bool,
    /// Nothing that is there for these peers.
    pub spared: &'a BTreeSet<Prefixes>,
}

impl Breaks<'_> {
    /// True when the item may be taken away at all.
    pub fn allow(&self, item: &HostItem) -> bool {
        let spared = |address: IpAddr| self.spared.iter().any(|peer| peer.contains(address));
        self.allowed
            && match item {
                Item::Route(route) => !spared(route.to.addr()),
                Item::Neighbour(neighbour) => !spared(neighbour.address),
                // Whose an FDB entry is cannot be told from it.
                Item::Fdb(_) => self.spared.is_empty(),
                _ => true,
            }
    }
}

/// Items that are no longer wanted, and since when.
#[derive(Debug, Default)]
pub struct Leaving(BTreeMap<HostKey, Instant>);

impl Leaving {
    /// True when the item may go now. Routes may always; the rest `DRAIN` after it was first found unwanted.
    pub fn may_go(&mut self, item: &HostItem, now: Instant) -> bool {
        if matches!(item, Item::Route(_)) {
            return true;
        }
        let since = *self.0.entry(item.key()).or_insert(now);
        now.duration_since(since) >= DRAIN
    }

    /// Forgets what is wanted again or gone: all but `unwanted`.
    pub fn keep_only(&mut self, unwanted: &BTreeSet<HostKey>) {
        self.0.retain(|key, _| unwanted.contains(key));
    }

    /// When the next item may go, after `now`. What could have gone by then and did not waits for something else than time.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        self.0.values().map(|since| *since + DRAIN).filter(|end| *end > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twill_model::item::{Assignment, LinkName, Route};

    #[test]
    fn routes_go_at_once_and_the_rest_after_the_drain() {
        let mut leaving = Leaving::default();
        let on = LinkName("flannel0".into());
        let to = "10.1.2.0/24".parse().expect("a prefix");
        let route = Item::Route(Route { to, via: None, on: on.clone(), onlink: false, scope_global: true, mtu: None, metric: 0 });
        let address = Item::Assignment(Assignment { on, address: "10.1.2.0/32".parse().expect("a prefix") });
        let start = Instant::now();
        assert!(leaving.may_go(&route, start));
        assert!(!leaving.may_go(&address, start));
        assert_eq!(leaving.next(start), Some(start + DRAIN));
        assert_eq!(leaving.next(start + DRAIN), None, "what may go and does not is no reason to come again");
        assert!(!leaving.may_go(&address, start + DRAIN - Duration::from_millis(1)));
        assert!(leaving.may_go(&address, start + DRAIN));
        leaving.keep_only(&BTreeSet::new());
        assert_eq!(leaving.next(start), None);
    }
}

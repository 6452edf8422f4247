//! The drain: what packets under way may still need stays for two seconds after it is no longer wanted, while its route goes at once.
//!
//! Pure; the time is passed in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use twill_model::item::Item;
use twill_model::state::{HostItem, HostKey};

/// How long an item outlives its route.
pub const DRAIN: Duration = Duration::from_secs(2);

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
    pub fn keep_only(&mut self, unwanted: &[HostKey]) {
        self.0.retain(|key, _| unwanted.contains(key));
    }

    /// When the next item may go.
    pub fn next(&self) -> Option<Instant> {
        self.0.values().min().map(|since| *since + DRAIN)
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
        let route = Item::Route(Route { to, via: None, on: on.clone(), onlink: false, scope_global: true, mtu: None });
        let address = Item::Assignment(Assignment { on, address: "10.1.2.0/32".parse().expect("a prefix") });
        let start = Instant::now();
        assert!(leaving.may_go(&route, start));
        assert!(!leaving.may_go(&address, start));
        assert_eq!(leaving.next(), Some(start + DRAIN));
        assert!(!leaving.may_go(&address, start + DRAIN - Duration::from_millis(1)));
        assert!(leaving.may_go(&address, start + DRAIN));
        leaving.keep_only(&[]);
        assert_eq!(leaving.next(), None);
    }
}

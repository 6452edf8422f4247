//! What was observed, arranged so that looking for each of thousands of planned items takes no longer than reading them once.
//!
//! Pure.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;
use twill_model::item::{Assignment, Fdb, LinkName, Neighbour};
use twill_model::state::{Observed, ObservedRoute};

/// The kernel's state, to be looked up in.
pub struct Seen<'a> {
    /// All of it.
    pub observed: &'a Observed,
    addresses: HashSet<&'a Assignment<LinkName>>,
    neighbours: HashSet<&'a Neighbour<LinkName>>,
    fdb: HashSet<&'a Fdb<LinkName>>,
    routes: HashMap<(IpNet, u32), Vec<&'a ObservedRoute>>,
}

impl<'a> Seen<'a> {
    /// Arranges it.
    pub fn of(observed: &'a Observed) -> Seen<'a> {
        let mut routes: HashMap<_, Vec<_>> = HashMap::new();
        for there in &observed.routes {
            routes.entry((there.route.to, there.route.metric)).or_default().push(there);
        }
        Seen {
            observed,
            addresses: observed.addresses.iter().collect(),
            neighbours: observed.neighbours.iter().collect(),
            fdb: observed.fdb.iter().collect(),
            routes,
        }
    }

    /// True when an interface has the address.
    pub fn has_address(&self, wanted: &Assignment<LinkName>) -> bool {
        self.addresses.contains(wanted)
    }

    /// True when the entry is there, permanent.
    pub fn has_neighbour(&self, wanted: &Neighbour<LinkName>) -> bool {
        self.neighbours.contains(wanted)
    }

    /// True when the entry is there, permanent.
    pub fn has_fdb(&self, wanted: &Fdb<LinkName>) -> bool {
        self.fdb.contains(wanted)
    }

    /// The routes to a destination with that metric, in the kernel's order.
    pub fn routes(&self, to: IpNet, metric: u32) -> &[&'a ObservedRoute] {
        self.routes.get(&(to, metric)).map_or(&[], Vec::as_slice)
    }
}

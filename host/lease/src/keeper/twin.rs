//! Another machine with this node's id, as a copied state directory makes one: whoever sees that the other has written the lease steps aside.
//!
//! The own lease, at other addresses or with other data than this run ever wrote, was written by a twin. Nothing is sent then, and nothing written: two that each take
//! the lease back would go on for ever. A lease that is found at start may well have another address, this node's from before; it is taken up.
//! Stores that assign subnets by another name than the id know no twins.

use serde_json::Value;
use twill_model::event::Weight;
use twill_model::{Lease, Way};

use super::{Keeper, Own, Wish};
use crate::clock::Clock;
use crate::store::Store;

/// How often is looked whether the twin's lease is still there, in milliseconds; its end is heard of at once.
const LOOK_MS: u64 = 30_000;

/// So many are remembered: the watch may be that many writes behind.
const KEPT: usize = 32;

/// What this run wrote as the own lease, lifetimes left out.
#[derive(Debug, Default)]
pub(super) struct Written(Vec<Lease>);

impl Written {
    /// Notes a lease that was, or may have been, written.
    pub(super) fn note(&mut self, lease: &Lease) {
        let lease = lease.timeless();
        self.0.retain(|known| *known != lease);
        self.0.push(lease);
        self.0.drain(..self.0.len().saturating_sub(KEPT));
    }

    /// True for a lease on a subnet that was written, of a content that was not.
    fn is_strange(&self, lease: &Lease) -> bool {
        let mut same_place = self.0.iter().filter(|known| known.subnets == lease.subnets).peekable();
        same_place.peek().is_some() && !same_place.any(|known| alike(known, lease))
    }
}

/// The same addresses, and the same data for each backend that both speak of; of several ways of one backend, for one of them. Options are an operator's to change.
fn alike(a: &Lease, b: &Lease) -> bool {
    let agrees = |way: &Way| {
        let mut others = b.ways.iter().filter(|other| other.backend == way.backend).peekable();
        others.peek().is_none() || others.any(|other| same_data(way, other))
    };
    a.public == b.public && a.ways.iter().all(agrees)
}

fn same_data(a: &Way, b: &Way) -> bool {
    let parsed = |text: &Option<String>| text.as_deref().map(|text| serde_json::from_str::<Value>(text).map_err(|_| text.to_owned()));
    parsed(&a.data_v4) == parsed(&b.data_v4) && parsed(&a.data_v6) == parsed(&b.data_v6)
}

impl<S: Store, W: Wish, C: Clock> Keeper<S, W, C> {
    /// The twin's lease, if one stands in the book.
    pub(super) fn twin(&self) -> Option<Lease> {
        self.book.standing().find(|lease| self.is_twins(lease)).cloned()
    }

    /// True for a lease of this node's id that this node did not write.
    pub(super) fn is_twins(&self, lease: &Lease) -> bool {
        lease.node.as_ref() == Some(&self.settings.node) && !self.store.abilities().assigns && self.written.is_strange(lease)
    }

    /// Sends nothing any more, says what is wrong and how to mend it, and leaves the lease alone.
    pub(super) fn step_aside(&mut self, twin: &Lease) {
        self.fence.shut();
        self.own = Own::None;
        self.agenda.renew = None;
        self.agenda.settle = Some(self.now().saturating_add(LOOK_MS));
        let text = format!(
            "another machine, at {}, uses this node's id {} and has written its lease {}; nothing is sent from here. Remove the files node-id and seed from {} on \
             one of the two, and restart twill on both",
            twin.public,
            self.settings.node,
            twin.subnets,
            self.settings.state_dir.display()
        );
        if self.problems.set("node id", text.clone()) {
            self.say(Weight::Error, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lease;

    #[test]
    fn only_other_addresses_or_data_on_the_same_subnet_are_strange() {
        let mine = lease("a", "10.3.1.0/24", "192.0.2.1");
        let with_data = |data: &str| Lease { ways: vec![Way { data_v4: Some(data.into()), ..mine.ways[0].clone() }], ..mine.clone() };
        let mut written = Written::default();
        assert!(!written.is_strange(&mine), "nothing was written yet");
        written.note(&with_data(r#"{"VNI":1}"#));
        assert!(!written.is_strange(&with_data(r#"{ "VNI": 1 }"#)));
        assert!(written.is_strange(&with_data(r#"{"VNI":2}"#)));
        let one = |data: &str| Way { data_v4: Some(data.into()), ..mine.ways[0].clone() };
        let two = Lease { ways: vec![one(r#"{"VNI":7}"#), one(r#"{"VNI":1}"#)], ..mine.clone() };
        written.note(&two);
        assert!(!written.is_strange(&two), "two ways of one backend");
        assert!(!written.is_strange(&lease("a", "10.3.2.0/24", "192.0.2.2")), "of another subnet nothing is known");
        assert!(written.is_strange(&lease("a", "10.3.1.0/24", "192.0.2.2")));
    }

    #[test]
    fn what_the_watch_may_still_tell_is_kept_and_no_more() {
        let mut written = Written::default();
        let at = |i: usize| lease("a", "10.3.1.0/24", &format!("192.0.2.{i}"));
        (0..=KEPT).for_each(|i| written.note(&at(i)));
        assert!(written.is_strange(&at(0)) && !written.is_strange(&at(1)) && written.0.len() == KEPT);
    }
}

//! Which ways this node should publish: the config's backend, and beside it what others still send by or have nothing else than.
//!
//! A cluster changes its backend node by node: so a node goes on receiving by the old way until nobody needs it. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use twill_model::{Lease, Way};

/// What the wish of ways starts from.
pub struct Need<'a, U, C> {
    /// The way of the config's backend as it would be published now; none when this node cannot have it.
    pub first: Option<&'a Way>,
    /// The config's backend.
    pub config: &'a str,
    /// What this node publishes now.
    pub previous: &'a [Way],
    /// Everybody else's leases.
    pub others: &'a [Arc<Lease>],
    /// True for a way that was needed, or in use, a short while ago.
    pub recently: U,
    /// True for a backend that this node can have.
    pub can: C,
}

/// Backends to fall back to when neither the config nor any peer names one that this node can have.
const LAST_RESORT: [&str; 3] = ["udp", "vxlan", "host-gw"];

impl<U: Fn(&Way) -> bool, C: Fn(&str) -> bool> Need<'_, U, C> {
    /// The ways to publish beside the config's, best first. Data are as published before; options of a way that is new here are those of the peer that asks for it.
    pub fn others(&self) -> Vec<Way> {
        let mut kept: Vec<Way> = Vec::new();
        for way in self.previous.iter().filter(|way| !self.is_first(way) && (self.can)(&way.backend)) {
            if (self.is_needed(way) || (self.recently)(way)) && !kept.iter().any(|known| alike(known, way)) {
                kept.push(way.clone());
            }
        }
        for peer in self.others {
            if peer.ways.is_empty() || peer.ways.iter().any(|theirs| self.first.into_iter().chain(&kept).any(|own| self.meet(own, theirs)))
            {
                continue;
            }
            let shared = peer.ways.iter().map(|way| self.typed(way)).find(|way| (self.can)(&way.backend));
            kept.extend(shared.map(|way| Way { data_v4: None, data_v6: None, ..way }));
        }
        if self.first.is_none() && kept.is_empty() {
            let resort = LAST_RESORT.iter().find(|backend| (self.can)(backend));
            kept.extend(resort.map(|backend| Way { backend: (*backend).into(), options: "{}".into(), data_v4: None, data_v6: None }));
        }
        kept
    }

    /// True while some peer sends by that way first, or has nothing else in common with this node.
    pub fn is_needed(&self, way: &Way) -> bool {
        self.others.iter().any(|peer| {
            let by_first = self.first.is_some_and(|first| peer.ways.iter().any(|theirs| self.meet(first, theirs)));
            let sends_by_it = peer.ways.first().is_some_and(|theirs| self.meet(way, theirs));
            sends_by_it || (!by_first && peer.ways.iter().any(|theirs| self.meet(way, theirs)))
        })
    }

    /// The backend that must go first although the config names another: a real flannel node sees the first way only, and only where it is of its own type.
    pub fn flannels(&self) -> Option<String> {
        let mut types: BTreeMap<String, usize> = BTreeMap::new();
        for peer in self.others.iter().filter(|peer| peer.node.is_none()) {
            if let Some(way) = peer.ways.first() {
                *types.entry(self.typed(way).backend).or_default() += 1;
            }
        }
        let most = types.values().max().copied()?;
        let mut most_common = types.into_iter().filter(|(_, count)| *count == most).map(|(backend, _)| backend);
        let first = most_common.next()?;
        std::iter::once(first.clone()).chain(most_common).find(|backend| backend == self.config).or(Some(first))
    }

    fn is_first(&self, way: &Way) -> bool {
        self.first.is_some_and(|first| alike(first, way))
    }

    /// True when what is published as `theirs` is reached by the own way: of one backend, and with the same options where the own ones are of the config's backend
    /// in two shapes.
    fn meet(&self, own: &Way, theirs: &Way) -> bool {
        let theirs = self.typed(theirs);
        let in_two_shapes = self.first.is_some_and(|first| first.backend == own.backend);
        own.backend == theirs.backend && (!in_two_shapes || own.options == theirs.options || theirs.options == "{}")
    }

    fn typed(&self, way: &Way) -> Way {
        Way { backend: way.type_in(self.config).to_owned(), ..way.clone() }
    }
}

/// Puts the way of that backend first.
pub fn put_first(ways: &mut [Way], backend: &str) {
    if let Some(place) = ways.iter().position(|way| way.backend == backend) {
        ways[..=place].rotate_right(1);
    }
}

/// Of one backend with the same options.
pub fn alike(a: &Way, b: &Way) -> bool {
    a.backend == b.backend && a.options == b.options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lease;

    fn way(backend: &str, options: &str) -> Way {
        Way { backend: backend.into(), options: options.into(), data_v4: None, data_v6: None }
    }

    fn peer(number: u8, node: bool, ways: &[(&str, &str)]) -> Arc<Lease> {
        let lease = lease(&format!("node-{number}"), &format!("10.1.{number}.0/24"), &format!("192.0.2.{number}"));
        let node = lease.node.clone().filter(|_| node);
        Lease { ways: ways.iter().map(|(backend, options)| way(backend, options)).collect(), node, ..lease }.into()
    }

    /// The backends of the ways beside the config's vxlan, for a node that published `previous`.
    fn kept(previous: &[(&str, &str)], others: &[Arc<Lease>], recently: bool, lacking: &str) -> Vec<String> {
        let first = way("vxlan", "8");
        let previous: Vec<Way> = previous.iter().map(|(backend, options)| way(backend, options)).collect();
        let need = Need {
            first: (lacking != "vxlan").then_some(&first),
            config: "vxlan",
            previous: &previous,
            others,
            recently: |_: &Way| recently,
            can: |backend: &str| backend != lacking,
        };
        need.others().into_iter().map(|way| way.backend + &way.options).collect()
    }

    #[test]
    fn the_old_way_is_kept_while_somebody_sends_by_it_and_a_while_longer() {
        let old = [("udp", "{}")];
        assert_eq!(kept(&old, &[peer(2, true, &[("udp", "{}")])], false, ""), ["udp{}"]);
        let moved = [peer(2, true, &[("vxlan", "8"), ("udp", "{}")])];
        assert_eq!(kept(&old, &moved, false, ""), [""; 0], "everybody sends by the new one: the lists of others keep nobody");
        assert_eq!(kept(&old, &moved, true, ""), ["udp{}"], "something arrived by it lately");
    }

    #[test]
    fn another_vni_is_a_way_of_its_own_until_all_have_it() {
        let old = [("vxlan", "1")];
        assert_eq!(kept(&old, &[peer(2, true, &[("vxlan", "1")])], false, ""), ["vxlan1"]);
        assert_eq!(kept(&[("vxlan", "8"), ("vxlan", "1")], &[peer(2, true, &[("vxlan", "8"), ("vxlan", "1")])], false, ""), [""; 0]);
    }

    #[test]
    fn who_has_nothing_in_common_is_met_by_a_way_of_its_own() {
        assert_eq!(kept(&[], &[peer(2, true, &[("udp", r#"{"Port":9}"#)])], false, ""), [r#"udp{"Port":9}"#]);
        assert_eq!(kept(&[], &[peer(2, false, &[("", "{}")])], false, ""), ["udp{}"], "flannel's udp names no type");
        assert_eq!(kept(&[], &[peer(2, true, &[])], false, ""), [""; 0], "a reservation that nobody uses");
    }

    #[test]
    fn a_node_that_cannot_have_the_configs_backend_publishes_what_it_can() {
        let vxlan = [peer(2, true, &[("vxlan", "8")])];
        assert_eq!(kept(&[("udp", "{}")], &vxlan, true, "vxlan"), ["udp{}"]);
        assert_eq!(kept(&[], &vxlan, false, "vxlan"), ["udp{}"], "a fresh one");
    }

    #[test]
    fn flannels_type_goes_first() {
        let others = [peer(2, false, &[("", "{}")]), peer(3, true, &[("vxlan", "8")])];
        let need = |others| Need { first: None, config: "vxlan", previous: &[], others, recently: |_: &Way| false, can: |_: &str| true };
        assert_eq!(need(&others).flannels(), Some("udp".into()));
        assert_eq!(need(&others[1..]).flannels(), None);
        let mut ways = vec![way("vxlan", "8"), way("host-gw", "{}"), way("udp", "{}")];
        put_first(&mut ways, "udp");
        assert_eq!(ways.iter().map(|way| way.backend.as_str()).collect::<Vec<_>>(), ["udp", "vxlan", "host-gw"]);
    }
}

//! Leases that overlap: one of the length that the config gives wins over one of another, then the older one; the loser is reported. Pure.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use twill_model::network::Prefix;
use twill_model::{Lease, Prefixes};

/// Two leases that want the same addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collision {
    /// Of another length than the config gives, or the newer one; nothing is planned for it.
    pub loser: Lease,
    /// The one that stays.
    pub winner: Lease,
}

impl fmt::Display for Collision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Collision { loser, winner } = self;
        write!(
            f,
            "lease {} of {} overlaps {} of {}, which wins: it was there first, or is of the length that the config gives",
            loser.subnets,
            loser.owner(),
            winner.subnets,
            winner.owner()
        )
    }
}

/// A lease and how long it has been there.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'a> {
    /// The lease.
    pub lease: &'a Lease,
    /// It has vanished from the store and is merely held: it yields to all others.
    pub held: bool,
    /// Of the length that the config gives to subnets.
    pub fits: bool,
    /// Counts up in the order of arrival.
    pub arrival: u64,
}

/// Every lease that must yield, with the one it yields to. Costs a sort; only leases that overlap at all are compared one by one.
pub fn collisions<'a>(claimants: impl Iterator<Item = Claimant<'a>>) -> Vec<Collision> {
    let claimants: Vec<Claimant<'a>> = claimants.collect();
    let overlapping = overlapping(claimants.iter().map(|claimant| &claimant.lease.subnets));
    let mut rivals: Vec<Claimant<'a>> = claimants.into_iter().filter(|claimant| overlapping.contains(&claimant.lease.subnets)).collect();
    rivals.sort_by_key(|claimant| (claimant.held, !claimant.fits, claimant.arrival));
    let mut winners: Vec<&Lease> = Vec::new();
    let mut found = Vec::new();
    for Claimant { lease, .. } in rivals {
        match winners.iter().find(|winner| winner.subnets.overlaps(&lease.subnets)) {
            Some(&winner) => found.push(Collision { loser: lease.clone(), winner: winner.clone() }),
            None => winners.push(lease),
        }
    }
    found
}

/// Those that overlap another one. Prefixes nest or are apart, so along the sorted ones the widest that is still open meets all others.
fn overlapping<'a>(subnets: impl Iterator<Item = &'a Prefixes>) -> BTreeSet<Prefixes> {
    let mut spans: Vec<(bool, u128, Reverse<u128>, &Prefixes)> =
        subnets.flat_map(|subnets| subnets.iter().map(move |prefix| span(prefix, subnets))).collect();
    spans.sort();
    let mut found = BTreeSet::new();
    let mut open: Option<(bool, u128, Reverse<u128>, &Prefixes)> = None;
    for next in spans {
        match open {
            Some(wide) if wide.0 == next.0 && next.1 <= wide.2.0 => found.extend([*wide.3, *next.3]),
            _ => open = Some(next),
        }
    }
    found
}

fn span(prefix: IpNet, subnets: &Prefixes) -> (bool, u128, Reverse<u128>, &Prefixes) {
    match prefix {
        IpNet::V4(net) => (false, net.base(), Reverse(net.last()), subnets),
        IpNet::V6(net) => (true, net.base(), Reverse(net.last()), subnets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lease;
    use proptest::prelude::*;

    fn losers(leases: &[Lease]) -> Vec<String> {
        let claimants = leases.iter().zip(0..).map(|(lease, arrival)| Claimant { lease, held: false, fits: true, arrival });
        collisions(claimants).into_iter().map(|collision| collision.loser.subnets.to_string()).collect()
    }

    #[test]
    fn a_loser_does_not_drag_others_down() {
        let old = lease("a", "10.3.0.0/24", "192.0.2.1");
        let wide = lease("b", "10.3.0.0/22", "192.0.2.2");
        let beside = lease("c", "10.3.1.0/24", "192.0.2.3");
        assert_eq!(losers(&[old, wide, beside]), ["10.3.0.0/22"], "the third overlaps only the one that lost");
    }

    #[test]
    fn one_family_in_common_is_enough() {
        let mut a = lease("a", "10.3.0.0/24", "192.0.2.1");
        let mut b = lease("b", "10.3.1.0/24", "192.0.2.2");
        a.subnets.v6 = Some("fd00::/64".parse().expect("a prefix"));
        b.subnets.v6 = a.subnets.v6;
        assert_eq!(losers(&[a, b]).len(), 1);
    }

    #[test]
    fn a_held_lease_yields_to_a_newer_one() {
        let gone = lease("a", "10.3.0.0/23", "192.0.2.1");
        let new = lease("b", "10.3.1.0/24", "192.0.2.2");
        let both =
            [Claimant { lease: &gone, held: true, fits: true, arrival: 1 }, Claimant { lease: &new, held: false, fits: false, arrival: 2 }];
        assert_eq!(collisions(both.into_iter())[0].loser, gone);
    }

    #[test]
    fn one_of_the_configs_length_wins_over_an_older_one_of_another() {
        let wide = lease("stray", "10.3.0.0/16", "192.0.2.1");
        let peers = [lease("b", "10.3.1.0/24", "192.0.2.2"), lease("c", "10.3.2.0/24", "192.0.2.3")];
        let misfit = Claimant { lease: &wide, held: false, fits: false, arrival: 0 };
        let fitting = peers.iter().map(|lease| Claimant { lease, held: false, fits: true, arrival: 1 });
        let found = collisions([misfit].into_iter().chain(fitting));
        assert_eq!(found.iter().map(|collision| &collision.loser).collect::<Vec<_>>(), [&wide]);
    }

    proptest! {
        #[test]
        fn it_agrees_with_comparing_all_with_all(nets in proptest::collection::vec((0u32..64, 20u8..=26), 0..30)) {
            let mut leases: Vec<Lease> = Vec::new();
            for (third, len) in nets {
                let net = ipnet::Ipv4Net::around(u128::from(0x0a03_0000 + (third << 8)), len);
                if leases.iter().all(|lease| lease.subnets.v4 != Some(net)) {
                    leases.push(lease("x", &net.to_string(), "192.0.2.1"));
                }
            }
            let mut winners: Vec<&Lease> = Vec::new();
            let mut expected = Vec::new();
            for lease in &leases {
                if winners.iter().any(|winner| winner.subnets.overlaps(&lease.subnets)) {
                    expected.push(lease.subnets.to_string());
                } else {
                    winners.push(lease);
                }
            }
            prop_assert_eq!(losers(&leases), expected);
        }
    }
}

//! Ways to a peer: the order in which they are taken, the choice among them, and the items by which one is proved beside the one in use.
//!
//! Pure.

use ipnet::IpNet;
use twill_model::item::{Device, Item, PROOF_METRIC, PROOF_METRICS, Route};
use twill_model::proof::{Proof, Verdict};
use twill_model::{Lease, Prefixes, Way};

/// The peer's ways, best first: those of the config's backend, then as the peer has them.
pub fn preferred(peer: &Lease, config: &str) -> Vec<Way> {
    let mut ways: Vec<Way> = peer.ways.iter().map(|way| Way { backend: way.type_in(config).to_owned(), ..way.clone() }).collect();
    ways.sort_by_key(|way| way.backend != config);
    ways
}

/// The way to take among the usable ones: the first that is proved, one whose path carries less than its link only where no other is. Where none is, nothing moves,
/// unless the one in use has failed: then the next one that has not is taken. Its proof cannot be waited for, since what comes back from the peer comes by the way
/// that the peer has in use, which may be the one that failed; the peer does the same. Where nothing is in use yet, the first that has not failed is taken at once,
/// so that nobody waits for a proof who has nothing else.
pub fn choose(proofs: &[Proof], current: Option<usize>) -> Option<usize> {
    let first = |wanted: &dyn Fn(&Proof) -> bool| proofs.iter().position(wanted);
    let current = current.filter(|place| *place < proofs.len());
    let is_proved = |proof: &Proof| proof.verdict == Verdict::Proved;
    let after_failed = |place: usize| {
        let open = |next: &usize| proofs[*next].verdict != Verdict::Failed;
        (proofs[place].verdict == Verdict::Failed).then(|| (place + 1..proofs.len()).find(open)).flatten()
    };
    first(&|proof| is_proved(proof) && !proof.is_narrow())
        .or_else(|| first(&is_proved))
        .or_else(|| current.and_then(after_failed))
        .or(current)
        .or_else(|| first(&|proof| proof.verdict != Verdict::Failed))
        .or_else(|| first(&|_| true))
}

/// True when the way at `place` is to be tried, with the one at `chosen` in use: what is in use and what is better always, the rest while the one in use
/// is not proved, or carries less than its link.
pub fn is_tried(place: usize, chosen: usize, in_use: Proof) -> bool {
    place <= chosen || in_use.verdict != Verdict::Proved || in_use.is_narrow()
}

/// The items of a way whose path carries less than its link: the routes to the peer say so, so that its packets are cut, or their senders told, before they leave.
/// A tunnel that has one route for all peers gets one for this peer.
pub fn narrowed(mut items: Vec<Item>, subnets: Prefixes, proof: Proof) -> Vec<Item> {
    for subnet in subnets.iter() {
        let Some(fits) = proof.fits(subnet.addr().is_ipv4()) else { continue };
        let to_it = |item: &Item| matches!(item, Item::Route(route) if route.to == subnet);
        if let Some(Item::Route(route)) = items.iter_mut().find(|item| to_it(item)) {
            route.mtu = Some(route.mtu.map_or(fits, |mtu| mtu.min(fits)));
        } else if let Some((on, _)) = leaves_by(&items, subnet) {
            items.push(Item::Route(Route { to: subnet, via: None, on, onlink: false, scope_global: true, mtu: Some(fits), metric: 0 }));
        }
    }
    items
}

/// The items of a way that is not in use, so that it can be tried: its routes get a metric, by which only those take them who ask for the link.
pub fn for_proof(items: Vec<Item>, place: usize) -> Vec<Item> {
    let rank = u32::try_from(place).unwrap_or(PROOF_METRICS).min(PROOF_METRICS - 1);
    let beside = |item| match item {
        Item::Route(route) => Item::Route(Route { metric: PROOF_METRIC + rank, ..route }),
        other => other,
    };
    items.into_iter().map(beside).collect()
}

/// The items of a way whose routes carry the way's MTU, so that the kernel tells senders what fits; one that a backend planned and is smaller stays.
pub fn carry_mtu(items: Vec<Item>, mtu: Option<u32>) -> Vec<Item> {
    let carry = |item| match item {
        Item::Route(route) => Item::Route(Route { mtu: route.mtu.into_iter().chain(mtu).min(), ..route }),
        other => other,
    };
    items.into_iter().map(carry).collect()
}

/// The link by which `items` send to `subnet`, with the route's MTU; none when they do not.
pub fn leaves_by(items: &[Item], subnet: IpNet) -> Option<(Device, Option<u32>)> {
    let route = items.iter().find_map(|item| match item {
        Item::Route(route) if route.to == subnet => Some((route.on.clone(), route.mtu)),
        _ => None,
    });
    let tunnel = || {
        items.iter().find_map(|item| match item {
            Item::Endpoint(endpoint) if endpoint.to == subnet => Some((endpoint.on.clone(), None)),
            _ => None,
        })
    };
    route.or_else(tunnel)
}

#[cfg(test)]
mod tests {
    use Verdict::{Failed, Proved, Unknown};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::lease;

    fn way(backend: &str, options: &str) -> Way {
        Way { backend: backend.into(), options: options.into(), data_v4: None, data_v6: None }
    }

    #[test]
    fn the_configs_backend_goes_first_and_the_rest_as_published() {
        let mut peer = lease(2);
        peer.ways = vec![way("", "{}"), way("vxlan", "8"), way("vxlan", "1")];
        let order = |config| preferred(&peer, config).into_iter().map(|way| way.backend + &way.options).collect::<Vec<_>>();
        assert_eq!(order("vxlan"), ["vxlan8", "vxlan1", "udp{}"]);
        assert_eq!(order("host-gw"), ["udp{}", "vxlan8", "vxlan1"]);
    }

    fn pick(verdicts: &[Verdict], current: Option<usize>) -> Option<usize> {
        choose(&verdicts.iter().map(|verdict| Proof::from(*verdict)).collect::<Vec<_>>(), current)
    }

    #[test]
    fn routes_carry_the_ways_mtu_and_a_smaller_one_of_their_own_stays() {
        let route = |mtu| {
            let on = Device::Link("v4".into());
            Item::Route(Route { to: crate::testing::net("10.1.2.0/24"), via: None, on, onlink: false, scope_global: false, mtu, metric: 0 })
        };
        assert_eq!(carry_mtu(vec![route(None)], Some(1450)), [route(Some(1450))]);
        assert_eq!(carry_mtu(vec![route(Some(1400))], Some(1450)), [route(Some(1400))]);
        assert_eq!(carry_mtu(vec![route(Some(1500))], Some(1450)), [route(Some(1450))]);
        assert_eq!(carry_mtu(vec![route(None)], None), [route(None)]);
        assert!(route(Some(1450)).to_string().ends_with(" mtu 1450"), "it is told");
    }

    #[test]
    fn nothing_moves_without_a_proof_and_nothing_waits_without_a_choice() {
        assert_eq!(pick(&[Unknown, Proved], Some(1)), Some(1), "the new way is not proved yet");
        assert_eq!(pick(&[Proved, Proved], Some(1)), Some(0), "now it is");
        assert_eq!(pick(&[Failed, Proved], Some(0)), Some(1), "the way in use failed, another works");
        assert_eq!(pick(&[Failed, Unknown], Some(0)), Some(1), "the peer's answers may come by what failed: both go on to the next");
        assert_eq!(pick(&[Failed, Failed, Unknown], Some(0)), Some(2));
        assert_eq!(pick(&[Unknown, Failed], Some(1)), Some(1), "what is better waits for its proof");
        assert_eq!(pick(&[Unknown, Unknown], Some(0)), Some(0), "nothing is known yet");
        assert_eq!(pick(&[Failed, Failed], Some(1)), Some(1), "a peer that is away moves nothing");
        assert_eq!(pick(&[Unknown, Unknown], None), Some(0), "a fresh node does not wait");
        assert_eq!(pick(&[Failed, Unknown], None), Some(1));
        assert_eq!(pick(&[Failed], None), Some(0));
        assert_eq!(pick(&[], Some(0)), None);
    }

    proptest! {
        #[test]
        fn a_proved_way_is_never_left_for_one_that_is_not(
            verdicts in prop::collection::vec(prop_oneof![Just(Unknown), Just(Proved), Just(Failed)], 1..6),
            current in prop::option::of(0usize..6),
        ) {
            let chosen = pick(&verdicts, current).expect("there is a way");
            if verdicts.contains(&Proved) {
                prop_assert_eq!(verdicts[chosen], Proved);
            }
            prop_assert!(is_tried(chosen, chosen, verdicts[chosen].into()));
            prop_assert!((0..chosen).all(|better| is_tried(better, chosen, verdicts[chosen].into())));
        }
    }

    #[test]
    fn a_path_that_carries_less_than_its_link_is_taken_where_no_other_is_proved() {
        let narrow = Proof { v4: Some(1372), ..Proved.into() };
        assert_eq!(choose(&[narrow, Proved.into()], Some(0)), Some(1));
        assert_eq!(choose(&[narrow, Failed.into()], Some(1)), Some(0));
        assert_eq!(choose(&[Failed.into(), narrow], Some(0)), Some(1));
        assert!(is_tried(1, 0, narrow) && !is_tried(1, 0, Proved.into()), "one that carries more is looked for");
    }

    #[test]
    fn routes_to_a_peer_say_what_its_path_carries() {
        let (subnets, narrow) = (lease(2).subnets, Proof { v4: Some(1372), ..Proved.into() });
        let subnet = subnets.iter().next().expect("a subnet");
        let route = |to, mtu| Route { to, via: None, on: crate::testing::tun(), onlink: false, scope_global: true, mtu, metric: 0 };
        let mtu_of = |items: Vec<Item>| {
            let mtus = narrowed(items, subnets, narrow).into_iter().filter_map(|item| match item {
                Item::Route(route) => Some((route.to == subnet, route.mtu)),
                _ => None,
            });
            mtus.collect::<Vec<_>>()
        };
        assert_eq!(mtu_of(vec![Item::Route(route(subnet, None))]), [(true, Some(1372))]);
        assert_eq!(mtu_of(vec![Item::Route(route(subnet, Some(1300)))]), [(true, Some(1300))], "a plugin's smaller one stays");
        let endpoint = Item::Endpoint(twill_model::item::Endpoint {
            on: crate::testing::tun(),
            to: subnet,
            peer: crate::testing::ip("192.0.2.2"),
            port: 8285,
        });
        assert_eq!(mtu_of(vec![endpoint.clone()]), [(true, Some(1372))], "the network's route is not the peer's");
        assert_eq!(narrowed(vec![endpoint.clone()], subnets, Proved.into()), [endpoint]);
    }
}

use super::*;
use crate::testing::{lease, net};
use proptest::prelude::*;

const SMALL: &str = r#"{"Network": "10.3.0.0/16", "SubnetMin": "10.3.1.0", "SubnetMax": "10.3.24.0"}"#;
const DUAL: &str = r#"{"Network": "10.3.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00::/48"}"#;

fn config(text: &str) -> NetworkConfig {
    NetworkConfig::parse(text).expect("a good config")
}

fn chosen(text: &str, others: &[Lease], wanted: &[Prefixes], seed: u64) -> Vec<Prefixes> {
    candidates(&config(text), &others.iter().collect::<Vec<_>>(), wanted, seed).expect("some are free")
}

#[test]
fn the_wanted_subnets_come_first_and_once() {
    let wanted = [net("10.3.7.0/24"), net("10.3.9.0/24"), net("10.3.7.0/24")];
    let found = chosen(SMALL, &[], &wanted, 1);
    assert_eq!(&found[..2], &wanted[..2]);
    assert_eq!(found.len(), 24);
}

#[test]
fn a_wanted_subnet_that_is_held_or_does_not_fit_is_passed_over() {
    let others = [lease("b", "10.3.6.0/23", "192.0.2.2")];
    let found = chosen(SMALL, &others, &[net("10.3.7.0/24"), net("10.4.1.0/24")], 1);
    assert_eq!(found.len(), 22);
    assert!(!found.contains(&net("10.3.7.0/24")) && !found.contains(&net("10.4.1.0/24")));
}

#[test]
fn at_most_a_hundred_free_ones_the_lowest_ones_in_an_order_of_the_seed() {
    let plain = r#"{"Network": "10.3.0.0/16"}"#;
    let mut one = chosen(plain, &[], &[], 1);
    let mut two = chosen(plain, &[], &[], 2);
    assert_eq!(one.len(), CANDIDATES);
    assert_ne!(one, two, "racing nodes would meet at each step");
    one.sort();
    two.sort();
    assert_eq!(one, two);
    assert_eq!(one[99], net("10.3.100.0/24"));
}

#[test]
fn a_full_network_says_so_and_what_to_do() {
    let others: Vec<Lease> = (1..=24).map(|i| lease(&format!("n{i}"), &format!("10.3.{i}.0/24"), &format!("192.0.2.{i}"))).collect();
    let full = candidates(&config(SMALL), &others.iter().collect::<Vec<_>>(), &[], 1).expect_err("full");
    assert_eq!((full.subnets, full.leases), (24, 24));
    let text = full.to_string();
    for part in ["10.3.0.0/16", "24 subnets", "24 leases", "SubnetMax", "give back", "expire"] {
        assert!(text.contains(part), "\"{part}\" is missing in: {text}");
    }
}

#[test]
fn twins_go_together_in_dual_stack() {
    let range = config(DUAL);
    for pair in chosen(DUAL, &[], &[], 3) {
        let index = range.v4.expect("IPv4").index(pair.v4.expect("IPv4"));
        assert_eq!(range.v6.expect("IPv6").index(pair.v6.expect("IPv6")), index);
    }
}

#[test]
fn a_taken_twin_is_replaced_by_one_that_nobody_pairs_with() {
    let stray = Lease { subnets: net("fd00:0:0:2::/64"), ..lease("b", "10.9.9.0/24", "192.0.2.2") };
    let found = chosen(DUAL, &[stray], &[], 3);
    let odd = found.iter().find(|pair| pair.v4 == net("10.3.2.0/24").v4).expect("still offered");
    assert_eq!(odd.v6, net("fd00:0:0:100::/64").v6, "the first IPv6 subnet beyond the IPv4 ones");
    let mut seen: Vec<_> = found.iter().map(|pair| pair.v6).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), found.len());
}

#[test]
fn a_wide_ipv6_range_costs_no_more_than_its_leases() {
    let wide = r#"{"EnableIPv4": false, "EnableIPv6": true, "IPv6Network": "fc00::/7", "IPv6SubnetLen": 126}"#;
    let others = [Lease { subnets: net("fc00::/20"), ..lease("b", "10.9.9.0/24", "192.0.2.2") }];
    assert_eq!(chosen(wide, &others, &[], 3).len(), CANDIDATES);
}

proptest! {
    #[test]
    fn candidates_fit_overlap_nobody_and_are_distinct(held in proptest::collection::btree_set((0u32..256, 20u8..=28), 0..60), seed in any::<u64>()) {
        let others: Vec<Lease> = held.iter().map(|(third, len)| {
            let subnet = Ipv4Net::around(u128::from(0x0a03_0000 + (third << 8)), *len);
            lease("other", &subnet.to_string(), "192.0.2.7")
        }).collect();
        let refs: Vec<&Lease> = others.iter().collect();
        let config = config(r#"{"Network": "10.3.0.0/16"}"#);
        let range = config.v4.expect("IPv4");
        let expected = range.iter().filter(|subnet| others.iter().all(|o| !o.subnets.overlaps(&Prefixes { v4: Some(*subnet), v6: None }))).take(CANDIDATES).count();
        match candidates(&config, &refs, &[], seed) {
            Ok(found) => {
                prop_assert_eq!(found.len(), expected);
                for subnets in &found {
                    prop_assert!(fit(&config, subnets).is_ok());
                    prop_assert!(others.iter().all(|o| !o.subnets.overlaps(subnets)));
                }
                prop_assert_eq!(found.iter().collect::<std::collections::BTreeSet<_>>().len(), found.len());
            }
            Err(_) => prop_assert_eq!(expected, 0),
        }
    }
}

//! The rules themselves. Their meaning is flannel's (its iptables mode); they differ in one point: what enters the overlay from outside gets the
//! node's own overlay address by `snat`, not by `masquerade`, since a masqueraded connection is reset when its route moves to another device.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use twill_model::Prefixes;
use twill_model::firewall::{Action, Chain, Family, Hook, Match, Rule, Ruleset, Table};

/// A packet with this bit in its mark is left alone: Kubernetes marks by it what it translates itself.
const LEAVE_ALONE: u32 = 0x4000;

/// What the rules follow from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallInput<'a> {
    /// The overlay's networks.
    pub networks: Prefixes,
    /// This node's subnets; their base addresses are its own overlay addresses.
    pub subnets: Prefixes,
    /// Masquerade what leaves the overlay, and translate what enters it from outside.
    pub masquerade: bool,
    /// Accept forwarded packets of the overlay.
    pub forward: bool,
    /// New ports are chosen at random.
    pub random: bool,
    /// The instance, which names the tables.
    pub instance: &'a str,
}

/// The rules of this node: a table for each family that has a network and a subnet; none when neither kind of rule is wanted.
pub fn rules(input: &FirewallInput) -> Ruleset {
    let pair = |network: Option<IpNet>, subnet: Option<IpNet>| Some((network?, subnet?));
    let v4 = pair(input.networks.v4.map(IpNet::V4), input.subnets.v4.map(IpNet::V4));
    let v6 = pair(input.networks.v6.map(IpNet::V6), input.subnets.v6.map(IpNet::V6));
    let tables = v4.into_iter().chain(v6).filter_map(|(network, subnet)| table(input, network, subnet)).collect();
    Ruleset { table: table_name(input.instance), tables }
}

/// The name of an instance's tables: "twill", or "twill-" and the instance, so that none is called like a table of somebody else ("filter", "nat").
/// What nft does not take in a name becomes "_".
pub fn table_name(instance: &str) -> String {
    if instance == "twill" {
        return instance.to_owned();
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    format!("twill-{}", instance.chars().map(plain).collect::<String>())
}

fn table(input: &FirewallInput, network: IpNet, subnet: IpNet) -> Option<Table> {
    let family = if network.addr().is_ipv4() { Family::Ip } else { Family::Ip6 };
    let mut chains = Vec::new();
    if input.forward {
        chains.push(Chain { hook: Hook::Forward, rules: forward(network) });
    }
    if input.masquerade {
        chains.push(Chain { hook: Hook::Postrouting, rules: postrouting(network, subnet, input.random) });
    }
    (!chains.is_empty()).then_some(Table { family, chains })
}

fn forward(network: IpNet) -> Vec<Rule> {
    vec![rule([Match::From(network)], Action::Accept, "from the overlay"), rule([Match::To(network)], Action::Accept, "to the overlay")]
}

fn postrouting(network: IpNet, subnet: IpNet, random: bool) -> Vec<Rule> {
    let own = Action::Snat { to: subnet.network(), random };
    vec![
        rule([Match::Mark(LEAVE_ALONE)], Action::Return, "somebody else translates it"),
        rule([Match::From(subnet), Match::To(network)], Action::Return, "own pods to the overlay"),
        rule([Match::From(network), Match::To(subnet)], Action::Return, "the overlay to own pods"),
        rule([Match::NotFrom(network), Match::To(subnet)], Action::Return, "anyone to own pods"),
        rule([Match::From(network), Match::NotTo(multicast(network))], Action::Masquerade { random }, "pods to the outside"),
        rule([Match::NotFrom(network), Match::To(network)], own, "the outside to other nodes' pods"),
    ]
}

fn rule<const N: usize>(when: [Match; N], then: Action, comment: &str) -> Rule {
    Rule { when: when.to_vec(), then, comment: comment.to_owned() }
}

/// The multicast addresses of a network's family.
fn multicast(network: IpNet) -> IpNet {
    match network {
        IpNet::V4(_) => IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::new(224, 0, 0, 0), 4)),
        IpNet::V6(_) => IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8)),
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;

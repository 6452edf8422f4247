//! The rules themselves. Their meaning is flannel's (its iptables mode). In tables of our own they differ in two points: what enters the overlay from
//! outside gets the node's own overlay address by `snat`, not by `masquerade`, since a masqueraded connection is reset when its route moves to another
//! device; and what pods of two other nodes send each other through this one keeps its source. In iptables' tables they are flannel's to the letter, comments included, for what reads them there.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use twill_model::Prefixes;
use twill_model::firewall::{Action, Chain, Engine, Family, Hook, Match, Rule, Ruleset, Table};

use crate::names::table_name;
use crate::restore::comment;

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
    /// Keep the segments of the overlay's TCP connections to what their routes carry. Only in tables of our own.
    pub clamp_mss: bool,
    /// New ports are chosen at random.
    pub random: bool,
    /// The instance, which names the tables.
    pub instance: &'a str,
    /// What holds the rules.
    pub engine: Engine,
    /// Networks of this node beside the present ones, whose rules under flannel's names are to go.
    pub earlier: &'a [IpNet],
}

/// The rules of this node: a table for each family that has a network and a subnet; none when neither kind of rule is wanted.
pub fn rules(input: &FirewallInput) -> Ruleset {
    let pair = |network: Option<IpNet>, subnet: Option<IpNet>| Some((network?, subnet?));
    let v4 = pair(input.networks.v4.map(IpNet::V4), input.subnets.v4.map(IpNet::V4));
    let v6 = pair(input.networks.v6.map(IpNet::V6), input.subnets.v6.map(IpNet::V6));
    let tables = v4.into_iter().chain(v6).filter_map(|(network, subnet)| table(input, network, subnet)).collect();
    let mut claims: Vec<IpNet> = input.networks.iter().chain(input.earlier.iter().copied()).collect();
    claims.sort();
    claims.dedup();
    Ruleset { engine: input.engine, table: table_name(input.instance), tables, claims }
}

fn table(input: &FirewallInput, network: IpNet, subnet: IpNet) -> Option<Table> {
    let family = if network.addr().is_ipv4() { Family::Ip } else { Family::Ip6 };
    let mut chains = Vec::new();
    let clamps = input.clamp_mss && input.engine == Engine::Nft;
    if input.forward || clamps {
        let mut rules = if clamps { clamp(network) } else { Vec::new() };
        rules.extend(input.forward.then(|| forward(network)).into_iter().flatten());
        if input.engine == Engine::Iptables {
            rules.iter_mut().for_each(|rule| comment(Hook::Forward).clone_into(&mut rule.comment));
        }
        chains.push(Chain { hook: Hook::Forward, rules });
    }
    if input.masquerade {
        let rules = match input.engine {
            Engine::Nft => postrouting(network, subnet, input.random),
            Engine::Iptables => flannels_postrouting(network, subnet, input.random),
        };
        chains.push(Chain { hook: Hook::Postrouting, rules });
    }
    (!chains.is_empty()).then_some(Table { family, chains })
}

/// Accepts what comes from the overlay or goes to it.
pub(crate) fn forward(network: IpNet) -> Vec<Rule> {
    vec![rule([Match::From(network)], Action::Accept, "from the overlay"), rule([Match::To(network)], Action::Accept, "to the overlay")]
}

/// Both ends' SYN: each says what its sender may be sent.
fn clamp(network: IpNet) -> Vec<Rule> {
    let why = "segments that their route carries";
    vec![rule([Match::From(network), Match::Syn], Action::ClampMss, why), rule([Match::To(network), Match::Syn], Action::ClampMss, why)]
}

fn postrouting(network: IpNet, subnet: IpNet, random: bool) -> Vec<Rule> {
    let own = Action::Snat { to: subnet.network(), random };
    vec![
        rule([Match::Mark(LEAVE_ALONE)], Action::Return, "somebody else translates it"),
        rule([Match::From(network), Match::To(network)], Action::Return, "pods to pods"),
        rule([Match::NotFrom(network), Match::To(subnet)], Action::Return, "anyone to own pods"),
        rule([Match::From(network), Match::NotTo(multicast(network))], Action::Masquerade { random }, "pods to the outside"),
        rule([Match::NotFrom(network), Match::To(network)], own, "the outside to other nodes' pods"),
    ]
}

/// flannel's own, in its order and with its comment. What two other nodes' pods send each other through this node is masqueraded by them.
fn flannels_postrouting(network: IpNet, subnet: IpNet, random: bool) -> Vec<Rule> {
    let masquerade = Action::Masquerade { random };
    let whens = [
        (vec![Match::Mark(LEAVE_ALONE)], Action::Return),
        (vec![Match::From(subnet), Match::To(network)], Action::Return),
        (vec![Match::From(network), Match::To(subnet)], Action::Return),
        (vec![Match::NotFrom(network), Match::To(subnet)], Action::Return),
        (vec![Match::From(network), Match::NotTo(multicast(network))], masquerade.clone()),
        (vec![Match::NotFrom(network), Match::To(network)], masquerade),
    ];
    let comment = comment(Hook::Postrouting);
    whens.into_iter().map(|(when, then)| Rule { when, then, comment: comment.to_owned() }).collect()
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

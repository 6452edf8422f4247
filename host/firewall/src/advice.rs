//! What stands in the rules' way, and what to do about it. An accept in one table does not overrule a drop in another, so a foreign chain that drops
//! forwarded packets can only be opened in its own table, by the one who runs this host.

use ipnet::IpNet;
use twill_model::firewall::{Action, Match, Ruleset};

/// A foreign chain that drops forwarded packets unless one of its own rules accepts them; rules in another table cannot overrule it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Barrier {
    /// Family of its table, as nft spells it ("ip", "inet").
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
    /// True when the table has Docker's chain for the operator's own rules, DOCKER-USER.
    pub docker: bool,
    /// Prefixes whose packets some rule of its table accepts by their source.
    pub accepts_from: Vec<IpNet>,
    /// Prefixes whose packets some rule of its table accepts by their destination.
    pub accepts_to: Vec<IpNet>,
}

/// One sentence for each chain and each network that it keeps out while `wanted` would let it pass.
pub fn advice(barriers: &[Barrier], wanted: &Ruleset) -> Vec<String> {
    let all = accepted(wanted).flat_map(|network| barriers.iter().map(move |barrier| (barrier, network)));
    all.filter(|(barrier, network)| concerns(barrier, *network)).map(|(barrier, network)| sentence(barrier, network)).collect()
}

/// The networks whose packets the rules accept by their source.
fn accepted(wanted: &Ruleset) -> impl Iterator<Item = IpNet> {
    let rules = wanted.tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
    rules.filter_map(|rule| match (&rule.when[..], &rule.then) {
        ([Match::From(network)], Action::Accept) => Some(*network),
        _ => None,
    })
}

fn concerns(barrier: &Barrier, network: IpNet) -> bool {
    let family = match barrier.family.as_str() {
        "ip" => network.addr().is_ipv4(),
        "ip6" => network.addr().is_ipv6(),
        family => family == "inet",
    };
    let open = |accepted: &[IpNet]| accepted.iter().any(|net| net.contains(&network));
    family && !(open(&barrier.accepts_from) && open(&barrier.accepts_to))
}

fn sentence(barrier: &Barrier, network: IpNet) -> String {
    let Barrier { family, table, chain, .. } = barrier;
    format!(
        "chain {chain} of table {family} {table} drops forwarded packets that it does not accept itself, pods' packets too, and no rule of twill can \
         overrule it; run: {}",
        command(barrier, network)
    )
}

fn command(barrier: &Barrier, network: IpNet) -> String {
    let Barrier { family, table, chain, docker, .. } = barrier;
    // These are iptables' own tables, which iptables alone should write to.
    if (table.as_str(), chain.as_str()) == ("filter", "FORWARD") && family != "inet" {
        let program = if family == "ip" { "iptables" } else { "ip6tables" };
        let chain = if *docker { "DOCKER-USER" } else { chain };
        return format!("{program} -I {chain} -s {network} -j ACCEPT && {program} -I {chain} -d {network} -j ACCEPT");
    }
    let ip = if network.addr().is_ipv4() { "ip" } else { "ip6" };
    let insert = |side: &str| format!("nft insert rule {family} {table} {chain} {ip} {side} {network} accept");
    format!("{} && {}", insert("saddr"), insert("daddr"))
}

#[cfg(test)]
mod tests {
    use twill_model::Prefixes;

    use super::*;
    use crate::{FirewallInput, rules};

    fn docker() -> Barrier {
        Barrier {
            family: "ip".into(),
            table: "filter".into(),
            chain: "FORWARD".into(),
            docker: true,
            accepts_from: vec![],
            accepts_to: vec![],
        }
    }

    fn wanted(forward: bool) -> Ruleset {
        let networks = Prefixes { v4: "10.1.0.0/16".parse().ok(), v6: "fd00:1::/48".parse().ok() };
        let subnets = Prefixes { v4: "10.1.7.0/24".parse().ok(), v6: "fd00:1:7::/64".parse().ok() };
        rules(&FirewallInput { networks, subnets, masquerade: true, forward, random: true, instance: "twill" })
    }

    #[test]
    fn dockers_policy_is_named_with_the_command_that_opens_it() {
        assert_eq!(advice(&[docker()], &wanted(false)), [""; 0], "forwarding is left to others");
        let told = advice(&[docker()], &wanted(true));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("chain FORWARD of table ip filter drops"), "{told:?}");
        let command = "run: iptables -I DOCKER-USER -s 10.1.0.0/16 -j ACCEPT && iptables -I DOCKER-USER -d 10.1.0.0/16 -j ACCEPT";
        assert!(told[0].ends_with(command), "{told:?}");
    }

    #[test]
    fn what_is_open_both_ways_is_no_barrier() {
        let wide: IpNet = "10.0.0.0/8".parse().expect("a prefix");
        let half = Barrier { accepts_from: vec![wide], ..docker() };
        assert_eq!(advice(std::slice::from_ref(&half), &wanted(true)).len(), 1);
        assert_eq!(advice(&[Barrier { accepts_to: vec![wide], ..half }], &wanted(true)), [""; 0]);
    }

    #[test]
    fn a_chain_of_nft_is_opened_by_nft_for_each_family() {
        let own = Barrier { family: "inet".into(), table: "site".into(), chain: "fw".into(), docker: false, ..docker() };
        let told = advice(&[own], &wanted(true));
        assert_eq!(told.len(), 2);
        assert!(told[1].contains("nft insert rule inet site fw ip6 daddr fd00:1::/48 accept"), "{told:?}");
    }
}

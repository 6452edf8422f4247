//! What stands in the rules' way, and what to do about it. An accept in one table does not overrule a drop in another, so a foreign chain that drops
//! forwarded packets can only be opened in its own table. What belongs to iptables is opened by us (see `opening`); the rest by the one who runs this host.

use ipnet::IpNet;
use serde_json::Value;
use twill_model::firewall::{Action, Engine, Family, Match, Ruleset};

use crate::json::{drops_all, leads_to, parts, prefixes, text};
use crate::listing::Listing;
use crate::names::iptables;
use crate::opening::accepts;
use crate::saved::Saved;

/// A foreign chain that drops forwarded packets unless one of its own rules accepts them; rules in another table cannot overrule it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Barrier<'a> {
    family: &'a str,
    table: &'a str,
    chain: &'a str,
}

/// firewalld's table; it is firewalld's alone to write to.
const FIREWALLD: &str = "firewalld";

/// One sentence for each chain of nftables and each network that it keeps out while `wanted` would let it pass. `opened`: we open iptables' chains.
pub(crate) fn advice(listing: &Listing, wanted: &Ruleset, opened: bool) -> Vec<String> {
    let barriers: Vec<Barrier> = barriers(listing, &wanted.table).filter(|there| !(opened && is_iptables(there))).collect();
    let all = accepted(wanted).flat_map(|network| barriers.iter().map(move |barrier| (barrier, network)));
    all.filter(|(barrier, network)| keeps_out(barrier, *network, listing)).map(|(barrier, network)| sentence(barrier, network)).collect()
}

/// The same for iptables' older kind of tables, which nftables does not show.
pub(crate) fn legacy_advice(saved: &Saved, family: Family, wanted: &Ruleset) -> Vec<String> {
    let program = format!("{}-legacy", iptables(family));
    let ours = |network: &IpNet| network.addr().is_ipv4() == (family == Family::Ip);
    let networks = accepted(wanted).filter(|network| ours(network) && saved.keeps_out(*network));
    let sentence = |network: IpNet| {
        let accept = |side: &str| format!("{program} -I FORWARD {side} {network} -j ACCEPT");
        told(&format!("chain FORWARD of {program}"), &format!("{} && {}", accept("-s"), accept("-d")))
    };
    networks.map(sentence).collect()
}

/// The networks whose packets the rules accept by their source.
pub(crate) fn accepted(wanted: &Ruleset) -> impl Iterator<Item = IpNet> {
    let rules = wanted.tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
    rules.filter_map(|rule| match (&rule.when[..], &rule.then) {
        ([Match::From(network)], Action::Accept) => Some(*network),
        _ => None,
    })
}

/// True when some rule accepts the network's packets by their source, and some by their destination.
pub(crate) fn accepts_both_ways<'a>(rules: impl Iterator<Item = &'a Value>, network: IpNet) -> bool {
    let accepted: Vec<Match> = accepts(rules).collect();
    let from = accepted.iter().any(|one| matches!(one, Match::From(net) if net.contains(&network)));
    from && accepted.iter().any(|one| matches!(one, Match::To(net) if net.contains(&network)))
}

fn barriers<'a>(listing: &'a Listing, own: &'a str) -> impl Iterator<Item = Barrier<'a>> {
    let foreign = listing.names().filter(move |(family, table)| !(table == own && Family::read(family).is_some()));
    foreign.flat_map(move |(family, table)| {
        let chains = listing.forward_chains(family, table).map(|chain| (chain, text(chain, "name")));
        let closed = move |(chain, name): &(&Value, &'a str)| {
            text(chain, "policy") == "drop" || listing.of_chain(family, table, name).any(drops_all)
        };
        chains.filter(closed).map(move |(_, chain)| Barrier { family, table, chain })
    })
}

fn is_iptables(barrier: &Barrier) -> bool {
    (barrier.table, barrier.chain) == ("filter", "FORWARD") && barrier.family != "inet"
}

fn keeps_out(barrier: &Barrier, network: IpNet, listing: &Listing) -> bool {
    let Barrier { family, table, .. } = *barrier;
    let of_family = match family {
        "ip" => network.addr().is_ipv4(),
        "ip6" => network.addr().is_ipv6(),
        _ => true,
    };
    let rules = listing.rules(family, table);
    let open = if table == FIREWALLD { trusted(rules, network) } else { accepts_both_ways(rules.iter(), network) };
    of_family && !open
}

/// True when firewalld trusts the network: its packets are led into the zone "trusted" by their source.
fn trusted(rules: &[Value], network: IpNet) -> bool {
    let by_source = |rule: &&Value| prefixes(rule).iter().any(|net| net.contains(&network)) && !parts(rule).is_empty();
    rules.iter().filter(by_source).any(|rule| leads_to(rule, "filter_FWD_trusted"))
}

fn sentence(barrier: &Barrier, network: IpNet) -> String {
    let Barrier { family, table, chain } = barrier;
    told(&format!("chain {chain} of table {family} {table}"), &command(barrier, network))
}

fn told(chain: &str, command: &str) -> String {
    format!(
        "{chain} drops forwarded packets that it does not accept itself, pods' packets too, and no rule of twill can overrule it; run: {command}"
    )
}

fn command(barrier: &Barrier, network: IpNet) -> String {
    let Barrier { family, table, chain } = barrier;
    if *table == FIREWALLD {
        return format!("firewall-cmd --permanent --zone=trusted --add-source={network} && firewall-cmd --reload");
    }
    let ip = if network.addr().is_ipv4() { "ip" } else { "ip6" };
    let insert = |side: &str| format!("nft insert rule {family} {table} {chain} {ip} {side} {network} accept");
    format!("{} && {}", insert("saddr"), insert("daddr"))
}

/// True when iptables' tables are ours to open: by an opening, or by the rules themselves.
pub(crate) fn opens_iptables(wanted: &Ruleset, legacy: bool) -> bool {
    wanted.engine == Engine::Nft || !legacy
}

#[cfg(test)]
#[path = "advice_tests.rs"]
mod tests;

//! Names that others see: our tables in nftables, flannel's tables and chains, and ours in iptables' tables.

use ipnet::IpNet;
use twill_model::firewall::{Family, Hook};

/// The instance whose chains have flannel's names.
const FIRST: &str = "twill";

/// flannel's tables in nftables, which it makes in both families whatever its network is.
pub(crate) const FLANNEL_TABLES: [(Family, &str); 2] = [(Family::Ip, "flannel-ipv4"), (Family::Ip6, "flannel-ipv6")];

/// The name of an instance's tables: "twill", or "twill-" and the instance, so that none is called like a table of somebody else ("filter", "nat").
/// What nft does not take in a name becomes "_".
pub fn table_name(instance: &str) -> String {
    if instance == FIRST {
        return instance.to_owned();
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    format!("{FIRST}-{}", instance.chars().map(plain).collect::<String>())
}

/// The chain for the rules of a hook in iptables' tables: flannel's own, so that scripts and documents about flannel hold; another instance, told by
/// the name of its tables, has a suffix.
pub(crate) fn chain_name(table: &str, hook: Hook) -> String {
    named(flannels_chain(hook), table)
}

/// The chain that opens somebody else's table for forwarded packets while our rules are in tables of our own.
pub(crate) fn opening_name(table: &str) -> String {
    named("TWILL-FWD", table)
}

/// flannel's chain for the rules of a hook.
pub(crate) fn flannels_chain(hook: Hook) -> &'static str {
    match hook {
        Hook::Forward => "FLANNEL-FWD",
        Hook::Postrouting => "FLANNEL-POSTRTG",
    }
}

/// iptables' table and chain at a hook.
pub(crate) fn builtin(hook: Hook) -> (&'static str, &'static str) {
    match hook {
        Hook::Forward => ("filter", "FORWARD"),
        Hook::Postrouting => ("nat", "POSTROUTING"),
    }
}

/// What iptables calls itself for a family.
pub fn iptables(family: Family) -> &'static str {
    match family {
        Family::Ip => "iptables",
        Family::Ip6 => "ip6tables",
    }
}

/// A chain's name has room for 28 bytes (`XT_EXTENSION_MAXNAMELEN` of linux/netfilter/x_tables.h), so of a long one only a digest is in it.
fn named(base: &str, table: &str) -> String {
    match table.strip_prefix(FIRST) {
        Some("") => base.to_owned(),
        suffix => format!("{base}-{:08x}", fnv(suffix.unwrap_or(table).as_bytes())),
    }
}

/// FNV-1a of 32 bits: the same in every build.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// True when a rule that names these prefixes is about a network that is not ours.
pub(crate) fn anothers(prefixes: &[IpNet], claims: &[IpNet]) -> bool {
    prefixes.iter().any(|prefix| !multicast(*prefix) && !claims.iter().any(|claim| claim.contains(prefix)))
}

/// The multicast addresses of a family, which flannel's rules name beside the network: 224.0.0.0/4 and ff00::/8.
fn multicast(prefix: IpNet) -> bool {
    prefix.addr().is_multicast() && matches!((prefix, prefix.prefix_len()), (IpNet::V4(_), 4) | (IpNet::V6(_), 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_instance_gets_a_table_of_somebody_else() {
        assert_eq!(table_name("twill"), "twill");
        assert_eq!(table_name("nat"), "twill-nat");
        assert_eq!(table_name("a b;{\"é"), "twill-a_b____");
    }

    #[test]
    fn the_first_instance_has_flannels_chains_and_others_have_chains_of_their_own() {
        assert_eq!(chain_name("twill", Hook::Postrouting), "FLANNEL-POSTRTG");
        assert_eq!(chain_name("twill", Hook::Forward), "FLANNEL-FWD");
        let (blue, green) = (chain_name("twill-blue", Hook::Postrouting), chain_name("twill-green", Hook::Postrouting));
        assert!(blue.starts_with("FLANNEL-POSTRTG-") && blue.len() <= 28 && blue != green, "{blue} {green}");
        assert_eq!(opening_name("twill"), "TWILL-FWD");
    }

    #[test]
    fn a_rule_is_anothers_when_it_names_a_network_of_somebody_else() {
        let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
        let claims = [net("10.1.0.0/16"), net("fd00:1::/48")];
        for ours in
            [vec![], vec![net("10.1.7.0/24"), net("10.1.0.0/16")], vec![net("10.1.0.0/16"), net("224.0.0.0/4")], vec![net("ff00::/8")]]
        {
            assert!(!anothers(&ours, &claims), "{ours:?}");
        }
        for theirs in
            [vec![net("10.2.0.0/16")], vec![net("10.1.7.0/24"), net("10.2.0.0/16")], vec![net("10.0.0.0/8")], vec![net("224.0.0.0/24")]]
        {
            assert!(anothers(&theirs, &claims), "{theirs:?}");
        }
    }
}

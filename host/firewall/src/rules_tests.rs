use super::*;
use crate::script;

fn input() -> FirewallInput<'static> {
    FirewallInput {
        networks: Prefixes { v4: "10.1.0.0/16".parse().ok(), v6: None },
        subnets: Prefixes { v4: "10.1.7.0/24".parse().ok(), v6: None },
        masquerade: true,
        forward: true,
        clamp_mss: false,
        random: true,
        instance: "twill",
        engine: Engine::Nft,
        earlier: &[],
    }
}

/// Written from the table of flannel's iptables rules (mark, pods to pods, to own pods, pods to the world, outside to pods; then forwarding), where its two
/// rules for pods to pods hold for all nodes' pods.
const IPV4: &str = r#"add table ip twill
delete table ip twill
table ip twill {
	chain forward {
		type filter hook forward priority 0; policy accept;
		ip saddr 10.1.0.0/16 accept comment "from the overlay"
		ip daddr 10.1.0.0/16 accept comment "to the overlay"
	}
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		meta mark & 0x4000 == 0x4000 return comment "somebody else translates it"
		ip saddr 10.1.0.0/16 ip daddr 10.1.0.0/16 return comment "pods to pods"
		ip saddr != 10.1.0.0/16 ip daddr 10.1.7.0/24 return comment "anyone to own pods"
		ip saddr 10.1.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random comment "pods to the outside"
		ip saddr != 10.1.0.0/16 ip daddr 10.1.0.0/16 snat to 10.1.7.0 fully-random comment "the outside to other nodes' pods"
	}
}
add table ip6 twill
delete table ip6 twill
"#;

const IPV6_ALONE: &str = r#"add table ip twill-blue
delete table ip twill-blue
add table ip6 twill-blue
delete table ip6 twill-blue
table ip6 twill-blue {
	chain postrouting {
		type nat hook postrouting priority 100; policy accept;
		meta mark & 0x4000 == 0x4000 return comment "somebody else translates it"
		ip6 saddr fd00:1::/48 ip6 daddr fd00:1::/48 return comment "pods to pods"
		ip6 saddr != fd00:1::/48 ip6 daddr fd00:1:0:7::/64 return comment "anyone to own pods"
		ip6 saddr fd00:1::/48 ip6 daddr != ff00::/8 masquerade comment "pods to the outside"
		ip6 saddr != fd00:1::/48 ip6 daddr fd00:1::/48 snat to fd00:1:0:7:: comment "the outside to other nodes' pods"
	}
}
"#;

#[test]
fn the_script_is_flannels_table_in_nfts_words() {
    assert_eq!(script(&rules(&input())), IPV4);
}

#[test]
fn ipv6_alone_of_another_instance_without_forwarding_and_random_ports() {
    let networks = Prefixes { v4: None, v6: "fd00:1::/48".parse().ok() };
    let subnets = Prefixes { v4: None, v6: "fd00:1:0:7::/64".parse().ok() };
    let input = FirewallInput { networks, subnets, forward: false, random: false, instance: "blue", ..input() };
    assert_eq!(script(&rules(&input)), IPV6_ALONE);
}

#[test]
fn both_families_have_a_table_each_and_nothing_wanted_takes_both_away() {
    let networks = Prefixes { v6: "fd00:1::/48".parse().ok(), ..input().networks };
    let subnets = Prefixes { v6: "fd00:1:0:7::/64".parse().ok(), ..input().subnets };
    let dual = FirewallInput { networks, subnets, ..input() };
    assert_eq!(rules(&dual).to_string(), "tables ip twill, ip6 twill");
    let none = rules(&FirewallInput { masquerade: false, forward: false, ..dual });
    assert_eq!(none.tables, []);
    assert_eq!(script(&none), "add table ip twill\ndelete table ip twill\nadd table ip6 twill\ndelete table ip6 twill\n");
}

#[test]
fn a_family_without_an_own_subnet_has_no_table() {
    let networks = Prefixes { v6: "fd00:1::/48".parse().ok(), ..input().networks };
    assert_eq!(rules(&FirewallInput { networks, ..input() }).to_string(), "table ip twill");
}

#[test]
fn what_is_claimed_is_every_network_once() {
    let earlier = ["10.9.0.0/16", "10.1.0.0/16"].map(|text| text.parse().expect("a prefix"));
    let claims = rules(&FirewallInput { earlier: &earlier, ..input() }).claims;
    assert_eq!(claims, ["10.1.0.0/16", "10.9.0.0/16"].map(|text| text.parse::<IpNet>().expect("a prefix")));
}

#[test]
fn segments_are_clamped_before_anything_is_accepted() {
    let clamped = script::script(&rules(&FirewallInput { clamp_mss: true, masquerade: false, ..input() }));
    let wanted = "\t\ttype filter hook forward priority 0; policy accept;
\t\tip saddr 10.1.0.0/16 tcp flags syn tcp option maxseg size set rt mtu comment \"segments that their route carries\"
\t\tip daddr 10.1.0.0/16 tcp flags syn tcp option maxseg size set rt mtu comment \"segments that their route carries\"
\t\tip saddr 10.1.0.0/16 accept comment \"from the overlay\"
";
    assert!(clamped.contains(wanted), "{clamped}");
    let alone = rules(&FirewallInput { clamp_mss: true, masquerade: false, forward: false, ..input() });
    assert_eq!(alone.tables[0].chains[0].rules.len(), 2);
    let iptables = FirewallInput { clamp_mss: true, engine: Engine::Iptables, ..input() };
    assert_eq!(rules(&iptables), rules(&FirewallInput { clamp_mss: false, ..iptables }), "flannel's rules stay flannel's");
}

//! The plan, item by item, against what flannel's vxlan backend was seen to do, and every reason to refuse.

use proptest::prelude::*;
use twill_backend_vxlan::plan;
use twill_guest::backend::*;

use crate::support::*;

fn send(context: &Context, peer: &Lease, road: Road) -> Result<Vec<Item>, Refusal> {
    plan::send_to(context, peer, &peer.ways[0], road)
}

#[test]
fn the_local_plan_is_flannels() {
    let base = plan::local(&v4("{}")).expect("planned");
    let golden = [
        "link <v4> flannel.1 mtu 1450 aa:f6:b2:bc:81:b1 vxlan id 1 local 10.98.0.1 dstport 8472 nolearning",
        "address 10.10.1.0/32 dev <v4>",
    ];
    assert_eq!(lines(&base.items), golden);
    assert_eq!(base.pod_mtu, 1450);
}

#[test]
fn in_dual_stack_there_is_a_second_link_and_pods_get_the_smaller_mtu() {
    let base = plan::local(&dual("{}")).expect("planned");
    let golden = [
        "link <v4> flannel.1 mtu 1450 aa:f6:b2:bc:81:b1 vxlan id 1 local 10.98.0.1 dstport 8472 nolearning",
        "address 10.10.1.0/32 dev <v4>",
        "link <v6> flannel-v6.1 mtu 1430 1a:f5:8e:f3:09:40 vxlan id 1 local fd98::1 dstport 8472 nolearning",
        "address fd10:0:0:1::/128 dev <v6>",
    ];
    assert_eq!(lines(&base.items), golden);
    assert_eq!(base.pod_mtu, 1430);
}

#[test]
fn a_peer_takes_neighbour_entry_and_route_in_flannels_order() {
    let golden = [
        "neigh 10.10.2.0 dev <v4> lladdr aa:42:99:be:6f:04 PERMANENT",
        "fdb aa:42:99:be:6f:04 dev <v4> dst 10.98.0.2 self permanent",
        "route 10.10.2.0/24 via 10.10.2.0 dev <v4> onlink",
        "neigh fd10:0:0:2:: dev <v6> lladdr 62:0f:35:9e:01:77 PERMANENT",
        "fdb 62:0f:35:9e:01:77 dev <v6> dst fd98::2 self permanent",
        "route fd10:0:0:2::/64 via fd10:0:0:2:: dev <v6> onlink",
    ];
    for road in [ROUTED, ON_LINK] {
        assert_eq!(lines(&send(&dual("{}"), &peer(), road).expect("planned")), golden);
        assert_eq!(lines(&send(&v4("{}"), &peer(), road).expect("planned")), golden[..3]);
    }
}

#[test]
fn options_reach_the_link() {
    let all = r#"{"VNI":7,"Port":4789,"GBP":true,"Learning":true,"MTU":1400}"#;
    let base = plan::local(&dual(all)).expect("planned");
    assert_eq!(line(&base.items[0]), "link <v4> flannel.7 mtu 1350 aa:f6:b2:bc:81:b1 vxlan id 7 local 10.98.0.1 dstport 4789 learning gbp");
    assert!(line(&base.items[2]).starts_with("link <v6> flannel-v6.7 mtu 1330 "), "{}", line(&base.items[2]));
    assert_eq!(base.pod_mtu, 1330);
    // The kernel's default port by its number, so that what is planned reads back equal.
    assert!(line(&plan::local(&v4(r#"{"Port":0}"#)).expect("planned").items[0]).contains("dstport 8472"));
    // No device can carry more than the interface below it.
    assert_eq!(plan::local(&v4(r#"{"MTU":9000}"#)).expect("planned").pod_mtu, 1450);
}

#[test]
fn with_direct_routing_a_peer_on_the_link_takes_a_plain_route() {
    let context = dual(r#"{"DirectRouting":true}"#);
    let direct = ["route 10.10.2.0/24 via 10.98.0.2 dev <underlay>", "route fd10:0:0:2::/64 via fd98::2 dev <underlay>"];
    assert_eq!(lines(&send(&context, &peer(), ON_LINK).expect("planned")), direct);
    let mixed = lines(&send(&context, &peer(), Road { v4: Hop::OnLink, v6: Hop::Routed }).expect("planned"));
    assert_eq!((mixed.len(), mixed[0].as_str()), (4, direct[0]));
    assert_eq!(send(&context, &peer(), ROUTED), send(&dual("{}"), &peer(), ROUTED));
}

#[test]
fn behind_nat_packets_leave_from_the_interfaces_own_address() {
    let mut context = v4("{}");
    context.node.public.v4 = text("203.0.113.7");
    context.node.underlay.addresses = vec!["10.98.0.5/24".into()];
    assert!(line(&plan::local(&context).expect("planned").items[0]).contains("local 10.98.0.5 "));
    context.node.underlay.addresses = vec!["fd98::1/64".into()];
    assert_eq!(unsuitable(plan::local(&context)), "eth0 has no IPv4 address");
}

#[test]
fn a_link_too_small_is_refused() {
    let mut context = dual("{}");
    context.node.underlay.mtu = 1349;
    let told = unsuitable(plan::local(&context));
    assert_eq!(told, "an underlay MTU of 1349 on eth0 leaves 1279 bytes for IPv6 in VXLAN, and 1280 is the least");
    context.node.underlay.mtu = 1350;
    assert_eq!(plan::local(&context).expect("planned").pod_mtu, 1280);
}

#[test]
fn another_vni_is_another_network() {
    let other = lease_v4(2, way("{}", Some(r#"{"VNI":2,"VtepMAC":"aa:42:99:be:6f:04"}"#), None));
    assert_eq!(unsuitable(send(&v4("{}"), &other, ROUTED)), "the peer is in the VXLAN with VNI 2, this node in that with VNI 1");
}

#[test]
fn a_peer_that_receives_on_another_port_is_not_sent_to() {
    let at = |options: &str| lease_v4(2, way(options, Some(PEER_V4), None));
    let told = unsuitable(send(&v4("{}"), &at(r#"{"VNI":1,"Port":4790}"#), ROUTED));
    assert_eq!(told, "the peer receives VXLAN on port 4790, this node on port 8472");
    let own = v4(r#"{"Port":4790}"#);
    assert!(send(&own, &at(r#"{"VNI":1,"Port":4790}"#), ROUTED).is_ok());
    assert!(send(&own, &at("{}"), ROUTED).is_ok(), "flannel does not say its port: it is the config's");
    let direct = v4(r#"{"DirectRouting":true}"#);
    assert!(send(&direct, &at(r#"{"Port":4790}"#), ON_LINK).is_ok(), "a plain route needs no port");
}

#[test]
fn what_is_missing_costs_only_its_family() {
    let mut lame = peer();
    lame.ways[0].data_v6 = None;
    assert_eq!(send(&dual("{}"), &lame, ROUTED), send(&v4("{}"), &peer(), ROUTED));
    lame.public.v4 = None;
    let told = unsuitable(send(&dual("{}"), &lame, ROUTED));
    assert_eq!(told, "the peer has no public IPv4 address; no BackendV6Data is published");
}

#[test]
fn undecodable_data_are_named_by_their_field() {
    let told = |data: &str| invalid(send(&v4("{}"), &lease_v4(2, way("{}", Some(data), None)), ROUTED));
    let mac = |mac: &str| told(&format!(r#"{{"VNI":1,"VtepMAC":"{mac}"}}"#));
    let wrong = "BackendData.VtepMAC must be the Ethernet address of one node, such as 0a:1b:2c:3d:4e:5f, not";
    assert_eq!(told(r#"{"VNI":1}"#), "BackendData.VtepMAC is missing");
    assert_eq!(
        told(r#"{"VNI":"x","VtepMAC":"aa:42:99:be:6f:04"}"#),
        r#"BackendData.VNI must be a whole number from 0 to 16777215, not "x""#
    );
    assert_eq!(told("null"), "BackendData must be an object, not null");
    for bad in ["zz", "", "aa:42:99:be:6f", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:42:99:be:6f:04", "+a:42:99:be:6f:04"] {
        assert_eq!(mac(bad), format!("{wrong} \"{bad}\""));
    }
    assert_eq!(mac("aa:f6:b2:bc:81:b1"), "the peer publishes this node's own MAC address aa:f6:b2:bc:81:b1");
    let v6 = lease(2, way("{}", Some(PEER_V4), Some(r#"{"VtepMAC":1}"#)));
    assert_eq!(invalid(send(&dual("{}"), &v6, ROUTED)), "BackendV6Data.VtepMAC must be text, not 1");
}

#[test]
fn macs_are_read_as_go_reads_them() {
    let shouting = lease_v4(2, way("{}", Some(r#"{"vni":1,"vtepmac":"AA-42-99-BE-6F-04"}"#), None));
    assert_eq!(send(&v4("{}"), &shouting, ROUTED), send(&v4("{}"), &peer(), ROUTED));
}

fn peers() -> Vec<Lease> {
    let data = |number: u8, kind: u8| format!(r#"{{"VNI":1,"VtepMAC":"02:00:00:00:{kind:02x}:{number:02x}"}}"#);
    (2..12).map(|number| lease(number, way("{}", Some(&data(number, 4)), Some(&data(number, 6))))).collect()
}

fn sorted_plan(peers: &[Lease]) -> Vec<String> {
    let mut all: Vec<String> = peers.iter().flat_map(|peer| lines(&send(&dual("{}"), peer, ROUTED).expect("planned"))).collect();
    all.sort();
    all
}

proptest! {
    #[test]
    fn the_order_of_peers_and_addresses_changes_nothing(shuffled in Just(peers()).prop_shuffle(), own in Just(node().underlay.addresses).prop_shuffle()) {
        prop_assert_eq!(sorted_plan(&shuffled), sorted_plan(&peers()));
        let mut context = dual("{}");
        context.node.underlay.addresses = own;
        prop_assert_eq!(plan::local(&context), plan::local(&dual("{}")));
    }

    #[test]
    fn no_data_make_the_backend_panic_or_plan_outside_the_lease(data in "\\PC{0,60}", mac in "[0-9a-fA-F:-]{0,20}") {
        for data in [data, format!(r#"{{"VNI":1,"VtepMAC":"{mac}"}}"#)] {
            if let Ok(items) = send(&v4("{}"), &lease_v4(2, way("{}", Some(&data), None)), ROUTED) {
                prop_assert_eq!(items.len(), 3);
            }
        }
    }
}

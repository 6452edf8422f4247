//! Tests of [`super`].

use super::*;
use twill_model::Addresses;

fn wanted(kind: LinkKind) -> Link<LinkName> {
    Link { on: LinkName("flannel.1".into()), name: "flannel.1".into(), kind, mtu: 1450, mac: Some(Mac([2, 0, 0, 0, 0, 9])) }
}

fn vxlan_kind(port: u16, local: &str) -> LinkKind {
    LinkKind::Vxlan { vni: 1, port, local: local.parse().expect("a good address"), learning: false, gbp: true }
}

/// What a kernel answers when it did as it was told.
fn told(change: Change) -> SeenLink {
    let RouteNetlinkMessage::NewLink(mut message) = change.message else { panic!("no link message") };
    message.header.link_layer_type = LinkLayerType::Ether;
    read(&message).expect("it reads")
}

#[test]
fn a_vxlan_device_is_made_whole_and_reads_back_equal() {
    for (port, local) in [(8472, "10.0.0.1"), (4789, "fd00::1"), (0, "10.0.0.1")] {
        let wanted = wanted(vxlan_kind(port, local));
        let seen = told(create(&wanted, Some(3)).expect("a request"));
        assert!(fits(&wanted.kind, &seen.link), "{:?}", seen.link);
        assert_eq!((seen.under, seen.link.up, seen.link.mtu, seen.link.mac), (Some(3), true, 1450, wanted.mac));
        assert!(adjust(&wanted, &seen.link).is_empty());
    }
}

#[test]
fn a_vxlan_device_on_another_interface_is_not_ours() {
    let seen = told(create(&wanted(vxlan_kind(0, "10.0.0.1")), Some(3)).expect("a request"));
    assert!(seen.observed(Some(3)).kind.is_some());
    assert!(seen.observed(None).kind.is_some());
    assert_eq!(seen.observed(Some(4)).kind, None);
}

#[test]
fn only_what_differs_is_adjusted() {
    let wanted = wanted(vxlan_kind(0, "10.0.0.1"));
    let there = told(create(&wanted, Some(3)).expect("a request")).link;
    let changed = |there: ObservedLink| match adjust(&wanted, &there).pop().expect("a request").message {
        RouteNetlinkMessage::SetLink(message) => (message.attributes, message.header.flags),
        other => panic!("no set request: {other:?}"),
    };
    assert_eq!(changed(ObservedLink { mtu: 1400, ..there.clone() }), (vec![LinkAttribute::Mtu(1450)], LinkFlags::empty()));
    assert_eq!(changed(ObservedLink { up: false, ..there.clone() }), (vec![], LinkFlags::Up));
    let mac = LinkAttribute::Address(vec![2, 0, 0, 0, 0, 9]);
    assert_eq!(changed(ObservedLink { mac: None, ..there }), (vec![mac], LinkFlags::empty()));
}

#[test]
fn local_address_and_learning_change_in_place_and_the_port_does_not() {
    let there = told(create(&wanted(vxlan_kind(0, "10.0.0.1")), Some(3)).expect("a request")).link;
    let other = wanted(LinkKind::Vxlan { vni: 1, port: 8472, local: [10, 0, 0, 2].into(), learning: true, gbp: true });
    assert!(adjustable(&other.kind, &there) && !fits(&other.kind, &there));
    let changes = adjust(&Link { mtu: 1400, ..other.clone() }, &there);
    assert_eq!(changes.len(), 2, "the MTU has a request of its own");
    let RouteNetlinkMessage::NewLink(mut message) = changes[0].message.clone() else { panic!("the kernel would pass it over") };
    assert_eq!(message.header.index, there.index);
    message.attributes.push(LinkAttribute::IfName("flannel.1".into()));
    let after = read(&message);
    let LinkKind::Vxlan { local, learning, .. } = after.and_then(|seen| seen.link.kind).expect("a kind") else { panic!("no VXLAN device") };
    assert_eq!((local, learning), ([10, 0, 0, 2].into(), true));
    assert!(!adjustable(&vxlan_kind(4790, "10.0.0.1"), &there));
}

#[test]
fn what_cannot_be_made_is_refused_with_the_reason() {
    let refused = |kind| create(&wanted(kind), None).expect_err("a refusal").words();
    assert_eq!(refused(vxlan_kind(0, "10.0.0.1")), "there is no underlay interface to put it on");
    assert_eq!(refused(LinkKind::Tunnel { port: 8285, local: Addresses::default() }), "the tunnel device is not open");
    assert_eq!(refused(LinkKind::Ipip { local: "::1".parse().expect("a good address") }), "IP-in-IP carries IPv4 only, and ::1 is none");
}

#[test]
fn a_port_leaving_a_bridge_is_no_link_gone() {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName("veth0".into()));
    assert!(read(&message).is_some());
    message.header.interface_family = AddressFamily::Bridge;
    assert_eq!(read(&message), None);
}

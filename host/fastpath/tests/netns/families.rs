//! Both address families, inside and outside, in any mixture, against a real kernel.

use std::net::{IpAddr, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt};
use twill_fastpath::Settings;
use twill_model::Addresses;
use twill_model::item::{Link, LinkKind, LinkName};
use twill_reconcile::ports::{Forwarder, Forwarding};

use crate::lab::{Node, PORT, eventually, hear, stream, underlay, underlay_v6};

/// MTU of the tunnels: what fits into outer IPv6.
const MTU: u32 = 1452;

/// Nodes 1 and 2 on a wire with both families, with tunnels bound to those of `own` that are asked for.
fn nodes(v4: bool, v6: bool) -> Option<(Node, Node)> {
    let (a, b) = (Node::new(1, Settings::default())?, Node::new(2, Settings::default())?);
    a.namespace.wire("under0", "192.0.2.1/24", &b.namespace, "under0", "192.0.2.2/24");
    for node in [&a, &b] {
        let number = node.number;
        node.namespace.ip(&format!("address add {}/64 dev under0 nodad", underlay_v6(number)));
        node.namespace.ip(&format!("address add fd00:5:{number}::2/128 dev lo nodad"));
        let local = Addresses { v4: v4.then_some(underlay(number)), v6: v6.then_some(underlay_v6(number)) };
        let link: Link<LinkName> = Link { kind: LinkKind::Tunnel { port: PORT, local }, mtu: MTU, ..node.link() };
        node.open(link).expect("the tunnel opens");
        node.dress();
        node.namespace.ip(&format!("link set flannel0 mtu {MTU}"));
        node.namespace.ip(&format!("address add fd00:5:{number}::/128 dev flannel0 nodad"));
        node.namespace.ip(&format!("route add fd00:5::/32 dev flannel0 src fd00:5:{number}::2"));
    }
    Some((a, b))
}

/// Where a packet of each family goes, as outer address.
fn forward(node: &Node, peer: u8, v4_by: IpAddr, v6_by: IpAddr) {
    let (v4, v6) = (format!("10.5.{peer}.0/24").parse().expect("net"), format!("fd00:5:{peer}::/64").parse().expect("net"));
    let table = Forwarding {
        endpoints: vec![(v4, v4_by, PORT), (v6, v6_by, PORT)],
        senders: [IpAddr::V4(underlay(peer)), IpAddr::V6(underlay_v6(peer))].map(|outer| (outer, vec![v4, v6])).to_vec(),
        answers_from: Addresses {
            v4: Some([10, 5, node.number, 0].into()),
            v6: Some(format!("fd00:5:{}::", node.number).parse().expect("address")),
        },
        mtu: MTU,
    };
    node.tunnels.forward(&node.link().on, table);
}

#[test]
fn every_mixture_of_families_carries_streams() {
    let Some((a, b)) = nodes(true, true) else { return };
    let outer = |number: u8| [IpAddr::V4(underlay(number)), IpAddr::V6(underlay_v6(number))];
    for (v4_by, v6_by) in [(0, 0), (1, 1), (0, 1), (1, 0)] {
        forward(&a, 2, outer(2)[v4_by], outer(2)[v6_by]);
        forward(&b, 1, outer(1)[v4_by], outer(1)[v6_by]);
        stream(&a, &b, "10.5.2.2", 2 << 20);
        stream(&a, &b, "fd00:5:2::2", 2 << 20);
    }
    let peers = a.tunnels.counters().remove(0).peers;
    assert!(peers.iter().all(|peer| peer.traffic.sent_bytes > 4 << 20 && peer.heard_ms.is_some()), "{peers:?}");
    assert_eq!(peers.iter().map(|peer| &*peer.peer).collect::<Vec<_>>(), ["192.0.2.2:8285", "[fd98::2]:8285"]);
}

#[test]
fn an_underlay_of_ipv6_alone_carries_both() {
    let Some((a, b)) = nodes(false, true) else { return };
    forward(&a, 2, underlay_v6(2).into(), underlay_v6(2).into());
    forward(&b, 1, underlay_v6(1).into(), underlay_v6(1).into());
    stream(&a, &b, "10.5.2.2", 8 << 20);
    stream(&a, &b, "fd00:5:2::2", 8 << 20);
    assert!(a.tunnels.offloading()[0].sent.super_packets > 0);
}

#[test]
fn a_shrunken_path_is_learned_over_outer_ipv6() {
    let Some((a, b)) = nodes(true, true) else { return };
    forward(&a, 2, underlay_v6(2).into(), underlay_v6(2).into());
    forward(&b, 1, underlay_v6(1).into(), underlay_v6(1).into());
    a.namespace.ip("link set under0 mtu 1400");
    stream(&a, &b, "fd00:5:2::2", 4 << 20);
    stream(&a, &b, "10.5.2.2", 4 << 20);
    assert!(a.dropped("too-big") >= 2, "a packet of each family was answered: {:?}", a.tunnels.counters());
}

#[test]
fn nobodys_ipv6_address_is_answered() {
    let Some((a, _b)) = nodes(true, true) else { return };
    forward(&a, 2, underlay_v6(2).into(), underlay_v6(2).into());
    let pod = a.namespace.socket("[fd00:5:1::2]:0");
    setsockopt(&pod, sockopt::Ipv6RecvErr, &true).expect("the option");
    pod.connect("[fd00:5:77::9]:9").expect("a route");
    eventually("the pod is told", || pod.send(b"x").is_err_and(|error| error.raw_os_error() == Some(libc::ENETUNREACH)));
    assert!(a.dropped("unknown-destination") >= 1);
    pod.connect("[fd00:5:1::9]:9").expect("a route");
    eventually("an own address is told apart", || {
        let _ = pod.send(b"x");
        a.dropped("own-subnet") >= 1
    });
}

#[test]
fn strangers_are_strangers_in_either_family() {
    let Some((a, b)) = nodes(true, true) else { return };
    forward(&a, 2, underlay_v6(2).into(), underlay_v6(2).into());
    b.namespace.ip(&format!("address add {}/64 dev under0 nodad", underlay_v6(9)));
    let stranger: UdpSocket = b.namespace.socket(&format!("[{}]:0", underlay_v6(9)));
    stranger.send_to(b"no packet", (underlay_v6(1), PORT)).expect("sent");
    eventually("it is counted", || a.dropped("unknown-sender") == 1);
    let offender = a.tunnels.take_offenders().into_iter().find(|offender| offender.reason.name() == "unknown-sender").expect("an offender");
    assert_eq!(offender.outer, Some(underlay_v6(9).into()));
    // The peer's own datagram, and after it nothing is pending.
    let peer = b.pod(0);
    forward(&b, 1, underlay_v6(1).into(), underlay_v6(1).into());
    let at = a.pod(9000);
    peer.send_to(b"hello", "10.5.1.2:9000").expect("sent");
    let mut buffer = [0; 16];
    assert_eq!(hear(&at, &mut buffer).0, 5);
}

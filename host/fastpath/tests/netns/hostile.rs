//! Datagrams that must not pass are counted by reason, and nothing of them is delivered.

use std::net::UdpSocket;

use twill_fastpath::DropReason;
use twill_reconcile::ports::Forwarder;

use crate::lab::{Node, eventually, hear, one_node_and_wire, packet, seal};

const POD: [u8; 4] = [10, 5, 1, 2];
const PEER_POD: [u8; 4] = [10, 5, 2, 2];

/// Sends the datagram from `wire`, waits until it was counted as `reason`, and shows by a good packet that it did not reach the pod.
fn refused(node: &Node, wire: &UdpSocket, datagram: &[u8], reason: &str) {
    let before = node.dropped(reason);
    wire.send_to(datagram, "192.0.2.1:8285").expect("sent");
    eventually(reason, || node.dropped(reason) == before + 1);
}

/// The first thing that the pod hears is this.
fn first_heard(node: &Node, pod: &UdpSocket, wire: &UdpSocket) {
    let received = node.tunnels.counters()[0].total.received_packets;
    assert_eq!(received, 0, "nothing went into the device");
    wire.send_to(&packet(PEER_POD, POD, 9000, b"good"), "192.0.2.1:8285").expect("sent");
    let mut buffer = [0; 2048];
    let (length, _) = hear(pod, &mut buffer);
    assert_eq!(&buffer[..length], b"good");
}

#[test]
fn strangers_and_forgers_are_refused() {
    let Some((node, other, wire)) = one_node_and_wire() else { return };
    let pod = node.pod(9000);
    other.ip("address add 192.0.2.3/24 dev under0");
    let stranger = other.socket("192.0.2.3:8285");
    refused(&node, &stranger, &packet(PEER_POD, POD, 9000, b"no lease"), "unknown-sender");
    refused(&node, &stranger, b"no packet either", "unknown-sender");
    refused(&node, &wire, &packet([10, 5, 3, 2], POD, 9000, b"another's subnet"), "inner-source");
    refused(&node, &wire, &packet([8, 8, 8, 8], POD, 9000, b"outside"), "inner-source");
    let offenders: Vec<String> = node.tunnels.take_offenders().iter().map(ToString::to_string).collect();
    assert!(offenders[0].starts_with("flannel0: 2 packets dropped (unknown-sender, node 192.0.2.3)"), "{offenders:?}");
    assert!(offenders[1].starts_with("flannel0: 2 packets dropped (inner-source, node 192.0.2.2, address 8.8.8.8)"), "{offenders:?}");
    let again = node.tunnels.take_offenders();
    assert!(again.iter().all(|offender| offender.reason == DropReason::OtherFamily), "told once: {again:?}");
    first_heard(&node, &pod, &wire);
}

#[test]
fn malformed_truncated_and_oversize_datagrams_are_refused() {
    let Some((node, _other, wire)) = one_node_and_wire() else { return };
    let pod = node.pod(9000);
    let good = packet(PEER_POD, POD, 9000, &[7; 500]);
    let mut bad_sum = good.clone();
    bad_sum[8] -= 1;
    let mut bad_header = good.clone();
    bad_header[0] = 0x44;
    seal(&mut bad_header);
    let mut trailing = good.clone();
    trailing.push(0);
    for malformed in [&b""[..], b"x", &[0x45; 19], &[0xff; 60], &bad_sum, &bad_header, &trailing] {
        refused(&node, &wire, malformed, "malformed");
    }
    refused(&node, &wire, &good[..good.len() - 1], "truncated");
    refused(&node, &wire, &good[..20], "truncated");
    refused(&node, &wire, &packet(PEER_POD, POD, 9000, &[7; 1473 - 28]), "oversize");
    refused(&node, &wire, &packet(PEER_POD, POD, 9000, &[7; 60_000]), "oversize");
    first_heard(&node, &pod, &wire);
}

#[test]
fn a_peer_whose_daemon_is_gone_is_noticed_and_nothing_stops() {
    let Some((node, other, wire)) = one_node_and_wire() else { return };
    let pod = node.pod(9000);
    drop(wire);
    // A child that another test has just started may hold the closed socket for a moment longer.
    eventually("port unreachable is counted", || {
        pod.send_to(b"to nobody", "10.5.2.2:9000").expect("sent");
        node.dropped("peer-refused") > 0
    });
    let wire = other.socket("192.0.2.2:8285");
    pod.send_to(b"to somebody", "10.5.2.2:9000").expect("sent");
    let mut buffer = [0; 2048];
    let heard = std::iter::repeat_with(|| {
        let (length, _) = hear(&wire, &mut buffer);
        buffer[28..length].to_vec()
    });
    let first = heard.into_iter().find(|heard| heard != b"to nobody");
    assert_eq!(first.as_deref(), Some(&b"to somebody"[..]), "the pending error cost no packet");
    first_heard(&node, &pod, &wire);
}

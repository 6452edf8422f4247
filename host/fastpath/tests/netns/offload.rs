//! Offloads against a real kernel: streams come out as they went in whatever the two ends have, and the wire stays one packet a datagram.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use twill_fastpath::{Crossed, Offloading, Offloads, Settings, clock};
use twill_reconcile::ports::Forwarder;

use crate::lab::{Namespace, Node, SetOnDrop, bytes, eventually, hear, one_node_and_wire, packet, seal, skipped, stream, underlay, wired};

const OFF: Offloads = Offloads::NONE;
const ON: Offloads = Offloads::ALL;

fn with(offloads: Offloads) -> Settings {
    Settings { offloads, ..Settings::default() }
}

/// Two nodes with tunnels, of different offloads.
fn nodes(of_a: Offloads, of_b: Offloads) -> Option<(Node, Node)> {
    let (a, b) = (Node::new(1, with(of_a))?, Node::new(2, with(of_b))?);
    a.namespace.wire("under0", "192.0.2.1/24", &b.namespace, "under0", "192.0.2.2/24");
    a.start(&[2]);
    b.start(&[1]);
    Some((a, b))
}

fn offloading(node: &Node) -> Offloading {
    node.tunnels.offloading().remove(0)
}

fn has_super_packets(crossed: Crossed) -> bool {
    crossed.super_packets > 0 && crossed.segments > 2 * crossed.super_packets
}

const LONG: usize = 24 << 20;

#[test]
fn streams_are_whole_with_offloads_at_both_ends() {
    let Some((a, b)) = nodes(ON, ON) else { return };
    stream(&a, &b, "10.5.2.2", LONG);
    assert!(has_super_packets(offloading(&a).sent) && has_super_packets(offloading(&b).received), "{:?}", (offloading(&a), offloading(&b)));
    assert!(offloading(&a).in_force.gso, "the wire of this test has no reason to refuse");
}

#[test]
fn streams_are_whole_to_and_from_a_node_without_offloads() {
    for (of_a, of_b) in [(ON, OFF), (OFF, ON)] {
        let Some((a, b)) = nodes(of_a, of_b) else { return };
        stream(&a, &b, "10.5.2.2", LONG / 2);
        assert_eq!(has_super_packets(offloading(&a).sent), of_a.tso);
        assert_eq!(has_super_packets(offloading(&b).received), of_b.tso);
    }
}

#[test]
fn streams_are_whole_with_each_offload_left_out() {
    let without =
        [Offloads { tso: false, ..ON }, Offloads { uso: false, ..ON }, Offloads { gso: false, ..ON }, Offloads { gro: false, ..ON }];
    for offloads in without {
        let Some((a, b)) = nodes(offloads, offloads) else { return };
        assert_eq!(offloading(&a).in_force, offloads);
        stream(&a, &b, "10.5.2.2", 2 << 20);
    }
}

#[test]
fn inner_ipv6_is_carried_alike() {
    let Some((a, b)) = nodes(ON, ON) else { return };
    let net = |node: u8| format!("fd00:5:{node}::/64").parse().expect("a subnet");
    for (node, peer) in [(&a, &b), (&b, &a)] {
        node.namespace.ip(&format!("address add fd00:5:{}::2/128 dev lo nodad", node.number));
        node.namespace.ip(&format!("route add fd00:5::/32 dev flannel0 src fd00:5:{}::2", node.number));
        let mut table = node.table(&[peer.number]);
        table.endpoints.push((net(peer.number), IpAddr::V4(underlay(peer.number)), crate::lab::PORT));
        table.senders[0].1.push(net(peer.number));
        node.tunnels.forward(&node.link().on, table);
    }
    stream(&a, &b, "fd00:5:2::2", LONG / 4);
    assert!(has_super_packets(offloading(&a).sent) && has_super_packets(offloading(&b).received));
}

/// Makes both ends of the wire like a plain network card's: it segments no UDP, computes no checksum late, and merges what arrives.
fn like_a_card(nodes: [&Node; 2]) -> bool {
    nodes.iter().all(|node| node.namespace.tool("ethtool", "-K under0 tx-udp-segmentation off tx off gro on"))
}

/// Everything that arrives at the underlay address, as it is on the wire.
fn capture(at: &Namespace) -> std::os::fd::OwnedFd {
    at.run(|| {
        let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Udp).expect("a raw socket");
        setsockopt(&raw, sockopt::RcvBufForce, &(64 << 20)).expect("root");
        setsockopt(&raw, sockopt::ReceiveTimeout, &TimeVal::milliseconds(200)).expect("a timeout");
        raw
    })
}

#[test]
fn the_wire_has_one_packet_a_datagram() {
    let Some((a, b)) = nodes(ON, ON) else { return };
    if !like_a_card([&a, &b]) || !b.namespace.tool("ethtool", "-K under0 gro off") {
        return skipped("ethtool is missing");
    }
    let raw = capture(&b.namespace);
    stream(&a, &b, "10.5.2.2", 4 << 20);
    let (mut datagram, mut seen) = ([0; 65_536], 0usize);
    while let Ok(length) = recv(raw.as_raw_fd(), &mut datagram, MsgFlags::empty()) {
        let (outer, inner) = (&datagram[..28], &datagram[28..length]);
        if outer[22..24] != crate::lab::PORT.to_be_bytes() {
            continue;
        }
        assert!(length <= 1500 && inner[0] == 0x45);
        assert_eq!(usize::from(inner[2]) * 256 + usize::from(inner[3]), inner.len(), "the inner packet fills the datagram");
        let mut sealed = inner[..20].to_vec();
        seal(&mut sealed);
        assert_eq!(sealed, inner[..20], "the inner header's checksum");
        assert_eq!(transport_sum(inner), 0xffff, "the inner transport checksum");
        seen += 1;
    }
    assert!(seen > (4 << 20) / 1472, "{seen} datagrams");
}

/// The sum over pseudo header, transport header and data; all ones when the checksum is right.
fn transport_sum(packet: &[u8]) -> u64 {
    let words =
        |bytes: &[u8]| bytes.chunks(2).map(|pair| u64::from(pair[0]) * 256 + pair.get(1).map_or(0, |&low| u64::from(low))).sum::<u64>();
    let mut sum = words(&packet[12..]) + u64::from(packet[9]) + packet.len() as u64 - 20;
    while sum > 0xffff {
        sum = sum % 0x1_0000 + sum / 0x1_0000;
    }
    sum
}

#[test]
fn a_plain_card_under_it_carries_streams() {
    let Some((a, b)) = nodes(ON, ON) else { return };
    if !like_a_card([&a, &b]) {
        return skipped("ethtool is missing");
    }
    stream(&a, &b, "10.5.2.2", LONG / 2);
    assert!(has_super_packets(offloading(&a).sent) && has_super_packets(offloading(&b).received));
}

#[test]
fn an_underlay_that_refuses_runs_is_sent_single_packets() {
    let Some((a, b)) = nodes(ON, ON) else { return };
    // A path through IPsec has its checksums computed at once, and answers EIO to UDP_SEGMENT.
    for node in [&a, &b] {
        for (from, to, spi) in [(1, 2, 0x101), (2, 1, 0x102)] {
            let key = "0x000102030405060708090a0b0c0d0e0f10111213";
            let state = format!(
                "xfrm state add src 192.0.2.{from} dst 192.0.2.{to} proto esp spi {spi} mode transport aead rfc4106(gcm(aes)) {key} 128"
            );
            let direction = if from == node.number { "out" } else { "in" };
            let policy =
                format!("xfrm policy add src 192.0.2.{from} dst 192.0.2.{to} proto udp dir {direction} tmpl proto esp mode transport");
            if !node.namespace.tool("ip", &state) || !node.namespace.tool("ip", &policy) {
                // The test "apart" of refusals shows the same on every kernel.
                return eprintln!("skipped: the kernel has no IPsec");
            }
        }
    }
    stream(&a, &b, "10.5.2.2", 4 << 20);
    assert_eq!(offloading(&a).in_force, Offloads { gso: false, ..ON });
}

/// A socket of the pod that sends super-packets of `size` bytes a datagram.
fn segmenting(pod: UdpSocket, size: i32) -> UdpSocket {
    setsockopt(&pod, sockopt::UdpGsoSegment, &size).expect("UDP_SEGMENT");
    pod
}

#[test]
fn a_pods_own_runs_arrive_as_datagrams() {
    let Some((a, b)) = nodes(ON, ON) else { return };
    let (pod, at) = (segmenting(a.pod(0), 100), b.pod(9000));
    let sent = bytes(1030);
    pod.send_to(&sent, "10.5.2.2:9000").expect("sent");
    let mut buffer = [0; 2048];
    for datagram in sent.chunks(100) {
        let (length, _) = hear(&at, &mut buffer);
        assert_eq!(&buffer[..length], datagram);
    }
    assert!(has_super_packets(offloading(&a).sent), "{:?}", offloading(&a));
    eventually("they are joined again", || has_super_packets(offloading(&b).received));
}

#[test]
fn drops_of_super_packets_count_as_many_as_they_stand_for() {
    let Some((a, b)) = nodes(ON, ON) else { return };
    let pod = segmenting(a.pod(0), 100);
    pod.send_to(&[1; 1030], "10.5.9.9:9000").expect("sent");
    pod.send_to(&[1; 1030], "10.5.1.77:9000").expect("sent");
    eventually("both are counted", || (a.dropped("unknown-destination"), a.dropped("own-subnet")) == (11, 11));
    a.tunnels.valid_until(clock::boot_ms());
    // Afresh, as the answers to the first two are pending on that one.
    let pod = segmenting(a.pod(0), 100);
    pod.send_to(&[1; 1030], "10.5.2.2:9000").expect("sent");
    eventually("it is counted", || a.dropped("lease-unchecked") >= 11);
    assert_eq!(b.tunnels.counters()[0].total.received_packets, 0);
}

#[test]
fn streams_are_whole_while_peers_come_and_go() {
    let Some((a, b)) = nodes(ON, ON) else { return };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let tables: [Vec<u8>; 2] = [vec![1, 2], (1..=200).rev().collect()];
            for peers in tables.iter().cycle().take_while(|_| !done.load(Ordering::Relaxed)) {
                a.forward(peers);
                b.forward(peers);
            }
        });
        stream(&a, &b, "10.5.2.2", LONG / 2);
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!((a.dropped("unknown-destination"), b.dropped("unknown-sender")), (0, 0));
}

/// Numbers that both ends make alike, so that a stream of any length is compared byte by byte and nothing of it is kept.
struct Numbers(u64);

impl Numbers {
    fn fill(&mut self, chunk: &mut [u8]) {
        for word in chunk.chunks_exact_mut(8) {
            self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            word.copy_from_slice(&(self.0 ^ self.0 >> 29).to_ne_bytes());
        }
    }
}

#[test]
fn a_long_stream_is_whole_while_peers_are_added_and_removed_every_ten_milliseconds() {
    const CHUNK: usize = 64 << 10;
    let long = std::env::var_os("TWILL_LONG").is_some_and(|value| value == "1");
    let chunks = (if long { 10 << 30 } else { 200 << 20 }) / CHUNK;
    let Some((a, b)) = nodes(ON, ON) else { return };
    let listener = b.namespace.run(|| TcpListener::bind(("10.5.2.2", 5000)).expect("an address of the pod"));
    let mut pod = a.namespace.run(|| TcpStream::connect(("10.5.2.2", 5000)).expect("connected"));
    let done = AtomicBool::new(false);
    let changes = thread::scope(|scope| {
        let churn = scope.spawn(|| {
            let mut changes = 0u32;
            while !done.load(Ordering::Relaxed) {
                // Another neighbour comes or goes each time, on both nodes; the stream's own peer stays, at another place.
                let others: Vec<u8> = (3..3 + (changes % 40) as u8).collect();
                a.forward(&[&others[..], &[2]].concat());
                b.forward(&[&others[..], &[1]].concat());
                changes += 1;
                thread::sleep(std::time::Duration::from_millis(10));
            }
            changes
        });
        scope.spawn(move || {
            let (mut numbers, mut chunk) = (Numbers(1), vec![0; CHUNK]);
            for _ in 0..chunks {
                numbers.fill(&mut chunk);
                pod.write_all(&chunk).expect("sent");
            }
        });
        let end = SetOnDrop(&done);
        let mut stream = listener.accept().expect("a connection").0;
        let (mut numbers, mut wanted, mut chunk) = (Numbers(1), vec![0; CHUNK], vec![0; CHUNK]);
        for number in 0..chunks {
            numbers.fill(&mut wanted);
            stream.read_exact(&mut chunk).expect("received");
            assert!(chunk == wanted, "chunk {number} came out otherwise");
        }
        drop(end);
        churn.join().expect("no panic")
    });
    assert!(changes > 10, "{changes} changes: too few to matter");
    assert_eq!((a.dropped("unknown-destination"), b.dropped("unknown-sender")), (0, 0));
}

#[test]
fn streams_learn_the_paths_mtu_from_answers_to_super_packets() {
    let Some((a, b)) = nodes(ON, ON) else { return };
    a.namespace.ip("link set under0 mtu 1300");
    stream(&a, &b, "10.5.2.2", 4 << 20);
    assert!(a.dropped("too-big") >= 1, "{:?}", a.tunnels.counters());
}

#[test]
fn each_datagram_of_a_run_is_checked_by_itself() {
    let Some((node, _other, wire)) = one_node_and_wire() else { return };
    let pod = node.pod(9000);
    let good = |payload: &[u8; 60]| packet([10, 5, 2, 2], [10, 5, 1, 2], 9000, payload);
    let forged = packet([10, 5, 3, 2], [10, 5, 1, 2], 9000, &[2; 60]);
    let mut torn = good(&[3; 60]);
    torn[8] -= 1;
    let run = [good(&[1; 60]), forged, torn, good(&[4; 60])].concat();
    segmenting(wire, 88).send_to(&run, "192.0.2.1:8285").expect("sent");
    let mut buffer = [0; 100];
    for expected in [1, 4] {
        assert_eq!((hear(&pod, &mut buffer).0, buffer[0]), (60, expected));
    }
    assert_eq!((node.dropped("inner-source"), node.dropped("malformed")), (1, 1));
}

#[test]
fn flows_of_small_packets_keep_their_order() {
    flows_keep_their_order(with(ON));
}

#[test]
fn flows_of_small_packets_keep_their_order_over_several_queues() {
    flows_keep_their_order(Settings { queues: 3, ..with(ON) });
}

fn flows_keep_their_order(settings: Settings) {
    const FLOWS: usize = 24;
    let Some((a, b)) = wired(settings) else { return };
    a.start(&[2]);
    b.start(&[1]);
    let at = b.pod(9000);
    let pods: Vec<UdpSocket> = (0..FLOWS).map(|_| a.pod(0)).collect();
    let mut buffer = [0; 100];
    // While nodes look for each other's MAC address the kernel lets a later packet pass one that waits for it (neigh_update).
    a.pod(0).send_to(b"hello", "10.5.2.2:9000").expect("sent");
    hear(&at, &mut buffer);
    let mut next = [0u32; FLOWS];
    for round in 0..100u32 {
        let payload = |flow: usize, number: u32| [[flow as u8; 4], number.to_be_bytes()].concat().repeat(8);
        for number in 2 * round..2 * round + 2 {
            for (flow, pod) in pods.iter().enumerate() {
                pod.send_to(&payload(flow, number), "10.5.2.2:9000").expect("sent");
            }
        }
        for _ in 0..2 * FLOWS {
            let (length, _) = hear(&at, &mut buffer);
            let flow = usize::from(buffer[0]);
            assert_eq!(buffer[..length], payload(flow, next[flow]), "lost or out of order");
            next[flow] += 1;
        }
    }
}

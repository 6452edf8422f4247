//! Packets that should pass do, whole and in order.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket};
use twill_fastpath::{Settings, clock};
use twill_reconcile::ports::Forwarder;

use crate::lab::{Node, eventually, hear, one_node_and_wire, packet, stream, two_nodes, underlay};

fn echo_once(from: &UdpSocket, at: &UdpSocket, to: &str, payload: &[u8]) {
    let mut buffer = vec![0; 65_536];
    from.send_to(payload, to).expect("sent");
    let (length, back) = hear(at, &mut buffer);
    assert_eq!(&buffer[..length], payload);
    at.send_to(&buffer[..length], back).expect("sent back");
    let (length, _) = hear(from, &mut buffer);
    assert_eq!(&buffer[..length], payload);
}

#[test]
fn pods_reach_each_other_and_are_counted() {
    let Some((a, b)) = two_nodes(Settings::default()) else { return };
    let (from, at) = (a.pod(0), b.pod(9000));
    for length in [0, 1, 1000, 1444, 20_000] {
        echo_once(&from, &at, "10.5.2.2:9000", &vec![length as u8; length]);
    }
    for node in [&a, &b] {
        // The largest takes 14 fragments. A packet is counted after it has left, so that the pod may be faster.
        let total = || node.tunnels.counters()[0].total;
        eventually("all are counted", || (total().sent_packets, total().received_packets) == (18, 18));
        let status = &node.tunnels.counters()[0];
        assert_eq!((status.peers.len(), status.peers[0].traffic.sent_packets, status.peers[0].traffic.received_packets), (1, 18, 18));
        assert!(status.peers[0].heard_ms.is_some_and(|heard| clock::wall_ms().abs_diff(heard) < 60_000));
    }
    assert_eq!(a.tunnels.counters()[0].peers[0].peer, "192.0.2.2:8285");
}

#[test]
fn a_kernel_whose_devices_know_no_wait_carries_the_same() {
    let old = Settings { is_tun_old: true, ..Settings::default() };
    let Some((a, b)) = two_nodes(old) else { return };
    let (from, at) = (a.pod(0), b.pod(9000));
    for length in [0, 1444, 20_000] {
        echo_once(&from, &at, "10.5.2.2:9000", &vec![length as u8; length]);
    }
    stream(&a, &b, "10.5.2.2", 4 << 20);
    for node in [&a, &b] {
        let started = std::time::Instant::now();
        node.close().expect("its pumps end");
        assert!(started.elapsed() < std::time::Duration::from_secs(1), "pumps that sleep in poll are woken");
    }
}

#[test]
fn pumps_that_sleep_end_at_once() {
    let Some((a, _b)) = two_nodes(Settings { queues: 2, ..Settings::default() }) else { return };
    for _ in 0..50 {
        let started = std::time::Instant::now();
        a.close().expect("its pumps end");
        assert!(started.elapsed() < std::time::Duration::from_secs(1), "closing took {:?}", started.elapsed());
        a.open(a.link()).expect("open again");
    }
}

#[test]
fn two_queues_carry_packets() {
    let Some((a, b)) = two_nodes(Settings { queues: 2, ..Settings::default() }) else { return };
    let at = b.pod(9000);
    for _ in 0..16 {
        echo_once(&a.pod(0), &at, "10.5.2.2:9000", b"many flows spread over the queues");
    }
}

#[test]
fn a_datagram_is_exactly_the_inner_packet() {
    let Some((node, _other, wire)) = one_node_and_wire() else { return };
    let inner = packet([10, 5, 1, 2], [10, 5, 2, 2], 9000, b"byte for byte");
    let sent = inner.clone();
    node.namespace.run(move || {
        let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw).expect("a raw socket");
        sendto(raw.as_raw_fd(), &sent, &SockaddrIn::new(10, 5, 2, 2, 0), MsgFlags::empty()).expect("sent");
    });
    let mut buffer = [0; 2048];
    let (length, from) = hear(&wire, &mut buffer);
    assert_eq!((from.to_string().as_str(), &buffer[..length]), ("192.0.2.1:8285", &inner[..]));
}

#[test]
fn what_a_peer_sends_by_hand_reaches_the_pod_from_any_port() {
    let Some((node, other, _wire)) = one_node_and_wire() else { return };
    let pod = node.pod(9000);
    let elsewhere = other.socket("192.0.2.2:0");
    elsewhere.send_to(&packet([10, 5, 2, 2], [10, 5, 1, 2], 9000, b"hello"), "192.0.2.1:8285").expect("sent");
    let mut buffer = [0; 2048];
    let (length, from) = hear(&pod, &mut buffer);
    assert_eq!((&buffer[..length], from.to_string().as_str()), (&b"hello"[..], "10.5.2.2:7777"));
}

/// Sends a window of numbered packets; all must arrive in order.
fn window(from: &UdpSocket, at: &UdpSocket, numbers: std::ops::Range<u32>) {
    for number in numbers.clone() {
        from.send_to(&number.to_be_bytes(), "10.5.2.2:9000").expect("sent");
    }
    for number in numbers {
        let mut buffer = [0; 16];
        let (length, _) = hear(at, &mut buffer);
        assert_eq!(buffer[..length], number.to_be_bytes(), "lost or out of order");
    }
}

#[test]
fn packets_to_two_peers_at_once_reach_each_in_order() {
    const LOT: u32 = 40;
    let Some((node, other, second)) = one_node_and_wire() else { return };
    other.ip("address add 192.0.2.3/24 dev under0");
    let third = other.socket("192.0.2.3:8285");
    node.forward(&[2, 3]);
    let pod = node.pod(0);
    let mut buffer = [0; 2048];
    // While a node looks for a MAC address the kernel lets a later packet pass one that waits for it (neigh_update).
    for (to, wire) in [("10.5.2.2:9000", &second), ("10.5.3.2:9000", &third)] {
        pod.send_to(b"hello", to).expect("sent");
        hear(wire, &mut buffer);
    }
    for round in 0..50 {
        let numbers = round * LOT..(round + 1) * LOT;
        for number in numbers.clone() {
            let to = if number % 2 == 0 { "10.5.2.2:9000" } else { "10.5.3.2:9000" };
            pod.send_to(&number.to_be_bytes(), to).expect("sent");
        }
        for number in numbers {
            let (wire, subnet) = if number % 2 == 0 { (&second, 2) } else { (&third, 3) };
            let (length, _) = hear(wire, &mut buffer);
            assert_eq!((buffer[16..20].to_vec(), &buffer[28..length]), (vec![10, 5, subnet, 2], &number.to_be_bytes()[..]));
        }
    }
}

#[test]
fn table_swaps_lose_nothing() {
    const WINDOW: u32 = 64;
    let Some((a, b)) = two_nodes(Settings::default()) else { return };
    let (from, at) = (a.pod(0), b.pod(9000));
    let swaps = AtomicU32::new(0);
    // As in the test before.
    window(&from, &at, 0..1);
    let mut sent = 1;
    thread::scope(|scope| {
        scope.spawn(|| {
            while swaps.load(Ordering::Relaxed) < 500 {
                // Each time a peer has another number, both as target and as sender.
                let peers: Vec<u8> = if swaps.fetch_add(1, Ordering::Relaxed) & 1 == 0 { vec![1, 2] } else { (1..=200).rev().collect() };
                a.forward(&peers);
                b.forward(&peers);
            }
        });
        while swaps.load(Ordering::Relaxed) < 500 {
            window(&from, &at, sent..sent + WINDOW);
            sent += WINDOW;
        }
    });
    let of_peer = |node: &Node, number: u8| {
        let all = node.tunnels.counters()[0].peers.clone();
        all.into_iter().find(|told| told.peer == format!("{}:8285", underlay(number))).expect("that peer").traffic
    };
    eventually("counters outlive swaps", || of_peer(&a, 2).sent_packets == u64::from(sent));
    eventually("on either side", || of_peer(&b, 1).received_packets == u64::from(sent));
}

#[test]
fn nothing_is_sent_past_the_term_of_the_lease() {
    let Some((node, _other, wire)) = one_node_and_wire() else { return };
    let tunnels = Arc::clone(&node.tunnels);
    let pod = node.pod(0);
    tunnels.valid_until(clock::boot_ms());
    for _ in 0..5 {
        pod.send_to(b"too late", "10.5.2.2:9000").expect("sent");
    }
    // The kernel's own IPv6 housekeeping may be among what is dropped.
    eventually("five drops", || node.dropped("lease-unchecked") >= 5);
    tunnels.valid_until(clock::boot_ms() + 60_000);
    pod.send_to(b"renewed", "10.5.2.2:9000").expect("sent");
    let mut buffer = [0; 2048];
    let (length, _) = hear(&wire, &mut buffer);
    assert_eq!(&buffer[28..length], b"renewed", "nothing came before it");
}

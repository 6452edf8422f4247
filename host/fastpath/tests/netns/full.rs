//! Queues that are full: what does not fit is lost and counted, what passes stays in order, and nothing stands still afterwards.

use std::cell::Cell;
use std::net::UdpSocket;
use std::thread;

use twill_fastpath::Settings;
use twill_reconcile::ports::Forwarder;

use crate::lab::{Node, eventually, hear, stream, two_nodes};

/// Sends numbered packets of so many bytes without waiting for anything.
fn flood(from: &UdpSocket, next: &Cell<u64>, count: usize, length: usize) {
    let mut payload = vec![0; length];
    for _ in 0..count {
        payload[..8].copy_from_slice(&next.get().to_be_bytes());
        next.set(next.get() + 1);
        // What does not leave does not arrive.
        let _ = from.send_to(&payload, "10.5.2.2:9000");
    }
}

/// Hears packets until the one of that number, which is sent again until it comes; their numbers must grow.
fn in_order_until(from: &UdpSocket, at: &UdpSocket, last: u64) {
    let (mut latest, mut buffer) = (None, [0; 2048]);
    thread::scope(|scope| {
        let hearing = scope.spawn(move || {
            while latest != Some(last) {
                hear(at, &mut buffer);
                let number = u64::from_be_bytes(*buffer.first_chunk().expect("eight bytes"));
                assert!(latest.is_none_or(|latest| latest < number), "{number} after {latest:?}");
                latest = Some(number);
            }
        });
        eventually("packets pass again", || {
            if !hearing.is_finished() {
                flood(from, &Cell::new(last), 1, 8);
            }
            hearing.is_finished()
        });
    });
}

/// What the kernel lost because the device's queue was full: the fourth number of what `ip` says of sending.
fn lost_at_the_device(node: &Node) -> u64 {
    let shown = node.namespace.ip("-s link show flannel0");
    let numbers = shown.split_once("TX:").and_then(|(_, rest)| rest.lines().nth(1)).expect("a line of numbers");
    numbers.split_whitespace().nth(3).and_then(|number| number.parse().ok()).expect("a counter")
}

/// Comes after all others.
const LAST: u64 = u64::MAX - 1;

#[test]
fn an_underlay_that_is_slower_than_the_pods_fills_the_socket_and_nothing_else() {
    let Some((a, b)) = two_nodes(Settings::default()) else { return };
    let (from, at) = (a.pod(0), b.pod(9000));
    if !a.namespace.tool("tc", "qdisc add dev under0 root tbf rate 1mbit burst 20kb limit 100mb") {
        return eprintln!("skipped: tc is missing, or the kernel has no tbf");
    }
    let next = Cell::new(0);
    eventually("the socket is full", || {
        flood(&from, &next, 500, 1400);
        a.dropped("socket-full") > 0
    });
    assert!(a.namespace.tool("tc", "qdisc delete dev under0 root"));
    in_order_until(&from, &at, LAST);
    assert_eq!((a.dropped("send-failed"), a.dropped("tun-full")), (0, 0));
    stream(&a, &b, "10.5.2.2", 2 << 20);
}

#[test]
fn a_full_queue_of_the_device_loses_packets_and_not_their_order() {
    let Some((a, b)) = two_nodes(Settings::default()) else { return };
    let (from, at) = (a.pod(0), b.pod(9000));
    a.namespace.ip("link set flannel0 txqueuelen 2");
    let next = Cell::new(0);
    eventually("the device's queue is full", || {
        flood(&from, &next, 2_000, 64);
        lost_at_the_device(&a) > 0
    });
    in_order_until(&from, &at, LAST);
    a.namespace.ip("link set flannel0 txqueuelen 500");
    stream(&a, &b, "10.5.2.2", 2 << 20);
}

#[test]
fn streams_over_several_queues_are_whole() {
    let Some((a, b)) = two_nodes(Settings { queues: 3, ..Settings::default() }) else { return };
    for _ in 0..4 {
        stream(&a, &b, "10.5.2.2", 4 << 20);
    }
    assert_eq!(a.tunnels.offloading()[0].queues, 3);
    let (sent, received) = (a.tunnels.counters()[0].total, b.tunnels.counters()[0].total);
    assert!(sent.sent_bytes > 16 << 20 && received.received_bytes > 16 << 20, "{sent:?} {received:?}");
}

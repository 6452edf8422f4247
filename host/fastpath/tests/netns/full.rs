//! Queues that are full: what does not fit is lost and counted, what passes stays in order, and nothing stands still afterwards.

use std::cell::Cell;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use twill_fastpath::tun::{self, Sleep};
use twill_fastpath::{Offloads, Settings, clock};
use twill_model::item::LinkKind;
use twill_reconcile::ports::Forwarder;

use crate::lab::{Node, SetOnDrop, eventually, hear, one_node_and_wire, packet, skipped, stream, two_nodes};

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

/// What the kernel lost because the device's queue was full.
fn lost_at_the_device(node: &Node) -> u64 {
    sending_of_the_device(node)[3]
}

/// What `ip` says of the device's sending: bytes, packets that were read from it, errors, packets that were lost.
fn sending_of_the_device(node: &Node) -> [u64; 4] {
    let shown = node.namespace.ip("-s link show flannel0");
    let numbers = shown.split_once("TX:").and_then(|(_, rest)| rest.lines().nth(1)).expect("a line of numbers");
    let numbers: Vec<u64> = numbers.split_whitespace().map_while(|number| number.parse().ok()).collect();
    *numbers.first_chunk().expect("counters")
}

/// Comes after all others.
const LAST: u64 = u64::MAX - 1;

#[test]
fn an_underlay_that_is_slower_than_the_pods_fills_the_socket_and_nothing_else() {
    let Some((a, b)) = two_nodes(Settings::default()) else { return };
    let (from, at) = (a.pod(0), b.pod(9000));
    if !a.namespace.tool("tc", "qdisc add dev under0 root tbf rate 1mbit burst 20kb limit 100mb") {
        return skipped("tc is missing, or the kernel has no tbf");
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

/// Lets the kernel keep so many bytes of what was written into the device (TUNSETSNDBUF), which holds for all of its queues.
fn give_room(node: &Node, bytes: i32) {
    node.namespace.run(move || {
        let queue = tun::open("flannel0", 1, Offloads::ALL, Sleep::InPoll).expect("another queue").remove(0);
        // SAFETY: the descriptor is open; TUNSETSNDBUF reads one int through the pointer, and `bytes` lives until the call is over.
        let set = unsafe { libc::ioctl(queue.as_fd().as_raw_fd(), libc::TUNSETSNDBUF as _, &raw const bytes) };
        assert_eq!(set, 0);
    });
}

#[test]
fn a_kernel_without_room_for_what_arrives_loses_it_and_the_device_is_kept() {
    let Some((node, _other, wire)) = one_node_and_wire() else { return };
    let (pod, arriving) = (node.pod(9000), packet([10, 5, 2, 2], [10, 5, 1, 2], 9000, &[7; 1400]));
    pod.set_read_timeout(Some(Duration::from_millis(100))).expect("a time limit");
    let send = || wire.send_to(&arriving, "192.0.2.1:8285").expect("sent");
    // What comes out of the device is to leave by an interface that sends next to nothing, and waits there.
    node.namespace.ip("link add slow0 type veth peer name slow1");
    node.namespace.ip("link set slow1 up");
    node.namespace.ip("link set slow0 up");
    if !node.namespace.tool("tc", "qdisc add dev slow0 root tbf rate 8bit burst 2000 limit 1mb") {
        return skipped("tc is missing, or the kernel has no tbf");
    }
    let rules = "add table netdev t; add chain netdev t in { type filter hook ingress device flannel0 priority 0; }; add rule netdev t in fwd to slow0";
    if !node.namespace.tool("nft", rules) {
        return skipped("nft is missing, or the kernel cannot forward on ingress");
    }
    give_room(&node, 1);
    eventually("the kernel has no room", || {
        send();
        node.dropped("tun-full") > 0
    });
    assert!(node.tunnels.holds(&node.link()) && node.dropped("tun-refused") == 0, "{:?}", node.tunnels.counters());
    assert!(node.namespace.tool("nft", "delete table netdev t"));
    node.namespace.ip("link delete slow0");
    eventually("packets pass again", || {
        send();
        pod.recv(&mut [0; 2048]).is_ok()
    });
}

#[test]
fn all_that_is_read_is_sent_or_counted_also_when_a_tunnel_or_its_lease_ends_under_load() {
    let Some((a, b)) = two_nodes(Settings::default()) else { return };
    let (from, next) = (a.pod(0), Cell::new(0));
    // Where nobody listened there would be answers, which are not read but written.
    let _at = b.pod(9000);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let done = &done;
        let end = SetOnDrop(done);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                flood(&from, &next, 1000, 64);
            }
        });
        for number in 0..100 {
            let mut link = a.link();
            if let LinkKind::Tunnel { port, .. } = &mut link.kind {
                *port += number % 2;
            }
            a.reopen(link);
            thread::sleep(Duration::from_millis(1));
            let term = if number % 3 == 0 { clock::boot_ms() } else { u64::MAX };
            a.tunnels.valid_until(term);
            thread::sleep(Duration::from_millis(1));
        }
        drop(end);
    });
    eventually("each packet was sent or is among the drops", || {
        let counters = &a.tunnels.counters()[0];
        let [_, read, ..] = sending_of_the_device(&a);
        read > 10_000 && counters.total.sent_packets + counters.drops.values().sum::<u64>() == read
    });
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

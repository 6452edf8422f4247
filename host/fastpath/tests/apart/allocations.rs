//! The pumps allocate nothing for a packet: not for one that is forwarded, in either direction, nor for one that is cut or that the network complains of.

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use twill_fastpath::Settings;

use crate::lab::{Node, eventually, hear, stream, two_nodes};

/// The system's allocator, which counts what the pumps ask of it.
struct Counting;

static BY_PUMPS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: all is passed on to the system's allocator; what is counted is an atomic, and finding out the thread's name allocates nothing. Growing is the
// trait's own: an allocation more.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_pump() {
            BY_PUMPS.fetch_add(1, Relaxed);
        }
        // SAFETY: the caller keeps the trait's promises, which are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above; `at` came from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }
}

/// True in a thread that is named as the pumps of these tests' tunnels are.
fn is_pump() -> bool {
    let mut name = [0u8; 16];
    // SAFETY: the kernel writes at most 16 bytes.
    let known = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) } == 0;
    known && (name.starts_with(b"out flannel") || name.starts_with(b"in flannel"))
}

/// Allocations of the pumps while this goes on.
fn during(act: impl FnOnce()) -> u64 {
    let before = BY_PUMPS.load(Relaxed);
    act();
    BY_PUMPS.load(Relaxed) - before
}

/// Buffers that grow with the largest batch may do so some more times, whatever the number of packets.
const GROWTH: u64 = 16;
/// Packets of a round, each way.
const PACKETS: usize = 10_000;
/// Datagrams that wait in a socket at most.
const BURST: usize = 50;

/// Carries so many datagrams of that length from pod to pod, which must all arrive.
fn carry(from: &UdpSocket, to: &UdpSocket, count: usize, length: usize) {
    let (to_address, data, mut buffer) = (to.local_addr().expect("bound"), vec![7; length], [0; 2_048]);
    for _ in 0..count / BURST {
        (0..BURST).for_each(|_| assert_eq!(from.send_to(&data, to_address).expect("sent"), length));
        (0..BURST).for_each(|_| assert_eq!(hear(to, &mut buffer).0, length));
    }
}

fn sent(node: &Node) -> u64 {
    use twill_reconcile::ports::Forwarder;
    node.tunnels.counters()[0].total.sent_packets
}

#[test]
fn pumps_allocate_nothing_for_packets_in_either_direction() {
    let _turn = crate::turn();
    let Some((a, b)) = two_nodes(Settings::default()) else { return };
    let (p, q) = (a.pod(0), b.pod(9000));
    let (back, home) = (b.pod(0), a.pod(9001));
    let round = || {
        carry(&p, &q, PACKETS, 300);
        carry(&back, &home, PACKETS, 300);
        stream(&a, &b, "10.5.2.2", 8 << 20);
        stream(&b, &a, "10.5.1.2", 8 << 20);
    };
    let first = during(round);
    assert!(first > 0, "not even the buffers were counted: the pumps are called otherwise");
    let before = sent(&a) + sent(&b);
    let grown = during(round);
    let packets = sent(&a) + sent(&b) - before;
    println!("{first} allocations while buffers grew, then {grown} for {packets} packets");
    assert!(packets > 2 * PACKETS as u64 && grown <= GROWTH, "{grown} allocations for {packets} packets");
}

#[test]
fn pumps_allocate_nothing_for_packets_that_are_cut() {
    let _turn = crate::turn();
    let Some((a, b)) = two_nodes(Settings::default()) else { return };
    // Pods allow that their packets are cut, and the wire carries less than the tunnel's device.
    a.namespace.set("ip_no_pmtu_disc", "1");
    a.namespace.ip("link set under0 mtu 1300");
    let (p, q) = (a.pod(0), b.pod(9000));
    let round = || carry(&p, &q, 2_000, 1_400);
    round();
    let before = sent(&a);
    let grown = during(round);
    println!("{grown} allocations for {} fragments", sent(&a) - before);
    assert!(sent(&a) - before >= 4_000, "{} packets left: they were not cut", sent(&a) - before);
    assert!(grown <= GROWTH, "{grown} allocations for 2000 packets that were cut");
}

#[test]
fn pumps_allocate_nothing_for_super_packets_that_are_refused() {
    let _turn = crate::turn();
    let Some((a, b)) = two_nodes(Settings { device_refuses_joined: true, ..Settings::default() }) else { return };
    let round = || stream(&a, &b, "10.5.2.2", 8 << 20);
    round();
    let grown = during(round);
    println!("{grown} allocations for 8 MB in packets that were written one by one");
    assert!(b.dropped("tun-refused") == 0 && b.tunnels.offloading()[0].received.super_packets == 0, "all were refused, and went on singly");
    assert!(grown <= GROWTH, "{grown} allocations for 8 MB in packets that were written one by one");
}

#[test]
fn pumps_allocate_nothing_for_what_the_network_says() {
    let _turn = crate::turn();
    let Some((a, b)) = two_nodes(Settings::default()) else { return };
    b.close().expect("closed");
    b.namespace.set("icmp_ratelimit", "0");
    let p = a.pod(0);
    let refused = |count: u64| {
        let until = a.dropped("peer-refused") + count;
        eventually("the network says that the port is closed", || {
            p.send_to(b"x", "10.5.2.2:9000").expect("sent");
            a.dropped("peer-refused") >= until
        });
    };
    refused(50);
    let grown = during(|| refused(300));
    println!("{grown} allocations for 300 reports");
    assert!(grown <= GROWTH, "{grown} allocations for 300 reports");
}

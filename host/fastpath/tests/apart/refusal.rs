//! What kernel or underlay refuse of packets that go together: runs (UDP_SEGMENT: EIO, or EINVAL again and again), as a path through IPsec does, and super-packets that were joined (TUN: EINVAL),
//! as some kernels do. Packets go on one by one, and that is said once.

use twill_fastpath::{Offloads, Settings};
use twill_reconcile::ports::Forwarder;

use crate::lab::{Node, skipped, stream};
use crate::lines;

const RUNS: &str = "UDP_SEGMENT";
const JOINED: &str = "TUN: EINVAL";

/// How often that was said.
fn told(what: &str) -> usize {
    lines::count(tracing::Level::WARN, what)
}

fn offloads(node: &Node) -> Offloads {
    node.tunnels.offloading()[0].in_force
}

#[test]
fn an_underlay_that_refuses_runs_is_sent_single_packets_and_named_once() {
    let _turn = crate::turn();
    for error in [libc::EIO, libc::EINVAL] {
        lines::listen();
        let refusing = Settings { underlay_refuses_runs: Some(error), queues: 3, ..Settings::default() };
        let (Some(a), Some(b)) = (Node::new(1, refusing), Node::new(2, Settings::default())) else { return };
        a.namespace.wire("under0", "192.0.2.1/24", &b.namespace, "under0", "192.0.2.2/24");
        a.start(&[2]);
        b.start(&[1]);
        if !offloads(&a).gso {
            return skipped("this kernel has no UDP_SEGMENT to refuse");
        }
        for _ in 0..6 {
            stream(&a, &b, "10.5.2.2", 8 << 20);
            assert_eq!(offloads(&a), Offloads { gso: false, ..Offloads::ALL }, "runs are not tried again");
        }
        assert_eq!(told(RUNS), 1, "it is said once, though three sockets find it");
        assert_eq!(told("peer=192.0.2.2"), 1, "and where");
        assert_eq!(a.dropped("send-failed"), 0, "what was refused as a run is sent singly, not dropped");
    }
}

#[test]
fn a_device_that_refuses_joined_packets_is_given_them_one_by_one() {
    let _turn = crate::turn();
    lines::listen();
    let refusing = Settings { device_refuses_joined: true, queues: 2, ..Settings::default() };
    let (Some(a), Some(b)) = (Node::new(1, Settings::default()), Node::new(2, refusing)) else { return };
    a.namespace.wire("under0", "192.0.2.1/24", &b.namespace, "under0", "192.0.2.2/24");
    a.start(&[2]);
    b.start(&[1]);
    for _ in 0..4 {
        stream(&a, &b, "10.5.2.2", 8 << 20);
    }
    assert_eq!((b.dropped("tun-refused"), b.dropped("tun-full")), (0, 0), "what is refused together is written singly, not dropped");
    assert_eq!(b.tunnels.offloading()[0].received.super_packets, 0, "none was taken");
    let sent = a.tunnels.counters()[0].total.sent_packets;
    assert!(sent < 2 * (32 << 20) / 1400, "all of them arrived, so that TCP sends few again: {sent} packets");
    assert_eq!(told(JOINED), usize::from(offloads(&b).tso), "it is said once");
}

//! What kernel or underlay refuse of packets that go together: runs (UDP_SEGMENT: EIO), as a path through IPsec does, and super-packets that were joined (TUN: EINVAL),
//! as some kernels do. Packets go on one by one, and that is said once.

use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use twill_fastpath::{Offloads, Settings};
use twill_reconcile::ports::Forwarder;

use crate::lab::{Node, stream};

/// Counts warnings that name what is refused.
struct Warnings;

/// What they say, and how often it was said.
static TOLD: [(&str, AtomicUsize); 2] = [(RUNS, AtomicUsize::new(0)), (JOINED, AtomicUsize::new(0))];
const RUNS: &str = "UDP_SEGMENT: EIO";
const JOINED: &str = "TUN: EINVAL";

/// How often that was said since the last time.
fn told(what: &str) -> usize {
    static LISTENS: Once = Once::new();
    LISTENS.call_once(|| tracing::subscriber::set_global_default(Warnings).expect("nobody else listens"));
    TOLD.iter().filter(|(words, _)| *words == what).map(|(_, count)| count.swap(0, Relaxed)).sum()
}

impl Subscriber for Warnings {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        *about.level() == tracing::Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Words);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Words;

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let message = format!("{value:?}");
            TOLD.iter().filter(|(words, _)| message.contains(words)).for_each(|(_, count)| {
                count.fetch_add(1, Relaxed);
            });
        }
    }
}

fn offloads(node: &Node) -> Offloads {
    node.tunnels.offloading()[0].in_force
}

#[test]
fn an_underlay_that_refuses_runs_is_sent_single_packets_and_named_once() {
    let _turn = crate::turn();
    assert_eq!(told(RUNS), 0);
    let refusing = Settings { underlay_refuses_runs: true, queues: 3, ..Settings::default() };
    let (Some(a), Some(b)) = (Node::new(1, refusing), Node::new(2, Settings::default())) else { return };
    a.namespace.wire("under0", "192.0.2.1/24", &b.namespace, "under0", "192.0.2.2/24");
    a.start(&[2]);
    b.start(&[1]);
    if !offloads(&a).gso {
        return println!("skipped: this kernel has no UDP_SEGMENT to refuse");
    }
    for _ in 0..6 {
        stream(&a, &b, "10.5.2.2", 8 << 20);
        assert_eq!(offloads(&a), Offloads { gso: false, ..Offloads::ALL }, "runs are not tried again");
    }
    assert_eq!(told(RUNS), 1, "it is said once, though three sockets find it");
    assert_eq!(a.dropped("send-failed"), 0, "what was refused as a run is sent singly, not dropped");
}

#[test]
fn a_device_that_refuses_joined_packets_is_given_them_one_by_one() {
    let _turn = crate::turn();
    assert_eq!(told(JOINED), 0);
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

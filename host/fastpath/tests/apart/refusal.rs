//! An underlay that answers EIO to runs (UDP_SEGMENT), as a path through IPsec does: packets leave one by one from then on, and that is said once.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use twill_fastpath::{Offloads, Settings};

use crate::lab::{Node, stream};

/// Counts warnings that name what the underlay lacks.
struct Warnings;

static COUNT: AtomicUsize = AtomicUsize::new(0);

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
        if field.name() == "message" && format!("{value:?}").contains("UDP_SEGMENT: EIO") {
            COUNT.fetch_add(1, Relaxed);
        }
    }
}

fn offloads(node: &Node) -> Offloads {
    node.tunnels.offloading()[0].in_force
}

#[test]
fn an_underlay_that_refuses_runs_is_sent_single_packets_and_named_once() {
    let _turn = crate::turn();
    tracing::subscriber::set_global_default(Warnings).expect("nobody else listens");
    let refusing = Settings { underlay_refuses_runs: true, ..Settings::default() };
    let (Some(a), Some(b)) = (Node::new(1, refusing), Node::new(2, Settings::default())) else { return };
    a.namespace.wire("under0", "192.0.2.1/24", &b.namespace, "under0", "192.0.2.2/24");
    a.start(&[2]);
    b.start(&[1]);
    if !offloads(&a).gso {
        return println!("skipped: this kernel has no UDP_SEGMENT to refuse");
    }
    stream(&a, &b, "10.5.2.2", 8 << 20);
    assert_eq!(offloads(&a), Offloads { gso: false, ..Offloads::ALL }, "runs are not tried again");
    assert_eq!(COUNT.load(Relaxed), 1, "it is said once");
    stream(&a, &b, "10.5.2.2", 8 << 20);
    assert_eq!(COUNT.load(Relaxed), 1, "it is said once");
    assert_eq!(a.dropped("send-failed"), 0, "what was refused as a run is sent singly, not dropped");
}

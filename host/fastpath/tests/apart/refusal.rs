//! An underlay that answers EIO to runs (UDP_SEGMENT), as a path through IPsec does: packets leave one by one from then on, and that is said once.

use twill_fastpath::{Offloads, Settings};

use crate::lab::{Node, stream};
use crate::lines;

/// How often it was said.
fn told() -> usize {
    lines::count(tracing::Level::WARN, "UDP_SEGMENT: EIO")
}

fn offloads(node: &Node) -> Offloads {
    node.tunnels.offloading()[0].in_force
}

#[test]
fn an_underlay_that_refuses_runs_is_sent_single_packets_and_named_once() {
    let _turn = crate::turn();
    lines::listen();
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
    assert_eq!(told(), 1, "it is said once");
    stream(&a, &b, "10.5.2.2", 8 << 20);
    assert_eq!(told(), 1, "it is said once");
    assert_eq!(a.dropped("send-failed"), 0, "what was refused as a run is sent singly, not dropped");
}

//! What the tests of this room share: leases in one line, a store in memory, a clock to steer.

pub mod memory;
pub mod node;

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::clock::Clock;

use twill_model::{Addresses, Lease, Lifetime, NodeId, Prefixes, Way};

/// The prefix as the subnets of one family.
pub fn net(text: &str) -> Prefixes {
    match text.parse().expect("a prefix") {
        ipnet::IpNet::V4(net) => Prefixes { v4: Some(net), v6: None },
        ipnet::IpNet::V6(net) => Prefixes { v4: None, v6: Some(net) },
    }
}

/// A lease as twill writes it.
pub fn lease(node: &str, subnet: &str, public: &str) -> Lease {
    Lease { node: Some(NodeId(node.into())), ..lease_of_flannel(subnet, public) }
}

/// A lease as flanneld writes it: without an id.
pub fn lease_of_flannel(subnet: &str, public: &str) -> Lease {
    Lease {
        subnets: net(subnet),
        public: Addresses { v4: Some(public.parse().expect("an address")), v6: None },
        ways: vec![Way { backend: "udp".into(), options: "{}".into(), data_v4: None, data_v6: None }],
        node: None,
        life: Lifetime::Seconds(86_400),
    }
}

/// A clock that goes with tokio's (paused) time and can jump: a jump without running timers is what a frozen process sees.
pub struct TestClock {
    start: Instant,
    jumped_ms: AtomicU64,
    boot: &'static str,
    booted_unix_ms: u64,
}

impl Default for TestClock {
    fn default() -> Self {
        TestClock { start: Instant::now(), jumped_ms: AtomicU64::new(1000), boot: "first", booted_unix_ms: 1_000_000 }
    }
}

impl TestClock {
    /// The clock of a machine that was booted anew that long after the first one.
    pub fn rebooted(after_ms: u64) -> TestClock {
        TestClock { boot: "second", booted_unix_ms: 1_000_000 + after_ms, ..TestClock::default() }
    }

    /// Time that passed while nothing ran.
    pub fn jump(&self, milliseconds: u64) {
        self.jumped_ms.fetch_add(milliseconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn boot_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).expect("short tests") + self.jumped_ms.load(Ordering::SeqCst)
    }

    fn unix_ms(&self) -> u64 {
        self.booted_unix_ms + self.boot_ms()
    }

    fn boot_id(&self) -> String {
        self.boot.to_owned()
    }
}

/// The same lease, pinned by an operator.
pub fn reserved(lease: Lease) -> Lease {
    Lease { life: Lifetime::Reserved, ..lease }
}

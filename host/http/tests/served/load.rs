//! A cluster of 5 000 leases: how long answers take. The figures are printed (`cargo test … -- --nocapture`); the bound holds for the median on a busy machine, and under
//! TWILL_LONG=1, on a quiet one, for the 99th percentile.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::sample;
use crate::wire::Server;
use twill_model::status::{PathStatus, Snapshot};
use twill_model::{Addresses, Prefixes};

/// How long an answer may take.
const BOUND: Duration = Duration::from_millis(100);

fn large() -> Snapshot {
    let mut snapshot = sample::snapshot();
    let pattern = snapshot.leases.iter().find(|lease| !lease.own).cloned().expect("a peer");
    for number in u32::try_from(snapshot.leases.len()).expect("few")..5_000 {
        let mut lease = pattern.clone();
        lease.subnets = Prefixes { v4: format!("{}/24", Ipv4Addr::from(0x0a40_0000 + (number << 8))).parse().ok(), v6: None };
        lease.public = Addresses { v4: Some(Ipv4Addr::from(0xc612_0000 + number)), v6: None };
        snapshot.paths.push(PathStatus { subnets: lease.subnets, public: lease.public, way: lease.way.clone(), ..PathStatus::default() });
        snapshot.leases.push(lease);
    }
    snapshot
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_leases_are_answered_in_time() {
    let server = Server::start(large()).await;
    for path in ["node", "leases", "peers", "paths", "snapshot", "leases/10.123.12.0-24", "events", "network"] {
        let path = format!("/api/v1/{path}");
        let mut took = Vec::new();
        for _ in 0..100 {
            let started = Instant::now();
            assert_eq!(server.get(&path).await.status, 200, "{path}");
            took.push(started.elapsed());
        }
        took.sort();
        let (median, p99) = (took[49], took[98]);
        println!("{path}: median {median:.1?}, p99 {p99:.1?}");
        let judged = if std::env::var_os("TWILL_LONG").is_some() { p99 } else { median };
        assert!(judged < BOUND, "{path}: median {median:?}, p99 {p99:?}");
    }
}

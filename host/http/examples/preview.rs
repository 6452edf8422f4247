//! Serves the dashboard over an invented node that lives: counters run, a route is lost and restored every ten seconds. For looking at the
//! pages while working on them: `cargo run -p twill-http --example preview -- 8080 [SCENE]`. A scene is
//! "trouble", "well", "alone", "empty", or a number of leases.

#[path = "../tests/sample/mod.rs"]
mod sample;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use twill_http::{Access, Api, BackendOrder, Control, EventLog, PluginOrder, serve_tcp};
use twill_model::address::{Addresses, Prefixes};
use twill_model::status::{LeaseStatus, PathState, PathStatus, PluginState, Snapshot, Standing};

/// There is nothing to control in a preview.
struct NoLease;

impl Control for NoLease {
    fn release(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Err("a preview has no lease to release".into()) })
    }

    fn reconcile(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Err("a preview has no config to accept".into()) })
    }

    fn drain(&self, _: u32) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Err("a preview has no config to accept".into()) })
    }

    fn reserve(&self, _: Option<(Prefixes, Addresses)>) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Err("a preview has no store".into()) })
    }

    fn unreserve(&self, _: Prefixes) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Err("a preview has no store".into()) })
    }

    fn bundle(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Ok("{}".to_owned()) })
    }

    fn accept_config(&self) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Err("a preview has no config to accept".into()) })
    }

    fn plugins(&self, _: PluginOrder) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Err("a preview has no plugins".into()) })
    }

    fn backend(&self, _: BackendOrder) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async { Err("a preview has no cluster".into()) })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().map_or(Ok(8080), |port| port.parse())?;
    let scene = arguments.next().unwrap_or_else(|| "trouble".into());
    let began = now_ms();
    let events = Arc::new(EventLog::new(scene_at(&scene, began, 0).events, 1_000));
    let (snapshots, receiver) = watch::channel(Arc::new(scene_at(&scene, began, 0)));
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        for second in 1.. {
            tokio::time::sleep(Duration::from_secs(1)).await;
            snapshots.send_replace(Arc::new(scene_at(&scene, began, second)));
        }
    });
    serve_tcp(listener, Api::new(receiver, Arc::new(NoLease), events), Access::default(), CancellationToken::new()).await?;
    Ok(())
}

/// The scene some seconds after it began.
fn scene_at(scene: &str, began: u64, second: u64) -> Snapshot {
    let mut snapshot = sample::snapshot();
    shift(&mut snapshot, began - sample::NOW_MS);
    run(&mut snapshot, second);
    match scene {
        "trouble" => {}
        "alone" => alone(&mut snapshot),
        "empty" => snapshot = Snapshot::default(),
        scene => {
            heal(&mut snapshot, second);
            grow(&mut snapshot, scene.parse().unwrap_or(0));
        }
    }
    snapshot
}

fn shift(snapshot: &mut Snapshot, by_ms: u64) {
    let node = &mut snapshot.node;
    node.started_ms += by_ms;
    node.renewal_ms = node.renewal_ms.map(|at| at + by_ms);
    snapshot.leases.iter_mut().for_each(|lease| lease.seen_ms += by_ms);
    snapshot.events.iter_mut().for_each(|event| event.at_ms += by_ms);
    for way in snapshot.paths.iter_mut().flat_map(|path| &mut path.ways) {
        way.proved_ms = way.proved_ms.map(|at| at + by_ms);
        way.next_ms = way.next_ms.map(|at| at + by_ms);
    }
    let peers = snapshot.tunnels.iter_mut().flat_map(|tunnel| &mut tunnel.peers);
    peers.for_each(|peer| peer.heard_ms = peer.heard_ms.map(|at| at + by_ms));
}

/// Traffic of about a gigabit a second that swells and ebbs.
fn run(snapshot: &mut Snapshot, second: u64) {
    let sent: u64 = (0..second).map(|s| 125_000_000 + 40_000_000 * (s * 7 % 11) / 10).sum();
    for tunnel in &mut snapshot.tunnels {
        tunnel.total.sent_bytes += sent;
        tunnel.total.received_bytes += sent / 3;
        tunnel.total.sent_packets += sent / 1_300;
        tunnel.total.received_packets += sent / 4_000;
        for peer in &mut tunnel.peers {
            peer.traffic.sent_bytes += sent / 3;
            peer.heard_ms = peer.heard_ms.map(|at| at + second * 1_000);
        }
    }
}

fn heal(snapshot: &mut Snapshot, second: u64) {
    snapshot.node.problems.clear();
    snapshot.node.store = twill_model::status::StoreStatus { name: "store-file".into(), reachable: true, ..Default::default() };
    snapshot.plugins.retain(|plugin| matches!(plugin.state, PluginState::Active | PluginState::Idle));
    snapshot.leases.retain(|lease| lease.own || lease.way.is_some());
    let healthy = snapshot.paths[0].clone();
    for (path, lease) in snapshot.paths.iter_mut().zip(snapshot.leases.iter().filter(|lease| !lease.own)) {
        *path = of(&healthy, lease);
    }
    snapshot.paths.truncate(snapshot.leases.len() - 1);
    Arc::make_mut(&mut snapshot.state).retain(|item| matches!(item.standing, Standing::Present | Standing::Missing));
    snapshot.events.retain(|event| event.id != 5);
    for item in Arc::make_mut(&mut snapshot.state) {
        let lost = second % 10 == 9;
        item.standing = if item.standing == Standing::Missing && lost { Standing::Missing } else { Standing::Present };
        item.observed = item.desired.clone().filter(|_| item.standing == Standing::Present);
    }
}

fn alone(snapshot: &mut Snapshot) {
    heal(snapshot, 0);
    snapshot.leases.retain(|lease| lease.own);
    snapshot.paths.clear();
    Arc::make_mut(&mut snapshot.state).retain(|item| item.lease.is_none());
    snapshot.tunnels.iter_mut().for_each(|tunnel| tunnel.peers.clear());
    snapshot.events.truncate(2);
}

fn grow(snapshot: &mut Snapshot, leases: u32) {
    let Some(pattern) = snapshot.leases.iter().find(|lease| !lease.own).cloned() else { return };
    for number in u32::try_from(snapshot.leases.len()).unwrap_or(u32::MAX)..leases {
        let subnet = std::net::Ipv4Addr::from(0x0a40_0000 + (number << 8));
        let public = std::net::Ipv4Addr::from(0xc612_0000 + number);
        snapshot.leases.push(LeaseStatus {
            subnets: Prefixes { v4: format!("{subnet}/24").parse().ok(), v6: None },
            public: Addresses { v4: Some(public), v6: None },
            node: Some(format!("{:032x}", u128::from(number) * 0x9e37_79b9_7f4a_7c15)),
            ..pattern.clone()
        });
        if let Some(lease) = snapshot.leases.last() {
            let state = if number % 9 == 5 { PathState::Held } else { PathState::Moved };
            snapshot.paths.push(PathStatus { state, ..of(&snapshot.paths[0], lease) });
        }
    }
}

/// The path to the holder of `lease`, as well as `pattern` is.
fn of(pattern: &PathStatus, lease: &LeaseStatus) -> PathStatus {
    PathStatus { subnets: lease.subnets, public: lease.public, node: lease.node.clone(), ..pattern.clone() }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

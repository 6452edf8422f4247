//! Paths in every state.

use twill_model::status::{PathState, PathStatus, Verdict, WayStatus};

use super::{NOW_MS, net, v4};

fn way(name: &str, verdict: Verdict) -> WayStatus {
    let proved = verdict == Verdict::Proved;
    WayStatus {
        way: name.into(),
        verdict,
        proved_bytes: proved.then_some(1450),
        rtt_us: proved.then_some(212),
        sent: 41,
        answered: if proved { 40 } else { 0 },
        proved_ms: proved.then_some(NOW_MS - 2_000),
        next_ms: Some(NOW_MS + 3_000),
        ..WayStatus::default()
    }
}

fn path(subnet: &str, public: &str, state: PathState, ways: Vec<WayStatus>) -> PathStatus {
    let used = ways.iter().find(|way| way.in_use);
    PathStatus {
        subnets: net(subnet),
        node: Some("9a3b1c55f2de4c0aa1bb7d0c1e2f3a4b".into()),
        public: v4(public),
        way: used.map(|way| way.way.clone()),
        wanted: Some("vxlan".into()),
        state,
        rtt_us: used.and_then(|way| way.rtt_us),
        loss_permille: used.map(|_| 31),
        ways,
        ..PathStatus::default()
    }
}

/// One path in each state.
pub fn paths() -> Vec<PathStatus> {
    let used = |way| WayStatus { in_use: true, ..way };
    let silent = WayStatus { reason: Some("9 echoes were sent and none came back".into()), ..way("vxlan", Verdict::Failed) };
    vec![
        path("10.123.12.0/24", "192.0.2.11", PathState::Moved, vec![used(way("vxlan", Verdict::Proved)), way("udp", Verdict::Unknown)]),
        path("10.123.31.0/24", "192.0.2.19", PathState::Proving, vec![way("vxlan", Verdict::Unknown), used(way("udp", Verdict::Proved))]),
        PathStatus {
            reason: Some("vxlan: 9 echoes were sent and none came back".into()),
            leg: Some("from here to 192.0.2.22 by vxlan".into()),
            ..path("10.123.40.0/24", "192.0.2.22", PathState::Held, vec![silent, used(way("udp", Verdict::Proved))])
        },
        PathStatus {
            node: None,
            reason: Some("vxlan: no backend plugin \"vxlan\" is loaded".into()),
            ..path("10.123.77.0/24", "192.0.2.48", PathState::Down, Vec::new())
        },
    ]
}

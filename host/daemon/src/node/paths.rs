//! How each peer is reached from here, for the API: what the last pass chose, and what the prober found. Pure.

use std::collections::BTreeMap;
use std::time::Instant;

use twill_lease::cluster::Cluster;
use twill_model::Lease;
use twill_model::proof::Pair;
use twill_model::status::{PathState, PathStatus, Verdict, WayStatus};
use twill_probe::report::Report;
use twill_reconcile::peer::{Choice, Weighed};
use twill_reconcile::view::Outcome;

use super::legs::{Broken, HostsAlive, Leg, silent};

/// What paths are made from.
pub struct Seen<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The last pass.
    pub outcome: &'a Outcome,
    /// What the prober found.
    pub reports: &'a BTreeMap<Pair, Report>,
    /// Which hosts of peers that no way reaches answer on the underlay.
    pub hosts: &'a HostsAlive,
    /// Now, by both clocks: the wall clock in milliseconds since the Unix epoch.
    pub now: (Instant, u64),
}

/// One path a peer, by subnet. A reservation that no node uses yet is nobody's path.
pub fn paths(seen: &Seen) -> Vec<PathStatus> {
    let broken = Broken::of(&seen.outcome.items);
    let peers = seen.cluster.peers.iter().filter(|peer| !peer.ways.is_empty());
    let mut paths: Vec<PathStatus> = peers.map(|peer| path(peer, seen, &broken)).collect();
    paths.sort_by_key(|path| path.subnets);
    paths
}

fn path(peer: &Lease, seen: &Seen, broken: &Broken) -> PathStatus {
    let status = PathStatus {
        subnets: peer.subnets,
        node: peer.node.as_ref().map(ToString::to_string),
        public: peer.public,
        ..PathStatus::default()
    };
    let Some(choice) = seen.outcome.ways.get(&peer.subnets) else { return status };
    let ways: Vec<WayStatus> = choice.ways.iter().map(|weighed| way(weighed, choice, seen)).collect();
    let used = ways.iter().find(|way| way.in_use);
    let report = choice.ways.iter().find(|weighed| Some(&weighed.name) == choice.way.as_ref()).and_then(|weighed| report(weighed, seen));
    // Echoes leave by the link of a way, whatever the routes say: what this node lacks is no less in the way of pods' packets.
    let here = choice.way.as_deref().and_then(|way| broken.on_the_way(&peer.subnets, way));
    let state = if here.is_some() { PathState::Down } else { state(choice, &ways) };
    let small_came = report.and_then(|report| report.missing).is_some_and(|missing| missing.small_came == Some(true));
    let stopped = here.or_else(|| used.filter(|_| state == PathState::Down).map(|used| silent(used, small_came, peer, seen.hosts)));
    PathStatus {
        way: choice.way.clone(),
        wanted: choice.ways.first().map(|first| first.name.clone()),
        state,
        reason: reason(choice, &ways, state),
        leg: leg(stopped.as_ref(), &ways, peer),
        stops_at: stopped.map(|leg| leg.short),
        narrow: report.filter(|_| state != PathState::Down).and_then(|report| report.narrow).map(|narrow| narrow.words()),
        rtt_us: used.and_then(|used| used.rtt_us),
        loss_permille: report.and_then(|report| report.loss_permille),
        ways,
        ..status
    }
}

fn report<'a>(weighed: &Weighed, seen: &Seen<'a>) -> Option<&'a Report> {
    seen.reports.get(weighed.pair.as_ref()?)
}

fn way(weighed: &Weighed, choice: &Choice, seen: &Seen) -> WayStatus {
    let status = WayStatus {
        way: weighed.name.clone(),
        in_use: choice.way.as_ref() == Some(&weighed.name),
        verdict: weighed.proof.verdict,
        reason: weighed.unusable.clone(),
        ..WayStatus::default()
    };
    let Some(report) = report(weighed, seen) else { return status };
    let unix = |moment: Instant| {
        let (now, now_ms) = seen.now;
        let millis = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        match moment.checked_duration_since(now) {
            Some(ahead) => now_ms.saturating_add(millis(ahead)),
            None => now_ms.saturating_sub(millis(now.duration_since(moment))),
        }
    };
    WayStatus {
        verdict: report.verdict,
        reason: status
            .reason
            .or_else(|| report.missing.map(|missing| missing.words()))
            .or_else(|| report.narrow.map(|narrow| narrow.words())),
        proved_bytes: report.proved_bytes,
        rtt_us: report.rtt_us,
        sent: report.sent,
        answered: report.answered,
        proved_ms: report.heard.map(unix),
        next_ms: report.next.map(unix),
        ..status
    }
}

fn state(choice: &Choice, ways: &[WayStatus]) -> PathState {
    let Some(used) = ways.iter().find(|way| way.in_use) else { return PathState::Down };
    let best = ways.first().is_some_and(|first| first.in_use);
    // What cannot be used at all, or does not answer, holds it back; what is merely untried is being proved.
    let being_proved = ways.iter().take_while(|way| !way.in_use).all(|way| way.verdict == Verdict::Unknown && !is_unusable(choice, way));
    match (best, used.verdict) {
        (_, Verdict::Failed) => PathState::Down,
        (true, Verdict::Proved) => PathState::Moved,
        (true, Verdict::Unknown) => PathState::Proving,
        (false, _) if being_proved => PathState::Proving,
        (false, _) => PathState::Held,
    }
}

fn is_unusable(choice: &Choice, way: &WayStatus) -> bool {
    choice.ways.iter().any(|weighed| weighed.name == way.way && weighed.unusable.is_some())
}

fn reason(choice: &Choice, ways: &[WayStatus], state: PathState) -> Option<String> {
    let words = |way: &WayStatus| {
        let why = match (&way.reason, way.verdict) {
            (Some(reason), _) => reason.clone(),
            (None, Verdict::Unknown) => "being proved".into(),
            (None, Verdict::Proved) => "proved".into(),
            (None, Verdict::Failed) => "it does not answer".into(),
        };
        format!("{}: {why}", way.way)
    };
    let told: Vec<String> = match state {
        PathState::Moved => return None,
        PathState::Down => ways.iter().map(words).collect(),
        PathState::Proving | PathState::Held => ways.iter().take_while(|way| !way.in_use).map(words).collect(),
    };
    if told.is_empty() { Some(choice.reason.clone()).filter(|_| state != PathState::Proving) } else { Some(told.join("; ")) }
}

/// The leg that does not work. Where another way answers, the way back is good, and it is the way there.
fn leg(stopped: Option<&Leg>, ways: &[WayStatus], peer: &Lease) -> Option<String> {
    if let Some(leg) = stopped {
        return Some(leg.says.clone());
    }
    let failed = ways.iter().find(|way| way.verdict == Verdict::Failed)?;
    let proved = ways.iter().any(|way| way.verdict == Verdict::Proved);
    proved.then(|| format!("from here to {} by {}", peer.public, failed.way))
}

#[cfg(test)]
#[path = "paths_tests.rs"]
mod tests;

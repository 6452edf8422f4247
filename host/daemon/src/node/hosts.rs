//! Asks the hosts of peers that no way reaches whether they answer on the underlay: so that the map can tell a host that is away from a port that is filtered.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use twill_model::status::{PathState, Snapshot};
use twill_probe::road::answers;

use super::legs::HostsAlive;
use crate::clock::now_ms;

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_secs(5);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Hosts asked in a round, one echo each: a cluster that falls apart is no reason for a storm.
const AT_ONCE: usize = 16;

/// Asks until `shutdown`. Hosts whose paths work are forgotten.
pub async fn ask(mut shown: watch::Receiver<Arc<Snapshot>>, out: watch::Sender<Arc<HostsAlive>>, shutdown: CancellationToken) {
    let mut last = None;
    loop {
        let silent = silent(&shown.borrow_and_update());
        if silent.is_empty() {
            out.send_if_modified(|known| !std::mem::take(known).is_empty());
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = shown.changed() => if changed.is_err() { return },
            }
            continue;
        }
        let turn = next(&silent, last);
        last = turn.last().copied();
        let mut asked = tokio::task::JoinSet::new();
        for (address, step) in turn.into_iter().zip(1..) {
            let number = (now_ms() << 20) + step;
            // What cannot even be sent (no route there) is an answer that does not come.
            asked.spawn(async move { (address, answers(address, number, PATIENCE).await.unwrap_or(false)) });
        }
        let found = asked.join_all().await;
        out.send_if_modified(|known| {
            let mut next: HostsAlive =
                known.iter().filter(|(address, _)| silent.contains(address)).map(|(address, came)| (*address, *came)).collect();
            next.extend(found);
            let news = **known != next;
            *known = Arc::new(next);
            news
        });
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// The public addresses of peers whose path is down, in order.
fn silent(snapshot: &Snapshot) -> Vec<IpAddr> {
    let down = snapshot.paths.iter().filter(|path| path.state == PathState::Down && path.way.is_some());
    let mut addresses: Vec<IpAddr> = down.flat_map(|path| path.public.iter()).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// Those whose turn it is: after the last one asked, and around.
fn next(all: &[IpAddr], last: Option<IpAddr>) -> Vec<IpAddr> {
    let begin = last.map_or(0, |last| all.partition_point(|address| *address <= last));
    all[begin..].iter().chain(&all[..begin]).take(AT_ONCE).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_its_turn() {
        let all: Vec<IpAddr> = (0..40).map(|last| IpAddr::from([192, 0, 2, last])).collect();
        let first = next(&all, None);
        let second = next(&all, first.last().copied());
        let third = next(&all, second.last().copied());
        assert_eq!(first.len(), AT_ONCE);
        let mut seen: Vec<IpAddr> = first.iter().chain(&second).chain(&third).copied().collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, all);
        assert_eq!(next(&all[..2], None), all[..2]);
        assert_eq!(next(&all[..1], Some(all[5])), all[..1]);
    }
}

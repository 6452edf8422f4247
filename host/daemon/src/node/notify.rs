//! What systemd is told (sd_notify(3)): when the node is ready, how it is in one line, when it ends. Without NOTIFY_SOCKET nothing is told.

use std::sync::Arc;

use sd_notify::{NotifyState, notify};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use twill_model::status::{NodeStatus, Snapshot};

/// Tells until `shutdown`. READY is told once: for systemd a service does not become unready.
pub async fn systemd(mut snapshots: watch::Receiver<Arc<Snapshot>>, shutdown: CancellationToken) {
    let mut told = String::new();
    let mut ready = false;
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let line = line(&snapshot.node);
        if snapshot.node.ready && !ready {
            ready = true;
            tell(&[NotifyState::Ready]);
        }
        if line != told {
            tell(&[NotifyState::Status(&line)]);
            told = line;
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            changed = snapshots.changed() => if changed.is_err() { break },
        }
    }
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState]) {
    if let Err(error) = notify(state) {
        tracing::debug!("systemd cannot be told: {error}");
    }
}

fn line(node: &NodeStatus) -> String {
    let subnets = node.subnets.map_or_else(|| "no subnet yet".to_owned(), |subnets| subnets.to_string());
    let problem = node.problems.first().map_or_else(String::new, |problem| format!("; {problem}"));
    format!("{}: {subnets}{problem}", if node.ready { "ready" } else { "not ready" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_is_wrong_first() {
        let node = NodeStatus { problems: vec!["the store does not answer".into(), "another".into()], ..NodeStatus::default() };
        assert_eq!(line(&node), "not ready: no subnet yet; the store does not answer");
    }
}

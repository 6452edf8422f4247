//! Keeps the snapshot for the API up with everything: at once when a room has news, each second or few while packets flow,
//! the more seldom the more there is to show, and once a minute at least.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use twill_fastpath::Tunnels;
use twill_lease::clock::{Clock, SystemClock};
use twill_lease::cluster::Cluster;
use twill_model::event::{Kind, Told, Weight};
use twill_model::node::Node;
use twill_model::status::Snapshot;
use twill_plugin::Plugins;
use twill_reconcile::ports::Forwarder;
use twill_reconcile::view::Outcome;

use super::events::Events;
use super::legs::HostsAlive;
use super::prober::Reports;
use super::record::Record;
use super::snapshot::{Constants, Now, Parts, snapshot};
use super::subnet_file::FileState;

/// How often counters are looked at.
const BEAT: Duration = Duration::from_secs(1);

/// Packets a second below which nothing goes on but probing, there and back.
const QUIET: f64 = 2.0 * twill_probe::prober::RATE as f64;

/// Counters are never older, whatever it costs to show them.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often dropped packets are told to the log, in beats.
const TELL_DROPS: u32 = 60;

/// Everything that is shown.
pub struct Show {
    /// What never changes.
    pub constants: Constants,
    /// This node.
    pub node: watch::Receiver<Arc<Node>>,
    /// The cluster.
    pub cluster: watch::Receiver<Arc<Cluster>>,
    /// The last pass.
    pub outcome: watch::Receiver<Arc<Outcome>>,
    /// What the prober found.
    pub reports: watch::Receiver<Reports>,
    /// Which hosts of peers that no way reaches answer on the underlay.
    pub hosts: watch::Receiver<Arc<HostsAlive>>,
    /// How subnet.env is.
    pub file: watch::Receiver<FileState>,
    /// The plugins.
    pub plugins: Plugins,
    /// The fast path.
    pub tunnels: Arc<Tunnels>,
    /// What happened.
    pub events: Arc<Events>,
    /// Where the snapshot goes.
    pub out: watch::Sender<Arc<Snapshot>>,
}

impl Show {
    /// Runs until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut counted: Vec<u64> = Vec::new();
        let mut record = Record::default();
        let mut beats = 0;
        let mut last = Shown { at: Instant::now(), took: Duration::ZERO };
        loop {
            let news = tokio::select! {
                () = shutdown.cancelled() => return,
                changed = self.node.changed() => if changed.is_err() { return } else { true },
                changed = self.cluster.changed() => if changed.is_err() { return } else { true },
                changed = self.outcome.changed() => if changed.is_err() { return } else { true },
                changed = self.reports.changed() => if changed.is_err() { return } else { true },
                changed = self.hosts.changed() => if changed.is_err() { return } else { true },
                changed = self.file.changed() => if changed.is_err() { return } else { true },
                () = self.events.news.notified() => true,
                _ = beat.tick() => {
                    beats += 1;
                    if beats % TELL_DROPS == 0 {
                        self.tell_drops();
                    }
                    false
                }
            };
            let counts = self.tunnels.packets();
            let now = Instant::now();
            if news || counts != counted && now >= last.at + last.pause(moved(&counted, &counts), now) {
                counted = counts;
                for (weight, told) in record.changes(&self.publish()) {
                    self.events.tell(weight, "node", told);
                }
                last = Shown { at: now, took: now.elapsed() };
            }
        }
    }

    fn publish(&mut self) -> Arc<Snapshot> {
        let node = self.node.borrow_and_update().clone();
        let cluster = self.cluster.borrow_and_update().clone();
        let outcome = self.outcome.borrow_and_update().clone();
        let reports = self.reports.borrow_and_update().clone();
        let hosts = self.hosts.borrow_and_update().clone();
        let parts = Parts {
            node: &node,
            cluster: &cluster,
            outcome: &outcome,
            reports: &reports,
            hosts: &hosts,
            plugins: self.plugins.status(),
            tunnels: self.tunnels.counters(),
            events: self.events.list(),
            file: self.file.borrow_and_update().clone(),
            now: Now { boot_ms: SystemClock.boot_ms(), unix_ms: SystemClock.unix_ms() },
        };
        let snapshot = Arc::new(snapshot(&self.constants, parts));
        self.out.send_replace(Arc::clone(&snapshot));
        snapshot
    }

    fn tell_drops(&self) {
        for offender in self.tunnels.take_offenders() {
            let told = Told::new(Kind::Drops, offender.to_string()).about(&offender.link);
            self.events.tell(Weight::Warn, "fastpath", told.because(offender.reason.advice()));
        }
    }
}

/// When everything was made ready to be shown, and how long that took: a moment in a small cluster, a good part of a second for thousands of peers.
#[derive(Debug, Clone, Copy)]
struct Shown {
    at: Instant,
    took: Duration,
}

impl Shown {
    /// How long counters alone are no reason to do it again, when so many packets moved since: a thousandth of the time goes into it while little moves, such as
    /// the prober's own echoes, and a twentieth while pods talk.
    fn pause(self, moved: u64, now: Instant) -> Duration {
        let quiet = moved as f64 <= now.duration_since(self.at).as_secs_f64() * QUIET;
        if quiet { (self.took * 1_000).min(LONGEST_PAUSE) } else { self.took * 20 }
    }
}

/// Packets that moved between two looks at the counters.
fn moved(before: &[u64], after: &[u64]) -> u64 {
    after.iter().sum::<u64>().saturating_sub(before.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_alone_are_shown_the_more_seldom_the_more_that_costs() {
        let second = Duration::from_secs(1);
        let last = |millis| Shown { at: Instant::now(), took: Duration::from_millis(millis) };
        let pause = |millis, moved| last(millis).pause(moved, last(millis).at + second);
        assert_eq!((pause(1, 60), pause(3, 60), pause(250, 60)), (second, 3 * second, LONGEST_PAUSE), "the prober's own packets");
        assert_eq!((pause(1, 100_000), pause(250, 100_000)), (Duration::from_millis(20), 5 * second), "pods talk");
        assert_eq!(moved(&[1, 2], &[3, 4, 1]), 5);
    }
}

//! Which own ways are used: a way that peers no longer need is given up some time after it was last in use to or from any peer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use twill_kernel::Netlink;
use twill_lease::cluster::Cluster;
use twill_lease::keeper::Handle;
use twill_lease::ways::Need;
use twill_model::item::LinkName;
use twill_model::proof::Verdict;
use twill_model::status::Standing;
use twill_model::{Lease, Way};
use twill_reconcile::peer::Choice;
use twill_reconcile::view::Outcome;
use twill_reconcile::way_names::backend_of;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// When each way was last needed, or in use to or from a peer.
#[derive(Debug)]
pub struct Usage {
    keep: Duration,
    used: Mutex<BTreeMap<(String, String), Instant>>,
    refused: Mutex<BTreeMap<String, Refused>>,
}

/// A backend whose link the kernel does not make.
#[derive(Debug, Clone)]
struct Refused {
    looks: u32,
    since: Instant,
    why: String,
}

/// So many looks in a row without its link, and a backend counts as one that this kernel cannot have.
const PATIENCE: u32 = 4;
/// How long until it is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(600);

impl Usage {
    /// Nothing is known yet; ways count as used for `keep` after their last use.
    pub fn new(keep: Duration) -> Usage {
        Usage { keep, used: Mutex::default(), refused: Mutex::default() }
    }

    /// True for a way that was used a short while ago. One that is asked about for the first time counts as used now: a node that has just started knows nothing.
    pub fn recently(&self, way: &Way) -> bool {
        let now = Instant::now();
        let since = *self.used().entry(place(way)).or_insert(now);
        now.duration_since(since) < self.keep
    }

    /// Why this kernel cannot have that backend, once it has refused its link several times.
    pub fn refused(&self, backend: &str) -> Option<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.get(backend).filter(|refused| refused.looks >= PATIENCE).map(|refused| refused.why.clone())
    }

    /// Notes which backends' links the kernel refuses. True when that makes one of them a backend that this node cannot have, or may have again.
    fn note_refusals(&self, outcome: &Outcome) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let before = refused.len();
        refused.retain(|_, refused| refused.looks < PATIENCE || refused.since.elapsed() < TRY_AGAIN);
        let mut news = refused.len() != before;
        for item in outcome.items.iter().filter(|item| item.kind == "link" && item.lease.is_none()) {
            let backend = backend_of(&item.backend).to_owned();
            if item.standing != Standing::Failed {
                if refused.get(&backend).is_some_and(|refused| refused.looks < PATIENCE) {
                    refused.remove(&backend);
                }
                continue;
            }
            let why = item.reason.clone().unwrap_or_else(|| "its link cannot be made".into());
            let known = refused.entry(backend).or_insert(Refused { looks: 0, since: Instant::now(), why });
            known.looks += 1;
            news |= known.looks == PATIENCE;
        }
        news
    }

    /// Something uses that way now.
    pub fn note(&self, way: &Way) {
        self.used().insert(place(way), Instant::now());
    }

    fn used(&self) -> MutexGuard<'_, BTreeMap<(String, String), Instant>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way by which a peer is reached: one that nothing was proved of may be one that it does not have any more.
fn in_use(choice: &Choice) -> Option<&str> {
    let used = choice.ways.iter().find(|weighed| Some(&weighed.name) == choice.way.as_ref())?;
    (used.proof.verdict == Verdict::Proved).then_some(used.name.as_str())
}

fn place(way: &Way) -> (String, String) {
    (way.backend.clone(), way.options.clone())
}

/// What was asked for last. A plugin may have its reasons not to give what is wished for, and they may pass: it is asked again and again, at growing intervals.
#[derive(Debug, Default)]
struct Asked {
    wanted: Option<Vec<Way>>,
    wait: Duration,
    next: Option<Instant>,
}

/// The first interval, doubled each time up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

impl Asked {
    /// True when these ways, which are not all published, are to be asked for now; none is nothing to ask for.
    fn is_due(&mut self, wanted: Option<Vec<Way>>, now: Instant) -> bool {
        let same = self.wanted == wanted;
        if wanted.is_none() || (same && self.next.is_some_and(|next| now < next)) {
            self.wanted = wanted;
            return false;
        }
        self.wait = if same { (self.wait * 2).min(LONGEST_WAIT) } else { FIRST_WAIT };
        (self.wanted, self.next) = (wanted, Some(now + self.wait));
        true
    }
}

/// What is followed.
pub struct Watched {
    /// The record of use.
    pub usage: Arc<Usage>,
    /// The kernel's counters.
    pub kernel: Arc<Netlink>,
    /// The cluster.
    pub cluster: watch::Receiver<Arc<Cluster>>,
    /// The last pass: which way has which links.
    pub outcome: watch::Receiver<Arc<Outcome>>,
    /// The keeper, which publishes anew.
    pub keeper: Handle,
}

impl Watched {
    /// Runs until `shutdown`: notes what is used, and has the lease published anew when the ways that it should list are others.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut counted: BTreeMap<LinkName, u64> = BTreeMap::new();
        let mut asked = Asked::default();
        // Refusals are counted by the clock: news of the cluster may come many at once.
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let cluster = self.cluster.borrow_and_update().clone();
            if let Some(mine) = cluster.own.as_ref().filter(|own| own.ways.len() > 1) {
                self.note_arrivals(mine, &mut counted).await;
            }
            self.note_sending();
            let wanted = self.wanted(&cluster);
            if asked.is_due(wanted, Instant::now()) {
                self.keeper.wish_changed();
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = self.cluster.changed() => if changed.is_err() { return },
                _ = look.tick() => if self.usage.note_refusals(&self.outcome.borrow()) {
                    self.keeper.wish_changed();
                },
            }
        }
    }

    /// The ways beside the first that should be published, where they are not those that are.
    fn wanted(&self, cluster: &Cluster) -> Option<Vec<Way>> {
        let (mine, config) = (cluster.own.as_ref()?, cluster.config.as_deref()?);
        let first = mine.ways.iter().find(|way| way.backend == config.backend);
        let need = Need {
            first,
            config: &config.backend,
            previous: &mine.ways,
            others: &cluster.peers,
            recently: |way: &Way| self.usage.recently(way),
            can: |_: &str| true,
        };
        for way in mine.ways.iter().filter(|way| need.is_needed(way)) {
            self.usage.note(way);
        }
        let others = need.others();
        let mut published: Vec<&Way> = mine.ways.iter().filter(|way| Some(*way) != first).collect();
        let head = need.flannels().unwrap_or_else(|| config.backend.clone());
        let misplaced = mine.ways.iter().any(|way| way.backend == head) && mine.ways.first().is_some_and(|way| way.backend != head);
        published.retain(|way| !others.contains(way));
        let missing = others.iter().any(|way| !mine.ways.iter().any(|own| own.backend == way.backend));
        (missing || misplaced || !published.is_empty()).then_some(others)
    }

    /// A way by which this node reaches a peer is in use, whatever that peer prefers.
    fn note_sending(&self) {
        let outcome = self.outcome.borrow().clone();
        let used: BTreeSet<&str> = outcome.ways.values().filter_map(in_use).collect();
        outcome.own_ways.iter().filter(|(name, _)| used.contains(name.as_str())).for_each(|(_, way)| self.usage.note(way));
    }

    /// A link that received since the last look is in use.
    async fn note_arrivals(&mut self, mine: &Lease, counted: &mut BTreeMap<LinkName, u64>) {
        let Ok(now) = self.kernel.received().await else { return };
        let outcome = self.outcome.borrow().clone();
        for item in outcome.items.iter().filter(|item| item.kind == "link") {
            let link = LinkName(item.what.clone());
            let arrived = now.get(&link).copied().unwrap_or(0);
            let before = counted.insert(link, arrived);
            if before.is_some_and(|before| before < arrived)
                && let Some(way) = outcome.own_ways.iter().find(|(name, _)| *name == item.backend).map(|(_, way)| way)
                && mine.ways.contains(way)
            {
                self.usage.note(way);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_wish_is_asked_again_at_growing_intervals_and_another_one_at_once() {
        let (mut asked, start) = (Asked::default(), Instant::now());
        let way = |backend: &str| vec![Way { backend: backend.into(), options: "{}".into(), data_v4: None, data_v6: None }];
        let after = |seconds| start + Duration::from_secs(seconds);
        let due: Vec<u64> = (0..700).filter(|second| asked.is_due(Some(way("vxlan")), after(*second))).collect();
        assert_eq!(due, [0, 5, 15, 35, 75, 155, 315, 615]);
        assert!(asked.is_due(Some(way("udp")), after(700)), "another wish");
        assert!(!asked.is_due(None, after(701)) && asked.is_due(Some(way("udp")), after(702)), "it was fulfilled, and is there again");
        assert!(!asked.is_due(Some(way("udp")), after(703)));
    }
}

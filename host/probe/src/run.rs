//! The loop: what the reconciler wants tried is tried, and verdicts go out as soon as there are any.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use twill_model::item::LinkName;
use twill_model::proof::{Pair, Proofs, Target};

use crate::checksum::{Act, Doubts, Offload};
use crate::packet::Answer;
use crate::prober::Prober;
use crate::report::Report;
use crate::sockets::Sockets;

/// Reports go out at most so often, unless a verdict changed. They are for people, and making all that is shown of them takes time.
const REPORT: Duration = Duration::from_secs(5);
/// So much longer for each pair: less than a thousandth of a processor for thousands of peers, each of which is looked at more seldom than that.
const REPORT_A_PAIR: Duration = Duration::from_millis(20);
/// So long for each pair after a verdict changed.
const CHANGE_A_PAIR: Duration = Duration::from_millis(1);

/// Verdicts wait so long for each pair: each set of them is a pass of the reconciler over all peers, and with thousands there is always one that changes.
const PROOFS_A_PAIR: Duration = Duration::from_micros(200);

/// How often links are looked at that compute their checksums in software: one that was made anew does not.
const LOOK: Duration = Duration::from_secs(30);

/// Who sets how a link computes its checksums.
pub trait Checksums: Send + Sync + 'static {
    /// Has the link compute its checksums in software (`false`) or leave them to the card.
    ///
    /// # Errors
    /// The link is gone, or cannot.
    fn set(&self, link: &LinkName, offload: bool) -> io::Result<()>;
}

/// Tells people what happened, one sentence at a time.
pub type Tell = Box<dyn Fn(String) + Send + Sync>;

/// What the prober is wired to.
pub struct Wiring<C> {
    /// What is to be tried.
    pub targets: watch::Receiver<Arc<Vec<Target>>>,
    /// Where verdicts go.
    pub proofs: watch::Sender<Arc<Proofs>>,
    /// Where everything else that there is to tell goes.
    pub reports: watch::Sender<Arc<BTreeMap<Pair, Report>>>,
    /// Who sets links' checksums.
    pub checksums: C,
    /// What the operator wants of them.
    pub offload: Offload,
    /// Where events go.
    pub tell: Tell,
}

/// Runs until `shutdown`.
///
/// # Errors
/// No socket can be had.
pub async fn run<C: Checksums>(wiring: Wiring<C>, seed: u64, shutdown: CancellationToken) -> io::Result<()> {
    let mut running = Running {
        sockets: Sockets::open()?,
        prober: Prober::new(seed, Instant::now()),
        doubts: Doubts::default(),
        reported: Instant::now(),
        changed: false,
        proved: Instant::now(),
        news: false,
        looked: Instant::now(),
        wiring,
    };
    let mut wake = Some(Instant::now());
    loop {
        // A turn looks at every pair: it is not taken for each answer.
        if wake.is_some_and(|wake| wake <= Instant::now()) {
            running.turn();
            wake = running.wake(Instant::now());
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            changed = running.wiring.targets.changed() => match changed {
                Ok(()) => {
                    running.retarget();
                    wake = Some(Instant::now());
                }
                Err(_) => return Ok(()),
            },
            (from, answer) = running.sockets.hear() => wake = wake.into_iter().chain(running.hear(from, answer)).min(),
            () = sleep_until(wake) => {}
        }
    }
}

struct Running<C> {
    sockets: Sockets,
    prober: Prober,
    doubts: Doubts,
    reported: Instant,
    /// A verdict changed since.
    changed: bool,
    /// When verdicts last went out.
    proved: Instant,
    /// One changed since.
    news: bool,
    looked: Instant,
    wiring: Wiring<C>,
}

impl<C: Checksums> Running<C> {
    fn retarget(&mut self) {
        let targets = self.wiring.targets.borrow_and_update().clone();
        let links: BTreeSet<&LinkName> = targets.iter().flat_map(|target| &target.legs).map(|leg| &leg.link).collect();
        self.sockets.keep_only(|link| links.contains(link));
        self.doubts.keep_only(|link| links.contains(link));
        self.prober.retarget(targets.to_vec(), Instant::now());
        if self.wiring.offload == Offload::Off {
            let checked: BTreeSet<LinkName> =
                targets.iter().flat_map(|target| &target.legs).filter(|leg| leg.checksum).map(|leg| leg.link.clone()).collect();
            for link in checked.into_iter().filter(|link| self.doubts.switch_off(link)).collect::<Vec<_>>() {
                self.set(&link, false);
            }
        }
        self.publish(true);
    }

    fn turn(&mut self) {
        let now = Instant::now();
        let (shots, changed) = self.prober.turn(now);
        for shot in shots {
            // That it cannot even be sent shows as an echo that does not come back.
            if let Err(error) = self.sockets.send(&shot) {
                tracing::debug!(link = %shot.leg.link, to = %shot.leg.to, bytes = shot.bytes, %error, "cannot send a probe");
            }
        }
        self.mind_checksums(now);
        self.publish(changed);
    }

    /// Takes an answer. Tells when to turn, where it ended a round.
    fn hear(&mut self, from: IpAddr, answer: Answer) -> Option<Instant> {
        let ended = self.prober.heard(from, answer, Instant::now())?;
        if ended.changed {
            self.publish(true);
        }
        self.verdicts_due().into_iter().chain([ended.next]).min()
    }

    fn mind_checksums(&mut self, now: Instant) {
        for link in self.prober.silent_links() {
            let arrives = self.prober.arrives_by(&link);
            match self.doubts.judge(&link, self.wiring.offload, arrives) {
                Act::SwitchOff if self.set(&link, false) => self.prober.try_datagrams_again(&link, now),
                Act::SwitchOn => {
                    self.set(&link, true);
                    self.prober.accept_silence(&link, now);
                }
                Act::SwitchOff | Act::Accept => self.prober.accept_silence(&link, now),
            }
        }
        let off: Vec<LinkName> = self.doubts.off().cloned().collect();
        for link in off.iter().filter(|link| self.prober.arrives_by(link)).cloned().collect::<Vec<_>>() {
            if self.doubts.helped(&link) {
                (self.wiring.tell)(format!(
                    "large datagrams arrive by {link} only since it computes checksums in software: a network card on the way leaves them unfinished; \
                     it stays so (--vxlan-tx-checksum)"
                ));
            }
        }
        if now.duration_since(self.looked) >= LOOK {
            self.looked = now;
            for link in &off {
                self.set(link, false);
            }
        }
    }

    fn set(&self, link: &LinkName, offload: bool) -> bool {
        let done = self.wiring.checksums.set(link, offload);
        if let Err(error) = &done {
            tracing::debug!(%link, offload, %error, "cannot set how the link computes checksums");
        }
        done.is_ok()
    }

    /// When to turn again: for a round, or for verdicts that wait to go out.
    fn wake(&self, now: Instant) -> Option<Instant> {
        self.prober.wake(now).into_iter().chain(self.verdicts_due()).min()
    }

    /// When verdicts that wait go out.
    fn verdicts_due(&self) -> Option<Instant> {
        self.news.then(|| self.proved + PROOFS_A_PAIR * self.pairs())
    }

    fn pairs(&self) -> u32 {
        u32::try_from(self.prober.pairs()).unwrap_or(u32::MAX)
    }

    fn publish(&mut self, changed: bool) {
        let (now, pairs) = (Instant::now(), self.pairs());
        self.news |= changed;
        if self.news && now.duration_since(self.proved) >= PROOFS_A_PAIR * pairs {
            (self.proved, self.news) = (now, false);
            self.publish_proofs();
        }
        self.changed |= changed;
        let pause = if self.changed { CHANGE_A_PAIR * pairs } else { REPORT.max(REPORT_A_PAIR * pairs) };
        if now.duration_since(self.reported) < pause {
            return;
        }
        (self.reported, self.changed) = (now, false);
        let reports = self.prober.reports();
        self.wiring.reports.send_if_modified(|known| {
            let news = **known != reports;
            if news {
                *known = Arc::new(reports);
            }
            news
        });
    }
}

impl<C> Running<C> {
    fn publish_proofs(&self) {
        let proofs = self.prober.proofs();
        self.wiring.proofs.send_if_modified(|known| {
            let news = **known != proofs;
            if news {
                *known = Arc::new(proofs);
            }
            news
        });
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

//! The keeper: one loop that claims, renews and follows leases over the trait [`Store`], and publishes what it learns as a [`Cluster`].
//!
//! Make one with [`Keeper::new`], spawn [`Keeper::run`], and talk to it by its [`Handle`]. It first publishes what was remembered on disk, then reads the store (for as
//! long as it takes), settles on an own lease, and follows the store's watch. On shutdown it gives nothing back and removes nothing: the lease lives on for its term,
//! and a restart finds it again. The parts: `config` (which config is in force), `settle` (adopt, claim, publish, lose), `follow`
//! (the watch task) and `hear` (what it brings), `fence` (until when the fast path may send), `record` (what is published and remembered), `command` (what the daemon
//! asks for), `twin` (another machine with this node's id), `agenda` (what is due when), `problems` (what is amiss).

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use twill_model::event::{Kind, Tell, Told, Weight};
use twill_model::network::ConfigError;
use twill_model::{Addresses, Lease, NetworkConfig, NodeId, Prefixes, Way};

use crate::book::Book;
use crate::clock::{Clock, SystemClock};
use crate::cluster::Cluster;
use crate::remembered::Disk;
use crate::store::{Held, Oddity, Store, StoreError, StoreSnapshot};
use crate::term::Backoff;

mod agenda;
mod command;
mod config;
mod fence;
mod follow;
mod hear;
mod problems;
mod record;
mod settle;
#[cfg(test)]
mod tests;
mod twin;

pub use command::{CommandError, Handle};

use agenda::Agenda;
use command::Command;
use fence::Fence;
use follow::{Follower, News};
use problems::Problems;

/// What the daemon wishes to publish in the own lease: it asks the backend that the config names.
pub trait Wish: Send + Sync + 'static {
    /// Public addresses, and the ways this node can be reached by, best first. `previous` is the own lease as last known: MAC addresses and old ways are kept
    /// from it. `others` are all other leases: their nodes must be able to send to this one. The error is for people and is tried again later.
    fn wish(
        &self,
        config: &NetworkConfig,
        previous: Option<&Lease>,
        others: &[Arc<Lease>],
    ) -> impl Future<Output = Result<(Addresses, Vec<Way>), String>> + Send;

    /// What `config` would interrupt on this node, which serves pods by `current` and its lease `own`: words such as "link flannel.1 is made anew: its port 8472 becomes
    /// 4790". None when traffic goes on.
    fn disruption(&self, current: &NetworkConfig, own: &Lease, config: &NetworkConfig) -> impl Future<Output = Option<String>> + Send;
}

/// Told until which millisecond of the boot clock the fast path may send: 0 is not at all, `u64::MAX` is without limit (a reservation).
pub type Guard = Arc<dyn Fn(u64) + Send + Sync>;

/// What a keeper is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This node's stable id.
    pub node: NodeId,
    /// Where `book.json` lies.
    pub state_dir: PathBuf,
    /// For how long a lease is taken; [`crate::term::DEFAULT_TERM`] unless set. At least a second.
    pub term: Duration,
    /// How long before its end a lease is renewed; see [`crate::term::renewal_after`] for what holds without it.
    pub renew_margin: Option<Duration>,
    /// Put a config in force also when that interrupts traffic.
    pub allow_disruption: bool,
    /// Wait for a better one where the first config is wrong, instead of ending with [`Fatal::Config`].
    pub wait_for_config: bool,
    /// The subnets that the file for CNI names, of an earlier run of twill's or flannel's: wished for where nothing better is known and nobody holds them.
    pub from_file: Prefixes,
}

/// Why the keeper cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fatal {
    /// There never was a usable config, and the one in the store is wrong.
    #[error("cannot use the network config in the store: {0}; put it right with: twill config set '{{\"Network\":\"10.244.0.0/16\"}}'")]
    Config(#[from] ConfigError),
}

/// Waits between attempts at a store that does not answer. The longest one bounds how long a store that was wiped is without this node.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// How often the boot clock is looked at anyway: timers stand still while a machine is suspended.
const GLANCE: Duration = Duration::from_secs(10);

/// What is said of a store without anything in it, in the place of the one that was known.
const BARE: &str = "the store was made anew and holds no config: is the share mounted? If it is meant to be new, write the config again with: twill config set";

/// The own lease and how sure it is.
#[derive(Debug, Clone)]
enum Own {
    /// There is none: nothing may be sent.
    None,
    /// Remembered, or vanished from the store: used until the store says otherwise.
    Unsure(Lease),
    /// Ours by the store's word.
    Held(Held),
}

impl Own {
    fn lease(&self) -> Option<&Lease> {
        match self {
            Own::None => None,
            Own::Unsure(lease) => Some(lease),
            Own::Held(held) => Some(&held.lease),
        }
    }
}

/// What ended a wait.
enum Woken {
    Due,
    News(u64, News),
    Frozen,
    WishChanged,
    Command(Command),
}

/// Keeps the own lease and the book.
pub struct Keeper<S, W, C = SystemClock> {
    store: Arc<S>,
    wish: W,
    clock: Arc<C>,
    settings: Settings,
    tell: Tell,
    fence: Fence,
    cluster: watch::Sender<Arc<Cluster>>,
    commands: mpsc::Receiver<Command>,
    poked: Arc<Notify>,
    follower: Follower,
    agenda: Agenda,
    backoff: Backoff,
    book: Book,
    config: config::InForce,
    own: Own,
    /// The own lease as last known, also after it was lost.
    previous: Option<Lease>,
    public: Addresses,
    own_ends: u64,
    /// What this run has written, or taken up, as the own lease.
    written: twin::Written,
    /// A write of the own lease ended without an answer: it may have been done.
    unclear: bool,
    /// The lease was withdrawn: no other is claimed.
    withdrawn: bool,
    complete: bool,
    store_error: Option<String>,
    store_told_ms: u64,
    oddities: Vec<Oddity>,
    problems: Problems,
    disk: Disk,
    dirty: bool,
    /// The copy on disk is not written before.
    save_from_ms: u64,
}

impl<S: Store, W: Wish> Keeper<S, W> {
    /// A keeper by the machine's clock, and the handle to it. Nothing happens before [`Keeper::run`]. To be called inside a tokio runtime.
    pub fn new(store: Arc<S>, wish: W, settings: Settings, guard: Guard, tell: Tell) -> (Self, Handle) {
        Keeper::with_clock(store, wish, settings, guard, tell, Arc::new(SystemClock))
    }
}

impl<S: Store, W: Wish, C: Clock> Keeper<S, W, C> {
    /// As [`Keeper::new`], by another clock.
    pub fn with_clock(store: Arc<S>, wish: W, settings: Settings, guard: Guard, tell: Tell, clock: Arc<C>) -> (Self, Handle) {
        let (cluster, receiver) = watch::channel(Arc::new(Cluster::default()));
        let (sender, commands) = mpsc::channel(8);
        let poked = Arc::new(Notify::new());
        let seed = crate::term::seed_of(&settings.node.0);
        let handle = Handle::new(receiver, sender, poked.clone());
        let keeper = Keeper {
            fence: Fence::new(clock.clone(), guard),
            disk: Disk::new(settings.state_dir.clone()),
            follower: Follower::new(),
            agenda: Agenda { read: Some(0), ..Agenda::default() },
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT, seed),
            store,
            wish,
            clock,
            settings,
            tell,
            cluster,
            commands,
            poked,
            book: Book::default(),
            config: config::InForce::default(),
            own: Own::None,
            previous: None,
            public: Addresses::default(),
            own_ends: 0,
            written: twin::Written::default(),
            unclear: false,
            withdrawn: false,
            complete: false,
            store_error: None,
            store_told_ms: 0,
            oddities: Vec::new(),
            problems: Problems::default(),
            dirty: false,
            save_from_ms: 0,
        };
        (keeper, handle)
    }

    /// Runs until shutdown, or until the lease was given back on request.
    ///
    /// # Errors
    /// [`Fatal`] when going on makes no sense.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Fatal> {
        self.recall();
        self.follower.start(self.store.clone());
        let end = tokio::select! {
            biased;
            () = shutdown.cancelled() => Ok(()),
            end = self.keep() => end,
        };
        self.save_now();
        end
    }

    async fn keep(&mut self) -> Result<(), Fatal> {
        loop {
            self.do_what_is_due().await?;
            self.show();
            match self.wait().await {
                Woken::Due => {}
                Woken::News(generation, news) => self.hear(generation, news).await,
                Woken::Frozen => self.thaw(),
                Woken::WishChanged => self.wish_changed(),
                Woken::Command(command) => {
                    if self.obey(command).await {
                        self.show();
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn do_what_is_due(&mut self) -> Result<(), Fatal> {
        if self.withdrawn {
            (self.agenda.settle, self.agenda.renew) = (None, None);
        }
        if self.is_due(self.agenda.read) || self.is_due(self.agenda.refresh) {
            self.read().await?;
        }
        if !self.withdrawn && self.is_due(self.agenda.settle_at(self.complete)) {
            self.settle().await;
        }
        if !self.withdrawn && self.is_due(self.agenda.renew_at()) {
            self.renew().await;
        }
        if self.is_due(self.agenda.ready_at(self.holds())) {
            self.report_in_force().await;
        }
        if self.is_due(self.book.next_hold_end()) {
            self.end_holds();
        }
        if self.is_due(self.agenda.save) {
            self.save().await;
        }
        Ok(())
    }

    async fn wait(&mut self) -> Woken {
        let now = self.now();
        let next = self.agenda.next(self.complete, self.holds()).into_iter().chain(self.book.next_hold_end()).min();
        let pause = next.map(|at| Duration::from_millis(at.saturating_sub(now)).min(GLANCE));
        tokio::select! {
            biased;
            () = self.fence.frozen() => Woken::Frozen,
            (generation, news) = self.follower.news() => Woken::News(generation, news),
            Some(command) = self.commands.recv() => Woken::Command(command),
            () = self.poked.notified() => Woken::WishChanged,
            () = tokio::time::sleep(pause.unwrap_or(Duration::MAX)), if pause.is_some() => Woken::Due,
        }
    }

    /// Everything anew from the store; until it succeeds nothing else is decided.
    async fn read(&mut self) -> Result<(), Fatal> {
        self.agenda.refresh = None;
        match self.store.read().await {
            Err(error) => {
                self.store_failed(&error);
                self.agenda.read = Some(self.later());
                Ok(())
            }
            Ok(snapshot) if self.is_bare(&snapshot) => {
                self.store_failed(&StoreError::Retry(BARE.to_owned()));
                self.agenda.read = Some(self.later());
                Ok(())
            }
            Ok(snapshot) => {
                let answered_at_first = self.store_error.is_none();
                self.store_answered();
                self.agenda.read = None;
                let own = Self::owns(self.settings.node.clone(), self.public);
                let difference = self.book.replace(snapshot.leases, &snapshot.identity, own, self.clock.boot_ms());
                self.tell_of(&difference);
                self.note_oddities(snapshot.oddities);
                let first = !std::mem::replace(&mut self.complete, true);
                self.follower.go_on_from(snapshot.cursor);
                self.agenda.settle = Some(self.now());
                self.refuse_to_start_with(first, snapshot.config.as_deref())?;
                self.offer(snapshot.config, first && answered_at_first).await;
                Ok(())
            }
        }
    }

    /// True for a directory that was made anew and never written to while this network runs by a config: most likely the place where the real one belongs.
    /// A server that answers is the real one, however empty.
    fn is_bare(&self, snapshot: &StoreSnapshot) -> bool {
        if !self.store.abilities().directory {
            return false;
        }
        let another = self.book.identity().is_some_and(|known| known != snapshot.identity);
        let unmade = snapshot.identity.is_empty() && snapshot.leases.is_empty();
        self.config.config.is_some() && snapshot.config.is_none() && (another || unmade)
    }

    /// What this node is reached by has changed, or a backend that a config waits for is there now.
    fn wish_changed(&mut self) {
        self.agenda.settle = Some(self.now());
        if self.config.untried {
            self.agenda.refresh = Some(self.now());
        }
    }

    /// The process did not run until after the end of what the fast path was permitted: the store is asked before anything is sent again.
    fn thaw(&mut self) {
        let cause = if self.complete { "this node did not run until after the end of its lease" } else { "the remembered lease has ended" };
        let text = format!("{cause}; twill's own tunnels send nothing until the store has confirmed it");
        self.say(Weight::Warn, Told::new(Kind::OwnLease, text).because(cause).did("shut the tunnels and asked the store"));
        self.agenda.read = Some(self.now());
        self.agenda.renew = Some(self.now());
    }

    fn store_failed(&mut self, error: &StoreError) {
        const PROGRESS_MS: u64 = 60_000;
        let now = self.now();
        let text = error.to_string();
        if self.store_error.is_none() || now.saturating_sub(self.store_told_ms) >= PROGRESS_MS {
            self.store_told_ms = now;
            let told = Told::new(Kind::Store, format!("{text}; the data path stays as it is, and twill goes on trying"));
            self.say(Weight::Warn, told.about("store").because(text.as_str()).did("kept the data path as it is"));
        }
        self.problems.set("store", text.clone());
        self.store_error = Some(text);
    }

    fn store_answered(&mut self) {
        self.problems.clear("store");
        if self.store_error.take().is_some() {
            self.say(Weight::Info, Told::new(Kind::Store, "the store answers again").about("store"));
        }
    }

    fn end_holds(&mut self) {
        for lease in self.book.end_holds(self.now()) {
            let told = Told::new(Kind::Left, format!("lease {} of {} did not come back and is given up", lease.subnets, lease.owner()));
            self.say(
                Weight::Warn,
                told.about(lease.subnets).because("it vanished from the store together with many others").did("held it for a minute"),
            );
        }
    }

    fn owns(node: NodeId, public: Addresses) -> impl Fn(&Lease) -> bool {
        move |lease| lease.belongs_to(&node, &public)
    }

    fn holds(&self) -> bool {
        matches!(self.own, Own::Held(_))
    }

    /// All leases but the own ones.
    fn others(&self) -> Vec<Arc<Lease>> {
        self.book.leases().filter(|lease| !self.is_own(lease)).cloned().collect()
    }

    fn is_own(&self, lease: &Lease) -> bool {
        lease.belongs_to(&self.settings.node, &self.public)
    }

    fn say(&self, weight: Weight, told: impl Into<Told>) {
        (self.tell)(weight, told.into());
    }

    fn now(&self) -> u64 {
        self.clock.boot_ms()
    }

    fn later(&mut self) -> u64 {
        self.now().saturating_add(millis(self.backoff.wait()))
    }

    fn is_due(&self, at: Option<u64>) -> bool {
        at.is_some_and(|at| at <= self.now())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

//! A node for tests: a keeper over the store in memory with everything it says recorded.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use twill_model::event::Weight;
use twill_model::{Addresses, Lease, NetworkConfig, NodeId, Prefixes, Way};

use super::memory::Memory;
use super::{TestClock, lease};
use crate::cluster::Cluster;
use crate::keeper::{Fatal, Handle, Keeper, Settings, Wish};

/// Publishes the config's backend at an address that can be changed.
#[derive(Clone)]
pub struct PlainWish(Arc<Mutex<Addresses>>, Arc<Mutex<Option<&'static str>>>);

impl Wish for PlainWish {
    async fn wish(
        &self,
        config: &NetworkConfig,
        _previous: Option<&Lease>,
        _others: &[Arc<Lease>],
    ) -> Result<(Addresses, Vec<Way>), String> {
        if *self.1.lock().expect("no panic in here") == Some(config.backend.as_str()) {
            return Err("there is no such plugin".into());
        }
        let way = Way { backend: config.backend.clone(), options: config.options.clone(), data_v4: None, data_v6: None };
        Ok((*self.0.lock().expect("no panic in here"), vec![way]))
    }

    /// In these tests another port makes the link anew.
    async fn disruption(&self, current: &NetworkConfig, _own: &Lease, config: &NetworkConfig) -> Option<String> {
        let port = |config: &NetworkConfig| config.options.contains("Port").then(|| config.options.clone());
        (port(current) != port(config)).then(|| "the link is made anew".to_owned())
    }
}

/// A running node.
pub struct Node {
    pub handle: Handle,
    pub clock: Arc<TestClock>,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<Result<(), Fatal>>,
    wish: PlainWish,
    guard: Arc<AtomicU64>,
    said: Arc<Mutex<Vec<(Weight, String)>>>,
}

/// How a node is started.
pub struct Start<'a> {
    pub name: &'a str,
    pub state: &'a Path,
    pub term: Duration,
    pub address: &'a str,
    /// A backend that has no plugin.
    pub lacks: Option<&'static str>,
    pub margin: Option<Duration>,
    pub allow_disruption: bool,
    /// Waits for a better first config.
    pub wait_for_config: bool,
    /// What the file for CNI says.
    pub from_file: Prefixes,
}

impl<'a> Start<'a> {
    pub fn new(name: &'a str, state: &'a TempDir) -> Start<'a> {
        Start {
            name,
            state: state.path(),
            term: Duration::from_secs(86_400),
            address: "192.0.2.1",
            lacks: None,
            margin: None,
            allow_disruption: false,
            wait_for_config: false,
            from_file: Prefixes::default(),
        }
    }

    pub fn term(self, seconds: u64) -> Self {
        Start { term: Duration::from_secs(seconds), ..self }
    }

    pub fn run(self, store: &Memory) -> Node {
        let (guard, said) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (told, heard) = (guard.clone(), said.clone());
        let clock = Arc::new(TestClock::default());
        let wish = PlainWish(Arc::new(Mutex::new(lease(self.name, "10.0.0.0/24", self.address).public)), Arc::new(Mutex::new(self.lacks)));
        let (keeper, handle) = Keeper::with_clock(
            Arc::new(store.clone()),
            wish.clone(),
            Settings {
                node: NodeId(self.name.into()),
                state_dir: self.state.into(),
                term: self.term,
                renew_margin: self.margin,
                allow_disruption: self.allow_disruption,
                wait_for_config: self.wait_for_config,
                from_file: self.from_file,
            },
            Arc::new(move |until| told.store(until, Ordering::SeqCst)),
            Arc::new(move |weight, told| heard.lock().expect("no panic in here").push((weight, told.text))),
            clock.clone(),
        );
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(keeper.run(shutdown.clone()));
        Node { handle, clock, shutdown, task, wish, guard, said }
    }
}

impl Node {
    /// Waits (ten minutes of paused time at most) until the cluster is as wished.
    pub async fn until(&self, wanted: impl FnMut(&Cluster) -> bool) -> Arc<Cluster> {
        let mut wanted = wanted;
        let mut cluster = self.handle.cluster();
        let found = tokio::time::timeout(Duration::from_secs(600), cluster.wait_for(|cluster| wanted(cluster))).await;
        match found {
            Ok(Ok(found)) => found.clone(),
            other => {
                panic!("{}\nsaid: {:#?}\nnow: {:#?}", if other.is_err() { "too late" } else { "the keeper ended" }, self.said(), self.now())
            }
        }
    }

    /// Waits for an own lease that the store has confirmed.
    pub async fn own(&self) -> Prefixes {
        let cluster = self.until(|cluster| cluster.complete && cluster.own.is_some() && cluster.renewal.is_some()).await;
        cluster.own.as_ref().expect("just waited for it").subnets
    }

    pub fn now(&self) -> Arc<Cluster> {
        self.handle.cluster().borrow().clone()
    }

    /// True when the fast path may send at this moment.
    pub fn may_send(&self) -> bool {
        use crate::clock::Clock;
        self.guard.load(Ordering::SeqCst) > self.clock.boot_ms()
    }

    pub fn guard(&self) -> u64 {
        self.guard.load(Ordering::SeqCst)
    }

    pub fn move_to(&self, address: &str) {
        self.wish.0.lock().expect("no panic in here").v4 = Some(address.parse().expect("an address"));
        self.handle.wish_changed();
    }

    /// The plugin that was lacking is there.
    pub fn install(&self) {
        *self.wish.1.lock().expect("no panic in here") = None;
        self.handle.wish_changed();
    }

    pub fn said(&self) -> Vec<(Weight, String)> {
        self.said.lock().expect("no panic in here").clone()
    }

    pub fn has_said(&self, weight: Weight, part: &str) -> bool {
        self.said().iter().any(|(said, text)| *said == weight && text.contains(part))
    }

    /// As by SIGKILL: nothing more is done.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|end| end.is_cancelled()));
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("no panic").expect("a plain end");
    }
}

pub async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

//! What the node does about plugins: follows their folders, says which are needed, has a new backend make a trial plan, and counts what policy refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use twill_kernel::Netlink;
use twill_lease::cluster::Cluster;
use twill_model::Lease;
use twill_model::event::{Kind, Told, Weight};
use twill_model::node::Node;
use twill_model::status::Standing;
use twill_plugin::{Backends, Plugins, TryOut};
use twill_reconcile::Inputs;
use twill_reconcile::ports::Planner;
use twill_reconcile::trial::{Basis, try_out};
use twill_reconcile::view::Outcome;

use super::followed::Followed;
use super::wish::{links_found, network};

/// Time for a whole trial plan: what thousands of peers may take in a slow language.
const TRIAL: Duration = Duration::from_secs(120);

/// Looks through the plugin folders whenever something in them may have changed.
pub async fn folders(plugins: Plugins, followed: Followed) {
    tokio::select! {
        () = followed.shutdown.cancelled() => {}
        () = plugins.follow_folders() => {}
    }
}

/// Says which backends are needed: those that this node publishes, and the config's.
pub async fn needs(plugins: Plugins, mut inputs: watch::Receiver<Option<Arc<Inputs>>>, followed: Followed) {
    loop {
        let now = inputs.borrow_and_update().clone();
        if let Some(now) = now {
            let backends: BTreeSet<String> = now.mine.ways.iter().map(|way| way.backend.clone()).chain([now.backend.clone()]).collect();
            if let Err(error) = plugins.need(backends).await {
                followed.tell(Weight::Error, Told::new(Kind::Plugin, error.to_string()));
            }
        }
        tokio::select! {
            () = followed.shutdown.cancelled() => return,
            changed = inputs.changed() => if changed.is_err() { return },
        }
    }
}

/// Counts what policy refuses with the plugin that planned it, each item when it is refused first.
pub async fn violations(plugins: Plugins, mut outcome: watch::Receiver<Arc<Outcome>>, followed: Followed) {
    let mut known: BTreeMap<(String, String), String> = BTreeMap::new();
    loop {
        let now = refused(&outcome.borrow_and_update());
        for ((backend, what), reason) in now.iter().filter(|(place, _)| !known.contains_key(*place)) {
            plugins.violated(backend, &format!("{what}: {reason}"));
        }
        known = now;
        tokio::select! {
            () = followed.shutdown.cancelled() => return,
            changed = outcome.changed() => if changed.is_err() { return },
        }
    }
}

fn refused(outcome: &Outcome) -> BTreeMap<(String, String), String> {
    let refused = outcome.items.iter().filter(|item| item.standing == Standing::Refused);
    refused.map(|item| ((item.backend.clone(), item.what.clone()), item.reason.clone().unwrap_or_default())).collect()
}

/// What a trial plan is made from.
#[derive(Clone)]
pub struct Trials {
    /// Where the reconciler is asked for what stands.
    pub questions: mpsc::Sender<oneshot::Sender<Option<Basis>>>,
    /// The config and the own lease.
    pub cluster: watch::Receiver<Arc<Cluster>>,
    /// This node.
    pub node: watch::Receiver<Arc<Node>>,
    /// Where links that may be taken over are looked for.
    pub kernel: Arc<Netlink>,
    /// Links may be broken, whoever asks.
    pub allow_disruption: bool,
}

impl Trials {
    /// The judge of candidates.
    pub fn judge(self) -> TryOut {
        let trials = Arc::new(self);
        Arc::new(move |backend: String, candidate: Backends, disrupt: bool| {
            let trials = Arc::clone(&trials);
            Box::pin(async move {
                let judged = trials.try_on(&backend, candidate, disrupt || trials.allow_disruption);
                let late = |_| Err(format!("its trial plan was not ready after {} s", TRIAL.as_secs()));
                tokio::time::timeout(TRIAL, judged).await.unwrap_or_else(late)
            }) as Pin<Box<dyn Future<Output = Result<String, String>> + Send>>
        })
    }

    async fn try_on(&self, backend: &str, candidate: Backends, disrupt: bool) -> Result<String, String> {
        let Some(mut basis) = self.basis().await else { return Ok("nothing is planned yet, so there was no trial".into()) };
        if !basis.inputs.mine.ways.iter().any(|way| way.backend == backend) {
            return Ok("it is not in use, so there was no trial".into());
        }
        let mut changes = plan(&candidate, backend, &basis, disrupt).await?;
        // The new plugin may publish another way; then that is what it will plan with.
        if let Some(mine) = self.advertised(backend, candidate.clone(), &basis.inputs.mine).await? {
            basis.inputs.mine = mine;
            changes = format!("this node publishes another way; {}", plan(&candidate, backend, &basis, disrupt).await?);
        }
        Ok(changes)
    }

    async fn basis(&self) -> Option<Basis> {
        let (answer, answered) = oneshot::channel();
        self.questions.send(answer).await.ok()?;
        answered.await.ok()?
    }

    /// The own lease as the candidate would have it published; none when that is what it is.
    async fn advertised(&self, backend: &str, candidate: Backends, mine: &Lease) -> Result<Option<Lease>, String> {
        let config = self.cluster.borrow().config.clone();
        let Some(config) = config.filter(|config| config.backend == backend) else { return Ok(None) };
        let before = mine.ways.iter().find(|way| way.backend == backend).cloned();
        let node = (**self.node.borrow()).clone();
        let links = links_found(&*self.kernel).await;
        let way = candidate.advertise(backend, network(&config), node, config.options.clone(), before.clone(), links).await;
        let way = way.map_err(|error| format!("it does not say what to publish: {error}"))?;
        let ways = mine.ways.iter().map(|old| if Some(old) == before.as_ref() { way.clone() } else { old.clone() }).collect();
        Ok((before.as_ref() != Some(&way)).then(|| Lease { ways, ..mine.clone() }))
    }
}

async fn plan(candidate: &Backends, backend: &str, basis: &Basis, disrupt: bool) -> Result<String, String> {
    let trial = try_out(candidate, backend, basis).await;
    if !trial.faults.is_empty() {
        return Err(format!("its trial plan is worse than what is in force: {}", trial.faults.join("; ")));
    }
    if !trial.disruptions.is_empty() && !disrupt {
        return Err(format!("it would break traffic off: {}; --allow-disruption permits that", trial.disruptions.join("; ")));
    }
    Ok(trial.summary())
}

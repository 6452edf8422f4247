//! What others may ask of a running keeper, and what it shows them.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use twill_model::event::{Kind, Told, Weight};

use super::{Keeper, Own, Wish};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::store::{Store, StoreError};

type Answer = oneshot::Sender<Result<(), CommandError>>;

/// What is asked.
pub(super) enum Command {
    /// Give the lease back and stop.
    Release(Answer),
    /// Give the lease back, and go on without it.
    Withdraw(Answer),
    /// Put the waiting config in force although it changes the network.
    AcceptConfig(Answer),
    /// The first plan is in force.
    InForce,
}

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The keeper has ended.
    #[error("the daemon is stopping")]
    Stopped,
    /// The store would not.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to give back.
    #[error("this node holds no lease that the store has confirmed; try again once the store answers")]
    NoLease,
    /// There is nothing to accept.
    #[error("no config is waiting to be accepted")]
    NoConfig,
    /// The waiting config is good, and the backend that it names is not; it goes on waiting.
    #[error("cannot accept the config: {0}")]
    Backend(String),
}

/// The way to a running keeper. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    cluster: watch::Receiver<Arc<Cluster>>,
    commands: mpsc::Sender<Command>,
    poked: Arc<Notify>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Command::Release(_) => "Release",
            Command::Withdraw(_) => "Withdraw",
            Command::AcceptConfig(_) => "AcceptConfig",
            Command::InForce => "InForce",
        })
    }
}

impl Handle {
    pub(super) fn new(cluster: watch::Receiver<Arc<Cluster>>, commands: mpsc::Sender<Command>, poked: Arc<Notify>) -> Handle {
        Handle { cluster, commands, poked }
    }

    /// The cluster as the keeper knows it, now and at each change.
    pub fn cluster(&self) -> watch::Receiver<Arc<Cluster>> {
        self.cluster.clone()
    }

    /// What the own lease should say has changed (the underlay's address, a backend): it is asked for and published anew, on the same subnet.
    pub fn wish_changed(&self) {
        self.poked.notify_one();
    }

    /// Tells the store that the first plan is in force, as soon as it has confirmed the own lease. Returns at once; a failure is told as an event and tried again.
    pub async fn plan_in_force(&self) {
        // A keeper that has ended has nobody left to tell.
        let _ = self.commands.send(Command::InForce).await;
    }

    /// Gives the own lease back and ends the keeper.
    ///
    /// # Errors
    /// [`CommandError`]; then the keeper goes on as before.
    pub async fn release(&self) -> Result<(), CommandError> {
        self.ask(Command::Release).await
    }

    /// Gives the own lease back for good, and goes on as if it were held, until it would have ended or another node takes the subnet. For a node that is being drained.
    ///
    /// # Errors
    /// [`CommandError`]; then the keeper goes on as before.
    pub async fn withdraw(&self) -> Result<(), CommandError> {
        self.ask(Command::Withdraw).await
    }

    /// Puts the waiting config in force, although it changes the network or the own subnet.
    ///
    /// # Errors
    /// [`CommandError`]; then the last good config stays.
    pub async fn accept_config(&self) -> Result<(), CommandError> {
        self.ask(Command::AcceptConfig).await
    }

    async fn ask(&self, command: impl FnOnce(Answer) -> Command) -> Result<(), CommandError> {
        let (answer, heard) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| CommandError::Stopped)?;
        heard.await.unwrap_or(Err(CommandError::Stopped))
    }
}

impl<S: Store, W: Wish, C: Clock> Keeper<S, W, C> {
    /// Does what is asked; true when the keeper is to end. An asker that went away is no failure.
    pub(super) async fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Release(answer) => {
                let done = self.release().await;
                let end = done.is_ok();
                let _ = answer.send(done);
                end
            }
            Command::Withdraw(answer) => {
                let _ = answer.send(self.withdraw().await);
                false
            }
            Command::AcceptConfig(answer) => {
                let _ = answer.send(self.accept_waiting().await);
                false
            }
            Command::InForce => {
                self.agenda.ready = Some(self.now());
                false
            }
        }
    }

    async fn release(&mut self) -> Result<(), CommandError> {
        let Own::Held(held) = self.own.clone() else { return Err(CommandError::NoLease) };
        self.fence.shut();
        match self.store.release(held.clone()).await {
            Ok(()) | Err(StoreError::NotFound(_)) => {}
            Err(error) => {
                self.fence.open(self.own_ends, crate::term::lead(self.settings.term));
                return Err(error.into());
            }
        }
        self.own = Own::None;
        self.previous = None;
        self.agenda.renew = None;
        self.book.strike(&held.lease.subnets);
        let told = Told::new(Kind::OwnLease, format!("lease {} was given back", held.lease.subnets));
        self.say(Weight::Info, told.about(held.lease.subnets).because("an operator asked for it"));
        Ok(())
    }

    /// Gives the lease back and claims no other. It goes on being used here as long as it would have lasted, unless another node takes the subnet: what peers sent
    /// before they heard of it still arrives.
    async fn withdraw(&mut self) -> Result<(), CommandError> {
        let Own::Held(held) = self.own.clone() else { return Err(CommandError::NoLease) };
        match self.store.release(held.clone()).await {
            Ok(()) | Err(StoreError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
        self.withdrawn = true;
        self.own = Own::Unsure(held.lease.clone());
        self.book.strike(&held.lease.subnets);
        self.problems.set("drain", format!("this node is being drained: lease {} is withdrawn", held.lease.subnets));
        let told = Told::new(Kind::OwnLease, format!("lease {} was withdrawn", held.lease.subnets));
        self.say(Weight::Info, told.about(held.lease.subnets).because("this node is being drained"));
        Ok(())
    }

    /// Tells the store, as soon as there is a lease that it has confirmed; what fails is tried again.
    pub(super) async fn report_in_force(&mut self) {
        self.agenda.ready = None;
        let Own::Held(held) = self.own.clone() else { return };
        match self.store.ready(held).await {
            Ok(()) => {
                self.problems.clear("ready");
            }
            Err(error) => {
                let text = format!("cannot tell the store that this node is ready: {error}");
                if self.problems.set("ready", text.clone()) {
                    self.say(Weight::Warn, text);
                }
                self.agenda.ready = Some(self.later());
            }
        }
    }
}

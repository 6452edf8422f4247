//! One task owns one instance; callers hold a [`Actor`] and send it calls.
//!
//! An instance that trapped, overran its time or was cancelled amid a call cannot be entered again: it is thrown away, and the next call
//! makes a new one (for stores `configure` first).
//! The first failures cost nothing but that, so one lease that a plugin cannot bear spoils only itself; after [`PATIENCE`] in a row the
//! plugin rests for a while, ever longer.
//! A caller that goes away cancels its call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use twill_lease::store::StoreError;
use wasmtime::Store;

use crate::counters::Counters;
use crate::error::{CallError, Overrun, cause_of};
use crate::guest::{Guest, Nursery};

/// Failures in a row that do not make the plugin rest.
const PATIENCE: u32 = 3;
/// The first rest; each further failure doubles it.
const REST: Duration = Duration::from_millis(100);
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(10);
/// Time to make an instance, its start functions included.
const MAKING: Duration = Duration::from_secs(5);
/// Calls that wait for one instance; further callers wait to queue.
const QUEUE: usize = 64;

pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A kind of component: how it is instantiated and made ready.
pub(crate) trait World: Sized + Send + Sync + 'static {
    /// The component, linked.
    type Linked: Clone + Send + Sync + 'static;
    /// What a fresh instance is told first.
    type Setup: Clone + Send + Sync + 'static;

    fn make<'a>(linked: &'a Self::Linked, store: &'a mut Store<Guest>) -> Boxed<'a, wasmtime::Result<Self>>;

    /// Makes a fresh instance ready; the inner error is the plugin's own.
    fn configure<'a>(&'a self, store: &'a mut Store<Guest>, setup: &'a Self::Setup) -> Boxed<'a, wasmtime::Result<Result<(), StoreError>>>;
}

/// A handle on the task that owns an instance; the task ends with the last handle.
pub(crate) struct Actor<W: World> {
    plugin: Arc<str>,
    calls: mpsc::Sender<Box<dyn Call<W>>>,
    counters: Arc<Counters>,
}

impl<W: World> Actor<W> {
    /// Starts the task. The instance is made by the first call.
    pub(crate) fn spawn(nursery: Nursery, linked: W::Linked, setup: W::Setup, counters: Arc<Counters>) -> Actor<W> {
        let (calls, queue) = mpsc::channel(QUEUE);
        let plugin: Arc<str> = nursery.plugin.as_str().into();
        let stage = Stage { nursery, linked, setup, counters: counters.clone(), instance: None, failed: 0, rests_until: None, last: None };
        tokio::spawn(stage.run(queue));
        Actor { plugin, calls, counters }
    }

    /// Counts something that the plugin was not to do.
    pub(crate) fn violated(&self, what: &str) {
        self.counters.violated(what);
    }

    /// Asks the instance; `wall` bounds the answer, waiting included.
    pub(crate) async fn call<T, F>(&self, wall: Duration, ask: F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Store<Guest>, &'a W) -> Boxed<'a, wasmtime::Result<T>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let stopped = || CallError::Stopped { plugin: self.plugin.to_string() };
        self.calls.send(Box::new(Asked { wall, ask, answer })).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

/// One call on its way to the instance.
trait Call<W>: Send {
    /// Nobody waits for the answer any more.
    fn abandoned(&self) -> bool;
    /// Answers without the instance.
    fn refuse(self: Box<Self>, error: CallError);
    /// Asks the instance. What came of it is to be noted before the answer is sent, so that status is never behind.
    fn run<'a>(self: Box<Self>, plugin: &'a str, store: &'a mut Store<Guest>, world: &'a W) -> Boxed<'a, (Outcome, Reply)>;
}

/// Sends the answer.
type Reply = Box<dyn FnOnce() + Send>;

/// What a call leaves behind.
enum Outcome {
    /// The instance is as good as before.
    Fine,
    /// The instance cannot be used again, through nobody's fault.
    Cancelled,
    /// The instance failed, for this cause.
    Failed(String),
}

struct Asked<T, F> {
    wall: Duration,
    ask: F,
    answer: oneshot::Sender<Result<T, CallError>>,
}

impl<W, T, F> Call<W> for Asked<T, F>
where
    W: World,
    T: Send + 'static,
    F: for<'a> FnOnce(&'a mut Store<Guest>, &'a W) -> Boxed<'a, wasmtime::Result<T>> + Send + 'static,
{
    fn abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn refuse(self: Box<Self>, error: CallError) {
        // A caller that went away needs no answer.
        let _ = self.answer.send(Err(error));
    }

    fn run<'a>(self: Box<Self>, plugin: &'a str, store: &'a mut Store<Guest>, world: &'a W) -> Boxed<'a, (Outcome, Reply)> {
        Box::pin(async move {
            let Asked { wall, ask, mut answer } = *self;
            begin(store);
            let ended = tokio::select! {
                ended = within(wall, ask(store, world)) => ended,
                () = answer.closed() => return (Outcome::Cancelled, Box::new(|| ()) as Reply),
            };
            let (outcome, result) = match ended.map_err(|error| why(store, &error)) {
                Ok(value) => (Outcome::Fine, Ok(value)),
                Err(cause) => (Outcome::Failed(cause.clone()), Err(CallError::Failed { plugin: plugin.into(), cause })),
            };
            // A caller that went away meanwhile loses nothing.
            (outcome, Box::new(|| drop(answer.send(result))))
        })
    }
}

/// Opens the account of a call that is about to be made.
pub(crate) fn begin(store: &mut Store<Guest>) {
    store.data_mut().begin();
    store.set_epoch_deadline(1);
}

/// The answer of a guest, if it comes within `wall`.
pub(crate) async fn within<T>(wall: Duration, answer: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
    tokio::time::timeout(wall, answer).await.unwrap_or_else(|_| Err(Overrun::Wall(wall.as_millis()).into()))
}

/// Why a call failed, in words. A guest that was refused memory or a table gives up by itself.
pub(crate) fn why(store: &Store<Guest>, error: &wasmtime::Error) -> String {
    let account = &store.data().account;
    match account.starved().filter(|_| error.is::<wasmtime::Trap>()).or_else(|| account.exceeded(error)) {
        Some(overrun) => overrun.to_string(),
        _ => cause_of(error),
    }
}

/// The task's own: the instance and how it fares.
struct Stage<W: World> {
    nursery: Nursery,
    linked: W::Linked,
    setup: W::Setup,
    counters: Arc<Counters>,
    instance: Option<(Store<Guest>, W)>,
    failed: u32,
    rests_until: Option<Instant>,
    /// The last cause of failure, logged once.
    last: Option<String>,
}

impl<W: World> Stage<W> {
    async fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Call<W>>>) {
        while let Some(call) = queue.recv().await {
            if !call.abandoned() {
                self.answer(call).await;
            }
        }
    }

    async fn answer(&mut self, call: Box<dyn Call<W>>) {
        let (mut store, world) = match self.take_instance().await {
            Ok(instance) => instance,
            Err(error) => return call.refuse(error),
        };
        let (outcome, reply) = call.run(&self.nursery.plugin, &mut store, &world).await;
        self.counters.called(&store.data().account);
        match outcome {
            Outcome::Fine => {
                self.instance = Some((store, world));
                self.recovered();
            }
            Outcome::Cancelled => {}
            Outcome::Failed(cause) => self.failed(cause),
        }
        reply();
    }

    /// The instance, made if there is none. Who takes it puts it back if it can be used again.
    async fn take_instance(&mut self) -> Result<(Store<Guest>, W), CallError> {
        if let Some(instance) = self.instance.take() {
            return Ok(instance);
        }
        self.rested()?;
        let made = self.make().await;
        if let Err(CallError::Failed { cause, .. }) = &made {
            self.failed(cause.clone());
        }
        made
    }

    fn rested(&self) -> Result<(), CallError> {
        let wait = self.rests_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        if wait.is_zero() {
            return Ok(());
        }
        let cause = self.last.clone().unwrap_or_default();
        Err(CallError::BackingOff { plugin: self.nursery.plugin.clone(), failures: self.failed, wait_ms: wait.as_millis(), cause })
    }

    async fn make(&mut self) -> Result<(Store<Guest>, W), CallError> {
        let plugin = self.nursery.plugin.clone();
        let failed = |cause| CallError::Failed { plugin, cause };
        let mut store = self.nursery.store();
        begin(&mut store);
        let made = within(MAKING, W::make(&self.linked, &mut store)).await;
        let world = match made {
            Ok(world) => world,
            Err(error) => return Err(failed(why(&store, &error))),
        };
        begin(&mut store);
        let configured = within(MAKING, world.configure(&mut store, &self.setup)).await;
        let configured = configured.map_err(|error| failed(why(&store, &error)))?;
        configured.map_err(CallError::Configure)?;
        if self.failed > 0 {
            self.counters.restarted();
        }
        Ok((store, world))
    }

    fn recovered(&mut self) {
        if self.failed > 0 {
            self.failed = 0;
            self.rests_until = None;
            self.counters.recovered();
        }
    }

    fn failed(&mut self, cause: String) {
        self.instance = None;
        self.failed += 1;
        let rest = (self.failed > PATIENCE).then(|| rest_after(self.failed - PATIENCE));
        self.rests_until = rest.map(|rest| Instant::now() + rest);
        self.counters.failed(&cause, self.rests_until);
        if self.last.as_ref() != Some(&cause) {
            tracing::warn!(plugin = self.nursery.plugin, cause, "a plugin failed; its instance is made anew");
            self.last = Some(cause);
        }
    }
}

/// The rest after so many failures beyond patience.
fn rest_after(failures: u32) -> Duration {
    REST.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_up_to_a_limit() {
        assert_eq!(rest_after(1), REST);
        assert_eq!(rest_after(3), REST * 4);
        assert_eq!(rest_after(40), LONGEST_REST);
    }
}

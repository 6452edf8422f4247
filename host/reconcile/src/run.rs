//! The loop. Whatever happens (new leases, a route deleted by hand, a new plugin, a timer) leads to the same pass: observe, plan, unite,
//! diff, apply, tell. A pass that finds no difference writes nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use twill_model::event::Tell;

use crate::files::NamesFile;
use crate::pass::Pass;
use crate::ports::{Forwarder, Kernel, Planner};
use crate::trial::Questions;
use crate::view::Outcome;
use crate::{Inputs, Settings};

/// After a pass that changed nothing the kernel's news wait so many times as long as the pass took: a host whose routing tables are huge and restless costs no
/// more than a fifth of a core, and a small one is mended within milliseconds. After one that mended something they wait as before it: how often an item is
/// mended has a limit of its own, and writing takes its time.
const REST: u32 = 4;

/// But never longer than this.
const LONGEST_REST: Duration = Duration::from_secs(5);

/// Kernel settings change without a word: however quiet it is, a look is taken this often,
const LOOK: Duration = Duration::from_secs(30);

/// but so many times as long after a look as it took, so that thousands of peers cost no processor time while all is quiet,
const LOOK_PAUSE: u32 = 2_000;

/// and never more seldom than this.
const LONGEST_LOOK: Duration = Duration::from_secs(300);

/// How long to wait before a kernel is looked at again that could not be.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What the loop is wired to.
pub struct Wiring<P, K, F> {
    /// The backends.
    pub planner: Arc<P>,
    /// The kernel.
    pub kernel: Arc<K>,
    /// The fast path.
    pub forwarder: Arc<F>,
    /// What stays the same.
    pub settings: Settings,
    /// The names of own links, kept over restarts.
    pub names: NamesFile,
    /// Where events go.
    pub tell: Tell,
}

/// Runs until `shutdown`. Nothing is taken away at the end: kernel state outlives the daemon.
///
/// `inputs` is empty until there is a config and an own lease; while it is empty again later, what was applied last stays.
/// `again` asks for a pass: a plugin changed, a tunnel was lost. `questions` ask for what a trial plan starts from; they cost no pass.
pub async fn run<P: Planner, K: Kernel, F: Forwarder>(
    wiring: Wiring<P, K, F>,
    mut inputs: watch::Receiver<Option<Arc<Inputs>>>,
    again: Arc<Notify>,
    mut questions: Questions,
    outcome: watch::Sender<Arc<Outcome>>,
    shutdown: CancellationToken,
) {
    let kernel = Arc::clone(&wiring.kernel);
    let mut pass = Pass::new(wiring);
    let mut idle_pass = Duration::ZERO;
    loop {
        let now = inputs.borrow_and_update().clone();
        let started = Instant::now();
        let wake = match &now {
            Some(inputs) => {
                let changes = pass.changes();
                let (told, wake) = match pass.run(inputs).await {
                    Ok(done) => done,
                    Err(refused) => (outcome.borrow().after_no_look(&refused), Some(Instant::now() + LOOK_AGAIN)),
                };
                if pass.changes() == changes {
                    idle_pass = started.elapsed();
                }
                outcome.send_replace(Arc::new(told));
                wake
            }
            None => None,
        };
        let rest = Instant::now() + (idle_pass * REST).min(LONGEST_REST);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = inputs.changed() => if changed.is_err() { return },
                () = changed_after(rest, &*kernel) => {}
                () = again.notified() => {}
                () = sleep_until(wake) => {}
                Some(asker) = questions.recv() => {
                    // Whoever asked and went away needs no answer.
                    let _ = asker.send(now.as_deref().and_then(|inputs| pass.basis(inputs)));
                    continue;
                }
                () = tokio::time::sleep(next_look(idle_pass)) => {}
            }
            break;
        }
    }
}

/// How long until a look is taken though nothing happened, where a pass takes so long.
fn next_look(pass: Duration) -> Duration {
    (pass * LOOK_PAUSE).clamp(LOOK, LONGEST_LOOK)
}

/// The kernel's news, not before `rest`.
async fn changed_after(rest: Instant, kernel: &impl Kernel) {
    tokio::time::sleep_until(rest.into()).await;
    kernel.changed().await;
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_taken_the_more_seldom_the_longer_it_takes_within_bounds() {
        let looks = [1, 40, 5_000].map(|millis| next_look(Duration::from_millis(millis)).as_secs());
        assert_eq!(looks, [30, 80, 300]);
    }
}

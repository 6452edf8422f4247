//! Keeps subnet.env up with the plan in force. It is written once the plan is in place and the lease is sure, so that who waits for it finds a network that works; the
//! store is told at the same moment. A file that cannot be written is tried again, one that vanished is put back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use twill_lease::cluster::Cluster;
use twill_model::event::Weight;
use twill_reconcile::view::Outcome;

use super::followed::Followed;
use crate::compat::subnet_env::SubnetEnv;

/// How long until a file that could not be written is tried again, and until one that is there is looked at again.
const RETRY: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_secs(2);

/// How the file is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileState {
    /// It says what is in force.
    pub written: bool,
    /// Why it does not.
    pub problem: Option<String>,
}

/// What the file is made from.
pub struct SubnetFile {
    /// Where it is.
    pub path: PathBuf,
    /// Where a copy is kept, by which `twill down` knows it for ours.
    pub copy: PathBuf,
    /// True when twill masquerades.
    pub masquerade: bool,
    /// The last pass.
    pub outcome: watch::Receiver<Arc<Outcome>>,
    /// The cluster.
    pub cluster: watch::Receiver<Arc<Cluster>>,
    /// Where its state is told.
    pub state: watch::Sender<FileState>,
}

impl SubnetFile {
    /// Runs until the end.
    pub async fn run(mut self, followed: Followed) {
        let mut told = None;
        loop {
            let wanted = subnet_env(&self.outcome.borrow_and_update(), &self.cluster.borrow_and_update(), self.masquerade);
            let state = match &wanted {
                None => FileState::default(),
                Some(wanted) => write(wanted, &self.path, &self.copy),
            };
            if state.written && told != wanted {
                if let Some(wanted) = &wanted {
                    followed.tell(Weight::Info, format!("{} says subnet {}, MTU {}", self.path.display(), wanted.subnets, wanted.mtu));
                }
                if told.is_none() {
                    followed.keeper.plan_in_force().await;
                }
                told = wanted;
            }
            let wait = if state.problem.is_some() { RETRY } else { LOOK };
            self.tell_state(state, &followed);
            tokio::select! {
                () = followed.shutdown.cancelled() => return,
                changed = self.outcome.changed() => if changed.is_err() { return },
                changed = self.cluster.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn tell_state(&self, state: FileState, followed: &Followed) {
        self.state.send_if_modified(|now| {
            let news = *now != state;
            if let Some(problem) = state.problem.as_ref().filter(|_| news) {
                followed.tell(Weight::Error, problem.clone());
            }
            *now = state;
            news
        });
    }
}

/// The file's content, once the plan is in place and packets may be sent.
pub fn subnet_env(outcome: &Outcome, cluster: &Cluster, masquerade: bool) -> Option<SubnetEnv> {
    let mtu = outcome.pod_mtu.filter(|_| outcome.in_force && cluster.permit)?;
    Some(SubnetEnv { networks: outcome.networks, subnets: outcome.subnets, mtu, masquerade })
}

fn write(wanted: &SubnetEnv, path: &Path, copy: &Path) -> FileState {
    match wanted.write(copy).and_then(|()| wanted.write(path)) {
        Ok(()) => FileState { written: true, problem: None },
        Err(error) => {
            let problem = format!("cannot write {}: {error}; Docker and CNI do not find this node's subnet", path.display());
            FileState { written: false, problem: Some(problem) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_promised_before_packets_may_be_sent() {
        let outcome = Outcome { pod_mtu: Some(1472), in_force: true, ..Outcome::default() };
        let sure = Cluster { permit: true, ..Cluster::default() };
        assert!(subnet_env(&outcome, &sure, false).is_some());
        assert_eq!(subnet_env(&outcome, &Cluster { permit: false, ..sure.clone() }, false), None);
        assert_eq!(subnet_env(&Outcome { in_force: false, ..outcome }, &sure, false), None);
    }
}

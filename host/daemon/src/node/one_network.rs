//! One daemon a network on one host: two would take two subnets of it, and fight over ports and routes. Instances with different networks live together.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use twill_kernel::lock::{InstanceLock, LockError};
use twill_lease::cluster::Cluster;
use twill_model::Prefixes;

use super::inputs::networks;
use crate::exit::Exit;

/// Holds a lock for the network in force, and ends with a sentence when another instance has it.
pub async fn taken_elsewhere(mut cluster: watch::Receiver<Arc<Cluster>>, run_dir: PathBuf) -> Exit {
    let mut held: Option<(Prefixes, InstanceLock)> = None;
    loop {
        let now = cluster.borrow_and_update().config.as_ref().map(|config| networks(config));
        if let Some(now) = now.filter(|now| held.as_ref().is_none_or(|(known, _)| known != now)) {
            match InstanceLock::take(&run_dir.join("networks").join(file_name(&now))) {
                Ok(lock) => held = Some((now, lock)),
                Err(LockError::Held { pid, .. }) => return other(&now, pid),
                Err(error) => return Exit::failed(error),
            }
        }
        if cluster.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn other(networks: &Prefixes, pid: Option<u32>) -> Exit {
    let who = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
    Exit::failed(format!(
        "another twill{who} on this host serves {networks} already; stop it, or give this instance a store with another network"
    ))
}

fn file_name(networks: &Prefixes) -> String {
    networks.iter().map(|network| network.to_string().replace('/', "-")).collect::<Vec<_>>().join("+")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_a_file_name() {
        let both = Prefixes { v4: "10.244.0.0/16".parse().ok(), v6: "fd10::/48".parse().ok() };
        assert_eq!(file_name(&both), "10.244.0.0-16+fd10::-48");
    }
}

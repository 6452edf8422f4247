//! One daemon a network on one host. Two would take two subnets of it, or one together, and fight over routes, devices and ports: nothing is claimed and nothing is
//! planned before this daemon is known to be alone. Another twill is known by a lock, a flanneld by its process in this network namespace. Daemons with different
//! networks live together.
//!
//! A flanneld in another PID namespace cannot be seen. Where it holds the UDP port the fast path says so; where it changes what twill keeps, repair does.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use twill_kernel::lock::{InstanceLock, LockError};
use twill_lease::cluster::Cluster;
use twill_model::Prefixes;
use twill_model::event::Weight;

use super::followed::Followed;
use super::inputs::networks;
use crate::compat::running_flanneld::{self, Process};
use crate::exit::Exit;

/// How often a look is taken for a flanneld that was started later.
const LOOK: Duration = Duration::from_secs(10);

/// Who is in the way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Company {
    /// Another instance of twill.
    #[error("another twill{} on this host serves {networks} already; stop it, or give this instance a store with another network", process(*pid))]
    Twill {
        /// What both serve.
        networks: Prefixes,
        /// The other's process id, where its lock tells it.
        pid: Option<u32>,
    },
    /// The lock cannot be had at all.
    #[error(transparent)]
    Lock(LockError),
    /// A flanneld with the same network.
    #[error(
        "flanneld (process {pid}) runs on this host and serves {theirs}: both would fight over lease, devices and routes; stop it with: {stop} \
         (twill takes over what it leaves without losing a packet)"
    )]
    Flanneld {
        /// Its process id.
        pid: u32,
        /// Its networks.
        theirs: Prefixes,
        /// The command that stops it.
        stop: String,
    },
    /// A flanneld that writes the same subnet file, whatever its network.
    #[error(
        "flanneld (process {pid}) runs on this host and writes the same {}: stop it with: {stop}; or, if its network is another one, give this twill \
         an --instance and a --subnet-file of its own", file.display()
    )]
    SameFile {
        /// Its process id.
        pid: u32,
        /// The file.
        file: PathBuf,
        /// The command that stops it.
        stop: String,
    },
}

/// The daemon's claim to be alone on its networks; it holds what it was granted until it ends.
#[derive(Debug)]
pub struct Alone {
    run_dir: PathBuf,
    subnet_file: PathBuf,
    held: Mutex<Vec<(Prefixes, InstanceLock)>>,
}

impl Alone {
    /// For an instance with this run directory and subnet file.
    pub fn new(run_dir: PathBuf, subnet_file: PathBuf) -> Alone {
        Alone { run_dir, subnet_file, held: Mutex::default() }
    }

    /// Makes sure of it, once for each network.
    ///
    /// # Errors
    /// Who else serves a network that overlaps it.
    pub async fn on(&self, wanted: Prefixes) -> Result<(), Company> {
        let mut held = self.held.lock().await;
        if held.iter().any(|(known, _)| *known == wanted) {
            return Ok(());
        }
        let lock = lock(&self.run_dir, wanted)?;
        match self.flanneld(wanted).await {
            Some(company) => Err(company),
            None => {
                held.push((wanted, lock));
                Ok(())
            }
        }
    }

    /// A flanneld that is in the way on these networks now.
    pub async fn flanneld(&self, wanted: Prefixes) -> Option<Company> {
        let subnet_file = self.subnet_file.clone();
        // Some hosts have thousands of processes.
        let found = tokio::task::spawn_blocking(move || processes().iter().find_map(|process| company(process, wanted, &subnet_file)));
        found.await.unwrap_or_default()
    }
}

/// Ends with a sentence when this daemon is not alone on the network in force. A flanneld that is started later is told of, and ends nothing: pods are served already.
pub async fn ends(alone: Arc<Alone>, mut cluster: watch::Receiver<Arc<Cluster>>, followed: Followed) -> Exit {
    let mut told = BTreeSet::new();
    loop {
        let now = cluster.borrow_and_update().config.as_ref().map(|config| networks(config));
        if let Some(now) = now {
            if let Err(company) = alone.on(now).await {
                return Exit::failed(company);
            }
            if let Some(company) = alone.flanneld(now).await.map(|company| company.to_string()).filter(|text| told.insert(text.clone())) {
                followed.tell(Weight::Error, company);
            }
        }
        tokio::select! {
            changed = another_network(&mut cluster, now) => if changed.is_err() { return std::future::pending().await },
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn another_network(cluster: &mut watch::Receiver<Arc<Cluster>>, now: Option<Prefixes>) -> Result<(), watch::error::RecvError> {
    cluster.wait_for(|cluster| cluster.config.as_ref().map(|config| networks(config)) != now).await.map(drop)
}

fn lock(run_dir: &Path, networks: Prefixes) -> Result<InstanceLock, Company> {
    InstanceLock::take(&run_dir.join("networks").join(file_name(&networks))).map_err(|error| match error {
        LockError::Held { pid, .. } => Company::Twill { networks, pid },
        error => Company::Lock(error),
    })
}

fn file_name(networks: &Prefixes) -> String {
    networks.iter().map(|network| network.to_string().replace('/', "-")).collect::<Vec<_>>().join("+")
}

fn process(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// All flannelds in this network namespace. A twill that is called by that name is none: its lock tells of it.
fn processes() -> Vec<Process> {
    let here = identity(Path::new("/proc/self/ns/net"));
    let myself = identity(Path::new("/proc/self/exe"));
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let of = |file: &str| PathBuf::from(format!("/proc/{pid}/{file}"));
        fs::read_to_string(of("comm")).is_ok_and(|comm| running_flanneld::is_flanneld(&comm))
            && identity(&of("ns/net")).is_some_and(|there| Some(there) == here)
            && identity(&of("exe")) != myself
    })
    .filter_map(|pid| read(pid).ok())
    .collect()
}

fn read(pid: u32) -> io::Result<Process> {
    let words = |file: &str| -> io::Result<Vec<String>> {
        let bytes = fs::read(format!("/proc/{pid}/{file}"))?;
        Ok(bytes.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).filter(|word| !word.is_empty()).collect())
    };
    let variable = |word: &String| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(Process {
        pid,
        arguments: words("cmdline")?,
        environment: words("environ")?.iter().filter_map(variable).collect(),
        cgroup: fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default(),
    })
}

/// Whether a flanneld is in the way. Its files are looked at as it sees them, since it may run in a container.
fn company(process: &Process, wanted: Prefixes, subnet_file: &Path) -> Option<Company> {
    let (pid, stop) = (process.pid, process.stop_command());
    let as_it_sees_it = process.subnet_file();
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let file = root.join(as_it_sees_it.strip_prefix("/").unwrap_or(&as_it_sees_it));
    let theirs = fs::read_to_string(&file).map(|text| running_flanneld::networks(&text)).unwrap_or_default();
    if theirs.overlaps(&wanted) {
        return Some(Company::Flanneld { pid, theirs, stop });
    }
    same_place(&file, subnet_file).then(|| Company::SameFile { pid, file: subnet_file.to_owned(), stop })
}

/// True when both name one file, whether it is there yet or not.
fn same_place(a: &Path, b: &Path) -> bool {
    let folder = |path: &Path| path.parent().and_then(identity);
    a.file_name() == b.file_name() && folder(a).is_some_and(|there| folder(b) == Some(there))
}

/// What a path leads to: device and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_a_file_name() {
        let both = Prefixes { v4: "10.244.0.0/16".parse().ok(), v6: "fd10::/48".parse().ok() };
        assert_eq!(file_name(&both), "10.244.0.0-16+fd10::-48");
    }

    #[test]
    fn one_file_is_one_by_whatever_path() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).expect("a link");
        let (there, linked) = (folder.path().join("subnet.env"), folder.path().join("link/subnet.env"));
        assert!(same_place(&there, &linked), "also before it is written");
        assert!(!same_place(&there, &folder.path().join("two.env")));
        assert!(!same_place(&there, Path::new("/nowhere/subnet.env")));
    }

    #[tokio::test]
    async fn a_network_is_held_by_one_twill_and_different_ones_side_by_side() {
        let folder = tempfile::tempdir().expect("a folder");
        let alone = || Alone::new(folder.path().to_owned(), folder.path().join("subnet.env"));
        let (first, second) = (alone(), alone());
        let net = |text: &str| Prefixes { v4: text.parse().ok(), v6: None };
        first.on(net("10.11.0.0/16")).await.expect("alone");
        first.on(net("10.11.0.0/16")).await.expect("still alone");
        let sentence = second.on(net("10.11.0.0/16")).await.expect_err("it is held").to_string();
        assert!(sentence.contains(&format!("process {}", std::process::id())) && sentence.contains("10.11.0.0/16"), "{sentence}");
        second.on(net("10.12.0.0/16")).await.expect("another network is free");
    }
}

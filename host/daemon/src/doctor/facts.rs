//! What a host is like, gathered by looking only: nothing is changed, and what cannot be seen is left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use twill_kernel::Netlink;
use twill_lease::store::Store;
use twill_model::NetworkConfig;
use twill_model::status::Snapshot;
use twill_reconcile::ports::Kernel;

use super::ports::Ports;
use crate::node::firewall::Firewall;
use crate::node::inputs::networks;
use crate::node::store::open_store;
use crate::node::underlay::Search;
use crate::settings::{Listen, RunSettings};

/// What a host is like.
#[derive(Debug, Default)]
pub struct Facts {
    /// The effective user is root.
    pub root: bool,
    /// The kernel's release, such as "6.1.0-13-amd64".
    pub kernel: String,
    /// /dev/net/tun is there.
    pub tun: bool,
    /// Kernel settings by path below /proc/sys; what is not there is left out.
    pub sysctls: BTreeMap<String, String>,
    /// The interface to the other nodes, or why none can be chosen.
    pub underlay: Option<Result<Underlay, String>>,
    /// The nft program's version, or why it cannot be run.
    pub nft: Option<Result<String, String>>,
    /// What keeps forwarded packets of the network out, one sentence each with what to do.
    pub obstacles: Vec<String>,
    /// Tables of the old iptables in this network namespace, such as "filter", by family: "ip" or "ip6".
    pub legacy: Vec<(&'static str, String)>,
    /// Rules and policies of the old iptables that drop forwarded packets.
    pub legacy_drops: Vec<String>,
    /// systemd-networkd runs; its setting ManageForeignRoutes, where it is written down.
    pub networkd: Option<Option<String>>,
    /// NetworkManager runs; the text of its configuration.
    pub network_manager: Option<String>,
    /// The kernel says that its clock is kept right by somebody; none where it does not say.
    pub clock_synchronised: Option<bool>,
    /// Seconds since the Unix epoch.
    pub unix_s: u64,
    /// Taken ports.
    pub ports: Ports,
    /// The API's port that the settings name.
    pub api_port: Option<u16>,
    /// Process ids of programs named flanneld.
    pub flanneld: Vec<u32>,
    /// Why the state folder cannot be written to.
    pub state_trouble: Option<String>,
    /// Bytes that the state folder's file system has left.
    pub state_free: Option<u64>,
    /// The store, or why it does not answer; none when none is named.
    pub store: Option<Result<InStore, String>>,
    /// What the running daemon says; none when none runs.
    pub daemon: Option<Snapshot>,
    /// Forwarding switches are somebody else's to set.
    pub forwarding_left: bool,
}

/// The interface to the other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Underlay {
    /// Its name.
    pub name: String,
    /// Its MTU in bytes.
    pub mtu: u32,
}

/// What the store holds.
#[derive(Debug, Clone, Default)]
pub struct InStore {
    /// Leases.
    pub leases: usize,
    /// The network config's text.
    pub config: Option<String>,
}

/// The settings that are looked at; those of the underlay are added.
const SYSCTLS: [&str; 12] = [
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/conf/default/rp_filter",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/ipv4/neigh/default/gc_thresh1",
    "net/ipv4/neigh/default/gc_thresh2",
    "net/ipv4/neigh/default/gc_thresh3",
    "net/ipv6/neigh/default/gc_thresh3",
    "net/ipv6/conf/all/disable_ipv6",
    "net/core/rmem_max",
];

impl Facts {
    /// The facts of this host. `daemon` is what the running daemon says.
    pub async fn gather(settings: &RunSettings, daemon: Option<Snapshot>) -> Facts {
        let mut facts = Facts {
            root: nix::unistd::Uid::effective().is_root(),
            kernel: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
            tun: Path::new("/dev/net/tun").exists(),
            nft: Some(said("nft", &["--version"])),
            networkd: Path::new("/run/systemd/netif").exists().then(manage_foreign_routes),
            network_manager: Path::new("/run/NetworkManager").exists().then(network_manager),
            clock_synchronised: clock_synchronised(),
            unix_s: crate::clock::now_ms() / 1_000,
            ports: Ports::read(),
            api_port: match settings.listen {
                Listen::At(address) => Some(address.port()),
                Listen::Off => None,
            },
            flanneld: processes("flanneld"),
            forwarding_left: settings.forwarding == crate::settings::Forwarding::Leave,
            daemon,
            ..Facts::default()
        };
        facts.state(&settings.instance.state());
        facts.legacy();
        facts.store(settings).await;
        facts.kernel(settings).await;
        facts.read_sysctls();
        facts
    }

    /// The network config: of the store, else none.
    pub fn config(&self) -> Option<NetworkConfig> {
        let text = self.store.as_ref()?.as_ref().ok()?.config.as_deref()?;
        NetworkConfig::parse(text).ok()
    }

    /// The backend in use, as far as is known.
    pub fn backend(&self) -> Option<String> {
        let running = self.daemon.as_ref().and_then(|daemon| daemon.node.backend.clone());
        running.or_else(|| self.config().map(|config| config.backend))
    }

    fn read_sysctls(&mut self) {
        let own = match &self.underlay {
            Some(Ok(underlay)) => {
                vec![format!("net/ipv4/conf/{}/rp_filter", underlay.name), format!("net/ipv6/conf/{}/accept_ra", underlay.name)]
            }
            _ => Vec::new(),
        };
        let paths = SYSCTLS.iter().map(|path| (*path).to_owned()).chain(own);
        self.sysctls = paths.filter_map(|path| Some((path.clone(), read(&format!("/proc/sys/{path}"))?))).collect();
    }

    /// The first folder of the path that is there is tried.
    fn state(&mut self, state: &Path) {
        let there = state.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        let trial = there.join(format!(".twill-doctor-{}", std::process::id()));
        self.state_trouble = match std::fs::write(&trial, "") {
            Ok(()) => std::fs::remove_file(&trial).err().map(|error| error.to_string()),
            Err(error) => Some(format!("{}: {error}", there.display())),
        };
        self.state_free = nix::sys::statvfs::statvfs(there).ok().map(|fs| fs.blocks_available() * fs.fragment_size());
    }

    fn legacy(&mut self) {
        for (family, names, save) in
            [("ip", "ip_tables_names", "iptables-legacy-save"), ("ip6", "ip6_tables_names", "ip6tables-legacy-save")]
        {
            let tables = read(&format!("/proc/net/{names}")).unwrap_or_default();
            self.legacy.extend(tables.lines().map(|table| (family, table.to_owned())));
            if !tables.is_empty()
                && let Ok(text) = said(save, &[])
            {
                self.legacy_drops.extend(drops(&text).map(|rule| format!("{family}: {rule}")));
            }
        }
    }

    async fn store(&mut self, settings: &RunSettings) {
        if settings.store.store.is_none() {
            return;
        }
        let answer = match open_store(&settings.store).await {
            Err(exit) => Err(exit.sentence().to_owned()),
            Ok((_plugins, store)) => match store.read().await {
                Ok(read) => Ok(InStore { leases: read.leases.len(), config: read.config }),
                Err(error) => Err(error.to_string()),
            },
        };
        self.store = Some(answer);
    }

    async fn kernel(&mut self, settings: &RunSettings) {
        let kernel = match Netlink::open(settings.instance.state().join("sysctls.json")) {
            Ok(kernel) => kernel,
            Err(error) => return self.underlay = Some(Err(error.to_string())),
        };
        let found = Search::new(settings, Default::default()).find(&kernel).await;
        let found = found.map(|chosen| Underlay { name: chosen.underlay.name, mtu: chosen.underlay.mtu });
        self.underlay = Some(found.map_err(|error| error.to_string()));
        if let (true, Some(config)) = (self.root, self.config()) {
            let ranges = networks(&config);
            if let Ok(found) = kernel.filter(Firewall::new(settings, Vec::new()).rules(ranges, ranges)).await {
                self.obstacles = found.obstacles;
            }
        }
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// What a program prints, or why it cannot be run.
fn said(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Rules and policies of FORWARD that drop, in iptables-save's words.
fn drops(saved: &str) -> impl Iterator<Item = &str> {
    saved.lines().filter(|line| {
        line.starts_with(":FORWARD DROP") || (line.starts_with("-A FORWARD") && (line.contains("-j DROP") || line.contains("-j REJECT")))
    })
}

/// The last word of networkd's configuration on ManageForeignRoutes (networkd.conf(5): drop-ins win over the file, by name).
fn manage_foreign_routes() -> Option<String> {
    let folders = ["/usr/lib", "/run", "/etc"].map(|root| PathBuf::from(root).join("systemd"));
    let mut drop_ins: BTreeMap<String, String> = BTreeMap::new();
    let mut text = String::new();
    for folder in folders {
        text += &std::fs::read_to_string(folder.join("networkd.conf")).unwrap_or_default();
        for entry in std::fs::read_dir(folder.join("networkd.conf.d")).into_iter().flatten().flatten() {
            drop_ins.insert(entry.file_name().to_string_lossy().into_owned(), std::fs::read_to_string(entry.path()).unwrap_or_default());
        }
    }
    last_value(&drop_ins.into_values().fold(text, |all, one| all + "\n" + &one), "ManageForeignRoutes")
}

fn last_value(text: &str, key: &str) -> Option<String> {
    let mut values = text.lines().filter_map(|line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('='));
    values.next_back().map(|value| value.trim().to_lowercase())
}

fn network_manager() -> String {
    let files = std::fs::read_dir("/etc/NetworkManager/conf.d").into_iter().flatten().flatten().map(|entry| entry.path());
    let files = std::iter::once(PathBuf::from("/etc/NetworkManager/NetworkManager.conf")).chain(files);
    files.filter_map(|file| std::fs::read_to_string(file).ok()).collect::<Vec<_>>().join("\n")
}

/// Process ids of programs of that name.
fn processes(name: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| read(&format!("/proc/{pid}/comm")).as_deref() == Some(name)).collect()
}

/// What adjtimex(2) says of the clock.
fn clock_synchronised() -> Option<bool> {
    // SAFETY: timex is made of integers, for which zero is a value; with modes 0 the kernel writes to it and changes nothing.
    let (answer, timex) = unsafe {
        let mut timex: nix::libc::timex = std::mem::zeroed();
        (nix::libc::adjtimex(&mut timex), timex)
    };
    (answer >= 0).then_some(timex.status & nix::libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts_and_comments_do_not() {
        let text = "[Network]\n#ManageForeignRoutes=no\nManageForeignRoutes=yes\n ManageForeignRoutes = No\n";
        assert_eq!(last_value(text, "ManageForeignRoutes").as_deref(), Some("no"));
        assert_eq!(last_value("#ManageForeignRoutes=no", "ManageForeignRoutes"), None);
    }

    #[test]
    fn rules_that_drop_forwarded_packets_are_found() {
        let saved = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n-A INPUT -j DROP\n-A FORWARD -s 10.0.0.0/8 -j REJECT --reject-with x\n-A FORWARD -j ACCEPT\n";
        assert_eq!(drops(saved).collect::<Vec<_>>(), [":FORWARD DROP [0:0]", "-A FORWARD -s 10.0.0.0/8 -j REJECT --reject-with x"]);
    }
}

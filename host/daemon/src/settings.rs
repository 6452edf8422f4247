//! Settings: flags, TWILL_* environment, an optional file, in this order of strength. Reading them opens nothing but the file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Command, ValueEnum};

mod api;
mod etcd;
mod plugins;
mod upstream;
pub mod ways;

pub use api::ApiSettings;
pub use etcd::EtcdSettings;
pub use plugins::PluginFlags;
pub use upstream::UpstreamSettings;

/// Where the settings file is looked for when none is named.
pub const DEFAULT_FILE: &str = "/etc/twill/twill.toml";

/// Where a store is, for every command that needs one.
#[derive(Debug, Clone, Args)]
pub struct StoreSettings {
    /// Store plugin that keeps the cluster's config and leases, such as "file".
    ///
    /// "file" keeps them as files in --store-dir: on one machine, or on a directory that all nodes share. "etcd" keeps them in etcd at --etcd-endpoints, as flannel
    /// does.
    #[arg(long, env = "TWILL_STORE", value_name = "NAME", help_heading = "Store")]
    pub store: Option<String>,
    /// Directory that the store plugin may use.
    #[arg(long, env = "TWILL_STORE_DIR", value_name = "DIR", help_heading = "Store")]
    pub store_dir: Option<PathBuf>,
    /// Where etcd is.
    #[command(flatten)]
    pub etcd: EtcdSettings,
    /// Servers of other stores.
    #[command(flatten)]
    pub upstreams: UpstreamSettings,
    /// Options of the store plugin, as JSON.
    #[arg(long, env = "TWILL_STORE_OPTIONS", value_name = "JSON", default_value = "{}", help_heading = "Store")]
    pub store_options: String,
    /// Plugins.
    #[command(flatten)]
    pub plugins: PluginFlags,
}

impl StoreSettings {
    /// No store, and plugins from these folders beside the usual ones.
    pub fn of_plugins(plugin_dir: Vec<PathBuf>, cache_dir: PathBuf) -> StoreSettings {
        StoreSettings {
            store: None,
            store_dir: None,
            etcd: EtcdSettings::default(),
            upstreams: UpstreamSettings::default(),
            store_options: "{}".into(),
            plugins: PluginFlags {
                plugin_dir,
                cache_dir,
                plugin_limit: Vec::new(),
                locked: false,
                plugin_lock: PathBuf::new(),
                plugin_key: Vec::new(),
            },
        }
    }
}

/// Which instance of twill on this host, for every command that talks to a running one or clears up after it.
#[derive(Debug, Clone, Args)]
pub struct InstanceSettings {
    /// Name of this twill among several on one host; state, sockets and locks are kept apart by it.
    #[arg(long, env = "TWILL_INSTANCE", value_name = "NAME", default_value = "twill", help_heading = "This host")]
    pub instance: String,
    /// Folder for what must outlive a reboot: node id, remembered leases. The instance gets a folder of its own in it.
    #[arg(long, env = "TWILL_STATE_DIR", value_name = "DIR", default_value = "/var/lib/twill", help_heading = "This host")]
    pub state_dir: PathBuf,
    /// Folder for the API's socket and the lock.
    #[arg(long, env = "TWILL_RUN_DIR", value_name = "DIR", default_value = "/run/twill", help_heading = "This host")]
    pub run_dir: PathBuf,
    /// File for CNI and Docker, in flannel's format.
    #[arg(long, env = "TWILL_SUBNET_FILE", value_name = "FILE", default_value = "/run/flannel/subnet.env", help_heading = "This host")]
    pub subnet_file: PathBuf,
}

impl InstanceSettings {
    /// The instance's own state folder.
    pub fn state(&self) -> PathBuf {
        self.state_dir.join(&self.instance)
    }

    /// The API's Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join(format!("{}.sock", self.instance))
    }
}

/// Settings of the daemon.
#[derive(Debug, Clone, Args)]
pub struct RunSettings {
    /// Store and plugins.
    #[command(flatten)]
    pub store: StoreSettings,
    /// Instance and places.
    #[command(flatten)]
    pub instance: InstanceSettings,
    /// Interface to the other nodes, by name or by one of its addresses; may be given several times, the first that exists is taken.
    /// Without it: the one with the default route.
    #[arg(long, env = "TWILL_IFACE", value_name = "NAME|IP", value_delimiter = ',', help_heading = "Network")]
    pub iface: Vec<String>,
    /// Interface to the other nodes, by a regular expression over addresses, then names.
    #[arg(long, env = "TWILL_IFACE_REGEX", value_name = "REGEX", help_heading = "Network")]
    pub iface_regex: Vec<String>,
    /// Interface to the other nodes: the one by which this address is reached.
    #[arg(long, env = "TWILL_IFACE_CAN_REACH", value_name = "IP", help_heading = "Network")]
    pub iface_can_reach: Option<std::net::IpAddr>,
    /// IPv4 address that peers send to, where it is not the interface's own (behind NAT).
    #[arg(long, env = "TWILL_PUBLIC_IP", value_name = "IP", help_heading = "Network")]
    pub public_ip: Option<std::net::Ipv4Addr>,
    /// IPv6 address that peers send to.
    #[arg(long, env = "TWILL_PUBLIC_IPV6", value_name = "IP", help_heading = "Network")]
    pub public_ipv6: Option<std::net::Ipv6Addr>,
    /// How long a lease lasts without renewal, such as 24h, 90m or 30s.
    #[arg(long, env = "TWILL_LEASE_TTL", value_name = "TIME", default_value = "24h", value_parser = duration, help_heading = "Network")]
    pub lease_ttl: Duration,
    /// How long before its end a lease is renewed; shorter than --lease-ttl. Without it: an hour, and of a term under 90 minutes two thirds.
    #[arg(long, env = "TWILL_LEASE_RENEW_MARGIN", value_name = "TIME", value_parser = duration, help_heading = "Network")]
    pub lease_renew_margin: Option<Duration>,
    /// Put a changed network config or a new plugin in force also when that interrupts traffic (a VXLAN device with another port is made anew). Without it a config waits for
    /// `twill config accept` or a restart, and a plugin for `twill plugin reload --allow-disruption`.
    #[arg(
        long, env = "TWILL_ALLOW_DISRUPTION", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Network"
    )]
    pub allow_disruption: bool,
    /// Wait for a better one where the network config in the store is wrong at the first start, as flanneld does, instead of ending with its error.
    #[arg(
        long, env = "TWILL_WAIT_FOR_CONFIG", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Network"
    )]
    pub wait_for_config: bool,
    /// Inner sources accepted from a peer: its pods' subnet alone, that and its own addresses, or anything.
    #[arg(long, env = "TWILL_UDP_SOURCE_CHECK", value_enum, default_value = "lease", help_heading = "Network")]
    pub udp_source_check: SourceCheck,
    /// Ways that this node can have, and for how long.
    #[command(flatten)]
    pub ways: ways::WaySettings,
    /// What the UDP path may use to hand many packets to the kernel at once: "auto" is all that the kernel has (what it lacks, or the underlay refuses, is found
    /// out and left off), "off" none, or a list out of tso, uso (super-packets of TCP and UDP to and from pods), gso, gro (of datagrams to and from peers).
    #[arg(long, env = "TWILL_UDP_OFFLOAD", value_name = "LIST", default_value = "auto", help_heading = "Network")]
    pub udp_offload: twill_fastpath::Offloads,
    /// Queues of the UDP path's TUN device, each with threads of its own; without it one for every four cores, at most four.
    #[arg(long, env = "TWILL_UDP_QUEUES", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Network")]
    pub udp_queues: Option<u16>,
    /// Keep one core from falling asleep while the UDP path's packets come one at a time and closely, as questions and answers do: that takes a fifth to a third off
    /// such round trips in a virtual machine, less on bare metal. A thread spins then on the core that receives, which it leaves when others have most of it. It has no effect where a container's limit would count that time, or on one core.
    #[arg(
        long, env = "TWILL_UDP_KEEP_AWAKE", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true,
        default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Network"
    )]
    pub udp_keep_awake: bool,
    /// Let the UDP path's TUN device go, and the routes on it with it, when the daemon is told to end, as flanneld does: a flanneld that is started next finds its name free.
    /// Without it the device waits for the next start, as it does after a SIGKILL.
    #[arg(
        long, env = "TWILL_UDP_RELEASE_TUN", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Network"
    )]
    pub udp_release_tun: bool,
    /// Set the kernel's forwarding switches (put back by `twill down`), or leave them alone.
    #[arg(long, env = "TWILL_FORWARDING", value_enum, default_value = "manage", help_heading = "Network")]
    pub forwarding: Forwarding,
    /// Masquerade what pods send out of the cluster, and give what enters it from outside this node's own overlay address. Tell Docker not to:
    /// `dockerd --ip-masq=false`.
    #[arg(
        long, env = "TWILL_IP_MASQ", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Network"
    )]
    pub ip_masq: bool,
    /// Masquerade with source ports as they are, where they are free, instead of random ones.
    #[arg(
        long, env = "TWILL_IP_MASQ_FULLY_RANDOM_DISABLE", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Network"
    )]
    pub ip_masq_fully_random_disable: bool,
    /// Keep the segments of pods' TCP connections to what the route to the peer carries (MSS clamping), by a rule in the table of our own: for paths that tell nobody what fits.
    #[arg(
        long, env = "TWILL_CLAMP_MSS", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false,
        default_missing_value = "true", action = clap::ArgAction::Set, help_heading = "Network"
    )]
    pub clamp_mss: bool,
    /// Accept forwarded packets from and to the cluster in a table of our own (taken away by `twill down`), or leave that to others.
    #[arg(
        long,
        env = "TWILL_FORWARD_RULES",
        alias = "iptables-forward-rules",
        value_enum,
        default_value = "manage",
        help_heading = "Network"
    )]
    pub forward_rules: ForwardRules,
    /// Program that holds these rules: nft, in tables of our own; or iptables, in flannel's chains FLANNEL-FWD and FLANNEL-POSTRTG. The other one then
    /// holds none of ours.
    #[arg(long, env = "TWILL_FIREWALL", value_enum, default_value = "nft", help_heading = "Network")]
    pub firewall: FirewallEngine,
    /// The same link, address or route repaired more often than this in a minute is left alone for half a minute.
    #[arg(long, env = "TWILL_REPAIR_LIMIT", value_name = "N", default_value_t = 10, help_heading = "Network")]
    pub repair_limit: usize,
    /// Address of the HTTP API and dashboard, or "off". The Unix socket is always there. Beyond loopback a token or client certificates are needed.
    #[arg(long, env = "TWILL_LISTEN", value_name = "ADDR:PORT", default_value = "127.0.0.1:4646", help_heading = "API and logs")]
    pub listen: Listen,
    /// Who may ask it for what.
    #[command(flatten)]
    pub api: ApiSettings,
    /// Address that answers /healthz and /readyz alone, in flannel's words, or "off". The API answers them too.
    #[arg(long, env = "TWILL_HEALTHZ", value_name = "ADDR:PORT", default_value = "off", help_heading = "API and logs")]
    pub healthz: Listen,
    /// What is logged: error, warn, info, debug, trace, or a filter such as "info,twill_kernel=debug".
    #[arg(long, env = "TWILL_LOG", value_name = "FILTER", default_value = "info", help_heading = "API and logs")]
    pub log: String,
    /// Log lines for people or for machines.
    #[arg(long, env = "TWILL_LOG_FORMAT", value_enum, default_value = "text", help_heading = "API and logs")]
    pub log_format: LogFormat,
}

impl RunSettings {
    /// Checks what one setting alone cannot say.
    ///
    /// # Errors
    /// Which settings contradict each other.
    pub fn check(&self) -> Result<(), String> {
        match self.lease_renew_margin {
            Some(margin) if margin >= self.lease_ttl => Err(format!(
                "--lease-renew-margin ({margin:?}) must be shorter than --lease-ttl ({:?}), or the lease would never be left alone",
                self.lease_ttl
            )),
            _ if self.clamp_mss && self.firewall == FirewallEngine::Iptables => {
                Err("--clamp-mss needs --firewall=nft: iptables' tables hold flannel's rules alone".into())
            }
            _ => Ok(()),
        }
    }
}

/// Inner sources accepted from a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SourceCheck {
    /// Its pods' subnet alone.
    Strict,
    /// Its pods' subnet and its own addresses.
    Lease,
    /// Anything.
    Off,
}

/// Who sets the forwarding switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Forwarding {
    /// twill does.
    Manage,
    /// Somebody else does.
    Leave,
}

/// Who accepts forwarded packets of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ForwardRules {
    /// twill does.
    #[value(alias = "true")]
    Manage,
    /// Somebody else does.
    #[value(alias = "false")]
    Leave,
}

/// What holds masquerade and forward rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FirewallEngine {
    /// Tables of our own in nftables.
    Nft,
    /// flannel's chains in iptables' tables.
    Iptables,
}

/// The shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where the API listens besides the Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// At this address.
    At(std::net::SocketAddr),
}

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Listen::Off),
            address => {
                address.parse().map(Listen::At).map_err(|_| "say an address with its port, such as 127.0.0.1:4646, or \"off\"".into())
            }
        }
    }
}

/// Reads "90s", "15m", "24h", "500ms" or "1h30m".
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("\"{text}\" is no time such as 24h, 90m or 30s");
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, unit_and_on) = rest.split_at(digits);
        let unit_len = unit_and_on.find(|c: char| c.is_ascii_digit()).unwrap_or(unit_and_on.len());
        let (unit, on) = unit_and_on.split_at(unit_len);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(bad()),
        };
        let number: u64 = number.parse().map_err(|_| bad())?;
        total += Duration::from_millis(number.checked_mul(millis).ok_or_else(bad)?);
        rest = on;
    }
    if total < Duration::from_secs(1) { Err(format!("\"{text}\" is shorter than one second")) } else { Ok(total) }
}

/// Why the settings file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It was named and cannot be read.
    #[error("cannot read the settings file {0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// It is not TOML.
    #[error("cannot understand the settings file {0}: {1}")]
    Syntax(PathBuf, Box<toml::de::Error>),
    /// A key that is no setting.
    #[error(
        "the settings file {0} has \"{1}\", which is no setting; `twill run --help` lists them (the long names without dashes in front)"
    )]
    Unknown(PathBuf, String),
    /// A value that is neither text, number, truth value nor a list of them.
    #[error("the settings file {0} has a value for \"{1}\" that is neither text, number, true/false nor a list of these")]
    Shape(PathBuf, String),
}

/// The file that the arguments or the environment name; none when they do not.
pub fn named_file(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments =
        arguments.iter().skip_while(|argument| *argument != "--config" && !argument.to_string_lossy().starts_with("--config="));
    let from_flag = arguments.next().and_then(|flag| match flag.to_string_lossy().strip_prefix("--config=") {
        Some(path) => Some(PathBuf::from(path)),
        None => arguments.next().map(PathBuf::from),
    });
    from_flag.or_else(|| std::env::var_os("TWILL_CONFIG").map(PathBuf::from))
}

/// Makes the file's values the defaults of `command`'s subcommands, so that flags and environment win over them and `--help` shows them.
/// Keys are the long flags without their dashes: `store-dir = "/srv/twill"`.
///
/// # Errors
/// A named file that cannot be read; a file that is no TOML, or has an unknown key or a value of the wrong shape.
pub fn with_file(command: Command, named: Option<PathBuf>) -> Result<Command, FileError> {
    let must_exist = named.is_some();
    let path = named.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(_) if !must_exist => return Ok(command),
        Err(error) => return Err(FileError::Read(path, error)),
    };
    let table: toml::Table = toml::from_str(&text).map_err(|error| FileError::Syntax(path.clone(), Box::new(error)))?;
    let mut defaults = BTreeMap::new();
    for (key, value) in table {
        let words = as_words(&value).ok_or_else(|| FileError::Shape(path.clone(), key.clone()))?;
        if !command.get_subcommands().any(|sub| has_flag(sub, &key)) {
            return Err(FileError::Unknown(path, key));
        }
        defaults.insert(key, words);
    }
    Ok(set_defaults(command, &defaults))
}

/// Makes these values, by long flag without dashes, the defaults of `command`'s subcommands: weaker than the file.
pub fn with_defaults(command: Command, defaults: &[(&'static str, String)]) -> Command {
    set_defaults(command, &defaults.iter().map(|(key, value)| ((*key).to_owned(), vec![value.clone()])).collect())
}

fn set_defaults(command: Command, defaults: &BTreeMap<String, Vec<String>>) -> Command {
    command.mut_subcommands(|sub| {
        let mut sub = if sub.has_subcommands() { set_defaults(sub, defaults) } else { sub };
        for (key, words) in defaults {
            if has_flag(&sub, key) {
                sub = sub.mut_arg(key.replace('-', "_"), |arg| arg.default_values(words.clone()));
            }
        }
        sub
    })
}

fn has_flag(command: &Command, name: &str) -> bool {
    command.get_arguments().any(|argument| argument.get_long() == Some(name))
}

fn as_words(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(truth) => Some(vec![truth.to_string()]),
        toml::Value::Array(list) => list.iter().map(as_words).collect::<Option<Vec<_>>>().map(|lists| lists.concat()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1_500)));
        for bad in ["", "h", "10", "10d", "-1s", "99999999999999999999h", "200ms"] {
            assert!(duration(bad).is_err(), "{bad} was taken for a time");
        }
    }

    #[test]
    fn the_settings_file_is_named_by_flag() {
        let args = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(named_file(&args(&["twill", "run", "--config", "/a.toml"])), Some("/a.toml".into()));
        assert_eq!(named_file(&args(&["twill", "run", "--config=/b.toml"])), Some("/b.toml".into()));
    }
}

//! All flags of flanneld, with flannel's defaults and what each becomes in twill. Pure data; the text for `--help` is made of it.

use std::fmt::Write as _;

use crate::compat::go_flags::Kind;

/// What becomes of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Becomes {
    /// twill has a setting of the same name and meaning.
    Same,
    /// As [`Becomes::Same`], and nobody but the store may see the value.
    Secret,
    /// twill's `--healthz`, together with the other one of these.
    Healthz,
    /// twill's `--log`.
    Log,
    /// twill's `--lease-renew-margin`.
    Margin,
    /// Nothing, because of this; said when the flag has another value than flannel's default.
    Nothing(&'static str),
    /// Nothing unless the Kubernetes store is asked for.
    Kubernetes,
    /// The Kubernetes store.
    KubernetesStore,
    /// The version is printed.
    Version,
}

/// A flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// Its name without dashes.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// flannel's default, as text.
    pub default: &'static str,
    /// What becomes of it.
    pub becomes: Becomes,
    /// One line for `--help`.
    help: &'static str,
}

const fn flag(name: &'static str, kind: Kind, default: &'static str, becomes: Becomes, help: &'static str) -> Flag {
    Flag { name, kind, default, becomes, help }
}

use Becomes::{Healthz, Kubernetes, KubernetesStore, Log, Margin, Nothing, Same, Secret, Version};
use Kind::{Number, Text, Truth};

/// The flags, by subject.
pub const FLAGS: &[Flag] = &[
    flag("etcd-endpoints", Text, "http://127.0.0.1:4001,http://127.0.0.1:2379", Same, "etcd's addresses, separated by commas"),
    flag("etcd-prefix", Text, "/coreos.com/network", Same, "where in etcd config and leases are"),
    flag("etcd-keyfile", Text, "", Same, "key for etcd's TLS"),
    flag("etcd-certfile", Text, "", Same, "client certificate for etcd's TLS"),
    flag("etcd-cafile", Text, "", Same, "authority that signed etcd's certificate"),
    flag("etcd-username", Text, "", Same, "user for etcd"),
    flag("etcd-password", Text, "", Secret, "password for etcd"),
    flag("kube-subnet-mgr", Truth, "false", KubernetesStore, "keep leases in Kubernetes' nodes instead of etcd (not in this version)"),
    flag("kube-api-url", Text, "", Kubernetes, "address of Kubernetes' API"),
    flag("kube-annotation-prefix", Text, "flannel.alpha.coreos.com", Kubernetes, "prefix of the annotations of nodes"),
    flag("kubeconfig-file", Text, "", Kubernetes, "kubeconfig for Kubernetes' API"),
    flag("net-config-path", Text, "/etc/kube-flannel/net-conf.json", Kubernetes, "file with the network config"),
    flag("set-node-network-unavailable", Truth, "true", Kubernetes, "tell Kubernetes when the node's network works"),
    flag("iface", Text, "", Same, "interface to the other nodes, by name or address; may be given several times"),
    flag("iface-regex", Text, "", Same, "the same by a regular expression; may be given several times"),
    flag("iface-can-reach", Text, "", Same, "the interface by which this address is reached"),
    flag("public-ip", Text, "", Same, "IPv4 address that the other nodes send to"),
    flag("public-ipv6", Text, "", Same, "IPv6 address that the other nodes send to"),
    flag("subnet-file", Text, "/run/flannel/subnet.env", Same, "file for CNI and Docker"),
    flag("subnet-lease-renew-margin", Number, "60", Margin, "minutes before its end at which the lease is renewed, 1 to 1439"),
    flag("ip-masq", Truth, "false", Same, "masquerade what leaves the overlay"),
    flag("ip-masq-fully-random-disable", Truth, "false", Same, "masquerade with source ports in order"),
    flag("iptables-forward-rules", Truth, "true", Same, "accept forwarded packets from and to the overlay"),
    flag(
        "iptables-resync",
        Number,
        "5",
        Nothing(
            "rules are repaired as soon as the kernel tells that they changed, and looked at every 5 s where it does not tell (iptables-legacy)",
        ),
        "seconds between checks of the rules",
    ),
    flag(
        "ip-blackhole-route",
        Truth,
        "false",
        Nothing("twill adds no blackhole route for the own subnet; packets to its unused addresses take the host's other routes"),
        "add a blackhole route for the own subnet",
    ),
    flag("healthz-ip", Text, "0.0.0.0", Healthz, "address of /healthz and /readyz"),
    flag("healthz-port", Number, "0", Healthz, "port of /healthz and /readyz, 0 for none"),
    flag("v", Number, "0", Log, "how much is logged; 4 and 5 is debug, from 6 on everything"),
    flag(
        "vmodule",
        Text,
        "",
        Nothing("say with TWILL_LOG how much is logged of what, as in TWILL_LOG=info,twill_kernel=debug"),
        "the same by source file",
    ),
    flag("log_backtrace_at", Text, "", Nothing("twill's source has other lines"), "log where the program is at this line"),
    flag("version", Truth, "false", Version, "print the version to standard error"),
];

/// The flag of this name.
pub fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

impl Flag {
    /// The environment's name for it.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.to_uppercase().replace('-', "_"))
    }
}

/// With what the environment's names start.
pub const PREFIX: &str = "FLANNELD_";

/// The text for `--help`.
pub fn usage(program: &str) -> String {
    let mut text = format!(
        "twill in flannel's place: it takes flanneld's flags and {PREFIX}… variables, with flannel's defaults.\n\n\
         Usage: {program} [flag]...\n\n\
         Flags have one dash or two, and their value behind \"=\" or as the next word (truth values only behind \"=\").\n\
         Each can be a variable instead: {PREFIX}ETCD_ENDPOINTS for --etcd-endpoints.\n\n"
    );
    for flag in FLAGS {
        let default = if flag.default.is_empty() { String::new() } else { format!(" [{}]", flag.default) };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  --{:<29} {}{default}", flag.name, flag.help);
    }
    text.push_str(
        "\nTold to end (SIGTERM), it leaves what flanneld would leave: all but the TUN device of udp, which goes with it.\n\
         What flannel has no flag for is set by twill's own variables and /etc/twill/twill.toml; `twill run --help` lists them.\n\
         Example: flanneld --etcd-endpoints=http://192.0.2.10:2379 --iface=eth1 --ip-masq\n",
    );
    text
}

//! From flanneld's flags to twill's: defaults that are weaker than twill's own variables and file, and arguments for `twill run` that are stronger. Pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Wishes;
use super::table::{Becomes, FLAGS, Flag, find};
use crate::compat::go_flags::Value;

/// What `twill run` shall be called with.
#[derive(Debug, PartialEq, Eq)]
pub struct Translation {
    /// flannel's defaults where twill has others: long flag without dashes, and value.
    pub defaults: Vec<(&'static str, String)>,
    /// Arguments, some secret; [`Translation::shown`] is for the log.
    pub arguments: Vec<String>,
    /// Sentences for the log.
    pub notes: Vec<String>,
}

/// A wish that cannot be fulfilled, and must not be passed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfulfillable {
    /// Leases in Kubernetes.
    #[error(
        "cannot keep leases in Kubernetes (--kube-subnet-mgr): this version of twill has no store for it; use etcd, or stay with flanneld on this node"
    )]
    Kubernetes,
    /// The margin is out of range.
    #[error("cannot renew the lease {0} minutes before its end (--subnet-lease-renew-margin): say 1 to 1439")]
    Margin(i64),
    /// No address for the health checks.
    #[error("cannot answer health checks on \"{0}\" (--healthz-ip): that is no address")]
    HealthzIp(String),
    /// No port for the health checks.
    #[error("cannot answer health checks on port {0} (--healthz-port): say 1 to 65535, or 0 for none")]
    HealthzPort(i64),
}

/// Says in twill's words what flannel's flags wish for.
///
/// # Errors
/// A wish that twill cannot fulfil and that changes too much to be passed over.
pub fn translate(wishes: &Wishes) -> Result<Translation, Unfulfillable> {
    if wishes.truth("kube-subnet-mgr") {
        return Err(Unfulfillable::Kubernetes);
    }
    let mut translation = Translation { defaults: defaults(wishes), arguments: Vec::new(), notes: wishes.notes.clone() };
    for flag in FLAGS {
        match flag.becomes {
            Becomes::Same | Becomes::Secret => translation.arguments.extend(same(flag, wishes)),
            Becomes::Nothing(why) if is_changed(flag, wishes) => {
                translation.notes.push(format!("--{} is passed over: {why}", flag.name));
            }
            Becomes::Kubernetes if wishes.last(flag.name).is_some() => {
                translation.notes.push(format!("--{} is passed over: it means nothing without --kube-subnet-mgr", flag.name));
            }
            _ => {}
        }
    }
    translation.arguments.extend(margin(wishes)?.map(|minutes| format!("--lease-renew-margin={minutes}m")));
    translation.arguments.extend(healthz(wishes)?.map(|address| format!("--healthz={address}")));
    translation.arguments.extend(log(wishes).map(|filter| format!("--log={filter}")));
    Ok(translation)
}

impl Translation {
    /// The arguments for the log: without passwords.
    pub fn shown(&self) -> String {
        let secret = |argument: &String| {
            let name = argument.trim_start_matches('-').split('=').next().unwrap_or_default();
            find(name).is_some_and(|flag| flag.becomes == Becomes::Secret)
        };
        let hide = |argument: &String| {
            let name = argument.split('=').next().unwrap_or_default();
            if secret(argument) { format!("{name}=***") } else { without_user(argument) }
        };
        let defaults = self.defaults.iter().map(|(name, value)| format!("--{name}={value}"));
        let given = |default: &String| {
            let name = default.split('=').next().unwrap_or_default();
            self.arguments.iter().any(|argument| argument.split('=').next() == Some(name))
        };
        defaults.filter(|default| !given(default)).chain(self.arguments.iter().map(hide)).collect::<Vec<_>>().join(" ")
    }
}

/// The text with `user:password@` taken out of the addresses in it.
fn without_user(text: &str) -> String {
    let mut parts = text.split("://");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |shown, part| {
        let authority = part.find(['/', ',']).unwrap_or(part.len());
        let host = part[..authority].rfind('@').map_or(0, |at| at + 1);
        format!("{shown}://{}", &part[host..])
    })
}

fn same(flag: &Flag, wishes: &Wishes) -> Vec<String> {
    let all = wishes.given.iter().filter(|(given, _)| given.name == flag.name);
    let all = all.map(|(_, value)| shown_value(value)).filter(|value| !value.is_empty()).map(|value| format!("--{}={value}", flag.name));
    let mut all: Vec<String> = all.collect();
    // Of the others the last one counts.
    if !matches!(flag.name, "iface" | "iface-regex") {
        all.drain(..all.len().saturating_sub(1));
    }
    all
}

fn shown_value(value: &Value) -> String {
    match value {
        Value::Truth(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.clone(),
    }
}

fn is_changed(flag: &Flag, wishes: &Wishes) -> bool {
    wishes.last(flag.name).is_some_and(|value| flag.kind.value(flag.default).as_ref() != Ok(value))
}

fn defaults(wishes: &Wishes) -> Vec<(&'static str, String)> {
    let flannels = ["etcd-endpoints", "etcd-prefix"].into_iter().filter_map(find);
    let mut defaults = vec![("store", "etcd".to_owned())];
    defaults.extend(["wait-for-config", "udp-release-tun"].map(|flag| (flag, "true".to_owned())));
    defaults.extend(flannels.map(|flag| (flag.name, flag.default.to_owned())));
    defaults.extend(
        wishes.text("subnet-file").and_then(another_instance).into_iter().flat_map(|name| [("instance", name), ("listen", "off".into())]),
    );
    defaults
}

/// Several flannelds on one host are told apart by their subnet files alone. Each with a file of its own is an instance of its own, named after the file,
/// and leaves twill's port to the one with flannel's usual file.
fn another_instance(subnet_file: &str) -> Option<String> {
    if find("subnet-file").is_some_and(|flag| flag.default == subnet_file) {
        return None;
    }
    let letters: Vec<char> =
        subnet_file.trim_matches('/').chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    // A socket's path has room for 107 bytes.
    Some(letters[letters.len().saturating_sub(60)..].iter().collect())
}

fn margin(wishes: &Wishes) -> Result<Option<i64>, Unfulfillable> {
    let minutes = wishes.number("subnet-lease-renew-margin");
    match minutes.filter(|minutes| !(1..=1439).contains(minutes)) {
        Some(wrong) => Err(Unfulfillable::Margin(wrong)),
        None => Ok(minutes),
    }
}

fn healthz(wishes: &Wishes) -> Result<Option<SocketAddr>, Unfulfillable> {
    let port = wishes.number("healthz-port").unwrap_or(0);
    let address = match wishes.text("healthz-ip") {
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Some("localhost") => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some(text) => text.parse().map_err(|_| Unfulfillable::HealthzIp(text.to_owned()))?,
    };
    let port = u16::try_from(port).map_err(|_| Unfulfillable::HealthzPort(port))?;
    Ok((port != 0).then(|| SocketAddr::new(address, port)))
}

/// As people use `-v` of Kubernetes' programs: 0 to 3 for every day, 4 and 5 for a look, more for everything.
fn log(wishes: &Wishes) -> Option<String> {
    match wishes.number("v")? {
        ..4 => None,
        4..6 => Some("info,twill=debug".into()),
        6.. => Some("info,twill=trace".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Asked, read};
    use super::*;

    fn translated(line: &str) -> Result<Translation, Unfulfillable> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match read(&words, &[]) {
            Ok(Asked::Run(wishes)) => translate(&wishes),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn arguments(line: &str) -> String {
        translated(line).unwrap_or_else(|error| panic!("{line}: {error}")).arguments.join(" ")
    }

    #[test]
    fn flags_become_twills() {
        let table = [
            ("", ""),
            ("-etcd-endpoints=http://a:1,http://b:2 -etcd-prefix /x", "--etcd-endpoints=http://a:1,http://b:2 --etcd-prefix=/x"),
            ("-etcd-cafile a -etcd-certfile b -etcd-keyfile c", "--etcd-keyfile=c --etcd-certfile=b --etcd-cafile=a"),
            ("-etcd-username=u -etcd-password=p", "--etcd-username=u --etcd-password=p"),
            (
                "-iface=eth0 -iface=192.0.2.1 -iface-regex=a -iface-regex=b",
                "--iface=eth0 --iface=192.0.2.1 --iface-regex=a --iface-regex=b",
            ),
            ("-public-ip=192.0.2.1 -public-ip=192.0.2.2 -public-ipv6=", "--public-ip=192.0.2.2"),
            ("-iface-can-reach 192.0.2.1", "--iface-can-reach=192.0.2.1"),
            ("-subnet-file=/run/flannel/subnet.env", "--subnet-file=/run/flannel/subnet.env"),
            ("-subnet-lease-renew-margin=60", "--lease-renew-margin=60m"),
            ("-subnet-lease-renew-margin=1439 -subnet-lease-renew-margin 30", "--lease-renew-margin=30m"),
            ("-healthz-port=10256", "--healthz=0.0.0.0:10256"),
            ("-healthz-ip=::1 -healthz-port=1", "--healthz=[::1]:1"),
            ("-healthz-ip=localhost -healthz-port=1", "--healthz=127.0.0.1:1"),
            ("-healthz-ip=192.0.2.1", ""),
            ("-v=2", ""),
            ("-v=4", "--log=info,twill=debug"),
            ("-v=10", "--log=info,twill=trace"),
            ("-kube-subnet-mgr=false", ""),
        ];
        for (line, wanted) in table {
            assert_eq!(arguments(line), wanted, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_fulfilled_is_an_error() {
        let table = [
            ("-kube-subnet-mgr", Unfulfillable::Kubernetes),
            ("-subnet-lease-renew-margin=0", Unfulfillable::Margin(0)),
            ("-subnet-lease-renew-margin=1440", Unfulfillable::Margin(1440)),
            ("-healthz-port=70000", Unfulfillable::HealthzPort(70_000)),
            ("-healthz-ip=here -healthz-port=1", Unfulfillable::HealthzIp("here".into())),
        ];
        for (line, wanted) in table {
            assert_eq!(translated(line), Err(wanted), "{line}");
        }
    }

    #[test]
    fn what_means_nothing_is_named_once_and_only_when_it_was_changed() {
        let notes = |line: &str| translated(line).map(|translation| translation.notes);
        assert_eq!(notes("-iptables-resync=5 -ip-blackhole-route=false -vmodule="), Ok(vec![]));
        let named =
            notes("-iptables-resync=10 -iptables-resync=20 -ip-blackhole-route -kubeconfig-file=/x -vmodule=a=2").expect("a translation");
        let flags: Vec<_> = named.iter().map(|note| note.split(' ').next().unwrap_or_default()).collect();
        assert_eq!(flags, ["--kubeconfig-file", "--iptables-resync", "--ip-blackhole-route", "--vmodule"]);
    }

    #[test]
    fn a_subnet_file_of_its_own_makes_an_instance_of_its_own() {
        let defaults = |line: &str| translated(line).expect("a translation").defaults;
        let usual = [
            ("store", "etcd".to_owned()),
            ("wait-for-config", "true".to_owned()),
            ("udp-release-tun", "true".to_owned()),
            ("etcd-endpoints", "http://127.0.0.1:4001,http://127.0.0.1:2379".to_owned()),
            ("etcd-prefix", "/coreos.com/network".to_owned()),
        ];
        assert_eq!(defaults(""), usual);
        assert_eq!(defaults("-subnet-file=/run/flannel/subnet.env"), usual);
        let second = [("instance", "run-flannel-vxlan.env".to_owned()), ("listen", "off".to_owned())];
        assert_eq!(defaults("-subnet-file=/run/flannel/vxlan.env")[5..], second);
        let long = format!("-subnet-file=/{}/ends.env", "deep/".repeat(40));
        let name = &defaults(&long)[5].1;
        assert!(name.len() == 60 && name.ends_with("ends.env"), "{name}");
    }

    #[test]
    fn no_password_is_shown() {
        let translation =
            translated("-etcd-password=hunter2 -etcd-username=u -etcd-endpoints=https://u:hunter2@a:1,http://b/x@y -iface=eth0");
        let shown = translation.expect("a translation").shown();
        let wanted = "--store=etcd --wait-for-config=true --udp-release-tun=true --etcd-prefix=/coreos.com/network --etcd-endpoints=https://a:1,http://b/x@y --etcd-username=u --etcd-password=*** --iface=eth0";
        assert_eq!(shown, wanted);
    }
}

//! A flanneld that runs on this host, by what /proc shows of it: whether it is one, which network it serves, how it is stopped. Pure.

use std::path::PathBuf;

use twill_model::Prefixes;

use super::docker_opts::variables;
use super::go_flags;

/// The name that flannel's program goes by; release archives add the architecture ("flanneld-amd64").
const PROGRAM: &str = "flanneld";

/// flannel's default for `-subnet-file`.
const SUBNET_FILE: &str = "/run/flannel/subnet.env";

/// A process that may be a flanneld, as /proc shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// /proc/PID/cmdline.
    pub arguments: Vec<String>,
    /// /proc/PID/environ.
    pub environment: Vec<(String, String)>,
    /// /proc/PID/cgroup, verbatim.
    pub cgroup: String,
}

/// True for what /proc/PID/comm says of a flanneld.
pub fn is_flanneld(comm: &str) -> bool {
    comm.trim_end().strip_prefix(PROGRAM).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

impl Process {
    /// Where it writes its subnet file, as it sees its files.
    pub fn subnet_file(&self) -> PathBuf {
        let variable = || {
            let set = self.environment.iter().find(|(name, value)| name == "FLANNELD_SUBNET_FILE" && !value.is_empty());
            set.map(|(_, value)| value.as_str())
        };
        PathBuf::from(self.flag("subnet-file").or_else(variable).unwrap_or(SUBNET_FILE))
    }

    /// The command that stops it.
    pub fn stop_command(&self) -> String {
        let groups = || self.cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        let unit = groups().filter_map(|path| path.rsplit('/').next()).find(|unit| unit.contains("flannel") && unit.ends_with(".service"));
        match unit {
            Some(unit) => format!("systemctl disable --now {unit}"),
            None if groups().any(|path| path.contains("kubepods")) => "kubectl -n kube-flannel delete daemonset kube-flannel-ds".to_owned(),
            None => format!("kill {}", self.pid),
        }
    }

    /// The last value of a flag, wherever it stands: a wrapper's words in front of the flags hide none.
    fn flag(&self, name: &str) -> Option<&str> {
        let given = self.arguments.iter().enumerate().filter(|(_, word)| go_flags::name(word) == Some(name));
        let mut values = given.filter_map(|(at, word)| match word.split_once('=') {
            Some((_, value)) => Some(value),
            None => self.arguments.get(at + 1).map(String::as_str),
        });
        values.rfind(|value| !value.is_empty())
    }
}

/// The networks that a subnet file names; flannel may list several of a family, of which it takes none.
pub fn networks(subnet_env: &str) -> Prefixes {
    let variables = variables(subnet_env);
    let text = |name: &str| variables.get(name).map(String::as_str).unwrap_or_default();
    Prefixes {
        v4: text("FLANNEL_NETWORK").parse().ok().map(|net: ipnet::Ipv4Net| net.trunc()),
        v6: text("FLANNEL_IPV6_NETWORK").parse().ok().map(|net: ipnet::Ipv6Net| net.trunc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(line: &str, environment: &[(&str, &str)], cgroup: &str) -> Process {
        Process {
            pid: 4242,
            arguments: line.split_whitespace().map(str::to_owned).collect(),
            environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            cgroup: cgroup.to_owned(),
        }
    }

    #[test]
    fn a_flanneld_is_known_by_its_name() {
        for yes in ["flanneld\n", "flanneld", "flanneld-amd64"] {
            assert!(is_flanneld(yes), "{yes}");
        }
        for no in ["flannel", "flannelddd", "kube-flannel", "twill", ""] {
            assert!(!is_flanneld(no), "{no}");
        }
    }

    #[test]
    fn its_subnet_file_is_found_in_flags_then_variables_then_by_default() {
        let variable: &'static [(&'static str, &'static str)] = &[("FLANNELD_SUBNET_FILE", "/run/var.env")];
        /// Command line, variables, file.
        type Row = (&'static str, &'static [(&'static str, &'static str)], &'static str);
        let table: [Row; 7] = [
            ("flanneld", &[], "/run/flannel/subnet.env"),
            ("flanneld", variable, "/run/var.env"),
            ("flanneld", &[("FLANNELD_SUBNET_FILE", "")], "/run/flannel/subnet.env"),
            ("flanneld -iface=eth0 -subnet-file=/run/two.env -v=4", variable, "/run/two.env"),
            ("flanneld --subnet-file /run/two.env", &[], "/run/two.env"),
            ("flanneld -subnet-file=/run/one.env -subnet-file=/run/two.env", &[], "/run/two.env"),
            ("flanneld --subnet-file", &[], "/run/flannel/subnet.env"),
        ];
        for (line, environment, file) in table {
            assert_eq!(process(line, environment, "").subnet_file(), PathBuf::from(file), "{line} {environment:?}");
        }
    }

    #[test]
    fn the_networks_are_what_the_file_says() {
        let both = "FLANNEL_NETWORK=10.10.0.5/16\nFLANNEL_SUBNET=10.10.26.1/24\nFLANNEL_IPV6_NETWORK=fd10::/48\nFLANNEL_MTU=1450\n";
        assert_eq!(networks(both), Prefixes { v4: "10.10.0.0/16".parse().ok(), v6: "fd10::/48".parse().ok() });
        assert_eq!(networks("FLANNEL_NETWORK=10.10.0.0/16,10.11.0.0/16\n"), Prefixes::default());
        assert_eq!(networks(""), Prefixes::default());
    }

    #[test]
    fn it_is_stopped_by_who_started_it() {
        let table = [
            ("0::/system.slice/flanneld.service\n", "systemctl disable --now flanneld.service"),
            ("2:cpu:/x\n1:name=systemd:/system.slice/flannel.service\n", "systemctl disable --now flannel.service"),
            ("0::/kubepods.slice/kubepods-burstable.slice/x.scope\n", "kubectl -n kube-flannel delete daemonset kube-flannel-ds"),
            ("0::/system.slice/ssh.service\n", "kill 4242"),
            ("", "kill 4242"),
        ];
        for (cgroup, command) in table {
            assert_eq!(process("flanneld", &[], cgroup).stop_command(), command, "{cgroup}");
        }
    }
}

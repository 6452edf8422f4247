//! `/run/flannel/subnet.env`: what the CNI plugin and Docker's set-up read. Five or six lines `KEY=value`, no quotes, as flannel writes them.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use twill_model::Prefixes;

/// The file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetEnv {
    /// The overlay's networks.
    pub networks: Prefixes,
    /// This node's subnets.
    pub subnets: Prefixes,
    /// MTU for pods, in bytes.
    pub mtu: u32,
    /// True when twill masquerades what leaves the overlay.
    pub masquerade: bool,
}

impl SubnetEnv {
    /// The text, in flannel's order. A subnet is told by its first host address (base + 1), which the bridge takes.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut family = |infix: &str, network: Option<IpNet>, subnet: Option<IpNet>| {
            if let (Some(network), Some(subnet)) = (network, subnet) {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "FLANNEL_{infix}NETWORK={network}\nFLANNEL_{infix}SUBNET={}", bridge_address(subnet));
            }
        };
        family("", self.networks.v4.map(IpNet::V4), self.subnets.v4.map(IpNet::V4));
        family("IPV6_", self.networks.v6.map(IpNet::V6), self.subnets.v6.map(IpNet::V6));
        let _ = writeln!(text, "FLANNEL_MTU={}\nFLANNEL_IPMASQ={}", self.mtu, self.masquerade);
        text
    }

    /// The subnets that a file names: this node's before it lost its lease and its memory, as a flanneld that ran here before leaves them. What cannot be read
    /// is passed over as flannel does it: of a comma list the prefixes that are none, and a list of several as a whole.
    pub fn subnets_in(text: &str) -> Prefixes {
        let value = |key: &str| {
            let line = text
                .lines()
                .rev()
                .find_map(|line| line.trim().trim_start_matches("export ").strip_prefix(key)?.trim_start().strip_prefix('='));
            line.map(|value| value.trim().trim_matches(['"', '\'']))
        };
        Prefixes {
            v4: value("FLANNEL_SUBNET").and_then(only).map(|net: Ipv4Net| net.trunc()),
            v6: value("FLANNEL_IPV6_SUBNET").and_then(only).map(|net: Ipv6Net| net.trunc()),
        }
    }

    /// Writes the file, unless it says the same already. Readers see the old or the new text, never a part.
    ///
    /// # Errors
    /// The folder cannot be made or the file not be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = self.text();
        if std::fs::read_to_string(path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o644)).tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        // The umask may have taken bits away that the readers need.
        file.as_file().set_permissions(PermissionsExt::from_mode(0o644))?;
        file.persist(path).map(drop).map_err(|error| error.error)
    }
}

/// The one prefix of a comma list, what is none left out.
fn only<N: FromStr>(list: &str) -> Option<N> {
    let mut nets = list.split(',').filter_map(|part| part.trim().parse().ok());
    nets.next().filter(|_| nets.next().is_none())
}

/// The subnet's first host address with the subnet's length.
fn bridge_address(subnet: IpNet) -> String {
    match subnet {
        IpNet::V4(net) => format!("{}/{}", std::net::Ipv4Addr::from(u32::from(net.network()).saturating_add(1)), net.prefix_len()),
        IpNet::V6(net) => format!("{}/{}", std::net::Ipv6Addr::from(u128::from(net.network()).saturating_add(1)), net.prefix_len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dual() -> SubnetEnv {
        SubnetEnv {
            networks: Prefixes { v4: "10.10.0.0/16".parse().ok(), v6: "fd10::/48".parse().ok() },
            subnets: Prefixes { v4: "10.10.26.0/24".parse().ok(), v6: "fd10:0:0:25::/64".parse().ok() },
            mtu: 1350,
            masquerade: true,
        }
    }

    #[test]
    fn the_text_is_flannels() {
        let wanted = "FLANNEL_NETWORK=10.10.0.0/16\nFLANNEL_SUBNET=10.10.26.1/24\nFLANNEL_IPV6_NETWORK=fd10::/48\n\
                      FLANNEL_IPV6_SUBNET=fd10:0:0:25::1/64\nFLANNEL_MTU=1350\nFLANNEL_IPMASQ=true\n";
        assert_eq!(dual().text(), wanted);
        let v4 = SubnetEnv { networks: Prefixes { v6: None, ..dual().networks }, masquerade: false, ..dual() };
        assert_eq!(v4.text(), "FLANNEL_NETWORK=10.10.0.0/16\nFLANNEL_SUBNET=10.10.26.1/24\nFLANNEL_MTU=1350\nFLANNEL_IPMASQ=false\n");
    }

    #[test]
    fn what_was_written_is_read_again_and_what_is_none_is_passed_over() {
        assert_eq!(SubnetEnv::subnets_in(&dual().text()), dual().subnets);
        let v4 = |text: &str| SubnetEnv::subnets_in(&format!("# a comment\nFLANNEL_NETWORK=10.9.0.0/16\nFLANNEL_SUBNET={text}\n")).v4;
        for (text, meant) in [
            ("10.10.26.1/24", "10.10.26.0/24"),
            ("\"10.10.26.1/24\"", "10.10.26.0/24"),
            ("nonsense,10.10.26.1/24", "10.10.26.0/24"),
            ("10.10.26.1/24,10.10.27.1/24", ""),
            ("10.10.26.1", ""),
            ("10.10.26.1/99", ""),
            ("fd10::1/64", ""),
            ("", ""),
        ] {
            assert_eq!(v4(text), meant.parse().ok(), "{text}");
        }
        assert_eq!(SubnetEnv::subnets_in("\u{0}\n=\nFLANNEL_SUBNET"), Prefixes::default());
    }

    #[test]
    fn the_file_is_readable_by_all_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/subnet.env");
        dual().write(&path).expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), dual().text());
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o644);
        assert_eq!(std::fs::read_dir(path.parent().expect("a folder")).expect("readable").count(), 1, "no temporary file is left");
    }
}

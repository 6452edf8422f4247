//! Which ports are taken on this host, read from /proc/net/{udp,tcp}{,6} (proc_net_tcp(5): the local address is in the second column, its port in hex after the colon; a
//! listening TCP socket is in state 0A).

use std::collections::BTreeSet;

/// Taken ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports {
    /// Bound by UDP sockets.
    pub udp: BTreeSet<u16>,
    /// Listened on by TCP sockets.
    pub tcp: BTreeSet<u16>,
}

impl Ports {
    /// Those that are taken now.
    pub fn read() -> Ports {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default();
        Ports {
            udp: ["udp", "udp6"].iter().flat_map(|file| parse(&read(file), None)).collect(),
            tcp: ["tcp", "tcp6"].iter().flat_map(|file| parse(&read(file), Some("0A"))).collect(),
        }
    }
}

fn parse(text: &str, state: Option<&str>) -> Vec<u16> {
    let port = |line: &str| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, found) = (columns.next()?, columns.nth(1)?);
        let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        state.is_none_or(|state| state == found).then_some(port)
    };
    text.lines().skip(1).filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bound_and_listening_ports_are_found() {
        let udp = "  sl  local_address rem_address   st tx_queue\n 1234: 00000000:205D 00000000:0000 07 00000000:00000000\n";
        assert_eq!(parse(udp, None), [8285]);
        let tcp = "  sl  local_address rem_address   st\n   0: 0100007F:1226 00000000:0000 0A 00\n   1: 0100007F:1227 0100007F:1226 01 00\nnonsense\n";
        assert_eq!(parse(tcp, Some("0A")), [4646]);
    }
}

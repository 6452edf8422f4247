//! A peer seen whole: its lease, the way to it, the traffic with it, put together from one snapshot.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::address::{Addresses, Prefixes};
use crate::path::PathStatus;
use crate::status::{PeerTraffic, Snapshot, Traffic};

/// One peer, as this node sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerStatus {
    /// The peer's id; none for a real flannel node.
    pub node: Option<String>,
    /// Its pods' subnets.
    pub subnets: Prefixes,
    /// Where it is reached.
    pub public: Addresses,
    /// The outer address and port that its packets are sent to, where a tunnel of twill's own carries them.
    pub endpoint: Option<String>,
    /// The way in use from here; none when no way is usable.
    pub way: Option<String>,
    /// Why that way, or why none.
    pub reason: Option<String>,
    /// Round trip over the way in use, in microseconds, smoothed; none before the first proof.
    pub rtt_us: Option<u32>,
    /// Lost echoes over the way in use, of the last ones, in thousandths.
    pub loss_permille: Option<u16>,
    /// Largest inner packet that went over the way in use and came back, in bytes with its IP header.
    pub proved_bytes: Option<u32>,
    /// Packets and bytes, where twill itself carries them; the kernel's backends count by link only.
    pub traffic: Option<Traffic>,
    /// Milliseconds since the Unix epoch at which something last arrived from it through twill's own tunnel.
    pub heard_ms: Option<u64>,
    /// Packets to and from it that twill's own tunnel dropped, by reason; see the fast path's list of reasons.
    pub drops: BTreeMap<String, u64>,
}

/// All peers of a snapshot, by subnet.
pub fn peers(snapshot: &Snapshot) -> Vec<PeerStatus> {
    let counted: BTreeMap<&str, &PeerTraffic> =
        snapshot.tunnels.iter().flat_map(|tunnel| &tunnel.peers).map(|peer| (outer_address(&peer.peer), peer)).collect();
    let of = |public: &Addresses| public.iter().find_map(|address| counted.get(address.to_string().as_str()).copied());
    let paths: BTreeMap<Prefixes, &PathStatus> = snapshot.paths.iter().map(|path| (path.subnets, path)).collect();
    let peers = snapshot.leases.iter().filter(|lease| !lease.own);
    peers
        .map(|lease| {
            let counted = of(&lease.public);
            let path = paths.get(&lease.subnets).copied();
            let in_use = path.and_then(|path| path.ways.iter().find(|way| way.in_use));
            PeerStatus {
                node: lease.node.clone(),
                subnets: lease.subnets,
                public: lease.public,
                endpoint: counted.map(|counted| counted.peer.clone()),
                way: lease.way.clone(),
                reason: lease.reason.clone(),
                rtt_us: path.and_then(|path| path.rtt_us),
                loss_permille: path.and_then(|path| path.loss_permille),
                proved_bytes: in_use.and_then(|way| way.proved_bytes),
                traffic: counted.map(|counted| counted.traffic),
                heard_ms: counted.and_then(|counted| counted.heard_ms),
                drops: counted.map(|counted| counted.drops.clone()).unwrap_or_default(),
            }
        })
        .collect()
}

/// The address of "192.0.2.1:8285" or "[2001:db8::1]:8285".
fn outer_address(endpoint: &str) -> &str {
    endpoint.rsplit_once(':').map_or(endpoint, |(address, _)| address).trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_without_its_port_is_an_address() {
        assert_eq!(outer_address("192.0.2.1:8285"), "192.0.2.1");
        assert_eq!(outer_address("[2001:db8::1]:8285"), "2001:db8::1");
    }
}

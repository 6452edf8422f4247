//! Why packets are dropped: one list, with what to do about each reason. The names are those of `TunnelStatus::drops` and of log lines.
//!
//! Pumps only count, and note the last offender; [`Offender`]s are for the control plane to log, at most once a minute.

use std::fmt;
use std::net::IpAddr;

use twill_model::item::LinkName;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $advice:literal;)+) => {
        /// Why a packet was dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason { $($(#[doc = $doc])+ $variant,)+ }

        impl DropReason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &[DropReason] = &[$(DropReason::$variant),+];

            /// The name that counters and logs use.
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name),+ }
            }

            /// What it means to an operator, and what to do.
            pub const fn advice(self) -> &'static str {
                match self { $(DropReason::$variant => $advice),+ }
            }
        }
    };
}

reasons! {
    /// From a pod: no peer's subnet holds the destination. The pod was told "net unreachable".
    UnknownDestination = "unknown-destination", "no node holds a lease for that address: the pod is gone, or its node is";
    /// From a pod: the destination lies in this node's own subnet. The pod was told "net unreachable".
    OwnSubnet = "own-subnet", "the local route to the pod bridge is missing: no pod runs here yet, or the CNI plugin's bridge was removed";
    /// From a pod: longer than the path to the peer carries, and not to be fragmented. The pod was told the size that fits.
    TooBig = "too-big", "harmless while path MTU discovery works; lasting counts mean that the underlay's MTU shrank: give the pods a lower one";
    /// From a pod: this node's lease ran out, or was not checked since the node was frozen.
    LeaseUnchecked = "lease-unchecked", "ends by itself once the lease is renewed: look at the store's state";
    /// From a pod: the socket's send buffer is full.
    SocketFull = "socket-full", "the underlay is slower than the pods send";
    /// From a pod: the kernel refused to send to the peer.
    SendFailed = "send-failed", "no route to the peer, or a local firewall rule forbids the UDP port";
    /// From a pod: a super-packet or partial checksum that was not asked for.
    Offload = "offload", "a defect of the TUN driver or of twill: please report it with the kernel's version";
    /// From the network: no lease names the outer source.
    UnknownSender = "unknown-sender", "a node without a lease, a node behind NAT, or a forger: compare the outer address with the leases";
    /// From the network: the inner source is not one that this sender may use.
    InnerSource = "inner-source", "a forged packet, or a node that forwards others' traffic (see --udp-source-check)";
    /// From the network: shorter than its own length field says.
    Truncated = "truncated", "a sender whose MTU is too large (flannel truncates), or a forger";
    /// From the network: longer than this tunnel's MTU.
    Oversize = "oversize", "the sender's tunnel has a larger MTU than this one: make them equal";
    /// From the network: the TUN queue took no more.
    TunFull = "tun-full", "the kernel forwards slower than packets arrive";
    /// From the network: the TUN device is down, or refused the packet.
    TunRefused = "tun-refused", "the interface was set down by hand; it is set up again";
    /// Either way: not an IP packet, or with a wrong header length, total length or header checksum.
    Malformed = "malformed", "something that does not speak this protocol sends to the port";
    /// Either way: an IP version that this tunnel has no peers for.
    OtherFamily = "other-family", "harmless: IPv6 housekeeping of the kernel on the TUN device";
    /// From the network: a peer's host said that nothing listens on the port. One datagram or more of ours was lost.
    PeerRefused = "peer-refused", "the peer's daemon is not running, or uses another port";
    /// From the network: a router, or this host, said that the peer cannot be reached. One datagram or more of ours was lost.
    PeerUnreachable = "peer-unreachable", "the peer is down, or a firewall on the way rejects the UDP port";
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The last packet that was dropped for a reason, and how many were since it was last asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offender {
    /// The tunnel.
    pub link: LinkName,
    /// The reason.
    pub reason: DropReason,
    /// How many packets.
    pub count: u64,
    /// The peer's or forger's address on the underlay, where the packet had one.
    pub outer: Option<IpAddr>,
    /// The address that is the matter: the inner destination of what a pod sent, the inner source of what the network sent.
    pub inner: Option<IpAddr>,
}

impl fmt::Display for Offender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} packets dropped ({}", self.link, self.count, self.reason)?;
        if let Some(outer) = self.outer {
            write!(f, ", node {outer}")?;
        }
        if let Some(inner) = self.inner {
            write!(f, ", address {inner}")?;
        }
        write!(f, "): {}", self.reason.advice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_numbers_are_indices() {
        let names: std::collections::BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }

    #[test]
    fn an_offender_reads_as_a_sentence() {
        let offender = Offender {
            link: LinkName("flannel0".into()),
            reason: DropReason::UnknownSender,
            count: 3,
            outer: Some(IpAddr::from([192, 0, 2, 9])),
            inner: None,
        };
        assert!(offender.to_string().starts_with("flannel0: 3 packets dropped (unknown-sender, node 192.0.2.9): a node without a lease"));
    }
}

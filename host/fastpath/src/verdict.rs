//! What becomes of one packet, as pure functions of its bytes and the table: [`steer`] for those from pods, [`admit`] for those from the
//! network.
//!
//! The TTL is looked at by neither: the kernel takes one off on each host as it forwards, so that a tunnel looks like one hop a host.
//! An outer source is known by its address alone. flannel sends from its own port, but so does every NAT-free sender on an address that
//! holds a lease, and the address is all that a lease tells.

use std::net::IpAddr;
use std::str::FromStr;

use crate::drops::DropReason;
use crate::header::{Flaw, Packet};
use crate::table::{Sender, Table};

/// Which inner sources a sender may use. What is allowed for whom comes with the table; here only `Off` differs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SourceCheck {
    /// Only the sender's subnets.
    Strict,
    /// The sender's subnets and public addresses.
    #[default]
    Lease,
    /// Any. The outer source must still hold a lease.
    Off,
}

impl FromStr for SourceCheck {
    type Err = NotASourceCheck;

    fn from_str(text: &str) -> Result<Self, NotASourceCheck> {
        match text {
            "strict" => Ok(SourceCheck::Strict),
            "lease" => Ok(SourceCheck::Lease),
            "off" => Ok(SourceCheck::Off),
            _ => Err(NotASourceCheck),
        }
    }
}

/// Text that names no source check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotASourceCheck;

impl std::fmt::Display for NotASourceCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("is none of strict, lease, off")
    }
}

impl std::error::Error for NotASourceCheck {}

/// A packet that does not go on: why, and the inner address that is the matter, where one can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Why.
    pub reason: DropReason,
    /// Inner destination or inner source.
    pub inner: Option<IpAddr>,
}

impl Stopped {
    fn new(reason: DropReason, inner: Option<IpAddr>) -> Self {
        Stopped { reason, inner }
    }
}

impl From<Flaw> for Stopped {
    fn from(flaw: Flaw) -> Self {
        let reason = match flaw {
            Flaw::Malformed => DropReason::Malformed,
            Flaw::Truncated => DropReason::Truncated,
        };
        Stopped::new(reason, None)
    }
}

/// Where a packet from a pod goes: the number of a target of `table`.
pub fn steer(bytes: &[u8], table: &Table) -> Result<u32, Stopped> {
    let packet = Packet::parse(bytes)?;
    let destination = packet.destination();
    table.target_of(destination).ok_or_else(|| {
        let reason = match destination {
            IpAddr::V6(address) if !table.has_v6 || address.is_multicast() || address.is_unicast_link_local() => DropReason::OtherFamily,
            _ if table.is_own(destination) => DropReason::OwnSubnet,
            _ => DropReason::UnknownDestination,
        };
        Stopped::new(reason, Some(destination))
    })
}

/// True when a packet that was stopped for `reason` is answered with "net unreachable".
pub fn is_unreachable(reason: DropReason) -> bool {
    matches!(reason, DropReason::UnknownDestination | DropReason::OwnSubnet)
}

/// Whether what a datagram of `sender` holds may go on to the kernel. Its length is checked before its content, and the sender first of
/// all, so that a stranger's datagrams are all counted as such.
pub fn admit(bytes: &[u8], sender: Option<&Sender>, table: &Table, check: SourceCheck) -> Result<(), Stopped> {
    let sender = sender.ok_or_else(|| Stopped::new(DropReason::UnknownSender, inner_source(bytes)))?;
    if bytes.len() > table.mtu {
        return Err(Stopped::new(DropReason::Oversize, inner_source(bytes)));
    }
    let source = Packet::parse(bytes)?.source();
    if check == SourceCheck::Off || sender.may_use(source) { Ok(()) } else { Err(Stopped::new(DropReason::InnerSource, Some(source))) }
}

fn inner_source(bytes: &[u8]) -> Option<IpAddr> {
    Packet::parse(bytes).ok().map(|packet| packet.source())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::tests::{ipv4, ipv6};
    use crate::peer::Peers;
    use std::net::Ipv4Addr;
    use twill_model::Addresses;
    use twill_reconcile::ports::Forwarding;

    const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

    fn table() -> Table {
        let subnet = "10.5.2.0/24".parse().expect("net");
        let forwarding = Forwarding {
            endpoints: vec![(subnet, PEER.into(), 8285)],
            senders: vec![(PEER.into(), vec![subnet])],
            answers_from: Addresses { v4: Some(Ipv4Addr::new(10, 5, 1, 0)), v6: None },
            mtu: 100,
        };
        Table::new(&forwarding, &mut Peers::new(1))
    }

    fn from(source: [u8; 4], len: usize) -> Vec<u8> {
        ipv4(source, [10, 5, 1, 2], &vec![7; len - 20])
    }

    fn refusal(bytes: &[u8], outer: Ipv4Addr) -> Option<DropReason> {
        admit(bytes, table().sender(outer.into()), &table(), SourceCheck::Lease).err().map(|stopped| stopped.reason)
    }

    #[test]
    fn packets_from_pods_go_to_their_target_or_are_told_apart() {
        let to = |destination| steer(&ipv4([10, 5, 1, 2], destination, b"x"), &table()).map_err(|stopped| stopped.reason);
        assert_eq!(to([10, 5, 2, 9]), Ok(0));
        assert_eq!(to([10, 5, 1, 9]), Err(DropReason::OwnSubnet));
        assert_eq!(to([10, 5, 3, 9]), Err(DropReason::UnknownDestination));
        assert_eq!(steer(&[0x60; 40], &table()).map_err(|stopped| stopped.reason), Err(DropReason::Truncated));
        assert_eq!(steer(&ipv6(b"x"), &table()).map_err(|stopped| stopped.reason), Err(DropReason::OtherFamily), "no peer has IPv6");
    }

    #[test]
    fn datagrams_are_admitted_by_sender_length_form_and_inner_source() {
        assert_eq!(refusal(&from([10, 5, 2, 9], 100), PEER), None);
        assert_eq!(refusal(&from([10, 5, 2, 9], 100), Ipv4Addr::new(192, 0, 2, 3)), Some(DropReason::UnknownSender));
        assert_eq!(refusal(&from([10, 5, 2, 9], 101), PEER), Some(DropReason::Oversize));
        assert_eq!(refusal(&from([10, 5, 3, 9], 100), PEER), Some(DropReason::InnerSource));
        assert_eq!(refusal(&from([10, 5, 2, 9], 100)[..99], PEER), Some(DropReason::Truncated));
        assert_eq!(refusal(&[], PEER), Some(DropReason::Malformed));
    }

    #[test]
    fn off_lets_any_inner_source_of_a_known_sender_in() {
        let packet = from([172, 16, 0, 1], 60);
        assert!(admit(&packet, table().sender(PEER.into()), &table(), SourceCheck::Off).is_ok());
        assert!(admit(&packet, None, &table(), SourceCheck::Off).is_err());
    }

    #[test]
    fn source_checks_are_read_by_name() {
        assert_eq!("lease".parse(), Ok(SourceCheck::Lease));
        assert_eq!("Lease".parse::<SourceCheck>(), Err(NotASourceCheck));
    }
}

//! What becomes of one packet, as pure functions of its bytes and the table: [`steer`] for those from pods, [`admit`] for those from the
//! network.
//!
//! The TTL is looked at by neither: the kernel takes one off on each host as it forwards, so that a tunnel looks like one hop a host.
//! An outer source is known by its address alone. flannel sends from its own port, but so does every NAT-free sender on an address that
//! holds a lease, and the address is all that a lease tells.

use std::net::IpAddr;

use crate::drops::DropReason;
use crate::header::{Flaw, Packet};
use crate::table::{Sender, Table};

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

/// What stops a datagram whose outer source holds no lease, whatever it holds.
pub fn of_stranger(bytes: &[u8]) -> Stopped {
    Stopped::new(DropReason::UnknownSender, inner_source(bytes))
}

/// Whether what a datagram of `sender` holds may go on to the kernel. Its length is checked before its content.
pub fn admit(bytes: &[u8], sender: &Sender, table: &Table) -> Result<(), Stopped> {
    if bytes.len() > table.mtu {
        return Err(Stopped::new(DropReason::Oversize, inner_source(bytes)));
    }
    let source = Packet::parse(bytes)?.source();
    if sender.may_use(source) { Ok(()) } else { Err(Stopped::new(DropReason::InnerSource, Some(source))) }
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
        let table = table();
        let verdict = table.sender(outer.into()).map_or_else(|| Err(of_stranger(bytes)), |sender| admit(bytes, sender, &table));
        verdict.err().map(|stopped| stopped.reason)
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
}

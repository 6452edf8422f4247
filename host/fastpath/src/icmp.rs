//! ICMP answers to pods (RFC 792, RFC 1122 section 3.2.2, RFC 1191), and how many of them a moment may have.
//!
//! The answers are whole IPv4 packets, to be written back into the TUN device. Their source is the tunnel's own address, so the kernel
//! takes them for martians unless the interface has `accept_local=1`; the host sets that on its own tunnels.

use std::net::Ipv4Addr;

use crate::checksum;
use crate::header::{IPV4_HEADER, Ipv4, seal_ipv4};

/// The longest answer: what every host must accept unfragmented (RFC 1812, section 4.3.2.3).
pub const LONGEST: usize = 576;

const ICMP: u8 = 1;
const ICMP_HEADER: usize = 8;

/// What is wrong with the packet that the answer is about; all are of ICMP type 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// Code 0: nobody has that subnet.
    NetUnreachable,
    /// Code 4: it does not fit, and must not be fragmented. Carries the length that fits, in bytes.
    FragmentationNeeded(u16),
}

/// Writes the answer about `packet` into `out` and gives its length; none where the standard forbids one.
pub fn answer(packet: &Ipv4<'_>, complaint: Complaint, from: Ipv4Addr, out: &mut [u8; LONGEST]) -> Option<usize> {
    if !may_answer(packet) {
        return None;
    }
    let quote = &packet.bytes()[..packet.bytes().len().min(LONGEST - IPV4_HEADER - ICMP_HEADER)];
    let total = IPV4_HEADER + ICMP_HEADER + quote.len();
    let (code, mtu) = match complaint {
        Complaint::NetUnreachable => (0, 0),
        Complaint::FragmentationNeeded(mtu) => (4, mtu),
    };
    write_header(&mut out[..IPV4_HEADER], total as u16, from, packet.source());
    let message = &mut out[IPV4_HEADER..total];
    message[..ICMP_HEADER].copy_from_slice(&[3, code, 0, 0, 0, 0, 0, 0]);
    message[6..8].copy_from_slice(&mtu.to_be_bytes());
    message[ICMP_HEADER..].copy_from_slice(quote);
    let sum = checksum::of(message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Some(total)
}

fn write_header(header: &mut [u8], total: u16, from: Ipv4Addr, to: Ipv4Addr) {
    // TOS 0xc0 is "internetwork control", as routers give it (RFC 1812, section 4.3.2.5).
    header.copy_from_slice(&[0x45, 0xc0, 0, 0, 0, 0, 0, 0, 64, ICMP, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    seal_ipv4(header);
}

/// Never about ICMP errors, later fragments, or packets whose source or destination is not one host.
fn may_answer(packet: &Ipv4<'_>) -> bool {
    let (source, destination) = (packet.source(), packet.destination());
    let one_host = |address: Ipv4Addr| !address.is_multicast() && !address.is_broadcast() && !address.is_unspecified();
    packet.fragment_offset() == 0 && one_host(source) && !source.is_loopback() && one_host(destination) && !is_icmp_error(packet)
}

/// Everything but the queries of RFC 792 and RFC 950 counts as an error, unknown types included.
fn is_icmp_error(packet: &Ipv4<'_>) -> bool {
    let query = |kind: &u8| matches!(kind, 0 | 8 | 9 | 10 | 13..=18);
    packet.protocol() == ICMP && !packet.payload().first().is_some_and(query)
}

/// A token bucket: at most [`Budget::BURST`] answers at once and [`Budget::PER_SECOND`] a second, as the kernel's own limit is by default.
#[derive(Debug)]
pub struct Budget {
    left: u64,
    refilled_ms: u64,
}

impl Budget {
    /// How many answers may follow one another.
    pub const BURST: u64 = 50;
    /// How many a second in the long run.
    pub const PER_SECOND: u64 = 1000;

    /// A full bucket at the moment `now_ms`.
    pub fn new(now_ms: u64) -> Self {
        Budget { left: Self::BURST, refilled_ms: now_ms }
    }

    /// Takes one token, if there is one, at the moment `now_ms` of the boot clock.
    pub fn take(&mut self, now_ms: u64) -> bool {
        let gained = now_ms.saturating_sub(self.refilled_ms).saturating_mul(Self::PER_SECOND) / 1000;
        if gained > 0 {
            self.left = Self::BURST.min(self.left.saturating_add(gained));
            self.refilled_ms = now_ms;
        }
        let taken = self.left > 0;
        self.left -= u64::from(taken);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::tests::ipv4;

    const FROM: Ipv4Addr = Ipv4Addr::new(10, 5, 1, 0);

    fn about(bytes: &[u8], complaint: Complaint) -> Option<Vec<u8>> {
        let mut out = [0; LONGEST];
        answer(&Ipv4::parse(bytes).expect("well-formed"), complaint, FROM, &mut out).map(|len| out[..len].to_vec())
    }

    fn changed(at: usize, value: u8) -> Vec<u8> {
        let mut bytes = ipv4([10, 5, 1, 2], [10, 5, 9, 9], &[3, 0, 0, 0]);
        bytes[at] = value;
        seal_ipv4(&mut bytes[..IPV4_HEADER]);
        bytes
    }

    #[test]
    fn the_answer_quotes_the_packet_and_sums_right() {
        let asked = ipv4([10, 5, 1, 2], [10, 5, 9, 9], &[7; 1000]);
        let bytes = about(&asked, Complaint::FragmentationNeeded(1400)).expect("an answer");
        let packet = Ipv4::parse(&bytes).expect("a well-formed answer");
        assert_eq!((packet.source(), packet.destination()), (FROM, Ipv4Addr::new(10, 5, 1, 2)));
        assert_eq!(bytes.len(), LONGEST);
        assert_eq!(checksum::of(packet.payload()), 0);
        assert_eq!(packet.payload()[..2], [3, 4]);
        assert_eq!(packet.payload()[6..8], 1400u16.to_be_bytes());
        assert_eq!(packet.payload()[8..], asked[..LONGEST - 28]);
    }

    #[test]
    fn net_unreachable_is_code_zero() {
        let bytes = about(&ipv4([10, 5, 1, 2], [10, 5, 9, 9], b"x"), Complaint::NetUnreachable).expect("an answer");
        assert_eq!(bytes[IPV4_HEADER..IPV4_HEADER + 2], [3, 0]);
        assert_eq!(bytes.len(), 28 + 21);
    }

    #[test]
    fn some_packets_get_no_answer() {
        assert!(about(&changed(7, 1), Complaint::NetUnreachable).is_none(), "a later fragment");
        assert!(about(&changed(16, 224), Complaint::NetUnreachable).is_none(), "a multicast destination");
        assert!(about(&changed(12, 127), Complaint::NetUnreachable).is_none(), "a loopback source");
        assert!(about(&changed(9, 1), Complaint::NetUnreachable).is_none(), "an ICMP error");
        let mut echo = changed(9, 1);
        echo[IPV4_HEADER] = 8;
        assert!(about(&echo, Complaint::NetUnreachable).is_some(), "an echo request");
    }

    #[test]
    fn the_budget_runs_out_and_refills() {
        let mut budget = Budget::new(1_000);
        let burst = (0..200).filter(|_| budget.take(1_000)).count();
        assert_eq!(burst as u64, Budget::BURST);
        assert!(budget.take(1_001) && !budget.take(1_001));
        let second: usize = (1_002..2_002).map(|now| (0..10).filter(|_| budget.take(now)).count()).sum();
        assert_eq!(second as u64, Budget::PER_SECOND);
    }
}

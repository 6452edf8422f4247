//! The tunnel's UDP socket: bound to the underlay address and port, used both ways (see [`crate::sending`] and [`crate::receiving`]).
//!
//! The "don't fragment" flag is set on all that leaves (IP_MTU_DISCOVER = DO, and IPv6's alike), and what routers and the kernel say about it comes
//! from the error queue (IP_RECVERR) as [`Report`]s. Nothing here sleeps but receiving. A socket is of one address family; a tunnel over both has two a queue.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Type};
use twill_reconcile::ports::Refused;

use crate::offload::{self, Offloads};
use crate::{mmsg, run};

/// Room for what one call gives at most: 65 535 bytes and a virtio-net header, in whole pages.
pub const SLOT: usize = 68 * 1024;
/// Asked of the kernel for both of the socket's buffers, in bytes.
const BUFFER: usize = 4 << 20;

/// So many runs that were refused in a row, while their first packets left alone, are enough to know.
const OFTEN: u32 = 4;

/// ICMP can be forged: what it says counts down to this path MTU, the kernel's own bound (net.ipv4.route.min_pmtu). A router that says
/// none at all (0, before RFC 1191) is taken to mean this one.
const LEAST_FROM_ROUTERS: u32 = 552;
/// The same over IPv6, whose links all carry so much (RFC 8200).
const LEAST_FROM_ROUTERS_V6: u32 = 1280;

/// Room for what the kernel says beside an error, laid out as it writes it.
#[repr(align(8))]
struct Control([u8; 192]);

/// A bound socket.
#[derive(Debug)]
pub struct Socket {
    socket: socket2::Socket,
    is_v6: bool,
    segments: AtomicBool,
    merges: bool,
    /// Runs in a row that were refused while their first packets left alone.
    refused: AtomicU32,
    refuses_runs: Option<i32>,
}

/// What the network or the kernel said about a datagram of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Where the datagram was going.
    pub about: IpAddr,
    /// What was said.
    pub news: News,
}

/// The kinds of [`Report`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The path carries packets of at most this many bytes, outer headers included.
    PathMtu(u32),
    /// Nothing listens on the port.
    Refused,
    /// It cannot be reached.
    Unreachable,
}

impl Socket {
    /// Binds a socket to `local`. With `shared`, several sockets may be bound to it, and the kernel spreads the peers over them. Of
    /// `offloads` it has those that the kernel has.
    pub fn bind(local: SocketAddr, shared: bool, offloads: Offloads) -> Result<Self, Refused> {
        Self::try_bind(local, shared, offloads)
            .map_err(|error| Refused { act: format!("bind UDP socket {local}"), cause: words(&error, local) })
    }

    fn try_bind(local: SocketAddr, shared: bool, offloads: Offloads) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(local), Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
        socket.set_reuse_port(shared)?;
        let is_v6 = local.is_ipv6();
        mmsg::forbid_fragments(socket.as_fd(), is_v6)?;
        if is_v6 {
            socket.set_only_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
        }
        // Without CAP_NET_ADMIN the system's limit (net.core.rmem_max) applies, which is slower and not wrong.
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() || setsockopt(&socket, sockopt::SndBufForce, &BUFFER).is_err() {
            socket.set_recv_buffer_size(BUFFER)?;
            socket.set_send_buffer_size(BUFFER)?;
        }
        socket.bind(&SockAddr::from(local))?;
        // Setting zero changes nothing, and shows whether the kernel knows the option.
        let segments = offloads.gso && !offload::is_run_mangled_here() && setsockopt(&socket, sockopt::UdpGsoSegment, &0).is_ok();
        let merges = offloads.gro && setsockopt(&socket, sockopt::UdpGroSegment, &true).is_ok();
        Ok(Socket { socket, is_v6, segments: AtomicBool::new(segments), merges, refused: AtomicU32::new(0), refuses_runs: None })
    }

    /// The same over an underlay that answers each run with that error (errno), if with any: for tests.
    pub fn refusing_runs(self, refuses_runs: Option<i32>) -> Self {
        Socket { refuses_runs, ..self }
    }

    /// The error with which an underlay stands in for one that takes no runs.
    pub(crate) fn refuses_runs(&self) -> Option<i32> {
        self.refuses_runs
    }

    /// True when it reaches addresses of that family.
    pub fn reaches(&self, to: IpAddr) -> bool {
        self.is_v6 == to.is_ipv6()
    }

    /// The most packets that one send to a peer may carry: 1 while UDP_SEGMENT is off.
    pub fn longest_run(&self) -> usize {
        if self.segments.load(Relaxed) { run::MOST } else { 1 }
    }

    /// Leaves UDP_SEGMENT off from now on, since the underlay cannot do it; false when it was off already.
    pub fn stop_segmenting(&self) -> bool {
        self.segments.swap(false, Relaxed)
    }

    /// A run was refused, and its first packet left alone. True when that was so several times in a row: it is about runs.
    pub fn was_refused(&self) -> bool {
        self.refused.fetch_add(1, Relaxed) + 1 >= OFTEN
    }

    /// A run left.
    pub fn was_taken(&self) {
        if self.refused.load(Relaxed) != 0 {
            self.refused.store(0, Relaxed);
        }
    }

    /// True when one receive may give many datagrams.
    pub fn is_merging(&self) -> bool {
        self.merges
    }

    /// Clears the socket's pending error, which outlives an error queue that was too full for it.
    pub fn clear_error(&self) {
        let _ = self.socket.take_error();
    }

    /// The next report of the error queue; none when it is empty. Reading one also clears the socket's pending error.
    pub fn next_report(&self) -> Option<Report> {
        loop {
            let mut cut = [0u8; 1];
            let mut control = Control([0; 192]);
            let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
            let mut slices = [IoSliceMut::new(&mut cut)];
            let message = recvmsg::<SockaddrStorage>(self.socket.as_raw_fd(), &mut slices, Some(&mut control.0), flags).ok()?;
            let about = message.address.and_then(address);
            let news = message.cmsgs().ok().and_then(|mut messages| messages.find_map(news));
            if let (Some(about), Some(news)) = (about, news) {
                return Some(Report { about, news });
            }
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn address(storage: SockaddrStorage) -> Option<IpAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

fn news(message: ControlMessageOwned) -> Option<News> {
    let (error, least) = match message {
        ControlMessageOwned::Ipv4RecvErr(error, _) => (error, LEAST_FROM_ROUTERS),
        ControlMessageOwned::Ipv6RecvErr(error, _) => (error, LEAST_FROM_ROUTERS_V6),
        _ => return None,
    };
    Some(match error.ee_errno as i32 {
        libc::EMSGSIZE if error.ee_origin == libc::SO_EE_ORIGIN_LOCAL => News::PathMtu(error.ee_info),
        libc::EMSGSIZE => News::PathMtu(error.ee_info.max(least)),
        libc::ECONNREFUSED => News::Refused,
        _ => News::Unreachable,
    })
}

fn words(error: &io::Error, local: SocketAddr) -> String {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            format!("another program has UDP port {} (a flanneld, or a second twill?): stop it, or set another Port", local.port())
        }
        Some(libc::EADDRNOTAVAIL) => format!("this host has no address {}: wait for it, or name another interface", local.ip()),
        Some(libc::EACCES) => format!("not permitted: port {} needs root or CAP_NET_BIND_SERVICE", local.port()),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use nix::errno::Errno;

    use super::*;
    use crate::mmsg::BATCH;
    use crate::receiving::Datagrams;
    use crate::sending::Packet;

    fn bound(offloads: Offloads) -> Socket {
        Socket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), false, offloads).expect("a loopback socket")
    }

    fn loopback() -> Socket {
        bound(Offloads::ALL)
    }

    fn loopback_v6() -> Socket {
        Socket::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), false, Offloads::ALL).expect("a loopback socket")
    }

    fn address(socket: &Socket) -> SocketAddr {
        socket.socket.local_addr().expect("bound").as_socket().expect("an IP address")
    }

    fn wait(socket: &Socket, events: nix::poll::PollFlags) {
        let mut polled = [nix::poll::PollFd::new(socket.as_fd(), events)];
        while nix::poll::poll(&mut polled, 5_000u16) == Err(Errno::EINTR) {}
    }

    #[test]
    fn runs_are_given_up_when_several_in_a_row_are_refused() {
        let socket = loopback();
        let refused = |times: u32| (0..times).any(|_| socket.was_refused());
        assert!(!refused(OFTEN - 1));
        socket.was_taken();
        assert!(!refused(OFTEN - 1), "one left meanwhile");
        assert!(refused(1));
    }

    /// Sends packets as far as one call does; every fourth does not follow the one before it in memory.
    fn send(from: &Socket, packets: &[Vec<u8>], to: SocketAddr, most: usize) -> usize {
        let (mut buffer, mut places) = (Vec::new(), Vec::new());
        for (number, packet) in packets.iter().enumerate() {
            buffer.resize(buffer.len() + usize::from(number % 4 == 0), 0xee);
            places.push(buffer.len()..buffer.len() + packet.len());
            buffer.extend_from_slice(packet);
        }
        let packet = |number: usize| Packet { target: 0, to, place: places[number].clone() };
        from.send(&buffer, packets.len(), packet, most).expect("sent").packets
    }

    /// Sends all packets, which must all leave, and gives what arrives.
    fn carry(from: &Socket, to: &Socket, all: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut sent = 0;
        while sent < all.len() {
            sent += send(from, &all[sent..], address(to), from.longest_run());
        }
        let (mut datagrams, mut seen) = (Datagrams::default(), Vec::new());
        while seen.len() < all.len() {
            wait(to, nix::poll::PollFlags::POLLIN);
            to.receive(&mut datagrams).expect("received");
            for arrived in datagrams.arrived() {
                assert_eq!(arrived.from, address(from).ip());
                seen.extend(arrived.places().map(|place| place.of(datagrams.bytes()).to_vec()));
            }
        }
        to.socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a time limit");
        assert_eq!(to.receive(&mut datagrams).expect_err("empty").kind(), io::ErrorKind::WouldBlock);
        seen
    }

    #[test]
    fn packets_arrive_in_order_and_whole_with_and_without_offloads() {
        let lengths = (0..BATCH).map(|n| n * 100).chain([1400; 100]).chain([900, 900, 60]).chain([60; 200]);
        let all: Vec<Vec<u8>> = lengths.enumerate().map(|(n, len)| vec![n as u8; len]).collect();
        for (sends, receives) in [(Offloads::ALL, Offloads::ALL), (Offloads::ALL, Offloads::NONE), (Offloads::NONE, Offloads::ALL)] {
            assert_eq!(carry(&bound(sends), &bound(receives), &all), all, "{sends:?} to {receives:?}");
        }
    }

    #[test]
    fn a_run_is_received_at_once() {
        let (from, to) = (bound(Offloads::ALL), bound(Offloads::ALL));
        let all = vec![vec![7; 1000]; 10];
        assert_eq!(send(&from, &all, address(&to), from.longest_run()), 10);
        let mut datagrams = Datagrams::default();
        to.receive(&mut datagrams).expect("received");
        assert_eq!((datagrams.arrived().count(), datagrams.count()), (1, 10));
    }

    #[test]
    fn an_empty_datagram_is_one() {
        assert_eq!(carry(&loopback(), &loopback(), &[vec![]]), [vec![0u8; 0]]);
    }

    #[test]
    fn both_families_carry_alike() {
        let all: Vec<Vec<u8>> = [1400, 1400, 900, 60, 60].into_iter().enumerate().map(|(n, len)| vec![n as u8; len]).collect();
        let (from, to) = (loopback_v6(), loopback_v6());
        assert!(from.reaches(address(&to).ip()) && !from.reaches(address(&loopback()).ip()));
        assert_eq!(carry(&from, &to, &all), all);
    }

    #[test]
    fn segmenting_is_stopped_once_and_sending_goes_on() {
        let (from, to) = (loopback(), loopback());
        let all = vec![vec![7; 1000]; 50];
        assert!(from.longest_run() > 1 && from.stop_segmenting() && !from.stop_segmenting());
        assert_eq!((from.longest_run(), carry(&from, &to, &all)), (1, all));
    }

    #[test]
    fn a_closed_port_is_reported_once() {
        // A socket that is closed again leaves a port that nobody listens on.
        let closed = |socket: Socket| address(&socket);
        for (socket, closed) in [(loopback(), closed(loopback())), (loopback_v6(), closed(loopback_v6()))] {
            assert_eq!(send(&socket, &[b"x".to_vec()], closed, 1), 1);
            wait(&socket, nix::poll::PollFlags::empty());
            assert_eq!(socket.next_report(), Some(Report { about: closed.ip(), news: News::Refused }));
            assert_eq!(socket.next_report(), None);
        }
    }

    #[test]
    fn a_taken_port_says_who_may_have_it() {
        let socket = loopback();
        let refused = Socket::bind(address(&socket), false, Offloads::ALL).expect_err("taken");
        assert!(refused.to_string().contains("another program has UDP port"), "{refused}");
    }
}

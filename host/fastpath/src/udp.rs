//! The tunnel's UDP socket: bound to the underlay address and port, used both ways, many datagrams a system call.
//!
//! The "don't fragment" flag is set on all that leaves (IP_MTU_DISCOVER = DO), and what routers and the kernel say about it comes from the
//! error queue (IP_RECVERR) as [`Report`]s. Nothing here blocks.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Type};
use twill_reconcile::ports::Refused;

use crate::vnet;

/// Datagrams a system call, and frames a turn of a pump.
pub const BATCH: usize = 32;
/// Room for a frame: a virtio-net header and the longest IP packet, in whole pages.
pub const SLOT: usize = 68 * 1024;
/// Asked of the kernel for both of the socket's buffers, in bytes.
const BUFFER: usize = 4 << 20;

/// ICMP can be forged: what it says counts down to this path MTU, the kernel's own bound (net.ipv4.route.min_pmtu). A router that says
/// none at all (0, before RFC 1191) is taken to mean this one.
const LEAST_FROM_ROUTERS: u32 = 552;

/// A bound socket.
#[derive(Debug)]
pub struct Socket {
    socket: socket2::Socket,
}

/// What the network or the kernel said about a datagram of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Where the datagram was going.
    pub about: Ipv4Addr,
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
    /// Binds a socket to `local`. With `shared`, several sockets may be bound to it, and the kernel spreads the peers over them.
    pub fn bind(local: SocketAddrV4, shared: bool) -> Result<Self, Refused> {
        Self::try_bind(local, shared).map_err(|error| Refused { act: format!("bind UDP socket {local}"), cause: words(&error, local) })
    }

    fn try_bind(local: SocketAddrV4, shared: bool) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::IPV4, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
        socket.set_reuse_port(shared)?;
        set_always_dont_fragment(&socket)?;
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?;
        // Without CAP_NET_ADMIN the system's limit (net.core.rmem_max) applies, which is slower and not wrong.
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() || setsockopt(&socket, sockopt::SndBufForce, &BUFFER).is_err() {
            socket.set_recv_buffer_size(BUFFER)?;
            socket.set_send_buffer_size(BUFFER)?;
        }
        socket.bind(&SockAddr::from(local))?;
        Ok(Socket { socket })
    }

    /// Sends up to [`BATCH`] datagrams and tells how many left. An error is about the first one, or about an earlier one that the network
    /// spoke of meanwhile.
    pub fn send<'a>(&self, datagrams: impl Iterator<Item = (SocketAddrV4, &'a [u8])>) -> io::Result<usize> {
        // SAFETY: all three are plain data, for which all zeros is a value.
        let (mut names, mut slices, mut headers): ([libc::sockaddr_in; BATCH], [libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { std::mem::zeroed() };
        let mut count = 0;
        for ((to, bytes), ((name, slice), header)) in datagrams.zip(names.iter_mut().zip(&mut slices).zip(&mut headers)) {
            *name = raw_address(to);
            *slice = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            point(&mut header.msg_hdr, name, slice);
            count += 1;
        }
        // SAFETY: the first `count` headers point to a name and a slice on this stack frame, and those to bytes that `datagrams` borrows for
        // 'a, longer than the call; the kernel only reads them and writes `msg_len`.
        let sent = unsafe { libc::sendmmsg(self.socket.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
        Ok(Errno::result(sent)? as usize)
    }

    /// Receives what has arrived, up to [`BATCH`] datagrams. `WouldBlock` when nothing has.
    pub fn receive(&self, into: &mut Datagrams) -> io::Result<()> {
        // SAFETY: all three are plain data, for which all zeros is a value.
        let (mut names, mut slices, mut headers): ([libc::sockaddr_in; BATCH], [libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { std::mem::zeroed() };
        into.count = 0;
        let slots = into.bytes.chunks_exact_mut(SLOT);
        for (slot, ((name, slice), header)) in slots.zip(names.iter_mut().zip(&mut slices).zip(&mut headers)) {
            let room = &mut slot[vnet::HEADER..];
            *slice = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
            point(&mut header.msg_hdr, name, slice);
        }
        // SAFETY: there are BATCH slots, so every header points to a name and a slice on this stack frame, and each slice to a slot of its
        // own in `into`, borrowed mutably for the call; lengths are those of what they point to.
        let received = unsafe {
            libc::recvmmsg(self.socket.as_raw_fd(), headers.as_mut_ptr(), BATCH as u32, libc::MSG_DONTWAIT, std::ptr::null_mut())
        };
        into.count = Errno::result(received)? as usize;
        for ((meta, name), header) in into.meta.iter_mut().zip(&names).zip(&headers).take(into.count) {
            *meta = (Ipv4Addr::from_bits(u32::from_be(name.sin_addr.s_addr)), header.msg_len as usize);
        }
        Ok(())
    }

    /// Clears the socket's pending error, which outlives an error queue that was too full for it.
    pub fn clear_error(&self) {
        let _ = self.socket.take_error();
    }

    /// The next report of the error queue; none when it is empty. Reading one also clears the socket's pending error.
    pub fn next_report(&self) -> Option<Report> {
        loop {
            let mut cut = [0u8; 1];
            let mut control = nix::cmsg_space!([u8; 128]);
            let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
            let mut slices = [IoSliceMut::new(&mut cut)];
            let message = recvmsg::<SockaddrIn>(self.socket.as_raw_fd(), &mut slices, Some(&mut control), flags).ok()?;
            let about = message.address.map(|address| address.ip());
            let news = message.cmsgs().ok().and_then(|mut messages| messages.find_map(news));
            if let (Some(about), Some(news)) = (about, news) {
                return Some(Report { about, news });
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn news(message: ControlMessageOwned) -> Option<News> {
    let ControlMessageOwned::Ipv4RecvErr(error, _) = message else { return None };
    Some(match error.ee_errno as i32 {
        libc::EMSGSIZE if error.ee_origin == libc::SO_EE_ORIGIN_LOCAL => News::PathMtu(error.ee_info),
        libc::EMSGSIZE => News::PathMtu(error.ee_info.max(LEAST_FROM_ROUTERS)),
        libc::ECONNREFUSED => News::Refused,
        _ => News::Unreachable,
    })
}

fn point(header: &mut libc::msghdr, name: &mut libc::sockaddr_in, slice: &mut libc::iovec) {
    header.msg_name = std::ptr::from_mut(name).cast();
    header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
    header.msg_iov = slice;
    header.msg_iovlen = 1;
}

fn raw_address(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: address.ip().to_bits().to_be() },
        sin_zero: [0; 8],
    }
}

fn set_always_dont_fragment(socket: &socket2::Socket) -> io::Result<()> {
    let value: libc::c_int = libc::IP_PMTUDISC_DO;
    let size = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is open; the option is an int, read through a pointer to one that outlives the call.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, (&raw const value).cast(), size) };
    Errno::result(set)?;
    Ok(())
}

fn words(error: &io::Error, local: SocketAddrV4) -> String {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            format!("another program has UDP port {} (a flanneld, or a second twill?): stop it, or set another Port", local.port())
        }
        Some(libc::EADDRNOTAVAIL) => format!("this host has no address {}: wait for it, or name another interface", local.ip()),
        Some(libc::EACCES) => format!("not permitted: port {} needs root or CAP_NET_BIND_SERVICE", local.port()),
        _ => error.to_string(),
    }
}

/// Room for a batch of datagrams, each with space before it for a virtio-net header of zeros, so that it can go on as a frame.
#[derive(Debug)]
pub struct Datagrams {
    bytes: Box<[u8]>,
    meta: [(Ipv4Addr, usize); BATCH],
    count: usize,
}

impl Default for Datagrams {
    fn default() -> Self {
        Datagrams { bytes: vec![0; BATCH * SLOT].into_boxed_slice(), meta: [(Ipv4Addr::UNSPECIFIED, 0); BATCH], count: 0 }
    }
}

impl Datagrams {
    /// How many the last call received.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Sender and frame (header of zeros, then the datagram) of each.
    pub fn frames(&self) -> impl Iterator<Item = (Ipv4Addr, &[u8])> {
        self.meta[..self.count].iter().zip(self.bytes.chunks_exact(SLOT)).map(|(&(from, len), slot)| (from, &slot[..vnet::HEADER + len]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> Socket {
        Socket::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), false).expect("a loopback socket")
    }

    fn address(socket: &Socket) -> SocketAddrV4 {
        socket.socket.local_addr().expect("bound").as_socket_ipv4().expect("IPv4")
    }

    fn wait(socket: &Socket, events: nix::poll::PollFlags) {
        let mut polled = [nix::poll::PollFd::new(socket.as_fd(), events)];
        while nix::poll::poll(&mut polled, 5_000u16) == Err(Errno::EINTR) {}
    }

    #[test]
    fn a_batch_arrives_in_order_and_whole() {
        let (from, to) = (loopback(), loopback());
        let packets: Vec<Vec<u8>> = (0..BATCH).map(|n| vec![n as u8; n * 100]).collect();
        let sent = from.send(packets.iter().map(|packet| (address(&to), &packet[..]))).expect("sent");
        assert_eq!(sent, BATCH);
        let mut datagrams = Datagrams::default();
        let mut seen = Vec::new();
        while seen.len() < BATCH {
            wait(&to, nix::poll::PollFlags::POLLIN);
            to.receive(&mut datagrams).expect("received");
            seen.extend(datagrams.frames().map(|(sender, frame)| (sender, frame.to_vec())));
        }
        for ((sender, frame), packet) in seen.iter().zip(&packets) {
            assert_eq!(*sender, Ipv4Addr::LOCALHOST);
            assert_eq!((&frame[..vnet::HEADER], &frame[vnet::HEADER..]), (&[0; vnet::HEADER][..], &packet[..]));
        }
        assert_eq!(to.receive(&mut datagrams).expect_err("empty").kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_closed_port_is_reported_once() {
        let socket = loopback();
        let closed = address(&loopback());
        socket.send([(closed, &b"x"[..])].into_iter()).expect("sent");
        wait(&socket, nix::poll::PollFlags::empty());
        assert_eq!(socket.next_report(), Some(Report { about: Ipv4Addr::LOCALHOST, news: News::Refused }));
        assert_eq!(socket.next_report(), None);
    }

    #[test]
    fn a_taken_port_says_who_may_have_it() {
        let socket = loopback();
        let refused = Socket::bind(address(&socket), false).expect_err("taken");
        assert!(refused.to_string().contains("another program has UDP port"), "{refused}");
    }
}

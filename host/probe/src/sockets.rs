//! The sockets: one a link to send by, whatever the routes say, and one a family to hear answers by, from wherever they come.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::socket::{SockaddrStorage, recvfrom};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::unix::AsyncFd;
use twill_model::item::LinkName;

use crate::packet::{self, Answer};
use crate::prober::Shot;
use crate::track::Size;

/// `ICMP_FILTER` of linux/icmp.h at `SOL_RAW`: a set bit keeps a type out.
const SOL_RAW: libc::c_int = 255;
const ICMP_FILTER: libc::c_int = 1;
/// `ICMPV6_FILTER` of linux/icmpv6.h.
const ICMPV6_FILTER: libc::c_int = 1;
/// `IP_PMTUDISC_PROBE` and `IPV6_PMTUDISC_PROBE`: never fragment, and never mind what was learned of the path.
const PMTUDISC_PROBE: libc::c_int = 3;

/// The longest IP packet.
const LONGEST: usize = 65_535;

/// All sockets. To be used inside a tokio runtime, in the network namespace that it was opened in.
#[derive(Debug)]
pub struct Sockets {
    v4: Option<Hearing>,
    v6: Option<Hearing>,
    senders: HashMap<(LinkName, IpAddr, Kind), Socket>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Echo,
    Datagram,
}

impl Sockets {
    /// Opens the sockets that hear. A family that the kernel does not have is left out.
    ///
    /// # Errors
    /// Neither family can be had; raw sockets take CAP_NET_RAW.
    pub fn open() -> io::Result<Sockets> {
        let v4 = hearing(Domain::IPV4, Protocol::ICMPV4);
        let v6 = hearing(Domain::IPV6, Protocol::ICMPV6);
        if let (Err(error), Err(_)) = (&v4, &v6) {
            return Err(io::Error::new(error.kind(), format!("cannot open a socket for ICMP: {error}")));
        }
        Ok(Sockets { v4: v4.ok(), v6: v6.ok(), senders: HashMap::new() })
    }

    /// Sends a packet by its link. A socket whose link was made anew meanwhile is opened again.
    ///
    /// # Errors
    /// The link is gone, or does not carry it.
    pub fn send(&mut self, shot: &Shot) -> io::Result<()> {
        let kind = if shot.size == Size::Datagram { Kind::Datagram } else { Kind::Echo };
        let key = (shot.leg.link.clone(), shot.leg.from, kind);
        if let Some(socket) = self.senders.get(&key)
            && send(socket, shot).is_ok()
        {
            return Ok(());
        }
        self.senders.remove(&key);
        let socket = sending(shot, kind)?;
        send(&socket, shot)?;
        self.senders.insert(key, socket);
        Ok(())
    }

    /// Forgets the sockets of links that are not in use any more.
    pub fn keep_only(&mut self, wanted: impl Fn(&LinkName) -> bool) {
        self.senders.retain(|(link, ..), _| wanted(link));
    }

    /// The next answer, and who gave it. Cancel-safe.
    pub async fn hear(&self) -> (IpAddr, Answer) {
        tokio::select! {
            heard = hear(self.v4.as_ref()) => heard,
            heard = hear(self.v6.as_ref()) => heard,
        }
    }
}

/// A socket that hears the answers of one family.
#[derive(Debug)]
pub(crate) struct Hearing {
    socket: AsyncFd<Socket>,
    /// Room for the longest packet.
    buffer: Mutex<Box<[u8]>>,
    read: fn(&[u8]) -> Option<Answer>,
}

impl Hearing {
    /// The next answer, and who gave it. Cancel-safe.
    pub(crate) async fn next(&self) -> (IpAddr, Answer) {
        loop {
            let Ok(mut ready) = self.socket.readable().await else { return std::future::pending().await };
            let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
            let received = ready.try_io(|socket| Ok(recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer)?));
            // What the queue lost counts as unanswered, and other errors are told of earlier packets.
            let Ok(Ok((length, from))) = received else { continue };
            let from = from.and_then(|from| {
                let v4 = from.as_sockaddr_in().map(|from| IpAddr::V4(from.ip()));
                v4.or_else(|| from.as_sockaddr_in6().map(|from| IpAddr::V6(from.ip())))
            });
            if let (Some(from), Some(answer)) = (from, (self.read)(&buffer[..length])) {
                return (from, answer);
            }
        }
    }
}

async fn hear(socket: Option<&Hearing>) -> (IpAddr, Answer) {
    match socket {
        Some(socket) => socket.next().await,
        None => std::future::pending().await,
    }
}

/// Opens a socket that hears the answers of one family.
pub(crate) fn hearing(domain: Domain, protocol: Protocol) -> io::Result<Hearing> {
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    let read = if domain == Domain::IPV4 {
        let_in(&socket, domain, &[0, 3])?;
        packet::read_v4
    } else {
        let_in(&socket, domain, &[1, 129])?;
        packet::read_v6
    };
    // SAFETY: the socket is owned by the AsyncFd, so its descriptor stays open and the same for as long as it is registered.
    let socket = unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)?;
    Ok(Hearing { socket, buffer: Mutex::new(vec![0; LONGEST].into()), read })
}

/// Lets just these types in, which for IPv4 are below 32.
pub(crate) fn let_in(socket: &Socket, domain: Domain, types: &[u8]) -> io::Result<()> {
    if domain == Domain::IPV4 {
        let all_but_them = !types.iter().fold(0u32, |bits, kind| bits | 1 << kind);
        set(socket, SOL_RAW, ICMP_FILTER, &all_but_them)
    } else {
        set(socket, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &icmpv6_filter(types))
    }
}

/// A filter that lets these types in.
fn icmpv6_filter(types: &[u8]) -> [u32; 8] {
    let mut filter = [u32::MAX; 8];
    for kind in types {
        filter[usize::from(kind >> 5)] &= !(1 << (kind & 31));
    }
    filter
}

fn sending(shot: &Shot, kind: Kind) -> io::Result<Socket> {
    let v4 = shot.leg.to.is_ipv4();
    let domain = if v4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = match kind {
        Kind::Datagram => Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?,
        Kind::Echo => Socket::new(domain, Type::RAW, Some(if v4 { Protocol::ICMPV4 } else { Protocol::ICMPV6 }))?,
    };
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(SocketAddr::new(shot.leg.from, 0)))?;
    socket.bind_device(Some(shot.leg.link.0.as_bytes()))?;
    if v4 {
        set(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, &PMTUDISC_PROBE)?;
    } else {
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, &PMTUDISC_PROBE)?;
    }
    // It sends only: what arrives by this link is heard by the socket of the family.
    match (kind, v4) {
        (Kind::Echo, true) => set(&socket, SOL_RAW, ICMP_FILTER, &u32::MAX)?,
        (Kind::Echo, false) => set(&socket, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &icmpv6_filter(&[]))?,
        (Kind::Datagram, _) => {}
    }
    Ok(socket)
}

fn send(socket: &Socket, shot: &Shot) -> io::Result<()> {
    // A refusal of an earlier datagram is told at the next send: it is no failure of this one.
    let _ = socket.take_error();
    let (bytes, port) = match shot.size {
        Size::Datagram => {
            let headers = packet::ip_header(shot.leg.to) + 8;
            (vec![0x77; usize::try_from(shot.bytes).unwrap_or(0).saturating_sub(headers)], shot.port)
        }
        _ => (packet::echo(shot.leg.to, shot.number, shot.bytes), 0),
    };
    let sent = socket.send_to(&bytes, &SockAddr::from(SocketAddr::new(shot.leg.to, port)))?;
    if sent == bytes.len() { Ok(()) } else { Err(Errno::EMSGSIZE.into()) }
}

fn set<T>(socket: &Socket, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the kernel reads `size` bytes at a pointer to a value of that size, which outlives the call.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), size) };
    Errno::result(done).map(drop).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_lets_in_just_the_types_that_are_named() {
        let filter = icmpv6_filter(&[1, 129]);
        let passes = |kind: u8| filter[usize::from(kind >> 5)] & (1 << (kind & 31)) == 0;
        assert!(passes(1) && passes(129));
        assert!(!passes(128) && !passes(2) && !passes(135));
    }
}

//! Peers' echoes, as they arrive here. A way with a link of its own has counters that tell whether something arrives by it; packets of one without come bare over the
//! underlay, like any others. But a peer proves the way that it has in use again and again, and so tells that it is in use.

use std::io::{self, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::packet;
use crate::sockets::let_in;

/// The longest header of IPv4, and all of an echo that tells whose it is.
const BEGINNING: usize = 128;

/// An echo of a peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Knock {
    /// The address that was asked.
    pub to: IpAddr,
    /// The index of the link that it arrived by.
    pub link: u32,
}

/// Hears peers' echoes. To be used inside a tokio runtime, in the network namespace that it was opened in.
#[derive(Debug)]
pub struct Knocks {
    v4: Option<AsyncFd<Socket>>,
    v6: Option<AsyncFd<Socket>>,
}

impl Knocks {
    /// Opens a socket for each family. One that the kernel does not have is left out.
    ///
    /// # Errors
    /// Neither family can be had; raw sockets take CAP_NET_RAW.
    pub fn open() -> io::Result<Knocks> {
        match (open(Domain::IPV4, Protocol::ICMPV4), open(Domain::IPV6, Protocol::ICMPV6)) {
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => Ok(Knocks { v4: v4.ok(), v6: v6.ok() }),
        }
    }

    /// The next echo of a peer's. Cancel-safe.
    pub async fn next(&self) -> Knock {
        tokio::select! {
            knock = next(self.v4.as_ref(), packet::asks_v4) => knock,
            knock = next(self.v6.as_ref(), packet::asks_v6) => knock,
        }
    }
}

fn open(domain: Domain, protocol: Protocol) -> io::Result<AsyncFd<Socket>> {
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if domain == Domain::IPV4 {
        let_in(&socket, domain, &[8])?;
        setsockopt(&socket, Ipv4PacketInfo, &true)?;
    } else {
        let_in(&socket, domain, &[128])?;
        setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
    }
    // SAFETY: the socket is owned by the AsyncFd, so its descriptor stays open and the same for as long as it is registered.
    unsafe { AsyncFd::register(socket) }.map_err(io::Error::from)
}

async fn next(socket: Option<&AsyncFd<Socket>>, asks: fn(&[u8]) -> bool) -> Knock {
    let Some(socket) = socket else { return std::future::pending().await };
    loop {
        let Ok(mut ready) = socket.readable().await else { return std::future::pending().await };
        if let Ok(Ok(Some(knock))) = ready.try_io(|socket| read(socket.get_ref(), asks)) {
            return knock;
        }
    }
}

fn read(socket: &Socket, asks: fn(&[u8]) -> bool) -> io::Result<Option<Knock>> {
    let mut bytes = [0; BEGINNING];
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo);
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let knock = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            let to = IpAddr::from(u32::from_be(info.ipi_addr.s_addr).to_be_bytes());
            Some(Knock { to, link: u32::try_from(info.ipi_ifindex).ok()? })
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(Knock { to: IpAddr::from(info.ipi6_addr.s6_addr), link: info.ipi6_ifindex }),
        _ => None,
    });
    let length = message.bytes.min(BEGINNING);
    Ok(knock.filter(|_| asks(&bytes[..length])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_echo_tells_whom_it_asked_and_where_it_arrived() {
        let target: IpAddr = "127.0.0.9".parse().expect("an address");
        let (knocks, asking) = match (Knocks::open(), Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))) {
            (Ok(knocks), Ok(asking)) => (knocks, asking),
            // Raw sockets take a privilege that a developer may lack; the end-to-end tests have it.
            (Err(error), _) | (_, Err(error)) => return assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        };
        let to = std::net::SocketAddr::new(target, 0).into();
        asking.send_to(&packet::echo(target, 7, 1000), &to).expect("sent");
        let knock = async { while knocks.next().await.to != target {} };
        tokio::time::timeout(std::time::Duration::from_secs(5), knock).await.expect("it was heard");
        asking.send_to(&packet::echo(target, 8, 0), &to).expect("sent");
        let knock = tokio::time::timeout(std::time::Duration::from_secs(5), knocks.next()).await.expect("it was heard");
        assert_eq!(nix::net::if_::if_indextoname(knock.link).expect("a name").to_str(), Ok("lo"));
    }
}

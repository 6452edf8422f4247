//! Datagrams that no honest node would send: raw bytes with a source address of one's choice.

use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::node::Node;
use crate::packet;
use crate::pod::Pod;

/// What fits through every underlay of the lab; longer datagrams go in fragments.
const MTU: usize = 1400;

impl Node {
    /// Sends `payload` in a UDP datagram whose source is whatever `from` says, on this node's underlay.
    pub fn inject(&self, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Result<()> {
        let raw = self.net().inside(|| Ok(Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?))?;
        let whole = packet::udp(from, to, payload);
        let parts = if whole.len() > MTU { packet::fragments(&whole, MTU) } else { vec![whole] };
        for part in parts {
            raw.send_to(&part, &SocketAddr::V4(to).into()).with_context(|| format!("cannot inject a datagram from {from} to {to}"))?;
        }
        Ok(())
    }
}

/// A UDP socket in a pod that tells what arrives.
#[derive(Debug)]
pub struct Ear {
    socket: UdpSocket,
    address: SocketAddrV4,
}

impl Pod {
    /// Listens on a UDP port that the kernel chooses.
    pub fn listen(&self) -> Result<Ear> {
        let address = self.address();
        let socket = self.net().inside(|| Ok(UdpSocket::bind((address, 0))?))?;
        let address = SocketAddrV4::new(address, socket.local_addr()?.port());
        Ok(Ear { socket, address })
    }
}

impl Ear {
    /// Where it listens.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// The next datagram's payload within that time; none when nothing comes.
    pub fn hear(&self, within: Duration) -> Result<Option<Vec<u8>>> {
        self.socket.set_read_timeout(Some(within))?;
        let mut buffer = vec![0; 65_536];
        match self.socket.recv(&mut buffer) {
            Ok(size) => Ok(Some(buffer[..size].to_vec())),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

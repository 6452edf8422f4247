//! A host that stands for thousands of nodes: it has all their addresses, and answers the echoes that come for their pods by the udp backend, so that a node whose
//! peers all work can be measured without thousands of daemons.

use std::io::IoSlice;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::netns::NetNs;
use lab::{Lab, Node};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt, sockopt};
use socket2::{Domain, Socket, Type};

/// Where the peers' public addresses lie.
pub const PUBLIC: &str = "192.168.96.0/19";
const GATEWAY: &str = "192.168.50.253";
/// flannel's port, where nothing else is configured.
const PORT: u16 = 8285;
/// How often the answering thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// Answers until it is dropped.
pub struct Crowd {
    ended: Arc<AtomicBool>,
    answering: Option<JoinHandle<()>>,
    _host: NetNs,
}

impl Crowd {
    /// Plugs it into the lab's switch, and tells the node the road.
    pub fn new(lab: &Lab, node: &Node) -> Result<Crowd> {
        let host = NetNs::create("crowd")?;
        lab.switch().ip("link add to-crowd type veth peer name eth0 netns crowd")?;
        lab.switch().ip("link set to-crowd master br0 up")?;
        host.ip(&format!("address add {GATEWAY}/24 dev eth0"))?;
        host.ip("link set eth0 up")?;
        host.ip("link set lo up")?;
        host.ip(&format!("route add local {PUBLIC} dev lo"))?;
        node.ip(&format!("route add {PUBLIC} via {GATEWAY}"))?;
        let socket = host.inside(|| {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
            socket.bind(&std::net::SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())?;
            socket.set_read_timeout(Some(LOOK))?;
            Ok(socket)
        })?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true).context("IP_PKTINFO")?;
        let ended = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ended);
        let answering = std::thread::spawn(move || {
            while !until.load(Relaxed) {
                // A timeout, or an echo that is lost like any other.
                let _ = answer(&socket);
            }
        });
        Ok(Crowd { ended, answering: Some(answering), _host: host })
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        if let Some(answering) = self.answering.take() {
            // It panics nowhere, and the measurement is over.
            let _ = answering.join();
        }
    }
}

/// Answers one datagram, from the address that it was sent to.
fn answer(socket: &Socket) -> Result<()> {
    let mut bytes = [0; 2048];
    let mut space = nix::cmsg_space!(libc::in_pktinfo);
    let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
    let received = recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
    let (length, from) = (received.bytes, received.address.context("a sender")?);
    let to = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(info.ipi_addr),
        _ => None,
    });
    let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: to.context("its destination")?, ipi_addr: libc::in_addr { s_addr: 0 } };
    if let Some(reply) = bytes.get_mut(..length).and_then(turn) {
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        sendmsg(socket.as_raw_fd(), &[IoSlice::new(reply)], &control, MsgFlags::empty(), Some(&from))?;
    }
    Ok(())
}

/// Makes an echo request of IPv4 the reply to it (RFC 792); none for any other packet.
fn turn(packet: &mut [u8]) -> Option<&[u8]> {
    const ICMP: u8 = 1;
    const REQUEST: u8 = 8;
    if packet.len() < 28 || packet[0] != 0x45 || packet[9] != ICMP || packet[20] != REQUEST {
        return None;
    }
    // Source and destination change places, which no checksum minds.
    for octet in 12..16 {
        packet.swap(octet, octet + 4);
    }
    packet[20] = 0;
    let (sum, carry) = u16::from_be_bytes([packet[22], packet[23]]).overflowing_add(u16::from(REQUEST) << 8);
    packet[22..24].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
    Some(packet)
}
